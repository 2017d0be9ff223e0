//! Our side of `bench_forest_peers.py`: fits once for every line on standard input and answers with milliseconds.
//!
//!     forest_timer N_ROWS N_TREES [ALIKE]
//!
//! ALIKE makes the last ten rows like others: `equal` to the first ten, each one; the `same`, all equal to the first; `near` the first
//! ten, but for 1 to 100 columns; or one `ulp` from them in every column.
//!
//! A line says what to time: a fit by `rows`, `columns`, from a `pool` or a `pool_bf16` (in f32 and half the memory); to
//! `append` a row to the pool after its oldest was forgotten, like no other or `append_equal` to one of the pool; to score a row `against` the pool, along its paths alone; to `score` a
//! row by a fitted forest, or a `finite` one (known to be so) that lies in no cache; to bring a row that was just written to `scale`, and then score it;
//! and of a forest that is kept while rows come and go, to `insert` a row, to `remove` the oldest, or to score a finite row by it (`kept`).
#![allow(clippy::unwrap_used, clippy::print_stdout)]

#[path = "samples/wide.rs"]
#[allow(dead_code, reason = "the benchmark uses more of it")]
mod wide;

use anomalyd_models::Fit;
use anomalyd_models::detector::{IncrementalForest, IsolationForestParams, SamplePool};
use anomalyd_models::transform::ScalerFit;
use half::bf16;
use ndarray::Array2;
use std::hint::black_box;
use std::time::Instant;
use wide::{N_FEATURES, wide_rows};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (n_rows, n_trees, alike) = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [n_rows, n_trees] => (n_rows, n_trees, "none"),
        [n_rows, n_trees, alike] => (n_rows, n_trees, alike),
        _ => panic!("usage: forest_timer N_ROWS N_TREES [none|equal|same|near|ulp]"),
    };
    let (n_rows, n_trees): (usize, usize) = (n_rows.parse().unwrap(), n_trees.parse().unwrap());
    let mut matrix = wide_rows(n_rows);
    make_alike(&mut matrix, alike);
    let rows: Vec<&[f32]> = matrix.iter().map(Vec::as_slice).collect();
    let mut columns = Array2::<f32>::zeros((0, 0));
    let mut pool = SamplePool::<f32>::with_capacity(N_FEATURES, n_rows).unwrap();
    let mut halves = SamplePool::<bf16>::with_capacity(N_FEATURES, n_rows).unwrap();
    let params = IsolationForestParams { n_trees, ..Default::default() };
    let forest = params.fit_rows(&rows, 1).unwrap();
    let mut fit = ScalerFit::new();
    rows[..2].iter().for_each(|row| fit.add(row).unwrap());
    let scaler = fit.finish().unwrap();
    let mut kept: Option<IncrementalForest> = None;
    println!("ready");
    for (seed, line) in std::io::stdin().lines().enumerate() {
        let line = line.unwrap();
        if line == "columns" && columns.is_empty() {
            columns = Array2::zeros((N_FEATURES, n_rows));
            for (mut column, row) in columns.columns_mut().into_iter().zip(&matrix) {
                column.iter_mut().zip(row).for_each(|(out, &value)| *out = value);
            }
        }
        let is_kept = matches!(line.as_str(), "insert" | "remove" | "kept");
        let is_of_pool = matches!(line.as_str(), "pool" | "against" | "append" | "append_equal");
        if (is_kept || is_of_pool) && pool.n_rows() == 0 {
            rows.iter().for_each(|row| pool.push(row).unwrap());
        }
        if line == "pool_bf16" && halves.n_rows() == 0 {
            rows.iter().for_each(|row| halves.push(row).unwrap());
        }
        // Like no other: an equal one would be looked for.
        let mut next: Vec<f32> =
            rows[seed % n_rows].iter().map(|value| value * (1.0 + 1e-5 * (seed + 1) as f32)).collect();
        if line == "append" {
            pool.pop_front();
        }
        if line == "append_equal" {
            pool.copy_row(N_ALIKE + seed % (n_rows - 2 * N_ALIKE), &mut next);
            pool.pop_front();
        }
        if is_kept && kept.is_none() {
            kept = Some(IncrementalForest::fit_pool(&params, &pool, 1).unwrap());
        }
        if line == "insert" {
            kept.as_mut().unwrap().remove(&pool, 0, !(seed as u64)).unwrap();
            pool.pop_front();
            pool.push(&next).unwrap();
        }
        if line.starts_with("append") {
            kept = None;
        }
        let start = Instant::now();
        match line.as_str() {
            "rows" => drop(black_box(params.fit_rows(&rows, seed as u64).unwrap())),
            "columns" => drop(black_box(params.fit(columns.t(), seed as u64).unwrap())),
            "pool" => drop(black_box(params.fit_pool(&pool, seed as u64).unwrap())),
            "pool_bf16" => drop(black_box(params.fit_pool(&halves, seed as u64).unwrap())),
            "append" | "append_equal" => pool.push(&next).unwrap(),
            "against" => {
                black_box(params.score_against_pool(&pool, rows[seed % n_rows], seed as u64).unwrap());
            }
            "insert" => kept.as_mut().unwrap().insert(&pool, n_rows - 1, seed as u64).unwrap(),
            "remove" => kept.as_mut().unwrap().remove(&pool, 0, seed as u64).unwrap(),
            "kept" => drop(black_box(kept.as_mut().unwrap().score_finite(rows[seed % n_rows]))),
            "finite" => drop(black_box(forest.score_finite(rows[seed % n_rows]))),
            "scale" => {
                assert!(scaler.scale_row(&mut next).unwrap());
                black_box(forest.score_finite(&next));
            }
            "score" => drop(black_box(forest.score_row(rows[seed % n_rows]).unwrap())),
            other => panic!("{other}"),
        }
        println!("{}", start.elapsed().as_secs_f64() * 1e3);
        if line == "remove" {
            kept.as_mut().unwrap().insert(&pool, 0, !(seed as u64)).unwrap();
        }
    }
}

const N_ALIKE: usize = 10;

/// Makes the last rows like the first.
fn make_alike(matrix: &mut [Vec<f32>], how: &str) {
    let n_others = matrix.len() - N_ALIKE;
    let (others, last) = matrix.split_at_mut(n_others);
    for (i, row) in last.iter_mut().enumerate() {
        match how {
            "none" => {}
            "equal" => row.clone_from(&others[i]),
            "same" => row.clone_from(&others[0]),
            "near" => {
                row.clone_from(&others[i]);
                let n_differing = 1 + 11 * i;
                let columns = (0..n_differing).map(|j| (i + j * (N_FEATURES / n_differing)) % N_FEATURES);
                columns.for_each(|column| row[column] += 0.125);
            }
            "ulp" => {
                row.clone_from(&others[i]);
                row.iter_mut().for_each(|value| *value = value.next_up());
            }
            other => panic!("{other}: none, equal, same, near or ulp"),
        }
    }
}

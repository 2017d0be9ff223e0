//! Our side of `bench_forest_peers.py`: fits once for every line on standard input and answers with milliseconds.
//!
//!     forest_timer N_ROWS N_TREES
//!
//! A line says what to time: a fit by `rows`, `columns`, from a `pool` or a `pool_bf16` (in f32 and half the memory); to
//! `append` a row to the pool after its oldest was forgotten; to score a row `against` the pool, along its paths alone; to `score` a
//! row by a fitted forest, or a `finite` one (known to be so) that lies in no cache.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

#[path = "samples/wide.rs"]
#[allow(dead_code, reason = "the benchmark uses more of it")]
mod wide;

use anomalyd_models::Fit;
use anomalyd_models::detector::{IsolationForestParams, SamplePool};
use half::bf16;
use ndarray::Array2;
use std::hint::black_box;
use std::time::Instant;
use wide::{N_FEATURES, wide_rows};

fn main() {
    let numbers: Vec<usize> = std::env::args().skip(1).map(|argument| argument.parse().unwrap()).collect();
    let &[n_rows, n_trees] = numbers.as_slice() else { panic!("usage: forest_timer N_ROWS N_TREES") };
    let matrix = wide_rows(n_rows);
    let rows: Vec<&[f32]> = matrix.iter().map(Vec::as_slice).collect();
    let mut columns = Array2::<f32>::zeros((0, 0));
    let mut pool = SamplePool::<f32>::with_capacity(N_FEATURES, n_rows).unwrap();
    let mut halves = SamplePool::<bf16>::with_capacity(N_FEATURES, n_rows).unwrap();
    let params = IsolationForestParams { n_trees, ..Default::default() };
    let forest = params.fit_rows(&rows, 1).unwrap();
    println!("ready");
    for (seed, line) in std::io::stdin().lines().enumerate() {
        let line = line.unwrap();
        if line == "columns" && columns.is_empty() {
            columns = Array2::zeros((N_FEATURES, n_rows));
            for (mut column, row) in columns.columns_mut().into_iter().zip(&matrix) {
                column.iter_mut().zip(row).for_each(|(out, &value)| *out = value);
            }
        }
        if matches!(line.as_str(), "pool" | "against" | "append") && pool.n_rows() == 0 {
            rows.iter().for_each(|row| pool.push(row).unwrap());
        }
        if line == "pool_bf16" && halves.n_rows() == 0 {
            rows.iter().for_each(|row| halves.push(row).unwrap());
        }
        // Like no other: an equal one would be looked for.
        let next: Vec<f32> =
            rows[seed % n_rows].iter().map(|value| value * (1.0 + 1e-5 * (seed + 1) as f32)).collect();
        if line == "append" {
            pool.pop_front();
        }
        let start = Instant::now();
        match line.as_str() {
            "rows" => drop(black_box(params.fit_rows(&rows, seed as u64).unwrap())),
            "columns" => drop(black_box(params.fit(columns.t(), seed as u64).unwrap())),
            "pool" => drop(black_box(params.fit_pool(&pool, seed as u64).unwrap())),
            "pool_bf16" => drop(black_box(params.fit_pool(&halves, seed as u64).unwrap())),
            "append" => pool.push(&next).unwrap(),
            "against" => {
                black_box(params.score_against_pool(&pool, rows[seed % n_rows], seed as u64).unwrap());
            }
            "finite" => drop(black_box(forest.score_finite(rows[seed % n_rows]))),
            "score" => drop(black_box(forest.score_row(rows[seed % n_rows]).unwrap())),
            other => panic!("{other}"),
        }
        println!("{}", start.elapsed().as_secs_f64() * 1e3);
    }
}

//! Our side of `bench_forest_peers.py`: fits once for every line on standard input and answers with milliseconds.
//!
//!     forest_timer N_ROWS N_TREES
//!
//! A line says `rows`, `columns` (layout) or `score`.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

#[path = "samples/wide.rs"]
mod wide;

use anomalyd_models::Fit;
use anomalyd_models::detector::IsolationForestParams;
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
        let start = Instant::now();
        match line.as_str() {
            "rows" => drop(black_box(params.fit_rows(&rows, seed as u64).unwrap())),
            "columns" => drop(black_box(params.fit(columns.t(), seed as u64).unwrap())),
            "score" => drop(black_box(forest.score_row(rows[seed % n_rows]).unwrap())),
            other => panic!("{other}"),
        }
        println!("{}", start.elapsed().as_secs_f64() * 1e3);
    }
}

//! Isolation forest: 125 trees on as many features as the paper's ResNet-50 gives, 921,600, and one row scored.
//!
//! The samples are like features after a ReLU: 67 % zeros, 23 % of the columns zero throughout. `wide_samples.py` beside
//! the reference tests makes the same for `bench_forest_peers.py`.
#![allow(missing_docs, clippy::unwrap_used)] // macros of criterion; a benchmark may fail aloud

#[path = "../../tests/reference/samples/wide.rs"]
mod wide;

use anomalyd_models::Fit;
use anomalyd_models::detector::IsolationForestParams;
use criterion::{Criterion, criterion_group, criterion_main};
use std::hint::black_box;
use wide::{N_FEATURES, wide_rows};

fn forest(criterion: &mut Criterion) {
    let matrix = wide_rows(732);
    let rows: Vec<&[f32]> = matrix.iter().map(Vec::as_slice).collect();
    let params = IsolationForestParams { n_trees: 125, ..Default::default() };
    let mut group = criterion.benchmark_group("forest");
    group.sample_size(10);
    for n_rows in [100, 300, 732] {
        for n_threads in [1, 2] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(n_threads).build().unwrap();
            group.bench_function(format!("fit/{n_rows}x{N_FEATURES}/threads={n_threads}"), |bencher| {
                bencher.iter(|| pool.install(|| params.fit_rows(black_box(&rows[..n_rows]), 1).unwrap()))
            });
        }
    }
    for n_copies in [2, 10] {
        let mut rows = rows[..100].to_vec();
        rows.extend_from_within(..n_copies);
        group.bench_function(format!("fit/100x{N_FEATURES} and {n_copies} duplicates"), |bencher| {
            bencher.iter(|| params.fit_rows(black_box(&rows), 1).unwrap())
        });
        let near: Vec<Vec<f32>> = (0..n_copies)
            .map(|i| {
                let mut row = matrix[i].clone();
                (0..1000).for_each(|k| row[k * 900 + i] += 0.5);
                row
            })
            .collect();
        let mut rows = rows[..100].to_vec();
        rows.extend(near.iter().map(Vec::as_slice));
        group.bench_function(format!("fit/100x{N_FEATURES} and {n_copies} near-duplicates"), |bencher| {
            bencher.iter(|| params.fit_rows(black_box(&rows), 1).unwrap())
        });
    }
    let forest = params.fit_rows(&rows, 1).unwrap();
    group.bench_function("score one row", |bencher| {
        let mut next = rows.iter().cycle();
        bencher.iter(|| forest.score_row(black_box(next.next().unwrap())).unwrap())
    });
    group.finish();

    // The same samples column-major.
    let mut group = criterion.benchmark_group("forest by columns");
    group.sample_size(10);
    let mut columns = ndarray::Array2::<f32>::zeros((N_FEATURES, rows.len()));
    for (row_idx, row) in rows.iter().enumerate() {
        columns.column_mut(row_idx).iter_mut().zip(*row).for_each(|(out, &value)| *out = value);
    }
    group.bench_function(format!("fit/732x{N_FEATURES}"), |bencher| {
        bencher.iter(|| params.fit(black_box(columns.t()), 1).unwrap())
    });
    group.finish();
}

criterion_group!(benches, forest);
criterion_main!(benches);

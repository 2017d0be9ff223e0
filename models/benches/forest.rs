//! Isolation forest: 125 trees on as many features as the paper's ResNet-50 gives, 921,600, and one row scored.
//!
//! The samples are like features after a ReLU: 67 % zeros, 23 % of the columns zero throughout. `wide_samples.py` beside
//! the reference tests makes the same for `bench_forest_peers.py`.
#![allow(missing_docs, clippy::unwrap_used)] // macros of criterion; a benchmark may fail aloud

#[path = "../../tests/reference/samples/wide.rs"]
mod wide;

use anomalyd_models::Fit;
use anomalyd_models::detector::{IncrementalForest, IsolationForestParams, SamplePool};
use criterion::{Criterion, criterion_group, criterion_main};
use std::cell::{Cell, OnceCell, RefCell};
use std::hint::black_box;
use std::time::{Duration, Instant};
use wide::{N_FEATURES, rows_of, wide_rows};

/// How the time of a fit, of one image judged by a new forest, of one that comes into a kept forest or goes from it, and of appending
/// one to the pool grows with rows and columns.
fn growth(criterion: &mut Criterion) {
    let params = IsolationForestParams { n_trees: 125, ..Default::default() };
    let mut group = criterion.benchmark_group("pool");
    group
        .sample_size(10)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(600));
    for n_features in [512, 12_800, 65_536, N_FEATURES] {
        for n_rows in [100, 300, 732, 3000] {
            // 11 GB.
            if n_rows * n_features > 732 * N_FEATURES {
                continue;
            }
            let name = format!("{n_rows}x{n_features}");
            // Made when first asked for, and one row more than the pool holds.
            let made = OnceCell::new();
            let make = || {
                let rows = rows_of(n_rows + 1, n_features);
                let mut pool = SamplePool::<f32>::with_capacity(n_features, n_rows).unwrap();
                rows[..n_rows].iter().for_each(|row| pool.push(row).unwrap());
                (RefCell::new(pool), RefCell::new(rows[n_rows].clone()))
            };
            group.bench_function(format!("fit/{name}"), |bencher| {
                let (pool, _) = made.get_or_init(make);
                bencher.iter(|| params.fit_pool(&pool.borrow(), 1).unwrap())
            });
            group.bench_function(format!("score one row by its paths/{name}"), |bencher| {
                let (pool, row) = made.get_or_init(make);
                let mut seed = 0;
                bencher.iter(|| {
                    seed += 1;
                    params.score_against_pool(&pool.borrow(), black_box(&row.borrow()), seed).unwrap()
                })
            });
            // The row that went before comes for one that goes: equal or similar ones would be looked for.
            let slide = |pool: &mut SamplePool, spare: &mut Vec<f32>| {
                let mut oldest = vec![0.0; n_features];
                pool.copy_row(0, &mut oldest);
                let start = Instant::now();
                pool.pop_front();
                pool.push(spare).unwrap();
                let elapsed = start.elapsed();
                *spare = oldest;
                elapsed
            };
            let kept = OnceCell::new();
            let keep =
                |pool: &SamplePool| RefCell::new(IncrementalForest::fit_pool(&params, pool, 1).unwrap());
            let seed = Cell::new(0u64);
            let slide_kept = |pool: &mut SamplePool, forest: &mut IncrementalForest, spare: &mut Vec<f32>| {
                seed.set(seed.get() + 1);
                let start = Instant::now();
                forest.remove(pool, 0, seed.get()).unwrap();
                let removal = start.elapsed();
                slide(pool, spare);
                let start = Instant::now();
                forest.insert(pool, n_rows - 1, !seed.get()).unwrap();
                [removal, start.elapsed()]
            };
            for (which, what) in ["remove the oldest row from", "insert a row into"].into_iter().enumerate() {
                group.bench_function(format!("{what} a kept forest/{name}"), |bencher| {
                    let (pool, spare) = made.get_or_init(make);
                    let forest = kept.get_or_init(|| keep(&pool.borrow()));
                    let (mut pool, mut spare, mut forest) =
                        (pool.borrow_mut(), spare.borrow_mut(), forest.borrow_mut());
                    bencher.iter_custom(|n_times| {
                        (0..n_times).map(|_| slide_kept(&mut pool, &mut forest, &mut spare)[which]).sum()
                    })
                });
            }
            group.bench_function(format!("append and forget/{name}"), |bencher| {
                let (pool, spare) = made.get_or_init(make);
                let (mut pool, mut spare) = (pool.borrow_mut(), spare.borrow_mut());
                bencher.iter_custom(|n_times| (0..n_times).map(|_| slide(&mut pool, &mut spare)).sum())
            });
        }
    }
    group.finish();
}

fn forest(criterion: &mut Criterion) {
    let matrix = wide_rows(732);
    let rows: Vec<&[f32]> = matrix.iter().map(Vec::as_slice).collect();
    let params = IsolationForestParams { n_trees: 125, ..Default::default() };
    let mut group = criterion.benchmark_group("forest");
    group.sample_size(10);
    for n_threads in [1, 2] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(n_threads).build().unwrap();
        group.bench_function(format!("fit/732x{N_FEATURES}/threads={n_threads}"), |bencher| {
            bencher.iter(|| pool.install(|| params.fit_rows(black_box(&rows), 1).unwrap()))
        });
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

criterion_group!(benches, growth, forest);
criterion_main!(benches);

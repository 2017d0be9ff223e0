//! Principal components of 921,600 features: the fit, and the projection of one row.
#![allow(missing_docs, clippy::unwrap_used)] // macros of criterion; a benchmark may fail aloud

#[path = "../../tests/reference/samples/wide.rs"]
mod wide;

use anomalyd_models::Transform;
use anomalyd_models::transform::PcaParams;
use criterion::{Criterion, criterion_group, criterion_main};
use ndarray::ArrayView2;
use std::hint::black_box;
use wide::{N_FEATURES, wide_rows};

fn pca(criterion: &mut Criterion) {
    let matrix = wide_rows(200);
    let rows: Vec<&[f32]> = matrix.iter().map(Vec::as_slice).collect();
    let params = PcaParams { n_components: 128 };
    let mut group = criterion.benchmark_group("pca");
    group.sample_size(10);
    group.bench_function(format!("fit/200x{N_FEATURES} to 128"), |bencher| {
        bencher.iter(|| params.fit_rows(black_box(&rows)).unwrap())
    });
    let fitted = params.fit_rows(&rows).unwrap();
    group.bench_function("project one row", |bencher| {
        let row = ArrayView2::from_shape((1, N_FEATURES), rows[7]).unwrap();
        bencher.iter(|| fitted.transform(black_box(row)).unwrap())
    });
    group.finish();
}

criterion_group!(benches, pca);
criterion_main!(benches);

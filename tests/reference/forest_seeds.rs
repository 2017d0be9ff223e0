//! What more trees are worth: by how much the scores of two seeds differ, how many verdicts, and what it costs.
//!
//!     forest_seeds WEIGHTS_DIR N_POOL N_JUDGED IMAGE...
//!
//! The first images are the pool, of those after it every one is judged against it, by forests of several seeds. Features: HOG as
//! the online evidence takes them, and the paper's network to layer3 at the paper's crop.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a tool: its output is its purpose, and it may fail aloud"
)]

use anomalyd_models::ImageShape;
use anomalyd_models::detector::{IsolationForestParams, SamplePool};
use anomalyd_models::extractor::{DeviceChoice, ExtractorParams, WeightsStore};
use anomalyd_models::image::{Crop, Limits, Preprocess, decode};
use ndarray::Axis;
use std::time::Instant;

const N_SEEDS: usize = 16;
/// The paper's.
const THRESHOLD: f32 = 0.5;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [weights, n_pool, n_judged, files @ ..] = arguments.as_slice() else {
        panic!("usage: forest_seeds WEIGHTS_DIR N_POOL N_JUDGED IMAGE...")
    };
    let (n_pool, n_judged): (usize, usize) = (n_pool.parse().unwrap(), n_judged.parse().unwrap());
    let store = WeightsStore::new(vec![weights.into()]).unwrap();
    let hog = r#"{"name": "hog", "cells": 40, "orientations": 8, "block": 1}"#;
    let network = r#"{"name": "resnet50", "weights": "resnet50-v1-keras-layer3"}"#;
    for (extractor, reduce) in [(hog, 2), (network, 1)] {
        let preprocess = Preprocess { crop: Some(Crop::PAPER), reduce, ..Preprocess::default() };
        let features = |file: &String| {
            let image = decode(&std::fs::read(file).unwrap(), &Limits::default()).unwrap();
            preprocess.apply(&image).unwrap()
        };
        let (channels, rows, columns) = features(&files[0]).dim();
        let shape = ImageShape { channels, rows, columns };
        let params: ExtractorParams = serde_json::from_str(extractor).unwrap();
        let extractor = params.build(shape, &store, &DeviceChoice::default()).unwrap();
        let extract = |file: &String| -> Vec<f32> {
            extractor.extract(features(file).view().insert_axis(Axis(0))).unwrap().into_iter().collect()
        };
        let mut pool = SamplePool::<f32>::with_capacity(extractor.n_features(), n_pool).unwrap();
        files[..n_pool].iter().for_each(|file| pool.push(&extract(file)).unwrap());
        let judged: Vec<Vec<f32>> = files[n_pool..n_pool + n_judged].iter().map(extract).collect();
        println!("{n_pool} x {} pool, {n_judged} judged, {N_SEEDS} seeds", extractor.n_features());
        println!(
            "trees  spread of a score  rank correlation of two seeds  verdicts against the majority  ms"
        );
        for n_trees in [125, 250, 500, 1000, 2000] {
            let forest = IsolationForestParams { n_trees, ..Default::default() };
            let start = Instant::now();
            // [seed][image]
            let scores: Vec<Vec<f32>> = (0..N_SEEDS as u64)
                .map(|seed| {
                    judged.iter().map(|row| forest.score_against_pool(&pool, row, seed).unwrap()).collect()
                })
                .collect();
            let milliseconds = 1e3 * start.elapsed().as_secs_f64() / (N_SEEDS * n_judged) as f64;
            let (mut variance, mut n_flipped) = (0.0, 0);
            for image in 0..n_judged {
                let of_image: Vec<f64> = scores.iter().map(|scores| f64::from(scores[image])).collect();
                let mean = of_image.iter().sum::<f64>() / N_SEEDS as f64;
                variance +=
                    of_image.iter().map(|score| (score - mean).powi(2)).sum::<f64>() / (N_SEEDS - 1) as f64;
                let n_above = scores.iter().filter(|scores| scores[image] > THRESHOLD).count();
                n_flipped += n_above.min(N_SEEDS - n_above);
            }
            let pairs = scores.iter().zip(&scores[1..]);
            let correlation = pairs.map(|(a, b)| rank_correlation(a, b)).sum::<f64>() / (N_SEEDS - 1) as f64;
            println!(
                "{n_trees:5}  {:.5}  {correlation:.3}  {:.2} %  {milliseconds:.2}",
                (variance / n_judged as f64).sqrt(),
                100.0 * n_flipped as f64 / (N_SEEDS * n_judged) as f64,
            );
        }
    }
}

/// Spearman's; scores of forests are hardly ever equal.
fn rank_correlation(a: &[f32], b: &[f32]) -> f64 {
    let ranks = |values: &[f32]| {
        let mut order: Vec<usize> = (0..values.len()).collect();
        order.sort_by(|&i, &j| values[i].total_cmp(&values[j]));
        let mut ranks = vec![0.0; values.len()];
        order.iter().enumerate().for_each(|(rank, &i)| ranks[i] = rank as f64);
        ranks
    };
    let n = a.len() as f64;
    let differences: f64 = ranks(a).iter().zip(ranks(b)).map(|(x, y)| (x - y).powi(2)).sum();
    1.0 - 6.0 * differences / (n * (n * n - 1.0))
}

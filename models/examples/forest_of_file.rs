//! Fits an isolation forest on the samples of an `.npy` file where they lie on disk, and names the rows that are the least like the others.
//!
//! ```text
//! forest_of_file FILE.npy [TREES [SEEDS]]
//! ```
//!
//! The file holds 32-bit floats `[images, features]`, in C or Fortran order (`numpy.save`).
#![allow(clippy::print_stdout)]

use anomalyd_models::detector::IsolationForestParams;
use anomalyd_models::samples::SampleMap;
use anomalyd_models::{Detector, Fit};
use ndarray::Axis;
use std::error::Error;
use std::time::Instant;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((path, numbers)) = arguments.split_first().filter(|(_, numbers)| numbers.len() <= 2) else {
        return Err("usage: forest_of_file FILE.npy [TREES [SEEDS]]".into());
    };
    let numbers = numbers.iter().map(|number| number.parse()).collect::<Result<Vec<u64>, _>>()?;
    let n_trees = numbers.first().map_or(1000, |&n_trees| n_trees as usize);
    let n_seeds = numbers.get(1).copied().unwrap_or(1);
    let map = SampleMap::open(path.as_ref())?;
    let samples = map.samples();
    let order = if samples.is_standard_layout() { "C" } else { "Fortran" };
    println!("{} x {} in {order} order", samples.nrows(), samples.ncols());
    let params = IsolationForestParams { n_trees, ..Default::default() };
    let mut scores = Vec::new();
    for seed in 0..n_seeds {
        let start = Instant::now();
        let forest = params.fit(samples, seed)?;
        println!("fit of {n_trees} trees, seed {seed}: {:.1} ms", start.elapsed().as_secs_f64() * 1e3);
        if seed == 0 {
            scores.clear();
            // Some rows at a time: rows of a file in Fortran order are copied to be scored.
            for some in samples.axis_chunks_iter(Axis(0), 64) {
                scores.extend(forest.score(some)?);
            }
        }
    }
    let mut rows: Vec<usize> = (0..scores.len()).collect();
    rows.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
    for row in rows.into_iter().take(10) {
        println!("row {row}: {:.4}", scores[row]);
    }
    Ok(())
}

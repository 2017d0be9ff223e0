//! Times principal components of samples on disk, and tells the peak of memory.
//!
//! ```text
//! streamed_pca make FILE ROWS FEATURES                   writes samples like features after a ReLU, f32, row by row
//! streamed_pca fit FILE ROWS FEATURES COMPONENTS MIB     z-scores and components, reading the file three times
//! ```
#![allow(clippy::unwrap_used, clippy::print_stdout)] // an example may fail aloud

use anomalyd_models::rng::Rng;
use anomalyd_models::transform::{PcaParams, SampleBlocks, SampleFile, ScaledBlocks, ScalerFit};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::time::Instant;

/// Peak of resident memory in MiB, as Linux tells it.
fn peak_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM"));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok()).unwrap_or(0) / 1024
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |i: usize| arguments[i].parse::<usize>().unwrap();
    let (path, n_rows, n_features) = (Path::new(&arguments[1]), number(2), number(3));
    if arguments[0] == "make" {
        let mut file = BufWriter::new(File::create(path).unwrap());
        for row in 0..n_rows {
            let mut rng = Rng::derived(1, row as u64);
            for column in 0..n_features {
                // Sum of three uniform numbers, a drift with the row, cut off at 0.
                let bits = rng.next_u64();
                let total = [0, 21, 42].map(|shift| ((bits >> shift) & 0x1F_FFFF) as f32 / 2_097_152.0);
                let drift = 0.3 * (row as f32 * 0.01 * (1 + column % 7) as f32).sin();
                let value = (total.iter().sum::<f32>() - 1.7 + drift).max(0.0);
                file.write_all(&value.to_le_bytes()).unwrap();
            }
        }
        return;
    }
    let blocks = SampleFile::open(path, 0, n_rows, n_features).unwrap();
    let start = Instant::now();
    let mut fit = ScalerFit::new();
    let mut row = vec![0.0; n_features];
    for row_idx in 0..n_rows {
        blocks.read(row_idx, 0, &mut row).unwrap();
        fit.add(&row).unwrap();
    }
    let scaler = fit.finish().unwrap();
    println!("scaler: {:.1} s", start.elapsed().as_secs_f64());
    let start = Instant::now();
    let params = PcaParams { n_components: number(4) };
    let scaled = ScaledBlocks::new(&blocks, &scaler).unwrap();
    let (pca, _) = params.fit_streamed(&scaled, number(5) << 20).unwrap();
    let seconds = start.elapsed().as_secs_f64();
    let share = pca.explained_variance().iter().sum::<f64>() / pca.total_variance();
    let components_mib = pca.components().len() / (1 << 18);
    println!("components: {seconds:.1} s, {:.1} % of the variance", 100.0 * share);
    println!("peak memory: {} MiB, of which the components are {components_mib}", peak_mib());
}

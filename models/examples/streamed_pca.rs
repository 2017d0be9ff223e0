//! Times principal components of samples on disk, and tells the peak of memory.
//!
//! ```text
//! streamed_pca make FILE.npy ROWS FEATURES     writes samples like features after a ReLU, f32, row by row
//! streamed_pca fit FILE.npy COMPONENTS MIB     z-scores and components, reading the file three times
//! streamed_pca memory FILE.npy COMPONENTS      the same of all samples in memory
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
    let path = Path::new(&arguments[1]);
    match arguments[0].as_str() {
        "make" => make(path, number(2), number(3)),
        "fit" => fit(path, number(2), Some(number(3) << 20)),
        "memory" => fit(path, number(2), None),
        other => panic!("{other}: make, fit or memory"),
    }
}

fn make(path: &Path, n_rows: usize, n_features: usize) {
    let mut file = BufWriter::new(File::create(path).unwrap());
    let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({n_rows}, {n_features}), }}");
    // NumPy's values begin on a multiple of 64 bytes.
    file.write_all(b"\x93NUMPY\x01\x00\x76\x00").unwrap();
    file.write_all(format!("{header:<117}\n").as_bytes()).unwrap();
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
}

/// - `max_bytes`: absent for all in memory.
fn fit(path: &Path, n_components: usize, max_bytes: Option<usize>) {
    let blocks = SampleFile::open_npy(path).unwrap();
    let read = |row_idx: usize| {
        let mut row = vec![0.0; blocks.n_features()];
        blocks.read(row_idx, 0, &mut row).unwrap();
        row
    };
    let mut rows: Vec<Vec<f32>> = Vec::new();
    if max_bytes.is_none() {
        rows.extend((0..blocks.n_rows()).map(read));
    }
    let start = Instant::now();
    let mut scaler = ScalerFit::new();
    for row_idx in 0..blocks.n_rows() {
        match rows.get(row_idx) {
            Some(row) => scaler.add(row).unwrap(),
            None => scaler.add(&read(row_idx)).unwrap(),
        }
    }
    let scaler = scaler.finish().unwrap();
    println!("scaler: {:.1} s", start.elapsed().as_secs_f64());
    let start = Instant::now();
    let params = PcaParams { n_components };
    let (pca, _) = match max_bytes {
        Some(max_bytes) => {
            params.fit_streamed(&ScaledBlocks::new(&blocks, &scaler).unwrap(), max_bytes).unwrap()
        }
        None => {
            rows.iter_mut().for_each(|row| assert!(scaler.scale_row(row).unwrap()));
            params.fit_with_scores(&rows.iter().map(Vec::as_slice).collect::<Vec<_>>()).unwrap()
        }
    };
    let seconds = start.elapsed().as_secs_f64();
    let share = pca.explained_variance().iter().sum::<f64>() / pca.total_variance();
    let components_mib = pca.components().len() / (1 << 18);
    println!("components: {seconds:.1} s, {:.1} % of the variance", 100.0 * share);
    println!("peak memory: {} MiB, of which the components are {components_mib}", peak_mib());
}

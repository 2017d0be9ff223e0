//! The samples that the reference values were computed from.
#![allow(dead_code)] // each test uses its part

pub(crate) mod ranks;

use ndarray::Array2;
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// A data set in `samples.json`.
#[derive(Deserialize)]
pub(crate) struct Bundled {
    pub(crate) n_features: usize,
    pub(crate) labels: Vec<u8>,
    pub(crate) values: Vec<f32>,
}

impl Bundled {
    pub(crate) fn samples(&self) -> Array2<f32> {
        Array2::from_shape_vec((self.labels.len(), self.n_features), self.values.clone()).unwrap()
    }
}

/// Reads a file of this folder.
pub(crate) fn read<T: DeserializeOwned>(file: &str) -> T {
    let path = format!("{}/../tests/reference/{file}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The formula of `relu_samples.py`: samples and labels.
pub(crate) fn relu_samples() -> (Array2<f32>, Vec<u8>) {
    const GOLDEN_GAMMA: u64 = 0x9E37_79B9_7F4A_7C15;
    const PART: u64 = 0x1F_FFFF;
    let (n_rows, n_features, n_odd) = (200u64, 4000u64, 20);
    let mix = |mut z: u64| {
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    };
    let samples = Array2::from_shape_fn((n_rows as usize, n_features as usize), |(row, column)| {
        let bits = mix((row as u64 * n_features + column as u64 + 1).wrapping_mul(GOLDEN_GAMMA));
        let per_column = mix((column as u64 + 1).wrapping_mul(GOLDEN_GAMMA) ^ 0x5EED);
        let odd = row as u64 >= n_rows - n_odd;
        if (if odd { per_column >> 16 } else { per_column }) % 4 == 0 {
            return 0.0;
        }
        let total = (bits & PART) + ((bits >> 21) & PART) + ((bits >> 42) & PART);
        let value = (total as i64 - 3 * (1 << 20) - 419_430).max(0) * (1 + (per_column >> 8) as i64 % 4);
        (value as f64 / f64::from(1 << 21)) as f32
    });
    (samples, (0..n_rows).map(|row| u8::from(row >= n_rows - n_odd)).collect())
}

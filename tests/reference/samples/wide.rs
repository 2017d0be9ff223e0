//! Wide samples for benchmarks, as features after a ReLU: 67 % zeros, 23 % of the columns zero throughout.

use rayon::prelude::*;

/// ResNet-50's last stage on the paper's crop: 2048 x 15 x 30.
pub(crate) const N_FEATURES: usize = 921_600;

/// Rows kept apart; `wide_samples` in `relu_samples.py` gives the same.
pub(crate) fn wide_rows(n_rows: usize) -> Vec<Vec<f32>> {
    rows_of(n_rows, N_FEATURES)
}

/// As [`wide_rows`], the first columns alone.
pub(crate) fn rows_of(n_rows: usize, n_features: usize) -> Vec<Vec<f32>> {
    const GOLDEN_GAMMA: u64 = 0x9E37_79B9_7F4A_7C15;
    const PART: u64 = 0x1F_FFFF;
    let mix = |mut z: u64| {
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    };
    let value = |row: usize, column: usize| {
        let per_column = mix((column as u64 + 1).wrapping_mul(GOLDEN_GAMMA) ^ 0x5EED);
        if per_column % 100 < 23 {
            return 0.0;
        }
        let position = (row * N_FEATURES + column) as u64 + 1;
        let bits = mix(position.wrapping_mul(GOLDEN_GAMMA));
        let total = (bits & PART) + ((bits >> 21) & PART) + ((bits >> 42) & PART);
        (total as i64 - 3 * (1 << 20) - 200_000).max(0) as f32 / (1 << 21) as f32
    };
    (0..n_rows)
        .into_par_iter()
        .map(|row| (0..n_features).map(|column| value(row, column)).collect())
        .collect()
}

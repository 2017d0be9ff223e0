//! What maps features to other features before they are scored.

mod pca;
mod scaler;
mod streamed;
mod symmetric;

pub use pca::{Pca, PcaParams};
pub use scaler::{Scaler, ScalerFit, ScalerParams};
pub use streamed::{SampleBlocks, SampleFile, ScaledBlocks};

use crate::finite::first_not_finite;
use crate::{Error, Result};
use rayon::prelude::*;

/// Columns handled at once: a piece of a row fits the first-level cache.
const BLOCK: usize = 4096;
/// Columns (or rows) whose product is formed at once in f64.
const PIECE: usize = 512;

/// The length of the rows, which must be equal and finite.
fn check_rows(rows: &[&[f32]]) -> Result<usize> {
    let width = rows.first().map_or(0, |row| row.len());
    if let Some(other) = rows.iter().find(|row| row.len() != width) {
        return Err(Error::Shape {
            what: "rows of samples",
            wanted: format!("{width} values in each, as in the first"),
            found: other.len().to_string(),
        });
    }
    let bad: Vec<Option<usize>> = rows.par_iter().map(|row| first_not_finite(row)).collect();
    match bad.iter().enumerate().find_map(|(row_idx, bad)| bad.map(|column| row_idx * width + column)) {
        Some(index) => Err(Error::NotFinite { what: "samples", index }),
        None => Ok(width),
    }
}

fn wrong_width(what: &'static str, wanted: usize, found: usize) -> Error {
    Error::Shape { what, wanted: format!("{wanted} columns"), found: found.to_string() }
}

//! Histograms of oriented gradients (Dalal and Triggs, "Histograms of Oriented Gradients for Human Detection", CVPR 2005).

use super::{check_images, check_shape};
use crate::error::{Error, Result};
use crate::traits::{FeatureExtractor, ImageShape};
use ndarray::{Array2, ArrayView3, ArrayView4};
use serde::{Deserialize, Serialize};

/// Parameters of [`Hog`]. The default, 12 x 12 cells, 8 orientations and blocks of 2 x 2 cells, gives 3,872 features.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HogParams {
    /// The image is divided into `cells` x `cells` cells, whatever its size; 1 to 256. Default 12.
    pub cells: usize,
    /// Orientation bins over 180 degrees: a gradient and its negative count the same; 2 to 64. Default 8.
    pub orientations: usize,
    /// Cells along the side of a block, within which contrast is normalised; 1 to `cells`. Blocks overlap: one begins at
    /// every cell. Default 2.
    pub block: usize,
}

impl Default for HogParams {
    fn default() -> Self {
        Self { cells: 12, orientations: 8, block: 2 }
    }
}

/// The largest component of a normalised block before it is normalised again (section 6.4 of the paper: L2-Hys).
const CLIP: f32 = 0.2;
/// Added (squared) under the root of the norm, in grey levels a pixel: blocks without contrast become zero, not noise.
const SOFTENING: f32 = 0.1;

/// Histograms of oriented gradients: weight-free, fast, and told by eye.
///
/// As in the paper: gradients by `[-1, 0, 1]` without smoothing, of the channel with the largest magnitude at each pixel;
/// unsigned orientations; each pixel votes with its magnitude, bilinearly between the two nearest orientation bins and
/// the four nearest cells; blocks of cells are normalised by L2-Hys. Pixels beyond the border repeat the border.
///
/// The feature map is `[block * block * orientations, n, n]` with `n = cells - block + 1`: the channels are the block's
/// cells in row-major order and, fastest, their orientations. Features are dimensionless, in 0..=1.
pub struct Hog {
    shape: ImageShape,
    params: HogParams,
    rows: Vec<Share>,
    columns: Vec<Share>,
}

/// How a row or column of pixels is shared between a cell and the next.
#[derive(Clone, Copy)]
struct Share {
    /// The cell counted from 1, since a ring of unused cells surrounds the histograms.
    cell: usize,
    /// The part of the next cell, in 0..1.
    next: f32,
}

fn shares(cells: usize, length: usize) -> Vec<Share> {
    let position = |i: usize| (i as f64 + 0.5) * cells as f64 / length as f64 + 0.5;
    (0..length)
        .map(|i| Share { cell: position(i).floor() as usize, next: position(i).fract() as f32 })
        .collect()
}

impl Hog {
    /// An extractor for images of `shape`.
    ///
    /// # Errors
    ///
    /// [`Error::Parameter`] for a parameter out of range, and if there are more cells than rows or columns of pixels;
    /// [`Error::Shape`] if the shape has neither 1 nor 3 channels.
    pub fn new(params: &HogParams, shape: ImageShape) -> Result<Self> {
        check_shape(shape)?;
        let most = 256.min(shape.rows).min(shape.columns);
        let ranges = [
            ("cells", params.cells, 1..=most),
            ("orientations", params.orientations, 2..=64),
            ("block", params.block, 1..=params.cells),
        ];
        for (name, found, range) in ranges {
            if !range.contains(&found) {
                return Err(Error::Parameter {
                    name,
                    found: found.to_string(),
                    expected: format!(
                        "{} to {} for images of {} x {} pixels",
                        range.start(),
                        range.end(),
                        shape.rows,
                        shape.columns
                    ),
                });
            }
        }
        let (rows, columns) = (shares(params.cells, shape.rows), shares(params.cells, shape.columns));
        Ok(Self { shape, params: params.clone(), rows, columns })
    }

    /// Mean gradient magnitude by cell and orientation, `[cells + 2, cells + 2, orientations]`, with an unused ring.
    fn histograms(&self, image: &ArrayView3<'_, f32>) -> Vec<f32> {
        let (n, side) = (self.params.orientations, self.params.cells + 2);
        let mut histograms = vec![0.0f32; side * side * n];
        let image = image.as_standard_layout();
        let pixels = image.as_slice().expect("a standard layout is contiguous");
        let (rows, columns) = (self.shape.rows, self.shape.columns);
        let bins_per_radian = n as f32 / std::f32::consts::PI;
        let mut gradients = vec![(0.0f32, 0.0f32); columns];
        for (row, row_share) in self.rows.iter().enumerate() {
            gradients.fill((0.0, 0.0));
            for plane in pixels.chunks_exact(rows * columns) {
                let line = |row: usize| &plane[row * columns..][..columns];
                let (above, here, below) =
                    (line(row.saturating_sub(1)), line(row), line((row + 1).min(rows - 1)));
                for column in 0..columns {
                    let across = here[(column + 1).min(columns - 1)] - here[column.saturating_sub(1)];
                    let down = below[column] - above[column];
                    let (best_across, best_down) = gradients[column];
                    // Not "greater or equal": the first channel of equals is taken, as the reference does.
                    if across * across + down * down > best_across * best_across + best_down * best_down {
                        gradients[column] = (across, down);
                    }
                }
            }
            for (&(across, down), column_share) in gradients.iter().zip(&self.columns) {
                let magnitude = (across * across + down * down).sqrt();
                if magnitude == 0.0 {
                    continue;
                }
                // Bin centres lie at half bins; the angle in (-180, 180] degrees is folded onto half a turn by the modulo.
                let position = down.atan2(across) * bins_per_radian - 0.5 + 2.0 * n as f32;
                let (bin, next) = (position.floor(), position - position.floor());
                let (bin0, bin1) = (bin as usize % n, (bin as usize + 1) % n);
                let (vote0, vote1) = (magnitude * (1.0 - next), magnitude * next);
                for (row_cell, row_part) in
                    [(row_share.cell, 1.0 - row_share.next), (row_share.cell + 1, row_share.next)]
                {
                    let at = (row_cell * side + column_share.cell) * n;
                    let (part0, part1) = (row_part * (1.0 - column_share.next), row_part * column_share.next);
                    histograms[at + bin0] += part0 * vote0;
                    histograms[at + bin1] += part0 * vote1;
                    histograms[at + n + bin0] += part1 * vote0;
                    histograms[at + n + bin1] += part1 * vote1;
                }
            }
        }
        let pixels_a_cell = (rows * columns) as f32 / (self.params.cells * self.params.cells) as f32;
        histograms.iter_mut().for_each(|sum| *sum /= pixels_a_cell);
        histograms
    }

    fn extract_one(&self, image: &ArrayView3<'_, f32>, features: &mut [f32]) {
        let HogParams { cells, orientations, block } = self.params;
        let histograms = self.histograms(image);
        let n_blocks = cells - block + 1;
        let mut values = vec![0.0f32; block * block * orientations];
        for block_row in 0..n_blocks {
            for block_column in 0..n_blocks {
                for (cell, values) in values.chunks_exact_mut(orientations).enumerate() {
                    let (row, column) = (block_row + cell / block + 1, block_column + cell % block + 1);
                    values.copy_from_slice(
                        &histograms[(row * (cells + 2) + column) * orientations..][..orientations],
                    );
                }
                normalise(&mut values, SOFTENING);
                values.iter_mut().for_each(|value| *value = value.min(CLIP));
                normalise(&mut values, 1e-6);
                for (channel, value) in values.iter().enumerate() {
                    features[(channel * n_blocks + block_row) * n_blocks + block_column] = *value;
                }
            }
        }
    }
}

fn normalise(values: &mut [f32], softening: f32) {
    let squares: f32 = values.iter().map(|value| value * value).sum();
    let norm = (squares + softening * softening).sqrt();
    values.iter_mut().for_each(|value| *value /= norm);
}

impl FeatureExtractor for Hog {
    fn image_shape(&self) -> ImageShape {
        self.shape
    }

    fn feature_shape(&self) -> [usize; 3] {
        let HogParams { cells, orientations, block } = self.params;
        [block * block * orientations, cells - block + 1, cells - block + 1]
    }

    fn extract(&self, images: ArrayView4<'_, f32>) -> Result<Array2<f32>> {
        check_images(&images, self.shape)?;
        let mut features = Array2::zeros((images.shape()[0], self.n_features()));
        for (image, mut features) in images.outer_iter().zip(features.outer_iter_mut()) {
            self.extract_one(&image, features.as_slice_mut().expect("rows of a fresh array are contiguous"));
        }
        Ok(features)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array4;

    fn hog(cells: usize, orientations: usize, block: usize, rows: usize, columns: usize) -> Hog {
        let shape = ImageShape { channels: 1, rows, columns };
        Hog::new(&HogParams { cells, orientations, block }, shape).unwrap()
    }

    #[test]
    fn preset_of_12_cells_and_8_orientations_gives_3872_features() {
        let shape = ImageShape { channels: 3, rows: 480, columns: 956 };
        let hog = Hog::new(&HogParams::default(), shape).unwrap();
        assert_eq!(hog.feature_shape(), [32, 11, 11]);
        assert_eq!(hog.n_features(), 3872);
    }

    #[test]
    fn slope_votes_for_the_bins_around_its_orientation() {
        // Grey levels rise along the columns: the gradient points at 0 degrees, half-way between the first bin and the last.
        let hog = hog(3, 4, 1, 30, 30);
        let slope = Array4::from_shape_fn((1, 1, 30, 30), |(_, _, _, column)| 2.0 * column as f32);
        let features = hog.extract(slope.view()).unwrap();
        let centre = |bin: usize| features[[0, (bin * 3 + 1) * 3 + 1]];
        assert!(
            (centre(0) - 0.5f32.sqrt()).abs() < 1e-3 && (centre(3) - centre(0)).abs() < 1e-5,
            "{features}"
        );
        assert!(centre(1).abs() < 1e-5 && centre(2).abs() < 1e-5, "{features}");
    }

    #[test]
    fn contrast_and_its_reversal_do_not_matter() {
        let hog = hog(4, 9, 2, 40, 52);
        let wave = |(_, _, row, column): (usize, usize, usize, usize)| {
            60.0 + 40.0 * (row as f32 / 5.0).sin() * (column as f32 / 7.0 + row as f32 / 11.0).cos()
        };
        let image = Array4::from_shape_fn((1, 1, 40, 52), wave);
        let features = hog.extract(image.view()).unwrap();
        for other in [image.mapv(|level| 3.0 * level + 5.0), image.mapv(|level| 255.0 - level)] {
            let found = hog.extract(other.view()).unwrap();
            let difference = (&found - &features).mapv(f32::abs).into_iter().fold(0.0, f32::max);
            assert!(difference < 1e-2, "{difference}");
        }
    }

    #[test]
    fn image_without_contrast_has_features_of_zero() {
        let features = hog(4, 8, 2, 16, 16).extract(Array4::from_elem((1, 1, 16, 16), 200.0).view()).unwrap();
        assert!(features.iter().all(|&feature| feature == 0.0));
    }

    #[test]
    fn strongest_channel_decides() {
        let params = HogParams { cells: 3, orientations: 8, block: 1 };
        let colour = Hog::new(&params, ImageShape { channels: 3, rows: 24, columns: 24 }).unwrap();
        let grey = Hog::new(&params, ImageShape { channels: 1, rows: 24, columns: 24 }).unwrap();
        let level = |channel: usize, row: usize, column: usize| match channel {
            0 => row as f32,
            1 => 5.0 * column as f32 + 3.0 * row as f32,
            _ => 100.0,
        };
        let rgb =
            Array4::from_shape_fn((1, 3, 24, 24), |(_, channel, row, column)| level(channel, row, column));
        let green = Array4::from_shape_fn((1, 1, 24, 24), |(_, _, row, column)| level(1, row, column));
        assert_eq!(colour.extract(rgb.view()).unwrap(), grey.extract(green.view()).unwrap());
    }

    #[test]
    fn images_of_a_batch_do_not_touch_each_other() {
        let hog = hog(4, 8, 2, 20, 28);
        let level = |(n, _, row, column)| ((n * 53 + row * row * 3 + column * 17) % 251) as f32;
        let images = Array4::from_shape_fn((3, 1, 20, 28), level);
        let together = hog.extract(images.view()).unwrap();
        for n in 0..3 {
            let alone = hog.extract(images.slice_axis(ndarray::Axis(0), (n..n + 1).into())).unwrap();
            assert_eq!(alone.row(0), together.row(n));
        }
        assert_ne!(together.row(0), together.row(1));
    }

    #[test]
    fn parameters_out_of_range_are_refused() {
        let shape = ImageShape { channels: 1, rows: 10, columns: 20 };
        for (params, name) in [
            (HogParams { cells: 0, ..HogParams::default() }, "cells"),
            (HogParams { cells: 11, ..HogParams::default() }, "cells"),
            (HogParams { cells: 4, orientations: 1, block: 2 }, "orientations"),
            (HogParams { cells: 4, orientations: 8, block: 5 }, "block"),
        ] {
            let error = Hog::new(&params, shape).err().unwrap().to_string();
            assert!(error.starts_with(name), "{error}");
        }
    }
}

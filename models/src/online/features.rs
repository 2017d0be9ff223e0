//! Features of an image, as whole and by place: what an extractor sees that pixels do not show.

use super::block_matching::NoveltyMap;
use super::evidence::Grid;
use super::planes::Planes;
use crate::error::Result;
use crate::extractor::{ExtractorParams, ExtractorSource, HogParams};
use crate::rng::Rng;
use crate::traits::FeatureExtractor;
use ndarray::Array4;
use std::fmt;
use std::sync::Arc;

/// Channels that are compared; more are projected to as many.
const MAX_CHANNELS: usize = 32;

/// How many cells things may move.
const MAX_SHIFT: isize = 2;

/// A histogram of gradients needs a few pixels in each direction.
const PIXELS_PER_HOG_CELL: usize = 6;

/// Features of one image.
#[derive(Debug, Clone)]
pub(super) struct Features {
    /// All of them, `[channels, rows, columns]`, row-major.
    pub(super) row: Arc<[f32]>,
    /// Those that are compared by place.
    pub(super) map: Arc<FeatureMap>,
}

/// Features by place.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct FeatureMap {
    /// Channels, at most 32, rows and columns.
    pub(super) shape: [usize; 3],
    /// `[rows, columns, channels]`, row-major.
    pub(super) values: Vec<f32>,
}

/// Makes the features of a run's images.
pub(super) struct FeatureMaker {
    params: ExtractorParams,
    seed: u64,
    source: Arc<dyn ExtractorSource>,
    /// Made for the first image's shape.
    extractor: Option<Arc<dyn FeatureExtractor>>,
    /// `[channels, MAX_CHANNELS]`; empty where nothing is projected.
    projection: Vec<f32>,
}

impl fmt::Debug for FeatureMaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FeatureMaker").field("params", &self.params).finish_non_exhaustive()
    }
}

impl FeatureMaker {
    pub(super) fn new(params: ExtractorParams, seed: u64, source: Arc<dyn ExtractorSource>) -> Self {
        Self { params, seed, source, extractor: None, projection: Vec::new() }
    }

    /// What features are rounded to, as [`ExtractorSource::rounded_to`].
    pub(super) fn rounded_to(&self) -> Option<&'static str> {
        self.source.rounded_to(&self.params)
    }

    /// The features of the compared image.
    ///
    /// # Errors
    ///
    /// Those of the extractor.
    pub(super) fn make(&mut self, image: &Planes) -> Result<Features> {
        let shape = image.shape();
        let extractor = match self.extractor.take().filter(|extractor| extractor.image_shape() == shape) {
            Some(extractor) => extractor,
            None => {
                let params = fitting(&self.params, shape.rows.min(shape.columns));
                let extractor = self.source.extractor(&params, shape)?;
                self.projection = projection(extractor.feature_shape()[0], self.seed);
                extractor
            }
        };
        let pixels = Array4::from_shape_fn((1, shape.channels, shape.rows, shape.columns), |(_, k, r, c)| {
            f32::from(image.row(k, r)[c])
        });
        let features = extractor.extract(pixels.view());
        let [channels, rows, columns] = extractor.feature_shape();
        self.extractor = Some(extractor);
        let row: Arc<[f32]> = features?.into_iter().collect();
        let values = if self.projection.is_empty() {
            let places = rows * columns;
            (0..places)
                .flat_map(|place| (0..channels).map(move |k| (k, place)))
                .map(|(k, place)| row[k * places + place])
                .collect()
        } else {
            projected(&row, &self.projection, rows * columns)
        };
        let shape = [channels.min(MAX_CHANNELS), rows, columns];
        Ok(Features { row, map: Arc::new(FeatureMap { shape, values }) })
    }
}

/// The extractor's parameters for an image of this shorter side: a small one has room for fewer cells.
fn fitting(params: &ExtractorParams, side: usize) -> ExtractorParams {
    match params {
        ExtractorParams::Hog(hog) => {
            let cells = hog.cells.min((side / PIXELS_PER_HOG_CELL).max(1));
            ExtractorParams::Hog(HogParams { cells, block: hog.block.min(cells), ..hog.clone() })
        }
        other => other.clone(),
    }
}

/// Independent normal numbers of variance 1 / 32, so that distances keep their size (Johnson and Lindenstrauss 1984); empty if there
/// are no more channels than are compared.
fn projection(channels: usize, seed: u64) -> Vec<f32> {
    if channels <= MAX_CHANNELS {
        return Vec::new();
    }
    let mut rng = Rng::new(seed);
    let scale = 1.0 / (MAX_CHANNELS as f64).sqrt();
    (0..channels * MAX_CHANNELS).map(|_| (scale * rng.normal()) as f32).collect()
}

fn projected(row: &[f32], projection: &[f32], places: usize) -> Vec<f32> {
    let mut values = vec![0f32; places * MAX_CHANNELS];
    for (features, weights) in row.chunks_exact(places).zip(projection.chunks_exact(MAX_CHANNELS)) {
        for (&feature, out) in features.iter().zip(values.chunks_exact_mut(MAX_CHANNELS)) {
            // Most features behind a rectifier are zero.
            if feature != 0.0 {
                out.iter_mut().zip(weights).for_each(|(out, weight)| *out += feature * weight);
            }
        }
    }
    values
}

impl FeatureMap {
    /// The root mean square of the length of a place's vector, or 1 where there are no features at all: the unit that novelty is
    /// measured in, taken from a run's first image.
    pub(super) fn unit(&self) -> f32 {
        let [_, rows, columns] = self.shape;
        let squares: f64 = self.values.iter().map(|&value| f64::from(value).powi(2)).sum();
        let unit = (squares / (rows * columns) as f64).sqrt() as f32;
        if unit > 0.0 { unit } else { 1.0 }
    }

    /// The vectors of all places, `[channels]` each.
    pub(super) fn vectors(&self) -> impl ExactSizeIterator<Item = &[f32]> {
        self.values.chunks_exact(self.shape[0])
    }

    /// Compares the vector of each place with those of `reference` up to two places away.
    ///
    /// Returns the least distances in units of `unit`.
    pub(super) fn novelty(&self, reference: &Self, unit: f32) -> NoveltyMap {
        let [channels, rows, columns] = self.shape;
        let mut novelty = Vec::with_capacity(rows * columns);
        let near = |at: usize, most: usize| {
            at.saturating_add_signed(-MAX_SHIFT)..(at + MAX_SHIFT.unsigned_abs() + 1).min(most)
        };
        for (row, column) in (0..rows).flat_map(|r| (0..columns).map(move |c| (r, c))) {
            let vector = &self.values[(row * columns + column) * channels..][..channels];
            let mut least = f32::INFINITY;
            for place in near(row, rows).flat_map(|r| near(column, columns).map(move |c| r * columns + c)) {
                let other = &reference.values[place * channels..][..channels];
                let distance: f32 = vector.iter().zip(other).map(|(a, b)| (a - b) * (a - b)).sum();
                least = least.min(distance);
            }
            novelty.push(least.sqrt() / unit);
        }
        NoveltyMap { rows, columns, novelty }
    }

    /// Where its places lie in a compared image of so many rows and columns.
    pub(super) fn grid(&self, image: [usize; 2]) -> Grid {
        let [_, rows, columns] = self.shape;
        let stride = [image[0].div_ceil(rows), image[1].div_ceil(columns)];
        Grid { columns, stride, overlaps: false, gap: 1, image }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::extractor::OwnExtractors;
    use ndarray::Array3;

    fn maker() -> FeatureMaker {
        let params = ExtractorParams::Hog(HogParams { cells: 10, orientations: 8, block: 1 });
        FeatureMaker::new(params, 3, Arc::new(OwnExtractors::default()))
    }

    fn image(rows: usize, columns: usize, start: f64) -> Planes {
        Planes::reduced(
            &Array3::from_shape_fn((3, rows, columns), |(k, r, c)| {
                (128.0 + 100.0 * (0.2 * r as f64 + 0.3 * c as f64 + k as f64 + start).sin()) as f32
            }),
            1,
        )
    }

    #[test]
    fn an_image_has_nothing_new_against_itself_and_something_against_another() {
        let mut maker = maker();
        let (one, other) =
            (maker.make(&image(80, 100, 0.0)).unwrap(), maker.make(&image(80, 100, 0.0)).unwrap());
        assert_eq!(one.map.shape, [8, 10, 10]);
        assert!(one.map.novelty(&other.map, one.map.unit()).novelty.iter().all(|&m| m == 0.0));
        let mut turned = image(100, 80, 0.0);
        turned = Planes::reduced(
            &Array3::from_shape_fn((3, 80, 100), |(k, r, c)| f32::from(turned.row(k, c)[r])),
            1,
        );
        let turned = maker.make(&turned).unwrap();
        assert!(turned.map.novelty(&one.map, one.map.unit()).novelty.iter().all(|&m| m > 0.1));
    }

    #[test]
    fn a_small_image_has_fewer_cells() {
        let features = maker().make(&image(24, 100, 0.0)).unwrap();
        assert_eq!(features.map.shape, [8, 4, 4]);
        assert!(maker().make(&image(8, 8, 0.0)).is_ok());
    }

    #[test]
    fn a_projection_keeps_distances_within_its_error() {
        let mut rng = Rng::new(6);
        let places = 40;
        let row: Vec<f32> = (0..1024 * places).map(|_| rng.normal().max(0.0) as f32).collect();
        let values = projected(&row, &projection(1024, 5), places);
        let distance = |i: usize, j: usize| {
            let true_one: f32 = (0..1024).map(|k| (row[k * places + i] - row[k * places + j]).powi(2)).sum();
            let kept: f32 = (0..32).map(|k| (values[i * 32 + k] - values[j * 32 + k]).powi(2)).sum();
            f64::from(kept / true_one)
        };
        let ratios: Vec<f64> = (1..places).map(|j| distance(0, j)).collect();
        let mean = ratios.iter().sum::<f64>() / ratios.len() as f64;
        // A squared distance is kept with a relative standard deviation of sqrt(2 / 32) = 0.25.
        assert!(
            (mean - 1.0).abs() < 0.4 && ratios.iter().all(|r| (0.2..2.5).contains(r)),
            "{mean} {ratios:?}"
        );
    }
}

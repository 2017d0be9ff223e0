//! Where in an image the score of a fitted forest comes from.

use crate::detector::FittedDetector;
use crate::detector::isolation_forest::average_path_length;
use crate::image::{Decoded, Preprocess};
use crate::online::HeatMap;
use crate::pipeline::{Pipeline, Row};
use crate::{Error, Result};
use ndarray::Array2;

/// An alarm level is at least this share of the forest's mean path length, for thresholds that ordinary images exceed.
const LEAST_ALARM: f64 = 0.05;

/// The middle colour stands for a place that does so many times its even share of what an alarm needs.
const EVEN_SHARES: f64 = 10.0;

/// How much each place of an image shortens its paths in the forest.
///
/// The importances of the features
/// ([`Importances`](crate::detector::isolation_forest::Importances)) are added up over the channels of each place of the extractor's
/// feature map, whose places divide the judged part of the image evenly.
#[derive(Debug, Clone, PartialEq)]
pub struct ImportanceMap {
    cells: Array2<f64>,
    /// What all places together need for an alarm.
    alarm: f64,
    preprocess: Preprocess,
    /// First row and column of the judged part in the file.
    origin: [usize; 2],
    /// Rows and columns of the judged part after preprocessing.
    size: [usize; 2],
}

impl ImportanceMap {
    /// By how many splits each place makes the image's mean path shorter, `[rows, columns]` of the feature map; negative where it makes
    /// it longer.
    pub fn cells(&self) -> &Array2<f64> {
        &self.cells
    }

    /// By how many splits all places together make the path shorter in an image that just raises an alarm.
    pub fn alarm(&self) -> f64 {
        self.alarm
    }

    /// Row and column of the most important place.
    pub fn hottest(&self) -> [usize; 2] {
        let (row, column) = self
            .cells
            .indexed_iter()
            .max_by(|a, b| a.1.total_cmp(b.1))
            .map_or((0, 0), |(position, _)| position);
        [row, column]
    }

    /// The pixels of the file that a place stands for: `[row0, column0, row1, column1]`, inclusive. Its features see some more around.
    pub fn region(&self, [row, column]: [usize; 2]) -> [usize; 4] {
        let counts = [self.cells.nrows(), self.cells.ncols()];
        let interval = |place: usize, axis: usize| {
            let begin = |place: usize| (place * self.size[axis]).div_ceil(counts[axis]);
            let first = self.origin[axis] + begin(place) * self.preprocess.reduce;
            let end = self.origin[axis] + begin(place + 1) * self.preprocess.reduce;
            [first, end.max(first + 1) - 1]
        };
        let ([row0, row1], [column0, column1]) = (interval(row, 0), interval(column, 1));
        [row0, column0, row1, column1]
    }

    /// The map as a picture over the image, with the colours of every [`HeatMap`]: the middle one stands for a place that shortens the
    /// path by ten times its even share of what an alarm needs.
    pub fn heat_map(&self, image: &Decoded) -> HeatMap {
        let middle = EVEN_SHARES * self.alarm / self.cells.len() as f64;
        let levels = self.cells.mapv(|cell| (cell / middle).max(0.0) as f32);
        HeatMap::of_cells(&image.pixels, &self.preprocess, self.size, &levels)
    }
}

impl Pipeline {
    /// Where in `image` the score comes from; `None` unless the detector is an isolation forest on the features themselves, without
    /// principal components in between, and where a feature is not finite.
    ///
    /// # Errors
    ///
    /// As [`judge`](Self::judge).
    pub fn importance_map(&self, image: &Decoded) -> Result<Option<ImportanceMap>> {
        if !self.has_places() {
            return Ok(None);
        }
        self.importance_map_of(&self.features(image)?)
    }

    /// Whether the detector's features are places of the image.
    pub(crate) fn has_places(&self) -> bool {
        self.pca.is_none() && matches!(self.detector, FittedDetector::IsolationForest(_))
    }

    /// As [`importance_map`](Self::importance_map), from the features as the detector sees them.
    pub(crate) fn importance_map_of(&self, row: &Row) -> Result<Option<ImportanceMap>> {
        let (true, FittedDetector::IsolationForest(forest)) = (self.pca.is_none(), &self.detector) else {
            return Ok(None);
        };
        if !row.is_finite {
            return Ok(None);
        }
        let importances = forest.importances();
        let [_, rows, columns] = self.extractor.feature_shape();
        let mut cells = vec![0.0; rows * columns];
        for (feature, importance) in importances.of(&row.values)? {
            cells[feature as usize % (rows * columns)] += importance;
        }
        let cells = Array2::from_shape_vec((rows, columns), cells)
            .map_err(|error| Error::Backend { what: "map of importances", source: error.into() })?;
        // The score 2^(-E h / c) is the threshold at E h = -c log2(threshold).
        let limit = -average_path_length(forest.sample_size()) * f64::from(self.threshold.value()).log2();
        let alarm = (importances.baseline() - limit).max(LEAST_ALARM * importances.baseline());
        let shape = self.extractor.image_shape();
        let preprocess = self.params.preprocess;
        let origin = preprocess.crop.map_or([0, 0], |crop| [crop.rows[0], crop.columns[0]]);
        Ok(Some(ImportanceMap { cells, alarm, preprocess, origin, size: [shape.rows, shape.columns] }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detector::{DetectorParams, OneClassSvmParams};
    use crate::extractor::{DeviceChoice, WeightsStore};
    use crate::image::{Colour, Crop};
    use crate::pipeline::PipelineParams;
    use crate::pipeline::tests::{forest, params};
    use crate::rng::Rng;
    use crate::verdict::Label;
    use ndarray::Array3;

    /// Waves with noise, 100 x 140 pixels, and stripes in rows 52 to 83, columns 80 to 119 where wanted.
    fn picture(seed: u64, faulty: bool) -> Decoded {
        let mut rng = Rng::new(seed);
        let pixels = Array3::from_shape_fn((100, 140, 1), |(row, column, _)| {
            let fault = faulty && (52..84).contains(&row) && (80..120).contains(&column);
            let wave = 30.0 * (0.1 * row as f64 + 0.07 * column as f64).sin();
            let level = if fault { 255.0 * (row / 4 % 2) as f64 } else { 120.0 + wave };
            (level + 4.0 * rng.normal()).clamp(0.0, 255.0) as u8
        });
        Decoded { pixels, format: "png" }
    }

    fn fit(params: &PipelineParams) -> Pipeline {
        let images = (0..40).map(|seed| Ok(picture(seed, false)));
        Pipeline::fit(params, images, &WeightsStore::default(), &DeviceChoice::Cpu, &mut |_| ()).unwrap()
    }

    #[test]
    fn cell_of_a_painted_fault_is_the_most_important_one_in_the_pixels_of_the_file() {
        for (crop, reduce) in [(None, 1), (Some(Crop { rows: [9, 92], columns: [21, 132] }), 1), (None, 2)] {
            let preprocess = Preprocess { crop, colour: Colour::Grey, reduce };
            let pipeline = fit(&PipelineParams { preprocess, detector: forest(300), ..params() });
            let odd = picture(1000, true);
            let judgement = pipeline.judge(&odd).unwrap();
            assert_eq!(judgement.verdict.label, Label::Anomalous, "{crop:?}");
            let map = pipeline.importance_map(&odd).unwrap().unwrap();
            let [row0, column0, row1, column1] = map.region(map.hottest());
            assert_eq!(judgement.region, Some([row0, column0, row1, column1]));
            let is_on_fault = row0 < 84 && row1 >= 52 && column0 < 120 && column1 >= 80;
            assert!(is_on_fault, "{crop:?}: {:?}", map.region(map.hottest()));
            // So do most of the five most important cells, but for a cell's width; seeds make others of features that hardly vary.
            let mut cells: Vec<_> = map.cells().indexed_iter().collect();
            cells.sort_by(|a, b| b.1.total_cmp(a.1));
            let is_near = |&&((row, column), _): &&((usize, usize), &f64)| {
                let [row0, column0, row1, column1] = map.region([row, column]);
                row0 < 96 && row1 >= 40 && column0 < 132 && column1 >= 68
            };
            let n_near = cells[..5].iter().filter(is_near).count();
            assert!(n_near >= 3, "{crop:?}: {:?}", &cells[..5]);
            // What the places have in common: an alarm, as the score says.
            assert!(map.cells().sum() > map.alarm());
            let normal = pipeline.importance_map(&picture(1001, false)).unwrap().unwrap();
            assert!(normal.cells().sum() < map.cells().sum());
            let picture = map.heat_map(&odd);
            let brightness = |row: usize, column: usize| picture.pixels()[[row, column, 0]];
            let middle = brightness((row0 + row1) / 2, (column0 + column1) / 2);
            assert!(middle > brightness(30, 40), "{crop:?}: {middle}");
        }
    }

    #[test]
    fn places_of_the_map_divide_the_judged_part_without_gap_or_overlap() {
        let preprocess = Preprocess {
            crop: Some(Crop { rows: [3, 90], columns: [5, 120] }),
            colour: Colour::Grey,
            reduce: 3,
        };
        let pipeline = fit(&PipelineParams { preprocess, detector: forest(5), ..params() });
        let map = pipeline.importance_map(&picture(1, false)).unwrap().unwrap();
        let (rows, columns) = map.cells().dim();
        let mut next = 3;
        for row in 0..rows {
            let [row0, _, row1, _] = map.region([row, 0]);
            assert_eq!(row0, next);
            next = row1 + 1;
        }
        assert_eq!(next, 3 + 88 / 3 * 3);
        assert_eq!(map.region([0, columns - 1])[3], 5 + 116 / 3 * 3 - 1);
    }

    #[test]
    fn there_is_no_map_where_features_are_no_places_or_not_from_a_forest() {
        let svm = DetectorParams::OneClassSvm(OneClassSvmParams { nu: 0.2, ..Default::default() });
        for params in [
            PipelineParams { detector: svm, ..params() },
            PipelineParams { n_components: Some(5), ..params() },
        ] {
            let pipeline = fit(&params);
            assert_eq!(pipeline.importance_map(&picture(1000, true)).unwrap(), None);
            assert_eq!(pipeline.judge(&picture(1000, true)).unwrap().region, None);
        }
    }
}

//! Numbers that cost next to nothing: what a detector has to beat.

use super::colour::{ColourOrder, part};
use crate::image::{Crop, Decoded, Field};
use crate::online::ScalarRun;
use ndarray::s;

/// A number of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Baseline {
    /// The mean level, in 0..=1 of the colour range.
    MeanLevel,
    /// The level that one pixel in a thousand exceeds, in 0..=1: the greatest alone hangs on a single pixel.
    Maximum,
    /// The number of pixels at the end of the colour range.
    Saturated,
}

/// The range of the first variable of a run's first field, which takes the place of the colour range.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FieldRange {
    low: f64,
    high: f64,
}

impl FieldRange {
    /// The range of the first variable of `field`; values that are not finite do not count.
    pub fn of(field: &Field) -> Self {
        let finite = || field.variable(0).iter().copied().filter(|value| value.is_finite());
        Self { low: finite().fold(f64::INFINITY, f64::min), high: finite().fold(f64::NEG_INFINITY, f64::max) }
    }
}

/// A level at least this high counts as the end of the range: the last of 128 colours.
const END: f64 = 0.995;

impl Baseline {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::MeanLevel, Self::Maximum, Self::Saturated];

    /// What it is called in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::MeanLevel => "mean level",
            Self::Maximum => "maximum",
            Self::Saturated => "saturated pixels",
        }
    }

    /// A run of it without fields; units are those of an image whose colours have this range.
    pub fn new_run_of_fields(self, range: FieldRange) -> ScalarRun {
        let width = range.high - range.low;
        let width = if width.is_finite() && width > 0.0 { width } else { 1.0 };
        ScalarRun::new(match self {
            Self::MeanLevel => 1e-4 * width,
            Self::Maximum => width / 128.0,
            Self::Saturated => 10.0,
        })
    }

    /// The numbers of the first variable of a raw field, in the order of [`ALL`](Self::ALL): its mean, its maximum, and how
    /// many values lie beyond `range`. Values that are not finite do not count.
    pub fn values_of_field(field: &Field, range: FieldRange) -> [f64; 3] {
        let finite = || field.variable(0).iter().copied().filter(|value| value.is_finite());
        let n = finite().count().max(1) as f64;
        let n_beyond = finite().filter(|value| *value < range.low || *value > range.high).count();
        [finite().sum::<f64>() / n, finite().fold(f64::MIN, f64::max), n_beyond as f64]
    }

    /// A run of it without images.
    pub fn new_run(self) -> ScalarRun {
        ScalarRun::new(match self {
            // A hundredth of a colour of 128 in the mean, one colour in the maximum, ten pixels.
            Self::MeanLevel => 1e-4,
            Self::Maximum => 1.0 / 128.0,
            Self::Saturated => 10.0,
        })
    }

    /// The numbers of the judged part of an image, in the order of [`ALL`](Self::ALL); pixels that are none of the colours
    /// of the range do not count.
    pub fn values(image: &Decoded, crop: Option<Crop>, order: ColourOrder) -> [f64; 3] {
        let (rows, columns, _) = image.pixels.dim();
        let ([row0, row1], [column0, column1]) = part(crop, rows, columns);
        // A level is counted in 1,024 boxes, so that a quantile needs no sorting.
        let mut boxes = [0usize; 1024];
        let (mut sum, mut n, mut n_saturated) = (0.0, 0usize, 0usize);
        for pixel in image.pixels.slice(s![row0..=row1, column0..=column1, ..]).rows() {
            let mut colour = [0; 3];
            let channels = pixel.len().min(3);
            colour.iter_mut().zip(pixel).for_each(|(to, from)| *to = *from);
            if let Some(level) = order.level(&colour[..channels]) {
                (sum, n) = (sum + level, n + 1);
                n_saturated += usize::from(level >= END);
                boxes[(level * 1023.0) as usize] += 1;
            }
        }
        let mut above = 0;
        let maximum = boxes.iter().rposition(|count| {
            above += count;
            above * 1000 > n
        });
        [sum / n.max(1) as f64, maximum.unwrap_or(0) as f64 / 1023.0, n_saturated as f64]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array3;

    #[test]
    fn values_are_those_of_the_judged_part_and_of_the_range_alone() {
        let pixels = Array3::from_shape_fn((10, 20, 3), |(row, column, channel)| match (row, column) {
            (0, _) => 255,
            (_, 0) => [255, 0, 0][channel],
            _ => [0, 0, 255][channel],
        });
        let image = Decoded { pixels, format: "png" };
        let [mean, maximum, saturated] = Baseline::values(&image, None, ColourOrder::Hot);
        assert_eq!((mean, maximum, saturated), (9.0 / 180.0, 1.0, 9.0));
        let crop = Crop { rows: [0, 9], columns: [1, 19] };
        assert_eq!(Baseline::values(&image, Some(crop), ColourOrder::Hot), [0.0, 0.0, 0.0]);
    }

    #[test]
    fn values_of_a_field_are_those_of_its_first_variable() {
        let mut values: Vec<f64> = (0..128).map(f64::from).collect();
        let range = FieldRange::of(&Field::new(&[2, 8, 8], values.clone()).unwrap());
        assert_eq!(range, FieldRange { low: 0.0, high: 63.0 });
        (values[3], values[4]) = (300.0, f64::NAN);
        let field = Field::new(&[2, 8, 8], values).unwrap();
        let mean = (63.0 * 32.0 - 7.0 + 300.0) / 63.0;
        assert_eq!(Baseline::values_of_field(&field, range), [mean, 300.0, 1.0]);
        assert!(Baseline::Maximum.new_run_of_fields(range).p_value(1.0).is_none());
    }

    #[test]
    fn maximum_passes_over_single_pixels() {
        let pixels = Array3::from_shape_fn(
            (100, 100, 1),
            |(row, column, _)| if row == 5 && column < 8 { 255 } else { 100 },
        );
        let image = Decoded { pixels, format: "png" };
        let [_, maximum, saturated] = Baseline::values(&image, None, ColourOrder::Brightness);
        assert!((maximum - 100.0 / 255.0).abs() < 2e-3, "{maximum}");
        assert_eq!(saturated, 8.0);
    }
}

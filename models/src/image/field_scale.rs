//! How the unbounded values of a field become the colours that images are compared by.

use super::decode::Decoded;
use super::field::Field;
use crate::rng::Rng;
use ndarray::Array3;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// Values that quantiles are taken of; of a larger field so many are drawn, the same ones at every time.
const MAX_SAMPLE: usize = 1 << 16;

/// The quantiles between which the bulk of a field lies.
const BULK: f64 = 1e-3;

/// A field of values of one sign whose 99 % quantile exceeds its 1 % quantile by this factor is one of ratios (a density), and is
/// drawn by its logarithm.
const LEAST_RATIO: f64 = 1e3;

/// Of a field of ratios, the range below the 99 % quantile that is logarithmic; beneath, it is linear.
const LOG_RANGE: f64 = 1e-16;

/// The window is wider than the bulk of the first field by this part of it on each side: what a run usually drifts.
const MARGIN: f64 = 0.25;

/// The part of the colours, at each end, that stands for everything beyond the window.
const EDGE: f64 = 0.1;

/// A value d widths beyond the window is at EDGE_SLOPE d / (1 + EDGE_SLOPE d) of an edge.
const EDGE_SLOPE: f64 = 2.0;

/// Steps between the first and the last colour.
const COLOUR_STEPS: f64 = 4.0 * 255.0;

/// The scale of a run's fields: how values become places in a table of 1,021 colours, blue, cyan, green, yellow, red. It
/// follows from one field, the run's first in which anything varies, and stays for the run.
///
/// A value v of a variable has the coordinate u = asinh((v - c) / s). Where the values have both signs, or span less than three
/// decades, c is the median and s half of the distance between the 5 % and 95 % quantiles: u is near to linear in the bulk and a
/// logarithm far outside of it. Where they have one sign and span more, c is 0 and s a tenth of the least value of the bulk, at
/// least 1e-16 of the 99 % quantile: u is a logarithm. The bulk of the first field (from its 0.1 % to its 99.9 % quantile) and a
/// quarter of its width on each side take 80 % of the colours, evenly in u. Each side beyond has 10 %: d widths beyond the window
/// are at 2 d / (1 + 2 d) of them: what is far out is told from what is normal, however far out it is.
///
/// The error of a colour is half a step of 1,020: of the bulk of a field near to linear, 1/1088 of its width; of a field of
/// ratios over n decades, a factor of 1 + 0.0021 n. Beyond the window it grows, at its border by a factor of
/// 4, one width beyond by one of 36.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FieldScale {
    variables: Vec<VariableScale>,
}

/// A variable's scale: the bits of its numbers, and whether it is constant.
pub(crate) type ScaleParts = ([u64; 4], bool);

/// The scale of one variable.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct VariableScale {
    centre: f64,
    softening: f64,
    /// The first coordinate of the window.
    low: f64,
    /// The width of the window.
    width: f64,
    /// All values of the field it follows from are the same.
    is_constant: bool,
}

impl FieldScale {
    /// The scale that follows from `field`. Values that are not finite do not count.
    pub fn of(field: &Field) -> Self {
        let [variables, _, _] = field.shape();
        Self { variables: (0..variables).map(|at| VariableScale::of(field.variable(at))).collect() }
    }

    /// The scale as numbers that are exact to the bit, for storing it.
    pub(crate) fn to_parts(&self) -> Vec<ScaleParts> {
        let parts = |scale: &VariableScale| {
            let VariableScale { centre, softening, low, width, is_constant } = *scale;
            ([centre, softening, low, width].map(f64::to_bits), is_constant)
        };
        self.variables.iter().map(parts).collect()
    }

    /// The scale of these numbers.
    pub(crate) fn from_parts(parts: &[ScaleParts]) -> Self {
        let scale = |&(bits, is_constant): &ScaleParts| {
            let [centre, softening, low, width] = bits.map(f64::from_bits);
            VariableScale { centre, softening, low, width, is_constant }
        };
        Self { variables: parts.iter().map(scale).collect() }
    }

    /// The number of variables.
    pub fn n_variables(&self) -> usize {
        self.variables.len()
    }

    /// Whether in `field` a variable varies that was the same everywhere in the field that the scale follows from, so that the
    /// scale can know nothing of it.
    pub fn misses(&self, field: &Field) -> bool {
        self.variables.iter().enumerate().any(|(at, scale)| {
            let values = field.variable(at);
            scale.is_constant && values.iter().any(|value| value.is_finite() && *value != values[0])
        })
    }

    /// Draws the field: `[variables x rows, columns, 3]`, the variables below each other. What is not finite is black.
    ///
    /// - `field`: with as many variables as the one that the scale follows from.
    pub fn draw(&self, field: &Field) -> Decoded {
        let [variables, rows, columns] = field.shape();
        let mut levels = vec![0u8; variables * rows * columns * 3];
        levels.par_chunks_mut(columns * 3).enumerate().for_each(|(line, levels)| {
            let (variable, row) = (line / rows, line % rows);
            let scale = &self.variables[variable.min(self.variables.len() - 1)];
            let values = &field.variable(variable)[row * columns..][..columns];
            for (colour, value) in levels.as_chunks_mut::<3>().0.iter_mut().zip(values) {
                if value.is_finite() {
                    *colour = colour_at(scale.place(*value));
                }
            }
        });
        let pixels = Array3::from_shape_vec((variables * rows, columns, 3), levels)
            .expect("as many levels as were made room for");
        Decoded { pixels, format: "field" }
    }

    /// The fraction of finite values that lie beyond the window, where the colours are coarser; 0 without any.
    pub fn share_beyond(&self, field: &Field) -> f64 {
        let (mut n_beyond, mut n) = (0usize, 0usize);
        for (at, scale) in self.variables.iter().enumerate() {
            for value in field.variable(at).iter().filter(|value| value.is_finite()) {
                n += 1;
                n_beyond += usize::from(!(0.0..=1.0).contains(&scale.coordinate(*value)));
            }
        }
        n_beyond as f64 / n.max(1) as f64
    }
}

impl VariableScale {
    fn of(values: &[f64]) -> Self {
        let sorted = sample(values);
        let constant = |value: f64| {
            let size = if value == 0.0 { 1.0 } else { value.abs() };
            Self { centre: value, softening: size, low: -1.0, width: 2.0, is_constant: true }
        };
        let (Some(&least), Some(&greatest)) = (sorted.first(), sorted.last()) else { return constant(0.0) };
        if least == greatest {
            return constant(least);
        }
        let quantile = |fraction: f64| sorted[(fraction * (sorted.len() - 1) as f64).round() as usize];
        // Where so much of a field is one value that a pair of quantiles is equal, a wider pair.
        let spread = |pairs: &[f64]| {
            let pair = pairs.iter().map(|&q| (quantile(q), quantile(1.0 - q))).find(|(low, high)| low < high);
            pair.unwrap_or((least, greatest))
        };
        let (low, high) = spread(&[BULK]);
        let sizes = |low: f64, high: f64| (low.abs().min(high.abs()), low.abs().max(high.abs()));
        let ratio_of = |(small, large): (f64, f64)| if small > 0.0 { large / small } else { 0.0 };
        let one_sign = least > 0.0 || greatest < 0.0;
        let (centre, softening) = if one_sign && ratio_of(sizes(quantile(0.01), quantile(0.99))) > LEAST_RATIO
        {
            let ((small, _), (_, large)) = (sizes(low, high), sizes(quantile(0.01), quantile(0.99)));
            (0.0, (0.1 * small).max(LOG_RANGE * large))
        } else {
            let (low, high) = spread(&[0.05, 0.01, BULK]);
            // Halved first: the difference of the largest numbers is too large for one.
            (quantile(0.5), 0.5 * high - 0.5 * low)
        };
        // The least number there is, so that a quotient of it is one.
        let softening = softening.max(f64::MIN_POSITIVE);
        let scale = Self { centre, softening, low: 0.0, width: 1.0, is_constant: false };
        let (low, high) = (scale.coordinate(low), scale.coordinate(high));
        let width = (1.0 + 2.0 * MARGIN) * (high - low);
        if width > 0.0 {
            Self { low: low - MARGIN * (high - low), width, ..scale }
        } else {
            Self { low: low - 1.0, width: 2.0, ..scale }
        }
    }

    /// Where in the window a value lies: 0 at its beginning, 1 at its end.
    fn coordinate(&self, value: f64) -> f64 {
        // Each divided first: the difference of two large numbers may be too large for one.
        let u = (value / self.softening - self.centre / self.softening).asinh();
        (u.clamp(-f64::MAX, f64::MAX) - self.low) / self.width
    }

    /// The place in the table of colours, above 0 and below 1.
    fn place(&self, value: f64) -> f64 {
        let x = self.coordinate(value);
        let beyond = |d: f64| EDGE * (1.0 - 1.0 / (1.0 + EDGE_SLOPE * d));
        if x < 0.0 {
            EDGE - beyond(-x)
        } else if x > 1.0 {
            1.0 - EDGE + beyond(x - 1.0)
        } else {
            EDGE + (1.0 - 2.0 * EDGE) * x
        }
    }
}

/// The finite values in order, all or a sample of them.
fn sample(values: &[f64]) -> Vec<f64> {
    let mut sorted: Vec<f64> = if values.len() <= MAX_SAMPLE {
        values.iter().copied().filter(|value| value.is_finite()).collect()
    } else {
        let mut rng = Rng::new(0);
        let drawn = (0..MAX_SAMPLE).map(|_| values[rng.below(values.len())]);
        let ends = values.iter().copied().filter(|value| value.is_finite()).fold(None, |ends, value| {
            let (least, greatest) = ends.unwrap_or((value, value));
            Some((f64::min(least, value), f64::max(greatest, value)))
        });
        drawn.filter(|value| value.is_finite()).chain(ends.into_iter().flat_map(|(a, b)| [a, b])).collect()
    };
    sorted.sort_unstable_by(f64::total_cmp);
    sorted
}

/// The colour at a place in 0..=1 of the table: blue, cyan, green, yellow, red, in four equal parts.
fn colour_at(place: f64) -> [u8; 3] {
    let step = (place * COLOUR_STEPS).round() as usize;
    let (part, within) = (step / 255, (step % 255) as u8);
    match part {
        0 => [0, within, 255],
        1 => [0, 255, 255 - within],
        2 => [within, 255, 0],
        3 => [255, 255 - within, 0],
        _ => [255, 0, 0],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn field(value: impl Fn(usize, usize) -> f64) -> Field {
        Field::new(&[64, 96], (0..64 * 96).map(|i| value(i / 96, i % 96)).collect()).unwrap()
    }

    fn place(scale: &FieldScale, value: f64) -> f64 {
        scale.variables[0].place(value)
    }

    /// The number of colours between two values.
    fn colours(scale: &FieldScale, a: f64, b: f64) -> f64 {
        COLOUR_STEPS * (place(scale, b) - place(scale, a)).abs()
    }

    #[test]
    fn bulk_of_a_field_has_half_of_the_colours() {
        let scale = FieldScale::of(&field(|row, column| (96 * row + column) as f64));
        let n = colours(&scale, 0.0, 6143.0);
        assert!((540.0..550.0).contains(&n), "{n}");
        // Near to linear: a tenth of the range is about a tenth of its colours wherever it lies.
        for at in 0..10 {
            let part = colours(&scale, f64::from(at) * 614.3, f64::from(at + 1) * 614.3) / n;
            assert!((0.08..0.13).contains(&part), "{at}: {part}");
        }
    }

    #[test]
    fn constant_far_zone_takes_no_colours_from_the_rest() {
        let rest = |row: usize, column: usize| 10.0 + (row as f64 * 0.7 + column as f64).sin();
        let scale = FieldScale::of(&field(|row, column| if row < 60 { 3.0 } else { rest(row, column) }));
        assert!(colours(&scale, 9.0, 11.0) > 80.0 && colours(&scale, 3.0, 9.0) > 200.0);
        assert!(colours(&scale, 3.0, 3.0 + 1e-12) < 1e-6, "rounding is no difference");
        let spot = FieldScale::of(&field(|row, column| if row < 3 && column < 3 { 10.0 } else { 1.0 }));
        assert!(colours(&spot, 1.0, 10.0) > 200.0);
    }

    #[test]
    fn ratios_are_as_visible_at_the_low_end_of_a_density_as_at_the_high_one() {
        for sign in [1.0, -1.0] {
            let density = move |row: usize, _| sign * 10f64.powf(-3.0 + 14.0 * row as f64 / 63.0);
            let scale = FieldScale::of(&field(density));
            for decade in -3..11 {
                let value = sign * 10f64.powi(decade);
                let n = colours(&scale, value, 2.0 * value);
                assert!((8.0..20.0).contains(&n), "{decade}: {n}");
            }
            assert!(colours(&scale, sign * 1e-3, -sign) > 50.0, "a density with the wrong sign");
        }
    }

    #[test]
    fn one_wild_value_in_the_first_field_costs_no_resolution() {
        let quiet = |row: usize, column: usize| (row as f64 * 0.3).sin() + (column as f64 * 0.2).cos();
        let tame = FieldScale::of(&field(quiet));
        for wild in [1e30, -1e30, f64::MAX] {
            let scale =
                FieldScale::of(&field(
                    |row, column| if (row, column) == (7, 9) { wild } else { quiet(row, column) },
                ));
            assert!(colours(&scale, -1.0, 1.0) > 0.95 * colours(&tame, -1.0, 1.0));
            assert!(colours(&scale, 2.0, wild) > 50.0, "and can be told from the rest");
        }
    }

    #[test]
    fn a_drift_by_the_whole_range_saturates_nothing() {
        let scale = FieldScale::of(&field(|row, _| 10.0 + row as f64 / 6.3));
        assert!(colours(&scale, 30.0, 31.0) > 1.0 && colours(&scale, 30.0, 40.0) > 10.0);
        let drifted = field(|row, _| 25.0 + row as f64 / 6.3);
        assert!(scale.share_beyond(&drifted) > 0.9);
        assert_eq!(scale.share_beyond(&field(|row, _| 9.0 + row as f64 / 6.3)), 0.0);
    }

    #[test]
    fn large_fields_are_sampled_alike_every_time() {
        let values: Vec<f64> = (0..300 * 400).map(|i| f64::from(i % 997) * 0.5).collect();
        let large = Field::new(&[300, 400], values).unwrap();
        assert_eq!(FieldScale::of(&large), FieldScale::of(&large));
        assert!(colours(&FieldScale::of(&large), 0.0, 498.0) > 530.0);
    }

    #[test]
    fn constant_fields_have_a_scale_that_knows_nothing_of_them() {
        for value in [0.0, -3.0, 1e300, 1e-310] {
            let constant = field(|_, _| value);
            let scale = FieldScale::of(&constant);
            assert!(!scale.misses(&constant) && scale.misses(&field(|row, _| row as f64)));
            assert!((place(&scale, value) - 0.5).abs() < 1e-9);
        }
        assert!(!FieldScale::of(&field(|row, _| row as f64)).misses(&field(|_, column| column as f64)));
    }

    #[test]
    fn variables_are_drawn_below_each_other_by_scales_of_their_own() {
        let values = (0..128).map(|i| if i < 64 { f64::from(i) } else { 1e6 * f64::from(i - 64) });
        let mut field = Field::new(&[2, 8, 8], values.collect()).unwrap();
        field.variable_mut(1)[3] = f64::NAN;
        let picture = FieldScale::of(&field).draw(&field).pixels;
        assert_eq!(picture.dim(), (16, 8, 3));
        let colour = |row: usize, column: usize| [0, 1, 2].map(|k| i16::from(picture[[row, column, k]]));
        assert_eq!(colour(8, 3), [0; 3]);
        assert!(colour(0, 0).iter().zip(colour(8, 0)).all(|(a, b)| a.abs_diff(b) < 12));
        assert_eq!(colour_at(0.0), [0, 0, 255]);
        assert_eq!(colour_at(0.5), [0, 255, 0]);
        assert_eq!(colour_at(1.0), [255, 0, 0]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]
        #[test]
        fn higher_values_never_have_lower_places_whatever_the_field(
            values in prop::collection::vec(prop::num::f64::NORMAL | prop::num::f64::SUBNORMAL | prop::num::f64::ZERO, 64),
            mut probes in prop::collection::vec(prop::num::f64::NORMAL | prop::num::f64::SUBNORMAL, 2..20),
        ) {
            let scale = FieldScale::of(&Field::new(&[8, 8], values).unwrap());
            probes.sort_by(f64::total_cmp);
            let places: Vec<f64> = probes.iter().map(|value| place(&scale, *value)).collect();
            prop_assert!(places.iter().all(|place| (0.0..=1.0).contains(place)), "{places:?} {scale:?}");
            prop_assert!(places.is_sorted(), "{places:?} {scale:?}");
        }
    }
}

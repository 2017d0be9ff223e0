//! Values as sums of two bf16, as the matrix unit takes them.
//!
//! A group of 32 channels fills the memory of 32 `f32`: first the large parts, then the small ones, in pairs of channels `i` and
//! `16 + i`, the first in the lower half of a word. So positions in a map are the same whatever its values are held as, and
//! a register of `f32` becomes one half of a register of pairs.

/// Channels held together.
pub(super) const GROUP: usize = 32;

/// The upper half of a word, which is a bf16, and what rounds to it.
const UPPER: u32 = 0xffff_0000;
const HALF: u32 = 0x8000;

/// The value rounded to bf16, as the bits of an f32, and what that leaves, rounded too. Ties go away from zero.
fn parts(value: f32) -> [u32; 2] {
    let round = |value: f32| value.to_bits().wrapping_add(HALF) & UPPER;
    let large = round(value);
    [large, round(value - f32::from_bits(large))]
}

/// Splits a group; `group.rs` has the same for its registers.
#[cfg(test)]
pub(super) fn encode(values: &[f32; GROUP]) -> [f32; GROUP] {
    let mut words = [0f32; GROUP];
    for i in 0..GROUP / 2 {
        let (first, second) = (parts(values[i]), parts(values[GROUP / 2 + i]));
        for part in 0..2 {
            words[part * GROUP / 2 + i] = f32::from_bits(second[part] | (first[part] >> 16));
        }
    }
    words
}

/// Joins a group's parts; `group.rs` has the same for its registers.
#[cfg(test)]
pub(super) fn decode(words: &[f32; GROUP]) -> [f32; GROUP] {
    std::array::from_fn(|channel| {
        let part = |at: usize| {
            let word = words[at + channel % (GROUP / 2)].to_bits();
            f32::from_bits(if channel < GROUP / 2 { word << 16 } else { word & UPPER })
        };
        part(0) + part(GROUP / 2)
    })
}

/// Packs a matrix `[depth, width]`, given by its elements, into panels of [`GROUP`] columns: for each group of rows the large parts
/// of columns 0..16 and 16..32, then, of two parts, the small ones, each as pairs of rows, ordered as [`encode`] orders channels.
pub(super) fn pack<const PARTS: usize>(
    depth: usize,
    width: usize,
    panel: usize,
    element: &dyn Fn(usize, usize) -> f32,
) -> Vec<f32> {
    assert!(
        panel == GROUP && depth.is_multiple_of(GROUP),
        "the matrix unit takes whole groups; this is a bug"
    );
    let value = |k: usize, j: usize| if j < width { element(k, j) } else { 0.0 };
    let mut packed = Vec::with_capacity(depth * width.next_multiple_of(panel) * PARTS / 2);
    for first in (0..width).step_by(panel) {
        for group in (0..depth).step_by(GROUP) {
            for part in 0..PARTS {
                for half in 0..2 {
                    for pair in 0..GROUP / 2 {
                        for column in first + half * GROUP / 2..first + (half + 1) * GROUP / 2 {
                            let low = parts(value(group + pair, column))[part];
                            let high = parts(value(group + GROUP / 2 + pair, column))[part];
                            packed.push(f32::from_bits(high | (low >> 16)));
                        }
                    }
                }
            }
        }
    }
    packed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_split_value_is_within_two_to_the_minus_seventeen_of_itself() {
        let mut rng = crate::rng::Rng::new(1);
        for _ in 0..1000 {
            let values: [f32; GROUP] =
                std::array::from_fn(|_| (rng.normal() * (4.0 * rng.normal()).exp()) as f32);
            for (value, found) in values.iter().zip(decode(&encode(&values))) {
                assert!((value - found).abs() <= value.abs() / 131_072.0, "{value:e} became {found:e}");
            }
        }
    }

    #[test]
    fn grey_levels_and_values_that_are_not_finite_survive_a_split() {
        let mut values = [0f32; GROUP];
        for (i, value) in values.iter_mut().enumerate() {
            *value = i as f32 * 8.0 + 7.0;
        }
        assert_eq!(decode(&encode(&values)), values);
        values[3] = f32::NAN;
        values[20] = f32::INFINITY;
        let found = decode(&encode(&values));
        assert!(found[3].is_nan() && !found[20].is_finite());
        assert_eq!(found.iter().filter(|value| value.is_finite()).count(), GROUP - 2);
    }
}

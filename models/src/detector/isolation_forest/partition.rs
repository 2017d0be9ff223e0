//! The two halves of a split: rows moved apart by their values, and the range that the values have.
#![allow(
    unsafe_code,
    reason = "sixteen rows are moved at a time by stores of whole vectors; each lies within a slice that is borrowed for it"
)]
#![deny(clippy::undocumented_unsafe_blocks)]

use crate::finite::overflow_of;

/// The least and the greatest of `values`; NaN if one of them is not finite.
pub(super) fn range(values: &[f32]) -> (f32, f32) {
    const LANES: usize = 16;
    if values.len() < LANES {
        let (mut least, mut greatest, mut overflow) = (f32::INFINITY, f32::NEG_INFINITY, 0);
        for &value in values {
            least = if value < least { value } else { least };
            greatest = if value > greatest { value } else { greatest };
            overflow |= overflow_of(value);
        }
        return if overflow >> 31 == 0 { (least, greatest) } else { (f32::NAN, f32::NAN) };
    }
    struct Range<'a>(&'a [f32]);
    impl pulp::WithSimd for Range<'_> {
        type Output = (f32, f32);

        #[inline(always)]
        fn with_simd<S: pulp::Simd>(self, _simd: S) -> (f32, f32) {
            let mut least = [f32::INFINITY; LANES];
            let mut greatest = [f32::NEG_INFINITY; LANES];
            let mut overflow = [0u32; LANES];
            let mut add = |piece: &[f32; LANES]| {
                for lane in 0..LANES {
                    let value = piece[lane];
                    least[lane] = if value < least[lane] { value } else { least[lane] };
                    greatest[lane] = if value > greatest[lane] { value } else { greatest[lane] };
                    overflow[lane] |= overflow_of(value);
                }
            };
            let (pieces, remainder) = self.0.as_chunks::<LANES>();
            pieces.iter().for_each(&mut add);
            if let Some(&first) = remainder.first() {
                let mut last = [first; LANES];
                last[..remainder.len()].copy_from_slice(remainder);
                add(&last);
            }
            let is_finite = overflow.into_iter().fold(0, |all, bits| all | bits) >> 31 == 0;
            // By halves: lanes taken one after the other would wait for each other.
            for half in [8, 4, 2, 1] {
                for lane in 0..half {
                    let (a, b) = (least[lane], least[lane + half]);
                    least[lane] = if b < a { b } else { a };
                    let (a, b) = (greatest[lane], greatest[lane + half]);
                    greatest[lane] = if b > a { b } else { a };
                }
            }
            if is_finite { (least[0], greatest[0]) } else { (f32::NAN, f32::NAN) }
        }
    }
    pulp::Arch::new().dispatch(Range(values))
}

/// Moves the rows whose value is at most `split` to the front, in order, and the others behind them, in order; returns how many come first.
///
/// - `values`: as many as rows.
/// - `moved`: at least as many, overwritten.
pub(super) fn partition(rows: &mut [u32], values: &[f32], moved: &mut [u32], split: f32) -> usize {
    let (values, moved) = (&values[..rows.len()], &mut moved[..rows.len()]);
    #[cfg(target_arch = "x86_64")]
    if rows.len() >= x86::LANES && std::is_x86_feature_detected!("avx512f") {
        // SAFETY: the processor has AVX-512.
        return unsafe { x86::partition(rows, values, moved, split) };
    }
    partition_from(0, [0, 0], rows, values, moved, split)
}

/// Goes on at row `start`, after so many rows went to each side.
fn partition_from(
    start: usize,
    [mut n_left, mut n_right]: [usize; 2],
    rows: &mut [u32],
    values: &[f32],
    moved: &mut [u32],
    split: f32,
) -> usize {
    // Without a branch: which side a row goes to cannot be predicted.
    for i in start..rows.len() {
        let row = rows[i];
        rows[n_left] = row;
        moved[n_right] = row;
        let left = usize::from(values[i] <= split);
        n_left += left;
        n_right += 1 - left;
    }
    rows[n_left..].copy_from_slice(&moved[..n_right]);
    n_left
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    /// Rows moved together.
    pub(super) const LANES: usize = 16;

    /// As [`super::partition`]; all slices are as long as `rows`.
    #[target_feature(enable = "avx512f")]
    pub(super) fn partition(rows: &mut [u32], values: &[f32], moved: &mut [u32], split: f32) -> usize {
        assert!(values.len() == rows.len() && moved.len() == rows.len());
        let limit = _mm512_set1_ps(split);
        let (mut n_left, mut n_right) = (0, 0);
        let n_whole = rows.len() / LANES * LANES;
        for i in (0..n_whole).step_by(LANES) {
            // SAFETY: `i + LANES <= n_whole`, and `n_left` and `n_right` are at most `i`, so that each vector lies within its slice. What the
            // store to the left overwrites of `rows` has been read: it ends at `i + LANES` at the latest.
            unsafe {
                let row = _mm512_loadu_epi32(rows.as_ptr().add(i).cast());
                let left = _mm512_cmp_ps_mask::<_CMP_LE_OQ>(_mm512_loadu_ps(values.as_ptr().add(i)), limit);
                let to_left = _mm512_maskz_compress_epi32(left, row);
                let to_right = _mm512_maskz_compress_epi32(!left, row);
                _mm512_storeu_epi32(rows.as_mut_ptr().add(n_left).cast(), to_left);
                _mm512_storeu_epi32(moved.as_mut_ptr().add(n_right).cast(), to_right);
                let n = left.count_ones() as usize;
                n_left += n;
                n_right += LANES - n;
            }
        }
        super::partition_from(n_whole, [n_left, n_right], rows, values, moved, split)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    #[test]
    fn rows_of_any_number_are_parted_in_order() {
        let mut rng = Rng::new(1);
        for n in (0..70).chain([200, 731, 732]) {
            let values: Vec<f32> = (0..n).map(|_| (rng.normal() as f32).max(0.0)).collect();
            let rows: Vec<u32> = (0..n as u32).map(|row| 3 * row + 5).collect();
            for split in [-1.0, 0.0, 0.3, 0.9, 1e9] {
                let goes = |is_left: bool| {
                    let rows = rows.iter().zip(&values);
                    rows.filter(move |(_, value)| (**value <= split) == is_left).map(|(row, _)| *row)
                };
                let expected: Vec<u32> = goes(true).chain(goes(false)).collect();
                let (mut found, mut moved) = (rows.clone(), vec![0; n + 3]);
                assert_eq!(partition(&mut found, &values, &mut moved, split), goes(true).count());
                assert_eq!(found, expected, "{n} rows at {split}");
            }
        }
    }

    #[test]
    fn range_is_that_of_all_values_and_nan_if_one_is_not_finite() {
        let mut rng = Rng::new(2);
        for n in 1..70 {
            let mut values: Vec<f32> = (0..n).map(|_| rng.normal() as f32).collect();
            let least = values.iter().copied().fold(f32::INFINITY, f32::min);
            let greatest = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            assert_eq!(range(&values), (least, greatest));
            for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                let i = rng.below(n);
                let good = std::mem::replace(&mut values[i], bad);
                assert!(range(&values).0.is_nan() && range(&values).1.is_nan());
                values[i] = good;
            }
        }
    }
}

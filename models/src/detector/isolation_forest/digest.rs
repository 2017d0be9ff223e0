//! Digests of pieces of rows: where they are equal, so are the pieces, and need not be read.
//!
//! Two pieces that differ have equal digests with a probability of 2^-64. The rows would then be taken for equal there, and a node
//! that holds nothing but them would not be split in these columns.

use super::memory::prefetch;
use super::stored::Stored;
use crate::finite::overflow_of;

/// Columns of a piece.
pub(super) const DIGESTED: usize = 1024;

/// A digest of up to [`DIGESTED`] values as they are kept; `None` if one of them is then not finite.
///
/// - `next`: what is read after them, fetched meanwhile.
pub(super) fn digest<E: Stored>(values: &[f32], next: &[f32]) -> Option<u64> {
    /// Digits of pi, as good as any.
    const KEYS: [u64; 4] =
        [0x243F_6A88_85A3_08D3, 0x1319_8A2E_0370_7344, 0xA409_3822_299F_31D0, 0x082E_FA98_EC4E_6C89];
    const STEP: usize = 4 * KEYS.len();
    // Not equal to its key, or the factors of a first product could change places.
    let mut lanes = KEYS.map(u64::reverse_bits);
    let mut overflow = 0;
    let mut add = |values: &[f32; STEP]| {
        let kept = values.map(|value| E::load(E::store(value)));
        overflow |= kept.iter().fold(0, |bits, &value| bits | overflow_of(value));
        let bits = kept.map(|value| u64::from(value.to_bits()));
        for ((lane, key), bits) in lanes.iter_mut().zip(KEYS).zip(bits.as_chunks::<4>().0) {
            let [a, b] = [bits[0] | bits[1] << 32, bits[2] | bits[3] << 32];
            *lane = fold(a ^ key, b ^ *lane);
        }
    };
    let (whole, rest) = values.as_chunks::<STEP>();
    for (i, values) in whole.iter().enumerate() {
        prefetch(next, i * STEP);
        add(values);
    }
    if !rest.is_empty() {
        add(&std::array::from_fn(|i| rest.get(i).copied().unwrap_or_default()));
    }
    let [a, b, c, d] = lanes;
    (overflow >> 31 == 0).then(|| fold(fold(a ^ KEYS[1], b), fold(c ^ KEYS[3], d) ^ KEYS[0]))
}

/// The two halves of a product: each bit of it hangs on all bits of both.
#[inline(always)]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;
    use half::bf16;
    use std::collections::HashMap;

    #[test]
    fn pieces_that_differ_by_a_bit_or_two_or_by_places_have_other_digests() {
        for n in [1, 15, 16, 17, 40, DIGESTED] {
            let mut rng = Rng::new(n as u64);
            let piece: Vec<f32> = (0..n).map(|_| (rng.normal() as f32).max(0.0)).collect();
            let known = digest::<f32>(&piece, &[]).expect("finite");
            assert_eq!(digest::<f32>(&piece.clone(), &[]), Some(known));
            let mut found = HashMap::from([(known, None)]);
            let mut is_new = |piece: &[f32], change| match found
                .insert(digest::<f32>(piece, &[]).expect("finite"), Some(change))
            {
                None => {}
                Some(other) => panic!("{n}: {change:?} and {other:?}"),
            };
            let mut other = piece.clone();
            for i in 0..n {
                // Not the exponent's highest bit, which makes infinities.
                for bit in (0..30).chain([31]) {
                    other[i] = f32::from_bits(piece[i].to_bits() ^ 1 << bit);
                    is_new(&other, (i, bit));
                }
                // The same change at two places.
                for j in (i + 16..n).step_by(16) {
                    other[j] = f32::from_bits(piece[j].to_bits() ^ 1 << 31);
                    is_new(&other, (i, j));
                    other[j] = piece[j];
                }
                other[i] = piece[i];
            }
        }
    }

    #[test]
    fn digest_is_of_values_as_they_are_kept() {
        assert_eq!(digest::<bf16>(&[1.0, 2.0], &[]), digest::<bf16>(&[1.0 + 1e-4, 2.0], &[]));
        assert_ne!(digest::<f32>(&[1.0, 2.0], &[]), digest::<f32>(&[1.0 + 1e-4, 2.0], &[]));
        assert!(digest::<f32>(&[f32::MAX], &[]).is_some());
        assert_eq!(digest::<bf16>(&[0.0, f32::MAX], &[]), None, "it rounds to infinity");
        assert_eq!(digest::<f32>(&[0.0; 20].map(|_| f32::NAN), &[]), None);
    }
}

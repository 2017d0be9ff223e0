//! The check for NaN and infinities, at the speed of memory.

/// The sign bit is set if and only if `value` is NaN or infinite: its exponent is all ones, and one more overflows.
#[inline]
pub(crate) fn overflow_of(value: f32) -> u32 {
    (value.to_bits() & 0x7F80_0000).wrapping_add(0x0080_0000)
}

/// Whether all values are finite.
fn are_finite(values: &[f32]) -> bool {
    /// Places read in turn: one alone, the processor does not ask for enough of memory before it is needed.
    const N_STREAMS: usize = 8;
    const STEP: usize = 64;
    // Without a branch or a comparison, so that the compiler vectorises.
    let bits = |piece: &[f32]| piece.iter().fold(0, |bits, &value| bits | overflow_of(value));
    let stream = values.len() / N_STREAMS / STEP * STEP;
    let mut all = bits(&values[N_STREAMS * stream..]);
    for step in (0..stream).step_by(STEP) {
        for i in 0..N_STREAMS {
            all |= bits(&values[i * stream + step..][..STEP]);
        }
    }
    all >> 31 == 0
}

/// The position of the first value that is NaN or infinite. On one thread: others would be awake only when it is done.
pub fn first_not_finite(values: &[f32]) -> Option<usize> {
    if are_finite(values) { None } else { values.iter().position(|value| !value.is_finite()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_value_that_is_not_finite_is_found_anywhere() {
        let mut values = vec![1.0f32; 5000];
        values[7] = f32::MAX;
        values[8] = f32::MIN;
        values[9] = f32::from_bits(1);
        assert_eq!(first_not_finite(&values), None);
        assert_eq!(first_not_finite(&[]), None);
        for (index, bad) in
            [(4999, f32::NAN), (1024, f32::INFINITY), (1023, f32::NEG_INFINITY), (0, f32::NAN)]
        {
            values[index] = bad;
            assert_eq!(first_not_finite(&values), Some(index));
        }
    }

    #[test]
    fn value_that_is_not_finite_is_found_at_every_place_of_values_of_any_number() {
        for length in [1, 63, 512, 513, 1300] {
            let mut values = vec![0.5f32; length];
            for index in 0..length {
                values[index] = f32::NAN;
                assert_eq!(first_not_finite(&values), Some(index), "{length}");
                values[index] = 0.5;
            }
            assert_eq!(first_not_finite(&values), None);
        }
        let mut many = vec![0.5f32; 300_001];
        assert_eq!(first_not_finite(&many), None);
        for index in [300_000, 262_144, 131_071, 65_536, 5] {
            many[index] = f32::NEG_INFINITY;
            assert_eq!(first_not_finite(&many), Some(index));
        }
    }
}

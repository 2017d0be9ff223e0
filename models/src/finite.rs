//! The check for NaN and infinities, at the speed of memory.

/// The sign bit is set if and only if `value` is NaN or infinite: its exponent is all ones, and one more overflows.
#[inline]
pub(crate) fn overflow_of(value: f32) -> u32 {
    (value.to_bits() & 0x7F80_0000).wrapping_add(0x0080_0000)
}

/// The position of the first value that is NaN or infinite.
pub fn first_not_finite(values: &[f32]) -> Option<usize> {
    const PIECE: usize = 1024;
    // Whole pieces without a branch or a comparison, so that the compiler vectorises.
    let hit = |piece: &[f32]| piece.iter().fold(0, |bits, &value| bits | overflow_of(value)) >> 31 == 1;
    let start = values.chunks(PIECE).position(hit)? * PIECE;
    values[start..].iter().position(|v| !v.is_finite()).map(|i| start + i)
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
}

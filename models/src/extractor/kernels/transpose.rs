//! Sixteen pixels by sixteen channels, turned in registers.

use std::arch::x86_64::*;

/// Rows and columns of what is turned at once.
pub(super) const SIDE: usize = 16;

/// How many turns before its own what a turn reads and writes is asked for: sixteen rows each lie in a page of their own, which the processor does
/// not look ahead in.
const AHEAD: usize = 2;

/// Writes the `SIDE` rows of `SIDE` values at `from` as columns at `to`; rows lie `from_stride` and `to_stride` values apart.
///
/// # Safety
///
/// All of these values can be read, or written; the processor has AVX-512F.
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn turn(from: *const f32, from_stride: usize, to: *mut f32, to_stride: usize) {
    // Loops over arrays, not closures: those would be called, and pass their registers through memory.
    let mut rows = [_mm512_setzero_ps(); SIDE];
    for (at, row) in rows.iter_mut().enumerate() {
        // SAFETY: the caller's promise; a hint touches no memory.
        *row = unsafe {
            _mm_prefetch::<_MM_HINT_T0>(from.wrapping_add((at + AHEAD * SIDE) * from_stride).cast());
            _mm512_loadu_ps(from.add(at * from_stride))
        };
    }
    // Pairs of rows: in each quarter of a register two values of either, first the lower two.
    let mut pairs = rows;
    for at in (0..SIDE).step_by(2) {
        pairs[at] = _mm512_unpacklo_ps(rows[at], rows[at + 1]);
        pairs[at + 1] = _mm512_unpackhi_ps(rows[at], rows[at + 1]);
    }
    // Fours of rows: register `4 g + c` has columns c, c + 4, c + 8 and c + 12 of rows `4 g` to `4 g + 3`.
    let mut fours = rows;
    for at in (0..SIDE).step_by(4) {
        for half in 0..2 {
            let [first, second] =
                [_mm512_castps_pd(pairs[at + half]), _mm512_castps_pd(pairs[at + half + 2])];
            fours[at + 2 * half] = _mm512_castpd_ps(_mm512_unpacklo_pd(first, second));
            fours[at + 2 * half + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(first, second));
        }
    }
    for column in 0..4 {
        let [a, b, c, d] = [fours[column], fours[4 + column], fours[8 + column], fours[12 + column]];
        let even = [_mm512_shuffle_f32x4::<0x88>(a, b), _mm512_shuffle_f32x4::<0x88>(c, d)];
        let odd = [_mm512_shuffle_f32x4::<0xdd>(a, b), _mm512_shuffle_f32x4::<0xdd>(c, d)];
        let columns = [
            _mm512_shuffle_f32x4::<0x88>(even[0], even[1]),
            _mm512_shuffle_f32x4::<0x88>(odd[0], odd[1]),
            _mm512_shuffle_f32x4::<0xdd>(even[0], even[1]),
            _mm512_shuffle_f32x4::<0xdd>(odd[0], odd[1]),
        ];
        for (quarter, values) in columns.into_iter().enumerate() {
            // SAFETY: the caller's promise; a hint touches no memory.
            unsafe {
                let to = to.add((4 * quarter + column) * to_stride);
                _mm_prefetch::<_MM_HINT_T0>(to.wrapping_add((AHEAD + 1) * SIDE).cast());
                _mm512_storeu_ps(to, values);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_become_columns() {
        if !is_x86_feature_detected!("avx512f") {
            return;
        }
        let from: Vec<f32> = (0..SIDE * 19).map(|at| at as f32).collect();
        let mut to = vec![-1.0; SIDE * 17];
        // SAFETY: both hold sixteen rows of sixteen values, the processor was asked.
        unsafe { turn(from.as_ptr(), 19, to.as_mut_ptr(), 17) };
        for (at, &found) in to.iter().enumerate() {
            let wanted = if at % 17 < SIDE { from[at % 17 * 19 + at / 17] } else { -1.0 };
            assert_eq!(found, wanted, "at {at}");
        }
    }
}

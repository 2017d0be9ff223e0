//! Quantising and its inverse in the registers of AVX-512.

use super::{GROUP_WORDS, PANEL, Sums};
use crate::extractor::kernels::group::{encode, halves, read};
use std::arch::x86_64::*;

/// Added to a value below 2^22 it leaves the nearest whole number in the lowest bits of the sum, ties to even.
pub(super) const ROUNDING: f32 = 8_388_608.0;

/// [`Int8::greatest`](super::Int8::greatest).
///
/// # Safety
///
/// `panels` panels can be read; the processor has AVX-512F and AVX-512BW.
#[target_feature(enable = "avx512f,avx512bw")]
pub(in super::super) unsafe fn greatest(from: *const f32, panels: usize) -> f32 {
    // Values without a sign are ordered as their bits are; NaN comes last.
    let magnitude = _mm512_set1_epi16(0x7fff);
    let mut greatest = _mm512_setzero_si512();
    for panel in 0..panels {
        // SAFETY: the caller's promise.
        let pair = unsafe { _mm512_loadu_si512(from.add(panel * PANEL / 2).cast()) };
        greatest = _mm512_max_epu16(greatest, _mm512_and_si512(pair, magnitude));
    }
    let greatest = _mm512_max_epu16(greatest, _mm512_srli_epi32::<16>(greatest));
    f32::from_bits(_mm512_reduce_max_epu32(_mm512_slli_epi32::<16>(greatest)))
}

/// [`Int8::quantise`](super::Int8::quantise).
///
/// # Safety
///
/// `panels` panels can be read and the words of their groups written; the processor has AVX-512F.
#[target_feature(enable = "avx512f")]
pub(in super::super) unsafe fn quantise(from: *const f32, panels: usize, factor: f32, to: *mut f32) {
    let (factor, rounding) = (_mm512_set1_ps(factor), _mm512_set1_ps(ROUNDING));
    let step = |value: __m512| _mm512_castps_si512(_mm512_fmadd_ps(value, factor, rounding));
    let lowest = _mm512_set1_epi32(0xff);
    let pair = |panel: usize| {
        // SAFETY: asked for panels that are there, by the caller's promise.
        let [first, second] = halves(unsafe { _mm512_loadu_si512(from.add(panel * PANEL / 2).cast()) });
        // (second << 8) | (first & lowest); what is above the second's step is shifted out but for zeros.
        _mm512_ternarylogic_epi32::<0xf8>(_mm512_slli_epi32::<8>(step(second)), step(first), lowest)
    };
    for panel in (0..panels).step_by(2) {
        let mut words = pair(panel);
        if panel + 1 < panels {
            words = _mm512_or_si512(words, _mm512_slli_epi32::<16>(pair(panel + 1)));
        }
        // SAFETY: the caller's promise.
        unsafe { _mm512_storeu_si512(to.add(panel / 2 * GROUP_WORDS).cast(), words) };
    }
}

/// [`Int8::finish`](super::Int8::finish).
///
/// # Safety
///
/// The addresses cover the sums' pixels; the processor has AVX-512F.
#[target_feature(enable = "avx512f")]
pub(in super::super) unsafe fn finish(sums: &Sums<'_>) {
    let half = PANEL / 2;
    // SAFETY: a panel's scales and biases are there, by the caller's promise.
    let [scales, bias] = unsafe {
        [sums.scales, sums.bias].map(|from| [_mm512_loadu_ps(from), _mm512_loadu_ps(from.add(half))])
    };
    let floor = _mm512_set1_ps(if sums.relu { 0.0 } else { f32::NEG_INFINITY });
    for (pixel, step) in sums.steps.iter().enumerate() {
        let step = _mm512_set1_ps(*step);
        // SAFETY: the pixel is one of the sums', by the caller's promise.
        unsafe {
            let value = |i: usize| {
                let sum = _mm512_loadu_si512(sums.sums.add(pixel * PANEL + i * half).cast());
                _mm512_fmadd_ps(_mm512_mul_ps(_mm512_cvtepi32_ps(sum), step), scales[i], bias[i])
            };
            let mut values = [value(0), value(1)];
            if !sums.residual.is_null() {
                let added = read::<1>(sums.residual.add(pixel * sums.stride));
                values = [_mm512_add_ps(values[0], added[0]), _mm512_add_ps(values[1], added[1])];
            }
            // In this order a NaN stays one.
            let values = [_mm512_max_ps(floor, values[0]), _mm512_max_ps(floor, values[1])];
            encode::<1>(values, sums.output.add(pixel * sums.stride));
        }
    }
}

//! One vector register of `f32`, so that each kernel is written once for every instruction set.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};

/// Values of a cache line.
pub(super) const LINE: usize = 64 / size_of::<f32>();

/// A vector register of [`LANES`](Self::LANES) values.
///
/// # Safety
///
/// Every method must run on a processor that has the implementer's instruction set, inlined into a function that enables it
/// (otherwise it is slow, not wrong); loads and stores need [`LANES`](Self::LANES) valid, possibly unaligned, values.
pub(super) trait Vector: Copy {
    /// Values a register holds.
    const LANES: usize;

    unsafe fn splat(value: f32) -> Self;
    unsafe fn load(from: *const f32) -> Self;
    unsafe fn store(self, to: *mut f32);
    /// As [`store`](Self::store), and asks for the line `next` values on, which will be stored to soon: those who write to many places in
    /// turn wait for each to come from a farther cache otherwise.
    #[inline(always)]
    unsafe fn store_then(self, to: *mut f32, next: usize) {
        // SAFETY: the caller's promise; a hint touches no memory.
        unsafe {
            #[cfg(target_arch = "x86_64")]
            _mm_prefetch::<_MM_HINT_T0>(to.wrapping_add(next).cast());
            let _ = next;
            self.store(to);
        }
    }
    unsafe fn add(self, other: Self) -> Self;
    unsafe fn sub(self, other: Self) -> Self;
    /// The greater; `other` where one is NaN.
    unsafe fn max(self, other: Self) -> Self;
    /// The greater; NaN where one is.
    unsafe fn max_or_nan(self, other: Self) -> Self;
    /// `self + a * b`, fused where the processor can.
    unsafe fn add_product(self, a: Self, b: Self) -> Self;
}

/// The fallback: an array that the compiler vectorises with what the target always has.
#[derive(Clone, Copy)]
pub(super) struct Portable([f32; 8]);

impl Vector for Portable {
    const LANES: usize = 8;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        Portable([value; 8])
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller promises eight readable values; the read assumes no alignment.
        Portable(unsafe { from.cast::<[f32; 8]>().read_unaligned() })
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller promises eight writable values; the write assumes no alignment.
        unsafe { to.cast::<[f32; 8]>().write_unaligned(self.0) }
    }
    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        Portable(std::array::from_fn(|i| self.0[i] + other.0[i]))
    }
    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        Portable(std::array::from_fn(|i| self.0[i] - other.0[i]))
    }
    #[inline(always)]
    unsafe fn max(self, other: Self) -> Self {
        // As the vector instructions do: the second operand where one is NaN.
        Portable(std::array::from_fn(|i| if self.0[i] > other.0[i] { self.0[i] } else { other.0[i] }))
    }
    #[inline(always)]
    unsafe fn max_or_nan(self, other: Self) -> Self {
        let greater = |a: f32, b: f32| if a > b || a.is_nan() { a } else { b };
        Portable(std::array::from_fn(|i| greater(self.0[i], other.0[i])))
    }
    #[inline(always)]
    unsafe fn add_product(self, a: Self, b: Self) -> Self {
        Portable(std::array::from_fn(|i| self.0[i] + a.0[i] * b.0[i]))
    }
}

/// Implements [`Vector`] by one intrinsic a method.
macro_rules! vector {
    ($(#[$meta:meta])* $name:ident, $register:ty, $lanes:literal, $splat:ident, $load:ident, $store:ident, $add:ident, $sub:ident, $max:ident,
     |$first:ident, $second:ident| $greater:expr,
     |$c:ident, $a:ident, $b:ident| $fused:expr) => {
        $(#[$meta])*
        #[derive(Clone, Copy)]
        pub(in super::super) struct $name(pub(in super::super) $register);

        impl Vector for $name {
            const LANES: usize = $lanes;

            #[inline(always)]
            unsafe fn splat(value: f32) -> Self {
                // SAFETY: the trait's contract is the intrinsic's.
                Self(unsafe { $splat(value) })
            }
            #[inline(always)]
            unsafe fn load(from: *const f32) -> Self {
                // SAFETY: the trait's contract is the intrinsic's.
                Self(unsafe { $load(from) })
            }
            #[inline(always)]
            unsafe fn store(self, to: *mut f32) {
                // SAFETY: the trait's contract is the intrinsic's.
                unsafe { $store(to, self.0) }
            }
            #[inline(always)]
            unsafe fn add(self, other: Self) -> Self {
                // SAFETY: the trait's contract is the intrinsic's.
                Self(unsafe { $add(self.0, other.0) })
            }
            #[inline(always)]
            unsafe fn sub(self, other: Self) -> Self {
                // SAFETY: the trait's contract is the intrinsic's.
                Self(unsafe { $sub(self.0, other.0) })
            }
            #[inline(always)]
            unsafe fn max(self, other: Self) -> Self {
                // SAFETY: the trait's contract is the intrinsic's.
                Self(unsafe { $max(self.0, other.0) })
            }
            #[inline(always)]
            unsafe fn max_or_nan(self, other: Self) -> Self {
                let ($first, $second) = (self.0, other.0);
                // SAFETY: the trait's contract is the intrinsics'.
                Self(unsafe { $greater })
            }
            #[inline(always)]
            unsafe fn add_product(self, a: Self, b: Self) -> Self {
                let ($c, $a, $b) = (self.0, a.0, b.0);
                // SAFETY: the trait's contract is the intrinsic's.
                Self(unsafe { $fused })
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::Vector;
    use std::arch::x86_64::*;

    vector!(
        /// Eight values: AVX2 with FMA.
        Ymm, __m256, 8, _mm256_set1_ps, _mm256_loadu_ps, _mm256_storeu_ps, _mm256_add_ps, _mm256_sub_ps, _mm256_max_ps,
        // The instruction gives the second where one is NaN.
        |a, b| _mm256_blendv_ps(_mm256_max_ps(a, b), a, _mm256_cmp_ps::<_CMP_UNORD_Q>(a, a)),
        |c, a, b| _mm256_fmadd_ps(a, b, c)
    );
    vector!(
        /// Sixteen values: AVX-512F.
        Zmm, __m512, 16, _mm512_set1_ps, _mm512_loadu_ps, _mm512_storeu_ps, _mm512_add_ps, _mm512_sub_ps, _mm512_max_ps,
        |a, b| _mm512_mask_mov_ps(_mm512_max_ps(a, b), _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(a, a), a),
        |c, a, b| _mm512_fmadd_ps(a, b, c)
    );
}
#[cfg(target_arch = "x86_64")]
pub(super) use x86::{Ymm, Zmm};

#[cfg(target_arch = "aarch64")]
mod arm {
    use super::Vector;
    use std::arch::aarch64::*;

    vector!(
        /// Four values: NEON.
        Neon, float32x4_t, 4, vdupq_n_f32, vld1q_f32, vst1q_f32, vaddq_f32, vsubq_f32, vmaxq_f32,
        |a, b| vmaxq_f32(a, b),
        |c, a, b| vfmaq_f32(c, a, b)
    );
}
#[cfg(target_arch = "aarch64")]
pub(super) use arm::Neon;

//! How a pool keeps a number.

use super::memory::Plain;
use half::bf16;

/// A number as it lies in memory; implemented for `f32` and [`bf16`](half::bf16).
pub trait Stored: Send + Sync + 'static + sealed::Sealed {
    /// What lies in memory: its zero is the number 0.
    #[doc(hidden)]
    #[allow(private_bounds, reason = "which numbers can be kept is decided here")]
    type Bits: Plain + PartialEq + std::fmt::Debug + 'static;

    /// Rounds to the nearest that can be kept.
    #[doc(hidden)]
    fn store(value: f32) -> Self::Bits;

    /// The number kept, exactly.
    #[doc(hidden)]
    fn load(bits: Self::Bits) -> f32;
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for half::bf16 {}
}

impl Stored for f32 {
    type Bits = f32;

    #[inline(always)]
    fn store(value: f32) -> f32 {
        value
    }

    #[inline(always)]
    fn load(bits: f32) -> f32 {
        bits
    }
}

impl Stored for bf16 {
    type Bits = u16;

    #[inline(always)]
    fn store(value: f32) -> u16 {
        // To the nearest, ties to even; a NaN is refused before it gets here. -0 becomes 0, so that equal numbers are equal bits.
        let bits = (value + 0.0).to_bits();
        ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16) as u16
    }

    #[inline(always)]
    fn load(bits: u16) -> f32 {
        f32::from_bits(u32::from(bits) << 16)
    }
}

//! The instruction sets, and the kernels compiled for each, chosen at run time.

use super::gemm::{MAX_TILE, Tile, gemm};
use super::max_pool::pool_row;
#[cfg(target_arch = "aarch64")]
use super::vector::Neon;
use super::vector::{Portable, Vector};
#[cfg(target_arch = "x86_64")]
use super::vector::{Ymm, Zmm};
use super::winograd::transform;
#[cfg(target_arch = "x86_64")]
use super::x86::*;

/// An instruction set that the kernels are compiled for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isa {
    /// What every processor of the target has.
    Portable,
    /// AVX2 with FMA.
    Avx2,
    /// AVX-512F.
    Avx512,
    /// NEON.
    Neon,
}

impl Isa {
    /// The sets this processor can run, slowest first.
    pub fn available() -> Vec<Isa> {
        let mut sets = vec![Isa::Portable];
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                sets.push(Isa::Avx2);
            }
            if is_x86_feature_detected!("avx512f") {
                sets.push(Isa::Avx512);
            }
        }
        #[cfg(target_arch = "aarch64")]
        sets.push(Isa::Neon);
        sets
    }

    /// The fastest set this processor can run.
    pub fn best() -> Isa {
        *Isa::available().last().expect("the portable set is always there")
    }

    /// The kernels of this set; none if the processor cannot run them.
    pub(super) fn kernels(self) -> Option<&'static Kernels> {
        if !Isa::available().contains(&self) {
            return None;
        }
        Some(match self {
            Isa::Portable => &portable::KERNELS,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => &avx2::KERNELS,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => &avx512::KERNELS,
            #[cfg(target_arch = "aarch64")]
            Isa::Neon => &neon::KERNELS,
            #[allow(unreachable_patterns, reason = "other architectures' sets are never available")]
            _ => return None,
        })
    }
}

/// The kernels of one instruction set. Each is unsafe as its generic namesake is.
#[derive(Debug)]
pub(super) struct Kernels {
    /// Pixels in the tallest tile.
    pub(super) tile: usize,
    /// Output channels in a panel; activations hold a multiple of it.
    pub(super) panel: usize,
    /// Longest sum done at once for a tile: its panel of weights stays in the first cache.
    pub(super) depth: usize,
    /// Bytes of a core's own cache.
    pub(super) cache: usize,
    /// By the tile's height minus one.
    pub(super) gemm: [unsafe fn(&Tile); MAX_TILE],
    pub(super) pool_row: unsafe fn(&super::max_pool::Row),
    pub(super) winograd_input: unsafe fn(&transform::Input),
    pub(super) winograd_output: unsafe fn(&transform::Output),
}

/// Compiles the kernels for one set; heights beyond `$tile` repeat the tallest and are never asked for.
macro_rules! kernels {
    ($module:ident, $vector:ident, $registers:literal, $tile:literal, $depth:literal, $cache:expr, $gemm:expr, $(#[$feature:meta])?) => {
        mod $module {
            use super::*;

            $(#[$feature])?
            unsafe fn pool(row: &super::super::max_pool::Row) {
                // SAFETY: the caller's promise; `Isa::kernels` has asked the processor for the set enabled here.
                unsafe { pool_row::<$vector>(row) }
            }

            $(#[$feature])?
            unsafe fn winograd_input(input: &transform::Input) {
                // SAFETY: as above.
                unsafe { transform::input::<$vector>(input) }
            }

            $(#[$feature])?
            unsafe fn winograd_output(output: &transform::Output) {
                // SAFETY: as above.
                unsafe { transform::output::<$vector>(output) }
            }

            pub(super) static KERNELS: Kernels = Kernels {
                tile: $tile,
                depth: $depth,
                cache: $cache,
                panel: $registers * <$vector as Vector>::LANES,
                gemm: $gemm,
                pool_row: pool,
                winograd_input,
                winograd_output,
            };
        }
    };
}

/// The kernels as the compiler makes them, for sets that need no more than the target's own features.
macro_rules! plain {
    ($vector:ident, $registers:literal, $($height:literal)*) => { [$(gemm::<$vector, $height, $registers>),*] };
}

kernels!(portable, Portable, 1, 4, 512, 512 << 10, plain!(Portable, 1, 1 2 3 4 4 4 4 4 4 4 4 4 4 4),);
#[cfg(target_arch = "x86_64")]
kernels!(
    avx2, Ymm, 2, 6, 512, 512 << 10,
    [ymm_1, ymm_2, ymm_3, ymm_4, ymm_5, ymm_6, ymm_6, ymm_6, ymm_6, ymm_6, ymm_6, ymm_6, ymm_6, ymm_6],
    #[target_feature(enable = "avx2,fma")]
);
#[cfg(target_arch = "x86_64")]
kernels!(
    avx512, Zmm, 2, 14, 512, 2 << 20,
    [zmm_1, zmm_2, zmm_3, zmm_4, zmm_5, zmm_6, zmm_7, zmm_8, zmm_9, zmm_10, zmm_11, zmm_12, zmm_13, zmm_14],
    #[target_feature(enable = "avx512f,avx2,fma")]
);
#[cfg(target_arch = "aarch64")]
kernels!(neon, Neon, 4, 6, 512, 512 << 10, plain!(Neon, 4, 1 2 3 4 5 6 6 6 6 6 6 6 6 6), #[target_feature(enable = "neon")]);

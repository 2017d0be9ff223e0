//! The instruction sets, and the kernels compiled for each, chosen at run time.

use super::gemm::{MAX_TILE, Tile, gemm, pack};
#[cfg(target_arch = "x86_64")]
use super::int8;
use super::int8::Int8;
use super::max_pool::pool_row;
#[cfg(target_arch = "x86_64")]
use super::split;
#[cfg(target_arch = "aarch64")]
use super::vector::Neon;
use super::vector::{Portable, Vector};
#[cfg(target_arch = "x86_64")]
use super::vector::{Ymm, Zmm};
use super::winograd::{large, line, medium, small, strided, transform};
#[cfg(target_arch = "x86_64")]
use super::x86::*;
#[cfg(target_arch = "x86_64")]
use super::{amx, bf16, group, transpose};

/// An instruction set that the kernels are compiled for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isa {
    /// What every processor of the target has.
    Portable,
    /// AVX2 with FMA.
    Avx2,
    /// AVX-512F.
    Avx512,
    /// AMX, with AVX-512F for the rest. Values are held as sums of two bf16, within 2^-17 of themselves: after the 53 layers of a
    /// ResNet-50 features differ by some 2e-5 of the greatest from those of the other sets, which differ by some 1e-6 among each other.
    Amx,
    /// AMX on values rounded to bf16, with AVX-512F for the rest: never taken unless asked for. Features differ by some 1e-2 of the greatest.
    AmxBf16,
    /// AVX-512 VNNI on activations and weights of 8 bits, with AVX-512F for the rest: never taken unless asked for. Features differ by some 3e-2 to 7e-2
    /// of the greatest.
    Int8Vnni,
    /// AMX in place of VNNI: the same to the bit.
    Int8Amx,
    /// NEON.
    Neon,
}

impl Isa {
    /// The sets this processor can run, slowest first, but for those that are never taken unless asked for.
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
            if amx::available() {
                sets.push(Isa::Amx);
            }
        }
        #[cfg(target_arch = "aarch64")]
        sets.push(Isa::Neon);
        sets
    }

    /// Whether this processor can run the set.
    pub fn is_available(self) -> bool {
        match self {
            Isa::AmxBf16 => Isa::Amx.is_available(),
            #[cfg(target_arch = "x86_64")]
            Isa::Int8Vnni => is_x86_feature_detected!("avx512bw") && is_x86_feature_detected!("avx512vnni"),
            #[cfg(target_arch = "x86_64")]
            Isa::Int8Amx => is_x86_feature_detected!("avx512bw") && int8::amx::available(),
            _ => Isa::available().contains(&self),
        }
    }

    /// The faster of the sets for 8 bits that this processor can run.
    pub fn best_int8() -> Option<Isa> {
        [Isa::Int8Amx, Isa::Int8Vnni].into_iter().find(|set| set.is_available())
    }

    /// The fastest set this processor can run.
    pub fn best() -> Isa {
        *Isa::available().last().expect("the portable set is always there")
    }

    /// The fastest set this processor can run that does every product in f32.
    pub fn best_f32() -> Isa {
        let mut sets = Isa::available();
        sets.retain(|&set| set != Isa::Amx);
        *sets.last().expect("the portable set is always there")
    }

    /// The kernels of this set; none if the processor cannot run them.
    pub(super) fn kernels(self) -> Option<&'static Kernels> {
        if !self.is_available() {
            return None;
        }
        Some(match self {
            Isa::Portable => &portable::KERNELS,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => &avx2::KERNELS,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => &avx512::KERNELS,
            #[cfg(target_arch = "x86_64")]
            Isa::Amx => &AMX,
            #[cfg(target_arch = "x86_64")]
            Isa::AmxBf16 => &AMX_BF16,
            #[cfg(target_arch = "x86_64")]
            Isa::Int8Vnni => &INT8_VNNI,
            #[cfg(target_arch = "x86_64")]
            Isa::Int8Amx => &INT8_AMX,
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
    /// Output channels in a panel; activations hold a multiple of it.
    pub(super) panel: usize,
    /// Words of `f32` that a pixel's panel takes in a map.
    pub(super) held: usize,
    /// Bytes of a core's own cache.
    pub(super) cache: usize,
    /// Products of all layers but the first.
    pub(super) product: Product,
    /// The first layer's, from f32 to f32.
    pub(super) stem: Product,
    /// The transforms along the rows of a first layer that goes by Winograd's method.
    pub(super) line: Line,
    /// From f32 to what the other layers take.
    pub(super) pool_row: unsafe fn(&super::max_pool::Row),
    /// By the methods' numbers; none where the products are so fast that the transforms do not pay.
    pub(super) winograd: Option<[Transforms; 4]>,
    /// Reads a panel of activations as f32; none where they are that.
    pub(super) decode: Option<unsafe fn(*const f32, *mut f32)>,
    /// Where products are of 8 bits, what else they need.
    pub(super) int8: Option<Int8>,
    /// Turns sixteen rows of sixteen values into columns: from, its stride, to, its stride. None where the compiler does as well.
    pub(super) turn: Option<Turn>,
    /// What a thread has to do before and after its products.
    around: Option<[unsafe fn(); 2]>,
}

/// Turns rows into columns.
type Turn = unsafe fn(*const f32, usize, *mut f32, usize);

/// Packs a matrix: depth, width, panel, elements. See [`pack`].
type Pack = fn(usize, usize, usize, &dyn Fn(usize, usize) -> f32) -> Vec<f32>;

/// One way to multiply, and what it takes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Product {
    /// Pixels in the tallest tile.
    pub(super) tile: usize,
    /// Longest sum done at once for a tile, whose panel of weights stays in the cache; the greatest number where a sum cannot be cut.
    pub(super) depth: usize,
    pub(super) multiply: unsafe fn(&Tile),
    pub(super) pack: Pack,
    /// Lines that a tile of a convolution fetches ahead at each step of its sum, which takes so many values; none if zero.
    pub(super) lines: usize,
    pub(super) step: usize,
}

/// Winograd's transforms.
#[derive(Debug, Clone, Copy)]
pub(super) struct Transforms {
    pub(super) input: unsafe fn(&transform::Input),
    pub(super) output: unsafe fn(&transform::Output),
}

/// The transforms of `winograd/line.rs`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Line {
    pub(super) input: unsafe fn(&line::Input),
    pub(super) output: unsafe fn(&line::Output),
}

/// A thread may multiply while this lives.
pub(super) struct Entered(Option<unsafe fn()>);

impl Kernels {
    /// Words that `channels` of a pixel take in a map.
    pub(super) fn words(&self, channels: usize) -> usize {
        channels.div_ceil(self.panel) * self.held
    }

    /// Readies the calling thread for products.
    pub(super) fn enter(&self) -> Entered {
        // SAFETY: `Isa::kernels` has asked the processor for the set.
        self.around.inspect(|[enter, _]| unsafe { enter() });
        Entered(self.around.map(|[_, leave]| leave))
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        // SAFETY: as in `enter`.
        self.0.inspect(|leave| unsafe { leave() });
    }
}

/// Compiles the kernels for one set; heights beyond `$tile` repeat the tallest and are never asked for.
macro_rules! kernels {
    ($module:ident, $vector:ident, $registers:literal, $tile:literal, $depth:literal, $lines:literal, $cache:expr, $heights:expr, $turn:expr, $(#[$feature:meta])?) => {
        mod $module {
            use super::*;

            const HEIGHTS: [unsafe fn(&Tile); MAX_TILE] = $heights;

            unsafe fn multiply(tile: &Tile) {
                // SAFETY: the caller's promise; `Isa::kernels` has asked the processor for the set enabled in the kernels.
                unsafe { HEIGHTS[tile.pixels - 1](tile) }
            }

            $(#[$feature])?
            unsafe fn pool(row: &super::super::max_pool::Row) {
                // SAFETY: as above.
                unsafe { pool_row::<$vector>(row) }
            }

            $(#[$feature])?
            unsafe fn large_input(input: &transform::Input) {
                // SAFETY: as above.
                unsafe { large::input::<$vector>(input) }
            }

            $(#[$feature])?
            unsafe fn large_output(output: &transform::Output) {
                // SAFETY: as above.
                unsafe { large::output::<$vector>(output) }
            }

            $(#[$feature])?
            unsafe fn strided_input(input: &transform::Input) {
                // SAFETY: as above.
                unsafe { strided::input::<$vector>(input) }
            }

            $(#[$feature])?
            unsafe fn strided_output(output: &transform::Output) {
                // SAFETY: as above.
                unsafe { strided::output::<$vector>(output) }
            }

            $(#[$feature])?
            unsafe fn small_input(input: &transform::Input) {
                // SAFETY: as above.
                unsafe { small::input::<$vector>(input) }
            }

            $(#[$feature])?
            unsafe fn small_output(output: &transform::Output) {
                // SAFETY: as above.
                unsafe { small::output::<$vector>(output) }
            }

            $(#[$feature])?
            unsafe fn medium_input(input: &transform::Input) {
                // SAFETY: as above.
                unsafe { medium::input::<$vector>(input) }
            }

            $(#[$feature])?
            unsafe fn medium_output(output: &transform::Output) {
                // SAFETY: as above.
                unsafe { medium::output::<$vector>(output) }
            }

            $(#[$feature])?
            unsafe fn line_input(input: &line::Input) {
                // SAFETY: as above.
                unsafe { line::input::<$vector>(input) }
            }

            $(#[$feature])?
            unsafe fn line_output(output: &line::Output) {
                // SAFETY: as above.
                unsafe { line::output::<$vector>(output) }
            }

            pub(super) const LINE: Line = Line { input: line_input, output: line_output };

            pub(super) const PRODUCT: Product = Product { tile: $tile, depth: $depth, multiply, pack, lines: $lines, step: 1 };

            pub(super) static KERNELS: Kernels = Kernels {
                panel: $registers * <$vector as Vector>::LANES,
                held: $registers * <$vector as Vector>::LANES,
                cache: $cache,
                product: PRODUCT,
                stem: PRODUCT,
                line: LINE,
                pool_row: pool,
                winograd: Some([
                    Transforms { input: large_input, output: large_output },
                    Transforms { input: strided_input, output: strided_output },
                    Transforms { input: small_input, output: small_output },
                    Transforms { input: medium_input, output: medium_output },
                ]),
                decode: None,
                int8: None,
                turn: $turn,
                around: None,
            };
        }
    };
}

/// The kernels as the compiler makes them, for sets that need no more than the target's own features.
macro_rules! plain {
    ($vector:ident, $registers:literal, $($height:literal)*) => { [$(gemm::<$vector, $height, $registers>),*] };
}

kernels!(portable, Portable, 1, 4, 512, 0, 512 << 10, plain!(Portable, 1, 1 2 3 4 4 4 4 4 4 4 4 4 4 4), None,);
#[cfg(target_arch = "x86_64")]
kernels!(
    avx2, Ymm, 2, 6, 512, 0, 512 << 10,
    [ymm_1, ymm_2, ymm_3, ymm_4, ymm_5, ymm_6, ymm_6, ymm_6, ymm_6, ymm_6, ymm_6, ymm_6, ymm_6, ymm_6],
    None,
    #[target_feature(enable = "avx2,fma")]
);
#[cfg(target_arch = "x86_64")]
kernels!(
    avx512, Zmm, 2, 14, 2304, 1, 2 << 20,
    [zmm_1, zmm_2, zmm_3, zmm_4, zmm_5, zmm_6, zmm_7, zmm_8, zmm_9, zmm_10, zmm_11, zmm_12, zmm_13, zmm_14],
    Some(transpose::turn),
    #[target_feature(enable = "avx512f,avx2,fma")]
);
#[cfg(target_arch = "aarch64")]
kernels!(neon, Neon, 4, 6, 512, 0, 512 << 10, plain!(Neon, 4, 1 2 3 4 5 6 6 6 6 6 6 6 6 6), None, #[target_feature(enable = "neon")]);

#[cfg(target_arch = "x86_64")]
static AMX: Kernels = Kernels {
    panel: split::GROUP,
    held: split::GROUP,
    cache: 2 << 20,
    product: Product {
        tile: amx::PIXELS,
        depth: usize::MAX,
        multiply: amx::multiply,
        pack: split::pack::<2>,
        lines: amx::LINES,
        step: split::GROUP,
    },
    stem: avx512::PRODUCT,
    line: avx512::LINE,
    pool_row: group::pool_row::<2>,
    winograd: None,
    decode: Some(group::decode::<2>),
    int8: None,
    turn: Some(transpose::turn),
    around: Some([amx::enter, amx::leave]),
};

#[cfg(target_arch = "x86_64")]
static AMX_BF16: Kernels = Kernels {
    panel: split::GROUP,
    held: split::GROUP / 2,
    cache: 2 << 20,
    product: Product {
        tile: amx::PIXELS,
        depth: usize::MAX,
        multiply: bf16::multiply,
        pack: split::pack::<1>,
        lines: bf16::LINES,
        step: split::GROUP / 2,
    },
    stem: avx512::PRODUCT,
    line: avx512::LINE,
    pool_row: group::pool_row::<1>,
    winograd: None,
    decode: Some(group::decode::<1>),
    int8: None,
    turn: Some(transpose::turn),
    around: Some([amx::enter, amx::leave]),
};

#[cfg(target_arch = "x86_64")]
mod vnni {
    use super::*;

    const HEIGHTS: [unsafe fn(&Tile); MAX_TILE] = [
        vnni_1, vnni_2, vnni_3, vnni_4, vnni_5, vnni_6, vnni_7, vnni_8, vnni_9, vnni_10, vnni_11, vnni_12,
        vnni_13, vnni_14,
    ];

    pub(super) unsafe fn multiply(tile: &Tile) {
        // SAFETY: the caller's promise; `Isa::kernels` has asked the processor for the set enabled in the kernels.
        unsafe { HEIGHTS[tile.pixels - 1](tile) }
    }
}

#[cfg(target_arch = "x86_64")]
static INT8_VNNI: Kernels = Kernels {
    panel: split::GROUP,
    held: split::GROUP / 2,
    cache: 2 << 20,
    product: Product {
        tile: MAX_TILE,
        depth: usize::MAX,
        multiply: vnni::multiply,
        pack: int8::pack,
        lines: 1,
        step: 1,
    },
    stem: avx512::PRODUCT,
    line: avx512::LINE,
    pool_row: group::pool_row::<1>,
    winograd: None,
    decode: Some(group::decode::<1>),
    turn: Some(transpose::turn),
    int8: Some(Int8 {
        greatest: int8::registers::greatest,
        quantise: int8::registers::quantise,
        finish: int8::registers::finish,
    }),
    around: None,
};

#[cfg(target_arch = "x86_64")]
static INT8_AMX: Kernels = Kernels {
    product: Product {
        tile: int8::amx::PIXELS,
        multiply: int8::amx::multiply,
        lines: int8::amx::LINES,
        step: int8::amx::STEP,
        ..INT8_VNNI.product
    },
    around: Some([int8::amx::enter, int8::amx::leave]),
    ..INT8_VNNI
};

//! The kernels of `gemm.rs` for the registers of x86, their inner loop in assembly.
//!
//! The compiler leaves the sums of tall tiles in memory and the addresses of their rows on the stack; both double the loads. Here
//! the sums are registers, and three anchors with multiples of the stride address all rows.

use super::gemm::{Ending, Tile, finish};
use super::vector::{Vector, Ymm, Zmm};
use std::arch::asm;
use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch, _mm256_setzero_ps, _mm512_setzero_ps};

/// One step of the sum for all rows, by the instructions `$broadcast` and `$product`: `$ahead` fetches for later, `$at` displaces the activations, `$first` and `$second` the panel.
macro_rules! step {
    ($broadcast:literal $product:literal $low:literal $high:literal $value:literal, $ahead:literal $at:literal $first:literal $second:literal; $(($row:tt $address:tt $x:tt $a:tt $y:tt $b:tt))*) => {
        concat!(
            $ahead,
            "vmovups ", $low, ", [{b}+", $first, "]\n",
            "vmovups ", $high, ", [{b}+", $second, "]\n",
            $(
                $broadcast, " ", $value, ", dword ptr [", $address, "+", $at, "]\n",
                $product, " ", $a, ", ", $value, ", ", $low, "\n",
                $product, " ", $b, ", ", $value, ", ", $high, "\n",
            )*
        )
    };
}

/// Asks for the lines of a panel's width at `line`, to be there when the sum is done; a register has `BYTES`.
#[inline(always)]
fn fetch<const BYTES: usize>(line: *const f32) {
    for offset in (0..2 * BYTES).step_by(64) {
        // SAFETY: a hint, which touches no memory.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(line.wrapping_byte_add(offset).cast()) };
    }
}

/// A kernel of two registers by the rows listed: number, address, and the names and registers of the sums.
macro_rules! kernel {
    (
        ($feature:literal $broadcast:tt $product:tt $vector:ident $zero:ident $low:tt $high:tt $value:tt $b1:tt $b2:tt $b3:tt $panel:tt)
        $name:ident $(($row:tt $address:tt $x:ident $a:tt $y:ident $b:tt))*
    ) => {
        /// # Safety
        ///
        /// As [`gemm`](super::gemm::gemm)'s; the processor has the instruction set.
        #[target_feature(enable = $feature)]
        pub(super) unsafe fn $name(tile: &Tile) {
            let stride = tile.a_stride * size_of::<f32>();
            let (mut b, mut ahead) = (tile.b, tile.ahead);
            const BYTES: usize = size_of::<$vector>();
            if !tile.residual.is_null() && tile.residual != tile.fetch {
                $(fetch::<BYTES>(tile.residual.wrapping_add($row * tile.c_stride));)*
            }
            if !tile.fetch.is_null() {
                $(fetch::<BYTES>(tile.fetch.wrapping_add($row * tile.fetch_stride));)*
            }
            let (mut low, mut high) = ($zero(), $zero());
            if !tile.bias.is_null() {
                // SAFETY: a panel's width of biases is there by the caller's promise.
                unsafe {
                    low = $vector::load(tile.bias).0;
                    high = $vector::load(tile.bias.add($vector::LANES)).0;
                }
            }
            $(let (mut $x, mut $y) = (low, high);)*
            for segment in 0..tile.segments {
                let a = tile.a.wrapping_add(segment * tile.segment_stride);
                // SAFETY: reads `depth` values of each row's stretch and `depth` rows of the panel, which are there by the
                // caller's promise; anchors of rows that are not listed are computed and not read. Writes nothing.
                unsafe {
                    asm!(
                        "// {s} {t}: low tiles need neither",
                        "test {k}, 1",
                        "jz 2f",
                        step!($broadcast $product $low $high $value, "prefetcht1 [{f}]\nadd {f}, {g}\n" "0" "0" $b1; $(($row $address $x $a $y $b))*),
                        "add {p}, 4",
                        "add {q}, 4",
                        "add {r}, 4",
                        concat!("add {b}, ", $panel),
                        "2:",
                        "shr {k}, 1",
                        "jz 4f",
                        ".p2align 5",
                        "3:",
                        step!($broadcast $product $low $high $value, "prefetcht1 [{f}]\n" "0" "0" $b1; $(($row $address $x $a $y $b))*),
                        step!($broadcast $product $low $high $value, "prefetcht1 [{f}+{g}]\nlea {f}, [{f}+2*{g}]\n" "4" $b2 $b3; $(($row $address $x $a $y $b))*),
                        "add {p}, 8",
                        "add {q}, 8",
                        "add {r}, 8",
                        concat!("add {b}, 2*", $panel),
                        "dec {k}",
                        "jnz 3b",
                        "4:",
                        p = inout(reg) a => _,
                        q = inout(reg) a.wrapping_byte_add(5 * stride) => _,
                        r = inout(reg) a.wrapping_byte_add(10 * stride) => _,
                        s = in(reg) stride,
                        t = in(reg) 3 * stride,
                        b = inout(reg) b,
                        k = inout(reg) tile.depth => _,
                        f = inout(reg) ahead,
                        g = in(reg) tile.ahead_stride,
                        $(inout($a) $x, inout($b) $y,)*
                        out($low) _, out($high) _, out($value) _,
                        options(readonly, nostack)
                    );
                }
            }
            let _ = (b, ahead);
            // SAFETY: the rows listed are the tile's, by the caller's promise.
            unsafe {
                // Asked once a tile, not once a register.
                match Ending::of(tile) {
                    Ending::Bare => {
                        $(
                            finish(tile, Ending::Bare, $row, 0, $vector($x));
                            finish(tile, Ending::Bare, $row, 1, $vector($y));
                        )*
                    }
                    Ending::Relu => {
                        $(
                            finish(tile, Ending::Relu, $row, 0, $vector($x));
                            finish(tile, Ending::Relu, $row, 1, $vector($y));
                        )*
                    }
                    Ending::Residual => {
                        $(
                            finish(tile, Ending::Residual, $row, 0, $vector($x));
                            finish(tile, Ending::Residual, $row, 1, $vector($y));
                        )*
                    }
                    Ending::Any => {
                        $(
                            finish(tile, Ending::Any, $row, 0, $vector($x));
                            finish(tile, Ending::Any, $row, 1, $vector($y));
                        )*
                    }
                }
            }
        }
    };
}

/// A kernel for every height: each of the rows with all before it.
macro_rules! heights {
    ($set:tt [$($done:tt)*]) => {};
    ($set:tt [$($done:tt)*] $name:ident $row:tt $($rest:tt)*) => {
        kernel!($set $name $($done)* $row);
        heights!($set [$($done)* $row] $($rest)*);
    };
}

heights!(
    ("avx2,fma" "vbroadcastss" "vfmadd231ps" Ymm _mm256_setzero_ps "ymm12" "ymm13" "ymm14" "32" "64" "96" "64") []
    ymm_1 (0 "{p}" x0 "ymm0" y0 "ymm1")
    ymm_2 (1 "{p}+{s}" x1 "ymm2" y1 "ymm3")
    ymm_3 (2 "{p}+2*{s}" x2 "ymm4" y2 "ymm5")
    ymm_4 (3 "{p}+{t}" x3 "ymm6" y3 "ymm7")
    ymm_5 (4 "{p}+4*{s}" x4 "ymm8" y4 "ymm9")
    ymm_6 (5 "{q}" x5 "ymm10" y5 "ymm11")
);
heights!(
    ("avx512f,avx2,fma" "vbroadcastss" "vfmadd231ps" Zmm _mm512_setzero_ps "zmm28" "zmm29" "zmm30" "64" "128" "192" "128") []
    zmm_1 (0 "{p}" x0 "zmm0" y0 "zmm1")
    zmm_2 (1 "{p}+{s}" x1 "zmm2" y1 "zmm3")
    zmm_3 (2 "{p}+2*{s}" x2 "zmm4" y2 "zmm5")
    zmm_4 (3 "{p}+{t}" x3 "zmm6" y3 "zmm7")
    zmm_5 (4 "{p}+4*{s}" x4 "zmm8" y4 "zmm9")
    zmm_6 (5 "{q}" x5 "zmm10" y5 "zmm11")
    zmm_7 (6 "{q}+{s}" x6 "zmm12" y6 "zmm13")
    zmm_8 (7 "{q}+2*{s}" x7 "zmm14" y7 "zmm15")
    zmm_9 (8 "{q}+{t}" x8 "zmm16" y8 "zmm17")
    zmm_10 (9 "{q}+4*{s}" x9 "zmm18" y9 "zmm19")
    zmm_11 (10 "{r}" x10 "zmm20" y10 "zmm21")
    zmm_12 (11 "{r}+{s}" x11 "zmm22" y11 "zmm23")
    zmm_13 (12 "{r}+2*{s}" x12 "zmm24" y12 "zmm25")
    zmm_14 (13 "{r}+{t}" x13 "zmm26" y13 "zmm27")
);
// Four products of unsigned bytes of a pixel with signed ones of a channel, added in 32 bits: words as they are, with no ending but to be stored.
heights!(
    ("avx512f,avx2,fma" "vpbroadcastd" "vpdpbusd" Zmm _mm512_setzero_ps "zmm28" "zmm29" "zmm30" "64" "128" "192" "128") []
    vnni_1 (0 "{p}" x0 "zmm0" y0 "zmm1")
    vnni_2 (1 "{p}+{s}" x1 "zmm2" y1 "zmm3")
    vnni_3 (2 "{p}+2*{s}" x2 "zmm4" y2 "zmm5")
    vnni_4 (3 "{p}+{t}" x3 "zmm6" y3 "zmm7")
    vnni_5 (4 "{p}+4*{s}" x4 "zmm8" y4 "zmm9")
    vnni_6 (5 "{q}" x5 "zmm10" y5 "zmm11")
    vnni_7 (6 "{q}+{s}" x6 "zmm12" y6 "zmm13")
    vnni_8 (7 "{q}+2*{s}" x7 "zmm14" y7 "zmm15")
    vnni_9 (8 "{q}+{t}" x8 "zmm16" y8 "zmm17")
    vnni_10 (9 "{q}+4*{s}" x9 "zmm18" y9 "zmm19")
    vnni_11 (10 "{r}" x10 "zmm20" y10 "zmm21")
    vnni_12 (11 "{r}+{s}" x11 "zmm22" y11 "zmm23")
    vnni_13 (12 "{r}+2*{s}" x12 "zmm24" y12 "zmm25")
    vnni_14 (13 "{r}+{t}" x13 "zmm26" y13 "zmm27")
);

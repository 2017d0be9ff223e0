//! Products by the matrix unit of x86 (AMX), which multiplies bf16 and adds in f32.
//!
//! A value is held as the sum of two bf16, within 2^-17 of itself (`split.rs`). Of the four products of two such
//! sums three are computed; the fourth is below 2^-16 of the whole. That takes three of the unit's multiplications for
//! one of f32, of which it does sixteen times as many as the vector units.
//!
//! A. Henry, P. T. P. Tang, A. Heinecke, Leveraging the bfloat16 Artificial Intelligence Datatype For Higher-Precision Computations
//! (2019), section 2.

use super::gemm::Tile;
use super::max_pool::Row;
use super::split::GROUP;
use std::arch::asm;
use std::arch::x86_64::*;
use std::mem::MaybeUninit;

/// Rows of one of the unit's registers.
const ROWS: usize = 16;
/// Pixels of a tile: two registers of them.
pub(super) const PIXELS: usize = 2 * ROWS;

/// Lines fetched ahead at each step of the sum.
pub(super) const LINES: usize = 16;

/// Whether this process may use the unit: the processor has it, and the system lends its registers when asked for them.
pub(super) fn available() -> bool {
    static AVAILABLE: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
    *AVAILABLE.get_or_init(|| {
        const AMX_BF16: u32 = 1 << 22;
        const AMX_TILE: u32 = 1 << 24;
        is_x86_feature_detected!("avx512f") && __cpuid(0).eax >= 7 && {
            let features = __cpuid_count(7, 0).edx;
            features & AMX_BF16 != 0 && features & AMX_TILE != 0 && lent()
        }
    })
}

/// Asks the system for the registers, for all threads of this process.
#[cfg(all(target_os = "linux", not(miri)))]
fn lent() -> bool {
    // arch_prctl(2) and asm/prctl.h
    const ARCH_REQ_XCOMP_PERM: libc::c_ulong = 0x1023;
    const XFEATURE_XTILEDATA: libc::c_ulong = 18;
    // SAFETY: changes nothing but what this process may use; refused by systems that do not know it.
    unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0 }
}

#[cfg(not(all(target_os = "linux", not(miri))))]
fn lent() -> bool {
    false
}

/// What the unit's registers hold: eight of 16 rows of 64 bytes.
#[repr(C, align(64))]
struct Configuration {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

static CONFIGURATION: Configuration = Configuration {
    palette: 1,
    start_row: 0,
    reserved: [0; 14],
    row_bytes: [64, 64, 64, 64, 64, 64, 64, 64, 0, 0, 0, 0, 0, 0, 0, 0],
    rows: [16, 16, 16, 16, 16, 16, 16, 16, 0, 0, 0, 0, 0, 0, 0, 0],
};

/// Sets this thread's registers up for [`multiply`].
///
/// # Safety
///
/// The unit is [`available`].
pub(super) unsafe fn enter() {
    // SAFETY: reads 64 bytes; no register that the compiler knows is touched.
    unsafe {
        asm!("ldtilecfg [{}]", in(reg) &raw const CONFIGURATION, options(readonly, nostack, preserves_flags))
    }
}

/// Gives the registers back, so that the system need not save them.
///
/// # Safety
///
/// The unit is [`available`].
pub(super) unsafe fn leave() {
    // SAFETY: no register that the compiler knows is touched.
    unsafe { asm!("tilerelease", options(nomem, nostack, preserves_flags)) }
}

/// Sums of a tile, `[pixel][channel]`.
#[repr(C, align(64))]
struct Sums(MaybeUninit<[f32; PIXELS * GROUP]>);

/// Computes a tile of up to [`PIXELS`] pixels by [`GROUP`] output channels. Pixels beyond the tile's are read up to a multiple of
/// 16 and forgotten.
///
/// # Safety
///
/// As [`gemm`](super::gemm::gemm)'s; [`enter`] was called by this thread; activations can be read for the pixels beyond.
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn multiply(tile: &Tile) {
    fetch(tile);
    let mut sums = Sums(MaybeUninit::uninit());
    let stride = tile.a_stride * size_of::<f32>();
    let skip = (tile.segment_stride.wrapping_sub(tile.depth)).wrapping_mul(size_of::<f32>());
    // A register's two groups of channels lie side by side in each row of the sums.
    let row = GROUP * size_of::<f32>();
    if tile.pixels > ROWS {
        // The second register's pixels may be some of the first's: nothing beyond the tile is read.
        let second = tile.pixels - ROWS;
        // SAFETY: reads the activations of pixels 0..16 and `second..second + 16`, and `depth` rows of the panel for each segment;
        // writes the sums' 32 rows. The unit is set up, by the caller's promise.
        unsafe {
            asm!(
                "tilezero tmm0",
                "tilezero tmm1",
                "tilezero tmm2",
                "tilezero tmm3",
                "2:",
                "mov {k}, {groups}",
                "3:",
                "tileloadd tmm4, [{p}+{s}]",
                "tileloadd tmm6, [{b}+{w}+2048]",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "prefetcht1 [{f}+0]",
                "prefetcht1 [{f}+64]",
                "tileloadd tmm7, [{b}+{w}+3072]",
                "tdpbf16ps tmm1, tmm4, tmm7",
                "prefetcht1 [{f}+128]",
                "prefetcht1 [{f}+192]",
                "tileloadd tmm5, [{q}+{s}]",
                "tdpbf16ps tmm2, tmm5, tmm6",
                "prefetcht1 [{f}+256]",
                "prefetcht1 [{f}+320]",
                "tileloadd tmm6, [{b}+{w}]",
                "tdpbf16ps tmm3, tmm5, tmm7",
                "prefetcht1 [{f}+384]",
                "prefetcht1 [{f}+448]",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "prefetcht1 [{f}+512]",
                "prefetcht1 [{f}+576]",
                "tileloadd tmm7, [{b}+{w}+1024]",
                "tdpbf16ps tmm1, tmm4, tmm7",
                "prefetcht1 [{f}+640]",
                "prefetcht1 [{f}+704]",
                "tileloadd tmm4, [{p}+{s}+64]",
                "tdpbf16ps tmm2, tmm5, tmm6",
                "prefetcht1 [{f}+768]",
                "prefetcht1 [{f}+832]",
                "tdpbf16ps tmm3, tmm5, tmm7",
                "prefetcht1 [{f}+896]",
                "prefetcht1 [{f}+960]",
                "tileloadd tmm5, [{q}+{s}+64]",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "tdpbf16ps tmm1, tmm4, tmm7",
                "tdpbf16ps tmm2, tmm5, tmm6",
                "tdpbf16ps tmm3, tmm5, tmm7",
                "add {p}, 128",
                "add {q}, 128",
                "add {b}, 4096",
                "add {f}, {g}",
                "dec {k}",
                "jnz 3b",
                "add {p}, {skip}",
                "add {q}, {skip}",
                "dec {n}",
                "jnz 2b",
                "mov {k}, {row}",
                "tilestored [{c}+{k}], tmm0",
                "tilestored [{c}+{k}+64], tmm1",
                "tilestored [{d}+{k}], tmm2",
                "tilestored [{d}+{k}+64], tmm3",
                p = inout(reg) tile.a => _,
                q = inout(reg) tile.a.wrapping_add(second * tile.a_stride) => _,
                s = in(reg) stride,
                b = inout(reg) tile.b => _,
                w = in(reg) 64usize,
                k = out(reg) _,
                f = inout(reg) tile.ahead => _,
                g = in(reg) tile.ahead_stride,
                groups = in(reg) tile.depth / GROUP,
                n = inout(reg) tile.segments => _,
                skip = in(reg) skip,
                row = in(reg) row,
                c = in(reg) sums.0.as_mut_ptr(),
                d = in(reg) sums.0.as_mut_ptr().wrapping_byte_add(second * row),
                options(nostack)
            );
        }
    } else {
        // SAFETY: as above, for pixels 0..16, which can be read by the caller's promise.
        unsafe {
            asm!(
                "tilezero tmm0",
                "tilezero tmm1",
                "2:",
                "mov {k}, {groups}",
                "3:",
                "tileloadd tmm4, [{p}+{s}]",
                "tileloadd tmm6, [{b}+{w}+2048]",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "prefetcht1 [{f}+0]",
                "prefetcht1 [{f}+64]",
                "prefetcht1 [{f}+128]",
                "tileloadd tmm7, [{b}+{w}+3072]",
                "tdpbf16ps tmm1, tmm4, tmm7",
                "prefetcht1 [{f}+192]",
                "prefetcht1 [{f}+256]",
                "prefetcht1 [{f}+320]",
                "tileloadd tmm6, [{b}+{w}]",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "prefetcht1 [{f}+384]",
                "prefetcht1 [{f}+448]",
                "prefetcht1 [{f}+512]",
                "tileloadd tmm7, [{b}+{w}+1024]",
                "tdpbf16ps tmm1, tmm4, tmm7",
                "prefetcht1 [{f}+576]",
                "prefetcht1 [{f}+640]",
                "prefetcht1 [{f}+704]",
                "tileloadd tmm5, [{p}+{s}+64]",
                "tdpbf16ps tmm0, tmm5, tmm6",
                "prefetcht1 [{f}+768]",
                "prefetcht1 [{f}+832]",
                "prefetcht1 [{f}+896]",
                "tdpbf16ps tmm1, tmm5, tmm7",
                "prefetcht1 [{f}+960]",
                "add {p}, 128",
                "add {b}, 4096",
                "add {f}, {g}",
                "dec {k}",
                "jnz 3b",
                "add {p}, {skip}",
                "dec {n}",
                "jnz 2b",
                "mov {k}, {row}",
                "tilestored [{c}+{k}], tmm0",
                "tilestored [{c}+{k}+64], tmm1",
                p = inout(reg) tile.a => _,
                s = in(reg) stride,
                b = inout(reg) tile.b => _,
                w = in(reg) 64usize,
                k = out(reg) _,
                f = inout(reg) tile.ahead => _,
                g = in(reg) tile.ahead_stride,
                groups = in(reg) tile.depth / GROUP,
                n = inout(reg) tile.segments => _,
                skip = in(reg) skip,
                row = in(reg) row,
                c = in(reg) sums.0.as_mut_ptr(),
                options(nostack)
            );
        }
    }
    // SAFETY: the first `pixels` rows of the sums were written above; the rest is the caller's promise.
    unsafe { finish(tile, sums.0.as_ptr().cast()) }
}

/// Asks for the lines of the outputs and the residual, while the sum is done.
#[inline(always)]
fn fetch(tile: &Tile) {
    for row in 0..tile.pixels {
        for half in 0..2 {
            // SAFETY: hints, which touch no memory.
            unsafe {
                if !tile.residual.is_null() {
                    let line = tile.residual.wrapping_add(row * tile.c_stride + half * GROUP / 2);
                    _mm_prefetch::<_MM_HINT_T0>(line.cast());
                }
                if !tile.fetch.is_null() {
                    let line = tile.fetch.wrapping_add(row * tile.fetch_stride + half * GROUP / 2);
                    _mm_prefetch::<_MM_HINT_T0>(line.cast());
                }
            }
        }
    }
}

/// A group of channels, first and second half.
type Halves = [__m512; 2];

/// [`split::decode`](super::split::decode) of what lies at `from`.
#[inline(always)]
unsafe fn read(from: *const f32) -> Halves {
    // SAFETY: the caller promises a group at `from` and AVX-512F.
    unsafe {
        let mask = _mm512_set1_epi32(0xffff_0000u32 as i32);
        let (large, small) =
            (_mm512_loadu_si512(from.cast()), _mm512_loadu_si512(from.add(GROUP / 2).cast()));
        let low = |pair| _mm512_castsi512_ps(_mm512_slli_epi32::<16>(pair));
        let high = |pair| _mm512_castsi512_ps(_mm512_and_si512(pair, mask));
        [_mm512_add_ps(low(large), low(small)), _mm512_add_ps(high(large), high(small))]
    }
}

/// [`split::encode`](super::split::encode) of `values` into `to`.
#[inline(always)]
unsafe fn encode([first, second]: Halves, to: *mut f32) {
    // SAFETY: the caller promises room for a group at `to` and AVX-512F.
    unsafe {
        let mask = _mm512_set1_epi32(0xffff_0000u32 as i32);
        let half = _mm512_set1_epi32(0x8000);
        let round = |value: __m512| _mm512_add_epi32(_mm512_castps_si512(value), half);
        let pair = |low, high| {
            // (high & mask) | (low >> 16)
            _mm512_ternarylogic_epi32::<0xf8>(_mm512_srli_epi32::<16>(low), high, mask)
        };
        let (low, high) = (round(first), round(second));
        let rest = |value, rounded| {
            round(_mm512_sub_ps(value, _mm512_castsi512_ps(_mm512_and_si512(rounded, mask))))
        };
        _mm512_storeu_si512(to.cast(), pair(low, high));
        _mm512_storeu_si512(to.add(GROUP / 2).cast(), pair(rest(first, low), rest(second, high)));
    }
}

/// Joins the parts of the group at `from`.
///
/// # Safety
///
/// A group can be read and written; the processor has AVX-512F.
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn decode(from: *const f32, to: *mut f32) {
    // SAFETY: the caller's promise.
    unsafe {
        let [first, second] = read(from);
        _mm512_storeu_ps(to, first);
        _mm512_storeu_ps(to.add(GROUP / 2), second);
    }
}

/// Adds what has to be added to the sums and stores them.
///
/// # Safety
///
/// As [`multiply`]'s; `sums` holds the tile's pixels.
#[inline(always)]
unsafe fn finish(tile: &Tile, sums: *const f32) {
    // SAFETY: the caller's promise.
    unsafe {
        let bias = [_mm512_loadu_ps(tile.bias), _mm512_loadu_ps(tile.bias.add(GROUP / 2))];
        let floor = _mm512_set1_ps(if tile.relu { 0.0 } else { f32::NEG_INFINITY });
        for row in 0..tile.pixels {
            let from = sums.add(row * GROUP);
            let mut values = [
                _mm512_add_ps(_mm512_load_ps(from), bias[0]),
                _mm512_add_ps(_mm512_load_ps(from.add(GROUP / 2)), bias[1]),
            ];
            if !tile.residual.is_null() {
                let added = read(tile.residual.add(row * tile.c_stride));
                values = [_mm512_add_ps(values[0], added[0]), _mm512_add_ps(values[1], added[1])];
            }
            // In this order a NaN stays one.
            let values = [_mm512_max_ps(floor, values[0]), _mm512_max_ps(floor, values[1])];
            encode(values, tile.c.add(row * tile.c_stride));
        }
    }
}

/// As [`pool_row`](super::max_pool::pool_row) on f32; the output is split.
///
/// # Safety
///
/// As that; the processor has AVX-512F, and `channels` is a multiple of [`GROUP`].
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn pool_row(row: &Row) {
    for x in 0..row.columns_out {
        let (first, last) = ((2 * x).saturating_sub(1), (2 * x + 1).min(row.columns_in - 1));
        for channel in (0..row.channels).step_by(GROUP) {
            // SAFETY: `last < columns_in`, `x < columns_out` and `channel + GROUP <= channels`.
            unsafe {
                let load = |input: *const f32, column: usize| {
                    let from = input.add(column * row.channels + channel);
                    [_mm512_loadu_ps(from), _mm512_loadu_ps(from.add(GROUP / 2))]
                };
                let mut greatest = load(row.inputs[0], first);
                for input in row.inputs {
                    for column in first..=last {
                        let values = load(input, column);
                        greatest =
                            [_mm512_max_ps(greatest[0], values[0]), _mm512_max_ps(greatest[1], values[1])];
                    }
                }
                encode(greatest, row.output.add(x * row.channels + channel));
            }
        }
    }
}

//! Products by the matrix unit of x86 (AMX), which multiplies bf16 and adds in f32.
//!
//! Here a value is held as the sum of two bf16, within 2^-17 of itself (`split.rs`). Of the four products of two such
//! sums three are computed; the fourth is below 2^-16 of the whole. That takes three of the unit's multiplications for
//! one of f32, of which it does sixteen times as many as the vector units.
//!
//! A. Henry, P. T. P. Tang, A. Heinecke, Leveraging the bfloat16 Artificial Intelligence Datatype For Higher-Precision Computations
//! (2019), section 2.

use super::amx_products::{near, sum_up};
use super::gemm::Tile;
use super::group::{fetch, finish};
use super::split::GROUP;
use std::arch::asm;
use std::arch::x86_64::{__cpuid, __cpuid_count};
use std::mem::MaybeUninit;

/// Rows of one of the unit's registers.
pub(super) const ROWS: usize = 16;
/// Pixels of a tile: two registers of them.
pub(super) const PIXELS: usize = 2 * ROWS;

/// Lines fetched ahead at each step of the sum.
pub(super) const LINES: usize = 16;

/// Whether this process may use the unit for products of bf16.
pub(super) fn available() -> bool {
    const AMX_BF16: u32 = 1 << 22;
    lent() && __cpuid_count(7, 0).edx & AMX_BF16 != 0
}

/// Whether this process may use the unit: the processor has it, and the system lends its registers when asked for them.
pub(super) fn lent() -> bool {
    static LENT: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
    *LENT.get_or_init(|| {
        const AMX_TILE: u32 = 1 << 24;
        is_x86_feature_detected!("avx512f")
            && __cpuid(0).eax >= 7
            && __cpuid_count(7, 0).edx & AMX_TILE != 0
            && ask()
    })
}

/// Asks the system for the registers, for all threads of this process.
#[cfg(all(target_os = "linux", not(miri)))]
fn ask() -> bool {
    // arch_prctl(2) and asm/prctl.h
    const ARCH_REQ_XCOMP_PERM: libc::c_ulong = 0x1023;
    const XFEATURE_XTILEDATA: libc::c_ulong = 18;
    // SAFETY: changes nothing but what this process may use; refused by systems that do not know it.
    unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0 }
}

#[cfg(not(all(target_os = "linux", not(miri))))]
fn ask() -> bool {
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
pub(super) struct Sums(pub(super) MaybeUninit<[f32; PIXELS * GROUP]>);

/// Computes a tile of up to [`PIXELS`] pixels by [`GROUP`] output channels. Pixels beyond the tile's are read up to a multiple of
/// 16 and forgotten.
///
/// # Safety
///
/// As [`gemm`](super::gemm::gemm)'s; [`enter`] was called by this thread; activations can be read for the pixels beyond.
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn multiply(tile: &Tile) {
    fetch::<2>(tile);
    let mut sums = Sums(MaybeUninit::uninit());
    // A register's two groups of channels lie side by side in each row of the sums.
    let row = GROUP * size_of::<f32>();
    let to = sums.0.as_mut_ptr();
    // Of the four products of the halves of a value, three: the panel has the small halves of its weights behind the large ones, and so has a pixel.
    sum_up!(
        tile,
        GROUP,
        "128",
        "4096",
        64usize,
        to,
        row,
        [
            "tileloadd tmm4, [{p}+{s}]",
            "tileloadd tmm6, [{b}+{w}+2048]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            near!("4096", "0"),
            "prefetcht1 [{f}+0]",
            "prefetcht1 [{f}+64]",
            near!("4096", "256"),
            "tileloadd tmm7, [{b}+{w}+3072]",
            "tdpbf16ps tmm1, tmm4, tmm7",
            near!("4096", "512"),
            "prefetcht1 [{f}+128]",
            "prefetcht1 [{f}+192]",
            near!("4096", "768"),
            "tileloadd tmm5, [{q}+{s}]",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "prefetcht1 [{f}+256]",
            near!("4096", "1024"),
            "prefetcht1 [{f}+320]",
            "tileloadd tmm6, [{b}+{w}]",
            near!("4096", "1280"),
            "tdpbf16ps tmm3, tmm5, tmm7",
            "prefetcht1 [{f}+384]",
            near!("4096", "1536"),
            "prefetcht1 [{f}+448]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            near!("4096", "1792"),
            "prefetcht1 [{f}+512]",
            "prefetcht1 [{f}+576]",
            "tileloadd tmm7, [{b}+{w}+1024]",
            near!("4096", "2048"),
            "tdpbf16ps tmm1, tmm4, tmm7",
            "prefetcht1 [{f}+640]",
            near!("4096", "2304"),
            "prefetcht1 [{f}+704]",
            "tileloadd tmm4, [{p}+{s}+64]",
            near!("4096", "2560"),
            "tdpbf16ps tmm2, tmm5, tmm6",
            "prefetcht1 [{f}+768]",
            near!("4096", "2816"),
            "prefetcht1 [{f}+832]",
            "tdpbf16ps tmm3, tmm5, tmm7",
            "prefetcht1 [{f}+896]",
            near!("4096", "3072"),
            "prefetcht1 [{f}+960]",
            "tileloadd tmm5, [{q}+{s}+64]",
            near!("4096", "3328"),
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tdpbf16ps tmm1, tmm4, tmm7",
            near!("4096", "3584"),
            "tdpbf16ps tmm2, tmm5, tmm6",
            "tdpbf16ps tmm3, tmm5, tmm7",
            near!("4096", "3840"),
        ],
        [
            "tileloadd tmm4, [{p}+{s}]",
            "tileloadd tmm6, [{b}+{w}+2048]",
            near!("4096", "0"),
            "tdpbf16ps tmm0, tmm4, tmm6",
            "prefetcht1 [{f}+0]",
            near!("4096", "256"),
            "prefetcht1 [{f}+64]",
            "prefetcht1 [{f}+128]",
            near!("4096", "512"),
            "tileloadd tmm7, [{b}+{w}+3072]",
            near!("4096", "768"),
            "tdpbf16ps tmm1, tmm4, tmm7",
            "prefetcht1 [{f}+192]",
            near!("4096", "1024"),
            "prefetcht1 [{f}+256]",
            "prefetcht1 [{f}+320]",
            near!("4096", "1280"),
            "tileloadd tmm6, [{b}+{w}]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            near!("4096", "1536"),
            "prefetcht1 [{f}+384]",
            near!("4096", "1792"),
            "prefetcht1 [{f}+448]",
            "prefetcht1 [{f}+512]",
            near!("4096", "2048"),
            "tileloadd tmm7, [{b}+{w}+1024]",
            "tdpbf16ps tmm1, tmm4, tmm7",
            near!("4096", "2304"),
            "prefetcht1 [{f}+576]",
            "prefetcht1 [{f}+640]",
            near!("4096", "2560"),
            "prefetcht1 [{f}+704]",
            near!("4096", "2816"),
            "tileloadd tmm5, [{p}+{s}+64]",
            "tdpbf16ps tmm0, tmm5, tmm6",
            near!("4096", "3072"),
            "prefetcht1 [{f}+768]",
            "prefetcht1 [{f}+832]",
            near!("4096", "3328"),
            "prefetcht1 [{f}+896]",
            "tdpbf16ps tmm1, tmm5, tmm7",
            near!("4096", "3584"),
            "prefetcht1 [{f}+960]",
            near!("4096", "3840"),
        ]
    );
    // SAFETY: the first `pixels` rows of the sums were written above; the rest is the caller's promise.
    unsafe { finish::<2>(tile, sums.0.as_ptr().cast()) }
}

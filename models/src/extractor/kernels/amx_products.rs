//! The loops of products by x86's matrix unit (AMX), over registers of 16 pixels and of 16 output channels.

/// Adds up a tile's products in four registers of sums, or in two for up to 16 pixels, and stores them.
///
/// - `$step`: the words of a step of the sum; `$pixel_bytes`, `$panel_bytes`: bytes, written as text, from one step to the next of the activations and of the panel.
/// - `$panel_row`: bytes between two rows of a step of the panel.
/// - `$sums`: where the sums go; `$row`: bytes between two pixels there.
/// - `$two`, `$one`: the instructions of a step for two registers of pixels, or one. Activations lie at `{p}` and `{q}`, `{s}` apart, the panel at `{b}`, `{w}` apart, lines to be
///   fetched ahead at `{f}`; sums of the first pixels are `tmm0` and `tmm1`, of the second `tmm2` and `tmm3`.
///
/// # Safety
///
/// To be used where the activations of the tile's pixels can be read, up to 16 of a tile of fewer, and so can `depth` rows of the panel for each segment; where the
/// sums of as many pixels can be written; and where this thread has [set up](super::amx::enter) the unit.
macro_rules! sum_up {
    (
        $tile:ident, $step:expr, $pixel_bytes:literal, $panel_bytes:literal, $panel_row:expr, $sums:expr, $row:expr,
        [$($two:expr),* $(,)?], [$($one:expr),* $(,)?]
    ) => {{
        let stride = $tile.a_stride * size_of::<f32>();
        let skip = ($tile.segment_stride.wrapping_sub($tile.depth)).wrapping_mul(size_of::<f32>());
        if $tile.pixels > $crate::extractor::kernels::amx::ROWS {
            // The second register's pixels may be some of the first's: nothing beyond the tile is read.
            let second = $tile.pixels - $crate::extractor::kernels::amx::ROWS;
            // SAFETY: reads the activations of pixels 0..16 and `second..second + 16`, and `depth` rows of the panel for each segment;
            // writes the sums' 32 rows. The unit is set up, by the caller's promise.
            unsafe {
                std::arch::asm!(
                    "tilezero tmm0",
                    "tilezero tmm1",
                    "tilezero tmm2",
                    "tilezero tmm3",
                    "2:",
                    "mov {k}, {groups}",
                    "3:",
                    $($two,)*
                    concat!("add {p}, ", $pixel_bytes),
                    concat!("add {q}, ", $pixel_bytes),
                    concat!("add {b}, ", $panel_bytes),
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
                    p = inout(reg) $tile.a => _,
                    q = inout(reg) $tile.a.wrapping_add(second * $tile.a_stride) => _,
                    s = in(reg) stride,
                    b = inout(reg) $tile.b => _,
                    w = in(reg) $panel_row,
                    k = out(reg) _,
                    f = inout(reg) $tile.ahead => _,
                    g = in(reg) $tile.ahead_stride,
                    groups = in(reg) $tile.depth / $step,
                    n = inout(reg) $tile.segments => _,
                    skip = in(reg) skip,
                    row = in(reg) $row,
                    c = in(reg) $sums,
                    d = in(reg) $sums.wrapping_byte_add(second * $row),
                    options(nostack)
                );
            }
        } else {
            // SAFETY: as above, for pixels 0..16, which can be read by the caller's promise.
            unsafe {
                std::arch::asm!(
                    "tilezero tmm0",
                    "tilezero tmm1",
                    "2:",
                    "mov {k}, {groups}",
                    "3:",
                    $($one,)*
                    concat!("add {p}, ", $pixel_bytes),
                    concat!("add {b}, ", $panel_bytes),
                    "add {f}, {g}",
                    "dec {k}",
                    "jnz 3b",
                    "add {p}, {skip}",
                    "dec {n}",
                    "jnz 2b",
                    "mov {k}, {row}",
                    "tilestored [{c}+{k}], tmm0",
                    "tilestored [{c}+{k}+64], tmm1",
                    p = inout(reg) $tile.a => _,
                    s = in(reg) stride,
                    b = inout(reg) $tile.b => _,
                    w = in(reg) $panel_row,
                    k = out(reg) _,
                    f = inout(reg) $tile.ahead => _,
                    g = in(reg) $tile.ahead_stride,
                    groups = in(reg) $tile.depth / $step,
                    n = inout(reg) $tile.segments => _,
                    skip = in(reg) skip,
                    row = in(reg) $row,
                    c = in(reg) $sums,
                    options(nostack)
                );
            }
        }
    }};
}
pub(super) use sum_up;

/// Asks for four lines of the panel that the next step of the sum takes, `$at` bytes from its beginning, towards the first cache: where the unit waits for lines from the
/// second, it has nothing else to do. A step has `$step` bytes. To be spread over the step: all at its beginning hold up its own loads.
macro_rules! near {
    ($step:literal, $at:literal) => {
        concat!(
            "prefetcht0 [{b}+",
            $step,
            "+",
            $at,
            "]\nprefetcht0 [{b}+",
            $step,
            "+",
            $at,
            "+64]\nprefetcht0 [{b}+",
            $step,
            "+",
            $at,
            "+128]\nprefetcht0 [{b}+",
            $step,
            "+",
            $at,
            "+192]"
        )
    };
}
pub(super) use near;

/// [`sum_up`] where a product takes one instruction: of bf16, and of 8 bits. [`LINES`] lines are fetched ahead at each step.
///
/// - `$product`: the instruction; `$second_half`: bytes, written as text, between the panel's two halves of output channels.
/// - The others: as there.
///
/// # Safety
///
/// As there.
macro_rules! products {
    ($tile:ident, $product:literal, $step:expr, $panel_row:expr, $second_half:literal, $sums:expr, $row:expr) => {
        $crate::extractor::kernels::amx_products::sum_up!(
            $tile,
            $step,
            "64",
            "2048",
            $panel_row,
            $sums,
            $row,
            [
                "tileloadd tmm4, [{p}+{s}]",
                "tileloadd tmm6, [{b}+{w}]",
                $crate::extractor::kernels::amx_products::near!("2048", "0"),
                "prefetcht1 [{f}+0]",
                "prefetcht1 [{f}+64]",
                $crate::extractor::kernels::amx_products::near!("2048", "256"),
                concat!($product, " tmm0, tmm4, tmm6"),
                concat!("tileloadd tmm7, [{b}+{w}+", $second_half, "]"),
                $crate::extractor::kernels::amx_products::near!("2048", "512"),
                "prefetcht1 [{f}+128]",
                "prefetcht1 [{f}+192]",
                $crate::extractor::kernels::amx_products::near!("2048", "768"),
                concat!($product, " tmm1, tmm4, tmm7"),
                "tileloadd tmm5, [{q}+{s}]",
                $crate::extractor::kernels::amx_products::near!("2048", "1024"),
                "prefetcht1 [{f}+256]",
                "prefetcht1 [{f}+320]",
                $crate::extractor::kernels::amx_products::near!("2048", "1280"),
                concat!($product, " tmm2, tmm5, tmm6"),
                "prefetcht1 [{f}+384]",
                $crate::extractor::kernels::amx_products::near!("2048", "1536"),
                "prefetcht1 [{f}+448]",
                concat!($product, " tmm3, tmm5, tmm7"),
                $crate::extractor::kernels::amx_products::near!("2048", "1792"),
            ],
            [
                "tileloadd tmm4, [{p}+{s}]",
                "tileloadd tmm6, [{b}+{w}]",
                $crate::extractor::kernels::amx_products::near!("2048", "0"),
                "prefetcht1 [{f}+0]",
                "prefetcht1 [{f}+64]",
                $crate::extractor::kernels::amx_products::near!("2048", "256"),
                "prefetcht1 [{f}+128]",
                $crate::extractor::kernels::amx_products::near!("2048", "512"),
                "prefetcht1 [{f}+192]",
                concat!($product, " tmm0, tmm4, tmm6"),
                $crate::extractor::kernels::amx_products::near!("2048", "768"),
                concat!("tileloadd tmm7, [{b}+{w}+", $second_half, "]"),
                "prefetcht1 [{f}+256]",
                $crate::extractor::kernels::amx_products::near!("2048", "1024"),
                "prefetcht1 [{f}+320]",
                $crate::extractor::kernels::amx_products::near!("2048", "1280"),
                "prefetcht1 [{f}+384]",
                "prefetcht1 [{f}+448]",
                $crate::extractor::kernels::amx_products::near!("2048", "1536"),
                concat!($product, " tmm1, tmm4, tmm7"),
                $crate::extractor::kernels::amx_products::near!("2048", "1792"),
            ]
        )
    };
}

/// Lines that are fetched ahead at each step of the sum.
pub(super) const LINES: usize = 8;

pub(super) use products;

//! 3 x 3 convolutions: a block of output pixels reads a window of the input, which is quantised by its greatest value.

use super::{BEYOND, Int8, Int8Convolution, PANEL, Quantised, steps};
use crate::extractor::kernels::arena::Buffer;
use crate::extractor::kernels::gemm::Tiling;
use crate::extractor::kernels::isa::Kernels;
use crate::extractor::kernels::team::Team;

/// The most rows and columns of a block. Results depend on them, so they are the same for every instruction set and number of threads.
pub(super) const BLOCK: [usize; 2] = [8, 64];

/// A 3 x 3 convolution.
#[derive(Debug)]
pub(in super::super) struct Int8Window {
    convolution: Int8Convolution,
    blocks: [Tiling; 2],
}

impl std::fmt::Display for Int8Window {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Int8Convolution { kernel, stride, panels_in, panels_out, output, .. } = &self.convolution;
        let (n_in, n_out) = (PANEL * panels_in, PANEL * panels_out);
        write!(f, "{kernel}x{kernel}/{stride} {n_in}->{n_out} to {}x{}", output.rows, output.columns)
    }
}

/// How a map is cut into blocks.
pub(super) fn blocks(rows: usize, columns: usize) -> [Tiling; 2] {
    [Tiling::new(rows, BLOCK[0]), Tiling::new(columns, BLOCK[1])]
}

impl Int8Window {
    /// Cuts the output of `convolution` into blocks.
    pub(in super::super) fn new(convolution: Int8Convolution) -> Int8Window {
        let blocks = blocks(convolution.output.rows, convolution.output.columns);
        Int8Window { convolution, blocks }
    }

    /// Bytes of packed weights.
    pub(in super::super) fn bytes(&self) -> usize {
        self.convolution.bytes()
    }

    /// Multiply-adds for one image.
    pub(in super::super) fn products(&self) -> usize {
        self.convolution.products()
    }

    /// Input pixels under so many output pixels along a direction.
    fn under(&self, length: usize) -> usize {
        (length - 1) * self.convolution.stride + self.convolution.kernel
    }

    /// Values of scratch memory that each thread needs.
    pub(in super::super) fn scratch(&self) -> usize {
        let [rows, columns] = [0, 1].map(|i| self.under(self.blocks[i].tile(0).1));
        (rows * columns + BEYOND) * self.convolution.words_in
    }

    /// Computes the output map.
    ///
    /// # Safety
    ///
    /// The maps lie in `arena`, the output overlaps no other, and no one else uses them meanwhile; `scratch` holds [`scratch`](Self::scratch)
    /// values for each thread, `scratch_stride` apart.
    pub(in super::super) unsafe fn run(
        &self,
        kernels: &Kernels,
        int8: &Int8,
        team: &mut Team,
        arena: &Buffer,
        (scratch, scratch_stride): (&Buffer, usize),
    ) {
        let [rows, columns] = self.blocks;
        let n_blocks = rows.count() * columns.count();
        // Where there are few blocks, threads share one's panels, and each quantises it.
        let shares = (2 * team.n_threads()).div_ceil(n_blocks).min(self.convolution.panels_out);
        let shares = Tiling::new(self.convolution.panels_out, self.convolution.panels_out.div_ceil(shares));
        team.run(n_blocks * shares.count(), &|task, thread| {
            let _entered = kernels.enter();
            let block = task / shares.count();
            let rows = rows.tile(block / columns.count());
            let columns = columns.tile(block % columns.count());
            let panels = shares.tile(task % shares.count());
            let scratch = scratch.at(thread * scratch_stride);
            // SAFETY: tasks write different pixels or panels, a thread has its own scratch, and the rest is the caller's promise.
            unsafe { self.compute_block(kernels, int8, arena, scratch, [rows, columns], panels) };
        });
    }

    /// Computes some panels of a block: first and number of its rows and columns.
    ///
    /// # Safety
    ///
    /// As [`run`](Self::run)'s; no other thread computes the same.
    unsafe fn compute_block(
        &self,
        kernels: &Kernels,
        int8: &Int8,
        arena: &Buffer,
        scratch: *mut f32,
        [(row, rows), (column, columns)]: [(usize, usize); 2],
        (first_panel, panels): (usize, usize),
    ) {
        let part = &self.convolution;
        let width = self.under(columns) * part.words_in;
        // SAFETY: the caller's promise.
        let worth = unsafe { self.quantise(int8, arena, scratch, [(row, rows), (column, columns)]) };
        let worth = [worth; super::MAX_PIXELS];
        let tiling = Tiling::new(columns, kernels.product.tile);
        for panel in first_panel..first_panel + panels {
            for turn in 0..rows * tiling.count() {
                let (y, (x, pixels)) = (turn / tiling.count(), tiling.tile(turn % tiling.count()));
                let quantised = Quantised {
                    from: scratch.wrapping_add(part.stride * (y * width + x * part.words_in)).cast_const(),
                    stride: part.stride * part.words_in,
                    row_stride: width,
                    steps: &worth[..pixels],
                };
                let place = (row + y) * part.output.columns + column + x;
                let ahead = part.next_panel(kernels, panel, (turn, rows * tiling.count()));
                // SAFETY: the window holds what the block reads, and `BEYOND` pixels more; the rest is the caller's promise.
                unsafe { part.compute(kernels, int8, arena, (panel, place), &quantised, ahead) };
            }
        }
    }

    /// Quantises the window under a block, zeros outside of the map; returns what a step is worth.
    ///
    /// # Safety
    ///
    /// The input lies in `arena`, no one writes it meanwhile, and `scratch` has room for the window.
    unsafe fn quantise(
        &self,
        int8: &Int8,
        arena: &Buffer,
        scratch: *mut f32,
        [(row, rows), (column, columns)]: [(usize, usize); 2],
    ) -> f32 {
        let part = &self.convolution;
        let (input, pad) = (&part.input, part.kernel / 2);
        let [height, width] = [rows, columns].map(|length| self.under(length));
        // The window's first row and column, and those of its part that lies in the map; all count from `pad` before the map.
        let [top, left] = [row, column].map(|at| at * part.stride);
        let inside = |first: usize, length: usize, map: usize| {
            let start = first.max(pad);
            start..(first + length).min(map + pad).max(start)
        };
        let (inner_rows, inner_columns) =
            (inside(top, height, input.rows), inside(left, width, input.columns));
        // Pixels that lie side by side are done as one.
        let joined = input.pixel_stride() == input.channels && part.panels_in.is_multiple_of(2);
        let (together, times) = if joined { (inner_columns.len(), 1) } else { (1, inner_columns.len()) };
        let at = |y: usize, i: usize| {
            arena.at(input.at(y - pad, inner_columns.start - pad + i * together)).cast_const()
        };
        let mut greatest = 0f32;
        for y in inner_rows.clone() {
            for i in 0..times {
                // SAFETY: these pixels lie in the map.
                let found = unsafe { (int8.greatest)(at(y, i), together * part.panels_in) };
                // In this order a NaN stays one.
                greatest = if greatest >= found || greatest.is_nan() { greatest } else { found };
            }
        }
        let [factor, worth] = steps(greatest);
        let (words, row_words) = (part.words_in, width * part.words_in);
        for y in top..top + height {
            let to = scratch.wrapping_add((y - top) * row_words);
            // SAFETY: the window's rows lie in the scratch, one after the other; pixels that are read lie in the map.
            unsafe {
                if !inner_rows.contains(&y) {
                    to.write_bytes(0, row_words);
                    continue;
                }
                let (before, after) = (inner_columns.start - left, left + width - inner_columns.end);
                to.write_bytes(0, before * words);
                for i in 0..times {
                    let to = to.add((before + i * together) * words);
                    (int8.quantise)(at(y, i), together * part.panels_in, factor, to);
                }
                to.add(row_words - after * words).write_bytes(0, after * words);
            }
        }
        worth
    }
}

//! 1 x 1 convolutions: each pixel is quantised by its own greatest value.

use super::{BEYOND, Int8, Int8Convolution, PANEL, Quantised, steps};
use crate::extractor::kernels::arena::Buffer;
use crate::extractor::kernels::gemm::Tiling;
use crate::extractor::kernels::isa::Kernels;
use crate::extractor::kernels::map::Map;
use crate::extractor::kernels::team::Team;

/// The most pixels quantised together; what weights a cache does not hold pass by once for them.
const PIXELS: usize = 128;

/// Convolutions with outputs of the same rows and columns, computed one after the other for some pixels at a time: what one leaves in the cache the
/// next takes from there.
#[derive(Debug)]
pub(in super::super) struct Int8Chain {
    parts: Vec<Int8Convolution>,
}

impl std::fmt::Display for Int8Chain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (i, part) in self.parts.iter().enumerate() {
            let join = if i > 0 { " + " } else { "" };
            let (n_in, n_out) = (PANEL * part.panels_in, PANEL * part.panels_out);
            write!(f, "{join}1x1/{} {n_in}->{n_out}", part.stride)?;
        }
        write!(f, " to {}x{}", self.parts[0].output.rows, self.parts[0].output.columns)
    }
}

impl Int8Chain {
    /// A chain of one convolution.
    pub(in super::super) fn new(first: Int8Convolution) -> Int8Chain {
        assert!(first.kernel == 1, "a chain computes pixel by pixel; this is a bug");
        Int8Chain { parts: vec![first] }
    }

    /// Appends `next`, which needs of the others no more than its own pixels; gives it back where the weights of all would not
    /// stay in the cache.
    pub(in super::super) fn append(
        &mut self,
        kernels: &Kernels,
        next: Int8Convolution,
    ) -> Option<Int8Convolution> {
        let size = |map: &Map| [map.rows, map.columns];
        if size(&self.parts[0].output) != size(&next.output)
            || self.bytes() + next.bytes() > kernels.cache / 2 + (64 << 10)
        {
            return Some(next);
        }
        self.parts.push(next);
        None
    }

    /// Bytes of packed weights.
    pub(in super::super) fn bytes(&self) -> usize {
        self.parts.iter().map(Int8Convolution::bytes).sum()
    }

    /// Multiply-adds for one image.
    pub(in super::super) fn products(&self) -> usize {
        self.parts.iter().map(Int8Convolution::products).sum()
    }

    /// Values of scratch memory that each thread needs.
    pub(in super::super) fn scratch(&self) -> usize {
        self.parts.iter().map(|part| (PIXELS + BEYOND) * part.words_in).max().unwrap_or(0)
    }

    /// Computes the output maps.
    ///
    /// # Safety
    ///
    /// The maps lie in `arena`, an output overlaps no other map but its own residual or the output of the part before, and no one else uses
    /// them meanwhile; `scratch` holds [`scratch`](Self::scratch) values for each thread, `scratch_stride` apart.
    pub(in super::super) unsafe fn run(
        &self,
        kernels: &Kernels,
        int8: &Int8,
        team: &mut Team,
        arena: &Buffer,
        (scratch, scratch_stride): (&Buffer, usize),
    ) {
        let Map { rows, columns, .. } = self.parts[0].output;
        let groups = Tiling::even(rows * columns, PIXELS, team.n_threads());
        team.run(groups.count(), &|task, thread| {
            let _entered = kernels.enter();
            let (first, n) = groups.tile(task);
            let scratch = scratch.at(thread * scratch_stride);
            for part in &self.parts {
                // SAFETY: tasks write different pixels, a thread has its own scratch, and the rest is the caller's promise.
                unsafe { part.compute_pixels(kernels, int8, arena, scratch, first, n) };
            }
        });
    }
}

impl Int8Convolution {
    /// Computes `n` pixels of the output from pixel `first` on.
    ///
    /// # Safety
    ///
    /// As [`Int8Chain::run`]'s; no other thread computes the same pixels.
    unsafe fn compute_pixels(
        &self,
        kernels: &Kernels,
        int8: &Int8,
        arena: &Buffer,
        scratch: *mut f32,
        first: usize,
        n: usize,
    ) {
        let mut worth = [0f32; PIXELS];
        for (i, worth) in worth.iter_mut().enumerate().take(n) {
            let (row, column) = ((first + i) / self.output.columns, (first + i) % self.output.columns);
            let from = arena.at(self.input.at(row * self.stride, column * self.stride)).cast_const();
            // SAFETY: the pixel lies in the input, and the scratch has room for `PIXELS` quantised ones.
            unsafe {
                let factor;
                [factor, *worth] = steps((int8.greatest)(from, self.panels_in));
                (int8.quantise)(from, self.panels_in, factor, scratch.add(i * self.words_in));
            }
        }
        let tiling = Tiling::new(n, kernels.product.tile);
        for panel in 0..self.panels_out {
            for tile in 0..tiling.count() {
                let (start, pixels) = tiling.tile(tile);
                let quantised = Quantised {
                    from: scratch.wrapping_add(start * self.words_in).cast_const(),
                    stride: self.words_in,
                    row_stride: 0,
                    steps: &worth[start..start + pixels],
                };
                let ahead = self.next_panel(kernels, panel, (tile, tiling.count()));
                // SAFETY: the caller's promise; the scratch has `BEYOND` pixels more than were quantised.
                unsafe { self.compute(kernels, int8, arena, (panel, first + start), &quantised, ahead) };
            }
        }
    }
}

//! The inner product at the heart of every convolution: a tile of pixels by a panel of output channels.
//!
//! Activations lie `[row, column, channel]`, so a filter's row meets one contiguous stretch of them: a convolution is a sum over
//! `segments` (filter rows) of `depth` (filter columns by channels) and needs no im2col. Every output is one chain of fused
//! multiply-adds in a fixed order, whatever the tile's height, so results do not depend on how the work is cut.

use super::vector::Vector;

/// The most pixels any kernel takes at once.
pub(super) const MAX_TILE: usize = 14;

/// One tile's operands. Strides are in values.
#[derive(Clone, Copy)]
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "only kernels in assembly fetch ahead"))]
pub(super) struct Tile {
    pub(super) pixels: usize,
    /// Activations of the tile's first pixel, first filter row.
    pub(super) a: *const f32,
    /// From one pixel of the tile to the next.
    pub(super) a_stride: usize,
    /// From one filter row to the next.
    pub(super) segment_stride: usize,
    pub(super) segments: usize,
    /// Contiguous values in a segment.
    pub(super) depth: usize,
    /// The panel: `[segments * depth, panel width]`.
    pub(super) b: *const f32,
    /// What is needed soon, fetched towards the cache on the way: some lines at each step of the sum (one, or the
    /// product's `lines`), the next so many bytes further. Never read.
    pub(super) ahead: *const f32,
    pub(super) ahead_stride: usize,
    /// What will be written or read soon, row by row of the tile, fetched towards the cache at its beginning. Never read.
    pub(super) fetch: *const f32,
    pub(super) fetch_stride: usize,
    /// Outputs of the first pixel.
    pub(super) c: *mut f32,
    pub(super) c_stride: usize,
    /// Adds to what `c` holds instead of overwriting it.
    pub(super) accumulate: bool,
    /// `[panel width]`, what the sums begin with; or null, which is zero.
    pub(super) bias: *const f32,
    /// Added before the ReLU; laid out as `c`, which it may be, or null.
    pub(super) residual: *const f32,
    pub(super) relu: bool,
}

/// What is done with a tile's sums.
#[derive(Clone, Copy, PartialEq, Eq)]
#[cfg_attr(
    not(target_arch = "x86_64"),
    allow(dead_code, reason = "only kernels in assembly part the cases beforehand")
)]
pub(super) enum Ending {
    /// They are stored as they are.
    Bare,
    /// ReLU.
    Relu,
    /// Residual and ReLU.
    Residual,
    /// Whatever the tile says.
    Any,
}

#[cfg(target_arch = "x86_64")]
impl Ending {
    pub(super) fn of(tile: &Tile) -> Ending {
        match (tile.accumulate, tile.residual.is_null(), tile.relu) {
            (false, true, false) => Ending::Bare,
            (false, true, true) => Ending::Relu,
            (false, false, true) => Ending::Residual,
            _ => Ending::Any,
        }
    }
}

/// Where a tile's sum goes: adds what has to be added to one register of it and stores it.
///
/// # Safety
///
/// [`Vector`]'s contract, and that of the tile's kernel; `row` and `register` lie in the tile, whose ending is `ending`.
#[inline(always)]
pub(super) unsafe fn finish<V: Vector>(tile: &Tile, ending: Ending, row: usize, register: usize, sum: V) {
    let at = row * tile.c_stride + register * V::LANES;
    let any = ending == Ending::Any;
    // SAFETY: by the kernel's contract the operands hold `row` and `register`.
    unsafe {
        let mut value = sum;
        if any && tile.accumulate {
            value = value.add(V::load(tile.c.add(at)));
        }
        if ending == Ending::Residual || (any && !tile.residual.is_null()) {
            value = value.add(V::load(tile.residual.add(at)));
        }
        if ending != Ending::Bare && (!any || tile.relu) {
            // In this order a NaN stays one.
            value = V::splat(0.0).max(value);
        }
        value.store(tile.c.add(at));
    }
}

/// Computes a tile of `MR` pixels by `NV` registers of output channels: what `x86.rs` does by hand for its registers.
///
/// # Safety
///
/// [`Vector`]'s contract, and the pointers of `tile` must cover `MR` pixels and `NV * LANES` channels; `c` overlaps nothing else.
#[inline(always)]
pub(super) unsafe fn gemm<V: Vector, const MR: usize, const NV: usize>(tile: &Tile) {
    // SAFETY: by this function's contract every address computed below lies in the operands.
    unsafe {
        let zero = V::splat(0.0);
        let bias: [V; NV] = std::array::from_fn(|j| {
            if tile.bias.is_null() { zero } else { V::load(tile.bias.add(j * V::LANES)) }
        });
        let mut sum = [bias; MR];
        let mut b = tile.b;
        for segment in 0..tile.segments {
            let a = tile.a.add(segment * tile.segment_stride);
            for k in 0..tile.depth {
                let columns: [V; NV] = std::array::from_fn(|j| V::load(b.add(j * V::LANES)));
                for (i, row) in sum.iter_mut().enumerate() {
                    let value = V::splat(*a.add(i * tile.a_stride + k));
                    for (s, column) in row.iter_mut().zip(columns) {
                        *s = s.add_product(value, column);
                    }
                }
                b = b.add(NV * V::LANES);
            }
        }
        for (i, row) in sum.into_iter().enumerate() {
            for (j, s) in row.into_iter().enumerate() {
                finish(tile, Ending::Any, i, j, s);
            }
        }
    }
}

/// Splits `length` pixels into tiles of at most `height`, as even as can be, so that no tile is a sliver.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tiling {
    length: usize,
    count: usize,
}

impl Tiling {
    pub(super) fn new(length: usize, height: usize) -> Tiling {
        Tiling { length, count: length.div_ceil(height) }
    }

    /// As [`new`](Self::new), in a multiple of `n_threads` tiles where there are that many: no thread then waits for another's last.
    pub(super) fn even(length: usize, height: usize, n_threads: usize) -> Tiling {
        Tiling { length, count: length.div_ceil(height).next_multiple_of(n_threads).min(length) }
    }

    /// The number of tiles.
    pub(super) fn count(self) -> usize {
        self.count
    }

    /// First pixel and number of pixels of tile `idx`.
    pub(super) fn tile(self, idx: usize) -> (usize, usize) {
        let (base, longer) = (self.length / self.count, self.length % self.count);
        (idx * base + idx.min(longer), base + usize::from(idx < longer))
    }
}

/// Tasks alike that are shared out among threads. Those left over when all threads have had equally many are cut into parts, so that no thread
/// waits for another's last.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shares {
    /// Tasks that stay whole, and those that are cut.
    whole: usize,
    left: usize,
    parts: usize,
}

impl Shares {
    /// Shares of `n_tasks`, which can be cut into up to `most` parts.
    pub(super) fn new(n_tasks: usize, most: usize, n_threads: usize) -> Shares {
        let left = n_tasks % n_threads;
        let parts = if left == 0 { 1 } else { n_threads.div_ceil(left).min(most) };
        Shares { whole: n_tasks - left, left, parts }
    }

    /// The number of shares.
    pub(super) fn count(self) -> usize {
        self.whole + self.left * self.parts
    }

    /// The task that share `idx` belongs to, which part of it the share is, and of how many.
    pub(super) fn share(self, idx: usize) -> (usize, usize, usize) {
        match idx.checked_sub(self.whole) {
            None => (idx, 0, 1),
            Some(part) => (self.whole + part / self.parts, part % self.parts, self.parts),
        }
    }
}

/// Packs a matrix `[depth, width]`, given by its elements, into panels `[width / panel][depth][panel]`, zeros beyond the width.
pub(super) fn pack(
    depth: usize,
    width: usize,
    panel: usize,
    element: &dyn Fn(usize, usize) -> f32,
) -> Vec<f32> {
    let mut packed = Vec::with_capacity(depth * width.next_multiple_of(panel));
    for first in (0..width).step_by(panel) {
        for k in 0..depth {
            packed.extend((first..first + panel).map(|j| if j < width { element(k, j) } else { 0.0 }));
        }
    }
    packed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_cover_every_pixel_once_and_are_even() {
        for length in 1..200 {
            for height in [1, 4, 6, 14] {
                let tiling = Tiling::new(length, height);
                let mut next = 0;
                for idx in 0..tiling.count() {
                    let (first, n) = tiling.tile(idx);
                    assert_eq!(first, next);
                    assert!(n >= 1 && n <= height && n + 1 >= length / tiling.count());
                    next = first + n;
                }
                assert_eq!(next, length);
            }
        }
    }

    #[test]
    fn shares_are_every_part_of_every_task_in_turn_and_those_left_over_are_cut() {
        let cases = [
            (25, 1, 25),
            (36, 2, 36),
            (25, 2, 24 + 2),
            (49, 2, 48 + 2),
            (25, 4, 24 + 4),
            (100, 16, 96 + 16),
            (1, 16, 8),
        ];
        for (n_tasks, n_threads, expected) in cases {
            let shares = Shares::new(n_tasks, 8, n_threads);
            assert_eq!(shares.count(), expected, "{n_tasks} tasks, {n_threads} threads");
            let mut next = (0, 0);
            for idx in 0..shares.count() {
                let (task, part, parts) = shares.share(idx);
                assert_eq!((task, part), next);
                assert_eq!(parts > 1, task >= n_tasks / n_threads * n_threads && n_tasks % n_threads > 0);
                next = if part + 1 < parts { (task, part + 1) } else { (task + 1, 0) };
            }
            assert_eq!(next, (n_tasks, 0));
        }
    }
}

//! Convolutions as implicit matrix products: 1 x 1 at any stride, and 3 x 3 where Winograd's method does not serve.

use super::arena::Buffer;
use super::gemm::{Tile, Tiling};
use super::isa::Kernels;
use super::map::Map;
use super::network::Convolution;
use super::team::Team;
use std::ops::Range;

/// Bytes of a cache line.
const LINE: usize = 64;

/// A part of the sum that is finished for many tiles before the next is begun, so that its weights stay in the cache.
#[derive(Debug, Clone, Copy)]
struct Chunk {
    /// From the pixel's first input to the chunk's.
    a_offset: usize,
    segments: usize,
    depth: usize,
    /// Rows of the panel before it.
    b_row: usize,
}

/// A convolution bound to its maps, with its weights packed.
#[derive(Debug)]
pub(super) struct GemmConvolution {
    input: Map,
    output: Map,
    residual: Option<Map>,
    relu: bool,
    stride: usize,
    kernel: usize,
    /// Words of a sum.
    depth: usize,
    products: usize,
    chunks: Vec<Chunk>,
    tiling: Tiling,
    weights: Buffer,
    bias: Buffer,
}

impl GemmConvolution {
    /// Binds `convolution` to its maps. The input's border is at least the padding.
    pub(super) fn new(
        convolution: &Convolution,
        kernels: &Kernels,
        input: Map,
        output: Map,
        residual: Option<Map>,
        relu: bool,
    ) -> GemmConvolution {
        let (kernel, n_in) = (convolution.kernel(), convolution.n_in());
        let [channels, n_out] = [n_in, convolution.n_out()].map(|n| n.next_multiple_of(kernels.panel));
        assert!(
            input.border >= kernel / 2,
            "a map lacks the border that its convolution reads; this is a bug"
        );
        let element = |k: usize, j: usize| {
            let (position, channel) = (k / channels, k % channels);
            if channel < n_in {
                convolution.weight[[j, channel, position / kernel, position % kernel]]
            } else {
                0.0
            }
        };
        let weights = Buffer::from_slice(&(kernels.product.pack)(
            kernel * kernel * channels,
            convolution.n_out(),
            kernels.panel,
            &element,
        ));
        let mut bias = convolution.bias.clone();
        bias.resize(n_out, 0.0);
        let products = output.rows * output.columns * n_out * kernel * kernel * channels;
        let (mut input, mut output, mut residual) = (input, output, residual);
        if kernel == 1 && convolution.stride == 1 {
            let flat = |map: Option<Map>| map.map(|m| m.flattened());
            if let (Some(i), Some(o), None | Some(Some(_))) =
                (input.flattened(), output.flattened(), flat(residual))
            {
                (input, output, residual) = (i, o, flat(residual).flatten());
            }
        }
        GemmConvolution {
            input,
            output,
            residual,
            relu,
            stride: convolution.stride,
            kernel,
            depth: kernel * kernel * input.channels,
            products,
            chunks: chunks(kernel, kernel * input.channels, input.row_stride(), kernels.product.depth),
            tiling: Tiling::new(output.columns, kernels.product.tile),
            weights,
            bias: Buffer::from_slice(&bias),
        }
    }

    /// Bytes of packed weights.
    pub(super) fn bytes(&self) -> usize {
        self.weights.bytes() + self.bias.bytes()
    }

    /// Multiply-adds for one image.
    pub(super) fn products(&self) -> usize {
        self.products
    }

    /// Computes the output map.
    ///
    /// # Safety
    ///
    /// The maps lie in `arena`, the output overlaps no other, and no one else uses it meanwhile.
    pub(super) unsafe fn run(&self, kernels: &Kernels, team: &mut Team, arena: &Buffer) {
        let n_tiles = self.output.rows * self.tiling.count();
        let n_panels = self.output.channels / kernels.held;
        let chunk_depth = self.chunks.iter().map(|c| c.segments * c.depth).max().unwrap_or(1);
        let chunk_bytes = chunk_depth * n_panels * kernels.panel * size_of::<f32>();
        // Few weights: a group of tiles meets them all while its activations stay close. Many: the activations of a large group
        // stay in the cache and the weights pass by once a group.
        let tile_by_tile = kernels.product.lines > 0 && chunk_bytes <= kernels.cache / 2;
        let (group, panels) = if chunk_bytes <= kernels.cache / 2 {
            // With a residual the memory is the limit: a tile reads and writes its pixels from end to end.
            (if self.residual.is_some() && !tile_by_tile { 1 } else { 8 }, n_panels)
        } else {
            // Filter columns and rows share their activations.
            let pixels = kernels.product.tile * self.stride * self.stride;
            let tile_bytes = pixels * chunk_depth.min(self.input.channels) * size_of::<f32>();
            ((kernels.cache / 2 / tile_bytes).max(1), n_panels.div_ceil(4))
        };
        let groups = Tiling::new(n_tiles, group);
        let panel_groups = Tiling::new(n_panels, panels);
        team.run(groups.count() * panel_groups.count(), &|task, _| {
            let _entered = kernels.enter();
            let (tile, tiles) = groups.tile(task / panel_groups.count());
            let (panel, panels) = panel_groups.tile(task % panel_groups.count());
            // SAFETY: tasks write different tiles or panels of the output; the rest is the caller's promise.
            unsafe {
                if tile_by_tile {
                    for tile in tile..tile + tiles {
                        self.compute(kernels, arena, tile..tile + 1, panel..panel + panels);
                    }
                } else {
                    self.compute(kernels, arena, tile..tile + tiles, panel..panel + panels);
                }
            }
        });
    }

    /// Computes some tiles of some panels.
    ///
    /// # Safety
    ///
    /// As [`run`](Self::run)'s; no other thread computes the same tiles and panels.
    unsafe fn compute(&self, kernels: &Kernels, arena: &Buffer, tiles: Range<usize>, panels: Range<usize>) {
        let pad = self.kernel / 2;
        let corner = |row: usize, column: usize| {
            self.input.at(row, column) - pad * (self.input.row_stride() + self.input.channels)
        };
        for (idx, chunk) in self.chunks.iter().enumerate() {
            for panel in panels.clone() {
                let channel = panel * kernels.panel;
                for tile in tiles.clone() {
                    let row = tile / self.tiling.count();
                    let (column, pixels) = self.tiling.tile(tile % self.tiling.count());
                    let last = idx + 1 == self.chunks.len();
                    let at = |map: &Map| arena.at(map.at(row, column) + panel * kernels.held);
                    let a = arena.at(corner(row * self.stride, column * self.stride) + chunk.a_offset);
                    let b = self.weights.at(channel * self.depth + chunk.b_row * kernels.panel);
                    let (ahead, ahead_stride) = if kernels.product.lines == 0 {
                        (b, 0)
                    } else if tiles.len() > 1 {
                        // The panel that comes next, a quarter by each of the first tiles.
                        self.ahead(kernels, b.wrapping_add(self.depth * kernels.panel), tile - tiles.start)
                    } else if self.kernel == 1 && self.stride == 1 {
                        // The pixels that come next, a quarter by each of the first panels.
                        self.ahead(
                            kernels,
                            a.wrapping_add(pixels * self.input.channels),
                            panel - panels.start,
                        )
                    } else {
                        (b, 0)
                    };
                    let operands = Tile {
                        pixels,
                        a,
                        a_stride: self.stride * self.input.channels,
                        segment_stride: self.input.row_stride(),
                        segments: chunk.segments,
                        depth: chunk.depth,
                        b,
                        ahead,
                        ahead_stride,
                        fetch: at(&self.output),
                        fetch_stride: self.output.channels,
                        c: at(&self.output),
                        c_stride: self.output.channels,
                        accumulate: idx > 0,
                        bias: if last { self.bias.at(channel) } else { std::ptr::null() },
                        residual: self.residual.as_ref().map_or(std::ptr::null(), |r| at(r).cast_const()),
                        relu: self.relu,
                    };
                    // SAFETY: the maps were made for this convolution: `pixels` outputs from `column` on lie in its row, and
                    // their inputs in the input map with its border.
                    unsafe { (kernels.product.multiply)(&operands) };
                }
            }
        }
    }

    /// Part `part` of what is fetched ahead from `from` on, as large as a panel of weights; nothing new beyond its end.
    fn ahead(&self, kernels: &Kernels, from: *mut f32, part: usize) -> (*mut f32, usize) {
        let stride = kernels.product.lines * LINE;
        let bytes = self.depth / kernels.product.step * stride;
        let inside = (part + 1) * bytes <= self.depth * kernels.panel * size_of::<f32>();
        (from.wrapping_byte_add(part * bytes), if inside { stride } else { 0 })
    }
}

/// Cuts `segments` of `depth` into chunks of at most `limit`.
fn chunks(segments: usize, depth: usize, row_stride: usize, limit: usize) -> Vec<Chunk> {
    if segments * depth <= limit {
        return vec![Chunk { a_offset: 0, segments, depth, b_row: 0 }];
    }
    let parts = Tiling::new(depth, limit);
    let mut list = Vec::new();
    for segment in 0..segments {
        for part in 0..parts.count() {
            let (first, depth) = parts.tile(part);
            let (a_offset, b_row) = (segment * row_stride + first, segment * parts_total(parts) + first);
            list.push(Chunk { a_offset, segments: 1, depth, b_row });
        }
    }
    list
}

/// The length that a tiling covers.
fn parts_total(parts: Tiling) -> usize {
    let (first, n) = parts.tile(parts.count() - 1);
    first + n
}

//! Convolutions as implicit matrix products: 1 x 1 at any stride, and 3 x 3 where Winograd's method does not serve.

use super::arena::Buffer;
use super::gemm::{Tile, Tiling};
use super::isa::{Kernels, Product};
use super::map::Map;
use super::network::Convolution;
use super::team::Team;

/// Bytes of a cache line.
const LINE: usize = 64;

/// Pixels that a thread must have for a tile to meet all weights in turn: with fewer, too much of the time goes by the first tile's weights,
/// which come from memory.
const MANY_PIXELS: usize = 512;

/// Longest sum done at once for tiles of half the height or less, which want their panel of weights more often.
const SHORT_DEPTH: usize = 512;

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
    weights: Buffer,
    bias: Buffer,
}

/// Some pixels of an output's row, or of all its rows as one.
#[derive(Debug, Clone, Copy)]
struct Place {
    row: usize,
    column: usize,
    pixels: usize,
}

/// What a tile fetches towards the cache for those after it: from where, and how many bytes further at each step of its sum.
pub(super) type Ahead = (*const f32, usize);

/// Nothing, without a place.
pub(super) const NOTHING: Ahead = (std::ptr::null(), 0);

impl GemmConvolution {
    /// Binds `convolution` to its maps. The input's border is at least the padding; the residual may be the output itself.
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
        let limit = match kernels.product.depth {
            usize::MAX => usize::MAX,
            depth if convolution.stride > 1 && 2 * output.columns <= kernels.product.tile => {
                depth.min(SHORT_DEPTH)
            }
            depth => depth,
        };
        GemmConvolution {
            input,
            output,
            residual,
            relu,
            stride: convolution.stride,
            kernel,
            depth: kernel * kernel * input.channels,
            products: output.rows * output.columns * n_out * kernel * kernel * channels,
            chunks: chunks(kernel, kernel * input.channels, input.row_stride(), limit),
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

    /// Whether output pixel `i` of all is made of input pixel `i`, and none of its maps has a border.
    fn is_flat(&self) -> bool {
        let maps = [Some(self.input), Some(self.output), self.residual];
        self.kernel == 1 && self.stride == 1 && maps.iter().flatten().all(|map| map.border == 0)
    }

    /// The longest part of the sum that is done at once.
    fn chunk_depth(&self) -> usize {
        self.chunks.iter().map(|c| c.segments * c.depth).max().unwrap_or(1)
    }

    fn n_panels(&self, kernels: &Kernels) -> usize {
        self.output.channels / kernels.held
    }

    /// The first value that output pixel `place` is made of.
    fn input_at(&self, arena: &Buffer, place: Place) -> *mut f32 {
        let pad = self.kernel / 2;
        let at = self.input.at(place.row * self.stride, place.column * self.stride);
        arena.at(at - pad * (self.input.row_stride() + self.input.pixel_stride()))
    }

    /// Computes one chunk of one panel's sums over one tile.
    ///
    /// # Safety
    ///
    /// The maps lie in `arena`, `place` lies in the output, and no other thread computes it meanwhile.
    unsafe fn compute(
        &self,
        kernels: &Kernels,
        arena: &Buffer,
        (idx, panel): (usize, usize),
        place: Place,
        (ahead, ahead_stride): Ahead,
    ) {
        let (chunk, channel) = (&self.chunks[idx], panel * kernels.panel);
        let last = idx + 1 == self.chunks.len();
        let residual = self.residual.as_ref().filter(|_| last);
        let at = |map: &Map| arena.at(map.at(place.row, place.column) + panel * kernels.held);
        let b = self.weights.at(channel * self.depth + chunk.b_row * kernels.panel);
        // The processor takes the trouble to look for a page that is not there.
        let ahead = if ahead.is_null() { b.cast_const() } else { ahead };
        let operands = Tile {
            pixels: place.pixels,
            a: self.input_at(arena, place).wrapping_add(chunk.a_offset),
            a_stride: self.stride * self.input.pixel_stride(),
            segment_stride: self.input.row_stride(),
            segments: chunk.segments,
            depth: chunk.depth,
            b,
            ahead,
            ahead_stride,
            fetch: at(&self.output),
            fetch_stride: self.output.pixel_stride(),
            c: at(&self.output),
            c_stride: self.output.pixel_stride(),
            accumulate: idx > 0,
            bias: if idx == 0 { self.bias.at(channel) } else { std::ptr::null() },
            residual: residual.map_or(std::ptr::null(), |map| at(map).cast_const()),
            relu: last && self.relu,
        };
        // SAFETY: the maps were made for this convolution: the place's outputs lie in its row, and their inputs in the input map
        // with its border.
        unsafe { (kernels.product.multiply)(&operands) };
    }

    /// What each panel of each chunk in turn fetches for the tile that comes next: of its inputs, then of its outputs, unless they are
    /// `known`.
    fn next_tile(&self, kernels: &Kernels, known: [bool; 2]) -> Vec<Fetch> {
        let (product, panels) = (&kernels.product, self.n_panels(kernels));
        let turns = self.chunks.len() * panels;
        let bytes = |map: &Map| product.tile * map.pixel_stride() * size_of::<f32>();
        // The row above has had all filter rows but these.
        let rows = if self.kernel > 1 { self.stride } else { 1 };
        let inputs =
            if known[0] || self.kernel < self.stride { 0 } else { rows * self.stride * bytes(&self.input) };
        let outputs = if known[1] { 0 } else { bytes(&self.output) };
        let fetch = |turn: usize| {
            let chunk = &self.chunks[turn / panels];
            let steps = chunk.segments * chunk.depth / product.step;
            if product.lines == 0 || inputs + outputs == 0 {
                return Fetch { of_output: true, offset: 0, stride: 0 };
            }
            let least = inputs.div_ceil(steps * product.lines * LINE);
            let first =
                (turns * inputs).div_ceil(inputs + outputs).max(least).min(turns).next_multiple_of(rows);
            if turn < first {
                let each = first / rows;
                let row = (self.kernel - rows + turn / each) * self.input.row_stride() * size_of::<f32>();
                let (offset, stride) = share(product, inputs / rows, steps, (turn % each, each));
                Fetch { of_output: false, offset: row + offset, stride }
            } else {
                let (offset, stride) = share(product, outputs, steps, (turn - first, turns - first));
                Fetch { of_output: true, offset, stride }
            }
        };
        (0..turns).map(fetch).collect()
    }

    /// What tile `tile` of `tiles` fetches of the weights that come after panel `panel`.
    fn next_panel(&self, kernels: &Kernels, (idx, panel): (usize, usize), turn: (usize, usize)) -> Ahead {
        let (chunk, width) = (&self.chunks[idx], kernels.panel);
        let depth = chunk.segments * chunk.depth;
        let next = self
            .weights
            .at(panel * width * self.depth + chunk.b_row * width)
            .wrapping_add(self.depth * width);
        ahead(&kernels.product, next, depth * width * size_of::<f32>(), depth / kernels.product.step, turn)
    }
}

/// Where product `turn` of `turns` with `steps` steps each begins to fetch of `bytes`, and how many it goes on at each step. All fetch
/// some: too many lines at once keep those waiting that are needed now.
fn share(product: &Product, bytes: usize, steps: usize, (turn, turns): (usize, usize)) -> (usize, usize) {
    let stride = bytes.div_ceil(turns * steps);
    let stride = if product.lines > 1 { stride.next_multiple_of(product.lines * LINE) } else { stride };
    let offset = turn * steps * stride;
    if offset < bytes { (offset, stride) } else { (0, 0) }
}

/// What product `turn` of `turns` with `steps` steps each fetches of the `bytes` from `from` on.
pub(super) fn ahead(
    product: &Product,
    from: *const f32,
    bytes: usize,
    steps: usize,
    turn: (usize, usize),
) -> Ahead {
    if product.lines == 0 {
        return NOTHING;
    }
    let (offset, stride) = share(product, bytes, steps, turn);
    if stride > 0 { (from.wrapping_byte_add(offset), stride) } else { NOTHING }
}

/// What a product fetches for the next tile.
#[derive(Debug)]
struct Fetch {
    /// Of the outputs, else of the inputs.
    of_output: bool,
    /// Bytes from the tile's first.
    offset: usize,
    /// Bytes from one step to the next; 0 for nothing.
    stride: usize,
}

/// Convolutions with outputs of the same rows and columns, computed one after the other tile by tile: what one leaves in the cache the next
/// takes from there.
#[derive(Debug)]
pub(super) struct Chain {
    parts: Vec<GemmConvolution>,
    /// Of each part, for each chunk and panel.
    fetches: Vec<Vec<Fetch>>,
}

impl std::fmt::Display for Chain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (i, GemmConvolution { kernel, stride, input, output, .. }) in self.parts.iter().enumerate() {
            let (join, n_in, n_out) = (if i > 0 { " + " } else { "" }, input.channels, output.channels);
            write!(f, "{join}{kernel}x{kernel}/{stride} {n_in}->{n_out}")?;
        }
        write!(f, " to {}x{}", self.parts[0].output.rows, self.parts[0].output.columns)
    }
}

impl Chain {
    /// A chain of one convolution.
    pub(super) fn new(kernels: &Kernels, first: GemmConvolution) -> Chain {
        Chain { fetches: vec![first.next_tile(kernels, [false; 2])], parts: vec![first] }
    }

    /// Appends `next`, which needs of the others no more than the pixels of its own tile; gives it back where the weights of all would
    /// not stay in the cache.
    pub(super) fn append(&mut self, kernels: &Kernels, next: GemmConvolution) -> Option<GemmConvolution> {
        let size = |part: &GemmConvolution| [part.output.rows, part.output.columns];
        let bytes = self.bytes() + next.bytes();
        if size(&self.parts[0]) != size(&next) || next.kernel > 1 || bytes > kernels.cache / 2 + (64 << 10) {
            return Some(next);
        }
        let before = |map: &Map| self.parts.iter().any(|part| part.output == *map);
        let known = [before(&next.input), before(&next.output)];
        self.fetches.push(next.next_tile(kernels, known));
        self.parts.push(next);
        None
    }

    /// Bytes of packed weights.
    pub(super) fn bytes(&self) -> usize {
        self.parts.iter().map(GemmConvolution::bytes).sum()
    }

    /// Multiply-adds for one image.
    pub(super) fn products(&self) -> usize {
        self.parts.iter().map(GemmConvolution::products).sum()
    }

    /// Computes the output maps.
    ///
    /// # Safety
    ///
    /// The maps lie in `arena`, an output overlaps no other map but its own residual or the output of the part before, and no one else uses
    /// them meanwhile.
    pub(super) unsafe fn run(&self, kernels: &Kernels, team: &mut Team, arena: &Buffer) {
        let first = &self.parts[0];
        let Map { rows, columns, .. } = first.output;
        let flat = self.parts.iter().all(GemmConvolution::is_flat);
        let (rows, columns) = if flat { (1, rows * columns) } else { (rows, columns) };
        let tiling = Tiling::new(columns, kernels.product.tile);
        let place = |tile: usize| {
            let (column, pixels) = tiling.tile(tile % tiling.count());
            Place { row: tile / tiling.count(), column, pixels }
        };
        let (n_tiles, n_panels) = (rows * tiling.count(), first.n_panels(kernels));
        let chunk_bytes = first.chunk_depth() * n_panels * kernels.panel * size_of::<f32>();
        let few_weights = chunk_bytes <= kernels.cache / 2;
        let many_pixels = rows * columns >= MANY_PIXELS * team.n_threads();
        if self.parts.len() > 1 || (few_weights && many_pixels) {
            // Few weights: they stay in the cache, and a tile meets them all.
            let groups = Tiling::even(n_tiles, 8, team.n_threads());
            // Weights that leave room for maps beside them stay there; where they do not, see `Winograd::run`.
            let run = if self.bytes() <= kernels.cache / 4 + (64 << 10) { Team::run_near } else { Team::run };
            run(team, groups.count(), &|task, _| {
                let _entered = kernels.enter();
                let (tile, n) = groups.tile(task);
                for tile in tile..tile + n {
                    let next = place((tile + 1).min(n_tiles - 1));
                    // SAFETY: tasks write different tiles of the outputs; the rest is the caller's promise.
                    unsafe { self.compute_tile(kernels, arena, place(tile), next) };
                }
            });
            return;
        }
        // Many, or few pixels: the inputs of a large group of tiles stay in the cache, and the weights pass by once a group. Filter columns and
        // rows share their inputs.
        let pixels = kernels.product.tile * first.stride * first.stride;
        let tile_bytes = pixels * first.chunk_depth().min(first.input.channels) * size_of::<f32>();
        let height = (kernels.cache / 2 / tile_bytes).max(1);
        let (groups, panel_groups) = if few_weights && n_tiles >= 4 * team.n_threads() {
            // So each thread finds in its cache what it has computed before.
            (Tiling::even(n_tiles, height, team.n_threads()), Tiling::new(n_panels, n_panels))
        } else {
            (Tiling::new(n_tiles, height), Tiling::new(n_panels, n_panels.div_ceil(4)))
        };
        team.run(groups.count() * panel_groups.count(), &|task, _| {
            let _entered = kernels.enter();
            let (tile, tiles) = groups.tile(task / panel_groups.count());
            let (panel, panels) = panel_groups.tile(task % panel_groups.count());
            for idx in 0..first.chunks.len() {
                for panel in panel..panel + panels {
                    for i in 0..tiles {
                        let ahead = first.next_panel(kernels, (idx, panel), (i, tiles));
                        // SAFETY: tasks write different tiles or panels of the output; the rest is the caller's promise.
                        unsafe { first.compute(kernels, arena, (idx, panel), place(tile + i), ahead) };
                    }
                }
            }
        });
    }

    /// Computes one tile of all outputs; `next` is the tile after it.
    ///
    /// # Safety
    ///
    /// As [`run`](Self::run)'s; no other thread computes the same tile.
    unsafe fn compute_tile(&self, kernels: &Kernels, arena: &Buffer, place: Place, next: Place) {
        for (part, fetches) in self.parts.iter().zip(&self.fetches) {
            let output = arena.at(part.output.at(next.row, next.column));
            let (input, mut fetches) = (part.input_at(arena, next), fetches.iter());
            for idx in 0..part.chunks.len() {
                for (panel, fetch) in (0..part.n_panels(kernels)).zip(&mut fetches) {
                    let from = if fetch.of_output { output } else { input };
                    let ahead = (from.wrapping_byte_add(fetch.offset).cast_const(), fetch.stride);
                    // SAFETY: the caller's promise.
                    unsafe { part.compute(kernels, arena, (idx, panel), place, ahead) };
                }
            }
        }
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

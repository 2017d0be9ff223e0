//! 3 x 3 convolutions by Winograd's method: a quarter of the multiplications at stride 1 (25 of 81 or four ninths on small maps), six tenths at stride 2.

pub(super) mod large;
pub(super) mod line;
pub(super) mod medium;
pub(super) mod method;
pub(super) mod small;
pub(super) mod strided;
pub(super) mod transform;

use super::arena::Buffer;
use super::convolution::{Ahead, NOTHING, ahead};
use super::gemm::{Shares, Tile, Tiling};
use super::isa::{Kernels, Transforms};
use super::map::Map;
use super::network::Convolution;
use super::team::Team;
use method::{Method, cost};
use ndarray::Axis;
use std::ops::Range;
use transform::{Input, Output};

/// Values between the points of neighbouring planes beyond what they hold: a power of two apart, all planes would want the same
/// lines of the cache.
const SKEW: usize = 48;

/// Bytes of transformed inputs that a block has at least.
const LEAST_BLOCK: usize = 256 << 10;

/// Bytes of weights from which on they pass by once for all tiles.
const MANY_WEIGHTS: usize = 4 << 20;

/// How the work is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    /// A task takes some tiles from input to output; all it needs stays in its core's cache, and the weights pass by once a task.
    Blocks(usize),
    /// All tiles are transformed, then multiplied plane by plane, then transformed back: the weights pass by once.
    Planes,
}

impl Order {
    /// Where the weights of plane `plane` of `planes` and panel `panel` of `panels` lie among all: in the order of their use.
    fn position(self, [plane, planes]: [usize; 2], [panel, panels]: [usize; 2]) -> usize {
        match self {
            Order::Blocks(_) => panel * planes + plane,
            Order::Planes => plane * panels + panel,
        }
    }
}

/// A convolution bound to its maps, with its weights transformed and packed.
#[derive(Debug)]
pub(super) struct Winograd {
    input: Map,
    output: Map,
    relu: bool,
    method: Method,
    transforms: Transforms,
    order: Order,
    /// Whether the weights stay in the cache from one block to the next.
    weights_stay: bool,
    /// `[input channels][panel]` for each plane and panel, in the order of their use.
    weights: Buffer,
    bias: Buffer,
}

/// What the products fetch for later.
enum Later<'a> {
    /// The weights of the next, and, at the beginning of each tile's, something else.
    Weights(*const f32),
    /// The weights of the next, and one of so many parts of the inputs of a point that the thread will come to, if there is such a point.
    Plane { point: usize, part: usize, parts: usize },
    /// The outputs of a block and the inputs of the next, of which the first and the number of the tiles are given, by the product's number.
    Pixels { arena: &'a Buffer, tiles: [(usize, usize); 2], turn: usize },
}

/// Operands of the products of some tiles: planes `[tiles, channels]`, strides in values.
#[derive(Clone, Copy)]
struct Planes {
    inputs: *mut f32,
    input_stride: usize,
    products: *mut f32,
    product_stride: usize,
    /// Channels a row of products holds.
    width: usize,
    tiles: usize,
}

// SAFETY: addresses alone; the tasks that use them write different parts.
unsafe impl Sync for Planes {}

impl std::fmt::Display for Winograd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Map { rows, columns, channels, .. } = self.output;
        write!(
            f,
            "3x3/{} {}->{channels} to {rows}x{columns} by Winograd",
            self.method.stride, self.input.channels
        )
    }
}

impl Winograd {
    /// True where a method takes less time than the direct way.
    pub(super) fn serves(convolution: &Convolution, kernels: &Kernels, input: &Map) -> bool {
        if kernels.winograd.is_none() || convolution.kernel() != 3 {
            return false;
        }
        let output = [input.rows, input.columns].map(|length| convolution.output_length(length));
        Method::best(convolution, output).1 < cost(output[0] * output[1] * 9, 9)
    }

    /// Binds `convolution` to its maps.
    pub(super) fn new(
        convolution: &Convolution,
        kernels: &Kernels,
        input: Map,
        output: Map,
        relu: bool,
    ) -> Winograd {
        let (method, _) = Method::best(convolution, [output.rows, output.columns]);
        Winograd::by(method, convolution, kernels, [input, output], relu)
    }

    /// As [`new`](Self::new), by a method given.
    pub(super) fn by(
        method: Method,
        convolution: &Convolution,
        kernels: &Kernels,
        [input, output]: [Map; 2],
        relu: bool,
    ) -> Winograd {
        let transforms = kernels.winograd.expect("asked for where the method serves: this is a bug");
        let (transforms, planes) = (transforms[method.transforms()], method.planes * method.planes);
        let (n_in, n_out) = (convolution.n_in(), convolution.n_out());
        // `[planes][n_out * n_in]`
        let mut transformed = vec![Vec::new(); planes];
        for filter in convolution.weight.lanes(Axis(3)).into_iter().collect::<Vec<_>>().chunks_exact(3) {
            let rows = [0, 1, 2].map(|y| method.filter([0, 1, 2].map(|x| f64::from(filter[y][x]))));
            for column in 0..method.planes {
                let values = method.filter(rows.map(|row| row[column]));
                for (row, value) in values.into_iter().enumerate().take(method.planes) {
                    transformed[row * method.planes + column].push(value as f32);
                }
            }
        }
        let n_tiles = method.tiles([output.rows, output.columns]);
        // Measured: where the weights stay in the core's cache, small blocks leave them there; where they pass by once a block, larger
        // ones pay; where they are many, they must pass by only once.
        let weight_bytes = planes * input.channels * output.channels * size_of::<f32>();
        let weights_stay = weight_bytes <= kernels.cache / 2;
        let share = if weights_stay { 8 } else { 4 };
        let least = 2 * kernels.product.tile;
        let tile_bytes = method.points() * input.channels * size_of::<f32>();
        let block = (kernels.cache / share).max(LEAST_BLOCK) / tile_bytes / kernels.product.tile
            * kernels.product.tile;
        let (block, few) = match method.stride {
            1 => (block, weight_bytes < MANY_WEIGHTS),
            // More points share fewer weights: as few tiles as pay, so that these stay.
            _ => (least, least * tile_bytes <= kernels.cache / 4 * 3),
        };
        let order =
            if few && block >= least && n_tiles > block { Order::Blocks(block) } else { Order::Planes };
        let mut weights = vec![0.0; planes * input.channels * output.channels];
        let n_panels = output.channels / kernels.panel;
        for (plane, values) in transformed.iter().enumerate() {
            let element = |k: usize, j: usize| if k < n_in { values[j * n_in + k] } else { 0.0 };
            let packed = (kernels.product.pack)(input.channels, n_out, kernels.panel, &element);
            let length = input.channels * kernels.panel;
            for (panel, values) in packed.chunks_exact(length).enumerate() {
                let at = order.position([plane, planes], [panel, n_panels]) * length;
                weights[at..at + length].copy_from_slice(values);
            }
        }
        let mut bias = convolution.bias.clone();
        bias.resize(output.channels, 0.0);
        Winograd {
            input,
            output,
            relu,
            method,
            transforms,
            order,
            weights_stay,
            weights: Buffer::from_slice(&weights),
            bias: Buffer::from_slice(&bias),
        }
    }

    /// Bytes of packed weights.
    pub(super) fn bytes(&self) -> usize {
        self.weights.bytes() + self.bias.bytes()
    }

    /// Multiply-adds of the products for one image.
    pub(super) fn products(&self) -> usize {
        self.n_tiles() * self.method.points() * self.input.channels * self.output.channels
    }

    fn n_tiles(&self) -> usize {
        self.method.tiles([self.output.rows, self.output.columns])
    }

    fn tiles_across(&self) -> usize {
        self.output.columns.div_ceil(self.method.tile)
    }

    /// One panel of one pixel of tile `first` in the output map, if it has a pixel `point` and it lies there. The outputs are far
    /// away until they are written: each product fetches one pixel of each tile.
    fn output_pixel(
        &self,
        kernels: &Kernels,
        arena: &Buffer,
        first: usize,
        panel: usize,
        point: usize,
    ) -> *const f32 {
        let (across, size) = (self.tiles_across(), self.method.tile);
        let (row, column) = (first / across * size + point / size, first % across * size + point % size);
        if point < size * size && row < self.output.rows && column < self.output.columns {
            arena.at(self.output.at(row, column) + panel * kernels.panel)
        } else {
            std::ptr::null()
        }
    }

    /// What product `turn` of `turns` of a block fetches: in the first half the pixels of its outputs, then those of the next block's inputs,
    /// given the first and the number of the tiles of both.
    fn pixels(
        &self,
        kernels: &Kernels,
        arena: &Buffer,
        [these, next]: [(usize, usize); 2],
        steps: usize,
        (turn, turns): (usize, usize),
    ) -> Ahead {
        // The first two rows that a tile reads have been read with the tiles above.
        let Method { tile: size, stride, .. } = self.method;
        let (map, (first, n), above, turn, size) = if turn < turns / 2 {
            (&self.output, these, 0, turn, size)
        } else {
            (&self.input, next, 1, turn - turns / 2, size * stride)
        };
        let each = (turns / 2 / size).max(1);
        let tile = first + n * (turn % each) / each;
        let row = tile / self.tiles_across() * size + turn / each + above;
        if turn / each >= size || row >= map.rows {
            return NOTHING;
        }
        let from = arena.at(map.at(row, tile % self.tiles_across() * size));
        let bytes = n.div_ceil(each) * size * map.pixel_stride() * size_of::<f32>();
        ahead(&kernels.product, from, bytes, steps, (0, 1))
    }

    /// Values of scratch memory: for each thread, and for all together.
    pub(super) fn scratch(&self, kernels: &Kernels) -> [usize; 2] {
        let of = |tiles: usize, width: usize| {
            self.method.points() * (tiles * (self.input.channels + width) + 2 * SKEW)
        };
        match self.order {
            Order::Blocks(block) => [of(block, kernels.panel), 0],
            Order::Planes => [0, of(self.n_tiles(), self.output.channels)],
        }
    }

    /// Lays out the planes of `tiles` tiles at `scratch`.
    fn planes(&self, scratch: *mut f32, tiles: usize, width: usize) -> Planes {
        let input_stride = tiles * self.input.channels + SKEW;
        let products = scratch.wrapping_add(self.method.points() * input_stride);
        Planes { inputs: scratch, input_stride, products, product_stride: tiles * width + SKEW, width, tiles }
    }

    /// Computes the output map.
    ///
    /// # Safety
    ///
    /// The maps lie in `arena`, do not overlap, and no one else uses the output meanwhile; `scratch` holds what
    /// [`scratch`](Self::scratch) says, the threads' parts `scratch_stride` apart.
    pub(super) unsafe fn run(
        &self,
        kernels: &Kernels,
        team: &mut Team,
        arena: &Buffer,
        (scratch, scratch_stride): (&Buffer, usize),
    ) {
        let (n_panels, points) = (self.output.channels / kernels.panel, self.method.points());
        match self.order {
            Order::Blocks(block) => {
                let blocks = Tiling::even(self.n_tiles(), block, team.n_threads());
                // Where weights pass by, threads find in the last cache what the others have just read.
                let run = if self.weights_stay { Team::run_near } else { Team::run };
                run(team, blocks.count(), &|task, thread| {
                    let (first, n) = blocks.tile(task);
                    let next = blocks.tile((task + 1).min(blocks.count() - 1));
                    let planes = self.planes(scratch.at(thread * scratch_stride), n, kernels.panel);
                    // SAFETY: tasks write different tiles, a thread has its own planes.
                    unsafe {
                        self.transform_input(arena, &planes, first, 0..n);
                        for panel in 0..n_panels {
                            for point in 0..points {
                                let turn = panel * points + point;
                                let ahead = if self.weights_stay {
                                    Later::Pixels { arena, tiles: [(first, n), next], turn }
                                } else {
                                    Later::Weights(self.output_pixel(kernels, arena, first, panel, point))
                                };
                                self.multiply(kernels, &planes, (point, panel), 0, &ahead);
                            }
                            self.transform_output(kernels, arena, &planes, first, 0..n, panel);
                        }
                    }
                });
            }
            Order::Planes => {
                let planes = self.planes(scratch.at(0), self.n_tiles(), self.output.channels);
                let planes = &planes;
                let n_threads = team.n_threads();
                let some = Tiling::even(planes.tiles, 8, n_threads);
                team.run(some.count(), &|task, _| {
                    let (first, n) = some.tile(task);
                    // SAFETY: tasks write different tiles.
                    unsafe { self.transform_input(arena, planes, 0, first..first + n) }
                });
                // A task has many panels, since each fetches the weights of the next.
                let panels = Tiling::new(n_panels, n_panels.div_ceil(n_threads.div_ceil(4)));
                let shares = Shares::new(points * panels.count(), n_panels / panels.count(), n_threads);
                team.run(shares.count(), &|task, _| {
                    let (task, part, parts) = shares.share(task);
                    let (point, (first, n)) = (task / panels.count(), panels.tile(task % panels.count()));
                    let (within, n) = Tiling::even(n, n, parts).tile(part);
                    let first = first + within;
                    // The others take those in between.
                    let next = point + n_threads.div_ceil(panels.count());
                    for panel in first..first + n {
                        let channel = panel * kernels.panel;
                        // SAFETY: tasks write different planes or panels.
                        unsafe {
                            let later = Later::Plane { point: next, part: panel - first, parts: n };
                            self.multiply(kernels, planes, (point, panel), channel, &later);
                        }
                    }
                });
                team.run(some.count(), &|task, _| {
                    let (first, n) = some.tile(task);
                    for tile in first..first + n {
                        for panel in 0..n_panels {
                            // SAFETY: tasks write different tiles.
                            unsafe { self.transform_output(kernels, arena, planes, 0, tile..tile + 1, panel) }
                        }
                    }
                });
            }
        }
    }

    /// Transforms the inputs of the planes' tiles `tiles`, of which tile 0 is the map's tile `first`.
    ///
    /// # Safety
    ///
    /// As [`run`](Self::run)'s; no other thread uses these tiles of the planes.
    unsafe fn transform_input(&self, arena: &Buffer, planes: &Planes, first: usize, tiles: Range<usize>) {
        let (map, across) = (&self.input, self.tiles_across());
        let step = self.method.tile * self.method.stride;
        for tile in tiles {
            let (row, column) = ((first + tile) / across * step, (first + tile) % across * step);
            let reach = self.method.reach;
            let inside = |at: usize, length: usize| [usize::from(at == 0), reach.min(length + 1 - at)];
            let (rows, columns) = (inside(row, map.rows), inside(column, map.columns));
            // SAFETY: the rows and columns given lie in the map.
            unsafe {
                (self.transforms.input)(&Input {
                    from: arena.at(map.at(row, column)).wrapping_sub(map.row_stride() + map.pixel_stride()),
                    row_stride: map.row_stride(),
                    pixel_stride: map.pixel_stride(),
                    channels: map.channels,
                    whole: row > 0 && column > 0 && rows[1] == reach && columns[1] == reach,
                    rows,
                    columns,
                    to: planes.inputs.add(tile * map.channels),
                    point_stride: planes.input_stride,
                });
            }
        }
    }

    /// Multiplies one plane by one panel of its weights, into the products' channels from `channel` on.
    ///
    /// # Safety
    ///
    /// The planes' inputs are complete, and no other thread writes these products.
    unsafe fn multiply(
        &self,
        kernels: &Kernels,
        planes: &Planes,
        (point, panel): (usize, usize),
        channel: usize,
        later: &Later<'_>,
    ) {
        let depth = self.input.channels;
        let n_panels = self.output.channels / kernels.panel;
        let plane = [self.method.plane(point), self.method.planes * self.method.planes];
        let weights = self.weights.at(self.order.position(plane, [panel, n_panels]) * kernels.panel * depth);
        let tiling = Tiling::new(planes.tiles, kernels.product.tile);
        let (steps, count) = (depth / kernels.product.step, tiling.count());
        // The panel multiplied next; beyond the last, what lies there.
        let next = weights.wrapping_add(depth * kernels.panel);
        let bytes = depth * kernels.panel * size_of::<f32>();
        let soon = |from, bytes, tiles: usize| ahead(&kernels.product, from, bytes, steps * tiles, (0, 1));
        let products = planes.products.wrapping_add(point * planes.product_stride + channel);
        // What all tiles fetch, those from one on, and at their beginning.
        let (first_part, (turn, second_part), (fetch, fetch_stride)) = match *later {
            Later::Weights(fetch) => (
                soon(next, bytes, count),
                (count, NOTHING),
                (fetch, self.method.tile * self.output.pixel_stride()),
            ),
            Later::Plane { point, part, parts } => {
                let part_bytes = planes.tiles * depth * size_of::<f32>() / parts;
                let inputs = planes.inputs.wrapping_add(point * planes.input_stride);
                let inputs = inputs.wrapping_byte_add(part * part_bytes);
                let turn = (count * bytes).div_ceil(bytes + part_bytes);
                if point < self.method.points() && turn < count {
                    (soon(next, bytes, turn), (turn, soon(inputs, part_bytes, count - turn)), NOTHING)
                } else {
                    (soon(next, bytes, count), (count, NOTHING), NOTHING)
                }
            }
            Later::Pixels { arena, tiles, turn } => {
                let turns = n_panels * self.method.points();
                let pixels = self.pixels(kernels, arena, tiles, steps * count, (turn, turns));
                (pixels, (count, NOTHING), NOTHING)
            }
        };
        for idx in 0..count {
            let (first, n) = tiling.tile(idx);
            let ((ahead, ahead_stride), idx) =
                if idx < turn { (first_part, idx) } else { (second_part, idx - turn) };
            let ahead = if ahead.is_null() { weights.cast_const() } else { ahead };
            // SAFETY: `n` rows from `first` on lie in the planes.
            unsafe {
                (kernels.product.multiply)(&Tile {
                    pixels: n,
                    a: planes.inputs.add(point * planes.input_stride + first * depth),
                    a_stride: depth,
                    segment_stride: 0,
                    segments: 1,
                    depth,
                    b: weights,
                    ahead: ahead.wrapping_byte_add(idx * steps * ahead_stride),
                    ahead_stride,
                    fetch: if fetch.is_null() { fetch } else { fetch.wrapping_add(first * fetch_stride) },
                    fetch_stride,
                    c: products.add(first * planes.width),
                    c_stride: planes.width,
                    accumulate: false,
                    bias: std::ptr::null(),
                    residual: std::ptr::null(),
                    relu: false,
                });
            }
        }
    }

    /// Transforms the products of one panel back into the output map.
    ///
    /// # Safety
    ///
    /// As [`run`](Self::run)'s; the products are complete, and no other thread writes these outputs.
    unsafe fn transform_output(
        &self,
        kernels: &Kernels,
        arena: &Buffer,
        planes: &Planes,
        first: usize,
        tiles: Range<usize>,
        panel: usize,
    ) {
        let (map, across, channel) = (&self.output, self.tiles_across(), panel * kernels.panel);
        let size = self.method.tile;
        let held = if planes.width == kernels.panel { 0 } else { channel };
        for tile in tiles {
            let (row, column) = ((first + tile) / across * size, (first + tile) % across * size);
            // SAFETY: the rows and columns given lie in the map.
            unsafe {
                (self.transforms.output)(&Output {
                    from: planes.products.add(tile * planes.width + held),
                    point_stride: planes.product_stride,
                    width: kernels.panel,
                    bias: self.bias.at(channel),
                    relu: self.relu,
                    to: arena.at(map.at(row, column) + channel),
                    row_stride: map.row_stride(),
                    pixel_stride: map.pixel_stride(),
                    rows: size.min(map.rows - row),
                    columns: size.min(map.columns - column),
                });
            }
        }
    }
}

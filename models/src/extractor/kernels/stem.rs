//! The first layers in one pass over the image: preprocessing, convolution, ReLU and max-pool.
//!
//! A task computes some pooled rows and keeps only the rows it needs of the image and of the convolution's output, so that the
//! largest map of the network never goes to memory. A filter of seven columns at stride 2, as ResNets have, goes by Winograd's method along the rows.

use super::arena::Buffer;
use super::gemm::{Tile, Tiling};
use super::isa::Kernels;
use super::map::Map;
use super::max_pool::{Row, pooled};
use super::network::{Convolution, InputChannel, Network};
use super::team::Team;
use super::winograd::line;
use crate::traits::ImageShape;
use ndarray::{ArrayView3, s};

/// Image rows a thread holds; when they are full, those still needed move to the top.
const WINDOW: usize = 24;

/// Pooled rows of one task: each task computes one row of the convolution anew that its neighbour has had.
const TASK_ROWS: usize = 12;

/// An image to compute from, where it lies.
#[derive(Debug, Clone, Copy)]
pub(super) enum Pixels<'a> {
    /// `[channels, rows, columns]`.
    Planes(ArrayView3<'a, f32>),
    /// `[rows, columns, channels]`; a single channel stands for all.
    Levels(ArrayView3<'a, u8>),
}

/// Where the rows of the image lie as Winograd's method takes them (`winograd/line.rs`).
#[derive(Debug, Clone, Copy)]
struct Line {
    /// Tiles of a row.
    tiles: usize,
    /// Values of a pair of columns.
    group: usize,
    /// From one point's tiles to the next's.
    point_stride: usize,
}

impl Line {
    /// Values of a row before it is transformed, with those that are read beyond.
    fn raw_length(&self) -> usize {
        (self.tiles * line::TILE + line::TAPS - 1) * self.group + line::BEYOND
    }
}

/// The stem bound to its output map.
#[derive(Debug)]
pub(super) struct Stem {
    image: ImageShape,
    channels: Vec<InputChannel>,
    kernel: usize,
    stride: usize,
    rows: usize,
    columns: usize,
    output: Map,
    /// Channels of a row of the convolution's output, which are f32.
    width: usize,
    /// Products of a sum.
    depth: usize,
    /// `[depth][panel]` for each panel, of each point where there are such.
    weights: Buffer,
    bias: Buffer,
    /// Of a row's pixels, or of its tiles.
    tiling: Tiling,
    line: Option<Line>,
}

impl Stem {
    /// Rows and columns of the stem's pooled output for an image of `rows` by `columns`.
    pub(super) fn output_size(stem: &Convolution, rows: usize, columns: usize) -> (usize, usize) {
        (pooled(stem.output_length(rows)), pooled(stem.output_length(columns)))
    }

    /// Binds the stem of `network` to its output map.
    pub(super) fn new(network: &Network, kernels: &Kernels, image: ImageShape, output: Map) -> Stem {
        let (stem, n_in) = (&network.stem, network.stem.n_in());
        let (kernel, columns) = (stem.kernel(), stem.output_length(image.columns));
        let line = (kernel == 2 * line::TAPS - 1 && stem.stride == 2).then(|| {
            let (tiles, group) = (columns.div_ceil(line::TILE), 2 * n_in);
            Line { tiles, group, point_stride: tiles * group + line::BEYOND }
        });
        let width = stem.n_out().next_multiple_of(kernels.panel);
        let pack = |depth: usize, element: &dyn Fn(usize, usize) -> f32| {
            (kernels.stem.pack)(depth, stem.n_out(), kernels.panel, element)
        };
        let (depth, length, weights) = match line {
            None => {
                let depth = kernel * kernel * n_in;
                let element =
                    |k: usize, j: usize| stem.weight[[j, k % n_in, k / n_in / kernel, k / n_in % kernel]];
                (depth, columns, pack(depth, &element))
            }
            Some(Line { tiles, group, .. }) => {
                let depth = kernel * group;
                let points = (0..line::REACH).flat_map(|point| {
                    pack(depth, &|k, j| {
                        let (row, column, channel) = (k / group, k % group / n_in, k % n_in);
                        let tap = |pair: usize| stem.weight.get([j, channel, row, 2 * pair + column]);
                        // The last pair has one column.
                        let taps =
                            [0, 1, 2, 3].map(|pair| tap(pair).map_or(0.0, |&weight| f64::from(weight)));
                        line::filter_1d(taps)[point] as f32
                    })
                });
                (depth, tiles, points.collect())
            }
        };
        let mut bias = stem.bias.clone();
        bias.resize(width, 0.0);
        Stem {
            image,
            channels: network.input.clone(),
            kernel,
            stride: stem.stride,
            rows: stem.output_length(image.rows),
            columns,
            output,
            width,
            depth,
            weights: Buffer::from_slice(&weights),
            bias: Buffer::from_slice(&bias),
            tiling: Tiling::new(length, kernels.stem.tile),
            line,
        }
    }

    /// Bytes of packed weights.
    pub(super) fn bytes(&self) -> usize {
        self.weights.bytes() + self.bias.bytes()
    }

    /// Multiply-adds for one image.
    pub(super) fn products(&self) -> usize {
        let per_row = self.line.map_or(self.columns, |line| line.tiles * line::REACH);
        self.rows * per_row * self.width * self.depth
    }

    /// Values of scratch memory that each thread needs.
    pub(super) fn scratch(&self, kernels: &Kernels) -> usize {
        let line = self.line.map_or(0, |line| line.raw_length() + self.products_length(kernels));
        WINDOW * self.window_stride() + 3 * self.row_length() + line
    }

    /// Values of the products of a tile of a row's tiles, over one panel.
    fn products_length(&self, kernels: &Kernels) -> usize {
        line::REACH * kernels.stem.tile * kernels.panel
    }

    /// From one row of the window to the next: a padded image row, as the products take it.
    fn window_stride(&self) -> usize {
        match self.line {
            Some(line) => line::REACH * line.point_stride,
            None => (self.image.columns + 2 * (self.kernel / 2)) * self.channels.len(),
        }
    }

    /// Values of one row of the convolution's output, with the pixels that a last tile has beyond it.
    fn row_length(&self) -> usize {
        self.line.map_or(self.columns, |line| line.tiles * line::TILE) * self.width
    }

    /// Computes the output map from an image of the shape the stem was made for.
    ///
    /// # Safety
    ///
    /// The output map lies in `arena` and no one else uses it meanwhile; `scratch` holds [`scratch`](Self::scratch) values for
    /// each thread, `scratch_stride` apart.
    pub(super) unsafe fn run(
        &self,
        kernels: &Kernels,
        team: &mut Team,
        image: Pixels<'_>,
        arena: &Buffer,
        (scratch, scratch_stride): (&Buffer, usize),
    ) {
        let tasks = Tiling::even(self.output.rows, TASK_ROWS, team.n_threads());
        team.run_near(tasks.count(), &|task, thread| {
            let (first, n) = tasks.tile(task);
            // Every row of the window is written before it is read but for its left and right padding, which is zeroed here.
            // SAFETY: tasks write different rows; a thread has its own scratch; the rest is the caller's promise.
            unsafe {
                let window = scratch.at(thread * scratch_stride);
                let ring = window.add(WINDOW * self.window_stride());
                let products = ring.add(3 * self.row_length());
                let raw = products.add(if self.line.is_some() { self.products_length(kernels) } else { 0 });
                let mut rows = Rows { stem: self, kernels, image, window, raw, first: 0, end: 0 };
                let mut done = (2 * first).saturating_sub(1);
                for pooled_row in first..first + n {
                    let needed = (2 * pooled_row + 2).min(self.rows);
                    for row in done..needed {
                        let output = ring.add(row % 3 * self.row_length());
                        self.convolve(kernels, &mut rows, row, products, output);
                    }
                    done = needed;
                    let input = |row: usize| ring.add(row % 3 * self.row_length()).cast_const();
                    let inputs =
                        [input((2 * pooled_row).saturating_sub(1)), input(2 * pooled_row), input(needed - 1)];
                    (kernels.pool_row)(&Row {
                        inputs,
                        columns_in: self.columns,
                        columns_out: self.output.columns,
                        channels: self.width,
                        output: arena.at(self.output.at(pooled_row, 0)),
                        output_stride: self.output.pixel_stride(),
                    });
                }
            }
        });
    }

    /// Computes one row of the convolution.
    ///
    /// # Safety
    ///
    /// `rows` has a thread's window; `products` has room for [`products_length`](Self::products_length) values where they are asked for, and `output` for
    /// [`row_length`](Self::row_length).
    unsafe fn convolve(
        &self,
        kernels: &Kernels,
        rows: &mut Rows<'_, '_>,
        row: usize,
        products: *mut f32,
        output: *mut f32,
    ) {
        // SAFETY: the window is this thread's, by the caller's promise.
        let a = unsafe { rows.hold(row * self.stride) };
        let length = self.depth * kernels.panel;
        let tile = Tile {
            pixels: 0,
            a,
            a_stride: self.stride * self.channels.len(),
            segment_stride: self.window_stride(),
            segments: self.kernel,
            depth: self.depth / self.kernel,
            b: std::ptr::null(),
            ahead: self.bias.at(0),
            ahead_stride: 0,
            fetch: std::ptr::null(),
            fetch_stride: 0,
            c: std::ptr::null_mut(),
            c_stride: 0,
            accumulate: false,
            bias: std::ptr::null(),
            residual: std::ptr::null(),
            relu: false,
        };
        for idx in 0..self.tiling.count() {
            let (first, n) = self.tiling.tile(idx);
            for (panel, channel) in (0..self.width).step_by(kernels.panel).enumerate() {
                // SAFETY: the window holds `kernel` rows from `a` on, and the output a row.
                unsafe {
                    let Some(line) = self.line else {
                        (kernels.stem.multiply)(&Tile {
                            pixels: n,
                            a: a.add(first * tile.a_stride),
                            b: self.weights.at(panel * length),
                            c: output.add(first * self.width + channel),
                            c_stride: self.width,
                            bias: self.bias.at(channel),
                            relu: true,
                            ..tile
                        });
                        continue;
                    };
                    for point in 0..line::REACH {
                        (kernels.stem.multiply)(&Tile {
                            pixels: n,
                            a: a.add(point * line.point_stride + first * line.group),
                            b: self.weights.at(point * self.depth * self.width + panel * length),
                            c: products.add(point * n * kernels.panel),
                            c_stride: kernels.panel,
                            ..tile
                        });
                    }
                    (kernels.line.output)(&line::Output {
                        from: products,
                        point_stride: n * kernels.panel,
                        tiles: n,
                        width: kernels.panel,
                        bias: self.bias.at(channel),
                        to: output.add(first * line::TILE * self.width + channel),
                        pixel_stride: self.width,
                    });
                }
            }
        }
    }
}

/// A thread's window on the preprocessed image; positions count padded rows, the first at 0.
struct Rows<'a, 'b> {
    stem: &'a Stem,
    kernels: &'a Kernels,
    image: Pixels<'b>,
    window: *mut f32,
    /// Room for a row before it is transformed.
    raw: *mut f32,
    /// The padded row at the window's top, and the one after its last.
    first: usize,
    end: usize,
}

impl Rows<'_, '_> {
    /// Makes the window hold the `kernel` padded rows from `from` on; rows are asked for in ascending order. Returns the first.
    ///
    /// # Safety
    ///
    /// The window holds [`WINDOW`] rows that no other thread uses.
    unsafe fn hold(&mut self, from: usize) -> *const f32 {
        let (stride, needed) = (self.stem.window_stride(), from + self.stem.kernel);
        if self.end <= from {
            (self.first, self.end) = (from, from);
        } else if needed - self.first > WINDOW {
            let (start, kept) = (from - self.first, self.end - from);
            // SAFETY: both ranges lie in the window; `copy` allows them to overlap.
            unsafe { std::ptr::copy(self.window.add(start * stride), self.window, kept * stride) };
            self.first = from;
        }
        while self.end < needed {
            // SAFETY: `end - first < WINDOW`, so the row lies in the window, which is plain `f32` that this thread alone uses, as what
            // is raw is.
            unsafe {
                let row = self.window.add((self.end - self.first) * stride);
                let slice = |from: *mut f32, length: usize| std::slice::from_raw_parts_mut(from, length);
                if let Some(line) = self.stem.line {
                    self.stem.preprocess(self.image, self.end, slice(self.raw, line.raw_length()));
                    (self.kernels.line.input)(&line::Input {
                        from: self.raw,
                        group: line.group,
                        tiles: line.tiles,
                        to: row,
                        point_stride: line.point_stride,
                    });
                } else {
                    self.stem.preprocess(self.image, self.end, slice(row, stride));
                }
            }
            self.end += 1;
        }
        // SAFETY: `from` lies between `first` and `end`.
        unsafe { self.window.add((from - self.first) * stride) }
    }
}

impl Stem {
    /// Writes padded row `row` of the preprocessed image, zeros beyond.
    fn preprocess(&self, image: Pixels<'_>, row: usize, into: &mut [f32]) {
        let (pad, n) = (self.kernel / 2, self.channels.len());
        let Some(row) = row.checked_sub(pad).filter(|&row| row < self.image.rows) else {
            into.fill(0.0);
            return;
        };
        let (left, rest) = into.split_at_mut(pad * n);
        let (pixels, right) = rest.split_at_mut(self.image.columns * n);
        left.fill(0.0);
        right.fill(0.0);
        if let &[a, b, c] = self.channels.as_slice() {
            // Almost every network's, and several times as fast as the general way.
            let (channels, pixels) = ([a, b, c], pixels.as_chunks_mut::<3>().0);
            match image {
                Pixels::Planes(planes) => {
                    let rows =
                        channels.map(|channel| planes.slice_move(s![channel.source, row, ..]).to_slice());
                    if let [Some(first), Some(second), Some(third)] = rows {
                        for (((to, &a), &b), &c) in pixels.iter_mut().zip(first).zip(second).zip(third) {
                            *to = levels(&channels, [a, b, c]);
                        }
                        return;
                    }
                }
                Pixels::Levels(image) => {
                    let n = image.dim().2;
                    let from = channels.map(|channel| channel.source.min(n - 1));
                    let row = image.slice_move(s![row, .., ..]);
                    if let Some(row) = row.to_slice() {
                        for (to, pixel) in pixels.iter_mut().zip(row.chunks_exact(n)) {
                            *to = levels(&channels, from.map(|from| f32::from(pixel[from])));
                        }
                        return;
                    }
                }
            }
        }
        for (c, channel) in self.channels.iter().enumerate() {
            let pixels = pixels.iter_mut().skip(c).step_by(n);
            let level = |from: f32| channel.level(from);
            match image {
                Pixels::Planes(planes) => {
                    let row = planes.slice_move(s![channel.source, row, ..]);
                    pixels.zip(row).for_each(|(to, &from)| *to = level(from));
                }
                Pixels::Levels(levels) => {
                    let row = levels.slice_move(s![row, .., channel.source.min(levels.dim().2 - 1)]);
                    pixels.zip(row).for_each(|(to, &from)| *to = level(f32::from(from)));
                }
            }
        }
    }
}

/// A preprocessed pixel.
fn levels(channels: &[InputChannel; 3], grey: [f32; 3]) -> [f32; 3] {
    [0, 1, 2].map(|c| channels[c].level(grey[c]))
}

//! The first layers in one pass over the image: preprocessing, convolution, ReLU and max-pool.
//!
//! A task computes some pooled rows and keeps only the rows it needs of the image and of the convolution's output, so that the
//! largest map of the network never goes to memory.

use super::arena::Buffer;
use super::gemm::{Tile, Tiling};
use super::isa::Kernels;
use super::map::Map;
use super::max_pool::{Row, pooled};
use super::network::{Convolution, InputChannel, Network};
use super::team::Team;
use crate::traits::ImageShape;
use ndarray::{ArrayView3, s};

/// Image rows a thread holds; when they are full, those still needed move to the top.
const WINDOW: usize = 40;

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
    depth: usize,
    weights: Buffer,
    bias: Buffer,
    tiling: Tiling,
}

impl Stem {
    /// Rows and columns of the stem's pooled output for an image of `rows` by `columns`.
    pub(super) fn output_size(stem: &Convolution, rows: usize, columns: usize) -> (usize, usize) {
        (pooled(stem.output_length(rows)), pooled(stem.output_length(columns)))
    }

    /// Binds the stem of `network` to its output map.
    pub(super) fn new(network: &Network, kernels: &Kernels, image: ImageShape, output: Map) -> Stem {
        let (stem, n_in) = (&network.stem, network.stem.n_in());
        let kernel = stem.kernel();
        let depth = kernel * kernel * n_in;
        let element = |k: usize, j: usize| stem.weight[[j, k % n_in, k / n_in / kernel, k / n_in % kernel]];
        let mut bias = stem.bias.clone();
        let width = stem.n_out().next_multiple_of(kernels.panel);
        bias.resize(width, 0.0);
        let columns = stem.output_length(image.columns);
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
            weights: Buffer::from_slice(&(kernels.stem.pack)(depth, stem.n_out(), kernels.panel, &element)),
            bias: Buffer::from_slice(&bias),
            tiling: Tiling::new(columns, kernels.stem.tile),
        }
    }

    /// Bytes of packed weights.
    pub(super) fn bytes(&self) -> usize {
        self.weights.bytes() + self.bias.bytes()
    }

    /// Multiply-adds for one image.
    pub(super) fn products(&self) -> usize {
        self.rows * self.columns * self.width * self.depth
    }

    /// Values of scratch memory that each thread needs.
    pub(super) fn scratch(&self) -> usize {
        WINDOW * self.window_stride() + 3 * self.row_length()
    }

    /// From one row of the window to the next: a padded image row.
    fn window_stride(&self) -> usize {
        (self.image.columns + 2 * (self.kernel / 2)) * self.channels.len()
    }

    /// Values of one row of the convolution's output.
    fn row_length(&self) -> usize {
        self.columns * self.width
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
        let tasks = Tiling::new(self.output.rows, TASK_ROWS);
        team.run(tasks.count(), &|task, thread| {
            let (first, n) = tasks.tile(task);
            // Every row of the window is written before it is read but for its left and right padding, which is zeroed here.
            // SAFETY: tasks write different rows; a thread has its own scratch; the rest is the caller's promise.
            unsafe {
                let window = scratch.at(thread * scratch_stride);
                let mut rows = Rows { stem: self, image, window, first: 0, end: 0 };
                let ring = window.add(WINDOW * self.window_stride());
                let mut done = (2 * first).saturating_sub(1);
                for pooled_row in first..first + n {
                    let needed = (2 * pooled_row + 2).min(self.rows);
                    for row in done..needed {
                        self.convolve(kernels, &mut rows, row, ring.add(row % 3 * self.row_length()));
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
    /// `rows` has a thread's window; `output` holds [`row_length`](Self::row_length) values.
    unsafe fn convolve(&self, kernels: &Kernels, rows: &mut Rows<'_, '_>, row: usize, output: *mut f32) {
        // SAFETY: the window is this thread's, by the caller's promise.
        let a = unsafe { rows.hold(row * self.stride) };
        let channels = self.width;
        for tile in 0..self.tiling.count() {
            let (column, pixels) = self.tiling.tile(tile);
            for channel in (0..channels).step_by(kernels.panel) {
                // SAFETY: the window holds `kernel` padded rows from `a` on, and the output a row.
                unsafe {
                    (kernels.stem.multiply)(&Tile {
                        pixels,
                        a: a.add(column * self.stride * self.channels.len()),
                        a_stride: self.stride * self.channels.len(),
                        segment_stride: self.window_stride(),
                        segments: self.kernel,
                        depth: self.kernel * self.channels.len(),
                        b: self.weights.at(channel * self.depth),
                        ahead: self.bias.at(0),
                        ahead_stride: 0,
                        fetch: std::ptr::null(),
                        fetch_stride: 0,
                        c: output.add(column * channels + channel),
                        c_stride: channels,
                        accumulate: false,
                        bias: self.bias.at(channel),
                        residual: std::ptr::null(),
                        relu: true,
                    });
                }
            }
        }
    }
}

/// A thread's window on the preprocessed image; positions count padded rows, the first at 0.
struct Rows<'a, 'b> {
    stem: &'a Stem,
    image: Pixels<'b>,
    window: *mut f32,
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
            // SAFETY: `end - first < WINDOW`, so the row lies in the window, which is plain `f32` that this thread alone uses.
            let row = unsafe {
                std::slice::from_raw_parts_mut(self.window.add((self.end - self.first) * stride), stride)
            };
            self.stem.preprocess(self.image, self.end, row);
            self.end += 1;
        }
        // SAFETY: `from` lies between `first` and `end`.
        unsafe { self.window.add((from - self.first) * stride) }
    }
}

impl Stem {
    /// Writes padded row `row` of the preprocessed image.
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

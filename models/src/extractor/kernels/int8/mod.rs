//! Convolutions in int8: products of unsigned activations and signed weights of 8 bits, added exactly in 32.
//!
//! Maps are of bf16 (one part of `split.rs`), so that what the blocks add up keeps the bits it has. A convolution rounds what it reads, in the
//! thread's own memory, to 0..=255 steps; no map is rounded by what lies far away: a step of a 1 x 1 convolution is 1/255 of the
//! greatest value of the *pixel* (`chain.rs`), of a 3 x 3 one of the greatest of some rows and columns (`window.rs`). Weights are rounded to
//! -127..=127 steps, a step for each output channel. Activations are not negative after a ReLU, which is what every convolution here
//! reads.
//!
//! Sums being exact, the two instruction sets give the same bits, and how the work is cut changes nothing. A step made of NaN or infinity makes NaN of
//! all that is read with it.

#[cfg(target_arch = "x86_64")]
pub(super) mod amx;
mod chain;
#[cfg(target_arch = "x86_64")]
pub(super) mod registers;
mod window;

#[cfg(test)]
#[cfg(target_arch = "x86_64")]
mod tests;

pub(super) use chain::Int8Chain;
pub(super) use window::Int8Window;

use super::arena::Buffer;
use super::convolution::Ahead;
use super::gemm::Tile;
use super::isa::Kernels;
use super::map::Map;
use super::network::Convolution;
use std::mem::MaybeUninit;

/// Channels quantised together: what one row of the matrix unit's registers holds.
pub(super) const GROUP: usize = 64;
/// Words of four steps that these take.
const GROUP_WORDS: usize = GROUP / 4;
/// Output channels of a panel.
const PANEL: usize = super::split::GROUP;
/// The most pixels any kernel takes at once.
const MAX_PIXELS: usize = 32;
/// Values of a map that a kernel may take and forget: pixels by sixteens, at a stride of two.
const BEYOND: usize = 2 * 16;

/// The longest sum: 255 x 127 for each product stay below 2^31.
pub(super) const MAX_DEPTH: usize = (i32::MAX / (255 * 127)) as usize;

/// What is done between the maps and the products.
#[derive(Debug, Clone, Copy)]
pub(super) struct Int8 {
    /// The greatest of so many panels of a map; NaN where one is. Signs are ignored: there are none.
    pub(super) greatest: unsafe fn(*const f32, usize) -> f32,
    /// Quantises so many panels of a pixel, or of several that lie side by side: from the map, times a factor, to [`GROUP_WORDS`] for every two panels.
    /// Word `w` of a group holds channels `w`, `16 + w`, `32 + w` and `48 + w`.
    pub(super) quantise: unsafe fn(*const f32, usize, f32, *mut f32),
    /// Makes values of sums.
    pub(super) finish: unsafe fn(&Sums<'_>),
}

/// The sums of some pixels and one panel, and what becomes of them.
pub(super) struct Sums<'a> {
    /// `[pixels, PANEL]` of i32.
    sums: *const f32,
    /// What one step of each pixel is worth.
    steps: &'a [f32],
    /// What one step of each output channel's weights is worth, and its bias.
    scales: *const f32,
    bias: *const f32,
    /// Added before the ReLU; laid out as the output, which it may be, or null.
    residual: *const f32,
    relu: bool,
    /// The panel of the output's first pixel.
    output: *mut f32,
    /// From one pixel to the next.
    stride: usize,
}

/// What values up to `greatest` are multiplied by, and what one of the 255 steps is worth. Next to nothing is nothing: its inverse would be infinite.
fn steps(greatest: f32) -> [f32; 2] {
    const NOTHING: f32 = 1e-30;
    if greatest < NOTHING { [0.0, 0.0] } else { [255.0 / greatest, greatest / 255.0] }
}

/// Words that `panels` panels of activations take once they are quantised.
fn quantised_words(panels: usize) -> usize {
    panels.div_ceil(GROUP / PANEL) * GROUP_WORDS
}

/// A convolution bound to its maps, with its weights packed.
#[derive(Debug)]
pub(super) struct Int8Convolution {
    input: Map,
    output: Map,
    residual: Option<Map>,
    relu: bool,
    stride: usize,
    kernel: usize,
    /// Panels of an input pixel, and the words they take once they are quantised.
    panels_in: usize,
    words_in: usize,
    /// Panels of an output pixel.
    panels_out: usize,
    products: usize,
    weights: Buffer,
    scales: Buffer,
    bias: Buffer,
}

impl Int8Convolution {
    /// Binds `convolution` to its maps, which have no border and hold no negative values but the residual's; that may be the output itself.
    pub(super) fn new(
        convolution: &Convolution,
        kernels: &Kernels,
        input: Map,
        output: Map,
        residual: Option<Map>,
        relu: bool,
    ) -> Int8Convolution {
        let (kernel, n_in, n_out) = (convolution.kernel(), convolution.n_in(), convolution.n_out());
        let (channels, panels_out) = (n_in.next_multiple_of(GROUP), n_out.div_ceil(PANEL));
        let filters = convolution.weight.outer_iter();
        // In this order a NaN stays one.
        let greatest = filters.map(|filter| {
            filter.fold(0f32, |max, w| if max >= w.abs() || max.is_nan() { max } else { w.abs() })
        });
        let mut scales: Vec<f32> = greatest.map(|greatest| greatest / 127.0).collect();
        let element = |k: usize, j: usize| {
            let (position, channel) = (k / channels, k % channels);
            if channel >= n_in || scales[j] == 0.0 {
                return 0.0;
            }
            (convolution.weight[[j, channel, position / kernel, position % kernel]] / scales[j]).round()
        };
        let weights = (kernels.product.pack)(kernel * kernel * channels, n_out, PANEL, &element);
        scales.resize(panels_out * PANEL, 0.0);
        let mut bias = convolution.bias.clone();
        bias.resize(panels_out * PANEL, 0.0);
        let panels_in = input.channels / kernels.held;
        Int8Convolution {
            input,
            output,
            residual,
            relu,
            stride: convolution.stride,
            kernel,
            panels_in,
            words_in: quantised_words(panels_in),
            panels_out,
            products: output.rows * output.columns * panels_out * PANEL * kernel * kernel * channels,
            weights: Buffer::from_slice(&weights),
            scales: Buffer::from_slice(&scales),
            bias: Buffer::from_slice(&bias),
        }
    }

    /// Bytes of packed weights.
    pub(super) fn bytes(&self) -> usize {
        self.weights.bytes() + self.scales.bytes() + self.bias.bytes()
    }

    /// Multiply-adds for one image.
    pub(super) fn products(&self) -> usize {
        self.products
    }

    /// Words of a sum.
    fn depth(&self) -> usize {
        self.kernel * self.kernel * self.words_in
    }

    /// The weights of a panel.
    fn panel(&self, panel: usize) -> *const f32 {
        self.weights.at(panel * self.depth() * PANEL).cast_const()
    }

    /// What tile `turn` of so many fetches of the weights that come after panel `panel`.
    fn next_panel(&self, kernels: &Kernels, panel: usize, turn: (usize, usize)) -> Ahead {
        let (product, depth) = (&kernels.product, self.depth());
        let next = self.panel(panel).wrapping_add(depth * PANEL);
        super::convolution::ahead(product, next, depth * PANEL * size_of::<f32>(), depth / product.step, turn)
    }

    /// Computes panel `panel` of `quantised.steps.len()` pixels from pixel `place` of the output on.
    ///
    /// # Safety
    ///
    /// The maps lie in `arena`, no other thread computes the same, and what is quantised can be read for [`BEYOND`] pixels more.
    unsafe fn compute(
        &self,
        kernels: &Kernels,
        int8: &Int8,
        arena: &Buffer,
        (panel, place): (usize, usize),
        quantised: &Quantised<'_>,
        (ahead, ahead_stride): Ahead,
    ) {
        /// `[pixel][channel]`.
        #[repr(C, align(64))]
        struct Scratch(MaybeUninit<[f32; MAX_PIXELS * PANEL]>);
        let at = |map: &Map| arena.at(map.offset + place * map.pixel_stride() + panel * kernels.held);
        let (b, output) = (self.panel(panel), at(&self.output));
        let mut scratch = Scratch(MaybeUninit::uninit());
        let sums: *mut f32 = scratch.0.as_mut_ptr().cast();
        let tile = Tile {
            pixels: quantised.steps.len(),
            a: quantised.from,
            a_stride: quantised.stride,
            segment_stride: quantised.row_stride,
            segments: self.kernel,
            depth: self.kernel * self.words_in,
            b,
            // The processor takes the trouble to look for a page that is not there.
            ahead: if ahead.is_null() { b } else { ahead },
            ahead_stride,
            fetch: output,
            fetch_stride: self.output.pixel_stride(),
            c: sums,
            c_stride: PANEL,
            accumulate: false,
            bias: std::ptr::null(),
            residual: std::ptr::null(),
            relu: false,
        };
        // SAFETY: the panel holds `segments * depth` words for each of its channels, the rest is the caller's promise; the product writes
        // the sums of all pixels, which `finish` reads.
        unsafe {
            (kernels.product.multiply)(&tile);
            (int8.finish)(&Sums {
                sums,
                steps: quantised.steps,
                scales: self.scales.at(panel * PANEL),
                bias: self.bias.at(panel * PANEL),
                residual: self.residual.as_ref().map_or(std::ptr::null(), |map| at(map).cast_const()),
                relu: self.relu,
                output,
                stride: self.output.pixel_stride(),
            });
        }
    }
}

/// The inputs of a tile, quantised. Strides are in words.
struct Quantised<'a> {
    from: *const f32,
    /// From one output pixel's to the next's.
    stride: usize,
    /// From one filter row's to the next's.
    row_stride: usize,
    /// What one step is worth, for each output pixel of the tile.
    steps: &'a [f32],
}

/// Packs whole numbers within -128..=127 as [`Int8::quantise`] orders channels: for each word of a sum, one word of four weights for each column
/// of a panel.
pub(super) fn pack(
    depth: usize,
    width: usize,
    panel: usize,
    element: &dyn Fn(usize, usize) -> f32,
) -> Vec<f32> {
    assert!(depth.is_multiple_of(GROUP), "activations are quantised in whole groups; this is a bug");
    let mut packed = Vec::with_capacity(depth / 4 * width.next_multiple_of(panel));
    for first in (0..width).step_by(panel) {
        for group in (0..depth).step_by(GROUP) {
            for word in 0..GROUP_WORDS {
                packed.extend((first..first + panel).map(|j| {
                    let weight = |part: usize| {
                        let k = group + part * GROUP_WORDS + word;
                        (if j < width { element(k, j) } else { 0.0 }) as i8 as u8
                    };
                    f32::from_bits(u32::from_le_bytes([weight(0), weight(1), weight(2), weight(3)]))
                }));
            }
        }
    }
    packed
}

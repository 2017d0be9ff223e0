//! Hands a feature map out, from `[row, column, channel]` to `[channel, row, column]`.

use super::arena::Buffer;
use super::gemm::Tiling;
use super::isa::Kernels;
use super::map::Map;
use super::team::Team;

/// Pixels done together: what is written of a channel at once is a cache line.
const PIXELS: usize = 16;
/// Pixels of a task, which hands out one panel's channels of them.
const TASK_PIXELS: usize = 32 * PIXELS;
/// The widest panel of any instruction set.
const MAX_PANEL: usize = 32;

/// A map to hand out.
#[derive(Debug)]
pub(super) struct Tap {
    map: Map,
    n_channels: usize,
}

/// The output's address.
struct Address(*mut f32);

// SAFETY: an address alone; the tasks write different pixels.
unsafe impl Sync for Address {}

impl Tap {
    /// A tap of the first `n_channels` channels of `map`, which has no border.
    pub(super) fn new(map: Map, n_channels: usize) -> Tap {
        assert!(map.border == 0, "a tapped map has no border");
        Tap { map, n_channels }
    }

    /// Copies the map to `output`.
    ///
    /// # Safety
    ///
    /// The map lies in `arena`, no one writes it meanwhile, and `output` holds `n_channels` times its pixels.
    pub(super) unsafe fn run(&self, kernels: &Kernels, team: &mut Team, arena: &Buffer, output: &mut [f32]) {
        let pixels = self.map.rows * self.map.columns;
        let output = Address(output.as_mut_ptr());
        let output = &output;
        let parts = Tiling::new(pixels, TASK_PIXELS);
        let panels = self.n_channels.div_ceil(kernels.panel);
        // Few channels at a time: each is a stream of its own to memory.
        team.run(panels * parts.count(), &|task, _| {
            let (first, held) = (task / parts.count() * kernels.panel, task / parts.count() * kernels.held);
            let channels = kernels.panel.min(self.n_channels - first);
            let (start, n) = parts.tile(task % parts.count());
            for pixel in (start..start + n).step_by(PIXELS) {
                let n = PIXELS.min(start + n - pixel);
                let at =
                    |at: usize| arena.at(self.map.offset + (pixel + at) * self.map.pixel_stride() + held);
                let mut values = [[0f32; MAX_PANEL]; PIXELS];
                let turn = kernels.turn.filter(|_| n == PIXELS && channels.is_multiple_of(PIXELS));
                let (mut from, mut from_stride) = (at(0).cast_const(), self.map.pixel_stride());
                if turn.is_none() || kernels.decode.is_some() {
                    (from, from_stride) = (values.as_ptr().cast(), MAX_PANEL);
                    for (i, values) in values.iter_mut().enumerate().take(n) {
                        // SAFETY: the map holds a multiple of the panel, and `values` at least a panel.
                        unsafe {
                            match kernels.decode {
                                Some(decode) => decode(at(i), values.as_mut_ptr()),
                                None => values.as_mut_ptr().copy_from_nonoverlapping(at(i), kernels.panel),
                            }
                        }
                    }
                }
                if let Some(turn) = turn {
                    for channel in (0..channels).step_by(PIXELS) {
                        // SAFETY: sixteen pixels with a panel each lie at `from`; each task has its own channels and pixels of the output.
                        unsafe {
                            let to = output.0.add((first + channel) * pixels + pixel);
                            turn(from.add(channel), from_stride, to, pixels);
                        }
                    }
                    continue;
                }
                for channel in 0..channels {
                    let mut line = [0f32; PIXELS];
                    for (to, pixel) in line.iter_mut().zip(&values) {
                        *to = pixel[channel];
                    }
                    // SAFETY: `first + channel < n_channels`, and each task has its own channels and pixels of the output.
                    unsafe {
                        let to = output.0.add((first + channel) * pixels + pixel);
                        if n == PIXELS {
                            to.cast::<[f32; PIXELS]>().write_unaligned(line);
                        } else {
                            to.copy_from_nonoverlapping(line.as_ptr(), n);
                        }
                    }
                }
            }
        });
    }
}

//! Hands a feature map out, from `[row, column, channel]` to `[channel, row, column]`.

use super::arena::Buffer;
use super::gemm::Tiling;
use super::isa::Kernels;
use super::map::Map;
use super::team::Team;

/// Pixels done together: what is written of a channel at once is a cache line.
const PIXELS: usize = 16;
/// Pixels of a task: few enough for all their channels to stay in the cache.
const TASK_PIXELS: usize = 8 * PIXELS;
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
        let tasks = Tiling::new(pixels, TASK_PIXELS);
        team.run(tasks.count(), &|task, _| {
            let (start, n) = tasks.tile(task);
            for first in (0..self.n_channels).step_by(kernels.panel) {
                let channels = kernels.panel.min(self.n_channels - first);
                for pixel in (start..start + n).step_by(PIXELS) {
                    let n = PIXELS.min(start + n - pixel);
                    let mut block = [[0f32; PIXELS]; MAX_PANEL];
                    for at in 0..n {
                        let held = first / kernels.panel * kernels.held;
                        let from = arena.at(self.map.offset + (pixel + at) * self.map.channels + held);
                        let mut values = [0f32; MAX_PANEL];
                        // SAFETY: the map holds a multiple of the panel, and `values` at least a panel.
                        unsafe {
                            match kernels.decode {
                                Some(decode) => decode(from, values.as_mut_ptr()),
                                None => values.as_mut_ptr().copy_from_nonoverlapping(from, kernels.panel),
                            }
                        }
                        for (line, value) in block.iter_mut().zip(values) {
                            line[at] = value;
                        }
                    }
                    for (channel, line) in block.iter().enumerate().take(channels) {
                        // SAFETY: `first + channel < n_channels`, and each task has its own pixels of the output.
                        unsafe {
                            let to = output.0.add((first + channel) * pixels + pixel);
                            to.copy_from_nonoverlapping(line.as_ptr(), n);
                        }
                    }
                }
            }
        });
    }
}

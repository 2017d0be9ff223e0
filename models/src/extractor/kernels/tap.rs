//! Hands a feature map out, from `[row, column, channel]` to `[channel, row, column]`.

use super::arena::Buffer;
use super::map::Map;
use super::team::Team;

/// Channels done together: a cache line of the map is read once.
const CHANNELS: usize = 16;

/// A map to hand out.
#[derive(Debug)]
pub(super) struct Tap {
    map: Map,
    n_channels: usize,
}

/// The output's address.
struct Address(*mut f32);

// SAFETY: an address alone; the tasks write different channels.
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
    pub(super) unsafe fn run(&self, team: &mut Team, arena: &Buffer, output: &mut [f32]) {
        let pixels = self.map.rows * self.map.columns;
        let output = Address(output.as_mut_ptr());
        let output = &output;
        team.run(self.n_channels.div_ceil(CHANNELS), &|task, _| {
            let first = task * CHANNELS;
            let n = CHANNELS.min(self.n_channels - first);
            for pixel in 0..pixels {
                let from = arena.at(self.map.offset + pixel * self.map.channels + first);
                for channel in 0..n {
                    // SAFETY: `first + channel < n_channels <= map.channels`, and each task has its own channels of the output.
                    unsafe { *output.0.add((first + channel) * pixels + pixel) = *from.add(channel) };
                }
            }
        });
    }
}

//! What differs between Winograd's methods at stride 1 and at stride 2.

use super::{strided, transform};
use crate::extractor::kernels::network::Convolution;

/// The most points that a method has in each direction.
const MAX_REACH: usize = strided::REACH;

/// The sizes of one method, in each direction.
#[derive(Debug, Clone, Copy)]
pub(super) struct Method {
    pub(super) stride: usize,
    /// Outputs of a tile.
    pub(super) tile: usize,
    /// Inputs of a tile, and points.
    pub(super) reach: usize,
    /// Different weights: those of the points, fewer where some share theirs.
    pub(super) planes: usize,
}

const PLAIN: Method =
    Method { stride: 1, tile: transform::TILE, reach: transform::REACH, planes: transform::REACH };
const STRIDED: Method =
    Method { stride: 2, tile: strided::TILE, reach: strided::REACH, planes: strided::PLANES };

impl Method {
    pub(super) fn of(convolution: &Convolution) -> Method {
        if convolution.stride == 1 { PLAIN } else { STRIDED }
    }

    /// Products a tile needs for each pair of channels.
    pub(super) fn points(self) -> usize {
        self.reach * self.reach
    }

    /// The plane of weights that a point's products take.
    pub(super) fn plane(self, point: usize) -> usize {
        if self.stride == 1 { point } else { strided::plane(point) }
    }

    /// `G g` of one filter row or column: the first `planes` values.
    pub(super) fn filter(self, g: [f64; 3]) -> [f64; MAX_REACH] {
        let mut values = [0.0; MAX_REACH];
        if self.stride == 1 {
            values[..transform::REACH].copy_from_slice(&transform::filter_1d(g));
        } else {
            values[..strided::PLANES].copy_from_slice(&strided::filter_1d(g));
        }
        values
    }

    /// Tiles down and across a convolution's output.
    pub(super) fn tiles(self, output: [usize; 2]) -> usize {
        output.map(|length| length.div_ceil(self.tile)).iter().product()
    }
}

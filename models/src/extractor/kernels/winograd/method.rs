//! What differs between Winograd's methods.

use super::{large, medium, small, strided};
use crate::extractor::kernels::network::Convolution;

/// The most points that a method has in each direction.
const MAX_REACH: usize = strided::REACH;

/// The sizes of one method, in each direction.
#[derive(Debug, Clone, Copy)]
pub(in crate::extractor::kernels) struct Method {
    kind: Kind,
    pub(super) stride: usize,
    /// Outputs of a tile.
    pub(super) tile: usize,
    /// Inputs of a tile, and points.
    pub(super) reach: usize,
    /// Different weights: those of the points, fewer where some share theirs.
    pub(super) planes: usize,
}

/// Whose transforms, by their number among those of an instruction set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Large = 0,
    Strided = 1,
    Small = 2,
    Medium = 3,
}

const LARGE: Method =
    Method { kind: Kind::Large, stride: 1, tile: large::TILE, reach: large::REACH, planes: large::REACH };
const SMALL: Method =
    Method { kind: Kind::Small, stride: 1, tile: small::TILE, reach: small::REACH, planes: small::REACH };
const MEDIUM: Method =
    Method { kind: Kind::Medium, stride: 1, tile: medium::TILE, reach: medium::REACH, planes: medium::REACH };
const STRIDED: Method = Method {
    kind: Kind::Strided,
    stride: 2,
    tile: strided::TILE,
    reach: strided::REACH,
    planes: strided::PLANES,
};

impl Method {
    /// Those that give a convolution of this stride.
    pub(in crate::extractor::kernels) fn all(stride: usize) -> &'static [Method] {
        if stride == 1 { &[LARGE, MEDIUM, SMALL] } else { &[STRIDED] }
    }

    /// The one that takes the least time for an output of so many rows and columns, with that time (see [`cost`](Self::cost)).
    pub(super) fn best(convolution: &Convolution, output: [usize; 2]) -> (Method, usize) {
        let costs = Method::all(convolution.stride).iter().map(|method| (*method, method.cost(output)));
        costs.min_by_key(|&(_, cost)| cost).expect("each stride has a method")
    }

    /// The time it takes for each pair of an input and an output channel, in multiply-adds: it saves them, but its weights are more and must
    /// come from memory for every image.
    fn cost(&self, output: [usize; 2]) -> usize {
        cost(self.tiles(output) * self.points(), self.planes * self.planes)
    }

    /// The number of its transforms.
    pub(super) fn transforms(self) -> usize {
        self.kind as usize
    }

    /// Products a tile needs for each pair of channels.
    pub(super) fn points(self) -> usize {
        self.reach * self.reach
    }

    /// The plane of weights that a point's products take.
    pub(super) fn plane(self, point: usize) -> usize {
        if self.kind == Kind::Strided { strided::plane(point) } else { point }
    }

    /// `G g` of one filter row or column: the first `planes` values.
    pub(super) fn filter(self, g: [f64; 3]) -> [f64; MAX_REACH] {
        let mut values = [0.0; MAX_REACH];
        match self.kind {
            Kind::Large => values[..large::REACH].copy_from_slice(&large::filter_1d(g)),
            Kind::Medium => values[..medium::REACH].copy_from_slice(&medium::filter_1d(g)),
            Kind::Small => values[..small::REACH].copy_from_slice(&small::filter_1d(g)),
            Kind::Strided => values[..strided::PLANES].copy_from_slice(&strided::filter_1d(g)),
        }
        values
    }

    /// Tiles down and across a convolution's output.
    pub(super) fn tiles(self, output: [usize; 2]) -> usize {
        output.map(|length| length.div_ceil(self.tile)).iter().product()
    }
}

/// The time of some products on some weights, in multiply-adds.
pub(super) fn cost(products: usize, weights: usize) -> usize {
    // A weight read from memory costs about as much as this many.
    const WEIGHT: usize = 28;
    products + WEIGHT * weights
}

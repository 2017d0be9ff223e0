//! The two things needed of a linear algebra library: `A A^T`, and the eigenvectors of a symmetric matrix.
//!
//! The library's own threads stay unused: how it divides a product among them could change the last bits. Here the work
//! is divided by the size of the problem alone.

use crate::{Error, Result};
use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::evd::{ComputeEigenvectors, self_adjoint_evd, self_adjoint_evd_scratch};
use faer::linalg::matmul::triangular::{self, BlockStructure};
use faer::linalg::matmul::{self};
use faer::{Accum, Mat, MatMut, MatRef, Par};
use rayon::prelude::*;

const MAX_LANES: usize = 16;

/// A symmetric matrix of which only the lower triangle is meant.
pub(super) struct Symmetric(Mat<f64>);

/// Eigenvalues, descending, and the eigenvectors in the same order.
pub(super) struct Eigen {
    pub(super) values: Vec<f64>,
    vectors: Mat<f64>,
}

/// The sum over all pieces `0..n_pieces` of `P P^T`, where `fill` writes piece `P`, row-major `[order, width]`, and
/// returns its width, at most `max_width`. Partial sums computed at the same time take at most `max_bytes`, or what one takes.
pub(super) fn sum_of_products<F>(
    order: usize,
    n_pieces: usize,
    max_width: usize,
    max_bytes: usize,
    fill: F,
) -> Symmetric
where
    F: Fn(usize, &mut [f64]) -> usize + Sync,
{
    let n_lanes = (max_bytes / (8 * order * order).max(1)).clamp(1, MAX_LANES).min(n_pieces.max(1));
    let lanes: Vec<Mat<f64>> = (0..n_lanes)
        .into_par_iter()
        .map(|lane| {
            let mut sum = Mat::zeros(order, order);
            let mut piece = vec![0.0; order * max_width];
            for piece_idx in (lane..n_pieces).step_by(n_lanes) {
                let width = fill(piece_idx, &mut piece);
                let piece = MatRef::from_row_major_slice(&piece[..order * width], order, width);
                triangular::matmul(
                    sum.as_mut(),
                    BlockStructure::TriangularLower,
                    Accum::Add,
                    piece,
                    BlockStructure::Rectangular,
                    piece.transpose(),
                    BlockStructure::Rectangular,
                    1.0,
                    Par::Seq,
                );
            }
            sum
        })
        .collect();
    let mut lanes = lanes.into_iter();
    let first = lanes.next().unwrap_or_else(|| Mat::zeros(order, order));
    Symmetric(lanes.fold(first, |mut sum, lane| {
        sum += lane;
        sum
    }))
}

impl Symmetric {
    pub(super) fn add(&mut self, other: Self) {
        self.0 += other.0;
    }

    pub(super) fn trace(&self) -> f64 {
        (0..self.0.nrows()).map(|i| self.0[(i, i)]).sum()
    }

    pub(super) fn eigen(&self) -> Result<Eigen> {
        let order = self.0.nrows();
        let mut ascending = vec![0.0; order];
        let mut vectors = Mat::zeros(order, order);
        let params = Default::default();
        let scratch = self_adjoint_evd_scratch::<f64>(order, ComputeEigenvectors::Yes, Par::Seq, params);
        self_adjoint_evd(
            self.0.as_ref(),
            faer::diag::DiagMut::from_slice_mut(&mut ascending),
            Some(vectors.as_mut()),
            Par::Seq,
            MemStack::new(&mut MemBuffer::new(scratch)),
            params,
        )
        .map_err(|error| Error::Backend {
            what: "eigenvalues of a covariance matrix",
            source: format!("{error:?}").into(),
        })?;
        ascending.reverse();
        Ok(Eigen { values: ascending, vectors })
    }
}

impl Eigen {
    /// Element `position` of eigenvector `vector_idx`.
    pub(super) fn element(&self, vector_idx: usize, position: usize) -> f64 {
        self.vectors[(position, self.values.len() - 1 - vector_idx)]
    }
}

/// `out = left right`, all row-major: `[m, n] = [m, k] [k, n]`.
pub(super) fn multiply(out: &mut [f64], left: &[f64], right: &[f64], [m, k, n]: [usize; 3]) {
    matmul::matmul(
        MatMut::from_row_major_slice_mut(out, m, n),
        Accum::Replace,
        MatRef::from_row_major_slice(left, m, k),
        MatRef::from_row_major_slice(right, k, n),
        1.0,
        Par::Seq,
    );
}

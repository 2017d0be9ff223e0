//! Principal component analysis, exact, for few samples of very many features or the other way round.

use super::symmetric::{self, sum_of_products};
use super::{BLOCK, PIECE, check_rows, wrong_width};
use crate::finite::first_not_finite;
use crate::traits::{Fit, Transform};
use crate::{Error, Result};
use ndarray::{Array2, ArrayView2, ArrayViewMut2, Axis};
use rayon::prelude::*;

/// How a [`Pca`] is fitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PcaParams {
    /// Number of components wanted, 1 to the lesser of n - 1 and `n_features`.
    ///
    /// Fewer are given if the samples span fewer dimensions: a component of no variance has no direction.
    pub n_components: usize,
}

/// The directions in which the samples vary most, and the projection onto them.
///
/// The largest loading of each component, by absolute value, is positive, so that equal samples give equal signs on every
/// machine. Features are centred, not scaled; a [`Scaler`](super::Scaler) before it does that.
#[derive(Debug, Clone, PartialEq)]
pub struct Pca {
    mean: Vec<f32>,
    components: Array2<f32>,
    explained_variance: Vec<f64>,
    total_variance: f64,
}

/// Memory for products that are formed at the same time.
const MAX_PRODUCT_BYTES: usize = 512 << 20;
/// Components with less than this share of the first one's variance are rounding, and are left out.
const RANK_TOLERANCE: f64 = 1e-12;
/// Rows projected at once: their pieces and that of a component stay in the first-level cache.
const N_TOGETHER: usize = 8;

impl PcaParams {
    /// Fits on rows that lie apart in memory, which are read and never copied whole.
    ///
    /// Of `[n, d]` samples the smaller of `X X^T` (`[n, n]`) and `X^T X` (`[d, d]`) is formed and decomposed, all in f64.
    /// Squaring costs half the digits: a component is accurate to about 1e-16 times the ratio of the first variance to its
    /// own, which is below f32 rounding down to a ratio of 1e9.
    ///
    /// Time: about `n d (min(n, d) + 2 n_components)` multiplications in f64. Memory: the components,
    /// `4 n_components d` bytes, and up to about 0.6 GB.
    ///
    /// # Errors
    ///
    /// - [`Error::TooFewSamples`] for fewer than 2 rows.
    /// - [`Error::Parameter`] if `n_components` is out of its range, or if all rows are equal.
    /// - [`Error::Shape`] for rows of different length; [`Error::NotFinite`] for NaN or infinity.
    pub fn fit_rows(&self, rows: &[&[f32]]) -> Result<Pca> {
        Ok(self.fit_with_scores(rows)?.0)
    }

    /// Fits, and returns the projections of the rows of the fit beside it, `[n, n_components]`, which then need no pass
    /// over the data: they equal those of [`Transform::transform`] to f32 rounding.
    ///
    /// # Errors
    ///
    /// As in [`fit_rows`](Self::fit_rows).
    pub fn fit_with_scores(&self, rows: &[&[f32]]) -> Result<(Pca, Array2<f32>)> {
        let n_features = check_rows(rows)?;
        self.check(rows.len(), n_features)?;
        let mean = column_means(rows, n_features);
        let centred = Centred { rows, mean: &mean };
        let by_rows = n_features > rows.len();
        let products =
            if by_rows { centred.row_products(MAX_PRODUCT_BYTES) } else { centred.column_products() };
        let divisor = (rows.len() - 1) as f64;
        let total_variance = products.trace() / divisor;
        let eigen = products.eigen()?;
        drop(products);
        let n_components = self.n_found(&eigen)?;
        let mut components = Array2::zeros((n_components, n_features));
        if by_rows {
            centred.combine_rows(&eigen, components.view_mut());
            return Ok(Pca::from_row_products(&mean, components, &eigen, total_variance, rows.len()));
        }
        for ((component_idx, column), loading) in components.indexed_iter_mut() {
            *loading = eigen.element(component_idx, column) as f32;
        }
        make_signs_definite(&mut components);
        let explained_variance = eigen.values[..n_components].iter().map(|value| value / divisor).collect();
        let mean = mean.iter().map(|&m| m as f32).collect();
        let pca = Pca { mean, components, explained_variance, total_variance };
        let scores = pca.project(rows);
        Ok((pca, scores))
    }

    /// Refuses too few rows, and components that they cannot have.
    pub(super) fn check(&self, n_rows: usize, n_features: usize) -> Result<()> {
        if n_rows < 2 {
            return Err(Error::TooFewSamples { what: "principal components", wanted: 2, found: n_rows });
        }
        let most = (n_rows - 1).min(n_features);
        if !(1..=most).contains(&self.n_components) {
            return Err(Error::Parameter {
                name: "n_components",
                found: self.n_components.to_string(),
                expected: format!("1 to {most} for {n_rows} samples of {n_features} features"),
            });
        }
        Ok(())
    }

    /// How many of the components wanted have a variance.
    pub(super) fn n_found(&self, eigen: &symmetric::Eigen) -> Result<usize> {
        let tolerance = RANK_TOLERANCE.max(eigen.values.len() as f64 * f64::EPSILON) * eigen.values[0];
        let rank = eigen.values.iter().take_while(|&&value| value > tolerance && value > 0.0).count();
        match self.n_components.min(rank) {
            0 => Err(Error::Parameter {
                name: "n_components",
                found: self.n_components.to_string(),
                expected: "samples that differ: all rows are equal".into(),
            }),
            n_components => Ok(n_components),
        }
    }
}

impl Fit for PcaParams {
    type Model = Pca;

    /// Fits on `[n, n_features]`; the seed is not used. As [`fit_rows`](PcaParams::fit_rows).
    fn fit(&self, samples: ArrayView2<'_, f32>, _seed: u64) -> Result<Pca> {
        let samples = samples.as_standard_layout();
        self.fit_rows(&samples.rows().into_iter().filter_map(|row| row.to_slice()).collect::<Vec<_>>())
    }
}

/// The mean of each column, in f64, in the order of the rows.
pub(super) fn column_means(rows: &[&[f32]], n_features: usize) -> Vec<f64> {
    let mut means = vec![0.0; n_features];
    means.par_chunks_mut(BLOCK).enumerate().for_each(|(block_idx, means)| {
        let columns = block_idx * BLOCK..block_idx * BLOCK + means.len();
        for row in rows {
            means.iter_mut().zip(&row[columns.clone()]).for_each(|(mean, &value)| *mean += f64::from(value));
        }
        means.iter_mut().for_each(|mean| *mean /= rows.len() as f64);
    });
    means
}

/// Samples less their mean, formed piece by piece.
pub(super) struct Centred<'a> {
    pub(super) rows: &'a [&'a [f32]],
    pub(super) mean: &'a [f64],
}

impl Centred<'_> {
    /// Writes some columns of all rows, row-major; returns the number of columns.
    fn fill_columns(&self, first: usize, piece: &mut [f64]) -> usize {
        let columns = first..(first + PIECE).min(self.mean.len());
        let width = columns.len();
        for (row, out) in self.rows.iter().zip(piece.chunks_exact_mut(width)) {
            for ((out, &value), mean) in
                out.iter_mut().zip(&row[columns.clone()]).zip(&self.mean[columns.clone()])
            {
                *out = f64::from(value) - mean;
            }
        }
        width
    }

    /// `X X^T`, with about `max_bytes` for partial sums.
    pub(super) fn row_products(&self, max_bytes: usize) -> symmetric::Symmetric {
        let n_pieces = self.mean.len().div_ceil(PIECE);
        sum_of_products(self.rows.len(), n_pieces, PIECE, max_bytes, |piece_idx, piece| {
            self.fill_columns(piece_idx * PIECE, piece)
        })
    }

    fn column_products(&self) -> symmetric::Symmetric {
        let n_features = self.mean.len();
        sum_of_products(
            n_features,
            self.rows.len().div_ceil(PIECE),
            PIECE,
            MAX_PRODUCT_BYTES,
            |piece_idx, piece| {
                let first = piece_idx * PIECE;
                let rows = &self.rows[first..(first + PIECE).min(self.rows.len())];
                for (i, row) in rows.iter().enumerate() {
                    for (column, (&value, mean)) in row.iter().zip(self.mean).enumerate() {
                        piece[column * rows.len() + i] = f64::from(value) - mean;
                    }
                }
                rows.len()
            },
        )
    }

    /// The components `v_k = X^T u_k / s_k` from the eigenvectors of `X X^T`.
    pub(super) fn combine_rows(&self, eigen: &symmetric::Eigen, mut components: ArrayViewMut2<'_, f32>) {
        let (n_components, n_rows) = (components.nrows(), self.rows.len());
        let weights: Vec<f64> = (0..n_components)
            .flat_map(|k| (0..n_rows).map(move |row| eigen.element(k, row) / eigen.values[k].sqrt()))
            .collect();
        let blocks: Vec<_> = components.axis_chunks_iter_mut(Axis(1), PIECE).collect();
        blocks.into_par_iter().enumerate().for_each_init(
            || (vec![0.0; n_rows * PIECE], vec![0.0; n_components * PIECE]),
            |(piece, product), (block_idx, mut block)| {
                let width = self.fill_columns(block_idx * PIECE, piece);
                let product = &mut product[..n_components * width];
                symmetric::multiply(
                    product,
                    &weights,
                    &piece[..n_rows * width],
                    [n_components, n_rows, width],
                );
                for (mut out, loadings) in block.rows_mut().into_iter().zip(product.chunks_exact(width)) {
                    out.iter_mut().zip(loadings).for_each(|(out, &loading)| *out = loading as f32);
                }
            },
        );
    }
}

/// Makes the largest loading of each component positive; returns which were negated.
fn make_signs_definite(components: &mut Array2<f32>) -> Vec<bool> {
    let rows: Vec<_> = components.rows_mut().into_iter().collect();
    rows.into_par_iter()
        .map(|mut component| {
            let largest =
                component.iter().fold(0f32, |largest, &v| if v.abs() > largest.abs() { v } else { largest });
            if largest < 0.0 {
                component.mapv_inplace(|v| -v);
            }
            largest < 0.0
        })
        .collect()
}

impl Pca {
    /// From the eigenvectors of `X X^T`, with the projections of the rows.
    pub(super) fn from_row_products(
        mean: &[f64],
        mut components: Array2<f32>,
        eigen: &symmetric::Eigen,
        total_variance: f64,
        n_rows: usize,
    ) -> (Self, Array2<f32>) {
        let negated = make_signs_definite(&mut components);
        let n_components = components.nrows();
        // x_i = sum_k s_k u_ik v_k, so the projection onto v_k is s_k u_ik.
        let scores = Array2::from_shape_fn((n_rows, n_components), |(row, k)| {
            let sign = if negated[k] { -1.0 } else { 1.0 };
            (sign * eigen.values[k].sqrt() * eigen.element(k, row)) as f32
        });
        let divisor = (n_rows - 1) as f64;
        let explained_variance = eigen.values[..n_components].iter().map(|value| value / divisor).collect();
        let mean = mean.iter().map(|&m| m as f32).collect();
        (Self { mean, components, explained_variance, total_variance }, scores)
    }

    /// A projection from what the four methods below gave.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`] if the lengths do not fit each other; [`Error::NotFinite`] for NaN or infinity.
    pub fn from_parts(
        mean: Vec<f32>,
        components: Array2<f32>,
        explained_variance: Vec<f64>,
        total_variance: f64,
    ) -> Result<Self> {
        if components.ncols() != mean.len() || components.nrows() != explained_variance.len() {
            return Err(Error::Shape {
                what: "components",
                wanted: format!("[{}, {}], as variances and mean", explained_variance.len(), mean.len()),
                found: format!("{:?}", components.shape()),
            });
        }
        let standard = components.is_standard_layout();
        let components = if standard { components } else { components.as_standard_layout().into_owned() };
        let bad = components.as_slice().and_then(first_not_finite).or_else(|| first_not_finite(&mean));
        let bad = bad.or_else(|| explained_variance.iter().position(|v| !v.is_finite()));
        match bad.or_else(|| (!total_variance.is_finite()).then_some(0)) {
            Some(index) => Err(Error::NotFinite { what: "principal components", index }),
            None => Ok(Self { mean, components, explained_variance, total_variance }),
        }
    }

    /// The mean of each feature, `[n_features]`.
    pub fn mean(&self) -> &[f32] {
        &self.mean
    }

    /// The components, orthonormal, by descending variance, `[n_components, n_features]`.
    pub fn components(&self) -> &Array2<f32> {
        &self.components
    }

    /// The variance along each component, `[n_components]`, in squared units of the features, with the divisor n - 1.
    pub fn explained_variance(&self) -> &[f64] {
        &self.explained_variance
    }

    /// The variance of all features together, with the divisor n - 1.
    pub fn total_variance(&self) -> f64 {
        self.total_variance
    }

    /// Projects rows of the right length; a row's projection does not depend on the others.
    pub(crate) fn project(&self, rows: &[&[f32]]) -> Array2<f32> {
        let mut projections = Array2::zeros((rows.len(), self.components.nrows()));
        for (rows, mut out) in
            rows.chunks(N_TOGETHER).zip(projections.axis_chunks_iter_mut(Axis(0), N_TOGETHER))
        {
            let centred: Vec<Vec<f32>> =
                rows.iter().map(|row| row.iter().zip(&self.mean).map(|(x, m)| x - m).collect()).collect();
            let components: Vec<_> = self.components.rows().into_iter().collect();
            let products: Vec<Vec<f64>> = components
                .into_par_iter()
                .map(|component| {
                    let component = component.to_slice().expect("components are kept in the standard layout");
                    products(component, &centred)
                })
                .collect();
            for ((row_idx, k), value) in out.indexed_iter_mut() {
                *value = products[k][row_idx] as f32;
            }
        }
        projections
    }
}

/// The scalar products of `component` with each row: f32 within a block, f64 across blocks.
fn products(component: &[f32], rows: &[Vec<f32>]) -> Vec<f64> {
    const LANES: usize = 32;
    let mut sums = vec![0.0f64; rows.len()];
    for (block_idx, loadings) in component.chunks(BLOCK).enumerate() {
        let first = block_idx * BLOCK;
        for (sum, row) in sums.iter_mut().zip(rows) {
            let values = &row[first..first + loadings.len()];
            let mut lanes = [0f32; LANES];
            let (pieces, values_left) = values.as_chunks::<LANES>();
            let (loading_pieces, loadings_left) = loadings.as_chunks::<LANES>();
            for (piece, loadings) in pieces.iter().zip(loading_pieces) {
                for lane in 0..LANES {
                    lanes[lane] += piece[lane] * loadings[lane];
                }
            }
            *sum += lanes.iter().map(|&lane| f64::from(lane)).sum::<f64>();
            *sum += values_left.iter().zip(loadings_left).map(|(x, l)| f64::from(x * l)).sum::<f64>();
        }
    }
    sums
}

impl Transform for Pca {
    fn n_inputs(&self) -> usize {
        self.mean.len()
    }

    fn n_outputs(&self) -> usize {
        self.components.nrows()
    }

    fn transform(&self, features: ArrayView2<'_, f32>) -> Result<Array2<f32>> {
        if features.ncols() != self.mean.len() {
            return Err(wrong_width("features to project", self.mean.len(), features.ncols()));
        }
        let features = features.as_standard_layout();
        Ok(self.project(&features.rows().into_iter().filter_map(|row| row.to_slice()).collect::<Vec<_>>()))
    }
}

#[cfg(test)]
#[path = "pca_tests.rs"]
mod tests;

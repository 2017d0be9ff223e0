//! A convolution with everything that follows it: batch norm folded in, bias, residual, ReLU.
//!
//! On the CPU a convolution is one matrix product over patches: candle's own gathers them scalar by scalar, which takes as
//! long as the product itself. On a GPU candle's is used.

use candle_core::{
    CpuStorage, CustomOp1, Device, InplaceOp2, InplaceOp3, Layout, Result, Shape, Tensor, bail,
};
use candle_nn::{Conv2d, Conv2dConfig, Module};
use rayon::prelude::*;

/// Shape of a convolution's kernel and how it moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Geometry {
    pub(super) n_in: usize,
    pub(super) n_out: usize,
    /// Rows and columns of the kernel.
    pub(super) kernel: usize,
    pub(super) stride: usize,
}

impl Geometry {
    /// Zeros beyond each border: with these, stride 1 keeps the size.
    fn padding(&self) -> usize {
        self.kernel / 2
    }

    /// Rows or columns of the output for `length` rows or columns.
    pub(super) fn output(&self, length: usize) -> usize {
        (length + 2 * self.padding() - self.kernel) / self.stride + 1
    }
}

enum Kernel {
    /// `[n_out, n_in * kernel * kernel]`.
    Matrix(Tensor),
    Library(Conv2d),
}

pub(super) struct Convolution {
    geometry: Geometry,
    kernel: Kernel,
    /// `[n_out]`.
    bias: Tensor,
}

impl Convolution {
    /// - `weight`: `[n_out, n_in, kernel, kernel]`, row-major, batch norm folded in.
    /// - `bias`: `[n_out]`.
    pub(super) fn new(geometry: Geometry, weight: Vec<f32>, bias: Vec<f32>, device: &Device) -> Result<Self> {
        let Geometry { n_in, n_out, kernel: side, stride } = geometry;
        let bias = Tensor::from_vec(bias, n_out, device)?;
        let kernel = if device.is_cpu() {
            Kernel::Matrix(Tensor::from_vec(weight, (n_out, n_in * side * side), device)?)
        } else {
            let config = Conv2dConfig { padding: geometry.padding(), stride, ..Conv2dConfig::default() };
            let weight = Tensor::from_vec(weight, (n_out, n_in, side, side), device)?;
            Kernel::Library(Conv2d::new(weight, Some(bias.clone()), config))
        };
        Ok(Self { geometry, kernel, bias })
    }

    /// ReLU of the convolution of `x`, `[n_in, rows, columns]`, plus `residual` if there is one.
    pub(super) fn forward_relu(&self, x: &Tensor, residual: Option<&Tensor>) -> Result<Tensor> {
        self.forward(x, residual, true)
    }

    /// The convolution of `x`, `[n_in, rows, columns]`.
    pub(super) fn forward_linear(&self, x: &Tensor) -> Result<Tensor> {
        self.forward(x, None, false)
    }

    fn forward(&self, x: &Tensor, residual: Option<&Tensor>, relu: bool) -> Result<Tensor> {
        let matrix = match &self.kernel {
            Kernel::Matrix(matrix) => matrix,
            Kernel::Library(convolution) => {
                let y = convolution.forward(&x.unsqueeze(0)?)?.squeeze(0)?;
                let y = residual.map_or(Ok(y.clone()), |residual| y + residual)?;
                return if relu { y.relu() } else { Ok(y) };
            }
        };
        let (_, rows, columns) = x.dims3()?;
        let Geometry { n_in, n_out, kernel, stride } = self.geometry;
        let (rows, columns) = (self.geometry.output(rows), self.geometry.output(columns));
        let patches = match (kernel, stride) {
            (1, 1) => x.reshape((n_in, rows * columns))?,
            _ => x.apply_op1_no_bwd(&Patches(self.geometry))?,
        };
        let y = matrix.matmul(&patches)?;
        match residual {
            Some(residual) => y.inplace_op3(&self.bias, residual, &Epilogue { relu })?,
            None => y.inplace_op2(&self.bias, &Epilogue { relu })?,
        }
        y.reshape((n_out, rows, columns))
    }
}

fn contiguous<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&storage.as_slice::<f32>()?[start..end]),
        None => bail!("an array in row-major order was expected"),
    }
}

/// `[n_in, rows, columns]` to the matrix `[n_in * kernel * kernel, output rows * output columns]`.
struct Patches(Geometry);

impl CustomOp1 for Patches {
    fn name(&self) -> &'static str {
        "patches"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (_, rows, columns) = layout.shape().dims3()?;
        let pixels = contiguous(storage, layout)?;
        let Geometry { n_in, kernel, stride, .. } = self.0;
        let padding = self.0.padding();
        let (n_rows, n_columns) = (self.0.output(rows), self.0.output(columns));
        let mut patches = vec![0.0f32; n_in * kernel * kernel * n_rows * n_columns];
        patches.par_chunks_mut(n_rows * n_columns).enumerate().for_each(|(line, patches)| {
            let (channel, in_row, in_column) =
                (line / (kernel * kernel), line / kernel % kernel, line % kernel);
            let plane = &pixels[channel * rows * columns..][..rows * columns];
            // The output columns whose input column lies within the image: the others stay zero.
            let first = padding.saturating_sub(in_column).div_ceil(stride).min(n_columns);
            let last = (columns + padding).saturating_sub(in_column).div_ceil(stride).clamp(first, n_columns);
            for (row, patches) in patches.chunks_exact_mut(n_columns).enumerate() {
                let Some(row) = (row * stride + in_row).checked_sub(padding).filter(|&row| row < rows) else {
                    continue;
                };
                if first == last {
                    continue;
                }
                let source = &plane[row * columns..][first * stride + in_column - padding..columns];
                let target = &mut patches[first..last];
                if stride == 1 {
                    target.copy_from_slice(&source[..target.len()]);
                } else {
                    target
                        .iter_mut()
                        .zip(source.iter().step_by(stride))
                        .for_each(|(target, &pixel)| *target = pixel);
                }
            }
        });
        Ok((CpuStorage::F32(patches), Shape::from((n_in * kernel * kernel, n_rows * n_columns))))
    }
}

/// Adds a bias a channel and perhaps a residual, and perhaps takes the positive part, in one pass over the memory.
struct Epilogue {
    relu: bool,
}

impl Epilogue {
    fn apply(
        &self,
        y: &mut CpuStorage,
        layout: &Layout,
        bias: &[f32],
        residual: Option<&[f32]>,
    ) -> Result<()> {
        let (_, n_pixels) = layout.shape().dims2()?;
        let (CpuStorage::F32(values), Some((start, end))) = (y, layout.contiguous_offsets()) else {
            bail!("an f32 array in row-major order was expected");
        };
        let floor = if self.relu { 0.0 } else { f32::NEG_INFINITY };
        // `max` would turn a NaN into the floor, and a field that is not finite has to be seen.
        let positive = |value: f32| if value < floor { floor } else { value };
        let channels = values[start..end].par_chunks_mut(n_pixels).zip(bias).enumerate();
        match residual {
            Some(residual) => channels.for_each(|(channel, (values, bias))| {
                let residual = &residual[channel * n_pixels..][..n_pixels];
                values
                    .iter_mut()
                    .zip(residual)
                    .for_each(|(value, add)| *value = positive(*value + bias + add));
            }),
            None => channels.for_each(|(_, (values, bias))| {
                values.iter_mut().for_each(|value| *value = positive(*value + bias));
            }),
        }
        Ok(())
    }
}

impl InplaceOp2 for Epilogue {
    fn name(&self) -> &'static str {
        "epilogue"
    }

    fn cpu_fwd(
        &self,
        y: &mut CpuStorage,
        layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> Result<()> {
        self.apply(y, layout, contiguous(bias, bias_layout)?, None)
    }
}

impl InplaceOp3 for Epilogue {
    fn name(&self) -> &'static str {
        "epilogue with residual"
    }

    fn cpu_fwd(
        &self,
        y: &mut CpuStorage,
        layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
        residual: &CpuStorage,
        residual_layout: &Layout,
    ) -> Result<()> {
        let residual = contiguous(residual, residual_layout)?;
        self.apply(y, layout, contiguous(bias, bias_layout)?, Some(residual))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    fn random(n: usize, seed: u64) -> Vec<f32> {
        let mut rng = Rng::new(seed);
        (0..n).map(|_| rng.normal() as f32).collect()
    }

    #[test]
    fn matrix_product_over_patches_agrees_with_candles_convolution() {
        for (kernel, stride) in [(1, 1), (1, 2), (3, 1), (3, 2), (7, 2)] {
            for (rows, columns) in [(1, 1), (1, 6), (2, 3), (7, 10), (12, 5)] {
                let geometry = Geometry { n_in: 3, n_out: 5, kernel, stride };
                let weight = random(5 * 3 * kernel * kernel, 1);
                let x = Tensor::from_vec(random(3 * rows * columns, 2), (3, rows, columns), &Device::Cpu)
                    .unwrap();
                let residual = |shape: &Shape| {
                    Tensor::from_vec(random(shape.elem_count(), 3), shape, &Device::Cpu).unwrap()
                };
                let ours = Convolution::new(geometry, weight.clone(), random(5, 4), &Device::Cpu).unwrap();
                let theirs = Tensor::from_vec(weight, (5, 3, kernel, kernel), &Device::Cpu).unwrap();
                let theirs = x
                    .unsqueeze(0)
                    .unwrap()
                    .conv2d(&theirs, kernel / 2, stride, 1, 1)
                    .unwrap()
                    .squeeze(0)
                    .unwrap();
                let theirs = theirs.broadcast_add(&ours.bias.reshape((5, 1, 1)).unwrap()).unwrap();
                let residual = residual(theirs.shape());
                let with_residual = (&theirs + &residual).unwrap().relu().unwrap();
                for (found, wanted) in [
                    (ours.forward_linear(&x).unwrap(), theirs.clone()),
                    (ours.forward_relu(&x, None).unwrap(), theirs.relu().unwrap()),
                    (ours.forward_relu(&x, Some(&residual)).unwrap(), with_residual),
                ] {
                    assert_eq!(found.dims(), wanted.dims());
                    let error = (found - wanted)
                        .unwrap()
                        .abs()
                        .unwrap()
                        .max_all()
                        .unwrap()
                        .to_scalar::<f32>()
                        .unwrap();
                    assert!(error < 1e-4, "kernel {kernel}, stride {stride}, {rows} x {columns}: {error}");
                }
            }
        }
    }

    #[test]
    fn nan_survives_the_positive_part() {
        let geometry = Geometry { n_in: 1, n_out: 1, kernel: 1, stride: 1 };
        let convolution = Convolution::new(geometry, vec![1.0], vec![0.0], &Device::Cpu).unwrap();
        let x = Tensor::from_vec(vec![f32::NAN, -1.0], (1, 1, 2), &Device::Cpu).unwrap();
        let y = convolution.forward_relu(&x, None).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert!(y[0].is_nan() && y[1] == 0.0, "{y:?}");
    }
}

//! ResNet-50 by candle's own operations: for GPUs.

use super::kernels::{self, Network};
use super::manifest::Normalisation;
use super::resnet::channel_moments;
use crate::traits::ImageShape;
use candle_core::{DType, Device, Result, Tensor};
use candle_nn::{Conv2d, Conv2dConfig, Module};
use ndarray::{ArrayView3, Axis};

/// A network on a device.
pub(super) struct CandleResNet {
    shape: ImageShape,
    normalisation: Normalisation,
    device: Device,
    dtype: DType,
    stem: Conv2d,
    blocks: Vec<Bottleneck>,
}

struct Bottleneck {
    convolutions: [Conv2d; 3],
    downsample: Option<Conv2d>,
}

impl Bottleneck {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let [first, second, third] = &self.convolutions;
        let y = second.forward(&first.forward(x)?.relu()?)?.relu()?;
        let y = third.forward(&y)?;
        match &self.downsample {
            Some(downsample) => (y + downsample.forward(x)?)?.relu(),
            None => (y + x)?.relu(),
        }
    }
}

impl CandleResNet {
    /// - `dtype`: of weights and maps; the results are f32.
    pub(super) fn new(
        network: &Network,
        normalisation: Normalisation,
        shape: ImageShape,
        device: Device,
        dtype: DType,
    ) -> Result<Self> {
        let on = |folded: &kernels::Convolution| -> Result<Conv2d> {
            let (n_out, side) = (folded.n_out(), folded.kernel());
            let weight: Vec<f32> = folded.weight.iter().copied().collect();
            let weight = Tensor::from_vec(weight, (n_out, folded.n_in(), side, side), &device)?;
            let bias = Tensor::from_vec(folded.bias.clone(), n_out, &device)?;
            let config = Conv2dConfig { padding: side / 2, stride: folded.stride, ..Conv2dConfig::default() };
            Ok(Conv2d::new(weight.to_dtype(dtype)?, Some(bias.to_dtype(dtype)?), config))
        };
        let block = |block: &kernels::Bottleneck| -> Result<Bottleneck> {
            Ok(Bottleneck {
                convolutions: [on(&block.reduce)?, on(&block.spatial)?, on(&block.expand)?],
                downsample: block.shortcut.as_ref().map(on).transpose()?,
            })
        };
        let stem = on(&network.stem)?;
        let blocks = network.stages.iter().flatten().map(block).collect::<Result<_>>()?;
        Ok(Self { shape, normalisation, device, dtype, stem, blocks })
    }

    /// `[3, rows, columns]`, normalised.
    pub(super) fn normalised(&self, image: &ArrayView3<'_, f32>) -> Vec<f32> {
        let (means, deviations) = channel_moments(self.normalisation);
        let mut pixels = Vec::with_capacity(3 * self.shape.rows * self.shape.columns);
        for channel in 0..3 {
            let plane = image.index_axis(Axis(0), channel.min(image.dim().0 - 1));
            pixels.extend(plane.iter().map(|level| (level - means[channel]) / deviations[channel]));
        }
        pixels
    }

    /// The features of normalised images, all computed together. Those of an image in which a map overflows f16 are NaN.
    pub(super) fn forward(&self, images: &[Vec<f32>]) -> Result<Vec<Vec<f32>>> {
        let n_images = images.len();
        let shape = (n_images, 3, self.shape.rows, self.shape.columns);
        let x = Tensor::from_vec(images.concat(), shape, &self.device)?.to_dtype(self.dtype)?;
        let x = self.stem.forward(&x)?.relu()?;
        // After a ReLU a border of zeros is as good as one of minus infinity.
        let x = x.pad_with_zeros(2, 1, 1)?.pad_with_zeros(3, 1, 1)?;
        let mut x = x.max_pool2d_with_stride(3, 2)?;
        let mut greatest = vec![self.greatest(&x)?];
        for block in &self.blocks {
            x = block.forward(&x)?;
            greatest.push(self.greatest(&x)?);
        }
        let mut features = x.flatten_from(1)?.to_dtype(DType::F32)?.to_vec2::<f32>()?;
        for greatest in greatest.into_iter().flatten() {
            let greatest = greatest.to_vec1::<f32>()?;
            for (features, _) in features.iter_mut().zip(greatest).filter(|(_, value)| !value.is_finite()) {
                features.fill(f32::NAN);
            }
        }
        Ok(features)
    }

    /// The greatest value of each image's map, where that may have become an infinity: the next layers could lose it.
    fn greatest(&self, x: &Tensor) -> Result<Option<Tensor>> {
        if self.dtype != DType::F16 {
            return Ok(None);
        }
        x.flatten_from(1)?.max(1)?.to_dtype(DType::F32).map(Some)
    }
}

//! The convolutional part of ResNet-50 (He, Zhang, Ren, Sun, "Deep Residual Learning for Image Recognition", CVPR 2016).

use super::candle_network::CandleResNet;
use super::device::{DeviceChoice, GpuPrecision};
use super::joint::Joint;
use super::kernels::{self, InputChannel, Network, Plan, PlanOptions};
use super::manifest::{Normalisation, Tap, Variant};
use super::weights::Weights;
use super::{check_images, check_levels, check_shape};
use crate::error::{Error, Result};
use crate::traits::{FeatureExtractor, ImageShape};
use ndarray::{Array2, Array4, ArrayView1, ArrayView3, ArrayView4};
use std::sync::{Mutex, PoisonError};

/// What the network needs to know of its weights.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ResNetSpec {
    /// Where the strides are.
    pub variant: Variant,
    /// How images are normalised.
    pub normalisation: Normalisation,
    /// The constant added to the variance in batch normalisation.
    pub bn_eps: f64,
    /// The last stage there are weights of.
    pub last_tap: Tap,
}

/// Blocks of each stage from layer1 on.
pub(super) const N_BLOCKS: [usize; 4] = [3, 4, 6, 3];

/// ResNet-50, fully convolutional: images of any size, features from any stage.
///
/// Tensors are named as in torchvision. Batch normalisation is folded into the convolutions when the weights are loaded, in
/// f64. A grey image is repeated into three channels.
///
/// The feature map is `[tap.channels(), rows, columns]`, with rows and columns divided by 4, 4, 8, 16 or 32 (halved,
/// rounding up, at each step): 480 x 956 pixels give 1,024 x 30 x 60 at layer3 and 2,048 x 15 x 30 at layer4. Features are
/// not negative.
///
/// On the CPU the network runs by this crate's own [`kernels`], on as many threads as rayon's pool of the caller has. Calls
/// from several threads take turns, whatever the network: two at a time would want twice the processors there are. Images of a batch are
/// computed one after the other, so that an image's features do not depend on its company.
///
/// On a GPU it runs by candle. Images of one call, and of callers that wait meanwhile, are computed up to eight together; there the last bits of a feature may depend
/// on how many.
pub struct ResNet {
    shape: ImageShape,
    tap: Tap,
    arithmetic: &'static str,
    engine: Engine,
}

/// Images computed together on a GPU.
const MAX_JOINED: usize = 8;

/// Held by the one network of this process that runs by the kernels.
static TURN: Mutex<()> = Mutex::new(());

enum Engine {
    Kernels(Box<Mutex<Plan>>),
    Candle(Box<Candle>),
}

/// A network on a GPU, and the images that callers have for it.
struct Candle {
    network: CandleResNet,
    images: Joint,
}

impl Candle {
    fn extract(&self, images: Vec<Vec<f32>>) -> Result<Vec<Vec<f32>>> {
        self.images.compute(images, |images| self.network.forward(images).map_err(backend))
    }
}

/// Shape of a convolution's kernel and how it moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Geometry {
    pub(super) n_in: usize,
    pub(super) n_out: usize,
    /// Rows and columns of the kernel.
    pub(super) kernel: usize,
    pub(super) stride: usize,
}

/// A convolution of the network: the names of its tensors and its geometry.
pub(super) struct LayerSpec {
    /// Prefix of the convolution's tensor: `NAME.weight`.
    pub(super) convolution: String,
    /// Prefix of the batch norm's: `NAME.weight`, `.bias`, `.running_mean`, `.running_var`.
    pub(super) norm: String,
    pub(super) geometry: Geometry,
}

/// The three convolutions of a block, and its downsampling if it has one.
pub(super) fn block_layers(
    variant: Variant,
    stage: usize,
    block: usize,
) -> ([LayerSpec; 3], Option<LayerSpec>) {
    let width = 64 << stage;
    let n_in = match (stage, block) {
        (0, 0) => 64,
        (_, 0) => width * 2,
        _ => width * 4,
    };
    let stride = if stage > 0 && block == 0 { 2 } else { 1 };
    let (stride1, stride2) = match variant {
        Variant::V1 => (stride, 1),
        Variant::V1_5 => (1, stride),
    };
    let prefix = format!("layer{}.{block}", stage + 1);
    let layer = |number: usize, n_in, n_out, kernel, stride| LayerSpec {
        convolution: format!("{prefix}.conv{number}"),
        norm: format!("{prefix}.bn{number}"),
        geometry: Geometry { n_in, n_out, kernel, stride },
    };
    let convolutions = [
        layer(1, n_in, width, 1, stride1),
        layer(2, width, width, 3, stride2),
        layer(3, width, width * 4, 1, 1),
    ];
    let downsample = (block == 0).then(|| LayerSpec {
        convolution: format!("{prefix}.downsample.0"),
        norm: format!("{prefix}.downsample.1"),
        geometry: Geometry { n_in, n_out: width * 4, kernel: 1, stride },
    });
    (convolutions, downsample)
}

pub(super) fn stem_layer() -> LayerSpec {
    LayerSpec {
        convolution: "conv1".into(),
        norm: "bn1".into(),
        geometry: Geometry { n_in: 3, n_out: 64, kernel: 7, stride: 2 },
    }
}

fn backend(source: candle_core::Error) -> Error {
    Error::Backend { what: "resnet50", source: Box::new(source) }
}

/// Loads a convolution and folds its batch norm in: with `s = weight / sqrt(variance + eps)`, the kernel becomes `s` times
/// itself and the bias `bias - s * mean`.
fn load(weights: &Weights<'_>, name: &str, spec: &LayerSpec, eps: f64) -> Result<kernels::Convolution> {
    let Geometry { n_in, n_out, kernel, stride } = spec.geometry;
    let mut values =
        weights.values(&format!("{}.weight", spec.convolution), &[n_out, n_in, kernel, kernel])?;
    let norm = |part: &str| weights.values(&format!("{}.{part}", spec.norm), &[n_out]);
    let (scale, shift, mean) = (norm("weight")?, norm("bias")?, norm("running_mean")?);
    let variance = norm("running_var")?;
    if let Some(channel) = variance.iter().position(|variance| *variance < 0.0) {
        return Err(Error::Weights {
            name: name.to_owned(),
            reason: format!(
                "tensor {}.running_var: found {} at index {channel}, expected no negative variance",
                spec.norm, variance[channel]
            ),
        });
    }
    let mut bias = Vec::with_capacity(n_out);
    for (channel, kernel) in values.chunks_exact_mut(n_in * kernel * kernel).enumerate() {
        let factor = f64::from(scale[channel]) / (f64::from(variance[channel]) + eps).sqrt();
        kernel.iter_mut().for_each(|value| *value = (f64::from(*value) * factor) as f32);
        bias.push((f64::from(shift[channel]) - f64::from(mean[channel]) * factor) as f32);
    }
    let found = values.len();
    let weight = Array4::from_shape_vec((n_out, n_in, kernel, kernel), values).map_err(|_| Error::Shape {
        what: "convolution kernel",
        wanted: format!("[{n_out}, {n_in}, {kernel}, {kernel}]; this is a bug"),
        found: found.to_string(),
    })?;
    kernels::Convolution::new(weight, bias, stride)
}

/// Loads the network up to `tap`, batch norms folded in.
fn load_network(name: &str, bytes: &[u8], spec: &ResNetSpec, tap: Tap, shape: ImageShape) -> Result<Network> {
    let weights = Weights::new(name, bytes)?;
    let load = |layer: &LayerSpec| load(&weights, name, layer, spec.bn_eps);
    let stem = load(&stem_layer())?;
    let mut stages = Vec::new();
    for (stage, &n_blocks) in N_BLOCKS.iter().enumerate().take(tap as usize) {
        let mut blocks = Vec::new();
        for block in 0..n_blocks {
            let ([first, second, third], downsample) = block_layers(spec.variant, stage, block);
            let (reduce, spatial, expand) = (load(&first)?, load(&second)?, load(&third)?);
            let shortcut = downsample.as_ref().map(load).transpose()?;
            blocks.push(kernels::Bottleneck { reduce, spatial, expand, shortcut });
        }
        stages.push(blocks);
    }
    Ok(Network { input: input_channels(spec.normalisation, shape), stem, stages })
}

/// What normalisation does to the image's channels; a grey one serves for all three.
fn input_channels(normalisation: Normalisation, shape: ImageShape) -> Vec<InputChannel> {
    let (means, deviations) = channel_moments(normalisation);
    let channel = |idx: usize| InputChannel {
        source: idx.min(shape.channels - 1),
        scale: 1.0 / deviations[idx],
        shift: -means[idx] / deviations[idx],
    };
    (0..3).map(channel).collect()
}

/// Means and standard deviations of the channels, in grey levels.
pub(super) fn channel_moments(normalisation: Normalisation) -> ([f32; 3], [f32; 3]) {
    match normalisation {
        Normalisation::Caffe => ([123.68, 116.779, 103.939], [1.0; 3]),
        Normalisation::Imagenet => (
            [0.485f32, 0.456, 0.406].map(|mean| mean * 255.0),
            [0.229, 0.224, 0.225].map(|deviation: f32| deviation * 255.0),
        ),
    }
}

impl ResNet {
    /// Loads the network up to `tap` from a safetensors file held in memory, for images of `shape`.
    ///
    /// - `name`: of the weights, for errors.
    ///
    /// # Errors
    ///
    /// - [`Error::Weights`] if a tensor is missing or has another shape or type, naming it, or if the weights end before the
    ///   tap.
    /// - [`Error::Shape`] if the shape has neither 1 nor 3 channels.
    /// - [`Error::Parameter`] if the device is not to be had.
    pub fn new(
        name: &str,
        bytes: &[u8],
        spec: &ResNetSpec,
        tap: Tap,
        shape: ImageShape,
        device: &DeviceChoice,
    ) -> Result<Self> {
        check_shape(shape)?;
        if tap > spec.last_tap {
            return Err(Error::Weights {
                name: name.to_owned(),
                reason: format!(
                    "they end at {}, {tap} was asked for: choose an earlier tap or other weights",
                    spec.last_tap
                ),
            });
        }
        let (isa, arithmetic) = (device.isa(), device.arithmetic());
        let precision =
            if let DeviceChoice::Cuda(_, precision) = device { *precision } else { GpuPrecision::F32 };
        let device = device.open()?;
        let network = load_network(name, bytes, spec, tap, shape)?;
        let engine = if device.is_cpu() {
            let options =
                PlanOptions { taps: vec![tap as usize], n_threads: rayon::current_num_threads(), isa };
            Engine::Kernels(Box::new(Mutex::new(Plan::compile(&network, shape, &options)?)))
        } else {
            let network = CandleResNet::new(&network, spec.normalisation, shape, device, precision.dtype());
            Engine::Candle(Box::new(Candle {
                network: network.map_err(backend)?,
                images: Joint::new(MAX_JOINED),
            }))
        };
        Ok(Self { shape, tap, arithmetic, engine })
    }
}

/// Runs `plan` when its turn has come. A panic leaves no half-made state behind: every map is written before it is read.
fn with_turn<T>(plan: &Mutex<Plan>, run: impl FnOnce(&mut Plan) -> T) -> T {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    run(&mut plan.lock().unwrap_or_else(PoisonError::into_inner))
}

impl FeatureExtractor for ResNet {
    fn image_shape(&self) -> ImageShape {
        self.shape
    }

    fn feature_shape(&self) -> [usize; 3] {
        // One halving by the stem, one by its pool, and one by each stage after layer1.
        let n_halvings = 2 + (self.tap as usize).saturating_sub(1);
        let reduced = |length: usize| (0..n_halvings).fold(length, |length, _| length.div_ceil(2));
        [self.tap.channels(), reduced(self.shape.rows), reduced(self.shape.columns)]
    }

    fn arithmetic(&self) -> &'static str {
        self.arithmetic
    }

    fn extract(&self, images: ArrayView4<'_, f32>) -> Result<Array2<f32>> {
        check_images(&images, self.shape)?;
        let mut features = Array2::zeros((images.shape()[0], self.n_features()));
        let rows = features.outer_iter_mut();
        match &self.engine {
            Engine::Kernels(plan) => {
                for (image, mut features) in images.outer_iter().zip(rows) {
                    let features = features.as_slice_mut().expect("a row of a new array is contiguous");
                    with_turn(plan, |plan| plan.run(&image, &mut [features]))?;
                }
            }
            Engine::Candle(candle) => {
                let images = images.outer_iter().map(|image| candle.network.normalised(&image)).collect();
                for (found, mut features) in candle.extract(images)?.into_iter().zip(rows) {
                    features.assign(&ArrayView1::from(&found));
                }
            }
        }
        Ok(features)
    }

    fn extract_levels(&self, levels: ArrayView3<'_, u8>) -> Result<Vec<f32>> {
        check_levels(&levels, self.shape)?;
        let mut features = vec![0.0; self.n_features()];
        match &self.engine {
            Engine::Kernels(plan) => {
                with_turn(plan, |plan| plan.run_on_levels(&levels, &mut [&mut features]))?
            }
            Engine::Candle(candle) => {
                let image = levels.permuted_axes([2, 0, 1]).mapv(f32::from);
                let found = candle.extract(vec![candle.network.normalised(&image.view())])?;
                features.copy_from_slice(&found[0]);
            }
        }
        Ok(features)
    }
}

#[cfg(test)]
#[path = "resnet_tests.rs"]
mod tests;

//! What a plan is compiled from: folded convolutions in the order of a residual network, free of any weights format.

use crate::error::{Error, Result};
use ndarray::Array4;

/// A convolution with its batch normalisation folded in; padding is half the kernel, as everywhere in a ResNet.
#[derive(Debug, Clone)]
pub struct Convolution {
    /// `[out, in, height, width]`, height and width equal and odd.
    pub weight: Array4<f32>,
    /// `[out]`.
    pub bias: Vec<f32>,
    /// 1 or 2, in both directions.
    pub stride: usize,
}

impl Convolution {
    /// A convolution whose parts agree.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`] where the kernel is not square and odd or the bias has another length than the outputs;
    /// [`Error::Parameter`] for a stride other than 1 or 2.
    pub fn new(weight: Array4<f32>, bias: Vec<f32>, stride: usize) -> Result<Convolution> {
        let (n_out, n_in, height, width) = weight.dim();
        if height != width || height % 2 == 0 || n_out == 0 || n_in == 0 {
            return Err(Error::Shape {
                what: "convolution kernel",
                wanted: "[out, in, k, k] with odd k, none of them 0".into(),
                found: format!("{:?}", weight.shape()),
            });
        }
        if bias.len() != n_out {
            let (wanted, found) = (format!("[{n_out}]"), format!("[{}]", bias.len()));
            return Err(Error::Shape { what: "convolution bias", wanted, found });
        }
        if !(1..=2).contains(&stride) {
            return Err(Error::Parameter {
                name: "stride",
                found: stride.to_string(),
                expected: "1 or 2".into(),
            });
        }
        Ok(Convolution { weight, bias, stride })
    }

    /// Output channels.
    pub fn n_out(&self) -> usize {
        self.weight.dim().0
    }

    /// Input channels.
    pub fn n_in(&self) -> usize {
        self.weight.dim().1
    }

    /// Height and width of the kernel.
    pub fn kernel(&self) -> usize {
        self.weight.dim().2
    }

    /// The outputs along a direction of `length` inputs.
    pub fn output_length(&self, length: usize) -> usize {
        (length - 1) / self.stride + 1
    }
}

/// Three convolutions and the shortcut around them: `relu(expand(relu(spatial(relu(reduce(x))))) + shortcut(x))`.
#[derive(Debug, Clone)]
pub struct Bottleneck {
    /// 1 x 1; stride 2 here is ResNet v1 (Keras).
    pub reduce: Convolution,
    /// 3 x 3; stride 2 here is ResNet v1.5 (torchvision).
    pub spatial: Convolution,
    /// 1 x 1, stride 1.
    pub expand: Convolution,
    /// 1 x 1 at the block's stride; none is the identity.
    pub shortcut: Option<Convolution>,
}

/// What happens to an image channel before the first convolution: `scale * image[source] + shift`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct InputChannel {
    /// The image's channel.
    pub source: usize,
    /// Factor on grey levels 0..=255.
    pub scale: f32,
    /// Added afterwards; padding is zero after it.
    pub shift: f32,
}

impl InputChannel {
    /// A preprocessed level.
    pub(super) fn level(&self, grey: f32) -> f32 {
        self.scale * grey + self.shift
    }
}

/// A residual network as far as its feature maps: stem, 3 x 3 max-pool at stride 2, stages of bottlenecks.
#[derive(Debug, Clone)]
pub struct Network {
    /// One entry a channel of the stem's input.
    pub input: Vec<InputChannel>,
    /// The first convolution, followed by ReLU and max-pool.
    pub stem: Convolution,
    /// layer1, layer2, ...
    pub stages: Vec<Vec<Bottleneck>>,
}

impl Network {
    /// Checks that each layer takes what the one before it gives.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`] naming the first layer that does not fit.
    pub fn check(&self) -> Result<()> {
        let fits = |what, convolution: &Convolution, n_in: usize, kernel: Option<usize>| {
            if convolution.n_in() == n_in && kernel.is_none_or(|k| k == convolution.kernel()) {
                return Ok(());
            }
            let kernel = kernel.map_or("k".into(), |k| k.to_string());
            let wanted = format!("[out, {n_in}, {kernel}, {kernel}]");
            Err(Error::Shape { what, wanted, found: format!("{:?}", convolution.weight.shape()) })
        };
        fits("stem", &self.stem, self.input.len(), None)?;
        let mut channels = self.stem.n_out();
        for block in self.stages.iter().flatten() {
            fits("bottleneck's first convolution", &block.reduce, channels, Some(1))?;
            fits("bottleneck's second convolution", &block.spatial, block.reduce.n_out(), Some(3))?;
            fits("bottleneck's third convolution", &block.expand, block.spatial.n_out(), Some(1))?;
            let stride = block.reduce.stride * block.spatial.stride * block.expand.stride;
            let (given, shortcut_stride) = match &block.shortcut {
                Some(shortcut) => {
                    fits("bottleneck's shortcut", shortcut, channels, Some(1))?;
                    (shortcut.n_out(), shortcut.stride)
                }
                None => (channels, 1),
            };
            if given != block.expand.n_out() || shortcut_stride != stride || block.expand.stride != 1 {
                return Err(Error::Shape {
                    what: "bottleneck's shortcut",
                    wanted: format!("{} channels at stride {stride}", block.expand.n_out()),
                    found: format!("{given} channels at stride {shortcut_stride}"),
                });
            }
            channels = block.expand.n_out();
        }
        Ok(())
    }
}

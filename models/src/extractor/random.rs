//! Random weights, for tests of structure and speed where no trained ones are at hand.

use super::manifest::{Tap, Variant};
use super::resnet::{LayerSpec, N_BLOCKS, block_layers, stem_layer};
use crate::rng::Rng;
use rayon::prelude::*;
use safetensors::Dtype;
use safetensors::tensor::TensorView;

/// Makes a safetensors file of ResNet-50 up to `last_tap` with random weights in f32, named as in torchvision.
///
/// Convolutions are normal with variance `2 / (n_in * kernel * kernel)` (He et al., "Delving Deep into Rectifiers", ICCV
/// 2015); batch norms have weights around 1 (around 1/4 in the last of a block, so that sixteen residuals do not
/// overflow), and small biases and means. Equal seeds give equal files.
///
/// Features of such a network mean nothing: it is for tests of structure and speed.
///
/// # Errors
///
/// [`Error::Backend`](crate::Error::Backend) if the file cannot be composed, which does not happen with sane memory.
pub fn random_resnet50(last_tap: Tap, seed: u64) -> crate::Result<Vec<u8>> {
    let mut layers = vec![stem_layer()];
    for (stage, &n_blocks) in N_BLOCKS.iter().enumerate().take(last_tap as usize) {
        for block in 0..n_blocks {
            // The variant moves strides only, which are not in the file.
            let (convolutions, downsample) = block_layers(Variant::V1, stage, block);
            layers.extend(convolutions);
            layers.extend(downsample);
        }
    }
    let tensors: Vec<(String, Vec<usize>, Vec<u8>)> = layers
        .par_iter()
        .enumerate()
        .flat_map_iter(|(index, layer)| tensors_of(layer, &mut Rng::derived(seed, index as u64)))
        .collect();
    let views: Result<Vec<_>, _> = tensors
        .iter()
        .map(|(name, shape, data)| TensorView::new(Dtype::F32, shape.clone(), data).map(|view| (name, view)))
        .collect();
    views
        .and_then(|views| safetensors::serialize(views, None))
        .map_err(|source| crate::Error::Backend { what: "random weights", source: Box::new(source) })
}

fn tensors_of(layer: &LayerSpec, rng: &mut Rng) -> Vec<(String, Vec<usize>, Vec<u8>)> {
    let geometry = layer.geometry;
    let n_out = geometry.n_out;
    let fan_in = geometry.n_in * geometry.kernel * geometry.kernel;
    let mut tensor = |name: String, shape: Vec<usize>, mean: f64, deviation: f64| {
        let n: usize = shape.iter().product();
        let data = (0..n).flat_map(|_| ((mean + deviation * rng.normal()) as f32).to_le_bytes()).collect();
        (name, shape, data)
    };
    let gain = if layer.norm.ends_with("bn3") { 0.25 } else { 1.0 };
    let shape = vec![n_out, geometry.n_in, geometry.kernel, geometry.kernel];
    vec![
        tensor(format!("{}.weight", layer.convolution), shape, 0.0, (2.0 / fan_in as f64).sqrt()),
        tensor(format!("{}.weight", layer.norm), vec![n_out], gain, 0.1 * gain),
        tensor(format!("{}.bias", layer.norm), vec![n_out], 0.0, 0.1),
        tensor(format!("{}.running_mean", layer.norm), vec![n_out], 0.0, 0.1),
        // Ten deviations from zero.
        tensor(format!("{}.running_var", layer.norm), vec![n_out], 1.0, 0.1),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::extractor::{DeviceChoice, Normalisation, ResNet, ResNetSpec};
    use crate::traits::{FeatureExtractor, ImageShape};
    use ndarray::Array4;

    const SPEC: ResNetSpec = ResNetSpec {
        variant: Variant::V1_5,
        normalisation: Normalisation::Imagenet,
        bn_eps: 1e-5,
        last_tap: Tap::Layer4,
    };

    fn extract(spec: &ResNetSpec, bytes: &[u8], tap: Tap, images: &Array4<f32>) -> (Vec<usize>, Vec<f32>) {
        let (_, channels, rows, columns) = images.dim();
        let shape = ImageShape { channels, rows, columns };
        let network = ResNet::new("random", bytes, spec, tap, shape, &DeviceChoice::Cpu).unwrap();
        let features = network.extract(images.view()).unwrap();
        (network.feature_shape().to_vec(), features.into_raw_vec_and_offset().0)
    }

    fn image(n: usize, channels: usize, rows: usize, columns: usize) -> Array4<f32> {
        let level = |(n, channel, row, column)| ((row * 7 + column * 3 + channel * 90 + n * 31) % 256) as f32;
        Array4::from_shape_fn((n, channels, rows, columns), level)
    }

    #[test]
    fn every_tap_has_its_shape_and_both_variants_run_to_the_end() {
        let bytes = random_resnet50(Tap::Layer4, 5).unwrap();
        let image = image(1, 3, 65, 98);
        let shapes = [[64, 17, 25], [256, 17, 25], [512, 9, 13], [1024, 5, 7], [2048, 3, 4]];
        let mut ends = vec![];
        for variant in [Variant::V1, Variant::V1_5] {
            for (tap, wanted) in Tap::ALL.into_iter().zip(shapes) {
                let (shape, features) = extract(&ResNetSpec { variant, ..SPEC }, &bytes, tap, &image);
                assert_eq!(shape, wanted, "{tap}");
                assert_eq!(features.len(), wanted.iter().product::<usize>());
                assert!(features.iter().all(|feature| feature.is_finite() && *feature >= 0.0));
                assert!(
                    features.iter().filter(|feature| **feature > 0.0).count() * 5 > features.len(),
                    "{tap} is alive"
                );
                ends.push(features);
            }
        }
        // Strides first differ in layer2.
        assert_eq!(ends[1], ends[6]);
        assert_ne!(ends[2], ends[7]);
    }

    #[test]
    fn grey_image_is_its_repetition_and_a_batch_its_images() {
        let bytes = random_resnet50(Tap::Layer2, 6).unwrap();
        let spec = ResNetSpec { last_tap: Tap::Layer2, ..SPEC };
        let grey = image(2, 1, 40, 33);
        let repeated = grey.broadcast((2, 3, 40, 33)).map(|view| view.to_owned());
        let together = extract(&spec, &bytes, Tap::Layer2, &grey).1;
        assert_eq!(
            repeated.map(|repeated| extract(&spec, &bytes, Tap::Layer2, &repeated).1),
            Some(together.clone())
        );
        let second = grey.slice_axis(ndarray::Axis(0), (1..2).into()).to_owned();
        assert_eq!(extract(&spec, &bytes, Tap::Layer2, &second).1, together[together.len() / 2..]);
    }

    #[test]
    fn stages_past_the_tap_are_not_asked_for() {
        let bytes = random_resnet50(Tap::Layer1, 7).unwrap();
        let image = image(1, 3, 16, 16);
        assert_eq!(extract(&SPEC, &bytes, Tap::Layer1, &image).0, [256, 4, 4]);
        let shape = ImageShape { channels: 3, rows: 16, columns: 16 };
        let missing = ResNet::new("w", &bytes, &SPEC, Tap::Layer2, shape, &DeviceChoice::Cpu)
            .err()
            .unwrap()
            .to_string();
        assert!(missing.contains("layer2.0.conv1.weight"), "{missing}");
        let honest = ResNetSpec { last_tap: Tap::Layer1, ..SPEC };
        let late = ResNet::new("w", &bytes, &honest, Tap::Layer2, shape, &DeviceChoice::Cpu)
            .err()
            .unwrap()
            .to_string();
        assert!(late.contains("end at layer1"), "{late}");
    }

    #[test]
    fn seeds_decide_the_file() {
        assert_eq!(random_resnet50(Tap::Stem, 1).unwrap(), random_resnet50(Tap::Stem, 1).unwrap());
        assert_ne!(random_resnet50(Tap::Stem, 1).unwrap(), random_resnet50(Tap::Stem, 2).unwrap());
    }
}

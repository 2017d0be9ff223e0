//! Extractors against independent implementations: HOG in plain numpy, ResNet-50 in onnxruntime on the same weights, and the
//! outputs that came with the real weights. `make_*_reference.py` beside this file made the committed values.
//!
//! The trained weights are not in the repository. Tests that need them look in the folder `weights` under the directory that
//! the variable `ANOMALYD_SHARED` names (default: `shared` beside the checkout), and skip aloud where it is absent.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

use anomalyd_models::extractor::{
    DeviceChoice, ExtractorParams, HogParams, Normalisation, ResNet, ResNet50Params, ResNetSpec, Tap,
    Variant, WeightsStore, random_resnet50,
};
use anomalyd_models::{Error, FeatureExtractor, ImageShape};
use ndarray::Array4;
use safetensors::SafeTensors;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

/// The same arithmetic in f32 and f64: cells of some hundred pixels, then two square roots.
const HOG_TOLERANCE: f64 = 1e-5;
/// Both sides compute in f32 and differ in the order of summation; relative to the largest value.
const ONNXRUNTIME_TOLERANCE: f32 = 1e-4;
/// The reference was computed with f32 weights, the files hold f16; relative to the largest value.
const F16_TOLERANCE: f32 = 3e-3;

const NETWORKS: [&str; 2] = ["resnet50-v1-keras-layer3", "resnet50-v15-torchvision-layer2"];

fn weights_dir() -> Option<PathBuf> {
    let beside = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared");
    let shared = std::env::var_os("ANOMALYD_SHARED").map_or_else(|| PathBuf::from(beside), PathBuf::from);
    let dir = shared.join("weights");
    if dir.is_dir() {
        return Some(dir);
    }
    eprintln!("SKIPPED: no trained weights in {} (set ANOMALYD_SHARED to have this tested)", dir.display());
    None
}

fn resnet(
    store: &WeightsStore,
    name: &str,
    tap: Tap,
    rows: usize,
    columns: usize,
) -> Arc<dyn FeatureExtractor> {
    let params = ExtractorParams::ResNet50(ResNet50Params { weights: name.into(), tap });
    let shape = ImageShape { channels: 3, rows, columns };
    params.build(shape, store, &DeviceChoice::Cpu).unwrap_or_else(|error| panic!("{error}"))
}

#[derive(Deserialize)]
struct HogReference {
    cases: Vec<HogCase>,
}

#[derive(Deserialize)]
struct HogCase {
    channels: usize,
    rows: usize,
    columns: usize,
    cells: usize,
    orientations: usize,
    block: usize,
    shape: [usize; 3],
    sum: f64,
    sum_of_squares: f64,
    positions: Vec<usize>,
    values: Vec<f64>,
}

/// The image of `make_hog_reference.py`.
fn hog_image(case: &HogCase) -> Array4<f32> {
    Array4::from_shape_fn((1, case.channels, case.rows, case.columns), |(_, channel, y, x)| {
        let bright_rows = case.rows / 2..case.rows / 2 + 9;
        if bright_rows.contains(&y) && (case.columns / 3..case.columns / 2).contains(&x) {
            250.0
        } else if (5..12).contains(&y) {
            80.0
        } else {
            ((x * x / 5 + 3 * y + x * y / 7 + 60 * channel) % 241) as f32
        }
    })
}

#[test]
fn hog_agrees_with_numpy() {
    let reference: HogReference = serde_json::from_str(include_str!("hog_reference.json")).unwrap();
    assert_eq!(reference.cases.len(), 3);
    for case in reference.cases {
        let params = HogParams { cells: case.cells, orientations: case.orientations, block: case.block };
        let shape = ImageShape { channels: case.channels, rows: case.rows, columns: case.columns };
        let hog =
            ExtractorParams::Hog(params).build(shape, &WeightsStore::default(), &DeviceChoice::Cpu).unwrap();
        assert_eq!(hog.feature_shape(), case.shape);
        let features = hog.extract(hog_image(&case).view()).unwrap();
        for (&position, wanted) in case.positions.iter().zip(&case.values) {
            let found = f64::from(features[[0, position]]);
            assert!((found - wanted).abs() < HOG_TOLERANCE, "{shape:?} at {position}: {found}, not {wanted}");
        }
        let sum: f64 = features.iter().map(|&feature| f64::from(feature)).sum();
        let squares: f64 = features.iter().map(|&feature| f64::from(feature).powi(2)).sum();
        assert!((sum / case.sum - 1.0).abs() < HOG_TOLERANCE, "{sum}, not {}", case.sum);
        assert!(
            (squares / case.sum_of_squares - 1.0).abs() < HOG_TOLERANCE,
            "{squares}, not {}",
            case.sum_of_squares
        );
    }
}

#[derive(Deserialize)]
struct NetworkReference {
    rows: usize,
    columns: usize,
    networks: BTreeMap<String, BTreeMap<Tap, TapReference>>,
}

#[derive(Deserialize)]
struct TapReference {
    shape: [usize; 3],
    max: f32,
    mean: f64,
    positions: Vec<usize>,
    values: Vec<f32>,
}

/// The image of `make_resnet_reference.py`.
fn network_image(rows: usize, columns: usize) -> Array4<f32> {
    Array4::from_shape_fn((1, 3, rows, columns), |(_, channel, y, x)| {
        if (30..50).contains(&y) && (60..100).contains(&x) {
            [250.0, 200.0, 20.0][channel]
        } else {
            ((x * x / 9 + y * (5 + channel) + x * y / 13 + 70 * channel) % 256) as f32
        }
    })
}

#[test]
fn resnet50_agrees_with_onnxruntime_at_every_tap() {
    let Some(dir) = weights_dir() else { return };
    let store = WeightsStore::new(vec![dir]).unwrap();
    let reference: NetworkReference = serde_json::from_str(include_str!("resnet_reference.json")).unwrap();
    assert_eq!(reference.networks.keys().collect::<Vec<_>>(), NETWORKS);
    let image = network_image(reference.rows, reference.columns);
    for (name, taps) in &reference.networks {
        assert!(taps.len() >= 3 && taps.contains_key(&Tap::Stem));
        for (&tap, wanted) in taps {
            let network = resnet(&store, name, tap, reference.rows, reference.columns);
            assert_eq!(network.feature_shape(), wanted.shape);
            let features = network.extract(image.view()).unwrap();
            let worst = wanted.positions.iter().zip(&wanted.values);
            let worst =
                worst.map(|(&at, value)| (features[[0, at]] - value).abs()).fold(0.0, f32::max) / wanted.max;
            eprintln!("{name} {tap}: largest difference from onnxruntime {worst:.1e} of the maximum");
            assert!(worst < ONNXRUNTIME_TOLERANCE, "{name} {tap}: {worst}");
            let max = features.iter().copied().fold(0.0, f32::max);
            assert!(
                (max / wanted.max - 1.0).abs() < ONNXRUNTIME_TOLERANCE,
                "{name} {tap}: {max}, not {}",
                wanted.max
            );
            let mean =
                features.iter().map(|&feature| f64::from(feature)).sum::<f64>() / features.len() as f64;
            assert!((mean / wanted.mean - 1.0).abs() < 1e-4, "{name} {tap}: {mean}, not {}", wanted.mean);
        }
    }
}

#[test]
fn real_weights_agree_with_the_outputs_that_came_with_them() {
    let Some(dir) = weights_dir() else { return };
    let bytes = std::fs::read(dir.join("reference_outputs_bird.safetensors")).unwrap();
    let reference = SafeTensors::deserialize(&bytes).unwrap();
    let photo = reference.tensor("image_rgb_u8").unwrap();
    assert_eq!(photo.shape(), [224, 224, 3]);
    let pixel = |(_, channel, row, column)| f32::from(photo.data()[(row * 224 + column) * 3 + channel]);
    let image = Array4::from_shape_fn((1, 3, 224, 224), pixel);
    let store = WeightsStore::new(vec![dir]).unwrap();
    let prefixes = ["resnet50_v1_keras_stem_to_layer3", "resnet50_v15_torchvision_stem_to_layer2"];
    let mut n_taps = 0;
    for (name, prefix) in NETWORKS.into_iter().zip(prefixes) {
        for tap in Tap::ALL {
            let Ok(wanted) = reference.tensor(&format!("{prefix}.{tap}")) else { continue };
            let network = resnet(&store, name, tap, 224, 224);
            assert_eq!(network.feature_shape(), wanted.shape());
            let found = network.extract(image.view()).unwrap();
            let wanted: Vec<f32> =
                wanted.data().chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
            let max = wanted.iter().copied().fold(0.0, f32::max);
            let worst =
                found.iter().zip(&wanted).map(|(found, wanted)| (found - wanted).abs()).fold(0.0, f32::max)
                    / max;
            eprintln!("{name} {tap}: largest difference from the reference {worst:.1e} of the maximum");
            assert!(worst < F16_TOLERANCE, "{name} {tap}: {worst}");
            n_taps += 1;
        }
    }
    assert_eq!(n_taps, 5, "outputs of five taps come with the weights");
}

#[test]
fn channels_and_strides_matter() {
    let Some(dir) = weights_dir() else { return };
    let store = WeightsStore::new(vec![dir]).unwrap();
    let (_, bytes) = store.load(NETWORKS[0]).unwrap();
    let spec = store.manifest(NETWORKS[0]).unwrap().spec();
    let shape = ImageShape { channels: 3, rows: 64, columns: 80 };
    let image = network_image(64, 80);
    let mut swapped = image.clone();
    swapped.invert_axis(ndarray::Axis(1));
    let extract = |spec: &ResNetSpec, image: &Array4<f32>| {
        let network = ResNet::new("test", &bytes, spec, Tap::Layer2, shape, &DeviceChoice::Cpu).unwrap();
        network.extract(image.view()).unwrap()
    };
    let right = extract(&spec, &image);
    let max = right.iter().copied().fold(0.0, f32::max);
    let other_stride = ResNetSpec { variant: Variant::V1_5, ..spec };
    let other_normalisation = ResNetSpec { normalisation: Normalisation::Imagenet, ..spec };
    for wrong in
        [extract(&spec, &swapped), extract(&other_stride, &image), extract(&other_normalisation, &image)]
    {
        let difference = (&wrong - &right).mapv(f32::abs).into_iter().fold(0.0, f32::max);
        assert!(difference > 30.0 * F16_TOLERANCE * max, "a mistake would show: {difference} of {max}");
    }
}

#[test]
fn weights_that_end_early_say_so() {
    let Some(dir) = weights_dir() else { return };
    let store = WeightsStore::new(vec![dir]).unwrap();
    let params = ExtractorParams::ResNet50(ResNet50Params { weights: NETWORKS[1].into(), tap: Tap::Layer3 });
    let shape = ImageShape { channels: 3, rows: 64, columns: 64 };
    let error = params.build(shape, &store, &DeviceChoice::Cpu).err().unwrap();
    assert!(matches!(error, Error::Weights { .. }));
    assert!(error.to_string().contains("end at layer2"), "{error}");
}

#[test]
fn layer4_of_the_papers_crop_is_2048_by_15_by_30() {
    let bytes = random_resnet50(Tap::Layer4, 1).unwrap();
    let spec = ResNetSpec {
        variant: Variant::V1,
        normalisation: Normalisation::Caffe,
        bn_eps: 1.001e-5,
        last_tap: Tap::Layer4,
    };
    let shape = ImageShape { channels: 3, rows: 480, columns: 956 };
    let network = ResNet::new("random", &bytes, &spec, Tap::Layer4, shape, &DeviceChoice::Cpu).unwrap();
    assert_eq!(network.feature_shape(), [2048, 15, 30]);
    let features = network.extract(network_image(480, 956).view()).unwrap();
    assert_eq!(features.dim(), (1, 921_600));
    assert!(features.iter().all(|feature| feature.is_finite()));
    assert!(features.iter().any(|&feature| feature > 0.0));
}

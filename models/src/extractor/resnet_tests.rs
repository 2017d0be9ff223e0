//! ResNet-50 by the kernels of every instruction set against candle's own operations, at every tap.
#![allow(clippy::print_stderr, reason = "a test that skips says so")]

use super::*;
use crate::calibration::Threshold;
use crate::detector::IsolationForestParams;
use crate::extractor::kernels::Isa;
use crate::extractor::random::random_resnet50;
use crate::extractor::store::WeightsStore;
use crate::image::{Crop, Limits, Preprocess, decode};
use crate::rng::Rng;
use crate::verdict::Label;
use candle_core::{DType, Device, Tensor};
use ndarray::Array3;
use proptest::prelude::*;
use std::path::PathBuf;
use std::sync::OnceLock;

/// The greatest difference allowed, relative to the greatest feature of the tap.
const TOLERANCE: f32 = 1e-4;

/// The same where products are of 8 bits.
const TOLERANCE_INT8: f32 = 1e-1;

/// Normal images of a recorded run that are judged, and as many faulty ones.
const N_JUDGED: usize = 4;

/// All feature maps of the network by candle's convolutions and pooling, as a user of candle would write it.
fn by_candle(network: &Network, image: &Array3<f32>) -> candle_core::Result<Vec<Vec<f32>>> {
    let (_, rows, columns) = image.dim();
    let mut pixels = Vec::new();
    for channel in &network.input {
        let plane = image.index_axis(ndarray::Axis(0), channel.source);
        pixels.extend(plane.iter().map(|level| channel.scale * level + channel.shift));
    }
    let convolve = |x: &Tensor, layer: &kernels::Convolution| {
        let weight: Vec<f32> = layer.weight.iter().copied().collect();
        let weight = Tensor::from_vec(weight, layer.weight.dim(), &Device::Cpu)?;
        let bias = Tensor::from_slice(&layer.bias, (1, layer.n_out(), 1, 1), &Device::Cpu)?;
        x.conv2d(&weight, layer.kernel() / 2, layer.stride, 1, 1)?.broadcast_add(&bias)
    };
    let x = Tensor::from_vec(pixels, (1, network.input.len(), rows, columns), &Device::Cpu)?;
    let x = convolve(&x, &network.stem)?.relu()?;
    // After a ReLU a border of zeros is as good as one of minus infinity.
    let mut x = x.pad_with_zeros(2, 1, 1)?.pad_with_zeros(3, 1, 1)?.max_pool2d_with_stride(3, 2)?;
    let mut maps = vec![x.flatten_all()?.to_vec1()?];
    for stage in &network.stages {
        for block in stage {
            let y = convolve(&convolve(&x, &block.reduce)?.relu()?, &block.spatial)?.relu()?;
            let shortcut = block.shortcut.as_ref().map(|shortcut| convolve(&x, shortcut)).transpose()?;
            x = (convolve(&y, &block.expand)? + shortcut.unwrap_or(x))?.relu()?;
        }
        maps.push(x.flatten_all()?.to_vec1()?);
    }
    Ok(maps)
}

fn random_image(shape: ImageShape) -> Array3<f32> {
    let mut rng = Rng::new((shape.rows * 1000 + shape.columns) as u64);
    Array3::from_shape_simple_fn((shape.channels, shape.rows, shape.columns), || rng.below(256) as f32)
}

/// The greatest difference, relative to the greatest value wanted.
fn difference(found: &[f32], wanted: &[f32]) -> f32 {
    assert_eq!(found.len(), wanted.len());
    let greatest = wanted.iter().fold(0f32, |max, value| max.max(value.abs()));
    assert!(greatest > 0.0, "a map of zeros shows nothing");
    found.iter().zip(wanted).fold(0f32, |max, (f, w)| max.max((f - w).abs())) / greatest
}

/// Compares all taps as far as `last`, on every instruction set; returns the greatest difference, and that of int8.
fn check(bytes: &[u8], spec: &ResNetSpec, last: Tap, shape: ImageShape) -> [f32; 2] {
    let network = load_network("test", bytes, spec, last, shape).unwrap();
    let image = random_image(shape);
    let wanted = by_candle(&network, &image).unwrap();
    let mut worst = [0f32; 2];
    for isa in Isa::available().into_iter().chain(Isa::best_int8()) {
        let (idx, tolerance) =
            if Some(isa) == Isa::best_int8() { (1, TOLERANCE_INT8) } else { (0, TOLERANCE) };
        let options = PlanOptions { taps: (0..=last as usize).collect(), n_threads: 2, isa };
        let mut plan = Plan::compile(&network, shape, &options).unwrap();
        let lengths = plan.tap_shapes().iter().map(|tap| tap.iter().product());
        let mut found: Vec<Vec<f32>> = lengths.map(|length| vec![f32::NAN; length]).collect();
        let mut outputs: Vec<&mut [f32]> = found.iter_mut().map(Vec::as_mut_slice).collect();
        plan.run(&image.view(), &mut outputs).unwrap();
        for (tap, (found, wanted)) in found.iter().zip(&wanted).enumerate() {
            let error = difference(found, wanted);
            assert!(error < tolerance, "{isa:?}, {:?}, tap {tap}, {shape:?}: {error:e}", spec.variant);
            worst[idx] = worst[idx].max(error);
        }
    }
    worst
}

fn spec(variant: Variant) -> ResNetSpec {
    let normalisation = if variant == Variant::V1 { Normalisation::Caffe } else { Normalisation::Imagenet };
    ResNetSpec { variant, normalisation, bn_eps: 1e-5, last_tap: Tap::Layer4 }
}

fn random_weights() -> &'static [u8] {
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    BYTES.get_or_init(|| random_resnet50(Tap::Layer4, 5).unwrap())
}

#[test]
fn one_pixel_one_row_and_one_column_give_candles_features() {
    for (channels, rows, columns) in [(1, 1, 1), (3, 2, 131), (3, 67, 1)] {
        check(random_weights(), &spec(Variant::V1_5), Tap::Layer4, ImageShape { channels, rows, columns });
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4))]

    #[test]
    fn images_of_any_size_give_candles_features_at_every_tap(
        early in any::<bool>(),
        grey in any::<bool>(),
        rows in 1usize..100,
        columns in prop::sample::select(vec![1usize, 2, 3, 5, 17, 31, 61, 64, 97, 113]),
    ) {
        let variant = if early { Variant::V1 } else { Variant::V1_5 };
        let shape = ImageShape { channels: if grey { 1 } else { 3 }, rows, columns };
        check(random_weights(), &spec(variant), Tap::Layer4, shape);
    }
}

#[test]
fn each_device_says_its_arithmetic_and_is_as_near_to_f32_as_that_allows() {
    let shape = ImageShape { channels: 3, rows: 61, columns: 97 };
    let image = random_image(shape);
    let features = |device: DeviceChoice| {
        let spec = spec(Variant::V1);
        let network = ResNet::new("test", random_weights(), &spec, Tap::Layer3, shape, &device).unwrap();
        let features = network.extract(image.view().insert_axis(ndarray::Axis(0))).unwrap();
        let levels = image.mapv(|level| level as u8).permuted_axes([1, 2, 0]);
        assert_eq!(network.extract_levels(levels.view()).unwrap(), features.as_slice().unwrap(), "{device}");
        (network.arithmetic(), features.into_raw_vec_and_offset().0)
    };
    let (name, wanted) = features(DeviceChoice::CpuF32);
    assert_eq!(name, "f32");
    for device in [DeviceChoice::Cpu, DeviceChoice::CpuBf16, DeviceChoice::CpuInt8] {
        if let Err(error) = device.check() {
            eprintln!("SKIPPED: {error}");
            continue;
        }
        let (name, found) = features(device);
        let apart = difference(&found, &wanted);
        let allowed = match name {
            "f32" => 0.0..1e-5,
            "bf16x3" => 1e-7..TOLERANCE,
            "bf16" => 1e-4..5e-2,
            "int8" => 1e-3..1e-1,
            _ => panic!("{name}"),
        };
        assert!(allowed.contains(&apart), "{device}: {name} is {apart:e} away");
    }
}

/// The path of a GPU, on the processor.
#[test]
fn network_for_a_gpu_gives_the_kernels_features_for_each_image_of_a_batch_in_f32_and_nearly_so_in_f16() {
    let shape = ImageShape { channels: 3, rows: 45, columns: 62 };
    let spec = spec(Variant::V1_5);
    let network = load_network("test", random_weights(), &spec, Tap::Layer4, shape).unwrap();
    let own =
        ResNet::new("test", random_weights(), &spec, Tap::Layer4, shape, &DeviceChoice::CpuF32).unwrap();
    let images: Vec<Array3<f32>> =
        (0..3u16).map(|i| random_image(shape).mapv(|level| (level + 31.0 * f32::from(i)) % 256.0)).collect();
    // On x86 candle adds up in f32, as a GPU does; on ARM in f16.
    let f16 = if cfg!(target_arch = "aarch64") { 2e-2 } else { 3e-3 };
    for (dtype, allowed) in [(DType::F32, 0.0..1e-5), (DType::F16, 1e-5..f16)] {
        let candle = CandleResNet::new(&network, spec.normalisation, shape, Device::Cpu, dtype).unwrap();
        let pixels: Vec<_> = images.iter().map(|image| candle.normalised(&image.view())).collect();
        let found = candle.forward(&pixels).unwrap();
        for ((image, pixels), found) in images.iter().zip(&pixels).zip(&found) {
            let wanted = own.extract(image.view().insert_axis(ndarray::Axis(0))).unwrap();
            let apart = difference(found, wanted.as_slice().unwrap());
            assert!(allowed.contains(&apart), "{dtype:?}: {apart:e}");
            assert_eq!(&candle.forward(std::slice::from_ref(pixels)).unwrap()[0], found, "alone or not");
        }
    }
}

#[test]
fn map_that_overflows_f16_makes_the_features_of_its_image_not_finite_and_no_others() {
    let shape = ImageShape { channels: 1, rows: 32, columns: 40 };
    let spec = spec(Variant::V1);
    let network = load_network("test", random_weights(), &spec, Tap::Layer3, shape).unwrap();
    let candle = CandleResNet::new(&network, spec.normalisation, shape, Device::Cpu, DType::F16).unwrap();
    let usual = candle.normalised(&random_image(shape).view());
    let bright = usual.iter().map(|pixel| 400.0 * pixel).collect();
    let found = candle.forward(&[usual, bright]).unwrap();
    assert!(found[0].iter().all(|value| value.is_finite()));
    assert!(found[1].iter().all(|value| value.is_nan()));
}

/// The folder `name` of the shared files, or a loud word that it is absent.
fn shared(name: &str) -> Option<PathBuf> {
    let beside = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared");
    let shared = std::env::var_os("ANOMALYD_SHARED").map_or_else(|| beside.into(), PathBuf::from);
    let dir = shared.join(name);
    if !dir.is_dir() {
        eprintln!("SKIPPED: no folder {} (set ANOMALYD_SHARED to have this tested)", dir.display());
        return None;
    }
    Some(dir)
}

#[test]
fn trained_weights_give_candles_features_at_every_tap() {
    let Some(dir) = shared("weights") else { return };
    let store = WeightsStore::new(vec![dir]).unwrap();
    for name in ["resnet50-v1-keras-layer3", "resnet50-v15-torchvision-layer2"] {
        let (manifest, bytes) = store.load(name).unwrap();
        let spec = manifest.spec();
        for (rows, columns) in [(53, 89), (224, 224)] {
            let [worst, int8] =
                check(&bytes, &spec, spec.last_tap, ImageShape { channels: 3, rows, columns });
            eprintln!(
                "{name}, {rows} x {columns}: largest difference from candle {worst:.1e} of the maximum, in int8 {int8:.1e}"
            );
        }
    }
}

/// Labels and scores of `judged` by a forest fitted to the features of `fitted`, its threshold calibrated on `held_out`.
fn verdicts(
    plan: &mut Plan,
    images: impl Fn(usize) -> Array3<f32>,
    [fitted, held_out, judged]: [&[usize]; 3],
) -> Vec<(Label, f32)> {
    let mut extract = |numbers: &[usize]| -> Vec<Vec<f32>> {
        let features = numbers.iter().map(|&number| {
            let mut features = vec![0.0; plan.tap_shapes()[0].iter().product()];
            plan.run(&images(number).view(), &mut [&mut features]).unwrap();
            features
        });
        features.collect()
    };
    let fitted = extract(fitted);
    let rows: Vec<&[f32]> = fitted.iter().map(Vec::as_slice).collect();
    let forest = IsolationForestParams { n_trees: 125, ..Default::default() }.fit_rows(&rows, 1).unwrap();
    let mut scores = |numbers: &[usize]| -> Vec<f32> {
        extract(numbers).iter().map(|features| forest.score_row(features).unwrap()).collect()
    };
    let threshold = Threshold::calibrate(&scores(held_out), 0.1).unwrap();
    scores(judged).into_iter().map(|score| (threshold.judge(score).label, score)).collect()
}

#[test]
fn the_fastest_products_those_of_f32_and_those_of_int8_find_the_fault_of_a_recorded_run_alike() {
    let (Some(weights), Some(data)) = (shared("weights"), shared("data")) else { return };
    let store = WeightsStore::new(vec![weights]).unwrap();
    let (manifest, bytes) = store.load("resnet50-v1-keras-layer3").unwrap();
    let preprocess = Preprocess { crop: Some(Crop::PAPER), ..Preprocess::default() };
    let images = |number: usize| {
        let file = data.join(format!("run_a/frames/frame_{number:04}.png"));
        preprocess.apply(&decode(&std::fs::read(file).unwrap(), &Limits::default()).unwrap()).unwrap()
    };
    let every = |first: usize, step: usize, n: usize| (0..n).map(|i| first + i * step).collect::<Vec<_>>();
    // The fault of this run is in its images from 733 on.
    let (fitted, held_out) = (every(10, 72, 8), every(20, 55, 10));
    let judged = [every(605, 30, N_JUDGED), every(733, 3, N_JUDGED)].concat();
    let shape = ImageShape { channels: 3, rows: 480, columns: 956 };
    let network = load_network("test", &bytes, &manifest.spec(), Tap::Layer3, shape).unwrap();
    let judge = |isa: Isa| {
        let options = PlanOptions { taps: vec![Tap::Layer3 as usize], n_threads: 2, isa };
        let mut plan = Plan::compile(&network, shape, &options).unwrap();
        verdicts(&mut plan, images, [&fitted, &held_out, &judged])
    };
    let (exact, fast) = (judge(Isa::best_f32()), judge(Isa::best()));
    let apart = exact.iter().zip(&fast).fold(0f32, |max, (a, b)| max.max((a.1 - b.1).abs()));
    eprintln!("scores by {:?} and {:?} differ by at most {apart:.1e}", Isa::best_f32(), Isa::best());
    // A forest's scores move by some 2e-3 when features lose their last bit: it may split where they differ by nothing more.
    assert!(apart < 0.03, "{apart}");
    let int8 = Isa::best_int8().map(judge);
    if int8.is_none() {
        eprintln!("SKIPPED: int8, for which this processor has no instructions");
    }
    for verdicts in [&exact, &fast].into_iter().chain(&int8) {
        let mean = |scores: &[(Label, f32)]| scores.iter().map(|s| s.1).sum::<f32>() / scores.len() as f32;
        let (normal, faulty) = verdicts.split_at(N_JUDGED);
        assert!(faulty.iter().all(|(label, _)| *label == Label::Anomalous), "{faulty:?}");
        assert!(mean(faulty) > mean(normal), "{verdicts:?}");
    }
}

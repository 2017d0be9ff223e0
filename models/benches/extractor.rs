//! ResNet-50 on the CPU: every shape of its layers, and the whole network, at 224 x 224 and at the paper's crop, 480 x 956.
//!
//! Throughput is in multiply-adds as they are done (Winograd's are fewer than the definition's; AMX takes three of bf16 for one of f32; those in int8 are of 8 bits). `make bench-peers` compares with
//! other engines.
#![allow(missing_docs, clippy::unwrap_used)] // macros of criterion; a benchmark may fail aloud

use anomalyd_models::extractor::kernels::{Convolution, Isa, Layer, Peak};
use anomalyd_models::extractor::{
    DeviceChoice, Normalisation, ResNet, ResNetSpec, Tap, Variant, random_resnet50,
};
use anomalyd_models::rng::Rng;
use anomalyd_models::{FeatureExtractor, ImageShape};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ndarray::Array4;

/// Rows and columns after the stem and its pooling, for the two images.
const MAPS: [[usize; 2]; 2] = [[56, 56], [120, 239]];

/// Outputs, inputs, kernel, stride, halvings of the map before, residual: the distinct layers of both variants.
const LAYERS: [(usize, usize, usize, usize, u32, bool); 20] = [
    (64, 64, 1, 1, 0, false),
    (64, 64, 3, 1, 0, false),
    (256, 64, 1, 1, 0, true),
    (64, 256, 1, 1, 0, false),
    (128, 256, 1, 1, 0, false),
    (128, 128, 3, 2, 0, false),
    (512, 256, 1, 2, 0, false),
    (128, 128, 3, 1, 1, false),
    (512, 128, 1, 1, 1, true),
    (128, 512, 1, 1, 1, false),
    (256, 256, 3, 2, 1, false),
    (1024, 512, 1, 2, 1, false),
    (256, 256, 3, 1, 2, false),
    (1024, 256, 1, 1, 2, true),
    (256, 1024, 1, 1, 2, false),
    (512, 512, 3, 2, 2, false),
    (2048, 1024, 1, 2, 2, false),
    (512, 512, 3, 1, 3, false),
    (2048, 512, 1, 1, 3, true),
    (512, 2048, 1, 1, 3, false),
];

fn layers(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("layer");
    group.sample_size(10).measurement_time(std::time::Duration::from_millis(500));
    let mut rng = Rng::new(1);
    for map in MAPS {
        for (n_out, n_in, kernel, stride, halvings, residual) in LAYERS {
            let [rows, columns] = map.map(|length| length.div_ceil(1 << halvings));
            let weight = Array4::from_shape_simple_fn((n_out, n_in, kernel, kernel), || rng.normal() as f32);
            let convolution = Convolution::new(weight, vec![0.0; n_out], stride).unwrap();
            for n_threads in [1, 2] {
                let mut sets = vec![Isa::best(), Isa::best_f32()];
                sets.dedup();
                for isa in sets.into_iter().chain(Isa::best_int8()) {
                    let map = [rows, columns];
                    let mut layer = Layer::compile(&convolution, map, residual, n_threads, isa).unwrap();
                    let each = if isa == Isa::Amx { 3 } else { 1 };
                    group.throughput(Throughput::Elements((each * layer.products()) as u64));
                    let name = format!(
                        "{kernel}x{kernel}/{stride} {n_in}->{n_out} at {rows}x{columns}, {isa:?}, threads={n_threads}"
                    );
                    group.bench_function(name, |bencher| bencher.iter(|| layer.run()));
                }
            }
        }
    }
    group.finish();
}

/// What registers alone allow: the throughputs above are to be seen beside it.
fn peaks(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("peak");
    group.sample_size(10);
    let int8 = [Isa::Int8Vnni, Isa::Int8Amx].into_iter().filter(|isa| isa.is_available());
    for isa in Isa::available().into_iter().chain(int8) {
        for n_threads in [1, 2] {
            let Ok(mut peak) = Peak::new(isa, n_threads) else { continue };
            group.throughput(Throughput::Elements(peak.products() as u64));
            group.bench_function(format!("{isa:?}, threads={n_threads}"), |bencher| {
                bencher.iter(|| peak.run())
            });
        }
    }
    group.finish();
}

fn networks(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("resnet50 to layer4");
    group.sample_size(10);
    let bytes = random_resnet50(Tap::Layer4, 1).unwrap();
    for (variant, normalisation) in
        [(Variant::V1, Normalisation::Caffe), (Variant::V1_5, Normalisation::Imagenet)]
    {
        let spec = ResNetSpec { variant, normalisation, bn_eps: 1e-5, last_tap: Tap::Layer4 };
        for (rows, columns) in [(224, 224), (480, 956)] {
            let image =
                Array4::from_shape_fn((1, 3, rows, columns), |(_, c, y, x)| ((x * y + c) % 256) as f32);
            for n_threads in [1, 2] {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(n_threads).build().unwrap();
                let shape = ImageShape { channels: 3, rows, columns };
                let network = pool
                    .install(|| ResNet::new("random", &bytes, &spec, Tap::Layer4, shape, &DeviceChoice::Cpu))
                    .unwrap();
                let name = format!("{variant:?}/{rows}x{columns}/threads={n_threads}");
                group.bench_function(name, |bencher| {
                    bencher.iter(|| pool.install(|| network.extract(image.view()).unwrap()))
                });
            }
        }
    }
    group.finish();
}

criterion_group!(benches, peaks, layers, networks);
criterion_main!(benches);

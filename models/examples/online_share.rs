//! What an online run of the paper's rule spends outside its extractor, at full width: ResNet-50 to layer4 with random weights.
//!
//! `cargo run --release -p anomalyd-models --example online_share -- THREADS DEVICE N_TREES FILE...`
//!
//! The files are images of which the paper's crop can be taken, in order; every one is accepted. Prints medians and totals, milliseconds.
#![allow(clippy::print_stdout, reason = "the output is the purpose")]

use anomalyd_models::detector::IsolationForestParams;
use anomalyd_models::extractor::{
    DeviceChoice, ExtractorParams, ExtractorSource, Normalisation, ResNet, ResNet50Params, ResNetSpec, Tap,
    Variant, random_resnet50,
};
use anomalyd_models::image::{Crop, Limits, Preprocess, decode};
use anomalyd_models::online::{ForestRuleParams, OnlineMethod, OnlineParams, OnlineRun};
use anomalyd_models::{FeatureExtractor, ImageShape};
use ndarray::{Array2, ArrayView3, ArrayView4};
use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// An extractor and the nanoseconds that it took.
struct Timed {
    network: ResNet,
    taken: Arc<AtomicU64>,
}

impl Timed {
    fn time<T>(&self, work: impl FnOnce(&ResNet) -> T) -> T {
        let start = Instant::now();
        let result = work(&self.network);
        self.taken.fetch_add(start.elapsed().as_nanos() as u64, Ordering::Relaxed);
        result
    }
}

impl FeatureExtractor for Timed {
    fn image_shape(&self) -> ImageShape {
        self.network.image_shape()
    }

    fn feature_shape(&self) -> [usize; 3] {
        self.network.feature_shape()
    }

    fn arithmetic(&self) -> &'static str {
        self.network.arithmetic()
    }

    fn extract(&self, images: ArrayView4<'_, f32>) -> anomalyd_models::Result<Array2<f32>> {
        self.time(|network| network.extract(images))
    }

    fn extract_levels(&self, levels: ArrayView3<'_, u8>) -> anomalyd_models::Result<Vec<f32>> {
        self.time(|network| network.extract_levels(levels))
    }
}

#[derive(Debug)]
struct RandomNetwork {
    device: DeviceChoice,
    taken: Arc<AtomicU64>,
}

impl ExtractorSource for RandomNetwork {
    fn extractor(
        &self,
        _: &ExtractorParams,
        shape: ImageShape,
    ) -> anomalyd_models::Result<Arc<dyn FeatureExtractor>> {
        let spec = ResNetSpec {
            variant: Variant::V1,
            normalisation: Normalisation::Caffe,
            bn_eps: 1e-5,
            last_tap: Tap::Layer4,
        };
        let network = ResNet::new(
            "random",
            &random_resnet50(Tap::Layer4, 1)?,
            &spec,
            Tap::Layer4,
            shape,
            &self.device,
        )?;
        Ok(Arc::new(Timed { network, taken: Arc::clone(&self.taken) }))
    }

    fn arithmetic(&self, params: &ExtractorParams) -> &'static str {
        params.arithmetic(self.device)
    }
}

fn median(times: &[f64]) -> f64 {
    let mut sorted = times.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut next =
        |name| arguments.next().ok_or(format!("{name} is missing: THREADS DEVICE N_TREES FILE..."));
    let (n_threads, device, n_trees) =
        (next("THREADS")?.parse()?, next("DEVICE")?.parse()?, next("N_TREES")?.parse()?);
    rayon::ThreadPoolBuilder::new().num_threads(n_threads).build_global()?;
    let taken = Arc::new(AtomicU64::new(0));
    let params = OnlineParams {
        method: OnlineMethod::Forest,
        forest: ForestRuleParams {
            extractor: ExtractorParams::ResNet50(ResNet50Params {
                weights: "random".into(),
                tap: Tap::Layer4,
            }),
            forest: IsolationForestParams { n_trees, ..IsolationForestParams::default() },
            threshold: 0.9999,
            ..ForestRuleParams::default()
        },
        ..OnlineParams::default()
    };
    let preprocess = Preprocess { crop: Some(Crop::PAPER), ..Preprocess::default() };
    let mut run = OnlineRun::with_extractors(
        params,
        preprocess,
        Arc::new(RandomNetwork { device, taken: Arc::clone(&taken) }),
    )?;
    let (mut inside, mut before, mut after) = (Vec::new(), Vec::new(), Vec::new());
    for (step, file) in (1..).zip(arguments) {
        let start = Instant::now();
        let image = decode(&std::fs::read(&file)?, &Limits::default())?;
        let decoded = start.elapsed().as_secs_f64();
        let so_far = taken.load(Ordering::Relaxed);
        run.judge(step, &image)?;
        let extracted = (taken.load(Ordering::Relaxed) - so_far) as f64 * 1e-9;
        // The first makes the network.
        if step > 1 {
            inside.push(extracted);
            before.push(decoded);
            after.push(start.elapsed().as_secs_f64() - decoded - extracted);
        }
    }
    let parts = [("extractor", &inside), ("read, decode", &before), ("judge", &after)];
    let total: f64 = parts.iter().flat_map(|(_, times)| times.iter()).sum();
    println!("{} images, {n_threads} threads", run.pool_size());
    for (name, times) in parts {
        let sum: f64 = times.iter().sum();
        println!(
            "{name:12} median {:7.2} greatest {:7.1} all {:9.0} {:5.1} %",
            1e3 * median(times),
            1e3 * times.iter().fold(0.0, |a, &b| f64::max(a, b)),
            1e3 * sum,
            100.0 * sum / total
        );
    }
    let outside: Vec<f64> = before.iter().zip(&after).map(|(a, b)| a + b).collect();
    for (quarter, (outside, inside)) in
        outside.chunks(outside.len().div_ceil(4)).zip(inside.chunks(inside.len().div_ceil(4))).enumerate()
    {
        println!(
            "quarter {} median outside {:6.2} extractor {:7.2}",
            quarter + 1,
            1e3 * median(outside),
            1e3 * median(inside)
        );
    }
    Ok(())
}

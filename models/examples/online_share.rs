//! What an online run of the paper's rule spends outside its extractor, at full width: ResNet-50 to layer4 with random weights.
//!
//! `cargo run --release -p anomalyd-models --example online_share -- THREADS DEVICE N_TREES ROWS PAUSE_MS FEATURES FILE...`
//!
//! ROWS, `f32` or `bf16`, says how features are kept. The files are images of which the paper's crop can be taken, in order; every one is accepted. After two of four the run is settled
//! while a simulation would compute for PAUSE_MS; those after the other two come at once, and wait for that first. Prints what either kind waits for, in
//! milliseconds: its extractor, and everything outside.
//!
//! FEATURES is a file of the features of the first images, which are then neither extracted nor timed: for a look at a run's end. It is
//! written if there is none; `-`: no file.
#![allow(clippy::print_stdout, reason = "the output is the purpose")]

use anomalyd_models::detector::IsolationForestParams;
use anomalyd_models::extractor::{
    DeviceChoice, ExtractorParams, ExtractorSource, Normalisation, ResNet, ResNet50Params, ResNetSpec, Tap,
    Variant, random_resnet50,
};
use anomalyd_models::image::{Crop, Limits, Preprocess, decode};
use anomalyd_models::online::{ForestRuleParams, OnlineMethod, OnlineParams, OnlineRun, RowFormat};
use anomalyd_models::{FeatureExtractor, ImageShape};
use ndarray::{Array2, ArrayView3, ArrayView4};
use std::error::Error;
use std::fs::File;
use std::io::{Read, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Features of images in order, read from a file or written to it.
#[derive(Debug)]
enum Features {
    None,
    Known(File),
    Written(File),
}

impl Features {
    fn open(path: &str) -> std::io::Result<Self> {
        match path {
            "-" => Ok(Self::None),
            path if std::fs::exists(path)? => File::open(path).map(Self::Known),
            path => File::create(path).map(Self::Written),
        }
    }

    /// The next image's, if they are known.
    fn next(&mut self, n_features: usize) -> Option<Vec<f32>> {
        let Self::Known(file) = self else { return None };
        let mut bytes = vec![0; 4 * n_features];
        file.read_exact(&mut bytes).ok()?;
        Some(bytes.as_chunks::<4>().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect())
    }

    fn write(&mut self, features: &[f32]) {
        if let Self::Written(file) = self {
            let bytes: Vec<u8> = features.iter().flat_map(|value| value.to_le_bytes()).collect();
            file.write_all(&bytes).expect("the file of features can be written");
        }
    }
}

/// What the extractor did.
#[derive(Debug)]
struct Work {
    /// Nanoseconds in the network.
    taken: AtomicU64,
    features: Mutex<Features>,
}

/// An extractor that notes what it does.
struct Timed {
    network: ResNet,
    work: Arc<Work>,
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
        self.network.extract(images)
    }

    fn extract_levels(&self, levels: ArrayView3<'_, u8>) -> anomalyd_models::Result<Vec<f32>> {
        let mut features = self.work.features.lock().expect("nothing has panicked");
        if let Some(known) = features.next(self.n_features()) {
            return Ok(known);
        }
        let start = Instant::now();
        let found = self.network.extract_levels(levels)?;
        self.work.taken.fetch_add(start.elapsed().as_nanos() as u64, Ordering::Relaxed);
        features.write(&found);
        Ok(found)
    }
}

#[derive(Debug)]
struct RandomNetwork {
    device: DeviceChoice,
    work: Arc<Work>,
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
        Ok(Arc::new(Timed { network, work: Arc::clone(&self.work) }))
    }

    fn arithmetic(&self, params: &ExtractorParams) -> &'static str {
        params.arithmetic(self.device)
    }
}

/// What images of one kind waited for, in seconds.
#[derive(Default)]
struct Waits {
    extractor: Vec<f64>,
    decode: Vec<f64>,
    rest: Vec<f64>,
}

fn show(name: &str, times: &[f64], total: f64) {
    let mut sorted = times.to_vec();
    sorted.sort_by(f64::total_cmp);
    let sum: f64 = times.iter().sum();
    println!(
        "  {name:12} mean {:7.2} median {:7.2} greatest {:7.1} {:5.1} %",
        1e3 * sum / times.len() as f64,
        1e3 * sorted[sorted.len() / 2],
        1e3 * sorted[sorted.len() - 1],
        100.0 * sum / total
    );
}

impl Waits {
    fn show(&self, kind: &str) {
        let outside: Vec<f64> = self.decode.iter().zip(&self.rest).map(|(a, b)| a + b).collect();
        let total = self.extractor.iter().chain(&outside).sum();
        println!("{} images {kind}", outside.len());
        let rows = [
            ("extractor", &self.extractor),
            ("read, decode", &self.decode),
            ("the rest", &self.rest),
            ("outside", &outside),
        ];
        rows.iter().for_each(|(name, times)| show(name, times, total));
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut next = |name| {
        arguments
            .next()
            .ok_or(format!("{name} is missing: THREADS DEVICE N_TREES ROWS PAUSE_MS FEATURES FILE..."))
    };
    let (n_threads, device, n_trees) =
        (next("THREADS")?.parse()?, next("DEVICE")?.parse()?, next("N_TREES")?.parse()?);
    let rows = match next("ROWS")?.as_str() {
        "f32" => RowFormat::F32,
        "bf16" => RowFormat::Bf16,
        other => return Err(format!("ROWS {other:?}: expected f32 or bf16").into()),
    };
    let pause = Duration::from_millis(next("PAUSE_MS")?.parse()?);
    let features = Mutex::new(Features::open(&next("FEATURES")?)?);
    rayon::ThreadPoolBuilder::new().num_threads(n_threads).build_global()?;
    let work = Arc::new(Work { taken: AtomicU64::new(0), features });
    let params = OnlineParams {
        method: OnlineMethod::Forest,
        forest: ForestRuleParams {
            extractor: ExtractorParams::ResNet50(ResNet50Params {
                weights: "random".into(),
                tap: Tap::Layer4,
            }),
            forest: IsolationForestParams { n_trees, ..IsolationForestParams::default() },
            rows,
            threshold: 0.9999,
            ..ForestRuleParams::default()
        },
        ..OnlineParams::default()
    };
    let preprocess = Preprocess { crop: Some(Crop::PAPER), ..Preprocess::default() };
    let extractors = Arc::new(RandomNetwork { device, work: Arc::clone(&work) });
    let mut run = OnlineRun::with_extractors(params, preprocess, extractors)?;
    let [mut at_once, mut paused] = [Waits::default(), Waits::default()];
    let mut settling = Vec::new();
    for (step, file) in (1..).zip(arguments) {
        let was_settled = run.is_settled();
        let start = Instant::now();
        let image = decode(&std::fs::read(&file)?, &Limits::default())?;
        let decoded = start.elapsed().as_secs_f64();
        let so_far = work.taken.load(Ordering::Relaxed);
        run.judge(step, &image)?;
        let all = start.elapsed().as_secs_f64();
        let extracted = (work.taken.load(Ordering::Relaxed) - so_far) as f64 * 1e-9;
        // The first makes the network, and known features take no time.
        let is_timed = step > 1 && extracted > 0.0;
        if is_timed {
            let waits = if was_settled { &mut paused } else { &mut at_once };
            waits.extractor.push(extracted);
            waits.decode.push(decoded);
            waits.rest.push(all - decoded - extracted);
        }
        // Of even and odd rows alike: two of them may share the pages that come with the first.
        if step % 4 < 2 {
            let start = Instant::now();
            run.settle()?;
            if is_timed {
                settling.push(start.elapsed().as_secs_f64());
                std::thread::sleep(pause.saturating_sub(start.elapsed()));
            }
        }
    }
    println!("{} images in all, {n_threads} threads", run.pool_size());
    at_once.show("that came at once");
    paused.show(&format!("that came after {} ms", pause.as_millis()));
    println!("meanwhile, while nobody waited");
    show("settling", &settling, f64::INFINITY);
    Ok(())
}

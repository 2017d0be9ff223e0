//! What it takes to store a run after an image (`runs.state_dir`), which its verdict waits for. Nobody tidies up, as where images come at once.
//!
//! `cargo run --release -p anomalyd --example stored_run -- THREADS IMAGES FEATURES DIRECTORY [FILE...]`
//!
//! With files, images in order, they are judged by the default method. Without, the paper's rule judges random FEATURES as they are after a
//! rectifier, of which a third is not zero. The run is left in DIRECTORY. Prints the times of the last tenth of IMAGES in milliseconds.
#![allow(clippy::print_stdout, reason = "the output is the purpose")]

use anomalyd::run_store::{Answered, RunStore};
use anomalyd_models::extractor::{ExtractorParams, ExtractorSource, OwnExtractors};
use anomalyd_models::image::{Crop, Decoded, Limits, Preprocess, decode};
use anomalyd_models::online::{OnlineMethod, OnlineParams, RunSettings, Streams};
use anomalyd_models::rng::Rng;
use anomalyd_models::{FeatureExtractor, ImageShape};
use ndarray::{Array2, Array3, ArrayView4};
use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Random features.
#[derive(Debug)]
struct Random {
    n_features: usize,
    n_images: AtomicU64,
}

impl FeatureExtractor for Random {
    fn image_shape(&self) -> ImageShape {
        ImageShape { channels: 1, rows: 8, columns: 8 }
    }

    fn feature_shape(&self) -> [usize; 3] {
        [self.n_features, 1, 1]
    }

    fn arithmetic(&self) -> &'static str {
        "f32"
    }

    fn extract(&self, _: ArrayView4<'_, f32>) -> anomalyd_models::Result<Array2<f32>> {
        let mut rng = Rng::derived(1, self.n_images.fetch_add(1, Ordering::Relaxed));
        let feature = || (rng.uniform() as f32 - 2.0 / 3.0).max(0.0);
        Ok(Array2::from_shape_simple_fn((1, self.n_features), feature))
    }
}

#[derive(Debug)]
struct Source(Arc<Random>);

impl ExtractorSource for Source {
    fn extractor(
        &self,
        _: &ExtractorParams,
        _: ImageShape,
    ) -> anomalyd_models::Result<Arc<dyn FeatureExtractor>> {
        Ok(Arc::clone(&self.0) as _)
    }

    fn arithmetic(&self, _: &ExtractorParams) -> &'static str {
        "f32"
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [n_threads, n_images, n_features, directory, files @ ..] = arguments.as_slice() else {
        return Err("THREADS IMAGES FEATURES DIRECTORY [FILE...]".into());
    };
    let (n_threads, n_images, n_features): (usize, usize, usize) =
        (n_threads.parse()?, n_images.parse()?, n_features.parse()?);
    rayon::ThreadPoolBuilder::new().num_threads(n_threads).build_global()?;
    let mut params = OnlineParams::default();
    let mut preprocess = Preprocess { crop: Some(Crop::PAPER), ..Preprocess::default() };
    let mut extractors: Arc<dyn ExtractorSource> = Arc::new(OwnExtractors::default());
    if files.is_empty() {
        params.method = OnlineMethod::Forest;
        params.forest.forest.n_trees = 1;
        params.forest.threshold = 0.9999;
        params.forest.max_images = n_images.max(20);
        preprocess.crop = None;
        extractors = Arc::new(Source(Arc::new(Random { n_features, n_images: AtomicU64::new(0) })));
    }
    let settings = RunSettings { params, preprocess, extractors, max_streams: 1 };
    let store = RunStore::open(Path::new(directory))?;
    let mut files_of_run = store.open_run("a", &settings).0;
    let mut run = Streams::new(settings)?;
    let mut times = Vec::new();
    for step in 0..n_images {
        let image = match files.get(step % files.len().max(1)) {
            Some(file) => decode(&std::fs::read(file)?, &Limits::default())?,
            None => Decoded { pixels: Array3::from_elem((8, 8, 1), step as u8), format: "png" },
        };
        run.judge("", step as i64, &image)?;
        let start = Instant::now();
        files_of_run.save(&run, &Answered::default())?;
        times.push(1e3 * start.elapsed().as_secs_f64());
        run.settle()?;
    }
    let mut last = times.split_off(n_images - n_images.div_ceil(10));
    last.sort_by(f64::total_cmp);
    println!(
        "{n_images} images, {n_threads} threads: mean {:.2} median {:.2} least {:.2} greatest {:.2}",
        last.iter().sum::<f64>() / last.len() as f64,
        last[last.len() / 2],
        last[0],
        last[last.len() - 1]
    );
    Ok(())
}

//! Judges image files in the order given, as one run whose steps are their numbers, and prints one line each.
//!
//! `cargo run --release -p anomalyd-models --example judge_images -- [PARAMETERS] FILE...`
//!
//! PARAMETERS is a JSON object: `{"online": {...}, "preprocess": {...}}`, each part as in the configuration. An alarm is not
//! answered by a rewind: the images after it are then judged without it.
#![allow(clippy::print_stdout, reason = "the output is the purpose")]

use anomalyd_models::extractor::{DeviceChoice, WeightsStore};
use anomalyd_models::image::{Limits, Preprocess, decode};
use anomalyd_models::online::{OnlineParams, OnlineRun};
use std::error::Error;
use std::time::Instant;

#[derive(Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Parameters {
    online: OnlineParams,
    preprocess: Preprocess,
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1).peekable();
    let parameters = match arguments.next_if(|first| first.starts_with('{')) {
        Some(json) => serde_json::from_str(&json)?,
        None => Parameters::default(),
    };
    let store = WeightsStore::default().into();
    let mut run = OnlineRun::new(parameters.online, parameters.preprocess, store, DeviceChoice::default())?;
    println!("step,label,score,threshold,pool,row0,column0,row1,column1,decode_ms,judge_ms,file");
    for (step, file) in (1..).zip(arguments) {
        let start = Instant::now();
        let image = decode(&std::fs::read(&file)?, &Limits::default())?;
        let decoded = start.elapsed().as_secs_f64();
        let judgement = run.judge(step, &image)?;
        let judged = start.elapsed().as_secs_f64() - decoded;
        let region =
            judgement.region.map_or(",,,".into(), |region| region.map(|pixel| pixel.to_string()).join(","));
        let (verdict, pool) = (judgement.verdict, run.pool_size());
        let label = format!("{:?}", verdict.label).to_lowercase();
        println!(
            "{step},{label},{:.3},{},{pool},{region},{:.1},{:.1},{file}",
            verdict.score,
            verdict.threshold,
            1e3 * decoded,
            1e3 * judged
        );
    }
    Ok(())
}

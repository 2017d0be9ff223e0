//! The default online rule on the shared surrogate runs, by the default parameters and the paper's crop.
//!
//! The data is found by ANOMALYD_SHARED, else beside the repository; where it is absent the tests say so and pass.
#![allow(
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a skipped test is to be seen, a broken one to fail"
)]

use anomalyd_models::extractor::{DeviceChoice, WeightsStore};
use anomalyd_models::image::{Crop, Decoded, Limits, Preprocess, decode};
use anomalyd_models::online::{OnlineParams, OnlineRun};
use anomalyd_models::{Judgement, Label};
use std::path::PathBuf;

fn frames(run: &str) -> Option<PathBuf> {
    let shared = std::env::var_os("ANOMALYD_SHARED")
        .map_or_else(|| concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared").into(), PathBuf::from);
    let folder = shared.join("data").join(run).join("frames");
    if folder.is_dir() {
        return Some(folder);
    }
    eprintln!("SKIPPED: no {} (set ANOMALYD_SHARED to the folder that holds data/)", folder.display());
    None
}

fn load(run: &str, step: i64) -> Decoded {
    let file = frames(run).unwrap().join(format!("frame_{step:04}.png"));
    decode(&std::fs::read(&file).unwrap(), &Limits::default()).unwrap()
}

fn new_run() -> OnlineRun {
    let preprocess = Preprocess { crop: Some(Crop::PAPER), ..Preprocess::default() };
    OnlineRun::new(
        OnlineParams::default(),
        preprocess,
        WeightsStore::default().into(),
        DeviceChoice::default(),
    )
    .unwrap()
}

fn feed(run: &mut OnlineRun, name: &str, steps: std::ops::RangeInclusive<i64>) -> Vec<Judgement> {
    steps.map(|step| run.judge(step, &load(name, step)).unwrap()).collect()
}

fn n_alarms(judgements: &[Judgement]) -> usize {
    judgements.iter().filter(|judgement| judgement.verdict.label == Label::Anomalous).count()
}

/// The sum of squared differences of two images inside a region of the file, as a fraction of that inside the crop.
fn share_of_change(a: &Decoded, b: &Decoded, [row0, column0, row1, column1]: [usize; 4]) -> f64 {
    let (mut within, mut all) = (0, 0);
    for row in Crop::PAPER.rows[0]..=Crop::PAPER.rows[1] {
        for column in Crop::PAPER.columns[0]..=Crop::PAPER.columns[1] {
            let change: u64 = (0..3)
                .map(|k| u64::from(a.pixels[[row, column, k]].abs_diff(b.pixels[[row, column, k]])).pow(2))
                .sum();
            all += change;
            if (row0..=row1).contains(&row) && (column0..=column1).contains(&column) {
                within += change;
            }
        }
    }
    within as f64 / all as f64
}

/// The smallest rectangle around the brightest pixels of the heat map of the image judged last; its outline is blue.
fn hottest(run: &OnlineRun, image: &Decoded) -> [usize; 4] {
    let map = run.heat_map(image).unwrap();
    let brightness = map.pixels().map_axis(ndarray::Axis(2), |pixel| {
        if pixel[2] > pixel[0] { 0 } else { pixel.iter().map(|&level| u32::from(level)).sum::<u32>() }
    });
    let greatest = brightness.iter().copied().max().unwrap();
    let places = brightness.indexed_iter().filter(|(_, sum)| **sum == greatest).map(|(place, _)| place);
    places.fold([usize::MAX, usize::MAX, 0, 0], |[row0, column0, row1, column1], (row, column)| {
        [row0.min(row), column0.min(column), row1.max(row), column1.max(column)]
    })
}

#[test]
fn run_b_alarms_at_its_first_faulty_image_and_not_in_its_fault_free_continuation() {
    let (Some(_), Some(_)) = (frames("run_b"), frames("run_b_clean")) else { return };
    let mut run = new_run();
    let normal = feed(&mut run, "run_b", 1..=360);
    let first = normal.iter().position(|judgement| judgement.verdict.label != Label::Unknown).unwrap();
    assert!(first < 16, "the first verdict is that of image {}", first + 1);
    assert!(n_alarms(&normal) <= 2, "{} false alarms", n_alarms(&normal));

    run.rewind(360).unwrap();
    let image = load("run_b", 361);
    let fault = run.judge(361, &image).unwrap();
    assert_eq!(fault.verdict.label, Label::Anomalous, "{fault:?}");
    // The fault is where the image differs from that of the same run without it.
    let region = fault.region.unwrap();
    let share = share_of_change(&image, &load("run_b_clean", 361), region);
    let area = (region[2] - region[0] + 1) * (region[3] - region[1] + 1);
    let share_of_area = area as f64 / (480 * 956) as f64;
    assert!(
        share > 0.25 && share > 10.0 * share_of_area,
        "{region:?}: {share} of the change in {share_of_area} of the area"
    );

    let hottest = hottest(&run, &image);
    let share = share_of_change(&image, &load("run_b_clean", 361), hottest);
    let share_of_area =
        ((hottest[2] - hottest[0] + 1) * (hottest[3] - hottest[1] + 1)) as f64 / (480 * 956) as f64;
    eprintln!("run_b 361: hottest {hottest:?}, {share:.3} of the change in {share_of_area:.5} of the area");
    assert!(
        share > 10.0 * share_of_area,
        "{hottest:?}: {share} of the change in {share_of_area} of the area"
    );

    assert_eq!(run.rewind(360).unwrap(), 0);
    let continued = feed(&mut run, "run_b_clean", 361..=400);
    assert!(n_alarms(&continued) <= 1, "{} false alarms", n_alarms(&continued));
}

#[test]
fn run_a_watched_from_its_middle_alarms_at_its_first_faulty_image() {
    let Some(_) = frames("run_a") else { return };
    let mut run = new_run();
    let normal = feed(&mut run, "run_a", 600..=732);
    assert!(n_alarms(&normal) <= 1, "{} false alarms", n_alarms(&normal));
    let image = load("run_a", 733);
    let fault = run.judge(733, &image).unwrap();
    assert_eq!(fault.verdict.label, Label::Anomalous, "{fault:?}");
    // Ray 108 of 144, theta = 135.6 degrees, at radii of 2.9 to 3.6: 117.5 pixels a unit around row 598, column 734.5.
    let [row0, column0, row1, column1] = fault.region.unwrap();
    assert!(row0 <= 355 && row1 >= 300 && column0 <= 490 && column1 >= 440, "{fault:?}");
    // The zones that were hit are rows 297 to 360, columns 427 to 491; a patch, 16 pixels, around them what has spread since.
    let hottest = hottest(&run, &image);
    let [row0, column0, row1, column1] = hottest;
    eprintln!("run_a 733: hottest {hottest:?}");
    assert!(row0 >= 281 && row1 <= 376 && column0 >= 411 && column1 <= 507, "{hottest:?}");
}

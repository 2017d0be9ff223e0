//! `anomalyd fit`: images believed normal, to an artefact.

use super::images::expand;
use super::models::open_store;
use super::progress::Show;
use super::{Exit, say};
use crate::cli::FitArgs;
use crate::instance::unix_seconds;
use anomalyd_models::artefact::Artefact;
use anomalyd_models::calibration::CalibrationParams;
use anomalyd_models::detector::{
    DetectorParams, ExtendedForestParams, IsolationForestParams, OneClassSvmParams,
};
use anomalyd_models::extractor::{DeviceChoice, ExtractorParams, HogParams, ResNet50Params, Tap};
use anomalyd_models::image::{Colour, Crop, Decoded, Limits, Preprocess, decode};
use anomalyd_models::pipeline::{Pipeline, PipelineParams, Progress, Stage};
use anomalyd_models::{Error, SampleWeights};
use anyhow::{Context, bail, ensure};
use std::cell::RefCell;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

pub(super) fn run(args: &FitArgs) -> anyhow::Result<Exit> {
    let start = Instant::now();
    let params = params(args)?;
    let device: DeviceChoice = args.compute.device.parse()?;
    let weights = open_store(&args.compute.weights.weights_dir)?;
    make_room(&args.output)?;
    let mut files = expand(&args.paths)?;
    if let Some((first, last)) = args.range {
        let n_files = files.len();
        ensure!(last <= n_files, "--range {first}:{last}: there are {n_files} images");
        files = files.drain(first - 1..last).collect();
    }
    if let (Some(first), Some(last)) = (files.first(), files.last()) {
        tracing::info!(n = files.len(), first = %first.display(), last = %last.display(), "fitting");
    }
    // An error among the images does not say of which file it is.
    let current: RefCell<PathBuf> = RefCell::default();
    let images = files.iter().map(|path| {
        current.replace(path.clone());
        read(path)
    });
    let mut show = Show::new();
    let fitted = Pipeline::fit(&params, images, &weights, &device, &mut |Progress { stage, done, total }| {
        show.update(name_of(stage), done, total);
    });
    show.finish();
    let pipeline = match fitted {
        Ok(pipeline) => pipeline,
        Err(error @ (Error::Image(_) | Error::Shape { .. } | Error::Io { .. })) => {
            let image = current.borrow().display().to_string();
            let _ = writeln!(std::io::stderr(), "anomalyd: {image}: {error}");
            return Ok(Exit::Input);
        }
        Err(error) => return Err(error.into()),
    };
    let artefact = Artefact::save(pipeline, &args.output, Some(iso_8601(unix_seconds())))?;
    let (pipeline, manifest) = (artefact.pipeline(), artefact.manifest());
    let images = pipeline.images();
    let threshold = pipeline.threshold();
    say(format_args!("artefact   {}", args.output.display()));
    say(format_args!("sha256     {}", manifest.sha256));
    say(format_args!(
        "images     {} of {} x {} pixels, the detector fitted on {}",
        images.n_images, images.file_size[0], images.file_size[1], images.n_fitted
    ));
    let [channels, rows, columns] = manifest.feature_shape;
    say(format_args!(
        "features   {channels} x {rows} x {columns}, {} seen by the detector",
        manifest.n_detector_features
    ));
    if let Some(weights) = pipeline.weights() {
        say(format_args!("weights    {} (sha256 {})", weights.name, weights.sha256));
    }
    match threshold.false_alarm_rate() {
        Some(rate) => say(format_args!(
            "threshold  {:.6}, from {} images held out, at a false-alarm rate of {rate}",
            threshold.value(),
            threshold.scores().len()
        )),
        None => say(format_args!("threshold  {:.6}", threshold.value())),
    }
    say(format_args!("time       {:.1} s", start.elapsed().as_secs_f64()));
    Ok(Exit::Success)
}

/// Makes sure that the artefact can be written, before minutes are spent on it.
fn make_room(output: &Path) -> anyhow::Result<()> {
    ensure!(
        std::fs::symlink_metadata(output).is_err(),
        "--output {} is there already: remove it, or choose another directory",
        output.display()
    );
    std::fs::create_dir_all(output)
        .and_then(|()| std::fs::remove_dir(output))
        .with_context(|| format!("--output {} cannot be made", output.display()))
}

/// Reads and decodes one file.
fn read(path: &Path) -> anomalyd_models::Result<Decoded> {
    let bytes = std::fs::read(path).map_err(|source| Error::Io { path: path.to_owned(), source })?;
    Ok(decode(&bytes, &Limits::default())?)
}

fn params(args: &FitArgs) -> anyhow::Result<PipelineParams> {
    let extractor = match (args.extractor.as_str(), &args.weights, &args.tap) {
        ("hog", None, None) => ExtractorParams::Hog(HogParams::default()),
        ("hog", _, _) => bail!("--weights and --tap are for --extractor resnet50; hog needs neither"),
        ("resnet50", None, _) => {
            bail!("--extractor resnet50 needs --weights NAME: see `anomalyd models list`")
        }
        ("resnet50", Some(weights), tap) => {
            let tap = match tap {
                None => Tap::default(),
                Some(name) => {
                    Tap::ALL.into_iter().find(|tap| tap.to_string() == *name).with_context(|| {
                        format!("--tap {name}: expected {}", Tap::ALL.map(|tap| tap.to_string()).join(", "))
                    })?
                }
            };
            ExtractorParams::ResNet50(ResNet50Params { weights: weights.clone(), tap })
        }
        (other, _, _) => bail!("--extractor {other}: expected hog or resnet50"),
    };
    let colour = match (args.colour.as_deref(), &extractor) {
        (Some("grey"), _) | (None, ExtractorParams::Hog(_)) => Colour::Grey,
        (Some("rgb"), _) | (None, ExtractorParams::ResNet50(_)) => Colour::Rgb,
        (Some(other), _) => bail!("--colour {other}: expected grey or rgb"),
    };
    ensure!(args.reduce >= 1, "--reduce 0: expected at least 1");
    let defaults = PipelineParams::default();
    let calibration = match (args.contamination, args.threshold, defaults.calibration) {
        (Some(contamination), _, _) => CalibrationParams::Contamination { contamination },
        (None, Some(value), _) => CalibrationParams::Fixed { value },
        (None, None, CalibrationParams::HeldOut { every, false_alarm_rate }) => CalibrationParams::HeldOut {
            every: args.hold_out_every.unwrap_or(every),
            false_alarm_rate: args.false_alarm_rate.unwrap_or(false_alarm_rate),
        },
        (None, None, other) => other,
    };
    let params = PipelineParams {
        seed: args.seed,
        scale: !args.no_scale,
        n_components: args.components.filter(|n| *n > 0),
        preprocess: Preprocess { crop: crop(&args.crop)?, colour, reduce: args.reduce },
        extractor,
        detector: detector(args)?,
        calibration,
        sample_weights: match (&args.sample_weights, args.half_life) {
            (Some(path), _) => SampleWeights::Listed { weights: weights(path)? },
            (None, Some(n_images)) => SampleWeights::HalfLife { n_images },
            (None, None) => SampleWeights::Equal,
        },
    };
    params.check()?;
    Ok(params)
}

/// Reads a number for each image, apart by white space.
fn weights(path: &Path) -> anyhow::Result<Vec<f64>> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("--sample-weights {}", path.display()))?;
    let number = |(line, word): (usize, &str)| {
        word.parse().ok().with_context(|| {
            format!("--sample-weights {}, line {line}: \"{word}\", expected a number", path.display())
        })
    };
    let lines = (1..).zip(text.lines());
    lines
        .flat_map(|(line, words)| words.split_whitespace().map(move |word| (line, word)))
        .map(number)
        .collect()
}

/// Refuses what the chosen detector has no use for, so that nobody believes it to have an effect.
fn detector(args: &FitArgs) -> anyhow::Result<DetectorParams> {
    let given = |wanted: &str, flags: &[(&str, bool)]| match flags.iter().find(|(_, given)| *given) {
        Some((flag, _)) => bail!("{flag} is for --detector {wanted}, not for {}", args.detector),
        None => Ok(()),
    };
    let of_forests = [
        ("--trees", args.trees.is_some()),
        ("--sample-size", args.sample_size.is_some()),
        ("--max-depth", args.max_depth.is_some()),
    ];
    let of_extended = [("--split-columns", args.split_columns.is_some())];
    let of_svm =
        [("--nu", args.nu.is_some()), ("--gamma", args.gamma.is_some()), ("--kernel", args.kernel.is_some())];
    let forest = IsolationForestParams::default();
    let n_trees = args.trees.unwrap_or(forest.n_trees);
    let (sample_size, max_depth) = (args.sample_size, args.max_depth);
    match args.detector.as_str() {
        "isolation-forest" => {
            given("one-class-svm", &of_svm)?;
            given("extended-forest", &of_extended)?;
            Ok(DetectorParams::IsolationForest(IsolationForestParams { n_trees, sample_size, max_depth }))
        }
        "extended-forest" => {
            given("one-class-svm", &of_svm)?;
            let n_columns = args.split_columns.unwrap_or(ExtendedForestParams::default().n_columns);
            let params = ExtendedForestParams { n_columns, n_trees, sample_size, max_depth };
            Ok(DetectorParams::ExtendedForest(params))
        }
        "one-class-svm" => {
            given("isolation-forest or extended-forest", &of_forests)?;
            given("extended-forest", &of_extended)?;
            let defaults = OneClassSvmParams::default();
            Ok(DetectorParams::OneClassSvm(OneClassSvmParams {
                nu: args.nu.unwrap_or(defaults.nu),
                gamma: args.gamma.as_ref().map_or(Ok(defaults.gamma), |gamma| gamma.parse())?,
                kernel: args.kernel.as_ref().map_or(Ok(defaults.kernel), |kernel| kernel.parse())?,
                ..defaults
            }))
        }
        other => bail!("--detector {other}: expected isolation-forest, extended-forest or one-class-svm"),
    }
}

/// `none`, `paper` or `FIRST_ROW:LAST_ROW,FIRST_COLUMN:LAST_COLUMN`.
pub(super) fn crop(text: &str) -> anyhow::Result<Option<Crop>> {
    let interval = |text: &str| {
        let (first, last) = text.split_once(':')?;
        let (first, last) = (first.parse().ok()?, last.parse().ok()?);
        (first <= last).then_some([first, last])
    };
    match text {
        "none" => Ok(None),
        "paper" => Ok(Some(Crop::PAPER)),
        _ => text
            .split_once(',')
            .and_then(|(rows, columns)| Some(Crop { rows: interval(rows)?, columns: interval(columns)? }))
            .map(Some)
            .with_context(|| {
                format!("--crop {text}: expected none, paper or FIRST_ROW:LAST_ROW,FIRST_COLUMN:LAST_COLUMN")
            }),
    }
}

/// What a stage is called where it is shown.
fn name_of(stage: Stage) -> &'static str {
    match stage {
        Stage::Extract => "features of images",
        Stage::Scale => "means and deviations",
        Stage::Project => "principal components",
        Stage::Fit => "detector",
        Stage::Calibrate => "threshold",
        _ => "fitting",
    }
}

/// Seconds since 1970 as date and time in UTC, `2026-01-31T23:59:59Z`.
fn iso_8601(unix_s: u64) -> String {
    // Howard Hinnant's days-to-civil: years begin in March, so that the leap day is the last of a year.
    let (days, seconds) = (unix_s / 86_400 + 719_468, unix_s % 86_400);
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (unix_s, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (951_868_800, "2000-03-01T00:00:00Z"),
            (1_767_225_599, "2025-12-31T23:59:59Z"),
        ] {
            assert_eq!(iso_8601(unix_s), text);
        }
    }

    #[test]
    fn crop_is_a_preset_or_two_intervals() {
        assert_eq!(crop("paper").unwrap(), Some(Crop::PAPER));
        assert_eq!(crop("122:601,257:1212").unwrap(), Some(Crop::PAPER));
        for wrong in ["1:2", "2:1,0:1", "a:b,c:d", ""] {
            assert!(crop(wrong).is_err(), "{wrong}");
        }
    }
}

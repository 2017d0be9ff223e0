//! Arguments of the commands that judge recorded runs: `replay` and `evaluate`.

use super::{ConfigArgs, devices, size};
use clap::Args;
use std::path::PathBuf;

/// Which images of a recorded run are judged, and how.
#[derive(Debug, Args)]
pub struct WatchArgs {
    /// Where settings come from.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Part of the image to judge: none, paper, or FIRST_ROW:LAST_ROW,FIRST_COLUMN:LAST_COLUMN (image.crop)
    #[arg(long, value_name = "CROP")]
    pub crop: Option<String>,
    /// How images are judged, for example one_step_ahead or forest (online.method)
    #[arg(long, value_name = "METHOD")]
    pub method: Option<String>,
    /// Directory of weights files; may be given again (models.weights_dirs)
    #[arg(long, value_name = "DIR")]
    pub weights_dir: Vec<PathBuf>,
    /// Where extractors compute (models.device).
    #[arg(long, value_name = "DEVICE", help = concat!(devices!(), " (models.device)"))]
    pub device: Option<String>,
    /// Every N-th image of a run only
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub every: u32,
    /// First step
    #[arg(long, value_name = "STEP", allow_negative_numbers = true)]
    pub from: Option<i64>,
}

/// What happens after an alarm in a recorded run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum OnAlarm {
    /// Go on with the next image; the alarmed one stays out of the run's memory, as in a simulation that ignores the alarm
    #[default]
    GoOn,
    /// Judge the alarmed image once more, as after a rewind that reproduces it: it is accepted, and later ones are compared with it
    Rewind,
}

/// Arguments of `replay`.
#[derive(Debug, Args)]
pub struct ReplayArgs {
    /// Images or raw fields (.npy) of one run: files, directories (all images in them, or else all fields) or patterns with * and ?
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// What to judge, and how.
    #[command(flatten)]
    pub watch: WatchArgs,
    /// Last step
    #[arg(long, value_name = "STEP", allow_negative_numbers = true)]
    pub to: Option<i64>,
    /// What happens after an alarm
    #[arg(long, default_value = "go-on", value_name = "WHAT")]
    pub on_alarm: OnAlarm,
    /// Write one JSON object an image to this file; - for standard output, instead of the table
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Write a report to this file: one HTML page with charts and pictures, which needs nothing else
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Write the run's calibration, by its newest 300 images, to this new file: an artefact that lends it to later runs
    /// (online.one_step_ahead.prior)
    #[arg(long, value_name = "FILE")]
    pub save_prior: Option<PathBuf>,
}

/// Arguments of `evaluate`.
#[derive(Debug, Args)]
pub struct EvaluateArgs {
    /// Manifests of labelled runs; a run is named after its manifest's directory
    #[arg(required = true, value_name = "MANIFEST")]
    pub manifests: Vec<PathBuf>,
    /// Put the earlier images of this manifest before the run NAME, or before all runs that begin later than it; may be given again
    #[arg(long, value_name = "[NAME=]MANIFEST")]
    pub before: Vec<String>,
    /// What to judge, and how.
    #[command(flatten)]
    pub watch: WatchArgs,
    /// Paint so many faults, each alone, into normal images of the runs, and count those found at their first appearance
    #[arg(long, value_name = "N")]
    pub inject: Option<usize>,
    /// Factors that the faults multiply values by, above 1, parted by commas; default: 1.25,1.5,2,4
    #[arg(long, value_name = "FACTORS", value_delimiter = ',', requires = "inject", value_parser = contrast)]
    pub inject_contrasts: Vec<f64>,
    /// Sizes of the faults, in pixels of the images (default: 300,1200,4800) or in zones of raw fields (default: 12,50,200)
    #[arg(long, value_name = "SIZES", value_delimiter = ',', requires = "inject", value_parser = size)]
    pub inject_sizes: Vec<usize>,
    /// Pixels of an image that show one zone of the simulation's grid: sizes of faults are then told in zones as well
    #[arg(long, value_name = "N", requires = "inject", value_parser = pixels)]
    pub pixels_per_zone: Option<f64>,
    /// Draw the share of faults found by contrast and size to this file, an SVG that needs nothing else
    #[arg(long, value_name = "FILE", requires = "inject")]
    pub inject_figure: Option<PathBuf>,
    /// Judge every N-th normal image flipped as well, without a trace
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), num_args = 0..=1, default_missing_value = "10")]
    pub flips: Option<u32>,
    /// Seed of the faults painted
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub seed: u64,
    /// Write the figures to this file as JSON; - for standard output, instead of the tables
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

fn number(text: &str, above: f64) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|value: &f64| value.is_finite() && *value > above)
        .ok_or_else(|| format!("expected a number above {above}"))
}

fn contrast(text: &str) -> Result<f64, String> {
    number(text, 1.0)
}

fn pixels(text: &str) -> Result<f64, String> {
    number(text, 0.0)
}

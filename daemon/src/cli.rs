//! The command line.

use crate::config::LogFormat;
use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;

/// A persistent anomaly-detection daemon for running simulations
#[derive(Debug, Parser)]
#[command(
    name = "anomalyd",
    version,
    after_help = "Exit codes: 0 success, 2 usage or configuration; classify and health have more, see their help."
)]
pub struct Cli {
    /// What to do
    #[command(subcommand)]
    pub command: Command,
    /// Log level: error, warn, info, debug, trace, or directives such as info,anomalyd=debug
    #[arg(long, global = true, value_name = "LEVEL", env = "ANOMALYD_LOG_LEVEL")]
    pub log_level: Option<String>,
    /// Form of the log lines on standard error
    #[arg(long, global = true, value_name = "FORMAT", env = "ANOMALYD_LOG_FORMAT")]
    pub log_format: Option<LogFormat>,
    /// Threads that compute (workers.threads); default: one for each processor that affinity mask and control group allow, which is also
    /// the most
    #[arg(long, global = true, value_name = "N", value_parser = size)]
    pub threads: Option<usize>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve until SIGTERM; SIGHUP reads the models again
    Serve(ServeArgs),
    /// Fit a model on images believed normal, and write it as an artefact
    Fit(FitArgs),
    /// Judge images, by a daemon or by an artefact in this process
    #[command(
        after_help = "Exit codes: 0 normal, 1 anomalous, 2 usage or configuration, 3 unknown (no verdict yet), 4 the image \
cannot be judged (missing, damaged, forbidden ...), 5 no answer from the daemon, or its fault. Of several images the worst counts: \
5, 4, 1, 3, 0 in this order."
    )]
    Classify(ClassifyArgs),
    /// Tell a daemon the truth about an image of a run, as you see it
    #[command(
        after_help = "A label overrides the score whenever the same pixels come back at that step. `normal` for an image that raised an alarm: it \
joins those believed normal, at once if nothing has been accepted since. `anomalous` for an accepted image: it and all later ones are forgotten, \
as by a rewind; the simulation itself is not told. Exit codes: 0 done, 2 usage, 4 the run or the step is not remembered, 5 no answer from \
the daemon, or its fault."
    )]
    Label(LabelArgs),
    /// Judge recorded images of a run as if they came live, and report on them
    #[command(
        after_help = "Images are judged in natural order of their names by the settings of the daemon ([image], [online]). Steps are the \
numbers in the file names that increase from image to image, else the positions from 1. Exit codes: 0 no alarm, 1 alarms, 2 usage or configuration, \
3 no verdict at all (too few images), 4 an image cannot be judged; the first of 4, 1, 3, 0 that applies."
    )]
    Replay(ReplayArgs),
    /// Judge labelled runs: false alarms, delay to the first alarm, cheap baselines beside it, faults painted into images
    #[command(
        after_help = "A manifest is a comma-separated table with the columns file (relative to it), label (valid or normal, or anomalous) and \
frame or step. An alarm on a normal image is answered by a rewind that brings it again, and it is accepted; an alarmed faulty image stays out. \
Exit codes: 0 done, 2 usage, configuration, or an image that cannot be judged."
    )]
    Evaluate(EvaluateArgs),
    /// Ask a daemon how it is, for Nagios and its like
    #[command(
        after_help = "Exit codes: 0 OK, 1 WARNING (queue nearly full, draining), 2 CRITICAL (no daemon, no answer, no progress), \
3 UNKNOWN (usage). Prints one line with performance data."
    )]
    Health(HealthArgs),
    /// List, check and fetch the weights of extractors, and fitted models
    #[command(subcommand)]
    Models(ModelsCommand),
    /// Make a pair of CURVE keys, for the daemon or for a client
    Keygen(KeygenArgs),
    /// Check or show the configuration
    #[command(subcommand)]
    Config(ConfigCommand),
}

/// Where settings come from, for the commands that need them all.
#[derive(Debug, Default, Args)]
pub struct ConfigArgs {
    /// Configuration file (TOML), as deploy/anomalyd.toml
    #[arg(long, value_name = "FILE", env = "ANOMALYD_CONFIG")]
    pub config: Option<PathBuf>,
    /// Any setting of the file, for example queue.capacity=8; each is also a variable, as ANOMALYD_QUEUE_CAPACITY
    #[arg(long, value_name = "SECTION.KEY=VALUE", value_parser = setting)]
    pub set: Vec<(String, String)>,
}

fn setting(text: &str) -> Result<(String, String), String> {
    text.split_once('=')
        .map(|(setting, value)| (setting.trim().to_owned(), value.trim().to_owned()))
        .ok_or_else(|| "expected section.key=value".to_owned())
}

/// Arguments of `serve`; those that are settings go before variables and the file.
#[derive(Debug, Default, Args)]
pub struct ServeArgs {
    /// Where settings come from.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Endpoint of the service socket, ipc:///PATH or tcp://ADDRESS:PORT; may be given again (sockets.service)
    #[arg(long, value_name = "ENDPOINT")]
    pub service: Vec<String>,
    /// Endpoint of the control socket; may be given again (sockets.control)
    #[arg(long, value_name = "ENDPOINT")]
    pub control: Vec<String>,
    /// Directory of sockets and endpoint file (sockets.runtime_dir)
    #[arg(long, value_name = "DIR")]
    pub runtime_dir: Option<PathBuf>,
    /// File to tell clients the endpoints by (sockets.endpoint_file)
    #[arg(long, value_name = "FILE")]
    pub endpoint_file: Option<PathBuf>,
    /// Directory below which images may lie; may be given again (paths.roots)
    #[arg(long, value_name = "DIR")]
    pub roots: Vec<PathBuf>,
    /// Directory to keep runs in, so that they outlive this process (runs.state_dir)
    #[arg(long, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
    /// Images judged at the same time (workers.count)
    #[arg(long, value_name = "N")]
    pub workers: Option<usize>,
    /// `--threads`, which all commands have (workers.threads).
    #[arg(skip)]
    pub threads: Option<usize>,
    /// Part of the image to judge: none or paper (image.crop)
    #[arg(long, value_name = "CROP")]
    pub crop: Option<String>,
    /// Directory of fitted models (models.models_dir)
    #[arg(long, value_name = "DIR")]
    pub models_dir: Option<PathBuf>,
    /// Model of requests that name none (models.default)
    #[arg(long, value_name = "NAME")]
    pub model: Option<String>,
    /// Directory of weights files; may be given again (models.weights_dirs)
    #[arg(long, value_name = "DIR")]
    pub weights_dir: Vec<PathBuf>,
    /// cpu, cpu:f32 (not by AMX), cpu:bf16 (AMX, rounded), cpu:int8 (AVX-512 VNNI or AMX, 8 bits), or cuda:N, cuda:N:f16, cuda:N:bf16 in a build for it (models.device)
    #[arg(long, value_name = "DEVICE")]
    pub device: Option<String>,
    /// Serve from within the simulation's MPI job: mpirun -n N1 simulation : -n N2 anomalyd serve --mpi
    #[arg(long)]
    pub mpi: bool,
}

/// Arguments of `fit`.
#[derive(Debug, Args)]
pub struct FitArgs {
    /// Images: files, directories (all images in them) or patterns with * and ?; in natural order of their names
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// Directory to write the artefact to; must not exist
    #[arg(long, short, value_name = "DIR")]
    pub output: PathBuf,
    /// Of the images in order, those from the first to the last position, counted from 1, inclusive
    #[arg(long, value_name = "FIRST:LAST", value_parser = range)]
    pub range: Option<(usize, usize)>,
    /// hog (needs no weights) or resnet50
    #[arg(long, default_value = "hog", value_name = "NAME")]
    pub extractor: String,
    /// Manifest name of the weights, see `anomalyd models list`; for resnet50
    #[arg(long, value_name = "NAME")]
    pub weights: Option<String>,
    /// Where the network is tapped: stem, layer1, layer2, layer3 or layer4; for resnet50
    #[arg(long, value_name = "LAYER")]
    pub tap: Option<String>,
    /// Part of the image to judge: none, paper, or FIRST_ROW:LAST_ROW,FIRST_COLUMN:LAST_COLUMN
    #[arg(long, default_value = "none", value_name = "CROP")]
    pub crop: String,
    /// grey or rgb; default: as the extractor wants
    #[arg(long, value_name = "COLOUR")]
    pub colour: Option<String>,
    /// Side of the boxes of pixels that are averaged into one
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub reduce: usize,
    /// Principal components kept; default: the detector sees all features
    #[arg(long, value_name = "N")]
    pub components: Option<usize>,
    /// isolation-forest, extended-forest (splits look at several features) or one-class-svm
    #[arg(long, default_value = "isolation-forest", value_name = "NAME")]
    pub detector: String,
    /// Trees of a forest; default: 1000
    #[arg(long, value_name = "N")]
    pub trees: Option<usize>,
    /// Images that each tree is grown on; default: all
    #[arg(long, value_name = "N")]
    pub sample_size: Option<usize>,
    /// With --sample-size: an image is half as likely to be drawn for a tree as one so many images later
    #[arg(long, value_name = "IMAGES", requires = "sample_size")]
    pub half_life: Option<f64>,
    /// With --sample-size: file of how likely each image is drawn for a tree, a number at least 0 for each image, in their order
    #[arg(long, value_name = "FILE", requires = "sample_size", conflicts_with = "half_life")]
    pub sample_weights: Option<PathBuf>,
    /// Most splits on a path of a tree; default: log2 of the images that it is grown on, rounded up
    #[arg(long, value_name = "N")]
    pub max_depth: Option<u32>,
    /// Features that a split of the extended forest looks at; default: 3
    #[arg(long, value_name = "N")]
    pub split_columns: Option<usize>,
    /// For one-class-svm: at most this share of the images of the fit lies outside of its border, above 0 and at most 1; default: 0.01
    #[arg(long, value_name = "FRACTION")]
    pub nu: Option<f64>,
    /// For one-class-svm: how fast its kernel falls off, a number, scale (default: one over the variance of all features together) or auto
    #[arg(long, value_name = "GAMMA")]
    pub gamma: Option<String>,
    /// For one-class-svm: rbf (default) or linear
    #[arg(long, value_name = "NAME")]
    pub kernel: Option<String>,
    /// Do not bring features to mean 0 and standard deviation 1
    #[arg(long)]
    pub no_scale: bool,
    /// Fraction of normal images that may be called anomalous; 0.01 needs 100 images held out, that is 500 in all
    #[arg(long, value_name = "FRACTION")]
    pub false_alarm_rate: Option<f64>,
    /// Of so many images one is held out of the fit, for the threshold; default: 5
    #[arg(long, value_name = "N")]
    pub hold_out_every: Option<usize>,
    /// Instead of holding out: the fraction of the images of the fit above the threshold, as scikit-learn does
    #[arg(long, value_name = "FRACTION", conflicts_with_all = ["false_alarm_rate", "hold_out_every"])]
    pub contamination: Option<f64>,
    /// Instead of calibrating: this threshold; 0.5 for forests and 0 for one-class-svm are scikit-learn's own
    #[arg(long, value_name = "SCORE", conflicts_with_all = ["false_alarm_rate", "hold_out_every", "contamination"])]
    pub threshold: Option<f32>,
    /// Seed of all random choices
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub seed: u64,
    /// Directory of weights files; may be given again
    #[arg(long, value_name = "DIR", env = "ANOMALYD_MODELS_WEIGHTS_DIRS", value_delimiter = ',')]
    pub weights_dir: Vec<PathBuf>,
    /// cpu, cpu:f32 (not by AMX), cpu:bf16 (AMX, rounded), cpu:int8 (AVX-512 VNNI or AMX, 8 bits), or cuda:N, cuda:N:f16, cuda:N:bf16 in a build for it
    #[arg(long, default_value = "cpu", value_name = "DEVICE", env = "ANOMALYD_MODELS_DEVICE")]
    pub device: String,
}

fn range(text: &str) -> Result<(usize, usize), String> {
    let parsed =
        text.split_once(':').and_then(|(first, last)| Some((first.parse().ok()?, last.parse().ok()?)));
    parsed
        .filter(|(first, last)| *first >= 1 && first <= last)
        .ok_or_else(|| "expected FIRST:LAST, for example 1:600".to_owned())
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

fn size(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|n| *n >= 1).ok_or_else(|| "expected a whole number of at least 1".into())
}

/// Arguments of `classify`.
#[derive(Debug, Args)]
pub struct ClassifyArgs {
    /// Images to judge
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// A directory written by `anomalyd fit`: judge in this process. Otherwise the name of a model of the daemon
    #[arg(long, value_name = "DIR|NAME")]
    pub model: Option<String>,
    /// Service socket of a daemon; default: ANOMALYD_ENDPOINT, ANOMALYD_ENDPOINT_FILE, the runtime directory
    #[arg(long, value_name = "ENDPOINT")]
    pub endpoint: Option<String>,
    /// Run that the images belong to; without, a fitted model judges and nothing is learnt
    #[arg(long, value_name = "NAME", requires = "step")]
    pub run: Option<String>,
    /// Step of the first image; each further one is a step later
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub step: Option<i64>,
    /// Which of several outputs of a step the images are (with --run)
    #[arg(long, value_name = "NAME", requires = "run")]
    pub stream: Option<String>,
    /// One JSON object a line instead of text
    #[arg(long)]
    pub json: bool,
    /// Keys.
    #[command(flatten)]
    pub keys: KeyArgs,
    /// Time for each image, in milliseconds
    #[arg(long, default_value_t = 60_000, value_name = "N")]
    pub timeout_ms: u64,
    /// Directory of weights files; may be given again
    #[arg(long, value_name = "DIR", env = "ANOMALYD_MODELS_WEIGHTS_DIRS", value_delimiter = ',')]
    pub weights_dir: Vec<PathBuf>,
    /// cpu, cpu:f32 (not by AMX), cpu:bf16 (AMX, rounded), cpu:int8 (AVX-512 VNNI or AMX, 8 bits), or cuda:N, cuda:N:f16, cuda:N:bf16 in a build for it
    #[arg(long, default_value = "cpu", value_name = "DEVICE", env = "ANOMALYD_MODELS_DEVICE")]
    pub device: String,
}

/// How the images of a recorded run are judged.
#[derive(Debug, Default, Args)]
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
    /// cpu, cpu:f32 (not by AMX), cpu:bf16 (AMX, rounded), cpu:int8 (AVX-512 VNNI or AMX, 8 bits), or cuda:N, cuda:N:f16, cuda:N:bf16 in a build for it (models.device)
    #[arg(long, value_name = "DEVICE")]
    pub device: Option<String>,
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
    /// How to judge.
    #[command(flatten)]
    pub watch: WatchArgs,
    /// Every N-th image only
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub every: u32,
    /// First step
    #[arg(long, value_name = "STEP", allow_negative_numbers = true)]
    pub from: Option<i64>,
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
    /// How to judge.
    #[command(flatten)]
    pub watch: WatchArgs,
    /// Every N-th image of a run only
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub every: u32,
    /// First step
    #[arg(long, value_name = "STEP", allow_negative_numbers = true)]
    pub from: Option<i64>,
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

/// What an operator says an image is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum TruthArg {
    /// Nothing is wrong with it
    Normal,
    /// It shows a fault
    Anomalous,
}

/// Arguments of `label`.
#[derive(Debug, Args)]
pub struct LabelArgs {
    /// The simulation run
    pub run: String,
    /// The image's time step
    #[arg(allow_negative_numbers = true)]
    pub step: i64,
    /// What it is
    pub label: TruthArg,
    /// Which of several outputs of the step; default: the run's default stream
    #[arg(long, default_value = "", value_name = "NAME")]
    pub stream: String,
    /// Service socket of the daemon; default: ANOMALYD_ENDPOINT, ANOMALYD_ENDPOINT_FILE, the runtime directory
    #[arg(long, value_name = "ENDPOINT")]
    pub endpoint: Option<String>,
    /// Keys.
    #[command(flatten)]
    pub keys: KeyArgs,
    /// Time for the answer, in milliseconds
    #[arg(long, default_value_t = 5000, value_name = "N")]
    pub timeout_ms: u64,
}

/// CURVE keys of a client.
#[derive(Debug, Default, Args)]
pub struct KeyArgs {
    /// File with this client's CURVE keys, as `anomalyd keygen` writes it; default: a pair made for this call
    #[arg(long, value_name = "FILE", env = "ANOMALYD_CLIENT_KEY_FILE")]
    pub client_key: Option<PathBuf>,
    /// File with the daemon's public CURVE key; default: the one in the endpoint file
    #[arg(long, value_name = "FILE", env = "ANOMALYD_SERVER_KEY_FILE")]
    pub server_key: Option<PathBuf>,
}

/// Arguments of `keygen`.
#[derive(Debug, Args)]
pub struct KeygenArgs {
    /// The files are STEM.secret (mode 0600) and STEM.public
    #[arg(value_name = "STEM")]
    pub stem: PathBuf,
}

/// Arguments of `health`.
#[derive(Debug, Args)]
pub struct HealthArgs {
    /// Control socket of the daemon; default: ANOMALYD_ENDPOINT_FILE, ANOMALYD_ENDPOINT, the runtime directory
    #[arg(long, value_name = "ENDPOINT", conflicts_with = "endpoint")]
    pub control: Option<String>,
    /// Service socket of the daemon, which answers as well
    #[arg(long, value_name = "ENDPOINT")]
    pub endpoint: Option<String>,
    /// Keys.
    #[command(flatten)]
    pub keys: KeyArgs,
    /// Time for the answer, in milliseconds
    #[arg(long, default_value_t = 2000, value_name = "N")]
    pub timeout_ms: u64,
    /// Share of the queue above which to warn, in percent
    #[arg(long, default_value_t = 80, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(1..=100))]
    pub warn_queue: u8,
    /// Time without progress, while there is work, that is critical, in seconds
    #[arg(long, default_value_t = 120.0, value_name = "SECONDS")]
    pub stall_s: f64,
}

/// What to do with weights and models.
#[derive(Debug, Subcommand)]
pub enum ModelsCommand {
    /// List the weights known by a manifest, and whether their files are here
    List(WeightsArgs),
    /// Show a manifest, or the manifest of an artefact directory
    Show {
        /// Manifest name, or directory of an artefact
        name: String,
        /// Where weights are.
        #[command(flatten)]
        weights: WeightsArgs,
    },
    /// Check the sums of weights files
    Verify {
        /// Manifest names; none: all whose files are here
        names: Vec<String>,
        /// Where weights are.
        #[command(flatten)]
        weights: WeightsArgs,
    },
    /// Fetch a weights file from the address in its manifest, and check its sum
    Pull {
        /// Manifest name
        name: String,
        /// Accept this sum for weights whose manifest pins none, after comparing it with its publisher's
        #[arg(long, value_name = "SHA256")]
        accept_sha256: Option<String>,
        /// Where weights are.
        #[command(flatten)]
        weights: WeightsArgs,
    },
}

/// Where weights are.
#[derive(Debug, Args)]
pub struct WeightsArgs {
    /// Directory of weights files; may be given again; default: $XDG_DATA_HOME/anomalyd/weights
    #[arg(long, value_name = "DIR", env = "ANOMALYD_MODELS_WEIGHTS_DIRS", value_delimiter = ',')]
    pub weights_dir: Vec<PathBuf>,
}

/// What to do with the configuration.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Print the configuration as it is meant, or say what is wrong with it (exit code 2)
    Check {
        /// Configuration file; default: ANOMALYD_CONFIG, else the defaults
        #[arg(value_name = "FILE", env = "ANOMALYD_CONFIG")]
        file: Option<PathBuf>,
    },
    /// Print the default configuration with its comments
    Defaults,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn range_is_counted_from_one_and_in_order() {
        assert_eq!(range("1:600"), Ok((1, 600)));
        for wrong in ["0:5", "5:4", "5", "a:b"] {
            assert!(range(wrong).is_err(), "{wrong}");
        }
    }
}

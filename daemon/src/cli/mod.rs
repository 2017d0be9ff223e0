//! The command line.

mod classify;
mod fit;
mod models;
mod recorded;
mod serve;

pub use classify::ClassifyArgs;
pub use fit::FitArgs;
pub use models::{ComputeArgs, ModelsCommand, WeightsArgs};
pub use recorded::{EvaluateArgs, OnAlarm, ReplayArgs, WatchArgs};
pub use serve::ServeArgs;

use crate::config::LogFormat;
use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;

/// The choices of `--device`, as its help has them.
macro_rules! devices {
    () => {
        "cpu, cpu:f32 (not by AMX), cpu:bf16 (AMX, rounded), cpu:int8 (AVX-512 VNNI or AMX, 8 bits), or cuda:N, cuda:N:f16, cuda:N:bf16 \
in a build for it"
    };
}
use devices;

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

fn size(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|n| *n >= 1).ok_or_else(|| "expected a whole number of at least 1".into())
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
}

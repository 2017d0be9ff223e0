//! Arguments of `classify`.

use super::{ComputeArgs, KeyArgs};
use clap::Args;
use std::path::PathBuf;

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
    /// Where extractors have their weights and compute.
    #[command(flatten)]
    pub compute: ComputeArgs,
}

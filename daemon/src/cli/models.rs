//! Arguments that say where weights and models are.

use super::devices;
use clap::{Args, Subcommand};
use std::path::PathBuf;

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

/// Where extractors have their weights and compute, for the commands that do so in their own process.
#[derive(Debug, Args)]
pub struct ComputeArgs {
    /// Where weights are.
    #[command(flatten)]
    pub weights: WeightsArgs,
    /// Where extractors compute.
    #[arg(long, default_value = "cpu", value_name = "DEVICE", env = "ANOMALYD_MODELS_DEVICE", help = devices!())]
    pub device: String,
}

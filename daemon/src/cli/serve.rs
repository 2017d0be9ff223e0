//! Arguments of `serve`.

use super::{ConfigArgs, devices};
use clap::Args;
use std::path::PathBuf;

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
    /// Where extractors compute (models.device).
    #[arg(long, value_name = "DEVICE", help = concat!(devices!(), " (models.device)"))]
    pub device: Option<String>,
    /// Serve from within the simulation's MPI job: mpirun -n N1 simulation : -n N2 anomalyd serve --mpi
    #[arg(long)]
    pub mpi: bool,
}

//! Facts about the user and the node.

use anyhow::Context;
use std::path::PathBuf;

/// What a configuration is completed with: facts about the user and the node.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// `$XDG_RUNTIME_DIR`.
    pub xdg_runtime_dir: Option<PathBuf>,
    /// `$XDG_DATA_HOME`.
    pub xdg_data_home: Option<PathBuf>,
    /// `$HOME`.
    pub home: Option<PathBuf>,
    /// Directory against which relative paths are read.
    pub current_dir: PathBuf,
    /// The user's number.
    pub user: u32,
    /// The node's name.
    pub host_name: String,
    /// Whether this process is a part of the simulation's MPI job, whose other ranks may run on other nodes.
    pub in_mpi_job: bool,
}

impl Surroundings {
    /// Those of this process.
    ///
    /// # Errors
    ///
    /// If the current directory has been removed.
    pub fn of_process() -> anyhow::Result<Self> {
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        Ok(Self {
            xdg_runtime_dir: variable("XDG_RUNTIME_DIR"),
            xdg_data_home: variable("XDG_DATA_HOME"),
            home: variable("HOME"),
            current_dir: std::env::current_dir().context("the current directory")?,
            user: rustix::process::geteuid().as_raw(),
            host_name: crate::instance::host_name(),
            in_mpi_job: false,
        })
    }

    /// `text` as an absolute path; `None` where it is empty.
    pub(super) fn path(&self, text: &str) -> Option<PathBuf> {
        (!text.is_empty()).then(|| self.current_dir.join(text))
    }

    pub(super) fn paths(&self, texts: &[String]) -> Vec<PathBuf> {
        texts.iter().filter_map(|text| self.path(text)).collect()
    }

    /// The runtime directory where none is set.
    pub fn runtime_dir(&self) -> PathBuf {
        match &self.xdg_runtime_dir {
            Some(dir) => dir.join("anomalyd"),
            None => PathBuf::from(format!("/tmp/anomalyd-{}", self.user)),
        }
    }

    /// The directories of weights where none are set.
    pub fn weights_dirs(&self) -> Vec<PathBuf> {
        let data = self.xdg_data_home.clone().or_else(|| Some(self.home.as_ref()?.join(".local/share")));
        data.map(|data| data.join("anomalyd/weights")).into_iter().collect()
    }
}

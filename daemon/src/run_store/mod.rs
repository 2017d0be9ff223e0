//! Runs on disk (`runs.state_dir`), so that they outlive the daemon's process: killed at any moment and started again, it judges
//! as if it had never ended, bit for bit.
//!
//! A run is a directory `run-NAME` (see [`files`](RunFiles)); what a judgement adds to it is written before its reply. There is no
//! `fsync`: what the kernel has taken survives the process. A power failure may cost the newest images, which their sums tell.

mod answered;
mod files;
mod head;
mod sum;
#[cfg(test)]
mod tests;

pub use answered::Answered;
pub use files::{Refused, RunFiles, Stored};

use anomalyd_models::online::{RunManifest, RunSettings};
use anyhow::{Context, bail, ensure};
use rustix::fs::{FlockOperation, flock};
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// What begins the name of a run's directory, and of one that was refused.
const RUN: &str = "run-";
const REFUSED: &str = "refused-";

/// The directory of all runs, which one daemon at a time has.
#[derive(Debug)]
pub struct RunStore {
    dir: PathBuf,
    _lock: File,
}

impl RunStore {
    /// Makes the directory if it is missing, and takes its lock.
    ///
    /// # Errors
    ///
    /// If another daemon has it, or it cannot be written to.
    pub fn open(dir: &Path) -> anyhow::Result<Self> {
        let opened = || -> io::Result<File> {
            DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
            File::create(dir.join("lock"))
        };
        let lock =
            opened().with_context(|| format!("runs.state_dir: {} cannot be written to", dir.display()))?;
        if let Err(errno) = flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            ensure!(errno == rustix::io::Errno::WOULDBLOCK, "while locking {}/lock: {errno}", dir.display());
            bail!(
                "another anomalyd keeps its runs in {}: stop it, or set runs.state_dir (--state-dir) to have two",
                dir.display()
            );
        }
        Ok(Self { dir: dir.to_owned(), _lock: lock })
    }

    /// The runs that are stored here, the one used least recently first. One that cannot be gone on with is set aside, and the
    /// log says why.
    ///
    /// # Errors
    ///
    /// If the directory cannot be read.
    pub fn runs(&self, settings: &RunSettings) -> anyhow::Result<Vec<(String, RunManifest)>> {
        let listing = || -> io::Result<Vec<(Option<SystemTime>, String)>> {
            let mut names = Vec::new();
            for entry in fs::read_dir(&self.dir)? {
                let entry = entry?;
                let name = entry.file_name().into_string().unwrap_or_default();
                if let Some(run) = name.strip_prefix(RUN) {
                    // Of the newest head, which has a line for each change; a run without one was never stored as a whole.
                    let changed = |head| fs::metadata(entry.path().join(head))?.modified();
                    let used = files::HEADS.into_iter().filter_map(|head| changed(head).ok()).max();
                    names.push((used, run.to_owned()));
                }
            }
            names.sort();
            Ok(names)
        };
        let names = listing().with_context(|| format!("runs.state_dir: {}", self.dir.display()))?;
        let mut runs = Vec::new();
        for (_, name) in names {
            match RunFiles::peek(&self.run_dir(&name), settings) {
                Ok(Some(manifest)) => runs.push((name, manifest)),
                Ok(None) => self.remove(&name),
                Err(refused) => self.set_aside(&name, &refused),
            }
        }
        Ok(runs)
    }

    /// The files of a run, and the run if it is stored. One that cannot be gone on with is set aside: it begins anew.
    pub fn open_run(&self, name: &str, settings: &RunSettings) -> (RunFiles, Option<Stored>) {
        let dir = self.run_dir(name);
        let fresh = RunFiles::new(dir.clone());
        if !dir.exists() {
            return (fresh, None);
        }
        match RunFiles::load(dir, settings.clone()) {
            Ok(Some(stored)) => (fresh, Some(stored)),
            Ok(None) => (fresh, None),
            Err(refused) => {
                self.set_aside(name, &refused);
                (fresh, None)
            }
        }
    }

    /// Removes a run; the log says if it cannot be.
    pub fn remove(&self, name: &str) {
        match fs::remove_dir_all(self.run_dir(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::error!(run = name, %error, "a stored run cannot be removed: it comes back at the next start");
            }
            _ => {}
        }
    }

    /// Keeps a run that cannot be gone on with, for whoever wants to know why, instead of an earlier one of its name.
    fn set_aside(&self, name: &str, Refused(reason): &Refused) {
        let aside = self.dir.join(format!("{REFUSED}{name}"));
        let _ = fs::remove_dir_all(&aside);
        let moved = fs::rename(self.run_dir(name), &aside);
        tracing::error!(
            run = name, reason, aside = %aside.display(), moved = moved.is_ok(),
            "a stored run cannot be gone on with: it begins anew"
        );
        if moved.is_err() {
            self.remove(name);
        }
    }

    fn run_dir(&self, name: &str) -> PathBuf {
        self.dir.join(format!("{RUN}{name}"))
    }
}

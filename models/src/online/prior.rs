//! The calibration of an earlier run, lent to runs that have little past of their own.

use super::history::History;
use crate::artefact::sealed::{Form, NO_SUM, seal};
use crate::artefact::{ArtefactError, ArtefactErrorKind};
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

/// The version of the format; another is refused.
const FORMAT_VERSION: u32 = 1;

const FORM: Form = Form {
    format: "anomalyd-prior",
    version: FORMAT_VERSION,
    max_bytes: 1 << 20,
    noun: "prior",
    remake: "make it again with `anomalyd replay --save-prior`",
};

/// Residuals of each kind that a run must have to lend them.
const MIN_LENT: usize = 50;

/// How far the images of an earlier run lay from what was usual in it, by kind of evidence. A run that is lent these residuals gives
/// verdicts as soon as it knows its own level, from its sixth image on; its own residuals take their places one by one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prior {
    format: String,
    format_version: u32,
    /// The version of this crate that wrote it; for information.
    crate_version: String,
    /// The settings that residuals depend on.
    settings: serde_json::Value,
    /// Channels, rows and columns of the images after preprocessing.
    shape: [usize; 3],
    /// Log surprises and scores less their level, by history; ascending.
    residuals: BTreeMap<String, Vec<f64>>,
    /// SHA-256 of the file with 64 zeros in this place.
    sha256: String,
}

impl Prior {
    /// What the histories of a run lend.
    ///
    /// # Errors
    ///
    /// [`Error::TooFewSamples`] if the run is too short.
    pub(super) fn of(
        settings: serde_json::Value,
        shape: [usize; 3],
        histories: &BTreeMap<String, History>,
    ) -> Result<Self> {
        let found = histories.get("colour").map_or(0, |history| history.residuals.len());
        if found < MIN_LENT {
            return Err(Error::TooFewSamples {
                what: "lending a run's calibration, judged images believed normal",
                wanted: MIN_LENT,
                found,
            });
        }
        let long_enough = histories.iter().filter(|(_, history)| history.residuals.len() >= MIN_LENT);
        // To six decimals, which is far below what they mean: the file stays small, and is read back as it was written.
        let sorted = |history: &History| {
            let mut residuals: Vec<f64> = history.residuals.iter().map(|r| (r * 1e6).round() / 1e6).collect();
            residuals.sort_unstable_by(f64::total_cmp);
            residuals
        };
        let prior = Self {
            format: FORM.format.into(),
            format_version: FORM.version,
            crate_version: env!("CARGO_PKG_VERSION").into(),
            settings,
            shape,
            residuals: long_enough.map(|(name, history)| (name.clone(), sorted(history))).collect(),
            sha256: NO_SUM.into(),
        };
        let (_, sha256) = seal(&prior);
        Ok(Self { sha256, ..prior })
    }

    /// Writes it to a new file.
    ///
    /// # Errors
    ///
    /// [`Error::Artefact`] of kind `Exists` or `Io`.
    pub fn save(&self, path: &Path) -> Result<()> {
        let (text, _) = seal(&Self { sha256: NO_SUM.into(), ..self.clone() });
        let written = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(path)
            .and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()));
        written.map_err(|error| match error.kind() {
            ErrorKind::AlreadyExists => {
                let message = "is there already; choose another file, or remove it";
                ArtefactError::new(ArtefactErrorKind::Exists, path, message).into()
            }
            _ => ArtefactError::io(path, &error).into(),
        })
    }

    /// Reads one and checks its sum.
    ///
    /// # Errors
    ///
    /// [`Error::Artefact`]: `NotFound`, `Io`, `Corrupt` or `Version`, with the file.
    pub fn load(path: &Path) -> Result<Self> {
        let text = FORM.read(path)?;
        let prior: Self = FORM.parse(path, &text)?;
        // JSON has no NaN.
        if !prior.residuals.values().all(|values| values.is_sorted()) {
            return Err(ArtefactError::corrupt(path, "holds residuals that do not ascend").into());
        }
        Ok(prior)
    }

    /// The name by which it can be told: its SHA-256 in hex.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// Images after preprocessing that it is for: channels, rows and columns.
    pub fn shape(&self) -> [usize; 3] {
        self.shape
    }

    /// Checks that it was made under these settings.
    fn check(&self, path: &Path, settings: &serde_json::Value) -> Result<()> {
        match super::manifest::first_difference("", &self.settings, settings) {
            None => Ok(()),
            Some((name, theirs, ours)) => {
                let message = format!("was made with {name} = {theirs}, now it is {ours}: {}", FORM.remake);
                Err(ArtefactError::new(ArtefactErrorKind::Mismatch, path, message).into())
            }
        }
    }

    /// The residuals of a history, ascending.
    pub(super) fn residuals(&self, history: &str) -> &[f64] {
        self.residuals.get(history).map_or(&[], Vec::as_slice)
    }
}

/// The file of a [`Prior`], read once by whoever shares this value, when it is first asked for; empty: there is none.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(from = "PathBuf", into = "PathBuf")]
pub struct PriorFile {
    path: PathBuf,
    read: Arc<OnceLock<Arc<Prior>>>,
}

impl PriorFile {
    /// Whether there is one.
    pub fn is_set(&self) -> bool {
        !self.path.as_os_str().is_empty()
    }

    /// What the file holds, made under `settings`; `None` if there is no file.
    ///
    /// # Errors
    ///
    /// Those of [`Prior::load`], and `Mismatch` if it was made under others.
    pub(super) fn open(&self, settings: &serde_json::Value) -> Result<Option<Arc<Prior>>> {
        if !self.is_set() {
            return Ok(None);
        }
        let prior = match self.read.get() {
            Some(prior) => Arc::clone(prior),
            // Two that read at the same time read the same; the first is kept.
            None => Arc::clone(self.read.get_or_init({
                let prior = Arc::new(Prior::load(&self.path)?);
                || prior
            })),
        };
        prior.check(&self.path, settings)?;
        Ok(Some(prior))
    }
}

impl From<PathBuf> for PriorFile {
    fn from(path: PathBuf) -> Self {
        Self { path, read: Arc::default() }
    }
}

impl From<PriorFile> for PathBuf {
    fn from(file: PriorFile) -> Self {
        file.path
    }
}

impl PartialEq for PriorFile {
    fn eq(&self, other: &Self) -> bool {
        self.path == other.path
    }
}

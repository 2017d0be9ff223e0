//! One run on disk: a directory with a record for each image that the run holds a state of, and two heads, the newest and the one
//! before.

use super::answered::Answered;
use super::head::{Head, Unread, sum};
use anomalyd_models::online::{Damage, RecordKey, RunManifest, RunSettings, Streams};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// The files of one run, and which of them there are.
#[derive(Debug)]
pub struct RunFiles {
    dir: PathBuf,
    generation: u64,
    /// The sum of each record on disk, by its file's name.
    records: BTreeMap<String, String>,
    /// Records that the head before the newest has.
    before: BTreeSet<String>,
}

/// A run as it was stored.
#[derive(Debug)]
pub struct Stored {
    /// Its images.
    pub streams: Streams,
    /// Its newest answers.
    pub answered: Answered,
    /// Where it is stored.
    pub files: RunFiles,
}

/// Why a stored run cannot be gone on with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused(pub String);

fn head_name(generation: u64) -> String {
    format!("head-{}", generation % 2)
}

fn record_name(RecordKey { stream, id }: &RecordKey) -> String {
    // The number first: a stream may be named as a part of a path is.
    format!("{id:016x}-{stream}.safetensors")
}

/// The newest head of a run's directory that is whole; what is wrong with a newer one goes to the log. `None` if the process
/// ended before the first was written.
fn newest_head(dir: &Path) -> Result<Option<Head>, Refused> {
    let (mut heads, mut faults) = (Vec::new(), Vec::new());
    for name in [head_name(0), head_name(1)] {
        match fs::read(dir.join(&name)) {
            Ok(bytes) => match Head::from_bytes(&bytes) {
                Ok(head) => heads.push(head),
                Err(Unread::Foreign(reason)) => return Err(Refused(format!("{name}: {reason}"))),
                Err(Unread::Damaged(reason)) => faults.push(format!("{name}: {reason}")),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => faults.push(format!("{name}: {error}")),
        }
    }
    let newest = heads.into_iter().max_by_key(|head| head.generation);
    if newest.is_none() && !faults.is_empty() {
        return Err(Refused(faults.join("; ")));
    }
    if let Some(head) = newest.as_ref().filter(|_| !faults.is_empty()) {
        tracing::error!(
            dir = %dir.display(), damage = faults.join("; "), generation = head.generation,
            "a stored run is damaged: it goes on from the other of its two heads"
        );
    }
    Ok(newest)
}

impl RunFiles {
    /// The files of a run that begins.
    pub fn new(dir: PathBuf) -> Self {
        Self { dir, generation: 0, records: BTreeMap::new(), before: BTreeSet::new() }
    }

    /// What the newest head says of a run, without its states; `None` if it was never stored as a whole.
    ///
    /// # Errors
    ///
    /// If there is none that can be gone on with.
    pub fn peek(dir: &Path, settings: &RunSettings) -> Result<Option<RunManifest>, Refused> {
        let Some(head) = newest_head(dir)? else { return Ok(None) };
        settings.check(&head.run).map_err(|error| Refused(error.to_string()))?;
        Ok(Some(head.run))
    }

    /// Reads a run; `None` if it was never stored as a whole. An image that cannot be read is left out with all later ones of its stream, and the log says so.
    ///
    /// # Errors
    ///
    /// If it cannot be gone on with.
    pub fn load(dir: PathBuf, settings: RunSettings) -> Result<Option<Stored>, Refused> {
        let Some(Head { generation, run, records, mut answered }) = newest_head(&dir)? else {
            return Ok(None);
        };
        let read = |key: &RecordKey| {
            let name = record_name(key);
            let bytes = fs::read(dir.join(&name)).map_err(|error| format!("{name}: {error}"))?;
            match records.get(&name) {
                Some(expected) if *expected == sum(&bytes) => Ok(bytes),
                Some(_) => Err(format!("{name} is damaged: its sum is another")),
                None => Err(format!("{name} has no sum in the head")),
            }
        };
        let (streams, damages) =
            Streams::restore(settings, &run, read).map_err(|error| Refused(error.to_string()))?;
        for Damage { stream, step, reason } in &damages {
            tracing::error!(
                dir = %dir.display(), stream, step, reason,
                "a stored image cannot be read: the stream goes on from the image before it"
            );
            answered.forget_from(*step);
        }
        let files = Self { dir, generation, before: records.keys().cloned().collect(), records };
        files.clean();
        Ok(Some(Stored { streams, answered, files }))
    }

    /// Stores the run: first the states that are new, then the head that names them, each under another name that is then changed,
    /// so that a process that ends at any moment leaves a whole run. Records that neither this head nor the one before needs are
    /// removed.
    ///
    /// # Errors
    ///
    /// The system's; what was stored before is as it was, and the next call tries again.
    pub fn save(&mut self, streams: &Streams, answered: &Answered) -> io::Result<()> {
        if self.generation == 0 {
            fs::create_dir_all(&self.dir)?;
        }
        let run = streams.manifest();
        let mut records = BTreeMap::new();
        for key in run.records() {
            let name = record_name(&key);
            let known = match self.records.get(&name) {
                Some(known) => known.clone(),
                None => {
                    let bytes = streams.record(&key).ok_or_else(|| {
                        io::Error::other(format!("the run has no state {name}; this is a bug"))
                    })?;
                    // A client waits for both.
                    let (written, sum) = rayon::join(|| self.write(&name, &bytes), || sum(&bytes));
                    written?;
                    self.records.insert(name.clone(), sum.clone());
                    sum
                }
            };
            records.insert(name, known);
        }
        let generation = self.generation + 1;
        let head = Head { generation, run, records, answered: answered.clone() };
        self.write(&head_name(generation), &head.to_bytes()?)?;
        self.generation = generation;
        let now: BTreeSet<String> = head.records.into_keys().collect();
        for name in self.records.keys().filter(|name| !now.contains(*name) && !self.before.contains(*name)) {
            // One that stays is removed when the run is next read.
            let _ = fs::remove_file(self.dir.join(name));
        }
        self.records.retain(|name, _| now.contains(name) || self.before.contains(name));
        self.before = now;
        Ok(())
    }

    /// Removes files that a process has left which ended while it wrote.
    fn clean(&self) {
        let Ok(entries) = fs::read_dir(&self.dir) else { return };
        for name in entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()) {
            let is_record = name.ends_with(".safetensors") && !self.records.contains_key(&name);
            if name.ends_with(".part") || is_record {
                let _ = fs::remove_file(self.dir.join(name));
            }
        }
    }

    fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let (part, path) = (self.dir.join(format!("{name}.part")), self.dir.join(name));
        let written = File::create(&part)
            .and_then(|mut file| file.write_all(bytes))
            .and_then(|()| fs::rename(&part, path));
        if written.is_err() {
            let _ = fs::remove_file(&part);
        }
        written
    }
}

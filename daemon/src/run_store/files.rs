//! One run on disk: a directory with a record for each image that the run holds a state of, and two heads, the newest and the one
//! before.

use super::answered::Answered;
use super::head::{End, Head, HeadChange, Unread};
use super::sum::{SummedFile, has_sum};
use anomalyd_models::online::{Damage, RecordKey, RunManifest, RunSettings, Streams};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Lines of a head, or records on disk that the run has forgotten, after which another head is begun, which takes the longer the more states
/// the run holds: when nobody waits, or when they are [`AT_MOST`].
const ENOUGH: usize = 32;
const AT_MOST: usize = 64;

/// The files of one run, and what is in them.
#[derive(Debug)]
pub struct RunFiles {
    dir: PathBuf,
    /// Counts the times that the run was stored.
    generation: u64,
    run: RunManifest,
    answered: Answered,
    /// The sum of each record on disk, by its file's name.
    records: BTreeMap<String, String>,
    head: HeadFile,
}

/// The newest head.
#[derive(Debug, Clone, Copy)]
struct HeadFile {
    /// Which of the two.
    idx: usize,
    /// Its length and its lines; `None` if no line can be added to it.
    open: Option<(u64, usize)>,
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

pub(super) const HEADS: [&str; 2] = ["head-0", "head-1"];

fn record_name(RecordKey { stream, id }: &RecordKey) -> String {
    // The number first: a stream may be named as a part of a path is.
    format!("{id:016x}-{stream}.safetensors")
}

/// The names of the records that a run cannot do without.
fn names_of(run: &RunManifest) -> BTreeSet<String> {
    run.records().map(|key| record_name(&key)).collect()
}

/// The newest head of a run's directory, and which of the two it is; what is wrong with it, or with a newer one, goes to the log. `None` if
/// the process ended before the first was written.
fn newest_head(dir: &Path) -> Result<Option<(usize, Head)>, Refused> {
    let (mut heads, mut faults) = (Vec::new(), Vec::new());
    for (idx, name) in HEADS.into_iter().enumerate() {
        match fs::read(dir.join(name)) {
            Ok(bytes) => match Head::from_bytes(&bytes) {
                Ok((head, end)) => heads.push((idx, head, end)),
                Err(Unread::Foreign(reason)) => return Err(Refused(format!("{name}: {reason}"))),
                Err(Unread::Damaged(reason)) => faults.push(format!("{name}: {reason}")),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => faults.push(format!("{name}: {error}")),
        }
    }
    let newest = heads.into_iter().max_by_key(|(_, head, _)| head.generation);
    let Some((idx, head, end)) = newest else {
        return if faults.is_empty() { Ok(None) } else { Err(Refused(faults.join("; "))) };
    };
    let (dir, generation) = (dir.display(), head.generation);
    if !faults.is_empty() {
        tracing::error!(
            %dir, damage = faults.join("; "), generation,
            "a stored run is damaged: it goes on from the other of its two heads"
        );
    }
    match end {
        End::Whole => {}
        End::Torn => tracing::warn!(
            %dir, head = HEADS[idx], generation,
            "a stored run's last line is not whole, as where the daemon is killed while it stores a run: it goes on from the line before"
        ),
        End::Damaged { reason, n_lost } => tracing::error!(
            %dir, head = HEADS[idx], damage = reason, generation, n_lost,
            "a stored run is damaged: it goes on from the last line of its head that is whole"
        ),
    }
    Ok(Some((idx, head)))
}

impl RunFiles {
    /// The files of a run that begins.
    pub fn new(dir: PathBuf) -> Self {
        let head = HeadFile { idx: 0, open: None };
        let (run, answered, records) = (RunManifest::default(), Answered::default(), BTreeMap::new());
        Self { dir, generation: 0, run, answered, records, head }
    }

    /// What the newest head says of a run, without its states; `None` if it was never stored as a whole.
    ///
    /// # Errors
    ///
    /// If there is none that can be gone on with.
    pub fn peek(dir: &Path, settings: &RunSettings) -> Result<Option<RunManifest>, Refused> {
        let Some((_, head)) = newest_head(dir)? else { return Ok(None) };
        settings.check(&head.run).map_err(|error| Refused(error.to_string()))?;
        Ok(Some(head.run))
    }

    /// Reads a run; `None` if it was never stored as a whole. An image that cannot be read is left out with all later ones of its stream, and the log says so.
    ///
    /// # Errors
    ///
    /// If it cannot be gone on with.
    pub fn load(dir: PathBuf, settings: RunSettings) -> Result<Option<Stored>, Refused> {
        let Some((idx, Head { generation, run, mut records, answered })) = newest_head(&dir)? else {
            return Ok(None);
        };
        let read = |key: &RecordKey| {
            let name = record_name(key);
            let bytes = fs::read(dir.join(&name)).map_err(|error| format!("{name}: {error}"))?;
            match records.get(&name) {
                Some(expected) if has_sum(&bytes, expected) => Ok(bytes),
                Some(_) => Err(format!("{name} is damaged: its sum is another")),
                None => Err(format!("{name} has no sum in the head")),
            }
        };
        let (streams, damages) =
            Streams::restore(settings, &run, read).map_err(|error| Refused(error.to_string()))?;
        let names = names_of(&run);
        records.retain(|name, _| names.contains(name));
        // No line is added to what another process has written: it may be torn.
        let head = HeadFile { idx, open: None };
        let files = Self { dir, generation, run, answered: answered.clone(), records, head };
        files.clean();
        let mut stored = Stored { streams, answered, files };
        for Damage { stream, step, reason } in &damages {
            tracing::error!(
                dir = %stored.files.dir.display(), stream, step, reason,
                "a stored image cannot be read: the stream goes on from the image before it"
            );
            stored.answered.forget_from(*step);
        }
        Ok(Some(stored))
    }

    /// Stores the run: first the states that are new, then a line of the head that names them, so that a process that ends at any moment
    /// leaves a whole run.
    ///
    /// # Errors
    ///
    /// The system's; what was stored before is as it was, and the next call tries again.
    pub fn save(&mut self, streams: &Streams, answered: &Answered) -> io::Result<()> {
        if self.generation == 0 {
            fs::create_dir_all(&self.dir)?;
        }
        let run = streams.manifest();
        let change = run.change_since(&self.run);
        let mut records = BTreeMap::new();
        for key in change.new_records(&self.run) {
            let name = record_name(&key);
            let sum = self.write_record(&name, streams, &key)?;
            records.insert(name, sum);
        }
        self.records.extend(records.clone());
        let generation = self.generation + 1;
        let line =
            HeadChange { generation, run: change, records, answered: answered.change_since(&self.answered) };
        if self.n_forgotten(&run) < AT_MOST && self.add_line(&line)? {
            (self.generation, self.run, self.answered) = (generation, run, answered.clone());
            Ok(())
        } else {
            self.begin_head(run, answered.clone())
        }
    }

    /// Whether [`tidy`](Self::tidy) has nothing to do.
    pub fn is_tidy(&self) -> bool {
        self.n_forgotten(&self.run) < ENOUGH && self.head.open.is_none_or(|(_, n_lines)| n_lines < ENOUGH)
    }

    /// Begins another head where the newest has become long, and removes the records that it does without. Nothing depends on when this
    /// is done, nor on whether.
    ///
    /// # Errors
    ///
    /// The system's; what was stored before is as it was.
    pub fn tidy(&mut self) -> io::Result<()> {
        if self.is_tidy() { Ok(()) } else { self.begin_head(self.run.clone(), self.answered.clone()) }
    }

    /// Records on disk that this run does without.
    fn n_forgotten(&self, run: &RunManifest) -> usize {
        self.records.len().saturating_sub(run.n_records())
    }

    /// Writes the state of an image; returns its sum. Until the head names it, nobody reads it.
    fn write_record(&self, name: &str, streams: &Streams, key: &RecordKey) -> io::Result<String> {
        let draft = streams
            .record(key)
            .ok_or_else(|| io::Error::other(format!("the run has no state {name}; this is a bug")))?;
        let path = self.dir.join(name);
        let mut file = SummedFile::new(File::create(&path)?);
        if let Err(error) = draft.write(&mut file) {
            let _ = fs::remove_file(&path);
            return Err(error);
        }
        Ok(file.sum())
    }

    /// Adds a line to the newest head; returns whether that could be: if not, another is to be begun.
    fn add_line(&mut self, line: &HeadChange) -> io::Result<bool> {
        let Some((n_bytes, n_lines)) = self.head.open.filter(|&(_, n_lines)| n_lines < AT_MOST) else {
            return Ok(false);
        };
        let line = line.to_line()?;
        let mut file = match OpenOptions::new().append(true).open(self.dir.join(HEADS[self.head.idx])) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            file => file?,
        };
        // Not where somebody else has written to it or cut it: the line would belong to another one.
        if file.metadata()?.len() != n_bytes {
            return Ok(false);
        }
        // Should this fail the line may be torn.
        self.head.open = None;
        file.write_all(&line)?;
        self.head.open = Some((n_bytes + line.len() as u64, n_lines + 1));
        Ok(true)
    }

    /// Writes all that is to be known of the run beside its records to the head that is not the newest, under another name that is then
    /// changed, and removes records that neither this head nor the end of the other needs.
    fn begin_head(&mut self, run: RunManifest, answered: Answered) -> io::Result<()> {
        let mut names = names_of(&run);
        let records = self.records.iter().filter(|(name, _)| names.contains(*name));
        let records = records.map(|(name, sum)| (name.clone(), sum.clone())).collect();
        let head = Head { generation: self.generation + 1, run, records, answered };
        let (bytes, idx) = (head.to_bytes()?, 1 - self.head.idx);
        let path = self.dir.join(HEADS[idx]);
        let part = path.with_extension("part");
        let written = fs::write(&part, &bytes).and_then(|()| fs::rename(&part, path));
        if written.is_err() {
            let _ = fs::remove_file(&part);
        }
        written?;
        names.extend(names_of(&self.run));
        self.records.retain(|name, _| {
            let is_needed = names.contains(name);
            if !is_needed {
                // One that stays is removed when the run is next read.
                let _ = fs::remove_file(self.dir.join(name));
            }
            is_needed
        });
        (self.generation, self.run, self.answered) = (head.generation, head.run, head.answered);
        self.head = HeadFile { idx, open: Some((bytes.len() as u64, 0)) };
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
}

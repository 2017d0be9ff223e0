//! The head of a stored run: which records it has, what it says of images, what it answered last. It begins with all of that, and has a
//! line for each time that the run was stored since.

use super::answered::{Answered, AnsweredChange};
use super::sum::{has_sum, sum};
use crate::instance::hex;
use anomalyd_models::online::{ManifestChange, RunManifest};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// The first word of the file; the second is the form of what follows, the third the sum of the second line.
const MAGIC: &str = "anomalyd-run";
const FORM: &str = "2";
/// Which had no lines but the second, and the SHA-256 of that.
const FORM_WITHOUT_LINES: &str = "1";

/// Everything of a run but the states of its images.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Head {
    /// Counts the times that the run was stored.
    pub(super) generation: u64,
    pub(super) run: RunManifest,
    /// The sum of each record, by the name of its file.
    pub(super) records: BTreeMap<String, String>,
    pub(super) answered: Answered,
}

/// What has changed since the run was stored before.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HeadChange {
    /// One more than before.
    pub(super) generation: u64,
    pub(super) run: ManifestChange,
    /// Of the records that are new.
    pub(super) records: BTreeMap<String, String>,
    pub(super) answered: AnsweredChange,
}

/// Why a head was not read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unread {
    /// It is not whole.
    Damaged(String),
    /// It is whole and of another form.
    Foreign(String),
}

/// What is wrong with a head that was read as far as it goes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum End {
    Whole,
    /// The last line has no end, as where the process was killed while it wrote it.
    Torn,
    /// Something else, and how many lines are lost by it.
    Damaged {
        reason: String,
        n_lost: usize,
    },
}

/// A line of text split in two at its first `separator`.
fn split(bytes: &[u8], separator: u8) -> Option<(&[u8], &[u8])> {
    let at = bytes.iter().position(|&byte| byte == separator)?;
    Some((&bytes[..at], &bytes[at + 1..]))
}

impl Head {
    /// The bytes of a file without lines.
    pub(super) fn to_bytes(&self) -> serde_json::Result<Vec<u8>> {
        let body = serde_json::to_vec(self)?;
        let first = format!("{MAGIC} {FORM} {}\n", sum(&body));
        Ok([first.as_bytes(), &body, b"\n"].concat())
    }

    /// Reads the bytes of a file, with its lines as far as they are whole.
    pub(super) fn from_bytes(bytes: &[u8]) -> Result<(Self, End), Unread> {
        let damaged = |what: &str| Unread::Damaged(what.to_owned());
        let (first, rest) = split(bytes, b'\n').ok_or_else(|| damaged("it has no first line"))?;
        let first = std::str::from_utf8(first).map_err(|_| damaged("its first line is no text"))?;
        let [magic, form, expected] = first
            .split(' ')
            .collect::<Vec<_>>()
            .try_into()
            .map_err(|_| damaged("its first line has not three words"))?;
        if magic != MAGIC {
            return Err(damaged("it does not begin as a stored run does"));
        }
        let (body, lines) = split(rest, b'\n').unwrap_or((rest, b""));
        if !has_sum(body, expected) && hex(&Sha256::digest(rest)) != expected {
            return Err(damaged("its sum is another"));
        }
        if ![FORM, FORM_WITHOUT_LINES].contains(&form) {
            return Err(Unread::Foreign(format!(
                "it is stored in form {form}, this version reads forms {FORM_WITHOUT_LINES} and {FORM}"
            )));
        }
        let mut head: Self = serde_json::from_slice(body)
            .map_err(|error| Unread::Foreign(format!("it was stored by another version: {error}")))?;
        let end = head.follow(lines)?;
        Ok((head, end))
    }

    /// Does what the lines say.
    fn follow(&mut self, mut lines: &[u8]) -> Result<End, Unread> {
        while !lines.is_empty() {
            let Some((line, rest)) = split(lines, b'\n') else { return Ok(End::Torn) };
            match HeadChange::from_line(line, self.generation) {
                Ok(change) => self.apply(change)?,
                Err(reason) => {
                    let n_lost = lines.iter().filter(|&&byte| byte == b'\n').count();
                    return Ok(End::Damaged { reason, n_lost });
                }
            }
            lines = rest;
        }
        Ok(End::Whole)
    }

    /// Makes this head the later one; its records are then all that it ever had.
    fn apply(&mut self, change: HeadChange) -> Result<(), Unread> {
        let HeadChange { generation, run, records, answered } = change;
        // It was written whole, and does not fit: nothing of it can be relied on.
        let unfit = |error: anomalyd_models::Error| Unread::Damaged(format!("line {generation}: {error}"));
        self.run.apply(run).map_err(unfit)?;
        self.answered.apply(answered).map_err(unfit)?;
        self.records.extend(records);
        self.generation = generation;
        Ok(())
    }
}

impl HeadChange {
    /// The bytes of a line.
    pub(super) fn to_line(&self) -> serde_json::Result<Vec<u8>> {
        let body = serde_json::to_vec(self)?;
        Ok([sum(&body).as_bytes(), b" ", &body, b"\n"].concat())
    }

    /// Reads a line without its end.
    fn from_line(line: &[u8], before: u64) -> Result<Self, String> {
        let (expected, body) = split(line, b' ').ok_or("it has not two words")?;
        if !std::str::from_utf8(expected).is_ok_and(|expected| has_sum(body, expected)) {
            return Err("its sum is another".into());
        }
        let change: Self = serde_json::from_slice(body).map_err(|error| error.to_string())?;
        if change.generation != before + 1 {
            return Err(format!("it is line {} after {before}", change.generation));
        }
        Ok(change)
    }
}

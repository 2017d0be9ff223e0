//! The head of a stored run: which records it has, what it says of images, what it answered last.

use super::answered::Answered;
use crate::instance::hex;
use anomalyd_models::online::RunManifest;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// The first word of the file; the second is the form of what follows, the third its SHA-256.
const MAGIC: &str = "anomalyd-run";
const FORMAT: u32 = 1;

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

/// Why a head was not read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unread {
    /// It is not whole.
    Damaged(String),
    /// It is whole and of another form.
    Foreign(String),
}

impl Head {
    /// The bytes of the file.
    pub(super) fn to_bytes(&self) -> serde_json::Result<Vec<u8>> {
        let body = serde_json::to_vec(self)?;
        let first = format!("{MAGIC} {FORMAT} {}\n", hex(&Sha256::digest(&body)));
        Ok([first.as_bytes(), &body].concat())
    }

    /// Reads the bytes of a file.
    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self, Unread> {
        let damaged = |what: &str| Unread::Damaged(what.to_owned());
        let end =
            bytes.iter().position(|&byte| byte == b'\n').ok_or_else(|| damaged("it has no first line"))?;
        let first = std::str::from_utf8(&bytes[..end]).map_err(|_| damaged("its first line is no text"))?;
        let body = &bytes[end + 1..];
        let [magic, format, sum] = first
            .split(' ')
            .collect::<Vec<_>>()
            .try_into()
            .map_err(|_| damaged("its first line has not three words"))?;
        if magic != MAGIC {
            return Err(damaged("it does not begin as a stored run does"));
        }
        if sum != hex(&Sha256::digest(body)) {
            return Err(damaged("its sum is another"));
        }
        if format != FORMAT.to_string() {
            return Err(Unread::Foreign(format!(
                "it is stored in form {format}, this version reads form {FORMAT}"
            )));
        }
        serde_json::from_slice(body)
            .map_err(|error| Unread::Foreign(format!("it was stored by another version: {error}")))
    }
}

/// The sum of a record: half a SHA-256, which tells damage apart as surely.
pub(super) fn sum(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes)[..16])
}

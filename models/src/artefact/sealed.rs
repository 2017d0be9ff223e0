//! JSON files that hold their own sum: damage is found before anything in them is believed.

use super::error::{ArtefactError, ArtefactErrorKind};
use crate::extractor::sha256_of;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Stands in the field `sha256` while the sum is made.
pub(crate) const NO_SUM: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// A form of file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Form {
    /// What its field `format` says.
    pub(crate) format: &'static str,
    /// What its field `format_version` says; another is refused.
    pub(crate) version: u32,
    /// A larger file is not read.
    pub(crate) max_bytes: u64,
    /// What it is, in a word.
    pub(crate) noun: &'static str,
    /// How to make one, for whoever has one of another version.
    pub(crate) remake: &'static str,
}

/// What is read first, so that another version is told from damage.
#[derive(Deserialize)]
struct Head {
    format: String,
    format_version: u64,
    sha256: String,
}

/// The text of `value`, whose field `sha256`, the last one of 64 characters, is [`NO_SUM`], with its sum in that place; and the sum.
pub(crate) fn seal(value: &impl Serialize) -> (String, String) {
    let mut text = serde_json::to_string_pretty(value).expect("plain numbers and strings");
    text.push('\n');
    let sum = sha256_of(text.as_bytes());
    let position = text.rfind(NO_SUM).expect("the zeros were just written");
    text.replace_range(position..position + NO_SUM.len(), &sum);
    (text, sum)
}

impl Form {
    /// Reads a file of this form and compares its sum; returns its text.
    pub(crate) fn read(&self, path: &Path) -> Result<String, ArtefactError> {
        let &Self { format, version, max_bytes, noun, remake } = self;
        let io = |error: std::io::Error| ArtefactError::io(path, &error);
        let corrupt = |message: String| ArtefactError::corrupt(path, message);
        let file = File::open(path).map_err(io)?;
        let mut bytes = Vec::new();
        file.take(max_bytes + 1).read_to_end(&mut bytes).map_err(io)?;
        if bytes.len() as u64 > max_bytes {
            return Err(corrupt(format!("has more than {max_bytes} bytes, which no {noun} has")));
        }
        let text = String::from_utf8(bytes).map_err(|_| corrupt("is not UTF-8".into()))?;
        let head: Head =
            serde_json::from_str(&text).map_err(|error| corrupt(format!("is no {noun}: {error}")))?;
        if head.format != format {
            return Err(corrupt(format!("says its format is {:?}, expected {format:?}", head.format)));
        }
        if head.format_version != u64::from(version) {
            let message = format!(
                "has format version {}, this program reads {version}: use the program that wrote it, or {remake}",
                head.format_version
            );
            return Err(ArtefactError::new(ArtefactErrorKind::Version, path, message));
        }
        let position = text.rfind(&head.sha256).filter(|_| head.sha256.len() == NO_SUM.len());
        let Some(position) = position else {
            return Err(corrupt(format!("its sha256 is {:?}, expected 64 hexadecimal digits", head.sha256)));
        };
        let mut blank = text.clone();
        blank.replace_range(position..position + NO_SUM.len(), NO_SUM);
        let found = sha256_of(blank.as_bytes());
        if found != head.sha256 {
            return Err(corrupt(format!("has sha256 {found}, but says {}: it was changed", head.sha256)));
        }
        Ok(text)
    }

    /// What a text of this form holds.
    pub(crate) fn parse<'de, T: Deserialize<'de>>(
        &self,
        path: &Path,
        text: &'de str,
    ) -> Result<T, ArtefactError> {
        serde_json::from_str(text)
            .map_err(|error| ArtefactError::corrupt(path, format!("is no {}: {error}", self.noun)))
    }
}

//! What a run holds beside the states of its images: the list of them, and what is known of images.

use super::known::{KnownImage, Truth};
use super::pixels::PixelDigest;
use super::record::{FORMAT, from_hex, to_hex};
use super::streams::StreamSummary;
use crate::error::{Error, Result};
use crate::image::ScaleParts;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeMap;

/// All that is needed, beside the records it names, to go on with a run as if it had never been interrupted; by default, that of no run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunManifest {
    pub(super) format: u32,
    /// The settings that the states depend on.
    pub(super) settings: serde_json::Value,
    pub(super) streams: BTreeMap<String, StreamManifest>,
}

/// Where the state after an image is found: a stream of the run, and a number that the stream gives once.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordKey {
    /// The stream's name.
    pub stream: String,
    /// The record's number.
    pub id: u64,
}

/// One stream.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StreamManifest {
    /// Channels, rows and columns of the images after preprocessing.
    pub(super) shape: Option<[usize; 3]>,
    pub(super) last_step: Option<i64>,
    pub(super) first_step: Option<i64>,
    pub(super) n_dropped: usize,
    /// How fields become pictures; `None` for images.
    pub(super) field_scale: Option<Vec<ScaleParts>>,
    pub(super) next_id: u64,
    /// The images accepted, oldest first.
    pub(super) pool: Vec<EntryManifest>,
    /// The images kept out whose states are held, newest first.
    pub(super) kept: Vec<EntryManifest>,
    pub(super) known: Vec<KnownManifest>,
}

/// One image with a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EntryManifest {
    pub(super) id: u64,
    pub(super) step: i64,
    #[serde(serialize_with = "as_hex", deserialize_with = "of_hex")]
    pub(super) digest: PixelDigest,
}

/// One image that something is known of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct KnownManifest {
    step: i64,
    #[serde(serialize_with = "as_hex", deserialize_with = "of_hex")]
    digest: PixelDigest,
    alarmed: bool,
    truth: Option<Truth>,
}

impl From<&KnownImage> for KnownManifest {
    fn from(&KnownImage { step, digest, alarmed, truth }: &KnownImage) -> Self {
        Self { step, digest, alarmed, truth }
    }
}

impl From<KnownManifest> for KnownImage {
    fn from(KnownManifest { step, digest, alarmed, truth }: KnownManifest) -> Self {
        Self { step, digest, alarmed, truth }
    }
}

fn as_hex<S: Serializer>(digest: &PixelDigest, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&to_hex(digest))
}

fn of_hex<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PixelDigest, D::Error> {
    let text = String::deserialize(deserializer)?;
    from_hex(&text)
        .ok_or_else(|| serde::de::Error::custom(format!("expected 64 lower-case hex digits, found {text}")))
}

impl RunManifest {
    /// The records that the run cannot do without.
    pub fn records(&self) -> impl Iterator<Item = RecordKey> + '_ {
        self.streams.iter().flat_map(|(name, stream)| {
            stream
                .pool
                .iter()
                .chain(&stream.kept)
                .map(|entry| RecordKey { stream: name.clone(), id: entry.id })
        })
    }

    /// How many they are.
    pub fn n_records(&self) -> usize {
        self.streams.values().map(|stream| stream.pool.len() + stream.kept.len()).sum()
    }

    /// What is to be told of each stream, by name.
    pub fn summaries(&self) -> Vec<StreamSummary> {
        let summary = |(name, stream): (&String, &StreamManifest)| StreamSummary {
            name: name.clone(),
            pool_size: stream.n_dropped + stream.pool.len(),
            last_step: stream.last_step,
            alarms: stream.known.iter().filter(|image| image.alarmed).count(),
            labels: stream.known.iter().filter(|image| image.truth.is_some()).count(),
        };
        self.streams.iter().map(summary).collect()
    }

    /// Checks that the states were made as this daemon would make them.
    ///
    /// # Errors
    ///
    /// [`Error::Record`] with the first setting that differs.
    pub(super) fn check(&self, settings: &serde_json::Value) -> Result<()> {
        let refused = |reason: String| Err(Error::Record { reason });
        if self.format != FORMAT {
            return refused(format!(
                "the run was stored in format {}, this version reads format {FORMAT}",
                self.format
            ));
        }
        match first_difference("", &self.settings, settings) {
            None => Ok(()),
            Some((name, theirs, ours)) => {
                refused(format!("the run was judged with {name} = {theirs}, now it is {ours}"))
            }
        }
    }
}

/// The name of the first value in which two settings differ, and the two values.
pub(super) fn first_difference(
    name: &str,
    theirs: &serde_json::Value,
    ours: &serde_json::Value,
) -> Option<(String, String, String)> {
    use serde_json::Value;
    if theirs == ours {
        return None;
    }
    if let (Value::Object(a), Value::Object(b)) = (theirs, ours) {
        for key in a.keys().chain(b.keys()) {
            let inner = if name.is_empty() { key.clone() } else { format!("{name}.{key}") };
            let value =
                |object: &serde_json::Map<String, Value>| object.get(key).cloned().unwrap_or_default();
            if let Some(found) = first_difference(&inner, &value(a), &value(b)) {
                return Some(found);
            }
        }
    }
    Some((name.to_owned(), theirs.to_string(), ours.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_manifest_survives_json_and_one_with_unknown_keys_is_refused() {
        let entry = EntryManifest { id: 3, step: i64::MIN, digest: [9; 32] };
        let known = KnownImage { step: 1, digest: [1; 32], alarmed: true, truth: Some(Truth::Normal) };
        let stream = StreamManifest {
            shape: Some([3, 20, 30]),
            last_step: Some(5),
            first_step: Some(i64::MIN),
            n_dropped: 0,
            field_scale: Some(vec![([1.5f64.to_bits(), u64::MAX, 0, 1], true)]),
            next_id: 4,
            pool: vec![entry],
            kept: vec![EntryManifest { id: 2, ..entry }],
            known: vec![(&known).into()],
        };
        assert_eq!(KnownImage::from(stream.known[0]), known);
        let manifest =
            RunManifest { format: FORMAT, settings: json!({}), streams: [("v:1".to_owned(), stream)].into() };
        let text = serde_json::to_string(&manifest).unwrap();
        assert_eq!(serde_json::from_str::<RunManifest>(&text).unwrap(), manifest);
        let ids: Vec<u64> = manifest.records().map(|key| key.id).collect();
        assert_eq!((ids, manifest.n_records()), (vec![3, 2], 2));
        for (found, other) in [("\"n_dropped\"", "\"dropped\""), ("0909", "zz09")] {
            assert!(serde_json::from_str::<RunManifest>(&text.replacen(found, other, 1)).is_err(), "{other}");
        }
    }

    #[test]
    fn settings_and_formats_that_differ_are_named() {
        let manifest = |format, settings| RunManifest { format, settings, streams: BTreeMap::new() };
        let ours = json!({"image": {"reduce": 1}, "max_shift": 4});
        manifest(FORMAT, ours.clone()).check(&ours).unwrap();
        let error =
            manifest(FORMAT, json!({"image": {"reduce": 2}, "max_shift": 4})).check(&ours).unwrap_err();
        assert!(error.to_string().contains("image.reduce = 2, now it is 1"), "{error}");
        let error = manifest(FORMAT, json!({"image": {"reduce": 1}})).check(&ours).unwrap_err();
        assert!(error.to_string().contains("max_shift = null, now it is 4"), "{error}");
        let error = manifest(99, ours.clone()).check(&ours).unwrap_err();
        assert!(error.to_string().contains("format 99"), "{error}");
    }
}

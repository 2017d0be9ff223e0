//! What has changed between two manifests of a run: an image adds a line to what is stored of its run, not all of that again.

use super::manifest::{EntryManifest, KnownManifest, RecordKey, RunManifest, StreamManifest};
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ops::Range;

/// How a list that grows at its end, and is shortened at either, has changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListChange<T> {
    /// What is left of the list.
    left: Range<usize>,
    /// What follows that.
    added: Vec<T>,
}

/// What has changed in a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ManifestChange {
    /// Of streams that are new or other than before.
    streams: BTreeMap<String, StreamChange>,
    /// Streams that are no more.
    gone: Vec<String>,
}

/// What has changed in a stream.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StreamChange {
    /// All but its lists, which are empty here.
    rest: StreamManifest,
    pool: ListChange<EntryManifest>,
    kept: ListChange<EntryManifest>,
    known: ListChange<KnownManifest>,
}

impl<T: PartialEq + Clone> ListChange<T> {
    /// What has to be done to `before` so that it is `now`.
    pub fn between(before: &[T], now: &[T]) -> Self {
        let start = now.first().and_then(|first| before.iter().position(|other| other == first));
        let left = start.map_or(0..0, |start| {
            let n_left = before[start..].iter().zip(now).take_while(|(a, b)| a == b).count();
            start..start + n_left
        });
        Self { added: now[left.len()..].to_vec(), left }
    }

    /// Does it.
    ///
    /// # Errors
    ///
    /// [`Error::Record`], and the list is as it was, if there is less of it than is to be left.
    pub fn apply(self, list: &mut Vec<T>) -> Result<()> {
        let Self { left, added } = self;
        if left.start > left.end || left.end > list.len() {
            let reason = format!("{left:?} is to be left of a list of {}", list.len());
            return Err(Error::Record { reason });
        }
        list.truncate(left.end);
        list.drain(..left.start);
        list.extend(added);
        Ok(())
    }
}

impl StreamChange {
    fn between(before: &StreamManifest, now: &StreamManifest) -> Self {
        Self {
            pool: ListChange::between(&before.pool, &now.pool),
            kept: ListChange::between(&before.kept, &now.kept),
            known: ListChange::between(&before.known, &now.known),
            rest: StreamManifest {
                pool: Vec::new(),
                kept: Vec::new(),
                known: Vec::new(),
                field_scale: now.field_scale.clone(),
                ..*now
            },
        }
    }

    fn apply(self, stream: &mut StreamManifest) -> Result<()> {
        let [pool, kept] = [&mut stream.pool, &mut stream.kept].map(std::mem::take);
        let known = std::mem::take(&mut stream.known);
        *stream = StreamManifest { pool, kept, known, ..self.rest };
        self.pool.apply(&mut stream.pool)?;
        self.kept.apply(&mut stream.kept)?;
        self.known.apply(&mut stream.known)
    }
}

impl ManifestChange {
    /// The records that are new since `before`. One may have the key of another that is no more: a stream that was forgotten wholly numbers
    /// its images from the beginning.
    pub fn new_records<'a>(&'a self, before: &'a RunManifest) -> impl Iterator<Item = RecordKey> + 'a {
        self.streams.iter().flat_map(|(name, stream)| {
            let before = before.streams.get(name);
            let added = stream.pool.added.iter().chain(&stream.kept.added);
            added
                .filter(move |entry| {
                    !before.is_some_and(|before| before.pool.contains(entry) || before.kept.contains(entry))
                })
                .map(|entry| RecordKey { stream: name.clone(), id: entry.id })
        })
    }
}

impl RunManifest {
    /// What has changed since `before`, an earlier manifest of this run.
    pub fn change_since(&self, before: &Self) -> ManifestChange {
        let new = StreamManifest::default();
        let changed = self.streams.iter().filter_map(|(name, now)| {
            let before = before.streams.get(name);
            (before != Some(now)).then(|| (name.clone(), StreamChange::between(before.unwrap_or(&new), now)))
        });
        let gone = before.streams.keys().filter(|name| !self.streams.contains_key(*name));
        ManifestChange { streams: changed.collect(), gone: gone.cloned().collect() }
    }

    /// Makes this manifest the later one.
    ///
    /// # Errors
    ///
    /// [`Error::Record`], and the manifest is of no more use, if the change is not one of this manifest.
    pub fn apply(&mut self, change: ManifestChange) -> Result<()> {
        for name in change.gone {
            self.streams.remove(&name);
        }
        for (name, change) in change.streams {
            change.apply(self.streams.entry(name).or_default())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::FORMAT;
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_has_changed_leads_from_any_list_to_any_other(
            before in prop::collection::vec(0..9u8, 0..12), now in prop::collection::vec(0..9u8, 0..12)
        ) {
            let mut list = before.clone();
            ListChange::between(&before, &now).apply(&mut list).unwrap();
            prop_assert_eq!(list, now);
        }
    }

    #[test]
    fn list_that_grew_and_lost_its_oldest_is_told_by_what_is_new() {
        let (before, now): (Vec<u32>, Vec<u32>) = ((0..300).collect(), (1..301).collect());
        let change = ListChange::between(&before, &now);
        assert_eq!(change, ListChange { left: 1..300, added: vec![300] });
        let shortened: Vec<u32> = (0..20).collect();
        assert_eq!(ListChange::between(&before, &shortened), ListChange { left: 0..20, added: vec![] });
        let error = change.apply(&mut vec![1; 299]).unwrap_err();
        assert!(error.to_string().contains("1..300 is to be left of a list of 299"), "{error}");
        let reversed = ListChange { left: Range { start: 2, end: 1 }, added: vec![0u32] };
        assert!(reversed.apply(&mut vec![1; 3]).is_err());
    }

    #[test]
    fn streams_that_are_new_or_gone_or_other_are_told_and_no_others() {
        let entry = |id| EntryManifest { id, step: id as i64, digest: [id as u8; 32] };
        let stream = |ids: Range<u64>| StreamManifest {
            shape: Some([1, 8, 8]),
            last_step: Some(ids.end as i64),
            first_step: Some(0),
            field_scale: Some(vec![([1, 2, 3, 4], true)]),
            next_id: ids.end,
            pool: ids.map(entry).collect(),
            ..StreamManifest::default()
        };
        let run = |streams: &[(&str, StreamManifest)]| RunManifest {
            format: FORMAT,
            settings: serde_json::Value::Null,
            streams: streams.iter().map(|(name, stream)| ((*name).to_owned(), stream.clone())).collect(),
        };
        let kept = StreamManifest { kept: vec![entry(7), entry(4)], ..stream(0..3) };
        let before = run(&[("same", stream(0..3)), ("gone", stream(0..3)), ("other", kept)]);
        // One that was kept out has joined the others.
        let other = StreamManifest { kept: vec![entry(7)], n_dropped: 1, ..stream(1..5) };
        let now = run(&[("same", stream(0..3)), ("new", stream(2..4)), ("other", other)]);
        let change = now.change_since(&before);
        assert_eq!(change.streams.keys().collect::<Vec<_>>(), ["new", "other"]);
        let keys: Vec<(String, u64)> = change.new_records(&before).map(|key| (key.stream, key.id)).collect();
        let told = [("new", 2), ("new", 3), ("other", 3)];
        assert_eq!(keys, told.map(|(stream, id)| (stream.to_owned(), id)));
        let text = serde_json::to_string(&change).unwrap();
        let mut after = before;
        after.apply(serde_json::from_str(&text).unwrap()).unwrap();
        assert_eq!(after, now);
        assert!(after.change_since(&now).streams.is_empty());
        assert!(run(&[]).apply(change).is_err(), "there is no stream to be changed");
    }
}

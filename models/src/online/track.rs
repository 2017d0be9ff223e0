//! One kind of evidence as it goes through a run: the recent novelty of each place, and the history of its surprise.

use super::block_matching::NoveltyMap;
use super::history::History;
use super::record::Record;
use super::record_draft::RecordDraft;
use super::surprise::{Measure, Scale, Surprise};
use crate::error::Result;
use std::sync::Arc;

/// What a run remembers of one kind of evidence.
#[derive(Debug, Clone, Default)]
pub(super) struct Track {
    /// `None` before the first map.
    pub(super) scale: Option<Arc<Scale>>,
    pub(super) history: History,
}

impl Track {
    /// How surprising `map` is by what has been before; `None` for the first map.
    pub(super) fn surprise(&self, map: &NoveltyMap, measure: &Measure) -> Option<Surprise> {
        Some(Surprise::of(map, self.scale.as_deref()?, measure))
    }

    /// The track after the image of `map` and `surprise`.
    pub(super) fn accepted(&self, map: &NoveltyMap, surprise: Option<&Surprise>, measure: &Measure) -> Self {
        let scale = match &self.scale {
            Some(scale) => scale.updated(map, measure),
            None => Scale::first(map, measure),
        };
        let mut history = self.history.clone();
        if let Some(surprise) = surprise {
            history.accept(surprise.log);
        }
        Self { scale: Some(Arc::new(scale)), history }
    }

    /// Puts the track into a record.
    pub(super) fn store<'a>(&'a self, name: &str, draft: &mut RecordDraft<'a>) {
        if let Some(scale) = &self.scale {
            draft.put_flat(&format!("{name}.scale"), &scale.0);
        }
        self.history.store(name, draft);
    }

    /// The track of a record.
    pub(super) fn restore(name: &str, record: &Record) -> Result<Self> {
        let scale = format!("{name}.scale");
        let values = if record.has(&scale) { Some(record.get_flat(&scale, usize::MAX)?) } else { None };
        Ok(Self {
            scale: values.map(|values| Arc::new(Scale(values))),
            history: History::restore(name, record)?,
        })
    }

    /// Images to come until there are p-values.
    pub(super) fn needed(&self) -> usize {
        usize::from(self.scale.is_none()) + self.history.needed()
    }
}

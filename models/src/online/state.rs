//! What the default rule remembers after each accepted image, in memory and in a record.

use super::features::{FeatureMap, Features};
use super::history::History;
use super::one_step_ahead::LAGS;
use super::planes::Planes;
use super::prior::Prior;
use super::record::Record;
use super::record_draft::RecordDraft;
use super::track::Track;
use super::window::MAX_MOTIONS;
use crate::error::{Error, Result};
use crate::traits::ImageShape;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Newest distances between the steps of accepted images; their median is the run's output interval.
pub(super) const MAX_INTERVALS: usize = 5;

/// What is remembered after an accepted image: all that judging the next one needs but the images before it.
///
/// At the paper's crop 570 kB: 240 x 478 x 3 bytes of pixels, scales of 2 bytes for 120 x 239 places, 59 x 118, and three times 60 x 119,
/// 51 kB of features twice, and 20 kB of history.
#[derive(Debug, Clone)]
pub(super) struct State {
    pub(super) image: Arc<Planes>,
    pub(super) block: Track,
    pub(super) colour: Track,
    /// Colours over each of [`LAGS`].
    pub(super) apart: [Track; 3],
    /// Log surprises over all lags together.
    pub(super) lags: History,
    pub(super) features: Option<FeatureState>,
    /// Distances between steps, the newest last.
    pub(super) intervals: Vec<u64>,
    /// How far things have moved from image to image, in pixels; the newest last.
    pub(super) motions: Vec<u8>,
}

/// What is remembered of features.
#[derive(Debug, Clone)]
pub(super) struct FeatureState {
    pub(super) features: Features,
    /// The usual length of a place's features in the run's first image.
    pub(super) unit: f32,
    pub(super) track: Track,
    /// Scores of whole images.
    pub(super) forest: History,
    /// Scores of places.
    pub(super) patches: Track,
}

impl State {
    pub(super) fn first(image: Planes, features: Option<Features>) -> Self {
        let features = features.map(|features| FeatureState {
            unit: features.map.unit(),
            features,
            track: Track::default(),
            forest: History::default(),
            patches: Track::default(),
        });
        Self {
            image: Arc::new(image),
            block: Track::default(),
            colour: Track::default(),
            apart: Default::default(),
            lags: History::default(),
            features,
            intervals: Vec::new(),
            motions: Vec::new(),
        }
    }

    /// The state after an image of which nothing is taken but the image itself.
    pub(super) fn with_image(&self, image: Planes, features: Option<Features>) -> Self {
        let mut next = Self { image: Arc::new(image), ..self.clone() };
        if let (Some(state), Some(features)) = (&mut next.features, features) {
            state.features = features;
        }
        next
    }

    /// Puts the state into a record.
    pub(super) fn store<'a>(&'a self, draft: &mut RecordDraft<'a>) {
        let Self { image, block, colour, apart, lags, features, intervals, motions } = self;
        image.store("image", draft);
        block.store("block", draft);
        colour.store("colour", draft);
        for (track, lag) in apart.iter().zip(LAGS) {
            track.store(&format!("apart_{lag}"), draft);
        }
        lags.store("lags", draft);
        draft.put_flat("intervals", intervals);
        draft.put_flat("motions", motions);
        if let Some(FeatureState { features, unit, track, forest, patches }) = features {
            draft.put_flat("features.row", &*features.row);
            draft.put("features.map", &features.map.shape, &features.map.values);
            draft.put_flat("features.unit", vec![*unit]);
            track.store("features", draft);
            forest.store("forest", draft);
            patches.store("patches", draft);
        }
    }

    /// The state of a record.
    ///
    /// # Errors
    ///
    /// [`Error::Record`] if it is none.
    pub(super) fn restore(record: &Record) -> Result<Self> {
        let image = Planes::restore("image", record)?;
        let mut apart: [Track; LAGS.len()] = Default::default();
        for (track, lag) in apart.iter_mut().zip(LAGS) {
            *track = Track::restore(&format!("apart_{lag}"), record)?;
        }
        let features = if record.has("features.row") {
            let (shape, values) = record.get("features.map")?;
            let unit: Vec<f32> = record.get_flat("features.unit", 1)?;
            let Some(&unit) = unit.first() else {
                return Err(Error::Record { reason: "array features.unit is empty".into() });
            };
            let row: Vec<f32> = record.get_flat("features.row", usize::MAX)?;
            Some(FeatureState {
                features: Features { row: row.into(), map: Arc::new(FeatureMap { shape, values }) },
                unit,
                track: Track::restore("features", record)?,
                forest: History::restore("forest", record)?,
                patches: Track::restore("patches", record)?,
            })
        } else {
            None
        };
        Ok(Self {
            image: Arc::new(image),
            block: Track::restore("block", record)?,
            colour: Track::restore("colour", record)?,
            apart,
            lags: History::restore("lags", record)?,
            features,
            intervals: record.get_flat("intervals", MAX_INTERVALS)?,
            motions: record.get_flat("motions", MAX_MOTIONS)?,
        })
    }

    /// Lets the residuals of an earlier run count as long as there are few of this one.
    pub(super) fn lend(&mut self, prior: &Prior) {
        self.for_each_history(|name, history| history.lend(prior.residuals(name)));
    }

    /// The histories by name.
    pub(super) fn histories(&self) -> BTreeMap<String, History> {
        let mut histories = BTreeMap::new();
        self.clone().for_each_history(|name, history| {
            histories.insert(name.to_owned(), std::mem::take(history));
        });
        histories
    }

    /// Channels, rows and columns of the image.
    pub(super) fn shape(&self) -> [usize; 3] {
        let ImageShape { channels, rows, columns } = self.image.shape();
        [channels, rows, columns]
    }

    fn for_each_history(&mut self, mut visit: impl FnMut(&str, &mut History)) {
        visit("block", &mut self.block.history);
        visit("colour", &mut self.colour.history);
        for (track, lag) in self.apart.iter_mut().zip(LAGS) {
            visit(&format!("apart_{lag}"), &mut track.history);
        }
        visit("lags", &mut self.lags);
        if let Some(state) = &mut self.features {
            visit("features", &mut state.track.history);
            visit("forest", &mut state.forest);
            visit("patches", &mut state.patches.history);
        }
    }

    /// Forgets what is usual but not how much it varies.
    pub(super) fn forget_levels(&mut self) {
        self.for_each_history(|_, history| history.forget_level());
    }
}

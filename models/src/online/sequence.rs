//! What is common to all online rules: steps, rewinds, and images that raised an alarm.

use super::heat_map::Places;
use super::known::{Known, Truth};
use super::manifest::{EntryManifest, KnownManifest, StreamManifest};
use super::pixels::Pixels;
use super::pool::{Entry, Pool};
use super::record::Record;
use super::record_draft::RecordDraft;
use crate::error::{Error, Result};
use crate::traits::ImageShape;
use crate::verdict::{Evidence, Label, PoolState, Verdict};
use std::collections::VecDeque;

/// A way to judge an image by the images believed normal before it.
pub(super) trait Rule {
    /// What of an image is compared.
    type Prepared;
    /// What is remembered after an accepted image.
    type State;

    /// The number of newest states that a judgement may read.
    fn depth(&self) -> usize;

    /// Takes from an image what is compared.
    ///
    /// # Errors
    ///
    /// As the rule says; the pool is then as it was.
    fn prepare(&mut self, pixels: &Pixels<'_>) -> Result<Self::Prepared>;

    /// Judges an image whose step is later than all of the pool, by the newest [`depth`](Self::depth) states alone.
    ///
    /// - `rate`: the p-value below which an image is anomalous, for a rule that has p-values. The state must not depend on it.
    ///
    /// # Errors
    ///
    /// As the rule says.
    fn judge(
        &self,
        pool: &Pool<Self::State>,
        step: i64,
        prepared: Self::Prepared,
        rate: f64,
    ) -> Result<Opinion<Self::State>>;

    /// The settings that the states depend on: a state made with others must not be read.
    fn settings(&self) -> serde_json::Value;

    /// Called before a judgement if the pool has changed since, however often, for a rule that keeps something of its own of all states. It may
    /// move parts of a state there, and must be able to begin again after an error or a panic.
    ///
    /// # Errors
    ///
    /// As the rule says, of states that were restored; those that it has judged are in order.
    fn follow(&mut self, _pool: &mut Pool<Self::State>) -> Result<()> {
        Ok(())
    }

    /// Puts all of a state into the draft of a record but what can be computed from it and those before it.
    ///
    /// - `id`: that of the state in the pool, or of one kept out.
    fn store<'a>(&'a self, id: u64, state: &'a Self::State, draft: &mut RecordDraft<'a>);

    /// The state of a record.
    ///
    /// # Errors
    ///
    /// [`Error::Record`] if it is none.
    fn restore(&self, record: &Record) -> Result<Self::State>;

    /// Images to come until verdicts are given.
    fn needed(&self, pool: &Pool<Self::State>) -> usize;
}

/// What a rule says of an image.
#[derive(Debug)]
pub(super) struct Opinion<S> {
    pub(super) verdict: Verdict,
    pub(super) p_value: Option<f64>,
    /// By kind; empty without a p-value.
    pub(super) evidence: Vec<Evidence>,
    /// In pixels of the preprocessed image.
    pub(super) region: Option<[usize; 4]>,
    /// What a heat map is drawn from; `None` without a p-value.
    pub(super) places: Option<Places>,
    /// The state if the image is accepted.
    pub(super) state: S,
}

impl<S> Opinion<S> {
    /// That the rule cannot judge yet.
    pub(super) fn unknown(state: S) -> Self {
        Self {
            verdict: Verdict::unknown(),
            p_value: None,
            evidence: Vec::new(),
            region: None,
            places: None,
            state,
        }
    }
}

/// What is said of one image of a sequence.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Sequel {
    pub(super) verdict: Verdict,
    pub(super) p_value: Option<f64>,
    pub(super) evidence: Vec<Evidence>,
    /// In pixels of the preprocessed image.
    pub(super) region: Option<[usize; 4]>,
    pub(super) places: Option<Places>,
    pub(super) pool: PoolState,
    pub(super) forgot: usize,
    pub(super) reproducible: bool,
    /// What an operator has said of this very image.
    pub(super) truth: Option<Truth>,
}

/// How far a simulation has gone back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Back {
    /// To right after the step.
    To(i64),
    /// To right before the step.
    Before(i64),
}

impl Back {
    /// Whether an image of `other` is forgotten.
    fn forgets(self, other: i64) -> bool {
        match self {
            Self::To(step) => other > step,
            Self::Before(step) => other >= step,
        }
    }

    /// The step that was named.
    fn step(self) -> i64 {
        match self {
            Self::To(step) | Self::Before(step) => step,
        }
    }
}

/// What became of a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Labelled {
    /// The image is among those believed normal, now.
    pub in_pool: bool,
    /// It was before.
    pub was_in_pool: bool,
    /// The number of images forgotten, the labelled one included.
    pub forgot: usize,
}

/// A stored image that could not be read, and was left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The stream.
    pub stream: String,
    /// The image's step.
    pub step: i64,
    /// What is wrong with the record, and what follows.
    pub reason: String,
}

/// Images kept out whose states are held, so that an operator can let one in: those of the newest steps.
const MAX_KEPT: usize = 4;

/// A run under one rule.
#[derive(Debug)]
pub(super) struct Sequence<R: Rule> {
    rule: R,
    pool: Pool<R::State>,
    known: Known,
    /// Images kept out since the pool last changed, with the states they would have led to.
    kept: VecDeque<Entry<R::State>>,
    shape: Option<ImageShape>,
    /// The newest step judged, accepted or not.
    last_step: Option<i64>,
    max_alarms_at_step: usize,
    /// Of the next image's state.
    next_id: u64,
    /// Whether the rule has followed the pool.
    is_settled: bool,
}

impl<R: Rule> Sequence<R> {
    pub(super) fn new(rule: R, max_snapshots: usize, max_alarms_at_step: usize) -> Self {
        let pool = Pool::new(max_snapshots, rule.depth());
        let (known, kept) = (Known::default(), VecDeque::new());
        Self {
            rule,
            pool,
            known,
            kept,
            shape: None,
            last_step: None,
            max_alarms_at_step,
            next_id: 0,
            is_settled: true,
        }
    }

    pub(super) fn pool(&self) -> &Pool<R::State> {
        &self.pool
    }

    pub(super) fn known(&self) -> &Known {
        &self.known
    }

    pub(super) fn last_step(&self) -> Option<i64> {
        self.last_step
    }

    /// Keeps an image out that is wrong by itself, whatever came before; returns how many images it made the pool forget. It is
    /// not remembered as an alarm: nothing makes it right.
    ///
    /// # Errors
    ///
    /// [`Error::Step`], and nothing is changed, if the simulation has gone back too far.
    pub(super) fn refuse(&mut self, step: i64) -> Result<usize> {
        let back = Back::Before(step);
        let forgot = self.forget(self.size_after(back)?, back);
        self.last_step = Some(step);
        Ok(forgot)
    }

    /// Whether nothing is left to do of what the next judgement needs and the last one did not.
    pub(super) fn is_settled(&self) -> bool {
        self.is_settled
    }

    /// Does that; a judgement does it too. It changes no verdict, and is begun again after an error.
    ///
    /// # Errors
    ///
    /// Those of [`Rule::follow`].
    pub(super) fn settle(&mut self) -> Result<()> {
        if !self.is_settled {
            self.rule.follow(&mut self.pool)?;
            self.is_settled = true;
        }
        Ok(())
    }

    /// What the pool holds.
    pub(super) fn pool_state(&self) -> PoolState {
        PoolState { size: self.pool.size(), needed: self.rule.needed(&self.pool) }
    }

    /// Judges the image of `step` and accepts it unless it raises an alarm. A step not later than one accepted makes the
    /// pool forget that and all later ones first. An error leaves everything as it was.
    ///
    /// - `rate`: the p-value below which an image is anomalous; the state that follows does not depend on it.
    pub(super) fn judge<'a>(
        &mut self,
        step: i64,
        pixels: impl Into<Pixels<'a>>,
        rate: f64,
    ) -> Result<Sequel> {
        let pixels = pixels.into();
        let back = Back::Before(step);
        let size = self.size_after(back)?;
        let shape = pixels.shape();
        if let Some(wanted) = self.shape.filter(|&wanted| size > 0 && wanted != shape) {
            let words =
                |s: ImageShape| format!("{} channels of {} x {} pixels", s.channels, s.rows, s.columns);
            return Err(Error::Shape {
                what: "image, after its crop, among those of its run",
                wanted: words(wanted),
                found: words(shape),
            });
        }
        let prepared = self.rule.prepare(&pixels)?;
        let forgot = self.forget(size, back);
        self.settle()?;
        let Opinion { mut verdict, p_value, evidence, region, places, state } =
            self.rule.judge(&self.pool, step, prepared, rate)?;
        (self.shape, self.last_step) = (Some(shape), Some(step));

        let entry = Entry { step, id: self.next_id, digest: pixels.digest(), state };
        self.next_id += 1;
        let before = self.known.find(step, &entry.digest);
        let alarmed = verdict.label == Label::Anomalous;
        let truth = before.and_then(|image| image.truth);
        let reproducible = truth.is_none()
            && (before.is_some_and(|image| image.alarmed)
                || alarmed && self.known.n_alarms_at(step) >= self.max_alarms_at_step);
        if alarmed && !reproducible {
            self.known.alarm(step, entry.digest);
        }
        match truth {
            Some(Truth::Normal) => verdict.label = Label::Normal,
            Some(Truth::Anomalous) => {
                verdict.label = Label::Anomalous;
                // Now the newest of its step.
                self.known.label(step, entry.digest, Truth::Anomalous);
            }
            None if reproducible && alarmed => verdict.label = Label::Normal,
            None => {}
        }
        if verdict.label == Label::Anomalous {
            self.kept.truncate(MAX_KEPT - 1);
            self.kept.push_front(entry);
        } else {
            self.accept(entry);
        }
        let pool = self.pool_state();
        Ok(Sequel { verdict, p_value, evidence, region, places, pool, forgot, reproducible, truth })
    }

    /// How many images would be left if the run went back.
    ///
    /// # Errors
    ///
    /// [`Error::Step`] if it cannot.
    pub(super) fn size_after(&self, back: Back) -> Result<usize> {
        self.pool.size_without(back.step(), |other| back.forgets(other))
    }

    /// Whether the image of `step` is in the pool, with its state.
    pub(super) fn has_accepted(&self, step: i64) -> bool {
        self.pool.digest_at(step).is_some()
    }

    /// Goes back; returns how many images were forgotten. What is known of images stays known.
    pub(super) fn go(&mut self, back: Back) -> Result<usize> {
        let size = self.size_after(back)?;
        if self.last_step.is_some_and(|last| back.forgets(last)) {
            let forgotten = self.forget(size, back);
            self.last_step = self.pool.last_step();
            return Ok(forgotten);
        }
        Ok(0)
    }

    /// Takes an operator's word for the newest image of `step`; `None`, and nothing is changed, if no image of that step is
    /// remembered.
    ///
    /// An image kept out that is normal joins the pool if nothing has changed in the pool since, else when it comes back. An
    /// accepted image that is anomalous is forgotten with all later ones. The same pixels at that step are from now on what
    /// the operator says.
    ///
    /// # Errors
    ///
    /// [`Error::Step`], and nothing is changed, if the state before an accepted image is no longer held.
    pub(super) fn label(&mut self, step: i64, truth: Truth) -> Result<Option<Labelled>> {
        let accepted = self.pool.digest_at(step);
        let Some(digest) = accepted.or_else(|| self.known.newest_at(step).map(|image| image.digest)) else {
            return Ok(None);
        };
        let was_in_pool = accepted.is_some();
        let mut labelled = Labelled { in_pool: was_in_pool, was_in_pool, forgot: 0 };
        match truth {
            Truth::Anomalous if was_in_pool => {
                labelled = Labelled { in_pool: false, was_in_pool, forgot: self.go(Back::Before(step))? };
            }
            Truth::Normal if !was_in_pool => {
                let kept = self.kept.iter().position(|kept| kept.step == step && kept.digest == digest);
                if let Some(entry) = kept.and_then(|idx| self.kept.remove(idx)) {
                    self.accept(entry);
                    labelled.in_pool = true;
                }
            }
            _ => {}
        }
        self.known.label(step, digest, truth);
        Ok(Some(labelled))
    }

    /// How images are judged.
    pub(super) fn rule(&self) -> &R {
        &self.rule
    }

    /// The settings that the states depend on.
    pub(super) fn settings(&self) -> serde_json::Value {
        self.rule.settings()
    }

    /// What is to be stored beside the states.
    pub(super) fn manifest(&self) -> StreamManifest {
        let manifest =
            |entry: &Entry<R::State>| EntryManifest { id: entry.id, step: entry.step, digest: entry.digest };
        StreamManifest {
            shape: self.shape.map(|shape| [shape.channels, shape.rows, shape.columns]),
            last_step: self.last_step,
            first_step: self.pool.first_step(),
            n_dropped: self.pool.n_dropped(),
            field_scale: None,
            next_id: self.next_id,
            pool: self.pool.entries().map(manifest).collect(),
            kept: self.kept.iter().map(manifest).collect(),
            known: self.known.iter().map(KnownManifest::from).collect(),
        }
    }

    /// The state of this number, to be written.
    pub(super) fn record(&self, id: u64) -> Option<RecordDraft<'_>> {
        // The newest is asked for, but after a fault of the disk.
        let mut entries = self.pool.entries().rev().chain(&self.kept);
        let Entry { step, digest, state, .. } = entries.find(|entry| entry.id == id)?;
        let mut draft = RecordDraft::new(*step, *digest);
        self.rule.store(id, state, &mut draft);
        Some(draft)
    }

    /// Goes on where the manifest was written. An image whose record cannot be read is left out with all later ones, as by a
    /// rewind to the one before; what is then wrong is told.
    ///
    /// - `read`: the bytes of the record of a number, or why there are none.
    ///
    /// # Errors
    ///
    /// [`Error::Record`] if too little is left to go on with, and nothing is changed.
    pub(super) fn restore(
        &mut self,
        manifest: &StreamManifest,
        mut read: impl FnMut(u64) -> std::result::Result<Vec<u8>, String>,
    ) -> Result<Vec<(i64, String)>> {
        let mut damages = Vec::new();
        let mut take = |&EntryManifest { id, step, digest }: &EntryManifest| {
            let bytes = read(id).map_err(|reason| Error::Record { reason })?;
            let state = self.rule.restore(&Record::from_bytes(&bytes, step, &digest)?)?;
            Ok::<_, Error>(Entry { step, id, digest, state })
        };
        let (mut entries, mut kept) = (VecDeque::new(), VecDeque::new());
        for entry in &manifest.pool {
            match take(entry) {
                Ok(entry) => entries.push_back(entry),
                Err(error) => {
                    damages.push((entry.step, error.to_string()));
                    break;
                }
            }
        }
        let is_whole = damages.is_empty();
        for entry in manifest.kept.iter().filter(|_| is_whole).take(MAX_KEPT) {
            match take(entry) {
                Ok(entry) => kept.push_back(entry),
                Err(error) => damages.push((entry.step, error.to_string())),
            }
        }
        let (n_dropped, first_step) = (manifest.n_dropped, manifest.first_step);
        let first_step = first_step.filter(|_| n_dropped > 0 || !entries.is_empty());
        let (max_snapshots, depth) = (self.pool.max_snapshots(), self.rule.depth());
        let mut pool = Pool::restore(max_snapshots, depth, n_dropped, first_step, entries)?;
        // Now, as it may fail.
        self.rule.follow(&mut pool)?;
        self.is_settled = true;
        (self.pool, self.kept) = (pool, kept);
        self.known = Known::restore(manifest.known.iter().map(|&known| known.into()));
        self.shape = manifest.shape.map(|[channels, rows, columns]| ImageShape { channels, rows, columns });
        self.last_step = if is_whole { manifest.last_step } else { self.pool.last_step() };
        self.next_id = manifest.next_id;
        Ok(damages)
    }

    fn accept(&mut self, entry: Entry<R::State>) {
        self.pool.push(entry);
        // They were judged by a pool without this image.
        self.kept.clear();
        self.is_settled = false;
    }

    /// Truncates the pool to `size` images, those left by going `back`; returns how many were forgotten.
    fn forget(&mut self, size: usize, back: Back) -> usize {
        let forgotten = self.pool.truncate(size);
        if forgotten > 0 {
            self.kept.clear();
            self.is_settled = false;
        }
        self.kept.retain(|kept| !back.forgets(kept.step));
        forgotten
    }
}

#[cfg(test)]
#[path = "sequence_tests.rs"]
mod tests;

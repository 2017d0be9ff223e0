//! Several outputs per step of one simulation run, each with a past of its own, under one joint false-alarm rate.

use super::heat_map::HeatMap;
use super::known::Truth;
use super::manifest::{RecordKey, RunManifest};
use super::params::{OnlineMethod, OnlineParams};
use super::record::FORMAT;
use super::record_draft::RecordDraft;
use super::run::OnlineRun;
use super::sequence::{Back, Damage, Labelled};
use crate::error::{Error, Result};
use crate::extractor::ExtractorSource;
use crate::image::{Decoded, Input, Preprocess};
use crate::verdict::Judgement;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What makes an online run, for those that begin later.
#[derive(Debug, Clone)]
pub struct RunSettings {
    /// How images are judged.
    pub params: OnlineParams,
    /// Applied to every image before it is judged.
    pub preprocess: Preprocess,
    /// Where extractors come from.
    pub extractors: Arc<dyn ExtractorSource>,
    /// The most streams of one run, at least 1.
    pub max_streams: usize,
}

impl RunSettings {
    /// Checks that a stored run can be gone on with.
    ///
    /// # Errors
    ///
    /// [`Error::Record`] if it was stored in another format, or under other settings that its states depend on.
    pub fn check(&self, manifest: &RunManifest) -> Result<()> {
        manifest.check(&self.of_states()?)
    }

    /// The settings that the states of images depend on.
    fn of_states(&self) -> Result<serde_json::Value> {
        // As they come back from a file, numbers that are not whole included.
        Ok(serde_json::from_str(&self.begin()?.settings().to_string()).unwrap_or_default())
    }

    fn begin(&self) -> Result<OnlineRun> {
        OnlineRun::with_extractors(self.params.clone(), self.preprocess, Arc::clone(&self.extractors))
    }
}

/// The streams of one run: variables or slices of which each step writes an image.
///
/// Each stream is an [`OnlineRun`] of its own: its images are compared with its own alone. What they share is the simulation
/// and the operator's patience:
///
/// - **Steps.** A rewind concerns all streams. A step at or before the newest of the *same* stream means that the simulation has
///   gone back, and makes all streams forget that and later steps; the same step in another stream means nothing.
/// - **False alarms.** A stream is judged at the false-alarm rate divided by the number of streams that have an image in their
///   pool, the image's own counted in. By the union bound the probability of any false alarm in a step is then at most the
///   rate, however the streams depend on each other. While streams appear, those that came first are judged at a larger share:
///   the first image of a second stream halves the share of the first from its next image on. The method `forest` has no
///   p-values, and so no joint rate.
#[derive(Debug)]
pub struct Streams {
    settings: RunSettings,
    /// Those that the states depend on.
    of_states: serde_json::Value,
    by_name: BTreeMap<String, OnlineRun>,
}

/// What is to be told of a stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StreamSummary {
    /// Its name, empty for the default stream.
    pub name: String,
    /// Images believed normal.
    pub pool_size: usize,
    /// The newest step judged.
    pub last_step: Option<i64>,
    /// Images known that have raised an alarm.
    pub alarms: usize,
    /// Images that an operator has labelled.
    pub labels: usize,
}

impl Streams {
    /// A run without streams.
    ///
    /// # Errors
    ///
    /// [`Error::Parameter`] if a setting lies outside its range.
    pub fn new(settings: RunSettings) -> Result<Self> {
        if settings.max_streams == 0 {
            return Err(Error::Parameter {
                name: "max_streams",
                found: "0".into(),
                expected: "at least 1".into(),
            });
        }
        // A run is begun for it, so that wrong parameters are found before the first image.
        let of_states = settings.of_states()?;
        Ok(Self { settings, of_states, by_name: BTreeMap::new() })
    }

    /// Judges the image of a step of a stream, as [`OnlineRun::judge`] does, and with it tells all streams what follows from
    /// its step. [`Judgement::forgot`] counts the images of all streams.
    ///
    /// # Errors
    ///
    /// All streams are then as they were before: those of [`OnlineRun::judge`], [`Error::Step`] also if another stream cannot go
    /// back as far, and [`Error::TooManyStreams`].
    pub fn judge(&mut self, stream: &str, step: i64, image: &Decoded) -> Result<Judgement> {
        self.judge_by(stream, step, |run| run.judge(step, image))
    }

    /// The same of an image or a raw field, as [`OnlineRun::judge_input`] does.
    ///
    /// # Errors
    ///
    /// Those of [`judge`](Self::judge) and of [`OnlineRun::judge_field`].
    pub fn judge_input(&mut self, stream: &str, step: i64, input: &Input) -> Result<Judgement> {
        self.judge_by(stream, step, |run| run.judge_input(step, input))
    }

    fn judge_by(
        &mut self,
        stream: &str,
        step: i64,
        judge: impl FnOnce(&mut OnlineRun) -> Result<Judgement>,
    ) -> Result<Judgement> {
        let last = self.by_name.get(stream).and_then(OnlineRun::last_step);
        let back = last.filter(|&last| last >= step).map(|_| Back::Before(step));
        let n_others = self.n_with_images(stream, back)?;
        let is_new = !self.by_name.contains_key(stream);
        if is_new {
            self.begin(stream)?;
        }
        let rate = self.settings.params.one_step_ahead.false_alarm_rate / (n_others + 1) as f64;
        let run = self.by_name.get_mut(stream).expect("it is there, or has just begun");
        run.set_false_alarm_rate(rate);
        let mut judgement = match judge(run) {
            Ok(judgement) => judgement,
            Err(error) => {
                if is_new {
                    self.by_name.remove(stream);
                }
                return Err(error);
            }
        };
        if let Some(back) = back {
            judgement.forgot += self.others_go(stream, back)?;
        }
        Ok(judgement)
    }

    /// As [`OnlineRun::is_settled`], of all streams.
    pub fn is_settled(&self) -> bool {
        self.by_name.values().all(OnlineRun::is_settled)
    }

    /// As [`OnlineRun::settle`], of all streams.
    ///
    /// # Errors
    ///
    /// Those of [`OnlineRun::settle`], the first stream's that has one; the others are settled.
    pub fn settle(&mut self) -> Result<()> {
        self.by_name.values_mut().map(OnlineRun::settle).fold(Ok(()), Result::and)
    }

    /// As [`OnlineRun::settle`], of what the next image of this stream needs; returns whether there was anything to do.
    ///
    /// # Errors
    ///
    /// Those of [`OnlineRun::settle`].
    pub fn settle_stream(&mut self, stream: &str) -> Result<bool> {
        match self.by_name.get_mut(stream).filter(|run| !run.is_settled()) {
            Some(run) => run.settle().map(|()| true),
            None => Ok(false),
        }
    }

    /// As [`OnlineRun::heat_map`], of the image that the stream has judged last.
    pub fn heat_map(&self, stream: &str, image: &Decoded) -> Option<HeatMap> {
        self.by_name.get(stream)?.heat_map(image)
    }

    /// As [`OnlineRun::heat_map_of`], of what the stream has judged last.
    pub fn heat_map_of(&self, stream: &str, input: &Input) -> Option<HeatMap> {
        self.by_name.get(stream)?.heat_map_of(input)
    }

    /// Forgets the images of all streams with a later step; returns how many.
    ///
    /// # Errors
    ///
    /// [`Error::Step`], and nothing is changed, if a stream no longer holds its state at that step.
    pub fn rewind(&mut self, step: i64) -> Result<usize> {
        for run in self.by_name.values() {
            run.size_after(Back::To(step))?;
        }
        let mut forgotten = 0;
        for run in self.by_name.values_mut() {
            forgotten += run.go(Back::To(step))?;
        }
        self.drop_empty();
        Ok(forgotten)
    }

    /// As [`OnlineRun::label`], of a stream's image. An accepted image that is anomalous makes all streams forget its step and
    /// all later ones: they are outputs of one simulation.
    ///
    /// # Errors
    ///
    /// [`Error::Step`], and nothing is changed, if a stream no longer holds its state before that step.
    pub fn label(&mut self, stream: &str, step: i64, truth: Truth) -> Result<Option<Labelled>> {
        let Some(run) = self.by_name.get(stream) else { return Ok(None) };
        let back = (truth == Truth::Anomalous && run.has_accepted(step)).then_some(Back::Before(step));
        self.n_with_images(stream, back)?;
        let run = self.by_name.get_mut(stream).expect("it was there");
        let Some(mut labelled) = run.label(step, truth)? else { return Ok(None) };
        if let Some(back) = back {
            labelled.forgot += self.others_go(stream, back)?;
        }
        Ok(Some(labelled))
    }

    /// The number of images believed normal, of all streams together.
    pub fn pool_size(&self) -> usize {
        self.by_name.values().map(OnlineRun::pool_size).sum()
    }

    /// The newest step judged in a stream.
    pub fn last_step_of(&self, stream: &str) -> Option<i64> {
        self.by_name.get(stream)?.last_step()
    }

    /// The newest step judged in any stream.
    pub fn last_step(&self) -> Option<i64> {
        self.by_name.values().filter_map(OnlineRun::last_step).max()
    }

    /// What is to be told of each stream, by name.
    pub fn summaries(&self) -> Vec<StreamSummary> {
        let summary = |(name, run): (&String, &OnlineRun)| {
            let (alarms, labels) = run.n_known();
            let (pool_size, last_step) = (run.pool_size(), run.last_step());
            StreamSummary { name: name.clone(), pool_size, last_step, alarms, labels }
        };
        self.by_name.iter().map(summary).collect()
    }

    /// The p-value below which an image of the run is anomalous, all streams together; `None` for a method without.
    pub fn joint_false_alarm_rate(&self) -> Option<f64> {
        let params = &self.settings.params;
        (params.method == OnlineMethod::OneStepAhead).then_some(params.one_step_ahead.false_alarm_rate)
    }

    /// What is to be stored, beside the records that it names, for [`restore`](Self::restore).
    pub fn manifest(&self) -> RunManifest {
        RunManifest {
            format: FORMAT,
            settings: self.of_states.clone(),
            streams: self.by_name.iter().map(|(name, run)| (name.clone(), run.manifest())).collect(),
        }
    }

    /// A record that the manifest names, to be written to a file. What a record holds never changes: it needs to be written
    /// once.
    pub fn record(&self, key: &RecordKey) -> Option<RecordDraft<'_>> {
        self.by_name.get(&key.stream)?.record(key.id)
    }

    /// The run that was stored: it goes on as if it had never been interrupted, bit for bit.
    ///
    /// An image whose record cannot be read is left out with all later ones of its stream, as by a rewind to the one before;
    /// the second value says which and why.
    ///
    /// - `read`: the bytes of a record, as [`record`](Self::record) wrote them, or why there are none. Bytes that were changed on
    ///   the way are the caller's to detect.
    ///
    /// # Errors
    ///
    /// [`Error::Record`] if the run was stored in another format or under other settings that its states depend on (those that
    /// they do not depend on may have changed: the false-alarm rate, `max_snapshots`, `max_alarms_at_step`), or if too little can
    /// be read; [`Error::Parameter`].
    pub fn restore(
        settings: RunSettings,
        manifest: &RunManifest,
        mut read: impl FnMut(&RecordKey) -> std::result::Result<Vec<u8>, String>,
    ) -> Result<(Self, Vec<Damage>)> {
        settings.check(manifest)?;
        let mut run = Self::new(settings)?;
        let mut damages = Vec::new();
        for (name, stream) in &manifest.streams {
            let mut restored = run.settings.begin()?;
            let found = restored.restore(stream, |id| read(&RecordKey { stream: name.clone(), id }))?;
            damages.extend(found.into_iter().map(|(step, reason)| Damage {
                stream: name.clone(),
                step,
                reason,
            }));
            run.by_name.insert(name.clone(), restored);
        }
        run.drop_empty();
        Ok((run, damages))
    }

    /// The number of streams but `stream` that have images in their pools, once they have gone back.
    fn n_with_images(&self, stream: &str, back: Option<Back>) -> Result<usize> {
        let mut n = 0;
        for (_, run) in self.by_name.iter().filter(|(name, _)| *name != stream) {
            let size = match back {
                Some(back) => run.size_after(back)?,
                None => run.pool_size(),
            };
            n += usize::from(size > 0);
        }
        Ok(n)
    }

    /// Makes all streams but `stream` go back, which [`n_with_images`](Self::n_with_images) has found that they can.
    fn others_go(&mut self, stream: &str, back: Back) -> Result<usize> {
        let mut forgotten = 0;
        for (_, run) in self.by_name.iter_mut().filter(|(name, _)| *name != stream) {
            forgotten += run.go(back)?;
        }
        self.drop_empty();
        Ok(forgotten)
    }

    fn begin(&mut self, stream: &str) -> Result<()> {
        let limit = self.settings.max_streams;
        if self.by_name.len() >= limit {
            return Err(Error::TooManyStreams { limit, stream: stream.to_owned() });
        }
        self.by_name.insert(stream.to_owned(), self.settings.begin()?);
        Ok(())
    }

    /// A stream that has gone back to before its first image and of which nothing else is known has not begun.
    fn drop_empty(&mut self) {
        self.by_name
            .retain(|_, run| run.pool_size() > 0 || run.last_step().is_some() || run.n_known() != (0, 0));
    }
}

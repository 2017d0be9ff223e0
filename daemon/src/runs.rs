//! The simulation runs that the daemon remembers, each with its streams; in memory, and on disk where a directory is set.

use crate::fault::Fault;
use crate::job::{Answer, Job};
use crate::queue::Delayed;
use crate::run_store::{Answered, RunFiles, RunStore, Stored};
use anomalyd_models::online::{RunSettings, StreamSummary, Streams};
use anomalyd_proto::Status;
use anyhow::Context;
use serde::Serialize;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// All runs.
pub struct Runs {
    slots: Mutex<Slots>,
    max_runs: usize,
    settings: RunSettings,
    store: Option<RunStore>,
    n_not_stored: AtomicU64,
    settling: Mutex<Settling>,
}

/// What `STATUS` tells of work that a run's next image needs and its last answer did not, and of tidying up where it is stored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Settling {
    /// How often it was done while nobody waited for it.
    pub done: u64,
    /// How often it failed; it is tried again.
    pub failed: u64,
    /// The time that all this took, in seconds.
    pub seconds: f64,
    /// Requests that had to wait for it.
    pub delayed: u64,
    /// How long, in seconds, all together.
    pub delayed_s: f64,
}

#[derive(Default)]
struct Slots {
    by_name: HashMap<String, Slot>,
    clock: u64,
}

struct Slot {
    /// `None` until it is used: it begins then, or is read from the disk.
    run: Arc<Mutex<Option<Run>>>,
    used: u64,
    summary: RunSummary,
}

/// A run in memory.
struct Run {
    streams: Streams,
    /// Where it is stored, with its newest answers.
    stored: Option<(RunFiles, Answered)>,
}

impl Run {
    fn is_settled(&self) -> bool {
        self.streams.is_settled() && self.stored.as_ref().is_none_or(|(files, _)| files.is_tidy())
    }

    fn settle(&mut self) -> anyhow::Result<()> {
        self.streams.settle()?;
        match &mut self.stored {
            Some((files, _)) => files.tidy().context("while tidying up where the run is stored"),
            None => Ok(()),
        }
    }
}

/// What `STATUS` tells of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct RunSummary {
    /// Its name.
    pub name: String,
    /// Images believed normal.
    pub pool_size: usize,
    /// The newest step judged.
    pub last_step: Option<i64>,
    /// Images known that have raised an alarm.
    pub alarms: usize,
    /// Images that an operator has labelled.
    pub labels: usize,
    /// The same for each stream; `pool_size` is that of all together.
    pub streams: Vec<StreamSummary>,
}

// A panic is caught by the worker, which has the run mended or forgotten: the guarded state is sound.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Runs {
    /// The runs of `store`, or none yet; `max_runs` of them will be remembered.
    ///
    /// # Errors
    ///
    /// A parameter outside its range, or a store that cannot be read.
    pub fn new(max_runs: usize, settings: RunSettings, store: Option<RunStore>) -> anyhow::Result<Self> {
        // Made once for nothing, so that wrong parameters are found at the start and not by the first image.
        Streams::new(settings.clone()).context("in the section [online]")?;
        let mut slots = Slots::default();
        for (name, manifest) in
            store.as_ref().map(|store| store.runs(&settings)).transpose()?.unwrap_or_default()
        {
            slots.clock += 1;
            let summary = RunSummary::of(&name, manifest.summaries());
            slots.by_name.insert(name, Slot { run: Arc::default(), used: slots.clock, summary });
        }
        Ok(Self {
            slots: Mutex::new(slots),
            max_runs,
            settings,
            store,
            n_not_stored: AtomicU64::new(0),
            settling: Mutex::default(),
        })
    }

    /// Does the `job` by `work` on its run, which begins now if it is not known. `work` is told the run that had to be forgotten
    /// for it. What follows is on disk before this returns.
    ///
    /// A job that was done in an earlier life of the daemon gets the answer that it got then.
    ///
    /// # Errors
    ///
    /// Those of `work`; a run that began with an error has not begun.
    pub fn with(
        &self,
        job: &Job,
        work: impl FnOnce(&mut Streams, Option<&str>) -> Result<Answer, Fault>,
    ) -> Result<Answer, Fault> {
        let (run, evicted) = self.find_or_begin(&job.run);
        self.work_on(&run, job, |streams| work(streams, evicted.as_deref()))
    }

    /// Does the `job` by `work` on its run; `None` if there is no such run. Otherwise as [`with`](Self::with).
    ///
    /// # Errors
    ///
    /// Those of `work`.
    pub fn with_known(
        &self,
        job: &Job,
        work: impl FnOnce(&mut Streams) -> Result<Answer, Fault>,
    ) -> Result<Option<Answer>, Fault> {
        let Some(run) = self.in_memory(&job.run) else { return Ok(None) };
        self.work_on(&run, job, work).map(Some)
    }

    /// Brings the run `name` back to right after `step` or to its newest known state, whichever is earlier, after a panic in
    /// the work on it; or, where it is stored, to what the disk has; or forgets it. Says what was done.
    pub fn mend(&self, name: &str, step: i64) -> String {
        // Taken out first: should mending panic as well, the run is gone and not half done.
        let Some(slot) = lock(&self.slots).by_name.remove(name) else { return "no run was touched".into() };
        if self.store.is_some() {
            // Not even what the panic left of it in memory is needed. A run that was not stored yet begins anew.
            let slot = Slot { run: Arc::default(), ..slot };
            lock(&self.slots).by_name.insert(name.to_owned(), slot);
            return format!("run {name} is read again as it was stored before");
        }
        let target = slot.summary.last_step.map_or(i64::MIN, |last| last.min(step));
        let mut guard = lock(&slot.run);
        let Some(run) = guard.as_mut() else { return format!("run {name} had not begun") };
        let rewound = run.streams.rewind(target);
        let summary = RunSummary::of(name, run.streams.summaries());
        drop(guard);
        match rewound {
            Ok(_) => {
                let pool_size = summary.pool_size;
                lock(&self.slots).by_name.insert(name.to_owned(), Slot { summary, ..slot });
                format!("run {name} was brought back to its state of {pool_size} images")
            }
            Err(_) => format!("run {name} was forgotten: it begins anew"),
        }
    }

    /// Whether the run has left nothing to do, or is not in memory.
    pub fn is_settled(&self, name: &str) -> bool {
        self.in_memory(name).is_none_or(|run| lock(&run).as_ref().is_none_or(Run::is_settled))
    }

    /// Does what the run has left to do, if it has and is in memory. After an error, which the log tells, its next image tries again.
    pub fn settle(&self, name: &str) {
        let Some(run) = self.in_memory(name) else { return };
        let begun = Instant::now();
        let mut guard = lock(&run);
        let Some(run) = guard.as_mut().filter(|run| !run.is_settled()) else { return };
        let result = run.settle();
        let mut settling = lock(&self.settling);
        settling.seconds += begun.elapsed().as_secs_f64();
        match result {
            Ok(()) => settling.done += 1,
            Err(error) => {
                settling.failed += 1;
                tracing::error!(
                    error = format!("{error:#}"),
                    "what the run has left to do failed: it is tried again"
                );
            }
        }
    }

    /// Counts requests that waited for a run to be settled.
    pub fn count_delayed(&self, delayed: Delayed) {
        let mut settling = lock(&self.settling);
        settling.delayed += delayed.jobs as u64;
        settling.delayed_s += delayed.time.as_secs_f64();
    }

    /// What is to be told of settling.
    pub fn settling(&self) -> Settling {
        *lock(&self.settling)
    }

    fn in_memory(&self, name: &str) -> Option<Arc<Mutex<Option<Run>>>> {
        lock(&self.slots).by_name.get(name).map(|slot| Arc::clone(&slot.run))
    }

    /// What is to be told of each run, by name.
    pub fn summaries(&self) -> Vec<RunSummary> {
        let mut summaries: Vec<_> =
            lock(&self.slots).by_name.values().map(|slot| slot.summary.clone()).collect();
        summaries.sort_by(|a, b| a.name.cmp(&b.name));
        summaries
    }

    /// How often a run could not be stored; `None` where runs are in memory only.
    pub fn n_not_stored(&self) -> Option<u64> {
        self.store.as_ref().map(|_| self.n_not_stored.load(Ordering::Relaxed))
    }

    fn work_on(
        &self,
        run: &Mutex<Option<Run>>,
        job: &Job,
        work: impl FnOnce(&mut Streams) -> Result<Answer, Fault>,
    ) -> Result<Answer, Fault> {
        let mut guard = lock(run);
        let run = match &mut *guard {
            Some(run) => run,
            empty => empty.insert(self.begin(&job.run)?),
        };
        if let Some((_, answered)) = &run.stored
            && let Some(answer) = answered.find(job)?
        {
            tracing::info!("answered as it was before the daemon began: {}", answer.text);
            return Ok(answer);
        }
        let mut result = work(&mut run.streams);
        let summary = RunSummary::of(&job.run, run.streams.summaries());
        let is_empty = summary == RunSummary::of(&job.run, Vec::new());
        if let (Ok(answer), Some((files, answered)), false) = (&mut result, &mut run.stored, is_empty) {
            answered.remember(job, answer);
            if let Err(error) = files.save(&run.streams, answered) {
                self.n_not_stored.fetch_add(1, Ordering::Relaxed);
                tracing::error!(%error, "the run could not be stored: a restart would bring it back as it was before");
                answer.text.push_str(&format!("; the run could not be stored: {error}"));
            }
        }
        self.note(summary, is_empty);
        result
    }

    /// The run as it was stored, or one without images.
    fn begin(&self, name: &str) -> Result<Run, Fault> {
        let opened = self.store.as_ref().map(|store| store.open_run(name, &self.settings));
        if let Some((_, Some(Stored { streams, answered, files }))) = opened {
            return Ok(Run { streams, stored: Some((files, answered)) });
        }
        let streams = Streams::new(self.settings.clone())
            .map_err(|error| Fault::new(Status::Internal, format!("run {name} cannot begin: {error}")))?;
        Ok(Run { streams, stored: opened.map(|(files, _)| (files, Answered::default())) })
    }

    fn find_or_begin(&self, name: &str) -> (Arc<Mutex<Option<Run>>>, Option<String>) {
        let mut slots = lock(&self.slots);
        slots.clock += 1;
        let used = slots.clock;
        if let Some(slot) = slots.by_name.get_mut(name) {
            slot.used = used;
            return (Arc::clone(&slot.run), None);
        }
        let mut evicted = None;
        while slots.by_name.len() >= self.max_runs {
            // One that a worker holds is in use; there are never more of those than workers.
            let idle = slots.by_name.iter().filter(|(_, slot)| Arc::strong_count(&slot.run) == 1);
            let Some(oldest) = idle.min_by_key(|(_, slot)| slot.used).map(|(name, _)| name.clone()) else {
                break;
            };
            slots.by_name.remove(&oldest);
            if let Some(store) = &self.store {
                store.remove(&oldest);
            }
            tracing::warn!(
                run = oldest,
                max_runs = self.max_runs,
                "a run was forgotten to make room for another"
            );
            evicted = Some(oldest);
        }
        let run: Arc<Mutex<Option<Run>>> = Arc::default();
        let summary = RunSummary::of(name, Vec::new());
        slots.by_name.insert(name.to_owned(), Slot { run: Arc::clone(&run), used, summary });
        (run, evicted)
    }

    /// Writes down what `STATUS` tells, so that it need not wait for the run. A run of which nothing is left has not begun.
    fn note(&self, summary: RunSummary, is_empty: bool) {
        let mut slots = lock(&self.slots);
        if is_empty {
            slots.by_name.remove(&summary.name);
            if let Some(store) = &self.store {
                store.remove(&summary.name);
            }
        } else if let Some(slot) = slots.by_name.get_mut(&summary.name) {
            slot.summary = summary;
        }
    }
}

impl RunSummary {
    fn of(name: &str, streams: Vec<StreamSummary>) -> Self {
        Self {
            name: name.to_owned(),
            pool_size: streams.iter().map(|stream| stream.pool_size).sum(),
            last_step: streams.iter().filter_map(|stream| stream.last_step).max(),
            alarms: streams.iter().map(|stream| stream.alarms).sum(),
            labels: streams.iter().map(|stream| stream.labels).sum(),
            streams,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::tests::job;
    use anomalyd_models::extractor::OwnExtractors;
    use anomalyd_models::image::{Decoded, Preprocess};
    use anomalyd_models::online::OnlineParams;
    use ndarray::Array3;

    fn runs(max_runs: usize) -> Runs {
        let settings = RunSettings {
            params: OnlineParams::default(),
            preprocess: Preprocess::default(),
            extractors: Arc::new(OwnExtractors::default()),
            max_streams: 4,
        };
        Runs::new(max_runs, settings, None).unwrap()
    }

    fn judge(runs: &Runs, name: &str, step: i64) -> Option<String> {
        let pixels = Array3::from_shape_fn((32, 32, 1), |(row, column, _)| {
            (row * 3 + column * 5 + step as usize) as u8
        });
        let image = Decoded { pixels, format: "png" };
        let mut forgotten = None;
        let work = |run: &mut Streams, evicted: Option<&str>| {
            forgotten = evicted.map(str::to_owned);
            run.judge("", step, &image).map_err(|error| Fault::new(Status::Internal, error.to_string()))?;
            Ok(Answer::done(""))
        };
        runs.with(&job(name, step), work).unwrap();
        forgotten
    }

    fn told(runs: &Runs) -> Vec<(String, usize, Option<i64>)> {
        runs.summaries().into_iter().map(|run| (run.name, run.pool_size, run.last_step)).collect()
    }

    #[test]
    fn each_run_has_a_pool_of_its_own() {
        let runs = runs(4);
        for step in 1..4 {
            judge(&runs, "a", step);
        }
        judge(&runs, "b", 9);
        assert_eq!(told(&runs), [("a".into(), 3, Some(3)), ("b".into(), 1, Some(9))]);
    }

    #[test]
    fn run_used_least_recently_is_forgotten_and_named() {
        let runs = runs(2);
        assert_eq!(judge(&runs, "a", 1), None);
        assert_eq!(judge(&runs, "b", 1), None);
        assert_eq!(judge(&runs, "a", 2), None);
        assert_eq!(judge(&runs, "c", 1), Some("b".into()));
        assert_eq!(told(&runs), [("a".into(), 2, Some(2)), ("c".into(), 1, Some(1))]);
    }

    #[test]
    fn run_that_began_with_an_error_has_not_begun() {
        let runs = runs(2);
        let fault = Fault::new(Status::Unsupported, "too small");
        assert_eq!(runs.with(&job("a", 1), |_, _| Err(fault.clone())).unwrap_err(), fault);
        assert_eq!(told(&runs), []);
    }

    #[test]
    fn unknown_run_has_nothing_to_go_back_to() {
        assert_eq!(runs(2).with_known(&job("a", 1), |_| Ok(Answer::done(""))).unwrap(), None);
    }

    #[test]
    fn run_is_mended_after_a_panic_in_the_work_on_it() {
        let runs = runs(2);
        for step in 1..4 {
            judge(&runs, "a", step);
        }
        let panicking = || runs.with(&job("a", 4), |_, _| panic!("on purpose"));
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(panicking)).is_err());
        assert!(runs.mend("a", 3).contains("3 images"));
        judge(&runs, "a", 4);
        assert_eq!(told(&runs), [("a".into(), 4, Some(4))]);
    }
}

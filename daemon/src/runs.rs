//! The simulation runs that the daemon remembers, each with its own pool; in memory, so that a restart forgets them.

use crate::fault::Fault;
use anomalyd_models::online::{RunSettings, StreamSummary, Streams};
use anomalyd_proto::Status;
use serde::Serialize;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// All runs.
pub struct Runs {
    slots: Mutex<Slots>,
    max_runs: usize,
    settings: RunSettings,
}

#[derive(Default)]
struct Slots {
    by_name: HashMap<String, Slot>,
    clock: u64,
}

struct Slot {
    run: Arc<Mutex<Streams>>,
    used: u64,
    summary: RunSummary,
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
    /// No runs yet; `max_runs` of them will be remembered.
    ///
    /// # Errors
    ///
    /// A parameter outside its range.
    pub fn new(max_runs: usize, settings: RunSettings) -> anomalyd_models::Result<Self> {
        // Made once for nothing, so that wrong parameters are found at the start and not by the first image.
        Streams::new(settings.clone())?;
        Ok(Self { slots: Mutex::default(), max_runs, settings })
    }

    /// Does `work` on the run `name`, which begins now if it is not known. `work` is told the run that had to be forgotten for
    /// it.
    ///
    /// # Errors
    ///
    /// Those of `work`; a run that began with an error has not begun.
    pub fn with<T>(
        &self,
        name: &str,
        work: impl FnOnce(&mut Streams, Option<&str>) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let (run, evicted) = self.find_or_begin(name)?;
        let mut guard = lock(&run);
        let result = work(&mut guard, evicted.as_deref());
        self.note(name, &guard);
        result
    }

    /// Does `work` on the run `name`; `None` if there is no such run.
    ///
    /// # Errors
    ///
    /// Those of `work`.
    pub fn with_known<T>(
        &self,
        name: &str,
        work: impl FnOnce(&mut Streams) -> Result<T, Fault>,
    ) -> Result<Option<T>, Fault> {
        let Some(run) = lock(&self.slots).by_name.get(name).map(|slot| Arc::clone(&slot.run)) else {
            return Ok(None);
        };
        let mut guard = lock(&run);
        let result = work(&mut guard);
        self.note(name, &guard);
        result.map(Some)
    }

    /// Brings the run `name` back to right after `step` or to its newest known state, whichever is earlier, after a panic in
    /// the work on it; or forgets it. Says what was done.
    pub fn mend(&self, name: &str, step: i64) -> String {
        // Taken out first: should mending panic as well, the run is gone and not half done.
        let Some(slot) = lock(&self.slots).by_name.remove(name) else { return "no run was touched".into() };
        let target = slot.summary.last_step.map_or(i64::MIN, |last| last.min(step));
        let rewound = lock(&slot.run).rewind(target);
        match rewound {
            Ok(_) => {
                let summary = summary(name, &lock(&slot.run));
                let pool_size = summary.pool_size;
                lock(&self.slots).by_name.insert(name.to_owned(), Slot { summary, ..slot });
                format!("run {name} was brought back to its state of {pool_size} images")
            }
            Err(_) => format!("run {name} was forgotten: it begins anew"),
        }
    }

    /// Name, pool and newest step of each run, by name.
    pub fn summaries(&self) -> Vec<RunSummary> {
        let mut summaries: Vec<_> =
            lock(&self.slots).by_name.values().map(|slot| slot.summary.clone()).collect();
        summaries.sort_by(|a, b| a.name.cmp(&b.name));
        summaries
    }

    fn find_or_begin(&self, name: &str) -> Result<(Arc<Mutex<Streams>>, Option<String>), Fault> {
        let mut slots = lock(&self.slots);
        slots.clock += 1;
        let used = slots.clock;
        if let Some(slot) = slots.by_name.get_mut(name) {
            slot.used = used;
            return Ok((Arc::clone(&slot.run), None));
        }
        let run = Streams::new(self.settings.clone())
            .map_err(|error| Fault::new(Status::Internal, format!("run {name} cannot begin: {error}")))?;
        let mut evicted = None;
        if slots.by_name.len() >= self.max_runs {
            // One that a worker holds is in use; there are never more of those than workers.
            let idle = slots.by_name.iter().filter(|(_, slot)| Arc::strong_count(&slot.run) == 1);
            evicted = idle.min_by_key(|(_, slot)| slot.used).map(|(name, _)| name.clone());
            if let Some(oldest) = &evicted {
                slots.by_name.remove(oldest);
                tracing::warn!(
                    run = oldest,
                    max_runs = self.max_runs,
                    "a run was forgotten to make room for another"
                );
            }
        }
        let run = Arc::new(Mutex::new(run));
        let summary = RunSummary { name: name.to_owned(), ..RunSummary::default() };
        slots.by_name.insert(name.to_owned(), Slot { run: Arc::clone(&run), used, summary });
        Ok((run, evicted))
    }

    /// Writes down what `STATUS` tells, so that it need not wait for the run.
    fn note(&self, name: &str, run: &Streams) {
        let summary = summary(name, run);
        let mut slots = lock(&self.slots);
        // What is known of an image outlives a rewind to before the run's first.
        if summary == (RunSummary { name: name.to_owned(), ..RunSummary::default() }) {
            slots.by_name.remove(name);
        } else if let Some(slot) = slots.by_name.get_mut(name) {
            slot.summary = summary;
        }
    }
}

fn summary(name: &str, run: &Streams) -> RunSummary {
    let streams = run.summaries();
    RunSummary {
        name: name.to_owned(),
        pool_size: run.pool_size(),
        last_step: run.last_step(),
        alarms: streams.iter().map(|stream| stream.alarms).sum(),
        labels: streams.iter().map(|stream| stream.labels).sum(),
        streams,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anomalyd_models::extractor::{DeviceChoice, WeightsStore};
    use anomalyd_models::image::{Decoded, Preprocess};
    use anomalyd_models::online::OnlineParams;
    use ndarray::Array3;

    fn runs(max_runs: usize) -> Runs {
        let settings = RunSettings {
            params: OnlineParams::default(),
            preprocess: Preprocess::default(),
            weights: Arc::new(WeightsStore::default()),
            device: DeviceChoice::default(),
            max_streams: 4,
        };
        Runs::new(max_runs, settings).unwrap()
    }

    fn judge(runs: &Runs, name: &str, step: i64) -> Option<String> {
        let pixels = Array3::from_shape_fn((32, 32, 1), |(row, column, _)| {
            (row * 3 + column * 5 + step as usize) as u8
        });
        let image = Decoded { pixels, format: "png" };
        let work = |run: &mut Streams, evicted: Option<&str>| {
            run.judge("", step, &image).map_err(|error| Fault::new(Status::Internal, error.to_string()))?;
            Ok(evicted.map(str::to_owned))
        };
        runs.with(name, work).unwrap()
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
        assert_eq!(runs.with("a", |_, _| Err::<(), _>(fault.clone())).unwrap_err(), fault);
        assert_eq!(told(&runs), []);
    }

    #[test]
    fn unknown_run_has_nothing_to_go_back_to() {
        assert_eq!(runs(2).with_known("a", |_| Ok(())).unwrap(), None);
    }

    #[test]
    fn run_is_mended_after_a_panic_in_the_work_on_it() {
        let runs = runs(2);
        for step in 1..4 {
            judge(&runs, "a", step);
        }
        let panicking = || runs.with("a", |_, _| -> Result<(), Fault> { panic!("on purpose") });
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(panicking)).is_err());
        assert!(runs.mend("a", 3).contains("3 images"));
        judge(&runs, "a", 4);
        assert_eq!(told(&runs), [("a".into(), 4, Some(4))]);
    }
}

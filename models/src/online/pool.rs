//! The images of a run believed normal, in the order of their steps, as states that a rewind goes back to.

use super::pixels::PixelDigest;
use crate::error::{Error, Result};
use std::collections::VecDeque;

/// One accepted image.
#[derive(Debug)]
pub(super) struct Entry<S> {
    pub(super) step: i64,
    /// Of the state, as it is stored; a run gives each once, the later the greater.
    pub(super) id: u64,
    /// Of the image's pixels.
    pub(super) digest: PixelDigest,
    /// The state after it.
    pub(super) state: S,
}

/// What is remembered after each accepted image. The state after the newest image is the run's state; to forget later
/// images is to drop later states, so a rewind restores what was, bit for bit.
#[derive(Debug)]
pub(super) struct Pool<S> {
    entries: VecDeque<Entry<S>>,
    /// States that have been dropped from the front to bound the memory.
    n_dropped: usize,
    /// The step of the run's first image, dropped or not.
    first_step: Option<i64>,
    max_snapshots: usize,
    depth: usize,
}

impl<S> Pool<S> {
    /// An empty pool.
    ///
    /// - `max_snapshots`: the number of newest states that can be gone back to, at least 1.
    /// - `depth`: how many states, its own included, the judgement at one state reads; as many more are kept.
    pub(super) fn new(max_snapshots: usize, depth: usize) -> Self {
        Self { entries: VecDeque::new(), n_dropped: 0, first_step: None, max_snapshots, depth }
    }

    /// A pool as it was: what [`entries`](Self::entries), [`n_dropped`](Self::n_dropped) and [`first_step`](Self::first_step)
    /// told, or the oldest of these entries.
    ///
    /// # Errors
    ///
    /// [`Error::Record`] if the steps do not increase, or the entries are too few to judge by.
    pub(super) fn restore(
        max_snapshots: usize,
        depth: usize,
        n_dropped: usize,
        first_step: Option<i64>,
        entries: VecDeque<Entry<S>>,
    ) -> Result<Self> {
        let wrong = |reason: String| Err(Error::Record { reason });
        let (Some(oldest), Some(first_step)) = (entries.front(), first_step) else {
            return if entries.is_empty() && n_dropped == 0 {
                Ok(Self::new(max_snapshots, depth))
            } else {
                wrong(format!("{n_dropped} images were dropped and {} are left", entries.len()))
            };
        };
        let increase =
            entries.iter().zip(entries.iter().skip(1)).all(|(a, b)| a.step < b.step && a.id < b.id);
        if !increase || oldest.step < first_step {
            return wrong("the steps of its images do not increase".into());
        }
        if n_dropped > 0 && entries.len() < depth {
            return wrong(format!(
                "the states of {} images are left, {depth} are needed to judge the next one",
                entries.len()
            ));
        }
        Ok(Self { entries, n_dropped, first_step: Some(first_step), max_snapshots, depth })
    }

    /// The images whose states are held, oldest first.
    pub(super) fn entries(&self) -> impl DoubleEndedIterator<Item = &Entry<S>> + ExactSizeIterator {
        self.entries.iter()
    }

    /// As [`entries`](Self::entries).
    pub(super) fn entries_mut(&mut self) -> impl ExactSizeIterator<Item = &mut Entry<S>> {
        self.entries.iter_mut()
    }

    /// States that have been dropped from the front.
    pub(super) fn n_dropped(&self) -> usize {
        self.n_dropped
    }

    /// The number of newest states that can be gone back to.
    pub(super) fn max_snapshots(&self) -> usize {
        self.max_snapshots
    }

    /// The step of the run's first image.
    pub(super) fn first_step(&self) -> Option<i64> {
        self.first_step
    }

    /// The number of images accepted and not forgotten.
    pub(super) fn size(&self) -> usize {
        self.n_dropped + self.entries.len()
    }

    /// The step of the newest image.
    pub(super) fn last_step(&self) -> Option<i64> {
        self.entries.back().map(|entry| entry.step)
    }

    /// The states still held, oldest first.
    pub(super) fn states(&self) -> impl DoubleEndedIterator<Item = &S> + ExactSizeIterator {
        self.entries.iter().map(|entry| &entry.state)
    }

    /// The number of states still held.
    pub(super) fn n_held(&self) -> usize {
        self.entries.len()
    }

    /// The step and the state at `idx` among those still held.
    pub(super) fn held(&self, idx: usize) -> (i64, &S) {
        let Entry { step, state, .. } = &self.entries[idx];
        (*step, state)
    }

    /// The pixels of the image accepted at `step`, if its state is still held.
    pub(super) fn digest_at(&self, step: i64) -> Option<PixelDigest> {
        let idx = self.entries.binary_search_by_key(&step, |entry| entry.step).ok()?;
        Some(self.entries[idx].digest)
    }

    /// The newest state.
    pub(super) fn newest(&self) -> Option<&S> {
        self.entries.back().map(|entry| &entry.state)
    }

    /// The size of the pool once it has forgotten the images that `later` holds for; it changes nothing.
    ///
    /// # Errors
    ///
    /// [`Error::Step`] if the state to go back to is no longer held.
    pub(super) fn size_without(&self, step: i64, later: impl Fn(i64) -> bool) -> Result<usize> {
        if self.first_step.is_none_or(&later) {
            return Ok(0);
        }
        let n_held = self.entries.partition_point(|entry| !later(entry.step));
        let forgets = n_held < self.entries.len();
        // Once states have been dropped, the oldest held ones are there only for those after them to read.
        if forgets && self.n_dropped > 0 && n_held < self.depth {
            let oldest = self.entries[self.depth - 1].step;
            let first = self.first_step.unwrap_or(oldest);
            let reason = format!(
                "the state of the run there is no longer held, only from step {oldest} on ({} images); rewind to a step before the \
                 run's first, {first}, to begin again, or use a new run name",
                self.max_snapshots
            );
            return Err(Error::Step { step, reason });
        }
        Ok(self.n_dropped + n_held)
    }

    /// Forgets the newest images until `size` are left, a size that [`size_without`](Self::size_without) gave; returns how
    /// many were forgotten.
    pub(super) fn truncate(&mut self, size: usize) -> usize {
        let forgotten = self.size() - size;
        self.entries.truncate(size.saturating_sub(self.n_dropped));
        if self.entries.is_empty() {
            (self.n_dropped, self.first_step) = (0, None);
        }
        forgotten
    }

    /// Accepts an image with the state after it; its step is later than all others.
    pub(super) fn push(&mut self, entry: Entry<S>) {
        assert!(
            self.last_step().is_none_or(|last| last < entry.step),
            "the pool's steps must increase; this is a bug"
        );
        self.first_step.get_or_insert(entry.step);
        self.entries.push_back(entry);
        // A state that can be gone back to needs depth - 1 others before it.
        while self.entries.len() > (self.max_snapshots - 1).saturating_add(self.depth) {
            self.entries.pop_front();
            self.n_dropped += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(step: i64) -> Entry<i64> {
        Entry { step, id: (step + 10) as u64, digest: [0; 32], state: step * 10 }
    }

    fn pool(steps: std::ops::RangeInclusive<i64>) -> Pool<i64> {
        let mut pool = Pool::new(4, 3);
        steps.for_each(|step| pool.push(entry(step)));
        pool
    }

    fn after(pool: &Pool<i64>, step: i64) -> Result<usize> {
        pool.size_without(step, |other| other > step)
    }

    #[test]
    fn as_many_states_can_be_gone_back_to_as_asked_for() {
        let pool = pool(1..=20);
        assert_eq!(pool.size(), 20);
        assert_eq!(pool.states().copied().collect::<Vec<_>>(), [150, 160, 170, 180, 190, 200]);
        assert_eq!([17, 18, 19, 20, 99].map(|step| after(&pool, step).unwrap()), [17, 18, 19, 20, 20]);
        let error = after(&pool, 16).unwrap_err().to_string();
        assert!(
            error.starts_with("step 16:") && error.contains("from step 17 on") && error.contains("first, 1,"),
            "{error}"
        );
    }

    #[test]
    fn a_step_before_the_first_empties_the_pool_however_old_it_is() {
        let mut pool = pool(1..=20);
        assert_eq!(after(&pool, 0).unwrap(), 0);
        assert_eq!(pool.truncate(0), 20);
        assert_eq!((pool.size(), pool.last_step()), (0, None));
        pool.push(entry(-5));
        assert_eq!(pool.size(), 1);
    }

    #[test]
    fn a_young_pool_goes_back_to_any_step() {
        let pool = pool(1..=6);
        assert_eq!((1..=6).map(|step| after(&pool, step).unwrap()).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6]);
    }

    #[test]
    fn a_restored_pool_is_as_it_was_and_one_that_cannot_have_been_is_refused() {
        let restore = |n_dropped, first, steps: std::ops::Range<i64>| {
            Pool::restore(4, 3, n_dropped, first, steps.map(entry).collect())
        };
        let (live, restored) = (pool(1..=20), restore(14, Some(1), 15..21).unwrap());
        assert_eq!((restored.size(), restored.last_step()), (20, Some(20)));
        for step in [0, 16, 17, 19, 20] {
            let sizes = [&live, &restored].map(|pool| after(pool, step).map_err(|error| error.to_string()));
            assert_eq!(sizes[0], sizes[1]);
        }
        let mut fewer = Pool::restore(2, 3, 14, Some(1), (15..=20).map(entry).collect()).unwrap();
        fewer.push(entry(21));
        assert_eq!((fewer.n_held(), fewer.size()), (4, 21), "a smaller limit holds from the next image on");
        assert_eq!(restore(0, None, 1..1).unwrap().size(), 0);
        for (n_dropped, first, steps) in
            [(3, Some(1), 1..1), (14, Some(1), 15..17), (0, Some(5), 1..5), (0, None, 1..5)]
        {
            let error = restore(n_dropped, first, steps).unwrap_err();
            assert!(matches!(error, Error::Record { .. }), "{error}");
        }
        let unordered = [3, 2, 4].map(entry).into();
        assert!(Pool::restore(4, 3, 0, Some(2), unordered).is_err());
    }

    #[test]
    fn the_memory_is_bounded_after_rewinds_too() {
        let mut pool = pool(1..=20);
        for _ in 0..10 {
            let size = after(&pool, 18).unwrap();
            pool.truncate(size);
            (19..=20).for_each(|step| pool.push(entry(step)));
            assert_eq!(pool.n_held(), 6);
        }
    }
}

//! The forest of a run: its rows, and its trees, of which other processes may keep a part.

use super::kept_forest::Sample;
use super::rows::RowFormat;
use super::tree_share::{Asked, ShareParams, ShareRequest, ShareWork, TreeKeepers, TreeShare};
use crate::detector::IsolationForestParams;
use crate::detector::isolation_forest::score_of;
use crate::error::Result;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// The features of one image.
pub(super) type Row = Box<[f32]>;

/// The features of an image with a number of their own, by which they are known again; 0: never measured.
#[derive(Debug)]
pub(super) struct NumberedRow {
    pub(super) number: u64,
    pub(super) row: Row,
}

/// The rows of a run that are held, and a forest on the newest of them.
#[derive(Debug)]
pub(super) struct SharedTrees {
    share: TreeShare,
    /// How the trees followed last.
    n_ignored: usize,
    is_kept: bool,
    others: Option<Others>,
}

/// The processes that keep the other parts, as they were left.
#[derive(Debug)]
struct Others {
    keepers: Arc<dyn TreeKeepers>,
    params: ShareParams,
    run: u64,
    told: Mutex<Told>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Told {
    /// The rows that they have; `None` if that is not known, after an error.
    n_rows: Option<usize>,
    /// The number of the row that was sent last.
    row: u64,
}

impl Others {
    /// Asks the keepers, who have so many rows.
    fn ask(&self, told: &mut Told, work: &[ShareWork], row: &[f32], number: u64) -> Result<Asked<'_>> {
        let same_row = number > 0 && told.row == number;
        let request = ShareRequest {
            run: self.run,
            params: self.params.clone(),
            n_rows: told.n_rows.unwrap_or_default(),
            work: work.to_vec(),
            same_row,
        };
        // Until they have answered nothing is known of them.
        let n_rows = told.n_rows.take();
        told.row = if row.is_empty() { told.row } else { number };
        let asked = self.keepers.ask(&request, if same_row { &[] } else { row })?;
        told.n_rows = n_rows;
        Ok(asked)
    }

    /// Has them forget this run's trees.
    fn dismiss(&self) -> Result<Asked<'_>> {
        self.ask(&mut Told { n_rows: Some(0), row: 0 }, &[], &[], 0)
    }

    fn told(&self) -> std::sync::MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for SharedTrees {
    fn drop(&mut self) {
        if let Some(others) = &self.others {
            // Who does not hear it has none.
            let _ = others.dismiss();
        }
    }
}

impl SharedTrees {
    /// Without rows.
    ///
    /// - `rows`: how they are kept.
    /// - `keepers`: who keep a part of the trees each, if there are any.
    pub(super) fn new(
        params: IsolationForestParams,
        rows: RowFormat,
        seed: u64,
        keepers: Option<Arc<dyn TreeKeepers>>,
    ) -> Self {
        /// Runs of this process, one after the other.
        static N_RUNS: AtomicU64 = AtomicU64::new(0);
        let keepers = keepers.filter(|keepers| keepers.n_keepers() > 0);
        let n_parts = 1 + keepers.as_ref().map_or(0, |keepers| keepers.n_keepers());
        let share = ShareParams { forest: params, rows, seed, part: (0, n_parts) };
        let others = keepers.map(|keepers| Others {
            keepers,
            params: share.clone(),
            run: N_RUNS.fetch_add(1, Ordering::Relaxed),
            told: Mutex::new(Told { n_rows: Some(0), row: 0 }),
        });
        Self { share: TreeShare::new(share), n_ignored: 0, is_kept: false, others }
    }

    /// The rows' samples, oldest first.
    pub(super) fn samples(&self) -> &VecDeque<Sample> {
        self.share.samples()
    }

    /// The row of a sample.
    pub(super) fn row(&self, row_idx: usize) -> Row {
        self.share.row(row_idx)
    }

    /// Forgets the `n_oldest` rows, and of the others the newest until `n_left` are left; takes in `pushed`, and has the trees follow.
    ///
    /// - `pushed`: rows, each taken once it lies among the others.
    /// - `n_ignored`: of the oldest rows, those that the trees leave out.
    /// - `is_kept`: whether trees are kept, and not grown for each row that is judged.
    ///
    /// # Errors
    ///
    /// Those of the rows and of a fit. That other processes could not follow is found when they are next asked.
    pub(super) fn follow(
        &mut self,
        n_oldest: usize,
        n_left: usize,
        pushed: Vec<(Sample, &mut Option<NumberedRow>)>,
        n_ignored: usize,
        is_kept: bool,
    ) -> Result<()> {
        let mut work = Vec::new();
        if n_oldest > 0 || n_left + n_oldest < self.share.n_rows() {
            work.push(ShareWork::Forget { n_oldest, n_left });
        }
        (self.n_ignored, self.is_kept) = (n_ignored, is_kept);
        let follow = ShareWork::Follow { n_ignored, is_kept };
        let mut pushed = pushed.into_iter().peekable();
        loop {
            let next = pushed.next();
            work.extend(next.as_ref().map(|(sample, _)| ShareWork::Push(*sample)));
            let is_last = pushed.peek().is_none();
            work.extend(is_last.then(|| follow.clone()));
            let (row, number): (&[f32], u64) = match &next {
                None => (&[], 0),
                Some((_, row)) => {
                    let row = row.as_ref().expect("a row that lies among no others is in its state");
                    (&row.row, row.number)
                }
            };
            Self::work(&mut self.share, self.others.as_ref(), &work, row, number)?;
            if let Some((_, row)) = next {
                *row = None;
            }
            if is_last {
                return Ok(());
            }
            work.clear();
        }
    }

    /// Does what changes the rows, here and elsewhere at the same time.
    fn work(
        share: &mut TreeShare,
        others: Option<&Others>,
        work: &[ShareWork],
        row: &[f32],
        number: u64,
    ) -> Result<()> {
        let mut told = others.map(Others::told);
        let asked = match (others, told.as_deref_mut()) {
            (Some(others), Some(told)) if told.n_rows.is_some() => others.ask(told, work, row, number).ok(),
            _ => None,
        };
        let mut own = Ok(());
        for work in work {
            own = own.and_then(|()| share.work(work, row).map(drop));
        }
        let elsewhere = asked.is_some_and(|answer| answer().is_ok());
        if let Some(told) = told.as_deref_mut() {
            told.n_rows = (elsewhere && own.is_ok()).then(|| share.n_rows());
        }
        own
    }

    /// The score of an image's features, which are finite, in (0, 1], by the trees on all rows that are not ignored.
    ///
    /// - `seed`: of trees that are grown for it, where none are kept.
    ///
    /// # Errors
    ///
    /// Those of a fit, and those of other processes.
    pub(super) fn score(&self, row: &NumberedRow, seed: u64) -> Result<f32> {
        let work = [ShareWork::Measure { seed }];
        let lengths = match &self.others {
            None => self.share.measure(&row.row, seed)?,
            Some(others) => {
                let mut told = others.told();
                if told.n_rows.is_none() {
                    self.tell_all(others, &mut told)?;
                }
                let elsewhere = others.ask(&mut told, &work, &row.row, row.number)?;
                let own = self.share.measure(&row.row, seed);
                let elsewhere = elsewhere().inspect_err(|_| told.n_rows = None)?;
                [own?, elsewhere].concat()
            }
        };
        let n_rows = self.share.n_rows() - self.n_ignored;
        let sample_size = self.share.forest_params().sample_size.map_or(n_rows, |size| size.min(n_rows));
        Ok(score_of(lengths.iter().sum::<f64>() / lengths.len() as f64, sample_size))
    }

    /// Has the keepers begin again with all rows.
    fn tell_all(&self, others: &Others, told: &mut Told) -> Result<()> {
        others.dismiss()?()?;
        *told = Told { n_rows: Some(0), row: 0 };
        let tell = |told: &mut Told, work: &[ShareWork], row: &[f32]| {
            let n_rows = told.n_rows;
            let answer = others.ask(told, work, row, 0).and_then(|asked| asked());
            told.n_rows = answer.is_ok().then_some(n_rows.unwrap_or_default() + usize::from(!row.is_empty()));
            answer.map(drop)
        };
        for (row_idx, sample) in self.samples().iter().enumerate() {
            tell(told, &[ShareWork::Push(*sample)], &self.row(row_idx))?;
        }
        tell(told, &[ShareWork::Follow { n_ignored: self.n_ignored, is_kept: self.is_kept }], &[])
    }
}

#[cfg(test)]
#[path = "shared_trees_tests.rs"]
mod tests;

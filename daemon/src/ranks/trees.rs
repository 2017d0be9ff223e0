//! Trees of runs that the other ranks keep, a part each.

use super::Ranks;
use super::job::{Answer, Job};
use anomalyd_models::Result;
use anomalyd_models::online::{Asked, ShareRequest, TreeKeepers};
use mpi::Rank;
use std::sync::Arc;

/// All ranks but 0 keep trees: rank `i` part `i`.
impl TreeKeepers for Ranks {
    fn n_keepers(&self) -> usize {
        self.n_others
    }

    fn ask<'a>(&'a self, request: &ShareRequest, row: &[f32]) -> Result<Asked<'a>> {
        let values = Arc::new(row.to_vec());
        let begin = |part| {
            let job = Job::Trees { request: request.clone(), part, n_values: row.len() };
            // There are no more ranks than a Rank can count.
            self.begin(Some(part as Rank), &job, &values)
        };
        let begun = (1..=self.n_others).map(begin).collect::<Result<Vec<_>>>()?;
        Ok(Box::new(move || {
            let mut lengths = Vec::new();
            for job in begun {
                match job.wait()?.0 {
                    Answer::Lengths { bits } => lengths.extend(bits.into_iter().map(f64::from_bits)),
                    other => return Err(other.unexpected()),
                }
            }
            Ok(lengths)
        }))
    }
}

//! The daemon on several ranks of one MPI job: rank 0 serves, the others do its heavy work.
//!
//! MPI is called from each process's main thread alone. On rank 0 the daemon's threads hand their jobs to it ([`Ranks`]), and it
//! hands them to ranks that are idle ([`dispatcher`]); the others wait for jobs ([`rank`]). What a job computes does not depend on
//! the rank, so that verdicts are those of one process, bit for bit.

mod dispatcher;
mod extractors;
mod job;
mod rank;
mod trees;
mod world;

pub use dispatcher::Dispatcher;
pub use extractors::SharedExtractors;
pub use rank::work;
pub use world::{Announcement, End, World};

use anomalyd_models::{Error, Result};
use job::{Answer, Job};
use mpi::Rank;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};

/// The tags of messages between the daemon's ranks.
mod tag {
    use mpi::Tag;
    /// To a rank: what to do; empty: end.
    pub(super) const JOB: Tag = 1;
    /// From a rank: it waits for the job's values.
    pub(super) const GO: Tag = 2;
    /// To a rank: the job's values.
    pub(super) const VALUES: Tag = 3;
    /// From a rank: what became of the job.
    pub(super) const ANSWER: Tag = 4;
    /// From a rank: what it has computed.
    pub(super) const RESULT: Tag = 5;
}

/// A job on its way to a rank.
#[derive(Debug)]
pub struct Task {
    /// A [`Job`], as it is sent.
    head: Vec<u8>,
    values: Arc<Vec<f32>>,
    /// The rank that is to do it; absent: any.
    to: Option<Rank>,
    reply: SyncSender<(Answer, Vec<f32>)>,
}

/// The other ranks, as the daemon's threads see them.
#[derive(Debug)]
pub struct Ranks {
    tasks: Sender<Task>,
    /// How many there are, rank 0 not counted.
    n_others: usize,
}

/// A job that a rank has, or will have.
#[derive(Debug)]
struct Begun(Receiver<(Answer, Vec<f32>)>);

/// A way to the dispatcher, and its end.
///
/// - `n_others`: the number of ranks that it hands jobs to.
pub fn ranks(n_others: usize) -> (Ranks, Receiver<Task>) {
    let (tasks, receiver) = channel();
    (Ranks { tasks, n_others }, receiver)
}

/// That there are no ranks any more.
fn gone() -> Error {
    Error::Backend {
        what: "the daemon's ranks",
        source: "they have ended: the daemon is ending as well".into(),
    }
}

impl Begun {
    /// Waits until it is done.
    ///
    /// # Errors
    ///
    /// Those of the work, and that there are no ranks any more.
    fn wait(self) -> Result<(Answer, Vec<f32>)> {
        match self.0.recv() {
            Ok((Answer::Failed(trouble), _)) => Err(trouble.into()),
            Ok(done) => Ok(done),
            Err(_) => Err(gone()),
        }
    }
}

impl Ranks {
    /// Has a rank do `job`, and waits for it.
    ///
    /// # Errors
    ///
    /// Those of the work, and that there are no ranks any more.
    fn ask(&self, job: &Job, values: Vec<f32>) -> Result<(Answer, Vec<f32>)> {
        self.begin(None, job, &Arc::new(values))?.wait()
    }

    /// Has a rank do `job`.
    ///
    /// - `to`: which; absent: any.
    ///
    /// # Errors
    ///
    /// That there are no ranks any more, or too many values.
    fn begin(&self, to: Option<Rank>, job: &Job, values: &Arc<Vec<f32>>) -> Result<Begun> {
        // What MPI counts one message by.
        if i32::try_from(values.len()).is_err() {
            return Err(Error::Shape {
                what: "values for another rank",
                wanted: format!("at most {} values", i32::MAX),
                found: values.len().to_string(),
            });
        }
        let head = serde_json::to_vec(job)
            .map_err(|source| Error::Backend { what: "a job for another rank", source: source.into() })?;
        let (reply, answer) = sync_channel(1);
        self.tasks.send(Task { head, values: Arc::clone(values), to, reply }).map_err(|_| gone())?;
        Ok(Begun(answer))
    }
}

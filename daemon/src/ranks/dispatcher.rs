//! Rank 0's side: gives jobs to ranks that are idle, in order, and their answers to who asked.

use super::{Task, job::Answer, job::Trouble, tag};
use mpi::Rank;
use mpi::point_to_point::MatchedReceiveVec;
use mpi::topology::SimpleCommunicator;
use mpi::traits::{Communicator, Destination, Source};
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

/// How long to wait for a job before the next look at messages: while a rank has work, and while none has.
const BUSY: Duration = Duration::from_micros(50);
const IDLE: Duration = Duration::from_millis(5);

/// Rank 0's view of the others.
pub struct Dispatcher<'a> {
    ranks: &'a SimpleCommunicator,
    /// `None` once nothing more is taken.
    tasks: Option<Receiver<Task>>,
    waiting: VecDeque<Task>,
    idle: BTreeSet<Rank>,
    busy: HashMap<Rank, Task>,
}

impl<'a> Dispatcher<'a> {
    /// All ranks but this one are idle; `tasks` are for them.
    pub fn new(ranks: &'a SimpleCommunicator, tasks: Receiver<Task>) -> Self {
        Self {
            ranks,
            tasks: Some(tasks),
            waiting: VecDeque::new(),
            idle: (1..ranks.size()).collect(),
            busy: HashMap::new(),
        }
    }

    /// Waits a little for a job, then hands out what waits and takes what has come.
    pub fn turn(&mut self) {
        let pause = if self.busy.is_empty() { IDLE } else { BUSY };
        match self.tasks.as_ref().map(|tasks| tasks.recv_timeout(pause)) {
            Some(Ok(task)) => self.waiting.push_back(task),
            Some(Err(RecvTimeoutError::Timeout)) => {}
            Some(Err(RecvTimeoutError::Disconnected)) | None => std::thread::sleep(pause),
        }
        self.hand_out();
        self.listen();
    }

    /// Takes no more jobs and drops those that no rank has, so that who waits for them is told.
    pub fn close(&mut self) {
        self.tasks = None;
        self.waiting.clear();
    }

    /// True if no rank has work.
    pub fn is_idle(&self) -> bool {
        self.busy.is_empty()
    }

    /// Tells all ranks to end.
    pub fn dismiss(self) {
        for rank in 1..self.ranks.size() {
            self.ranks.process_at_rank(rank).send_with_tag(&[0u8; 0][..], tag::JOB);
        }
    }

    fn hand_out(&mut self) {
        let mut idx = 0;
        while idx < self.waiting.len() && !self.idle.is_empty() {
            let rank = match self.waiting[idx].to {
                Some(rank) => self.idle.take(&rank),
                // The lowest first, so that ranks whose work is not needed need not load weights.
                None => self.idle.pop_first(),
            };
            let Some(rank) = rank else {
                // It waits for its rank, those behind it need not.
                idx += 1;
                continue;
            };
            let Some(task) = self.waiting.remove(idx) else { return };
            self.ranks.process_at_rank(rank).send_with_tag(&task.head[..], tag::JOB);
            self.busy.insert(rank, task);
        }
    }

    fn listen(&mut self) {
        let anyone = self.ranks.any_process();
        // Values wait until their rank waits for them: to send them to one that sleeps would be to sleep as well.
        while let Some(found) = anyone.immediate_matched_probe_with_tag(tag::GO) {
            let rank = found.1.source_rank();
            let _ = found.matched_receive_vec::<u8>();
            if let Some(task) = self.busy.get(&rank) {
                self.ranks.process_at_rank(rank).send_with_tag(&task.values[..], tag::VALUES);
            }
        }
        while let Some(found) = anyone.immediate_matched_probe_with_tag(tag::ANSWER) {
            let rank = found.1.source_rank();
            let (head, _) = found.matched_receive_vec::<u8>();
            let answer = serde_json::from_slice(&head).unwrap_or_else(|error| {
                Answer::Failed(Trouble::Other(format!("an answer that cannot be read: {error}")))
            });
            let values = if answer.n_values() == 0 {
                Vec::new()
            } else {
                self.ranks.process_at_rank(rank).receive_vec_with_tag::<f32>(tag::RESULT).0
            };
            if let Some(task) = self.busy.remove(&rank) {
                // Who asked may have gone at the daemon's end.
                let _ = task.reply.send((answer, values));
            }
            self.idle.insert(rank);
            self.hand_out();
        }
    }
}

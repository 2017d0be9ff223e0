//! The bounded queue between the service thread and the workers: in order of arrival, one job of a run at a time; and what runs have left to do
//! once nothing else waits.

use crate::job::Job;
use std::collections::{HashSet, VecDeque};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Jobs that wait for a worker.
#[derive(Debug)]
pub struct Queue {
    state: Mutex<State>,
    changed: Condvar,
    capacity: usize,
    max_bytes: u64,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Job>,
    waiting_bytes: u64,
    /// Runs that a worker has; their next jobs wait, so that several workers never change a run's order.
    runs_in_work: HashSet<String>,
    in_work: usize,
    /// Runs that no worker has and that have left something to do, each once.
    unsettled: VecDeque<String>,
    /// Runs that a worker settles.
    settling: usize,
    closed: bool,
}

/// What a worker is to do.
#[derive(Debug)]
pub enum Work {
    /// A job; [`Queue::finished`] must follow.
    Job(Box<Job>),
    /// What this run has left to do; [`Queue::settled`] must follow.
    Settle(String),
}

/// Jobs that a run made wait while it was settled.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Delayed {
    /// How many.
    pub jobs: usize,
    /// How long, together.
    pub time: Duration,
}

/// Why a job was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    /// As many jobs as the capacity wait.
    Jobs,
    /// The waiting jobs would hold more bytes than allowed.
    Bytes,
}

impl Queue {
    /// An empty queue for `capacity` jobs of `max_bytes` together.
    pub fn new(capacity: usize, max_bytes: u64) -> Self {
        Self { state: Mutex::default(), changed: Condvar::new(), capacity, max_bytes }
    }

    // Nothing can panic while the lock is held, so a poisoned one still guards a sound state.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of jobs that may wait.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// The number of jobs that wait.
    pub fn n_waiting(&self) -> usize {
        self.lock().waiting.len()
    }

    /// True if no job waits and none is in work.
    pub fn is_idle(&self) -> bool {
        let state = self.lock();
        state.waiting.is_empty() && state.in_work == 0
    }

    /// The number of runs that have left something to do, those that a worker settles included.
    pub fn n_unsettled(&self) -> usize {
        let state = self.lock();
        state.unsettled.len() + state.settling
    }

    /// The number of jobs that workers have.
    pub fn in_work(&self) -> usize {
        self.lock().in_work
    }

    /// Puts `job` at the end, or gives it back at once if there is no room.
    ///
    /// # Errors
    ///
    /// The job, and which limit is reached.
    #[expect(clippy::result_large_err, reason = "the job goes back whole to be answered")]
    pub fn push(&self, job: Job) -> Result<(), (Job, Full)> {
        let mut state = self.lock();
        if state.waiting.len() >= self.capacity {
            return Err((job, Full::Jobs));
        }
        // One job alone is always taken: the message limit has bounded it already.
        if !state.waiting.is_empty() && state.waiting_bytes + job.n_bytes() > self.max_bytes {
            return Err((job, Full::Bytes));
        }
        state.waiting_bytes += job.n_bytes();
        state.waiting.push_back(job);
        drop(state);
        self.changed.notify_one();
        Ok(())
    }

    /// Waits for the oldest job whose run no other worker has, or, while there is none, for a run that has left something to do; `None` once the
    /// queue is closed. The next job of such a run does that itself, if it comes first.
    pub fn take(&self) -> Option<Work> {
        let mut state = self.lock();
        loop {
            if state.closed {
                return None;
            }
            let ready = state.waiting.iter().position(|job| !state.runs_in_work.contains(&job.run));
            if let Some(job) = ready.and_then(|idx| state.waiting.remove(idx)) {
                state.waiting_bytes -= job.n_bytes();
                state.in_work += 1;
                // Without a run nothing is remembered, and there is no order to keep.
                if !job.run.is_empty() {
                    state.runs_in_work.insert(job.run.clone());
                    state.unsettled.retain(|run| *run != job.run);
                }
                return Some(Work::Job(Box::new(job)));
            }
            if let Some(run) = state.unsettled.pop_front() {
                state.runs_in_work.insert(run.clone());
                state.settling += 1;
                return Some(Work::Settle(run));
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Tells that a job of `run` is done, and whether the run has left something to do.
    pub fn finished(&self, run: &str, is_settled: bool) {
        let mut state = self.lock();
        state.in_work -= 1;
        state.runs_in_work.remove(run);
        if !is_settled {
            state.unsettled.push_back(run.to_owned());
        }
        drop(state);
        // All: one may wait for this run, another for any.
        self.changed.notify_all();
    }

    /// Tells that what `run` had left to do is done, which a worker began at `begun`; says which jobs waited for it.
    pub fn settled(&self, run: &str, begun: Instant) -> Delayed {
        let now = Instant::now();
        let mut state = self.lock();
        state.settling -= 1;
        state.runs_in_work.remove(run);
        // Those that it could have been begun before have come since, or wait for a run that another worker has.
        let mut delayed = Delayed::default();
        for job in state.waiting.iter().filter(|job| !state.runs_in_work.contains(&job.run)) {
            delayed.jobs += 1;
            delayed.time += now.saturating_duration_since(begun.max(job.received));
        }
        drop(state);
        self.changed.notify_all();
        delayed
    }

    /// Takes out the jobs whose deadline is at or before `now`, and says how long the next one has.
    pub fn expire(&self, now: Instant) -> (Vec<Job>, Option<Duration>) {
        let mut state = self.lock();
        let (late, waiting): (VecDeque<_>, VecDeque<_>) =
            state.waiting.drain(..).partition(|job| job.deadline <= now);
        state.waiting = waiting;
        state.waiting_bytes -= late.iter().map(Job::n_bytes).sum::<u64>();
        let next = state.waiting.iter().map(|job| job.deadline).min();
        (late.into(), next.map(|deadline| deadline.saturating_duration_since(now)))
    }

    /// Ends the queue: waiting jobs are given back, workers get no more.
    pub fn close(&self) -> Vec<Job> {
        let mut state = self.lock();
        state.closed = true;
        state.waiting_bytes = 0;
        let left = std::mem::take(&mut state.waiting);
        drop(state);
        self.changed.notify_all();
        left.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::tests::job;

    fn take(queue: &Queue) -> Option<Job> {
        queue.take().map(|work| match work {
            Work::Job(job) => *job,
            Work::Settle(run) => panic!("{run} has left nothing to do"),
        })
    }

    fn steps(queue: &Queue, n: usize) -> Vec<i64> {
        (0..n).map(|_| take(queue).unwrap().step).collect()
    }

    #[test]
    fn full_queue_gives_the_job_back_at_once() {
        let queue = Queue::new(2, u64::MAX);
        queue.push(job("a", 1)).unwrap();
        queue.push(job("a", 2)).unwrap();
        let (refused, full) = queue.push(job("a", 3)).unwrap_err();
        assert_eq!((refused.step, full), (3, Full::Jobs));
    }

    #[test]
    fn waiting_bytes_are_bounded_but_one_job_always_fits() {
        let queue = Queue::new(10, 1);
        queue.push(job("a", 1)).unwrap();
        assert_eq!(queue.push(job("a", 2)).unwrap_err().1, Full::Bytes);
        take(&queue).unwrap();
        queue.push(job("a", 2)).unwrap();
    }

    #[test]
    fn jobs_of_one_run_are_given_out_one_at_a_time_in_order() {
        let queue = Queue::new(10, u64::MAX);
        for (run, step) in [("a", 1), ("a", 2), ("b", 3), ("a", 4)] {
            queue.push(job(run, step)).unwrap();
        }
        assert_eq!(steps(&queue, 2), [1, 3], "run a is in work, so run b comes next");
        queue.finished("a", true);
        assert_eq!(steps(&queue, 1), [2]);
        queue.finished("b", true);
        queue.finished("a", true);
        assert_eq!(steps(&queue, 1), [4]);
    }

    #[test]
    fn jobs_without_a_run_do_not_wait_for_each_other() {
        let queue = Queue::new(10, u64::MAX);
        queue.push(job("", 1)).unwrap();
        queue.push(job("", 2)).unwrap();
        assert_eq!(steps(&queue, 2), [1, 2]);
        queue.finished("", true);
        assert!(!queue.is_idle());
        queue.finished("", true);
        assert!(queue.is_idle());
    }

    #[test]
    fn late_jobs_are_taken_out_and_the_next_deadline_is_told() {
        let queue = Queue::new(10, u64::MAX);
        let now = Instant::now();
        for (step, ms) in [(1, 50), (2, 10), (3, 200)] {
            queue.push(Job { deadline: now + Duration::from_millis(ms), ..job("a", step) }).unwrap();
        }
        let (late, next) = queue.expire(now + Duration::from_millis(60));
        assert_eq!(late.iter().map(|job| job.step).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(next, Some(Duration::from_millis(140)));
        assert_eq!(queue.n_waiting(), 1);
    }

    #[test]
    fn closed_queue_gives_back_what_waits_and_sends_workers_home() {
        let queue = Queue::new(10, u64::MAX);
        queue.push(job("a", 1)).unwrap();
        assert_eq!(queue.close().len(), 1);
        assert!(queue.take().is_none());
    }

    #[test]
    fn no_two_workers_have_the_same_run_and_nothing_is_lost() {
        use std::sync::atomic::{AtomicUsize, Ordering};
        let queue = Queue::new(1000, u64::MAX);
        let holders: [AtomicUsize; 3] = Default::default();
        let seen: Mutex<Vec<Vec<i64>>> = Mutex::new(vec![Vec::new(); 3]);
        let n_left = AtomicUsize::new(600);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    while let Some(job) = take(&queue) {
                        let run = usize::from(job.run.as_bytes()[0] - b'0');
                        assert_eq!(holders[run].fetch_add(1, Ordering::SeqCst), 0);
                        seen.lock().unwrap()[run].push(job.step);
                        std::thread::yield_now();
                        holders[run].fetch_sub(1, Ordering::SeqCst);
                        queue.finished(&job.run, true);
                        if n_left.fetch_sub(1, Ordering::SeqCst) == 1 {
                            queue.close();
                        }
                    }
                });
            }
            for step in 0..600 {
                queue.push(job(&(step % 3).to_string(), step)).unwrap();
            }
        });
        for (run, steps) in seen.into_inner().unwrap().iter().enumerate() {
            assert!(steps.iter().copied().eq((0..600).filter(|step| *step as usize % 3 == run)), "{steps:?}");
        }
    }

    #[test]
    fn run_that_has_left_something_to_do_is_settled_once_no_job_can_be_begun() {
        let queue = Queue::new(10, u64::MAX);
        for (run, step) in [("a", 1), ("b", 2), ("b", 3)] {
            queue.push(job(run, step)).unwrap();
        }
        assert_eq!(steps(&queue, 1), [1]);
        queue.finished("a", false);
        assert_eq!(steps(&queue, 1), [2], "the other run's image comes first");
        assert_eq!(queue.n_unsettled(), 1);
        assert!(matches!(queue.take(), Some(Work::Settle(run)) if run == "a"), "the other run is in work");
        assert_eq!(queue.n_unsettled(), 1, "until it is settled");
        queue.push(job("a", 4)).unwrap();
        let begun = Instant::now();
        queue.finished("b", false);
        assert_eq!(steps(&queue, 1), [3], "the run that is settled waits");
        assert!(!queue.is_idle());
        let Delayed { jobs, time } = queue.settled("a", begun);
        assert!(jobs == 1 && time <= begun.elapsed());
        assert_eq!(steps(&queue, 1), [4]);
        queue.finished("a", true);
        queue.finished("b", true);
        assert!(queue.is_idle() && queue.n_unsettled() == 0);
    }

    #[test]
    fn image_that_comes_before_its_run_is_settled_does_that_itself() {
        let queue = Queue::new(10, u64::MAX);
        queue.push(job("a", 1)).unwrap();
        assert_eq!(steps(&queue, 1), [1]);
        queue.push(job("a", 2)).unwrap();
        queue.finished("a", false);
        assert_eq!(steps(&queue, 1), [2]);
        assert_eq!(queue.n_unsettled(), 0);
        queue.finished("a", false);
        assert!(
            matches!(queue.take(), Some(Work::Settle(run)) if run == "a"),
            "and leaves something in its turn"
        );
        assert_eq!(queue.settled("a", Instant::now()), Delayed::default(), "nobody waited");
    }
}

//! What the daemon tells of itself: counters and times that every thread may read without waiting.

use anomalyd_proto::{Instance, Status};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Where the daemon is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    /// Not all is loaded.
    Starting = 0,
    /// Serving.
    Ready = 1,
    /// Finishing what it has.
    Draining = 2,
}

impl State {
    /// As on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Draining => "draining",
        }
    }
}

/// Counters and times of one instance.
#[derive(Debug)]
pub struct Board {
    /// The instance id.
    pub instance: Instance,
    started: Instant,
    state: AtomicU8,
    /// Milliseconds after the start at which a job was last begun or done; 0 before the first.
    progress_ms: AtomicU64,
    /// Milliseconds after the start at which the service thread last went round.
    beat_ms: AtomicU64,
    /// Judgements that panicked.
    pub panics: AtomicU64,
    /// Option keys that are not known.
    pub unknown_options: AtomicU64,
    /// Messages without a delimiter, which cannot be answered.
    pub unanswerable: AtomicU64,
    replies: Mutex<BTreeMap<u16, u64>>,
}

impl Board {
    /// A board for a daemon that starts now.
    pub fn new(instance: Instance) -> Self {
        Self {
            instance,
            started: Instant::now(),
            state: AtomicU8::new(State::Starting as u8),
            progress_ms: AtomicU64::new(0),
            beat_ms: AtomicU64::new(0),
            panics: AtomicU64::new(0),
            unknown_options: AtomicU64::new(0),
            unanswerable: AtomicU64::new(0),
            replies: Mutex::default(),
        }
    }

    fn now_ms(&self) -> u64 {
        // From 1 on, so that 0 can stand for never.
        self.started.elapsed().as_millis() as u64 + 1
    }

    /// Time since the start.
    pub fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    /// Where the daemon is in its life.
    pub fn state(&self) -> State {
        match self.state.load(Ordering::SeqCst) {
            0 => State::Starting,
            1 => State::Ready,
            _ => State::Draining,
        }
    }

    /// Tells that the daemon has come to `state`.
    pub fn set_state(&self, state: State) {
        self.state.store(state as u8, Ordering::SeqCst);
    }

    /// Tells that a job was begun or done.
    pub fn progress(&self) {
        self.progress_ms.store(self.now_ms(), Ordering::Relaxed);
    }

    /// Time since a job was last begun or done; `None` before the first.
    pub fn progress_age(&self) -> Option<Duration> {
        let at = self.progress_ms.load(Ordering::Relaxed);
        (at > 0).then(|| Duration::from_millis(self.now_ms().saturating_sub(at)))
    }

    /// Tells that the service thread lives.
    pub fn beat(&self) {
        self.beat_ms.store(self.now_ms(), Ordering::Relaxed);
    }

    /// Time since the service thread last went round.
    pub fn beat_age(&self) -> Duration {
        Duration::from_millis(self.now_ms().saturating_sub(self.beat_ms.load(Ordering::Relaxed)))
    }

    /// Counts a reply.
    pub fn count_reply(&self, status: Status) {
        *self.replies.lock().unwrap_or_else(PoisonError::into_inner).entry(status.code()).or_default() += 1;
    }

    /// Replies so far, by status.
    pub fn replies(&self) -> BTreeMap<u16, u64> {
        self.replies.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_has_no_age_before_the_first_job() {
        let board = Board::new(Instance::new("i").unwrap());
        assert_eq!(board.progress_age(), None);
        board.progress();
        assert!(board.progress_age().unwrap() < Duration::from_secs(5));
    }
}

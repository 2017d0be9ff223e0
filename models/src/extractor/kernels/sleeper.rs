//! Where a sleeping worker wakes.
//!
//! Linux often wakes a thread on the processor of the one that wakes it. That one goes on to compute, so the worker waits behind it until the
//! scheduler balances its queues, milliseconds later, while another processor idles. So a worker is woken on a processor that is not the
//! caller's, and free to move from then on.

#[cfg(target_os = "linux")]
use rustix::thread::{CpuSet, Pid, gettid, sched_getaffinity, sched_getcpu, sched_setaffinity};

/// A worker that sleeps, or is about to wake.
#[derive(Debug)]
pub(super) struct Sleeper {
    /// The worker's number in its team.
    pub(super) thread: usize,
    #[cfg(target_os = "linux")]
    id: Pid,
    /// The processors that it may use, if it was told to wake on one of them.
    #[cfg(target_os = "linux")]
    usual: Option<CpuSet>,
}

#[cfg(target_os = "linux")]
impl Sleeper {
    /// The calling thread.
    pub(super) fn new(thread: usize) -> Self {
        Self { thread, id: gettid(), usual: None }
    }

    /// Has each sleeper wake on a processor of its own, as far as there are so many, that is not the calling thread's. A request that the
    /// system refuses is left: the worker then wakes where it will.
    pub(super) fn place(sleepers: &mut [Self]) {
        Self::place_beside(sched_getcpu(), sleepers);
    }

    fn place_beside(here: usize, sleepers: &mut [Self]) {
        for (idx, sleeper) in sleepers.iter_mut().enumerate().filter(|(_, sleeper)| sleeper.usual.is_none()) {
            let Ok(usual) = sched_getaffinity(Some(sleeper.id)) else { continue };
            let others = || (1..CpuSet::MAX_CPU).map(|step| (here + step) % CpuSet::MAX_CPU);
            let n_others = usual.count() as usize - usize::from(usual.is_set(here));
            let Some(place) = idx.checked_rem(n_others) else { continue };
            let Some(processor) = others().filter(|&processor| usual.is_set(processor)).nth(place) else {
                continue;
            };
            let mut only = CpuSet::new();
            only.set(processor);
            if sched_setaffinity(Some(sleeper.id), &only).is_ok() {
                sleeper.usual = Some(usual);
            }
        }
    }

    /// Called by the worker when it is awake: lets it move again.
    pub(super) fn wake(self) {
        if let Some(usual) = self.usual {
            // What could be narrowed can be widened again; if not, the worker stays where it is.
            let _ = sched_setaffinity(None, &usual);
        }
    }
}

#[cfg(not(target_os = "linux"))]
impl Sleeper {
    pub(super) fn new(thread: usize) -> Self {
        Self { thread }
    }

    pub(super) fn place(_: &mut [Self]) {}

    pub(super) fn wake(self) {}
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn sleeper_wakes_on_another_processor_and_may_then_use_all_it_might_before() {
        let all = sched_getaffinity(None).unwrap();
        if all.count() < 2 {
            eprintln!("SKIPPED: this process may use one processor only");
            return;
        }
        std::thread::spawn(move || {
            let here = sched_getcpu();
            let mut sleepers = [Sleeper::new(1)];
            Sleeper::place_beside(here, &mut sleepers);
            let placed = sched_getaffinity(None).unwrap();
            assert!(placed.count() == 1 && !placed.is_set(here), "{here}: {placed:?}");
            assert!(all.is_set((0..CpuSet::MAX_CPU).find(|&processor| placed.is_set(processor)).unwrap()));
            Sleeper::place_beside(here, &mut sleepers);
            sleepers.into_iter().for_each(Sleeper::wake);
            assert_eq!(sched_getaffinity(None).unwrap(), all, "also after it was placed twice");

            let mut only = CpuSet::new();
            only.set(here);
            sched_setaffinity(None, &only).unwrap();
            let mut confined = [Sleeper::new(1)];
            Sleeper::place_beside(here, &mut confined);
            assert_eq!(
                sched_getaffinity(None).unwrap(),
                only,
                "where there is no other processor, nothing is changed"
            );
        })
        .join()
        .unwrap();
    }
}

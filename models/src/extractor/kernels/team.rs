//! A fixed team of threads that shares out one job's tasks.
//!
//! Tasks are taken from counters that all threads share, so a thread that the system holds up delays at most its own task, and one that has
//! not yet woken is not waited for. A task's result must not depend on which thread runs it.

use super::sleeper::Sleeper;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long an idle worker looks for the next job before it sleeps: longer than the gap between two layers, short beside an image.
const SPIN: Duration = Duration::from_micros(60);

/// A job's task, called with the task's number and the thread's.
type Job<'a> = dyn Fn(usize, usize) + Sync + 'a;

/// The gate's open bit: workers may join the job. The bits below count the workers inside; those above number the jobs.
const OPEN: u64 = 1 << 31;
const INSIDE: u64 = OPEN - 1;
const NEXT: u64 = 1 << 32;

/// The next task of a stretch, on a line of its own (two, as processors fetch them in pairs).
#[derive(Default)]
#[repr(align(128))]
struct Next(AtomicUsize);

struct Shared {
    gate: AtomicU64,
    /// Of each stretch of the tasks; there can be one for each thread.
    next: Vec<Next>,
    n_stretches: AtomicUsize,
    n_tasks: AtomicUsize,
    /// The current job's two words; null before the first.
    job: [AtomicUsize; 2],
    panicked: AtomicBool,
    leaving: AtomicBool,
    asleep: Mutex<Vec<Sleeper>>,
    wake: Condvar,
    /// True while the caller sleeps until the last worker leaves the gate.
    awaited: AtomicBool,
    left: Condvar,
}

/// The team: the calling thread and `n_threads - 1` workers that live as long as it.
pub(super) struct Team {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
}

impl std::fmt::Debug for Team {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Team").field("n_threads", &self.n_threads()).finish()
    }
}

/// The processors this process may use: the affinity mask, cut by the control group's quota.
pub(super) fn available_threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

impl Team {
    /// A team of `n_threads`, at least one, at most what the process may use.
    ///
    /// # Errors
    ///
    /// What the system says where it gives no further thread.
    pub(super) fn new(n_threads: usize) -> std::io::Result<Team> {
        let n_threads = n_threads.clamp(1, available_threads());
        let shared = Arc::new(Shared {
            gate: AtomicU64::new(0),
            next: (0..n_threads).map(|_| Next::default()).collect(),
            n_stretches: AtomicUsize::new(1),
            n_tasks: AtomicUsize::new(0),
            job: [AtomicUsize::new(0), AtomicUsize::new(0)],
            panicked: AtomicBool::new(false),
            leaving: AtomicBool::new(false),
            asleep: Mutex::default(),
            wake: Condvar::new(),
            awaited: AtomicBool::new(false),
            left: Condvar::new(),
        });
        let mut team = Team { shared, workers: Vec::new() };
        for idx in 1..n_threads {
            let shared = Arc::clone(&team.shared);
            let worker = std::thread::Builder::new()
                .name(format!("kernels-{idx}"))
                .spawn(move || work(&shared, idx))?;
            team.workers.push(worker);
        }
        Ok(team)
    }

    /// The number of threads, the caller's included.
    pub(super) fn n_threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Runs `job` for every task in `0..n_tasks` and returns when all are done.
    ///
    /// # Panics
    ///
    /// If a task panics, after the others have ended.
    pub(super) fn run(&mut self, n_tasks: usize, job: &Job<'_>) {
        self.run_stretches(1, n_tasks, job);
    }

    /// As [`run`](Self::run), but a thread takes the tasks of its own stretch of all, and then what the others have left of theirs. In jobs
    /// after one another that share out the same places a thread so finds in its own cache what it has written before.
    ///
    /// # Panics
    ///
    /// As that.
    pub(super) fn run_near(&mut self, n_tasks: usize, job: &Job<'_>) {
        self.run_stretches(self.n_threads(), n_tasks, job);
    }

    fn run_stretches(&mut self, n_stretches: usize, n_tasks: usize, job: &Job<'_>) {
        if self.workers.is_empty() || n_tasks <= 1 {
            (0..n_tasks).for_each(|task| job(task, 0));
            return;
        }
        let shared = &*self.shared;
        // SAFETY: a fat reference is two words, and is put together again only by workers inside the gate, whom we await below.
        let words: [usize; 2] = unsafe { std::mem::transmute::<&Job<'_>, [usize; 2]>(job) };
        shared.job[0].store(words[0], Ordering::Relaxed);
        shared.job[1].store(words[1], Ordering::Relaxed);
        shared.n_tasks.store(n_tasks, Ordering::Relaxed);
        shared.n_stretches.store(n_stretches, Ordering::Relaxed);
        for (idx, next) in shared.next.iter().enumerate().take(n_stretches) {
            next.0.store(stretch(idx, n_stretches, n_tasks).start, Ordering::Relaxed);
        }
        let number = shared.gate.load(Ordering::Relaxed) / NEXT + 1;
        shared.gate.store((number * NEXT) | OPEN, Ordering::SeqCst);
        let mut asleep = lock(shared);
        if !asleep.is_empty() {
            Sleeper::place(&mut asleep);
            shared.wake.notify_all();
        }
        drop(asleep);
        let outcome = catch_unwind(AssertUnwindSafe(|| take_tasks(shared, job, 0)));
        if outcome.is_err() {
            shared.next.iter().for_each(|next| next.0.store(n_tasks, Ordering::Relaxed));
        }
        shared.gate.fetch_and(!OPEN, Ordering::SeqCst);
        await_workers(shared);
        if let Err(panic) = outcome {
            resume_unwind(panic);
        }
        assert!(
            !shared.panicked.swap(false, Ordering::Relaxed),
            "a task panicked on a worker thread; its message is above"
        );
    }
}

impl Drop for Team {
    fn drop(&mut self) {
        self.shared.leaving.store(true, Ordering::SeqCst);
        drop(lock(&self.shared));
        self.shared.wake.notify_all();
        for worker in self.workers.drain(..) {
            // A worker catches its tasks' panics; there is nothing to learn from its end.
            let _ = worker.join();
        }
    }
}

/// Returns once no worker is inside the gate. A worker that takes longer than a moment is one that the system has held up:
/// the caller sleeps meanwhile, since what it would spin away is what the worker waits for.
fn await_workers(shared: &Shared) {
    let empty = || shared.gate.load(Ordering::SeqCst) & INSIDE == 0;
    let mut patience = Patience::new();
    while !empty() {
        if patience.wait() {
            let mut asleep = lock(shared);
            shared.awaited.store(true, Ordering::SeqCst);
            while !empty() {
                asleep = shared.left.wait(asleep).unwrap_or_else(PoisonError::into_inner);
            }
            shared.awaited.store(false, Ordering::SeqCst);
            return;
        }
    }
}

/// Spins a while: the machine may have fewer free processors than the team has threads.
struct Patience {
    turns: u32,
    since: Option<Instant>,
}

impl Patience {
    fn new() -> Patience {
        Patience { turns: 0, since: None }
    }

    /// Waits a moment; true once the spinning has lasted its time.
    fn wait(&mut self) -> bool {
        self.turns += 1;
        if !self.turns.is_multiple_of(32) {
            std::hint::spin_loop();
            return false;
        }
        self.since.get_or_insert_with(Instant::now).elapsed() > SPIN
    }
}

fn lock(shared: &Shared) -> MutexGuard<'_, Vec<Sleeper>> {
    shared.asleep.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The tasks of stretch `idx`.
fn stretch(idx: usize, n_stretches: usize, n_tasks: usize) -> Range<usize> {
    idx * n_tasks / n_stretches..(idx + 1) * n_tasks / n_stretches
}

fn take_tasks(shared: &Shared, job: &Job<'_>, thread: usize) {
    let n_tasks = shared.n_tasks.load(Ordering::Relaxed);
    let n_stretches = shared.n_stretches.load(Ordering::Relaxed);
    for whose in (0..n_stretches).map(|step| (thread + step) % n_stretches) {
        let end = stretch(whose, n_stretches, n_tasks).end;
        loop {
            let task = shared.next[whose].0.fetch_add(1, Ordering::Relaxed);
            if task >= end {
                break;
            }
            job(task, thread);
        }
    }
}

fn work(shared: &Shared, thread: usize) {
    let mut done = 0;
    let mut patience = Patience::new();
    while !shared.leaving.load(Ordering::Relaxed) {
        let gate = shared.gate.load(Ordering::SeqCst);
        if gate & OPEN == 0 || gate / NEXT == done {
            if patience.wait() {
                sleep(shared, thread, done);
                patience = Patience::new();
            }
            continue;
        }
        if shared.gate.compare_exchange(gate, gate + 1, Ordering::SeqCst, Ordering::Relaxed).is_err() {
            continue;
        }
        done = gate / NEXT;
        let words = [shared.job[0].load(Ordering::Relaxed), shared.job[1].load(Ordering::Relaxed)];
        // SAFETY: the two words of a reference that its owner keeps alive while a worker is inside the gate.
        let job: &Job<'_> = unsafe { std::mem::transmute::<[usize; 2], &Job<'_>>(words) };
        if catch_unwind(AssertUnwindSafe(|| take_tasks(shared, job, thread))).is_err() {
            shared.panicked.store(true, Ordering::Relaxed);
        }
        let inside = shared.gate.fetch_sub(1, Ordering::SeqCst) & INSIDE;
        if inside == 1 && shared.awaited.load(Ordering::SeqCst) {
            // With the lock, so that the caller is either before its check or asleep.
            drop(lock(shared));
            shared.left.notify_one();
        }
        patience = Patience::new();
    }
}

/// Sleeps until a job after number `done` is open, or the team ends.
fn sleep(shared: &Shared, thread: usize, done: u64) {
    let mut asleep = lock(shared);
    asleep.push(Sleeper::new(thread));
    loop {
        let gate = shared.gate.load(Ordering::SeqCst);
        if shared.leaving.load(Ordering::SeqCst) || (gate & OPEN != 0 && gate / NEXT != done) {
            break;
        }
        asleep = shared.wake.wait(asleep).unwrap_or_else(PoisonError::into_inner);
    }
    if let Some(place) = asleep.iter().position(|sleeper| sleeper.thread == thread) {
        let sleeper = asleep.swap_remove(place);
        drop(asleep);
        sleeper.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_runs_once_for_any_number_of_threads() {
        for n_threads in [1, 2, 5] {
            let mut team = Team::new(n_threads).unwrap();
            for n_tasks in [0, 1, 2, 3, 100] {
                let counts: Vec<AtomicUsize> = (0..n_tasks).map(|_| AtomicUsize::new(0)).collect();
                for _ in 0..50 {
                    let job = |task: usize, thread: usize| {
                        assert!(thread < n_threads);
                        counts[task].fetch_add(1, Ordering::Relaxed);
                    };
                    team.run(n_tasks, &job);
                    team.run_near(n_tasks, &job);
                }
                assert!(counts.iter().all(|n| n.load(Ordering::Relaxed) == 100));
            }
        }
    }

    #[test]
    fn threads_near_their_tasks_take_those_of_their_own_stretch_and_then_those_left() {
        let mut team = Team::new(2).unwrap();
        if team.n_threads() < 2 {
            eprintln!("SKIPPED: this process may use one processor only");
            return;
        }
        let takers: Vec<AtomicUsize> = (0..10).map(|_| AtomicUsize::new(9)).collect();
        let done = AtomicUsize::new(0);
        let wait = |until: &dyn Fn() -> bool| {
            while !until() {
                std::thread::yield_now();
            }
        };
        team.run_near(10, &|task, thread| {
            takers[task].store(thread, Ordering::Relaxed);
            if task == 0 {
                wait(&|| takers[5].load(Ordering::Relaxed) < 9);
            } else if task == 5 {
                wait(&|| done.load(Ordering::Relaxed) == 9);
            }
            done.fetch_add(1, Ordering::Relaxed);
        });
        let takers: Vec<usize> = takers.into_iter().map(AtomicUsize::into_inner).collect();
        assert_eq!(
            takers,
            [0, 0, 0, 0, 0, 1, 0, 0, 0, 0],
            "the worker began with its own stretch, the caller did the rest"
        );
    }

    #[test]
    fn jobs_wake_workers_that_have_gone_to_sleep() {
        let mut team = Team::new(2).unwrap();
        for _ in 0..5 {
            std::thread::sleep(Duration::from_millis(3));
            let count = AtomicUsize::new(0);
            team.run(64, &|_, _| {
                count.fetch_add(1, Ordering::Relaxed);
            });
            assert_eq!(count.into_inner(), 64);
        }
    }

    #[test]
    fn a_panic_in_a_task_reaches_the_caller_and_leaves_the_team_working() {
        let mut team = Team::new(2).unwrap();
        for wrong in 0..16 {
            let outcome =
                catch_unwind(AssertUnwindSafe(|| team.run(16, &|task, _| assert_ne!(task, wrong, "meant"))));
            assert!(outcome.is_err());
        }
        let count = AtomicUsize::new(0);
        team.run(16, &|_, _| {
            count.fetch_add(1, Ordering::Relaxed);
        });
        assert_eq!(count.into_inner(), 16);
    }

    #[test]
    fn a_caller_that_waits_long_for_a_worker_is_woken_by_it() {
        let mut team = Team::new(2).unwrap();
        for _ in 0..20 {
            let count = AtomicUsize::new(0);
            team.run(2, &|_, thread| {
                // Whoever comes second ends long after the other: it is the worker in some of these jobs.
                std::thread::sleep(Duration::from_millis(if thread == 0 { 0 } else { 2 }));
                count.fetch_add(1, Ordering::Relaxed);
            });
            assert_eq!(count.into_inner(), 2);
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_team_is_no_larger_than_the_affinity_mask_of_its_caller() {
        let alone = std::thread::spawn(|| {
            // SAFETY: all zeros is a set without processors; the calls read and write the sets they are given, and what they
            // change is this thread's mask only.
            unsafe {
                let size = size_of::<libc::cpu_set_t>();
                let (mut set, mut one): (libc::cpu_set_t, libc::cpu_set_t) =
                    (std::mem::zeroed(), std::mem::zeroed());
                assert_eq!(libc::sched_getaffinity(0, size, &mut set), 0);
                let first = (0..libc::CPU_SETSIZE as usize).find(|&cpu| libc::CPU_ISSET(cpu, &set)).unwrap();
                libc::CPU_SET(first, &mut one);
                assert_eq!(libc::sched_setaffinity(0, size, &one), 0);
            }
            Team::new(8).unwrap().n_threads()
        });
        assert_eq!(alone.join().unwrap(), 1);
    }

    #[test]
    fn a_team_is_no_larger_than_what_the_process_may_use() {
        assert!(Team::new(10_000).unwrap().n_threads() <= available_threads());
    }
}

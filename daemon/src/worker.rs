//! The threads that judge. A panic ends a judgement, never a thread.

use crate::board::{Board, State};
use crate::fault::Fault;
use crate::job::{Answer, Job};
use crate::mailbox::Sender;
use crate::queue::{Delayed, Queue, Work};
use crate::server::Event;
use anomalyd_proto::Status;
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{Builder, JoinHandle};
use std::time::Instant;

/// What workers call: does a job, and mends its run after a panic.
pub trait Judge: Send + Sync + 'static {
    /// Does `job`.
    fn judge(&self, job: &Job) -> Answer;

    /// Called after [`judge`](Self::judge) panicked on `job`: brings the run back to where it was, or forgets it. Says what
    /// it did.
    fn recover(&self, job: &Job) -> String;

    /// Whether the run has left nothing to do.
    fn is_settled(&self, run: &str) -> bool;

    /// Does what the run has left to do, while nobody waits for it.
    fn settle(&self, run: &str);

    /// Called after [`settle`](Self::settle) panicked: everything that was answered still holds. Says what it did.
    fn recover_settling(&self, run: &str) -> String;

    /// Told of jobs that waited while a run was settled.
    fn delayed(&self, delayed: Delayed);
}

/// Starts `count` workers; they end when `queue` is closed.
///
/// # Errors
///
/// If the system gives no more threads.
pub fn start(
    count: usize,
    judge: &Arc<dyn Judge>,
    queue: &Arc<Queue>,
    board: &Arc<Board>,
    replies: &Sender<Event>,
) -> std::io::Result<Vec<JoinHandle<()>>> {
    (0..count)
        .map(|idx| {
            let (judge, queue, board, replies) =
                (Arc::clone(judge), Arc::clone(queue), Arc::clone(board), replies.clone());
            Builder::new()
                .name(format!("worker-{idx}"))
                .spawn(move || work(&*judge, &queue, &board, &replies))
        })
        .collect()
}

fn work(judge: &dyn Judge, queue: &Queue, board: &Board, replies: &Sender<Event>) {
    while let Some(work) = queue.take() {
        match work {
            Work::Job(job) => {
                board.progress();
                let answer = if job.deadline <= Instant::now() {
                    late(&job).into()
                } else {
                    survive(judge, &job, board)
                };
                board.progress();
                let ticket = job.ticket;
                queue.finished(&job.run, job.run.is_empty() || judge.is_settled(&job.run));
                replies.send(Event::Done { ticket, answer });
            }
            Work::Settle(run) => {
                let begun = Instant::now();
                // Whoever goes on with the run does it after all.
                if board.state() != State::Draining {
                    settle(judge, &run, board);
                }
                judge.delayed(queue.settled(&run, begun));
            }
        }
    }
}

/// Settles a run. Nobody waits for an answer: the log has it.
fn settle(judge: &dyn Judge, run: &str, board: &Board) {
    let span = tracing::info_span!("settling", run);
    let _entered = span.enter();
    // The judge mends what the panic may have left half done, so nothing broken is seen again.
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| judge.settle(run))) {
        board.panics.fetch_add(1, Ordering::Relaxed);
        let recovery = catch_unwind(AssertUnwindSafe(|| judge.recover_settling(run)))
            .unwrap_or_else(|_| "what the run remembered may be damaged".into());
        tracing::error!(reason = message(&*panic), recovery, "settling a run panicked");
    }
}

/// The fault of a job whose deadline has passed.
pub(crate) fn late(job: &Job) -> Fault {
    let allowed = job.deadline.saturating_duration_since(job.received).as_millis();
    let waited = job.received.elapsed().as_millis();
    Fault::new(
        Status::DeadlinePassed,
        format!(
            "not begun within the request's {allowed} ms (it waited {waited} ms): give more time, or add workers"
        ),
    )
}

fn survive(judge: &dyn Judge, job: &Job, board: &Board) -> Answer {
    let span = tracing::info_span!("job", run = %job.run, stream = %job.stream, step = job.step);
    let _entered = span.enter();
    // The judge mends what the panic may have left half done, so nothing broken is seen again.
    catch_unwind(AssertUnwindSafe(|| judge.judge(job))).unwrap_or_else(|panic| {
        board.panics.fetch_add(1, Ordering::Relaxed);
        let recovery = catch_unwind(AssertUnwindSafe(|| judge.recover(job)))
            .unwrap_or_else(|_| "what the run remembered may be damaged".into());
        let reason = message(&*panic);
        tracing::error!(reason, recovery, "a judgement panicked");
        Fault::new(
            Status::Internal,
            format!("the judgement failed by a fault of the daemon: {reason}; {recovery}"),
        )
        .into()
    })
}

fn message(panic: &(dyn Any + Send)) -> &str {
    let text =
        panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("a panic without words")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::tests::job;
    use crate::mailbox::mailbox;
    use std::sync::Mutex;
    use std::time::Duration;

    /// Panics on odd steps.
    #[derive(Default)]
    struct Odd {
        recovered: Mutex<Vec<i64>>,
        settled: Mutex<Vec<String>>,
    }

    impl Judge for Odd {
        fn judge(&self, job: &Job) -> Answer {
            assert!(job.step % 2 == 0, "step {} is odd", job.step);
            Answer::done("even")
        }

        fn recover(&self, job: &Job) -> String {
            self.recovered.lock().unwrap().push(job.step);
            assert!(job.step < 3, "no recovery either");
            "the run is as it was".into()
        }

        fn is_settled(&self, run: &str) -> bool {
            !run.starts_with("leaves")
        }

        fn settle(&self, run: &str) {
            self.settled.lock().unwrap().push(format!("settled {run}"));
            assert!(!run.ends_with("trouble"), "a fault in settling");
        }

        fn recover_settling(&self, run: &str) -> String {
            self.settled.lock().unwrap().push(format!("mended {run}"));
            "the run has what was answered".into()
        }

        fn delayed(&self, delayed: Delayed) {
            self.settled.lock().unwrap().push(format!("{} waited", delayed.jobs));
        }
    }

    fn answers(jobs: Vec<Job>) -> (Vec<(u64, Answer)>, Arc<Board>) {
        let (answers, board, _) = answers_and_settled(jobs, State::Ready);
        (answers, board)
    }

    fn answers_and_settled(jobs: Vec<Job>, daemon: State) -> (Vec<(u64, Answer)>, Arc<Board>, Vec<String>) {
        let queue = Arc::new(Queue::new(100, u64::MAX));
        let board = Arc::new(Board::new(anomalyd_proto::Instance::new("i").unwrap()));
        let (sender, receiver) = mailbox().unwrap();
        board.set_state(daemon);
        let odd = Arc::new(Odd::default());
        let judge: Arc<dyn Judge> = Arc::clone(&odd) as Arc<dyn Judge>;
        let n_jobs = jobs.len();
        jobs.into_iter().for_each(|job| queue.push(job).unwrap());
        let workers = start(1, &judge, &queue, &board, &sender).unwrap();
        let mut answers = Vec::new();
        while answers.len() < n_jobs {
            let mut items = [zmq::PollItem::from_fd(receiver.fd(), zmq::POLLIN)];
            assert!(zmq::poll(&mut items, 10_000).unwrap() > 0);
            answers.extend(receiver.drain().into_iter().map(|event| match event {
                Event::Done { ticket, answer } => (ticket, answer),
                other => unreachable!("{other:?}"),
            }));
        }
        assert!(queue.is_idle());
        while queue.n_unsettled() > 0 {
            std::thread::yield_now();
        }
        queue.close();
        workers.into_iter().for_each(|worker| worker.join().unwrap());
        let settled = std::mem::take(&mut *odd.settled.lock().unwrap());
        (answers, board, settled)
    }

    #[test]
    fn run_is_settled_after_its_answers_and_a_fault_there_changes_none() {
        let jobs = vec![job("leaves trouble", 2), job("leaves trouble", 4), job("leaves", 6), job("a", 8)];
        let (answers, board, settled) = answers_and_settled(jobs, State::Ready);
        assert_eq!(answers.iter().map(|(ticket, _)| *ticket).collect::<Vec<_>>(), [2, 4, 6, 8]);
        assert!(answers.iter().all(|(_, answer)| answer.status == Status::Ok));
        assert_eq!(board.panics.load(Ordering::Relaxed), 1);
        let told =
            ["settled leaves trouble", "mended leaves trouble", "0 waited", "settled leaves", "0 waited"];
        assert_eq!(settled, told, "each once, when no request is left, in the order of their last ones");
    }

    #[test]
    fn daemon_that_drains_settles_nothing() {
        let (answers, _, settled) = answers_and_settled(vec![job("leaves", 2)], State::Draining);
        assert_eq!((answers.len(), settled), (1, vec!["0 waited".to_owned()]));
    }

    #[test]
    fn panic_is_answered_500_and_the_worker_goes_on() {
        let (answers, board) = answers(vec![job("a", 1), job("a", 2), job("a", 3), job("a", 4)]);
        let statuses: Vec<_> = answers.iter().map(|(ticket, answer)| (*ticket, answer.status)).collect();
        let expected = [(1, Status::Internal), (2, Status::Ok), (3, Status::Internal), (4, Status::Ok)];
        assert_eq!(statuses, expected);
        assert!(answers[0].1.text.contains("step 1 is odd; the run is as it was"), "{}", answers[0].1.text);
        assert!(answers[2].1.text.contains("may be damaged"), "{}", answers[2].1.text);
        assert_eq!(board.panics.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn job_past_its_deadline_is_not_done() {
        let late = Job { deadline: Instant::now() - Duration::from_millis(1), ..job("a", 1) };
        let (answers, board) = answers(vec![late]);
        assert_eq!(answers[0].1.status, Status::DeadlinePassed);
        assert_eq!(board.panics.load(Ordering::Relaxed), 0, "the odd step was not judged");
    }
}

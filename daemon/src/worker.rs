//! The threads that judge. A panic ends a judgement, never a thread.

use crate::board::Board;
use crate::fault::Fault;
use crate::job::{Answer, Job};
use crate::mailbox::Sender;
use crate::queue::Queue;
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
    while let Some(job) = queue.take() {
        board.progress();
        let answer =
            if job.deadline <= Instant::now() { late(&job).into() } else { survive(judge, &job, board) };
        board.progress();
        let ticket = job.ticket;
        queue.finished(job.serial_key());
        replies.send(Event::Done { ticket, answer });
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
    }

    fn answers(jobs: Vec<Job>) -> (Vec<(u64, Answer)>, Arc<Board>) {
        let queue = Arc::new(Queue::new(100, u64::MAX));
        let board = Arc::new(Board::new(anomalyd_proto::Instance::new("i").unwrap()));
        let (sender, receiver) = mailbox().unwrap();
        let judge: Arc<dyn Judge> = Arc::new(Odd::default());
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
        queue.close();
        workers.into_iter().for_each(|worker| worker.join().unwrap());
        (answers, board)
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

//! The service thread: owns the service socket, queues what needs a worker, and answers every request once.

use crate::board::{Board, State};
use crate::fault::Fault;
use crate::job::{Answer, Job, Subject, Task};
use crate::mailbox::Receiver;
use crate::queue::{Full, Queue};
use crate::replies::{Known, Replies, content};
use crate::report::Report;
use crate::wire::{Incoming, Peer, Received, Wire};
use crate::worker::late;
use anomalyd_proto::{Command, Request, RequestId, Status};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What other threads tell the service thread.
#[derive(Debug)]
pub enum Event {
    /// A worker has done a job.
    Done {
        /// The job's.
        ticket: u64,
        /// What to answer.
        answer: Answer,
    },
    /// Finish what is there within this time, refuse what is new, and end.
    Drain(Duration),
}

/// The service thread's state.
pub struct Service {
    /// The service socket.
    pub wire: Wire,
    /// From workers and from the end of the process.
    pub events: Receiver<Event>,
    /// To the workers.
    pub queue: Arc<Queue>,
    /// Counters.
    pub board: Arc<Board>,
    /// What is told of the daemon.
    pub report: Report,
    /// What was answered to the newest requests.
    pub replies: Replies,
    /// Deadline of a request that names none.
    pub default_deadline: Duration,
    /// Requests that a worker or the queue has.
    pub pending: HashMap<u64, Pending>,
    /// The number of jobs so far.
    pub n_tickets: u64,
    /// When to end whatever is still waiting; `None` while serving.
    pub drain_until: Option<Instant>,
}

/// A request that a worker or the queue has.
#[derive(Debug)]
pub struct Pending {
    /// The first to ask, and those that retried meanwhile.
    waiters: Vec<Peer>,
    run: String,
    request_id: RequestId,
}

/// The longest time between two looks at the clock.
const MAX_WAIT: Duration = Duration::from_millis(500);
/// Messages taken before replies get their turn.
const BATCH: usize = 64;
/// Retries of one request that wait for its answer.
const MAX_WAITERS: usize = 16;

impl Service {
    /// Serves until drained.
    pub fn run(mut self) {
        loop {
            self.board.beat();
            for event in self.events.drain() {
                self.handle(event);
            }
            for _ in 0..BATCH {
                match self.wire.receive() {
                    Received::Request(incoming) => self.admit(*incoming),
                    Received::Settled => {}
                    Received::Nothing => break,
                }
            }
            let now = Instant::now();
            let (late_jobs, next_deadline) = self.queue.expire(now);
            for job in late_jobs {
                self.settle(job.ticket, &late(&job).into());
            }
            let mut wait = next_deadline.map_or(MAX_WAIT, |next| next.min(MAX_WAIT));
            if let Some(until) = self.drain_until {
                if self.pending.is_empty() || until <= now {
                    break;
                }
                wait = wait.min(until - now);
            }
            let mut items = [self.wire.poll_item(), zmq::PollItem::from_fd(self.events.fd(), zmq::POLLIN)];
            // Rounded up, so that the thread does not spin through the last millisecond.
            let wait_ms = i64::try_from(wait.as_millis()).unwrap_or(0) + 1;
            match zmq::poll(&mut items, wait_ms) {
                Ok(_) | Err(zmq::Error::EINTR) => {}
                Err(error) => {
                    tracing::error!(%error, "the service socket cannot be waited for; this is a bug");
                    std::thread::sleep(MAX_WAIT);
                }
            }
        }
        self.end();
    }

    /// Answers what is left, so that nobody waits for a daemon that has gone.
    fn end(mut self) {
        self.queue.close();
        let not_ready: Answer =
            Fault::new(Status::NotReady, "the daemon ended before this was done: ask its successor").into();
        let tickets: Vec<_> = self.pending.keys().copied().collect();
        for ticket in tickets {
            self.settle(ticket, &not_ready);
        }
        loop {
            match self.wire.receive() {
                Received::Request(incoming) => self.wire.reply(&incoming.peer, &not_ready),
                Received::Settled => {}
                Received::Nothing => break,
            }
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Done { ticket, answer } => self.settle(ticket, &answer),
            Event::Drain(timeout) => {
                let until = Instant::now() + timeout;
                self.drain_until = Some(self.drain_until.map_or(until, |earlier| earlier.min(until)));
            }
        }
    }

    /// Answers, queues or refuses a request.
    fn admit(&mut self, incoming: Incoming) {
        let Incoming { peer, request, received } = incoming;
        if let Some(answer) = self.report.answer(request.command) {
            self.wire.reply(&peer, &answer);
            return;
        }
        let content = content_of(&request);
        // Without a run nothing is learnt: to judge again does no harm, and several clients may use the same ids.
        let known = if request.run.is_empty() {
            Known::No
        } else {
            self.replies.look_up(&request.run, request.request_id.as_bytes(), &content)
        };
        match known {
            Known::No => {}
            Known::Answered(answer) => return self.wire.reply(&peer, &answer),
            Known::OtherContent(step) => {
                let fault = Fault::id_used_twice(request.request_id.as_bytes(), &request.run, step);
                return self.wire.reply(&peer, &fault.into());
            }
            Known::InWork(ticket) => {
                if let Some(pending) = self.pending.get_mut(&ticket) {
                    // The oldest has most likely given up: that is why there is a retry.
                    if pending.waiters.len() == MAX_WAITERS {
                        pending.waiters.remove(0);
                    }
                    pending.waiters.push(peer);
                    return;
                }
            }
        }
        if let Err(fault) = self.enqueue(&peer, request, content, received) {
            self.wire.reply(&peer, &fault.into());
        }
    }

    fn enqueue(
        &mut self,
        peer: &Peer,
        request: Request,
        content: [u8; 32],
        received: Instant,
    ) -> Result<(), Fault> {
        if self.board.state() != State::Ready {
            let text =
                format!("the daemon is {}: retry later, or ask its successor", self.board.state().name());
            return Err(Fault::new(Status::NotReady, text));
        }
        let (request_id, run, deadline_ms) =
            (request.request_id.clone(), request.run.clone(), request.deadline_ms);
        let step = request
            .step
            .ok_or_else(|| Fault::new(Status::Malformed, "frame 5 (step) is missing: give the time step"))?;
        let stream = request.options.stream().to_owned();
        let task = task_of(request)?;
        let allowed =
            if deadline_ms == 0 { self.default_deadline } else { Duration::from_millis(deadline_ms.into()) };
        self.n_tickets += 1;
        let ticket = self.n_tickets;
        let job = Job {
            ticket,
            request_id: request_id.as_bytes().to_vec(),
            content,
            received,
            deadline: received + allowed,
            run: run.clone(),
            step,
            stream,
            task,
        };
        if self.queue.is_idle() {
            // The time without progress is counted from when there is work.
            self.board.progress();
        }
        self.queue.push(job).map_err(|(_, full)| {
            let what = match full {
                Full::Jobs => {
                    format!("{} requests wait, as many as may (queue.capacity)", self.queue.n_waiting())
                }
                Full::Bytes => {
                    "the waiting requests hold as many bytes as they may (queue.max_bytes)".to_owned()
                }
            };
            Fault::new(Status::Overloaded, format!("{what}: go on, and retry later"))
        })?;
        if !run.is_empty() {
            self.replies.begin(&run, request_id.as_bytes(), content, step, ticket);
        }
        self.pending.insert(ticket, Pending { waiters: vec![peer.clone()], run, request_id });
        Ok(())
    }

    /// Answers all who wait for a job.
    fn settle(&mut self, ticket: u64, answer: &Answer) {
        // None if it was answered already, at the end of its deadline or of the drain.
        let Some(Pending { waiters, run, request_id }) = self.pending.remove(&ticket) else { return };
        self.replies.end(&run, request_id.as_bytes(), answer);
        if let Some(step) = answer.gone_back_to {
            self.replies.rewind(&run, step, request_id.as_bytes());
        }
        for peer in &waiters {
            self.wire.reply(peer, answer);
        }
    }
}

/// What `request` asks for; its deadline is not part of it.
fn content_of(request: &Request) -> [u8; 32] {
    let step = request.step.map(i64::to_le_bytes);
    let (kind, subject): (&[u8], &[u8]) = match &request.subject {
        Some(anomalyd_proto::Subject::Path(path)) => (b"path", path),
        Some(anomalyd_proto::Subject::Image(bytes)) => (b"image", bytes),
        Some(anomalyd_proto::Subject::Field { bytes, .. }) => (b"field", bytes),
        Some(anomalyd_proto::Subject::Label(label)) => (b"label", label.as_str().as_bytes()),
        None => (b"", b""),
    };
    let step: &[u8] = step.as_ref().map_or(&[], |bytes| bytes);
    // The same bytes may be another field.
    let layout = match &request.subject {
        Some(anomalyd_proto::Subject::Field { shape, dtype, .. }) => format!("{shape:?} {}", dtype.as_str()),
        _ => String::new(),
    };
    let fixed = [request.command.as_str().as_bytes(), step, kind, layout.as_bytes(), subject];
    content(fixed.into_iter().chain(request.options.iter().flat_map(|(key, value)| [key.as_bytes(), value])))
}

fn task_of(request: Request) -> Result<Task, Fault> {
    match (request.command, request.subject) {
        (Command::Rewind, _) => Ok(Task::Rewind),
        (Command::Label, Some(anomalyd_proto::Subject::Label(label))) => Ok(Task::Label(label)),
        (Command::Classify, Some(subject)) => {
            let model = request.options.model().map(str::to_owned);
            let subject = match subject {
                anomalyd_proto::Subject::Path(path) => Subject::Path(path),
                anomalyd_proto::Subject::Image(bytes) => Subject::Image(bytes),
                anomalyd_proto::Subject::Field { bytes, shape, dtype } => {
                    Subject::Field { bytes, shape, dtype }
                }
                anomalyd_proto::Subject::Label(_) => {
                    let text = "frame 6 (subject kind): expected path, image or field";
                    return Err(Fault::new(Status::Malformed, text));
                }
            };
            Ok(Task::Classify { subject, model, wants_heat_map: request.options.wants_heat_map() })
        }
        (command, _) => Err(Fault::new(
            Status::Malformed,
            format!("{command} without a subject: send path, image or field"),
        )),
    }
}

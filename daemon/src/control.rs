//! The control thread: owns the control socket, and never waits for the judgement of an image.

use crate::board::State;
use crate::fault::Fault;
use crate::job::Answer;
use crate::mailbox::{Receiver, Sender};
use crate::report::Report;
use crate::wire::{Incoming, Peer, Received, Wire};
use anomalyd_proto::{Command, Status};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What other threads tell the control thread.
#[derive(Debug)]
pub enum Event {
    /// The models have been read again.
    Reloaded {
        /// Who had asked.
        peer: Peer,
        /// What to answer.
        answer: Answer,
    },
    /// End.
    Stop,
}

/// What the control thread makes others do.
pub trait Operations: Send + Sync + 'static {
    /// Reads the models again; takes as long as it takes.
    fn reload(&self) -> Result<String, Fault>;

    /// Makes the daemon finish what it has and end.
    fn drain(&self);
}

/// The control thread's state.
pub struct Control {
    /// The control socket.
    pub wire: Wire,
    /// From others.
    pub events: Receiver<Event>,
    /// For the thread that reads the models.
    pub own_events: Sender<Event>,
    /// What is told of the daemon.
    pub report: Report,
    /// What others do.
    pub operations: Arc<dyn Operations>,
    /// True while the models are read.
    pub reloading: Arc<AtomicBool>,
}

impl Control {
    /// Serves until told to stop.
    pub fn run(mut self) {
        loop {
            for event in self.events.drain() {
                match event {
                    Event::Reloaded { peer, answer } => self.wire.reply(&peer, &answer),
                    Event::Stop => return,
                }
            }
            loop {
                match self.wire.receive() {
                    Received::Request(incoming) => self.serve(*incoming),
                    Received::Settled => {}
                    Received::Nothing => break,
                }
            }
            let mut items = [self.wire.poll_item(), zmq::PollItem::from_fd(self.events.fd(), zmq::POLLIN)];
            if let Err(error) = zmq::poll(&mut items, 1000)
                && error != zmq::Error::EINTR
            {
                tracing::error!(%error, "the control socket cannot be waited for; this is a bug");
                std::thread::sleep(std::time::Duration::from_secs(1));
            }
        }
    }

    fn serve(&mut self, incoming: Incoming) {
        let Incoming { peer, request, .. } = incoming;
        match request.command {
            Command::Reload => self.start_reload(&peer),
            Command::Drain => {
                let was = self.report.board.state();
                self.operations.drain();
                let text = match was {
                    State::Draining => "draining already".to_owned(),
                    _ => format!(
                        "draining: {} requests are finished first",
                        self.report.queue.n_waiting() + self.report.queue.in_work()
                    ),
                };
                self.wire.reply(&peer, &Answer::done(text));
            }
            command => {
                let answer = self.report.answer(command).unwrap_or_else(|| {
                    Fault::new(
                        Status::Internal,
                        format!("{command} reached the control socket; this is a bug"),
                    )
                    .into()
                });
                self.wire.reply(&peer, &answer);
            }
        }
    }

    /// Reads the models on a thread of its own, so that a health check is answered meanwhile.
    fn start_reload(&self, peer: &Peer) {
        if self.reloading.swap(true, Ordering::SeqCst) {
            let text = "the models are being read already: retry when that is done";
            return self.wire.reply(peer, &Fault::new(Status::Overloaded, text).into());
        }
        let (events, operations, reloading) =
            (self.own_events.clone(), Arc::clone(&self.operations), Arc::clone(&self.reloading));
        let asker = peer.clone();
        let started = std::thread::Builder::new().name("reload".into()).spawn(move || {
            let answer = operations.reload().map_or_else(Answer::from, Answer::done);
            reloading.store(false, Ordering::SeqCst);
            events.send(Event::Reloaded { peer: asker, answer });
        });
        if let Err(error) = started {
            self.reloading.store(false, Ordering::SeqCst);
            let text = format!("no thread to read the models with: {error}; retry later");
            self.wire.reply(peer, &Fault::new(Status::Internal, text).into());
        }
    }
}

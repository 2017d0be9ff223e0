//! A running daemon: threads around sockets that its caller has bound. The binary and the tests start it alike.

use crate::board::{Board, State};
use crate::config::Config;
use crate::control::{self, Control, Operations};
use crate::fault::Fault;
use crate::heat_map_dir::HeatMapDir;
use crate::judge::ImageJudge;
use crate::mailbox::{Sender, mailbox};
use crate::models_store::ModelsStore;
use crate::paths::Roots;
use crate::queue::Queue;
use crate::replies::Replies;
use crate::report::Report;
use crate::run_store::RunStore;
use crate::runs::Runs;
use crate::security::Gate;
use crate::server::{self, Service};
use crate::sockets::{Bound, Lock};
use crate::wire::Wire;
use crate::worker::{self, Judge};
use anomalyd_models::extractor::{ExtractorSource, OwnExtractors, WeightsStore};
use anomalyd_models::online::{OnlineMethod, RunSettings};
use anomalyd_proto::{Instance, Socket};
use anyhow::Context;
use std::collections::HashMap;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;
use tokio::sync::oneshot;

/// A running daemon.
pub struct Daemon {
    /// Counters and state.
    pub board: Arc<Board>,
    /// What waits.
    pub queue: Arc<Queue>,
    levers: Arc<Levers>,
    control_events: Sender<control::Event>,
    service: JoinHandle<()>,
    control: JoinHandle<()>,
    ended: Option<oneshot::Receiver<()>>,
    stall_timeout: Duration,
    // Last: they are given up after the sockets' threads have ended.
    _gate: Option<Gate>,
    _context: zmq::Context,
    _locks: Vec<Lock>,
}

/// What can be made to happen from outside the socket threads.
struct Levers {
    board: Arc<Board>,
    models: Arc<ModelsStore>,
    service_events: Sender<server::Event>,
    drain_timeout: Duration,
}

impl Operations for Levers {
    fn reload(&self) -> Result<String, Fault> {
        self.models.reload()
    }

    fn drain(&self) {
        self.board.set_state(State::Draining);
        self.service_events.send(server::Event::Drain(self.drain_timeout));
    }
}

impl Daemon {
    /// Loads what is needed and starts serving on `bound`.
    ///
    /// - `extractors`: for runs; `None`: those of this process.
    ///
    /// # Errors
    ///
    /// A root that is no directory, a parameter or a device that cannot be used, a model that cannot be loaded.
    pub fn start(
        config: &Config,
        bound: Bound,
        instance: Instance,
        extractors: Option<Arc<dyn ExtractorSource>>,
    ) -> anyhow::Result<Self> {
        let weights = Arc::new(WeightsStore::new(config.weights_dirs.clone()).context("the weights")?);
        let device = config.device;
        let models = ModelsStore::open(
            config.models_dir.clone(),
            config.default_model.clone(),
            Arc::clone(&weights),
            device,
        )?;
        let settings = RunSettings {
            params: config.online.clone(),
            preprocess: config.preprocess,
            extractors: extractors.unwrap_or_else(|| Arc::new(OwnExtractors::new(weights, device))),
            max_streams: config.max_streams,
        };
        let store = config.state_dir.as_deref().map(RunStore::open).transpose()?;
        let runs = Runs::new(config.max_runs, settings, store)?;
        let (models, runs) = (Arc::new(models), Arc::new(runs));
        let judge: Arc<dyn Judge> = Arc::new(ImageJudge {
            roots: Roots::open(&config.roots, config.max_file_bytes)?,
            limits: config.limits,
            runs: Arc::clone(&runs),
            method: match config.online.method {
                OnlineMethod::Forest => "forest",
                OnlineMethod::OneStepAhead => "one_step_ahead",
            },
            models: Arc::clone(&models),
            heat_map_dir: config.heat_map_dir.as_deref().map(HeatMapDir::open).transpose()?,
        });
        let board = Arc::new(Board::new(instance));
        let queue = Arc::new(Queue::new(config.queue_capacity, config.queue_max_bytes));
        let report = Report {
            board: Arc::clone(&board),
            queue: Arc::clone(&queue),
            runs,
            models: Arc::clone(&models),
            n_workers: config.n_workers,
        };
        let (service_events, service_mail) = mailbox()?;
        let (control_events, control_mail) = mailbox()?;
        let levers = Arc::new(Levers {
            board: Arc::clone(&board),
            models,
            service_events: service_events.clone(),
            drain_timeout: config.drain_timeout,
        });
        let Bound { context, service, control, gate, locks, .. } = bound;
        let max_message_bytes = usize::try_from(config.sockets.max_message_bytes)?;
        let service = Service {
            wire: Wire::new(service, Socket::Service, max_message_bytes, Arc::clone(&board)),
            events: service_mail,
            queue: Arc::clone(&queue),
            board: Arc::clone(&board),
            report: report.clone(),
            replies: Replies::new(config.max_runs, config.remembered_replies),
            default_deadline: config.default_deadline,
            pending: HashMap::new(),
            n_tickets: 0,
            drain_until: None,
        };
        let control = Control {
            wire: Wire::new(control, Socket::Control, max_message_bytes, Arc::clone(&board)),
            events: control_mail,
            own_events: control_events.clone(),
            report,
            operations: Arc::clone(&levers) as Arc<dyn Operations>,
            reloading: Arc::default(),
        };
        // Not joined at the end: one may be within a long judgement whose answer nobody will get.
        worker::start(config.n_workers, &judge, &queue, &board, &service_events)?;
        board.set_state(State::Ready);
        let (end, ended) = oneshot::channel();
        let service = Builder::new().name("service".into()).spawn(move || {
            // Dropped, and so told, also by a panic.
            let _end = end;
            service.run();
        })?;
        let control = Builder::new().name("control".into()).spawn(move || control.run())?;
        Ok(Self {
            board,
            queue,
            levers,
            control_events,
            service,
            control,
            ended: Some(ended),
            stall_timeout: config.stall_timeout,
            _gate: gate,
            _context: context,
            _locks: locks,
        })
    }

    /// Lets the daemon finish what it has, within the configured time, and end.
    pub fn drain(&self) {
        self.levers.drain();
    }

    /// Ends the daemon without finishing what waits.
    pub fn end_now(&self) {
        self.board.set_state(State::Draining);
        self.levers.service_events.send(server::Event::Drain(Duration::ZERO));
    }

    /// Reads the models again, on the calling thread.
    ///
    /// # Errors
    ///
    /// A model that cannot be loaded; the one in use stays as it was.
    pub fn reload(&self) -> impl FnOnce() -> Result<String, Fault> + Send + 'static {
        let levers = Arc::clone(&self.levers);
        move || levers.reload()
    }

    /// Waits until the service thread has ended.
    pub async fn ended(&mut self) {
        if let Some(ended) = &mut self.ended {
            // An error is the sender's end, which is what is waited for.
            let _ = ended.await;
            self.ended = None;
        }
    }

    /// False if there is work and none has been begun or done for the stall time-out, or the service thread stands still.
    pub fn makes_progress(&self) -> bool {
        let has_work = !self.queue.is_idle();
        let stalled =
            has_work && self.board.progress_age().unwrap_or_else(|| self.board.uptime()) > self.stall_timeout;
        !stalled && self.board.beat_age() < self.stall_timeout
    }

    /// Stops the control thread after the service thread has ended, and gives up sockets and locks.
    ///
    /// # Errors
    ///
    /// If a socket's thread has panicked; this is a bug.
    pub fn join(self) -> anyhow::Result<()> {
        let service = self.service.join();
        self.control_events.send(control::Event::Stop);
        let control = self.control.join();
        anyhow::ensure!(service.is_ok() && control.is_ok(), "a socket's thread has panicked; this is a bug");
        Ok(())
    }
}

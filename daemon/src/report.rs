//! Answers about the daemon itself, from shared counters: `PING`, `STATUS` and `MODELS` (PROTOCOL.md, 6.4 to 6.6).

use crate::board::Board;
use crate::job::Answer;
use crate::models_store::{ModelSummary, ModelsStore};
use crate::queue::Queue;
use crate::runs::{RunSummary, Runs, Settling};
use anomalyd_proto::Command;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// What the two socket threads tell from.
#[derive(Clone)]
pub struct Report {
    /// Counters.
    pub board: Arc<Board>,
    /// The queue.
    pub queue: Arc<Queue>,
    /// The runs.
    pub runs: Arc<Runs>,
    /// The models.
    pub models: Arc<ModelsStore>,
    /// Configured workers.
    pub n_workers: usize,
}

#[derive(Serialize)]
struct StatusDetail {
    version: &'static str,
    protocol: &'static str,
    instance: String,
    state: &'static str,
    uptime_s: f64,
    queue: QueueDetail,
    workers: WorkersDetail,
    settling: SettlingDetail,
    last_progress_age_s: Option<f64>,
    requests: BTreeMap<u16, u64>,
    unknown_options: u64,
    unanswerable: u64,
    runs: Vec<RunSummary>,
    #[serde(skip_serializing_if = "Option::is_none")]
    not_stored: Option<u64>,
    models: Vec<String>,
}

#[derive(Serialize)]
struct QueueDetail {
    length: usize,
    capacity: usize,
}

#[derive(Serialize)]
struct WorkersDetail {
    configured: usize,
    busy: usize,
    panics: u64,
}

#[derive(Serialize)]
struct SettlingDetail {
    runs: usize,
    #[serde(flatten)]
    so_far: Settling,
}

#[derive(Serialize)]
struct ModelsDetail {
    models: Vec<ModelSummary>,
}

impl Report {
    /// The answer to a command about the daemon; `None` for other commands.
    pub fn answer(&self, command: Command) -> Option<Answer> {
        match command {
            Command::Ping => Some(Answer::done(format!(
                "anomalyd {} is {}",
                env!("CARGO_PKG_VERSION"),
                self.board.state().name()
            ))),
            Command::Status => Some(self.status()),
            Command::Models => {
                let models = self.models.summaries();
                let names: Vec<_> = models.iter().map(|model| model.name.as_str()).collect();
                let text = if names.is_empty() { "no models".to_owned() } else { names.join(", ") };
                Some(Answer::done(text).with_detail(&ModelsDetail { models }))
            }
            _ => None,
        }
    }

    fn status(&self) -> Answer {
        let (board, queue) = (&self.board, &self.queue);
        let detail = StatusDetail {
            version: env!("CARGO_PKG_VERSION"),
            protocol: "ANOM1",
            instance: board.instance.as_str().to_owned(),
            state: board.state().name(),
            uptime_s: board.uptime().as_secs_f64(),
            queue: QueueDetail { length: queue.n_waiting(), capacity: queue.capacity() },
            workers: WorkersDetail {
                configured: self.n_workers,
                busy: queue.in_work(),
                panics: board.panics.load(Ordering::Relaxed),
            },
            settling: SettlingDetail { runs: queue.n_unsettled(), so_far: self.runs.settling() },
            last_progress_age_s: board.progress_age().map(|age| age.as_secs_f64()),
            requests: board.replies(),
            unknown_options: board.unknown_options.load(Ordering::Relaxed),
            unanswerable: board.unanswerable.load(Ordering::Relaxed),
            runs: self.runs.summaries(),
            not_stored: self.runs.n_not_stored(),
            models: self.models.summaries().into_iter().map(|model| model.name).collect(),
        };
        let text = format!(
            "{}: {} of {} requests wait, {} of {} workers are busy, {} runs",
            detail.state,
            detail.queue.length,
            detail.queue.capacity,
            detail.workers.busy,
            detail.workers.configured,
            detail.runs.len()
        );
        Answer::done(text).with_detail(&detail)
    }
}

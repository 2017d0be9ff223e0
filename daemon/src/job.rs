//! What a worker is given and what it gives back.

use crate::fault::Fault;
use anomalyd_proto::{Dtype, Status, TrueLabel, Verdict};
use serde::Serialize;
use std::sync::Arc;
use std::time::Instant;

/// One request that needs a worker.
#[derive(Debug, Clone)]
pub struct Job {
    /// With which the service thread finds whom to answer.
    pub ticket: u64,
    /// The request's id.
    pub request_id: Vec<u8>,
    /// The sum of what is asked, without the deadline.
    pub content: [u8; 32],
    /// When the request was received.
    pub received: Instant,
    /// Work that has not begun by then is not done.
    pub deadline: Instant,
    /// The run's name; empty for a stateless judgement.
    pub run: String,
    /// The time step.
    pub step: i64,
    /// Which of several outputs of the step; empty for the default one.
    pub stream: String,
    /// What to do.
    pub task: Task,
}

/// What to do.
#[derive(Debug, Clone)]
pub enum Task {
    /// Judge an image.
    Classify {
        /// Where the image is.
        subject: Subject,
        /// The option `model`.
        model: Option<String>,
        /// Whether the reply is to have a heat map.
        wants_heat_map: bool,
    },
    /// Forget the images of later steps.
    Rewind,
    /// Take an operator's word for the image of the step.
    Label(TrueLabel),
}

/// Where the image is.
#[derive(Debug, Clone)]
pub enum Subject {
    /// In a file.
    Path(Vec<u8>),
    /// Here, encoded.
    Image(Vec<u8>),
    /// A raw field, here.
    Field {
        /// The values, little-endian, row-major.
        bytes: Vec<u8>,
        /// Extents, slowest first.
        shape: Vec<usize>,
        /// Type of a value.
        dtype: Dtype,
    },
}

impl Job {
    /// The bytes that the job's variable parts hold.
    pub fn n_bytes(&self) -> u64 {
        match &self.task {
            Task::Classify { subject, .. } => match subject {
                Subject::Path(bytes) | Subject::Image(bytes) | Subject::Field { bytes, .. } => {
                    bytes.len() as u64
                }
            },
            Task::Rewind | Task::Label(_) => 0,
        }
    }
}

/// A reply without what only the service thread knows (request id, step, instance).
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// Status.
    pub status: Status,
    /// Verdict; `unknown` unless an image was judged.
    pub verdict: Verdict,
    /// Score, NaN where there is none.
    pub score: f64,
    /// Threshold, NaN where there is none.
    pub threshold: f64,
    /// One line for a person.
    pub text: String,
    /// A JSON object, or empty.
    pub detail: String,
    /// A PNG file, or empty.
    pub heat_map: Arc<[u8]>,
    /// The run is now where it was right after this step: what was answered about later ones no longer holds.
    pub gone_back_to: Option<i64>,
}

impl Answer {
    /// An answer with status 200 that gives no verdict.
    pub fn done(text: impl Into<String>) -> Self {
        Self {
            status: Status::Ok,
            verdict: Verdict::Unknown,
            score: f64::NAN,
            threshold: f64::NAN,
            text: text.into(),
            detail: String::new(),
            heat_map: Arc::default(),
            gone_back_to: None,
        }
    }

    /// Adds `detail` as JSON.
    pub fn with_detail(mut self, detail: &impl Serialize) -> Self {
        // Plain structs and strings: there is nothing in them that JSON cannot hold.
        self.detail = serde_json::to_string(detail).unwrap_or_default();
        self
    }
}

impl From<Fault> for Answer {
    fn from(fault: Fault) -> Self {
        Self { status: fault.status, ..Self::done(fault.text) }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::time::Duration;

    /// A job to classify a file, with an hour to its deadline.
    pub(crate) fn job(run: &str, step: i64) -> Job {
        let received = Instant::now();
        Job {
            ticket: step.unsigned_abs(),
            request_id: step.to_string().into(),
            content: [0; 32],
            received,
            deadline: received + Duration::from_secs(3600),
            run: run.into(),
            step,
            stream: String::new(),
            task: Task::Classify {
                subject: Subject::Path(b"/image.png".to_vec()),
                model: None,
                wants_heat_map: false,
            },
        }
    }

    #[test]
    fn fault_becomes_an_answer_with_its_status_and_no_verdict() {
        let answer = Answer::from(Fault::new(Status::NotFound, "gone"));
        assert_eq!((answer.status, answer.verdict), (Status::NotFound, Verdict::Unknown));
        assert!(answer.score.is_nan() && answer.threshold.is_nan());
    }
}

//! Turns a job into an answer: path to bytes to pixels, judged by a run or a model. The one place where the protocol's
//! values and the models' meet.

use crate::fault::{Fault, escaped};
use crate::heat_map_dir::HeatMapDir;
use crate::instance::hex;
use crate::job::{Answer, Job, Subject, Task};
use crate::models_store::ModelsStore;
use crate::paths::Roots;
use crate::queue::Delayed;
use crate::runs::Runs;
use crate::words::{in_words, in_words_of_label};
use crate::worker::Judge;
use anomalyd_models::image::{
    ByteOrder, Field, FieldLayout, FieldNumber, ImageError, ImageErrorKind, Input, Limits,
};
use anomalyd_models::online::{HeatMap, Truth};
use anomalyd_models::{Error, Evidence, FieldFacts, Judgement, Label};
use anomalyd_proto::{Dtype, Status, TrueLabel, Verdict};
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Judges images.
pub struct ImageJudge {
    /// Where image files may lie.
    pub roots: Roots,
    /// Largest image.
    pub limits: Limits,
    /// The runs.
    pub runs: Arc<Runs>,
    /// How runs judge, as the protocol calls it.
    pub method: &'static str,
    /// The fitted models.
    pub models: Arc<ModelsStore>,
    /// Directory that the heat maps of alarms are written to.
    pub heat_map_dir: Option<HeatMapDir>,
}

/// The JSON detail of a verdict, PROTOCOL.md section 9.
#[derive(Debug, Default, Serialize)]
pub struct Detail {
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    p_value: Option<f64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    evidence: Vec<EvidenceDetail>,
    #[serde(skip_serializing_if = "Option::is_none")]
    false_alarm_rate: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timings_s: Option<Timings>,
    #[serde(skip_serializing_if = "Option::is_none")]
    image: Option<ImageDetail>,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<FieldDetail>,
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<ModelDetail>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pool: Option<PoolDetail>,
    #[serde(rename = "box", skip_serializing_if = "Option::is_none")]
    region: Option<[usize; 4]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    heat_map_file: Option<String>,
    forgot: usize,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    reproducible: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    labelled: Option<Truth>,
    #[serde(skip_serializing_if = "Option::is_none")]
    in_pool: Option<bool>,
}

/// One kind of evidence, as a reply and a line of `replay --json` tell it.
#[derive(Debug, Clone, Serialize)]
pub struct EvidenceDetail {
    kind: &'static str,
    p_value: f64,
    share: f64,
}

impl From<&Evidence> for EvidenceDetail {
    fn from(evidence: &Evidence) -> Self {
        Self { kind: evidence.kind, p_value: evidence.p_value, share: evidence.share }
    }
}

#[derive(Debug, Serialize)]
struct Timings {
    queue: f64,
    read: f64,
    decode: f64,
    settle: f64,
    judge: f64,
    total: f64,
}

#[derive(Debug, Clone, Serialize)]
struct ImageDetail {
    sha256: String,
    rows: usize,
    columns: usize,
}

#[derive(Debug, Serialize)]
struct FieldDetail {
    variables: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    variable: Option<usize>,
    not_finite: usize,
    beyond: f64,
}

#[derive(Debug, Serialize)]
struct ModelDetail {
    name: String,
    sha256: String,
}

#[derive(Debug, Serialize)]
struct PoolDetail {
    size: usize,
    needed: usize,
}

/// An image with what a reply says of it.
struct Taken {
    input: Input,
    detail: ImageDetail,
    read: Duration,
    decode: Duration,
}

impl ImageJudge {
    /// Judges without a run, by a fitted model.
    fn classify_alone(
        &self,
        job: &Job,
        begun: Instant,
        subject: &Subject,
        model: Option<&str>,
        wants_heat_map: bool,
    ) -> Result<Answer, Fault> {
        // A wrong model is told before the image is looked at.
        let model = self.models.find(model)?;
        let taken = take(subject, &self.roots, &self.limits)?;
        let judging = Instant::now();
        let Input::Image(image) = &taken.input else {
            let text = "a fitted model judges images, not raw fields: name the run that the field belongs to";
            return Err(Fault::new(Status::Unsupported, text));
        };
        let (judgement, map) =
            model.pipeline().judge_with_map(image, wants_heat_map).map_err(|error| fault_of(&error))?;
        let map = map.filter(|_| wants_heat_map);
        let heat_map = map.and_then(|map| encoded(&map.heat_map(image))).unwrap_or_default();
        let timings = timings(job, begun, &taken, judging);
        let name = ModelDetail { name: model.name.clone(), sha256: model.sha256().to_owned() };
        let detail =
            Detail { method: Some("model"), model: Some(name), ..detail_of(&judgement, taken, timings) };
        Ok(Answer {
            heat_map: heat_map.into(),
            ..told(job, subject, &judgement, in_words(&judgement), &detail)
        })
    }

    /// Judges within a run.
    fn classify(
        &self,
        job: &Job,
        begun: Instant,
        subject: &Subject,
        wants_heat_map: bool,
    ) -> Result<Answer, Fault> {
        let taken = take(subject, &self.roots, &self.limits)?;
        self.runs.with(job, |run, evicted| {
            let is_first = run.last_step().is_none();
            let goes_back = run.last_step_of(&job.stream).is_some_and(|last| last >= job.step);
            let settling = Instant::now();
            // What a step back forgets need not be settled first.
            let was_settled =
                goes_back || !run.settle_stream(&job.stream).map_err(|error| fault_of(&error))?;
            let settle = if was_settled { Duration::ZERO } else { settling.elapsed() };
            if !was_settled {
                self.runs.count_delayed(Delayed { jobs: 1, time: settle });
            }
            let judging = Instant::now();
            let judgement =
                run.judge_input(&job.stream, job.step, &taken.input).map_err(|error| fault_of(&error))?;
            let is_alarm = judgement.verdict.label == Label::Anomalous;
            let keeps = self.heat_map_dir.as_ref().filter(|_| is_alarm);
            let heat_map = (wants_heat_map || keeps.is_some())
                .then(|| run.heat_map_of(&job.stream, &taken.input))
                .flatten()
                .and_then(|map| encoded(&map))
                .unwrap_or_default();
            let heat_map_file = keeps
                .filter(|_| !heat_map.is_empty())
                .and_then(|dir| dir.keep(&job.run, &job.stream, job.step, &heat_map));
            let timings = Timings { settle: settle.as_secs_f64(), ..timings(job, begun, &taken, judging) };
            let detail =
                Detail { method: Some(self.method), heat_map_file, ..detail_of(&judgement, taken, timings) };
            let mut text = in_words(&judgement);
            if let Some(name) = evicted {
                text.push_str(&format!("; run {name} was forgotten to make room (runs.max_runs)"));
            }
            Ok(Answer {
                heat_map: if wants_heat_map { heat_map.into() } else { Arc::default() },
                // What was said of later steps is of images that are forgotten, or of another run of this name.
                gone_back_to: (is_first || goes_back).then_some(job.step),
                ..told(job, subject, &judgement, text, &detail)
            })
        })
    }

    fn rewind(&self, job: &Job) -> Result<Answer, Fault> {
        let rewound = |forgot: usize, text: String| {
            tracing::info!(forgot, "rewound: {text}");
            let detail = Detail { forgot, ..Detail::default() };
            Answer { gone_back_to: Some(job.step), ..Answer::done(text).with_detail(&detail) }
        };
        let answer = self.runs.with_known(job, |run| {
            let forgot = run.rewind(job.step).map_err(|error| fault_of(&error))?;
            Ok(rewound(forgot, format!("{forgot} images after step {} are forgotten", job.step)))
        })?;
        Ok(answer.unwrap_or_else(|| {
            rewound(0, format!("run {} is not known: there is nothing to forget", job.run))
        }))
    }

    fn label(&self, job: &Job, label: TrueLabel) -> Result<Answer, Fault> {
        let truth = match label {
            TrueLabel::Normal => Truth::Normal,
            TrueLabel::Anomalous => Truth::Anomalous,
        };
        let answer = self.runs.with_known(job, |run| {
            let labelled = run.label(&job.stream, job.step, truth).map_err(|error| fault_of(&error))?;
            let labelled = labelled.ok_or_else(|| {
                let last = run.last_step().map_or("no image".into(), |last| format!("images up to step {last}"));
                let text = format!(
                    "no image of step {} is remembered: the run has {last}, and of old steps only those that raised an alarm",
                    job.step
                );
                Fault::new(Status::NotFound, text)
            })?;
            let text = in_words_of_label(job.step, truth, labelled);
            let text = format!("{text}; pool of {}", run.pool_size());
            tracing::warn!(?truth, forgot = labelled.forgot, "labelled: {text}");
            let detail = Detail {
                forgot: labelled.forgot,
                labelled: Some(truth),
                in_pool: Some(labelled.in_pool),
                ..Detail::default()
            };
            let gone_back_to = (labelled.forgot > 0).then(|| job.step.saturating_sub(1));
            Ok(Answer { gone_back_to, ..Answer::done(text).with_detail(&detail) })
        })?;
        answer.ok_or_else(|| {
            let text = format!("run {} is not known: STATUS names the runs that are", job.run);
            Fault::new(Status::NotFound, text)
        })
    }
}

impl Judge for ImageJudge {
    fn judge(&self, job: &Job) -> Answer {
        let begun = Instant::now();
        let result = match &job.task {
            Task::Classify { subject, model, wants_heat_map } if job.run.is_empty() => {
                self.classify_alone(job, begun, subject, model.as_deref(), *wants_heat_map)
            }
            Task::Classify { subject, wants_heat_map, .. } => {
                self.classify(job, begun, subject, *wants_heat_map)
            }
            Task::Rewind => self.rewind(job),
            Task::Label(label) => self.label(job, *label),
        };
        result.unwrap_or_else(|fault| {
            tracing::warn!(status = fault.status.code(), "refused: {fault}");
            fault.into()
        })
    }

    fn recover(&self, job: &Job) -> String {
        if job.run.is_empty() {
            return "nothing is learnt without a run, so nothing is lost".into();
        }
        // A classification may have gone back first; after that the run has nothing at or after its step.
        let before = match job.task {
            Task::Classify { .. } | Task::Label(_) => job.step.saturating_sub(1),
            Task::Rewind => job.step,
        };
        self.runs.mend(&job.run, before)
    }

    fn is_settled(&self, run: &str) -> bool {
        self.runs.is_settled(run)
    }

    fn settle(&self, run: &str) {
        self.runs.settle(run);
    }

    fn recover_settling(&self, run: &str) -> String {
        self.runs.mend(run, i64::MAX)
    }

    fn delayed(&self, delayed: Delayed) {
        self.runs.count_delayed(delayed);
    }
}

fn take(subject: &Subject, roots: &Roots, limits: &Limits) -> Result<Taken, Fault> {
    let start = Instant::now();
    let (bytes, name): (Cow<'_, [u8]>, _) = match subject {
        Subject::Path(path) => (roots.read(path)?.into(), escaped(path)),
        Subject::Image(bytes) => (bytes.as_slice().into(), "the image sent".to_owned()),
        Subject::Field { bytes, .. } => (bytes.as_slice().into(), "the field sent".to_owned()),
    };
    let sha256 = hex(&Sha256::digest(&bytes));
    let read = start.elapsed();
    let start = Instant::now();
    let input = match subject {
        Subject::Field { bytes, shape, dtype } => {
            let number = match dtype {
                Dtype::F32 => FieldNumber::F32,
                Dtype::F64 => FieldNumber::F64,
            };
            let layout =
                FieldLayout { shape, number, byte_order: ByteOrder::Little, first_is_fastest: false };
            Field::from_bytes(bytes, &layout, limits).map(Input::Field)
        }
        _ => Input::read(&bytes, limits),
    }
    .map_err(|error| image_fault(&error, &name))?;
    let [rows, columns] = input.size();
    Ok(Taken { input, detail: ImageDetail { sha256, rows, columns }, read, decode: start.elapsed() })
}

fn field_detail(input: &Input, facts: Option<FieldFacts>) -> Option<FieldDetail> {
    let Input::Field(field) = input else { return None };
    let FieldFacts { n_not_finite, variable, share_beyond } = facts?;
    Some(FieldDetail {
        variables: field.shape()[0],
        variable,
        not_finite: n_not_finite,
        beyond: share_beyond,
    })
}

fn timings(job: &Job, begun: Instant, taken: &Taken, judging: Instant) -> Timings {
    Timings {
        queue: begun.saturating_duration_since(job.received).as_secs_f64(),
        read: taken.read.as_secs_f64(),
        decode: taken.decode.as_secs_f64(),
        settle: 0.0,
        judge: judging.elapsed().as_secs_f64(),
        total: job.received.elapsed().as_secs_f64(),
    }
}

/// What every judgement has.
fn detail_of(judgement: &Judgement, taken: Taken, timings: Timings) -> Detail {
    Detail {
        p_value: judgement.p_value,
        evidence: judgement.evidence.iter().map(EvidenceDetail::from).collect(),
        false_alarm_rate: judgement.false_alarm_rate,
        timings_s: Some(timings),
        field: field_detail(&taken.input, judgement.field),
        image: Some(taken.detail),
        pool: judgement.pool.map(|pool| PoolDetail { size: pool.size, needed: pool.needed }),
        region: judgement.region,
        forgot: judgement.forgot,
        reproducible: judgement.reproducible,
        labelled: judgement.truth,
        ..Detail::default()
    }
}

/// The answer with a judgement, which the log is told as well.
fn told(job: &Job, subject: &Subject, judgement: &Judgement, text: String, detail: &Detail) -> Answer {
    let verdict = verdict_of(judgement.verdict.label);
    tracing::info!(
        verdict = verdict.as_str(),
        score = judgement.verdict.score,
        threshold = judgement.verdict.threshold,
        image = match subject {
            Subject::Path(path) => escaped(path),
            Subject::Image(bytes) | Subject::Field { bytes, .. } => format!("{} bytes", bytes.len()),
        },
        seconds = job.received.elapsed().as_secs_f64(),
        "judged: {text}"
    );
    Answer {
        verdict,
        score: judgement.verdict.score,
        threshold: judgement.verdict.threshold,
        ..Answer::done(text).with_detail(detail)
    }
}

/// The heat map as a PNG file. A picture that fails does not make a verdict fail: the log says so.
fn encoded(map: &HeatMap) -> Option<Vec<u8>> {
    map.to_png().inspect_err(|error| tracing::warn!(%error, "no heat map")).ok()
}

/// The fault of an image that could not be taken; `name` says which.
fn image_fault(error: &ImageError, name: &str) -> Fault {
    let status = match error.kind() {
        ImageErrorKind::Unsupported | ImageErrorKind::Crop => Status::Unsupported,
        ImageErrorKind::Truncated | ImageErrorKind::Damaged => Status::Undecodable,
        ImageErrorKind::TooLarge => Status::TooLarge,
        _ => Status::Internal,
    };
    Fault::new(status, format!("{name}: {error}"))
}

/// The fault of a judgement that could not be given.
fn fault_of(error: &Error) -> Fault {
    match error {
        Error::Image(error) => image_fault(error, "the image"),
        Error::TooManyStreams { .. } => Fault::new(Status::TooLarge, format!("{error} (runs.max_streams)")),
        Error::Step { .. } => Fault::new(Status::OutOfOrder, error.to_string()),
        Error::Shape { .. } => {
            let text =
                format!("{error}: all images of a run, and those for a model, must have the same dimensions");
            Fault::new(Status::Unsupported, text)
        }
        _ => Fault::new(Status::Internal, error.to_string()),
    }
}

fn verdict_of(label: Label) -> Verdict {
    match label {
        Label::Normal => Verdict::Normal,
        Label::Anomalous => Verdict::Anomalous,
        Label::Unknown => Verdict::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn step_and_shape_errors_have_statuses_of_their_own() {
        let step = Error::Step { step: 3, reason: "forgotten".into() };
        assert_eq!(fault_of(&step).status, Status::OutOfOrder);
        let shape = Error::Shape { what: "image", wanted: "2 x 2".into(), found: "3 x 3".into() };
        assert_eq!(fault_of(&shape).status, Status::Unsupported);
    }

    #[test]
    fn text_file_is_unsupported_and_a_cut_png_undecodable() {
        let kind = |bytes: &[u8]| {
            let error = Input::read(bytes, &Limits::default()).unwrap_err();
            image_fault(&error, "x").status
        };
        assert_eq!(kind(b"this is no image at all"), Status::Unsupported);
        assert_eq!(kind(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"), Status::Undecodable);
    }
}

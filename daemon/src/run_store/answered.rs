//! What was answered to the newest requests of a run, as it is stored with it: a client whose daemon was killed before the reply
//! came asks again with the same request id, and is to get the same verdict.

use crate::fault::Fault;
use crate::instance::hex;
use crate::job::{Answer, Job};
use anomalyd_models::online::ListChange;
use anomalyd_proto::{Status, Verdict};
use serde::{Deserialize, Serialize};

/// Requests of a run that are remembered over a restart. A client has one in flight, so this is for as many clients.
const MAX_ANSWERED: usize = 16;

/// The newest requests and their answers, the oldest first.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Answered(Vec<AnsweredRequest>);

/// What has changed in them.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct AnsweredChange(ListChange<AnsweredRequest>);

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct AnsweredRequest {
    /// Request id and content, in hex.
    id: String,
    content: String,
    step: i64,
    verdict: String,
    /// The bits of the numbers: JSON has no NaN.
    score: u64,
    threshold: u64,
    text: String,
    detail: String,
}

impl Answered {
    /// What was answered to this very request.
    ///
    /// # Errors
    ///
    /// If its id was that of another one.
    pub fn find(&self, job: &Job) -> Result<Option<Answer>, Fault> {
        let id = hex(&job.request_id);
        let Some(known) = self.0.iter().find(|request| request.id == id) else { return Ok(None) };
        if known.content != hex(&job.content) {
            return Err(Fault::id_used_twice(&job.request_id, &job.run, known.step));
        }
        let answer = Answer {
            verdict: Verdict::from_bytes(known.verdict.as_bytes()).unwrap_or(Verdict::Unknown),
            score: f64::from_bits(known.score),
            threshold: f64::from_bits(known.threshold),
            detail: known.detail.clone(),
            ..Answer::done(known.text.clone())
        };
        Ok(Some(answer))
    }

    /// Remembers an answer, without its heat map. One that has gone back makes those about later steps void.
    pub fn remember(&mut self, job: &Job, answer: &Answer) {
        if answer.status != Status::Ok {
            return;
        }
        if let Some(step) = answer.gone_back_to {
            self.0.retain(|request| request.step <= step);
        }
        if self.0.len() >= MAX_ANSWERED {
            self.0.remove(0);
        }
        self.0.push(AnsweredRequest {
            id: hex(&job.request_id),
            content: hex(&job.content),
            step: job.step,
            verdict: answer.verdict.as_str().to_owned(),
            score: answer.score.to_bits(),
            threshold: answer.threshold.to_bits(),
            text: answer.text.clone(),
            detail: answer.detail.clone(),
        });
    }

    /// What has changed since `before`.
    pub(super) fn change_since(&self, before: &Self) -> AnsweredChange {
        AnsweredChange(ListChange::between(&before.0, &self.0))
    }

    /// Makes these the later ones.
    ///
    /// # Errors
    ///
    /// If the change is not one of these.
    pub(super) fn apply(&mut self, change: AnsweredChange) -> anomalyd_models::Result<()> {
        change.0.apply(&mut self.0)
    }

    /// Forgets the answers about images of this and later steps, which could not be read.
    pub fn forget_from(&mut self, step: i64) {
        self.0.retain(|request| request.step < step);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::tests::job;

    fn request(id: &[u8], step: i64) -> Job {
        Job { request_id: id.to_vec(), ..job("run", step) }
    }

    #[test]
    fn same_request_is_answered_alike_to_the_bit_and_over_json() {
        let mut answered = Answered::default();
        let answer = Answer {
            verdict: Verdict::Anomalous,
            score: 0.1 + 0.2,
            detail: "{\"p_value\":1e-7}".into(),
            heat_map: [1].into(),
            ..Answer::done("words")
        };
        answered.remember(&request(b"\xff1", 5), &answer);
        answered.remember(&request(b"2", 6), &Answer { score: f64::NEG_INFINITY, ..Answer::done("x") });
        let text = serde_json::to_string(&answered).unwrap();
        let answered: Answered = serde_json::from_str(&text).unwrap();
        let found = answered.find(&request(b"\xff1", 5)).unwrap().unwrap();
        assert_eq!(found.score.to_bits(), answer.score.to_bits());
        assert!(found.threshold.is_nan());
        assert_eq!(
            (found.verdict, &found.text, &found.detail),
            (answer.verdict, &answer.text, &answer.detail)
        );
        assert_eq!(answered.find(&request(b"3", 6)), Ok(None));
        let other = Job { content: [1; 32], ..request(b"2", 7) };
        assert!(answered.find(&other).unwrap_err().text.contains("step 6"));
    }

    #[test]
    fn answers_about_forgotten_steps_are_void_and_their_number_is_bounded() {
        let mut answered = Answered::default();
        for step in 0..30u8 {
            answered.remember(&request(&[step], step.into()), &Answer::done("x"));
        }
        let known =
            |answered: &Answered, step: u8| answered.find(&request(&[step], step.into())).unwrap().is_some();
        assert_eq!([13, 14, 29].map(|step| known(&answered, step)), [false, true, true]);
        answered.remember(&request(b"back", 20), &Answer { gone_back_to: Some(20), ..Answer::done("x") });
        assert_eq!([20, 21].map(|step| known(&answered, step)), [true, false]);
        assert!(answered.find(&request(b"back", 20)).unwrap().is_some());
        answered.forget_from(20);
        assert_eq!([19, 20].map(|step| known(&answered, step)), [true, false]);
        let fault = Fault::new(Status::Undecodable, "truncated").into();
        answered.remember(&request(b"bad", 21), &fault);
        assert_eq!(answered.find(&request(b"bad", 21)), Ok(None), "what failed is done again");
    }
}

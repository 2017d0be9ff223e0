//! What was answered to the newest requests of each run, so that a retry is answered and not done again.

use crate::job::Answer;
use sha2::{Digest, Sha256};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// Newest replies of a run that are remembered with their heat maps: a retry comes soon.
const HEAT_MAPS_KEPT: usize = 4;

/// Requests in work and replies given, by run and request id.
#[derive(Debug)]
pub struct Replies {
    runs: HashMap<String, RunReplies>,
    max_runs: usize,
    per_run: usize,
    clock: u64,
}

#[derive(Debug, Default)]
struct RunReplies {
    entries: HashMap<Vec<u8>, Entry>,
    /// Ids of the requests answered, the oldest first.
    answered: VecDeque<Vec<u8>>,
    used: u64,
}

#[derive(Debug)]
struct Entry {
    content: [u8; 32],
    step: i64,
    state: EntryState,
}

#[derive(Debug)]
enum EntryState {
    InWork(u64),
    Answered(Box<Answer>),
}

/// What is known of a request that has just come.
#[derive(Debug, PartialEq)]
pub enum Known {
    /// Nothing: do it.
    No,
    /// It is queued or in work under this ticket.
    InWork(u64),
    /// It was done.
    Answered(Answer),
    /// The id was used for another request, about this step.
    OtherContent(i64),
}

/// What a request asks for, without its deadline, which a retry may change.
pub fn content<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

impl Replies {
    /// Remembers `per_run` replies of `max_runs` runs.
    pub fn new(max_runs: usize, per_run: usize) -> Self {
        Self { runs: HashMap::new(), max_runs, per_run, clock: 0 }
    }

    /// Looks a request up.
    pub fn look_up(&self, run: &str, id: &[u8], content: &[u8; 32]) -> Known {
        match self.runs.get(run).and_then(|replies| replies.entries.get(id)) {
            None => Known::No,
            Some(entry) if entry.content != *content => Known::OtherContent(entry.step),
            Some(Entry { state: EntryState::InWork(ticket), .. }) => Known::InWork(*ticket),
            Some(Entry { state: EntryState::Answered(answer), .. }) => Known::Answered((**answer).clone()),
        }
    }

    /// Tells that a request is queued under `ticket`.
    pub fn begin(&mut self, run: &str, id: &[u8], content: [u8; 32], step: i64, ticket: u64) {
        self.clock += 1;
        if !self.runs.contains_key(run) && self.runs.len() >= self.max_runs {
            let idle =
                self.runs.iter().filter(|(_, replies)| replies.entries.len() == replies.answered.len());
            if let Some(oldest) = idle.min_by_key(|(_, replies)| replies.used).map(|(name, _)| name.clone()) {
                self.runs.remove(&oldest);
            }
        }
        let replies = self.runs.entry(run.to_owned()).or_default();
        replies.used = self.clock;
        replies.entries.insert(id.to_vec(), Entry { content, step, state: EntryState::InWork(ticket) });
    }

    /// Tells what a request was answered. Only what was done is remembered: a request that failed has changed nothing, and
    /// its retry may succeed.
    ///
    /// Heat maps are large: the newest few of a run are kept, and later retries are answered without.
    pub fn end(&mut self, run: &str, id: &[u8], answer: &Answer) {
        let per_run = self.per_run;
        let Some(replies) = self.runs.get_mut(run) else { return };
        if answer.status != anomalyd_proto::Status::Ok {
            replies.entries.remove(id);
            return;
        }
        let Some(entry) = replies.entries.get_mut(id) else { return };
        entry.state = EntryState::Answered(Box::new(answer.clone()));
        replies.answered.push_back(id.to_vec());
        let older = replies.answered.iter().rev().nth(HEAT_MAPS_KEPT);
        if let Some(Entry { state: EntryState::Answered(answer), .. }) =
            older.and_then(|id| replies.entries.get_mut(id))
        {
            answer.heat_map = Arc::default();
        }
        if replies.answered.len() > per_run
            && let Some(oldest) = replies.answered.pop_front()
        {
            replies.entries.remove(&oldest);
        }
    }

    /// Forgets the replies about later steps than `step`, but for that to the request `id`: the run has gone back, and a
    /// client that numbers its requests by step means a new judgement.
    pub fn rewind(&mut self, run: &str, step: i64, id: &[u8]) {
        let Some(replies) = self.runs.get_mut(run) else { return };
        let RunReplies { entries, answered, .. } = replies;
        answered.retain(|answered_id| {
            let stays = answered_id == id || entries.get(answered_id).is_some_and(|entry| entry.step <= step);
            if !stays {
                entries.remove(answered_id);
            }
            stays
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::Fault;
    use anomalyd_proto::Status;

    const CONTENT: [u8; 32] = [1; 32];

    fn answered(replies: &mut Replies, run: &str, id: &[u8], step: i64) {
        replies.begin(run, id, CONTENT, step, 7);
        replies.end(run, id, &Answer::done(format!("step {step}")));
    }

    #[test]
    fn retry_is_attached_while_in_work_and_answered_alike_afterwards() {
        let mut replies = Replies::new(4, 64);
        assert_eq!(replies.look_up("a", b"1", &CONTENT), Known::No);
        replies.begin("a", b"1", CONTENT, 5, 7);
        assert_eq!(replies.look_up("a", b"1", &CONTENT), Known::InWork(7));
        assert_eq!(replies.look_up("b", b"1", &CONTENT), Known::No, "another run's");
        let mut answer = Answer::done("x");
        (answer.score, answer.threshold) = (1.0, 2.0);
        replies.end("a", b"1", &answer);
        assert_eq!(replies.look_up("a", b"1", &CONTENT), Known::Answered(answer));
    }

    #[test]
    fn only_the_newest_heat_maps_are_kept() {
        let mut replies = Replies::new(4, 64);
        for step in 0..10u8 {
            replies.begin("a", &[step], CONTENT, step.into(), 7);
            replies.end("a", &[step], &Answer { heat_map: [step].into(), ..Answer::done("x") });
        }
        for step in 0..10u8 {
            let Known::Answered(answer) = replies.look_up("a", &[step], &CONTENT) else { panic!("{step}") };
            assert_eq!(!answer.heat_map.is_empty(), step >= 6, "{step}");
        }
    }

    #[test]
    fn failed_request_is_done_again() {
        let mut replies = Replies::new(4, 64);
        replies.begin("a", b"1", CONTENT, 5, 7);
        replies.end("a", b"1", &Fault::new(Status::Undecodable, "truncated").into());
        assert_eq!(replies.look_up("a", b"1", &CONTENT), Known::No);
    }

    #[test]
    fn id_used_for_another_request_is_told() {
        let mut replies = Replies::new(4, 64);
        answered(&mut replies, "a", b"1", 5);
        assert_eq!(replies.look_up("a", b"1", &[2; 32]), Known::OtherContent(5));
    }

    #[test]
    fn last_replies_of_a_run_are_remembered_and_older_ones_forgotten() {
        let mut replies = Replies::new(4, 64);
        for step in 0..65 {
            answered(&mut replies, "a", step.to_string().as_bytes(), step);
        }
        assert_eq!(replies.look_up("a", b"0", &CONTENT), Known::No);
        for step in 1..65 {
            assert!(matches!(
                replies.look_up("a", step.to_string().as_bytes(), &CONTENT),
                Known::Answered(_)
            ));
        }
    }

    #[test]
    fn rewind_forgets_the_replies_about_later_steps() {
        let mut replies = Replies::new(4, 64);
        for step in 0..5 {
            answered(&mut replies, "a", step.to_string().as_bytes(), step);
        }
        answered(&mut replies, "a", b"back", 2);
        replies.begin("a", b"in work", CONTENT, 9, 8);
        replies.rewind("a", 2, b"back");
        let known = |id: &[u8]| replies.look_up("a", id, &CONTENT) != Known::No;
        assert_eq!([b"0", b"1", b"2", b"3", b"4"].map(|id| known(id)), [true, true, true, false, false]);
        assert!(known(b"back") && known(b"in work"));
    }

    #[test]
    fn run_used_least_recently_gives_way_unless_it_is_in_work() {
        let mut replies = Replies::new(2, 64);
        replies.begin("a", b"1", CONTENT, 1, 7);
        answered(&mut replies, "b", b"1", 1);
        answered(&mut replies, "c", b"1", 1);
        assert_eq!(replies.look_up("a", b"1", &CONTENT), Known::InWork(7));
        assert_eq!(replies.look_up("b", b"1", &CONTENT), Known::No);
        assert!(matches!(replies.look_up("c", b"1", &CONTENT), Known::Answered(_)));
    }

    #[test]
    fn content_tells_the_same_bytes_in_other_parts_apart() {
        assert_ne!(content([&b"ab"[..], b"c"]), content([&b"a"[..], b"bc"]));
    }
}

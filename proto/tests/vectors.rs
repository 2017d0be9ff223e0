//! Holds the crate to vectors.txt, which the clients are held to as well.

#![allow(clippy::unwrap_used, reason = "the helpers of the tests unwrap as the tests do")]

mod support;

use anomalyd_proto::{
    Command, Dtype, Instance, Options, Reply, Request, RequestId, Status, Subject, TrueLabel, Verdict,
};
use support::{Vector, vectors};

/// The request that the meaning lines of a vector describe.
fn request_of(vector: &Vector) -> Request {
    let options: Options = vector
        .options
        .iter()
        .map(|option| {
            let equals_idx = option.iter().position(|&byte| byte == b'=').unwrap();
            (String::from_utf8(option[..equals_idx].to_vec()).unwrap(), option[equals_idx + 1..].to_vec())
        })
        .collect();
    let subject = match vector.word("kind") {
        "-" => None,
        "path" => Some(Subject::Path(vector.hex("subject").to_vec())),
        "image" => Some(Subject::Image(vector.hex("subject").to_vec())),
        "field" => Some(Subject::Field {
            bytes: vector.hex("subject").to_vec(),
            shape: vector.word("shape").split('x').map(|extent| extent.parse().unwrap()).collect(),
            dtype: if vector.word("dtype") == "f32" { Dtype::F32 } else { Dtype::F64 },
        }),
        "label" => Some(Subject::Label(TrueLabel::from_bytes(vector.hex("subject")).unwrap())),
        kind => panic!("vector {} has the kind {kind}", vector.name),
    };
    Request {
        command: Command::from_bytes(vector.word("command").as_bytes()).unwrap(),
        request_id: RequestId::new(vector.hex("request_id")).unwrap(),
        deadline_ms: vector.word("deadline_ms").parse().unwrap(),
        run: String::from_utf8(vector.hex("run").to_vec()).unwrap(),
        step: vector.step(),
        subject,
        options,
    }
}

/// The reply that the meaning lines of a vector describe.
fn reply_of(vector: &Vector) -> Reply {
    let text_of = |key: &str| String::from_utf8(vector.hex(key).to_vec()).unwrap();
    Reply {
        request_id: RequestId::new(vector.hex("request_id")),
        status: Status::try_from(vector.word("status").parse::<u16>().unwrap()).unwrap(),
        verdict: Verdict::from_bytes(vector.word("verdict").as_bytes()).unwrap(),
        score: vector.word("score").parse().unwrap(),
        threshold: vector.word("threshold").parse().unwrap(),
        step: vector.step(),
        instance: Instance::new(text_of("instance")).unwrap(),
        text: text_of("text"),
        detail: vector.hex("detail").to_vec(),
        heat_map: vector.hex("heat_map").to_vec(),
    }
}

#[test]
fn there_are_enough_vectors_of_each_sort() {
    let count = |is_request: bool, is_ok: bool| {
        vectors()
            .iter()
            .filter(|vector| vector.is_request == is_request && (vector.expect == "ok") == is_ok)
            .count()
    };
    assert!(count(true, true) >= 50 && count(true, false) >= 80);
    assert!(count(false, true) >= 45 && count(false, false) >= 40);
}

#[test]
fn good_requests_have_the_stated_meaning() {
    for vector in vectors().iter().filter(|vector| vector.is_request && vector.expect == "ok") {
        let request = Request::decode(&vector.frames, vector.max_message_bytes)
            .unwrap_or_else(|error| panic!("{}: {error}", vector.name));
        assert_eq!(request, request_of(vector), "{}", vector.name);
        assert_eq!(
            request.options.n_ignored().to_string(),
            vector.word("ignored_options"),
            "{}",
            vector.name
        );
        let peek = Request::peek(&vector.frames);
        assert_eq!(peek.request_id.as_ref(), Some(&request.request_id), "{}", vector.name);
        assert_eq!((peek.command, peek.step), (Some(request.command), request.step), "{}", vector.name);
    }
}

#[test]
fn meanings_of_requests_have_the_stated_frames() {
    for vector in vectors().iter().filter(|vector| vector.is_request && vector.expect == "ok") {
        let frames = request_of(vector).encode().unwrap_or_else(|error| panic!("{}: {error}", vector.name));
        assert_eq!(frames == vector.frames, vector.word("roundtrip") == "yes", "{}", vector.name);
        // However it was written, it is read as the same.
        let again = Request::decode(&frames, vector.max_message_bytes).unwrap();
        assert_eq!(again, request_of(vector), "{}", vector.name);
    }
}

#[test]
fn bad_requests_get_the_stated_status_and_can_be_answered() {
    for vector in vectors().iter().filter(|vector| vector.is_request && vector.expect != "ok") {
        let error = Request::decode(&vector.frames, vector.max_message_bytes)
            .expect_err(&format!("{} is a bad request", vector.name));
        assert_eq!(error.status().code().to_string(), vector.expect, "{}: {error}", vector.name);
        let words = error.to_string();
        assert!(words.contains("expected") && words.contains("found"), "{}: {words}", vector.name);
        assert!(words.len() < 400 && words.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{words}");
        let peek = Request::peek(&vector.frames);
        assert_eq!(peek.request_id, RequestId::new(vector.hex("request_id")), "{}", vector.name);
        assert_eq!(peek.step, vector.step(), "{}", vector.name);
    }
}

#[test]
fn good_replies_have_the_stated_meaning() {
    for vector in vectors().iter().filter(|vector| !vector.is_request && vector.expect == "ok") {
        let reply = Reply::decode(&vector.frames).unwrap_or_else(|error| panic!("{}: {error}", vector.name));
        let meant = reply_of(vector);
        // Debug tells NaN and minus zero apart as PartialEq would not.
        assert_eq!(format!("{reply:?}"), format!("{meant:?}"), "{}", vector.name);
        assert_eq!(
            vector.frames.len().saturating_sub(11).to_string(),
            vector.word("extra_frames"),
            "{}",
            vector.name
        );
    }
}

#[test]
fn meanings_of_replies_have_the_stated_frames() {
    for vector in vectors().iter().filter(|vector| !vector.is_request && vector.expect == "ok") {
        let frames = reply_of(vector).encode();
        assert_eq!(frames == vector.frames, vector.word("roundtrip") == "yes", "{}", vector.name);
    }
}

#[test]
fn bad_replies_give_no_verdict() {
    for vector in vectors().iter().filter(|vector| !vector.is_request && vector.expect == "bad") {
        let error = Reply::decode(&vector.frames).expect_err(&vector.name).to_string();
        assert!(error.contains("expected") && error.contains("found"), "{}: {error}", vector.name);
    }
}

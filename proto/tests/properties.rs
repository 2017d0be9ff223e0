//! Laws that hold for every message: what is written is read, and no bytes whatever make a decoder panic.

#![allow(clippy::unwrap_used, reason = "the strategies unwrap as the tests do")]

use anomalyd_proto::*;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

const MAX_MESSAGE_BYTES: usize = 200_000;

fn request_id() -> impl Strategy<Value = RequestId> {
    vec(any::<u8>(), 1..=MAX_REQUEST_ID_BYTES).prop_map(|bytes| RequestId::new(bytes).unwrap())
}

fn run_name(shortest: usize) -> impl Strategy<Value = String> {
    let allowed = b"ABCXYZabcxyz0189-_.:".map(char::from).to_vec();
    vec(select(allowed), shortest..=MAX_RUN_BYTES).prop_map(|name| name.into_iter().collect())
}

fn path() -> impl Strategy<Value = Subject> {
    vec(1u8.., 0..MAX_PATH_BYTES).prop_map(|mut rest| {
        rest.insert(0, b'/');
        Subject::Path(rest)
    })
}

fn field() -> impl Strategy<Value = Subject> {
    (vec(1usize..6, 1..=4), select(vec![Dtype::F32, Dtype::F64]), any::<u8>()).prop_map(
        |(shape, dtype, byte)| {
            let n_values: usize = shape.iter().product();
            Subject::Field { bytes: vec![byte; n_values * dtype.n_bytes()], shape, dtype }
        },
    )
}

/// At most six options, so that a field's two also fit into the frames; `model` and `want` at most once.
fn options() -> impl Strategy<Value = Options> {
    let unknown = vec(("x[a-z0-9_]{0,31}", vec(any::<u8>(), 0..40)), 0..=4);
    let want = select(vec![&b"heatmap"[..], b"hologram", b""]);
    (unknown, proptest::option::of(run_name(1)), proptest::option::of(want)).prop_map(
        |(unknown, model, want)| {
            let mut options: Options = unknown.into_iter().collect();
            if let Some(name) = model {
                options.push("model", name);
            }
            if let Some(wish) = want {
                options.push("want", wish);
            }
            options
        },
    )
}

fn request() -> impl Strategy<Value = Request> {
    let image = vec(any::<u8>(), 1..300).prop_map(Subject::Image);
    let label = select(vec![TrueLabel::Normal, TrueLabel::Anomalous]);
    let command = select(Command::ALL.to_vec());
    let subject = prop_oneof![path(), image, field()];
    (
        (command, subject, label),
        request_id(),
        0..=MAX_DEADLINE_MS,
        (run_name(0), run_name(1)),
        any::<i64>(),
        options(),
    )
        .prop_map(
            |((command, subject, label), request_id, deadline_ms, (any_run, run), step, options)| Request {
                command,
                request_id,
                deadline_ms,
                run: match command {
                    Command::Classify => any_run,
                    Command::Rewind | Command::Label => run,
                    _ => String::new(),
                },
                step: command.has_step().then_some(step),
                subject: match command {
                    Command::Classify => Some(subject),
                    Command::Label => Some(Subject::Label(label)),
                    _ => None,
                },
                options,
            },
        )
}

fn reply() -> impl Strategy<Value = Reply> {
    let score = || any::<u64>().prop_map(f64::from_bits);
    (
        (proptest::option::of(request_id()), select(Status::ALL.to_vec()), select(Verdict::ALL.to_vec())),
        (score(), score(), proptest::option::of(any::<i64>())),
        "[!-~]{1,64}",
        vec(any::<char>(), 0..1500),
        (vec(any::<u8>(), 0..50), vec(any::<u8>(), 0..50)),
    )
        .prop_map(
            |((id, status, verdict), (score, threshold, step), instance, text, (detail, heat_map))| {
                let mut reply = Reply::new(id, step, status, Instance::new(instance).unwrap());
                (reply.verdict, reply.score, reply.threshold) = (verdict, score, threshold);
                (reply.detail, reply.heat_map) = (detail, heat_map);
                reply.text = text.into_iter().collect();
                reply
            },
        )
}

/// Frames that get past the first checks as often as not.
fn hostile_frames() -> impl Strategy<Value = Vec<Vec<u8>>> {
    const WORDS: [&[u8]; 26] = [
        b"ANOM1",
        b"CLASSIFY",
        b"REWIND",
        b"LABEL",
        b"PING",
        b"7",
        b"-7",
        b"5000",
        b"run_a",
        b"path",
        b"image",
        b"field",
        b"label",
        b"/a.png",
        b"normal",
        b"shape=2x2",
        b"dtype=f32",
        b"dtype=f64",
        b"model=m",
        b"want=heatmap",
        b"200",
        b"nan",
        b"0.5",
        b"",
        b"9223372036854775808",
        b"shape=999999999x999999999x999999999x999999999",
    ];
    let word = select(WORDS.to_vec()).prop_map(<[u8]>::to_vec);
    vec(prop_oneof![3 => word, 1 => vec(any::<u8>(), 0..80)], 0..20)
}

proptest! {
    #[test]
    fn requests_come_back_as_they_went(request in request()) {
        let frames = request.encode().unwrap();
        prop_assert_eq!(&Request::decode(&frames, MAX_MESSAGE_BYTES).unwrap(), &request);
        let peek = Request::peek(&frames);
        prop_assert_eq!((peek.request_id, peek.command, peek.step), (Some(request.request_id), Some(request.command), request.step));
    }

    #[test]
    fn replies_come_back_as_they_went(reply in reply()) {
        let frames = reply.encode();
        prop_assert!(frames[8].len() <= MAX_TEXT_BYTES);
        prop_assert!(!std::str::from_utf8(&frames[8]).unwrap().contains(char::is_control));
        let again = Reply::decode(&frames).unwrap();
        prop_assert_eq!(again.encode(), frames);
        prop_assert_eq!((again.request_id, again.status, again.verdict, again.step), (reply.request_id, reply.status, reply.verdict, reply.step));
        for (read, written) in [(again.score, reply.score), (again.threshold, reply.threshold)] {
            prop_assert!(read.to_bits() == written.to_bits() || read.is_nan() && written.is_nan());
        }
    }

    #[test]
    fn numbers_are_written_with_the_fewest_digits(bits in any::<u64>()) {
        let number = f64::from_bits(bits);
        let text = format_number(number);
        prop_assert!(text.len() <= 25);
        let read = parse_number(text.as_bytes()).unwrap();
        prop_assert!(read.to_bits() == bits || number.is_nan() && read.is_nan());
        if number.is_finite() {
            let digits = |text: &str| {
                let mantissa: String = text.split('e').next().unwrap().chars().filter(char::is_ascii_digit).collect();
                mantissa.trim_matches('0').len()
            };
            prop_assert_eq!(digits(&text), digits(&format!("{number:e}")));
        }
    }

    #[test]
    fn arbitrary_frames_are_refused_without_a_panic(frames in hostile_frames()) {
        if let Err(error) = Request::decode(&frames, MAX_MESSAGE_BYTES) {
            prop_assert!([400, 413, 505].contains(&error.status().code()));
        }
        let _ = Request::peek(&frames);
        let _ = Reply::decode(&frames);
        let _ = split_envelope(frames);
    }

    #[test]
    fn one_changed_byte_is_refused_or_read_as_what_can_be_written(
        request in request(), frame_idx in any::<Index>(), byte_idx in any::<Index>(), byte in any::<u8>(),
    ) {
        let mut frames = request.encode().unwrap();
        let frame = &mut frames[frame_idx.index(request.encode().unwrap().len())];
        if !frame.is_empty() {
            let at = byte_idx.index(frame.len());
            frame[at] = byte;
        }
        if let Ok(read) = Request::decode(&frames, MAX_MESSAGE_BYTES) {
            let again = read.encode().unwrap();
            prop_assert_eq!(Request::decode(&again, MAX_MESSAGE_BYTES).unwrap(), read);
        }
    }

    #[test]
    fn arbitrary_replies_with_one_changed_byte_do_not_panic(
        reply in reply(), frame_idx in any::<Index>(), byte_idx in any::<Index>(), byte in any::<u8>(),
    ) {
        let mut frames = reply.encode();
        let n_frames = frames.len();
        let frame = &mut frames[frame_idx.index(n_frames)];
        if !frame.is_empty() {
            let at = byte_idx.index(frame.len());
            frame[at] = byte;
        }
        if let Ok(read) = Reply::decode(&frames) {
            prop_assert!(Reply::decode(&read.encode()).is_ok());
        }
    }

    #[test]
    fn endpoint_files_of_any_bytes_are_refused_without_a_panic(content in vec(any::<u8>(), 0..400)) {
        prop_assert!(EndpointFile::parse(&content).is_err());
    }
}

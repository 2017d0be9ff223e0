//! A request: what a client asks of the daemon.

use crate::command::Command;
use crate::error::{DecodeError, excerpt};
use crate::frames::{Frame, VERSION};
use crate::identity::{RequestId, is_run_char};
use crate::limits::{
    MAX_DEADLINE_MS, MAX_PATH_BYTES, MAX_REQUEST_FRAMES, MAX_REQUEST_ID_BYTES, MAX_RUN_BYTES,
    MAX_SHORT_REQUEST_BYTES,
};
use crate::options::{Options, check_options, read_option};
use crate::verdict::TrueLabel;

/// A request without its envelope (PROTOCOL.md, section 5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// What is asked for.
    pub command: Command,
    /// Told back in the reply; kept by a retry.
    pub request_id: RequestId,
    /// Milliseconds from receipt after which the work is not begun, at most [`MAX_DEADLINE_MS`]; 0: the daemon's default.
    pub deadline_ms: u32,
    /// Name of the run; empty: no run. Empty for commands without a step.
    pub run: String,
    /// Time step; None for commands without one.
    pub step: Option<i64>,
    /// What is judged or labelled; None for all commands but `CLASSIFY` and `LABEL`.
    pub subject: Option<Subject>,
    /// Further wishes.
    pub options: Options,
}

/// Frames 6 and 7 of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// Absolute path of an image file as the daemon sees it: 1 to 4096 bytes, no NUL, not always UTF-8.
    Path(Vec<u8>),
    /// The bytes of an encoded image.
    Image(Vec<u8>),
    /// A raw array.
    Field {
        /// The values, little-endian, row-major.
        bytes: Vec<u8>,
        /// One to four extents, each at least 1, slowest first; their product times the size of `dtype` is the length of
        /// `bytes`.
        shape: Vec<usize>,
        /// Type of a value.
        dtype: Dtype,
    },
    /// The truth about the image of the step; with `LABEL` only.
    Label(TrueLabel),
}

/// Type of the values of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dtype {
    /// IEEE 754, 32 bits.
    F32,
    /// IEEE 754, 64 bits.
    F64,
}

impl Dtype {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Dtype::F32 => "f32",
            Dtype::F64 => "f64",
        }
    }

    /// Bytes of one value.
    pub fn n_bytes(self) -> usize {
        match self {
            Dtype::F32 => 4,
            Dtype::F64 => 8,
        }
    }
}

/// What an answer to a request needs, as far as it can be read, even of a request that is refused.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Peek {
    /// Frame 2, if it has 1 to 64 bytes; its meaning is the same in every version.
    pub request_id: Option<RequestId>,
    /// Frame 1, if the version is known and it is a command.
    pub command: Option<Command>,
    /// Frame 5, if the command has a step and it is one.
    pub step: Option<i64>,
}

/// A request that has been checked, its bytes still in the frames.
struct Parsed<'a> {
    command: Command,
    request_id: &'a [u8],
    deadline_ms: u32,
    run: &'a str,
    step: Option<i64>,
    subject: Option<ParsedSubject<'a>>,
    options: Vec<(&'a str, &'a [u8])>,
}

enum ParsedSubject<'a> {
    Path(&'a [u8]),
    Image(&'a [u8]),
    Field { bytes: &'a [u8], shape: Vec<usize>, dtype: Dtype },
    Label(TrueLabel),
}

impl Request {
    /// A request of this command with the daemon's default deadline and nothing else.
    pub fn new(command: Command, request_id: RequestId) -> Request {
        Request {
            command,
            request_id,
            deadline_ms: 0,
            run: String::new(),
            step: None,
            subject: None,
            options: Options::new(),
        }
    }

    /// Reads a request from its frames, without the envelope.
    ///
    /// - `max_message_bytes`: the limit of all frames together where an image or a field is sent; any other request has at
    ///   most [`MAX_SHORT_REQUEST_BYTES`].
    ///
    /// Nothing is copied before all has been checked. Frames that the command ignores are not looked at.
    ///
    /// # Errors
    ///
    /// The first fault in the order of the document: version, size, number of frames, then frame by frame. The request is
    /// then to be answered with [`DecodeError::status`] and what [`Request::peek`] can read.
    pub fn decode(frames: &[impl AsRef<[u8]>], max_message_bytes: usize) -> Result<Request, DecodeError> {
        let Parsed { command, request_id, deadline_ms, run, step, subject, options } =
            parse(frames, max_message_bytes)?;
        let subject = subject.map(|subject| match subject {
            ParsedSubject::Path(path) => Subject::Path(path.to_vec()),
            ParsedSubject::Image(bytes) => Subject::Image(bytes.to_vec()),
            ParsedSubject::Field { bytes, shape, dtype } => {
                Subject::Field { bytes: bytes.to_vec(), shape, dtype }
            }
            ParsedSubject::Label(label) => Subject::Label(label),
        });
        Ok(Request {
            command,
            request_id: RequestId::new(request_id).expect("parse has checked the length of the request id"),
            deadline_ms,
            run: run.to_owned(),
            step,
            subject,
            options: options.into_iter().collect(),
        })
    }

    /// Writes the request as frames, without an envelope.
    ///
    /// Frames that the command ignores are left out, or empty where options follow. The limit `max_message_bytes` of a
    /// certain daemon is not known here.
    ///
    /// # Errors
    ///
    /// What a decoder would say of the request, if it does not follow the document.
    pub fn encode(&self) -> Result<Vec<Vec<u8>>, DecodeError> {
        let mut frames = vec![
            VERSION.to_vec(),
            self.command.as_str().into(),
            self.request_id.as_bytes().to_vec(),
            self.deadline_ms.to_string().into(),
        ];
        let mut options: Vec<Vec<u8>> = Vec::new();
        if self.command.has_step() {
            frames.push(self.run.clone().into());
            frames.push(self.step.map(|step| step.to_string()).unwrap_or_default().into());
            if self.command != Command::Rewind {
                let (kind, subject): (&str, &[u8]) = match &self.subject {
                    None => ("", b""),
                    Some(Subject::Path(path)) => ("path", path),
                    Some(Subject::Image(bytes)) => ("image", bytes),
                    Some(Subject::Field { bytes, shape, dtype }) => {
                        let shape: Vec<String> = shape.iter().map(usize::to_string).collect();
                        options.push(format!("shape={}", shape.join("x")).into());
                        options.push(format!("dtype={}", dtype.as_str()).into());
                        ("field", bytes)
                    }
                    Some(Subject::Label(label)) => ("label", label.as_str().as_bytes()),
                };
                frames.push(kind.into());
                frames.push(subject.to_vec());
            }
        }
        options.extend(self.options.iter().map(|(key, value)| [key.as_bytes(), b"=", value].concat()));
        if !options.is_empty() {
            frames.resize(8, Vec::new());
            frames.append(&mut options);
        }
        parse(&frames, usize::MAX)?;
        Ok(frames)
    }

    /// Reads what an answer needs, of any frames whatever.
    pub fn peek(frames: &[impl AsRef<[u8]>]) -> Peek {
        let frame = |idx: usize| frames.get(idx).map(AsRef::as_ref);
        let is_known_version = frame(0) == Some(VERSION);
        let command = frame(1).filter(|_| is_known_version).and_then(Command::from_bytes);
        let step = command
            .filter(|command| command.has_step())
            .and_then(|_| frame(5))
            .and_then(|bytes| Frame { idx: 5, name: "step", bytes }.step().ok());
        Peek { request_id: frame(2).and_then(RequestId::new), command, step }
    }
}

fn parse<T: AsRef<[u8]>>(frames: &[T], max_message_bytes: usize) -> Result<Parsed<'_>, DecodeError> {
    let version = Frame::required(frames, 0, "version", "ANOM1")?;
    if version.bytes != VERSION {
        return Err(DecodeError::Version { found: excerpt(version.bytes) });
    }
    check_size(frames, max_message_bytes)?;
    if frames.len() > MAX_REQUEST_FRAMES {
        return Err(DecodeError::TooManyFrames { limit: MAX_REQUEST_FRAMES, found: frames.len() });
    }

    const COMMANDS: &str = "CLASSIFY, REWIND, LABEL, PING, STATUS, MODELS, RELOAD or DRAIN";
    let frame = Frame::required(frames, 1, "command", COMMANDS)?;
    let command = Command::from_bytes(frame.bytes).ok_or_else(|| frame.malformed(0, COMMANDS))?;

    const ID: &str = "1 to 64 bytes";
    let request_id = Frame::required(frames, 2, "request id", ID)?.filled(MAX_REQUEST_ID_BYTES, ID)?;
    let deadline_ms = parse_deadline(frames)?;

    let (mut run, mut step, mut kind_and_subject) = ("", None, None);
    if command.has_step() {
        run = parse_run(frames, command)?;
        step = Some(Frame::required(frames, 5, "step", "a 64-bit signed integer")?.step()?);
        if command != Command::Rewind {
            kind_and_subject = Some(parse_kind_and_subject(frames, command)?);
        }
    }

    let mut options = Vec::new();
    for (idx, bytes) in frames.iter().enumerate().skip(8) {
        options.push(read_option(Frame { idx, name: "option", bytes: bytes.as_ref() })?);
    }
    check_options(&options)?;
    let subject = match kind_and_subject {
        Some(ParsedSubject::Field { bytes, .. }) => Some(parse_field(bytes, &mut options)?),
        other => other,
    };
    Ok(Parsed { command, request_id, deadline_ms, run, step, subject, options })
}

/// The limits of all frames together; the two short frames that decide which holds are read before anything else is.
fn check_size<T: AsRef<[u8]>>(frames: &[T], max_message_bytes: usize) -> Result<(), DecodeError> {
    let frame = |idx: usize| frames.get(idx).map(AsRef::as_ref);
    let carries_data = frame(1) == Some(b"CLASSIFY") && matches!(frame(6), Some(b"image" | b"field"));
    let limit = if carries_data { max_message_bytes } else { MAX_SHORT_REQUEST_BYTES };
    let found = frames.iter().fold(0usize, |sum, frame| sum.saturating_add(frame.as_ref().len()));
    if found > limit { Err(DecodeError::TooLarge { limit, found }) } else { Ok(()) }
}

fn parse_deadline<T: AsRef<[u8]>>(frames: &[T]) -> Result<u32, DecodeError> {
    const EXPECTED: &str = "milliseconds in 1 to 8 digits, at most 86400000";
    let frame = Frame::required(frames, 3, "deadline", EXPECTED)?;
    frame.filled(8, EXPECTED)?;
    let digits = frame.ascii(|byte| byte.is_ascii_digit(), EXPECTED)?;
    match digits.parse() {
        Ok(deadline_ms) if deadline_ms <= MAX_DEADLINE_MS => Ok(deadline_ms),
        _ => Err(frame.malformed(0, EXPECTED)),
    }
}

fn parse_run<T: AsRef<[u8]>>(frames: &[T], command: Command) -> Result<&str, DecodeError> {
    const EXPECTED: &str = "a run's name, at most 128 of A-Z, a-z, 0-9, hyphen, underscore, point and colon";
    let frame = Frame::required(frames, 4, "run", EXPECTED)?;
    if command != Command::Classify && frame.bytes.is_empty() {
        return Err(frame.malformed(0, EXPECTED));
    }
    frame.at_most(MAX_RUN_BYTES)?;
    frame.ascii(is_run_char, EXPECTED)
}

/// Reads frames 6 and 7. Shape and type of a field stand in the options; they are filled in when those have been read.
fn parse_kind_and_subject<T: AsRef<[u8]>>(
    frames: &[T],
    command: Command,
) -> Result<ParsedSubject<'_>, DecodeError> {
    const LABEL: &str = "normal or anomalous";
    const PATH: &str = "an absolute path without NUL";
    const DATA: &str = "at least one byte";
    let expected_kind = if command == Command::Label { "label" } else { "path, image or field" };
    let kind = Frame::required(frames, 6, "subject kind", expected_kind)?;
    match (command, kind.bytes) {
        (Command::Label, b"label") => {
            let frame = Frame::required(frames, 7, "label", LABEL)?;
            TrueLabel::from_bytes(frame.bytes)
                .map(ParsedSubject::Label)
                .ok_or_else(|| frame.malformed(0, LABEL))
        }
        (Command::Classify, b"path") => {
            let frame = Frame::required(frames, 7, "path", PATH)?;
            let path = frame.bytes;
            if path.len() > MAX_PATH_BYTES {
                return Err(DecodeError::PathTooLong { limit: MAX_PATH_BYTES, found: path.len() });
            }
            if path.first() != Some(&b'/') {
                return Err(frame.malformed(0, PATH));
            }
            match path.iter().position(|&byte| byte == 0) {
                Some(nul_idx) => Err(frame.malformed(nul_idx, PATH)),
                None => Ok(ParsedSubject::Path(path)),
            }
        }
        (Command::Classify, b"image") => {
            Ok(ParsedSubject::Image(Frame::required(frames, 7, "image", DATA)?.filled(usize::MAX, DATA)?))
        }
        (Command::Classify, b"field") => {
            let bytes = Frame::required(frames, 7, "field", DATA)?.filled(usize::MAX, DATA)?;
            Ok(ParsedSubject::Field { bytes, shape: Vec::new(), dtype: Dtype::F32 })
        }
        _ => Err(kind.malformed(0, expected_kind)),
    }
}

/// Takes shape and type of a field out of the options and holds its length to them.
fn parse_field<'a>(
    bytes: &'a [u8],
    options: &mut Vec<(&'a str, &'a [u8])>,
) -> Result<ParsedSubject<'a>, DecodeError> {
    let mut take = |key: &'static str, expected: &'static str| {
        let option_idx = options.iter().position(|(found, _)| *found == key);
        let found = "none".to_owned();
        option_idx.map(|idx| options.remove(idx).1).ok_or(DecodeError::Option { key, expected, found })
    };
    const SHAPE: &str = "one to four extents parted by x, each at least 1 and at most nine digits";
    const DTYPE: &str = "f32 or f64";
    let shape_text = take("shape", SHAPE)?;
    let dtype_text = take("dtype", DTYPE)?;
    let wrong_shape = || DecodeError::Option { key: "shape", expected: SHAPE, found: excerpt(shape_text) };

    let mut shape = Vec::with_capacity(4);
    for extent in shape_text.split(|&byte| byte == b'x') {
        let is_number = (1..=9).contains(&extent.len()) && extent.iter().all(u8::is_ascii_digit);
        if !is_number || shape.len() == 4 {
            return Err(wrong_shape());
        }
        let extent = extent.iter().fold(0usize, |extent, digit| extent * 10 + usize::from(digit - b'0'));
        if extent == 0 {
            return Err(wrong_shape());
        }
        shape.push(extent);
    }
    let dtype = match dtype_text {
        b"f32" => Dtype::F32,
        b"f64" => Dtype::F64,
        _ => return Err(DecodeError::Option { key: "dtype", expected: DTYPE, found: excerpt(dtype_text) }),
    };
    // Four extents of nine digits and eight bytes stay below 1e37: u128 cannot overflow.
    let n_bytes = shape.iter().map(|&extent| extent as u128).product::<u128>() * dtype.n_bytes() as u128;
    if n_bytes != bytes.len() as u128 {
        let found = format!("{} for {n_bytes} bytes", excerpt(shape_text));
        let expected = "a shape that gives, with dtype, the length of frame 7";
        return Err(DecodeError::Option {
            key: "shape",
            expected,
            found: format!("{found}, of {}", bytes.len()),
        });
    }
    Ok(ParsedSubject::Field { bytes, shape, dtype })
}

//! A reply: what the daemon answers.

use crate::error::{DecodeError, excerpt};
use crate::frames::{Frame, VERSION};
use crate::identity::{Instance, RequestId, is_visible};
use crate::limits::{MAX_INSTANCE_BYTES, MAX_REQUEST_ID_BYTES, MAX_TEXT_BYTES};
use crate::number::{format_number, parse_number};
use crate::status::Status;
use crate::verdict::Verdict;

/// A reply without its envelope (PROTOCOL.md, section 7).
///
/// There is no `PartialEq`: a score is often NaN, which equals nothing. Compare encodings instead.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The request's; None only where that could not be read.
    pub request_id: Option<RequestId>,
    /// How the request went.
    pub status: Status,
    /// What the image is judged to be; never derived from the status.
    pub verdict: Verdict,
    /// Higher is more anomalous; dimensionless; NaN where there is none.
    pub score: f64,
    /// The verdict is anomalous if the score is above this; NaN where there is none.
    pub threshold: f64,
    /// The request's; None where it could not be read or the command has none.
    pub step: Option<i64>,
    /// This life of the daemon process.
    pub instance: Instance,
    /// One line for a person. May hold anything here; it is cleaned and cut on the wire, see [`clean_text`].
    pub text: String,
    /// A JSON object, or empty. Not looked at here.
    pub detail: Vec<u8>,
    /// A PNG file, or empty. Not looked at here.
    pub heat_map: Vec<u8>,
}

impl Reply {
    /// A reply with the verdict unknown, no score, no threshold, and empty text.
    pub fn new(
        request_id: Option<RequestId>,
        step: Option<i64>,
        status: Status,
        instance: Instance,
    ) -> Reply {
        Reply {
            request_id,
            status,
            verdict: Verdict::Unknown,
            score: f64::NAN,
            threshold: f64::NAN,
            step,
            instance,
            text: String::new(),
            detail: Vec::new(),
            heat_map: Vec::new(),
        }
    }

    /// Writes the reply as frames, without an envelope. Empty frames are left out from the end, down to the text.
    pub fn encode(&self) -> Vec<Vec<u8>> {
        let mut frames = vec![
            VERSION.to_vec(),
            self.request_id.as_ref().map(|id| id.as_bytes().to_vec()).unwrap_or_default(),
            self.status.code().to_string().into(),
            self.verdict.as_str().into(),
            format_number(self.score).into(),
            format_number(self.threshold).into(),
            self.step.map(|step| step.to_string()).unwrap_or_default().into(),
            self.instance.as_str().into(),
            clean_text(&self.text).into(),
        ];
        if !self.detail.is_empty() || !self.heat_map.is_empty() {
            frames.push(self.detail.clone());
        }
        if !self.heat_map.is_empty() {
            frames.push(self.heat_map.clone());
        }
        frames
    }

    /// Reads a reply from its frames, without the envelope. Frames after the heat map are ignored.
    ///
    /// The caller still has to compare request id and step with its request's (PROTOCOL.md, 7.2). The text is taken whatever
    /// it holds, and comes out as [`clean_text`] leaves it.
    ///
    /// # Errors
    ///
    /// A fault in frames 0 to 7, or fewer than nine frames: no verdict may then be taken from the reply.
    pub fn decode(frames: &[impl AsRef<[u8]>]) -> Result<Reply, DecodeError> {
        const STATUS: &str = "three digits of a status in section 8 of the protocol";
        const VERDICT: &str = "normal, anomalous or unknown";
        const INSTANCE: &str = "1 to 64 visible ASCII characters";
        let version = Frame::required(frames, 0, "version", "ANOM1")?;
        if version.bytes != VERSION {
            return Err(DecodeError::Version { found: excerpt(version.bytes) });
        }
        let request_id =
            Frame::required(frames, 1, "request id", "at most 64 bytes")?.at_most(MAX_REQUEST_ID_BYTES)?;
        let frame = Frame::required(frames, 2, "status", STATUS)?;
        let status = Status::from_bytes(frame.bytes).ok_or_else(|| frame.malformed(0, STATUS))?;
        let frame = Frame::required(frames, 3, "verdict", VERDICT)?;
        let verdict = Verdict::from_bytes(frame.bytes).ok_or_else(|| frame.malformed(0, VERDICT))?;
        let score = number(frames, 4, "score")?;
        let threshold = number(frames, 5, "threshold")?;
        let frame = Frame::required(frames, 6, "step", "a 64-bit signed integer, or nothing")?;
        let step = if frame.bytes.is_empty() { None } else { Some(frame.step()?) };
        let frame = Frame::required(frames, 7, "instance", INSTANCE)?;
        frame.filled(MAX_INSTANCE_BYTES, INSTANCE)?;
        let instance =
            Instance::new(frame.ascii(is_visible, INSTANCE)?).ok_or_else(|| frame.malformed(0, INSTANCE))?;
        let text = Frame::required(frames, 8, "text", "one line, or nothing")?.bytes;
        let optional = |idx: usize| frames.get(idx).map(|frame| frame.as_ref().to_vec()).unwrap_or_default();
        Ok(Reply {
            request_id: RequestId::new(request_id),
            status,
            verdict,
            score,
            threshold,
            step,
            instance,
            // Four bytes make at least one character: what lies beyond 4096 of them cannot come through the cut.
            text: clean_text(&String::from_utf8_lossy(&text[..text.len().min(4 * MAX_TEXT_BYTES)])),
            detail: optional(9),
            heat_map: optional(10),
        })
    }
}

fn number<T: AsRef<[u8]>>(frames: &[T], idx: usize, name: &'static str) -> Result<f64, DecodeError> {
    const EXPECTED: &str = "nan, inf, -inf or a decimal of at most 32 bytes";
    let frame = Frame::required(frames, idx, name, EXPECTED)?;
    parse_number(frame.bytes).map_err(|byte| frame.malformed(byte, EXPECTED))
}

/// One line of at most 1024 bytes: control characters (line feed included) escaped, cut at a character's end.
///
/// ```
/// assert_eq!(anomalyd_proto::clean_text("two\nlines \u{1b}[31m"), r"two\nlines \u{1b}[31m");
/// ```
pub fn clean_text(text: &str) -> String {
    let mut line = String::with_capacity(text.len().min(MAX_TEXT_BYTES));
    let is_break = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
    for character in text.chars() {
        let length_before = line.len();
        if is_break(character) {
            line.extend(character.escape_default());
        } else {
            line.push(character);
        }
        if line.len() > MAX_TEXT_BYTES {
            line.truncate(length_before);
            break;
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_text_is_cut_between_characters() {
        let line = clean_text(&"ü".repeat(600));
        assert_eq!(line, "ü".repeat(512));
        let line = clean_text(&format!("{}ü", "a".repeat(1023)));
        assert_eq!(line, "a".repeat(1023));
        assert_eq!(clean_text(&format!("{}\n", "a".repeat(1023))).len(), 1023);
    }

    #[test]
    fn clean_text_is_left_as_it_is() {
        for text in ["", "größer als 3 µm – 正常", r"back\slash"] {
            assert_eq!(clean_text(text), text);
        }
    }

    #[test]
    fn dirty_text_of_a_reply_does_not_cost_the_verdict() {
        let mut frames = Reply::new(None, Some(3), Status::Ok, Instance::new("x").unwrap()).encode();
        frames[8] = [b"a\xff\nb".to_vec(), vec![0x80; 9000]].concat();
        let reply = Reply::decode(&frames).unwrap();
        assert!(reply.text.starts_with("a\u{fffd}\\nb\u{fffd}"), "{}", reply.text);
        assert!(reply.text.len() <= MAX_TEXT_BYTES);
    }
}

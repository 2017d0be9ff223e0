//! Why a request is not answered with a verdict: a status of PROTOCOL.md section 8 and a line for a person.

use anomalyd_proto::Status;
use std::fmt;

/// A status other than 200, with what was found, what was expected and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The status sent.
    pub status: Status,
    /// The reply's text, before it is cut and cleaned for the wire.
    pub text: String,
}

impl Fault {
    /// The fault of a request whose id was that of another one, about `step`.
    pub fn id_used_twice(id: &[u8], run: &str, step: i64) -> Self {
        let text = format!(
            "the request id {} of run {run} was used for another request (step {step}): give each request an id of its own, and a \
             retry that of its first",
            escaped(id)
        );
        Self::new(Status::Malformed, text)
    }

    /// A fault with its text.
    pub fn new(status: Status, text: impl Into<String>) -> Self {
        Self { status, text: text.into() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Fault {}

/// `bytes` as text for logs and replies: control characters, quotes' backslashes and what is not UTF-8 are escaped, so that a
/// path can neither forge a log line nor drive a terminal.
pub fn escaped(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\\' => text.push_str("\\\\"),
                c if is_printable(c) => text.push(c),
                c => text.extend(c.escape_default()),
            }
        }
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text
}

/// False for control characters, and for the marks that reorder or hide the text around them.
fn is_printable(c: char) -> bool {
    !(c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escaped_text_is_one_line_of_printable_characters() {
        assert_eq!(escaped(b"/a\nb\x1b[31m\\\xff"), "/a\\nb\\u{1b}[31m\\\\\\xff");
        assert_eq!(escaped("/läuft/\u{202e}gnp".as_bytes()), "/läuft/\\u{202e}gnp");
    }
}

//! Why a message could not be decoded.

use crate::status::Status;

/// What is wrong with a message: where, what was expected, what was found.
///
/// `found` is an excerpt with everything but printable ASCII escaped, so that the words can go into a log and into the text
/// of a reply as they are.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// Frame 0 names another protocol, or another version of this one.
    #[error(
        "frame 0 (version): expected ANOM1, the only version known here, found {found}; update the older side"
    )]
    Version {
        /// Excerpt of frame 0.
        found: String,
    },
    /// A frame that the command requires was left out.
    #[error("frame {frame} ({name}) is missing: expected {expected}, found a message of {n_frames} frames")]
    Missing {
        /// Number of the missing frame.
        frame: usize,
        /// Name of the frame in PROTOCOL.md.
        name: &'static str,
        /// What it has to hold.
        expected: &'static str,
        /// Frames that the message has.
        n_frames: usize,
    },
    /// A frame does not follow the grammar.
    #[error("frame {frame} ({name}), byte {byte}: expected {expected}, found {found}")]
    Malformed {
        /// Number of the frame.
        frame: usize,
        /// Name of the frame in PROTOCOL.md.
        name: &'static str,
        /// The first byte of the frame, from 0, at which it stops following the grammar.
        byte: usize,
        /// What the frame has to hold.
        expected: &'static str,
        /// Excerpt of the frame.
        found: String,
    },
    /// A frame is longer than its limit.
    #[error("frame {frame} ({name}): expected at most {limit} bytes, found {found}")]
    TooLong {
        /// Number of the frame.
        frame: usize,
        /// Name of the frame in PROTOCOL.md.
        name: &'static str,
        /// The limit, bytes.
        limit: usize,
        /// The frame's length, bytes.
        found: usize,
    },
    /// The path is longer than its limit.
    #[error(
        "frame 7 (path): expected at most {limit} bytes, found {found}; move the image to a shorter path"
    )]
    PathTooLong {
        /// The limit, bytes.
        limit: usize,
        /// The path's length, bytes.
        found: usize,
    },
    /// An option has no meaning with the others, or with the subject.
    #[error("option {key}: expected {expected}, found {found}")]
    Option {
        /// The option's key.
        key: &'static str,
        /// What it has to be.
        expected: &'static str,
        /// What it is.
        found: String,
    },
    /// The message has more frames than a request may have.
    #[error("expected at most {limit} frames, found {found}")]
    TooManyFrames {
        /// The limit.
        limit: usize,
        /// Frames of the message.
        found: usize,
    },
    /// The frames are together larger than allowed.
    #[error(
        "expected a message of at most {limit} bytes, found {found}; send a path, or raise max_message_bytes"
    )]
    TooLarge {
        /// The limit, bytes.
        limit: usize,
        /// The sum of the frames, bytes.
        found: usize,
    },
}

impl DecodeError {
    /// The status that a request with this fault is answered with.
    ///
    /// Whether a well-formed request is served is for the daemon to say, so 405 and 501 never come from here.
    pub fn status(&self) -> Status {
        match self {
            DecodeError::Version { .. } => Status::Version,
            DecodeError::PathTooLong { .. } | DecodeError::TooLarge { .. } => Status::TooLarge,
            _ => Status::Malformed,
        }
    }
}

/// At most 40 bytes of `bytes` in printable ASCII, for the words of an error.
pub(crate) fn excerpt(bytes: &[u8]) -> String {
    const N_SHOWN: usize = 40;
    if bytes.is_empty() {
        return "nothing".to_owned();
    }
    let shown = &bytes[..bytes.len().min(N_SHOWN)];
    let cut = if bytes.len() > N_SHOWN { format!("... ({} bytes)", bytes.len()) } else { String::new() };
    format!("\"{}\"{cut}", shown.escape_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn excerpt_is_short_printable_ascii() {
        assert_eq!(excerpt(b""), "nothing");
        assert_eq!(excerpt(b"a\n\xff\""), r#""a\n\xff\"""#);
        let long = excerpt(&[0u8; 5000]);
        assert!(long.len() < 200 && long.ends_with("(5000 bytes)"), "{long}");
    }

    #[test]
    fn fault_is_told_with_frame_byte_and_finding() {
        let classify = |run: &str, step: &str, subject: &str| {
            let frames = ["ANOM1", "CLASSIFY", "q", "0", run, step, "path", subject];
            crate::Request::decode(&frames, 1 << 20).unwrap_err().to_string()
        };
        for (words, start) in [
            (classify("a b", "7", "/a"), "frame 4 (run), byte 1: expected a run's name, at most 128 of "),
            (
                classify("a", "-7 ", "/a"),
                "frame 5 (step), byte 2: expected a 64-bit signed integer in 1 to 19 digits, found \"-7 \"",
            ),
            (
                classify("a", "7", "/ab\0c"),
                "frame 7 (path), byte 3: expected an absolute path without NUL, found \"/ab\\x00c\"",
            ),
            (classify("a", "7", "a.png"), "frame 7 (path), byte 0: "),
        ] {
            assert!(words.starts_with(start), "{words}");
        }
    }
}

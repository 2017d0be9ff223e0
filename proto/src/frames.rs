//! A message as frames: the envelope before it, and one frame read with its place for the words of an error.

use crate::error::{DecodeError, excerpt};

/// Frame 0 of every message of this version.
pub const VERSION: &[u8] = b"ANOM1";

/// Parts the frames from a ROUTER socket into the envelope, the delimiter included, and the message.
///
/// The envelope is everything up to and including the first empty frame (PROTOCOL.md, 3.4). None if no frame is empty: such a
/// message cannot be answered.
pub fn split_envelope<T: AsRef<[u8]>>(mut frames: Vec<T>) -> Option<(Vec<T>, Vec<T>)> {
    let delimiter_idx = frames.iter().position(|frame| frame.as_ref().is_empty())?;
    let message = frames.split_off(delimiter_idx + 1);
    Some((frames, message))
}

/// Puts an envelope from [`split_envelope`] before a message again.
pub fn join_envelope<T>(mut envelope: Vec<T>, message: impl IntoIterator<Item = T>) -> Vec<T> {
    envelope.extend(message);
    envelope
}

/// One frame, with its number and its name in PROTOCOL.md.
#[derive(Clone, Copy)]
pub(crate) struct Frame<'a> {
    pub(crate) idx: usize,
    pub(crate) name: &'static str,
    pub(crate) bytes: &'a [u8],
}

impl<'a> Frame<'a> {
    /// The frame `idx` of `frames`, which must be there.
    pub(crate) fn required<T: AsRef<[u8]>>(
        frames: &'a [T],
        idx: usize,
        name: &'static str,
        expected: &'static str,
    ) -> Result<Self, DecodeError> {
        match frames.get(idx) {
            Some(bytes) => Ok(Frame { idx, name, bytes: bytes.as_ref() }),
            None => Err(DecodeError::Missing { frame: idx, name, expected, n_frames: frames.len() }),
        }
    }

    pub(crate) fn malformed(&self, byte: usize, expected: &'static str) -> DecodeError {
        let Frame { idx: frame, name, bytes } = *self;
        DecodeError::Malformed { frame, name, byte, expected, found: excerpt(bytes) }
    }

    /// The frame, if it has 1 to `limit` bytes.
    pub(crate) fn filled(&self, limit: usize, expected: &'static str) -> Result<&'a [u8], DecodeError> {
        if self.bytes.is_empty() {
            return Err(self.malformed(0, expected));
        }
        self.at_most(limit)
    }

    pub(crate) fn at_most(&self, limit: usize) -> Result<&'a [u8], DecodeError> {
        if self.bytes.len() > limit {
            let Frame { idx: frame, name, bytes } = *self;
            return Err(DecodeError::TooLong { frame, name, limit, found: bytes.len() });
        }
        Ok(self.bytes)
    }

    /// The frame as text of bytes that `allowed` accepts, all of them ASCII.
    pub(crate) fn ascii(
        &self,
        allowed: impl Fn(u8) -> bool,
        expected: &'static str,
    ) -> Result<&'a str, DecodeError> {
        if let Some(byte) = self.bytes.iter().position(|&byte| !(byte.is_ascii() && allowed(byte))) {
            return Err(self.malformed(byte, expected));
        }
        std::str::from_utf8(self.bytes).map_err(|error| self.malformed(error.valid_up_to(), expected))
    }

    /// A step: an optional minus and 1 to 19 digits that make a 64-bit signed integer.
    pub(crate) fn step(&self) -> Result<i64, DecodeError> {
        const EXPECTED: &str = "a 64-bit signed integer in 1 to 19 digits";
        let digits = self.bytes.strip_prefix(b"-").unwrap_or(self.bytes);
        let sign_bytes = self.bytes.len() - digits.len();
        if let Some(digit_idx) = digits.iter().position(|byte| !byte.is_ascii_digit()) {
            return Err(self.malformed(sign_bytes + digit_idx, EXPECTED));
        }
        if digits.is_empty() || digits.len() > 19 {
            return Err(self.malformed(sign_bytes + digits.len().min(19), EXPECTED));
        }
        let text = std::str::from_utf8(self.bytes).map_err(|_| self.malformed(0, EXPECTED))?;
        text.parse().map_err(|_| self.malformed(0, EXPECTED))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn envelope_ends_at_the_first_empty_frame() {
        let frames: Vec<&[u8]> = vec![b"peer", b"\0\0\0\x01", b"", b"ANOM1", b"", b"x"];
        let (envelope, message) = split_envelope(frames.clone()).unwrap();
        assert_eq!(envelope, [&b"peer"[..], b"\0\0\0\x01", b""]);
        assert_eq!(message, [&b"ANOM1"[..], b"", b"x"]);
        assert_eq!(join_envelope(envelope, message), frames);
    }

    #[test]
    fn message_without_delimiter_cannot_be_answered() {
        assert!(split_envelope(vec![b"peer".to_vec(), b"ANOM1".to_vec()]).is_none());
        assert!(split_envelope(Vec::<Vec<u8>>::new()).is_none());
    }

    #[test]
    fn delimiter_alone_leaves_an_empty_message() {
        let (envelope, message) = split_envelope(vec![b"peer".to_vec(), vec![]]).unwrap();
        assert_eq!((envelope.len(), message.len()), (2, 0));
    }
}

//! The options of a request: frames 8 and later.

use crate::error::{DecodeError, excerpt};
use crate::frames::Frame;
use crate::identity::is_run_name;
use crate::limits::{MAX_OPTION_KEY_BYTES, MAX_OPTION_VALUE_BYTES};

/// Keys that this version gives a meaning.
pub(crate) const KNOWN_KEYS: [&str; 5] = ["model", "want", "shape", "dtype", "stream"];

/// The options of a request, in the order in which they were sent.
///
/// The options `shape` and `dtype` of a field are not here but in [`Subject::Field`](crate::Subject::Field).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Options(Vec<(String, Vec<u8>)>);

impl Options {
    /// No options.
    pub fn new() -> Options {
        Options::default()
    }

    /// Adds an option at the end. Whether it follows the document is looked at when the request is encoded.
    pub fn push(&mut self, key: impl Into<String>, value: impl Into<Vec<u8>>) {
        self.0.push((key.into(), value.into()));
    }

    /// Key and value of each option, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &[u8])> {
        self.0.iter().map(|(key, value)| (key.as_str(), value.as_slice()))
    }

    /// The number of options, unknown ones included.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The value of the first option of this key.
    pub fn value(&self, key: &str) -> Option<&[u8]> {
        self.iter().find(|(found, _)| *found == key).map(|(_, value)| value)
    }

    /// The fitted model to judge with; None: the daemon's default. A decoded name passes [`is_run_name`].
    pub fn model(&self) -> Option<&str> {
        self.value("model").and_then(|name| std::str::from_utf8(name).ok())
    }

    /// Which of several outputs per step the image is; empty for the run's default stream. A decoded name that is not empty
    /// passes [`is_run_name`].
    pub fn stream(&self) -> &str {
        self.value("stream").and_then(|name| std::str::from_utf8(name).ok()).unwrap_or_default()
    }

    /// Whether a heat map is asked for.
    pub fn wants_heat_map(&self) -> bool {
        self.value("want") == Some(b"heatmap")
    }

    /// The number of options that are ignored: unknown keys, and unknown values of `want`.
    pub fn n_ignored(&self) -> usize {
        self.iter()
            .filter(|(key, value)| !KNOWN_KEYS.contains(key) || (*key == "want" && *value != b"heatmap"))
            .count()
    }
}

impl<K: Into<String>, V: Into<Vec<u8>>> FromIterator<(K, V)> for Options {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(options: I) -> Options {
        Options(options.into_iter().map(|(key, value)| (key.into(), value.into())).collect())
    }
}

/// Parts one option frame into key and value.
pub(crate) fn read_option<'a>(frame: Frame<'a>) -> Result<(&'a str, &'a [u8]), DecodeError> {
    const EXPECTED: &str = "key=value, the key 1 to 32 of a-z, 0-9 and underscore";
    let Some(equals_idx) = frame.bytes.iter().position(|&byte| byte == b'=') else {
        return Err(frame.malformed(frame.bytes.len(), EXPECTED));
    };
    let key = Frame { bytes: &frame.bytes[..equals_idx], ..frame };
    let value = Frame { bytes: &frame.bytes[equals_idx + 1..], ..frame };
    let is_key_char = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    key.filled(MAX_OPTION_KEY_BYTES, EXPECTED)?;
    value.at_most(MAX_OPTION_VALUE_BYTES)?;
    Ok((key.ascii(is_key_char, EXPECTED)?, value.bytes))
}

/// Checks what the options of a request have to be together.
pub(crate) fn check_options(options: &[(&str, &[u8])]) -> Result<(), DecodeError> {
    for key in KNOWN_KEYS {
        let mut values = options.iter().filter(|(found, _)| *found == key).map(|(_, value)| *value);
        let first = values.next();
        if let Some(second) = values.next() {
            return Err(DecodeError::Option {
                key,
                expected: "it once",
                found: format!("also {}", excerpt(second)),
            });
        }
        let is_name = |value: &[u8]| std::str::from_utf8(value).is_ok_and(is_run_name);
        if let Some(name) = first.filter(|value| key == "model" && !is_name(value)) {
            let expected = "a model's name, 1 to 128 of A-Z, a-z, 0-9, hyphen, underscore, point and colon";
            return Err(DecodeError::Option { key, expected, found: excerpt(name) });
        }
        if let Some(name) = first.filter(|value| key == "stream" && !value.is_empty() && !is_name(value)) {
            let expected =
                "a stream's name, at most 128 of A-Z, a-z, 0-9, hyphen, underscore, point and colon";
            return Err(DecodeError::Option { key, expected, found: excerpt(name) });
        }
    }
    Ok(())
}

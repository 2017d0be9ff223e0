//! Names that tell one request, one run and one life of the daemon from another.

use std::fmt;
use std::sync::Arc;

use crate::limits::{MAX_INSTANCE_BYTES, MAX_REQUEST_ID_BYTES, MAX_RUN_BYTES};

/// Frame 2 of a request: 1 to 64 bytes of any value, chosen by the client, kept by a retry.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(Box<[u8]>);

impl RequestId {
    /// An id of these bytes; None unless there are 1 to 64.
    pub fn new(bytes: impl AsRef<[u8]>) -> Option<RequestId> {
        let bytes = bytes.as_ref();
        (1..=MAX_REQUEST_ID_BYTES).contains(&bytes.len()).then(|| RequestId(bytes.into()))
    }

    /// The bytes on the wire.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for RequestId {
    /// Printable ASCII, with every other byte escaped.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.0.escape_ascii())
    }
}

/// Names one life of the daemon process: 1 to 64 visible ASCII characters. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Instance(Arc<str>);

impl Instance {
    /// An instance of this name; None unless it is 1 to 64 visible ASCII characters.
    pub fn new(name: impl AsRef<str>) -> Option<Instance> {
        let name = name.as_ref();
        let fits = (1..=MAX_INSTANCE_BYTES).contains(&name.len()) && name.bytes().all(is_visible);
        fits.then(|| Instance(name.into()))
    }

    /// The name on the wire.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Instance {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// Whether `name` can name a run or a model: 1 to 128 of `A-Z a-z 0-9 - _ . :`.
///
/// Mind that `.` and `..` are among them: such a name is no file name yet.
pub fn is_run_name(name: &str) -> bool {
    (1..=MAX_RUN_BYTES).contains(&name.len()) && name.bytes().all(is_run_char)
}

pub(crate) fn is_run_char(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b':')
}

pub(crate) fn is_visible(byte: u8) -> bool {
    byte.is_ascii_graphic()
}

//! The closed list of statuses. A test compares it with PROTOCOL.md, section 8; the clients are held to the same table.

/// How a request went: frame 2 of a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum Status {
    /// Done; the verdict is in its own frame.
    Ok = 200,
    /// The request does not follow the document.
    Malformed = 400,
    /// The path lies outside the allowed roots, or may not be read.
    Forbidden = 403,
    /// No such file or model, or no such run or step to label.
    NotFound = 404,
    /// The command belongs to the other socket.
    WrongSocket = 405,
    /// The deadline passed before work began.
    DeadlinePassed = 408,
    /// The step cannot be reconciled with what the daemon remembers.
    OutOfOrder = 409,
    /// The message, the file, the image or the number of streams exceeds a limit.
    TooLarge = 413,
    /// Not an image that can be read, or not of the run's dimensions.
    Unsupported = 415,
    /// An image that is truncated or damaged.
    Undecodable = 422,
    /// The queue is full.
    Overloaded = 429,
    /// The daemon's fault.
    Internal = 500,
    /// The document knows it, the daemon does not offer it.
    NotOffered = 501,
    /// Starting or draining.
    NotReady = 503,
    /// The protocol version is not supported.
    Version = 505,
}

/// A number that is no status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected a status of PROTOCOL.md, section 8, found {0}")]
pub struct UnknownStatus(pub u16);

impl Status {
    /// Every status, by rising code.
    pub const ALL: [Status; 15] = [
        Status::Ok,
        Status::Malformed,
        Status::Forbidden,
        Status::NotFound,
        Status::WrongSocket,
        Status::DeadlinePassed,
        Status::OutOfOrder,
        Status::TooLarge,
        Status::Unsupported,
        Status::Undecodable,
        Status::Overloaded,
        Status::Internal,
        Status::NotOffered,
        Status::NotReady,
        Status::Version,
    ];

    /// The number on the wire, three digits.
    pub fn code(self) -> u16 {
        self as u16
    }

    /// A word or two for a log or a metric.
    pub fn name(self) -> &'static str {
        self.row().0
    }

    /// What it means, in one clause.
    pub fn meaning(self) -> &'static str {
        self.row().1
    }

    /// What the client's side can do about it, in one clause.
    pub fn advice(self) -> &'static str {
        self.row().2
    }

    fn row(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Status::Ok => ("ok", "done", "take the verdict"),
            Status::Malformed => {
                ("malformed", "the request does not follow this document", "mend the client")
            }
            Status::Forbidden => (
                "forbidden",
                "the path lies outside the allowed roots, or may not be read",
                "mend the configuration or the path",
            ),
            Status::NotFound => (
                "not found",
                "no such file or model, or no such run or step to label",
                "check the path as the daemon's host sees it",
            ),
            Status::WrongSocket => {
                ("wrong socket", "the command belongs to the other socket", "use the other socket")
            }
            Status::DeadlinePassed => (
                "deadline passed",
                "the request's deadline passed before work on it began",
                "go on; ask for more time, or add workers",
            ),
            Status::OutOfOrder => (
                "out of order",
                "the step cannot be reconciled with what the daemon remembers of the run",
                "send `REWIND` to a step before the run's first, or use a new run name",
            ),
            Status::TooLarge => (
                "too large",
                "the message, the file, the image or the number of streams exceeds a limit",
                "raise the limit, or send less",
            ),
            Status::Unsupported => (
                "unsupported",
                "not a regular file, not an image of a supported format, not a field of two dimensions, or not of the run's dimensions",
                "write PNG, JPEG, PNM, BMP, TIFF or NumPy's `.npy`",
            ),
            Status::Undecodable => (
                "undecodable",
                "an image that is truncated or damaged",
                "retry: the file may still have been in writing",
            ),
            Status::Overloaded => ("overloaded", "the queue is full; refused at once", "go on; retry later"),
            Status::Internal => ("internal", "the daemon's fault; it lives on", "report it, with the log"),
            Status::NotOffered => {
                ("not offered", "this document knows it, this daemon does not offer it", "leave it out")
            }
            Status::NotReady => ("not ready", "starting or draining", "go on; retry later"),
            Status::Version => ("version", "protocol version not supported", "update the older side"),
        }
    }

    /// The status of a frame 2; None if it is not three digits, or not of the list.
    pub fn from_bytes(digits: &[u8]) -> Option<Status> {
        let &[hundreds, tens, ones] = digits else { return None };
        let mut code = 0u16;
        for digit in [hundreds, tens, ones] {
            if !digit.is_ascii_digit() {
                return None;
            }
            code = code * 10 + u16::from(digit - b'0');
        }
        Status::try_from(code).ok()
    }
}

impl TryFrom<u16> for Status {
    type Error = UnknownStatus;

    fn try_from(code: u16) -> Result<Status, UnknownStatus> {
        Status::ALL.into_iter().find(|status| status.code() == code).ok_or(UnknownStatus(code))
    }
}

impl std::fmt::Display for Status {
    /// Code and name: `429 overloaded`.
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{} {}", self.code(), self.name())
    }
}

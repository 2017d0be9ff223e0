//! Why an artefact is refused.

use std::fmt;
use std::path::{Path, PathBuf};

/// What kind of failure an [`ArtefactError`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ArtefactErrorKind {
    /// There is no such artefact, or one of its files is absent.
    NotFound,
    /// Something is where an artefact was to be written.
    Exists,
    /// A file could not be read or written.
    Io,
    /// A file is damaged, or contradicts itself or the other.
    Corrupt,
    /// It was written in a format of another version.
    Version,
    /// It is sound, but not of these weights, or not for this program.
    Mismatch,
}

/// Why an artefact could not be written or is refused, with the file.
#[derive(Debug)]
pub struct ArtefactError {
    kind: ArtefactErrorKind,
    path: PathBuf,
    message: String,
}

impl ArtefactError {
    pub(crate) fn new(kind: ArtefactErrorKind, path: &Path, message: impl fmt::Display) -> Self {
        Self { kind, path: path.to_owned(), message: message.to_string() }
    }

    pub(crate) fn corrupt(path: &Path, message: impl fmt::Display) -> Self {
        Self::new(ArtefactErrorKind::Corrupt, path, message)
    }

    pub(crate) fn io(path: &Path, error: &std::io::Error) -> Self {
        let kind = match error.kind() {
            std::io::ErrorKind::NotFound => ArtefactErrorKind::NotFound,
            std::io::ErrorKind::UnexpectedEof => ArtefactErrorKind::Corrupt,
            _ => ArtefactErrorKind::Io,
        };
        Self::new(kind, path, error)
    }

    /// The kind of failure; kinds are few and stable.
    pub fn kind(&self) -> ArtefactErrorKind {
        self.kind
    }

    /// The file or directory meant.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl fmt::Display for ArtefactError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "artefact {}: {}", self.path.display(), self.message)
    }
}

impl std::error::Error for ArtefactError {}

//! The one error type of this crate.

use std::path::PathBuf;

/// What this crate returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a computation of this crate was not carried out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An array has another shape than the operation or the fitted model wants.
    #[error("{what}: wanted {wanted}, found {found}")]
    Shape {
        /// The array meant.
        what: &'static str,
        /// The shape or length expected, in words.
        wanted: String,
        /// The shape or length given.
        found: String,
    },
    /// There are fewer samples than the method can work with.
    #[error("{what}: {found} samples, at least {wanted} are needed")]
    TooFewSamples {
        /// The operation meant.
        what: &'static str,
        /// The least number.
        wanted: usize,
        /// The number given.
        found: usize,
    },
    /// A value that must be finite is NaN or infinite.
    #[error("{what} holds a value that is not finite (the first at index {index})")]
    NotFinite {
        /// The array meant.
        what: &'static str,
        /// Position of the first such value, in row-major order.
        index: usize,
    },
    /// A parameter lies outside its range.
    #[error("{name} is {found}, expected {expected}")]
    Parameter {
        /// The parameter's name, as in configuration files.
        name: &'static str,
        /// The value given.
        found: String,
        /// The range or the choices.
        expected: String,
    },
    /// A weights file or its manifest cannot be used.
    #[error("weights {name}: {reason}")]
    Weights {
        /// Manifest name or file.
        name: String,
        /// What was found and what was expected.
        reason: String,
    },
    /// An online step cannot be reconciled with the steps judged before it.
    #[error("step {step}: {reason}")]
    Step {
        /// The step asked for.
        step: i64,
        /// What is remembered, and what to do.
        reason: String,
    },
    /// A run has as many streams as it may have.
    #[error(
        "stream \"{stream}\": the run has {limit} streams already, as many as it may: name fewer, or raise the limit"
    )]
    TooManyStreams {
        /// The most streams of a run.
        limit: usize,
        /// The one that cannot begin.
        stream: String,
    },
    /// What was stored of a run cannot be gone on with.
    #[error("{reason}")]
    Record {
        /// What was found and what was expected.
        reason: String,
    },
    /// A file could not be read or written.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// A file of samples holds something else.
    #[error("{path}: {reason}", path = path.display())]
    Samples {
        /// The file.
        path: PathBuf,
        /// What was found and what was expected.
        reason: String,
    },
    /// An image could not be decoded, or does not fit the preprocessing.
    #[error(transparent)]
    Image(#[from] crate::image::ImageError),
    /// An artefact could not be written, or is not to be believed.
    #[error(transparent)]
    Artefact(#[from] crate::artefact::ArtefactError),
    /// A third party's numerical library failed.
    #[error("{what}: {source}")]
    Backend {
        /// The operation meant.
        what: &'static str,
        /// The library's error.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

//! What one rank asks of another, and what comes back: JSON, with numbers beside it as they are in memory.

use anomalyd_models::extractor::{DeviceChoice, ExtractorParams};
use anomalyd_models::online::ShareRequest;
use anomalyd_models::{Error, ImageShape};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

/// What a rank is to do. Everything that the result depends on is in it, so that nothing depends on a rank's own configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) enum Job {
    /// Features of the images that follow, `[n_images, channels, rows, columns]`; none: only what the extractor is like.
    Extract {
        /// By what.
        by: Maker,
        /// How many.
        n_images: usize,
    },
    /// What is to be done with this rank's part of a run's trees; the row at hand follows, if it does.
    Trees {
        /// What.
        request: ShareRequest,
        /// The rank's part.
        part: usize,
        /// Of the row.
        n_values: usize,
    },
}

/// What an extractor is made from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Maker {
    pub(super) params: ExtractorParams,
    pub(super) shape: ImageShape,
    pub(super) device: DeviceChoice,
    pub(super) weights_dirs: Vec<PathBuf>,
    /// That of rank 0: a rank of another would give other bits.
    pub(super) arithmetic: String,
}

impl Job {
    /// The number of values that follow.
    pub(super) fn n_values(&self) -> usize {
        match self {
            Self::Extract { by: Maker { shape, .. }, n_images } => {
                n_images * shape.channels * shape.rows * shape.columns
            }
            Self::Trees { n_values, .. } => *n_values,
        }
    }
}

/// What became of a job.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Answer {
    /// Features follow, `[n_images, n_features]`.
    Features {
        /// Of the extractor.
        shape: [usize; 3],
        /// The number of values that follow.
        n_values: usize,
    },
    /// Path lengths, as the bits of numbers in f64, as JSON may round numbers; nothing follows.
    Lengths {
        /// One for each tree.
        bits: Vec<u64>,
    },
    /// Nothing follows.
    Failed(Trouble),
}

impl Answer {
    /// The number of values that follow.
    pub(super) fn n_values(&self) -> usize {
        match self {
            Self::Features { n_values, .. } => *n_values,
            Self::Lengths { .. } | Self::Failed(_) => 0,
        }
    }

    /// An answer that is none to what was asked.
    pub(super) fn unexpected(self) -> Error {
        match self {
            Self::Failed(trouble) => trouble.into(),
            other => Trouble::Other(format!("an answer to another question: {other:?}")).into(),
        }
    }
}

/// An error on its way from one rank to another.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) enum Trouble {
    Shape { what: String, wanted: String, found: String },
    Parameter { name: String, found: String, expected: String },
    Weights { name: String, reason: String },
    Other(String),
}

impl From<&Error> for Trouble {
    fn from(error: &Error) -> Self {
        match error {
            Error::Shape { what, wanted, found } => {
                Self::Shape { what: (*what).into(), wanted: wanted.clone(), found: found.clone() }
            }
            Error::Parameter { name, found, expected } => {
                Self::Parameter { name: (*name).into(), found: found.clone(), expected: expected.clone() }
            }
            Error::Weights { name, reason } => Self::Weights { name: name.clone(), reason: reason.clone() },
            other => Self::Other(other.to_string()),
        }
    }
}

impl From<Trouble> for Error {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Shape { what, wanted, found } => Self::Shape { what: lasting(what), wanted, found },
            Trouble::Parameter { name, found, expected } => {
                Self::Parameter { name: lasting(name), found, expected }
            }
            Trouble::Weights { name, reason } => Self::Weights { name, reason },
            Trouble::Other(text) => Self::Backend { what: "another rank", source: text.into() },
        }
    }
}

/// `text` for the rest of the process; each only once, and there are no more than there are in the program.
fn lasting(text: String) -> &'static str {
    static KNOWN: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(found) = known.get(text.as_str()) {
        return found;
    }
    let kept: &'static str = Box::leak(text.into_boxed_str());
    known.insert(kept);
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use anomalyd_models::detector::IsolationForestParams;
    use anomalyd_models::online::{RowFormat, ShareParams, ShareWork};
    use std::sync::Arc;

    #[test]
    fn errors_say_the_same_after_the_way_between_ranks() {
        for error in [
            Error::Shape { what: "image", wanted: "2 x 2".into(), found: "3 x 3".into() },
            Error::Parameter { name: "cells", found: "0".into(), expected: "at least 1".into() },
            Error::Weights { name: "w".into(), reason: "not here".into() },
        ] {
            let sent = serde_json::to_string(&Trouble::from(&error)).unwrap();
            let back = Error::from(serde_json::from_str::<Trouble>(&sent).unwrap());
            assert_eq!(back.to_string(), error.to_string());
            assert_eq!(std::mem::discriminant(&back), std::mem::discriminant(&error));
        }
        let other = Error::Step { step: 3, reason: "forgotten".into() };
        assert!(Error::from(Trouble::from(&other)).to_string().contains("step 3: forgotten"));
    }

    #[test]
    fn path_lengths_are_the_same_to_the_bit_after_the_way_between_ranks() {
        let lengths = [0.1 + 0.2, f64::MIN_POSITIVE, 12.345_678_901_234_567, 1e300 / 3.0];
        let sent = serde_json::to_vec(&Answer::Lengths { bits: lengths.map(f64::to_bits).into() }).unwrap();
        let Answer::Lengths { bits } = serde_json::from_slice(&sent).unwrap() else {
            panic!("it was path lengths")
        };
        assert_eq!(bits, lengths.map(f64::to_bits));
    }

    #[test]
    fn a_text_that_lasts_is_kept_once() {
        assert!(std::ptr::eq(lasting("once".into()), lasting("once".into())));
    }

    #[test]
    fn jobs_are_read_as_they_are_written() {
        let by = Maker {
            params: ExtractorParams::default(),
            shape: ImageShape { channels: 3, rows: 5, columns: 7 },
            device: DeviceChoice::CpuF32,
            weights_dirs: vec!["/weights".into()],
            arithmetic: "f32".into(),
        };
        let job = Job::Extract { by, n_images: 2 };
        assert_eq!(job.n_values(), 210);
        assert_eq!(serde_json::from_slice::<Job>(&serde_json::to_vec(&job).unwrap()).unwrap(), job);
        let params = ShareParams {
            forest: IsolationForestParams::default(),
            rows: RowFormat::Bf16,
            seed: u64::MAX,
            part: (0, 3),
        };
        let work =
            vec![ShareWork::Forget { n_oldest: 1, n_left: 4 }, ShareWork::Measure { seed: u64::MAX - 1 }];
        let request = ShareRequest { run: 1, params, n_rows: 6, work, same_row: true };
        let trees = Job::Trees { request, part: 2, n_values: 0 };
        assert_eq!(trees.n_values(), 0);
        assert_eq!(serde_json::from_slice::<Job>(&serde_json::to_vec(&trees).unwrap()).unwrap(), trees);
        // Shared by threads, as an extractor is.
        fn crosses_threads<T: Send + Sync>(_: &T) {}
        crosses_threads(&Arc::new(job));
    }
}

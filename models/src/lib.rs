//! Image features, isolation forests and online judgement for running simulations.
//!
//! Images and arrays in, scores and verdicts out: this crate knows no socket, no clock and no logger, and no type of a
//! model library stands in its public items.
#![deny(unsafe_code)]
#![deny(missing_docs)]

pub mod artefact;
pub mod calibration;
pub mod detector;
mod error;
pub mod evaluate;
pub mod extractor;
pub mod finite;
pub mod image;
mod importance_map;
pub mod online;
pub mod pipeline;
pub mod rng;
mod sample_weights;
pub mod samples;
pub mod traits;
pub mod transform;
mod verdict;

pub use artefact::Artefact;
pub use error::{Error, Result};
pub use importance_map::ImportanceMap;
pub use pipeline::{Pipeline, PipelineParams};
pub use sample_weights::SampleWeights;
pub use traits::{Detector, FeatureExtractor, Fit, ImageShape, Transform};
pub use verdict::{Evidence, FieldFacts, Judgement, Label, PoolState, Verdict};

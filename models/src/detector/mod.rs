//! What scores features: fitted on features of normal images only.

pub mod isolation_forest;

pub use isolation_forest::{IsolationForest, IsolationForestParams, SamplePool, Stored};

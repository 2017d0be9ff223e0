//! What scores features: fitted on features of normal images only.

mod fitted;
pub mod isolation_forest;
pub mod one_class_svm;

pub use fitted::{DetectorParams, FittedDetector};
pub use isolation_forest::{
    ExtendedForest, ExtendedForestParams, IncrementalForest, IsolationForest, IsolationForestParams,
    SamplePool, Stored,
};
pub use one_class_svm::{OneClassSvm, OneClassSvmParams};

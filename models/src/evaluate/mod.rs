//! What an evaluation needs beside the judgement: bounds on rates, cheap baselines, and faults to be found.

mod baseline;
mod colour;
mod inject;
mod rate;

pub use baseline::{Baseline, FieldRange};
pub use colour::ColourOrder;
pub use inject::{Fault, FaultKind, Injected, InjectedField};
pub use rate::{Interval, clopper_pearson};

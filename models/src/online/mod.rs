//! Judging the images of a running simulation, each by those before it.
//!
//! A run keeps a pool of images believed normal. An image that raises no alarm joins it; a rewind makes the pool forget later
//! steps. There are two rules: the default compares an image with those just before it ([`OnlineMethod::OneStepAhead`]), the
//! paper's fits an isolation forest on the whole pool ([`OnlineMethod::Forest`]).

mod block_matching;
mod colour_novelty;
mod evidence;
mod features;
mod forest_evidence;
mod forest_rule;
mod heat_map;
mod history;
mod kept_forest;
mod known;
mod manifest;
mod manifest_change;
mod one_step_ahead;
mod params;
mod pixels;
mod planes;
mod pool;
mod prior;
mod record;
mod record_draft;
mod rows;
mod run;
mod sequence;
mod series;
mod shared_trees;
mod sparse;
mod state;
mod streams;
mod surprise;
mod tail;
mod track;
mod tree_share;
mod window;

pub use heat_map::HeatMap;
pub use known::Truth;
pub use manifest::{RecordKey, RunManifest};
pub use manifest_change::{ListChange, ManifestChange};
pub use params::{ForestRuleParams, OneStepAheadParams, OnlineMethod, OnlineParams};
pub use prior::{Prior, PriorFile};
pub use record_draft::RecordDraft;
pub use rows::RowFormat;
pub use run::OnlineRun;
pub use sequence::{Damage, Labelled};
pub use series::ScalarRun;
pub use streams::{RunSettings, StreamSummary, Streams};
pub use tree_share::{Asked, KeptShares, ShareParams, ShareRequest, ShareWork, TreeKeepers};

#[cfg(test)]
mod papers_rule_tests;
#[cfg(test)]
mod run_tests;
#[cfg(test)]
mod streams_tests;

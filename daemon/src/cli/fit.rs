//! Arguments of `fit`.

use super::ComputeArgs;
use clap::Args;
use std::path::PathBuf;

/// Arguments of `fit`.
#[derive(Debug, Args)]
pub struct FitArgs {
    /// Images: files, directories (all images in them) or patterns with * and ?; in natural order of their names
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// Directory to write the artefact to; must not exist
    #[arg(long, short, value_name = "DIR")]
    pub output: PathBuf,
    /// Of the images in order, those from the first to the last position, counted from 1, inclusive
    #[arg(long, value_name = "FIRST:LAST", value_parser = range)]
    pub range: Option<(usize, usize)>,
    /// hog (needs no weights) or resnet50
    #[arg(long, default_value = "hog", value_name = "NAME")]
    pub extractor: String,
    /// Manifest name of the weights, see `anomalyd models list`; for resnet50
    #[arg(long, value_name = "NAME")]
    pub weights: Option<String>,
    /// Where the network is tapped: stem, layer1, layer2, layer3 or layer4; for resnet50
    #[arg(long, value_name = "LAYER")]
    pub tap: Option<String>,
    /// Part of the image to judge: none, paper, or FIRST_ROW:LAST_ROW,FIRST_COLUMN:LAST_COLUMN
    #[arg(long, default_value = "none", value_name = "CROP")]
    pub crop: String,
    /// grey or rgb; default: as the extractor wants
    #[arg(long, value_name = "COLOUR")]
    pub colour: Option<String>,
    /// Side of the boxes of pixels that are averaged into one
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub reduce: usize,
    /// Principal components kept; default: the detector sees all features
    #[arg(long, value_name = "N")]
    pub components: Option<usize>,
    /// isolation-forest, extended-forest (splits look at several features) or one-class-svm
    #[arg(long, default_value = "isolation-forest", value_name = "NAME")]
    pub detector: String,
    /// Trees of a forest; default: 1000
    #[arg(long, value_name = "N")]
    pub trees: Option<usize>,
    /// Images that each tree is grown on; default: all
    #[arg(long, value_name = "N")]
    pub sample_size: Option<usize>,
    /// With --sample-size: an image is half as likely to be drawn for a tree as one so many images later
    #[arg(long, value_name = "IMAGES", requires = "sample_size")]
    pub half_life: Option<f64>,
    /// With --sample-size: file of how likely each image is drawn for a tree, a number at least 0 for each image, in their order
    #[arg(long, value_name = "FILE", requires = "sample_size", conflicts_with = "half_life")]
    pub sample_weights: Option<PathBuf>,
    /// Most splits on a path of a tree; default: log2 of the images that it is grown on, rounded up
    #[arg(long, value_name = "N")]
    pub max_depth: Option<u32>,
    /// Features that a split of the extended forest looks at; default: 3
    #[arg(long, value_name = "N")]
    pub split_columns: Option<usize>,
    /// For one-class-svm: at most this share of the images of the fit lies outside of its border, above 0 and at most 1; default: 0.01
    #[arg(long, value_name = "FRACTION")]
    pub nu: Option<f64>,
    /// For one-class-svm: how fast its kernel falls off, a number, scale (default: one over the variance of all features together) or auto
    #[arg(long, value_name = "GAMMA")]
    pub gamma: Option<String>,
    /// For one-class-svm: rbf (default) or linear
    #[arg(long, value_name = "NAME")]
    pub kernel: Option<String>,
    /// Do not bring features to mean 0 and standard deviation 1
    #[arg(long)]
    pub no_scale: bool,
    /// Fraction of normal images that may be called anomalous; 0.01 needs 100 images held out, that is 500 in all
    #[arg(long, value_name = "FRACTION")]
    pub false_alarm_rate: Option<f64>,
    /// Of so many images one is held out of the fit, for the threshold; default: 5
    #[arg(long, value_name = "N")]
    pub hold_out_every: Option<usize>,
    /// Instead of holding out: the fraction of the images of the fit above the threshold, as scikit-learn does
    #[arg(long, value_name = "FRACTION", conflicts_with_all = ["false_alarm_rate", "hold_out_every"])]
    pub contamination: Option<f64>,
    /// Instead of calibrating: this threshold; 0.5 for forests and 0 for one-class-svm are scikit-learn's own
    #[arg(long, value_name = "SCORE", conflicts_with_all = ["false_alarm_rate", "hold_out_every", "contamination"])]
    pub threshold: Option<f32>,
    /// Seed of all random choices
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub seed: u64,
    /// Where extractors have their weights and compute.
    #[command(flatten)]
    pub compute: ComputeArgs,
}

fn range(text: &str) -> Result<(usize, usize), String> {
    let parsed =
        text.split_once(':').and_then(|(first, last)| Some((first.parse().ok()?, last.parse().ok()?)));
    parsed
        .filter(|(first, last)| *first >= 1 && first <= last)
        .ok_or_else(|| "expected FIRST:LAST, for example 1:600".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn range_is_counted_from_one_and_in_order() {
        assert_eq!(range("1:600"), Ok((1, 600)));
        for wrong in ["0:5", "5:4", "5", "a:b"] {
            assert!(range(wrong).is_err(), "{wrong}");
        }
    }
}

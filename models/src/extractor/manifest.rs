//! What is known of a weights file: where it comes from, what it holds, and its checksum.

use super::resnet::ResNetSpec;
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::fmt;

/// A network whose weights a manifest describes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Architecture {
    /// ResNet-50 with tensors named as in torchvision.
    ResNet50,
}

/// Where a ResNet-50 places the stride of 2 in the first block of a stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Variant {
    /// In the first 1 x 1 convolution: He et al. 2015, and Keras.
    #[serde(rename = "v1")]
    V1,
    /// In the 3 x 3 convolution: torchvision and timm.
    #[serde(rename = "v1.5")]
    V1_5,
}

/// How grey levels in 0..=255 are normalised before the first convolution. Channels are red, green, blue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Normalisation {
    /// The means 123.68, 116.779 and 103.939 are subtracted, nothing else.
    Caffe,
    /// Divided by 255, then by mean (0.485, 0.456, 0.406) and standard deviation (0.229, 0.224, 0.225).
    Imagenet,
}

/// The stage of a ResNet whose output is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tap {
    /// After the first convolution and the maximum pool: 64 channels, a quarter of the image's rows and columns.
    Stem,
    /// 256 channels, a quarter of the image.
    Layer1,
    /// 512 channels, an eighth.
    Layer2,
    /// 1,024 channels, a sixteenth.
    #[default]
    Layer3,
    /// 2,048 channels, a thirty-second.
    Layer4,
}

impl Tap {
    /// All taps, from the first to the last.
    pub const ALL: [Self; 5] = [Self::Stem, Self::Layer1, Self::Layer2, Self::Layer3, Self::Layer4];

    /// The number of channels of its output.
    pub fn channels(self) -> usize {
        match self {
            Self::Stem => 64,
            stage => 128 << stage as usize,
        }
    }
}

impl fmt::Display for Tap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stem => "stem",
            Self::Layer1 => "layer1",
            Self::Layer2 => "layer2",
            Self::Layer3 => "layer3",
            Self::Layer4 => "layer4",
        })
    }
}

/// What is known of a weights file; written in TOML.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The name by which configurations and artefacts call for these weights.
    pub name: String,
    /// One line for a person.
    pub description: String,
    /// The file's name, without directories; a safetensors file.
    pub file: String,
    /// Where the file can be fetched, over HTTPS; absent if it is not published as one file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// How to come by the file, in words, where there is no `source`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub obtain: Option<String>,
    /// The licence of the weights, as far as it is known.
    pub licence: String,
    /// SHA-256 of the file, 64 hexadecimal digits; absent if nobody has pinned it yet: such weights are not loaded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// The file's length in bytes, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size_bytes: Option<u64>,
    /// The network.
    pub architecture: Architecture,
    /// Where the strides are.
    pub variant: Variant,
    /// How images are normalised.
    pub normalisation: Normalisation,
    /// The constant added to the variance in batch normalisation.
    pub bn_eps: f64,
    /// The last stage the file has all tensors of.
    pub last_tap: Tap,
}

impl Manifest {
    /// Reads a manifest; `origin` names it in errors.
    ///
    /// # Errors
    ///
    /// [`Error::Weights`] if the text is no manifest, the file's name has directories in it, the source is not fetched over
    /// HTTPS, the checksum is not 64 hexadecimal digits, or `bn_eps` is not positive.
    pub fn from_toml(text: &str, origin: &str) -> Result<Self> {
        let refuse = |reason: String| Error::Weights { name: origin.to_owned(), reason };
        let manifest: Self =
            toml::from_str(text).map_err(|error| refuse(format!("no weights manifest: {error}")))?;
        let plain = |text: &str| {
            !text.is_empty() && !text.starts_with('.') && !text.contains(['/', '\\', '\0', '\n'])
        };
        if !plain(&manifest.file) || !plain(&manifest.name) {
            let found = if plain(&manifest.file) { &manifest.name } else { &manifest.file };
            return Err(refuse(format!("found \"{found}\", expected a plain name without directories")));
        }
        if let Some(source) = manifest.source.as_ref().filter(|source| !source.starts_with("https://")) {
            return Err(refuse(format!(
                "source is \"{source}\", expected an address that begins with https://"
            )));
        }
        if let Some(sum) = &manifest.sha256 {
            check_sha256(sum).map_err(refuse)?;
        }
        if !(manifest.bn_eps > 0.0 && manifest.bn_eps < 1.0) {
            return Err(refuse(format!("bn_eps is {}, expected a number between 0 and 1", manifest.bn_eps)));
        }
        Ok(manifest)
    }

    /// The manifest as TOML, which [`from_toml`](Self::from_toml) reads.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("a manifest is a flat table of strings and numbers")
    }

    /// What the network needs to know of its weights.
    pub fn spec(&self) -> ResNetSpec {
        ResNetSpec {
            variant: self.variant,
            normalisation: self.normalisation,
            bn_eps: self.bn_eps,
            last_tap: self.last_tap,
        }
    }

    /// How to come by the file: its source, else the words for where there is none.
    pub fn how_to_obtain(&self) -> String {
        match (&self.source, &self.obtain) {
            (Some(source), _) => {
                format!("fetch it with `anomalyd models pull {}` (from {source})", self.name)
            }
            (None, Some(words)) => words.clone(),
            (None, None) => "the manifest names no source; ask whoever wrote it".into(),
        }
    }
}

pub(super) fn check_sha256(sum: &str) -> std::result::Result<(), String> {
    if sum.len() != 64 || !sum.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f')) {
        return Err(format!(
            "sha256 is \"{sum}\", expected 64 lower-case hexadecimal digits, as sha256sum prints them"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"
        name = "w"
        description = "a test"
        file = "w.safetensors"
        licence = "MIT"
        architecture = "resnet50"
        variant = "v1.5"
        normalisation = "imagenet"
        bn_eps = 1e-5
        last_tap = "layer4"
    "#;

    #[test]
    fn manifest_is_read_as_it_is_written() {
        let manifest = Manifest::from_toml(TEXT, "test").unwrap();
        assert_eq!(manifest.variant, Variant::V1_5);
        assert_eq!(manifest.sha256, None);
        assert_eq!(Manifest::from_toml(&manifest.to_toml(), "test").unwrap(), manifest);
    }

    #[test]
    fn manifest_that_cannot_be_trusted_is_refused() {
        for (from, to, word) in [
            ("w.safetensors", "../w.safetensors", "plain name"),
            ("w.safetensors", "/etc/passwd", "plain name"),
            ("bn_eps = 1e-5", "bn_eps = 0.0", "bn_eps"),
            ("licence", "sha256 = \"12ab\"\nlicence", "64"),
            ("licence", "source = \"http://example.org/w\"\nlicence", "https"),
            ("licence", "license = \"MIT\"\nlicence", "license"),
            ("layer4", "layer5", "layer5"),
        ] {
            let error = Manifest::from_toml(&TEXT.replacen(from, to, 1), "test").unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
    }

    #[test]
    fn channels_double_from_stage_to_stage() {
        assert_eq!(Tap::ALL.map(Tap::channels), [64, 256, 512, 1024, 2048]);
    }
}

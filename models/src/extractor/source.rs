//! Where extractors come from: this process makes them, or others do the work for it.

use super::{DeviceChoice, ExtractorParams, WeightsStore};
use crate::error::Result;
use crate::online::TreeKeepers;
use crate::traits::{FeatureExtractor, ImageShape};
use std::fmt::{self, Debug};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Gives the extractors that runs ask for.
///
/// Whoever computes the features, they are the same, bit for bit: those of [`ExtractorParams::build`].
pub trait ExtractorSource: Debug + Send + Sync {
    /// The extractor for images of `shape`.
    ///
    /// # Errors
    ///
    /// Those of [`ExtractorParams::build`].
    fn extractor(&self, params: &ExtractorParams, shape: ImageShape) -> Result<Arc<dyn FeatureExtractor>>;

    /// The [arithmetic](FeatureExtractor::arithmetic) of the extractors it gives.
    fn arithmetic(&self, params: &ExtractorParams) -> &'static str;

    /// The format of fewer bits than f32 that features are rounded to on their way, if there is one. What was learnt from such features does
    /// not judge others, nor the other way round; between f32 and [`Isa::Amx`](super::kernels::Isa::Amx) the difference is small.
    fn rounded_to(&self, params: &ExtractorParams) -> Option<&'static str> {
        Some(self.arithmetic(params)).filter(|&arithmetic| is_rounded(arithmetic))
    }

    /// Who could keep a part of a run's trees, where extractors are in other processes.
    fn tree_keepers(&self) -> Option<Arc<dyn TreeKeepers>> {
        None
    }
}

/// Whether this is the arithmetic of features rounded to fewer bits than f32 has.
pub(crate) fn is_rounded(arithmetic: &str) -> bool {
    matches!(arithmetic, "f16" | "bf16" | "int8")
}

/// An extractor that was made, as long as somebody uses it.
type Made = (ExtractorParams, ImageShape, Weak<dyn FeatureExtractor>);

/// Extractors that compute in this process. Runs that ask for the same one share it: its weights are in memory once, and a GPU computes their
/// images together.
#[derive(Clone, Default)]
pub struct OwnExtractors {
    weights: Arc<WeightsStore>,
    device: DeviceChoice,
    made: Arc<Mutex<Vec<Made>>>,
}

impl OwnExtractors {
    /// - `weights`: for an extractor that needs them.
    /// - `device`: where networks run.
    pub fn new(weights: Arc<WeightsStore>, device: DeviceChoice) -> Self {
        Self { weights, device, made: Arc::default() }
    }
}

impl Debug for OwnExtractors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnExtractors")
            .field("weights", &self.weights)
            .field("device", &self.device)
            .finish_non_exhaustive()
    }
}

impl ExtractorSource for OwnExtractors {
    fn extractor(&self, params: &ExtractorParams, shape: ImageShape) -> Result<Arc<dyn FeatureExtractor>> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        made.retain(|(.., extractor)| extractor.strong_count() > 0);
        let known = made.iter().find(|(known, its_shape, _)| known == params && *its_shape == shape);
        if let Some(extractor) = known.and_then(|(.., extractor)| extractor.upgrade()) {
            return Ok(extractor);
        }
        let extractor = params.build(shape, &self.weights, &self.device)?;
        made.push((params.clone(), shape, Arc::downgrade(&extractor)));
        Ok(extractor)
    }

    fn arithmetic(&self, params: &ExtractorParams) -> &'static str {
        params.arithmetic(self.device)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::extractor::HogParams;

    #[test]
    fn those_who_ask_for_the_same_extractor_share_it_as_long_as_one_of_them_uses_it() {
        let source = OwnExtractors::default();
        let shape = ImageShape { channels: 1, rows: 40, columns: 50 };
        let ask = |cells, shape| {
            let params = ExtractorParams::Hog(HogParams { cells, ..HogParams::default() });
            source.extractor(&params, shape).expect("is made")
        };
        let first = ask(4, shape);
        assert!(Arc::ptr_eq(&first, &ask(4, shape)));
        assert!(!Arc::ptr_eq(&first, &ask(5, shape)));
        assert!(!Arc::ptr_eq(&first, &ask(4, ImageShape { rows: 41, ..shape })));
        drop(first);
        assert_eq!(
            source
                .made
                .lock()
                .expect("not poisoned")
                .iter()
                .filter(|(.., made)| made.strong_count() > 0)
                .count(),
            0
        );
        ask(4, shape);
        assert_eq!(source.made.lock().expect("not poisoned").len(), 1, "what nobody uses is forgotten");
    }
}

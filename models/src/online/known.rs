//! The images that something is known of whatever the run accepts or forgets: those that raised an alarm, to know an event
//! again that comes back after a rewind, and those whose truth an operator has told.

use super::pixels::PixelDigest;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Images known; the oldest is dropped for a new one. 48 bytes each.
const MAX_KNOWN: usize = 1024;

/// What an operator says an image is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Truth {
    /// Nothing is wrong with it, whatever its score.
    Normal,
    /// It shows a fault, whatever its score.
    Anomalous,
}

/// One image that something is known of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct KnownImage {
    pub(super) step: i64,
    pub(super) digest: PixelDigest,
    /// It has raised an alarm.
    pub(super) alarmed: bool,
    /// What an operator has said of it.
    pub(super) truth: Option<Truth>,
}

/// What is known of images; a rewind does not make it forgotten.
#[derive(Debug, Default)]
pub(super) struct Known(VecDeque<KnownImage>);

impl Known {
    /// The number of different images that have raised an alarm at `step`.
    pub(super) fn n_alarms_at(&self, step: i64) -> usize {
        self.0.iter().filter(|image| image.step == step && image.alarmed).count()
    }

    /// What is known of this very image.
    pub(super) fn find(&self, step: i64, digest: &PixelDigest) -> Option<KnownImage> {
        self.0.iter().find(|image| image.step == step && image.digest == *digest).copied()
    }

    /// The image at `step` of which something was learnt last.
    pub(super) fn newest_at(&self, step: i64) -> Option<KnownImage> {
        self.0.iter().rev().find(|image| image.step == step).copied()
    }

    /// Remembers an alarm.
    pub(super) fn alarm(&mut self, step: i64, digest: PixelDigest) {
        self.note(step, digest).alarmed = true;
    }

    /// Remembers what an operator says.
    pub(super) fn label(&mut self, step: i64, digest: PixelDigest, truth: Truth) {
        self.note(step, digest).truth = Some(truth);
    }

    /// What is known again, the oldest first.
    pub(super) fn restore(images: impl IntoIterator<Item = KnownImage>) -> Self {
        let mut known: VecDeque<_> = images.into_iter().collect();
        known.drain(..known.len().saturating_sub(MAX_KNOWN));
        Self(known)
    }

    /// All, the oldest first.
    pub(super) fn iter(&self) -> impl ExactSizeIterator<Item = &KnownImage> {
        self.0.iter()
    }

    /// The image's entry, made the newest.
    fn note(&mut self, step: i64, digest: PixelDigest) -> &mut KnownImage {
        let place = self.0.iter().position(|image| image.step == step && image.digest == digest);
        let image = place.and_then(|place| self.0.remove(place)).unwrap_or(KnownImage {
            step,
            digest,
            alarmed: false,
            truth: None,
        });
        if self.0.len() == MAX_KNOWN {
            self.0.pop_front();
        }
        self.0.push_back(image);
        self.0.back_mut().expect("one was pushed")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_makes_room() {
        let mut known = Known::default();
        (0..=MAX_KNOWN as i64).for_each(|step| known.alarm(step, [0; 32]));
        assert_eq!(known.find(0, &[0; 32]), None);
        assert!(known.find(1, &[0; 32]).is_some() && known.newest_at(MAX_KNOWN as i64).is_some());
    }

    #[test]
    fn one_image_is_noted_once_and_a_later_word_counts() {
        let mut known = Known::default();
        known.alarm(1, [0; 32]);
        known.alarm(1, [1; 32]);
        known.label(1, [0; 32], Truth::Anomalous);
        known.label(1, [0; 32], Truth::Normal);
        assert_eq!((known.iter().len(), known.n_alarms_at(1)), (2, 2));
        let first = KnownImage { step: 1, digest: [0; 32], alarmed: true, truth: Some(Truth::Normal) };
        assert_eq!((known.find(1, &[0; 32]), known.newest_at(1)), (Some(first), Some(first)));
    }
}

//! The images that raised an alarm: to know an event again that comes back after a rewind.

use ndarray::Array3;
use sha2::{Digest, Sha256};
use std::collections::VecDeque;

/// Alarms remembered; the oldest is dropped for a new one. 40 bytes each.
const MAX_ALARMS: usize = 1024;

/// The SHA-256 of an image's shape and pixels.
pub(super) type PixelDigest = [u8; 32];

/// Digests a preprocessed image, `[channels, rows, columns]`, in row-major order whatever its layout.
pub(super) fn digest(pixels: &Array3<f32>) -> PixelDigest {
    let mut hasher = Sha256::new();
    for &length in pixels.shape() {
        hasher.update((length as u64).to_le_bytes());
    }
    let mut bytes = Vec::with_capacity(4 * pixels.len_of(ndarray::Axis(2)));
    for lane in pixels.rows() {
        bytes.clear();
        lane.iter().for_each(|value| bytes.extend(value.to_bits().to_le_bytes()));
        hasher.update(&bytes);
    }
    hasher.finalize().into()
}

/// Steps and digests of the images that raised an alarm; a rewind does not make them forgotten.
#[derive(Debug, Default)]
pub(super) struct Alarms(VecDeque<(i64, PixelDigest)>);

impl Alarms {
    /// The number of alarms at `step`.
    pub(super) fn n_at(&self, step: i64) -> usize {
        self.0.iter().filter(|(other, _)| *other == step).count()
    }

    /// Whether this very image has raised an alarm at `step`.
    pub(super) fn contains(&self, step: i64, digest: &PixelDigest) -> bool {
        self.0.iter().any(|alarm| alarm.0 == step && alarm.1 == *digest)
    }

    /// Remembers an alarm.
    pub(super) fn remember(&mut self, step: i64, digest: PixelDigest) {
        if self.0.len() == MAX_ALARMS {
            self.0.pop_front();
        }
        self.0.push_back((step, digest));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_tells_pixels_and_shapes_apart_but_not_layouts() {
        let image = Array3::from_shape_fn((2, 3, 4), |(k, r, c)| (12 * k + 4 * r + c) as f32);
        let mut other = image.clone();
        other[[1, 2, 3]] += 0.5;
        let reshaped = image.clone().into_shape_with_order((2, 4, 3)).unwrap();
        let transposed = image.clone().reversed_axes().as_standard_layout().into_owned();
        assert_ne!(digest(&image), digest(&other));
        assert_ne!(digest(&image), digest(&reshaped));
        assert_eq!(digest(&image), digest(&transposed.reversed_axes()));
    }

    #[test]
    fn the_oldest_alarm_makes_room() {
        let mut alarms = Alarms::default();
        (0..=MAX_ALARMS as i64).for_each(|step| alarms.remember(step, [0; 32]));
        assert!(!alarms.contains(0, &[0; 32]));
        assert!(alarms.contains(1, &[0; 32]) && alarms.contains(MAX_ALARMS as i64, &[0; 32]));
    }
}

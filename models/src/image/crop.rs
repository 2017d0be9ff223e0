//! The rectangle of an image that shows the physics.

use super::error::{ImageError, ImageErrorKind};
use serde::{Deserialize, Serialize};

/// A rectangle of pixels, by its first and last rows and columns.
///
/// What lies outside (axes, legend, clock) never reaches a detector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Crop {
    /// First and last row, counted from 0 at the top, both inclusive.
    pub rows: [usize; 2],
    /// First and last column, counted from 0 at the left, both inclusive.
    pub columns: [usize; 2],
}

impl Crop {
    /// The crop of the paper on entropy-based anomaly detection in CHIMERA: 480 x 956 pixels of a 768 x 1366 image.
    pub const PAPER: Self = Self { rows: [122, 601], columns: [257, 1212] };

    /// Rows and columns of the rectangle, in pixels.
    ///
    /// # Errors
    ///
    /// [`ImageError`] of kind [`Crop`](ImageErrorKind::Crop) if an interval ends before it begins, or beyond an image of
    /// `rows` x `columns` pixels.
    pub fn size_within(&self, rows: usize, columns: usize) -> Result<[usize; 2], ImageError> {
        let length = |name, [first, last]: [usize; 2], available: usize| {
            if first > last {
                let message =
                    format!("crop {name} [{first}, {last}]: the first lies beyond the last; swap them");
                return Err(ImageError::new(ImageErrorKind::Crop, message));
            }
            if last >= available {
                let message = format!(
                    "crop {name} [{first}, {last}] lie outside the image, whose {rows} x {columns} pixels have {name} 0 to {}: \
                     give a crop within the image, or write images of the size it was made for",
                    available.saturating_sub(1)
                );
                return Err(ImageError::new(ImageErrorKind::Crop, message));
            }
            Ok(last - first + 1)
        };
        Ok([length("rows", self.rows, rows)?, length("columns", self.columns, columns)?])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_papers_crop_has_480_by_956_pixels() {
        assert_eq!(Crop::PAPER.size_within(768, 1366).unwrap(), [480, 956]);
        assert_eq!(Crop::PAPER.size_within(602, 1213).unwrap(), [480, 956]);
    }

    #[test]
    fn crop_beyond_the_image_says_what_the_image_has() {
        let error = Crop::PAPER.size_within(601, 1366).unwrap_err();
        assert_eq!(error.kind(), ImageErrorKind::Crop);
        assert!(
            error.to_string().contains("601 x 1366") && error.to_string().contains("[122, 601]"),
            "{error}"
        );
        assert!(Crop::PAPER.size_within(768, 1212).unwrap_err().to_string().contains("columns"));
        assert_eq!(
            Crop { rows: [3, 2], columns: [0, 0] }.size_within(9, 9).unwrap_err().kind(),
            ImageErrorKind::Crop
        );
        assert!(Crop { rows: [0, usize::MAX], columns: [0, 0] }.size_within(9, 9).is_err());
    }
}

//! What a simulation hands over: an image file, or a raw field.

use super::decode::{Decoded, Limits, decode};
use super::error::ImageError;
use super::field::Field;
use super::npy::{is_npy, read_npy};

/// What is judged.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// A rendered image.
    Image(Decoded),
    /// A raw field.
    Field(Field),
}

impl Input {
    /// Reads a file held in memory: an image, or a field as NumPy writes it. The format is recognised by content.
    ///
    /// # Errors
    ///
    /// Those of [`decode`] or of [`read_npy`].
    pub fn read(bytes: &[u8], limits: &Limits) -> Result<Self, ImageError> {
        if is_npy(bytes) {
            read_npy(bytes, limits).map(Self::Field)
        } else {
            decode(bytes, limits).map(Self::Image)
        }
    }

    /// Rows and columns; of a field, those of one variable.
    pub fn size(&self) -> [usize; 2] {
        match self {
            Self::Image(image) => [image.pixels.dim().0, image.pixels.dim().1],
            Self::Field(field) => [field.shape()[1], field.shape()[2]],
        }
    }
}

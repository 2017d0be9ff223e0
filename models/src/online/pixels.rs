//! An image as rules take it: its levels where they were decoded, or numbers computed from them.

use crate::error::Result;
use crate::image::{Decoded, Preprocess};
use crate::traits::ImageShape;
use blake3::Hasher;
use ndarray::{Array3, ArrayView3, Axis};
use std::borrow::Cow;

/// The BLAKE3 digest of an image's shape and pixels.
pub(super) type PixelDigest = [u8; 32];

/// Bytes digested at once: many blocks side by side are several times as fast as a few.
const AT_ONCE: usize = 1 << 16;

/// A preprocessed image.
pub(super) enum Pixels<'a> {
    /// Levels that lie in the decoded image, `[rows, columns, channels]`; a single channel stands for all.
    Levels { levels: ArrayView3<'a, u8>, shape: ImageShape, image: &'a Decoded, preprocess: &'a Preprocess },
    /// `[channels, rows, columns]` in 0..=255.
    Numbers(Cow<'a, Array3<f32>>),
}

impl<'a> Pixels<'a> {
    /// Of a decoded image; numbers are computed where they are no levels of it.
    ///
    /// # Errors
    ///
    /// As [`Preprocess::apply`].
    pub(super) fn of(image: &'a Decoded, preprocess: &'a Preprocess) -> Result<Self> {
        let (rows, columns, _) = image.pixels.dim();
        Ok(match preprocess.levels(image)? {
            Some(levels) => {
                Self::Levels { levels, shape: preprocess.shape(rows, columns)?, image, preprocess }
            }
            None => Self::Numbers(Cow::Owned(preprocess.apply(image)?)),
        })
    }

    pub(super) fn shape(&self) -> ImageShape {
        match self {
            Self::Levels { shape, .. } => *shape,
            Self::Numbers(numbers) => {
                let (channels, rows, columns) = numbers.dim();
                ImageShape { channels, rows, columns }
            }
        }
    }

    /// The image as numbers, `[channels, rows, columns]` in 0..=255.
    ///
    /// # Errors
    ///
    /// As [`Preprocess::apply`].
    pub(super) fn numbers(&self) -> Result<Cow<'_, Array3<f32>>> {
        match self {
            Self::Levels { image, preprocess, .. } => Ok(Cow::Owned(preprocess.apply(image)?)),
            Self::Numbers(numbers) => Ok(Cow::Borrowed(numbers)),
        }
    }

    /// Digests the numbers pixel by pixel, whatever their layout and whether they were computed.
    ///
    /// A row of grey levels counts as one byte a number, which is four times as fast; any other as its 32-bit numbers.
    pub(super) fn digest(&self) -> PixelDigest {
        let ImageShape { channels, rows, columns } = self.shape();
        let mut bytes = Vec::with_capacity(AT_ONCE + 1 + 4 * channels * columns);
        [channels, rows, columns]
            .iter()
            .for_each(|&length| bytes.extend_from_slice(&(length as u64).to_le_bytes()));
        let mut hasher = Hasher::new();
        let mut hash = |bytes: &mut Vec<u8>, at_least| {
            if bytes.len() >= at_least {
                hasher.update(bytes);
                bytes.clear();
            }
        };
        match self {
            Self::Levels { levels, .. } => {
                let n_found = levels.dim().2;
                for row in levels.outer_iter() {
                    bytes.push(1);
                    match row.to_slice() {
                        Some(row) if n_found == channels => bytes.extend_from_slice(row),
                        _ => bytes.extend(row.rows().into_iter().flat_map(|pixel| {
                            (0..channels).map(move |channel| pixel[channel.min(n_found - 1)])
                        })),
                    }
                    hash(&mut bytes, AT_ONCE);
                }
            }
            Self::Numbers(numbers) => {
                for row in numbers.axis_iter(Axis(1)) {
                    let row = row.reversed_axes();
                    let start = bytes.len();
                    bytes.push(1);
                    bytes.extend(row.iter().map(|&value| value as u8));
                    // Compared as bits: a negative zero is no grey level.
                    let is_level =
                        |(value, level): (&f32, &u8)| value.to_bits() == f32::from(*level).to_bits();
                    if !row.iter().zip(&bytes[start + 1..]).all(is_level) {
                        bytes.truncate(start);
                        bytes.push(4);
                        bytes.extend(row.iter().flat_map(|value| value.to_bits().to_le_bytes()));
                    }
                    hash(&mut bytes, AT_ONCE);
                }
            }
        }
        hash(&mut bytes, 0);
        *hasher.finalize().as_bytes()
    }
}

impl<'a> From<&'a Array3<f32>> for Pixels<'a> {
    fn from(numbers: &'a Array3<f32>) -> Self {
        Self::Numbers(Cow::Borrowed(numbers))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::{Colour, Crop};

    fn digest(numbers: &Array3<f32>) -> PixelDigest {
        Pixels::from(numbers).digest()
    }

    #[test]
    fn the_digest_tells_pixels_and_shapes_apart_but_not_layouts() {
        let image = Array3::from_shape_fn((2, 3, 4), |(k, r, c)| (12 * k + 4 * r + c) as f32);
        let reshaped = image.clone().into_shape_with_order((2, 4, 3)).unwrap();
        let transposed = image.clone().reversed_axes().as_standard_layout().into_owned();
        assert_ne!(digest(&image), digest(&reshaped));
        assert_eq!(digest(&image), digest(&transposed.reversed_axes()));
        for other in [22.0, 23.5, 256.0 + 23.0, -0.0, f32::NAN] {
            let mut changed = image.clone();
            changed[[1, 2, 3]] = other;
            assert_ne!(digest(&image), digest(&changed), "{other}");
        }
        let zeros = Array3::<f32>::zeros((1, 1, 4));
        assert_ne!(digest(&zeros), digest(&zeros.mapv(|zero| -zero)));
    }

    #[test]
    fn levels_where_they_were_decoded_are_the_numbers_computed_from_them() {
        let crop = Some(Crop { rows: [2, 9], columns: [3, 13] });
        for (n_channels, colour, crop, reduce, are_levels) in [
            (3, Colour::Rgb, crop, 1, true),
            (3, Colour::Rgb, None, 1, true),
            (1, Colour::Rgb, crop, 1, true),
            (1, Colour::Grey, crop, 1, true),
            (3, Colour::Grey, crop, 1, false),
            (3, Colour::Rgb, crop, 2, false),
        ] {
            let pixels =
                Array3::from_shape_fn((11, 17, n_channels), |(r, c, k)| (31 * r + 7 * c + 101 * k) as u8);
            let image = Decoded { pixels, format: "png" };
            let preprocess = Preprocess { crop, colour, reduce };
            let pixels = Pixels::of(&image, &preprocess).unwrap();
            let numbers = preprocess.apply(&image).unwrap();
            assert_eq!(matches!(pixels, Pixels::Levels { .. }), are_levels);
            assert_eq!(*pixels.numbers().unwrap(), numbers);
            assert_eq!(pixels.shape(), Pixels::from(&numbers).shape());
            assert_eq!(pixels.digest(), digest(&numbers), "{n_channels} {colour:?} {reduce}");
        }
        let preprocess = Preprocess { crop, ..Preprocess::default() };
        let small = Decoded { pixels: Array3::zeros((5, 5, 3)), format: "png" };
        assert!(Pixels::of(&small, &preprocess).is_err(), "the crop lies outside");
    }
}

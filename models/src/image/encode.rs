//! Pixels to the bytes of a PNG file.

use super::error::{ImageError, ImageErrorKind};
use ::image::codecs::png::{CompressionType, FilterType, PngEncoder};
use ::image::{ExtendedColorType, ImageEncoder};
use ndarray::Array3;

/// Encodes 8-bit pixels, `[rows, columns, channels]` with 1 (grey) or 3 (red, green, blue) channels, as a PNG file.
///
/// # Errors
///
/// [`ImageErrorKind::Unsupported`] for another number of channels, or an image without pixels or with more than 2^32 - 1 a side.
pub fn encode_png(pixels: &Array3<u8>) -> Result<Vec<u8>, ImageError> {
    let (rows, columns, channels) = pixels.dim();
    let refused = |reason: String| ImageError::new(ImageErrorKind::Unsupported, reason);
    let colour = match channels {
        1 => ExtendedColorType::L8,
        3 => ExtendedColorType::Rgb8,
        _ => return Err(refused(format!("{channels} channels cannot be written, expected 1 or 3"))),
    };
    let side = |length: usize| u32::try_from(length).ok().filter(|&length| length > 0);
    let (Some(height), Some(width)) = (side(rows), side(columns)) else {
        return Err(refused(format!("{rows} x {columns} pixels cannot be written")));
    };
    let standard = pixels.as_standard_layout();
    let bytes = standard.as_slice().expect("a standard layout is contiguous");
    let mut out = Vec::new();
    PngEncoder::new_with_quality(&mut out, CompressionType::Default, FilterType::Adaptive)
        .write_image(bytes, width, height, colour)
        .map_err(|error| refused(error.to_string()))?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::super::{Limits, decode};
    use super::*;

    #[test]
    fn an_encoded_image_is_decoded_to_the_same_pixels() {
        for channels in [1, 3] {
            let pixels =
                Array3::from_shape_fn((7, 11, channels), |(r, c, k)| (r * 31 + c * 17 + k * 101) as u8);
            let decoded = decode(&encode_png(&pixels).unwrap(), &Limits::default()).unwrap();
            assert_eq!((decoded.pixels, decoded.format), (pixels, "png"));
        }
    }

    #[test]
    fn what_is_no_image_is_refused() {
        for shape in [(0, 4, 1), (4, 4, 2)] {
            assert!(encode_png(&Array3::zeros(shape)).is_err(), "{shape:?}");
        }
    }
}

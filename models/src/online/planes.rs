//! The pixels that are compared: grey levels of 8 bits, one plane a channel, halved until they are few enough.

use super::record::Record;
use super::record_draft::RecordDraft;
use crate::error::{Error, Result};
use crate::traits::ImageShape;
use ndarray::{Array3, Axis};

/// An image of 8-bit grey levels, `[channels, rows, columns]`, row-major.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Planes {
    shape: ImageShape,
    levels: Vec<u8>,
}

/// The least number of rows and of columns that can be compared: one patch.
pub(super) const MIN_SIDE: usize = super::block_matching::PATCH;

/// The factor, a power of two, by which an image is averaged before it is compared: the least that leaves at most
/// `max_pixels` pixels a channel, but never so much that a side falls below [`MIN_SIDE`].
///
/// # Errors
///
/// [`Error::Shape`] if the image is smaller than one patch.
pub(super) fn reduction(shape: ImageShape, max_pixels: usize) -> Result<usize> {
    let ImageShape { rows, columns, .. } = shape;
    if rows < MIN_SIDE || columns < MIN_SIDE || shape.channels == 0 {
        return Err(Error::Shape {
            what: "image for block matching, after its crop",
            wanted: format!("at least 1 channel of {MIN_SIDE} x {MIN_SIDE} pixels"),
            found: format!("{} of {rows} x {columns}", shape.channels),
        });
    }
    let mut factor = 1;
    while (rows / factor) * (columns / factor) > max_pixels && rows.min(columns) / (2 * factor) >= MIN_SIDE {
        factor *= 2;
    }
    Ok(factor)
}

impl Planes {
    /// Averages `image` over boxes of `factor` x `factor` pixels and rounds to 8 bits; trailing rows and columns that fill
    /// no box are left out.
    ///
    /// - `image`: `[channels, rows, columns]`, grey levels in 0..=255.
    pub(super) fn reduced(image: &Array3<f32>, factor: usize) -> Self {
        let (channels, rows, columns) = (image.dim().0, image.dim().1 / factor, image.dim().2 / factor);
        let mut levels = Vec::with_capacity(channels * rows * columns);
        let area = (factor * factor) as f32;
        let mut sums = vec![0f32; columns];
        for plane in image.outer_iter() {
            for row in 0..rows {
                sums.fill(0.0);
                for source_row in row * factor..(row + 1) * factor {
                    let source = plane.index_axis(Axis(0), source_row);
                    match source.as_slice() {
                        Some(source) => add_boxes(&mut sums, source, factor),
                        None => add_boxes(&mut sums, &source.to_vec(), factor),
                    }
                }
                // The cast saturates, so that 255.4 is 255 and nothing wraps.
                levels.extend(sums.iter().map(|sum| (sum / area + 0.5) as u8));
            }
        }
        Self { shape: ImageShape { channels, rows, columns }, levels }
    }

    /// Puts the levels into a record.
    pub(super) fn store<'a>(&'a self, name: &str, draft: &mut RecordDraft<'a>) {
        let ImageShape { channels, rows, columns } = self.shape;
        draft.put(name, &[channels, rows, columns], &self.levels);
    }

    /// The levels of a record.
    pub(super) fn restore(name: &str, record: &Record) -> Result<Self> {
        let ([channels, rows, columns], levels) = record.get(name)?;
        Ok(Self { shape: ImageShape { channels, rows, columns }, levels })
    }

    /// `[channels, rows, columns]`.
    pub(super) fn shape(&self) -> ImageShape {
        self.shape
    }

    /// One row of one channel, `[columns]`.
    pub(super) fn row(&self, channel: usize, row: usize) -> &[u8] {
        let start = (channel * self.shape.rows + row) * self.shape.columns;
        &self.levels[start..start + self.shape.columns]
    }
}

fn add_boxes(sums: &mut [f32], source: &[f32], factor: usize) {
    match factor {
        1 => sums.iter_mut().zip(source).for_each(|(sum, value)| *sum += value),
        2 => sums.iter_mut().zip(source.as_chunks::<2>().0).for_each(|(sum, [a, b])| *sum += a + b),
        _ => sums
            .iter_mut()
            .zip(source.chunks_exact(factor))
            .for_each(|(sum, part)| *sum += part.iter().sum::<f32>()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(rows: usize, columns: usize) -> ImageShape {
        ImageShape { channels: 3, rows, columns }
    }

    #[test]
    fn the_papers_crop_is_halved_once() {
        assert_eq!(reduction(shape(480, 956), 160_000).unwrap(), 2);
    }

    #[test]
    fn a_large_image_is_halved_until_it_is_small_enough() {
        assert_eq!(reduction(shape(2160, 3840), 160_000).unwrap(), 8);
        assert_eq!(reduction(shape(20, 2_000_000), 160_000).unwrap(), 2, "but keeps a patch's height");
    }

    #[test]
    fn an_image_smaller_than_a_patch_is_refused_with_its_size() {
        let error = reduction(shape(7, 100), 160_000).unwrap_err();
        assert!(matches!(error, Error::Shape { .. }));
        assert!(error.to_string().contains("7 x 100"), "{error}");
    }

    #[test]
    fn boxes_are_averaged_and_rounded() {
        let image = Array3::from_shape_fn((1, 16, 17), |(_, r, c)| {
            if r < 2 && c < 2 { [1.0, 2.0, 4.0, 4.0][2 * r + c] } else { 255.0 }
        });
        let planes = Planes::reduced(&image, 2);
        assert_eq!(planes.shape(), ImageShape { channels: 1, rows: 8, columns: 8 });
        assert_eq!(&planes.row(0, 0)[..2], &[3, 255]);
    }

    #[test]
    fn the_layout_of_the_source_does_not_matter() {
        let transposed =
            Array3::from_shape_fn((18, 16, 2), |(c, r, k)| ((c * 31 + r * 17 + k * 5) % 256) as f32);
        let image = transposed.reversed_axes();
        let standard = image.as_standard_layout().into_owned();
        for factor in [1, 2, 4] {
            assert_eq!(Planes::reduced(&image, factor), Planes::reduced(&standard, factor));
        }
    }
}

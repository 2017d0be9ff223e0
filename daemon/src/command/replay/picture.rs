//! A small picture of an alarmed image for the report.

use anomalyd_models::image::{Crop, Decoded, ImageError, encode_png};
use ndarray::{Array3, ArrayView3, s};

/// Greatest width of a picture, in pixels.
const MAX_COLUMNS: usize = 480;

/// A picture of the part of an image that was judged.
pub(super) struct Picture {
    pub(super) step: i64,
    /// The first alarm of its event.
    pub(super) is_first: bool,
    pub(super) png: Vec<u8>,
    /// Height and width, in pixels of the picture.
    pub(super) size: [usize; 2],
    /// First row and column of the picture, in pixels of the file.
    pub(super) origin: [usize; 2],
    /// Pixels of the file on the side of one of the picture.
    pub(super) factor: usize,
}

impl Picture {
    pub(super) fn of(
        image: &Decoded,
        crop: Option<Crop>,
        step: i64,
        is_first: bool,
    ) -> Result<Self, ImageError> {
        let (rows, columns, _) = image.pixels.dim();
        // The image was judged, so the crop lies within it.
        let ([row0, row1], [column0, column1]) =
            crop.map_or(([0, rows - 1], [0, columns - 1]), |crop| (crop.rows, crop.columns));
        let part = image.pixels.slice(s![row0..=row1, column0..=column1, ..]);
        let factor = part.dim().1.div_ceil(MAX_COLUMNS).min(part.dim().0);
        let small = reduced(&part, factor);
        let (rows, columns, _) = small.dim();
        let png = encode_png(&small)?;
        Ok(Self { step, is_first, png, size: [rows, columns], origin: [row0, column0], factor })
    }

    /// A region of the file in pixels of the picture: left, top, width, height.
    pub(super) fn place(&self, [row0, column0, row1, column1]: [usize; 4]) -> [f64; 4] {
        let scale = self.factor as f64;
        let top = (row0 as f64 - self.origin[0] as f64) / scale;
        let left = (column0 as f64 - self.origin[1] as f64) / scale;
        [left, top, (column1 + 1 - column0) as f64 / scale, (row1 + 1 - row0) as f64 / scale]
    }
}

/// Keeps a picture; where there are too many, one that is not the first of its event makes room, else the new one is left out.
pub(super) fn keep(pictures: &mut Vec<Picture>, picture: Picture, most: usize) {
    if pictures.len() < most {
        pictures.push(picture);
    } else if picture.is_first
        && let Some(at) = pictures.iter().rposition(|picture| !picture.is_first)
    {
        pictures.remove(at);
        pictures.push(picture);
    }
}

/// Averages boxes of `factor` x `factor` pixels; rows and columns at the end that fill no box are left out.
fn reduced(pixels: &ArrayView3<'_, u8>, factor: usize) -> Array3<u8> {
    let (rows, columns, channels) = pixels.dim();
    Array3::from_shape_fn((rows / factor, columns / factor, channels), |(row, column, channel)| {
        let (row, column) = (row * factor, column * factor);
        let part = pixels.slice(s![row..row + factor, column..column + factor, channel]);
        let sum: usize = part.iter().map(|&level| usize::from(level)).sum();
        let n = factor * factor;
        // An average of bytes is a byte.
        ((sum + n / 2) / n) as u8
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn picture_shows_the_judged_part_and_knows_where_a_region_is() {
        let pixels = Array3::from_shape_fn((60, 1300, 3), |(row, _, _)| if row < 30 { 0 } else { 200 });
        let image = Decoded { pixels, format: "png" };
        let crop = Crop { rows: [10, 49], columns: [100, 1099] };
        let picture = Picture::of(&image, Some(crop), 7, true).unwrap();
        assert_eq!((picture.factor, picture.size), (3, [13, 333]));
        assert_eq!(picture.place([10, 100, 39, 129]), [0.0, 0.0, 10.0, 10.0]);
    }

    #[test]
    fn first_alarms_of_events_go_before_others() {
        let image = Decoded { pixels: Array3::zeros((4, 4, 1)), format: "png" };
        let mut pictures = Vec::new();
        for (step, is_first) in [(1, true), (2, false), (3, false), (4, true), (5, false)] {
            keep(&mut pictures, Picture::of(&image, None, step, is_first).unwrap(), 3);
        }
        assert_eq!(pictures.iter().map(|picture| picture.step).collect::<Vec<_>>(), [1, 2, 4]);
    }
}

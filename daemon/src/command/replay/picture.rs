//! Small pictures of an alarmed image for the report: the image itself, and its heat map.

use anomalyd_models::image::{Crop, ImageError, encode_png};
use ndarray::{Array3, ArrayView3, s};

/// Greatest width of a picture, in pixels.
const MAX_COLUMNS: usize = 480;

/// Alarms that are shown; the first of each event goes before.
const MAX_PICTURES: usize = 60;

/// Bytes that the pictures may take together; the page is a third larger.
const MAX_BYTES: usize = 24 << 20;

/// The part of an image that was judged.
pub(super) struct Part<'a> {
    pixels: ArrayView3<'a, u8>,
    rows: [usize; 2],
    columns: [usize; 2],
}

/// Pictures of the part of an image that was judged.
pub(super) struct Picture {
    pub(super) step: i64,
    /// The first alarm of its event.
    pub(super) is_first: bool,
    pub(super) png: Vec<u8>,
    /// The heat map, if there is one, of the same size.
    pub(super) heat_map: Option<Vec<u8>>,
    /// Height and width, in pixels of the picture.
    pub(super) size: [usize; 2],
    /// Left, top, width and height of the region, in pixels of the picture.
    pub(super) region: Option<[f64; 4]>,
}

impl<'a> Part<'a> {
    /// - `crop`: what was judged of the image, so it lies within.
    pub(super) fn of(image: &'a Array3<u8>, crop: Option<Crop>) -> Self {
        let (rows, columns, _) = image.dim();
        let (rows, columns) =
            crop.map_or(([0, rows - 1], [0, columns - 1]), |crop| (crop.rows, crop.columns));
        Self { pixels: image.view(), rows, columns }
    }

    fn cut<'b>(&self, pixels: &'b ArrayView3<'_, u8>) -> ArrayView3<'b, u8> {
        let ([row0, row1], [column0, column1]) = (self.rows, self.columns);
        pixels.slice(s![row0..=row1, column0..=column1, ..])
    }
}

impl Picture {
    /// - `heat_map`: of the whole image.
    /// - `region`: in pixels of the whole image.
    pub(super) fn of(
        part: &Part<'_>,
        step: i64,
        heat_map: Option<ArrayView3<'_, u8>>,
        region: Option<[usize; 4]>,
    ) -> Result<Self, ImageError> {
        let judged = part.cut(&part.pixels);
        let factor = judged.dim().1.div_ceil(MAX_COLUMNS).min(judged.dim().0);
        let small = reduced(&judged, factor);
        let (rows, columns, _) = small.dim();
        let heat_map = heat_map.map(|map| encode_png(&brightest(&part.cut(&map), factor))).transpose()?;
        let region = region.map(|[row0, column0, row1, column1]| {
            let scale = factor as f64;
            let top = (row0 as f64 - part.rows[0] as f64) / scale;
            let left = (column0 as f64 - part.columns[0] as f64) / scale;
            [left, top, (column1 + 1 - column0) as f64 / scale, (row1 + 1 - row0) as f64 / scale]
        });
        Ok(Self { step, is_first: true, png: encode_png(&small)?, heat_map, size: [rows, columns], region })
    }

    fn n_bytes(&self) -> usize {
        self.png.len() + self.heat_map.as_ref().map_or(0, Vec::len)
    }
}

/// Keeps a picture. Where there are too many, those that are not the first of their event make room for one that is, the newest
/// first; else the new one is left out.
pub(super) fn keep(pictures: &mut Vec<Picture>, picture: Picture) {
    let has_room = |pictures: &[Picture]| {
        pictures.len() < MAX_PICTURES
            && pictures.iter().map(Picture::n_bytes).sum::<usize>() + picture.n_bytes() <= MAX_BYTES
    };
    while picture.is_first && !has_room(pictures) {
        let Some(at) = pictures.iter().rposition(|picture| !picture.is_first) else { return };
        pictures.remove(at);
    }
    if has_room(pictures) {
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

/// Keeps the brightest pixel of each box, so that the smallest hot place and the outline stay as they are.
fn brightest(pixels: &ArrayView3<'_, u8>, factor: usize) -> Array3<u8> {
    let (rows, columns, channels) = pixels.dim();
    let mut out = Array3::zeros((rows / factor, columns / factor, channels));
    for ((row, column), mut target) in (0..rows / factor)
        .flat_map(|row| (0..columns / factor).map(move |column| (row, column)))
        .zip(out.lanes_mut(ndarray::Axis(2)))
    {
        let (row, column) = (row * factor, column * factor);
        let part = pixels.slice(s![row..row + factor, column..column + factor, ..]);
        let sum =
            |pixel: &ndarray::ArrayView1<'_, u8>| pixel.iter().map(|&level| u32::from(level)).sum::<u32>();
        if let Some(best) = part.rows().into_iter().max_by_key(sum) {
            target.assign(&best);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use anomalyd_models::image::{Limits, decode};

    #[test]
    fn picture_shows_the_judged_part_and_knows_where_a_region_is() {
        let pixels = Array3::from_shape_fn((60, 1300, 3), |(row, _, _)| if row < 30 { 0 } else { 200 });
        let crop = Crop { rows: [10, 49], columns: [100, 1099] };
        let part = Part::of(&pixels, Some(crop));
        let picture = Picture::of(&part, 7, None, Some([10, 100, 39, 129])).unwrap();
        assert_eq!((picture.size, picture.region), ([13, 333], Some([0.0, 0.0, 10.0, 10.0])));
    }

    #[test]
    fn a_hot_pixel_is_not_averaged_away() {
        let pixels = Array3::<u8>::zeros((60, 1300, 3));
        let mut map = pixels.clone();
        for (channel, level) in [255, 127, 0].into_iter().enumerate() {
            map[[31, 602, channel]] = level;
        }
        let crop = Crop { rows: [10, 49], columns: [100, 1099] };
        let part = Part::of(&pixels, Some(crop));
        let heat_map = Picture::of(&part, 7, Some(map.view()), None).unwrap().heat_map.unwrap();
        let found = decode(&heat_map, &Limits::default()).unwrap().pixels;
        assert_eq!(found.dim(), (13, 333, 3));
        assert_eq!([0, 1, 2].map(|channel| found[[7, 167, channel]]), [255, 127, 0]);
        assert_eq!(found.iter().filter(|&&level| level > 0).count(), 2);
    }

    #[test]
    fn first_alarms_of_events_go_before_others_and_bytes_are_bounded() {
        let picture = |step: i64, is_first: bool, n_bytes: usize| Picture {
            step,
            is_first,
            png: vec![0; n_bytes],
            heat_map: None,
            size: [1, 1],
            region: None,
        };
        let steps = |pictures: &[Picture]| pictures.iter().map(|picture| picture.step).collect::<Vec<_>>();
        let third = MAX_BYTES / 3;
        let mut pictures = Vec::new();
        for (step, is_first) in [(1, true), (2, false), (3, false), (4, true), (5, false)] {
            keep(&mut pictures, picture(step, is_first, third));
        }
        assert_eq!(steps(&pictures), [1, 2, 4]);
        let mut many = Vec::new();
        (0..100).for_each(|step| keep(&mut many, picture(step, step % 2 == 0, 1)));
        assert_eq!(many.len(), MAX_PICTURES);
        assert_eq!(many.iter().filter(|picture| picture.is_first).count(), 50);
    }
}

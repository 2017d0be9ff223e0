//! Where in an image the score comes from, as a picture over the image itself.

use super::evidence::Grid;
use crate::error::{Error, Result};
use crate::image::Preprocess;
use ::image::codecs::png::{CompressionType, FilterType, PngEncoder};
use ::image::{ExtendedColorType, ImageEncoder};
use ndarray::{Array2, Array3, ArrayView3};

/// The hottest colour stands for this many times the alarm level, so that the alarm level itself has the middle one.
const FULL_SCALE: f32 = 2.0;

/// Colours between the coldest and the hottest; few, so that the file is small.
const SHADES: f32 = 48.0;

/// The image below is dimmed to this share of its luma, and to a smaller one where nothing is judged.
const DIMMED: u16 = 3;
const DIMMED_OUTSIDE: u16 = 6;

/// Grey levels of the dimmed image are multiples of this.
const GREY_STEP: u16 = 4;

/// The outline of the region of an image that scores above its threshold.
const OUTLINE: [u8; 3] = [0, 160, 255];

/// How surprising each place of an image is; 1 is what the whole image needs for an alarm.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Places {
    /// Number of rows of places.
    rows: usize,
    /// Number of columns of places.
    columns: usize,
    /// Height and width of a place in pixels of the preprocessed image.
    sides: [usize; 2],
    /// `[rows, columns]`, row-major.
    levels: Vec<f32>,
}

impl Places {
    /// From the surprise of the places of a map.
    ///
    /// Where places overlap by half, a part of the image is as surprising as the least surprising of the up to four places over it, since
    /// what is new there is new in each of them: so the heat does not reach beyond what is new.
    ///
    /// - `relative`: the surprise of each place of `grid`, row-major.
    /// - `alarm`: the surprise of an image that just raises an alarm, above 0.
    /// - `factor`: pixels of the preprocessed image that are one of the compared image, in each direction.
    pub(super) fn of(relative: &[f32], grid: &Grid, alarm: f64, factor: usize) -> Self {
        let sides = grid.stride.map(|stride| stride * factor);
        let level = |surprise: f32| surprise / alarm as f32;
        let (map_rows, map_columns) = (relative.len() / grid.columns, grid.columns);
        if !grid.overlaps {
            let levels = relative.iter().copied().map(level).collect();
            return Self { rows: map_rows, columns: map_columns, sides, levels };
        }
        let (rows, columns) = (map_rows + 1, map_columns + 1);
        let mut levels = Vec::with_capacity(rows * columns);
        for (row, column) in (0..rows).flat_map(|r| (0..columns).map(move |c| (r, c))) {
            let mut least = f32::INFINITY;
            for over_row in row.saturating_sub(1)..=row.min(map_rows - 1) {
                for over_column in column.saturating_sub(1)..=column.min(map_columns - 1) {
                    least = least.min(relative[over_row * map_columns + over_column]);
                }
            }
            levels.push(level(least));
        }
        Self { rows, columns, sides, levels }
    }

    /// From what is wrong by itself: a place is a pixel, and twice as surprising as an alarm needs.
    ///
    /// - `wrong`: `[n, columns]`, at least one row.
    pub(super) fn of_pixels(wrong: impl Iterator<Item = bool>, columns: usize) -> Self {
        let levels: Vec<f32> = wrong.map(|wrong| if wrong { FULL_SCALE } else { 0.0 }).collect();
        Self { rows: levels.len() / columns, columns, sides: [1, 1], levels }
    }

    /// The places of another picture of the same thing, a pixel each.
    ///
    /// - `pixel`: the pixel here, row and column, that shows what that row and column of the other picture shows.
    pub(super) fn seen_from(
        &self,
        rows: usize,
        columns: usize,
        pixel: impl Fn(usize, usize) -> [usize; 2],
    ) -> Self {
        let levels = (0..rows)
            .flat_map(|row| (0..columns).map(move |column| (row, column)))
            .map(|(row, column)| {
                let [y, x] = pixel(row, column);
                self.at(y / self.sides[0], x / self.sides[1])
            })
            .collect();
        Self { rows, columns, sides: [1, 1], levels }
    }

    /// 0 outside: beyond the last place that fills a whole patch nothing is judged.
    fn at(&self, row: usize, column: usize) -> f32 {
        if row < self.rows && column < self.columns { self.levels[row * self.columns + column] } else { 0.0 }
    }
}

/// A picture of the size of the judged file: the image in dark grey, and over it, from black over red and yellow to white,
/// how surprising each place is.
///
/// The colours have the same meaning in every image of every run: the middle one (orange) is a place as surprising as the
/// whole image has to be for an alarm at the run's false-alarm rate, white one twice as surprising or more. Nothing is
/// stretched to the image at hand: one without anything unusual stays dark. A blue line frames the region of an image that
/// scores above its threshold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeatMap {
    pixels: Array3<u8>,
}

impl HeatMap {
    /// Draws `places` over `image`.
    ///
    /// - `image`: `[rows, columns, channels]` of the file.
    /// - `outlined`: `[row0, column0, row1, column1]`, inclusive, in pixels of the file.
    pub(super) fn draw(
        image: &Array3<u8>,
        preprocess: &Preprocess,
        places: &Places,
        outlined: Option<[usize; 4]>,
    ) -> Self {
        let (rows, columns, channels) = image.dim();
        let (row0, column0) = preprocess.crop.map_or((0, 0), |crop| (crop.rows[0], crop.columns[0]));
        let (row1, column1) =
            preprocess.crop.map_or((rows - 1, columns - 1), |crop| (crop.rows[1], crop.columns[1]));
        let sides = places.sides.map(|side| side * preprocess.reduce);
        let mut pixels = Array3::zeros((rows, columns, 3));
        for ((row, column), mut pixel) in
            (0..rows).flat_map(|r| (0..columns).map(move |c| (r, c))).zip(pixels.lanes_mut(ndarray::Axis(2)))
        {
            let level = |channel: usize| u16::from(image[[row, column, channel]]);
            let luma = if channels == 3 { (3 * level(0) + 6 * level(1) + level(2)) / 10 } else { level(0) };
            let inside = (row0..=row1).contains(&row) && (column0..=column1).contains(&column);
            let dimmed = luma / if inside { DIMMED } else { DIMMED_OUTSIDE };
            let grey = (dimmed - dimmed % GREY_STEP) as u8;
            let heat =
                if inside { places.at((row - row0) / sides[0], (column - column0) / sides[1]) } else { 0.0 };
            let colour = colour_of(heat);
            pixel.iter_mut().zip(colour).for_each(|(pixel, hot)| *pixel = grey.max(hot));
        }
        let mut map = Self { pixels };
        if let Some(region) = outlined {
            map.outline(region);
        }
        map
    }

    /// Draws the levels of cells that divide the preprocessed image, of `size`, evenly; 1 is an alarm's.
    pub(crate) fn of_cells(
        image: &Array3<u8>,
        preprocess: &Preprocess,
        [rows, columns]: [usize; 2],
        levels: &Array2<f32>,
    ) -> Self {
        let cell = |row: usize, column: usize| {
            levels[[row * levels.nrows() / rows, column * levels.ncols() / columns]]
        };
        let levels = (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column)));
        let levels = levels.map(|(row, column)| cell(row, column)).collect();
        Self::draw(image, preprocess, &Places { rows, columns, sides: [1, 1], levels }, None)
    }

    /// The picture: `[rows, columns, 3]`, red, green and blue.
    pub fn pixels(&self) -> ArrayView3<'_, u8> {
        self.pixels.view()
    }

    /// The picture as a PNG file.
    ///
    /// # Errors
    ///
    /// [`Error::Backend`] if it is larger than a PNG file can be.
    pub fn to_png(&self) -> Result<Vec<u8>> {
        let (rows, columns, _) = self.pixels.dim();
        let side = |pixels: usize| u32::try_from(pixels).map_err(|error| failed(error.into()));
        let mut png = Vec::new();
        let bytes = self.pixels.as_slice().expect("made in its standard layout");
        PngEncoder::new_with_quality(&mut png, CompressionType::Fast, FilterType::Up)
            .write_image(bytes, side(columns)?, side(rows)?, ExtendedColorType::Rgb8)
            .map_err(|error| failed(error.into()))?;
        Ok(png)
    }

    /// One pixel wide, just outside of the region where there is room.
    fn outline(&mut self, [row0, column0, row1, column1]: [usize; 4]) {
        let (rows, columns, _) = self.pixels.dim();
        let (row0, column0) = (row0.saturating_sub(1), column0.saturating_sub(1));
        let (row1, column1) = ((row1 + 1).min(rows - 1), (column1 + 1).min(columns - 1));
        let sides = (column0..=column1)
            .flat_map(|column| [[row0, column], [row1, column]])
            .chain((row0..=row1).flat_map(|row| [[row, column0], [row, column1]]));
        for [row, column] in sides {
            for (channel, level) in OUTLINE.into_iter().enumerate() {
                self.pixels[[row, column, channel]] = level;
            }
        }
    }
}

/// Black over red and yellow to white; `heat` in units of the alarm level.
fn colour_of(heat: f32) -> [u8; 3] {
    let share = ((heat / FULL_SCALE).clamp(0.0, 1.0) * SHADES).round() / SHADES;
    [0.0, 1.0, 2.0].map(|begin| ((3.0 * share - begin).clamp(0.0, 1.0) * 255.0) as u8)
}

/// The error of a picture that could not be encoded.
fn failed(source: Box<dyn std::error::Error + Send + Sync>) -> Error {
    Error::Backend { what: "encoding a heat map", source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::{Colour, Crop, Limits, decode};

    fn places() -> Places {
        let mut levels = vec![0.0; 12];
        (levels[5], levels[11]) = (1.0, 7.0);
        Places { rows: 3, columns: 4, sides: [2, 2], levels }
    }

    #[test]
    fn a_place_is_as_surprising_as_the_least_surprising_patch_over_it() {
        let grid = Grid { columns: 3, stride: [4, 4], overlaps: true, gap: 1, image: [12, 16] };
        let relative = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        let cells = Places::of(&relative, &Grid { overlaps: false, ..grid }, 0.5, 2);
        assert_eq!((cells.rows, cells.columns, cells.sides), (2, 3, [8, 8]));
        assert_eq!(cells.levels, [2.0, 4.0, 6.0, 8.0, 10.0, 12.0]);
        let places = Places::of(&relative, &grid, 0.5, 2);
        assert_eq!((places.rows, places.columns), (3, 4));
        assert_eq!(places.levels, [2.0, 2.0, 4.0, 6.0, 2.0, 2.0, 4.0, 6.0, 8.0, 8.0, 10.0, 12.0]);
        assert_eq!((places.at(2, 2), places.at(3, 0), places.at(0, 4)), (10.0, 0.0, 0.0));
    }

    fn sum(map: &HeatMap, row: usize, column: usize) -> u32 {
        (0..3).map(|channel| u32::from(map.pixels()[[row, column, channel]])).sum()
    }

    #[test]
    fn colours_grow_brighter_with_heat_and_end_at_twice_the_alarm_level() {
        let brightness = |heat: f32| colour_of(heat).iter().map(|&level| u32::from(level)).sum::<u32>();
        assert_eq!(colour_of(0.0), [0, 0, 0]);
        assert_eq!(colour_of(1.0), [255, 127, 0]);
        assert_eq!((colour_of(2.0), colour_of(f32::INFINITY)), ([255; 3], [255; 3]));
        assert!((0..40).all(|i| brightness(0.05 * i as f32) < brightness(0.05 * (i + 1) as f32)));
    }

    #[test]
    fn heat_lies_where_its_place_lies_in_the_file() {
        let preprocess = Preprocess {
            crop: Some(Crop { rows: [10, 21], columns: [20, 36] }),
            colour: Colour::Rgb,
            reduce: 2,
        };
        let image = Array3::from_elem((40, 50, 1), 200);
        let map = HeatMap::draw(&image, &preprocess, &places(), None);
        // A place is two pixels of the reduced image: four of the file.
        for (row, column) in (0..40).flat_map(|r| (0..50).map(move |c| (r, c))) {
            let expected = match (row, column) {
                (14..18, 24..28) => [255, 127, 64],
                (18..22, 32..36) => [255; 3],
                (10..=21, 20..=36) => [64; 3],
                _ => [32; 3],
            };
            assert_eq!(
                [0, 1, 2].map(|channel| map.pixels()[[row, column, channel]]),
                expected,
                "{row} {column}"
            );
        }
    }

    #[test]
    fn the_file_decodes_to_the_picture() {
        let image = Array3::from_shape_fn((13, 17, 3), |(r, c, k)| (r * 19 + c * 5 + k * 60) as u8);
        let map = HeatMap::draw(&image, &Preprocess::default(), &places(), Some([4, 6, 5, 7]));
        let decoded = decode(&map.to_png().unwrap(), &Limits::default()).unwrap();
        assert_eq!((decoded.pixels.view(), decoded.format), (map.pixels(), "png"));
        assert_eq!([0, 1, 2].map(|channel| map.pixels()[[3, 5, channel]]), OUTLINE);
        assert_eq!(sum(&map, 5, 7), 3 * 255, "the line does not cover the region");
    }

    #[test]
    fn an_outline_at_the_border_stays_inside() {
        let image = Array3::from_elem((8, 8, 1), 0);
        let map = HeatMap::draw(&image, &Preprocess::default(), &places(), Some([0, 0, 7, 7]));
        assert_eq!([0, 1, 2].map(|channel| map.pixels()[[7, 7, channel]]), OUTLINE);
    }
}

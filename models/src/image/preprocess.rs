//! From a decoded file to what an extractor or a detector takes.

use super::crop::Crop;
use super::decode::Decoded;
use super::error::{ImageError, ImageErrorKind};
use crate::error::{Error, Result};
use crate::traits::ImageShape;
use ndarray::{Array3, ArrayView3, s};
use serde::{Deserialize, Serialize};

/// The channels an image is brought to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Colour {
    /// One channel: the luma of ITU-R BT.601, 0.299 R + 0.587 G + 0.114 B.
    #[serde(alias = "gray")]
    Grey,
    /// Three channels: red, green, blue. A grey file is repeated.
    #[default]
    Rgb,
}

/// Crop, colour and reduction, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Preprocess {
    /// The rectangle to keep; `None` keeps the whole image.
    pub crop: Option<Crop>,
    /// The channels to bring it to.
    pub colour: Colour,
    /// Averages boxes of this many rows and columns into one pixel, at least 1; 1 leaves the image as it is. Rows and
    /// columns at the end that fill no box are left out.
    pub reduce: usize,
}

impl Default for Preprocess {
    fn default() -> Self {
        Self { crop: None, colour: Colour::Rgb, reduce: 1 }
    }
}

impl Preprocess {
    /// The shape that an image of `rows` x `columns` pixels is brought to.
    ///
    /// # Errors
    ///
    /// - [`Error::Image`] of kind [`Crop`](ImageErrorKind::Crop) if the crop lies outside the image, or nothing is left after
    ///   the reduction.
    /// - [`Error::Parameter`] if `reduce` is 0.
    pub fn shape(&self, rows: usize, columns: usize) -> Result<ImageShape> {
        if self.reduce == 0 {
            return Err(Error::Parameter { name: "reduce", found: "0".into(), expected: "1 or more".into() });
        }
        let [rows, columns] = match &self.crop {
            Some(crop) => crop.size_within(rows, columns)?,
            None => [rows, columns],
        };
        if rows < self.reduce || columns < self.reduce {
            let message = format!(
                "{rows} rows x {columns} columns leave nothing when reduced by {}: choose reduce of at most {}",
                self.reduce,
                rows.min(columns).max(1)
            );
            return Err(ImageError::new(ImageErrorKind::Crop, message).into());
        }
        let channels = match self.colour {
            Colour::Grey => 1,
            Colour::Rgb => 3,
        };
        Ok(ImageShape { channels, rows: rows / self.reduce, columns: columns / self.reduce })
    }

    /// The levels `[rows, columns, channels]` that [`apply`](Self::apply) would give, where they lie in the decoded image, one channel standing
    /// for all of a grey file; `None` where they have to be computed.
    ///
    /// # Errors
    ///
    /// As [`shape`](Self::shape).
    pub fn levels<'a>(&self, image: &'a Decoded) -> Result<Option<ArrayView3<'a, u8>>> {
        let (rows, columns, n_in) = image.pixels.dim();
        let shape = self.shape(rows, columns)?;
        if self.reduce != 1 || (n_in != shape.channels && n_in != 1) {
            return Ok(None);
        }
        let (row, column) = self.crop.map_or((0, 0), |crop| (crop.rows[0], crop.columns[0]));
        Ok(Some(image.pixels.slice(s![row..row + shape.rows, column..column + shape.columns, ..])))
    }

    /// Brings a decoded image to its shape: `[channels, rows, columns]`, grey levels in 0..=255.
    ///
    /// Averages are computed in integers and rounded once, so that the result is the same on every machine.
    ///
    /// # Errors
    ///
    /// As [`shape`](Self::shape), and [`Error::Shape`] if `image` has neither one nor three channels.
    pub fn apply(&self, image: &Decoded) -> Result<Array3<f32>> {
        let (rows, columns, n_in) = image.pixels.dim();
        if n_in != 1 && n_in != 3 {
            return Err(Error::Shape {
                what: "image",
                wanted: "1 or 3 channels".into(),
                found: n_in.to_string(),
            });
        }
        let shape = self.shape(rows, columns)?;
        let (row0, column0) = self.crop.map_or((0, 0), |crop| (crop.rows[0], crop.columns[0]));
        let standard = image.pixels.as_standard_layout();
        let pixels = standard.as_slice().expect("a standard layout is contiguous");
        let mut out = Array3::<f32>::zeros((shape.channels, shape.rows, shape.columns));
        let plane = shape.rows * shape.columns;
        let target = out.as_slice_mut().expect("a fresh array is contiguous");
        for row in 0..shape.rows {
            for (channel, target) in target.chunks_exact_mut(plane).enumerate() {
                let target = &mut target[row * shape.columns..][..shape.columns];
                self.average_row(
                    pixels,
                    [columns, n_in],
                    [row0 + row * self.reduce, column0],
                    channel,
                    target,
                );
            }
        }
        Ok(out)
    }

    /// Fills one row of one channel from the rows of the file that begin at `origin`.
    fn average_row(
        &self,
        pixels: &[u8],
        [columns, n_in]: [usize; 2],
        [row, column]: [usize; 2],
        channel: usize,
        target: &mut [f32],
    ) {
        // Luma in thousandths, so that a grey level weighed with itself stays exactly that level.
        let luma = self.colour == Colour::Grey && n_in == 3;
        let value = |pixel: &[u8]| -> u64 {
            if luma {
                299 * u64::from(pixel[0]) + 587 * u64::from(pixel[1]) + 114 * u64::from(pixel[2])
            } else {
                u64::from(pixel[if n_in == 1 { 0 } else { channel }])
            }
        };
        let unit = if luma { 1000 } else { 1 };
        let length = target.len() * self.reduce * n_in;
        let first = |line: usize| &pixels[((row + line) * columns + column) * n_in..][..length];
        if self.reduce == 1 && luma {
            for (target, pixel) in target.iter_mut().zip(first(0).chunks_exact(n_in)) {
                *target = (value(pixel) as f64 / f64::from(unit)) as f32;
            }
            return;
        }
        if self.reduce == 1 {
            let pixels = first(0)[if n_in == 1 { 0 } else { channel }..].iter().step_by(n_in);
            target.iter_mut().zip(pixels).for_each(|(target, &pixel)| *target = f32::from(pixel));
            return;
        }
        let mut sums = vec![0u64; target.len()];
        for line in 0..self.reduce {
            for (sum, pixels) in sums.iter_mut().zip(first(line).chunks_exact(n_in * self.reduce)) {
                *sum += pixels.chunks_exact(n_in).map(value).sum::<u64>();
            }
        }
        let divisor = f64::from(unit) * (self.reduce * self.reduce) as f64;
        for (target, sum) in target.iter_mut().zip(sums) {
            *target = (sum as f64 / divisor) as f32;
        }
    }

    /// Maps a rectangle of preprocessed pixels, `[row0, column0, row1, column1]`, inclusive, to the pixels of the file that
    /// went into it.
    pub fn region_in_file(&self, [row0, column0, row1, column1]: [usize; 4]) -> [usize; 4] {
        let (row, column) = self.crop.map_or((0, 0), |crop| (crop.rows[0], crop.columns[0]));
        let (first, last) = (|at: usize| at * self.reduce, |at: usize| (at + 1) * self.reduce - 1);
        [row + first(row0), column + first(column0), row + last(row1), column + last(column1)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    /// Every channel of every pixel differs.
    fn ramp(rows: usize, columns: usize, channels: usize) -> Decoded {
        let level = |(row, column, channel)| (row * 31 + column * 7 + channel * 101) as u8;
        Decoded { pixels: Array3::from_shape_fn((rows, columns, channels), level), format: "png" }
    }

    #[test]
    fn crop_takes_its_first_and_last_pixels() {
        let image = ramp(6, 9, 3);
        let preprocess =
            Preprocess { crop: Some(Crop { rows: [2, 4], columns: [3, 8] }), ..Preprocess::default() };
        let out = preprocess.apply(&image).unwrap();
        assert_eq!(out.dim(), (3, 3, 6));
        for ((channel, row, column), &value) in out.indexed_iter() {
            assert_eq!(value, f32::from(image.pixels[[row + 2, column + 3, channel]]));
        }
    }

    #[test]
    fn reduction_averages_boxes_and_leaves_out_what_fills_none() {
        let image = Decoded {
            pixels: array![[[10], [20], [90]], [[30], [41], [90]], [[7], [7], [7]]],
            format: "pnm",
        };
        let preprocess = Preprocess { crop: None, colour: Colour::Grey, reduce: 2 };
        assert_eq!(preprocess.apply(&image).unwrap(), array![[[25.25]]]);
    }

    #[test]
    fn reduction_of_a_colour_image_averages_each_channel() {
        let image = ramp(11, 13, 3);
        let preprocess = Preprocess { crop: None, colour: Colour::Rgb, reduce: 3 };
        let out = preprocess.apply(&image).unwrap();
        assert_eq!(out.dim(), (3, 3, 4));
        for ((channel, row, column), &value) in out.indexed_iter() {
            let sum: u32 =
                (0..9).map(|i| u32::from(image.pixels[[row * 3 + i / 3, column * 3 + i % 3, channel]])).sum();
            assert!((value - sum as f32 / 9.0).abs() < 1e-4);
        }
    }

    #[test]
    fn colour_to_grey_is_luma_and_keeps_grey_levels_exactly() {
        let image =
            Decoded { pixels: array![[[255, 0, 0], [0, 255, 0], [0, 0, 255], [77, 77, 77]]], format: "png" };
        let grey = Preprocess { colour: Colour::Grey, ..Preprocess::default() }.apply(&image).unwrap();
        for (found, wanted) in grey.iter().zip([76.245, 149.685, 29.07, 77.0f32]) {
            assert_eq!(*found, wanted);
        }
    }

    #[test]
    fn grey_file_is_repeated_into_three_channels() {
        let image = ramp(4, 5, 1);
        let out = Preprocess::default().apply(&image).unwrap();
        assert_eq!(out.dim(), (3, 4, 5));
        for ((_, row, column), &value) in out.indexed_iter() {
            assert_eq!(value, f32::from(image.pixels[[row, column, 0]]));
        }
    }

    #[test]
    fn array_in_another_memory_order_gives_the_same() {
        let image = ramp(5, 6, 3);
        let columns_first = image.pixels.t().as_standard_layout().into_owned().reversed_axes();
        assert!(!columns_first.is_standard_layout());
        let other = Decoded { pixels: columns_first, format: "png" };
        let preprocess = Preprocess { reduce: 2, ..Preprocess::default() };
        assert_eq!(preprocess.apply(&other).unwrap(), preprocess.apply(&image).unwrap());
    }

    #[test]
    fn what_cannot_be_preprocessed_is_refused_with_words() {
        let refused =
            |preprocess: Preprocess, image: &Decoded| preprocess.apply(image).unwrap_err().to_string();
        let zero = refused(Preprocess { reduce: 0, ..Preprocess::default() }, &ramp(4, 4, 1));
        assert!(zero.contains("reduce is 0"), "{zero}");
        let coarse = refused(Preprocess { reduce: 5, ..Preprocess::default() }, &ramp(4, 9, 1));
        assert!(coarse.contains("at most 4"), "{coarse}");
        let outside =
            refused(Preprocess { crop: Some(Crop::PAPER), ..Preprocess::default() }, &ramp(4, 9, 1));
        assert!(outside.contains("4 x 9"), "{outside}");
        let channels = refused(Preprocess::default(), &ramp(4, 4, 2));
        assert!(channels.contains("1 or 3 channels"), "{channels}");
    }

    #[test]
    fn region_covers_the_pixels_that_went_into_it() {
        let preprocess = Preprocess { crop: Some(Crop::PAPER), colour: Colour::Rgb, reduce: 2 };
        assert_eq!(preprocess.region_in_file([0, 0, 239, 477]), [122, 257, 601, 1212]);
        assert_eq!(Preprocess::default().region_in_file([3, 4, 5, 6]), [3, 4, 5, 6]);
    }

    #[test]
    fn settings_are_written_as_words_and_unknown_ones_refused() {
        let text = r#"{"crop": {"rows": [122, 601], "columns": [257, 1212]}, "colour": "grey", "reduce": 2}"#;
        let read: Preprocess = serde_json::from_str(text).unwrap();
        assert_eq!(read, Preprocess { crop: Some(Crop::PAPER), colour: Colour::Grey, reduce: 2 });
        assert_eq!(serde_json::from_str::<Preprocess>("{}").unwrap(), Preprocess::default());
        assert!(serde_json::from_str::<Preprocess>(r#"{"color": "grey"}"#).is_err());
    }
}

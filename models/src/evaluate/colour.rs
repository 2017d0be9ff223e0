//! From a pixel to its place in the colour range, and back.

use crate::image::{Crop, Decoded};

/// How colours stand for values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColourOrder {
    /// Blue, cyan, green, yellow, red, in four equal parts, as the table "hot" of VisIt; other colours (white ground, black
    /// axes) stand for nothing.
    Hot,
    /// The brighter the higher.
    Brightness,
}

/// How far a channel may be from its end for a colour to belong to the table, in grey levels: compression moves it.
const TOLERANCE: u8 = 12;

/// Of the pixels, this part in the table makes an image one of that table.
const LEAST_SHARE: f64 = 0.05;

/// Steps in which the table "hot" is drawn.
const STEPS: f64 = 127.0;

impl ColourOrder {
    /// The order of an image's colours, found in the judged part of it.
    pub fn of(image: &Decoded, crop: Option<Crop>) -> Self {
        let (rows, columns, channels) = image.pixels.dim();
        if channels != 3 {
            return Self::Brightness;
        }
        let ([row0, row1], [column0, column1]) = part(crop, rows, columns);
        let (mut n_in_table, mut n) = (0usize, 0usize);
        for row in row0..=row1 {
            for column in column0..=column1 {
                n += 1;
                n_in_table += usize::from(Self::Hot.level(&pixel(image, row, column)).is_some());
            }
        }
        if n_in_table as f64 >= LEAST_SHARE * n as f64 && n > 0 { Self::Hot } else { Self::Brightness }
    }

    /// The place of a colour, `[1]` or `[3]` grey levels, in the range, from 0 to 1; `None` if it is none of its colours.
    pub fn level(self, colour: &[u8]) -> Option<f64> {
        let [red, green, blue] = match colour {
            [grey] => [*grey; 3],
            [red, green, blue] => [*red, *green, *blue],
            _ => return None,
        };
        let share = |level: u8| f64::from(level) / 255.0;
        if self == Self::Brightness {
            return Some(0.299 * share(red) + 0.587 * share(green) + 0.114 * share(blue));
        }
        let least = red.min(green).min(blue);
        if least > TOLERANCE || red.max(green).max(blue) < 255 - TOLERANCE {
            return None;
        }
        if red.min(blue) > TOLERANCE {
            // Between blue and red by magenta: not in the table.
            return None;
        }
        // Each part moves one channel all its way: green rises, blue falls, red rises, green falls.
        let (red, green, blue) = (share(red), share(green), share(blue));
        let of_green = if red <= blue { green } else { 2.0 - green };
        Some(0.25 * (of_green + (1.0 - blue) + red))
    }

    /// The colour of a level in 0..=1 in place of `colour`, written over it.
    pub fn paint(self, colour: &mut [u8], level: f64) {
        let level = level.clamp(0.0, 1.0);
        match (self, colour) {
            (Self::Hot, [red, green, blue]) => {
                let level = (level * STEPS).round() / STEPS;
                // 0 before `from`, 255 after `from + 1/4`.
                let rise = |from: f64| (255.0 * ((level - from) / 0.25).clamp(0.0, 1.0)).round() as u8;
                *red = rise(0.5);
                *green = rise(0.0).min(255 - rise(0.75));
                *blue = 255 - rise(0.25);
            }
            (_, colour) => {
                let now = self.level(colour).unwrap_or(0.0);
                for channel in colour {
                    let scaled = if now > 0.0 { f64::from(*channel) * level / now } else { 255.0 * level };
                    *channel = scaled.round().clamp(0.0, 255.0) as u8;
                }
            }
        }
    }
}

/// First and last rows and columns of the judged part.
pub(super) fn part(crop: Option<Crop>, rows: usize, columns: usize) -> ([usize; 2], [usize; 2]) {
    match crop {
        Some(Crop { rows: [row0, row1], columns: [column0, column1] }) => {
            ([row0, row1.min(rows.saturating_sub(1))], [column0, column1.min(columns.saturating_sub(1))])
        }
        None => ([0, rows.saturating_sub(1)], [0, columns.saturating_sub(1)]),
    }
}

/// The channels of a pixel.
pub(super) fn pixel(image: &Decoded, row: usize, column: usize) -> Vec<u8> {
    image.pixels.slice(ndarray::s![row, column, ..]).to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array3;

    #[test]
    fn painted_levels_are_read_back() {
        for order in [ColourOrder::Hot, ColourOrder::Brightness] {
            for i in 0..=100 {
                let mut colour = [90, 90, 90];
                order.paint(&mut colour, f64::from(i) / 100.0);
                let found = order.level(&colour).unwrap();
                assert!((found - f64::from(i) / 100.0).abs() < 0.006, "{order:?} {i} {colour:?} {found}");
            }
        }
    }

    #[test]
    fn corners_of_the_table_are_its_colours() {
        for (level, colour) in [(0.0, [0, 0, 255]), (1.0, [255, 0, 0]), (0.3, [0, 255, 206])] {
            let mut found = [0; 3];
            ColourOrder::Hot.paint(&mut found, level);
            assert!(
                found.iter().zip(colour).all(|(a, b): (&u8, u8)| a.abs_diff(b) <= 4),
                "{level} {found:?}"
            );
        }
        for none in [[255, 255, 255], [0, 0, 0], [255, 0, 255], [128, 128, 0]] {
            assert_eq!(ColourOrder::Hot.level(&none), None, "{none:?}");
        }
    }

    #[test]
    fn order_is_found_in_the_image() {
        let image = |colour: [u8; 3]| Decoded {
            pixels: Array3::from_shape_fn((8, 8, 3), |(row, _, k)| if row < 2 { colour[k] } else { 255 }),
            format: "png",
        };
        assert_eq!(ColourOrder::of(&image([0, 255, 90]), None), ColourOrder::Hot);
        assert_eq!(ColourOrder::of(&image([68, 1, 84]), None), ColourOrder::Brightness);
        let grey = Decoded { pixels: Array3::zeros((4, 4, 1)), format: "png" };
        assert_eq!(ColourOrder::of(&grey, None), ColourOrder::Brightness);
    }
}

//! Faults painted into images or written into raw fields of a run, to count how many are found.
//!
//! A fault multiplies the value that a pixel stands for by its contrast, towards the end of the colour range: the place of the
//! pixel's colour in the range is multiplied and painted in the colour found there, so the fault is drawn as the simulation's
//! own renderer would have drawn the higher value (where the range begins at 0). Pixels that are none of the range's colours
//! are left alone. In a raw field the values themselves are multiplied. Neither is physics: what a real fault does is for simulations
//! to show.

use super::colour::{ColourOrder, part, pixel};
use crate::image::{Crop, Decoded, Field};
use crate::rng::Rng;
use std::f64::consts::PI;

/// The shape of a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultKind {
    /// A line in any direction, 2 to 8 pixels wide: a wrong ray.
    Ray,
    /// A disc.
    Spot,
    /// A strip along rows or columns, eight times as long as wide.
    Band,
    /// A square that has one value all over: `contrast` times the mean before.
    StuckBlock,
}

impl FaultKind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Ray, Self::Spot, Self::Band, Self::StuckBlock];

    /// What it is called in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ray => "ray",
            Self::Spot => "spot",
            Self::Band => "band",
            Self::StuckBlock => "stuck block",
        }
    }
}

/// A fault to be painted at a random place.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fault {
    /// Its shape.
    pub kind: FaultKind,
    /// What values are multiplied by, above 1.
    pub contrast: f64,
    /// About so many pixels, at least 1.
    pub n_pixels: usize,
}

/// An image with a fault.
#[derive(Debug, Clone, PartialEq)]
pub struct Injected {
    /// The image.
    pub image: Decoded,
    /// `[row0, column0, row1, column1]`, inclusive, in pixels of the file: around all changed pixels.
    pub region: [usize; 4],
    /// Pixels that have another colour now.
    pub n_changed: usize,
}

/// A raw field with a fault.
#[derive(Debug, Clone, PartialEq)]
pub struct InjectedField {
    /// The field.
    pub field: Field,
    /// The variable that has the fault.
    pub variable: usize,
    /// `[row0, column0, row1, column1]`, inclusive, in zones of its grid: around all changed values.
    pub region: [usize; 4],
    /// Values that are others now.
    pub n_changed: usize,
}

/// Of the pixels wanted, so many must change: elsewhere the fault would mostly lie outside the picture, or where the range ends
/// already.
const LEAST_SHARE: f64 = 0.6;

/// Places that are tried.
const MAX_TRIES: usize = 200;

/// Half of a pixel's diagonal: a shape covers the pixels whose middle lies in it.
const HALF: f64 = 0.5;

impl Fault {
    /// Paints the fault somewhere in the judged part of an image, equally likely everywhere it can be seen; `None` if no such
    /// place is found.
    pub fn paint(
        &self,
        image: &Decoded,
        crop: Option<Crop>,
        order: ColourOrder,
        rng: &mut Rng,
    ) -> Option<Injected> {
        let (rows, columns, _) = image.pixels.dim();
        let judged = part(crop, rows, columns);
        (0..MAX_TRIES).find_map(|_| {
            let pixels = self.place(judged, rng);
            self.paint_at(&pixels, image, order)
        })
    }

    /// Multiplies values somewhere in one variable of a raw field, equally likely in each variable and everywhere where a
    /// multiple is another value; `None` if no such place is found.
    pub fn multiply(&self, field: &Field, rng: &mut Rng) -> Option<InjectedField> {
        let [variables, rows, columns] = field.shape();
        let variable = rng.below(variables);
        (0..MAX_TRIES).find_map(|_| {
            let places: Vec<usize> = self
                .place(([0, rows - 1], [0, columns - 1]), rng)
                .into_iter()
                .map(|[row, column]| row * columns + column)
                .collect();
            let values = field.variable(variable);
            let mean = places.iter().map(|&at| values[at]).sum::<f64>() / places.len().max(1) as f64;
            let mut field = field.clone();
            let mut changed = Changed::default();
            for at in places {
                let value = if self.kind == FaultKind::StuckBlock { mean } else { values[at] };
                if self.contrast * value != values[at] {
                    field.variable_mut(variable)[at] = self.contrast * value;
                    changed.add([at / columns, at % columns]);
                }
            }
            let (region, n_changed) = changed.if_enough(self.n_pixels)?;
            Some(InjectedField { field, variable, region, n_changed })
        })
    }

    /// The pixels of the shape at a random place that lie within the judged part.
    fn place(
        &self,
        ([row0, row1], [column0, column1]): ([usize; 2], [usize; 2]),
        rng: &mut Rng,
    ) -> Vec<[usize; 2]> {
        let area = self.n_pixels.max(1) as f64;
        let between =
            |from: usize, to: usize, rng: &mut Rng| from as f64 + rng.uniform() * (to - from) as f64;
        let centre = [between(row0, row1, rng), between(column0, column1, rng)];
        let angle = match self.kind {
            FaultKind::Ray => PI * rng.uniform(),
            FaultKind::Band if rng.uniform() < 0.5 => PI / 2.0,
            _ => 0.0,
        };
        let [length, width] = match self.kind {
            FaultKind::Ray => {
                let width = (area.sqrt() / 8.0).clamp(2.0, 8.0);
                [area / width, width]
            }
            FaultKind::Band => [(8.0 * area).sqrt(), (area / 8.0).sqrt()],
            FaultKind::StuckBlock => [area.sqrt(); 2],
            FaultKind::Spot => [2.0 * (area / PI).sqrt(); 2],
        };
        let (sin, cos) = angle.sin_cos();
        let reach = HALF + 0.5 * length.hypot(width);
        let within = |centre: f64, from: usize, to: usize| {
            let first = (centre - reach).max(from as f64) as usize;
            first..=((centre + reach).min(to as f64) as usize)
        };
        let mut pixels = Vec::new();
        for row in within(centre[0], row0, row1) {
            for column in within(centre[1], column0, column1) {
                let (down, right) = (row as f64 - centre[0], column as f64 - centre[1]);
                let (along, across) = (right * cos + down * sin, down * cos - right * sin);
                let is_in = match self.kind {
                    FaultKind::Spot => along.hypot(across) <= 0.5 * length,
                    _ => along.abs() <= 0.5 * length && across.abs() <= 0.5 * width,
                };
                if is_in {
                    pixels.push([row, column]);
                }
            }
        }
        pixels
    }

    /// Paints the fault on these pixels; `None` if too few change.
    fn paint_at(&self, pixels: &[[usize; 2]], image: &Decoded, order: ColourOrder) -> Option<Injected> {
        let levels: Vec<([usize; 2], f64)> = pixels
            .iter()
            .filter_map(|&[row, column]| Some(([row, column], order.level(&pixel(image, row, column))?)))
            .collect();
        let mean = levels.iter().map(|(_, level)| level).sum::<f64>() / levels.len().max(1) as f64;
        let mut painted = image.clone();
        let mut changed = Changed::default();
        for ([row, column], level) in levels {
            let old = pixel(image, row, column);
            let mut new = old.clone();
            let value = if self.kind == FaultKind::StuckBlock { mean } else { level };
            order.paint(&mut new, (self.contrast * value).min(1.0));
            if new == old {
                continue;
            }
            changed.add([row, column]);
            for (channel, level) in new.into_iter().enumerate() {
                painted.pixels[[row, column, channel]] = level;
            }
        }
        let (region, n_changed) = changed.if_enough(self.n_pixels)?;
        Some(Injected { image: painted, region, n_changed })
    }
}

/// What has changed so far.
#[derive(Default)]
struct Changed {
    region: Option<[usize; 4]>,
    n: usize,
}

impl Changed {
    fn add(&mut self, [row, column]: [usize; 2]) {
        self.n += 1;
        self.region =
            Some(self.region.map_or([row, column, row, column], |[row0, column0, row1, column1]| {
                [row0.min(row), column0.min(column), row1.max(row), column1.max(column)]
            }));
    }

    fn if_enough(self, wanted: usize) -> Option<([usize; 4], usize)> {
        let region = self.region.filter(|_| self.n as f64 >= LEAST_SHARE * wanted as f64)?;
        Some((region, self.n))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array3;

    fn image() -> Decoded {
        let pixels =
            Array3::from_shape_fn((200, 300, 3), |(row, _, k)| if row < 20 { 255 } else { [0, 255, 86][k] });
        Decoded { pixels, format: "png" }
    }

    #[test]
    fn every_kind_changes_about_as_many_pixels_as_asked_for_within_its_region() {
        let (image, mut rng) = (image(), Rng::new(3));
        for kind in FaultKind::ALL {
            for n_pixels in [100, 1000, 4000] {
                let fault = Fault { kind, contrast: 1.5, n_pixels };
                let injected = fault.paint(&image, None, ColourOrder::Hot, &mut rng).unwrap();
                let changed: Vec<_> = injected
                    .image
                    .pixels
                    .indexed_iter()
                    .filter(|(at, level)| image.pixels[*at] != **level)
                    .map(|((row, column, _), _)| [row, column])
                    .collect();
                let [row0, column0, row1, column1] = injected.region;
                assert!(
                    changed.iter().all(|[r, c]| (row0..=row1).contains(r) && (column0..=column1).contains(c))
                );
                let share = injected.n_changed as f64 / n_pixels as f64;
                assert!((0.6..1.35).contains(&share), "{kind:?} {n_pixels}: {share}");
                assert!(row0 >= 20, "white ground is no colour of the range");
            }
        }
    }

    #[test]
    fn contrast_multiplies_the_level_up_to_the_end_of_the_range() {
        let (image, order) = (image(), ColourOrder::Hot);
        let before = order.level(&[0, 255, 86]).unwrap();
        for (contrast, wanted) in [(1.25, 1.25 * before), (2.0, 2.0 * before), (4.0, 1.0)] {
            let fault = Fault { kind: FaultKind::Spot, contrast, n_pixels: 500 };
            let injected = fault.paint(&image, None, order, &mut Rng::new(1)).unwrap();
            let [row0, column0, row1, column1] = injected.region;
            let middle = pixel(&injected.image, (row0 + row1) / 2, (column0 + column1) / 2);
            assert!((order.level(&middle).unwrap() - wanted).abs() < 0.006, "{contrast}");
        }
    }

    #[test]
    fn values_of_a_field_are_multiplied_in_one_variable_and_nowhere_else() {
        let values: Vec<f64> = (0..2 * 60 * 80).map(|i| f64::from(i % 80) - 20.0).collect();
        let field = Field::new(&[2, 60, 80], values).unwrap();
        let mut rng = Rng::new(4);
        let mut variables = [0; 2];
        for kind in FaultKind::ALL.into_iter().cycle().take(40) {
            let fault = Fault { kind, contrast: 2.0, n_pixels: 100 };
            let InjectedField { field: faulty, variable, region, n_changed } =
                fault.multiply(&field, &mut rng).unwrap();
            variables[variable] += 1;
            assert_eq!(faulty.variable(1 - variable), field.variable(1 - variable));
            let [row0, column0, row1, column1] = region;
            let mut n = 0;
            for (at, (new, old)) in faulty.variable(variable).iter().zip(field.variable(variable)).enumerate()
            {
                n += usize::from(new != old);
                let inside = (row0..=row1).contains(&(at / 80)) && (column0..=column1).contains(&(at % 80));
                let is_multiple = *new == 2.0 * old || kind == FaultKind::StuckBlock;
                assert!(new == old || inside && is_multiple, "{kind:?} {at}: {old} {new}");
            }
            assert_eq!(n, n_changed);
            assert!((60..135).contains(&n), "{kind:?}: {n}");
        }
        assert!(variables.iter().all(|n| *n > 8), "{variables:?}");
        let nothing = Field::new(&[60, 80], vec![0.0; 4800]).unwrap();
        assert_eq!(
            Fault { kind: FaultKind::Ray, contrast: 2.0, n_pixels: 100 }.multiply(&nothing, &mut rng),
            None
        );
    }

    #[test]
    fn equal_seeds_give_equal_faults_and_a_full_range_takes_none() {
        let fault = Fault { kind: FaultKind::Ray, contrast: 2.0, n_pixels: 300 };
        let paint = |seed| fault.paint(&image(), None, ColourOrder::Hot, &mut Rng::new(seed)).unwrap();
        assert_eq!(paint(9), paint(9));
        assert_ne!(paint(9).region, paint(10).region);
        let red =
            Decoded { pixels: Array3::from_shape_fn((60, 60, 3), |(_, _, k)| [255, 0, 0][k]), format: "png" };
        assert_eq!(fault.paint(&red, None, ColourOrder::Hot, &mut Rng::new(1)), None);
    }
}

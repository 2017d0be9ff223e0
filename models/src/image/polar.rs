//! Fields on polar grids, as the plane they lie in.

use super::decode::Decoded;
use crate::error::{Error, Result};
use ndarray::{Array3, s};
use serde::{Deserialize, Serialize};

/// What the rows and columns of a field are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Grid {
    /// Places in a plane, or anything else: the field is judged as it is.
    #[default]
    Plane,
    /// Rows are angles, columns are radii: the field is judged as seen in the plane.
    Polar,
}

/// How the radii of a polar grid follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Spacing {
    /// In equal ratios.
    #[default]
    Log,
    /// At equal distances.
    Linear,
}

/// What can be set of fields.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FieldParams {
    /// What the rows and columns are.
    pub grid: Grid,
    /// Of a polar grid: the radius where the first column begins and the one where the last ends, in any unit, the first at least
    /// 0, with `spacing = "log"` above 0.
    pub radii: [f64; 2],
    /// Of a polar grid: how the radii follow each other.
    pub spacing: Spacing,
    /// Of a polar grid: the angle where the first row begins and the one where the last ends, in degrees, at most 360 apart.
    pub angles: [f64; 2],
}

impl FieldParams {
    /// Checks every setting against its range.
    ///
    /// # Errors
    ///
    /// [`Error::Parameter`] with the name of the first that lies outside.
    pub fn check(&self) -> Result<()> {
        let Self { grid, radii: [first, last], spacing, angles: [begin, end] } = *self;
        if grid == Grid::Plane {
            return Ok(());
        }
        let least = if spacing == Spacing::Log { f64::MIN_POSITIVE } else { 0.0 };
        if !(first >= least && last > first && last.is_finite()) {
            return Err(Error::Parameter {
                name: "field.radii",
                found: format!("[{first}, {last}]"),
                expected:
                    "two radii, the first above 0 (with linear spacing at least 0) and the last above it"
                        .into(),
            });
        }
        if !(begin.is_finite() && end > begin && end <= begin + 360.0) {
            return Err(Error::Parameter {
                name: "field.angles",
                found: format!("[{begin}, {end}]"),
                expected: "two angles in degrees, the second above the first by at most 360".into(),
            });
        }
        Ok(())
    }
}

/// No zone lies under a pixel.
const OUTSIDE: u32 = u32::MAX;

/// Which zone of a polar grid lies under each pixel of its plane, and which pixel over the middle of each zone.
///
/// The angle is counted from the right, against the clock. A pixel has the colour of the zone in which its middle lies; where zones
/// are smaller than pixels, near the centre, some have none.
#[derive(Debug, Clone, PartialEq)]
pub struct PolarPlane {
    /// Angles and radii.
    shape: [usize; 2],
    /// Rows and columns of pixels.
    size: [usize; 2],
    zones: Vec<u32>,
    /// `[angles, radii]`: row and column.
    middles: Vec<[u32; 2]>,
}

impl PolarPlane {
    /// The plane of a grid of `[angles, radii]` zones, drawn with at most `max_pixels` pixels.
    ///
    /// # Panics
    ///
    /// If `params` are out of their range: the caller has checked them.
    pub fn new([angles, radii]: [usize; 2], params: &FieldParams, max_pixels: usize) -> Self {
        params.check().expect("the settings were checked when the run began; this is a bug");
        let FieldParams { radii: [first, last], spacing, angles: [begin, end], .. } = *params;
        let radius = |share: f64| match spacing {
            Spacing::Log => first * (last / first).powf(share),
            Spacing::Linear => first + (last - first) * share,
        };
        let angle = |share: f64| (begin + (end - begin) * share).to_radians();
        let place = |a: f64, r: f64| [radius(r) * angle(a).cos(), radius(r) * angle(a).sin()];
        // The corners of all zones lie on these.
        let edge =
            (0..=8 * angles).flat_map(|k| [0.0, 1.0].map(|r| place(k as f64 / (8 * angles) as f64, r)));
        let mut bounds = [[f64::INFINITY, f64::NEG_INFINITY]; 2];
        for corner in edge {
            for (bounds, at) in bounds.iter_mut().zip(corner) {
                *bounds = [bounds[0].min(at), bounds[1].max(at)];
            }
        }
        let [[left, right], [low, high]] = bounds;
        let (width, height) = (right - left, high - low);
        let side = (width * height / max_pixels as f64).sqrt();
        let pixels = |length: f64| ((length / side) as usize).max(1);
        let size = [pixels(height), pixels(width)];
        let mut zones = Vec::with_capacity(size[0] * size[1]);
        for (row, column) in (0..size[0]).flat_map(|r| (0..size[1]).map(move |c| (r, c))) {
            let x = left + (column as f64 + 0.5) * side;
            let y = high - (row as f64 + 0.5) * side;
            let r = x.hypot(y);
            let turned = (y.atan2(x).to_degrees() - begin).rem_euclid(360.0);
            let a = turned / (end - begin);
            let r = match spacing {
                Spacing::Log => (r / first).ln() / (last / first).ln(),
                Spacing::Linear => (r - first) / (last - first),
            };
            let inside = (0.0..1.0).contains(&a) && (0.0..1.0).contains(&r);
            let zone = (a * angles as f64) as usize * radii + (r * radii as f64) as usize;
            zones.push(if inside { zone as u32 } else { OUTSIDE });
        }
        let middles = (0..angles)
            .flat_map(|a| (0..radii).map(move |r| (a, r)))
            .map(|(a, r)| {
                let [x, y] = place((a as f64 + 0.5) / angles as f64, (r as f64 + 0.5) / radii as f64);
                let at = |distance: f64, n: usize| ((distance / side).max(0.0) as usize).min(n - 1) as u32;
                [at(high - y, size[0]), at(x - left, size[1])]
            })
            .collect();
        Self { shape: [angles, radii], size, zones, middles }
    }

    /// Angles and radii of the grid.
    pub fn shape(&self) -> [usize; 2] {
        self.shape
    }

    /// Rows and columns of pixels.
    pub fn size(&self) -> [usize; 2] {
        self.size
    }

    /// The pixel over the middle of a zone.
    pub fn middle(&self, angle: usize, radius: usize) -> [usize; 2] {
        self.middles[angle * self.shape[1] + radius].map(|at| at as usize)
    }

    /// The picture of the plane from one of the grid, the variables of both below each other; white where there is no zone.
    ///
    /// - `picture`: `[variables x angles, radii, 3]`.
    pub fn draw(&self, picture: &Decoded) -> Decoded {
        let [angles, radii] = self.shape;
        let [rows, columns] = self.size;
        let variables = picture.pixels.dim().0 / angles;
        let mut pixels = Array3::from_elem((variables * rows, columns, 3), 255u8);
        for variable in 0..variables {
            let source = picture.pixels.slice(s![variable * angles..(variable + 1) * angles, .., ..]);
            for (at, &zone) in self.zones.iter().enumerate().filter(|(_, zone)| **zone != OUTSIDE) {
                let zone = zone as usize;
                let mut pixel = pixels.slice_mut(s![variable * rows + at / columns, at % columns, ..]);
                pixel.assign(&source.slice(s![zone / radii, zone % radii, ..]));
            }
        }
        Decoded { pixels, format: picture.format }
    }

    /// The zones, first and last angle and radius, that lie under a rectangle of pixels; `None` if none does.
    pub fn zones_under(&self, [row0, column0, row1, column1]: [usize; 4]) -> Option<[usize; 4]> {
        let [rows, columns] = self.size;
        let mut found: Option<[usize; 4]> = None;
        for row in row0..=row1.min(rows - 1) {
            let line = &self.zones[row * columns..][column0..=column1.min(columns - 1)];
            for zone in line.iter().filter(|zone| **zone != OUTSIDE) {
                let (angle, radius) = (*zone as usize / self.shape[1], *zone as usize % self.shape[1]);
                found = Some(found.map_or([angle, radius, angle, radius], |[a0, r0, a1, r1]| {
                    [a0.min(angle), r0.min(radius), a1.max(angle), r1.max(radius)]
                }));
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(radii: [f64; 2], spacing: Spacing, angles: [f64; 2]) -> FieldParams {
        FieldParams { grid: Grid::Polar, radii, spacing, angles }
    }

    #[test]
    fn zones_that_are_larger_than_pixels_lie_under_the_pixel_over_their_middle() {
        for (radii, spacing, angles) in [
            ([1.0, 6.0], Spacing::Log, [0.0, 180.0]),
            ([0.0, 2.0], Spacing::Linear, [0.0, 360.0]),
            ([3.0, 4.0], Spacing::Linear, [-30.0, 60.0]),
        ] {
            let plane = PolarPlane::new([40, 30], &params(radii, spacing, angles), 200_000);
            let n = plane.size().iter().product::<usize>();
            assert!((180_000..=200_000).contains(&n), "{n}");
            for (angle, radius) in (0..40).flat_map(|a| (6..30).map(move |r| (a, r))) {
                let [row, column] = plane.middle(angle, radius);
                assert_eq!(
                    plane.zones_under([row, column, row, column]),
                    Some([angle, radius, angle, radius])
                );
            }
        }
    }

    #[test]
    fn half_disc_has_its_first_angle_on_the_right_and_white_around_it() {
        let plane = PolarPlane::new([8, 8], &params([1.0, 4.0], Spacing::Log, [0.0, 180.0]), 10_000);
        let [rows, columns] = plane.size();
        assert!((2 * rows).abs_diff(columns) <= 2);
        let mut grid = Array3::<u8>::zeros((16, 8, 3));
        grid.slice_mut(s![0..1, .., ..]).fill(90);
        grid.slice_mut(s![8.., .., ..]).fill(40);
        let picture = plane.draw(&Decoded { pixels: grid, format: "field" }).pixels;
        assert_eq!(picture.dim(), (2 * rows, columns, 3));
        assert_eq!(picture[[rows - 1, columns - 2, 0]], 90, "right, at the axis");
        assert_eq!(picture[[rows - 1, 1, 0]], 0, "left");
        assert_eq!(
            (picture[[0, 0, 0]], picture[[rows - 1, columns / 2, 0]]),
            (255, 255),
            "corner and centre"
        );
        assert_eq!(picture[[rows + 1, columns / 2, 0]], 40, "the second variable below");
        assert_eq!(plane.zones_under([0, 0, 3, 3]), None);
    }

    #[test]
    fn settings_out_of_range_are_refused_by_name_and_a_plane_has_none() {
        for (wrong, name) in [
            (params([0.0, 1.0], Spacing::Log, [0.0, 180.0]), "field.radii"),
            (params([2.0, 1.0], Spacing::Linear, [0.0, 180.0]), "field.radii"),
            (params([f64::NAN, 1.0], Spacing::Linear, [0.0, 180.0]), "field.radii"),
            (params([0.0, 1.0], Spacing::Linear, [0.0, 361.0]), "field.angles"),
            (params([0.0, 1.0], Spacing::Linear, [90.0, 90.0]), "field.angles"),
        ] {
            assert!(wrong.check().unwrap_err().to_string().starts_with(name));
        }
        FieldParams::default().check().unwrap();
        let text = r#"{"grid": "polar", "radii": [0.4, 6.0], "spacing": "log", "angles": [0, 180]}"#;
        assert_eq!(serde_json::from_str::<FieldParams>(text).unwrap().grid, Grid::Polar);
    }
}

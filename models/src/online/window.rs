//! How far things may have moved from image to image, and how that is measured.

use super::block_matching::PATCH;
use super::planes::Planes;
use rayon::prelude::*;

/// Distance of the patches whose motion is measured, in pixels: every fourth of block matching's in each direction.
const SPACING: usize = 2 * PATCH;

/// Distance of the shifts that are tried.
const SHIFT_STRIDE: usize = 2;

/// A patch has moved if it differs from what was in its place by more than this (root mean square, in grey levels), and can be
/// told apart from its surroundings if it varies by more than [`LEAST_TEXTURE`].
const LEAST_CHANGE: f64 = 4.0;
const LEAST_TEXTURE: f64 = 6.0;

/// Moved patches for a measurement.
const MIN_MOVED: usize = 8;

/// Newest measurements whose median sets the window.
pub(super) const MAX_MOTIONS: usize = 20;

/// Measurements before they are believed.
const MIN_MOTIONS: usize = 3;

/// The window before there are enough measurements, and the least one afterwards, in pixels.
const USUAL_REACH: usize = 8;

/// The window grows in such steps, so that it does not change with every image.
const REACH_STEP: usize = 4;

/// Beyond this part of an image's shorter side a window would find almost any colour.
const SIDE_FRACTION: usize = 12;

/// The least window of a small image, in pixels.
const LEAST_REACH: usize = 4;

/// The shifts that a place is compared at: up to `reach` pixels in each direction, every `stride` pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Window {
    reach: usize,
    stride: usize,
}

impl Window {
    /// - `stride`: at least 1.
    pub(super) fn new(reach: usize, stride: usize) -> Self {
        assert!(stride >= 1, "a window without a stride; this is a bug");
        Self { reach, stride }
    }

    /// Nine shifts in each direction, whatever the reach: the time of a comparison does not grow with the motion.
    pub(super) fn of_nine(reach: usize) -> Self {
        Self::new(reach, reach.div_ceil(4).max(1))
    }

    /// At every second pixel where the window is wide.
    pub(super) fn dense(reach: usize) -> Self {
        Self::new(reach, if reach >= USUAL_REACH { 2 } else { 1 })
    }

    /// All shifts, rows and columns, the shortest first.
    pub(super) fn shifts(self) -> Vec<(isize, isize)> {
        let (most, stride) = ((self.reach / self.stride) as isize, self.stride as isize);
        let mut shifts: Vec<_> =
            (-most..=most).flat_map(|y| (-most..=most).map(move |x| (y * stride, x * stride))).collect();
        shifts.sort_by_key(|&(dy, dx)| (dy * dy + dx * dx, dy, dx));
        shifts
    }
}

/// How far the window reaches, in pixels, for an image whose shorter side has `side` pixels.
///
/// It is twice the usual motion, so that the faster quarter of places stays inside as well.
///
/// - `motions`: as [`motion`] has measured them in the images before, the newest last.
/// - `max_shift`: the most allowed.
/// - `lag`: how many output intervals lie between the images; motion adds up until the flow has turned, so it is counted with the
///   square root.
pub(super) fn reach(motions: &[u8], max_shift: usize, side: usize, lag: u64) -> usize {
    let most = max_shift.min((side / SIDE_FRACTION).max(LEAST_REACH));
    let wanted = if motions.len() < MIN_MOTIONS {
        USUAL_REACH
    } else {
        let mut sorted = motions.to_vec();
        sorted.sort_unstable();
        2 * usize::from(sorted[sorted.len() / 2])
    };
    let apart = (wanted.max(USUAL_REACH) as f64 * (lag as f64).sqrt() / 2f64.sqrt()).ceil() as usize;
    let wanted = if lag <= 1 { wanted } else { apart };
    wanted.next_multiple_of(REACH_STEP).max(USUAL_REACH).min(most)
}

/// How far places have moved from `reference` to `image`: the 75 % quantile, in pixels, over the patches that have moved and can
/// be told apart; `None` if those are too few to say.
///
/// - `max_shift`: the longest motion looked for, in each direction.
pub(super) fn motion(image: &Planes, reference: &Planes, max_shift: usize) -> Option<u8> {
    let shape = image.shape();
    let along = |pixels: usize| (0..=pixels.saturating_sub(PATCH)).step_by(SPACING);
    let places: Vec<(usize, usize)> =
        along(shape.rows).flat_map(|y| along(shape.columns).map(move |x| (y, x))).collect();
    let shifts = Window::new(max_shift, SHIFT_STRIDE).shifts();
    let mut moved: Vec<u8> =
        places.par_iter().filter_map(|&place| moved_by(image, reference, place, &shifts)).collect();
    if moved.len() < MIN_MOVED {
        return None;
    }
    moved.sort_unstable();
    Some(moved[3 * (moved.len() - 1) / 4])
}

/// The longer component of a patch's motion; `None` if it has not moved or is too plain to be followed.
fn moved_by(
    image: &Planes,
    reference: &Planes,
    (y, x): (usize, usize),
    shifts: &[(isize, isize)],
) -> Option<u8> {
    let shape = image.shape();
    let n = (PATCH * PATCH * shape.channels) as f64;
    let (mut sum, mut squares) = (0u64, 0u64);
    for (channel, row) in (0..shape.channels).flat_map(|k| (y..y + PATCH).map(move |row| (k, row))) {
        for &level in &image.row(channel, row)[x..x + PATCH] {
            sum += u64::from(level);
            squares += u64::from(level).pow(2);
        }
    }
    let variance = squares as f64 / n - (sum as f64 / n).powi(2);
    if variance < LEAST_TEXTURE * LEAST_TEXTURE {
        return None;
    }
    let still = difference(image, reference, (y, x), (0, 0), u32::MAX)?;
    if f64::from(still) < LEAST_CHANGE * LEAST_CHANGE * n {
        return None;
    }
    let (mut least, mut best) = (still, (0isize, 0isize));
    for &shift in shifts {
        if let Some(found) = difference(image, reference, (y, x), shift, least) {
            (least, best) = (found, shift);
        }
    }
    Some(best.0.unsigned_abs().max(best.1.unsigned_abs()) as u8)
}

/// The sum of squared differences of a patch from the reference at a shift if it is less than `least`; `None` otherwise, and if
/// the shift leads out of the reference.
fn difference(
    image: &Planes,
    reference: &Planes,
    (y, x): (usize, usize),
    (dy, dx): (isize, isize),
    least: u32,
) -> Option<u32> {
    let shape = image.shape();
    let moved = |from: usize, by: isize, pixels: usize| {
        from.checked_add_signed(by).filter(|&start| start + PATCH <= pixels)
    };
    let (y0, x0) = (moved(y, dy, shape.rows)?, moved(x, dx, shape.columns)?);
    let mut sum = 0u32;
    for channel in 0..shape.channels {
        for row in 0..PATCH {
            let a = &image.row(channel, y + row)[x..x + PATCH];
            let b = &reference.row(channel, y0 + row)[x0..x0 + PATCH];
            sum += a.iter().zip(b).map(|(&a, &b)| u32::from(a.abs_diff(b)).pow(2)).sum::<u32>();
        }
        if sum >= least {
            return None;
        }
    }
    Some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;
    use ndarray::Array3;

    /// Smooth blobs, seen from a point that moves.
    fn scene(dy: f64, dx: f64) -> Planes {
        let mut rng = Rng::new(9);
        let waves: Vec<[f64; 3]> = (0..10).map(|_| [0.25, 0.25, 3.0].map(|s| s * rng.normal())).collect();
        Planes::reduced(
            &Array3::from_shape_fn((3, 120, 160), |(_, r, c)| {
                let (r, c) = (r as f64 + dy, c as f64 + dx);
                128.0
                    + waves.iter().map(|[a, b, start]| 20.0 * (a * r + b * c + start).sin()).sum::<f64>()
                        as f32
            }),
            1,
        )
    }

    #[test]
    fn the_motion_of_a_scene_is_found() {
        for (dy, dx, expected) in [(2.0, 0.0, 2), (-4.0, 6.0, 6), (10.0, 3.0, 10)] {
            let found = motion(&scene(dy, dx), &scene(0.0, 0.0), 16).unwrap();
            assert!(found.abs_diff(expected) <= 1, "{dy} {dx}: {found}");
        }
    }

    #[test]
    fn a_scene_at_rest_and_one_without_texture_have_no_motion() {
        assert_eq!(motion(&scene(0.0, 0.0), &scene(0.0, 0.0), 16), None);
        let plain = |level| Planes::reduced(&Array3::from_elem((1, 120, 160), level), 1);
        assert_eq!(motion(&plain(10.0), &plain(200.0), 16), None);
    }

    #[test]
    fn the_window_follows_the_motion_within_its_limits() {
        assert_eq!(reach(&[], 16, 240, 1), 8, "nothing is known yet");
        assert_eq!(reach(&[2; 20], 16, 240, 1), 8);
        assert_eq!(reach(&[5; 20], 16, 240, 1), 12);
        assert_eq!(reach(&[14; 20], 16, 240, 1), 16);
        assert_eq!(reach(&[14; 20], 6, 240, 1), 6, "as set");
        assert_eq!(reach(&[14; 20], 16, 64, 1), 5, "a small image");
        assert_eq!([2, 4, 8].map(|lag| reach(&[2; 20], 16, 240, lag)), [8, 12, 16]);
    }

    #[test]
    fn shifts_come_with_the_shortest_first_and_zero_among_them() {
        let shifts = Window::of_nine(8).shifts();
        assert_eq!((shifts.len(), shifts[0]), (81, (0, 0)));
        assert!(shifts.iter().all(|&(y, x)| y % 2 == 0 && x % 2 == 0 && y.abs().max(x.abs()) <= 8));
        assert_eq!(Window::new(0, 1).shifts(), [(0, 0)]);
        assert_eq!(Window::dense(4).shifts().len(), 81);
    }
}

//! How new the colour of each place is: the least difference from all colours around it in the images before.
//!
//! What a flow carries along keeps its value: without a source, a smooth advected field has no value that was not there, near
//! by, shortly before (the maximum principle). A wrong zone has, whatever the flow does meanwhile, so the window can be wide and
//! the judgement keeps its sight where the motion between two images is too large for patches to be found again.

use super::block_matching::NoveltyMap;
use super::planes::Planes;
use super::window::Window;
use rayon::prelude::*;

/// Side of the cells whose pixels are averaged in the finer map.
pub(super) const FINE_CELL: usize = 2;

/// Side of the cells of the coarser map.
pub(super) const COARSE_CELL: usize = 4;

/// Compares the colour of each pixel of `image` with the pixels of `references` within `window`, and averages the least
/// differences over cells of `cell` x `cell` pixels; trailing rows and columns that fill no cell are left out.
///
/// The difference of two colours is the mean over the channels of the absolute differences, in grey levels; it counts up to 255
/// divided by the number of channels. Shifts that leave the reference are left out. The sums are of integers, so that the result is
/// the same, bit for bit, for any number of threads.
///
/// # Panics
///
/// If a reference has another shape than the image or there is none: the caller's promise.
pub(super) fn colour_novelty(
    image: &Planes,
    references: &[&Planes],
    window: Window,
    cell: usize,
) -> NoveltyMap {
    assert!(!references.is_empty(), "colours without a reference; this is a bug");
    assert!(
        references.iter().all(|r| r.shape() == image.shape()),
        "references of another shape; this is a bug"
    );
    let shape = image.shape();
    let (rows, columns) = (shape.rows / cell, shape.columns / cell);
    let shifts = window.shifts();
    let scale = 1.0 / (cell * cell * shape.channels) as f32;
    // The same arithmetic in wider registers where the processor has them.
    let arch = pulp::Arch::new();
    let mut novelty = vec![0f32; rows * columns];
    novelty.par_chunks_mut(columns.max(1)).enumerate().for_each_init(
        || Row { least: vec![0; shape.columns], distance: vec![0; shape.columns] },
        |row, (map_row, out)| {
            let mut sums = vec![0u32; columns];
            for y in map_row * cell..(map_row + 1) * cell {
                arch.dispatch(|| row.search(image, references, &shifts, y));
                for (sum, levels) in sums.iter_mut().zip(row.least.chunks_exact(cell)) {
                    *sum += levels.iter().map(|&level| u32::from(level)).sum::<u32>();
                }
            }
            out.iter_mut().zip(sums).for_each(|(out, sum)| *out = sum as f32 * scale);
        },
    );
    NoveltyMap { rows, columns, novelty }
}

/// One row of pixels.
struct Row {
    /// The least distances found so far.
    least: Vec<u8>,
    distance: Vec<u8>,
}

impl Row {
    #[inline(always)]
    fn search(&mut self, image: &Planes, references: &[&Planes], shifts: &[(isize, isize)], y: usize) {
        let shape = image.shape();
        self.least.fill(u8::MAX);
        for &(dy, dx) in shifts {
            // What is found again exactly needs no further search.
            let Some(start) = self.least.iter().position(|&d| d > 0) else { break };
            let end = self.least.iter().rposition(|&d| d > 0).map_or(start, |last| last + 1);
            let Some(moved_y) = y.checked_add_signed(dy).filter(|&row| row < shape.rows) else { continue };
            let start = start.max(dx.min(0).unsigned_abs());
            let end = end.min(shape.columns.saturating_sub(dx.max(0).unsigned_abs()));
            if start >= end {
                continue;
            }
            // Within the reference, as `start` and `end` have just been set.
            let moved = start.wrapping_add_signed(dx)..end.wrapping_add_signed(dx);
            let least = &mut self.least[start..end];
            for reference in references {
                let pair = |channel: usize| {
                    (&image.row(channel, y)[start..end], &reference.row(channel, moved_y)[moved.clone()])
                };
                if shape.channels == 3 {
                    nearest([0, 1, 2].map(pair), least);
                } else if shape.channels == 1 {
                    nearest([pair(0)], least);
                } else {
                    let distance = &mut self.distance[..least.len()];
                    distance.fill(0);
                    for (a, b) in (0..shape.channels).map(pair) {
                        for (distance, (a, b)) in distance.iter_mut().zip(a.iter().zip(b)) {
                            *distance = distance.saturating_add(a.abs_diff(*b));
                        }
                    }
                    least
                        .iter_mut()
                        .zip(distance)
                        .for_each(|(least, distance)| *least = (*least).min(*distance));
                }
            }
        }
    }
}

/// Bytes worked on at once: a vector register of AVX2.
const LANES: usize = 32;

/// Lowers `least` to the distances of `N` channels; in bytes throughout, so that a register holds as many as can be.
///
/// Written in chunks whose results are local until they are stored, so that the compiler need not fear that the slices overlap.
#[inline(always)]
fn nearest<const N: usize>(pairs: [(&[u8], &[u8]); N], least: &mut [u8]) {
    let done = least.len() / LANES * LANES;
    let chunks = pairs.map(|(a, b)| (a.as_chunks::<LANES>().0, b.as_chunks::<LANES>().0));
    for (i, least) in least.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
        let mut distances = [0u8; LANES];
        for (a, b) in chunks {
            let (a, b) = (&a[i], &b[i]);
            for (j, distance) in distances.iter_mut().enumerate() {
                *distance = distance.saturating_add(a[j].abs_diff(b[j]));
            }
        }
        for (least, distance) in least.iter_mut().zip(distances) {
            *least = (*least).min(distance);
        }
    }
    for (i, least) in least.iter_mut().enumerate().skip(done) {
        let distance = pairs.iter().fold(0u8, |sum, (a, b)| sum.saturating_add(a[i].abs_diff(b[i])));
        *least = (*least).min(distance);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;
    use ndarray::Array3;
    use proptest::prelude::*;

    fn planes(seed: u64, channels: usize, rows: usize, columns: usize) -> Planes {
        let mut rng = Rng::new(seed);
        Planes::reduced(&Array3::from_shape_simple_fn((channels, rows, columns), || rng.below(256) as f32), 1)
    }

    /// The definition, pixel by pixel.
    fn by_definition(image: &Planes, references: &[&Planes], window: Window, cell: usize) -> Vec<f32> {
        let shape = image.shape();
        let least = |y: usize, x: usize| {
            let mut least = 255u32;
            for (reference, (dy, dx)) in
                references.iter().flat_map(|r| window.shifts().into_iter().map(move |shift| (r, shift)))
            {
                let (moved_y, moved_x) = (y as isize + dy, x as isize + dx);
                if (0..shape.rows as isize).contains(&moved_y)
                    && (0..shape.columns as isize).contains(&moved_x)
                {
                    let distance = (0..shape.channels).map(|k| {
                        let other = reference.row(k, moved_y as usize)[moved_x as usize];
                        u32::from(image.row(k, y)[x].abs_diff(other))
                    });
                    least = least.min(distance.sum::<u32>());
                }
            }
            least
        };
        let mut novelty = Vec::new();
        for (row, column) in
            (0..shape.rows / cell).flat_map(|r| (0..shape.columns / cell).map(move |c| (r, c)))
        {
            let sum: u32 =
                (0..cell * cell).map(|i| least(row * cell + i / cell, column * cell + i % cell)).sum();
            novelty.push(sum as f32 * (1.0 / (cell * cell * shape.channels) as f32));
        }
        novelty
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn the_fast_search_equals_the_definition(
            seed in any::<u64>(), channels in 1usize..5, rows in 8usize..40, columns in 8usize..70, reach in 0usize..9,
            stride in 1usize..4, cell in 1usize..5, two in any::<bool>(),
        ) {
            let [image, newest, older] = [0, 1, 2].map(|k| planes(seed ^ k, channels, rows, columns));
            let references = if two { vec![&newest, &older] } else { vec![&newest] };
            let window = Window::new(reach, stride);
            let map = colour_novelty(&image, &references, window, cell);
            prop_assert_eq!((map.rows, map.columns), (rows / cell, columns / cell));
            prop_assert_eq!(map.novelty, by_definition(&image, &references, window, cell));
        }
    }

    #[test]
    fn a_repeated_image_holds_no_new_colour_and_neither_does_one_that_is_moved() {
        let mut rng = Rng::new(3);
        let scene = Array3::from_shape_simple_fn((3, 80, 80), || rng.below(256) as f32);
        let cut = |y: usize, x: usize| {
            Planes::reduced(&Array3::from_shape_fn((3, 64, 64), |(k, r, c)| scene[[k, r + y, c + x]]), 1)
        };
        let (before, moved) = (cut(8, 8), cut(12, 2));
        assert!(colour_novelty(&before, &[&before], Window::dense(8), 2).novelty.iter().all(|&m| m == 0.0));
        let map = colour_novelty(&moved, &[&before], Window::dense(8), 2);
        assert_eq!(map.novelty[16 * map.columns + 16], 0.0);
    }

    #[test]
    fn a_colour_that_was_nowhere_near_is_as_new_as_it_differs() {
        let flat = |level: f32| Array3::from_elem((3, 32, 32), level);
        let mut faulty = flat(100.0);
        (0..3).for_each(|k| faulty[[k, 10, 12]] = 130.0);
        let map = colour_novelty(
            &Planes::reduced(&faulty, 1),
            &[&Planes::reduced(&flat(100.0), 1)],
            Window::dense(8),
            2,
        );
        for (i, &m) in map.novelty.iter().enumerate() {
            assert_eq!(m, if i == 5 * 16 + 6 { 7.5 } else { 0.0 }, "{i}");
        }
    }

    #[test]
    fn any_number_of_threads_gives_the_same_bits() {
        let [image, reference] = [5, 6].map(|seed| planes(seed, 3, 120, 100));
        let with = |n| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(n).build().unwrap();
            pool.install(|| colour_novelty(&image, &[&reference], Window::dense(8), 2))
        };
        assert_eq!(with(1), with(3));
    }
}

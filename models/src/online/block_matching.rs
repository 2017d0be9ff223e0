//! How new each place of an image is: the least difference of its patches from the images before, moved a little.

use super::planes::Planes;
use super::window::Window;
use rayon::prelude::*;

/// Side of a patch in pixels.
pub(super) const PATCH: usize = 8;

/// Distance of neighbouring patches in pixels, half a patch: a patch is then four cells, each shared by four patches.
pub(super) const STRIDE: usize = 4;

/// Patch rows that one task works on; it computes one row of cells twice.
const STRIP: usize = 8;

/// Novelty by place.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct NoveltyMap {
    /// Number of rows of places.
    pub(super) rows: usize,
    /// Number of columns of places.
    pub(super) columns: usize,
    /// `[rows, columns]`, row-major; in the unit of the kind of evidence, at least 0.
    pub(super) novelty: Vec<f32>,
}

/// The number of patch rows and columns of an image of so many pixels.
pub(super) fn map_shape(rows: usize, columns: usize) -> (usize, usize) {
    let patches = |pixels: usize| (pixels + STRIDE).saturating_sub(PATCH) / STRIDE;
    (patches(rows), patches(columns))
}

/// Compares each patch of `image` with the patches of `references` at the shifts of `window`.
///
/// The novelty of a patch is the least root-mean-square difference, in grey levels, 0..=255, over all references and shifts. Shifts that would leave
/// the reference are left out. The sums are of integers, so that the result is the same, bit for bit, for any number of
/// threads.
///
/// # Panics
///
/// If a reference has another shape than the image or there is none: the caller's promise.
pub(super) fn novelty(image: &Planes, references: &[&Planes], window: Window) -> NoveltyMap {
    assert!(!references.is_empty(), "block matching without a reference; this is a bug");
    assert!(
        references.iter().all(|r| r.shape() == image.shape()),
        "references of another shape; this is a bug"
    );
    let shape = image.shape();
    let (rows, columns) = map_shape(shape.rows, shape.columns);
    let shifts = window.shifts();
    let scale = 1.0 / (PATCH * PATCH * shape.channels) as f32;
    // The same arithmetic in wider registers where the processor has them.
    let arch = pulp::Arch::new();
    let mut novelty = vec![0f32; rows * columns];
    novelty.par_chunks_mut(STRIP * columns).enumerate().for_each(|(strip, out)| {
        let strip = Strip::new(image, strip * STRIP, out.len() / columns, columns);
        let least = arch.dispatch(|| strip.search(references, &shifts));
        out.iter_mut().zip(least).for_each(|(out, least)| *out = (least as f32 * scale).sqrt());
    });
    NoveltyMap { rows, columns, novelty }
}

/// Some rows of patches of one image, and the least squared differences found so far.
struct Strip<'a> {
    image: &'a Planes,
    first: usize,
    rows: usize,
    columns: usize,
    /// `[rows, columns]`: sums of squared differences; at most 3 * 64 * 255^2, far below 2^32.
    least: Vec<u32>,
    /// `[rows + 1, columns + 1]`: the squared differences of the cells at one shift.
    cells: Vec<u32>,
}

impl<'a> Strip<'a> {
    fn new(image: &'a Planes, first: usize, rows: usize, columns: usize) -> Self {
        let (least, cells) = (vec![u32::MAX; rows * columns], vec![0; (rows + 1) * (columns + 1)]);
        Self { image, first, rows, columns, least, cells }
    }

    #[inline(always)]
    fn search(mut self, references: &[&Planes], shifts: &[(isize, isize)]) -> Vec<u32> {
        for &shift in shifts {
            // What is found again exactly needs no further search: all of the background, and all of a repeated image.
            let Some(open) = self.open_columns() else { break };
            for reference in references {
                self.compare(reference, shift, open.clone());
            }
        }
        self.least
    }

    #[inline(always)]
    /// The least range of columns outside of which every patch has been found again without any difference.
    fn open_columns(&self) -> Option<std::ops::Range<usize>> {
        let mut open: Option<std::ops::Range<usize>> = None;
        for row in self.least.chunks_exact(self.columns) {
            if let (Some(start), Some(last)) =
                (row.iter().position(|&d| d > 0), row.iter().rposition(|&d| d > 0))
            {
                let range = open.unwrap_or(start..last + 1);
                open = Some(range.start.min(start)..range.end.max(last + 1));
            }
        }
        open
    }

    #[inline(always)]
    fn compare(&mut self, reference: &Planes, (dy, dx): (isize, isize), open: std::ops::Range<usize>) {
        let shape = self.image.shape();
        let fits = |cell: usize, shift: isize, pixels: usize| {
            let start = (cell * STRIDE) as isize + shift;
            start >= 0 && start as usize + STRIDE <= pixels
        };
        // Patches `open` consist of the cells `open.start..=open.end`.
        let mut cell_columns = open.start..open.end + 1;
        while !cell_columns.is_empty() && !fits(cell_columns.start, dx, shape.columns) {
            cell_columns.start += 1;
        }
        while !cell_columns.is_empty() && !fits(cell_columns.end - 1, dx, shape.columns) {
            cell_columns.end -= 1;
        }
        if cell_columns.len() < 2 {
            return;
        }
        let n_cells = cell_columns.len();
        let width = self.columns + 1;
        let pixels = cell_columns.start * STRIDE..cell_columns.end * STRIDE;
        // Within the reference, as `fits` has found for every cell.
        let moved = pixels.start.wrapping_add_signed(dx)..pixels.end.wrapping_add_signed(dx);
        let mut above_fits = false;
        for row in 0..=self.rows {
            let cell_row = self.first + row;
            if !fits(cell_row, dy, shape.rows) {
                above_fits = false;
                continue;
            }
            let mut pairs = [(&[][..], &[][..]); 3 * STRIDE];
            let n_pairs = shape.channels * STRIDE;
            for (pair, (channel, y)) in pairs
                .iter_mut()
                .zip((0..shape.channels).flat_map(|k| (0..STRIDE).map(move |y| (k, cell_row * STRIDE + y))))
            {
                *pair = (
                    &self.image.row(channel, y)[pixels.clone()],
                    &reference.row(channel, y.wrapping_add_signed(dy))[moved.clone()],
                );
            }
            let (above, here) = self.cells.split_at_mut(row * width);
            squared_differences(&pairs[..n_pairs], &mut here[..n_cells]);
            if above_fits {
                let above = &above[(row - 1) * width..][..n_cells];
                let least = &mut self.least[(row - 1) * self.columns + cell_columns.start..][..n_cells - 1];
                let here = &here[..n_cells];
                for (i, least) in least.iter_mut().enumerate() {
                    *least = (*least).min(above[i] + above[i + 1] + here[i] + here[i + 1]);
                }
            }
            above_fits = true;
        }
    }
}

/// The sum of squared differences of each cell: of `STRIDE` columns in all pairs of rows.
///
/// Written in chunks of four cells, sixteen pixels, so that the compiler keeps the sums in vector registers.
#[inline(always)]
fn squared_differences(pairs: &[(&[u8], &[u8])], cells: &mut [u32]) {
    let (fours, rest) = cells.as_chunks_mut::<4>();
    let done = fours.len() * 4;
    for (k, four) in fours.iter_mut().enumerate() {
        let mut sums = [0i32; 8];
        for (a, b) in pairs {
            let (a, b) = (&a.as_chunks::<16>().0[k], &b.as_chunks::<16>().0[k]);
            for i in 0..8 {
                let even = i16::from(a[2 * i]) - i16::from(b[2 * i]);
                let odd = i16::from(a[2 * i + 1]) - i16::from(b[2 * i + 1]);
                sums[i] += i32::from(even) * i32::from(even) + i32::from(odd) * i32::from(odd);
            }
        }
        for (cell, two) in four.iter_mut().zip(sums.as_chunks::<2>().0) {
            *cell = (two[0] + two[1]) as u32;
        }
    }
    for (k, cell) in rest.iter_mut().enumerate() {
        let columns = (done + k) * STRIDE..(done + k + 1) * STRIDE;
        *cell = pairs
            .iter()
            .flat_map(|(a, b)| a[columns.clone()].iter().zip(&b[columns.clone()]))
            .map(|(&a, &b)| u32::from(a.abs_diff(b)).pow(2))
            .sum();
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

    /// The definition, patch by patch.
    fn by_definition(image: &Planes, references: &[&Planes], window: Window) -> NoveltyMap {
        let shape = image.shape();
        let (rows, columns) = map_shape(shape.rows, shape.columns);
        let mut novelty = Vec::new();
        for (row, column) in (0..rows).flat_map(|r| (0..columns).map(move |c| (r, c))) {
            let mut least = f32::INFINITY;
            for reference in references {
                for (dy, dx) in window.shifts() {
                    let (y0, x0) = ((row * STRIDE) as isize + dy, (column * STRIDE) as isize + dx);
                    if y0 < 0
                        || x0 < 0
                        || y0 as usize + PATCH > shape.rows
                        || x0 as usize + PATCH > shape.columns
                    {
                        continue;
                    }
                    let mut sum = 0u32;
                    for k in 0..shape.channels {
                        for y in 0..PATCH {
                            for x in 0..PATCH {
                                let a = image.row(k, row * STRIDE + y)[column * STRIDE + x];
                                let b = reference.row(k, y0 as usize + y)[x0 as usize + x];
                                sum += u32::from(a.abs_diff(b)).pow(2);
                            }
                        }
                    }
                    least = least.min((sum as f32 * (1.0 / (PATCH * PATCH * shape.channels) as f32)).sqrt());
                }
            }
            novelty.push(least);
        }
        NoveltyMap { rows, columns, novelty }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn the_fast_search_equals_the_definition(
            seed in any::<u64>(), grey in any::<bool>(), rows in 8usize..80, columns in 8usize..90, reach in 0usize..9, stride in 1usize..4,
            two in any::<bool>(),
        ) {
            let channels = if grey { 1 } else { 3 };
            let [image, newest, older] = [0, 1, 2].map(|k| planes(seed ^ k, channels, rows, columns));
            let references = if two { vec![&newest, &older] } else { vec![&newest] };
            let window = Window::new(reach, stride);
            prop_assert_eq!(novelty(&image, &references, window), by_definition(&image, &references, window));
        }
    }

    #[test]
    fn a_repeated_image_holds_nothing_new() {
        let image = planes(1, 3, 64, 70);
        assert!(novelty(&image, &[&image.clone()], Window::new(4, 1)).novelty.iter().all(|&m| m == 0.0));
    }

    #[test]
    fn a_shift_within_the_window_is_found_and_one_beyond_is_not() {
        let mut rng = Rng::new(3);
        let scene = Array3::from_shape_simple_fn((1, 80, 80), || rng.below(256) as f32);
        let cut = |y: usize, x: usize| {
            Planes::reduced(&Array3::from_shape_fn((1, 64, 64), |(k, r, c)| scene[[k, r + y, c + x]]), 1)
        };
        let (before, moved, jumped) = (cut(8, 8), cut(11, 4), cut(13, 8));
        let inner = |map: &NoveltyMap| map.novelty[7 * map.columns + 7];
        assert_eq!(inner(&novelty(&moved, &[&before], Window::new(4, 1))), 0.0);
        assert!(inner(&novelty(&jumped, &[&before], Window::new(4, 1))) > 50.0);
    }

    #[test]
    fn any_number_of_threads_gives_the_same_bits() {
        let [image, reference] = [5, 6].map(|seed| planes(seed, 3, 240, 100));
        let with = |n| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(n).build().unwrap();
            pool.install(|| novelty(&image, &[&reference], Window::new(4, 1)))
        };
        assert_eq!(with(1), with(3));
    }

    #[test]
    fn black_against_white_is_the_largest_novelty() {
        let flat = |level| Planes::reduced(&Array3::from_elem((3, 20, 24), level), 1);
        assert!(novelty(&flat(255.0), &[&flat(0.0)], Window::new(4, 1)).novelty.iter().all(|&m| m == 255.0));
    }
}

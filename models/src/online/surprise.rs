//! From a map of novelty to one number and the place it comes from, each place measured by its own recent novelty.

use super::block_matching::NoveltyMap;
use half::f16;

/// How the maps of one kind of evidence are measured.
#[derive(Debug, Clone, Copy)]
pub(super) struct Measure {
    /// Side of the window, in places, over which novelty is spread before it becomes the scale of a place: what is lively may
    /// move until the next image.
    pub(super) spread: usize,
    /// Whether places at the border of the image are measured by twice the greatest novelty of their side of it: what comes in from
    /// outside was in no image before. A border where nothing comes in is measured as any other place.
    pub(super) open_border: bool,
    /// Added to every scale, in the unit of the map, so that a quiet place does not turn rounding into surprise.
    pub(super) offset: f32,
    /// The most places that count for the surprise, and the fewest.
    pub(super) max_places: usize,
    pub(super) min_places: usize,
    /// Places of the map for each that counts, between those limits: a thumbnail has fewer.
    pub(super) places_per_counted: usize,
}

impl Measure {
    /// The mean of the most surprising of `relative`.
    pub(super) fn top(&self, relative: &[f32]) -> f64 {
        let wanted = (relative.len() / self.places_per_counted).clamp(self.min_places, self.max_places);
        let places = wanted.min(relative.len());
        let mut sorted = relative.to_vec();
        sorted.select_nth_unstable_by(places - 1, |a, b| b.total_cmp(a));
        let top = &mut sorted[..places];
        // In order, so that the sum does not depend on how the selection left them.
        top.sort_unstable_by(|a, b| b.total_cmp(a));
        top.iter().map(|&z| f64::from(z)).sum::<f64>() / places as f64
    }
}

/// Share of the newest map in the scale: the scale forgets with a time constant of ten images.
pub(super) const FRESHNESS: f32 = 0.1;

/// Two 8-bit images of one field differ by their rounding alone by 1/sqrt(6) = 0.41 grey levels (root mean square), which
/// over the offset of block matching is 0.2: less surprise than this is taken for this much, and a run of identical images has a
/// logarithm.
pub(super) const LEAST_SURPRISE: f64 = 0.2;

/// A place belongs to the region around the greatest surprise if its own is at least this fraction of that.
const REGION_FRACTION: f32 = 0.5;

/// The recent novelty of each place, `[rows, columns]`, in the unit of the map; in 16 bits, as many of them are held.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Scale(pub(super) Vec<f16>);

impl Scale {
    /// The scale after the first map.
    pub(super) fn first(map: &NoveltyMap, measure: &Measure) -> Self {
        Self(spread(map, measure).into_iter().map(f16::from_f32).collect())
    }

    /// The scale after one more map.
    pub(super) fn updated(&self, map: &NoveltyMap, measure: &Measure) -> Self {
        let fresh =
            |(old, new): (&f16, f32)| f16::from_f32((1.0 - FRESHNESS) * old.to_f32() + FRESHNESS * new);
        Self(self.0.iter().zip(spread(map, measure)).map(fresh).collect())
    }
}

/// How surprising an image is, and where.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Surprise {
    /// Logarithm of the mean of the most surprising places, dimensionless.
    pub(super) log: f64,
    /// The surprise of each place, in the order of the map.
    pub(super) relative: Vec<f32>,
}

impl Surprise {
    /// Measures `map` by the scale that the images before have left.
    pub(super) fn of(map: &NoveltyMap, scale: &Scale, measure: &Measure) -> Self {
        let relative =
            map.novelty.iter().zip(&scale.0).map(|(m, s)| m / (s.to_f32() + measure.offset)).collect();
        Self::of_relative(relative, measure)
    }

    /// Measures what is relative already.
    pub(super) fn of_relative(relative: Vec<f32>, measure: &Measure) -> Self {
        Self { log: measure.top(&relative).max(LEAST_SURPRISE).ln(), relative }
    }

    /// `[row0, column0, row1, column1]`, inclusive, in places of a map of `columns`: the connected places around the greatest
    /// surprise that have at least half of it; `None` if there is no surprise anywhere.
    ///
    /// - `gap`: how many places apart, in each direction, two may lie that count as connected, at least 1.
    pub(super) fn region(&self, columns: usize, gap: usize) -> Option<[usize; 4]> {
        region(&self.relative, columns, gap)
    }
}

/// The greatest novelty in the window around each place.
fn spread(map: &NoveltyMap, measure: &Measure) -> Vec<f32> {
    let (rows, columns, reach) = (map.rows, map.columns, measure.spread / 2);
    let greatest = |values: &mut dyn Iterator<Item = f32>| values.fold(0f32, f32::max);
    let mut along = vec![0f32; rows * columns];
    for (out, row) in along.chunks_exact_mut(columns).zip(map.novelty.chunks_exact(columns)) {
        for (column, out) in out.iter_mut().enumerate() {
            let window = column.saturating_sub(reach)..(column + reach + 1).min(columns);
            *out = greatest(&mut row[window].iter().copied());
        }
    }
    let mut spread = vec![0f32; rows * columns];
    for (row, out) in spread.chunks_exact_mut(columns).enumerate() {
        for near in row.saturating_sub(reach)..(row + reach + 1).min(rows) {
            out.iter_mut().zip(&along[near * columns..]).for_each(|(out, &m)| *out = out.max(m));
        }
    }
    if measure.open_border {
        for side in sides(rows, columns) {
            let most = 2.0 * greatest(&mut side.clone().map(|place| map.novelty[place]));
            side.for_each(|place| spread[place] = spread[place].max(most));
        }
    }
    spread
}

/// The places along each side of a map.
fn sides(rows: usize, columns: usize) -> [std::iter::StepBy<std::ops::Range<usize>>; 4] {
    let n = rows * columns;
    let down = |column: usize| (column..n).step_by(columns);
    let across = |row: usize| (row * columns..(row + 1) * columns).step_by(1);
    [across(0), across(rows - 1), down(0), down(columns - 1)]
}

/// Grows a region from the greatest value over neighbours, diagonal ones too, and returns its bounding box.
fn region(relative: &[f32], columns: usize, gap: usize) -> Option<[usize; 4]> {
    let (peak, &greatest) =
        relative.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1).then(b.0.cmp(&a.0)))?;
    if greatest <= 0.0 {
        return None;
    }
    let rows = relative.len() / columns;
    let mut reached = vec![false; relative.len()];
    reached[peak] = true;
    let mut frontier = vec![peak];
    let mut bounds = [peak / columns, peak % columns, peak / columns, peak % columns];
    while let Some(place) = frontier.pop() {
        let (row, column) = (place / columns, place % columns);
        bounds = [bounds[0].min(row), bounds[1].min(column), bounds[2].max(row), bounds[3].max(column)];
        for near_row in row.saturating_sub(gap)..=(row + gap).min(rows - 1) {
            for near in
                (column.saturating_sub(gap)..=(column + gap).min(columns - 1)).map(|c| near_row * columns + c)
            {
                if !reached[near] && relative[near] >= REGION_FRACTION * greatest {
                    reached[near] = true;
                    frontier.push(near);
                }
            }
        }
    }
    Some(bounds)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEASURE: Measure = Measure {
        spread: 9,
        open_border: false,
        offset: 2.0,
        max_places: 10,
        min_places: 4,
        places_per_counted: 100,
    };

    fn map(rows: usize, columns: usize, novelty: impl Fn(usize, usize) -> f32) -> NoveltyMap {
        let novelty = (0..rows * columns).map(|i| novelty(i / columns, i % columns)).collect();
        NoveltyMap { rows, columns, novelty }
    }

    fn first(map: &NoveltyMap) -> Scale {
        Scale::first(map, &MEASURE)
    }

    fn of(map: &NoveltyMap, scale: &Scale) -> Surprise {
        Surprise::of(map, scale, &MEASURE)
    }

    #[test]
    fn the_scale_spreads_over_its_window_and_no_further() {
        let scale = first(&map(30, 40, |r, c| if (r, c) == (10, 20) { 5.0 } else { 0.0 }));
        for (i, &s) in scale.0.iter().enumerate() {
            let inside = (i / 40).abs_diff(10) <= 4 && (i % 40).abs_diff(20) <= 4;
            assert_eq!(s.to_f32(), if inside { 5.0 } else { 0.0 });
        }
    }

    #[test]
    fn what_comes_in_at_a_side_is_usual_all_along_it_and_nowhere_else() {
        let open = Measure { spread: 1, open_border: true, ..MEASURE };
        let scale = Scale::first(&map(8, 10, |r, c| if (r, c) == (3, 0) { 5.0 } else { 0.0 }), &open);
        for (i, &s) in scale.0.iter().enumerate() {
            assert_eq!(s.to_f32(), if i % 10 == 0 { 10.0 } else { 0.0 }, "{i}");
        }
    }

    #[test]
    fn the_scale_forgets_a_tenth_a_map() {
        let quiet = map(10, 10, |_, _| 0.0);
        let scale = first(&map(10, 10, |_, _| 10.0)).updated(&quiet, &MEASURE);
        assert!(scale.0.iter().all(|&s| (s.to_f32() - 9.0).abs() < 5e-3));
    }

    #[test]
    fn novelty_surprises_more_where_it_is_rare() {
        let scale = first(&map(20, 60, |_, c| if c < 30 { 20.0 } else { 0.0 }));
        let spot = |column: usize| {
            map(20, 60, move |r, c| if r.abs_diff(10) < 3 && c.abs_diff(column) < 3 { 15.0 } else { 0.0 })
        };
        let (lively, quiet) = (of(&spot(10), &scale), of(&spot(50), &scale));
        assert!(quiet.log > lively.log + 2.0, "{quiet:?} {lively:?}");
        assert_eq!(quiet.region(60, 1), Some([8, 48, 12, 52]));
    }

    #[test]
    fn the_region_leaves_out_a_separate_lesser_spot() {
        let scale = first(&map(20, 20, |_, _| 0.0));
        let two = map(20, 20, |r, c| {
            if r < 3 && c < 3 {
                9.0
            } else if r > 16 && c > 16 {
                8.0
            } else {
                0.0
            }
        });
        assert_eq!(of(&two, &scale).region(20, 1), Some([0, 0, 2, 2]));
        assert_eq!(of(&two, &scale).region(20, 15), Some([0, 0, 19, 19]));
    }

    #[test]
    fn identical_images_have_the_least_surprise_and_no_region() {
        let nothing = map(8, 8, |_, _| 0.0);
        let surprise = of(&nothing, &first(&nothing));
        assert_eq!((surprise.log, surprise.region(8, 1)), (LEAST_SURPRISE.ln(), None));
        assert_eq!(surprise.relative, vec![0.0; 64]);
    }

    #[test]
    fn a_map_of_a_single_place_is_measured() {
        let one = map(1, 1, |_, _| 6.0);
        let surprise = of(&one, &first(&map(1, 1, |_, _| 1.0)));
        assert!((surprise.log - 2f64.ln()).abs() < 1e-6);
        assert_eq!(surprise.region(1, 1), Some([0, 0, 0, 0]));
    }
}

//! From a map of novelty to one number and the place it comes from, each place measured by its own recent novelty.

use super::block_matching::NoveltyMap;
use super::record::Record;
use crate::error::{Error, Result};

/// Side of the window, in patches, over which novelty is spread before it becomes the scale of a place: what is lively may
/// move by a few patches until the next image.
const SPREAD: usize = 9;

/// Share of the newest map in the scale: the scale forgets with a time constant of ten images.
pub(super) const FRESHNESS: f32 = 0.1;

/// Grey levels added to every scale, so that a quiet place does not turn rounding into surprise.
const OFFSET: f32 = 2.0;

/// The most places that count for the surprise.
const MAX_PLACES: usize = 10;

/// The fewest: a pixel away from the border lies in this many patches.
const MIN_PLACES: usize = 4;

/// Patches for each place that counts between these limits: ten of the 7,000 of the paper's crop would be too many in a
/// thumbnail.
const PATCHES_PER_PLACE: usize = 100;

/// Two 8-bit images of one field differ by their rounding alone by 1/sqrt(6) = 0.41 grey levels (root mean square), which
/// over [`OFFSET`] is 0.2: less surprise than this is taken for this much, and a run of identical images has a logarithm.
pub(super) const LEAST_SURPRISE: f64 = 0.2;

/// A place belongs to the region around the greatest surprise if its own is at least this fraction of that.
const REGION_FRACTION: f32 = 0.5;

/// The recent novelty of each place, `[rows, columns]`, in grey levels.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Scale(Vec<f32>);

impl Scale {
    /// Puts the scale into a record.
    pub(super) fn store(&self, name: &str, record: &mut Record) {
        record.put_flat(name, &self.0);
    }

    /// The scale of a record, `n_places` values.
    pub(super) fn restore(name: &str, n_places: usize, record: &Record) -> Result<Self> {
        let values = record.get_flat(name, n_places)?;
        if values.len() != n_places {
            let reason = format!("array {name} has {} values, expected {n_places}", values.len());
            return Err(Error::Record { reason });
        }
        Ok(Self(values))
    }

    /// The scale after the first map.
    pub(super) fn first(map: &NoveltyMap) -> Self {
        Self(spread(map))
    }

    /// The scale after one more map.
    pub(super) fn updated(&self, map: &NoveltyMap) -> Self {
        Self(
            self.0
                .iter()
                .zip(spread(map))
                .map(|(old, new)| (1.0 - FRESHNESS) * old + FRESHNESS * new)
                .collect(),
        )
    }
}

/// How surprising an image is, and where.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Surprise {
    /// Logarithm of the mean of the most surprising places, dimensionless.
    pub(super) log: f64,
    /// The surprise of each patch, in the order of the map.
    pub(super) relative: Vec<f32>,
    /// `[row0, column0, row1, column1]`, inclusive, in patches: the connected places around the greatest surprise that have
    /// at least half of it; `None` if there is no surprise anywhere.
    pub(super) region: Option<[usize; 4]>,
}

impl Surprise {
    /// Measures `map` by the scale that the images before have left.
    pub(super) fn of(map: &NoveltyMap, scale: &Scale) -> Self {
        let relative: Vec<f32> = map.novelty.iter().zip(&scale.0).map(|(m, s)| m / (s + OFFSET)).collect();
        let places = (relative.len() / PATCHES_PER_PLACE).clamp(MIN_PLACES, MAX_PLACES).min(relative.len());
        let mut sorted = relative.clone();
        sorted.select_nth_unstable_by(places - 1, |a, b| b.total_cmp(a));
        let top = &mut sorted[..places];
        // In order, so that the sum does not depend on how the selection left them.
        top.sort_unstable_by(|a, b| b.total_cmp(a));
        let mean = top.iter().map(|&z| f64::from(z)).sum::<f64>() / places as f64;
        Self { log: mean.max(LEAST_SURPRISE).ln(), region: region(&relative, map.columns), relative }
    }
}

/// The greatest novelty in the window around each place.
fn spread(map: &NoveltyMap) -> Vec<f32> {
    let (rows, columns, reach) = (map.rows, map.columns, SPREAD / 2);
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
    spread
}

/// Grows a region from the greatest value over neighbours, diagonal ones too, and returns its bounding box.
fn region(relative: &[f32], columns: usize) -> Option<[usize; 4]> {
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
        for near_row in row.saturating_sub(1)..=(row + 1).min(rows - 1) {
            for near in
                (column.saturating_sub(1)..=(column + 1).min(columns - 1)).map(|c| near_row * columns + c)
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

    fn map(rows: usize, columns: usize, novelty: impl Fn(usize, usize) -> f32) -> NoveltyMap {
        let novelty = (0..rows * columns).map(|i| novelty(i / columns, i % columns)).collect();
        NoveltyMap { rows, columns, novelty }
    }

    #[test]
    fn the_scale_spreads_over_its_window_and_no_further() {
        let scale = Scale::first(&map(30, 40, |r, c| if (r, c) == (10, 20) { 5.0 } else { 0.0 }));
        for (i, &s) in scale.0.iter().enumerate() {
            let inside = (i / 40).abs_diff(10) <= 4 && (i % 40).abs_diff(20) <= 4;
            assert_eq!(s, if inside { 5.0 } else { 0.0 });
        }
    }

    #[test]
    fn the_scale_forgets_a_tenth_a_map() {
        let quiet = map(10, 10, |_, _| 0.0);
        let scale = Scale::first(&map(10, 10, |_, _| 10.0)).updated(&quiet);
        assert!(scale.0.iter().all(|&s| (s - 9.0).abs() < 1e-6));
    }

    #[test]
    fn novelty_surprises_more_where_it_is_rare() {
        let scale = Scale::first(&map(20, 60, |_, c| if c < 30 { 20.0 } else { 0.0 }));
        let spot = |column: usize| {
            map(20, 60, move |r, c| if r.abs_diff(10) < 3 && c.abs_diff(column) < 3 { 15.0 } else { 0.0 })
        };
        let (lively, quiet) = (Surprise::of(&spot(10), &scale), Surprise::of(&spot(50), &scale));
        assert!(quiet.log > lively.log + 2.0, "{quiet:?} {lively:?}");
        assert_eq!(quiet.region, Some([8, 48, 12, 52]));
    }

    #[test]
    fn the_region_leaves_out_a_separate_lesser_spot() {
        let scale = Scale::first(&map(20, 20, |_, _| 0.0));
        let two = map(20, 20, |r, c| {
            if r < 3 && c < 3 {
                9.0
            } else if r > 16 && c > 16 {
                8.0
            } else {
                0.0
            }
        });
        assert_eq!(Surprise::of(&two, &scale).region, Some([0, 0, 2, 2]));
    }

    #[test]
    fn identical_images_have_the_least_surprise_and_no_region() {
        let nothing = map(8, 8, |_, _| 0.0);
        let Surprise { log, region, relative } = Surprise::of(&nothing, &Scale::first(&nothing));
        assert_eq!((log, region, relative), (LEAST_SURPRISE.ln(), None, vec![0.0; 64]));
    }

    #[test]
    fn a_map_of_a_single_place_is_measured() {
        let one = map(1, 1, |_, _| 6.0);
        let surprise = Surprise::of(&one, &Scale::first(&map(1, 1, |_, _| 1.0)));
        assert!((surprise.log - 2f64.ln()).abs() < 1e-6);
        assert_eq!(surprise.region, Some([0, 0, 0, 0]));
    }
}

//! The default rule: an image is compared with the two accepted just before it, and the difference is judged by the run's
//! own past.
//!
//! 1. Block novelty: for each patch of 8 x 8 pixels the least difference from the two newest images, moved a little.
//! 2. Surprise: novelty relative to the recent novelty of the place; x is the logarithm of the mean of the greatest.
//! 3. Residual: x less the median of the last 20, so that a run that grows livelier is judged by its own state.
//! 4. p-value: the residual against the run's earlier ones, by an extreme-value tail.
//!
//! Where images before this one are missing (they raised an alarm and the simulation went on, or were never sent), the newest
//! accepted image is older than one output interval. The image is then compared with pairs of accepted images as far apart.

use super::block_matching::{NoveltyMap, PATCH, STRIDE, map_shape, novelty};
use super::heat_map::Places;
use super::params::OneStepAheadParams;
use super::planes::{Planes, reduction};
use super::pool::Pool;
use super::record::Record;
use super::sequence::{Opinion, Rule};
use super::surprise::{Scale, Surprise};
use super::tail::{Tail, median};
use crate::error::Result;
use crate::traits::ImageShape;
use crate::verdict::Verdict;
use ndarray::Array3;
use std::sync::Arc;

/// Newest log surprises whose median is the level: long enough to be steady, short against a run's drift.
pub(super) const MAX_LEVELS: usize = 20;

/// Log surprises before there is a level.
pub(super) const MIN_LEVELS: usize = 3;

/// Newest residuals that the tail is fitted to.
pub(super) const MAX_RESIDUALS: usize = 300;

/// Residuals before a p-value is given; the prior of the tail weighs as much.
pub(super) const MIN_RESIDUALS: usize = 10;

/// To be raised when a state comes to mean another thing: those stored before are then refused.
const REVISION: u32 = 1;

/// Newest pairs of accepted images, as far apart as the image is from the newest, that a late image is judged by.
const MAX_PAIRS: usize = 30;

/// Newest distances between the steps of accepted images; their median is the run's output interval.
const MAX_INTERVALS: usize = 5;

/// An image as the rule compares it.
#[derive(Debug)]
pub(super) struct Compared {
    planes: Planes,
    factor: usize,
}

/// What is remembered after an accepted image: all that judging the next one needs but the image before it.
///
/// At the paper's crop 375 kB: 240 x 478 x 3 bytes of pixels, 59 x 118 scales of 4 bytes, 2.6 kB of history.
#[derive(Debug, Clone)]
pub(super) struct State {
    image: Arc<Planes>,
    /// `None` after the first image.
    scale: Option<Arc<Scale>>,
    /// Log surprises, the newest last.
    levels: Vec<f64>,
    /// Residuals, the newest last.
    residuals: Vec<f64>,
    /// Distances between steps, the newest last.
    intervals: Vec<u64>,
    /// At `d - 1`: the log surprise of this image at the state `d` images before, where that has been asked for.
    late: Vec<Option<f64>>,
}

/// The rule with its parameters.
#[derive(Debug)]
pub(super) struct OneStepAhead {
    params: OneStepAheadParams,
}

impl OneStepAhead {
    pub(super) fn new(params: OneStepAheadParams) -> Self {
        Self { params }
    }

    fn unknown(state: State) -> Opinion<State> {
        Opinion { verdict: Verdict::unknown(), p_value: None, region: None, places: None, state }
    }

    /// Judges `surprise`, with a map of `columns` patches, by the residuals of the images before over `level`.
    fn opinion(
        &self,
        (residuals, level, rate): (&[f64], f64, f64),
        surprise: &Surprise,
        columns: usize,
        factor: usize,
        state: State,
    ) -> Opinion<State> {
        let tail = Tail::fit(residuals);
        let p = tail.p_value(surprise.log - level);
        let alarm = (level + tail.residual_at(rate)).exp();
        let places = Places::of_patches(&surprise.relative, columns, alarm, STRIDE * factor);
        let region = surprise.region.map(|region| in_pixels(region, factor));
        // Subtracted from zero, so that p = 1 gives 0 and not -0.
        let verdict = Verdict::by_threshold(0.0 - p.log10(), 0.0 - rate.log10());
        Opinion { verdict, p_value: Some(p), region, places: Some(places), state }
    }

    fn map(&self, image: &Planes, pool: &Pool<State>, idx: usize) -> NoveltyMap {
        let newest = &*pool.held(idx).1.image;
        match idx.checked_sub(1).map(|before| &*pool.held(before).1.image) {
            Some(before) => novelty(image, &[newest, before], self.params.max_shift),
            None => novelty(image, &[newest], self.params.max_shift),
        }
    }

    /// Judges an image that comes one output interval after the newest.
    fn judge_next(
        &self,
        map: &NoveltyMap,
        newest: &State,
        next: State,
        factor: usize,
        rate: f64,
    ) -> Opinion<State> {
        let Some(scale) = &newest.scale else {
            return Self::unknown(State { scale: Some(Arc::new(Scale::first(map))), ..next });
        };
        let surprise = Surprise::of(map, scale);
        let mut next = State { scale: Some(Arc::new(scale.updated(map))), ..next };
        push_bounded(&mut next.levels, surprise.log, MAX_LEVELS);
        if newest.levels.len() < MIN_LEVELS {
            return Self::young(next, &surprise, factor);
        }
        let level = median(&newest.levels);
        push_bounded(&mut next.residuals, surprise.log - level, MAX_RESIDUALS);
        if newest.residuals.len() < MIN_RESIDUALS {
            return Self::young(next, &surprise, factor);
        }
        self.opinion((&newest.residuals, level, rate), &surprise, map.columns, factor, next)
    }

    fn young(state: State, surprise: &Surprise, factor: usize) -> Opinion<State> {
        let region = surprise.region.map(|region| in_pixels(region, factor));
        Opinion { region, ..Self::unknown(state) }
    }

    /// Judges an image that comes `lag` output intervals after the newest, by pairs of accepted images as far apart. The state
    /// takes nothing from it but the image.
    fn judge_late(
        &self,
        pool: &mut Pool<State>,
        lag: u64,
        next: State,
        factor: usize,
        rate: f64,
    ) -> Opinion<State> {
        let last = pool.n_held() - 1;
        let interval = interval(&pool.held(last).1.intervals);
        let Some(scale) = pool.held(last).1.scale.clone() else { return Self::unknown(next) };
        let mut surprises = Vec::with_capacity(MAX_PAIRS);
        for later in (last.saturating_sub(MAX_PAIRS - 1)..=last).rev() {
            let apart =
                |d: usize| n_intervals(pool.held(later).0.abs_diff(pool.held(later - d).0), interval) == lag;
            // The pair's earlier image has one before it too, as the newest has.
            let Some(d) =
                (1..=(self.params.max_lag as usize).min(later.saturating_sub(1))).find(|&d| apart(d))
            else {
                continue;
            };
            let (_, state) = pool.held(later);
            let surprise = match (state.late.get(d - 1).copied().flatten(), &pool.held(later - d).1.scale) {
                (Some(known), _) => known,
                (None, Some(scale)) => Surprise::of(&self.map(&state.image, pool, later - d), scale).log,
                (None, None) => continue,
            };
            let late = &mut pool.held_mut(later).late;
            late.resize(late.len().max(d), None);
            late[d - 1] = Some(surprise);
            surprises.push(surprise);
        }
        if surprises.len() < MIN_RESIDUALS {
            return Self::unknown(next);
        }
        let level = median(&surprises);
        let residuals: Vec<f64> = surprises.iter().map(|x| x - level).collect();
        let map = self.map(&next.image, pool, last);
        self.opinion((&residuals, level, rate), &Surprise::of(&map, &scale), map.columns, factor, next)
    }
}

impl Rule for OneStepAhead {
    type Prepared = Compared;
    type State = State;

    fn depth(&self) -> usize {
        MAX_PAIRS + self.params.max_lag as usize + 1
    }

    fn prepare(&mut self, pixels: &Array3<f32>) -> Result<Compared> {
        let (channels, rows, columns) = pixels.dim();
        let factor = reduction(ImageShape { channels, rows, columns }, self.params.max_pixels)?;
        Ok(Compared { planes: Planes::reduced(pixels, factor), factor })
    }

    fn judge(&self, pool: &mut Pool<State>, step: i64, image: Compared, rate: f64) -> Result<Opinion<State>> {
        let Compared { planes, factor } = image;
        let (image, late) = (Arc::new(planes), Vec::new());
        let Some(last) = pool.n_held().checked_sub(1) else {
            let (levels, residuals, intervals) = (Vec::new(), Vec::new(), Vec::new());
            return Ok(Self::unknown(State { image, scale: None, levels, residuals, intervals, late }));
        };
        let (newest_step, newest) = pool.held(last);
        let before = interval(&newest.intervals);
        let lag = n_intervals(step.abs_diff(newest_step), before);
        let mut next = State { image, late, ..newest.clone() };
        push_bounded(&mut next.intervals, step.abs_diff(newest_step), MAX_INTERVALS);
        if lag > self.params.max_lag {
            // Nothing that is remembered is as far apart, so begin again from here: a pool that waited for an image like
            // its own newest would refuse every later one.
            next.levels.clear();
            next.intervals.clear();
            return Ok(Self::unknown(next));
        }
        let after = interval(&next.intervals);
        if after.is_some_and(|after| n_intervals(after, before) > 1) {
            // The output interval has become longer for good; so has what is usual within one.
            next.levels.clear();
        }
        if lag == 1 {
            let map = self.map(&next.image, pool, last);
            return Ok(self.judge_next(&map, pool.held(last).1, next, factor, rate));
        }
        Ok(self.judge_late(pool, lag, next, factor, rate))
    }

    fn settings(&self) -> serde_json::Value {
        let OneStepAheadParams { max_pixels, max_shift, max_lag, .. } = self.params;
        serde_json::json!({
            "revision": REVISION, "max_pixels": max_pixels, "max_shift": max_shift, "max_lag": max_lag,
        })
    }

    fn store(&self, state: &State, record: &mut Record) {
        let State { image, scale, levels, residuals, intervals, late: _ } = state;
        image.store("image", record);
        if let Some(scale) = scale {
            scale.store("scale", record);
        }
        record.put_flat("levels", levels);
        record.put_flat("residuals", residuals);
        record.put_flat("intervals", intervals);
    }

    fn restore(&self, record: &Record) -> Result<State> {
        let image = Planes::restore("image", record)?;
        let (rows, columns) = map_shape(image.shape().rows, image.shape().columns);
        let scale =
            if record.has("scale") { Some(Scale::restore("scale", rows * columns, record)?) } else { None };
        Ok(State {
            image: Arc::new(image),
            scale: scale.map(Arc::new),
            levels: record.get_flat("levels", MAX_LEVELS)?,
            residuals: record.get_flat("residuals", MAX_RESIDUALS)?,
            intervals: record.get_flat("intervals", MAX_INTERVALS)?,
            late: Vec::new(),
        })
    }

    fn needed(&self, pool: &Pool<State>) -> usize {
        let Some(state) = pool.newest() else { return 2 + MIN_LEVELS + MIN_RESIDUALS };
        usize::from(state.scale.is_none())
            + MIN_LEVELS.saturating_sub(state.levels.len())
            + MIN_RESIDUALS.saturating_sub(state.residuals.len())
    }
}

/// The median distance between steps, the lower one of two; `None` before there are any.
fn interval(intervals: &[u64]) -> Option<u64> {
    let mut sorted = intervals.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len().saturating_sub(1) / 2).copied()
}

/// The number of output intervals in a distance between steps, rounded, at least 1.
fn n_intervals(distance: u64, interval: Option<u64>) -> u64 {
    interval.map_or(1, |interval| (distance.saturating_add(interval / 2) / interval.max(1)).max(1))
}

fn push_bounded<T>(values: &mut Vec<T>, value: T, most: usize) {
    if values.len() >= most {
        values.drain(..=values.len() - most);
    }
    values.push(value);
}

/// The pixels of the preprocessed image that a region of patches covers.
fn in_pixels([row0, column0, row1, column1]: [usize; 4], factor: usize) -> [usize; 4] {
    let last = |patch: usize| (patch * STRIDE + PATCH) * factor - 1;
    [row0 * STRIDE * factor, column0 * STRIDE * factor, last(row1), last(column1)]
}

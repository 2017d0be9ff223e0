//! The default rule: an image is compared with those accepted just before it, and the differences are judged by the run's own
//! past.
//!
//! 1. Novelty: for each place the least difference from the images before, moved a little: of colours, of patches of 8 x 8 pixels, of
//!    features. How far things may move follows from how far they have moved.
//! 2. Surprise: novelty relative to the recent novelty of the place; x is the logarithm of the mean of the greatest. Surprises over 1,
//!    2, 4 and 8 output intervals are added up as well, for what grows slowly. Isolation forests on the features give further numbers x.
//! 3. Residual: x less the median of the last 20, so that a run that grows livelier is judged by its own state.
//! 4. p-value of each kind: the residual against the run's earlier ones, by an extreme-value tail; then one p-value of all.
//!
//! Where images before this one are missing (they raised an alarm and the simulation went on, or were never sent), the newest
//! accepted image is older than one output interval. The image is then compared with an accepted one 2, 4 or 8 intervals before it by colours,
//! and with the newest one by patches, and judged by what is usual over as many intervals.

use super::block_matching::{NoveltyMap, PATCH, STRIDE, novelty};
use super::colour_novelty::{COARSE_CELL, FINE_CELL, colour_novelty};
use super::evidence::{Finding, Grid, Kind, sum};
use super::features::{FeatureMaker, Features};
use super::forest_evidence::{MIN_IMAGES, PATCH_IMAGES, image_score, patch_scores};
use super::history::{History, push_bounded};
use super::params::OneStepAheadParams;
use super::pixels::Pixels;
use super::planes::{Planes, reduction};
use super::pool::Pool;
use super::prior::Prior;
use super::record::Record;
use super::record_draft::RecordDraft;
use super::sequence::{Opinion, Rule};
use super::state::{FeatureState, MAX_INTERVALS, State};
use super::surprise::{Measure, Surprise};
use super::track::Track;
use super::window::{MAX_MOTIONS, Window, motion, reach};
use crate::error::Result;
use crate::extractor::ExtractorSource;
use crate::rng::Rng;
use crate::traits::ImageShape;
use std::collections::BTreeMap;
use std::sync::Arc;

/// How far apart, in output intervals, images are compared beside the newest two.
pub(super) const LAGS: [u64; 3] = [2, 4, 8];

/// Newest pairs of accepted images, as far apart as a late image is from the newest, that it is judged by.
const MAX_PAIRS: usize = 16;

/// To be raised when a state comes to mean another thing: those stored before are then refused.
const REVISION: u32 = 3;

/// Grey levels. Two patches of neighbouring places overlap, so that few places count.
const BLOCK: Measure = Measure {
    spread: 9,
    open_border: false,
    offset: 2.0,
    max_places: 10,
    min_places: 4,
    places_per_counted: 100,
};

/// Grey levels, the mean of the channels: the least of many differences is hardly ever due to rounding.
const COLOUR: Measure = Measure {
    spread: 17,
    open_border: true,
    offset: 4.0 / 3.0,
    max_places: 40,
    min_places: 3,
    places_per_counted: 700,
};

/// As for colours, in cells of four times the area.
const COARSE: Measure = Measure { spread: 9, max_places: 20, places_per_counted: 350, ..COLOUR };

/// Parts of the usual length of a place's features.
const FEATURES: Measure = Measure {
    spread: 3,
    open_border: false,
    offset: 0.1,
    max_places: 20,
    min_places: 3,
    places_per_counted: 45,
};

/// Scores in (0, 1).
const PATCHES: Measure = Measure { offset: 0.05, ..FEATURES };

/// An image as the rule compares it.
#[derive(Debug)]
pub(super) struct Compared {
    planes: Planes,
    factor: usize,
    features: Option<Features>,
}

/// The rule with its parameters.
#[derive(Debug)]
pub(super) struct OneStepAhead {
    params: OneStepAheadParams,
    seed: u64,
    maker: Option<FeatureMaker>,
    /// Of an earlier run.
    prior: Option<Arc<Prior>>,
}

/// An image to be judged, and where in time it stands.
struct Next<'a> {
    pool: &'a Pool<State>,
    step: i64,
    /// The run's output interval before this image, in steps.
    interval: Option<u64>,
    rate: f64,
    factor: usize,
}

impl Next<'_> {
    /// The index of the accepted image that lies `lag` output intervals before this one.
    fn apart(&self, lag: u64) -> Option<usize> {
        let last = self.pool.n_held() - 1;
        let nearest = last.saturating_sub(lag as usize);
        (nearest..=last)
            .rev()
            .find(|&idx| n_intervals(self.step.abs_diff(self.pool.held(idx).0), self.interval) == lag)
    }
}

impl OneStepAhead {
    pub(super) fn new(
        params: OneStepAheadParams,
        seed: u64,
        source: Arc<dyn ExtractorSource>,
    ) -> Result<Self> {
        let features = &params.features;
        let maker = features.enabled.then(|| FeatureMaker::new(features.extractor.clone(), seed, source));
        let prior = params.prior.open(&of_residuals(&params))?;
        Ok(Self { params, seed, maker, prior })
    }

    /// The state of a run's first image, or one that was stored, with what an earlier run lends it: a run of other images gets nothing, as
    /// their numbers may be spread otherwise.
    fn lent(&self, mut state: State) -> State {
        if let Some(prior) = self.prior.as_ref().filter(|prior| prior.shape() == state.shape()) {
            state.lend(prior);
        }
        state
    }

    /// What the run lends to others.
    ///
    /// # Errors
    ///
    /// [`Error::TooFewSamples`](crate::Error::TooFewSamples) if it is too short.
    pub(super) fn prior(&self, pool: &Pool<State>) -> Result<Prior> {
        let (shape, histories) = match pool.newest() {
            Some(state) => (state.shape(), state.histories()),
            None => ([0; 3], BTreeMap::new()),
        };
        Prior::of(of_residuals(&self.params), shape, &histories)
    }

    fn reach(&self, state: &State, lag: u64) -> usize {
        let ImageShape { rows, columns, .. } = state.image.shape();
        reach(&state.motions, self.params.max_shift, rows.min(columns), lag)
    }

    /// Judges an image that comes one output interval after the newest.
    fn judge_next(&self, next: &Next<'_>, mut state: State) -> Result<Opinion<State>> {
        let last = next.pool.n_held() - 1;
        let newest = next.pool.held(last).1;
        let mut features = state.features.take();
        let (mut findings, others) = rayon::join(
            || self.compare_pixels(next, newest, &mut state),
            || self.compare_features(next, newest, features.as_mut()),
        );
        findings.extend(others?);
        state.features = features;
        if let Some(motion) = motion(&state.image, &newest.image, self.params.max_shift) {
            push_bounded(&mut state.motions, motion, MAX_MOTIONS);
        }
        Ok(next.opinion(&findings, state))
    }

    fn compare_pixels<'a>(&self, next: &Next<'_>, newest: &'a State, state: &mut State) -> Vec<Finding<'a>> {
        let mut findings = Vec::new();
        let image = Arc::clone(&state.image);
        let mut references = vec![&*newest.image];
        let before = (next.pool.n_held() - 1).checked_sub(1);
        references.extend(before.map(|before| &*next.pool.held(before).1.image));
        let reach = self.reach(newest, 1);

        let map = colour_novelty(&image, &references, Window::dense(reach), FINE_CELL);
        let surprise = newest.colour.surprise(&map, &COLOUR);
        state.colour = newest.colour.accepted(&map, surprise.as_ref(), &COLOUR);
        let coarse = surprise.as_ref().map(|surprise| coarsened(surprise, map.rows, map.columns));
        let grid = grid(&image, map.columns, FINE_CELL);
        findings.extend(surprise.map(|s| Finding::new(Kind::Colour, &newest.colour.history, s, grid)));

        let map = novelty(&image, &references, Window::of_nine(reach));
        let surprise = newest.block.surprise(&map, &BLOCK);
        state.block = newest.block.accepted(&map, surprise.as_ref(), &BLOCK);
        let grid = Grid { overlaps: true, gap: 1, ..self::grid(&image, map.columns, STRIDE) };
        findings.extend(surprise.map(|s| Finding::new(Kind::Block, &newest.block.history, s, grid)));

        let mut over_lags = coarse;
        for (idx, lag) in LAGS.into_iter().enumerate() {
            let surprise = next.apart(lag).and_then(|reference| {
                let map = self.map_apart(&image, next.pool, reference, lag);
                let surprise = newest.apart[idx].surprise(&map, &COARSE);
                state.apart[idx] = newest.apart[idx].accepted(&map, surprise.as_ref(), &COARSE);
                surprise
            });
            over_lags = over_lags.zip(surprise).map(|(mut sum, surprise)| {
                sum.iter_mut().zip(&surprise.relative).for_each(|(sum, z)| *sum += z);
                sum
            });
        }
        if let Some(mut relative) = over_lags {
            relative.iter_mut().for_each(|z| *z /= (1 + LAGS.len()) as f32);
            let surprise = Surprise::of_relative(relative, &COARSE);
            state.lags.accept(surprise.log);
            let grid = self::grid(&image, image.shape().columns / COARSE_CELL, COARSE_CELL);
            findings.push(Finding::new(Kind::Lags, &newest.lags, surprise, grid));
        }
        findings
    }

    /// The novelty of colours since the accepted image at `reference`, `lag` output intervals before.
    fn map_apart(&self, image: &Planes, pool: &Pool<State>, reference: usize, lag: u64) -> NoveltyMap {
        let reach = self.reach(pool.held(pool.n_held() - 1).1, lag);
        colour_novelty(image, &[&pool.held(reference).1.image], Window::of_nine(reach), COARSE_CELL)
    }

    fn compare_features<'a>(
        &self,
        next: &Next<'_>,
        newest: &'a State,
        new: Option<&mut FeatureState>,
    ) -> Result<Vec<Finding<'a>>> {
        let mut findings = Vec::new();
        let (Some(old), Some(new)) = (&newest.features, new) else { return Ok(findings) };
        let shape = newest.image.shape();
        let map = &new.features.map;
        let grid = map.grid([shape.rows, shape.columns]);
        let novelty = map.novelty(&old.features.map, old.unit);
        let surprise = old.track.surprise(&novelty, &FEATURES);
        let track = old.track.accepted(&novelty, surprise.as_ref(), &FEATURES);
        findings.extend(surprise.map(|s| Finding::new(Kind::Features, &old.track.history, s, grid)));
        new.track = track;

        let pool: Vec<&Features> =
            next.pool.states().filter_map(|state| Some(&state.features.as_ref()?.features)).collect();
        let params = &self.params.features;
        if pool.len() < MIN_IMAGES {
            return Ok(findings);
        }
        // By step, not by a count of images: a replay after a rewind then grows the same forest.
        let mut rng = Rng::derived(self.seed, next.step as u64);
        let rows: Vec<&[f32]> = pool[pool.len().saturating_sub(params.forest_images)..]
            .iter()
            .map(|features| &*features.row)
            .collect();
        let number = image_score(&rows, &new.features.row, params.n_trees, rng.next_u64())?;
        new.forest.accept(number);
        findings.push(Finding { kind: Kind::Forest, history: &old.forest, number, seen: None });

        let maps: Vec<_> = pool[pool.len() - PATCH_IMAGES..].iter().map(|features| &*features.map).collect();
        let scores = patch_scores(&maps, &new.features.map, params.n_trees, rng.next_u64())?;
        let surprise = old.patches.surprise(&scores, &PATCHES);
        new.patches = old.patches.accepted(&scores, surprise.as_ref(), &PATCHES);
        findings.extend(surprise.map(|s| Finding::new(Kind::PatchForest, &old.patches.history, s, grid)));
        Ok(findings)
    }

    /// Judges an image that comes `lag` > 1 output intervals after the newest, by what is usual over as many. The state takes nothing from it
    /// but the image.
    fn judge_late(&self, next: &Next<'_>, lag: u64, state: State) -> Opinion<State> {
        let newest = next.pool.held(next.pool.n_held() - 1).1;
        let (pairs, block) = self.block_late(next, lag, &state.image);
        let mut findings = Vec::new();
        let usable = |(idx, lag): (usize, u64)| {
            let track = &newest.apart[idx];
            track.history.tail().zip(track.history.level())?;
            Some((track, lag, next.apart(lag)?))
        };
        let colours = LAGS.into_iter().enumerate().filter(|&(_, usual)| usual >= lag).find_map(usable);
        if let Some((track, lag, reference)) = colours {
            let map = self.map_apart(&state.image, next.pool, reference, lag);
            let grid = grid(&state.image, map.columns, COARSE_CELL);
            let surprise = track.surprise(&map, &COARSE);
            findings.extend(surprise.map(|s| Finding::new(Kind::Late, &track.history, s, grid)));
        }
        findings.extend(block.map(|(s, grid)| Finding::new(Kind::LateBlock, &pairs, s, grid)));
        next.opinion(&findings, state)
    }

    /// Block matching with the newest accepted image, `lag` output intervals before, and the surprises of accepted images that many
    /// intervals apart to judge it by.
    fn block_late(&self, next: &Next<'_>, lag: u64, image: &Planes) -> (History, Option<(Surprise, Grid)>) {
        let pool = next.pool;
        let last = pool.n_held() - 1;
        let window = Window::of_nine(self.reach(pool.held(last).1, lag));
        let surprise = |image: &Planes, reference: usize| {
            let (_, state) = pool.held(reference);
            let map = novelty(image, &[&state.image], window);
            Some((Surprise::of(&map, state.block.scale.as_deref()?, &BLOCK), map.columns))
        };
        let mut history = History::default();
        for later in (last.saturating_sub(MAX_PAIRS - 1)..=last).rev() {
            let apart = |d: &usize| {
                n_intervals(pool.held(later).0.abs_diff(pool.held(later - d).0), next.interval) == lag
            };
            let earlier = (1..=later.min(lag as usize)).find(apart).map(|d| later - d);
            let found = earlier.and_then(|earlier| surprise(&pool.held(later).1.image, earlier));
            history.levels.extend(found.map(|(surprise, _)| surprise.log));
        }
        if let Some(level) = history.level() {
            history.residuals = history.levels.iter().map(|number| number - level).collect();
        }
        let found = surprise(image, last).map(|(surprise, columns)| {
            (surprise, Grid { overlaps: true, gap: 1, ..grid(image, columns, STRIDE) })
        });
        (history, found)
    }
}

impl Next<'_> {
    fn opinion(&self, findings: &[Finding<'_>], state: State) -> Opinion<State> {
        let Some(sum) = sum(findings, self.rate, self.factor) else {
            let region = findings.first().and_then(Finding::region);
            return Opinion {
                region: region.map(|region| self.in_pixels(region)),
                ..Opinion::unknown(state)
            };
        };
        Opinion {
            verdict: sum.verdict,
            p_value: Some(sum.p_value),
            evidence: sum.evidence,
            region: sum.region.map(|region| self.in_pixels(region)),
            places: sum.places,
            state,
        }
    }

    /// From pixels of the compared image to those of the preprocessed one.
    fn in_pixels(&self, [row0, column0, row1, column1]: [usize; 4]) -> [usize; 4] {
        let last = |pixel: usize| (pixel + 1) * self.factor - 1;
        [row0 * self.factor, column0 * self.factor, last(row1), last(column1)]
    }
}

impl Rule for OneStepAhead {
    type Prepared = Compared;
    type State = State;

    fn depth(&self) -> usize {
        let features = &self.params.features;
        let longest = LAGS[LAGS.len() - 1] as usize + 1;
        (longest + MAX_PAIRS).max(if features.enabled { features.forest_images } else { 0 })
    }

    fn prepare(&mut self, pixels: &Pixels<'_>) -> Result<Compared> {
        let factor = reduction(pixels.shape(), self.params.max_pixels)?;
        let planes = Planes::reduced(&*pixels.numbers()?, factor);
        let features = self.maker.as_mut().map(|maker| maker.make(&planes)).transpose()?;
        Ok(Compared { planes, factor, features })
    }

    fn judge(&self, pool: &Pool<State>, step: i64, image: Compared, rate: f64) -> Result<Opinion<State>> {
        let Compared { planes, factor, features } = image;
        let Some(last) = pool.n_held().checked_sub(1) else {
            return Ok(Opinion::unknown(self.lent(State::first(planes, features))));
        };
        let (newest_step, newest) = pool.held(last);
        let interval = usual(&newest.intervals);
        let lag = n_intervals(step.abs_diff(newest_step), interval);
        let mut state = newest.with_image(planes, features);
        push_bounded(&mut state.intervals, step.abs_diff(newest_step), MAX_INTERVALS);
        if lag > self.params.max_lag {
            // Nothing that is remembered is as far apart, so begin again from here: a pool that waited for an image like
            // its own newest would refuse every later one.
            state.forget_levels();
            state.intervals.clear();
            return Ok(Opinion::unknown(state));
        }
        let next = Next { pool, step, interval, rate, factor };
        let has_changed = usual(&state.intervals)
            .zip(interval)
            .is_some_and(|(after, before)| n_intervals(after.max(before), Some(after.min(before))) > 1);
        let mut opinion =
            if lag == 1 { self.judge_next(&next, state)? } else { self.judge_late(&next, lag, state) };
        if has_changed {
            // The output interval has become longer or shorter for good; so has what is usual within one.
            opinion.state.forget_levels();
        }
        Ok(opinion)
    }

    fn settings(&self) -> serde_json::Value {
        let mut settings = of_residuals(&self.params);
        settings["seed"] = self.seed.into();
        settings["max_lag"] = self.params.max_lag.into();
        if let Some(format) = self.maker.as_ref().and_then(FeatureMaker::rounded_to) {
            settings["features.rounded_to"] = format.into();
        }
        if let Some(prior) = &self.prior {
            settings["prior"] = prior.sha256().into();
        }
        settings
    }

    fn store<'a>(&'a self, _: u64, state: &'a State, draft: &mut RecordDraft<'a>) {
        state.store(draft);
    }

    fn restore(&self, record: &Record) -> Result<State> {
        State::restore(record).map(|state| self.lent(state))
    }

    fn needed(&self, pool: &Pool<State>) -> usize {
        match pool.newest() {
            Some(state) => state.colour.needed(),
            None => 1 + Track::default().needed(),
        }
    }
}

/// The settings that residuals depend on.
fn of_residuals(params: &OneStepAheadParams) -> serde_json::Value {
    let OneStepAheadParams { max_pixels, max_shift, features, .. } = params;
    serde_json::json!({
        "revision": REVISION, "max_pixels": max_pixels, "max_shift": max_shift, "features": features,
    })
}

fn grid(image: &Planes, columns: usize, stride: usize) -> Grid {
    let ImageShape { rows, columns: width, .. } = image.shape();
    Grid { columns, stride: [stride; 2], overlaps: false, gap: PATCH / stride, image: [rows, width] }
}

/// The surprise of fine cells, averaged over the coarse cells that they make up.
fn coarsened(surprise: &Surprise, rows: usize, columns: usize) -> Vec<f32> {
    const SIDE: usize = COARSE_CELL / FINE_CELL;
    let mut coarse = Vec::with_capacity((rows / SIDE) * (columns / SIDE));
    for (row, column) in (0..rows / SIDE).flat_map(|r| (0..columns / SIDE).map(move |c| (r, c))) {
        let cells = (0..SIDE * SIDE).map(|i| (row * SIDE + i / SIDE) * columns + column * SIDE + i % SIDE);
        coarse.push(cells.map(|cell| surprise.relative[cell]).sum::<f32>() / (SIDE * SIDE) as f32);
    }
    coarse
}

/// The median distance between steps, the lower one of two; `None` before there are any.
fn usual(intervals: &[u64]) -> Option<u64> {
    let mut sorted = intervals.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len().saturating_sub(1) / 2).copied()
}

/// The number of output intervals in a distance between steps, rounded, at least 1.
fn n_intervals(distance: u64, interval: Option<u64>) -> u64 {
    interval.map_or(1, |interval| (distance.saturating_add(interval / 2) / interval.max(1)).max(1))
}

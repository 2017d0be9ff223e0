//! Raw fields in a run: drawn by a scale that stays for the run, and judged as images are; what is not finite is anomalous at once.

use super::super::heat_map::{HeatMap, Places};
use super::super::sequence::Back;
use super::{Method, Newest, OnlineRun};
use crate::error::{Error, Result};
use crate::image::{Colour, Decoded, Field, FieldScale, Grid, Input, NotFinite, PolarPlane, Preprocess};
use crate::verdict::{FieldFacts, Judgement, Label, Verdict};
use std::borrow::Cow;

/// A field has no legend to crop away, and its resolution is the simulation's own.
const WHOLE: Preprocess = Preprocess { crop: None, colour: Colour::Rgb, reduce: 1 };

impl OnlineRun {
    /// Judges an image or a field.
    ///
    /// # Errors
    ///
    /// Those of [`judge`](Self::judge) or of [`judge_field`](Self::judge_field).
    pub fn judge_input(&mut self, step: i64, input: &Input) -> Result<Judgement> {
        match input {
            Input::Image(image) => self.judge(step, image),
            Input::Field(field) => self.judge_field(step, field),
        }
    }

    /// Judges the field of a step as [`judge`](Self::judge) does an image, on its own grid.
    ///
    /// The field is drawn by the run's [`FieldScale`], which follows from the first field in the pool; a run has either images or
    /// fields. If a variable that was constant in that first field varies while the run still warms up, the run begins anew with
    /// this field. The region is in rows and columns of the field's grid, in the variable that
    /// [`FieldFacts`] names.
    ///
    /// A field with a NaN or an infinity is anomalous whatever came before, in the warm-up as well; its score is infinite, its
    /// p-value 0 and its region around all such values of one variable. It is never accepted, not even if it comes back.
    ///
    /// # Errors
    ///
    /// The run is then as it was before:
    /// - [`Error::Step`] if the simulation has gone back further than the run remembers;
    /// - [`Error::Shape`] if the field has another shape than the run's, or the run has images.
    pub fn judge_field(&mut self, step: i64, field: &Field) -> Result<Judgement> {
        let scale = self.scale_at(step, field)?.into_owned();
        let share_beyond = scale.share_beyond(field);
        if let Some(wrong) = field.not_finite() {
            let judgement = self.refuse(step, field, wrong, share_beyond)?;
            if let Some(newest) = &mut self.newest {
                newest.scale = Some(scale);
            }
            return Ok(judgement);
        }
        let before = self.pool_size();
        if self.begins_anew(field) {
            // To before the run's first step, which is always possible.
            self.rewind(i64::MIN)?;
        }
        let n_dropped = before - self.pool_size();
        let picture = scale.draw(field);
        let mut judgement = if self.field.grid == Grid::Polar {
            self.judge_polar(step, field, &picture)?
        } else {
            self.judge_picture(step, &picture, WHOLE)?
        };
        judgement.forgot += n_dropped;
        if let Some(newest) = &mut self.newest {
            newest.scale = Some(scale.clone());
        }
        self.scale = Some(scale);
        let place = judgement.region.map(|region| in_variable(region, field.shape()[1]));
        judgement.region = place.map(|(_, region)| region);
        judgement.field =
            Some(FieldFacts { n_not_finite: 0, variable: place.map(|(variable, _)| variable), share_beyond });
        Ok(judgement)
    }

    /// The picture of an image or a field that is judged: the image itself, or the field as the run at `step` draws it, its
    /// variables below each other.
    ///
    /// # Errors
    ///
    /// Those of [`judge_field`](Self::judge_field).
    pub fn picture<'a>(&self, step: i64, input: &'a Input) -> Result<Cow<'a, Decoded>> {
        match input {
            Input::Image(image) => Ok(Cow::Borrowed(image)),
            Input::Field(field) => Ok(Cow::Owned(self.scale_at(step, field)?.draw(field))),
        }
    }

    /// Draws where in the image or the field judged last its score comes from, as [`heat_map`](Self::heat_map) does.
    pub fn heat_map_of(&self, input: &Input) -> Option<HeatMap> {
        self.heat_map(&self.newest.as_ref()?.picture_of(input))
    }

    /// The scale by which a field at `step` is judged.
    fn scale_at(&self, step: i64, field: &Field) -> Result<Cow<'_, FieldScale>> {
        let is_first = self.size_after(Back::Before(step))? == 0;
        match &self.scale {
            _ if is_first => Ok(Cow::Owned(FieldScale::of(field))),
            None => Err(Error::Shape {
                what: "what is judged, among the others of its run",
                wanted: "an image".into(),
                found: "a field".into(),
            }),
            Some(scale) if scale.n_variables() != field.shape()[0] => Err(Error::Shape {
                what: "field, among those of its run",
                wanted: format!("{} variables", scale.n_variables()),
                found: field.shape()[0].to_string(),
            }),
            Some(_) if self.begins_anew(field) => Ok(Cow::Owned(FieldScale::of(field))),
            Some(scale) => Ok(Cow::Borrowed(scale)),
        }
    }

    /// Judges the picture of a polar grid as seen in its plane; the region and the heat map are of the grid again.
    fn judge_polar(&mut self, step: i64, field: &Field, picture: &Decoded) -> Result<Judgement> {
        let [variables, angles, radii] = field.shape();
        let plane = self.plane.take().filter(|plane| plane.shape() == [angles, radii]);
        let plane = plane
            .unwrap_or_else(|| PolarPlane::new([angles, radii], &self.field, self.max_pixels / variables));
        let judged = self.judge_picture(step, &plane.draw(picture), WHOLE);
        let rows = plane.size()[0];
        // Of the picture of the grid, the variables below each other.
        let on_grid = |region: [usize; 4]| {
            let (variable, region) = in_variable(region, rows);
            let [angle0, radius0, angle1, radius1] = plane.zones_under(region)?;
            Some([variable * angles + angle0, radius0, variable * angles + angle1, radius1])
        };
        if let Some(newest) = self.newest.as_mut().filter(|_| judged.is_ok()) {
            newest.dim = picture.pixels.dim();
            newest.outlined = newest.outlined.and_then(on_grid);
            newest.places = newest.places.seen_from(variables * angles, radii, |row, radius| {
                let [y, x] = plane.middle(row % angles, radius);
                [row / angles * rows + y, x]
            });
        }
        let judged =
            judged.map(|judgement| Judgement { region: judgement.region.and_then(on_grid), ..judgement });
        self.plane = Some(plane);
        judged
    }

    /// Whether the run, not yet giving verdicts, has a scale that knows nothing of one of the variables.
    fn begins_anew(&self, field: &Field) -> bool {
        let pool = match &self.method {
            Method::OneStepAhead(sequence) => sequence.pool_state(),
            Method::Forest(sequence) => sequence.pool_state(),
        };
        pool.needed > 0 && self.scale.as_ref().is_some_and(|scale| scale.misses(field))
    }

    /// Keeps a field out that is not finite everywhere.
    fn refuse(&mut self, step: i64, field: &Field, wrong: NotFinite, share_beyond: f64) -> Result<Judgement> {
        let (forgot, pool, threshold) = match &mut self.method {
            Method::OneStepAhead(sequence) => (
                sequence.refuse(step)?,
                sequence.pool_state(),
                self.false_alarm_rate.map(|rate| 0.0 - rate.log10()),
            ),
            Method::Forest(sequence) => (sequence.refuse(step)?, sequence.pool_state(), None),
        };
        let [variables, rows, columns] = field.shape();
        let places = Places::of_pixels(
            (0..variables).flat_map(|variable| field.variable(variable)).map(|value| !value.is_finite()),
            columns,
        );
        let [row0, column0, row1, column1] = wrong.region;
        let above = wrong.variable * rows;
        self.newest = Some(Newest {
            dim: (variables * rows, columns, 3),
            preprocess: WHOLE,
            scale: None,
            places,
            outlined: Some([above + row0, column0, above + row1, column1]),
        });
        Ok(Judgement {
            evidence: Vec::new(),
            verdict: Verdict {
                label: Label::Anomalous,
                score: f64::INFINITY,
                threshold: threshold.unwrap_or(f64::NAN),
            },
            p_value: Some(0.0),
            false_alarm_rate: self.false_alarm_rate,
            region: Some(wrong.region),
            pool: Some(pool),
            forgot,
            reproducible: false,
            truth: None,
            field: Some(FieldFacts { n_not_finite: wrong.n, variable: Some(wrong.variable), share_beyond }),
        })
    }
}

impl Newest {
    /// The picture of what was judged.
    fn picture_of<'a>(&self, input: &'a Input) -> Cow<'a, Decoded> {
        match (input, &self.scale) {
            (Input::Image(image), _) => Cow::Borrowed(image),
            (Input::Field(field), Some(scale)) => Cow::Owned(scale.draw(field)),
            (Input::Field(field), None) => Cow::Owned(FieldScale::of(field).draw(field)),
        }
    }
}

/// The variable in which the middle of a region of the picture lies, and the part of the region in it, in rows of that variable.
fn in_variable([row0, column0, row1, column1]: [usize; 4], rows: usize) -> (usize, [usize; 4]) {
    let variable = (row0 + row1) / 2 / rows;
    let first = variable * rows;
    (variable, [row0.max(first) - first, column0, row1.min(first + rows - 1) - first, column1])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::extractor::{DeviceChoice, WeightsStore};
    use crate::image::{FieldParams, Spacing};
    use crate::online::{OnlineMethod, OnlineParams};
    use crate::rng::Rng;

    const ROWS: usize = 48;
    const COLUMNS: usize = 64;

    /// A density over three decades with waves that move, and a velocity of both signs.
    fn field(step: i64) -> Field {
        let mut noise = Rng::derived(3, step as u64);
        let time = step as f64 + 0.05 * noise.normal();
        let wave = |row: usize, column: usize, k: f64| {
            (k * (0.3 * row as f64 + 0.2 * column as f64) + 0.2 * time).sin()
                + (k * (0.1 * row as f64 - 0.25 * column as f64) - 0.3 * time).sin()
        };
        let mut values = Vec::new();
        for (row, column) in (0..ROWS).flat_map(|r| (0..COLUMNS).map(move |c| (r, c))) {
            values.push(1e-4 * 10f64.powf(0.08 * row as f64 + 0.2 * wave(row, column, 1.0)));
        }
        values.extend((0..ROWS).flat_map(|r| (0..COLUMNS).map(move |c| 3e5 * wave(r, c, 0.7))));
        Field::new(&[2, ROWS, COLUMNS], values).unwrap()
    }

    fn faulty(step: i64, variable: usize, factor: f64) -> Field {
        let mut field = field(step);
        for (row, column) in (12..20).flat_map(|r| (30..38).map(move |c| (r, c))) {
            field.variable_mut(variable)[row * COLUMNS + column] *= factor;
        }
        field
    }

    fn run(method: OnlineMethod) -> OnlineRun {
        let crop = Some(crate::image::Crop { rows: [0, 9], columns: [0, 9] });
        let preprocess = Preprocess { crop, ..Preprocess::default() };
        let params = OnlineParams { method, ..OnlineParams::default() };
        OnlineRun::new(params, preprocess, WeightsStore::default().into(), DeviceChoice::default()).unwrap()
    }

    fn run_after(last: i64) -> OnlineRun {
        let mut run = run(OnlineMethod::OneStepAhead);
        feed(&mut run, 1..=last, field);
        run
    }

    fn feed(
        run: &mut OnlineRun,
        steps: std::ops::RangeInclusive<i64>,
        field: impl Fn(i64) -> Field,
    ) -> Vec<Judgement> {
        steps.map(|step| run.judge_field(step, &field(step)).unwrap()).collect()
    }

    fn label(run: &mut OnlineRun, step: i64, field: &Field) -> Label {
        run.judge_field(step, field).unwrap().verdict.label
    }

    #[test]
    fn a_fault_is_found_in_its_variable_and_its_zones_and_a_field_without_one_is_normal() {
        let mut run = run_after(40);
        for (variable, factor) in [(0, 30.0), (1, -20.0)] {
            let judgement = run.judge_field(41, &faulty(41, variable, factor)).unwrap();
            assert_eq!(judgement.verdict.label, Label::Anomalous, "{variable}: {judgement:?}");
            assert_eq!(judgement.field.unwrap().variable, Some(variable));
            let [row0, column0, row1, column1] = judgement.region.unwrap();
            assert!(row0 <= 16 && (16..30).contains(&row1) && column0 <= 34 && (34..48).contains(&column1));
        }
        assert_eq!(label(&mut run, 41, &field(41)), Label::Normal);
    }

    #[test]
    fn what_is_not_finite_is_anomalous_at_any_time_never_accepted_and_boxed() {
        for last in [0, 1, 3, 40] {
            let mut run = run_after(last);
            for wrong in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
                let mut bad = field(last + 1);
                bad.variable_mut(1)[5 * COLUMNS + 7] = wrong;
                bad.variable_mut(1)[9 * COLUMNS + 3] = wrong;
                for _ in 0..5 {
                    let judgement = run.judge_field(last + 1, &bad).unwrap();
                    assert_eq!(judgement.verdict.label, Label::Anomalous, "after {last}");
                    assert_eq!((judgement.verdict.score, judgement.p_value), (f64::INFINITY, Some(0.0)));
                    assert_eq!(judgement.region, Some([5, 3, 9, 7]));
                    let facts = judgement.field.unwrap();
                    assert_eq!((facts.n_not_finite, facts.variable), (2, Some(1)));
                    assert_eq!((run.pool_size(), run.last_step()), (last as usize, Some(last + 1)));
                }
                let map = run.heat_map_of(&Input::Field(bad)).unwrap();
                assert_eq!([0, 1, 2].map(|k| map.pixels()[[ROWS + 5, 7, k]]), [255; 3]);
            }
            let good = label(&mut run, last + 1, &field(last + 1));
            assert_eq!(good, if last < 15 { Label::Unknown } else { Label::Normal });
        }
    }

    #[test]
    fn a_fault_on_a_polar_grid_is_found_in_its_zones_and_drawn_there() {
        let field_params =
            FieldParams { grid: Grid::Polar, radii: [0.5, 4.0], spacing: Spacing::Log, angles: [0.0, 180.0] };
        let params = OnlineParams { field: field_params, ..OnlineParams::default() };
        let mut run = OnlineRun::new(
            params,
            Preprocess::default(),
            WeightsStore::default().into(),
            DeviceChoice::default(),
        )
        .unwrap();
        feed(&mut run, 1..=30, field);
        let fault = faulty(31, 0, 30.0);
        let judgement = run.judge_field(31, &fault).unwrap();
        assert_eq!(judgement.verdict.label, Label::Anomalous, "{judgement:?}");
        assert_eq!(judgement.field.unwrap().variable, Some(0));
        let [angle0, radius0, angle1, radius1] = judgement.region.unwrap();
        assert!(angle0 <= 16 && angle1 >= 16 && radius0 <= 34 && radius1 >= 34, "{judgement:?}");
        let map = run.heat_map_of(&Input::Field(fault)).unwrap();
        assert_eq!(map.pixels().dim(), (2 * ROWS, COLUMNS, 3));
        let red = |row: usize, column: usize| map.pixels()[[row, column, 0]];
        assert!(red(16, 34) > 200 && red(ROWS + 16, 34) < 150, "{} {}", red(16, 34), red(ROWS + 16, 34));
        assert_eq!(label(&mut run, 31, &field(31)), Label::Normal);
    }

    #[test]
    fn the_forest_takes_fields_too_and_refuses_what_is_not_finite() {
        let mut run = run(OnlineMethod::Forest);
        feed(&mut run, 1..=21, field);
        let mut bad = field(22);
        bad.variable_mut(0)[0] = f64::NAN;
        let judgement = run.judge_field(22, &bad).unwrap();
        assert_eq!(
            (judgement.verdict.label, run.pool_size()),
            (Label::Anomalous, judgement.pool.unwrap().size)
        );
    }

    #[test]
    fn a_rewind_restores_judgements_bit_for_bit_also_after_what_is_not_finite() {
        let mut run = run_after(25);
        let wanted = feed(&mut run, 26..=29, field);
        let mut bad = field(27);
        bad.variable_mut(0)[0] = f64::NAN;
        assert_eq!(run.judge_field(27, &bad).unwrap().forgot, 3);
        assert_eq!(run.last_step(), Some(27));
        assert_eq!(run.rewind(25).unwrap(), 1);
        let found = feed(&mut run, 26..=29, field);
        assert_eq!(found, wanted);
        run.rewind(0).unwrap();
        let again = run_after(26);
        feed(&mut run, 1..=26, field);
        assert_eq!(run.scale, again.scale);
    }

    #[test]
    fn what_is_constant_at_first_and_then_varies_begins_the_run_anew_while_it_is_young() {
        let flat = |step: i64| {
            let mut field = field(step);
            field.variable_mut(1).fill(0.0);
            field
        };
        let mut run = run(OnlineMethod::OneStepAhead);
        feed(&mut run, 1..=3, flat);
        let judgement = run.judge_field(4, &field(4)).unwrap();
        assert_eq!((judgement.forgot, judgement.pool.unwrap().size), (3, 1));
        assert_eq!(run.judge_field(5, &field(5)).unwrap().forgot, 0);
        let mut old = run_after(0);
        feed(&mut old, 1..=20, flat);
        assert_eq!(old.judge_field(21, &field(21)).unwrap().forgot, 0, "a fault must not make it forget");
    }

    #[test]
    fn images_and_fields_and_fields_of_other_shapes_do_not_mix_in_a_run() {
        let mut run = run_after(3);
        let input = Input::Field(field(4));
        let image = run.picture(4, &input).unwrap().into_owned();
        let words = |error: Error| error.to_string();
        assert!(words(run.judge(4, &image).unwrap_err()).contains("wanted a field, found an image"));
        let one = Field::new(&[2 * ROWS, COLUMNS], vec![1.0; 2 * ROWS * COLUMNS]).unwrap();
        assert!(words(run.judge_field(4, &one).unwrap_err()).contains("wanted 2 variables, found 1"));
        let other = Field::new(&[2, 8, 8], vec![1.0; 128]).unwrap();
        assert!(words(run.judge_field(4, &other).unwrap_err()).contains("16 x 8"));
        assert_eq!((run.pool_size(), run.last_step()), (3, Some(3)));
        run.rewind(0).unwrap();
        run.preprocess.crop = None;
        assert!(run.judge(1, &image).is_ok(), "an empty run takes either");
        assert!(words(run.judge_field(2, &field(2)).unwrap_err()).contains("wanted an image, found a field"));
    }
}

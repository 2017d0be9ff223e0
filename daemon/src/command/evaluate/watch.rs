//! A labelled run judged image by image, by the configured method and by the cheap baselines beside it.
//!
//! An alarm on a normal image is answered as a simulation does: it goes back, the image comes again the same and is accepted.
//! An alarmed image of a fault stays out.

use super::inject::{Plan, n_spared};
use super::manifest::{Labelled, LabelledRun};
use crate::command::recorded::{new_run, take};
use crate::config::Config;
use anomalyd_models::evaluate::{Baseline, ColourOrder, FieldRange};
use anomalyd_models::image::{Crop, Decoded, Field, Input};
use anomalyd_models::online::{OnlineRun, ScalarRun};
use anomalyd_models::{Error, Judgement, Label};
use anyhow::Context;
use ndarray::{Axis, s};

/// Where a method has no false-alarm rate of its own, the baselines beside it are judged at this one.
const BASELINE_RATE: f64 = 1e-3;

/// The judges: the configured method, then the baselines.
pub(super) const N_JUDGES: usize = 1 + Baseline::ALL.len();

/// What the judges say of an image: whether it raises an alarm; `None` where there is no verdict yet.
pub(super) type Says = [Option<bool>; N_JUDGES];

/// One judged image.
#[derive(Debug, Clone)]
pub(super) struct Judged {
    pub(super) step: i64,
    pub(super) is_anomalous: bool,
    pub(super) says: Says,
}

/// The three ways to flip an image.
pub(super) const FLIPS: [&str; 3] = ["horizontally", "vertically", "both ways"];

/// How many flipped normal images were called normal.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Flipped {
    pub(super) n: usize,
    pub(super) n_normal: usize,
}

/// A run while it is judged.
pub(super) struct Watch<'a> {
    config: &'a Config,
    run: OnlineRun,
    /// What the baselines measure by; it follows from the first image or field.
    ruler: Option<Ruler>,
    /// The baselines before each image.
    baselines: Vec<[ScalarRun; 3]>,
    images: Vec<Labelled>,
    judged: Vec<Judged>,
}

/// What the baselines measure by.
#[derive(Debug, Clone, Copy)]
enum Ruler {
    Colours(ColourOrder),
    Range(FieldRange),
}

/// What is tried beside the images themselves.
pub(super) struct Trials<'a> {
    pub(super) plan: Option<&'a mut Plan>,
    /// Every so many normal images are flipped as well.
    pub(super) flips: Option<usize>,
    pub(super) flipped: &'a mut [Flipped; 3],
}

impl<'a> Watch<'a> {
    pub(super) fn new(config: &'a Config) -> anyhow::Result<Self> {
        Ok(Self {
            config,
            run: new_run(config)?,
            ruler: None,
            baselines: Vec::new(),
            images: Vec::new(),
            judged: Vec::new(),
        })
    }

    /// Judges the run and returns what was said of its images, without those before it. Earlier images that this watch has
    /// seen already are not judged again: it goes back to the last of them.
    pub(super) fn judge(
        &mut self,
        run: &LabelledRun,
        trials: &mut Trials<'_>,
        tell: &mut dyn FnMut(),
    ) -> anyhow::Result<Vec<Judged>> {
        let known = self.images.iter().zip(&run.before).take_while(|(known, wanted)| known == wanted).count();
        let is_known = known > 0 && known == run.before.len();
        if is_known && self.go_back(known).is_ok() {
            run.before.iter().for_each(|_| tell());
        } else {
            *self = Self::new(self.config)?;
            let mut none = [Flipped::default(); 3];
            for image in &run.before {
                tell();
                self.judge_next(image, &mut Trials { plan: None, flips: None, flipped: &mut none })?;
            }
        }
        for image in &run.images {
            tell();
            self.judge_next(image, trials)?;
        }
        Ok(self.judged[run.before.len()..].to_vec())
    }

    /// Goes back to the state after the first `known` images.
    fn go_back(&mut self, known: usize) -> Result<(), Error> {
        self.run.rewind(self.images[known - 1].step)?;
        self.baselines.truncate(known + 1);
        self.images.truncate(known);
        self.judged.truncate(known);
        Ok(())
    }

    fn judge_next(&mut self, labelled: &Labelled, trials: &mut Trials<'_>) -> anyhow::Result<()> {
        let place = || labelled.path.display().to_string();
        let input = take(&labelled.path, self.config).with_context(place)?.input;
        if self.baselines.is_empty() {
            let ruler = match &input {
                Input::Image(image) => Ruler::Colours(ColourOrder::of(image, self.config.preprocess.crop)),
                Input::Field(field) => Ruler::Range(FieldRange::of(field)),
            };
            self.ruler = Some(ruler);
            self.baselines.push(Baseline::ALL.map(|baseline| match ruler {
                Ruler::Colours(_) => baseline.new_run(),
                Ruler::Range(range) => baseline.new_run_of_fields(range),
            }));
        }
        if !labelled.is_anomalous {
            self.try_others(labelled.step, &input, trials).with_context(place)?;
        }
        let judgement = self.run.judge_input(labelled.step, &input).with_context(place)?;
        let values = self.values(&input);
        let says = self.says(&judgement, &values);
        if says[0] == Some(true) && !labelled.is_anomalous {
            self.run.rewind(before(labelled.step)).with_context(place)?;
            self.run.judge_input(labelled.step, &input).with_context(place)?;
        }
        let mut baselines = self.newest().clone();
        for ((baseline, value), says) in baselines.iter_mut().zip(values).zip(&says[1..]) {
            if *says != Some(true) || !labelled.is_anomalous {
                baseline.accept(value);
            }
        }
        self.baselines.push(baselines);
        self.images.push(labelled.clone());
        self.judged.push(Judged { step: labelled.step, is_anomalous: labelled.is_anomalous, says });
        Ok(())
    }

    /// Judges injected and flipped images in place of the next one, each from the state before it.
    fn try_others(&mut self, step: i64, input: &Input, trials: &mut Trials<'_>) -> anyhow::Result<()> {
        let crop = self.config.preprocess.crop;
        let order = match self.ruler {
            Some(Ruler::Colours(order)) => order,
            _ => ColourOrder::Brightness,
        };
        if let Some(plan) = trials.plan.as_mut().filter(|_| self.images.len() >= n_spared(self.config)) {
            for injection in plan.due() {
                let Some(faulty) = injection.put_into(input, crop, order) else {
                    plan.n_nowhere += 1;
                    continue;
                };
                let judgement = self.peek(step, &faulty.input)?;
                let says = self.says(&judgement, &self.values(&faulty.input));
                let variable = judgement.field.and_then(|field| field.variable);
                plan.found(injection, &faulty, says, variable, judgement.region);
            }
        }
        let position = self.images.len() + 1;
        if trials.flips.is_some_and(|every| position.is_multiple_of(every)) {
            for (flip, count) in trials.flipped.iter_mut().enumerate() {
                let flipped = match input {
                    Input::Image(image) => Input::Image(flipped(image, crop, flip)),
                    Input::Field(field) => Input::Field(flipped_field(field, flip)?),
                };
                let judgement = self.peek(step, &flipped)?;
                if judgement.verdict.label != Label::Unknown {
                    count.n += 1;
                    count.n_normal += usize::from(!is_alarm(&judgement));
                }
            }
        }
        Ok(())
    }

    /// Judges an image without a trace.
    fn peek(&mut self, step: i64, input: &Input) -> anyhow::Result<Judgement> {
        let judgement = self.run.judge_input(step, input)?;
        self.run.rewind(before(step))?;
        Ok(judgement)
    }

    /// What the baselines see.
    fn values(&self, input: &Input) -> [f64; 3] {
        match (input, self.ruler) {
            (Input::Image(image), Some(Ruler::Colours(order))) => {
                Baseline::values(image, self.config.preprocess.crop, order)
            }
            (Input::Field(field), Some(Ruler::Range(range))) => Baseline::values_of_field(field, range),
            // A run has either images or fields; the other kind has been refused before.
            _ => [0.0; 3],
        }
    }

    fn newest(&self) -> &[ScalarRun; 3] {
        // One more than there are images, from the start.
        &self.baselines[self.baselines.len() - 1]
    }

    fn says(&self, judgement: &Judgement, values: &[f64; 3]) -> Says {
        let rate = judgement.false_alarm_rate.unwrap_or(BASELINE_RATE);
        let verdict = (judgement.verdict.label != Label::Unknown).then(|| is_alarm(judgement));
        let baseline = |at: usize| Some(self.newest()[at].p_value(values[at])? < rate);
        [verdict, baseline(0), baseline(1), baseline(2)]
    }
}

/// An alarm, also at a step that has raised so many that the run accepts any further one.
fn is_alarm(judgement: &Judgement) -> bool {
    judgement.verdict.label == Label::Anomalous || judgement.reproducible
}

/// The step to go back to in order to do `step` again.
fn before(step: i64) -> i64 {
    step.saturating_sub(1)
}

/// The image with its judged part flipped: 0 left to right, 1 top to bottom, 2 both.
fn flipped(image: &Decoded, crop: Option<Crop>, flip: usize) -> Decoded {
    let (rows, columns, _) = image.pixels.dim();
    let ([row0, row1], [column0, column1]) =
        crop.map_or(([0, rows - 1], [0, columns - 1]), |crop| (crop.rows, crop.columns));
    let mut out = image.clone();
    let mut source = image.pixels.slice(s![row0..=row1, column0..=column1, ..]);
    if flip != 1 {
        source.invert_axis(Axis(1));
    }
    if flip != 0 {
        source.invert_axis(Axis(0));
    }
    out.pixels.slice_mut(s![row0..=row1, column0..=column1, ..]).assign(&source);
    out
}

/// The field with its grid flipped, all variables alike.
fn flipped_field(field: &Field, flip: usize) -> anyhow::Result<Field> {
    let [variables, rows, columns] = field.shape();
    let mut values = Vec::with_capacity(variables * rows * columns);
    for variable in 0..variables {
        for row in 0..rows {
            let row = if flip == 0 { row } else { rows - 1 - row };
            let line = &field.variable(variable)[row * columns..][..columns];
            if flip == 1 { values.extend(line) } else { values.extend(line.iter().rev()) }
        }
    }
    Ok(Field::new(&field.shape(), values)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array3;

    #[test]
    fn flips_are_within_the_judged_part() {
        let pixels = Array3::from_shape_fn((3, 4, 1), |(row, column, _)| (10 * row + column) as u8);
        let image = Decoded { pixels, format: "png" };
        let crop = Some(Crop { rows: [1, 2], columns: [0, 3] });
        let rows = |flip| -> Vec<u8> { flipped(&image, crop, flip).pixels.iter().copied().collect() };
        assert_eq!(rows(0), [0, 1, 2, 3, 13, 12, 11, 10, 23, 22, 21, 20]);
        assert_eq!(rows(1), [0, 1, 2, 3, 20, 21, 22, 23, 10, 11, 12, 13]);
        assert_eq!(rows(2), [0, 1, 2, 3, 23, 22, 21, 20, 13, 12, 11, 10]);
        let field = Field::new(&[8, 9], (0..72).map(f64::from).collect()).unwrap();
        let corner = |flip| flipped_field(&field, flip).unwrap().variable(0)[0];
        assert_eq!([corner(0), corner(1), corner(2)], [8.0, 63.0, 71.0]);
    }
}

//! `anomalyd replay`: recorded images of a run, judged as if they came live.

mod chart;
mod html;
mod picture;

use super::images::expand;
use super::progress::Show;
use super::recorded::{Timings, configured, method_name, new_run, steps_of, take, write};
use super::{Exit, say};
use crate::cli::{OnAlarm, ReplayArgs};
use crate::config::Config;
use crate::judge::EvidenceDetail;
use anomalyd_models::image::{Crop, Input};
use anomalyd_models::online::{HeatMap, OnlineRun};
use anomalyd_models::{Judgement, Label};
use anyhow::{bail, ensure};
pub(super) use html::escaped;
use picture::{Part, Picture};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What is said of one image.
#[derive(Debug, Clone, Serialize)]
struct Line {
    step: i64,
    path: String,
    /// `normal`, `anomalous`, `unknown`; `not judged` where there is an error.
    label: &'static str,
    score: Option<f64>,
    threshold: Option<f64>,
    p_value: Option<f64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    evidence: Vec<EvidenceDetail>,
    false_alarm_rate: Option<f64>,
    /// First row, first column, last row, last column, in pixels of the file, or in zones of a variable's grid.
    region: Option<[usize; 4]>,
    /// Of a field, the variable that the region lies in, counted from 0.
    variable: Option<usize>,
    /// Of a field, the number of values that are NaN or infinite.
    not_finite: usize,
    /// Images that the run remembers after this one.
    pool: Option<usize>,
    /// Alarms without a normal image between them are one event, counted from 1.
    event: Option<usize>,
    /// The image was judged again, as after a rewind, and accepted.
    accepted_after_rewind: bool,
    error: Option<String>,
    timings_s: Timings,
}

/// A run judged to its end.
struct Replayed {
    lines: Vec<Line>,
    pictures: Vec<Picture>,
    wall: Duration,
}

pub(super) fn run(args: &ReplayArgs) -> anyhow::Result<Exit> {
    let config = configured(&args.watch)?;
    let images = chosen(args)?;
    let mut run = new_run(&config)?;
    let replayed = replay(&mut run, &images, &config, args.on_alarm, args.html.is_some())?;
    if let Some(path) = &args.save_prior {
        run.prior()?.save(path)?;
    }
    let to_stdout = args.json.as_deref() == Some(Path::new("-"));
    if let Some(path) = &args.json {
        // Plain strings and numbers: there is nothing in them that JSON cannot hold.
        let lines = replayed.lines.iter().map(|line| serde_json::to_string(line).unwrap_or_default());
        if to_stdout {
            lines.for_each(|line| say(format_args!("{line}")));
        } else {
            write(path, &lines.map(|line| line + "\n").collect::<String>())?;
        }
    }
    let summary = Summary::of(&replayed, &config, args.on_alarm);
    if let Some(path) = &args.html {
        write(path, &html::page(&replayed, &summary))?;
    }
    if !to_stdout {
        print(&replayed, &summary);
        for (what, path) in [("json lines", &args.json), ("report", &args.html), ("prior", &args.save_prior)]
        {
            if let Some(path) = path {
                say(format_args!("{what:20} {}", path.display()));
            }
        }
    }
    Ok(summary.exit())
}

/// The images to judge with their steps.
fn chosen(args: &ReplayArgs) -> anyhow::Result<Vec<(i64, PathBuf)>> {
    let files = expand(&args.paths)?;
    let steps = steps_of(&files);
    let (from, every) = (args.watch.from, args.watch.every as usize);
    let within = |step: i64| from.is_none_or(|from| step >= from) && args.to.is_none_or(|to| step <= to);
    let (first, last) = (steps.first().copied(), steps.last().copied());
    let images: Vec<_> =
        steps.into_iter().zip(files).filter(|(step, _)| within(*step)).step_by(every).collect();
    if let (Some(first), Some(last)) = (first, last) {
        ensure!(!images.is_empty(), "no image lies within --from and --to: the steps are {first} to {last}");
    }
    if images.is_empty() {
        bail!("there are no images");
    }
    Ok(images)
}

fn replay(
    run: &mut OnlineRun,
    images: &[(i64, PathBuf)],
    config: &Config,
    on_alarm: OnAlarm,
    with_pictures: bool,
) -> anyhow::Result<Replayed> {
    let start = Instant::now();
    let mut replayed = Replayed { lines: Vec::new(), pictures: Vec::new(), wall: Duration::ZERO };
    let (mut n_events, mut in_event) = (0, false);
    let mut show = Show::new();
    for (done, (step, path)) in images.iter().enumerate() {
        show.update("images judged", done, Some(images.len()));
        let mut line = Line::new(*step, path);
        match judged(run, *step, path, config, &mut line.timings_s) {
            Err(error) => {
                line.error = Some(format!("{error:#}"));
                replayed.lines.push(line);
                continue;
            }
            Ok((judgement, input)) => {
                line.tell(&judgement);
                let is_alarm = judgement.verdict.label == Label::Anomalous;
                if is_alarm {
                    n_events += usize::from(!in_event);
                    line.event = Some(n_events);
                    if with_pictures {
                        let picture = pictured(run, *step, &input, &judgement, config.preprocess.crop)?;
                        picture::keep(&mut replayed.pictures, Picture { is_first: !in_event, ..picture });
                    }
                    if on_alarm == OnAlarm::Rewind {
                        run.rewind(step.saturating_sub(1))?;
                        let again = run.judge_input(*step, &input)?;
                        line.accepted_after_rewind = again.verdict.label != Label::Anomalous;
                        line.pool = again.pool.map(|pool| pool.size);
                    }
                }
                in_event = is_alarm && on_alarm == OnAlarm::GoOn;
            }
        }
        replayed.lines.push(line);
    }
    show.finish();
    replayed.wall = start.elapsed();
    Ok(replayed)
}

fn judged(
    run: &mut OnlineRun,
    step: i64,
    path: &Path,
    config: &Config,
    timings: &mut Timings,
) -> anyhow::Result<(Judgement, Input)> {
    let taken = take(path, config)?;
    let start = Instant::now();
    let judgement = run.judge_input(step, &taken.input)?;
    *timings = Timings {
        read: taken.read.as_secs_f64(),
        decode: taken.decode.as_secs_f64(),
        judge: start.elapsed().as_secs_f64(),
    };
    Ok((judgement, taken.input))
}

/// The pictures of an image or a field just judged.
fn pictured(
    run: &OnlineRun,
    step: i64,
    input: &Input,
    judgement: &Judgement,
    crop: Option<Crop>,
) -> anyhow::Result<Picture> {
    let (crop, above) = match input {
        Input::Image(_) => (crop, 0),
        // The variables lie below each other.
        Input::Field(field) => {
            (None, judgement.field.and_then(|facts| facts.variable).unwrap_or(0) * field.shape()[1])
        }
    };
    let region =
        judgement.region.map(|[row0, column0, row1, column1]| [above + row0, column0, above + row1, column1]);
    let map = run.heat_map_of(input);
    let image = run.picture(step, input)?;
    let part = Part::of(&image.pixels, crop);
    Ok(Picture::of(&part, step, map.as_ref().map(HeatMap::pixels), region)?)
}

impl Line {
    fn new(step: i64, path: &Path) -> Self {
        Self {
            step,
            path: path.display().to_string(),
            label: "not judged",
            score: None,
            threshold: None,
            p_value: None,
            evidence: Vec::new(),
            false_alarm_rate: None,
            region: None,
            variable: None,
            not_finite: 0,
            pool: None,
            event: None,
            accepted_after_rewind: false,
            error: None,
            timings_s: Timings::default(),
        }
    }

    fn tell(&mut self, judgement: &Judgement) {
        // JSON has no NaN.
        let number = |value: f64| value.is_finite().then_some(value);
        self.label = match judgement.verdict.label {
            Label::Normal => "normal",
            Label::Anomalous => "anomalous",
            Label::Unknown => "unknown",
        };
        self.score = number(judgement.verdict.score);
        self.threshold = number(judgement.verdict.threshold);
        self.p_value = judgement.p_value;
        self.evidence = judgement.evidence.iter().map(EvidenceDetail::from).collect();
        self.false_alarm_rate = judgement.false_alarm_rate;
        self.region = judgement.region;
        self.variable = judgement.field.and_then(|field| field.variable);
        self.not_finite = judgement.field.map_or(0, |field| field.n_not_finite);
        self.pool = judgement.pool.map(|pool| pool.size);
    }

    fn is_alarm(&self) -> bool {
        self.label == "anomalous"
    }

    /// The name of the file alone.
    fn name(&self) -> String {
        Path::new(&self.path)
            .file_name()
            .map_or_else(|| self.path.clone(), |name| name.to_string_lossy().into_owned())
    }

    /// `rows A to B, columns C to D`, where there is a region.
    fn place(&self) -> String {
        let Some([row0, column0, row1, column1]) = self.region else { return String::new() };
        let mut words = format!("rows {row0} to {row1}, columns {column0} to {column1}");
        if let Some(variable) = self.variable.filter(|&variable| variable > 0) {
            words.push_str(&format!(" of variable {variable}"));
        }
        if self.not_finite > 0 {
            words.push_str(&format!(", {} values NaN or infinite", self.not_finite));
        }
        words
    }
}

/// The whole run in a few numbers.
struct Summary {
    n_images: usize,
    n_normal: usize,
    n_anomalous: usize,
    n_events: usize,
    n_unknown: usize,
    n_not_judged: usize,
    /// Step and position, counted from 1.
    first_verdict: Option<(i64, usize)>,
    false_alarm_rate: Option<f64>,
    method: String,
    crop: String,
    on_alarm: OnAlarm,
}

impl Summary {
    fn of(replayed: &Replayed, config: &Config, on_alarm: OnAlarm) -> Self {
        let lines = &replayed.lines;
        let count = |label: &str| lines.iter().filter(|line| line.label == label).count();
        let is_verdict = |line: &Line| matches!(line.label, "normal" | "anomalous");
        Self {
            n_images: lines.len(),
            n_normal: count("normal"),
            n_anomalous: count("anomalous"),
            n_events: lines.iter().filter_map(|line| line.event).max().unwrap_or(0),
            n_unknown: count("unknown"),
            n_not_judged: count("not judged"),
            first_verdict: lines.iter().position(is_verdict).map(|at| (lines[at].step, at + 1)),
            false_alarm_rate: lines.iter().find_map(|line| line.false_alarm_rate),
            method: method_name(config),
            crop: config.preprocess.crop.map_or_else(
                || "none".to_owned(),
                |crop| {
                    let ([row0, row1], [column0, column1]) = (crop.rows, crop.columns);
                    format!("rows {row0} to {row1}, columns {column0} to {column1}")
                },
            ),
            on_alarm,
        }
    }

    fn exit(&self) -> Exit {
        match (self.n_not_judged, self.n_anomalous, self.n_normal) {
            (1.., _, _) => Exit::Input,
            (_, 1.., _) => Exit::Anomalous,
            (_, _, 0) => Exit::Unknown,
            _ => Exit::Normal,
        }
    }

    /// What a name stands for, in words.
    fn facts(&self, replayed: &Replayed) -> Vec<(&'static str, String)> {
        let (first, last) = (replayed.lines.first(), replayed.lines.last());
        let steps = first
            .zip(last)
            .map_or_else(String::new, |(first, last)| format!(", steps {} to {}", first.step, last.step));
        let n_verdicts = self.n_normal + self.n_anomalous;
        let rate = self.false_alarm_rate.map_or_else(
            || "none: this method has no p-values".to_owned(),
            |rate| {
                let expected = rate * n_verdicts as f64;
                format!("{rate}: {expected:.1} false alarms are to be expected in {n_verdicts} verdicts")
            },
        );
        let mut facts = vec![
            ("images", format!("{}{steps}", self.n_images)),
            ("method", self.method.clone()),
            ("crop", self.crop.clone()),
            ("false-alarm rate set", rate),
            (
                "after an alarm",
                match self.on_alarm {
                    OnAlarm::GoOn => "the run goes on, the alarmed image is kept out".to_owned(),
                    OnAlarm::Rewind => "the image is judged again, as after a rewind".to_owned(),
                },
            ),
            (
                "first verdict",
                self.first_verdict.map_or_else(
                    || "none: too few images".to_owned(),
                    |(step, position)| format!("step {step}, image {position}"),
                ),
            ),
            ("normal", self.n_normal.to_string()),
            ("anomalous", format!("{} in {} events", self.n_anomalous, self.n_events)),
            ("unknown", self.n_unknown.to_string()),
        ];
        if self.n_not_judged > 0 {
            facts.push(("not judged", self.n_not_judged.to_string()));
        }
        let seconds = |part: fn(&Timings) -> f64| {
            let n = (self.n_images - self.n_not_judged).max(1) as f64;
            1e3 * replayed.lines.iter().map(|line| part(&line.timings_s)).sum::<f64>() / n
        };
        facts.push((
            "time",
            format!(
                "{:.1} s; an image: read {:.1} ms, decoded {:.1} ms, judged {:.1} ms",
                replayed.wall.as_secs_f64(),
                seconds(|timings| timings.read),
                seconds(|timings| timings.decode),
                seconds(|timings| timings.judge)
            ),
        ));
        facts
    }
}

fn print(replayed: &Replayed, summary: &Summary) {
    let mut told = replayed.lines.iter().filter(|line| line.is_alarm() || line.error.is_some()).peekable();
    if told.peek().is_some() {
        say(format_args!(
            "{:>10}  {:>5}  {:>10}  {:>10}  {:>9}  {:42}  file",
            "step", "event", "score", "threshold", "p-value", "where"
        ));
        let number = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.4}"));
        for line in told {
            let place = match &line.error {
                Some(error) => format!("not judged: {error}"),
                None => line.place(),
            };
            say(format_args!(
                "{:>10}  {:>5}  {:>10}  {:>10}  {:>9}  {place:42}  {}",
                line.step,
                line.event.map_or_else(|| "-".to_owned(), |event| event.to_string()),
                number(line.score),
                number(line.threshold),
                line.p_value.map_or_else(|| "-".to_owned(), |p| format!("{p:.2e}")),
                line.name()
            ));
        }
        say(format_args!(""));
    }
    for (name, value) in summary.facts(replayed) {
        say(format_args!("{name:20} {value}"));
    }
}

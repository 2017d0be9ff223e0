//! `anomalyd evaluate`: labelled runs, judged as if live; how often the alarm is false, and how soon it is right.

mod figure;
mod inject;
mod manifest;
mod tables;
mod tally;
mod watch;

use super::progress::Show;
use super::recorded::{configured, method_name, write};
use super::{Exit, say};
use crate::cli::EvaluateArgs;
use crate::config::Config;
use anomalyd_models::evaluate::Baseline;
use anyhow::{Context, bail, ensure};
use inject::{Plan, Sorts, n_spared};
use manifest::LabelledRun;
use std::path::Path;
use tally::Tally;
use watch::{Flipped, Trials, Watch};

/// All that was counted.
struct Evaluation {
    /// What the judges are called: the method, then the baselines.
    judges: Vec<String>,
    runs: Vec<RunCount>,
    /// Over all runs.
    total: Vec<Tally>,
    flipped: Option<[Flipped; 3]>,
    plan: Option<Plan>,
    seed: u64,
    /// Pixels of the file that show one zone of the simulation's grid, where that is told.
    pixels_per_zone: Option<f64>,
}

impl Evaluation {
    /// The zones of the simulation's grid that so many pixels show.
    fn zones(&self, n_pixels: usize) -> Option<f64> {
        self.pixels_per_zone.map(|pixels| n_pixels as f64 / pixels)
    }
}

/// What was counted in one run.
struct RunCount {
    name: String,
    n_before: usize,
    tallies: Vec<Tally>,
}

pub(super) fn run(args: &EvaluateArgs) -> anyhow::Result<Exit> {
    let config = configured(&args.watch)?;
    let runs = labelled_runs(args)?;
    let are_zones = runs.iter().flat_map(|run| run.images.first()).any(|image| has_fields(&image.path));
    let sorts = || Sorts::new(&args.inject_contrasts, &args.inject_sizes, are_zones);
    let mut plan = args.inject.map(|n| Plan::new(n, n_eligible(&runs, &config), args.seed, sorts()));
    let mut flipped = [Flipped::default(); 3];
    let flips = args.flips.map(|every| every as usize);
    let mut watch = Watch::new(&config)?;
    let mut show = Show::new();
    let n_images = runs.iter().map(|run| run.before.len() + run.images.len()).sum();
    let mut done = 0;
    let mut counts: Vec<RunCount> = Vec::new();
    for run in &runs {
        let mut trials = Trials { plan: plan.as_mut(), flips, flipped: &mut flipped };
        let judged = watch.judge(run, &mut trials, &mut || {
            show.update(&run.name, done, Some(n_images));
            done += 1;
        })?;
        let tallies = (0..watch::N_JUDGES).map(|judge| Tally::of(&judged, judge, run.before.len())).collect();
        counts.push(RunCount { name: run.name.clone(), n_before: run.before.len(), tallies });
    }
    show.finish();
    let total =
        (0..watch::N_JUDGES).map(|judge| Tally::sum(counts.iter().map(|run| &run.tallies[judge]))).collect();
    let evaluation = Evaluation {
        judges: std::iter::once(method_name(&config))
            .chain(Baseline::ALL.map(|baseline| baseline.name().to_owned()))
            .collect(),
        runs: counts,
        total,
        flipped: flips.map(|_| flipped),
        plan,
        seed: args.seed,
        pixels_per_zone: args.pixels_per_zone.filter(|_| !are_zones),
    };
    if let (Some(path), Some(plan)) = (&args.inject_figure, &evaluation.plan) {
        write(path, &figure::svg(&evaluation, plan))?;
    }
    let json =
        || serde_json::to_string_pretty(&tables::json(&evaluation)).context("the figures; this is a bug");
    if args.json.as_deref() == Some(Path::new("-")) {
        say(format_args!("{}", json()?));
        return Ok(Exit::Success);
    }
    if let Some(path) = &args.json {
        write(path, &(json()? + "\n"))?;
    }
    for line in tables::text(&evaluation) {
        say(format_args!("{line}"));
    }
    Ok(Exit::Success)
}

/// Whether a file is, by its name, a raw field.
fn has_fields(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("npy"))
}

/// The runs with the images before them, thinned as asked for.
fn labelled_runs(args: &EvaluateArgs) -> anyhow::Result<Vec<LabelledRun>> {
    let mut runs: Vec<LabelledRun> =
        args.manifests.iter().map(|path| manifest::read(path)).collect::<anyhow::Result<_>>()?;
    for text in &args.before {
        let named = text.split_once('=').filter(|(name, _)| runs.iter().any(|run| run.name == *name));
        let earlier = manifest::read(Path::new(named.map_or(text.as_str(), |(_, path)| path)))?;
        let begins = |run: &LabelledRun| run.images.first().map(|image| image.step);
        let mut n = 0;
        for run in &mut runs {
            let is_wanted = match named {
                Some((name, _)) => run.name == name,
                None => begins(run) > begins(&earlier),
            };
            if is_wanted {
                ensure!(run.before.is_empty(), "two --before for the run {}: write NAME=MANIFEST", run.name);
                run.put_before(&earlier).with_context(|| format!("--before {text}"))?;
                n += 1;
            }
        }
        if n == 0 {
            bail!("--before {text}: no run begins later than {}", earlier.name);
        }
    }
    for run in &mut runs {
        run.thin(args.watch.every as usize, args.watch.from);
        ensure!(!run.images.is_empty(), "no image of {} is left by --from and --every", run.name);
    }
    Ok(runs)
}

/// Images into which a fault may be painted.
fn n_eligible(runs: &[LabelledRun], config: &Config) -> usize {
    runs.iter()
        .map(|run| {
            run.images
                .iter()
                .skip(n_spared(config).saturating_sub(run.before.len()))
                .filter(|i| !i.is_anomalous)
                .count()
        })
        .sum()
}

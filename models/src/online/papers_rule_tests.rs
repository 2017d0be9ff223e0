//! A whole run under the paper's rule, on the same invented images as under the default one.

use super::run_tests::{bits, clean, faulty, feed, labels, run_with};
use super::*;
use crate::extractor::{ExtractorParams, HogParams};
use crate::image::Decoded;
use crate::rng::Rng;
use crate::{Error, Judgement, Label};
use ndarray::Array3;

fn forest_run(threshold: f64) -> OnlineRun {
    let forest = ForestRuleParams { threshold, ..ForestRuleParams::default() };
    run_with(OnlineParams { method: OnlineMethod::Forest, forest, ..OnlineParams::default() })
}

/// The run that a new one becomes by what was stored of the other.
fn restarted(stored: &OnlineRun, mut new: OnlineRun) -> OnlineRun {
    let read = |id| Ok(stored.record(id).ok_or("gone")?.to_bytes());
    assert_eq!(new.restore(&stored.manifest(), read).unwrap(), []);
    new
}

#[test]
fn the_papers_rule_warms_up_and_keeps_out_what_scores_above_a_half() {
    let mut run = forest_run(0.5);
    let judgements = feed(&mut run, 1..=40, clean);
    assert!(labels(&judgements[..20]).iter().all(|&label| label == Label::Unknown));
    assert_eq!((judgements[0].pool.unwrap().needed, judgements[19].pool.unwrap().needed), (19, 0));
    for Judgement { verdict, p_value, .. } in &judgements[20..] {
        assert!(verdict.score > 0.0 && verdict.score < 1.0 && verdict.threshold == 0.5 && p_value.is_none());
        assert_eq!(verdict.label == Label::Anomalous, verdict.score > 0.5);
    }
    let n_normal =
        judgements[20..].iter().filter(|judgement| judgement.verdict.label == Label::Normal).count();
    assert_eq!(run.pool_size(), 20 + n_normal);
}

#[test]
fn the_papers_rule_goes_back_bit_for_bit() {
    let mut run = forest_run(0.99);
    let first = feed(&mut run, 1..=35, clean);
    assert_eq!(run.rewind(24).unwrap(), 11);
    let again = feed(&mut run, 25..=35, clean);
    assert_eq!(first[24..].iter().map(bits).collect::<Vec<_>>(), again.iter().map(bits).collect::<Vec<_>>());
}

#[test]
fn the_papers_rule_scores_noise_above_the_images_before_it() {
    let mut run = forest_run(0.99);
    let normal = feed(&mut run, 1..=40, clean);
    let highest = normal[20..].iter().map(|judgement| judgement.verdict.score).fold(0.0, f64::max);
    let mut rng = Rng::new(9);
    let noise =
        Decoded { pixels: Array3::from_shape_simple_fn((64, 80, 1), || rng.below(256) as u8), format: "png" };
    let score = run.judge(41, &noise).unwrap().verdict.score;
    assert!(score > highest, "{score} {highest}");
}

#[test]
fn the_papers_rule_leaves_old_images_out_and_is_the_same_after_a_rewind_and_a_restart() {
    for rows in [RowFormat::F32, RowFormat::Bf16] {
        leaves_old_images_out_and_is_the_same_after_a_rewind_and_a_restart(rows);
    }
}

fn leaves_old_images_out_and_is_the_same_after_a_rewind_and_a_restart(rows: RowFormat) {
    let new = || {
        let forest = ForestRuleParams {
            threshold: 0.99,
            max_images: 24,
            rows,
            // Enough features for what is known of images that are alike.
            extractor: ExtractorParams::Hog(HogParams { cells: 16, orientations: 8, block: 1 }),
            ..ForestRuleParams::default()
        };
        let params = OnlineParams { method: OnlineMethod::Forest, forest, ..OnlineParams::default() };
        run_with(OnlineParams { max_snapshots: 10, ..params })
    };
    // Pairs of images are alike.
    let image = |step: i64| clean(step / 2);
    let tell = |judgements: &[Judgement]| judgements.iter().map(bits).collect::<Vec<_>>();
    let mut live = new();
    let all = feed(&mut live, 1..=70, image);
    assert!(all[20..].iter().all(|judgement| judgement.verdict.label == Label::Normal));

    assert!(matches!(live.rewind(60), Err(Error::Step { .. })), "further back than asked for");
    assert_eq!(live.rewind(61).unwrap(), 9);
    assert_eq!(tell(&feed(&mut live, 62..=70, image)), tell(&all[61..]));

    live.rewind(63).unwrap();
    let mut again = restarted(&live, new());
    assert_eq!(tell(&feed(&mut again, 64..=70, image)), tell(&all[63..]));

    assert_eq!(live.rewind(0).unwrap(), 63, "to before the first");
    assert_eq!(tell(&feed(&mut live, 1..=70, image)), tell(&all));
}

/// A run's verdicts over steps that go back, by a word and without one, with labels and restarts; it is settled after an act where
/// `settles` says so.
fn story_of_the_papers_rule(rows: RowFormat, mut settles: impl FnMut() -> bool) -> Vec<String> {
    let forest = ForestRuleParams { threshold: 0.6, max_images: 40, rows, ..ForestRuleParams::default() };
    let params = OnlineParams { method: OnlineMethod::Forest, forest, ..OnlineParams::default() };
    let new = || run_with(OnlineParams { max_snapshots: 30, ..params.clone() });
    let mut run = new();
    let mut told = Vec::new();
    let mut rng = Rng::new(4);
    for _ in 0..150 {
        let last = run.last_step().unwrap_or(0);
        match rng.below(20) {
            0 => told.push(format!("{:?}", run.rewind(last - rng.below(6) as i64).ok())),
            1 => {
                let truth = [Truth::Normal, Truth::Anomalous][rng.below(2)];
                told.push(format!("{:?}", run.label(last - rng.below(2) as i64, truth).ok()));
            }
            2 => run = restarted(&run, new()),
            act => {
                let step = if act == 3 { last - rng.below(4) as i64 } else { last + 1 };
                let image = if rng.below(10) == 0 { faulty(step) } else { clean(step / 2) };
                told.push(
                    run.judge(step, &image)
                        .map_or_else(|error| error.to_string(), |j| format!("{:?}", bits(&j))),
                );
            }
        }
        if settles() {
            run.settle().unwrap();
            assert!(run.is_settled());
        }
    }
    told
}

#[test]
fn verdicts_are_the_same_whenever_a_run_is_settled_by_any_number_of_threads() {
    let never = story_of_the_papers_rule(RowFormat::F32, || false);
    let of = |label: &str| never.iter().filter(|told| told.starts_with(label)).count();
    assert!(of("(Normal") > 50 && of("(Anomalous") > 3 && of("Some(Some(Labelled") > 3, "{never:#?}");
    assert_eq!(story_of_the_papers_rule(RowFormat::F32, || true), never);
    for n_threads in [1, 3] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(n_threads).build().unwrap();
        let mut rng = Rng::new(n_threads as u64);
        let told = pool.install(|| story_of_the_papers_rule(RowFormat::F32, || rng.below(2) == 0));
        assert_eq!(told, never);
    }
    let rounded = story_of_the_papers_rule(RowFormat::Bf16, || false);
    assert_ne!(rounded, never, "scores differ a little");
    assert_eq!(story_of_the_papers_rule(RowFormat::Bf16, || true), rounded);
}

fn run_of_rows(rows: RowFormat) -> OnlineRun {
    let forest = ForestRuleParams { threshold: 0.99, rows, ..ForestRuleParams::default() };
    run_with(OnlineParams { method: OnlineMethod::Forest, forest, ..OnlineParams::default() })
}

#[test]
fn rounded_rows_change_scores_of_the_papers_rule_little() {
    let scores = |rows| {
        let judgements = feed(&mut run_of_rows(rows), 1..=60, clean);
        judgements[20..].iter().map(|judgement| judgement.verdict.score).collect::<Vec<_>>()
    };
    let [exact, rounded] = [RowFormat::F32, RowFormat::Bf16].map(scores);
    let differences = exact.iter().zip(&rounded).map(|(a, b)| (a - b).abs());
    assert!(differences.fold(0.0, f64::max) < 0.05, "{exact:?} {rounded:?}");
}

#[test]
fn run_whose_rows_were_rounded_does_not_go_on_with_others() {
    let [exact, rounded] = [RowFormat::F32, RowFormat::Bf16].map(|rows| run_of_rows(rows).settings());
    let found = manifest::first_difference("", &exact, &rounded);
    assert_eq!(found, Some(["rule.rows", "null", "\"bf16\""].map(String::from).into()));
}

//! The figures as text and as JSON.

use super::inject::{Count, Sorts};
use super::tally::{CONFIDENCE, Tally};
use super::watch::FLIPS;
use super::{Evaluation, Plan};
use anomalyd_models::evaluate::{FaultKind, clopper_pearson};
use serde_json::{Value, json};

/// The tables, line by line.
pub(super) fn text(evaluation: &Evaluation) -> Vec<String> {
    let mut lines = vec![format!(
        "{:19} {:17} {:>7} {:>7} {:>24} {:>8} {:>7} {:>7} {:>12}",
        "run", "judge", "normal", "false", "per 1,000 (95 %)", "first", "onset", "delay", "faulty"
    )];
    lines.push(format!(
        "{:19} {:17} {:>7} {:>7} {:>24} {:>8} {:>7} {:>7} {:>12}",
        "", "", "judged", "alarms", "", "verdict", "", "", "alarmed"
    ));
    let mut rows = |name: &str, tallies: &[Tally]| {
        for (judge, tally) in evaluation.judges.iter().zip(tallies) {
            let bounds = tally.bounds_per_1000();
            let name = if *judge == evaluation.judges[0] { name } else { "" };
            let n_faulty = tally.faulty[0] + tally.faulty[1];
            lines.push(format!(
                "{name:19} {judge:17} {:>7} {:>7} {:>24} {:>8} {:>7} {:>7} {:>12}",
                tally.n_verdicts(),
                tally.normal[1],
                format!("{:.2} ({:.2} to {:.2})", tally.per_1000(), bounds.low, bounds.high),
                tally.first_verdict.map_or_else(|| "-".to_owned(), |at| at.to_string()),
                tally.onset.map_or_else(|| "-".to_owned(), |step| step.to_string()),
                match (tally.onset, tally.delay) {
                    (None, _) => "-".to_owned(),
                    (Some(_), None) => "missed".to_owned(),
                    (Some(_), Some(delay)) => delay.to_string(),
                },
                if n_faulty == 0 { "-".to_owned() } else { format!("{} of {n_faulty}", tally.faulty[1]) }
            ));
        }
    };
    for run in &evaluation.runs {
        let before = if run.n_before > 0 { format!(" (+{})", run.n_before) } else { String::new() };
        rows(&format!("{}{before}", run.name), &run.tallies);
    }
    if evaluation.runs.len() > 1 {
        rows("all", &evaluation.total);
    }
    lines.push(String::new());
    lines.push(
        "delay: images from the first faulty one to the first alarm, 0 if that one alarms. Once an onset was missed or seen, later \
         faulty images are much like each other: the share of them alarmed says little."
            .into(),
    );
    if let Some(flipped) = &evaluation.flipped {
        lines.push(String::new());
        lines.push("normal images flipped for one step, judged normal by the method:".into());
        for (name, count) in FLIPS.iter().zip(flipped) {
            lines.push(format!("  {name:14} {} of {}", count.n_normal, count.n));
        }
    }
    if let Some(plan) = &evaluation.plan {
        injections(&mut lines, plan, evaluation);
    }
    lines
}

/// A count of those found as `found/n percent (bounds)`.
fn rate(n_found: usize, n: usize) -> String {
    if n == 0 {
        return "-".to_owned();
    }
    let bounds = clopper_pearson(n_found, n, CONFIDENCE);
    let percent = |share: f64| 100.0 * share;
    format!(
        "{n_found}/{n} {:.0} % ({:.0}-{:.0})",
        percent(n_found as f64 / n as f64),
        percent(bounds.low),
        percent(bounds.high)
    )
}

fn injections(lines: &mut Vec<String>, plan: &Plan, evaluation: &Evaluation) {
    let all = plan.sum(|_| true);
    let Sorts { contrasts, sizes, are_zones } = &plan.sorts;
    lines.push(String::new());
    lines.push(format!(
        "{} faults put into normal images (seed {}), found at once by {}, with 95 % intervals; {} found no place",
        all.n, evaluation.seed, evaluation.judges[0], plan.n_nowhere
    ));
    let header = |first: &str, columns: &[String]| {
        columns.iter().fold(format!("  {first:12}"), |line, column| format!("{line} {column:>24}"))
    };
    let cell = |count: Count| format!(" {:>24}", rate(count.n_found[0], count.n));
    let unit = if *are_zones { "zones" } else { "pixels" };
    let mut columns: Vec<String> = sizes
        .iter()
        .map(|&size| match evaluation.zones(size) {
            Some(zones) => format!("{size} {unit}, {zones:.0} zones"),
            None => format!("{size} {unit}"),
        })
        .collect();
    columns.push("all".into());
    // `at` is the contrast, or the kind, whose place in a sort is `place`.
    let mut table = |first: &str, place: usize, names: Vec<String>| {
        lines.push(header(first, &columns));
        for (at, name) in names.into_iter().enumerate() {
            let mut line = format!("  {name:12}");
            for size in 0..sizes.len() {
                line += &cell(plan.sum(|sort| sort[place] == at && sort[2] == size));
            }
            lines.push(line + &cell(plan.sum(|sort| sort[place] == at)));
        }
    };
    let of_contrasts = || contrasts.iter().map(|contrast| format!("x {contrast}")).collect::<Vec<_>>();
    table("contrast", 1, of_contrasts());
    table("kind", 0, FaultKind::ALL.iter().map(|kind| kind.name().to_owned()).collect());
    lines.push(format!("  the region reported meets the fault in {}", rate(all.n_placed, all.n_found[0])));
    lines.push(header("contrast", &evaluation.judges));
    for (at, contrast) in of_contrasts().into_iter().enumerate() {
        let count = plan.sum(|[_, contrast, _]| contrast == at);
        let cells: String =
            count.n_found.iter().map(|n_found| format!(" {:>24}", rate(*n_found, count.n))).collect();
        lines.push(format!("  {contrast:12}{cells}"));
    }
}

/// One object with everything.
pub(super) fn json(evaluation: &Evaluation) -> Value {
    let judges = |tallies: &[Tally]| -> Vec<Value> {
        evaluation.judges.iter().zip(tallies).map(|(judge, tally)| of_judge(judge, tally)).collect()
    };
    let runs: Vec<Value> = evaluation
        .runs
        .iter()
        .map(|run| json!({ "name": run.name, "images_before": run.n_before, "judges": judges(&run.tallies) }))
        .collect();
    let mut object = json!({ "runs": runs, "all": judges(&evaluation.total) });
    if let Some(flipped) = &evaluation.flipped {
        let flips: Vec<Value> = FLIPS
            .iter()
            .zip(flipped)
            .map(|(name, count)| json!({ "flip": name, "judged": count.n, "normal": count.n_normal }))
            .collect();
        object["flips"] = flips.into();
    }
    if let Some(plan) = &evaluation.plan {
        object["injections"] = injected(plan, evaluation);
    }
    object
}

fn injected(plan: &Plan, evaluation: &Evaluation) -> Value {
    let Sorts { contrasts, sizes, are_zones } = &plan.sorts;
    let unit = if *are_zones { "zones" } else { "pixels" };
    let of_judges = |value: &dyn Fn(usize) -> Value| -> serde_json::Map<String, Value> {
        evaluation.judges.iter().cloned().enumerate().map(|(at, judge)| (judge, value(at))).collect()
    };
    let found = |count: &Count| of_judges(&|judge| count.n_found[judge].into());
    let mut cells = Vec::new();
    let mut sums = Vec::new();
    for (contrast, factor) in contrasts.iter().enumerate() {
        for (size, n) in sizes.iter().enumerate() {
            for (kind, name) in FaultKind::ALL.iter().enumerate() {
                let count = plan.sum(|sort| sort == [kind, contrast, size]);
                cells.push(json!({
                    "kind": name.name(), "contrast": factor, unit: n,
                    "injected": count.n, "found": found(&count), "region_meets_fault": count.n_placed,
                }));
            }
            let count = plan.sum(|[_, c, s]| (c, s) == (contrast, size));
            let bounds = of_judges(&|judge| {
                let bounds = clopper_pearson(count.n_found[judge], count.n, CONFIDENCE);
                json!([bounds.low, bounds.high])
            });
            let mut sum = json!({
                "contrast": factor, unit: n, "injected": count.n, "found": found(&count), "bounds": bounds,
                "region_meets_fault": count.n_placed,
            });
            if let Some(zones) = evaluation.zones(*n) {
                sum["zones"] = zones.into();
            }
            sums.push(sum);
        }
    }
    json!({
        "seed": evaluation.seed, "without_place": plan.n_nowhere, "by_contrast_and_size": sums, "counts": cells,
    })
}

fn of_judge(judge: &str, tally: &Tally) -> Value {
    let row = |[normal, anomalous, unknown]: [usize; 3]| json!({ "normal": normal, "anomalous": anomalous, "unknown": unknown });
    let bounds = tally.bounds_per_1000();
    json!({
        "judge": judge,
        "normal_judged": tally.n_verdicts(),
        "false_alarms": tally.normal[1],
        "false_alarms_per_1000": tally.per_1000(),
        "false_alarms_per_1000_bounds": [bounds.low, bounds.high],
        "false_alarm_steps": tally.false_alarms,
        "first_verdict": tally.first_verdict,
        "onset": tally.onset,
        "delay": tally.delay,
        "confusion": { "normal": row(tally.normal), "anomalous": row(tally.faulty) },
    })
}

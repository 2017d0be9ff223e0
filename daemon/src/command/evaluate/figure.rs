//! How many faults are found, by contrast and size, as an SVG that needs no other file.

use super::Evaluation;
use super::inject::{Count, Plan};
use super::tally::CONFIDENCE;
use crate::command::replay::escaped;
use anomalyd_models::evaluate::clopper_pearson;
use std::fmt::Write;

const PANEL_WIDTH: f64 = 230.0;
const PANEL_HEIGHT: f64 = 190.0;
const LEFT: f64 = 64.0;
const TOP: f64 = 98.0;
const GAP: f64 = 22.0;
const BOTTOM: f64 = 96.0;

/// The method, then the baselines; a dash pattern each, so that no line is known by its colour alone.
const LINES: [(&str, &str); 4] =
    [("#1f5fbf", ""), ("#b35900", "7 4"), ("#7a3b9a", "2 3"), ("#4d7a1f", "8 3 2 3")];

const STYLE: &str = "text{font:13px system-ui,sans-serif;fill:#1d2126}.soft{fill:#59626d;font-size:12px}.title{font-size:16px;\
                     font-weight:600}.middle{text-anchor:middle}.end{text-anchor:end}.grid{stroke:#dfe3e8}.axis{stroke:#59626d}";

/// The figure: a panel a contrast, sizes along it, a line a judge, with 95 % intervals for the method.
pub(super) fn svg(evaluation: &Evaluation, plan: &Plan) -> String {
    let n_panels = plan.sorts.contrasts.len() as f64;
    let width = LEFT + n_panels * (PANEL_WIDTH + GAP);
    let height = TOP + PANEL_HEIGHT + BOTTOM;
    let n_faults = plan.sum(|_| true).n;
    let (method, total) = (&evaluation.judges[0], &evaluation.total[0]);
    let bounds = total.bounds_per_1000();
    let about = format!(
        "{n_faults} faults in normal images, each alone (seed {}). On the same images without a fault {method} raised {} false alarms in {} \
         ({:.1} to {:.1} in 1,000).",
        evaluation.seed,
        total.normal[1],
        total.n_verdicts(),
        bounds.low,
        bounds.high
    );
    let baselines: Vec<String> = evaluation.judges[1..]
        .iter()
        .zip(&evaluation.total[1..])
        .map(|(judge, total)| format!("{judge} {}", total.normal[1]))
        .collect();
    let beside = format!("False alarms of the baselines there: {}.", baselines.join(", "));
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" role=\"img\" \
         aria-labelledby=\"title desc\"><title id=\"title\">Faults found in their first image</title><desc id=\"desc\">{about} {beside}</desc>\
         <style>{STYLE}</style><rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\
         <text class=\"title\" x=\"16\" y=\"26\">Faults found in their first image, by contrast and size</text>\
         <text class=\"soft\" x=\"16\" y=\"46\">{about}</text>\
         <text class=\"soft\" x=\"16\" y=\"63\">{beside}</text>\n",
        about = escaped(&about),
        beside = escaped(&beside)
    );
    for contrast in 0..plan.sorts.contrasts.len() {
        panel(&mut out, evaluation, plan, contrast);
    }
    let mut x = LEFT;
    for (judge, (colour, dashes)) in evaluation.judges.iter().zip(LINES) {
        // Writing to a string does not fail.
        let _ = write!(
            out,
            "<path d=\"M{x} {y}h34\" stroke=\"{colour}\" stroke-width=\"2.2\" stroke-dasharray=\"{dashes}\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            x + 42.0,
            height - 14.0,
            escaped(judge),
            y = height - 18.5
        );
        x += 66.0 + 8.0 * judge.len() as f64;
    }
    out.push_str("\n</svg>\n");
    out
}

fn panel(out: &mut String, evaluation: &Evaluation, plan: &Plan, contrast: usize) {
    let sizes = &plan.sorts.sizes;
    let left = LEFT + contrast as f64 * (PANEL_WIDTH + GAP);
    let x = |size: usize| left + PANEL_WIDTH * (size as f64 + 0.5) / sizes.len() as f64;
    let y = |share: f64| TOP + PANEL_HEIGHT * (1.0 - share);
    let count = |size: usize| plan.sum(|[_, c, s]| (c, s) == (contrast, size));
    let _ = write!(
        out,
        "<text class=\"middle\" x=\"{:.1}\" y=\"{:.1}\">contrast x {}</text>",
        left + PANEL_WIDTH / 2.0,
        TOP - 10.0,
        plan.sorts.contrasts[contrast]
    );
    for percent in [0, 25, 50, 75, 100] {
        let at = y(f64::from(percent) / 100.0);
        let _ = write!(out, "<path class=\"grid\" d=\"M{left:.1} {at:.1}h{PANEL_WIDTH}\"/>");
        if contrast == 0 {
            let _ = write!(
                out,
                "<text class=\"soft end\" x=\"{:.1}\" y=\"{:.1}\">{percent} %</text>",
                left - 8.0,
                at + 4.0
            );
        }
    }
    for (at, size) in sizes.iter().enumerate() {
        let _ = write!(
            out,
            "<text class=\"soft middle\" x=\"{:.1}\" y=\"{:.1}\">{size}</text>",
            x(at),
            y(0.0) + 18.0
        );
        if let Some(zones) = evaluation.zones(*size) {
            let _ = write!(
                out,
                "<text class=\"soft middle\" x=\"{:.1}\" y=\"{:.1}\">{zones:.0} zones</text>",
                x(at),
                y(0.0) + 33.0
            );
        }
    }
    let _ = writeln!(
        out,
        "<path class=\"axis\" d=\"M{left:.1} {:.1}h{PANEL_WIDTH}\"/><text class=\"soft middle\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
        y(0.0),
        left + PANEL_WIDTH / 2.0,
        y(0.0) + 52.0,
        if plan.sorts.are_zones { "zones of the field" } else { "pixels of the image" }
    );
    for judge in (0..evaluation.judges.len()).rev() {
        let (colour, dashes) = LINES[judge % LINES.len()];
        let share = |count: Count| count.n_found[judge] as f64 / count.n as f64;
        let mut path = String::new();
        for (size, count) in (0..sizes.len()).map(|size| (size, count(size))).filter(|(_, count)| count.n > 0)
        {
            let verb = if path.is_empty() { 'M' } else { 'L' };
            let _ = write!(path, "{verb}{:.1} {:.1}", x(size), y(share(count)));
            if judge == 0 {
                let bounds = clopper_pearson(count.n_found[0], count.n, CONFIDENCE);
                let _ = write!(
                    out,
                    "<path d=\"M{:.1} {:.1}V{:.1}\" stroke=\"{colour}\" stroke-width=\"1.4\"/><circle cx=\"{0:.1}\" cy=\"{:.1}\" r=\"3.6\" \
                     fill=\"{colour}\"><title>{} of {}, {:.0} % ({:.0} to {:.0} %)</title></circle>",
                    x(size),
                    y(bounds.low),
                    y(bounds.high),
                    y(share(count)),
                    count.n_found[0],
                    count.n,
                    100.0 * share(count),
                    100.0 * bounds.low,
                    100.0 * bounds.high
                );
            }
        }
        let _ = writeln!(
            out,
            "<path d=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"{}\" stroke-dasharray=\"{dashes}\"/>",
            if judge == 0 { 2.4 } else { 1.6 }
        );
    }
}

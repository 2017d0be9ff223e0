//! The report: one HTML page that needs no other file, no network and no script.

use super::chart::{Chart, Point};
use super::picture::Picture;
use super::{Line, Replayed, Summary};
use std::fmt::Write;

/// Scores that are logarithms of probabilities are drawn up to here: beyond, only "impossible" is said.
const MAX_LOG_P: f64 = 16.0;

const STYLE: &str = include_str!("report.css");

/// The page as text.
pub(super) fn page(replayed: &Replayed, summary: &Summary) -> String {
    let lines = &replayed.lines;
    let headline = match (summary.n_anomalous, summary.n_normal) {
        (0, 0) => "No verdict".to_owned(),
        (0, n) => format!("No alarm in {n} verdicts"),
        (n, m) => format!("{n} {} in {} verdicts", if n == 1 { "alarm" } else { "alarms" }, n + m),
    };
    let class = if summary.n_anomalous > 0 { "bad" } else { "good" };
    let mut out = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>anomalyd replay: {headline}</title>\n\
         <style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n<header><p class=\"kind\">anomalyd replay</p>\
         <h1 class=\"{class}\">{headline}</h1></header>\n<section aria-label=\"Summary\"><dl>\n"
    );
    // Writing to a string does not fail.
    for (name, value) in summary.facts(replayed) {
        let _ = writeln!(out, "<div><dt>{}</dt><dd>{}</dd></div>", escaped(name), escaped(&value));
    }
    out.push_str("</dl></section>\n");
    charts(&mut out, lines);
    if summary.n_anomalous > 0 {
        pictures(&mut out, replayed, summary);
        table(&mut out, lines);
    }
    failures(&mut out, lines);
    out.push_str("</main>\n</body>\n</html>\n");
    out
}

/// Letters that mean something in HTML are written otherwise.
pub(in crate::command) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}

fn charts(out: &mut String, lines: &[Line]) {
    let point = |line: &Line, value: f64, threshold: Option<f64>| {
        let p = line.p_value.map_or_else(String::new, |p| format!(", p = {p:.2e}"));
        let words = || format!("step {}: {value:.3}{p}; {}", line.step, line.place());
        Point { step: line.step, value, threshold, alarm: line.is_alarm().then(words) }
    };
    let scores: Vec<Point> =
        lines.iter().filter_map(|line| Some(point(line, line.score?, line.threshold))).collect();
    // p = 1 gives -0.
    let log_p = |p: f64| 0.0 - p.max(f64::MIN_POSITIVE).log10();
    let log_ps: Vec<Point> = lines
        .iter()
        .filter_map(|line| Some(point(line, log_p(line.p_value?), line.false_alarm_rate.map(log_p))))
        .collect();
    let is_log_p = log_ps.len() == scores.len()
        && scores.iter().zip(&log_ps).all(|(score, log_p)| (score.value - log_p.value).abs() < 1e-6);
    let mut figure = |chart: Chart<'_>, legend: &str| {
        let svg = chart.svg();
        if !svg.is_empty() {
            let _ = writeln!(
                out,
                "<figure><figcaption><h2>{}</h2><span class=\"legend\"><i class=\"k value\"></i>{legend} \
                 <i class=\"k threshold\"></i>threshold <i class=\"k alarm\"></i>alarm</span></figcaption>\n{svg}\n</figure>",
                escaped(chart.title)
            );
        }
    };
    let cap = if is_log_p { MAX_LOG_P } else { f64::INFINITY };
    let (title, unit) = if is_log_p {
        ("Score and p-value of each image", "score, -log10 p")
    } else {
        ("Score of each image", "score")
    };
    figure(Chart { id: "score", title, unit, is_log_p, cap, points: &scores }, "score");
    if !is_log_p {
        let title = "p-value of each image";
        figure(
            Chart { id: "pvalue", title, unit: "-log10 p", is_log_p: true, cap: MAX_LOG_P, points: &log_ps },
            "-log10 p",
        );
    }
    if scores.is_empty() {
        out.push_str("<p>No image has a score: the run has too few.</p>\n");
    }
}

fn pictures(out: &mut String, replayed: &Replayed, summary: &Summary) {
    out.push_str(
        "<section><h2>Alarmed images</h2>\n<p>Left the image as judged, with the region that the score comes from; right its heat map: \
         orange is a place as surprising as the image has to be for an alarm, white twice as surprising or more.</p>\n",
    );
    if replayed.pictures.len() < summary.n_anomalous {
        let _ = writeln!(
            out,
            "<p>{} of {} are shown: first the first one of each event.</p>",
            replayed.pictures.len(),
            summary.n_anomalous
        );
    }
    out.push_str("<div class=\"gallery\">\n");
    for picture in &replayed.pictures {
        let Some(line) = replayed.lines.iter().find(|line| line.step == picture.step && line.is_alarm())
        else {
            continue;
        };
        let Picture { size: [rows, columns], png, heat_map, region, .. } = picture;
        let p = line.p_value.map_or_else(String::new, |p| format!(", p = {p:.1e}"));
        let _ = write!(
            out,
            "<figure><div class=\"pair\"><svg viewBox=\"0 0 {columns} {rows}\" role=\"img\" aria-label=\"Image of step {}; {}\">\
             <image width=\"{columns}\" height=\"{rows}\" href=\"data:image/png;base64,{}\"/>",
            line.step,
            line.place(),
            base64(png)
        );
        if let Some([left, top, width, height]) = region {
            for class in ["halo", "region"] {
                let _ = write!(
                    out,
                    "<rect class=\"{class}\" x=\"{left:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"{height:.1}\"/>"
                );
            }
        }
        out.push_str("</svg>");
        if let Some(heat_map) = heat_map {
            let _ = write!(
                out,
                "<svg viewBox=\"0 0 {columns} {rows}\" role=\"img\" aria-label=\"Heat map of step {}\">\
                 <image width=\"{columns}\" height=\"{rows}\" href=\"data:image/png;base64,{}\"/></svg>",
                line.step,
                base64(heat_map)
            );
        }
        let _ =
            writeln!(out, "</div><figcaption>step {}{p}; {}</figcaption></figure>", line.step, line.place());
    }
    out.push_str("</div></section>\n");
}

fn table(out: &mut String, lines: &[Line]) {
    out.push_str(
        "<section><h2>Alarms</h2>\n<div class=\"scroll\"><table><thead><tr><th scope=\"col\">step</th><th scope=\"col\">event</th>\
         <th scope=\"col\">score</th><th scope=\"col\">threshold</th><th scope=\"col\">p-value</th><th scope=\"col\">where</th>\
         <th scope=\"col\">file</th></tr></thead>\n<tbody>\n",
    );
    let number = |value: Option<f64>| value.map_or_else(String::new, |value| format!("{value:.3}"));
    for line in lines.iter().filter(|line| line.is_alarm()) {
        let _ = writeln!(
            out,
            "<tr><th scope=\"row\">{}</th><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td class=\"text\">{}</td>\
             <td class=\"text\">{}</td></tr>",
            line.step,
            line.event.map_or_else(String::new, |event| event.to_string()),
            number(line.score),
            number(line.threshold),
            line.p_value.map_or_else(String::new, |p| format!("{p:.2e}")),
            line.place(),
            escaped(&line.name())
        );
    }
    out.push_str("</tbody></table></div></section>\n");
}

fn failures(out: &mut String, lines: &[Line]) {
    let mut failed = lines.iter().filter_map(|line| Some((line, line.error.as_ref()?))).peekable();
    if failed.peek().is_none() {
        return;
    }
    out.push_str("<section><h2>Images that could not be judged</h2>\n<ul>\n");
    for (line, error) in failed {
        let _ = writeln!(out, "<li>step {}, {}: {}</li>", line.step, escaped(&line.name()), escaped(error));
    }
    out.push_str("</ul></section>\n");
}

/// RFC 4648, section 4.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let at = |place: usize| u32::from(three.get(place).copied().unwrap_or(0));
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        for letter in 0..4 {
            let index = (bits >> (18 - 6 * letter)) & 63;
            out.push(if letter <= three.len() { char::from(LETTERS[index as usize]) } else { '=' });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_the_rfc() {
        for (bytes, text) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")]
        {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
        assert_eq!(base64(&[0xff, 0xfe, 0xfd]), "//79");
    }

    #[test]
    fn names_cannot_become_markup() {
        assert_eq!(escaped("<a href=\"x\">&'"), "&lt;a href=&quot;x&quot;&gt;&amp;&#39;");
    }
}

//! A line over steps as an SVG: a value, its threshold, and the images above it.

use super::html::escaped;
use std::fmt::Write;

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 280.0;
const LEFT: f64 = 60.0;
const RIGHT: f64 = 64.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 44.0;

/// One image.
pub(super) struct Point {
    pub(super) step: i64,
    pub(super) value: f64,
    pub(super) threshold: Option<f64>,
    /// What is said of it where it raised an alarm.
    pub(super) alarm: Option<String>,
}

/// What a chart shows.
pub(super) struct Chart<'a> {
    /// For the document: letters only.
    pub(super) id: &'a str,
    pub(super) title: &'a str,
    /// Of the axis on the left.
    pub(super) unit: &'a str,
    /// The value is minus the decimal logarithm of a probability: the axis on the right says which.
    pub(super) is_log_p: bool,
    /// Values above are drawn at this one.
    pub(super) cap: f64,
    pub(super) points: &'a [Point],
}

impl Chart<'_> {
    /// The SVG element; nothing where there are no points.
    pub(super) fn svg(&self) -> String {
        let (Some(first), Some(last)) = (self.points.first(), self.points.last()) else {
            return String::new();
        };
        let (from, to) = (first.step as f64, (last.step as f64).max(first.step as f64 + 1.0));
        let values = || self.points.iter().flat_map(|point| [Some(point.value), point.threshold]).flatten();
        let top = values().fold(f64::MIN, f64::max).min(self.cap);
        let bottom = values().fold(f64::MAX, f64::min).min(top);
        let bottom = if (0.0..0.3 * top).contains(&bottom) { 0.0 } else { bottom };
        let ticks = ticks(bottom, top, 6);
        let top = ticks.last().copied().unwrap_or(top).max(top);
        let bottom = ticks.first().copied().unwrap_or(bottom).min(bottom);
        let x = |step: f64| LEFT + (WIDTH - LEFT - RIGHT) * (step - from) / (to - from);
        let range = if top > bottom { top - bottom } else { 1.0 };
        let y = |value: f64| TOP + (HEIGHT - TOP - BOTTOM) * (top - value.min(self.cap)) / range;
        let n_alarms = self.points.iter().filter(|point| point.alarm.is_some()).count();
        let mut out = format!(
            "<svg class=\"chart\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-labelledby=\"{id}-title {id}-desc\">\
             <title id=\"{id}-title\">{}</title><desc id=\"{id}-desc\">{} images, steps {} to {}, {n_alarms} above the \
             threshold.</desc>\n",
            escaped(self.title),
            self.points.len(),
            first.step,
            last.step,
            id = self.id,
        );
        let (right, base) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        // Writing to a string does not fail.
        for &tick in &ticks {
            let at = y(tick);
            let _ = write!(
                out,
                "<path class=\"grid\" d=\"M{LEFT} {at:.1}H{right}\"/><text class=\"tick end\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
                LEFT - 8.0,
                at + 4.0,
                plain(tick)
            );
            if self.is_log_p {
                let _ = write!(
                    out,
                    "<text class=\"tick\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
                    right + 8.0,
                    at + 4.0,
                    power_of_ten(tick)
                );
            }
        }
        for tick in ticks_of_steps(from, to) {
            let _ = write!(
                out,
                "<text class=\"tick middle\" x=\"{:.1}\" y=\"{:.1}\">{tick}</text>",
                x(tick as f64),
                base + 18.0
            );
        }
        let _ = write!(
            out,
            "<path class=\"axis\" d=\"M{LEFT} {base}H{right}\"/><text class=\"label middle\" x=\"{:.1}\" y=\"{:.1}\">step</text>\
             <text class=\"label middle\" transform=\"translate(16 {:.1}) rotate(-90)\">{}</text>",
            (LEFT + right) / 2.0,
            HEIGHT - 8.0,
            (TOP + base) / 2.0,
            escaped(self.unit)
        );
        if self.is_log_p {
            let _ = write!(
                out,
                "<text class=\"label middle\" transform=\"translate({:.1} {:.1}) rotate(90)\">p-value</text>",
                WIDTH - 10.0,
                (TOP + base) / 2.0
            );
        }
        let path = |value: &dyn Fn(&Point) -> Option<f64>| {
            let mut path = String::new();
            for point in self.points {
                if let Some(value) = value(point) {
                    let verb = if path.is_empty() { 'M' } else { 'L' };
                    let _ = write!(path, "{verb}{:.1} {:.1}", x(point.step as f64), y(value));
                }
            }
            path
        };
        let _ = writeln!(
            out,
            "\n<path class=\"value\" d=\"{}\"/>\n<path class=\"threshold\" d=\"{}\"/>",
            path(&|point| Some(point.value)),
            path(&|point| point.threshold)
        );
        for point in self.points {
            if let Some(words) = &point.alarm {
                let (x, y) = (x(point.step as f64), y(point.value));
                let _ = write!(
                    out,
                    "<path class=\"alarm\" d=\"M{x:.1} {:.1}l5.5 9.5h-11z\"><title>{}</title></path>",
                    y - 6.0,
                    escaped(words)
                );
            }
        }
        out.push_str("</svg>");
        out
    }
}

/// About `n` round numbers that cover a range.
fn ticks(from: f64, to: f64, n: usize) -> Vec<f64> {
    let range = to - from;
    if !range.is_finite() || range <= 0.0 {
        return vec![from];
    }
    let rough = range / n as f64;
    let power = 10f64.powf(rough.log10().floor());
    let unit =
        [1.0, 2.0, 5.0, 10.0].into_iter().map(|m| m * power).find(|unit| *unit >= rough).unwrap_or(power);
    let (first, last) = ((from / unit).floor() as i64, (to / unit).ceil() as i64);
    (first..=last).map(|at| at as f64 * unit).collect()
}

fn ticks_of_steps(from: f64, to: f64) -> Vec<i64> {
    let mut steps: Vec<i64> = ticks(from, to, 8)
        .into_iter()
        .filter(|tick| (from..=to).contains(tick))
        .map(|tick| tick as i64)
        .collect();
    steps.dedup();
    steps
}

/// Without digits that say nothing.
fn plain(value: f64) -> String {
    let text = format!("{value:.4}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".into() } else { text.to_owned() }
}

/// Ten to the power of minus `exponent`, where that is a whole number.
fn power_of_ten(exponent: f64) -> String {
    const DIGITS: [char; 10] = ['⁰', '¹', '²', '³', '⁴', '⁵', '⁶', '⁷', '⁸', '⁹'];
    if exponent == 0.0 {
        return "1".into();
    }
    if exponent.fract() != 0.0 || exponent < 0.0 {
        return String::new();
    }
    let digits: String =
        format!("{exponent:.0}").bytes().map(|digit| DIGITS[usize::from(digit - b'0')]).collect();
    format!("10⁻{digits}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn svg(points: &[Point]) -> String {
        Chart { id: "c", title: "A & B", unit: "score", is_log_p: true, cap: 16.0, points }.svg()
    }

    fn point(step: i64, value: f64) -> Point {
        Point { step, value, threshold: Some(3.0), alarm: (value > 3.0).then(|| format!("step {step}")) }
    }

    #[test]
    fn alarms_are_marked_and_named() {
        let chart = svg(&[point(1, 0.2), point(2, 1.0), point(3, 300.0)]);
        assert_eq!(chart.matches("class=\"alarm\"").count(), 1);
        assert!(chart.contains("<title>step 3</title>") && chart.contains("A &amp; B"), "{chart}");
        assert!(!chart.contains("NaN") && !chart.contains("inf"), "{chart}");
    }

    #[test]
    fn one_point_equal_values_and_none_are_drawn_without_a_fault() {
        assert_eq!(svg(&[]), "");
        for points in [vec![point(5, 3.0)], vec![point(1, 0.0), point(2, 0.0)]] {
            let chart = svg(&points);
            assert!(chart.ends_with("</svg>") && !chart.contains("NaN"), "{chart}");
        }
    }

    #[test]
    fn ticks_are_round_and_cover_the_range() {
        assert_eq!(ticks(0.0, 6.3, 6), [0.0, 2.0, 4.0, 6.0, 8.0]);
        assert_eq!(ticks(2.0, 2.0, 6), [2.0]);
        assert_eq!(power_of_ten(12.0), "10⁻¹²");
    }
}

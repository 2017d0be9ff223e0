//! The kinds of evidence, and how their p-values become one.

use super::heat_map::Places;
use super::history::History;
use super::surprise::Surprise;
use crate::verdict::{Evidence, Verdict};

/// What an image is judged by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Colours that were nowhere near in the images just before.
    Colour,
    /// Patches that were nowhere near.
    Block,
    /// Colours that were nowhere near 1, 2, 4 and 8 images before, added up: what grows too slowly to be seen from one image to
    /// the next.
    Lags,
    /// Features that were nowhere near in the image before.
    Features,
    /// An isolation forest on the features of whole images.
    Forest,
    /// An isolation forest on the features of places.
    PatchForest,
    /// Colours that were nowhere near in an image several output intervals before, for an image that comes late.
    Late,
    /// Patches that were nowhere near in such an image.
    LateBlock,
}

impl Kind {
    /// What the protocol and reports call it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Colour => "colour",
            Self::Block => "block",
            Self::Lags => "lags",
            Self::Features => "features",
            Self::Forest => "forest",
            Self::PatchForest => "patch_forest",
            Self::Late => "late",
            Self::LateBlock => "late_block",
        }
    }

    /// Its part of the false-alarm rate, before those of kinds that are missing are shared out: the more it has shown, the more.
    fn weight(self) -> f64 {
        match self {
            Self::Colour => 0.5,
            Self::Block => 0.2,
            Self::Lags => 0.125,
            Self::Features => 0.125,
            Self::Forest | Self::PatchForest => 0.025,
            Self::Late | Self::LateBlock => 0.5,
        }
    }
}

/// The places of a map in the compared image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Grid {
    /// Number of columns of places.
    pub(super) columns: usize,
    /// Distance of neighbouring places in pixels, down and across.
    pub(super) stride: [usize; 2],
    /// Whether a place is twice as large as that distance, so that places overlap by half.
    pub(super) overlaps: bool,
    /// How many places apart, in each direction, two may lie that count as connected: a thin fault is not in every small cell.
    pub(super) gap: usize,
    /// Rows and columns of the compared image.
    pub(super) image: [usize; 2],
}

impl Grid {
    /// The pixels that a region of places covers.
    fn in_pixels(&self, [row0, column0, row1, column1]: [usize; 4]) -> [usize; 4] {
        let size = usize::from(self.overlaps) + 1;
        let last = |place: usize, axis: usize| ((place + size) * self.stride[axis]).min(self.image[axis]) - 1;
        [row0 * self.stride[0], column0 * self.stride[1], last(row1, 0), last(column1, 1)]
    }
}

/// What one kind of evidence says of an image.
#[derive(Debug)]
pub(super) struct Finding<'a> {
    pub(super) kind: Kind,
    /// What the surprise is judged by.
    pub(super) history: &'a History,
    /// The number that is judged: a log surprise, or a forest's score.
    pub(super) number: f64,
    /// Where it comes from, if the kind knows.
    pub(super) seen: Option<(Surprise, Grid)>,
}

impl<'a> Finding<'a> {
    /// The finding of a kind that knows where its surprise comes from.
    pub(super) fn new(kind: Kind, history: &'a History, surprise: Surprise, grid: Grid) -> Self {
        Self { kind, history, number: surprise.log, seen: Some((surprise, grid)) }
    }

    /// In pixels of the compared image: where the surprise is.
    pub(super) fn region(&self) -> Option<[usize; 4]> {
        let (surprise, grid) = self.seen.as_ref()?;
        surprise.region(grid.columns, grid.gap).map(|region| grid.in_pixels(region))
    }
}

/// What all kinds together say.
#[derive(Debug)]
pub(super) struct Sum {
    pub(super) verdict: Verdict,
    pub(super) p_value: f64,
    pub(super) evidence: Vec<Evidence>,
    /// In pixels of the compared image: where the decisive kind sees most.
    pub(super) region: Option<[usize; 4]>,
    /// Of the decisive kind.
    pub(super) places: Option<Places>,
}

/// Joins the p-values of all findings whose histories are long enough; `None` if there is none.
///
/// Each kind has a share of the false-alarm rate, and the image's p-value is the least of p divided by its share (the weighted form of
/// Bonferroni's inequality; Genovese, Roeder and Wasserman 2006): whatever the kinds have to do with each other, the rate of false alarms
/// is at most the one asked for, as far as each kind's own p-values are right.
///
/// - `rate`: the p-value below which an image is anomalous.
/// - `side`: pixels of the preprocessed image that are one pixel of the compared one, in each direction.
pub(super) fn sum(findings: &[Finding<'_>], rate: f64, side: usize) -> Option<Sum> {
    let p_values: Vec<Option<f64>> =
        findings.iter().map(|finding| finding.history.p_value(finding.number)).collect();
    let weights: f64 =
        findings.iter().zip(&p_values).filter(|(_, p)| p.is_some()).map(|(f, _)| f.kind.weight()).sum();
    let judged: Vec<(&Finding<'_>, Evidence)> = findings
        .iter()
        .zip(p_values)
        .filter_map(|(finding, p_value)| {
            let kind = finding.kind;
            let share = kind.weight() / weights;
            Some((finding, Evidence { kind: kind.name(), p_value: p_value?, share }))
        })
        .collect();
    let least = |(_, a): &(_, Evidence), (_, b): &(_, Evidence)| a.weighted().total_cmp(&b.weighted());
    let p_value = judged.iter().copied().min_by(least)?.1.weighted().min(1.0);
    // Subtracted from zero, so that p = 1 gives 0 and not -0.
    let verdict = Verdict::by_threshold(0.0 - p_value.log10(), 0.0 - rate.log10());
    let (mut region, mut places) = (None, None);
    let shown = judged.iter().copied().filter(|(finding, _)| finding.seen.is_some()).min_by(least);
    if let Some((finding, (surprise, grid), share)) =
        shown.and_then(|(finding, evidence)| Some((finding, finding.seen.as_ref()?, evidence.share)))
    {
        region = finding.region();
        let alarm = finding.history.number_at(rate * share)?.exp();
        places = Some(Places::of(&surprise.relative, grid, alarm, side));
    }
    let evidence = judged.into_iter().map(|(_, evidence)| evidence).collect();
    Some(Sum { verdict, p_value, evidence, region, places })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;
    use crate::verdict::Label;

    fn history(n: usize) -> History {
        let mut rng = Rng::new(8);
        let mut history = History::default();
        (0..n).for_each(|_| history.accept(0.1 * rng.normal()));
        history
    }

    fn finding(kind: Kind, history: &History, number: f64) -> Finding<'_> {
        Finding { kind, history, number, seen: None }
    }

    #[test]
    fn shares_add_up_to_one_whichever_kinds_are_there() {
        let (long, short) = (history(100), history(5));
        let findings = [
            finding(Kind::Colour, &long, 0.0),
            finding(Kind::Block, &long, 0.1),
            finding(Kind::Lags, &short, 9.0),
            finding(Kind::Forest, &long, 0.0),
        ];
        let sum = sum(&findings, 1e-3, 2).unwrap();
        assert_eq!(sum.evidence.iter().map(|e| e.kind).collect::<Vec<_>>(), ["colour", "block", "forest"]);
        assert!((sum.evidence.iter().map(|e| e.share).sum::<f64>() - 1.0).abs() < 1e-12);
        assert_eq!(sum.verdict.label, Label::Normal, "the short history does not count");
    }

    #[test]
    fn one_kind_suffices_and_is_held_to_its_share() {
        let history = history(200);
        let alone = history.p_value(2.0).unwrap();
        let findings = [finding(Kind::Colour, &history, 0.0), finding(Kind::Block, &history, 2.0)];
        let sum = sum(&findings, 1e-3, 2).unwrap();
        let share = 0.2 / 0.7;
        assert!((sum.p_value / (alone / share) - 1.0).abs() < 1e-9);
        assert_eq!(sum.verdict.label, Label::Anomalous);
    }

    #[test]
    fn nothing_is_said_without_a_history() {
        let short = history(3);
        assert!(sum(&[finding(Kind::Colour, &short, 0.0)], 1e-3, 2).is_none());
        assert!(sum(&[], 1e-3, 2).is_none());
    }

    #[test]
    fn a_region_is_in_pixels_and_ends_with_the_image() {
        let cells = Grid { columns: 40, stride: [6, 12], overlaps: false, gap: 1, image: [240, 478] };
        assert_eq!(cells.in_pixels([0, 1, 2, 39]), [0, 12, 17, 477]);
        let patches = Grid { columns: 118, stride: [4, 4], overlaps: true, gap: 1, image: [240, 478] };
        assert_eq!(patches.in_pixels([3, 5, 3, 6]), [12, 20, 19, 31]);
    }

    #[test]
    fn independent_kinds_alarm_together_no_more_often_than_asked() {
        let mut rng = Rng::new(21);
        let mut histories = [history(300), history(300), history(300)];
        let kinds = [Kind::Colour, Kind::Block, Kind::Features];
        let (mut n_alarms, n) = (0, 10_000);
        for _ in 0..n {
            let numbers = [0; 3].map(|_| 0.1 * rng.normal());
            let findings: Vec<_> =
                kinds.iter().zip(&histories).zip(numbers).map(|((&k, h), x)| finding(k, h, x)).collect();
            n_alarms += usize::from(sum(&findings, 1e-2, 1).unwrap().verdict.label == Label::Anomalous);
            histories.iter_mut().zip(numbers).for_each(|(history, x)| history.accept(x));
        }
        assert!((10..=100).contains(&n_alarms), "{n_alarms} of {n} at 1e-2");
    }
}

//! What one judge did in a run, in numbers.

use super::watch::Judged;
use anomalyd_models::evaluate::{Interval, clopper_pearson};

/// Confidence of the intervals.
pub(super) const CONFIDENCE: f64 = 0.95;

/// What one judge said of the images of a run, or of several.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Tally {
    /// Normal images called normal, anomalous, unknown.
    pub(super) normal: [usize; 3],
    /// Faulty images called normal, anomalous, unknown.
    pub(super) faulty: [usize; 3],
    /// Steps of the false alarms.
    pub(super) false_alarms: Vec<i64>,
    /// Position of the first verdict, counted from 1, with the images before the run.
    pub(super) first_verdict: Option<usize>,
    /// Step of the first faulty image.
    pub(super) onset: Option<i64>,
    /// Images from the first faulty one to the first alarm from it on: 0 if that one alarms.
    pub(super) delay: Option<usize>,
}

impl Tally {
    pub(super) fn of(judged: &[Judged], judge: usize, n_before: usize) -> Self {
        let mut tally = Self::default();
        for image in judged {
            let column = match image.says[judge] {
                Some(false) => 0,
                Some(true) => 1,
                None => 2,
            };
            let row = if image.is_anomalous { &mut tally.faulty } else { &mut tally.normal };
            row[column] += 1;
            if column == 1 && !image.is_anomalous {
                tally.false_alarms.push(image.step);
            }
        }
        tally.first_verdict =
            judged.iter().position(|image| image.says[judge].is_some()).map(|at| at + 1 + n_before);
        if let Some(onset) = judged.iter().position(|image| image.is_anomalous) {
            tally.onset = Some(judged[onset].step);
            tally.delay = judged[onset..]
                .iter()
                .position(|image| image.is_anomalous && image.says[judge] == Some(true));
        }
        tally
    }

    /// The counts of several runs together; what belongs to one run alone is left out.
    pub(super) fn sum<'a>(tallies: impl Iterator<Item = &'a Self>) -> Self {
        let mut sum = Self::default();
        for tally in tallies {
            sum.normal.iter_mut().zip(tally.normal).for_each(|(sum, n)| *sum += n);
            sum.faulty.iter_mut().zip(tally.faulty).for_each(|(sum, n)| *sum += n);
        }
        sum
    }

    /// Normal images with a verdict.
    pub(super) fn n_verdicts(&self) -> usize {
        self.normal[0] + self.normal[1]
    }

    /// False alarms per 1,000 normal images with a verdict; 0 without any.
    pub(super) fn per_1000(&self) -> f64 {
        1000.0 * self.normal[1] as f64 / self.n_verdicts().max(1) as f64
    }

    /// Between what bounds the rate lies, per 1,000.
    pub(super) fn bounds_per_1000(&self) -> Interval {
        let Interval { low, high } = clopper_pearson(self.normal[1], self.n_verdicts(), CONFIDENCE);
        Interval { low: 1000.0 * low, high: 1000.0 * high }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(says: &[(bool, Option<bool>)]) -> Vec<Judged> {
        says.iter()
            .zip(10..)
            .map(|(&(is_anomalous, says), step)| Judged {
                step,
                is_anomalous,
                says: [says, None, None, None],
            })
            .collect()
    }

    #[test]
    fn alarms_are_counted_by_what_the_image_is() {
        let (f, t) = (Some(false), Some(true));
        let run = judged(&[(false, None), (false, f), (false, t), (true, f), (true, t), (true, t)]);
        let tally = Tally::of(&run, 0, 5);
        assert_eq!((tally.normal, tally.faulty), ([1, 1, 1], [1, 2, 0]));
        assert_eq!((tally.false_alarms.as_slice(), tally.first_verdict), ([12].as_slice(), Some(7)));
        assert_eq!((tally.onset, tally.delay), (Some(13), Some(1)));
        assert_eq!(tally.per_1000(), 500.0);
        let unheard = Tally::of(&run, 1, 0);
        assert_eq!((unheard.first_verdict, unheard.delay, unheard.n_verdicts()), (None, None, 0));
        assert_eq!(Tally::sum([&tally, &tally].into_iter()).normal, [2, 2, 2]);
    }
}

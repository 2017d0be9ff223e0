//! Faults painted into the normal images of the runs: which, where, and whether they were found.

use super::watch::{N_JUDGES, Says};
use anomalyd_models::evaluate::{ColourOrder, Fault, FaultKind, Injected};
use anomalyd_models::image::{Crop, Decoded};
use anomalyd_models::rng::Rng;
use std::collections::VecDeque;

/// Factors by which values are raised.
pub(super) const CONTRASTS: [f64; 4] = [1.25, 1.5, 2.0, 4.0];

/// Sizes, in pixels of the file.
pub(super) const SIZES: [usize; 3] = [300, 1200, 4800];

/// Images at the start of a run in which nothing is injected: there is no verdict yet.
pub(super) const N_SPARED: usize = 20;

/// A fault to come.
#[derive(Debug, Clone, Copy)]
pub(super) struct Injection {
    /// Position of the image among those that may have one.
    at: usize,
    kind: FaultKind,
    contrast: usize,
    size: usize,
    seed: u64,
}

/// What became of faults of one sort.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Count {
    pub(super) n: usize,
    /// By each judge.
    pub(super) n_found: [usize; N_JUDGES],
    /// Found, and the region reported meets the fault.
    pub(super) n_placed: usize,
}

impl Count {
    pub(super) fn add(&mut self, other: &Self) {
        self.n += other.n;
        self.n_placed += other.n_placed;
        self.n_found.iter_mut().zip(other.n_found).for_each(|(sum, n)| *sum += n);
    }
}

/// All faults to be painted, and the count of those that were found.
pub(super) struct Plan {
    waiting: VecDeque<Injection>,
    /// The position of the next image that may have a fault.
    position: usize,
    /// By kind, contrast and size.
    counts: [[[Count; SIZES.len()]; CONTRASTS.len()]; FaultKind::ALL.len()],
    /// Faults for which no place was found in their image.
    pub(super) n_nowhere: usize,
}

impl Plan {
    /// Draws `n` faults over `n_images` images, every kind, contrast and size equally often.
    pub(super) fn new(n: usize, n_images: usize, seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let (n_kinds, n_contrasts) = (FaultKind::ALL.len(), CONTRASTS.len());
        let mut waiting: Vec<Injection> = (0..n)
            .map(|i| Injection {
                at: rng.below(n_images.max(1)),
                kind: FaultKind::ALL[i % n_kinds],
                contrast: i / n_kinds % n_contrasts,
                size: i / (n_kinds * n_contrasts) % SIZES.len(),
                seed: rng.next_u64(),
            })
            .collect();
        waiting.sort_by_key(|injection| injection.at);
        Self { waiting: waiting.into(), position: 0, counts: Default::default(), n_nowhere: 0 }
    }

    /// The faults of the next image that may have one.
    pub(super) fn due(&mut self) -> Vec<Injection> {
        let position = self.position;
        self.position += 1;
        let n = self.waiting.iter().take_while(|injection| injection.at == position).count();
        self.waiting.drain(..n).collect()
    }

    /// Counts a fault that was judged.
    pub(super) fn found(
        &mut self,
        injection: Injection,
        injected: &Injected,
        says: Says,
        region: Option<[usize; 4]>,
    ) {
        let kind = FaultKind::ALL.iter().position(|kind| *kind == injection.kind).unwrap_or(0);
        let count = &mut self.counts[kind][injection.contrast][injection.size];
        count.n += 1;
        let is_found = says.map(|says| says == Some(true));
        count.n_found.iter_mut().zip(is_found).for_each(|(n, is_found)| *n += usize::from(is_found));
        let meets = region.is_some_and(|found| meet(found, injected.region));
        count.n_placed += usize::from(is_found[0] && meets);
    }

    /// The sum of the counts for which `wanted` holds of kind, contrast and size.
    pub(super) fn sum(&self, wanted: impl Fn(usize, usize, usize) -> bool) -> Count {
        let mut sum = Count::default();
        for (kind, of_kind) in self.counts.iter().enumerate() {
            for (contrast, of_contrast) in of_kind.iter().enumerate() {
                for (size, count) in of_contrast.iter().enumerate() {
                    if wanted(kind, contrast, size) {
                        sum.add(count);
                    }
                }
            }
        }
        sum
    }
}

impl Injection {
    /// Paints the fault; `None` if the image has no place for it.
    pub(super) fn paint(&self, image: &Decoded, crop: Option<Crop>, order: ColourOrder) -> Option<Injected> {
        let fault = Fault { kind: self.kind, contrast: CONTRASTS[self.contrast], n_pixels: SIZES[self.size] };
        fault.paint(image, crop, order, &mut Rng::new(self.seed))
    }
}

/// Whether two rectangles have a pixel in common.
fn meet(a: [usize; 4], b: [usize; 4]) -> bool {
    a[0] <= b[2] && b[0] <= a[2] && a[1] <= b[3] && b[1] <= a[3]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plan_is_balanced_seeded_and_spread_over_the_images() {
        let due = |seed| {
            let mut plan = Plan::new(480, 50, seed);
            (0..50).map(|_| plan.due()).collect::<Vec<_>>()
        };
        let images = due(7);
        assert_eq!(images.iter().map(Vec::len).sum::<usize>(), 480);
        assert!(images.iter().filter(|faults| !faults.is_empty()).count() > 40);
        let strong = images.iter().flatten().filter(|fault| fault.contrast == 3 && fault.size == 0).count();
        assert_eq!(strong, 40);
        let seeds =
            |images: &[Vec<Injection>]| images.iter().flatten().map(|fault| fault.seed).collect::<Vec<_>>();
        assert_eq!(seeds(&images), seeds(&due(7)));
        assert_ne!(seeds(&images), seeds(&due(8)));
    }

    #[test]
    fn counts_are_by_kind_contrast_and_size() {
        let mut plan = Plan::new(1, 1, 0);
        let injection = plan.due()[0];
        let image = Decoded { pixels: ndarray::Array3::zeros((1, 1, 1)), format: "png" };
        let injected = Injected { image, region: [5, 5, 9, 9], n_changed: 20 };
        let says = [Some(true), Some(false), None, Some(true)];
        plan.found(injection, &injected, says, Some([9, 0, 20, 5]));
        plan.found(injection, &injected, says, Some([10, 0, 20, 5]));
        let sum = plan.sum(|kind, contrast, size| (kind, contrast, size) == (0, 0, 0));
        assert_eq!((sum.n, sum.n_found, sum.n_placed), (2, [2, 0, 0, 2], 1));
        assert_eq!(plan.sum(|kind, _, _| kind == 1).n, 0);
    }
}

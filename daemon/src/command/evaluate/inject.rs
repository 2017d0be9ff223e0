//! Faults put into the normal images and fields of the runs: which, where, and whether they were found.

use super::watch::{N_JUDGES, Says};
use crate::config::Config;
use anomalyd_models::evaluate::{ColourOrder, Fault, FaultKind};
use anomalyd_models::image::{Crop, Input};
use anomalyd_models::rng::Rng;
use std::collections::VecDeque;

/// Factors by which values are raised, where nothing else is asked for.
const CONTRASTS: [f64; 4] = [1.25, 1.5, 2.0, 4.0];

/// Sizes, in pixels of the file, or in zones of a raw field's grid, where nothing else is asked for.
const IMAGE_SIZES: [usize; 3] = [300, 1200, 4800];
const FIELD_SIZES: [usize; 3] = [12, 50, 200];

/// Images at the start of a run in which nothing is injected: there is no verdict yet.
pub(super) fn n_spared(config: &Config) -> usize {
    if config.online.one_step_ahead.prior.is_set() { 5 } else { 20 }
}

/// The sorts of faults: every kind with each of these.
#[derive(Debug, Clone)]
pub(super) struct Sorts {
    pub(super) contrasts: Vec<f64>,
    /// In pixels of the file, or in zones of a raw field's grid.
    pub(super) sizes: Vec<usize>,
    /// The sizes are of raw fields.
    pub(super) are_zones: bool,
}

impl Sorts {
    /// What is asked for, or else the usual sorts.
    pub(super) fn new(contrasts: &[f64], sizes: &[usize], are_zones: bool) -> Self {
        let usual: &[usize] = if are_zones { &FIELD_SIZES } else { &IMAGE_SIZES };
        Self {
            contrasts: if contrasts.is_empty() { CONTRASTS.to_vec() } else { contrasts.to_vec() },
            sizes: if sizes.is_empty() { usual.to_vec() } else { sizes.to_vec() },
            are_zones,
        }
    }
}

/// A fault to come.
#[derive(Debug, Clone, Copy)]
pub(super) struct Injection {
    /// Position of the image among those that may have one.
    at: usize,
    kind: usize,
    contrast: usize,
    size: usize,
    fault: Fault,
    seed: u64,
}

/// An image or a field with a fault.
pub(super) struct Faulty {
    pub(super) input: Input,
    /// Of a field.
    variable: Option<usize>,
    region: [usize; 4],
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
    fn add(&mut self, other: &Self) {
        self.n += other.n;
        self.n_placed += other.n_placed;
        self.n_found.iter_mut().zip(other.n_found).for_each(|(sum, n)| *sum += n);
    }
}

/// All faults to be injected, and the count of those that were found.
pub(super) struct Plan {
    pub(super) sorts: Sorts,
    waiting: VecDeque<Injection>,
    /// The position of the next image that may have a fault.
    position: usize,
    /// With the kind, contrast and size of each.
    counts: Vec<([usize; 3], Count)>,
    /// Faults for which no place was found in their image.
    pub(super) n_nowhere: usize,
}

impl Plan {
    /// Draws `n` faults over `n_images` images, every kind, contrast and size equally often.
    pub(super) fn new(n: usize, n_images: usize, seed: u64, sorts: Sorts) -> Self {
        let mut rng = Rng::new(seed);
        let (n_kinds, n_contrasts, n_sizes) =
            (FaultKind::ALL.len(), sorts.contrasts.len(), sorts.sizes.len());
        let mut waiting: Vec<Injection> = (0..n)
            .map(|i| {
                let (kind, contrast, size) =
                    (i % n_kinds, i / n_kinds % n_contrasts, i / (n_kinds * n_contrasts) % n_sizes);
                let fault = Fault {
                    kind: FaultKind::ALL[kind],
                    contrast: sorts.contrasts[contrast],
                    n_pixels: sorts.sizes[size],
                };
                Injection {
                    at: rng.below(n_images.max(1)),
                    kind,
                    contrast,
                    size,
                    fault,
                    seed: rng.next_u64(),
                }
            })
            .collect();
        waiting.sort_by_key(|injection| injection.at);
        let counts = (0..n_kinds)
            .flat_map(|kind| (0..n_contrasts).flat_map(move |c| (0..n_sizes).map(move |s| [kind, c, s])))
            .map(|sort| (sort, Count::default()))
            .collect();
        Self { sorts, waiting: waiting.into(), position: 0, counts, n_nowhere: 0 }
    }

    /// The faults of the next image that may have one.
    pub(super) fn due(&mut self) -> Vec<Injection> {
        let position = self.position;
        self.position += 1;
        let n = self.waiting.iter().take_while(|injection| injection.at == position).count();
        self.waiting.drain(..n).collect()
    }

    /// Counts a fault that was judged.
    ///
    /// - `variable`, `region`: where the method says that it is.
    pub(super) fn found(
        &mut self,
        injection: Injection,
        faulty: &Faulty,
        says: Says,
        variable: Option<usize>,
        region: Option<[usize; 4]>,
    ) {
        let sort = [injection.kind, injection.contrast, injection.size];
        let Some((_, count)) = self.counts.iter_mut().find(|(other, _)| *other == sort) else { return };
        count.n += 1;
        let is_found = says.map(|says| says == Some(true));
        count.n_found.iter_mut().zip(is_found).for_each(|(n, is_found)| *n += usize::from(is_found));
        let meets = variable == faulty.variable && region.is_some_and(|found| meet(found, faulty.region));
        count.n_placed += usize::from(is_found[0] && meets);
    }

    /// The sum of the counts for which `wanted` holds of kind, contrast and size.
    pub(super) fn sum(&self, wanted: impl Fn([usize; 3]) -> bool) -> Count {
        let mut sum = Count::default();
        self.counts.iter().filter(|(sort, _)| wanted(*sort)).for_each(|(_, count)| sum.add(count));
        sum
    }
}

impl Injection {
    /// Puts the fault in; `None` if there is no place for it.
    pub(super) fn put_into(&self, input: &Input, crop: Option<Crop>, order: ColourOrder) -> Option<Faulty> {
        let mut rng = Rng::new(self.seed);
        match input {
            Input::Image(image) => {
                let painted = self.fault.paint(image, crop, order, &mut rng)?;
                Some(Faulty { input: Input::Image(painted.image), variable: None, region: painted.region })
            }
            Input::Field(field) => {
                let faulty = self.fault.multiply(field, &mut rng)?;
                Some(Faulty {
                    input: Input::Field(faulty.field),
                    variable: Some(faulty.variable),
                    region: faulty.region,
                })
            }
        }
    }
}

/// Whether two rectangles have a pixel in common.
fn meet(a: [usize; 4], b: [usize; 4]) -> bool {
    a[0] <= b[2] && b[0] <= a[2] && a[1] <= b[3] && b[1] <= a[3]
}

#[cfg(test)]
mod tests {
    use super::*;
    use anomalyd_models::image::Field;

    fn usual(n: usize, n_images: usize, seed: u64) -> Plan {
        Plan::new(n, n_images, seed, Sorts::new(&[], &[], false))
    }

    #[test]
    fn plan_is_balanced_seeded_and_spread_over_the_images() {
        let due = |seed| {
            let mut plan = usual(480, 50, seed);
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
        let mut plan = usual(1, 1, 0);
        let injection = plan.due()[0];
        let image =
            anomalyd_models::image::Decoded { pixels: ndarray::Array3::zeros((1, 1, 1)), format: "png" };
        let faulty = Faulty { input: Input::Image(image), variable: None, region: [5, 5, 9, 9] };
        let says = [Some(true), Some(false), None, Some(true)];
        plan.found(injection, &faulty, says, None, Some([9, 0, 20, 5]));
        plan.found(injection, &faulty, says, None, Some([10, 0, 20, 5]));
        plan.found(injection, &faulty, says, Some(1), Some([9, 0, 20, 5]));
        let sum = plan.sum(|sort| sort == [0, 0, 0]);
        assert_eq!((sum.n, sum.n_found, sum.n_placed), (3, [3, 0, 0, 3], 1));
        assert_eq!(plan.sum(|[kind, _, _]| kind == 1).n, 0);
    }

    #[test]
    fn sorts_are_those_asked_for_and_a_field_has_the_fault_in_its_values() {
        let sorts = Sorts::new(&[3.0], &[], true);
        assert_eq!((sorts.contrasts.as_slice(), sorts.sizes.as_slice()), (&[3.0][..], &FIELD_SIZES[..]));
        let mut plan = Plan::new(1, 1, 2, sorts);
        let field = Field::new(&[40, 50], vec![2.0; 2000]).unwrap();
        let faulty = plan.due()[0].put_into(&Input::Field(field), None, ColourOrder::Brightness).unwrap();
        let Input::Field(field) = &faulty.input else { panic!("a field stays one") };
        assert!(field.variable(0).iter().filter(|value| **value == 6.0).count() > 6);
        assert_eq!(faulty.variable, Some(0));
    }
}

//! Sequential minimal optimisation: two multipliers at a time, the best two, until none is worth moving.
//!
//! Minimises `a^T K a / 2` over `0 <= a_i <= 1` with a given sum. Working sets by second-order information: Fan, Chen, Lin,
//! "Working set selection using second order information for training support vector machines", JMLR 6 (2005), WSS 2.
//! Shrinking and the gradient of what was shrunk as in Chang, Lin, "LIBSVM: a library for support vector machines",
//! ACM TIST 2 (2011), sections 4 and 5.

use super::cache::Cache;

/// A second derivative that is not positive (equal rows) is taken for this.
const LEAST_CURVATURE: f64 = 1e-12;
/// Gaps below this share of the greatest possible gradient, the sum of the multipliers times the greatest kernel, are rounding.
const ROUNDING: f64 = 1e-12;
/// Steps after which samples that cannot move are set aside.
const SHRINK_EVERY: usize = 1000;

/// Where the minimum lies.
pub(super) struct Solution {
    /// Each sample's multiplier, in [0, 1].
    pub(super) multipliers: Vec<f64>,
    /// `K a` at each sample.
    pub(super) gradient: Vec<f64>,
    /// The value of `K a` that parts normal from anomalous.
    pub(super) rho: f64,
    /// Steps taken.
    pub(super) n_steps: u64,
}

/// What the search has not found within its steps.
#[derive(Debug)]
pub(super) struct NotConverged {
    /// The gap at the end: the greatest difference of two gradients that a step could still make smaller.
    pub(super) gap: f64,
}

struct Solver<'a> {
    cache: Cache<'a>,
    /// The sample at each position; those that take part come first.
    order: Vec<usize>,
    n_active: usize,
    multipliers: Vec<f64>,
    gradient: Vec<f64>,
    /// The part of the gradient that comes from multipliers of 1.
    bounded_part: Vec<f64>,
    /// The kernel of each sample with itself.
    own: Vec<f64>,
    tolerance: f64,
    was_unshrunk: bool,
}

/// Finds the minimum, to within `tolerance` times the greatest kernel in the gradients, in at most `max_steps` steps.
///
/// - `sum`: of all multipliers, above 0 and at most the number of samples.
pub(super) fn solve(
    cache: Cache<'_>,
    sum: f64,
    tolerance: f64,
    shrinking: bool,
    max_steps: u64,
) -> Result<Solution, NotConverged> {
    let mut solver = Solver::new(cache, sum, tolerance);
    let n = solver.order.len();
    let mut until_shrink = n.min(SHRINK_EVERY) + 1;
    let mut n_steps = 0;
    loop {
        until_shrink -= 1;
        if until_shrink == 0 {
            until_shrink = n.min(SHRINK_EVERY);
            if shrinking {
                solver.shrink();
            }
        }
        let pair = match solver.select() {
            Some(pair) => pair,
            None => {
                // Best among those that take part: look at all.
                solver.take_all_back();
                match solver.select() {
                    Some(pair) => {
                        until_shrink = 1;
                        pair
                    }
                    None => break,
                }
            }
        };
        if n_steps == max_steps {
            return Err(NotConverged { gap: solver.gap() });
        }
        n_steps += 1;
        solver.step(pair);
    }
    Ok(solver.solution(n_steps))
}

impl<'a> Solver<'a> {
    /// Begins with the first samples at 1, as LIBSVM does.
    fn new(mut cache: Cache<'a>, sum: f64, tolerance: f64) -> Self {
        let n = cache.samples.len();
        let own: Vec<f64> = (0..n).map(|position| cache.samples.own(position)).collect();
        let multipliers: Vec<f64> = (0..n).map(|i| (sum - i as f64).clamp(0.0, 1.0)).collect();
        let (mut gradient, mut bounded_part) = (vec![0.0; n], vec![0.0; n]);
        for position in (0..n).take_while(|&i| multipliers[i] > 0.0) {
            let row = cache.row(position, n);
            add(&mut gradient, row, multipliers[position]);
            if multipliers[position] >= 1.0 {
                add(&mut bounded_part, row, 1.0);
            }
        }
        let greatest = own.iter().fold(0.0, |greatest: f64, &value| greatest.max(value));
        let tolerance = tolerance.max(ROUNDING * sum) * greatest;
        Self {
            cache,
            order: (0..n).collect(),
            n_active: n,
            multipliers,
            gradient,
            bounded_part,
            own,
            tolerance,
            was_unshrunk: false,
        }
    }

    fn is_upper(&self, position: usize) -> bool {
        self.multipliers[position] >= 1.0
    }

    fn is_lower(&self, position: usize) -> bool {
        self.multipliers[position] <= 0.0
    }

    /// The least gradient among those that can grow and the greatest among those that can fall.
    fn extremes(&self) -> (f64, f64) {
        let active = || 0..self.n_active;
        let least = active().filter(|&i| !self.is_upper(i)).map(|i| self.gradient[i]);
        let greatest = active().filter(|&i| !self.is_lower(i)).map(|i| self.gradient[i]);
        (least.fold(f64::INFINITY, f64::min), greatest.fold(f64::NEG_INFINITY, f64::max))
    }

    fn gap(&self) -> f64 {
        let (least, greatest) = self.extremes();
        greatest - least
    }

    /// The sample to grow and the one to fall by as much; `None` at the minimum.
    fn select(&mut self) -> Option<(usize, usize)> {
        let n_active = self.n_active;
        let (mut grows, mut least) = (None, f64::INFINITY);
        for position in 0..n_active {
            if !self.is_upper(position) && self.gradient[position] < least {
                (grows, least) = (Some(position), self.gradient[position]);
            }
        }
        let grows = grows?;
        let row = self.cache.row(grows, n_active);
        let (mut falls, mut best_gain, mut greatest) = (None, 0.0, f64::NEG_INFINITY);
        for (position, between) in row.iter().enumerate() {
            if self.multipliers[position] <= 0.0 {
                continue;
            }
            let gradient = self.gradient[position];
            greatest = f64::max(greatest, gradient);
            let difference = gradient - least;
            if difference > 0.0 {
                let curvature = self.own[grows] + self.own[position] - 2.0 * between;
                let gain = difference * difference / positive(curvature);
                if gain > best_gain {
                    (falls, best_gain) = (Some(position), gain);
                }
            }
        }
        if greatest - least < self.tolerance { None } else { Some((grows, falls?)) }
    }

    fn step(&mut self, (i, j): (usize, usize)) {
        let n_active = self.n_active;
        let (row_i, row_j) = self.cache.pair(i, j, n_active);
        let curvature = positive(self.own[i] + self.own[j] - 2.0 * row_i[j]);
        let sum = self.multipliers[i] + self.multipliers[j];
        let wanted = self.multipliers[i] + (self.gradient[j] - self.gradient[i]) / curvature;
        // Both stay in [0, 1]; one at a bound is exactly there.
        let (least, greatest) = (f64::max(0.0, sum - 1.0), f64::min(1.0, sum));
        let (new_i, new_j) = if wanted <= least {
            (least, if sum >= 1.0 { 1.0 } else { sum })
        } else if wanted >= greatest {
            (greatest, if sum >= 1.0 { sum - 1.0 } else { 0.0 })
        } else {
            (wanted, (sum - wanted).clamp(0.0, 1.0))
        };
        let (change_i, change_j) = (new_i - self.multipliers[i], new_j - self.multipliers[j]);
        for ((gradient, a), b) in self.gradient[..n_active].iter_mut().zip(row_i).zip(row_j) {
            *gradient += change_i * a + change_j * b;
        }
        for (position, value) in [(i, new_i), (j, new_j)] {
            let was_upper = self.is_upper(position);
            self.multipliers[position] = value;
            if was_upper != self.is_upper(position) {
                let row = self.cache.row(position, self.order.len());
                add(&mut self.bounded_part, row, if was_upper { -1.0 } else { 1.0 });
            }
        }
    }

    /// Sets aside what is at a bound and pressed against it.
    fn shrink(&mut self) {
        let (least, greatest) = self.extremes();
        if !self.was_unshrunk && greatest - least <= 10.0 * self.tolerance {
            self.was_unshrunk = true;
            self.take_all_back();
        }
        let is_fast = |solver: &Self, position: usize| {
            let gradient = solver.gradient[position];
            if solver.is_upper(position) {
                gradient < least
            } else {
                solver.is_lower(position) && gradient > greatest
            }
        };
        let mut position = 0;
        while position < self.n_active {
            if is_fast(self, position) {
                self.n_active -= 1;
                self.swap(position, self.n_active);
            } else {
                position += 1;
            }
        }
    }

    fn swap(&mut self, a: usize, b: usize) {
        if a == b {
            return;
        }
        self.cache.swap(a, b);
        self.order.swap(a, b);
        for values in [&mut self.multipliers, &mut self.gradient, &mut self.bounded_part, &mut self.own] {
            values.swap(a, b);
        }
    }

    /// Lets all take part again; the gradient of those set aside follows from the multipliers that are not 0.
    fn take_all_back(&mut self) {
        let (n, n_active) = (self.order.len(), self.n_active);
        if n_active == n {
            return;
        }
        self.gradient[n_active..].copy_from_slice(&self.bounded_part[n_active..]);
        for position in 0..n_active {
            if !self.is_upper(position) && !self.is_lower(position) {
                let row = self.cache.row(position, n);
                add(&mut self.gradient[n_active..], &row[n_active..], self.multipliers[position]);
            }
        }
        self.n_active = n;
    }

    /// `rho` is the mean gradient of the multipliers between the bounds; where there is none, the middle of what is allowed.
    /// One that rounding alone keeps from its bound is no evidence.
    fn solution(self, n_steps: u64) -> Solution {
        let free: Vec<f64> = (0..self.order.len())
            .filter(|&i| self.multipliers[i] > ROUNDING && self.multipliers[i] < 1.0 - ROUNDING)
            .map(|i| self.gradient[i])
            .collect();
        let rho = if free.is_empty() {
            let at = |bound: f64| {
                let at_bound = move |&(a, _): &(&f64, &f64)| (a - bound).abs() <= ROUNDING;
                self.multipliers.iter().zip(&self.gradient).filter(at_bound).map(|(_, &gradient)| gradient)
            };
            let least = at(0.0).fold(f64::INFINITY, f64::min);
            let greatest = at(1.0).fold(f64::NEG_INFINITY, f64::max);
            // All at 1, or all at 0: one side is open.
            match (least.is_finite(), greatest.is_finite()) {
                (true, true) => 0.5 * (least + greatest),
                (true, false) => least,
                _ => greatest,
            }
        } else {
            free.iter().sum::<f64>() / free.len() as f64
        };
        let n = self.order.len();
        let (mut multipliers, mut gradient) = (vec![0.0; n], vec![0.0; n]);
        for (position, &sample) in self.order.iter().enumerate() {
            multipliers[sample] = self.multipliers[position];
            gradient[sample] = self.gradient[position];
        }
        Solution { multipliers, gradient, rho, n_steps }
    }
}

fn positive(curvature: f64) -> f64 {
    if curvature > 0.0 { curvature } else { LEAST_CURVATURE }
}

fn add(sums: &mut [f64], row: &[f64], factor: f64) {
    sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += factor * value);
}

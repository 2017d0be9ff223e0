//! A counter-based random generator, so that a result depends on its seed and never on the number of threads.

/// The generator SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", OOPSLA 2014).
///
/// Each tree, projection or worker has a generator of its own, [`derived`](Self::derived) from one seed and its index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rng {
    state: u64,
}

const GOLDEN_GAMMA: u64 = 0x9E37_79B9_7F4A_7C15;

/// The finaliser of SplitMix64: a bijection on 64 bits.
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

impl Rng {
    /// A generator that starts from `seed`.
    pub fn new(seed: u64) -> Self {
        Self { state: mix(seed.wrapping_add(GOLDEN_GAMMA)) }
    }

    /// A generator for part `index` of what `seed` governs; different indices give unrelated sequences.
    pub fn derived(seed: u64, index: u64) -> Self {
        Self {
            state: mix(
                mix(seed.wrapping_add(GOLDEN_GAMMA)) ^ mix(index.wrapping_mul(GOLDEN_GAMMA).wrapping_add(1))
            ),
        }
    }

    /// Two generators that go on where this one ends, unrelated to each other: for the two halves of a task, done in any order
    /// or not at all.
    pub fn branch(mut self) -> [Self; 2] {
        [Self::new(self.next_u64()), Self::new(self.next_u64())]
    }

    /// The next 64 bits.
    #[inline]
    pub fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(GOLDEN_GAMMA);
        mix(self.state)
    }

    /// A number in `0..bound`, uniform to within 2^-64 (multiply-shift; Lemire 2019); 0 if `bound` is 0.
    #[inline]
    pub fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.next_u64()) * bound as u128) >> 64) as usize
    }

    /// A number in [0, 1), a multiple of 2^-53.
    #[inline]
    pub fn uniform(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// A standard normal number (Box and Muller 1958).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn derived_generators_differ_and_are_repeatable() {
        let first = |seed, index| Rng::derived(seed, index).next_u64();
        assert_eq!(first(1, 2), first(1, 2));
        assert_ne!(first(1, 2), first(1, 3));
        assert_ne!(first(1, 2), first(2, 2));
    }

    #[test]
    fn branches_differ_and_are_repeatable() {
        let first = |seed| Rng::new(seed).branch().map(|mut rng| rng.next_u64());
        assert_eq!(first(1), first(1));
        let [left, right] = first(1);
        assert!(left != right && !first(2).contains(&left) && Rng::new(1).next_u64() != left);
    }

    #[test]
    fn numbers_below_a_bound_are_uniform() {
        let mut rng = Rng::new(7);
        let mut counts = [0u32; 10];
        for _ in 0..100_000 {
            counts[rng.below(10)] += 1;
        }
        // Standard deviation of a count is 95: six of them.
        assert!(counts.iter().all(|&n| n.abs_diff(10_000) < 570), "{counts:?}");
    }

    #[test]
    fn uniform_and_normal_numbers_have_their_moments() {
        let mut rng = Rng::new(8);
        let n = 100_000;
        let uniform: f64 = (0..n).map(|_| rng.uniform()).sum::<f64>() / f64::from(n);
        assert!((uniform - 0.5).abs() < 0.006, "{uniform}");
        let normal: Vec<f64> = (0..n).map(|_| rng.normal()).collect();
        let mean = normal.iter().sum::<f64>() / f64::from(n);
        let variance = normal.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / f64::from(n);
        assert!(mean.abs() < 0.02 && (variance - 1.0).abs() < 0.03, "{mean} {variance}");
    }
}

//! Drawing the rows of a tree, without replacement.

use crate::rng::Rng;
use crate::{Error, Result};

/// Draws `n` of `n_rows` rows without replacement, ascending, each as likely or by `weights`.
pub(super) fn draw_rows(n_rows: usize, n: usize, weights: Option<&[f64]>, rng: &mut Rng) -> Vec<u32> {
    if let Some(weights) = weights {
        return draw(weights, n, rng);
    }
    let mut rows: Vec<u32> = (0..n_rows as u32).collect();
    if n < n_rows {
        // The first steps of a Fisher-Yates shuffle.
        for i in 0..n {
            rows.swap(i, i + rng.below(n_rows - i));
        }
        rows.truncate(n);
        rows.sort_unstable();
    }
    rows
}

/// Draws `n` rows without replacement, ascending: one after the other, each with a probability in proportion to its weight among
/// those that are left (Efraimidis, Spirakis, "Weighted random sampling with a reservoir", Information Processing Letters 97,
/// 2006: the `n` greatest of `u^(1 / w)`). Rows of weight 0 are never drawn.
fn draw(weights: &[f64], n: usize, rng: &mut Rng) -> Vec<u32> {
    let key = |weight: f64, rng: &mut Rng| {
        // The logarithm of 1 - u, which is never 0, over the weight: greater where the weight is.
        let uniform = 1.0 - rng.uniform();
        if weight > 0.0 { uniform.ln() / weight } else { f64::NEG_INFINITY }
    };
    let mut keys: Vec<(f64, u32)> =
        weights.iter().zip(0..).map(|(&weight, row)| (key(weight, rng), row)).collect();
    if n < keys.len() {
        keys.select_nth_unstable_by(n, |a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        keys.truncate(n);
    }
    let mut rows: Vec<u32> = keys.into_iter().map(|(_, row)| row).collect();
    rows.sort_unstable();
    rows
}

/// Refuses weights that cannot be drawn by: one for each row, not negative, finite, enough of them above 0.
pub(super) fn check(weights: &[f64], n_rows: usize, sample_size: usize) -> Result<()> {
    if weights.len() != n_rows {
        return Err(Error::Shape {
            what: "sample weights",
            wanted: format!("{n_rows}, one for each row"),
            found: weights.len().to_string(),
        });
    }
    if let Some((row, bad)) = weights.iter().enumerate().find(|(_, w)| !(**w >= 0.0 && w.is_finite())) {
        return Err(Error::Parameter {
            name: "sample_weights",
            found: format!("{bad} for row {row}"),
            expected: "finite numbers of at least 0".into(),
        });
    }
    let n_possible = weights.iter().filter(|w| **w > 0.0).count();
    if n_possible < sample_size {
        return Err(Error::Parameter {
            name: "sample_weights",
            found: format!("{n_possible} above 0"),
            expected: format!("at least {sample_size}, as many rows as are drawn for a tree (sample_size)"),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_drawn_one_after_the_other_in_proportion_to_their_weights() {
        let weights = [1.0, 0.0, 3.0, 6.0];
        let total = 10.0;
        let mut rng = Rng::new(4);
        let n_draws = 40_000;
        let mut counts = [[0u32; 4]; 4];
        for _ in 0..n_draws {
            let drawn = draw(&weights, 2, &mut rng);
            counts[drawn[0] as usize][drawn[1] as usize] += 1;
        }
        for (a, b) in [(0, 2), (0, 3), (2, 3)] {
            let [p, q]: [f64; 2] = [weights[a], weights[b]];
            let expected = (p / total * q / (total - p) + q / total * p / (total - q)) * f64::from(n_draws);
            let found = f64::from(counts[a][b]);
            assert!(
                (found - expected).abs() < 5.0 * expected.sqrt(),
                "{a} {b}: {found}, expected {expected}"
            );
        }
        assert!(counts.iter().all(|row| row[1] == 0) && counts[1] == [0; 4]);
        assert_eq!(draw(&weights, 3, &mut rng), [0, 2, 3]);
    }

    #[test]
    fn weights_that_cannot_be_drawn_by_are_refused() {
        assert!(check(&[1.0, 2.0, 0.0], 3, 2).is_ok());
        let error = |weights: &[f64]| check(weights, 3, 2).expect_err("refused").to_string();
        assert_eq!(error(&[1.0]), "sample weights: wanted 3, one for each row, found 1");
        assert!(error(&[1.0, -1.0, 2.0]).starts_with("sample_weights is -1 for row 1, expected finite"));
        assert!(error(&[1.0, f64::NAN, 2.0]).contains("NaN for row 1"));
        assert!(error(&[1.0, 0.0, 0.0]).contains("1 above 0, expected at least 2"));
    }
}

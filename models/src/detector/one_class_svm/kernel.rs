//! Kernels: how alike two rows of features are.

use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::str::FromStr;

/// The kind of a kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KernelKind {
    /// `exp(-gamma |x - y|^2)`: in (0, 1], 1 for equal rows.
    Rbf,
    /// `x . y`
    Linear,
}

impl FromStr for KernelKind {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "rbf" => Ok(Self::Rbf),
            "linear" => Ok(Self::Linear),
            _ => Err(Error::Parameter {
                name: "kernel",
                found: format!("{text:?}"),
                expected: "rbf or linear".into(),
            }),
        }
    }
}

/// How fast the RBF kernel falls off, by scikit-learn's rules; a number or a name in TOML and JSON.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Gamma {
    /// The number itself, above 0, in one over squared units of the features.
    Value(f64),
    /// By a rule from the samples of the fit.
    Rule(GammaRule),
}

/// How a gamma follows from the samples of a fit, of `d` features.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GammaRule {
    /// `1 / (d v)` with the variance `v` of all values together (divisor n); 1 if they are all equal.
    Scale,
    /// `1 / d`
    Auto,
}

impl Gamma {
    /// Checks the range.
    pub(super) fn check(self) -> Result<()> {
        match self {
            Self::Value(value) if !(value > 0.0 && value.is_finite()) => Err(Error::Parameter {
                name: "gamma",
                found: value.to_string(),
                expected: "a finite number above 0, \"scale\" or \"auto\"".into(),
            }),
            _ => Ok(()),
        }
    }

    /// The number for these samples.
    pub(super) fn resolve(self, rows: &[&[f32]]) -> f64 {
        let n_features = rows[0].len() as f64;
        match self {
            Self::Value(value) => value,
            Self::Rule(GammaRule::Auto) => 1.0 / n_features,
            Self::Rule(GammaRule::Scale) => {
                let n = rows.len() as f64 * n_features;
                let sum_of = |f: &dyn Fn(f64) -> f64| {
                    let rows = rows.iter().map(|row| row.iter().map(|&x| f(f64::from(x))).sum::<f64>());
                    rows.sum::<f64>()
                };
                let mean = sum_of(&|x| x) / n;
                let variance = sum_of(&|x| (x - mean).powi(2)) / n;
                if variance > 0.0 { 1.0 / (n_features * variance) } else { 1.0 }
            }
        }
    }
}

impl FromStr for Gamma {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let gamma = match text {
            "scale" => Self::Rule(GammaRule::Scale),
            "auto" => Self::Rule(GammaRule::Auto),
            // What is no number is refused as a number that is none.
            _ => Self::Value(text.parse().unwrap_or(f64::NAN)),
        };
        gamma.check().map_err(|error| match error {
            Error::Parameter { name, expected, .. } => {
                Error::Parameter { name, found: format!("{text:?}"), expected }
            }
            other => other,
        })?;
        Ok(gamma)
    }
}

/// A kernel with its number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kernel {
    /// `exp(-gamma |x - y|^2)`
    Rbf {
        /// Above 0.
        gamma: f64,
    },
    /// `x . y`
    Linear,
}

impl Kernel {
    /// From the scalar products of two rows with each other and with themselves.
    #[inline]
    pub(super) fn of_products(self, product: f64, first_square: f64, second_square: f64) -> f64 {
        match self {
            // For equal rows the three are equal, so the distance is 0 and the kernel 1 to the bit.
            Self::Rbf { gamma } => (-gamma * (first_square + second_square - 2.0 * product).max(0.0)).exp(),
            Self::Linear => product,
        }
    }
}

/// The scalar product, in f64, in which products of f32 are exact; always added up in the same order.
pub(super) fn scalar_product(a: &[f32], b: &[f32]) -> f64 {
    const LANES: usize = 16;
    let mut lanes = [0f64; LANES];
    let ((a_pieces, a_rest), (b_pieces, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    for (a, b) in a_pieces.iter().zip(b_pieces) {
        for lane in 0..LANES {
            lanes[lane] += f64::from(a[lane]) * f64::from(b[lane]);
        }
    }
    let rest: f64 = a_rest.iter().zip(b_rest).map(|(&x, &y)| f64::from(x) * f64::from(y)).sum();
    lanes.into_iter().sum::<f64>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gamma_is_a_number_or_a_rule() {
        assert_eq!("0.001".parse::<Gamma>().expect("a number"), Gamma::Value(0.001));
        assert_eq!("scale".parse::<Gamma>().expect("a rule"), Gamma::Rule(GammaRule::Scale));
        for wrong in ["0", "-1", "inf", "nan", "scales", ""] {
            let error = wrong.parse::<Gamma>().expect_err("refused").to_string();
            assert!(
                error.contains(&format!("gamma is {wrong:?}, expected a finite number above 0")),
                "{error}"
            );
        }
        let (a, b) = ([1.0f32, 2.0], [3.0f32, 6.0]);
        assert_eq!(Gamma::Rule(GammaRule::Auto).resolve(&[&a, &b]), 0.5);
        // The variance of 1, 2, 3, 6 is 3.5.
        assert!((Gamma::Rule(GammaRule::Scale).resolve(&[&a, &b]) - 1.0 / 7.0).abs() < 1e-15);
        assert_eq!(Gamma::Rule(GammaRule::Scale).resolve(&[&[0.1, 0.1], &[0.1, 0.1]]), 1.0);
    }

    #[test]
    fn a_row_is_as_like_itself_as_can_be() {
        let row: Vec<f32> = (0..37).map(|i| (i as f32 * 0.7).sin() * 1e3).collect();
        let square = scalar_product(&row, &row);
        assert_eq!(Kernel::Rbf { gamma: 0.3 }.of_products(square, square, square), 1.0);
    }
}

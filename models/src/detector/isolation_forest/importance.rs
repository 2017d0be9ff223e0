//! Which columns isolate a row: how much shorter each makes its paths.
//!
//! On its way down a tree a row meets splits; each takes it from a node to a child. How much the path length to be expected falls
//! by that step is credited to the column of the split, as regression trees are taken apart by Saabas ("Interpreting random
//! forests", 2014) and Palczewska et al. (2013). Carletti, Terzi, Susto ("Interpretable anomaly detection with DIFFI", 2019)
//! credit all columns of a short path alike instead; here a split that cuts a row off has nearly all the credit, one that most rows
//! pass has little, and the credits add up to what the score is made of.

use super::nodes::{LEAF, average_path_length};
use super::{IsolationForest, wrong_width};
use crate::Result;
use std::collections::BTreeMap;

/// What each split of a forest does to the path length to be expected.
#[derive(Debug, Clone)]
pub struct Importances<'a> {
    forest: &'a IsolationForest,
    /// For each node of each tree, the mean path length of the fit's rows that came by it.
    expected: Vec<f32>,
    baseline: f64,
}

impl IsolationForest {
    /// Prepares the importances of columns; takes about as long as it takes to read the forest.
    pub fn importances(&self) -> Importances<'_> {
        // c(n) for each number of rows a leaf can have.
        let lengths: Vec<f64> = (0..=self.sample_size).map(average_path_length).collect();
        let size_of = |adjustment: f64| {
            // Between the two sizes around it: what is stored is rounded.
            let above = lengths.partition_point(|&length| length < adjustment).clamp(1, self.sample_size);
            let below_is_nearer =
                (adjustment - lengths[above - 1]).abs() < (lengths[above] - adjustment).abs();
            if below_is_nearer { above - 1 } else { above }.max(1) as f64
        };
        let mut expected = Vec::with_capacity(self.n_nodes());
        let mut baseline = 0.0;
        for tree in self.trees.each() {
            let mut depths = vec![0u32; tree.len()];
            for (position, node) in tree.iter().enumerate().filter(|(_, node)| node.column != LEAF) {
                let depth = depths[position] + 1;
                (depths[node.left as usize], depths[node.left as usize + 1]) = (depth, depth);
            }
            // Children come after their parent.
            let mut of_nodes = vec![(0.0f64, 0.0f64); tree.len()];
            for (position, node) in tree.iter().enumerate().rev() {
                of_nodes[position] = if node.column == LEAF {
                    let length = f64::from(node.split);
                    (size_of(length - f64::from(depths[position])), length)
                } else {
                    let [(a, left), (b, right)] =
                        [node.left, node.left + 1].map(|child| of_nodes[child as usize]);
                    (a + b, (a * left + b * right) / (a + b))
                };
            }
            baseline += of_nodes[0].1;
            expected.extend(of_nodes.iter().map(|&(_, length)| length as f32));
        }
        Importances { forest: self, expected, baseline: baseline / self.n_trees() as f64 }
    }
}

impl Importances<'_> {
    /// The mean path length of the rows of the fit, over the trees; for a row without any importance.
    pub fn baseline(&self) -> f64 {
        self.baseline
    }

    /// The importances of the columns that `row` met on its way, by column: by how much each makes its mean path shorter. Negative
    /// where a column makes it longer, as for a row in the crowd.
    ///
    /// They add up to [`baseline`](Self::baseline) less [`mean_path_length`](IsolationForest::mean_path_length), to f32 rounding.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`](crate::Error::Shape) if `row` has another length than the samples of the fit.
    pub fn of(&self, row: &[f32]) -> Result<BTreeMap<u32, f64>> {
        if row.len() != self.forest.n_features {
            return Err(wrong_width(self.forest.n_features, row.len()));
        }
        let mut credits = BTreeMap::new();
        let share = 1.0 / self.forest.n_trees() as f64;
        let mut start = 0;
        for tree in self.forest.trees.each() {
            let mut position = 0;
            while tree[position].column != LEAF {
                let node = tree[position];
                // NaN goes left, as in a score's walk.
                let child = node.left as usize + usize::from(row[node.column as usize] > node.split);
                let [before, after] = [position, child].map(|at| f64::from(self.expected[start + at]));
                *credits.entry(node.column).or_insert(0.0) += share * (before - after);
                position = child;
            }
            start += tree.len();
        }
        Ok(credits)
    }
}

#[cfg(test)]
mod tests {
    use crate::detector::IsolationForestParams;
    use crate::rng::Rng;
    use crate::{Error, Fit};
    use ndarray::Array2;
    use proptest::prelude::*;

    fn gaussian(n_rows: usize, n_features: usize, seed: u64) -> Array2<f32> {
        let mut rng = Rng::new(seed);
        Array2::from_shape_simple_fn((n_rows, n_features), || rng.normal() as f32)
    }

    #[test]
    fn columns_in_which_a_row_is_odd_come_first() {
        let mut samples = gaussian(200, 40, 1);
        samples[[7, 3]] = 9.0;
        samples[[7, 31]] = -8.0;
        let forest =
            IsolationForestParams { n_trees: 500, ..Default::default() }.fit(samples.view(), 2).unwrap();
        let importances = forest.importances();
        let mut credits: Vec<_> = importances.of(&samples.row(7).to_vec()).unwrap().into_iter().collect();
        credits.sort_by(|a, b| b.1.total_cmp(&a.1));
        let mut first = [credits[0].0, credits[1].0];
        first.sort_unstable();
        assert_eq!(first, [3, 31]);
        assert!(credits[1].1 > 3.0 * credits[2].1, "{:?}", &credits[..3]);
        // A row in the crowd has no such column.
        let ordinary = importances.of(&samples.row(8).to_vec()).unwrap();
        assert!(ordinary.values().all(|&credit| credit < credits[1].1));
        assert!(matches!(importances.of(&[1.0]), Err(Error::Shape { .. })));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn importances_add_up_to_how_much_shorter_the_paths_are(
            n_rows in 2usize..80,
            n_features in 1usize..20,
            max_depth in proptest::option::of(1u32..7),
            seed: u64,
        ) {
            // Equal rows, so that leaves hold several.
            let samples = gaussian(n_rows, n_features, seed).mapv(|v| v.max(0.0).round());
            let params = IsolationForestParams { n_trees: 9, sample_size: None, max_depth };
            let forest = params.fit(samples.view(), seed).unwrap();
            let importances = forest.importances();
            let mut mean = 0.0;
            for row in samples.rows() {
                let row = row.to_vec();
                let length = forest.mean_path_length(&row);
                mean += length / n_rows as f64;
                let sum: f64 = importances.of(&row).unwrap().values().sum();
                prop_assert!((importances.baseline() - length - sum).abs() < 1e-4, "{sum}");
            }
            // The sizes of nodes were found again: the baseline is the mean over the rows of the fit.
            prop_assert!((importances.baseline() - mean).abs() < 1e-4, "{mean} {}", importances.baseline());
        }
    }
}

//! The nodes of a forest as plain arrays, and the walk down its trees.

use crate::{Error, Result};
use std::sync::LazyLock;

/// The column of a leaf.
pub(super) const LEAF: u32 = u32::MAX;

/// One node, 12 bytes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Node {
    /// The column compared, or [`LEAF`].
    pub(super) column: u32,
    /// A value at most this goes left, a greater one right; in a leaf, the path length that ends here.
    pub(super) split: f32,
    /// Position of the left child from the tree's root, which has position 0; the right child follows it.
    pub(super) left: u32,
}

impl Node {
    pub(super) fn leaf(path_length: f32) -> Self {
        Self { column: LEAF, split: path_length, left: 0 }
    }
}

/// The average path length c(n) of an unsuccessful search in a binary search tree of `n` samples (Liu, Ting, Zhou 2008,
/// equation 1), by which a leaf of several samples and a score are adjusted.
///
/// `2 H(n - 1) - 2 (n - 1) / n` with the harmonic number `H(i) = ln i + 0.5772...`, as in the paper and scikit-learn;
/// 1 for two samples and 0 for fewer.
pub fn average_path_length(n: usize) -> f64 {
    /// Of few samples, as most leaves have: a logarithm takes as long as the rest of a leaf.
    static FEW: LazyLock<[f64; 64]> = LazyLock::new(|| std::array::from_fn(compute_average_path_length));
    FEW.get(n).copied().unwrap_or_else(|| compute_average_path_length(n))
}

fn compute_average_path_length(n: usize) -> f64 {
    /// Euler's constant.
    const GAMMA: f64 = 0.577_215_664_901_532_9;
    match n {
        0 | 1 => 0.0,
        2 => 1.0,
        _ => {
            let m = (n - 1) as f64;
            2.0 * (m.ln() + GAMMA) - 2.0 * m / n as f64
        }
    }
}

/// The score of a mean path length in trees of `sample_size` rows, in (0, 1] (Liu, Ting, Zhou 2008, equation 2).
pub(crate) fn score_of(mean_path_length: f64, sample_size: usize) -> f32 {
    (-mean_path_length / average_path_length(sample_size)).exp2() as f32
}

/// A forest as arrays, for storing it: no reference, no pointer, no type of this program.
#[derive(Debug, Clone, PartialEq)]
pub struct ForestArrays {
    /// `[n_trees + 1]`: tree `t` has the nodes `tree_starts[t]..tree_starts[t + 1]`; its root is the first.
    pub tree_starts: Vec<u32>,
    /// `[n_nodes]`: the column compared; `u32::MAX` in a leaf.
    pub columns: Vec<u32>,
    /// `[n_nodes]`: a value at most this goes left; in a leaf, the path length that ends there, at least 0.
    pub splits: Vec<f32>,
    /// `[n_nodes]`: position of the left child, counted from the tree's root; the right child follows it.
    pub lefts: Vec<u32>,
}

/// The nodes of all trees, one after the other.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Trees {
    nodes: Vec<Node>,
    /// Where each tree starts, and the number of nodes.
    starts: Vec<u32>,
}

impl Trees {
    /// Joins trees; at most `u32::MAX` nodes together.
    pub(super) fn join(trees: &[Vec<Node>]) -> Result<Self> {
        let n_nodes: usize = trees.iter().map(Vec::len).sum();
        if n_nodes >= u32::MAX as usize {
            return Err(Error::Parameter {
                name: "n_trees",
                found: format!("{} trees of {n_nodes} nodes together", trees.len()),
                expected: format!("fewer than {} nodes; fit fewer trees or set sample_size", u32::MAX),
            });
        }
        let mut starts = vec![0];
        let mut nodes = Vec::with_capacity(n_nodes);
        for tree in trees {
            nodes.extend_from_slice(tree);
            starts.push(nodes.len() as u32);
        }
        Ok(Self { nodes, starts })
    }

    pub(super) fn n_trees(&self) -> usize {
        self.starts.len() - 1
    }

    pub(super) fn n_nodes(&self) -> usize {
        self.nodes.len()
    }

    /// The nodes of each tree.
    pub(super) fn each(&self) -> impl Iterator<Item = &[Node]> {
        self.starts.windows(2).map(|tree| &self.nodes[tree[0] as usize..tree[1] as usize])
    }

    /// The mean over the trees of the path length of `row`.
    pub(super) fn mean_path_length(&self, row: &[f32]) -> f64 {
        let mut sum = 0.0;
        self.each_path_length(row, |length| sum += length);
        sum / self.n_trees() as f64
    }

    /// Hands out the path length of `row` in each tree, in order.
    #[inline]
    pub(super) fn each_path_length(&self, row: &[f32], mut hand_out: impl FnMut(f64)) {
        // Every step waits for a node and then for a value; the steps of several trees wait at the same time.
        const N_ABREAST: usize = 16;
        let starts = &self.starts[..self.n_trees()];
        for starts in starts.chunks(N_ABREAST) {
            let mut nodes = [Node::leaf(0.0); N_ABREAST];
            for (node, &start) in nodes.iter_mut().zip(starts) {
                *node = self.nodes[start as usize];
            }
            loop {
                let mut n_walking = 0;
                for (node, &start) in nodes.iter_mut().zip(starts) {
                    if node.column != LEAF {
                        let right = u32::from(row[node.column as usize] > node.split);
                        *node = self.nodes[(start + node.left + right) as usize];
                        n_walking += 1;
                    }
                }
                if n_walking == 0 {
                    break;
                }
            }
            nodes[..starts.len()].iter().for_each(|leaf| hand_out(f64::from(leaf.split)));
        }
    }

    pub(super) fn to_arrays(&self) -> ForestArrays {
        ForestArrays {
            tree_starts: self.starts.clone(),
            columns: self.nodes.iter().map(|node| node.column).collect(),
            splits: self.nodes.iter().map(|node| node.split).collect(),
            lefts: self.nodes.iter().map(|node| node.left).collect(),
        }
    }

    /// Rebuilds trees from arrays that are not trusted: whatever they hold, a walk ends and stays inside.
    pub(super) fn from_arrays(arrays: &ForestArrays, n_features: usize) -> Result<Self> {
        let ForestArrays { tree_starts, columns, splits, lefts } = arrays;
        let shape = |wanted: String, found: String| Error::Shape { what: "forest arrays", wanted, found };
        let n_nodes = columns.len();
        if splits.len() != n_nodes || lefts.len() != n_nodes {
            let found = format!("{n_nodes} columns, {} splits, {} left children", splits.len(), lefts.len());
            return Err(shape("arrays of equal length".into(), found));
        }
        let ends = (tree_starts.first(), tree_starts.last());
        if tree_starts.len() < 2
            || ends != (Some(&0), Some(&(n_nodes as u32)))
            || n_nodes >= u32::MAX as usize
        {
            let wanted = format!("tree starts from 0 to {n_nodes}");
            return Err(shape(wanted, format!("{} of them, from and to {ends:?}", tree_starts.len())));
        }
        if let Some(tree) = tree_starts.windows(2).find(|tree| tree[0] >= tree[1]) {
            return Err(shape("tree starts that increase".into(), format!("{} before {}", tree[0], tree[1])));
        }
        let mut nodes = Vec::with_capacity(n_nodes);
        for tree in tree_starts.windows(2) {
            for position in tree[0] as usize..tree[1] as usize {
                let node = Node { column: columns[position], split: splits[position], left: lefts[position] };
                check_node(node, position as u32 - tree[0], tree[1] - tree[0], n_features)?;
                nodes.push(node);
            }
        }
        Ok(Self { nodes, starts: tree_starts.clone() })
    }
}

/// Checks one node of a stored tree. Children that come after their parent make a walk end.
fn check_node(node: Node, position: u32, n_nodes: u32, n_features: usize) -> Result<()> {
    let sound = if node.column == LEAF {
        node.split >= 0.0 && node.split.is_finite()
    } else {
        (node.column as usize) < n_features
            && node.split.is_finite()
            && node.left > position
            && node.left < n_nodes - 1
    };
    if sound {
        return Ok(());
    }
    Err(Error::Shape {
        what: "forest arrays",
        wanted: format!("a leaf, or a split of one of {n_features} columns with children after it"),
        found: format!(
            "at node {position} of {n_nodes}: column {}, split {}, left child {}",
            node.column, node.split, node.left
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn average_path_length_has_the_published_values() {
        assert_eq!(average_path_length(0), 0.0);
        assert_eq!(average_path_length(1), 0.0);
        assert_eq!(average_path_length(2), 1.0);
        // scikit-learn 1.9.1, sklearn.ensemble._iforest._average_path_length.
        for (n, published) in [(5, 2.327020052042847), (256, 10.244770920119917), (999, 12.967939884427995)] {
            assert!((average_path_length(n) - published).abs() < 1e-13, "{n}");
        }
    }

    #[test]
    fn average_path_length_grows_with_the_sample() {
        assert!((2..5000).all(|n| average_path_length(n) > average_path_length(n - 1)));
    }
}

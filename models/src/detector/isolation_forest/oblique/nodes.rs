//! The nodes of an extended forest as plain arrays, and the walk down its trees.

use crate::{Error, Result};

/// The direction of a leaf.
const LEAF: u32 = u32::MAX;

/// One node.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Node {
    /// A row whose place is at most this goes left, a greater one right; in a leaf, the path length that ends here.
    pub(super) split: f64,
    /// Position of the left child from the tree's root; the right child follows it.
    pub(super) left: u32,
    /// Position of its direction among the tree's, or [`LEAF`].
    pub(super) first: u32,
}

impl Node {
    pub(super) fn leaf(path_length: f64) -> Self {
        Self { split: path_length, left: 0, first: LEAF }
    }
}

/// One tree: nodes and directions, `n_columns` columns and weights each.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Tree {
    pub(super) nodes: Vec<Node>,
    directions: Vec<(u32, f32)>,
}

impl Tree {
    /// Keeps a direction, filled up with weights of 0; returns its position.
    pub(super) fn push(&mut self, direction: &[(u32, f32)], n_columns: usize) -> u32 {
        let position = self.directions.len() / n_columns;
        self.directions.extend_from_slice(direction);
        self.directions.resize((position + 1) * n_columns, (direction[0].0, 0.0));
        position as u32
    }
}

/// An extended forest as arrays, for storing it.
#[derive(Debug, Clone, PartialEq)]
pub struct ExtendedForestArrays {
    /// `[n_trees + 1]`: tree `t` has the nodes `tree_starts[t]..tree_starts[t + 1]`; its root is the first.
    pub tree_starts: Vec<u32>,
    /// `[n_nodes]`: position of the left child, counted from the tree's root; the right child follows it; 0 in a leaf.
    pub lefts: Vec<u32>,
    /// `[n_nodes]`: a weighted sum at most this goes left; in a leaf, the path length that ends there, at least 0.
    pub splits: Vec<f64>,
    /// `[n_splits, n_columns]`, row-major: the columns of each node that is no leaf, in the order of the nodes.
    pub columns: Vec<u32>,
    /// `[n_splits, n_columns]`, row-major: their weights; 0 where a split has fewer columns.
    pub weights: Vec<f32>,
}

/// The nodes of all trees, one after the other.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Trees {
    nodes: Vec<Node>,
    /// Where each tree starts, and the number of nodes.
    starts: Vec<u32>,
    directions: Vec<(u32, f32)>,
    n_columns: usize,
}

impl Trees {
    /// Joins trees; at most `u32::MAX` nodes together.
    pub(super) fn join(trees: &[Tree], n_columns: usize) -> Result<Self> {
        let n_nodes: usize = trees.iter().map(|tree| tree.nodes.len()).sum();
        if n_nodes >= u32::MAX as usize {
            return Err(Error::Parameter {
                name: "n_trees",
                found: format!("{} trees of {n_nodes} nodes together", trees.len()),
                expected: format!("fewer than {} nodes; fit fewer trees or set sample_size", u32::MAX),
            });
        }
        let arrays = ExtendedForestArrays {
            tree_starts: std::iter::once(0)
                .chain(trees.iter().scan(0, |end, tree| {
                    *end += tree.nodes.len() as u32;
                    Some(*end)
                }))
                .collect(),
            lefts: trees.iter().flat_map(|tree| tree.nodes.iter().map(|node| node.left)).collect(),
            splits: trees.iter().flat_map(|tree| tree.nodes.iter().map(|node| node.split)).collect(),
            columns: Vec::new(),
            weights: Vec::new(),
        };
        // Directions in the order of their nodes, whichever came first.
        let ordered = trees.iter().flat_map(|tree| {
            tree.nodes.iter().filter(|node| node.first != LEAF).flat_map(|node| {
                tree.directions[node.first as usize * n_columns..][..n_columns].iter().copied()
            })
        });
        let directions = ordered.collect();
        Ok(Self::from_sound(&arrays, directions, n_columns))
    }

    fn from_sound(arrays: &ExtendedForestArrays, directions: Vec<(u32, f32)>, n_columns: usize) -> Self {
        let mut n_splits = 0;
        let nodes = arrays.lefts.iter().zip(&arrays.splits).map(|(&left, &split)| {
            let first = if left == 0 { LEAF } else { n_splits };
            n_splits += u32::from(left != 0);
            Node { split, left, first }
        });
        let nodes = nodes.collect();
        Self { nodes, starts: arrays.tree_starts.clone(), directions, n_columns }
    }

    pub(super) fn n_trees(&self) -> usize {
        self.starts.len() - 1
    }

    pub(super) fn n_nodes(&self) -> usize {
        self.nodes.len()
    }

    pub(super) fn n_columns(&self) -> usize {
        self.n_columns
    }

    /// The mean over the trees of the path length of `row`.
    pub(super) fn mean_path_length(&self, row: &[f32]) -> f64 {
        let lengths = self.starts[..self.n_trees()].iter().map(|&start| {
            let mut node = self.nodes[start as usize];
            while node.first != LEAF {
                let direction = &self.directions[node.first as usize * self.n_columns..][..self.n_columns];
                let right = u32::from(super::place(direction, row) > node.split);
                node = self.nodes[(start + node.left + right) as usize];
            }
            node.split
        });
        lengths.sum::<f64>() / self.n_trees() as f64
    }

    pub(super) fn to_arrays(&self) -> ExtendedForestArrays {
        ExtendedForestArrays {
            tree_starts: self.starts.clone(),
            lefts: self.nodes.iter().map(|node| node.left).collect(),
            splits: self.nodes.iter().map(|node| node.split).collect(),
            columns: self.directions.iter().map(|(column, _)| *column).collect(),
            weights: self.directions.iter().map(|(_, weight)| *weight).collect(),
        }
    }

    /// Rebuilds trees from arrays that are not trusted: whatever they hold, a walk ends and stays inside.
    pub(super) fn from_arrays(
        arrays: &ExtendedForestArrays,
        n_columns: usize,
        n_features: usize,
    ) -> Result<Self> {
        let ExtendedForestArrays { tree_starts, lefts, splits, columns, weights } = arrays;
        let shape = |wanted: &str, found: String| Error::Shape {
            what: "arrays of an extended forest",
            wanted: wanted.into(),
            found,
        };
        let n_nodes = lefts.len();
        let n_splits = lefts.iter().filter(|left| **left != 0).count();
        let found = (splits.len(), columns.len(), weights.len());
        if found != (n_nodes, n_splits * n_columns, n_splits * n_columns) || n_nodes >= u32::MAX as usize {
            let found = format!("{n_nodes} nodes, and splits, columns, weights of {found:?}");
            return Err(shape("a split for each node, columns and weights for each that is no leaf", found));
        }
        let ends = (tree_starts.first(), tree_starts.last());
        let increase = tree_starts.windows(2).all(|tree| tree[0] < tree[1]);
        if tree_starts.len() < 2 || ends != (Some(&0), Some(&(n_nodes as u32))) || !increase {
            return Err(shape(
                "tree starts that increase from 0 to the number of nodes",
                format!("{ends:?}"),
            ));
        }
        for tree in tree_starts.windows(2) {
            let size = tree[1] - tree[0];
            for position in 0..size {
                let (left, split) =
                    (lefts[(tree[0] + position) as usize], splits[(tree[0] + position) as usize]);
                // Children that come after their parent make a walk end.
                let sound = if left == 0 { split >= 0.0 } else { left > position && left < size - 1 };
                if !sound || !split.is_finite() {
                    let found = format!("at node {position} of {size}: split {split}, left child {left}");
                    return Err(shape("a leaf, or a split with children after it", found));
                }
            }
        }
        let bad = columns
            .iter()
            .zip(weights)
            .find(|(column, weight)| **column as usize >= n_features || !weight.is_finite());
        if let Some((column, weight)) = bad {
            let wanted = format!("one of {n_features} columns with a finite weight");
            return Err(shape(&wanted, format!("column {column}, weight {weight}")));
        }
        let directions = columns.iter().copied().zip(weights.iter().copied()).collect();
        Ok(Self::from_sound(arrays, directions, n_columns))
    }
}

//! The nodes of one tree that changes, and the rows in its leaves.

use super::super::grow::Grown;
use super::super::memory::prefetch;
use super::super::nodes;

/// The column of a leaf that no split can part, or that holds one row.
const LEAF: u32 = nodes::LEAF;
/// The column of a leaf at the greatest depth, whose rows may differ.
const UNSPLIT: u32 = nodes::LEAF - 1;

/// Where a row at one end has gone and the others have not been read since.
pub(super) const UNKNOWN_RANGE: (f32, f32) = (f32::INFINITY, f32::NEG_INFINITY);

/// One node, in one line of the cache.
#[derive(Debug, Clone, Copy)]
#[repr(align(32))]
pub(super) struct Node {
    /// The column compared, [`LEAF`] or [`UNSPLIT`].
    pub(super) column: u32,
    /// A value at most this goes left.
    pub(super) split: f32,
    /// Of the column over the node's rows, or [`UNKNOWN_RANGE`].
    pub(super) least: f32,
    pub(super) greatest: f32,
    /// Children; in a leaf `left` is its row, or its group where there are several.
    pub(super) left: u32,
    pub(super) right: u32,
    /// Rows.
    pub(super) count: u32,
    /// One of them.
    pub(super) any: u32,
}

impl Node {
    fn leaf(left: u32, count: u32, any: u32, column: u32) -> Self {
        Self { column, split: 0.0, least: 0.0, greatest: 0.0, left, right: 0, count, any }
    }

    fn of_one(row: u32) -> Self {
        Self::leaf(row, 1, row, LEAF)
    }

    #[inline]
    pub(super) fn is_leaf(&self) -> bool {
        self.column >= UNSPLIT
    }

    pub(super) fn is_unsplit(&self) -> bool {
        self.column == UNSPLIT
    }
}

/// A tree's nodes. The root is node 0; a place that was freed is used again.
#[derive(Debug, Clone, Default)]
pub(super) struct Arena {
    nodes: Vec<Node>,
    free_nodes: Vec<u32>,
    /// Rows of leaves that have several, in any order.
    groups: Vec<Vec<u32>>,
    free_groups: Vec<u32>,
}

impl Arena {
    pub(super) const ROOT: u32 = 0;

    /// A tree of one row.
    pub(super) fn of_one(row: u32) -> Self {
        Self { nodes: vec![Node::of_one(row)], ..Self::default() }
    }

    pub(super) fn n_rows(&self) -> u32 {
        self.nodes.first().map_or(0, |root| root.count)
    }

    #[inline]
    pub(super) fn node(&self, node: u32) -> Node {
        #[cfg(test)]
        super::counts::N_NODES.set(super::counts::N_NODES.get() + 1);
        self.nodes[node as usize]
    }

    /// Asks for the children of a split.
    #[inline]
    pub(super) fn prefetch_children(&self, node: u32) {
        let Node { left, right, column, .. } = self.node(node);
        if column < UNSPLIT {
            prefetch(&self.nodes, left as usize);
            prefetch(&self.nodes, right as usize);
        }
    }

    #[inline]
    pub(super) fn node_mut(&mut self, node: u32) -> &mut Node {
        &mut self.nodes[node as usize]
    }

    fn put(&mut self, node: Node) -> u32 {
        match self.free_nodes.pop() {
            Some(place) => {
                self.nodes[place as usize] = node;
                place
            }
            None => {
                self.nodes.push(node);
                self.nodes.len() as u32 - 1
            }
        }
    }

    fn leaf_of(&mut self, rows: &[u32], column: u32) -> Node {
        if let [row] = *rows {
            return Node::of_one(row);
        }
        let group = match self.free_groups.pop() {
            Some(group) => group,
            None => {
                self.groups.push(Vec::new());
                self.groups.len() as u32 - 1
            }
        };
        self.groups[group as usize].extend_from_slice(rows);
        Node::leaf(group, rows.len() as u32, rows[0], column)
    }

    fn free_group(&mut self, group: u32) {
        self.groups[group as usize].clear();
        self.free_groups.push(group);
    }

    /// Puts `row` on one side of a new split above `node`.
    pub(super) fn separate(&mut self, node: u32, row: u32, is_left: bool, mut above: Node) {
        let old = self.node(node);
        let (row, old) = (self.put(Node::of_one(row)), self.put(old));
        (above.left, above.right) = if is_left { (row, old) } else { (old, row) };
        *self.node_mut(node) = above;
    }

    /// Puts a child in its parent's place; the parent's other child is a leaf of one row.
    pub(super) fn splice(&mut self, parent: u32, child: u32, other: u32) {
        *self.node_mut(parent) = self.node(child);
        self.free_nodes.extend([child, other]);
    }

    /// Adds a row to a leaf that no split can part.
    pub(super) fn add_to_leaf(&mut self, node: u32, row: u32) {
        let Node { left, count, any, .. } = self.node(node);
        if count > 1 {
            self.groups[left as usize].push(row);
            self.node_mut(node).count += 1;
        } else {
            *self.node_mut(node) = self.leaf_of(&[any, row], LEAF);
        }
    }

    /// Makes `node` a leaf that may be split, of its rows and `row`.
    pub(super) fn add_unsplit(&mut self, node: u32, row: u32) {
        if self.node(node).is_leaf() && self.node(node).count > 1 {
            let group = self.node(node).left;
            self.groups[group as usize].push(row);
            let node = self.node_mut(node);
            (node.count, node.column) = (node.count + 1, UNSPLIT);
        } else {
            let mut rows = self.rows(node);
            rows.push(row);
            self.make_leaf(node, &rows);
        }
    }

    /// Makes `node` a leaf of these rows that may be split.
    pub(super) fn make_leaf(&mut self, node: u32, rows: &[u32]) {
        self.clear_below(node);
        let leaf = self.leaf_of(rows, UNSPLIT);
        *self.node_mut(node) = leaf;
    }

    /// Takes a row out of a leaf of several.
    pub(super) fn take_from_leaf(&mut self, node: u32, row: u32) {
        let Node { left: group, count, .. } = self.node(node);
        let rows = &mut self.groups[group as usize];
        let position =
            rows.iter().position(|&other| other == row).expect("a row is in the leaf it falls into");
        rows.swap_remove(position);
        let any = rows[0];
        if count > 2 {
            let node = self.node_mut(node);
            (node.count, node.any) = (count - 1, any);
        } else {
            self.free_group(group);
            *self.node_mut(node) = Node::of_one(any);
        }
    }

    /// Frees what is below `node`, and the node's group if it is a leaf.
    pub(super) fn clear_below(&mut self, node: u32) {
        let mut pending = vec![node];
        while let Some(place) = pending.pop() {
            let Node { left, right, count, .. } = self.node(place);
            if !self.node(place).is_leaf() {
                pending.extend([left, right]);
            } else if count > 1 {
                self.free_group(left);
            }
            if place != node {
                self.free_nodes.push(place);
            }
        }
    }

    /// A split in place of `node`, above leaves of these rows; returns its children.
    pub(super) fn split(&mut self, node: u32, mut above: Node, left: &[u32], right: &[u32]) -> [u32; 2] {
        self.clear_below(node);
        let [left, right] = [left, right].map(|rows| {
            let leaf = self.leaf_of(rows, UNSPLIT);
            self.put(leaf)
        });
        (above.left, above.right) = (left, right);
        *self.node_mut(node) = above;
        [left, right]
    }

    /// Puts a grown tree in place of `node`.
    ///
    /// - `name`: of a row of the grown tree in this one.
    /// - `n_deeper`: splits that a path may still have from here.
    pub(super) fn graft(&mut self, node: u32, tree: &Grown, name: impl Fn(u32) -> u32, n_deeper: u32) {
        if self.nodes.is_empty() {
            self.nodes.push(Node::of_one(0));
        }
        self.clear_below(node);
        let mut rows = Vec::new();
        let mut pending = vec![(0, node, n_deeper)];
        while let Some((from, to, n_deeper)) = pending.pop() {
            let (grown, span) = (tree.nodes[from as usize], tree.spans[from as usize]);
            let made = if grown.column == nodes::LEAF {
                rows.clear();
                rows.extend(tree.rows[span.start as usize..span.end as usize].iter().map(|&row| name(row)));
                self.leaf_of(&rows, if n_deeper == 0 { UNSPLIT } else { LEAF })
            } else {
                let [left, right] = [0, 1].map(|_| self.put(Node::of_one(0)));
                pending.extend([(grown.left, left, n_deeper - 1), (grown.left + 1, right, n_deeper - 1)]);
                let (least, greatest, count) = (span.least, span.greatest, span.end - span.start);
                let any = name(tree.rows[(span.start + count / 2) as usize]);
                Node { column: grown.column, split: grown.split, least, greatest, left, right, count, any }
            };
            *self.node_mut(to) = made;
        }
    }

    /// The rows of `node`, in any order.
    pub(super) fn rows(&self, node: u32) -> Vec<u32> {
        let mut rows = Vec::with_capacity(self.node(node).count as usize);
        let mut pending = vec![node];
        while let Some(node) = pending.pop() {
            let Node { left, right, count, .. } = self.node(node);
            if !self.node(node).is_leaf() {
                pending.extend([right, left]);
            } else if count > 1 {
                rows.extend_from_slice(&self.groups[left as usize]);
            } else {
                rows.push(left);
            }
        }
        rows
    }

    /// Up to four rows of a split, from different parts of it, and some of them twice if it has fewer: always the same, and found quickly.
    #[inline]
    pub(super) fn some_rows(&self, split: Node) -> [u32; 4] {
        let [left, right] = [split.left, split.right].map(|child| {
            let child = self.node(child);
            if child.is_leaf() {
                [child.any; 2]
            } else {
                [child.left, child.right].map(|child| self.node(child).any)
            }
        });
        [left[0], right[0], left[1], right[1]]
    }

    /// Puts `n_rows` of the rows of `node`, in the order of [`rows`](Self::rows) and from `place` of it on, into `rows`; fewer if there are
    /// no more.
    pub(super) fn rows_from(
        &self,
        node: u32,
        mut place: u32,
        n_rows: usize,
        rows: &mut Vec<u32>,
        pending: &mut Vec<u32>,
    ) {
        rows.clear();
        pending.clear();
        pending.push(node);
        while let Some(at) = pending.pop() {
            let node = self.node(at);
            if node.count <= place {
                place -= node.count;
            } else if !node.is_leaf() {
                pending.extend([node.right, node.left]);
            } else if node.count > 1 {
                let group = &self.groups[node.left as usize][place as usize..];
                rows.extend(&group[..group.len().min(n_rows - rows.len())]);
                place = 0;
            } else {
                rows.push(node.left);
            }
            if rows.len() == n_rows {
                return;
            }
        }
    }
}

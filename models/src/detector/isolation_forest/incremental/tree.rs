//! One isolation tree that rows come into and go from, as likely at any time as any other tree grown on its rows.

use super::super::grow::{Grower, Grown, N_TOGETHER, draw_between};
use super::super::samples::Samples;
use super::super::twins::Twins;
use super::arena::{Arena, Node, UNKNOWN_RANGE};
use super::draw::{Change, Glance, Split, is_among};
use crate::Result;
use crate::rng::Rng;

/// What a tree is changed with, on one thread.
pub(super) struct Gardener<'a, S> {
    pub(super) samples: &'a S,
    pub(super) twins: &'a Twins,
    grower: Grower<'a, S>,
    /// The name of row 0 of the samples.
    pub(super) first: u32,
    pub(super) max_depth: u32,
    pub(super) values: Vec<f32>,
    /// Of each tree's nodes that the row comes by, from the root on.
    pub(super) glances: Vec<Vec<Glance>>,
    /// Rows that are looked at, and nodes still to be come by.
    pub(super) looks: (Vec<u32>, Vec<u32>),
    /// Says which rows are looked at first; the result does not depend on it.
    pub(super) any: Rng,
}

impl<'a, S: Samples> Gardener<'a, S> {
    /// - `first`: what row 0 of the samples is called in trees; names go up from there by one, and wrap.
    pub(super) fn new(samples: &'a S, twins: &'a Twins, first: u32, max_depth: u32) -> Self {
        let grower = Grower::new(samples, twins, None, None, samples.n_rows(), None, max_depth).with_spans();
        Self {
            samples,
            twins,
            grower,
            first,
            max_depth,
            values: Vec::new(),
            glances: vec![Vec::new(); N_TOGETHER],
            looks: Default::default(),
            any: Rng::new(0),
        }
    }

    #[inline]
    pub(super) fn value(&self, row: u32, column: u32) -> f32 {
        self.samples.value(row.wrapping_sub(self.first), column)
    }

    /// Positions among the samples, ascending, of the rows of `node` but one.
    pub(super) fn positions(&self, tree: &Arena, node: u32, but: Option<u32>) -> Vec<u32> {
        let mut rows = tree.rows(node);
        if let Some(but) = but
            && let Some(place) = rows.iter().position(|&row| row == but)
        {
            rows.swap_remove(place);
        }
        rows.iter_mut().for_each(|row| *row = row.wrapping_sub(self.first));
        sort(&mut rows, self.samples.n_rows());
        rows
    }

    /// Adds a row to each of up to [`N_TOGETHER`] trees: one from the distribution of trees on `n` rows becomes one from that of trees on
    /// `n + 1`.
    pub(super) fn insert_each(&mut self, trees: &mut [Arena], row: u32, rngs: &mut [Rng]) {
        self.glance_ahead(trees, row, rngs);
        for (i, (tree, rng)) in trees.iter_mut().zip(rngs).enumerate() {
            let glances = std::mem::take(&mut self.glances[i]);
            self.insert(tree, &glances, row, rng);
            self.glances[i] = glances;
        }
    }

    /// Takes a row out of each of up to [`N_TOGETHER`] trees: what [`insert_each`](Self::insert_each) does, run backwards.
    ///
    /// # Panics
    ///
    /// If the row is not in a tree, or the only one.
    pub(super) fn remove_each(&mut self, trees: &mut [Arena], row: u32, rngs: &mut [Rng]) {
        self.glance_ahead(trees, row, rngs);
        for (i, (tree, rng)) in trees.iter_mut().zip(rngs).enumerate() {
            let glances = std::mem::take(&mut self.glances[i]);
            self.remove(tree, &glances, row, rng);
            self.glances[i] = glances;
        }
    }

    fn insert(&mut self, tree: &mut Arena, glances: &[Glance], row: u32, rng: &mut Rng) {
        if tree.n_rows() == 0 {
            *tree = Arena::of_one(row);
            return;
        }
        let (mut at, mut depth) = (Arena::ROOT, 0);
        loop {
            let node = tree.node(at);
            if depth == self.max_depth {
                tree.add_unsplit(at, row);
                return;
            }
            if node.is_leaf() {
                if !node.is_unsplit() && self.are_equal([node.any, row]) {
                    tree.add_to_leaf(at, row);
                    return;
                }
                let rows = self.positions_of(tree, at, row, Change::Insertion);
                self.grow(tree, at, &rows, depth, rng);
                return;
            }
            let glance = &glances[depth as usize];
            let drawn = self.draw(tree, at, glance, row, Change::Insertion);
            if let Split::Beside { least, greatest } = drawn.split {
                let value = self.value(row, drawn.column);
                let is_left = value < least;
                let between = if is_left { (value, least) } else { (greatest, value) };
                let above = Node {
                    column: drawn.column,
                    split: draw_between(between, rng),
                    least: least.min(value),
                    greatest: greatest.max(value),
                    count: node.count + 1,
                    ..node
                };
                tree.separate(at, row, is_left, above);
                return;
            }
            // No split parts the row from all others, so a column is the likelier, the more of its range is theirs.
            let value = self.value(row, node.column);
            let chance = glance.chances[1];
            let is_kept = if node.least <= node.greatest {
                is_among((node.least, node.greatest), value, chance)
            } else {
                let split = self.split(tree, at, row, node.column, glance.rows, Change::Removal, chance);
                matches!(split, Split::Among | Split::Open)
            };
            if !is_kept {
                let column = self.first_varying(tree, at, row, &drawn.open).unwrap_or(drawn.column);
                let rows = self.positions(tree, at, None);
                let range = self.range(&rows, column);
                let rows = self.with(rows, row);
                self.grow_below_split(tree, at, &rows, depth, column, range, rng);
                return;
            }
            let kept = tree.node_mut(at);
            kept.count += 1;
            if self.any.below(kept.count as usize) == 0 {
                kept.any = row;
            }
            if node.least <= node.greatest {
                (kept.least, kept.greatest) = (node.least.min(value), node.greatest.max(value));
            }
            at = if value <= node.split { node.left } else { node.right };
            depth += 1;
        }
    }

    fn remove(&mut self, tree: &mut Arena, glances: &[Glance], row: u32, rng: &mut Rng) {
        let (mut at, mut depth) = (Arena::ROOT, 0);
        loop {
            let node = tree.node(at);
            if node.is_leaf() {
                tree.take_from_leaf(at, row);
                return;
            }
            if depth == self.max_depth {
                let rows: Vec<u32> = tree.rows(at).into_iter().filter(|&other| other != row).collect();
                tree.make_leaf(at, &rows);
                return;
            }
            let value = self.value(row, node.column);
            let (own, other) =
                if value <= node.split { (node.left, node.right) } else { (node.right, node.left) };
            if tree.node(own).count == 1 {
                tree.splice(at, other, own);
                self.deepen(tree, at, depth, rng);
                return;
            }
            let drawn = self.draw(tree, at, &glances[depth as usize], row, Change::Removal);
            if let Split::Beside { least, greatest } = drawn.split {
                let rows = self.positions(tree, at, Some(row));
                self.grow_below_split(tree, at, &rows, depth, drawn.column, (least, greatest), rng);
                return;
            }
            let any = tree.node(other).any;
            let kept = tree.node_mut(at);
            kept.count -= 1;
            if kept.any == row {
                kept.any = any;
            }
            if value == node.least || value == node.greatest {
                // Perhaps another row has the value too; to see that would be to read all of them.
                (kept.least, kept.greatest) = UNKNOWN_RANGE;
            }
            at = own;
            depth += 1;
        }
    }

    /// Splits leaves of several rows that are not as deep as a path may be.
    pub(super) fn deepen(&mut self, tree: &mut Arena, from: u32, depth: u32, rng: &mut Rng) {
        let mut pending = vec![(from, depth)];
        while let Some((at, depth)) = pending.pop() {
            let node = tree.node(at);
            if depth >= self.max_depth {
                continue;
            }
            if node.is_unsplit() {
                let rows = self.positions(tree, at, None);
                self.grow(tree, at, &rows, depth, rng);
            } else if !node.is_leaf() {
                pending.extend([(node.left, depth + 1), (node.right, depth + 1)]);
            }
        }
    }

    /// Grows new trees of the first `n_rows` samples, one from each generator.
    pub(super) fn plant(&mut self, n_rows: usize, rngs: impl Iterator<Item = Rng>) -> Vec<Arena> {
        let rows: Vec<u32> = (0..n_rows as u32).collect();
        let grown = self.grower.grow_each_on(&rows, 0, rngs);
        let plant = |grown: Result<Grown>| {
            let mut tree = Arena::of_one(self.first);
            self.graft(&mut tree, Arena::ROOT, grown, 0);
            tree
        };
        grown.into_iter().map(plant).collect()
    }

    /// Grows anew what is at and below a node, on rows at these positions.
    fn grow(&mut self, tree: &mut Arena, at: u32, rows: &[u32], depth: u32, rng: &mut Rng) {
        let own = [Rng::new(rng.next_u64())];
        let grown = self.grower.grow_each_on(rows, depth, own.into_iter()).pop();
        self.graft(tree, at, grown.expect("as many trees as generators"), depth);
    }

    fn graft(&self, tree: &mut Arena, at: u32, grown: Result<Grown>, depth: u32) {
        let grown = grown.expect("the rows of a pool are finite");
        tree.graft(at, &grown, |row| row.wrapping_add(self.first), self.max_depth - depth);
    }

    /// Grows anew what is below a node, whose own column is given and whose split lies in `range`.
    #[expect(clippy::too_many_arguments)]
    fn grow_below_split(
        &mut self,
        tree: &mut Arena,
        at: u32,
        rows: &[u32],
        depth: u32,
        column: u32,
        range: (f32, f32),
        rng: &mut Rng,
    ) {
        let split = draw_between(range, rng);
        let (least, greatest) = self.range(rows, column);
        let (left, right): (Vec<_>, Vec<_>) =
            rows.iter().zip(&self.values).partition(|(_, value)| **value <= split);
        let sides = [left, right].map(|side| side.into_iter().map(|(row, _)| *row).collect::<Vec<u32>>());
        let any = sides[0][0].wrapping_add(self.first);
        let above = Node { column, split, least, greatest, left: 0, right: 0, count: rows.len() as u32, any };
        let children = tree.split(at, above, &sides[0], &sides[1]);
        for (child, side) in children.into_iter().zip(sides) {
            self.grow(tree, child, &side, depth + 1, rng);
        }
    }

    /// The least and the greatest value, which [`values`](Self::values) then holds, of a column in rows at these positions.
    pub(super) fn range(&mut self, rows: &[u32], column: u32) -> (f32, f32) {
        self.samples.gather(column, rows, &mut self.values);
        self.values.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(least, greatest), &value| {
            (least.min(value), greatest.max(value))
        })
    }

    /// Positions of the rows that the node will have.
    pub(super) fn positions_of(&self, tree: &Arena, at: u32, row: u32, change: Change) -> Vec<u32> {
        let rows = self.positions(tree, at, Some(row));
        if change == Change::Insertion { self.with(rows, row) } else { rows }
    }

    fn with(&self, mut positions: Vec<u32>, row: u32) -> Vec<u32> {
        let row = row.wrapping_sub(self.first);
        positions.insert(positions.partition_point(|&other| other < row), row);
        positions
    }
}

/// Sorts different numbers below `end`.
fn sort(numbers: &mut [u32], end: usize) {
    // Few of many are sorted quickly; of many, marks are set and read in order.
    if numbers.len() * 16 < end || numbers.len() < 16 {
        numbers.sort_unstable();
        return;
    }
    let mut marks = vec![0u64; end.div_ceil(64)];
    numbers.iter().for_each(|&number| marks[number as usize / 64] |= 1 << (number % 64));
    let mut places = numbers.iter_mut();
    for (word, mut bits) in (0..).zip(marks) {
        while bits != 0 {
            *places.next().expect("as many numbers as marks") = 64 * word + bits.trailing_zeros();
            bits &= bits - 1;
        }
    }
}

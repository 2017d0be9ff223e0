//! One isolation tree that rows come into and go from, as likely at any time as any other tree grown on its rows.

use super::super::grow::{Grower, Grown, draw_between, max_rejections};
use super::super::samples::Samples;
use super::super::twins::Twins;
use super::arena::{Arena, Node, UNKNOWN_RANGE};
use crate::Result;
use crate::rng::Rng;

/// Rows looked at together: most often two of them lie on both sides of the row in question.
const N_GLANCES: usize = 4;

/// Columns known to be constant that are drawn at once; fewer than [`max_rejections`].
const N_KNOWN: usize = 8;

/// How often so many are looked at before all of a node are read: reading `n` rows takes the time of `n / 64` looks or more, and is
/// the rarer, the more were looked at.
fn n_tries(n_rows: u32) -> u32 {
    (n_rows / 64).max(6).min(n_rows / (2 * N_GLANCES as u32)).max(1)
}

/// What a tree is changed with, on one thread.
pub(super) struct Gardener<'a, S> {
    samples: &'a S,
    twins: &'a Twins,
    grower: Grower<'a, S>,
    /// The name of row 0 of the samples.
    first: u32,
    max_depth: u32,
    values: Vec<f32>,
    /// Of the nodes that the row comes by, from the root on.
    glances: Vec<Glance>,
    /// Says which rows are looked at first; the result does not depend on it.
    any: Rng,
}

/// What is drawn for a node, and looked at first there, asked for early.
#[derive(Clone)]
struct Glance {
    /// Two numbers in [0, 1): what a chance is compared with, for a new column and for the node's own.
    chances: [f64; 2],
    /// For a column out of a list.
    listed: Rng,
    /// For a column out of all; has drawn `n_rejected` and `column`.
    columns: Rng,
    n_rejected: usize,
    column: u32,
    rows: [u32; N_GLANCES],
}

/// What a split does, uniform in a column's range over a node's rows and the row in question.
enum Split {
    /// There is none: neither they nor the row vary.
    None,
    /// It parts some of them from others.
    Among,
    /// It parts the row from all of them; they have this range.
    Beside { least: f32, greatest: f32 },
}

/// What happens to the tree.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Change {
    Insertion,
    Removal,
}

/// A column drawn uniformly among those that vary.
struct Drawn {
    column: u32,
    split: Split,
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
            glances: Vec::new(),
            any: Rng::new(0),
        }
    }

    #[inline]
    fn value(&self, row: u32, column: u32) -> f32 {
        self.samples.value(row.wrapping_sub(self.first), column)
    }

    /// Positions among the samples, ascending, of the rows of `node` but one.
    fn positions(&self, tree: &Arena, node: u32, but: Option<u32>) -> Vec<u32> {
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

    /// Asks for what will be looked at first in the nodes that the row comes by, so that it need not be waited for at each.
    fn glance_ahead(&mut self, tree: &Arena, row: u32, rng: &mut Rng) {
        self.glances.clear();
        let n_features = self.samples.n_features();
        let mut at = Arena::ROOT;
        while !tree.node(at).is_leaf() && self.glances.len() < self.max_depth as usize {
            // Columns are drawn from a generator of their own: what is known of constant ones, which depends on rows that have gone,
            // changes how many are drawn here, not which is found.
            let [mut columns, mut listed] = Rng::new(rng.next_u64()).branch();
            let chances = [listed.uniform(), listed.uniform()];
            let mut column = columns.below(n_features) as u32;
            let mut n_rejected = 0;
            while n_rejected < N_KNOWN && self.samples.is_known_constant(column) {
                n_rejected += 1;
                column = columns.below(n_features) as u32;
            }
            let rows = tree.some_rows(tree.node(at));
            let mut positions = rows.map(|row| row.wrapping_sub(self.first));
            positions.sort_unstable();
            self.samples.prefetch(column, &positions);
            self.glances.push(Glance { chances, listed, columns, n_rejected, column, rows });
            let Node { column, split, left, right, .. } = tree.node(at);
            at = if self.value(row, column) <= split { left } else { right };
        }
    }

    fn any_rows(&mut self, tree: &Arena, at: u32) -> [u32; N_GLANCES] {
        std::array::from_fn(|_| tree.any_row(at, &mut self.any))
    }

    /// Adds a row: a tree from the distribution of trees on `n` rows becomes one from that of trees on `n + 1`.
    pub(super) fn insert(&mut self, tree: &mut Arena, row: u32, rng: &mut Rng) {
        if tree.n_rows() == 0 {
            *tree = Arena::of_one(row);
            return;
        }
        self.glance_ahead(tree, row, rng);
        let (mut at, mut depth) = (Arena::ROOT, 0);
        loop {
            let node = tree.node(at);
            if depth == self.max_depth {
                tree.add_unsplit(at, row);
                return;
            }
            if node.is_leaf() {
                let rows = self.positions_of(tree, at, row, Change::Insertion);
                self.grow(tree, at, &rows, depth, rng);
                return;
            }
            let drawn = self.draw(tree, at, depth, row, Change::Insertion);
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
            let chance = self.glances[depth as usize].chances[1];
            let is_kept = if node.least <= node.greatest {
                is_among((node.least, node.greatest), value, chance)
            } else {
                let rows = self.any_rows(tree, at);
                matches!(self.split(tree, at, row, node.column, rows, Change::Removal, chance), Split::Among)
            };
            if !is_kept {
                let rows = self.positions(tree, at, None);
                let range = self.range(&rows, drawn.column);
                let rows = self.with(rows, row);
                self.grow_below_split(tree, at, &rows, depth, drawn.column, range, rng);
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

    /// Takes a row out: what [`insert`](Self::insert) does, run backwards.
    ///
    /// # Panics
    ///
    /// If the row is not in the tree, or the only one.
    pub(super) fn remove(&mut self, tree: &mut Arena, row: u32, rng: &mut Rng) {
        self.glance_ahead(tree, row, rng);
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
            let drawn = self.draw(tree, at, depth, row, Change::Removal);
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
    fn range(&mut self, rows: &[u32], column: u32) -> (f32, f32) {
        self.samples.gather(column, rows, &mut self.values);
        self.values.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(least, greatest), &value| {
            (least.min(value), greatest.max(value))
        })
    }

    /// Draws a column uniformly among those that vary over the node's rows, with `row` if it comes and without it if it goes, and
    /// finds where the row lies in it.
    fn draw(&mut self, tree: &Arena, at: u32, depth: u32, row: u32, change: Change) -> Drawn {
        let n_features = self.samples.n_features();
        let Glance { chances: [chance, _], mut listed, mut columns, mut n_rejected, mut column, mut rows } =
            self.glances[depth as usize].clone();
        let mut list = self.twins_vary(tree, at, row, change);
        while list.is_none() {
            if !self.samples.is_known_constant(column) {
                match self.split(tree, at, row, column, rows, change, chance) {
                    Split::None => {}
                    split => return Drawn { column, split },
                }
            }
            n_rejected += 1;
            if n_rejected == max_rejections(n_features) {
                list = Some(self.samples.varying(&self.positions_of(tree, at, row, change)));
            } else {
                column = columns.below(n_features) as u32;
                rows = self.any_rows(tree, at);
            }
        }
        let list = list.expect("the loop ends with a list");
        let column = list[listed.below(list.len())];
        let rows = self.any_rows(tree, at);
        Drawn { column, split: self.split(tree, at, row, column, rows, change, chance) }
    }

    /// Positions of the rows that the node will have.
    fn positions_of(&self, tree: &Arena, at: u32, row: u32, change: Change) -> Vec<u32> {
        let rows = self.positions(tree, at, Some(row));
        if change == Change::Insertion { self.with(rows, row) } else { rows }
    }

    fn with(&self, mut positions: Vec<u32>, row: u32) -> Vec<u32> {
        let row = row.wrapping_sub(self.first);
        positions.insert(positions.partition_point(|&other| other < row), row);
        positions
    }

    /// The columns that vary, where the rows are nearly equal.
    fn twins_vary(&mut self, tree: &Arena, at: u32, row: u32, change: Change) -> Option<Vec<u32>> {
        let pair = [tree.any_row(at, &mut self.any), row].map(|row| row.wrapping_sub(self.first));
        if !self.twins.share_hub(&pair) {
            return None;
        }
        let rows = self.positions_of(tree, at, row, change);
        self.twins.share_hub(&rows).then(|| self.twins.varying(self.samples, &rows))
    }

    /// What a split of a column does to `row` and the node's other rows.
    ///
    /// The chance that it parts some of them from others is `r`, the share of their range in the range of all; that it does is what `chance < r`
    /// says. Some of the rows have a smaller range than all, so `r` is at least what it is for them, and few need be looked
    /// at, most often.
    ///
    /// - `rows`: of the node, looked at first.
    /// - `change`: an insertion if a column in which only the row differs is one to be split, a removal if not.
    #[expect(clippy::too_many_arguments)]
    fn split(
        &mut self,
        tree: &Arena,
        at: u32,
        row: u32,
        column: u32,
        mut rows: [u32; N_GLANCES],
        change: Change,
        chance: f64,
    ) -> Split {
        let value = self.value(row, column);
        let (mut least, mut greatest) = (f32::INFINITY, f32::NEG_INFINITY);
        for _ in 0..n_tries(tree.node(at).count) {
            for other in rows.into_iter().filter(|&other| other != row) {
                let other = self.value(other, column);
                (least, greatest) = (least.min(other), greatest.max(other));
            }
            if least < greatest && is_among((least, greatest), value, chance) {
                return Split::Among;
            }
            rows = self.any_rows(tree, at);
        }
        let rows = self.positions(tree, at, Some(row));
        let (least, greatest) = self.range(&rows, column);
        if least == greatest && (change == Change::Removal || value == least) {
            Split::None
        } else if is_among((least, greatest), value, chance) {
            Split::Among
        } else {
            Split::Beside { least, greatest }
        }
    }
}

/// Whether a split, uniform in a range widened to `value`, falls into the range itself; `chance` is uniform in [0, 1).
fn is_among((least, greatest): (f32, f32), value: f32, chance: f64) -> bool {
    let width = |least: f32, greatest: f32| f64::from(greatest) - f64::from(least);
    value >= least && value <= greatest
        || chance * width(least.min(value), greatest.max(value)) < width(least, greatest)
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

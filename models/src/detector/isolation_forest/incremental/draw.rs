//! Columns drawn for the nodes that a row comes by, and what a split of them does to the row, known by a look at few of the others.

use super::super::grow::max_rejections;
use super::super::samples::Samples;
use super::arena::{Arena, Node};
use super::tree::Gardener;
use crate::rng::Rng;

/// Rows of a node that are looked at first.
const N_GLANCES: usize = 4;

/// Columns known to be constant that are drawn at once; fewer than [`max_rejections`].
const N_KNOWN: usize = 8;

/// Rows looked at together after those.
const N_LOOKS: usize = 8;

/// All rows of a node are read where otherwise more than one in so many would be looked at.
const FEW: usize = 4;

/// What is drawn for a node, and looked at first there, asked for early.
#[derive(Clone)]
pub(super) struct Glance {
    /// Two numbers in [0, 1): what a chance is compared with, for a new column and for the node's own.
    pub(super) chances: [f64; 2],
    /// For a column out of a list.
    listed: Rng,
    /// For a column out of all; has drawn `n_rejected` and `column`.
    columns: Rng,
    n_rejected: usize,
    column: u32,
    pub(super) rows: [u32; N_GLANCES],
}

/// What a split does, uniform in a column's range over a node's rows and the row in question.
pub(super) enum Split {
    /// There is none: neither they nor the row vary.
    None,
    /// There is none, or it parts some of them from others: those looked at are as the row.
    Open,
    /// It parts some of them from others.
    Among,
    /// It parts the row from all of them; they have this range.
    Beside { least: f32, greatest: f32 },
}

/// What happens to the tree.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    Insertion,
    Removal,
}

/// A column drawn uniformly among those that vary.
pub(super) struct Drawn {
    pub(super) column: u32,
    pub(super) split: Split,
    /// Columns drawn before it: if one of them varies, the first that does is the one drawn, and its split is [`Split::Among`], as this is.
    pub(super) open: Vec<u32>,
}

impl<S: Samples> Gardener<'_, S> {
    /// Asks for what will be looked at first in the nodes of up to [`N_TOGETHER`] trees that the row comes by, so that it need not be waited for
    /// at each. The trees take turns, and wait at the same time.
    pub(super) fn glance_ahead(&mut self, trees: &[Arena], row: u32, rngs: &mut [Rng]) {
        self.glances.iter_mut().for_each(Vec::clear);
        let n_features = self.samples.n_features();
        let position = [row.wrapping_sub(self.first)];
        let mut walking: Vec<(usize, u32)> = (0..trees.len()).map(|i| (i, Arena::ROOT)).collect();
        for _ in 0..self.max_depth {
            walking.retain(|&(i, at)| trees[i].n_rows() > 0 && !trees[i].node(at).is_leaf());
            for &(i, at) in &walking {
                trees[i].prefetch_children(at);
                self.samples.prefetch(trees[i].node(at).column, &position);
            }
            for &(i, at) in &walking {
                let Node { left, right, .. } = trees[i].node(at);
                trees[i].prefetch_children(left);
                trees[i].prefetch_children(right);
            }
            for (i, at) in &mut walking {
                let (tree, rng) = (&trees[*i], &mut rngs[*i]);
                // Columns are drawn from a generator of their own: what is known of constant ones, which depends on rows that have
                // gone, changes how many are drawn here, not which is found.
                let [mut columns, mut listed] = Rng::new(rng.next_u64()).branch();
                let chances = [listed.uniform(), listed.uniform()];
                let mut column = columns.below(n_features) as u32;
                let mut n_rejected = 0;
                while n_rejected < N_KNOWN && self.samples.is_known_constant(column) {
                    n_rejected += 1;
                    column = columns.below(n_features) as u32;
                }
                let rows = tree.some_rows(tree.node(*at));
                // The row itself too: its new column lies elsewhere than its own.
                let [a, b, c, d] = rows;
                let mut positions = [a, b, c, d, row].map(|row| row.wrapping_sub(self.first));
                positions.sort_unstable();
                self.samples.prefetch(column, &positions);
                self.glances[*i].push(Glance { chances, listed, columns, n_rejected, column, rows });
                let Node { column, split, left, right, .. } = tree.node(*at);
                *at = if self.value(row, column) <= split { left } else { right };
            }
        }
    }

    /// Draws a column uniformly among those that vary over the node's rows, with `row` if it comes and without it if it goes, and
    /// finds where the row lies in it.
    ///
    /// Of a column in which few rows differ from all others, most often none is seen, nor is the row in question one: either it is constant, and
    /// another column is drawn, or no split of it parts the row from all others. To know would be to read all rows. So
    /// it is left open until a column is drawn which would part them: if there is none, it makes no difference.
    pub(super) fn draw(&mut self, tree: &Arena, at: u32, glance: &Glance, row: u32, change: Change) -> Drawn {
        let n_features = self.samples.n_features();
        let Glance { chances: [chance, _], mut listed, mut columns, mut n_rejected, mut column, rows } =
            glance.clone();
        let mut open = Vec::new();
        let among = |column| Drawn { column, split: Split::Among, open: Vec::new() };
        let mut list = self.twins_vary(tree, at, rows, row, change);
        while list.is_none() {
            let mut is_settled = false;
            if !self.samples.is_known_constant(column) {
                match self.split(tree, at, row, column, rows, change, chance) {
                    Split::None => {}
                    Split::Among => return Drawn { column, split: Split::Among, open },
                    Split::Open => {
                        open.push(column);
                        // By now, to read all rows takes no longer.
                        is_settled = open.len() * 2 * N_GLANCES >= tree.node(at).count as usize;
                    }
                    split @ Split::Beside { .. } => {
                        return match self.first_varying(tree, at, row, &open) {
                            Some(column) => among(column),
                            None => Drawn { column, split, open: Vec::new() },
                        };
                    }
                }
            }
            n_rejected += 1;
            let is_last = n_rejected == max_rejections(n_features);
            if is_settled || is_last {
                if let Some(column) = self.first_varying(tree, at, row, &open) {
                    return among(column);
                }
                open.clear();
            }
            if is_last {
                list = Some(self.samples.varying(&self.positions_of(tree, at, row, change)));
            } else {
                column = columns.below(n_features) as u32;
            }
        }
        let list = list.expect("the loop ends with a list");
        let column = list[listed.below(list.len())];
        let split = match self.split(tree, at, row, column, rows, change, chance) {
            // It varies: it was listed.
            Split::Open => Split::Among,
            split => split,
        };
        Drawn { column, split, open }
    }

    /// The first of `columns` that varies over the node's rows but `row`.
    pub(super) fn first_varying(&mut self, tree: &Arena, at: u32, row: u32, columns: &[u32]) -> Option<u32> {
        if columns.is_empty() {
            return None;
        }
        let rows = self.positions(tree, at, Some(row));
        columns.iter().copied().find(|&column| {
            let (least, greatest) = self.range(&rows, column);
            least < greatest
        })
    }

    /// The columns that vary, where the rows, of which these are some, are nearly equal.
    fn twins_vary(
        &mut self,
        tree: &Arena,
        at: u32,
        some: [u32; N_GLANCES],
        row: u32,
        change: Change,
    ) -> Option<Vec<u32>> {
        let positions = |row: u32| row.wrapping_sub(self.first);
        if some.iter().any(|&other| !self.twins.share_hub(&[other, row].map(positions))) {
            return None;
        }
        let rows = self.positions_of(tree, at, row, change);
        self.twins.share_hub(&rows).then(|| self.twins.varying(self.samples, &rows))
    }

    /// Whether two rows are known to be equal.
    pub(super) fn are_equal(&self, rows: [u32; 2]) -> bool {
        let positions = rows.map(|row| row.wrapping_sub(self.first));
        self.twins.share_hub(&positions) && self.twins.varying(self.samples, &positions).is_empty()
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
    pub(super) fn split(
        &mut self,
        tree: &Arena,
        at: u32,
        row: u32,
        column: u32,
        rows: [u32; N_GLANCES],
        change: Change,
        chance: f64,
    ) -> Split {
        let value = self.value(row, column);
        let (mut least, mut greatest) = (f32::INFINITY, f32::NEG_INFINITY);
        let (samples, first) = (self.samples, self.first);
        let mut see = |rows: &[u32]| {
            for &other in rows.iter().filter(|&&other| other != row) {
                let other = samples.value(other.wrapping_sub(first), column);
                (least, greatest) = (least.min(other), greatest.max(other));
            }
            if least < greatest && is_among((least, greatest), value, chance) {
                Some(Split::Among)
            } else {
                (value == least && value == greatest).then_some(Split::Open)
            }
        };
        if let Some(split) = see(&rows) {
            return split;
        }
        // Rows that lie together in the tree, from anywhere in it.
        let count = tree.node(at).count as usize;
        let (mut others, mut pending) = std::mem::take(&mut self.looks);
        let mut split = None;
        for _ in 0..count / (FEW * N_LOOKS) {
            let place = self.any.below(count - N_LOOKS) as u32;
            tree.rows_from(at, place, N_LOOKS, &mut others, &mut pending);
            split = see(&others);
            if split.is_some() {
                break;
            }
        }
        self.looks = (others, pending);
        if let Some(split) = split {
            return split;
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
pub(super) fn is_among((least, greatest): (f32, f32), value: f32, chance: f64) -> bool {
    let width = |least: f32, greatest: f32| f64::from(greatest) - f64::from(least);
    value >= least && value <= greatest
        || chance * width(least.min(value), greatest.max(value)) < width(least, greatest)
}

//! Growing isolation trees, several at once on one thread.
//!
//! What a node reads is scattered over gigabytes. So the trees take turns: each draws a column; then they ask for the pages of what
//! they drew, so that the processor translates these addresses at the same time; then for all values; and only then each reads its own.
//!
//! A tree depends on its own generator only, whatever trees grow beside it, and a node on the one that its parent handed down, whatever
//! was grown elsewhere in the tree: so a tree can be grown for one row alone, along its path, and that path is the one which the whole
//! tree would have.

use super::nodes::{Node, average_path_length};
use super::partition::{partition, range};
use super::samples::Samples;
use super::twins::{Twins, not_finite, varies};
use super::weighted::draw_rows;
use crate::Result;
use crate::rng::Rng;
use std::rc::Rc;

/// Trees grown together: enough to wait for memory at the same time, so few that what was asked for is still at hand, and its
/// addresses are still translated, when it is read.
pub(super) const N_TOGETHER: usize = 8;

/// Draws from all columns before the node's rows are read in full: about what costs as much.
pub(super) fn max_rejections(n_columns: usize) -> usize {
    (n_columns / 256).clamp(16, 4096)
}

/// Which columns may vary in a node.
#[derive(Clone)]
enum Candidates {
    All,
    /// No other column varies.
    Listed(Rc<[u32]>),
}

/// Where a node is.
#[derive(Clone, Copy)]
struct Place {
    node_idx: u32,
    /// Its rows are `rows[start..end]` of its tree.
    start: u32,
    end: u32,
    depth: u32,
}

impl Place {
    fn range(self) -> std::ops::Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// A node whose split is still to be drawn.
struct Pending {
    rng: Rng,
    place: Place,
    candidates: Candidates,
    /// All its rows share a hub, and the candidates were listed from that.
    twins: bool,
    /// The column drawn last, and how many were drawn before it.
    column: u32,
    n_rejected: u32,
}

/// What a node was made of, for who goes on with the tree.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    /// Its rows are `rows[start..end]` of its tree.
    pub(super) start: u32,
    pub(super) end: u32,
    /// Of its column over its rows, unless it is a leaf.
    pub(super) least: f32,
    pub(super) greatest: f32,
}

impl Span {
    fn new(start: u32, end: u32) -> Self {
        Self { start, end, least: 0.0, greatest: 0.0 }
    }
}

/// A tree that is grown.
pub(super) struct Grown {
    pub(super) nodes: Vec<Node>,
    /// Of the nodes; empty unless they are asked for.
    pub(super) spans: Vec<Span>,
    /// Ascending within every node.
    pub(super) rows: Vec<u32>,
}

/// A tree that is growing.
struct Seedling {
    nodes: Vec<Node>,
    spans: Vec<Span>,
    rows: Vec<u32>,
    /// Nodes to be drawn for, the next one last.
    pending: Vec<Pending>,
    /// Its number among those that one grower grows.
    number: usize,
}

impl Seedling {
    /// The column drawn for the next node, and the node's rows.
    fn drawn(&self) -> Option<(u32, &[u32])> {
        self.pending.last().map(|node| (node.column, &self.rows[node.place.range()]))
    }
}

/// What grows trees on one thread.
pub(super) struct Grower<'a, S> {
    samples: &'a S,
    twins: &'a Twins,
    root: Candidates,
    /// The row whose path is grown; absent: all of a tree.
    toward: Option<&'a [f32]>,
    sample_size: usize,
    /// How likely each row is drawn; `None`: all alike.
    weights: Option<&'a [f64]>,
    max_depth: u32,
    has_spans: bool,
    /// Values of the column drawn last, in the order of the node's rows.
    values: Vec<f32>,
    /// Rows on their way to the right.
    moved: Vec<u32>,
}

impl<'a, S: Samples> Grower<'a, S> {
    pub(super) fn new(
        samples: &'a S,
        twins: &'a Twins,
        varying: Option<&[u32]>,
        toward: Option<&'a [f32]>,
        sample_size: usize,
        weights: Option<&'a [f64]>,
        max_depth: u32,
    ) -> Self {
        let root = varying.map_or(Candidates::All, |listed| Candidates::Listed(listed.into()));
        let (values, moved) = (Vec::with_capacity(sample_size), vec![0; sample_size]);
        let has_spans = false;
        Self { samples, twins, root, toward, sample_size, weights, max_depth, has_spans, values, moved }
    }

    /// A grower whose trees know what their nodes were made of.
    pub(super) fn with_spans(self) -> Self {
        Self { has_spans: true, ..self }
    }

    /// Grows a tree from each generator, or what is wanted of it; each depends on the samples and its generator alone.
    pub(super) fn grow(&mut self, rngs: impl Iterator<Item = Rng>) -> Vec<Result<Grown>> {
        let (n_rows, sample_size, weights) = (self.samples.n_rows(), self.sample_size, self.weights);
        self.grow_up(rngs.map(|mut rng| (draw_rows(n_rows, sample_size, weights, &mut rng), 0, rng)))
    }

    /// Grows what comes below a node at `depth` of `rows`, which ascend, from each generator.
    pub(super) fn grow_each_on(
        &mut self,
        rows: &[u32],
        depth: u32,
        rngs: impl Iterator<Item = Rng>,
    ) -> Vec<Result<Grown>> {
        self.grow_up(rngs.map(|rng| (rows.to_vec(), depth, rng)))
    }

    /// Grows what comes below a node of these rows, at this depth, from this generator; for each of them, in their order. Where one
    /// tree is done the next begins.
    fn grow_up(&mut self, mut starts: impl Iterator<Item = (Vec<u32>, u32, Rng)>) -> Vec<Result<Grown>> {
        let mut growing: Vec<Seedling> = Vec::with_capacity(N_TOGETHER);
        let mut grown: Vec<(usize, Result<Grown>)> = Vec::new();
        loop {
            while growing.len() < N_TOGETHER {
                let Some((rows, depth, rng)) = starts.next() else { break };
                growing.push(self.sow(rows, depth, rng, grown.len() + growing.len()));
            }
            if growing.is_empty() {
                break;
            }
            growing.iter_mut().for_each(|tree| self.draw_column(tree));
            let drawn = || growing.iter().filter_map(Seedling::drawn);
            drawn().for_each(|(column, rows)| self.samples.touch(column, rows));
            drawn().for_each(|(column, rows)| self.samples.prefetch(column, rows));
            let mut i = 0;
            while let Some(tree) = growing.get_mut(i) {
                let end = match tree.pending.pop() {
                    Some(node) => self.visit(node, tree).err().map(Err),
                    None => Some(Ok(())),
                };
                if let Some(end) = end {
                    let Seedling { nodes, spans, rows, number, .. } = growing.swap_remove(i);
                    grown.push((number, end.map(|()| Grown { nodes, spans, rows })));
                } else {
                    i += 1;
                }
            }
        }
        grown.sort_unstable_by_key(|(number, _)| *number);
        grown.into_iter().map(|(_, tree)| tree).collect()
    }

    fn sow(&self, rows: Vec<u32>, depth: u32, rng: Rng, number: usize) -> Seedling {
        let end = rows.len() as u32;
        let spans = if self.has_spans { vec![Span::new(0, end)] } else { Vec::new() };
        let nodes = vec![Node::leaf(0.0)];
        let mut seedling = Seedling { nodes, spans, rows, pending: Vec::new(), number };
        let root = Place { node_idx: 0, start: 0, end, depth };
        self.plant(rng, root, self.root.clone(), false, &mut seedling);
        seedling
    }

    /// Makes a node a leaf, or the next to be drawn for.
    #[inline]
    fn plant(
        &self,
        rng: Rng,
        place: Place,
        mut candidates: Candidates,
        mut twins: bool,
        seedling: &mut Seedling,
    ) {
        let rows = &seedling.rows[place.range()];
        if rows.len() < 2 || place.depth >= self.max_depth {
            return finish(place, seedling);
        }
        // c(2) = 1: a leaf of two rows has the path length of the two leaves that a split makes of it, so that whether these rows
        // differ at all, in a few of a million columns, need not be known.
        if let (&[first, second], false) = (rows, self.has_spans)
            && self.twins.look_alike(first, second)
        {
            return finish(place, seedling);
        }
        if !twins && self.twins.share_hub(rows) {
            candidates = Candidates::Listed(self.twins.varying(self.samples, rows).into());
            twins = true;
        }
        if self.n_candidates(&candidates) == 0 {
            return finish(place, seedling);
        }
        seedling.pending.push(Pending { rng, place, candidates, twins, column: 0, n_rejected: 0 });
    }

    fn n_candidates(&self, candidates: &Candidates) -> usize {
        match candidates {
            Candidates::All => self.samples.n_features(),
            Candidates::Listed(columns) => columns.len(),
        }
    }

    /// Draws a column for the next node.
    fn draw_column(&self, seedling: &mut Seedling) {
        let Some(node) = seedling.pending.last_mut() else { return };
        let n_candidates = self.n_candidates(&node.candidates);
        loop {
            let drawn = node.rng.below(n_candidates);
            node.column = match &node.candidates {
                Candidates::All => drawn as u32,
                Candidates::Listed(columns) => columns[drawn],
            };
            let is_last = node.n_rejected as usize + 1 >= max_rejections(n_candidates);
            if is_last || !self.samples.is_known_constant(node.column) {
                break;
            }
            node.n_rejected += 1;
        }
    }

    /// Splits a node if its column varies, uniformly in the column's range; else draws another column.
    ///
    /// A uniform choice among the varying columns is made by rejection: a column is drawn among all, and drawn again if
    /// it is constant. Where that fails too often, the varying columns are listed, and the children draw from the list.
    fn visit(&mut self, mut node: Pending, seedling: &mut Seedling) -> Result<()> {
        let rows = &seedling.rows[node.place.range()];
        self.samples.gather(node.column, rows, &mut self.values);
        let (least, greatest) = range(&self.values);
        if least.is_nan() {
            let position = self.values.iter().position(|value| !value.is_finite()).unwrap_or(0);
            return Err(not_finite(self.samples, rows[position] as usize, node.column));
        }
        if least < greatest {
            let split = draw_between((least, greatest), &mut node.rng);
            if let Some(span) = seedling.spans.get_mut(node.place.node_idx as usize) {
                (span.least, span.greatest) = (least, greatest);
            }
            self.split(node, split, seedling);
            return Ok(());
        }
        node.n_rejected += 1;
        if node.n_rejected as usize >= max_rejections(self.n_candidates(&node.candidates)) {
            let varying: Rc<[u32]> = match &node.candidates {
                Candidates::All => self.samples.varying(rows).into(),
                Candidates::Listed(columns) => {
                    columns.iter().copied().filter(|&column| varies(self.samples, rows, column)).collect()
                }
            };
            node.candidates = Candidates::Listed(varying);
            node.n_rejected = 0;
            if self.n_candidates(&node.candidates) == 0 {
                finish(node.place, seedling);
                return Ok(());
            }
        }
        seedling.pending.push(node);
        Ok(())
    }

    #[inline]
    fn split(&mut self, node: Pending, split: f32, seedling: &mut Seedling) {
        let Pending { rng, place: Place { node_idx, start, end, depth }, candidates, twins, column, .. } =
            node;
        let rows = &mut seedling.rows[node.place.range()];
        let middle = start + partition(rows, &self.values, &mut self.moved, split) as u32;
        let left = seedling.nodes.len() as u32;
        seedling.nodes[node_idx as usize] = Node { column, split, left };
        seedling.nodes.extend([Node::leaf(0.0), Node::leaf(0.0)]);
        let goes_left = self.toward.map(|row| row[column as usize] <= split);
        let [left_rng, right_rng] = rng.branch();
        let depth = depth + 1;
        if self.has_spans {
            seedling.spans.extend([Span::new(start, middle), Span::new(middle, end)]);
        }
        if goes_left != Some(true) {
            let right = Place { node_idx: left + 1, start: middle, end, depth };
            self.plant(right_rng, right, candidates.clone(), twins, seedling);
        }
        if goes_left != Some(false) {
            let left = Place { node_idx: left, start, end: middle, depth };
            self.plant(left_rng, left, candidates, twins, seedling);
        }
    }
}

/// Makes a node a leaf.
fn finish(place: Place, seedling: &mut Seedling) {
    let path_length = f64::from(place.depth) + average_path_length(place.range().len());
    seedling.nodes[place.node_idx as usize] = Node::leaf(path_length as f32);
}

/// A number in `[least, greatest)`, so that both sides of a split hold a row.
pub(super) fn draw_between((least, greatest): (f32, f32), rng: &mut Rng) -> f32 {
    // In f64 the difference of two f32 neither overflows nor, for numbers of one sign, loses a bit.
    let (low, high) = (f64::from(least), f64::from(greatest));
    let split = (low + rng.uniform() * (high - low)) as f32;
    if split < greatest { split } else { least }
}

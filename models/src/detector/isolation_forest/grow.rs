//! Growing one isolation tree.

use super::nodes::{LEAF, Node, average_path_length};
use super::samples::Samples;
use super::twins::{Twins, not_finite, varies};
use crate::Result;
use crate::finite::overflow_of;
use crate::rng::Rng;
use std::rc::Rc;

/// Draws from all columns before the node's rows are read in full: about what costs as much.
fn max_rejections(n_columns: usize) -> usize {
    (n_columns / 256).clamp(16, 4096)
}

/// Which columns may vary in a node.
#[derive(Clone)]
enum Candidates {
    All,
    /// No other column varies.
    Listed(Rc<[u32]>),
}

/// A node whose split is still to be drawn.
struct Pending {
    node_idx: u32,
    /// Its rows are `rows[start..end]`.
    start: u32,
    end: u32,
    depth: u32,
    candidates: Candidates,
    /// All its rows share a hub, and the candidates were listed from that.
    twins: bool,
}

/// What grows trees on one thread, one after the other.
pub(super) struct Grower<'a, S> {
    samples: &'a S,
    twins: &'a Twins,
    root: Candidates,
    sample_size: usize,
    max_depth: u32,
    rows: Vec<u32>,
    /// Values of the column drawn last, in the order of the node's rows.
    values: Vec<f32>,
    pending: Vec<Pending>,
}

impl<'a, S: Samples> Grower<'a, S> {
    pub(super) fn new(samples: &'a S, twins: &'a Twins, sample_size: usize, max_depth: u32) -> Self {
        let root = twins
            .varying
            .as_ref()
            .map_or(Candidates::All, |listed| Candidates::Listed(listed.as_slice().into()));
        Self {
            samples,
            twins,
            root,
            sample_size,
            max_depth,
            rows: Vec::new(),
            values: Vec::new(),
            pending: Vec::new(),
        }
    }

    /// Grows a tree; its result depends on the samples and `rng` alone.
    pub(super) fn grow(&mut self, mut rng: Rng) -> Result<Vec<Node>> {
        self.draw_rows(&mut rng);
        let mut nodes = vec![Node::leaf(0.0)];
        self.pending.clear();
        let candidates = self.root.clone();
        let end = self.rows.len() as u32;
        self.pending.push(Pending { node_idx: 0, start: 0, end, depth: 0, candidates, twins: false });
        while let Some(mut node) = self.pending.pop() {
            let n_rows = (node.end - node.start) as usize;
            let split = if n_rows < 2 || node.depth >= self.max_depth {
                None
            } else {
                self.draw_split(&mut node, &mut rng)?
            };
            let Some((column, split)) = split else {
                let path_length = f64::from(node.depth) + average_path_length(n_rows);
                nodes[node.node_idx as usize] = Node::leaf(path_length as f32);
                continue;
            };
            let middle = self.partition(&node, split);
            let left = nodes.len() as u32;
            nodes[node.node_idx as usize] = Node { column, split, left };
            nodes.extend([Node::leaf(0.0), Node::leaf(0.0)]);
            let Pending { start, end, depth, candidates, twins, .. } = node;
            let depth = depth + 1;
            self.pending.push(Pending {
                node_idx: left + 1,
                start: middle,
                end,
                depth,
                candidates: candidates.clone(),
                twins,
            });
            self.pending.push(Pending { node_idx: left, start, end: middle, depth, candidates, twins });
        }
        Ok(nodes)
    }

    /// Draws the rows of a tree without replacement (the first steps of a Fisher-Yates shuffle).
    fn draw_rows(&mut self, rng: &mut Rng) {
        let n_rows = self.samples.n_rows();
        self.rows.clear();
        self.rows.extend(0..n_rows as u32);
        if self.sample_size < n_rows {
            for i in 0..self.sample_size {
                self.rows.swap(i, i + rng.below(n_rows - i));
            }
            self.rows.truncate(self.sample_size);
        }
    }

    /// Draws a column uniformly among those that vary in the node, and a split uniformly in its range; `None` if no
    /// column varies. Leaves the column's values in `self.values`.
    ///
    /// A uniform choice among the varying columns is made by rejection: a column is drawn among all, and drawn again if
    /// it is constant. Where that fails too often, the varying columns are listed, and the children draw from the list.
    fn draw_split(&mut self, node: &mut Pending, rng: &mut Rng) -> Result<Option<(u32, f32)>> {
        let rows = &self.rows[node.start as usize..node.end as usize];
        if !node.twins && self.twins.share_hub(rows) {
            node.candidates = Candidates::Listed(self.twins.varying(self.samples, rows).into());
            node.twins = true;
        }
        let n_columns = match &node.candidates {
            Candidates::All => self.samples.n_features(),
            Candidates::Listed(columns) => columns.len(),
        };
        if n_columns == 0 {
            return Ok(None);
        }
        for _ in 0..max_rejections(n_columns) {
            let column = match &node.candidates {
                Candidates::All => rng.below(n_columns) as u32,
                Candidates::Listed(columns) => columns[rng.below(n_columns)],
            };
            self.samples.gather(column, rows, &mut self.values);
            let range = self.range(node, column)?;
            if range.0 < range.1 {
                return Ok(Some((column, draw_between(range, rng))));
            }
        }
        let varying: Rc<[u32]> = match &node.candidates {
            Candidates::All => self.samples.varying(rows).into(),
            Candidates::Listed(columns) => {
                columns.iter().copied().filter(|&column| varies(self.samples, rows, column)).collect()
            }
        };
        node.candidates = Candidates::Listed(Rc::clone(&varying));
        if varying.is_empty() {
            return Ok(None);
        }
        let column = varying[rng.below(varying.len())];
        self.samples.gather(column, rows, &mut self.values);
        let range = self.range(node, column)?;
        Ok(Some((column, draw_between(range, rng))))
    }

    /// The least and the greatest of the gathered values.
    fn range(&self, node: &Pending, column: u32) -> Result<(f32, f32)> {
        const LANES: usize = 8;
        let mut least = [f32::INFINITY; LANES];
        let mut greatest = [f32::NEG_INFINITY; LANES];
        let mut overflow = [0u32; LANES];
        let mut add = |piece: &[f32]| {
            for (lane, &value) in piece.iter().enumerate() {
                least[lane] = if value < least[lane] { value } else { least[lane] };
                greatest[lane] = if value > greatest[lane] { value } else { greatest[lane] };
                overflow[lane] |= overflow_of(value);
            }
        };
        let (pieces, remainder) = self.values.as_chunks::<LANES>();
        pieces.iter().for_each(|piece| add(piece));
        add(remainder);
        if overflow.into_iter().fold(0, |all, bits| all | bits) >> 31 == 1 {
            let position = self.values.iter().position(|v| !v.is_finite()).unwrap_or(0);
            let row = self.rows[node.start as usize + position];
            return Err(not_finite(self.samples, row as usize, column));
        }
        Ok((
            least.into_iter().fold(f32::INFINITY, f32::min),
            greatest.into_iter().fold(f32::NEG_INFINITY, f32::max),
        ))
    }

    /// Moves the rows whose gathered value is at most `split` to the front; returns where the others begin.
    fn partition(&mut self, node: &Pending, split: f32) -> u32 {
        let mut middle = node.start as usize;
        for (offset, &value) in self.values.iter().enumerate() {
            if value <= split {
                self.rows.swap(middle, node.start as usize + offset);
                middle += 1;
            }
        }
        middle as u32
    }
}

/// A number in `[least, greatest)`, so that both sides of a split hold a row.
fn draw_between((least, greatest): (f32, f32), rng: &mut Rng) -> f32 {
    // In f64 the difference of two f32 neither overflows nor, for numbers of one sign, loses a bit.
    let (low, high) = (f64::from(least), f64::from(greatest));
    let split = (low + rng.uniform() * (high - low)) as f32;
    if split < greatest { split } else { least }
}

const _: () = assert!(LEAF == u32::MAX);

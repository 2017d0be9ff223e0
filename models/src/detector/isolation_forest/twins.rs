//! Rows that are equal or nearly so, found once: splitting them by drawing columns at random would take for ever.
//!
//! Images of a run at rest repeat. A node that holds only copies of one row is a leaf; a node whose rows differ in a few
//! of a million columns must draw among those few. Rows that agree in a sketch of some columns are compared in full with
//! the first of them, their hub, and the columns in which they differ from it are kept.

use super::samples::Samples;
use crate::rng::Rng;
use crate::{Error, Result};
use std::collections::{BTreeMap, VecDeque};

/// Columns of the sketch: rows that differ in 5 % of all columns agree in it with probability 4 %.
const N_SKETCH: usize = 64;
/// Below this, reading every column is cheaper than knowing twins.
const MIN_FEATURES: usize = 1024;
/// Twins differ from their hub in less than one column in so many.
const MAX_SHARE: usize = 32;
/// If at most so many columns of the sketch vary at all, the varying columns are listed before trees are grown.
const FEW_VARYING: usize = 6;
/// Hubs tried for a row. One that is like none of them is treated as unlike all others, which is slower, not wrong.
const MAX_HUBS: usize = 4;

/// What is known of one row.
#[derive(Debug, Clone)]
struct Row {
    sketch: u64,
    /// A name of the row that outlives its position.
    name: u64,
    /// The name of its hub; its own for a hub, and for a row that is alone.
    hub: u64,
    /// The columns, ascending, in which it differs from its hub.
    differing: Vec<u32>,
}

/// The rows' hubs, in the order of the rows.
#[derive(Debug, Clone)]
pub(super) struct Twins {
    rows: VecDeque<Row>,
    /// Columns hashed into sketches, drawn from the number of features alone; empty where there are few.
    columns: Vec<u32>,
    n_named: u64,
    /// Rows that have another's name as their hub.
    n_twins: usize,
}

impl Twins {
    /// Of no rows yet.
    pub(super) fn new(n_features: usize) -> Self {
        // Fixed, so that a pool and the same rows apart find the same twins.
        let mut rng = Rng::derived(n_features as u64, u64::MAX);
        let n_columns = if n_features < MIN_FEATURES { 0 } else { N_SKETCH };
        Self {
            rows: VecDeque::new(),
            columns: (0..n_columns).map(|_| rng.below(n_features) as u32).collect(),
            n_named: 0,
            n_twins: 0,
        }
    }

    /// Finds the twins among all rows, but for those of which fewer than `fewest` look alike.
    pub(super) fn find<S: Samples>(samples: &S, fewest: usize) -> Result<Self> {
        let mut twins = Self::new(samples.n_features());
        if twins.columns.is_empty() {
            return Ok(twins);
        }
        let rows: Vec<u32> = (0..samples.n_rows() as u32).collect();
        let mut sketched = vec![Vec::new(); N_SKETCH];
        twins.columns.iter().for_each(|&column| samples.prefetch(column, &rows));
        for (values, &column) in sketched.iter_mut().zip(&twins.columns) {
            samples.gather(column, &rows, values);
            if let Some(row) = values.iter().position(|v| !v.is_finite()) {
                return Err(not_finite(samples, row, column));
            }
        }
        let mut alike: BTreeMap<u64, Vec<u32>> = BTreeMap::new();
        for &row in &rows {
            let sketch = sketch(sketched.iter().map(|column| column[row as usize]));
            alike.entry(sketch).or_default().push(row);
            let name = u64::from(row);
            twins.rows.push_back(Row { sketch, name, hub: name, differing: Vec::new() });
        }
        twins.n_named = rows.len() as u64;
        twins.compare(samples, alike.into_values().filter(|rows| rows.len() >= fewest).collect());
        Ok(twins)
    }

    /// Compares rows that look alike, each of which is alone so far; what [`push`](Self::push) does one by one, with as few passes over the
    /// samples as rows have hubs to be compared with.
    fn compare<S: Samples>(&mut self, samples: &S, mut alike: Vec<Vec<u32>>) {
        let limit = samples.n_features() / MAX_SHARE;
        for _ in 0..MAX_HUBS {
            // The first that is left of each is a hub.
            let pairs: Vec<[u32; 2]> = alike
                .iter()
                .flat_map(|rows| rows.split_first())
                .flat_map(|(&hub, others)| others.iter().map(move |&row| [hub, row]))
                .collect();
            if pairs.is_empty() {
                break;
            }
            for rows in alike.iter_mut().filter(|rows| !rows.is_empty()) {
                rows.remove(0);
            }
            for ([hub, row], differing) in pairs.iter().zip(samples.differences_of(&pairs, limit)) {
                if let Some(differing) = differing {
                    alike.iter_mut().for_each(|rows| rows.retain(|other| other != row));
                    let hub = self.rows[*hub as usize].name;
                    let row = &mut self.rows[*row as usize];
                    (row.hub, row.differing) = (hub, differing);
                    self.n_twins += 1;
                }
            }
        }
    }

    /// The columns whose values [`push`](Self::push) takes.
    pub(super) fn sketched(&self) -> &[u32] {
        &self.columns
    }

    /// Takes in the row that follows the known ones in `samples`; `sketched` has its values in the sketched columns.
    pub(super) fn push<S: Samples>(&mut self, samples: &S, sketched: &[f32]) {
        if self.columns.is_empty() {
            return;
        }
        let sketch = sketch(sketched.iter().copied());
        let name = self.n_named;
        self.n_named += 1;
        let row = self.rows.len() as u32;
        let limit = samples.n_features() / MAX_SHARE;
        let hubs = self
            .rows
            .iter()
            .enumerate()
            .filter(|(_, other)| other.sketch == sketch && other.hub == other.name);
        let found = hubs.take(MAX_HUBS).find_map(|(position, hub)| {
            samples.differences(position as u32, row, limit).map(|differing| (hub.name, differing))
        });
        self.n_twins += usize::from(found.is_some());
        let (hub, differing) = found.unwrap_or((name, Vec::new()));
        self.rows.push_back(Row { sketch, name, hub, differing });
    }

    /// Forgets the newest row.
    pub(super) fn pop_back(&mut self) {
        if let Some(row) = self.rows.pop_back() {
            self.n_twins -= usize::from(row.hub != row.name);
        }
    }

    /// Forgets the oldest row, which is row 0 of `samples` still. If it was a hub, the next of its twins takes its place.
    pub(super) fn pop_front<S: Samples>(&mut self, samples: &S) {
        let Some(old) = self.rows.pop_front() else { return };
        let members: Vec<usize> = (0..self.rows.len()).filter(|&i| self.rows[i].hub == old.name).collect();
        let Some(&heir) = members.first() else { return };
        self.n_twins -= 1;
        let name = self.rows[heir].name;
        let from_old = std::mem::take(&mut self.rows[heir].differing);
        for &member in &members {
            let mut columns = from_old.clone();
            columns.append(&mut self.rows[member].differing);
            columns.sort_unstable();
            columns.dedup();
            // Positions in `samples` count the row that goes.
            let (a, b) = (heir as u32 + 1, member as u32 + 1);
            columns.retain(|&column| samples.value(a, column) != samples.value(b, column));
            self.rows[member].hub = name;
            self.rows[member].differing = columns;
        }
    }

    /// Whether two rows agree in the sketched columns; never, where there are none.
    #[inline]
    pub(super) fn look_alike(&self, first: u32, second: u32) -> bool {
        !self.columns.is_empty() && self.rows[first as usize].sketch == self.rows[second as usize].sketch
    }

    /// Whether all of `rows` have one hub.
    #[inline]
    pub(super) fn share_hub(&self, rows: &[u32]) -> bool {
        if self.n_twins == 0 {
            return false;
        }
        let hub = self.rows[rows[0] as usize].hub;
        rows.iter().all(|&row| self.rows[row as usize].hub == hub)
    }

    /// The columns, ascending, that are not constant over `rows`, which share a hub.
    pub(super) fn varying<S: Samples>(&self, samples: &S, rows: &[u32]) -> Vec<u32> {
        let mut columns: Vec<u32> =
            rows.iter().flat_map(|&row| self.rows[row as usize].differing.iter().copied()).collect();
        columns.sort_unstable();
        // A column in which some rows differ from the hub and some do not varies; if all differ, they may still agree.
        columns
            .chunk_by(|a, b| a == b)
            .filter(|same| same.len() < rows.len() || varies(samples, rows, same[0]))
            .map(|same| same[0])
            .collect()
    }

    /// All columns that vary over all rows, where they are few.
    pub(super) fn few_varying<S: Samples>(&self, samples: &S) -> Option<Vec<u32>> {
        if self.columns.is_empty() {
            return None;
        }
        let rows: Vec<u32> = (0..samples.n_rows() as u32).collect();
        let varying = self.columns.iter().filter(|&&column| varies(samples, &rows, column));
        (varying.take(FEW_VARYING + 1).count() <= FEW_VARYING).then(|| samples.varying(&rows))
    }
}

fn sketch(values: impl Iterator<Item = f32>) -> u64 {
    values.fold(0, |hash, value| {
        // Adding zero turns -0 into 0, which is equal to it.
        let bits = u64::from((value + 0.0).to_bits());
        (hash.rotate_left(23) ^ bits).wrapping_mul(0x9E37_79B9_7F4A_7C15)
    })
}

/// Whether `column` is not constant over `rows`.
pub(super) fn varies<S: Samples>(samples: &S, rows: &[u32], column: u32) -> bool {
    let first = samples.value(rows[0], column);
    rows[1..].iter().any(|&row| samples.value(row, column) != first)
}

pub(super) fn not_finite<S: Samples>(samples: &S, row: usize, column: u32) -> Error {
    Error::NotFinite { what: "samples", index: row * samples.n_features() + column as usize }
}

#[cfg(test)]
mod tests {
    use super::super::samples::Rows;
    use super::*;

    fn distinct(n_rows: usize, n_features: usize) -> Vec<Vec<f32>> {
        let mut rng = Rng::new(3);
        (0..n_rows).map(|_| (0..n_features).map(|_| rng.uniform() as f32).collect()).collect()
    }

    /// Three rows apart, a copy of the first, and two that differ from it in columns 7 and 2000.
    fn some_twins() -> Vec<Vec<f32>> {
        let mut matrix = distinct(3, 2048);
        let mut near = matrix[0].clone();
        near[7] += 1.0;
        near[2000] += 1.0;
        matrix.extend([matrix[0].clone(), near.clone(), near]);
        matrix
    }

    #[test]
    fn equal_and_nearly_equal_rows_are_twins_and_others_are_not() {
        let matrix = some_twins();
        let rows: Vec<&[f32]> = matrix.iter().map(Vec::as_slice).collect();
        let samples = Rows(&rows);
        let twins = Twins::find(&samples, 2).expect("finite");
        assert!(!twins.columns.contains(&7) && !twins.columns.contains(&2000));
        assert!(twins.share_hub(&[0, 3, 4, 5]));
        assert!(!twins.share_hub(&[0, 1]) && !twins.share_hub(&[1, 2]));
        assert_eq!(twins.varying(&samples, &[0, 3]), [0u32; 0]);
        assert_eq!(
            twins.varying(&samples, &[4, 5]),
            [0u32; 0],
            "both differ from the hub, not from each other"
        );
        assert_eq!(twins.varying(&samples, &[0, 4]), [7, 2000]);
        assert_eq!(twins.varying(&samples, &[3, 4, 5]), [7, 2000]);
    }

    #[test]
    fn twins_stay_twins_when_their_hub_goes() {
        let matrix = some_twins();
        let rows: Vec<&[f32]> = matrix.iter().map(Vec::as_slice).collect();
        let mut twins = Twins::find(&Rows(&rows), 2).expect("finite");
        for (n_gone, sharing) in [(1, [2u32, 3, 4]), (2, [1, 2, 3]), (3, [0, 1, 2])] {
            twins.pop_front(&Rows(&rows[n_gone - 1..]));
            let samples = Rows(&rows[n_gone..]);
            assert!(twins.share_hub(&sharing), "{n_gone}");
            assert_eq!(twins.varying(&samples, &sharing), [7, 2000]);
            assert_eq!(twins.varying(&samples, &sharing[1..]), [0u32; 0]);
        }
        twins.pop_front(&Rows(&rows[3..]));
        assert!(twins.share_hub(&[0, 1]));
        assert_eq!(twins.varying(&Rows(&rows[4..]), &[0, 1]), [0u32; 0]);
        twins.pop_back();
        assert_eq!(twins.n_twins, 0);
    }

    #[test]
    fn few_varying_columns_are_listed() {
        let mut matrix = vec![vec![0.25f32; 4096]; 5];
        for (i, row) in matrix.iter_mut().enumerate() {
            row[100] = i as f32;
            row[4095] = -(i as f32);
        }
        let rows: Vec<&[f32]> = matrix.iter().map(Vec::as_slice).collect();
        let samples = Rows(&rows);
        assert_eq!(Twins::find(&samples, 2).expect("finite").few_varying(&samples), Some(vec![100, 4095]));
    }
}

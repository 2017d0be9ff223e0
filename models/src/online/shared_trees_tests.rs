use super::*;
use crate::error::Error;
use crate::online::tree_share::KeptShares;
use crate::rng::Rng;
use std::sync::atomic::AtomicUsize;

const N_FEATURES: usize = 40;

/// Keepers in this process, which can be made to lose what they have.
#[derive(Debug)]
struct Keepers {
    shares: Vec<Mutex<KeptShares>>,
    n_asked: AtomicUsize,
    n_values: AtomicUsize,
}

impl Keepers {
    fn new(n_keepers: usize) -> Arc<Self> {
        let shares = (0..n_keepers).map(|_| Mutex::default()).collect();
        Arc::new(Self { shares, n_asked: AtomicUsize::new(0), n_values: AtomicUsize::new(0) })
    }

    fn lose(&self, keeper: usize) {
        *self.shares[keeper].lock().unwrap() = KeptShares::default();
    }
}

impl TreeKeepers for Keepers {
    fn n_keepers(&self) -> usize {
        self.shares.len()
    }

    fn ask<'a>(&'a self, request: &ShareRequest, row: &[f32]) -> Result<Asked<'a>> {
        self.n_asked.fetch_add(1, Ordering::Relaxed);
        self.n_values.fetch_add(row.len(), Ordering::Relaxed);
        // Over a wire.
        let request: ShareRequest = serde_json::from_str(&serde_json::to_string(request).unwrap()).unwrap();
        let row = row.to_vec();
        let shares = self.shares.iter().enumerate();
        let answers: Vec<Result<Vec<f64>>> =
            shares.map(|(i, shares)| shares.lock().unwrap().answer(&request, i + 1, row.clone())).collect();
        Ok(Box::new(move || Ok(answers.into_iter().collect::<Result<Vec<_>>>()?.concat())))
    }
}

fn row(step: usize) -> Row {
    let mut rng = Rng::new(step as u64);
    (0..N_FEATURES).map(|_| (rng.normal() as f32).max(0.0)).collect()
}

fn params(n_trees: usize) -> IsolationForestParams {
    IsolationForestParams { n_trees, ..Default::default() }
}

/// Judges and takes in images with rewinds, and returns the scores.
fn scores(trees: &mut SharedTrees, is_kept: bool) -> Vec<f32> {
    let mut scores = Vec::new();
    let mut n_rows = 0;
    for (idx, step) in (0..40).chain(25..45).chain(3..12).enumerate() {
        let n_left = n_rows.min(step);
        let measured = NumberedRow { number: idx as u64 + 1, row: row(step) };
        if trees.samples().len() > n_left {
            trees.follow(0, n_left, Vec::new(), 0, is_kept && n_left > 1).unwrap();
        }
        if n_left > 1 {
            scores.push(trees.score(&measured, step as u64).unwrap());
        }
        // Every fifth is kept out; in its place comes one that was not measured last.
        let pushed = if step % 5 == 4 { NumberedRow { number: 0, row: row(900 + step) } } else { measured };
        let sample = Sample { id: idx as u64, step: step as i64 };
        n_rows = n_left + 1;
        trees
            .follow(0, n_left, vec![(sample, &mut Some(pushed))], n_rows / 10, is_kept && n_rows > 2)
            .unwrap();
    }
    scores
}

#[test]
fn scores_are_those_of_one_process_whoever_keeps_the_trees() {
    let cases = [(21, true, RowFormat::F32), (21, false, RowFormat::Bf16), (2, true, RowFormat::Bf16)];
    for (n_trees, is_kept, rows) in cases {
        let alone = scores(&mut SharedTrees::new(params(n_trees), rows, 7, None), is_kept);
        assert!(alone.len() > 60);
        for n_keepers in [1, 2, 5] {
            let keepers = Keepers::new(n_keepers);
            let mut trees = SharedTrees::new(
                params(n_trees),
                rows,
                7,
                Some(Arc::clone(&keepers) as Arc<dyn TreeKeepers>),
            );
            assert_eq!(scores(&mut trees, is_kept), alone, "{n_trees} {is_kept} {n_keepers}");
            // One row an image, and another where another came in its place.
            let n_rows = keepers.n_values.load(Ordering::Relaxed) / N_FEATURES;
            assert!((69..=69 + 14).contains(&n_rows), "{n_rows}");
        }
    }
}

#[test]
fn keeper_that_lost_its_trees_is_told_all_again() {
    let alone = scores(&mut SharedTrees::new(params(9), RowFormat::F32, 7, None), true);
    let keepers = Keepers::new(2);
    let mut trees =
        SharedTrees::new(params(9), RowFormat::F32, 7, Some(Arc::clone(&keepers) as Arc<dyn TreeKeepers>));
    // Lost before an image joins: found when the next is judged, and that judgement is as it would have been.
    let mut n_rows = 0;
    let mut found = Vec::new();
    for step in 0..30usize {
        let measured = NumberedRow { number: step as u64 + 1, row: row(step) };
        if n_rows > 1 {
            found.push(trees.score(&measured, step as u64).unwrap());
        }
        if step % 7 == 3 {
            keepers.lose(1);
        }
        let pushed = if step % 5 == 4 { NumberedRow { number: 0, row: row(900 + step) } } else { measured };
        let sample = Sample { id: step as u64, step: step as i64 };
        n_rows += 1;
        trees.follow(0, n_rows - 1, vec![(sample, &mut Some(pushed))], n_rows / 10, n_rows > 2).unwrap();
    }
    assert_eq!(found, alone[..found.len()]);
    // Lost before a judgement: that one fails, and says so; the next does not.
    keepers.lose(0);
    let measured = NumberedRow { number: 77, row: row(40) };
    let error = trees.score(&measured, 1).unwrap_err();
    assert!(
        matches!(error, Error::Record { .. }) && error.to_string().contains("0 rows, 30 are expected"),
        "{error}"
    );
    let again = trees.score(&measured, 1).unwrap();
    let mut own = SharedTrees::new(params(9), RowFormat::F32, 7, None);
    for idx in 0..30 {
        let sample = trees.samples()[idx];
        own.follow(
            0,
            idx,
            vec![(sample, &mut Some(NumberedRow { number: 0, row: trees.row(idx) }))],
            (idx + 1) / 10,
            idx > 1,
        )
        .unwrap();
    }
    assert_eq!(again, own.score(&measured, 1).unwrap());
}

#[test]
fn run_that_is_dropped_leaves_no_trees_with_others() {
    let keepers = Keepers::new(2);
    let mut trees =
        SharedTrees::new(params(9), RowFormat::F32, 7, Some(Arc::clone(&keepers) as Arc<dyn TreeKeepers>));
    scores(&mut trees, true);
    let n_kept = || keepers.shares.iter().map(|shares| shares.lock().unwrap().n_runs()).collect::<Vec<_>>();
    assert_eq!(n_kept(), [1, 1]);
    drop(trees);
    assert_eq!(n_kept(), [0, 0]);
}

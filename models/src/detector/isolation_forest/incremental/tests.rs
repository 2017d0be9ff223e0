use super::arena::{Node, UNKNOWN_RANGE};
use super::*;
use crate::rng::Rng;
use proptest::prelude::*;
use std::collections::HashMap;

fn pool_of(rows: &[Vec<f32>]) -> SamplePool {
    let mut pool = SamplePool::new(rows[0].len()).expect("not empty");
    rows.iter().for_each(|row| pool.push(row).expect("finite"));
    pool
}

fn params(n_trees: usize) -> IsolationForestParams {
    IsolationForestParams { n_trees, ..Default::default() }
}

/// Rows with ties, zeros, a constant column and a pair that is equal.
fn small(n_rows: usize) -> Vec<Vec<f32>> {
    let mut rng = Rng::new(5);
    let mut rows: Vec<Vec<f32>> = (0..n_rows)
        .map(|_| {
            let x = rng.normal() as f32;
            vec![x, (rng.normal() as f32).max(0.0), 1.5, (4.0 * rng.uniform()).floor() as f32]
        })
        .collect();
    if n_rows > 4 {
        rows[4] = rows[1].clone();
    }
    rows
}

/// A tree as words: columns, and which rows are where, without the places of splits.
fn shape(tree: &Arena, at: u32, depth: u32, first: u32) -> String {
    let node = tree.node(at);
    if node.is_leaf() || depth == 0 {
        let mut rows = tree.rows(at).into_iter().map(|row| row - first).collect::<Vec<u32>>();
        rows.sort_unstable();
        return format!("{rows:?}");
    }
    let [left, right] = [node.left, node.right].map(|child| shape(tree, child, depth - 1, first));
    format!("{}({left}{right})", node.column)
}

fn shapes(forest: &IncrementalForest, counts: &mut HashMap<String, [u32; 2]>, which: usize) {
    for tree in &forest.trees {
        let shape = shape(tree, Arena::ROOT, forest.max_depth, forest.rows[0] as u32);
        counts.entry(shape).or_default()[which] += 1;
    }
}

/// Chi-squared of two samples of equal size, over shapes seen at least ten times, the others taken together, and its degrees of
/// freedom.
fn chi_squared(counts: &HashMap<String, [u32; 2]>) -> (f64, usize) {
    let mut rare = [0, 0];
    let mut classes = Vec::new();
    for &[a, b] in counts.values() {
        if a + b < 20 {
            rare = [rare[0] + a, rare[1] + b];
        } else {
            classes.push([a, b]);
        }
    }
    classes.push(rare);
    let terms = classes
        .iter()
        .filter(|[a, b]| a + b > 0)
        .map(|&[a, b]| (f64::from(a) - f64::from(b)).powi(2) / f64::from(a + b));
    let terms: Vec<f64> = terms.collect();
    (terms.iter().sum(), terms.len() - 1)
}

/// Fails where two distributions of shapes differ by more than five standard deviations of the statistic.
fn assert_same_law(counts: &HashMap<String, [u32; 2]>) {
    let (statistic, freedom) = chi_squared(counts);
    let (mean, deviation) = (freedom as f64, (2.0 * freedom as f64).sqrt());
    assert!(freedom > 10, "{freedom} degrees of freedom");
    assert!(
        statistic < mean + 5.0 * deviation,
        "chi-squared {statistic:.0} with {freedom} degrees of freedom"
    );
}

const N_TREES: usize = 40_000;

/// Every shape of the trees, with the rows in their leaves, is as likely by insertions as in a new fit.
#[test]
fn trees_grown_row_by_row_have_the_law_of_trees_grown_at_once() {
    for n_rows in [3, 4, 5, 6] {
        let rows = small(n_rows);
        let mut pool = pool_of(&rows[..2]);
        let mut forest = IncrementalForest::fit_pool(&params(N_TREES), &pool, 1).expect("fits");
        for (row_idx, row) in rows.iter().enumerate().skip(2) {
            pool.push(row).expect("finite");
            forest.insert(&pool, row_idx, 100 + row_idx as u64).expect("a new row");
        }
        let mut counts = HashMap::new();
        shapes(&forest, &mut counts, 0);
        shapes(&IncrementalForest::fit_pool(&params(N_TREES), &pool, 2).expect("fits"), &mut counts, 1);
        assert_same_law(&counts);
    }
}

/// Whichever row goes, be it the farthest out or one of two that are equal.
#[test]
fn trees_that_a_row_was_taken_out_of_have_the_law_of_trees_that_never_had_it() {
    let rows = small(6);
    let pool = pool_of(&rows);
    for gone in 0..6 {
        let mut forest = IncrementalForest::fit_pool(&params(N_TREES), &pool, 3).expect("fits");
        forest.remove(&pool, gone, 4).expect("a row of the forest");
        let left: Vec<Vec<f32>> = (0..6).filter(|&row| row != gone).map(|row| rows[row].clone()).collect();
        let never = IncrementalForest::fit_pool(&params(N_TREES), &pool_of(&left), 5).expect("fits");
        let mut counts = HashMap::new();
        for tree in &forest.trees {
            // Names of rows after the one that went are one less in the other forest.
            let rename = |row: u32| if row as usize > gone { row - 1 } else { row };
            let words = shape(tree, Arena::ROOT, forest.max_depth, 0);
            let words = words.split_inclusive(|c: char| !c.is_ascii_digit());
            let mut in_leaf = false;
            let mut renamed = String::new();
            for word in words {
                let digits = word.trim_end_matches(|c: char| !c.is_ascii_digit());
                let rest = &word[digits.len()..];
                match digits.parse() {
                    Ok(row) if in_leaf => renamed.push_str(&rename(row).to_string()),
                    _ => renamed.push_str(digits),
                }
                renamed.push_str(rest);
                in_leaf = if rest.contains('[') { true } else { in_leaf && !rest.contains(']') };
            }
            counts.entry(renamed).or_insert([0, 0])[0] += 1;
        }
        shapes(&never, &mut counts, 1);
        assert_same_law(&counts);
    }
}

/// Else the tests before this one could not fail.
#[test]
fn the_test_of_the_law_sees_a_bias() {
    let rows = small(6);
    let pool = pool_of(&rows);
    let mut counts = HashMap::new();
    shapes(&IncrementalForest::fit_pool(&params(N_TREES), &pool, 1).expect("fits"), &mut counts, 0);
    let mut other = rows;
    // Column 0 of the farthest row moves in by a twentieth of its range.
    let farthest = (0..6).max_by(|&a, &b| other[a][0].total_cmp(&other[b][0])).expect("rows");
    let least = other.iter().map(|row| row[0]).fold(f32::INFINITY, f32::min);
    other[farthest][0] -= (other[farthest][0] - least) / 20.0;
    shapes(
        &IncrementalForest::fit_pool(&params(N_TREES), &pool_of(&other), 1).expect("fits"),
        &mut counts,
        1,
    );
    let (statistic, freedom) = chi_squared(&counts);
    assert!(statistic > freedom as f64 + 5.0 * (2.0 * freedom as f64).sqrt(), "{statistic} {freedom}");
}

fn wide(n_rows: usize, n_features: usize) -> Vec<Vec<f32>> {
    let mut rng = Rng::new(11);
    let zeros: Vec<bool> = (0..n_features).map(|_| rng.uniform() < 0.3).collect();
    let row =
        |_| zeros.iter().map(|&zero| if zero { 0.0 } else { (rng.normal() as f32 - 0.4).max(0.0) }).collect();
    (0..n_rows).map(row).collect()
}

#[test]
fn path_lengths_stay_those_of_a_new_forest_while_rows_come_and_go() {
    let rows = wide(140, 300);
    let mut pool = pool_of(&rows[..20]);
    let mut forest = IncrementalForest::fit_pool(&params(3000), &pool, 1).expect("fits");
    for (step, row) in rows.iter().enumerate().skip(20) {
        pool.push(row).expect("finite");
        forest.insert(&pool, pool.n_rows() - 1, step as u64).expect("a new row");
        if step >= 90 {
            forest.remove(&pool, 0, 1000 + step as u64).expect("the oldest");
            pool.pop_front();
        }
        if step % 7 == 0 {
            // The simulation goes back and comes again.
            let last = pool.n_rows() - 1;
            forest.remove(&pool, last, 2000 + step as u64).expect("the newest");
            forest.insert(&pool, last, 3000 + step as u64).expect("it again");
        }
    }
    let fresh = IncrementalForest::fit_pool(&params(3000), &pool, 7).expect("fits");
    let mut odd = rows[3].clone();
    odd.iter_mut().take(40).for_each(|value| *value += 5.0);
    for row in rows[100..].iter().step_by(5).chain([&rows[0], &odd]) {
        let [kept, new] = [&forest, &fresh].map(|forest| forest.mean_path_length(row));
        // A path length varies by less than 3 between trees: five standard errors of the difference.
        assert!((kept - new).abs() < 5.0 * 3.0 * (2.0f64 / 3000.0).sqrt(), "{kept} {new}");
    }
}

#[test]
fn forest_fitted_at_once_scores_as_any_isolation_forest() {
    let rows = wide(100, 50);
    let pool = pool_of(&rows);
    let forest = IncrementalForest::fit_pool(&params(500), &pool, 9).expect("fits");
    let usual = params(500).fit_pool(&pool, 9).expect("fits");
    for row in wide(110, 50).iter().skip(95) {
        let [kept, usual] = [forest.score_row(row), usual.score_row(row)].map(|score| score.expect("scores"));
        assert!((kept - usual).abs() < 1e-5, "the same trees: {kept} {usual}");
    }
}

/// Counts, ranges and the side that every row is on are those that the rows have.
fn check(forest: &IncrementalForest, pool: &SamplePool) {
    let mut values = vec![0.0; pool.n_features()];
    let base = pool.n_ever() - pool.n_rows();
    let rows: HashMap<u32, Vec<f32>> = forest
        .rows
        .iter()
        .map(|&row| {
            pool.copy_row(row - base, &mut values);
            (row as u32, values.clone())
        })
        .collect();
    for tree in &forest.trees {
        let mut all = tree.rows(Arena::ROOT);
        all.sort_unstable();
        assert_eq!(all, forest.rows.iter().map(|&row| row as u32).collect::<Vec<_>>());
        let mut pending = vec![(Arena::ROOT, 0)];
        while let Some((at, depth)) = pending.pop() {
            let node: Node = tree.node(at);
            let held = tree.rows(at);
            assert_eq!(node.count as usize, held.len());
            assert!(held.contains(&node.any));
            if node.is_leaf() {
                let equal = held.iter().all(|row| rows[row] == rows[&held[0]]);
                assert!(equal || depth >= forest.max_depth, "rows that differ are apart");
                continue;
            }
            let column = node.column as usize;
            let range = held.iter().map(|row| rows[row][column]);
            let (least, greatest) =
                (range.clone().fold(f32::INFINITY, f32::min), range.fold(f32::NEG_INFINITY, f32::max));
            assert!(least <= node.split && node.split < greatest);
            assert!([(least, greatest), UNKNOWN_RANGE].contains(&(node.least, node.greatest)));
            assert!(tree.rows(node.left).iter().all(|row| rows[row][column] <= node.split));
            assert!(tree.rows(node.right).iter().all(|row| rows[row][column] > node.split));
            pending.extend([(node.left, depth + 1), (node.right, depth + 1)]);
        }
    }
}

#[derive(Debug, Clone)]
enum Step {
    Come(u64),
    Go(prop::sample::Index),
    Forget,
    Back(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0u64..30).prop_map(Step::Come),
        2 => any::<prop::sample::Index>().prop_map(Step::Go),
        2 => Just(Step::Forget),
        1 => (1usize..6).prop_map(Step::Back),
    ];
    proptest::collection::vec(step, 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn nodes_say_what_their_rows_are_whatever_came_and_went(
        steps in steps(), n_features in prop_oneof![1usize..6, Just(1500usize)], max_depth in proptest::option::of(1u32..5)
    ) {
        // Few different rows, so that many are equal; nearly equal ones where they are wide.
        let row = |seed: u64| -> Vec<f32> {
            let mut rng = Rng::new(seed / 3);
            let mut row: Vec<f32> = (0..n_features).map(|_| (rng.normal() as f32).max(0.0)).collect();
            row[(seed % 3) as usize % n_features] += (seed % 3) as f32;
            row
        };
        let mut pool = pool_of(&[row(1), row(2)]);
        let params = IsolationForestParams { n_trees: 5, max_depth, ..Default::default() };
        let mut forest = IncrementalForest::fit_pool(&params, &pool, 1).expect("fits");
        for (seed, step) in (10..).zip(steps) {
            match step {
                Step::Come(row_seed) => {
                    pool.push(&row(row_seed)).expect("finite");
                    forest.insert(&pool, pool.n_rows() - 1, seed).expect("a new row");
                }
                Step::Go(which) if forest.n_rows() > 2 => {
                    let base = pool.n_ever() - pool.n_rows();
                    let row_idx = forest.rows[which.index(forest.n_rows())] - base;
                    forest.remove(&pool, row_idx, seed).expect("a row of the forest");
                }
                Step::Forget if forest.n_rows() > 2 => {
                    if forest.rows[0] == pool.first_sample() {
                        forest.remove(&pool, 0, seed).expect("the oldest");
                    }
                    pool.pop_front();
                }
                Step::Back(n_rows) if forest.n_rows() > n_rows + 2 => {
                    for back in 0..n_rows {
                        let newest = pool.n_rows() - 1;
                        if forest.rows.back() == Some(&(pool.n_ever() - 1)) {
                            forest.remove(&pool, newest, seed + 1000 * back as u64).expect("the newest");
                        }
                        pool.truncate(newest);
                    }
                }
                _ => {}
            }
            check(&forest, &pool);
        }
    }
}

#[test]
fn threads_do_not_change_a_forest() {
    let rows = wide(60, 200);
    let build = |n_threads| {
        let threads = rayon::ThreadPoolBuilder::new().num_threads(n_threads).build().expect("threads");
        threads.install(|| {
            let mut pool = pool_of(&rows[..30]);
            let mut forest = IncrementalForest::fit_pool(&params(37), &pool, 1).expect("fits");
            for row in &rows[30..] {
                pool.push(row).expect("finite");
                forest.insert(&pool, pool.n_rows() - 1, 2).expect("a new row");
            }
            forest.remove(&pool, 7, 3).expect("a row of the forest");
            rows.iter().map(|row| forest.score_row(row).expect("scores").to_bits()).collect::<Vec<_>>()
        })
    };
    assert_eq!(build(1), build(3));
}

#[test]
fn what_a_forest_cannot_do_is_refused_and_changes_nothing() {
    let rows = small(5);
    let mut pool = pool_of(&rows);
    let sub = IsolationForestParams { sample_size: Some(3), ..params(4) };
    let error = IncrementalForest::fit_pool(&sub, &pool, 1).expect_err("a subset").to_string();
    assert!(error.contains("sample_size is 3"), "{error}");
    let mut forest = IncrementalForest::fit_pool(&params(4), &pool, 1).expect("fits");
    let before = forest.score_row(&rows[0]).expect("scores");
    assert!(forest.insert(&pool, 2, 1).is_err(), "it has the row");
    assert!(forest.insert(&pool, 5, 1).is_err() && forest.remove(&pool, 5, 1).is_err(), "no such row");
    pool.push(&rows[0]).expect("finite");
    assert!(forest.remove(&pool, 5, 1).is_err(), "it never had the row");
    assert!(forest.insert(&pool_of(&[vec![1.0], vec![2.0]]), 0, 1).is_err(), "another width");
    pool.pop_front();
    let error = forest.insert(&pool, 4, 1).expect_err("a row went without a word").to_string();
    assert!(error.contains("take a row out of the forest first"), "{error}");
    assert!(forest.score_row(&[0.0]).is_err());
    assert_eq!(forest.score_row(&[f32::NAN, 0.0, 0.0, 0.0]).expect("a finding"), f32::INFINITY);
    assert_eq!(forest.score_row(&rows[0]).expect("scores"), before);
    let pool = pool_of(&rows[..2]);
    let mut forest = IncrementalForest::fit_pool(&params(4), &pool, 1).expect("fits");
    assert!(matches!(forest.remove(&pool, 0, 1), Err(Error::TooFewSamples { .. })));
}

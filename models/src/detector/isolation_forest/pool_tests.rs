use super::super::samples::Samples;
use super::*;
use crate::rng::Rng;
use half::bf16;
use proptest::prelude::*;

fn row(n_features: usize, seed: u64) -> Vec<f32> {
    let mut rng = Rng::new(seed);
    (0..n_features).map(|_| (rng.normal() as f32).max(0.0)).collect()
}

fn rows_of<E: Stored>(pool: &SamplePool<E>) -> Vec<Vec<f32>> {
    (0..pool.n_rows())
        .map(|row_idx| {
            let mut values = vec![0.0; pool.n_features()];
            pool.copy_row(row_idx, &mut values);
            values
        })
        .collect()
}

#[derive(Debug, Clone)]
enum Change {
    Push(u64),
    PopFront,
    Truncate(usize),
    Ignore(usize),
    Reserve,
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let change = prop_oneof![
        8 => any::<u64>().prop_map(Change::Push),
        2 => Just(Change::PopFront),
        1 => (0usize..60).prop_map(Change::Truncate),
        1 => (0usize..40).prop_map(Change::Ignore),
        4 => Just(Change::Reserve),
    ];
    proptest::collection::vec(change, 0..120)
}

fn pool_is_a_list_of_rows<E: Stored>(n_features: usize, capacity: Option<usize>, changes: Vec<Change>) {
    let mut pool = match capacity {
        Some(n_rows) => SamplePool::<E>::with_capacity(n_features, n_rows),
        None => SamplePool::<E>::new(n_features),
    }
    .expect("not empty");
    let mut list: Vec<Vec<f32>> = Vec::new();
    let mut n_ignored = 0usize;
    for change in changes {
        match change {
            Change::Push(seed) => {
                let row = row(n_features, seed);
                pool.push(&row).expect("finite");
                list.push(row.iter().map(|&value| E::load(E::store(value))).collect());
            }
            Change::PopFront => {
                pool.pop_front();
                list.drain(..list.len().min(1));
                n_ignored = n_ignored.saturating_sub(1);
            }
            Change::Truncate(n_rows) => {
                pool.truncate(n_rows);
                list.truncate(n_rows);
                n_ignored = n_ignored.min(n_rows);
            }
            Change::Ignore(n_rows) => {
                pool.ignore(n_rows);
                n_ignored = n_rows.min(list.len());
            }
            Change::Reserve => pool.reserve(),
        }
        assert_eq!(pool.n_rows(), list.len());
    }
    assert_eq!(rows_of(&pool), list);
    list.drain(..n_ignored);
    let rows: Vec<u32> = (0..list.len() as u32).filter(|row| row % 3 != 1).collect();
    let mut values = Vec::new();
    for view in [pool.view(), pool.prepared_view()] {
        assert_eq!(view.n_rows(), list.len());
        for column in 0..n_features {
            view.prefetch(column as u32, &rows);
            view.gather(column as u32, &rows, &mut values);
            assert_eq!(values, rows.iter().map(|&row| list[row as usize][column]).collect::<Vec<_>>());
            let varies = list.iter().any(|row| row[column] != list[0][column]);
            assert!(!(varies && view.is_known_constant(column as u32)));
        }
    }
    let view = pool.prepared_view();
    let slices: Vec<&[f32]> = list.iter().map(Vec::as_slice).collect();
    let apart = super::super::samples::Rows(&slices);
    if rows.len() > 1 {
        assert_eq!(view.varying(&rows), apart.varying(&rows));
        let (a, b) = (rows[0], rows[rows.len() - 1]);
        assert_eq!(view.differences(a, b, n_features), apart.differences(a, b, n_features));
        assert_eq!(view.differences(a, b, 3), apart.differences(a, b, 3));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn pool_holds_what_a_list_of_rows_would(
        n_features in prop_oneof![1usize..200, 5000usize..10_000], capacity in proptest::option::of(1usize..80), changes in changes()
    ) {
        pool_is_a_list_of_rows::<f32>(n_features, capacity, changes);
    }

    #[test]
    fn pool_of_halves_holds_what_a_list_of_rounded_rows_would(
        n_features in prop_oneof![1usize..200, 5000usize..10_000], capacity in proptest::option::of(1usize..80), changes in changes()
    ) {
        pool_is_a_list_of_rows::<bf16>(n_features, capacity, changes);
    }
}

#[test]
fn row_that_cannot_be_kept_is_refused_and_changes_nothing() {
    let mut pool = SamplePool::<bf16>::new(3).expect("not empty");
    pool.push(&[1.0, 2.0, 3.0]).expect("finite");
    assert!(matches!(pool.push(&[1.0, 2.0]), Err(Error::Shape { .. })));
    assert!(matches!(pool.push(&[1.0, f32::NAN, 0.0]), Err(Error::NotFinite { index: 1, .. })));
    // The greatest f32 rounds to infinity in bf16.
    assert!(matches!(pool.push(&[1.0, 0.0, f32::MAX]), Err(Error::NotFinite { index: 2, .. })));
    assert_eq!(rows_of(&pool), [[1.0, 2.0, 3.0]]);
    assert!(SamplePool::<f32>::new(0).is_err());
}

#[test]
fn halves_are_off_by_at_most_a_part_in_256() {
    for value in row(1000, 3).into_iter().chain([0.0, 1e-30, 3e38, -7.3]) {
        assert!((bf16::load(bf16::store(value)) - value).abs() <= value.abs() / 256.0, "{value}");
    }
}

#[test]
fn memory_is_that_of_the_rows_and_does_not_grow_with_what_was_forgotten() {
    let n_features = 16 * PIECE;
    let row_bytes = n_features * 4;
    for (capacity, reserves) in [None, Some(100)].into_iter().flat_map(|n| [(n, false), (n, true)]) {
        let mut pool = match capacity {
            Some(n_rows) => SamplePool::<f32>::with_capacity(n_features, n_rows),
            None => SamplePool::<f32>::new(n_features),
        }
        .expect("not empty");
        for step in 0..400u64 {
            pool.push(&row(n_features, step)).expect("finite");
            if pool.n_rows() > 100 {
                pool.pop_front();
            }
            if reserves {
                pool.reserve();
            }
        }
        let more = pool.n_bytes() - 100 * row_bytes;
        assert!(more < capacity.map_or(50, |_| 26) * row_bytes, "{more}");
        assert_eq!(capacity.is_some(), pool.slabs.len() == 1);
    }
}

#[test]
fn rows_that_are_alike_differ_where_they_do_whatever_was_forgotten() {
    let n_features = 3 * DIGESTED + 100;
    let mut pool = SamplePool::<f32>::new(n_features).expect("not empty");
    let mut list: Vec<Vec<f32>> = Vec::new();
    for step in 0..60usize {
        let mut row = row(n_features, step as u64 % 3);
        // Every third is a copy; others differ in columns of one piece, of two, or by the sign of a zero, which is none.
        match step / 3 % 3 {
            0 => {}
            1 => [0, DIGESTED - 1, DIGESTED, n_features - 1]
                .into_iter()
                .for_each(|column| row[column] += 1.0 + step as f32),
            _ => row.iter_mut().filter(|value| **value == 0.0).for_each(|value| *value = -0.0),
        }
        pool.push(&row).expect("finite");
        list.push(row);
        if step == 20 {
            (0..5).for_each(|_| pool.pop_front());
            list.drain(..5);
            pool.ignore(3);
        }
        if step == 40 {
            pool.truncate(27);
            list.truncate(27);
        }
    }
    list.drain(..3);
    let view = pool.prepared_view();
    let slices: Vec<&[f32]> = list.iter().map(Vec::as_slice).collect();
    let apart = super::super::samples::Rows(&slices);
    let n_rows = list.len() as u32;
    let mut n_alike = 0;
    for (first, second) in (0..n_rows).flat_map(|first| (0..first).map(move |second| (first, second))) {
        for limit in [0, 3, n_features] {
            let differences = view.differences(first, second, limit);
            assert_eq!(differences, apart.differences(first, second, limit), "{first} {second}");
            n_alike += usize::from(limit == 3 && differences.is_some());
        }
    }
    assert!(n_alike > 100, "{n_alike}");
}

#[test]
fn wide_rows_whose_stretches_take_turns_are_a_list_of_rows() {
    use Change::{Ignore, PopFront, Push, Reserve, Truncate};
    let pushed =
        |seeds: std::ops::Range<u64>| seeds.flat_map(|seed| [Push(seed), Reserve]).collect::<Vec<_>>();
    let changes = [
        pushed(0..37),
        vec![Truncate(29)],
        pushed(40..55),
        vec![PopFront; 20],
        pushed(60..70),
        vec![Truncate(3)],
        pushed(80..99),
        vec![Ignore(2)],
    ]
    .concat();
    for n_features in [8 * 32 * PIECE, 2 * PART + 3 * PIECE + 5] {
        pool_is_a_list_of_rows::<f32>(n_features, None, changes.clone());
        pool_is_a_list_of_rows::<f32>(n_features, Some(20), changes.clone());
        pool_is_a_list_of_rows::<bf16>(n_features, Some(50), changes.clone());
    }
}

#[test]
fn an_append_writes_to_a_part_of_the_pages_of_new_lines() {
    let n_features = 7 * PART;
    let turns = Turns::new(n_features, SamplePool::<f32>::LINE);
    // Two lanes, as of a pool without capacity.
    let columns_of_a_page = (2 << 20) / (2 * LINE_BYTES);
    for phase in 0..SamplePool::<f32>::LINE {
        let written = (0..n_features).step_by(PIECE).filter(|&column| turns.phase(column) == phase);
        let pages: std::collections::HashSet<usize> =
            written.map(|column| column / columns_of_a_page).collect();
        assert!(8 * pages.len() <= n_features.div_ceil(columns_of_a_page), "{phase}: {}", pages.len());
    }
}

#[test]
fn each_column_in_which_a_row_differs_from_the_first_has_its_bit() {
    let mut rng = crate::rng::Rng::new(4);
    for length in [1, 7, 8, 9, 63, 64] {
        let first: Vec<f32> = (0..length).map(|_| (rng.normal() as f32).max(0.0)).collect();
        for _ in 0..50 {
            let mut wanted = 0u64;
            let mut row = first.clone();
            for (column, value) in row.iter_mut().enumerate() {
                match rng.below(4) {
                    0 => (*value, wanted) = (*value + 1.0, wanted | 1 << column),
                    1 if *value == 0.0 => *value = -0.0, // equal to it
                    _ => {}
                }
            }
            assert_eq!(super::differing::<f32>(&row, &first), wanted);
        }
    }
}

//! `.npy` files as NumPy writes them: every number type, byte order, memory order and version that fields have.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod samples;

use anomalyd_models::image::{Limits, read_npy};
use serde::Deserialize;

#[derive(Deserialize)]
struct Reference {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    dtype: String,
    order: String,
    shape: Vec<usize>,
    file: String,
    values: String,
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

#[test]
fn files_of_numpy_are_read_as_numpy_reads_them() {
    let Reference { cases } = samples::read("npy_reference.json");
    assert_eq!(cases.len(), 24);
    for Case { dtype, order, shape, file, values } in cases {
        let field = read_npy(&bytes(&file), &Limits::default()).unwrap();
        let mut wanted: Vec<usize> = shape.iter().copied().filter(|extent| *extent > 1).collect();
        if wanted.len() == 2 {
            wanted.insert(0, 1);
        }
        assert_eq!(field.shape().to_vec(), wanted);
        let found = (0..wanted[0]).flat_map(|variable| field.variable(variable).iter().copied());
        let numbers = bytes(&values);
        let numbers = numbers.as_chunks::<8>().0;
        assert_eq!(numbers.len(), wanted.iter().product::<usize>());
        for (found, wanted) in found.zip(numbers.iter().map(|&eight| f64::from_be_bytes(eight))) {
            let is_same = found.to_bits() == wanted.to_bits() || found.is_nan() && wanted.is_nan();
            assert!(is_same, "{dtype} {order} {shape:?}: {found} {wanted}");
        }
    }
}

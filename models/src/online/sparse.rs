//! Features in a record: those that are not zero, and where they lie. After a rectifier most are zero, and what an image leaves on disk before
//! its verdict is told is shorter by as much.

use super::record::Record;
use crate::error::{Error, Result};
use rayon::prelude::*;

/// Features that one thread looks at, a multiple of 64.
const PART: usize = 1 << 16;
/// Where fewer than one in so many is zero they are stored as they are.
const FEW: usize = 8;

/// The name of the features that are not zero, or of all.
const VALUES: &str = "features";
/// A bit for each feature, the lowest first, that is not zero.
const PLACES: &str = "features.not_zero";
/// Their number, zeros included.
const LENGTH: &str = "features.length";

/// Puts features into a record, to the bit: a zero with a sign is none.
pub(super) fn put(record: &mut Record, features: &[f32]) {
    let parts = features.par_chunks(PART).map(|part| {
        let mut values = vec![0.0; part.len()];
        let mut n_values = 0;
        let places = part.chunks(64).map(|part| {
            part.iter().enumerate().fold(0u64, |places, (i, &value)| {
                let is_not_zero = value.to_bits() != 0;
                values[n_values] = value;
                n_values += usize::from(is_not_zero);
                places | u64::from(is_not_zero) << i
            })
        });
        let places: Vec<u64> = places.collect();
        values.truncate(n_values);
        (places, values)
    });
    let (places, values): (Vec<Vec<u64>>, Vec<Vec<f32>>) = parts.unzip();
    let n_values: usize = values.iter().map(Vec::len).sum();
    if (features.len() - n_values) * FEW < features.len() {
        return record.put_flat(VALUES, features);
    }
    record.put_flat(PLACES, &places.concat());
    record.put_flat(LENGTH, &[features.len() as u64]);
    record.put_flat(VALUES, &values.concat());
}

/// The features of a record.
///
/// # Errors
///
/// [`Error::Record`] if there are none, or other than one for each place.
pub(super) fn get(record: &Record) -> Result<Vec<f32>> {
    let values: Vec<f32> = record.get_flat(VALUES, usize::MAX)?;
    if !record.has(PLACES) {
        return Ok(values);
    }
    let places: Vec<u64> = record.get_flat(PLACES, usize::MAX)?;
    let length: Vec<u64> = record.get_flat(LENGTH, 1)?;
    let n_places: usize = places.iter().map(|places| places.count_ones() as usize).sum();
    let length = length.first().and_then(|&length| usize::try_from(length).ok());
    let length = length.filter(|&length| length.div_ceil(64) == places.len() && n_places == values.len());
    let is_beyond = |length: usize| {
        !length.is_multiple_of(64)
            && places.last().is_some_and(|places| places.checked_shr(length as u32 % 64) != Some(0))
    };
    let Some(length) = length.filter(|&length| !is_beyond(length)) else {
        let reason = format!("{} features for {n_places} places in {} words", values.len(), places.len());
        return Err(Error::Record { reason });
    };
    let mut features = vec![0.0; length];
    let mut left = values.into_iter();
    for (part, mut places) in features.chunks_mut(64).zip(places) {
        while places != 0 {
            // There are as many as places.
            part[places.trailing_zeros() as usize] = left.next().unwrap_or_default();
            places &= places - 1;
        }
    }
    Ok(features)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn features_come_back_to_the_bit_whichever_are_zero(
            features in prop::collection::vec(prop_oneof![
                2 => Just(0.0f32), 1 => Just(-0.0f32), 2 => any::<f32>().prop_filter("NaN", |value| !value.is_nan())
            ], 0..400)
        ) {
            let mut record = Record::default();
            put(&mut record, &features);
            let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
            prop_assert_eq!(bits(&get(&record).unwrap()), bits(&features));
        }
    }

    #[test]
    fn wide_features_take_the_room_of_those_that_are_not_zero() {
        let features: Vec<f32> =
            (0..3 * PART + 77).map(|i| if i % 4 == 1 { i as f32 } else { 0.0 }).collect();
        let mut record = Record::default();
        put(&mut record, &features);
        assert_eq!(get(&record).unwrap(), features);
        let n_bytes = record.to_bytes(1, &[0; 32]).len();
        assert!(n_bytes < features.len() * 4 * 3 / 10, "{n_bytes}");
    }

    #[test]
    fn record_whose_places_are_not_those_of_its_features_is_refused() {
        let record = |places: &[u64], length: u64, values: &[f32]| {
            let mut record = Record::default();
            record.put_flat(PLACES, places);
            record.put_flat(LENGTH, &[length]);
            record.put_flat(VALUES, values);
            get(&record)
        };
        assert_eq!(record(&[0b101], 3, &[1.0, 2.0]).unwrap(), [1.0, 0.0, 2.0]);
        assert_eq!(record(&[1 << 63], 64, &[1.0]).unwrap()[63], 1.0);
        for (places, length, values) in [
            (&[0b101u64][..], 3, &[1.0f32][..]),
            (&[0b101], 3, &[1.0, 2.0, 3.0]),
            (&[0b101], 2, &[1.0, 2.0]),
            (&[0b101], 65, &[1.0, 2.0]),
            (&[0b101], u64::MAX, &[1.0, 2.0]),
            (&[0b101, 0], 3, &[1.0, 2.0]),
        ] {
            assert!(
                matches!(record(places, length, values), Err(Error::Record { .. })),
                "{places:?} {length}"
            );
        }
    }
}

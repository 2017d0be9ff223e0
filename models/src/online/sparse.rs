//! Features in a record: those that are not zero, and where they lie. After a rectifier most are zero, and what an image leaves on disk before
//! its verdict is told is shorter by as much.

use super::record::{Number, Record};
use super::record_draft::{Pieces, RecordDraft, Values};
use crate::error::{Error, Result};
use std::borrow::Cow;
use std::io;

/// Where fewer than one in so many is zero they are stored as they are.
const FEW: usize = 8;

/// The name of the features that are not zero, or of all.
const VALUES: &str = "features";
/// A bit for each feature, the lowest first, that is not zero.
const PLACES: &str = "features.not_zero";
/// Their number, zeros included.
const LENGTH: &str = "features.length";

/// Puts features into a record, to the bit: a zero with a sign is none.
pub(super) fn put<'a>(draft: &mut RecordDraft<'a>, features: impl Into<Cow<'a, [f32]>>) {
    let features = features.into();
    let places: Vec<u64> = features.chunks(64).map(places).collect();
    let n_values: usize = places.iter().map(|places| places.count_ones() as usize).sum();
    if (features.len() - n_values) * FEW < features.len() {
        return draft.put_flat(VALUES, features);
    }
    draft.put_flat(PLACES, places);
    draft.put_flat(LENGTH, vec![features.len() as u64]);
    draft.put_values(VALUES, f32::DTYPE, &[n_values], NotZero { features, n_values });
}

/// Which of at most 64 features are not zero.
fn places(features: &[f32]) -> u64 {
    let mut padded = [0.0; 64];
    let features: &[f32; 64] = features.try_into().unwrap_or_else(|_| {
        padded[..features.len()].copy_from_slice(features);
        &padded
    });
    let (halves, _) = features.as_chunks::<32>();
    halves.iter().rev().fold(0, |places, half| {
        // Each bit by itself before they are joined, which the compiler then does side by side.
        let bits: [u32; 32] = std::array::from_fn(|i| if half[i].to_bits() != 0 { 1 << i } else { 0 });
        places << 32 | u64::from(bits.into_iter().fold(0, |all, bit| all | bit))
    })
}

/// Features without their zeros.
struct NotZero<'a> {
    features: Cow<'a, [f32]>,
    n_values: usize,
}

impl Values for NotZero<'_> {
    fn n_values(&self) -> usize {
        self.n_values
    }

    fn write(&self, pieces: &mut Pieces<'_>) -> io::Result<()> {
        for part in self.features.chunks(64) {
            let (room, _) = pieces.room().as_chunks_mut::<4>();
            // Again, which is cheaper than to read what was found before.
            let mut places = places(part);
            let n_values = places.count_ones() as usize;
            for value in &mut room[..n_values] {
                *value = part[places.trailing_zeros() as usize].to_le_bytes();
                places &= places - 1;
            }
            pieces.advance(4 * n_values)?;
        }
        Ok(())
    }
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

    fn draft<'a>() -> RecordDraft<'a> {
        RecordDraft::new(1, [0; 32])
    }

    fn read(draft: &RecordDraft<'_>) -> Record {
        Record::from_bytes(&draft.to_bytes(), 1, &[0; 32]).unwrap()
    }

    proptest! {
        #[test]
        fn features_come_back_to_the_bit_whichever_are_zero(
            features in prop::collection::vec(prop_oneof![
                2 => Just(0.0f32), 1 => Just(-0.0f32), 2 => any::<f32>().prop_filter("NaN", |value| !value.is_nan())
            ], 0..400)
        ) {
            let mut draft = draft();
            put(&mut draft, &features);
            let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
            prop_assert_eq!(bits(&get(&read(&draft)).unwrap()), bits(&features));
        }
    }

    #[test]
    fn wide_features_take_the_room_of_those_that_are_not_zero() {
        let features: Vec<f32> = (0..200_077).map(|i| if i % 4 == 1 { i as f32 } else { 0.0 }).collect();
        let mut draft = draft();
        put(&mut draft, &features);
        assert_eq!(get(&read(&draft)).unwrap(), features);
        let n_bytes = draft.to_bytes().len();
        assert!(n_bytes < features.len() * 4 * 3 / 10, "{n_bytes}");
    }

    #[test]
    fn record_whose_places_are_not_those_of_its_features_is_refused() {
        let record = |places: &[u64], length: u64, values: &[f32]| {
            let mut draft = draft();
            draft.put_flat(PLACES, places);
            draft.put_flat(LENGTH, vec![length]);
            draft.put_flat(VALUES, values);
            get(&read(&draft))
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

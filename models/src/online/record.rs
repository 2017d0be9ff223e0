//! The state after one accepted image as a file: plain arrays by name, exact to the bit. How one is written is in `record_draft.rs`.

use super::pixels::PixelDigest;
use crate::error::{Error, Result};
use half::f16;
use safetensors::SafeTensors;
use safetensors::tensor::Dtype;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The form of records and manifests; another is refused.
pub(super) const FORMAT: u32 = 1;

/// The key of the header's one entry, a JSON object.
pub(super) const HEADER_KEY: &str = "anomalyd";

/// What a record says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Header {
    pub(super) format: u32,
    pub(super) step: i64,
    /// Of the image's pixels, in hex.
    pub(super) digest: String,
}

/// A type of numbers that a record can hold.
pub(super) trait Number: Copy + 'static {
    const DTYPE: Dtype;
    const N_BYTES: usize;
    /// Puts values into bytes, little-endian, of which there are enough.
    fn write(values: &[Self], bytes: &mut [u8]);
    /// - `bytes`: `N_BYTES` of them.
    fn read(bytes: &[u8]) -> Self;
}

macro_rules! number {
    ($type:ty, $dtype:ident) => {
        impl Number for $type {
            const DTYPE: Dtype = Dtype::$dtype;
            const N_BYTES: usize = size_of::<$type>();
            fn write(values: &[Self], bytes: &mut [u8]) {
                let places = bytes.as_chunks_mut::<{ size_of::<$type>() }>().0;
                places.iter_mut().zip(values).for_each(|(place, value)| *place = value.to_le_bytes());
            }
            fn read(bytes: &[u8]) -> Self {
                Self::from_le_bytes(bytes.try_into().expect("as many bytes as the type has"))
            }
        }
    };
}
number!(u8, U8);
number!(u64, U64);
number!(f16, F16);
number!(f32, F32);
number!(f64, F64);

#[derive(Debug, Clone, PartialEq)]
struct Array {
    dtype: Dtype,
    shape: Vec<usize>,
    /// Little-endian, row-major.
    bytes: Vec<u8>,
}

/// Arrays by name, as they were read.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Record(BTreeMap<String, Array>);

impl Record {
    /// Whether there is an array of that name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// Shape and values of an array.
    ///
    /// # Errors
    ///
    /// [`Error::Record`] if there is none of that name, type and number of dimensions.
    pub(super) fn get<T: Number, const N: usize>(&self, name: &str) -> Result<([usize; N], Vec<T>)> {
        let array =
            self.0.get(name).ok_or_else(|| Error::Record { reason: format!("no array {name} in it") })?;
        let shape = <[usize; N]>::try_from(array.shape.as_slice()).ok().filter(|_| array.dtype == T::DTYPE);
        let shape = shape.ok_or_else(|| Error::Record {
            reason: format!(
                "array {name} is {:?} of shape {:?}, expected {:?} of {N} dimensions",
                array.dtype,
                array.shape,
                T::DTYPE
            ),
        })?;
        Ok((shape, array.bytes.chunks_exact(T::N_BYTES).map(T::read).collect()))
    }

    /// The values of an array of one dimension and at most `most` values.
    ///
    /// # Errors
    ///
    /// [`Error::Record`] if there is none.
    pub(super) fn get_flat<T: Number>(&self, name: &str, most: usize) -> Result<Vec<T>> {
        let ([length], values) = self.get::<T, 1>(name)?;
        if length > most {
            return Err(Error::Record {
                reason: format!("array {name} has {length} values, at most {most}"),
            });
        }
        Ok(values)
    }

    /// Reads the bytes of a file.
    ///
    /// # Errors
    ///
    /// [`Error::Record`] if they are not a record of this format, of this image.
    pub(super) fn from_bytes(bytes: &[u8], step: i64, digest: &PixelDigest) -> Result<Self> {
        let wrong = |reason: String| Error::Record { reason };
        let (_, metadata) = SafeTensors::read_metadata(bytes)
            .map_err(|error| wrong(format!("no safetensors file: {error}")))?;
        let header = metadata.metadata().as_ref().and_then(|entries| entries.get(HEADER_KEY));
        let header: Header = header
            .and_then(|words| serde_json::from_str(words).ok())
            .ok_or_else(|| wrong(format!("no header {HEADER_KEY} in it")))?;
        let expected = Header { format: FORMAT, step, digest: to_hex(digest) };
        if header != expected {
            return Err(wrong(format!("it is {header:?}, expected {expected:?}")));
        }
        let tensors = SafeTensors::deserialize(bytes).map_err(|error| wrong(error.to_string()))?;
        let arrays = tensors.tensors().into_iter().map(|(name, view)| {
            let array =
                Array { dtype: view.dtype(), shape: view.shape().to_vec(), bytes: view.data().to_vec() };
            (name, array)
        });
        Ok(Self(arrays.collect()))
    }
}

/// Lower-case hex.
pub(super) fn to_hex(digest: &PixelDigest) -> String {
    const DIGITS: [char; 16] =
        ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
    digest.iter().flat_map(|byte| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]).collect()
}

/// The digest of 64 hex digits.
pub(super) fn from_hex(text: &str) -> Option<PixelDigest> {
    let digit = |byte: u8| (byte as char).to_digit(16).filter(|_| !byte.is_ascii_uppercase());
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return None };
    let bytes: Option<Vec<u8>> =
        pairs.iter().map(|&[high, low]| Some((16 * digit(high)? + digit(low)?) as u8)).collect();
    bytes?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::super::record_draft::RecordDraft;
    use super::*;

    const DIGEST: PixelDigest = [0xa7; 32];

    fn draft(step: i64) -> RecordDraft<'static> {
        let mut draft = RecordDraft::new(step, DIGEST);
        draft.put("image", &[1, 2, 3], vec![1u8, 2, 3, 4, 5, 255]);
        draft.put_flat("scale", vec![f16::from_f32(1.5), f16::MIN]);
        draft.put_flat("levels", vec![f64::from_bits(0x7ff8_0000_0000_1234), -0.0, 1e-308, 0.1 + 0.2]);
        draft.put_flat("intervals", Vec::<u64>::new());
        draft.put_flat("row", vec![f32::MIN_POSITIVE]);
        draft
    }

    #[test]
    fn what_is_read_is_what_was_written_to_the_bit() {
        let read = Record::from_bytes(&draft(-7).to_bytes(), -7, &DIGEST).unwrap();
        assert_eq!(read.0.keys().collect::<Vec<_>>(), ["image", "intervals", "levels", "row", "scale"]);
        assert_eq!(read.get::<u8, 3>("image").unwrap(), ([1, 2, 3], vec![1, 2, 3, 4, 5, 255]));
        assert_eq!(read.get_flat::<f16>("scale", 2).unwrap(), [f16::from_f32(1.5), f16::MIN]);
        assert_eq!(read.get_flat::<f32>("row", 1).unwrap(), [f32::MIN_POSITIVE]);
        assert!(read.get_flat::<u64>("intervals", 0).unwrap().is_empty());
        let levels: Vec<u64> =
            read.get_flat::<f64>("levels", 4).unwrap().into_iter().map(f64::to_bits).collect();
        assert_eq!(
            levels,
            [0x7ff8_0000_0000_1234, (-0.0f64).to_bits(), 1e-308f64.to_bits(), (0.1f64 + 0.2).to_bits()]
        );
        assert!(read.has("intervals") && !read.has("other"));
    }

    #[test]
    fn a_record_of_another_image_format_or_type_is_refused_and_says_why() {
        let bytes = draft(7).to_bytes();
        let of =
            |bytes: &[u8], step, digest| Record::from_bytes(bytes, step, digest).unwrap_err().to_string();
        assert!(of(&bytes, 8, &DIGEST).contains("step: 7"));
        assert!(of(&bytes, 7, &[1; 32]).contains("a7a7"));
        let text = String::from_utf8_lossy(&bytes).into_owned();
        assert!(text.contains("format\\\":1"), "{text}");
        let place = bytes.windows(10).position(|part| part == b"format\\\":1").unwrap() + 9;
        let mut other = bytes.clone();
        other[place] = b'2';
        assert!(of(&other, 7, &DIGEST).contains("format: 2"));
        for length in [0, 7, 40, bytes.len() - 1] {
            assert!(Record::from_bytes(&bytes[..length], 7, &DIGEST).is_err(), "{length}");
        }
        let read = Record::from_bytes(&bytes, 7, &DIGEST).unwrap();
        assert!(read.get::<f32, 3>("image").unwrap_err().to_string().contains("U8 of shape [1, 2, 3]"));
        assert!(read.get::<u8, 2>("image").is_err() && read.get::<u8, 3>("other").is_err());
        assert!(read.get_flat::<f64>("levels", 3).unwrap_err().to_string().contains("4 values"));
    }

    #[test]
    fn digests_are_written_in_hex() {
        let digest: PixelDigest = std::array::from_fn(|i| (i * 8) as u8);
        assert_eq!(from_hex(&to_hex(&digest)), Some(digest));
        for wrong in ["", "00", &"0g".repeat(32), &"AA".repeat(32), &"0".repeat(63)] {
            assert_eq!(from_hex(wrong), None, "{wrong}");
        }
    }
}

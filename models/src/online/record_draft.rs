//! The state after one accepted image on its way into a file: arrays that are turned to bytes piece by piece, as they are written. Nothing is
//! held of them twice, and a piece is still near the processor when it is summed and handed to the system.

use super::pixels::PixelDigest;
use super::record::{FORMAT, HEADER_KEY, Header, Number, to_hex};
use safetensors::tensor::{Dtype, Metadata, TensorInfo};
use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::io::{self, Write};

/// Bytes of a piece. Linux takes megabytes that come at once into huge pages, which it first has to find: eight times as slow.
const PIECE: usize = 1 << 16;

/// Bytes that are turned at a time.
pub(super) const ROOM: usize = 1 << 10;

/// The values of an array, in their order.
pub(super) trait Values {
    /// How many there are.
    fn n_values(&self) -> usize;
    /// Writes all of them, little-endian.
    fn write(&self, pieces: &mut Pieces<'_>) -> io::Result<()>;
}

impl<T: Number> Values for Cow<'_, [T]> {
    fn n_values(&self) -> usize {
        self.len()
    }

    fn write(&self, pieces: &mut Pieces<'_>) -> io::Result<()> {
        for values in self.chunks(ROOM / T::N_BYTES) {
            T::write(values, pieces.room());
            pieces.advance(size_of_val(values))?;
        }
        Ok(())
    }
}

/// The state after one accepted image, to be written to a file.
pub struct RecordDraft<'a> {
    step: i64,
    digest: PixelDigest,
    arrays: BTreeMap<String, Array<'a>>,
}

struct Array<'a> {
    dtype: Dtype,
    shape: Vec<usize>,
    values: Box<dyn Values + 'a>,
}

impl fmt::Debug for RecordDraft<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordDraft").field("step", &self.step).finish_non_exhaustive()
    }
}

impl<'a> RecordDraft<'a> {
    /// Without arrays.
    pub(super) fn new(step: i64, digest: PixelDigest) -> Self {
        Self { step, digest, arrays: BTreeMap::new() }
    }

    /// Adds an array, of which there is none of that name yet.
    ///
    /// # Panics
    ///
    /// If the shape has another number of values: the caller's promise.
    pub(super) fn put<T: Number>(&mut self, name: &str, shape: &[usize], values: impl Into<Cow<'a, [T]>>) {
        self.put_values(name, T::DTYPE, shape, values.into());
    }

    /// Adds an array of one dimension.
    pub(super) fn put_flat<T: Number>(&mut self, name: &str, values: impl Into<Cow<'a, [T]>>) {
        let values = values.into();
        self.put(name, &[values.len()], values);
    }

    /// Adds an array, as [`put`](Self::put) does.
    pub(super) fn put_values(&mut self, name: &str, dtype: Dtype, shape: &[usize], values: impl Values + 'a) {
        assert_eq!(shape.iter().product::<usize>(), values.n_values(), "the shape of {name}; this is a bug");
        let array = Array { dtype, shape: shape.to_vec(), values: Box::new(values) };
        let before = self.arrays.insert(name.to_owned(), array);
        assert!(before.is_none(), "two arrays {name}; this is a bug");
    }

    /// Writes the file, piece by piece: each but the last has 64 KiB.
    ///
    /// # Errors
    ///
    /// Those of `to`.
    pub fn write(&self, to: &mut dyn Write) -> io::Result<()> {
        // In the format's order: wide types first, so that each array begins at a multiple of its type's size.
        let mut arrays: Vec<_> = self.arrays.iter().collect();
        arrays.sort_by_key(|(_, array)| Reverse(array.dtype));
        let mut pieces = Pieces { buffer: vec![0; PIECE + ROOM], n_bytes: 0, to };
        Cow::from(self.header(&arrays)?).write(&mut pieces)?;
        for (_, array) in arrays {
            array.values.write(&mut pieces)?;
        }
        pieces.finish()
    }

    /// What a safetensors file begins with: the length of a JSON object, and that.
    fn header(&self, arrays: &[(&String, &Array<'_>)]) -> io::Result<Vec<u8>> {
        let header = Header { format: FORMAT, step: self.step, digest: to_hex(&self.digest) };
        let words = HashMap::from([(HEADER_KEY.to_owned(), serde_json::to_string(&header)?)]);
        let mut end = 0;
        let infos = arrays.iter().map(|(name, array)| {
            let start = end;
            end += array.values.n_values() * array.dtype.bitsize() / 8;
            let (dtype, shape) = (array.dtype, array.shape.clone());
            ((*name).clone(), TensorInfo { dtype, shape, data_offsets: (start, end) })
        });
        let metadata = Metadata::new(Some(words), infos.collect()).map_err(io::Error::other)?;
        let mut bytes = vec![0; 8];
        serde_json::to_writer(&mut bytes, &metadata)?;
        bytes.resize(bytes.len().next_multiple_of(8), b' ');
        let length = bytes.len() as u64 - 8;
        bytes[..8].copy_from_slice(&length.to_le_bytes());
        Ok(bytes)
    }

    /// The bytes of the file.
    #[cfg(test)]
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.write(&mut bytes).expect("memory takes all of it");
        bytes
    }
}

/// Bytes that leave in pieces.
pub(super) struct Pieces<'a> {
    buffer: Vec<u8>,
    n_bytes: usize,
    to: &'a mut dyn Write,
}

impl Pieces<'_> {
    /// Where the next bytes go.
    pub(super) fn room(&mut self) -> &mut [u8; ROOM] {
        self.buffer[self.n_bytes..].first_chunk_mut().expect("there is always room")
    }

    /// Takes so many bytes that were put into the room, at most as many as that has.
    pub(super) fn advance(&mut self, n_bytes: usize) -> io::Result<()> {
        self.n_bytes += n_bytes;
        if self.n_bytes >= PIECE {
            self.to.write_all(&self.buffer[..PIECE])?;
            self.buffer.copy_within(PIECE..self.n_bytes, 0);
            self.n_bytes -= PIECE;
        }
        Ok(())
    }

    fn finish(self) -> io::Result<()> {
        self.to.write_all(&self.buffer[..self.n_bytes])
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::Record;
    use super::*;

    /// Takes pieces, and no more than so many bytes.
    struct Disk {
        lengths: Vec<usize>,
        bytes: Vec<u8>,
        n_free: usize,
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if bytes.len() > self.n_free {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.n_free -= bytes.len();
            self.lengths.push(bytes.len());
            self.bytes.extend(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_record_of_any_length_leaves_in_pieces_and_is_read_alike() {
        for n_values in [0, 1, 8000, 8192, 16_371, 40_000] {
            let values: Vec<f64> = (0..n_values).map(|i| (i as f64).sqrt()).collect();
            let levels: Vec<u8> = (0..3 * n_values).map(|i| i as u8).collect();
            let mut draft = RecordDraft::new(5, [1; 32]);
            draft.put("levels", &[3, n_values], &levels);
            draft.put_flat("values", &values);
            let mut disk = Disk { lengths: Vec::new(), bytes: Vec::new(), n_free: usize::MAX };
            draft.write(&mut disk).unwrap();
            let (last, others) = disk.lengths.split_last().unwrap();
            assert!(others.iter().all(|&length| length == PIECE) && *last <= PIECE, "{:?}", disk.lengths);
            let read = Record::from_bytes(&disk.bytes, 5, &[1; 32]).unwrap();
            assert_eq!(read.get::<u8, 2>("levels").unwrap(), ([3, n_values], levels.clone()));
            assert_eq!(read.get_flat::<f64>("values", n_values).unwrap(), values);
            let mut full = Disk { lengths: Vec::new(), bytes: Vec::new(), n_free: disk.bytes.len() - 1 };
            assert_eq!(draft.write(&mut full).unwrap_err().kind(), io::ErrorKind::StorageFull);
        }
    }
}

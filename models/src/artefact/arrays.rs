//! `arrays.safetensors`: written and read as a stream, hashed on the way, so that no second copy of gigabytes is made.

use super::error::ArtefactError;
use super::manifest::{ArrayRecord, ArraysFile};
use ndarray::Array2;
use safetensors::tensor::{Dtype, Metadata, TensorInfo};
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::path::Path;

/// The header of some dozen arrays has a few kilobytes.
const MAX_HEADER_BYTES: u64 = 1 << 20;
/// Values converted at once.
const PIECE: usize = 1 << 16;

/// Numbers to be written.
pub(super) enum Values<'a> {
    F32(Cow<'a, [f32]>),
    F64(Cow<'a, [f64]>),
    U32(Cow<'a, [u32]>),
}

/// An array to be written.
pub(super) struct Array<'a> {
    pub(super) name: &'static str,
    pub(super) shape: Vec<usize>,
    pub(super) values: Values<'a>,
}

impl<'a> Array<'a> {
    /// An array of one dimension.
    pub(super) fn flat(name: &'static str, values: Values<'a>) -> Self {
        Self { name, shape: vec![values.len()], values }
    }
}

impl Values<'_> {
    fn len(&self) -> usize {
        match self {
            Self::F32(values) => values.len(),
            Self::F64(values) => values.len(),
            Self::U32(values) => values.len(),
        }
    }

    fn dtype(&self) -> Dtype {
        match self {
            Self::F32(_) => Dtype::F32,
            Self::F64(_) => Dtype::F64,
            Self::U32(_) => Dtype::U32,
        }
    }

    /// Gives the little-endian bytes to `sink`, piece by piece.
    fn for_bytes(&self, mut sink: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        fn send<T: Copy, const N: usize>(
            values: &[T],
            bytes_of: impl Fn(T) -> [u8; N],
            sink: &mut impl FnMut(&[u8]) -> io::Result<()>,
        ) -> io::Result<()> {
            let mut bytes = Vec::with_capacity(PIECE.min(values.len()) * N);
            for piece in values.chunks(PIECE) {
                bytes.clear();
                bytes.extend(piece.iter().flat_map(|&value| bytes_of(value)));
                sink(&bytes)?;
            }
            Ok(())
        }
        match self {
            Self::F32(values) => send(values, f32::to_le_bytes, &mut sink),
            Self::F64(values) => send(values, f64::to_le_bytes, &mut sink),
            Self::U32(values) => send(values, u32::to_le_bytes, &mut sink),
        }
    }
}

fn hex(hash: Sha256) -> String {
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Writes `arrays` and returns what the manifest says of them. The wider types come first, so that all are aligned.
pub(super) fn write(path: &Path, arrays: &[Array<'_>]) -> io::Result<(ArraysFile, Vec<ArrayRecord>)> {
    let mut order: Vec<&Array<'_>> = arrays.iter().collect();
    order.sort_by_key(|array| std::cmp::Reverse(array.values.dtype().bitsize()));
    let mut offset = 0;
    let infos = order.iter().map(|array| {
        let dtype = array.values.dtype();
        let start = offset;
        offset += array.values.len() * dtype.bitsize() / 8;
        let info = TensorInfo { dtype, shape: array.shape.clone(), data_offsets: (start, offset) };
        (array.name.to_owned(), info)
    });
    let metadata = Metadata::new(None, infos.collect()).map_err(io::Error::other)?;
    let mut header = serde_json::to_vec(&metadata)?;
    header.resize(header.len().next_multiple_of(8), b' ');

    let mut writer = BufWriter::new(File::create(path)?);
    let mut whole = Sha256::new();
    let mut n_bytes = 0;
    let mut put = |bytes: &[u8]| {
        whole.update(bytes);
        n_bytes += bytes.len() as u64;
        writer.write_all(bytes)
    };
    put(&(header.len() as u64).to_le_bytes())?;
    put(&header)?;
    let mut records = Vec::new();
    for array in order {
        let mut hash = Sha256::new();
        array.values.for_bytes(|bytes| {
            hash.update(bytes);
            put(bytes)
        })?;
        records.push(ArrayRecord {
            name: array.name.into(),
            dtype: name_of(array.values.dtype()),
            shape: array.shape.clone(),
            sha256: hex(hash),
        });
    }
    writer.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
    Ok((ArraysFile { name: super::ARRAYS_FILE.into(), n_bytes, sha256: hex(whole) }, records))
}

fn name_of(dtype: Dtype) -> String {
    format!("{dtype:?}")
}

/// Numbers that were read.
enum Numbers {
    F32(Vec<f32>),
    F64(Vec<f64>),
    U32(Vec<u32>),
}

/// The arrays of a file; each is taken out once.
pub(super) struct Loaded(BTreeMap<String, (Vec<usize>, Numbers)>);

/// Reads a file that must be what `file` and `records` say. Nothing is allocated for more bytes than the file has.
pub(super) fn read(path: &Path, file: &ArraysFile, records: &[ArrayRecord]) -> Result<Loaded, ArtefactError> {
    let io = |error: io::Error| ArtefactError::io(path, &error);
    let corrupt = |message: String| ArtefactError::corrupt(path, message);
    let mut reader = File::open(path).map_err(io)?;
    let n_bytes = reader.metadata().map_err(io)?.len();
    if n_bytes != file.n_bytes {
        return Err(corrupt(format!("has {n_bytes} bytes, {} in the manifest", file.n_bytes)));
    }
    let mut whole = Sha256::new();
    let mut length = [0; 8];
    reader.read_exact(&mut length).map_err(io)?;
    whole.update(length);
    let header_bytes = u64::from_le_bytes(length);
    if header_bytes > MAX_HEADER_BYTES.min(n_bytes - 8) {
        return Err(corrupt(format!(
            "has a header of {header_bytes} bytes, expected at most {MAX_HEADER_BYTES}"
        )));
    }
    let mut header = vec![0; header_bytes as usize];
    reader.read_exact(&mut header).map_err(io)?;
    whole.update(&header);
    let metadata: Metadata =
        serde_json::from_slice(&header).map_err(|error| corrupt(format!("has a bad header: {error}")))?;
    if metadata.data_len() as u64 != n_bytes - 8 - header_bytes {
        return Err(corrupt(format!("its header speaks of {} bytes of data", metadata.data_len())));
    }
    let names = metadata.offset_keys();
    if names.len() != records.len() || names.iter().zip(records).any(|(name, record)| *name != record.name) {
        let wanted: Vec<&str> = records.iter().map(|record| record.name.as_str()).collect();
        return Err(corrupt(format!("holds the arrays {names:?}, in the manifest {wanted:?}")));
    }
    let mut loaded = BTreeMap::new();
    for record in records {
        let info = metadata.info(&record.name).expect("the names were just compared");
        if info.shape != record.shape || name_of(info.dtype) != record.dtype {
            return Err(corrupt(format!(
                "{} is {:?} {:?}, in the manifest {} {:?}",
                record.name, info.dtype, info.shape, record.dtype, record.shape
            )));
        }
        let n_bytes = info.data_offsets.1 - info.data_offsets.0;
        let mut hash = Sha256::new();
        let mut update = |bytes: &[u8]| {
            hash.update(bytes);
            whole.update(bytes);
        };
        let values = match info.dtype {
            Dtype::F32 => {
                Numbers::F32(read_values(&mut reader, n_bytes, f32::from_le_bytes, &mut update).map_err(io)?)
            }
            Dtype::F64 => {
                Numbers::F64(read_values(&mut reader, n_bytes, f64::from_le_bytes, &mut update).map_err(io)?)
            }
            Dtype::U32 => {
                Numbers::U32(read_values(&mut reader, n_bytes, u32::from_le_bytes, &mut update).map_err(io)?)
            }
            other => return Err(corrupt(format!("{} is {other:?}, expected F32, F64 or U32", record.name))),
        };
        let found = hex(hash);
        if found != record.sha256 {
            return Err(corrupt(format!(
                "{} has sha256 {found}, in the manifest {}",
                record.name, record.sha256
            )));
        }
        loaded.insert(record.name.clone(), (record.shape.clone(), values));
    }
    let found = hex(whole);
    if found != file.sha256 {
        return Err(corrupt(format!("has sha256 {found}, in the manifest {}", file.sha256)));
    }
    Ok(Loaded(loaded))
}

fn read_values<T, const N: usize>(
    reader: &mut File,
    n_bytes: usize,
    value_of: impl Fn([u8; N]) -> T,
    update: &mut impl FnMut(&[u8]),
) -> io::Result<Vec<T>> {
    let mut values = Vec::with_capacity(n_bytes / N);
    let mut bytes = vec![0; (PIECE * N).min(n_bytes)];
    let mut left = n_bytes;
    while left > 0 {
        let piece = &mut bytes[..left.min(PIECE * N)];
        reader.read_exact(piece)?;
        update(piece);
        values.extend(piece.as_chunks::<N>().0.iter().map(|&bytes| value_of(bytes)));
        left -= piece.len();
    }
    Ok(values)
}

impl Loaded {
    fn take(&mut self, name: &str, path: &Path) -> Result<(Vec<usize>, Numbers), ArtefactError> {
        self.0.remove(name).ok_or_else(|| ArtefactError::corrupt(path, format!("lacks the array {name}")))
    }

    /// Takes an array of one dimension.
    pub(super) fn f32s(&mut self, name: &str, path: &Path) -> Result<Vec<f32>, ArtefactError> {
        match self.take(name, path)? {
            (shape, Numbers::F32(values)) if shape.len() == 1 => Ok(values),
            _ => Err(ArtefactError::corrupt(path, format!("{name} is not F32 of one dimension"))),
        }
    }

    /// Takes an array of one dimension.
    pub(super) fn f64s(&mut self, name: &str, path: &Path) -> Result<Vec<f64>, ArtefactError> {
        match self.take(name, path)? {
            (shape, Numbers::F64(values)) if shape.len() == 1 => Ok(values),
            _ => Err(ArtefactError::corrupt(path, format!("{name} is not F64 of one dimension"))),
        }
    }

    /// Takes an array of one dimension.
    pub(super) fn u32s(&mut self, name: &str, path: &Path) -> Result<Vec<u32>, ArtefactError> {
        match self.take(name, path)? {
            (shape, Numbers::U32(values)) if shape.len() == 1 => Ok(values),
            _ => Err(ArtefactError::corrupt(path, format!("{name} is not U32 of one dimension"))),
        }
    }

    /// Takes an array of two dimensions.
    pub(super) fn matrix(&mut self, name: &str, path: &Path) -> Result<Array2<f32>, ArtefactError> {
        match self.take(name, path)? {
            (shape, Numbers::F32(values)) if shape.len() == 2 => {
                Array2::from_shape_vec((shape[0], shape[1]), values)
                    .map_err(|error| ArtefactError::corrupt(path, format!("{name}: {error}")))
            }
            _ => Err(ArtefactError::corrupt(path, format!("{name} is not F32 of two dimensions"))),
        }
    }

    /// Refuses arrays that nothing asked for.
    pub(super) fn finish(self, path: &Path) -> Result<(), ArtefactError> {
        match self.0.keys().next() {
            Some(name) => {
                Err(ArtefactError::corrupt(path, format!("holds the array {name}, which no part wants")))
            }
            None => Ok(()),
        }
    }
}

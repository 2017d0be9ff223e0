//! Samples in a file of NumPy's format, mapped into memory: what is fitted on them reads of the file what it needs, where it lies.
#![allow(
    unsafe_code,
    reason = "mapping a file and taking its bytes for numbers; both are checked, but that nobody shortens the file"
)]
#![deny(clippy::undocumented_unsafe_blocks)]

use crate::image::{ByteOrder, FieldNumber, ImageErrorKind, MOST_BEFORE_VALUES, NpyHeader, read_npy_header};
use crate::transform::SampleBlocks;
use crate::{Error, Result};
use memmap2::Mmap;
use ndarray::{ArrayView2, ShapeBuilder};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Where the values of a matrix lie in an `.npy` file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) first_byte: usize,
    pub(crate) n_rows: usize,
    pub(crate) n_features: usize,
    /// One column after the other, not one row after the other.
    pub(crate) by_columns: bool,
}

impl Layout {
    /// Reads the header of an `.npy` file, and refuses all but a matrix of 32-bit floats that the file holds to its end.
    pub(crate) fn read(path: &Path, file: &mut File) -> Result<Self> {
        let io = |source: io::Error| Error::Io { path: path.to_owned(), source };
        let refuse = |reason: String| Err(Error::Samples { path: path.to_owned(), reason });
        let n_bytes = file.metadata().map_err(io)?.len();
        let mut begin = Vec::new();
        file.take(MOST_BEFORE_VALUES as u64).read_to_end(&mut begin).map_err(io)?;
        let (header, values) = match read_npy_header(&begin) {
            Ok(read) => read,
            Err(error) if error.kind() == ImageErrorKind::Unsupported => {
                return refuse(format!("{error}; expected a matrix of 32-bit floats, [images, features]"));
            }
            Err(error) => return refuse(error.to_string()),
        };
        let first_byte = begin.len() - values.len();
        let NpyHeader { number, byte_order, fortran_order, shape } = header;
        if (number, byte_order) != (FieldNumber::F32, ByteOrder::Little) {
            let found = match (number, byte_order) {
                (FieldNumber::F32, _) => ">f4, the other order of bytes",
                (FieldNumber::F64, ByteOrder::Little) => "<f8",
                (FieldNumber::F64, ByteOrder::Big) => ">f8",
            };
            return refuse(format!("numbers of type {found}, expected <f4: write it after .astype('<f4')"));
        }
        let [n_rows, n_features] = shape[..] else {
            return refuse(format!("an array of shape {shape:?}, expected two extents, [images, features]"));
        };
        let wanted = n_rows
            .checked_mul(n_features)
            .and_then(|n| n.checked_mul(4))
            .and_then(|n| n.checked_add(first_byte));
        let what = format!("[{n_rows}, {n_features}] numbers of 4 bytes after a header of {first_byte}");
        match wanted {
            Some(wanted) if wanted as u64 == n_bytes => {}
            Some(wanted) if n_bytes > wanted as u64 => {
                return refuse(format!(
                    "{n_bytes} bytes, more than {what}, which make {wanted}: expected one array"
                ));
            }
            _ => return refuse(format!("{n_bytes} bytes, expected {what}: truncated, or still in writing")),
        }
        Ok(Self { first_byte, n_rows, n_features, by_columns: fortran_order })
    }
}

/// Samples in an `.npy` file, mapped into memory: a matrix of 32-bit floats `[images, features]`, in C order (one image after the
/// other) or Fortran order (one feature after the other, which a forest reads faster).
///
/// Nothing is copied, and what is never read need not fit in memory. The file must not be shortened as long as it is mapped: the
/// system ends a process that then reads beyond its end.
///
/// # Examples
///
/// ```no_run
/// use anomalyd_models::detector::IsolationForestParams;
/// use anomalyd_models::samples::SampleMap;
/// use anomalyd_models::{Detector, Fit};
///
/// let map = SampleMap::open("features.npy".as_ref())?;
/// let forest = IsolationForestParams::default().fit(map.samples(), 1)?;
/// let scores = forest.score(map.samples())?;
/// # Ok::<(), anomalyd_models::Error>(())
/// ```
#[derive(Debug)]
pub struct SampleMap {
    map: Mmap,
    layout: Layout,
}

impl SampleMap {
    /// Maps a file.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if it cannot be opened or mapped; [`Error::Samples`] if it is no `.npy` file of 32-bit floats in this
    /// machine's order of bytes and with two extents, or not of the length that its header says.
    pub fn open(path: &Path) -> Result<Self> {
        let io = |source: io::Error| Error::Io { path: path.to_owned(), source };
        let refuse = |reason: String| Err(Error::Samples { path: path.to_owned(), reason });
        if cfg!(target_endian = "big") {
            return refuse(
                "numbers of type <f4 cannot be mapped on a machine of the other order of bytes".into(),
            );
        }
        let mut file = File::open(path).map_err(io)?;
        let layout = Layout::read(path, &mut file)?;
        if !layout.first_byte.is_multiple_of(align_of::<f32>()) {
            let found = layout.first_byte;
            return refuse(format!(
                "values from byte {found} on, expected a multiple of 4: write it with numpy.save"
            ));
        }
        // SAFETY: the map is only read, and its length stays the file's as long as nobody shortens it, which the documentation asks for.
        // Whatever bytes another process may write there are numbers.
        let map = unsafe { Mmap::map(&file) }.map_err(io)?;
        Ok(Self { map, layout })
    }

    /// The samples, `[images, features]`, row-major or column-major as in the file.
    pub fn samples(&self) -> ArrayView2<'_, f32> {
        let Layout { n_rows, n_features, by_columns, .. } = self.layout;
        ArrayView2::from_shape((n_rows, n_features).set_f(by_columns), self.values())
            .expect("the length of the file was compared with its shape")
    }

    fn values(&self) -> &[f32] {
        // SAFETY: every four bytes are an f32.
        let (before, values, after) = unsafe { self.map[self.layout.first_byte..].align_to::<f32>() };
        assert!(
            before.is_empty() && after.is_empty(),
            "a page begins on a multiple of 4, and so do the values"
        );
        values
    }
}

impl SampleBlocks for SampleMap {
    fn n_rows(&self) -> usize {
        self.layout.n_rows
    }

    fn n_features(&self) -> usize {
        self.layout.n_features
    }

    fn read(&self, row: usize, first_column: usize, values: &mut [f32]) -> Result<()> {
        let columns = first_column..first_column + values.len();
        let row = self.samples().index_axis_move(ndarray::Axis(0), row);
        values.iter_mut().zip(row.slice(ndarray::s![columns])).for_each(|(out, value)| *out = *value);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Fit;
    use crate::detector::{ExtendedForestParams, IsolationForestParams};
    use crate::rng::Rng;
    use crate::transform::{PcaParams, SampleFile};
    use ndarray::Array2;
    use std::io::Write;
    use tempfile::NamedTempFile;

    fn header(descr: &str, fortran_order: bool, shape: &str) -> Vec<u8> {
        let order = if fortran_order { "True" } else { "False" };
        let mut header = format!("{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}");
        let n_spaces = (10 + header.len() + 1).next_multiple_of(64) - 11 - header.len();
        header.push_str(&" ".repeat(n_spaces));
        header.push('\n');
        [b"\x93NUMPY\x01\x00", &(header.len() as u16).to_le_bytes()[..], header.as_bytes()].concat()
    }

    fn file(bytes: &[&[u8]]) -> NamedTempFile {
        let mut file = NamedTempFile::new().expect("room for a file");
        bytes.iter().for_each(|bytes| file.write_all(bytes).expect("room for a file"));
        file.flush().expect("room for a file");
        file
    }

    /// Sparse samples, the last two rows copies of the first, and files of them in C and in Fortran order.
    fn samples_and_files() -> (Array2<f32>, [NamedTempFile; 2]) {
        let mut rng = Rng::new(8);
        let mut samples = Array2::from_shape_simple_fn((30, 2000), || (rng.normal() as f32).max(0.0));
        for row in [28, 29] {
            let first = samples.row(0).to_owned();
            samples.row_mut(row).assign(&first);
        }
        let bytes = |values: &[f32]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
        let by_columns: Vec<f32> = samples.t().iter().copied().collect();
        let rows =
            file(&[&header("<f4", false, "(30, 2000)"), &bytes(samples.as_slice().expect("row-major"))]);
        let columns = file(&[&header("<f4", true, "(30, 2000)"), &bytes(&by_columns)]);
        (samples, [rows, columns])
    }

    #[test]
    fn forests_of_a_mapped_file_are_those_of_the_same_samples_in_memory() {
        let (samples, files) = samples_and_files();
        let params = IsolationForestParams { n_trees: 40, ..Default::default() };
        let extended = ExtendedForestParams { n_trees: 20, ..Default::default() };
        for (file, is_by_rows) in files.iter().zip([true, false]) {
            let map = SampleMap::open(file.path()).expect("maps");
            assert_eq!(map.samples(), samples);
            assert_eq!(map.samples().is_standard_layout(), is_by_rows);
            for seed in [1, 2] {
                let [mapped, in_memory] =
                    [map.samples(), samples.view()].map(|samples| params.fit(samples, seed).expect("fits"));
                assert_eq!(mapped, in_memory);
                let [mapped, in_memory] =
                    [map.samples(), samples.view()].map(|samples| extended.fit(samples, seed).expect("fits"));
                assert_eq!(mapped, in_memory);
            }
        }
    }

    #[test]
    fn blocks_of_a_mapped_file_and_of_one_that_is_read_are_those_in_memory() {
        let (samples, files) = samples_and_files();
        let rows: Vec<&[f32]> =
            samples.rows().into_iter().map(|row| row.to_slice().expect("row-major")).collect();
        let params = PcaParams { n_components: 4 };
        let (in_memory, _) = params.fit_streamed(rows.as_slice(), 1 << 20).expect("fits");
        for file in &files {
            let map = SampleMap::open(file.path()).expect("maps");
            assert_eq!(params.fit_streamed(&map, 1 << 20).expect("fits").0, in_memory);
        }
        let read = SampleFile::open_npy(files[0].path()).expect("opens");
        assert_eq!(params.fit_streamed(&read, 1 << 20).expect("fits").0, in_memory);
        let error = SampleFile::open_npy(files[1].path()).expect_err("by columns").to_string();
        assert!(error.contains("Fortran order"), "{error}");
    }

    #[test]
    fn value_that_is_not_finite_in_a_file_is_an_error_of_the_fit() {
        let values: Vec<u8> =
            [1.0, 2.0, 3.0, f32::NAN].iter().flat_map(|value| value.to_le_bytes()).collect();
        let file = file(&[&header("<f4", false, "(4, 1)"), &values]);
        let map = SampleMap::open(file.path()).expect("maps");
        let error = IsolationForestParams::default().fit(map.samples(), 0).expect_err("a NaN");
        assert!(matches!(error, Error::NotFinite { index: 3, .. }), "{error}");
    }

    #[test]
    fn file_of_something_else_is_refused_with_what_it_is_and_what_was_expected() {
        let values = [0u8; 48];
        let shifted = {
            let header = "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }";
            [b"\x93NUMPY\x01\x00", &(header.len() as u16).to_le_bytes()[..], header.as_bytes()].concat()
        };
        for (bytes, words) in [
            (
                [header("<f4", false, "(3, 4)"), values[..47].to_vec()].concat(),
                "expected [3, 4] numbers of 4 bytes after a header of 128: truncated",
            ),
            (
                [header("<f4", false, "(3, 4)"), values.to_vec(), vec![0]].concat(),
                "177 bytes, more than [3, 4] numbers",
            ),
            ([header("<f8", false, "(3, 4)"), values.to_vec()].concat(), "numbers of type <f8, expected <f4"),
            (
                [header(">f4", false, "(3, 4)"), values.to_vec()].concat(),
                "numbers of type >f4, the other order",
            ),
            ([header("<i4", false, "(3, 4)"), values.to_vec()].concat(), "\"<i4\" are not read"),
            ([header("<f4", false, "(12,)"), values.to_vec()].concat(), "shape [12], expected two extents"),
            (
                [header("<f4", false, "(3, 2, 2)"), values.to_vec()].concat(),
                "shape [3, 2, 2], expected two extents",
            ),
            ([header("<f4", false, "(4611686018427387904, 4)"), values.to_vec()].concat(), "truncated"),
            (b"\x93NUMPY\x01".to_vec(), "truncated"),
            (b"no array".to_vec(), "numpy.save"),
            ([shifted, values.to_vec()].concat(), "expected a multiple of 4"),
        ] {
            let file = file(&[&bytes]);
            let error = SampleMap::open(file.path()).expect_err(words).to_string();
            assert!(error.contains(words), "{error}: {words}");
            assert!(error.starts_with(&file.path().display().to_string()), "{error}");
        }
        assert!(matches!(SampleMap::open("absent.npy".as_ref()), Err(Error::Io { .. })));
        // No rows are no error of the file, but of who fits on them.
        let none = file(&[&header("<f4", false, "(0, 4)")]);
        let error =
            IsolationForestParams::default().fit(SampleMap::open(none.path()).expect("maps").samples(), 0);
        assert!(matches!(error, Err(Error::TooFewSamples { found: 0, .. })));
    }
}

//! Principal components of samples that do not fit in memory: two passes over blocks of columns.

use super::pca::{Centred, Pca, PcaParams, column_means};
use super::symmetric::Symmetric;
use super::{PIECE, Scaler};
use crate::finite::first_not_finite;
use crate::samples::Layout;
use crate::{Error, Result};
use ndarray::{Array2, Axis, Slice};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Samples that are read piece by piece: rows of images, columns of features.
pub trait SampleBlocks {
    /// Number of rows.
    fn n_rows(&self) -> usize;

    /// Number of columns.
    fn n_features(&self) -> usize;

    /// Fills `values` with the columns of `row` from `first_column` on.
    ///
    /// # Errors
    ///
    /// What reading gives.
    fn read(&self, row: usize, first_column: usize, values: &mut [f32]) -> Result<()>;
}

/// Rows in memory, for those who have them.
impl SampleBlocks for [&[f32]] {
    fn n_rows(&self) -> usize {
        self.len()
    }

    fn n_features(&self) -> usize {
        self.first().map_or(0, |row| row.len())
    }

    fn read(&self, row: usize, first_column: usize, values: &mut [f32]) -> Result<()> {
        values.copy_from_slice(&self[row][first_column..first_column + values.len()]);
        Ok(())
    }
}

/// Samples in a file: f32, little-endian, one row after the other.
#[derive(Debug)]
pub struct SampleFile {
    file: File,
    path: PathBuf,
    first_byte: u64,
    n_rows: usize,
    n_features: usize,
}

impl SampleFile {
    /// Opens a file.
    ///
    /// - `first_byte`: where the first value lies, 0 for a file of nothing else.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if it cannot be opened; [`Error::Shape`] if it does not hold `n_rows` rows of `n_features` values to its end.
    pub fn open(path: &Path, first_byte: u64, n_rows: usize, n_features: usize) -> Result<Self> {
        let io = |source: io::Error| Error::Io { path: path.to_owned(), source };
        let file = File::open(path).map_err(io)?;
        let found = file.metadata().map_err(io)?.len();
        let wanted = (n_rows as u64)
            .checked_mul(n_features as u64)
            .and_then(|n| n.checked_mul(4))
            .and_then(|n| n.checked_add(first_byte));
        if wanted != Some(found) {
            let wanted =
                format!("{n_rows} rows of {n_features} values of 4 bytes after the first {first_byte} bytes");
            return Err(Error::Shape {
                what: "file of samples",
                wanted,
                found: format!("{found} bytes in all"),
            });
        }
        Ok(Self { file, path: path.to_owned(), first_byte, n_rows, n_features })
    }

    /// Opens an `.npy` file of 32-bit floats `[rows, features]` in C order. One that fits in memory, or is in Fortran order, may as well be
    /// mapped: [`SampleMap`](crate::samples::SampleMap).
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if it cannot be opened; [`Error::Samples`] if it is another file.
    pub fn open_npy(path: &Path) -> Result<Self> {
        let mut file = File::open(path).map_err(|source| Error::Io { path: path.to_owned(), source })?;
        let layout = Layout::read(path, &mut file)?;
        if layout.by_columns {
            let reason = "an array in Fortran order, expected C order: write it after numpy.ascontiguousarray, or map it";
            return Err(Error::Samples { path: path.to_owned(), reason: reason.into() });
        }
        Self::open(path, layout.first_byte as u64, layout.n_rows, layout.n_features)
    }
}

impl SampleBlocks for SampleFile {
    fn n_rows(&self) -> usize {
        self.n_rows
    }

    fn n_features(&self) -> usize {
        self.n_features
    }

    fn read(&self, row: usize, first_column: usize, values: &mut [f32]) -> Result<()> {
        const STEP: usize = 1 << 14;
        let mut bytes = [0u8; 4 * STEP];
        let mut position = self.first_byte + 4 * (row * self.n_features + first_column) as u64;
        for piece in values.chunks_mut(STEP) {
            let bytes = &mut bytes[..4 * piece.len()];
            self.file
                .read_exact_at(bytes, position)
                .map_err(|source| Error::Io { path: self.path.clone(), source })?;
            for (value, bytes) in piece.iter_mut().zip(bytes.as_chunks::<4>().0) {
                *value = f32::from_le_bytes(*bytes);
            }
            position += bytes.len() as u64;
        }
        Ok(())
    }
}

/// Samples as a [`Scaler`] brings them to mean 0 and standard deviation 1, scaled as they are read.
#[derive(Debug)]
pub struct ScaledBlocks<'a, B: ?Sized> {
    blocks: &'a B,
    scaler: &'a Scaler,
}

impl<'a, B: SampleBlocks + ?Sized> ScaledBlocks<'a, B> {
    /// Samples and the scaler fitted on them.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`] if the scaler was fitted on another number of features.
    pub fn new(blocks: &'a B, scaler: &'a Scaler) -> Result<Self> {
        let (wanted, found) = (scaler.mean().len(), blocks.n_features());
        if wanted != found {
            return Err(super::wrong_width("features to scale", wanted, found));
        }
        Ok(Self { blocks, scaler })
    }
}

impl<B: SampleBlocks + ?Sized> SampleBlocks for ScaledBlocks<'_, B> {
    fn n_rows(&self) -> usize {
        self.blocks.n_rows()
    }

    fn n_features(&self) -> usize {
        self.blocks.n_features()
    }

    fn read(&self, row: usize, first_column: usize, values: &mut [f32]) -> Result<()> {
        self.blocks.read(row, first_column, values)?;
        self.scaler.scale_from(first_column, values);
        Ok(())
    }
}

impl PcaParams {
    /// Fits on samples of more features than rows that are read twice, block by block; returns the projections of the rows beside the
    /// components, as [`fit_with_scores`](Self::fit_with_scores), whose results these are to rounding: sums over columns are formed in
    /// another order.
    ///
    /// - `max_bytes`: about what is used beside the result (`4 n_components n_features` bytes): half for a block of columns of all rows,
    ///   half for products. At least a block of 512 columns and five matrices `[n, n]` in f64 are used, whatever is allowed: 25 MB for
    ///   732 rows.
    ///
    /// # Errors
    ///
    /// As [`fit_with_scores`](Self::fit_with_scores), and what reading gives; [`Error::Shape`] for as many rows as features or more.
    pub fn fit_streamed<B: SampleBlocks + ?Sized>(
        &self,
        blocks: &B,
        max_bytes: usize,
    ) -> Result<(Pca, Array2<f32>)> {
        let (n_rows, n_features) = (blocks.n_rows(), blocks.n_features());
        self.check(n_rows, n_features)?;
        if n_features <= n_rows {
            return Err(Error::Shape {
                what: "samples read by blocks",
                wanted: "more features than rows; fit others in memory".into(),
                found: format!("{n_rows} rows of {n_features} features"),
            });
        }
        let width =
            (max_bytes / 2 / (4 * n_rows) / PIECE * PIECE).clamp(PIECE, n_features.next_multiple_of(PIECE));
        let mut buffer = vec![0f32; n_rows * width.min(n_features)];
        let mut means = vec![0f64; n_features];
        let mut products: Option<Symmetric> = None;
        let firsts = || (0..n_features).step_by(width);
        for first in firsts() {
            let rows = read_block(blocks, first, width, &mut buffer)?;
            let mean = column_means(&rows, rows[0].len());
            let of_block = Centred { rows: &rows, mean: &mean }.row_products(max_bytes / 2);
            means[first..first + mean.len()].copy_from_slice(&mean);
            match &mut products {
                Some(products) => products.add(of_block),
                None => products = Some(of_block),
            }
        }
        let products = products.expect("there is at least one feature");
        let total_variance = products.trace() / (n_rows - 1) as f64;
        let eigen = products.eigen()?;
        drop(products);
        let n_components = self.n_found(&eigen)?;
        let mut components = Array2::zeros((n_components, n_features));
        for first in firsts() {
            let rows = read_block(blocks, first, width, &mut buffer)?;
            let columns = first..first + rows[0].len();
            let centred = Centred { rows: &rows, mean: &means[columns.clone()] };
            centred.combine_rows(&eigen, components.slice_axis_mut(Axis(1), Slice::from(columns)));
        }
        Ok(Pca::from_row_products(&means, components, &eigen, total_variance, n_rows))
    }
}

/// Reads some columns of all rows.
fn read_block<'a, B: SampleBlocks + ?Sized>(
    blocks: &B,
    first: usize,
    width: usize,
    buffer: &'a mut [f32],
) -> Result<Vec<&'a [f32]>> {
    let n_features = blocks.n_features();
    let width = width.min(n_features - first);
    let buffer = &mut buffer[..blocks.n_rows() * width];
    for (row, values) in buffer.chunks_exact_mut(width).enumerate() {
        blocks.read(row, first, values)?;
        if let Some(position) = first_not_finite(values) {
            return Err(Error::NotFinite { what: "samples", index: row * n_features + first + position });
        }
    }
    Ok(buffer.chunks_exact(width).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;
    use crate::transform::ScalerFit;
    use std::io::Write;

    fn random(n_rows: usize, n_features: usize, seed: u64) -> Vec<Vec<f32>> {
        let mut rng = Rng::new(seed);
        let spread: Vec<f64> = (0..n_features).map(|j| 1.0 + 3.0 / (1.0 + j as f64 % 97.0)).collect();
        let mut row = || spread.iter().map(|spread| (20.0 + spread * rng.normal()) as f32).collect();
        (0..n_rows).map(|_| row()).collect()
    }

    #[track_caller]
    fn assert_equal_to_rounding(a: &(Pca, Array2<f32>), b: &(Pca, Array2<f32>)) {
        for (x, y) in a.0.explained_variance().iter().zip(b.0.explained_variance()) {
            assert!((x / y - 1.0).abs() < 1e-10, "variance {x} {y}");
        }
        assert!((a.0.total_variance() / b.0.total_variance() - 1.0).abs() < 1e-12);
        assert_eq!(a.0.mean(), b.0.mean());
        assert_eq!(a.0.components().dim(), b.0.components().dim());
        assert!(a.0.components().iter().zip(b.0.components()).all(|(x, y)| (x - y).abs() < 1e-6));
        assert!(a.1.iter().zip(&b.1).all(|(x, y)| (x - y).abs() < 1e-4), "projections");
    }

    #[test]
    fn components_read_by_blocks_are_those_in_memory() {
        let matrix = random(25, 4000, 1);
        let rows: Vec<&[f32]> = matrix.iter().map(Vec::as_slice).collect();
        let params = PcaParams { n_components: 8 };
        let in_memory = params.fit_with_scores(&rows).unwrap();
        // Blocks of 512 columns, of 1,536, and one of all.
        for max_bytes in [0, 2 * 4 * 25 * 1600, 1 << 30] {
            assert_equal_to_rounding(&params.fit_streamed(rows.as_slice(), max_bytes).unwrap(), &in_memory);
        }
    }

    #[test]
    fn file_of_rows_is_read_behind_its_header_and_scaled_as_it_is_read() {
        let matrix = random(12, 1300, 2);
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"a header").unwrap();
        matrix.iter().flatten().for_each(|value| file.write_all(&value.to_le_bytes()).unwrap());
        file.flush().unwrap();
        let blocks = SampleFile::open(file.path(), 8, 12, 1300).unwrap();
        let mut fit = ScalerFit::new();
        matrix.iter().for_each(|row| fit.add(row).unwrap());
        let scaler = fit.finish().unwrap();
        let mut scaled = matrix.clone();
        scaled.iter_mut().for_each(|row| assert!(scaler.scale_row(row).unwrap()));
        let rows: Vec<&[f32]> = scaled.iter().map(Vec::as_slice).collect();
        let params = PcaParams { n_components: 5 };
        let streamed = params.fit_streamed(&ScaledBlocks::new(&blocks, &scaler).unwrap(), 0).unwrap();
        assert_equal_to_rounding(&streamed, &params.fit_with_scores(&rows).unwrap());
        let error = SampleFile::open(file.path(), 0, 12, 1300).unwrap_err().to_string();
        assert!(
            error.contains("wanted 12 rows of 1300 values of 4 bytes after the first 0 bytes"),
            "{error}"
        );
        assert!(SampleFile::open(&file.path().join("absent"), 0, 1, 1).is_err());
        assert!(SampleFile::open(file.path(), 0, usize::MAX, usize::MAX).is_err());
        let narrow = random(12, 3, 3);
        let mut fit = ScalerFit::new();
        narrow.iter().for_each(|row| fit.add(row).unwrap());
        assert!(ScaledBlocks::new(&blocks, &fit.finish().unwrap()).is_err());
    }

    #[test]
    fn wrong_input_is_refused_by_name() {
        let mut matrix = random(6, 900, 4);
        let rows: Vec<&[f32]> = matrix.iter().map(Vec::as_slice).collect();
        let error = PcaParams { n_components: 6 }.fit_streamed(rows.as_slice(), 0).unwrap_err().to_string();
        assert_eq!(error, "n_components is 6, expected 1 to 5 for 6 samples of 900 features");
        let square: Vec<&[f32]> = rows.iter().map(|row| &row[..6]).collect();
        let error = PcaParams { n_components: 2 }.fit_streamed(square.as_slice(), 0).unwrap_err().to_string();
        assert!(error.contains("more features than rows"), "{error}");
        matrix[3][700] = f32::NAN;
        let rows: Vec<&[f32]> = matrix.iter().map(Vec::as_slice).collect();
        let error = PcaParams { n_components: 2 }.fit_streamed(rows.as_slice(), 0).unwrap_err();
        assert!(matches!(error, Error::NotFinite { index: 3400, .. }), "{error}");
    }
}

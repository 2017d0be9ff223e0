//! A raw field: numbers on a grid, as a simulation holds them.

use super::decode::Limits;
use super::error::{ImageError, ImageErrorKind};

/// The least number of rows and of columns of a field.
const MIN_SIDE: usize = 8;

/// The most variables of one field. More than these are most likely the layers of a three-dimensional grid.
pub const MAX_VARIABLES: usize = 16;

/// How the numbers of a field are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldNumber {
    /// IEEE 754, 32 bits.
    F32,
    /// IEEE 754, 64 bits.
    F64,
}

/// The order of a number's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ByteOrder {
    /// The lowest byte first.
    Little,
    /// The highest byte first.
    Big,
}

/// How the bytes of a field are to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FieldLayout<'a> {
    /// Two extents, rows and columns, or three, variables, rows and columns, not counting extents of 1.
    pub shape: &'a [usize],
    /// Type of a number.
    pub number: FieldNumber,
    /// Order of a number's bytes.
    pub byte_order: ByteOrder,
    /// The first extent is the fastest in memory, as in Fortran, and not the last, as in C.
    pub first_is_fastest: bool,
}

/// One or several variables on a grid of rows and columns: `[variables, rows, columns]`, row-major. Values may be anything that
/// a 64-bit float can hold, NaN and infinities included.
#[derive(Debug, Clone, PartialEq)]
pub struct Field {
    shape: [usize; 3],
    values: Vec<f64>,
}

/// The values of a field that are NaN or infinite.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotFinite {
    /// How many.
    pub n: usize,
    /// The first variable that has some.
    pub variable: usize,
    /// `[row0, column0, row1, column1]`, inclusive: around those of that variable.
    pub region: [usize; 4],
}

impl FieldNumber {
    /// Bytes of one number.
    pub fn n_bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F64 => 8,
        }
    }
}

impl Field {
    /// A field of `shape`, two extents (rows, columns) or three (variables, rows, columns), the last the fastest; extents of 1 do
    /// not count.
    ///
    /// # Errors
    ///
    /// [`ImageErrorKind::Unsupported`] for another number of extents, fewer than 8 rows or columns, more than
    /// [`MAX_VARIABLES`] variables, or another number of values.
    pub fn new(shape: &[usize], values: Vec<f64>) -> Result<Self, ImageError> {
        let extents = grid(shape)?;
        if extents.iter().product::<usize>() != values.len() {
            let message = format!("{} values do not fill a field of {}", values.len(), words(shape));
            return Err(ImageError::new(ImageErrorKind::Unsupported, message));
        }
        Ok(Self { shape: extents, values })
    }

    /// Reads a field from its bytes and nothing else.
    ///
    /// # Errors
    ///
    /// [`ImageError`], before anything is allocated, of kind
    /// - `Unsupported` as [`new`](Self::new) says;
    /// - `TooLarge` if the grid has more rows or columns than `limits` allow, or takes more than `max_pixels_bytes` as 64-bit
    ///   numbers;
    /// - `Truncated` or `Damaged` if there are fewer or more bytes than the shape asks for.
    pub fn from_bytes(bytes: &[u8], layout: &FieldLayout<'_>, limits: &Limits) -> Result<Self, ImageError> {
        let FieldLayout { shape, number, .. } = *layout;
        let extents = grid(shape)?;
        let [variables, rows, columns] = extents;
        let n_values = [variables, rows, columns].iter().try_fold(1usize, |n, extent| n.checked_mul(*extent));
        let n_values = n_values
            .filter(|n| {
                rows <= limits.max_rows
                    && columns <= limits.max_columns
                    && (*n as u64).checked_mul(8).is_some_and(|total| total <= limits.max_pixels_bytes)
            })
            .ok_or_else(|| {
                let message = format!(
                    "a field of {} is too large: at most {} rows, {} columns and {} bytes as 64-bit numbers are allowed",
                    words(shape),
                    limits.max_rows,
                    limits.max_columns,
                    limits.max_pixels_bytes
                );
                ImageError::new(ImageErrorKind::TooLarge, message)
            })?;
        // Within max_pixels_bytes, so this cannot overflow.
        let wanted = n_values * number.n_bytes();
        if bytes.len() != wanted {
            let kind = if bytes.len() < wanted { ImageErrorKind::Truncated } else { ImageErrorKind::Damaged };
            let message = format!(
                "{} bytes where a field of {} takes {wanted}: {}",
                bytes.len(),
                words(shape),
                if bytes.len() < wanted {
                    "it may still be in writing"
                } else {
                    "send one array and nothing more"
                }
            );
            return Err(ImageError::new(kind, message));
        }
        let values = numbers(bytes, number, layout.byte_order);
        let values = if layout.first_is_fastest { last_fastest(&values, extents) } else { values };
        Ok(Self { shape: extents, values })
    }

    /// `[variables, rows, columns]`.
    pub fn shape(&self) -> [usize; 3] {
        self.shape
    }

    /// The values of one variable, `[rows, columns]`, row-major.
    pub fn variable(&self, variable: usize) -> &[f64] {
        let [_, rows, columns] = self.shape;
        &self.values[variable * rows * columns..][..rows * columns]
    }

    /// The same of one variable, to be changed.
    pub fn variable_mut(&mut self, variable: usize) -> &mut [f64] {
        let [_, rows, columns] = self.shape;
        &mut self.values[variable * rows * columns..][..rows * columns]
    }

    /// The values that are NaN or infinite; `None` if there are none.
    pub fn not_finite(&self) -> Option<NotFinite> {
        let [variables, _, columns] = self.shape;
        let mut found: Option<NotFinite> = None;
        for variable in 0..variables {
            for (place, _) in
                self.variable(variable).iter().enumerate().filter(|(_, value)| !value.is_finite())
            {
                let (row, column) = (place / columns, place % columns);
                let found =
                    found.get_or_insert(NotFinite { n: 0, variable, region: [row, column, row, column] });
                found.n += 1;
                if found.variable == variable {
                    let [row0, column0, row1, column1] = found.region;
                    found.region = [row0.min(row), column0.min(column), row1.max(row), column1.max(column)];
                }
            }
        }
        found
    }
}

/// Variables, rows and columns of a shape.
fn grid(shape: &[usize]) -> Result<[usize; 3], ImageError> {
    let extents: Vec<usize> = shape.iter().copied().filter(|&extent| extent != 1).collect();
    let unsupported = |reason: &str| {
        let message = format!("a field of {} cannot be judged: {reason}", words(shape));
        Err(ImageError::new(ImageErrorKind::Unsupported, message))
    };
    let [variables, rows, columns] = match extents[..] {
        [rows, columns] => [1, rows, columns],
        [variables, rows, columns] => [variables, rows, columns],
        _ => {
            return unsupported(
                "expected rows x columns, or variables x rows x columns; of a three-dimensional grid send slices",
            );
        }
    };
    if rows < MIN_SIDE || columns < MIN_SIDE {
        return unsupported("expected at least 8 rows and 8 columns");
    }
    if variables == 0 || variables > MAX_VARIABLES {
        return unsupported("expected 1 to 16 variables; of a three-dimensional grid send slices");
    }
    Ok([variables, rows, columns])
}

fn words(shape: &[usize]) -> String {
    if shape.is_empty() {
        return "no extents".into();
    }
    let extents: Vec<String> = shape.iter().map(usize::to_string).collect();
    extents.join(" x ")
}

fn numbers(bytes: &[u8], number: FieldNumber, byte_order: ByteOrder) -> Vec<f64> {
    match (number, byte_order) {
        (FieldNumber::F32, ByteOrder::Little) => {
            bytes.as_chunks::<4>().0.iter().map(|&four| f64::from(f32::from_le_bytes(four))).collect()
        }
        (FieldNumber::F32, ByteOrder::Big) => {
            bytes.as_chunks::<4>().0.iter().map(|&four| f64::from(f32::from_be_bytes(four))).collect()
        }
        (FieldNumber::F64, ByteOrder::Little) => {
            bytes.as_chunks::<8>().0.iter().map(|&eight| f64::from_le_bytes(eight)).collect()
        }
        (FieldNumber::F64, ByteOrder::Big) => {
            bytes.as_chunks::<8>().0.iter().map(|&eight| f64::from_be_bytes(eight)).collect()
        }
    }
}

/// `[variables, rows, columns]` with the last extent the fastest, from one with the first the fastest.
fn last_fastest(values: &[f64], [variables, rows, columns]: [usize; 3]) -> Vec<f64> {
    let mut out = Vec::with_capacity(values.len());
    for variable in 0..variables {
        for row in 0..rows {
            out.extend((0..columns).map(|column| values[variable + variables * (row + rows * column)]));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(shape: &[usize]) -> FieldLayout<'_> {
        FieldLayout {
            shape,
            number: FieldNumber::F32,
            byte_order: ByteOrder::Little,
            first_is_fastest: false,
        }
    }

    #[test]
    fn both_types_byte_orders_and_memory_orders_give_the_same_field() {
        let wanted = Field::new(&[2, 8, 9], (0..144).map(|i| 0.5 * f64::from(i) - 7.0).collect()).unwrap();
        let at = |v: usize, r: usize, c: usize| wanted.values[(v * 8 + r) * 9 + c];
        let c_order: Vec<f64> = wanted.values.clone();
        let fortran: Vec<f64> =
            (0..9).flat_map(|c| (0..8).flat_map(move |r| (0..2).map(move |v| at(v, r, c)))).collect();
        for (values, first_is_fastest) in [(c_order, false), (fortran, true)] {
            for byte_order in [ByteOrder::Little, ByteOrder::Big] {
                for number in [FieldNumber::F32, FieldNumber::F64] {
                    let bytes: Vec<u8> = values
                        .iter()
                        .flat_map(|&value| match (number, byte_order) {
                            (FieldNumber::F32, ByteOrder::Little) => (value as f32).to_le_bytes().to_vec(),
                            (FieldNumber::F32, ByteOrder::Big) => (value as f32).to_be_bytes().to_vec(),
                            (FieldNumber::F64, ByteOrder::Little) => value.to_le_bytes().to_vec(),
                            (FieldNumber::F64, ByteOrder::Big) => value.to_be_bytes().to_vec(),
                        })
                        .collect();
                    let layout = FieldLayout { shape: &[2, 8, 9], number, byte_order, first_is_fastest };
                    assert_eq!(Field::from_bytes(&bytes, &layout, &Limits::default()).unwrap(), wanted);
                }
            }
        }
    }

    #[test]
    fn extents_of_one_do_not_count() {
        for shape in [&[8, 9][..], &[1, 8, 9], &[8, 9, 1], &[1, 1, 8, 9]] {
            assert_eq!(Field::new(shape, vec![0.0; 72]).unwrap().shape(), [1, 8, 9]);
        }
    }

    #[test]
    fn what_is_no_plane_grid_is_refused_with_its_shape() {
        for (shape, words) in [
            (&[][..], "no extents"),
            (&[1000], "a field of 1000"),
            (&[7, 100], "7 x 100"),
            (&[100, 7], "at least 8 rows"),
            (&[0, 8, 8], "1 to 16 variables"),
            (&[128, 128, 128], "send slices"),
            (&[2, 2, 8, 8], "2 x 2 x 8 x 8"),
        ] {
            let error = Field::from_bytes(&[], &layout(shape), &Limits::default()).unwrap_err();
            assert_eq!(error.kind(), ImageErrorKind::Unsupported);
            assert!(error.to_string().contains(words), "{error}");
        }
    }

    #[test]
    fn size_is_checked_before_anything_is_allocated() {
        let kind = |shape: &[usize], n: usize| {
            Field::from_bytes(&vec![0; n], &layout(shape), &Limits::default()).unwrap_err().kind()
        };
        assert_eq!(kind(&[8, usize::MAX / 2], 0), ImageErrorKind::TooLarge);
        assert_eq!(kind(&[16, 16_384, 16_384], 0), ImageErrorKind::TooLarge);
        assert_eq!(kind(&[8, 8], 255), ImageErrorKind::Truncated);
        assert_eq!(kind(&[8, 8], 257), ImageErrorKind::Damaged);
    }

    #[test]
    fn what_is_not_finite_is_counted_and_boxed() {
        let mut values = vec![1.0; 2 * 80];
        (values[3], values[4]) = (-0.0, f64::MIN_POSITIVE / 8.0);
        assert_eq!(Field::new(&[2, 8, 10], values.clone()).unwrap().not_finite(), None);
        (values[80 + 23], values[80 + 41]) = (f64::NAN, f64::NEG_INFINITY);
        let found = Field::new(&[2, 8, 10], values).unwrap().not_finite();
        assert_eq!(found, Some(NotFinite { n: 2, variable: 1, region: [2, 1, 4, 3] }));
    }
}

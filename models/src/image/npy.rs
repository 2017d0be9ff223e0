//! NumPy's file format for one array (`.npy`, versions 1 to 3), as far as fields need it.

use super::decode::Limits;
use super::error::{ImageError, ImageErrorKind};
use super::field::{ByteOrder, Field, FieldLayout, FieldNumber};

/// The first bytes of every such file.
const MAGIC: &[u8] = b"\x93NUMPY";

/// The longest header that is read. NumPy pads it to a multiple of 64 bytes; an array of floats has about 80.
const MAX_HEADER_BYTES: usize = 65_536;

/// The most bytes before the values of an array whose header is read.
pub(crate) const MOST_BEFORE_VALUES: usize = MAGIC.len() + 6 + MAX_HEADER_BYTES;

/// The most extents that NumPy has.
const MAX_EXTENTS: usize = 64;

/// Whether these are the first bytes of an `.npy` file, or a beginning of them.
pub(super) fn is_npy(bytes: &[u8]) -> bool {
    bytes.starts_with(MAGIC) || !bytes.is_empty() && MAGIC.starts_with(bytes)
}

/// Reads a field from the bytes of an `.npy` file: numbers of 4 or 8 bytes in either byte order, in C or Fortran order. The
/// indices mean what they mean in NumPy: `[rows, columns]` or `[variables, rows, columns]`.
///
/// # Errors
///
/// [`ImageError`], before anything is allocated for the values, of kind
/// - `Truncated` if the file ends before the array does;
/// - `Damaged` if its header is none, or there is more than the array in it;
/// - `Unsupported` for another type of numbers or another version of the format, and as [`Field::new`] says;
/// - `TooLarge` if the field exceeds `limits`.
pub fn read_npy(bytes: &[u8], limits: &Limits) -> Result<Field, ImageError> {
    let (header, values) = read_npy_header(bytes)?;
    let layout = FieldLayout {
        shape: &header.shape,
        number: header.number,
        byte_order: header.byte_order,
        first_is_fastest: header.fortran_order,
    };
    Field::from_bytes(values, &layout, limits)
        .map_err(|error| ImageError::new(error.kind(), format!("npy: {error}")))
}

/// What an `.npy` file says of its array, and the bytes after that.
pub(crate) fn read_npy_header(bytes: &[u8]) -> Result<(NpyHeader, &[u8]), ImageError> {
    let truncated = |what: &str| {
        let message = format!("npy: truncated: the file ends within {what}; it may still be in writing");
        ImageError::new(ImageErrorKind::Truncated, message)
    };
    if !is_npy(bytes) {
        let message = "npy: the file does not begin with \\x93NUMPY: write it with numpy.save";
        return Err(ImageError::new(ImageErrorKind::Unsupported, message));
    }
    let [major, minor, rest @ ..] = bytes.get(MAGIC.len()..).ok_or_else(|| truncated("its signature"))?
    else {
        return Err(truncated("its version"));
    };
    let (length, rest) = match (*major, *minor) {
        (1, 0) => {
            let (length, rest) =
                rest.split_first_chunk::<2>().ok_or_else(|| truncated("its header's length"))?;
            (usize::from(u16::from_le_bytes(*length)), rest)
        }
        (2 | 3, 0) => {
            let (length, rest) =
                rest.split_first_chunk::<4>().ok_or_else(|| truncated("its header's length"))?;
            (u32::from_le_bytes(*length) as usize, rest)
        }
        (major, minor) => {
            let message = format!("npy: format version {major}.{minor}, expected 1.0, 2.0 or 3.0");
            return Err(ImageError::new(ImageErrorKind::Unsupported, message));
        }
    };
    if length > MAX_HEADER_BYTES {
        let message =
            format!("npy: damaged: a header of {length} bytes, expected at most {MAX_HEADER_BYTES}");
        return Err(ImageError::new(ImageErrorKind::Damaged, message));
    }
    let (header, values) = rest.split_at_checked(length).ok_or_else(|| truncated("its header"))?;
    Ok((NpyHeader::read(header)?, values))
}

/// What a file says of its array.
#[derive(Debug)]
pub(crate) struct NpyHeader {
    pub(crate) number: FieldNumber,
    pub(crate) byte_order: ByteOrder,
    /// The first extent is the fastest.
    pub(crate) fortran_order: bool,
    pub(crate) shape: Vec<usize>,
}

impl NpyHeader {
    /// Reads `{'descr': '<f8', 'fortran_order': False, 'shape': (3, 4), }`, the keys in any order.
    fn read(bytes: &[u8]) -> Result<Self, ImageError> {
        let mut cursor = Cursor(bytes);
        let (mut number, mut fortran_order, mut shape) = (None, None, None);
        cursor.take(b'{', "a dictionary")?;
        while !cursor.is_next(b'}') {
            let key = cursor.text()?;
            cursor.take(b':', "a colon after a key")?;
            let is_known_already = match key {
                b"descr" => number.replace(type_of(cursor.text_of_type()?)?).is_some(),
                b"fortran_order" => fortran_order.replace(cursor.truth()?).is_some(),
                b"shape" => shape.replace(cursor.tuple()?).is_some(),
                other => return Err(damaged(&format!("an unknown key \"{}\"", other.escape_ascii()))),
            };
            if is_known_already {
                return Err(damaged(&format!("two keys \"{}\"", key.escape_ascii())));
            }
            if !cursor.is_next(b'}') {
                cursor.take(b',', "a comma after a value")?;
            }
        }
        cursor.take(b'}', "the end of the dictionary")?;
        if !cursor.rest().is_empty() {
            return Err(damaged("more than a dictionary"));
        }
        let missing = |key: &str| damaged(&format!("no key \"{key}\""));
        let (number, byte_order) = number.ok_or_else(|| missing("descr"))?;
        Ok(Self {
            number,
            byte_order,
            fortran_order: fortran_order.ok_or_else(|| missing("fortran_order"))?,
            shape: shape.ok_or_else(|| missing("shape"))?,
        })
    }
}

fn damaged(found: &str) -> ImageError {
    let message = format!(
        "npy: damaged: its header has {found}, expected descr, fortran_order and shape as numpy.save writes them"
    );
    ImageError::new(ImageErrorKind::Damaged, message)
}

fn type_of(text: &[u8]) -> Result<(FieldNumber, ByteOrder), ImageError> {
    match text {
        b"<f4" => Ok((FieldNumber::F32, ByteOrder::Little)),
        b">f4" => Ok((FieldNumber::F32, ByteOrder::Big)),
        b"<f8" => Ok((FieldNumber::F64, ByteOrder::Little)),
        b">f8" => Ok((FieldNumber::F64, ByteOrder::Big)),
        other => {
            let shown = other[..other.len().min(32)].escape_ascii();
            let message =
                format!("npy: numbers of type \"{shown}\" are not read: write float32 or float64 (astype)");
            Err(ImageError::new(ImageErrorKind::Unsupported, message))
        }
    }
}

/// What of the header has not been read.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn rest(&mut self) -> &'a [u8] {
        self.0 = self.0.trim_ascii_start();
        self.0
    }

    fn is_next(&mut self, byte: u8) -> bool {
        self.rest().first() == Some(&byte)
    }

    fn take(&mut self, byte: u8, what: &str) -> Result<(), ImageError> {
        if !self.is_next(byte) {
            return Err(damaged(&format!("no {what}")));
        }
        self.0 = &self.0[1..];
        Ok(())
    }

    /// A string in single or double quotes; none that matters has an escape.
    fn text(&mut self) -> Result<&'a [u8], ImageError> {
        let broken = || damaged("no quoted string where one is due");
        let [quote @ (b'\'' | b'"'), rest @ ..] = self.rest() else { return Err(broken()) };
        let end = rest.iter().position(|byte| byte == quote).ok_or_else(broken)?;
        self.0 = &rest[end + 1..];
        Ok(&rest[..end])
    }

    /// A type: a string, or for a structured type a list, which is told as its beginning.
    fn text_of_type(&mut self) -> Result<&'a [u8], ImageError> {
        if self.is_next(b'[') { Ok(self.0) } else { self.text() }
    }

    fn truth(&mut self) -> Result<bool, ImageError> {
        for (word, truth) in [(&b"True"[..], true), (b"False", false)] {
            if let Some(rest) = self.rest().strip_prefix(word) {
                self.0 = rest;
                return Ok(truth);
            }
        }
        Err(damaged("neither True nor False where one is due"))
    }

    /// A tuple of extents.
    fn tuple(&mut self) -> Result<Vec<usize>, ImageError> {
        self.take(b'(', "tuple of extents")?;
        let mut extents = Vec::new();
        while !self.is_next(b')') {
            let n_digits = self.rest().iter().take_while(|byte| byte.is_ascii_digit()).count();
            let (digits, rest) = self.0.split_at(n_digits);
            let extent = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok());
            extents.push(extent.ok_or_else(|| damaged("an extent that is no number"))?);
            if extents.len() > MAX_EXTENTS {
                return Err(damaged("too many extents"));
            }
            self.0 = rest;
            if !self.is_next(b')') {
                self.take(b',', "comma between extents")?;
            }
        }
        self.take(b')', "end of the extents")?;
        Ok(extents)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A file with this header and these bytes.
    fn file(version: u8, header: &str, values: &[u8]) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.extend([version, 0]);
        let length = header.len() as u32;
        out.extend_from_slice(&length.to_le_bytes()[..if version == 1 { 2 } else { 4 }]);
        out.extend(header.as_bytes());
        out.extend(values);
        out
    }

    fn read(bytes: &[u8]) -> Result<Field, ImageError> {
        read_npy(bytes, &Limits::default())
    }

    const HEADER: &str = "{'descr': '<f8', 'fortran_order': False, 'shape': (8, 9), }\n";

    fn values() -> Vec<u8> {
        (0..72).flat_map(|i| f64::from(i).to_le_bytes()).collect()
    }

    #[test]
    fn the_three_versions_and_any_order_of_keys_are_read() {
        let wanted = Field::new(&[8, 9], (0..72).map(f64::from).collect()).unwrap();
        for version in 1..=3 {
            assert_eq!(read(&file(version, HEADER, &values())).unwrap(), wanted);
        }
        let other = "{\"shape\":(8,9),\"fortran_order\":False,\"descr\":\"<f8\"}";
        assert_eq!(read(&file(1, other, &values())).unwrap(), wanted);
    }

    #[test]
    fn what_is_wrong_is_told() {
        use ImageErrorKind::{Damaged, TooLarge, Truncated, Unsupported};
        let with = |from: &str, to: &str| file(1, &HEADER.replace(from, to), &values());
        let cut = |n: usize| file(1, HEADER, &values())[..n].to_vec();
        for (bytes, kind, words) in [
            (b"text".to_vec(), Unsupported, "numpy.save"),
            (cut(3), Truncated, "signature"),
            (cut(7), Truncated, "version"),
            (cut(9), Truncated, "header's length"),
            (cut(30), Truncated, "its header"),
            (cut(200), Truncated, "in writing"),
            ([file(1, HEADER, &values()), vec![0]].concat(), Damaged, "one array"),
            (file(4, HEADER, &values()), Unsupported, "version 4.0"),
            (with("'<f8'", "'<i8'"), Unsupported, "\"<i8\""),
            (with("'<f8'", "[('a', '<f8')]"), Unsupported, "float32 or float64"),
            (with("(8, 9)", "(72,)"), Unsupported, "a field of 72 "),
            (with("(8, 9)", "(8, -9)"), Damaged, "no number"),
            (with("(8, 9)", "(8, 99999999999999999999999)"), Damaged, "no number"),
            (with("(8, 9)", "(8, 9999999999999999999)"), TooLarge, "too large"),
            (with("False", "Maybe"), Damaged, "True nor False"),
            (with("'shape'", "'shepe'"), Damaged, "shepe"),
            (with("'shape'", "'descr'"), Damaged, "descr"),
            (with("'fortran_order': False, ", ""), Damaged, "no key \"fortran_order\""),
            (with("}", "} x"), Damaged, "more than a dictionary"),
            (file(2, &format!("{HEADER}{}", " ".repeat(70_000)), &values()), Damaged, "at most 65536"),
        ] {
            let error = read(&bytes).unwrap_err();
            assert_eq!(error.kind(), kind, "{error}");
            assert!(error.to_string().contains(words), "{error}: {words}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn damaged_files_are_refused_or_read_and_never_panic(
            version in 0u8..5, at in 0usize..150, bytes in prop::collection::vec(any::<u8>(), 0..8), cut in 0usize..800,
        ) {
            let mut damaged = file(version.clamp(1, 3), HEADER, &values());
            damaged.truncate(cut.max(4));
            let at = at.min(damaged.len());
            let end = (at + bytes.len()).min(damaged.len());
            damaged.splice(at..end, bytes);
            if let Ok(field) = read(&damaged) {
                prop_assert!(field.shape().iter().product::<usize>() * 4 <= damaged.len());
            }
        }

        #[test]
        fn headers_of_any_text_never_panic(header in "[{}()\\[\\]'\":, a-z0-9<>-]{0,80}") {
            prop_assert!(read(&file(1, &header, &values())).is_err());
        }
    }
}

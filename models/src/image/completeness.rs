//! Whether a file is as long as its own structure says.
//!
//! Decoders differ in what they make of a file that ends early: some fill the rest with grey and report success. An
//! image still in writing must never be judged, so the structure is walked here first, without decoding anything.

use std::collections::HashSet;

/// What a walk along the structure found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Extent {
    /// Everything announced is there, or the structure cannot be followed and the decoder shall say why.
    Complete,
    /// The file ends before what its structure announces; the text says what is missing.
    Truncated(String),
    /// The structure contradicts itself.
    Damaged(String),
}

use Extent::{Complete, Damaged, Truncated};

fn missing(what: &str, needed: u64, found: usize) -> Extent {
    Truncated(format!("{what} needs {needed} bytes, the file has {found}"))
}

/// Walks the chunks of a PNG up to and including IEND (PNG specification, section 5).
pub(super) fn png(bytes: &[u8]) -> Extent {
    let mut at = 8;
    loop {
        let Some(header) = bytes.get(at..at + 8) else {
            return missing("the next chunk", at as u64 + 12, bytes.len());
        };
        let length = u32::from_be_bytes([header[0], header[1], header[2], header[3]]);
        let name = &header[4..8];
        if length > i32::MAX as u32 || !name.iter().all(u8::is_ascii_alphabetic) {
            return Damaged(format!("no chunk header at byte {at}"));
        }
        let end = at as u64 + 12 + u64::from(length);
        if end > bytes.len() as u64 {
            let what = format!("the chunk {} at byte {at}", String::from_utf8_lossy(name));
            return missing(&what, end, bytes.len());
        }
        if name == b"IEND" {
            return Complete;
        }
        at = end as usize;
    }
}

/// Walks the segments of a JPEG up to its end-of-image marker (ITU-T T.81, annex B).
pub(super) fn jpeg(bytes: &[u8]) -> Extent {
    let absent = || Truncated(format!("no end-of-image marker within {} bytes", bytes.len()));
    let mut at = 2;
    loop {
        // Entropy-coded data, stuffed zeros and restart markers lie between one marker and the next.
        let Some(step) = bytes.get(at..).and_then(|rest| rest.iter().position(|&byte| byte == 0xFF)) else {
            return absent();
        };
        at += step + 1;
        let Some(&marker) = bytes.get(at) else { return absent() };
        match marker {
            0xD9 => return Complete,
            0xFF => continue,
            0x00 | 0x01 | 0xD0..=0xD8 => at += 1,
            _ => {
                let Some(length) = bytes.get(at + 1..at + 3) else { return absent() };
                let end = at as u64 + 1 + u64::from(u16::from_be_bytes([length[0], length[1]]));
                if end > bytes.len() as u64 {
                    return missing(
                        &format!("the segment FF{marker:02X} at byte {}", at - 1),
                        end,
                        bytes.len(),
                    );
                }
                at = end as usize;
            }
        }
    }
}

/// Compares the length of a BMP with what its header announces.
pub(super) fn bmp(bytes: &[u8]) -> Extent {
    let word = |at: usize| bytes.get(at..at + 2).map(|b| u64::from(u16::from_le_bytes([b[0], b[1]])));
    let double = |at: usize| bytes.get(at..at + 4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]));
    let (Some(offset), Some(header_size)) = (double(10), double(14)) else {
        return missing("the header", 54, bytes.len());
    };
    let fields = if header_size == 12 {
        word(18).zip(word(20)).zip(word(24)).map(|((width, height), bits)| (width, height, bits, 0, 0))
    } else {
        let dimensions = double(18).zip(double(22)).map(|(width, height)| {
            (u64::from(width as i32 as u32), u64::from((height as i32).unsigned_abs()))
        });
        dimensions
            .zip(word(28))
            .zip(double(30).zip(double(34)))
            .map(|(((width, height), bits), (compression, size))| (width, height, bits, compression, size))
    };
    let Some((width, height, bits, compression, size)) = fields else {
        return missing("the header", u64::from(header_size) + 14, bytes.len());
    };
    let raster = match compression {
        0 | 3 | 6 => (u128::from(width) * u128::from(bits)).div_ceil(32) * 4 * u128::from(height),
        // Run-length coded: the length cannot be computed, only be stated.
        _ => u128::from(size),
    };
    let needed = u128::from(offset) + raster;
    if needed > bytes.len() as u128 {
        return missing("the raster", u64::try_from(needed).unwrap_or(u64::MAX), bytes.len());
    }
    Complete
}

/// Compares the length of a PNM or PAM with what its header announces.
pub(super) fn pnm(bytes: &[u8]) -> Extent {
    let kind = bytes[1];
    if kind == b'7' {
        return pam(bytes);
    }
    let n_numbers = if kind == b'1' || kind == b'4' { 2 } else { 3 };
    let mut numbers = [0u64, 0, 1];
    let mut at = 2;
    for number in numbers.iter_mut().take(n_numbers) {
        let Some(start) = skip_blank(bytes, at) else { return missing_header(bytes) };
        let n_digits = bytes[start..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        at = start + n_digits;
        // A raster follows, so that a number at the very end may be cut.
        if at == bytes.len() {
            return missing_header(bytes);
        }
        let Some(value) = std::str::from_utf8(&bytes[start..at]).ok().and_then(|text| text.parse().ok())
        else {
            return Complete; // no number: the decoder says so
        };
        *number = value;
    }
    let [width, height, largest] = numbers;
    let samples = u128::from(width) * u128::from(height) * if matches!(kind, b'3' | b'6') { 3 } else { 1 };
    let sample_bytes = if largest > 255 { 2 } else { 1 };
    match kind {
        b'1' => {
            let found = bytes[at..].iter().filter(|byte| matches!(byte, b'0' | b'1')).count();
            fewer_samples(samples, found)
        }
        b'2' | b'3' => {
            let found = bytes[at..].split(u8::is_ascii_whitespace).filter(|token| !token.is_empty()).count();
            fewer_samples(samples, found)
        }
        b'4' => shorter(at as u128 + 1 + u128::from(width).div_ceil(8) * u128::from(height), bytes.len()),
        _ => shorter(at as u128 + 1 + samples * sample_bytes, bytes.len()),
    }
}

fn pam(bytes: &[u8]) -> Extent {
    let (mut at, mut numbers) = (0, [0u64; 4]);
    loop {
        let Some(length) = bytes[at..].iter().position(|&byte| byte == b'\n') else {
            return missing_header(bytes);
        };
        let line = String::from_utf8_lossy(&bytes[at..at + length]);
        at += length + 1;
        let mut words = line.split_whitespace();
        let name = words.next().unwrap_or_default();
        if name == "ENDHDR" {
            break;
        }
        let position = ["WIDTH", "HEIGHT", "DEPTH", "MAXVAL"].iter().position(|&known| known == name);
        if let (Some(position), Some(Ok(value))) = (position, words.next().map(str::parse)) {
            numbers[position] = value;
        }
    }
    let [width, height, depth, largest] = numbers.map(u128::from);
    let sample_bytes = if largest > 255 { 2 } else { 1 };
    let raster = width.saturating_mul(height).saturating_mul(depth).saturating_mul(sample_bytes);
    shorter(raster.saturating_add(at as u128), bytes.len())
}

fn missing_header(bytes: &[u8]) -> Extent {
    Truncated(format!("the header does not end within {} bytes", bytes.len()))
}

fn shorter(needed: u128, found: usize) -> Extent {
    if needed > found as u128 {
        return missing("the raster", u64::try_from(needed).unwrap_or(u64::MAX), found);
    }
    Complete
}

fn fewer_samples(needed: u128, found: usize) -> Extent {
    if needed > found as u128 {
        return Truncated(format!("the raster needs {needed} samples, the file has {found}"));
    }
    Complete
}

/// The position of the first byte that is neither blank nor in a comment; `None` if the file ends first.
fn skip_blank(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match bytes.get(at)? {
            b'#' => at += bytes[at..].iter().position(|&byte| byte == b'\n' || byte == b'\r')?,
            byte if byte.is_ascii_whitespace() || *byte == 0x0B => at += 1,
            _ => return Some(at),
        }
    }
}

/// Follows the directories of a TIFF or BigTIFF, their values and their strips or tiles (TIFF 6.0, section 2).
pub(super) fn tiff(bytes: &[u8]) -> Extent {
    let reader = Tiff { bytes, little: bytes[0] == b'I', big: bytes[2] == 43 || bytes[3] == 43 };
    match reader.walk() {
        Some(extent) => extent,
        None => Truncated(format!("a directory or its values lie beyond the file's {} bytes", bytes.len())),
    }
}

struct Tiff<'a> {
    bytes: &'a [u8],
    little: bool,
    big: bool,
}

const STRIP_OFFSETS: u64 = 273;
const STRIP_BYTE_COUNTS: u64 = 279;
const TILE_OFFSETS: u64 = 324;
const TILE_BYTE_COUNTS: u64 = 325;

impl Tiff<'_> {
    /// An unsigned number of `width` bytes; `None` beyond the end of the file.
    fn number(&self, at: u64, width: u64) -> Option<u64> {
        let at = usize::try_from(at).ok()?;
        let field = self.bytes.get(at..at.checked_add(width as usize)?)?;
        let fold = |number, &byte: &u8| number << 8 | u64::from(byte);
        Some(if self.little { field.iter().rev().fold(0, fold) } else { field.iter().fold(0, fold) })
    }

    fn offset(&self, at: u64) -> Option<u64> {
        self.number(at, if self.big { 8 } else { 4 })
    }

    fn walk(&self) -> Option<Extent> {
        let (count_width, entry_size, inline) = if self.big { (8, 20, 8) } else { (2, 12, 4) };
        let mut directory = self.offset(if self.big { 8 } else { 4 })?;
        let mut seen = HashSet::new();
        while directory != 0 && seen.insert(directory) {
            let n_entries = self.number(directory, count_width)?;
            let end = directory.checked_add(count_width)?.checked_add(n_entries.checked_mul(entry_size)?)?;
            // The whole directory must be there before its entries are believed.
            self.offset(end)?;
            let mut blocks: [Vec<u64>; 4] = Default::default();
            for entry in 0..n_entries {
                let at = directory + count_width + entry * entry_size;
                let (tag, kind) = (self.number(at, 2)?, self.number(at + 2, 2)?);
                let (count, value_at) = (self.offset(at + 4)?, at + entry_size - inline);
                let size = match kind {
                    1 | 2 | 6 | 7 => 1,
                    3 | 8 => 2,
                    4 | 9 | 11 | 13 => 4,
                    5 | 10 | 12 | 16..=18 => 8,
                    _ => continue, // an unknown type is to be skipped, says the standard
                };
                let length = count.checked_mul(size)?;
                let start = if length <= inline { value_at } else { self.offset(value_at)? };
                if start.checked_add(length)? > self.bytes.len() as u64 {
                    return None;
                }
                let known = [STRIP_OFFSETS, STRIP_BYTE_COUNTS, TILE_OFFSETS, TILE_BYTE_COUNTS];
                if let Some(block) = known.iter().position(|&known| known == tag)
                    && matches!(kind, 3 | 4 | 16)
                {
                    blocks[block] =
                        (0..count).map(|i| self.number(start + i * size, size)).collect::<Option<_>>()?;
                }
            }
            for (offsets, lengths) in [(&blocks[0], &blocks[1]), (&blocks[2], &blocks[3])] {
                for (offset, length) in offsets.iter().zip(lengths) {
                    let end = offset.checked_add(*length)?;
                    if end > self.bytes.len() as u64 {
                        return Some(missing("a strip or tile", end, self.bytes.len()));
                    }
                }
            }
            directory = self.offset(end)?;
        }
        Some(Complete)
    }
}

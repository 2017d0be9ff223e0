//! Sums by which a file that was damaged, or is not whole, is told.

use crate::instance::hex;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{self, Write};

/// What a sum by BLAKE3 begins with; one without is half a SHA-256, as it was written before.
const BLAKE3: &str = "blake3:";

/// Half a digest, which tells damage apart as surely.
fn of_digest(digest: blake3::Hash) -> String {
    BLAKE3.to_owned() + &hex(&digest.as_bytes()[..16])
}

/// The sum of these bytes.
pub(super) fn sum(bytes: &[u8]) -> String {
    of_digest(blake3::hash(bytes))
}

/// Whether these bytes have that sum.
pub(super) fn has_sum(bytes: &[u8], expected: &str) -> bool {
    if expected.starts_with(BLAKE3) {
        sum(bytes) == expected
    } else {
        hex(&Sha256::digest(bytes)[..16]) == expected
    }
}

/// A file that is summed while it is written.
pub(super) struct SummedFile {
    file: File,
    hasher: blake3::Hasher,
}

impl SummedFile {
    pub(super) fn new(file: File) -> Self {
        Self { file, hasher: blake3::Hasher::new() }
    }

    /// The sum of all that was written.
    pub(super) fn sum(&self) -> String {
        of_digest(self.hasher.finalize())
    }
}

impl Write for SummedFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n_bytes = self.file.write(bytes)?;
        self.hasher.update(&bytes[..n_bytes]);
        Ok(n_bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_has_the_sum_of_what_was_written_to_it_and_earlier_sums_hold() {
        let temporary = tempfile::tempdir().unwrap();
        let path = temporary.path().join("file");
        let mut file = SummedFile::new(File::create(&path).unwrap());
        for piece in [&b"abc"[..], b"", b"defg"] {
            file.write_all(piece).unwrap();
        }
        let bytes = std::fs::read(path).unwrap();
        assert_eq!((&bytes[..], file.sum()), (&b"abcdefg"[..], sum(b"abcdefg")));
        assert!(has_sum(&bytes, &file.sum()) && !has_sum(b"abcdefh", &file.sum()));
        // FIPS 180-2, appendix B.1.
        let of_abc = "ba7816bf8f01cfea414140de5dae2223";
        assert!(has_sum(b"abc", of_abc) && !has_sum(b"abd", of_abc) && !has_sum(b"abc", ""));
    }
}

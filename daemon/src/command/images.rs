//! The image files that a command line names: files, directories and patterns, in natural order.

use anyhow::{Context, ensure};
use std::cmp::Ordering;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Extensions of the formats that are decoded; a directory may hold other things as well.
const EXTENSIONS: [&str; 11] =
    ["png", "jpg", "jpeg", "pbm", "pgm", "ppm", "pnm", "pam", "bmp", "tif", "tiff"];

/// The extension of raw fields, which stand for a directory that holds no images.
const FIELDS: [&str; 1] = ["npy"];

/// The files that `paths` name: a directory stands for the images in it, or, if there are none, for its raw fields, `*` and `?` in a file name for what they match.
/// Sorted in natural order of the paths, each once.
///
/// # Errors
///
/// A path that names nothing.
pub(super) fn expand(paths: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in paths {
        let before = files.len();
        if path.is_dir() {
            let entries = entries(path)?;
            for extensions in [&EXTENSIONS[..], &FIELDS] {
                if files.len() == before {
                    files.extend(entries.iter().filter(|entry| has_extension(entry, extensions)).cloned());
                }
            }
            let known = EXTENSIONS.join(", ");
            ensure!(files.len() > before, "{} has no images ({known}) and no fields (npy)", path.display());
        } else if path.exists() {
            files.push(path.clone());
        } else {
            // The shell leaves a pattern alone that is quoted, or longer than a command line may be.
            let name = path.file_name().context("a path without a file name")?;
            let is_pattern = name.as_bytes().iter().any(|byte| matches!(byte, b'*' | b'?'));
            ensure!(is_pattern, "{} does not exist", path.display());
            let directory =
                path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
            let matching = entries(directory)?.into_iter().filter(|entry| {
                entry.file_name().is_some_and(|found| matches(name.as_bytes(), found.as_bytes()))
            });
            files.extend(matching);
            ensure!(files.len() > before, "no file matches {}", path.display());
        }
    }
    files.sort_by(|a, b| natural(a.as_os_str(), b.as_os_str()));
    files.dedup();
    Ok(files)
}

fn entries(directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let place = || format!("directory {}", directory.display());
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(directory).with_context(place)? {
        let path = entry.with_context(place)?.path();
        if path.is_file() {
            paths.push(path);
        }
    }
    Ok(paths)
}

fn has_extension(path: &Path, extensions: &[&str]) -> bool {
    path.extension()
        .and_then(OsStr::to_str)
        .is_some_and(|found| extensions.iter().any(|known| found.eq_ignore_ascii_case(known)))
}

/// True if `name` matches `pattern`, in which `*` stands for any bytes and `?` for one.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    // Where to go on from if what follows the last star does not fit.
    let mut retry: Option<(usize, usize)> = None;
    let (mut p, mut n) = (0, 0);
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                retry = Some((p + 1, n));
                p += 1;
            }
            Some(byte) if *byte == b'?' || *byte == name[n] => {
                p += 1;
                n += 1;
            }
            _ => {
                let Some((after_star, tried)) = retry else { return false };
                retry = Some((after_star, tried + 1));
                (p, n) = (after_star, tried + 1);
            }
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

/// Order in which `frame_2.png` comes before `frame_10.png`: runs of digits are compared as numbers.
fn natural(a: &OsStr, b: &OsStr) -> Ordering {
    let (mut a, mut b) = (a.as_bytes(), b.as_bytes());
    let mut tie = Ordering::Equal;
    loop {
        match (a, b) {
            ([], []) => return tie,
            ([], _) => return Ordering::Less,
            (_, []) => return Ordering::Greater,
            ([x, ..], [y, ..]) if x.is_ascii_digit() && y.is_ascii_digit() => {
                let (number_a, rest_a) = leading_digits(a);
                let (number_b, rest_b) = leading_digits(b);
                let (trimmed_a, trimmed_b) = (without_zeros(number_a), without_zeros(number_b));
                let order = trimmed_a.len().cmp(&trimmed_b.len()).then(trimmed_a.cmp(trimmed_b));
                if order != Ordering::Equal {
                    return order;
                }
                // 7 and 007 are one number; the shorter goes first if nothing else tells them apart.
                tie = tie.then(number_a.len().cmp(&number_b.len()));
                (a, b) = (rest_a, rest_b);
            }
            ([x, rest_a @ ..], [y, rest_b @ ..]) => {
                if x != y {
                    return x.cmp(y);
                }
                (a, b) = (rest_a, rest_b);
            }
        }
    }
}

fn leading_digits(bytes: &[u8]) -> (&[u8], &[u8]) {
    bytes.split_at(bytes.iter().take_while(|byte| byte.is_ascii_digit()).count())
}

fn without_zeros(digits: &[u8]) -> &[u8] {
    &digits[digits.iter().take_while(|digit| **digit == b'0').count()..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_names_are_ordered_as_numbers() {
        let mut names =
            ["f10.png", "f2.png", "f1.png", "f002.png", "g1.png", "f.png", "f99999999999999999999999.png"];
        names.sort_by(|a, b| natural(a.as_ref(), b.as_ref()));
        assert_eq!(
            names,
            ["f.png", "f1.png", "f2.png", "f002.png", "f10.png", "f99999999999999999999999.png", "g1.png"]
        );
    }

    #[test]
    fn patterns_match_as_in_a_shell() {
        for (pattern, name, expected) in [
            ("*.png", "a.png", true),
            ("*.png", "a.png.txt", false),
            ("a?c*", "abcd", true),
            ("a?c", "ac", false),
            ("*a*b*", "xxaxxbxx", true),
            ("*aab", "aaaab", true),
            ("*", "", true),
            ("", "a", false),
        ] {
            assert_eq!(matches(pattern.as_bytes(), name.as_bytes()), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn directories_and_patterns_are_expanded_in_natural_order_without_doubles() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["10.png", "9.png", "notes.txt", "11.JPG", "raw.npy"] {
            std::fs::write(dir.path().join(name), b"").unwrap();
        }
        let names = |paths: &[PathBuf]| -> Vec<String> {
            expand(paths)
                .unwrap()
                .iter()
                .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
                .collect()
        };
        assert_eq!(names(&[dir.path().to_owned()]), ["9.png", "10.png", "11.JPG"]);
        assert_eq!(names(&[dir.path().join("*.png"), dir.path().join("9.png")]), ["9.png", "10.png"]);
        let fields = tempfile::tempdir().unwrap();
        std::fs::write(fields.path().join("5.npy"), b"").unwrap();
        assert_eq!(names(&[fields.path().to_owned()]), ["5.npy"]);
        assert!(expand(&[dir.path().join("*.gif")]).unwrap_err().to_string().contains("no file matches"));
        assert!(
            expand(&[dir.path().join("missing.png")]).unwrap_err().to_string().contains("does not exist")
        );
    }
}

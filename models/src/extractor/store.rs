//! Where weights files are looked for, and which are trusted.

use super::manifest::{Manifest, check_sha256};
use super::weights::sha256_of;
use crate::error::{Error, Result};
use std::collections::BTreeMap;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

const BUILT_IN: [(&str, &str); 4] = [
    ("resnet50-v1-keras-layer3.toml", include_str!("../../manifests/resnet50-v1-keras-layer3.toml")),
    (
        "resnet50-v15-torchvision-layer2.toml",
        include_str!("../../manifests/resnet50-v15-torchvision-layer2.toml"),
    ),
    ("resnet50-v15-torchvision.toml", include_str!("../../manifests/resnet50-v15-torchvision.toml")),
    ("resnet50-v15-torchvision-v2.toml", include_str!("../../manifests/resnet50-v15-torchvision-v2.toml")),
];

/// Larger files are not read: ResNet-50 in f32 has 102 MB.
const MAX_FILE_BYTES: u64 = 1 << 30;

/// The directories that weights files lie in, and the manifests that say what they are.
///
/// Manifests are built in; a file `*.toml` in one of the directories adds another, or replaces a built-in one of the same
/// name. A file is loaded only if its SHA-256 is the manifest's. A manifest without a checksum is *unpinned*: its file is
/// refused until a person has accepted a sum, which [`pin`](Self::pin) records beside the file.
#[derive(Debug, Clone)]
pub struct WeightsStore {
    dirs: Vec<PathBuf>,
    manifests: BTreeMap<String, Manifest>,
}

impl Default for WeightsStore {
    /// The built-in manifests, and no directory.
    fn default() -> Self {
        let built_in = BUILT_IN.iter().map(|(origin, text)| {
            let manifest =
                Manifest::from_toml(text, origin).expect("built-in manifests are valid, as a test shows");
            (manifest.name.clone(), manifest)
        });
        Self { dirs: Vec::new(), manifests: built_in.collect() }
    }
}

impl WeightsStore {
    /// A store over `dirs`; those that come first are searched first. A directory that does not exist counts as empty.
    ///
    /// # Errors
    ///
    /// - [`Error::Weights`] if a manifest in a directory is wrong.
    /// - [`Error::Io`] if a directory or a manifest cannot be read.
    pub fn new(dirs: Vec<PathBuf>) -> Result<Self> {
        let mut store = Self::default();
        // Backwards, so that what comes first wins.
        for dir in dirs.iter().rev() {
            for path in manifest_files(dir)? {
                let text = std::fs::read_to_string(&path)
                    .map_err(|source| Error::Io { path: path.clone(), source })?;
                let manifest = Manifest::from_toml(&text, &path.display().to_string())?;
                store.manifests.insert(manifest.name.clone(), manifest);
            }
        }
        store.dirs = dirs;
        Ok(store)
    }

    /// The directories searched, in this order.
    pub fn dirs(&self) -> &[PathBuf] {
        &self.dirs
    }

    /// All manifests, by name.
    pub fn manifests(&self) -> impl Iterator<Item = &Manifest> {
        self.manifests.values()
    }

    /// The manifest of this name.
    ///
    /// # Errors
    ///
    /// [`Error::Weights`] if there is none; the error lists those there are.
    pub fn manifest(&self, name: &str) -> Result<&Manifest> {
        self.manifests.get(name).ok_or_else(|| {
            let known = self.manifests.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
            Error::Weights {
                name: name.to_owned(),
                reason: format!("found no manifest of this name, expected one of {known}; or add {name}.toml to a weights directory"),
            }
        })
    }

    /// The path of the weights file of this name; its contents are not looked at.
    ///
    /// # Errors
    ///
    /// [`Error::Weights`] if the name is unknown or no directory has the file.
    pub fn find(&self, name: &str) -> Result<PathBuf> {
        let manifest = self.manifest(name)?;
        let candidates = self.dirs.iter().map(|dir| dir.join(&manifest.file));
        candidates.into_iter().find(|path| path.is_file()).ok_or_else(|| {
            let searched = match self.dirs.as_slice() {
                [] => "no weights directory is configured".to_owned(),
                dirs => {
                    let dirs: Vec<_> = dirs.iter().map(|dir| dir.display().to_string()).collect();
                    format!("found in none of {}", dirs.join(", "))
                }
            };
            let reason = format!("{} is not here ({searched}): {}", manifest.file, manifest.how_to_obtain());
            Error::Weights { name: name.to_owned(), reason }
        })
    }

    /// Checks the file of this name against its manifest and returns its SHA-256.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load).
    pub fn verify(&self, name: &str) -> Result<String> {
        let (_, bytes) = self.load(name)?;
        Ok(sha256_of(&bytes))
    }

    /// Reads the file of this name, after which nothing can be changed under its reader's hands, and checks it.
    ///
    /// # Errors
    ///
    /// - [`Error::Weights`] if the name is unknown, no directory has the file, its SHA-256 is not the manifest's, or the
    ///   manifest has none.
    /// - [`Error::Io`] if it cannot be read.
    pub fn load(&self, name: &str) -> Result<(&Manifest, Vec<u8>)> {
        let manifest = self.manifest(name)?;
        let path = self.find(name)?;
        let bytes = read(&path)?;
        self.check(manifest, &path, &sha256_of(&bytes))?;
        Ok((manifest, bytes))
    }

    fn check(&self, manifest: &Manifest, path: &Path, found: &str) -> Result<()> {
        let reason = match &manifest.sha256 {
            Some(wanted) if wanted == found => return Ok(()),
            Some(wanted) => format!(
                "{}: found sha256 {found}, expected {wanted}: the file is damaged or another one; remove it, then {}",
                path.display(),
                manifest.how_to_obtain()
            ),
            None => format!(
                "{}: found sha256 {found}, but the manifest pins none: compare it with its publisher's, then accept it with \
                 `anomalyd models pull {} --accept-sha256 {found}`",
                path.display(),
                manifest.name
            ),
        };
        Err(Error::Weights { name: manifest.name.clone(), reason })
    }

    /// Records in `dir` that the file of an unpinned manifest is to have this SHA-256, and believes it from now on.
    ///
    /// Writes `NAME.toml`, a copy of the manifest with the sum in it, by an atomic rename. A sum that is already pinned is
    /// never replaced by another.
    ///
    /// # Errors
    ///
    /// - [`Error::Weights`] if the name is unknown, `sha256` is not 64 lower-case hexadecimal digits, or another sum is
    ///   pinned already.
    /// - [`Error::Io`] if the manifest cannot be written.
    pub fn pin(&mut self, name: &str, sha256: &str, dir: &Path) -> Result<PathBuf> {
        let refuse = |reason| Error::Weights { name: name.to_owned(), reason };
        check_sha256(sha256).map_err(refuse)?;
        let mut manifest = self.manifest(name)?.clone();
        if let Some(pinned) = manifest.sha256.as_ref().filter(|pinned| *pinned != sha256) {
            return Err(refuse(format!(
                "found sha256 {sha256}, but the manifest pins {pinned}: it is not replaced"
            )));
        }
        manifest.sha256 = Some(sha256.to_owned());
        let path = dir.join(format!("{name}.toml"));
        let part = dir.join(format!(".{name}.toml.part"));
        let write = || {
            let mut file = std::fs::File::create(&part)?;
            file.write_all(manifest.to_toml().as_bytes())?;
            file.sync_all()?;
            std::fs::rename(&part, &path)
        };
        write().map_err(|source| Error::Io { path: path.clone(), source })?;
        self.manifests.insert(name.to_owned(), manifest);
        Ok(path)
    }
}

fn manifest_files(dir: &Path) -> Result<Vec<PathBuf>> {
    let failed = |source| Error::Io { path: dir.to_owned(), source };
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if path.extension().is_some_and(|extension| extension == "toml") && !hidden {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    let failed = |source| Error::Io { path: path.to_owned(), source };
    let length = std::fs::metadata(path).map_err(failed)?.len();
    if length > MAX_FILE_BYTES {
        return Err(Error::Weights {
            name: path.display().to_string(),
            reason: format!("found {length} bytes, expected at most {MAX_FILE_BYTES}"),
        });
    }
    std::fs::read(path).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(name: &str, sha256: Option<&str>) -> String {
        let sum = sha256.map(|sum| format!("sha256 = \"{sum}\"\n")).unwrap_or_default();
        format!(
            "name = \"{name}\"\ndescription = \"a test\"\nfile = \"{name}.safetensors\"\nlicence = \"MIT\"\n{sum}\
             architecture = \"resnet50\"\nvariant = \"v1\"\nnormalisation = \"caffe\"\nbn_eps = 1e-5\nlast_tap = \"stem\"\n"
        )
    }

    #[test]
    fn built_in_manifests_are_valid_and_named_as_their_files() {
        let store = WeightsStore::default();
        assert_eq!(store.manifests().count(), BUILT_IN.len());
        for (file, _) in BUILT_IN {
            let manifest = store.manifest(file.trim_end_matches(".toml")).unwrap();
            assert!(manifest.source.is_some() || manifest.obtain.is_some(), "{file} says how to come by it");
        }
    }

    #[test]
    fn file_is_loaded_only_with_its_checksum() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        write("w.toml", &manifest("w", Some(&sha256_of(b"weights"))));
        write("w.safetensors", "weights");
        let store = WeightsStore::new(vec![dir.path().join("absent"), dir.path().to_owned()]).unwrap();
        assert_eq!(store.verify("w").unwrap(), sha256_of(b"weights"));
        assert_eq!(store.find("w").unwrap(), dir.path().join("w.safetensors"));
        write("w.safetensors", "wights");
        let error = store.load("w").unwrap_err().to_string();
        assert!(error.contains(&sha256_of(b"weights")) && error.contains(&sha256_of(b"wights")), "{error}");
    }

    #[test]
    fn unpinned_file_is_refused_until_its_sum_is_accepted() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("w.toml"), manifest("w", None)).unwrap();
        std::fs::write(dir.path().join("w.safetensors"), "weights").unwrap();
        let mut store = WeightsStore::new(vec![dir.path().to_owned()]).unwrap();
        let sum = sha256_of(b"weights");
        let error = store.load("w").unwrap_err().to_string();
        assert!(error.contains(&format!("--accept-sha256 {sum}")), "{error}");
        store.pin("w", &sum, dir.path()).unwrap();
        assert_eq!(store.verify("w").unwrap(), sum);
        let again = WeightsStore::new(vec![dir.path().to_owned()]).unwrap();
        assert_eq!(again.verify("w").unwrap(), sum);
        let other = store.pin("w", &sha256_of(b"other"), dir.path()).unwrap_err().to_string();
        assert!(other.contains("not replaced"), "{other}");
        assert!(store.pin("w", "abc", dir.path()).is_err());
    }

    #[test]
    fn first_directory_wins() {
        let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for (dir, text) in [(&first, "one"), (&second, "two")] {
            std::fs::write(dir.path().join("w.toml"), manifest("w", Some(&sha256_of(text.as_bytes()))))
                .unwrap();
            std::fs::write(dir.path().join("w.safetensors"), text).unwrap();
        }
        let store = WeightsStore::new(vec![first.path().to_owned(), second.path().to_owned()]).unwrap();
        assert_eq!(store.load("w").unwrap().1, b"one");
    }

    #[test]
    fn missing_file_says_where_it_was_looked_for_and_how_to_come_by_it() {
        let error = WeightsStore::default().load("resnet50-v15-torchvision").unwrap_err().to_string();
        assert!(error.contains("models pull") && error.contains("no weights directory"), "{error}");
        let dir = tempfile::tempdir().unwrap();
        let store = WeightsStore::new(vec![dir.path().to_owned()]).unwrap();
        let error = store.load("resnet50-v1-keras-layer3").unwrap_err().to_string();
        assert!(error.contains(&dir.path().display().to_string()) && error.contains("Keras"), "{error}");
    }

    #[test]
    fn wrong_manifest_in_a_directory_is_named() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("w.toml"), "name = 3").unwrap();
        let error = WeightsStore::new(vec![dir.path().to_owned()]).unwrap_err().to_string();
        assert!(error.contains("w.toml"), "{error}");
    }
}

//! Opens the image files that clients name, below allowed roots only, and never anything that could block or harm.

use crate::fault::{Fault, escaped};
use anomalyd_proto::Status;
use anyhow::Context;
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, fstat, fstatfs, open, openat, openat2};
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

/// The directories below which images may lie, each held open.
#[derive(Debug)]
pub struct Roots {
    roots: Vec<Root>,
    max_file_bytes: u64,
    beneath: Beneath,
}

#[derive(Debug)]
struct Root {
    path: PathBuf,
    directory: OwnedFd,
}

/// How a name below a root is opened so that nothing leads out of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Beneath {
    /// The kernel sees to it: `openat2`, Linux 5.6.
    Kernel,
    /// Component by component, where the kernel or a sandbox has no `openat2`.
    Walk,
}

// A FIFO would block an open without NONBLOCK, a terminal would become the daemon's without NOCTTY.
const OPEN_FLAGS: OFlags =
    OFlags::RDONLY.union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);
const DIRECTORY_FLAGS: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

impl Roots {
    /// Opens each of `roots`; files of more than `max_file_bytes` will be refused.
    ///
    /// # Errors
    ///
    /// If a root is not an absolute path of a directory that can be opened.
    pub fn open(roots: &[PathBuf], max_file_bytes: u64) -> anyhow::Result<Self> {
        let roots = roots
            .iter()
            .map(|root| {
                let path = root.canonicalize().with_context(|| format!("root {}", root.display()))?;
                let directory = open(&path, DIRECTORY_FLAGS, Mode::empty())
                    .with_context(|| format!("root {} cannot be opened as a directory", root.display()))?;
                Ok(Root { path, directory })
            })
            .collect::<anyhow::Result<Vec<_>>>()?;
        let beneath = match roots.first() {
            Some(root) => {
                match openat2(&root.directory, ".", DIRECTORY_FLAGS, Mode::empty(), ResolveFlags::BENEATH) {
                    Ok(_) => Beneath::Kernel,
                    Err(_) => Beneath::Walk,
                }
            }
            None => Beneath::Walk,
        };
        Ok(Self { roots, max_file_bytes, beneath })
    }

    /// Reads the regular file at `path` once, whole, into memory.
    ///
    /// # Errors
    ///
    /// A [`Fault`] with the status 400 (not an absolute path), 403 (outside the roots, or not readable), 404, 413 (longer
    /// than the limit), 415 (not a regular file) or 500.
    pub fn read(&self, path: &[u8]) -> Result<Vec<u8>, Fault> {
        let shown = escaped(path);
        let file = self.open_file(Path::new(OsStr::from_bytes(path)), &shown)?;
        let internal = |error: std::io::Error| {
            Fault::new(Status::Internal, format!("{shown} cannot be read: {error}; look at its file system"))
        };
        let length = file.metadata().map_err(internal)?.len();
        if length > self.max_file_bytes {
            return Err(self.too_large(&shown, &format!("{length} bytes long")));
        }
        // One byte more than there is, so that reading needs no second allocation to see the end.
        let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or(0) + 1);
        file.take(self.max_file_bytes + 1).read_to_end(&mut bytes).map_err(internal)?;
        if bytes.len() as u64 > self.max_file_bytes {
            return Err(self.too_large(&shown, "growing"));
        }
        Ok(bytes)
    }

    fn too_large(&self, shown: &str, found: &str) -> Fault {
        let limit = self.max_file_bytes;
        Fault::new(
            Status::TooLarge,
            format!("{shown} is {found}, at most {limit} bytes are read: raise paths.max_file_bytes"),
        )
    }

    fn open_file(&self, path: &Path, shown: &str) -> Result<File, Fault> {
        if !path.is_absolute() {
            let text = format!(
                "the path {shown} is not absolute: send it from the root, as the daemon's host sees it"
            );
            return Err(Fault::new(Status::Malformed, text));
        }
        let outside = || {
            let roots: Vec<_> =
                self.roots.iter().map(|root| escaped(root.path.as_os_str().as_bytes())).collect();
            let text = format!(
                "{shown} lies outside the allowed roots ({}): add to paths.roots, or move it",
                roots.join(", ")
            );
            Fault::new(Status::Forbidden, text)
        };
        let refused = |error: std::io::Error| match error.raw_os_error().map(Errno::from_raw_os_error) {
            Some(Errno::NOENT | Errno::NOTDIR) => Fault::new(
                Status::NotFound,
                format!("{shown} does not exist on the daemon's host: check the path there"),
            ),
            Some(Errno::ACCESS | Errno::PERM) => Fault::new(
                Status::Forbidden,
                format!("{shown} may not be read by the daemon's user: check permissions"),
            ),
            // What a symbolic link or a directory was exchanged for between the look-up and the opening.
            Some(Errno::LOOP | Errno::XDEV) => outside(),
            Some(Errno::NXIO | Errno::NODEV) => not_regular(shown, "a socket or a device"),
            Some(Errno::NAMETOOLONG) => Fault::new(
                Status::Malformed,
                format!("{shown} has a component that is too long for a file name"),
            ),
            _ => Fault::new(Status::Internal, format!("{shown} cannot be opened: {error}")),
        };

        let canonical = match path.canonicalize() {
            Ok(canonical) => canonical,
            // Outside of the roots a client is not told what exists.
            Err(_) if self.root_of(&lexically_normal(path)).is_none() => return Err(outside()),
            Err(error) => return Err(refused(error)),
        };
        let (root, rest) = self.root_of(&canonical).ok_or_else(outside)?;
        let fd = match self.beneath {
            Beneath::Kernel => {
                let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_SYMLINKS;
                openat2(&root.directory, &rest, OPEN_FLAGS, Mode::empty(), resolve)
            }
            Beneath::Walk => open_walking(&root.directory, &rest),
        }
        .map_err(|errno| refused(errno.into()))?;

        let stat = fstat(&fd).map_err(|errno| refused(errno.into()))?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => {}
            FileType::Directory => return Err(not_regular(shown, "a directory")),
            FileType::Fifo => return Err(not_regular(shown, "a FIFO")),
            FileType::Socket => return Err(not_regular(shown, "a socket")),
            _ => return Err(not_regular(shown, "a device")),
        }
        if is_kernel_file_system(&fd) {
            return Err(not_regular(shown, "in a file system of the kernel"));
        }
        Ok(File::from(fd))
    }

    /// The root that `path` lies below, and the rest of the path.
    fn root_of(&self, path: &Path) -> Option<(&Root, PathBuf)> {
        self.roots.iter().find_map(|root| {
            let rest = path.strip_prefix(&root.path).ok()?;
            Some((root, if rest.as_os_str().is_empty() { PathBuf::from(".") } else { rest.to_owned() }))
        })
    }
}

fn not_regular(shown: &str, found: &str) -> Fault {
    Fault::new(Status::Unsupported, format!("{shown} is {found}, not a regular file: name an image file"))
}

/// Files below /proc and /sys call themselves regular; reading some of them has effects.
fn is_kernel_file_system(fd: &OwnedFd) -> bool {
    const PROC: u64 = 0x9fa0;
    const SYSFS: u64 = 0x6265_6572;
    const DEBUGFS: u64 = 0x6462_6720;
    const TRACEFS: u64 = 0x7472_6163;
    const CGROUP2: u64 = 0x6367_7270;
    fstatfs(fd).is_ok_and(|stat| [PROC, SYSFS, DEBUGFS, TRACEFS, CGROUP2].contains(&(stat.f_type as u64)))
}

/// Opens `rest` below `root` without following a symbolic link in any component.
fn open_walking(root: &OwnedFd, rest: &Path) -> Result<OwnedFd, Errno> {
    let mut names: Vec<&OsStr> = Vec::new();
    for component in rest.components() {
        match component {
            Component::Normal(name) => names.push(name),
            Component::CurDir => {}
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return Err(Errno::XDEV),
        }
    }
    let Some((file, directories)) = names.split_last() else {
        return openat(root, ".", OPEN_FLAGS, Mode::empty());
    };
    let mut held: Option<OwnedFd> = None;
    for name in directories {
        let below = held.as_ref().map_or(root.as_fd(), AsFd::as_fd);
        held = Some(openat(below, *name, DIRECTORY_FLAGS | OFlags::NOFOLLOW, Mode::empty())?);
    }
    let below = held.as_ref().map_or(root.as_fd(), AsFd::as_fd);
    openat(below, *file, OPEN_FLAGS | OFlags::NOFOLLOW, Mode::empty())
}

/// `path` with `.` and `..` worked out by name alone, without a look at the file system.
fn lexically_normal(path: &Path) -> PathBuf {
    let mut parts: Vec<OsString> = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => parts.push(name.to_owned()),
            Component::ParentDir => {
                parts.pop();
            }
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    std::iter::once(OsString::from("/")).chain(parts).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    struct Fixture {
        directory: tempfile::TempDir,
        roots: [Roots; 2],
    }

    /// A root with files inside and beside it, opened by the kernel's means and by walking.
    fn fixture() -> Fixture {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("root");
        std::fs::create_dir_all(root.join("sub")).unwrap();
        std::fs::write(root.join("sub/image.png"), b"inside").unwrap();
        std::fs::write(directory.path().join("secret"), b"outside").unwrap();
        std::fs::write(root.join("long"), vec![0; 101]).unwrap();
        symlink(directory.path().join("secret"), root.join("escape")).unwrap();
        symlink(root.join("sub"), root.join("absolute")).unwrap();
        symlink("sub", root.join("relative")).unwrap();
        symlink("loop", root.join("loop")).unwrap();
        let open = |beneath| Roots { beneath, ..Roots::open(std::slice::from_ref(&root), 100).unwrap() };
        let roots = [open(Beneath::Kernel), open(Beneath::Walk)];
        Fixture { directory, roots }
    }

    impl Fixture {
        /// The status, by both ways, of reading `name` below the directory that holds the root.
        fn status(&self, name: &str) -> Status {
            let path = self.directory.path().join(name);
            let [kernel, walk] =
                self.roots.each_ref().map(|roots| match roots.read(path.as_os_str().as_bytes()) {
                    Ok(_) => Status::Ok,
                    Err(fault) => fault.status,
                });
            assert_eq!(kernel, walk, "{name}");
            kernel
        }
    }

    #[test]
    fn file_below_a_root_is_read_also_through_links_that_stay_below() {
        let fixture = fixture();
        for name in [
            "root/sub/image.png",
            "root/absolute/image.png",
            "root/relative/image.png",
            "root/sub/../sub/image.png",
        ] {
            assert_eq!(fixture.status(name), Status::Ok, "{name}");
        }
        let path = fixture.directory.path().join("root/sub/image.png");
        assert_eq!(fixture.roots[0].read(path.as_os_str().as_bytes()).unwrap(), b"inside");
    }

    #[test]
    fn path_outside_the_roots_is_forbidden_whether_or_not_it_exists() {
        let fixture = fixture();
        for name in
            ["secret", "missing", "root/../secret", "root/sub/../../secret", "root/escape", "root-two"]
        {
            assert_eq!(fixture.status(name), Status::Forbidden, "{name}");
        }
    }

    #[test]
    fn missing_file_is_not_found() {
        let fixture = fixture();
        assert_eq!(fixture.status("root/missing"), Status::NotFound);
        assert_eq!(fixture.status("root/sub/image.png/more"), Status::NotFound);
    }

    #[test]
    fn circle_of_links_is_refused() {
        assert_eq!(fixture().status("root/loop"), Status::Forbidden);
    }

    #[test]
    fn what_is_no_regular_file_is_unsupported_and_does_not_block() {
        let fixture = fixture();
        let fifo = fixture.directory.path().join("root/fifo");
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        let _listener =
            std::os::unix::net::UnixListener::bind(fixture.directory.path().join("root/socket")).unwrap();
        for name in ["root", "root/sub", "root/fifo", "root/socket"] {
            assert_eq!(fixture.status(name), Status::Unsupported, "{name}");
        }
    }

    #[test]
    fn files_of_the_kernel_and_devices_are_unsupported() {
        let roots = Roots::open(&[PathBuf::from("/")], 100).unwrap();
        for path in ["/proc/self/status", "/dev/null"] {
            assert_eq!(roots.read(path.as_bytes()).unwrap_err().status, Status::Unsupported, "{path}");
        }
    }

    #[test]
    fn file_longer_than_the_limit_is_too_large() {
        let fixture = fixture();
        assert_eq!(fixture.status("root/long"), Status::TooLarge);
    }

    #[test]
    fn relative_path_is_malformed() {
        let roots = Roots::open(&[PathBuf::from("/")], 100).unwrap();
        assert_eq!(roots.read(b"image.png").unwrap_err().status, Status::Malformed);
    }

    #[test]
    fn path_with_a_newline_is_a_path() {
        let fixture = fixture();
        std::fs::write(fixture.directory.path().join("root/a\nb.png"), b"x").unwrap();
        assert_eq!(fixture.status("root/a\nb.png"), Status::Ok);
        let missing = fixture.directory.path().join("root/a\nc.png");
        let fault = fixture.roots[0].read(missing.as_os_str().as_bytes()).unwrap_err();
        assert!(fault.text.contains("a\\nc.png") && !fault.text.contains('\n'), "{}", fault.text);
    }
}

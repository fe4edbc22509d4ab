//! What is none of the core's business, beside what is.
//!
//! In: nothing. Out: a directory that goes when it is dropped, with a directory `outside` in it. Promise checked by
//! [`Scratch::assert_untouched`]: names, types, bytes, modes, owners, times and link targets in there are what they were.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, IFlags, Mode};
use tempfile::TempDir;

/// A directory in memory where the system has one.
pub struct Scratch {
    directory: TempDir,
    before: BTreeMap<PathBuf, String>,
}

impl Scratch {
    /// With `outside` in it: a file, a directory, a pipe, and a copy of `object`.
    pub fn new(object: &[u8]) -> Self {
        let memory = Path::new("/dev/shm");
        let directory = match memory.is_dir() {
            true => TempDir::new_in(memory),
            false => TempDir::new(),
        };
        let mut scratch = Scratch { directory: directory.unwrap(), before: BTreeMap::new() };
        let outside = scratch.path("outside");
        fs::create_dir_all(outside.join("directory/inner")).unwrap();
        fs::write(outside.join("file"), b"canary").unwrap();
        fs::write(outside.join("directory/file"), b"canary").unwrap();
        fs::write(outside.join("object"), object).unwrap();
        fs::set_permissions(outside.join("file"), PermissionsExt::from_mode(0o640)).unwrap();
        make_pipe(&outside.join("pipe")).unwrap();
        scratch.before = look(&outside);
        scratch
    }

    /// The path of something in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Fails if anything outside is not as it was.
    pub fn assert_untouched(&self) {
        assert_eq!(look(&self.path("outside")), self.before, "something outside was touched");
    }
}

impl Drop for Scratch {
    /// What an archive made immutable cannot be removed as it is.
    fn drop(&mut self) {
        let mut open = vec![self.directory.path().to_owned()];
        while let Some(path) = open.pop() {
            let _ = File::open(&path).map(|file| rustix::fs::ioctl_setflags(file, IFlags::empty()));
            let _ = fs::set_permissions(&path, PermissionsExt::from_mode(0o700));
            for entry in fs::read_dir(&path).into_iter().flatten().flatten() {
                match entry.file_type() {
                    Ok(kind) if kind.is_dir() => open.push(entry.path()),
                    Ok(kind) if kind.is_file() => {
                        let file = File::open(entry.path());
                        let _ = file.map(|file| rustix::fs::ioctl_setflags(file, IFlags::empty()));
                    }
                    _ => {}
                }
            }
        }
    }
}

/// Makes a named pipe.
pub fn make_pipe(path: &Path) -> io::Result<()> {
    let mode = Mode::from_raw_mode(0o600);
    Ok(rustix::fs::mknodat(CWD, path, FileType::Fifo, mode, 0)?)
}

/// Whether nothing but directories leads from `root` to `path`: the target itself must not go through a link.
pub fn is_inside(root: &Path, path: &Path) -> bool {
    path.ancestors().skip(1).take_while(|above| *above != root).all(|above| {
        fs::symlink_metadata(above)
            .map_or_else(|error| error.kind() == io::ErrorKind::NotFound, |found| found.is_dir())
    })
}

/// A name that something in a directory can have.
pub fn file_name(bytes: &[u8]) -> Option<&OsStr> {
    let is_name = !bytes.is_empty() && !bytes.iter().any(|byte| [0, b'/'].contains(byte));
    (is_name && bytes != b"." && bytes != b"..").then(|| OsStr::from_bytes(bytes))
}

/// Removes whatever is there.
pub fn remove(path: &Path) {
    let Ok(found) = fs::symlink_metadata(path) else { return };
    let _ = if found.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
}

/// Everything below a directory, itself included, and what it is.
fn look(directory: &Path) -> BTreeMap<PathBuf, String> {
    let (mut seen, mut open) = (BTreeMap::new(), vec![directory.to_owned()]);
    while let Some(path) = open.pop() {
        let found = fs::symlink_metadata(&path).unwrap();
        let bytes = if found.is_file() { fs::read(&path).unwrap() } else { Vec::new() };
        let said = format!(
            "{:o} {} {} {} {} {bytes:?}",
            found.mode(),
            found.uid(),
            found.gid(),
            found.mtime(),
            found.mtime_nsec()
        );
        if found.is_dir() {
            open.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
        seen.insert(path, said);
    }
    seen
}

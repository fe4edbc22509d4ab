//! From what the user named to what will be stored: files, directories and links in a fixed order.
//!
//! A path is stored relative: normalised, without its leading `/` and `../`. Directories come before what is in them, names
//! in byte order, so that two backups of the same tree make the same item stream.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

use image::{Kind, Metadata, SourceError, lstat};

/// A file system object on its way into an archive.
#[derive(Debug)]
pub(crate) struct Found {
    /// Where it is.
    pub(crate) path: PathBuf,
    /// What it will be called. Empty for `/` and `.`.
    pub(crate) stored: Vec<u8>,
    pub(crate) metadata: Metadata,
    /// Whether the user named it, so that a link or device stands for what is behind it.
    pub(crate) named: bool,
}

/// Walks one named path.
pub(crate) struct Walk<'a> {
    /// What is still to be visited, next last.
    stack: Vec<(PathBuf, Vec<u8>, bool)>,
    /// Directories that are passed over: device and inode.
    skip: &'a HashSet<(u64, u64)>,
}

impl<'a> Walk<'a> {
    pub(crate) fn new(path: &Path, skip: &'a HashSet<(u64, u64)>) -> Self {
        Walk { stack: vec![(path.to_owned(), stored_path(path), true)], skip }
    }

    fn visit(
        &mut self,
        path: PathBuf,
        stored: Vec<u8>,
        named: bool,
    ) -> Result<Option<Found>, SourceError> {
        let mut metadata = lstat(&path)?;
        if named && metadata.kind == Kind::Symlink {
            metadata = follow(&path)?;
        }
        if metadata.kind == Kind::Directory {
            if self.skip.contains(&(metadata.dev, metadata.ino)) {
                return Ok(None);
            }
            self.push_children(&path, &stored)?;
        }
        Ok(Some(Found { path, stored, metadata, named }))
    }

    fn push_children(&mut self, path: &Path, stored: &[u8]) -> Result<(), SourceError> {
        let fail = |error| SourceError::new(path, "list", error);
        let mut names: Vec<OsString> = Vec::new();
        for entry in fs::read_dir(path).map_err(fail)? {
            names.push(entry.map_err(fail)?.file_name());
        }
        names.sort_unstable();
        for name in names.into_iter().rev() {
            let mut child = stored.to_vec();
            if !child.is_empty() {
                child.push(b'/');
            }
            child.extend_from_slice(name.as_bytes());
            self.stack.push((path.join(&name), child, false));
        }
        Ok(())
    }
}

/// What a named link points to: an image or a volume behind a link is meant, not the link.
fn follow(path: &Path) -> Result<Metadata, SourceError> {
    let stat = fs::metadata(path).map_err(|error| SourceError::new(path, "stat", error))?;
    Ok(Metadata::from(&stat))
}

impl Iterator for Walk<'_> {
    type Item = Result<Found, SourceError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (path, stored, named) = self.stack.pop()?;
            match self.visit(path, stored, named) {
                Ok(None) => {}
                Ok(Some(found)) => return Some(Ok(found)),
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

/// The path as it is stored: `/a/./b/../c` and `../a/c` are both `a/c`.
pub(crate) fn stored_path(path: &Path) -> Vec<u8> {
    let mut parts: Vec<&[u8]> = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(part) => parts.push(part.as_bytes()),
            Component::ParentDir => drop(parts.pop()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    parts.join(&b'/')
}

/// Where the item stored as `stored` lies if it came from walking `named`.
pub(crate) fn below(named: &Path, stored: &[u8]) -> Option<PathBuf> {
    let top = stored_path(named);
    let rest = if top.is_empty() {
        stored
    } else {
        match stored.strip_prefix(top.as_slice())? {
            [] => return Some(named.to_owned()),
            [b'/', rest @ ..] => rest,
            _ => return None,
        }
    };
    Some(named.join(OsStr::from_bytes(rest)))
}

/// The path seen from the root, without touching the file system; `base` is the current directory.
pub(crate) fn absolute_path(base: &Path, path: &Path) -> Vec<u8> {
    let mut absolute = OsString::from("/").into_vec();
    absolute.extend(stored_path(&base.join(path)));
    absolute
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_paths_are_relative_and_normalised() {
        for (given, stored) in [
            ("/var/lib/vm.img", "var/lib/vm.img"),
            ("../../vm.img", "vm.img"),
            ("./a//b/./c/../d", "a/b/d"),
            ("/", ""),
            (".", ""),
            ("a/../../b", "b"),
        ] {
            assert_eq!(stored_path(Path::new(given)), stored.as_bytes(), "{given}");
        }
        assert_eq!(below(Path::new("../a/./b"), b"a/b/c"), Some("../a/./b/c".into()));
        assert_eq!(below(Path::new("../a/b"), b"a/b"), Some("../a/b".into()));
        assert_eq!(below(Path::new("a/b"), b"a/bc"), None);
        assert_eq!(below(Path::new("/"), b"a"), Some("/a".into()));
        assert_eq!(absolute_path(Path::new("/x/y"), Path::new("../z")), b"/x/z");
    }
}

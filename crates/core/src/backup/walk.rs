//! From what the user named to what will be stored: files, directories and links in a fixed order.
//!
//! A path is stored relative: normalised, without its leading `/` and `../`. Directories come before what is in them, names
//! in byte order, so that two backups of the same tree make the same item stream. A directory is opened once and read whole;
//! what is in it is reached through it, so nobody who exchanges directories for links meanwhile leads the walk elsewhere.
//! Memory is that of the names of the directories from the named path down to where the walk is, of which at most
//! [`OUTER_OPEN`] and [`INNER_OPEN`] are open.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::FileExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use garret_image::{At, FileKind, LOOKS_MAX, Listing, Metadata, SourceError};
use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::pattern::Patterns;

/// Directories that stay open while the walk is below them, counted from the named path. What others can move about usually
/// lies deeper, so that they can lose nothing but their own.
const OUTER_OPEN: usize = 32;
/// Directories that are open above where the walk is. Those between are closed, and opened again on the way back.
const INNER_OPEN: usize = 32;

/// Longest path in bytes: programs cannot name a longer one, and each level keeps its own.
const PATH_LEN_MAX: usize = 4096;

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
    /// Device and inode of what stands at the path itself: of the link, where `metadata` is of what is behind it.
    pub(crate) identity: (u64, u64),
    /// Whether a link stands at the path, and `metadata` is of what is behind it.
    pub(crate) followed: bool,
    /// The directory itself, open, if it is one and can be read.
    pub(crate) directory: Option<Arc<OwnedFd>>,
    /// The directory that it was found in; none of the named path.
    parent: Option<Arc<OwnedFd>>,
}

impl Found {
    /// Where it is, whatever was put in place of the directories above it.
    pub(crate) fn at(&self) -> At<'_> {
        place(self.parent.as_deref(), &self.path)
    }
}

fn place<'a>(parent: Option<&'a OwnedFd>, path: &'a Path) -> At<'a> {
    match parent {
        Some(parent) => At::inside(parent.as_fd(), path),
        None => At::path(path),
    }
}

/// What a walk passes over without a word.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rules<'a> {
    /// Directories by device and inode.
    pub(crate) skip: Option<&'a HashSet<(u64, u64)>>,
    /// Paths, as they were named.
    pub(crate) exclude: Option<&'a Patterns>,
    /// Directories that say of themselves that they are caches.
    pub(crate) caches: bool,
    /// Whatever is on another file system than the named path.
    pub(crate) mounts: bool,
}

/// Walks one named path.
pub(crate) struct Walk<'a> {
    rules: Rules<'a>,
    /// The named path, until it was visited.
    start: Option<PathBuf>,
    /// What of the named path, normalised, stands before all that is stored: `/`, or some `../`.
    lead: Vec<u8>,
    /// What it is stored as, if not as its path.
    name: Option<(Vec<u8>, Vec<u8>)>,
    /// The file system of the named path.
    device: Option<u64>,
    /// The directories that are open, outermost first.
    levels: Vec<Level>,
    /// A directory that was found and could not be listed.
    failed: Option<SourceError>,
    /// The named path, if it is a directory and nothing was found in it so far.
    bare: Option<PathBuf>,
}

/// A directory and what of it is still to be visited.
struct Level {
    path: PathBuf,
    stored: Vec<u8>,
    names: std::vec::IntoIter<OsString>,
    /// None while the walk is deep below.
    directory: Option<Arc<OwnedFd>>,
    /// Its device and inode.
    identity: (u64, u64),
}

/// What is to be visited next.
struct Next {
    path: PathBuf,
    stored: Vec<u8>,
    parent: Option<Arc<OwnedFd>>,
}

/// What stands somewhere.
struct Look {
    metadata: Metadata,
    identity: (u64, u64),
    followed: bool,
    /// Of a directory what is in it, or why that cannot be read.
    listing: Option<Result<Listing, SourceError>>,
}

impl<'a> Walk<'a> {
    pub(crate) fn new(path: &Path, rules: Rules<'a>) -> Self {
        Walk {
            rules,
            start: Some(path.to_owned()),
            lead: lead(path),
            name: None,
            device: None,
            levels: Vec::new(),
            failed: None,
            bare: None,
        }
    }

    /// The same, and what is found is stored under this name.
    pub(crate) fn stored_as(self, name: Vec<u8>) -> Self {
        let top = self.start.as_deref().map(stored_path).unwrap_or_default();
        Walk { name: Some((top, name)), ..self }
    }

    /// What that is stored as which would be stored so by its path.
    fn rename(&self, stored: Vec<u8>) -> Vec<u8> {
        let Some((top, name)) = &self.name else { return stored };
        match stored.strip_prefix(top.as_slice()) {
            None | Some([]) => name.clone(),
            Some(rest) if rest.starts_with(b"/") => [name, rest].concat(),
            Some(rest) => [name, &b"/"[..], rest].concat(),
        }
    }

    /// The named path, if it was a directory that could be listed and nothing was found in it; when the walk has ended.
    pub(crate) fn bare(self) -> Option<PathBuf> {
        self.bare
    }

    /// Passes over what is in the directory that was found last.
    pub(crate) fn leave(&mut self) {
        self.ascend();
        self.failed = None;
        self.bare = None;
    }

    /// Enters a directory.
    fn descend(&mut self, level: Level) {
        self.levels.push(level);
        if let Some(deep) = self.levels.len().checked_sub(1 + INNER_OPEN)
            && deep >= OUTER_OPEN
            && let Some(level) = self.levels.get_mut(deep)
        {
            level.directory = None;
        }
    }

    /// Goes back to the directory above, which is opened again if it was closed.
    fn ascend(&mut self) {
        let inner = self.levels.pop().and_then(|level| level.directory);
        if let (Some(inner), Some(above)) = (inner, self.levels.last_mut())
            && above.directory.is_none()
        {
            above.directory = above_again(&inner, above.identity).map(Arc::new);
        }
    }

    /// The next path.
    fn next_path(&mut self) -> Option<Result<Next, SourceError>> {
        if let Some(path) = self.start.take() {
            let stored = stored_path(&path);
            return Some(Ok(Next { path, stored, parent: None }));
        }
        loop {
            let level = self.levels.last_mut()?;
            let Some(name) = level.names.next() else {
                self.ascend();
                continue;
            };
            let Some(parent) = level.directory.clone() else {
                let why = std::io::Error::other("it was moved meanwhile");
                let error = SourceError::new(&level.path, "store the rest of it", why);
                self.ascend();
                return Some(Err(error));
            };
            let mut stored = Vec::with_capacity(level.stored.len() + 1 + name.len());
            stored.extend_from_slice(&level.stored);
            if !stored.is_empty() {
                stored.push(b'/');
            }
            stored.extend_from_slice(name.as_bytes());
            let path = level.path.join(&name);
            return Some(if path.as_os_str().len() < PATH_LEN_MAX {
                Ok(Next { path, stored, parent: Some(parent) })
            } else {
                Err(SourceError::new(&path, "stat", Errno::NAMETOOLONG))
            });
        }
    }

    /// Looks at what is to be visited; None if the rules pass over it.
    fn look(&mut self, at: At<'_>, named: bool) -> Result<Option<Look>, SourceError> {
        for _ in 0..LOOKS_MAX {
            let mut metadata = at.stat(false)?;
            let identity = (metadata.dev, metadata.ino);
            // An image or a volume behind a named link is meant, not the link.
            let followed = named && metadata.kind == FileKind::Symlink;
            if followed {
                metadata = at.stat(true)?;
            }
            if self.rules.mounts && self.device.is_some_and(|device| device != metadata.dev) {
                return Ok(None);
            }
            let mut listing = None;
            if metadata.kind == FileKind::Directory {
                let identity = (metadata.dev, metadata.ino);
                if self.rules.skip.is_some_and(|skip| skip.contains(&identity)) {
                    return Ok(None);
                }
                let listed = at.list(followed);
                match &listed {
                    Ok(listed) if !listed.metadata.is_of_same(&metadata) => continue,
                    Err(error) if is_no_directory(error) => continue,
                    _ => listing = Some(listed),
                }
            }
            self.device.get_or_insert(metadata.dev);
            return Ok(Some(Look { metadata, identity, followed, listing }));
        }
        Err(at.exchanged())
    }

    fn visit(&mut self, next: Next) -> Result<Option<Found>, SourceError> {
        let Next { path, stored, parent } = next;
        let named = parent.is_none();
        if self.is_excluded(&stored) {
            return Ok(None);
        }
        let Some(look) = self.look(place(parent.as_deref(), &path), named)? else {
            return Ok(None);
        };
        let Look { metadata, identity, followed, listing } = look;
        let mut directory = None;
        match listing {
            Some(Ok(listing)) if self.rules.caches && is_cache(&listing) => return Ok(None),
            Some(Ok(listing)) => {
                directory = Some(Arc::new(listing.directory));
                self.bare = named.then(|| path.clone());
                self.descend(Level {
                    path: path.clone(),
                    stored: stored.clone(),
                    names: listing.names.into_iter(),
                    directory: directory.clone(),
                    identity: (metadata.dev, metadata.ino),
                });
            }
            Some(Err(error)) => self.failed = Some(error),
            None => {}
        }
        if !named {
            self.bare = None;
        }
        let stored = self.rename(stored);
        Ok(Some(Found { path, stored, metadata, named, identity, followed, directory, parent }))
    }

    /// Whether a pattern excludes what is stored so, by the path as it was named.
    pub(crate) fn is_excluded(&self, stored: &[u8]) -> bool {
        let Some(exclude) = self.rules.exclude.filter(|exclude| !exclude.is_empty()) else {
            return false;
        };
        let mut shown = [self.lead.as_slice(), stored].concat();
        if stored.is_empty() {
            // The named path is all lead: `/`, `..`, or nothing.
            match self.lead.as_slice() {
                b"/" => {}
                b"" => shown.push(b'.'),
                _ => drop(shown.pop()),
            }
        }
        exclude.exclude(&shown)
    }
}

/// What a normalised path begins with that is not stored.
fn lead(path: &Path) -> Vec<u8> {
    if path.is_absolute() {
        return b"/".to_vec();
    }
    let (mut depth, mut ups) = (0u32, 0);
    for component in path.components() {
        match component {
            Component::Normal(_) => depth += 1,
            Component::ParentDir if depth > 0 => depth -= 1,
            Component::ParentDir => ups += 1,
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    b"../".repeat(ups)
}

/// How a cache directory says that it is one: <https://bford.info/cachedir/>.
const CACHE_TAG: &str = "CACHEDIR.TAG";
const CACHE_SIGNATURE: &[u8] = b"Signature: 8a477f597d28d172789f06886806bc55";

fn is_cache(listing: &Listing) -> bool {
    let name = OsStr::new(CACHE_TAG);
    if listing.names.binary_search_by(|found| found.as_os_str().cmp(name)).is_err() {
        return false;
    }
    // Only a file is a tag; opening anything else could wait or do something.
    let stat = rustix::fs::statat(&listing.directory, name, AtFlags::SYMLINK_NOFOLLOW);
    if !stat.is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile) {
        return false;
    }
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let Ok(tag) = rustix::fs::openat(&listing.directory, name, flags, Mode::empty()) else {
        return false;
    };
    let (tag, mut found) = (fs::File::from(tag), [0; CACHE_SIGNATURE.len()]);
    tag.read_exact_at(&mut found, 0).is_ok() && found == CACHE_SIGNATURE
}

/// The directory above an open one, if it is still that of this device and inode.
fn above_again(inner: &OwnedFd, identity: (u64, u64)) -> Option<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let above = rustix::fs::openat(inner, "..", flags, Mode::empty()).ok()?;
    let stat = rustix::fs::fstat(&above).ok()?;
    ((stat.st_dev, stat.st_ino) == identity).then_some(above)
}

/// Whether something that was a directory a moment before is none.
fn is_no_directory(error: &SourceError) -> bool {
    let errno = error.io_error().raw_os_error().map(Errno::from_raw_os_error);
    matches!(errno, Some(Errno::NOTDIR | Errno::LOOP))
}

impl Iterator for Walk<'_> {
    type Item = Result<Found, SourceError>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(error) = self.failed.take() {
            return Some(Err(error));
        }
        loop {
            match self.next_path()?.and_then(|next| self.visit(next)) {
                Ok(None) => {}
                Ok(Some(found)) => return Some(Ok(found)),
                Err(error) => {
                    self.bare = None;
                    return Some(Err(error));
                }
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

/// Where the item stored as `stored` lies if it came from walking `named`, which is stored as `top`.
pub(crate) fn below(named: &Path, top: &[u8], stored: &[u8]) -> Option<PathBuf> {
    let rest = if top.is_empty() {
        stored
    } else {
        match stored.strip_prefix(top)? {
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
    fn patterns_see_paths_as_they_were_named() {
        for (given, stored, pattern) in [
            ("/var", "var/x", "/var/x"),
            ("/", "", "/"),
            ("/", "etc", "/etc"),
            (".", "", "."),
            (".", "x", "x"),
            ("./a//b", "a/b/c", "a/b/c"),
            ("..", "", ".."),
            ("..", "x", "../x"),
            ("../../a", "a", "../../a"),
            ("a/../../b", "b", "../b"),
        ] {
            let exclude = Patterns::new([pattern.as_bytes().to_vec()]);
            let rules = Rules { exclude: Some(&exclude), ..Rules::default() };
            let walk = Walk::new(Path::new(given), rules);
            assert!(walk.is_excluded(stored.as_bytes()), "{given}: {stored} is {pattern}");
        }
    }

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
        let below = |named: &str, stored: &[u8]| {
            let named = Path::new(named);
            below(named, &stored_path(named), stored)
        };
        assert_eq!(below("../a/./b", b"a/b/c"), Some("../a/./b/c".into()));
        assert_eq!(below("../a/b", b"a/b"), Some("../a/b".into()));
        assert_eq!(below("a/b", b"a/bc"), None);
        assert_eq!(below("/", b"a"), Some("/a".into()));
        assert_eq!(absolute_path(Path::new("/x/y"), Path::new("../z")), b"/x/z");
    }
}

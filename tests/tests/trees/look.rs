//! What there is to say of a tree, by a walk that shares no line with the code under test.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::IFlags;

/// Everything that can be said of one path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) kind: char,
    pub(super) mode: u32,
    pub(super) owner: (u32, u32),
    pub(super) mtime: (i64, i64),
    /// Of a file.
    pub(super) size: u64,
    /// Of a device.
    pub(super) device: u64,
    /// Of a symbolic link.
    pub(super) target: PathBuf,
    pub(super) xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    pub(super) flags: u32,
    /// The pages of a file that are not all zero.
    pub(super) content: blake3::Hash,
    /// The first path of the same file.
    pub(super) first: PathBuf,
}

/// The facts of everything below `root`, by relative path.
pub(super) fn look(root: &Path) -> BTreeMap<PathBuf, Facts> {
    let (mut found, mut inodes) = (BTreeMap::new(), BTreeMap::new());
    let mut open = vec![root.to_owned()];
    while let Some(path) = open.pop() {
        let stat = fs::symlink_metadata(&path).unwrap();
        if stat.is_dir() {
            open.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
        let relative = path.strip_prefix(root).unwrap().to_owned();
        let names: &mut Vec<PathBuf> = inodes.entry((stat.dev(), stat.ino())).or_default();
        names.push(relative.clone());
        found.insert(relative, facts(&path, &stat));
    }
    for mut names in inodes.into_values() {
        names.sort();
        for name in &names {
            found.get_mut(name).unwrap().first = names[0].clone();
        }
    }
    found
}

fn facts(path: &Path, stat: &fs::Metadata) -> Facts {
    let file_type = stat.file_type();
    let is_open = stat.is_dir() || stat.is_file();
    let file = is_open.then(|| File::open(path).unwrap());
    Facts {
        kind: match file_type {
            t if t.is_dir() => 'd',
            t if t.is_symlink() => 'l',
            t if t.is_fifo() => 'p',
            t if t.is_block_device() => 'b',
            t if t.is_char_device() => 'c',
            t if t.is_file() => '-',
            _ => '?',
        },
        mode: if stat.is_symlink() { 0 } else { stat.mode() & 0o7777 },
        owner: (stat.uid(), stat.gid()),
        mtime: (stat.mtime(), stat.mtime_nsec()),
        size: if stat.is_file() { stat.len() } else { 0 },
        device: stat.rdev(),
        target: if stat.is_symlink() { fs::read_link(path).unwrap() } else { PathBuf::new() },
        xattrs: xattrs(path),
        flags: file.as_ref().map_or(0, flags),
        content: if stat.is_file() { content(file.as_ref().unwrap()) } else { blake3::hash(b"") },
        first: PathBuf::new(),
    }
}

fn xattrs(path: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut buffer = vec![0; 1 << 16];
    let len = rustix::fs::llistxattr(path, buffer.as_mut_slice()).unwrap();
    let names = buffer[..len].to_vec();
    let names = names.split(|byte| *byte == 0).filter(|name| !name.is_empty());
    let value = |name: &[u8]| {
        let len = rustix::fs::lgetxattr(path, name, buffer.as_mut_slice()).unwrap();
        (name.to_vec(), buffer[..len].to_vec())
    };
    names.map(value).collect()
}

/// Flags that somebody sets.
fn flags(file: &File) -> u32 {
    let shown =
        IFlags::IMMUTABLE | IFlags::APPEND | IFlags::NODUMP | IFlags::NOATIME | IFlags::SYNC;
    rustix::fs::ioctl_getflags(file).unwrap().intersection(shown).bits()
}

fn content(file: &File) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    let mut at = 0;
    let mut page = vec![0; 4096];
    while let Ok(start) = rustix::fs::seek(file, rustix::fs::SeekFrom::Data(at)) {
        let end = rustix::fs::seek(file, rustix::fs::SeekFrom::Hole(start)).unwrap();
        at = start - start % 4096;
        while at < end {
            let len = file.read_at(&mut page, at).unwrap();
            if page[..len].iter().any(|byte| *byte != 0) {
                hasher.update(&at.to_le_bytes()).update(&page[..len]);
            }
            at += 4096;
        }
    }
    hasher.finalize()
}

/// Shows the first difference of two trees.
#[track_caller]
pub(super) fn same(one: &BTreeMap<PathBuf, Facts>, other: &BTreeMap<PathBuf, Facts>) {
    let all = |tree: &BTreeMap<PathBuf, Facts>| tree.keys().cloned().collect::<Vec<_>>();
    assert_eq!(all(one), all(other));
    for (path, facts) in one {
        assert_eq!(facts, &other[path], "{}", path.display());
    }
}

/// What a restore of the tree gives: what is neither a file nor a directory does not run, and gets no set-id bits.
pub(super) fn restored(tree: &BTreeMap<PathBuf, Facts>) -> BTreeMap<PathBuf, Facts> {
    let mut tree = tree.clone();
    for facts in tree.values_mut().filter(|facts| matches!(facts.kind, 'p' | 'b' | 'c')) {
        facts.mode &= 0o1777;
    }
    tree
}

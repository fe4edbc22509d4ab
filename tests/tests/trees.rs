//! Trees of everything that a file system can hold come back as they were, as root and as somebody else.
//!
//! The trees are looked at by a walk of their own, which shares no line with the code under test. Needs root, `setpriv`,
//! ext4 or the like below the directory of the build, and a tmpfs at /dev/shm.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File, Permissions};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use garret_core::{Destination, Input, Patterns, RestoreOptions, Selection, Silent};
use garret_format::config::KeyMode;
use garret_testkit::{Lab, Random};
use rustix::fs::{
    AtFlags, CWD, FileType, IFlags, Mode, Timespec, Timestamps, UTIME_OMIT, XattrFlags,
};

/// A directory on a file system with extended attributes and flags.
fn disk_dir() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

/// Everything that can be said of one path.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Facts {
    kind: char,
    mode: u32,
    owner: (u32, u32),
    mtime: (i64, i64),
    /// Of a file.
    size: u64,
    /// Of a device.
    device: u64,
    /// Of a symbolic link.
    target: PathBuf,
    xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    flags: u32,
    /// The pages of a file that are not all zero.
    content: blake3::Hash,
    /// The first path of the same file.
    first: PathBuf,
}

/// The facts of everything below `root`, by relative path.
fn look(root: &Path) -> BTreeMap<PathBuf, Facts> {
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
fn same(one: &BTreeMap<PathBuf, Facts>, other: &BTreeMap<PathBuf, Facts>) {
    let all = |tree: &BTreeMap<PathBuf, Facts>| tree.keys().cloned().collect::<Vec<_>>();
    assert_eq!(all(one), all(other));
    for (path, facts) in one {
        assert_eq!(facts, &other[path], "{}", path.display());
    }
}

/// What a restore of the tree gives: what is neither a file nor a directory does not run, and gets no set-id bits.
fn restored(tree: &BTreeMap<PathBuf, Facts>) -> BTreeMap<PathBuf, Facts> {
    let mut tree = tree.clone();
    for facts in tree.values_mut().filter(|facts| matches!(facts.kind, 'p' | 'b' | 'c')) {
        facts.mode &= 0o1777;
    }
    tree
}

/// Makes a tree of about `count` entries. Dropped, nothing in it is immutable any more.
struct Tree {
    root: PathBuf,
    random: Random,
    is_root: bool,
    directories: Vec<PathBuf>,
    /// What may get further names.
    files: Vec<PathBuf>,
    flagged: Vec<PathBuf>,
}

impl Tree {
    fn grow(root: &Path, seed: u64, count: usize) -> Self {
        fs::create_dir_all(root).unwrap();
        let mut tree = Tree {
            root: root.to_owned(),
            random: Random::new(seed),
            is_root: rustix::process::geteuid().is_root(),
            directories: vec![root.to_owned()],
            files: Vec::new(),
            flagged: Vec::new(),
        };
        let mut made = Vec::new();
        for number in 0..count {
            made.extend(tree.entry(number));
        }
        tree.huge();
        // Innermost last to be made, first to get times, and flags after all.
        for path in made.iter().rev() {
            tree.metadata(path);
        }
        for path in made.iter().rev() {
            tree.flags(path);
        }
        tree
    }

    fn entry(&mut self, number: usize) -> Option<PathBuf> {
        let parent = self.directories[self.random.below(self.directories.len())].clone();
        let path = parent.join(self.name(number));
        match self.random.below(20) {
            0..4 => {
                fs::create_dir(&path).unwrap();
                self.directories.push(path.clone());
            }
            4..11 => {
                let len = match self.random.below(12) {
                    0..3 => 0,
                    3..9 => self.random.below(5000),
                    9 => 4096,
                    _ => self.random.below(200_000),
                };
                fs::write(&path, self.random.text(len)).unwrap();
                self.files.push(path.clone());
            }
            11 => {
                let file = File::create(&path).unwrap();
                file.set_len(self.random.below(1 << 30) as u64).unwrap();
                let at = self.random.below(1 << 20) as u64;
                file.write_all_at(b"in the middle of nothing", at).unwrap();
                self.files.push(path.clone());
            }
            12..15 => {
                let targets: [&[u8]; 5] =
                    [b"..", b"/etc/shadow", b"no/such", b"\xff\n\x01", &[b'x'; 3000]];
                let target = targets[self.random.below(5)].to_vec();
                symlink(OsString::from_vec(target), &path).unwrap();
                self.files.push(path.clone());
            }
            15..17 => {
                let first = self.files.get(self.random.below(self.files.len().max(1)))?.clone();
                fs::hard_link(first, &path).unwrap();
                return None;
            }
            17 => {
                rustix::fs::mkfifoat(CWD, &path, Mode::RUSR).unwrap();
                self.files.push(path.clone());
            }
            _ if self.is_root => {
                let kind = [FileType::BlockDevice, FileType::CharacterDevice][self.random.below(2)];
                let device = rustix::fs::makedev(
                    self.random.below(4000) as u32,
                    self.random.below(1 << 20) as u32,
                );
                rustix::fs::mknodat(CWD, &path, kind, Mode::RUSR, device).unwrap();
                self.files.push(path.clone());
            }
            _ => return None,
        }
        Some(path)
    }

    fn name(&mut self, number: usize) -> OsString {
        let odd: [&[u8]; 8] =
            [b"-n", b"new\nline", b"\xff\xfe", b" ", b"\xc3\xa9", b"\x1b[31m", b"..x", b"*?[a"];
        let mut name = match self.random.below(4) {
            0 => odd[self.random.below(8)].to_vec(),
            _ => Vec::new(),
        };
        name.extend(number.to_string().bytes());
        if self.random.below(30) == 0 {
            name.resize(255, b'l');
        }
        if self.random.below(30) == 0 {
            name.truncate(200);
            name.extend(b".part");
        }
        OsString::from_vec(name)
    }

    /// A file of a tebibyte with something at both ends.
    fn huge(&mut self) {
        let file = File::create(self.root.join("huge")).unwrap();
        file.write_all_at(b"first", 0).unwrap();
        file.write_all_at(b"last", (1 << 40) - 4).unwrap();
    }

    fn metadata(&mut self, path: &Path) {
        let stat = fs::symlink_metadata(path).unwrap();
        let set = |name: &str, value: &[u8]| {
            rustix::fs::lsetxattr(path, name, value, XattrFlags::empty()).unwrap();
        };
        if self.is_root {
            let ids = [0, 1, 65534, 12_345, 4_000_000_000];
            lchown(path, Some(ids[self.random.below(5)]), Some(ids[self.random.below(5)])).unwrap();
            if self.random.below(20) == 0 {
                set("trusted.test", &self.random.bytes(30));
            }
            if stat.is_file() && self.random.below(20) == 0 {
                let value = [&[1, 0, 0, 2, 0, 4, 0, 0][..], &[0; 12]].concat();
                set("security.capability", &value);
            }
        }
        if (stat.is_file() || stat.is_dir()) && self.random.below(5) == 0 {
            let len = self.random.below(900);
            set("user.one", &self.random.bytes(len));
            set("user.empty", b"");
            set("user.\u{e9}", b"name");
        }
        if (stat.is_file() || stat.is_dir()) && self.random.below(10) == 0 {
            set("system.posix_acl_access", &acl());
            if stat.is_dir() {
                set("system.posix_acl_default", &acl());
            }
        }
        if !stat.is_symlink() {
            // Whoever is not root has to be able to read.
            let least = if self.is_root {
                0
            } else if stat.is_dir() {
                0o500
            } else {
                0o400
            };
            let mode = self.random.below(0o10000) as u32 | least;
            fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        }
        let secs = [0, -1, -1_000_000_000, 1_700_000_000, 13_569_465_600][self.random.below(5)];
        let nanos = [0, 1, 999_999_999][self.random.below(3)];
        set_mtime(path, secs, nanos);
    }

    fn flags(&mut self, path: &Path) {
        let stat = fs::symlink_metadata(path).unwrap();
        if !(stat.is_file() || stat.is_dir()) || self.random.below(10) > 0 {
            return;
        }
        let of_root = [IFlags::IMMUTABLE, IFlags::APPEND, IFlags::IMMUTABLE | IFlags::NODUMP];
        let of_all = [IFlags::NODUMP, IFlags::NOATIME, IFlags::SYNC];
        let flags = match self.is_root {
            true => [of_root, of_all].concat()[self.random.below(6)],
            false => of_all[self.random.below(3)],
        };
        let file = File::open(path).unwrap();
        let now = rustix::fs::ioctl_getflags(&file).unwrap();
        rustix::fs::ioctl_setflags(&file, now | flags).unwrap();
        self.flagged.push(path.to_owned());
    }
}

/// Read and write for user 1, under a mask.
fn acl() -> Vec<u8> {
    let mut acl = 2u32.to_le_bytes().to_vec();
    let nobody = u32::MAX;
    for (tag, permissions, id) in
        [(1u16, 7u16, nobody), (2, 6, 1), (4, 5, nobody), (0x10, 7, nobody), (0x20, 1, nobody)]
    {
        acl.extend(tag.to_le_bytes());
        acl.extend(permissions.to_le_bytes());
        acl.extend(id.to_le_bytes());
    }
    acl
}

fn set_mtime(path: &Path, secs: i64, nanos: i64) {
    let times = Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: secs, tv_nsec: nanos },
    };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

/// A tree in which nothing is immutable when this is dropped, so that it can be removed.
struct Softened(PathBuf);

impl Drop for Softened {
    fn drop(&mut self) {
        let mut open = vec![self.0.clone()];
        while let Some(path) = open.pop() {
            let Ok(stat) = fs::symlink_metadata(&path) else { continue };
            if !(stat.is_file() || stat.is_dir()) {
                continue;
            }
            let _unset = fs::set_permissions(&path, Permissions::from_mode(0o700));
            if let Ok(file) = File::open(&path)
                && let Ok(now) = rustix::fs::ioctl_getflags(&file)
            {
                let stiff = IFlags::IMMUTABLE | IFlags::APPEND;
                let _unset = rustix::fs::ioctl_setflags(&file, now - stiff);
                let _unset = fs::set_permissions(&path, Permissions::from_mode(0o700));
            }
            if stat.is_dir()
                && let Ok(entries) = fs::read_dir(&path)
            {
                open.extend(entries.flatten().map(|entry| entry.path()));
            }
        }
    }
}

fn lab(dir: &Path) -> Lab {
    let mut lab = Lab::local(&dir.join("repo"), KeyMode::None);
    lab.threads = 2;
    lab.cache = Some(dir.join("cache"));
    lab
}

fn with_owners(lab: &Lab) -> RestoreOptions {
    let owners = rustix::process::geteuid().is_root();
    RestoreOptions { owners, ..lab.restore_options() }
}

/// Where an archive puts what is at `path`.
fn below(target: &Path, path: &Path) -> PathBuf {
    target.join(path.strip_prefix("/").unwrap())
}

fn round_trip(dir: &Path, seed: u64, count: usize) {
    let source = dir.join("source");
    let _softened = [Softened(source.clone()), Softened(dir.join("target"))];
    let tree = Tree::grow(&source, seed, count);
    let before = look(&tree.root);
    let kinds: std::collections::BTreeSet<char> = before.values().map(|facts| facts.kind).collect();
    assert!(kinds.len() == if tree.is_root { 6 } else { 4 }, "{kinds:?}");
    assert!(before.iter().any(|(path, facts)| *path != facts.first), "hard links");
    assert!(!tree.flagged.is_empty());
    let lab = lab(dir);
    lab.backup_path("one", &source).unwrap();
    let target = dir.join("target");
    let done = lab.restore_to("one", &target, &with_owners(&lab)).unwrap();
    assert_eq!(done.problems, [""; 0]);
    same(&restored(&before), &look(&below(&target, &source)));
    same(&before, &look(&tree.root));
    lab.check();
}

#[test]
fn a_nasty_tree_comes_back_as_it_was() {
    let dir = disk_dir();
    round_trip(dir.path(), 1, 10_000);
}

#[test]
fn small_nasty_trees_come_back_too() {
    for seed in 10..20 {
        let dir = disk_dir();
        round_trip(dir.path(), seed, 150);
    }
}

/// Root runs this test once more as nobody.
#[test]
fn whoever_is_not_root_gets_all_that_he_may_have() {
    if rustix::process::geteuid().is_root() {
        again_as_nobody("whoever_is_not_root_gets_all_that_he_may_have");
        return;
    }
    round_trip(Path::new(&std::env::var_os("TREES_DIR").unwrap()), 2, 600);
}

/// Runs one test of this program as nobody, with a directory that is his.
fn again_as_nobody(name: &str) {
    let own = tempfile::tempdir().unwrap();
    fs::set_permissions(own.path(), Permissions::from_mode(0o755)).unwrap();
    let program = own.path().join("test");
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    let place = own.path().join("place");
    fs::create_dir(&place).unwrap();
    lchown(&place, Some(65534), Some(65534)).unwrap();
    let output = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(&program)
        .args([name, "--exact"])
        .env("TREES_DIR", &place)
        .current_dir("/")
        .output()
        .expect("this test needs setpriv");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

#[test]
fn times_beyond_64_bits_of_nanoseconds_come_back() {
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    let source = dir.path().join("source");
    fs::create_dir(&source).unwrap();
    // 2600-01-01 and 1500-01-01: further from 1970 than nanoseconds in 64 bits reach.
    for (name, secs) in [("future", 19_880_899_200), ("past", -14_831_769_600)] {
        fs::write(source.join(name), name).unwrap();
        symlink(name, source.join(format!("link to {name}"))).unwrap();
        set_mtime(&source.join(name), secs, 123_456_789);
        set_mtime(&source.join(format!("link to {name}")), secs, 987_654_321);
    }
    set_mtime(&source, 19_880_899_200, 1);
    let times = |root: &Path| -> Vec<(PathBuf, (i64, i64))> {
        let paths = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path());
        let mut found: Vec<_> = paths
            .chain([root.to_owned()])
            .map(|path| {
                let stat = fs::symlink_metadata(&path).unwrap();
                let name = path.strip_prefix(root).unwrap().to_owned();
                (name, (stat.mtime(), stat.mtime_nsec()))
            })
            .collect();
        found.sort();
        found
    };
    let before = times(&source);
    assert!(
        before.iter().any(|(_, (secs, _))| *secs == 19_880_899_200),
        "this tmpfs has such times"
    );
    let (lab, _) = Lab::memory(KeyMode::None);
    lab.backup_path("one", &source).unwrap();
    let target = dir.path().join("target");
    lab.restore_to("one", &target, &with_owners(&lab)).unwrap();
    assert_eq!(times(&below(&target, &source)), before);
}

/// What the user is told though nothing is wrong.
#[derive(Default)]
struct Notes(std::sync::Mutex<Vec<String>>);

impl garret_core::Progress for Notes {
    fn notice(&self, text: &str) {
        self.0.lock().unwrap().push(text.to_owned());
    }
}

#[test]
fn an_untouched_tree_is_not_read_and_its_attributes_are_still_there() {
    let dir = disk_dir();
    let source = dir.path().join("source");
    let _softened = [Softened(source.clone()), Softened(dir.path().join("target"))];
    let tree = Tree::grow(&source, 3, 400);
    // An image that names another file in its header.
    let mut image = vec![0; 1 << 17];
    image[..24].copy_from_slice(b"QFI\xfb\0\0\0\x03\0\0\0\0\0\0\x02\0\0\0\0\x04\0\0\0\x10");
    image[0x200..0x204].copy_from_slice(b"base");
    fs::write(source.join("over.qcow2"), image).unwrap();
    let before = look(&tree.root);
    let lab = lab(dir.path());
    let all = lab.backup_path("one", &source).unwrap().archive.archive;
    // A change within the same tick of the clock as the backup would not show: see `Previous`.
    std::thread::sleep(std::time::Duration::from_secs(4));
    lab.backup_path("two", &source).unwrap();
    let report = lab.backup_path("three", &source).unwrap();
    assert_eq!(report.untouched_bytes, report.archive.archive.original_len);
    assert_eq!(report.archive.archive.original_len, all.original_len);
    assert_eq!(report.archive.archive.file_count, all.file_count);
    assert_eq!(report.written.chunk_count, 0);
    let heard = Notes::default();
    let mut repository = lab.writer().unwrap();
    let inputs = vec![Input::Path(source.clone())];
    let report = repository.backup("four", inputs, &lab.options(), &heard).unwrap();
    assert_eq!(report.untouched_bytes, report.archive.archive.original_len);
    let heard = heard.0.into_inner().unwrap();
    assert!(
        heard.len() == 1 && heard[0].contains("over.qcow2: its backing file base is not"),
        "{heard:?}"
    );
    let target = dir.path().join("target");
    lab.restore_to("three", &target, &with_owners(&lab)).unwrap();
    same(&restored(&before), &look(&below(&target, &source)));
}

/// Backs up `inputs` as `change` says; the items by path, and the problems.
fn items(
    lab: &Lab,
    name: &str,
    inputs: &[&Path],
    change: impl FnOnce(&mut garret_core::BackupOptions),
) -> Vec<String> {
    let mut options = lab.options();
    change(&mut options);
    let mut repository = lab.writer().unwrap();
    let inputs = inputs.iter().map(|path| Input::Path(path.to_path_buf())).collect();
    repository.backup(name, inputs, &options, &Silent).unwrap();
    let archive = repository.archive(name).unwrap();
    let items = repository.items(&archive).map(Result::unwrap);
    items.map(|item| String::from_utf8_lossy(&item.path).into_owned()).collect()
}

fn restore(lab: &Lab, name: &str, paths: &[&Path], target: &Path, options: &RestoreOptions) -> u64 {
    let repository = lab.reader().unwrap();
    let archive = repository.archive(name).unwrap();
    let paths = paths.iter().map(|path| path.as_os_str().as_bytes().to_vec());
    let mut selection = Selection::new(paths);
    let target = Destination::Directory(target.to_owned());
    let report = repository.restore(&archive, &mut selection, target, options, &Silent).unwrap();
    report.problem_count
}

#[test]
fn a_later_name_alone_gets_the_content_and_further_names_link_to_it() {
    let dir = disk_dir();
    let source = dir.path().join("source");
    fs::create_dir_all(&source).unwrap();
    let at = |name: &str| source.join(name);
    fs::write(at("a"), b"content").unwrap();
    set_mtime(&at("a"), 1_000_000_000, 5);
    rustix::fs::lsetxattr(at("a"), "user.x", b"y", XattrFlags::empty()).unwrap();
    fs::hard_link(at("a"), at("b")).unwrap();
    fs::hard_link(at("a"), at("c")).unwrap();
    rustix::fs::mkfifoat(CWD, at("p"), Mode::RUSR).unwrap();
    fs::hard_link(at("p"), at("q")).unwrap();
    let before = look(&source);
    let (lab, _) = Lab::memory(KeyMode::None);
    let report = lab.backup_path("x", &source).unwrap();
    assert_eq!((report.archive.archive.file_count, report.archive.archive.original_len), (1, 7));
    let target = dir.path().join("target");
    let wanted = [at("b"), at("c"), at("q")];
    let wanted: Vec<&Path> = wanted.iter().map(PathBuf::as_path).collect();
    assert_eq!(restore(&lab, "x", &wanted, &target, &with_owners(&lab)), 0);
    let after = look(&below(&target, &source));
    for name in ["b", "c", "q"] {
        let (was, is) = (&before[Path::new(name)], &after[Path::new(name)]);
        assert_eq!(
            (was.kind, was.mtime, was.content, &was.xattrs),
            (is.kind, is.mtime, is.content, &is.xattrs)
        );
    }
    assert_eq!(after[Path::new("c")].first, Path::new("b"));
    assert!(!after.contains_key(Path::new("a")));
    // Over what is there: the same again, and a name that was a file of its own becomes a link.
    fs::remove_file(below(&target, &at("c"))).unwrap();
    fs::write(below(&target, &at("c")), b"something else").unwrap();
    assert_eq!(restore(&lab, "x", &[], &target, &with_owners(&lab)), 0);
    assert_eq!(restore(&lab, "x", &[], &target, &with_owners(&lab)), 0);
    let after = look(&below(&target, &source));
    assert_eq!(after[Path::new("c")].first, Path::new("a"));
    same(&before, &after);
}

#[test]
fn a_dry_run_and_a_pipe_give_the_content_of_a_later_name() {
    let dir = disk_dir();
    let source = dir.path().join("source");
    fs::create_dir_all(&source).unwrap();
    fs::write(source.join("a"), b"content").unwrap();
    fs::hard_link(source.join("a"), source.join("b")).unwrap();
    let (lab, _) = Lab::memory(KeyMode::None);
    lab.backup_path("x", &source).unwrap();
    let repository = lab.reader().unwrap();
    let archive = repository.archive("x").unwrap();
    let wanted = source.join("b").into_os_string().into_vec();
    let run = |destination: Destination<'_>| {
        let mut selection = Selection::new([wanted.clone()]);
        let options = lab.restore_options();
        repository.restore(&archive, &mut selection, destination, &options, &Silent).unwrap()
    };
    let mut bytes = Vec::new();
    let to_pipe = run(Destination::Stream(&mut bytes));
    let dry = run(Destination::Nowhere);
    assert_eq!((to_pipe.file_count, bytes.as_slice()), (1, &b"content"[..]));
    assert_eq!((dry.file_count, dry.bytes), (1, 7));
    assert_eq!(lab.restore_bytes("x").unwrap(), b"content", "once, not for each name");
}

#[test]
fn a_link_is_not_made_to_what_this_restore_did_not_make() {
    let dir = disk_dir();
    let source = dir.path().join("source");
    fs::create_dir_all(&source).unwrap();
    fs::write(source.join("a"), b"content").unwrap();
    fs::hard_link(source.join("a"), source.join("b")).unwrap();
    let (lab, _) = Lab::memory(KeyMode::None);
    lab.backup_path("x", &source).unwrap();
    let target = dir.path().join("target");
    // In the place of the first name is something that cannot be replaced.
    fs::create_dir_all(below(&target, &source).join("a/full")).unwrap();
    assert_eq!(restore(&lab, "x", &[], &target, &lab.restore_options()), 2);
    assert!(!below(&target, &source).join("b").exists());
}

#[test]
fn names_that_look_like_temporary_ones_do_not_stand_in_each_others_way() {
    let dir = disk_dir();
    let source = dir.path().join("source");
    fs::create_dir_all(&source).unwrap();
    for name in ["f", "f.part", "f.part.1", "f.part.2", "f.part.part"] {
        fs::write(source.join(name), name).unwrap();
    }
    symlink("f", source.join("f.part.3")).unwrap();
    fs::write(source.join("g"), b"g").unwrap();
    symlink("f", source.join("g.part")).unwrap();
    let before = look(&source);
    let (lab, _) = Lab::memory(KeyMode::None);
    lab.backup_path("x", &source).unwrap();
    let target = dir.path().join("target");
    for _ in 0..2 {
        assert_eq!(restore(&lab, "x", &[], &target, &with_owners(&lab)), 0);
        same(&before, &look(&below(&target, &source)));
    }
}

#[test]
fn what_is_in_the_way_is_replaced_unless_it_is_a_directory_with_something_in_it() {
    let dir = disk_dir();
    let source = dir.path().join("source");
    fs::create_dir_all(&source).unwrap();
    for name in ["a", "b", "c", "d", "e"] {
        fs::write(source.join(name), name).unwrap();
    }
    let (lab, _) = Lab::memory(KeyMode::None);
    lab.backup_path("x", &source).unwrap();
    let target = dir.path().join("target");
    let at = |name: &str| below(&target, &source).join(name);
    fs::create_dir_all(at("a")).unwrap();
    fs::create_dir_all(at("b/full")).unwrap();
    symlink("/etc/passwd", at("c")).unwrap();
    rustix::fs::mkfifoat(CWD, at("d"), Mode::RUSR).unwrap();
    fs::write(at("e"), b"older and longer").unwrap();
    assert_eq!(restore(&lab, "x", &[], &target, &lab.restore_options()), 1);
    for name in ["a", "c", "d", "e"] {
        assert!(fs::symlink_metadata(at(name)).unwrap().is_file(), "{name}");
        assert_eq!(fs::read(at(name)).unwrap(), name.as_bytes());
    }
    assert!(at("b/full").is_dir());
}

#[test]
fn an_unreadable_directory_is_stored_and_reported() {
    if rustix::process::geteuid().is_root() {
        again_as_nobody("an_unreadable_directory_is_stored_and_reported");
        return;
    }
    let place = PathBuf::from(std::env::var_os("TREES_DIR").unwrap());
    let source = place.join("source");
    fs::create_dir_all(source.join("closed")).unwrap();
    fs::write(source.join("open"), b"x").unwrap();
    fs::set_permissions(source.join("closed"), Permissions::from_mode(0o000)).unwrap();
    let (lab, _) = Lab::memory(KeyMode::None);
    let (_, problems) = lab.backup_inputs("x", vec![Input::Path(source.clone())]).unwrap();
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(problems[0].contains("closed"), "{problems:?}");
    let listed = items(&lab, "y", &[&source], |_| {});
    assert!(listed.iter().any(|path| path.ends_with("/closed")), "{listed:?}");
    assert!(listed.last().unwrap().ends_with("/open"), "{listed:?}");
}

#[test]
fn mount_points_caches_and_patterns_are_passed_over_when_asked() {
    let dir = disk_dir();
    let source = dir.path().join("s");
    fs::create_dir_all(source.join("mnt")).unwrap();
    fs::create_dir_all(source.join("cache")).unwrap();
    fs::create_dir_all(source.join("nocache")).unwrap();
    fs::write(source.join("cache/data"), b"x").unwrap();
    fs::write(source.join("cache/CACHEDIR.TAG"), b"Signature: 8a477f597d28d172789f06886806bc55\n")
        .unwrap();
    rustix::fs::mkfifoat(CWD, source.join("nocache/CACHEDIR.TAG"), Mode::RUSR).unwrap();
    let mount = Mount::tmpfs(&source.join("mnt"));
    fs::write(source.join("mnt/inside"), b"x").unwrap();
    let (lab, _) = Lab::memory(KeyMode::None);
    let prefix = source.to_str().unwrap()[1..].to_owned();
    let short = |listed: Vec<String>| -> String {
        let strip = |path: &String| path[prefix.len()..].trim_start_matches('/').to_owned();
        listed.iter().map(strip).collect::<Vec<_>>().join(" ")
    };
    let all = "cache cache/CACHEDIR.TAG cache/data mnt mnt/inside nocache nocache/CACHEDIR.TAG";
    assert_eq!(short(items(&lab, "all", &[&source], |_| {})), format!(" {all}"));
    let listed = items(&lab, "one", &[&source], |options| options.one_file_system = true);
    assert_eq!(short(listed), " cache cache/CACHEDIR.TAG cache/data nocache nocache/CACHEDIR.TAG");
    let listed = items(&lab, "no caches", &[&source], |options| options.exclude_caches = true);
    assert_eq!(short(listed), " mnt mnt/inside nocache nocache/CACHEDIR.TAG");
    let patterns = [format!("/{prefix}/mnt/"), "*/cache/d?ta".to_owned(), "*.TAG".to_owned()];
    let exclude = Patterns::new(patterns.map(String::into_bytes));
    let listed = items(&lab, "patterns", &[&source], |options| options.exclude = exclude);
    assert_eq!(short(listed), " cache mnt nocache");
    drop(mount);
}

/// A file system that is unmounted in the end.
struct Mount(PathBuf);

impl Mount {
    fn tmpfs(path: &Path) -> Self {
        let status =
            Command::new("mount").args(["-t", "tmpfs", "none"]).arg(path).status().unwrap();
        assert!(status.success(), "this test needs root and mount");
        Mount(path.to_owned())
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let status = Command::new("umount").arg(&self.0).status().unwrap();
        assert!(status.success() || std::thread::panicking());
    }
}

#[test]
fn what_comes_out_of_a_pipe_is_stored_when_asked() {
    let dir = disk_dir();
    let pipe = dir.path().join("pipe");
    rustix::fs::mkfifoat(CWD, &pipe, Mode::RUSR | Mode::WUSR).unwrap();
    let (lab, _) = Lab::memory(KeyMode::None);
    assert_eq!(items(&lab, "node", &[&pipe], |_| {}).len(), 1);
    assert_eq!(lab.restore_bytes("node").unwrap(), b"");
    let to = pipe.clone();
    let writer = std::thread::spawn(move || fs::OpenOptions::new().write(true).open(to));
    let feeder = std::thread::spawn(move || {
        let mut file = writer.join().unwrap().unwrap();
        std::io::Write::write_all(&mut file, b"from the pipe").unwrap();
    });
    items(&lab, "content", &[&pipe], |options| options.read_special = true);
    feeder.join().unwrap();
    assert_eq!(lab.restore_bytes("content").unwrap(), b"from the pipe");
}

#[test]
fn owners_go_by_name_and_by_number_if_the_name_is_unknown() {
    let dir = disk_dir();
    let source = dir.path().join("source");
    fs::create_dir_all(&source).unwrap();
    fs::write(source.join("known"), b"").unwrap();
    fs::write(source.join("unknown"), b"").unwrap();
    lchown(source.join("known"), Some(1001), Some(2001)).unwrap();
    lchown(source.join("unknown"), Some(1002), Some(2002)).unwrap();
    let (lab, _) = Lab::memory(KeyMode::None);
    let name = |id: u32, name: &str| std::collections::HashMap::from([(id, name.to_owned())]);
    items(&lab, "x", &[&source], |options| {
        options.users = name(1001, "ann");
        options.groups = name(2001, "staff");
    });
    let number = |name: &str, id: u32| std::collections::HashMap::from([(name.to_owned(), id)]);
    let options = RestoreOptions {
        users: number("ann", 3001),
        groups: number("staff", 4001),
        ..with_owners(&lab)
    };
    let target = dir.path().join("target");
    restore(&lab, "x", &[], &target, &options);
    let owner = |name: &str| look(&below(&target, &source))[Path::new(name)].owner;
    assert_eq!((owner("known"), owner("unknown")), ((3001, 4001), (1002, 2002)));
    restore(&lab, "x", &[], &target, &with_owners(&lab));
    assert_eq!((owner("known"), owner("unknown")), ((1001, 2001), (1002, 2002)));
}

#[test]
fn a_file_of_two_names_that_cannot_be_read_leaves_no_link_to_nothing() {
    if rustix::process::geteuid().is_root() {
        again_as_nobody("a_file_of_two_names_that_cannot_be_read_leaves_no_link_to_nothing");
        return;
    }
    let place = PathBuf::from(std::env::var_os("TREES_DIR").unwrap());
    let source = place.join("source");
    fs::create_dir_all(&source).unwrap();
    fs::write(source.join("a"), b"secret").unwrap();
    fs::hard_link(source.join("a"), source.join("b")).unwrap();
    fs::write(source.join("c"), b"fine").unwrap();
    fs::set_permissions(source.join("a"), Permissions::from_mode(0o000)).unwrap();
    let (lab, _) = Lab::memory(KeyMode::None);
    let (report, problems) = lab.backup_inputs("x", vec![Input::Path(source.clone())]).unwrap();
    assert_eq!((problems.len(), report.archive.archive.file_count), (2, 1), "{problems:?}");
    let restored = lab.restore_to("x", &place.join("target"), &lab.restore_options()).unwrap();
    assert_eq!(restored.problems, [""; 0]);
}

#[test]
fn a_disk_of_two_names_comes_back_as_one_disk_of_two_names() {
    let dir = disk_dir();
    let source = dir.path().join("source");
    fs::create_dir_all(&source).unwrap();
    fs::write(source.join("a.raw"), vec![7; 100_000]).unwrap();
    fs::hard_link(source.join("a.raw"), source.join("b.raw")).unwrap();
    let (lab, _) = Lab::memory(KeyMode::None);
    lab.backup_path("x", &source).unwrap();
    let target = dir.path().join("target");
    let options = RestoreOptions { form: garret_core::Form::Raw, ..with_owners(&lab) };
    assert_eq!(restore(&lab, "x", &[], &target, &options), 0);
    same(&look(&source), &look(&below(&target, &source)));
}

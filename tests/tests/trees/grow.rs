//! Trees of everything that a file system can hold, from a seed.

use std::ffi::OsString;
use std::fs::{self, File, Permissions};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{FileExt, PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};

use garret_testkit::Random;
use rustix::fs::{
    AtFlags, CWD, FileType, IFlags, Mode, Timespec, Timestamps, UTIME_OMIT, XattrFlags,
};

/// Makes a tree of about `count` entries. Dropped, nothing in it is immutable any more.
pub(super) struct Tree {
    pub(super) root: PathBuf,
    random: Random,
    pub(super) is_root: bool,
    directories: Vec<PathBuf>,
    /// What may get further names.
    files: Vec<PathBuf>,
    pub(super) flagged: Vec<PathBuf>,
}

impl Tree {
    pub(super) fn grow(root: &Path, seed: u64, count: usize) -> Self {
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
pub(super) fn acl() -> Vec<u8> {
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

pub(super) fn set_mtime(path: &Path, secs: i64, nanos: i64) {
    let times = Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: secs, tv_nsec: nanos },
    };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

/// A tree in which nothing is immutable when this is dropped, so that it can be removed.
pub(super) struct Softened(pub(super) PathBuf);

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

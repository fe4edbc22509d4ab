//! Archives as directories, by FUSE.
//!
//! Needs root, /dev/fuse, `mount`, `umount`, `losetup`, `mkfs.ext4` and `qemu-img`.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use garret_testkit::data_map;
use rustix::process::{Pid, Signal, kill_process};

use super::{CLOSING, Dir, MIB, Ran, noise, packs, tool};

/// A mounted directory, which is unmounted in the end.
struct Mount(PathBuf);

impl Drop for Mount {
    fn drop(&mut self) {
        let _gone = std::process::Command::new("umount").arg("-l").arg(&self.0).output();
    }
}

/// What a path is, in words that are the same for the same.
fn describe(path: &Path) -> String {
    let found = path.symlink_metadata().unwrap();
    let kind = found.file_type();
    let mut words = format!("{:o} {} {}", found.mode(), found.uid(), found.gid());
    words += &format!(" {}.{:09}", found.mtime(), found.mtime_nsec());
    if kind.is_symlink() {
        words += &format!(" -> {}", fs::read_link(path).unwrap().display());
    } else if kind.is_file() {
        let bytes = fs::read(path).unwrap();
        words +=
            &format!(" {} bytes {} names {}", found.len(), found.nlink(), blake3::hash(&bytes));
    } else if kind.is_block_device() || kind.is_char_device() {
        words += &format!(" {}", found.rdev());
    }
    let mut names = vec![0; 4096];
    let len = rustix::fs::llistxattr(path, &mut names).unwrap();
    for name in names[..len].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let mut value = vec![0; 4096];
        let len = rustix::fs::lgetxattr(path, name, &mut value).unwrap();
        words += &format!(" {}={:?}", String::from_utf8_lossy(name), &value[..len]);
    }
    words
}

/// All paths below a directory.
fn walk(root: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    let mut open = vec![root.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            found.insert(path.strip_prefix(root).unwrap().to_owned(), describe(&path));
            if path.symlink_metadata().unwrap().is_dir() {
                open.push(path);
            }
        }
    }
    found
}

impl Dir {
    /// Mounts at `mnt`, in the background.
    fn mount(&self, location: &str) -> Mount {
        fs::create_dir_all(self.path("mnt")).unwrap();
        let mount = Mount(self.path("mnt"));
        self.run(&["mount", location, "mnt"]).silent();
        mount
    }

    /// The same in the foreground; it has said nothing when it is there.
    fn mount_here(&self, location: &str) -> (Child, Mount) {
        fs::create_dir_all(self.path("mnt")).unwrap();
        let mount = Mount(self.path("mnt"));
        let mut child = self.command(&["mount", "--foreground", location, "mnt"]).spawn().unwrap();
        let is_there = |line: &str| line.contains(self.path("mnt").to_str().unwrap());
        while !fs::read_to_string("/proc/mounts").unwrap().lines().any(is_there) {
            assert_eq!(child.try_wait().unwrap(), None, "it ended, and nothing is mounted");
            std::thread::yield_now();
        }
        (child, mount)
    }

    /// A tree of everything that a file system can hold.
    fn nasty_tree(&self) {
        self.image("tree/disk.raw", 7);
        let disk = self.path("tree/disk.raw");
        let disk = disk.to_str().unwrap();
        tool("qemu-img", &["convert", "-O", "qcow2", disk, &disk.replace(".raw", ".qcow2")]);
        self.write("tree/deep/er/f", b"content");
        self.write("tree/with\nline \u{263a}", b"");
        self.write("tree/taken.qcow2.raw", b"has that name already");
        fs::copy(self.path("tree/disk.qcow2"), self.path("tree/taken.qcow2")).unwrap();
        let at = |name: &str| self.path("tree").join(name);
        fs::hard_link(at("deep/er/f"), at("a name of f")).unwrap();
        fs::hard_link(at("deep/er/f"), at("deep/z")).unwrap();
        symlink("nowhere/at all", at("link")).unwrap();
        fs::create_dir(at("empty")).unwrap();
        let (file, pipe) = (at("deep/er/f"), at("pipe"));
        fs::set_permissions(&file, fs::Permissions::from_mode(0o4751)).unwrap();
        std::os::unix::fs::chown(&file, Some(4711), Some(815)).unwrap();
        tool("mkfifo", &[pipe.to_str().unwrap()]);
        tool("mknod", &[at("null").to_str().unwrap(), "c", "1", "3"]);
        tool("mknod", &[at("far").to_str().unwrap(), "b", "259", "70000"]);
        tool("touch", &["-d", "1961-02-03 04:05:06.789", at("empty").to_str().unwrap()]);
        let flags = rustix::fs::XattrFlags::empty();
        rustix::fs::setxattr(&file, "user.note", b"\0\xff", flags).unwrap();
        // user::rw-, user:1234:r--, group::r--, mask::r--, other::r--
        let entry = |tag: u16, perm: u16, id: u32| {
            [&tag.to_le_bytes()[..], &perm.to_le_bytes(), &id.to_le_bytes()].concat()
        };
        let none = u32::MAX;
        let entries = [
            entry(1, 6, none),
            entry(2, 4, 1234),
            entry(4, 4, none),
            entry(16, 4, none),
            entry(32, 4, none),
        ];
        let acl = [&2u32.to_le_bytes()[..], &entries.concat()].concat();
        rustix::fs::setxattr(at("disk.raw"), "system.posix_acl_access", &acl, flags).unwrap();
    }
}

#[test]
fn a_mounted_archive_is_what_an_extract_of_it_is_and_has_the_disks_of_its_images() {
    let dir = Dir::with_repository();
    dir.nasty_tree();
    dir.run(&["create", "repo::a", "tree"]).silent();
    dir.run(&["extract", "-C", "out", "repo::a"]).silent();
    let _mount = dir.mount("repo::a");
    let (mut mounted, out) = (walk(&dir.path("mnt")), walk(&dir.path("out")));
    mounted.remove(Path::new("tree/disk.qcow2.raw")).unwrap();
    for name in ["disk.raw", "disk.qcow2.raw"] {
        let found = dir.path("mnt/tree").join(name).metadata().unwrap();
        assert!(found.blocks() * 512 < found.len(), "{name}: {} blocks", found.blocks());
    }
    for (path, described) in &out {
        assert_eq!(mounted.get(path), Some(described), "{}", path.display());
    }
    assert_eq!(mounted.len(), out.len());
    let disk = dir.read("tree/disk.raw");
    assert!(dir.read("mnt/tree/disk.qcow2.raw") == disk);
    assert!(dir.read("mnt/tree/disk.raw") == disk);
    // Holes are where extract makes them.
    let holes = data_map(&dir.path("mnt/tree/disk.raw"));
    assert_eq!(holes, data_map(&dir.path("out/tree/disk.raw")));
    let inode = |name: &str| dir.path("mnt/tree").join(name).metadata().unwrap().ino();
    assert!(inode("deep/er/f") == inode("a name of f") && inode("deep/z") == inode("a name of f"));
    let denied = File::create(dir.path("mnt/tree/new")).unwrap_err();
    assert_eq!(denied.raw_os_error(), Some(30), "read-only");
    // Eight at once, each at its own places.
    std::thread::scope(|scope| {
        for reader in 0..8 {
            let (dir, disk) = (&dir, &disk);
            scope.spawn(move || {
                let file = File::open(dir.path("mnt/tree/disk.qcow2.raw")).unwrap();
                let mut random = garret_random::Random::new(reader);
                for _ in 0..200 {
                    let at = random.below(disk.len() - 9000);
                    let mut buffer = vec![0; 1 + random.below(9000)];
                    file.read_exact_at(&mut buffer, at as u64).unwrap();
                    assert!(buffer == disk[at..at + buffer.len()]);
                }
            });
        }
    });
}

#[test]
fn a_mounted_repository_has_a_directory_for_each_archive_and_the_versions_of_each_path() {
    let dir = Dir::with_repository();
    dir.write("vm/notes", b"one");
    dir.run(&["create", "repo::night-1", "vm"]).silent();
    dir.write("vm/notes", b"two");
    dir.run(&["create", "repo::host/night-2", "vm"]).silent();
    dir.write("other/notes", b"three");
    dir.run(&["create", "repo::night-3", "vm/notes", "other"]).silent();
    let mount = dir.mount("repo");
    let names = |path: &str| {
        let entries = fs::read_dir(dir.path("mnt").join(path)).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    };
    assert_eq!(names(""), ["by-path", "host", "night-1", "night-3"]);
    assert_eq!(names("host"), ["night-2"]);
    assert_eq!(names("by-path"), ["other", "vm"]);
    assert_eq!(names("by-path/vm/notes"), ["host:night-2", "night-1", "night-3"]);
    for (path, content) in [
        ("night-1/vm/notes", "one"),
        ("host/night-2/vm/notes", "two"),
        ("by-path/vm/notes/night-1", "one"),
        ("by-path/vm/notes/host:night-2", "two"),
        ("by-path/other/notes/night-3", "three"),
    ] {
        assert_eq!(fs::read_to_string(dir.path("mnt").join(path)).unwrap(), content, "{path}");
    }
    drop(mount);
    assert_eq!(names(""), [""; 0]);
}

#[test]
fn a_disk_in_a_mounted_archive_is_mounted_in_turn_and_stays_when_its_archive_is_deleted() {
    let dir = Dir::with_repository();
    let bytes = noise(6 * MIB, 3);
    dir.write("root/data", &bytes);
    let disk = dir.write("disk.raw", b"");
    File::options().write(true).open(&disk).unwrap().set_len(16 << 20).unwrap();
    tool("mkfs.ext4", &["-q", "-d", dir.path("root").to_str().unwrap(), disk.to_str().unwrap()]);
    dir.run(&["create", "repo::a", "disk.raw"]).silent();
    let _mount = dir.mount("repo::a");
    fs::create_dir(dir.path("inner")).unwrap();
    let (inner, image) = (dir.path("inner"), dir.path("mnt/disk.raw"));
    let [inner, image] = [&inner, &image].map(|path| path.to_str().unwrap());
    tool("mount", &["-o", "ro,noload,loop", image, inner]);
    let inside = Mount(inner.into());
    dir.run(&["delete", "repo::a"]).silent();
    dir.run(&["create", "repo::b", "root/data"]).silent();
    dir.run(&["prune", "-d", "1", "repo"]).succeeds();
    dir.run(&["check", "--verify-data", "repo"]).succeeds();
    assert!(dir.read("inner/data") == bytes);
    drop(inside);
    assert!(dir.read("mnt/disk.raw") == dir.read("disk.raw"));
}

#[test]
fn damage_is_an_error_of_what_is_damaged_and_is_told_of() {
    let dir = Dir::with_repository();
    let bytes = noise(9 * MIB, 9);
    dir.write("vm.img", &bytes);
    dir.run(&["create", "repo::a", "vm.img"]).silent();
    let pack = packs(&dir.path("repo")).pop().unwrap();
    let file = File::options().write(true).open(&pack).unwrap();
    file.write_all_at(&[9; 64], 4_000_000).unwrap();
    let (mut child, _mount) = dir.mount_here("repo::a");
    let file = File::open(dir.path("mnt/vm.img")).unwrap();
    let mut bad = 0;
    for at in (0..bytes.len()).step_by(4096) {
        let mut buffer = [0; 4096];
        match file.read_exact_at(&mut buffer, at as u64) {
            Ok(()) => assert!(buffer == bytes[at..at + 4096]),
            Err(error) => {
                assert_eq!(error.raw_os_error(), Some(5));
                bad += 1;
            }
        }
    }
    assert!((1..=2 * MIB / 4096).contains(&bad), "{bad}");
    // With a file open there it is free at once all the same.
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let mut stderr = String::new();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(1));
    assert!(stderr.contains("vm.img: ") && stderr.contains("packs/"), "{stderr}");
    assert!(stderr.trim_end().ends_with(CLOSING), "{stderr}");
    assert!(!dir.path("mnt/vm.img").exists());
}

#[test]
fn a_mount_that_was_killed_is_unmounted_and_mounted_anew() {
    let dir = Dir::with_repository();
    dir.write("f", b"content");
    dir.run(&["create", "repo::a", "f"]).silent();
    let (mut child, mount) = dir.mount_here("repo::a");
    let open = File::open(dir.path("mnt/f")).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(fs::read_dir(dir.path("mnt")).unwrap_err().raw_os_error(), Some(107));
    drop(open);
    // It is busy as long as the program itself looks at it, and a program that another test starts may have its file open
    // until it runs.
    let umount = || Command::new("umount").arg(&mount.0).output().unwrap().status.success();
    assert!((0..1000).any(|_| umount()));
    let _again = dir.mount("repo::a");
    assert_eq!(dir.read("mnt/f"), b"content");
    // Unmounted by somebody else, the program ends by itself, and leaves alone what is mounted there meanwhile.
    assert!((0..1000).any(|_| umount()));
    for _ in 0..20 {
        let (child, _mount) = dir.mount_here("repo::a");
        assert!((0..1000).any(|_| umount()));
        let (next, _mount) = dir.mount_here("repo::a");
        Ran::of("mount", child.wait_with_output().unwrap()).silent();
        assert_eq!(dir.read("mnt/f"), b"content");
        assert!((0..1000).any(|_| umount()));
        Ran::of("mount", next.wait_with_output().unwrap()).silent();
    }
}

#[test]
fn what_cannot_be_mounted_is_said_before_the_command_ends() {
    let dir = Dir::with_repository();
    dir.write("f", b"content");
    dir.run(&["create", "repo::a", "f"]).silent();
    for foreground in [&[][..], &["-f"]] {
        let mount = |words: &[&str]| dir.run(&[&["mount"], foreground, words].concat());
        mount(&["repo::a", "missing"]).refused(1, "missing does not exist");
        mount(&["repo::a", "f"]).refused(1, "f is no directory");
        mount(&["repo::b", "home"]).refused(1, "");
        fs::create_dir_all(dir.path("mnt")).unwrap();
        mount(&["repo::b", "mnt"]).refused(1, "Archive b does not exist");
        let ran = mount(&["-o", "allow_others", "repo::a", "mnt"]);
        assert_eq!(ran.code, Some(2), "{}", ran.stderr);
    }
    // On a mount whose program is gone.
    let (mut child, mount) = dir.mount_here("repo::a");
    child.kill().unwrap();
    child.wait().unwrap();
    let mnt = mount.0.display().to_string();
    dir.run(&["mount", "repo::a", &mnt])
        .refused(1, "has a mount whose program is gone: umount it first");
    drop(mount);
    // Other users see it when they are to, and by the permissions that were stored.
    fs::set_permissions(dir.path("f"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::set_permissions(dir.temp.path(), fs::Permissions::from_mode(0o755)).unwrap();
    dir.run(&["create", "repo::c", "f"]).silent();
    let read = || {
        let mut read = dir.other("setpriv");
        read.args(["--reuid", "65534", "--clear-groups", "cat", "mnt/f"]);
        read.output().unwrap().status.success()
    };
    for (options, expected) in
        [("", false), ("allow_other", false), ("allow_other,ignore_permissions", true)]
    {
        let words: &[&str] = if options.is_empty() { &[] } else { &["-o", options] };
        dir.run(&[&["mount"], words, &["repo::c", "mnt"]].concat()).silent();
        let mount = Mount(dir.path("mnt"));
        assert_eq!(read(), expected, "{options}");
        drop(mount);
    }
    // What was behind a directory that was closed is behind it, or behind one that is, and so it is by any other way.
    dir.write("closed/f", b"content");
    fs::set_permissions(dir.path("closed/f"), fs::Permissions::from_mode(0o644)).unwrap();
    fs::set_permissions(dir.path("closed"), fs::Permissions::from_mode(0o700)).unwrap();
    dir.run(&["create", "repo::dir", "closed"]).silent();
    dir.run(&["create", "repo::file", "closed/f"]).silent();
    dir.run(&["mount", "-o", "allow_other", "repo", "mnt"]).silent();
    let _mount = Mount(dir.path("mnt"));
    assert!(!dir.path("mnt/by-path").exists());
    for path in ["mnt/dir/closed/f", "mnt/file/closed/f"] {
        assert_eq!(dir.read(path), b"content");
        let mut read = dir.other("setpriv");
        read.args(["--reuid", "65534", "--clear-groups", "cat", path]);
        assert!(!read.output().unwrap().status.success(), "{path}");
    }
}

/// The passphrase is asked for by the program that goes into the background, while it still has the terminal.
#[test]
fn what_is_mounted_in_the_background_has_left_the_one_who_started_it() {
    let dir = Dir::with_repository();
    dir.write("f", b"content");
    dir.run(&["create", "repo::a", "f"]).silent();
    fs::create_dir_all(dir.path("mnt")).unwrap();
    let mut child = dir.command(&["mount", "repo::a", "mnt"]).spawn().unwrap();
    let _mount = Mount(dir.path("mnt"));
    // Nobody holds the pipes any more: who waits for their end, as ssh does, goes on.
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.next().is_none());
    let mut stderr = String::new();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    assert_eq!((child.wait().unwrap().code(), stderr.as_str()), (Some(0), ""));
    assert_eq!(dir.read("mnt/f"), b"content");
}

//! Images that are made to harm: they open nothing, take no memory, and come back as they were.
//!
//! Needs `strace` and `/usr/bin/time`; a test whose tool is missing fails.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use super::{CLOSING, Dir, Ran, files_below};

#[allow(dead_code, reason = "the tests of the image crate use the rest")]
#[path = "../../../image/tests/common/craft.rs"]
mod craft;

impl Dir {
    /// Runs the program, and gives what it opened or tried to, and how often. It starts nothing, calls nobody, and opens
    /// nothing but what is below these names of the directory and what programs open when they start.
    fn traced(&self, arguments: &[&str], below: &[&str]) -> (Ran, BTreeMap<PathBuf, usize>) {
        let calls = ["-e", "trace=open,openat,openat2,execve,connect", "-e", "signal=none"];
        let strace = ["strace", "-f", "-y", "-qq", "-s", "4096", "-o", "trace"];
        let ran = self.run_under(&[&strace[..], &calls].concat(), arguments);
        let start = format!("execve(\"{}\"", env!("CARGO_BIN_EXE_garret"));
        let here = self.temp.path().canonicalize().unwrap();
        let mut opened = BTreeMap::new();
        let trace = fs::read_to_string(self.path("trace")).unwrap();
        // The second half of a call says nothing new; ???( is a thread that was gone before it called anything.
        let is_call = |line: &&str| !line.contains("resumed>") && !line.contains("???(");
        for line in trace.lines().filter(is_call) {
            let call = line.split_once(' ').unwrap().1.trim();
            if call.starts_with("execve(") {
                assert!(call.starts_with(&start), "{call}");
                continue;
            }
            let path = opened_path(call, &here).unwrap_or_else(|| panic!("{call}"));
            let given = below.iter().any(|name| path.starts_with(here.join(name)));
            assert!(given || is_usual(&path), "{call}");
            *opened.entry(path).or_default() += 1;
        }
        (ran, opened)
    }
}

/// The path that a call of `strace -y` names, by way of its directory.
fn opened_path(call: &str, here: &Path) -> Option<PathBuf> {
    let (before, rest) = call.split_once('"')?;
    let name = rest.split('"').next()?;
    let directory = match before.split_once('<') {
        Some((_, directory)) => Path::new(directory.split('>').next()?),
        None => here,
    };
    ["open(", "openat(", "openat2("].iter().any(|open| call.starts_with(open)).then_some(())?;
    let path: PathBuf = directory.join(name);
    let climbs = path.components().any(|part| part == Component::ParentDir);
    (!climbs).then_some(path)
}

/// What programs open when they start, and this one for the names of users and groups; and the terminal, which it excepts
/// from what it may no longer write to.
fn is_usual(path: &Path) -> bool {
    const FILES: [&str; 10] = [
        "/dev/tty",
        "/etc/group",
        "/etc/ld.so.cache",
        "/etc/ld.so.preload",
        "/etc/localtime",
        "/etc/passwd",
        "/proc/self/cgroup",
        "/proc/self/maps",
        "/proc/self/mountinfo",
        "/proc/sys/vm/overcommit_memory",
    ];
    const BELOW: [&str; 5] =
        ["/lib", "/lib64", "/usr/lib", "/sys/fs/cgroup", "/usr/share/zoneinfo"];
    FILES.iter().any(|file| path == Path::new(file))
        || BELOW.iter().any(|dir| path.starts_with(dir))
}

/// A crafted image in the directory `images`.
struct Hostile {
    name: String,
    /// Whether its header names another file.
    names_file: bool,
}

/// All crafted images.
fn hostile_images(dir: &Dir) -> Vec<Hostile> {
    fs::create_dir(dir.path("images")).unwrap();
    let mut images: Vec<Hostile> = Vec::new();
    for (number, craft) in craft::hostile(&dir.path("images")).iter().enumerate() {
        // The first that names itself shall have its name.
        let is_itself = craft.name == "itself" && images.iter().all(|image| image.name != "itself");
        let name = if is_itself { "itself".to_owned() } else { format!("{number:03}") };
        dir.write(&format!("images/{name}"), &craft.bytes);
        let bytes = |at, len| craft.bytes.get(at..at + len).unwrap_or_default();
        let names_file = bytes(16, 4).iter().any(|byte| *byte != 0) || bytes(112, 4) == b"DATA";
        images.push(Hostile { name, names_file });
    }
    assert!(images.len() >= 200, "{} images", images.len());
    assert!(images.iter().filter(|image| image.names_file).count() >= 15);
    images
}

/// It was fine, and had nothing to say but which images name other files. Gives stdout.
#[track_caller]
fn names_files(ran: super::Ran) -> String {
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let lines: Vec<&str> = ran.stderr.lines().collect();
    let is_note = |line: &&str| {
        line.starts_with("garret: note: images/") && line.contains(" is not in this archive: ")
    };
    assert!(lines.len() >= 10 && lines.iter().all(is_note), "{}", ran.stderr);
    assert!(ran.stderr.contains(" file /etc/shadow is not in this archive"), "{}", ran.stderr);
    String::from_utf8(ran.stdout).unwrap()
}

#[test]
fn hostile_images_open_nothing_and_come_back_exactly() {
    let dir = Dir::with_repository();
    let images = hostile_images(&dir);
    let create = ["create", "-v", "repo::a", "images"];
    let (ran, opened) = dir.traced(&create, &["images", "repo", "cache", "state"]);
    assert_eq!(names_files(ran).lines().count(), 1 + images.len());
    let here = dir.temp.path().canonicalize().unwrap();
    for Hostile { name, .. } in &images {
        assert_eq!(opened.get(&here.join("images").join(name)), Some(&1), "{name}");
    }
    // For the names of users, not of the image that names it.
    assert_eq!(opened.get(Path::new("/etc/passwd")), Some(&1));

    let below = ["repo", "cache", "state", "out"];
    dir.traced(&["extract", "--destination", "out", "repo::a"], &below).0.silent();
    for Hostile { name, .. } in &images {
        assert!(dir.read(&format!("out/images/{name}")) == dir.read(&format!("images/{name}")));
    }
    fs::remove_dir_all(dir.path("out")).unwrap();

    // Without names of users even that file is not opened.
    let raw = ["extract", "--as=raw", "--numeric-owner", "--destination=out", "repo::a"];
    let (ran, opened) = dir.traced(&raw, &below);
    assert!(!opened.contains_key(Path::new("/etc/passwd")));
    let mut there = refused_images(&ran);
    for path in files_below(&dir.path("out/images")) {
        let found = path.file_name().unwrap().to_str().unwrap();
        let name = found.strip_suffix(".raw").unwrap_or(found);
        let same = || fs::read(&path).unwrap() == dir.read(&format!("images/{name}"));
        assert!(name != found || same(), "{name}");
        there.push(name.to_owned());
    }
    there.sort();
    let mut names: Vec<String> = images.into_iter().map(|image| image.name).collect();
    names.sort();
    assert_eq!(there, names, "each is a disk, or no image and as it was, or refused");
}

/// The images of which a run said, in one line each, why they have no disk.
fn refused_images(ran: &Ran) -> Vec<String> {
    let mut lines: Vec<&str> = ran.stderr.lines().collect();
    assert_eq!((ran.code, lines.pop()), (Some(1), Some(CLOSING)));
    let name = |line: &str| {
        let said = line.strip_prefix("garret: images/").unwrap();
        let (name, why) = said.split_once(": not restored: ").unwrap();
        let is_damaged = why.contains("cannot inflate a cluster at offset ");
        assert!(
            is_damaged || why.ends_with("; leave out --as to get the image as it was"),
            "{why}"
        );
        name.to_owned()
    };
    lines.into_iter().map(name).collect()
}

#[test]
fn info_of_a_hostile_image_opens_nothing() {
    let dir = Dir::with_repository();
    let images = hostile_images(&dir);
    names_files(dir.run(&["create", "repo::a", "images"]));
    for Hostile { name, names_file } in images {
        let path = format!("images/{name}");
        let info = ["info", "repo::a", &path];
        let ran = match names_file {
            true => {
                let (ran, opened) = dir.traced(&info, &["repo", "cache", "state"]);
                assert!(!opened.contains_key(Path::new("/etc/passwd")), "{name}");
                ran
            }
            false => dir.run(&info),
        };
        let said = ran.succeeds();
        assert!(said.starts_with(&format!("Path: {path}\nFormat: ")), "{said}");
    }
}

#[test]
fn hostile_images_take_no_memory() {
    let dir = Dir::with_repository();
    hostile_images(&dir);
    let timed = ["/usr/bin/time", "-f", "%M", "-o", "peak"];
    names_files(dir.run_under(&timed, &["create", "repo::a", "images"]));
    let peak = String::from_utf8(dir.read("peak")).unwrap();
    let kib: u64 = peak.trim().parse().unwrap();
    assert!(kib * 1024 < 200_000_000, "{kib} KiB");
}

/// Sets the flag in the end, also when the test fails.
struct Done<'a>(&'a AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Root backs up the tree of a user who exchanges a directory in it for a link all the while.
#[test]
fn a_tree_whose_owner_puts_links_into_it_while_it_is_read_gives_nothing_of_others() {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    let dir = Dir::with_repository();
    for (directory, content) in [("evil/d", "own"), ("root", "nobody else's business")] {
        fs::create_dir_all(dir.path(directory)).unwrap();
        for number in 0..200 {
            fs::write(dir.path(&format!("{directory}/f{number}")), content).unwrap();
        }
    }
    let (own, link) = (dir.path("evil/d"), dir.path("link"));
    std::os::unix::fs::symlink(dir.path("root"), &link).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                renameat_with(CWD, &own, CWD, &link, RenameFlags::EXCHANGE).unwrap();
            }
        });
        let _done = Done(&done);
        for round in 0..10 {
            let archive = format!("repo::{round}");
            let ran = dir.run(&["create", &archive, "evil"]);
            assert!(!ran.stderr.contains("panicked"), "{}", ran.stderr);
            let ran = dir.run(&["extract", &archive, "--destination", "to"]);
            assert_eq!(ran.code, Some(0), "{}", ran.stderr);
            for file in super::files_below(&dir.path("to")) {
                let is_link = file.symlink_metadata().unwrap().is_symlink();
                assert!(is_link || fs::read(&file).unwrap() == b"own", "{}", file.display());
            }
            fs::remove_dir_all(dir.path("to")).unwrap();
        }
    });
}

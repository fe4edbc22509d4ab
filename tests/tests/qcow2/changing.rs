//! Images that are written to while they are backed up: what was read is stored, and comes back the same in every way.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use garret_core::{AllocationMode, Form, Note, Phase, Problem, Progress, Task};
use garret_testkit::{Lab, data_map};
use rustix::fs::{FallocateFlags, fallocate};

use super::common::images::Image;
use super::common::{Random, disk_dir, path_str, run, tmpfs_dir};
use super::{backup, files, items, lab, options, restored, stream, with_raw};

/// Changes a file at a given moment of its backup, and remembers the problems.
struct Saboteur<'a> {
    /// How many reports of progress to wait for; at 0 the change comes when the tables have been read and nothing else.
    after: u64,
    reports: AtomicU64,
    change: Mutex<Option<&'a (dyn Fn() + Sync)>>,
    problems: Mutex<Vec<String>>,
}

impl<'a> Saboteur<'a> {
    fn new(after: u64, change: &'a (dyn Fn() + Sync)) -> Self {
        let change = Mutex::new(Some(change));
        Saboteur { after, reports: AtomicU64::new(0), change, problems: Mutex::default() }
    }

    fn strike(&self) {
        if let Some(change) = self.change.lock().unwrap().take() {
            change();
        }
    }
}

impl Progress for Saboteur<'_> {
    fn note(&self, _: &[u8], note: &Note<'_>) {
        if self.after == 0 && note.to_string().contains("in guest order") {
            self.strike();
        }
    }

    fn begin(&self, _: Phase, _: Option<u64>) -> Box<dyn Task + '_> {
        Box::new(Watched(self))
    }

    fn problem(&self, problem: &Problem) {
        self.problems.lock().unwrap().push(problem.text.clone());
    }
}

/// Counts the reports of a task.
struct Watched<'s, 'a>(&'s Saboteur<'a>);

impl Task for Watched<'_, '_> {
    fn advance(&self, _bytes: u64) {
        if self.0.reports.fetch_add(1, Ordering::Relaxed) + 1 == self.0.after {
            self.0.strike();
        }
    }
}

/// An image of holes and data that begins with places for all its clusters, most of them not written. Old by its times, so
/// that a change shows.
fn image(dir: &Path) -> PathBuf {
    let path = dir.join("vm.qcow2");
    let image = Image::new(path, ",preallocation=metadata", 65536, 12 << 20);
    let noise = dir.join("noise");
    fs::write(&noise, Random::new(1).bytes_without_zero(3_000_017)).unwrap();
    let write = |at: &u64| format!("write -q -s {} {at}k 1900k", path_str(&noise));
    image.io(&[64, 4000, 8000].iter().map(write).collect::<Vec<_>>());
    image.img(&["snapshot", "-c", "s"]);
    image.io(&[write(&8100)]);
    let file = File::open(&image.path).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_secs(1000)).unwrap();
    assert!(data_map(&image.path).len() > 2, "no holes to fill");
    image.path
}

fn open(path: &Path) -> File {
    OpenOptions::new().write(true).open(path).unwrap()
}

fn overwrite(path: &Path, at: u64, len: u64) {
    open(path).write_all_at(&Random::new(at).bytes_without_zero(len as usize), at).unwrap();
}

/// Data where the file system has none.
fn fill_holes(path: &Path) {
    let mut at = 0;
    let len = fs::metadata(path).unwrap().len();
    for data in data_map(path).into_iter().chain(std::iter::once(len..len)) {
        overwrite(path, at, data.start - at);
        at = data.end;
    }
}

fn punch(path: &Path, at: u64, len: u64) {
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    fallocate(open(path), flags, at, len).unwrap();
}

type Change = (&'static str, fn(&Path));

/// The ways to change a file under the reader, by name.
const CHANGES: [Change; 11] = [
    ("cut to nothing", |path| open(path).set_len(0).unwrap()),
    ("cut behind the header", |path| open(path).set_len(100_000).unwrap()),
    ("cut in the middle", |path| open(path).set_len(5_000_000).unwrap()),
    ("grown", |path| overwrite(path, fs::metadata(path).unwrap().len(), 2_000_000)),
    ("all noise", |path| overwrite(path, 0, fs::metadata(path).unwrap().len())),
    ("another header", |path| overwrite(path, 0, 4096)),
    ("zeros at the start", |path| open(path).write_all_at(&[0; 400_000], 0).unwrap()),
    ("holes filled", fill_holes),
    ("data punched out", |path| punch(path, 1 << 20, 5 << 20)),
    ("made anew", |path| {
        drop(Image::new(path.to_owned(), "", 4096, 30 << 20));
    }),
    ("written by the guest", |path| {
        let commands = ["write -q -P 3 1M 5M", "discard 7M 1M", "write -q -P 4 9M 3M"];
        let io = ["-f", "qcow2", "-c", commands[0], "-c", commands[1], "-c", commands[2]];
        run("qemu-io", &[&io[..], &[path_str(path)]].concat());
    }),
];

/// Everything that comes out of an archive of one file is the same: its bytes.
fn restored_alike(lab: &Lab, name: &str, path: &Path, dir: &Path) -> Vec<u8> {
    let item = items(lab, name).into_iter().find(|item| path.ends_with(utf8(&item.path))).unwrap();
    let (bytes, result) = stream(lab, name, path, Form::Stored);
    result.unwrap();
    assert_eq!(bytes.len() as u64, item.size, "the size that the item says");
    let target = dir.join("target");
    for allocation in [AllocationMode::Sparse, AllocationMode::Exact, AllocationMode::Full] {
        let done = lab.restore_to(name, &target, &options(lab, allocation, Form::Stored)).unwrap();
        assert_eq!(done.problems, [""; 0], "{allocation:?}");
        let file = fs::read(restored(&target, path)).unwrap();
        assert!(file == bytes, "{allocation:?} is not what comes through a pipe");
    }
    fs::remove_dir_all(&target).unwrap();
    // As a disk: QEMU may find anything in such a file. A disk, or a problem and nothing else.
    let raw = options(lab, AllocationMode::Sparse, Form::Raw);
    let done = lab.restore_to(name, &target, &raw).unwrap();
    assert_eq!(done.report.file_count + done.report.problem_count, 1);
    assert_eq!(files(&target).len() as u64, done.report.file_count);
    let (streamed, result) = stream(lab, name, path, Form::Raw);
    match fs::read(with_raw(&restored(&target, path))) {
        Ok(disk) => assert!(result.is_ok() && disk == streamed),
        Err(_) => assert!(result.is_err() || streamed == bytes),
    }
    fs::remove_dir_all(&target).unwrap();
    bytes
}

fn utf8(path: &[u8]) -> &str {
    std::str::from_utf8(path).unwrap()
}

#[test]
fn a_file_that_changes_is_stored_as_it_was_read_and_said_to_have_changed() {
    for (dir, moments) in [(disk_dir(), &[0][..]), (tmpfs_dir(), &[0, 1, 3])] {
        changes(dir.path(), moments);
    }
}

fn changes(dir: &Path, moments: &[usize]) {
    let original = image(dir);
    let before = fs::read(&original).unwrap();
    let path = dir.join("copy.qcow2");
    for (number, (what, change)) in CHANGES.iter().enumerate() {
        for &after in moments {
            let threads = 1 + 2 * ((number + after) % 2);
            let when = format!("{what} after {after} reports, {threads} threads");
            let paths = [path_str(&original), path_str(&path)];
            run("cp", &[&["--sparse=always", "--preserve=timestamps"], &paths[..]].concat());
            data_map(&path);
            let (lab, _) = lab(threads);
            let strike = || change(&path);
            let saboteur = Saboteur::new(after as u64, &strike);
            backup(&lab, "a", &path, &saboteur).unwrap();
            assert!(saboteur.change.lock().unwrap().is_none(), "{when}: it did not come to it");
            let problems = saboteur.problems.into_inner().unwrap();
            assert_eq!(problems.len(), 1, "{when}: {problems:?}");
            assert!(problems[0].ends_with("changed while it was read; stored as it was read"));
            assert!(items(&lab, "a")[0].changed, "{when}");
            let bytes = restored_alike(&lab, "a", &path, dir);
            assert_eq!(bytes.len(), before.len(), "{when}");
            // Every byte is the old or the new one; there are zeros behind the end.
            let now = fs::read(&path).unwrap();
            let now = now.iter().chain(std::iter::repeat(&0));
            let known = bytes.iter().zip(before.iter().zip(now));
            let other =
                known.enumerate().find(|(_, (byte, (old, new)))| byte != old && byte != new);
            assert!(other.is_none(), "{when}: {other:?}");
            lab.check();
        }
    }
}

#[test]
fn a_file_that_somebody_keeps_writing_to_is_stored_and_comes_back() {
    for round in 0..6 {
        let dir = if round % 2 == 0 { disk_dir() } else { tmpfs_dir() };
        let path = image(dir.path());
        let (lab, _) = lab(1 + round % 3);
        let stop = AtomicBool::new(false);
        let keep_writing = || {
            let len = fs::metadata(&path).unwrap().len();
            let mut random = Random::new(round as u64);
            for _ in 0..20_000 {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                let at = random.below(len);
                match random.below(8) {
                    0 => open(&path).set_len(at).unwrap(),
                    1 => open(&path).set_len(len).unwrap(),
                    2 => punch(&path, at, random.below(1 << 20) + 1),
                    3 => overwrite(&path, at & 0xf_fff8, 8),
                    _ => overwrite(&path, at, random.below(100_000)),
                }
            }
        };
        let backup_some = || {
            for number in 0..4 {
                let saboteur = Saboteur::new(u64::MAX, &|| ());
                let name = format!("{number}");
                backup(&lab, &name, &path, &saboteur).unwrap();
                let problems = saboteur.problems.into_inner().unwrap();
                let changed = problems.iter().filter(|text| text.contains("changed while")).count();
                assert_eq!(changed, problems.len(), "{problems:?}");
                assert_eq!(changed == 1, items(&lab, &name)[0].changed);
            }
        };
        std::thread::scope(|scope| {
            let writer = scope.spawn(keep_writing);
            backup_some();
            stop.store(true, Ordering::Relaxed);
            writer.join().unwrap();
        });
        for number in 0..4 {
            restored_alike(&lab, &number.to_string(), &path, dir.path());
        }
        lab.check();
    }
}

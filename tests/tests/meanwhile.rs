//! Sources that change while they are backed up: files that get shorter, grow, go away. What is stored is what was read, and
//! none of it makes an archive incomplete.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::fs::{self, File};
use std::path::Path;
use std::sync::Mutex;

use engine::{Access, AllocationMode, Input, Problem, ProblemKind, Progress, RestoreOptions};
use format::archive::Archive;
use format::config::KeyMode;
use tempfile::TempDir;
use testkit::{Image, Lab, Random};

/// Does something when the backup comes to a file, before its content is read.
struct When<'a> {
    file: &'a str,
    act: &'a (dyn Fn() + Sync),
    problems: Mutex<Vec<Problem>>,
}

impl Progress for When<'_> {
    fn note(&self, text: &str) {
        if text.contains(self.file) {
            (self.act)();
        }
    }

    fn problem(&self, problem: &Problem) {
        self.problems.lock().unwrap().push(problem.clone());
    }
}

/// Backs `directory` up as `a`; `act` comes when `file` is opened. Gives the archive and what was said.
fn backup(
    lab: &Lab,
    directory: &Path,
    file: &str,
    act: &(dyn Fn() + Sync),
) -> (Archive, Vec<Problem>) {
    let when = When { file, act, problems: Mutex::default() };
    let mut repository = lab.open(Access::Create).unwrap();
    let inputs = vec![Input::Path(directory.to_owned())];
    let report = engine::backup(&mut repository, "a", inputs, &lab.options(), &when).unwrap();
    (report.archive.archive, when.problems.into_inner().unwrap())
}

fn cut(path: &Path, len: usize) {
    File::options().write(true).open(path).unwrap().set_len(len as u64).unwrap();
}

#[test]
fn a_file_that_gets_shorter_is_stored_as_long_as_it_was_read() {
    const MIB: usize = 1 << 20;
    let mut random = Random::new(1);
    // Lengths around those of windows and their lookahead, with and without holes.
    let mut cases: Vec<(usize, usize)> = vec![
        (100, 0),
        (100_000, 99_999),
        (5 * MIB, 4 * MIB),
        (9 * MIB, 4 * MIB + 1),
        (9 * MIB, 4 * MIB + 320 * 1024),
        (9 * MIB, 8 * MIB + 100),
        (20 * MIB, 0),
    ];
    cases.extend((0..12).map(|_| {
        let len = 1 + random.below(14 * MIB);
        (len, random.below(len))
    }));
    for (number, (len, left)) in cases.into_iter().enumerate() {
        for threads in [1, 3] {
            let temp = TempDir::new().unwrap();
            let (mut lab, _) = Lab::memory(KeyMode::None);
            lab.threads = threads;
            let image = match number % 2 {
                0 => Image::noise(number as u64, len),
                _ => Image::generate(number as u64, len),
            };
            let (directory, path) = (temp.path().join("d"), temp.path().join("d/vm.img"));
            fs::create_dir(&directory).unwrap();
            image.write_sparse(&path);
            let (archive, said) = backup(&lab, &directory, "vm.img", &|| cut(&path, left));
            let what = format!("{number}: {len} cut to {left}, {threads} threads: {said:?}");
            assert!(archive.is_complete(), "{what}");
            assert_eq!(said.len(), 1, "{what}");
            assert_eq!(said[0].kind, ProblemKind::Warning, "{what}");
            assert!(
                said[0].text.ends_with("vm.img: changed while it was read; stored as it was read")
            );
            let restored = lab.restore_bytes("a").unwrap();
            assert!(restored == image.bytes[..left], "{what}: {} bytes", restored.len());
            assert_eq!(archive.original_len, left as u64, "{what}");
            // Its holes are those of what is left.
            let to = temp.path().join("to");
            let allocation = AllocationMode::Exact;
            let options = RestoreOptions { allocation, ..lab.restore_options() };
            let restored = lab.restore_to("a", &to, &options).unwrap();
            assert_eq!(restored.problems, [""; 0], "{what}");
        }
    }
}

#[test]
fn a_file_that_grows_is_stored_as_long_as_it_was() {
    let temp = TempDir::new().unwrap();
    let (lab, _) = Lab::memory(KeyMode::None);
    let path = temp.path().join("log");
    fs::write(&path, b"line\n").unwrap();
    let grow = || fs::write(&path, b"line\nanother\n").unwrap();
    let (archive, said) = backup(&lab, temp.path(), "log", &grow);
    assert!(archive.is_complete() && said.len() == 1 && said[0].kind == ProblemKind::Warning);
    assert_eq!(lab.restore_bytes("a").unwrap(), b"line\n");
}

#[test]
fn what_goes_away_before_it_is_read_is_missing() {
    let temp = TempDir::new().unwrap();
    let (lab, _) = Lab::memory(KeyMode::None);
    let path = |name: &str| temp.path().join(name);
    for name in ["a", "b", "d"] {
        fs::write(path(name), name).unwrap();
    }
    fs::create_dir(path("c")).unwrap();
    let remove = || {
        let _gone_already = fs::remove_file(path("b"));
        let _gone_already = fs::remove_dir(path("c"));
    };
    let (archive, said) = backup(&lab, temp.path(), "/a:", &remove);
    // Who is to know whether a user removed it, or the share it is on went away?
    assert!(!archive.is_complete(), "{said:?}");
    let texts: Vec<&str> = said.iter().map(|one| one.text.rsplit('/').next().unwrap()).collect();
    let gone = ": cannot stat: No such file or directory (os error 2)";
    assert_eq!(texts, [format!("b{gone}"), format!("c{gone}")]);
    assert!(said.iter().all(|one| one.kind == ProblemKind::Loss));
    assert_eq!(lab.restore_bytes("a").unwrap(), b"ad");
    let inputs = ["d", "b"].map(|name| Input::Path(path(name))).into();
    let (report, problems) = lab.backup_inputs("b", inputs).unwrap();
    assert!(!report.archive.archive.is_complete());
    assert_eq!(report.archive.archive.problems, problems);
    assert!(problems[0].contains("b: cannot stat: No such file"), "{problems:?}");
}

#[test]
fn an_archive_tells_its_first_problems_and_counts_them_all() {
    let temp = TempDir::new().unwrap();
    let (lab, _) = Lab::memory(KeyMode::None);
    fs::write(temp.path().join("there"), b"x").unwrap();
    let long = "\u{e4}".repeat(2000);
    let missing = (0..150).map(|number| temp.path().join(format!("{number}{long}")));
    let inputs = missing.chain([temp.path().join("there")]).map(Input::Path).collect();
    let (report, problems) = lab.backup_inputs("a", inputs).unwrap();
    let archive = report.archive.archive;
    assert_eq!((archive.problem_count, problems.len()), (150, 150));
    assert_eq!(archive.problems.len(), format::archive::PROBLEMS_MAX);
    let is_cut = |text: &String| text.len() <= 1024 && text.len() >= 1022;
    assert!(archive.problems.iter().all(is_cut));
    assert!(archive.problems.iter().zip(&problems).all(|(cut, whole)| whole.starts_with(cut)));
}

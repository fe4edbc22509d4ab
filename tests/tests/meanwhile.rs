//! Sources that change while they are backed up: files that get shorter, grow, go away. What is stored is what was read, and
//! none of it makes an archive incomplete.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "helpers of tests, which say their counts"
)]

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use garret_core::{AllocationMode, Cause, Input, Note, Problem, ProblemKind, Progress};
use garret_format::archive::Archive;
use garret_format::config::KeyMode;
use garret_testkit::{Image, Lab, Random};
use tempfile::TempDir;

/// Does something when the backup comes to a file, before its content is read.
struct When<'a> {
    file: &'a str,
    act: &'a (dyn Fn() + Sync),
    problems: Mutex<Vec<Problem>>,
}

impl Progress for When<'_> {
    fn note(&self, path: &[u8], note: &Note<'_>) {
        if format!("{}: {note}", String::from_utf8_lossy(path)).contains(self.file) {
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
    let mut repository = lab.writer().unwrap();
    let inputs = vec![Input::Path(directory.to_owned())];
    let report = repository.backup("a", inputs, &lab.options(), &when).unwrap();
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
            let mut options = lab.restore_options();
            options.allocation = allocation;
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
    assert_eq!(said[0].cause, Cause::Changed);
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
    assert!(said.iter().all(|one| one.kind == ProblemKind::Loss && one.cause == Cause::Missing));
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
    assert_eq!(archive.problems.len(), garret_format::archive::PROBLEMS_MAX);
    let is_cut = |text: &String| text.len() <= 1024 && text.len() >= 1022;
    assert!(archive.problems.iter().all(is_cut));
    assert!(archive.problems.iter().zip(&problems).all(|(cut, whole)| whole.starts_with(cut)));
}

/// A user's tree with `count` files in `d`, and a directory of somebody else beside it. Gives both.
fn tree_and_secret(temp: &Path, count: usize) -> (PathBuf, PathBuf) {
    let (tree, secret) = (temp.join("evil"), temp.join("root"));
    for (directory, content) in [(tree.join("d"), &b"own"[..]), (secret.clone(), SECRET)] {
        fs::create_dir_all(directory.join("below")).unwrap();
        for number in 0..count {
            fs::write(directory.join(format!("f{number:04}")), content).unwrap();
            fs::write(directory.join(format!("below/f{number:04}")), content).unwrap();
        }
    }
    (tree, secret)
}

const SECRET: &[u8] = b"nobody else's business";

/// Exchanges what is at two paths.
fn exchange(one: &Path, two: &Path) {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    renameat_with(CWD, one, CWD, two, RenameFlags::EXCHANGE).unwrap();
}

/// Every item of the archive: the path and, of a file, its content.
fn stored(lab: &Lab) -> Vec<(String, Option<Vec<u8>>)> {
    let repository = lab.reader().unwrap();
    let archive = repository.archive("a").unwrap();
    let items = repository.items(&archive).map(Result::unwrap);
    let content = |path: &[u8]| {
        let mut bytes = Vec::new();
        repository
            .restore(
                &archive,
                &mut garret_core::Selection::new([path.to_vec()]),
                garret_core::Destination::Stream(&mut bytes),
                &lab.restore_options(),
                &garret_core::Silent,
            )
            .unwrap();
        bytes
    };
    let item = |item: garret_format::archive::Item| {
        let is_file = matches!(item.kind, garret_format::archive::ItemKind::File(_));
        let bytes = is_file.then(|| content(&item.path));
        (String::from_utf8(item.path).unwrap(), bytes)
    };
    items.map(item).collect()
}

/// Who owns a tree puts a link in place of a directory of it: when it was listed, when a file in it was, when one below was.
#[test]
fn a_directory_that_becomes_a_link_while_it_is_walked_leads_nowhere_else() {
    for moment in ["evil/d", "d/below", "below/f0003", "d/f0000", "d/f0003"] {
        for threads in [1, 3] {
            let temp = TempDir::new().unwrap();
            let (tree, secret) = tree_and_secret(temp.path(), 8);
            let link = tree.join("z");
            std::os::unix::fs::symlink(&secret, &link).unwrap();
            let (mut lab, _) = Lab::memory(KeyMode::None);
            lab.threads = threads;
            let once = std::sync::Once::new();
            let act = || once.call_once(|| exchange(&tree.join("d"), &link));
            let (archive, said) = backup(&lab, &tree, moment, &act);
            assert!(once.is_completed(), "{moment}");
            assert!(archive.is_complete(), "{moment}: {said:?}");
            let files: Vec<_> = stored(&lab).into_iter().filter(|(_, c)| c.is_some()).collect();
            // Those of `d`, and once more of what has the name of the link now.
            assert_eq!(files.len(), 32, "{moment}");
            let all_own = files.iter().all(|(_, content)| content.as_deref() == Some(b"own"));
            assert!(all_own, "{moment}, {threads} threads");
        }
    }
}

/// Sets the flag in the end, also when the test fails.
struct Done<'a>(&'a AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The same by somebody who knows no moment and tries all the time. `GARRET_RACES` is how many rounds there are.
#[test]
fn a_directory_that_is_exchanged_for_a_link_all_the_time_leads_nowhere_else() {
    let temp = TempDir::new().unwrap();
    let (tree, secret) = tree_and_secret(temp.path(), 300);
    let link = temp.path().join("link");
    std::os::unix::fs::symlink(&secret, &link).unwrap();
    let rounds = std::env::var("GARRET_RACES").map_or(12, |rounds| rounds.parse().unwrap());
    let (done, mut own) = (AtomicBool::new(false), 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                exchange(&tree.join("d"), &link);
            }
        });
        let _done = Done(&done);
        for round in 0..rounds {
            let (lab, _) = Lab::memory(KeyMode::None);
            let (_, said) = backup(&lab, &tree, "nothing", &|| {});
            let stored = stored(&lab);
            let is_secret = |content: &Option<Vec<u8>>| content.as_deref() == Some(SECRET);
            let strange = stored.iter().find(|(_, content)| is_secret(content));
            assert_eq!(strange, None, "round {round}: {said:?}");
            own += stored.iter().filter(|(_, content)| content.is_some()).count();
        }
    });
    println!("{rounds} rounds: {own} files stored, none of anybody else");
}

/// Directories far above are closed while the walk is deep below them, and found again.
#[test]
fn a_tree_of_any_depth_is_walked_with_few_open_directories_and_what_is_moved_loses_only_itself() {
    const DEPTH: usize = 200;
    for moved in [None, Some(100)] {
        let temp = TempDir::new().unwrap();
        let mut path = temp.path().join("tree");
        let mut paths = Vec::new();
        for depth in 0..DEPTH {
            fs::create_dir(&path).unwrap();
            fs::write(path.join("a"), format!("{depth}")).unwrap();
            fs::write(path.join("z"), format!("{depth}")).unwrap();
            paths.push(path.clone());
            path.push("d");
        }
        let (lab, _) = Lab::memory(KeyMode::None);
        let open = AtomicUsize::new(0);
        let deepest = paths.last().unwrap().join("a").display().to_string();
        let (archive, said) = backup(&lab, &paths[0], &deepest, &|| {
            let count = fs::read_dir("/proc/self/fd").unwrap().count();
            open.store(count, Ordering::Relaxed);
            if let Some(depth) = moved {
                fs::rename(&paths[depth], temp.path().join("elsewhere")).unwrap();
            }
        });
        assert!(open.into_inner() < 150, "other tests have some open too");
        let files = archive.file_count;
        match moved {
            None => {
                assert_eq!((&said[..], files), (&[][..], 2 * DEPTH as u64));
            }
            Some(depth) => {
                // What is above in the closed part cannot be found from below any more.
                assert!(said.iter().all(|problem| problem.kind == ProblemKind::Loss));
                let told = said.iter().filter(|p| p.text.ends_with("it was moved meanwhile"));
                assert_eq!(told.count(), depth - 32, "{said:?}");
                assert_eq!(files, 2 * DEPTH as u64 - (depth as u64 - 32), "{said:?}");
            }
        }
    }
}

//! Tasks: whatever becomes of an operation, each task that it began has ended; none counts beyond its total, and in one that
//! went well each counts to it. A [`Recorder`] that is dropped with an open task fails wherever it is used; here every
//! operation is gone through, also with storage that fails at each of its steps.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use garret_core::{
    Area, Cause, Destination, GcOptions, Input, Key, MemoryStore, Phase, Progress, Result,
    Selection, Store, StoreErrorKind,
};
use garret_format::config::KeyMode;
use garret_testkit::{
    Fault, FaultStore, Image, Lab, Recorder, TaskSeen, check_options, is_structure,
};
use tempfile::TempDir;

/// The packs of a lab are small enough that gc repacks some.
const LEN: usize = 400_000;

/// Two images, one with a second name, and a small file.
fn sources(dir: &Path) {
    fs::create_dir(dir.join("in")).unwrap();
    fs::write(dir.join("in/one"), Image::noise(1, LEN).bytes).unwrap();
    fs::write(dir.join("in/two"), Image::generate(2, LEN).bytes).unwrap();
    fs::hard_link(dir.join("in/one"), dir.join("in/z-one")).unwrap();
    fs::write(dir.join("in/small"), "text").unwrap();
}

/// What one operation does, and what was heard of it.
fn heard(
    seen: &mut Vec<TaskSeen>,
    work: impl FnOnce(&Recorder) -> Result<()>,
) -> Result<Vec<TaskSeen>> {
    let recorder = Recorder::default();
    let done = work(&recorder);
    let tasks = recorder.tasks();
    for task in &tasks {
        assert_eq!(task.ended, 1, "{task:?}");
        assert!(task.total.is_none_or(|total| task.count <= total), "{task:?}");
    }
    if done.is_ok() && recorder.problems().is_empty() {
        recorder.settled();
    }
    seen.extend(&tasks);
    done.map(|()| tasks)
}

/// Every operation, one after the other, until one fails. Returns all tasks.
fn life(lab: &Lab, dir: &Path, seen: &mut Vec<TaskSeen>) -> Result<()> {
    let path = |name: &str| dir.join("in").join(name);
    let back_up = |name: &str, paths: &[&str], progress: &dyn Progress| {
        let inputs = paths.iter().map(|name| Input::Path(path(name))).collect();
        lab.writer()?.backup(name, inputs, &lab.options(), progress).map(drop)
    };
    // What is named twice, or has two names, is read once.
    let all = ["one", "two", "one", "z-one", "small"];
    let tasks = heard(seen, |progress| back_up("a", &all, progress))?;
    assert_eq!(tasks[0].total, Some(2 * LEN as u64 + 4));
    heard(seen, |progress| back_up("b", &["."], progress))?;
    heard(seen, |progress| {
        let inputs = vec![Input::Stream { name: b"s".to_vec(), reader: Box::new(&b"bytes"[..]) }];
        lab.writer()?.backup("c", inputs, &lab.options(), progress).map(drop)
    })?;
    let stored = |name: &str| Selection::stored(path(name).as_os_str().as_encoded_bytes());
    let to = TempDir::new().unwrap();
    let mut bytes = Vec::new();
    let mut restores: Vec<(&str, Vec<Vec<u8>>, Destination<'_>, usize)> = vec![
        ("a", vec![], Destination::Nowhere, 0),
        ("a", vec![], Destination::Directory(to.path().join("all")), 0),
        ("a", vec![stored("z-one")], Destination::Directory(to.path().join("some")), 0),
        ("b", vec![], Destination::Directory(to.path().join("stripped")), 3),
        ("b", vec![], Destination::Directory(to.path().join("nothing")), 100),
        ("b", vec![stored("two")], Destination::Stream(&mut bytes), 0),
    ];
    for (name, paths, destination, strip) in restores.drain(..) {
        heard(seen, |progress| {
            let repository = lab.reader()?;
            let archive = repository.archive(name)?;
            let mut options = lab.restore_options();
            options.strip = strip;
            let mut selection = Selection::new(paths);
            repository.restore(&archive, &mut selection, destination, &options, progress)?;
            Ok(())
        })?;
    }
    compare(lab, dir, seen)?;
    for verify in [false, true] {
        heard(seen, |progress| {
            lab.checker()?.check(&check_options(verify, lab.threads), progress).map(drop)
        })?;
    }
    heard(seen, |progress| lab.reader()?.plan_gc(&["a".to_owned()], 1, progress).map(drop))?;
    lab.delete("a")?;
    lab.delete("b")?;
    heard(seen, |progress| {
        let mut options = GcOptions::default();
        options.threads = lab.threads;
        lab.pruner()?.gc(&options, progress).map(drop)
    })?;
    Ok(())
}

/// An archive with another, and with a disk on which files are longer, shorter, gone and something else.
fn compare(lab: &Lab, dir: &Path, seen: &mut Vec<TaskSeen>) -> Result<()> {
    heard(seen, |progress| {
        let repository = lab.reader()?;
        let [a, b] = [repository.archive("a")?, repository.archive("b")?];
        repository.diff(&a, &b, &mut Selection::default(), lab.threads, progress)?;
        let all = &mut Selection::default();
        repository.compare(&a, Path::new("/"), all, lab.threads, progress)?;
        let other = TempDir::new().unwrap();
        let below = other.path().join(dir.strip_prefix("/").unwrap()).join("in");
        fs::create_dir_all(below.join("small")).unwrap();
        fs::write(below.join("one"), Image::noise(1, LEN / 2).bytes).unwrap();
        fs::write(below.join("two"), Image::noise(3, LEN * 2).bytes).unwrap();
        repository.compare(&a, other.path(), all, lab.threads, progress).map(drop)
    })
    .map(drop)
}

fn phases(seen: &[TaskSeen]) -> BTreeSet<String> {
    seen.iter().map(|task| format!("{:?}", task.phase)).collect()
}

#[test]
fn the_tasks_of_every_operation_count_to_their_totals() {
    let dir = TempDir::new().unwrap();
    sources(dir.path());
    for threads in [1, 3] {
        let (mut lab, store) = Lab::memory(KeyMode::None);
        lab.threads = threads;
        // What stays when the others are deleted: half of a pack.
        let half = Image::noise(1, LEN / 2).bytes;
        let mut seen = Vec::new();
        life(&lab, dir.path(), &mut seen).unwrap();
        lab.backup_bytes("mixed", &[half.clone(), Image::noise(7, LEN).bytes].concat()).unwrap();
        lab.backup_bytes("half", &half).unwrap();
        lab.delete("mixed").unwrap();
        heard(&mut seen, |progress| lab.pruner()?.gc(&GcOptions::default(), progress).map(drop))
            .unwrap();
        // Without its index a repository is read from its packs.
        for (key, _) in store.list(Area::Index).unwrap() {
            store.delete(&key).unwrap();
        }
        heard(&mut seen, |progress| lab.reader_reporting(progress).map(drop)).unwrap();
        let all = ["Backup", "Check", "Compare", "Index", "Mark", "Repack", "Restore"];
        assert_eq!(phases(&seen), all.map(str::to_owned).into(), "{threads} threads");
        let has_work = |phase| seen.iter().any(|task| task.phase == phase && task.count > 0);
        for phase in [Phase::Repack, Phase::Index, Phase::Mark, Phase::Compare] {
            assert!(has_work(phase), "{phase:?}, {threads} threads");
        }
    }
}

#[test]
fn tasks_end_when_the_storage_fails_at_any_step() {
    let dir = TempDir::new().unwrap();
    sources(dir.path());
    let (lab, empty) = Lab::memory(KeyMode::None);
    let mut failures = 0;
    for (threads, step) in [(1, 3), (3, 7)] {
        for after in (0..).step_by(step) {
            let store = FaultStore::new(MemoryStore::from_objects(empty.objects()));
            let inside = store.clone();
            let mut lab = lab.with_store(move || Box::new(inside.clone()));
            lab.threads = threads;
            let (times, kind) = (Fault::FOR_GOOD, StoreErrorKind::Denied);
            store.arm(Fault { verbs: Vec::new(), after, times, kind });
            let mut seen = Vec::new();
            match life(&lab, dir.path(), &mut seen) {
                Ok(()) if store.fired() == 0 => break,
                Ok(()) => {}
                Err(error) => {
                    assert_eq!(error.cause(), Cause::Denied, "{error}");
                    failures += 1;
                }
            }
        }
    }
    assert!(failures > 30, "{failures}");
}

#[test]
fn a_problem_says_why() {
    let (lab, store) = Lab::memory(KeyMode::None);
    lab.backup_bytes("a", &Image::noise(1, LEN).bytes).unwrap();
    let is_data =
        |(key, bytes): &(Key, Vec<u8>)| matches!(key, Key::Pack(_)) && !is_structure(bytes);
    let (pack, mut bytes) = store.objects().into_iter().find(is_data).unwrap();
    bytes[1000] ^= 1;
    store.put(&pack, &[&bytes]).unwrap();
    let recorder = Recorder::default();
    lab.checker().unwrap().check(&check_options(true, 1), &recorder).unwrap();
    let heard = recorder.heard();
    assert!(heard.iter().all(|problem| problem.cause == Cause::Damaged), "{heard:?}");
    assert!(heard.iter().any(|problem| problem.subject.as_deref() == Some(&*pack.to_string())));
    store.delete(&pack).unwrap();
    let recorder = Recorder::default();
    lab.checker().unwrap().check(&check_options(false, 1), &recorder).unwrap();
    let missing = recorder.heard().into_iter().find(|problem| problem.cause == Cause::Missing);
    assert_eq!(missing.unwrap().subject, Some(pack.to_string()));
    assert!(matches!(pack, Key::Pack(_)));
    let error = lab.reader().unwrap().archive("b").unwrap_err();
    assert_eq!((error.cause(), error.subject()), (Cause::Missing, Some("b")));
}

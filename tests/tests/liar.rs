//! A file system that lies: it lists names twice, or says that it wrote what it did not. Nothing that was finished is lost.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use garret_core::{Area, GcOptions, KeepRules, Key, MemoryStore, Silent, Store, StoreError};
use garret_format::config::KeyMode;
use garret_testkit::{Lab, Random};

/// What it lies about.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lie {
    /// Everything is listed twice.
    Twice,
    /// New packs are written, it says.
    Written,
}

#[derive(Clone)]
struct Liar {
    inner: MemoryStore,
    lie: Lie,
}

fn doubled<T: Clone>(all: Vec<T>, twice: bool) -> Vec<T> {
    let times = if twice { 2 } else { 1 };
    all.into_iter().flat_map(|one| std::iter::repeat_n(one, times)).collect()
}

impl Store for Liar {
    garret_testkit::through!(inner: put_new, get, len, delete, adopt, sync, sweep, lock, pass_over);
    garret_testkit::through!(inner: has_sessions, notices, place, doubtful);

    fn put(&self, key: &Key, parts: &[&[u8]]) -> Result<(), StoreError> {
        match (self.lie, key) {
            (Lie::Written, Key::Pack(_)) => Ok(()),
            _ => self.inner.put(key, parts),
        }
    }

    fn list(&self, area: Area) -> Result<Vec<(Key, u64)>, StoreError> {
        Ok(doubled(self.inner.list(area)?, self.lie == Lie::Twice))
    }
}

/// Two archives that share a pack, of which the one that stays needs the smaller part, behind a file system that lies.
fn behind(lie: Lie) -> (Lab, Lab, Vec<u8>) {
    let (lab, store) = Lab::memory(KeyMode::None);
    let mut random = Random::new(7);
    let (big, small) = (random.bytes(3_000_000), random.bytes(300_000));
    lab.backup_bytes("both", &[&big[..], &small].concat()).unwrap();
    lab.backup_bytes("small", &small).unwrap();
    let liar = Liar { inner: store, lie };
    let lying = lab.with_store(move || Box::new(liar.clone()));
    (lab, lying, small)
}

#[test]
fn an_archive_that_is_listed_twice_is_one_and_is_not_pruned_by_its_twin() {
    let (lab, lying, small) = behind(Lie::Twice);
    let repository = lying.reader().unwrap();
    assert_eq!(repository.archive_names().unwrap(), ["both", "small"]);
    let archives =
        ["both", "small"].map(|name| repository.archive(name).unwrap()).into_iter().collect();
    let mut rules = KeepRules::default();
    rules.daily = 1;
    let now = repository.archive("small").unwrap().archive.end;
    let plan = garret_core::plan_prune(archives, &rules, now, &|_| 0).unwrap();
    assert_eq!(plan.iter().filter(|decision| decision.kept.is_some()).count(), 1);
    drop(repository);
    let mut repository = lying.pruner().unwrap();
    repository.delete(&["both".to_owned()]).unwrap();
    repository.gc(&options(), &Silent).unwrap();
    drop(repository);
    assert!(lab.restore_bytes("small").unwrap() == small);
}

#[test]
fn old_packs_stay_until_the_new_ones_are_seen() {
    let (lab, lying, small) = behind(Lie::Written);
    let mut repository = lying.pruner().unwrap();
    repository.delete(&["both".to_owned()]).unwrap();
    let error = repository.gc(&options(), &Silent).unwrap_err();
    assert!(garret_core::message(&error).contains("that were written 0 are there"), "{error}");
    drop(repository);
    assert!(lab.restore_bytes("small").unwrap() == small);
}

fn options() -> GcOptions {
    let mut options = GcOptions::default();
    options.threads = 2;
    options
}

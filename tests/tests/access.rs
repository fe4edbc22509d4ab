//! What a repository was opened for is what can be done with it; and after gc it can be used like before.

use std::io::Cursor;

use garret_core::{
    Access, CheckOptions, Destination, Error, Input, MemoryStore, Repository, Result, Selection,
    Silent, StoreErrorKind,
};
use garret_format::config::KeyMode;
use garret_testkit::{Fault, FaultStore, Image, Lab, Verb};

fn back_up(lab: &Lab, repository: &mut Repository, name: &str, bytes: &[u8]) -> Result<()> {
    let reader = Box::new(Cursor::new(bytes.to_vec()));
    let input = Input::Stream { name: b"image".to_vec(), reader };
    garret_core::backup(repository, name, vec![input], &lab.options(), &Silent).map(drop)
}

fn restored(lab: &Lab, repository: &Repository, name: &str) -> Result<Vec<u8>> {
    let archive = repository.archive(name)?;
    let mut bytes = Vec::new();
    let to = Destination::Stream(&mut bytes);
    let (mut all, options) = (Selection::default(), lab.restore_options());
    garret_core::restore(repository, &archive, &mut all, to, &options, &Silent)?;
    Ok(bytes)
}

fn collect(lab: &Lab, repository: &mut Repository) -> Result<()> {
    let options = garret_core::GcOptions { compression: lab.compression, threads: lab.threads };
    garret_core::gc(repository, &options, &Silent).map(drop)
}

#[test]
fn what_was_not_opened_for_it_is_not_written() {
    let (lab, store) = Lab::memory(KeyMode::None);
    lab.backup_bytes("a", b"content").unwrap();
    let before = store.objects();
    for access in [Access::Read, Access::Check, Access::Create] {
        let mut repository = lab.open(access).unwrap();
        let deleted = garret_core::delete(&repository, &["a".to_owned()]);
        assert!(matches!(deleted, Err(Error::Access { .. })), "{access:?}: {deleted:?}");
        let collected = collect(&lab, &mut repository);
        assert!(matches!(collected, Err(Error::Access { .. })), "{access:?}: {collected:?}");
    }
    let made = back_up(&lab, &mut lab.open(Access::Read).unwrap(), "b", b"new");
    assert!(matches!(made, Err(Error::Access { .. })), "{made:?}");
    let text = garret_core::message(&made.unwrap_err());
    assert_eq!(text, "the repository was opened to read it: that is not enough to add to it");
    for access in [Access::Read, Access::Create] {
        let options = CheckOptions { packs: true, archives: true, verify_data: false, threads: 1 };
        let checked = garret_core::check(&lab.open(access).unwrap(), &options, &Silent);
        assert!(matches!(checked, Err(Error::Access { .. })), "{access:?}: {checked:?}");
    }
    assert!(store.objects() == before);
    for access in [Access::Create, Access::Delete] {
        let name = format!("{access:?}");
        back_up(&lab, &mut lab.open(access).unwrap(), &name, b"new").unwrap();
    }
    garret_core::delete(&lab.open(Access::Delete).unwrap(), &["a".to_owned()]).unwrap();
    assert_eq!(lab.names(), ["Create", "Delete"]);
}

#[test]
fn a_repository_is_as_useful_after_gc_as_before() {
    let directory = tempfile::tempdir().unwrap();
    for cache in [None, Some(directory.path().to_owned())] {
        let (lab, _) = Lab::memory(KeyMode::Passphrase);
        let lab = lab.with_cache(cache);
        let images = [1, 2, 3].map(|seed| Image::noise(seed, 900_000).bytes);
        let mut repository = lab.open(Access::Delete).unwrap();
        for (number, image) in images.iter().enumerate() {
            back_up(&lab, &mut repository, &number.to_string(), image).unwrap();
        }
        garret_core::delete(&repository, &["0".to_owned()]).unwrap();
        collect(&lab, &mut repository).unwrap();
        assert!(restored(&lab, &repository, "1").unwrap() == images[1]);
        let before = repository.stored_len().unwrap();
        back_up(&lab, &mut repository, "again", &images[2]).unwrap();
        let grown = repository.stored_len().unwrap() - before;
        assert!(grown < 50_000, "{grown} bytes for what is there");
        // What is gone is not taken for known.
        back_up(&lab, &mut repository, "back", &images[0]).unwrap();
        assert!(restored(&lab, &repository, "back").unwrap() == images[0]);
        collect(&lab, &mut repository).unwrap();
        drop(repository);
        lab.check();
        for (name, image) in [("1", 1), ("2", 2), ("again", 2), ("back", 0)] {
            assert!(lab.restore_bytes(name).unwrap() == images[image], "{name}");
        }
    }
}

/// Wherever a gc fails, what the same repository backs up afterwards does not rely on packs that went.
#[test]
fn a_gc_that_failed_leaves_no_memory_of_what_it_removed() {
    let images = [1, 2].map(|seed| Image::noise(seed, 400_000).bytes);
    let mut after = 0;
    loop {
        let memory = MemoryStore::new();
        let store = FaultStore::new(memory);
        let inside = store.clone();
        let lab = Lab::over(move || Box::new(inside.clone()), KeyMode::None);
        let mut repository = lab.open(Access::Delete).unwrap();
        back_up(&lab, &mut repository, "a", &images[0]).unwrap();
        back_up(&lab, &mut repository, "b", &images[1]).unwrap();
        garret_core::delete(&repository, &["a".to_owned()]).unwrap();
        let verbs = Vec::<Verb>::new();
        store.arm(Fault { verbs, after, times: 1, kind: StoreErrorKind::Other });
        let collected = collect(&lab, &mut repository);
        let fired = store.fired();
        store.disarm();
        let made = back_up(&lab, &mut repository, "c", &images[0]);
        made.unwrap_or_else(|error| panic!("operation {after}: {error}"));
        drop(repository);
        assert!(lab.restore_bytes("c").unwrap() == images[0], "operation {after}");
        assert!(lab.restore_bytes("b").unwrap() == images[1], "operation {after}");
        if fired == 0 {
            collected.unwrap();
            break;
        }
        after += 1;
    }
    assert!(after > 10, "{after} operations are no gc");
}

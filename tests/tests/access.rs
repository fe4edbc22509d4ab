//! What a repository was opened for is what can be done with it; and after gc it can be used like before.

use std::io::Cursor;

use garret_core::{
    Destination, Error, GcOptions, Input, Key, MemoryStore, Pruner, Repository, Result, Selection,
    Silent, StoreErrorKind,
};
use garret_format::config::KeyMode;
use garret_testkit::{Fault, FaultStore, Image, Lab, Verb, check_options};

fn back_up(lab: &Lab, repository: &mut Pruner, name: &str, bytes: &[u8]) -> Result<()> {
    let reader = Box::new(Cursor::new(bytes.to_vec()));
    let input = Input::Stream { name: b"image".to_vec(), reader };
    repository.backup(name, vec![input], &lab.options(), &Silent).map(drop)
}

fn restored(lab: &Lab, repository: &Repository, name: &str) -> Result<Vec<u8>> {
    let archive = repository.archive(name)?;
    let mut bytes = Vec::new();
    let to = Destination::Stream(&mut bytes);
    let (mut all, options) = (Selection::default(), lab.restore_options());
    repository.restore(&archive, &mut all, to, &options, &Silent)?;
    Ok(bytes)
}

fn collect(lab: &Lab, repository: &mut Pruner) -> Result<()> {
    let mut options = GcOptions::default();
    options.threads = lab.threads;
    repository.gc(&options, &Silent).map(drop)
}

/// What is not allowed does not compile (see `Writer`, `Checker`, `Pruner`); what is does its work, and no more.
#[test]
fn each_session_does_what_it_is_for() {
    let (lab, store) = Lab::memory(KeyMode::None);
    lab.backup_bytes("a", b"content").unwrap();
    let before = store.objects();
    assert_eq!(restored(&lab, &lab.reader().unwrap(), "a").unwrap(), b"content");
    let checked = lab.checker().unwrap().check(&check_options(true, 1), &Silent).unwrap();
    assert_eq!((checked.archive_count, checked.problem_count), (1, 0));
    // What it read is noted, and nothing else is changed.
    let mut after = store.objects();
    assert!(after.remove(&Key::Verified).is_some() && after == before);
    let mut writer = lab.writer().unwrap();
    let reader = writer.clone();
    let input = Input::Stream { name: b"image".to_vec(), reader: Box::new(&b"new"[..]) };
    writer.backup("b", vec![input], &lab.options(), &Silent).unwrap();
    // Who had it before sees what came.
    assert_eq!(restored(&lab, &reader, "b").unwrap(), b"new");
    let archive = reader.archive("b").unwrap();
    let item = reader.items(&archive).next().unwrap().unwrap();
    let file = reader.open_file(&item).unwrap().unwrap();
    drop((reader, writer));
    let mut bytes = [0; 3];
    file.read(&mut bytes, 0).unwrap();
    assert_eq!(&bytes, b"new");
    // The file still has the repository open.
    let exclusive = lab.unlocked_without_patience().exclusive(&Silent);
    assert!(matches!(exclusive, Err(Error::Lock { .. })), "{exclusive:?}");
    drop(file);
    let mut exclusive = lab.pruner().unwrap();
    exclusive.delete(&["a".to_owned()]).unwrap();
    assert_eq!(exclusive.check(&check_options(true, 1), &Silent).unwrap().archive_count, 1);
    drop(exclusive);
    assert_eq!(lab.names(), ["b"]);
}

#[test]
fn a_repository_is_as_useful_after_gc_as_before() {
    let directory = tempfile::tempdir().unwrap();
    for cache in [None, Some(directory.path().to_owned())] {
        let (lab, _) = Lab::memory(KeyMode::Passphrase);
        let lab = lab.with_cache(cache);
        let images = [1, 2, 3].map(|seed| Image::noise(seed, 900_000).bytes);
        let mut repository = lab.pruner().unwrap();
        for (number, image) in images.iter().enumerate() {
            back_up(&lab, &mut repository, &number.to_string(), image).unwrap();
        }
        repository.delete(&["0".to_owned()]).unwrap();
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
        let mut repository = lab.pruner().unwrap();
        back_up(&lab, &mut repository, "a", &images[0]).unwrap();
        back_up(&lab, &mut repository, "b", &images[1]).unwrap();
        repository.delete(&["a".to_owned()]).unwrap();
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

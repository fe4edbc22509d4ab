//! Failing storage (T9 in process): whatever operation fails, once or from then on, no archive is made that does not
//! restore, and when the storage works again so does everything else, without a manual step.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::BTreeMap;

use garret_core::{Input, Key, MemoryStore, Result, StoreErrorKind};
use garret_format::config::KeyMode;
use garret_testkit::{Fault, FaultStore, Image, Lab, Verb};

/// A small life of a repository: two archives that share half, one deleted and collected, a third.
struct Scenario {
    images: BTreeMap<&'static str, Vec<u8>>,
}

impl Scenario {
    fn new() -> Self {
        let first = Image::noise(1, 300_000).bytes;
        let mut second = first[..150_000].to_vec();
        second.extend(Image::noise(2, 150_000).bytes);
        let mut third = second.clone();
        third.extend(Image::generate(3, 100_000).bytes);
        Scenario { images: BTreeMap::from([("a", first), ("b", second), ("c", third)]) }
    }

    /// Runs until something fails; gives the archives that must be there, and the error.
    fn run(&self, lab: &Lab) -> (Vec<&'static str>, Result<()>) {
        let mut made = Vec::new();
        for step in ["a", "b", "delete a", "gc", "c"] {
            let result = match step {
                "delete a" => {
                    // Whether or not this succeeds, the archive may be gone.
                    made.retain(|name| *name != "a");
                    lab.delete("a")
                }
                "gc" => lab.gc_reporting().map(drop),
                name => back_up(lab, name, &self.images[name]).map(|()| made.push(name)),
            };
            if let Err(error) = result {
                return (made, Err(error));
            }
        }
        (made, Ok(()))
    }

    /// Everything the storage still has after trouble is right, and work goes on.
    fn check_after(&self, lab: &Lab, made: &[&str], when: &str) {
        let names = lab.names();
        for name in made {
            assert!(names.contains(&(*name).to_owned()), "{when}: archive {name} is gone");
        }
        for name in &names {
            let bytes = lab.restore_bytes(name).unwrap_or_else(|e| panic!("{when}: {name}: {e}"));
            assert!(bytes == self.images[name.as_str()], "{when}: {name} has other bytes");
        }
        lab.gc().unwrap_or_else(|error| panic!("{when}: gc afterwards: {error}"));
        let next = Image::noise(9, 100_000).bytes;
        lab.backup_bytes("next", &next).unwrap_or_else(|e| panic!("{when}: create: {e}"));
        let (_, problems) = lab.check_reporting(true).unwrap();
        assert_eq!(problems, [""; 0], "{when}: check");
        for name in names {
            assert!(
                lab.restore_bytes(&name).unwrap() == self.images[name.as_str()],
                "{when}: {name}"
            );
        }
        assert!(lab.restore_bytes("next").unwrap() == next, "{when}");
    }
}

/// As `Lab::backup_bytes`, and what is told does not matter: structure that cannot be read in one pack is read in another.
fn back_up(lab: &Lab, name: &str, bytes: &[u8]) -> Result<()> {
    let reader = Box::new(std::io::Cursor::new(bytes.to_vec()));
    let input = Input::Stream { name: b"image".to_vec(), reader };
    lab.backup_inputs(name, vec![input]).map(drop)
}

fn try_every_operation(mode: KeyMode, sticky: bool, kind: StoreErrorKind) -> u64 {
    let scenario = Scenario::new();
    let (lab, empty) = Lab::memory(mode);
    let objects = empty.objects();
    let mut after = 0;
    loop {
        let memory = MemoryStore::from_objects(objects.clone());
        let store = FaultStore::new(memory);
        let inside = store.clone();
        let lab = lab.with_store(move || Box::new(inside.clone()));
        let times = if sticky { Fault::FOR_GOOD } else { 1 };
        store.arm(Fault { verbs: Vec::new(), after, times, kind });
        let (made, result) = scenario.run(&lab);
        let (fired, log) = (store.fired(), store.log());
        store.disarm();
        let place = log.get(after as usize).map(|(verb, object)| format!("{verb:?} {object}"));
        let when = format!("{mode:?}, operation {after} ({place:?}), sticky {sticky}, {kind:?}");
        if fired == 0 {
            assert!(result.is_ok(), "{when}: {result:?}");
            return after;
        }
        if sticky {
            assert!(result.is_err(), "{when}: nothing worked any more and nobody said so");
        }
        if let Err(error) = result {
            let text = garret_core::message(&error);
            assert!(
                text.contains("injected") || text.contains("space") || text.contains("pack"),
                "{when}: {text}"
            );
        }
        scenario.check_after(&lab, &made, &when);
        after += 1;
    }
}

#[test]
fn every_operation_fails_once_and_for_good() {
    let mut points = 0;
    std::thread::scope(|scope| {
        let runs = [
            (KeyMode::None, false, StoreErrorKind::Other),
            (KeyMode::Passphrase, true, StoreErrorKind::Other),
            (KeyMode::None, true, StoreErrorKind::NoSpace),
            (KeyMode::None, false, StoreErrorKind::NoSpace),
        ];
        let threads = runs.map(|(mode, sticky, kind)| {
            scope.spawn(move || try_every_operation(mode, sticky, kind))
        });
        points = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
    });
    println!("{points} faults injected");
    assert!(points > 200, "{points} operations are not the whole scenario");
}

/// A read error while the index is made again from packs is not taken for the end of a pack: what the pack holds is found
/// the next time, also when its footer is really lost and its groups have to be walked.
#[test]
fn a_read_error_while_the_index_is_rebuilt_loses_nothing() {
    for footer_lost in [false, true] {
        let (mut lab, memory) = Lab::memory(KeyMode::None);
        lab.compression = garret_core::Compression::None;
        let image = Image::noise(4, 2_500_000).bytes;
        lab.backup_bytes("a", &image).unwrap();
        let mut objects = memory.objects();
        objects.retain(|key, _| !matches!(key, Key::Index(_)));
        for (key, bytes) in &mut objects {
            if footer_lost && matches!(key, Key::Pack(_)) {
                *bytes.last_mut().unwrap() ^= 1;
            }
        }
        for after in 0..30 {
            let store = FaultStore::new(MemoryStore::from_objects(objects.clone()));
            let inside = store.clone();
            let lab = lab.with_store(move || Box::new(inside.clone()));
            let verbs = vec![Verb::Get, Verb::Len];
            store.arm(Fault { verbs, after, times: 1, kind: StoreErrorKind::Other });
            // Stores a segment of whatever was found, whether or not the archive is made.
            let _ = back_up(&lab, "b", b"something else");
            store.disarm();
            let when = format!("footer lost {footer_lost}, read {after}");
            let restored = lab.restore_bytes("a").unwrap_or_else(|e| panic!("{when}: {e}"));
            assert!(restored == image, "{when}");
            lab.gc_reporting().unwrap();
            assert!(lab.restore_bytes("a").is_ok_and(|bytes| bytes == image), "{when}, after gc");
        }
    }
}

//! Death of the process and loss of power at every operation of the store (T3, T6): what `backup` called done is there,
//! what is listed restores, and work goes on without a manual step.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::BTreeMap;

use garret_core::{Key, StoreErrorKind};
use garret_format::config::KeyMode;
use garret_testkit::{Fault, FaultStore, Image, Lab, PowerStore, Random};

type Objects = BTreeMap<Key, Vec<u8>>;

fn images() -> BTreeMap<String, Vec<u8>> {
    let mut image = Image::generate(11, 400_000);
    let mut images = BTreeMap::new();
    for name in ["a", "b", "c"] {
        images.insert(name.to_owned(), image.bytes.clone());
        image.mutate(images.len() as u64);
        image.resize(image.bytes.len() + 50_000);
    }
    images
}

/// Runs the scenario until the store dies; gives the archives that `backup` called done and that nobody deleted.
fn run(lab: &Lab, images: &BTreeMap<String, Vec<u8>>) -> Vec<String> {
    let mut done = Vec::new();
    for step in ["a", "b", "delete a", "gc", "c", "delete b", "gc"] {
        let result = match step.strip_prefix("delete ") {
            Some(name) => {
                done.retain(|known| known != name);
                lab.delete(name)
            }
            None if step == "gc" => lab.gc_reporting().map(drop),
            None => lab.backup_bytes(step, &images[step]).map(|_| done.push(step.to_owned())),
        };
        if result.is_err() {
            break;
        }
    }
    done
}

/// What must hold of the objects that are left.
fn check_left(
    lab: &Lab,
    objects: Objects,
    done: &[String],
    images: &BTreeMap<String, Vec<u8>>,
    when: &str,
) {
    let store = PowerStore::from_objects(objects);
    let lab = lab.with_store(move || Box::new(store.clone()));
    let restores = |lab: &Lab, names: &[String], when: &str| {
        for name in names {
            let bytes = lab.restore_bytes(name);
            let bytes = bytes.unwrap_or_else(|error| panic!("{when}: archive {name}: {error}"));
            assert!(bytes == images[name], "{when}: archive {name} has other bytes");
        }
    };
    let names = lab.names();
    for name in done {
        assert!(names.contains(name), "{when}: archive {name} is gone");
    }
    restores(&lab, &names, when);
    lab.gc().unwrap_or_else(|error| panic!("{when}: gc: {error}"));
    restores(&lab, &names, &format!("{when}, after gc"));
    let packs_before = lab.check().pack_bytes;
    // A second gc finds nothing: the first left no garbage.
    assert_eq!(lab.gc().unwrap().deleted_pack_count, 0, "{when}");
    assert_eq!(lab.check().pack_bytes, packs_before, "{when}");
    if !names.contains(&"c".to_owned()) {
        lab.backup_bytes("c", &images["c"]).unwrap();
        restores(&lab, &["c".to_owned()], when);
    }
}

fn die_everywhere(mode: KeyMode, cuts: u64) -> (u64, u64) {
    let images = images();
    let (lab, empty) = Lab::memory(mode);
    let (mut after, mut trials) = (0, 0);
    loop {
        let power = PowerStore::from_objects(empty.objects());
        let store = FaultStore::new(power.clone());
        let inside = store.clone();
        let dying = lab.with_store(move || Box::new(inside.clone()));
        store.arm(Fault {
            verbs: vec![],
            after,
            times: Fault::FOR_GOOD,
            kind: StoreErrorKind::Other,
        });
        let done = run(&dying, &images);
        let dead = store.fired() > 0;
        let place = store.log().get(after as usize).cloned();
        let when = |how: &str| format!("{mode:?}, before operation {after} {place:?}, {how}");
        check_left(&lab, power.after_kill(), &done, &images, &when("killed"));
        let none = power.after_power_cut(|_| false);
        check_left(&lab, none, &done, &images, &when("power cut, nothing unsynced kept"));
        // Each kind of object on its own: an index without its packs, an archive without either.
        for kind in 0..3 {
            let left = power.after_power_cut(|key| match key {
                Key::Pack(_) => kind == 0,
                Key::Index(_) => kind == 1,
                _ => kind == 2,
            });
            check_left(&lab, left, &done, &images, &when(&format!("power cut, kept kind {kind}")));
        }
        for cut in 0..cuts {
            let seed = Random::new(after * 1000 + cut).word();
            let left = power.after_random_power_cut(seed);
            check_left(&lab, left, &done, &images, &when(&format!("power cut, seed {seed}")));
        }
        trials += 5 + cuts;
        if !dead {
            return (after, trials);
        }
        after += 1;
    }
}

#[test]
fn every_operation_is_survived_as_the_last_one() {
    let (one, two) = std::thread::scope(|scope| {
        let one = scope.spawn(|| die_everywhere(KeyMode::None, 4));
        let two = scope.spawn(|| die_everywhere(KeyMode::Passphrase, 2));
        (one.join().unwrap(), two.join().unwrap())
    });
    println!("{} points, {} reopenings", one.0 + two.0, one.1 + two.1);
    assert!(one.0 > 60, "{} operations are not the whole scenario", one.0);
}

/// After a crash between packs and archive, the next backup of the same source stores nothing twice.
#[test]
fn what_a_crashed_backup_stored_is_used_by_the_next() {
    let image = Image::noise(5, 300_000).bytes;
    for round in 0..10 {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("repo");
        let lab = Lab::local(&root, KeyMode::None);
        lab.backup_bytes("a", &image).unwrap();
        for area in ["index", "backups"] {
            for entry in std::fs::read_dir(root.join(area)).unwrap() {
                std::fs::remove_file(entry.unwrap().path()).unwrap();
            }
        }
        let again = lab.backup_bytes("a", &image).unwrap();
        assert_eq!(again.written.chunk_count, 0, "round {round}");
        lab.check();
    }
}

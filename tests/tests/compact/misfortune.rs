//! Kills, power cuts, full disks, damage, and others at work: every archive is as it was.

use garret_core::{CompactReport, Key, MemoryStore, Silent, Store, StoreErrorKind};
use garret_format::config::KeyMode;
use garret_testkit::{Fault, FaultStore, Lab, PowerStore, Recorder, damage};

use super::{
    HARD, all_are, compact, compact_in, len, name, nights, options, packs, store_all, stored,
};

/// These archives come back, whatever went wrong after so many operations.
fn kept_are(lab: &Lab, kept: &[(usize, &Vec<u8>)], after: u64) {
    for (number, night) in kept {
        assert!(lab.restore_bytes(&name(*number)).unwrap() == **night, "after {after}: {number}");
    }
}

/// Killed, and with a power cut after that, at every operation of the store.
#[test]
fn killed_at_any_moment_it_costs_its_own_work_only() {
    let nights = nights(5, 3, 1 << 20);
    let (lab, store) = {
        let power = PowerStore::new();
        let shared = power.clone();
        (Lab::over(move || Box::new(shared.clone()), KeyMode::None), power)
    };
    store_all(&lab, &nights);
    lab.delete(&name(1)).unwrap();
    store.sync().unwrap();
    let kept = [(0, &nights[0]), (2, &nights[2])];
    let objects = store.after_kill();
    let mut after = 0;
    loop {
        for cut in [None, Some(after), Some(!after)] {
            let power = PowerStore::from_objects(objects.clone());
            let fault = FaultStore::new(power.clone());
            let shared = fault.clone();
            let victim = lab.with_store(move || Box::new(shared.clone()));
            let mut session = victim.pruner().unwrap();
            let (verbs, times) = (Vec::new(), Fault::FOR_GOOD);
            fault.arm(Fault { verbs, after, times, kind: StoreErrorKind::Other });
            let done = compact_in(&mut session, HARD);
            drop(session);
            if fault.fired() == 0 {
                done.unwrap();
                assert!(after > 20, "{after} operations are none");
                return;
            }
            let left = match cut {
                None => power.after_kill(),
                Some(seed) => power.after_random_power_cut(seed),
            };
            let power = PowerStore::from_objects(left);
            let heir = lab.with_store(move || Box::new(power.clone()));
            kept_are(&heir, &kept, after);
            compact(&heir);
            assert_eq!(compact(&heir).group_count, 0, "operation {after}");
            kept_are(&heir, &kept, after);
            heir.check();
        }
        after += 1;
    }
}

/// Switched off every night at the same operation: what one made is used by the next, and nothing piles up.
#[test]
fn killed_again_and_again_nothing_piles_up() {
    let nights = nights(16, 3, 1 << 20);
    let (lab, store) = stored(&nights);
    let (objects, before) = (store.objects(), len(&store));
    compact(&lab);
    let made = len(&store);
    let mut after = 0;
    loop {
        let store = MemoryStore::from_objects(objects.clone());
        let fault = FaultStore::new(store.clone());
        let shared = fault.clone();
        let victim = lab.with_store(move || Box::new(shared.clone()));
        let mut is_whole = false;
        for night in 0..4 {
            let (verbs, times) = (Vec::new(), Fault::FOR_GOOD);
            fault.arm(Fault { verbs, after, times, kind: StoreErrorKind::Other });
            let session = victim.pruner();
            let done = session.and_then(|mut session| compact_in(&mut session, HARD));
            is_whole |= night == 0 && fault.fired() == 0 && done.is_ok();
            fault.disarm();
            // One round, of packs of files and the structure beside it.
            let most = before + made + 100_000;
            assert!(len(&store) <= most, "operation {after}, night {night}: {}", len(&store));
        }
        if is_whole {
            assert!(after > 20, "{after} operations are none");
            return;
        }
        let shared = store.clone();
        let heir = lab.with_store(move || Box::new(shared.clone()));
        all_are(&heir, &nights);
        compact(&heir);
        assert!(len(&store) < made / 8 * 9, "operation {after}: {} and {made}", len(&store));
        after += 1;
    }
}

/// What a gc refuses would be made again each night, for no old copy goes: nothing is made, and the dry run fails as well.
#[test]
fn what_a_gc_refuses_is_not_begun() {
    let nights = nights(17, 3, 4 << 20);
    let spoil: [fn(&MemoryStore); 2] = [
        |store| {
            let (key, _) = packs(store).into_iter().max_by_key(|(_, len)| *len).unwrap();
            store.delete(&key).unwrap();
        },
        |store| {
            let stranger = Key::Archive(name(1));
            store.delete(&stranger).unwrap();
            store.put(&stranger, &[b"hello"]).unwrap();
        },
    ];
    for (number, spoil) in spoil.into_iter().enumerate() {
        let (lab, store) = stored(&nights);
        spoil(&store);
        let before = packs(&store);
        let planned = lab.reader().unwrap().plan_compact(&options(HARD, 1), &Recorder::default());
        let done = compact_in(&mut lab.pruner().unwrap(), HARD);
        let (planned, done) = (planned.unwrap_err(), done.unwrap_err());
        assert_eq!(planned.to_string(), done.to_string(), "{number}");
        assert_eq!(packs(&store), before, "{number}");
    }
}

#[test]
fn a_full_disk_leaves_what_was_there() {
    let nights = nights(6, 4, 4 << 20);
    let (lab, store) = stored(&nights);
    let before = packs(&store);
    let fault = FaultStore::new(store.clone());
    let shared = fault.clone();
    let full = lab.with_store(move || Box::new(shared.clone()));
    let mut session = full.pruner().unwrap();
    let verbs = vec![garret_testkit::Verb::Put];
    fault.arm(Fault { verbs, after: 0, times: Fault::FOR_GOOD, kind: StoreErrorKind::NoSpace });
    let error = compact_in(&mut session, HARD).unwrap_err();
    assert_eq!(error.cause(), garret_core::Cause::Full);
    drop(session);
    assert_eq!(packs(&store), before);
    all_are(&lab, &nights);
}

/// Full from some object on, and whatever goes makes no room: nothing is lost, and the next one ends as one that had room all
/// along, about.
#[test]
fn a_disk_that_gets_full_at_any_moment_loses_nothing() {
    let nights = nights(10, 4, 2 << 20);
    let (lab, store) = stored(&nights);
    lab.delete(&name(1)).unwrap();
    let kept = [(0, &nights[0]), (2, &nights[2]), (3, &nights[3])];
    let objects = store.objects();
    compact(&lab);
    let with_room = len(&store);
    let mut after = 0;
    loop {
        let store = MemoryStore::from_objects(objects.clone());
        let fault = FaultStore::new(store.clone());
        let shared = fault.clone();
        let victim = lab.with_store(move || Box::new(shared.clone()));
        let mut session = victim.pruner().unwrap();
        let (verbs, times) = (vec![garret_testkit::Verb::Put], Fault::FOR_GOOD);
        fault.arm(Fault { verbs, after, times, kind: StoreErrorKind::NoSpace });
        let done = compact_in(&mut session, HARD);
        drop(session);
        if fault.fired() == 0 {
            done.unwrap();
            assert!(after > 4, "{after} objects are none");
            return;
        }
        if let Err(error) = done {
            assert_eq!(error.cause(), garret_core::Cause::Full, "object {after}: {error}");
        }
        let shared = store.clone();
        let heir = lab.with_store(move || Box::new(shared.clone()));
        kept_are(&heir, &kept, after);
        compact(&heir);
        let now = len(&store);
        assert!(now < with_room / 8 * 9, "object {after}: {now}, and {with_room} with room");
        assert_eq!(compact(&heir).group_count, 0, "object {after}");
        kept_are(&heir, &kept, after);
        heir.check();
        after += 1;
    }
}

/// On a full disk nothing of what a deleted archive leaves comes back, and that is said.
#[test]
fn a_disk_that_is_full_from_the_beginning_is_told_of() {
    let nights = nights(19, 2, 2 << 20);
    let (lab, store) = stored(&nights);
    compact(&lab);
    lab.delete(&name(0)).unwrap();
    lab.delete(&name(1)).unwrap();
    let fault = FaultStore::new(store);
    let shared = fault.clone();
    let full = lab.with_store(move || Box::new(shared.clone()));
    let mut session = full.pruner().unwrap();
    let (verbs, times) = (vec![garret_testkit::Verb::Put], Fault::FOR_GOOD);
    fault.arm(Fault { verbs, after: 0, times, kind: StoreErrorKind::NoSpace });
    let error = compact_in(&mut session, HARD).unwrap_err();
    assert_eq!(error.cause(), garret_core::Cause::Full);
}

/// A mount of weeks: what was made is found by the next one, although no old pack goes, nor all of it would.
#[test]
fn beside_a_long_session_nothing_is_made_again() {
    let mut random = garret_random::Random::new(20);
    let noise = random.bytes(24 << 20);
    let nights: Vec<Vec<u8>> =
        nights(20, 3, 400 << 10).into_iter().map(|night| [night, noise.clone()].concat()).collect();
    let (lab, store) = stored(&nights);
    let reader = lab.reader().unwrap();
    assert!(compact(&lab).group_count > 0);
    for _ in 0..3 {
        let before = packs(&store);
        assert_eq!(compact(&lab).group_count, 0);
        assert_eq!(packs(&store), before);
    }
    drop(reader);
    compact(&lab);
    all_are(&lab, &nights);
}

/// Who began before goes on with what he knows: old copies wait for him.
#[test]
fn sessions_beside_it_go_on() {
    let nights = nights(7, 4, 4 << 20);
    let (lab, store) = stored(&nights[..3]);
    let mut writer = lab.writer().unwrap();
    let reader = lab.reader().unwrap();
    let done = compact(&lab);
    assert!(done.gc.waiting_pack_count > 0 && done.gc.deleted_pack_count == 0, "{done:?}");
    for (number, night) in nights[..3].iter().enumerate() {
        let archive = reader.archive(&name(number)).unwrap();
        assert!(lab.restore_from(&reader, &archive).unwrap() == *night, "night {number}");
    }
    let stream = Box::new(std::io::Cursor::new(nights[3].clone()));
    let input = garret_core::Input::Stream { name: b"image".to_vec(), reader: stream };
    writer.backup(&name(3), vec![input], &lab.options(), &Recorder::default()).unwrap();
    let full = len(&store);
    drop((writer, reader));
    all_are(&lab, &nights);
    let done = compact(&lab);
    assert!(done.gc.waiting_pack_count == 0 && len(&store) < full / 2 + full / 4, "{done:?}");
    all_are(&lab, &nights);
}

/// The largest pack: that of the first night. One of its groups is damaged. Gives its bytes as they were.
fn damage_largest(store: &MemoryStore) -> (Key, Vec<u8>) {
    let (key, len) = packs(store).into_iter().max_by_key(|(_, len)| *len).unwrap();
    let bytes = store.get(&key, 0..len).unwrap();
    let mut damaged = bytes.clone();
    damaged[100_000] ^= 1;
    damage(store, &key, &damaged);
    (key, bytes)
}

/// What it did, and what went wrong.
fn compact_reporting(lab: &Lab) -> (CompactReport, Vec<String>) {
    let recorder = Recorder::default();
    let done = lab.pruner().unwrap().compact(&options(HARD, 2), &recorder).unwrap();
    (done, recorder.problems())
}

/// What cannot be read stays where it is, and is told of; the rest is done, once.
#[test]
fn damage_stays_where_it_is() {
    let nights = nights(8, 3, 10 << 20);
    let (lab, store) = stored(&nights);
    let (pack, bytes) = damage_largest(&store);
    let (done, problems) = compact_reporting(&lab);
    assert!(done.group_count > 0 && done.gc.problem_count > 0);
    assert!(problems.iter().any(|text| text.contains(&pack.to_string())), "{problems:?}");
    let before = packs(&store);
    assert_nothing_is_compacted(&lab);
    assert_eq!(packs(&store), before);
    // It is there still, so that what is intact of it can be used; put right, nothing is lost.
    store.put(&pack, &[&bytes]).unwrap();
    lab.exclusive().unwrap().repair(2, &Silent).unwrap();
    all_are(&lab, &nights);
}

fn assert_nothing_is_compacted(lab: &Lab) {
    let (done, problems) = compact_reporting(lab);
    assert!(done.group_count == 0 && done.gc.problem_count > 0, "{done:?}");
    assert!(problems.iter().any(|text| text.contains("nothing is compacted")), "{problems:?}");
}

/// While old copies must stay, new ones would be made each night.
#[test]
fn nothing_is_compacted_while_something_that_is_needed_is_damaged() {
    let nights = nights(9, 3, 10 << 20);
    let (lab, store) = stored(&nights);
    damage_largest(&store);
    assert!(lab.check_reporting(true).unwrap().0.problem_count > 0);
    let before = packs(&store);
    assert_nothing_is_compacted(&lab);
    assert_eq!(packs(&store), before);
    // Backed up again all of it is there once more.
    for (number, night) in nights.iter().enumerate() {
        lab.backup_bytes(&format!("again-{number}"), night).unwrap();
    }
    assert!(compact(&lab).group_count > 0);
    all_are(&lab, &nights);
}

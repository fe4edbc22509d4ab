//! A copy of a repository is brought up to date: whatever both live through, it has what it should, and all of it restores.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::{BTreeMap, BTreeSet};

use garret_core::{Area, Error, Key, MemoryStore, Store, StoreErrorKind, TransferReport};
use garret_format::config::KeyMode;
use garret_testkit::{Fault, FaultStore, Image, Lab, Random, Recorder, is_structure};

/// A repository and a copy of it, without archives.
fn pair(mode: KeyMode) -> (Lab, MemoryStore, Lab, MemoryStore) {
    let (mut from, there) = Lab::memory(mode);
    from.threads = 2;
    let here = MemoryStore::new();
    garret_core::open(there.clone()).unwrap().make_copy(&here).unwrap();
    let store = here.clone();
    let to = from.with_store(move || Box::new(store.clone()));
    (from, there, to, here)
}

/// Brings all archives; what went wrong, in words.
fn transfer(from: &Lab, to: &Lab) -> Result<(TransferReport, Vec<String>), Error> {
    let heard = Recorder::default();
    let source = from.reader()?;
    let report = to.writer()?.transfer(&source, source.archive_names()?, None, &heard)?;
    Ok((report, heard.problems()))
}

/// Without problems.
fn transfer_all(from: &Lab, to: &Lab) -> TransferReport {
    let (report, problems) = transfer(from, to).unwrap();
    assert_eq!(problems, Vec::<String>::new());
    report
}

fn seed() -> u64 {
    std::env::var("GARRET_SEED").map_or(1, |seed| seed.parse().unwrap())
}

/// Changes some stretches; now and then to what was there long ago.
fn change(image: &mut [u8], random: &mut Random) {
    for _ in 0..random.below(4usize) {
        let start = random.below(image.len() - 200_000);
        let new = Image::noise(random.below(12), 200_000).bytes;
        image[start..start + 200_000].copy_from_slice(&new);
    }
}

#[test]
fn whatever_both_live_through_the_copy_has_what_it_should() {
    // In the last one a check tells of what `sound` says.
    for seed in (0..6).map(|round| seed() * 1000 + round).chain([8001]) {
        println!("GARRET_SEED={seed}");
        live(seed);
    }
}

fn live(seed: u64) {
    let mut random = Random::new(seed);
    let modes = [KeyMode::None, KeyMode::Passphrase];
    let (from, _, to, _) = pair(modes[random.below(2usize)]);
    let mut image = Image::noise(seed, 3_000_000).bytes;
    let (mut there, mut here) = (BTreeMap::new(), BTreeMap::new());
    let mut deleted = BTreeSet::new();
    for step in 0..40 {
        match random.below(10u32) {
            0..=3 => {
                change(&mut image, &mut random);
                let name = format!("night-{step}");
                from.backup_bytes(&name, &image).unwrap();
                there.insert(name, image.clone());
            }
            4 => drop(random_one(&there, &mut random).map(|name| {
                from.delete(&name).unwrap();
                there.remove(&name);
            })),
            5 => drop(random_one(&here, &mut random).map(|name| {
                to.delete(&name).unwrap();
                here.remove(&name);
                deleted.insert(name);
            })),
            6 => drop(from.gc().unwrap()),
            7 => {
                // With a reader there, what nobody needs is condemned, and goes the next time.
                let _reader = (random.below(2u32) == 0).then(|| to.reader().unwrap());
                to.gc().unwrap();
            }
            _ => {
                let (_, problems) = transfer(&from, &to).unwrap();
                let left_out =
                    |name: &String| problems.iter().any(|line| line.starts_with(name.as_str()));
                for (name, bytes) in &there {
                    if !deleted.contains(name) && !left_out(name) {
                        here.insert(name.clone(), bytes.clone());
                    }
                }
                let is_expected = |line: &String| line.contains("is being given back here");
                assert!(problems.iter().all(is_expected), "GARRET_SEED={seed}: {problems:?}");
                let expected: Vec<&String> = here.keys().collect();
                let mut names = to.names();
                names.sort();
                assert_eq!(
                    names.iter().collect::<Vec<_>>(),
                    expected,
                    "GARRET_SEED={seed}, step {step}"
                );
                for (name, bytes) in &here {
                    assert!(
                        to.restore_bytes(name).unwrap() == *bytes,
                        "GARRET_SEED={seed}: {name}"
                    );
                }
                to.check();
            }
        }
    }
    // What was in the way is gone after a gc.
    to.gc().unwrap();
    transfer_all(&from, &to);
    to.gc().unwrap();
    to.check();
}

fn random_one(archives: &BTreeMap<String, Vec<u8>>, random: &mut Random) -> Option<String> {
    (!archives.is_empty())
        .then(|| archives.keys().nth(random.below(archives.len())).unwrap().clone())
}

#[test]
fn what_broke_off_at_any_operation_goes_on() {
    let (from, _, to, here) = pair(KeyMode::Passphrase);
    let mut random = Random::new(seed());
    let mut image = Image::noise(3, 4_000_000).bytes;
    for night in 0..4 {
        from.backup_bytes(&format!("night-{night}"), &image).unwrap();
        change(&mut image, &mut random);
    }
    let mut operation = 0;
    loop {
        operation += 1;
        let store = FaultStore::new(here.clone());
        let faulty = store.clone();
        let broken = to.with_store(move || Box::new(faulty.clone()));
        let source = from.reader().unwrap();
        let mut writer = broken.writer().unwrap();
        let fault = Fault {
            verbs: Vec::new(),
            after: operation,
            times: Fault::FOR_GOOD,
            kind: StoreErrorKind::Other,
        };
        store.arm(fault);
        let names = source.archive_names().unwrap();
        let ended = writer.transfer(&source, names, None, &Recorder::default());
        if store.fired() == 0 {
            ended.unwrap();
            break;
        }
        drop(writer);
        if operation % 5 == 0 {
            to.check();
        }
    }
    let again = transfer_all(&from, &to);
    assert_eq!((again.brought.len(), again.pack_count, again.present_count), (0, 0, 4));
    assert_eq!(to.names().len(), 4);
    for name in from.names() {
        assert!(to.restore_bytes(&name).unwrap() == from.restore_bytes(&name).unwrap());
    }
}

#[test]
fn what_is_damaged_there_costs_only_the_archives_that_need_it() {
    let (from, there, to, _) = pair(KeyMode::None);
    let images = [1, 2, 3].map(|number| Image::noise(number, 2_000_000).bytes);
    let mut packs = Vec::new();
    for (number, image) in images.iter().enumerate() {
        from.backup_bytes(&format!("image-{number}"), image).unwrap();
        packs.push(
            there
                .objects()
                .into_iter()
                .filter(|(key, _)| matches!(key, Key::Pack(_)))
                .collect::<BTreeMap<_, _>>(),
        );
    }
    // The largest that the second one brought.
    let of_second = packs[1].iter().filter(|(key, _)| !packs[0].contains_key(key));
    let (key, bytes) = of_second.max_by_key(|(_, bytes)| bytes.len()).unwrap();
    let mut damaged = bytes.clone();
    damaged[bytes.len() / 2] ^= 1;
    there.put(key, &[&damaged]).unwrap();
    let (report, problems) = transfer(&from, &to).unwrap();
    assert_eq!(report.brought.len(), 2);
    assert!(
        problems.len() == 1 && problems[0].starts_with("image-1: not brought: "),
        "{problems:?}"
    );
    assert!(to.restore_bytes("image-0").unwrap() == images[0]);
    assert!(to.restore_bytes("image-2").unwrap() == images[2]);
    to.check();
    // When it is whole again the rest comes.
    there.put(key, &[bytes]).unwrap();
    assert_eq!(transfer_all(&from, &to).brought.len(), 1);
    assert!(to.restore_bytes("image-1").unwrap() == images[1]);
}

/// Of structure there are two copies: one is enough, with a word.
#[test]
fn a_damaged_copy_of_structure_costs_no_archive() {
    let (from, there, to, _) = pair(KeyMode::None);
    let image = Image::noise(1, 2_000_000).bytes;
    from.backup_bytes("a", &image).unwrap();
    let is_structure =
        |(key, bytes): &(Key, Vec<u8>)| matches!(key, Key::Pack(_)) && is_structure(bytes);
    let packs: Vec<(Key, Vec<u8>)> = there.objects().into_iter().filter(is_structure).collect();
    assert_eq!(packs.len(), 2);
    let (key, bytes) = &packs[1];
    let mut damaged = bytes.clone();
    damaged[bytes.len() / 2] ^= 1;
    there.put(key, &[&damaged]).unwrap();
    let (report, problems) = transfer(&from, &to).unwrap();
    assert_eq!(report.brought.len(), 1);
    // Whoever read it on the way, to know what the archive needs, has a word of it too.
    assert!(problems.iter().all(|line| line.contains(&key.to_string())), "{problems:?}");
    let is_told = problems.iter().any(|line| line.contains("of its structure one copy came"));
    assert!(is_told, "{problems:?}");
    assert!(to.restore_bytes("a").unwrap() == image);
}

#[test]
fn another_repository_is_no_copy() {
    let (from, ..) = pair(KeyMode::None);
    let (other, ..) = pair(KeyMode::None);
    from.backup_bytes("a", b"a").unwrap();
    let error = transfer(&from, &other).unwrap_err();
    assert!(error.to_string().contains("are not copies of one repository"), "{error}");
    assert_eq!(other.names(), Vec::<String>::new());
}

/// What somebody deletes between the listing and the reading is gone, and no problem.
#[test]
fn what_is_deleted_there_meanwhile_does_not_come() {
    let (from, _, to, _) = pair(KeyMode::None);
    from.backup_bytes("a", b"some").unwrap();
    let (source, heard) = (from.reader().unwrap(), Recorder::default());
    let names = vec!["a".to_owned(), "gone".to_owned()];
    let report = to.writer().unwrap().transfer(&source, names, None, &heard).unwrap();
    assert_eq!((report.brought.len(), heard.problems()), (1, Vec::new()));
    assert_eq!(heard.notices(), ["gone is not there any more: not brought"]);
}

/// What was found damaged here comes whole from there, and then counts again.
#[test]
fn a_damaged_pack_of_the_copy_is_mended_by_the_next_archive_that_needs_it() {
    let (from, _, to, here) = pair(KeyMode::None);
    let image = Image::noise(1, 2_000_000).bytes;
    from.backup_bytes("a", &image).unwrap();
    transfer_all(&from, &to);
    let packs = here.objects().into_iter().filter(|(key, _)| matches!(key, Key::Pack(_)));
    let (key, mut bytes) = packs.max_by_key(|(_, bytes)| bytes.len()).unwrap();
    bytes[1_000_000] ^= 1;
    here.put(&key, &[&bytes]).unwrap();
    to.check_reporting(true).unwrap();
    from.backup_bytes("b", &image).unwrap();
    assert!(transfer_all(&from, &to).pack_bytes > 2_000_000);
    assert_eq!(here.list(Area::Damage).unwrap(), []);
    to.check();
    from.backup_bytes("c", &image).unwrap();
    assert!(transfer_all(&from, &to).pack_bytes < 100_000);
    assert!(to.restore_bytes("a").unwrap() == image);
}

#[test]
fn tags_and_protection_come_with_their_archive() {
    let (from, _, to, _) = pair(KeyMode::Passphrase);
    from.backup_bytes("a", b"a").unwrap();
    let mut change = garret_core::TagChange::default();
    change.protect = Some(true);
    from.pruner().unwrap().tag(&["a".to_owned()], &change).unwrap();
    transfer_all(&from, &to);
    let copy = to.reader().unwrap();
    let archive = copy.archive("a").unwrap();
    assert!(copy.tags(&Recorder::default()).unwrap().is_protected(&archive));
}

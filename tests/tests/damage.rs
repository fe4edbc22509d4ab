//! Damage (T16, T17): every byte of a small repository changed, every object cut, removed, doubled, swapped. What is
//! restored is exact, or there is an error that says where; never other bytes, never a panic.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "helpers of tests, which say their counts"
)]

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use garret_core::{Compression, Error, Key, Locked, MemoryStore, Secret};
use garret_format::config::KeyMode;
use garret_testkit::{Lab, PASSPHRASE, Random, both};

type Objects = BTreeMap<Key, Vec<u8>>;

struct Victim {
    lab: Lab,
    objects: Objects,
    contents: BTreeMap<String, Vec<u8>>,
    mode: KeyMode,
}

/// Two archives, one with a zero run, each in a pack and two of structure; compressed and not.
fn victim(mode: KeyMode) -> Victim {
    let (mut lab, store) = Lab::memory(mode);
    let mut random = Random::new(1);
    let mut first = random.text(15_000);
    first.extend(random.bytes(8000));
    lab.compression = Compression::Zstd(3);
    lab.backup_bytes("first", &first).unwrap();
    lab.compression = Compression::Lz4;
    let mut second = random.text(15_000);
    second.extend([0; 70_000]);
    second.extend(random.bytes(8000));
    lab.backup_bytes("second", &second).unwrap();
    let contents = [("first".to_owned(), first), ("second".to_owned(), second)].into();
    Victim { lab, objects: store.objects(), contents, mode }
}

/// How trials ended.
#[derive(Default)]
struct Tally {
    exact: AtomicUsize,
    refused: AtomicUsize,
    bad: Mutex<Vec<String>>,
}

impl Tally {
    fn bad(&self, text: String) {
        self.bad.lock().unwrap().push(text);
    }

    fn report(self, what: &str) {
        let bad = self.bad.into_inner().unwrap();
        let (exact, refused) = (self.exact.into_inner(), self.refused.into_inner());
        println!("{what}: {exact} exact, {refused} refused, {} wrong", bad.len());
        assert!(exact > 0 && refused > 0, "{what} tries nothing");
        assert!(
            bad.is_empty(),
            "{what}: {} wrong, first: {:#?}",
            bad.len(),
            &bad[..bad.len().min(5)]
        );
    }
}

impl Victim {
    /// Opens and restores everything from `objects`.
    fn try_restore(
        &self,
        what: &dyn Fn() -> String,
        touched: &Key,
        objects: Objects,
        tally: &Tally,
    ) {
        let trial = AssertUnwindSafe(|| self.restore_all(what, touched, objects, tally));
        if catch_unwind(trial).is_err() {
            tally.bad(format!("{}: panic", what()));
        }
    }

    fn restore_all(
        &self,
        what: &dyn Fn() -> String,
        touched: &Key,
        objects: Objects,
        tally: &Tally,
    ) {
        let store = MemoryStore::from_objects(objects);
        let refused = |error: &Error| {
            tally.refused.fetch_add(1, Ordering::Relaxed);
            if !names_a_place(error) {
                tally.bad(format!("{}: an error without a place: {error}", what()));
            }
        };
        // Only damage of config and slots is found by unlocking, which costs; elsewhere the keys are known.
        let slow = matches!(touched, Key::Config | Key::Slot(_));
        let locked = match Locked::find(Box::new(store.clone())) {
            Ok(locked) => locked.expecting(self.lab.keys.id()),
            Err(error) => return refused(&error),
        };
        let secret = match self.mode {
            KeyMode::None => Secret::None,
            _ => Secret::Passphrase(PASSPHRASE),
        };
        let keys = if slow { locked.unlock(secret) } else { Ok(self.lab.keys.clone()) };
        let opened = keys.and_then(|keys| locked.with(keys).reader(&garret_core::Silent));
        if let Err(error) = opened {
            return refused(&error);
        }
        let lab = self.lab.with_store(move || Box::new(store.clone()));
        for name in self.contents.keys() {
            match lab.restore_bytes(name) {
                Ok(bytes) if bytes == self.contents[name] => {
                    tally.exact.fetch_add(1, Ordering::Relaxed);
                }
                // A whole archive under another name is not damage, as files there may be renamed; it says so.
                Ok(bytes) if self.is_renamed(&lab, name, &bytes) => {}
                Ok(_) => tally.bad(format!("{}: {name} has other bytes", what())),
                Err(error) => refused(&error),
            }
        }
    }

    fn is_renamed(&self, lab: &Lab, name: &str, bytes: &[u8]) -> bool {
        let said = lab.reader().unwrap().archive(name).unwrap().archive.name;
        said != name && self.contents.get(&said).is_some_and(|content| content == bytes)
    }

    /// Runs `trial` for every byte of every object, on both processors.
    fn for_every_byte(&self, trial: impl Fn(&Key, usize) + Sync) {
        let places: Vec<(&Key, usize)> = self
            .objects
            .iter()
            .flat_map(|(key, b)| (0..b.len()).map(move |at| (key, at)))
            .collect();
        let next = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
                scope.spawn(|| {
                    while let Some((key, at)) = places.get(next.fetch_add(1, Ordering::Relaxed)) {
                        trial(key, *at);
                    }
                });
            }
        });
    }

    /// The same happens to a second copy, for which there is a suite of its own (`seconds`).
    fn with(&self, key: &Key, change: impl Fn(&mut Vec<u8>)) -> Objects {
        let mut objects = self.objects.clone();
        both(&self.objects, key).iter().for_each(|key| change(objects.get_mut(key).unwrap()));
        objects
    }
}

/// Whether an error says which object, and where in it if there is a where.
fn names_a_place(error: &Error) -> bool {
    let text = garret_core::message(error);
    let object =
        ["config", "keys/", "packs/", "index/", "backups/"].iter().any(|o| text.contains(o));
    match error {
        Error::Corrupt { .. } | Error::DamagedKey { .. } => object && text.contains("offset"),
        // Nothing of the pack is known any more, so only the chunk and the archive can be named.
        Error::MissingChunk { .. } => text.contains("chunk") && (object || text.contains("image")),
        Error::NotRestored { why, .. } => {
            why.contains("packs/") && why.contains("offset")
                || why.contains("needs that chunk and no pack holds it")
        }
        Error::Store(_)
        | Error::NotARepository { .. }
        | Error::WrongKey { .. }
        | Error::NoSlots
        | Error::SlotsGone { .. } => object,
        Error::ArchiveMissing(_) | Error::WrongPassphrase | Error::Unsupported { .. } => true,
        _ => false,
    }
}

#[test]
fn every_byte_flipped_is_harmless_or_named() {
    for mode in [KeyMode::None, KeyMode::Passphrase] {
        let victim = victim(mode);
        let tally = Tally::default();
        victim.for_every_byte(|key, at| {
            let bit = 1u8 << (Random::new(at as u64).below(8));
            for flip in [0xff, bit] {
                let objects = victim.with(key, |bytes| bytes[at] ^= flip);
                let what = || format!("{mode:?}: {key} byte {at} ^ {flip:02x}");
                victim.try_restore(&what, key, objects, &tally);
            }
        });
        let len: usize = victim.objects.values().map(Vec::len).sum();
        tally.report(&format!(
            "{mode:?}, {len} bytes flipped twice, {} objects",
            victim.objects.len()
        ));
    }
}

/// The same with the index gone, so that footers and frame headers are what is relied on.
#[test]
fn every_byte_of_a_pack_flipped_without_an_index_is_harmless_or_named() {
    let mut victim = victim(KeyMode::Passphrase);
    victim.objects.retain(|key, _| !matches!(key, Key::Index(_)));
    let tally = Tally::default();
    victim.for_every_byte(|key, at| {
        if matches!(key, Key::Pack(_)) {
            let objects = victim.with(key, |bytes| bytes[at] ^= 0x10);
            victim.try_restore(&|| format!("{key} byte {at}"), key, objects, &tally);
        }
    });
    tally.report("packs without index");
}

#[test]
fn every_truncation_is_harmless_or_named() {
    for mode in [KeyMode::None, KeyMode::Passphrase] {
        let victim = victim(mode);
        let tally = Tally::default();
        victim.for_every_byte(|key, at| {
            let objects = victim.with(key, |bytes| bytes.truncate(at));
            victim.try_restore(&|| format!("{mode:?}: {key} cut at {at}"), key, objects, &tally);
        });
        tally.report(&format!("{mode:?}, truncations"));
    }
}

#[test]
fn every_object_removed_doubled_emptied_or_swapped_is_harmless_or_named() {
    for mode in [KeyMode::None, KeyMode::Passphrase] {
        let victim = victim(mode);
        let other = {
            let other = self::victim(mode);
            other.objects
        };
        let tally = Tally::default();
        for key in victim.objects.keys() {
            let mut removed = victim.objects.clone();
            removed.remove(key);
            victim.try_restore(&|| format!("{key} removed"), key, removed, &tally);
            let doubled = victim.with(key, |bytes| bytes.extend(bytes.clone()));
            victim.try_restore(&|| format!("{key} doubled"), key, doubled, &tally);
            let longer = victim.with(key, |bytes| bytes.push(0));
            victim.try_restore(&|| format!("{key} and a byte"), key, longer, &tally);
            let zeroed = victim.with(key, |bytes| bytes.fill(0));
            victim.try_restore(&|| format!("{key} zeroed"), key, zeroed, &tally);
            // Any other object in its place: a sibling, one of another kind, one of another repository.
            for (from, bytes) in victim.objects.iter().chain(&other) {
                let swapped = victim.with(key, |place| *place = bytes.clone());
                victim.try_restore(&|| format!("{from} in place of {key}"), key, swapped, &tally);
            }
        }
        tally.report(&format!("{mode:?}, whole objects"));
    }
}

/// `check` with every byte finds every flipped byte of a pack, an index segment or an archive.
#[test]
fn check_finds_every_flipped_byte() {
    let victim = victim(KeyMode::Passphrase);
    let missed = Mutex::new(Vec::new());
    let found = AtomicUsize::new(0);
    victim.for_every_byte(|key, at| {
        if matches!(key, Key::Config | Key::Slot(_)) || at % 3 != 0 {
            return;
        }
        let store = MemoryStore::from_objects(victim.with(key, |bytes| bytes[at] ^= 0x20));
        let lab = victim.lab.with_store(move || Box::new(store.clone()));
        match lab.check_reporting(true) {
            Ok((report, problems)) if report.problem_count == 0 || problems.is_empty() => {
                missed.lock().unwrap().push(format!("{key} byte {at}"));
            }
            _ => drop(found.fetch_add(1, Ordering::Relaxed)),
        }
    });
    let missed = missed.into_inner().unwrap();
    println!(
        "{} of {} found",
        found.load(Ordering::Relaxed),
        found.load(Ordering::Relaxed) + missed.len()
    );
    assert_eq!(missed, [""; 0]);
}

//! Salvage: of a damaged file what is left comes back under a name that says so, zeros stand for exactly what is lost, and
//! that is told. Whole files come back as ever.
//!
//! `GARRET_DAMAGES` is how many damages are tried (60).
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::Path;

use garret_core::{Area, Key, MemoryStore, Store};
use garret_format::config::KeyMode;
use garret_testkit::{Image, Lab, Random, Restored, is_structure};

/// A directory of files of every size, one of them with nodes in its recipe, some that share what they hold.
fn sources(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let big = Image::generate(3, 9_000_000).bytes;
    let files = [
        ("twin", big[..2_000_000].to_vec()),
        ("big", big),
        ("noise", Image::noise(5, 1_300_000).bytes),
        ("small", b"a few words".to_vec()),
        ("empty", Vec::new()),
    ];
    fs::create_dir(directory).unwrap();
    for (name, bytes) in &files {
        fs::write(directory.join(name), bytes).unwrap();
    }
    files.into_iter().map(|(name, bytes)| (name.to_owned(), bytes)).collect()
}

/// Flips some bytes of some packs.
fn damage(store: &MemoryStore, random: &mut Random) {
    let packs = store.list(Area::Packs).unwrap();
    for _ in 0..=random.below(3) {
        let (key, len) = &packs[random.below(packs.len())];
        let mut bytes = store.get(key, 0..*len).unwrap();
        let at = random.below(bytes.len());
        bytes[at] ^= 0x10;
        store.put(key, &[&bytes]).unwrap();
    }
}

/// The stretches that a line names.
fn lost(line: &str) -> Vec<Range<usize>> {
    let (_, rest) = line.split_once(" bytes are lost: ").unwrap();
    let (ranges, _) = rest.split_once("; ").unwrap_or((rest, ""));
    let range = |text: &str| {
        let (start, end) = text.split_once(" to ").unwrap();
        start.parse().unwrap()..end.parse().unwrap()
    };
    ranges.split(", ").map(range).collect()
}

fn restore(lab: &Lab, to: &Path, salvage: bool) -> Option<Restored> {
    let mut options = lab.restore_options();
    options.salvage = salvage;
    lab.restore_to("night", to, &options).ok()
}

#[test]
fn what_is_left_of_a_damaged_file_comes_back_under_a_name_that_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let source = directory.path().join("source");
    let contents = sources(&source);
    let rounds = std::env::var("GARRET_DAMAGES").map_or(60, |count| count.parse().unwrap());
    let (lab, store) = Lab::memory(KeyMode::Passphrase);
    lab.backup_path("night", &source).unwrap();
    let sound = store.objects();
    let (mut whole, mut salvaged, mut lists) = (0, 0, 0);
    for seed in 0..rounds {
        let mut random = Random::new(seed);
        sound.iter().for_each(|(key, bytes)| store.put(key, &[bytes]).unwrap());
        damage(&store, &mut random);
        let to = directory.path().join(format!("{seed}"));
        let (plain, best) = (to.join("plain"), to.join("best"));
        let (Some(_), Some(report)) = (restore(&lab, &plain, false), restore(&lab, &best, true))
        else {
            lists += 1;
            continue;
        };
        let place =
            |root: &Path, name: &str| root.join(source.strip_prefix("/").unwrap()).join(name);
        for (name, content) in &contents {
            let damaged = fs::read(place(&best, &format!("{name}.damaged"))).ok();
            let there = fs::read(place(&best, name)).ok();
            let as_ever = fs::read(place(&plain, name)).ok();
            assert!(there == as_ever, "seed {seed}: {name}: whole files come back as ever");
            let said = |line: &&String| line.contains(&format!("/{name}: not restored: "));
            let said = report.problems.iter().find(said);
            match damaged {
                Some(bytes) => {
                    assert!(there.is_none(), "seed {seed}: {name} has one of its two names");
                    let mut expected = content.clone();
                    lost(said.unwrap()).into_iter().for_each(|range| expected[range].fill(0));
                    assert!(bytes == expected, "seed {seed}: {name}: {}", said.unwrap());
                    assert!(bytes != *content, "seed {seed}: {name} lacks something");
                    salvaged += 1;
                }
                None => {
                    assert!(there.as_ref() == Some(content), "seed {seed}: {name} {said:?}");
                    whole += 1;
                }
            }
        }
        fs::remove_dir_all(&to).unwrap();
    }
    assert!(
        whole > rounds && salvaged > rounds / 4 && lists < rounds / 2,
        "{whole} {salvaged} {lists}"
    );
}

/// A file of the archive whose name is that of a damaged one keeps it.
#[test]
fn what_is_left_takes_no_other_file_s_name() {
    let directory = tempfile::tempdir().unwrap();
    let source = directory.path().join("source");
    fs::create_dir(&source).unwrap();
    fs::write(source.join("disk"), Image::noise(1, 1_500_000).bytes).unwrap();
    let (lab, store) = Lab::memory(KeyMode::None);
    lab.backup_path("first", &source).unwrap();
    let before = store.objects();
    fs::write(source.join("disk.damaged"), b"of the user").unwrap();
    lab.backup_path("night", &source).unwrap();
    for (key, mut bytes) in before {
        if matches!(key, Key::Pack(_)) && !is_structure(&bytes) {
            bytes[500_000] ^= 1;
            store.put(&key, &[&bytes]).unwrap();
        }
    }
    let to = directory.path().join("to");
    let report = restore(&lab, &to, true).unwrap();
    let at = to.join(source.strip_prefix("/").unwrap());
    let names: Vec<_> =
        fs::read_dir(&at).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    let kept = fs::read(at.join("disk.damaged")).unwrap();
    match kept == b"of the user" {
        true => assert_eq!(report.report.problem_count, 1, "{names:?} {:?}", report.problems),
        false => assert!(
            report.problems.iter().any(|line| line.contains("disk.damaged: not restored")),
            "{report:?}"
        ),
    }
    assert_eq!(names.len(), 1, "one of the two, and the other is told of: {names:?}");
}

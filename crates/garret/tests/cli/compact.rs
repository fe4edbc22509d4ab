//! `compact`, and `compact` of a nightly job.

use garret_testkit::Random;

use super::damage::flip;
use super::{Dir, packs};

/// Three nights of a text of which each changes some words here and there.
fn three_nights() -> (Dir, Vec<Vec<u8>>) {
    let dir = Dir::with_repository();
    let mut random = Random::new(1);
    let mut text: Vec<u8> = (0..5_000_000).map(|_| b'a' + random.below(16_u8)).collect();
    let mut nights = Vec::new();
    for night in 0..3 {
        for _ in 0..50 {
            let at = random.below(text.len() - 9);
            text[at..at + 9].copy_from_slice(b"something");
        }
        dir.write("db.raw", &text);
        dir.run(&["create", &format!("repo::n{night}"), "db.raw"]).silent();
        nights.push(text.clone());
    }
    (dir, nights)
}

fn info(dir: &Dir, of: &[&str]) -> serde_json::Value {
    let info = dir.run(&[&["info", "--json"], of].concat()).succeeds();
    serde_json::from_str(&info).unwrap()
}

fn size(dir: &Dir) -> u64 {
    info(dir, &["repo"])["repository"]["stored_size"].as_u64().unwrap()
}

/// What the three nights take now, one by one.
fn each_takes(dir: &Dir) -> [u64; 3] {
    [0, 1, 2].map(|night| {
        info(dir, &["--now", &format!("repo::n{night}")])["stored_now"].as_u64().unwrap()
    })
}

fn all_come_back(dir: &Dir, nights: &[Vec<u8>]) {
    for (number, night) in nights.iter().enumerate() {
        dir.run(&["extract", "-o", "back", &format!("repo::n{number}")]).silent();
        assert!(dir.read("back") == *night, "night {number}");
    }
    dir.run(&["check", "--verify-data", "repo"]).succeeds();
}

/// It would be made again each night, for the old copies have to stay.
#[test]
fn while_something_needed_is_damaged_nothing_is_made() {
    let (dir, nights) = three_nights();
    let largest =
        packs(&dir.path("repo")).into_iter().max_by_key(|pack| pack.metadata().unwrap().len());
    flip(&largest.unwrap(), 500_000);
    assert_eq!(dir.run(&["check", "--verify-data", "repo"]).code, Some(1));
    let before = size(&dir);
    for options in [&["compact", "-n", "repo"][..], &["compact", "repo"]] {
        dir.run(options).reports(
            "something that archives need is damaged; nothing is compacted until check --repair",
        );
        assert_eq!(size(&dir), before);
    }
    for (number, night) in nights.iter().enumerate() {
        dir.write("db.raw", night);
        dir.run(&["create", &format!("repo::again-{number}"), "db.raw"]).silent();
    }
    dir.run(&["compact", "repo"]).silent();
    assert!(size(&dir) < before / 5 * 3);
    all_come_back(&dir, &nights);
}

#[test]
fn what_is_old_gets_small_and_comes_back() {
    let (dir, nights) = three_nights();
    let (before, each_before) = (size(&dir), each_takes(&dir));
    for (night, takes) in each_before.into_iter().enumerate() {
        let archive = &info(&dir, &[&format!("repo::n{night}")])["archive"];
        let stored = archive["stored_size"].as_u64().unwrap();
        assert!(takes.abs_diff(stored) < 3000, "{takes}, {archive}");
    }
    let planned = dir.run(&["compact", "-n", "repo"]).succeeds();
    assert!(planned.starts_with("Would rewrite:   "), "{planned}");
    assert!(planned.contains("\nWould save:      about "), "{planned}");
    assert_eq!(size(&dir), before);
    let done = dir.run(&["compact", "--json", "repo"]).succeeds();
    let done: serde_json::Value = serde_json::from_str(&done).unwrap();
    let after = size(&dir);
    // Saved is counted in packs; the index and the records beside them change a little too.
    let saved = done["saved_size"].as_i64().unwrap();
    assert!(saved.abs_diff((before - after) as i64) < 20_000, "{done}: {before} to {after}");
    assert!(after < before / 5 * 3, "{before} to {after}");
    // The nights together take what all packs do, and each of them less than before.
    let each_after = each_takes(&dir);
    let all: u64 = each_after.iter().sum();
    assert!(after.abs_diff(all) < 60_000, "{each_after:?} of {after}");
    for (now, then) in each_after.iter().zip(each_before) {
        assert!(*now < then / 4 * 3, "{each_after:?} after {each_before:?}");
    }
    all_come_back(&dir, &nights);
    dir.run(&["compact", "repo"]).silent();
    assert_eq!(size(&dir), after);
    dir.run(&["compact", "-C", "lzma", "repo"]).silent();
    assert!(size(&dir) <= after);
    all_come_back(&dir, &nights);
}

/// Of small files much is structure, which lies in two packs; and what is in no list that can be read is not guessed.
#[test]
fn what_an_archive_takes_now_counts_both_copies_of_structure() {
    let dir = Dir::with_repository();
    for number in 0..2000 {
        dir.write(&format!("files/{number}"), format!("{number} of a line").as_bytes());
    }
    for night in 0..3 {
        dir.write(&format!("files/{night}"), b"another line");
        dir.run(&["create", &format!("repo::n{night}"), "files"]).silent();
    }
    for (night, takes) in each_takes(&dir).into_iter().enumerate() {
        let stored = &info(&dir, &[&format!("repo::n{night}")])["archive"]["stored_size"];
        let stored = stored.as_u64().unwrap();
        assert!(takes.abs_diff(stored) < 3000, "night {night}: {takes} of {stored}");
    }
    let mut archive = dir.read("repo/backups/n0");
    *archive.last_mut().unwrap() ^= 1;
    std::fs::write(dir.path("repo/backups/n0"), archive).unwrap();
    for copy in std::fs::read_dir(dir.path("repo/copies")).unwrap() {
        let copy = copy.unwrap().path();
        if copy.file_name().is_some_and(|name| name.len() == 64) {
            std::fs::remove_file(copy).unwrap();
        }
    }
    let now = dir.run(&["info", "--now", "repo::n2"]);
    let text = String::from_utf8(now.stdout).unwrap();
    assert!(
        text.contains("\nTakes now: unknown, for an archive that may be older cannot be read\n"),
        "{text}"
    );
}

#[test]
fn a_nightly_job_compacts() {
    let (dir, nights) = three_nights();
    let before = size(&dir);
    let place = dir.path("repo").display().to_string();
    let image = dir.path("db.raw").display().to_string();
    dir.run(&["nightly", "--repo", &place, "-d", "30", "--compact", "1h", &image]).silent();
    assert!(size(&dir) < before / 5 * 3);
    all_come_back(&dir, &nights);
}

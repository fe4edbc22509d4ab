//! Repositories that something happened to.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;

use garret_testkit::both_files;

use super::{Dir, packs};

/// Changes one byte of a file.
pub(super) fn flip(path: &Path, offset: u64) {
    let file = fs::File::options().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    file.write_all_at(&[byte[0] ^ 0x20], offset).unwrap();
}

/// Changes one byte of an object and of its second copy.
fn flip_both(dir: &Dir, object: &str, offset: u64) {
    both_files(&dir.path("repo"), object).iter().for_each(|path| flip(path, offset));
}

/// A repository with the archives `one` and `two`, each with a pack of its own.
fn two_archives() -> Dir {
    let dir = Dir::with_repository();
    dir.image("one.img", 1);
    dir.run(&["create", "repo::one", "one.img"]).silent();
    dir.image("two.img", 2);
    dir.run(&["create", "repo::two", "one.img", "two.img"]).silent();
    assert_eq!(packs(&dir.path("repo")).len(), 2);
    dir
}

/// The pack that archive `one` brought.
fn pack_of_one(dir: &Dir) -> std::path::PathBuf {
    let time = |path: &std::path::PathBuf| path.metadata().unwrap().modified().unwrap();
    packs(&dir.path("repo")).into_iter().min_by_key(time).unwrap()
}

#[test]
fn a_flipped_byte_of_data_costs_the_files_that_need_it_and_no_other() {
    let dir = two_archives();
    flip(&pack_of_one(&dir), 500_000);
    let ran = dir.run(&["extract", "repo::two", "--destination", "to"]);
    let advised = "; run `garret check --verify-data`";
    assert!(
        ran.stderr.lines().next().is_some_and(|line| line.ends_with(advised)),
        "{}",
        ran.stderr
    );
    ran.reports("one.img: not restored: bytes ");
    let ran = dir.run(&["extract", "--stdout", "repo::one", "one.img"]);
    assert!(ran.stderr.trim_end().ends_with(advised), "{}", ran.stderr);
    assert!(dir.read("to/two.img") == dir.read("two.img"));
    assert_eq!(super::files_below(&dir.path("to")).len(), 1, "neither one.img nor one.img.part");
    assert_eq!(dir.archives("repo"), ["one", "two"]);
    let ran = dir.run(&["check", "--verify-data", "repo"]);
    assert_eq!(ran.code, Some(1));
    for name in ["backups/one: one.img: ", "backups/two: one.img: "] {
        assert!(ran.stderr.contains(name), "{}", ran.stderr);
    }
    assert!(!ran.stderr.contains("two.img"), "{}", ran.stderr);
    assert!(!ran.stderr.contains("run `garret check"), "it is running: {}", ran.stderr);
    let lines: Vec<&str> = ran.stderr.lines().collect();
    assert_eq!(
        lines[lines.len() - 2..],
        [
            "garret: 1 of 6 packs damaged; 2 of 2 archives cannot be restored whole: one (1 file), two (1 file); \
             to mend them, run garret create of the same files: it stores again what these still have; garret prune \
             then drops the damaged packs; if some stay damaged, garret check --repair sets the packs aside so that \
             prune goes on, and garret extract --salvage restores what is left of a file",
            super::CLOSING
        ]
    );
    assert_eq!(
        String::from_utf8_lossy(&ran.stdout),
        "Starting repository check...\nStarting archive consistency check...\n"
    );
}

#[test]
fn a_truncated_pack_is_found_without_reading_it() {
    let dir = two_archives();
    let pack = pack_of_one(&dir);
    let len = pack.metadata().unwrap().len();
    fs::File::options().write(true).open(&pack).unwrap().set_len(len - 100).unwrap();
    let ran = dir.run(&["check", "--repository-only", "repo"]);
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    let name = pack.file_name().unwrap().to_str().unwrap();
    assert!(ran.stderr.lines().next().unwrap().contains(name), "{}", ran.stderr);
    assert!(!ran.stderr.contains("panicked"), "{}", ran.stderr);
    // Whoever opens it first and has a copy of the index is told, whatever he wants of it. `check` uses none.
    for _ in 0..2 {
        let ran = dir.run(&["extract", "-n", "repo::two", "two.img"]);
        assert_eq!((ran.code, ran.stderr.lines().count()), (Some(0), 1), "{}", ran.stderr);
        assert!(ran.stderr.contains(name), "{}", ran.stderr);
        dir.run(&["extract", "-n", "repo::two", "two.img"]).silent();
        fs::remove_dir_all(dir.path("cache")).unwrap();
    }
}

/// However a pack lost bytes, the next backup of the same files stores again what they lack.
#[test]
fn a_pack_that_lost_bytes_is_made_up_for_by_the_next_backup() {
    let cuts: [fn(u64) -> Option<u64>; 4] =
        [|len| Some(len - 1), |len| Some(len / 3), |_| Some(0), |_| None];
    for (number, cut) in cuts.iter().enumerate() {
        for cache in [true, false] {
            let dir = two_archives();
            for pack in packs(&dir.path("repo")) {
                match cut(pack.metadata().unwrap().len()) {
                    Some(len) => {
                        let file = fs::File::options().write(true).open(&pack).unwrap();
                        file.set_len(len).unwrap();
                    }
                    None => fs::remove_file(&pack).unwrap(),
                }
            }
            if !cache {
                fs::remove_dir_all(dir.path("cache")).unwrap();
            }
            let when = format!("cut {number}, cache kept: {cache}");
            let ran = dir.run(&["create", "repo::three", "one.img", "two.img"]);
            assert_eq!(ran.code, Some(0), "{when}: {}", ran.stderr);
            let told = "not as long as it was written; what it lost is stored again";
            assert_eq!(ran.stderr.contains(told), cut(100).is_some(), "{when}: {}", ran.stderr);
            let ran = dir.run(&["extract", "repo::three", "--destination", "to"]);
            assert_eq!(ran.code, Some(0), "{when}: {}", ran.stderr);
            for name in ["one.img", "two.img"] {
                assert!(dir.read(&format!("to/{name}")) == dir.read(name), "{when}: {name}");
            }
        }
    }
}

#[test]
fn a_damaged_archive_is_named_and_the_others_stay_usable() {
    let dir = two_archives();
    flip_both(&dir, "backups/one", 200);
    dir.run(&["extract", "-n", "repo::one"]).refused(1, "backups/one is damaged");
    let listed = dir.run(&["list", "repo"]).reports("backups/one is damaged");
    assert!(listed.starts_with("two "), "{listed}");
    dir.run(&["extract", "-n", "repo::two"]).silent();
    // What it needs is unknown, so nothing may be freed: but it can be deleted, and then all is well again.
    dir.run(&["delete", "repo::two"]).refused(1, "backups/one is damaged");
    dir.run(&["delete", "repo::one"]).silent();
    dir.run(&["check", "repo"]).succeeds();
}

#[test]
fn a_damaged_archive_or_config_is_had_from_its_second_copy_until_a_repair_puts_it_back() {
    let dir = two_archives();
    for object in ["backups/one", "config"] {
        let path = dir.path("repo").join(object);
        let before = fs::read(&path).unwrap();
        flip(&path, 60);
        for words in [
            &["list", "repo"][..],
            &["list", "repo::one"],
            &["info", "repo::one"],
            &["info", "repo"],
            &["extract", "-n", "repo::one"],
            &["diff", "repo::one", "two"],
            &["prune", "-n", "-d", "7", "repo"],
            &["check", "repo::one"],
        ] {
            let ran = dir.run(words);
            let told = "; its second copy was used: garret check --repair puts it back";
            let is_told = |line: &&str| {
                line.contains(&format!("{object} is damaged")) && line.ends_with(told)
            };
            assert_eq!(ran.stderr.lines().filter(is_told).count(), 1, "{words:?}: {}", ran.stderr);
            assert_eq!(ran.code, Some(1), "{words:?}: {}", ran.stderr);
            assert!(ran.stderr.lines().count() <= 2, "{words:?}: {}", ran.stderr);
        }
        let line = closing(&dir, &[]);
        assert_eq!(
            line,
            "garret: 1 of config, keys and archives with one intact copy of two; every archive can be restored whole; \
             run garret check --repair, which makes both copies of one"
        );
        let ran = dir.run(&["check", "--repair", "repo"]);
        assert_eq!(ran.code, Some(1), "{}", ran.stderr);
        assert_eq!(fs::read(&path).unwrap(), before, "{}", ran.stderr);
        dir.run(&["check", "repo"]).succeeds();
    }
    assert_eq!(super::files_below(&dir.path("repo/quarantine")).len(), 2);
}

#[test]
fn a_damaged_config_is_not_trusted() {
    let dir = two_archives();
    flip_both(&dir, "config", 60);
    for command in ["list", "info", "check"] {
        dir.run(&[command, "repo"]).refused(1, "config is damaged");
    }
    dir.run(&["create", "repo::three", "one.img"]).refused(1, "config is damaged");
}

#[test]
fn what_a_newer_garret_wrote_is_refused_by_name() {
    let dir = two_archives();
    let patch = |object: &str| {
        for path in both_files(&dir.path("repo"), object) {
            let file = fs::File::options().write(true).open(path).unwrap();
            file.write_all_at(&[9], 7).unwrap();
        }
    };
    // Its box opens all the same: nothing but that byte is of another version.
    patch("backups/one");
    dir.run(&["info", "repo::one"]).refused(1, "the version in its first bytes is damaged");
    for path in both_files(&dir.path("repo"), "backups/one") {
        let file = fs::File::options().write(true).open(&path).unwrap();
        file.write_all_at(b"sealed for 9", 40).unwrap();
    }
    let newer = "has format version 9, which a newer garret wrote; use that newer garret";
    dir.run(&["info", "repo::one"]).refused(1, newer);
    patch("config");
    for command in ["list", "check"] {
        dir.run(&[command, "repo"]).refused(1, newer);
    }
    dir.run(&["create", "repo::three", "one.img"]).refused(1, newer);
    assert!(!dir.path("repo/backups/three").exists());
}

#[test]
fn a_lost_index_is_made_again_from_the_packs() {
    let dir = two_archives();
    fs::remove_dir_all(dir.path("cache")).unwrap();
    for segment in super::files_below(&dir.path("repo/index")) {
        fs::remove_file(segment).unwrap();
    }
    dir.run(&["extract", "-n", "repo::two"]).silent();
}

/// The line of check before the last.
#[track_caller]
fn closing(dir: &Dir, options: &[&str]) -> String {
    let ran = dir.run(&[&["check", "repo"], options].concat());
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    let lines: Vec<&str> = ran.stderr.lines().collect();
    assert_eq!(lines.last(), Some(&super::CLOSING));
    lines[lines.len() - 2].to_owned()
}

#[test]
fn what_check_says_to_do_mends_what_can_be_mended() {
    let dir = two_archives();
    dir.image("three.img", 3);
    dir.run(&["create", "repo::three", "three.img"]).silent();
    let pack = pack_of_one(&dir);
    flip(&pack, 500_000);
    let line = closing(&dir, &["--verify-data"]);
    let lost = "garret: 1 of 9 packs damaged; 2 of 3 archives cannot be restored whole: \
                one (1 file), two (1 file); the other 1 can; to mend them, run garret create of the same files";
    assert!(line.starts_with(lost), "{line}");
    dir.run(&["extract", "-n", "repo::three"]).silent();
    let line = closing(&dir, &["--verify-data", "--repository-only"]);
    let data = "run garret check --verify-data to see which files are concerned";
    assert!(line.ends_with(data), "{line}");
    // Damage that was recorded and is not looked at again: nothing can be said of archives.
    let line = closing(&dir, &[]);
    let unknown = format!("; which archives they concern is not known yet; {data}");
    assert!(line.ends_with(&unknown), "{line}");
    dir.run(&["create", "repo::four", "one.img"]).silent();
    for archive in ["repo::one", "repo::two"] {
        dir.run(&["extract", "-n", archive]).succeeds();
    }
    let line = closing(&dir, &["--verify-data"]);
    let mended =
        "every archive can be restored whole; run garret prune, which drops the damaged packs";
    assert!(line.ends_with(mended), "{line}");
    dir.run(&["delete", "repo::four"]).succeeds();
    assert!(!pack.exists());
    dir.run(&["check", "--verify-data", "repo"]).succeeds();
    dir.run(&["extract", "-n", "repo::two"]).silent();
}

#[test]
fn a_lost_pack_is_made_up_for_and_its_place_in_the_index_is_too() {
    let dir = two_archives();
    fs::remove_file(pack_of_one(&dir)).unwrap();
    let line = closing(&dir, &[]);
    assert!(line.starts_with("garret: 1 of 6 packs missing; 2 of 2 archives cannot be"), "{line}");
    assert!(line.contains("; to mend them, run garret create of the same files"), "{line}");
    dir.run(&["create", "repo::four", "one.img"]).silent();
    for archive in ["repo::one", "repo::two"] {
        dir.run(&["extract", "-n", archive]).silent();
    }
    let line = closing(&dir, &[]);
    let mended = "every archive can be restored whole; run garret check --repair, which makes the index anew";
    assert!(line.contains(mended), "{line}");
    dir.run(&["check", "--repair", "repo"]).reports("is missing");
    dir.run(&["check", "--verify-data", "repo"]).succeeds();
    // A second copy that is gone, and one that is damaged: a check says what to run, also to programs.
    let copy = dir.path("repo/copies/config");
    let sound = fs::read(&copy).unwrap();
    for wrong in [None, Some(&sound[1..])] {
        match wrong {
            None => fs::remove_file(&copy).unwrap(),
            Some(bytes) => fs::write(&copy, bytes).unwrap(),
        }
        let ran = dir.run(&["check", "repo"]);
        assert!(ran.stderr.contains(": garret check --repair puts it back\n"), "{}", ran.stderr);
        let ran = dir.run(&["check", "--log-json", "repo"]);
        assert!(ran.stderr.contains("\"hint\":\"repair\""), "{}", ran.stderr);
        let ran = dir.run(&["check", "--repair", "repo"]);
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        assert!(fs::read(&copy).unwrap() == sound);
    }
}

/// What a person sees of a repair: what was wrong, where it went, what is lost, what to do; and then how it heals.
#[test]
fn a_repair_says_what_it_did_and_prune_and_create_go_on() {
    let dir = two_archives();
    let pack = pack_of_one(&dir);
    dir.image("three.img", 3);
    dir.run(&["create", "repo::three", "three.img"]).silent();
    flip(&pack, 500_000);
    let ran = dir.run(&["check", "--repair", "repo"]);
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    for told in [
        "1 damaged pack (",
        ") went to quarantine/, and ",
        "backups/one: one.img: ",
        "backups/two: one.img: ",
        "2 of 3 archives cannot be restored whole: one (1 file), two (1 file); the other 1 can",
        "garret extract --salvage restores what is left",
    ] {
        assert!(ran.stderr.contains(told), "{told}: {}", ran.stderr);
    }
    assert!(!pack.exists());
    assert!(dir.path("repo/quarantine").join(pack.file_name().unwrap()).exists());
    let before = packs(&dir.path("repo")).len();
    let ran = dir.run(&["delete", "repo::three"]);
    assert!(ran.stderr.contains("one.img"), "the loss is told of: {}", ran.stderr);
    assert!(packs(&dir.path("repo")).len() < before, "and space is given back");
    assert_eq!(dir.archives("repo"), ["one", "two"]);
    dir.run(&["create", "repo::again", "one.img"]).silent();
    dir.run(&["check", "--verify-data", "repo"]).succeeds();
    dir.run(&["extract", "-n", "repo::two"]).silent();
    let ran = dir.run(&["check", "--repair", "repo"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "nothing is left to do");
    dir.run(&["delete", "repo"]).code.unwrap();
}

#[test]
fn what_is_left_of_a_damaged_file_is_restored_when_it_is_asked_for() {
    let dir = two_archives();
    flip(&pack_of_one(&dir), 500_000);
    let ran = dir.run(&["extract", "--salvage", "repo::one", "--destination", "to"]);
    assert!(
        ran.stderr.contains("; to/one.img.damaged has the rest, and zeros there"),
        "{}",
        ran.stderr
    );
    let line = ran.stderr.lines().find(|line| line.contains("one.img: not restored: ")).unwrap();
    let (_, ranges) = line.split_once(" bytes are lost: ").unwrap();
    let checked = dir.run(&["check", "--verify-data", "repo"]);
    let line = checked.stderr.lines().find(|line| line.contains("backups/one: one.img")).unwrap();
    let (_, named) = line.split_once(": bytes ").unwrap();
    assert!(ranges.starts_with(&format!("{named}; ")), "check names the same: {named} / {ranges}");
    let mut expected = dir.read("one.img");
    for range in named.split(", ") {
        let (start, end) = range.split_once(" to ").unwrap();
        expected[start.parse().unwrap()..end.parse().unwrap()].fill(0);
    }
    assert!(dir.read("to/one.img.damaged") == expected);
    assert!(!dir.path("to/one.img").exists());
    let ran = dir.run(&["extract", "--salvage", "--stdout", "repo::one"]);
    assert_eq!(ran.code, Some(2), "a stream has no other name: {}", ran.stderr);
}

#[test]
fn an_archive_that_cannot_be_read_is_counted_too() {
    let dir = two_archives();
    flip_both(&dir, "backups/one", 200);
    let line = closing(&dir, &[]);
    let begin = "garret: 1 of 2 archives cannot be restored whole: one (not all of it can be looked at); the other 1 can";
    assert!(line.starts_with(begin), "{line}");
}

#[test]
fn a_damaged_index_is_made_again_by_a_repair() {
    let dir = two_archives();
    for segment in super::files_below(&dir.path("repo/index")) {
        flip(&segment, 70);
    }
    let line = closing(&dir, &[]);
    let advice = "every archive can be restored whole; run garret check --repair, which makes the index anew from the packs";
    assert!(line.ends_with(advice), "{line}");
    let ran = dir.run(&["check", "--repair", "repo"]);
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    assert!(ran.stderr.contains("the index was made anew from the packs"), "{}", ran.stderr);
    dir.run(&["check", "--verify-data", "repo"]).succeeds();
}

/// Whatever took `backups/` away for a while, what the archives need stays.
#[test]
fn nothing_is_given_back_while_backups_is_not_there() {
    let dir = Dir::with_repository();
    dir.write("file", b"content");
    dir.run(&["create", "repo::a", "file"]).silent();
    fs::rename(dir.path("repo/backups"), dir.path("away")).unwrap();
    let ran = dir.run(&["prune", "-d", "7", "repo"]);
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    assert!(
        ran.stderr.contains("backups is missing, so what is needed is not known"),
        "{}",
        ran.stderr
    );
    fs::rename(dir.path("away"), dir.path("repo/backups")).unwrap();
    assert_eq!(dir.run(&["extract", "--stdout", "repo::a"]).succeeds(), "content");
}

/// What a check of one archive finds heals as what a check of everything finds.
#[test]
fn a_check_of_one_archive_notes_the_damaged_packs_that_it_met() {
    let dir = two_archives();
    flip(&pack_of_one(&dir), 500_000);
    let ran = dir.run(&["check", "--verify-data", "repo::two"]);
    assert_eq!(ran.code, Some(1));
    let said = "run garret create of the same files, which stores again what the damaged packs held: they are noted";
    assert!(ran.stderr.contains(said), "{}", ran.stderr);
    assert_eq!(super::files_below(&dir.path("repo/damaged")).len(), 1);
    dir.run(&["create", "repo::three", "one.img", "two.img"]).code.unwrap();
    dir.run(&["check", "--verify-data", "repo::one"]).succeeds();
    let ran = dir.run(&["check", "--verify-data", "repo::two"]);
    assert!(!ran.stderr.contains("are noted"), "nothing is lost: {}", ran.stderr);
}

#[test]
fn a_damaged_segment_is_told_of_once() {
    let dir = two_archives();
    let segment = super::files_below(&dir.path("repo/index")).remove(0);
    flip(&segment, 50);
    let name = segment.file_name().unwrap().to_str().unwrap();
    for arguments in [&["check", "repo"][..], &["check", "--repair", "repo"]] {
        let ran = dir.run(arguments);
        assert_eq!(ran.code, Some(1));
        let lines = ran.stderr.lines().filter(|line| line.contains(name)).count();
        assert_eq!(lines, 1, "{}", ran.stderr);
    }
    dir.run(&["check", "repo"]).succeeds();
}

/// Many lost stretches are a line that can be read, and all of them for who asks for JSON.
#[test]
fn of_many_lost_stretches_people_see_the_first() {
    let dir = Dir::with_repository();
    dir.write("one.img", &garret_testkit::Image::noise(3, 24 << 20).bytes);
    dir.run(&["create", "repo::one", "one.img"]).succeeds();
    let pack = pack_of_one(&dir);
    let groups = 24 << 20 >> 20;
    (0..groups).step_by(2).for_each(|group| flip(&pack, (group << 20) + 500_000));
    for arguments in [
        &["check", "--verify-data", "repo"][..],
        &["extract", "--salvage", "repo::one", "--destination", "to"],
    ] {
        let ran = dir.run(arguments);
        let line = ran.stderr.lines().find(|line| line.contains("one.img: ")).unwrap();
        assert!(line.contains(" more stretch") && line.len() < 700, "{line}");
        fs::remove_dir_all(dir.path("to")).unwrap_or_default();
        let ran = dir.run(&[&["--log-json"], arguments].concat());
        let events = ran
            .stderr
            .lines()
            .map(|line| -> serde_json::Value { serde_json::from_str(line).unwrap() });
        let lost = events.filter_map(|event| event["lost"].as_array().cloned());
        assert!(lost.map(|lost| lost.len()).max().unwrap() > 10, "{}", ran.stderr);
    }
}

/// What is in the place of `copies/` keeps nobody from reading, and a check from nothing else.
#[test]
fn something_else_in_the_place_of_the_second_copies_is_told_of() {
    for is_link in [false, true] {
        let dir = two_archives();
        fs::rename(dir.path("repo/copies"), dir.path("elsewhere")).unwrap();
        match is_link {
            true => std::os::unix::fs::symlink("../elsewhere", dir.path("repo/copies")).unwrap(),
            false => fs::write(dir.path("repo/copies"), b"x").unwrap(),
        }
        dir.run(&["extract", "repo::one", "--destination", "to"]).succeeds();
        let ran = dir.run(&["check", "repo"]);
        assert_eq!(ran.code, Some(1));
        assert!(ran.stderr.contains(": copies is a"), "{}", ran.stderr);
        assert!(
            ran.stderr.contains("move away what is there, and the next prune makes them"),
            "{}",
            ran.stderr
        );
        assert!(ran.stderr.contains("every archive can be restored whole"), "{}", ran.stderr);
        fs::remove_file(dir.path("repo/copies")).unwrap();
        dir.run(&["prune", "--keep-daily", "9", "repo"]).succeeds();
        dir.run(&["check", "repo"]).succeeds();
    }
}

/// An archive that was renamed and then lost its beginning is no stranger while its copy is there: its data stay.
#[test]
fn a_renamed_archive_that_begins_as_none_keeps_its_data_and_is_put_back() {
    for lost in [8, 40] {
        let dir = two_archives();
        let kept = dir.path("repo/backups/keep");
        fs::rename(dir.path("repo/backups/one"), &kept).unwrap();
        let mut bytes = fs::read(&kept).unwrap();
        bytes[..lost].fill(b'#');
        fs::write(&kept, bytes).unwrap();
        let text = "backups/keep is no archive any more, and its second copy is there";
        let refused = dir.run(&["prune", "--keep-within", "10y", "repo"]);
        assert!(refused.code == Some(1) && refused.stderr.contains(text), "{}", refused.stderr);
        let repaired = dir.run(&["check", "--repair", "repo"]);
        assert!(repaired.stderr.contains("backups/keep"), "{}", repaired.stderr);
        dir.run(&["extract", "-n", "repo::keep"])
            .notes("garret: note: archive keep was made as one\n");
        dir.run(&["check", "--verify-data", "repo"]).succeeds();
    }
}

/// The beginning of one archive over another: it is not served as that one.
#[test]
fn the_beginning_of_another_archive_makes_no_archive_that_one() {
    let dir = two_archives();
    let [one, two] = ["one", "two"].map(|name| dir.path("repo/backups").join(name));
    let (mut bytes, other) = (fs::read(&one).unwrap(), fs::read(&two).unwrap());
    bytes[..64].copy_from_slice(&other[..64]);
    fs::write(&one, bytes).unwrap();
    dir.run(&["check", "--repair", "repo"]);
    let listed = dir.run(&["list", "--format", "{name}={made_as} ", "repo"]);
    let text = String::from_utf8_lossy(&listed.stdout).into_owned();
    assert!(text.contains("two=two") && !text.contains("one=two"), "{text}");
}

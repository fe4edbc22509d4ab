//! `drill`: an image is restored to see that it can be, and `list` and `info` show when.

use std::fs;

use garret_format::config::KeyMode;
use serde_json::Value;

use super::{Dir, PASSPHRASE, packs, tool};

fn one_night() -> (Dir, Vec<u8>) {
    let dir = Dir::with_repository();
    let bytes = dir.image("app.raw", 1);
    dir.run(&["create", "repo::night-1", "app.raw"]).silent();
    (dir, bytes)
}

fn damage(dir: &Dir) {
    let pack = packs(&dir.path("repo")).remove(0);
    let mut bytes = fs::read(&pack).unwrap();
    bytes[500_000] ^= 1;
    fs::write(&pack, bytes).unwrap();
}

#[test]
fn a_drill_says_how_long_it_took_and_the_digest_of_what_came_back() {
    let (dir, bytes) = one_night();
    fs::create_dir(dir.path("scratch")).unwrap();
    let digest = blake3::hash(&bytes);
    for arguments in [
        &["drill", "repo"][..],
        &["drill", "repo", "app.raw"],
        &["drill", "repo", "--at", "latest"],
        &["drill", "repo", "app.raw", "--scratch", "scratch"],
    ] {
        let said = dir.run(arguments).succeeds();
        let lines: Vec<&str> = said.lines().collect();
        assert!(lines[0].starts_with("app.raw of night-1: restored, 4.19 MB in "), "{said}");
        assert!(lines[0].ends_with(" s/GB"), "{said}");
        assert_eq!(lines[1..], [format!("BLAKE3: {digest}")]);
    }
    assert_eq!(fs::read_dir(dir.path("scratch")).unwrap().count(), 0, "nothing is left behind");
    // What a killed one left goes too, and nothing else.
    dir.write("scratch/.garret-drill-killed/image", b"half of it");
    dir.write("scratch/mine", b"mine");
    dir.run(&["drill", "repo", "--scratch", "scratch"]).succeeds();
    assert_eq!(super::files_below(&dir.path("scratch")), [dir.path("scratch/mine")]);
    let text = dir.run(&["drill", "--json", "repo", "--scratch", "scratch"]).succeeds();
    let found: Value = serde_json::from_str(&text).unwrap();
    let drill = &found["drill"];
    assert_eq!((&drill["restored"], &drill["path"]), (&true.into(), &"app.raw".into()));
    assert_eq!(drill["blake3"], digest.to_hex().as_str());
    assert_eq!((&drill["size"], &drill["scratch"]), (&bytes.len().into(), &"scratch".into()));
    assert_eq!(drill["archive"]["name"], "night-1");
    assert!(drill["duration"].as_f64().is_some_and(|seconds| seconds > 0.0));
    assert!(drill["time"].as_str().unwrap().parse::<jiff::Timestamp>().is_ok());
}

#[test]
fn list_and_info_show_what_was_drilled() {
    let (dir, _) = one_night();
    let record = |dir: &Dir| {
        let text = dir.run(&["list", "--json", "repo"]).succeeds();
        serde_json::from_str::<Value>(&text).unwrap()["archives"][0].clone()
    };
    assert_eq!(
        (&record(&dir)["drilled"], &record(&dir)["drill_restored"]),
        (&Value::Null, &Value::Null)
    );
    assert!(!dir.run(&["info", "repo"]).succeeds().contains("Drilled"));
    dir.run(&["drill", "repo"]).succeeds();
    assert!(dir.run(&["list", "repo"]).succeeds().ends_with(" (drilled today)\n"));
    let info = dir.run(&["info", "repo"]).succeeds();
    assert!(info.contains("\nDrilled: app.raw of night-1 today, "), "{info}");
    assert_eq!(record(&dir)["drill_restored"], true);
    let format = dir.run(&["list", "--format", "{drilled}", "repo"]).succeeds();
    assert!(format.parse::<jiff::Timestamp>().is_ok(), "{format}");
    // Another archive of that name was not drilled.
    dir.run(&["delete", "repo::night-1"]).silent();
    dir.run(&["create", "repo::night-1", "app.raw"]).silent();
    assert!(!dir.run(&["list", "repo"]).succeeds().contains("drilled"));
    // What others could have written is passed over.
    let drills = fs::read_dir(dir.path("state")).unwrap().map(|entry| entry.unwrap().path());
    let drills = drills.filter(|path| path.extension().is_some_and(|end| end == "drills"));
    drills.for_each(|path| fs::write(path, b"[{}]").unwrap());
    let ran = dir.run(&["list", "repo"]);
    assert!(
        ran.code == Some(0) && ran.stderr.contains("note: what is known of drills is passed over")
    );
}

#[test]
fn a_drill_that_goes_wrong_fails_and_is_remembered_as_one() {
    let (dir, _) = one_night();
    damage(&dir);
    let ran = dir.run(&["drill", "--json", "repo"]);
    assert_eq!((ran.code, ran.stderr.lines().count()), (Some(7), 1), "{}", ran.stderr);
    assert!(ran.stderr.contains("run `garret check --verify-data`"), "{}", ran.stderr);
    let found: Value = serde_json::from_slice(&ran.stdout).unwrap();
    assert_eq!(
        (&found["drill"]["restored"], &found["drill"]["blake3"]),
        (&false.into(), &Value::Null)
    );
    assert!(dir.run(&["list", "repo"]).succeeds().ends_with(" (drill failed today)\n"));
    let info = dir.run(&["info", "repo"]).succeeds();
    assert!(info.contains("\nDrill failed: app.raw of night-1 today\n"), "{info}");
    fs::create_dir(dir.path("scratch")).unwrap();
    let ran = dir.run(&["drill", "repo", "--scratch", "scratch"]);
    assert!(ran.code == Some(7) && ran.stdout.is_empty(), "{}", ran.stderr);
    assert_eq!(fs::read_dir(dir.path("scratch")).unwrap().count(), 0);
}

#[test]
fn what_cannot_be_drilled_is_one_line() {
    let (dir, _) = one_night();
    dir.run(&["drill", "repo", "none"]).refused(1, "none: not in archive night-1");
    dir.run(&["drill", "repo", "--scratch", "no-such-place"]).refused(1, "no-such-place: ");
    dir.run(&["drill", "repo", "--scratch", "repo"]).refused(1, "is in the repository");
    dir.run(&["init", "empty"]).succeeds();
    dir.run(&["drill", "empty"]).refused(1, "empty has no image to restore");
}

#[test]
fn the_exit_code_tells_the_cause() {
    let dir = Dir::new();
    dir.cheap_repository("repo", KeyMode::Passphrase);
    dir.write("file", b"x");
    let code = |passphrase: &str, arguments: &[&str]| {
        dir.run_with(&[("GARRET_PASSPHRASE", passphrase)], b"", arguments).code
    };
    assert_eq!(code(PASSPHRASE, &["create", "repo::a", "file"]), Some(0));
    assert_eq!(code(PASSPHRASE, &["drill", "repo"]), Some(0));
    assert_eq!(code("wrong", &["drill", "repo"]), Some(6));
    assert_eq!(code(PASSPHRASE, &["drill", "repo::a"]), Some(2));
    assert_eq!(code(PASSPHRASE, &["drill", "none"]), Some(1));
}

#[test]
fn a_full_scratch_is_told_apart() {
    let (dir, _) = one_night();
    let scratch = dir.path("scratch");
    fs::create_dir(&scratch).unwrap();
    let place = scratch.to_str().unwrap();
    tool("mount", &["-t", "tmpfs", "-o", "size=1m", "tmpfs", place]);
    let ran = dir.run(&["drill", "repo", "--scratch", place]);
    tool("umount", &[place]);
    ran.refused(5, "are needed and");
    assert!(
        !dir.run(&["list", "repo"]).succeeds().contains("drill"),
        "it says nothing of the image"
    );
}

#[test]
fn without_a_name_every_image_has_its_turn_and_large_ones_more_often() {
    let dir = Dir::with_repository();
    dir.image("large.raw", 1);
    dir.write("small", b"x");
    dir.run(&["create", "repo::a", "large.raw", "small"]).silent();
    dir.run(&["create", "repo::b", "large.raw", "small"]).silent();
    let mut drilled = [0, 0];
    for _ in 0..40 {
        let said = dir.run(&["drill", "repo"]).succeeds();
        assert!(said.starts_with("large.raw of "), "a byte in four million: {said}");
        drilled[usize::from(said.starts_with("large.raw of b"))] += 1;
    }
    // Never one of them: once in 2^39 runs.
    assert!(drilled[0] > 0 && drilled[1] > 0, "{drilled:?}");
}

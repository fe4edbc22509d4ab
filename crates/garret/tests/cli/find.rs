//! `find`: which archives hold a file, and when it changed.

use serde_json::{Value, json};

use super::Dir;

/// Three nights: `app.raw` changes on the second, `new.raw` comes with the third, and that is not complete.
fn nights() -> Dir {
    let dir = Dir::with_repository();
    dir.image("images/app.raw", 1);
    dir.run(&["create", "repo::night-1", "images"]).silent();
    dir.image("images/app.raw", 2);
    dir.run(&["create", "repo::night-2", "images"]).silent();
    dir.write("images/new.raw", b"new");
    assert_eq!(dir.run(&["create", "repo::night-3", "images", "gone"]).code, Some(1));
    dir
}

#[test]
fn a_file_is_shown_with_the_nights_that_hold_it_and_what_became_of_it() {
    let dir = nights();
    let shown = dir.run(&["find", "repo", "*.raw"]).succeeds();
    let without_times = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            [path] => path.to_string(),
            [name, _, _, _, _, _, rest @ ..] => format!("{name} {}", rest.join(" ")),
            _ => panic!("{line}"),
        }
    };
    let lines: Vec<String> = shown.lines().map(without_times).collect();
    let expected = [
        "images/app.raw",
        "night-1 4.19 MB new",
        "night-2 4.19 MB changed",
        "night-3 4.19 MB same (1 problem)",
        "images/new.raw",
        "night-3 3 B new (1 problem)",
    ];
    assert_eq!(lines, expected, "{shown}");
    assert_eq!(dir.run(&["find", "repo", "app.raw"]).succeeds().lines().count(), 4);
}

#[test]
fn the_document_has_the_same() {
    let dir = nights();
    let text = dir.run(&["find", "--json", "repo", "new.raw"]).succeeds();
    let found: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(found["repository"]["location"], "repo");
    let file = &found["files"][0];
    let end = file["archives"][0]["end"].as_str().unwrap();
    assert!(end.parse::<jiff::Timestamp>().is_ok(), "{end}");
    let expected = json!({
        "path": "images/new.raw",
        "archives": [{ "archive": "night-3", "end": end, "complete": false, "size": 3, "since": "new" }],
    });
    assert_eq!(file, &expected);
    assert_eq!(found["files"].as_array().unwrap().len(), 1);
}

#[test]
fn what_no_archive_holds_is_said_with_what_is_near() {
    let dir = nights();
    dir.run(&["find", "repo", "nwe.raw"])
        .refused(1, "nwe.raw: not in any archive of repo: did you mean images/new.raw?");
    dir.run(&["find", "repo", "zzz"]).refused(1, "; `garret list repo` shows the archives");
    let ran = dir.run(&["find", "--json", "repo", "zzz"]);
    let found: Value = serde_json::from_slice(&ran.stdout).unwrap();
    assert_eq!((ran.code, &found["files"]), (Some(1), &json!([])));
    dir.run(&["find", "repo::night-1", "app.raw"]).refused(2, "No archive can be specified");
}

#[test]
fn nights_that_cannot_be_read_are_named_and_the_others_shown() {
    let dir = nights();
    let archive = dir.path("repo/backups/night-2");
    let copies = dir.path("repo/copies");
    let mut bytes = std::fs::read(&archive).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&archive, bytes).unwrap();
    std::fs::remove_dir_all(copies).unwrap();
    let ran = dir.run(&["find", "repo", "app.raw"]);
    assert!(ran.code == Some(1) && ran.stderr.contains("backups/night-2"), "{}", ran.stderr);
    let shown = String::from_utf8(ran.stdout).unwrap();
    assert!(shown.contains("night-1") && shown.contains("night-3"), "{shown}");
}

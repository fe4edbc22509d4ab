//! `--short`, `--json` and `--format`: what scripts read instead of columns.

use serde_json::Value;

use super::{Dir, MIB};

/// A repository with an image and a link in archive `night`.
fn night() -> Dir {
    let dir = Dir::with_repository();
    dir.image("vm.img", 1);
    dir.write("files/one", b"12345");
    std::os::unix::fs::symlink("one", dir.path("files/link")).unwrap();
    dir.run(&["create", "repo::night", "vm.img", "files"]).silent();
    dir
}

fn json(dir: &Dir, arguments: &[&str]) -> Value {
    let text = dir.run(arguments).succeeds();
    assert!(text.ends_with("}\n"), "{text}");
    serde_json::from_str(&text).unwrap()
}

#[track_caller]
fn has_names(value: &Value, names: &[&str]) {
    let mut expected = names.to_vec();
    expected.sort_unstable();
    let found: Vec<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(found, expected);
}

const ARCHIVE: [&str; 20] = [
    "name",
    "made_as",
    "id",
    "start",
    "end",
    "hostname",
    "username",
    "command_line",
    "comment",
    "original_size",
    "read",
    "new_size",
    "stored_size",
    "duration",
    "files",
    "complete",
    "problems",
    "problem_texts",
    "tags",
    "protected",
];

#[test]
fn lists_are_names_json_or_lines_of_one_s_own() {
    let dir = night();
    let comment = ["--comment", "before 12.3"];
    dir.run(&[&["create"], &comment[..], &["repo::later", "files"]].concat()).silent();
    assert_eq!(dir.run(&["list", "--short", "repo"]).succeeds(), "night\nlater\n");
    let list = json(&dir, &["list", "--json", "repo"]);
    has_names(&list, &["repository", "archives"]);
    has_names(&list["repository"], &["location", "id", "encryption", "cipher", "created"]);
    assert_eq!(
        (&list["repository"]["location"], &list["repository"]["encryption"]),
        (&"repo".into(), &"none".into())
    );
    let archives = list["archives"].as_array().unwrap();
    let names: Vec<&Value> = archives.iter().map(|archive| &archive["name"]).collect();
    assert_eq!(names, ["night", "later"]);
    has_names(&archives[0], &[&ARCHIVE[..], &["drilled", "drill_restored"]].concat());
    assert_eq!(archives[0]["files"], 2);
    assert_eq!(archives[0]["original_size"], 4 * MIB + 5);
    let command = archives[1]["command_line"].as_str().unwrap();
    assert!(command.ends_with("repo::later files"), "{command}");
    assert_eq!(archives[1]["comment"], "before 12.3");
    assert!(dir.run(&["info", "repo::later"]).succeeds().contains("\nComment: before 12.3\n"));
    // Of the image only what is no hole was read; the file of five bytes was taken over.
    let new = archives[0]["new_size"].as_u64().unwrap();
    assert!(archives[0]["read"].as_u64().unwrap() >= 5 && new > 0, "{}", archives[0]);
    assert!(archives[0]["stored_size"].as_u64().unwrap() > 0);
    assert!(archives[1]["new_size"].as_u64().unwrap() < new);
    assert!(archives[1]["duration"].as_f64().unwrap() >= 0.0);
    let time = archives[0]["end"].as_str().unwrap();
    assert!(time.len() == 25 && time.ends_with("+00:00"), "{time}");
    let long = dir.run(&["list", "--long", "repo"]).succeeds();
    let [header, night, later] = long.lines().collect::<Vec<_>>()[..] else { panic!("{long}") };
    assert!(header.ends_with(" archive") && later.ends_with("  later"), "{long}");
    let columns: Vec<&str> = night.split_whitespace().collect();
    let read = archives[0]["read"].as_u64().unwrap();
    assert_eq!((columns[2], columns[3], columns.last()), ("4.19", "MB", Some(&"night")), "{read}");
    dir.run(&["list", "--long", "repo::night"]).refused(2, "give REPO");
    let format = ["list", "repo", "--format", "{files:>3} {name:<8}|{TAB}{problems}{NL}"];
    assert_eq!(dir.run(&format).succeeds(), "  2 night   |\t0\n  1 later   |\t0\n");
}

#[test]
fn the_contents_of_an_archive_have_names_too() {
    let dir = night();
    let short = dir.run(&["list", "--short", "repo::night"]).succeeds();
    assert_eq!(short, "vm.img\nfiles\nfiles/link\nfiles/one\n");
    let list = json(&dir, &["list", "--json", "repo::night"]);
    has_names(&list, &["repository", "archive", "items"]);
    has_names(&list["archive"], &ARCHIVE);
    let items = list["items"].as_array().unwrap();
    for item in items {
        has_names(
            item,
            &[
                "path",
                "type",
                "mode",
                "uid",
                "gid",
                "user",
                "group",
                "size",
                "mtime",
                "unreadable",
                "target",
            ],
        );
    }
    let types: Vec<&Value> = items.iter().map(|item| &item["type"]).collect();
    assert_eq!(types, ["file", "directory", "symlink", "file"]);
    assert_eq!((&items[2]["target"], &items[3]["size"]), (&"one".into(), &5.into()));
    assert_eq!((&items[3]["mode"], &items[3]["target"]), (&"rw-r--r--".into(), &Value::Null));
    let format = ["list", "repo::night", "--format", "{type} {path}{NUL}"];
    let expected = "file vm.img\0directory files\0symlink files/link\0file files/one\0";
    assert_eq!(dir.run(&format).succeeds(), expected);
}

#[test]
fn info_has_the_same_names() {
    let dir = night();
    let info = json(&dir, &["info", "--json", "repo::night"]);
    has_names(&info, &["repository", "archive"]);
    has_names(&info["archive"], &ARCHIVE);
    let repository = [
        "location",
        "id",
        "encryption",
        "cipher",
        "created",
        "archives",
        "packs",
        "verified_packs",
        "recently_verified_packs",
        "verified_since",
        "original_size",
        "stored_size",
    ];
    has_names(&info["repository"], &repository);
    assert_eq!(json(&dir, &["info", "--json", "repo"])["repository"], info["repository"]);
    assert_eq!(info["repository"]["archives"], 1);
    assert_eq!(info["repository"]["original_size"], 4 * MIB + 5);
    assert!(info["repository"]["stored_size"].as_u64().unwrap() > MIB as u64);
    let file = json(&dir, &["info", "--json", "repo::night", "vm.img"]);
    has_names(&file, &["repository", "archive", "file"]);
    let names = [
        "path",
        "format",
        "size",
        "disk_size",
        "allocated",
        "zero",
        "backing",
        "unreadable",
        "residue",
        "new",
    ];
    has_names(&file["file"], &names);
    assert_eq!(
        (&file["file"]["path"], &file["file"]["size"]),
        (&"vm.img".into(), &(4 * MIB).into())
    );
    let line = |location: &[&str], template: &str| {
        dir.run(&[&["info", "--format", template][..], location].concat()).succeeds()
    };
    assert_eq!(
        line(&["repo::night"], "{name} {original_size}{NL}"),
        format!("night {}\n", 4 * MIB + 5)
    );
    assert_eq!(line(&["repo"], "{archives} {encryption}{NL}"), "1 none\n");
    assert_eq!(line(&["repo::night", "files/one"], "{path} {size}"), "files/one 5");
}

#[test]
fn a_layout_that_cannot_be_is_wrong_use() {
    let dir = night();
    for arguments in [
        &["list", "--short", "--json", "repo"][..],
        &["list", "--json", "--format", "{name}", "repo"],
        &["info", "--json", "--format", "{name}", "repo"],
        &["list", "--format", "{name", "repo"],
        &["list", "--format", "{name:x}", "repo"],
    ] {
        let ran = dir.run(arguments);
        assert_eq!(ran.code, Some(2), "{arguments:?}");
        assert!(ran.stderr.starts_with("error: "), "{}", ran.stderr);
    }
    let unknown = ["list", "--format", "{size}{NL}", "repo"];
    dir.run(&unknown).refused(2, "--format has no {size}: there are name, made_as, id, start, end");
}

#[test]
fn names_that_are_no_text_are_there_in_full() {
    use std::os::unix::ffi::OsStrExt;
    let dir = Dir::with_repository();
    let name = std::ffi::OsStr::from_bytes(b"bad\xff\n");
    std::fs::write(dir.temp.path().join(name), b"x").unwrap();
    let created = dir.command(&["create", "repo::a"]).arg(name).output().unwrap();
    assert!(created.status.success());
    let item = &json(&dir, &["list", "--json", "repo::a"])["items"][0];
    assert_eq!(item["path"], "bad\u{fffd}\n");
    assert_eq!(item["path_hex"], "626164ff0a");
    let short = dir.run(&["list", "--short", "repo::a"]);
    assert_eq!((short.code, &short.stdout[..]), (Some(0), &b"bad\xff\n\n"[..]));
}

#[test]
fn prune_lists_the_rule_that_keeps() {
    let dir = night();
    dir.run(&["create", "repo::later", "files"]).silent();
    let said = dir.run(&["prune", "-n", "--list", "-d", "1", "-y", "1", "repo"]).succeeds();
    let lines: Vec<&str> = said.lines().collect();
    assert!(lines[0].starts_with("Keeping archive: later ") && lines[0].ends_with(" (daily #1)"));
    assert!(lines[1].starts_with("Would prune:     night ") && !lines[1].ends_with(')'), "{said}");
    assert!(lines[2].starts_with("Would free:      about 1.05 MB in "), "{said}");
    assert_eq!(lines.len(), 3, "{said}");
}

//! Names that come out can be put in again: whatever bytes they have, and however they are shown.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use serde_json::Value;

use super::{Dir, Ran};

/// Names with every kind of byte that a file's name can have; some look alike when they are shown carelessly.
fn names() -> Vec<Vec<u8>> {
    let mut names: Vec<Vec<u8>> =
        (1..=255u8).filter(|byte| *byte != b'/').map(|byte| vec![b'n', byte, b'm']).collect();
    for name in [
        &b"plain"[..],
        b" space ",
        b"-dash",
        b"--help",
        b"a\\nb",
        b"a\nb",
        b"a\\\nb",
        b"\\",
        b"\\\\",
        b"\\x0a",
        b"\\u{a}",
        b"q'uo\"te",
        b"{name}",
        b"*",
        b"[x]",
        b"?",
        b"a::b",
        b"\xff\xfe",
        b"\\xff",
        b"\xc3",
        b"end\\",
        b"new\n",
    ] {
        names.push(name.to_vec());
    }
    for name in [
        "\u{fffd}",
        "caf\u{e9}",
        "cafe\u{301}",
        "\u{202e}txt.exe",
        "a\u{200b}b",
        "a\u{2028}b",
        "\u{feff}bom",
        "\u{9b}31m",
    ] {
        names.push(name.as_bytes().to_vec());
    }
    names.sort();
    names.dedup();
    names
}

/// A directory `t` with files of these names, each with its name as content, in the archive `a`.
fn archive() -> (Dir, Vec<Vec<u8>>) {
    let dir = Dir::with_repository();
    fs::create_dir(dir.path("t")).unwrap();
    let names = names();
    for name in &names {
        fs::write(dir.path("t").join(OsStr::from_bytes(name)), name).unwrap();
    }
    dir.run(&["create", "repo::a", "t"]).silent();
    (dir, names)
}

fn run_bytes(dir: &Dir, arguments: &[&str], words: &[Vec<u8>]) -> Ran {
    let words = words.iter().map(|word| OsString::from_vec(word.clone()));
    let output = dir.command(arguments).args(words).output().unwrap();
    Ran::of(arguments.join(" "), output)
}

fn paths(names: &[Vec<u8>]) -> Vec<Vec<u8>> {
    names.iter().map(|name| [b"t/", &name[..]].concat()).collect()
}

#[test]
fn every_name_goes_out_byte_for_byte_and_in_again() {
    let (dir, names) = archive();
    let listed = dir.run(&["list", "--format", "{path}{NUL}", "repo::a"]).stdout;
    let mut listed: Vec<Vec<u8>> = listed.split(|byte| *byte == 0).map(<[u8]>::to_vec).collect();
    assert_eq!(listed.pop(), Some(Vec::new()));
    assert_eq!(listed.remove(0), b"t");
    assert!(listed == paths(&names));
    let short = dir.run(&["list", "--short", "repo::a"]).stdout;
    assert!(
        short
            == [&b"t"[..]]
                .into_iter()
                .chain(listed.iter().map(Vec::as_slice))
                .flat_map(|path| [path, b"\n"].concat())
                .collect::<Vec<u8>>()
    );

    // As `xargs -0` gives them, in two halves, so that each selects itself and no other.
    let (first, second) = listed.split_at(listed.len() / 2);
    for (to, chosen) in [("one", first), ("two", second)] {
        run_bytes(&dir, &["extract", "--destination", to, "repo::a", "--"], chosen).silent();
        let found = fs::read_dir(dir.path(to).join("t")).unwrap();
        let mut found: Vec<Vec<u8>> =
            found.map(|entry| entry.unwrap().file_name().into_vec()).collect();
        found.sort();
        assert!(paths(&found) == chosen, "{to}");
        for name in found {
            assert_eq!(
                fs::read(dir.path(to).join("t").join(OsStr::from_bytes(&name))).unwrap(),
                name
            );
        }
    }
    run_bytes(&dir, &["compare", "repo::a", "--"], &listed).silent();
    let again =
        run_bytes(&dir, &["list", "--format", "{path}{NUL}", "repo::a", "--"], second).stdout;
    assert!(
        again == second.iter().flat_map(|path| [path, &b"\0"[..]].concat()).collect::<Vec<u8>>()
    );
    for path in listed.iter().step_by(17) {
        let said = run_bytes(
            &dir,
            &["info", "--format", "{path}", "repo::a", "--"],
            std::slice::from_ref(path),
        );
        assert_eq!((said.code, &said.stdout), (Some(0), path), "{}", said.stderr);
    }
}

#[test]
fn columns_show_every_name_on_a_line_of_its_own_and_no_two_alike() {
    let (dir, names) = archive();
    let said = dir.run(&["list", "repo::a"]).succeeds();
    let shown: Vec<&str> =
        said.lines().skip(1).map(|line| line.split_once(" t/").unwrap().1).collect();
    assert_eq!(shown.len(), names.len());
    let read: Vec<Vec<u8>> = shown.iter().map(|name| unescaped(name)).collect();
    assert!(read == names, "the escapes can be read back");
    for name in &shown {
        assert!(
            !name.contains(|c: char| c.is_control() || ('\u{200b}'..='\u{202e}').contains(&c)),
            "{name:?}"
        );
    }
    // The other tables show names in the same way.
    fs::remove_file(dir.path("t/a\\nb")).unwrap();
    fs::remove_file(dir.path("t/a\nb")).unwrap();
    let changes = dir.run(&["compare", "repo::a", "t"]);
    let changes = String::from_utf8(changes.stdout).unwrap();
    let ends: Vec<&str> = changes.lines().map(|line| line.split_once(" t/").unwrap().1).collect();
    assert_eq!(ends, ["a\\nb", "a\\\\nb"]);
    let info = run_bytes(&dir, &["info", "repo::a"], &[b"t/a\\nb".to_vec()]).succeeds();
    assert!(info.starts_with("Path: t/a\\\\nb\n"), "{info}");
}

/// The bytes that a column shows.
fn unescaped(shown: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = shown;
    while let Some((before, after)) = rest.split_once('\\') {
        bytes.extend(before.bytes());
        let (escape, tail) = after.split_at(1);
        rest = tail;
        match escape {
            "\\" => bytes.push(b'\\'),
            "n" => bytes.push(b'\n'),
            "t" => bytes.push(b'\t'),
            "r" => bytes.push(b'\r'),
            "x" => {
                bytes.push(u8::from_str_radix(&tail[..2], 16).unwrap());
                rest = &tail[2..];
            }
            "u" => {
                let (digits, tail) = tail.strip_prefix('{').unwrap().split_once('}').unwrap();
                let character = char::from_u32(u32::from_str_radix(digits, 16).unwrap()).unwrap();
                bytes.extend(character.to_string().bytes());
                rest = tail;
            }
            other => panic!("{other} in {shown}"),
        }
    }
    bytes.extend(rest.bytes());
    bytes
}

/// The bytes that a JSON object says a name has.
fn json_bytes(object: &Value, name: &str) -> Vec<u8> {
    match object[format!("{name}_hex")].as_str() {
        None => object[name].as_str().unwrap().as_bytes().to_vec(),
        Some(hex) => {
            let digits = hex.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
            digits.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
        }
    }
}

#[test]
fn json_has_every_byte_of_paths_and_targets() {
    let (dir, names) = archive();
    let parse = |ran: Ran| serde_json::from_slice::<Value>(&ran.stdout).unwrap();
    let all = parse(dir.run(&["list", "--json", "repo::a"]));
    let found: Vec<Vec<u8>> = all["items"]
        .as_array()
        .unwrap()
        .iter()
        .skip(1)
        .map(|item| json_bytes(item, "path"))
        .collect();
    assert!(found == paths(&names));

    let targets: BTreeMap<&str, &[u8]> =
        [("raw", &b"to\xff\n\\"[..]), ("text", b"plain"), ("lost", b"\xf0")].into();
    fs::create_dir(dir.path("links")).unwrap();
    for (name, target) in &targets {
        std::os::unix::fs::symlink(OsStr::from_bytes(target), dir.path("links").join(name))
            .unwrap();
    }
    dir.run(&["create", "repo::links", "links"]).silent();
    let all = parse(dir.run(&["list", "--json", "repo::links"]));
    for item in all["items"].as_array().unwrap().iter().skip(1) {
        let name = item["path"].as_str().unwrap().strip_prefix("links/").unwrap();
        assert_eq!(json_bytes(item, "target"), targets[name], "{name}");
    }
    let raw = dir.run(&["list", "--format", "{target}{NUL}", "repo::links"]).stdout;
    assert_eq!(raw, b"\0\xf0\0to\xff\n\\\0plain\0");
    let shown = dir.run(&["list", "repo::links", "links/raw"]).succeeds();
    assert!(shown.ends_with(" links/raw -> to\\xff\\n\\\\\n"), "{shown}");

    for name in targets.keys() {
        fs::remove_file(dir.path("links").join(name)).unwrap();
        std::os::unix::fs::symlink(OsStr::from_bytes(b"new\xfe"), dir.path("links").join(name))
            .unwrap();
    }
    let all = parse(dir.run(&["compare", "--json", "repo::links", "links"]));
    for change in all["changes"].as_array().unwrap() {
        let name = change["path"].as_str().unwrap().strip_prefix("links/").unwrap();
        assert_eq!(json_bytes(change, "from"), targets[name], "{name}");
        assert_eq!(json_bytes(change, "to"), b"new\xfe", "{name}");
    }
}

#[test]
fn names_of_archives_go_through_a_pipe_into_every_command() {
    let dir = Dir::with_repository();
    dir.write("file", b"x");
    let names = ["a b", "caf\u{e9}", "day/night", "it's", "a\\nb", "a::b", "-n", "{{x}}", "*"];
    for name in names {
        dir.run(&["create", &format!("repo::{name}"), "file"]).silent();
    }
    let listed = dir.run(&["list", "--format", "{name}{NUL}", "repo"]).succeeds();
    let mut found: Vec<&str> = listed.split_terminator('\0').collect();
    assert_eq!(found.len(), names.len());
    let short = dir.run(&["list", "--short", "repo"]).succeeds();
    assert_eq!(short.lines().collect::<Vec<_>>(), found);
    assert!(dir.run(&["list", "repo"]).succeeds().contains("\na\\\\nb "));
    for name in &found {
        let archive = format!("repo::{name}");
        assert_eq!(dir.run(&["info", "--format", "{name}", &archive]).succeeds(), *name);
        assert_eq!(dir.run(&["list", "--short", &archive]).succeeds(), "file\n");
        dir.run(&["extract", "--dry-run", &archive]).silent();
        dir.run(&["diff", &archive, "--", name]).silent();
        dir.run(&["diff", &archive, &archive]).silent();
        dir.run(&["delete", &archive]).silent();
    }
    found.clear();
    assert_eq!(dir.archives("repo"), found);
}

#[test]
fn a_name_that_cannot_be_says_why() {
    let dir = Dir::with_repository();
    dir.write("file", b"x");
    let create = |name: &str| dir.run(&["create", &format!("repo::{name}"), "file"]);
    let longest = ["n".repeat(255), "m".repeat(255)].join("/");
    create(&longest).silent();
    let long = ["n".repeat(255).as_str(); 5].join("/");
    for (name, why) in [
        ("n".repeat(256).as_str(), "a part of it, up to a /, has more than 255 bytes"),
        (&format!("a/{}", "n".repeat(256)), "a part of it, up to a /, has more than 255 bytes"),
        (&long, "it has more than 1024 bytes"),
        ("a//b", "empty part"),
        ("/a", "empty part"),
        ("a/", "empty part"),
        (".a", "begins with a dot"),
        ("a/lost+found", "a part of it is lost+found"),
        ("a/..", "begins with a dot"),
        ("a\tb", "control character"),
        ("a\u{202e}b", "not seen"),
        ("a\u{200b}b", "not seen"),
        ("a\u{2028}b", "not seen"),
    ] {
        create(name).refused(1, "cannot be an archive's name: ");
        create(name).refused(1, why);
    }
    create("a").silent();
    create("d/x").silent();
    create("a/b")
        .refused(1, "Archive a/b cannot be made: a is an archive, not a directory of archives");
    create("a/b/c").refused(1, "a is an archive, not a directory of archives");
    create("d").refused(1, "Archive d already exists: it is a directory of archives, as d/x");
    create("d/x").refused(1, "Archive d/x already exists");
    for command in ["list", "info", "extract", "delete"] {
        let ran = dir.run(&[command, "repo::a/b"]);
        ran.refused(1, "Archive a/b does not exist: a is an archive, not a directory of archives");
        let ran = dir.run(&[command, "repo::d"]);
        ran.refused(1, "Archive d does not exist: it is a directory of archives, as d/x");
    }
    let ran = run_bytes(&dir, &["create"], &[b"repo::a\xff".to_vec(), b"file".to_vec()]);
    ran.refused(2, "the archive's name is not UTF-8");
    run_bytes(&dir, &["list"], &[b"repo::a\xff".to_vec()])
        .refused(2, "the archive's name is not UTF-8");
    // One that came in another way is read, shown so that it is seen, and can be deleted.
    fs::rename(dir.path("repo/backups/a"), dir.path("repo/backups/a\u{202e}b")).unwrap();
    assert!(dir.run(&["list", "repo"]).succeeds().contains("\na\\u{202e}b "));
    assert_eq!(dir.run(&["list", "--short", "repo::a\u{202e}b"]).succeeds(), "file\n");
    dir.run(&["delete", "repo::a\u{202e}b"]).silent();
}

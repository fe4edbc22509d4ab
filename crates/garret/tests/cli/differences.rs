//! `diff` and `compare`, as text and as JSON.

use std::fs;
use std::os::unix::fs::FileExt;

use serde_json::{Value, json};

use super::{Dir, MIB, tool};

fn patch(dir: &Dir, name: &str, offset: u64, bytes: &[u8]) {
    let file = fs::File::options().write(true).open(dir.path(name)).unwrap();
    file.write_all_at(bytes, offset).unwrap();
}

/// Archive `a`, then changes, then archive `b`.
fn two_nights() -> Dir {
    let dir = Dir::with_repository();
    dir.image("vm.img", 1);
    for name in ["same", "goes", "grows"] {
        dir.write(&format!("tree/{name}"), name.as_bytes());
    }
    std::os::unix::fs::symlink("same", dir.path("tree/link")).unwrap();
    dir.run(&["create", "repo::a", "vm.img", "tree"]).silent();
    patch(&dir, "vm.img", 4096, b"12345");
    patch(&dir, "vm.img", 5000, b"12345");
    patch(&dir, "vm.img", 3 * MIB as u64 + 7, b"\xff");
    fs::remove_file(dir.path("tree/goes")).unwrap();
    dir.write("tree/comes", b"1234567");
    dir.write("tree/grows", b"grows on");
    fs::remove_file(dir.path("tree/link")).unwrap();
    std::os::unix::fs::symlink("grows", dir.path("tree/link")).unwrap();
    dir.run(&["create", "repo::b", "vm.img", "tree"]).silent();
    dir
}

const CHANGED: &str = "\
removed            4 tree/goes
changed            3 tree/grows: 5-7, length 5 -> 8
changed            - tree/link: points to same -> grows
changed           11 vm.img: 4096-5004, 3145735-3145735
";

#[test]
fn diff_says_what_changed_and_where() {
    let dir = two_nights();
    let expected = format!("added              7 tree/comes\n{CHANGED}");
    assert_eq!(dir.run(&["diff", "repo::a", "b"]).succeeds(), expected);
    dir.run(&["diff", "repo::a", "a"]).silent();
    let one = dir.run(&["diff", "repo::b", "a", "vm.img", "/tree/comes/"]).succeeds();
    assert_eq!(
        one,
        "removed            7 tree/comes\nchanged           11 vm.img: 4096-5004, 3145735-3145735\n"
    );
    let said = dir
        .run(&["diff", "repo::a", "b", "tree/same", "tree/sam"])
        .reports("tree/sam: not in archive a nor in b");
    assert_eq!(said, "");
    let document: Value =
        serde_json::from_str(&dir.run(&["diff", "--json", "repo::a", "b"]).succeeds()).unwrap();
    assert_eq!((&document["from"]["name"], &document["to"]["name"]), (&"a".into(), &"b".into()));
    assert_eq!(document["paths"], 7);
    let expected = json!([
        { "path": "tree/comes", "change": "added", "size": 7 },
        { "path": "tree/goes", "change": "removed", "size": 4 },
        { "path": "tree/grows", "change": "content", "from_size": 5, "to_size": 8, "bytes": 3,
          "ranges": [{ "start": 5, "end": 8 }] },
        { "path": "tree/link", "change": "target", "from": "same", "to": "grows" },
        { "path": "vm.img", "change": "content", "from_size": 4 * MIB, "to_size": 4 * MIB, "bytes": 11,
          "ranges": [{ "start": 4096, "end": 5005 }, { "start": 3_145_735, "end": 3_145_736 }] },
    ]);
    assert_eq!(document["changes"], expected);
}

#[test]
fn compare_reads_the_disk_and_fails_if_it_differs() {
    let dir = two_nights();
    dir.run(&["compare", "repo::b"]).silent();
    let ran = dir.run(&["compare", "repo::a"]);
    assert_eq!(ran.code, Some(1));
    assert_eq!(ran.stderr, "garret: Error: 4 of 6 paths differ from archive a\n");
    assert_eq!(String::from_utf8_lossy(&ran.stdout), CHANGED);
    dir.run(&["compare", "repo::a", "tree/same"]).silent();
    dir.run(&["extract", "--destination", "out", "repo::a"]).silent();
    dir.run(&["compare", "--base", "out", "repo::a"]).silent();
    let ran = dir.run(&["compare", "--json", "--base", "out", "repo::b", "tree/comes"]);
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    let document: Value = serde_json::from_slice(&ran.stdout).unwrap();
    assert_eq!((&document["archive"]["name"], &document["base"]), (&"b".into(), &"out".into()));
    assert_eq!(
        document["changes"],
        json!([{ "path": "tree/comes", "change": "removed", "size": 7 }])
    );
    dir.run(&["compare", "repo::a", "tree/sam"]).reports("tree/sam: not in archive a");
}

#[test]
fn many_ranges_are_counted_in_a_line_and_told_in_json() {
    let dir = Dir::with_repository();
    dir.image("vm.img", 1);
    dir.run(&["create", "repo::a", "vm.img"]).silent();
    (0..9).for_each(|number| patch(&dir, "vm.img", number * 100_000, &[0xff; 3]));
    let ran = dir.run(&["compare", "repo::a"]);
    let said = String::from_utf8_lossy(&ran.stdout).into_owned();
    assert!(said.ends_with(", ... (9 ranges)\n"), "{said}");
    let ran = dir.run(&["compare", "--json", "repo::a"]);
    let document: Value = serde_json::from_slice(&ran.stdout).unwrap();
    assert_eq!(document["changes"][0]["ranges"].as_array().unwrap().len(), 9);
}

/// A guest image changes its own tables when the guest writes: the bytes of the files are what is compared.
#[test]
fn images_are_compared_as_the_files_they_are() {
    let dir = Dir::with_repository();
    let path = dir.path("vm.qcow2").to_str().unwrap().to_owned();
    tool("qemu-img", &["create", "-q", "-f", "qcow2", &path, "16M"]);
    tool("qemu-io", &["-c", "write -q -P 1 1M 1M", "-c", "write -q -P 2 5M 300k", &path]);
    let before = dir.read("vm.qcow2");
    dir.run(&["create", "repo::a", "vm.qcow2"]).silent();
    tool("qemu-io", &["-c", "write -q -P 3 1200k 4k", "-c", "write -q -P 4 9M 64k", &path]);
    let after = dir.read("vm.qcow2");
    dir.run(&["create", "repo::b", "vm.qcow2"]).silent();
    let len = before.len().max(after.len());
    let differing = (0..len).filter(|at| before.get(*at) != after.get(*at)).count();
    for arguments in [&["diff", "--json", "repo::a", "b"][..], &["compare", "--json", "repo::a"]] {
        let ran = dir.run(arguments);
        let document: Value = serde_json::from_slice(&ran.stdout).unwrap();
        assert_eq!(document["changes"][0]["bytes"], differing, "{arguments:?}: {document:#}");
    }
    dir.run(&["compare", "repo::b"]).silent();
}

#[test]
fn what_is_damaged_is_named_and_the_rest_is_compared() {
    let dir = two_nights();
    // The pack of the first night holds what the image was.
    let time = |path: &std::path::PathBuf| path.metadata().unwrap().modified().unwrap();
    let pack = super::packs(&dir.path("repo")).into_iter().min_by_key(time).unwrap();
    let file = fs::File::options().read(true).write(true).open(pack).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, 500).unwrap();
    file.write_all_at(&[byte[0] ^ 0x20], 500).unwrap();
    let ran = dir.run(&["compare", "repo::a"]);
    assert_eq!(ran.code, Some(1));
    assert!(ran.stderr.contains("vm.img: not compared: "), "{}", ran.stderr);
    assert!(ran.stderr.contains("Data integrity error"), "{}", ran.stderr);
    assert!(String::from_utf8_lossy(&ran.stdout).contains("tree/link"), "the rest is compared");
}

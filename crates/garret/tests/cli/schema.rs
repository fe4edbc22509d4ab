//! docs/schema/garret.schema.json is what the program prints: each document of `--json` and each line of `--log-json` is held
//! against it by a reference implementation of JSON Schema, and has no field that is not there.

use std::fmt::Write as _;
use std::fs;
use std::process::Command;

use garret_format::config::KeyMode;
use serde_json::{Value, json};

use super::{Dir, PASSPHRASE, Ran, packs};

const SCHEMA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/schema/garret.schema.json");

/// Reads lines `NAME JSON`, and says what is wrong with which by the schema of that name.
const VALIDATE: &str = r##"
import json, sys
from jsonschema_rs import Draft202012Validator, meta
schema = json.load(open(sys.argv[1]))
meta.validate(schema)
validators = {}
for line in open(sys.argv[2]):
    name, value = line.split(" ", 1)
    if name not in validators:
        one = {"$ref": "#/$defs/" + name, "$defs": schema["$defs"]}
        validators[name] = Draft202012Validator(one)
    for error in validators[name].iter_errors(json.loads(value)):
        print(name, error.instance_path, error.message[:300])
"##;

/// Documents and lines that were printed, and the schema of each.
#[derive(Default)]
struct Printed(String);

impl Printed {
    fn add(&mut self, name: &str, value: &Value) {
        writeln!(self.0, "{name} {value}").unwrap();
    }

    /// What a command printed, whatever its exit code.
    #[track_caller]
    fn document(&mut self, name: &str, ran: &Ran) -> Value {
        let value = serde_json::from_slice(&ran.stdout);
        let value = value.unwrap_or_else(|error| panic!("{}: {error}: {}", ran.what, ran.stderr));
        self.add(name, &value);
        value
    }

    fn lines(&mut self, ran: &Ran) {
        for line in ran.stderr.lines() {
            self.add("log_line", &serde_json::from_str(line).unwrap());
        }
    }

    /// What is wrong with them, a line each.
    fn wrong(&self, dir: &Dir) -> String {
        let path = dir.write("printed", self.0.as_bytes());
        let mut python = Command::new("python3");
        let output = python.args(["-c", VALIDATE, SCHEMA]).arg(path).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "this test needs jsonschema-rs of PyPI: {stderr}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

#[test]
fn what_is_printed_is_what_the_schema_says() {
    let (dir, mut printed) = (Dir::new(), Printed::default());
    let run = |arguments: &[&str]| dir.run(arguments);
    printed.document("init", &run(&["init", "--json", "repo"]));
    dir.image("tree/vm.raw", 1);
    dir.write("tree/small", b"1");
    std::os::unix::fs::symlink("small", dir.path("tree/link")).unwrap();
    fs::hard_link(dir.path("tree/small"), dir.path("tree/twin")).unwrap();
    let odd = std::ffi::OsStr::new("tree/odd-");
    let odd = [std::os::unix::ffi::OsStrExt::as_bytes(odd), b"\xff"].concat();
    let odd: &std::ffi::OsStr = std::os::unix::ffi::OsStrExt::from_bytes(&odd[..]);
    fs::write(dir.path("").join(odd), "x").unwrap();
    printed.document("create", &run(&["create", "--json", "--tag", "t", "repo::a", "tree"]));
    dir.write("tree/small", b"22");
    dir.write("tree/new", b"3");
    fs::remove_file(dir.path("tree/link")).unwrap();
    std::os::unix::fs::symlink("new", dir.path("tree/link")).unwrap();
    printed.document("create", &run(&["create", "--json", "repo::b", "tree", "gone"]));
    let protected = printed.document("protect", &run(&["protect", "--json", "repo::a"]));
    assert_eq!(protected["archives"][0]["protected"], json!(true));
    let tag = ["tag", "--json", "--add", "golden", "--remove", "t", "repo::b", "repo::a"];
    let tagged = printed.document("tag", &run(&tag));
    assert_eq!(tagged["archives"][0]["name"], json!("b"));
    assert_eq!(tagged["archives"][1]["tags"], json!(["golden"]));
    for (name, arguments) in [
        ("list", &["list", "--json", "repo"][..]),
        ("list_archive", &["list", "--json", "repo::a"]),
        ("info", &["info", "--json", "repo"]),
        ("info_archive", &["info", "--json", "repo::a"]),
        ("info_archive", &["info", "--json", "--now", "repo::a"]),
        ("info_file", &["info", "--json", "repo::a", "tree/vm.raw"]),
        ("find", &["find", "--json", "repo", "tree"]),
        ("diff", &["diff", "--json", "repo::a", "b"]),
        ("compare", &["compare", "--json", "repo::a"]),
        ("drill", &["drill", "--json", "repo"]),
        ("list", &["list", "--json", "repo"]),
        ("list", &["list", "--json", "--verified", "repo"]),
        ("restore", &["extract", "--json", "-C", "out", "repo::a", "tree/vm.raw", "nobody"]),
        ("restore", &["extract", "--json", "-n", "repo::a"]),
        ("restore", &["restore", "--json", "repo", "vm.raw", "-o", "vm.raw"]),
        ("report", &["report", "--json", "repo"]),
        ("report", &["report", "--json", "-d", "1", "repo"]),
        ("scrub", &["scrub", "--json", "--part", "1/2", "repo"]),
        ("check", &["check", "--json", "repo"]),
        ("check", &["check", "--json", "--verify-data", "--max-duration", "1m", "repo"]),
        ("check", &["check", "--json", "--newest", "1", "repo"]),
        ("check", &["check", "--json", "--verify-data", "repo::a"]),
        ("check", &["check", "--json", "--repair", "repo"]),
        ("prune", &["prune", "--json", "-n", "-d", "1", "repo"]),
        ("compact", &["compact", "--json", "-n", "repo"]),
        ("compact", &["compact", "--json", "repo"]),
        ("sync", &["sync", "--json", "--delete", "--since", "1d", "repo", "copy"]),
        ("sync", &["sync", "--json", "--delete", "--dry-run", "repo", "copy"]),
    ] {
        printed.document(name, &run(arguments));
    }
    let repository = dir.path("repo");
    let (place, image) = (repository.to_str().unwrap(), dir.path("tree/vm.raw"));
    let night = ["nightly", "--json", "--repo", place, "-d", "1", "--verify", "1m"];
    printed.document("nightly", &run(&[&night[..], &[image.to_str().unwrap()]].concat()));
    let pruned = printed.document("prune", &run(&["prune", "--json", "-H", "1", "repo"]));
    let kept: Vec<&Value> =
        pruned["archives"].as_array().unwrap().iter().map(|one| &one["kept_by"]).collect();
    assert!(kept.contains(&&json!("protected")), "{pruned}");
    let unprotected = printed.document("unprotect", &run(&["unprotect", "--json", "repo::a"]));
    assert_eq!(unprotected["archives"][0]["protected"], json!(false));
    let deleted = printed.document("delete", &run(&["delete", "--json", "repo::a"]));
    assert_eq!(deleted["deleted"], json!(["a"]));
    // Damage.
    for pack in packs(&repository) {
        let mut bytes = fs::read(&pack).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&pack, bytes).unwrap();
    }
    let found = printed.document("check", &run(&["check", "--json", "--verify-data", "repo"]));
    assert!(
        found["verdict"].is_string() && found["incomplete"][0]["archive"].is_string(),
        "{found}"
    );
    printed.document("scrub", &run(&["scrub", "--json", "repo"]));
    printed.document("check", &run(&["check", "--json", "--verify-data", "--newest", "2", "repo"]));
    assert_eq!(printed.wrong(&dir), "");
}

#[test]
fn keys_are_printed_as_the_schema_says() {
    let (dir, mut printed) = (Dir::new(), Printed::default());
    let unlock = [("GARRET_PASSPHRASE", PASSPHRASE)];
    for (name, mode) in [("one", KeyMode::Passphrase), ("two", KeyMode::Keyfile)] {
        dir.cheap_repository(name, mode);
        let ran = dir.run_with(&unlock, b"", &["key", "list", "--json", name]);
        let keys = printed.document("key_list", &ran);
        assert_eq!(keys["keys"].as_array().unwrap().len(), 1, "{keys}");
    }
    let ran = dir.run_with(&unlock, b"", &["init", "--json", "-e", "keyfile", "three"]);
    assert!(printed.document("init", &ran)["key_file"].is_string());
    assert_eq!(printed.wrong(&dir), "");
}

#[test]
fn lines_of_the_log_are_what_the_schema_says() {
    let (dir, mut printed) = (Dir::with_repository(), Printed::default());
    dir.image("vm.raw", 1);
    let mut run = |arguments: &[&str]| printed.lines(&dir.run(arguments));
    run(&["--log-json", "create", "-v", "repo::a", "vm.raw", "gone"]);
    run(&["--log-json", "create", "-v", "repo::b", "vm.raw"]);
    run(&["--log-json", "extract", "-v", "-C", "out", "repo::a"]);
    run(&["--log-json", "list", "repo::c"]);
    run(&["--log-json", "list", "--no-such-option"]);
    run(&["--log-json", "sync", "repo", "copy"]);
    run(&["--log-json", "prune", "-d", "1", "repo"]);
    let repository = dir.path("repo");
    let image = dir.path("vm.raw");
    let (place, image) = (repository.to_str().unwrap(), image.to_str().unwrap());
    run(&["--log-json", "nightly", "--repo", place, "-d", "1", "--verify", "1m", image]);
    let pack = packs(&repository).remove(0);
    let mut bytes = fs::read(&pack).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&pack, bytes).unwrap();
    run(&["--log-json", "check", "--verify-data", "repo"]);
    run(&["--log-json", "nightly", "--repo", place, image]);
    assert!(printed.0.contains("\"phase\":\"transfer\""));
    for name in ["task_begin", "task_end", "note", "notice", "problem", "job_end", "exit"] {
        assert!(printed.0.contains(&format!("\"type\":\"{name}\"")), "{name} was not met");
    }
    assert_eq!(printed.wrong(&dir), "");
}

/// A schema that takes anything would hold nothing.
#[test]
fn the_schema_takes_no_field_more_and_none_less() {
    let (dir, mut printed) = (Dir::with_repository(), Printed::default());
    let whole = printed.document("scrub", &dir.run(&["scrub", "--json", "repo"]));
    assert_eq!(printed.wrong(&dir), "");
    let mut more = whole.clone();
    more["another"] = json!(1);
    let mut less = whole;
    less.as_object_mut().unwrap().remove("packs");
    for document in [more, less] {
        let mut printed = Printed::default();
        printed.add("scrub", &document);
        assert_eq!(printed.wrong(&dir).lines().count(), 1, "{document}");
    }
}

//! `--log-json`: every line on stderr is an event that docs/json.md describes, and the last one says how it ended.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use garret_format::config::KeyMode;
use serde_json::Value;

use super::{Dir, PASSPHRASE, Ran, packs};

/// The fields of each type of event, as the tables of docs/json.md have them.
fn documented() -> BTreeMap<String, BTreeSet<String>> {
    let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/json.md"));
    let page = page.unwrap();
    let table = page.split("| type | fields | |\n").nth(1).expect("the table of events");
    let rows = table.lines().skip(1).take_while(|line| line.starts_with('|'));
    let words = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect();
    rows.flat_map(|row| {
        let cells: Vec<&str> = row.split('|').collect();
        let types: Vec<String> = words(cells[1]);
        let mut fields: BTreeSet<String> = words(cells[2]).into_iter().collect();
        fields.extend(["type", "time"].map(str::to_owned));
        types.into_iter().map(move |name| (name, fields.clone()))
    })
    .collect()
}

/// The values that docs/json.md has for a field.
fn documented_values(field: &str) -> BTreeSet<String> {
    let page = include_str!("../../../../docs/json.md");
    let row = page.lines().find(|line| line.starts_with(&format!("| `{field}` |"))).unwrap();
    let values = row.split('|').nth(2).unwrap();
    values.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// The events of a run: each is one that is described, tasks begin and end, and the last says how it ended.
#[track_caller]
pub(super) fn events(ran: &Ran) -> Vec<Value> {
    let (documented, mut open) = (documented(), BTreeMap::new());
    let mut found: Vec<Value> = Vec::new();
    for line in ran.stderr.lines() {
        let event: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        let fields = event.as_object().expect(line);
        let name = fields["type"].as_str().expect(line);
        let known = documented.get(name).unwrap_or_else(|| panic!("not described: {line}"));
        for (field, value) in fields {
            assert!(known.contains(field), "{field} of {name} is not described: {line}");
            for closed in ["phase", "unit", "kind", "cause", "hint", "what"] {
                let text = value.as_str().filter(|_| field == closed);
                let is_known = |text| documented_values(closed).contains(text);
                assert!(text.is_none_or(is_known), "{field} is not described: {line}");
            }
        }
        let time = fields["time"].as_str().expect(line);
        assert!(time.parse::<jiff::Timestamp>().is_ok(), "{line}");
        let task = fields.get("task").and_then(Value::as_u64);
        match name {
            "task_begin" => assert_eq!(open.insert(task, 0), None, "{line}"),
            "task_progress" | "task_end" => {
                let current = fields["current"].as_u64().expect(line);
                let before = open.insert(task, current);
                assert!(before.is_some_and(|before| before <= current), "{line}");
                assert!(fields["total"].as_u64().is_none_or(|total| current <= total), "{line}");
                if name == "task_end" {
                    open.remove(&task);
                }
            }
            _ => {}
        }
        assert!(found.last().is_none_or(|last| last["type"] != "exit"), "after the end: {line}");
        found.push(event);
    }
    assert!(open.is_empty(), "{}: tasks go on: {open:?}", ran.what);
    let last = found.last().unwrap_or_else(|| panic!("{}: no events", ran.what));
    assert_eq!((&last["type"], last["code"].as_i64()), (&"exit".into(), ran.code.map(i64::from)));
    let problems = of(&found, "problem").len();
    assert_eq!(last["problems"], problems, "{}", ran.what);
    found
}

fn of<'e>(events: &'e [Value], name: &str) -> Vec<&'e Value> {
    events.iter().filter(|event| event["type"] == name).collect()
}

#[test]
fn a_night_that_goes_well() {
    let dir = Dir::with_repository();
    let bytes = dir.image("vm.img", 1);
    let ran = dir.run(&["--log-json", "create", "-v", "repo::a", "vm.img"]);
    let all = events(&ran);
    assert_eq!((ran.code, ran.stdout.as_slice()), (Some(0), &b""[..]));
    let ends = of(&all, "task_end");
    let backup = ends.iter().find(|event| event["phase"] == "backup").unwrap();
    assert_eq!((&backup["current"], &backup["unit"]), (&bytes.len().into(), &"bytes".into()));
    assert_eq!(backup["total"], bytes.len());
    let notes = of(&all, "note");
    assert_eq!((notes.len(), &notes[0]["path"]), (1, &"vm.img".into()));
    assert_eq!((&notes[0]["what"], &notes[0]["cutter"]), (&"read".into(), &"page".into()));
    assert_eq!(all.last().unwrap()["cause"], Value::Null);
    // Results are where they are without it, and it may stand anywhere.
    let ran = dir.run(&["list", "--short", "repo", "--log-json"]);
    events(&ran);
    assert_eq!(ran.stdout, b"a\n");
    let ran = dir.run(&["extract", "--log-json", "--destination", "to", "repo::a"]);
    assert_eq!(of(&events(&ran), "note"), Vec::<&Value>::new());
    assert!(dir.read("to/vm.img") == bytes);
    events(&dir.run(&["prune", "--log-json", "--keep-daily", "1", "repo"]));
    events(&dir.run(&["--log-json", "verify", "repo::a"]));
}

#[test]
fn what_goes_wrong_is_named_by_cause_and_subject() {
    let dir = Dir::with_repository();
    dir.image("vm.img", 1);
    let ran = dir.run(&["--log-json", "create", "repo::a", "vm.img", "gone"]);
    let all = events(&ran);
    let problem = of(&all, "problem")[0];
    assert_eq!((&problem["kind"], &problem["cause"]), (&"loss".into(), &"missing".into()));
    assert_eq!(problem["subject"], "gone");
    assert!(problem["text"].as_str().unwrap().starts_with("gone: cannot "), "{problem}");
    let pack = packs(&dir.path("repo")).remove(0);
    let mut bytes = fs::read(&pack).unwrap();
    bytes[500_000] ^= 1;
    fs::write(&pack, bytes).unwrap();
    let object = pack.strip_prefix(dir.path("repo")).unwrap().to_str().unwrap();
    let all = events(&dir.run(&["check", "--verify-data", "--log-json", "repo"]));
    let problems = of(&all, "problem");
    let is_pack = |problem: &&&Value| problem["subject"] == object;
    assert_eq!(problems.iter().find(is_pack).unwrap()["cause"], "damaged", "{problems:?}");
    assert!(problems.iter().any(|problem| problem["subject"] == "backups/a"), "{problems:?}");
    assert!(of(&all, "task_end").iter().any(|event| event["unit"] == "archives"));
    let all = events(&dir.run(&["extract", "--log-json", "--destination", "to", "repo::a"]));
    let problem = of(&all, "problem")[0];
    assert_eq!((&problem["cause"], &problem["subject"]), (&"damaged".into(), &"vm.img".into()));
    assert_eq!(problem["hint"], "check_data");
    assert!(!problem["text"].as_str().unwrap().contains("run `garret"), "{problem}");
}

#[test]
fn what_ends_a_command_is_in_its_last_line() {
    let dir = Dir::new();
    dir.cheap_repository("repo", KeyMode::Passphrase);
    let last = |environment: &[(&str, &str)], arguments: &[&str], code| {
        let ran = dir.run_with(environment, b"", arguments);
        assert_eq!(ran.code, Some(code), "{}", ran.stderr);
        events(&ran).pop().unwrap()
    };
    let wrong = [("GARRET_PASSPHRASE", "wrong")];
    assert_eq!(last(&wrong, &["list", "--log-json", "repo"], 1)["cause"], "passphrase");
    let right = [("GARRET_PASSPHRASE", PASSPHRASE)];
    let found = last(&right, &["list", "--log-json", "repo::a"], 1);
    assert_eq!((&found["cause"], &found["subject"]), (&"missing".into(), &"a".into()));
    assert_eq!(found["hint"], "list_archives");
    assert_eq!(last(&right, &["list", "--log-json", "none"], 1)["cause"], "missing");
    for wrong_use in [
        &["--log-json", "create", "repo::a"][..],
        &["list", "--log-json", "host:"],
        &["check", "--log-json", "--no-such-option", "repo"],
    ] {
        let found = last(&right, wrong_use, 2);
        assert_eq!(found["cause"], "invalid");
        assert_eq!(found["text"].as_str().unwrap().lines().count(), 1);
    }
    // Behind -- it is a name, and help is for people.
    let ran = dir.run(&["list", "--", "--log-json"]);
    assert!(ran.stderr.starts_with("garret: Error: "), "{}", ran.stderr);
    assert!(dir.run(&["--log-json", "--help"]).succeeds().contains("--log-json"));
}

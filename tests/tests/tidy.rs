//! The rules of the house, as a test over the tree: who imports whom, how long things are, what is never written.
//!
//! The rows of the core's modules are read from the documentation in its `lib.rs`, so they are said once.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

const FILE_LINES_MAX: usize = 500;
const FUNCTION_LINES_MAX: usize = 70;
/// rustfmt keeps code at 100; prose in comments is wider.
const LINE_LEN_MAX: usize = 126;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Every file below `directory` with one of these extensions, by its path from the root.
fn files(directory: &str, extensions: &[&str]) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut open = vec![root().join(directory)];
    while let Some(path) = open.pop() {
        for entry in fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()) {
            let name = entry.file_name().unwrap().to_str().unwrap();
            if entry.is_dir() && !name.starts_with('.') && !["target", "corpus"].contains(&name) {
                open.push(entry);
            } else if extensions.iter().any(|e| entry.extension().is_some_and(|found| found == *e))
            {
                let name = entry.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
                found.insert(name, fs::read_to_string(&entry).unwrap());
            }
        }
    }
    found
}

fn sources() -> BTreeMap<String, String> {
    let found = files(".", &["rs"]);
    assert!(found.len() > 50, "{} sources are not the tree", found.len());
    found
}

/// A source without what is only compiled for tests.
fn shipped(text: &str) -> &str {
    text.split_once("#[cfg(test)]").map_or(text, |(shipped, _)| shipped)
}

/// Whether a file is there for tests and measurements only: those may be long and may unwrap.
fn is_test(path: &str) -> bool {
    path.starts_with("tests/")
        || path.contains("/tests")
        || path.starts_with("crates/random/")
        || path.starts_with("crates/testkit/")
        || path.starts_with("benches/")
        || path.starts_with("fuzz/")
}

fn none(what: &str, found: Vec<String>) {
    assert!(found.is_empty(), "{what}:\n{}", found.join("\n"));
}

#[test]
fn every_source_opens_with_what_it_is() {
    let bare = |(path, text): (String, String)| (!text.starts_with("//! ")).then_some(path);
    none("these do not open with //!", sources().into_iter().filter_map(bare).collect());
}

#[test]
fn files_functions_and_lines_are_short() {
    let mut long = Vec::new();
    for (path, text) in sources() {
        let lines = shipped(&text).lines().count();
        if lines > FILE_LINES_MAX && !is_test(&path) {
            long.push(format!("{path}: {lines} lines"));
        }
        for (number, line) in text.lines().enumerate() {
            if line.chars().count() > LINE_LEN_MAX && !line.contains("://") {
                long.push(format!("{path}:{}: {} columns", number + 1, line.chars().count()));
            }
        }
        if !is_test(&path) {
            long.extend(long_functions(&path, shipped(&text)));
        }
    }
    none("too long", long);
}

/// Functions, by rustfmt's indentation: from a line with `fn NAME` to the brace at the same depth.
fn long_functions(path: &str, text: &str) -> Vec<String> {
    let mut long = Vec::new();
    let lines: Vec<&str> = text.lines().collect();
    for (start, line) in lines.iter().enumerate() {
        let trimmed = line.trim_start();
        let is_function = trimmed.split("fn ").next().is_some_and(|before| {
            trimmed.contains("fn ")
                && before.split_whitespace().all(|word| {
                    word.starts_with("pub")
                        || ["async", "const", "unsafe", "(crate)", "(super)"].contains(&word)
                })
        });
        if !is_function {
            continue;
        }
        let end = format!("{}}}", " ".repeat(line.len() - trimmed.len()));
        let ends = |line: &&str| **line == end;
        let len = match lines[start..].iter().position(ends) {
            Some(len) if !line.ends_with(';') && !line.ends_with('}') => len + 1,
            _ => 1,
        };
        if len > FUNCTION_LINES_MAX {
            long.push(format!("{path}:{}: {len} lines: {trimmed}", start + 1));
        }
    }
    long
}

#[test]
fn nothing_unfinished_or_careless_is_shipped() {
    let mut found = Vec::new();
    // In two parts, so that this file does not find itself.
    let always = [
        concat!("to", "do!("),
        concat!("un", "implemented!("),
        concat!("db", "g!("),
        concat!("FIX", "ME"),
    ];
    let shipped_only = [concat!(".unw", "rap()"), concat!("pa", "nic!(")];
    for (path, text) in sources() {
        let (mut said, code): (Vec<&str>, &str) = (Vec::new(), shipped(&text));
        said.extend(always.iter().filter(|word| text.contains(*word)));
        if !is_test(&path) {
            said.extend(shipped_only.iter().filter(|word| code.contains(*word)));
        }
        found.extend(said.iter().map(|word| format!("{path}: {word}")));
        if !text.is_ascii() {
            found.push(format!("{path}: not ASCII"));
        }
    }
    none("found", found);
}

#[test]
fn no_line_ends_in_space_and_every_file_in_a_newline() {
    let mut found = Vec::new();
    for (path, text) in files(".", &["rs", "toml", "md", "yml", "sh"]) {
        for (number, line) in text.lines().enumerate() {
            if line.ends_with([' ', '\t', '\r']) {
                found.push(format!("{path}:{}: trailing space", number + 1));
            }
        }
        if !text.is_empty() && !text.ends_with('\n') {
            found.push(format!("{path}: no newline at its end"));
        }
    }
    none("found", found);
}

#[test]
fn links_in_the_documents_lead_somewhere() {
    let mut dead = Vec::new();
    let mut documents = files("docs", &["md"]);
    if let Ok(text) = fs::read_to_string(root().join("README.md")) {
        documents.insert("README.md".to_owned(), text);
    }
    for (path, text) in documents {
        let directory = root().join(&path).parent().unwrap().to_owned();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let target = link.split(['#', ' ']).next().unwrap();
            let is_file = !target.is_empty() && !target.contains(':');
            if is_file && !directory.join(target).exists() {
                dead.push(format!("{path}: {link}"));
            }
        }
    }
    none("dead links", dead);
}

/// Which of our crates each crate may use.
const CRATES: [(&str, &[&str]); 13] = [
    ("chunker", &[]),
    ("format", &[]),
    ("image", &[]),
    ("core", &["chunker", "format", "image"]),
    ("remote", &["core", "format"]),
    ("cli", &["remote", "core", "format"]),
    ("stores", &["cli", "remote", "core", "format"]),
    ("view", &["core", "format", "image"]),
    ("guest", &["image"]),
    ("garret", &["cli", "core", "format", "guest", "view"]),
    ("zgarret", &["cli", "core", "format"]),
    ("random", &[]),
    ("testkit", &["random", "core", "format", "chunker", "image"]),
];

#[test]
fn crates_use_only_the_crates_below_them() {
    let ours: BTreeSet<String> = fs::read_dir(root().join("crates"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(ours, CRATES.map(|(name, _)| name.to_owned()).into());
    let mut found = Vec::new();
    for (name, allowed) in CRATES {
        let manifest =
            fs::read_to_string(root().join(format!("crates/{name}/Cargo.toml"))).unwrap();
        let dependencies = manifest.split_once("\n[dependencies]").unwrap().1;
        let dependencies = dependencies.split("\n[").next().unwrap();
        for line in dependencies.lines() {
            let used = line.split(['.', ' ', '=']).next().unwrap();
            let used = used.strip_prefix("garret-").unwrap_or(used);
            if ours.contains(used) && !allowed.contains(&used) {
                found.push(format!("{name} uses {used}"));
            }
        }
    }
    none("not allowed", found);
}

/// What others must match in full: should it grow, each of them has to decide before it compiles.
const CLOSED: [&str; 5] = ["Area", "Destination", "Difference", "Key", "LockMode"];

/// Options, reports and choices of the library may grow without breaking whoever uses it.
#[test]
fn what_may_grow_says_so() {
    let (mut found, mut closed) = (Vec::new(), BTreeSet::new());
    for (path, text) in files("crates/core/src", &["rs"]) {
        let lines: Vec<&str> = shipped(&text).lines().collect();
        for (at, line) in lines.iter().enumerate() {
            let name = |rest: &str| rest.split([' ', '<']).next().unwrap().to_owned();
            let choice = line.strip_prefix("pub enum ").map(name);
            let fields =
                line.strip_prefix("pub struct ").filter(|rest| rest.ends_with('{')).map(name);
            let may_grow = |name: &String| {
                ["Options", "Report", "Rules"].iter().any(|end| name.ends_with(end))
            };
            let Some(name) = choice.or(fields.filter(may_grow)) else { continue };
            let attributes = lines[..at].iter().rev().take_while(|line| line.starts_with('#'));
            if attributes.copied().any(|line| line == "#[non_exhaustive]") {
                continue;
            }
            match CLOSED.iter().find(|one| **one == name) {
                Some(one) => drop(closed.insert(*one)),
                None => found.push(format!("{path}: {name}")),
            }
        }
    }
    none("#[non_exhaustive] is missing", found);
    assert_eq!(closed, BTreeSet::from(CLOSED), "these are closed");
}

/// The rows of the core's modules, lowest first, from the last drawing in the documentation of its `lib.rs`.
fn rows() -> Vec<BTreeSet<String>> {
    let text = fs::read_to_string(root().join("crates/core/src/lib.rs")).unwrap();
    let docs: String =
        text.lines().map_while(|line| line.strip_prefix("//!")).collect::<Vec<_>>().join("\n");
    let drawing = docs.split("```").filter(|part| part.starts_with("text")).last().unwrap();
    let rows = drawing.trim_start_matches("text").replace('\n', " | ");
    let row = |row: &str| row.split_whitespace().map(str::to_owned).collect::<BTreeSet<_>>();
    rows.split('|').map(row).filter(|row| !row.is_empty()).collect()
}

#[test]
fn modules_of_the_core_import_only_from_rows_above_their_own() {
    let rows = rows();
    let row_of = |module: &str| rows.iter().position(|row| row.contains(module));
    let operations = rows.len() - 1;
    let mut found = Vec::new();
    let mut seen = BTreeSet::new();
    for (path, text) in files("crates/core/src", &["rs"]) {
        let inside = path.strip_prefix("crates/core/src/").unwrap();
        let module = inside.split('/').next().unwrap().trim_end_matches(".rs");
        if module == "lib" {
            continue;
        }
        seen.insert(module.to_owned());
        let Some(own) = row_of(module) else {
            found.push(format!("{path}: {module} is in no row of lib.rs"));
            continue;
        };
        for used in used_modules(shipped(&text)) {
            match row_of(&used) {
                _ if used == module => {}
                None => found.push(format!("{path}: uses {used}, which is in no row of lib.rs")),
                Some(other) if other == operations && own == operations => {
                    found.push(format!("{path}: the operation {module} uses the operation {used}"));
                }
                Some(other) if other >= own => {
                    found.push(format!("{path}: {module} uses {used}, not above it"))
                }
                Some(_) => {}
            }
        }
    }
    let named: BTreeSet<String> = rows.into_iter().flatten().collect();
    assert_eq!(named, seen, "the rows name the modules that there are");
    none("not allowed", found);
}

/// Rooms of the core of which docs/design.md names each file.
const ROOMS: [&str; 6] = ["compare", "keys", "maintain", "objects", "read", "store"];

/// A newcomer looks for what the page names, and for what it says of a room.
#[test]
fn the_design_names_files_that_are_there_and_all_of_a_room() {
    let page = fs::read_to_string(root().join("docs/design.md")).unwrap();
    let sources = files("crates", &["rs"]);
    let mut found = Vec::new();
    for named in page.split('`').filter(|word| word.ends_with(".rs") && !word.contains(' ')) {
        let is_end = |path: &String| path.ends_with(&format!("/{named}"));
        let is_there = [root(), root().join("tests")].iter().any(|at| at.join(named).exists());
        if !is_there && !sources.keys().any(is_end) {
            found.push(format!("{named} is not there"));
        }
    }
    for room in ROOMS {
        let named = format!("`{room}/`");
        let row =
            page.lines().find(|line| line.starts_with("| ") && line.contains(&named)).unwrap();
        let words: BTreeSet<&str> = row.split(|c: char| !c.is_alphanumeric()).collect();
        for entry in fs::read_dir(root().join("crates/core/src").join(room)).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let name = name.strip_suffix(".rs").unwrap_or(&name).to_owned();
            if !words.contains(&*name) && !words.contains(&*format!("{name}s")) {
                found.push(format!("{room}: {name} is not named"));
            }
        }
    }
    none("docs/design.md", found);
}

/// Two files that import each other cannot be understood, or changed, one without the other.
#[test]
fn no_files_import_each_other() {
    let mut found = Vec::new();
    for name in CRATES.map(|(name, _)| name) {
        let sources = format!("crates/{name}/src");
        let all: BTreeMap<Vec<String>, String> = files(&sources, &["rs"])
            .into_iter()
            .filter(|(path, _)| !path.ends_with("tests.rs"))
            .map(|(path, text)| (module_of(&path[sources.len() + 1..]), shipped(&text).to_owned()))
            .collect();
        let imports: BTreeMap<&Vec<String>, BTreeSet<Vec<String>>> =
            all.iter().map(|(module, text)| (module, imported(module, text, &all))).collect();
        for module in all.keys() {
            let (mut reached, mut open) = (BTreeSet::new(), vec![module]);
            while let Some(next) = open.pop() {
                open.extend(imports[next].iter().filter(|one| reached.insert((*one).clone())));
            }
            if reached.contains(module) {
                found.push(format!("{name}: {}", module.join("::")));
            }
        }
    }
    none("in a circle", found);
}

/// The module that a file is: `a/b.rs` is `a::b`, `lib.rs` and `main.rs` are none.
fn module_of(path: &str) -> Vec<String> {
    let parts = path.trim_end_matches(".rs").split('/').map(str::to_owned);
    parts.filter(|part| !["lib", "main"].contains(&part.as_str())).collect()
}

/// The modules, of those that are files, that a module takes something from: by `use`, or by the name of a child in its code.
fn imported(
    module: &[String],
    text: &str,
    all: &BTreeMap<Vec<String>, String>,
) -> BTreeSet<Vec<String>> {
    let code: String = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect::<Vec<_>>()
        .join("\n");
    let mut paths: Vec<Vec<String>> = Vec::new();
    let is_passed_on = |part: &&str| part.lines().any(|line| line.starts_with("pub"));
    // What is only passed on to others is not needed here.
    let statements = code.split(';').filter(|part| !is_passed_on(part));
    for statement in statements.filter_map(|part| part.split("use ").nth(1)) {
        expand("", &statement.split_whitespace().collect::<Vec<_>>().join(" "), &mut paths);
    }
    for child in all.keys().filter(|other| other.len() == module.len() + 1) {
        let needs = |part: &str| {
            !part.contains("use ") && part.contains(&format!("{}::", child[module.len()]))
        };
        if child.starts_with(module)
            && code.split(';').any(needs)
            && code.contains(&format!("{}::", child[module.len()]))
        {
            paths.push(vec!["self".to_owned(), child[module.len()].clone()]);
        }
    }
    let mut found = BTreeSet::new();
    for path in paths {
        let mut at = match path.first().map(String::as_str) {
            Some("crate") => Vec::new(),
            Some("self" | "super") => module.to_vec(),
            Some(first) if all.contains_key(&[module, &[first.to_owned()]].concat()) => {
                module.to_vec()
            }
            _ => continue,
        };
        for part in path.iter().filter(|part| !["crate", "self"].contains(&part.as_str())) {
            match part.as_str() {
                "super" => drop(at.pop()),
                part => {
                    let below = [at.clone(), vec![part.to_owned()]].concat();
                    if !all.contains_key(&below) {
                        break;
                    }
                    at = below;
                }
            }
        }
        // What is re-exported at the root is taken from the root's own children.
        if at != module && !at.is_empty() {
            found.insert(at);
        }
    }
    found
}

/// Every path of a tree as `a::{b, c::{d, e}}`.
fn expand(before: &str, tree: &str, paths: &mut Vec<Vec<String>>) {
    match tree.split_once('{') {
        None => {
            let path = format!("{before}{tree}");
            let parts = path.split("::").map(|part| part.trim().trim_matches('}').to_owned());
            paths.push(parts.filter(|part| !part.is_empty()).collect());
        }
        Some((first, rest)) => {
            let (mut depth, mut start) = (0, 0);
            let inside = rest.trim().trim_end_matches('}');
            for (at, byte) in inside.bytes().chain([b',']).enumerate() {
                match byte {
                    b'{' => depth += 1,
                    b'}' => depth -= 1,
                    b',' if depth <= 0 => {
                        let part = inside.get(start..at).unwrap_or_default().trim();
                        expand(&format!("{before}{first}"), part, paths);
                        start = at + 1;
                    }
                    _ => {}
                }
            }
        }
    }
}

/// The modules behind every `crate::`, also those in braces.
fn used_modules(text: &str) -> BTreeSet<String> {
    let word = |text: &str| -> String {
        text.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect()
    };
    let mut used = BTreeSet::new();
    for rest in text.split("crate::").skip(1) {
        match rest.strip_prefix('{') {
            None => drop(used.insert(word(rest))),
            Some(group) => {
                let parts = group.split('}').next().unwrap().split(',');
                used.extend(parts.map(|part| word(part.trim())).filter(|part| !part.is_empty()));
            }
        }
    }
    used
}

#[test]
fn the_reading_of_imports_sees_what_it_should() {
    let text = "use crate::store::{Key, Store};\nuse crate::{pack, index::Index};\nfn f() { crate::error::message(e) }";
    let expected = ["error", "index", "pack", "store"].map(str::to_owned);
    assert_eq!(used_modules(text), BTreeSet::from(expected));
    let long = format!(
        "    pub(crate) fn f(\n        a: u8,\n    ) {{\n{}    }}\n",
        "        a;\n".repeat(80)
    );
    assert_eq!(long_functions("x", &long).len(), 1);
    assert!(long_functions("x", "fn f() {\n    a;\n}\n").is_empty());
    assert!(rows().len() > 5);
    let mut paths = Vec::new();
    expand("", "super::{a, b::{C, d::E}, F}", &mut paths);
    let shown: Vec<String> = paths.iter().map(|path| path.join("::")).collect();
    assert_eq!(shown, ["super::a", "super::b::C", "super::b::d::E", "super::F"]);
}

/// docs/security.md names tests in the second column of its tables, and in prose where it says that something holds.
#[test]
fn what_security_promises_is_tested() {
    let page = fs::read_to_string(root().join("docs/security.md")).unwrap();
    let all: String = sources().into_values().collect();
    let rows = page.lines().filter(|line| line.starts_with("| ") && line.ends_with("` |"));
    let cells = rows.filter_map(|row| row.trim_end_matches(" |").rsplit_once(" | "));
    let named: Vec<&str> = cells
        .flat_map(|(_, cell)| cell.split(", ").map(|name| name.trim_matches('`')))
        .filter(|name| name.contains('_'))
        .collect();
    assert!(named.len() > 50, "{} tests are not all", named.len());
    let missing = named.iter().filter(|name| !all.contains(&format!("fn {name}(")));
    none("these tests are not there", missing.map(|name| (*name).to_owned()).collect());
}

//! What is not safe Rust is said in docs/security.md, "What is linked in": every file of ours with `unsafe` in it, and every
//! dependency whose build compiles C. In: that section, our sources, Cargo.lock. A change of either list fails here until
//! the section says so.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The rows of the section's tables: the name in the first column, and the second.
fn rows() -> Vec<(String, String)> {
    let text = fs::read_to_string(root().join("docs/security.md")).unwrap();
    let section = text.split("\n## What is linked in\n").nth(1).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let row = |line: &str| {
        let mut columns = line.strip_prefix("| `")?.split(" | ");
        let name = columns.next()?.split('`').next()?.to_owned();
        Some((name, columns.next()?.to_owned()))
    };
    section.lines().filter_map(row).collect()
}

/// The sources below a directory that have `unsafe` in code.
fn with_unsafe(directory: &Path, found: &mut BTreeSet<String>) {
    // In two parts, so that this file does not find itself.
    let words = [concat!("unsafe", " {"), concat!("unsafe", " impl"), concat!("unsafe", " fn")];
    for path in fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()) {
        if path.is_dir() && !path.ends_with("target") {
            with_unsafe(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            if words.iter().any(|word| text.contains(word)) {
                found.insert(path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
}

#[test]
fn the_page_names_every_source_with_unsafe_code() {
    let mut found = BTreeSet::new();
    for directory in ["crates", "benches", "tests", "fuzz"] {
        with_unsafe(&root().join(directory), &mut found);
    }
    let rows = rows().into_iter().map(|(name, _)| name);
    let said: BTreeSet<String> = rows.filter(|name| name.ends_with(".rs")).collect();
    assert_eq!(found, said);
}

#[test]
fn the_page_names_every_dependency_that_compiles_c() {
    let lock = fs::read_to_string(root().join("Cargo.lock")).unwrap();
    let compiles =
        |package: &&str| package.lines().any(|line| [" \"cc\",", " \"cmake\","].contains(&line));
    let name = |package: &str| package.split('"').nth(1).unwrap().to_owned();
    let found: BTreeSet<String> = lock.split("[[package]]").filter(compiles).map(name).collect();
    let said =
        rows().into_iter().filter(|(_, kind)| kind.starts_with("C ") || kind.starts_with("C,"));
    assert_eq!(found, said.map(|(name, _)| name).collect());
}

//! docs/messages.md: each line that it explains is one that the code can say, each way for a night to end has its row, and
//! what is said where texts are made is on the page.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use garret_cli::exit::Outcome;
use garret_format::config::KeyMode;

use super::Dir;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn page() -> String {
    fs::read_to_string(root().join("docs/messages.md")).unwrap()
}

/// A source as it is compiled for use: its texts on one line each.
fn source(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let shipped = text.split("#[cfg(test)]").next().unwrap().to_owned();
    // A line of a text that ends in a backslash goes on with the first letter of the next one.
    let mut parts = shipped.split("\\\n");
    let first = parts.next().unwrap().to_owned();
    parts.fold(first, |text, part| text + part.trim_start())
}

fn sources() -> Vec<(PathBuf, String)> {
    let crates = ["core", "remote", "cli", "image", "garret"];
    let files = crates
        .iter()
        .flat_map(|name| super::files_below(&root().join(format!("crates/{name}/src"))));
    files.map(|path| (path.clone(), source(&path))).collect()
}

/// What is between the holes of a text: `...` on the page, braces in the code.
fn pieces(text: &str) -> Vec<String> {
    let mut flat = String::new();
    let mut depth = 0;
    for character in text.replace("{{", "").replace("}}", "").chars() {
        match character {
            '{' => depth += 1,
            '}' => {
                depth -= 1;
                flat.push_str("...");
            }
            _ if depth == 0 => flat.push(character),
            _ => {}
        }
    }
    let pieces = flat.split("...").map(|piece| piece.trim_matches([' ', ':', ';', ',', '`']));
    pieces.filter(|piece| piece.len() > 2).map(str::to_owned).collect()
}

/// The texts between backquotes in the first column of the tables of lines.
fn explained(page: &str) -> Vec<String> {
    let tables = page.split_once("## What is backed up").unwrap().1;
    let rows = tables.lines().filter(|line| line.starts_with("| `"));
    let cells = rows.map(|row| row[2..].split(" | ").next().unwrap());
    cells.flat_map(|cell| cell.split('`').skip(1).step_by(2).map(str::to_owned)).collect()
}

#[test]
fn every_line_that_the_page_explains_can_be_said() {
    let sources = sources();
    let lines = explained(&page());
    assert!(lines.len() > 70, "{} lines are not the page", lines.len());
    for line in lines {
        let found = pieces(&line);
        assert!(!found.is_empty(), "{line} says nothing");
        for piece in found {
            assert!(
                sources
                    .iter()
                    .any(|(_, text)| text.replace("`", "").contains(&piece.replace('`', ""))),
                "no source says {piece:?} of {line:?}"
            );
        }
    }
}

#[test]
fn every_way_to_end_has_its_row() {
    use Outcome::*;
    let page = page();
    for outcome in [Fine, Warning, Running, Locked, Full, Failed, Key, Damaged, Usage] {
        let row = format!("| {} | {} | ", outcome.code(), outcome.name());
        assert!(page.contains(&row), "{row}");
    }
}

/// Errors that no night comes to: it takes nothing from a terminal or a pipe, changes no key, restores nothing.
const NOT_OF_A_NIGHT: [&str; 9] = [
    "use that newer garret",
    "it has no keys and no passphrase to change",
    "it can be removed with the passphrase",
    "of more not all would be tried",
    "does not exist",
    "nothing is given back until then",
    "is empty: nothing was stored",
    "failed",
    "an archive cannot be of a time that is yet to come",
];

/// The texts of a source that stand behind one of these words.
fn texts(source: &str, before: &str) -> Vec<String> {
    let found = source.split(before).skip(1).filter_map(|rest| {
        let rest = rest.trim_start().strip_prefix('"')?;
        // None of them has a quote within.
        Some(rest.split('"').next()?.to_owned())
    });
    found.collect()
}

#[test]
fn what_is_said_where_texts_are_made_is_on_the_page() {
    let page = page().replace('`', "");
    let root = root();
    let mut said = Vec::new();
    for (path, text) in sources() {
        let path = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
        if path == "crates/cli/src/nightly/words.rs" {
            // Advice that ends a line is part of other rows.
            let all = texts(&text, "format!(");
            said.extend(
                all.into_iter().filter(|text| pieces(text).iter().any(|piece| piece.len() > 12)),
            );
        } else if path == "crates/core/src/error.rs" {
            said.extend(texts(&text, "#[error("));
        }
        if !path.starts_with("crates/garret") {
            let notices = text.replace("progress.notice(&format!(", "notice(");
            let notices = notices.replace("ui.notice(&format!(", "notice(");
            said.extend(
                texts(&notices, "notice(")
                    .into_iter()
                    .filter(|_| !OF_OTHERS.contains(&path.as_str())),
            );
        }
    }
    assert!(said.len() > 40, "{} texts are not all", said.len());
    let is_told = |text: &String| {
        pieces(text).iter().all(|piece| page.contains(&piece.replace('`', "")))
            || NOT_OF_A_NIGHT.iter().any(|other| text.contains(other))
    };
    let missing: Vec<&String> = said.iter().filter(|text| !is_told(text)).collect();
    assert!(missing.is_empty(), "not on the page: {missing:#?}");
}

/// Sources whose lines no night has.
const OF_OTHERS: [&str; 2] = ["crates/cli/src/drills.rs", "crates/core/src/maintain/scrub.rs"];

/// The lines of nights that go wrong are found on the page by their words.
#[test]
fn what_a_bad_night_says_is_on_the_page() {
    let dir = Dir::with_repository();
    dir.cheap_repository("locked", KeyMode::Passphrase);
    let wrong = dir.write("wrong", b"wrong\n");
    fs::set_permissions(&wrong, fs::Permissions::from_mode(0o600)).unwrap();
    dir.write("there", b"x");
    fs::create_dir(dir.path("bare")).unwrap();
    let at = dir.temp.path().display();
    let job = |name: &str, repository: &str, path: &str, more: &str| {
        format!(
            "[job.{name}]\nrepository = \"{at}/{repository}\"\npaths = [\"{at}/{path}\"]\n{more}\n"
        )
    };
    let jobs = [
        job("a", "nowhere", "there", ""),
        job("b", "locked", "there", &format!("passphrase-file = \"{at}/wrong\"")),
        job("c", "locked", "there", ""),
        job("d", "repo", "gone", ""),
        job("e", "repo", "bare", ""),
        job("f", "repo", "there", "hooks.before = \"false\""),
        job("g", "repo", "there", "hooks.snapshot = \"true\"\nhooks.cleanup = \"exit 4\""),
        job("h", "repo", "there", "hooks.after = \"false\""),
        job("i", "made", "there", "init = \"none\""),
        job("j", "repo", "there", "archive = \"{job}-{now}/.x\""),
        job("k", "there", "there", ""),
    ];
    dir.write("garret.toml", jobs.concat().as_bytes());
    let ran = dir.run(&["nightly", "--config", "garret.toml"]);
    let rows: Vec<Vec<String>> = explained(&page()).iter().map(|line| pieces(line)).collect();
    let is_explained = |line: &str| {
        let words = |row: &&Vec<String>| row.iter().map(String::len).sum::<usize>() > 12;
        let mut told = rows.iter().filter(words);
        told.any(|row| {
            row.iter().all(|piece| line.replace('`', "").contains(&piece.replace('`', "")))
        })
    };
    for job in ('a'..='k').map(|job| format!("garret: {job}: ")) {
        let lines: Vec<&str> = ran.stderr.lines().filter(|line| line.starts_with(&job)).collect();
        assert!(!lines.is_empty(), "{job}{}", ran.stderr);
        assert!(lines.iter().any(|line| is_explained(line)), "{lines:#?}");
    }
}

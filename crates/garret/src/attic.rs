//! attic's ways to write a command line, put as ours.
//!
//! In: the words behind the program's name. Out: the words that [`crate::args`] reads, and what is to be said about old ones.
//! Promises: an abbreviation that attic understands means here what it means there, whatever options we have besides; words
//! behind `--` are left alone.

use std::ffi::{OsStr, OsString};

use crate::args::command_at;

/// What each command of attic takes besides `--verbose` and `--help`.
const OPTIONS: [(&str, &[&str]); 7] = [
    ("init", &["--encryption"]),
    (
        "create",
        &[
            "--stats",
            "--exclude",
            "--exclude-from",
            "--exclude-caches",
            "--checkpoint-interval",
            "--do-not-cross-mountpoints",
            "--numeric-owner",
        ],
    ),
    (
        "extract",
        &["--dry-run", "--exclude", "--exclude-from", "--numeric-owner", "--strip-components"],
    ),
    ("delete", &["--stats"]),
    (
        "prune",
        &[
            "--dry-run",
            "--stats",
            "--keep-within",
            "--keep-hourly",
            "--keep-daily",
            "--keep-weekly",
            "--keep-monthly",
            "--keep-yearly",
            "--prefix",
        ],
    ),
    ("check", &["--repository-only", "--archives-only", "--repair"]),
    ("help", &["--epilog-only", "--usage-only"]),
];

/// What every command of attic takes.
const COMMON: [&str; 2] = ["--verbose", "--help"];

/// Options of `prune` that attic had under these names before.
const OLD: [&str; 5] = ["--hourly", "--daily", "--weekly", "--monthly", "--yearly"];

/// The words as we read them, and a line for each old spelling.
pub(crate) fn rewrite(words: impl IntoIterator<Item = OsString>) -> (Vec<OsString>, String) {
    let mut words: Vec<OsString> = words.into_iter().collect();
    let mut warnings = String::new();
    let mut warn = |old: &str, new: &str| {
        warnings += &format!("Warning: \"{old}\" has been deprecated. Use \"{new}\" instead.\n");
    };
    let start = command_at(&words);
    if words.get(start).is_some_and(|word| word == "verify") {
        warn("garret verify", "garret extract --dry-run");
        words.splice(start..=start, ["extract".into(), "--dry-run".into()]);
    }
    let Some((command, rest)) = words.get_mut(start..).and_then(<[OsString]>::split_first_mut)
    else {
        return (words, warnings);
    };
    for word in rest.iter_mut().take_while(|word| *word != "--") {
        let Some((name, value)) = long_option(word) else { continue };
        let new = match OLD.iter().find(|old| command == "prune" && **old == name) {
            Some(old) => {
                let new = format!("--keep-{}", old.trim_start_matches('-'));
                warn(old, &new);
                new
            }
            None => match in_full(command, name) {
                Some(full) => full.to_owned(),
                None => continue,
            },
        };
        let value = value.map(OsStr::to_owned);
        *word = new.into();
        if let Some(value) = value {
            word.push("=");
            word.push(value);
        }
    }
    (words, warnings)
}

/// The name of a long option, and the value that stands in the same word.
fn long_option(word: &OsStr) -> Option<(&str, Option<&OsStr>)> {
    use std::os::unix::ffi::OsStrExt;
    let bytes = word.as_bytes();
    let (name, value) = match bytes.iter().position(|byte| *byte == b'=') {
        Some(at) => (bytes.get(..at)?, bytes.get(at + 1..).map(OsStr::from_bytes)),
        None => (bytes, None),
    };
    let name = std::str::from_utf8(name).ok()?;
    (name.len() > 2 && name.starts_with("--")).then_some((name, value))
}

/// The one option of attic that begins so.
fn in_full(command: &OsStr, name: &str) -> Option<&'static str> {
    let command = if command == "restore" { OsStr::new("extract") } else { command };
    let (_, options) = OPTIONS.iter().find(|(known, _)| command == *known)?;
    let mut candidates = options.iter().chain(&COMMON).filter(|full| full.starts_with(name));
    match (candidates.next(), candidates.next()) {
        (Some(only), None) => Some(only),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewritten(line: &str) -> (String, String) {
        let (words, warnings) = rewrite(line.split(' ').map(OsString::from));
        let words: Vec<String> =
            words.into_iter().map(|word| word.into_string().unwrap()).collect();
        (words.join(" "), warnings)
    }

    #[test]
    fn old_spellings_are_understood_and_named() {
        let (words, warnings) = rewritten("verify -v repo::a x");
        assert_eq!(words, "extract --dry-run -v repo::a x");
        let expected = "Warning: \"garret verify\" has been deprecated. \
                        Use \"garret extract --dry-run\" instead.\n";
        assert_eq!(warnings, expected);
        let (words, warnings) = rewritten("prune --daily 7 --weekly=4 repo --yearly -1");
        assert_eq!(words, "prune --keep-daily 7 --keep-weekly=4 repo --keep-yearly -1");
        assert_eq!(warnings.lines().count(), 3);
        let expected = "Warning: \"--daily\" has been deprecated. Use \"--keep-daily\" instead.\n";
        assert!(warnings.starts_with(expected), "{warnings}");
        assert_eq!(rewritten("list verify").0, "list verify");
        let (words, _) = rewritten("--log-json verify --d repo::a");
        assert_eq!(words, "--log-json extract --dry-run --dry-run repo::a");
    }

    #[test]
    fn an_abbreviation_of_attic_s_means_what_it_means_there() {
        for (line, expected) in [
            ("create --st repo::a x --num", "create --stats repo::a x --numeric-owner"),
            (
                "create --do --check=3 repo::a x",
                "create --do-not-cross-mountpoints --checkpoint-interval=3 repo::a x",
            ),
            ("extract --d --strip=1 repo::a", "extract --dry-run --strip-components=1 repo::a"),
            ("restore --d repo::a", "restore --dry-run repo::a"),
            (
                "prune --keep-m -1 --p=x --verb repo",
                "prune --keep-monthly -1 --prefix=x --verbose repo",
            ),
            ("check --repa repo", "check --repair repo"),
            // Ambiguous, or no option of attic's: left for our own reading.
            ("check --rep repo", "check --rep repo"),
            ("create --std n repo::a -", "create --std n repo::a -"),
            ("extract --stdout repo::a", "extract --stdout repo::a"),
            ("create repo::a -- --st", "create repo::a -- --st"),
            ("extract --exclude x repo::a", "extract --exclude x repo::a"),
            ("diff --st", "diff --st"),
        ] {
            assert_eq!(rewritten(line), (expected.to_owned(), String::new()));
        }
    }
}

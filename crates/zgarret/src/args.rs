//! The command line: flags, which may stand anywhere and are taken out first, and the words that remain.
//!
//! In: the arguments. Out: what is asked for, or the one line that says why it cannot be; and the notes about spellings that
//! zbackup calls deprecated. zbackup's rules: no abbreviations, no `--flag=value`, and a flag whose value is missing is no
//! flag.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use crate::options::{Runtime, Storable};
use crate::usage;

/// The command line, read.
pub(crate) struct Parsed {
    /// Whether notes and progress are to be left out.
    pub(crate) silent: bool,
    /// Whether everything but results is told in JSON.
    pub(crate) json: bool,
    /// Whether a repository is taken in an older state than was seen.
    pub(crate) accepts_state: bool,
    /// What to say about the spelling of flags.
    pub(crate) notes: Vec<String>,
    pub(crate) request: Result<Request, String>,
}

/// What is asked for.
pub(crate) enum Request {
    /// A command.
    Run(Line),
    /// A text about the program, on stderr as zbackup's.
    Show { text: String, code: u8 },
}

/// A command line whose flags are taken out.
#[derive(Default)]
pub(crate) struct Line {
    /// One for each password flag, in their order.
    pub(crate) passwords: Vec<PasswordFlag>,
    pub(crate) runtime: Runtime,
    pub(crate) storable: Storable,
    /// The line for the shell whose output is backed up.
    pub(crate) from_command: Option<OsString>,
    /// The command, its action and its arguments.
    pub(crate) words: Vec<OsString>,
}

/// What a repository is opened with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PasswordFlag {
    /// `--non-encrypted`.
    NonEncrypted,
    /// `--password-file FILE`.
    File(PathBuf),
}

/// The flags that zbackup 1.5 wants written in another way, and that way.
const DEPRECATED: [(&str, &str); 4] = [
    ("--threads", "-O threads"),
    ("--cache-size", "-O cache-size"),
    ("--exchange", "-O exchange"),
    ("--compression", "-o bundle.compression_method"),
];

/// Reads the command line. What is wrong first is what is said, but the line is read to its end: `--silent` may stand there.
pub(crate) fn parse(arguments: impl Iterator<Item = OsString>) -> Parsed {
    let mut line = Line::default();
    let (mut silent, mut json, mut accepts_state) = (false, false, false);
    let mut notes = Vec::new();
    let mut shown: Option<Result<Request, String>> = None;
    let mut arguments = arguments.peekable();
    while let Some(word) = arguments.next() {
        match word.to_str() {
            Some("--silent") => silent = true,
            Some("--log-json") => json = true,
            Some("--accept-state") => accepts_state = true,
            Some("--non-encrypted") => line.passwords.push(PasswordFlag::NonEncrypted),
            Some("-h" | "--help") => drop(shown.get_or_insert_with(|| Ok(help()))),
            Some(flag) if takes_value(flag) && arguments.peek().is_some() => {
                let value = arguments.next().unwrap_or_default();
                if let Some((old, new)) = DEPRECATED.iter().find(|(old, _)| *old == flag) {
                    notes.push(format!("{old} is deprecated, use {new} instead"));
                }
                match line.take(flag, value) {
                    Ok(None) => {}
                    Ok(Some(request)) => drop(shown.get_or_insert(Ok(request))),
                    Err(text) => drop(shown.get_or_insert(Err(text))),
                }
            }
            _ => line.words.push(word),
        }
    }
    let request = shown.unwrap_or_else(|| line.checked());
    Parsed { silent, json, accepts_state, notes, request }
}

fn takes_value(flag: &str) -> bool {
    matches!(flag, "--password-file" | "--from-command" | "-O" | "-o")
        || DEPRECATED.iter().any(|(deprecated, _)| *deprecated == flag)
}

fn help() -> Request {
    Request::Show { text: usage::GENERAL.to_owned(), code: 1 }
}

impl Line {
    /// Takes in a flag and its value; a text if that is what the flag asks for.
    fn take(&mut self, flag: &str, value: OsString) -> Result<Option<Request>, String> {
        if flag == "--password-file" {
            self.passwords.push(PasswordFlag::File(value.into()));
            return Ok(None);
        }
        if flag == "--from-command" {
            self.from_command = Some(value);
            return Ok(None);
        }
        let Some(value) = value.to_str() else {
            return Err(format!("Invalid option specified: {}", value.to_string_lossy()));
        };
        let show = |text: &str| Ok(Some(Request::Show { text: text.to_owned(), code: 0 }));
        match (flag, value) {
            ("-O", "help") => return show(usage::RUNTIME),
            ("-o", "help") => return show(usage::STORABLE),
            ("-O", option) => self.runtime.set(option)?,
            ("-o", option) => self.storable.set(option)?,
            ("--threads", count) => self.runtime.set_threads(count)?,
            ("--cache-size", size) => self.runtime.set_cache_size(size)?,
            ("--exchange", class) => self.runtime.add_exchange(class)?,
            (_, method) => self.storable.set_method(method)?,
        }
        Ok(None)
    }

    /// The command, unless there is none or something that looks like a flag is left over.
    fn checked(self) -> Result<Request, String> {
        if self.words.is_empty() {
            return Ok(help());
        }
        // A lone - could be a file of that name; all else that begins so is a flag that nobody knows.
        let is_flag = |word: &&OsString| word.as_bytes().starts_with(b"-") && word.len() > 1;
        match self.words.iter().find(is_flag) {
            Some(word) => Err(unknown(word)),
            None => Ok(Request::Run(self)),
        }
    }
}

/// What zbackup says to a word that it cannot make sense of.
pub(crate) fn unknown(word: &OsStr) -> String {
    format!("Error: unknown command line option: {}", word.to_string_lossy())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Parsed {
        parse(text.split_whitespace().map(OsString::from))
    }

    fn line(text: &str) -> Line {
        match read(text).request {
            Ok(Request::Run(line)) => line,
            Ok(Request::Show { text, .. }) => panic!("{text}"),
            Err(error) => panic!("{error}"),
        }
    }

    #[test]
    fn flags_stand_anywhere() {
        for text in [
            "--silent --non-encrypted --threads 8 backup r/backups/a",
            "backup --threads 8 r/backups/a --non-encrypted --silent",
            "backup r/backups/a -O threads=8 --silent --non-encrypted",
        ] {
            let found = line(text);
            assert_eq!(found.words, ["backup", "r/backups/a"], "{text}");
            assert_eq!(found.passwords, [PasswordFlag::NonEncrypted]);
            assert_eq!(found.runtime.threads(), 8);
            assert!(read(text).silent);
        }
    }

    #[test]
    fn a_flag_without_its_value_and_one_with_an_equals_sign_are_unknown() {
        for (text, word) in [
            ("gc repo --threads", "--threads"),
            ("gc repo --password-file", "--password-file"),
            ("gc --threads=8 repo", "--threads=8"),
            ("--thread 8 gc repo", "--thread"),
            ("gc repo -x", "-x"),
        ] {
            let error = read(text).request.err();
            assert_eq!(error, Some(format!("Error: unknown command line option: {word}")));
        }
    }

    #[test]
    fn deprecated_spellings_are_noted_in_their_order() {
        let text = "--exchange index --compression lzo --threads 1 --cache-size 40mb gc repo";
        let expected = [
            "--exchange is deprecated, use -O exchange instead",
            "--compression is deprecated, use -o bundle.compression_method instead",
            "--threads is deprecated, use -O threads instead",
            "--cache-size is deprecated, use -O cache-size instead",
        ];
        assert_eq!(read(text).notes, expected);
        assert_eq!(read("-O threads=1 gc repo").notes, [""; 0]);
    }

    #[test]
    fn the_first_error_is_said_and_the_line_read_to_its_end() {
        let parsed = read("--threads 0 --threads x gc repo --silent");
        assert_eq!(parsed.request.err().unwrap(), "Invalid threads value specified: 0");
        assert!(parsed.silent);
    }

    #[test]
    fn a_command_is_one_word_and_anything() {
        let words = ["backup", "--from-command", "mysqldump --all | cat", "r/backups/a"];
        match parse(words.into_iter().map(OsString::from)).request {
            Ok(Request::Run(found)) => {
                assert_eq!(found.words, ["backup", "r/backups/a"]);
                assert_eq!(found.from_command, Some("mysqldump --all | cat".into()));
            }
            _ => panic!(),
        }
    }

    #[test]
    fn password_flags_keep_their_order() {
        let found = line("--password-file old passwd repo --password-file new");
        let file = |name: &str| PasswordFlag::File(name.into());
        assert_eq!(found.passwords, [file("old"), file("new")]);
    }

    #[test]
    fn help_wins_and_an_empty_line_is_a_call_for_it() {
        for (text, code) in
            [("", 1), ("-h", 1), ("gc --help repo", 1), ("-O help", 0), ("-o help", 0)]
        {
            match read(text).request {
                Ok(Request::Show { text, code: found }) => {
                    assert_eq!(found, code, "{text}");
                    assert!(text.ends_with('\n'));
                }
                _ => panic!("{text}"),
            }
        }
    }
}

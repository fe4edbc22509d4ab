//! The command line: which command.
//!
//! In: the arguments. Out: a [`Command`], or help or a usage error that was already shown.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, Parser};
use garret_cli::failure::Failure;
use garret_cli::packs::Packs;
use garret_cli::rates::Rates;
use garret_cli::render;
use garret_cli::suggest::nearest;
use garret_cli::ui::Ui;

use crate::commands::Command;

const HELP: &str = "\
Locations:
  PATH, file:///PATH         a repository
  HOST:PATH, ssh://HOST/PATH one on another host, by ssh (docs/remote.md)
  s3://, swift://, azblob://, gcs://, sftp://
                             one in an object store, or by SFTP (docs/remote.md)
  REPO::NAME                 an archive in it
  REPO::latest               the newest archive, to read, unless one has that name

Exit codes:
  0  everything was done
  1  something went wrong: stderr has one line for each problem
  2  the command was used wrongly
  3-8  of nightly and drill: one for each cause

Environment:
  GARRET_REPO                the repository of a `restore` that names none
  GARRET_PASSPHRASE          the passphrase; --passphrase-file comes before it
  GARRET_PASSCOMMAND         a command that prints it; without both the terminal is asked
  GARRET_NEW_PASSPHRASE      the new passphrase of change-passphrase and of key
  GARRET_KEYS_DIR            where key files are; default ~/.config/garret/keys
  GARRET_CACHE_DIR           the client's copy of indexes; default ~/.cache/garret
  GARRET_STATE_DIR           what is known of the repositories used; default ~/.local/state/garret
  ATTIC_PASSPHRASE, ATTIC_KEYS_DIR and ATTIC_CACHE_DIR are read where these are not set.";

/// Back up VM images and files into a deduplicating repository.
#[derive(Debug, Parser)]
#[command(name = "garret", version, after_help = HELP, infer_long_args = true, max_term_width = 100)]
#[command(disable_help_subcommand = true, subcommand_required = true)]
struct Cli {
    /// Tell everything but results as JSON, one object on each line of standard error
    #[arg(long, global = true)]
    log_json: bool,
    #[command(flatten)]
    rates: Rates,
    #[command(flatten)]
    packs: Packs,
    #[command(subcommand)]
    command: Command,
}

/// The command that the words behind the program's name say, and whether it is to tell of itself in JSON. No words at all
/// are a call for help.
pub(crate) fn parse(mut words: Vec<OsString>) -> Result<(Command, Packs, bool), clap::Error> {
    if words.is_empty() {
        words.push("--help".into());
    }
    let is_key = words.get(command_at(&words)).is_some_and(|word| word == "key");
    let line = std::iter::once("garret".into()).chain(words);
    let suggested = |error| harmless(suggest(error, is_key));
    let Cli { command, rates, packs, log_json } = Cli::try_parse_from(line).map_err(suggested)?;
    if let Some(why) = command.passes_over(&packs, rates) {
        return Err(definition().error(ErrorKind::ArgumentConflict, why));
    }
    rates.tell();
    Ok((command, packs, log_json))
}

/// Where the command stands: behind what all commands have, if that comes first.
pub(crate) fn command_at(words: &[OsString]) -> usize {
    let mut at = 0;
    while let Some(word) = words.get(at) {
        let word = word.as_encoded_bytes();
        let has_value = |option: &&str| word.starts_with(format!("{option}=").as_bytes());
        at += match WITH_VALUE.iter().any(|option| word == option.as_bytes()) {
            true => 2,
            false if word == LOG_JSON.as_bytes() || WITH_VALUE.iter().any(has_value) => 1,
            false => break,
        };
    }
    at
}

/// What other programs of the kind call commands of ours.
const ELSEWHERE: [(&str, &str); 9] = [
    ("backup", "create"),
    ("snapshots", "list"),
    ("ls", "list"),
    ("rm", "delete"),
    ("remove", "delete"),
    ("forget", "prune"),
    ("gc", "prune"),
    ("passwd", "change-passphrase"),
    ("init-repo", "init"),
];

/// The same of what is done with keys.
const KEYS_ELSEWHERE: [(&str, &str); 6] = [
    ("ls", "list"),
    ("rm", "remove"),
    ("delete", "remove"),
    ("passwd", "change"),
    ("change-passphrase", "change"),
    ("new", "add"),
];

/// For a command that there is not, the one that was meant and no other: what clap finds similar is often the opposite.
fn suggest(mut error: clap::Error, is_key: bool) -> clap::Error {
    let Some(ContextValue::String(word)) = error.get(ContextKind::InvalidSubcommand) else {
        return error;
    };
    let definition = definition();
    let (above, elsewhere) = match definition.find_subcommand("key").filter(|_| is_key) {
        Some(key) => (key, &KEYS_ELSEWHERE[..]),
        None => (&definition, &ELSEWHERE[..]),
    };
    let names: Vec<&str> =
        above.get_subcommands().flat_map(clap::Command::get_name_and_visible_aliases).collect();
    let known = elsewhere.iter().find(|(other, _)| other == word).map(|(_, ours)| *ours);
    let meant = known.or_else(|| nearest(word.as_bytes(), names));
    error.remove(ContextKind::SuggestedSubcommand);
    if let Some(meant) = meant {
        let meant = ContextValue::Strings(vec![meant.to_owned()]);
        error.insert(ContextKind::SuggestedSubcommand, meant);
    }
    error
}

/// The same error, in which the words of the command line are what can be seen of them: somebody else may have given a file
/// its name.
fn harmless(mut error: clap::Error) -> clap::Error {
    let one_line = |text: &str| render::one_line(text);
    let styled = |text: &StyledStr| StyledStr::from(one_line(&text.to_string()));
    let seen = |value: &ContextValue| match value {
        ContextValue::String(text) => Some(ContextValue::String(one_line(text))),
        ContextValue::Strings(texts) => {
            Some(ContextValue::Strings(texts.iter().map(|text| one_line(text)).collect()))
        }
        ContextValue::StyledStrs(texts) => {
            Some(ContextValue::StyledStrs(texts.iter().map(styled).collect()))
        }
        _ => None,
    };
    let context = error.context().filter_map(|(kind, value)| Some((kind, seen(value)?)));
    for (kind, value) in context.collect::<Vec<_>>() {
        error.insert(kind, value);
    }
    error
}

/// What all commands are like.
pub(crate) fn definition() -> clap::Command {
    Cli::command()
}

/// What says that JSON is wanted, in words that could not be read.
pub(crate) const LOG_JSON: &str = "--log-json";
/// What else all commands have.
const WITH_VALUE: [&str; 3] = ["--limit-upload", "--limit-download", "--packs"];

/// Shows help, version or a usage error.
pub(crate) fn refuse(error: &clap::Error, json: bool) -> ExitCode {
    let is_wrong = !matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
    if is_wrong && json {
        let text = error.to_string();
        let first = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
        let failure = Failure::Usage(first.to_owned());
        return garret_cli::exit::exit_code(Err(failure), &Ui::unnamed().in_json(json));
    }
    if is_wrong {
        let text = render::lines(&error.to_string());
        let _unread = std::io::Write::write_all(&mut std::io::stderr(), text.as_bytes());
        return ExitCode::from(2);
    }
    let _unread = error.print();
    ExitCode::SUCCESS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definitions_are_consistent() {
        Cli::command().debug_assert();
    }

    fn read(line: &str) -> Result<Command, clap::Error> {
        let (words, _) = crate::attic::rewrite(line.split(' ').map(OsString::from));
        Ok(parse(words)?.0)
    }

    #[test]
    fn attic_s_ways_to_write_options_are_understood() {
        for line in [
            "prune -d 7 -w 4 -m -1 repo",
            "prune repo --keep-d 7 --keep-weekly=4 -y=-1",
            "prune -H24 -p web- --keep-within 10d repo -v -n -s",
            "prune --hourly 24 --daily=7 --weekly 4 --monthly -1 --yearly=-1 repo",
            "create repo::a /x --stats /y",
            "create -c 300 -e *.pyc --exclude x --exclude-from f --exclude-c --num --do-n repo::a /x",
            "create repo::a - --stdin-name db.sql",
            "extract repo::a some/path --dry-run",
            "extract --d -v repo::a",
            "verify -v repo::a some/path",
            "--limit-upload 2M --packs=cold --log-json verify repo::a",
            "--packs cold prune --daily 7 repo",
            "init -v -e none repo",
            "list -v repo",
            "info repo::a -v",
            "delete -v -s repo::a",
            "check --repa -v repo",
            "change-passphrase -v repo",
            "key list -v repo",
            "key add --label x repo --key-file f",
            "key remove repo x --lock-wait 1",
            "key export --paper repo",
            "help --usage-only create",
            "mount -f -o allow_other repo::a /mnt",
            "serve --restrict-to-path /srv",
        ] {
            assert!(read(line).is_ok(), "{line}: {}", read(line).unwrap_err());
        }
        for line in [
            "-v create repo::a x",
            "create repo::a",
            "check",
            "prune --keep 7 repo",
            "key",
            "key list",
            "key export repo",
        ] {
            assert!(read(line).is_err(), "{line}");
        }
    }
}

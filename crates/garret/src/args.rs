//! The command line: which command.
//!
//! In: the arguments. Out: a [`Command`], or help or a usage error that was already shown.

use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;

use crate::commands::Command;

const HELP: &str = "\
Locations:
  PATH, file:///PATH         a repository
  PATH::NAME                 an archive in it

Exit codes:
  0  everything was done
  1  something went wrong: stderr has one line for each problem
  2  the command was used wrongly

Environment:
  GARRET_PASSPHRASE          the passphrase, or ATTIC_PASSPHRASE; without them the terminal is asked
  GARRET_NEW_PASSPHRASE      the new passphrase of change-passphrase
  GARRET_KEYS_DIR            where key files are; default ~/.config/garret/keys
  GARRET_CACHE_DIR           the client's copy of indexes; default ~/.cache/garret";

/// Back up VM images and files into a deduplicating repository.
#[derive(Debug, Parser)]
#[command(name = "garret", version, after_help = HELP, infer_long_args = true, max_term_width = 100)]
#[command(disable_help_subcommand = false, subcommand_required = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// The command. None at all is a call for help.
pub(crate) fn parse() -> Result<Command, clap::Error> {
    if std::env::args_os().len() <= 1 {
        return Cli::try_parse_from(["garret", "--help"]).map(|cli| cli.command);
    }
    Ok(Cli::try_parse()?.command)
}

/// Shows help, version or a usage error.
pub(crate) fn refuse(error: &clap::Error) -> ExitCode {
    let _unread = error.print();
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => ExitCode::SUCCESS,
        _ => ExitCode::from(2),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definitions_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn attic_s_ways_to_write_options_are_understood() {
        for line in [
            "prune -d 7 -w 4 -m -1 repo",
            "prune repo --keep-d 7 --keep-weekly=4 -y=-1",
            "prune -H24 -p web- --keep-within 10d repo -v -n -s",
            "create repo::a /x --stats /y",
            "create repo::a - --stdin-name db.sql",
            "extract repo::a some/path --dry-run",
        ] {
            let words = std::iter::once("garret").chain(line.split(' '));
            assert!(Cli::try_parse_from(words).is_ok(), "{line}");
        }
        for line in ["-v create repo::a x", "create repo::a", "check", "prune --keep 7 repo"] {
            let words = std::iter::once("garret").chain(line.split(' '));
            assert!(Cli::try_parse_from(words).is_err(), "{line}");
        }
    }
}

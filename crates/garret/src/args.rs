//! The command line: which command, and the kinds of values that several commands take.
//!
//! In: the arguments. Out: a [`Command`], or help or a usage error that was already shown.

use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;
use engine::{Compression, CutterChoice};
use format::recipe::CutterKind;

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

/// Threads that do the work.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct Threads {
    /// Threads that do the work [default: one for each processor]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
}

impl Threads {
    /// At least one.
    pub(crate) fn count(self) -> usize {
        self.threads.map_or_else(available_threads, usize::from)
    }
}

/// As many threads as there are processors for us.
pub(crate) fn available_threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// `none`, `lz4`, `zstd` or `zstd,LEVEL`.
pub(crate) fn compression(text: &str) -> Result<Compression, String> {
    let (codec, level) = match text.split_once(',') {
        Some((codec, level)) => (codec, Some(level)),
        None => (text, None),
    };
    match (codec, level) {
        ("none", None) => Ok(Compression::None),
        ("lz4", None) => Ok(Compression::Lz4),
        ("zstd", None) => Ok(Compression::default()),
        ("zstd", Some(level)) => match level.parse() {
            Ok(level) if Compression::ZSTD_LEVELS.contains(&level) => Ok(Compression::Zstd(level)),
            _ => {
                let (low, high) = Compression::ZSTD_LEVELS.into_inner();
                Err(format!("zstd has the levels {low} to {high}"))
            }
        },
        ("none" | "lz4", Some(_)) => Err(format!("{codec} has no levels")),
        _ => Err("it is one of none, lz4, zstd, zstd,LEVEL".to_owned()),
    }
}

/// `auto`, `page` or `fastcdc`.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum CutterName {
    /// page for disk images, fastcdc for everything else
    Auto,
    /// cuts at 4 KiB pages
    Page,
    /// cuts anywhere
    Fastcdc,
}

impl From<CutterName> for CutterChoice {
    fn from(name: CutterName) -> Self {
        match name {
            CutterName::Auto => CutterChoice::Auto,
            CutterName::Page => CutterChoice::Always(CutterKind::Page),
            CutterName::Fastcdc => CutterChoice::Always(CutterKind::Fastcdc),
        }
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
    fn compression_is_a_codec_and_perhaps_a_level() {
        assert_eq!(compression("zstd"), Ok(Compression::Zstd(3)));
        assert_eq!(compression("zstd,-7"), Ok(Compression::Zstd(-7)));
        assert_eq!(compression("lz4"), Ok(Compression::Lz4));
        for bad in ["", "gzip", "zstd,23", "zstd,", "lz4,1", "none,0", "zstd,3,3"] {
            assert!(compression(bad).is_err(), "{bad}");
        }
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

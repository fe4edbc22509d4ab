//! `garret serve`: what `ssh` runs on the host of a repository for a garret on another host.

use std::io::IsTerminal;
use std::path::PathBuf;

use garret_cli::args::size;
use garret_cli::failure::Failure;
use garret_cli::serve::{Rules, Serving};

/// Arguments of `serve`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Serve only the repository in this directory, or those below it; may be given several times
    #[arg(long, value_name = "PATH")]
    restrict_to_path: Vec<PathBuf>,
    /// Let the client add archives and read, but remove and replace nothing
    #[arg(long)]
    append_only: bool,
    /// Let the client read only
    #[arg(long, conflicts_with_all = ["append_only", "quota"])]
    read_only: bool,
    /// Let the repository, which is then PATH itself, take no more than this: bytes, or k, M, G or T, which are thousands
    #[arg(long, value_name = "SIZE", value_parser = size, requires = "restrict_to_path")]
    quota: Option<u64>,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    if std::io::stdin().is_terminal() {
        let text = "serve speaks with a garret on another host, which starts it by ssh: give HOST:PATH as a repository there";
        return Err(Failure::Usage(text.to_owned()));
    }
    let Args { restrict_to_path, append_only, read_only, quota } = args;
    let rules = Rules { append_only: *append_only, read_only: *read_only, quota: *quota };
    Serving { rules, directories: restrict_to_path.clone() }.run()
}

//! `garret compare`: whether the files on the disk are those of an archive.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use super::diff;
use super::info;
use crate::archives::{self, Searched};
use crate::location;
use garret_cli::args::{Threads, Usual};
use garret_cli::failure::Failure;
use garret_cli::record::Record;
use garret_cli::session;
use garret_cli::ui::Ui;

/// Arguments of `compare`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Where the files are that the archive has: what they were restored to, or / [default: the current directory]
    #[arg(long, value_name = "DIR")]
    base: Option<PathBuf>,
    /// Show everything as one JSON document
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    threads: Threads,
    #[command(flatten)]
    usual: Usual,
    /// The archive
    #[arg(value_name = "REPO::NAME")]
    archive: OsString,
    /// Only these paths and what is below them
    #[arg(value_name = "PATH")]
    paths: Vec<OsString>,
}

pub(crate) fn run(args: &Args, ui: &Ui) -> Result<(), Failure> {
    args.usual.tell(ui);
    let (path, name) = location::archive(&args.archive, &args.paths)?;
    let repository = session::reader(&path, ui)?;
    let archive = archives::find(&repository, &name, ui)?;
    let name = &archive.name;
    let base = args.base.clone().unwrap_or_else(|| PathBuf::from("."));
    let mut selection = archives::selection(&args.paths);
    let threads = args.threads.count();
    let report = repository.compare(&archive, &base, &mut selection, threads, ui)?;
    let sides = Record::default()
        .with("repository", info::repository_record(&repository, &path).json())
        .with("archive", Record::of_archive(&archive, &repository.tags(ui)?).json())
        .with_bytes(["base", "base_hex"], base.as_os_str().as_bytes());
    diff::show(&report, args.json.then_some(sides), ui)?;
    let searched = Searched { repository: &repository, location: &path, archives: &[&archive] };
    searched.complain(&report.unmatched, ui)?;
    match report.changes.len() {
        0 => Ok(()),
        count => {
            let all = report.path_count;
            Err(Failure::Fatal(format!("{count} of {all} paths differ from archive {name}")))
        }
    }
}

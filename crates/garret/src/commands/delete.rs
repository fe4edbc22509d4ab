//! `garret delete`: deletes archives and gives back their space.

use std::ffi::OsString;
use std::path::PathBuf;

use engine::{Access, Compression, Error, GcOptions, Repository};

use crate::location;
use cli::args::Threads;
use cli::failure::Failure;
use cli::ui::Ui;
use cli::{overview, render, session};

/// Arguments of `delete`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Show what was freed
    #[arg(short, long)]
    stats: bool,
    #[command(flatten)]
    threads: Threads,
    /// The archives, all of one repository
    #[arg(value_name = "REPO::NAME", required = true)]
    archives: Vec<OsString>,
}

pub(crate) fn run(args: &Args, ui: &Ui) -> Result<(), Failure> {
    let (path, names) = one_repository(&args.archives)?;
    let mut repository = session::open(&path, Access::Delete, ui)?;
    let existing = repository.archive_names()?;
    if let Some(missing) = names.iter().find(|name| !existing.contains(name)) {
        return Err(Error::ArchiveMissing(missing.clone()).into());
    }
    let freed = remove(&mut repository, &names, args.threads, ui)?;
    if args.stats {
        ui.print(&stats(&repository, &freed, ui)?)?;
    }
    Ok(())
}

fn one_repository(archives: &[OsString]) -> Result<(PathBuf, Vec<String>), Failure> {
    let mut names = Vec::new();
    let mut repository = None;
    for text in archives {
        let (path, name) = location::archive(text)?;
        if repository.get_or_insert_with(|| path.clone()) != &path {
            let text = "all archives to delete must be of one repository".to_owned();
            return Err(Failure::Usage(text));
        }
        names.push(name);
    }
    Ok((repository.unwrap_or_default(), names))
}

/// What a deletion gave back.
#[derive(Default)]
pub(super) struct Freed {
    original_len: u64,
    stored_len: u64,
}

/// Deletes `names` and collects what nobody needs any more, what interrupted runs left included.
pub(super) fn remove(
    repository: &mut Repository,
    names: &[String],
    threads: Threads,
    ui: &Ui,
) -> Result<Freed, Failure> {
    let before = repository.stored_len()?;
    // One that cannot be read can still be deleted; how long it was is lost.
    let len =
        |name: &String| repository.archive(name).map_or(0, |found| found.archive.original_len);
    let original_len = names.iter().map(len).sum();
    engine::delete(repository, names)?;
    let options = GcOptions { compression: Compression::default(), threads: threads.count() };
    engine::gc(repository, &options, ui)?;
    let stored_len = before.saturating_sub(repository.stored_len()?);
    Ok(Freed { original_len, stored_len })
}

/// attic's table.
pub(super) fn stats(repository: &Repository, freed: &Freed, ui: &Ui) -> Result<String, Failure> {
    let original = render::freed(freed.original_len);
    let stored = render::freed(freed.stored_len);
    let row = render::size_row("Deleted data:", &original, "-", &stored);
    Ok(render::size_header() + &row + &overview::all_archives(repository, ui)?)
}

//! `garret list`: the archives of a repository, oldest first, or the items of an archive.

use std::ffi::OsString;

use engine::{Access, Repository};
use jiff::Timestamp;

use crate::location;
use cli::failure::Failure;
use cli::ui::Ui;
use cli::{render, session};

/// Arguments of `list`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The repository or archive
    #[arg(value_name = "REPO[::NAME]")]
    location: OsString,
}

pub(crate) fn run(args: &Args, ui: &Ui) -> Result<(), Failure> {
    let (path, name) = location::either(&args.location)?;
    let repository = session::open(&path, Access::Read, ui)?;
    match name {
        Some(name) => items(&repository, &name, ui),
        None => archives(&repository, ui),
    }
}

fn archives(repository: &Repository, ui: &Ui) -> Result<(), Failure> {
    let mut archives = Vec::new();
    for name in repository.archive_names()? {
        match repository.archive(&name) {
            Ok(archive) => archives.push(archive),
            Err(error) => ui.report(&engine::message(&error)),
        }
    }
    archives.sort_by(|a, b| (a.archive.end, &a.name).cmp(&(b.archive.end, &b.name)));
    let lines = archives.iter().map(|found| {
        let mut line = render::archive_line(found);
        line.push('\n');
        line
    });
    ui.print(&lines.collect::<String>())
}

fn items(repository: &Repository, name: &str, ui: &Ui) -> Result<(), Failure> {
    let archive = repository.archive(name)?;
    let now = Timestamp::now();
    let items = repository.items(&archive)?;
    ui.print(&items.iter().map(|item| render::item_line(item, now)).collect::<String>())
}

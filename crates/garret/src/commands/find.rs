//! `garret find`: which archives hold a file, and when it changed.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use garret_cli::args::Usual;
use garret_cli::failure::Failure;
use garret_cli::record::{self, Record};
use garret_cli::ui::Ui;
use garret_cli::{render, session};
use garret_core::{Cause, Repository};
use serde_json::{Value, json};

use super::info;
use crate::nights::{self, Held, Since};
use crate::{archives, location};

/// Arguments of `find`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Show everything as one JSON document
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    usual: Usual,
    /// The repository
    #[arg(value_name = "REPO")]
    repository: OsString,
    /// A path, the last parts of one, or a shell pattern
    #[arg(value_name = "PATTERN")]
    pattern: OsString,
}

pub(crate) fn run(args: &Args, ui: &Ui) -> Result<(), Failure> {
    args.usual.tell(ui);
    let path = location::repository(&args.repository)?;
    let repository = session::reader(&path, ui)?;
    let archives = archives::oldest_first(&repository, ui)?;
    let found = nights::held(&repository, &archives, &args.pattern, ui);
    if args.json {
        let files: Vec<Value> = found.iter().map(|(path, nights)| file(path, nights)).collect();
        let repository = info::repository_record(&repository, &path).json();
        ui.print(&record::document(&json!({ "repository": repository, "files": files })))?;
    } else {
        ui.print(&found.iter().map(|(path, nights)| text(path, nights)).collect::<String>())?;
    }
    match found.is_empty() {
        true => Err(nowhere(&repository, args)),
        false => Ok(()),
    }
}

/// A path, and below it a line for each archive.
fn text(path: &[u8], nights: &[Held<'_>]) -> String {
    let mut text = format!("{}\n", render::name(path));
    for Held { archive, size, since } in nights {
        let (name, time) = (render::name(&archive.name), render::long_time(archive.archive.end));
        let (size, since) =
            (render::size(*size), since.map_or("another name of a file", Since::word));
        let marks = render::marks(archive);
        text += &format!("  {name:<34} {time} {size:>10}  {since}{marks}\n");
    }
    text
}

fn file(path: &[u8], nights: &[Held<'_>]) -> Value {
    let night = |held: &Held<'_>| {
        Record::default()
            .with("archive", held.archive.name.as_str())
            .with("end", render::iso_time(held.archive.archive.end))
            .with("complete", held.archive.archive.is_complete())
            .with("size", held.size)
            .with("since", held.since.map(Since::word))
            .json()
    };
    let nights: Vec<Value> = nights.iter().map(night).collect();
    Record::default().with_path(path).with("archives", nights).json()
}

fn nowhere(repository: &Repository, args: &Args) -> Failure {
    let place = args.repository.to_string_lossy();
    let near = nights::nearest(repository, std::slice::from_ref(&args.pattern));
    let why = near.unwrap_or_else(|| format!("; `garret list {place}` shows the archives"));
    let pattern = render::name(args.pattern.as_bytes());
    Failure::Because(Cause::Missing, format!("{pattern}: not in any archive of {place}{why}"))
}

//! `garret tag`, `protect`, `unprotect`: what the user says of archives after they were made.

use std::collections::BTreeSet;
use std::ffi::OsString;

use garret_core::{Error, Repository, TagChange};
use serde_json::{Value, json};

use super::{delete, info};
use garret_cli::args::{self, AcceptState, Usual, tag};
use garret_cli::failure::Failure;
use garret_cli::location::Location;
use garret_cli::record::{self, Record};
use garret_cli::session;
use garret_cli::ui::Ui;

/// What all three have.
#[derive(Debug, clap::Args)]
struct Archives {
    /// Show the archives, as they are now, as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    accept_state: AcceptState,
    #[command(flatten)]
    usual: Usual,
    /// The archives, all of one repository
    #[arg(value_name = "REPO::NAME", required = true)]
    archives: Vec<OsString>,
}

/// Arguments of `tag`.
#[derive(Debug, clap::Args)]
pub(crate) struct Tag {
    /// Add this tag
    #[arg(long, value_name = "TAG", value_parser = tag, required_unless_present = "remove")]
    add: Vec<String>,
    /// Take this tag away
    #[arg(long, value_name = "TAG", value_parser = tag)]
    remove: Vec<String>,
    #[command(flatten)]
    of: Archives,
}

/// Arguments of `protect` and `unprotect`.
#[derive(Debug, clap::Args)]
pub(crate) struct Protect {
    #[command(flatten)]
    of: Archives,
}

pub(crate) fn run(args: Tag, ui: &Ui) -> Result<(), Failure> {
    let mut change = TagChange::default();
    let add = args::tags(args.add)?;
    let remove: BTreeSet<String> = args.remove.into_iter().collect();
    if let Some(both) = add.intersection(&remove).next() {
        return Err(Failure::Usage(format!("--add {both} and --remove {both}: give one of them")));
    }
    (change.add, change.remove) = (add, remove);
    args.of.change(&change, ui)
}

pub(crate) fn protect(args: &Protect, is_protected: bool, ui: &Ui) -> Result<(), Failure> {
    let mut change = TagChange::default();
    change.protect = Some(is_protected);
    args.of.change(&change, ui)
}

impl Archives {
    fn change(&self, change: &TagChange, ui: &Ui) -> Result<(), Failure> {
        self.usual.tell(ui);
        self.accept_state.tell(ui);
        let (path, names) = delete::one_repository(&self.archives)?;
        let mut repository = session::pruner(&path, ui)?;
        delete::exist(&repository, &names)?;
        repository.tag(&names, change).map_err(|error| match error {
            // Words are looked at before anything is written: with those that an archive has already they are too many.
            Error::BadOption(text) => Failure::Usage(text),
            error => error.into(),
        })?;
        match self.json {
            true => ui.print(&document(&repository, &path, &names, ui)?),
            false => Ok(()),
        }
    }
}

/// The repository, and what its archives of these names are now.
fn document(
    repository: &Repository,
    path: &Location,
    names: &[String],
    ui: &Ui,
) -> Result<String, Failure> {
    let tags = repository.tags(ui)?;
    let mut archives: Vec<Value> = Vec::new();
    for name in names {
        archives.push(Record::of_archive(&repository.archive(name)?, &tags).json());
    }
    let repository = info::repository_record(repository, path).json();
    Ok(record::document(&json!({ "repository": repository, "archives": archives })))
}

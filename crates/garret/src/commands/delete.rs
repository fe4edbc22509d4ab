//! `garret delete`: deletes archives and gives back their space, or a whole repository when the terminal agrees.

use std::ffi::OsString;

use garret_core::{Area, Error, KeyMode, LockMode, Locked, Repository};

use super::info;
use crate::archives;
use crate::location;
use garret_cli::args::{AcceptState, Threads, Usual};
use garret_cli::failure::Failure;
use garret_cli::location::Location;
use garret_cli::record::{self, Record};
use garret_cli::steps::delete::{Freed, remove};
use garret_cli::ui::Ui;
use garret_cli::{overview, render, secrets, session};

/// Arguments of `delete`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Show what was freed by deleting archives
    #[arg(short, long)]
    stats: bool,
    /// Show what was deleted and freed as JSON, and nothing else
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    threads: Threads,
    #[command(flatten)]
    accept_state: AcceptState,
    #[command(flatten)]
    usual: Usual,
    /// The archives, all of one repository; or a repository
    #[arg(value_name = "REPO[::NAME]", required = true)]
    archives: Vec<OsString>,
}

pub(crate) fn run(args: &Args, ui: &Ui) -> Result<(), Failure> {
    args.usual.tell(ui);
    args.accept_state.tell(ui);
    if let [only] = args.archives.as_slice()
        && let (path, None) = location::either(only)?
    {
        return match args.json {
            true => Err(Failure::Usage("--json is for archives: give REPO::NAME".to_owned())),
            false => whole(&path, ui),
        };
    }
    let (path, names) = one_repository(&args.archives)?;
    let mut repository = session::pruner(&path, ui)?;
    exist(&repository, &names)?;
    let freed = remove(&mut repository, &names, args.threads.count(), args.stats || args.json, ui)?;
    match args.stats {
        _ if args.json => {
            let all = freed_record(&repository, &path, &freed, ui)?.with("deleted", names);
            ui.print(&record::document(&all.json()))
        }
        true => ui.print(&stats(&repository, &freed, ui)?),
        false => {
            ui.done(&format!(
                "Deleted {}: {}",
                render::plural(names.len() as u64, "archive"),
                given_back(&freed)
            ));
            Ok(())
        }
    }
}

/// `3.20 MB came back, 1.10 MB comes with the next prune`
pub(super) fn given_back(freed: &Freed) -> String {
    let waiting = match freed.waiting_len {
        0 => String::new(),
        len => format!(", {} comes with the next prune", render::size(len)),
    };
    format!("{} came back{waiting}", render::size(freed.stored_len))
}

/// Deletes a repository after asking: what is protected in it too, so only a person can, who hears how much that is. Its
/// keys are not needed for that.
fn whole(path: &Location, ui: &Ui) -> Result<(), Failure> {
    let locked = session::find(path)?;
    let shown = path.display();
    if !ui.can_ask() {
        let text = format!(
            "\"{shown}\": No archive specified, and no terminal to ask whether to delete the repository"
        );
        return Err(Failure::Usage(text));
    }
    let store = session::store(path)?;
    let mut waiting = |who: &str| ui.complain(&format!("waiting for {who} to finish"));
    let _lock =
        store.lock(LockMode::Exclusive, ui.patience(), &mut waiting).map_err(Error::from)?;
    let count = store.list(Area::Archives).map_err(Error::from)?.len();
    let archives = match count {
        1 => "the archive".to_owned(),
        _ => format!("the {count} archives"),
    };
    let protected = match store.list(Area::Tags).map_err(Error::from)?.len() {
        0 => String::new(),
        most => protected(locked, path, most.min(count), ui),
    };
    let question = format!(
        "This deletes the repository {shown} and {archives} in it, for ever.\n{protected}\
         Type \"Yes I am sure\" if you understand this and want to continue: "
    );
    if ui.ask(&question)? != "Yes I am sure" {
        return Err(Failure::Fatal("Repository deletion aborted".to_owned()));
    }
    Ok(store.remove().map_err(Error::from)?)
}

/// A line on how many archives are protected, of which there are no more than `most`; nothing if none is. Keys that are not
/// given are not asked for: then this is all that can be told.
fn protected(locked: Locked, path: &Location, most: usize, ui: &Ui) -> String {
    let is_open = locked.key_mode() == KeyMode::None || secrets::is_given(ui);
    let keys = is_open.then(|| secrets::unlock(&locked, path, ui).ok()).flatten();
    let count = keys.and_then(|keys| locked.with(keys).protected_count().ok());
    match count.map(|count| count.min(most)) {
        Some(0) => String::new(),
        Some(count) => format!("Protected archives in it: {count}\n"),
        None => format!("Protected archives in it: {most} at most\n"),
    }
}

/// Fails unless there are archives of all these names.
pub(super) fn exist(repository: &Repository, names: &[String]) -> Result<(), Failure> {
    let existing = repository.first_sight()?.names();
    match names.iter().find(|name| !existing.contains(name)) {
        Some(missing) => Err(archives::missing(&existing, missing)),
        None => Ok(()),
    }
}

/// The repository of these archives, and their names.
pub(super) fn one_repository(archives: &[OsString]) -> Result<(Location, Vec<String>), Failure> {
    let mut names = Vec::new();
    let mut repository: Option<Location> = None;
    for text in archives {
        let (path, Some(name)) = location::either(text)? else {
            let second = archives.get(1).map(OsString::as_os_str);
            return Err(match &repository {
                None => location::no_archive(text, text, second),
                Some(first) => location::no_archive(text, &first.to_os_string(), Some(text)),
            });
        };
        if repository.get_or_insert_with(|| path.clone()) != &path {
            let text = "all archives must be of one repository".to_owned();
            return Err(Failure::Usage(text));
        }
        names.push(name);
    }
    let none = || Failure::Usage("no archive is named".to_owned());
    Ok((repository.ok_or_else(none)?, names))
}

/// The repository, and what of it was given back.
pub(super) fn freed_record(
    repository: &Repository,
    path: &Location,
    freed: &Freed,
    ui: &Ui,
) -> Result<Record, Failure> {
    let whole = info::sizes(info::repository_record(repository, path), repository, ui)?;
    Ok(Record::default()
        .with("repository", whole.json())
        .with("original_size", freed.original_len)
        .with("freed_size", freed.stored_len)
        .with("waiting_size", freed.waiting_len))
}

/// attic's table.
pub(super) fn stats(repository: &Repository, freed: &Freed, ui: &Ui) -> Result<String, Failure> {
    let original = render::freed(freed.original_len);
    let stored = render::freed(freed.stored_len);
    let row = render::size_row("Deleted data:", &original, "-", &stored);
    let waiting = match freed.waiting_len {
        0 => String::new(),
        len => {
            let len = render::size(len);
            format!(
                "\n{len} more go with the next delete or prune: a program is at work that may need them.\n"
            )
        }
    };
    let all = overview::all_archives(repository, ui)?;
    Ok(render::size_header() + &row + &all + &waiting + &overview::traffic(repository))
}

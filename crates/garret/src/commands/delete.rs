//! `garret delete`: deletes archives and gives back their space, or a whole repository when the terminal agrees.

use std::collections::HashSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use garret_core::{
    Area, Cause, Error, GcOptions, LocalStore, LockMode, Progress, Pruner, Repository, Store,
};

use crate::archives;
use crate::location;
use garret_cli::args::{AcceptState, LockWait, PassphraseFile, Threads, Verbose};
use garret_cli::failure::{self, Failure};
use garret_cli::render::plural;
use garret_cli::session::{self, Session};
use garret_cli::ui::Ui;
use garret_cli::{overview, render};

/// Arguments of `delete`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Show what was freed by deleting archives
    #[arg(short, long)]
    stats: bool,
    #[command(flatten)]
    threads: Threads,
    #[command(flatten)]
    lock_wait: LockWait,
    #[command(flatten)]
    accept_state: AcceptState,
    #[command(flatten)]
    verbose: Verbose,
    #[command(flatten)]
    passphrase: PassphraseFile,
    /// The archives, all of one repository; or a repository
    #[arg(value_name = "REPO[::NAME]", required = true)]
    archives: Vec<OsString>,
}

pub(crate) fn run(args: &Args, ui: &Ui) -> Result<(), Failure> {
    args.verbose.tell(ui);
    args.passphrase.tell(ui);
    args.lock_wait.tell(ui);
    args.accept_state.tell(ui);
    if let [only] = args.archives.as_slice()
        && let (path, None) = location::either(only)?
    {
        return whole(&path, ui);
    }
    let (path, names) = one_repository(&args.archives)?;
    let mut repository = session::pruner(&path, ui)?;
    let existing = repository.archive_names()?;
    if let Some(missing) = names.iter().find(|name| !existing.contains(name)) {
        return Err(archives::missing(&existing, missing));
    }
    match remove(&mut repository, &names, args.threads, args.stats, ui)? {
        Some(freed) => ui.print(&stats(&repository, &freed, ui)?),
        None => Ok(()),
    }
}

/// Deletes a repository after asking. Its keys are not needed: nothing in it is read.
fn whole(path: &Path, ui: &Ui) -> Result<(), Failure> {
    drop(session::find(path)?);
    let shown = path.display();
    if !ui.can_ask() {
        let text = format!(
            "\"{shown}\": No archive specified, and no terminal to ask whether to delete the repository"
        );
        return Err(Failure::Usage(text));
    }
    let store = LocalStore::open(path).map_err(Error::from)?;
    let mut waiting = |who: &str| ui.complain(&format!("waiting for {who} to finish"));
    let _lock =
        store.lock(LockMode::Exclusive, ui.patience(), &mut waiting).map_err(Error::from)?;
    let count = store.list(Area::Archives).map_err(Error::from)?.len();
    let archives = match count {
        1 => "the archive".to_owned(),
        _ => format!("the {count} archives"),
    };
    let question = format!(
        "This deletes the repository {shown} and {archives} in it, for ever.\n\
         Type \"Yes I am sure\" if you understand this and want to continue: "
    );
    if ui.ask(&question)? != "Yes I am sure" {
        return Err(Failure::Fatal("Repository deletion aborted".to_owned()));
    }
    Ok(store.remove().map_err(Error::from)?)
}

fn one_repository(archives: &[OsString]) -> Result<(PathBuf, Vec<String>), Failure> {
    let mut names = Vec::new();
    let mut repository: Option<PathBuf> = None;
    for text in archives {
        let (path, Some(name)) = location::either(text)? else {
            let second = archives.get(1).map(OsString::as_os_str);
            return Err(match &repository {
                None => location::no_archive(text, text, second),
                Some(first) => location::no_archive(text, first.as_os_str(), Some(text)),
            });
        };
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
    /// What the next one gives back.
    waiting_len: u64,
}

/// Deletes `names` and collects what nobody needs any more, what interrupted runs left included. Returns what that gave back,
/// if it is to be measured.
pub(super) fn remove(
    repository: &mut Session<Pruner>,
    names: &[String],
    threads: Threads,
    measures: bool,
    ui: &Ui,
) -> Result<Option<Freed>, Failure> {
    let mut options = GcOptions::default();
    options.threads = threads.count();
    // One that cannot be read can still be deleted; how long it was is lost.
    let len =
        |name: &String| repository.archive(name).map_or(0, |found| found.archive.original_len);
    let original_len = match measures {
        true => garret_core::total_len(names.iter().map(len)),
        false => 0,
    };
    let known = repository.lost_count() as u64;
    let done = repository.delete(names).and_then(|()| repository.gc(&options, ui));
    let settled = repository.settle(done.is_ok(), ui);
    let done = done.map_err(|error| half_done(repository, names, error))?;
    settled?;
    // Of the others one line was said when the repository was opened.
    if done.removed_count > known {
        let removed = plural(done.removed_count - known, "archive");
        ui.notice(&format!(
            "note: of {removed} there was only the second copy: removed by hand, or by the storage, or the backup broke \
             off at its end; recorded as deleted"
        ));
    }
    let stored_len = done.deleted_pack_bytes.saturating_sub(done.repacked_bytes);
    let waiting_len = done.waiting_pack_bytes;
    Ok(measures.then_some(Freed { original_len, stored_len, waiting_len }))
}

/// What a full disk keeps a gc from: it needs room for what it copies out of a pack, and drops what needs none.
const FULL: &str = "what could go without room is gone";

/// What ends a gc that cannot see what an archive needs.
const BLOCKED: &str = "; what this names is to be mended by garret create of the same files, or to be deleted, then \
                       garret prune frees the space";

/// What to say when archives are gone and the rest failed: what is not in the listing any more was deleted.
fn half_done(repository: &Repository, names: &[String], error: Error) -> Failure {
    let Ok(left) = repository.archive_names() else { return error.into() };
    let left: HashSet<String> = left.into_iter().collect();
    let gone: Vec<&str> =
        names.iter().filter(|name| !left.contains(*name)).map(String::as_str).collect();
    let (archives, its) = match gone.as_slice() {
        [] => return failure::full(error, FULL, "garret prune"),
        [_] => ("archive", "its"),
        _ => ("archives", "their"),
    };
    let cause = error.cause();
    let error = match failure::full(error, FULL, "garret prune") {
        Failure::Because(_, text) => text,
        Failure::Engine(error) => {
            let blocked = matches!(cause, Cause::Damaged | Cause::Missing);
            failure::say(&error) + if blocked { BLOCKED } else { "" }
        }
        other => return other,
    };
    let gone = gone.join(", ");
    let text = format!("Deleted {archives} {gone}; {its} space is not freed: {error}");
    Failure::Because(cause, text)
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
    Ok(render::size_header() + &row + &overview::all_archives(repository, ui)? + &waiting)
}

//! Deletes archives and gives back their space.
//!
//! In: a repository that was opened to delete, names. Out: what came back; else one line that says what is gone all the same.

use std::collections::HashSet;

use garret_core::{Cause, Error, GcOptions, Progress, Pruner, Repository};

use crate::failure::{self, Failure};
use crate::render::plural;
use crate::session::Session;
use crate::ui::Ui;

/// What a deletion gave back.
#[derive(Clone, Copy, Debug, Default)]
pub struct Freed {
    /// Bytes of all streams of the archives; 0 if they were not measured.
    pub original_len: u64,
    /// Bytes of the repository.
    pub stored_len: u64,
    /// What the next one gives back.
    pub waiting_len: u64,
}

/// Deletes `names` and collects what nobody needs any more, what interrupted runs left included. The archives are measured
/// before, if that is wanted.
///
/// # Errors
/// What is deleted all the same is in the line.
pub fn remove(
    repository: &mut Session<Pruner>,
    names: &[String],
    threads: usize,
    measures: bool,
    ui: &Ui,
) -> Result<Freed, Failure> {
    let mut options = GcOptions::default();
    options.threads = threads;
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
    Ok(Freed { original_len, stored_len, waiting_len })
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

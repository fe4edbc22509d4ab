//! How names of archives lie to each other: one cannot be a directory of others.
//!
//! In: names. Out: why there can be no archive of a name, in words.

use garret_core::{Cause, Error, Repository};

use crate::failure::Failure;

/// What stands in the way of a new archive of that name: the others, if it is so; else what the core says.
pub fn in_the_way(repository: &Repository, name: &str, error: Error) -> Failure {
    let why = repository.archive_names().ok().and_then(|names| relative(&names, name));
    match (error, why) {
        (Error::ArchiveExists(_), Some(why)) => {
            Failure::Because(Cause::Taken, format!("Archive {name} already exists: {why}"))
        }
        (Error::Store(_), Some(why)) => {
            Failure::Fatal(format!("Archive {name} cannot be made: {why}"))
        }
        (error, _) => error.into(),
    }
}

/// How a name of no archive lies to those of archives, if that is why there can be none.
pub fn relative(names: &[String], name: &str) -> Option<String> {
    let begins = |long: &str, short: &str| {
        long.strip_prefix(short).is_some_and(|rest| rest.starts_with('/'))
    };
    let above = names.iter().find(|known| begins(name, known));
    let below = names.iter().find(|known| begins(known, name));
    match (above, below) {
        (Some(above), _) => Some(format!("{above} is an archive, not a directory of archives")),
        (_, Some(below)) => Some(format!("it is a directory of archives, as {below}")),
        (None, None) => None,
    }
}

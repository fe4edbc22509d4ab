//! What stands behind a command: a repository, or an archive in one, as attic writes them.
//!
//! `PATH`, `file:///PATH`, `[USER@]HOST:PATH`, `ssh://[USER@]HOST[:PORT]/PATH`, each with `::NAME` behind it. A path with a
//! colon before its first slash is given as `./a:b`.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use garret_cli::failure::Failure;
use garret_cli::location::{Location, STORES, address_len};
use garret_cli::{packs, placeholders};
use garret_format::archive::is_archive_name;

/// A repository and perhaps an archive.
#[derive(Debug, PartialEq, Eq)]
struct Named {
    repository: Location,
    archive: Option<String>,
}

/// The repository that `text` names.
///
/// # Errors
/// Wrong use if there is an archive name.
pub(crate) fn repository(text: &OsStr) -> Result<Location, Failure> {
    match parse(text)? {
        Named { repository, archive: None } => Ok(repository),
        _ => Err(usage(text, " No archive can be specified")),
    }
}

/// The same, whose packs lie in it whatever was said of others.
///
/// # Errors
/// As of [`repository`].
pub(crate) fn whole(text: &OsStr) -> Result<Location, Failure> {
    repository(text).map(|location| location.hot().clone())
}

/// The repository that is meant where none is named.
pub(crate) fn default_repository() -> Option<OsString> {
    std::env::var_os("GARRET_REPO").filter(|value| !value.is_empty())
}

/// The repository and archive that `text` names; `behind` are the words behind it, where an archive may stand by mistake.
///
/// # Errors
/// Wrong use if there is no archive name.
pub(crate) fn archive(text: &OsStr, behind: &[OsString]) -> Result<(Location, String), Failure> {
    match parse(text)? {
        Named { repository, archive: Some(name) } => Ok((repository, name)),
        _ => Err(no_archive(text, text, behind.first().map(OsString::as_os_str))),
    }
}

/// The repository and the archive to make in it, its placeholders filled in; `paths` are the words behind it.
///
/// # Errors
/// Wrong use if there is no archive name or it has placeholders that there are not, or if a path is an archive.
pub(crate) fn new_archive(text: &OsStr, paths: &[OsString]) -> Result<(Location, String), Failure> {
    let is_there = |path: &OsString| Path::new(path).symlink_metadata().is_ok();
    let name = match paths {
        [first, _, ..] if !is_there(first) => Some(first),
        _ => None,
    };
    let Named { repository, archive: Some(name) } = parse(text)? else {
        return Err(no_archive(text, text, name.map(OsString::as_os_str)));
    };
    let is_archive = |path: &&OsString| !is_there(path) && is_archive_of(&repository, path);
    if let Some(path) = paths.iter().find(is_archive) {
        return Err(usage(path, " is an archive, no PATH: one is made at a time"));
    }
    let name = placeholders::expand(&name).map_err(|why| usage(text, &format!(": {why}")))?;
    Ok((repository, name))
}

/// The archive that `text` names in `repository`, by its name alone or as a location.
///
/// # Errors
/// Wrong use if it is in another repository.
pub(crate) fn archive_in(repository: &Location, text: &OsStr) -> Result<String, Failure> {
    match parse(text) {
        Ok(Named { repository: other, archive: Some(name) }) if other == *repository => Ok(name),
        Ok(Named { repository: other, archive: Some(_) })
            if other.directory().is_none_or(Path::is_dir) =>
        {
            Err(usage(text, ": both archives must be of one repository"))
        }
        _ => text.to_str().map(str::to_owned).ok_or_else(|| not_text(text)),
    }
}

/// Whether a word that should be a path is an archive of this repository.
pub(crate) fn is_archive_of(repository: &Location, text: &OsStr) -> bool {
    parse(text).is_ok_and(|found| found.repository == *repository && found.archive.is_some())
}

/// The repository, and the archive if `text` names one.
pub(crate) fn either(text: &OsStr) -> Result<(Location, Option<String>), Failure> {
    parse(text).map(|location| (location.repository, location.archive))
}

/// `text` should name an archive; one of `repository` that is perhaps `name`.
pub(crate) fn no_archive(text: &OsStr, repository: &OsStr, name: Option<&OsStr>) -> Failure {
    let repository = repository.to_string_lossy();
    let named =
        name.and_then(OsStr::to_str).filter(|name| is_archive_name(name) && !name.contains("::"));
    let form = match named {
        Some(name) => format!("; write {repository}::{name} for the archive {name}"),
        None => format!("; write {repository}::NAME for the archive NAME"),
    };
    usage(text, &format!(": No archive specified{form}"))
}

fn not_text(text: &OsStr) -> Failure {
    usage(text, ": the archive's name is not UTF-8")
}

fn usage(text: &OsStr, what: &str) -> Failure {
    Failure::Usage(format!("\"{}\"{what}", text.to_string_lossy()))
}

fn parse(text: &OsStr) -> Result<Named, Failure> {
    let invalid = || Location::invalid(text);
    let bytes = text.as_bytes();
    // An address of version 6 has two colons of its own: in a host, or in an endpoint behind a prefix.
    let host_len = match bytes.strip_prefix(b"ssh://") {
        Some(rest) => 6 + rest.iter().position(|byte| *byte == b'/').unwrap_or(rest.len()),
        // No archive's name has two slashes.
        None if STORES.iter().any(|scheme| bytes.starts_with(scheme.as_bytes())) => {
            let address = bytes.windows(3).position(|part| part == b"//[").unwrap_or(bytes.len());
            let end = bytes.iter().skip(address).position(|byte| *byte == b']');
            end.map_or(0, |end| address + end)
        }
        None => address_len(bytes),
    };
    let colons = bytes.windows(2).skip(host_len).position(|pair| pair == b"::");
    let (place, name) = match colons.map(|at| at + host_len) {
        Some(at) => (bytes.get(..at).unwrap_or_default(), bytes.get(at + 2..)),
        None => (bytes, None),
    };
    let archive = match name {
        Some(b"") => {
            let text = text.to_string_lossy();
            let why = "the archive's name is missing behind ::";
            return Err(Failure::Usage(format!("Invalid location format: \"{text}\": {why}")));
        }
        Some(name) => Some(String::from_utf8(name.to_vec()).map_err(|_| not_text(text))?),
        None => None,
    };
    let repository = Location::parse(OsStr::from_bytes(place)).ok_or_else(invalid)?;
    Ok(Named { repository: repository.with_packs_at(packs::place()), archive })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<(String, Option<String>), String> {
        match parse(OsStr::new(text)) {
            Ok(found) => Ok((found.repository.display().to_string(), found.archive)),
            Err(Failure::Usage(text)) => Err(text),
            Err(other) => Err(format!("{other:?}")),
        }
    }

    #[test]
    fn an_archive_is_everything_after_the_first_two_colons() {
        for (text, path, name) in [
            ("repo", "repo", None),
            ("/srv/repo::a", "/srv/repo", Some("a")),
            ("/srv/repo::a::b:c/d", "/srv/repo", Some("a::b:c/d")),
            ("file:///srv/repo::a", "/srv/repo", Some("a")),
            ("/x:y::a", "/x:y", Some("a")),
            ("./a:b", "./a:b", None),
            ("dir/a:b", "dir/a:b", None),
            ("user@host:repo::a::b", "user@host:repo", Some("a::b")),
            ("ssh://host/repo::a", "host:/repo", Some("a")),
            ("ssh://[::1]/r::a", "[::1]:/r", Some("a")),
            ("[::1]:r::a@[b]", "[::1]:r", Some("a@[b]")),
            ("repo::vm@[x]", "repo", Some("vm@[x]")),
            ("host:repo::a@[b]", "host:repo", Some("a@[b]")),
            ("s3://bucket/vms::a", "s3://bucket/vms", Some("a")),
            (
                "s3://b?endpoint=http://[::1]:7480::a::b",
                "s3://b?endpoint=http://[::1]:7480",
                Some("a::b"),
            ),
        ] {
            let expected = (path.to_owned(), name.map(str::to_owned));
            assert_eq!(parsed(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn malformed_locations_are_refused() {
        for text in
            ["", "::a", "repo::", "file://repo", "file://", "host:", "-x:repo", "ssh://host"]
        {
            assert!(parsed(text).unwrap_err().starts_with("Invalid location format"), "{text}");
        }
    }
}

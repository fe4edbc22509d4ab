//! From the path of a backup to the repository it is in and its name there.
//!
//! In: words of the command line. Out: a [`BackupPath`], or zbackup's line about what is wrong. zbackup's rule: the real path
//! of the directory that holds the backup, cut at a trailing `/backups`, else at the last `/backups/`; what is cut off names
//! the backup.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

use garret_cli::failure::Failure;
use garret_cli::location::Location;
use garret_core::Error;

const AREA: &[u8] = b"/backups";

/// A backup, there or not.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct BackupPath {
    /// The directory of the repository.
    pub(crate) repository: PathBuf,
    /// The archive's name.
    pub(crate) name: String,
    /// The path as it was given.
    pub(crate) given: PathBuf,
}

/// Whether directories below `backups/` may be missing: those of a backup that is made are made with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Parents {
    Exist,
    MayBeMissing,
}

impl BackupPath {
    /// An error of the core about this archive, in zbackup's words where it has some.
    pub(crate) fn failure(&self, error: Error) -> Failure {
        match error {
            Error::ArchiveMissing(_) => self.missing(),
            Error::ArchiveExists(_) => self.exists(),
            error => error.into(),
        }
    }

    /// The backup is there already.
    pub(crate) fn exists(&self) -> Failure {
        Failure::Fatal(format!("Won't overwrite existing file {}", self.given.display()))
    }

    /// The backup is not there.
    pub(crate) fn missing(&self) -> Failure {
        Failure::Fatal(format!("Can't open file {}", self.given.display()))
    }

    /// Whether there is something at the path.
    pub(crate) fn is_taken(&self) -> bool {
        self.given.symlink_metadata().is_ok()
    }
}

/// The backup at `text`.
pub(crate) fn backup(text: &OsStr, parents: Parents) -> Result<BackupPath, Failure> {
    let given = Path::new(text);
    let (Some(parent), Some(file)) = (given.parent(), given.file_name()) else {
        return Err(outside(given));
    };
    let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
    let (repository, directory) = split(&real(parent, parents)?).ok_or_else(|| outside(given))?;
    place(repository, &directory, file.as_bytes(), given)
}

/// The backup of `file` when a directory is backed up to `text`, which is `backups/` or a directory in it.
pub(crate) fn below(text: &OsStr, file: &[u8]) -> Result<BackupPath, Failure> {
    let given = Path::new(text);
    let real = real(given, Parents::MayBeMissing)?;
    let (repository, directory) = split(&real).ok_or_else(|| outside(given))?;
    place(repository, &directory, file, &given.join(OsStr::from_bytes(file)))
}

/// The repository at `text`, for the commands that take its directory itself.
pub(crate) fn repository(text: &OsStr) -> Result<PathBuf, Failure> {
    let path = Path::new(text).canonicalize().map_err(|_| no_real_path(Path::new(text)))?;
    let has = |name: &str| path.join(name).exists();
    if has("info") && has("bundles") && !has("config") {
        return Err(Failure::Fatal(format!(
            "{} is a repository of zbackup, whose format is another: make a new one with zgarret init",
            path.display()
        )));
    }
    Ok(path)
}

/// What the shell and zbackup call an error of the system: without its number.
pub(crate) fn reason(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

fn place(
    repository: PathBuf,
    directory: &[u8],
    file: &[u8],
    given: &Path,
) -> Result<BackupPath, Failure> {
    let name = match directory {
        [] => file.to_vec(),
        directory => [directory, file].join(&b'/'),
    };
    let repository = self::repository(repository.as_os_str())?;
    match String::from_utf8(name) {
        Ok(name) => Ok(BackupPath { repository, name, given: given.to_owned() }),
        Err(error) => {
            let name = String::from_utf8_lossy(error.as_bytes()).into_owned();
            Err(Error::BadName { name, why: "it is not UTF-8" }.into())
        }
    }
}

/// The real path of a directory.
fn real(directory: &Path, parents: Parents) -> Result<PathBuf, Failure> {
    let found = match (directory.canonicalize(), parents) {
        (Ok(real), _) => Some(real),
        (Err(_), Parents::MayBeMissing) => real_of_missing(directory),
        (Err(_), Parents::Exist) => None,
    };
    found.ok_or_else(|| no_real_path(directory))
}

/// The real path of a directory whose last parts are missing, if they are below a `backups/` that is there, or that a copy of
/// a repository lost because it was empty.
fn real_of_missing(directory: &Path) -> Option<PathBuf> {
    let (mut existing, mut missing) = (directory, Vec::new());
    loop {
        // What is there and yet has no real path will not get one; and a `..` of what is not there leads nowhere.
        let last = existing.components().next_back();
        let (Some(Component::Normal(part)), Err(_)) = (last, existing.symlink_metadata()) else {
            return None;
        };
        missing.push(part);
        let parent = existing.parent()?;
        existing = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
        if let Ok(mut real) = existing.canonicalize() {
            let is_there = split(&real).is_some();
            real.extend(missing.iter().rev());
            let (repository, _) = split(&real)?;
            return (is_there || repository.join("config").exists()).then_some(real);
        }
    }
}

/// The repository above a real path in its `backups/`, and the path from there.
fn split(real: &Path) -> Option<(PathBuf, Vec<u8>)> {
    let bytes = real.as_os_str().as_bytes();
    let (repository, inside) = match bytes.strip_suffix(AREA) {
        Some(repository) => (repository, &[][..]),
        None => {
            let area = [AREA, b"/"].concat();
            let at = bytes.windows(area.len()).rposition(|window| window == area)?;
            (bytes.get(..at)?, bytes.get(at + area.len()..)?)
        }
    };
    let repository = if repository.is_empty() { b"/" } else { repository };
    Some((OsString::from_vec(repository.to_vec()).into(), inside.to_vec()))
}

fn outside(given: &Path) -> Failure {
    Failure::Fatal(format!("The path must be within the backups/ dir: {}", given.display()))
}

fn no_real_path(path: &Path) -> Failure {
    Failure::Fatal(format!("Can't real path of {}{}", path.display(), why_not_here(path)))
}

/// Why there is no such directory, where it is what `garret` takes for another host or a store: here backups are listed,
/// renamed and removed as files.
pub(crate) fn why_not_here(path: &Path) -> &'static str {
    match Location::parse(path.as_os_str()) {
        Some(Location::Remote(_) | Location::Store(_)) => {
            ": zgarret takes directories only; use garret for other hosts and stores"
        }
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_repository_ends_at_a_trailing_backups_else_at_the_last_one() {
        for (real, repository, inside) in [
            ("/srv/repo/backups", "/srv/repo", ""),
            ("/srv/repo/backups/vm/web", "/srv/repo", "vm/web"),
            ("/srv/backups/repo/backups/vm", "/srv/backups/repo", "vm"),
            ("/srv/repo/backups/vm/backups", "/srv/repo/backups/vm", ""),
            ("/srv/backups/old/x", "/srv", "old/x"),
            ("/backups/x", "/", "x"),
            ("/backups", "/", ""),
        ] {
            let expected = (PathBuf::from(repository), inside.as_bytes().to_vec());
            assert_eq!(split(Path::new(real)), Some(expected), "{real}");
        }
        for outside in ["/srv/repo", "/srv/mybackups/x", "/srv/backups2", "/"] {
            assert_eq!(split(Path::new(outside)), None, "{outside}");
        }
    }

    #[test]
    fn reasons_have_no_numbers() {
        assert_eq!(reason(&std::io::Error::from_raw_os_error(2)), "No such file or directory");
    }
}

//! The server's side of a repository on another host: which directories a client may have, and as what.
//!
//! In: standard input and output, which lead to a client; what this server lets him do. Out: answers, until he is gone.
//! Promises: nothing but a repository below the permitted directories is opened or made, through whatever links; what the
//! client wants is told to nobody's shell.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use garret_core::{LocalStore, StoreError, StoreErrorKind};
pub use garret_remote::Rules;
use garret_remote::{Gate, Opening};

use crate::cache::absolute;
use crate::failure::Failure;
use crate::sandbox;
use crate::surroundings;

/// What a server lets its client have.
#[derive(Clone, Debug, Default)]
pub struct Serving {
    /// What he may do.
    pub rules: Rules,
    /// Directories of which one must be the repository, or have it below; any directory if there is none.
    pub directories: Vec<PathBuf>,
}

impl Serving {
    /// Serves one client on standard input and output.
    ///
    /// # Errors
    /// What comes is not garret's, or the connection breaks.
    pub fn run(&self) -> Result<(), Failure> {
        let (input, output) = (io::stdin().lock(), io::stdout());
        garret_remote::serve(input, output, |opening| self.open(opening))
            .map_err(|error| Failure::io("the client", &error))
    }

    fn open(&self, opening: &Opening) -> Result<Gate<LocalStore>, StoreError> {
        let path = self.permitted(&opening.path)?;
        let store = match opening.create {
            Some(sharing) if !self.rules.read_only => LocalStore::create(&path, sharing)?,
            Some(_) => return Err(refused(&path, "the server lets this client only read")),
            None if matches!(path.try_exists(), Ok(false)) => {
                return Err(StoreError::new(
                    "open",
                    path.display(),
                    io::ErrorKind::NotFound.into(),
                ));
            }
            None => LocalStore::open(&path)?,
        };
        if self.rules.append_only || self.rules.read_only {
            // He is not trusted, and all that he may change lies there.
            sandbox::confine(Some(&path));
        }
        Ok(Gate::new(store, self.rules.clone(), opening.create.is_some()))
    }

    /// The directory that the client means, without links, if he may have it.
    fn permitted(&self, wanted: &[u8]) -> Result<PathBuf, StoreError> {
        let path = at_home(Path::new(OsStr::from_bytes(wanted)));
        if self.directories.is_empty() {
            return Ok(path);
        }
        let not = || refused(&path, "Repository path not allowed");
        if path.components().any(|part| part == Component::ParentDir) {
            return Err(not());
        }
        let real = surroundings::real(&path);
        let is_in = |directory: &PathBuf| {
            directory.canonicalize().is_ok_and(|directory| real.starts_with(directory))
        };
        match self.directories.iter().any(is_in) {
            true => Ok(real),
            false => Err(not()),
        }
    }
}

fn refused(path: &Path, why: &str) -> StoreError {
    let source = io::Error::new(io::ErrorKind::PermissionDenied, why.to_owned());
    let object = path.display().to_string();
    StoreError { kind: StoreErrorKind::Denied, operation: "open", object, source }
}

/// The path with `~` and `~USER` at its beginning filled in.
fn at_home(path: &Path) -> PathBuf {
    let mut parts = path.components();
    let first = parts.next().map(|part| part.as_os_str().as_bytes());
    let home = match first.and_then(|first| first.strip_prefix(b"~")) {
        Some(b"") => absolute("HOME"),
        Some(user) => surroundings::home_of(user),
        None => None,
    };
    home.map_or_else(|| path.to_owned(), |home| home.join(parts.as_path()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_below_a_permitted_directory_is_opened() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["srv/repo", "srv/repository", "other"] {
            std::fs::create_dir_all(dir.path().join(name)).unwrap();
        }
        std::os::unix::fs::symlink(dir.path().join("other"), dir.path().join("srv/repo/link"))
            .unwrap();
        std::os::unix::fs::symlink(dir.path().join("srv"), dir.path().join("way")).unwrap();
        let serving =
            Serving { rules: Rules::default(), directories: vec![dir.path().join("way/repo")] };
        let permitted =
            |path: &str| serving.permitted(dir.path().join(path).as_os_str().as_bytes());
        for path in ["srv/repo", "way/repo", "srv/repo/", "srv/repo/new", "srv/repo/a/b"] {
            assert!(permitted(path).unwrap().starts_with(dir.path().join("srv/repo")), "{path}");
        }
        for path in [
            "srv",
            "srv/repository",
            "srv/repo/../repository",
            "srv/repo/link",
            "srv/repo/link/x",
            "other",
            "/",
            "srv/repo/new/../../../other",
        ] {
            let error = permitted(path).unwrap_err();
            assert!(
                error.source.to_string().contains("Repository path not allowed"),
                "{path}: {error}"
            );
        }
    }
}

//! The server's side of a repository on another host: which directories a client may have, and as what.
//!
//! In: standard input and output, which lead to a client; what this server lets him do. Out: answers, until he is gone.
//! Promises: nothing but a repository below the permitted directories is opened or made, through whatever links; what the
//! client wants is told to nobody's shell.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use garret_core::{LocalStore, StoreError, StoreErrorKind};
use garret_format::object::{HEADER_LEN, Kind};
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
        // What a client put there would be in two repositories, and no rule of the outer one would hold.
        if path.ancestors().skip(1).any(is_repository) {
            return Err(refused(&path, "it is in another repository"));
        }
        let store = match opening.create {
            Some(_) if self.rules.read_only => {
                return Err(refused(&path, "the server lets this client only read"));
            }
            Some(sharing) => LocalStore::create(&path, sharing)?,
            None if matches!(path.try_exists(), Ok(false)) => {
                return Err(StoreError::new(
                    "open",
                    path.display(),
                    io::ErrorKind::NotFound.into(),
                ));
            }
            None if !is_repository(&path) && !begins_as(&path, "cold", Kind::Cold) => {
                return Err(refused(&path, "it is no garret repository"));
            }
            None => LocalStore::open(&path)?,
        };
        if self.rules.append_only || self.rules.read_only {
            // He is not trusted, and all that he may change lies there.
            sandbox::confine(&[&path]);
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
        // One that is not there yet may be made. With a quota it is the repository itself: of several below it each could
        // take as much.
        let is_in = |directory: &PathBuf| {
            let directory = surroundings::real(directory);
            real == directory || self.rules.quota.is_none() && real.starts_with(directory)
        };
        match self.directories.iter().any(is_in) {
            true => Ok(real),
            false => Err(not()),
        }
    }
}

/// Whether a directory has a configuration, or the second copy of one. No archive of that name begins like it.
fn is_repository(directory: &Path) -> bool {
    let begins = |name| begins_as(directory, name, Kind::Config);
    begins("config") || begins("copies/config")
}

/// Whether a file in it is of this kind, by its beginning: a place of packs has only `cold`.
fn begins_as(directory: &Path, name: &str, kind: Kind) -> bool {
    let mut start = [0; HEADER_LEN];
    let read = File::open(directory.join(name)).and_then(|mut file| file.read_exact(&mut start));
    read.is_ok() && start == kind.header()
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

    #[test]
    fn no_directory_of_a_repository_is_one_and_none_is_made_in_one() {
        let dir = tempfile::tempdir().unwrap();
        let srv = dir.path().join("srv");
        std::fs::create_dir(&srv).unwrap();
        let serving = Serving { rules: Rules::default(), directories: vec![srv.clone()] };
        let open = |name: &str, create| {
            let path = srv.join(name).into_os_string().into_encoded_bytes();
            serving
                .open(&Opening { path, create })
                .map(drop)
                .map_err(|error| error.source.to_string())
        };
        let make = Some(garret_core::Sharing::Private);
        assert!(open("repo", None).is_err(), "nothing is there");
        open("repo", make).unwrap();
        std::fs::write(srv.join("repo/config"), Kind::Config.header()).unwrap();
        open("repo", None).unwrap();
        // As an archive that is called so begins.
        std::fs::write(srv.join("repo/backups/config"), Kind::Archive.header()).unwrap();
        for inner in ["backups", "tmp", "packs", "packs/packs"] {
            std::fs::create_dir_all(srv.join("repo").join(inner)).unwrap();
            for create in [None, make] {
                let refused = open(&format!("repo/{inner}"), create).unwrap_err();
                assert_eq!(refused, "it is in another repository", "{inner}");
            }
        }
        assert!(open("repo/backups/new", make).is_err() && !srv.join("repo/backups/new").exists());
        std::fs::create_dir(srv.join("plain")).unwrap();
        assert_eq!(open("plain", None).unwrap_err(), "it is no garret repository");
        // One that is to grow no further than so far is the directory itself.
        let rules = Rules { quota: Some(1000), ..Rules::default() };
        let bound = Serving { rules, directories: vec![srv.join("repo")] };
        let path = |name: &str| srv.join(name).into_os_string().into_encoded_bytes();
        bound.permitted(&path("repo")).unwrap();
        bound.permitted(&path("repo/other")).unwrap_err();
    }
}

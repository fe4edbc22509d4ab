//! From a path to an open repository: find it, unlock it, open it.

use std::path::Path;

use engine::{Access, Error, Keys, LocalStore, Locked, Repository};

use crate::failure::Failure;
use crate::ui::Ui;
use crate::{cache, secrets};

/// The repository at `path`, its keys still unknown.
pub fn find(path: &Path) -> Result<Locked, Failure> {
    if matches!(path.try_exists(), Ok(false)) {
        return Err(Failure::Fatal(format!("Repository {} does not exist", path.display())));
    }
    if path.is_file() {
        let why = "it is a file".to_owned();
        return Err(Error::NotARepository { path: path.display().to_string(), why }.into());
    }
    Ok(Locked::find(Box::new(LocalStore::open(path)))?)
}

/// The repository at `path`, open.
pub fn open(path: &Path, access: Access, ui: &Ui) -> Result<Repository, Failure> {
    let locked = find(path)?;
    let keys = secrets::unlock(&locked, path, ui)?;
    enter(locked, keys, access, ui)
}

/// A repository that was found, with the keys that were found for it.
pub fn enter(locked: Locked, keys: Keys, access: Access, ui: &Ui) -> Result<Repository, Failure> {
    Ok(Repository::open(locked, keys, access, cache::directory(), ui)?)
}

/// Bytes of all streams of all archives. Archives that cannot be read are reported and left out.
pub fn original_len(repository: &Repository, ui: &Ui) -> Result<u64, Failure> {
    let mut sum = 0u64;
    for name in repository.archive_names()? {
        match repository.archive(&name) {
            Ok(archive) => sum = sum.saturating_add(archive.archive.original_len),
            Err(error) => ui.report(&engine::message(&error)),
        }
    }
    Ok(sum)
}

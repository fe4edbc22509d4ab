//! Everything that a user does with a repository, one after the other.
//!
//! In: how to get at a store, and what is known of what is in it. Out: nothing; errors are answers. Promises checked: what is
//! given back of an encrypted repository is what was put in, also after it was collected and added to; and none of it panics
//! or waits.

use std::io::{self, Cursor, Write};
use std::time::Duration;

use garret_core::{
    BackupOptions, Destination, GcOptions, Input, KeepRules, Locked, NamedArchive, Repository,
    RestoreOptions, Result, Secret, Selection, Silent, Store, Unlocked,
};
use garret_format::archive::{Item, ItemKind, Time};
use garret_testkit::check_options;

use super::base::Sealed;

/// A stream ends here: an archive may say that a file is any number of zeros long.
const STREAM_MAX: usize = 4 << 20;
/// What is added.
const NEW: (&str, &[u8]) = ("made here", b"what is new");

/// A repository that others have written to.
pub struct Subject<'a> {
    /// Opens the store anew.
    pub store: &'a dyn Fn() -> Result<Box<dyn Store>>,
    /// What it was, if it is encrypted.
    pub sealed: Option<&'a Sealed>,
}

impl Subject<'_> {
    /// Reads, checks, collects, reads again, adds, and reads again.
    pub fn try_everything(&self) {
        let _ = self.read();
        let _ = self.check();
        let _ = self.collect();
        let _ = self.read();
        let _ = self.add();
        let _ = self.read();
    }

    fn unlocked(&self) -> Result<Unlocked> {
        let key_id = self.sealed.and_then(|sealed| sealed.key_id);
        let locked = Locked::find((self.store)()?)?.with_patience(Duration::ZERO).expecting(key_id);
        let secret = match self.sealed {
            Some(_) => Secret::Passphrase(garret_testkit::PASSPHRASE),
            None => Secret::None,
        };
        let keys = locked.unlock(secret)?;
        if keys.id() != key_id {
            // That another repository is in its place is for the program to notice: security.md, "What a client knows".
            return Err(garret_core::Error::WrongPassphrase);
        }
        Ok(locked.with(keys))
    }

    fn read(&self) -> Result<()> {
        let repository = self.unlocked()?.reader(&Silent)?;
        let names = repository.archive_names()?;
        let loaded: Vec<_> =
            names.iter().filter_map(|name| repository.archive(name).ok()).collect();
        for archive in &loaded {
            let _ = self.read_archive(&repository, archive);
        }
        if let [first, .., last] = loaded.as_slice() {
            let mut all = Selection::default();
            let _ = repository.diff(first, last, &mut all, 1, &Silent);
        }
        let _ = repository.stored_len()?;
        Ok(())
    }

    fn read_archive(&self, repository: &Repository, archive: &NamedArchive) -> Result<()> {
        let items = repository.items(archive).collect::<Result<Vec<Item>>>()?;
        for item in items.iter().filter(|item| matches!(item.kind, ItemKind::File(_))).take(8) {
            let _ = repository.file_info(archive, &item.path, &Silent);
            let mut bytes = Bounded(Vec::new());
            let mut one = Selection::new([item.path.clone()]);
            let to = Destination::Stream(&mut bytes);
            let restored = repository.restore(archive, &mut one, to, &options(), &Silent);
            if restored.is_ok_and(|report| report.problem_count == 0) {
                self.compare(archive, item, &bytes.0);
            }
        }
        let mut all = Selection::default();
        repository.restore(archive, &mut all, Destination::Nowhere, &options(), &Silent)?;
        repository.archive_packs(archive).map(drop)
    }

    /// Nobody without the key can have made an archive say anything else.
    fn compare(&self, archive: &NamedArchive, item: &Item, bytes: &[u8]) {
        let Some(sealed) = self.sealed else { return };
        let name = archive.archive.name.as_str();
        let expected = sealed.contents.get(name).map(Vec::as_slice);
        let expected = expected.or((name == NEW.0).then_some(NEW.1));
        assert!(item.path == b"image" && expected == Some(bytes), "{name} is not what was stored");
    }

    fn check(&self) -> Result<()> {
        let repository = self.unlocked()?.checker(&Silent)?;
        let options = check_options(true, 1);
        repository.check(&options, &Silent).map(drop)
    }

    fn collect(&self) -> Result<()> {
        let mut repository = self.unlocked()?.pruner(&Silent)?;
        let names = repository.archive_names()?;
        let archives = names.iter().filter_map(|name| repository.archive(name).ok()).collect();
        let mut rules = KeepRules::default();
        rules.daily = 1;
        let now = Time { secs: 1_790_000_000, nanos: 0 };
        let plan = garret_core::plan_prune(archives, &rules, now, &|_| 0)?;
        let drop: Vec<String> = plan
            .into_iter()
            .filter(|decision| decision.kept.is_none())
            .map(|decision| decision.archive.name)
            .collect();
        let planned = repository.plan_gc(&drop, 1, &Silent)?;
        let _ = planned.freed_bytes();
        repository.delete(&drop)?;
        repository.gc(&GcOptions::default(), &Silent).map(std::mem::drop)
    }

    fn add(&self) -> Result<()> {
        let mut repository = self.unlocked()?.writer(&Silent)?;
        let mut options = BackupOptions::default();
        options.threads = 1;
        options.base = "/".into();
        let input = Input::Stream { name: b"image".to_vec(), reader: Box::new(Cursor::new(NEW.1)) };
        repository.backup(NEW.0, vec![input], &options, &Silent).map(drop)
    }
}

fn options() -> RestoreOptions {
    let mut options = RestoreOptions::default();
    options.threads = 1;
    options
}

/// Takes bytes up to a bound.
struct Bounded(Vec<u8>);

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > STREAM_MAX {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.0.extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

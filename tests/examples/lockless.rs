//! A program like `garret` on a repository whose store has no locks: a directory, and another one for leases. It is killed by
//! the drill `thrash_leases` (tests/drills), and that is all that it is for.
//!
//! In: `lockless COMMAND REPO [...]`, see `main`. Out: what the drill asks of any backup program, exit code 1 for errors.
//! Creators and readers wait for nobody.
#![allow(clippy::unwrap_used, reason = "a tool of tests")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program")]

use std::fs;
use std::io;
use std::ops::RangeInclusive;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use garret_core::{
    Error, Guard, Input, Key, LeaseTable, Leases, LocalStore, LockMode, Locked, Secret, Sharing,
    Silent, Store, StoreError,
};
use garret_format::config::KeyMode;
use garret_testkit::Lab;

/// Short, for a drill that kills somebody each second.
const LEASE: Duration = Duration::from_secs(30);

/// Leases as files, whose times the kernel sets.
struct Files(PathBuf);

impl LeaseTable for Files {
    fn put(&self, name: &str) -> Result<(), StoreError> {
        // A file that has bytes is cut: then the kernel says when, also if it was there.
        let made = fs::write(self.0.join(name), [0]);
        made.map_err(|error| StoreError::new("put", name, error))
    }

    fn list(&self) -> Result<Vec<(String, Duration)>, StoreError> {
        let read = || {
            let mut listed = Vec::new();
            for entry in fs::read_dir(&self.0)? {
                let entry = entry?;
                match entry.metadata() {
                    Ok(found) => {
                        let time = Duration::new(found.mtime() as u64, found.mtime_nsec() as u32);
                        listed.push((entry.file_name().into_string().unwrap(), time));
                    }
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(listed)
        };
        read().map_err(|error| StoreError::new("list", "leases", error))
    }

    fn remove(&self, name: &str) -> Result<(), StoreError> {
        match fs::remove_file(self.0.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(StoreError::new("remove", name, error))
            }
            _ => Ok(()),
        }
    }
}

struct Lockless {
    objects: LocalStore,
    leases: Leases,
}

impl Lockless {
    fn open(repo: &Path) -> Self {
        let table = Arc::new(Files(repo.with_extension("leases")));
        let leases = Leases::new(table).unwrap().with_time(LEASE);
        Lockless { objects: LocalStore::open(repo).unwrap(), leases }
    }

    /// For what changes something.
    fn objects(&self) -> Result<&LocalStore, StoreError> {
        self.leases.permit()?;
        Ok(&self.objects)
    }
}

impl Store for Lockless {
    garret_testkit::through!(objects: get, get_whole, len, list, adopt, sync, doubtful, pass_over, notices, place);

    fn put(&self, key: &Key, parts: &[&[u8]]) -> Result<(), StoreError> {
        self.objects()?.put(key, parts)
    }

    fn put_new(&self, key: &Key, bytes: &[u8]) -> Result<(), StoreError> {
        self.objects()?.put_new(key, bytes)
    }

    fn delete(&self, key: &Key) -> Result<(), StoreError> {
        match key {
            // Taking back needs no lease.
            Key::Archive(_) | Key::ArchiveCopy(_) => self.objects.delete(key),
            _ => self.objects()?.delete(key),
        }
    }

    /// The directory would look for locks.
    fn sweep(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn lock(
        &self,
        mode: LockMode,
        patience: Duration,
        waiting: &mut dyn FnMut(&str),
    ) -> Result<Box<dyn Guard>, StoreError> {
        self.leases.lock(mode, patience, waiting)
    }

    fn has_sessions(&self, epochs: RangeInclusive<u64>) -> Result<bool, StoreError> {
        self.leases.has_sessions(epochs)
    }
}

fn lab(repo: &str) -> Lab {
    let repo = PathBuf::from(repo);
    let store = Lockless::open(&repo);
    let keys = Locked::find(Box::new(store)).unwrap().unlock(Secret::None).unwrap();
    Lab::existing(move || Box::new(Lockless::open(&repo)), keys)
}

fn run(argv: &[&str]) -> Result<(), Error> {
    match *argv {
        ["init", repo] => {
            let repo = PathBuf::from(repo);
            LocalStore::create(&repo, Sharing::Private)?;
            fs::create_dir(repo.with_extension("leases")).unwrap();
            drop(Lab::over(move || Box::new(Lockless::open(&repo)), KeyMode::None));
        }
        ["create", repo, name, path] => {
            let lab = lab(repo);
            let mut writer = lab.unlocked_without_patience().writer(&Silent)?;
            let reader = Box::new(io::Cursor::new(fs::read(path).unwrap()));
            let input = Input::Stream { name: b"disk.img".to_vec(), reader };
            writer.backup(name, vec![input], &lab.options(), &Silent)?;
        }
        ["extract", repo, name, out] => {
            let lab = lab(repo);
            let reader = lab.unlocked_without_patience().reader(&Silent)?;
            let archive = reader.archive(name)?;
            fs::write(out, lab.restore_from(&reader, &archive)?).unwrap();
        }
        ["prune", repo] => drop(lab(repo).gc_reporting()?),
        ["delete", repo, ref names @ ..] => {
            let lab = lab(repo);
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            let mut pruner = lab.pruner()?;
            pruner.delete(&names)?;
            pruner.gc(&lab.gc_options(), &Silent)?;
        }
        ["list", repo] => lab(repo).names().iter().for_each(|name| println!("{name}")),
        ["check", repo] => drop(lab(repo).check()),
        _ => panic!("not a command: {argv:?}"),
    }
    Ok(())
}

/// `init REPO`, `create REPO NAME FILE`, `extract REPO NAME FILE`, `prune REPO`, `delete REPO NAME...`, `list REPO`,
/// `check REPO`.
fn main() {
    let argv: Vec<String> = std::env::args().skip(1).collect();
    let argv: Vec<&str> = argv.iter().map(String::as_str).collect();
    if let Err(error) = run(&argv) {
        eprintln!("lockless: {}", garret_core::message(&error));
        std::process::exit(1);
    }
}

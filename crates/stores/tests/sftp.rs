//! A repository on a server of SFTP: the contract, on OpenSSH's own server, and on a line that breaks again and again. Needs
//! that server, which `tests/run` brings; `crates/garret/tests/cli/sftp.rs` has a real sshd before it.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use garret_core::{Key, LockMode, Retry, RetryOptions, Store, StoreErrorKind};
use garret_remote::Removable;
use garret_stores::{ObjectStore, Paces, Place};
use garret_testkit::store_suite;
use tempfile::TempDir;

const SERVER: &str = "/usr/lib/openssh/sftp-server";

/// A program in the place of ssh, which does what `script` says.
fn instead_of_ssh(dir: &Path, script: &str) -> String {
    let path = dir.join("rsh");
    fs::write(&path, format!("#!/bin/bash\n{script}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path.to_str().unwrap().to_owned()
}

/// A repository in a directory that nobody else has.
fn store(dir: &Path, rsh: &str) -> ObjectStore {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let number = COUNT.fetch_add(1, Ordering::SeqCst);
    open(&dir.join(format!("repository{number}")), rsh)
}

fn open(repository: &Path, rsh: &str) -> ObjectStore {
    paced(repository, rsh, Paces::default())
}

fn paced(repository: &Path, rsh: &str, paces: Paces) -> ObjectStore {
    let variable = |name: &str| (name == "GARRET_RSH").then(|| rsh.to_owned());
    let place = format!("sftp://here{}", repository.display());
    ObjectStore::new(Place::parse_with(&place, &variable).unwrap(), paces).unwrap()
}

fn patient(store: ObjectStore) -> Retry<ObjectStore> {
    let mut options = RetryOptions::default();
    options.pause = Duration::from_millis(1);
    Retry::new(store, options)
}

#[test]
fn a_directory_on_a_server_of_sftp_keeps_the_contract() {
    let dir = TempDir::new().unwrap();
    let rsh = instead_of_ssh(dir.path(), &format!("exec {SERVER}"));
    store_suite(&|| Box::new(patient(store(dir.path(), &rsh))));
}

/// Each session ends after some answers of the server, in the middle of whatever it is.
#[test]
fn a_line_that_breaks_again_and_again_keeps_it_too() {
    let dir = TempDir::new().unwrap();
    let script = format!(
        "echo $$ >> {}/pids; exec 3>&1; \
         exec {SERVER} > >(dd bs=4096 count=$((60 + RANDOM % 100)) status=none >&3; kill $$ 2> /dev/null) 3>&-",
        dir.path().display()
    );
    let rsh = instead_of_ssh(dir.path(), &script);
    store_suite(&|| Box::new(patient(store(dir.path(), &rsh))));
    let sessions = fs::read_to_string(dir.path().join("pids")).unwrap().lines().count();
    assert!(sessions > 30, "only {sessions} sessions");
}

/// What is below somebody else's directory is not looked at, and stays.
#[test]
fn a_directory_that_holds_anything_is_not_made_a_repository() {
    let dir = TempDir::new().unwrap();
    let rsh = instead_of_ssh(dir.path(), &format!("exec {SERVER}"));
    for (number, make) in [
        |at: &Path| fs::create_dir(at.join("photos")).unwrap(),
        |at: &Path| fs::write(at.join("file"), "").unwrap(),
        |at: &Path| std::os::unix::fs::symlink("nowhere", at.join("link")).unwrap(),
    ]
    .into_iter()
    .enumerate()
    {
        let at = dir.path().join(number.to_string());
        fs::create_dir(&at).unwrap();
        make(&at);
        let found = open(&at, &rsh).find_nothing().unwrap_err();
        assert_eq!(found.kind, StoreErrorKind::AlreadyExists, "{number}");
    }
}

/// Each waits until what the other put is on the disk too.
#[test]
fn many_who_sync_at_once_all_wait() {
    let dir = TempDir::new().unwrap();
    let log = dir.path().join("log");
    // As the server says, a sync of a directory takes its time.
    let rsh = instead_of_ssh(
        dir.path(),
        &format!(
            "exec strace -f -o {} -e trace=fsync -e inject=fsync:delay_enter=200000 {SERVER}",
            log.display()
        ),
    );
    let store = open(&dir.path().join("repository"), &rsh);
    store.put(&Key::Condemned, &[b"c"]).unwrap();
    let before = fs::read_to_string(&log).unwrap().matches("fsync").count();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                store.sync().unwrap();
                let now = fs::read_to_string(&log).unwrap();
                assert!(now.matches("= 0").count() > before, "{now}");
            });
        }
    });
}

/// A file has its name when all of it is there, and nothing else is left behind.
#[test]
fn what_breaks_off_in_a_put_leaves_nothing_under_its_name() {
    let dir = TempDir::new().unwrap();
    let rsh = instead_of_ssh(dir.path(), &format!("dd bs=4096 count=70 status=none | {SERVER}"));
    let (repository, bytes) = (dir.path().join("repository"), vec![7; 1_000_000]);
    let broken = open(&repository, &rsh);
    let config = Key::Config;
    let failed = broken.put(&config, &[&bytes]).unwrap_err();
    assert_eq!(failed.kind, StoreErrorKind::Transient, "{failed:?}");
    assert!(!repository.join("config").exists());
    drop(broken);
    let rsh = instead_of_ssh(dir.path(), &format!("exec {SERVER}"));
    let whole = open(&repository, &rsh);
    whole.put(&config, &[&bytes]).unwrap();
    whole.sweep().unwrap();
    assert_eq!(fs::read_dir(repository.join("tmp")).unwrap().count(), 0);
}

/// What was put before the server lost power is not there when it comes back: nobody may be told that it is durable.
#[test]
fn what_a_server_lost_with_the_connection_is_not_taken_for_durable() {
    let dir = TempDir::new().unwrap();
    let rsh = instead_of_ssh(
        dir.path(),
        &format!("echo $$ >> {}/pids; exec {SERVER}", dir.path().display()),
    );
    let repository = dir.path().join("repository");
    let store = patient(open(&repository, &rsh));
    store.put(&Key::Config, &[b"config"]).unwrap();
    store.put(&Key::Verified, &[b"verified"]).unwrap();
    let hang_up = || {
        let pids = fs::read_to_string(dir.path().join("pids")).unwrap();
        let killed = std::process::Command::new("kill").arg(pids.lines().last().unwrap()).status();
        assert!(killed.unwrap().success());
    };
    hang_up();
    store.sync().unwrap();
    store.put(&Key::Verified, &[b"verified"]).unwrap();
    hang_up();
    fs::remove_file(repository.join("verified")).unwrap();
    let lost = store.sync().unwrap_err();
    assert!(lost.object.ends_with("/verified"), "{lost:?}");
    // And not by asking again.
    store.put(&Key::Verified, &[b"verified"]).unwrap();
    assert!(store.sync().unwrap_err().source.to_string().contains("failed before"));
}

#[test]
fn a_repository_that_is_removed_takes_only_what_is_its_own() {
    let dir = TempDir::new().unwrap();
    let rsh = instead_of_ssh(dir.path(), &format!("exec {SERVER}"));
    let repository = dir.path().join("repository");
    let store = open(&repository, &rsh);
    store.find_nothing().unwrap();
    assert_eq!(store.find().unwrap_err().kind, StoreErrorKind::NotFound);
    store.put_new(&Key::Config, b"made by init").unwrap();
    store.find().unwrap();
    assert_eq!(store.find_nothing().unwrap_err().kind, StoreErrorKind::AlreadyExists);
    let alone = store.lock(LockMode::Exclusive, Duration::ZERO, &mut |_| {}).unwrap();
    store.put(&Key::Archive("a/night ".to_owned()), &[b"an archive"]).unwrap();
    store.remove().unwrap();
    drop(alone);
    // Where the leases were is all that is left.
    let left: Vec<_> =
        fs::read_dir(&repository).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["leases"]);
    store.find_nothing().unwrap();
    store.put(&Key::Condemned, &[b"x"]).unwrap();
    store.undo_create().unwrap();
    assert!(!repository.exists());
}

/// The locks of one are not seen by the other.
#[test]
fn a_directory_that_is_used_here_is_not_used_by_sftp_and_the_other_way_round() {
    let dir = TempDir::new().unwrap();
    let rsh = instead_of_ssh(dir.path(), &format!("exec {SERVER}"));
    let repository = dir.path().join("repository");
    fs::create_dir(&repository).unwrap();
    fs::write(repository.join("config"), "made here").unwrap();
    let refused = open(&repository, &rsh).find().unwrap_err();
    assert!(refused.source.to_string().contains("ssh://"), "{refused:?}");
    fs::create_dir(repository.join("leases")).unwrap();
    open(&repository, &rsh).find().unwrap();
    let refused = garret_core::LocalStore::open(&repository).unwrap_err();
    assert!(refused.source.to_string().contains("sftp://"), "{refused:?}");
}

#[test]
fn a_pace_is_kept_both_ways() {
    let dir = TempDir::new().unwrap();
    let rsh = instead_of_ssh(dir.path(), &format!("exec {SERVER}"));
    let repository = dir.path().join("repository");
    let rate = std::num::NonZero::new(1_000_000);
    let bytes = vec![7; 2_000_000];
    let least = Duration::from_millis(1500);
    let up = paced(&repository, &rsh, Paces::new(rate, None));
    let start = Instant::now();
    up.put(&Key::Config, &[&bytes]).unwrap();
    assert!(start.elapsed() > least, "{:?}", start.elapsed());
    let down = paced(&repository, &rsh, Paces::new(None, rate));
    let start = Instant::now();
    assert!(down.get_whole(&Key::Config, 1 << 22).unwrap() == bytes);
    assert!(start.elapsed() > least, "{:?}", start.elapsed());
}

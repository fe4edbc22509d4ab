//! The lock of a repository: kernel locks on its file `config`, which every repository has.
//!
//! ```text
//! flock             shared by all but who is alone
//! byte 0            written by who deletes, read by who checks     locks of the open file (fcntl), which need no byte there
//! byte 1 + epoch    read by sessions of that epoch                 to be, and may be taken on a file that is only read
//! ```
//!
//! They end with the process, so there is none to break. Waiting is trying again: whoever waits can be told who holds it, and
//! has an end to his patience. Where a network file system makes one kind of locks of the two, who deletes and who does
//! anything else wait for each other.

use std::fs::{File, TryLockError};
use std::io;
use std::ops::RangeInclusive;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use rustix::fs::OFlags;

use super::beneath::{Beneath, Identity, identity};
use crate::store::{Guard, LockMode};

/// First and longest time between two attempts.
const PAUSES: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(500));
/// How often a file that was exchanged is looked at again by who will not wait.
const LOOKS_MAX: u32 = 3;
/// The file that is locked.
const CONFIG: &str = "config";
/// Holders that are named.
const NAMED_MAX: usize = 3;

/// The kernel releases the lock when the file is closed.
pub(super) struct LocalGuard {
    file: File,
    beneath: Beneath,
}

impl Guard for LocalGuard {
    /// Whoever comes after another `config` was put there locks that one, and is not seen from here.
    fn is_held(&self) -> bool {
        let there = open(&self.beneath).and_then(|there| identity(&there));
        there.is_ok_and(|there| identity(&self.file).is_ok_and(|held| held == there))
    }
}

/// Takes the lock.
pub(super) fn take(
    beneath: &Beneath,
    mode: LockMode,
    patience: Duration,
    waiting: &mut dyn FnMut(&str),
) -> io::Result<LocalGuard> {
    let taken = take_file(&|| open(beneath), mode, patience, waiting);
    let file = taken.map_err(|error| {
        match error.raw_os_error() == Some(libc::EBADF) {
            // It could be opened to be read only: why is what the user should know.
            true => beneath.file(Path::new(CONFIG), OFlags::RDWR).err().unwrap_or(error),
            false => error,
        }
    })?;
    Ok(LocalGuard { file, beneath: beneath.again()? })
}

/// The same of the file that `open` opens, whichever it is at that moment.
fn take_file(
    open: &dyn Fn() -> io::Result<File>,
    mode: LockMode,
    patience: Duration,
    waiting: &mut dyn FnMut(&str),
) -> io::Result<File> {
    let started = Instant::now();
    let mut pause = PAUSES.0;
    let mut told = false;
    let mut looks = 0;
    loop {
        let file = open()?;
        let tried = match mode {
            LockMode::Exclusive => file.try_lock(),
            LockMode::Session(_) | LockMode::Check | LockMode::Prune => file.try_lock_shared(),
        };
        let is_held = match tried {
            // Whoever put another file there may hold a lock on that one.
            Ok(()) if identity(&file)? == identity(&open()?)? => match take_byte(&file, mode)? {
                true => return Ok(file),
                false => true,
            },
            // The lock is free, only not there any more.
            Ok(()) => false,
            Err(TryLockError::WouldBlock) => true,
            Err(TryLockError::Error(error)) => return Err(error),
        };
        let left = patience.saturating_sub(started.elapsed());
        if left.is_zero() {
            match is_held {
                true => return Err(busy(&file, mode, patience)),
                // Whoever makes a new one is done with that at once.
                false if looks < LOOKS_MAX => looks += 1,
                false => return Err(io::Error::other("it is another file whenever it is opened")),
            }
        }
        if is_held && !told {
            told = true;
            waiting(&holder(&file, mode));
        }
        std::thread::sleep(pause.min(left));
        pause = (pause * 2).min(PAUSES.1);
    }
}

/// Takes the byte that goes with the mode; whether it was free.
fn take_byte(file: &File, mode: LockMode) -> io::Result<bool> {
    let (kind, byte) = match mode {
        LockMode::Exclusive => return Ok(true),
        LockMode::Prune => (libc::F_WRLCK, 0),
        LockMode::Check => (libc::F_RDLCK, 0),
        LockMode::Session(epoch) => (libc::F_RDLCK, session_byte(epoch)?),
    };
    match fcntl(file, FcntlArg::F_OFD_SETLK(&bytes(kind, byte, 1))) {
        Ok(_) => Ok(true),
        // Either says that somebody else holds it (fcntl(2)); SMB mounts say the second.
        Err(Errno::EAGAIN | Errno::EACCES) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Whether there are sessions of these epochs, other than of this open file.
pub(super) fn has_sessions(beneath: &Beneath, epochs: RangeInclusive<u64>) -> io::Result<bool> {
    let (first, last) = (session_byte(*epochs.start())?, session_byte(*epochs.end())?);
    let mut held = bytes(libc::F_WRLCK, first, last.saturating_sub(first).saturating_add(1));
    match open(beneath) {
        // There is no repository yet, or no more.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        config => fcntl(config?, FcntlArg::F_OFD_GETLK(&mut held))?,
    };
    Ok(i32::from(held.l_type) != libc::F_UNLCK)
}

fn session_byte(epoch: u64) -> io::Result<i64> {
    let byte = i64::try_from(epoch).ok().and_then(|epoch| epoch.checked_add(1));
    byte.ok_or_else(|| io::ErrorKind::InvalidInput.into())
}

fn bytes(kind: i32, start: i64, len: i64) -> libc::flock {
    // The kinds of locks are 0 to 2.
    let (l_type, l_whence) = (kind as libc::c_short, libc::SEEK_SET as libc::c_short);
    libc::flock { l_type, l_whence, l_start: start, l_len: len, l_pid: 0 }
}

/// For writing if that may be: some network file systems give an exclusive lock only then.
fn open(beneath: &Beneath) -> io::Result<File> {
    let path = Path::new(CONFIG);
    match beneath.file(path, OFlags::RDWR) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => beneath.file(path, OFlags::RDONLY),
        result => result,
    }
}

fn busy(file: &File, mode: LockMode, patience: Duration) -> io::Error {
    let since = match patience.as_secs() {
        0 => String::new(),
        seconds => format!(", still after {seconds} s"),
    };
    io::Error::new(io::ErrorKind::WouldBlock, format!("{} holds it{since}", holder(file, mode)))
}

/// Who holds a lock on the file, as far as the kernel tells: not when that is on another host or in another container.
fn holder(file: &File, mode: LockMode) -> String {
    let locks = std::fs::read_to_string("/proc/locks").unwrap_or_default();
    let mut pids = identity(file).map_or(Vec::new(), |identity| pids(&locks, identity));
    pids.retain(|pid| *pid != std::process::id());
    pids.sort_unstable();
    pids.dedup();
    pids.truncate(NAMED_MAX);
    let shown: Vec<String> = pids.iter().map(u32::to_string).collect();
    let shown = shown.join(", ");
    match (pids.as_slice(), mode) {
        ([], _) => "another program".to_owned(),
        ([_], _) => format!("another program (pid {shown})"),
        // The others only read or add: whose byte it is the kernel does not tell.
        (_, LockMode::Check | LockMode::Prune) => {
            format!("a program that checks or deletes (one of pids {shown})")
        }
        _ => format!("one of other programs (pids {shown})"),
    }
}

/// The processes that hold a lock on the file of this device and inode, from lines as
/// `1: FLOCK  ADVISORY  WRITE 1234 08:01:131 0 EOF`; those that wait have `->` after the number.
fn pids(locks: &str, (device, inode): Identity) -> Vec<u32> {
    let wanted =
        format!("{:02x}:{:02x}:{inode}", rustix::fs::major(device), rustix::fs::minor(device));
    let pid = |line: &str| {
        let mut fields = line.split_whitespace().skip(1);
        let (kind, pid, place) = (fields.next()?, fields.nth(2)?, fields.next()?);
        let pid = pid.parse().ok().filter(|pid| *pid > 0)?;
        (kind == "FLOCK" && place == wanted).then_some(pid)
    };
    locks.lines().filter_map(pid).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// gc and repair write `config` anew: who waits for the lock of the old one must not get in beside who holds the new.
    #[test]
    fn a_file_that_is_exchanged_while_somebody_waits_is_locked_anew() {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("config");
        std::fs::write(&config, "old").unwrap();
        let beneath = Beneath::open(dir.path()).unwrap();
        let wait = Duration::from_secs(60);
        let mut never = |_: &str| unreachable!("nobody holds it");
        let mut held = Some(take(&beneath, LockMode::Exclusive, wait, &mut never).unwrap());
        let mut exchange = |_: &str| {
            std::fs::write(dir.path().join("new"), "new").unwrap();
            std::fs::rename(dir.path().join("new"), &config).unwrap();
            held = None;
        };
        let got = take(&beneath, LockMode::Exclusive, wait, &mut exchange).unwrap();
        let there = File::open(&config).unwrap();
        assert_eq!(identity(&got.file).unwrap(), identity(&there).unwrap());
        assert!(got.is_held());
        let second = take(&beneath, LockMode::Session(0), Duration::ZERO, &mut |_| {});
        assert_eq!(second.err().map(|error| error.kind()), Some(io::ErrorKind::WouldBlock));
    }

    /// Whoever owns the directory does that between any two looks: nobody is let in, and nobody waits for ever.
    #[test]
    fn a_file_that_is_another_one_at_every_look_is_given_up() {
        for patience in [Duration::ZERO, Duration::from_millis(50)] {
            // Each of them open until the end, so that none has the number of another.
            let looks = std::cell::RefCell::new(Vec::new());
            let open = || {
                let file = tempfile::tempfile()?;
                looks.borrow_mut().push(file.try_clone()?);
                Ok(file)
            };
            let mut never = |_: &str| unreachable!("nobody holds it");
            let taken = take_file(&open, LockMode::Exclusive, patience, &mut never);
            let error = taken.expect_err("it is never the same file");
            assert_eq!(error.to_string(), "it is another file whenever it is opened");
            assert!(looks.borrow().len() >= 2 * LOOKS_MAX as usize);
        }
    }

    #[test]
    fn the_holders_of_a_file_are_found_and_nobody_else() {
        let locks = "1: FLOCK  ADVISORY  WRITE 1234 08:01:131 0 EOF\n\
                     1: -> FLOCK  ADVISORY  WRITE 1235 08:01:131 0 EOF\n\
                     2: POSIX  ADVISORY  WRITE 1236 08:01:131 0 EOF\n\
                     3: FLOCK  ADVISORY  READ 1237 08:01:132 0 EOF\n\
                     4: FLOCK  ADVISORY  READ 0 08:01:131 0 EOF\n\
                     5: FLOCK  ADVISORY  READ 1238 08:01:131 0 EOF\n\
                     6: FLOCK\n\n";
        let device = rustix::fs::makedev(8, 1);
        assert_eq!(pids(locks, (device, 131)), [1234, 1238]);
        assert_eq!(pids(locks, (device, 133)), []);
    }
}

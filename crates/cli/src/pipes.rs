//! Data that comes in order: standard input and output, and what a command prints.
//!
//! In: the descriptors this process was started with; a line for the shell. Out: readers and writers without the buffers
//! that std puts in front. Promises: what is closed or a terminal is refused before anything is done with it; what a command
//! prints ends only if the command went well, and when nobody reads on, it and what it started are ended as far as we may.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, IsTerminal, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use rustix::fs::{FileType, OFlags, fcntl_getfl, fstat, major, minor};
use rustix::process::{Pid, Signal, kill_process};

use zeroize::Zeroizing;

use crate::failure::Failure;
use crate::key_file::read_secret;

/// What a command that is run has no business with.
const SECRETS: [&str; 4] =
    ["GARRET_PASSPHRASE", "GARRET_PASSCOMMAND", "GARRET_NEW_PASSPHRASE", "ATTIC_PASSPHRASE"];

/// Has a command that is to be run know none of our passphrases: it, and what it starts, could tell them.
pub fn keep_secrets(command: &mut Command) {
    for name in SECRETS {
        command.env_remove(name);
    }
}

/// Why a descriptor is no place for data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// Somebody sits there.
    Terminal,
    /// It was closed when the program started.
    Closed,
}

/// Standard input, to be read to its end.
///
/// # Errors
/// The inner one says why it must not be read.
pub fn input() -> Result<Result<File, Unfit>, Failure> {
    fit("standard input", io::stdin().is_terminal(), io::stdin().as_fd())
}

/// Standard output, for data: every byte that was not taken is an error.
///
/// # Errors
/// The inner one says why it must not be written.
pub fn output() -> Result<Result<File, Unfit>, Failure> {
    fit("standard output", io::stdout().is_terminal(), io::stdout().as_fd())
}

fn fit(name: &str, is_terminal: bool, fd: BorrowedFd<'_>) -> Result<Result<File, Unfit>, Failure> {
    if is_terminal {
        return Ok(Err(Unfit::Terminal));
    }
    match was_closed(fd) {
        Ok(true) => Ok(Err(Unfit::Closed)),
        Ok(false) => Ok(Ok(fd.try_clone_to_owned().map_err(|e| Failure::io(name, &e))?.into())),
        Err(error) => Err(Failure::io(name, &error.into())),
    }
}

/// Whether the descriptor was closed when the program started: std puts `/dev/null` there, open for both reading and
/// writing, which a shell never does.
fn was_closed(fd: BorrowedFd<'_>) -> rustix::io::Result<bool> {
    let stat = fstat(fd)?;
    let is_null = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice
        && (major(stat.st_rdev), minor(stat.st_rdev)) == (1, 3);
    Ok(is_null && fcntl_getfl(fd)?.contains(OFlags::RDWR))
}

/// The shell that is told to fail when any program of a pipe does.
const BASH: &str = "/bin/bash";
/// The shell where there is no such.
const SH: &str = "/bin/sh";

/// A line for the shell whose output is read. It is started when it is first read from, so that nothing runs for an archive
/// that cannot be made, with nothing to read and without our passphrases; what it says on stderr is seen.
pub struct Producer {
    line: OsString,
    state: State,
}

enum State {
    Waiting,
    Running(Child, ChildStdout),
    Ended,
}

impl Producer {
    /// Runs nothing yet.
    pub fn new(line: OsString) -> Self {
        Producer { line, state: State::Waiting }
    }

    fn start(&self) -> io::Result<(Child, ChildStdout)> {
        // Only with `pipefail` does a pipe fail when its first program does, and not every sh knows that.
        let (shell, flags) = match Path::new(BASH).exists() {
            true => (BASH, &["-o", "pipefail", "-c"][..]),
            false => (SH, &["-c"][..]),
        };
        let mut command = Command::new(shell);
        command.args(flags).arg(&self.line).stdin(Stdio::null()).stdout(Stdio::piped());
        keep_secrets(&mut command);
        let mut child = command.spawn().map_err(|e| self.failed(&format!("{shell}: {e}")))?;
        match child.stdout.take() {
            Some(stdout) => Ok((child, stdout)),
            None => Err(self.failed("it has no output")),
        }
    }

    fn failed(&self, why: &str) -> io::Error {
        io::Error::other(CommandFailed { line: self.line.clone(), why: why.to_owned() })
    }
}

impl Read for Producer {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if matches!(self.state, State::Waiting) {
            let (child, stdout) = self.start()?;
            self.state = State::Running(child, stdout);
        }
        let State::Running(child, stdout) = &mut self.state else { return Ok(0) };
        let len = stdout.read(buffer)?;
        if len > 0 || buffer.is_empty() {
            return Ok(len);
        }
        let status = child.wait()?;
        self.state = State::Ended;
        match status.success() {
            true => Ok(0),
            false => Err(self.failed(&ending(status))),
        }
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        if let State::Running(mut child, stdout) = std::mem::replace(&mut self.state, State::Ended)
        {
            // First of all: one that may not be killed, another user's, ends when nobody reads what it writes.
            drop(stdout);
            end_all(&child);
            let _gone = child.wait();
        }
    }
}

/// All that a command prints, at most `len_max` bytes, if it goes well and within `limit`: run by sh, with nothing to read
/// and without our passphrases; what it says on stderr is seen.
///
/// # Errors
/// What went wrong, without the command.
pub(crate) fn output_of(
    line: &OsStr,
    len_max: usize,
    limit: Duration,
) -> Result<Zeroizing<Vec<u8>>, String> {
    let begun = Instant::now();
    let mut command = Command::new(SH);
    command.arg("-c").arg(line).stdin(Stdio::null()).stdout(Stdio::piped());
    keep_secrets(&mut command);
    let mut child = command.spawn().map_err(|error| format!("{SH}: {error}"))?;
    let stdout = child.stdout.take().ok_or("it has no output")?;
    let (give, take) = channel();
    // It is closed when it was read, before we wait: who prints too much ends then. The thread may be left behind, with
    // what a command started that has left its family and holds the pipe.
    std::thread::spawn(move || give.send(read_secret(stdout, len_max)));
    let printed = take.recv_timeout(limit).ok();
    let status = match &printed {
        Some(_) => wait(&mut child, begun, limit, || false).map_err(|error| error.to_string())?,
        None => None,
    };
    if status.is_none() {
        end_all(&child);
        let _gone = child.wait();
    }
    match (printed, status) {
        (Some(Ok(printed)), Some(status)) if status.success() => Ok(printed),
        (Some(Err(error)), _) => Err(error.to_string()),
        (_, Some(status)) => Err(ending(status)),
        (_, None) => Err(format!("not done within {} s and ended", limit.as_secs())),
    }
}

/// How it ended; `None` if it did not within `limit`, or before nobody wants to wait any more.
pub(crate) fn wait(
    child: &mut Child,
    begun: Instant,
    limit: Duration,
    is_enough: impl Fn() -> bool,
) -> io::Result<Option<ExitStatus>> {
    let mut pause = Duration::from_millis(1);
    loop {
        let ended = child.try_wait()?;
        let left = limit.saturating_sub(begun.elapsed());
        if ended.is_some() || left.is_zero() || is_enough() {
            return Ok(ended);
        }
        std::thread::sleep(pause.min(left));
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}

/// How a process ended that did not end well.
pub(crate) fn ending(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => status.to_string(),
    }
}

/// Ends a process and what it started and still knows as its own. It cannot be done by group: the command stays in ours,
/// where it may ask the terminal and an interrupt reaches it. Each is stopped before its children are looked up, and they are
/// looked up until there are no new ones, because a signal takes its time; so no number comes to stand for another process.
fn end_all(child: &Child) {
    let mut family: Vec<Pid> =
        i32::try_from(child.id()).ok().and_then(Pid::from_raw).into_iter().collect();
    loop {
        for pid in &family {
            let _gone = kill_process(*pid, Signal::STOP);
        }
        let mut new: Vec<Pid> = family.iter().copied().flat_map(children).collect();
        new.retain(|pid| !family.contains(pid));
        if new.is_empty() {
            break;
        }
        family.extend(new);
    }
    for pid in family {
        let _gone = kill_process(pid, Signal::KILL);
    }
}

/// The children of a process, of all its threads.
fn children(pid: Pid) -> Vec<Pid> {
    let threads = fs::read_dir(format!("/proc/{}/task", pid.as_raw_nonzero()));
    let listed =
        threads.into_iter().flatten().flatten().map(|thread| thread.path().join("children"));
    let text: String = listed.filter_map(|path| fs::read_to_string(path).ok()).collect();
    text.split_whitespace().filter_map(|word| Pid::from_raw(word.parse().ok()?)).collect()
}

/// A command went wrong whose output was read.
#[derive(Debug)]
struct CommandFailed {
    line: OsString,
    why: String,
}

impl std::fmt::Display for CommandFailed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let line = self.line.to_string_lossy();
        write!(f, "the command \"{line}\" failed ({}): no archive was made", self.why)
    }
}

impl std::error::Error for CommandFailed {}

/// What ends a backup: in words about the command whose output is stored, where that is what went wrong.
pub fn producer_failure(line: Option<&OsStr>, error: garret_core::Error) -> Failure {
    match (&error, line) {
        (garret_core::Error::Source(source), _) => {
            let inner = source.io_error().get_ref().and_then(|inner| inner.downcast_ref());
            let text = inner.map(CommandFailed::to_string);
            text.map_or_else(|| error.into(), Failure::Fatal)
        }
        (garret_core::Error::EmptyStream(_), Some(line)) => {
            let output = format!("the output of \"{}\"", line.to_string_lossy());
            garret_core::Error::EmptyStream(output).into()
        }
        _ => error.into(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    fn output_of(line: &str) -> Result<Vec<u8>, String> {
        let mut bytes = Vec::new();
        let read = Producer::new(line.into()).read_to_end(&mut bytes);
        read.map(|_| bytes).map_err(|error| error.to_string())
    }

    #[test]
    fn output_ends_well_only_if_the_command_does() {
        assert_eq!(output_of("printf abc; printf d"), Ok(b"abcd".to_vec()));
        assert_eq!(output_of("true"), Ok(Vec::new()));
        // Its input has an end.
        assert_eq!(output_of("cat"), Ok(Vec::new()));
        for (line, why) in [
            ("printf abc; exit 3", "exit status 3"),
            ("false", "exit status 1"),
            ("false | cat", "exit status 1"),
            ("kill -9 $$", "signal 9"),
            ("./is-not-there 2>/dev/null", "exit status 127"),
        ] {
            let expected = format!("the command \"{line}\" failed ({why}): no archive was made");
            assert_eq!(output_of(line), Err(expected));
        }
    }

    #[test]
    fn what_a_command_prints_is_waited_for_within_limits() {
        let of = |line: &str, limit| {
            let printed = super::output_of(line.as_ref(), 8, Duration::from_millis(limit));
            printed.map(|printed| printed.to_vec())
        };
        assert_eq!(of("printf secret", 60_000), Ok(b"secret".to_vec()));
        assert_eq!(of("printf secret; exit 3", 60_000), Err("exit status 3".to_owned()));
        assert_eq!(of("yes", 60_000), Err("it is longer than 8 bytes".to_owned()));
        let late = Err("not done within 0 s and ended".to_owned());
        let began = Instant::now();
        for hangs in ["sleep 600", "printf secret; sleep 600", "printf x; exec >&-; sleep 600"] {
            assert_eq!(of(hangs, 50), late, "{hangs}");
        }
        // What has left its family and holds the pipe.
        assert_eq!(of("(setsid sleep 30 &) ; printf x", 50), late);
        assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    }

    #[test]
    fn reading_behind_the_end_gives_the_end_again() {
        let mut producer = Producer::new("printf x".into());
        let mut buffer = [0; 8];
        let lens = [0; 4].map(|_: i32| producer.read(&mut buffer).unwrap());
        assert_eq!(lens, [1, 0, 0, 0]);
    }

    #[test]
    fn nothing_that_it_started_is_left_when_nobody_reads_on() {
        let line = "sh -c 'echo $$; sleep 600 & echo $!; sleep 601 | cat; true' & echo $!; wait";
        let mut producer = Producer::new(line.into());
        let mut text = String::new();
        while text.lines().count() < 3 || !text.ends_with('\n') {
            let mut buffer = [0; 64];
            let len = producer.read(&mut buffer).unwrap();
            text += std::str::from_utf8(&buffer[..len]).unwrap();
        }
        drop(producer);
        // What was killed is gone as soon as it is its turn; as what has no parent any more it may stay a zombie.
        let lives = |pid: &str| {
            let state = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            !state.is_empty() && !state.contains(") Z ")
        };
        let began = Instant::now();
        while text.split_whitespace().any(lives) {
            assert!(began.elapsed() < Duration::from_secs(60), "left behind: {text}");
            std::thread::yield_now();
        }
    }
}

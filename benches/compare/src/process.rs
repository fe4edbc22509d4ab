//! One measured step of one tool: its processes, one after the other, each started afresh.
//!
//! In: a program, its calls, what it finds in its environment. Out: [`Measured`], or the last line it said when it
//! failed. Promises: nothing is started through a shell; nothing of the caller's environment but PATH is passed on;
//! after a signal no further process is started, and a second signal ends the program at once.
//!
//! Time runs from the start of a process to its end. CPU time and memory are those of the process and of the children it
//! waited for. The kernel counts our own peak memory into a child's, so ours is kept small, and `idle_peak` says it.

use std::ffi::{OsStr, OsString};
use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::time::Instant;
use std::{fs, io, process, thread};

use rustix::process::{Pid, Signal, kill_process};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use wait4::Wait4;

use crate::Result;

static STOPPED: AtomicBool = AtomicBool::new(false);
static RUNNING: AtomicI32 = AtomicI32::new(0);

/// Said by everything that ends because of a signal.
pub(crate) const STOPPED_TEXT: &str = "stopped by a signal";

/// One process: arguments, what it reads and writes, where it works.
#[derive(Debug, Default)]
pub(crate) struct Call {
    arguments: Vec<OsString>,
    stdin: Option<PathBuf>,
    stdout: Option<PathBuf>,
    directory: Option<PathBuf>,
}

impl Call {
    pub(crate) fn new<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Self {
        let arguments = arguments.into_iter().map(|a| a.as_ref().to_owned()).collect();
        Self { arguments, ..Self::default() }
    }

    pub(crate) fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.arguments.push(argument.as_ref().to_owned());
        self
    }

    pub(crate) fn stdin(mut self, path: PathBuf) -> Self {
        self.stdin = Some(path);
        self
    }

    pub(crate) fn stdout(mut self, path: PathBuf) -> Self {
        self.stdout = Some(path);
        self
    }

    pub(crate) fn directory(mut self, path: &Path) -> Self {
        self.directory = Some(path.to_owned());
        self
    }
}

/// What the calls of a step run with.
#[derive(Debug)]
pub(crate) struct Surroundings {
    pub(crate) program: PathBuf,
    pub(crate) environment: Vec<(&'static str, OsString)>,
    /// Where calls work that name no directory.
    pub(crate) directory: PathBuf,
    /// Gets what is said on standard output and standard error.
    pub(crate) log: PathBuf,
}

/// What a step took, over all its processes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Measured {
    pub(crate) seconds: f64,
    pub(crate) cpu_seconds: f64,
    pub(crate) peak_bytes: u64,
}

/// Runs all calls in order; an error is the last line of the log.
pub(crate) fn measure(surroundings: &Surroundings, calls: &[Call]) -> Result<Measured> {
    let mut sum = Measured::default();
    fs::write(&surroundings.log, "")?;
    for call in calls {
        let one = measure_one(surroundings, call)?;
        sum.seconds += one.seconds;
        sum.cpu_seconds += one.cpu_seconds;
        sum.peak_bytes = sum.peak_bytes.max(one.peak_bytes);
    }
    Ok(sum)
}

fn measure_one(surroundings: &Surroundings, call: &Call) -> Result<Measured> {
    check_stopped()?;
    let log = OpenOptions::new().append(true).open(&surroundings.log)?;
    let mut command = Command::new(&surroundings.program);
    command
        .args(&call.arguments)
        .current_dir(call.directory.as_deref().unwrap_or(&surroundings.directory));
    command.env_clear().envs(surroundings.environment.iter().cloned());
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.stdin(match &call.stdin {
        Some(path) => Stdio::from(File::open(path)?),
        None => Stdio::null(),
    });
    command.stdout(match &call.stdout {
        Some(path) => Stdio::from(File::create(path)?),
        None => Stdio::from(log.try_clone()?),
    });
    command.stderr(log);

    let started = Instant::now();
    let child =
        command.spawn().map_err(|error| format!("{}: {error}", surroundings.program.display()))?;
    RUNNING.store(child.id().cast_signed(), Ordering::SeqCst);
    if STOPPED.load(Ordering::SeqCst) {
        end_running();
    }
    let used = child.wait4();
    let seconds = started.elapsed().as_secs_f64();
    RUNNING.store(0, Ordering::SeqCst);
    check_stopped()?;
    let used = used?;
    if !used.status.success() {
        let said = last_line(&fs::read(&surroundings.log)?);
        return Err(format!("{}: {said}", used.status).into());
    }
    let cpu_seconds = (used.rusage.utime + used.rusage.stime).as_secs_f64();
    Ok(Measured { seconds, cpu_seconds, peak_bytes: used.rusage.maxrss })
}

/// The last line that says something.
fn last_line(log: &[u8]) -> String {
    let text = String::from_utf8_lossy(log);
    let line = text.lines().rev().map(str::trim).find(|line| !line.is_empty());
    line.unwrap_or("it said nothing").to_owned()
}

/// What a process that does nothing seems to take: what is ours in every peak.
pub(crate) fn idle_peak(directory: &Path) -> Result<u64> {
    let surroundings = Surroundings {
        program: "true".into(),
        environment: Vec::new(),
        directory: directory.to_owned(),
        log: directory.join("true.log"),
    };
    Ok(measure(&surroundings, &[Call::default()])?.peak_bytes)
}

/// An error once a signal has come.
pub(crate) fn check_stopped() -> Result<()> {
    if STOPPED.load(Ordering::SeqCst) { Err(STOPPED_TEXT.into()) } else { Ok(()) }
}

/// From here on a signal ends the running process and makes the next step fail, so that the work directory is removed.
pub(crate) fn watch_signals() -> io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    thread::spawn(move || {
        for _ in signals.forever() {
            if STOPPED.swap(true, Ordering::SeqCst) {
                process::exit(130);
            }
            end_running();
        }
    });
    Ok(())
}

fn end_running() {
    if let Some(pid) = Pid::from_raw(RUNNING.load(Ordering::SeqCst)) {
        // It may have ended by itself meanwhile.
        let _ended = kill_process(pid, Signal::TERM);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(directory: &Path) -> Surroundings {
        Surroundings {
            program: "sh".into(),
            environment: vec![("WORD", "said".into())],
            directory: directory.to_owned(),
            log: directory.join("log"),
        }
    }

    #[test]
    fn calls_add_up_and_see_only_what_they_are_given() {
        let directory = tempfile::tempdir().unwrap();
        let out = directory.path().join("out");
        let calls = [
            Call::new(["-c", "sleep 0.05"]),
            Call::new(["-c", "echo $WORD $HOME"]).stdout(out.clone()),
        ];
        let measured = measure(&shell(directory.path()), &calls).unwrap();
        assert!(measured.seconds >= 0.05 && measured.peak_bytes > 0);
        assert_eq!(fs::read_to_string(out).unwrap(), "said\n");
    }

    #[test]
    fn a_failure_tells_the_last_line() {
        let directory = tempfile::tempdir().unwrap();
        let calls = [Call::new(["-c", "echo first; echo last >&2; echo; exit 3"])];
        let error = measure(&shell(directory.path()), &calls).unwrap_err().to_string();
        assert_eq!(error, "exit status: 3: last");
    }
}

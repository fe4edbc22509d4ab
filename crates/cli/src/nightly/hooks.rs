//! Lines for the shell that a job runs between its steps.
//!
//! In: a line, what it is told, how long it may take. Out: that it went well, or why not and what it said. Promises: one
//! that takes too long is ended, with all that it started in its group; it has nothing to read and none of our
//! passphrases; what it says is heard only if it fails.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::pipes::{ending as how, keep_secrets, wait};
use crate::signals::Ending;

const SH: &str = "/bin/sh";

/// Of what a hook says, how many bytes are heard, from the end.
const HEARD_LEN: u64 = 4096;

/// Time between being asked to end and being ended.
const GRACE: Duration = Duration::from_secs(5);

/// What hooks know.
#[derive(Clone, Debug, Default)]
pub(super) struct Told {
    pub(super) job: String,
    pub(super) repository: String,
    /// The archive that was made; empty if there is none.
    pub(super) archive: String,
    /// What went wrong first; empty if nothing did.
    pub(super) error: String,
}

/// Why a hook did not go well.
#[derive(Debug)]
pub(super) struct Unwell {
    pub(super) why: String,
    /// The last lines that it said.
    pub(super) said: Vec<String>,
    /// Whether a signal to us ended it.
    pub(super) is_signalled: bool,
    /// Whether it was begun at all.
    pub(super) has_run: bool,
}

/// A line, and how long it may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hook<'a> {
    pub(super) line: &'a str,
    pub(super) limit: Duration,
    /// What to do if that is not enough.
    pub(super) if_late: &'static str,
    /// Whether it is asked to end before it is ended.
    pub(super) gently: bool,
}

impl Hook<'_> {
    /// Runs it to its end; a signal that comes meanwhile ends it if `ending` is watched.
    ///
    /// # Errors
    /// It failed, took too long, or was ended.
    pub(super) fn run(&self, told: &Told, ending: Option<&Ending>) -> Result<(), Unwell> {
        let quiet = |error: io::Error| Unwell {
            why: error.to_string(),
            said: Vec::new(),
            is_signalled: false,
            has_run: false,
        };
        // A file and no pipe: what a hook leaves running may hold it open without holding us up.
        let heard =
            tempfile::tempfile().and_then(|file| Ok((file.try_clone()?, file.try_clone()?, file)));
        let mut command = Command::new(SH);
        command.args(["-c", self.line]).stdin(Stdio::null());
        let heard = match heard {
            Ok((out, err, heard)) => {
                command.stdout(out).stderr(err);
                Ok(heard)
            }
            // It is run all the same: a guest may stand still.
            Err(error) => {
                command.stdout(Stdio::null()).stderr(Stdio::null());
                Err(format!("what it said is lost: {}: {error}", std::env::temp_dir().display()))
            }
        };
        tell(&mut command, told);
        let mut child = command.process_group(0).spawn().map_err(quiet)?;
        let ran = |error| Unwell { has_run: true, ..quiet(error) };
        let ended = self.wait(&mut child, ending).map_err(ran)?;
        let is_signalled = matches!(ended, Ended::Signalled);
        let why = match ended {
            Ended::Itself(status) if status.success() => return Ok(()),
            Ended::Itself(status) => how(status),
            Ended::Late => {
                format!("not done within {} s and ended; {}", self.limit.as_secs(), self.if_late)
            }
            Ended::Signalled => "ended by a signal".to_owned(),
        };
        let said = match heard {
            Ok(mut heard) => last_lines(&mut heard).unwrap_or_default(),
            Err(lost) => vec![lost],
        };
        Err(Unwell { why, said, is_signalled, has_run: true })
    }

    fn wait(&self, child: &mut Child, ending: Option<&Ending>) -> io::Result<Ended> {
        let is_signalled = || ending.is_some_and(|ending| ending.signal().is_some());
        if let Some(status) = wait(child, Instant::now(), self.limit, is_signalled)? {
            return Ok(Ended::Itself(status));
        }
        let ended = if is_signalled() { Ended::Signalled } else { Ended::Late };
        self.end(child)?;
        Ok(ended)
    }

    /// Ends it and its group.
    fn end(&self, child: &mut Child) -> io::Result<()> {
        let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let signal = |signal| group.map(|group| kill_process_group(group, signal));
        let asked = Instant::now();
        if self.gently {
            let _gone = signal(Signal::TERM);
            while asked.elapsed() < GRACE && child.try_wait()?.is_none() {
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        let _gone = signal(Signal::KILL);
        child.wait()?;
        Ok(())
    }
}

enum Ended {
    Itself(ExitStatus),
    Late,
    Signalled,
}

/// Gives a command what hooks know, and takes from it what they have no business with.
fn tell(command: &mut Command, told: &Told) {
    keep_secrets(command);
    let Told { job, repository, archive, error } = told;
    command.env("GARRET_JOB", job).env("GARRET_REPO", repository);
    command.env("GARRET_ARCHIVE", archive).env("GARRET_ERROR", error);
}

fn last_lines(heard: &mut File) -> io::Result<Vec<String>> {
    let len = heard.metadata()?.len();
    heard.seek(SeekFrom::Start(len.saturating_sub(HEARD_LEN)))?;
    let mut bytes = Vec::new();
    heard.take(HEARD_LEN).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let skipped = usize::from(len > HEARD_LEN);
    let lines = text.lines().skip(skipped).filter(|line| !line.trim().is_empty());
    Ok(lines.map(str::to_owned).collect())
}

/// What waits for a word of ours, and does without one what is to be done when we are no more.
const GUARD: &str = "trap '' HUP INT TERM
read -r word
test \"$word\" = done || exec sh -c \"$1\"";

/// A line that is run if this program ends before it says that there is no need, however it ends: also if it is killed.
#[derive(Debug)]
pub(super) struct Guard {
    child: Child,
    word: ChildStdin,
}

impl Guard {
    /// From now on it is.
    ///
    /// # Errors
    /// There is no shell.
    pub(super) fn over(line: &str, told: &Told) -> io::Result<Self> {
        let mut command = Command::new(SH);
        command.args(["-c", GUARD, "garret", line]).stdin(Stdio::piped()).stdout(Stdio::null());
        tell(&mut command, told);
        let mut child = command.process_group(0).spawn()?;
        let word = child.stdin.take().ok_or(io::ErrorKind::BrokenPipe)?;
        Ok(Guard { child, word })
    }

    /// There is no need.
    pub(super) fn release(&mut self) {
        // One that is gone runs nothing.
        let _gone = self.word.write_all(b"done\n");
        let _gone = self.child.wait();
    }

    /// There is: it is run now, as if this program had ended. Whether it went well within this time.
    pub(super) fn act(self, limit: Duration) -> bool {
        let Guard { mut child, word } = self;
        drop(word);
        let begun = Instant::now();
        while begun.elapsed() < limit {
            match child.try_wait() {
                Ok(None) => std::thread::sleep(Duration::from_millis(10)),
                ended => {
                    return ended.is_ok_and(|status| status.is_some_and(|status| status.success()));
                }
            }
        }
        false
    }
}

/// What the shell does in our place: it cannot be stopped by a signal, and each line not for longer than its limit.
const LAST: &str = "trap '' HUP INT TERM
command -v timeout > /dev/null || timeout() { shift 3; \"$@\"; }
code=$1 limit=$2
shift 2
for line; do timeout -s KILL \"$limit\" sh -c \"$line\" < /dev/null; done
exit \"$code\"";

/// Becomes a shell that runs these lines and ends with `code`: nothing else of this program goes on, whatever its threads are
/// at. `turn` is what the shell holds until then, and its lines do not: one that stays in the background would keep it.
pub(super) fn hand_over(
    lines: &[&str],
    limit: Duration,
    told: &Told,
    code: u8,
    turn: Option<File>,
) -> io::Error {
    let mut command = Command::new(SH);
    command
        .args(["-c", LAST, "garret"])
        .args([code.to_string(), limit.as_secs().max(1).to_string()]);
    command.args(lines).stdin(turn.map_or_else(Stdio::null, Stdio::from));
    tell(&mut command, told);
    command.exec()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(line: &str, limit: u64) -> Result<(), Unwell> {
        let told = Told { job: "app".into(), error: "e r".into(), ..Told::default() };
        let limit = Duration::from_secs(limit);
        Hook { line, limit, if_late: "", gently: true }.run(&told, None)
    }

    #[test]
    fn a_hook_is_heard_only_if_it_fails() {
        run("echo much; test \"$GARRET_JOB$GARRET_ARCHIVE$GARRET_ERROR\" = 'appe r'", 60).unwrap();
        let unwell = run("echo one; echo; echo two >&2; exit 3", 60).unwrap_err();
        assert_eq!(
            (unwell.why.as_str(), unwell.said),
            ("exit status 3", vec!["one".into(), "two".into()])
        );
        let unwell = run("seq 100000; false", 60).unwrap_err();
        assert_eq!(unwell.said.last().unwrap(), "100000");
        assert!(unwell.said.len() < 1000 && unwell.said[0].len() == 5, "{:?}", unwell.said[0]);
    }

    #[test]
    fn what_takes_too_long_is_ended_with_what_it_started() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("pid").display().to_string();
        let begun = Instant::now();
        let unwell = run(&format!("trap : TERM; sleep 600 & echo $! > {path}; wait; wait"), 5);
        assert!(unwell.unwrap_err().why.starts_with("not done within 5 s"));
        assert!(begun.elapsed() < Duration::from_secs(60));
        let pid = std::fs::read_to_string(path).unwrap();
        let stat =
            std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
        assert!(stat.is_empty() || stat.contains(") Z "), "{stat}");
    }

    #[test]
    fn a_guard_acts_when_it_is_let_go_and_not_when_it_is_released() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("here");
        let line = format!("echo >> {}", path.display());
        let guard = || Guard::over(&line, &Told::default()).unwrap();
        guard().release();
        assert!(!path.exists());
        assert!(guard().act(Duration::from_secs(60)) && path.exists());
        assert!(!Guard::over("exit 3", &Told::default()).unwrap().act(Duration::from_secs(60)));
    }

    #[test]
    fn what_a_hook_leaves_running_holds_nothing_up() {
        let begun = Instant::now();
        run("sleep 30 &", 20).unwrap();
        assert!(begun.elapsed() < Duration::from_secs(20));
    }
}

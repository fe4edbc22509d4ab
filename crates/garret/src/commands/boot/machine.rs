//! A running machine, and how its disk moves to a file while it runs.
//!
//! In: what starts qemu. Out: nothing, when it has ended. Promises: the file that a disk is restored to has its name when all
//! of the disk is in it; until then all that the guest wrote is in the overlay, from which the same command goes on.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

use garret_cli::failure::Failure;
use garret_cli::pipes::keep_secrets;
use garret_cli::signals::Ending;
use garret_cli::ui::Ui;
use garret_core::Progress;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::overlay::{Overlay, absolute, behind, format_of, make};
use crate::qmp::Qmp;

/// How often it is looked for a signal, or for the end of the machine.
pub(super) const LOOK_TIME: Duration = Duration::from_millis(100);

/// Where a disk is to move, while the machine runs.
#[derive(Clone, Copy)]
pub(super) struct Way<'a> {
    pub(super) to: &'a Path,
    /// Bytes a second, at most.
    pub(super) speed: Option<u64>,
    /// Bytes of the disk.
    pub(super) len: u64,
}

/// What starts a machine.
pub(super) struct Machine {
    pub(super) program: PathBuf,
    pub(super) words: Vec<OsString>,
}

/// One that was started. It ends with what holds it.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It has ended, unless something went wrong here.
        let _ended = self.0.kill().and_then(|()| self.0.wait());
    }
}

impl Running {
    fn ended(&mut self) -> Result<Option<ExitStatus>, Failure> {
        self.0.try_wait().map_err(|error| Failure::io("qemu", &error))
    }

    fn wait(&mut self) -> Result<ExitStatus, Failure> {
        self.0.wait().map_err(|error| Failure::io("qemu", &error))
    }

    /// Who wants this program to end wants the machine to end. What the terminal sends both have.
    fn pass_on(&self, ending: &Ending) {
        let pid = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw);
        if let (Some(_), Some(pid)) = (ending.signal(), pid) {
            let _gone = kill_process(pid, Signal::TERM);
        }
    }
}

impl Machine {
    /// As one types it.
    pub(super) fn line(&self) -> String {
        let words = std::iter::once(self.program.as_os_str())
            .chain(self.words.iter().map(OsString::as_os_str));
        words.map(quoted).collect::<Vec<_>>().join(" ")
    }

    fn start(&self, more: &[OsString]) -> Result<Running, Failure> {
        let mut command = Command::new(&self.program);
        command.args(&self.words).args(more);
        keep_secrets(&mut command);
        let started = command.spawn().map(Running);
        started.map_err(|error| Failure::io(self.program.display(), &error))
    }

    /// Runs it to its end.
    pub(super) fn run(&self, ending: &Ending) -> Result<(), Failure> {
        let mut running = self.start(&[])?;
        loop {
            if let Some(status) = running.ended()? {
                return success(status);
            }
            running.pass_on(ending);
            thread::sleep(LOOK_TIME);
        }
    }

    /// The same; meanwhile its disk moves. `door` is where that is served.
    pub(super) fn run_and_move(
        &self,
        way: &Way<'_>,
        overlay: Overlay,
        door: &Path,
        ending: &Ending,
        ui: &Ui,
    ) -> Result<(), Failure> {
        let to = way.to;
        let part = absolute(&behind(to, PART))?;
        // What a run that was killed left: the overlay has what matters.
        if part.symlink_metadata().is_ok() {
            std::fs::remove_file(&part).map_err(|error| Failure::io(part.display(), &error))?;
        }
        let socket = door.with_file_name("qmp.sock");
        // In what qemu reads a comma ends a value; two are one.
        let path = socket.to_string_lossy().replace(',', ",,");
        let qmp = format!("unix:{path},server=on,wait=off");
        // A guest that ends before its disk has moved waits for it.
        let more = ["-qmp", &qmp, "-action", "shutdown=pause"].map(OsString::from);
        let begun = Instant::now();
        let unused = |overlay: &Overlay| {
            // Most often qemu did not like its options.
            let _rest = std::fs::remove_file(&part);
            if overlay.is_new() {
                let _rest = overlay.remove();
            }
        };
        let started = make(&part, format_of(to), way.len).and_then(|()| self.start(&more));
        let mut running = started.inspect_err(|_| unused(&overlay))?;
        let Some(mut qmp) = connect(&socket, &mut running)? else {
            unused(&overlay);
            return success(running.wait()?);
        };
        let state = State::Copying;
        let mut moving = Move { way: *way, part: &part, overlay, begun, state };
        if let Err(error) = moving.begin(&mut qmp) {
            moving.fail(&error.to_string(), &mut qmp, ui);
        }
        moving.watch(&mut qmp, &running, ending, ui)?;
        let status = running.wait()?;
        moving.end().and_then(|()| success(status))
    }
}

/// Speaks with a machine that was started; none if it ended first.
fn connect(socket: &Path, running: &mut Running) -> Result<Option<Qmp>, Failure> {
    loop {
        match Qmp::connect(socket) {
            Ok(qmp) => return Ok(Some(qmp)),
            Err(_) if running.ended()?.is_some() => return Ok(None),
            // It listens before it has looked at all of its options.
            Err(error) if is_gone(&error) => thread::sleep(LOOK_TIME),
            Err(error) if is_early(&error) => thread::sleep(LOOK_TIME),
            Err(error) => return Err(Failure::Fatal(format!("qemu: {error}"))),
        }
    }
}

/// A disk on its way.
struct Move<'a> {
    way: Way<'a>,
    part: &'a Path,
    overlay: Overlay,
    begun: Instant,
    state: State,
}

/// Where all of a disk is.
enum State {
    /// In the overlay.
    Copying,
    /// In both: in the file, which has its name, and in the overlay until the guest runs on the file.
    Named,
    /// In the file, on which the guest runs.
    Moved,
    /// In the overlay, and it does not move any more. Why.
    Failed(String),
}

impl Move<'_> {
    fn begin(&self, qmp: &mut Qmp) -> io::Result<()> {
        let file = json!({ "driver": "file", "filename": self.part });
        let target = json!({
            "driver": format_of(self.way.to), "node-name": TARGET, "discard": "unmap",
            "detect-zeroes": "unmap", "file": file,
        });
        qmp.command("blockdev-add", &target)?;
        // What the guest writes goes to both places at once, or a busy guest would never be done.
        let mut job = json!({
            "job-id": JOB, "device": "disk", "target": TARGET, "sync": "full", "copy-mode": "write-blocking",
        });
        if let (Some(speed), Some(job)) = (self.way.speed, job.as_object_mut()) {
            job.insert("speed".to_owned(), speed.into());
            // What is under way at once is not counted yet.
            job.insert("buf-size".to_owned(), (speed / 4).clamp(AT_ONCE_MIN, AT_ONCE_MAX).into());
        }
        qmp.command("blockdev-mirror", &job)
    }

    /// It does not move any more. What there is of the file is gone at once: the guest may need the space.
    fn fail(&mut self, why: &str, qmp: &mut Qmp, ui: &Ui) {
        let file = if matches!(self.state, State::Named) { self.way.to } else { self.part };
        // It may be ended already, or never have begun.
        let _over = qmp.command("block-job-cancel", &json!({ "device": JOB, "force": true }));
        let _over = qmp.command("blockdev-del", &json!({ "node-name": TARGET }));
        let _gone = std::fs::remove_file(file);
        self.state = State::Failed(why.to_owned());
        ui.notice(&format!(
            "note: {} is not restored: {why}; the machine goes on",
            self.way.to.display()
        ));
    }

    /// Looks after the machine until it ends; has it end when the guest has, and its disk has moved.
    fn watch(
        &mut self,
        qmp: &mut Qmp,
        running: &Running,
        ending: &Ending,
        ui: &Ui,
    ) -> Result<(), Failure> {
        let mut is_off = false;
        loop {
            if is_off && !matches!(self.state, State::Copying | State::Named) {
                // It may be gone before it has answered.
                let _gone = qmp.command("quit", &json!({}));
                return Ok(());
            }
            running.pass_on(ending);
            let event = match qmp.event() {
                Ok(Some(event)) => event,
                Ok(None) => continue,
                // It was ended from elsewhere, as by its window.
                Err(error) if is_gone(&error) => return Ok(()),
                Err(error) => return Err(Failure::Fatal(format!("qemu: {error}"))),
            };
            let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str);
            // Who has another monitor may have jobs of his own.
            let is_ours = text("/data/device") == Some(JOB);
            match text("/event").unwrap_or_default() {
                "SHUTDOWN" => is_off = true,
                "BLOCK_IO_ERROR" => ui.notice(&format!(
                    "note: a disk of the machine has an error, and it may stand still: {}",
                    text("/data/reason").unwrap_or("it does not say which")
                )),
                "BLOCK_JOB_READY" if is_ours => {
                    // While what the guest writes goes to both: whatever ends this leaves all of it in one of them.
                    let named = self.name().inspect(|()| self.state = State::Named);
                    let arguments = json!({ "device": JOB });
                    match named.and_then(|()| qmp.command("block-job-complete", &arguments)) {
                        Ok(()) => {}
                        // The guest may be on the file by now. How it ends is an event.
                        Err(error) if error.kind() == io::ErrorKind::TimedOut => {}
                        Err(error) => self.fail(&error.to_string(), qmp, ui),
                    }
                }
                "BLOCK_JOB_COMPLETED" if is_ours => match (text("/data/error"), &self.state) {
                    (None, State::Named) => self.complete(qmp, ui),
                    (Some(_), State::Failed(_)) => {}
                    (why, _) => self.fail(why.unwrap_or("it ended early"), qmp, ui),
                },
                "BLOCK_JOB_CANCELLED" if is_ours && !matches!(self.state, State::Failed(_)) => {
                    self.fail("it was cancelled", qmp, ui);
                }
                _ => {}
            }
        }
    }

    /// The guest runs on the file.
    fn complete(&mut self, qmp: &mut Qmp, ui: &Ui) {
        self.state = State::Moved;
        let synced = std::fs::File::open(self.way.to).and_then(|file| file.sync_all());
        // It holds the overlay open, which costs space only.
        let _kept = qmp.command("blockdev-del", &json!({ "node-name": "disk" }));
        if let Err(error) = synced.and_then(|()| self.overlay.remove()) {
            ui.notice(&format!("note: the overlay is not removed: {error}"));
        }
        ui.notice(&format!(
            "{} is restored, after {:.1} s; the machine runs on it now",
            self.way.to.display(),
            self.begun.elapsed().as_secs_f64()
        ));
    }

    /// Gives the file its name, when its bytes are on the disk. qemu has it open and asks for it no more.
    fn name(&self) -> io::Result<()> {
        std::fs::File::open(self.part)?.sync_all()?;
        // Somebody may have made another file of that name meanwhile.
        renameat_with(CWD, self.part, CWD, self.way.to, RenameFlags::NOREPLACE)?;
        let directory = self.part.parent().unwrap_or(Path::new("/"));
        // The name is there; should the machine stop now it may be the other one.
        let _unsynced = std::fs::File::open(directory).and_then(|directory| directory.sync_all());
        Ok(())
    }

    /// What became of it, when the machine has ended.
    fn end(&self) -> Result<(), Failure> {
        let (to, left) = (self.way.to.display(), self.overlay.path().display());
        let why = match &self.state {
            State::Moved => {
                let synced = std::fs::File::open(self.way.to).and_then(|file| file.sync_all());
                return synced.map_err(|error| Failure::Fatal(format!("{to}: {error}")));
            }
            State::Named => {
                return Err(Failure::Fatal(format!(
                    "{to} is restored, but the machine ended while it changed to it: look whether that has what was written \
                     last, before you remove {left}, which may have it"
                )));
            }
            State::Failed(why) => why,
            State::Copying => "the machine ended before",
        };
        let _rest = std::fs::remove_file(self.part);
        Err(Failure::Fatal(format!(
            "{to} is not restored: {why}; what the guest wrote is in {left}, and the same command goes on from there"
        )))
    }
}

/// Stands behind the name of a file that a disk moves to.
const PART: &str = ".garret-part";

/// What may be under way to the file at once, in bytes: a step of qemu's, and what it takes if it is not told.
const AT_ONCE_MIN: u64 = 1 << 20;
const AT_ONCE_MAX: u64 = 16 << 20;

/// The name of the job that moves the disk, and of the node that it moves to.
const JOB: &str = "restore";
const TARGET: &str = "target";

/// qemu does not listen yet.
fn is_early(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}

fn is_gone(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), UnexpectedEof | ConnectionReset | BrokenPipe)
}

fn success(status: ExitStatus) -> Result<(), Failure> {
    match status.success() {
        true => Ok(()),
        false => Err(Failure::Fatal(format!("the machine ended with {status}"))),
    }
}

/// A word as a shell reads it.
fn quoted(word: &OsStr) -> String {
    let word = word.to_string_lossy();
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:=,%+@".contains(&byte);
    match !word.is_empty() && word.bytes().all(is_plain) {
        true => word.into_owned(),
        false => format!("'{}'", word.replace('\'', "'\\''")),
    }
}

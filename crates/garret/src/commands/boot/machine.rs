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
        make(&part, format_of(to), way.len)?;
        let socket = door.with_file_name("qmp.sock");
        let mut qmp = OsString::from("unix:");
        qmp.push(&socket);
        qmp.push(",server=on,wait=off");
        // A guest that ends before its disk has moved waits for it.
        let mut running =
            self.start(&["-qmp".into(), qmp, "-action".into(), "shutdown=pause".into()])?;
        let begun = Instant::now();
        let Some(mut qmp) = connect(&socket, &mut running)? else {
            // Most often it did not like its options.
            let _rest = std::fs::remove_file(&part);
            if overlay.is_new() {
                let _rest = overlay.remove();
            }
            return success(running.wait()?);
        };
        let state = State::Copying;
        let mut moving = Move { way: *way, part: &part, overlay, begun, state };
        moving.begin(&mut qmp).unwrap_or_else(|error| moving.fail(&error.to_string(), ui));
        moving.watch(&mut qmp, &running, ending, ui)?;
        let status = running.wait()?;
        moving.end(ui).and_then(|()| success(status))
    }
}

/// Speaks with a machine that was started; none if it ended first.
fn connect(socket: &Path, running: &mut Running) -> Result<Option<Qmp>, Failure> {
    loop {
        match Qmp::connect(socket) {
            Ok(qmp) => return Ok(Some(qmp)),
            Err(_) if running.ended()?.is_some() => return Ok(None),
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
    /// In the file, under its other name: what the guest writes goes there, and into the overlay too until it runs on the
    /// file.
    Ready,
    /// In the file, under its name.
    Moved,
    /// In the overlay, and it does not move any more. Why.
    Failed(String),
    /// In the file, which did not get its name. Why.
    Unnamed(String),
}

impl Move<'_> {
    fn begin(&self, qmp: &mut Qmp) -> io::Result<()> {
        let file = json!({ "driver": "file", "filename": self.part });
        let target = json!({
            "driver": format_of(self.way.to), "node-name": "target", "discard": "unmap",
            "detect-zeroes": "unmap", "file": file,
        });
        qmp.command("blockdev-add", &target)?;
        // What the guest writes goes to both places at once, or a busy guest would never be done.
        let mut job = json!({
            "job-id": JOB, "device": "disk", "target": "target", "sync": "full", "copy-mode": "write-blocking",
        });
        if let (Some(speed), Some(job)) = (self.way.speed, job.as_object_mut()) {
            job.insert("speed".to_owned(), speed.into());
            // What is under way at once is not counted yet.
            job.insert("buf-size".to_owned(), (speed / 4).clamp(AT_ONCE_MIN, AT_ONCE_MAX).into());
        }
        qmp.command("blockdev-mirror", &job)
    }

    fn fail(&mut self, why: &str, ui: &Ui) {
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
            if is_off && !matches!(self.state, State::Copying | State::Ready) {
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
            match text("/event").unwrap_or_default() {
                "SHUTDOWN" => is_off = true,
                "BLOCK_JOB_READY" => {
                    self.state = State::Ready;
                    let complete = qmp.command("block-job-complete", &json!({ "device": JOB }));
                    complete.unwrap_or_else(|error| self.fail(&error.to_string(), ui));
                }
                "BLOCK_JOB_COMPLETED" => match text("/data/error") {
                    Some(why) => self.fail(why, ui),
                    None => {
                        self.complete(ui);
                        // It holds the overlay open, which costs space only.
                        let _kept = qmp.command("blockdev-del", &json!({ "node-name": "disk" }));
                    }
                },
                "BLOCK_JOB_CANCELLED" => self.fail("it was cancelled", ui),
                _ => {}
            }
        }
    }

    /// All is in the file, and the guest runs on it, or has ended.
    fn complete(&mut self, ui: &Ui) {
        if let Err(error) = self.name() {
            self.state = State::Unnamed(error.to_string());
            ui.notice(&format!("note: {} does not get its name: {error}", self.part.display()));
            return;
        }
        self.state = State::Moved;
        if let Err(error) = self.overlay.remove() {
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
        std::fs::File::open(directory)?.sync_all()
    }

    /// What became of it, when the machine has ended.
    fn end(&mut self, ui: &Ui) -> Result<(), Failure> {
        if matches!(self.state, State::Ready) {
            // It ended before it could say that it is done: nothing is in the overlay that is not in the file.
            self.complete(ui);
        }
        let to = self.way.to.display();
        let why = match &self.state {
            State::Moved => {
                let synced = std::fs::File::open(self.way.to).and_then(|file| file.sync_all());
                return synced.map_err(|error| Failure::Fatal(format!("{to}: {error}")));
            }
            State::Unnamed(why) => {
                let part = self.part.display();
                let text =
                    format!("{part} is the restored disk, and did not get the name {to}: {why}");
                return Err(Failure::Fatal(text));
            }
            State::Failed(why) => why,
            State::Copying | State::Ready => "the machine ended before",
        };
        let _rest = std::fs::remove_file(self.part);
        Err(Failure::Fatal(format!(
            "{to} is not restored: {why}; what the guest wrote is in {}, and the same command goes on from there",
            self.overlay.path().display()
        )))
    }
}

/// Stands behind the name of a file that a disk moves to.
const PART: &str = ".garret-part";

/// What may be under way to the file at once, in bytes: a step of qemu's, and what it takes if it is not told.
const AT_ONCE_MIN: u64 = 1 << 20;
const AT_ONCE_MAX: u64 = 16 << 20;

/// The name of the job that moves the disk.
const JOB: &str = "restore";

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

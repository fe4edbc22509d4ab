//! What happens, as JSON: one object on one line of stderr for each event. docs/json.md says what is in them.
//!
//! In: what the library reports, and how a command ends. Out: lines. Promises: a line is written at once and whole, whatever
//! the threads; of a task's progress there are a few lines a second at most.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use garret_core::{
    Cause, Hint, Note, Phase, Problem, ProblemKind, Task, Unit, cutter_name, message,
};
use serde_json::Value;

use crate::record::Record;
use crate::render;

/// Time between two lines about one task.
const STEP: Duration = Duration::from_millis(250);

/// Something that the user should know.
pub(crate) fn notice(text: &str) {
    write(event("notice").with("text", text));
}

/// Something about one path.
pub(crate) fn note(path: &[u8], note: &Note<'_>) {
    let event = event("note").with_path(path);
    write(match note {
        Note::Stored => event.with("what", "stored"),
        Note::Untouched => event.with("what", "untouched"),
        Note::Restored => event.with("what", "restored"),
        Note::Read { cutter, sections, why } => event
            .with("what", "read")
            .with("cutter", cutter_name(*cutter))
            .with("sections", *sections)
            .with("why", why.to_string()),
        Note::Skipped(error) => event.with("what", "skipped").with("why", message(*error)),
        other => event.with("what", "other").with("why", other.to_string()),
    });
}

/// Something went wrong with one thing.
pub(crate) fn problem(problem: &Problem) {
    let kind = match problem.kind {
        ProblemKind::Loss => "loss",
        ProblemKind::Warning => "warning",
    };
    write(why(event("problem").with("kind", kind), Some(problem)));
}

/// The command ends.
pub(crate) fn exit(code: u8, problem_count: u64, error: Option<&Problem>) {
    write(why(event("exit").with("code", code).with("problems", problem_count), error));
}

fn event(name: &str) -> Record {
    Record::default().with("type", name).with("time", render::now())
}

/// The same names wherever something is wrong; all are null if nothing is.
fn why(event: Record, problem: Option<&Problem>) -> Record {
    event
        .with("cause", problem.map(|problem| cause_name(problem.cause)))
        .with("subject", problem.and_then(|problem| problem.subject.as_deref()))
        .with("text", problem.map(|problem| render::one_line(&problem.text)))
        .with("hint", problem.and_then(|problem| hint_name(problem.hint?)))
}

fn write(event: Record) {
    let line = format!("{}\n", event.json());
    // If even that fails there is nobody to tell.
    let _unheard = io::stderr().lock().write_all(line.as_bytes());
}

/// A task that is told of.
pub(crate) struct Told {
    number: u64,
    phase: Phase,
    total: Option<u64>,
    current: AtomicU64,
    started: Instant,
    /// When the next line is due, in milliseconds since it began.
    due: AtomicU64,
}

impl Told {
    /// Says that the task begins; `number` tells it from others.
    pub(crate) fn begin(number: u64, phase: Phase, total: Option<u64>) -> Self {
        let (current, started, due) =
            (AtomicU64::new(0), Instant::now(), AtomicU64::new(millis(STEP)));
        let task = Told { number, phase, total, current, started, due };
        task.tell("task_begin");
        task
    }

    fn tell(&self, name: &str) {
        let unit = match self.phase.unit() {
            Unit::Bytes => "bytes",
            Unit::Archives => "archives",
            Unit::Packs => "packs",
            _ => "other",
        };
        let event = event(name)
            .with("task", self.number)
            .with("phase", phase_name(self.phase))
            .with("unit", unit)
            .with("current", self.current.load(Ordering::Relaxed))
            .with("total", self.total.map_or(Value::Null, Value::from));
        write(event);
    }
}

impl Task for Told {
    fn advance(&self, count: u64) {
        self.current.fetch_add(count, Ordering::Relaxed);
        let (now, due) = (millis(self.started.elapsed()), self.due.load(Ordering::Relaxed));
        let (next, order) = (now.saturating_add(millis(STEP)), Ordering::Relaxed);
        // Of all who come when it is due, one tells.
        if now >= due && self.due.compare_exchange(due, next, order, order).is_ok() {
            self.tell("task_progress");
        }
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        self.tell("task_end");
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn phase_name(phase: Phase) -> &'static str {
    match phase {
        Phase::Backup => "backup",
        Phase::Restore => "restore",
        Phase::Compare => "compare",
        Phase::Check => "check",
        Phase::Mark => "mark",
        Phase::Repack => "repack",
        Phase::Index => "index",
        _ => "other",
    }
}

fn cause_name(cause: Cause) -> &'static str {
    match cause {
        Cause::Unreadable => "unreadable",
        Cause::Unwritable => "unwritable",
        Cause::Storage => "storage",
        Cause::Missing => "missing",
        Cause::Denied => "denied",
        Cause::Full => "full",
        Cause::Damaged => "damaged",
        Cause::Changed => "changed",
        Cause::Taken => "taken",
        Cause::Busy => "busy",
        Cause::Passphrase => "passphrase",
        Cause::Keys => "keys",
        Cause::Unsupported => "unsupported",
        Cause::Refused => "refused",
        Cause::Invalid => "invalid",
        _ => "other",
    }
}

/// None for a hint that these lines have no name for yet.
fn hint_name(hint: Hint) -> Option<&'static str> {
    match hint {
        Hint::CheckData => Some("check_data"),
        Hint::Check => Some("check"),
        Hint::ListArchives => Some("list_archives"),
        Hint::StoreZeros => Some("store_zeros"),
        _ => None,
    }
}

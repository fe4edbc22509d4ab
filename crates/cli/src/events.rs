//! What happens, as JSON: one object on one line of stderr for each event. docs/json.md says what is in them.
//!
//! In: what the library reports, and how a command ends. Out: lines. Promises: a line is written at once and whole, whatever
//! the threads; of a task's progress there are a few lines a second at most.

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use garret_core::{
    Cause, Hint, Note, Phase, Problem, ProblemKind, Task, Unit, cutter_name, message,
};
use serde_json::{Value, json};

use crate::record::Record;
use crate::render;

/// Time between two lines about one task.
const STEP: Duration = Duration::from_millis(250);

/// Whether all that is told is told so, for those who know no `Ui`.
static ARE_TOLD: AtomicBool = AtomicBool::new(false);

/// From now on all is told so, or not.
pub(crate) fn tell(json: bool) {
    ARE_TOLD.store(json, Ordering::Relaxed);
}

/// Whether it is.
pub(crate) fn are_told() -> bool {
    ARE_TOLD.load(Ordering::Relaxed)
}

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
        ProblemKind::Warning => "warning",
        // What is new is no less.
        _ => "loss",
    };
    let lost: Vec<[u64; 2]> = problem.lost.iter().map(|range| [range.start, range.end]).collect();
    write(why(event("problem").with("kind", kind).with("lost", json!(lost)), Some(problem)));
}

/// What comes now is about a job.
pub(crate) fn job_begin(name: &str) {
    write(event("job_begin").with("job", name));
}

/// A job has ended so.
pub(crate) fn job_end(report: &Record) {
    write(event("job_end").and(report));
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
    pace: Pace,
}

/// When to say something again.
struct Pace {
    /// The next time, in milliseconds since the beginning.
    due: AtomicU64,
}

impl Pace {
    fn new() -> Self {
        Pace { due: AtomicU64::new(millis(STEP)) }
    }

    /// Whether it is time. Of all who ask when it is, one hears so.
    fn is_due(&self, now: u64) -> bool {
        let (due, order) = (self.due.load(Ordering::Relaxed), Ordering::Relaxed);
        let next = now.saturating_add(millis(STEP));
        now >= due && self.due.compare_exchange(due, next, order, order).is_ok()
    }
}

impl Told {
    /// Says that the task begins; `number` tells it from others.
    pub(crate) fn begin(number: u64, phase: Phase, total: Option<u64>) -> Self {
        let (current, started, pace) = (AtomicU64::new(0), Instant::now(), Pace::new());
        let task = Told { number, phase, total, current, started, pace };
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
        // Held from before the count is read: from line to line it only grows.
        let _in_order = io::stderr().lock();
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
        if self.pace.is_due(millis(self.started.elapsed())) {
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
        Phase::Transfer => "transfer",
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
        Hint::Find => Some("find"),
        Hint::StoreZeros => Some("store_zeros"),
        Hint::Repair => Some("repair"),
        Hint::NamePacks => Some("name_packs"),
        Hint::AllowEmpty => Some("allow_empty"),
        Hint::Unprotect => Some("unprotect"),
        Hint::AsStored => Some("as_stored"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_is_told_of_four_times_a_second_however_often_it_advances() {
        for every in [1, 3, 7, 100, 249] {
            let pace = Pace::new();
            let told: Vec<u64> =
                (0..10_000).step_by(every).filter(|now| pace.is_due(*now)).collect();
            let apart = told.iter().zip(told.iter().skip(1)).map(|(a, b)| b - a);
            assert!(apart.clone().all(|apart| apart >= millis(STEP)), "{every}: {told:?}");
            assert!(apart.clone().all(|apart| apart < 2 * millis(STEP)), "{every}: {told:?}");
            assert!(told.first().is_some_and(|first| *first >= millis(STEP)), "{every}");
        }
        // What comes seldom is told each time.
        let pace = Pace::new();
        assert!([1000, 2000, 9000].into_iter().all(|now| pace.is_due(now) && !pace.is_due(now)));
    }
}

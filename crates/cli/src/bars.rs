//! The bar on a terminal.
//!
//! In: tasks, as they begin, advance and end. Out: one line at the bottom of the terminal, that of the task that began last.
//! Promises: what is written beside it neither meets nor leaves pieces of it; it is no longer than the terminal is wide.

use std::fmt::Write;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use garret_core::{Phase, Task, Unit};
use indicatif::{
    DecimalBytes, HumanDuration, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle,
};

use crate::terminal::columns;

/// How often a bar that nothing advances still moves, so that it does not look dead.
const TICK: Duration = Duration::from_millis(120);

/// Before that nobody knows how fast it goes.
const KNOWN_AFTER: Duration = Duration::from_secs(1);
/// A terminal with fewer columns has room for what is said beside a bar, and for no bar.
const BAR_COLUMNS: usize = 72;

/// The bar that is shown, if any is.
#[derive(Default)]
pub(crate) struct Bars {
    shown: Mutex<Shown>,
}

#[derive(Default)]
struct Shown {
    /// How many there have been: the number of the last.
    count: u64,
    bar: Option<ProgressBar>,
}

/// A task that has a bar.
struct Bar<'b> {
    bars: &'b Bars,
    number: u64,
    bar: ProgressBar,
}

impl Bars {
    /// A bar for a new task. It takes the place of the one before.
    pub(crate) fn begin(&self, phase: Phase, total: Option<u64>) -> Box<dyn Task + '_> {
        let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr());
        // The templates are well-formed; should one be wrong, the default style is no harm.
        let template =
            template(phase, total.is_some(), columns(std::io::stderr()).unwrap_or(BAR_COLUMNS));
        if let Ok(style) = ProgressStyle::with_template(&template) {
            let style = style.with_key("rate", rate).with_key("left", left);
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_message(phase_name(phase));
        let mut shown = self.shown();
        if let Some(old) = shown.bar.take() {
            old.finish_and_clear();
        }
        bar.enable_steady_tick(TICK);
        shown.count += 1;
        shown.bar = Some(bar.clone());
        Box::new(Bar { bars: self, number: shown.count, bar })
    }

    /// Writes while no bar is in the way.
    pub(crate) fn beside<T>(&self, write: impl FnOnce() -> T) -> T {
        match &self.shown().bar {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }

    fn shown(&self) -> MutexGuard<'_, Shown> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Task for Bar<'_> {
    fn advance(&self, count: u64) {
        self.bar.inc(count);
    }
}

impl Drop for Bar<'_> {
    fn drop(&mut self) {
        let mut shown = self.bars.shown();
        self.bar.finish_and_clear();
        if shown.count == self.number {
            shown.bar = None;
        }
    }
}

/// How much comes in a second, when that can be told.
fn rate(state: &ProgressState, out: &mut dyn Write) {
    if state.pos() > 0 && state.elapsed() >= KNOWN_AFTER {
        // What writes into a line of text does not fail.
        let _whole = write!(out, ", {}/s", DecimalBytes(state.per_sec() as u64));
    }
}

/// How long it will take, when that can be told.
fn left(state: &ProgressState, out: &mut dyn Write) {
    if state.pos() > 0 && state.elapsed() >= KNOWN_AFTER {
        let _whole = write!(out, ", {:#} left", HumanDuration(state.eta()));
    }
}

fn template(phase: Phase, has_total: bool, columns: usize) -> String {
    let is_narrow = columns < BAR_COLUMNS;
    let things = match phase.unit() {
        Unit::Archives => "archives",
        Unit::Packs => "packs",
        _ if has_total && is_narrow => {
            return "{msg} {percent}% of {decimal_total_bytes}{left}".to_owned();
        }
        _ if has_total => {
            return "{msg} [{wide_bar}] {decimal_bytes} of {decimal_total_bytes}{rate}{left}"
                .to_owned();
        }
        _ => {
            return "{msg} {spinner} {decimal_bytes}{rate}, {elapsed}".to_owned();
        }
    };
    match has_total {
        true if is_narrow => format!("{{msg}} {{pos}} of {{len}} {things}{{left}}"),
        true => format!("{{msg}} [{{wide_bar}}] {{pos}} of {{len}} {things}{{left}}"),
        false => format!("{{msg}} {{spinner}} {{pos}} {things}, {{elapsed}}"),
    }
}

fn phase_name(phase: Phase) -> &'static str {
    match phase {
        Phase::Backup => "Backing up",
        Phase::Restore => "Restoring",
        Phase::Compare => "Comparing",
        Phase::Check => "Checking",
        Phase::Mark => "Marking",
        Phase::Repack => "Repacking",
        Phase::Index => "Reading the index",
        _ => "Working",
    }
}

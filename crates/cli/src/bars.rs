//! The bar on a terminal.
//!
//! In: tasks, as they begin, advance and end. Out: one line at the bottom of the terminal, that of the task that began last.
//! Promises: what is written beside it neither meets nor leaves pieces of it; it is no longer than the terminal is wide.

use std::collections::VecDeque;
use std::fmt::Write;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use garret_core::{Phase, Task, Unit};
use indicatif::style::ProgressTracker;
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
            let style = style.with_key("rate", rate).with_key("left", Left::default());
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

/// How long it will take, when that can be told: at the pace of the later half of the time that it took so far. The beginning
/// is often another (a disk takes the first gigabyte into memory), and a shorter time is that of one stretch of an image.
#[derive(Clone, Debug, Default)]
struct Left(Past);

impl ProgressTracker for Left {
    fn clone_box(&self) -> Box<dyn ProgressTracker> {
        Box::new(self.clone())
    }

    fn tick(&mut self, state: &ProgressState, _: Instant) {
        self.0.add(state.elapsed(), state.pos());
    }

    fn reset(&mut self, _: &ProgressState, _: Instant) {
        self.0 = Past::default();
    }

    fn write(&self, state: &ProgressState, out: &mut dyn Write) {
        let rest = state.len().unwrap_or_default().saturating_sub(state.pos());
        if let Some(left) = self.0.time_for(rest, state.elapsed(), state.pos()) {
            let _whole = write!(out, ", {:#} left", HumanDuration(left));
        }
    }
}

/// How much was done when, from before the later half of the time until now. At most so many moments, so far apart.
#[derive(Clone, Debug, Default)]
struct Past(VecDeque<(Duration, u64)>);

impl Past {
    const MOMENTS: u32 = 64;

    fn add(&mut self, now: Duration, done: u64) {
        let last = self.0.back().map_or(Duration::ZERO, |(time, _)| *time);
        if now >= last + now / Self::MOMENTS {
            self.0.push_back((now, done));
        }
        while self.0.get(1).is_some_and(|(time, _)| *time <= now / 2) {
            self.0.pop_front();
        }
    }

    fn time_for(&self, rest: u64, now: Duration, done: u64) -> Option<Duration> {
        // Until there is a half of some length, from the beginning.
        let is_late = |(time, _): &&(Duration, u64)| now / 2 >= KNOWN_AFTER && *time < now;
        let (time, before) = self.0.front().filter(is_late).copied().unwrap_or_default();
        let more = done.saturating_sub(before);
        let is_known = now >= KNOWN_AFTER && more > 0;
        is_known
            .then(|| {
                Duration::try_from_secs_f64((now - time).as_secs_f64() * rest as f64 / more as f64)
            })
            .and_then(Result::ok)
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
        Phase::Transfer => "Copying",
        Phase::Index => "Reading the index",
        _ => "Working",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is said of a task of `total` after `seconds` each, when `done` says how much is done by then.
    fn said(total: u64, seconds: u64, done: impl Fn(u64) -> u64) -> u64 {
        let mut past = Past::default();
        for tenth in 0..=seconds * 10 {
            past.add(Duration::from_millis(tenth * 100), done(tenth * 100));
        }
        assert!(past.0.len() <= 2 * Past::MOMENTS as usize, "{}", past.0.len());
        let now = Duration::from_secs(seconds);
        let done = done(seconds * 1000);
        past.time_for(total - done, now, done).map_or(u64::MAX, |left| left.as_secs())
    }

    #[test]
    fn the_time_left_goes_by_the_later_half_of_the_time_so_far() {
        for seconds in [1, 2, 10, 100, 10_000] {
            let even = |time: u64| time * 1000;
            assert_eq!(said(100_000_000_000, seconds, even), 100_000 - seconds, "{seconds}");
        }
        // The first second does as much as a thousand of the others.
        let burst = |time: u64| if time < 1000 { time * 1000 } else { 999_000 + time };
        let (now, left) = (10, said(1_099_000, 10, burst));
        assert!((99 - now..=101 - now).contains(&left), "{left}");
        assert_eq!(said(1000, 5, |_| 0), u64::MAX);
    }
}

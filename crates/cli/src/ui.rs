//! What the user sees while a command works: a bar on a terminal, names with `-v`, problems as they happen.
//!
//! In: calls of the library, from any thread. Out: bar, waiting and problems on stderr; names on stdout. Promises: without a
//! terminal on stderr there is no bar; a problem is one line whatever the names in it hold.

use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use garret_core::{LOCK_WAIT_DEFAULT, Phase, Problem, Progress};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::failure::{Failure, advice};
use crate::render;

/// How often a bar that nothing advances still moves, so that it does not look dead.
const TICK: Duration = Duration::from_millis(120);

/// The bar, and what was reported.
pub struct Ui {
    program: Option<&'static str>,
    terminal: bool,
    quiet: AtomicBool,
    verbose: AtomicBool,
    problem_count: AtomicU64,
    patience: Mutex<Duration>,
    bar: Mutex<Option<ProgressBar>>,
}

impl Ui {
    /// For a program of this name, which stands before each line on stderr.
    pub fn new(program: &'static str) -> Self {
        Self::with_name(Some(program))
    }

    /// For a program whose lines on stderr stand for themselves.
    pub fn unnamed() -> Self {
        Self::with_name(None)
    }

    fn with_name(program: Option<&'static str>) -> Self {
        Ui {
            program,
            terminal: io::stderr().is_terminal(),
            quiet: AtomicBool::new(false),
            verbose: AtomicBool::new(false),
            problem_count: AtomicU64::new(0),
            patience: Mutex::new(LOCK_WAIT_DEFAULT),
            bar: Mutex::default(),
        }
    }

    /// Shows names from now on, if asked to.
    pub fn set_verbose(&self, verbose: bool) {
        self.verbose.store(verbose, Ordering::Relaxed);
    }

    /// From now on neither a bar nor a line about waiting, if asked for; problems are still shown.
    pub fn set_quiet(&self, quiet: bool) {
        self.quiet.store(quiet, Ordering::Relaxed);
    }

    /// How long to wait for other programs from now on.
    pub fn set_patience(&self, patience: Duration) {
        *self.patience.lock().unwrap_or_else(PoisonError::into_inner) = patience;
    }

    /// How long to wait for other programs that use the repository.
    pub fn patience(&self) -> Duration {
        *self.patience.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many problems were reported.
    pub fn problem_count(&self) -> u64 {
        self.problem_count.load(Ordering::Relaxed)
    }

    /// Writes a result, with its own line ends, to stdout.
    pub fn print(&self, text: &(impl AsRef<[u8]> + ?Sized)) -> Result<(), Failure> {
        let write = || {
            let mut out = io::stdout().lock();
            out.write_all(text.as_ref())?;
            out.flush()
        };
        self.beside_bar(write).map_err(|error| Failure::io("writing to standard output", &error))
    }

    /// Whether there is somebody to ask: with stdin or stderr redirected somebody runs a script and is not looking.
    pub fn can_ask(&self) -> bool {
        self.terminal && io::stdin().is_terminal()
    }

    /// Asks on the terminal; gives the line that was typed.
    pub fn ask(&self, question: &str) -> Result<String, Failure> {
        let ask = || {
            io::stderr().lock().write_all(question.as_bytes())?;
            let mut line = String::new();
            io::stdin().read_line(&mut line)?;
            Ok(line.trim_end_matches(['\r', '\n']).to_owned())
        };
        self.beside_bar(ask).map_err(|error| Failure::io("asking on the terminal", &error))
    }

    /// A line on stderr. If even that fails there is nobody to tell.
    pub fn complain(&self, text: &str) {
        let name = self.program.map_or(String::new(), |name| format!("{name}: "));
        let text = format!("{name}{}\n", render::one_line(text));
        let _unheard = self.beside_bar(|| io::stderr().lock().write_all(text.as_bytes()));
    }

    /// Counts and shows something that went wrong while the command goes on.
    pub fn report(&self, text: &str) {
        self.problem_count.fetch_add(1, Ordering::Relaxed);
        self.complain(text);
    }

    fn bar(&self) -> MutexGuard<'_, Option<ProgressBar>> {
        self.bar.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn beside_bar<T>(&self, write: impl FnOnce() -> T) -> T {
        match &*self.bar() {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }
}

impl Progress for Ui {
    fn begin(&self, phase: Phase, total: Option<u64>) {
        if !self.terminal || self.quiet.load(Ordering::Relaxed) {
            return;
        }
        let new = ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr());
        let template = match total {
            Some(_) => {
                "{msg} [{bar:24}] {decimal_bytes} of {decimal_total_bytes}, \
                 {decimal_bytes_per_sec}, {eta} left"
            }
            None => "{msg} {spinner} {decimal_bytes}, {decimal_bytes_per_sec}, {elapsed}",
        };
        // The templates are constants; should one be wrong, the default style is no harm.
        if let Ok(style) = ProgressStyle::with_template(template) {
            new.set_style(style.progress_chars("=> "));
        }
        new.set_message(phase_name(phase));
        new.enable_steady_tick(TICK);
        if let Some(old) = self.bar().replace(new) {
            old.finish_and_clear();
        }
    }

    fn advance(&self, bytes: u64) {
        if let Some(bar) = &*self.bar() {
            bar.inc(bytes);
        }
    }

    fn end(&self) {
        if let Some(bar) = self.bar().take() {
            bar.finish_and_clear();
        }
    }

    fn note(&self, text: &str) {
        if self.verbose.load(Ordering::Relaxed) {
            // Who closed the pipe wants no more names, but still the backup.
            let _unread = self.print(&format!("{}\n", render::one_line(text)));
        }
    }

    fn notice(&self, text: &str) {
        if !self.quiet.load(Ordering::Relaxed) {
            self.complain(text);
        }
    }

    fn problem(&self, problem: &Problem) {
        self.report(&format!("{}{}", problem.text, advice(problem.hint)));
    }
}

impl Drop for Ui {
    fn drop(&mut self) {
        self.end();
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

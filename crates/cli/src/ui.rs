//! What the user sees while a command works: a bar on a terminal, names with `-v`, problems as they happen; or all of it as
//! lines of JSON.
//!
//! In: calls of the library, from any thread. Out: bar, waiting and problems on stderr; names on stdout; with JSON everything
//! on stderr. Promises: without a terminal on stderr, and with JSON, there is no bar and nobody is asked; a problem is one
//! line whatever the names in it hold.

use std::collections::HashSet;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use garret_core::{Cause, LOCK_WAIT_DEFAULT, Note, Phase, Problem, Progress, Silent, Task};

use crate::bars::Bars;
use crate::events::{self, Told};
use crate::failure::{Failure, advice};
use crate::render;

/// Problems that are remembered so that none is told twice: more than that nobody reads.
const TOLD_MAX: usize = 10_000;

/// The bar, and what was reported.
pub struct Ui {
    program: Option<&'static str>,
    terminal: bool,
    quiet: AtomicBool,
    verbose: AtomicBool,
    problem_count: AtomicU64,
    /// The problems that were told of: a damaged object is met again by whoever asks for it again.
    told: Mutex<HashSet<(Option<String>, String)>>,
    damage_count: AtomicU64,
    patience: Mutex<Duration>,
    passphrase_file: Mutex<Option<PathBuf>>,
    accepts_state: AtomicBool,
    bars: Bars,
    /// Whether everything but results is told in JSON.
    json: bool,
    /// How many tasks were told of.
    task_count: AtomicU64,
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
            told: Mutex::default(),
            damage_count: AtomicU64::new(0),
            patience: Mutex::new(LOCK_WAIT_DEFAULT),
            passphrase_file: Mutex::new(None),
            accepts_state: AtomicBool::new(false),
            bars: Bars::default(),
            json: false,
            task_count: AtomicU64::new(0),
        }
    }

    /// The same, telling everything but results in lines of JSON if `json` is set.
    #[must_use]
    pub fn in_json(self, json: bool) -> Self {
        Ui { json, terminal: self.terminal && !json, ..self }
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

    /// The passphrase is in this file from now on.
    pub fn set_passphrase_file(&self, path: Option<PathBuf>) {
        *self.passphrase_file.lock().unwrap_or_else(PoisonError::into_inner) = path;
    }

    /// The file that the user says the passphrase is in.
    pub fn passphrase_file(&self) -> Option<PathBuf> {
        self.passphrase_file.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// From now on a repository is taken as it is, also in a state that is older than what was seen, if asked to.
    pub fn set_accepts_state(&self, accepts: bool) {
        self.accepts_state.store(accepts, Ordering::Relaxed);
    }

    /// Whether a repository is taken in an older state than was seen.
    pub fn accepts_state(&self) -> bool {
        self.accepts_state.load(Ordering::Relaxed)
    }

    /// How many problems were reported.
    pub fn problem_count(&self) -> u64 {
        self.problem_count.load(Ordering::Relaxed)
    }

    /// How many of them were of damage.
    pub fn damage_count(&self) -> u64 {
        self.damage_count.load(Ordering::Relaxed)
    }

    /// Writes a result, with its own line ends, to stdout.
    pub fn print(&self, text: &(impl AsRef<[u8]> + ?Sized)) -> Result<(), Failure> {
        let write = || {
            let mut out = io::stdout().lock();
            out.write_all(text.as_ref())?;
            out.flush()
        };
        self.bars.beside(write).map_err(|error| Failure::io("writing to standard output", &error))
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
        self.bars.beside(ask).map_err(|error| Failure::io("asking on the terminal", &error))
    }

    /// A line on stderr. If even that fails there is nobody to tell.
    pub fn complain(&self, text: &str) {
        let text = render::one_line(text);
        if self.json {
            return events::notice(&text);
        }
        let name = self.program.map_or(String::new(), |name| format!("{name}: "));
        let line = format!("{name}{text}\n");
        let _unheard = self.bars.beside(|| io::stderr().lock().write_all(line.as_bytes()));
    }

    /// A line on what was done, for who looks on: on a terminal only.
    pub fn done(&self, text: &str) {
        if self.terminal && !self.quiet.load(Ordering::Relaxed) {
            let line = format!("{}\n", render::one_line(text));
            let _unheard = self.bars.beside(|| io::stderr().lock().write_all(line.as_bytes()));
        }
    }

    /// Whether this was told before; it is from now on.
    fn has_told(&self, problem: &Problem) -> bool {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let what = (problem.subject.clone(), problem.text.clone());
        told.contains(&what) || told.len() < TOLD_MAX && !told.insert(what)
    }

    /// Counts and shows something that went wrong while the command goes on, once.
    pub fn report(&self, problem: &Problem) {
        if self.has_told(problem) {
            return;
        }
        self.problem_count.fetch_add(1, Ordering::Relaxed);
        if problem.cause == Cause::Damaged {
            self.damage_count.fetch_add(1, Ordering::Relaxed);
        }
        match self.json {
            true => events::problem(problem),
            false => self.complain(&format!("{}{}", problem.text, advice(problem.hint))),
        }
    }

    /// Whether everything but results is told in JSON.
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// The last line of a command that ends with `code`: what ended it behind `prefix`, if that is to be said. In JSON there
    /// is always one.
    pub fn end(&self, code: u8, prefix: &str, error: Option<&Problem>) -> ExitCode {
        match error {
            _ if self.json => events::exit(code, self.problem_count(), error),
            Some(error) => self.complain(&format!("{prefix}{}{}", error.text, advice(error.hint))),
            None => {}
        }
        ExitCode::from(code)
    }
}

impl Progress for Ui {
    fn begin(&self, phase: Phase, total: Option<u64>) -> Box<dyn Task + '_> {
        if self.quiet.load(Ordering::Relaxed) {
            Box::new(Silent)
        } else if self.json {
            let number = self.task_count.fetch_add(1, Ordering::Relaxed) + 1;
            Box::new(Told::begin(number, phase, total))
        } else if self.terminal {
            self.bars.begin(phase, total)
        } else {
            Box::new(Silent)
        }
    }

    fn note(&self, path: &[u8], note: &Note<'_>) {
        if !self.verbose.load(Ordering::Relaxed) {
            return;
        }
        if self.json {
            return events::note(path, note);
        }
        let (mut line, note) = (String::from_utf8_lossy(path).into_owned(), note.to_string());
        if !note.is_empty() {
            line = format!("{line}: {note}");
        }
        // Who closed the pipe wants no more names, but still the backup.
        let _unread = self.print(&format!("{}\n", render::one_line(&line)));
    }

    fn notice(&self, text: &str) {
        if !self.quiet.load(Ordering::Relaxed) {
            self.complain(text);
        }
    }

    fn problem(&self, problem: &Problem) {
        self.report(problem);
    }
}

//! What the user sees while a command works: a bar on a terminal, names with `-v`, problems as they happen; or all of it as
//! lines of JSON.
//!
//! In: calls of the library, from any thread. Out: bar, waiting and problems on stderr; names on stdout; with JSON everything
//! on stderr. Promises: without a terminal on stderr, and with JSON, there is no bar and nobody is asked; no bar
//! either on a terminal that is dumb; a problem is one line whatever the names in it hold.

use std::collections::HashSet;
use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use garret_core::{
    Cause, Hint, Keys, LOCK_WAIT_DEFAULT, Note, Phase, Problem, Progress, Silent, Task,
};
use garret_format::ConfigHash;

use crate::bars::Bars;
use crate::events::{self, Told};
use crate::failure::{Failure, advice};
use crate::record::Record;
use crate::render;
use crate::terminal;

/// Problems that are remembered so that none is told twice: more than that nobody reads.
const TOLD_MAX: usize = 10_000;

/// Where the passphrase and the key of a repository are, beside the environment and the usual places.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SecretPlaces {
    /// The file that the passphrase is in.
    pub passphrase_file: Option<PathBuf>,
    /// A line for the shell that prints it.
    pub passphrase_command: Option<OsString>,
    /// The key file.
    pub key_file: Option<PathBuf>,
}

/// What to do about a problem, in words behind its own; empty if they say it.
pub type Advice = fn(&Problem) -> &'static str;

/// The bar, and what was reported.
pub struct Ui {
    program: Option<&'static str>,
    /// The job that this is about.
    job: Option<String>,
    advice: Mutex<Option<Advice>>,
    terminal: bool,
    quiet: AtomicBool,
    verbose: AtomicBool,
    problem_count: AtomicU64,
    /// The problems that were told of: a damaged object is met again by whoever asks for it again.
    told: Mutex<HashSet<(Option<String>, String)>>,
    damage_count: AtomicU64,
    /// What went wrong first.
    first_problem: OnceLock<String>,
    patience: Mutex<Duration>,
    secrets: Mutex<SecretPlaces>,
    /// The keys of a job, and the hash of the config that they belong to.
    keys: Mutex<Option<(ConfigHash, Keys)>>,
    accepts_state: AtomicBool,
    bars: Bars,
    /// Whether everything but results is told in JSON.
    json: bool,
    /// How many tasks were told of.
    task_count: Arc<AtomicU64>,
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
            job: None,
            advice: Mutex::new(None),
            terminal: io::stderr().is_terminal(),
            quiet: AtomicBool::new(false),
            verbose: AtomicBool::new(false),
            problem_count: AtomicU64::new(0),
            told: Mutex::default(),
            damage_count: AtomicU64::new(0),
            first_problem: OnceLock::new(),
            patience: Mutex::new(LOCK_WAIT_DEFAULT),
            secrets: Mutex::default(),
            keys: Mutex::default(),
            accepts_state: AtomicBool::new(false),
            bars: Bars::default(),
            json: false,
            task_count: Arc::default(),
        }
    }

    /// The same, telling everything but results in lines of JSON if `json` is set.
    #[must_use]
    pub fn in_json(self, json: bool) -> Self {
        events::tell(json);
        Ui { json, terminal: self.terminal && !json, ..self }
    }

    /// One for a job of this name, which stands before each line: it has its own passphrase, patience and problems, and shows
    /// no line about waiting where nobody looks on.
    #[must_use]
    pub fn of_job(&self, name: &str) -> Self {
        let mut ui = Self::with_name(self.program).in_json(self.json);
        ui.job = Some(name.to_owned());
        ui.task_count = Arc::clone(&self.task_count);
        ui.set_accepts_state(self.accepts_state());
        ui.set_verbose(self.verbose.load(Ordering::Relaxed));
        ui
    }

    /// Counts the problems of a job that has ended with its own.
    pub fn add(&self, job: &Ui) {
        self.problem_count.fetch_add(job.problem_count(), Ordering::Relaxed);
    }

    /// From now on each problem that the core has no hint for is told with this.
    pub fn set_advice(&self, advice: Advice) {
        *self.advice.lock().unwrap_or_else(PoisonError::into_inner) = Some(advice);
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

    /// Passphrase and key are there from now on.
    pub fn set_secrets(&self, places: SecretPlaces) {
        *self.secrets.lock().unwrap_or_else(PoisonError::into_inner) = places;
    }

    /// Where the user says that passphrase and key are.
    pub fn secrets(&self) -> SecretPlaces {
        self.secrets.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// From now on a repository is taken as it is, also in a state that is older than what was seen, if asked to.
    pub fn set_accepts_state(&self, accepts: bool) {
        self.accepts_state.store(accepts, Ordering::Relaxed);
    }

    /// Whether a repository is taken in an older state than was seen.
    pub fn accepts_state(&self) -> bool {
        self.accepts_state.load(Ordering::Relaxed)
    }

    /// Keeps the keys of a job, whose steps open its repository one after the other: each would cost what guessing costs.
    pub(crate) fn keep_keys(&self, config: ConfigHash, keys: &Keys) {
        if self.job.is_some() {
            let mut kept = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
            *kept = Some((config, keys.clone()));
        }
    }

    /// The keys that were kept, if the config is that.
    pub(crate) fn kept_keys(&self, config: ConfigHash) -> Option<Keys> {
        let kept = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        kept.as_ref().filter(|(of, _)| *of == config).map(|(_, keys)| keys.clone())
    }

    /// How many problems were reported.
    pub fn problem_count(&self) -> u64 {
        self.problem_count.load(Ordering::Relaxed)
    }

    /// How many of them were damage of the repository.
    pub fn damage_count(&self) -> u64 {
        self.damage_count.load(Ordering::Relaxed)
    }

    /// What went wrong first; empty if nothing did.
    pub fn first_problem(&self) -> String {
        self.first_problem.get().cloned().unwrap_or_default()
    }

    /// Tells programs that what comes now is about this job.
    pub fn begin_job(&self, name: &str) {
        if self.json {
            events::job_begin(name);
        }
    }

    /// Tells programs that it has ended, and how.
    pub fn end_job(&self, report: &Record) {
        if self.json {
            events::job_end(report);
        }
    }

    /// Writes a result, with its own line ends, to stdout.
    ///
    /// # Errors
    /// It cannot be written; `NobodyReads` if nobody does any more.
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
        self.terminal && self.job.is_none() && io::stdin().is_terminal()
    }

    /// Whether this is about a job, which asks nothing: somebody may have started it by hand and gone.
    pub fn is_of_job(&self) -> bool {
        self.job.is_some()
    }

    /// Asks on the terminal; gives the line that was typed.
    ///
    /// # Errors
    /// The input ended, as by Ctrl-D: that is a no to whatever was asked.
    pub fn ask(&self, question: &str) -> Result<String, Failure> {
        let ask = || {
            io::stderr().lock().write_all(render::lines(question).as_bytes())?;
            let mut line = String::new();
            if io::stdin().read_line(&mut line)? == 0 {
                io::stderr().lock().write_all(b"\n")?;
                return Ok(None);
            }
            Ok(Some(line.trim_end_matches(['\r', '\n']).to_owned()))
        };
        let asked = self.bars.beside(ask);
        let asked = asked.map_err(|error| Failure::io("asking on the terminal", &error))?;
        asked.ok_or_else(|| {
            Failure::Fatal("nothing was done: the input ended in place of an answer".to_owned())
        })
    }

    /// A line on stderr. If even that fails there is nobody to tell.
    pub fn complain(&self, text: &str) {
        let job = self.job.as_ref().map_or(String::new(), |job| format!("{job}: "));
        let text = render::one_line(&format!("{job}{text}"));
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
        let own = *self.advice.lock().unwrap_or_else(PoisonError::into_inner);
        let what_to_do = match (problem.hint, own) {
            (None, Some(own)) => own(problem),
            (Some(Hint::NamePacks), _) if self.is_of_job() => {
                ": name that in `packs` of this job, or with --packs beside --repo"
            }
            (hint, _) => advice(hint),
        };
        let line = format!("{}{what_to_do}", problem.text);
        let _first = self.first_problem.set(render::one_line(&line));
        self.damage_count.fetch_add(u64::from(problem.cause == Cause::Damaged), Ordering::Relaxed);
        if self.json {
            return events::problem(problem);
        }
        self.complain(&line);
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
        } else if self.terminal && terminal::moves() {
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

    fn waiting(&self, text: &str) {
        if self.job.is_none() || self.terminal || self.json {
            self.notice(text);
        }
    }

    fn problem(&self, problem: &Problem) {
        self.report(problem);
    }
}

//! One job from begin to end.
//!
//! ```text
//! before -> (init) -> freeze, snapshot, thaw -> create -> cleanup -> prune -> compact -> check -> after | failed -> finally
//!           again     '--- 30 s at most ---'   again if it may pass
//! ```
//!
//! In: a job. Out: a report; each thing that goes wrong is one line: job, what, where, what to do. Promises: `thaw` is
//! run whenever `freeze` was, also if the program is killed; `cleanup` whenever `snapshot` was, `finally` whenever
//! `before` was, also when a signal comes; a job is not done twice at the same time; what fails keeps no other job from
//! being done.

mod again;

use std::fs::File;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use garret_core::{Cause, ChunkSize, Problem, Progress, Repository, Sharing};
use jiff::Zoned;
use rustix::fs::Mode;
use rustix::process::umask;

use super::history::History;
use super::hooks::{Guard, Hook, Told, hand_over};
use super::job::Job;
use super::once::{self, Turn};
use super::report::{Archived, Report, Size};
use super::words;
use crate::exit::Outcome;
use crate::failure::Failure;
use crate::session;
use crate::signals::Ending;
use crate::state;
use crate::steps::check::Checking;
use crate::steps::compact::{COMPRESSION, Compacting};
use crate::steps::create::Creation;
use crate::steps::delete::remove;
use crate::steps::init::{Initialized, Making, initialize};
use crate::steps::prune::Pruning;
use crate::surroundings;
use crate::ui::Ui;

/// How long a guest stands still at most.
const FROZEN_MAX: Duration = Duration::from_secs(30);

/// How often it is looked whether a signal came.
const LOOK: Duration = Duration::from_millis(50);

/// Does a job. `ui` is that of the program.
pub fn run(job: &Job, ending: &Ending, ui: &Ui) -> Report {
    let own = ui.of_job(&job.name);
    own.set_patience(job.lock_wait);
    own.set_secrets(job.secrets.clone());
    own.begin_job(&job.name);
    let begun = Instant::now();
    // A backup changes it, for all threads; hooks are to have that of the user.
    let mask = umask(Mode::empty());
    umask(mask);
    let mut night = Night {
        job,
        ui: &own,
        ending,
        report: Report::begin(&job.name, Zoned::now().timestamp().as_second()),
        owes: Owed::default(),
        mask,
        turn: None,
    };
    let is_remembered = night.take_turn();
    let mut report = night.report;
    report.duration = begun.elapsed();
    (report.problems, report.damage) = (own.problem_count(), own.damage_count());
    if report.damage > 0 {
        report.is_at_best(Outcome::Damaged);
    } else if report.problems > 0 {
        report.is_at_best(Outcome::Warning);
    }
    if is_remembered {
        let mut history = History::load(job);
        history.add(&report);
        if let Err(failure) = history.save(job) {
            own.report(&words::failed(job, &failure));
            report.problems = own.problem_count();
            report.is_at_best(Outcome::Warning);
        }
    }
    own.end_job(&report.record());
    ui.add(&own);
    report
}

/// What is still to be run, whatever happens.
#[derive(Default)]
struct Owed {
    cleanup: bool,
    failed: bool,
    finally: bool,
}

/// A job that is being done.
struct Night<'a> {
    job: &'a Job,
    ui: &'a Ui,
    ending: &'a Ending,
    report: Report,
    owes: Owed,
    /// The umask of the user.
    mask: Mode,
    /// The right to do it.
    turn: Option<File>,
}

impl Night<'_> {
    /// Does it if nobody else does and it is time for it. Whether it is to be remembered.
    fn take_turn(&mut self) -> bool {
        match once::take(self.job) {
            Ok(Turn::Ours(turn)) => self.turn = Some(turn),
            Ok(Turn::Taken(by)) => {
                self.ui.complain(&words::taken(by));
                self.report.is_at_best(Outcome::Running);
                return false;
            }
            Err(failure) => {
                self.fail(&failure);
                self.last_hook("failed");
                return false;
            }
        }
        match self.job.window.map(|window| (window, window.left(Zoned::now().time()))) {
            Some((window, None)) => {
                self.say(&Problem::new(Cause::Other, None, words::closed(window)));
                self.report.is_at_best(Outcome::Failed);
                self.last_hook("failed");
            }
            _ => self.begin(),
        }
        self.turn = None;
        true
    }

    fn begin(&mut self) {
        (self.owes.failed, self.owes.finally) = (true, true);
        if self.hook("before", self.job.hooks.timeout).is_ok() {
            if let Err(failure) = self.work() {
                self.fail(&failure);
            }
        } else {
            self.report.is_at_best(Outcome::Failed);
        }
        let is_fine = self.report.outcome == Outcome::Fine && self.ui.problem_count() == 0;
        let last = if is_fine { "after" } else { "failed" };
        self.last_hook(last);
        self.last_hook("finally");
    }

    /// One that tells how it went.
    fn last_hook(&mut self, name: &'static str) {
        self.end_if_signalled();
        // One that a signal ends is not begun again.
        match name {
            "finally" => self.owes.finally = false,
            _ => self.owes.failed = false,
        }
        if self.run_hook(name, self.job.hooks.timeout).is_err() {
            self.report.is_at_best(Outcome::Warning);
        }
    }

    fn work(&mut self) -> Result<(), Failure> {
        let mut retries = self.job.retries.count;
        self.again(&mut retries, || self.prepare())?;
        if !self.snapshot() {
            self.report.is_at_best(Outcome::Failed);
            self.cleanup();
            return Ok(());
        }
        self.ui.set_advice(words::in_create);
        let made = self.again(&mut retries, || self.create());
        self.ui.set_advice(words::in_other);
        self.cleanup();
        let failure = match made {
            Ok((archive, size)) => {
                (self.report.archive, self.report.size) = (Some(archive), size);
                None
            }
            Err(failure) => Some(failure),
        };
        self.end_if_signalled();
        // On a full disk what the failed run took is to come back.
        let is_full = failure.as_ref().map(Outcome::of) == Some(Outcome::Full);
        if let Some(failure) = &failure {
            self.fail(failure);
        }
        if failure.is_none() || is_full {
            self.step(Night::prune);
        }
        if failure.is_none() {
            self.step(Night::compact);
            self.step(Night::check);
        }
        Ok(())
    }

    /// One that others do not depend on.
    fn step(&mut self, step: impl FnOnce(&mut Self) -> Result<(), Failure>) {
        if let Err(failure) = step(self) {
            self.fail(&failure);
        }
    }

    /// Makes a repository, if there is none and never was.
    fn prepare(&self) -> Result<(), Failure> {
        let Some(mode) = self.job.init else { return Ok(()) };
        let path = &self.job.repository;
        let is_missing = match session::find(path) {
            Err(Failure::Because(Cause::Missing, _)) => true,
            Err(Failure::Engine(garret_core::Error::NotARepository { .. })) => true,
            // What else is wrong is said when it is used.
            _ => false,
        };
        if !is_missing {
            return Ok(());
        }
        if state::is_known_at(path) {
            return Err(Failure::Because(Cause::Missing, words::gone(path)));
        }
        let (job, ui) = (self.job, self.ui);
        let chunk = ChunkSize::default();
        let how = Making { sharing: Sharing::Private, cipher: None, chunk, parents: false };
        let made = self.watch(|| initialize(&job.repository, mode, how, ui))?;
        let Initialized { key_file, .. } = made;
        self.ui.notice(&words::initialized(path, mode, key_file.as_deref()));
        Ok(())
    }

    /// Freezes, takes the snapshot and thaws. Whether there is something to read.
    fn snapshot(&mut self) -> bool {
        self.end_if_signalled();
        let (hooks, begun) = (&self.job.hooks, Instant::now());
        let limit = |begun: Instant| match hooks.freeze {
            Some(_) => hooks.timeout.min(FROZEN_MAX.saturating_sub(begun.elapsed())),
            None => hooks.timeout,
        };
        // Who is killed outright can thaw nothing.
        let over = hooks.thaw.as_ref().map(|thaw| Guard::over(thaw, &self.told()));
        let guard = match over.transpose() {
            Ok(guard) => guard,
            Err(error) => {
                let text = words::hook("freeze", &error.to_string());
                self.say(&Problem::new(Cause::Other, None, text));
                return false;
            }
        };
        let mut is_fine = self.run_hook("freeze", limit(begun)).is_ok();
        if is_fine && self.ending.signal().is_none() {
            self.owes.cleanup = hooks.cleanup.is_some();
            is_fine = self.run_hook("snapshot", limit(begun)).is_ok();
        }
        if let Some(guard) = guard {
            self.thaw(guard);
        }
        self.end_if_signalled();
        is_fine
    }

    /// The guest stands still: nothing keeps this from being run, and a signal has to wait for it.
    fn thaw(&mut self, mut guard: Guard) {
        let limit = self.job.hooks.timeout;
        match self.run_hook("thaw", limit) {
            Ok(()) => guard.release(),
            Err(has_run) => {
                self.report.is_at_best(Outcome::Failed);
                if has_run {
                    guard.release();
                } else if guard.act(limit) {
                    self.ui.complain("thaw hook: it was run by the shell that waits for us to end");
                }
            }
        }
    }

    fn cleanup(&mut self) {
        if !self.owes.cleanup {
            return;
        }
        self.end_if_signalled();
        // A signal waits for it: half of it may be worse than none.
        self.owes.cleanup = false;
        if self.run_hook("cleanup", self.job.hooks.timeout).is_err() {
            self.report.is_at_best(Outcome::Warning);
        }
    }

    /// Makes the archive.
    fn create(&self) -> Result<(Archived, Option<Size>), Failure> {
        match self.watch(|| self.create_once()) {
            // In another second it has another name.
            Err(failure) if words::is_taken(&failure) => {
                self.pause(Duration::from_secs(1));
                self.watch(|| self.create_once())
            }
            made => made,
        }
    }

    fn create_once(&self) -> Result<(Archived, Option<Size>), Failure> {
        let job = self.job;
        let invalid = |why| Failure::Usage(format!("archive: {why}"));
        let name = job.archive_name().map_err(invalid)?;
        let mut options = surroundings::backup_options(&job.repository)?;
        options.compression = job.compression;
        options.threads = job.threads;
        options.exclude = garret_core::Patterns::new(job.exclude.clone());
        options.exclude_caches = job.exclude_caches;
        options.one_file_system = job.one_file_system;
        let (inputs, repository) = (job.inputs(), &job.repository);
        let creation = Creation { repository, name: &name, inputs, command: None, options };
        let made = creation.run(self.ui)?;
        if made.report.archive.archive.file_count == 0 && self.ui.problem_count() == 0 {
            let text = words::no_files(&made.report.archive.name);
            self.ui.report(&Problem::new(Cause::Other, None, text));
        }
        // The archive is there, whatever can be said of the rest.
        let size = measure(made.repository()).ok();
        Ok((Archived::new(&made), size))
    }

    fn prune(&mut self) -> Result<(), Failure> {
        let Some(rules) = self.job.keep.clone() else { return Ok(()) };
        let (job, ui) = (self.job, self.ui);
        let prefix = job.prefix().map_err(Failure::Usage)?;
        let own = job.own().map_err(Failure::Usage)?;
        let (count, bytes, size) = self.watch(|| {
            let mut repository = session::pruner(&job.repository, ui)?;
            let (prefix, own, threads) = (prefix.as_str(), Some(&own), job.threads);
            let pruning = Pruning { prefix, own, tags: &[], rules, threads };
            let doomed = pruning.plan(&repository, ui)?.doomed();
            let freed = remove(&mut repository, &doomed, job.threads, false, ui)?;
            Ok::<_, Failure>((doomed.len() as u64, freed.stored_len, measure(&repository)?))
        })?;
        (self.report.pruned, self.report.size) = (Some((count, bytes)), Some(size));
        Ok(())
    }

    fn compact(&mut self) -> Result<(), Failure> {
        let Some(time) = self.job.compact.and_then(|most| self.within_window(most)) else {
            return Ok(());
        };
        let (job, ui) = (self.job, self.ui);
        let size = self.watch(|| {
            let mut repository = session::pruner(&job.repository, ui)?;
            let compacting = Compacting {
                compression: COMPRESSION,
                max_duration: Some(time),
                threads: job.threads,
            };
            compacting.run(&mut repository, ui)?;
            measure(&repository)
        })?;
        self.report.size = Some(size);
        Ok(())
    }

    fn check(&mut self) -> Result<(), Failure> {
        let Some(time) = self.job.verify.and_then(|most| self.within_window(most)) else {
            return Ok(());
        };
        let (job, ui, before) = (self.job, self.ui, self.ui.problem_count());
        let mut checking = Checking::new(job.threads);
        checking.verify_data = true;
        checking.max_duration = Some(time);
        let checked = self.watch(|| checking.run(&job.repository, ui, &mut |_| Ok(())))?;
        if let Some(found) = &checked.found {
            ui.complain(found);
        }
        self.report.is_checked = ui.problem_count() == before;
        if !self.report.is_checked {
            self.report.is_at_best(Outcome::Damaged);
        }
        self.report.verified = checked.verified;
        Ok(())
    }

    /// Does something that takes its time, in a thread that may be confined for it, and ends everything if a signal comes.
    fn watch<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let done = std::thread::scope(|scope| {
            let (give, take) = channel();
            let worker = scope.spawn(move || {
                let done = work();
                let _nobody = give.send(());
                done
            });
            while let Err(RecvTimeoutError::Timeout) = take.recv_timeout(LOOK) {
                self.end_if_signalled();
            }
            worker.join()
        });
        umask(self.mask);
        done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// Runs the hook of that name, unless a signal came. If one comes meanwhile that is the end.
    fn hook(&self, name: &'static str, limit: Duration) -> Result<(), bool> {
        self.end_if_signalled();
        let done = self.run_hook(name, limit);
        self.end_if_signalled();
        done
    }

    /// Runs the hook of that name, if there is one. That it failed is told of, with what it said; the error is whether it
    /// was begun.
    fn run_hook(&self, name: &'static str, limit: Duration) -> Result<(), bool> {
        let Some(line) = self.job.hooks.line(name) else { return Ok(()) };
        let is_in_a_hurry =
            matches!(name, "freeze" | "snapshot") && self.job.hooks.freeze.is_some();
        let if_late = match limit < self.job.hooks.timeout {
            true => words::FROZEN_TOO_LONG,
            false => words::HOOK_TOO_LONG,
        };
        let hook = Hook { line, limit, if_late, gently: !is_in_a_hurry };
        // What lets the guest go on and takes the snapshot away is not ended by a signal.
        let ending = Some(self.ending).filter(|_| !matches!(name, "thaw" | "cleanup"));
        let done = hook.run(&self.told(), ending);
        done.map_err(|unwell| {
            if unwell.is_signalled {
                // What ended it is told of by who ends the night.
                return true;
            }
            unwell.said.iter().for_each(|said| self.ui.complain(&format!("{name} hook: {said}")));
            let text = words::hook(name, &unwell.why);
            self.say(&Problem::new(Cause::Other, None, text));
            unwell.has_run
        })
    }

    fn told(&self) -> Told {
        Told {
            job: self.job.name.clone(),
            repository: self.job.repository.display().to_string(),
            archive: self.report.archive.as_ref().map_or(String::new(), |made| made.name.clone()),
            error: self.ui.first_problem(),
        }
    }

    /// If somebody wants us to end: the hooks that are owed, in the place of everything else.
    fn end_if_signalled(&self) {
        let Some(signal) = self.ending.signal() else { return };
        let Owed { cleanup, failed, finally } = self.owes;
        let owed = [("cleanup", cleanup), ("failed", failed), ("finally", finally)];
        let lines: Vec<&str> = owed
            .iter()
            .filter(|(_, owed)| *owed)
            .filter_map(|(name, _)| self.job.hooks.line(name))
            .collect();
        let error = words::signalled(signal);
        self.ui.complain(&error);
        let told = Told { error, ..self.told() };
        let code = signal.saturating_add(128);
        // It is ours until the last of them has ended.
        let turn = self.turn.as_ref().and_then(|turn| turn.try_clone().ok());
        umask(self.mask);
        let failed = hand_over(&lines, self.job.hooks.timeout, &told, code, turn);
        self.ui.complain(&words::not_handed_over(&failed));
        std::process::exit(i32::from(code));
    }

    fn fail(&mut self, failure: &Failure) {
        self.report.is_at_best(Outcome::of(failure));
        self.say(&words::failed(self.job, failure));
    }

    fn say(&self, problem: &Problem) {
        self.ui.report(problem);
    }
}

fn measure(repository: &Repository) -> Result<Size, Failure> {
    let archives = repository.archive_names()?.len() as u64;
    Ok(Size { archives, stored_bytes: repository.stored_len()? })
}

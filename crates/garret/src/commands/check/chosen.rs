//! `garret check` of some archives, or of one file: whether these can be restored.
//!
//! In: which archives. Out: what they lack. With `--verify-data` they are restored to nowhere, so what is read is what they
//! need, to the byte.

use std::ffi::OsStr;

use garret_core::{
    CheckOptions, Destination, NamedArchive, Phase, Problem, Progress, Repository, RestoreOptions,
    Selection, Task,
};

use super::document::Document;
use crate::archives;
use garret_cli::failure::Failure;
use garret_cli::location::Location;
use garret_cli::render::plural;
use garret_cli::session;
use garret_cli::steps::verdict::{closing, of_archives};
use garret_cli::ui::Ui;

/// What to do where reading archives found something.
const ADVICE: &str = "run garret check --verify-data of the whole repository, which notes damaged packs, so that the next \
                      garret create of the same files stores again what they held";

/// The same where the damaged packs are noted.
const NOTED: &str = "run garret create of the same files, which stores again what the damaged packs held: they are noted";

/// What is to be said where packs are damaged and nothing of them was read.
const DOUBT: &str = "note: packs of this repository are damaged; --verify-data finds out whether these archives need what is \
                     lost of them";

/// What is to be checked.
pub(super) struct Chosen<'a> {
    /// The one archive of this name.
    pub(super) name: Option<&'a str>,
    /// Without a name: so many, the newest.
    pub(super) newest: usize,
    /// Only this file.
    pub(super) file: Option<&'a OsStr>,
    /// Whether every byte is read.
    pub(super) verify_data: bool,
    /// Whether a document is printed in place of texts.
    pub(super) json: bool,
    pub(super) threads: usize,
}

impl Chosen<'_> {
    /// Checks that in the repository at `path`.
    pub(super) fn check(&self, path: &Location, ui: &Ui) -> Result<(), Failure> {
        let repository = session::checker(path, ui)?;
        let archives = match self.name {
            Some(name) => vec![archives::find(&repository, name, ui)?],
            None => archives::newest_of(&repository, self.newest, ui)?,
        };
        let mut selection = Selection::default();
        if let (Some(word), Some(archive)) = (self.file, archives.first()) {
            selection = Selection::new([archives::one_file(&repository, archive, word)?]);
        }
        self.say("Starting archive consistency check...\n", ui)?;
        let document = match self.verify_data {
            true => {
                let lost = self.read(&repository, &archives, &selection, ui);
                let noted = if repository.is_trusted() { repository.note_damaged(ui) } else { 0 };
                let advice = if noted > 0 { NOTED } else { ADVICE };
                let of = of_archives(archives.len() as u64, &words(&lost));
                Document {
                    verify_data: true,
                    archives: archives.len() as u64,
                    verdict: (!lost.is_empty()).then(|| format!("{of}; {advice}")),
                    incomplete: lost,
                    ..Document::default()
                }
            }
            false => {
                let mut options = CheckOptions::default();
                (options.archives, options.records) = (true, repository.is_trusted());
                options.threads = self.threads;
                let names = archives.into_iter().map(|archive| archive.name).collect();
                let checked = repository.check_packs(&options, ui)?;
                let report = checked.check_some(names, &selection, ui)?;
                let verdict = match report.problem_count {
                    0 => (report.damaged_packs > 0).then(|| DOUBT.to_owned()),
                    _ => Some(closing(&report, &options)),
                };
                Document::of(report, false, verdict)
            }
        };
        if ui.problem_count() == 0 && document.verdict.is_none() {
            self.say("Archive consistency check complete, no problems found.\n", ui)?;
        }
        document.verdict.iter().for_each(|line| ui.complain(line));
        if self.json { document.print(repository.as_ref(), path, ui) } else { Ok(()) }
    }

    fn say(&self, text: &str, ui: &Ui) -> Result<(), Failure> {
        if self.json { Ok(()) } else { ui.print(text) }
    }

    /// Reads all that the archives need. Those of which something cannot be had, and how many files, if that can be told.
    fn read(
        &self,
        repository: &Repository,
        archives: &[NamedArchive],
        selection: &Selection,
        ui: &Ui,
    ) -> Vec<(String, Option<u64>)> {
        let mut options = RestoreOptions::default();
        options.threads = self.threads;
        let mut lost = Vec::new();
        for archive in archives {
            let (to, mut selection) = (Destination::Nowhere, selection.clone());
            let progress = InArchive { name: &archive.name, ui };
            match repository.restore(archive, &mut selection, to, &options, &progress) {
                Ok(report) if report.problem_count == 0 => {}
                Ok(report) => lost.push((archive.name.clone(), Some(report.problem_count))),
                Err(error) => {
                    ui.report(&(&error).into());
                    lost.push((archive.name.clone(), None));
                }
            }
        }
        lost
    }
}

fn words(lost: &[(String, Option<u64>)]) -> Vec<String> {
    let word = |(name, files): &(String, Option<u64>)| match files {
        Some(count) => format!("{name} ({})", plural(*count, "file")),
        None => format!("{name} (not all of it can be looked at)"),
    };
    lost.iter().map(word).collect()
}

/// Passes on what is wrong with an archive, with its name: of several, each may have the file. What to do is said at the end.
struct InArchive<'a> {
    name: &'a str,
    ui: &'a Ui,
}

impl Progress for InArchive<'_> {
    fn begin(&self, phase: Phase, total: Option<u64>) -> Box<dyn Task + '_> {
        self.ui.begin(phase, total)
    }

    fn notice(&self, text: &str) {
        self.ui.notice(text);
    }

    fn problem(&self, problem: &Problem) {
        let mut problem = problem.clone();
        problem.text = format!("backups/{}: {}", self.name, problem.text);
        problem.hint = None;
        self.ui.problem(&problem);
    }
}

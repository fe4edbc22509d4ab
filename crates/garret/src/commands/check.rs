//! `garret check`: checks a repository. Findings go to stderr, attic's texts about the passes to stdout.

mod chosen;
mod document;

use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::time::Duration;

use garret_core::{CheckOptions, Progress, RepairReport};

use crate::location;
use chosen::Chosen;
use document::Document;
use garret_cli::args::{AcceptState, Threads, Usual, duration};
use garret_cli::failure::{self, Failure};
use garret_cli::location::Location;
use garret_cli::render::plural;
use garret_cli::steps::check::{Checking, Stage, keys};
use garret_cli::steps::verdict::closing;
use garret_cli::ui::Ui;
use garret_cli::{overview, render, session};

/// Arguments of `check`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Check only the packs
    #[arg(long, conflicts_with = "archives_only")]
    repository_only: bool,
    /// Check only the archives
    #[arg(long, conflicts_with = "verify_data")]
    archives_only: bool,
    /// Read, decrypt and verify every byte
    #[arg(long)]
    verify_data: bool,
    /// With --verify-data: end the reading after this time, as 30m or 2h; the next run goes on
    #[arg(long, value_name = "DURATION", value_parser = duration, requires = "verify_data")]
    max_duration: Option<Duration>,
    /// Check only the N newest archives
    #[arg(long, value_name = "N", conflicts_with_all = ["repository_only", "max_duration"])]
    newest: Option<NonZeroUsize>,
    /// Read every byte, store again what is intact in damaged packs, and move these to quarantine/
    #[arg(long, conflicts_with_all = ["repository_only", "archives_only", "max_duration", "newest"])]
    repair: bool,
    /// Show what was found as JSON, and nothing else
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    threads: Threads,
    #[command(flatten)]
    accept_state: AcceptState,
    #[command(flatten)]
    usual: Usual,
    /// The repository, or one archive
    #[arg(value_name = "REPO[::NAME]")]
    location: OsString,
    /// Only this file of the archive
    #[arg(value_name = "PATH")]
    path: Option<OsString>,
}

pub(crate) fn run(args: &Args, ui: &Ui) -> Result<(), Failure> {
    args.usual.tell(ui);
    args.accept_state.tell(ui);
    let (path, name) = match &args.path {
        Some(file) => location::archive(&args.location, std::slice::from_ref(file))
            .map(|(path, name)| (path, Some(name)))?,
        None => location::either(&args.location)?,
    };
    let is_whole =
        args.repair || args.repository_only || args.max_duration.is_some() || args.newest.is_some();
    if name.is_some() && is_whole {
        // Which is said of the location, as of any that should be a repository.
        location::repository(&args.location)?;
    }
    if args.repair {
        return repair(&path, args, ui);
    }
    if name.is_some() || args.newest.is_some() {
        let chosen = Chosen {
            name: name.as_deref(),
            newest: args.newest.map_or(0, usize::from),
            file: args.path.as_deref(),
            verify_data: args.verify_data,
            json: args.json,
            threads: args.threads.count(),
        };
        return chosen.check(&path, ui);
    }
    let mut checking = Checking::new(args.threads.count());
    checking.packs = !args.archives_only;
    checking.archives = !args.repository_only;
    checking.verify_data = args.verify_data;
    checking.max_duration = args.max_duration;
    let checked = checking.run(&path, ui, &mut |stage| args.say(said(stage), ui))?;
    if let Some(found) = &checked.found {
        ui.complain(found);
    }
    if args.json {
        let document = Document::of(checked.report, args.verify_data, checked.found);
        return document.print(checked.repository.as_ref(), &path, ui);
    }
    match &checked.verified {
        Some(verified) => ui.print(&format!("{}\n", overview::verified(verified))),
        None => Ok(()),
    }
}

impl Args {
    /// Prints a line for people.
    fn say(&self, text: &str, ui: &Ui) -> Result<(), Failure> {
        if self.json { Ok(()) } else { ui.print(text) }
    }
}

/// attic's texts.
fn said(stage: Stage) -> &'static str {
    match stage {
        Stage::Packs => "Starting repository check...\n",
        Stage::PacksFine => "Repository check complete, no problems found.\n",
        Stage::Archives => "Starting archive consistency check...\n",
        Stage::ArchivesFine => "Archive consistency check complete, no problems found.\n",
    }
}

/// Mends what can be mended, and says what archives lack then.
fn repair(path: &Location, args: &Args, ui: &Ui) -> Result<(), Failure> {
    let threads = args.threads.count();
    let mut repository = session::exclusive(path, ui)?;
    args.say("Starting repository repair...\n", ui)?;
    keys(path, ui)?;
    let repaired = repository.repair(threads, ui).map_err(|error| {
        failure::full(error, "nothing that is needed was removed", "garret check --repair")
    })?;
    tell(&repaired, ui);
    if ui.problem_count() == 0 && repaired.made_copies == 0 {
        args.say("Repository repair complete, no problems found.\n", ui)?;
    } else {
        args.say("Repository repair complete.\n", ui)?;
    }
    repository.look_again(ui)?;
    let mut options = CheckOptions::default();
    options.archives = true;
    options.threads = threads;
    args.say("Starting archive consistency check...\n", ui)?;
    let before = ui.problem_count();
    let report = repository.check(&options, ui)?;
    let mut verdict = None;
    if ui.problem_count() == before {
        args.say("Archive consistency check complete, no problems found.\n", ui)?;
    } else {
        // Every byte was read a moment ago.
        options.verify_data = true;
        ui.complain(verdict.insert(closing(&report, &options)));
    }
    if args.json {
        let document = Document { repair: Some(repaired), ..Document::of(report, true, verdict) };
        return document.print(&repository, path, ui);
    }
    Ok(())
}

/// What was mended, in lines.
fn tell(repaired: &RepairReport, ui: &Ui) {
    let RepairReport {
        quarantined_packs,
        quarantined_bytes,
        saved_bytes,
        made_index,
        mended_files,
        made_copies,
        ..
    } = *repaired;
    if mended_files > 0 {
        ui.notice(&format!(
            "put {} of keys and archives back from second copies; what was there is in quarantine/",
            plural(mended_files, "file")
        ));
    }
    if made_copies > 0 {
        let files = plural(made_copies, "file");
        ui.notice(&format!("made {files} in copies/ anew, missing or damaged before"));
    }
    if made_index {
        ui.notice("the index was made anew from the packs");
    }
    if quarantined_packs > 0 {
        ui.notice(&format!(
            "{} ({}) went to quarantine/, and {} of what is intact in them were stored again: remove that directory when \
             everything is as you want it",
            plural(quarantined_packs, "damaged pack"),
            render::size(quarantined_bytes),
            render::size(saved_bytes)
        ));
    }
}

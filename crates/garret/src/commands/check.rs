//! `garret check`: checks a repository. Findings go to stderr, attic's texts about the passes to stdout.

mod chosen;
mod verdict;

use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::path::Path;
use std::time::Duration;

use garret_core::{CheckOptions, Progress, RepairReport};

use crate::location;
use chosen::Chosen;
use garret_cli::args::{AcceptState, LockWait, PassphraseFile, Threads, Verbose, duration};
use garret_cli::failure::{self, Failure};
use garret_cli::render::plural;
use garret_cli::ui::Ui;
use garret_cli::{overview, render, session};
use verdict::closing;

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
    #[command(flatten)]
    threads: Threads,
    #[command(flatten)]
    lock_wait: LockWait,
    #[command(flatten)]
    accept_state: AcceptState,
    #[command(flatten)]
    verbose: Verbose,
    #[command(flatten)]
    passphrase: PassphraseFile,
    /// The repository, or one archive
    #[arg(value_name = "REPO[::NAME]")]
    location: OsString,
    /// Only this file of the archive
    #[arg(value_name = "PATH")]
    path: Option<OsString>,
}

pub(crate) fn run(args: &Args, ui: &Ui) -> Result<(), Failure> {
    args.verbose.tell(ui);
    args.passphrase.tell(ui);
    args.lock_wait.tell(ui);
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
        return repair(&path, args.threads.count(), ui);
    }
    if name.is_some() || args.newest.is_some() {
        let chosen = Chosen {
            name: name.as_deref(),
            newest: args.newest.map_or(0, usize::from),
            file: args.path.as_deref(),
            verify_data: args.verify_data,
            threads: args.threads.count(),
        };
        return chosen.check(&path, ui);
    }
    let repository = session::checker(&path, ui)?;
    let mut options = CheckOptions::default();
    options.packs = !args.archives_only;
    options.archives = !args.repository_only;
    options.verify_data = args.verify_data;
    options.records = repository.is_trusted();
    options.max_duration = args.max_duration;
    options.threads = args.threads.count();
    if options.packs {
        ui.print("Starting repository check...\n")?;
        keys(&path, ui)?;
    }
    let checked = repository.check_packs(&options, ui)?;
    if options.packs && ui.problem_count() == 0 {
        ui.print("Repository check complete, no problems found.\n")?;
    }
    let report = match options.archives {
        true => {
            ui.print("Starting archive consistency check...\n")?;
            let before = ui.problem_count();
            let report = checked.check_archives(ui)?;
            if ui.problem_count() == before && report.problem_count == 0 {
                ui.print("Archive consistency check complete, no problems found.\n")?;
            }
            report
        }
        false => checked.report().clone(),
    };
    if report.problem_count > 0 {
        ui.complain(&closing(&report, &options));
    }
    if args.max_duration.is_some() {
        ui.print(&format!("{}\n", overview::verified(&repository.verified(ui)?)))?;
    }
    Ok(())
}

/// Mends what can be mended, and says what archives lack then.
fn repair(path: &Path, threads: usize, ui: &Ui) -> Result<(), Failure> {
    let mut repository = session::exclusive(path, ui)?;
    ui.print("Starting repository repair...\n")?;
    keys(path, ui)?;
    let repaired = repository.repair(threads, ui).map_err(|error| {
        failure::full(error, "nothing that is needed was removed", "garret check --repair")
    })?;
    let RepairReport {
        quarantined_packs,
        quarantined_bytes,
        saved_bytes,
        made_index,
        mended_files,
        made_copies,
        ..
    } = repaired;
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
    if ui.problem_count() == 0 && made_copies == 0 {
        ui.print("Repository repair complete, no problems found.\n")?;
    } else {
        ui.print("Repository repair complete.\n")?;
    }
    repository.look_again(ui)?;
    let mut options = CheckOptions::default();
    options.archives = true;
    options.threads = threads;
    ui.print("Starting archive consistency check...\n")?;
    let before = ui.problem_count();
    let report = repository.check(&options, ui)?;
    if ui.problem_count() == before {
        ui.print("Archive consistency check complete, no problems found.\n")?;
    } else {
        // Every byte was read a moment ago.
        options.verify_data = true;
        ui.complain(&closing(&report, &options));
    }
    Ok(())
}

/// A key that nobody uses is needed on the day on which the others are lost: its damage is to be known before.
fn keys(path: &Path, ui: &Ui) -> Result<(), Failure> {
    let slots = session::find(path)?.slots()?;
    slots
        .iter()
        .filter_map(|(_, slot)| slot.as_ref().err())
        .for_each(|error| ui.report(&error.into()));
    Ok(())
}

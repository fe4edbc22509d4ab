//! `garret check`: checks a repository. Findings go to stderr, attic's texts about the passes to stdout.

use std::ffi::OsString;
use std::path::Path;

use garret_core::{CheckOptions, CheckReport, Incomplete};

use crate::location;
use garret_cli::args::{LockWait, PassphraseFile, Threads, Verbose};
use garret_cli::failure::Failure;
use garret_cli::session;
use garret_cli::ui::Ui;

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
    /// Refused: create and prune mend what check finds
    #[arg(long)]
    repair: bool,
    #[command(flatten)]
    threads: Threads,
    #[command(flatten)]
    lock_wait: LockWait,
    #[command(flatten)]
    verbose: Verbose,
    #[command(flatten)]
    passphrase: PassphraseFile,
    /// The repository
    #[arg(value_name = "REPO")]
    repository: OsString,
}

pub(crate) fn run(args: &Args, ui: &Ui) -> Result<(), Failure> {
    args.verbose.tell(ui);
    args.passphrase.tell(ui);
    args.lock_wait.tell(ui);
    let path = location::repository(&args.repository)?;
    if args.repair {
        return Err(Failure::Fatal(REPAIR.to_owned()));
    }
    let (repository, is_trusted) = session::checker(&path, ui)?;
    let mut options = CheckOptions::default();
    options.packs = !args.archives_only;
    options.archives = !args.repository_only;
    options.verify_data = args.verify_data;
    options.record_damage = is_trusted;
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

/// What is damaged, what of it cannot be restored and what can, and what to do: on one line.
fn closing(report: &CheckReport, options: &CheckOptions) -> String {
    let mut parts = Vec::new();
    let packs = report.pack_count + report.missing_packs;
    for (count, what) in [
        (report.damaged_packs, format!("of {} damaged", plural(packs, "pack"))),
        (report.missing_packs, format!("of {} missing", plural(packs, "pack"))),
        (report.damaged_segments, "of the index's segments damaged".to_owned()),
    ] {
        parts.extend((count > 0).then(|| format!("{count} {what}")));
    }
    if options.archives {
        parts.push(restorable(report));
    }
    parts.push(advice(report, options).to_owned());
    parts.join("; ")
}

/// Which archives are whole.
fn restorable(report: &CheckReport) -> String {
    let CheckReport { archive_count: all, incomplete, .. } = report;
    let one = |archive: &Incomplete| match archive.file_count {
        Some(count) => format!("{} ({})", archive.name, plural(count, "file")),
        None => format!("{} (not all of it can be looked at)", archive.name),
    };
    let mut names: Vec<String> = incomplete.iter().take(NAMES_SHOWN).map(one).collect();
    names.extend((incomplete.len() > NAMES_SHOWN).then(|| "...".to_owned()));
    let lost = incomplete.len() as u64;
    let others = match all.saturating_sub(lost) {
        0 => String::new(),
        whole => format!("; the other {whole} can"),
    };
    match lost {
        0 => "every archive can be restored whole".to_owned(),
        _ => format!(
            "{lost} of {} cannot be restored whole: {}{others}",
            plural(*all, "archive"),
            names.join(", ")
        ),
    }
}

/// How many archives the last line names.
const NAMES_SHOWN: usize = 10;

/// What to run next.
fn advice(report: &CheckReport, options: &CheckOptions) -> &'static str {
    let is_lost = !report.incomplete.is_empty();
    if report.damaged_segments > 0 {
        "remove what is in index/ while no program is running, which is made again from the packs, and run garret \
         check again"
    } else if !options.archives || !options.verify_data && report.damaged_packs > 0 {
        "run garret check --verify-data to see which files are concerned"
    } else if is_lost && report.damaged_packs > 0 {
        "to mend them, run garret create of the same files: it stores again what these still have; garret prune then \
         drops the damaged packs, and archives that stay damaged can be deleted"
    } else if is_lost {
        "to mend them, run garret create of the same files: it stores again what these still have; archives that \
         stay damaged can be deleted"
    } else if report.damaged_packs > 0 {
        "run garret prune, which drops the damaged packs"
    } else {
        "remove what is in index/ while no program is running: it is made again from the packs"
    }
}

fn plural(count: u64, word: &str) -> String {
    format!("{count} {word}{}", if count == 1 { "" } else { "s" })
}

/// Why there is no repair, and what there is instead.
const REPAIR: &str = "check --repair is not supported, and nothing was changed: run check --verify-data, create archives of \
                      the same files, which stores again what is damaged, then prune, which drops the damaged packs, and \
                      delete archives that stay damaged";

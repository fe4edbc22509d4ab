//! `garret check`: checks a repository. Findings go to stderr, attic's texts about the passes to stdout.

use std::ffi::OsString;
use std::path::Path;

use garret_core::{CheckOptions, CheckReport, Incomplete, Progress, RepairReport};

use crate::location;
use garret_cli::args::{LockWait, PassphraseFile, Threads, Verbose};
use garret_cli::failure::Failure;
use garret_cli::render::plural;
use garret_cli::ui::Ui;
use garret_cli::{render, session};

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
    /// Read every byte, store again what is intact in damaged packs, and move these to quarantine/
    #[arg(long, conflicts_with_all = ["repository_only", "archives_only"])]
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
        return repair(&path, args.threads.count(), ui);
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

/// Mends what can be mended, and says what archives lack then.
fn repair(path: &Path, threads: usize, ui: &Ui) -> Result<(), Failure> {
    let mut repository = session::exclusive(path, ui)?;
    ui.print("Starting repository repair...\n")?;
    keys(path, ui)?;
    let repaired = repository.repair(threads, ui)?;
    let RepairReport { quarantined_packs, quarantined_bytes, saved_bytes, made_index, .. } =
        repaired;
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
    if ui.problem_count() == 0 {
        ui.print("Repository repair complete, no problems found.\n")?;
    } else {
        ui.print("Repository repair complete.\n")?;
    }
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
        "run garret check --repair, which makes the index anew from the packs"
    } else if !options.archives || !options.verify_data && report.damaged_packs > 0 {
        "run garret check --verify-data to see which files are concerned"
    } else if is_lost && report.damaged_packs + report.missing_packs > 0 {
        "to mend them, run garret create of the same files: it stores again what these still have; garret prune then \
         drops the damaged packs; if some stay damaged, garret check --repair sets the packs aside so that prune goes on, \
         and garret extract --salvage restores what is left of a file"
    } else if is_lost {
        "to mend them, run garret create of the same files: it stores again what these still have; of what stays \
         damaged, garret extract --salvage restores what is left; such archives can be deleted"
    } else if report.damaged_packs > 0 {
        "run garret prune, which drops the damaged packs"
    } else {
        "run garret check --repair, which makes the index anew from the packs"
    }
}

//! `garret sync`: brings a copy of a repository up to date.

use std::ffi::OsString;

use garret_cli::args::{AcceptState, LockWait, PassphraseFile, Verbose, since};
use garret_cli::failure::Failure;
use garret_cli::record::{self, Record};
use garret_cli::render::{self, plural};
use garret_cli::steps;
use garret_cli::ui::Ui;
use garret_core::TransferReport;
use garret_format::archive::Time;
use serde_json::Value;

use crate::location;

/// Arguments of `sync`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only archives whose name fits, as in 'vm1-*'; any number
    #[arg(long, value_name = "GLOB")]
    archives: Vec<OsString>,
    /// Only archives that began then or later: a day, as 2026-11-20, a time, or how long ago, as 30d
    #[arg(long, value_name = "TIME", value_parser = since)]
    since: Option<Time>,
    /// Where the packs of FROM are, if that is a second place: --packs is for those of TO
    #[arg(long, value_name = "LOCATION")]
    from_packs: Option<OsString>,
    /// Show what came as JSON, and nothing else
    #[arg(long, conflicts_with = "verbose")]
    json: bool,
    #[command(flatten)]
    accept_state: AcceptState,
    #[command(flatten)]
    passphrase: PassphraseFile,
    #[command(flatten)]
    lock_wait: LockWait,
    #[command(flatten)]
    verbose: Verbose,
    /// The repository
    #[arg(value_name = "FROM")]
    from: OsString,
    /// Its copy: one that sync made, or a place where there is nothing
    #[arg(value_name = "TO")]
    to: OsString,
}

pub(crate) fn run(args: &Args, ui: &Ui) -> Result<(), Failure> {
    let is_verbose = args.verbose.tell(ui);
    args.accept_state.tell(ui);
    args.passphrase.tell(ui);
    args.lock_wait.tell(ui);
    let from_packs = args.from_packs.as_deref().map(location::whole).transpose()?;
    let from = location::whole(&args.from)?.with_packs_at(from_packs.as_ref());
    let to = location::repository(&args.to)?;
    let report = steps::sync::sync((&from, &to), (&args.archives, args.since), ui)?;
    if args.json {
        let places = [&from, &to].map(|place| place.display().to_string());
        return ui.print(&record::document(&record(&report, places).json()));
    }
    if is_verbose {
        let names =
            report.brought.iter().map(|archive| format!("{}\n", render::name(&archive.name)));
        ui.print(&names.collect::<String>())?;
    }
    ui.done(&summary(&report));
    Ok(())
}

fn summary(report: &TransferReport) -> String {
    let mut text = format!(
        "Copied {}: {}, {}",
        plural(report.brought.len() as u64, "archive"),
        plural(report.pack_count, "pack"),
        render::size(report.pack_bytes)
    );
    let others = [
        (report.present_count, "there already"),
        (report.older_count, "older"),
        (report.deleted_count, "deleted there"),
    ];
    for (count, what) in others.into_iter().filter(|(count, _)| *count > 0) {
        text.push_str(&format!("; {count} {what}"));
    }
    text
}

fn record(report: &TransferReport, [from, to]: [String; 2]) -> Record {
    let copied: Value = report.brought.iter().map(|archive| archive.name.clone()).collect();
    Record::default()
        .with("from", from)
        .with("to", to)
        .with("copied", copied)
        .with("packs", report.pack_count)
        .with("stored_size", report.pack_bytes)
        .with("present", report.present_count as u64)
        .with("older", report.older_count as u64)
        .with("deleted_there", report.deleted_count as u64)
}

//! `garret sync`: brings a copy of a repository up to date.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use garret_cli::args::{AcceptState, LockWait, PassphraseFile, Threads, Verbose, since};
use garret_cli::failure::Failure;
use garret_cli::record::{self, Record};
use garret_cli::render::{self, plural};
use garret_cli::steps::sync::{SyncReport, Syncing, sync};
use garret_cli::ui::Ui;
use garret_core::Patterns;
use garret_format::archive::Time;
use serde_json::Value;

use super::delete;
use crate::location;

/// Arguments of `sync`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Change nothing; show what would come and go
    #[arg(short = 'n', long, conflicts_with = "accept_state")]
    dry_run: bool,
    /// Only archives whose name fits, as in 'vm1-*'; any number
    #[arg(long, value_name = "GLOB")]
    archives: Vec<OsString>,
    /// Only archives that began then or later: a day, as 2026-11-20, a time, or how long ago, as 30d
    #[arg(long, value_name = "TIME", value_parser = since)]
    since: Option<Time>,
    /// Where the packs of FROM are, if that is a second place: --packs is for those of TO
    #[arg(long, value_name = "LOCATION")]
    from_packs: Option<OsString>,
    /// Delete in TO what was deleted in FROM while it was whole; what is protected in TO stays
    #[arg(long, conflicts_with = "accept_state")]
    delete: bool,
    /// Do so even if that is more than half of what is in TO and fits --archives
    #[arg(long, requires = "delete")]
    force: bool,
    /// Show what came and what went as JSON, and nothing else
    #[arg(long, conflicts_with = "verbose")]
    json: bool,
    #[command(flatten)]
    accept_state: AcceptState,
    #[command(flatten)]
    passphrase: PassphraseFile,
    #[command(flatten)]
    lock_wait: LockWait,
    #[command(flatten)]
    threads: Threads,
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
    let syncing = Syncing {
        patterns: Patterns::new(args.archives.iter().cloned().map(OsStringExt::into_vec)),
        since: args.since,
        deletes: args.delete,
        force: args.force,
        is_dry: args.dry_run,
        threads: args.threads.count(),
    };
    let report = sync((&from, &to), &syncing, ui)?;
    if args.json {
        let places = [&from, &to].map(|place| place.display().to_string());
        ui.print(&record::document(&record(&report, places, args.dry_run).json()))?;
    } else if is_verbose || args.dry_run {
        let (coming, going) =
            if args.dry_run { ("would copy ", "would delete ") } else { ("", "deleted ") };
        let brought = report.transfer.brought.iter();
        let brought = brought.map(|archive| format!("{coming}{}\n", render::name(&archive.name)));
        let deleted = report.deleted.iter().map(|name| format!("{going}{}\n", render::name(name)));
        ui.print(&brought.chain(deleted).collect::<String>())?;
    }
    if !args.json {
        ui.done(&summary(&report, args));
    }
    report.kept.map_or(Ok(()), Err)
}

fn summary(report: &SyncReport, args: &Args) -> String {
    let came = &report.transfer;
    let archives = plural(came.brought.len() as u64, "archive");
    let mut text = match args.dry_run {
        true => format!("Would copy {archives}"),
        false => {
            let packs = plural(came.pack_count, "pack");
            format!("Copied {archives}: {packs}, {}", render::size(came.pack_bytes))
        }
    };
    let others = [
        (came.present_count, "there already"),
        (came.older_count, "older"),
        (came.deleted_count, "deleted there"),
    ];
    for (count, what) in others.into_iter().filter(|(count, _)| *count > 0) {
        text.push_str(&format!("; {count} {what}"));
    }
    if args.delete {
        let deleted = plural(report.deleted.len() as u64, "archive");
        text.push_str(&match args.dry_run {
            true => format!("; would delete {deleted}"),
            false => format!("; deleted {deleted}: {}", delete::given_back(&report.freed)),
        });
        if report.protected_count > 0 {
            text.push_str(&format!("; {} protected", report.protected_count));
        }
    }
    text
}

fn record(report: &SyncReport, [from, to]: [String; 2], is_dry: bool) -> Record {
    let (came, freed) = (&report.transfer, &report.freed);
    let copied: Value = came.brought.iter().map(|archive| archive.name.clone()).collect();
    let deleted: Value = report.deleted.iter().cloned().collect();
    // A dry run does not look at packs.
    let done = |value: u64| (!is_dry).then_some(value);
    Record::default()
        .with("from", from)
        .with("to", to)
        .with("dry_run", is_dry)
        .with("copied", copied)
        .with("packs", done(came.pack_count))
        .with("stored_size", done(came.pack_bytes))
        .with("present", came.present_count as u64)
        .with("older", came.older_count as u64)
        .with("deleted_there", came.deleted_count as u64)
        .with("deleted", deleted)
        .with("protected", report.protected_count as u64)
        .with("freed_size", done(freed.stored_len))
        .with("waiting_size", done(freed.waiting_len))
}

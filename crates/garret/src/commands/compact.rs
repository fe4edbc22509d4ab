//! `garret compact`: makes what is old in a repository small.

use std::ffi::OsString;
use std::time::Duration;

use garret_core::Compression;

use super::info;
use crate::location;
use garret_cli::args::{AcceptState, Threads, Usual, compression, duration};
use garret_cli::failure::Failure;
use garret_cli::record::{self, Record};
use garret_cli::steps::compact::{COMPRESSION, Compacted, Compacting};
use garret_cli::ui::Ui;
use garret_cli::{render, session};

/// Arguments of `compact`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Change nothing; show how much would be rewritten, and about what that would save
    #[arg(short = 'n', long, conflicts_with = "accept_state")]
    dry_run: bool,
    /// How what is rewritten is compressed, as in create: zstd,19 unless it is said; lzma is smaller, and slow to restore
    #[arg(short = 'C', long, value_name = "CODEC", value_parser = compression)]
    compression: Option<Compression>,
    /// Begin nothing more after this time, as 30m or 2h; the next run goes on
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    max_duration: Option<Duration>,
    /// Show what was rewritten and saved as JSON, and nothing else
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    threads: Threads,
    #[command(flatten)]
    accept_state: AcceptState,
    #[command(flatten)]
    usual: Usual,
    /// The repository
    #[arg(value_name = "REPO")]
    repository: OsString,
}

pub(crate) fn run(args: &Args, ui: &Ui) -> Result<(), Failure> {
    args.usual.tell(ui);
    args.accept_state.tell(ui);
    let path = location::repository(&args.repository)?;
    let compacting = Compacting {
        compression: args.compression.unwrap_or(COMPRESSION),
        max_duration: args.max_duration,
        threads: args.threads.count(),
    };
    if args.dry_run {
        let repository = session::reader(&path, ui)?;
        let plan = compacting.plan(&repository, ui)?;
        if args.json {
            let whole = info::sizes(info::repository_record(&repository, &path), &repository, ui)?;
            let all = Record::default()
                .with("repository", whole.json())
                .with("dry_run", true)
                .with("rewritten_size", plan.plain_len)
                .with("saved_size", plan.gain_len)
                .with("waiting_size", 0)
                .with("cut_short", false);
            return ui.print(&record::document(&all.json()));
        }
        if plan.holds {
            return Ok(());
        }
        return ui.print(&format!(
            "Would rewrite:   {}, which takes {}\nWould save:      about {}\n",
            render::size(plan.plain_len),
            render::size(plan.stored_len),
            render::size(plan.gain_len)
        ));
    }
    let mut repository = session::pruner(&path, ui)?;
    let done = compacting.run(&mut repository, ui)?;
    let Compacted { report, saved_len } = done;
    if args.json {
        let whole = info::sizes(info::repository_record(&repository, &path), &repository, ui)?;
        let all = Record::default()
            .with("repository", whole.json())
            .with("dry_run", false)
            .with("rewritten_size", report.plain_len)
            .with("saved_size", saved_len)
            .with("waiting_size", report.gc.waiting_pack_bytes)
            .with("cut_short", report.is_cut_short);
        return ui.print(&record::document(&all.json()));
    }
    // Of what is damaged the problem says that nothing is done about it.
    if report.group_count > 0 || !report.gc.holds {
        ui.done(&summary(&done));
    }
    Ok(())
}

/// `Rewrote 3.20 GB: 410.00 MB saved`
fn summary(done: &Compacted) -> String {
    let Compacted { report, saved_len } = done;
    let done = match report.group_count {
        0 => "Nothing to compact".to_owned(),
        _ => format!("Rewrote {}", render::size(report.plain_len)),
    };
    let saved = match (report.gc.waiting_pack_bytes, u64::try_from(*saved_len)) {
        (0, _) if report.group_count == 0 => String::new(),
        (0, Ok(len)) => format!(": {} saved", render::size(len)),
        (0, Err(_)) => ": nothing saved".to_owned(),
        (waiting, _) => {
            format!("; {} of old copies go with the next compact or prune", render::size(waiting))
        }
    };
    let rest = if report.is_cut_short && !report.gc.holds { "; the next run goes on" } else { "" };
    format!("{done}{saved}{rest}")
}

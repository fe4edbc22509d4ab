//! `garret scrub`: reads what a repository stores, where it is stored, without keys. Findings go to stderr.

use std::ffi::OsString;

use garret_core::{Part, ScrubOptions, ScrubReport};
use serde_json::json;

use super::info;
use crate::location;
use garret_cli::args::{LockWait, Threads, Verbose};
use garret_cli::failure::Failure;
use garret_cli::render::plural;
use garret_cli::ui::Ui;
use garret_cli::{record, render, session};

/// Arguments of `scrub`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Read part N of M equal parts only, as in 3/7
    #[arg(long, value_name = "N/M", value_parser = part)]
    part: Option<Part>,
    /// Show what was found as JSON, and nothing else
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    threads: Threads,
    #[command(flatten)]
    lock_wait: LockWait,
    #[command(flatten)]
    verbose: Verbose,
    /// The repository
    #[arg(value_name = "REPO")]
    repository: OsString,
}

fn part(text: &str) -> Result<Part, String> {
    let parsed = text
        .split_once('/')
        .and_then(|(number, count)| Part::new(number.parse().ok()?, count.parse().ok()?));
    parsed.ok_or_else(|| "it is N/M, N from 1 to M: 3/7 is the third of seven parts".to_owned())
}

pub(crate) fn run(args: &Args, ui: &Ui) -> Result<(), Failure> {
    let is_verbose = args.verbose.tell(ui);
    args.lock_wait.tell(ui);
    let path = location::repository(&args.repository)?;
    let locked = session::find(&path)?.with_patience(ui.patience());
    let mut options = ScrubOptions::default();
    options.part = args.part.unwrap_or_default();
    options.threads = args.threads.count();
    let report = locked.scrub(&options, ui)?;
    if report.damaged_packs + report.damaged_segments + report.damaged_copies > 0 {
        ui.complain(&closing(&report));
    } else if is_verbose && !args.json {
        ui.print(&format!(
            "{}, {} of the index and {} ({}) are intact\n",
            plural(report.pack_count, "pack"),
            plural(report.segment_count, "segment"),
            plural(report.copy_count, "copied archive"),
            render::size(report.bytes)
        ))?;
    }
    if !args.json {
        return Ok(());
    }
    let repository =
        info::identity_record(&path, locked.id(), locked.protection(), locked.created()).json();
    let [number, count] = args.part.unwrap_or_default().numbers();
    ui.print(&record::document(&json!({
        "repository": repository,
        "part": { "number": number, "count": count },
        "size": report.bytes,
        "packs": report.pack_count,
        "damaged_packs": report.damaged_packs,
        "segments": report.segment_count,
        "damaged_segments": report.damaged_segments,
        "copies": report.copy_count,
        "damaged_copies": report.damaged_copies,
    })))
}

/// How much is damaged, and who can do something about it: on one line.
fn closing(report: &ScrubReport) -> String {
    let mut parts = Vec::new();
    for (damaged, all) in [
        (report.damaged_packs, plural(report.pack_count, "pack")),
        (report.damaged_segments, plural(report.segment_count, "segment") + " of the index"),
        (report.damaged_copies, plural(report.copy_count, "copied archive")),
    ] {
        parts.extend((damaged > 0).then(|| format!("{damaged} of {all} damaged")));
    }
    let advice = match report.damaged_packs {
        0 => {
            "who has the key runs garret check --repair, which makes the index anew from the packs, and copies from archives"
        }
        _ => {
            "who has the key runs garret check --verify-data, which says which files are concerned and has the next \
             garret create store them again, or garret check --repair, which sets damaged packs aside"
        }
    };
    parts.push(advice.to_owned());
    parts.join("; ")
}

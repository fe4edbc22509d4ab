//! `garret diff`: what changed from one archive to another; and how `compare` shows what it finds.

mod map;

use std::ffi::OsString;
use std::ops::Range;

use garret_core::{Change, Contents, DiffReport, Difference};
use serde_json::{Value, json};

use super::info;
use crate::archives::{self, Searched};
use crate::location;
use garret_cli::args::{Threads, Usual};
use garret_cli::failure::Failure;
use garret_cli::record::{self, Record};
use garret_cli::ui::Ui;
use garret_cli::{render, session};

/// Ranges of a file that a line shows.
const RANGES_SHOWN: usize = 4;

const EXAMPLES: &str = "\
Examples:
  garret diff /srv/backup/vms::night-1 night-2 app.raw
  garret diff --map /srv/backup/vms::night-1 latest";

/// Arguments of `diff`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Show everything as one JSON document
    #[arg(long)]
    json: bool,
    /// Show where on each disk image something changed, as blocks, also on the nights between
    #[arg(long, conflicts_with = "json")]
    map: bool,
    #[command(flatten)]
    threads: Threads,
    #[command(flatten)]
    usual: Usual,
    /// The first archive
    #[arg(value_name = "REPO::NAME")]
    from: OsString,
    /// The name of the second, in the same repository; REPO::NAME is understood as well
    #[arg(value_name = "NAME")]
    to: OsString,
    /// Only these paths and what is below them
    #[arg(value_name = "PATH")]
    paths: Vec<OsString>,
}

pub(crate) fn run(args: &Args, ui: &Ui) -> Result<(), Failure> {
    args.usual.tell(ui);
    let (path, name) = location::archive(&args.from, std::slice::from_ref(&args.to))?;
    let second = location::archive_in(&path, &args.to)?;
    let repository = session::reader(&path, ui)?;
    let from = archives::find(&repository, &name, ui)?;
    let to = archives::find(&repository, &second, ui)?;
    let mut selection = archives::selection(&args.paths);
    if args.map {
        map::show(&repository, (&from, &to), &mut selection, ui)?;
        let searched = Searched { repository: &repository, location: &path, archives: &[&to] };
        return searched.complain(&selection.unmatched(), ui);
    }
    let threads = args.threads.count();
    let report = repository.diff(&from, &to, &mut selection, threads, ui)?;
    let tags = repository.tags(ui)?;
    let sides = Record::default()
        .with("repository", info::repository_record(&repository, &path).json())
        .with("from", Record::of_archive(&from, &tags).json())
        .with("to", Record::of_archive(&to, &tags).json());
    show(&report, args.json.then_some(sides), ui)?;
    let searched = Searched { repository: &repository, location: &path, archives: &[&from, &to] };
    searched.complain(&report.unmatched, ui)
}

/// Prints what differs: a line for each path, or a JSON document that begins with the two sides.
pub(super) fn show(report: &DiffReport, sides: Option<Record>, ui: &Ui) -> Result<(), Failure> {
    match sides {
        None => ui.print(&report.changes.iter().map(line).collect::<String>()),
        Some(sides) => {
            let changes: Vec<Value> = report.changes.iter().map(json_change).collect();
            let all = sides.with("paths", report.path_count).with("changes", changes);
            ui.print(&record::document(&all.json()))
        }
    }
}

/// `changed        8192 vm.img: 0-4095, 65536-69631`
fn line(change: &Change) -> String {
    let path = render::name(&change.path);
    let text = |bytes: &[u8]| render::name(bytes);
    let (word, bytes, more) = match &change.difference {
        Difference::Added { len } => ("added", len.to_string(), String::new()),
        Difference::Removed { len } => ("removed", len.to_string(), String::new()),
        Difference::Kind { from, to } => ("changed", "-".to_owned(), format!(": {from} -> {to}")),
        Difference::Target { from, to } => {
            ("changed", "-".to_owned(), format!(": points to {} -> {}", text(from), text(to)))
        }
        Difference::Contents(contents) => {
            ("changed", contents.bytes.to_string(), format!(": {}", places(contents)))
        }
    };
    format!("{word:<7} {bytes:>12} {path}{more}\n")
}

/// The first ranges, with their last bytes, and the lengths if they differ.
fn places(contents: &Contents) -> String {
    let Contents { from_len, to_len, ranges, .. } = contents;
    let range = |range: &Range<u64>| format!("{}-{}", range.start, range.end.saturating_sub(1));
    let mut text = ranges.iter().take(RANGES_SHOWN).map(range).collect::<Vec<_>>().join(", ");
    if ranges.len() > RANGES_SHOWN {
        text += &format!(", ... ({} ranges)", ranges.len());
    }
    if from_len != to_len {
        text += &format!(", length {from_len} -> {to_len}");
    }
    text
}

fn json_change(change: &Change) -> Value {
    let record = Record::default().with_path(&change.path);
    let record = match &change.difference {
        Difference::Added { len } => record.with("change", "added").with("size", *len),
        Difference::Removed { len } => record.with("change", "removed").with("size", *len),
        Difference::Kind { from, to } => {
            record.with("change", "type").with("from", from.as_str()).with("to", to.as_str())
        }
        Difference::Target { from, to } => {
            let record = record.with("change", "target").with_bytes(["from", "from_hex"], from);
            record.with_bytes(["to", "to_hex"], to)
        }
        Difference::Contents(contents) => {
            let range = |range: &Range<u64>| json!({ "start": range.start, "end": range.end });
            record
                .with("change", "content")
                .with("from_size", contents.from_len)
                .with("to_size", contents.to_len)
                .with("bytes", contents.bytes)
                .with("ranges", contents.ranges.iter().map(range).collect::<Vec<Value>>())
        }
    };
    record.json()
}

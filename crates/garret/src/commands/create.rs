//! `garret create`: makes an archive.

use std::ffi::OsString;

use garret_core::{BackupReport, Compression, ReadErrors, Tags};
use garret_format::archive::Time;
use serde_json::json;

use super::info;
use crate::excludes::Excludes;
use crate::inputs::Inputs;
use crate::location;
use garret_cli::args::{self, AcceptState, CutterName, LockWait, PassphraseFile, Threads};
use garret_cli::failure::Failure;
use garret_cli::location::Location;
use garret_cli::record::{self, Record};
use garret_cli::steps::create::{Creation, Made, Totals};
use garret_cli::ui::Ui;
use garret_cli::{overview, render, surroundings};

const USAGE: &str = "garret create [OPTIONS] <REPO::NAME> <PATH>...
       garret create [OPTIONS] --from-command <CMD> <REPO::NAME> [PATH]...";

/// What becomes of a file that cannot be read whole.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum ReadErrorsName {
    /// it is not stored
    Fail,
    /// the rest is stored, and zeros for what cannot be read; the archive says where those are
    Zero,
}

impl From<ReadErrorsName> for ReadErrors {
    fn from(name: ReadErrorsName) -> Self {
        match name {
            ReadErrorsName::Fail => ReadErrors::Fail,
            ReadErrorsName::Zero => ReadErrors::Zero,
        }
    }
}

/// Arguments of `create`.
#[derive(Debug, clap::Args)]
#[command(override_usage = USAGE)]
pub(crate) struct Args {
    /// Show statistics in the end
    #[arg(short, long)]
    stats: bool,
    /// Show the statistics as JSON, and nothing else
    #[arg(long, conflicts_with = "verbose")]
    json: bool,
    #[command(flatten)]
    excludes: Excludes,
    /// Leave out directories that hold a CACHEDIR.TAG
    #[arg(long)]
    exclude_caches: bool,
    /// Leave out what is on another file system than the PATH it was found under
    #[arg(long)]
    do_not_cross_mountpoints: bool,
    /// Store numbers of users and groups, and no names
    #[arg(long)]
    numeric_owner: bool,
    /// Read named pipes given as PATH and store their contents
    #[arg(long)]
    read_special: bool,
    /// Accepted for attic's sake, and ignored: the next run reuses what an interrupted run has stored
    #[arg(short = 'c', long = "checkpoint-interval", value_name = "SEC")]
    _checkpoint_interval: Option<u64>,
    /// none, lz4, zstd,LEVEL (-7 to 22) or lzma,PRESET (0 to 9: small, and slow to restore)
    #[arg(long, value_name = "CODEC[,LEVEL]", default_value = "zstd,3")]
    #[arg(value_parser = args::compression)]
    compression: Compression,
    /// What you want to remember about this archive; `info` and `list --json` show it
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    comment: String,
    /// A tag of this archive; `list` shows it, and `prune --tag` goes by it
    #[arg(long, value_name = "TAG", value_parser = args::tag)]
    tag: Vec<String>,
    /// When what is stored was as it is, as 2026-11-20T02:30:00Z, for archives of other programs; by local time without the Z
    #[arg(long, value_name = "TIME", value_parser = args::time)]
    timestamp: Option<Time>,
    /// What becomes of a file of which something cannot be read
    #[arg(long, value_name = "WHAT", default_value = "fail")]
    read_errors: ReadErrorsName,
    /// What decides where chunks end
    #[arg(long, value_name = "CUTTER", default_value = "auto")]
    cutter: CutterName,
    #[command(flatten)]
    threads: Threads,
    #[command(flatten)]
    lock_wait: LockWait,
    #[command(flatten)]
    accept_state: AcceptState,
    #[command(flatten)]
    passphrase: PassphraseFile,
    /// Show each file and how it is cut
    #[arg(short, long)]
    verbose: bool,
    /// The archive to make
    #[arg(value_name = "REPO::NAME")]
    archive: OsString,
    #[command(flatten)]
    inputs: Inputs,
}

pub(crate) fn run(args: Args, ui: &Ui) -> Result<(), Failure> {
    ui.set_verbose(args.verbose);
    args.lock_wait.tell(ui);
    args.accept_state.tell(ui);
    args.passphrase.tell(ui);
    let (path, name) = location::new_archive(&args.archive, args.inputs.paths())?;
    let tags = args::tags(args.tag)?;
    let refuse_empty = args.inputs.refuse_empty();
    let command = args.inputs.command();
    let inputs = args.inputs.open()?;
    let mut options = surroundings::backup_options(&path)?;
    options.exclude = args.excludes.patterns()?;
    options.cutter = args.cutter.into();
    options.compression = args.compression;
    options.threads = args.threads.count();
    options.read_errors = args.read_errors.into();
    options.exclude_caches = args.exclude_caches;
    options.one_file_system = args.do_not_cross_mountpoints;
    options.read_special = args.read_special;
    options.refuse_empty = refuse_empty;
    options.comment = args.comment;
    options.tags = tags;
    options.time = args.timestamp;
    if args.numeric_owner {
        (options.users, options.groups) = Default::default();
    }
    let creation = Creation { repository: &path, name: &name, inputs, command, options };
    let made = creation.run(ui)?;
    if args.stats || args.json {
        let totals = made.totals(ui)?;
        let text = match args.json {
            true => json(&made, &path, &totals),
            false => stats(&made, &totals),
        };
        return ui.print(&text);
    }
    ui.done(&outcome(&made));
    Ok(())
}

/// `Stored night-2: 4.19 GB in 12.3 s, new 80.12 MB, stored in 61.50 MB`
fn outcome(made: &Made) -> String {
    let BackupReport { archive, written, .. } = &made.report;
    format!(
        "Stored {}: {} in {:.1} s, new {}, stored in {}",
        render::name(&archive.name),
        render::size(archive.archive.original_len),
        made.duration.as_secs_f64(),
        render::size(written.chunk_bytes),
        render::size(written.pack_bytes)
    )
}

/// The same for programs.
fn json(made: &Made, path: &Location, totals: &Totals) -> String {
    let BackupReport { archive, written, untouched_bytes, hole_bytes, .. } = &made.report;
    let body = &archive.archive;
    let pace = totals.seconds * 1e9 / body.original_len as f64;
    let archive = Record::of_archive(archive, &Tags::default())
        .with("holes", *hole_bytes)
        .with("untouched", *untouched_bytes)
        .with("new_chunks", written.chunk_count)
        .with("seconds_per_gb", (body.original_len > 0).then_some(pace));
    let repository = info::repository_record(made.repository(), path)
        .with("original_size", totals.original)
        .with("stored_size", totals.stored);
    record::document(&json!({ "repository": repository.json(), "archive": archive.json() }))
}

fn stats(made: &Made, totals: &Totals) -> String {
    let BackupReport { archive, written, untouched_bytes, hole_bytes, .. } = &made.report;
    let Totals { seconds, original: all, stored } = *totals;
    let body = &archive.archive;
    let fingerprint = garret_format::ChunkId::from_bytes(archive.fingerprint);
    let size = render::size;
    let read = body.original_len.saturating_sub(untouched_bytes.saturating_add(*hole_bytes));
    let ratio = match (written.chunk_bytes, written.pack_bytes) {
        (0, _) | (_, 0) => String::new(),
        (new, stored) => format!(" ({:.2} : 1)", new as f64 / stored as f64),
    };
    let rule = render::rule();
    let mut text = format!("{rule}\nArchive name: {}\n", render::name(&archive.name));
    text += &format!("Archive fingerprint: {fingerprint}\n");
    text += &format!("Start time: {}\n", render::long_time(body.start));
    text += &format!("End time: {}\n", render::long_time(body.end));
    text += &format!("Duration: {seconds:.2} seconds\n");
    text += &format!("Number of files: {}\n\n{}", body.file_count, render::size_header());
    let original = size(body.original_len);
    text += &render::size_row("This archive:", &original, "-", &size(written.pack_bytes));
    text += &render::size_row("All archives:", &size(all), "-", &size(stored));
    text += &format!(
        "\nRead: {}, holes: {}, untouched: {}\n",
        size(read),
        size(*hole_bytes),
        size(*untouched_bytes)
    );
    text += &format!(
        "New data: {} in {} chunks, stored in {}{ratio}\n",
        size(written.chunk_bytes),
        written.chunk_count,
        size(written.pack_bytes)
    );
    let pace = render::seconds_per_gb(seconds, body.original_len);
    text += &overview::traffic(made.repository());
    text += &format!("Seconds per GB: {pace}\n{rule}\n");
    text
}

//! `garret create`: makes an archive.

use std::ffi::OsString;

use garret_core::{BackupReport, Compression, ReadErrors};
use garret_format::archive::Time;

use crate::excludes::Excludes;
use crate::inputs::Inputs;
use crate::location;
use garret_cli::args::{self, AcceptState, CutterName, LockWait, PassphraseFile, Threads};
use garret_cli::failure::Failure;
use garret_cli::render;
use garret_cli::steps::create::{Creation, Totals};
use garret_cli::surroundings;
use garret_cli::ui::Ui;

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
    /// none, lz4, zstd or zstd,LEVEL (-7 to 22)
    #[arg(long, value_name = "CODEC[,LEVEL]", default_value = "zstd,3")]
    #[arg(value_parser = args::compression)]
    compression: Compression,
    /// What you want to remember about this archive; `info` and `list --json` show it
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    comment: String,
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
    options.time = args.timestamp;
    if args.numeric_owner {
        (options.users, options.groups) = Default::default();
    }
    let creation = Creation { repository: &path, name: &name, inputs, command, options };
    let made = creation.run(ui)?;
    if args.stats || args.json {
        let totals = made.totals(ui)?;
        let report = &made.report;
        let text = if args.json { json(report, &totals) } else { stats(report, &totals) };
        ui.print(&text)?;
    }
    Ok(())
}

/// The same for programs: times as RFC 3339 has them, lengths in bytes.
fn json(report: &BackupReport, totals: &Totals) -> String {
    let BackupReport { archive, written, untouched_bytes, hole_bytes, .. } = report;
    let body = &archive.archive;
    let time = |time: Time| {
        let nanos = i32::try_from(time.nanos).unwrap_or(0);
        jiff::Timestamp::new(time.secs, nanos).unwrap_or_default().to_string()
    };
    let gigabytes = body.original_len as f64 / 1e9;
    let pace = (body.original_len > 0).then(|| totals.seconds / gigabytes);
    let value = serde_json::json!({
        "archive": {
            "name": archive.name,
            "fingerprint": garret_format::ChunkId::from_bytes(archive.fingerprint).to_string(),
            "start": time(body.start),
            "end": time(body.end),
            "duration": totals.seconds,
            "files": body.file_count,
            "problems": body.problem_count,
            "original_size": body.original_len,
            "read": body.original_len.saturating_sub(untouched_bytes.saturating_add(*hole_bytes)),
            "holes": hole_bytes,
            "untouched": untouched_bytes,
            "new_size": written.chunk_bytes,
            "new_chunks": written.chunk_count,
            "stored_size": written.pack_bytes,
            "seconds_per_gb": pace,
        },
        "repository": { "original_size": totals.original, "stored_size": totals.stored },
    });
    format!("{value:#}\n")
}

fn stats(report: &BackupReport, totals: &Totals) -> String {
    let BackupReport { archive, written, untouched_bytes, hole_bytes, .. } = report;
    let Totals { seconds, original: all, stored } = *totals;
    let body = &archive.archive;
    let fingerprint = garret_format::ChunkId::from_bytes(archive.fingerprint);
    let size = render::size;
    let read = body.original_len.saturating_sub(untouched_bytes.saturating_add(*hole_bytes));
    let ratio = match (written.chunk_bytes, written.pack_bytes) {
        (0, _) | (_, 0) => String::new(),
        (new, stored) => format!(" ({:.2} : 1)", new as f64 / stored as f64),
    };
    let rule = render::RULE;
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
    text += &format!("Seconds per GB: {pace}\n{rule}\n");
    text
}

//! Compares garret with other backup programs on the same VM images, step by step, side by side.
//!
//! ```text
//! cargo run --release -p compare -- --images DIR [--tools garret,borg] [--runs 5] [--steps first,next]
//!
//! plan: steps, files   participants: who is there
//!        \               /
//!   work: copies -> rounds: measure -> results -> table, export (CSV, JSON), chart (SVG)
//! ```
//!
//! In: DIR with nights n1 n2 n3, each with the same NAME.qcow2. Out: a table on stdout, `compare.{txt,csv,json,svg}` in
//! `--out`, progress on stderr. Exit code 0 only if everything ran and every restore was right.
//! Promises: installs nothing, writes only below `--work` and `--out`, and removes what it made in `--work`, also after
//! Ctrl-C (a second one ends it at once).

use std::collections::BTreeMap;
use std::error::Error;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{fs, io, thread};

use clap::Parser;

mod chart;
mod export;
mod header;
mod participants;
mod plan;
mod process;
mod results;
mod rounds;
mod table;
mod tools;
mod work;
mod yardsticks;

use participants::Participant;
use plan::{Image, Plan, Preset, Step};
use results::Results;
use rounds::Rounds;
use work::Work;

type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;

/// Compare garret with other backup programs on the same VM images.
#[derive(Debug, Parser)]
#[command(name = "compare", version, max_term_width = 100)]
struct Args {
    /// Directory with nights n1, n2, n3 of the same NAME.qcow2, or with --preset of NAME.raw; it is only read
    #[arg(long, value_name = "DIR")]
    images: PathBuf,
    /// Which tools; those that are not installed are left out [default: all]
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    tools: Vec<String>,
    /// Which steps; first is always done [default: all that there are nights for]
    #[arg(long, value_name = "STEPS", value_delimiter = ',')]
    steps: Vec<Step>,
    /// Other steps, on disks that benches/compare/seed-images makes
    #[arg(long, value_name = "NAME", conflicts_with = "steps")]
    preset: Option<Preset>,
    /// Rounds; each tool does each step once in each
    #[arg(long, value_name = "N", default_value_t = 5)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..))]
    runs: u16,
    /// Threads of the yardsticks; tools run at their defaults [default: one for each processor]
    #[arg(long, value_name = "N")]
    #[arg(value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
    /// Also garret with zstd 19, in the first steps; slow
    #[arg(long)]
    strongest: bool,
    /// The program garret [default: beside this program, else in PATH]
    #[arg(long, value_name = "PATH")]
    garret: Option<PathBuf>,
    /// Where copies and repositories go, in a new directory that is removed; on the disk to measure
    #[arg(long, value_name = "DIR", default_value = "/var/tmp")]
    work: PathBuf,
    /// Where the results go
    #[arg(long, value_name = "DIR", default_value = "target/compare")]
    out: PathBuf,
}

fn main() -> ExitCode {
    let args = Args::parse();
    match run(&args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            say(&format!("compare: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// Whether everything ran.
fn run(args: &Args) -> Result<bool> {
    let (participants, missing) =
        participants::find(&args.tools, args.strongest, args.garret.as_deref())?;
    let qemu_img = participants::in_path("qemu-img");
    let images =
        args.images.canonicalize().map_err(|e| format!("{}: {e}", args.images.display()))?;
    let plan = match args.preset {
        Some(Preset::Seed) => plan::seed(&images)?,
        None => plan::plan(&images, &args.steps, qemu_img.is_some())?,
    };
    fs::create_dir_all(&args.out).map_err(|e| format!("{}: {e}", args.out.display()))?;
    process::watch_signals()?;
    let mut work = Work::new(&args.work)?;
    warn_of_space(&work, &plan, &participants)?;

    let threads = args
        .threads
        .map_or_else(|| thread::available_parallelism().map_or(1, usize::from), usize::from);
    let header = header::lines(&header::About {
        images: &images,
        plan: &plan,
        participants: &participants,
        missing: &missing,
        runs: usize::from(args.runs),
        threads,
        idle_peak: process::idle_peak(work.path())?,
        first_bytes: work::usage(&sources(plan.night(0)))?.allocated,
    });
    say(&header.join("\n"));
    say(&format!("Copying images to {}", work.path().display()));
    work.fill(&plan, qemu_img.as_deref().filter(|_| plan.has(Step::Raw)))?;

    let (mut inputs, mut records) = (BTreeMap::new(), Vec::new());
    let mut rounds = Rounds {
        work: &mut work,
        plan: &plan,
        participants: &participants,
        runs: usize::from(args.runs),
        threads,
        inputs: &mut inputs,
        records: &mut records,
    };
    let ended = rounds.run();
    let results = Results { plan, participants, missing, inputs, records, header };
    // Also after a signal: what was measured until then is worth having.
    write(&results, &args.out)?;
    ended.map(|()| !results.has_problems())
}

/// Copies of all nights and the raw disk, a repository of each tool, and a restored raw disk without holes.
fn warn_of_space(work: &Work, plan: &Plan, participants: &[Participant]) -> Result<()> {
    let mut all = sources(&plan.nights.concat());
    all.sort();
    all.dedup();
    let copies = work::usage(&all)?.allocated;
    let tools = participants.iter().filter(|participant| participant.is_tool()).count() as u64;
    // A restored disk may come back without its holes.
    let longest = plan.nights.iter().flatten().filter_map(|image| image.len).max().unwrap_or(0);
    let raw = if plan.has(Step::Raw) { 10 << 30 } else { longest };
    let need = copies * 3 / 2 + tools * copies / 2 + raw;
    let stat = rustix::fs::statvfs(work.path())?;
    let free = stat.f_bavail * stat.f_frsize;
    if free < need {
        let (free, need) = (free as f64 / 1e9, need as f64 / 1e9);
        say(&format!("compare: {free:.0} GB are free in --work; about {need:.0} GB may be needed"));
    }
    Ok(())
}

fn sources(images: &[Image]) -> Vec<PathBuf> {
    images.iter().map(|image| image.source.clone()).collect()
}

fn write(results: &Results, out: &Path) -> Result<()> {
    let table = table::text(results);
    let files = [
        ("compare.txt", table.clone()),
        ("compare.csv", export::csv(results)),
        ("compare.json", export::json(results)),
        ("compare.svg", chart::svg(results)),
    ];
    for (name, text) in files {
        fs::write(out.join(name), text).map_err(|e| format!("{name}: {e}"))?;
    }
    io::stdout().write_all(table.as_bytes())?;
    say(&format!("Written to {}: compare.txt .csv .json .svg", out.display()));
    Ok(())
}

/// Tells the user on stderr; nobody may be there to read it.
fn say(text: &str) {
    let _said = writeln!(io::stderr(), "{text}");
}

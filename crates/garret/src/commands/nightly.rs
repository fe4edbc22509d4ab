//! `garret nightly`: does the jobs of a file, or one that the command line says.

mod preview;

use std::ffi::OsString;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::Duration;

use garret_core::{Compression, KeyMode};

use super::init::Encryption;
use crate::keep::Keep;
use crate::location;
use garret_cli::args::{self, AcceptState, LOCK_WAIT, Verbose, duration, patience};
use garret_cli::exit::Outcome;
use garret_cli::failure::Failure;
use garret_cli::location::Location;
use garret_cli::nightly::job::{Job, Jobs, agree, is_job_name, paths, pattern};
use garret_cli::nightly::report::Report;
use garret_cli::nightly::{config, metrics, run};
use garret_cli::record;
use garret_cli::signals::Ending;
use garret_cli::suggest::nearest;
use garret_cli::ui::{SecretPlaces, Ui};

/// What the job of a command line is called that does not say it.
const UNNAMED: &str = "nightly";

const USAGE: &str = "garret nightly [OPTIONS] [JOB]...
       garret nightly [OPTIONS] --repo <REPO> <PATH>...";

const EXAMPLES: &str = "\
Examples:
  garret nightly                       every job of /etc/garret/garret.toml
  garret nightly --repo /srv/backup/vms -d 7 -w 4 --verify 30m /var/lib/libvirt/images";

/// Arguments of `nightly`.
#[derive(Debug, clap::Args)]
#[command(override_usage = USAGE, after_help = EXAMPLES, allow_negative_numbers = true)]
pub(crate) struct Args {
    /// Read the jobs from this file [default: /etc/garret/garret.toml, else ~/.config/garret/garret.toml]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Read the jobs, say what is wrong with them, and do nothing
    #[arg(long, conflicts_with_all = ["repo", "dry_run", "json", "metrics"])]
    check_config: bool,
    /// Show what would be done, and do nothing; hooks are not run
    #[arg(short = 'n', long, conflicts_with = "accept_state")]
    dry_run: bool,
    /// Show what became of each job as JSON
    #[arg(long, conflicts_with_all = ["verbose", "dry_run"])]
    json: bool,
    /// Write numbers for Prometheus to this file
    #[arg(long, value_name = "FILE")]
    metrics: Option<PathBuf>,
    #[command(flatten)]
    accept_state: AcceptState,
    #[command(flatten)]
    verbose: Verbose,
    #[command(flatten)]
    one: One,
    #[command(flatten)]
    keep: Keep,
    /// The jobs to do [default: all]; with --repo what is backed up, where * ? [..] stand for what there is
    #[arg(value_name = "JOB|PATH")]
    words: Vec<OsString>,
}

/// The job that the command line says. Nothing of it is about the jobs of a file, and none is passed over without a word.
#[derive(Debug, clap::Args)]
struct One {
    /// Do one job, into this repository
    #[arg(long, value_name = "REPO")]
    repo: Option<OsString>,
    /// With --repo: what the job is called [default: nightly]
    #[arg(long, requires = "repo", value_name = "NAME")]
    job: Option<String>,
    /// With --repo: the name of the archive, with placeholders as in create, and {job}
    #[arg(long, requires = "repo", value_name = "NAME", default_value = garret_cli::nightly::job::ARCHIVE)]
    archive: String,
    /// With --repo: make the repository if there is none
    #[arg(long, requires = "repo", value_name = "MODE")]
    init: Option<Encryption>,
    /// With --repo: as in create
    #[arg(long, requires = "repo", value_name = "CODEC[,LEVEL]", default_value = "zstd,3")]
    #[arg(value_parser = args::compression)]
    compression: Compression,
    /// With --repo: as in create; may be given several times
    #[arg(short, long, requires = "repo", value_name = "PAT")]
    exclude: Vec<OsString>,
    /// With --repo: then make what is old small, as compact does, for so long
    #[arg(long, requires = "repo", value_name = "DURATION", value_parser = duration)]
    compact: Option<Duration>,
    /// With --repo: then read for so long, as 30m or 2h, what was verified longest ago
    #[arg(long, requires = "repo", value_name = "DURATION", value_parser = duration)]
    verify: Option<Duration>,
    /// With --repo: how often a backup that failed for a reason that may pass is tried again, every 5 minutes
    #[arg(long, requires = "repo", value_name = "N", default_value_t = 0)]
    retries: u32,
    /// With --repo: how long to wait for other programs that use the repository, in seconds or as 30m or 2h; 0 is not at all
    #[arg(long, requires = "repo", value_name = "DURATION", default_value = LOCK_WAIT, value_parser = patience)]
    lock_wait: Duration,
    /// With --repo: take the passphrase from this file, without the newline at its end
    #[arg(long, requires = "repo", value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
}

impl Args {
    /// Whether the one job is said here, and not in a file.
    pub(crate) fn names_repository(&self) -> bool {
        self.one.repo.is_some()
    }
}

pub(crate) fn run(args: Args, ui: &Ui) -> Result<(), Failure> {
    args.accept_state.tell(ui);
    args.verbose.tell(ui);
    let (mut all, chosen) = jobs(&args)?;
    if args.check_config {
        let names: Vec<&str> = all.jobs.iter().map(|job| job.name.as_str()).collect();
        return ui.print(&format!("The configuration is sound; jobs: {}\n", names.join(", ")));
    }
    let chosen: Vec<&Job> = all.jobs.iter().filter(|job| chosen.contains(&job.name)).collect();
    if args.dry_run {
        return ended(preview::show(&chosen, ui)?);
    }
    all.metrics = args.metrics.or(all.metrics);
    let ending = Ending::watch();
    let shows = std::io::stdout().is_terminal() && !args.json;
    let mut reports: Vec<Report> = Vec::new();
    let mut worst = Outcome::Fine;
    for job in chosen {
        let report = run::run(job, &ending, ui);
        worst = worst.max(report.outcome);
        if shows {
            ui.print(&report.line())?;
        }
        if let Some(path) = &all.metrics
            && let Err(failure) = metrics::write(path, &all.jobs)
        {
            failure.problem().iter().for_each(|problem| ui.report(problem));
            worst = worst.max(Outcome::Warning);
        }
        reports.push(report);
    }
    if args.json {
        let jobs: Vec<_> = reports.iter().map(|report| report.record().json()).collect();
        ui.print(&record::document(&serde_json::json!({ "jobs": jobs })))?;
    }
    ended(worst)
}

fn ended(worst: Outcome) -> Result<(), Failure> {
    match worst.code() {
        0 => Ok(()),
        code => Err(Failure::Told(code)),
    }
}

/// All jobs there are, and the names of those to do.
fn jobs(args: &Args) -> Result<(Jobs, Vec<String>), Failure> {
    if let Some(repository) = &args.one.repo {
        // Not by the parser: where two exclude each other it no longer asks for what others require.
        if args.config.is_some() {
            let text = "--config and --repo: the jobs are those of the file, or the one of the command line";
            return Err(Failure::Usage(text.to_owned()));
        }
        let job = one_job(args, location::repository(repository)?)?;
        let chosen = vec![job.name.clone()];
        return Ok((Jobs { jobs: vec![job], metrics: None }, chosen));
    }
    if args.keep.is_given() {
        let text = "--keep-... needs --repo: the rules of other jobs are in the configuration";
        return Err(Failure::Usage(text.to_owned()));
    }
    let file = args.config.clone().map_or_else(config::default_file, Ok)?;
    let all = config::read(&file)?;
    let names: Vec<&str> = all.jobs.iter().map(|job| job.name.as_str()).collect();
    let mut chosen: Vec<String> = Vec::new();
    for word in &args.words {
        let word = word.to_string_lossy();
        if !names.contains(&word.as_ref()) {
            let near = nearest(word.as_bytes(), names.iter().copied());
            let what = near.map_or_else(
                || format!("there are {}", names.join(", ")),
                |near| format!("did you mean {near}?"),
            );
            let text = format!("{}: there is no job {word}; {what}", file.display());
            return Err(Failure::Usage(text));
        }
        chosen.push(word.into_owned());
    }
    if chosen.is_empty() {
        chosen = names.into_iter().map(str::to_owned).collect();
    }
    Ok((all, chosen))
}

fn one_job(args: &Args, repository: Location) -> Result<Job, Failure> {
    let one = &args.one;
    let name = one.job.as_deref().unwrap_or(UNNAMED);
    if !is_job_name(name) {
        let text = format!("--job {name:?}: letters, digits, -, _ and . only");
        return Err(Failure::Usage(text));
    }
    let mut job = Job::new(name, repository);
    job.is_unnamed = one.job.is_none();
    job.paths = paths(&args.words);
    job.archive.clone_from(&one.archive);
    job.compression = one.compression;
    job.exclude = one.exclude.iter().map(pattern).collect();
    job.init = one.init.map(KeyMode::from);
    job.compact = one.compact;
    job.verify = one.verify;
    job.retries.count = one.retries;
    job.lock_wait = one.lock_wait;
    job.secrets =
        SecretPlaces { passphrase_file: one.passphrase_file.clone(), ..SecretPlaces::default() };
    job.keep = args.keep.is_given().then(|| args.keep.rules());
    if let Some((key, why)) = job.wrong() {
        return Err(Failure::Usage(format!("{key}: {why}")));
    }
    agree(std::slice::from_ref(&job)).map_err(Failure::Usage)?;
    Ok(job)
}

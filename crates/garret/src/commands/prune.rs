//! `garret prune`: deletes archives by attic's rules and gives back their space.

use std::ffi::OsString;
use std::time::{SystemTime, UNIX_EPOCH};

use garret_core::{KeepRules, KeptBy, Progress, Repository, plan_prune};
use garret_format::archive::Time;

use super::delete::{self, Freed};
use crate::keep::Keep;
use crate::location;
use garret_cli::args::{AcceptState, LockWait, PassphraseFile, Threads, Verbose};
use garret_cli::failure::Failure;
use garret_cli::ui::Ui;
use garret_cli::{render, session, surroundings};

/// Arguments of `prune`.
#[derive(Debug, clap::Args)]
#[command(allow_negative_numbers = true)]
pub(crate) struct Args {
    /// Change nothing; show what would be kept and deleted, and the space it would free
    #[arg(short = 'n', long)]
    dry_run: bool,
    #[command(flatten)]
    lock_wait: LockWait,
    #[command(flatten)]
    accept_state: AcceptState,
    #[command(flatten)]
    passphrase: PassphraseFile,
    #[command(flatten)]
    verbose: Verbose,
    /// Show what is kept, by which rule, and what is deleted
    #[arg(long)]
    list: bool,
    /// Show what was freed
    #[arg(short, long)]
    stats: bool,
    /// Delete even the newest complete archive if no rule keeps it
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    keep: Keep,
    /// Only archives whose name begins with this are considered; placeholders are filled in as in create
    #[arg(short, long, value_name = "STR", default_value = "", hide_default_value = true)]
    #[arg(value_parser = crate::placeholders::expand)]
    prefix: String,
    #[command(flatten)]
    threads: Threads,
    /// The repository
    #[arg(value_name = "REPO")]
    repository: OsString,
}

pub(crate) fn run(args: &Args, ui: &Ui) -> Result<(), Failure> {
    args.lock_wait.tell(ui);
    args.accept_state.tell(ui);
    args.passphrase.tell(ui);
    let path = location::repository(&args.repository)?;
    let mut rules = args.keep.rules();
    rules.force = args.force;
    rules.check().map_err(|error| Failure::Fatal(format!("{error}: {RULES}")))?;
    if args.dry_run {
        let repository = session::reader(&path, ui)?;
        let doomed = decide(&repository, args, &rules, ui)?;
        foresee(&repository, &doomed, args.threads, ui)?;
        return show(&repository, args.stats.then(Freed::default), ui);
    }
    let mut repository = session::pruner(&path, ui)?;
    let doomed = decide(&repository, args, &rules, ui)?;
    let freed = delete::remove(&mut repository, &doomed, args.threads, args.stats, ui)?;
    show(&repository, freed, ui)
}

fn show(repository: &Repository, freed: Option<Freed>, ui: &Ui) -> Result<(), Failure> {
    match freed {
        Some(freed) => ui.print(&delete::stats(repository, &freed, ui)?),
        None => Ok(()),
    }
}

/// Which options the library's words are.
const RULES: &str = "give --keep-daily N, or --keep-within, --keep-hourly, --keep-weekly, --keep-monthly, --keep-yearly";

/// The names to delete. With `-v` everything is shown as attic does: what is kept, then what is not, newest first; with
/// `--list` or `--dry-run` also what keeps it. An archive that cannot be read is reported, and stays.
fn decide(
    repository: &Repository,
    args: &Args,
    rules: &KeepRules,
    ui: &Ui,
) -> Result<Vec<String>, Failure> {
    let mut archives = Vec::new();
    for name in repository.archive_names()? {
        match name.starts_with(&args.prefix).then(|| repository.archive(&name)) {
            Some(Ok(archive)) => archives.push(archive),
            Some(Err(error)) => ui.report(&(&error).into()),
            None => {}
        }
    }
    repository.tell(ui);
    let names: Vec<String> = archives.iter().map(|archive| archive.name.clone()).collect();
    let mut rules = rules.clone();
    rules.lacking = repository.lacking(&names, args.threads.count(), ui)?;
    if let Some(first) = rules.lacking.iter().min() {
        let more = match rules.lacking.len() {
            1 => String::new(),
            count => format!(" and {} more", count - 1),
        };
        ui.notice(&format!(
            "note: {first}{more}: something is lost of it; it takes no whole one's place (garret check says what)"
        ));
    }
    let plan = plan_prune(archives, &rules, now(), &surroundings::ahead_of_utc)?;
    let (kept, pruned): (Vec<_>, Vec<_>) = plan.into_iter().partition(|one| one.kept.is_some());
    if args.verbose.tell(ui) || args.list || args.dry_run {
        let doomed = if args.dry_run { "Would prune:     " } else { "Pruning archive: " };
        let line = |decision: &garret_core::Decision| {
            let archive = render::archive_line(&decision.archive);
            match decision.kept {
                Some(kept) if args.list || args.dry_run => {
                    format!("Keeping archive: {archive} ({kept})\n")
                }
                Some(_) => format!("Keeping archive: {archive}\n"),
                None => format!("{doomed}{archive}\n"),
            }
        };
        ui.print(&kept.iter().chain(&pruned).map(line).collect::<String>())?;
    }
    for decision in kept.iter().filter(|one| one.kept == Some(KeptBy::Newest)) {
        let name = &decision.archive.name;
        ui.notice(&format!("note: {name} is kept by no rule, but as the newest complete archive; --force deletes it"));
    }
    Ok(pruned.into_iter().map(|decision| decision.archive.name).collect())
}

/// Shows how much space a prune would give back.
fn foresee(
    repository: &Repository,
    doomed: &[String],
    threads: Threads,
    ui: &Ui,
) -> Result<(), Failure> {
    let plan = repository.plan_gc(doomed, threads.count(), ui)?;
    let freed = render::size(plan.freed_bytes());
    let packs = match plan.pack_count() {
        1 => "1 pack".to_owned(),
        count => format!("{count} packs"),
    };
    ui.print(&format!("Would free:      about {freed} in {packs}\n"))
}

fn now() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Time { secs: i64::try_from(since.as_secs()).unwrap_or(i64::MAX), nanos: since.subsec_nanos() }
}

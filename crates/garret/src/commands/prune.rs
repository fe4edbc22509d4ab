//! `garret prune`: deletes archives by attic's rules and gives back their space.

use std::ffi::OsString;

use garret_core::{KeptBy, Repository};
use serde_json::Value;

use super::delete;
use crate::keep::{Keep, RULES};
use crate::location;
use garret_cli::args::{AcceptState, LockWait, PassphraseFile, Threads, Verbose, tag};
use garret_cli::failure::Failure;
use garret_cli::listing::{self, Row};
use garret_cli::location::Location;
use garret_cli::record::{self, Record};
use garret_cli::steps::delete::{Freed, remove};
use garret_cli::steps::prune::{Plan, Pruning};
use garret_cli::ui::Ui;
use garret_cli::{placeholders, render, session};

/// Arguments of `prune`.
#[derive(Debug, clap::Args)]
#[command(allow_negative_numbers = true)]
pub(crate) struct Args {
    /// Change nothing; show what would be kept and deleted, and the space it would free
    #[arg(short = 'n', long, conflicts_with = "accept_state")]
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
    /// Show what stays, by which rule, what goes, and what is freed as JSON, and nothing else
    #[arg(long, conflicts_with_all = ["list", "stats"])]
    json: bool,
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
    #[arg(value_parser = placeholders::expand)]
    prefix: String,
    /// Only archives with this tag are considered, or with one of several
    #[arg(long, value_name = "TAG", value_parser = tag)]
    tag: Vec<String>,
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
    let (prefix, tags, threads) = (args.prefix.as_str(), args.tag.as_slice(), args.threads.count());
    let pruning = Pruning { prefix, own: None, tags, rules, threads };
    if args.dry_run {
        let repository = session::reader(&path, ui)?;
        let plan = pruning.plan(&repository, ui)?;
        list(&plan, args, ui)?;
        let freed_len = foresee(&repository, &plan.doomed(), args, ui)?;
        if args.json {
            let freed = Freed { stored_len: freed_len, ..Freed::default() };
            return document(&repository, &path, (&plan, true), &freed, ui);
        }
        return match args.stats {
            true => ui.print(&delete::stats(&repository, &Freed::default(), ui)?),
            false => Ok(()),
        };
    }
    let mut repository = session::pruner(&path, ui)?;
    let plan = pruning.plan(&repository, ui)?;
    list(&plan, args, ui)?;
    let freed =
        remove(&mut repository, &plan.doomed(), args.threads.count(), args.stats || args.json, ui)?;
    match args.stats {
        _ if args.json => document(&repository, &path, (&plan, false), &freed, ui),
        true => ui.print(&delete::stats(&repository, &freed, ui)?),
        false => {
            let (kept, pruned) = (plan.kept.len() as u64, plan.pruned.len());
            ui.done(&format!(
                "Kept {}, deleted {pruned}: {}",
                render::plural(kept, "archive"),
                delete::given_back(&freed)
            ));
            Ok(())
        }
    }
}

/// With `-v` everything is shown as attic does: what is kept, then what is not, newest first; with `--list` or `--dry-run`
/// also what keeps it.
fn list(plan: &Plan, args: &Args, ui: &Ui) -> Result<(), Failure> {
    let shows = args.verbose.tell(ui) || args.list || args.dry_run;
    if !shows || args.json {
        return Ok(());
    }
    let doomed = if args.dry_run { "Would prune:     " } else { "Pruning archive: " };
    let row = |decision: &garret_core::Decision| {
        let before = if decision.kept.is_some() { "Keeping archive: " } else { doomed };
        let behind = match decision.kept {
            // What is protected is marked as that.
            None | Some(KeptBy::Protected) => String::new(),
            Some(kept) if args.list || args.dry_run => format!(" ({kept})"),
            Some(_) => String::new(),
        };
        Row::new(before, &decision.archive, &plan.tags, &behind)
    };
    let rows: Vec<Row> = plan.kept.iter().chain(&plan.pruned).map(row).collect();
    ui.print(&listing::lines(&rows))
}

/// Shows how much space a prune would give back; in bytes.
fn foresee(
    repository: &Repository,
    doomed: &[String],
    args: &Args,
    ui: &Ui,
) -> Result<u64, Failure> {
    let plan = repository.plan_gc(doomed, args.threads.count(), ui)?;
    if args.json {
        return Ok(plan.freed_bytes());
    }
    let freed = render::size(plan.freed_bytes());
    let packs = match plan.pack_count() {
        1 => "1 pack".to_owned(),
        count => format!("{count} packs"),
    };
    ui.print(&format!("Would free:      about {freed} in {packs}\n"))?;
    Ok(plan.freed_bytes())
}

/// What stays and why, what goes, and what that frees.
fn document(
    repository: &Repository,
    path: &Location,
    (plan, is_dry): (&Plan, bool),
    freed: &Freed,
    ui: &Ui,
) -> Result<(), Failure> {
    let archive = |decision: &garret_core::Decision| {
        let rule = match decision.kept {
            Some(KeptBy::Rule { rule, .. }) => Some(rule),
            _ => None,
        };
        Record::of_archive(&decision.archive, &plan.tags)
            .with("kept_by", decision.kept.map(|kept| kept.to_string()))
            .with("rule", rule)
            .json()
    };
    let archives: Vec<Value> = plan.kept.iter().chain(&plan.pruned).map(archive).collect();
    let mut freed = *freed;
    if is_dry {
        let lens = plan.pruned.iter().map(|one| one.archive.archive.original_len);
        freed.original_len = garret_core::total_len(lens);
    }
    let all = delete::freed_record(repository, path, &freed, ui)?;
    let all = all.with("dry_run", is_dry).with("archives", archives);
    ui.print(&record::document(&all.json()))
}

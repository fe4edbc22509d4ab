//! What nightly jobs would do.
//!
//! In: jobs. Out: lines about each, and the outcome that can be told from here. Promises: nothing is written and no hook
//! is run.

use garret_cli::exit::Outcome;
use garret_cli::failure::Failure;
use garret_cli::nightly::job::{Hooks, Job};
use garret_cli::render::{self, plural};
use garret_cli::session;
use garret_cli::steps::prune::Pruning;
use garret_cli::ui::Ui;

/// Shows it.
pub(super) fn show(jobs: &[&Job], ui: &Ui) -> Result<Outcome, Failure> {
    let mut worst = Outcome::Fine;
    for job in jobs {
        let own = ui.of_job(&job.name);
        own.set_patience(job.lock_wait);
        own.set_secrets(job.secrets.clone());
        let (text, outcome) = intent(job);
        worst = worst.max(outcome);
        ui.print(&text)?;
        match prospects(job, &own) {
            Ok(text) => ui.print(&text)?,
            Err(failure) => {
                worst = worst.max(Outcome::of(&failure));
                failure.problem().iter().for_each(|problem| own.report(problem));
            }
        }
        ui.add(&own);
    }
    Ok(worst)
}

/// What follows from the job alone.
fn intent(job: &Job) -> (String, Outcome) {
    let mut outcome = Outcome::Fine;
    let name = job.archive_name().unwrap_or_else(|why| why);
    let repository = job.repository.display();
    let mut text = format!("{}: would make {repository}::{}\n", job.name, render::name(&name));
    if let Some(window) = job.window {
        text += &format!("  if it is between {window}\n");
    }
    let hooks = names(&job.hooks);
    if !hooks.is_empty() {
        text += &format!("  hooks: {}\n", hooks.join(", "));
    }
    for path in job.sources() {
        let what = match path.symlink_metadata() {
            Ok(found) if found.is_file() => render::size(found.len()),
            Ok(_) => "all that is in it".to_owned(),
            Err(_) if job.hooks.snapshot.is_some() => "when the snapshot is made".to_owned(),
            Err(error) => {
                outcome = Outcome::Warning;
                format!("cannot be read: {error}")
            }
        };
        text += &format!("  of {}: {what}\n", render::name(path.as_os_str().as_encoded_bytes()));
    }
    (text, outcome)
}

/// What follows from the repository as it is.
fn prospects(job: &Job, ui: &Ui) -> Result<String, Failure> {
    let mut text = String::new();
    if job.init.is_some() && session::find(&job.repository).is_err() {
        text += "  the repository would be made, if there was none there before\n";
    } else {
        // Opened whatever is to be done with it: what keeps it shut keeps the night from being one.
        let repository = session::reader(&job.repository, ui)?;
        if let Some(rules) = job.keep.clone() {
            let prefix = job.prefix().map_err(Failure::Usage)?;
            let own = job.own().map_err(Failure::Usage)?;
            let (prefix, own, threads) = (prefix.as_str(), Some(&own), job.threads);
            let pruning = Pruning { prefix, own, tags: &[], rules, threads };
            let plan = pruning.plan(&repository, ui)?;
            let kept = plural(plan.kept.len() as u64, "archive");
            text += &format!("  as it is now, {kept} would stay");
            for name in plan.doomed() {
                text += &format!("\n  would delete {}", render::name(&name));
            }
            text.push('\n');
        }
    }
    if let Some(time) = job.compact {
        text += &format!("  would compact what is old for {} s\n", time.as_secs());
    }
    if let Some(time) = job.verify {
        text += &format!("  would read for {} s what was verified longest ago\n", time.as_secs());
    }
    Ok(text)
}

fn names(hooks: &Hooks) -> Vec<&'static str> {
    [
        ("before", &hooks.before),
        ("freeze", &hooks.freeze),
        ("snapshot", &hooks.snapshot),
        ("thaw", &hooks.thaw),
        ("cleanup", &hooks.cleanup),
        ("after", &hooks.after),
        ("failed", &hooks.failed),
        ("finally", &hooks.finally),
    ]
    .into_iter()
    .filter_map(|(name, line)| line.as_ref().map(|_| name))
    .collect()
}

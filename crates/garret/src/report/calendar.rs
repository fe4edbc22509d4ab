//! The calendar of a prune: which rule keeps which archive, and what goes.
//!
//! In: archives and rules. Out: a [`Calendar`]. Deletes nothing.

use std::collections::HashSet;

use garret_cli::failure::Failure;
use garret_cli::surroundings::ahead_of_utc;
use garret_cli::ui::Ui;
use garret_core::{KeepRules, KeptBy, NamedArchive, Repository, message, plan_prune};
use garret_format::archive::Time;

use super::model::{Calendar, Day};

const DAY: i64 = 24 * 60 * 60;

/// What the rules do to these archives now, and what goes after one more good night a day later. That the space cannot be
/// told is a problem, which is added to `problems`.
pub(super) fn plan(
    repository: &Repository,
    archives: &[NamedArchive],
    (rules, now): (&KeepRules, Time),
    threads: usize,
    problems: &mut Vec<String>,
    ui: &Ui,
) -> Result<Calendar, Failure> {
    let today = plan_prune(archives.to_vec(), rules, now, &ahead_of_utc)?;
    let mut later = archives.to_vec();
    let newest = archives.iter().filter(|found| found.archive.is_complete());
    if let Some(newest) = newest.max_by_key(|found| found.archive.end) {
        let mut next = newest.clone();
        // No archive has this name.
        next.name.clear();
        next.archive.end.secs = now.secs.saturating_add(DAY);
        later.push(next);
    }
    let tomorrow = Time { secs: now.secs.saturating_add(DAY), ..now };
    let goes = |one: &&garret_core::Decision| one.kept.is_none();
    let later = plan_prune(later, rules, tomorrow, &ahead_of_utc)?;
    let doomed: Vec<String> =
        today.iter().filter(goes).map(|one| one.archive.name.clone()).collect();
    let now_gone: HashSet<&String> = doomed.iter().collect();
    let next = later.iter().filter(goes).map(|one| one.archive.name.clone());
    let next = next.filter(|name| !now_gone.contains(name)).collect();
    let freed = match repository.plan_gc(&doomed, threads, ui) {
        Ok(plan) => Some(plan.freed_bytes()),
        Err(error) => {
            problems.push(format!("what prune would free cannot be told: {}", message(&error)));
            None
        }
    };
    let day = |one: &garret_core::Decision| Day {
        name: one.archive.name.clone(),
        end: one.archive.archive.end,
        kept: one.kept.map(|kept| kept.to_string()),
        rule: match one.kept {
            Some(KeptBy::Rule { rule, .. }) => Some(rule),
            _ => None,
        },
    };
    Ok(Calendar { days: today.iter().map(day).collect(), freed, next })
}

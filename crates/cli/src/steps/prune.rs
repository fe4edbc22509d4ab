//! Chooses by rule which archives go.
//!
//! In: an open repository, rules, which archives they are about. Out: what stays and why, what goes.
//! Promises: an archive that cannot be read is reported, and stays.

use std::collections::{BTreeSet, HashSet};
use std::time::{SystemTime, UNIX_EPOCH};

use garret_core::{
    Decision, KeepRules, KeptBy, NamedArchive, Progress, Repository, Tags, plan_prune,
};
use garret_format::archive::Time;

use crate::failure::Failure;
use crate::nightly::own::Own;
use crate::render::{name, plural};
use crate::suggest::nearest;
use crate::surroundings;
use crate::ui::Ui;

/// What is to be pruned, and how.
#[derive(Clone, Debug)]
pub struct Pruning<'a> {
    /// Only archives whose name begins so are considered.
    pub prefix: &'a str,
    /// Of these only those of a job, if it is one that prunes.
    pub own: Option<&'a Own>,
    /// Of these only those that have one of these tags, if there are any.
    pub tags: &'a [String],
    /// What stays.
    pub rules: KeepRules,
    /// Threads that do the work.
    pub threads: usize,
}

/// What was decided, each part newest first.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// What stays.
    pub kept: Vec<Decision>,
    /// What goes.
    pub pruned: Vec<Decision>,
    /// What all of them are tagged with.
    pub tags: Tags,
}

impl Plan {
    /// The names of what goes.
    pub fn doomed(&self) -> Vec<String> {
        self.pruned.iter().map(|decision| decision.archive.name.clone()).collect()
    }
}

impl Pruning<'_> {
    /// Decides. What a user should know of that is a notice.
    ///
    /// # Errors
    /// There is no rule; the repository cannot be listed.
    pub fn plan(&self, repository: &Repository, ui: &Ui) -> Result<Plan, Failure> {
        let tags = repository.tags(ui)?;
        let mut archives = Vec::new();
        let mut names = repository.first_sight()?.names();
        let count = names.len();
        names.retain(|name| {
            name.starts_with(self.prefix) && self.own.is_none_or(|own| own.is_name(name))
        });
        // A job has just made one.
        if names.is_empty() && self.own.is_none() {
            tell_none(count, &format!("has a name that begins with {}", name(self.prefix)), ui);
        }
        for (_, found) in repository.archives(names)? {
            match found {
                Ok(found) if self.own.is_none_or(|own| own.made(&found.archive)) => {
                    archives.push(found)
                }
                Ok(_) => {}
                Err(error) => ui.report(&(&error).into()),
            }
        }
        repository.tell(ui);
        let archives = tagged(archives, &tags, self.tags, ui);
        let names: Vec<String> = archives.iter().map(|archive| archive.name.clone()).collect();
        let mut rules = self.rules.clone();
        let protected = archives.iter().filter(|found| tags.is_protected(found));
        rules.protected = protected.map(|found| found.name.clone()).collect::<HashSet<String>>();
        rules.lacking = repository.lacking(&names, self.threads, ui)?;
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
        for decision in kept.iter().filter(|one| one.kept == Some(KeptBy::Newest)) {
            let name = &decision.archive.name;
            ui.notice(&format!(
                "note: {name} is kept by no rule, but as the newest complete archive; --force deletes it"
            ));
        }
        Ok(Plan { kept, pruned, tags })
    }
}

/// Of these archives those that have one of `wanted`; all of them if none is. That no archive has is a notice.
pub fn tagged(
    mut archives: Vec<NamedArchive>,
    tags: &Tags,
    wanted: &[String],
    ui: &Ui,
) -> Vec<NamedArchive> {
    if wanted.is_empty() {
        return archives;
    }
    let count = archives.len();
    let known: BTreeSet<String> =
        archives.iter().flat_map(|found| tags.of(found)).cloned().collect();
    archives.retain(|found| wanted.iter().any(|tag| tags.of(found).contains(tag)));
    if archives.is_empty() {
        let near = |tag: &String| nearest(tag.as_bytes(), known.iter().map(String::as_str));
        let meant = wanted.iter().find_map(near);
        let meant = meant.map_or(String::new(), |near| format!(": did you mean {near}?"));
        tell_none(count, &format!("has the tag {}{meant}", wanted.join(" or ")), ui);
    }
    archives
}

/// Of so many archives none is what was asked for, which may be a slip of the hand.
fn tell_none(count: usize, what: &str, ui: &Ui) {
    if count > 0 {
        ui.notice(&format!("note: of {} none {what}", plural(count as u64, "archive")));
    }
}

fn now() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Time { secs: i64::try_from(since.as_secs()).unwrap_or(i64::MAX), nanos: since.subsec_nanos() }
}

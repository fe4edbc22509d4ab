//! Prune: which archives to keep, by attic's rules to the letter, but never a bad night instead of a good one.
//!
//! In: the archives that are considered, and the rules. Out: a [`Decision`] for each. Deletes nothing.
//!
//! The rules go over the complete archives, newest first, in this order: within, hourly, daily, weekly, monthly, yearly. Each
//! takes the newest archive of each period that it has not seen yet. One that an earlier rule keeps is not taken again, does
//! not use up the count, and no other of its period is taken instead. A negative count is unlimited.
//!
//! A series is the archives of one host among those considered. An incomplete archive stays while it is newer than the newest
//! complete one of its series: it may have what no other has. The rules go over it where its series has no complete one, and
//! over each such series by itself. One from the future stays, and no rule counts it. Of archives that were complete and have
//! lost something since, none takes the place of one that is whole: what the rules keep without them stays as well as what
//! they keep with them. A protected archive stays, and changes nothing for the others. Promises that the newest complete
//! archive of all is kept, unless `force` says otherwise.

use std::collections::{BTreeMap, HashMap, HashSet};

use garret_format::ChunkId;
use garret_format::archive::Time;
use jiff::tz::{Offset, TimeZone};
use jiff::{Timestamp, Zoned};

use crate::error::{Error, Result};
use crate::objects::archive::NamedArchive;
use crate::objects::index::Location;
use crate::pipeline::with_workers;
use crate::progress::{Phase, Progress};
use crate::read::chunks::Chunks;
use crate::read::mark::{Marks, Visitor, mark_archive};
use crate::repository::Repository;

/// How far clocks of hosts may go before ours: a day, for those that take local time for UTC.
const CLOCKS_SECS: i64 = 86_400;

/// How many of each kind to keep.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeepRules {
    /// Everything younger than this many seconds.
    pub within_secs: Option<u64>,
    /// One per hour.
    pub hourly: i64,
    /// One per day.
    pub daily: i64,
    /// One per ISO week.
    pub weekly: i64,
    /// One per month.
    pub monthly: i64,
    /// One per year.
    pub yearly: i64,
    /// Keep not even the newest complete archive if no rule does.
    pub force: bool,
    /// The names of archives that lack something they once had: see [`Repository::lacking`].
    pub lacking: HashSet<String>,
    /// The names of archives that may not be deleted. Rules count them like any other.
    pub protected: HashSet<String>,
}

impl Repository {
    /// Which of these archives lack something that they need, or need something of packs that are known to be damaged. The
    /// packs themselves are not read.
    ///
    /// # Errors
    /// The index cannot be brought up to date.
    pub fn lacking(
        &self,
        names: &[String],
        threads: usize,
        progress: &dyn Progress,
    ) -> Result<HashSet<String>> {
        // Afterwards: what archives need that are listed is there.
        self.refresh_index(progress)?;
        let chunks = self.chunks();
        // What archives share is looked through once for all of them; only if anything is lacking, once for each.
        let shared = Marks::new(chunks.index());
        match self.lack(names, &chunks, Some(&shared), threads, progress)? {
            none if none.is_empty() => Ok(none),
            _ => self.lack(names, &chunks, None, threads, progress),
        }
    }

    fn lack(
        &self,
        names: &[String],
        chunks: &Chunks,
        marks: Option<&Marks>,
        threads: usize,
        progress: &dyn Progress,
    ) -> Result<HashSet<String>> {
        let task = progress.begin(Phase::Mark, Some(names.len() as u64));
        with_workers(threads, |workers| {
            let look = |name: String| {
                let own = marks.is_none().then(|| Marks::new(chunks.index()));
                let mut lacks = Lacks { chunks, anything: false };
                let looked = match (self.archive(&name), marks.or(own.as_ref())) {
                    (Ok(archive), Some(marks)) => {
                        mark_archive(chunks, &archive, marks, &mut lacks).is_ok()
                    }
                    _ => false,
                };
                Ok((lacks.anything || !looked).then_some(name))
            };
            let mut lacking = HashSet::new();
            for found in workers.map(names.iter().cloned().map(Ok), look) {
                lacking.extend(found?);
                task.advance(1);
            }
            Ok(lacking)
        })
    }
}

/// Whether an archive needs what is nowhere, or only in damaged packs.
struct Lacks<'c> {
    chunks: &'c Chunks,
    anything: bool,
}

impl Visitor for Lacks<'_> {
    fn chunk(&mut self, _: &[u8], _: &ChunkId, location: Option<&Location>) {
        let index = self.chunks.index();
        self.anything |= location.is_none_or(|first| index.is_damaged(&first.pack.id));
    }
}

impl KeepRules {
    /// Whether there is one.
    ///
    /// # Errors
    /// `BadOption` if there is none.
    pub fn check(&self) -> Result<()> {
        let counts = [self.hourly, self.daily, self.weekly, self.monthly, self.yearly];
        if self.within_secs.is_some() || counts.iter().any(|count| *count != 0) {
            return Ok(());
        }
        let text = "At least one of the \"within\", \"hourly\", \"daily\", \"weekly\", \"monthly\" or \"yearly\" \
                    settings must be specified";
        Err(Error::BadOption(text.to_owned()))
    }

    /// The seconds of attic's interval: a number and one of H, d, w, m (31 days), y (365 days).
    pub fn parse_within(text: &str) -> Option<u64> {
        let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
        let hours = match unit {
            "H" => 1,
            "d" => 24,
            "w" => 24 * 7,
            "m" => 24 * 31,
            "y" => 24 * 365,
            _ => return None,
        };
        if !number.bytes().all(|digit| digit.is_ascii_digit()) {
            return None;
        }
        number.parse::<u64>().ok()?.checked_mul(hours * 3600)
    }
}

/// Why an archive stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeptBy {
    /// By a rule.
    Rule {
        /// `within`, `hourly`, `daily`, `weekly`, `monthly` or `yearly`.
        rule: &'static str,
        /// The how many-th of those that the rule keeps, from 1 on, newest first.
        number: usize,
    },
    /// It is incomplete, and its series has no complete one since: what there is of those nights.
    Later,
    /// By no rule: the user protects it.
    Protected,
    /// By no rule: it is the newest complete archive of all.
    Newest,
    /// It is of a time that has not come: a clock was wrong, or somebody lies. No rule counts it, so it takes nobody's place.
    Future,
}

impl std::fmt::Display for KeptBy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            KeptBy::Rule { rule, number } => write!(f, "{rule} #{number}"),
            KeptBy::Later => f.write_str("no complete one since"),
            KeptBy::Newest => f.write_str("the newest complete one"),
            KeptBy::Protected => f.write_str("protected"),
            KeptBy::Future => f.write_str("made in the future: a clock was wrong"),
        }
    }
}

/// What will happen to an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Decision {
    /// The archive.
    pub archive: NamedArchive,
    /// What keeps it; `None` if it goes.
    pub kept: Option<KeptBy>,
}

/// How many seconds local time is ahead of UTC, by the time in seconds since 1970.
type LocalTime<'a> = &'a dyn Fn(i64) -> i32;

/// Decides for each of `archives`, newest first. What is an hour or a day of `now` and of the archives' end times is said by
/// `local`: how many seconds the clocks on the wall are ahead of UTC at a time in seconds since 1970.
///
/// # Errors
/// `BadOption` if there is no rule.
pub fn plan_prune(
    mut archives: Vec<NamedArchive>,
    rules: &KeepRules,
    now: Time,
    local: &dyn Fn(i64) -> i32,
) -> Result<Vec<Decision>> {
    rules.check()?;
    archives.sort_by(|a, b| age(b).cmp(&age(a)));
    let mut plan: Vec<Decision> =
        archives.into_iter().map(|archive| Decision { archive, kept: None }).collect();
    let latest = now.secs.saturating_add(CLOCKS_SECS);
    for decision in plan.iter_mut().filter(|found| found.archive.archive.end.secs > latest) {
        decision.kept = Some(KeptBy::Future);
    }
    let counted = plan.iter_mut().filter(|decision| decision.kept.is_none());
    let (mut complete, failed): (Vec<&mut Decision>, Vec<&mut Decision>) =
        counted.partition(|decision| decision.archive.archive.is_complete());
    keep(&mut complete, rules, now, local);
    complete.retain(|decision| !rules.lacking.contains(&decision.archive.name));
    if !rules.lacking.is_empty() {
        let with: Vec<Option<KeptBy>> = complete.iter().map(|decision| decision.kept).collect();
        keep(&mut complete, rules, now, local);
        for (decision, with) in complete.iter_mut().zip(with) {
            decision.kept = with.or(decision.kept);
        }
    }
    // Oldest first, so that the newest of each series stays.
    let newest = complete.iter().rev().map(|decision| &decision.archive);
    let newest: HashMap<&str, &NamedArchive> =
        newest.map(|archive| (archive.archive.host.as_str(), archive)).collect();
    let mut without: BTreeMap<String, Vec<&mut Decision>> = BTreeMap::new();
    for decision in failed {
        match newest.get(decision.archive.archive.host.as_str()) {
            Some(newest) => {
                let is_later = age(&decision.archive) > age(newest);
                decision.kept = is_later.then_some(KeptBy::Later);
            }
            None => {
                without.entry(decision.archive.archive.host.clone()).or_default().push(decision);
            }
        }
    }
    for series in without.values_mut() {
        keep_by_rules(series, rules, now, local);
    }
    for decision in plan.iter_mut().filter(|one| rules.protected.contains(&one.archive.name)) {
        decision.kept.get_or_insert(KeptBy::Protected);
    }
    Ok(plan)
}

/// What archives are ordered by: when they were complete, then by name.
fn age(archive: &NamedArchive) -> (Time, &str) {
    (archive.archive.end, &archive.name)
}

/// Attic's rules over these complete archives, newest first, and the newest of them.
fn keep(archives: &mut [&mut Decision], rules: &KeepRules, now: Time, local: LocalTime<'_>) {
    keep_by_rules(archives, rules, now, local);
    if let Some(newest) = archives.first_mut()
        && !rules.force
    {
        newest.kept.get_or_insert(KeptBy::Newest);
    }
}

/// Attic's rules over these archives, newest first, and no others.
fn keep_by_rules(
    archives: &mut [&mut Decision],
    rules: &KeepRules,
    now: Time,
    local: LocalTime<'_>,
) {
    // Newest first, so the young ones are in front.
    for (number, decision) in (1..).zip(archives.iter_mut()) {
        let end = decision.archive.archive.end;
        let young = rules.within_secs.is_some_and(|within| is_within(end, now, within));
        decision.kept = young.then_some(KeptBy::Rule { rule: "within", number });
    }
    let ends: Vec<Zoned> =
        archives.iter().map(|decision| on_the_wall(decision.archive.archive.end, local)).collect();
    let hour = |time: &Zoned| (time.year(), time.month(), time.day(), time.hour());
    let day = |time: &Zoned| (time.year(), time.month(), time.day(), 0);
    let week = |time: &Zoned| {
        let week = time.date().iso_week_date();
        (week.year(), week.week(), 0, 0)
    };
    let month = |time: &Zoned| (time.year(), time.month(), 0, 0);
    let year = |time: &Zoned| (time.year(), 0, 0, 0);
    keep_first_of_each(archives, &ends, ("hourly", rules.hourly), hour);
    keep_first_of_each(archives, &ends, ("daily", rules.daily), day);
    keep_first_of_each(archives, &ends, ("weekly", rules.weekly), week);
    keep_first_of_each(archives, &ends, ("monthly", rules.monthly), month);
    keep_first_of_each(archives, &ends, ("yearly", rules.yearly), year);
}

/// The numbers that name a period: year, month or week, day, hour.
type Period = (i16, i8, i8, i8);

fn keep_first_of_each(
    archives: &mut [&mut Decision],
    ends: &[Zoned],
    (rule, count): (&'static str, i64),
    period: impl Fn(&Zoned) -> Period,
) {
    // A negative count is no limit.
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    let mut number = 0;
    let mut last = None;
    for (Decision { kept, .. }, end) in archives.iter_mut().zip(ends) {
        if number == count {
            return;
        }
        let this = Some(period(end));
        if this != last {
            last = this;
            if kept.is_none() {
                number += 1;
                *kept = Some(KeptBy::Rule { rule, number });
            }
        }
    }
}

fn is_within(end: Time, now: Time, within_secs: u64) -> bool {
    let age_secs = i128::from(now.secs) - i128::from(end.secs);
    let (age_nanos, within) =
        (i64::from(now.nanos) - i64::from(end.nanos), i128::from(within_secs));
    age_secs < within || (age_secs == within && age_nanos < 0)
}

fn on_the_wall(time: Time, local: LocalTime<'_>) -> Zoned {
    let nanos = i32::try_from(time.nanos).unwrap_or(0);
    let time = Timestamp::new(time.secs, nanos).unwrap_or(Timestamp::MIN);
    let ahead = Offset::from_seconds(local(time.as_second())).unwrap_or(Offset::UTC);
    time.to_zoned(TimeZone::fixed(ahead))
}

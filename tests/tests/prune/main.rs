//! The rules of prune against a slow reading of attic's, over random times, zones and counts; random good and bad nights;
//! and examples worked out by hand.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod examples;
mod lacking;
mod protected;

use std::collections::{BTreeMap, BTreeSet};

use garret_core::{KeepRules, KeptBy, NamedArchive, plan_prune};
use garret_format::archive::{Archive, Time};
use garret_format::recipe::{CutterKind, Node, Recipe};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use proptest::prelude::*;

fn archive(number: usize, secs: i64) -> NamedArchive {
    let end = Time { secs, nanos: 0 };
    let name = format!("{number:04}");
    let items = Recipe { cutter: CutterKind::Fastcdc, root: Node::Leaf(Vec::new()) };
    let archive = Archive {
        // Neither the start nor the name decides.
        start: Time { secs: secs - (number as i64 * 7919) % 100_000, nanos: 0 },
        end,
        file_count: 1,
        ..Archive::new(&*name, items)
    };
    NamedArchive { name, archive, fingerprint: [0; 32], len: 0 }
}

/// How far clocks in this zone are ahead of UTC.
fn ahead(zone: &TimeZone) -> impl Fn(i64) -> i32 {
    |secs| zone.to_offset(Timestamp::from_second(secs).unwrap()).seconds()
}

/// Attic's rules as they are written down: periods are strings, each rule looks at all archives anew. A period is new where
/// it is not that of the archive just newer.
fn attic(times: &BTreeSet<i64>, rules: &KeepRules, now: i64, zone: &TimeZone) -> BTreeSet<i64> {
    let within = rules.within_secs.map_or(i64::MAX, |secs| now - secs as i64);
    let mut kept: BTreeSet<i64> = times.iter().copied().filter(|time| *time > within).collect();
    for (pattern, count) in [
        ("%Y-%m-%d %H", rules.hourly),
        ("%Y-%m-%d", rules.daily),
        ("%G-%V", rules.weekly),
        ("%Y-%m", rules.monthly),
        ("%Y", rules.yearly),
    ] {
        let period = |time: &i64| {
            let local = Timestamp::from_second(*time).unwrap().to_zoned(zone.clone());
            local.strftime(pattern).to_string()
        };
        let newest_first: Vec<i64> = times.iter().rev().copied().collect();
        let periods = newest_first.chunk_by(|a, b| period(a) == period(b));
        let mut candidates: Vec<i64> = periods.map(|archives| archives[0]).collect();
        candidates.retain(|time| !kept.contains(time));
        let count = if count < 0 { usize::MAX } else { count as usize };
        kept.extend(candidates.into_iter().take(count));
    }
    kept
}

/// Moments around which calendars are odd: changes of summer time, leap days, years that begin in the week of another.
const ODD: [&str; 13] = [
    "2026-10-25T00:30:00Z",
    "2026-03-29T01:00:00Z",
    "2024-02-29T12:00:00Z",
    "2027-01-01T00:00:00Z",
    "2026-12-28T00:00:00Z",
    "2020-12-31T23:30:00Z",
    "2026-11-01T06:00:00Z",
    "2000-02-29T00:00:00Z",
    "1999-12-31T23:59:59Z",
    "2026-04-04T16:00:00Z",
    // A minute after midnight in St. John's the clock went back into the day before.
    "2010-11-07T02:31:00Z",
    // India is half an hour off.
    "2021-01-03T18:30:00Z",
    "2100-02-28T23:00:00Z",
];

fn times() -> impl Strategy<Value = BTreeSet<i64>> {
    let odd = (prop::sample::select(ODD.to_vec()), -200_000..200_000i64)
        .prop_map(|(at, off)| at.parse::<Timestamp>().unwrap().as_second() + off);
    let hourly = (prop::sample::select(ODD.to_vec()), -60..60i64)
        .prop_map(|(at, off)| at.parse::<Timestamp>().unwrap().as_second() + off * 1800);
    let any = 900_000_000..1_900_000_000i64;
    let year = 1_780_000_000..1_800_000_000i64;
    prop::collection::btree_set(prop_oneof![odd, hourly, any, year], 0..60)
}

fn rules() -> impl Strategy<Value = KeepRules> {
    let count = || prop_oneof![3 => Just(0i64), 3 => 1..6i64, 1 => Just(-1i64), 1 => 10..40i64];
    let within = prop_oneof![2 => Just(None), 1 => (0..40_000_000u64).prop_map(Some)];
    (within, count(), count(), count(), count(), count())
        .prop_map(|(within_secs, hourly, daily, weekly, monthly, yearly)| {
            let mut rules = KeepRules::default();
            rules.within_secs = within_secs;
            rules.hourly = hourly;
            rules.daily = daily;
            rules.weekly = weekly;
            rules.monthly = monthly;
            rules.yearly = yearly;
            rules.force = true;
            rules
        })
        .prop_filter("at least one rule", |rules| rules.check().is_ok())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_kept_is_what_attic_keeps(
        times in times(),
        rules in rules(),
        zone in prop::sample::select(vec![
            "UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "Pacific/Apia",
            "Asia/Kolkata", "America/St_Johns",
        ]),
        age in 0..5_000_000i64,
        order in any::<u64>(),
    ) {
        let zone = TimeZone::get(zone).unwrap();
        let now = times.last().copied().unwrap_or_default() + age;
        let mut archives: Vec<NamedArchive> =
            times.iter().enumerate().map(|(number, secs)| archive(number, *secs)).collect();
        let len = archives.len().max(1);
        archives.rotate_left(order as usize % len);
        let plan = plan_prune(archives, &rules, Time { secs: now, nanos: 0 }, &ahead(&zone)).unwrap();
        prop_assert_eq!(plan.len(), times.len());
        prop_assert!(plan.is_sorted_by(|a, b| a.archive.archive.end >= b.archive.archive.end));
        let kept: BTreeSet<i64> =
            plan.iter().filter(|d| d.kept.is_some()).map(|d| d.archive.archive.end.secs).collect();
        prop_assert_eq!(kept, attic(&times, &rules, now, &zone));
    }
}

/// What is made in a night.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Night {
    Good,
    /// Something could not be read.
    Partial,
    /// There were no files.
    Empty,
}

fn nights() -> impl Strategy<Value = Vec<(i64, usize, Night)>> {
    let night = prop_oneof![
        3 => Just(Night::Good),
        2 => Just(Night::Partial),
        1 => Just(Night::Empty),
    ];
    // Some follow at once, some after years.
    let pause = prop_oneof![1 => Just(0i64), 4 => 1..200_000i64, 1 => 1..40_000_000i64];
    prop::collection::vec((pause, 0..3usize, night), 1..40)
}

fn of_night(number: usize, secs: i64, host: usize, night: Night) -> NamedArchive {
    let mut made = archive(number, secs);
    made.archive.host = format!("host{host}");
    made.archive.problem_count = u64::from(night == Night::Partial);
    made.archive.file_count = u64::from(night != Night::Empty);
    made
}

/// Newest first, as prune looks at them.
fn newest_first(archives: &[NamedArchive]) -> Vec<&NamedArchive> {
    let mut sorted: Vec<&NamedArchive> = archives.iter().collect();
    sorted.sort_by_key(|found| std::cmp::Reverse((found.archive.end, &found.name)));
    sorted
}

/// What attic keeps of these archives, which may have the same times: then it sees only the one with the last name.
fn attic_keeps(archives: &[&NamedArchive], rules: &KeepRules, now: i64) -> BTreeSet<String> {
    let mut kept = BTreeSet::new();
    let within = rules.within_secs.map_or(i64::MAX, |secs| now.saturating_sub(secs as i64));
    let mut times: BTreeMap<i64, &str> = BTreeMap::new();
    for found in archives {
        let secs = found.archive.end.secs;
        let name = times.entry(secs).or_insert(&found.name);
        *name = (*name).max(&found.name);
        // Every young one is kept, also of those with the same time.
        if secs > within {
            kept.insert(found.name.clone());
        }
    }
    let secs: BTreeSet<i64> = times.keys().copied().collect();
    kept.extend(attic(&secs, rules, now, &TimeZone::UTC).iter().map(|secs| times[secs].to_owned()));
    kept
}

/// What shall stay, by the words of docs/attic.md.
fn expected(archives: &[NamedArchive], rules: &KeepRules, now: i64) -> BTreeSet<String> {
    let sorted = newest_first(archives);
    let complete = |found: &&&NamedArchive| found.archive.is_complete();
    let good: Vec<&NamedArchive> = sorted.iter().filter(complete).copied().collect();
    let mut kept = attic_keeps(&good, rules, now);
    if !rules.force {
        kept.extend(good.first().map(|newest| newest.name.clone()));
    }
    let hosts: BTreeSet<&String> = sorted.iter().map(|found| &found.archive.host).collect();
    for host in hosts {
        let series: Vec<&NamedArchive> =
            sorted.iter().filter(|found| found.archive.host == *host).copied().collect();
        match series.iter().position(|found| found.archive.is_complete()) {
            Some(newest) => kept.extend(series[..newest].iter().map(|found| found.name.clone())),
            None => kept.extend(attic_keeps(&series, rules, now)),
        }
    }
    kept
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    /// A prune after every night: the newest complete archive is never lost, and of the complete ones there are always
    /// those that attic's rules keep of them.
    #[test]
    fn no_good_night_is_ever_dropped_for_a_bad_one(
        nights in nights(),
        rules in rules(),
        force in prop::bool::weighted(0.2),
        age in 0..3_000_000i64,
    ) {
        let mut rules = rules;
rules.force = force;
        let mut there: Vec<NamedArchive> = Vec::new();
        let mut secs = 1_500_000_000;
        for (number, (pause, host, night)) in nights.into_iter().enumerate() {
            secs += pause;
            there.push(of_night(number, secs, host, night));
            let newest = newest_first(&there).into_iter().find(|found| found.archive.is_complete());
            let newest = newest.map(|found| found.name.clone());
            let now = secs + age;
            let plan =
                plan_prune(there.clone(), &rules, Time { secs: now, nanos: 0 }, &|_| 0).unwrap();
            prop_assert_eq!(plan.len(), there.len());
            let kept = plan.iter().filter(|one| one.kept.is_some());
            let kept: BTreeSet<String> = kept.map(|one| one.archive.name.clone()).collect();
            prop_assert_eq!(&kept, &expected(&there, &rules, now));
            let good: Vec<&NamedArchive> =
                there.iter().filter(|found| found.archive.is_complete()).collect();
            let mut allowed = attic_keeps(&good, &rules, now);
            if !rules.force {
                allowed.extend(newest.clone());
            }
            let kept_good: BTreeSet<String> =
                good.iter().map(|found| found.name.clone()).filter(|name| kept.contains(name)).collect();
            prop_assert_eq!(kept_good, allowed);
            if !rules.force && let Some(newest) = newest {
                prop_assert!(kept.contains(&newest), "{} is gone", newest);
            }
            there.retain(|found| kept.contains(&found.name));
        }
    }
}

#[test]
fn a_bad_night_stays_until_there_is_a_good_one_and_counts_for_no_rule() {
    let mut rules = KeepRules::default();
    rules.daily = 2;
    let day = |number: i64| 1_780_000_000 + number * 86_400;
    let decide = |archives: &[NamedArchive], rules: &KeepRules| -> Vec<(String, String)> {
        let now = Time { secs: day(100), nanos: 0 };
        let plan = plan_prune(archives.to_vec(), rules, now, &|_| 0).unwrap();
        let line = |kept: Option<KeptBy>| kept.map_or("-".to_owned(), |kept| kept.to_string());
        plan.into_iter().map(|one| (one.archive.name, line(one.kept))).collect()
    };
    let lines = |rows: &[(&str, &str)]| -> Vec<(String, String)> {
        rows.iter().map(|(name, kept)| ((*name).to_owned(), (*kept).to_owned())).collect()
    };
    let mut archives = vec![
        of_night(1, day(1), 0, Night::Good),
        of_night(2, day(2), 0, Night::Partial),
        of_night(3, day(3), 0, Night::Good),
        of_night(4, day(4), 0, Night::Empty),
        of_night(5, day(5), 0, Night::Partial),
    ];
    assert_eq!(
        decide(&archives, &rules),
        lines(&[
            ("0005", "no complete one since"),
            ("0004", "no complete one since"),
            ("0003", "daily #1"),
            ("0002", "-"),
            ("0001", "daily #2"),
        ])
    );
    archives.push(of_night(6, day(6), 0, Night::Good));
    // Another host never had a good night: attic's rules for it alone.
    archives
        .extend((1..=3).map(|night| of_night(10 + night, day(night as i64), 1, Night::Partial)));
    let kept: Vec<String> = decide(&archives, &rules)
        .into_iter()
        .filter(|(_, kept)| kept != "-")
        .map(|(name, kept)| format!("{name} {kept}"))
        .collect();
    assert_eq!(kept, ["0006 daily #1", "0013 daily #1", "0003 daily #2", "0012 daily #2"]);
    let mut within = KeepRules::default();
    within.within_secs = Some(1);
    let kept =
        |rules: &KeepRules| decide(&archives, rules).into_iter().find(|(_, kept)| kept != "-");
    assert_eq!(kept(&within), Some(("0006".to_owned(), "the newest complete one".to_owned())));
    assert_eq!(
        kept(&{
            let mut rules = within;
            rules.force = true;
            rules
        }),
        None
    );
}

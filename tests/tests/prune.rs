//! The rules of prune against a slow reading of attic's, over random times, zones and counts.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::{BTreeMap, BTreeSet};

use engine::{KeepRules, NamedArchive, plan_prune};
use format::archive::{Archive, Time};
use format::recipe::{CutterKind, Node, Recipe};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use proptest::prelude::*;

fn archive(number: usize, secs: i64) -> NamedArchive {
    let end = Time { secs, nanos: 0 };
    let name = format!("{number:04}");
    let items = Recipe { cutter: CutterKind::Fastcdc, root: Node::Leaf(Vec::new()) };
    let archive = Archive {
        name: name.clone(),
        // Neither the start nor the name decides.
        start: Time { secs: secs - (number as i64 * 7919) % 100_000, nanos: 0 },
        end,
        host: String::new(),
        user: String::new(),
        command: Vec::new(),
        sources: Vec::new(),
        original_len: 0,
        file_count: 0,
        problem_count: 0,
        items,
    };
    NamedArchive { name, archive, fingerprint: [0; 32] }
}

/// Attic's rules as they are written down: periods are strings, each rule looks at all archives anew.
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
        // The latest archive of each period, latest period first.
        let mut latest: BTreeMap<String, i64> = BTreeMap::new();
        for time in times {
            let local = Timestamp::from_second(*time).unwrap().to_zoned(zone.clone());
            latest.insert(local.strftime(pattern).to_string(), *time);
        }
        let mut candidates: Vec<i64> = latest.into_values().collect();
        candidates.sort_unstable_by(|a, b| b.cmp(a));
        candidates.retain(|time| !kept.contains(time));
        let count = if count < 0 { usize::MAX } else { count as usize };
        kept.extend(candidates.into_iter().take(count));
    }
    kept
}

/// Moments around which calendars are odd: changes of summer time, leap days, years that begin in the week of another.
const ODD: [&str; 10] = [
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
        .prop_map(|(within_secs, hourly, daily, weekly, monthly, yearly)| KeepRules {
            within_secs,
            hourly,
            daily,
            weekly,
            monthly,
            yearly,
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
        let plan = plan_prune(archives, &rules, Time { secs: now, nanos: 0 }, &zone).unwrap();
        prop_assert_eq!(plan.len(), times.len());
        prop_assert!(plan.is_sorted_by(|a, b| a.archive.archive.end >= b.archive.archive.end));
        let kept: BTreeSet<i64> =
            plan.iter().filter(|d| d.keep).map(|d| d.archive.archive.end.secs).collect();
        prop_assert_eq!(kept, attic(&times, &rules, now, &zone));
    }
}

#[test]
fn no_rule_at_all_is_refused_and_intervals_are_attics() {
    let none = KeepRules::default();
    assert!(plan_prune(Vec::new(), &none, Time::default(), &TimeZone::UTC).is_err());
    for (text, secs) in [
        ("1H", Some(3600)),
        ("2d", Some(172_800)),
        ("1w", Some(604_800)),
        ("1m", Some(31 * 86_400)),
        ("1y", Some(365 * 86_400)),
        ("0d", Some(0)),
        ("", None),
        ("d", None),
        ("5", None),
        ("-1d", None),
        ("1h", None),
        ("+1d", None),
        ("1\u{e4}", None),
        ("99999999999999999999d", None),
        ("9999999999999999999y", None),
    ] {
        assert_eq!(KeepRules::parse_within(text), secs, "{text:?}");
    }
}

/// An archive exactly as old as the interval is not within it.
#[test]
fn the_interval_is_open_at_its_end() {
    let rules = KeepRules { within_secs: Some(100), ..KeepRules::default() };
    let kept = |secs, nanos, now_nanos| {
        let mut archive = archive(0, secs);
        archive.archive.end.nanos = nanos;
        let now = Time { secs: 1000, nanos: now_nanos };
        plan_prune(vec![archive], &rules, now, &TimeZone::UTC).unwrap()[0].keep
    };
    assert!(!kept(900, 0, 0));
    assert!(kept(900, 1, 0));
    assert!(!kept(900, 0, 1));
    assert!(kept(901, 0, 999_999_999));
    assert!(kept(5000, 0, 0), "from the future");
}

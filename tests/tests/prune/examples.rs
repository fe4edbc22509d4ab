//! Examples worked out by hand.

use garret_core::{KeepRules, KeptBy, NamedArchive, plan_prune};
use garret_format::archive::Time;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::{ahead, archive};

#[test]
fn no_rule_at_all_is_refused_and_intervals_are_attics() {
    let none = KeepRules::default();
    assert!(plan_prune(Vec::new(), &none, Time::default(), &|_| 0).is_err());
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
    let mut rules = KeepRules::default();
    rules.within_secs = Some(100);
    rules.force = true;
    let kept = |secs, nanos, now_nanos| {
        let mut archive = archive(0, secs);
        archive.archive.end.nanos = nanos;
        let now = Time { secs: 1000, nanos: now_nanos };
        plan_prune(vec![archive], &rules, now, &|_| 0).unwrap()[0].kept.is_some()
    };
    assert!(!kept(900, 0, 0));
    assert!(kept(900, 1, 0));
    assert!(!kept(900, 0, 1));
    assert!(kept(901, 0, 999_999_999));
    assert!(kept(5000, 0, 0), "from the future");
}

/// Archives at these moments in that zone, newest first, and which rule keeps each as the how many-th; `-` for none.
fn example(zone: &str, rules: &KeepRules, rows: &[(&str, &str)]) {
    let zone = TimeZone::get(zone).unwrap();
    let secs = |text: &str| text.parse::<Timestamp>().unwrap().as_second();
    let archives = rows.iter().enumerate().map(|(number, (time, _))| archive(number, secs(time)));
    let now = Time { secs: secs(rows[0].0) + 3600, nanos: 0 };
    let plan = plan_prune(archives.collect(), rules, now, &ahead(&zone)).unwrap();
    let kept = plan.iter().map(|decision| match decision.kept {
        Some(KeptBy::Rule { rule, number }) => format!("{rule} {number}"),
        Some(other) => other.to_string(),
        None => "-".to_owned(),
    });
    let expected: Vec<&str> = rows.iter().map(|(_, kept)| *kept).collect();
    assert_eq!(kept.collect::<Vec<_>>(), expected, "{rules:?}");
}

#[test]
fn an_archive_that_an_earlier_rule_keeps_uses_up_no_count() {
    let mut rules = KeepRules::default();
    rules.daily = 2;
    rules.weekly = 1;
    rules.monthly = 2;
    rules.yearly = 1;
    example(
        "UTC",
        &rules,
        &[
            // A Sunday, and the last day of its month.
            ("2026-05-31T22:00:00Z", "daily 1"),
            ("2026-05-31T10:00:00Z", "-"),
            ("2026-05-30T22:00:00Z", "daily 2"),
            // The latest of its week, which begins on a Monday.
            ("2026-05-24T22:00:00Z", "weekly 1"),
            ("2026-05-17T22:00:00Z", "-"),
            // May and this year are seen: their latest is kept already.
            ("2026-04-30T22:00:00Z", "monthly 1"),
            ("2026-03-02T22:00:00Z", "monthly 2"),
            ("2026-02-02T22:00:00Z", "-"),
            ("2025-12-31T22:00:00Z", "yearly 1"),
            ("2025-12-30T22:00:00Z", "-"),
            ("2024-12-31T22:00:00Z", "-"),
        ],
    );
}

#[test]
fn periods_without_archives_do_not_count_and_minus_one_is_no_limit() {
    let mut rules = KeepRules::default();
    rules.daily = 1;
    rules.monthly = -1;
    example(
        "UTC",
        &rules,
        &[
            ("2026-05-31T22:00:00Z", "daily 1"),
            ("2026-05-01T22:00:00Z", "-"),
            ("2025-11-11T22:00:00Z", "monthly 1"),
            ("2025-11-10T22:00:00Z", "-"),
            ("2019-01-01T00:00:00Z", "monthly 2"),
            ("2000-02-29T00:00:00Z", "monthly 3"),
        ],
    );
}

#[test]
fn within_comes_first_and_its_periods_are_seen() {
    let mut rules = KeepRules::default();
    rules.within_secs = Some(2 * 86_400);
    rules.daily = 2;
    example(
        "UTC",
        &rules,
        &[
            ("2026-05-31T22:00:00Z", "within 1"),
            ("2026-05-31T10:00:00Z", "within 2"),
            ("2026-05-30T22:00:00Z", "within 3"),
            // Exactly two days before 23:00 on the 31st would not be within.
            ("2026-05-29T23:00:01Z", "within 4"),
            ("2026-05-29T23:00:00Z", "-"),
            ("2026-05-28T12:00:00Z", "daily 1"),
            ("2026-05-27T12:00:00Z", "daily 2"),
            ("2026-05-26T12:00:00Z", "-"),
        ],
    );
}

#[test]
fn periods_end_where_the_clock_on_the_wall_says() {
    let mut daily = KeepRules::default();
    daily.daily = 10;
    let mut hourly = KeepRules::default();
    hourly.hourly = 10;
    let mut weekly = KeepRules::default();
    weekly.weekly = 10;
    let mut yearly = KeepRules::default();
    yearly.yearly = 10;
    // Midnight in Kolkata is half past six in the evening.
    let rows = [
        ("2026-05-02T18:30:00Z", "daily 1"),
        ("2026-05-02T18:29:59Z", "daily 2"),
        ("2026-05-01T18:30:00Z", "-"),
        ("2026-05-01T18:29:59Z", "daily 3"),
    ];
    example("Asia/Kolkata", &daily, &rows);
    // In Berlin the hour from two to three comes twice, and is one hour; in March there is none.
    let rows = [
        ("2026-10-25T02:00:00Z", "hourly 1"),
        ("2026-10-25T01:59:00Z", "hourly 2"),
        ("2026-10-25T00:00:00Z", "-"),
        ("2026-10-24T23:59:00Z", "hourly 3"),
        ("2026-03-29T01:00:00Z", "hourly 4"),
        ("2026-03-29T00:59:00Z", "hourly 5"),
    ];
    example("Europe/Berlin", &hourly, &rows);
    // The first days of 2027 are in the last week of 2026; the year is another.
    let rows = [
        ("2027-01-04T00:00:00Z", "weekly 1"),
        ("2027-01-03T23:59:59Z", "weekly 2"),
        ("2026-12-28T00:00:00Z", "-"),
        ("2026-12-27T23:59:59Z", "weekly 3"),
    ];
    example("UTC", &weekly, &rows);
    let rows = [("2027-01-01T00:00:00Z", "yearly 1"), ("2026-12-31T23:59:59Z", "yearly 2")];
    example("UTC", &yearly, &rows);
    // The 29th of February is a day and has a month.
    let rows = [
        ("2024-03-01T00:00:00Z", "daily 1"),
        ("2024-02-29T23:59:59Z", "daily 2"),
        ("2024-02-28T23:59:59Z", "daily 3"),
    ];
    example("UTC", &daily, &rows);
    // Where the clock goes back into the day before, that day's period begins anew, as in attic.
    let rows = [
        ("2010-11-07T03:31:00Z", "daily 1"),
        ("2010-11-07T02:31:00Z", "daily 2"),
        ("2010-11-07T02:30:30Z", "daily 3"),
        ("2010-11-07T02:29:30Z", "daily 4"),
    ];
    example("America/St_Johns", &daily, &rows);
}

#[test]
fn any_rule_is_a_rule_and_naught_is_none() {
    let (off, all) = (
        {
            let mut rules = KeepRules::default();
            rules.daily = 0;
            rules
        },
        {
            let mut rules = KeepRules::default();
            rules.daily = -1;
            rules.weekly = 1;
            rules
        },
    );
    assert!(off.check().is_err());
    // attic adds the counts up, and refuses these.
    assert!(all.check().is_ok());
    let error = garret_core::message(&off.check().unwrap_err());
    let expected = "At least one of the \"within\", \"hourly\", \"daily\", \"weekly\", \"monthly\" or \"yearly\" \
                    settings must be specified";
    assert_eq!(error, expected);
}

/// A host whose clock is years ahead makes no rule drop an archive of the others.
#[test]
fn what_is_of_the_future_stays_and_takes_nobody_s_place() {
    let now = 1_790_000_000;
    let day = 86_400;
    let honest = (0..9).map(|number| archive(number, now - number as i64 * day));
    let ahead = (9..19).map(|number| archive(number, now + 3000 * day + number as i64 * day));
    let mut rules = KeepRules::default();
    rules.daily = 4;
    rules.force = true;
    let plan = |archives: Vec<NamedArchive>| {
        let now = Time { secs: now, nanos: 0 };
        plan_prune(archives, &rules, now, &|_| 0).unwrap()
    };
    let kept = |plan: &[garret_core::Decision], by: fn(KeptBy) -> bool| {
        let kept = plan.iter().filter(|decision| decision.kept.is_some_and(by));
        kept.map(|decision| decision.archive.name.clone()).collect::<Vec<_>>()
    };
    let alone = plan(honest.clone().collect());
    let all = plan(honest.chain(ahead).collect());
    let by_rule = |by| matches!(by, KeptBy::Rule { .. });
    assert_eq!(kept(&all, by_rule), kept(&alone, by_rule));
    assert_eq!(kept(&all, |by| by == KeptBy::Future).len(), 10);
}

//! The lamp: whether a repository is as it should be, one line for each thing that was looked at.
//!
//! In: what was gathered. Out: checks, each with its light. How old is too old is said by the repository itself: by the gap
//! that its complete archives usually leave.

use garret_cli::{overview, render};
use garret_core::VerifiedReport;
use garret_format::archive::Time;

use super::model::{Check, Growth, Light, Night};

const DAY: i64 = 24 * 60 * 60;
/// Gaps between complete archives that are looked at, the newest.
const GAPS: usize = 10;
/// How many usual gaps old the last complete archive may be: more is worth a look, and much more is bad.
const GAPS_LOOK: i64 = 2;
const GAPS_BAD: i64 = 7;
/// Days that the reading of a pack is worth.
const VERIFIED_DAYS: i64 = 90;
/// Days until the disk is full: fewer are worth a look, and much fewer are bad.
const FULL_LOOK: u64 = 30;
const FULL_BAD: u64 = 7;
/// Days of growth that are looked at, and the fewest that say anything.
const GROWTH_DAYS: i64 = 30;
const GROWTH_DAYS_MIN: i64 = 2;

/// How fast the repository grew lately; the first night is what it began with.
pub(super) fn growth(nights: &[Night], free: Option<u64>) -> Option<Growth> {
    let last = nights.last()?.end.secs;
    let start = last.saturating_sub(GROWTH_DAYS * DAY);
    let first = nights.iter().position(|night| night.end.secs >= start)?;
    let lately = nights.get(first..)?;
    let (from, since) = lately.split_first()?;
    let span = last.saturating_sub(from.end.secs);
    if span < GROWTH_DAYS_MIN * DAY {
        return None;
    }
    let bytes: u128 = since.iter().map(|night| u128::from(night.added.stored_len)).sum();
    let per_day = u64::try_from(bytes * DAY as u128 / span as u128).unwrap_or(u64::MAX);
    let days_left = free.and_then(|free| free.checked_div(per_day));
    Some(Growth { per_day, days_left })
}

/// The last complete archive, and how old it is.
pub(super) fn last_complete(nights: &[Night], now: Time) -> Check {
    let check = |light, text| Check { light, what: "Last complete", text };
    let good: Vec<&Night> = nights.iter().filter(|night| night.is_good()).collect();
    let Some(last) = good.last() else {
        return check(Light::Red, "no archive is complete".to_owned());
    };
    let mut gaps: Vec<i64> = good
        .iter()
        .rev()
        .zip(good.iter().rev().skip(1))
        .map(|(later, earlier)| later.end.secs.saturating_sub(earlier.end.secs))
        .take(GAPS)
        .collect();
    gaps.sort_unstable();
    let usual = gaps.get(gaps.len() / 2).copied().unwrap_or(DAY).max(DAY);
    let age = now.secs.saturating_sub(last.end.secs);
    let name = render::name(&last.name);
    let mut text = format!("{name}, {} ago", ago(age));
    let mut light = match age / usual {
        gaps if gaps >= GAPS_BAD => Light::Red,
        gaps if gaps >= GAPS_LOOK => Light::Amber,
        _ => Light::Green,
    };
    if light > Light::Green {
        text += &format!("; usually there is one every {}", ago(usual));
    }
    if let Some(newest) = nights.last().filter(|newest| !newest.is_good()) {
        light = light.max(Light::Amber);
        let newest = render::name(&newest.name);
        text += &format!("; the newest, {newest}, is not complete");
    }
    check(light, text)
}

/// How much was read whole, and when.
pub(super) fn verified(report: &VerifiedReport, now: Time) -> Check {
    let text = overview::verified(report);
    let text = text.strip_prefix("Verified: ").unwrap_or(&text).to_owned();
    let since = now.secs.saturating_sub(VERIFIED_DAYS * DAY);
    let is_old = report.oldest.is_some_and(|oldest| oldest < since);
    let is_none = report.pack_count > 0 && report.oldest.is_none();
    let light = if is_old || is_none { Light::Amber } else { Light::Green };
    let hint = if light > Light::Green { "; garret check --verify-data reads all" } else { "" };
    Check { light, what: "Verified", text: format!("{text}{hint}") }
}

/// How much room is left, and for how long.
pub(super) fn space(free: Option<u64>, growth: Option<Growth>) -> Check {
    let check = |light, text| Check { light, what: "Space", text };
    let Some(free) = free else {
        return check(Light::Amber, "how much is free cannot be told".to_owned());
    };
    let free = format!("{} free", render::size(free));
    let Some(Growth { per_day, days_left }) = growth else {
        return check(Light::Green, format!("{free}; too few days to say how it grows"));
    };
    let Some(days) = days_left else {
        return check(Light::Green, format!("{free}; it does not grow"));
    };
    let light = match days {
        0..FULL_BAD => Light::Red,
        FULL_BAD..FULL_LOOK => Light::Amber,
        _ => Light::Green,
    };
    let days = match days {
        0..=730 => render::plural(days, "day"),
        _ => "more than two years".to_owned(),
    };
    let pace = render::size(per_day);
    check(light, format!("{free}; full in {days} at {pace} a day, if nothing is deleted"))
}

/// Whether anything is lost.
pub(super) fn damage(lost: usize, incomplete: usize) -> Check {
    let check = |light, text| Check { light, what: "Damage", text };
    match (lost, incomplete) {
        (0, 0) => check(Light::Green, "none is known".to_owned()),
        (0, count) => {
            check(Light::Green, format!("none is known; not complete: {}", archives(count)))
        }
        (lost, _) => {
            check(Light::Red, format!("{}, see below", render::plural(lost as u64, "problem")))
        }
    }
}

fn archives(count: usize) -> String {
    render::plural(count as u64, "archive")
}

/// So many seconds in the unit that says most.
pub(super) fn ago(seconds: i64) -> String {
    let count = |unit: i64, word| render::plural((seconds / unit).unsigned_abs(), word);
    match seconds.max(0) {
        0..=119 => "a moment".to_owned(),
        120..=7199 => count(60, "minute"),
        7200..=172_799 => count(60 * 60, "hour"),
        _ => count(DAY, "day"),
    }
}

#[cfg(test)]
mod tests {
    use garret_core::Added;

    use super::*;

    /// Nights of these days, complete or not, each of which brought so many bytes.
    fn nights(days: &[(i64, bool, u64)]) -> Vec<Night> {
        let night = |&(day, is_complete, stored): &(i64, bool, u64)| {
            let mut added = Added::default();
            added.stored_len = stored;
            Night {
                name: format!("n{day}"),
                host: String::new(),
                start: Time { secs: day * DAY - 60, nanos: 0 },
                end: Time { secs: day * DAY, nanos: 0 },
                original: 1_000_000_000,
                added,
                others: Added::default(),
                is_complete,
                problem_count: u64::from(!is_complete),
                lacks: false,
            }
        };
        days.iter().map(night).collect()
    }

    fn on(day: i64) -> Time {
        Time { secs: day * DAY, nanos: 0 }
    }

    #[test]
    fn an_archive_is_old_by_what_is_usual_here() {
        let daily = nights(&[(1, true, 0), (2, true, 0), (3, true, 0)]);
        let weekly = nights(&[(1, true, 0), (8, true, 0), (15, true, 0)]);
        let light = |nights: &[Night], day| last_complete(nights, on(day)).light;
        assert_eq!(
            [4, 5, 10].map(|day| light(&daily, day)),
            [Light::Green, Light::Amber, Light::Red]
        );
        assert_eq!(
            [25, 29, 64].map(|day| light(&weekly, day)),
            [Light::Green, Light::Amber, Light::Red]
        );
        assert_eq!(light(&nights(&[(1, false, 0)]), 1), Light::Red);
        let bad = nights(&[(1, true, 0), (2, false, 0)]);
        let check = last_complete(&bad, on(2));
        assert_eq!(check.light, Light::Amber);
        assert_eq!(check.text, "n1, 24 hours ago; the newest, n2, is not complete");
    }

    #[test]
    fn the_first_night_is_no_growth_and_few_days_say_nothing() {
        let month = nights(&[(1, true, 9_000_000), (2, true, 1000), (11, true, 9000)]);
        let found = growth(&month, Some(50_000));
        assert_eq!(found, Some(Growth { per_day: 1000, days_left: Some(50) }));
        assert_eq!(growth(&month[..2], Some(50_000)), None);
        let still = nights(&[(1, true, 9000), (9, true, 0)]);
        assert_eq!(growth(&still, Some(1)), Some(Growth { per_day: 0, days_left: None }));
        let old = nights(&[(1, true, 9000), (100, true, 7000), (110, true, 5000)]);
        assert_eq!(growth(&old, None).map(|growth| growth.per_day), Some(500));
    }

    #[test]
    fn a_disk_that_is_full_soon_is_told_of() {
        let light = |days| space(Some(0), Some(Growth { per_day: 1, days_left: Some(days) })).light;
        assert_eq!(
            [0, 6, 7, 29, 30].map(light),
            [Light::Red, Light::Red, Light::Amber, Light::Amber, Light::Green]
        );
    }
}

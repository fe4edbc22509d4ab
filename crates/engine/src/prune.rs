//! Prune: which archives to keep, by attic's rules to the letter.
//!
//! The rules go over all considered archives, newest first, in this order: within, hourly, daily, weekly, monthly, yearly.
//! Each takes the newest archive of each period that it has not seen yet. One that an earlier rule keeps is not taken again,
//! does not use up the count, and no other of its period is taken instead. A negative count is unlimited.

use format::archive::Time;
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

use crate::archive::NamedArchive;
use crate::error::{Error, Result};

/// How many of each kind to keep.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
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
}

impl KeepRules {
    /// Fails unless at least one rule is given.
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
pub struct KeptBy {
    /// The rule: `within`, `hourly`, `daily`, `weekly`, `monthly` or `yearly`.
    pub rule: &'static str,
    /// The how many-th of those that the rule keeps, from 1 on, newest first.
    pub number: usize,
}

/// What will happen to an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The archive.
    pub archive: NamedArchive,
    /// The first rule that keeps it; `None` if it goes.
    pub kept: Option<KeptBy>,
}

/// Decides for each of `archives`, newest first. `now` and the archives' end times are taken in `zone`.
pub fn plan_prune(
    mut archives: Vec<NamedArchive>,
    rules: &KeepRules,
    now: Time,
    zone: &TimeZone,
) -> Result<Vec<Decision>> {
    rules.check()?;
    archives.sort_by(|a, b| (b.archive.end, &b.name).cmp(&(a.archive.end, &a.name)));
    let young = |archive: &NamedArchive| {
        rules.within_secs.is_some_and(|within| is_within(archive.archive.end, now, within))
    };
    // Newest first, so the young ones are in front.
    let mut kept: Vec<Option<KeptBy>> = (1..)
        .zip(&archives)
        .map(|(number, archive)| young(archive).then_some(KeptBy { rule: "within", number }))
        .collect();
    let ends: Vec<Zoned> =
        archives.iter().map(|archive| local(archive.archive.end, zone)).collect();
    let hour = |time: &Zoned| (time.year(), time.month(), time.day(), time.hour());
    let day = |time: &Zoned| (time.year(), time.month(), time.day(), 0);
    let week = |time: &Zoned| {
        let week = time.date().iso_week_date();
        (week.year(), week.week(), 0, 0)
    };
    let month = |time: &Zoned| (time.year(), time.month(), 0, 0);
    let year = |time: &Zoned| (time.year(), 0, 0, 0);
    keep_first_of_each(&mut kept, &ends, ("hourly", rules.hourly), hour);
    keep_first_of_each(&mut kept, &ends, ("daily", rules.daily), day);
    keep_first_of_each(&mut kept, &ends, ("weekly", rules.weekly), week);
    keep_first_of_each(&mut kept, &ends, ("monthly", rules.monthly), month);
    keep_first_of_each(&mut kept, &ends, ("yearly", rules.yearly), year);
    Ok(archives.into_iter().zip(kept).map(|(archive, kept)| Decision { archive, kept }).collect())
}

/// The numbers that name a period: year, month or week, day, hour.
type Period = (i16, i8, i8, i8);

fn keep_first_of_each(
    kept: &mut [Option<KeptBy>],
    ends: &[Zoned],
    (rule, count): (&'static str, i64),
    period: impl Fn(&Zoned) -> Period,
) {
    // A negative count is no limit.
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    let mut number = 0;
    let mut last = None;
    for (kept, end) in kept.iter_mut().zip(ends) {
        if number == count {
            return;
        }
        let this = Some(period(end));
        if this != last {
            last = this;
            if kept.is_none() {
                number += 1;
                *kept = Some(KeptBy { rule, number });
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

fn local(time: Time, zone: &TimeZone) -> Zoned {
    let nanos = i32::try_from(time.nanos).unwrap_or(0);
    Timestamp::new(time.secs, nanos).unwrap_or(Timestamp::MIN).to_zoned(zone.clone())
}

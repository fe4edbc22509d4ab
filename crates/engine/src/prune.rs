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
        let text = "at least one of the \"within\", \"hourly\", \"daily\", \"weekly\", \"monthly\" or \"yearly\" \
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

/// What will happen to an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The archive.
    pub archive: NamedArchive,
    /// Whether it stays.
    pub keep: bool,
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
    let mut keep: Vec<bool> = archives
        .iter()
        .map(|archive| {
            rules.within_secs.is_some_and(|within| is_within(archive.archive.end, now, within))
        })
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
    keep_first_of_each(&mut keep, &ends, rules.hourly, hour);
    keep_first_of_each(&mut keep, &ends, rules.daily, day);
    keep_first_of_each(&mut keep, &ends, rules.weekly, week);
    keep_first_of_each(&mut keep, &ends, rules.monthly, month);
    keep_first_of_each(&mut keep, &ends, rules.yearly, year);
    Ok(archives.into_iter().zip(keep).map(|(archive, keep)| Decision { archive, keep }).collect())
}

/// The numbers that name a period: year, month or week, day, hour.
type Period = (i16, i8, i8, i8);

fn keep_first_of_each(
    keep: &mut [bool],
    ends: &[Zoned],
    count: i64,
    period: impl Fn(&Zoned) -> Period,
) {
    let mut left = count;
    let mut last = None;
    for (keep, end) in keep.iter_mut().zip(ends) {
        if left == 0 {
            return;
        }
        let this = Some(period(end));
        if this != last {
            last = this;
            if !*keep {
                *keep = true;
                left -= 1;
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

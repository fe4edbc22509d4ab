//! The hours in which a job may begin.
//!
//! In: `22:00-06:00`, the time. Out: whether it is in them, and how long yet.

use std::fmt;
use std::time::Duration;

use jiff::civil::Time;

const DAY: i64 = 24 * 60 * 60;

/// From one time of the day to another, by local time; over midnight if the second is the earlier one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    from: Time,
    to: Time,
}

impl Window {
    /// `22:00-06:00`.
    ///
    /// # Errors
    /// How it is written.
    pub fn parse(text: &str) -> Result<Self, String> {
        let time = |text: &str| Time::strptime("%H:%M", text.trim()).ok();
        let parsed = text.split_once('-').and_then(|(from, to)| Some((time(from)?, time(to)?)));
        match parsed {
            Some((from, to)) if from != to => Ok(Window { from, to }),
            _ => Err("it is two times of the day, as in 22:00-06:00".to_owned()),
        }
    }

    /// How long it is still open; none if it is closed.
    pub fn left(&self, now: Time) -> Option<Duration> {
        let seconds = |time: Time| {
            i64::from(time.hour()) * 3600 + i64::from(time.minute()) * 60 + i64::from(time.second())
        };
        let since = |from: Time, to: Time| (seconds(to) - seconds(from)).rem_euclid(DAY);
        let left = since(self.from, self.to) - since(self.from, now);
        u64::try_from(left).ok().filter(|left| *left > 0).map(Duration::from_secs)
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (from, to) = (self.from.strftime("%H:%M"), self.to.strftime("%H:%M"));
        write!(f, "{from}-{to}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_open_from_its_begin_to_before_its_end() {
        let left = |window: &str, now: &str| {
            let now = Time::strptime("%H:%M:%S", now).unwrap();
            Window::parse(window).unwrap().left(now).map(|left| left.as_secs())
        };
        for (window, now, seconds) in [
            ("22:00-06:00", "21:59:59", None),
            ("22:00-06:00", "22:00:00", Some(8 * 3600)),
            ("22:00-06:00", "23:59:59", Some(6 * 3600 + 1)),
            ("22:00-06:00", "00:00:00", Some(6 * 3600)),
            ("22:00-06:00", "05:59:59", Some(1)),
            ("22:00-06:00", "06:00:00", None),
            ("01:30-02:00", "01:45:00", Some(900)),
            ("01:30-02:00", "13:45:00", None),
        ] {
            assert_eq!(left(window, now), seconds, "{window} {now}");
        }
    }

    #[test]
    fn what_is_no_window_is_refused() {
        for text in ["", "22:00", "22-06", "22:00-22:00", "25:00-06:00", "22:00-06:00-07:00"] {
            assert!(Window::parse(text).is_err(), "{text}");
        }
        assert_eq!(Window::parse(" 22:00 - 06:00").unwrap().to_string(), "22:00-06:00");
    }
}

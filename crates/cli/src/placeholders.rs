//! What stands in braces in the name of a new archive, as borg has it.
//!
//! In: a name with `{hostname}`, `{user}`, `{now}`, `{utcnow}`, `{pid}`, in a nightly job also `{job}`; both times also
//! with a format of `strftime`, as `{now:%Y-%m-%d}`; `{{` and `}}` for braces. Out: the name, or what is wrong with it.
//! Promises: what is not known is refused, so that no archive gets a name that nobody meant.

use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

use crate::surroundings;

/// How times are written unless a format says otherwise.
const FORMAT: &str = "%Y-%m-%dT%H:%M:%S";

const KNOWN: &str = "there are {hostname}, {user}, {now}, {utcnow}, {now:FORMAT}, {utcnow:FORMAT}, {pid}, \
                     and {{ }} for braces";

/// The text with everything filled in for here and now.
///
/// # Errors
/// What is wrong with it, and what there is.
pub fn expand(text: &str) -> Result<String, String> {
    expand_in(None, text)
}

/// The same in the job of this name.
///
/// # Errors
/// What is wrong with it, and what there is.
pub fn expand_in(job: Option<&str>, text: &str) -> Result<String, String> {
    if !text.contains(['{', '}']) {
        return Ok(text.to_owned());
    }
    let host = surroundings::host();
    fill(
        text,
        &Values {
            // The short one, whatever the system calls itself.
            host: host.split('.').next().unwrap_or_default(),
            user: &surroundings::user(),
            pid: std::process::id(),
            job,
            now: Timestamp::now().to_zoned(TimeZone::system()),
        },
    )
}

/// What there is to fill in.
struct Values<'a> {
    host: &'a str,
    user: &'a str,
    pid: u32,
    job: Option<&'a str>,
    now: Zoned,
}

fn fill(text: &str, values: &Values<'_>) -> Result<String, String> {
    let mut filled = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(['{', '}']) {
        let (before, from) = rest.split_at(at);
        filled += before;
        rest = if let Some(after) = from.strip_prefix("{{") {
            filled.push('{');
            after
        } else if let Some(after) = from.strip_prefix("}}") {
            filled.push('}');
            after
        } else {
            let inside = from.strip_prefix('{').and_then(|inside| inside.split_once('}'));
            let inside = inside.filter(|(inside, _)| !inside.contains('{'));
            let (inside, after) = inside.ok_or("a brace stands alone: write {{ or }}")?;
            filled += &value(inside, values)?;
            after
        };
    }
    Ok(filled + rest)
}

fn value(inside: &str, values: &Values<'_>) -> Result<String, String> {
    if let ("job", Some(job)) = (inside, values.job) {
        return Ok(job.to_owned());
    }
    let (name, format) = inside.split_once(':').unwrap_or((inside, FORMAT));
    let time = match (name, inside) {
        (_, "hostname") => return Ok(values.host.to_owned()),
        (_, "user") => return Ok(values.user.to_owned()),
        (_, "pid") => return Ok(values.pid.to_string()),
        ("now", _) => values.now.clone(),
        ("utcnow", _) => values.now.with_time_zone(TimeZone::UTC),
        _ => return Err(format!("unknown {{{inside}}}: {KNOWN}")),
    };
    let written = jiff::fmt::strtime::format(format, &time);
    written.map_err(|error| format!("{{{inside}}} is no format of a time: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(text: &str) -> Result<String, String> {
        let now: Zoned = "2026-11-26T01:02:03+02:00[+02:00]".parse().unwrap();
        fill(text, &Values { host: "box", user: "op", pid: 7, job: None, now })
    }

    #[test]
    fn names_times_and_braces_are_filled_in() {
        for (text, expected) in [
            ("", ""),
            ("night-1", "night-1"),
            ("{hostname}-{user}-{pid}", "box-op-7"),
            ("{now}", "2026-11-26T01:02:03"),
            ("{utcnow}", "2026-11-25T23:02:03"),
            ("{now:%Y-%m-%d}", "2026-11-26"),
            ("{utcnow:%Y/%m/%d %H:%M}", "2026/11/25 23:02"),
            ("{now:%s}", "1795647723"),
            ("{now:}", ""),
            ("{{{user}}}-{{now}}", "{op}-{now}"),
        ] {
            assert_eq!(filled(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_unknown_is_refused_and_says_what_there_is() {
        for text in ["{host}", "{}", "{Hostname}", "{hostname:x}", "{pid:5}", "{ now}", "{now }"] {
            let why = filled(text).unwrap_err();
            assert!(why.contains(text) && why.contains("{hostname}"), "{why}");
        }
        for text in ["{", "}", "a{now", "a}b", "{{}", "{}}", "{now:%Y{x}"] {
            assert!(filled(text).is_err(), "{text}");
        }
        for text in ["{now:%}", "{now:%!}", "{utcnow:%Y-%", "{now:%i}"] {
            assert!(filled(text).is_err(), "{text}");
        }
    }
}

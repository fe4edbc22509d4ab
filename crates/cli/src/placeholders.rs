//! What stands in braces in the name of a new archive, as borg has it.
//!
//! In: a name with `{hostname}`, `{user}`, `{now}`, `{utcnow}`, `{pid}`, in a nightly job also `{job}`; both times also
//! with a format of `strftime`, as `{now:%Y-%m-%d}`; `{{` and `}}` for braces. Out: the name, or what is wrong with it;
//! whether another name is of the same making.
//! Promises: what is not known is refused, so that no archive gets a name that nobody meant.

use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

use crate::render::one_line;
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

/// A piece of a text with placeholders.
enum Piece<'a> {
    /// As it is.
    Text(&'a str),
    /// What stands in braces.
    Inside(&'a str),
}

fn pieces(text: &str) -> Result<Vec<Piece<'_>>, String> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find(['{', '}']) {
        let (before, from) = rest.split_at(at);
        pieces.push(Piece::Text(before));
        rest = if let Some(after) = from.strip_prefix("{{") {
            pieces.push(Piece::Text("{"));
            after
        } else if let Some(after) = from.strip_prefix("}}") {
            pieces.push(Piece::Text("}"));
            after
        } else {
            let inside = from.strip_prefix('{').and_then(|inside| inside.split_once('}'));
            let inside = inside.filter(|(inside, _)| !inside.contains('{'));
            let (inside, after) = inside.ok_or("a brace stands alone: write {{ or }}")?;
            pieces.push(Piece::Inside(inside));
            after
        };
    }
    pieces.push(Piece::Text(rest));
    Ok(pieces)
}

fn fill(text: &str, values: &Values<'_>) -> Result<String, String> {
    let filled = pieces(text)?.into_iter().map(|piece| match piece {
        Piece::Text(text) => Ok(text.to_owned()),
        Piece::Inside(inside) => value(inside, values),
    });
    filled.collect()
}

/// What all names have in common that are made of one text, here and in one job.
#[derive(Clone, Debug)]
pub struct Shape(Vec<Part>);

#[derive(Clone, Debug)]
enum Part {
    /// The same in each.
    Same(String),
    /// A time in this format.
    Time(String),
    /// The number of a process.
    Number,
}

impl Shape {
    /// That of the names that [`expand_in`] makes.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub fn of(job: Option<&str>, text: &str) -> Result<Self, String> {
        let parts = pieces(text)?.into_iter().map(|piece| {
            let inside = match piece {
                Piece::Text(text) => return Ok(Part::Same(text.to_owned())),
                Piece::Inside(inside) => inside,
            };
            let (name, format) = inside.split_once(':').unwrap_or((inside, FORMAT));
            Ok(match name {
                "now" | "utcnow" => Part::Time(format.to_owned()),
                "pid" if inside == name => Part::Number,
                _ => Part::Same(expand_in(job, &format!("{{{inside}}}"))?),
            })
        });
        Ok(Shape(parts.collect::<Result<_, String>>()?))
    }

    /// Whether this is such a name, from its begin to its end.
    pub fn fits(&self, name: &str) -> bool {
        fits(&self.0, name)
    }
}

fn fits(parts: &[Part], name: &str) -> bool {
    let Some((first, rest)) = parts.split_first() else { return name.is_empty() };
    let somewhere = |is_it: &dyn Fn(&str) -> bool| {
        let ends = name.char_indices().map(|(at, _)| at).chain([name.len()]);
        ends.map(|at| name.split_at(at)).any(|(head, tail)| is_it(head) && fits(rest, tail))
    };
    match first {
        Part::Same(text) => name.strip_prefix(text.as_str()).is_some_and(|tail| fits(rest, tail)),
        Part::Time(format) => somewhere(&|text| is_time(format, text)),
        Part::Number => {
            let is_digit = |byte: u8| byte.is_ascii_digit();
            somewhere(&|text| !text.is_empty() && text.bytes().all(is_digit))
        }
    }
}

/// Whether the format gives this text for some time.
fn is_time(format: &str, text: &str) -> bool {
    let time = jiff::fmt::strtime::parse(format, text);
    // What can be read is also written otherwise, as with fewer zeros.
    time.is_ok_and(|time| time.to_string(format).is_ok_and(|written| written == text))
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
        _ => return Err(format!("unknown {{{}}}: {KNOWN}", one_line(inside))),
    };
    let written = jiff::fmt::strtime::format(format, &time);
    written.map_err(|error| one_line(&format!("{{{inside}}} is no format of a time: {error}")))
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

    #[test]
    fn a_name_is_known_by_its_whole_shape() {
        for (text, name, is_such) in [
            ("{job}-{now}", "app-2026-11-26T01:02:03", true),
            ("{job}-{now}", "app-2-2026-11-26T01:02:03", false),
            ("{job}-{now}", "app-2026-11-26T01:02:03.checkpoint", false),
            ("{job}-{now}", "app-2026-11-26", false),
            ("{job}-{now}", "app-2026-1-26T01:02:03", false),
            ("{job}-{now}", "app-before-upgrade", false),
            ("{job}-{now}", "app-", false),
            ("{{{job}}}{pid}-{utcnow:%Y%m%d}x", "{app}17-20261126x", true),
            ("{{{job}}}{pid}-{utcnow:%Y%m%d}x", "{app}-20261126x", false),
            ("{job}-{now:%d %B %Y}", "app-26 November 2026", true),
            ("fixed", "fixed", true),
            ("fixed", "fixed-2", false),
        ] {
            assert_eq!(Shape::of(Some("app"), text).unwrap().fits(name), is_such, "{text}: {name}");
        }
    }

    #[test]
    fn what_is_made_now_is_known_again() {
        for format in [
            "%s",
            "%F %T",
            "%Y-%m-%dT%H%M%S%z",
            "%j",
            "%G-W%V-%u",
            "%A",
            "%y%m%d-%I%p",
            "%H",
            "%F_%H-%M",
            "%Y-W%U",
        ] {
            let text = format!("{{user}}-{{now:{format}}}");
            let name = expand(&text).unwrap();
            assert!(Shape::of(None, &text).unwrap().fits(&name), "{name}");
        }
    }
}

//! Numbers, times and tables as text. Values in, strings out; tables also go by the width of the terminal that is printed to.
//!
//! The layouts are attic's, because scripts cut columns out of them; on a terminal of less than 80 columns they are narrower.

use std::time::Duration;

use garret_core::{NamedArchive, Tags};
use garret_format::archive::{Archive, Item, ItemKind, Time, is_unseen};
use garret_format::config::Cipher;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::terminal::is_narrow;

/// Days after which a listing shows the year instead of the time of day.
const RECENT_DAYS: i64 = 365;

/// Bytes in decimal units, two digits behind the point: `1.62 GB`.
pub fn size(bytes: u64) -> String {
    const UNITS: [(u64, &str); 4] =
        [(1_000_000_000_000, "TB"), (1_000_000_000, "GB"), (1_000_000, "MB"), (1000, "kB")];
    match UNITS.iter().find(|(unit, _)| bytes >= *unit) {
        Some((unit, name)) => format!("{:.2} {name}", bytes as f64 / *unit as f64),
        None => format!("{bytes} B"),
    }
}

/// Bytes that went away: `-1.62 GB`.
pub fn freed(bytes: u64) -> String {
    if bytes == 0 { size(0) } else { format!("-{}", size(bytes)) }
}

/// Seconds for each 10^9 bytes; `-` for nothing.
pub fn seconds_per_gb(seconds: f64, bytes: u64) -> String {
    if bytes == 0 { "-".to_owned() } else { format!("{:.2}", seconds * 1e9 / bytes as f64) }
}

/// How long it is from one moment to a later one, in seconds.
pub fn seconds_between(start: Time, end: Time) -> f64 {
    let seconds = end.secs.saturating_sub(start.secs) as f64;
    (seconds + (f64::from(end.nanos) - f64::from(start.nanos)) / 1e9).max(0.0)
}

/// A time that is not known well: `about 40 seconds`, `about 12 minutes`.
pub fn about(time: Duration) -> String {
    match time.as_secs() {
        0 | 1 => "about a second".to_owned(),
        seconds @ ..120 => format!("about {seconds} seconds"),
        seconds @ ..7200 => format!("about {} minutes", seconds.div_ceil(60)),
        seconds => format!("about {:.1} hours", seconds as f64 / 3600.0),
    }
}

/// The date of a moment, in UTC: days are counted by it.
pub fn date(seconds: i64) -> String {
    let moment = Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX);
    moment.strftime("%Y-%m-%d").to_string()
}

/// How long ago a moment was, in days: `today`, `yesterday`, `3 days ago`.
pub fn days_ago(seconds: i64) -> String {
    let day = |moment: Timestamp| moment.to_zoned(TimeZone::system()).date();
    let then = Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX);
    let days = day(Timestamp::now()).since(day(then)).map_or(0, |span| span.get_days());
    match days {
        ..=0 => "today".to_owned(),
        1 => "yesterday".to_owned(),
        days => format!("{days} days ago"),
    }
}

/// What encrypts a repository, as `init` calls it.
pub fn cipher(cipher: Cipher) -> &'static str {
    match cipher {
        Cipher::XChaCha20Poly1305 => "xchacha20-poly1305",
        Cipher::Aes256Gcm => "aes-256-gcm",
    }
}

/// So many of something: `1 pack`, `2 packs`.
pub fn plural(count: u64, word: &str) -> String {
    format!("{count} {word}{}", if count == 1 { "" } else { "s" })
}

/// A row of three sizes under their header: attic's, unless the terminal that is printed to is too narrow for it.
pub fn size_row(label: &str, original: &str, compressed: &str, stored: &str) -> String {
    sizes_in_columns([label, original, compressed, stored], is_narrow(std::io::stdout()))
}

fn sizes_in_columns([label, original, compressed, stored]: [&str; 4], is_narrow: bool) -> String {
    let (first, other) = if is_narrow { (13, 12) } else { (15, 20) };
    format!("{label:<first$} {original:>other$} {compressed:>other$} {stored:>other$}\n")
}

/// The header of [`size_row`].
pub fn size_header() -> String {
    size_header_of(is_narrow(std::io::stdout()))
}

fn size_header_of(is_narrow: bool) -> String {
    let columns = match is_narrow {
        true => ["", "Original", "Compressed", "Deduplicated"],
        false => ["", "Original size", "Compressed size", "Deduplicated size"],
    };
    sizes_in_columns(columns, is_narrow)
}

/// How long attic's tables are.
const RULE_LEN: usize = 78;

/// The line above and below a table.
pub fn rule() -> String {
    "-".repeat(if is_narrow(std::io::stdout()) { 52 } else { RULE_LEN })
}

/// Local time as the C library writes it: `Mon Mar 24 11:59:35 2014`.
pub fn long_time(time: Time) -> String {
    local(time).strftime("%a %b %e %H:%M:%S %Y").to_string()
}

/// Local time as `--at` has the day, to the minute: `2014-03-24 11:59`.
pub fn minute(time: Time) -> String {
    local(time).strftime("%Y-%m-%d %H:%M").to_string()
}

/// Local time as `--at` has it: `2014-03-24`.
pub fn day(time: Time) -> String {
    local(time).strftime("%Y-%m-%d").to_string()
}

/// Local time with its zone, for programs: `2014-03-24T11:59:35+01:00`.
pub fn iso_time(time: Time) -> String {
    local(time).strftime("%Y-%m-%dT%H:%M:%S%:z").to_string()
}

/// The present time in the same form, to the millisecond.
pub(crate) fn now() -> String {
    jiff::Zoned::now().strftime("%Y-%m-%dT%H:%M:%S%.3f%:z").to_string()
}

/// Local time as `ls` writes it.
pub fn short_time(time: Time, now: Timestamp) -> String {
    let zoned = local(time);
    let days = now.as_second().saturating_sub(time.secs).saturating_abs() / 86_400;
    let format = if days > RECENT_DAYS { "%b %d  %Y" } else { "%b %d %H:%M" };
    zoned.strftime(format).to_string()
}

fn local(time: Time) -> jiff::Zoned {
    let nanos = i32::try_from(time.nanos).unwrap_or(0);
    let bound = if time.secs < 0 { Timestamp::MIN } else { Timestamp::MAX };
    Timestamp::new(time.secs, nanos).unwrap_or(bound).to_zoned(TimeZone::system())
}

/// What its tags are, and whether it is protected: ` (protected) [golden,weekly]`.
pub fn tagged(found: &NamedArchive, tags: &Tags) -> String {
    let protected = if tags.is_protected(found) { " (protected)" } else { "" };
    let tags: Vec<&str> = tags.of(found).iter().map(String::as_str).collect();
    if tags.is_empty() { protected.to_owned() } else { format!("{protected} [{}]", tags.join(",")) }
}

/// What is special about an archive: the name it was made with if its file has another now, and what it lacks if it is not
/// complete.
pub fn marks(found: &NamedArchive) -> String {
    let mut marks = String::new();
    if found.archive.name != found.name {
        marks += &format!(" (made as {})", name(&found.archive.name));
    }
    match found.archive.problem_count {
        _ if found.archive.is_complete() => {}
        0 => marks += " (no files)",
        1 => marks += " (1 problem)",
        count => marks += &format!(" ({count} problems)"),
    }
    marks
}

/// Lines on what an archive lacks; none if it is complete.
pub fn problems(archive: &Archive) -> String {
    if archive.is_complete() {
        return String::new();
    }
    let mut text = format!("Problems while it was made: {}\n", archive.problem_count);
    if archive.file_count == 0 {
        text += "    it holds no files\n";
    }
    for problem in &archive.problems {
        text += &format!("    {}\n", one_line(problem));
    }
    match archive.problem_count.saturating_sub(archive.problems.len() as u64) {
        0 => {}
        more => text += &format!("    and {more} more\n"),
    }
    text
}

/// The line of an item in a list.
pub fn item_line(item: &Item, now: Timestamp) -> String {
    let (kind, target) = match &item.kind {
        ItemKind::File(_) => ('-', None),
        ItemKind::Directory => ('d', None),
        ItemKind::Symlink(target) => ('l', Some((" -> ", target))),
        ItemKind::HardLink(first) => ('h', Some((" link to ", first))),
        ItemKind::Fifo => ('p', None),
        ItemKind::BlockDevice(_) => ('b', None),
        ItemKind::CharacterDevice(_) => ('c', None),
    };
    let owner = |user: &str, id: u32| if user.is_empty() { id.to_string() } else { name(user) };
    let mut target =
        target.map_or(String::new(), |(arrow, target)| format!("{arrow}{}", name(target)));
    if let ItemKind::File(content) = &item.kind
        && !content.unreadable.is_empty()
    {
        target = format!(" ({} bytes unreadable)", content.unreadable_len());
    }
    format!(
        "{kind}{} {:<6} {:<6} {:>8} {} {}{target}\n",
        permissions(item.mode),
        owner(&item.user, item.uid),
        owner(&item.group, item.gid),
        item.size,
        short_time(item.mtime, now),
        name(&item.path),
    )
}

/// Permission bits as `ls` writes them: `rwxr-xr-x`.
pub fn permissions(mode: u32) -> String {
    let mut text = String::with_capacity(9);
    for (shift, special, letter) in [(6, 0o4000, 's'), (3, 0o2000, 's'), (0, 0o1000, 't')] {
        let bits = mode >> shift;
        text.push(if bits & 4 != 0 { 'r' } else { '-' });
        text.push(if bits & 2 != 0 { 'w' } else { '-' });
        text.push(match (mode & special != 0, bits & 1 != 0) {
            (true, true) => letter,
            (true, false) => letter.to_ascii_uppercase(),
            (false, true) => 'x',
            (false, false) => '-',
        });
    }
    text
}

/// Text from outside on one line: what is not seen is written as escapes, so that a file name can neither end the line nor
/// talk to the terminal nor turn round what is on the line.
pub fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for character in text.chars() {
        match is_shown(character) {
            true => line.push(character),
            false => line.extend(character.escape_default()),
        }
    }
    line
}

/// The same of a text of several lines, which it stays.
pub fn lines(text: &str) -> String {
    text.split('\n').map(one_line).collect::<Vec<_>>().join("\n")
}

/// A name or path in a column: as [`one_line`], and so that no two names look the same. A backslash is `\\`, a byte that is
/// no text `\xff`.
pub fn name(bytes: impl AsRef<[u8]>) -> String {
    let mut line = String::new();
    for part in bytes.as_ref().utf8_chunks() {
        for character in part.valid().chars() {
            match character {
                '\\' => line.push_str("\\\\"),
                seen if is_shown(seen) => line.push(seen),
                unseen => line.extend(unseen.escape_default()),
            }
        }
        line.extend(part.invalid().iter().map(|byte| format!("\\x{byte:02x}")));
    }
    line
}

fn is_shown(character: char) -> bool {
    !character.is_control() && !is_unseen(character)
}

/// Words of a command line as a shell would take them: quoted where it needs that, and where a word holds what is not seen,
/// in `$'...'` with escapes.
pub fn command_line(words: &[Vec<u8>]) -> String {
    let safe = |c: char| c.is_alphanumeric() || "_-+=.,:/@%".contains(c);
    let words = words.iter().map(|word| match std::str::from_utf8(word) {
        Ok(word) if !word.is_empty() && word.chars().all(safe) => word.to_owned(),
        Ok(word) if word.chars().all(is_shown) => format!("'{}'", word.replace('\'', "'\\''")),
        _ => escaped_word(word),
    });
    words.collect::<Vec<_>>().join(" ")
}

/// A word that a shell reads with escapes, all of a fixed length.
fn escaped_word(word: &[u8]) -> String {
    let mut text = String::new();
    for part in word.utf8_chunks() {
        for character in part.valid().chars() {
            match character {
                '\\' | '\'' => text.extend(['\\', character]),
                seen if is_shown(seen) => text.push(seen),
                unseen => text += &format!("\\U{:08x}", u32::from(unseen)),
            }
        }
        text.extend(part.invalid().iter().map(|byte| format!("\\x{byte:02x}")));
    }
    format!("$'{text}'")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_decimal_with_two_digits() {
        for (bytes, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.00 kB"),
            (1_620_000_000, "1.62 GB"),
            (17_179_869_184, "17.18 GB"),
            (2_500_000_000_000_000, "2500.00 TB"),
        ] {
            assert_eq!(size(bytes), text);
        }
        assert_eq!(freed(0), "0 B");
        assert_eq!(freed(1500), "-1.50 kB");
        assert_eq!(seconds_per_gb(4.0, 8_000_000_000), "0.50");
        assert_eq!(seconds_per_gb(4.0, 0), "-");
    }

    #[test]
    fn the_size_table_has_attic_s_columns() {
        let header =
            "                       Original size      Compressed size    Deduplicated size\n";
        assert_eq!(size_header_of(false), header);
        let row = ["This archive:", "1.00 kB", "-", "2 B"];
        assert_eq!(sizes_in_columns(row, false).len(), RULE_LEN + 1);
        assert!(sizes_in_columns(row, true).len() <= 60 && size_header_of(true).len() <= 60);
    }

    #[test]
    fn permissions_show_the_special_bits() {
        assert_eq!(permissions(0o755), "rwxr-xr-x");
        assert_eq!(permissions(0o4711), "rws--x--x");
        assert_eq!(permissions(0o7600), "rwS--S--T");
    }

    #[test]
    fn hostile_names_stay_on_one_line() {
        assert_eq!(one_line("a\nb\u{1b}[2Jc"), "a\\nb\\u{1b}[2Jc");
        assert_eq!(one_line("a\u{202e}b\\n\u{2028}"), "a\\u{202e}b\\n\\u{2028}");
        assert_eq!(one_line(&one_line("a\nb")), "a\\nb");
    }

    #[test]
    fn names_in_columns_are_told_from_each_other() {
        for (bytes, shown) in [
            (&b"a b"[..], "a b"),
            (b"a\\nb", "a\\\\nb"),
            (b"a\nb", "a\\nb"),
            (b"a\xffb", "a\\xffb"),
            (b"a\\xffb", "a\\\\xffb"),
            ("\u{fffd}\u{202e}".as_bytes(), "\u{fffd}\\u{202e}"),
            (b"\\", "\\\\"),
            (b"\0\x7f", "\\u{0}\\u{7f}"),
        ] {
            assert_eq!(name(bytes), shown);
        }
    }

    #[test]
    fn a_command_line_can_be_given_to_a_shell() {
        let line = |words: &[&[u8]]| {
            command_line(&words.iter().map(|word| word.to_vec()).collect::<Vec<_>>())
        };
        assert_eq!(line(&[b"garret", b"it's", b""]), r"garret 'it'\''s' ''");
        assert_eq!(line(&[b"a\\b", b"a\nb"]), r"'a\b' $'a\U0000000ab'");
        assert_eq!(line(&[b"\xff'\\u{1b}"]), r"$'\xff\'\\u{1b}'");
        assert_eq!(line(&["\u{202e}1".as_bytes()]), r"$'\U0000202e1'");
    }
}

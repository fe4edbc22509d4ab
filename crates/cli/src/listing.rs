//! Lists of archives: names and times in columns.
//!
//! In: archives, and what stands before and behind each. Out: lines. Promises: what is no terminal gets attic's columns and
//! whole names, for scripts cut them; on a terminal no name makes a line longer than that is wide. The time is shorter where
//! there is no room for all of it, and a name only where even the day leaves none; what does not fit behind them is on a
//! line of its own.

use garret_core::{NamedArchive, Tags};
use garret_format::archive::Time;

use crate::render::{day, long_time, marks, minute, name, tagged};
use crate::terminal::columns;

/// What stands in a name for its middle.
const CUT: char = '\u{2026}';

/// The shortest that a name becomes.
const NAME_MIN: usize = 12;

/// An archive in a list.
#[derive(Clone, Debug)]
pub struct Row {
    before: &'static str,
    name: String,
    end: Time,
    behind: String,
}

/// How wide the column of names is, the space behind it, and how times are written.
#[derive(Clone, Copy)]
struct Layout {
    names: usize,
    space: usize,
    time: fn(Time) -> String,
}

const OF_ATTIC: Layout = Layout { names: 36, space: 1, time: long_time };

impl Row {
    /// An archive with its marks and tags, between these words.
    pub fn new(before: &'static str, found: &NamedArchive, tags: &Tags, behind: &str) -> Self {
        let behind = marks(found) + &tagged(found, tags) + behind;
        Row { before, name: name(&found.name), end: found.archive.end, behind }
    }

    fn len(&self, layout: Layout) -> usize {
        let name = len(&self.name).max(layout.names);
        let time = len(&(layout.time)(self.end));
        len(self.before) + name + layout.space + time + len(&self.behind)
    }

    fn line(&self, layout: Layout, columns: usize) -> String {
        let Row { before, name, end, behind } = self;
        let Layout { names, space, time } = layout;
        let time = time(*end);
        let room = columns.saturating_sub(len(before) + space + len(&time)).max(NAME_MIN);
        let (name, names) = (shortened(name, room), names.min(room));
        let line = format!("{before}{name:<names$}{:space$}{time}", "");
        match !behind.is_empty() && len(&line) + len(behind) > columns {
            true => format!("{line}\n   {behind}\n"),
            false => format!("{line}{behind}\n"),
        }
    }
}

/// The lines of these archives, for standard output.
pub fn lines(rows: &[Row]) -> String {
    lines_within(rows, columns(std::io::stdout()))
}

fn lines_within(rows: &[Row], columns: Option<usize>) -> String {
    let Some(columns) = columns else {
        return rows.iter().map(|row| row.line(OF_ATTIC, usize::MAX)).collect();
    };
    let names = rows.iter().map(|row| len(&row.name)).max().unwrap_or_default();
    let shorter = |time| Layout { names, space: 2, time };
    let layouts = [OF_ATTIC, shorter(minute), shorter(day)];
    let whole = |layout: &Layout| rows.iter().all(|row| row.len(*layout) <= columns);
    let names_fit =
        |layout: &Layout| rows.iter().all(|row| row.len(*layout) - len(&row.behind) <= columns);
    let layout = layouts.into_iter().find(whole);
    let layout = layout.or_else(|| layouts.into_iter().find(names_fit)).unwrap_or(shorter(day));
    rows.iter().map(|row| row.line(layout, columns)).collect()
}

fn len(text: &str) -> usize {
    text.chars().count()
}

/// Its beginning and its end: there the host and the time are.
fn shortened(name: &str, room: usize) -> String {
    let count = len(name);
    if count <= room {
        return name.to_owned();
    }
    let tail = room / 2;
    let head = name.chars().take(room - 1 - tail);
    head.chain([CUT]).chain(name.chars().skip(count - tail)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: String, behind: &str) -> Row {
        let end = Time { secs: 1_795_141_800, nanos: 0 };
        Row { before: "", name, end, behind: behind.to_owned() }
    }

    #[test]
    fn lists_are_as_wide_as_the_terminal() {
        for columns in [40, 60, 80, 200] {
            for name in [1, 10, 36, 44, 60, 255] {
                let rows =
                    [row("n".repeat(name), ""), row("night-1".to_owned(), " (protected) [a]")];
                let text = lines_within(&rows, Some(columns));
                assert!(text.lines().all(|line| len(line) <= columns), "{columns}:\n{text}");
                let is_whole = text.contains(&"n".repeat(name));
                assert_eq!(is_whole, name + 2 + 10 <= columns, "{columns}:\n{text}");
                assert_eq!(is_whole, !text.contains(CUT));
            }
        }
    }

    #[test]
    fn what_is_no_terminal_gets_attic_s_columns() {
        let rows = [row("n".repeat(300), " (1 problem)"), row("a".to_owned(), "")];
        let text = lines_within(&rows, None);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2);
        assert_eq!((lines[0].len(), lines[1].len()), (300 + 1 + 24 + 12, 36 + 1 + 24));
    }

    #[test]
    fn a_long_name_keeps_its_ends() {
        assert_eq!(shortened("host-2026-11-27", 15), "host-2026-11-27");
        assert_eq!(shortened("host-2026-11-27", 9), "host\u{2026}1-27");
        assert_eq!(shortened(&"\u{e4}".repeat(8), 4), "\u{e4}\u{2026}\u{e4}\u{e4}");
    }
}

//! A report for a terminal: tables of at most 80 columns, but for names.

use garret_cli::render::{self, size};
use garret_format::archive::Time;

use super::model::{Calendar, Image, Night, Report};

/// Columns that all of a table takes, but for names.
const COLUMNS: usize = 80;
/// Nights that are listed: the newest.
const NIGHTS_SHOWN: usize = 14;
/// Archives that are named in one line.
const NAMES_SHOWN: usize = 4;

/// All of it, for a terminal of so many columns if it is one: some columns of tables are left out where there is not room for
/// all.
pub(crate) fn show(report: &Report, columns: Option<usize>) -> String {
    let is_narrow = columns.is_some_and(|columns| columns < COLUMNS);
    let location = render::name(report.location.to_os_string().as_encoded_bytes());
    let mut text = format!("Repository: {location}\n");
    for check in &report.lamp {
        let word = format!("[{}]", check.light.word());
        let head = format!("{word:<6} {:<14} ", format!("{}:", check.what));
        text += &folded(&head, &check.text, columns.unwrap_or(usize::MAX));
    }
    text += &format!("\n{}\n", totals(report));
    if !report.nights.is_empty() {
        text += &nights(report, is_narrow);
    }
    if !report.images.is_empty() {
        text += &format!("\n{:>9} {:>6} {:>9} {:>9}  image\n", "disk", "nights", "new", "stored");
        text += &report.images.iter().map(|image| line(report, image)).collect::<String>();
    }
    if let Some(calendar) = &report.calendar {
        text += &format!("\n{}", prune(calendar));
    }
    if !report.problems.is_empty() {
        text += "\nProblems:\n";
        text +=
            &report.problems.iter().map(|problem| format!("    {problem}\n")).collect::<String>();
    }
    text
}

/// A text behind its head, in lines of so many columns that begin where the first one does.
fn folded(head: &str, text: &str, columns: usize) -> String {
    let (mut lines, mut used) = (head.to_owned(), head.len());
    for (number, word) in text.split(' ').enumerate() {
        let len = word.chars().count();
        if number > 0 && used + 1 + len > columns {
            lines += &format!("\n{}", " ".repeat(head.len()));
            used = head.len();
        } else if number > 0 {
            lines.push(' ');
            used += 1;
        }
        lines += word;
        used += len;
    }
    lines + "\n"
}

/// How much there is, in a line.
pub(super) fn totals(report: &Report) -> String {
    let count = render::plural(report.nights.len() as u64, "archive");
    let ratio = report.ratio().map_or(String::new(), |ratio| format!(" ({ratio:.1} : 1)"));
    format!("{count} of {}, stored in {}{ratio}", size(report.original), size(report.stored))
}

fn nights(report: &Report, is_narrow: bool) -> String {
    let hidden = report.nights.len().saturating_sub(NIGHTS_SHOWN);
    let mut text = format!("\n{}", night_header(is_narrow));
    let shown = report.nights.iter().skip(hidden);
    text += &shown.map(|night| night_line(night, is_narrow)).collect::<String>();
    if hidden > 0 {
        text += &format!("and {hidden} before\n");
    }
    text
}

/// The header of [`night_line`].
fn night_header(is_narrow: bool) -> String {
    let times = if is_narrow { String::new() } else { format!(" {:>7} {:>6}", "seconds", "s/GB") };
    format!("{:<16} {:>9} {:>9} {:>9}{times}  archive\n", "night", "size", "new", "stored")
}

/// What an archive took, in columns.
fn night_line(night: &Night, is_narrow: bool) -> String {
    let times = match is_narrow {
        true => String::new(),
        false => format!(" {:>7.1} {:>6}", night.seconds(), pace(night)),
    };
    format!(
        "{:<16} {:>9} {:>9} {:>9}{times}  {}{}\n",
        render::minute(night.end),
        size(night.original),
        size(night.added.new_len),
        size(night.added.stored_len),
        render::name(&night.name),
        state(night),
    )
}

/// Seconds for each gigabyte.
pub(super) fn pace(night: &Night) -> String {
    // Of a few bytes it says nothing.
    night.pace().filter(|pace| *pace < 10_000.0).map_or("-".to_owned(), |pace| format!("{pace:.2}"))
}

/// What is wrong with an archive, behind its name.
pub(super) fn state(night: &Night) -> &'static str {
    match (night.is_complete, night.lacks) {
        (true, false) => "",
        (true, true) => " (something is lost)",
        (false, _) => " (not complete)",
    }
}

fn line(report: &Report, image: &Image) -> String {
    // Of the newest night, whichever archive that is; an image that is not in it has nothing new.
    let last = report.nights.len().checked_sub(1);
    let newest = image.nights.last().filter(|held| Some(held.night) == last);
    format!(
        "{:>9} {:>6} {:>9} {:>9}  {}\n",
        size(image.len()),
        image.nights.len(),
        newest.map_or("-".to_owned(), |held| size(held.added.new_len)),
        size(image.added().stored_len),
        title(report, image),
    )
}

/// The path of an image, and its host where there are several.
pub(super) fn title(report: &Report, image: &Image) -> String {
    let path = render::name(&image.path);
    match report.images.iter().all(|other| other.host == image.host) {
        true => path,
        false => format!("{}: {path}", render::name(&image.host)),
    }
}

/// What the rules keep, and what goes.
fn prune(calendar: &Calendar) -> String {
    let mut text = format!("{}\n", kept(calendar));
    let freed = calendar.freed.map_or("?".to_owned(), size);
    text += &format!("{}; frees about {freed}\n", gone(calendar));
    if !calendar.next.is_empty() {
        text += &format!("{}\n", next(calendar));
    }
    text
}

/// How many archives each rule keeps.
pub(super) fn kept(calendar: &Calendar) -> String {
    let stay = calendar.days.iter().filter(|day| day.kept.is_some()).count();
    let rules = ["within", "hourly", "daily", "weekly", "monthly", "yearly"];
    let count = |rule| calendar.days.iter().filter(|day| day.rule == Some(rule)).count();
    let by = |rule: &'static str| match count(rule) {
        0 => None,
        count => Some(format!("{rule} {count}")),
    };
    let by = rules.into_iter().filter_map(by).collect::<Vec<_>>().join(", ");
    let by = if by.is_empty() { by } else { format!(": {by}") };
    format!(
        "The rules keep {stay} of {}{by}",
        render::plural(calendar.days.len() as u64, "archive")
    )
}

/// What goes with the next prune.
pub(super) fn gone(calendar: &Calendar) -> String {
    let gone = calendar.days.iter().filter(|day| day.kept.is_none()).map(|day| day.name.as_str());
    format!("Now go: {}", names(gone))
}

/// What goes after one more night.
pub(super) fn next(calendar: &Calendar) -> String {
    let next = names(calendar.next.iter().map(String::as_str));
    format!("After one more good night go: {next}")
}

fn names<'n>(names: impl Iterator<Item = &'n str>) -> String {
    let names: Vec<String> = names.map(render::name).collect();
    let shown = names.iter().take(NAMES_SHOWN).cloned().collect::<Vec<_>>().join(", ");
    match names.len() {
        0 => "none".to_owned(),
        count if count > NAMES_SHOWN => format!("{shown} and {} more", count - NAMES_SHOWN),
        _ => shown,
    }
}

/// The day, by local time.
pub(super) fn day(time: Time) -> String {
    render::iso_time(time).chars().take(10).collect()
}

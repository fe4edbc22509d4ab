//! A report as one static page: no script, nothing loaded, light and dark, for a phone and for paper.
//!
//! In: a report. Out: HTML. Promises: every text from outside goes through `markup`; the page forbids itself scripts and
//! whatever is elsewhere; numbers are those of the JSON, each in a `data` element with its value.

use std::collections::BTreeMap;

use garret_cli::render;
use jiff::civil::{Date, Weekday};

use super::growth::{self, Growth};
use super::markup::{name, number, size, text};
use super::model::{Calendar, Day, Image, Light, Report};
use super::svg::{Bar, bars, top};
use super::{cards, text as words};

const STYLE: &str = concat!(include_str!("colours.css"), include_str!("page.css"));
/// Images that have a card.
const CARDS_MAX: usize = 24;
/// Most weeks in a line of the calendar, fewest, and most lines.
const WEEKS: i32 = 26;
const WEEKS_MIN: i32 = 9;
const LINES_MAX: usize = 4;

/// The page.
pub(crate) fn page(report: &Report) -> String {
    let location = name(report.location.to_os_string().as_encoded_bytes());
    let light = class(report.light());
    let mut body = format!(
        "<header><h1><span class=\"lamp {light}\" role=\"img\" aria-label=\"{}\"></span>{location}</h1>\
         <p>{}</p></header>",
        report.light().word(),
        text(&render::minute(report.made)),
    );
    body += &lamp(report);
    body += &numbers(report);
    if !report.problems.is_empty() {
        let line = |problem: &String| format!("<li>{}</li>", text(problem));
        let lines: String = report.problems.iter().map(line).collect();
        body += &section("Problems", &format!("<ul class=\"problems\">{lines}</ul>"));
    }
    if !report.images.is_empty() {
        body += &section("Images", &cards::table(report));
    }
    if !report.nights.is_empty() {
        body += &section("Growth", &grown(report));
        body += &section("Seconds per gigabyte", &pace(report));
    }
    if !report.images.is_empty() {
        body += &section("What changed, and where", &maps(report));
    }
    body += &section("What prune keeps", &prune(report.calendar.as_ref()));
    if !report.nights.is_empty() {
        let nights = cards::nights(report);
        let all = format!("<details><summary>All of them</summary>{nights}</details>");
        body += &section("Archives", &all);
    }
    body += FOOTER;
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <meta name=\"color-scheme\" content=\"light dark\"><title>{location}</title>\
         <style>{STYLE}</style></head><body><main>{body}</main></body></html>\n"
    )
}

const FOOTER: &str = "<footer><p>New is what no older archive that is still there had. Stored is its share of packs, about. \
    What changed is told by chunks, some 64 KiB each, from the lists of them alone.</p></footer>";

fn section(title: &str, content: &str) -> String {
    format!("<section><h2>{title}</h2>{content}</section>\n")
}

fn class(light: Light) -> &'static str {
    match light {
        Light::Green => "green",
        Light::Amber => "amber",
        Light::Red => "red",
    }
}

fn lamp(report: &Report) -> String {
    let check = |check: &super::model::Check| {
        format!(
            "<li class=\"{}\"><b>{}</b><span>{}</span></li>",
            class(check.light),
            check.what,
            text(&check.text)
        )
    };
    format!("<ul class=\"checks\">{}</ul>\n", report.lamp.iter().map(check).collect::<String>())
}

fn numbers(report: &Report) -> String {
    let mut all = vec![
        ("archives", format!("<data value=\"{0}\">{0}</data>", report.nights.len())),
        ("backed up", size(report.original)),
        ("stored", size(report.stored)),
    ];
    if let Some(ratio) = report.ratio() {
        all.push(("ratio", format!("{} : 1", number(ratio, 1))));
    }
    if let Some(growth) = report.growth {
        all.push(("a day", size(growth.per_day)));
    }
    if let Some(free) = report.free {
        all.push(("free", size(free)));
    }
    let tile =
        |(what, value): (&str, String)| format!("<div><b>{value}</b><span>{what}</span></div>");
    format!("<div class=\"tiles\">{}</div>\n", all.into_iter().map(tile).collect::<String>())
}

/// How the repository grew, and what came with each night, by image.
fn grown(report: &Report) -> String {
    let Growth { whole, most, nightly, top } = growth::of(report);
    format!(
        "{}<div class=\"two\">{}{}</div>",
        colours_of(report),
        chart(report, "in all", &render::size(most), &bars(&whole, most, "stored in all")),
        chart(report, "each night", &render::size(top), &bars(&nightly, top, "stored each night")),
    )
}

/// A drawing with its scale above and its days below.
fn chart(report: &Report, what: &str, most: &str, drawing: &str) -> String {
    let [first, last] = growth::days(report);
    format!(
        "<figure><figcaption><span>{what}</span><span>{most}</span></figcaption>{drawing}\
         <p class=\"axis\"><span>{first}</span><span>{last}</span></p></figure>"
    )
}

/// Which colour is which image.
fn colours_of(report: &Report) -> String {
    let names = growth::names(report);
    let entry = |(number, name): (usize, &String)| {
        format!("<span><i class=\"p{number}\"></i>{}</span>", text(name))
    };
    format!("<p class=\"legend\">{}</p>", names.iter().enumerate().map(entry).collect::<String>())
}

/// How long each night took, by what it backed up.
fn pace(report: &Report) -> String {
    // In thousandths of a second.
    let bar = |night: &super::model::Night| Bar {
        parts: vec![night.pace().map_or(0, |pace| (pace * 1000.0) as u64)],
        title: format!(
            "{}, {}: {} s/GB",
            name(&night.name),
            words::day(night.end),
            words::pace(night)
        ),
    };
    let all: Vec<Bar> = report.nights.iter().map(bar).collect();
    let top = top(&all);
    let most = format!("{:.2} s/GB", top as f64 / 1000.0);
    let what = "holes and what was not touched included";
    chart(report, what, &most, &bars(&all, top, "seconds per gigabyte"))
}

fn maps(report: &Report) -> String {
    let cards =
        report.images.iter().take(CARDS_MAX).map(|image: &Image| cards::card(report, image));
    let cards = cards.collect::<String>();
    let more = match report.images.len().saturating_sub(CARDS_MAX) {
        0 => String::new(),
        more => format!("<p>and {more} more images: --json has them all.</p>"),
    };
    format!(
        "<p>The disk from left to right, a row for each night, the newest on top.</p>{}\
         <div class=\"cards\">{cards}</div>{more}",
        cards::legend()
    )
}

fn prune(calendar: Option<&Calendar>) -> String {
    let Some(calendar) = calendar else {
        return "<p>Give the rules of prune, as --keep-daily 7 --keep-weekly 4, and this shows what they keep.</p>"
            .to_owned();
    };
    let freed = calendar.freed.map_or("?".to_owned(), size);
    let mut body = format!(
        "<p>{}. {}; frees about {freed}.</p>",
        text(&words::kept(calendar)),
        text(&words::gone(calendar))
    );
    if !calendar.next.is_empty() {
        body += &format!("<p>{}.</p>", text(&words::next(calendar)));
    }
    let rules = ["within", "hourly", "daily", "weekly", "monthly", "yearly"];
    let mut kinds: Vec<(&str, &str)> = rules.iter().map(|rule| (*rule, *rule)).collect();
    kinds.retain(|(rule, _)| calendar.days.iter().any(|day| day.rule == Some(*rule)));
    kinds.extend([
        ("stays", "kept for another reason"),
        ("next", "goes next"),
        ("gone", "goes now"),
    ]);
    let entry =
        |(class, words): &(&str, &str)| format!("<span><i class=\"k {class}\"></i>{words}</span>");
    body += &format!("<p class=\"legend\">{}</p>", kinds.iter().map(entry).collect::<String>());
    body + &weeks(calendar)
}

/// A square for each day, a column for each week, in lines of half a year.
fn weeks(calendar: &Calendar) -> String {
    let mut days: BTreeMap<Date, Vec<&Day>> = BTreeMap::new();
    for day in &calendar.days {
        if let Ok(date) = words::day(day.end).parse() {
            days.entry(date).or_default().push(day);
        }
    }
    let Some((first, last)) = days.keys().next().zip(days.keys().next_back()) else {
        return String::new();
    };
    let monday = |date: Date| {
        let since = i64::from(date.weekday().since(Weekday::Monday));
        date.saturating_sub(jiff::Span::new().days(since))
    };
    let weeks = |count: i32| jiff::Span::new().weeks(count);
    let days_there = last.since(*first).map_or(0, |span| span.get_days());
    let count = (days_there / 7 + 2).clamp(WEEKS_MIN, WEEKS);
    let mut start = monday(*last).saturating_sub(weeks(count - 1));
    let mut lines = Vec::new();
    while lines.len() < LINES_MAX {
        lines.push(line((start, count), &days, calendar));
        if start <= *first {
            break;
        }
        start = start.saturating_sub(weeks(count));
    }
    lines.concat()
}

fn line(
    (start, count): (Date, i32),
    days: &BTreeMap<Date, Vec<&Day>>,
    calendar: &Calendar,
) -> String {
    let (mut squares, mut months) = (String::new(), String::new());
    for week in 0..count {
        for weekday in 0..7 {
            let date = start.saturating_add(jiff::Span::new().days(week * 7 + weekday));
            if date.day() == 1 {
                let month = date.strftime("%b");
                months += &format!("<text x=\"{}\" y=\"9\">{month}</text>", week * 13);
            }
            let Some(of_day) = days.get(&date) else { continue };
            let words = |day: &&Day| {
                let kept = day.kept.as_deref().unwrap_or("goes");
                format!("{}: {}", name(&day.name), text(kept))
            };
            let titles = of_day.iter().map(words).collect::<Vec<_>>().join("; ");
            squares += &format!(
                "<rect class=\"k {}\" x=\"{}\" y=\"{}\" width=\"11\" height=\"11\" rx=\"2\">\
                 <title>{date} {titles}</title></rect>",
                kind(of_day, calendar),
                week * 13,
                weekday * 13 + 14,
            );
        }
    }
    let (width, height) = (count * 13, 7 * 13 + 14);
    let empty = (0..count * 7)
        .map(|place| format!("M{} {}h11v11h-11z", place / 7 * 13, place % 7 * 13 + 14));
    format!(
        "<svg class=\"weeks\" role=\"img\" aria-label=\"calendar from {start}\" viewBox=\"0 0 {width} {height}\">\
         <path class=\"empty\" d=\"{}\"/>{squares}{months}</svg>",
        empty.collect::<String>()
    )
}

/// How a day is shown: by the rule that keeps one of its archives longest; by what goes, if none stays.
fn kind(days: &[&Day], calendar: &Calendar) -> &'static str {
    let rules = ["yearly", "monthly", "weekly", "daily", "hourly", "within"];
    let kept = rules.into_iter().find(|rule| days.iter().any(|day| day.rule == Some(*rule)));
    let stays: Vec<&&Day> = days.iter().filter(|day| day.kept.is_some()).collect();
    if stays.is_empty() {
        return "gone";
    }
    match stays.iter().all(|day| calendar.next.contains(&day.name)) {
        true => "next",
        false => kept.unwrap_or("stays"),
    }
}

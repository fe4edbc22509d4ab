//! How a repository grew: as bars, and as a drawing of its own.
//!
//! In: a report. Out: for each night what is stored in all and what came with it, by image; an SVG file with light and dark
//! colours of its own. Promises: the file has no script and loads nothing; texts in it are nothing but text.

use garret_cli::render;

use super::markup::{name, text};
use super::model::{Night, Report};
use super::svg::{Bar, bars, top};
use super::text as words;

/// Images that have a colour of their own.
const COLOURS: usize = 5;
/// Most characters of a name beside its colour in the file, where nothing wraps.
const NAME_LEN_MAX: usize = 52;
/// Of the file, in its own units: width, and where the second drawing begins.
const WIDTH: usize = 800;
const SECOND: usize = 410;

const COLOUR_STYLE: &str = include_str!("colours.css");
const STYLE: &str = ".back, .cut { fill: var(--back); } \
    text { font: 13px system-ui, \"DejaVu Sans\", sans-serif; fill: var(--soft); } \
    .name { font-size: 17px; fill: var(--ink); }";

/// Bars for each night, with the value at which they end at the top.
pub(super) struct Growth {
    pub(super) whole: Vec<Bar>,
    pub(super) most: u64,
    pub(super) nightly: Vec<Bar>,
    pub(super) top: u64,
}

/// The bars, their parts by image in the order of [`names`].
pub(super) fn of(report: &Report) -> Growth {
    let colours = report.images.len().min(COLOURS);
    let mut each: Vec<Vec<u64>> = report
        .nights
        .iter()
        .map(|night| {
            let mut parts = vec![0; colours];
            parts.push(night.added.stored_len);
            parts
        })
        .collect();
    for (number, image) in report.images.iter().take(colours).enumerate() {
        for held in &image.nights {
            let stored = held.added.stored_len;
            let Some(parts) = each.get_mut(held.night) else { continue };
            if let Some(own) = parts.get_mut(number) {
                *own = stored;
            }
            if let Some(rest) = parts.last_mut() {
                *rest = rest.saturating_sub(stored);
            }
        }
    }
    let title = |night: &Night, bytes: u64| {
        format!("{}, {}: {}", name(&night.name), render::minute(night.end), render::size(bytes))
    };
    let mut sum = vec![0; colours + 1];
    let (mut whole, mut nightly) = (Vec::new(), Vec::new());
    for (night, parts) in report.nights.iter().zip(each) {
        sum.iter_mut().zip(&parts).for_each(|(sum, part)| *sum += part);
        whole.push(Bar { title: title(night, sum.iter().sum()), parts: sum.clone() });
        nightly.push(Bar { title: title(night, parts.iter().sum()), parts });
    }
    let most = whole.last().map_or(1, |bar| bar.parts.iter().sum::<u64>()).max(1);
    let top = top(&nightly);
    Growth { whole, most, nightly, top }
}

/// What each colour stands for.
pub(super) fn names(report: &Report) -> Vec<String> {
    let shown = report.images.iter().take(COLOURS);
    let mut names: Vec<String> = shown.map(|image| words::title(report, image)).collect();
    let rest = match report.images.len() > COLOURS || report.has_more_images {
        true => "other images and files",
        false => "other files and lists",
    };
    names.push(rest.to_owned());
    names
}

/// The days of the first and the last night; nothing where there is none.
pub(super) fn days(report: &Report) -> [String; 2] {
    let day = |night: Option<&Night>| night.map(|night| words::day(night.end));
    let last = match report.nights.as_slice() {
        [_, .., last] => words::day(last.end),
        _ => String::new(),
    };
    [day(report.nights.first()).unwrap_or_default(), last]
}

/// A file of its own, for a page of the user's.
pub(crate) fn svg(report: &Report) -> String {
    let Growth { whole, most, nightly, top } = of(report);
    let [first, last] = days(report);
    let drawing = |x: usize, what: &str, most: u64, all: &[Bar]| {
        let end = x + WIDTH - SECOND;
        format!(
            "<text x=\"{x}\" y=\"50\">{what}</text><text x=\"{end}\" y=\"50\" text-anchor=\"end\">{}</text>\
             <svg x=\"{x}\" y=\"58\" width=\"{}\" height=\"130\">{}</svg>\
             <text x=\"{x}\" y=\"206\">{first}</text><text x=\"{end}\" y=\"206\" text-anchor=\"end\">{last}</text>",
            render::size(most),
            WIDTH - SECOND,
            bars(all, most, what),
        )
    };
    let names = names(report);
    let entry = |(number, name): (usize, &String)| {
        let (x, y) = (number % 2 * SECOND, 236 + number / 2 * 20);
        let mut shown: String = name.chars().take(NAME_LEN_MAX).collect();
        if shown.len() < name.len() {
            shown.push('\u{2026}');
        }
        format!(
            "<rect class=\"p{number}\" x=\"{x}\" y=\"{}\" width=\"11\" height=\"11\"/>\
             <text x=\"{}\" y=\"{y}\">{}</text>",
            y - 10,
            x + 17,
            text(&shown)
        )
    };
    let height = 236 + names.len().div_ceil(2) * 20;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"-16 -8 {} {height}\"><style>{COLOUR_STYLE}{STYLE}</style>\
         <rect class=\"back\" x=\"-16\" y=\"-8\" width=\"100%\" height=\"100%\"/>\
         <text class=\"name\" x=\"0\" y=\"20\">{}, {}</text>{}{}{}</svg>\n",
        WIDTH + 32,
        name(report.location.to_os_string().as_encoded_bytes()),
        text(&render::minute(report.made)),
        drawing(0, "in all", most, &whole),
        drawing(SECOND, "each night", top, &nightly),
        names.iter().enumerate().map(entry).collect::<String>(),
    )
}

//! A card for each image: what it takes, its block map, and the line that restores it.

use garret_cli::render;

use super::map::Level;
use super::markup::{name, size, text};
use super::model::{Image, Report};
use super::text::{day, title};
use super::{svg, text as words};

/// Rows of all images in one table.
pub(super) fn table(report: &Report) -> String {
    let last = report.nights.len().checked_sub(1);
    let row = |image: &Image| {
        let newest = image.nights.last().filter(|held| Some(held.night) == last);
        let newest = newest.map_or("-".to_owned(), |held| size(held.added.new_len));
        format!(
            "<tr><th scope=\"row\">{}</th><td class=\"less\">{}</td><td class=\"less\">{}</td><td>{newest}</td>\
             <td>{}</td><td class=\"wide\">{}</td></tr>",
            text(&title(report, image)),
            size(image.len()),
            image.nights.len(),
            size(image.added().stored_len),
            spark(report, image),
        )
    };
    format!(
        "<div class=\"scroll\"><table><thead><tr><th>image</th><th class=\"less\">disk</th>\
         <th class=\"less\">nights</th><th>new last night</th><th>stored</th><th class=\"wide\">stored by night</th></tr>\
         </thead><tbody>{}</tbody></table></div>",
        report.images.iter().map(row).collect::<String>()
    )
}

/// What came with an image on each night of the report.
fn spark(report: &Report, image: &Image) -> String {
    let mut values = vec![0; report.nights.len()];
    for held in &image.nights {
        if let Some(value) = values.get_mut(held.night) {
            *value = held.added.stored_len;
        }
    }
    svg::spark(&values, "stored by night")
}

/// The card of an image.
pub(super) fn card(report: &Report, image: &Image) -> String {
    let path = text(&title(report, image));
    let rows = image.map.rows.len();
    let label = |row: &super::map::Row| {
        let end = report.nights.get(row.night).map(|night| night.end);
        let day: String = end.map(day).unwrap_or_default().chars().skip(5).collect();
        let first = if row.is_first { " first" } else { "" };
        format!("<li><span>{day}{first}</span> {}</li>", size(row.changed))
    };
    let labels = image.map.rows.iter().rev().map(label).collect::<String>();
    let restore = match (report.restore_line(image), image.newest) {
        (Some(line), Some(newest)) => {
            let night = report.nights.get(newest).map(|night| name(&night.name));
            let night = night.unwrap_or_default();
            format!("<p class=\"restore\">Restore {night}: <code>{}</code></p>", text(&line))
        }
        _ => "<p class=\"restore\">No complete archive holds it.</p>".to_owned(),
    };
    let drawing = svg::map(&image.map, &format!("block map of {path}"));
    format!(
        "<section class=\"card\"><h3>{path}</h3><p class=\"facts\">{} disk, {} stored, {} nights</p>\
         <div class=\"map\" style=\"--rows:{rows}\"><ol>{labels}</ol><div>{drawing}<p class=\"axis\"><span>0</span>\
         <span>{}</span></p></div></div>{restore}</section>",
        size(image.len()),
        size(image.added().stored_len),
        image.nights.len(),
        size(image.map.len()),
    )
}

/// What the colours of a block map mean.
pub(super) fn legend() -> String {
    let entry = |(level, words): (Level, &str)| {
        format!("<span><i class=\"{}\"></i>{words}</span>", svg::class(level))
    };
    let entries = [
        (Level::Empty, "zeros"),
        (Level::Same, "data, as the night before"),
        (Level::Changed(1), "up to 5 % changed"),
        (Level::Changed(2), "25 %"),
        (Level::Changed(3), "60 %"),
        (Level::Changed(4), "more"),
    ];
    format!("<p class=\"legend\">{}</p>", entries.map(entry).concat())
}

/// A row for each archive, the newest first.
pub(super) fn nights(report: &Report) -> String {
    let row = |night: &super::model::Night| {
        let pace = night.pace().map_or("-".to_owned(), |pace| super::markup::number(pace, 2));
        let state = words::state(night).trim_start_matches(" (").trim_end_matches(')');
        let state = if state.is_empty() { "complete" } else { state };
        format!(
            "<tr><th scope=\"row\">{}</th><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{pace}</td>\
             <td>{state}</td></tr>",
            name(&night.name),
            render::minute(night.end),
            size(night.original),
            size(night.added.new_len),
            size(night.added.stored_len),
            super::markup::number(night.seconds(), 1),
        )
    };
    format!(
        "<div class=\"scroll\"><table><thead><tr><th>archive</th><th>made</th><th>size</th><th>new</th><th>stored</th>\
         <th>seconds</th><th>s/GB</th><th></th></tr></thead><tbody>{}</tbody></table></div>",
        report.nights.iter().rev().map(row).collect::<String>()
    )
}

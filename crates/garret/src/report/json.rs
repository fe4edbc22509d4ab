//! A report for programs: docs/json.md, "report".

use std::os::unix::ffi::OsStrExt;

use garret_cli::record::Record;
use garret_cli::render;
use serde_json::{Value, json};

use super::map::{Map, Row};
use super::model::{Calendar, Image, Night, Report};

/// All of it as one document.
pub(crate) fn document(report: &Report) -> Value {
    let lamp = report.lamp.iter().map(
        |check| json!({ "what": check.what, "light": check.light.word(), "text": check.text }),
    );
    let images = report.images.iter().map(|found| image(report, found));
    json!({
        "repository": repository(report),
        "light": report.light().word(),
        "lamp": lamp.collect::<Vec<Value>>(),
        "nights": report.nights.iter().map(night).collect::<Vec<Value>>(),
        "images": images.collect::<Vec<Value>>(),
        "more_images": report.has_more_images,
        "prune": report.calendar.as_ref().map(prune),
        "problems": report.problems,
    })
}

fn repository(report: &Report) -> Value {
    let verified = &report.verified;
    Record::default()
        .with_bytes(["location", "location_hex"], report.location.to_os_string().as_bytes())
        .with("id", report.id.as_str())
        .with("time", render::iso_time(report.made))
        .with("archives", report.nights.len())
        .with("original_size", report.original)
        .with("stored_size", report.stored)
        .with("ratio", report.ratio())
        .with("free", report.free)
        .with("growth_per_day", report.growth.map(|growth| growth.per_day))
        .with("days_left", report.growth.and_then(|growth| growth.days_left))
        .with("packs", verified.pack_count)
        .with("verified_packs", verified.pack_count.saturating_sub(verified.never_count))
        .with("recently_verified_packs", verified.recent_count)
        .with("verified_since", verified.oldest.map(render::date))
        .json()
}

fn night(night: &Night) -> Value {
    json!({
        "name": night.name,
        "hostname": night.host,
        "start": render::iso_time(night.start),
        "end": render::iso_time(night.end),
        "duration": night.seconds(),
        "original_size": night.original,
        "new_size": night.added.new_len,
        "stored_size": night.added.stored_len,
        "other_stored_size": night.others.stored_len,
        "seconds_per_gb": night.pace(),
        "complete": night.is_complete,
        "problems": night.problem_count,
        "lacks": night.lacks,
    })
}

fn image(report: &Report, image: &Image) -> Value {
    let name = |number: usize| report.nights.get(number).map(|night| night.name.as_str());
    let night = |held: &super::model::ImageNight| {
        json!({
            "name": name(held.night),
            "new_size": held.added.new_len,
            "stored_size": held.added.stored_len,
        })
    };
    Record::default()
        .with("hostname", image.host.as_str())
        .with_path(&image.path)
        .with("size", image.len())
        .with("new_size", image.added().new_len)
        .with("stored_size", image.added().stored_len)
        .with("newest", image.newest.and_then(name))
        .with("restore", report.restore_line(image))
        .with("nights", image.nights.iter().map(night).collect::<Vec<Value>>())
        .with("map", map(&image.map, &name))
        .json()
}

fn map<'r>(map: &Map, name: &dyn Fn(usize) -> Option<&'r str>) -> Value {
    let row = |row: &Row| {
        json!({
            "name": name(row.night),
            "size": row.len,
            "first": row.is_first,
            "changed_size": row.changed,
            "changed": row.cells.iter().map(|cell| cell.changed).collect::<Vec<u64>>(),
            "data": row.cells.iter().map(|cell| cell.data).collect::<Vec<u64>>(),
        })
    };
    json!({ "cell_size": map.cell_len, "rows": map.rows.iter().map(row).collect::<Vec<Value>>() })
}

fn prune(calendar: &Calendar) -> Value {
    let day = |day: &super::model::Day| {
        json!({
            "name": day.name,
            "end": render::iso_time(day.end),
            "kept_by": day.kept,
            "rule": day.rule,
        })
    };
    json!({
        "archives": calendar.days.iter().map(day).collect::<Vec<Value>>(),
        "freed_size": calendar.freed,
        "next": calendar.next,
    })
}

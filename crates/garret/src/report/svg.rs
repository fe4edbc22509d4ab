//! Drawings for the page, as inline SVG: bars, and block maps.
//!
//! In: numbers, and texts that are escaped already. Out: SVG without script, style or reference; colours are classes of the
//! page. All stretch to the width of the page; texts stand beside them, so they do not.

use std::collections::BTreeMap;

use super::map::{Level, Map, level, span};

/// Width of a bar, and from one to the next.
const BAR: f64 = 6.0;
const STEP: f64 = 8.0;
/// Height of a drawing of bars.
const HEIGHT: f64 = 100.0;
/// Fewest places for bars, so that two nights are not two walls.
const PLACES_MIN: usize = 14;
/// A bar that is so many times the usual one is cut.
const CUT: u64 = 4;

/// One bar: its parts, the lowest first, and what it says when it is pointed at.
pub(super) struct Bar {
    pub(super) parts: Vec<u64>,
    pub(super) title: String,
}

impl Bar {
    fn len(&self) -> u64 {
        self.parts.iter().fold(0, |sum, part| sum.saturating_add(*part))
    }
}

/// The value at which bars end at the top: that of the longest, or, if few are far longer than is usual, less.
pub(super) fn top(bars: &[Bar]) -> u64 {
    let mut lens: Vec<u64> = bars.iter().map(Bar::len).filter(|len| *len > 0).collect();
    lens.sort_unstable();
    let longest = lens.last().copied().unwrap_or(0);
    let usual = lens.get(lens.len() / 2).copied().unwrap_or(0);
    let most = usual.saturating_mul(CUT);
    // What is left uncut decides, so that the bars fill the drawing.
    let uncut = lens.iter().rev().find(|len| **len <= most).copied().unwrap_or(longest);
    uncut.max(1)
}

/// Bars beside each other. Those longer than `top` are cut, and show it.
pub(super) fn bars(bars: &[Bar], top: u64, label: &str) -> String {
    let width = bars.len().max(PLACES_MIN) as f64 * STEP;
    let mut paths: BTreeMap<usize, String> = BTreeMap::new();
    let (mut cuts, mut titles) = (String::new(), String::new());
    for (bar, x) in bars.iter().zip((0..).map(|number: u32| f64::from(number) * STEP + 1.0)) {
        let len = bar.len();
        let scale = HEIGHT / len.max(top) as f64;
        let mut y = HEIGHT;
        for (number, part) in bar.parts.iter().enumerate().filter(|(_, part)| **part > 0) {
            let height = *part as f64 * scale;
            y -= height;
            let path = paths.entry(number).or_default();
            *path += &format!("M{x:.0} {y:.2}h{BAR}v{height:.2}h-{BAR}z");
        }
        if len > top {
            cuts += &format!("M{:.0} 12l8-5v3l-8 5z", x - 1.0);
        }
        titles += &format!(
            "<rect x=\"{:.0}\" y=\"0\" width=\"{STEP}\" height=\"{HEIGHT}\"><title>{}</title></rect>",
            x - 1.0,
            bar.title
        );
    }
    let paths = paths.iter().map(|(number, d)| format!("<path class=\"p{number}\" d=\"{d}\"/>"));
    format!(
        "<svg class=\"bars\" role=\"img\" aria-label=\"{label}\" viewBox=\"0 0 {width:.0} {HEIGHT}\" \
         preserveAspectRatio=\"none\">{}<path class=\"cut\" d=\"{cuts}\"/><g class=\"over\">{titles}</g></svg>",
        paths.collect::<String>()
    )
}

/// Small bars without words.
pub(super) fn spark(values: &[u64], label: &str) -> String {
    let all: Vec<Bar> =
        values.iter().map(|value| Bar { parts: vec![*value], title: String::new() }).collect();
    let top = top(&all);
    let width = values.len().max(PLACES_MIN) * 3;
    let bar = |(number, value): (usize, &u64)| {
        let height = (*value).min(top) as f64 * 20.0 / top as f64;
        match value {
            0 => String::new(),
            _ => format!("M{} {:.2}h2v{height:.2}h-2z", number * 3, 20.0 - height),
        }
    };
    format!(
        "<svg class=\"spark\" role=\"img\" aria-label=\"{label}\" viewBox=\"0 0 {width} 20\" \
         preserveAspectRatio=\"none\"><path class=\"p0\" d=\"{}\"/></svg>",
        values.iter().enumerate().map(bar).collect::<String>()
    )
}

/// A block map, the newest night on top: one path for each level, so that thousands of blocks are a few elements.
pub(super) fn map(map: &Map, label: &str) -> String {
    let mut paths: BTreeMap<Level, String> = BTreeMap::new();
    for (row, y) in map.rows.iter().rev().zip((0..).map(|number: usize| number * 10)) {
        let spans = (0..).map(|number: u64| span(number, map.cell_len, row.len));
        let mut levels = row.cells.iter().zip(spans).map(|(cell, span)| level(cell, span));
        let mut next = levels.next();
        let mut x = 0;
        while let Some(this) = next {
            let mut len = 1;
            next = levels.next();
            while next == Some(this) {
                len += 1;
                next = levels.next();
            }
            *paths.entry(this).or_default() += &format!("M{x} {y}h{len}v9h-{len}z");
            x += len;
        }
    }
    // What changed most is drawn last, so that it is seen where a block is narrower than a pixel.
    let path =
        |(level, d): (&Level, &String)| format!("<path class=\"{}\" d=\"{d}\"/>", class(*level));
    let paths = paths.iter().map(path);
    format!(
        "<svg class=\"blocks\" role=\"img\" aria-label=\"{label}\" viewBox=\"0 0 {} {}\" \
         preserveAspectRatio=\"none\" shape-rendering=\"crispEdges\">{}</svg>",
        map.width(),
        map.rows.len() * 10,
        paths.collect::<String>()
    )
}

/// The class of a level.
pub(super) fn class(level: Level) -> &'static str {
    match level {
        Level::Empty => "empty",
        Level::Same => "same",
        Level::Changed(1) => "c1",
        Level::Changed(2) => "c2",
        Level::Changed(3) => "c3",
        Level::Changed(_) => "c4",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(lens: &[u64]) -> Vec<Bar> {
        lens.iter().map(|len| Bar { parts: vec![*len], title: String::new() }).collect()
    }

    #[test]
    fn one_bar_that_is_far_longer_is_cut_so_that_the_others_are_seen() {
        assert_eq!(top(&of(&[1000, 10, 12, 0, 14])), 14);
        assert_eq!(top(&of(&[30, 10, 12])), 30);
        assert_eq!(top(&of(&[])), 1);
        let drawn = bars(&of(&[1000, 10, 12, 0, 14]), 14, "x");
        assert_eq!(drawn.matches("l8-5v3l-8 5z").count(), 1, "{drawn}");
        assert_eq!(drawn.matches("<title>").count(), 5, "{drawn}");
    }
}

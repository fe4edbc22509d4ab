//! The chart: seconds per gigabyte, a group of bars for each step, as SVG.
//!
//! In: [`Results`]. Out: text of an SVG file. Promises: it shows what a user waits for, not every step; each group has its
//! own scale, from 0, and every bar its figure beside it, because steps differ by a hundred times; readable on light and on
//! dark ground; no script, no font, no link.

use std::fmt::Write;

use crate::results::{Results, Row};

const WIDTH: f64 = 900.0;
const LEFT: f64 = 170.0;
/// Room behind the longest bar for its figure.
const RIGHT: f64 = 90.0;
const ROW: f64 = 20.0;
const BAR: f64 = 13.0;
const GROUP_HEAD: f64 = 44.0;
const TOP: f64 = 64.0;

const STYLE: &str = "\
  .ground { fill: #ffffff } text { fill: #1f2328; font: 13px sans-serif } .small { fill: #59636e; font-size: 12px }
  .head { font-weight: bold } .title { font-size: 17px; font-weight: bold }
  .garret { fill: #0969da } .tool { fill: #9aa4af } .yardstick { fill: none; stroke: #9aa4af }
  .ends { stroke: #1f2328 }
  @media (prefers-color-scheme: dark) {
    .ground { fill: #0d1117 } text { fill: #e6edf3 } .small { fill: #9198a1 }
    .garret { fill: #4493f8 } .tool { fill: #656c76 } .yardstick { stroke: #8b949e } .ends { stroke: #e6edf3 }
  }";

pub(crate) fn svg(results: &Results) -> String {
    let (mut body, mut y) = (String::new(), TOP);
    for step in results.plan.steps.iter().copied().filter(|step| step.is_drawn()) {
        let rows: Vec<_> = results.rows(step).into_iter().filter(|row| row.runs > 0).collect();
        if rows.is_empty() {
            continue;
        }
        let title = escaped(&results.plan.title(step));
        body += &text("head", 16.0, y + 24.0, &format!("{}: {title}", step.name()));
        y += GROUP_HEAD - 8.0;
        let longest =
            rows.iter().map(|row| row.seconds_per_gb.max).fold(f64::MIN_POSITIVE, f64::max);
        let scale = (WIDTH - LEFT - RIGHT) / longest;
        for row in &rows {
            body += &bar(results, row, scale, y);
            y += ROW;
        }
        y += 8.0;
    }
    let height = y + 16.0;
    // Writing to a string does not fail.
    let mut svg = String::new();
    let _ = writeln!(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" \
         viewBox=\"0 0 {WIDTH} {height}\" role=\"img\">\n<title>Seconds per GB, by step and tool</title>\n\
         <style>\n{STYLE}\n</style>\n<rect class=\"ground\" width=\"100%\" height=\"100%\"/>"
    );
    svg += &text("title", 16.0, 28.0, "Seconds per GB (less is better)");
    let legend = "Bars: medians; lines: smallest to greatest; outlined: yardsticks. Each step has its own scale.";
    svg += &text("small", 16.0, 48.0, legend);
    svg + &body + "</svg>\n"
}

fn bar(results: &Results, row: &Row, scale: f64, y: f64) -> String {
    let Some(participant) = results.participants.get(row.participant) else {
        return String::new();
    };
    let class = match (participant.is_tool(), participant.is_ours()) {
        (false, _) => "yardstick",
        (true, true) => "garret",
        (true, false) => "tool",
    };
    let (figure, baseline) = (row.seconds_per_gb, y + BAR - 2.0);
    let (length, min, max) = (figure.median * scale, figure.min * scale, figure.max * scale);
    let mut svg = format!(
        "<text x=\"{:.1}\" y=\"{baseline:.1}\" text-anchor=\"end\">{}</text>\n\
         <rect class=\"{class}\" x=\"{LEFT}\" y=\"{y:.1}\" width=\"{length:.1}\" height=\"{BAR}\"/>\n",
        LEFT - 8.0,
        escaped(participant.name())
    );
    if row.runs > 1 {
        let (middle, from, to) = (y + BAR / 2.0, LEFT + min, LEFT + max);
        let ends = format!("x1=\"{from:.1}\" x2=\"{to:.1}\" y1=\"{middle:.1}\" y2=\"{middle:.1}\"");
        svg += &format!("<line class=\"ends\" {ends}/>\n");
    }
    svg + &text("small", LEFT + length.max(max) + 6.0, baseline, &format!("{:.3}", figure.median))
}

fn text(class: &str, x: f64, y: f64, text: &str) -> String {
    format!("<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\">{text}</text>\n")
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::tests::sample;

    #[test]
    fn names_cannot_end_an_element() {
        assert_eq!(escaped("<a> & b"), "&lt;a&gt; &amp; b");
        let mut results = sample();
        results.plan.nights[0][0].name = "<b>&.qcow2".to_owned();
        let svg = svg(&results);
        assert!(svg.contains("(&lt;b&gt;&amp;.qcow2)") && !svg.contains("<b>"));
    }

    #[test]
    fn the_longest_bar_fits_and_garret_has_its_colour() {
        let svg = svg(&sample());
        let widths = svg.split("<rect class=\"").skip(2).map(|rest| {
            let width = rest.split(" width=\"").nth(1).unwrap();
            (rest.split('"').next().unwrap(), width.split('"').next().unwrap().parse().unwrap())
        });
        let widths: Vec<(&str, f64)> = widths.collect();
        // Medians 1.5 and 3 of at most 4, then 3 and 4 of at most 4.
        assert_eq!(
            widths,
            [("garret", 240.0), ("garret", 480.0), ("garret", 480.0), ("garret", 640.0)]
        );
        assert_eq!(svg.matches("<text").count(), svg.matches("</text>").count());
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
    }
}

//! The tables: one per step in the form that comparisons in this field have, then all steps at a glance, then the totals.
//!
//! In: [`Results`]. Out: text, columns aligned by width.

use std::fmt::Write;

use crate::plan::Step;
use crate::results::{GB, Results, Row, Spread};

const BACKUP: [&str; 15] = [
    "tool",
    "mode",
    "no.",
    "input GB",
    "files",
    "time s",
    "min-max",
    "sync s",
    "repository GB",
    "ratio",
    "s/GB",
    "x garret",
    "CPU s",
    "peak MB",
    "notes",
];
const RESTORE: [&str; 12] = [
    "tool",
    "mode",
    "GB",
    "time s",
    "min-max",
    "s/GB",
    "x garret",
    "CPU s",
    "peak MB",
    "on disk GB",
    "digest",
    "notes",
];
const TOTALS: [&str; 12] = [
    "tool",
    "mode",
    "backups",
    "input GB",
    "time s",
    "s/GB",
    "repository GB",
    "files",
    "ratio",
    "restores s",
    "CPU s",
    "peak MB",
];

/// Header, tables and totals.
pub(crate) fn text(results: &Results) -> String {
    let mut text = results.header.join("\n") + "\n";
    for (number, &step) in results.plan.steps.iter().enumerate() {
        let rows = results.rows(step);
        if rows.is_empty() {
            continue;
        }
        let input = results.input(step);
        // Writing to a string does not fail.
        let _ = write!(
            text,
            "\nStep {}, {}: {}: {:.2} GB, {:.2} GB of it on disk\n\n",
            number + 1,
            step.name(),
            results.plan.title(step),
            input.len as f64 / GB,
            input.allocated as f64 / GB,
        );
        text += &if step.is_backup() {
            let cells = rows.iter().map(|row| backup_cells(results, step, row));
            aligned(&BACKUP, &cells.collect::<Vec<_>>())
        } else {
            let cells = rows.iter().map(|row| restore_cells(results, step, row));
            aligned(&RESTORE, &cells.collect::<Vec<_>>())
        };
    }
    let seconds_per_gb = |row: &Row| match row.against_ours {
        Some(against) => format!("{:.3} ({:.1}x)", row.seconds_per_gb.median, against.median),
        None => format!("{:.3}", row.seconds_per_gb.median),
    };
    text += "\nSeconds per GB of every tool, and how many times garret's\n\n";
    text += &by_tool(results, |_| true, seconds_per_gb);
    text += "\nRatio of every tool: all backups so far / repository\n\n";
    text += &by_tool(results, Step::is_backup, |row| optional(row.ratio, 1.0, 2));
    let totals: Vec<_> =
        (0..results.participants.len()).filter_map(|i| total(results, i)).collect();
    text += "\nTotals: sums of the medians above\n\n";
    text + &aligned(&TOTALS, &totals)
}

fn backup_cells(results: &Results, step: Step, row: &Row) -> Vec<String> {
    let Some(participant) = results.participants.get(row.participant) else { return Vec::new() };
    let input = results.input(step);
    let number = match participant.is_tool() {
        true => results.number(step, participant).unwrap_or(0).to_string(),
        false => "-".to_owned(),
    };
    vec![
        participant.name().to_owned(),
        participant.mode().to_owned(),
        number,
        format!("{:.2}", input.len as f64 / GB),
        input.files.to_string(),
        figure(row, row.seconds.median, 2),
        ends(row),
        optional(row.sync_seconds, 1.0, 2),
        optional(row.repository_bytes, GB, 3),
        optional(row.ratio, 1.0, 2),
        figure(row, row.seconds_per_gb.median, 3),
        optional(row.against_ours, 1.0, 2),
        figure(row, row.cpu_seconds.median, 2),
        figure(row, row.peak_bytes.median / 1e6, 0),
        notes(participant.notes(), row),
    ]
}

fn restore_cells(results: &Results, step: Step, row: &Row) -> Vec<String> {
    let Some(participant) = results.participants.get(row.participant) else { return Vec::new() };
    vec![
        participant.name().to_owned(),
        participant.mode().to_owned(),
        format!("{:.2}", results.input(step).len as f64 / GB),
        figure(row, row.seconds.median, 2),
        ends(row),
        figure(row, row.seconds_per_gb.median, 3),
        optional(row.against_ours, 1.0, 2),
        figure(row, row.cpu_seconds.median, 2),
        figure(row, row.peak_bytes.median / 1e6, 0),
        optional(row.restored_bytes, GB, 2),
        format!("same {}/{}", row.runs, row.runs + row.problems.len()),
        notes(participant.notes(), row),
    ]
}

/// A line for each step, a column for each tool.
fn by_tool(
    results: &Results,
    shown: impl Fn(Step) -> bool,
    cell: impl Fn(&Row) -> String,
) -> String {
    let tools: Vec<_> =
        results.participants.iter().enumerate().filter(|(_, tool)| tool.is_tool()).collect();
    let line = |step: Step| {
        let rows = results.rows(step);
        let of = |index| rows.iter().find(|row| row.participant == index && row.runs > 0);
        let cells = tools.iter().map(|(index, _)| of(*index).map_or("-".to_owned(), &cell));
        std::iter::once(step.name().to_owned()).chain(cells).collect()
    };
    let lines: Vec<_> =
        results.plan.steps.iter().filter(|step| shown(**step)).map(|step| line(*step)).collect();
    let names = tools.iter().map(|(_, tool)| tool.name());
    let header: Vec<_> = std::iter::once("step").chain(names).collect();
    aligned(&header, &lines)
}

/// A tool over all steps; none for yardsticks and for tools of which nothing is known.
fn total(results: &Results, index: usize) -> Option<Vec<String>> {
    let participant = results.participants.get(index).filter(|p| p.is_tool())?;
    let rows = results.plan.steps.iter().map(|&step| (step, results.rows(step)));
    let own = |(step, rows): (Step, Vec<Row>)| {
        let row = rows.into_iter().find(|row| row.participant == index && row.runs > 0)?;
        Some((step, row))
    };
    let (backups, restores): (Vec<_>, Vec<_>) =
        rows.filter_map(own).partition(|(step, _)| step.is_backup());
    let last = &backups.last()?.1;
    let input: u64 = backups.iter().map(|(step, _)| results.input(*step).len).sum();
    let seconds: f64 = backups.iter().map(|(_, row)| row.seconds.median).sum();
    let restore_seconds: f64 = restores.iter().map(|(_, row)| row.seconds.median).sum();
    let all = || backups.iter().chain(&restores).map(|(_, row)| row);
    let cpu_seconds: f64 = all().map(|row| row.cpu_seconds.median).sum();
    let peak = all().map(|row| row.peak_bytes.max).fold(0.0, f64::max);
    Some(vec![
        participant.name().to_owned(),
        participant.mode().to_owned(),
        backups.len().to_string(),
        format!("{:.2}", input as f64 / GB),
        format!("{seconds:.2}"),
        format!("{:.3}", seconds / (input as f64 / GB)),
        optional(last.repository_bytes, GB, 3),
        optional(last.repository_files, 1.0, 0),
        optional(last.ratio, 1.0, 2),
        if restores.is_empty() { "-".to_owned() } else { format!("{restore_seconds:.2}") },
        format!("{cpu_seconds:.2}"),
        format!("{:.0}", peak / 1e6),
    ])
}

fn figure(row: &Row, figure: f64, digits: usize) -> String {
    if row.runs == 0 { "-".to_owned() } else { format!("{figure:.digits$}") }
}

fn ends(row: &Row) -> String {
    let Spread { min, max, .. } = row.seconds;
    if row.runs < 2 { "-".to_owned() } else { format!("{min:.2}-{max:.2}") }
}

fn optional(spread: Option<Spread>, unit: f64, digits: usize) -> String {
    spread.map_or_else(|| "-".to_owned(), |spread| format!("{:.digits$}", spread.median / unit))
}

fn notes(notes: &str, row: &Row) -> String {
    let failed =
        row.problems.first().map(|first| format!("failed {}x: {first}", row.problems.len()));
    let parts = [Some(notes.to_owned()).filter(|notes| !notes.is_empty()), failed];
    parts.into_iter().flatten().collect::<Vec<_>>().join("; ")
}

/// A table: the columns `tool`, `mode`, `step` and `notes` from the left, all others from the right.
fn aligned(header: &[&str], rows: &[Vec<String>]) -> String {
    let header: Vec<String> = header.iter().map(|&name| name.to_owned()).collect();
    let lines: Vec<&Vec<String>> = std::iter::once(&header).chain(rows).collect();
    let width = |column: usize| {
        lines.iter().filter_map(|l| l.get(column)).map(String::len).max().unwrap_or(0)
    };
    let widths: Vec<_> = (0..header.len()).map(width).collect();
    let mut text = String::new();
    for line in lines {
        let cell = |((cell, name), &width): ((&String, &String), &usize)| match name.as_str() {
            "tool" | "mode" | "step" | "notes" => format!("{cell:<width$}"),
            _ => format!("{cell:>width$}"),
        };
        let cells: Vec<_> = line.iter().zip(&header).zip(&widths).map(cell).collect();
        text += cells.join("  ").trim_end();
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::tests::sample;

    #[test]
    fn columns_are_aligned() {
        let rows =
            [vec!["a".to_owned(), "10.5".to_owned()], vec!["bcdef".to_owned(), "1".to_owned()]];
        assert_eq!(aligned(&["tool", "s"], &rows), "tool      s\na      10.5\nbcdef     1\n");
    }

    #[test]
    fn a_comparison_reads_well() {
        let text = text(&sample());
        let line = |start: &str, after: &str| {
            let part = text.split_once(after).unwrap().1;
            part.lines().find(|line| line.starts_with(start)).unwrap().to_owned()
        };
        assert!(
            text.starts_with("Machine: <one> & only\n\nStep 1, first: night 1 (a.qcow2)"),
            "{text}"
        );
        let first = line("garret-passphrase", "Step 1");
        let words: Vec<_> = first.split_whitespace().collect();
        assert_eq!(words[1..4], ["encrypted,", "zstd", "3"]);
        let figures = ["1", "2.00", "3", "6.00", "4.00-8.00", "0.25", "0.500", "4.00", "3.000"];
        assert_eq!(words[4..13], figures);
        let restore = line("garret-passphrase", "Step 2");
        assert!(restore.contains("same 1/2") && restore.ends_with("failed 1x: it \"broke\", so"));
        let of_steps = line("first", "Seconds per GB");
        assert_eq!(
            of_steps.split_whitespace().collect::<Vec<_>>()[1..],
            ["1.500", "(1.0x)", "3.000", "(2.0x)"]
        );
        assert!(line("first", "Ratio of").ends_with(" 4.00"), "{text}");
        let total = line("garret ", "Totals");
        let words: Vec<_> = total.split_whitespace().collect();
        let figures = ["1", "2.00", "3.00", "1.500", "0.500", "3", "4.00", "3.00", "3.00", "100"];
        assert_eq!(words[4..], figures);
    }
}

//! The results for other programs: every single run as CSV, runs and medians as JSON.
//!
//! In: [`Results`]. Out: text. Promises: fields that hold a comma, a quote or a line break are quoted (RFC 4180); what
//! is not known is empty in CSV and null in JSON; sizes are bytes, times seconds.

use serde_json::{Value, json};

use crate::plan::Step;
use crate::results::{GB, Record, Results, Row, Spread};

const COLUMNS: &str = "round,step,backup,tool,version,mode,input_bytes,input_allocated_bytes,files,seconds,\
    seconds_per_gb,sync_seconds,cpu_seconds,peak_bytes,repository_bytes,repository_files,ratio,restored_bytes,digest,problem";

pub(crate) fn csv(results: &Results) -> String {
    let mut text = format!("{COLUMNS}\n");
    for record in &results.records {
        let fields: Vec<_> = fields(results, record).iter().map(|field| quoted(field)).collect();
        text += &fields.join(",");
        text.push('\n');
    }
    text
}

fn fields(results: &Results, record: &Record) -> Vec<String> {
    let Some(participant) = results.participants.get(record.participant) else { return Vec::new() };
    let input = results.input(record.step);
    let number = results.number(record.step, participant).filter(|_| participant.is_tool());
    let done = record.result.as_ref().ok();
    let measured = done.map(|done| done.measured);
    let repository = done.and_then(|done| done.repository);
    let restored = done.and_then(|done| done.restored);
    let seconds = measured.map(|m| m.seconds);
    vec![
        (record.round + 1).to_string(),
        record.step.name().to_owned(),
        text(number),
        participant.name().to_owned(),
        participant.version.clone(),
        participant.mode().to_owned(),
        input.len.to_string(),
        input.allocated.to_string(),
        input.files.to_string(),
        text(seconds),
        text(seconds.map(|seconds| seconds / (input.len as f64 / GB))),
        text(done.and_then(|done| done.sync_seconds)),
        text(measured.map(|m| m.cpu_seconds)),
        text(measured.map(|m| m.peak_bytes)),
        text(repository.map(|r| r.allocated)),
        text(repository.map(|r| r.files)),
        text(done.and_then(|done| done.ratio())),
        text(restored.map(|r| r.allocated)),
        restored.map_or_else(String::new, |_| "same".to_owned()),
        record.result.as_ref().err().cloned().unwrap_or_default(),
    ]
}

fn text(value: Option<impl ToString>) -> String {
    value.map_or_else(String::new, |value| value.to_string())
}

fn quoted(field: &str) -> String {
    if field.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", field.replace('"', "\"\""))
    } else {
        field.to_owned()
    }
}

pub(crate) fn json(results: &Results) -> String {
    let participants = results.participants.iter().map(|participant| {
        json!({
            "name": participant.name(),
            "kind": if participant.is_tool() { "tool" } else { "yardstick" },
            "version": participant.version,
            "program": participant.program.to_string_lossy(),
            "mode": participant.mode(),
            "notes": participant.notes(),
        })
    });
    let steps = results.plan.steps.iter().map(|&step| step_json(results, step));
    let value = json!({
        "header": results.header,
        "images": results.plan.names(results.plan.nights.len().saturating_sub(1)),
        "participants": participants.collect::<Vec<_>>(),
        "missing": results.missing,
        "steps": steps.collect::<Vec<_>>(),
    });
    format!("{value:#}\n")
}

fn step_json(results: &Results, step: Step) -> Value {
    let input = results.input(step);
    let rows: Vec<_> = results.rows(step).iter().map(|row| row_json(results, step, row)).collect();
    json!({
        "name": step.name(),
        "title": results.plan.title(step),
        "input_bytes": input.len,
        "input_allocated_bytes": input.allocated,
        "files": input.files,
        "rows": rows,
    })
}

fn row_json(results: &Results, step: Step, row: &Row) -> Value {
    let of_row = |record: &&Record| record.step == step && record.participant == row.participant;
    let runs = results.records.iter().filter(of_row).map(|record| match &record.result {
        Ok(done) => json!({
            "round": record.round + 1,
            "seconds": done.measured.seconds,
            "sync_seconds": done.sync_seconds,
            "cpu_seconds": done.measured.cpu_seconds,
            "peak_bytes": done.measured.peak_bytes,
        }),
        Err(problem) => json!({ "round": record.round + 1, "problem": problem }),
    });
    let done = |spread| Some(spread).filter(|_| row.runs > 0);
    json!({
        "name": results.participants.get(row.participant).map(|p| p.name()),
        "seconds": spread_json(done(row.seconds)),
        "seconds_per_gb": spread_json(done(row.seconds_per_gb)),
        "sync_seconds": spread_json(row.sync_seconds),
        "cpu_seconds": spread_json(done(row.cpu_seconds)),
        "peak_bytes": spread_json(done(row.peak_bytes)),
        "repository_bytes": spread_json(row.repository_bytes),
        "repository_files": spread_json(row.repository_files),
        "ratio": spread_json(row.ratio),
        "restored_bytes": spread_json(row.restored_bytes),
        "against_garret": spread_json(row.against_ours),
        "runs": runs.collect::<Vec<_>>(),
    })
}

fn spread_json(spread: Option<Spread>) -> Value {
    spread.map_or(
        Value::Null,
        |Spread { median, min, max }| json!({ "median": median, "min": min, "max": max }),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::tests::sample;

    #[test]
    fn fields_are_quoted_where_they_must_be() {
        assert_eq!(quoted("plain text"), "plain text");
        assert_eq!(quoted("a,b"), "\"a,b\"");
        assert_eq!(quoted("say \"no\""), "\"say \"\"no\"\"\"");
        assert_eq!(quoted("two\nlines"), "\"two\nlines\"");
    }

    #[test]
    fn csv_has_a_line_for_every_run() {
        let csv = csv(&sample());
        let lines: Vec<_> = csv.lines().collect();
        assert_eq!(lines.len(), 9);
        let first = "1,first,1,garret,1.0,\"none, zstd 3\",2000000000,1000000000,3,2,1,0.25,1.5,100000000,500000000,3,4,,,";
        assert_eq!(lines[1], first);
        assert!(lines[8].ends_with(",,,,,,,,,,\"it \"\"broke\"\", so\""), "{}", lines[8]);
        assert_eq!(lines[0].split(',').count(), first.split(',').count() - 1);
    }

    #[test]
    fn json_is_read_back_as_it_was() {
        let value: Value = serde_json::from_str(&json(&sample())).unwrap();
        assert_eq!(value["header"][0], "Machine: <one> & only");
        let row = &value["steps"][1]["rows"][1];
        assert_eq!(row["runs"][1]["problem"], "it \"broke\", so");
        assert_eq!(row["seconds"]["median"], 4.0);
        assert_eq!(value["steps"][0]["rows"][0]["against_garret"]["median"], 1.0);
        assert!(row["ratio"].is_null());
    }
}

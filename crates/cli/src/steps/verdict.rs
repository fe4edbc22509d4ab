//! What a check found, on one line: what is damaged, what can be restored, and what to do.

use garret_core::{CheckOptions, CheckReport, Incomplete};

use crate::render::plural;

/// What is damaged, what of it cannot be restored and what can, and what to do: on one line.
pub fn closing(report: &CheckReport, options: &CheckOptions) -> String {
    let mut parts = Vec::new();
    let packs = report.pack_count + report.missing_packs;
    for (count, what) in [
        (report.damaged_packs, format!("of {} damaged", plural(packs, "pack"))),
        (report.missing_packs, format!("of {} missing", plural(packs, "pack"))),
        (report.damaged_segments, "of the index's segments damaged".to_owned()),
        (
            report.damaged_copies,
            "of config, keys and archives with one intact copy of two".to_owned(),
        ),
    ] {
        parts.extend((count > 0).then(|| format!("{count} {what}")));
    }
    if options.archives {
        // What is in a damaged pack is not looked up: of a chunk only that it is listed is known.
        let is_unknown = report.damaged_packs > 0 && !options.verify_data;
        parts.push(match report.incomplete.is_empty() && is_unknown {
            true => "which archives they concern is not known yet".to_owned(),
            false if is_unknown => format!("{}, as far as is known yet", restorable(report)),
            false => restorable(report),
        });
    }
    parts.push(advice(report, options).to_owned());
    parts.join("; ")
}

/// Which archives are whole.
fn restorable(report: &CheckReport) -> String {
    let one = |archive: &Incomplete| match archive.file_count {
        Some(count) => format!("{} ({})", archive.name, plural(count, "file")),
        None => format!("{} (not all of it can be looked at)", archive.name),
    };
    let lost: Vec<String> = report.incomplete.iter().map(one).collect();
    of_archives(report.archive_count, &lost)
}

/// The same of so many archives, those that are not whole in words.
pub fn of_archives(all: u64, incomplete: &[String]) -> String {
    let mut names: Vec<String> = incomplete.iter().take(NAMES_SHOWN).cloned().collect();
    names.extend((incomplete.len() > NAMES_SHOWN).then(|| "...".to_owned()));
    let lost = incomplete.len() as u64;
    let others = match all.saturating_sub(lost) {
        0 => String::new(),
        whole => format!("; the other {whole} can"),
    };
    match lost {
        0 => "every archive can be restored whole".to_owned(),
        _ => format!(
            "{lost} of {} cannot be restored whole: {}{others}",
            plural(all, "archive"),
            names.join(", ")
        ),
    }
}

/// How many archives the last line names.
const NAMES_SHOWN: usize = 10;

/// What to run next.
fn advice(report: &CheckReport, options: &CheckOptions) -> &'static str {
    let is_lost = !report.incomplete.is_empty();
    if report.damaged_segments > 0 || is_lost && report.unlisted_chunks > 0 {
        "run garret check --repair, which makes the index anew from the packs"
    } else if !options.archives || !options.verify_data && report.damaged_packs > 0 {
        "run garret check --verify-data to see which files are concerned"
    } else if is_lost && report.damaged_packs + report.missing_packs > 0 {
        "to mend them, run garret create of the same files: it stores again what these still have; garret prune then \
         drops the damaged packs; if some stay damaged, garret check --repair sets the packs aside so that prune goes on, \
         and garret extract --salvage restores what is left of a file"
    } else if is_lost {
        "to mend them, run garret create of the same files: it stores again what these still have; of what stays \
         damaged, garret extract --salvage restores what is left; such archives can be deleted"
    } else if report.damaged_packs > 0 {
        "run garret prune, which drops the damaged packs"
    } else if report.damaged_copies > 0 {
        "run garret check --repair, which makes both copies of one"
    } else if report.missing_packs > 0 {
        "run garret check --repair, which makes the index anew from the packs"
    } else {
        "run garret check --repair, which makes anew what can be"
    }
}

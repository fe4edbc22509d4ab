//! What stands above the tables: machine, files, method, tools.
//!
//! In: plan, participants. Out: lines.

use std::fs;
use std::path::Path;

use crate::participants::Participant;
use crate::plan::{Plan, Step};
use crate::work::SMALL;

/// What the header says of a comparison.
#[derive(Debug)]
pub(crate) struct About<'a> {
    pub(crate) images: &'a Path,
    pub(crate) plan: &'a Plan,
    pub(crate) participants: &'a [Participant],
    pub(crate) missing: &'a [&'static str],
    pub(crate) runs: usize,
    pub(crate) threads: usize,
    /// What a process that does nothing seems to take.
    pub(crate) idle_peak: u64,
    /// What night 1's images occupy.
    pub(crate) first_bytes: u64,
}

/// Below this, figures say little.
const FIRST_BYTES_MIN: u64 = 3_000_000_000;

pub(crate) fn lines(about: &About<'_>) -> Vec<String> {
    let About { images, plan, participants, missing, runs, threads, idle_peak, first_bytes } =
        about;
    let mut lines = vec![
        format!("Backup programs on the same VM images; medians of {runs}, in rounds, order rotated"),
        format!("Machine: {}", machine()),
        format!(
            "Images: {} of {}, copied to the same paths night after night; with {SMALL}, written anew for every step",
            plan.names(plan.nights.len() - 1).join(" "),
            images.display()
        ),
        "Clock: from start to end of the process, page cache warm, unwritten data of others synced before. sync s: what the \
         disk then took to write the rest, not in the time"
            .to_owned(),
        "Units: GB = 10^9 bytes. Input and s/GB count lengths of files, holes included. Repository: space on disk, caches \
         not counted. Ratio: all backups so far / repository"
            .to_owned(),
        format!(
            "CPU: user and system, children included. Peak: the largest process; up to {:.0} MB of it are not its own",
            *idle_peak as f64 / 1e6
        ),
        "x garret: time over garret's in the same round. Restores are compared with their source by BLAKE3".to_owned(),
        format!("Every tool at its defaults. Yardsticks use {threads} threads"),
    ];
    if *first_bytes < FIRST_BYTES_MIN {
        let data = *first_bytes as f64 / 1e9;
        lines.push(format!("Little data: night 1 has {data:.2} GB; 3 GB and more say something"));
    }
    for participant in *participants {
        lines.push(format!(
            "  {:<18} {:<10} {:<18} {}",
            participant.name(),
            participant.version,
            participant.mode(),
            participant.program.display()
        ));
    }
    if !missing.is_empty() {
        let missing = missing.join(", ");
        lines.push(format!("Missing here: {missing}; how to get them: docs/benchmarks.md"));
    }
    if plan.has(Step::First) && !plan.has(Step::Raw) && missing.contains(&"qemu-img convert") {
        lines.push("Left out: steps raw and restore-raw, which need qemu-img".to_owned());
    }
    lines
}

fn machine() -> String {
    let field = |path: &str, name: &str| {
        let text = fs::read_to_string(path).unwrap_or_default();
        let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        line.split_once(':').map_or("?", |(_, value)| value.trim()).to_owned()
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let kib: u64 = field("/proc/meminfo", "MemTotal").trim_end_matches(" kB").parse().unwrap_or(0);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!(
        "{cores} cores of {}, {:.0} GB memory, Linux {}",
        field("/proc/cpuinfo", "model name"),
        kib as f64 * 1024.0 / 1e9,
        kernel.trim()
    )
}

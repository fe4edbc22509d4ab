//! What backups and restores are measured against: hashing, compressing, copying the same files.
//!
//! In: the files of a step. Out: calls, or none if the yardstick says nothing about the step.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::plan::Step;
use crate::process::Call;

/// The files of a step, where results go, how many threads.
#[derive(Debug)]
pub(crate) struct Task<'a> {
    pub(crate) step: Step,
    /// What is backed up, or the original of what is restored.
    pub(crate) files: &'a [PathBuf],
    /// The qcow2 image that the raw copy was made of.
    pub(crate) qcow2: &'a Path,
    /// An empty directory.
    pub(crate) out: &'a Path,
    pub(crate) threads: usize,
}

/// A program that does one station's work alone.
#[derive(Debug)]
pub(crate) struct Yardstick {
    pub(crate) name: &'static str,
    pub(crate) program: &'static str,
    pub(crate) notes: &'static str,
    pub(crate) calls: fn(&Task<'_>) -> Option<Call>,
}

pub(crate) static YARDSTICKS: [Yardstick; 4] = [
    Yardstick {
        name: "b3sum",
        program: "b3sum",
        notes: "its peak counts the mapped files",
        calls: |task| {
            let call = Call::new(["--num-threads", &task.threads.to_string()]);
            task.step.is_backup().then(|| with_files(call, task.files))
        },
    },
    Yardstick {
        name: "zstd -3",
        program: "zstd",
        notes: "repository: its output",
        calls: |task| {
            let call = Call::new(["-q", "-3", &format!("-T{}", task.threads), "--output-dir-flat"]);
            task.step.is_first().then(|| with_files(call.arg(task.out), task.files))
        },
    },
    Yardstick {
        name: "cp --sparse=never",
        program: "cp",
        notes: "",
        calls: |task| {
            let call = with_files(Call::new(["--sparse=never"]), task.files);
            (!task.step.is_backup()).then(|| call.arg(task.out))
        },
    },
    Yardstick {
        name: "qemu-img convert",
        program: "qemu-img",
        notes: "from the qcow2 image",
        calls: |task| {
            let name = task.files.first()?.file_name()?;
            let call = Call::new(["convert", "-O", "raw"]).arg(task.qcow2).arg(task.out.join(name));
            (task.step == Step::RestoreRaw).then_some(call)
        },
    },
];

fn with_files(call: Call, files: &[PathBuf]) -> Call {
    files.iter().map(OsString::from).fold(call, Call::arg)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_but_the_cheap_ones_has_its_yardsticks() {
        let names = |step| -> Vec<&str> {
            let (files, qcow2) = ([PathBuf::from("/i/a.raw")], Path::new("/i/a.qcow2"));
            let task = Task { step, files: &files, qcow2, out: Path::new("/o"), threads: 2 };
            let has = |yardstick: &&Yardstick| (yardstick.calls)(&task).is_some();
            YARDSTICKS.iter().filter(has).map(|yardstick| yardstick.name).collect()
        };
        assert_eq!(names(Step::First), ["b3sum", "zstd -3"]);
        assert_eq!(names(Step::Touched), ["b3sum"]);
        assert_eq!(names(Step::Three), names(Step::First));
        assert_eq!(names(Step::Restore), ["cp --sparse=never"]);
        assert_eq!(names(Step::RestoreRaw), ["cp --sparse=never", "qemu-img convert"]);
    }
}

//! What is measured: the steps in their order, and the files that each takes.
//!
//! In: a directory with nights `n1`, `n2`, `n3` of images, and the steps that are asked for. Out: [`Plan`].
//! Promises: nights are compared by the qcow2 images that night 1 has; a later night without one of them is an error.

use std::fs;
use std::path::{Path, PathBuf};

use crate::Result;

/// One step. Backups come before restores, and each backup goes into the repository that the steps before it filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub(crate) enum Step {
    /// night 1, into an empty repository
    First,
    /// the same files again
    Untouched,
    /// the same files, but with another mtime: all of them must be read
    Touched,
    /// night 2, at the same paths
    Next,
    /// night 3, at the same paths
    Third,
    /// a raw copy of one image of night 1
    Raw,
    /// one image of the last night
    Restore,
    /// the raw copy
    RestoreRaw,
}

impl Step {
    pub(crate) const ALL: [Self; 8] = [
        Self::First,
        Self::Untouched,
        Self::Touched,
        Self::Next,
        Self::Third,
        Self::Raw,
        Self::Restore,
        Self::RestoreRaw,
    ];

    /// As on the command line, and the name of its archive.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Untouched => "untouched",
            Self::Touched => "touched",
            Self::Next => "next",
            Self::Third => "third",
            Self::Raw => "raw",
            Self::Restore => "restore",
            Self::RestoreRaw => "restore-raw",
        }
    }

    pub(crate) fn is_backup(self) -> bool {
        !matches!(self, Self::Restore | Self::RestoreRaw)
    }

    /// Which night lies at the paths of the images in this step, counted from 0; none if it takes none.
    pub(crate) fn night(self) -> Option<usize> {
        match self {
            Self::First | Self::Untouched | Self::Touched => Some(0),
            Self::Next => Some(1),
            Self::Third => Some(2),
            Self::Raw | Self::Restore | Self::RestoreRaw => None,
        }
    }
}

/// What a comparison measures.
#[derive(Debug)]
pub(crate) struct Plan {
    /// In order; the first is [`Step::First`].
    pub(crate) steps: Vec<Step>,
    /// Directories of the nights that the steps take.
    pub(crate) nights: Vec<PathBuf>,
    /// Names of the images, the same in every night.
    pub(crate) images: Vec<String>,
}

impl Plan {
    /// Where a night's images are, in the directory that was named.
    pub(crate) fn images_of(&self, night: usize) -> Vec<PathBuf> {
        let night = self.nights.get(night).into_iter();
        night.flat_map(|night| self.images.iter().map(|name| night.join(name))).collect()
    }

    /// The image that is restored, and copied to raw.
    pub(crate) fn image(&self) -> &str {
        self.images.first().map_or("", String::as_str)
    }

    /// Name of its raw copy.
    pub(crate) fn raw_name(&self) -> String {
        format!("{}.raw", self.image().trim_end_matches(".qcow2"))
    }

    /// The backup whose image [`Step::Restore`] restores.
    pub(crate) fn restored(&self) -> Step {
        let nights = self.steps.iter().filter(|step| step.night().is_some());
        nights.max().copied().unwrap_or(Step::First)
    }

    pub(crate) fn has(&self, step: Step) -> bool {
        self.steps.contains(&step)
    }

    /// What a step is, in a sentence.
    pub(crate) fn title(&self, step: Step) -> String {
        let names = self.images.join(" ");
        match step {
            Step::First => format!("night 1 ({names}) into an empty repository"),
            Step::Untouched => "the same images again, untouched".to_owned(),
            Step::Touched => "the same images with another mtime: everything is read".to_owned(),
            Step::Next => "night 2 of the same images, at the same paths".to_owned(),
            Step::Third => "night 3 of the same images, at the same paths".to_owned(),
            Step::Raw => format!("{}, night 1's {} as raw disk", self.raw_name(), self.image()),
            Step::Restore => {
                format!("one image, {}, as of backup {}", self.image(), self.restored().name())
            }
            Step::RestoreRaw => format!("the raw disk {}", self.raw_name()),
        }
    }
}

/// Chooses steps and files. No step asked for: all that there are nights for, and with `raw` those of the raw copy.
pub(crate) fn plan(images: &Path, asked: &[Step], raw: bool) -> Result<Plan> {
    let night_count = (1..=3).take_while(|n| images.join(format!("n{n}")).is_dir()).count();
    let steps = choose_steps(asked, night_count, raw)?;
    let last = steps.iter().filter_map(|step| step.night()).max().unwrap_or(0);
    let nights: Vec<_> = (1..=last + 1).map(|n| images.join(format!("n{n}"))).collect();
    let first = images.join("n1");
    let mut names = Vec::new();
    for entry in fs::read_dir(&first).map_err(|e| format!("{}: {e}", first.display()))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.ends_with(".qcow2") {
            names.push(name);
        }
    }
    names.sort();
    if names.is_empty() {
        return Err(format!("{} has no NAME.qcow2", first.display()).into());
    }
    let plan = Plan { steps, nights, images: names };
    for image in (0..plan.nights.len()).flat_map(|night| plan.images_of(night)) {
        if !image.is_file() {
            return Err(format!("{} is missing", image.display()).into());
        }
    }
    Ok(plan)
}

fn choose_steps(asked: &[Step], night_count: usize, raw: bool) -> Result<Vec<Step>> {
    let there = |step: &Step| match step {
        Step::Raw | Step::RestoreRaw => raw,
        step => step.night().is_none_or(|night| night < night_count),
    };
    if !there(&Step::First) {
        return Err("--images needs a directory n1 in it".into());
    }
    if asked.is_empty() {
        return Ok(Step::ALL.into_iter().filter(there).collect());
    }
    if let Some(step) = asked.iter().find(|step| !there(step)) {
        return Err(format!("there is no night, or no qemu-img, for step {}", step.name()).into());
    }
    if asked.contains(&Step::RestoreRaw) && !asked.contains(&Step::Raw) {
        return Err("step restore-raw needs step raw".into());
    }
    // Everything stands on the first backup.
    let chosen = |step: &Step| *step == Step::First || asked.contains(step);
    Ok(Step::ALL.into_iter().filter(chosen).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn images(files: &[&str]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        for file in files {
            let path = directory.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "x").unwrap();
        }
        directory
    }

    #[test]
    fn files_are_the_qcow2_images_of_night_1_by_name() {
        let files =
            ["n1/mail.qcow2", "n1/app.qcow2", "n1/app.raw", "n2/app.qcow2", "n2/mail.qcow2"];
        let directory = images(&files);
        let plan = plan(directory.path(), &[], true).unwrap();
        assert_eq!(plan.images, ["app.qcow2", "mail.qcow2"]);
        assert_eq!((plan.image(), plan.raw_name().as_str()), ("app.qcow2", "app.raw"));
        assert_eq!(plan.nights.len(), 2);
        assert!(!plan.has(Step::Third) && plan.has(Step::RestoreRaw));
        assert_eq!(plan.restored(), Step::Next);
    }

    #[test]
    fn a_night_without_an_image_is_refused_only_if_it_is_needed() {
        let directory = images(&["n1/a.qcow2", "n1/b.qcow2", "n2/a.qcow2"]);
        let error = plan(directory.path(), &[], true).unwrap_err().to_string();
        assert!(error.ends_with("n2/b.qcow2 is missing"), "{error}");
        let one = plan(directory.path(), &[Step::Restore, Step::Touched], true).unwrap();
        assert_eq!(one.steps, [Step::First, Step::Touched, Step::Restore]);
        assert_eq!((one.nights.len(), one.restored()), (1, Step::Touched));
    }

    #[test]
    fn steps_that_cannot_be_are_refused() {
        let directory = images(&["n1/a.qcow2"]);
        assert!(plan(directory.path(), &[Step::Next], true).is_err());
        assert!(plan(directory.path(), &[Step::RestoreRaw], true).is_err());
        assert!(plan(directory.path(), &[Step::Raw], false).is_err());
        assert!(!plan(directory.path(), &[], false).unwrap().has(Step::RestoreRaw));
        assert!(plan(images(&["n1/a.raw"]).path(), &[], true).is_err());
        assert!(plan(images(&[]).path(), &[], true).is_err());
    }
}

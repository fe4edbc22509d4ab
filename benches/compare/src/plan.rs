//! What is measured: the steps in their order, and the files that each takes.
//!
//! In: a directory with nights `n1`, `n2`, `n3` of images, and a preset or the steps that are asked for. Out: [`Plan`].
//! Promises: nights are compared by the images that night 1 has; a later night without one of them is an error.

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
    /// Night 1 of three disks, into an empty repository.
    #[value(skip)]
    Three,
    /// Their night 2.
    #[value(skip)]
    ThreeNext,
    /// The three as they are, and two large disks that are new.
    #[value(skip)]
    Five,
    /// Night 3 of all five.
    #[value(skip)]
    FiveNext,
    /// The five with another mtime.
    #[value(skip)]
    FiveTouched,
    /// one image of the last night
    Restore,
    /// the raw copy
    RestoreRaw,
    /// One of the three, of the first backup.
    #[value(skip)]
    RestoreOldest,
    /// One of the three, of the last backup.
    #[value(skip)]
    RestoreSmall,
    /// A large disk, of the last backup.
    #[value(skip)]
    RestoreLarge,
}

impl Step {
    /// The steps on nights of images.
    const NIGHTS: [Self; 8] = [
        Self::First,
        Self::Untouched,
        Self::Touched,
        Self::Next,
        Self::Third,
        Self::Raw,
        Self::Restore,
        Self::RestoreRaw,
    ];
    /// The steps of [`Preset::Seed`].
    const SEED: [Self; 8] = [
        Self::Three,
        Self::ThreeNext,
        Self::Five,
        Self::FiveNext,
        Self::FiveTouched,
        Self::RestoreOldest,
        Self::RestoreSmall,
        Self::RestoreLarge,
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
            Self::Three => "three",
            Self::ThreeNext => "three-next",
            Self::Five => "five",
            Self::FiveNext => "five-next",
            Self::FiveTouched => "five-touched",
            Self::Restore => "restore",
            Self::RestoreRaw => "restore-raw",
            Self::RestoreOldest => "restore-oldest",
            Self::RestoreSmall => "restore-small",
            Self::RestoreLarge => "restore-large",
        }
    }

    pub(crate) fn is_backup(self) -> bool {
        self < Self::Restore
    }

    /// Whether it is the first backup into its repository.
    pub(crate) fn is_first(self) -> bool {
        matches!(self, Self::First | Self::Three)
    }

    /// Whether its files get another mtime before it.
    pub(crate) fn touches(self) -> bool {
        matches!(self, Self::Touched | Self::FiveTouched)
    }

    /// Whether the picture shows it: of nights what a user waits for, the rest stands in the tables.
    pub(crate) fn is_drawn(self) -> bool {
        match self {
            Self::First | Self::Next | Self::Restore => true,
            _ => Self::SEED.contains(&self),
        }
    }

    /// Which of [`Plan::nights`] lies at the paths of the images in this step; none if it takes none.
    pub(crate) fn night(self) -> Option<usize> {
        match self {
            Self::First | Self::Untouched | Self::Touched | Self::Three => Some(0),
            Self::Next | Self::ThreeNext => Some(1),
            Self::Third | Self::Five => Some(2),
            Self::FiveNext | Self::FiveTouched => Some(3),
            _ => None,
        }
    }
}

/// What is measured other than nights of images.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Preset {
    /// three and then five sparse raw disks: five backups, three restores
    Seed,
}

/// A file of a night.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Image {
    pub(crate) source: PathBuf,
    pub(crate) name: String,
    /// Its copy gets this length if it is shorter, the rest a hole; none: its own.
    pub(crate) len: Option<u64>,
}

/// What a comparison measures.
#[derive(Debug)]
pub(crate) struct Plan {
    /// In order; the first one [`Step::is_first`].
    pub(crate) steps: Vec<Step>,
    /// What lies at the paths of the images, one after the other. A source that comes again is the same file.
    pub(crate) nights: Vec<Vec<Image>>,
}

impl Plan {
    /// The files of a night.
    pub(crate) fn night(&self, night: usize) -> &[Image] {
        self.nights.get(night).map_or(&[], Vec::as_slice)
    }

    /// Names of the files of a night.
    pub(crate) fn names(&self, night: usize) -> Vec<String> {
        self.night(night).iter().map(|image| image.name.clone()).collect()
    }

    /// The image that is copied to raw.
    pub(crate) fn image(&self) -> &str {
        self.night(0).first().map_or("", |image| image.name.as_str())
    }

    /// Name of its raw copy.
    pub(crate) fn raw_name(&self) -> String {
        format!("{}.raw", self.image().trim_end_matches(".qcow2"))
    }

    /// What a restore takes: the backup, and the name of the file in it.
    pub(crate) fn restored(&self, restore: Step) -> (Step, String) {
        let image = self.image().to_owned();
        match restore {
            Step::RestoreRaw => (Step::Raw, self.raw_name()),
            Step::RestoreOldest => (Step::Three, image),
            Step::RestoreSmall => (Step::FiveTouched, image),
            Step::RestoreLarge => (Step::FiveTouched, self.names(3).pop().unwrap_or_default()),
            _ => {
                let nights = self.steps.iter().filter(|step| step.night().is_some());
                (nights.max().copied().unwrap_or(Step::First), image)
            }
        }
    }

    pub(crate) fn has(&self, step: Step) -> bool {
        self.steps.contains(&step)
    }

    /// What a step is, in a sentence.
    pub(crate) fn title(&self, step: Step) -> String {
        let names = |night| self.names(night).join(" ");
        match step {
            Step::First => format!("night 1 ({}) into an empty repository", names(0)),
            Step::Untouched => "the same images again, untouched".to_owned(),
            Step::Touched => "the same images with another mtime: everything is read".to_owned(),
            Step::Next => "night 2 of the same images, at the same paths".to_owned(),
            Step::Third => "night 3 of the same images, at the same paths".to_owned(),
            Step::Raw => format!("{}, night 1's {} as raw disk", self.raw_name(), self.image()),
            Step::Three => format!("night 1 of three disks ({}), empty repository", names(0)),
            Step::ThreeNext => "night 2 of the three".to_owned(),
            Step::Five => format!("the three as they are, two large ones are new ({})", names(2)),
            Step::FiveNext => "night 3 of the five".to_owned(),
            Step::FiveTouched => "the five with another mtime: everything is read".to_owned(),
            Step::RestoreRaw => format!("the raw disk {}", self.raw_name()),
            Step::Restore | Step::RestoreOldest | Step::RestoreSmall | Step::RestoreLarge => {
                let (backup, image) = self.restored(step);
                format!("one image, {image}, as of backup {}", backup.name())
            }
        }
    }
}

/// Chooses steps and files. No step asked for: all that there are nights for, and with `raw` those of the raw copy.
pub(crate) fn plan(images: &Path, asked: &[Step], raw: bool) -> Result<Plan> {
    let night_count = (1..=3).take_while(|n| images.join(format!("n{n}")).is_dir()).count();
    let steps = choose_steps(asked, night_count, raw)?;
    let last = steps.iter().filter_map(|step| step.night()).max().unwrap_or(0);
    let names = names(&images.join("n1"), ".qcow2")?;
    let night = |n| names.iter().map(|name| image(images, n, name, None)).collect();
    let nights = (1..=last + 1).map(night).collect::<Result<_>>()?;
    Ok(Plan { steps, nights })
}

/// Lengths of all files of a backup of three, and of one of five, in GB, in the article that [`Preset::Seed`] follows.
const SEED_LENS: (u64, u64) = (50, 470);

/// The first five raw disks by name: three as they are, and two that get the length that keeps the proportion of
/// [`SEED_LENS`]. They are whole file systems; what the two get is a hole.
pub(crate) fn seed(images: &Path) -> Result<Plan> {
    let mut names = names(&images.join("n1"), ".raw")?;
    if names.len() < 5 {
        return Err(format!("{} has fewer than five NAME.raw", images.join("n1").display()).into());
    }
    let large = names.split_off(3).into_iter().take(2).collect::<Vec<_>>();
    let night = |names: &[String], n, len| {
        names.iter().map(|name| image(images, n, name, len)).collect::<Result<Vec<_>>>()
    };
    let three = [night(&names, 1, None)?, night(&names, 2, None)?, night(&names, 3, None)?];
    // As if all were as long as the longest of them ever is.
    let mut three_len = 0;
    for image in three.iter().flatten() {
        three_len = three_len.max(fs::metadata(&image.source)?.len() * 3);
    }
    let (three_of, five_of) = SEED_LENS;
    let len = Some(three_len / three_of * (five_of - three_of) / 2);
    let [first, second, third] = three;
    let five = [second.clone(), night(&large, 2, len)?].concat();
    let nights = vec![first, second, five, [third, night(&large, 3, len)?].concat()];
    Ok(Plan { steps: Step::SEED.to_vec(), nights })
}

/// Names of the files in a directory that end in `ending`, sorted; at least one.
fn names(directory: &Path, ending: &str) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory).map_err(|e| format!("{}: {e}", directory.display()))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.ends_with(ending) {
            names.push(name);
        }
    }
    names.sort();
    if names.is_empty() {
        return Err(format!("{} has no NAME{ending}", directory.display()).into());
    }
    Ok(names)
}

/// An image of night `n`, counted from 1.
fn image(images: &Path, n: usize, name: &str, len: Option<u64>) -> Result<Image> {
    let source = images.join(format!("n{n}")).join(name);
    if !source.is_file() {
        return Err(format!("{} is missing", source.display()).into());
    }
    Ok(Image { source, name: name.to_owned(), len })
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
        return Ok(Step::NIGHTS.into_iter().filter(there).collect());
    }
    if let Some(step) = asked.iter().find(|step| !there(step)) {
        return Err(format!("there is no night, or no qemu-img, for step {}", step.name()).into());
    }
    if asked.contains(&Step::RestoreRaw) && !asked.contains(&Step::Raw) {
        return Err("step restore-raw needs step raw".into());
    }
    // Everything stands on the first backup.
    let chosen = |step: &Step| *step == Step::First || asked.contains(step);
    Ok(Step::NIGHTS.into_iter().filter(chosen).collect())
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
        assert_eq!(plan.names(1), ["app.qcow2", "mail.qcow2"]);
        assert_eq!((plan.image(), plan.raw_name().as_str()), ("app.qcow2", "app.raw"));
        assert_eq!(plan.nights.len(), 2);
        assert!(!plan.has(Step::Third) && plan.has(Step::RestoreRaw));
        assert_eq!(plan.restored(Step::Restore), (Step::Next, "app.qcow2".to_owned()));
    }

    #[test]
    fn a_night_without_an_image_is_refused_only_if_it_is_needed() {
        let directory = images(&["n1/a.qcow2", "n1/b.qcow2", "n2/a.qcow2"]);
        let error = plan(directory.path(), &[], true).unwrap_err().to_string();
        assert!(error.ends_with("n2/b.qcow2 is missing"), "{error}");
        let one = plan(directory.path(), &[Step::Restore, Step::Touched], true).unwrap();
        assert_eq!(one.steps, [Step::First, Step::Touched, Step::Restore]);
        assert_eq!((one.nights.len(), one.restored(Step::Restore).0), (1, Step::Touched));
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

    #[test]
    fn the_seed_has_three_disks_and_then_five_in_the_proportion_of_the_article() {
        let of = |n: usize| ["a", "b", "c", "d", "e", "f"].map(|name| format!("n{n}/{name}.raw"));
        let all = [of(1), of(2), of(3)].concat();
        let directory = images(&all.iter().map(String::as_str).collect::<Vec<_>>());
        for file in &all {
            fs::write(directory.path().join(file), vec![0; 500]).unwrap();
        }
        let plan = seed(directory.path()).unwrap();
        assert_eq!(plan.names(0), ["a.raw", "b.raw", "c.raw"]);
        assert_eq!(plan.names(3), ["a.raw", "b.raw", "c.raw", "d.raw", "e.raw"]);
        assert_eq!(plan.night(1), &plan.night(2)[..3]);
        let len: u64 = plan.night(3).iter().map(|image| image.len.unwrap_or(500)).sum();
        assert_eq!(len, 1500 / 50 * 470);
        assert_eq!(plan.restored(Step::RestoreLarge), (Step::FiveTouched, "e.raw".to_owned()));
        fs::remove_file(directory.path().join("n3/e.raw")).unwrap();
        assert!(seed(directory.path()).is_err());
        assert!(seed(images(&["n1/a.raw", "n1/b.raw"]).path()).is_err());
    }
}

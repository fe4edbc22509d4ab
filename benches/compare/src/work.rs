//! The work directory: copies of the images, put at the same paths night after night, and what is read there.
//!
//! In: a directory to work in, a [`Plan`]. Out: places. Promises: the images that were named are only read; everything
//! is written below one new directory, which is removed when [`Work`] goes; an image of another night replaces the one
//! before it at its path, as it does for a user; nothing here keeps more than some hundred KiB in memory.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, SystemTime};

use tempfile::TempDir;

use crate::Result;
use crate::plan::{Image, Plan};
use crate::process::{Call, Surroundings, check_stopped, measure};

/// Bytes read at a time; small, see `process`.
const READ_LEN: usize = 256 << 10;

/// Directory of the images, below [`Work::path`].
pub(crate) const IMAGES: &str = "images";
/// Directory of the raw copy.
pub(crate) const RAW: &str = "raw";
/// A small file below the directory of the images, written anew for every step, as a definition of the guests would be.
/// borg and attic never remember the newest file of a backup; without this one that would be an image. It has a directory
/// of its own because bupstash remembers whole directories.
pub(crate) const SMALL: &str = "conf/guests.txt";

/// How much there is of something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    /// Lengths of the files.
    pub(crate) len: u64,
    /// What they occupy, as `du` counts it.
    pub(crate) allocated: u64,
    pub(crate) files: u64,
}

impl Usage {
    fn add(&mut self, metadata: &fs::Metadata) {
        self.len += metadata.len();
        self.allocated += metadata.blocks() * 512;
        self.files += 1;
    }
}

/// The work directory.
#[derive(Debug)]
pub(crate) struct Work {
    directory: TempDir,
    /// The night that lies at the paths of the images.
    placed: Option<usize>,
}

impl Work {
    pub(crate) fn new(parent: &Path) -> Result<Self> {
        fs::create_dir_all(parent).map_err(|e| format!("{}: {e}", parent.display()))?;
        let parent = parent.canonicalize()?;
        let directory = tempfile::Builder::new().prefix("compare-").tempdir_in(parent)?;
        Ok(Self { directory, placed: None })
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn images(&self) -> PathBuf {
        self.path().join(IMAGES)
    }

    fn night(&self, night: usize) -> PathBuf {
        self.path().join(format!("night-{}", night + 1))
    }

    /// Copies the nights' images here, and makes the raw copy.
    pub(crate) fn fill(&self, plan: &Plan, qemu_img: Option<&Path>) -> Result<()> {
        for night in 0..plan.nights.len() {
            let to = self.night(night);
            fs::create_dir(&to)?;
            for image in plan.night(night) {
                self.place_copy(plan, night, image, &to.join(&image.name))?;
            }
        }
        fs::create_dir(self.path().join(RAW))?;
        if let Some(program) = qemu_img {
            let convert = Call::new(["convert", "-O", "raw"]);
            let from = self.night(0).join(plan.image());
            let to = self.path().join(RAW).join(plan.raw_name());
            self.run(program.to_owned(), convert.arg(from).arg(to))?;
        }
        Ok(())
    }

    /// An image that an earlier night has too is the same file: nothing changed it meanwhile.
    fn place_copy(&self, plan: &Plan, night: usize, image: &Image, to: &Path) -> Result<()> {
        if let Some(earlier) = (0..night).find(|&earlier| plan.night(earlier).contains(image)) {
            return Ok(fs::hard_link(self.night(earlier).join(&image.name), to)?);
        }
        self.run("cp".into(), Call::new(["--sparse=auto"]).arg(&image.source).arg(to))?;
        if let Some(len) = image.len {
            let copy = File::options().write(true).open(to)?;
            copy.set_len(copy.metadata()?.len().max(len))?;
        }
        Ok(())
    }

    fn run(&self, program: PathBuf, call: Call) -> Result<()> {
        let (directory, log) = (self.path().to_owned(), self.path().join("fill.log"));
        let surroundings = Surroundings { program, environment: Vec::new(), directory, log };
        measure(&surroundings, &[call]).map(drop)
    }

    /// Puts a night's images at their paths. The directory is renamed, so that the files' times stay.
    pub(crate) fn place(&mut self, night: usize) -> Result<()> {
        if self.placed == Some(night) {
            return Ok(());
        }
        if let Some(placed) = self.placed.take() {
            fs::rename(self.images(), self.night(placed))?;
        }
        fs::rename(self.night(night), self.images())?;
        self.placed = Some(night);
        Ok(())
    }

    /// Writes the small file anew.
    pub(crate) fn write_small(&self, text: &str) -> Result<()> {
        let path = self.images().join(SMALL);
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory)?;
        }
        Ok(fs::write(path, text)?)
    }

    /// Where an image of a night lies now.
    pub(crate) fn image(&self, night: usize, name: &str) -> PathBuf {
        let directory = if self.placed == Some(night) { self.images() } else { self.night(night) };
        directory.join(name)
    }
}

/// Gives files a new mtime, and waits until it is old: a file changed within seconds before a backup is not trusted by it.
pub(crate) fn touch(files: &[PathBuf]) -> Result<()> {
    for file in files {
        File::options().append(true).open(file)?.set_modified(SystemTime::now())?;
    }
    thread::sleep(Duration::from_secs(3));
    Ok(())
}

/// The files below a directory.
pub(crate) fn files(directory: &Path) -> Result<Vec<PathBuf>> {
    let (mut files, mut open) = (Vec::new(), vec![directory.to_owned()]);
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() {
                open.push(entry.path());
            } else if kind.is_file() {
                files.push(entry.path());
            }
        }
    }
    files.sort();
    Ok(files)
}

/// What files take together.
pub(crate) fn usage(files: &[PathBuf]) -> Result<Usage> {
    let mut usage = Usage::default();
    for file in files {
        usage.add(&fs::metadata(file)?);
    }
    Ok(usage)
}

/// Reads the data of files, not their holes, so that it is in the page cache.
pub(crate) fn warm(files: &[PathBuf]) -> Result<()> {
    let mut buffer = vec![0; READ_LEN];
    for path in files {
        let mut file = File::open(path)?;
        let len = file.metadata()?.len();
        let mut at = 0;
        while at < len {
            let Ok(start) = rustix::fs::seek(&file, rustix::fs::SeekFrom::Data(at)) else { break };
            let end = rustix::fs::seek(&file, rustix::fs::SeekFrom::Hole(start)).unwrap_or(len);
            file.seek(SeekFrom::Start(start))?;
            let mut extent = (&mut file).take(end.saturating_sub(start));
            while extent.read(&mut buffer)? > 0 {
                check_stopped()?;
            }
            at = end.max(start + 1);
        }
    }
    Ok(())
}

/// BLAKE3 of a file.
pub(crate) fn digest(path: &Path) -> Result<blake3::Hash> {
    let mut file = File::open(path).map_err(|e| format!("{}: {e}", path.display()))?;
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; READ_LEN];
    loop {
        check_stopped()?;
        match file.read(&mut buffer) {
            Ok(0) => return Ok(hasher.finalize()),
            Ok(len) => hasher.update(buffer.get(..len).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error.into()),
        };
    }
}

/// The one file below `directory` that is called `name`.
pub(crate) fn find(directory: &Path, name: &str) -> Result<PathBuf> {
    let found = files(directory)?.into_iter().find(|f| f.file_name().is_some_and(|n| n == name));
    found.ok_or_else(|| format!("{name} was not restored").into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::plan;

    #[test]
    fn nights_take_turns_at_one_path_and_the_images_named_stay() {
        let images = tempfile::tempdir().unwrap();
        for night in ["n1", "n2"] {
            fs::create_dir(images.path().join(night)).unwrap();
            fs::write(images.path().join(night).join("a.qcow2"), night).unwrap();
        }
        let parent = tempfile::tempdir().unwrap();
        let mut work = Work::new(parent.path()).unwrap();
        work.fill(&plan(images.path(), &[], false).unwrap(), None).unwrap();
        let read = |work: &Work| fs::read_to_string(work.images().join("a.qcow2")).unwrap();
        for (night, text) in [(0, "n1"), (0, "n1"), (1, "n2"), (0, "n1")] {
            work.place(night).unwrap();
            assert_eq!(read(&work), text);
        }
        assert_eq!(work.image(0, "a.qcow2"), work.images().join("a.qcow2"));
        assert_eq!(fs::read_to_string(work.image(1, "a.qcow2")).unwrap(), "n2");
        work.write_small("x").unwrap();
        let all = files(&work.images()).unwrap();
        assert_eq!(usage(&all).unwrap().len, 3);
        assert_eq!(find(work.path(), "a.qcow2").unwrap(), work.image(0, "a.qcow2"));
        warm(&all).unwrap();
        drop(work);
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0);
        assert_eq!(files(images.path()).unwrap().len(), 2);
    }

    #[test]
    fn the_digest_is_that_of_the_bytes() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), vec![7; READ_LEN + 1]).unwrap();
        assert_eq!(digest(file.path()).unwrap(), blake3::hash(&vec![7; READ_LEN + 1]));
    }
}

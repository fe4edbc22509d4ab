//! `garret demo`: two nights of backups and one restore, timed, in a directory of its own.
//!
//! In: sample images that it makes itself, or images of the user, which are only read. Out: a table, also of other programs,
//! and a restored image whose SHA-256 is that of the original, left for the user to look at. Everything else is removed, also
//! after an error or a signal.

mod digest;
mod leave;
mod others;
mod sample;

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use garret_core::{
    AllocationMode, BackupOptions, Cause, Destination, Form, InitOptions, Input, LocalStore,
    Problem, Progress, RestoreOptions, Secret, Selection, Sharing, Unlocked,
};
use garret_format::config::KeyMode;
use tempfile::TempDir;

use garret_cli::args::Threads;
use garret_cli::failure::Failure;
use garret_cli::ui::Ui;
use garret_cli::{render, surroundings};
use leave::Leaving;
use others::{Other, Took, Tool};

/// Free space beyond what the sizes say: directories, indexes, the packs that are being written.
const SPARE_BYTES: u64 = 200_000_000;

/// Arguments of `demo`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Work below this directory [default: the one for temporary files]
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,
    /// Do the same with these too, as far as they are installed, and show them in the same table
    #[arg(long, value_name = "TOOL", value_delimiter = ',')]
    against: Vec<Tool>,
    #[command(flatten)]
    threads: Threads,
    /// Images or block devices to use instead of samples
    #[arg(value_name = "IMAGE")]
    images: Vec<PathBuf>,
}

pub(crate) fn run(args: &Args, ui: &Ui) -> Result<(), Failure> {
    let parent = args.directory.clone().unwrap_or_else(std::env::temp_dir);
    let parent = parent.canonicalize().map_err(|error| failed(&parent, &error))?;
    let samples = args.images.is_empty();
    let images = args.images.iter().map(|path| own_image(path)).collect::<Result<Vec<_>, _>>()?;
    check_space(&parent, space_needed(&images).saturating_mul(1 + args.against.len() as u64))?;
    let place = tempfile::Builder::new().prefix("garret-demo-").tempdir_in(&parent);
    let place = place.map_err(|error| failed(&parent, &error))?;
    let leaving = Leaving::watch(place.path().to_owned());
    ui.print(&format!("garret demo in {}\n\n", place.path().display()))?;
    let images = if samples { sample_images(&place, ui)? } else { images };
    let mut options = surroundings::backup_options(&place.path().into())?;
    options.threads = args.threads.count();
    let others = others(&args.against, place.path(), &leaving, ui)?;
    let tour = Tour {
        store: make_repository(&place.path().join("repository"))?,
        options,
        images,
        others,
        leaving: &leaving,
        place,
        ui,
    };
    let ended = tour.go(samples);
    leaving.settle();
    ended
}

/// Those of the tools that are installed, each once.
fn others(tools: &[Tool], place: &Path, leaving: &Leaving, ui: &Ui) -> Result<Vec<Other>, Failure> {
    let mut others: Vec<Other> = Vec::new();
    for (number, tool) in tools.iter().enumerate() {
        if tools.iter().take(number).any(|before| before == tool) {
            continue;
        }
        match Other::begin(*tool, place, leaving)? {
            Some(other) => others.push(other),
            None => ui.notice(&format!("note: {} is not installed, and is left out", tool.name())),
        }
    }
    Ok(others)
}

/// An image and how many bytes of disk it takes.
struct Image {
    path: PathBuf,
    len: u64,
    data_bytes: u64,
}

fn own_image(path: &Path) -> Result<Image, Failure> {
    let metadata = path.metadata().map_err(|error| failed(path, &error))?;
    let kind = metadata.file_type();
    if !kind.is_file() && !kind.is_block_device() {
        let text = format!("{} is neither a file nor a block device", path.display());
        return Err(Failure::Fatal(text));
    }
    let opened = fs::File::open(path).and_then(|mut file| {
        use std::io::{Seek, SeekFrom};
        file.seek(SeekFrom::End(0))
    });
    let len = opened.map_err(|error| failed(path, &error))?;
    let data_bytes = if kind.is_file() { metadata.blocks() * 512 } else { len };
    Ok(Image { path: path.to_owned(), len, data_bytes })
}

/// The worst case: nothing compresses, no two blocks are equal.
fn space_needed(images: &[Image]) -> u64 {
    let restored = images.first().map_or(sample::DATA_BYTES, |image| image.data_bytes);
    let stored = match images {
        [] => 4 * sample::DATA_BYTES,
        _ => images.iter().map(|image| image.data_bytes).sum(),
    };
    restored + stored + SPARE_BYTES
}

fn check_space(directory: &Path, needed: u64) -> Result<(), Failure> {
    let stat = rustix::fs::statvfs(directory).map_err(|error| failed(directory, &error.into()))?;
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    match free >= needed {
        true => Ok(()),
        false => Err(Failure::Fatal(format!(
            "{} has {} free, the demo may need {}: give another place with --directory",
            directory.display(),
            render::size(free),
            render::size(needed)
        ))),
    }
}

/// Makes the samples and goes to where they are, so that their names in the archives are short.
fn sample_images(place: &TempDir, ui: &Ui) -> Result<Vec<Image>, Failure> {
    let directory = place.path().join("images");
    fs::create_dir(&directory).map_err(|error| failed(&directory, &error))?;
    std::env::set_current_dir(&directory).map_err(|error| failed(&directory, &error))?;
    let images = sample::NAMES.iter().enumerate().map(|(number, name)| {
        let path = PathBuf::from(name);
        sample::make(&path, number as u64).map_err(|error| failed(&path, &error))?;
        Ok(Image { path, len: sample::LEN, data_bytes: sample::DATA_BYTES })
    });
    let images = images.collect::<Result<Vec<_>, Failure>>()?;
    let (len, data) = totals(&images);
    let names = sample::NAMES.join(" and ");
    let (len, data) = (render::size(len), render::size(data));
    ui.print(&format!("Made {names}: {len}, of which {data} are data and the rest holes.\n\n"))?;
    Ok(images)
}

fn totals(images: &[Image]) -> (u64, u64) {
    let sum = |part: fn(&Image) -> u64| images.iter().map(part).sum();
    (sum(|image| image.len), sum(|image| image.data_bytes))
}

fn make_repository(path: &Path) -> Result<PathBuf, Failure> {
    let store = LocalStore::create(path, Sharing::Private).map_err(garret_core::Error::from)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let now = i64::try_from(now).unwrap_or(i64::MAX);
    let options = InitOptions::new(KeyMode::None, Default::default(), now);
    garret_core::init(&store, &options, &mut |_, _| Ok(()))?;
    Ok(path.to_owned())
}

/// The tour itself.
struct Tour<'u> {
    place: TempDir,
    store: PathBuf,
    options: BackupOptions,
    images: Vec<Image>,
    others: Vec<Other>,
    leaving: &'u Leaving,
    ui: &'u Ui,
}

impl Tour<'_> {
    fn go(mut self, samples: bool) -> Result<(), Failure> {
        self.ui.print(&row(["step", "size GB", "seconds", "s/GB", "new data", "repository"]))?;
        self.backup("night-1", "first backup")?;
        if samples {
            for (number, image) in self.images.iter().enumerate() {
                sample::change(&image.path, number as u64)
                    .map_err(|error| failed(&image.path, &error))?;
            }
        }
        self.backup("night-2", "second night")?;
        let Some(image) = self.images.first() else { return Ok(()) };
        let restored = self.restore(image)?;
        self.compare(&image.path, &restored)?;
        self.finish(&restored)
    }

    fn unlocked(&self) -> Result<Unlocked, Failure> {
        let store = LocalStore::open(&self.store).map_err(garret_core::Error::from)?;
        let locked = garret_core::open(store)?;
        let keys = locked.unlock(Secret::None)?;
        Ok(locked.with(keys).cache(Some(&self.place.path().join("cache"))))
    }

    fn backup(&mut self, archive: &str, step: &str) -> Result<(), Failure> {
        let started = Instant::now();
        let mut repository = self.unlocked()?.writer(self.ui)?;
        let inputs = self.images.iter().map(|image| Input::Path(image.path.clone())).collect();
        let report = repository.backup(archive, inputs, &self.options, self.ui)?;
        let seconds = started.elapsed().as_secs_f64();
        let len = report.archive.archive.original_len;
        let new = render::size(report.written.pack_bytes);
        let stored = render::size(repository.stored_len()?);
        self.ui.print(&timed_row(step, len, seconds, &new, &stored))?;
        let images: Vec<&Path> = self.images.iter().map(|image| image.path.as_path()).collect();
        for other in &mut self.others {
            let Took { seconds, new, stored } = other.back_up(archive, &images, self.leaving)?;
            let (new, stored) = (render::size(new), render::size(stored));
            self.ui.print(&timed_row(
                &format!("  {}", other.name()),
                len,
                seconds,
                &new,
                &stored,
            ))?;
        }
        Ok(())
    }

    /// Restores one image of the last archive; gives where it is.
    fn restore(&self, image: &Image) -> Result<PathBuf, Failure> {
        let started = Instant::now();
        let repository = self.unlocked()?.reader(self.ui)?;
        let archive = repository.archive("night-2")?;
        let wanted = repository.items(&archive).next().transpose()?.map(|item| item.path);
        let wanted = wanted.unwrap_or_default();
        let root = self.place.path().join("restored");
        let mut options = RestoreOptions::default();
        options.allocation = AllocationMode::Sparse;
        options.form = Form::Stored;
        options.threads = self.options.threads;
        let mut selection = Selection::new([wanted.clone()]);
        let destination = Destination::Directory(root.clone());
        repository.restore(&archive, &mut selection, destination, &options, self.ui)?;
        let seconds = started.elapsed().as_secs_f64();
        self.ui.print(&timed_row("restore of one", image.len, seconds, "", ""))?;
        for other in &self.others {
            let seconds = other.restore(&image.path, self.leaving)?;
            self.ui.print(&timed_row(
                &format!("  {}", other.name()),
                image.len,
                seconds,
                "",
                "",
            ))?;
        }
        use std::os::unix::ffi::OsStrExt;
        Ok(root.join(std::ffi::OsStr::from_bytes(&wanted)))
    }

    fn compare(&self, original: &Path, restored: &Path) -> Result<(), Failure> {
        let (before, after) = digest::pair(original, restored, self.ui)?;
        let name = original.file_name().unwrap_or_default().to_string_lossy();
        let verdict = if before == after { "the same" } else { "NOT the same" };
        self.ui.print(&format!(
            "\nSHA-256 of {name}\n  original  {before}\n  restored  {after}  {verdict}\n"
        ))?;
        if before != after {
            let name = render::one_line(&name);
            let text = format!(
                "{name}: the restored image is not the original, or that changed meanwhile"
            );
            self.ui.report(&Problem::new(Cause::Changed, Some(name), text));
        }
        Ok(())
    }

    /// Removes all but the restored image.
    fn finish(self, restored: &Path) -> Result<(), Failure> {
        let place = self.place.keep();
        for name in ["images", "repository", "cache", "borg", "restic"] {
            let path = place.join(name);
            match fs::remove_dir_all(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    let path = path.display().to_string();
                    let text = format!("{path}: cannot remove: {error}");
                    self.ui.report(&Problem::new(Cause::Other, Some(path), text));
                }
                _ => {}
            }
        }
        self.ui.print(&format!(
            "\nThe restored image is yours: {}\nEverything else that the demo made is removed.\n",
            restored.display()
        ))
    }
}

fn row([step, size, seconds, pace, new, stored]: [&str; 6]) -> String {
    let line = format!("{step:<16} {size:>8} {seconds:>9} {pace:>7} {new:>11} {stored:>11}");
    format!("{}\n", line.trim_end())
}

fn timed_row(step: &str, len: u64, seconds: f64, new: &str, stored: &str) -> String {
    let size = format!("{:.2}", len as f64 / 1e9);
    let pace = render::seconds_per_gb(seconds, len);
    row([step, &size, &format!("{seconds:.2}"), &pace, new, stored])
}

fn failed(path: &Path, error: &std::io::Error) -> Failure {
    Failure::io(path.display(), error)
}

//! `garret drill`: restores an image to see that it can be restored, and remembers what came of it.
//!
//! In: a repository, and perhaps an image. Out: seconds, a digest, a result that `list` and `info` show. Promises: nothing of
//! the image is left behind; a drill that goes wrong is an error, and remembered as one.

mod scratch;

use std::ffi::OsString;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use blake3::Hash;
use garret_cli::args::{Threads, Usual};
use garret_cli::drills::{self, Drill};
use garret_cli::failure::Failure;
use garret_cli::location::Location;
use garret_cli::record::{self, Record};
use garret_cli::ui::Ui;
use garret_cli::{render, session};
use garret_core::{
    Cause, Destination, FileMetadata, NamedArchive, Repository, RestoreOptions, Selection,
};
use garret_format::archive::{Item, ItemKind, Time};
use serde_json::{Value, json};

use super::extract::place::outside;
use super::info;
use crate::nights::{Chosen, Nights};
use crate::{digest, location};
use scratch::Scratch;

/// Arguments of `drill`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// From this archive, or the newest of this day, as in 2026-11-20 [default: any complete one]
    #[arg(long, value_name = "NAME|DAY")]
    at: Option<String>,
    /// Write the image to a file in DIR and read it back, before it is removed [default: write nothing]
    #[arg(long, value_name = "DIR")]
    scratch: Option<PathBuf>,
    /// Show everything as one JSON document
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    threads: Threads,
    #[command(flatten)]
    usual: Usual,
    /// The repository
    #[arg(value_name = "REPO")]
    repository: OsString,
    /// The image: its path, its file name, or a pattern that stands for it alone [default: any, large ones more often]
    #[arg(value_name = "IMAGE")]
    image: Option<OsString>,
}

pub(crate) fn run(args: &Args, ui: &Ui) -> Result<(), Failure> {
    args.usual.tell(ui);
    let path = location::repository(&args.repository)?;
    if let Some(scratch) = &args.scratch {
        outside(scratch, &path)?;
    }
    let repository = session::reader(&path, ui)?;
    let nights = Nights::at(&repository, &path, args.at.as_deref(), ui)?;
    let (archive, item) = match &args.image {
        Some(image) => {
            let Chosen { archive, items } = nights.choose(std::slice::from_ref(image), ui)?;
            let item = items.into_iter().next();
            (archive, item.ok_or_else(|| nothing(&path))?)
        }
        None => draw(&nights)?.ok_or_else(|| nothing(&path))?,
    };
    let threads = args.threads.count();
    let trial = Trial { repository: &repository, archive: &archive, item: &item, threads };
    // What goes wrong until here says nothing of the image.
    let scratch = args.scratch.as_deref().map(|home| trial.scratch(home)).transpose()?;
    let started = Instant::now();
    let restored = trial.run(scratch.as_ref(), ui);
    drop(scratch);
    let (seconds, digest) = match &restored {
        Ok((seconds, digest)) => (*seconds, Some(*digest)),
        Err(_) => (started.elapsed().as_secs_f64(), None),
    };
    let drill = Drill {
        time: jiff::Timestamp::now().as_second(),
        archive: archive.name.clone(),
        id: record::hex(&archive.fingerprint),
        path: render::name(&item.path),
        size: item.size,
        seconds,
        restored: restored.is_ok(),
    };
    drills::note(repository.id(), drill.clone(), ui);
    if args.json {
        let archive = Record::of_archive(&archive, &repository.tags(ui)?).json();
        let repository = info::repository_record(&repository, &path).json();
        let drill = json(&drill, archive, &item, digest, args);
        ui.print(&record::document(&json!({ "repository": repository, "drill": drill })))?;
    } else if let Some(digest) = digest {
        ui.print(&text(&drill, digest))?;
    }
    restored.map(drop)
}

fn nothing(path: &Location) -> Failure {
    Failure::Because(Cause::Missing, format!("{} has no image to restore", path.display()))
}

/// A file of one of the archives that come first, complete ones if there are any: the one that a byte lies in which is drawn
/// out of all of that archive.
fn draw(nights: &Nights<'_>) -> Result<Option<(NamedArchive, Item)>, Failure> {
    let complete = nights.archives.iter().filter(|found| found.archive.is_complete()).count();
    let among = if complete > 0 { complete } else { nights.archives.len() };
    let place = usize::try_from(number(among as u64)).unwrap_or_default();
    let Some(archive) = nights.archives.get(place) else { return Ok(None) };
    let files = || {
        let items = nights.repository.items(archive);
        items.filter(|item| !matches!(item, Ok(item) if !matches!(item.kind, ItemKind::File(_))))
    };
    let mut all = 0u64;
    for item in files() {
        all = all.saturating_add(item?.size);
    }
    let mut left = number(all);
    let mut last = None;
    for item in files() {
        let item = item?;
        let is_it = item.size > left;
        left = left.saturating_sub(item.size);
        last = Some((archive.clone(), item));
        if is_it {
            break;
        }
    }
    Ok(last)
}

/// A number below `bound`, another each time; 0 if there is none.
fn number(bound: u64) -> u64 {
    RandomState::new().build_hasher().finish().checked_rem(bound).unwrap_or_default()
}

/// What is restored, and how.
struct Trial<'a> {
    repository: &'a Repository,
    archive: &'a NamedArchive,
    item: &'a Item,
    threads: usize,
}

impl Trial<'_> {
    /// A place for the image in `home`, if there is room for it.
    fn scratch(&self, home: &Path) -> Result<Scratch, Failure> {
        let scratch = Scratch::new(home).map_err(|error| Failure::io(home.display(), &error))?;
        let (mut selection, to) = (self.selection(), destination(&scratch));
        let options = self.options();
        let preview =
            self.repository.preview_restore(self.archive, &mut selection, &to, &options, false)?;
        if preview.needed > preview.free {
            let [needed, free] = [preview.needed, preview.free].map(render::size);
            let home = home.display();
            let text = format!(
                "{home}: up to {needed} are needed and {free} are free: give another --scratch, or none"
            );
            return Err(Failure::Because(Cause::Full, text));
        }
        Ok(scratch)
    }

    /// How long the restore took, and the digest of what came back.
    fn run(&self, scratch: Option<&Scratch>, ui: &Ui) -> Result<(f64, Hash), Failure> {
        let Trial { repository, archive, item, threads } = *self;
        let started = Instant::now();
        let stored = || digest::stored(repository, archive, &item.path, threads, ui);
        let Some(scratch) = scratch else {
            let (digest, _) = stored()?;
            return Ok((started.elapsed().as_secs_f64(), digest));
        };
        let (mut selection, to) = (self.selection(), destination(scratch));
        let report = repository.restore(archive, &mut selection, to, &self.options(), ui)?;
        let seconds = started.elapsed().as_secs_f64();
        if report.file_count == 0 {
            return Err(self.wrong("it was not restored"));
        }
        let there = digest::on_disk(&scratch.file(), item.size, ui)?;
        let (stored, _) = stored()?;
        match there == stored {
            true => Ok((seconds, there)),
            false => {
                Err(self.wrong(&format!("BLAKE3 is {there} on the disk and {stored} as stored")))
            }
        }
    }

    fn selection(&self) -> Selection {
        Selection::new([self.item.path.clone()])
    }

    fn options(&self) -> RestoreOptions {
        let mut options = RestoreOptions::default();
        options.threads = self.threads;
        options
    }

    fn wrong(&self, why: &str) -> Failure {
        let [path, name] = [&self.item.path[..], self.archive.name.as_bytes()].map(render::name);
        Failure::Because(Cause::Damaged, format!("{path} of {name}: the drill failed: {why}"))
    }
}

fn destination(scratch: &Scratch) -> Destination<'static> {
    let metadata = FileMetadata::OfPlace { mode: 0o600 };
    Destination::File { path: scratch.file(), metadata }
}

/// `images/app.raw of night-2: restored, 4.19 GB in 5.1 s, 1.22 s/GB`, and the digest.
fn text(drill: &Drill, digest: Hash) -> String {
    let Drill { archive, path, size, seconds, .. } = drill;
    let (archive, pace) = (render::name(archive), render::seconds_per_gb(*seconds, *size));
    let size = render::size(*size);
    format!(
        "{path} of {archive}: restored, {size} in {seconds:.1} s, {pace} s/GB\nBLAKE3: {digest}\n"
    )
}

fn json(drill: &Drill, archive: Value, item: &Item, digest: Option<Hash>, args: &Args) -> Value {
    let scratch = args.scratch.as_ref().map(|path| path.clone().into_os_string().into_vec());
    let record = Record::default()
        .with("time", render::iso_time(Time { secs: drill.time, nanos: 0 }))
        .with("archive", archive)
        .with_path(&item.path)
        .with("size", drill.size)
        .with("duration", drill.seconds)
        .with("restored", drill.restored)
        .with("blake3", digest.map(|digest| digest.to_hex().to_string()));
    record.and(&record::path_or_null(["scratch", "scratch_hex"], scratch.as_deref())).json()
}

//! `garret extract`: restores an archive.

pub(super) mod place;

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use garret_core::{
    AllocationMode, Cause, ColdPacks, Form, NamedArchive, Patterns, Preview, Progress, Repository,
    RestoreOptions, RestoreReport,
};
use garret_format::archive::Item;

use super::info;
use crate::archives::{self, Searched};
use crate::excludes::Excludes;
use crate::location;
use garret_cli::args::{LockWait, PassphraseFile, Threads};
use garret_cli::failure::Failure;
use garret_cli::location::Location;
use garret_cli::record::{self, Record};
use garret_cli::ui::Ui;
use garret_cli::{render, session, surroundings, warm};
use place::Place;

/// Which zeros become holes.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum AllocationName {
    /// every zero page becomes a hole
    Sparse,
    /// holes where the source had them
    Exact,
    /// no holes
    Full,
}

/// What disk images come back as.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum FormName {
    /// the guest's disk of a qcow2 image, as NAME.raw; other files as they were
    Raw,
}

/// How and where to restore: what `extract` and `restore` share.
#[derive(Debug, clap::Args)]
pub(super) struct How {
    /// Restore below this directory, which is made if it is missing [default: the current one]
    #[arg(short = 'C', long, value_name = "DIR")]
    destination: Option<PathBuf>,
    /// Restore the one selected file as FILE, whatever its name
    #[arg(short, long, value_name = "FILE", conflicts_with_all = ["destination", "strip_components"])]
    output: Option<PathBuf>,
    /// Write the one selected file to this block device, zeros too
    #[arg(long, value_name = "DEVICE")]
    #[arg(conflicts_with_all = ["destination", "output", "allocation", "strip_components"])]
    to_device: Option<PathBuf>,
    /// Write the content of the one selected file to standard output
    #[arg(long, conflicts_with_all = ["destination", "output", "to_device", "allocation"])]
    stdout: bool,
    /// Read and verify everything, write nothing
    #[arg(short = 'n', long)]
    #[arg(conflicts_with_all = ["destination", "output", "to_device", "allocation", "stdout"])]
    dry_run: bool,
    /// Of damaged files restore what is left, as NAME.damaged, with zeros for what is lost
    #[arg(long, conflicts_with_all = ["to_device", "stdout"])]
    salvage: bool,
    /// Run this line of the shell before packs in a second place are read: it gets their names, and brings them back
    #[arg(long, value_name = "COMMAND")]
    warm_up: Option<OsString>,
    /// Show the names of the packs in a second place that would be read, one on each line, and do nothing else
    #[arg(long)]
    #[arg(conflicts_with_all = ["warm_up", "json", "stdout", "dry_run", "verbose"])]
    packs_needed: bool,
    /// Replace images that a virtual machine has open
    #[arg(long)]
    force: bool,
    /// Begin even if there seems to be too little room
    #[arg(long)]
    ignore_space: bool,
    /// What gets disk space [default: sparse]
    #[arg(long, value_name = "MODE")]
    allocation: Option<AllocationName>,
    /// Write disk images in this form instead of as they were
    #[arg(long = "as", value_name = "FORM", conflicts_with = "dry_run")]
    form: Option<FormName>,
    #[command(flatten)]
    excludes: Excludes,
    /// Give files to owners by number, whatever the names
    #[arg(long)]
    numeric_owner: bool,
    /// Leave out the first N parts of each path; what has no more is not restored
    #[arg(long, value_name = "N", default_value_t = 0)]
    strip_components: usize,
    #[command(flatten)]
    threads: Threads,
    #[command(flatten)]
    lock_wait: LockWait,
    #[command(flatten)]
    passphrase: PassphraseFile,
    /// Show what was restored as JSON, and nothing else
    #[arg(long, conflicts_with_all = ["stdout", "verbose"])]
    json: bool,
    /// Show each path
    #[arg(short, long, conflicts_with = "stdout")]
    verbose: bool,
}

/// Where it goes, and what is left out.
pub(super) struct Plan {
    pub(super) place: Place,
    exclude: Patterns,
    /// Whether what is read can be.
    is_warm: bool,
}

/// Arguments of `extract`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    how: How,
    /// The archive
    #[arg(value_name = "REPO::NAME")]
    archive: OsString,
    /// Only these paths and what is below them
    #[arg(value_name = "PATH")]
    paths: Vec<OsString>,
}

pub(crate) fn run(args: Args, ui: &Ui) -> Result<(), Failure> {
    args.how.tell(ui);
    let (path, name) = location::archive(&args.archive, &args.paths)?;
    let plan = args.how.plan(&path)?;
    let repository = session::reader(&path, ui)?;
    let archive = archives::find(&repository, &name, ui)?;
    let wanted = Wanted {
        repository: &repository,
        location: &path,
        archive: &archive,
        paths: &args.paths,
        item: None,
    };
    restore(&wanted, &args.how, plan, ui).map(drop)
}

/// What is to be restored.
pub(super) struct Wanted<'a> {
    pub(super) repository: &'a Repository,
    /// Of the repository, as the user gave it.
    pub(super) location: &'a Location,
    pub(super) archive: &'a NamedArchive,
    /// All of it if there are none.
    pub(super) paths: &'a [OsString],
    /// The one file that this is, if it is known.
    pub(super) item: Option<&'a Item>,
}

impl How {
    /// Has the repository opened as these options say.
    pub(super) fn tell(&self, ui: &Ui) {
        ui.set_verbose(self.verbose);
        self.lock_wait.tell(ui);
        self.passphrase.tell(ui);
    }

    /// What the options say, if it can be done from the repository at `path`.
    pub(super) fn plan(&self, path: &Location) -> Result<Plan, Failure> {
        self.plan_for(self.place(path)?)
    }

    /// The same, to this place.
    pub(super) fn plan_for(&self, place: Place) -> Result<Plan, Failure> {
        if let (Some(FormName::Raw), Some(AllocationName::Exact)) = (self.form, self.allocation) {
            let why = "--allocation exact is about files as they were; leave out --as".to_owned();
            return Err(Failure::Usage(why));
        }
        Ok(Plan { place, exclude: self.excludes.patterns()?, is_warm: false })
    }

    fn place(&self, path: &Location) -> Result<Place, Failure> {
        let here = Path::new(".");
        match (&self.to_device, &self.output) {
            _ if self.stdout => Place::stream(),
            _ if self.dry_run || self.packs_needed => Ok(Place::Nowhere),
            (Some(device), _) => Ok(Place::Device(device.clone())),
            (None, Some(file)) => Place::file(file, path),
            (None, None) => Place::directory(self.destination.as_deref().unwrap_or(here), path),
        }
    }

    /// Whether the options say where it goes.
    pub(super) fn has_place(&self) -> bool {
        let place = self.destination.as_ref().or(self.output.as_ref()).or(self.to_device.as_ref());
        place.is_some() || self.stdout || self.dry_run || self.packs_needed
    }

    /// Whether files come back as they are stored, under their own paths.
    pub(super) fn keeps_paths(&self) -> bool {
        self.form.is_none() && self.strip_components == 0
    }

    /// Whether a document is printed in place of texts.
    pub(super) fn is_json(&self) -> bool {
        self.json
    }

    /// How many threads do the work.
    pub(super) fn thread_count(&self) -> usize {
        self.threads.count()
    }

    /// Whether what is left of damaged files is wanted.
    pub(super) fn salvages(&self) -> bool {
        self.salvage
    }
}

/// Has what would be read brought back from a second place, once. Gives the names of the packs if they are only to be shown.
pub(super) fn warm(
    wanted: &Wanted<'_>,
    how: &How,
    plan: &mut Plan,
    ui: &Ui,
) -> Result<Option<String>, Failure> {
    let is_asked = how.packs_needed || how.warm_up.is_some();
    if std::mem::replace(&mut plan.is_warm, true) || !is_asked {
        return Ok(None);
    }
    let Wanted { repository, location, archive, paths, .. } = *wanted;
    if !matches!(location, Location::Split { .. }) {
        let text =
            "no packs lie in a second place: leave out --warm-up and --packs-needed".to_owned();
        return Err(Failure::Usage(text));
    }
    let mut selection = archives::selection(paths).without(plan.exclude.clone());
    let ColdPacks { packs, lost_count, .. } =
        repository.cold_packs(archive, &mut selection, &options(how))?;
    if lost_count > 0 {
        let files = render::plural(lost_count, "file");
        ui.complain(&format!(
            "Warning: {files} may need more packs: what they need is damaged or lost"
        ));
    }
    let names = warm::names(location, packs.keys());
    if let Some(line) = &how.warm_up {
        let (count, len) = (packs.len() as u64, packs.values().sum());
        let packs = render::plural(count, "pack");
        ui.notice(&format!("note: --warm-up brings back {packs}, {}", render::size(len)));
        warm::bring_back(line, location, &names)?;
    }
    Ok(how.packs_needed.then_some(names))
}

/// What a restore would meet.
pub(super) fn preview(wanted: &Wanted<'_>, how: &How, plan: &mut Plan) -> Result<Preview, Failure> {
    let Wanted { repository, archive, paths, .. } = *wanted;
    let mut selection = archives::selection(paths).without(plan.exclude.clone());
    let destination = plan.place.destination();
    Ok(repository.preview_restore(archive, &mut selection, &destination, &options(how), false)?)
}

/// Restores it, and says in one line on a terminal what came of it.
pub(super) fn restore(
    wanted: &Wanted<'_>,
    how: &How,
    mut plan: Plan,
    ui: &Ui,
) -> Result<RestoreReport, Failure> {
    let Wanted { repository, archive, .. } = *wanted;
    if let Some(names) = warm(wanted, how, &mut plan, ui)? {
        ui.print(&names)?;
        return Ok(RestoreReport::default());
    }
    if archive.archive.name != archive.name {
        // Renamed by hand, or swapped with another by whoever holds the storage: only the user can tell.
        let made_as = render::one_line(&archive.archive.name);
        ui.notice(&format!(
            "note: archive {} was made as {made_as}",
            render::one_line(&archive.name)
        ));
    }
    let (options, Plan { mut place, exclude, .. }) = (options(how), plan);
    let mut selection = archives::selection(wanted.paths).without(exclude);
    let mut ahead = selection.clone();
    let ask = ui.can_ask();
    let destination = place.destination();
    let preview = repository.preview_restore(archive, &mut ahead, &destination, &options, ask)?;
    consider(&preview, how.ignore_space, ui)?;
    let started = Instant::now();
    let report = repository.restore(archive, &mut selection, destination, &options, ui);
    let used = match &report {
        Ok(report) => report.used_count > 0,
        Err(error) => error.is_in_use(),
    };
    if used {
        ui.notice(
            "note: stop the virtual machines that use these images, or replace them with --force",
        );
    }
    let report = report?;
    if report.problem_count > 0 && matches!(wanted.location, Location::Split { .. }) {
        ui.notice(
            "note: --packs-needed shows which packs have to be readable in the second place, --warm-up COMMAND brings them \
             back",
        );
    }
    if report.file_count > 0 {
        ui.done(&outcome(wanted, &place, &report, started.elapsed()));
    }
    if how.json {
        document(wanted, &place, &report, started.elapsed(), ui)?;
    }
    let searched = Searched { repository, location: wanted.location, archives: &[archive] };
    searched.complain(&report.unmatched, ui)?;
    Ok(report)
}

/// What was restored, and where to, for programs.
fn document(
    wanted: &Wanted<'_>,
    place: &Place,
    report: &RestoreReport,
    elapsed: Duration,
    ui: &Ui,
) -> Result<(), Failure> {
    let Wanted { repository, location, archive, .. } = *wanted;
    let unmatched = report.unmatched.iter().map(|word| String::from_utf8_lossy(word).into_owned());
    let destination = place.path().map(|path| path.as_os_str().as_bytes());
    let all = Record::default()
        .with("repository", info::repository_record(repository, location).json())
        .with("archive", Record::of_archive(archive, &repository.tags(ui)?).json())
        .and(&record::path_or_null(["destination", "destination_hex"], destination))
        .with("files", report.file_count)
        .with("size", report.bytes)
        .with("duration", elapsed.as_secs_f64())
        .with("problems", report.problem_count)
        .with("unmatched", unmatched.collect::<Vec<String>>());
    ui.print(&record::document(&all.json()))
}

/// `Restored app.raw of night-2 to ./images/app.raw: 4.19 GB in 12.3 s`
fn outcome(
    wanted: &Wanted<'_>,
    place: &Place,
    report: &RestoreReport,
    elapsed: Duration,
) -> String {
    let what = match wanted.paths {
        [path] if report.file_count == 1 => render::name(path.as_bytes()),
        _ => render::plural(report.file_count, "file"),
    };
    let what = format!("{what} of {}", render::name(&wanted.archive.name));
    let done = place.done(&what, wanted.item);
    let (size, seconds) = (render::size(report.bytes), elapsed.as_secs_f64());
    format!("{done}: {size} in {seconds:.1} s")
}

/// How to restore.
fn options(how: &How) -> RestoreOptions {
    let [users, groups] =
        if how.numeric_owner { Default::default() } else { surroundings::numbers() };
    let mut options = RestoreOptions::default();
    options.allocation = match how.allocation {
        None | Some(AllocationName::Sparse) => AllocationMode::Sparse,
        Some(AllocationName::Exact) => AllocationMode::Exact,
        Some(AllocationName::Full) => AllocationMode::Full,
    };
    options.form = match how.form {
        None => Form::Stored,
        Some(FormName::Raw) => Form::Raw,
    };
    options.threads = how.threads.count();
    options.owners = rustix::process::geteuid().is_root();
    options.users = users;
    options.groups = groups;
    options.strip = how.strip_components;
    options.replace_used = how.force;
    options.salvage = how.salvage;
    options
}

/// Newer files that a question names.
const NEWER_SHOWN: usize = 10;

/// Ends a restore before it begins if there is no room for it, or if newer files would be replaced and the user says no.
fn consider(preview: &Preview, ignore_space: bool, ui: &Ui) -> Result<(), Failure> {
    let Preview { needed, free, newer, .. } = preview;
    if needed > free && !ignore_space {
        let text = format!(
            "up to {} are needed and {} are free: make room, restore to another place, or begin all the same with \
             --ignore-space",
            render::size(*needed),
            render::size(*free)
        );
        return Err(Failure::Because(Cause::Full, text));
    }
    if newer.is_empty() {
        return Ok(());
    }
    let mut question = "These files are newer than what the archive has of them:\n".to_owned();
    for path in newer.iter().take(NEWER_SHOWN) {
        question += &format!("  {}\n", render::one_line(&path.to_string_lossy()));
    }
    if let Some(more @ 1..) = newer.len().checked_sub(NEWER_SHOWN) {
        question += &format!("  and {more} more\n");
    }
    match ui.ask(&(question + "Replace them? [y/N] "))?.as_str() {
        "y" | "Y" | "yes" => Ok(()),
        _ => Err(Failure::Fatal(
            "nothing was restored: name the PATHs to restore, or another --destination".to_owned(),
        )),
    }
}

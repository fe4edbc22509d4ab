//! `garret extract`: restores an archive.

use std::ffi::OsString;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use garret_core::{
    AllocationMode, Destination, FileMetadata, Form, Preview, Progress, RestoreOptions,
};

use crate::archives::{self, Searched};
use crate::excludes::Excludes;
use crate::location;
use garret_cli::args::{LockWait, PassphraseFile, Threads};
use garret_cli::failure::Failure;
use garret_cli::pipes::{self, Unfit};
use garret_cli::ui::Ui;
use garret_cli::{render, session, surroundings};

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

/// Arguments of `extract`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Restore below this directory, which is made if it is missing [default: the current one]
    #[arg(long, value_name = "DIR")]
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
    /// Show each path
    #[arg(short, long, conflicts_with = "stdout")]
    verbose: bool,
    /// The archive
    #[arg(value_name = "REPO::NAME")]
    archive: OsString,
    /// Only these paths and what is below them
    #[arg(value_name = "PATH")]
    paths: Vec<OsString>,
}

pub(crate) fn run(args: Args, ui: &Ui) -> Result<(), Failure> {
    ui.set_verbose(args.verbose);
    args.lock_wait.tell(ui);
    args.passphrase.tell(ui);
    if let (Some(FormName::Raw), Some(AllocationName::Exact)) = (args.form, args.allocation) {
        let why = "--allocation exact is about files as they were; leave out --as".to_owned();
        return Err(Failure::Usage(why));
    }
    let (path, name) = location::archive(&args.archive, &args.paths)?;
    let mut out = args.stdout.then(standard_output).transpose()?;
    let options = options(&args);
    let exclude = args.excludes.patterns()?;
    let destination = if let Some(out) = &mut out {
        Destination::Stream(out)
    } else if args.dry_run {
        Destination::Nowhere
    } else if let Some(device) = args.to_device {
        Destination::Device(device)
    } else if let Some(path) = args.output {
        Destination::File { path, metadata: FileMetadata::OfItem }
    } else {
        Destination::Directory(args.destination.unwrap_or_else(|| PathBuf::from(".")))
    };
    // Before anybody is asked for a passphrase.
    match &destination {
        Destination::Directory(place) => outside(place, &path)?,
        Destination::File { path: place, .. } => {
            fit_for_file(place)?;
            outside(place, &path)?;
        }
        Destination::Device(_) | Destination::Stream(_) | Destination::Nowhere => {}
    }
    let repository = session::reader(&path, ui)?;
    let archive = archives::find(&repository, &name, ui)?;
    if archive.archive.name != archive.name {
        // Renamed by hand, or swapped with another by whoever holds the storage: only the user can tell.
        let made_as = render::one_line(&archive.archive.name);
        ui.notice(&format!(
            "note: archive {} was made as {made_as}",
            render::one_line(&archive.name)
        ));
    }
    let mut selection = archives::selection(&args.paths).without(exclude);
    let mut ahead = selection.clone();
    let ask = ui.can_ask();
    let preview = repository.preview_restore(&archive, &mut ahead, &destination, &options, ask)?;
    consider(&preview, args.ignore_space, ui)?;
    let report = repository.restore(&archive, &mut selection, destination, &options, ui);
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
    let searched = Searched { repository: &repository, path: &path, archives: &[&archive] };
    searched.complain(&report.unmatched, ui)
}

/// How to restore.
fn options(args: &Args) -> RestoreOptions {
    let [users, groups] =
        if args.numeric_owner { Default::default() } else { surroundings::numbers() };
    let mut options = RestoreOptions::default();
    options.allocation = match args.allocation {
        None | Some(AllocationName::Sparse) => AllocationMode::Sparse,
        Some(AllocationName::Exact) => AllocationMode::Exact,
        Some(AllocationName::Full) => AllocationMode::Full,
    };
    options.form = match args.form {
        None => Form::Stored,
        Some(FormName::Raw) => Form::Raw,
    };
    options.threads = args.threads.count();
    options.owners = rustix::process::geteuid().is_root();
    options.users = users;
    options.groups = groups;
    options.strip = args.strip_components;
    options.replace_used = args.force;
    options.salvage = args.salvage;
    options
}

/// Refuses a place in the repository: what is written there can damage all that is in it.
fn outside(place: &Path, repository: &Path) -> Result<(), Failure> {
    match surroundings::is_in(place, repository) {
        true => Err(Failure::Fatal(format!(
            "{} is in the repository: restore to another place",
            render::one_line(&place.to_string_lossy())
        ))),
        false => Ok(()),
    }
}

/// Refuses a place where no regular file can be, or that is a mistake.
fn fit_for_file(path: &Path) -> Result<(), Failure> {
    let shown = render::one_line(&path.to_string_lossy());
    if path == "-" {
        return Err(Failure::Usage(
            "-o makes a file: for standard output, give --stdout".to_owned(),
        ));
    }
    let bytes = path.as_os_str().as_bytes();
    if bytes.ends_with(b"/") || path.file_name().is_none() {
        let text = format!("{shown} is a directory: give -o the name of a file in it");
        return Err(Failure::Usage(text));
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let parent = parent.unwrap_or(Path::new("."));
    let fatal = |why: &str| Err(Failure::Fatal(format!("{shown}: {why}")));
    match fs::metadata(path).map(|metadata| metadata.file_type()) {
        Ok(kind) if kind.is_block_device() => fatal("it is a block device: give it to --to-device"),
        Ok(kind) if !kind.is_file() && !kind.is_dir() => {
            fatal("it is not a regular file; for a stream, give --stdout")
        }
        // Such as /dev/stdout.
        Ok(_) if is_of_the_kernel(parent) => {
            fatal("it is no place for a file; for a stream, give --stdout")
        }
        Ok(_) => Ok(()),
        Err(_) if !parent.is_dir() => fatal("the directory it is to be in does not exist"),
        // A mistyped name of a device would fill the memory.
        Err(_) if is_of_the_kernel(parent) => fatal("there is no such device"),
        Err(_) => Ok(()),
    }
}

/// Whether the kernel makes what is in a directory.
fn is_of_the_kernel(directory: &Path) -> bool {
    directory.canonicalize().is_ok_and(|real| {
        let devices = real.starts_with("/dev") && !real.starts_with("/dev/shm");
        devices || real.starts_with("/proc") || real.starts_with("/sys")
    })
}

/// Newer files that a question names.
const NEWER_SHOWN: usize = 10;

/// Ends a restore before it begins if there is no room for it, or if newer files would be replaced and the user says no.
fn consider(preview: &Preview, ignore_space: bool, ui: &Ui) -> Result<(), Failure> {
    let Preview { needed, free, newer, .. } = preview;
    if needed > free && !ignore_space {
        return Err(Failure::Fatal(format!(
            "up to {} are needed and {} are free: make room, restore to another place, or begin all the same with \
             --ignore-space",
            render::size(*needed),
            render::size(*free)
        )));
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

/// Standard output, if data may go there.
fn standard_output() -> Result<File, Failure> {
    let why = match pipes::output()? {
        Ok(file) => return Ok(file),
        Err(Unfit::Terminal) => "a terminal",
        Err(Unfit::Closed) => "closed, or /dev/null",
    };
    let text = format!("standard output is {why}: give --stdout a file or a pipe, or --dry-run");
    Err(Failure::Usage(text))
}

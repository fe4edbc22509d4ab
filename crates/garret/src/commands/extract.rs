//! `garret extract`: restores an archive.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use engine::{Access, AllocationMode, Destination, Form, Progress, RestoreOptions, Selection};

use crate::excludes::Excludes;
use crate::location;
use cli::args::{LockWait, Threads};
use cli::failure::Failure;
use cli::ui::Ui;
use cli::{render, session, surroundings};

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
    /// Write the contents to standard output
    #[arg(long, conflicts_with_all = ["destination", "allocation"])]
    stdout: bool,
    /// Read and verify everything, write nothing
    #[arg(short = 'n', long, conflicts_with_all = ["destination", "allocation", "stdout"])]
    dry_run: bool,
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
    if let (Some(FormName::Raw), Some(AllocationName::Exact)) = (args.form, args.allocation) {
        let why = "--allocation exact is about files as they were; leave out --as".to_owned();
        return Err(Failure::Usage(why));
    }
    let (path, name) = location::archive(&args.archive)?;
    let exclude = args.excludes.patterns()?;
    let repository = session::open(&path, Access::Read, ui)?;
    let archive = repository.archive(&name)?;
    if archive.archive.name != name {
        // Renamed by hand, or swapped with another by whoever holds the storage: only the user can tell.
        let made_as = render::one_line(&archive.archive.name);
        ui.wait(&format!("note: archive {} was made as {made_as}", render::one_line(&name)));
    }
    let paths = args.paths.into_iter().map(OsString::into_vec);
    let mut selection = Selection::new(paths).without(exclude);
    let [users, groups] =
        if args.numeric_owner { Default::default() } else { surroundings::numbers() };
    let options = RestoreOptions {
        allocation: match args.allocation {
            None | Some(AllocationName::Sparse) => AllocationMode::Sparse,
            Some(AllocationName::Exact) => AllocationMode::Exact,
            Some(AllocationName::Full) => AllocationMode::Full,
        },
        form: match args.form {
            None => Form::Stored,
            Some(FormName::Raw) => Form::Raw,
        },
        threads: args.threads.count(),
        owners: rustix::process::geteuid().is_root(),
        users,
        groups,
        strip: args.strip_components,
    };
    let mut out;
    let destination = if args.stdout {
        out = raw_stdout()?;
        Destination::Stream(&mut out)
    } else if args.dry_run {
        Destination::Nowhere
    } else {
        let here = || PathBuf::from(".");
        Destination::Directory(args.destination.unwrap_or_else(here))
    };
    let report = engine::restore(&repository, &archive, &mut selection, destination, &options, ui)?;
    for path in report.unmatched {
        let path = String::from_utf8_lossy(&path).into_owned();
        ui.report(&format!("{path}: not in archive {name}"));
    }
    Ok(())
}

/// Standard output without the line buffer that std puts in front of it: images have no lines.
fn raw_stdout() -> Result<File, Failure> {
    let owned = io::stdout().as_fd().try_clone_to_owned();
    owned.map(File::from).map_err(|error| Failure::io("standard output", &error))
}

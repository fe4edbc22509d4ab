//! `garret extract`: restores an archive.

use std::ffi::OsString;
use std::fs::File;
use std::path::PathBuf;

use engine::{Access, AllocationMode, Destination, Form, Progress, RestoreOptions};

use crate::archives::{self, Searched};
use crate::excludes::Excludes;
use crate::location;
use cli::args::Threads;
use cli::failure::Failure;
use cli::pipes::{self, Unfit};
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
    if let (Some(FormName::Raw), Some(AllocationName::Exact)) = (args.form, args.allocation) {
        let why = "--allocation exact is about files as they were; leave out --as".to_owned();
        return Err(Failure::Usage(why));
    }
    let (path, name) = location::archive(&args.archive, &args.paths)?;
    let mut out = args.stdout.then(standard_output).transpose()?;
    let exclude = args.excludes.patterns()?;
    let repository = session::open(&path, Access::Read, ui)?;
    let archive = archives::find(&repository, &name, ui)?;
    if archive.archive.name != archive.name {
        // Renamed by hand, or swapped with another by whoever holds the storage: only the user can tell.
        let made_as = render::one_line(&archive.archive.name);
        ui.wait(&format!(
            "note: archive {} was made as {made_as}",
            render::one_line(&archive.name)
        ));
    }
    let mut selection = archives::selection(&args.paths).without(exclude);
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
    let destination = if let Some(out) = &mut out {
        Destination::Stream(out)
    } else if args.dry_run {
        Destination::Nowhere
    } else {
        let here = || PathBuf::from(".");
        Destination::Directory(args.destination.unwrap_or_else(here))
    };
    let report = engine::restore(&repository, &archive, &mut selection, destination, &options, ui)?;
    let searched = Searched { repository: &repository, path: &path, archives: &[&archive] };
    searched.complain(&report.unmatched, ui)
}

/// Standard output, if data may go there.
fn standard_output() -> Result<File, Failure> {
    let why = match pipes::output()? {
        Ok(file) => return Ok(file),
        Err(Unfit::Terminal) => "a terminal",
        Err(Unfit::Closed) => "closed",
    };
    let text = format!("standard output is {why}: give --stdout a file or a pipe, or --dry-run");
    Err(Failure::Usage(text))
}

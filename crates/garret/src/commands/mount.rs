//! `garret mount`: archives as directories, in the background until they are unmounted.
//!
//! ```text
//! mount -> the same program in the background: asks, opens, mounts, says so -> leaves the terminal, until unmounted
//!          ends when it has said so
//! ```

use std::ffi::OsString;
use std::io::{BufRead, BufReader, ErrorKind};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use garret_cli::args::Usual;
use garret_cli::failure::Failure;
use garret_cli::signals::Ending;
use garret_cli::surroundings;
use garret_cli::ui::Ui;
use garret_core::Progress;
use garret_view::mount::{Mounted, Owners, Shown};

use crate::disks::Cache;
use crate::{archives, location};

/// How often it is looked for a signal, and for what went wrong.
const LOOK_TIME: Duration = Duration::from_millis(100);

/// Is set for the program that is started in the background, and is to say when it has mounted.
const ANNOUNCES: &str = "GARRET_MOUNT_ANNOUNCES";

/// What is wrong with a directory at which another mount was killed.
const GONE: &str = "has a mount whose program is gone: umount it first";

/// What a program in the background says when all is there.
const MOUNTED: &str = "mounted";

/// Arguments of `mount`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Stay in the foreground: Ctrl-C unmounts
    #[arg(short, long)]
    foreground: bool,
    /// allow_other: other users see it too, each what the permissions of the files let him; ignore_permissions: whoever sees
    /// it may read all of it
    #[arg(short, long, value_name = "OPTION", value_delimiter = ',')]
    options: Vec<MountOption>,
    /// Give files the owners that they have by number, not by name
    #[arg(long)]
    numeric_owner: bool,
    #[command(flatten)]
    cache: Cache,
    #[command(flatten)]
    usual: Usual,
    /// The repository, each archive of which is a directory, or an archive
    #[arg(value_name = "REPO[::NAME]")]
    location: OsString,
    /// Where: a directory
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

/// What is written behind -o.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
#[value(rename_all = "snake_case")]
enum MountOption {
    AllowOther,
    IgnorePermissions,
}

pub(crate) fn run(args: &Args, ui: &Ui) -> Result<(), Failure> {
    let announces = std::env::var_os(ANNOUNCES).is_some();
    if !args.foreground && !announces {
        return in_background();
    }
    args.usual.tell(ui);
    let directory = &args.directory;
    let why = match directory.metadata() {
        Ok(found) if found.is_dir() => None,
        Ok(_) => Some("is no directory".to_owned()),
        Err(error) if error.kind() == ErrorKind::NotFound => Some("does not exist".to_owned()),
        Err(error) if error.kind() == ErrorKind::NotConnected => Some(GONE.to_owned()),
        Err(error) => Some(format!("cannot be looked at: {error}")),
    };
    if let Some(why) = why {
        return Err(Failure::Fatal(format!("{} {why}", directory.display())));
    }
    let (location, name) = location::either(&args.location)?;
    let repository = args.cache.open(&location, ui)?;
    let in_full = name.is_none();
    let archives = match name {
        Some(name) => vec![archives::find(&repository, &name, ui)?],
        None => archives::oldest_first(&repository, ui)?,
    };
    let [users, groups] =
        if args.numeric_owner { Default::default() } else { surroundings::numbers() };
    let owners = Owners { users, groups };
    let shown = Shown { repository: (*repository).clone(), archives, in_full, owners };
    let ending = Ending::watch();
    let mounted = args.mount(shown, directory).map_err(|error| cannot(directory, &error))?;
    if announces {
        leave(ui)?;
    } else {
        ui.done(&format!("{} is mounted; Ctrl-C unmounts it", directory.display()));
    }
    while mounted.is_there() && ending.signal().is_none() {
        mounted.heard().for_each(|problem| ui.problem(&problem));
        repository.tell(ui);
        thread::sleep(LOOK_TIME);
    }
    mounted.heard().for_each(|problem| ui.problem(&problem));
    mounted.end().map_err(|error| Failure::io(directory.display(), &error))
}

impl Args {
    /// Mounts what is shown.
    fn mount(&self, shown: Shown, directory: &Path) -> std::io::Result<Mounted> {
        let has = |option| self.options.contains(&option);
        let (others, ignore) = (has(MountOption::AllowOther), has(MountOption::IgnorePermissions));
        Mounted::new(shown, directory, others, !ignore)
    }
}

/// Why it cannot be mounted, and what to do.
fn cannot(directory: &Path, error: &std::io::Error) -> Failure {
    let advice = match error.kind() {
        // The kernel may still know what it was.
        ErrorKind::NotConnected => {
            return Failure::Fatal(format!("{} {GONE}", directory.display()));
        }
        std::io::ErrorKind::NotFound => "; install fuse3, which mounts for users, or be root",
        std::io::ErrorKind::PermissionDenied => {
            "; a user needs fusermount3 of fuse3, and for allow_other user_allow_other in /etc/fuse.conf"
        }
        _ => "",
    };
    Failure::Fatal(format!("cannot mount at {}: {error}{advice}", directory.display()))
}

/// Has the same program do it, until it has mounted. It may ask on the terminal until then.
fn in_background() -> Result<(), Failure> {
    let program = std::env::current_exe().map_err(|error| Failure::io("this program", &error))?;
    let mut command = Command::new(program);
    command.args(std::env::args_os().skip(1)).env(ANNOUNCES, "1").stdout(Stdio::piped());
    let mut child = command.spawn().map_err(|error| Failure::io("this program", &error))?;
    let mut said = String::new();
    if let Some(stdout) = child.stdout.take() {
        // What it says before it is gone is nothing, which is no line of ours.
        let _nothing = BufReader::new(stdout).read_line(&mut said);
    }
    if said.trim_end() == MOUNTED {
        return Ok(());
    }
    let status = child.wait().map_err(|error| Failure::io("this program", &error))?;
    // It has said why.
    Err(Failure::Told(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1)))
}

/// Says that it has mounted, and has nothing to do with the terminal any more.
fn leave(ui: &Ui) -> Result<(), Failure> {
    ui.print(&format!("{MOUNTED}\n"))?;
    let wrong = |error: rustix::io::Errno| Failure::io("/dev/null", &error.into());
    let null = std::fs::File::options().read(true).write(true).open("/dev/null");
    let null = null.map_err(|error| Failure::io("/dev/null", &error))?;
    rustix::stdio::dup2_stdin(&null).map_err(wrong)?;
    rustix::stdio::dup2_stdout(&null).map_err(wrong)?;
    rustix::stdio::dup2_stderr(&null).map_err(wrong)?;
    // Whoever leads a session already, has no terminal to leave.
    let _leads = rustix::process::setsid();
    Ok(())
}

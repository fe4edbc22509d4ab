//! `garret nbd`: images of an archive as disks, for whoever speaks NBD.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use garret_cli::args::Usual;
use garret_cli::failure::Failure;
use garret_cli::location::Location;
use garret_cli::signals::Ending;
use garret_cli::ui::Ui;
use garret_core::{NamedArchive, Repository, Selection};
use garret_format::archive::ItemKind;
use garret_view::{ArchiveExports, Exports};

use crate::archives::{self, Searched};
use crate::disks::{Cache, Door};
use crate::location;

/// Exports that are told of one by one; of more there is `nbdinfo --list`.
const TOLD_MAX: usize = 20;

/// How often it is looked for a signal that ends the program.
const LOOK_TIME: Duration = Duration::from_millis(100);

/// Arguments of `nbd`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Listen at this socket, which is made for this user alone [default: one in a new directory]
    #[arg(long, value_name = "PATH", conflicts_with = "listen")]
    socket: Option<PathBuf>,
    /// Listen at this address of this host, where every user of it can connect: 127.0.0.1:10809
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
    /// Serve all archives of REPO, each file as NAME::PATH
    #[arg(long)]
    repo_wide: bool,
    #[command(flatten)]
    cache: Cache,
    #[command(flatten)]
    usual: Usual,
    /// The archive; with --repo-wide the repository
    #[arg(value_name = "REPO[::NAME]")]
    location: OsString,
    /// Only these paths of the archive and what is below them
    #[arg(value_name = "PATH", conflicts_with = "repo_wide")]
    paths: Vec<OsString>,
}

pub(crate) fn run(args: Args, ui: &Ui) -> Result<(), Failure> {
    args.usual.tell(ui);
    if args.repo_wide {
        let location = location::repository(&args.location)?;
        let repository = args.cache.open(&location, ui)?;
        let archives = archives::oldest_first(&repository, ui)?;
        return serve(&args, &location, &ArchiveExports::of_all(&repository, &archives, ui), ui);
    }
    let (location, name) = location::archive(&args.location, &args.paths)?;
    let repository = args.cache.open(&location, ui)?;
    let archive = archives::find(&repository, &name, ui)?;
    let words: Vec<Vec<u8>> = args.paths.iter().cloned().map(OsString::into_vec).collect();
    has_files(&repository, &location, &archive, &words, ui)?;
    serve(&args, &location, &ArchiveExports::of(&repository, &archive, words, ui), ui)
}

/// Reports words that name nothing.
///
/// # Errors
/// Nothing that is selected is a file.
fn has_files(
    repository: &Repository,
    location: &Location,
    archive: &NamedArchive,
    words: &[Vec<u8>],
    ui: &Ui,
) -> Result<(), Failure> {
    let mut selection = Selection::new(words.to_vec());
    let mut has_file = false;
    repository.visit_items(archive, &mut selection, |item| {
        has_file |= matches!(item.kind, ItemKind::File(_) | ItemKind::HardLink(_));
        Ok::<(), Failure>(())
    })?;
    let searched = Searched { repository, location, archives: &[archive] };
    searched.complain(&selection.unmatched(), ui)?;
    match has_file {
        true => Ok(()),
        false => Err(Failure::Fatal(format!(
            "nothing of archive {} that is selected is a file: there is nothing to serve",
            archive.name
        ))),
    }
}

fn serve(args: &Args, location: &Location, exports: &dyn Exports, ui: &Ui) -> Result<(), Failure> {
    let ending = Ending::watch();
    let door = match (Door::given()?, &args.socket, args.listen) {
        (Some(given), ..) => given,
        (None, Some(path), _) => Door::socket(path)?,
        (None, None, Some(address)) => Door::address(address)?,
        (None, None, None) => Door::private()?,
    };
    door.serve(location, exports, |is_there| {
        tell(&door, exports, ui)?;
        while ending.signal().is_none() && is_there() {
            thread::sleep(LOOK_TIME);
        }
        Ok(())
    })
}

/// Says what clients can connect to.
fn tell(door: &Door, exports: &dyn Exports, ui: &Ui) -> Result<(), Failure> {
    let mut names = Vec::new();
    // Ends where there are enough.
    let _enough = exports.each_name(&mut |name| {
        names.push(name.to_owned());
        match names.len() > TOLD_MAX {
            true => Err(std::io::ErrorKind::Other.into()),
            false => Ok(()),
        }
    });
    if names.len() > TOLD_MAX {
        names = vec![String::new()];
    }
    let lines: Option<String> =
        names.iter().map(|name| door.uri(name).map(|uri| uri + "\n")).collect();
    ui.print(&lines.unwrap_or_default())?;
    ui.done("Ctrl-C ends it");
    Ok(())
}

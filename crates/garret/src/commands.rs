//! One module per command: its arguments, and from there one library call and its rendering.

mod change_passphrase;
mod check;
mod create;
mod delete;
mod extract;
mod info;
mod init;
mod list;
mod prune;

use crate::demo;
use cli::failure::Failure;
use cli::ui::Ui;

/// What to do.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Make a repository
    Init(init::Args),
    /// Back up files, directories, block devices or standard input
    ///
    /// Makes a new archive. What cannot be read is reported and left out; the archive is made of the rest, and the exit code
    /// is 1. Files that did not change since the last archive of the same paths are not read again.
    Create(create::Args),
    /// Restore an archive, or some of its paths
    ///
    /// Every byte is verified before it is written. A file gets its name when it is complete, and one that is there already
    /// is replaced only then.
    Extract(extract::Args),
    /// List the archives of a repository, or what is in one
    List(list::Args),
    /// Show details of a repository, an archive, or a file in one
    Info(info::Args),
    /// Delete archives and give back their space
    Delete(delete::Args),
    /// Delete archives by rule and give back their space
    ///
    /// Each rule keeps the latest archive of each of the last N hours, days, weeks, months or years that have one, by local
    /// time; -1 is no limit. What no rule keeps is deleted. Space is given back in any case, also that of what interrupted
    /// runs left.
    Prune(prune::Args),
    /// Check a repository; changes nothing
    ///
    /// Without options: the length and contents of every pack against the index, and every chunk that archives need against
    /// what the packs hold. --verify-data also reads, decrypts and hashes every byte.
    Check(check::Args),
    /// Change the passphrase of a repository or of its key file
    ChangePassphrase(change_passphrase::Args),
    /// Two nights of backups and a restore, on sample images or on yours
    ///
    /// Makes a repository in a directory of its own, backs up two images, changes a few per cent of them, backs them up
    /// again, restores one and compares it with the original. Images that you name are only read.
    Demo(demo::Args),
}

impl Command {
    /// Does it.
    pub(crate) fn run(self, ui: &Ui) -> Result<(), Failure> {
        match self {
            Command::Init(args) => init::run(&args, ui),
            Command::Create(args) => create::run(args, ui),
            Command::Extract(args) => extract::run(args, ui),
            Command::List(args) => list::run(&args, ui),
            Command::Info(args) => info::run(&args, ui),
            Command::Delete(args) => delete::run(&args, ui),
            Command::Prune(args) => prune::run(&args, ui),
            Command::Check(args) => check::run(&args, ui),
            Command::ChangePassphrase(args) => change_passphrase::run(&args, ui),
            Command::Demo(args) => demo::run(&args, ui),
        }
    }
}

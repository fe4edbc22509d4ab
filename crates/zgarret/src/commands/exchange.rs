//! `zgarret export` and `import`: backups of one repository into another.
//!
//! ```text
//! source: restore -> channel -> destination: backup
//!         verify                cut, name, compress, seal under its own keys
//! ```
//!
//! Packs and indexes are sealed for the repository they are in, so what is copied is content. Promises: a backup is in the
//! destination whole or not at all; one whose name is taken there is left as it is.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use garret_cli::failure::Failure;
use garret_cli::session::Session;
use garret_cli::state::Use;
use garret_cli::surroundings;
use garret_cli::ui::Ui;
use garret_core::{
    BackupOptions, Cause, Destination, Error, Input, Key, LocalStore, NamedArchive, Problem,
    Repository, Selection, Silent, Writer,
};

use super::context::{Context, only_file, report, wrong_use};
use super::restore;
use crate::options::Exchange;
use crate::{location, password};

/// Which way the data goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    /// From the first repository to the second.
    Export,
    /// From the second to the first: so does zbackup, whatever its usage says.
    Import,
}

/// Parts of a file that are read ahead of the backup.
const PARTS_WAITING: usize = 2;

pub(super) fn run(
    context: &Context<'_>,
    words: &[OsString],
    direction: Direction,
) -> Result<(), Failure> {
    let passwords = password::pair(&context.passwords)?;
    let [first, second] = words else {
        return Err(wrong_use(if direction == Direction::Export { "export" } else { "import" }));
    };
    let fatal = |text: &str| Err(Failure::Fatal(text.to_owned()));
    match context.line.runtime.exchange {
        Exchange { backups: true, .. } => {}
        none if none == Exchange::default() => return fatal("Specify any --exchange flag"),
        _ => {
            return fatal(
                "Nothing to exchange without backups: bundles and indexes come with the backups that need them",
            );
        }
    }
    let first = (location::repository(first)?, passwords.0);
    let second = (location::repository(second)?, passwords.1);
    let (from, to) = match direction {
        Direction::Export => (first, second),
        Direction::Import => (second, first),
    };
    let mut options = surroundings::backup_options(&to.0.as_path().into())?;
    options.compression = context.line.storable.compression();
    options.threads = context.line.runtime.threads();
    let mut copy = Copy {
        source: context
            .open(&from.0, from.1, Use::Reads, |unlocked| unlocked.reader(context.ui))?,
        from: from.0,
        options,
        destination: context
            .open(&to.0, to.1, Use::Writes, |unlocked| unlocked.writer(context.ui))?,
        to: to.0,
        made: Vec::new(),
        ui: context.ui,
    };
    copy.all()
}

/// Both ends, open.
struct Copy<'a> {
    source: Session<Repository>,
    from: PathBuf,
    destination: Session<Writer>,
    to: PathBuf,
    options: BackupOptions,
    made: Vec<NamedArchive>,
    ui: &'a Ui,
}

impl Copy<'_> {
    /// Copies what is missing. What cannot be read is reported and left out; trouble with the destination ends it.
    fn all(&mut self) -> Result<(), Failure> {
        let there = self.destination.archive_names()?;
        for name in self.source.archive_names()? {
            if there.binary_search(&name).is_ok() {
                continue;
            }
            match self.source.archive(&name) {
                Ok(archive) => self.one(&archive)?,
                Err(error) => report(error.into(), self.ui),
            }
        }
        self.source.tell(self.ui);
        self.destination.made(&self.made, self.ui);
        Ok(())
    }

    fn one(&mut self, archive: &NamedArchive) -> Result<(), Failure> {
        let name = &archive.name;
        let item = match only_file(&self.source, archive) {
            Ok(Ok(item)) => item,
            Ok(Err(count)) => {
                let text = format!("{name} holds {count} files: not copied, only one can be");
                let problem = Problem::new(Cause::Unsupported, Some(name.clone()), text);
                self.ui.report(&problem);
                return Ok(());
            }
            Err(failure) => {
                report(failure, self.ui);
                return Ok(());
            }
        };
        if !archive.archive.is_complete() {
            let text = format!(
                "{name} not copied: not all of it could be read when it was made, and the copy would not say so; \
                 `garret sync` brings it as it is"
            );
            self.ui.report(&Problem::new(Cause::Unreadable, Some(name.clone()), text));
            return Ok(());
        }
        let Copy { source, destination, options, ui, .. } = self;
        let mut options = options.clone();
        options.host = archive.archive.host.clone();
        options.user = archive.archive.user.clone();
        options.command = archive.archive.command.clone();
        let (sender, receiver) = sync_channel(PARTS_WAITING);
        let reader = Box::new(Incoming::new(receiver));
        let input = Input::Stream { name: item.path.clone(), reader };
        let source: &Repository = source;
        let made = std::thread::scope(|scope| {
            scope.spawn(|| send(source, archive, item.path, options.threads, sender));
            destination.backup(name, vec![input], &options, *ui)
        });
        match made {
            Ok(report) => {
                self.keep_time(name);
                self.made.push(report.archive);
            }
            // Made by another program since we looked.
            Err(Error::ArchiveExists(_)) => {}
            // The other end could not read it.
            Err(Error::Source(error)) => {
                let text = format!("{name} not copied: {}", error.io_error());
                self.ui.report(&Problem::new(Cause::Unreadable, Some(name.clone()), text));
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// `find -mtime` is to see when the backup was made, not when it was copied. That it cannot be set spoils nothing.
    fn keep_time(&self, name: &str) {
        let open = |root: &Path| LocalStore::open(root)?.file_of(&Key::Archive(name.to_owned()));
        if let (Ok(made), Ok(copy)) = (open(&self.from), open(&self.to))
            && let Ok(time) = made.metadata().and_then(|metadata| metadata.modified())
        {
            let _unset = copy.set_modified(time);
        }
    }
}

type Part = io::Result<Vec<u8>>;

/// Reads a file of the source and sends it part by part; an empty one ends it.
fn send(
    source: &Repository,
    archive: &NamedArchive,
    path: Vec<u8>,
    threads: usize,
    sender: SyncSender<Part>,
) {
    let mut outgoing = Outgoing(sender);
    let restored = source.restore(
        archive,
        &mut Selection::new([path]),
        Destination::Stream(&mut outgoing),
        &restore::options(threads),
        &Silent,
    );
    let last = match restored {
        Ok(_) => Ok(Vec::new()),
        Err(error) => Err(io::Error::other(garret_cli::failure::say(&error))),
    };
    // If nobody takes it, the backup has ended already, and said why.
    let _untaken = outgoing.0.send(last);
}

struct Outgoing(SyncSender<Part>);

impl Write for Outgoing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !bytes.is_empty() {
            self.0.send(Ok(bytes.to_vec())).map_err(|_| io::ErrorKind::BrokenPipe)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The other end. It ends only where the sender said so: a stream that breaks off must not become a backup.
struct Incoming {
    receiver: Receiver<Part>,
    part: Vec<u8>,
    at: usize,
    ended: bool,
}

impl Incoming {
    fn new(receiver: Receiver<Part>) -> Self {
        Incoming { receiver, part: Vec::new(), at: 0, ended: false }
    }
}

impl Read for Incoming {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at == self.part.len() && !self.ended {
            let broken_off = |_| io::Error::from(io::ErrorKind::UnexpectedEof);
            self.part = self.receiver.recv().map_err(broken_off)??;
            self.at = 0;
            self.ended = self.part.is_empty();
        }
        let len = self.part.get(self.at..).unwrap_or_default().read(buffer)?;
        self.at += len;
        Ok(len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn incoming(parts: Vec<Part>) -> io::Result<Vec<u8>> {
        let (sender, receiver) = sync_channel(parts.len() + 1);
        parts.into_iter().for_each(|part| sender.send(part).unwrap());
        drop(sender);
        let mut bytes = Vec::new();
        Incoming::new(receiver).read_to_end(&mut bytes).map(|_| bytes)
    }

    #[test]
    fn a_stream_ends_where_the_sender_says_so_and_nowhere_else() {
        let part = |bytes: &[u8]| Ok(bytes.to_vec());
        assert_eq!(incoming(vec![part(b"ab"), part(b"c"), part(b"")]).unwrap(), b"abc");
        assert_eq!(incoming(vec![part(b"")]).unwrap(), b"");
        let broken_off = incoming(vec![part(b"ab")]).unwrap_err();
        assert_eq!(broken_off.kind(), io::ErrorKind::UnexpectedEof);
        assert!(incoming(vec![part(b"ab"), Err(io::Error::other("bad")), part(b"")]).is_err());
    }
}

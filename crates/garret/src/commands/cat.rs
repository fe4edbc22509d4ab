//! `garret cat`: a file of a guest, on standard output.

use std::ffi::OsString;
use std::io::{ErrorKind, Write};

use garret_cli::failure::Failure;
use garret_cli::ui::Ui;
use garret_core::Progress;
use garret_guest::{Error, FileSystem};

use crate::guest::{Inside, Word};

/// Arguments of `cat`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    inside: Inside,
    /// The image, and the file in it
    #[arg(value_name = "IMAGE:/PATH")]
    word: OsString,
}

pub(crate) fn run(args: &Args, ui: &Ui) -> Result<(), Failure> {
    let word = Word::new(&args.word);
    let path = word.path()?;
    args.inside.open(word.image, ui, |opened| {
        let shown = |system: &mut dyn FileSystem, path: &[u8]| {
            let mut out = std::io::stdout().lock();
            let read = system.read(path, &mut |bytes| out.write_all(bytes));
            match read.and_then(|()| Ok(out.flush()?)) {
                Err(Error::Taken(error)) if error.kind() == ErrorKind::BrokenPipe => {
                    return Err(Failure::NobodyReads(1));
                }
                read => read.map_err(|error| opened.failed(path, error))?,
            }
            system.caution().iter().for_each(|caution| ui.notice(caution));
            Ok(())
        };
        opened.with(args.inside.partition, path, shown, || Ok(()))?;
        Ok(())
    })
}

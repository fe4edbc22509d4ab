//! `garret ls`: what is in a directory of a guest, or on its disk.

use std::ffi::OsString;

use garret_cli::failure::Failure;
use garret_cli::render;
use garret_cli::ui::Ui;
use garret_core::{Cause, Progress};
use garret_format::archive::Time;
use garret_guest::{Entry, FileSystem, Kind, Volume};
use jiff::Timestamp;

use crate::guest::{Inside, Word};

/// Arguments of `ls`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only names
    #[arg(short, long)]
    short: bool,
    #[command(flatten)]
    inside: Inside,
    /// The image, and what in it; the image alone for what is on its disk
    #[arg(value_name = "IMAGE[:/PATH]")]
    word: OsString,
}

pub(crate) fn run(args: &Args, ui: &Ui) -> Result<(), Failure> {
    let word = Word::new(&args.word);
    args.inside.open(word.image, ui, |opened| {
        let Some(path) = word.path else {
            let is_asked = |volume: &&Volume| {
                args.inside.partition.is_none() || volume.number == args.inside.partition
            };
            let volumes = opened.volumes()?;
            let lines: String = volumes.iter().filter(is_asked).map(volume_line).collect();
            if lines.is_empty() {
                let text = format!("{}: there is no such partition", opened.image);
                return Err(Failure::Because(Cause::Missing, text));
            }
            return ui.print(&lines);
        };
        let listed = |system: &mut dyn FileSystem, path: &[u8]| {
            let entry = system.entry(path).map_err(|error| opened.failed(path, error))?;
            let entries = match entry.kind {
                Kind::Directory => system.entries(path),
                _ => Ok(vec![(path.to_vec(), Ok(entry))]),
            };
            let (mut lines, now) = (Vec::new(), Timestamp::now());
            for (name, entry) in &entries.map_err(|error| opened.failed(path, error))? {
                let full = [path.strip_suffix(b"/").unwrap_or(path), b"/", name].concat();
                match entry {
                    _ if args.short => lines.extend([name.as_slice(), b"\n"].concat()),
                    Ok(entry) => {
                        let target = match entry.kind {
                            Kind::Link => system.target(&full).ok(),
                            _ => None,
                        };
                        lines.extend(line(name, entry, target, now).into_bytes());
                    }
                    Err(error) => ui.problem(&opened.problem(&full, error)),
                }
            }
            system.caution().iter().for_each(|caution| ui.notice(caution));
            Ok(lines)
        };
        let (lines, ()) = opened.with(args.inside.partition, path, listed, || Ok(()))?;
        ui.print(&lines)
    })
}

/// The line of a volume.
fn volume_line(volume: &Volume) -> String {
    let number = volume.number.map_or("-".to_owned(), |number| number.to_string());
    let len = render::size(volume.range.end.saturating_sub(volume.range.start));
    let line = format!("{number:>3} {len:>9}  {:<10} ", volume.holds.to_string());
    format!("{}\n", (line + &render::name(&volume.label)).trim_end())
}

/// The line of a file; what the file system does not say is `?`.
fn line(name: &[u8], entry: &Entry, target: Option<Vec<u8>>, now: Timestamp) -> String {
    let kind = match entry.kind {
        Kind::File => '-',
        Kind::Directory => 'd',
        Kind::Link => 'l',
        Kind::Reparse | Kind::Special => 's',
    };
    let mode = entry.mode.map_or("?????????".to_owned(), render::permissions);
    let [user, group] = match entry.owner {
        Some((user, group)) => [user.to_string(), group.to_string()],
        None => ["?", "?"].map(str::to_owned),
    };
    let time = entry.modified.map_or("?".to_owned(), |time| {
        let (secs, nanos) = (time.secs, time.nanos);
        render::short_time(Time { secs, nanos }, now)
    });
    let target = target.map_or(String::new(), |target| format!(" -> {}", render::name(target)));
    let name = render::name(name);
    format!("{kind}{mode} {user:<6} {group:<6} {:>8} {time:<12} {name}{target}\n", entry.len)
}

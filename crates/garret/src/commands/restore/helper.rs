//! The restore that asks: which image, of which night, to where; then it says how long it will take, goes on, and reads back
//! what it wrote.
//!
//! In: a repository, and a person on a terminal. Out: an image. Promises: nothing is written before the last question, to
//! which no answer is no.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use garret_cli::failure::Failure;
use garret_cli::ui::Ui;
use garret_cli::{render, session};
use garret_core::{Cause, NamedArchive, Problem, Repository};
use garret_format::archive::{Item, ItemKind};

use super::{How, Wanted, extract};
use crate::nights::{self, Held, Nights, Since};
use crate::{archives, digest};

/// Images that are shown without being asked for by name: the largest.
const SHOWN_MAX: usize = 20;
/// Places of an image that are read to see how fast that goes, and bytes of each.
const SAMPLES: u64 = 8;
const SAMPLE_LEN: usize = 4 << 20;

/// Asks what is not known yet, and restores.
pub(super) fn run(mut how: How, path: &Path, at: Option<&str>, ui: &Ui) -> Result<(), Failure> {
    let repository = session::reader(path, ui)?;
    let nights = Nights::at(&repository, path, at, ui)?;
    let image = ask_image(&nights, ui)?;
    let (archive, item) = ask_night(&nights, &image, ui)?;
    if !how.has_place() {
        ask_place(&mut how, ui)?;
    }
    let mut plan = how.plan(path)?;
    let paths = [OsString::from_vec(image)];
    let wanted = Wanted {
        repository: &repository,
        path,
        archive: &archive,
        paths: &paths,
        item: Some(&item).filter(|_| how.keeps_paths()),
    };
    let preview = extract::preview(&wanted, &how, &mut plan)?;
    let place = plan.place.of(&item);
    let time = render::about(estimate(&repository, &item)?);
    let room = match preview.free {
        0 => String::new(),
        free => {
            format!(", needs up to {} of {} free", render::size(preview.needed), render::size(free))
        }
    };
    let (name, night) = (render::name(&item.path), render::name(&archive.name));
    let to = place.as_ref().map_or("nowhere".to_owned(), |place| shown(place));
    let question = format!(
        "{name} of {night}, {}, to {to}: {time}{room}.\nGo on? [y/N] ",
        render::size(item.size)
    );
    if !matches!(ui.ask(&question)?.as_str(), "y" | "Y" | "yes") {
        return Err(Failure::Fatal("nothing was restored: you did not say y".to_owned()));
    }
    let report = extract::restore(&wanted, &how, plan, ui)?;
    match place {
        Some(place) if report.file_count > 0 && how.keeps_paths() => {
            compare(&wanted, &item, &place, how.thread_count(), ui)
        }
        _ => Ok(()),
    }
}

/// The images of the first archive whose list of files can be read, and what stands above them.
fn images(nights: &Nights<'_>, ui: &Ui) -> Result<(Vec<(Vec<u8>, u64)>, String), Failure> {
    for archive in &nights.archives {
        match nights.repository.items(archive).collect::<garret_core::Result<Vec<Item>>>() {
            Ok(items) => {
                let files = items.into_iter().filter(|item| matches!(item.kind, ItemKind::File(_)));
                let files: Vec<(Vec<u8>, u64)> = files.map(|item| (item.path, item.size)).collect();
                let time = render::long_time(archive.archive.end);
                let (name, marks) = (render::name(&archive.name), render::marks(archive));
                if !files.is_empty() {
                    return Ok((files, format!("Images in {name}{marks}, made {time}:\n")));
                }
            }
            Err(error) => ui.report(&(&error).into()),
        }
    }
    let text = format!("{} has no image to restore", nights.path.display());
    Err(Failure::Because(Cause::Missing, text))
}

/// The path of an image, out of those of the night that comes first, or of any that is named.
fn ask_image(nights: &Nights<'_>, ui: &Ui) -> Result<Vec<u8>, Failure> {
    let (mut found, mut title) = images(nights, ui)?;
    loop {
        found.sort_by(|a, b| (b.1, &a.0).cmp(&(a.1, &b.0)));
        let mut question = title;
        for (number, (path, size)) in found.iter().take(SHOWN_MAX).enumerate() {
            question += &format!(
                "{:>4}  {:>10}  {}\n",
                number + 1,
                render::size(*size),
                render::name(path)
            );
        }
        if let Some(more @ 1..) = found.len().checked_sub(SHOWN_MAX) {
            question += &format!("      and {more} more\n");
        }
        question += "Which image? A number, or a name or pattern in any archive [1] ";
        let answer = ui.ask(&question)?;
        match numbered(&answer, &found) {
            Some((path, _)) => return Ok(path.clone()),
            None if answer.parse::<usize>().is_ok() || answer.is_empty() => {
                title = "There is no such number.\n".to_owned();
            }
            None => {
                let word = OsString::from(&answer);
                let held = nights::held(nights.repository, &nights.archives, &word, ui);
                let mut paths: Vec<(Vec<u8>, u64)> = held
                    .into_iter()
                    .map(|(path, nights)| (path, nights.first().map_or(0, |held| held.size)))
                    .collect();
                match paths.as_mut_slice() {
                    [(only, _)] => return Ok(std::mem::take(only)),
                    [] => title = format!("No archive holds {}.\n", render::name(&answer)),
                    _ => {
                        title = format!("{} stands for several:\n", render::name(&answer));
                        found = paths;
                    }
                }
            }
        }
    }
}

/// The archive to take an image from, and what it says of it.
fn ask_night(nights: &Nights<'_>, image: &[u8], ui: &Ui) -> Result<(NamedArchive, Item), Failure> {
    let mut oldest_first = nights.archives.clone();
    oldest_first.sort_by_key(|found| found.archive.end);
    let word = OsString::from_vec(image.to_vec());
    let held = nights::held(nights.repository, &oldest_first, &word, ui);
    let mut rows: Vec<&Held<'_>> = held.get(image).into_iter().flatten().collect();
    rows.reverse();
    let default = rows.iter().position(|held| held.archive.archive.is_complete()).unwrap_or(0) + 1;
    let mut question = format!("Archives that hold {}, the newest first:\n", render::name(image));
    for (number, held) in rows.iter().enumerate() {
        question += &format!("{:>4}  {}\n", number + 1, night_line(held));
    }
    loop {
        let answer = ui.ask(&format!("{question}Which one? [{default}] "))?;
        let answer = if answer.is_empty() { default.to_string() } else { answer };
        let named = || rows.iter().find(|held| held.archive.name == answer);
        if let Some(held) = numbered(&answer, &rows).or_else(named) {
            let mut items = archives::files(nights.repository, held.archive, &word)?;
            let item =
                items.pop().ok_or_else(|| archives::no_file(image, held.archive, "it is gone"))?;
            return Ok((held.archive.clone(), item));
        }
        question = "There is no such number.\n".to_owned();
    }
}

/// `night-2          Mon Nov 23 02:23:06 2026     4.19 GB  changed  complete`
fn night_line(held: &Held<'_>) -> String {
    let Held { archive, size, since } = held;
    let since = since.map_or("", Since::word);
    let marks = render::marks(archive);
    let marks = if marks.is_empty() { " complete" } else { &marks };
    let time = render::long_time(archive.archive.end);
    format!(
        "{:<30} {time} {:>10}  {since:<7} {marks}",
        render::name(&archive.name),
        render::size(*size)
    )
}

/// The one with the number that was typed; the first for nothing.
fn numbered<'a, T>(answer: &str, found: &'a [T]) -> Option<&'a T> {
    match answer {
        "" => found.first(),
        _ => found.get(answer.parse::<usize>().ok()?.checked_sub(1)?),
    }
}

/// A directory, a file or a device.
fn ask_place(how: &mut How, ui: &Ui) -> Result<(), Failure> {
    let answer = ui.ask("Restore to which directory, file or block device? [.] ")?;
    let place = PathBuf::from(if answer.is_empty() { "." } else { &answer });
    let is_device = place.metadata().is_ok_and(|found| found.file_type().is_block_device());
    if is_device {
        let question = format!("All that is on {} will be overwritten. Type yes: ", shown(&place));
        if ui.ask(&question)? != "yes" {
            return Err(Failure::Fatal("nothing was restored: you did not say yes".to_owned()));
        }
        how.go_to_device(place);
    } else if place.is_dir() || answer.ends_with('/') {
        how.go_to_directory(place);
    } else {
        how.go_to_file(place);
    }
    Ok(())
}

/// How long it takes to read the whole image, by what a few places of it take.
fn estimate(repository: &Repository, item: &Item) -> Result<Duration, Failure> {
    let Some(file) = repository.open_file(item)? else { return Ok(Duration::ZERO) };
    let (started, mut read) = (Instant::now(), 0u64);
    let mut buffer = vec![0; SAMPLE_LEN];
    for number in 0..SAMPLES {
        let start = item.size / SAMPLES * number;
        let len = (item.size - start).min(SAMPLE_LEN as u64);
        // What is damaged is for the restore to say.
        let part = buffer.get_mut(..len as usize).unwrap_or_default();
        if file.read(part, start).is_ok() {
            read += len;
        }
    }
    let pace = started.elapsed().as_secs_f64() / read.max(1) as f64;
    Ok(Duration::from_secs_f64(pace * item.size as f64))
}

/// Reads back what was written, and compares it with what is stored.
fn compare(
    wanted: &Wanted<'_>,
    item: &Item,
    place: &Path,
    threads: usize,
    ui: &Ui,
) -> Result<(), Failure> {
    let there = digest::on_disk(place, item.size, ui)?;
    let (stored, _) = digest::stored(wanted.repository, wanted.archive, &item.path, threads, ui)?;
    if there == stored {
        ui.done(&format!("BLAKE3 {there}, read back from the disk: as it is stored"));
        return Ok(());
    }
    let name = shown(place);
    let text = format!(
        "{name}: BLAKE3 {there}, read back from the disk, is not {stored}, as it is stored: do not use it"
    );
    ui.report(&Problem::new(Cause::Changed, Some(name), text));
    Ok(())
}

fn shown(place: &Path) -> String {
    render::name(place.as_os_str().as_bytes())
}

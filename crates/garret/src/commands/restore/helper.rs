//! The restore that asks: which image, of which night, to where; then it says how long it will take, goes on, and reads back
//! what it wrote.
//!
//! In: a repository, and a person on a terminal. Out: an image. Promises: nothing is written before the last question, to
//! which no answer is no.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use garret_cli::failure::Failure;
use garret_cli::location::Location;
use garret_cli::ui::Ui;
use garret_cli::{render, session};
use garret_core::{Cause, NamedArchive, Problem, Repository};
use garret_format::archive::{Item, ItemKind};

use crate::commands::extract::place::Place;
use crate::commands::extract::{self, How, Wanted};
use crate::nights::{self, Held, Nights, Since};
use crate::{archives, digest};

/// Images that are shown without being asked for by name: the largest.
const SHOWN_MAX: usize = 20;
/// Places of an image that are read to see how fast that goes, and bytes of each.
const SAMPLES: u64 = 16;
const SAMPLE_LEN: usize = 4 << 20;

/// Asks what is not known yet, and restores.
pub(super) fn run(how: How, path: &Location, at: Option<&str>, ui: &Ui) -> Result<(), Failure> {
    let given = if how.has_place() { Some(how.plan(path)?) } else { None };
    let repository = session::reader(path, ui)?;
    let nights = Nights::at(&repository, path, at, ui)?;
    let image = ask_image(&nights, ui)?;
    let (archive, item) = ask_night(&nights, &image, ui)?;
    let mut plan = match given {
        Some(plan) => plan,
        None => how.plan_for(ask_place(path, ui)?)?,
    };
    let paths = [OsString::from_vec(image)];
    let wanted = Wanted {
        repository: &repository,
        location: path,
        archive: &archive,
        paths: &paths,
        item: Some(&item).filter(|_| how.keeps_paths()),
    };
    if let Some(names) = extract::warm(&wanted, &how, &mut plan, ui)? {
        return ui.print(&names);
    }
    let preview = extract::preview(&wanted, &how, &mut plan)?;
    let place = plan.place.of(&item);
    let time = render::about(estimate(&repository, &item, how.thread_count())?);
    let room = match preview.free {
        0 => String::new(),
        free => {
            format!(", needs up to {} of {} free", render::size(preview.needed), render::size(free))
        }
    };
    let (name, night) = (render::name(&item.path), render::name(&archive.name));
    let to = place.as_ref().map_or("nowhere".to_owned(), |place| shown(place));
    let replaced = match &place {
        Some(place) if is_replaced(place) => format!("{to} is there already, and is replaced.\n"),
        _ => String::new(),
    };
    let question = format!(
        "{name} of {night}, {}, to {to}:\n{time}{room}.\n{replaced}Go on? [y/N] ",
        render::size(item.size)
    );
    if !matches!(ui.ask(&question)?.as_str(), "y" | "Y" | "yes") {
        return Err(Failure::Fatal("nothing was restored: you did not say y".to_owned()));
    }
    let restored = extract::restore(&wanted, &how, plan, ui);
    if !how.salvages() {
        super::point_elsewhere(&nights, &paths, &archive, &restored, ui);
    }
    let report = restored?;
    match place {
        Some(place) if report.file_count > 0 && how.keeps_paths() => {
            compare(&wanted, &item, &place, how.thread_count(), ui)
        }
        _ => Ok(()),
    }
}

/// Whether something is there that goes when the image comes. What is on a device was asked about before.
fn is_replaced(place: &Path) -> bool {
    place.symlink_metadata().is_ok_and(|found| !found.file_type().is_block_device())
}

/// An image that can be chosen.
struct Image {
    path: Vec<u8>,
    size: u64,
}

/// The images of the first archive whose list of files can be read, and what stands above them.
fn images(nights: &Nights<'_>, ui: &Ui) -> Result<(Vec<Image>, String), Failure> {
    for archive in &nights.archives {
        match nights.repository.items(archive).collect::<garret_core::Result<Vec<Item>>>() {
            Ok(items) => {
                let files = items.into_iter().filter(|item| matches!(item.kind, ItemKind::File(_)));
                let files: Vec<Image> =
                    files.map(|Item { path, size, .. }| Image { path, size }).collect();
                let time = render::long_time(archive.archive.end);
                let (name, marks) = (render::name(&archive.name), render::marks(archive));
                if !files.is_empty() {
                    return Ok((files, format!("Images in {name}{marks}, made {time}:\n")));
                }
            }
            Err(error) => ui.report(&(&error).into()),
        }
    }
    let text = format!("{} has no image to restore", nights.location.display());
    Err(Failure::Because(Cause::Missing, text))
}

/// The path of an image, out of those of the night that comes first, or of any that is named.
fn ask_image(nights: &Nights<'_>, ui: &Ui) -> Result<Vec<u8>, Failure> {
    let (mut found, mut title) = images(nights, ui)?;
    loop {
        found.sort_by(|a, b| (b.size, &a.path).cmp(&(a.size, &b.path)));
        let answer = ui.ask(&image_question(&title, &found))?;
        if let Some(image) = numbered(&answer, &found) {
            return Ok(image.path.clone());
        }
        if answer.parse::<usize>().is_ok() {
            title = "There is no such number.\n".to_owned();
            continue;
        }
        let word = OsString::from(&answer);
        let held = nights::held(nights.repository, &nights.archives, &word, ui);
        let size = |nights: &[Held<'_>]| nights.first().map_or(0, |held| held.size);
        let named = held.into_iter().map(|(path, nights)| Image { path, size: size(&nights) });
        let named: Vec<Image> = named.collect();
        match named.as_slice() {
            [only] => return Ok(only.path.clone()),
            [] => title = format!("No archive holds {}.\n", render::name(&answer)),
            _ => {
                title = format!("{} stands for several:\n", render::name(&answer));
                found = named;
            }
        }
    }
}

/// The largest images, and what to do.
fn image_question(title: &str, found: &[Image]) -> String {
    let mut question = title.to_owned();
    for (number, Image { path, size }) in found.iter().take(SHOWN_MAX).enumerate() {
        let (size, name) = (render::size(*size), render::name(path));
        question += &format!("{:>4}  {size:>10}  {name}\n", number + 1);
    }
    if let Some(more @ 1..) = found.len().checked_sub(SHOWN_MAX) {
        question += &format!("      and {more} more\n");
    }
    question + "Which image? A number, or a name or pattern in any archive [1] "
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
    for (number, line) in night_lines(&rows).iter().enumerate() {
        question += &format!("{:>4}  {line}\n", number + 1);
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

/// Rows in columns: `night-2  2026-11-23 02:23     4.19 GB  changed  complete`
fn night_lines(rows: &[&Held<'_>]) -> Vec<String> {
    let names = rows.iter().map(|held| render::name(&held.archive.name)).collect::<Vec<String>>();
    let width = names.iter().map(|name| name.chars().count()).max().unwrap_or_default();
    let line = |(Held { archive, size, since }, name): (&&Held<'_>, &String)| {
        let since = since.map_or("", Since::word);
        let marks = render::marks(archive);
        let marks = if marks.is_empty() { " complete" } else { &marks };
        let (time, size) = (render::minute(archive.archive.end), render::size(*size));
        format!("{name:<width$}  {time} {size:>10}  {since:<7} {marks}")
    };
    rows.iter().zip(&names).map(line).collect()
}

/// The one with the number that was typed; the first for nothing.
fn numbered<'a, T>(answer: &str, found: &'a [T]) -> Option<&'a T> {
    match answer {
        "" => found.first(),
        _ => found.get(answer.parse::<usize>().ok()?.checked_sub(1)?),
    }
}

/// A directory, a file or a device.
fn ask_place(repository: &Location, ui: &Ui) -> Result<Place, Failure> {
    loop {
        let answer = ui.ask("Restore to which directory, file or block device? [.] ")?;
        let path = PathBuf::from(if answer.is_empty() { "." } else { &answer });
        if path.metadata().is_ok_and(|found| found.file_type().is_block_device()) {
            let name = shown(&path);
            let sure = ui.ask(&format!("All that is on {name} will be overwritten. Type yes: "))?;
            if sure == "yes" {
                return Ok(Place::Device(path));
            }
            return Err(Failure::Fatal("nothing was restored: you did not say yes".to_owned()));
        }
        let is_directory = path.is_dir() || answer.ends_with('/');
        let place = match is_directory {
            true => Place::directory(&path, repository),
            false => Place::file(&path, repository),
        };
        match place {
            Err(failure) if !answer.is_empty() => {
                failure.problem().iter().for_each(|problem| ui.complain(&problem.text));
            }
            place => return place,
        }
    }
}

/// How long it takes to read the whole image, by what some places of it take, read by as many threads.
fn estimate(repository: &Repository, item: &Item, threads: usize) -> Result<Duration, Failure> {
    let Some(file) = repository.open_file(item)? else { return Ok(Duration::ZERO) };
    let (started, next, read) = (Instant::now(), AtomicU64::new(0), AtomicU64::new(0));
    let sample = || {
        let mut buffer = vec![0; SAMPLE_LEN];
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= SAMPLES {
                break;
            }
            let start = place_of(number, item.size);
            let len = (item.size - start).min(SAMPLE_LEN as u64);
            // What is damaged is for the restore to say.
            if file.read(buffer.get_mut(..len as usize).unwrap_or_default(), start).is_ok() {
                read.fetch_add(len, Ordering::Relaxed);
            }
        }
    };
    std::thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(sample))));
    let pace = started.elapsed().as_secs_f64() / read.into_inner().max(1) as f64;
    Ok(Duration::from_secs_f64(pace * item.size as f64))
}

/// The place of a sample: by the golden ratio they lie everywhere, and with no step that an image could have too.
fn place_of(number: u64, len: u64) -> u64 {
    let part = (number as f64 * 0.618_033_988_749_895).fract();
    ((len as f64 * part) as u64).min(len)
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

//! FAT12, FAT16 and FAT32, by `fatfs`, which could write and is never asked to.
//!
//! In: a window. Out: a [`FileSystem`]. Names are found in any case. Times have no zone, and are taken for UTC.

use std::io::{ErrorKind, Read};

use fatfs::{DateTime, Dir, DirEntry, FsOptions};
use garret_image::Time;

use crate::window::{Cursor, Window};
use crate::{Entries, Entry, Error, FileSystem, Kind, Result, STEP, has_room, sorted};

/// Days from 1970 to 1980, where FAT begins.
const DAYS: i64 = 3652;

struct Fat {
    system: fatfs::FileSystem<Cursor>,
    window: Window,
}

pub(crate) fn open(window: Window) -> Result<Box<dyn FileSystem>> {
    let cursor = Cursor::new(window.clone());
    let opened = || fatfs::FileSystem::new(cursor, FsOptions::new()).map_err(told);
    let system = window.ask(opened)?;
    Ok(Box::new(Fat { system, window }))
}

/// What the library says, in words of this crate.
fn told(error: std::io::Error) -> Error {
    match error.kind() {
        ErrorKind::NotFound => Error::Missing,
        _ => Error::Damaged(error.to_string()),
    }
}

/// Seconds since 1970 of a date: days of the months before it, with leap years as they are until 2107, where FAT ends.
fn modified(time: DateTime) -> Time {
    let days: i64 =
        (1980..i64::from(time.date.year)).map(|year| 365 + i64::from(is_leap(year))).sum();
    let is_leap = is_leap(i64::from(time.date.year));
    let months = [31, 28 + i64::from(is_leap), 31, 30, 31, 30, 31, 31, 30, 31, 30];
    let before = usize::from(time.date.month).saturating_sub(1);
    let days = days + months.iter().take(before).sum::<i64>() + i64::from(time.date.day) - 1;
    let clock = time.time;
    let seconds = (i64::from(clock.hour) * 60 + i64::from(clock.min)) * 60 + i64::from(clock.sec);
    Time { secs: (DAYS + days) * 86_400 + seconds, nanos: u32::from(clock.millis) * 1_000_000 }
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && year != 2100
}

fn entry(found: &DirEntry<'_, Cursor>) -> Entry {
    Entry {
        kind: if found.is_dir() { Kind::Directory } else { Kind::File },
        len: if found.is_dir() { 0 } else { found.len() },
        mode: None,
        owner: None,
        modified: Some(modified(found.modified())),
    }
}

/// What has a path.
enum Found<'f> {
    Root(Dir<'f, Cursor>),
    Entry(DirEntry<'f, Cursor>),
}

impl Fat {
    fn found(&self, path: &[u8]) -> Result<Found<'_>> {
        let mut found = Found::Root(self.system.root_dir());
        for name in path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()) {
            let name = std::str::from_utf8(name).map_err(|_| Error::Missing)?;
            // The one of that very name, or the first that is it in another case, or by its short name.
            let mut like = None;
            for one in directory(&found)?.iter() {
                let one = one.map_err(told)?;
                if one.file_name() == name {
                    like = Some(one);
                    break;
                }
                let is_like = one.file_name().to_lowercase() == name.to_lowercase()
                    || one.short_file_name().eq_ignore_ascii_case(name);
                if is_like && like.is_none() {
                    like = Some(one);
                }
            }
            found = Found::Entry(like.ok_or(Error::Missing)?);
        }
        Ok(found)
    }
}

fn directory<'f>(found: &Found<'f>) -> Result<Dir<'f, Cursor>> {
    match found {
        Found::Root(root) => Ok(root.clone()),
        Found::Entry(entry) if entry.is_dir() => Ok(entry.to_dir()),
        Found::Entry(_) => Err(Error::NotADirectory),
    }
}

impl FileSystem for Fat {
    fn entry(&mut self, path: &[u8]) -> Result<Entry> {
        self.window.ask(|| match self.found(path)? {
            Found::Entry(found) => Ok(entry(&found)),
            Found::Root(_) => {
                let (kind, len) = (Kind::Directory, 0);
                Ok(Entry { kind, len, mode: None, owner: None, modified: None })
            }
        })
    }

    fn entries(&mut self, path: &[u8]) -> Result<Entries> {
        self.window.ask(|| {
            let mut entries = Entries::new();
            for found in directory(&self.found(path)?)?.iter() {
                let found = found.map_err(told)?;
                let name = found.file_name();
                if name != "." && name != ".." {
                    has_room(entries.len())?;
                    entries.push((name.into_bytes(), Ok(entry(&found))));
                }
            }
            Ok(sorted(entries))
        })
    }

    fn target(&mut self, _: &[u8]) -> Result<Vec<u8>> {
        Err(Error::NotServed("FAT has no links".to_owned()))
    }

    fn read(
        &mut self,
        path: &[u8],
        take: &mut dyn FnMut(&[u8]) -> std::io::Result<()>,
    ) -> Result<()> {
        let Found::Entry(found) = self.window.ask(|| self.found(path))? else {
            return Err(Error::NotAFile);
        };
        if found.is_dir() {
            return Err(Error::NotAFile);
        }
        let (mut file, mut buffer, mut left) = (found.to_file(), vec![0; STEP], found.len());
        while left > 0 {
            let len = self.window.ask(|| file.read(&mut buffer).map_err(told))?;
            let bytes = buffer.get(..len).filter(|bytes| !bytes.is_empty());
            take(bytes.ok_or_else(|| Error::Damaged("a file ends early".to_owned()))?)?;
            left = left.saturating_sub(len as u64);
        }
        Ok(())
    }
}

//! NTFS, by the library of that name, which does not read the log.
//!
//! In: a window. Out: a [`FileSystem`]. Names are found in any case, as by Windows, but one that is exact comes first. What
//! is compressed, encrypted or behind a reparse point is refused. Where content lies is found by `data.rs`.

mod data;

use garret_image::Time;
use ntfs::indexes::NtfsFileNameIndex;
use ntfs::structured_values::{NtfsFileAttributeFlags, NtfsFileNamespace, NtfsVolumeFlags};
use ntfs::{Ntfs, NtfsError, NtfsFile};

use crate::window::{Cursor, Window};
use crate::{Entries, Entry, Error, FileSystem, Kind, Result, STEP, has_room, sorted};

use data::{Data, data, has_list, told};

/// Records of files before this one are the file system's own.
const FIRST_RECORD: u64 = 24;

/// From 1601 to 1970, in units of 100 ns, which NTFS counts in.
const EPOCH: i64 = 116_444_736_000_000_000;

struct System {
    ntfs: Ntfs,
    cursor: Cursor,
    window: Window,
}

pub(crate) fn open(window: Window) -> Result<Box<dyn FileSystem>> {
    let mut cursor = Cursor::new(window.clone());
    let ntfs = window.ask(|| {
        let mut ntfs = Ntfs::new(&mut cursor).map_err(told)?;
        ntfs.read_upcase_table(&mut cursor).map_err(told)?;
        Ok(ntfs)
    })?;
    Ok(Box::new(System { ntfs, cursor, window }))
}

/// The file at a path.
fn found<'n>(ntfs: &'n Ntfs, cursor: &mut Cursor, path: &[u8]) -> Result<NtfsFile<'n>> {
    let mut file = ntfs.root_directory(cursor).map_err(told)?;
    for name in path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()) {
        let name = std::str::from_utf8(name).map_err(|_| Error::Missing)?;
        file = child(ntfs, cursor, &file, name)?;
    }
    Ok(file)
}

/// What has this name in a directory.
fn child<'n>(
    ntfs: &'n Ntfs,
    cursor: &mut Cursor,
    directory: &NtfsFile<'n>,
    name: &str,
) -> Result<NtfsFile<'n>> {
    let told = of_directory(directory);
    let index = directory.directory_index(cursor).map_err(&told)?;
    let mut finder = index.finder();
    let Some(entry) = NtfsFileNameIndex::find(&mut finder, ntfs, cursor, name) else {
        return Err(Error::Missing);
    };
    let entry = entry.map_err(&told)?;
    let is_it = |key: Option<ntfs::Result<ntfs::structured_values::NtfsFileName>>| {
        key.and_then(|key| key.ok()).is_some_and(|key| key.name() == name)
    };
    let is_exact = is_it(entry.key());
    let file = entry.to_file(ntfs, cursor).map_err(&told)?;
    if is_exact {
        return Ok(file);
    }
    // Two names may differ in nothing but case, where somebody else than Windows wrote.
    let mut entries = index.entries();
    while let Some(entry) = entries.next(cursor) {
        let entry = entry.map_err(&told)?;
        if is_it(entry.key()) {
            return entry.to_file(ntfs, cursor).map_err(&told);
        }
    }
    Ok(file)
}

/// What is wrong with a directory: of one that several records describe the library sees the first.
fn of_directory(directory: &NtfsFile<'_>) -> impl Fn(NtfsError) -> Error {
    let is_divided = has_list(directory);
    move |error| match error {
        NtfsError::Io(_) | NtfsError::NotADirectory { .. } => told(error),
        _ if is_divided => {
            Error::NotServed("a directory in several pieces is not read here".to_owned())
        }
        error => told(error),
    }
}

/// What the file system says of a file.
fn entry(ntfs: &Ntfs, window: &Window, cursor: &mut Cursor, file: &NtfsFile<'_>) -> Result<Entry> {
    let info = file.info().map_err(told)?;
    let is_reparse = info.file_attributes().contains(NtfsFileAttributeFlags::REPARSE_POINT);
    let kind = match (is_reparse, file.is_directory()) {
        (true, _) => Kind::Reparse,
        (false, true) => Kind::Directory,
        (false, false) => Kind::File,
    };
    let len = match kind {
        Kind::File => data(ntfs, window, cursor, file)?.map_or(0, |data| data.len()),
        _ => 0,
    };
    let ticks = i64::try_from(info.modification_time().nt_timestamp()).unwrap_or(i64::MAX) - EPOCH;
    // Below a second.
    let nanos = (ticks.rem_euclid(10_000_000) * 100) as u32;
    let modified = Some(Time { secs: ticks.div_euclid(10_000_000), nanos });
    Ok(Entry { kind, len, mode: None, owner: None, modified })
}

impl FileSystem for System {
    fn entry(&mut self, path: &[u8]) -> Result<Entry> {
        let System { ntfs, cursor, window } = self;
        window.ask(|| {
            let file = found(ntfs, cursor, path)?;
            entry(ntfs, window, cursor, &file)
        })
    }

    fn entries(&mut self, path: &[u8]) -> Result<Entries> {
        let System { ntfs, cursor, window } = self;
        window.ask(|| {
            let directory = found(ntfs, cursor, path)?;
            let of_directory = of_directory(&directory);
            let index = directory.directory_index(cursor).map_err(&of_directory)?;
            let mut found = index.entries();
            let mut entries = Entries::new();
            while let Some(one) = found.next(cursor) {
                let one = one.map_err(&of_directory)?;
                let Some(key) = one.key() else { continue };
                let key = key.map_err(told)?;
                let is_own = one.file_reference().file_record_number() < FIRST_RECORD;
                if is_own || key.namespace() == NtfsFileNamespace::Dos {
                    continue;
                }
                has_room(entries.len())?;
                let file = one.to_file(ntfs, cursor).map_err(told);
                let name = key.name().to_string_lossy().into_bytes();
                entries.push((name, file.and_then(|file| entry(ntfs, window, cursor, &file))));
            }
            Ok(sorted(entries))
        })
    }

    fn target(&mut self, _: &[u8]) -> Result<Vec<u8>> {
        Err(Error::NotServed("links of NTFS are not read here".to_owned()))
    }

    fn read(
        &mut self,
        path: &[u8],
        take: &mut dyn FnMut(&[u8]) -> std::io::Result<()>,
    ) -> Result<()> {
        let System { ntfs, cursor, window } = self;
        let file = window.ask(|| found(ntfs, cursor, path))?;
        let entry = window.ask(|| entry(ntfs, window, cursor, &file))?;
        match entry.kind {
            Kind::File => {}
            Kind::Reparse => {
                let why = "it is a reparse point: a link, or stored by a way of Windows that is not read here";
                return Err(Error::NotServed(why.to_owned()));
            }
            _ => return Err(Error::NotAFile),
        }
        let found = window.ask(|| data(ntfs, window, cursor, &file))?;
        match found {
            None => Ok(()),
            Some(Data::Refused { why, .. }) => Err(Error::NotServed(why.to_owned())),
            Some(Data::Resident(bytes)) => Ok(take(&bytes)?),
            Some(Data::Runs { runs, len, written }) => {
                let (mut buffer, mut at) = (vec![0; STEP], 0);
                for (place, run_len) in runs {
                    let mut done = 0;
                    while done < run_len && at < len {
                        let step = (run_len - done).min(len - at).min(STEP as u64);
                        // At most the length of the buffer.
                        let bytes = buffer.get_mut(..step as usize).unwrap_or_default();
                        let there = written.saturating_sub(at).min(step) as usize;
                        let (there, zeros) = bytes.split_at_mut(there);
                        match place.and_then(|place| place.checked_add(done)) {
                            Some(place) => window.ask(|| {
                                let filled = window.fill(place, there);
                                filled.map_err(|error| Error::Damaged(error.to_string()))
                            })?,
                            None => there.fill(0),
                        }
                        zeros.fill(0);
                        take(bytes)?;
                        (done, at) = (done + step, at + step);
                    }
                }
                Ok(())
            }
        }
    }

    fn caution(&mut self) -> Option<String> {
        let System { ntfs, cursor, window } = self;
        let info = window.ask(|| ntfs.volume_info(cursor).map_err(told)).ok()?;
        info.flags().contains(NtfsVolumeFlags::IS_DIRTY).then(|| {
            "NTFS was in use, and its log is not read here: what changed last may be half done"
                .to_owned()
        })
    }
}

//! Where the content of a file of NTFS lies.
//!
//! In: a file. Out: its bytes, or the runs of clusters that hold them. The library's own way to the content of a file that is
//! described in several records passes over what is in the first of them, so this collects the pieces by itself.

use std::collections::HashSet;

use ntfs::attribute_value::NtfsAttributeValue;
use ntfs::structured_values::NtfsAttributeList;
use ntfs::{Ntfs, NtfsAttribute, NtfsAttributeFlags, NtfsAttributeType, NtfsError, NtfsFile};

use crate::window::{Cursor, Window};
use crate::{Error, Result};

/// What the library says, in words of this crate.
pub(super) fn told(error: NtfsError) -> Error {
    match error {
        NtfsError::NotADirectory { .. } => Error::NotADirectory,
        other => Error::Damaged(other.to_string()),
    }
}

/// The content of a file.
pub(super) enum Data {
    /// It lies in the file's record.
    Resident(Vec<u8>),
    /// It lies in runs of clusters: where, none for zeros, and for how many bytes each.
    Runs {
        runs: Vec<(Option<u64>, u64)>,
        len: u64,
        /// How many bytes were ever written: the rest is zeros, whatever lies on the disk there.
        written: u64,
    },
    /// It is stored in a way that is not read here: why.
    Refused { why: &'static str, len: u64 },
}

impl Data {
    pub(super) fn len(&self) -> u64 {
        match self {
            Data::Resident(bytes) => bytes.len() as u64,
            Data::Runs { len, .. } | Data::Refused { len, .. } => *len,
        }
    }
}

/// One piece of the description of where content is: its first cluster in the file, and what it says.
struct Piece {
    first: u64,
    data: Data,
}

/// Whether more records than one describe a file.
pub(super) fn has_list(file: &NtfsFile<'_>) -> bool {
    let is_list = |attribute: &NtfsAttribute<'_, '_>| {
        attribute.ty().is_ok_and(|ty| ty == NtfsAttributeType::AttributeList)
    };
    file.attributes_raw().any(|attribute| attribute.as_ref().is_ok_and(is_list))
}

/// The content of a file; none of one that has none.
pub(super) fn data(
    ntfs: &Ntfs,
    window: &Window,
    cursor: &mut Cursor,
    file: &NtfsFile<'_>,
) -> Result<Option<Data>> {
    let mut pieces = pieces(window, cursor, file)?;
    for attribute in file.attributes_raw() {
        let attribute = attribute.map_err(told)?;
        if attribute.ty().map_err(told)? != NtfsAttributeType::AttributeList {
            continue;
        }
        let list = attribute.structured_value::<_, NtfsAttributeList<'_, '_>>(cursor);
        let mut entries = list.map_err(told)?.entries();
        let mut seen = HashSet::from([file.file_record_number()]);
        while let Some(entry) = entries.next(cursor) {
            let entry = entry.map_err(told)?;
            let is_data = entry.ty().is_ok_and(|ty| ty == NtfsAttributeType::Data);
            if is_data && seen.insert(entry.base_file_reference().file_record_number()) {
                let record = entry.to_file(ntfs, cursor).map_err(told)?;
                pieces.extend(self::pieces(window, cursor, &record)?);
            }
        }
    }
    pieces.sort_by_key(|piece| piece.first);
    let mut pieces = pieces.into_iter();
    let Some(first) = pieces.next() else { return Ok(None) };
    let mut whole = first.data;
    let (mut end, cluster) = (0_u64, u64::from(ntfs.cluster_size()));
    let broken = || Error::Damaged("what says where a file lies has a gap".to_owned());
    if first.first != 0 {
        return Err(broken());
    }
    if let Data::Runs { runs, .. } = &mut whole {
        let ends = |runs: &[(Option<u64>, u64)]| {
            runs.iter().try_fold(0_u64, |sum, (_, len)| sum.checked_add(*len)).ok_or_else(broken)
        };
        end = ends(runs)?;
        for piece in pieces.by_ref() {
            let Data::Runs { runs: more, .. } = piece.data else { return Err(broken()) };
            if piece.first.checked_mul(cluster) != Some(end) {
                return Err(broken());
            }
            end = end.checked_add(ends(&more)?).ok_or_else(broken)?;
            runs.extend(more);
        }
    }
    match &whole {
        Data::Refused { .. } => Ok(Some(whole)),
        Data::Resident(_) if pieces.next().is_none() => Ok(Some(whole)),
        Data::Runs { len, .. } if *len <= end => Ok(Some(whole)),
        _ => Err(broken()),
    }
}

/// What one record has of the content without a name.
fn pieces(window: &Window, cursor: &mut Cursor, record: &NtfsFile<'_>) -> Result<Vec<Piece>> {
    let mut pieces = Vec::new();
    for attribute in record.attributes_raw() {
        let attribute = attribute.map_err(told)?;
        let is_data = attribute.ty().is_ok_and(|ty| ty == NtfsAttributeType::Data);
        if !is_data || attribute.name_length() > 0 {
            continue;
        }
        let flags = attribute.flags();
        let why = match () {
            () if flags.contains(NtfsAttributeFlags::COMPRESSED) => {
                Some("NTFS has compressed it, which is not read here")
            }
            () if flags.contains(NtfsAttributeFlags::ENCRYPTED) => Some("the guest encrypted it"),
            () => None,
        };
        if let Some(why) = why {
            let first = if attribute.is_resident() { 0 } else { field(window, &attribute, 0x10)? };
            let len = if first == 0 { attribute.value_length() } else { 0 };
            pieces.push(Piece { first, data: Data::Refused { why, len } });
            continue;
        }
        match attribute.value(cursor).map_err(told)? {
            NtfsAttributeValue::Resident(value) => {
                let data = Data::Resident(value.data().to_vec());
                pieces.push(Piece { first: 0, data });
            }
            NtfsAttributeValue::NonResident(value) => {
                let mut runs = Vec::new();
                for run in value.data_runs() {
                    let run = run.map_err(told)?;
                    let place = run.data_position().value().map(|place| place.get());
                    runs.push((place, run.allocated_size()));
                }
                let first = field(window, &attribute, 0x10)?;
                // Only the first piece has the lengths.
                let (len, written) = match first {
                    0 => (attribute.value_length(), field(window, &attribute, 0x38)?),
                    _ => (0, 0),
                };
                pieces.push(Piece { first, data: Data::Runs { runs, len, written } });
            }
            NtfsAttributeValue::AttributeListNonResident(_) => {
                return Err(Error::Damaged("a list is in itself".to_owned()));
            }
        }
    }
    Ok(pieces)
}

/// A number of 8 bytes in the header of what is not in the record, for which the library has no word.
fn field(window: &Window, attribute: &NtfsAttribute<'_, '_>, at: u64) -> Result<u64> {
    let mut bytes = [0; 8];
    let place = attribute.position().value().and_then(|start| start.get().checked_add(at));
    let place = place.ok_or_else(|| Error::Damaged("an attribute is nowhere".to_owned()))?;
    window.fill(place, &mut bytes).map_err(|error| Error::Damaged(error.to_string()))?;
    // Headers begin at multiples of 8 bytes, and the last two bytes of a sector count its changes. Nothing is that long.
    Ok(u64::from_le_bytes(bytes) & 0xffff_ffff_ffff)
}

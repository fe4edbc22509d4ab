//! Every byte of one pack: the hash of the file is its name, every group opens, every chunk has its id.
//!
//! In: a pack with its footer. Out: what is wrong with it, and which chunks it does not hold.

use std::collections::{HashMap, HashSet};

use garret_format::index::{GroupRow, PackRow};
use garret_format::pack::Footer;
use garret_format::{ChunkId, PackId};

use crate::error::{Error, Result};
use crate::objects::group::WHOLE;
use crate::objects::pack::listed;
use crate::repository::Repository;
use crate::store::{Key, StoreError};

/// Packs of which every byte was read.
#[derive(Default)]
pub(super) struct Verified {
    /// Those that are as they were written, in the order in which they were read.
    pub(super) intact: Vec<PackId>,
    /// The others.
    pub(super) damaged: HashSet<PackId>,
    /// Packs that two readings found damaged, now or before.
    pub(super) confirmed: HashMap<PackId, u64>,
}

impl Verified {
    pub(super) fn count(&mut self, id: PackId, is_well: bool, is_read: bool) {
        match is_well {
            true if is_read => self.intact.push(id),
            true => {}
            false => drop(self.damaged.insert(id)),
        }
    }
}

/// Looks at all of it. Gives the chunks that are not there.
pub(super) fn verify_pack(
    repository: &Repository,
    pack: &PackRow,
    footer: &Footer,
    bytes: Result<Vec<u8>, StoreError>,
    errors: &mut Vec<Error>,
) -> HashSet<ChunkId> {
    let key = Key::Pack(pack.id);
    match &bytes {
        Ok(bytes) if blake3::hash(bytes) == *pack.id.as_bytes() => {}
        Ok(_) => errors.push(Error::misnamed(&key.to_string())),
        Err(_) => {}
    }
    // What cannot be read in one piece is read group by group.
    let bytes = bytes.map_err(|error| errors.push(error.into())).ok();
    let mut damaged = HashSet::new();
    for (row, chunks) in listed(footer) {
        let GroupRow { offset, sealed_len, .. } = row;
        let range = offset as usize..(offset as usize).saturating_add(sealed_len as usize);
        let group = match repository.packs().group(
            pack,
            &row,
            WHOLE,
            bytes.as_ref().and_then(|bytes| bytes.get(range)),
        ) {
            Ok(group) => group,
            Err(error) => {
                errors.push(error);
                damaged.extend(chunks.iter().map(|(id, _)| *id));
                continue;
            }
        };
        let mut contents = group.chunks();
        for (id, _) in chunks {
            if contents.next().and_then(|bytes| repository.hasher().verify(id, bytes)).is_none() {
                errors.push(Error::Corrupt {
                    object: key.to_string(),
                    offset: u64::from(offset),
                    what: format!("the group does not hold chunk {id}"),
                });
                damaged.insert(*id);
            }
        }
    }
    damaged
}

//! The record of condemned packs: what gc will delete when no session is left that might need it.
//!
//! In: packs that gc found that no archive needs. Out: the file `condemned`, which every session reads before anything else.
//! Promises: what is condemned counts as absent for whoever stores, and is read only where nothing else has it; one file is
//! put whole, by who holds the right to delete. docs/design.md, "Why gc is safe", has the rules by their numbers.

use garret_format::condemned::{CONDEMNED_MAX, CONDEMNED_ROW_LEN, Condemned};
use garret_format::object::{ENVELOPE_LEN, Kind};

use crate::error::Result;
use crate::keys::seal::Sealer;
use crate::objects::envelope;
use crate::store::{Key, Store, StoreError, StoreErrorKind};

/// Longest file of the record in bytes.
const RECORD_LEN_MAX: u64 = (ENVELOPE_LEN + 12 + CONDEMNED_MAX * CONDEMNED_ROW_LEN) as u64;

/// The record; an empty one if there is none.
pub(crate) fn load(store: &dyn Store, metadata: &Sealer) -> Result<Condemned> {
    open(metadata, read(store))
}

/// The bytes of its file.
pub(crate) fn read(store: &dyn Store) -> Result<Vec<u8>, StoreError> {
    store.get_whole(&Key::Condemned, RECORD_LEN_MAX)
}

/// What these say; an empty record if there was no file.
pub(crate) fn open(metadata: &Sealer, bytes: Result<Vec<u8>, StoreError>) -> Result<Condemned> {
    match bytes {
        Err(error) if error.kind == StoreErrorKind::NotFound => Ok(Condemned::default()),
        bytes => {
            let what = (&Key::Condemned, Kind::Condemned);
            envelope::open(metadata, what, &bytes?, Condemned::decode)
        }
    }
}

/// Puts the record, of at most `CONDEMNED_MAX` rows; durable when it returns.
pub(crate) fn store(store: &dyn Store, metadata: &Sealer, record: &Condemned) -> Result<()> {
    let bytes = envelope::seal(metadata, Kind::Condemned, record.encode())?;
    store.put(&Key::Condemned, &[&bytes])?;
    Ok(store.sync()?)
}

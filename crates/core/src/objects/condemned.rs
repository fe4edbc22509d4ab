//! The record of condemned packs: what gc will delete when no session is left that might need it.
//!
//! In: packs that gc found that no archive needs. Out: the file `condemned`, which every session reads before anything else.
//! Promises: what is condemned counts as absent for whoever stores, and is read only where nothing else has it; one file is
//! put whole, by who holds the right to delete. docs/design.md, "Why gc is safe", has the rules by their numbers.

use garret_format::condemned::{CONDEMNED_MAX, CONDEMNED_ROW_LEN, Condemned};
use garret_format::object::{ENVELOPE_LEN, Envelope, Kind};

use crate::error::{Error, Result};
use crate::keys::seal::{BoxKind, Nonce, Sealer};
use crate::store::{Key, Store, StoreErrorKind};

/// Longest file of the record in bytes.
const RECORD_LEN_MAX: u64 = (ENVELOPE_LEN + 12 + CONDEMNED_MAX * CONDEMNED_ROW_LEN) as u64;

/// The record; an empty one if there is none.
pub(crate) fn load(store: &dyn Store, metadata: &Sealer) -> Result<Condemned> {
    let key = Key::Condemned;
    let object = key.to_string();
    let bytes = match store.get_whole(&key, RECORD_LEN_MAX) {
        Err(error) if error.kind == StoreErrorKind::NotFound => return Ok(Condemned::default()),
        bytes => bytes?,
    };
    let envelope = Envelope::decode(&bytes, Kind::Condemned)
        .map_err(|error| Error::decode(&object, 0, error))?;
    let mut body = envelope.sealed;
    metadata
        .open(BoxKind::Condemned, &Nonce::from_bytes(envelope.nonce), &[], &mut body)
        .ok_or_else(|| Error::unsealed(&object, 0))?;
    Condemned::decode(&body).map_err(|error| Error::decode(&object, 0, error))
}

/// Puts the record, of at most `CONDEMNED_MAX` rows; durable when it returns.
pub(crate) fn store(store: &dyn Store, metadata: &Sealer, record: &Condemned) -> Result<()> {
    let nonce = Nonce::random()?;
    let mut sealed = record.encode();
    metadata.seal(BoxKind::Condemned, &nonce, &[], &mut sealed);
    let bytes = Envelope { nonce: nonce.to_bytes(), sealed }.encode(Kind::Condemned);
    store.put(&Key::Condemned, &[&bytes])?;
    Ok(store.sync()?)
}

//! Objects that are one sealed box: index segments, archives, records.
//!
//! In: what such an object says, in bytes. Out: its file, and what one says again. Promises: each file has a nonce of its
//! own; nothing of a file is given that is not of its kind, whole, and sealed by who has the key.

use garret_format::DecodeError;
use garret_format::object::{Envelope, HEADER_LEN, Kind};

use crate::error::{Error, Result};
use crate::keys::seal::{BoxKind, Nonce, Sealer};
use crate::store::{Key, Store, StoreErrorKind};

/// The file of an object of this kind that says `body`.
pub(crate) fn seal(sealer: &Sealer, kind: Kind, body: Vec<u8>) -> Result<Vec<u8>> {
    let (nonce, mut sealed) = (Nonce::random()?, body);
    sealer.seal(BoxKind::Whole(kind), &nonce, &[], &mut sealed);
    Ok(Envelope { nonce: nonce.to_bytes(), sealed }.encode(kind))
}

/// What an object says, by the bytes of its file and the decoder of its kind; errors call it by its key.
pub(crate) fn open<T>(
    sealer: &Sealer,
    (key, kind): (&Key, Kind),
    bytes: &[u8],
    decode: impl FnOnce(&[u8]) -> Result<T, DecodeError>,
) -> Result<T> {
    let object = key.to_string();
    let wrong = |error| Error::decode(&object, 0, error);
    match open_box(sealer, kind, bytes).map_err(wrong) {
        Ok(body) => decode(&body.ok_or_else(|| Error::unsealed(&object, 0))?).map_err(wrong),
        // A box is sealed for its version: one that opens as one of ours is none of a newer garret, whatever its head says.
        Err(error @ Error::Unsupported { .. }) => {
            let rest = bytes.get(HEADER_LEN..).unwrap_or_default();
            let ours = [&kind.header()[..], rest].concat();
            match open_box(sealer, kind, &ours) {
                Ok(Some(_)) => Err(error.of_ours()),
                _ => Err(error),
            }
        }
        Err(error) => Err(error),
    }
}

/// The body of a file of this kind; none if its box does not open.
fn open_box(sealer: &Sealer, kind: Kind, bytes: &[u8]) -> Result<Option<Vec<u8>>, DecodeError> {
    let Envelope { nonce, sealed: mut body } = Envelope::decode(bytes, kind)?;
    let nonce = Nonce::from_bytes(nonce);
    Ok(sealer.open(BoxKind::Whole(kind), &nonce, &[], &mut body).map(|()| body))
}

/// The same of what is in a store, in a file of at most `len_max` bytes; none if it is not there.
pub(crate) fn load<T>(
    store: &dyn Store,
    sealer: &Sealer,
    (key, kind): (&Key, Kind),
    len_max: u64,
    decode: impl FnOnce(&[u8]) -> Result<T, DecodeError>,
) -> Result<Option<T>> {
    match store.get_whole(key, len_max) {
        Err(error) if error.kind == StoreErrorKind::NotFound => Ok(None),
        bytes => open(sealer, (key, kind), &bytes?, decode).map(Some),
    }
}

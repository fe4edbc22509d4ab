//! Boxes: seal bytes so that only the key's holder reads them and any change shows; open them again.
//!
//! In an encrypted repository a box is XChaCha20-Poly1305. In an unencrypted one the bytes stay as they are and the tag is
//! BLAKE3 cut to 16 bytes: damage shows, an attacker is not stopped. Both have the same layout, so nothing else in the
//! engine knows which it is. The associated data names what the box is and where it belongs.

use chacha20poly1305::aead::{AeadInOut, KeyInit};
use chacha20poly1305::{Tag, XChaCha20Poly1305};
use format::RepositoryId;
use format::object::{NONCE_LEN, TAG_LEN, VERSION};

use crate::error::Result;
use crate::keys::{Keys, Purpose, random};

/// What a box holds: the first byte of its associated data, so that no box passes for one of another kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Content {
    FrameHeader = b'h',
    GroupBody = b'g',
    PackFooter = b'f',
    Index = b'I',
    Archive = b'A',
}

/// Seals and opens boxes of one repository with the key of one purpose.
#[derive(Clone)]
pub(crate) struct Sealer {
    repository: RepositoryId,
    purpose: Purpose,
    keys: Keys,
}

impl Sealer {
    pub(crate) fn new(repository: RepositoryId, purpose: Purpose, keys: &Keys) -> Self {
        Sealer { repository, purpose, keys: keys.clone() }
    }

    /// The cipher with its key, for one box: no copy of the key outlives it. None in an unencrypted repository.
    fn cipher(&self) -> Option<XChaCha20Poly1305> {
        self.keys.get(self.purpose).map(|key| XChaCha20Poly1305::new(key.into()))
    }

    /// Seals `bytes` in place and appends the tag. `place` is bound to the box: it opens only with the same.
    pub(crate) fn seal(&self, content: Content, nonce: &Nonce, place: &[u8], bytes: &mut Vec<u8>) {
        let bound = self.bound(content, place);
        let tag = match self.cipher() {
            Some(cipher) => cipher
                .encrypt_inout_detached(&nonce.0.into(), &bound, bytes.as_mut_slice().into())
                .expect("a box is far shorter than the 256 GiB the cipher can seal")
                .into(),
            None => plain_tag(nonce, &bound, bytes),
        };
        bytes.extend_from_slice(&tag);
    }

    /// Opens `bytes` in place and drops the tag; `None` if the box is not what was sealed as this content at this place.
    pub(crate) fn open(
        &self,
        content: Content,
        nonce: &Nonce,
        place: &[u8],
        bytes: &mut Vec<u8>,
    ) -> Option<()> {
        let bound = self.bound(content, place);
        let (body, tag) = bytes.split_last_chunk_mut::<TAG_LEN>()?;
        match self.cipher() {
            Some(cipher) => {
                let tag = Tag::from(*tag);
                cipher.decrypt_inout_detached(&nonce.0.into(), &bound, body.into(), &tag).ok()?;
            }
            None if plain_tag(nonce, &bound, body) == *tag => {}
            None => return None,
        }
        bytes.truncate(bytes.len() - TAG_LEN);
        Some(())
    }

    fn bound(&self, content: Content, place: &[u8]) -> Vec<u8> {
        let mut bound = Vec::with_capacity(2 + RepositoryId::LEN + place.len());
        bound.extend([content as u8, VERSION]);
        bound.extend(self.repository.as_bytes());
        bound.extend(place);
        bound
    }
}

fn plain_tag(nonce: &Nonce, bound: &[u8], bytes: &[u8]) -> [u8; TAG_LEN] {
    let mut tag = [0; TAG_LEN];
    blake3::Hasher::new_derive_key("garret v1 unencrypted box")
        .update(&nonce.0)
        .update(&(bound.len() as u64).to_le_bytes())
        .update(bound)
        .update(bytes)
        .finalize_xof()
        .fill(&mut tag);
    tag
}

/// The one place where nonces are made: 16 bytes random for every attempt to write an object, and a counter within it. No
/// state is kept, so a client restored from a snapshot cannot repeat one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Nonce([u8; NONCE_LEN]);

impl Nonce {
    /// The nonce of an object that is one box.
    pub(crate) fn random() -> Result<Self> {
        Ok(Self::counted(&random()?, 0))
    }

    /// The nonce of box number `counter` under a salt.
    pub(crate) fn counted(salt: &[u8; 16], counter: u64) -> Self {
        let mut nonce = [0; NONCE_LEN];
        let (first, last) = nonce.split_at_mut(16);
        first.copy_from_slice(salt);
        last.copy_from_slice(&counter.to_le_bytes());
        Nonce(nonce)
    }

    pub(crate) fn from_bytes(bytes: [u8; NONCE_LEN]) -> Self {
        Nonce(bytes)
    }

    pub(crate) fn to_bytes(self) -> [u8; NONCE_LEN] {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::MasterKey;

    #[test]
    fn a_box_opens_only_as_what_it_was_sealed_as() {
        let repository = RepositoryId::from_bytes([1; 32]);
        let salt = [2; 16];
        for keys in [Keys::none(), Keys::derive(&MasterKey::random().unwrap()).unwrap()] {
            let sealer = Sealer::new(repository, Purpose::Data, &keys);
            let mut sealed = b"content".to_vec();
            sealer.seal(Content::Index, &Nonce::counted(&salt, 1), b"here", &mut sealed);
            let open = |sealer: &Sealer, content, counter, place: &[u8], mut bytes: Vec<u8>| {
                sealer
                    .open(content, &Nonce::counted(&salt, counter), place, &mut bytes)
                    .map(|()| bytes)
            };
            let opened = open(&sealer, Content::Index, 1, b"here", sealed.clone());
            assert_eq!(opened.as_deref(), Some(&b"content"[..]));
            assert_eq!(open(&sealer, Content::Archive, 1, b"here", sealed.clone()), None);
            assert_eq!(open(&sealer, Content::Index, 2, b"here", sealed.clone()), None);
            assert_eq!(open(&sealer, Content::Index, 1, b"there", sealed.clone()), None);
            let other = Sealer::new(RepositoryId::from_bytes([9; 32]), Purpose::Data, &keys);
            assert_eq!(open(&other, Content::Index, 1, b"here", sealed.clone()), None);
            for place in 0..sealed.len() {
                let mut flipped = sealed.clone();
                flipped[place] ^= 1;
                assert_eq!(
                    open(&sealer, Content::Index, 1, b"here", flipped),
                    None,
                    "byte {place}"
                );
            }
        }
    }
}

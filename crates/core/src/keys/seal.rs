//! Boxes: seal bytes so that only the key's holder reads them and any change shows; open them again.
//!
//! In an encrypted repository a box is XChaCha20-Poly1305. In an unencrypted one the bytes stay as they are and the tag is
//! BLAKE3 cut to 16 bytes: damage shows, an attacker is not stopped. Both have the same layout, so nothing else in the
//! engine knows which it is. The associated data names what the box is and where it belongs.

use chacha20poly1305::aead::{AeadInOut, KeyInit};
use chacha20poly1305::{Tag, XChaCha20Poly1305};
use garret_format::RepositoryId;
use garret_format::object::{Kind, NONCE_LEN, TAG_LEN, VERSION};

use crate::error::Result;
use crate::keys::{Keys, Purpose, random};

/// What a box holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BoxKind {
    FrameHeader,
    GroupBody,
    PackFooter,
    /// All that an object of this kind says.
    Whole(Kind),
}

impl BoxKind {
    /// The first byte of its associated data, so that no box passes for one of another kind.
    fn letter(self) -> u8 {
        match self {
            BoxKind::FrameHeader => b'h',
            BoxKind::GroupBody => b'g',
            BoxKind::PackFooter => b'f',
            BoxKind::Whole(kind) => kind as u8,
        }
    }
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
    pub(crate) fn seal(&self, content: BoxKind, nonce: &Nonce, place: &[u8], bytes: &mut Vec<u8>) {
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
        content: BoxKind,
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

    fn bound(&self, content: BoxKind, place: &[u8]) -> Vec<u8> {
        let mut bound = Vec::with_capacity(2 + RepositoryId::LEN + place.len());
        bound.extend([content.letter(), VERSION]);
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

    #[test]
    fn a_box_opens_only_as_what_it_was_sealed_as() {
        let repository = RepositoryId::from_bytes([1; 32]);
        let salt = [2; 16];
        for keys in [Keys::none(), Keys::fixed([3; 32])] {
            let sealer = Sealer::new(repository, Purpose::Data, &keys);
            let mut sealed = b"content".to_vec();
            sealer.seal(
                BoxKind::Whole(Kind::Index),
                &Nonce::counted(&salt, 1),
                b"here",
                &mut sealed,
            );
            let open = |sealer: &Sealer, content, counter, place: &[u8], mut bytes: Vec<u8>| {
                sealer
                    .open(content, &Nonce::counted(&salt, counter), place, &mut bytes)
                    .map(|()| bytes)
            };
            let opened = open(&sealer, BoxKind::Whole(Kind::Index), 1, b"here", sealed.clone());
            assert_eq!(opened.as_deref(), Some(&b"content"[..]));
            assert_eq!(
                open(&sealer, BoxKind::Whole(Kind::Archive), 1, b"here", sealed.clone()),
                None
            );
            assert_eq!(
                open(&sealer, BoxKind::Whole(Kind::Index), 2, b"here", sealed.clone()),
                None
            );
            assert_eq!(
                open(&sealer, BoxKind::Whole(Kind::Index), 1, b"there", sealed.clone()),
                None
            );
            let other = Sealer::new(RepositoryId::from_bytes([9; 32]), Purpose::Data, &keys);
            assert_eq!(open(&other, BoxKind::Whole(Kind::Index), 1, b"here", sealed.clone()), None);
            for place in 0..sealed.len() {
                let mut flipped = sealed.clone();
                flipped[place] ^= 1;
                assert_eq!(
                    open(&sealer, BoxKind::Whole(Kind::Index), 1, b"here", flipped),
                    None,
                    "byte {place}"
                );
            }
        }
    }

    const CONTENTS: [BoxKind; 5] = [
        BoxKind::FrameHeader,
        BoxKind::GroupBody,
        BoxKind::PackFooter,
        BoxKind::Whole(Kind::Index),
        BoxKind::Whole(Kind::Archive),
    ];

    /// Type confusion (T23), whatever key, nonce and place are the same.
    #[test]
    fn no_box_passes_for_one_of_another_kind() {
        let nonce = Nonce::counted(&[2; 16], 24);
        for keys in [Keys::none(), Keys::fixed([3; 32])] {
            let sealer = Sealer::new(RepositoryId::from_bytes([1; 32]), Purpose::Data, &keys);
            for (sealed_as, opened_as) in
                CONTENTS.iter().flat_map(|a| CONTENTS.iter().map(move |b| (*a, *b)))
            {
                let mut bytes = b"sixteen bytes ..".to_vec();
                sealer.seal(sealed_as, &nonce, b"here", &mut bytes);
                let opened = sealer.open(opened_as, &nonce, b"here", &mut bytes).is_some();
                assert_eq!(opened, sealed_as == opened_as, "{sealed_as:?} as {opened_as:?}");
            }
        }
    }

    fn hex(text: &str) -> Vec<u8> {
        let byte = |at| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
        (0..text.len()).step_by(2).map(byte).collect()
    }

    /// The vector of draft-irtf-cfrg-xchacha, A.3.1, of the crate that we build upon.
    #[test]
    fn xchacha20_poly1305_gives_the_vector_of_its_draft() {
        let key: [u8; 32] = std::array::from_fn(|number| 0x80 + number as u8);
        let nonce: [u8; 24] = std::array::from_fn(|number| 0x40 + number as u8);
        let bound = hex("50515253c0c1c2c3c4c5c6c7");
        let mut bytes = b"Ladies and Gentlemen of the class of '99: If I could offer you only one \
                          tip for the future, sunscreen would be it."
            .to_vec();
        let tag = XChaCha20Poly1305::new(&key.into())
            .encrypt_inout_detached(&nonce.into(), &bound, bytes.as_mut_slice().into())
            .unwrap();
        let expected = "bd6d179d3e83d43b9576579493c0e939572a1700252bfaccbed2902c21396cbb731c7f1b\
                        0b4aa6440bf3a82f4eda7e39ae64c6708c54c216cb96b72e1213b4522f8c9ba40db5d945\
                        b11b69b982c1bb9e3f3fac2bc369488f76b2383565d3fff921f9664c97637da9768812f6\
                        15c68b13b52e";
        assert_eq!((bytes, tag.to_vec()), (hex(expected), hex("c0875924c1c7987947deafd8780acf49")));
    }

    /// A box as libsodium and the BLAKE3 team's Python module make it from the words of docs/format.md.
    #[test]
    fn a_box_is_what_others_make_of_the_page() {
        let nonce = Nonce::counted(&[2; 16], 0x0102_0304_0506_0708);
        for (keys, expected) in [
            (Keys::fixed([3; 32]), "4b4fc1b183c8424ddd3421351680aae5bc89d258b7427d".to_owned()),
            (Keys::none(), format!("{}93dca5b609164a8d217b573c0835b387", "636f6e74656e74")),
        ] {
            let sealer = Sealer::new(RepositoryId::from_bytes([0x11; 32]), Purpose::Data, &keys);
            let mut bytes = b"content".to_vec();
            sealer.seal(BoxKind::Whole(Kind::Index), &nonce, b"here", &mut bytes);
            assert_eq!(bytes, hex(&expected));
        }
    }
}

//! Boxes: seal bytes so that only the key's holder reads them and any change shows; open them again.
//!
//! In an encrypted repository a box is XChaCha20-Poly1305 or AES-256-GCM. Both make a key for each salt out of the key of the
//! purpose, and count nonces under it: so neither can run out of nonces. In an unencrypted one the bytes stay as they are and
//! the tag is BLAKE3 cut to 16 bytes: damage shows, an attacker is not stopped. All have the same layout, so nothing else in
//! the engine knows which it is. The associated data names what the box is and where it belongs.

use chacha20::{R20, hchacha};
use garret_format::RepositoryId;
use garret_format::config::Cipher;
use garret_format::object::{Kind, NONCE_LEN, TAG_LEN, VERSION};
use garret_format::pack::SALT_LEN;
use ring::aead::{AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, UnboundKey};
use zeroize::{Zeroize, Zeroizing};

use crate::error::Result;
use crate::keys::{Keys, Purpose, random};

/// The faster cipher on this machine: AES where the processor has instructions for it and for its authentication, or else
/// XChaCha20-Poly1305, which needs none. Each opens everywhere.
pub fn fastest_cipher() -> Cipher {
    #[cfg(target_arch = "x86_64")]
    let has_aes = is_x86_feature_detected!("aes") && is_x86_feature_detected!("pclmulqdq");
    #[cfg(target_arch = "aarch64")]
    let has_aes = std::arch::is_aarch64_feature_detected!("aes");
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let has_aes = false;
    if has_aes { Cipher::Aes256Gcm } else { Cipher::XChaCha20Poly1305 }
}

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

    /// What encrypts boxes with the salt of this nonce. None in an unencrypted repository.
    fn cipher(&self, nonce: &Nonce) -> Option<LessSafeKey> {
        let (cipher, key) = self.keys.cipher(self.purpose)?;
        Some(keyed(cipher, key, nonce.salt()))
    }

    /// Seals `bytes` in place and appends the tag. `place` is bound to the box: it opens only with the same.
    pub(crate) fn seal(&self, content: BoxKind, nonce: &Nonce, place: &[u8], bytes: &mut Vec<u8>) {
        let bound = self.bound(content, place);
        match self.cipher(nonce) {
            Some(cipher) => cipher
                .seal_in_place_append_tag(nonce.short(), Aad::from(&bound), bytes)
                .expect("a box is far shorter than the 64 GiB that either cipher can seal"),
            None => bytes.extend_from_slice(&plain_tag(nonce, &bound, bytes)),
        }
    }

    /// Opens `bytes` in place and drops the tag; `None` if the box is not what was sealed as this content at this place.
    pub(crate) fn open(
        &self,
        content: BoxKind,
        nonce: &Nonce,
        place: &[u8],
        bytes: &mut Vec<u8>,
    ) -> Option<()> {
        self.open_behind(0, content, nonce, place, bytes)
    }

    /// The same of a box that `from` bytes stand before: they are dropped.
    pub(crate) fn open_behind(
        &self,
        from: usize,
        content: BoxKind,
        nonce: &Nonce,
        place: &[u8],
        bytes: &mut Vec<u8>,
    ) -> Option<()> {
        let bound = self.bound(content, place);
        let len = match self.cipher(nonce) {
            Some(cipher) => {
                let bound = Aad::from(&bound);
                cipher.open_within(nonce.short(), bound, bytes, from..).ok()?.len()
            }
            None => {
                let (body, tag) = bytes.get(from..)?.split_last_chunk::<TAG_LEN>()?;
                let len = (plain_tag(nonce, &bound, body) == *tag).then_some(body.len())?;
                bytes.drain(..from);
                len
            }
        };
        bytes.truncate(len);
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

/// The cipher with the key that all boxes with this salt have.
fn keyed(cipher: Cipher, key: &[u8; 32], salt: &[u8; SALT_LEN]) -> LessSafeKey {
    let mut own = Zeroizing::new([0; 32]);
    let algorithm = match cipher {
        // With the counter as its nonce that is XChaCha20-Poly1305 to the byte: draft-irtf-cfrg-xchacha, 2.3.
        Cipher::XChaCha20Poly1305 => {
            let mut made = hchacha::<R20>(key.into(), salt.into());
            own.copy_from_slice(&made);
            made.zeroize();
            &CHACHA20_POLY1305
        }
        Cipher::Aes256Gcm => {
            let mut hasher = blake3::Hasher::new_derive_key("garret v1 aes-256-gcm");
            let mut made = hasher.update(key).update(salt).finalize_xof();
            made.fill(&mut *own);
            // They hold the key of the purpose, which opens more than this one object.
            made.zeroize();
            hasher.zeroize();
            &AES_256_GCM
        }
    };
    LessSafeKey::new(UnboundKey::new(algorithm, &*own).expect("both take keys of 32 bytes"))
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
    pub(crate) fn counted(salt: &[u8; SALT_LEN], counter: u64) -> Self {
        let mut nonce = [0; NONCE_LEN];
        let (first, last) = nonce.split_at_mut(SALT_LEN);
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

    fn salt(&self) -> &[u8; SALT_LEN] {
        self.0.first_chunk().expect("a nonce begins with its salt")
    }

    /// What the ciphers take: the counter behind four zeros.
    fn short(&self) -> ring::aead::Nonce {
        let mut counter = [0; 12];
        let (_, last) = counter.split_at_mut(4);
        last.copy_from_slice(&self.0[SALT_LEN..]);
        ring::aead::Nonce::assume_unique_for_key(counter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chacha20poly1305::XChaCha20Poly1305;
    use chacha20poly1305::aead::{Aead, KeyInit, Payload};

    const CIPHERS: [Cipher; 2] = [Cipher::XChaCha20Poly1305, Cipher::Aes256Gcm];

    /// None, and of each cipher.
    fn all_keys() -> impl Iterator<Item = Keys> {
        [Keys::none()].into_iter().chain(CIPHERS.map(|cipher| Keys::fixed([3; 32], cipher)))
    }

    #[test]
    fn a_box_opens_only_as_what_it_was_sealed_as() {
        let repository = RepositoryId::from_bytes([1; 32]);
        let salt = [2; 16];
        for keys in all_keys() {
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
        for keys in all_keys() {
            let sealer = Sealer::new(RepositoryId::from_bytes([1; 32]), Purpose::Data, &keys);
            for (sealed_as, opened_as) in
                CONTENTS.iter().flat_map(|a| CONTENTS.iter().map(move |b| (*a, *b)))
            {
                let mut bytes = b"sixteen bytes ..".to_vec();
                sealer.seal(sealed_as, &nonce, b"here", &mut bytes);
                let mut behind = [b"something".as_slice(), &bytes].concat();
                let opened = sealer.open(opened_as, &nonce, b"here", &mut bytes).is_some();
                assert_eq!(opened, sealed_as == opened_as, "{sealed_as:?} as {opened_as:?}");
                let same = sealer.open_behind(9, opened_as, &nonce, b"here", &mut behind);
                assert_eq!(same.is_some(), opened);
                assert!(!opened || (&behind, &bytes[..]) == (&bytes, b"sixteen bytes .."));
            }
        }
    }

    fn hex(text: &str) -> Vec<u8> {
        let byte = |at| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
        (0..text.len()).step_by(2).map(byte).collect()
    }

    /// The vector of draft-irtf-cfrg-xchacha, A.3.1.
    #[test]
    fn xchacha20_poly1305_gives_the_vector_of_its_draft() {
        let key: [u8; 32] = std::array::from_fn(|number| 0x80 + number as u8);
        let nonce: [u8; 24] = std::array::from_fn(|number| 0x40 + number as u8);
        let bound = hex("50515253c0c1c2c3c4c5c6c7");
        let mut bytes = b"Ladies and Gentlemen of the class of '99: If I could offer you only one \
                          tip for the future, sunscreen would be it."
            .to_vec();
        let nonce = Nonce::from_bytes(nonce);
        keyed(Cipher::XChaCha20Poly1305, &key, nonce.salt())
            .seal_in_place_append_tag(nonce.short(), Aad::from(bound), &mut bytes)
            .unwrap();
        let expected = "bd6d179d3e83d43b9576579493c0e939572a1700252bfaccbed2902c21396cbb731c7f1b\
                        0b4aa6440bf3a82f4eda7e39ae64c6708c54c216cb96b72e1213b4522f8c9ba40db5d945\
                        b11b69b982c1bb9e3f3fac2bc369488f76b2383565d3fff921f9664c97637da9768812f6\
                        15c68b13b52e";
        let tag = "c0875924c1c7987947deafd8780acf49";
        assert_eq!(bytes, hex(&[expected, tag].concat()));
    }

    /// Test case 14 of "The Galois/Counter Mode of Operation (GCM)", McGrew and Viega, of the crate that we build upon.
    #[test]
    fn aes_256_gcm_gives_the_vector_of_its_paper() {
        let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &[0; 32]).unwrap());
        let nonce = ring::aead::Nonce::assume_unique_for_key([0; 12]);
        let mut bytes = vec![0; 16];
        key.seal_in_place_append_tag(nonce, Aad::empty(), &mut bytes).unwrap();
        let expected = "cea7403d4d606b6e074ec5d3baf39d18d0d1c8a799996bf0265b98b5d48ab919";
        assert_eq!(bytes, hex(expected));
    }

    proptest::proptest! {
        /// The crates around `aead` seal the same: other code but for HChaCha20 and BLAKE3, which vectors hold. Lengths are
        /// around a block, around where counters carry, and of a group.
        #[test]
        fn both_ciphers_are_those_of_other_crates(
            key: [u8; 32],
            salt: [u8; SALT_LEN],
            counter: u64,
            place in proptest::collection::vec(proptest::num::u8::ANY, 0..40),
            len in proptest::prop_oneof![
                0..3000usize,
                proptest::sample::select(vec![0, 1, 15, 16, 17, 4080, 4096, 4097, 65_537, (1 << 20) + 5]),
            ],
            first: u8,
        ) {
            let nonce = Nonce::counted(&salt, counter);
            let plain: Vec<u8> = (0..len).map(|at| first ^ (at ^ (at >> 8)) as u8).collect();
            for cipher in CIPHERS {
                let keys = Keys::fixed(key, cipher);
                let sealer = Sealer::new(RepositoryId::from_bytes([1; 32]), Purpose::Data, &keys);
                let mut sealed = plain.clone();
                sealer.seal(BoxKind::GroupBody, &nonce, &place, &mut sealed);
                let aad = sealer.bound(BoxKind::GroupBody, &place);
                let payload = Payload { msg: &plain, aad: &aad };
                let other = match cipher {
                    Cipher::XChaCha20Poly1305 => {
                        XChaCha20Poly1305::new(&key.into()).encrypt(&nonce.0.into(), payload)
                    }
                    Cipher::Aes256Gcm => {
                        let own = blake3::derive_key("garret v1 aes-256-gcm", &[&key[..], &salt].concat());
                        let counter: [u8; 12] = [&[0; 4][..], &counter.to_le_bytes()].concat().try_into().unwrap();
                        aes_gcm::Aes256Gcm::new(&own.into()).encrypt(&counter.into(), payload)
                    }
                };
                proptest::prop_assert_eq!(&sealed, &other.unwrap());
                sealer.open(BoxKind::GroupBody, &nonce, &place, &mut sealed).unwrap();
                proptest::prop_assert_eq!(&sealed, &plain);
            }
        }
    }

    /// A box as libsodium, OpenSSL and the BLAKE3 team's Python module make it from the words of docs/format.md.
    #[test]
    fn a_box_is_what_others_make_of_the_page() {
        let nonce = Nonce::counted(&[2; 16], 0x0102_0304_0506_0708);
        for (keys, expected) in [
            (
                Keys::fixed([3; 32], Cipher::XChaCha20Poly1305),
                "4b4fc1b183c8424ddd3421351680aae5bc89d258b7427d".to_owned(),
            ),
            (
                Keys::fixed([3; 32], Cipher::Aes256Gcm),
                "a2806013c70391d847fb2308b9550c6e6944e3c925e285".to_owned(),
            ),
            (Keys::none(), format!("{}93dca5b609164a8d217b573c0835b387", "636f6e74656e74")),
        ] {
            let sealer = Sealer::new(RepositoryId::from_bytes([0x11; 32]), Purpose::Data, &keys);
            let mut bytes = b"content".to_vec();
            sealer.seal(BoxKind::Whole(Kind::Index), &nonce, b"here", &mut bytes);
            assert_eq!(bytes, hex(&expected));
        }
    }
}

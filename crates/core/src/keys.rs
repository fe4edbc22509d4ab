//! The keys of a repository: from passphrase or key file to the master key, from there to one key per purpose.
//!
//! ```text
//! passphrase --Argon2id--> wrapping key --opens slot--> master key --BLAKE3 derive_key--> one key per purpose
//! ```
//!
//! A slot stands in the repository or in a key file; the bytes are the same. Its commitment is checked before the AEAD,
//! because XChaCha20-Poly1305 alone would open one slot under several keys. docs/security.md gives the whole scheme.

pub(crate) mod chunk;
pub(crate) mod paper;
pub(crate) mod seal;

use std::sync::Arc;

use argon2::{Algorithm, Argon2, Params, Version};
use chacha20poly1305::aead::{AeadInOut, KeyInit};
use chacha20poly1305::{Tag, XChaCha20Poly1305};
use garret_chunker::PUBLIC_PAGE_KEY;
use garret_format::config::{Cipher, Config};
use garret_format::slot::{Kdf, Label, Slot};
use garret_format::{KeyId, RepositoryId, SlotId};
use memmap2::{Advice, MmapMut};
use zeroize::{Zeroize, Zeroizing};

use crate::error::{Error, Result};

/// Argon2id at three passes over 256 MiB: 0.7 s on a 2026 core, four times borg's memory.
pub const KDF_DEFAULT: Kdf = Kdf::Argon2id { memory_kib: 256 << 10, passes: 3, lanes: 4 };

/// The secret that everything in an encrypted repository hangs on: on the heap, so that what moves is no secret. Wiped when
/// dropped.
#[derive(Clone)]
pub struct MasterKey(Box<Zeroizing<[u8; 32]>>);

impl MasterKey {
    /// A new random key.
    pub fn random() -> Result<Self> {
        let mut master = Self::blank();
        fill_random(&mut **master.0)?;
        Ok(master)
    }

    fn blank() -> Self {
        MasterKey(Box::new(Zeroizing::new([0; 32])))
    }

    /// What tells this key from others.
    pub(crate) fn id(&self) -> KeyId {
        let mut id = [0; 32];
        self.derive("garret v1 key id", &mut id);
        KeyId::from_bytes(id)
    }

    /// One key per purpose, written to its place; `context` is a constant of this file.
    fn derive(&self, context: &str, key: &mut [u8]) {
        blake3::Hasher::new_derive_key(context).update(&**self.0).finalize_xof().fill(key);
    }
}

/// What a key is for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Purpose {
    /// Keys the ids of chunks.
    ChunkId,
    /// The cutters' keys follow from it.
    Chunker,
    /// Seals packs.
    Data,
    /// Seals index segments and archives.
    Metadata,
    /// Authenticates what the client keeps of the index, and seals what it saw.
    Client,
}

/// The purposes, in the order of their keys in memory.
const PURPOSES: [(Purpose, &str); 5] = [
    (Purpose::ChunkId, "garret v1 chunk id"),
    (Purpose::Chunker, "garret v1 chunker"),
    (Purpose::Data, "garret v1 pack data"),
    (Purpose::Metadata, "garret v1 metadata"),
    (Purpose::Client, "garret v1 client state"),
];

/// The keys an open repository works with. All clones share the one place in memory where they are; it is wiped when the last
/// is dropped.
#[derive(Clone)]
pub struct Keys {
    /// Where they are, and what they encrypt with; none in an unencrypted repository.
    place: Option<(Arc<LockedPage>, Cipher)>,
    /// Which master key they follow from; no secret.
    id: Option<KeyId>,
    /// Which slot of the repository opened; no secret.
    slot: Option<SlotId>,
}

/// A page of memory that is neither swapped nor dumped, as far as the limits of the process allow.
struct LockedPage(MmapMut);

impl LockedPage {
    /// With the key of each purpose, written to where it stays by `fill`.
    fn filled(fill: impl Fn(&str, &mut [u8])) -> Result<Self> {
        let len = PURPOSES.len() * 32;
        let page = MmapMut::map_anon(len)
            .map_err(|source| Error::System { what: "making room for keys", source })?;
        let mut place = LockedPage(page);
        // Who may lock no memory, or has a kernel without that advice, still gets his backup: docs/security.md says so.
        let _swapped = place.0.lock();
        let _dumped = place.0.advise(Advice::DontDump);
        for ((_, context), key) in PURPOSES.iter().zip(place.0.chunks_exact_mut(32)) {
            fill(context, key);
        }
        Ok(place)
    }
}

impl Drop for LockedPage {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl Keys {
    /// The keys of an unencrypted repository: none.
    pub fn none() -> Self {
        Keys { place: None, id: None, slot: None }
    }

    /// The keys that follow from the master key, for a repository with this cipher.
    ///
    /// # Errors
    /// `System` if there is no memory for them.
    pub fn derive(master: &MasterKey, cipher: Cipher) -> Result<Self> {
        let place = LockedPage::filled(|context, key| master.derive(context, key))?;
        Ok(Keys { place: Some((Arc::new(place), cipher)), id: Some(master.id()), slot: None })
    }

    /// One key for everything, which is known.
    #[cfg(test)]
    pub(crate) fn fixed(key: [u8; 32], cipher: Cipher) -> Self {
        let place = LockedPage::filled(|_, place| place.copy_from_slice(&key)).unwrap();
        Keys { place: Some((Arc::new(place), cipher)), id: None, slot: None }
    }

    /// What encrypts, and its key for a purpose; none in an unencrypted repository.
    pub(crate) fn cipher(&self, purpose: Purpose) -> Option<(Cipher, &[u8; 32])> {
        let (_, cipher) = self.place.as_ref()?;
        Some((*cipher, self.get(purpose)?))
    }

    /// The key for a purpose; none in an unencrypted repository.
    pub(crate) fn get(&self, purpose: Purpose) -> Option<&[u8; 32]> {
        let (place, _) = self.place.as_ref()?;
        let (keys, _) = place.0.as_chunks::<32>();
        keys.get(purpose as usize)
    }

    /// What keys the page cutter; the published constant in an unencrypted repository, so that those can be compared.
    pub(crate) fn page(&self) -> Zeroizing<[u8; 16]> {
        let Some(chunker) = self.get(Purpose::Chunker) else {
            return Zeroizing::new(PUBLIC_PAGE_KEY);
        };
        let mut page = Zeroizing::new([0; 16]);
        blake3::Hasher::new_derive_key("garret v1 chunker page")
            .update(chunker)
            .finalize_xof()
            .fill(&mut *page);
        page
    }

    /// What authenticates text that the client keeps of the repository; none in an unencrypted one.
    pub fn authenticate(&self, text: &[u8]) -> Option<blake3::Hash> {
        let tag = self.tag(text);
        wipe_stack();
        tag
    }

    // Not inlined: what it leaves lies below the stack of its caller, who wipes that.
    #[inline(never)]
    fn tag(&self, text: &[u8]) -> Option<blake3::Hash> {
        let mut key = Zeroizing::new([0; 32]);
        blake3::Hasher::new_derive_key("garret v1 state file")
            .update(self.get(Purpose::Client)?)
            .finalize_xof()
            .fill(&mut *key);
        Some(blake3::keyed_hash(&key, text))
    }

    /// Which master key they follow from; none for those of an unencrypted repository.
    pub fn id(&self) -> Option<KeyId> {
        self.id
    }

    /// Which slot of the repository opened, if it was one of those: the one to be tried first the next time.
    pub fn slot(&self) -> Option<SlotId> {
        self.slot
    }

    /// The same keys, found by this slot.
    pub(crate) fn found_by(self, slot: Option<SlotId>) -> Self {
        Keys { slot, ..self }
    }

    /// Whether these are the kind of keys that `config` calls for.
    pub(crate) fn fit(&self, config: &Config) -> bool {
        self.place.as_ref().map(|(_, cipher)| *cipher) == config.cipher
    }
}

/// A way to the master key that is to be made.
#[derive(Clone)]
#[non_exhaustive]
pub struct NewKey<'a> {
    /// What will open it; an empty one is only for key files.
    pub passphrase: &'a [u8],
    /// How the passphrase is made into a key.
    pub kdf: Kdf,
    /// What the user calls it.
    pub label: Label,
    /// When, in seconds since 1970.
    pub now: i64,
}

impl<'a> NewKey<'a> {
    /// With [`KDF_DEFAULT`] and without a label.
    pub fn new(passphrase: &'a [u8], now: i64) -> Self {
        NewKey { passphrase, kdf: KDF_DEFAULT, label: Label::default(), now }
    }
}

impl std::fmt::Debug for NewKey<'_> {
    /// Without what opens it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("NewKey");
        shown.field("kdf", &self.kdf).field("label", &self.label).field("now", &self.now);
        shown.finish_non_exhaustive()
    }
}

/// Wraps `master` in a new slot.
pub(crate) fn create_slot(
    master: &MasterKey,
    repository: RepositoryId,
    config_bytes: &[u8],
    new: &NewKey<'_>,
) -> Result<Slot> {
    let passphrase = new.passphrase;
    let mut slot = Slot {
        id: SlotId::from_bytes(random()?),
        repository,
        config_hash: *blake3::hash(config_bytes).as_bytes(),
        kdf: if passphrase.is_empty() { Kdf::Blank } else { new.kdf },
        salt: random()?,
        nonce: random()?,
        created: new.now,
        label: new.label.clone(),
        wrapped: [0; 48],
        commitment: [0; 32],
    };
    let wrapping = wrapping_key(&slot, passphrase)?;
    let bound = slot.bound();
    let (key, tag) = slot.wrapped.split_at_mut(32);
    key.copy_from_slice(&**master.0);
    let sealed = XChaCha20Poly1305::new((&**wrapping).into())
        .encrypt_inout_detached(&slot.nonce.into(), &bound, key.into())
        .map_err(|_| Error::BadOption("the master key could not be wrapped".to_owned()))?;
    tag.copy_from_slice(&sealed);
    slot.commitment = commitment(&wrapping, &bound, &slot.wrapped);
    Ok(slot)
}

/// Opens a slot; `object` names it in errors.
///
/// # Errors
/// `WrongPassphrase`, or `WrongKey` when the slot is of another repository or the configuration is not the one it was made
/// for.
pub(crate) fn open_slot(
    slot: &Slot,
    config: &Config,
    config_bytes: &[u8],
    passphrase: &[u8],
    object: &str,
) -> Result<MasterKey> {
    if slot.repository != config.repository || blake3::hash(config_bytes) != slot.config_hash {
        return Err(Error::WrongKey { object: object.to_owned() });
    }
    if passphrase.is_empty() && slot.kdf != Kdf::Blank {
        // None is made like that: no need to try.
        return Err(Error::WrongPassphrase);
    }
    let wrapping = wrapping_key(slot, passphrase)?;
    let bound = slot.bound();
    // `blake3::Hash` compares in constant time.
    if blake3::Hash::from(commitment(&wrapping, &bound, &slot.wrapped)) != slot.commitment {
        return Err(Error::WrongPassphrase);
    }
    let (key, tag) = slot.wrapped.split_at(32);
    let mut master = MasterKey::blank();
    master.0.copy_from_slice(key);
    let tag = Tag::try_from(tag).map_err(|_| Error::WrongPassphrase)?;
    XChaCha20Poly1305::new((&**wrapping).into())
        .decrypt_inout_detached(&slot.nonce.into(), &bound, master.0.as_mut_slice().into(), &tag)
        .map_err(|_| Error::WrongPassphrase)?;
    Ok(master)
}

/// Wipes what calls that have returned left on the stack: hashers and ciphers keep their input there. 64 KiB are some times
/// what the deepest of them takes.
#[inline(never)]
pub(crate) fn wipe_stack() {
    let mut left = [0u8; 64 << 10];
    left.zeroize();
    std::hint::black_box(&left);
}

fn wrapping_key(slot: &Slot, passphrase: &[u8]) -> Result<Box<Zeroizing<[u8; 32]>>> {
    let mut key = Box::new(Zeroizing::new([0; 32]));
    match slot.kdf {
        Kdf::Blank => **key = blake3::derive_key("garret v1 blank passphrase", &slot.salt),
        Kdf::Argon2id { memory_kib, passes, lanes } => {
            let refused = |error| Error::BadOption(format!("key slot {}: {error}", slot.id));
            let params = Params::new(memory_kib, passes, lanes, Some(32)).map_err(refused)?;
            Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
                .hash_password_into(passphrase, &slot.salt, &mut **key)
                .map_err(refused)?;
        }
    }
    Ok(key)
}

fn commitment(wrapping: &[u8; 32], bound: &[u8], wrapped: &[u8]) -> [u8; 32] {
    let key = Zeroizing::new(blake3::derive_key("garret v1 slot commitment", wrapping));
    *blake3::Hasher::new_keyed(&key).update(bound).update(wrapped).finalize().as_bytes()
}

/// Random bytes from the operating system.
pub(crate) fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    fill_random(&mut bytes)?;
    Ok(bytes)
}

fn fill_random(bytes: &mut [u8]) -> Result<()> {
    getrandom::fill(bytes).map_err(|error| Error::System {
        what: "drawing random bytes",
        source: std::io::Error::other(error),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use garret_format::config::KeyMode;

    const CHEAP: Kdf = Kdf::Argon2id { memory_kib: 64, passes: 1, lanes: 1 };

    fn config() -> Config {
        Config {
            repository: RepositoryId::from_bytes([7; 32]),
            features: Default::default(),
            cipher: Some(Cipher::Aes256Gcm),
            key_mode: KeyMode::Passphrase,
            chunk_min: 1 << 14,
            chunk_target: 1 << 16,
            chunk_max: 1 << 18,
            group_len: 1 << 20,
            pack_len: 1 << 25,
            created: 0,
        }
    }

    fn cheap_slot(master: &MasterKey, config: &Config, passphrase: &[u8]) -> Slot {
        let new = NewKey { kdf: CHEAP, ..NewKey::new(passphrase, 0) };
        create_slot(master, config.repository, &config.encode(), &new).unwrap()
    }

    #[test]
    fn a_slot_opens_with_its_passphrase_and_its_config_only() {
        let (config, master) = (config(), MasterKey::random().unwrap());
        let bytes = config.encode();
        for passphrase in [&b"correct horse"[..], b""] {
            let slot = cheap_slot(&master, &config, passphrase);
            let opened = open_slot(&slot, &config, &bytes, passphrase, "slot").unwrap();
            assert_eq!(opened.0, master.0);
            let altered = Config { chunk_max: 1 << 19, ..config.clone() };
            let error = open_slot(&slot, &altered, &altered.encode(), passphrase, "slot");
            assert!(matches!(error, Err(Error::WrongKey { .. })));
        }
        let slot = cheap_slot(&master, &config, b"right");
        for wrong in [&b"wrong"[..], b""] {
            let error = open_slot(&slot, &config, &bytes, wrong, "slot");
            assert!(matches!(error, Err(Error::WrongPassphrase)));
        }
    }

    #[test]
    fn keys_of_different_purposes_differ() {
        let keys = Keys::derive(&MasterKey::random().unwrap(), Cipher::Aes256Gcm).unwrap();
        let mut all = PURPOSES.map(|(purpose, _)| *keys.get(purpose).unwrap()).to_vec();
        all.push(*keys.id.unwrap().as_bytes());
        for (place, key) in all.iter().enumerate() {
            assert!(!all[..place].contains(key));
        }
    }

    fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
        let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16);
        digits.chunks(2).map(|pair| byte(pair).unwrap()).collect()
    }

    /// The vector of RFC 9106, 5.3, of the crate that we build upon.
    #[test]
    fn argon2id_gives_the_vector_of_its_rfc() {
        let mut params = argon2::ParamsBuilder::new();
        params.m_cost(32).t_cost(3).p_cost(4).output_len(32);
        params.data(argon2::AssociatedData::new(&[4; 12]).unwrap());
        let params = params.build().unwrap();
        let mut tag = [0; 32];
        Argon2::new_with_secret(&[3; 8], Algorithm::Argon2id, Version::V0x13, params)
            .unwrap()
            .hash_password_into(&[1; 32], &[2; 16], &mut tag)
            .unwrap();
        let expected = "0d640df58d78766c08c037a34a8b53c9d01ef0452d75b65eb52520e96b01e659";
        assert_eq!(tag.to_vec(), hex(expected));
    }

    /// What the reference implementation (argon2-cffi) makes of the same passphrase and salt; then ours is told by it.
    #[test]
    fn a_wrapping_key_is_argon2id_of_passphrase_and_salt() {
        let master = MasterKey::blank();
        let config = config();
        let mut slot = cheap_slot(&master, &config, b"x");
        slot.salt = [0x33; 32];
        slot.kdf = Kdf::Argon2id { memory_kib: 64, passes: 3, lanes: 4 };
        let expected = "65e40dfa82f8f807328467fb3e4e932295b59fd9f73029318cf45025d8b49a7c";
        let key = wrapping_key(&slot, b"correct horse").unwrap();
        assert_eq!(key.to_vec(), hex(expected));
        let expected = "c529d56b222765017372b92383c3104267a3a40b722e1944cdbc888105dac1b6";
        assert_eq!(commitment(&[9; 32], b"bound", b"wrapped").to_vec(), hex(expected));
    }

    /// The first vector of the BLAKE3 team's file, in all three modes.
    #[test]
    fn blake3_gives_its_vectors() {
        let hash = "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262";
        assert_eq!(blake3::hash(b"").as_bytes().to_vec(), hex(hash));
        let keyed = "92b2b75604ed3c761f9d6f62392c8a9227ad0ea3f09573e783f1498a4ed60d26";
        let key = b"whats the Elvish word for friend";
        assert_eq!(blake3::keyed_hash(key, b"").as_bytes().to_vec(), hex(keyed));
        let derived = "2cc39783c223154fea8dfb7c1b1660f2ac2dcbd1c1de8277b0b0dd39b7e50d7d";
        let context = "BLAKE3 2019-12-27 16:29:52 test vectors context";
        assert_eq!(blake3::derive_key(context, b"").to_vec(), hex(derived));
    }

    /// The example of docs/format.md, which other implementations go by.
    #[test]
    fn keys_are_those_of_the_page() {
        let page = include_str!("../../../docs/format.md");
        let block = page.split("```hex keys\n").nth(1).unwrap().split("```").next().unwrap();
        let bytes: Vec<&str> = block.lines().map(|line| line.split('#').next().unwrap()).collect();
        let bytes = hex(&bytes.concat());
        let mut master = MasterKey::blank();
        (0..).zip(master.0.iter_mut()).for_each(|(number, byte)| *byte = number);
        let keys = Keys::derive(&master, Cipher::Aes256Gcm).unwrap();
        let get = |purpose| *keys.get(purpose).unwrap();
        let gear = 32 + 32 + 16..32 + 32 + 16 + 32;
        let derived = [Purpose::ChunkId, Purpose::Chunker].map(get).concat();
        assert_eq!([&derived[..], &*keys.page()].concat(), bytes[..gear.start]);
        let sealing = [Purpose::Data, Purpose::Metadata, Purpose::Client].map(get).concat();
        assert_eq!(sealing, bytes[gear.end..]);
    }
}

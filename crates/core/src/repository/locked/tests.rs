//! Slots that the holder of the storage put into `keys/`.

use super::*;
use garret_format::SlotId;

use crate::keys::KDF_DEFAULT;
use crate::store::MemoryStore;

const CHEAP: Kdf = Kdf::Argon2id { memory_kib: 8, passes: 1, lanes: 1 };
const DEAREST: Kdf = Kdf::Argon2id { memory_kib: 1 << 20, passes: 4, lanes: 4 };

struct Planted {
    store: MemoryStore,
    identity: Identity,
}

impl Planted {
    fn new(kdf: Kdf) -> Self {
        let store = MemoryStore::new();
        let passphrase = b"right".to_vec().into();
        let options = InitOptions { mode: KeyMode::Passphrase, passphrase, kdf, now: 0 };
        let (identity, _) = init(&store, &options, &mut |_, _| Ok(())).unwrap();
        Planted { store, identity }
    }

    fn locked(&self, expected: Option<KeyId>) -> Locked {
        Locked::find(Box::new(self.store.clone())).unwrap().expecting(expected)
    }

    /// Puts a slot there that opens `master` under `passphrase`.
    fn plant(&self, master: &MasterKey, passphrase: &[u8], kdf: Kdf) -> Key {
        let locked = self.locked(None);
        let config = &locked.config_bytes;
        let mut slot = create_slot(master, locked.id(), config, passphrase, CHEAP).unwrap();
        // One that is only read needs no work to be made.
        slot.kdf = kdf;
        let key = Key::Slot(slot.id);
        self.store.put(&key, &[&slot.encode()]).unwrap();
        key
    }

    /// The only slot.
    fn slot(&self) -> Key {
        let keys = self.store.list(Area::Slots).unwrap().into_iter();
        let mut keys: Vec<Key> = keys.map(|(key, _)| key).collect();
        assert_eq!(keys.len(), 1);
        keys.remove(0)
    }

    fn unlock(&self, expected: Option<KeyId>, passphrase: &[u8]) -> Result<Keys> {
        self.locked(expected).unlock(Secret::Passphrase(passphrase))
    }
}

/// A slot made from a guess tells whether that was right, at what a guess costs its maker.
#[test]
fn a_cheap_slot_is_tried_only_by_who_knows_the_key() {
    let planted = Planted::new(CHEAP);
    let error = planted.unlock(None, b"right").err().unwrap();
    assert!(matches!(error, Error::CheapSlot { .. }), "{error}");
    let known = planted.identity.key_id;
    let keys = planted.unlock(known, b"right").unwrap();
    assert_eq!(planted.locked(None).identity(&keys), planted.identity);
    assert!(matches!(planted.unlock(known, b"wrong"), Err(Error::WrongPassphrase)));
    for (memory_kib, passes, is_fine) in
        [(64 << 10, 3, true), ((64 << 10) - 1, 3, false), (64 << 10, 2, false), (1 << 20, 1, false)]
    {
        let mut slot = planted.locked(None).read_slot(&planted.slot()).unwrap();
        slot.kdf = Kdf::Argon2id { memory_kib, passes, lanes: 1 };
        assert_eq!(!is_cheap(&slot), is_fine, "{memory_kib} KiB, {passes} passes");
    }
    let Kdf::Argon2id { memory_kib, passes, .. } = KDF_DEFAULT else { panic!("no KDF") };
    assert!(memory_kib >= KDF_FLOOR.0 && passes >= KDF_FLOOR.1);
}

#[test]
fn another_key_under_the_right_passphrase_does_not_open_and_is_in_nobody_s_way() {
    let planted = Planted::new(CHEAP);
    let (known, own) = (planted.identity.key_id, planted.slot());
    planted.plant(&MasterKey::random().unwrap(), b"right", CHEAP);
    assert_eq!(planted.unlock(known, b"right").unwrap().id(), known);
    planted.store.delete(&own).unwrap();
    let error = planted.unlock(known, b"right").err().unwrap();
    assert!(matches!(error, Error::OtherKey { .. }), "{error}");
    let changed = planted.locked(known).change_passphrase(b"right", b"new", CHEAP);
    assert!(matches!(changed, Err(Error::OtherKey { .. })));
}

/// Each of these would take a gigabyte and seconds.
#[test]
fn the_cheapest_are_tried_first_and_not_all_of_them() {
    let planted = Planted::new(CHEAP);
    let known = planted.identity.key_id;
    let other = MasterKey::random().unwrap();
    for _ in 1..SLOTS_MAX {
        planted.plant(&other, b"other", DEAREST);
    }
    assert_eq!(planted.unlock(known, b"right").unwrap().id(), known);
    let planted = Planted::new(CHEAP);
    for _ in 0..SLOTS_MAX {
        planted.plant(&other, b"other", CHEAP);
    }
    let error = planted.unlock(planted.identity.key_id, b"wrong").err().unwrap();
    assert!(matches!(error, Error::ManySlots { count: 17, tried: 16 }), "{error}");
}

/// What is no slot of this repository costs no attempt, whatever its name comes before.
#[test]
fn junk_keeps_no_slot_from_being_tried() {
    let planted = Planted::new(CHEAP);
    let sound = planted.store.get(&planted.slot(), 0..248).unwrap();
    for number in 0..100 {
        let mut junk = sound.clone();
        junk[60] ^= 1 + number;
        planted.store.put(&Key::Slot(SlotId::from_bytes([number; 16])), &[&junk]).unwrap();
    }
    let known = planted.identity.key_id;
    assert_eq!(planted.unlock(known, b"right").unwrap().id(), known);
}

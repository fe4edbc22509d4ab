//! Slots that the holder of the storage put into `keys/`.

use super::*;

use crate::keys::KDF_DEFAULT;
use crate::progress::Silent;
use crate::repository::{Identity, InitOptions, init};
use crate::store::{MemoryStore, Store};

const CHEAP: Kdf = Kdf::Argon2id { memory_kib: 8, passes: 1, lanes: 1 };
const DEAREST: Kdf = Kdf::Argon2id { memory_kib: 1 << 20, passes: 4, lanes: 4 };

fn cheap(passphrase: &[u8]) -> NewKey<'_> {
    NewKey { kdf: CHEAP, ..NewKey::new(passphrase, 7) }
}

struct Planted {
    store: MemoryStore,
    identity: Identity,
}

impl Planted {
    fn new(kdf: Kdf) -> Self {
        let store = MemoryStore::new();
        let passphrase = b"right".to_vec().into();
        let mut options = InitOptions::new(KeyMode::Passphrase, passphrase, 0);
        options.kdf = kdf;
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
        let mut slot = create_slot(master, locked.id(), config, &cheap(passphrase)).unwrap();
        // One that is only read needs no work to be made.
        slot.kdf = kdf;
        let key = Key::Slot(slot.id);
        self.store.put(&key, &[&slot.encode()]).unwrap();
        key
    }

    /// The only slot.
    fn slot(&self) -> SlotId {
        let slots = self.locked(None).slots().unwrap();
        assert_eq!(slots.len(), 1);
        slots[0].0
    }

    fn open(&self, passphrase: &[u8]) -> Result<Opened> {
        self.locked(self.identity.key_id).open(Secret::Passphrase(passphrase))
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
        let (mut slot, _) = planted.locked(None).read_slot(planted.slot()).unwrap();
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
    planted.store.delete(&Key::Slot(own)).unwrap();
    let error = planted.unlock(known, b"right").err().unwrap();
    assert!(matches!(error, Error::OtherKey { .. }), "{error}");
    assert!(matches!(planted.open(b"right"), Err(Error::OtherKey { .. })));
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
    let sound = planted.store.get(&Key::Slot(planted.slot()), 0..320).unwrap();
    for number in 0..100 {
        let mut junk = sound.clone();
        junk[60] ^= 1 + number;
        planted.store.put(&Key::Slot(SlotId::from_bytes([number; 16])), &[&junk]).unwrap();
    }
    let known = planted.identity.key_id;
    assert_eq!(planted.unlock(known, b"right").unwrap().id(), known);
}

/// Three things that a user does something else about each.
#[test]
fn a_wrong_passphrase_a_damaged_slot_and_another_repository_are_told_apart() {
    let (planted, stranger) = (Planted::new(CHEAP), Planted::new(CHEAP));
    let (known, own) = (planted.identity.key_id, Key::Slot(planted.slot()));
    assert!(matches!(planted.unlock(known, b"wrong"), Err(Error::WrongPassphrase)));
    let sound = planted.store.get(&own, 0..320).unwrap();
    // Neither of its two copies is what it was.
    planted.store.delete(&Key::SlotCopy(planted.slot())).unwrap();
    for place in 0..320 {
        let mut bytes = sound.clone();
        bytes[place] ^= 1;
        planted.store.put(&own, &[&bytes]).unwrap();
        let error = planted.unlock(known, b"right").err().unwrap();
        let is_told = matches!(error, Error::DamagedKey { .. } | Error::Unsupported { .. });
        assert!(is_told && error.to_string().contains(&own.to_string()), "byte {place}: {error}");
    }
    planted.store.put(&own, &[&sound[..300]]).unwrap();
    assert!(matches!(planted.unlock(known, b"right"), Err(Error::DamagedKey { .. })));
    let other = stranger.store.get(&Key::Slot(stranger.slot()), 0..320).unwrap();
    planted.store.put(&own, &[&other]).unwrap();
    let error = planted.unlock(known, b"right").err().unwrap();
    assert!(matches!(error, Error::WrongKey { .. }), "{error}");
}

#[test]
fn eight_slots_open_each_with_its_passphrase_and_a_damaged_one_is_in_no_other_s_way() {
    let planted = Planted::new(CHEAP);
    let opened = planted.open(b"right").unwrap();
    let locked = planted.locked(planted.identity.key_id);
    let names: Vec<String> = (1..8).map(|number| format!("key {number}")).collect();
    for name in &names {
        let new = NewKey { label: Label::new(name).unwrap(), ..cheap(name.as_bytes()) };
        let added = locked.add_key(&opened, &new, &Silent).unwrap();
        assert_eq!(added.label().as_str(), name);
    }
    let slots = locked.slots().unwrap();
    assert_eq!(slots.len(), 8);
    for name in &names {
        let opened = planted.open(name.as_bytes()).unwrap();
        assert_eq!(
            (opened.label().as_str(), opened.keys().unwrap().id()),
            (name.as_str(), planted.identity.key_id)
        );
        let (_, slot) = slots.iter().find(|(id, _)| opened.slot() == Some(*id)).unwrap();
        assert_eq!(slot.as_ref().unwrap().created, 7);
    }
    let damaged = planted.open(names[0].as_bytes()).unwrap().slot().unwrap();
    planted.store.put(&Key::Slot(damaged), &[b"garretK"]).unwrap();
    planted.store.put(&Key::SlotCopy(damaged), &[b"garretK"]).unwrap();
    for name in &names[1..] {
        assert!(planted.open(name.as_bytes()).is_ok());
    }
    assert!(matches!(planted.open(names[0].as_bytes()), Err(Error::DamagedKey { .. })));
    locked.remove_key(&opened, damaged, &Silent).unwrap();
    assert!(matches!(planted.open(names[0].as_bytes()), Err(Error::WrongPassphrase)));
}

/// What opened is never what goes, also if somebody else removed it in between.
#[test]
fn the_key_that_was_opened_is_not_removed_and_no_two_remove_each_other() {
    let planted = Planted::new(CHEAP);
    let locked = planted.locked(planted.identity.key_id);
    let one = planted.open(b"right").unwrap();
    let (own, in_use) =
        (one.slot().unwrap(), |done: Result<()>| matches!(done, Err(Error::KeyInUse { .. })));
    assert!(in_use(locked.remove_key(&one, own, &Silent)));
    let two = locked.add_key(&one, &cheap(b"two"), &Silent).unwrap();
    assert!(in_use(locked.remove_key(&two, two.slot().unwrap(), &Silent)));
    locked.remove_key(&one, two.slot().unwrap(), &Silent).unwrap();
    locked.remove_key(&two, own, &Silent).unwrap_err();
    assert!(planted.open(b"right").is_ok());
}

#[test]
fn more_slots_than_are_tried_are_not_added() {
    let planted = Planted::new(CHEAP);
    let locked = planted.locked(planted.identity.key_id);
    let opened = planted.open(b"right").unwrap();
    for _ in 1..SLOTS_MAX {
        locked.add_key(&opened, &cheap(b"x"), &Silent).unwrap();
    }
    let full = locked.add_key(&opened, &cheap(b"y"), &Silent);
    assert!(matches!(full, Err(Error::NoRoomForKeys { count: 16 })));
    let empty = locked.change_key(&opened, &cheap(b""), &Silent);
    assert!(matches!(empty, Err(Error::BadOption(_))));
    // One that takes the place of another still may.
    locked.change_key(&opened, &cheap(b"new"), &Silent).unwrap();
    assert!(planted.open(b"new").is_ok() && planted.open(b"right").is_err());
    assert_eq!(locked.slots().unwrap().len(), SLOTS_MAX);
}

/// That the cheapest come before all others is tested above: the only one that beats them is the one that is remembered.
#[test]
fn the_slot_that_opened_before_is_tried_first() {
    let planted = Planted::new(Kdf::Argon2id { memory_kib: 16, passes: 1, lanes: 1 });
    let own = planted.slot();
    for _ in 0..SLOTS_MAX {
        planted.plant(&MasterKey::random().unwrap(), b"other", CHEAP);
    }
    let locked = || planted.locked(planted.identity.key_id);
    let unlock = |locked: Locked| locked.unlock(Secret::Passphrase(b"right"));
    // The others are cheaper, and no more than they are tried.
    assert!(matches!(unlock(locked()), Err(Error::ManySlots { .. })));
    assert_eq!(unlock(locked().trying_first(Some(own))).unwrap().slot(), Some(own));
    // One that is gone is in nobody's way.
    let gone = Some(SlotId::from_bytes([9; 16]));
    assert!(matches!(unlock(locked().trying_first(gone)), Err(Error::ManySlots { .. })));
}

/// Who asks for it without a list takes no more than who lists: a removal that was cut short has left the copy.
#[test]
fn the_slot_that_opened_before_opens_only_as_any_other_does() {
    let planted = Planted::new(CHEAP);
    let own = planted.slot();
    let open = |expected: Option<KeyId>, passphrase: &[u8]| {
        let locked = planted.locked(expected).trying_first(Some(own));
        locked.open(Secret::Passphrase(passphrase)).map(|opened| opened.slot())
    };
    let key = planted.identity.key_id;
    assert_eq!(open(key, b"right").unwrap(), Some(own));
    assert!(matches!(open(key, b"wrong"), Err(Error::WrongPassphrase)));
    assert!(matches!(open(None, b"right"), Err(Error::CheapSlot { .. })));
    let other =
        planted.locked(key).add_key(&planted.open(b"right").unwrap(), &cheap(b"other"), &Silent);
    assert_eq!(open(key, b"other").unwrap(), other.unwrap().slot());
    planted.store.delete(&Key::Slot(own)).unwrap();
    assert!(planted.store.len(&Key::SlotCopy(own)).is_ok());
    assert!(matches!(open(key, b"right"), Err(Error::WrongPassphrase)));
}

#[test]
fn a_paper_opens_without_any_slot_and_only_its_repository() {
    let (planted, stranger) = (Planted::new(CHEAP), Planted::new(CHEAP));
    let locked = planted.locked(planted.identity.key_id);
    let text = locked.paper(&planted.open(b"right").unwrap());
    let groups = (1..).zip(text.lines()).flat_map(|(number, line)| {
        let group = line.split_once(':').unwrap().1;
        *garret_format::paper::read_group(number, group).ok().unwrap().bytes
    });
    let bytes: [u8; PAPER_LEN] = groups.collect::<Vec<u8>>().try_into().unwrap();
    planted.store.delete(&Key::Slot(planted.slot())).unwrap();
    let opened = locked.open_paper(&bytes).unwrap();
    assert_eq!(opened.keys().unwrap().id(), planted.identity.key_id);
    locked.add_key(&opened, &cheap(b"again"), &Silent).unwrap();
    assert!(planted.open(b"again").is_ok());
    let error = stranger.locked(None).open_paper(&bytes).err().unwrap();
    assert!(matches!(error, Error::WrongKey { .. }));
}

//! The ways to the master key: slots in the repository, key files, a paper. Found, listed, added, changed, removed.
//!
//! In: a passphrase, a key file or what was typed from a paper. Out: keys, or a repository with other slots. Promises: no
//! slot makes us spend more than its bounds allow, whoever wrote it; one that opened before is tried first, then the
//! cheapest; a new slot is on disk, read again and opened before an old one goes, and what was opened is never what is
//! removed, so there is always one that opens.

use std::sync::atomic::{AtomicBool, Ordering};

use garret_format::config::{Cipher, KeyMode};
use garret_format::paper::PAPER_LEN;
use garret_format::slot::{Kdf, Label, Slot};
use garret_format::{KeyId, SlotId};
use zeroize::Zeroizing;

use super::locked::{Locked, Secret};
use crate::error::{Error, Result};
use crate::keys::{Keys, MasterKey, NewKey, create_slot, open_slot, paper, wipe_stack};
use crate::limits::{KDF_FLOOR, SLOTS_MAX, SLOTS_READ_MAX, SMALL_OBJECT_LEN_MAX};
use crate::objects::copies::{self, Service};
use crate::pipeline::beside;
use crate::progress::Progress;
use crate::store::{Area, Key, LockMode};

/// The master key, and what it was found by.
pub struct Opened {
    master: MasterKey,
    cipher: Cipher,
    /// The slot in the repository; none for a key file or a paper.
    slot: Option<SlotId>,
    label: Label,
}

impl std::fmt::Debug for Opened {
    /// Without the key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("Opened");
        shown.field("slot", &self.slot).field("label", &self.label).finish_non_exhaustive()
    }
}

impl Opened {
    /// The keys to work with.
    ///
    /// # Errors
    /// `System` if there is no memory for them.
    pub fn keys(&self) -> Result<Keys> {
        let keys = self.derive();
        wipe_stack();
        keys
    }

    /// Which slot of the repository opened; none for a key file or a paper.
    pub fn slot(&self) -> Option<SlotId> {
        self.slot
    }

    /// What the user calls the slot or key file that opened.
    pub fn label(&self) -> &Label {
        &self.label
    }

    /// That this is the key which was opened.
    fn is(&self, master: &MasterKey, object: &str) -> Result<()> {
        match master.id() == self.master.id() {
            true => Ok(()),
            false => Err(Error::OtherKey { object: object.to_owned() }),
        }
    }

    // Not inlined: what it leaves lies below the stack of its caller, who wipes that.
    #[inline(never)]
    fn derive(&self) -> Result<Keys> {
        Ok(Keys::derive(&self.master, self.cipher)?.found_by(self.slot))
    }
}

impl Locked {
    /// Finds the keys.
    ///
    /// # Errors
    /// `WrongPassphrase` if no slot opens, `NoSlots` or `SlotsGone` if there is none, `ManySlots` if not all were tried;
    /// `WrongKey`, `OtherKey`, `CheapSlot`, `DamagedKey` if a slot is not this repository's, not to be tried or damaged, and
    /// no other opens.
    pub fn unlock(&self, secret: Secret<'_>) -> Result<Keys> {
        match self.key_mode() {
            KeyMode::None => Ok(Keys::none()),
            KeyMode::Passphrase | KeyMode::Keyfile => self.open(secret)?.keys(),
        }
    }

    /// Finds the master key, to add, change or remove what opens it.
    ///
    /// # Errors
    /// As of [`unlock`](Self::unlock); `NoPassphrase` for an unencrypted repository.
    pub fn open(&self, secret: Secret<'_>) -> Result<Opened> {
        let is_in_vain = AtomicBool::new(false);
        let find = || {
            let opened = self.find_master(secret);
            wipe_stack();
            is_in_vain.store(opened.is_err(), Ordering::Relaxed);
            opened
        };
        let (Secret::Passphrase(passphrase) | Secret::Keyfile { passphrase, .. }) = secret else {
            return find();
        };
        if passphrase.is_empty() {
            // It costs nothing, or is tried before another is asked for.
            return find();
        }
        let in_flight = self.store.properties().in_flight;
        let ((), opened) = beside(in_flight, || self.go_ahead(&is_in_vain), find)?;
        if opened.is_err() {
            // Whoever is asked for another passphrase keeps nobody waiting meanwhile.
            drop(self.take_ahead());
        }
        opened
    }

    #[inline(never)]
    fn find_master(&self, secret: Secret<'_>) -> Result<Opened> {
        match (self.key_mode(), secret) {
            (KeyMode::None, _) => Err(Error::NoPassphrase),
            (_, Secret::None) => Err(Error::WrongPassphrase),
            (_, Secret::Passphrase(passphrase)) => self.find_slot(passphrase),
            (_, Secret::Keyfile { path, bytes, passphrase }) => {
                let slot = Slot::decode(bytes).map_err(|error| Error::decode_key(path, error))?;
                let master = self.open_slot(&slot, passphrase, path)?;
                self.opened(master, None, &slot.label)
            }
        }
    }

    /// Of the master key, how it is used here.
    fn opened(&self, master: MasterKey, slot: Option<SlotId>, label: &Label) -> Result<Opened> {
        let cipher = self.config.cipher.ok_or(Error::NoPassphrase)?;
        Ok(Opened { master, cipher, slot, label: label.clone() })
    }

    /// The slots of the repository; in the place of one that cannot be used, why. The key in them is wrapped, and what they
    /// say of themselves is only known to be true of one that opens. Of one that is damaged, and has a second copy,
    /// [`tell`](Self::tell) tells.
    ///
    /// # Errors
    /// The store cannot be listed.
    pub fn slots(&self) -> Result<Vec<(SlotId, Result<Slot>)>> {
        let known =
            |(id, slot): (SlotId, Result<ReadSlot>)| (id, slot.map(|read| self.known(id, read)));
        let (_, slots) = self.read_slots()?;
        Ok(slots.into_iter().map(known).collect())
    }

    /// How many there are, and the first of them.
    fn read_slots(&self) -> Result<(usize, ReadSlots)> {
        let listed = self.store.list(Area::Slots)?;
        let count = listed.len();
        let listed = listed.into_iter().take(SLOTS_READ_MAX);
        let ids = listed.filter_map(|(key, _)| match key {
            Key::Slot(id) => Some(id),
            _ => None,
        });
        Ok((count, ids.map(|id| (id, self.read_slot(id))).collect()))
    }

    /// Adds a slot: it is on disk and was opened when this returns.
    ///
    /// # Errors
    /// `NoRoomForKeys`; `BadOption` for an empty passphrase; `Lock`; a store that cannot be written.
    pub fn add_key(
        &self,
        opened: &Opened,
        new: &NewKey<'_>,
        progress: &dyn Progress,
    ) -> Result<Opened> {
        let _lock = self.lock_to_write(LockMode::Session(0), progress)?;
        let count = self.slots()?.iter().filter(|(_, slot)| slot.is_ok()).count();
        if count >= SLOTS_MAX {
            return Err(Error::NoRoomForKeys { count });
        }
        self.store_slot(opened, new)
    }

    /// Adds a slot and removes the one that was opened, if it was one. At every moment one of the two opens.
    ///
    /// # Errors
    /// `BadOption` for an empty passphrase; `Lock` if somebody deletes or checks for longer than is waited; a store that
    /// cannot be written.
    pub fn change_key(
        &self,
        opened: &Opened,
        new: &NewKey<'_>,
        progress: &dyn Progress,
    ) -> Result<Opened> {
        // One at a time: who removes another's would remove the new one beside it.
        let _lock = self.lock_to_write(LockMode::Prune, progress)?;
        let changed = self.store_slot(opened, new)?;
        if let Some(old) = opened.slot {
            self.delete_slot(old)?;
        }
        Ok(changed)
    }

    /// Removes a slot, damaged or not. Never the one that was opened: so one stays whose passphrase is known, or a key file.
    ///
    /// # Errors
    /// `KeyInUse`; `Lock` if anybody has it open for longer than is waited; a store that cannot be written.
    pub fn remove_key(&self, opened: &Opened, id: SlotId, progress: &dyn Progress) -> Result<()> {
        // One at a time: two who remove each other's would leave none.
        let _lock = self.lock_to_write(LockMode::Prune, progress)?;
        match opened.slot {
            Some(own) if own == id => {
                return Err(Error::KeyInUse { object: Key::Slot(id).to_string() });
            }
            // Who was there before may have removed it.
            Some(own) => drop(self.read_slot(own)?),
            None => {}
        }
        self.delete_slot(id)
    }

    /// Its copy last: a copy alone opens to nobody and is removed by the next gc, a slot alone is complained about.
    fn delete_slot(&self, id: SlotId) -> Result<()> {
        self.store.delete(&Key::Slot(id))?;
        self.store.sync()?;
        self.store.delete(&Key::SlotCopy(id))?;
        Ok(self.store.sync()?)
    }

    /// The bytes of a key file, which were opened once; the caller stores it.
    ///
    /// # Errors
    /// No random bytes, or no memory for the KDF.
    pub fn key_file(&self, opened: &Opened, new: &NewKey<'_>) -> Result<Zeroizing<Vec<u8>>> {
        let object = "the new key file";
        let slot = create_slot(&opened.master, self.id(), &self.config_bytes, new)?;
        let bytes = slot.encode();
        let slot = Slot::decode(&bytes).map_err(|error| Error::decode_key(object, error))?;
        let master = self.open_slot(&slot, new.passphrase, object);
        wipe_stack();
        opened.is(&master?, object)?;
        Ok(bytes)
    }

    /// The lines of a paper that opens the repository, without any slot and for ever.
    pub fn paper(&self, opened: &Opened) -> Zeroizing<String> {
        let text = paper::write(&opened.master, self.id(), self.config_hash());
        wipe_stack();
        text
    }

    /// The master key on a paper.
    ///
    /// # Errors
    /// `WrongKey` if it is not of this repository, or its groups were read wrongly; `OtherKey`.
    pub fn open_paper(&self, bytes: &[u8; PAPER_LEN]) -> Result<Opened> {
        let object = "the recovery key".to_owned();
        let master = paper::read(bytes, self.id(), self.config_hash());
        wipe_stack();
        let Some(master) = master else { return Err(Error::WrongKey { object }) };
        match self.is_expected(master.id()) {
            true => self.opened(master, None, &Label::default()),
            false => Err(Error::OtherKey { object }),
        }
    }

    /// Puts a slot there, makes it durable, reads it again and opens it.
    fn store_slot(&self, opened: &Opened, new: &NewKey<'_>) -> Result<Opened> {
        if new.passphrase.is_empty() {
            return Err(Error::BadOption("the passphrase must not be empty".to_owned()));
        }
        let slot = create_slot(&opened.master, self.id(), &self.config_bytes, new)?;
        let key = Key::Slot(slot.id);
        self.store.put(&Key::SlotCopy(slot.id), &[&slot.encode()])?;
        // Nobody ever finds the first of two without the second.
        self.store.sync()?;
        self.store.put_new(&key, &slot.encode())?;
        self.store.sync()?;
        let (stored, damage) = self.read_slot(slot.id)?;
        if let Some(error) = damage {
            return Err(error);
        }
        let master = self.open_slot(&stored, new.passphrase, &key.to_string())?;
        wipe_stack();
        opened.is(&master, &key.to_string())?;
        self.opened(master, Some(slot.id), &stored.label)
    }

    fn no_slots(&self) -> Result<Error> {
        let mut copies = self.store.list(Area::Copies)?.into_iter().map(|(key, _)| key);
        let copy = copies.find(|key| matches!(key, Key::SlotCopy(_)));
        Ok(copy.map_or(Error::NoSlots, |copy| Error::SlotsGone { copy: copy.to_string() }))
    }

    /// Tries the slots: the one that opened before, for which none has to be listed, then the cheapest first.
    fn find_slot(&self, passphrase: &[u8]) -> Result<Opened> {
        let mut first = self.try_first(passphrase);
        if let Some((_, opened @ Ok(_))) = first {
            return opened;
        }
        let (count, read) = self.read_slots()?;
        let mut worst = match count {
            0 => self.no_slots()?,
            _ => Error::WrongPassphrase,
        };
        let mut slots = Vec::new();
        for (id, slot) in read {
            match slot {
                Ok(slot) if !self.is_tried(&slot) => {
                    worst = Error::CheapSlot { object: Key::Slot(id).to_string() };
                }
                Ok(slot) => slots.push((id, slot)),
                Err(error) => worst = error,
            }
        }
        if slots.len() > SLOTS_MAX || count > SLOTS_READ_MAX {
            worst = Error::ManySlots { count, tried: slots.len().min(SLOTS_MAX) };
        }
        slots.sort_by_key(|(id, (slot, _))| (self.first != Some(*id), cost(slot)));
        for (id, slot) in slots.into_iter().take(SLOTS_MAX) {
            // Once is enough, for what the KDF costs.
            let tried = first.take_if(|(tried, _)| *tried == id).map(|(_, opened)| opened);
            match tried.unwrap_or_else(|| self.try_slot(id, slot, passphrase)) {
                Err(Error::WrongPassphrase) => {}
                Err(error) => worst = error,
                opened => return opened,
            }
        }
        Err(worst)
    }

    /// Tries the slot that opened before; none if it cannot be read, or is not to be tried: of that the list of all tells.
    fn try_first(&self, passphrase: &[u8]) -> Option<(SlotId, Result<Opened>)> {
        let id = self.first?;
        let slot = self.read_slot(id).ok().filter(|slot| self.is_tried(slot))?;
        Some((id, self.try_slot(id, slot, passphrase)))
    }

    /// Whether a passphrase is tried on it: not where it is cheap to guess, unless the key that it must give is known.
    fn is_tried(&self, (slot, _): &ReadSlot) -> bool {
        self.expected.is_some() || !is_cheap(slot)
    }

    fn try_slot(&self, id: SlotId, slot: ReadSlot, passphrase: &[u8]) -> Result<Opened> {
        let master = self.open_slot(&slot.0, passphrase, &Key::Slot(id).to_string())?;
        let slot = self.known(id, slot);
        self.opened(master, Some(id), &slot.label)
    }

    fn read_slot(&self, id: SlotId) -> Result<ReadSlot> {
        let key = Key::Slot(id);
        let first = self.store.get_whole(&key, SMALL_OBJECT_LEN_MAX).map_err(Error::from);
        let first = first.and_then(|bytes| {
            let slot = Slot::decode(&bytes);
            slot.map_err(|error| Error::decode_key(&key.to_string(), error))
        });
        let copy = |error| copies::slot(&*self.store, id, error);
        let (slot, damage) = match first {
            Ok(slot) if slot.id == id => (slot, None),
            // Moved here by hand, or by a disk that wrote to the wrong place.
            Ok(other) => {
                let (object, what) = (key.to_string(), format!("it is slot {}", other.id));
                let error = Error::DamagedKey { object, offset: 8, what };
                copy(error).map_or((other, None), |(slot, error)| (slot, Some(error)))
            }
            Err(error) => copy(error).map(|(slot, error)| (slot, Some(error)))?,
        };
        let is_ours =
            slot.repository == self.id() && slot.config_hash == *self.config_hash().as_bytes();
        // A slot without passphrase in the repository would open to anybody.
        match slot.kdf {
            Kdf::Argon2id { .. } if is_ours => Ok((slot, damage)),
            _ => Err(Error::WrongKey { object: key.to_string() }),
        }
    }

    /// The slot, of whose damage it is noted that it was bypassed.
    fn known(&self, id: SlotId, (slot, damage): ReadSlot) -> Slot {
        damage.iter().for_each(|error| self.served.note(&Key::Slot(id), error, Service::Used));
        slot
    }

    fn open_slot(&self, slot: &Slot, passphrase: &[u8], object: &str) -> Result<MasterKey> {
        let master = open_slot(slot, &self.config, &self.config_bytes, passphrase, object)?;
        match self.is_expected(master.id()) {
            true => Ok(master),
            false => Err(Error::OtherKey { object: object.to_owned() }),
        }
    }

    fn is_expected(&self, key: KeyId) -> bool {
        self.expected.is_none_or(|expected| expected == key)
    }
}

/// A slot, and what is wrong with its first if this is its second copy.
type ReadSlot = (Slot, Option<Error>);
/// Slots by their ids; in the place of one that cannot be used, why.
type ReadSlots = Vec<(SlotId, Result<ReadSlot>)>;

/// Memory times passes of a guess.
fn cost(slot: &Slot) -> u64 {
    match slot.kdf {
        Kdf::Blank => 0,
        Kdf::Argon2id { memory_kib, passes, .. } => u64::from(memory_kib) * u64::from(passes),
    }
}

/// Whether a guess costs less than with any slot that garret makes.
fn is_cheap(slot: &Slot) -> bool {
    let (memory_floor, passes_floor) = KDF_FLOOR;
    let Kdf::Argon2id { memory_kib, passes, .. } = slot.kdf else { return true };
    memory_kib < memory_floor || passes < passes_floor
}

#[cfg(test)]
mod tests;

//! Keys added, changed and removed while the process dies or the power is lost at every operation of the store (T25): those
//! that were not touched open, and of one that was being changed the old or the new one does.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::{BTreeMap, BTreeSet};

use garret_core::{Key, KeyMode, Keys, Locked, Opened, Result, Secret, Silent, StoreErrorKind};
use garret_testkit::{Fault, FaultStore, Lab, PASSPHRASE, PowerStore, cheap_key};

type Objects = BTreeMap<Key, Vec<u8>>;

/// What happens to the keys, by their passphrases; each is done by who has the first of them.
#[derive(Clone, Copy, Debug)]
enum Step {
    Add(&'static str, &'static str),
    Change(&'static str, &'static str),
    Remove(&'static str, &'static str),
}

const FIRST: &str = "correct horse";

const SCENARIO: [Step; 8] = [
    Step::Add(FIRST, "two"),
    Step::Add("two", "three"),
    Step::Change(FIRST, "one"),
    Step::Remove("three", "two"),
    Step::Change("three", "four"),
    Step::Remove("four", "one"),
    Step::Change("four", "five"),
    Step::Add("five", "six"),
];

struct Ring<'a> {
    lab: &'a Lab,
    store: FaultStore,
}

impl Ring<'_> {
    fn locked(&self) -> Result<Locked> {
        Ok(Locked::find(Box::new(self.store.clone()))?.expecting(self.lab.keys.id()))
    }

    fn open(&self, passphrase: &str) -> Result<(Locked, Opened)> {
        let locked = self.locked()?;
        let opened = locked.open(Secret::Passphrase(passphrase.as_bytes()))?;
        Ok((locked, opened))
    }

    fn take(&self, step: Step) -> Result<()> {
        match step {
            Step::Add(by, new) => {
                let (locked, opened) = self.open(by)?;
                locked.add_key(&opened, &cheap_key(new.as_bytes()), &Silent).map(drop)
            }
            Step::Change(old, new) => {
                let (locked, opened) = self.open(old)?;
                locked.change_key(&opened, &cheap_key(new.as_bytes()), &Silent).map(drop)
            }
            Step::Remove(by, gone) => {
                let id = self.open(gone)?.1.slot().unwrap();
                let (locked, opened) = self.open(by)?;
                locked.remove_key(&opened, id, &Silent)
            }
        }
    }

    /// Goes through the scenario until the store dies. Gives the passphrases that must open now, and those of which one must.
    fn run(&self) -> (BTreeSet<&'static str>, Vec<&'static str>) {
        let mut sure = BTreeSet::from([FIRST]);
        for step in SCENARIO {
            let before = sure.clone();
            let unsure = match step {
                Step::Add(_, new) => vec![new],
                Step::Change(old, new) => {
                    sure.remove(old);
                    vec![old, new]
                }
                Step::Remove(_, gone) => {
                    sure.remove(gone);
                    vec![gone]
                }
            };
            if self.take(step).is_err() {
                let one_of = if matches!(step, Step::Change(..)) { unsure } else { Vec::new() };
                return (sure, one_of);
            }
            match step {
                Step::Add(_, new) | Step::Change(_, new) => drop(sure.insert(new)),
                Step::Remove(..) => {}
            }
            assert_ne!(sure, before);
        }
        (sure, Vec::new())
    }
}

fn opens(lab: &Lab, objects: &Objects, passphrase: &str) -> Result<Keys> {
    let store = PowerStore::from_objects(objects.clone());
    let locked = Locked::find(Box::new(store))?.expecting(lab.keys.id());
    locked.unlock(Secret::Passphrase(passphrase.as_bytes()))
}

#[test]
fn whenever_it_breaks_off_a_known_passphrase_opens() {
    assert_eq!(PASSPHRASE, FIRST.as_bytes());
    let (lab, empty) = Lab::memory(KeyMode::Passphrase);
    let (mut kills, mut cuts) = (0, 0);
    for lost_answer in [false, true] {
        for after in 0.. {
            let power = PowerStore::from_objects(empty.objects());
            let store = FaultStore::new(power.clone());
            let fault =
                Fault { verbs: vec![], after, times: Fault::FOR_GOOD, kind: StoreErrorKind::Other };
            match lost_answer {
                true => store.arm_answers(fault),
                false => store.arm(fault),
            }
            let (sure, one_of) = Ring { lab: &lab, store: store.clone() }.run();
            let check = |objects: Objects, how: &str| {
                let place = store.log().get(after as usize).cloned();
                let when =
                    format!("operation {after} {place:?}, {how}, sure of {sure:?}, {one_of:?}");
                for passphrase in &sure {
                    let keys = opens(&lab, &objects, passphrase);
                    let keys = keys.unwrap_or_else(|error| panic!("{when}: {passphrase}: {error}"));
                    assert_eq!(keys.id(), lab.keys.id(), "{when}");
                }
                let is_one = one_of.iter().any(|one| opens(&lab, &objects, one).is_ok());
                assert!(one_of.is_empty() || is_one, "{when}");
                assert!(!sure.is_empty() || is_one, "{when}: nothing opens");
            };
            check(power.after_kill(), "killed");
            check(power.after_power_cut(|_| false), "power cut, nothing unsynced kept");
            check(power.after_power_cut(|_| true), "power cut, everything kept");
            for seed in 0..4 {
                check(power.after_random_power_cut(after * 10 + seed), &format!("seed {seed}"));
            }
            (kills, cuts) = (kills + 1, cuts + 6);
            if store.fired() == 0 {
                break;
            }
        }
    }
    println!("{kills} kills, {cuts} power cuts");
    assert!(kills >= 200 && cuts >= 50, "{kills} kills, {cuts} power cuts");
}

/// Each looks at the slots, and only then removes: without a lock, both would be gone.
#[test]
fn two_who_remove_each_other_s_key_at_once_leave_one() {
    for round in 0..20 {
        let (lab, store) = Lab::memory(KeyMode::Passphrase);
        let ring = || Ring { lab: &lab, store: FaultStore::new(store.clone()) };
        ring().take(Step::Add(FIRST, "two")).unwrap();
        let ids = [FIRST, "two"].map(|one| ring().open(one).unwrap().1.slot().unwrap());
        let removed = std::thread::scope(|scope| {
            [(FIRST, ids[1]), ("two", ids[0])]
                .map(|(by, gone)| {
                    let ring = ring();
                    scope.spawn(move || {
                        let (locked, opened) = ring.open(by)?;
                        locked.remove_key(&opened, gone, &Silent)
                    })
                })
                .map(|thread| thread.join().unwrap().is_ok())
        });
        assert!(removed != [true, true], "round {round}: {removed:?}");
        assert_eq!(ring().locked().unwrap().slots().unwrap().len(), 1, "round {round}");
    }
}

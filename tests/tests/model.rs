//! Sequences of operations against a model: create, delete, gc, rename, a crash with a power cut in the middle, damage.
//!
//! In: random sequences, shrunk when they fail. The model is a map from names to contents. After every operation the names
//! are those of the model and every archive is exact; after damage each is exact or an error, and `check` names those that
//! are an error. In the end everything can be deleted, and nothing is left.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use garret_core::{Area, Error, Key, Store, StoreErrorKind};
use garret_format::config::KeyMode;
use garret_testkit::{Fault, FaultStore, Image, Lab, PowerStore};
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Step {
    /// Makes an archive of one of some contents that share much.
    Create {
        name: u8,
        content: u8,
    },
    Delete {
        name: u8,
    },
    Collect,
    /// Renames the file of an archive, as a user may.
    Rename {
        from: u8,
        to: u8,
    },
    /// The machine dies at an operation of the store in the middle of a step; what was not synced may be lost.
    Crash {
        at: u16,
        seed: u16,
        step: Box<Step>,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let plain = prop_oneof![
        4 => (0..5u8, 0..6u8).prop_map(|(name, content)| Step::Create { name, content }),
        2 => (0..5u8).prop_map(|name| Step::Delete { name }),
        2 => Just(Step::Collect),
        1 => (0..5u8, 0..5u8).prop_map(|(from, to)| Step::Rename { from, to }),
    ];
    let crash = (0..60u16, any::<u16>(), plain.clone()).prop_map(|(at, seed, step)| Step::Crash {
        at,
        seed,
        step: Box::new(step),
    });
    prop::collection::vec(prop_oneof![5 => plain, 1 => crash], 1..18)
}

/// Contents that share two thirds with each other, by number.
fn content(number: u8) -> Vec<u8> {
    let part = |seed: u64| Image::noise(seed, 150_000).bytes;
    let number = u64::from(number);
    [part(number), part(number + 1), part(number + 2)].concat()
}

fn name(number: u8) -> String {
    // Also below a directory of archives.
    ["a", "b", "c", "night/1", "night/2"][usize::from(number)].to_owned()
}

/// The repository, and what should be in it.
struct World {
    lab: Lab,
    /// Exchanged for what a power cut leaves.
    power: Arc<Mutex<PowerStore>>,
    fault: Arc<Mutex<FaultStore>>,
    model: BTreeMap<String, u8>,
}

impl World {
    fn new() -> Self {
        let power = PowerStore::new();
        let fault = Arc::new(Mutex::new(FaultStore::new(power.clone())));
        let inside = fault.clone();
        let lab = Lab::over(move || Box::new(inside.lock().unwrap().clone()), KeyMode::None);
        World { lab, power: Arc::new(Mutex::new(power)), fault, model: BTreeMap::new() }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Create { name: to, content: number } => {
                let made = self.lab.backup_bytes(&name(*to), &content(*number));
                match (self.model.contains_key(&name(*to)), made) {
                    (false, made) => {
                        made.unwrap();
                        self.model.insert(name(*to), *number);
                    }
                    (true, Err(Error::ArchiveExists(_))) => {}
                    (true, other) => panic!("{other:?} instead of an archive that exists"),
                }
            }
            Step::Delete { name: which } => {
                let deleted = self.lab.delete(&name(*which));
                match self.model.remove(&name(*which)) {
                    Some(_) => deleted.unwrap(),
                    None => assert!(matches!(deleted, Err(Error::ArchiveMissing(_)))),
                }
            }
            Step::Collect => drop(self.lab.gc().unwrap()),
            Step::Rename { from, to } => self.rename(&name(*from), &name(*to)),
            Step::Crash { at, seed, step } => self.crash(*at, *seed, step),
        }
    }

    fn rename(&mut self, from: &str, to: &str) {
        if self.model.contains_key(to) {
            return;
        }
        let Some(content) = self.model.remove(from) else { return };
        let store = self.fault.lock().unwrap().clone();
        let [from, to] = [from, to].map(|name| Key::Archive(name.to_owned()));
        let len = store.len(&from).unwrap();
        store.put(&to, &[&store.get(&from, 0..len).unwrap()]).unwrap();
        store.delete(&from).unwrap();
        store.sync().unwrap();
        let Key::Archive(to) = to else { unreachable!("made two lines above") };
        self.model.insert(to, content);
    }

    /// A step that may be cut short, and what is left of it after a power cut.
    fn crash(&mut self, at: u16, seed: u16, step: &Step) {
        if let Step::Rename { .. } = step {
            return;
        }
        let (verbs, kind) = (Vec::new(), StoreErrorKind::Other);
        let fault = self.fault.lock().unwrap().clone();
        fault.arm(Fault { verbs, after: u64::from(at), times: Fault::FOR_GOOD, kind });
        let (before, mut after) = (self.model.clone(), self.model.clone());
        match step {
            Step::Create { name: to, content: number } => {
                if self.lab.backup_bytes(&name(*to), &content(*number)).is_ok() {
                    self.model.insert(name(*to), *number);
                }
                after.entry(name(*to)).or_insert(*number);
            }
            Step::Delete { name: which } => {
                if self.lab.delete(&name(*which)).is_ok() {
                    self.model.remove(&name(*which));
                }
                after.remove(&name(*which));
            }
            _ => drop(self.lab.gc_reporting()),
        }
        let objects = self.power.lock().unwrap().after_random_power_cut(u64::from(seed));
        let power = PowerStore::from_objects(objects);
        *self.fault.lock().unwrap() = FaultStore::new(power.clone());
        *self.power.lock().unwrap() = power;
        // What returned is durable; what did not has happened or not.
        let names = self.lab.names();
        let is = |model: &BTreeMap<String, u8>| names.iter().eq(model.keys());
        if !is(&self.model) {
            let other = if is(&before) { before } else { after };
            assert!(is(&other), "{names:?} after {step:?} was cut short");
            assert!(self.model != other && !self.has_returned(&other, step), "{step:?} was undone");
            self.model = other;
        }
    }

    /// Whether a step that is not in `other` had reported success.
    fn has_returned(&self, other: &BTreeMap<String, u8>, step: &Step) -> bool {
        match step {
            Step::Create { name: to, .. } => {
                self.model.contains_key(&name(*to)) && !other.contains_key(&name(*to))
            }
            Step::Delete { name: which } => {
                !self.model.contains_key(&name(*which)) && other.contains_key(&name(*which))
            }
            _ => false,
        }
    }

    fn is_right(&self) {
        assert_eq!(self.lab.names(), self.model.keys().cloned().collect::<Vec<_>>());
        for (name, number) in &self.model {
            assert!(self.lab.restore_bytes(name).unwrap() == content(*number), "{name}");
        }
    }

    /// A byte of a pack is flipped: every archive is exact or an error, and check names the latter and no other.
    fn damage(&self, seed: u64) {
        let power = self.power.lock().unwrap().clone();
        let packs = power.list(Area::Packs).unwrap();
        let Some((key, len)) = packs.get(seed as usize % packs.len().max(1)) else { return };
        let mut bytes = power.get(key, 0..*len).unwrap();
        let place = (seed / 7 % len) as usize;
        bytes[place] ^= 1 << (seed % 8);
        let objects = power.after_kill();
        let damaged = PowerStore::from_objects(objects);
        damaged.put(key, &[&bytes]).unwrap();
        let lab = self.lab.with_store(move || Box::new(damaged.clone()));
        let mut lost = Vec::new();
        for (name, number) in &self.model {
            match lab.restore_bytes(name) {
                Ok(bytes) => {
                    assert!(bytes == content(*number), "{name} is wrong: {key} at {place}")
                }
                Err(_) => lost.push(name.clone()),
            }
        }
        let (report, _) = lab.check_reporting(true).unwrap();
        assert!(report.problem_count > 0, "{key} at {place}: not found");
        let named: Vec<String> = report.incomplete.into_iter().map(|one| one.name).collect();
        assert_eq!(named, lost, "{key} at {place}");
    }

    fn everything_goes(&mut self) {
        for name in std::mem::take(&mut self.model).into_keys() {
            self.lab.delete(&name).unwrap();
        }
        self.lab.gc().unwrap();
        let store = self.fault.lock().unwrap().clone();
        for area in [Area::Packs, Area::Index, Area::Archives] {
            assert_eq!(store.list(area).unwrap(), [], "{area:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_leaves_what_the_model_has(steps in steps(), seed in any::<u64>()) {
        let mut world = World::new();
        for step in &steps {
            world.step(step);
            world.is_right();
        }
        world.lab.check();
        world.damage(seed);
        world.everything_goes();
    }
}

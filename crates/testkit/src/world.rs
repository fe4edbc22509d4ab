//! A repository, and a model of what should be in it: sequences of operations, a store that fails in the middle of them,
//! power cuts, damage; beside them a session that adds and one that reads, which stay open.
//!
//! In: steps, drawn by a property test or by a fuzzer. The model is a map from names to contents. Promises checked, after
//! each step: what returned is done; what is protected is not deleted, and is so until it is told otherwise; what failed was
//! done or was not, archive by archive; every archive that is listed is exact, also for who began to read long before; once
//! the store works again, so does everything. After damage each archive is exact or an error, `check` names those that are an
//! error and no other, and where it finds nothing more everything works as before.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Cursor;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use garret_core::{
    Area, CompactOptions, Compression, Error, Input, Key, NamedArchive, Repository, Result, Retry,
    RetryOptions, Store, StoreErrorKind, TagChange, Writer,
};
use garret_format::config::KeyMode;
use tempfile::TempDir;

use crate::{Fault, FaultStore, Image, Lab, PowerStore, Recorder, TestClock};

/// Names that a step may say: also below a directory of archives.
const NAMES: [&str; 5] = ["a", "b", "c", "night/1", "night/2"];
/// Contents that a step may say.
const CONTENTS: u8 = 6;

/// What happens to a repository. Names and contents go by number, any number.
#[derive(Clone, Debug)]
pub enum Step {
    /// Makes an archive of one of some contents that share much, in the session that is open or in a new one.
    Create {
        /// Its name.
        name: u8,
        /// What is in it.
        content: u8,
    },
    /// Removes archives in one session, and gives their space back as prune does.
    Delete {
        /// Which, by bits; those that are there, or one that is not.
        names: u8,
        /// Whether space is given back.
        collect: bool,
    },
    /// Protects archives, or no longer.
    Protect {
        /// Which, by bits; those that are there, or one that is not.
        names: u8,
        /// Whether they are from then on.
        on: bool,
    },
    /// Gives space back.
    Collect,
    /// Puts versions together, and gives space back.
    Compact,
    /// Renames the file of an archive, as a user may.
    Rename {
        /// The archive.
        from: u8,
        /// Its new name, unless that is taken.
        to: u8,
    },
    /// Ends the session that is open to add.
    Reopen,
    /// Opens a session that goes on reading what it sees now, in place of another.
    Watch,
    /// Flips a bit of a pack.
    Damage {
        /// Which.
        place: u64,
    },
}

/// How a store fails in the middle of a step.
#[derive(Clone, Debug)]
pub struct Trouble {
    /// Operations of the store that work before.
    pub after: u64,
    /// Whether it fails until the step is over, or once.
    pub for_good: bool,
    /// Whether what fails is done all the same.
    pub is_done: bool,
    /// The error.
    pub kind: StoreErrorKind,
    /// The power fails too when the step is over: what was not synced is lost or not, by this seed.
    pub power_cut: Option<u64>,
}

/// The repository, and what should be in it.
pub struct World {
    lab: Lab,
    /// The store without anything before it; exchanged for what a power cut leaves.
    power: PowerStore,
    /// The same, and what fails of it.
    fault: Arc<Mutex<FaultStore>>,
    /// The session that makes archives.
    writer: Option<Writer>,
    /// The session that reads, and the archives that it saw and that were not deleted since.
    watched: Option<(Repository, Watched)>,
    model: BTreeMap<String, u8>,
    /// The names of those that may not be deleted.
    protected: BTreeSet<String>,
    is_damaged: bool,
    /// Of the client's copy of the index.
    _cache: Option<TempDir>,
}

/// Archives by name, and the number of what is in each.
type Watched = BTreeMap<String, (u8, NamedArchive)>;

/// Opens the store of a lab.
type Opener = Box<dyn Fn() -> Box<dyn Store> + Send + Sync>;

/// Contents that share two thirds with each other.
fn content(number: u8) -> &'static [u8] {
    static CONTENT: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    let make = |number: u64| {
        let part = |seed| Image::noise(seed, 150_000).bytes;
        [part(number), part(number + 1), part(number + 2)].concat()
    };
    let all = CONTENT.get_or_init(|| (0..u64::from(CONTENTS)).map(make).collect());
    &all[usize::from(number % CONTENTS)]
}

fn name(number: u8) -> String {
    NAMES[usize::from(number) % NAMES.len()].to_owned()
}

fn locked<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl World {
    /// An empty repository; its client keeps its copy of the index in a directory, or in memory.
    pub fn new(has_cache: bool) -> Self {
        let cache = has_cache.then(|| tempfile::tempdir().unwrap());
        let path = cache.as_ref().map(|directory| directory.path().to_owned());
        let make = |store| Lab::over(store, KeyMode::None).with_cache(path);
        World { _cache: cache, ..World::over(PowerStore::new(), make) }
    }

    /// Another, with the same in it, and a client that has never seen it.
    pub fn copy(&self) -> Self {
        let power = PowerStore::from_objects(self.power.after_kill());
        let (model, is_damaged) = (self.model.clone(), self.is_damaged);
        let protected = self.protected.clone();
        let make = |store| self.lab.with_store(store).with_cache(None);
        World { model, protected, is_damaged, ..World::over(power, make) }
    }

    fn over(power: PowerStore, lab: impl FnOnce(Opener) -> Lab) -> Self {
        let fault = Arc::new(Mutex::new(FaultStore::new(power.clone())));
        let (inside, clock) = (fault.clone(), Arc::new(TestClock::new()));
        let mut options = RetryOptions::default();
        options.tries = 3;
        let open = move || {
            let store = locked(&inside).clone();
            Box::new(Retry::new(store, options).with_clock(clock.clone())) as Box<dyn Store>
        };
        World {
            lab: lab(Box::new(open)),
            power,
            fault,
            writer: None,
            watched: None,
            model: BTreeMap::new(),
            protected: BTreeSet::new(),
            is_damaged: false,
            _cache: None,
        }
    }

    /// Takes a step, while the store fails or not, and looks at everything.
    pub fn step(&mut self, step: &Step, trouble: Option<&Trouble>) {
        // What others do is not garret's, and so not cut short.
        let is_ours =
            !matches!(step, Step::Rename { .. } | Step::Reopen | Step::Watch | Step::Damage { .. });
        let trouble = trouble.filter(|_| is_ours);
        if let Some(trouble) = trouble {
            self.arm(trouble);
        }
        self.settle(step, trouble);
        self.is_right();
    }

    fn arm(&self, trouble: &Trouble) {
        let fault = locked(&self.fault).clone();
        let times = if trouble.for_good { Fault::FOR_GOOD } else { 1 };
        let (verbs, after, kind) = (Vec::new(), trouble.after, trouble.kind);
        let armed = Fault { verbs, after, times, kind };
        match trouble.is_done {
            true => fault.arm_answers(armed),
            false => fault.arm(armed),
        }
    }

    /// What a step would make of the model; nothing if it is to be refused.
    fn planned(&self, step: &Step) -> Option<BTreeMap<String, u8>> {
        let mut model = self.model.clone();
        let is_planned = match step {
            Step::Create { name: to, content } => model.insert(name(*to), *content).is_none(),
            Step::Delete { names, .. } => {
                let gone = named(*names, &model);
                gone.iter()
                    .all(|name| model.remove(name).is_some() && !self.protected.contains(name))
            }
            Step::Protect { names, .. } => {
                named(*names, &model).iter().all(|name| model.contains_key(name))
            }
            Step::Rename { from, to } if !model.contains_key(&name(*to)) => {
                let moved = model.remove(&name(*from));
                model.extend(moved.map(|content| (name(*to), content)));
                true
            }
            _ => true,
        };
        is_planned.then_some(model)
    }

    /// Takes a step and holds what came of it against the model.
    fn settle(&mut self, step: &Step, trouble: Option<&Trouble>) {
        let planned = self.planned(step);
        let result = self.take(step);
        let fault = locked(&self.fault).clone();
        // What is only transient, and only once, nobody sees.
        let is_seen = trouble
            .is_some_and(|trouble| trouble.for_good || trouble.kind != StoreErrorKind::Transient);
        let may_fail = self.is_damaged || is_seen && fault.fired() > 0;
        fault.disarm();
        if let Some(trouble) = trouble {
            self.after_trouble(trouble);
        }
        match (result, planned) {
            (Ok(problems), Some(planned)) => {
                assert!(may_fail || problems.is_empty(), "{step:?}: {problems:?}");
                self.protect(step, &planned);
                self.model = planned;
            }
            (
                Err(Error::ArchiveExists(_) | Error::ArchiveMissing(_) | Error::Protected(_)),
                None,
            ) => {}
            (Err(error), planned) => {
                assert!(may_fail, "{step:?}: {}", garret_core::message(&error));
                let planned = planned.unwrap_or_else(|| self.model.clone());
                self.believe(planned, step);
            }
            (Ok(_), None) => panic!("{step:?} should have been refused"),
        }
    }

    fn after_trouble(&mut self, trouble: &Trouble) {
        if let Some(seed) = trouble.power_cut {
            (self.writer, self.watched) = (None, None);
            let power = PowerStore::from_objects(self.power.after_random_power_cut(seed));
            *locked(&self.fault) = FaultStore::new(power.clone());
            self.power = power;
        } else if trouble.for_good && trouble.kind == StoreErrorKind::Transient {
            // A session that gave its store up asks once until it answers; one that begins asks as ever.
            (self.writer, self.watched) = (None, None);
        }
    }

    /// A step failed: of what it was about each archive is as before or as planned, and the rest as before.
    fn believe(&mut self, planned: BTreeMap<String, u8>, step: &Step) {
        let names = self.lab.names();
        let before = std::mem::take(&mut self.model);
        for (name, content) in before.iter().chain(&planned) {
            let must_be = before.contains_key(name) && planned.contains_key(name);
            match names.contains(name) {
                true => drop(self.model.insert(name.clone(), *content)),
                false => assert!(!must_be, "{name} is gone after {step:?}"),
            }
        }
        if let Step::Protect { names, .. } = step {
            let (now, asked) = (self.said(), named(*names, &self.model));
            let changed = now.symmetric_difference(&self.protected);
            let others: Vec<&String> = changed.filter(|name| !asked.contains(name)).collect();
            assert!(others.is_empty(), "{others:?} after {step:?}");
            self.protected = now;
        }
        // Time passes: what is listed now stays.
        self.power.sync().unwrap();
    }

    /// Does it; gives the problems.
    fn take(&mut self, step: &Step) -> Result<Vec<String>> {
        let recorder = Recorder::default();
        match step {
            Step::Create { name: to, content: number } => {
                let mut writer = match self.writer.take() {
                    Some(writer) => writer,
                    None => self.lab.writer()?,
                };
                let reader = Box::new(Cursor::new(content(*number)));
                let input = Input::Stream { name: b"image".to_vec(), reader };
                let made = writer.backup(&name(*to), vec![input], &self.lab.options(), &recorder);
                self.writer = Some(writer);
                made?;
            }
            Step::Delete { names, collect } => {
                let mut session = self.lab.pruner()?;
                session.delete(&named(*names, &self.model))?;
                if *collect {
                    session.gc(&self.lab.gc_options(), &recorder)?;
                }
            }
            Step::Protect { names, on } => {
                let mut change = TagChange::default();
                change.protect = Some(*on);
                self.lab.pruner()?.tag(&named(*names, &self.model), &change)?;
            }
            Step::Compact => {
                let mut options = CompactOptions::default();
                // Fast, and harder than what a backup does.
                (options.compression, options.threads) = (Compression::Zstd(4), 1);
                self.lab.pruner()?.compact(&options, &recorder)?;
            }
            Step::Collect => return self.lab.gc_reporting().map(|(_, problems)| problems),
            Step::Rename { from, to } => self.rename(&name(*from), &name(*to)),
            Step::Reopen => self.writer = None,
            Step::Watch => self.watched = Some(self.watch()?),
            Step::Damage { place } => self.damage(*place),
        }
        Ok(recorder.problems())
    }

    /// What a step that went well does to what is protected.
    fn protect(&mut self, step: &Step, planned: &BTreeMap<String, u8>) {
        match step {
            Step::Protect { names, on: true } => self.protected.extend(named(*names, planned)),
            Step::Protect { names, on: false } => {
                named(*names, planned).iter().for_each(|name| _ = self.protected.remove(name));
            }
            Step::Rename { from, to } if !self.model.contains_key(&name(*to)) => {
                let moved = self.protected.take(&name(*from));
                self.protected.extend(moved.map(|_| name(*to)));
            }
            _ => {}
        }
    }

    /// The archives that are said to be protected.
    fn said(&self) -> BTreeSet<String> {
        let repository = self.lab.reader().unwrap();
        let tags = repository.tags(&Recorder::default()).unwrap();
        let is_protected = |name: &String| tags.is_protected(&repository.archive(name).unwrap());
        repository.archive_names().unwrap().into_iter().filter(is_protected).collect()
    }

    fn watch(&self) -> Result<(Repository, Watched)> {
        let repository = self.lab.reader()?;
        let mut archives = Watched::new();
        for (name, number) in &self.model {
            archives.insert(name.clone(), (*number, repository.archive(name)?));
        }
        Ok((repository, archives))
    }

    fn rename(&self, from: &str, to: &str) {
        if self.model.contains_key(to) || !self.model.contains_key(from) {
            return;
        }
        let store = &self.power;
        let [from, to] = [from, to].map(|name| Key::Archive(name.to_owned()));
        let len = store.len(&from).unwrap();
        store.put(&to, &[&store.get(&from, 0..len).unwrap()]).unwrap();
        store.delete(&from).unwrap();
        store.sync().unwrap();
    }

    /// A bit of a pack is flipped.
    fn damage(&mut self, place: u64) {
        let power = self.power.clone();
        let packs = power.list(Area::Packs).unwrap();
        let Some((key, len)) = packs.get(place as usize % packs.len().max(1)) else { return };
        let mut bytes = power.get(key, 0..*len).unwrap();
        bytes[(place / 7 % len) as usize] ^= 1 << (place % 8);
        power.put(key, &[&bytes]).unwrap();
        power.sync().unwrap();
        if !std::mem::replace(&mut self.is_damaged, true) {
            let (report, _) = self.lab.check_reporting(true).unwrap();
            assert!(report.problem_count > 0, "damage of {key} at {place} is not found");
        }
    }

    /// The names are those of the model, and every archive is exact, or damaged and named.
    fn is_right(&mut self) {
        assert_eq!(self.lab.names(), self.model.keys().cloned().collect::<Vec<_>>());
        assert_eq!(self.said(), self.protected, "what is protected");
        if let Some((repository, archives)) = &mut self.watched {
            archives.retain(|name, _| self.model.contains_key(name));
            for (name, (number, archive)) in archives {
                match self.lab.restore_from(repository, archive) {
                    Ok(bytes) => {
                        assert!(bytes == content(*number), "{name} is wrong for who reads")
                    }
                    Err(_) if self.is_damaged => {}
                    Err(error) => panic!("{name}, for who reads: {}", garret_core::message(&error)),
                }
            }
        }
        let mut lost = Vec::new();
        for (name, number) in &self.model {
            match self.lab.restore_bytes(name) {
                Ok(bytes) => assert!(bytes == content(*number), "{name} is wrong"),
                Err(_) if self.is_damaged => lost.push(name.clone()),
                Err(error) => panic!("{name}: {}", garret_core::message(&error)),
            }
        }
        if self.is_damaged {
            let (report, problems) = self.lab.check_reporting(true).unwrap();
            let named: Vec<String> = report.incomplete.into_iter().map(|one| one.name).collect();
            assert_eq!(named, lost, "what check names after damage, and what cannot be restored");
            // What was damaged is gone, or was stored again.
            self.is_damaged = report.problem_count > 0 || !problems.is_empty();
        }
    }

    /// Everything is sound and can be deleted, and nothing is left.
    pub fn ends(mut self) {
        (self.writer, self.watched) = (None, None);
        if !self.is_damaged {
            self.lab.check();
        }
        let protected = std::mem::take(&mut self.protected);
        if !protected.is_empty() {
            let mut change = TagChange::default();
            change.protect = Some(false);
            let names: Vec<String> = protected.into_iter().collect();
            self.lab.pruner().unwrap().tag(&names, &change).unwrap();
        }
        for name in std::mem::take(&mut self.model).into_keys() {
            self.lab.delete(&name).unwrap();
        }
        let collected = self.lab.gc_reporting();
        if self.is_damaged {
            return;
        }
        assert_eq!(collected.unwrap().1, [""; 0], "gc");
        for area in [Area::Packs, Area::Index, Area::Archives, Area::Tags] {
            assert_eq!(self.power.list(area).unwrap(), [], "{area:?}");
        }
        let copies = self.power.list(Area::Copies).unwrap();
        assert!(!copies.iter().any(|(key, _)| matches!(key, Key::ArchiveCopy(_))), "{copies:?}");
    }
}

/// The archives of these bits that are there; if there is none, one that is not.
fn named(bits: u8, model: &BTreeMap<String, u8>) -> Vec<String> {
    let has = |number: &u8| bits >> number & 1 == 1 && model.contains_key(&name(*number));
    let there: Vec<String> = (0..NAMES.len() as u8).filter(has).map(name).collect();
    if there.is_empty() { vec!["nobody".to_owned()] } else { there }
}

//! The protocol of sessions and gc as a model, of which every state is looked at: creators, a reader, who deletes archives,
//! pruners; each step of one between any of the others, each of them dead at any moment (docs/design.md, "Why gc is safe").
//!
//! In: who takes part, and the rules, each of which can be left out. Out: a state that must not be, or none in all of them.
//! Promises: with every rule each archive that is listed is whole in every state, and who reads it finds what he looked up;
//! without any one rule that is not so. Where locks may end before their holder (leases), archives count of which it was
//! said that they are made. A pruner whose lease ends is a dead one: it writes nothing more.
//!
//! The model is smaller than the code where that makes no difference: two chunks, packs with one or both, no index (it is
//! derived from packs). A pruner goes round once.
#![allow(clippy::print_stdout, reason = "how many states there are")]

use std::collections::BTreeMap;

use stateright::{Checker, Model, Property};

/// Rules that can be left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    /// A session reads the record again when it has its lock.
    S1,
    /// Who stores counts what is condemned as absent.
    S2,
    /// Who reads takes what is condemned last.
    S3,
    /// The lock is held until the archive is published.
    S4,
    /// Who lost his lease looks again before he says that an archive is made.
    S5,
    /// Packs are there before the archive.
    W3,
    /// One pruner at a time.
    P1,
    /// What is ripe is decided before archives are listed.
    P2,
    /// What is needed of a pack is copied before the pack is condemned.
    P3,
    /// What is condemned is so before it is asked who is there.
    P4,
    /// Nothing is deleted while a session is left that began before it was condemned.
    P5,
    /// Archives are listed again before that is deleted which was condemned a moment ago.
    P6,
    /// No epoch begins that a session has already.
    P7,
}

const RULES: [Rule; 13] = [
    Rule::S1,
    Rule::S2,
    Rule::S3,
    Rule::S4,
    Rule::S5,
    Rule::W3,
    Rule::P1,
    Rule::P2,
    Rule::P3,
    Rule::P4,
    Rule::P5,
    Rule::P6,
    Rule::P7,
];

/// Who takes part.
#[derive(Clone, Debug)]
struct Protocol {
    /// What the archives of creators need.
    creators: Vec<Chunks>,
    readers: usize,
    pruners: usize,
    /// How often each prunes.
    runs: u8,
    /// How many archives are deleted by somebody.
    deletions: u8,
    /// Whether the record is lost once.
    loses_record: bool,
    /// Whether locks are leases.
    leases: bool,
    without: Option<Rule>,
}

/// A set of chunks.
type Chunks = u8;
const A: Chunks = 1;
const B: Chunks = 2;

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Record {
    epoch: u8,
    packs: BTreeMap<usize, u8>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Archive {
    needs: Chunks,
    is_listed: bool,
    /// Whether somebody was told that it is made.
    is_sure: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
enum At {
    #[default]
    Start,
    Known,
    Locked,
    Joined,
    /// A creator knows what is there and what he has to store.
    Looked,
    Stored,
    Published(usize),
    /// A reader has this archive to read.
    Reading(usize),
    Over,
}

/// A creator or a reader.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Session {
    at: At,
    known: Record,
    /// Its lock, while it lasts.
    lock: Option<u8>,
    /// Packs that it relies on.
    uses: Vec<usize>,
    lacks: Chunks,
}

impl Session {
    fn end(&mut self) {
        *self = Session { at: At::Over, ..Session::default() };
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
enum Station {
    #[default]
    Start,
    Plan,
    Sweep,
    Copy,
    Condemn,
    Ask,
    List,
    Delete,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Pruner {
    station: Station,
    runs: u8,
    record: Record,
    ripe: Vec<usize>,
    /// Archives that were marked.
    seen: Vec<usize>,
    drop: Vec<usize>,
    /// Packs, and what is needed of them.
    repack: BTreeMap<usize, Chunks>,
    queue: Vec<usize>,
}

impl Pruner {
    fn end(&mut self) {
        *self = Pruner { runs: self.runs, ..Pruner::default() };
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    /// What is in each pack; nothing in one that is deleted.
    packs: Vec<Chunks>,
    archives: Vec<Archive>,
    record: Option<Record>,
    sessions: Vec<Session>,
    pruners: Vec<Pruner>,
    deletions: u8,
    can_lose_record: bool,
    /// Whether a reader missed what he had looked up.
    has_misread: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Step {
    Session(usize),
    /// It takes it that nothing is condemned, before it has read the record.
    Guess(usize),
    /// A reader takes this archive.
    Read(usize, usize),
    Prune(usize),
    SessionDies(usize),
    PrunerDies(usize),
    LeaseEnds(usize),
    Delete(usize),
    LoseRecord,
}

fn each(chunks: Chunks) -> impl Iterator<Item = Chunks> {
    [A, B].into_iter().filter(move |chunk| chunks & chunk != 0)
}

impl State {
    fn has_session(&self, epochs: impl std::ops::RangeBounds<u8>) -> bool {
        self.sessions.iter().any(|one| one.lock.is_some_and(|epoch| epochs.contains(&epoch)))
    }

    fn listed(&self) -> Vec<usize> {
        (0..self.archives.len()).filter(|archive| self.archives[*archive].is_listed).collect()
    }

    fn is_whole(&self, archive: &Archive) -> bool {
        let stored = self.packs.iter().fold(0, |all, chunks| all | chunks);
        archive.needs & !stored == 0
    }

    /// The pack in which a chunk is found.
    fn find(&self, chunk: Chunks, doubtful: &Record, last: bool) -> Option<usize> {
        let holds = |pack: &usize| self.packs[*pack] & chunk != 0;
        let is_doubtful = |pack: &usize| doubtful.packs.contains_key(pack);
        let all = || (0..self.packs.len()).filter(holds);
        match last {
            true => all().find(|pack| !is_doubtful(pack)).or_else(|| all().next()),
            false => all().find(is_doubtful).or_else(|| all().next()),
        }
    }
}

impl Protocol {
    fn has(&self, rule: Rule) -> bool {
        self.without != Some(rule)
    }

    /// Whether an archive must be whole: one that is made by somebody without a lease may yet be taken back by him.
    fn counts(&self, archive: &Archive) -> bool {
        archive.is_listed && (archive.is_sure || !self.leases)
    }

    fn join(&self, state: &mut State, which: usize) {
        let record = state.record.clone().unwrap_or_default();
        let session = &mut state.sessions[which];
        match session.at {
            At::Start => {
                session.known = record;
                session.at = At::Known;
            }
            At::Known => {
                session.lock = Some(session.known.epoch);
                session.at = At::Locked;
            }
            _ if record == session.known || !self.has(Rule::S1) => session.at = At::Joined,
            _ => *session = Session::default(),
        }
    }

    fn create(&self, state: &mut State, which: usize) {
        let needs = self.creators[which];
        let session = state.sessions[which].clone();
        let next = |state: &mut State, at| state.sessions[which].at = at;
        match session.at {
            At::Joined => {
                for chunk in each(needs) {
                    let pack = state.find(chunk, &session.known, true).filter(|pack| {
                        !session.known.packs.contains_key(pack) || !self.has(Rule::S2)
                    });
                    match pack {
                        Some(pack) => state.sessions[which].uses.push(pack),
                        None => state.sessions[which].lacks |= chunk,
                    }
                }
                if !self.has(Rule::S4) {
                    state.sessions[which].lock = None;
                }
                next(state, At::Looked);
            }
            At::Looked if self.has(Rule::W3) => self.store(state, which),
            At::Looked => self.publish(state, which),
            At::Stored => self.publish(state, which),
            At::Published(archive) => {
                if !self.has(Rule::W3) {
                    self.store(state, which);
                }
                let record = state.record.clone().unwrap_or_default();
                let is_there =
                    |pack: &usize| state.packs[*pack] != 0 && !record.packs.contains_key(pack);
                let is_safe = session.lock.is_some() || session.uses.iter().all(is_there);
                match is_safe || !self.has(Rule::S5) {
                    true => state.archives[archive].is_sure = true,
                    false => state.archives[archive].is_listed = false,
                }
                state.sessions[which].end();
            }
            _ => {}
        }
    }

    fn store(&self, state: &mut State, which: usize) {
        let lacks = state.sessions[which].lacks;
        if lacks != 0 {
            state.packs.push(lacks);
            let new = state.packs.len() - 1;
            state.sessions[which].uses.push(new);
        }
        state.sessions[which].at = At::Stored;
    }

    fn publish(&self, state: &mut State, which: usize) {
        let needs = self.creators[which];
        state.archives.push(Archive { needs, is_listed: true, is_sure: false });
        state.sessions[which].at = At::Published(state.archives.len() - 1);
    }

    fn look_up(&self, state: &mut State, which: usize, archive: usize) {
        let (known, needs) = (state.sessions[which].known.clone(), state.archives[archive].needs);
        let places = each(needs).map(|chunk| state.find(chunk, &known, self.has(Rule::S3)));
        let places: Option<Vec<usize>> = places.collect();
        let session = &mut state.sessions[which];
        session.at = At::Reading(archive);
        session.uses = places.unwrap_or_default();
    }

    fn read(&self, state: &mut State, which: usize, archive: usize) {
        let Some(pack) = state.sessions[which].uses.pop() else {
            return state.sessions[which].end();
        };
        let is_kept = state.sessions[which].lock.is_some() && self.counts(&state.archives[archive]);
        state.has_misread |= is_kept && state.packs[pack] == 0;
    }

    fn ripe(&self, state: &State) -> Vec<usize> {
        let record = state.record.clone().unwrap_or_default();
        let is_ripe = |epoch: u8| !state.has_session(0..epoch) || !self.has(Rule::P5);
        record.packs.iter().filter(|(_, epoch)| is_ripe(**epoch)).map(|(pack, _)| *pack).collect()
    }

    fn plan(&self, state: &State, pruner: &mut Pruner) {
        pruner.seen = state.listed();
        let needs = pruner.seen.iter().fold(0, |all, archive| all | state.archives[*archive].needs);
        let mut live: BTreeMap<usize, Chunks> = BTreeMap::new();
        for chunk in each(needs) {
            if let Some(pack) = state.find(chunk, &pruner.record, true) {
                *live.entry(pack).or_default() |= chunk;
            }
        }
        let all = (0..state.packs.len()).filter(|pack| state.packs[*pack] != 0);
        pruner.drop = all.filter(|pack| !live.contains_key(pack)).collect();
        live.retain(|pack, live| state.packs[*pack] != *live);
        pruner.repack = live;
    }

    /// The record with what is condemned now; whether that is anything new.
    fn condemn(&self, state: &State, pruner: &mut Pruner) -> bool {
        let Pruner { record, drop, repack, .. } = pruner;
        record.packs.retain(|pack, _| drop.contains(pack));
        let mut epoch = record.epoch + 1;
        while self.has(Rule::P7) && state.has_session(epoch..) {
            epoch += 1;
        }
        let doomed = drop.iter().chain(repack.keys());
        let new: Vec<usize> =
            doomed.filter(|pack| !record.packs.contains_key(pack)).copied().collect();
        if !new.is_empty() {
            record.epoch = epoch;
        }
        record.packs.extend(new.iter().map(|pack| (*pack, epoch)));
        !new.is_empty()
    }

    fn prune(&self, state: &mut State, which: usize) {
        let mut pruner = std::mem::take(&mut state.pruners[which]);
        match pruner.station {
            Station::Start => {
                pruner.runs -= 1;
                pruner.record = state.record.clone().unwrap_or_default();
                pruner.ripe = self.ripe(state);
                pruner.station = Station::Plan;
            }
            Station::Plan => {
                self.plan(state, &mut pruner);
                pruner.station = Station::Sweep;
            }
            Station::Sweep => {
                if !self.has(Rule::P2) {
                    pruner.ripe = self.ripe(state);
                }
                let (ripe, left) = pruner.drop.iter().partition(|pack| pruner.ripe.contains(pack));
                (pruner.queue, pruner.drop) = (ripe, left);
                pruner.queue.iter().for_each(|pack| state.packs[*pack] = 0);
                pruner.queue.clear();
                pruner.station = Station::Copy;
            }
            Station::Copy => {
                if self.has(Rule::P3) {
                    state.packs.extend(pruner.repack.values());
                }
                pruner.station = if self.has(Rule::P4) { Station::Condemn } else { Station::Ask };
            }
            Station::Condemn => {
                let is_new = self.condemn(state, &mut pruner);
                let is_any = !pruner.record.packs.is_empty();
                state.record = is_any.then(|| pruner.record.clone());
                match (is_new, self.has(Rule::P4)) {
                    (false, _) => pruner.end(),
                    (true, true) => pruner.station = Station::Ask,
                    (true, false) => pruner.station = Station::List,
                }
            }
            Station::Ask => {
                let epoch =
                    if self.has(Rule::P4) { pruner.record.epoch } else { pruner.record.epoch + 1 };
                let has_others = self.has(Rule::P5) && state.has_session(0..epoch);
                match self.has(Rule::P4) {
                    _ if has_others => pruner.end(),
                    true => pruner.station = Station::List,
                    false => pruner.station = Station::Condemn,
                }
            }
            Station::List => {
                let is_known = state.listed().iter().all(|archive| pruner.seen.contains(archive));
                pruner.queue = pruner.drop.iter().chain(pruner.repack.keys()).copied().collect();
                match is_known || !self.has(Rule::P6) {
                    true => pruner.station = Station::Delete,
                    false => pruner.end(),
                }
            }
            Station::Delete => match pruner.queue.pop() {
                Some(pack) => state.packs[pack] = 0,
                None => {
                    if !self.has(Rule::P3) {
                        state.packs.extend(pruner.repack.values());
                    }
                    state.record = None;
                    pruner.end();
                }
            },
        }
        state.pruners[which] = pruner;
    }
}

impl Model for Protocol {
    type State = State;
    type Action = Step;

    fn init_states(&self) -> Vec<State> {
        let archive = |needs| Archive { needs, is_listed: true, is_sure: true };
        let pruner = Pruner { runs: self.runs, ..Pruner::default() };
        vec![State {
            packs: vec![A | B],
            archives: vec![archive(A | B), archive(A)],
            record: None,
            sessions: vec![Session::default(); self.creators.len() + self.readers],
            pruners: vec![pruner; self.pruners],
            deletions: self.deletions,
            can_lose_record: self.loses_record,
            has_misread: false,
        }]
    }

    fn actions(&self, state: &State, steps: &mut Vec<Step>) {
        for (which, session) in state.sessions.iter().enumerate() {
            match session.at {
                At::Over => continue,
                At::Joined if which >= self.creators.len() => {
                    steps.extend(state.listed().into_iter().map(|one| Step::Read(which, one)));
                }
                _ => steps.push(Step::Session(which)),
            }
            match session.at {
                At::Start => steps.push(Step::Guess(which)),
                _ => steps.push(Step::SessionDies(which)),
            }
            if self.leases && session.lock.is_some() {
                steps.push(Step::LeaseEnds(which));
            }
        }
        let at_work = |pruner: &Pruner| pruner.station != Station::Start;
        for (which, pruner) in state.pruners.iter().enumerate() {
            let is_alone = !state.pruners.iter().any(at_work) || !self.has(Rule::P1);
            if at_work(pruner) {
                steps.extend([Step::Prune(which), Step::PrunerDies(which)]);
            } else if pruner.runs > 0 && is_alone {
                steps.push(Step::Prune(which));
            }
        }
        if state.deletions > 0 {
            steps.extend(state.listed().into_iter().map(Step::Delete));
        }
        // By hand, which nobody may while somebody prunes.
        if state.can_lose_record && state.record.is_some() && !state.pruners.iter().any(at_work) {
            steps.push(Step::LoseRecord);
        }
    }

    fn next_state(&self, last: &State, step: Step) -> Option<State> {
        let mut state = last.clone();
        match step {
            Step::Session(which) => match last.sessions[which].at {
                At::Start | At::Known | At::Locked => self.join(&mut state, which),
                At::Reading(archive) => self.read(&mut state, which, archive),
                _ => self.create(&mut state, which),
            },
            Step::Guess(which) => state.sessions[which].at = At::Known,
            Step::Read(which, archive) => self.look_up(&mut state, which, archive),
            Step::Prune(which) => self.prune(&mut state, which),
            Step::SessionDies(which) => state.sessions[which].end(),
            Step::PrunerDies(which) => state.pruners[which].end(),
            Step::LeaseEnds(which) => state.sessions[which].lock = None,
            Step::Delete(archive) => {
                state.deletions -= 1;
                state.archives[archive].is_listed = false;
            }
            Step::LoseRecord => {
                state.can_lose_record = false;
                state.record = None;
            }
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("every archive is whole", |model: &Protocol, state: &State| {
                let mut needed = state.archives.iter().filter(|archive| model.counts(archive));
                needed.all(|archive| state.is_whole(archive))
            }),
            Property::always("who reads finds what he looked up", |_, state: &State| {
                !state.has_misread
            }),
        ]
    }
}

fn worlds() -> Vec<Protocol> {
    let base = Protocol {
        creators: vec![A | B],
        readers: 0,
        pruners: 1,
        runs: 2,
        deletions: 2,
        loses_record: false,
        leases: false,
        without: None,
    };
    vec![
        Protocol { creators: vec![A | B, B], ..base.clone() },
        Protocol { readers: 1, ..base.clone() },
        Protocol { pruners: 2, runs: 1, ..base.clone() },
        Protocol { loses_record: true, runs: 3, ..base.clone() },
        Protocol { leases: true, readers: 1, ..base },
    ]
}

/// How many states there are, and what must not be, if that comes to be.
fn look(model: Protocol) -> (usize, Vec<String>) {
    let checker = model.checker().threads(2).spawn_bfs().join();
    let found = checker.discoveries();
    let told = found.into_iter().map(|(name, path)| format!("{name}: {:#?}", path.into_actions()));
    (checker.unique_state_count(), told.collect())
}

#[test]
fn with_every_rule_every_archive_is_whole_in_every_state() {
    for world in worlds() {
        let shown = format!("{world:?}");
        let (states, found) = look(world);
        println!("{states} states of {shown}");
        assert!(found.is_empty(), "{shown}: {}", found.join("\n"));
    }
}

#[test]
fn without_any_one_rule_something_goes_wrong() {
    for rule in RULES {
        let mut without =
            worlds().into_iter().map(|world| Protocol { without: Some(rule), ..world });
        assert!(without.any(|world| !look(world).1.is_empty()), "{rule:?} is not needed");
    }
}

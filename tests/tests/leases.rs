//! Leases: who is there on a store that has no locks.
//!
//! In: a server without locks, several clients, time that the test lets pass. Promises: who excludes each other is never let
//! in together; who died is waited for as long as his lease says, and no longer; who could not renew his writes nothing more;
//! and with gc, creators and readers beside each other on such a store nothing is lost, whoever dies or stands still.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]
#![allow(clippy::print_stdout, reason = "what a crowd did")]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::time::Duration;

use garret_core::{
    Area, Clock, Error, Guard, Input, Key, LEASE_TIME, LockMode, Silent, Store, StoreError,
    StoreErrorKind,
};
use garret_format::condemned::EPOCH_MAX;
use garret_format::config::KeyMode;
use garret_testkit::{Image, Lab, LocklessClient, LocklessServer, Random, SharedClock};

const SECOND: Duration = Duration::from_secs(1);

/// A server, and the time.
fn server() -> (LocklessServer, Arc<SharedClock>) {
    let clock = Arc::new(SharedClock::default());
    (LocklessServer::new(clock.clone(), Duration::ZERO), clock)
}

fn take(client: &LocklessClient, mode: LockMode) -> Result<Box<dyn Guard>, StoreError> {
    client.lock(mode, Duration::ZERO, &mut |_| {})
}

fn is_busy<T>(done: Result<T, StoreError>) -> bool {
    done.is_err_and(|error| error.kind == StoreErrorKind::Busy)
}

fn has_sessions(client: &LocklessClient) -> bool {
    client.has_sessions(0..=EPOCH_MAX).unwrap()
}

#[test]
fn who_died_is_waited_for_until_his_lease_is_over() {
    for (mode, wanted) in
        [(LockMode::Prune, LockMode::Prune), (LockMode::Session(3), LockMode::Exclusive)]
    {
        let (server, clock) = server();
        let (dead, other) = (server.client(LEASE_TIME), server.client(LEASE_TIME));
        let guard = take(&dead, mode).unwrap();
        dead.die();
        drop(guard);
        assert_eq!(has_sessions(&other), mode != LockMode::Prune);
        clock.sleep(LEASE_TIME - SECOND);
        assert!(is_busy(take(&other, wanted)), "{mode:?}, too early");
        clock.sleep(SECOND * 2);
        drop(take(&other, wanted).unwrap());
        assert!(!has_sessions(&other));
        assert_eq!(server.leases(), [""; 0], "what is over is cleared away");
    }
}

/// Whoever waits asks again in the end; whom it waits for is said, once.
#[test]
fn who_waits_is_let_in_when_a_dead_one_is_over() {
    let (server, clock) = server();
    let (dead, other) = (server.client(LEASE_TIME), server.client(LEASE_TIME));
    std::mem::forget(take(&dead, LockMode::Check).unwrap());
    dead.die();
    let mut told = Vec::new();
    let day = Duration::from_secs(24 * 60 * 60);
    drop(other.lock(LockMode::Prune, day, &mut |who| told.push(who.to_owned())).unwrap());
    let pid = std::process::id();
    assert_eq!(told, [format!("a program that checks (pid {pid})")]);
    let waited = clock.now();
    assert!(waited > LEASE_TIME && waited < LEASE_TIME + SECOND * 20, "{waited:?}");
}

#[test]
fn a_lease_that_is_renewed_does_not_end() {
    let (server, clock) = server();
    let (one, other) = (server.client(LEASE_TIME), server.client(LEASE_TIME));
    let guard = take(&one, LockMode::Prune).unwrap();
    for _ in 0..100 {
        clock.sleep(LEASE_TIME / 3);
        one.leases().renew().unwrap();
        assert!(guard.is_held());
        assert!(is_busy(take(&other, LockMode::Prune)));
    }
}

/// It knows long before others do, and does not come back.
#[test]
fn who_could_not_renew_writes_nothing_more() {
    let (server, clock) = server();
    let late = server.client(LEASE_TIME);
    late.put(&Key::Config, &[b"before there is any lease"]).unwrap();
    let guard = take(&late, LockMode::Session(0)).unwrap();
    clock.sleep(LEASE_TIME / 2 - SECOND);
    assert!(guard.is_held());
    late.put(&Key::Verified, &[b"in time"]).unwrap();
    clock.sleep(LEASE_TIME / 2 + SECOND);
    late.leases().renew().unwrap();
    assert!(!guard.is_held());
    let archive = Key::Archive("late".to_owned());
    assert!(is_busy(late.put(&Key::Verified, &[b"too late"])));
    assert!(is_busy(late.put_new(&archive, b"too late")));
    assert!(is_busy(late.delete(&Key::Verified)));
    assert_eq!(late.get(&Key::Verified, 0..7).unwrap(), b"in time", "reading harms nobody");
    // Others may come in while he believes that he is gone, and he may begin again.
    drop(guard);
    let _guard = take(&late, LockMode::Session(0)).unwrap();
    late.put_new(&archive, b"anew").unwrap();
}

/// As a disk that is served, or an archive that is mounted: what is deleted beside it is there until it ends, and goes then.
#[test]
fn an_archive_that_is_looked_at_for_a_day_is_there_to_the_end() {
    const STEP: usize = 256 * 1024;
    let (server, clock) = server();
    let clients = server.clone();
    let lab = Lab::over(move || Box::new(clients.client(LEASE_TIME)), KeyMode::Passphrase);
    let steps = (Duration::from_secs(24 * 60 * 60).as_secs() / (LEASE_TIME / 3).as_secs()) as usize;
    let image = Image::noise(3, steps * STEP).bytes;
    lab.backup_bytes("seen", &image).unwrap();
    let viewer = server.client(LEASE_TIME);
    let store = viewer.clone();
    let looking = lab.with_store(move || Box::new(store.clone()));
    let reader = looking.reader().unwrap();
    let archive = reader.archive("seen").unwrap();
    let item = reader.items(&archive).next().unwrap().unwrap();
    let file = reader.open_file(&item).unwrap().unwrap();
    for step in 0..steps {
        clock.sleep(LEASE_TIME / 3);
        viewer.leases().renew().unwrap();
        match step % 12 {
            1 => {
                drop(lab.backup_bytes(&format!("{step}"), &Image::noise(9, 300_000).bytes).unwrap())
            }
            2 => lab.names().iter().for_each(|name| lab.delete(name).unwrap()),
            3 => drop(lab.gc().unwrap()),
            4 => drop(lab.check()),
            _ => {}
        }
        // Never read before, so it comes from the store.
        let (at, mut bytes) = (step * STEP, vec![0; STEP]);
        file.read(&mut bytes, at as u64).unwrap();
        assert!(bytes == image[at..at + STEP], "after {step} steps");
    }
    assert!(server.objects.list(Area::Packs).unwrap().iter().map(|(_, len)| len).sum::<u64>() > 0);
    drop((file, archive, reader));
    lab.gc().unwrap();
    assert_eq!(server.objects.list(Area::Packs).unwrap(), []);
}

/// A backup that stood still for too long makes no archive, although all its packs are there; it is done by the next.
#[test]
fn an_archive_of_who_stood_still_is_not_made() {
    let (server, clock) = server();
    let clients = server.clone();
    let lab = Lab::over(move || Box::new(clients.client(LEASE_TIME)), KeyMode::Passphrase);
    let mut writer = lab.writer().unwrap();
    let image = Image::noise(1, 500_000).bytes;
    let reader = Box::new(Stalls { bytes: std::io::Cursor::new(image.clone()), clock });
    let input = Input::Stream { name: b"image".to_vec(), reader };
    let made = writer.backup("a", vec![input], &lab.options(), &Silent);
    assert!(matches!(made, Err(Error::Store(error)) if error.kind == StoreErrorKind::Busy));
    drop(writer);
    assert_eq!(lab.names(), [""; 0]);
    lab.backup_bytes("a", &image).unwrap();
    assert!(lab.restore_bytes("a").unwrap() == image);
    lab.gc().unwrap();
    lab.check();
}

/// The same if it stood still in the last request of all: the archive is taken back.
#[test]
fn an_archive_that_is_published_too_late_is_taken_back() {
    let (server, clock) = server();
    let (clients, is_late) = (server.clone(), Arc::new(AtomicBool::new(false)));
    let late = is_late.clone();
    let open = move || {
        let (inner, clock, is_late) = (clients.client(LEASE_TIME), clock.clone(), late.clone());
        Box::new(Late { inner, clock, is_late }) as Box<dyn Store>
    };
    let lab = Lab::over(open, KeyMode::Passphrase);
    let image = Image::noise(2, 500_000).bytes;
    is_late.store(true, Ordering::SeqCst);
    assert!(matches!(lab.backup_bytes("a", &image), Err(Error::Lock { .. })));
    is_late.store(false, Ordering::SeqCst);
    assert_eq!(lab.names(), [""; 0]);
    assert_eq!(server.objects.list(Area::Copies).unwrap().len(), 2, "of config and the slot");
    lab.backup_bytes("a", &image).unwrap();
    lab.gc().unwrap();
    assert!(lab.restore_bytes("a").unwrap() == image);
    lab.check();
}

/// The clock of a virtual machine that is paused stands still; the server's does not.
#[test]
fn an_archive_of_a_machine_that_was_paused_is_taken_back() {
    let (server, clock) = server();
    let (clients, own) = (server.clone(), Arc::new(SharedClock::default()));
    let open = move || Box::new(clients.client_by(LEASE_TIME, own.clone())) as Box<dyn Store>;
    let lab = Lab::over(open, KeyMode::Passphrase);
    let image = Image::noise(3, 500_000).bytes;
    let mut writer = lab.writer().unwrap();
    let reader = Box::new(Stalls { bytes: std::io::Cursor::new(image.clone()), clock });
    let input = Input::Stream { name: b"image".to_vec(), reader };
    let made = writer.backup("a", vec![input], &lab.options(), &Silent);
    assert!(made.is_err());
    drop(writer);
    assert_eq!(lab.names(), [""; 0]);
    lab.backup_bytes("a", &image).unwrap();
    lab.check();
}

/// A client whose archives come to the server as ever, and whose answers take a day.
struct Late {
    inner: LocklessClient,
    clock: Arc<SharedClock>,
    is_late: Arc<AtomicBool>,
}

impl Store for Late {
    garret_testkit::through!(inner: put, get, get_whole, len, list, delete, adopt, sync, sweep, lock);
    garret_testkit::through!(inner: doubtful, has_sessions, pass_over, notices, place);

    fn put_new(&self, key: &Key, bytes: &[u8]) -> Result<(), StoreError> {
        self.inner.put_new(key, bytes)?;
        if self.is_late.load(Ordering::SeqCst) && matches!(key, Key::Archive(_)) {
            self.clock.sleep(LEASE_TIME * 60);
        }
        Ok(())
    }
}

/// A stream during which the machine sleeps for a day.
struct Stalls {
    bytes: std::io::Cursor<Vec<u8>>,
    clock: Arc<SharedClock>,
}

impl std::io::Read for Stalls {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let read = self.bytes.read(into)?;
        if read == 0 {
            self.clock.sleep(LEASE_TIME * 60);
        }
        Ok(read)
    }
}

/// What a hostile or broken server lists among the leases is nobody, and ends nothing.
#[test]
fn strange_names_among_the_leases_are_nobody() {
    let (server, _) = server();
    let client = server.client(LEASE_TIME);
    let guard = take(&client, LockMode::Prune).unwrap();
    let [name] = &server.leases()[..] else { panic!("one lease") };
    let name = name.clone();
    drop(guard);
    let mut strange: Vec<String> =
        ["", "-", "------", "x".repeat(100_000).as_str()].map(String::from).into();
    strange.push(name.replace("prune-0", "prune-00"));
    strange.push(name.replace("prune-0", "prune-+0"));
    strange.push(name.replace("prune-0", &format!("session-{:x}", EPOCH_MAX + 1)));
    strange.push(name.replace("-1440-", "-99999999999-"));
    strange.push(name.replace("prune", "Prune"));
    strange.push(format!("{name}-"));
    strange.extend(
        (1..name.len()).map(|len| name[..len].to_owned()).filter(|cut| !cut.contains("-1440-")),
    );
    for name in &strange {
        server.put_lease(name);
    }
    drop(take(&client, LockMode::Exclusive).unwrap());
    assert!(!has_sessions(&client));
}

/// Nor does an object that says to be of tomorrow end the lease of anybody else.
#[test]
fn what_is_dated_in_the_future_ends_no_lease() {
    let (server, _) = server();
    let (one, other) = (server.client(LEASE_TIME), server.client(LEASE_TIME));
    let _session = take(&one, LockMode::Session(0)).unwrap();
    let [name] = &server.leases()[..] else { panic!("one lease") };
    let strange = name.replace("-1440-", "-1439-");
    server.put_lease_at(&strange, LEASE_TIME * 60);
    server.put_lease_at("tomorrow", LEASE_TIME * 60);
    assert!(is_busy(take(&other, LockMode::Exclusive)));
    assert!(has_sessions(&other));
    let _pruner = take(&other, LockMode::Prune).unwrap();
    assert!(has_sessions(&other));
}

/// However many want it at once, never two of them have it.
#[test]
fn of_many_at_once_one_at_most_may_delete() {
    let (server, _) = server();
    let (inside, most, let_in) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
    for _ in 0..200 {
        let start = Barrier::new(4);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let client = server.client(LEASE_TIME);
                    start.wait();
                    if let Ok(guard) = take(&client, LockMode::Prune) {
                        most.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        let_in.fetch_add(1, Ordering::SeqCst);
                        inside.fetch_sub(1, Ordering::SeqCst);
                        drop(guard);
                    }
                });
            }
        });
    }
    assert_eq!(most.into_inner(), 1);
    assert!(let_in.into_inner() > 0);
}

/// What a crowd shares.
struct Crowd {
    lab: Lab,
    server: LocklessServer,
    clock: Arc<SharedClock>,
    client: Arc<Mutex<LocklessClient>>,
    blocks: Vec<Vec<u8>>,
    /// What must be there; names that nobody deletes any more.
    must: Mutex<BTreeMap<String, Vec<u8>>>,
    /// Who has not finished.
    at_work: AtomicUsize,
    /// Somebody stands still: one at a time, so that time passes for him.
    stands: Mutex<()>,
    counts: Mutex<BTreeMap<&'static str, u64>>,
}

/// Four create, two delete, one reads.
const WORKERS: usize = 7;
/// Leases of a crowd, and how long a request takes: some 3,000 requests until a lease is over.
const CROWD_LEASE: Duration = Duration::from_secs(60);
const REQUEST: Duration = Duration::from_millis(20);

impl Crowd {
    fn new() -> Self {
        let clock = Arc::new(SharedClock::default());
        let server = LocklessServer::new(clock.clone(), REQUEST);
        let client = Arc::new(Mutex::new(server.client(CROWD_LEASE)));
        let first = client.clone();
        Crowd {
            lab: Lab::over(move || Box::new(first.lock().unwrap().clone()), KeyMode::Passphrase),
            client,
            server,
            clock,
            blocks: (0..24).map(|seed| Image::noise(seed, 60_000).bytes).collect(),
            must: Mutex::default(),
            at_work: AtomicUsize::new(WORKERS),
            stands: Mutex::default(),
            counts: Mutex::default(),
        }
    }

    fn count(&self, what: &'static str) {
        *self.counts.lock().unwrap().entry(what).or_default() += 1;
    }

    fn has(&self, what: &str) -> u64 {
        self.counts.lock().unwrap().get(what).copied().unwrap_or_default()
    }

    /// A lab of a client of its own.
    fn joins(&self) -> (Lab, LocklessClient) {
        let client = self.server.client(CROWD_LEASE);
        let store = client.clone();
        (self.lab.with_store(move || Box::new(store.clone())), client)
    }

    /// Stands still until all others take him for dead, if nobody else does so now.
    fn stalls(&self) {
        let Ok(_one) = self.stands.try_lock() else { return };
        let end = self.clock.now() + CROWD_LEASE * 2;
        while self.clock.now() < end && self.at_work.load(Ordering::SeqCst) > 1 {
            std::thread::yield_now();
        }
        self.count("stood still");
    }

    fn creates(&self, random: &mut Random, name: String) {
        let (lab, client) = self.joins();
        let mut image = Vec::new();
        for _ in 0..random.below(6) + 1 {
            image.extend_from_slice(&self.blocks[random.below(self.blocks.len())]);
        }
        let trouble = random.below(6);
        let mut writer = lab.unlocked_without_patience().writer(&Silent).unwrap();
        match trouble {
            0 => client.die(),
            1 => self.stalls(),
            _ => {}
        }
        let reader = Box::new(std::io::Cursor::new(image.clone()));
        let input = Input::Stream { name: b"image".to_vec(), reader };
        match writer.backup(&name, vec![input], &lab.options(), &Silent) {
            Ok(_) => {
                self.must.lock().unwrap().insert(name, image);
                self.count("created");
            }
            Err(error) => {
                // With so many on two processors anybody may stand still.
                let is_excused = trouble == 0 || client.leases().permit().is_err();
                assert!(is_excused, "{name}: {}", garret_core::message(&error));
                self.count("not created");
            }
        }
    }

    fn prunes(&self, random: &mut Random) {
        let (lab, client) = self.joins();
        let Ok(mut pruner) = lab.unlocked_without_patience().pruner(&Silent) else {
            return self.count("had to wait to delete");
        };
        let doomed: Vec<String> = {
            let mut must = self.must.lock().unwrap();
            let names: Vec<String> = must.keys().cloned().collect();
            let doomed: Vec<String> = names.into_iter().filter(|_| random.below(3) == 0).collect();
            doomed.iter().for_each(|name| drop(must.remove(name)));
            doomed
        };
        let deleted = pruner.delete(&doomed);
        match random.below(12) {
            0 => client.die(),
            1 => self.stalls(),
            _ => {}
        }
        let collected = deleted.and_then(|()| pruner.gc(&lab.gc_options(), &Silent));
        match collected {
            Ok(report) if report.deleted_pack_count > 0 => self.count("gc gave space back"),
            Ok(_) => self.count("gc"),
            Err(_) => self.count("gc ended"),
        }
    }

    fn reads(&self, random: &mut Random) {
        let (lab, client) = self.joins();
        let chosen = {
            let must = self.must.lock().unwrap();
            let place = random.below(must.len().max(1));
            must.iter().nth(place).map(|(name, image)| (name.clone(), image.clone()))
        };
        let Some((name, image)) = chosen else { return };
        let reader = lab.unlocked_without_patience().reader(&Silent).unwrap();
        let trouble = random.below(8);
        match trouble {
            0 => client.die(),
            1 => self.stalls(),
            _ => {}
        }
        let read = reader.archive(&name).and_then(|archive| lab.restore_from(&reader, &archive));
        match read {
            Ok(bytes) => assert!(bytes == image, "{name}: wrong bytes"),
            Err(error) => {
                let is_there = self.must.lock().unwrap().contains_key(&name);
                let is_late = client.leases().permit().is_err();
                let is_excused = trouble == 0 || is_late || !is_there;
                assert!(is_excused, "{name}: {}", garret_core::message(&error));
            }
        }
        self.count("read");
    }
}

/// Who stands still waits for nobody when all others have finished, or failed.
struct AtWork<'c>(&'c Crowd);

impl Drop for AtWork<'_> {
    fn drop(&mut self) {
        self.0.at_work.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Creators, who deletes and gives space back, and readers, all at once; some die, some stand still for longer than their
/// leases.
#[test]
fn beside_each_other_without_locks_nothing_is_lost() {
    let seed = std::env::var("GARRET_SEED").map_or(1, |seed| seed.parse().unwrap());
    println!("GARRET_SEED={seed}");
    let turns = std::env::var("GARRET_TURNS").map_or(60, |turns| turns.parse().unwrap());
    let crowd = Crowd::new();
    std::thread::scope(|scope| {
        for worker in 0..WORKERS {
            let crowd = &crowd;
            scope.spawn(move || {
                let _at_work = AtWork(crowd);
                let mut random = Random::new(seed * 100 + worker as u64);
                match worker {
                    0..4 => (0..turns).for_each(|turn| {
                        crowd.creates(&mut random, format!("{worker}-{turn}"));
                    }),
                    _ => {
                        while crowd.at_work.load(Ordering::SeqCst) > WORKERS - 4 {
                            if worker == 6 {
                                crowd.reads(&mut random)
                            } else {
                                crowd.prunes(&mut random)
                            }
                        }
                    }
                }
            });
        }
    });
    println!("{:?}", crowd.counts.lock().unwrap());
    for what in ["created", "stood still", "read", "gc gave space back"] {
        assert!(crowd.has(what) > 0, "{what}: {:?}", crowd.counts);
    }
    crowd.clock.sleep(CROWD_LEASE * 2);
    *crowd.client.lock().unwrap() = crowd.server.client(CROWD_LEASE);
    let must = crowd.must.lock().unwrap();
    for (name, image) in &*must {
        assert!(crowd.lab.restore_bytes(name).unwrap() == *image, "{name}");
    }
    crowd.lab.check();
    crowd.lab.names().iter().for_each(|name| crowd.lab.delete(name).unwrap());
    crowd.lab.gc().unwrap();
    assert_eq!(crowd.server.objects.list(Area::Packs).unwrap(), []);
    assert_eq!(crowd.server.leases(), [""; 0]);
}

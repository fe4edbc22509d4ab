//! A repository on another host, over pipes: the contract, what a server refuses whatever its client is, and what a
//! connection that breaks leaves.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]
#![allow(clippy::print_stdout, reason = "names the file that fails")]

#[path = "../../fuzz/src/frames.rs"]
mod frames;

use std::collections::BTreeMap;
use std::io::{self, PipeReader, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use garret_core::{Area, Key, LocalStore, LockMode, Sharing, Store, StoreError, StoreErrorKind};
use garret_format::config::KeyMode;
use garret_format::object::Kind;
use garret_format::{ArchiveHash, PackId, SegmentId, SlotId};
use garret_remote::{Gate, Opening, RemoteStore, Removable, Rules, VERSION, serve};
use garret_testkit::{Image, Lab, Random, store_suite};

/// Of all that is random; printed where something fails.
fn seed() -> u64 {
    std::env::var("GARRET_SEED").map_or(1, |seed| seed.parse().unwrap())
}

/// A server in a thread, of what `open` gives: what it says, and what it hears.
fn server_of<S: Removable + 'static>(
    open: impl FnOnce(&Opening) -> Result<S, StoreError> + Send + 'static,
) -> (PipeReader, io::PipeWriter) {
    let (requests, to_server) = io::pipe().unwrap();
    let (from_server, answers) = io::pipe().unwrap();
    std::thread::spawn(move || serve(requests, answers, open));
    (from_server, to_server)
}

/// The directory that a client wants.
fn directory(opening: &Opening) -> Result<LocalStore, StoreError> {
    let path = PathBuf::from(String::from_utf8(opening.path.clone()).unwrap());
    match opening.create {
        Some(sharing) => LocalStore::create(&path, sharing),
        None => LocalStore::open(&path),
    }
}

/// The same behind rules.
fn server(rules: Rules) -> (PipeReader, io::PipeWriter) {
    server_of(move |opening| Ok(Gate::new(directory(opening)?, rules, opening.create.is_some())))
}

fn opening(path: &Path, create: Option<Sharing>) -> Opening {
    Opening { path: path.to_str().unwrap().as_bytes().to_vec(), create }
}

fn client(path: &Path, create: Option<Sharing>, rules: &Rules) -> Result<RemoteStore, StoreError> {
    let (from_server, to_server) = server(rules.clone());
    RemoteStore::open(from_server, to_server, Box::new(|| None), "host", &opening(path, create))
}

/// All files below a directory, but the lock's and those of a put under way.
fn files(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut left = vec![root.to_owned()];
    while let Some(directory) = left.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true if path.ends_with("tmp") => {}
                true => left.push(path),
                false => _ = found.insert(path.clone(), std::fs::read(path).unwrap()),
            }
        }
    }
    found
}

#[test]
fn a_store_on_another_host_keeps_the_contract() {
    let dir = tempfile::tempdir().unwrap();
    let number = AtomicU64::new(0);
    store_suite(&|| {
        let root = dir.path().join(number.fetch_add(1, Ordering::Relaxed).to_string());
        // Without rules: what is put here has not the names of its bytes.
        let (from_server, to_server) = server_of(directory);
        let opening = opening(&root, Some(Sharing::Private));
        let open = RemoteStore::open(from_server, to_server, Box::new(|| None), "host", &opening);
        Box::new(open.unwrap())
    });
}

/// A lab whose repository lies below `root`, and is used over pipes with these rules from now on.
fn remote_lab(root: &Path, rules: &Rules) -> Lab {
    let (root, rules) = (root.to_owned(), rules.clone());
    Lab::local(&root, KeyMode::Passphrase)
        .with_store(move || Box::new(client(&root, None, &rules).unwrap()))
}

#[test]
fn all_that_is_done_with_a_repository_is_done_over_pipes() {
    let dir = tempfile::tempdir().unwrap();
    let lab = remote_lab(&dir.path().join("repo"), &Rules::default());
    let images = [Image::generate(1, 5_000_000), Image::generate(2, 3_000_000)];
    for (name, image) in ["a", "b"].into_iter().zip(&images) {
        lab.backup_bytes(name, &image.bytes).unwrap();
    }
    assert_eq!(lab.restore_bytes("a").unwrap(), images[0].bytes);
    lab.delete("a").unwrap();
    assert!(lab.gc().unwrap().deleted_pack_bytes > 0);
    lab.check();
    assert_eq!(lab.restore_bytes("b").unwrap(), images[1].bytes);
    assert_eq!(lab.names(), ["b"]);
}

type Change = Box<dyn Fn(&dyn Store) -> Result<(), StoreError>>;

/// Every change that a client can ask for, as it would be of this repository: what of it is no addition, and what is.
fn changes(store: &dyn Store) -> Vec<(String, bool, Change)> {
    let mut found: Vec<(String, bool, Change)> = Vec::new();
    let id = [7; 32];
    let slot = SlotId::from_bytes([7; 16]);
    let body = |kind: Kind| [&kind.header()[..], b"made up"].concat();
    let hash = |bytes: &[u8]| *blake3::hash(bytes).as_bytes();
    let mut there: Vec<Key> = vec![Key::Config, Key::Verified, Key::Condemned, Key::Tombstones];
    for area in [Area::Slots, Area::Packs, Area::Index, Area::Archives, Area::Copies, Area::Tags] {
        there.extend(store.list(area).unwrap().into_iter().map(|(key, _)| key));
    }
    for key in there {
        let (deleted, bytes) = (key.clone(), body(Kind::Archive));
        found.push((format!("delete {key}"), false, Box::new(move |s| s.delete(&deleted))));
        let (put, put_bytes) = (key.clone(), bytes.clone());
        let change = move |s: &dyn Store| s.put(&put, &[&put_bytes]);
        found.push((format!("put {key}"), false, Box::new(change)));
        let change = move |s: &dyn Store| s.put_new(&key, &bytes);
        found.push(("put_new of what is there".to_owned(), false, Box::new(change)));
    }
    let foreign = [
        (Key::Pack(PackId::from_bytes(id)), Kind::Pack),
        (Key::Index(SegmentId::from_bytes(id)), Kind::Index),
        (Key::ArchiveCopy(ArchiveHash::from_bytes(id)), Kind::Archive),
        (Key::Slot(slot), Kind::Slot),
        (Key::SlotCopy(slot), Kind::Slot),
        (Key::Damage(PackId::from_bytes(id)), Kind::Damage),
        (Key::Quarantine(PackId::from_bytes(id)), Kind::Pack),
        (Key::TombstonesCopy, Kind::Tombstones),
        (Key::Tags(ArchiveHash::from_bytes(id)), Kind::Tags),
        (Key::ConfigCopy, Kind::Config),
    ];
    for (key, kind) in foreign {
        let (put, bytes) = (key.clone(), body(kind));
        found.push((format!("put {key}"), false, Box::new(move |s| s.put(&put, &[&bytes]))));
        let bytes = body(kind);
        let change = move |s: &dyn Store| s.put_new(&key, &bytes);
        found.push(("put_new".to_owned(), false, Box::new(change)));
    }
    found.push(("sweep".to_owned(), false, Box::new(|s| s.sweep())));
    for mode in [LockMode::Prune, LockMode::Exclusive] {
        let change = move |s: &dyn Store| s.lock(mode, Duration::ZERO, &mut |_| {}).map(drop);
        found.push((format!("lock {mode:?}"), false, Box::new(change)));
    }
    let archive = body(Kind::Archive);
    let not_one = b"garret and no archive of it".to_vec();
    let name = Key::Archive("not one".to_owned());
    found.push((
        "a file that is none".to_owned(),
        false,
        Box::new(move |s| s.put_new(&name, &not_one)),
    ));
    let (pack, segment) = (body(Kind::Pack), body(Kind::Index));
    let added = [
        (Key::Pack(PackId::from_bytes(hash(&pack))), pack),
        (Key::Index(SegmentId::from_bytes(hash(&segment))), segment),
        (Key::ArchiveCopy(ArchiveHash::from_bytes(hash(&archive))), archive.clone()),
    ];
    for (key, bytes) in added {
        let change = move |s: &dyn Store| s.put(&key, &[&bytes]);
        found.push(("an object by its hash".to_owned(), true, Box::new(change)));
    }
    let name = Key::Archive("new".to_owned());
    found.push(("a new archive".to_owned(), true, Box::new(move |s| s.put_new(&name, &archive))));
    found
}

#[test]
fn a_client_that_may_only_add_removes_and_replaces_nothing_whatever_it_asks_for() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("repo");
    let adds = Rules { append_only: true, ..Rules::default() };
    let lab = remote_lab(&root, &adds);
    let image = Image::generate(3, 4_000_000);
    lab.backup_bytes("a", &image.bytes).unwrap();
    lab.backup_bytes("b", &image.bytes[..2_000_000]).unwrap();
    assert_eq!(lab.restore_bytes("a").unwrap(), image.bytes, "what honest clients do is done");
    lab.check();
    lab.delete("a").unwrap_err();
    for rules in [adds.clone(), Rules { read_only: true, ..Rules::default() }] {
        let store = client(&root, None, &rules).unwrap();
        let before = files(&root);
        let all = changes(&store);
        assert!(all.len() > 40, "{} changes are not all", all.len());
        for (what, adds, change) in all {
            let done = change(&store);
            let may = adds && rules.append_only;
            assert_eq!(done.is_ok(), may, "{rules:?}: {what}: {done:?}");
            if !may {
                assert_eq!(files(&root), before, "{rules:?}: {what}");
            }
        }
        store.remove().unwrap_err();
        store.undo_create().unwrap_err();
        let after = files(&root);
        assert!(before.iter().all(|(path, bytes)| after.get(path) == Some(bytes)), "{rules:?}");
        // What is there already stays the file that it was.
        for (key, len) in store.list(Area::Packs).unwrap() {
            let bytes = store.get(&key, 0..len).unwrap();
            let path = root.join(key.to_string());
            let written = std::fs::metadata(&path).unwrap().modified().unwrap();
            assert_eq!(store.put(&key, &[&bytes]).is_ok(), rules.append_only);
            assert_eq!(std::fs::metadata(&path).unwrap().modified().unwrap(), written, "{key}");
        }
        // What was made up hides nothing.
        assert_eq!(lab.restore_bytes("a").unwrap(), image.bytes);
        assert_eq!(lab.restore_bytes("b").unwrap(), image.bytes[..2_000_000]);
    }
}

#[test]
fn a_repository_grows_to_its_quota_and_no_further() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("repo");
    let quota = 12_000_000;
    let lab = remote_lab(&root, &Rules { quota: Some(quota), ..Rules::default() });
    let first = Image::noise(4, 3_000_000).bytes;
    lab.backup_bytes("fits", &first).unwrap();
    let error = lab.backup_bytes("does not", &Image::noise(5, 30_000_000).bytes).unwrap_err();
    let said = garret_core::message(&error);
    assert!(said.contains("the server's quota for this repository is 12000000 bytes"), "{said}");
    assert_eq!(error.cause(), garret_core::Cause::Full, "{said}");
    let used = LocalStore::open(&root).unwrap().taken_len().unwrap();
    assert!(used <= quota, "{used}");
    // What is small takes a block of the disk all the same, and what others left in tmp/ its own.
    let gate = Gate::new(
        LocalStore::open(&root).unwrap(),
        Rules { quota: Some(used + 40_960), ..Rules::default() },
        false,
    );
    let small = |number: u8| {
        let bytes = [&Kind::Pack.header()[..], &[number]].concat();
        let id = PackId::from_bytes(*blake3::hash(&bytes).as_bytes());
        gate.put(&Key::Pack(id), &[&bytes]).is_ok()
    };
    let count = (0..50).filter(|number| small(*number)).count();
    assert!((1..=10).contains(&count), "{count}");
    for (key, _) in gate.list(Area::Packs).unwrap() {
        if gate.len(&key).unwrap() == 9 {
            gate.delete(&key).unwrap();
        }
    }
    assert_eq!(lab.restore_bytes("fits").unwrap(), first);
    // Space that came back is there for others.
    lab.delete("fits").unwrap();
    lab.gc().unwrap();
    lab.backup_bytes("again", &Image::noise(6, 3_000_000).bytes).unwrap();
    lab.check();
}

#[test]
fn only_whoever_made_a_repository_in_this_connection_undoes_it() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("repo");
    let adds = Rules { append_only: true, ..Rules::default() };
    for (rules, has_config) in [(&Rules::default(), true), (&adds, false)] {
        let store = client(&root, Some(Sharing::Private), rules).unwrap();
        let slot = Key::Slot(SlotId::from_bytes([7; 16]));
        store.put_new(&slot, &Kind::Slot.header()).unwrap();
        if has_config {
            store.put(&Key::Config, &[&Kind::Config.header()]).unwrap();
        }
        store.undo_create().unwrap();
        assert!(!root.exists());
    }
    // What has no config yet is nobody's once its maker is gone, which its server may notice late: so it gets one.
    let made = client(&root, Some(Sharing::Private), &adds).unwrap();
    made.put(&Key::Config, &[&Kind::Config.header()]).unwrap();
    drop(made);
    let error = client(&root, Some(Sharing::Private), &adds).unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::AlreadyExists, "{error:?}");
    let error = client(&root, None, &adds).unwrap().undo_create().unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Denied, "{error:?}");
    assert!(root.join("config").exists());
}

/// More than an init puts is not undone: that would take long enough for others to come in.
#[test]
fn only_an_init_is_undone() {
    let dir = tempfile::tempdir().unwrap();
    let adds = Rules { append_only: true, ..Rules::default() };
    let begun = |name: &str| client(&dir.path().join(name), Some(Sharing::Private), &adds).unwrap();
    let pack = Kind::Pack.header();
    let pack_id = PackId::from_bytes(*blake3::hash(&pack).as_bytes());
    let with_pack = begun("pack");
    with_pack.put(&Key::Pack(pack_id), &[&pack]).unwrap();
    with_pack.undo_create().unwrap_err();
    let with_archive = begun("archive");
    with_archive.put_new(&Key::Archive("a".to_owned()), &Kind::Archive.header()).unwrap();
    with_archive.undo_create().unwrap_err();
    let with_slots = begun("slots");
    for number in 0..65 {
        let slot = Key::Slot(SlotId::from_bytes([number; 16]));
        with_slots.put_new(&slot, &Kind::Slot.header()).unwrap();
    }
    with_slots.undo_create().unwrap_err();
    let empty = begun("empty");
    empty.undo_create().unwrap();
    empty.put_new(&Key::Config, &Kind::Config.header()).unwrap_err();
}

/// By a config others open a repository and store in it: from then on who made it has what any of them has.
#[test]
fn whoever_made_a_repository_has_no_more_rights_in_it_than_others() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("repo");
    let adds = Rules { append_only: true, ..Rules::default() };
    let maker = client(&root, Some(Sharing::Private), &adds).unwrap();
    maker.put_new(&Key::Config, &Kind::Config.header()).unwrap();
    let other = client(&root, None, &adds).unwrap();
    let pack = [&Kind::Pack.header()[..], b"of another client"].concat();
    let pack_id = PackId::from_bytes(*blake3::hash(&pack).as_bytes());
    other.put(&Key::Pack(pack_id), &[&pack]).unwrap();
    let bytes = [&Kind::Archive.header()[..], b"x"].concat();
    other.put_new(&Key::Archive("night".to_owned()), &bytes).unwrap();
    let before = files(&root);
    for mode in [LockMode::Prune, LockMode::Exclusive] {
        assert!(maker.lock(mode, Duration::ZERO, &mut |_| {}).is_err(), "{mode:?}");
    }
    maker.delete(&Key::Pack(pack_id)).unwrap_err();
    maker.delete(&Key::Archive("night".to_owned())).unwrap_err();
    maker.put(&Key::Config, &[&Kind::Config.header()]).unwrap_err();
    maker.put_new(&Key::Slot(SlotId::from_bytes([7; 16])), &Kind::Slot.header()).unwrap_err();
    maker.remove().unwrap_err();
    maker.undo_create().unwrap_err();
    maker.sweep().unwrap_err();
    assert!(files(&root) == before);
}

/// What a connection made itself it takes back when its lock was lost; nothing else, and no repository once it has archives.
#[test]
fn a_connection_takes_back_what_it_made_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("repo");
    let adds = Rules { append_only: true, ..Rules::default() };
    let first = client(&root, Some(Sharing::Private), &adds).unwrap();
    let key = |name: &str| Key::Archive(name.to_owned());
    let bytes = [&Kind::Archive.header()[..], b"x"].concat();
    first.put(&Key::Config, &[&Kind::Config.header()]).unwrap();
    first.put_new(&key("a"), &bytes).unwrap();
    let second = client(&root, None, &adds).unwrap();
    second.put_new(&key("b"), &bytes).unwrap();
    // Nor what has the name of something that it took back.
    second.put_new(&key("c"), &bytes).unwrap();
    second.delete(&key("c")).unwrap();
    first.put_new(&key("c"), &bytes).unwrap();
    second.delete(&key("c")).unwrap_err();
    first.delete(&key("b")).unwrap_err();
    first.delete(&Key::Config).unwrap_err();
    first.undo_create().unwrap_err();
    second.delete(&key("a")).unwrap_err();
    second.delete(&key("b")).unwrap();
    first.delete(&key("a")).unwrap();
}

/// Passes on so many bytes, and then none.
struct Cut<W> {
    inner: W,
    left: Arc<AtomicU64>,
}

impl<W: Write> Write for Cut<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let left = self.left.load(Ordering::Relaxed);
        let len = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        if len == 0 {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let len = self.inner.write(&bytes[..len])?;
        self.left.store(left - len as u64, Ordering::Relaxed);
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// The connection goes at every 16 KiB of a backup, a deletion and a gc: what was finished is there, and the next one works.
#[test]
fn wherever_a_connection_breaks_the_repository_is_good() {
    let dir = tempfile::tempdir().unwrap();
    let image = Image::generate(7, 1_500_000).bytes;
    let root = dir.path().join("repo");
    let whole = remote_lab(&root, &Rules::default());
    whole.backup_bytes("first", &image[..700_000]).unwrap();
    let mut broken = 0;
    for number in 0.. {
        let left = Arc::new(AtomicU64::new(u64::MAX));
        let (path, shared) = (root.clone(), Arc::clone(&left));
        let lab = whole.with_store(move || {
            let (from_server, to_server) = server(Rules::default());
            let to_server = Cut { inner: to_server, left: Arc::clone(&shared) };
            let opening = opening(&path, None);
            let open =
                RemoteStore::open(from_server, to_server, Box::new(|| None), "host", &opening);
            open.map_or_else(
                |_| Box::new(garret_core::MemoryStore::new()) as Box<dyn Store>,
                |store| Box::new(store),
            )
        });
        left.store(600 + number * (16 << 10), Ordering::Relaxed);
        let name = format!("night-{number}");
        let made = lab.backup_bytes(&name, &image).is_ok();
        let gone = made && lab.delete(&name).is_ok();
        let collected = gone && lab.gc().is_ok();
        broken += u64::from(!collected);
        let names = whole.names();
        assert!(names.contains(&"first".to_owned()));
        assert!(!made || gone || names.contains(&name), "{number}: a finished archive is gone");
        for name in names.iter().filter(|name| *name != "first") {
            assert_eq!(whole.restore_bytes(name).unwrap(), image, "{number}");
        }
        assert_eq!(whole.restore_bytes("first").unwrap(), image[..700_000], "{number}");
        whole.check();
        if collected {
            break;
        }
    }
    assert!(broken > 10, "{broken}");
}

/// What a client says that is none, or one with altered frames: the server ends or answers, and touches nothing else.
#[test]
fn a_server_ends_or_refuses_whatever_it_is_told() {
    let seed = seed();
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("theirs"), b"not the repository's").unwrap();
    let root = dir.path().join("repo");
    drop(client(&root, Some(Sharing::Private), &Rules::default()).unwrap());
    let mut random = Random::new(seed);
    let open = {
        let path = root.to_str().unwrap().as_bytes();
        let mut body = vec![0];
        body.extend((path.len() as u32).to_le_bytes());
        body.extend(path);
        frame(0, &body)
    };
    let archive = |name: &str| {
        let mut key = vec![4];
        key.extend((name.len() as u32).to_le_bytes());
        key.extend(name.as_bytes());
        key
    };
    for case in 0..400 {
        let mut said = open.clone();
        for id in 1..6 {
            let mut body = match random.below(8) {
                0 => [&[0][..], &archive("../../theirs"), b"garret"].concat(),
                1 => [&[6][..], &archive("a/../../theirs")].concat(),
                2 => [&[2, 2][..], &[0; 32], &[0; 8], &[0xff; 8]].concat(),
                3 => vec![
                    12, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0,
                ],
                4 => [&[3, 0][..], &[0xff; 8]].concat(),
                5 => vec![5, random.below(9) as u8],
                6 => vec![13 + random.below(2) as u8, random.below(6) as u8, 0, 0, 0],
                _ => (0..random.below(60)).map(|_| random.below(256) as u8).collect(),
            };
            if random.below(3) == 0 && !body.is_empty() {
                let at = random.below(body.len() as u64) as usize;
                body[at] ^= 1 << random.below(8);
            }
            said.extend(frame(id, &body));
        }
        match random.below(4) {
            0 => said.truncate(random.below(said.len() as u64) as usize),
            1 => said.extend([0xff; 12]),
            2 => {
                let at = random.below(said.len() as u64) as usize;
                said[at] ^= 1 << random.below(8);
            }
            _ => {}
        }
        let (mut from_server, mut to_server) = server(Rules::default());
        let writer = std::thread::spawn(move || {
            let _ended = to_server.write_all(&said);
        });
        let mut answers = Vec::new();
        from_server.read_to_end(&mut answers).unwrap();
        writer.join().unwrap();
        assert!(answers.starts_with(b"garret serve\n"), "seed {seed}, case {case}");
        assert_eq!(std::fs::read(dir.path().join("theirs")).unwrap(), b"not the repository's");
    }
    let names = |path: &Path| std::fs::read_dir(path).unwrap().count();
    assert_eq!(names(dir.path()), 2, "seed {seed}");
}

/// Every file of the corpus, so that CI needs no fuzzer; its seeds are what both sides say now.
#[test]
fn whatever_one_side_says_the_other_keeps_its_promises() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus");
    for (path, bytes) in frames::seeds() {
        let how = "cargo run --manifest-path fuzz/Cargo.toml --example seeds";
        assert!(std::fs::read(corpus.join(path)).ok() == Some(bytes), "{path}: {how}");
    }
    for entry in std::fs::read_dir(corpus.join("hear_frames")).unwrap() {
        let path = entry.unwrap().path();
        println!("{}", path.display());
        frames::frames(&std::fs::read(path).unwrap());
    }
}

fn frame(id: u32, body: &[u8]) -> Vec<u8> {
    [&(body.len() as u32).to_le_bytes()[..], &id.to_le_bytes(), body].concat()
}

/// As a forced command that asks who is there.
#[test]
fn what_is_no_greeting_is_not_waited_for() {
    let (from_server, mut answers) = io::pipe().unwrap();
    let (mut requests, to_server) = io::pipe().unwrap();
    let asks = std::thread::spawn(move || {
        answers.write_all(b"login: ").unwrap();
        io::copy(&mut requests, &mut io::sink()).unwrap()
    });
    let how: garret_remote::Ended = Box::new(|| None);
    let opened =
        RemoteStore::open(from_server, to_server, how, "host", &opening(Path::new("x"), None));
    let error = garret_core::message(&opened.unwrap_err());
    assert!(error.contains("it says \"login: \" where garret serve speaks"), "{error}");
    assert_eq!(asks.join().unwrap(), 0, "nothing was sent to it");
}

/// What answers and is no server, or one that lies: an error in one line, never a panic or a wait without end.
#[test]
fn a_client_believes_no_server() {
    let seed = seed();
    let mut random = Random::new(seed);
    let greeting = [&b"garret serve\n"[..], &VERSION.to_le_bytes()].concat();
    let opened = frame(0, &[&[0][..], &5u32.to_le_bytes(), b"place"].concat());
    // Says the first at once, and of the others one for each frame that it gets.
    let open = |first: Vec<u8>, said: Vec<Vec<u8>>| {
        let (from_server, mut answers) = io::pipe().unwrap();
        let (mut requests, to_server) = io::pipe().unwrap();
        std::thread::spawn(move || {
            answers.write_all(&first)?;
            for answer in said {
                let mut head = [0; 8];
                requests.read_exact(&mut head)?;
                let len = u32::from_le_bytes(*head.first_chunk().unwrap());
                io::copy(&mut (&mut requests).take(u64::from(len)), &mut io::sink())?;
                answers.write_all(&answer)?;
            }
            Ok::<_, io::Error>(())
        });
        let how: garret_remote::Ended = Box::new(|| Some("it ended so".to_owned()));
        RemoteStore::open(from_server, to_server, how, "host", &opening(Path::new("x"), None))
    };
    for (said, why) in [
        (b"".to_vec(), "it ended so"),
        (
            b"Welcome to host!\nLast login: never\n".to_vec(),
            "it says \"Welcome to host!\" where garret serve speaks",
        ),
        (greeting.clone(), "Connection closed by remote host: it ended so"),
    ] {
        let error = garret_core::message(&open(said, Vec::new()).unwrap_err());
        assert!(error.contains(why) && !error.contains('\n'), "{error}");
    }
    for case in 0..500 {
        let mut said = vec![opened.clone()];
        for id in 1..8u32 {
            let body: Vec<u8> = match random.below(5) {
                0 => vec![0],
                1 => [&[1][..], &[2; 40]].concat(),
                2 => [&[2, 1, 1, 0, 0, 0, 0][..], &[0xff; 4]].concat(),
                3 => (0..random.below(50)).map(|_| random.below(256) as u8).collect(),
                _ => vec![0, 1, 2, 3, 4, 5, 6, 7, 8],
            };
            let mut answer = frame(id, &body);
            // Who says that more follows, and does not go on, is waited for, as for any that are slow.
            if body.first() == Some(&1) {
                answer.extend(frame(id, &[0]));
            }
            said.push(answer);
        }
        let Ok(store) = open(greeting.clone(), said) else {
            panic!("seed {seed}, case {case}: it did not open")
        };
        let key = Key::Archive("a".to_owned());
        let _len = store.len(&key);
        assert!(store.get(&key, 0..40).is_err(), "seed {seed}, case {case}");
        let _whole = store.get_whole(&key, 100).map(|bytes| assert!(bytes.len() <= 100));
        let _list = store.list(Area::Archives);
        let _lines = store.doubtful();
        let _has = store.has_sessions(0..=1);
        let _done = store.put(&key, &[b"x"]);
        assert!(store.sync().is_err(), "nothing comes any more");
        assert!(store.lock(LockMode::Check, Duration::ZERO, &mut |_| {}).is_err());
    }
}

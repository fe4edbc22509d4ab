//! The NBD server against a client that says what it likes, with the images themselves as the oracle.
//!
//! Needs `qemu-img`.
#![allow(clippy::unwrap_used, reason = "helpers of tests panic as tests do")]

mod client;

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use garret_core::Selection;
use garret_format::config::KeyMode;
use garret_image::{Source, SourceError};
use garret_random::Random;
use garret_testkit::program::{files_below, tool};
use garret_testkit::{Image, Lab, Recorder, is_structure};
use garret_view::nbd::{CONNECTIONS_MAX, Listener, serve};
use garret_view::{Ahead, ArchiveExports, Exports};

use client::{
    ACK, Answer, BLOCK_STATUS, Client, ERROR, EXPORT_NAME, GO, INFO, LIST, READ, SET_META_CONTEXT,
    STRUCTURED, WRITE, allocation, text, wanting,
};

const MIB: usize = 1 << 20;

/// Serves exports at a socket while a test goes on.
fn serving<R>(exports: &dyn Exports, test: impl FnOnce(&Path) -> R) -> R {
    struct Stop<'a>(&'a AtomicBool);
    impl Drop for Stop<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("socket");
    let listener = Listener::Unix(UnixListener::bind(&socket).unwrap());
    let stops = AtomicBool::new(false);
    thread::scope(|scope| {
        let server = scope
            .spawn(|| serve(&listener, exports, &Ahead::new(), &|| stops.load(Ordering::Relaxed)));
        // A test that fails ends the server too.
        let stop = Stop(&stops);
        let result = test(&socket);
        drop(stop);
        server.join().unwrap().unwrap();
        result
    })
}

/// An archive of a disk as raw image, as qcow2, and as compressed qcow2.
fn archive_of(lab: &Lab, dir: &Path, image: &Image) -> Vec<String> {
    let path = |name: &str| dir.join(name).to_str().unwrap().to_owned();
    image.write_sparse(Path::new(&path("d.raw")));
    tool("qemu-img", &["convert", "-O", "qcow2", &path("d.raw"), &path("d.qcow2")]);
    tool("qemu-img", &["convert", "-c", "-O", "qcow2", &path("d.raw"), &path("c.qcow2")]);
    lab.backup_path("a", dir).unwrap();
    ["d.raw", "d.qcow2", "c.qcow2"].map(|name| stored(&path(name))).to_vec()
}

fn stored(path: &str) -> String {
    String::from_utf8(Selection::stored(path.as_bytes())).unwrap()
}

/// Names of exports, and what must be read there.
fn oracles(names: &[String], image: &Image) -> Vec<(String, Vec<u8>)> {
    let file = |name: &String| (name.clone(), fs::read(Path::new("/").join(name)).unwrap());
    let disk = |name: &String| (format!("{name}?raw"), image.bytes.clone());
    let disks = names[1..].iter().map(disk).chain([disk(&names[0])]);
    names.iter().map(file).chain(disks).collect()
}

#[test]
fn reads_and_block_statuses_at_any_place_agree_with_the_image() {
    for mode in [KeyMode::None, KeyMode::Passphrase] {
        let dir = tempfile::tempdir().unwrap();
        let (lab, _) = Lab::memory(mode);
        let image = Image::generate(1, 20 * MIB + 512);
        let names = archive_of(&lab, dir.path(), &image);
        let repository = lab.reader().unwrap();
        let archive = repository.archive("a").unwrap();
        let heard = Recorder::default();
        let exports = ArchiveExports::of(&repository, &archive, Vec::new(), &heard);
        serving(&exports, |socket| {
            for (name, bytes) in oracles(&names, &image) {
                let (mut one, len) = Client::open(socket, &name, true);
                let (mut two, _) = Client::open(socket, &name, false);
                assert_eq!(len, bytes.len() as u64, "{name}");
                let mut random = Random::new(len);
                for _ in 0..900 {
                    let most = if random.below(50) == 0 { 3 * MIB } else { 70_000 };
                    let at = random.below(bytes.len());
                    let part = &bytes[at..][..random.below((bytes.len() - at).min(most) + 1)];
                    let mut buffer = vec![1; part.len()];
                    match random.below(2) {
                        0 => assert_eq!(one.read(&mut buffer, at as u64), [], "{name} {at}"),
                        _ => assert_eq!(two.read_simply(&mut buffer, at as u64), 0, "{name} {at}"),
                    }
                    assert!(buffer == part, "{name}: {} bytes at {at} are others", part.len());
                }
                statuses(&mut one, &bytes, &name, &mut random);
            }
        });
        assert!(heard.problems().is_empty(), "{:?}", heard.problems());
    }
}

/// What a server says of a stretch: lengths and states.
fn status(client: &mut Client, flags: u16, at: usize, len: usize) -> Vec<(u32, u32)> {
    client.request(flags, BLOCK_STATUS, 3, at as u64, len as u32);
    match client.reply(3).as_slice() {
        [Answer::Extents(extents)] => extents.clone(),
        other => panic!("{at} {len}: {other:?}"),
    }
}

/// Where a list of states ends, and how much of it is zero; what is called so is.
fn see(bytes: &[u8], start: usize, extents: &[(u32, u32)]) -> (usize, usize) {
    let (mut at, mut zeros) = (start, 0);
    for (len, state) in extents {
        let part = &bytes[at..at + *len as usize];
        assert!(matches!(state, 0 | 3) && *len > 0, "at {at}: {state}, {len} bytes");
        assert!(*state == 0 || part.iter().all(|byte| *byte == 0), "{len} bytes at {at}");
        at += part.len();
        zeros += if *state == 3 { part.len() } else { 0 };
    }
    assert!(extents.windows(2).all(|pair| pair[0].1 != pair[1].1), "neighbours of one kind");
    (at, zeros)
}

/// The states of stretches at any place, and of all: what was stored as zeros is called so.
fn statuses(client: &mut Client, bytes: &[u8], name: &str, random: &mut Random) {
    for _ in 0..500 {
        let at = random.below(bytes.len());
        let len = 1 + random.below(bytes.len() - at);
        let one = status(client, 1 << 3, at, len);
        let (end, _) = see(bytes, at, &one);
        assert!(one.len() == 1 && end > at && end <= at + len, "{name}");
        let (end, _) = see(bytes, at, &status(client, 0, at, len));
        assert_eq!(end, at + len, "{name}");
    }
    let (end, found) = see(bytes, 0, &status(client, 0, 0, bytes.len()));
    assert_eq!(end, bytes.len());
    let runs = bytes.chunk_by(|one, other| (*one == 0) == (*other == 0));
    let long = runs.filter(|run| run[0] == 0 && run.len() >= 32 * 4096);
    let zeros: usize = long.map(<[u8]>::len).sum();
    let is_disk = name.ends_with("?raw") || name.ends_with("d.raw");
    assert!(!is_disk || found * 10 > zeros * 9, "{name}: {found} of {zeros}");
}

/// The only thing there is, by any name but `none`.
struct One(Arc<dyn Source>);

impl Exports for One {
    fn each_name(&self, visit: &mut dyn FnMut(&str) -> io::Result<()>) -> io::Result<()> {
        visit("one")
    }

    fn open(&self, name: &str) -> Option<Arc<dyn Source>> {
        (name != "none").then(|| self.0.clone())
    }

    fn failed(&self, name: &str, error: &SourceError) {
        panic!("{name}: {error}");
    }
}

/// A stored file of these bytes.
fn one(lab: &Lab, bytes: &[u8]) -> One {
    lab.backup_bytes("a", bytes).unwrap();
    let repository = lab.reader().unwrap();
    let item = repository.items(&repository.archive("a").unwrap()).next().unwrap().unwrap();
    One(Arc::new(repository.open_file(&item).unwrap().unwrap()))
}

#[test]
fn the_handshake_is_that_of_the_protocol_and_says_what_there_is() {
    let (lab, _) = Lab::memory(KeyMode::None);
    serving(&one(&lab, &[7; 5000]), |socket| {
        let mut client = Client::greeted(socket);
        assert_eq!(client.option(LIST, &[]), [(2, text("one")), (ACK, Vec::new())]);
        let refused = |client: &mut Client, what, data: &[u8], code| {
            let replies = client.option(what, data);
            assert_eq!(replies.len(), 1, "{replies:?}");
            assert_eq!(replies[0].0, ERROR + code, "option {what}");
        };
        // Unknown, and TLS.
        refused(&mut client, 77, &[1, 2, 3], 1);
        refused(&mut client, 5, &[], 1);
        // What makes no sense.
        refused(&mut client, LIST, &[0], 3);
        refused(&mut client, STRUCTURED, &[0], 3);
        refused(&mut client, SET_META_CONTEXT, &allocation("one"), 3);
        for wrong in [&wanting("one")[..4], &wanting("one")[..8], &[255; 6], &[255; 90]] {
            refused(&mut client, INFO, wrong, 3);
        }
        refused(&mut client, INFO, &[text("one"), vec![0, 9, 0, 0]].concat(), 3);
        refused(&mut client, INFO, &wanting("none"), 6);
        refused(&mut client, GO, &wanting("none"), 6);
        refused(&mut client, GO, &vec![0; 100_000], 9);
        // Info does not open; twice is no harm.
        for _ in 0..2 {
            let replies = client.option(INFO, &[text("one"), vec![0, 1, 0, 1]].concat());
            let kinds: Vec<u32> = replies.iter().map(|reply| reply.0).collect();
            assert_eq!(kinds, [3, 3, 3, ACK]);
            assert_eq!(replies[1].1, b"\0\x01one");
        }
        assert_eq!(client.option(STRUCTURED, &[]), [(ACK, Vec::new())]);
        refused(&mut client, SET_META_CONTEXT, &allocation("none"), 6);
        let cut = allocation("one");
        refused(&mut client, SET_META_CONTEXT, &cut[..cut.len() - 1], 3);
        let many = [text("one"), u32::MAX.to_be_bytes().to_vec()].concat();
        refused(&mut client, SET_META_CONTEXT, &many, 3);
        // Of another context nothing is known; block status was not agreed on then.
        let other = [text("one"), 1u32.to_be_bytes().to_vec(), text("qemu:dirty-bitmap")].concat();
        assert_eq!(client.option(SET_META_CONTEXT, &other), [(ACK, Vec::new())]);
        client.option(GO, &wanting("one"));
        client.request(0, BLOCK_STATUS, 1, 0, 100);
        assert_eq!(client.reply(1), [Answer::Error(22, None)]);
        // The first way to open.
        let mut old = Client::greeted(socket);
        old.send(b"IHAVEOPT");
        old.send(&EXPORT_NAME.to_be_bytes());
        old.send(&text("one"));
        assert_eq!(u64::from_be_bytes(old.array().unwrap()), 5000);
        assert_eq!(u16::from_be_bytes(old.array().unwrap()), 0b1_0000_0011);
        let mut buffer = [0; 5000];
        assert_eq!(old.read_simply(&mut buffer, 0), 0);
        assert_eq!(buffer, [7; 5000]);
    });
}

#[test]
fn requests_may_be_many_at_once_and_each_is_answered_once() {
    let (lab, _) = Lab::memory(KeyMode::None);
    let image = Image::generate(3, 8 * MIB);
    serving(&one(&lab, &image.bytes), |socket| {
        let (client, _) = Client::open(socket, "one", true);
        let mut writer = Client(client.0.try_clone().unwrap());
        let mut reader = client;
        let mut random = Random::new(4);
        let wanted: Vec<(u64, u32)> =
            (0..2000).map(|_| (random.below(8 * MIB as u64 - 4096), 4096)).collect();
        thread::scope(|scope| {
            scope.spawn(|| {
                for (cookie, (at, len)) in wanted.iter().enumerate() {
                    writer.request(0, READ, cookie as u64, *at, *len);
                }
            });
            let mut left: Vec<bool> = vec![true; wanted.len()];
            for _ in 0..wanted.len() {
                let (cookie, is_last, answer) = reader.chunk();
                let (at, len) = wanted[cookie as usize];
                let bytes = image.bytes[at as usize..][..len as usize].to_vec();
                assert_eq!(answer, Some(Answer::Data(at, bytes)));
                assert!(is_last && std::mem::take(&mut left[cookie as usize]));
            }
        });
    });
}

#[test]
fn requests_that_make_no_sense_are_refused_and_the_next_is_answered() {
    let (lab, _) = Lab::memory(KeyMode::None);
    let bytes = Image::noise(5, 3 * MIB).bytes;
    serving(&one(&lab, &bytes), |socket| {
        let len = bytes.len() as u64;
        for structured in [true, false] {
            let (mut client, _) = Client::open(socket, "one", structured);
            let mut refused = |flags, command, at: u64, len: u32, code| {
                client.request(flags, command, 9, at, len);
                if command == WRITE {
                    client.send(&vec![9; len as usize]);
                }
                match structured {
                    true => assert_eq!(client.reply(9), [Answer::Error(code, None)]),
                    false => assert_eq!(client.simple(9), code),
                }
            };
            refused(0, READ, len, 1, 22);
            refused(0, READ, len - 1, 2, 22);
            refused(0, READ, u64::MAX, 1, 22);
            refused(0, READ, u64::MAX, u32::MAX, 22);
            refused(0, READ, 0, u32::MAX, 22);
            refused(1 << 9, READ, 0, 1, 22);
            refused(0, BLOCK_STATUS, 0, 0, 22);
            refused(0, BLOCK_STATUS, len, 1, 22);
            refused(0, 99, 0, 1, 22);
            // Flush, which was not offered.
            refused(0, 3, 0, 0, 22);
            for command in [WRITE, 4, 6] {
                refused(0, command, 0, 4096, 1);
            }
            if structured {
                // In one chunk, which is too long for one.
                refused(1 << 2, READ, 0, 2 * MIB as u32, 75);
            }
            let mut buffer = vec![0; 1000];
            match structured {
                true => assert_eq!(client.read(&mut buffer, 77), []),
                false => assert_eq!(client.read_simply(&mut buffer, 77), 0),
            }
            assert!(buffer == bytes[77..1077]);
        }
    });
}

#[test]
fn who_breaks_the_protocol_or_is_one_too_many_is_gone_and_the_others_are_not() {
    let (lab, _) = Lab::memory(KeyMode::None);
    let bytes = Image::noise(6, MIB).bytes;
    serving(&one(&lab, &bytes), |socket| {
        let works = || {
            let (mut client, _) = Client::open(socket, "one", true);
            let mut buffer = vec![0; MIB];
            assert!(client.read(&mut buffer, 0).is_empty() && buffer == bytes);
        };
        let (mut patient, _) = Client::open(socket, "one", true);
        // Instead of a handshake: flags that there are not, no option, an option longer than any, a name longer than any.
        let long = |what: u32, len: u32| {
            [b"\0\0\0\x03IHAVEOPT", &what.to_be_bytes()[..], &len.to_be_bytes()].concat()
        };
        for wrong in [
            b"\xff\0\0\0".to_vec(),
            b"\0\0\0\x03GET / HTTP".to_vec(),
            long(3, 1 << 30),
            long(1, 1 << 20),
        ] {
            let mut client = Client::connect(socket);
            client.send(&wrong);
            assert!(client.is_ended(), "{wrong:?}");
        }
        // Instead of a request; a payload longer than any; half of one.
        let (mut client, _) = Client::open(socket, "one", true);
        client.send(&[0; 28]);
        assert!(client.is_ended());
        let (mut client, _) = Client::open(socket, "one", true);
        client.request(0, WRITE, 1, 0, 1 << 30);
        assert!(client.is_ended());
        let (mut client, _) = Client::open(socket, "one", true);
        client.send(&[0x25, 0x60, 0x95]);
        drop(client);
        // Asks for much, and takes none of it.
        let (mut client, _) = Client::open(socket, "one", true);
        for cookie in 0..50 {
            client.request(0, READ, cookie, 0, MIB as u32);
        }
        works();
        drop(client);
        // Random bytes, at each stage.
        let mut random = Random::new(11);
        for round in 0..60 {
            let mut client = match round % 3 {
                0 => Client::connect(socket),
                1 => Client::greeted(socket),
                _ => Client::open(socket, "one", true).0,
            };
            let len = random.below(400);
            let _gone = client.0.write_all(&random.bytes(len));
        }
        // So many that there is no room: they are turned away, or served.
        let mut crowd: Vec<Client> = (0..1000).map(|_| Client::connect(socket)).collect();
        let greeted = crowd.iter_mut().filter_map(|client| client.array::<16>().ok()).count();
        assert!((1..=CONNECTIONS_MAX).contains(&greeted), "{greeted}");
        let mut buffer = vec![0; 100];
        assert!(patient.read(&mut buffer, 1000).is_empty() && buffer == bytes[1000..1100]);
        drop(crowd);
        // The server hears one by one that they are gone.
        while Client::connect(socket).array::<16>().is_err() {}
        works();
    });
}

/// Changes a byte in the middle of the largest pack of contents.
fn flip(repository: &Path) {
    let packs = files_below(&repository.join("packs")).into_iter();
    let contents = packs.filter(|pack| !is_structure(&fs::read(pack).unwrap()));
    let pack = contents.max_by_key(|pack| pack.metadata().unwrap().len()).unwrap();
    let file = fs::File::options().read(true).write(true).open(pack).unwrap();
    let (mut byte, at) = ([0], file.metadata().unwrap().len() / 2);
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 1], at).unwrap();
}

#[test]
fn of_a_damaged_pack_just_the_damaged_blocks_cannot_be_read() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("repository");
    let lab = Lab::local(&root, KeyMode::Passphrase);
    let bytes = Image::noise(8, 12 * MIB).bytes;
    lab.backup_bytes("a", &bytes).unwrap();
    flip(&root);
    let repository = lab.reader().unwrap();
    let archive = repository.archive("a").unwrap();
    let heard = Recorder::default();
    let exports = ArchiveExports::of(&repository, &archive, Vec::new(), &heard);
    serving(&exports, |socket| {
        // The only thing there is needs no name.
        let (mut client, _) = Client::open(socket, "", true);
        let mut bad = Vec::new();
        for at in (0..bytes.len()).step_by(4096) {
            let mut buffer = [0; 4096];
            match client.read(&mut buffer, at as u64).as_slice() {
                [] => assert!(buffer == bytes[at..at + 4096]),
                [damaged] => bad.push(*damaged),
                more => panic!("{more:?}"),
            }
        }
        // A group, and no other.
        let (first, last) = (bad[0], *bad.last().unwrap() + 4096);
        assert!(last - first <= 2 * MIB as u64, "{first} to {last}");
        assert_eq!((last - first) / 4096, bad.len() as u64, "they lie together");
        // At once: all else is given, and what is not is not much more.
        let mut buffer = vec![0; bytes.len()];
        let places = client.read(&mut buffer, 0);
        let other = |at: &usize| buffer[*at] != bytes[*at];
        let others: Vec<usize> = (0..bytes.len()).filter(other).collect();
        let around = 64 << 10;
        assert!(!places.is_empty() && others[0] as u64 + around >= first);
        assert!(*others.last().unwrap() as u64 <= last + around);
        // Who takes no chunks gets an error, or all.
        let (mut simple, _) = Client::open(socket, "", false);
        assert_eq!(simple.read_simply(&mut vec![0; 12 * MIB], 0), 5);
        let mut buffer = vec![0; MIB];
        assert_eq!(simple.read_simply(&mut buffer, 0), 0);
        assert!(buffer == bytes[..MIB]);
    });
    let problems = heard.problems();
    assert!(problems[0].contains("packs/"), "{problems:?}");
}

#[test]
fn an_archive_that_is_pruned_stays_readable_for_who_looks_at_it() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("repository");
    let lab = Lab::local(&root, KeyMode::None);
    let bytes = Image::noise(9, 9 * MIB).bytes;
    lab.backup_bytes("a", &bytes).unwrap();
    {
        let repository = lab.reader().unwrap();
        let archive = repository.archive("a").unwrap();
        let heard = Recorder::default();
        let exports = ArchiveExports::of(&repository, &archive, Vec::new(), &heard);
        serving(&exports, |socket| {
            let (mut client, _) = Client::open(socket, "image", true);
            let mut buffer = vec![0; 4096];
            assert!(client.read(&mut buffer, 0).is_empty());
            lab.delete("a").unwrap();
            lab.backup_bytes("b", b"another night").unwrap();
            for _ in 0..3 {
                lab.gc().unwrap();
            }
            lab.check();
            let mut buffer = vec![0; bytes.len()];
            assert!(client.read(&mut buffer, 0).is_empty() && buffer == bytes);
        });
    }
    // Nobody looks any more.
    lab.gc().unwrap();
    lab.gc().unwrap();
    assert!(lab.stored_len() < MIB as u64, "what nobody needs is given back");
}

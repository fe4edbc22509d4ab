//! File systems that somebody has bent: whatever their bytes say, a look at them ends, in bounded memory, and nothing but an
//! error or some bytes comes out.
//!
//! Needs `mkfs.ext4`, `mkfs.xfs`, `mkntfs`, `ntfscp`, `mkfs.vfat` and `mcopy`, which `tests/run` brings. GARRET_SEED and
//! GARRET_TURNS choose others, and more.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use garret_guest::{FileSystem, Kind, open, resolve, volumes};
use garret_image::{Extent, Source, SourceError};
use garret_random::Random;

/// A disk in memory, and bytes that are others.
struct Bent {
    whole: Arc<Vec<u8>>,
    bytes: Vec<(usize, u8)>,
}

impl Source for Bent {
    fn len(&self) -> u64 {
        self.whole.len() as u64
    }

    fn extent_at(&self, offset: u64) -> Result<Extent, SourceError> {
        Ok(Extent::Data { offset, len: self.len() - offset })
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<(), SourceError> {
        let start = usize::try_from(offset).unwrap();
        buf.copy_from_slice(&self.whole[start..start + buf.len()]);
        for (at, byte) in &self.bytes {
            if let Some(place) = at.checked_sub(start).and_then(|at| buf.get_mut(at)) {
                *place = *byte;
            }
        }
        Ok(())
    }

    fn changed(&self) -> Result<bool, SourceError> {
        Ok(false)
    }
}

fn tool(program: &str, words: &[&str]) {
    let ran = Command::new(program).args(words).output();
    let ran = ran.unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(ran.status.success(), "{program}: {}", String::from_utf8_lossy(&ran.stderr));
}

/// Things looked at in one file system, at most: a forged one may have any number.
const LOOKS_MAX: usize = 3000;

/// Looks at everything that there is, and reads it. Gives how many things were met.
fn look(system: &mut dyn FileSystem) -> usize {
    let (mut todo, mut count) = (vec![b"/".to_vec()], 0);
    while let Some(path) = todo.pop() {
        count += 1;
        if count > LOOKS_MAX {
            break;
        }
        let Ok(entry) = system.entry(&path) else { continue };
        let mut len = 0_u64;
        match entry.kind {
            Kind::Directory => {
                let entries = system.entries(&path).unwrap_or_default();
                let path = path.strip_suffix(b"/").unwrap_or(&path);
                let below = entries.iter().map(|(name, _)| [path, b"/", name].concat());
                todo.extend(below.take(LOOKS_MAX));
            }
            Kind::Link => drop((system.target(&path), resolve(system, &path, true))),
            _ => {
                let read = system.read(&path, &mut |bytes| {
                    len += bytes.len() as u64;
                    // A forged length may be any.
                    match len < 1 << 24 {
                        true => Ok(()),
                        false => Err(std::io::ErrorKind::Other.into()),
                    }
                });
                assert!(read.is_err() || len == entry.len, "{len} bytes of {}", entry.len);
            }
        }
    }
    system.caution();
    count
}

/// A small disk of each kind.
fn disks(place: &Path) -> Vec<(&'static str, PathBuf)> {
    let tree = place.join("tree");
    fs::create_dir_all(tree.join("a/b/c")).unwrap();
    for number in 0..40 {
        fs::write(tree.join(format!("a/a long name of a file {number}")), [1; 700]).unwrap();
    }
    fs::write(tree.join("a/b/data"), Random::new(1).bytes(9000)).unwrap();
    std::os::unix::fs::symlink("/a/b", tree.join("link")).unwrap();
    let tree = tree.to_str().unwrap();
    let made = |name: &'static str, len: u64, make: &dyn Fn(&str)| {
        let path = place.join(name);
        fs::File::create(&path).unwrap().set_len(len).unwrap();
        make(path.to_str().unwrap());
        (name, path)
    };
    let data = format!("{tree}/a/b/data");
    vec![
        made("ext4", 8 << 20, &|disk| tool("mkfs.ext4", &["-q", "-d", tree, disk])),
        made("xfs", 300 << 20, &|disk| {
            let proto = place.join("proto");
            let text = format!(
                "/\n0 0\nd--755 0 0\na d--755 0 0\ndata ---644 0 0 {data}\nlink l--777 0 0 data\n$\n$\n"
            );
            fs::write(&proto, text).unwrap();
            tool("mkfs.xfs", &["-q", "-p", proto.to_str().unwrap(), disk]);
        }),
        made("ntfs", 8 << 20, &|disk| {
            tool("mkntfs", &["-q", "-F", disk]);
            (0..5)
                .for_each(|number| tool("ntfscp", &["-q", disk, &data, &format!("file {number}")]));
        }),
        made("fat", 8 << 20, &|disk| {
            tool("mkfs.vfat", &[disk]);
            tool("mcopy", &["-s", "-i", disk, &format!("{tree}/a"), "::/"]);
        }),
    ]
}

#[test]
fn whatever_the_bytes_say_a_look_ends() {
    let seed = std::env::var("GARRET_SEED").map_or(1, |seed| seed.parse().unwrap());
    let turns = std::env::var("GARRET_TURNS").map_or(100, |turns| turns.parse().unwrap());
    println!("GARRET_SEED={seed}");
    let place = tempfile::tempdir().unwrap();
    for (name, path) in disks(place.path()) {
        let whole = Arc::new(fs::read(&path).unwrap());
        // Where bytes are that mean something.
        let sectors: Vec<usize> = (0..whole.len() / 512)
            .filter(|sector| whole[sector * 512..][..512].iter().any(|byte| *byte != 0))
            .collect();
        let looked = |bytes: Vec<(usize, u8)>| {
            let disk: Arc<dyn Source> = Arc::new(Bent { whole: whole.clone(), bytes });
            let found = volumes(&*disk);
            let opened = found.first().map(|volume| open(&disk, volume));
            opened.and_then(Result::ok).map(|mut system| look(&mut *system))
        };
        let count = looked(Vec::new()).unwrap_or_else(|| panic!("{name} opens"));
        assert!(count > 2, "{name}: {count}");
        let (mut broke, mut open) = (0, 0);
        for turn in 0..turns {
            let mut random = Random::new(seed * 1_000_000 + turn);
            let bent = (0..1 + random.below(8)).map(|_| {
                let at = sectors[random.below(sectors.len())] * 512 + random.below(512);
                let byte = match random.below(4) {
                    0 => whole[at] ^ 1 << random.below(8),
                    1 => 0xff,
                    2 => 0,
                    _ => u8::try_from(random.below(256)).unwrap(),
                };
                (at, byte)
            });
            let bytes = bent.collect();
            // That a library panics is one error to the user, and counted here.
            match catch_unwind(AssertUnwindSafe(|| looked(bytes))) {
                Ok(count) => open += usize::from(count.is_some()),
                Err(_) => broke += 1,
            }
        }
        println!("{name}: {turns} bent, {open} opened, {broke} broke the library");
    }
}

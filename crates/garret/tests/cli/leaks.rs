//! What is left where (T27): of a backup with a passphrase neither a piece of the content nor a name of a file is found in
//! the repository, the cache, the state or the directory for temporary files, and what is stored looks like noise.

use std::collections::HashSet;
use std::fs;
use std::io::Write;
use std::path::Path;

use garret_format::config::KeyMode;
use garret_format::object::HEADER_LEN;
use garret_format::pack::{PACK_HEADER_LEN, TRAILER_LEN};

use super::{Dir, MIB, PASSPHRASE, files_below, fill_noise, packs};

const CANARIES: usize = 1000;
const CANARY_LEN: usize = 32;
const DIRECTORY: &str = "Quarterly figures of Xyzzy";
const IMAGE: &str = "Zebra-inventory-2026.img";
const STREAM: &str = "Plugh-dump-of-everything.sql";
const ARCHIVES: [&str; 3] = ["Nightly-Frobozz-one", "Nightly-Frobozz-two", "Nightly-Frobozz-dump"];

/// What is looked for: every eight bytes in a row of these, from each eighth on.
struct Needles {
    pieces: HashSet<u64>,
    /// Whether any piece begins with these two bytes.
    starts: Vec<bool>,
}

impl Needles {
    fn new() -> Self {
        Needles { pieces: HashSet::new(), starts: vec![false; 1 << 16] }
    }

    fn add(&mut self, bytes: &[u8]) {
        for piece in bytes.as_chunks::<8>().0 {
            self.pieces.insert(u64::from_le_bytes(*piece));
            self.starts[usize::from(u16::from_le_bytes([piece[0], piece[1]]))] = true;
        }
    }

    /// The pieces that are in these bytes.
    fn found_in(&self, bytes: &[u8]) -> HashSet<u64> {
        let windows = bytes.windows(8);
        let begins = windows
            .filter(|window| self.starts[usize::from(u16::from_le_bytes([window[0], window[1]]))]);
        let words = begins.map(|window| u64::from_le_bytes(window.try_into().unwrap()));
        words.filter(|word| self.pieces.contains(word)).collect()
    }

    /// The pieces that are in the files below a directory or in their names, and how many files there were.
    fn found_below(&self, root: &Path) -> (HashSet<u64>, usize) {
        let (mut found, files) = (HashSet::new(), files_below(root));
        for path in &files {
            found.extend(self.found_in(&fs::read(path).unwrap()));
            let name = path.strip_prefix(root).unwrap();
            found.extend(self.found_in(name.as_os_str().as_encoded_bytes()));
        }
        (found, files.len())
    }
}

fn canary(number: usize) -> [u8; CANARY_LEN] {
    let mut bytes = [0; CANARY_LEN];
    fill_noise(&mut bytes, 0xca_0000 + number as u64);
    bytes
}

/// An image of text, noise and zeros with a canary every few KiB, most of which will be in chunks that compress.
fn image() -> Vec<u8> {
    let mut bytes = vec![0; 5 * MIB];
    fill_noise(&mut bytes[..2 * MIB], 27);
    let text = b"a line as there are many in any log that anybody keeps\n";
    let text: Vec<u8> = text.iter().copied().cycle().take(2 * MIB).collect();
    bytes[2 * MIB..4 * MIB].copy_from_slice(&text);
    for number in 0..CANARIES {
        let at = 5 * MIB / CANARIES * number + number % 777;
        bytes[at..at + CANARY_LEN].copy_from_slice(&canary(number));
    }
    bytes
}

/// A directory with the files, a repository of this mode and what is to be looked for in it.
fn ground(mode: KeyMode) -> (Dir, Needles) {
    let dir = Dir::new();
    dir.cheap_repository("repo", mode);
    fs::create_dir(dir.path("tmp")).unwrap();
    dir.write(&format!("{DIRECTORY}/{IMAGE}"), &image());
    let mut needles = Needles::new();
    (0..CANARIES).for_each(|number| needles.add(&canary(number)));
    [DIRECTORY, IMAGE, STREAM, PASSPHRASE].iter().for_each(|name| needles.add(name.as_bytes()));
    (dir, needles)
}

impl Dir {
    fn secretly(&self, arguments: &[&str]) -> super::Ran {
        let tmp = self.path("tmp");
        let environment = [("GARRET_PASSPHRASE", PASSPHRASE), ("TMPDIR", tmp.to_str().unwrap())];
        self.run_with(&environment, b"", arguments)
    }
}

#[test]
fn neither_content_nor_names_are_found_anywhere() {
    let (dir, needles) = ground(KeyMode::Passphrase);
    let [one, two, dump] = ARCHIVES.map(|name| format!("repo::{name}"));
    dir.secretly(&["create", &one, DIRECTORY]).silent();
    let mut changed = image();
    changed.drain(MIB..MIB + 100_000);
    dir.write(&format!("{DIRECTORY}/{IMAGE}"), &changed);
    dir.secretly(&["create", "--compression", "none", &two, DIRECTORY]).silent();
    let mut child = dir
        .command(&["create", "--stdin-name", STREAM, &dump, "-"])
        .env("GARRET_PASSPHRASE", PASSPHRASE)
        .env("TMPDIR", dir.path("tmp"))
        .spawn()
        .unwrap();
    // More than a pipe holds: it has read some of it, and waits for the rest.
    let (content, mut stdin) = (image(), child.stdin.take().unwrap());
    stdin.write_all(&content[MIB / 2..2 * MIB]).unwrap();
    let line = fs::read(format!("/proc/{}/cmdline", child.id())).unwrap();
    assert!(line.windows(STREAM.len()).any(|window| window == STREAM.as_bytes()), "{line:?}");
    assert!(!line.windows(PASSPHRASE.len()).any(|window| window == PASSPHRASE.as_bytes()));
    stdin.write_all(&content[2 * MIB..]).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty() && output.stdout.is_empty());
    let said = dir.secretly(&["check", "--verify-data", "repo"]).succeeds();
    assert!(!said.contains(PASSPHRASE) && !said.contains(IMAGE), "{said}");
    dir.secretly(&["delete", &one]).silent();
    dir.secretly(&["extract", "--destination", "out", &two]).silent();
    assert!(dir.read(&format!("out/{DIRECTORY}/{IMAGE}")) == changed);

    for place in ["repo", "cache", "state"] {
        let (found, files) = needles.found_below(&dir.path(place));
        assert!(files > 0 && found.is_empty(), "{place}: {} pieces in {files} files", found.len());
    }
    assert_eq!(files_below(&dir.path("tmp")), Vec::<std::path::PathBuf>::new());
    // Names of archives are file names in backups/, and nowhere else.
    let mut names = Needles::new();
    ARCHIVES.iter().for_each(|name| names.add(name.as_bytes()));
    for path in ["repo", "cache", "state"].iter().flat_map(|place| files_below(&dir.path(place))) {
        assert!(names.found_in(&fs::read(&path).unwrap()).is_empty(), "{}", path.display());
        let is_archive = path.starts_with(dir.path("repo/backups"));
        let is_named = !names.found_in(path.as_os_str().as_encoded_bytes()).is_empty();
        assert_eq!(is_named, is_archive, "{}", path.display());
    }
    for path in packs(&dir.path("repo")) {
        let bytes = fs::read(&path).unwrap();
        let sealed = &bytes[PACK_HEADER_LEN..bytes.len() - TRAILER_LEN];
        is_noise(sealed, &path);
        let squeezed = zstd::bulk::compress(&bytes, 19).unwrap().len();
        let saved = bytes.len() as f64 - squeezed as f64;
        assert!(saved < bytes.len() as f64 / 1000.0, "{}: {saved} bytes", path.display());
    }
    for path in ["index", "backups"].iter().flat_map(|at| files_below(&dir.path("repo").join(at))) {
        is_noise(&fs::read(&path).unwrap()[HEADER_LEN..], &path);
    }
}

/// Chi-square of the bytes against all being as likely: above this with a probability of 10^-6 (255 degrees of freedom, by
/// Wilson and Hilferty). What is shorter tells nothing.
fn is_noise(bytes: &[u8], path: &Path) {
    const MOST: f64 = 377.2;
    if bytes.len() < 2000 {
        return;
    }
    let mut counts = [0u64; 256];
    bytes.iter().for_each(|byte| counts[usize::from(*byte)] += 1);
    let expected = bytes.len() as f64 / 256.0;
    let square = |count: &u64| (*count as f64 - expected).powi(2) / expected;
    let sum: f64 = counts.iter().map(square).sum();
    assert!(sum < MOST, "{}: chi-square {sum} of {} bytes", path.display(), bytes.len());
}

/// What is not found above is found here: the search is one, and without a key all of it is there for everybody.
#[test]
fn without_encryption_all_of_it_is_found() {
    let (dir, needles) = ground(KeyMode::None);
    dir.run(&["create", "--compression", "none", "repo::a", DIRECTORY]).silent();
    let (found, _) = needles.found_below(&dir.path("repo"));
    let mut expected = needles.pieces;
    for absent in [STREAM, PASSPHRASE] {
        absent.as_bytes().as_chunks::<8>().0.iter().for_each(|piece| {
            expected.remove(&u64::from_le_bytes(*piece));
        });
    }
    // A canary may lie across two chunks, and those not behind each other in the pack.
    let missing = expected.difference(&found).count();
    assert!(missing <= expected.len() / 100, "{missing} of {} are not found", expected.len());
}

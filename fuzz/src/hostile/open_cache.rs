//! Any bytes in a client's copy of the index.
//!
//! In: bytes, read as changes of the files of a sound copy, of a repository with a key or without. Without one a changed file
//! gets the name that makes it believed: whoever can do that could as well have changed the repository. Promises checked: an
//! archive is given back as it was, with a key in any case, without one or an error says why not; a check goes by no copy, so
//! it finds nothing.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::OnceLock;

use garret_format::config::KeyMode;
use garret_testkit::{Lab, Random};

use super::input::Input;
use super::outside::Scratch;

/// A repository in memory, what is in its archives, and the files of a copy of its index.
struct Copied {
    lab: Lab,
    contents: BTreeMap<&'static str, Vec<u8>>,
    files: Vec<(PathBuf, Vec<u8>)>,
}

/// Made once: nothing here writes to the repository.
fn copied(is_sealed: bool) -> &'static Copied {
    static BOTH: [OnceLock<Copied>; 2] = [OnceLock::new(), OnceLock::new()];
    BOTH[usize::from(is_sealed)].get_or_init(|| {
        let mode = if is_sealed { KeyMode::Passphrase } else { KeyMode::None };
        let scratch = Scratch::new(&[]);
        let (lab, _) = Lab::memory(mode);
        let with_copy = lab.with_cache(Some(scratch.path("cache")));
        let mut random = Random::new(3);
        let (shared, own) = (random.bytes(30_000), random.bytes(5_000));
        let contents = BTreeMap::from([("a", shared.clone()), ("b", [own, shared].concat())]);
        for (name, bytes) in &contents {
            with_copy.backup_bytes(name, bytes).expect("a sound store");
            with_copy.restore_bytes(name).expect("a sound store");
        }
        let root = scratch.path("cache");
        let mut files = Vec::new();
        for directory in fs::read_dir(&root).unwrap().flatten() {
            for file in fs::read_dir(directory.path()).unwrap().flatten() {
                let path = file.path();
                let name = path.strip_prefix(&root).unwrap().to_owned();
                files.push((name, fs::read(path).unwrap()));
            }
        }
        files.sort();
        Copied { lab, contents, files }
    })
}

/// Reads through the copy that the bytes describe.
pub fn open_cache(bytes: &[u8]) {
    let input = &mut Input(bytes);
    let is_sealed = input.below(2) == 1;
    let Copied { lab, contents, files } = copied(is_sealed);
    let scratch = Scratch::new(&[]);
    let mut files = files.clone();
    for _ in 0..input.below(5) {
        let place = input.below(files.len());
        let (path, bytes) = &mut files[place];
        change(bytes, input);
        if path.extension().is_some_and(|end| end == "index") {
            path.set_file_name(format!("{}.index", blake3::hash(bytes)));
        }
    }
    for (path, bytes) in &files {
        let path = scratch.path("cache").join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    let with_copy = lab.with_cache(Some(scratch.path("cache")));
    for (name, content) in contents {
        match with_copy.restore_bytes(name) {
            Ok(bytes) => assert!(bytes == *content, "{name} is not what was stored"),
            Err(error) => assert!(!is_sealed, "{name}: {error}"),
        }
    }
    with_copy.check();
    scratch.assert_untouched();
}

/// Other bytes at a place, an end before its time, or more behind it.
fn change(bytes: &mut Vec<u8>, input: &mut Input<'_>) {
    let kind = input.byte() % 3;
    let at = input.below(bytes.len() + 1);
    match kind {
        0 => bytes.iter_mut().skip(at).zip(input.string()).for_each(|(old, new)| *old = *new),
        1 => bytes.truncate(at),
        _ => bytes.extend(input.string()),
    }
}

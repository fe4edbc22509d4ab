//! Repositories that an older garret made are read by this one: whole, and byte for byte.
//!
//! In: the directories in `tests/golden`. Out: nothing, or what is not as it was. Until 0.1.0 the format may change, and
//! whoever changes it makes them anew: `GARRET_GOLDEN=write cargo test --workspace --test older_versions`. From then on they
//! are frozen, each version adds its own, and every later one reads them all.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::fs;
use std::path::{Path, PathBuf};

use garret_core::{Compression, CutterChoice, LocalStore, Locked, Secret, Silent, TagChange};
use garret_format::config::Cipher;
use garret_format::recipe::CutterKind;
use garret_testkit::{Image, Lab, PASSPHRASE, check_options};

/// The archive that is protected, and what it is tagged with.
const PROTECTED: &str = "pages/monday";
const TAG: &str = "golden";

fn home() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden")
}

/// What is in the archives: some of every kind of content, little of it.
fn contents() -> [(&'static str, Vec<u8>); 4] {
    let mixed = Image::generate(1, 400_000).bytes;
    let mut changed = mixed.clone();
    changed[10_000..14_000].fill(7);
    [
        ("pages/monday", mixed),
        ("pages/tuesday", changed),
        ("gear/noise", Image::noise(2, 150_000).bytes),
        ("gear/empty", Vec::new()),
    ]
}

/// Makes a repository: two cutters, all codecs, a hole left by a deleted archive.
fn make(place: &Path, cipher: Option<Cipher>) {
    drop(fs::remove_dir_all(place));
    fs::create_dir_all(place.parent().unwrap()).unwrap();
    let mut lab = Lab::local_with(place, cipher);
    lab.backup_bytes("gone", &Image::noise(3, 50_000).bytes).unwrap();
    let codecs = [Compression::None, Compression::Lz4, Compression::Zstd(3), Compression::Lzma(6)];
    for ((name, bytes), codec) in contents().into_iter().zip(codecs) {
        lab.compression = codec;
        let is_pages = name.starts_with("pages");
        let cutter = if is_pages { CutterKind::Page } else { CutterKind::Fastcdc };
        lab.cutter = CutterChoice::Always(cutter);
        lab.backup_bytes(name, &bytes).unwrap();
    }
    let mut change = TagChange::default();
    (change.add, change.protect) = ([TAG.to_owned()].into(), Some(true));
    lab.pruner().unwrap().tag(&[PROTECTED.to_owned()], &change).unwrap();
    lab.delete("gone").unwrap();
    lab.gc().unwrap();
    if let Some(id) = lab.keys.id() {
        fs::write(place.with_extension("key-id"), id.as_bytes()).unwrap();
    }
}

#[test]
fn what_was_stored_then_is_read_now() {
    let ciphers = [
        ("none", None),
        ("xchacha20-poly1305", Some(Cipher::XChaCha20Poly1305)),
        ("aes-256-gcm", Some(Cipher::Aes256Gcm)),
    ];
    if std::env::var_os("GARRET_GOLDEN").is_some_and(|word| word == "write") {
        for (name, cipher) in ciphers {
            make(&home().join("now").join(name), cipher);
        }
    }
    let mut count = 0;
    for version in fs::read_dir(home()).unwrap() {
        for (name, cipher) in ciphers {
            let place = version.as_ref().unwrap().path().join(name);
            let locked = Locked::find(Box::new(LocalStore::open(&place).unwrap())).unwrap();
            assert_eq!(locked.protection().1, cipher);
            let secret = cipher.map_or(Secret::None, |_| Secret::Passphrase(PASSPHRASE));
            // Its slot is cheaper than a real one may be: who knows the key is not asked.
            let known = fs::read(place.with_extension("key-id")).ok();
            let known =
                known.map(|bytes| garret_format::KeyId::from_bytes(bytes.try_into().unwrap()));
            let keys = locked.expecting(known).unlock(secret).unwrap();
            let opened = place.clone();
            let lab = Lab::existing(move || Box::new(LocalStore::open(&opened).unwrap()), keys);
            let stored = contents();
            assert_eq!(lab.names().len(), stored.len(), "{}", place.display());
            for (name, bytes) in stored {
                assert!(lab.restore_bytes(name).unwrap() == bytes, "{}: {name}", place.display());
            }
            let repository = lab.reader().unwrap();
            let tags = repository.tags(&Silent).unwrap();
            let protected = repository.archive(PROTECTED).unwrap();
            assert!(tags.is_protected(&protected) && tags.of(&protected).contains(TAG));
            let mut options = check_options(true, 1);
            // They stay as they are.
            options.records = false;
            let report = lab.checker().unwrap().check(&options, &Silent).unwrap();
            assert_eq!(report.problem_count, 0, "{}", place.display());
            count += 1;
        }
    }
    assert!(count >= 3, "{count} repositories");
}

//! The client's copy of the index in hands that mean harm: nothing that is in it decides what is stored or deleted.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown, symlink};
use std::path::{Path, PathBuf};

use garret_format::config::KeyMode;

use super::{Dir, MIB, PASSPHRASE, files_below, fill_noise, packs, tool};

const UNLOCK: [(&str, &str); 1] = [("GARRET_PASSPHRASE", PASSPHRASE)];
const NOBODY: u32 = 65534;

/// A repository, and what its owner runs on it.
struct Victim {
    dir: Dir,
    mode: KeyMode,
}

impl Victim {
    fn new(mode: KeyMode) -> Self {
        let dir = Dir::new();
        match mode {
            KeyMode::None => drop(dir.run(&["init", "repo"]).succeeds()),
            _ => dir.cheap_repository("repo", mode),
        }
        for (name, seed) in [("big", 1), ("other", 2)] {
            let mut bytes = vec![0; MIB];
            fill_noise(&mut bytes, seed);
            dir.write(name, &bytes);
        }
        Victim { dir, mode }
    }

    #[track_caller]
    fn run(&self, arguments: &[&str]) -> String {
        let environment = if self.mode == KeyMode::None { &[][..] } else { &UNLOCK };
        self.dir.run_with(environment, b"", arguments).succeeds()
    }

    #[track_caller]
    fn restores(&self, archive: &str, file: &str) {
        let environment = if self.mode == KeyMode::None { &[][..] } else { &UNLOCK };
        let arguments = ["extract", "--stdout", &format!("repo::{archive}"), file];
        let ran = self.dir.run_with(environment, b"", &arguments);
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{archive}");
        assert!(ran.stdout == self.dir.read(file), "{archive}");
    }

    /// The client's copies of the index.
    fn segments(&self) -> Vec<PathBuf> {
        let mut files = files_below(&self.dir.path("cache"));
        files.retain(|path| path.extension().is_some_and(|extension| extension == "index"));
        files
    }

    fn forget(&self) {
        self.segments().iter().for_each(|path| fs::remove_file(path).unwrap());
    }

    /// Names of packs or of segments of the index, as they are in the tables.
    fn stored(&self, area: &str) -> Vec<[u8; 32]> {
        let files = files_below(&self.dir.path("repo").join(area));
        let name = |path: &PathBuf| {
            let name = path.file_name().unwrap().to_str().unwrap();
            *blake3::Hash::from_hex(name).unwrap().as_bytes()
        };
        files.iter().map(name).collect()
    }

    /// Puts a copy there under the name that is right for a repository without key.
    fn plant(&self, bytes: &[u8]) {
        let directory = self.segments_directory();
        fs::write(directory.join(format!("{}.index", blake3::hash(bytes))), bytes).unwrap();
    }

    fn segments_directory(&self) -> PathBuf {
        let lock = files_below(&self.dir.path("cache"));
        let lock = lock.iter().find(|path| path.ends_with("lock")).unwrap();
        lock.parent().unwrap().to_owned()
    }

    /// A copy that says that what `big` is made of lies in the packs of `other`, made of what the attacker saw of both.
    fn lie(&self) -> Vec<u8> {
        self.run(&["create", "repo::seen", "big"]);
        let [segment] = &self.segments()[..] else { panic!("{:?}", self.segments()) };
        let mut lie = fs::read(segment).unwrap();
        let (old_packs, old_segments) = (self.stored("packs"), self.stored("index"));
        self.run(&["delete", "repo::seen"]);
        self.run(&["create", "repo::other", "other"]);
        let pack = *self.stored("packs").iter().find(|pack| !old_packs.contains(pack)).unwrap();
        let segment = *self.stored("index").iter().find(|id| !old_segments.contains(id)).unwrap();
        let mut replace = |old: &[u8; 32], new: &[u8; 32]| {
            let places = lie.windows(32).enumerate().filter(|(_, found)| found == old);
            let places: Vec<usize> = places.map(|(place, _)| place).collect();
            places.iter().for_each(|place| lie[*place..place + 32].copy_from_slice(new));
            places
        };
        assert!(old_segments.iter().map(|old| replace(old, &segment).len()).sum::<usize>() > 0);
        let rows: Vec<usize> = old_packs.iter().flat_map(|old| replace(old, &pack)).collect();
        assert!(!rows.is_empty(), "no pack is named in the copy");
        // The file's length stands behind the id and 16 bytes of salt; a row with another is not believed.
        let name = blake3::Hash::from_bytes(pack).to_hex().to_string();
        let files = files_below(&self.dir.path("repo/packs"));
        let file = files.iter().find(|file| file.ends_with(&name)).unwrap();
        let len = u32::try_from(file.metadata().unwrap().len()).unwrap();
        rows.iter().for_each(|row| lie[row + 48..row + 52].copy_from_slice(&len.to_le_bytes()));
        self.forget();
        lie
    }
}

/// Whoever can write the cache, and knows no key, made `create` store nothing, with exit code 0 and no word.
#[test]
fn a_copy_that_says_everything_is_there_keeps_nothing_from_being_stored() {
    for mode in [KeyMode::Passphrase, KeyMode::Keyfile] {
        let victim = Victim::new(mode);
        let lie = victim.lie();
        victim.plant(&lie);
        victim.run(&["create", "repo::night", "big"]);
        victim.restores("night", "big");
        victim.plant(&lie);
        victim.run(&["check", "--verify-data", "repo"]);
        victim.run(&["delete", "repo::other"]);
        victim.restores("night", "big");
    }
}

/// What the others plant is believed where it can be: without a key, a directory of one's own is.
#[test]
fn the_lie_of_these_tests_is_a_good_one() {
    let victim = Victim::new(KeyMode::None);
    let lie = victim.lie();
    victim.plant(&lie);
    let ran = victim.dir.run(&["create", "repo::night", "big"]);
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    assert!(ran.stderr.contains("; the index says of it what is not so; "), "{}", ran.stderr);
    // It was believed, but for the sample that each backup takes of what is stored; so nothing is lost even here.
    let ran = victim.dir.run(&["extract", "--stdout", "repo::night", "big"]);
    assert!(ran.stdout == victim.dir.read("big"), "{}", ran.stderr);
}

/// One that says that what an archive needs lies in another pack made `delete` remove the pack that the archive needs.
#[test]
fn a_copy_that_says_it_lies_elsewhere_has_nothing_deleted() {
    for mode in [KeyMode::None, KeyMode::Passphrase, KeyMode::Keyfile] {
        let victim = Victim::new(mode);
        let lie = victim.lie();
        victim.forget();
        victim.run(&["create", "repo::night", "big"]);
        victim.run(&["create", "repo::tmp", "other"]);
        victim.forget();
        victim.plant(&lie);
        victim.run(&["delete", "repo::tmp"]);
        victim.forget();
        victim.restores("night", "big");
        victim.restores("other", "other");
        victim.run(&["check", "--verify-data", "repo"]);
    }
}

/// `check` says what is in the repository, whatever the copy says.
#[test]
fn check_asks_no_copy() {
    let victim = Victim::new(KeyMode::None);
    let lie = victim.lie();
    victim.run(&["create", "repo::night", "big"]);
    victim.forget();
    let lost = packs(&victim.dir.path("repo"));
    assert_eq!(lost.len(), 2, "one pack of each file");
    for pack in lost {
        let moved = pack.with_extension("away");
        fs::rename(&pack, &moved).unwrap();
        victim.plant(&lie);
        let ran = victim.dir.run(&["check", "repo"]);
        assert_eq!(ran.code, Some(1), "{}", ran.stderr);
        assert!(ran.stderr.contains("cannot be restored whole"), "{}", ran.stderr);
        fs::rename(&moved, &pack).unwrap();
    }
    victim.run(&["check", "repo"]);
}

/// Without a key, what others can write is not believed; it is not needed either.
#[test]
fn without_a_key_a_directory_of_others_is_not_used() {
    for below in [false, true] {
        for foreign in [false, true] {
            let victim = Victim::new(KeyMode::None);
            let lie = victim.lie();
            let directory = match below {
                true => victim.segments_directory(),
                false => victim.dir.path("cache"),
            };
            victim.plant(&lie);
            match foreign {
                true => chown(&directory, Some(NOBODY), Some(NOBODY)).unwrap(),
                false => fs::set_permissions(&directory, PermissionsExt::from_mode(0o777)).unwrap(),
            }
            let before = files_below(&victim.dir.path("cache"));
            victim.run(&["create", "repo::night", "big"]);
            assert_eq!(files_below(&victim.dir.path("cache")), before, "nothing is written there");
            victim.restores("night", "big");
        }
    }
}

/// A name in the cache that leads elsewhere: nothing there is read, changed, or made.
#[test]
fn nothing_is_done_through_a_link_in_the_cache() {
    for mode in [KeyMode::None, KeyMode::Passphrase] {
        let victim = Victim::new(mode);
        victim.run(&["create", "repo::night", "big"]);
        let directory = victim.segments_directory();
        let secret = victim.dir.write("secret", b"0123456789");
        let lock = directory.join("lock");
        let through = |target: &Path, link: &Path| {
            drop(fs::remove_file(link));
            symlink(target, link).unwrap();
            chown(&directory, Some(NOBODY), Some(NOBODY)).unwrap();
            for arguments in
                [&["list", "repo"][..], &["create", "repo::a", "other"], &["delete", "repo::a"]]
            {
                victim.run(arguments);
            }
            chown(&directory, Some(0), Some(0)).unwrap();
            assert_eq!(fs::read(&secret).unwrap(), b"0123456789");
            drop(fs::remove_file(link));
        };
        through(&secret, &lock);
        let absent = victim.dir.path("absent");
        through(&absent, &lock);
        through(&secret, &directory.join(format!("{}.index", "0".repeat(64))));
        assert!(!absent.exists());
        // A pipe keeps nobody waiting.
        fs::remove_file(&lock).ok();
        tool("mkfifo", &[directory.join(format!("{}.index", "1".repeat(64))).to_str().unwrap()]);
        victim.run(&["list", "repo"]);
        // Nor is the directory itself reached through one.
        fs::remove_dir_all(&directory).unwrap();
        fs::create_dir(victim.dir.path("elsewhere")).unwrap();
        symlink(victim.dir.path("elsewhere"), &directory).unwrap();
        victim.run(&["create", "repo::b", "other"]);
        assert_eq!(fs::read_dir(victim.dir.path("elsewhere")).unwrap().count(), 0);
    }
}

#[test]
fn files_of_the_copy_are_private_whatever_the_umask() {
    let dir = Dir::with_repository();
    dir.write("file", b"content");
    let shell = ["sh", "-c", "umask 0; exec \"$0\" \"$@\""];
    dir.run_under(&shell, &["create", "repo::a", "file"]).silent();
    let mut open = vec![dir.path("cache")];
    let mut seen = 0;
    while let Some(path) = open.pop() {
        let metadata = fs::symlink_metadata(&path).unwrap();
        let expected = if metadata.is_dir() { 0o700 } else { 0o600 };
        assert_eq!(metadata.mode() & 0o7777, expected, "{}", path.display());
        if metadata.is_dir() {
            open.extend(fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
        }
        seen += 1;
    }
    assert!(seen >= 5, "the directories, a tag, a lock, an index");
}

/// A link that somebody else put where the cache is to be chooses where our files go.
#[test]
fn a_link_of_others_in_place_of_the_cache_is_not_followed() {
    let dir = Dir::with_repository();
    dir.write("file", b"content");
    fs::create_dir(dir.path("victim")).unwrap();
    symlink("victim", dir.path("cache")).unwrap();
    lchown(dir.path("cache"), Some(65534), None).unwrap();
    dir.run(&["create", "repo::a", "file"]).silent();
    assert_eq!(fs::read_dir(dir.path("victim")).unwrap().count(), 0);
    lchown(dir.path("cache"), Some(0), None).unwrap();
    dir.run(&["create", "repo::b", "file"]).silent();
    assert!(fs::read_dir(dir.path("victim")).unwrap().count() > 0, "one's own is followed");
}

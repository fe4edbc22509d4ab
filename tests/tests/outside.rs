//! Archives that lead outside (T32): lists of items that garret never writes, with links where directories should be
//! and links to what is elsewhere, in every order. A restore of such a one changes nothing beyond its directory and
//! brings nothing in from there, as root with owners too. And a restore that fails in the middle leaves what was there.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "helpers of tests, which say their counts"
)]

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use garret_core::{Destination, Error, FileMetadata, Key, MemoryStore, Selection};
use garret_format::archive::{Content, Item, ItemKind, Side};
use garret_format::config::KeyMode;
use garret_format::recipe::Entry;
use garret_testkit::{Forge, Lab, Random, is_structure, leaf, plain_entry, plain_item};

fn file(path: &str) -> Item {
    let recipe = leaf(vec![Entry::Zero { len: 3 }]);
    let (layout, allocation) = (Side::Inline(Vec::new()), Side::Inline(Vec::new()));
    let content = Content { recipe, layout, allocation, unreadable: Vec::new() };
    // With a mark that says that there are further names, for hard links.
    let item = plain_item(path.as_bytes(), ItemKind::File(content));
    Item { linked: true, mode: 0o4777, uid: 4002, gid: 4002, ..item }
}

fn directory(path: &str) -> Item {
    let item = plain_item(path.as_bytes(), ItemKind::Directory);
    Item { mode: 0o777, uid: 4002, gid: 4002, ..item }
}

fn link(path: &str, target: &str) -> Item {
    let item = plain_item(path.as_bytes(), ItemKind::Symlink(target.as_bytes().to_vec()));
    Item { uid: 4002, gid: 4002, ..item }
}

fn hard_link(path: &str, first: &str) -> Item {
    plain_item(path.as_bytes(), ItemKind::HardLink(first.as_bytes().to_vec()))
}

fn fifo(path: &str) -> Item {
    plain_item(path.as_bytes(), ItemKind::Fifo)
}

/// What is in a directory: kind, mode, owner and, of files, bytes and time.
fn look(root: &Path) -> BTreeMap<PathBuf, (u32, u32, Vec<u8>, i64)> {
    let mut found = BTreeMap::new();
    let mut open = vec![root.to_owned()];
    while let Some(path) = open.pop() {
        let stat = fs::symlink_metadata(&path).unwrap();
        let bytes = if stat.is_file() { fs::read(&path).unwrap() } else { Vec::new() };
        if stat.is_dir() {
            open.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
        found.insert(path, (stat.mode(), stat.uid(), bytes, stat.mtime()));
    }
    found
}

/// An archive `bad` of these items, in a repository of mode none.
fn archive_of(items: &[Item]) -> Lab {
    let (lab, store) = Lab::memory(KeyMode::None);
    let mut objects = store.objects();
    let forge = Forge::plain(&objects[&Key::Config]);
    let stream = items.iter().flat_map(Item::encode).collect::<Vec<u8>>();
    let (key, bytes, _) = forge.archive("bad", leaf(vec![plain_entry(&stream)]));
    objects.extend([forge.pack_of(&[stream]), (key, bytes)]);
    let store = MemoryStore::from_objects(objects);
    lab.with_store(move || Box::new(store.clone()))
}

/// Lists of items, in words, of which each leads to `../outside` or to `victim` in it.
fn lists() -> Vec<(&'static str, Vec<Item>)> {
    let to = "../outside";
    vec![
        ("a file through a link", vec![link("l", to), file("l/new")]),
        ("the victim through a link", vec![link("l", to), file("l/victim")]),
        ("a link, then a directory there", vec![link("l", to), directory("l"), file("l/new")]),
        ("a directory, then a link there", vec![directory("l"), link("l", to), file("l/new")]),
        ("a full one", vec![directory("l"), file("l/x"), link("l", to), file("l/victim")]),
        ("a directory through a link", vec![link("l", to), directory("l/new"), file("l/new/x")]),
        ("a link through a link", vec![link("l", to), link("l/new", "victim"), file("l/new")]),
        ("a pipe through a link", vec![link("l", to), fifo("l/new")]),
        (
            "by way of a link inside",
            vec![link("here", "."), link("here/l", to), file("here/l/new")],
        ),
        ("deeper", vec![directory("d"), link("d/l", "../../outside"), file("d/l/sub/new")]),
        ("a file where a link is", vec![link("l", "../outside/victim"), file("l")]),
        ("the link last", vec![file("l/victim"), directory("l"), link("l", to)]),
        ("a hard link through a link", vec![link("l", to), file("f"), hard_link("l/new", "f")]),
        ("a hard link to what is behind one", vec![link("l", to), hard_link("h", "l/victim")]),
        (
            "a hard link to a link",
            vec![link("l", "../outside/victim"), hard_link("h", "l"), file("h")],
        ),
        (
            "a hard link, then the file again",
            vec![file("f"), hard_link("h", "f"), link("f", "../outside/victim"), file("h")],
        ),
        ("a hard link above", vec![file("f"), hard_link("h", "../outside/victim")]),
        ("a hard link from the root", vec![file("f"), hard_link("h", "/etc/passwd")]),
        ("a file above", vec![file("../outside/new")]),
        ("a file from the root", vec![file("/outside/new")]),
        ("a directory above", vec![directory("..")]),
        ("the directory itself", vec![directory(".")]),
        ("through a file", vec![file("f"), file("f/new"), link("f/l", to)]),
        ("named through a link", vec![Item { followed: true, ..file("made/victim") }]),
        ("named through links", vec![link("l", to), Item { followed: true, ..file("l") }]),
    ]
}

#[test]
fn no_list_of_items_leads_out_of_the_directory() {
    let temp = tempfile::tempdir().unwrap();
    let outside = temp.path().join("outside");
    fs::create_dir_all(outside.join("sub")).unwrap();
    fs::write(outside.join("victim"), b"precious").unwrap();
    let before = look(&outside);
    let root = rustix::process::geteuid().is_root();
    let (mut made, mut refused) = (0, 0);
    for (number, (what, items)) in lists().into_iter().enumerate() {
        let lab = archive_of(&items);
        for owners in [false, root] {
            let target = temp.path().join(format!("{number}{owners}"));
            fs::create_dir(&target).unwrap();
            // What somebody else made there before.
            symlink("../outside", target.join("made")).unwrap();
            let mut options = lab.restore_options();
            options.owners = owners;
            let restored = lab.restore_to("bad", &target, &options);
            assert!(look(&outside) == before, "{what}: {restored:?}");
            refused += restored.as_ref().map_or(1, |done| done.report.problem_count);
            made += look(&target).len() - 2;
            for (path, (_, _, bytes, _)) in look(&target) {
                assert!(bytes != b"precious", "{what}: {}", path.display());
                let name = path.file_name().unwrap().to_string_lossy().into_owned();
                assert!(!name.starts_with(".garret-restore-"), "{what}: {name} is left");
            }
            let mut names = fs::read_dir(temp.path()).unwrap().map(|entry| entry.unwrap().path());
            assert!(names.all(|path| path == outside || path == target), "{what}");
            fs::remove_dir_all(&target).unwrap();
        }
    }
    println!("{made} things made inside, {refused} refused");
    assert!(made >= 30 && refused >= 30, "{made} made and {refused} refused are no test");
}

/// Restores one file to a place of the user's choice; how many problems there were.
fn restore_single(
    lab: &Lab,
    archive: &str,
    selection: &mut Selection,
    path: PathBuf,
) -> Result<u64, Error> {
    let repository = lab.reader()?;
    let archive = repository.archive(archive)?;
    let destination = Destination::File { path, metadata: FileMetadata::OfItem };
    let options = lab.restore_options();
    let report =
        repository.restore(&archive, selection, destination, &options, &garret_core::Silent)?;
    Ok(report.problem_count)
}

/// A chunk is lost: whatever was at the name stays, with its bytes, and nothing is left beside it.
#[test]
fn what_cannot_be_restored_whole_replaces_nothing() {
    let (lab, store) = Lab::memory(KeyMode::Passphrase);
    let temp = tempfile::tempdir().unwrap();
    let source = temp.path().join("image");
    fs::write(&source, Random::new(32).bytes(3_000_000)).unwrap();
    lab.backup_path("a", &source).unwrap();
    let mut objects = store.objects();
    for (key, bytes) in &mut objects {
        if matches!(key, Key::Pack(_)) && !is_structure(bytes) {
            bytes[1_500_000] ^= 1;
        }
    }
    let store = MemoryStore::from_objects(objects);
    let lab = lab.with_store(move || Box::new(store.clone()));
    let to = temp.path().join("to");
    let place = to.join(source.strip_prefix("/").unwrap());
    fs::create_dir_all(place.parent().unwrap()).unwrap();
    fs::write(&place, b"what was there").unwrap();
    let names = |path: &Path| fs::read_dir(path).unwrap().count();
    let done = lab.restore_to("a", &to, &lab.restore_options()).unwrap();
    assert_eq!(done.report.file_count, 0);
    assert!(done.problems[0].contains("not restored: bytes "), "{:?}", done.problems);
    assert_eq!(fs::read(&place).unwrap(), b"what was there");
    assert_eq!((names(place.parent().unwrap()), names(&to)), (1, 1));

    let single = temp.path().join("single");
    fs::create_dir(&single).unwrap();
    fs::write(single.join("out"), b"what was there").unwrap();
    let done = restore_single(&lab, "a", &mut Selection::default(), single.join("out"));
    assert!(done.is_err() || done.unwrap() > 0);
    assert_eq!(fs::read(single.join("out")).unwrap(), b"what was there");
    assert_eq!(names(&single), 1);
}

/// Sets the flag in the end, also when the test fails.
struct Done<'a>(&'a AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What the owner of the destination does to names in it, by turns and without end: a directory, a file, the place of a
/// single file and whatever directory files are built in are exchanged for links and directories of his, and back.
fn exchange_names(target: &Path, traps: &Path, done: &AtomicBool) {
    use rustix::fs::{CWD, Mode, OFlags, RenameFlags, openat, renameat_with};
    // He may change nothing behind his own links.
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW;
    let open = |path: &Path| openat(CWD, path, flags, Mode::empty());
    let (top, traps) = (open(target).unwrap(), open(traps).unwrap());
    let is_built_in = |name: &String| name.starts_with(".garret-restore-");
    for round in 0.. {
        if done.load(Ordering::Relaxed) {
            return;
        }
        // They may not be there at this moment.
        let exchange = |parent: &OwnedFd, name: &str, trap: &str| {
            let _missed = renameat_with(parent, name, &traps, trap, RenameFlags::EXCHANGE);
        };
        if let Ok(below) = open(&target.join("d")) {
            ["below", "f3", "p"].iter().for_each(|name| exchange(&below, name, name));
        }
        ["d", "single"].iter().for_each(|name| exchange(&top, name, name));
        let names = fs::read_dir(target).unwrap().flatten();
        let mut names = names.filter_map(|entry| entry.file_name().into_string().ok());
        if let Some(building) = names.find(is_built_in) {
            exchange(&top, &building, ["directory", "link"][round % 2]);
        }
    }
}

/// Root restores into the directory of somebody who knows no moment and exchanges names all the time: nothing outside of it
/// gets bytes, names, owners, modes or times. `GARRET_RACES` is how many rounds there are.
#[test]
fn a_restore_to_where_names_are_exchanged_all_the_time_changes_nothing_elsewhere() {
    let temp = tempfile::tempdir().unwrap();
    let at = |name: &str| temp.path().join(name);
    let (outside, target, traps) = (at("outside"), at("to"), at("traps"));
    fs::create_dir_all(outside.join("below")).unwrap();
    let mut items = vec![directory("d"), directory("d/below")];
    for name in (0..20).map(|number| format!("f{number}")) {
        items.extend([file(&format!("d/below/{name}")), file(&format!("d/{name}"))]);
        fs::write(outside.join(&name), "precious").unwrap();
        fs::write(outside.join("below").join(&name), "precious").unwrap();
    }
    items.extend([fifo("d/p"), link("d/l", "f1"), hard_link("d/h", "d/f3"), directory("d/empty")]);
    items.sort_by(|one, other| one.path.cmp(&other.path));
    let before = look(&outside);
    let lab = archive_of(&items);
    let rounds = std::env::var("GARRET_RACES").map_or(12, |rounds| rounds.parse().unwrap());
    let (mut whole, mut refused) = (0, 0);
    for round in 0..rounds {
        for directory in [&target, &traps.join("directory")] {
            fs::create_dir_all(directory).unwrap();
            fs::set_permissions(directory, PermissionsExt::from_mode(0o777)).unwrap();
            chown(directory, Some(65534), Some(65534)).unwrap();
        }
        for (trap, to) in [
            ("d", ""),
            ("below", "below"),
            ("f3", "f3"),
            ("p", "f4"),
            ("single", "f5"),
            ("link", ""),
        ] {
            symlink(outside.join(to), traps.join(trap)).unwrap();
            lchown(traps.join(trap), Some(65534), Some(65534)).unwrap();
        }
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| exchange_names(&target, &traps, &done));
            let _done = Done(&done);
            let mut options = lab.restore_options();
            options.owners = true;
            let tree = lab.restore_to("bad", &target, &options);
            let is_whole = tree.is_ok_and(|done| done.problems.is_empty());
            let mut one = Selection::new([b"d/f5".to_vec()]);
            let single = restore_single(&lab, "bad", &mut one, target.join("single"));
            for is_whole in [is_whole, single.is_ok_and(|problems| problems == 0)] {
                *(if is_whole { &mut whole } else { &mut refused }) += 1;
            }
        });
        assert!(look(&outside) == before, "round {round}");
        [&target, &traps].into_iter().for_each(|one| fs::remove_dir_all(one).unwrap());
    }
    println!(
        "{rounds} rounds: {whole} restores that nobody disturbed, {refused} that told of something"
    );
}

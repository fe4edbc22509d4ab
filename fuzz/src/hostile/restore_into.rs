//! Any archive, restored to any directory.
//!
//! In: bytes, read as items of an archive without encryption, as what is where it is restored to, and as options. Links there
//! belong to somebody else; those that the archive makes do not. Out: nothing. Promises checked: nothing outside of the
//! directory is touched, and no pipe is waited for.

use std::fs;
use std::os::unix::fs::{lchown, symlink};
use std::path::Path;
use std::time::Duration;

use garret_core::{
    AllocationMode, Destination, FileMetadata, Form, Locked, MemoryStore, RestoreOptions, Result,
    Secret, Selection, Silent,
};
use garret_format::archive::{Device, Item, ItemKind, Side};
use garret_format::pack::Codec;
use garret_format::recipe::{CutterKind, Entry, Node, Recipe};

use super::base::{content, item, sized};
use super::input::Input;
use super::making::{Changes, Making};
use super::outside::{Scratch, file_name, is_inside, make_pipe, remove};

/// Names that items have and that are there before.
const PATHS: [&str; 10] = [
    "a",
    "b",
    "a/b",
    "a/b/c",
    "b/a",
    "c",
    "c.raw",
    "a/c",
    ".garret-restore-0123456789abcdef",
    ".garret-restore-0123456789abcdef/marker",
];
/// Somebody else.
const NOBODY: u32 = 65534;

/// Restores what the bytes describe.
pub fn restore_into(bytes: &[u8]) {
    let input = &mut Input(bytes);
    let scratch = Scratch::new(b"object");
    let destination = scratch.path("to");
    fs::create_dir(&destination).unwrap();
    for _ in 0..input.below(6) {
        place(&destination, input);
    }
    let form = input.pick(&[Form::Stored, Form::Raw]);
    let allocation =
        input.pick(&[AllocationMode::Sparse, AllocationMode::Exact, AllocationMode::Full]);
    let mut options = RestoreOptions::default();
    options.form = form;
    options.allocation = allocation;
    options.threads = 1;
    options.owners = input.below(2) == 0;
    options.strip = input.below(8).saturating_sub(5);
    let file = (input.below(4) == 0).then(|| input.pick(&["a", "b", "c", "c.raw"]));
    let metadata = input.pick(&[FileMetadata::OfItem, FileMetadata::OfPlace { mode: 0o600 }]);
    let store = archive(input, allocation != AllocationMode::Sparse);
    let (mut selection, to) = match file {
        None => (Selection::default(), Destination::Directory(destination.clone())),
        Some(name) => {
            let path = destination.join(name);
            (Selection::new([name.into()]), Destination::File { path, metadata })
        }
    };
    let _ = restore(store, &mut selection, to, &options);
    scratch.assert_untouched();
}

fn restore(
    store: MemoryStore,
    selection: &mut Selection,
    to: Destination<'_>,
    options: &RestoreOptions,
) -> Result<()> {
    let locked = Locked::find(Box::new(store))?.with_patience(Duration::ZERO);
    let keys = locked.unlock(Secret::None)?;
    let repository = locked.with(keys).reader(&Silent)?;
    let archive = repository.archive("a")?;
    repository.restore(&archive, selection, to, options, &Silent).map(drop)
}

/// Whether links can be made somebody else's. A link of this user's own is followed where the archive says so.
fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A repository with one archive of the items that the input describes. Where zeros get space, no size may be altered.
fn archive(input: &mut Input<'_>, small: bool) -> MemoryStore {
    let count = input.below(8);
    let items: Vec<_> = (0..count).map(|_| description(input)).collect();
    let changes = if small { Changes::default() } else { Changes::read(input) };
    let may_follow = changes.is_empty() && is_root();
    let mut making = Making::new(changes);
    let noise = making.chunk((0..9000u32).flat_map(u32::to_le_bytes).collect());
    let text = making.chunk(b"what is restored".to_vec());
    making.close_group(Codec::Zstd);
    let chunk = |(id, len)| Entry::Chunk { id, len };
    let entries = [chunk(noise), chunk(text), Entry::Zero { len: 1 << 17 }];
    let items: Vec<Item> = items
        .into_iter()
        .map(|(mut item, holds)| {
            item.followed &= may_follow;
            let entries = (0..3).filter(|bit| holds >> bit & 1 == 1).map(|bit| entries[bit]);
            let root = Node::Leaf(entries.collect());
            let size = root.span().unwrap_or_default();
            let recipe = Recipe { cutter: CutterKind::Page, root };
            let file = content(recipe, Side::Inline(Vec::new()));
            if matches!(item.kind, ItemKind::File(_)) { sized(item, (size, file)) } else { item }
        })
        .collect();
    making.archive("a", &items);
    MemoryStore::from_objects(making.finish().0)
}

/// An item, and which contents it has if it is a file.
fn description(input: &mut Input<'_>) -> (Item, u8) {
    let path = input.pick(&PATHS).as_bytes();
    let other = input.pick(&PATHS).as_bytes().to_vec();
    let empty = Recipe { cutter: CutterKind::Page, root: Node::Leaf(Vec::new()) };
    let kind = match input.byte() % 8 {
        0..3 => ItemKind::File(content(empty, Side::Inline(Vec::new()))),
        3 => ItemKind::Directory,
        4 => {
            let targets: [&[u8]; 6] = [
                b"../outside",
                b"../outside/file",
                b"../outside/new",
                b"../../outside",
                b"a",
                b".",
            ];
            ItemKind::Symlink(input.pick(&targets).to_vec())
        }
        5 => ItemKind::HardLink(other),
        6 => ItemKind::Fifo,
        _ => ItemKind::CharacterDevice(Device { major: 1, minor: 3 }),
    };
    let mut item = item(path, kind);
    let bits = input.byte();
    (item.linked, item.followed) = (bits & 1 != 0, bits & 2 != 0);
    item.mode = if bits & 4 != 0 { 0o4555 } else { 0o700 };
    item.uid = if bits & 8 != 0 { NOBODY } else { 0 };
    if bits & 16 != 0 && !matches!(item.kind, ItemKind::HardLink(_)) {
        item.xattrs = vec![(b"user.a".to_vec(), b"b".to_vec())];
    }
    (item, input.byte())
}

/// Puts something where items will go.
fn place(destination: &Path, input: &mut Input<'_>) {
    let mut path = destination.join(input.pick(&PATHS));
    if input.below(8) == 0 {
        let Some(name) = file_name(input.string()) else { return };
        path.set_file_name(name);
    }
    if !is_inside(destination, &path) {
        return;
    }
    remove(&path);
    let _ = fs::create_dir_all(path.parent().unwrap_or(destination));
    let named = ["outside", "outside/file", "outside/directory", "outside/pipe", "outside/new"];
    let outside = destination.with_file_name(input.pick(&named));
    let _ = match input.byte() % 7 {
        0 | 1 if is_root() => {
            symlink(outside, &path).and_then(|()| lchown(&path, Some(NOBODY), Some(NOBODY)))
        }
        0 | 1 => symlink(outside, &path),
        2 => fs::create_dir(&path),
        3 => fs::hard_link(destination.with_file_name("outside/file"), &path),
        4 => fs::write(&path, b"what was there"),
        5 => symlink(path.file_name().unwrap_or_default(), &path),
        _ => make_pipe(&path),
    };
}

//! What the targets begin with: repositories that are as they should be.
//!
//! In: changes for the one that is made by hand. Out: objects, always in the same order, and of the encrypted one what is in
//! its archives. That one is made by the core, once for a process, with random keys.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use garret_core::Key;
use garret_format::KeyId;
use garret_format::archive::{Content, Device, Identity, Item, ItemKind, Side, Time};
use garret_format::config::KeyMode;
use garret_format::pack::Codec;
use garret_format::recipe::{Child, CutterKind, Entry, Node, Recipe};
use garret_image::{AllocationMap, Extent};
use garret_testkit::{Lab, Random};

use super::making::{Changes, Making};

/// Objects by their names.
pub type Objects = Vec<(Key, Vec<u8>)>;

/// An encrypted repository.
pub struct Sealed {
    /// What is in it, in the order in which it was made.
    pub objects: Objects,
    /// Which key it has.
    pub key_id: Option<KeyId>,
    /// The content of the only file of each archive.
    pub contents: BTreeMap<String, Vec<u8>>,
}

/// The encrypted repository: two archives that share data.
pub fn sealed() -> &'static Sealed {
    static SEALED: OnceLock<Sealed> = OnceLock::new();
    SEALED.get_or_init(|| {
        let (lab, store) = Lab::memory(KeyMode::Passphrase);
        let mut random = Random::new(1);
        let (shared, own) = (random.bytes(30_000), random.bytes(5_000));
        let text = b"what compresses ".repeat(2000);
        let contents = [("a", [&shared[..], &text].concat()), ("b", [&shared[..], &own].concat())];
        let mut objects = Objects::new();
        for (name, content) in &contents {
            lab.backup_bytes(name, content).expect("a sound store");
            for (key, bytes) in store.objects() {
                if objects.iter().all(|(known, _)| *known != key) {
                    objects.push((key, bytes));
                }
            }
        }
        let contents = contents.map(|(name, content)| (name.to_owned(), content)).into();
        Sealed { objects, key_id: lab.keys.id(), contents }
    })
}

/// The repository without encryption: an archive of everything that an archive can hold, and one that shares with it.
pub fn plain(changes: Changes) -> (Objects, Changes) {
    let mut making = Making::new(changes);
    let mut random = Random::new(2);
    let (id, len) = making.chunk(random.bytes(9_000));
    let noise = Entry::Chunk { id, len };
    let (id, len) = making.chunk(b"what compresses ".repeat(600));
    let text = Entry::Chunk { id, len };
    let leaf = Node::Leaf(vec![noise, Entry::Zero { len: 1 << 16 }, text]);
    let span = leaf.span().unwrap_or_default();
    making.close_group(Codec::Zstd);
    let (id, _) = making.chunk(leaf.encode());
    let inner = Node::Inner { level: 1, children: vec![Child { id, span }, Child { id, span }] };
    let mut map = AllocationMap::new();
    let hole = span - 16;
    [Extent::Data { offset: 0, len: 16 }, Extent::Hole { offset: 16, len: hole }]
        .into_iter()
        .for_each(|extent| map.push(extent));
    let map = making.stream(map.encode());
    let page = |root| Recipe { cutter: CutterKind::Page, root };
    let file = |root: Node, allocation| {
        let size = root.span().unwrap_or_default();
        (size, content(page(root), allocation))
    };
    let items = [
        item(b"d", ItemKind::Directory),
        sized(item(b"d/f", ItemKind::Directory), file(leaf, Side::Stream(map))),
        item(b"d/g", ItemKind::HardLink(b"d/f".to_vec())),
        sized(item(b"disk.qcow2", ItemKind::Directory), file(inner, Side::Inline(Vec::new()))),
        item(b"l", ItemKind::Symlink(b"../outside".to_vec())),
        item(b"n", ItemKind::CharacterDevice(Device { major: 1, minor: 3 })),
        item(b"p", ItemKind::Fifo),
    ];
    making.archive("a", &items);
    making.archive("b/c", &items[..4]);
    making.finish()
}

/// An item with nothing remarkable.
pub fn item(path: &[u8], kind: ItemKind) -> Item {
    Item {
        path: path.to_vec(),
        kind,
        mode: 0o755,
        uid: 0,
        gid: 0,
        user: String::new(),
        group: String::new(),
        size: 0,
        mtime: Time { secs: 1_700_000_000, nanos: 0 },
        identity: Identity::default(),
        flags: 0,
        xattrs: Vec::new(),
        changed: false,
        linked: path == b"d/f",
        followed: false,
    }
}

/// Content without layout.
pub fn content(recipe: Recipe, allocation: Side) -> Content {
    Content { recipe, layout: Side::Inline(Vec::new()), allocation, unreadable: Vec::new() }
}

/// The item as a file.
pub fn sized(item: Item, (size, content): (u64, Content)) -> Item {
    Item { size, kind: ItemKind::File(content), ..item }
}

//! Which files and directories there are: archives as a tree of nodes with numbers.
//!
//! In: archives. Out: nodes by number, children by name. Promises: the list of an archive is read when somebody first looks
//! into it, once; a number stands for the same file as long as it is mounted, and for all its names; a file has the number
//! of its first name, also among its versions.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};

use crossbeam_channel::Sender;
use fuser::{FileAttr, FileType, INodeNo};
use garret_core::{Cause, NamedArchive, Problem, Repository, message, unreadable};
use garret_format::archive::{Item, ItemKind, Time, Xattr};
use garret_image::{Detected, Source, detect};

use super::node::{
    BLOCK_LEN, Children, Directory, File, From, Node, Owners, RAW_SUFFIX, What, attr, data_len,
    directory_attr,
};

/// Paths of all archives that were looked into, at most: some GB of memory.
pub const NODES_MAX: usize = 1 << 22;

/// The directory of versions, beside those of archives.
const VERSIONS: &[u8] = b"by-path";

/// Says who else may do what with a file.
const ACL: &[u8] = b"system.posix_acl_access";

/// The shortest file that is looked at for whether it is an image, in bytes: one in clusters of 64 KiB has some of them.
const IMAGE_LEN_MIN: u64 = 64 << 10;

/// What is to be seen in a mounted directory.
#[derive(Debug)]
pub struct Shown {
    /// Where from.
    pub repository: Repository,
    /// Which.
    pub archives: Vec<NamedArchive>,
    /// Whether each has a directory of its own; if not there is one archive, whose files are at the top.
    pub in_full: bool,
    /// Who owns what.
    pub owners: Owners,
}

/// All that can be seen.
pub(super) struct Tree {
    shown: Shown,
    /// Whether other users see it by the permissions that were stored.
    is_strict: bool,
    /// By number, from 1 on.
    nodes: RwLock<Vec<Arc<Node>>>,
    /// Held while a list is read.
    loading: Mutex<()>,
    heard: Sender<Problem>,
}

/// A tree that is being made of paths: what is at one, and what is below it by name.
#[derive(Default)]
struct Made {
    item: Option<Item>,
    /// The number of a node that is there already.
    node: Option<u64>,
    below: BTreeMap<Box<[u8]>, Made>,
}

/// How deep paths may be: each part is a call on the stack of a thread.
const DEPTH_MAX: usize = 1000;

impl Made {
    /// What is at a path, if something is.
    fn find(&mut self, path: &[u8]) -> Option<&mut Made> {
        let parts = path.split(|byte| *byte == b'/').filter(|part| !part.is_empty());
        parts.into_iter().try_fold(self, |place, part| place.below.get_mut(part))
    }

    /// The place of a path, which is made with all above it; none if what is above is no directory.
    fn at(&mut self, path: &[u8]) -> Option<&mut Made> {
        if path.iter().filter(|byte| **byte == b'/').count() >= DEPTH_MAX {
            return None;
        }
        let mut place = self;
        for part in path.split(|byte| *byte == b'/').filter(|part| !part.is_empty()) {
            let is_directory =
                place.item.as_ref().is_none_or(|item| item.kind == ItemKind::Directory);
            if !is_directory || place.node.is_some() {
                return None;
            }
            place = place.below.entry(part.into()).or_default();
        }
        Some(place)
    }
}

impl Tree {
    pub(super) fn new(shown: Shown, is_strict: bool, heard: Sender<Problem>) -> Self {
        let tree =
            Tree { shown, is_strict, nodes: RwLock::default(), loading: Mutex::default(), heard };
        let root = match tree.shown.in_full {
            false => Directory::new(From::Archive(0)),
            true => Directory::new(From::Parent),
        };
        let time = tree.shown.archives.iter().map(|found| found.archive.end).max();
        let time = time.unwrap_or(Time { secs: 0, nanos: 0 });
        let attr = if tree.shown.in_full { directory_attr(time) } else { tree.between(time) };
        // The first node is the root; its children have numbers behind it.
        tree.add(attr, Vec::new(), What::Directory(root));
        if tree.shown.in_full {
            tree.add_archives();
        }
        tree
    }

    /// The directories of archives, and that of versions, below the root.
    fn add_archives(&self) {
        let mut top = Made::default();
        for (at, found) in self.shown.archives.iter().enumerate() {
            let directory = Directory::new(From::Archive(at));
            let attr = self.between(found.archive.end);
            let node = self.add(attr, Vec::new(), What::Directory(directory));
            match top.at(found.name.as_bytes()) {
                Some(place) if place.node.is_none() && place.below.is_empty() => place.node = node,
                _ => self
                    .tell(&found.name, "its name is that of a directory of others: mount it alone"),
            }
        }
        let (time, versions) = (self.root_time(), Directory::new(From::Versions));
        if !self.is_strict
            && let Some(place) = top.at(VERSIONS)
            && place.node.is_none()
            && place.below.is_empty()
        {
            place.node = self.add(directory_attr(time), Vec::new(), What::Directory(versions));
        }
        let children = self.add_below(top, time);
        if let Some(Node { what: What::Directory(root), .. }) = self.node(1).as_deref() {
            let _first = root.children.set(children);
        }
    }

    fn root_time(&self) -> Time {
        let times = self.shown.archives.iter().map(|found| found.archive.end);
        times.max().unwrap_or(Time { secs: 0, nanos: 0 })
    }

    /// Tells of something that went wrong with `subject`.
    pub(super) fn tell(&self, subject: &str, why: &str) {
        let problem =
            Problem::new(Cause::Damaged, Some(subject.to_owned()), format!("{subject}: {why}"));
        // Who listens is told once of each; of more than he hears the readers know.
        let _unheard = self.heard.try_send(problem);
    }

    pub(super) fn node(&self, number: u64) -> Option<Arc<Node>> {
        let nodes = self.nodes.read().unwrap_or_else(PoisonError::into_inner);
        nodes.get(usize::try_from(number.checked_sub(1)?).ok()?).cloned()
    }

    /// Adds a node; its number, if there is room.
    fn add(&self, mut attr: FileAttr, xattrs: Vec<Xattr>, what: What) -> Option<u64> {
        let mut nodes = self.nodes.write().unwrap_or_else(PoisonError::into_inner);
        if nodes.len() >= NODES_MAX {
            drop(nodes);
            self.tell("mount", "there are more paths than there is room for: some are not shown; mount one archive");
            return None;
        }
        let number = nodes.len() as u64 + 1;
        attr.ino = INodeNo(number);
        nodes.push(Arc::new(Node { attr, xattrs, what }));
        Some(number)
    }

    /// Adds what is below a place; directories that no item speaks of have this time.
    fn add_below(&self, made: Made, time: Time) -> Children {
        let mut children = Children::new();
        for (name, place) in made.below {
            let number = match (place.node, place.item) {
                (Some(node), _) => Some(node),
                (None, Some(item)) if item.kind != ItemKind::Directory => self.add_item(item),
                (None, item) => {
                    let below = Made { below: place.below, ..Made::default() };
                    let directory = What::Directory(Directory::with(self.add_below(below, time)));
                    match item {
                        Some(item) => self.add(
                            attr(&item, FileType::Directory, &self.shown.owners),
                            item.xattrs,
                            directory,
                        ),
                        None => self.add(self.between(time), Vec::new(), directory),
                    }
                }
            };
            children.extend(number.map(|number| (name, number)));
        }
        children
    }

    /// A directory that no item speaks of, above some that do: it may have been closed to others.
    fn between(&self, time: Time) -> FileAttr {
        let perm = if self.is_strict { 0o700 } else { 0o755 };
        FileAttr { perm, ..directory_attr(time) }
    }

    /// Adds what is no directory.
    fn add_item(&self, mut item: Item) -> Option<u64> {
        let kind = match item.kind {
            ItemKind::File(_) | ItemKind::HardLink(_) => FileType::RegularFile,
            ItemKind::Directory => FileType::Directory,
            ItemKind::Symlink(_) => FileType::Symlink,
            ItemKind::Fifo => FileType::NamedPipe,
            ItemKind::BlockDevice(_) => FileType::BlockDevice,
            ItemKind::CharacterDevice(_) => FileType::CharDevice,
        };
        let (attr, xattrs) =
            (attr(&item, kind, &self.shown.owners), std::mem::take(&mut item.xattrs));
        let what = match &item.kind {
            ItemKind::Symlink(target) => What::Symlink(target.clone()),
            ItemKind::File(_) => What::File(File::new(Arc::new(item), false)),
            _ => What::Other,
        };
        self.add(attr, xattrs, what)
    }

    /// What is in a directory, but for disks.
    pub(super) fn children<'n>(&self, directory: &'n Directory) -> &'n Children {
        if let Some(children) = directory.children.get() {
            return children;
        }
        let _one = self.loading.lock().unwrap_or_else(PoisonError::into_inner);
        directory.children.get_or_init(|| match directory.from {
            From::Parent => Children::new(),
            From::Archive(at) => self.load(at),
            From::Versions => self.versions(),
        })
    }

    /// Reads the list of an archive. What is damaged is told of; what came before it is there.
    fn load(&self, at: usize) -> Children {
        let Some(found) = self.shown.archives.get(at) else { return Children::new() };
        let mut top = Made::default();
        let mut links: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        for item in self.shown.repository.items(found) {
            match item {
                Ok(Item { path, kind: ItemKind::HardLink(first), .. }) => links.push((path, first)),
                Ok(mut item) => {
                    if self.is_strict && item.xattrs.iter().any(|(name, _)| name == ACL) {
                        // The bits of the group are those of the mask then, and the kernel does not ask the list.
                        item.mode &= !0o077;
                    }
                    match top.at(&item.path) {
                        Some(place) if place.item.is_none() => place.item = Some(item),
                        Some(_) => {}
                        None => {
                            let path = String::from_utf8_lossy(&item.path);
                            self.tell(&path, "its path is none that can be shown");
                        }
                    }
                }
                Err(error) => self.tell(&found.name, &message(&error)),
            }
        }
        self.link(&mut top, links);
        self.add_below(top, found.archive.end)
    }

    /// Gives files that have several names one node.
    fn link(&self, top: &mut Made, links: Vec<(Vec<u8>, Vec<u8>)>) {
        let mut names: BTreeMap<Vec<u8>, Vec<Vec<u8>>> = BTreeMap::new();
        links.into_iter().for_each(|(path, first)| names.entry(first).or_default().push(path));
        for (first, others) in names {
            let Some(item) = top.find(&first).and_then(|place| place.item.take()) else { continue };
            let count = u32::try_from(others.len()).unwrap_or(u32::MAX).saturating_add(1);
            let node = self.add_linked(item, count);
            for path in others.iter().chain([&first]) {
                if let Some(place) = top.at(path) {
                    place.node = node;
                }
            }
        }
    }

    fn add_linked(&self, item: Item, count: u32) -> Option<u64> {
        let number = self.add_item(item)?;
        let mut nodes = self.nodes.write().unwrap_or_else(PoisonError::into_inner);
        // It was added a moment ago, and nobody else has it.
        let node = nodes.get_mut(usize::try_from(number - 1).ok()?).and_then(Arc::get_mut)?;
        node.attr.nlink = count;
        Some(number)
    }

    /// Each path as a directory of what archives have there.
    fn versions(&self) -> Children {
        let mut top = Made::default();
        for (at, found) in self.shown.archives.iter().enumerate() {
            // A name with slashes would be directories.
            let name = found.name.replace('/', ":");
            let root = self.archive_root(at);
            let children = root.map_or_else(
                || self.load(at),
                |root| match &root.what {
                    What::Directory(root) => root.children.get_or_init(|| self.load(at)).clone(),
                    _ => Children::new(),
                },
            );
            self.add_versions(&mut top, &children, name.as_bytes());
        }
        self.add_below(top, self.root_time())
    }

    /// The node that is the directory of an archive.
    fn archive_root(&self, at: usize) -> Option<Arc<Node>> {
        let nodes = self.nodes.read().unwrap_or_else(PoisonError::into_inner);
        let is_root = |node: &&Arc<Node>| match &node.what {
            What::Directory(Directory { from: From::Archive(other), .. }) => *other == at,
            _ => false,
        };
        nodes.iter().take(self.shown.archives.len() + 1).find(is_root).cloned()
    }

    fn add_versions(&self, top: &mut Made, children: &Children, archive: &[u8]) {
        for (name, number) in children {
            let Some(node) = self.node(*number) else { continue };
            let place = top.below.entry(name.clone()).or_default();
            match &node.what {
                What::Directory(directory) => {
                    self.add_versions(place, self.given(directory), archive);
                }
                _ => {
                    let version = place.below.entry(archive.into()).or_default();
                    if version.node.replace(*number).is_some_and(|other| other != *number) {
                        let name = String::from_utf8_lossy(archive);
                        self.tell(
                            &name,
                            "two archives are called so in by-path, which shows the later one",
                        );
                    }
                }
            }
        }
    }

    /// The children of a directory that came with its archive.
    fn given<'n>(&self, directory: &'n Directory) -> &'n Children {
        directory.children.get_or_init(Children::new)
    }

    /// The disks beside the images of a directory. Reads the beginning of each long file.
    pub(super) fn disks<'n>(&self, directory: &'n Directory) -> &'n Children {
        let children = self.children(directory);
        directory.disks.get_or_init(|| {
            let disk = |(name, number): &(Box<[u8]>, u64)| {
                let name: Box<[u8]> = [name, RAW_SUFFIX].concat().into();
                let is_free = children.binary_search_by(|(other, _)| other.cmp(&name)).is_err();
                let disk = if is_free { self.disk(*number) } else { None };
                disk.map(|disk| (name, disk))
            };
            children.iter().filter_map(disk).collect()
        })
    }

    /// What has that name in a directory.
    pub(super) fn child(&self, directory: &Directory, name: &[u8]) -> Option<u64> {
        let children = self.children(directory);
        let find = |name: &[u8]| {
            let at = children.binary_search_by(|(other, _)| (**other).cmp(name)).ok()?;
            children.get(at).map(|(_, number)| *number)
        };
        find(name).or_else(|| self.disk(find(name.strip_suffix(RAW_SUFFIX)?)?))
    }

    /// The node of the disk in an image; none for anything else.
    fn disk(&self, number: u64) -> Option<u64> {
        let node = self.node(number)?;
        let What::File(file) = &node.what else { return None };
        let is_short = file.is_disk || file.item.size < IMAGE_LEN_MIN;
        *file.disk.get_or_init(|| {
            if is_short || !self.is_image(&file.item) {
                return None;
            }
            // One whose disk cannot be told from the file alone has none.
            let disk = self.shown.repository.open_disk(&file.item).ok()??;
            let size = disk.len();
            let perm = node.attr.perm & 0o666;
            let attr = FileAttr { size, perm, nlink: 1, ..node.attr };
            self.add(attr, Vec::new(), What::File(File::new(file.item.clone(), true)))
        })
    }

    fn is_image(&self, item: &Item) -> bool {
        let file = self.shown.repository.open_file(item).ok().flatten();
        file.is_some_and(|file| detect(&file, Path::new("")) == Detected::Qcow2)
    }

    /// What is in a file; the same for all who read it meanwhile.
    pub(super) fn source(&self, file: &File) -> io::Result<Arc<dyn Source>> {
        let mut open = file.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(source) = open.as_ref().and_then(Weak::upgrade) {
            return Ok(source);
        }
        let repository = &self.shown.repository;
        if let Some(problem) = unreadable(&file.item) {
            let _unheard = self.heard.try_send(problem);
        }
        let opened = match file.is_disk {
            true => repository.open_disk(&file.item),
            false => {
                let stored = repository.open_file(&file.item);
                stored.map(|file| file.map(|file| Arc::new(file) as Arc<dyn Source>))
            }
        };
        match opened {
            Ok(Some(source)) => {
                *open = Some(Arc::downgrade(&source));
                Ok(source)
            }
            Ok(None) => Err(io::ErrorKind::InvalidInput.into()),
            Err(error) => {
                self.tell(&file.name(), &message(&error));
                Err(io::Error::other(message(&error)))
            }
        }
    }

    /// A node as `stat` shows it.
    pub(super) fn stat(&self, node: &Node) -> FileAttr {
        let What::File(file) = &node.what else { return node.attr };
        let blocks = file.blocks.get_or_init(|| {
            let data = self.source(file).map(|source| data_len(&*source));
            // What cannot be read has the space that it is said to take.
            data.unwrap_or(node.attr.size).div_ceil(BLOCK_LEN)
        });
        FileAttr { blocks: *blocks, ..node.attr }
    }
}

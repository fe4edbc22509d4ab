//! A restore below a directory: everything that an archive holds, each in its place and in an order in which nothing undoes
//! what was done before.
//!
//! In: the items. Out: files, which get their names when they are complete; then hard links; then flags of what has several
//! names, because what is immutable takes no other; then attributes of directories, innermost first, because writing into
//! one changes its times.

use std::collections::HashSet;
use std::sync::Arc;

use garret_format::archive::{Content, Device, Item, ItemKind};
use garret_image::{FileId, Node, Root, Unset};

use super::links::{Links, Made, Wanted};
use super::plan::{self, ReadPlan};
use super::target::{Place, Target};
use super::{OpenFile, RestoreReport, Restorer};
use crate::error::{Error, Result};
use crate::objects::items::ItemReader;
use crate::read::chunks::Chunks;
use crate::select::Selection;

/// What is left for later while items are restored.
#[derive(Default)]
pub(super) struct Later {
    pub(super) plan: ReadPlan,
    pub(super) files: Vec<OpenFile>,
    links: Vec<(Made, Vec<u8>)>,
    /// Paths, the files that were made there, and their flags.
    flags: Vec<(Vec<u8>, FileId, u32)>,
    directories: Vec<(Item, FileId)>,
    /// Paths of files that could not be completed: what is there is none of ours.
    failed: HashSet<Vec<u8>>,
}

impl Restorer<'_, '_, '_> {
    pub(super) fn into_directory(
        mut self,
        items: ItemReader<Chunks>,
        selection: &mut Selection,
        root: &Root,
    ) -> Result<RestoreReport> {
        let (mut later, mut links) = (Later::default(), Links::default());
        for item in items {
            let item = item?;
            let path = stripped(&item.path, self.options.strip);
            let (true, Some(path)) = (selection.selects(&item.path), path) else {
                links.pass_over(item);
                continue;
            };
            self.progress.note(&lossy(&item.path));
            match links.wanted(item, path.clone()) {
                Wanted::Whole(item, stored) => {
                    if let Some(made) = self.make(root, *item, &mut later)? {
                        links.made(stored, made);
                    }
                }
                Wanted::Link(first) => later.links.push((first, path)),
                Wanted::Missing(first) => self.problem(&lossy(&path), &missing(&first)),
            }
            if later.plan.is_full() || later.files.len() >= plan::FILES_MAX {
                self.complete(&mut later)?;
            }
        }
        self.complete(&mut later)?;
        self.finish_tree(root, &later);
        Ok(self.report)
    }

    /// Makes one item, or begins to: what it became, if it may have other names.
    fn make(&mut self, root: &Root, mut item: Item, later: &mut Later) -> Result<Option<Made>> {
        let name = lossy(&item.path);
        let flags = if item.linked { std::mem::take(&mut item.flags) } else { 0 };
        let made = match &item.kind {
            ItemKind::File(content) => self.make_file(root, &item, content, &name),
            ItemKind::Directory => self.make_directory(root, &item),
            _ => self.make_special(root, &item, &name),
        };
        let Begun { suffix, id, target } = match made {
            Ok(begun) => begun,
            Err(error) => {
                self.problem(&name, &error);
                return Ok(None);
            }
        };
        let path = [&item.path, suffix].concat();
        let made = item.linked.then(|| Made { path: path.clone(), suffix, id });
        match (&item.kind, id) {
            (ItemKind::Directory, Some(id)) => {
                later.directories.push((item, id));
                return Ok(None);
            }
            (_, Some(id)) if flags != 0 => later.flags.push((path.clone(), id, flags)),
            _ => {}
        }
        if let Some(target) = target {
            self.plan_file(target, item, path, later)?;
        }
        Ok(made)
    }

    /// Begins a file, as a disk under a name of its own.
    fn make_file(
        &mut self,
        root: &Root,
        item: &Item,
        content: &Content,
        name: &str,
    ) -> Result<Begun> {
        let shape = self.shape(item, content, name)?;
        let allocation = self.allocation(&shape, content, name)?;
        let (suffix, path) = (shape.suffix, [&item.path, shape.suffix].concat());
        let at = garret_image::Place { path: &path, followed: item.followed && suffix.is_empty() };
        let place = Place::File(root.file(at, shape.len, allocation)?);
        self.claim(&path)?;
        let id = if item.linked { place.id()? } else { None };
        Ok(Begun { suffix, id, target: self.begin(shape, place, item, name)? })
    }

    fn make_directory(&mut self, root: &Root, item: &Item) -> Result<Begun> {
        let at = garret_image::Place { path: &item.path, followed: item.followed };
        Ok(Begun { suffix: b"", id: Some(root.directory(at)?), target: None })
    }

    /// Makes what has no content.
    fn make_special(&mut self, root: &Root, item: &Item, name: &str) -> Result<Begun> {
        self.claim(&item.path)?;
        match self.make_node(root, item) {
            Ok((id, unset)) => {
                self.unset(name, unset);
                Ok(Begun { suffix: b"", id: Some(id), target: None })
            }
            Err(error) => {
                self.claimed.remove(&item.path);
                Err(error)
            }
        }
    }

    fn make_node(&self, root: &Root, item: &Item) -> Result<(FileId, Unset)> {
        let attributes = self.attributes(item);
        let node = match &item.kind {
            ItemKind::Symlink(target) => {
                return Ok(root.symlink(target, &item.path, &attributes)?);
            }
            ItemKind::BlockDevice(Device { major, minor }) => {
                Node::Block { major: *major, minor: *minor }
            }
            ItemKind::CharacterDevice(Device { major, minor }) => {
                Node::Character { major: *major, minor: *minor }
            }
            _ => Node::Fifo,
        };
        Ok(root.node(node, &item.path, &attributes)?)
    }

    /// Reads and writes what is planned, and completes the files.
    pub(super) fn complete(&mut self, later: &mut Later) -> Result<()> {
        self.execute(&mut later.plan)?;
        for path in self.finish_files(&mut later.files) {
            later.failed.insert(path);
        }
        Ok(())
    }

    fn finish_tree(&mut self, root: &Root, later: &Later) {
        for (first, path) in &later.links {
            let path = [path.as_slice(), first.suffix].concat();
            let linked = match first.id.filter(|_| !later.failed.contains(&first.path)) {
                None => Err(missing(&first.path)),
                Some(id) => {
                    self.claim(&path).and_then(|()| Ok(root.link(&first.path, id, &path)?))
                }
            };
            if let Err(error) = linked {
                self.problem(&lossy(&path), &error);
            }
        }
        let made = later.flags.iter().filter(|(path, ..)| !later.failed.contains(path));
        made.for_each(|(path, id, flags)| root.set_flags(path, *id, *flags));
        // A staging directory that goes changes the times of the directory that it is in.
        root.close();
        for (item, id) in later.directories.iter().rev() {
            let name = lossy(&item.path);
            match root.finish_directory(&item.path, *id, &self.attributes(item)) {
                Ok(unset) => self.unset(&name, unset),
                Err(error) => self.problem(&name, &error.into()),
            }
        }
    }
}

/// An item that is made, or whose stream is still to be written.
struct Begun {
    /// What stands behind its name.
    suffix: &'static [u8],
    /// The very file, where that will be asked for.
    id: Option<FileId>,
    target: Option<Arc<Target>>,
}

/// A path without its first parts; `None` if nothing is left.
pub(super) fn stripped(path: &[u8], count: usize) -> Option<Vec<u8>> {
    let mut rest = path;
    for _ in 0..count {
        let end = rest.iter().position(|byte| *byte == b'/')?;
        rest = rest.get(end + 1..)?;
    }
    Some(rest.to_vec())
}

pub(super) fn lossy(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}

pub(super) fn missing(first: &[u8]) -> Error {
    Error::NotRestored(format!("it is another name of {}, which was not restored", lossy(first)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leading_parts_are_stripped_until_nothing_is_left() {
        let strip = |count| stripped(b"a/bc/d", count);
        assert_eq!(strip(0).as_deref(), Some(&b"a/bc/d"[..]));
        assert_eq!(strip(1).as_deref(), Some(&b"bc/d"[..]));
        assert_eq!(strip(2).as_deref(), Some(&b"d"[..]));
        assert_eq!(strip(3), None);
        assert_eq!(strip(usize::MAX), None);
    }
}

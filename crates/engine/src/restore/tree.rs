//! A restore below a directory: everything that an archive holds, each in its place and in an order in which nothing undoes
//! what was done before.
//!
//! In: the items. Out: files, which get their names when they are complete; then hard links; then flags of what has several
//! names, because what is immutable takes no other; then attributes of directories, innermost first, because writing into
//! one changes its times.

use std::collections::HashSet;

use format::archive::{Device, Item, ItemKind};
use image::{Node, Root};

use super::links::{Links, Place, Wanted};
use super::open::Opened;
use super::plan::{self, ReadPlan};
use super::{OpenFile, RestoreReport, Restorer};
use crate::archive::ItemReader;
use crate::error::{Error, Result};
use crate::select::Selection;

/// What is left for later while items are restored.
#[derive(Default)]
pub(super) struct Later {
    pub(super) plan: ReadPlan,
    pub(super) files: Vec<OpenFile>,
    links: Vec<(Place, Vec<u8>)>,
    /// Paths and their flags.
    flags: Vec<(Vec<u8>, u32)>,
    directories: Vec<Item>,
    /// Paths of files that could not be completed: what is there is none of ours.
    failed: HashSet<Vec<u8>>,
}

impl<'scope> Restorer<'_, '_, 'scope> {
    pub(super) fn into_directory(
        mut self,
        items: ItemReader<'_>,
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
                    if let Some(place) = self.make(root, *item, &mut later)? {
                        links.made(stored, place);
                    }
                }
                Wanted::Link(place) => later.links.push((place, path)),
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

    /// Makes one item, or begins to: where it has several names, gives the place to link them to.
    fn make(&mut self, root: &Root, mut item: Item, later: &mut Later) -> Result<Option<Place>> {
        let name = lossy(&item.path);
        let flags = if item.linked { std::mem::take(&mut item.flags) } else { 0 };
        let mut made = self.make_now(root, &item, &name);
        if matches!(made, Err(Error::Sink(_))) && !later.files.is_empty() {
            // Its name may be the temporary one of a file that is being written.
            self.complete(later)?;
            made = self.make_now(root, &item, &name);
        }
        let opened = match made {
            Ok(opened) => opened,
            Err(error) => {
                self.problem(&name, &error);
                return Ok(None);
            }
        };
        if item.kind == ItemKind::Directory {
            later.directories.push(item);
            return Ok(None);
        }
        let (suffix, target) = opened.unwrap_or((b"", None));
        let place = Place { path: [&item.path, suffix].concat(), suffix };
        if flags != 0 {
            later.flags.push((place.path.clone(), flags));
        }
        let linked = item.linked.then(|| place.clone());
        if let Some(target) = target {
            self.plan_file(target, item, place.path, later)?;
        }
        Ok(linked)
    }

    /// What is to be written to, if the item has content.
    fn make_now(&mut self, root: &Root, item: &Item, name: &str) -> Result<Option<Opened>> {
        match &item.kind {
            ItemKind::File(content) => self.open_file(root, item, content, name).map(Some),
            ItemKind::Directory => Ok(root.directory(&item.path).map(|()| None)?),
            _ => self.make_special(root, item).map(|()| None),
        }
    }

    /// Makes what has no content.
    fn make_special(&mut self, root: &Root, item: &Item) -> Result<()> {
        self.claim(&item.path)?;
        let made = self.make_node(root, item);
        if made.is_err() {
            self.claimed.remove(&item.path);
        }
        made
    }

    fn make_node(&self, root: &Root, item: &Item) -> Result<()> {
        let attributes = self.attributes(item);
        let node = match &item.kind {
            ItemKind::Symlink(target) => {
                return Ok(root.symlink(target, &item.path, &attributes)?);
            }
            ItemKind::Fifo => Node::Fifo,
            ItemKind::BlockDevice(Device { major, minor }) => {
                Node::Block { major: *major, minor: *minor }
            }
            ItemKind::CharacterDevice(Device { major, minor }) => {
                Node::Character { major: *major, minor: *minor }
            }
            ItemKind::File(_) | ItemKind::Directory | ItemKind::HardLink(_) => return Ok(()),
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
        for (Place { path: first, suffix }, path) in &later.links {
            let path = [path.as_slice(), suffix].concat();
            let linked = match later.failed.contains(first) {
                true => Err(missing(first)),
                false => self.claim(&path).and_then(|()| Ok(root.link(first, &path)?)),
            };
            if let Err(error) = linked {
                self.problem(&lossy(&path), &error);
            }
        }
        for (path, flags) in later.flags.iter().filter(|(path, _)| !later.failed.contains(path)) {
            root.set_flags(path, *flags);
        }
        for item in later.directories.iter().rev() {
            let finished = root.finish_directory(&item.path, &self.attributes(item));
            if let Err(error) = finished {
                self.problem(&lossy(&item.path), &error.into());
            }
        }
    }
}

/// A path without its first parts; `None` if nothing is left.
fn stripped(path: &[u8], count: usize) -> Option<Vec<u8>> {
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

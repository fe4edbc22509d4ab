//! A restore below a directory: everything that an archive holds, each in its place and in an order in which nothing undoes
//! what was done before.
//!
//! In: the items. Out: files, which get their names when they are complete; then hard links; then flags of what has several
//! names, because what is immutable takes no other; then attributes of directories, innermost first, because writing into
//! one changes its times.

use std::sync::Arc;

use garret_format::archive::{Content, Device, Item, ItemKind};
use garret_image::{FileId, Node, Root, Unset};

use super::links::Made;
use super::options::RestoreReport;
use super::session::{Met, Session, lossy, missing};
use super::target::{Output, Target};
use crate::error::Result;
use crate::objects::items::ItemReader;
use crate::read::chunks::Chunks;
use crate::select::Selection;

/// What is left for later while items are restored.
#[derive(Default)]
struct Later {
    links: Vec<(Made, Vec<u8>)>,
    /// Paths, the files that were made there, and their flags.
    flags: Vec<(Vec<u8>, FileId, u32)>,
    directories: Vec<(Item, FileId)>,
}

impl Session<'_, '_, '_> {
    pub(super) fn into_directory(
        mut self,
        items: ItemReader<Chunks>,
        selection: &mut Selection,
        root: &Root,
    ) -> Result<RestoreReport> {
        let mut later = Later::default();
        let strip = self.options.strip;
        let done = self.each(items, selection, strip, &mut |session, met| match met {
            Met::Item(item) => session.make(root, *item, &mut later),
            Met::Name(first, path) => {
                later.links.push((first, path));
                Ok(None)
            }
        });
        // Also of what came before an error: a directory is closed to all others until then.
        self.finish_tree(root, &later);
        done?;
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
            self.plan_file(target, item, path)?;
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
        let place = Output::File(root.file(at, shape.len, allocation)?);
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

    fn finish_tree(&mut self, root: &Root, later: &Later) {
        for (first, path) in &later.links {
            let path = [path.as_slice(), first.suffix].concat();
            let linked = match first.id.filter(|_| !self.failed.contains(&first.path)) {
                None => Err(missing(&first.path)),
                Some(id) => {
                    self.claim(&path).and_then(|()| Ok(root.link(&first.path, id, &path)?))
                }
            };
            if let Err(error) = linked {
                self.problem(&lossy(&path), &error);
            }
        }
        let made = later.flags.iter().filter(|(path, ..)| !self.failed.contains(path));
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

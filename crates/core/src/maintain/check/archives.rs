//! Second part of check: what each archive needs, and whether it is there.
//!
//! In: the records of the index that are right. Out: archives and files that lack something. A recipe node that archives
//! share is looked through once for all of them, if everything below it is there; so the cost grows with what is stored, not
//! with the number of archives.

use std::collections::{BTreeMap, HashMap};

use garret_format::ChunkId;
use garret_format::archive::ItemKind;
use garret_format::recipe::{Entry, Node, Recipe};

use super::report::{Findings, Incomplete};
use crate::error::{Cause, Error, Result, message};
use crate::objects::items::ItemReader;
use crate::objects::recipe::read_child;
use crate::pipeline::Workers;
use crate::progress::Phase;
use crate::read::chunks::Chunks;
use crate::read::mark::Marks;
use crate::repository::Repository;

/// What was found out about an archive.
#[derive(Default)]
struct ArchiveFindings {
    /// How many chunks files need and cannot have, by path; the list of files itself has the empty path.
    lacking: BTreeMap<Vec<u8>, u64>,
    /// Why not all of it could be looked at.
    error: Option<Error>,
}

/// Checks every archive, and reports by name.
pub(super) fn check<'scope>(
    looker: Looker<'scope>,
    workers: Workers<'_, 'scope>,
    findings: &mut Findings<'_>,
) -> Result<()> {
    let names = looker.repository.archive_names()?;
    let task = findings.progress.begin(Phase::Mark, Some(names.len() as u64));
    let found = workers.map(names.into_iter().map(Ok), move |name: String| {
        let found = looker.archive(&name);
        Ok((name, found))
    });
    for found in found {
        let (name, found) = found?;
        findings.archive(name, found);
        task.advance(1);
    }
    Ok(())
}

impl Findings<'_> {
    fn archive(&mut self, name: String, found: ArchiveFindings) {
        self.report.archive_count += 1;
        let ArchiveFindings { lacking, error } = found;
        let is_listed = error.is_none() && !lacking.contains_key(&b""[..]);
        if !is_listed || !lacking.is_empty() {
            let file_count = is_listed.then_some(lacking.len() as u64);
            self.report.incomplete.push(Incomplete { name: name.clone(), file_count });
        }
        for (path, count) in lacking {
            let path = String::from_utf8_lossy(&path).into_owned();
            let what = if path.is_empty() { "its list of files".to_owned() } else { path };
            let chunks = match count {
                1 => "1 chunk is".to_owned(),
                count => format!("{count} chunks are"),
            };
            let text = format!("backups/{name}: {what}: {chunks} missing or damaged");
            self.problem(Cause::Damaged, &format!("backups/{name}"), text);
        }
        if let Some(error) = error {
            let subject = format!("backups/{name}");
            self.problem(error.cause(), &subject, format!("{subject}: {}", message(&error)));
        }
    }
}

/// Looks through archives, on any number of threads.
#[derive(Clone, Copy)]
pub(super) struct Looker<'c> {
    pub(super) repository: &'c Repository,
    pub(super) chunks: &'c Chunks,
    /// The records that are right.
    pub(super) sound: &'c Marks,
    /// Nodes below which everything is there.
    pub(super) whole: &'c Marks,
}

impl Looker<'_> {
    fn archive(&self, name: &str) -> ArchiveFindings {
        let mut found = ArchiveFindings::default();
        found.error = self.look(name, &mut found.lacking).err();
        found
    }

    fn look(&self, name: &str, lacking: &mut BTreeMap<Vec<u8>, u64>) -> Result<()> {
        let archive = self.repository.archive(name)?;
        let object = archive.object();
        let mut broken = HashMap::new();
        let mut recipe = |recipe: &Recipe, path: &[u8], needed_by: &str| {
            let mut lacks = 0;
            let looked = self.node(&recipe.root, needed_by, &mut broken, &mut lacks);
            // Also what was met before an error.
            if lacks > 0 {
                let count = lacking.entry(path.to_vec()).or_default();
                *count = count.saturating_add(lacks);
            }
            looked
        };
        recipe(&archive.archive.items, &[], &object)?;
        for item in ItemReader::new(self.chunks, &archive) {
            let item = item?;
            let ItemKind::File(content) = &item.kind else { continue };
            let name = format!("{object}: {}", String::from_utf8_lossy(&item.path));
            content.recipes().try_for_each(|one| recipe(one, &item.path, &name))?;
        }
        Ok(())
    }

    /// Adds the chunks of a node, and of what is below it, that are not there. As deep as nodes have levels, which is at most
    /// `LEVEL_MAX`. What was looked through is not looked through again: a forged node may name another any number of times.
    fn node(
        &self,
        node: &Node,
        needed_by: &str,
        broken: &mut HashMap<(usize, u64), u64>,
        lacks: &mut u64,
    ) -> Result<()> {
        match node {
            Node::Leaf(entries) => {
                let is_lacking = |entry: &&Entry| match entry {
                    Entry::Chunk { id, .. } => !self.is_sound(id),
                    Entry::Zero { .. } => false,
                };
                let count = entries.iter().filter(is_lacking).count() as u64;
                *lacks = lacks.saturating_add(count);
            }
            Node::Inner { level, children } => {
                for child in children {
                    // What is known of a node is noted at the first of its copies.
                    let first = self.chunks.index().find(&child.id);
                    let record = first.map(|location| location.record);
                    let is_sound = self.is_sound(&child.id);
                    if is_sound && record.is_some_and(|record| self.whole.is_set(record)) {
                        continue;
                    }
                    if let Some(known) = record.and_then(|record| broken.get(&record)) {
                        *lacks = lacks.saturating_add(*known);
                        continue;
                    }
                    let before = *lacks;
                    *lacks = lacks.saturating_add(u64::from(!is_sound));
                    let below = read_child(self.chunks, *level, child, needed_by)?;
                    self.node(&below, needed_by, broken, lacks)?;
                    match (record, *lacks - before) {
                        (Some(record), 0) => drop(self.whole.set(record)),
                        (Some(record), count) => drop(broken.insert(record, count)),
                        (None, _) => {}
                    }
                }
            }
        }
        Ok(())
    }

    /// Whether a copy of the chunk is right.
    fn is_sound(&self, id: &ChunkId) -> bool {
        self.chunks.index().copies(id).any(|location| self.sound.is_set(location.record))
    }
}

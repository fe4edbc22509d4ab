//! Second part of check: what each archive needs, and whether it is there.
//!
//! In: the records of the index that are right. Out: archives and files that lack something. A recipe node that archives
//! share is looked through once for all of them, if everything below it is there; so the cost grows with what is stored, not
//! with the number of archives.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use garret_format::ChunkId;
use garret_format::archive::{Content, Item, ItemKind};
use garret_format::pack::PackKind;
use garret_format::recipe::{Child, Entry, Node, Recipe};

use super::report::{Findings, Incomplete};
use crate::error::{Cause, Error, Result, message};
use crate::objects::items::ItemReader;
use crate::objects::recipe::read_child;
use crate::pipeline::Workers;
use crate::progress::{Phase, Problem, ranges_in_words};
use crate::read::chunks::Chunks;
use crate::read::file::read_layout;
use crate::read::mark::Marks;
use crate::repository::Repository;
use crate::select::Selection;

/// Stretches that are kept of a file, and of a node: a forged node may name another any number of times.
const RANGES_MAX: usize = 1000;

/// What a stream needs and cannot have.
#[derive(Clone, Default)]
struct Lack {
    chunks: u64,
    /// Where, in bytes, in order; what is below a node that cannot be read as a whole.
    ranges: Vec<Range<u64>>,
    /// Further stretches.
    more: u64,
    /// Why, if more is wrong than that chunks are not there.
    error: Option<String>,
}

impl Lack {
    /// Bytes `at` to `at + len` cannot be had.
    fn range(&mut self, at: u64, len: u64) {
        let end = at.saturating_add(len);
        let has_room = self.ranges.len() < RANGES_MAX;
        match self.ranges.last_mut() {
            Some(last) if last.end == at => last.end = end,
            _ if has_room => self.ranges.push(at..end),
            _ => self.more = self.more.saturating_add(1),
        }
    }

    /// What is lacking below a node that begins at `at`.
    fn below(&mut self, at: u64, below: &Lack) {
        self.chunks = self.chunks.saturating_add(below.chunks);
        for range in &below.ranges {
            self.range(at.saturating_add(range.start), range.end - range.start);
        }
        self.more = self.more.saturating_add(below.more);
        if self.error.is_none() {
            self.error.clone_from(&below.error);
        }
    }

    fn is_empty(&self) -> bool {
        self.chunks == 0
    }
}

impl std::fmt::Display for Lack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.chunks {
            1 => f.write_str("1 chunk is missing or damaged")?,
            count => write!(f, "{count} chunks are missing or damaged")?,
        }
        if !self.ranges.is_empty() {
            write!(f, ": bytes {}", ranges_in_words(&self.ranges, self.more))?;
        }
        self.error.as_ref().map_or(Ok(()), |error| write!(f, " ({error})"))
    }
}

/// What was found out about an archive.
#[derive(Default)]
struct ArchiveFindings {
    /// What files lack, by path; the list of files itself has the empty path.
    lacking: BTreeMap<Vec<u8>, Lack>,
    /// Why not all of it could be looked at.
    error: Option<Error>,
}

/// Checks archives, and reports by name.
pub(super) fn check<'scope>(
    names: Vec<String>,
    looker: Looker<'scope>,
    workers: Workers<'_, 'scope>,
    findings: &mut Findings<'_>,
) -> Result<()> {
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
        for (path, lack) in lacking {
            let path = String::from_utf8_lossy(&path).into_owned();
            let what = if path.is_empty() { "its list of files".to_owned() } else { path };
            let text = format!("backups/{name}: {what}: {lack}");
            let subject = Some(format!("backups/{name}"));
            let of = Problem::new(Cause::Damaged, subject, text);
            self.tell(&Problem { lost: lack.ranges, ..of });
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
    /// Which items of each archive.
    pub(super) selection: &'c Selection,
    /// The records that are right.
    pub(super) sound: &'c Marks,
    /// Nodes below which everything is there.
    pub(super) whole: &'c Marks,
    /// Structure that one pack only has: it is added here.
    pub(super) lonely: &'c Marks,
}

impl Looker<'_> {
    fn archive(&self, name: &str) -> ArchiveFindings {
        let mut found = ArchiveFindings::default();
        found.error = self.look(name, &mut found.lacking).err();
        found
    }

    fn look(&self, name: &str, lacking: &mut BTreeMap<Vec<u8>, Lack>) -> Result<()> {
        let archive = self.repository.archive(name)?;
        let object = archive.object();
        let mut broken = HashMap::new();
        let mut lack = |recipe: &Recipe, needed_by: &str| {
            let mut lack = Lack::default();
            self.node(&recipe.root, needed_by, &mut broken, &mut lack);
            lack
        };
        let list = lack(&archive.archive.items, &object);
        if !list.is_empty() {
            // The stretches are of the list, which nobody sees.
            lacking.insert(Vec::new(), Lack { ranges: Vec::new(), more: 0, ..list });
        }
        let mut wanted = self.selection.clone();
        self.repository.settle(&[&archive], &mut wanted);
        for item in ItemReader::new(self.chunks, &archive) {
            let item = item?;
            let ItemKind::File(content) = &item.kind else { continue };
            if !wanted.selects(&item.path) {
                continue;
            }
            let name = format!("{object}: {}", String::from_utf8_lossy(&item.path));
            let mut file = self.in_file(lack(&content.recipe, &name), &item, content, &name);
            let sides = content.recipes().filter(|recipe| !std::ptr::eq(*recipe, &content.recipe));
            for side in sides {
                let side = lack(side, &name);
                // How the file is divided or where its holes are: no part of it can do without.
                file.chunks = file.chunks.saturating_add(side.chunks);
                file.error = file.error.or(side.error);
            }
            if !file.is_empty() {
                lacking.insert(item.path, file);
            }
        }
        Ok(())
    }

    /// What a stream lacks, in places of the file that it is.
    fn in_file(&self, lack: Lack, item: &Item, content: &Content, name: &str) -> Lack {
        if lack.is_empty() {
            return lack;
        }
        let Ok(layout) = read_layout(content, item.size, self.chunks, name) else {
            return Lack { ranges: Vec::new(), more: 0, ..lack };
        };
        let Some(layout) = layout else { return lack };
        let mut pieces: Vec<Range<u64>> = lack
            .ranges
            .iter()
            .flat_map(|range| layout.stream_pieces(range.clone()))
            .map(|piece| piece.file_offset..piece.file_offset + piece.len)
            .collect();
        pieces.sort_unstable_by_key(|range| range.start);
        let mut placed = Lack { ranges: Vec::new(), ..lack };
        pieces.iter().for_each(|range| placed.range(range.start, range.end - range.start));
        placed
    }

    /// Adds what of a node, and of what is below it, is not there. As deep as nodes have levels, which is at most
    /// `LEVEL_MAX`. What was looked through is not looked through again: a forged node may name another any number of
    /// times.
    fn node(
        &self,
        node: &Node,
        needed_by: &str,
        broken: &mut HashMap<(usize, u64), Lack>,
        lack: &mut Lack,
    ) {
        let mut at = 0_u64;
        match node {
            Node::Leaf(entries) => {
                for entry in entries {
                    if let Entry::Chunk { id, len } = entry
                        && !self.is_sound(id)
                    {
                        lack.chunks = lack.chunks.saturating_add(1);
                        lack.range(at, u64::from(*len));
                    }
                    at = at.saturating_add(entry.len());
                }
            }
            Node::Inner { level, children } => {
                for child in children {
                    let below = self.child(*level, child, needed_by, broken);
                    below.iter().for_each(|below| lack.below(at, below));
                    at = at.saturating_add(child.span);
                }
            }
        }
    }

    /// What is lacking of a child of a node; nothing if all is there.
    fn child(
        &self,
        level: u8,
        child: &Child,
        needed_by: &str,
        broken: &mut HashMap<(usize, u64), Lack>,
    ) -> Option<Lack> {
        // What is known of a node is noted at the first of its copies.
        let first = self.chunks.index().find(&child.id);
        let record = first.map(|location| location.record);
        let is_sound = self.is_sound(&child.id);
        if is_sound && record.is_some_and(|record| self.whole.is_set(record)) {
            return None;
        }
        if let Some(known) = record.and_then(|record| broken.get(&record)) {
            return Some(known.clone());
        }
        let mut lack = Lack { chunks: u64::from(!is_sound), ..Lack::default() };
        match read_child(self.chunks, level, child, needed_by) {
            Ok(below) => self.node(&below, needed_by, broken, &mut lack),
            Err(error) => {
                lack.chunks = lack.chunks.max(1);
                lack.range(0, child.span);
                lack.error = is_sound.then(|| message(&error));
            }
        }
        match (record, lack.is_empty()) {
            (Some(record), true) => drop(self.whole.set(record)),
            (Some(record), false) => drop(broken.insert(record, lack.clone())),
            (None, _) => {}
        }
        (!lack.is_empty()).then_some(lack)
    }

    /// Whether a copy of the chunk is right. Of structure there should be another, in another pack.
    fn is_sound(&self, id: &ChunkId) -> bool {
        let copies = self.chunks.index().copies(id);
        let mut sound = copies.filter(|location| self.sound.is_set(location.record));
        let Some(first) = sound.next() else { return false };
        if first.pack.kind == PackKind::Structure && sound.all(|other| other.pack == first.pack) {
            self.lonely.set(first.record);
        }
        true
    }
}

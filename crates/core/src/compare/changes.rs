//! Changes: where two stored files are not the same, by their recipes alone.
//!
//! In: the recipe of a file and, if there is one, that of the same file a night before. Out: each stretch that is made of
//! other chunks or became zeros, in order. Promises: reads no contents, and of recipes no node that both share at the same
//! place; memory is a few nodes. Chunks are compared by id and place, so a stretch is never too short, and too long by less
//! than two chunks at each end.

use std::ops::Range;

use garret_format::recipe::{Child, Entry, Node, Recipe};

use crate::error::Result;
use crate::objects::recipe::{NodeSource, read_child};

/// What a place of a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Held {
    /// The file ends before.
    Nothing,
    /// Zeros that are not stored.
    Zeros,
    /// Bytes of a chunk.
    Data,
}

/// A stretch that is not what it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// Where, in bytes.
    pub range: Range<u64>,
    /// What was there.
    pub from: Held,
    /// What is there.
    pub to: Held,
}

/// Goes through two recipes side by side up to `end`, and gives each stretch that differs. Errors name `needed_by`.
pub(super) fn compare(
    nodes: &impl NodeSource,
    (from, to): (Option<&Recipe>, &Recipe),
    end: u64,
    needed_by: &str,
    take: &mut dyn FnMut(Stretch),
) -> Result<()> {
    let mut from = Cursor::new(nodes, from, needed_by);
    let mut to = Cursor::new(nodes, Some(to), needed_by);
    let mut at = 0;
    while at < end {
        let (one, two) = (from.next(), to.next());
        if one.is_none() && two.is_none() {
            break;
        }
        if one == two && from.at == to.at {
            from.pass();
            to.pass();
            at = from.at;
            continue;
        }
        match (one, two) {
            (Some(Part::Node(_, a)), Some(Part::Node(_, b))) => {
                if a.span >= b.span {
                    from.open()?;
                }
                if b.span >= a.span {
                    to.open()?;
                }
            }
            (Some(Part::Node(..)), _) => from.open()?,
            (_, Some(Part::Node(..))) => to.open()?,
            _ => {
                let next = from.end().min(to.end()).min(end);
                let (before, now) = (from.held(), to.held());
                if (before, now) != (Held::Zeros, Held::Zeros) {
                    take(Stretch { range: at..next, from: before, to: now });
                }
                at = next;
                from.pass_to(at);
                to.pass_to(at);
            }
        }
    }
    Ok(())
}

/// What a recipe goes on with: an entry, or a child of a node of that level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Entry(Entry),
    Node(u8, Child),
}

/// A place in a recipe.
struct Cursor<'c, N> {
    nodes: &'c N,
    needed_by: &'c str,
    /// What is left, the next part last.
    left: Vec<Part>,
    /// Where the next part begins.
    at: u64,
}

impl<'c, N: NodeSource> Cursor<'c, N> {
    fn new(nodes: &'c N, recipe: Option<&Recipe>, needed_by: &'c str) -> Self {
        let mut cursor = Cursor { nodes, needed_by, left: Vec::new(), at: 0 };
        if let Some(recipe) = recipe {
            cursor.push(recipe.root.clone());
        }
        cursor
    }

    fn push(&mut self, node: Node) {
        match node {
            Node::Leaf(entries) => self.left.extend(entries.into_iter().rev().map(Part::Entry)),
            Node::Inner { level, children } => {
                let parts = children.into_iter().rev().map(|child| Part::Node(level, child));
                self.left.extend(parts);
            }
        }
    }

    fn next(&self) -> Option<Part> {
        self.left.last().copied()
    }

    /// Where the next part ends; never, behind the last.
    fn end(&self) -> u64 {
        match self.next() {
            Some(Part::Entry(entry)) => self.at.saturating_add(entry.len()),
            Some(Part::Node(_, child)) => self.at.saturating_add(child.span),
            None => u64::MAX,
        }
    }

    fn held(&self) -> Held {
        match self.next() {
            Some(Part::Entry(Entry::Zero { .. })) => Held::Zeros,
            Some(_) => Held::Data,
            None => Held::Nothing,
        }
    }

    fn pass(&mut self) {
        if self.next().is_some() {
            self.at = self.end();
            self.left.pop();
        }
    }

    /// Passes the next part if it ends there.
    fn pass_to(&mut self, place: u64) {
        if self.end() <= place {
            self.pass();
        }
    }

    /// Puts what is in the next part in its place, if it is a node.
    fn open(&mut self) -> Result<()> {
        if let Some(Part::Node(level, child)) = self.next() {
            let node = read_child(self.nodes, level, &child, self.needed_by)?;
            self.left.pop();
            self.push(node);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::collections::HashMap;

    use garret_format::ChunkId;
    use garret_format::recipe::CutterKind;
    use proptest::prelude::*;

    use super::*;
    use crate::error::Error;
    use crate::keys::Keys;
    use crate::keys::chunk::ChunkHasher;
    use crate::objects::recipe::{NodeStore, RecipeWriter};

    /// Keeps nodes in memory, and counts those that are read.
    struct Nodes {
        hasher: ChunkHasher,
        stored: HashMap<ChunkId, Vec<u8>>,
        read: RefCell<usize>,
    }

    impl Nodes {
        fn new() -> Self {
            let hasher = ChunkHasher::new(&Keys::none());
            Nodes { hasher, stored: HashMap::new(), read: RefCell::new(0) }
        }

        /// The recipe of these pieces: a number is a chunk of that content, nothing is 4096 zeros.
        fn recipe(&mut self, pieces: &[Option<u16>]) -> Recipe {
            let mut writer = RecipeWriter::new(CutterKind::Page);
            for piece in pieces {
                match piece {
                    None => writer.zero(4096, self).unwrap(),
                    Some(number) => {
                        let id = self.hasher.hash(&number.to_le_bytes());
                        writer.chunk(id, len(*number), self).unwrap();
                    }
                }
            }
            writer.finish(self).unwrap()
        }
    }

    impl NodeStore for Nodes {
        fn store_node(&mut self, bytes: &[u8]) -> Result<ChunkId> {
            let id = self.hasher.hash(bytes);
            self.stored.insert(id, bytes.to_vec());
            Ok(id)
        }
    }

    impl NodeSource for Nodes {
        fn read_node(&self, id: &ChunkId, needed_by: &str) -> Result<Vec<u8>> {
            *self.read.borrow_mut() += 1;
            let missing = || Error::MissingChunk { id: *id, needed_by: needed_by.to_owned() };
            self.stored.get(id).cloned().ok_or_else(missing)
        }
    }

    fn len(number: u16) -> u32 {
        (1 + u32::from(number) % 3) * 4096
    }

    /// What each 4096 bytes hold: nothing for zeros, else which part of which chunk.
    fn blocks(pieces: &[Option<u16>]) -> Vec<Option<(u16, u32)>> {
        let block = |piece: &Option<u16>| match *piece {
            None => vec![None],
            Some(number) => (0..len(number) / 4096).map(|part| Some((number, part))).collect(),
        };
        pieces.iter().flat_map(block).collect()
    }

    fn pieces() -> impl Strategy<Value = Vec<Option<u16>>> {
        let piece = prop_oneof![1 => Just(None), 4 => (0..2000u16).prop_map(Some)];
        prop::collection::vec(piece, 0..1500)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_differs_is_given_in_order_once_and_nothing_else(
            before in pieces(),
            edits in prop::collection::vec((any::<prop::sample::Index>(), any::<Option<u16>>()), 0..5),
            cut in 0..20usize,
        ) {
            let mut after = before.clone();
            for (place, piece) in edits {
                if !after.is_empty() {
                    let place = place.index(after.len());
                    after[place] = piece;
                }
            }
            after.truncate(after.len().saturating_sub(cut));
            let mut nodes = Nodes::new();
            let (one, two) = (nodes.recipe(&before), nodes.recipe(&after));
            let (old, new) = (blocks(&before), blocks(&after));
            let mut found = vec![false; old.len().max(new.len())];
            let mut last = 0;
            compare(&nodes, (Some(&one), &two), u64::MAX, "", &mut |stretch| {
                assert!(stretch.range.start >= last && !stretch.range.is_empty());
                last = stretch.range.end;
                for at in stretch.range.step_by(4096) {
                    let at = (at / 4096) as usize;
                    found[at] = true;
                    let held = |blocks: &[Option<(u16, u32)>]| match blocks.get(at) {
                        None => Held::Nothing,
                        Some(None) => Held::Zeros,
                        Some(Some(_)) => Held::Data,
                    };
                    assert_eq!((stretch.from, stretch.to), (held(&old), held(&new)));
                }
            }).unwrap();
            for (at, found) in found.iter().enumerate() {
                prop_assert_eq!(old.get(at) != new.get(at), *found, "block {}", at);
            }
        }
    }

    #[test]
    fn of_recipes_that_share_nodes_only_the_others_are_read() {
        let mut nodes = Nodes::new();
        let mut pieces: Vec<Option<u16>> = (0..60_000).map(Some).collect();
        let one = nodes.recipe(&pieces);
        // As long as what was there, so that all behind it stays where it is.
        pieces[30_000] = Some(60_000);
        let two = nodes.recipe(&pieces);
        let all = nodes.stored.len();
        let mut bytes = 0;
        let mut take = |stretch: Stretch| bytes += stretch.range.end - stretch.range.start;
        compare(&nodes, (Some(&one), &two), u64::MAX, "", &mut take).unwrap();
        let read = *nodes.read.borrow();
        assert!(all > 300 && read < 12, "{read} of {all}");
        assert!(bytes >= 4096, "{bytes}");
    }
}

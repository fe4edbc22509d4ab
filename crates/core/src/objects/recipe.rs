//! Recipes: from the pieces of a stream to a tree of nodes, and from the tree back to the pieces.
//!
//! A node ends after an entry whose chunk id ends in seven zero bits, when it holds at least 32 entries; so two recipes that
//! agree over a stretch end their nodes at the same places there, and share them. 128 entries are 4.7 KiB of recipe for
//! 8 MiB of stream; a scattered change of 1 % rewrites a few per cent of a recipe that is 0.06 % of the stream.

use std::sync::Arc;

use garret_format::ChunkId;
use garret_format::recipe::{Child, CutterKind, Entry, LEVEL_MAX, NODE_ENTRIES_MAX, Node, Recipe};

use crate::error::{Error, Result};

/// Entries below which a node does not end.
const NODE_ENTRIES_MIN: usize = 32;
/// Entries up to which a root stays in its item.
const ROOT_ENTRIES_MAX: usize = 64;

/// Where nodes, and other bytes that are no user's, are stored as chunks: returns the id of the chunk.
pub(crate) trait NodeStore {
    fn store_node(&mut self, bytes: &[u8]) -> Result<ChunkId>;
}

/// Where they are read from: the content of a chunk, checked against its id. Errors name `needed_by`.
pub(crate) trait NodeSource {
    fn read_node(&self, id: &ChunkId, needed_by: &str) -> Result<Vec<u8>>;
}

impl<N: NodeSource> NodeSource for &N {
    fn read_node(&self, id: &ChunkId, needed_by: &str) -> Result<Vec<u8>> {
        (**self).read_node(id, needed_by)
    }
}

/// Builds the recipe of one stream.
pub(crate) struct RecipeWriter {
    cutter: CutterKind,
    entries: Vec<Entry>,
    /// The open inner nodes, lowest level first.
    levels: Vec<Vec<Child>>,
}

impl RecipeWriter {
    pub(crate) fn new(cutter: CutterKind) -> Self {
        RecipeWriter { cutter, entries: Vec::new(), levels: Vec::new() }
    }

    /// Adds zeros; neighbouring runs become one.
    pub(crate) fn zero(&mut self, len: u64, nodes: &mut dyn NodeStore) -> Result<()> {
        match self.entries.last_mut() {
            Some(Entry::Zero { len: last }) => *last += len,
            _ => self.entries.push(Entry::Zero { len }),
        }
        self.end_leaf(false, nodes)
    }

    /// Adds a chunk.
    pub(crate) fn chunk(&mut self, id: ChunkId, len: u32, nodes: &mut dyn NodeStore) -> Result<()> {
        // A full leaf that ends in a zero run stays open until something else comes, or the run could not grow.
        if self.entries.len() >= NODE_ENTRIES_MAX {
            self.close_leaf(nodes)?;
        }
        self.entries.push(Entry::Chunk { id, len });
        self.end_leaf(ends_node(&id), nodes)
    }

    fn end_leaf(&mut self, content_says_so: bool, nodes: &mut dyn NodeStore) -> Result<()> {
        let ends_in_zero = matches!(self.entries.last(), Some(Entry::Zero { .. }));
        let full = self.entries.len() >= NODE_ENTRIES_MAX && !ends_in_zero;
        if full || (content_says_so && self.entries.len() >= NODE_ENTRIES_MIN) {
            self.close_leaf(nodes)?;
        }
        Ok(())
    }

    fn close_leaf(&mut self, nodes: &mut dyn NodeStore) -> Result<()> {
        let leaf = Node::Leaf(std::mem::take(&mut self.entries));
        self.add_child(&leaf, nodes)
    }

    /// Stores a node and adds it to the level above, which may end that level's node in turn.
    fn add_child(&mut self, node: &Node, nodes: &mut dyn NodeStore) -> Result<()> {
        let above = usize::from(node.level());
        let id = nodes.store_node(&node.encode())?;
        if self.levels.len() == above {
            self.levels.push(Vec::new());
        }
        let Some(children) = self.levels.get_mut(above) else { return Ok(()) };
        children.push(Child { id, span: node.span().unwrap_or(u64::MAX) });
        let ends = ends_node(&id) && children.len() >= NODE_ENTRIES_MIN;
        if ends || children.len() >= NODE_ENTRIES_MAX {
            let children = std::mem::take(children);
            return self.add_child(&Node::Inner { level: node.level() + 1, children }, nodes);
        }
        Ok(())
    }

    /// Closes what is open, lowest level first, until one node is left that is small enough to be the root.
    pub(crate) fn finish(mut self, nodes: &mut dyn NodeStore) -> Result<Recipe> {
        let cutter = self.cutter;
        let mut node = Node::Leaf(std::mem::take(&mut self.entries));
        loop {
            let above = usize::from(node.level());
            let nothing_above = self.levels.iter().skip(above).all(Vec::is_empty);
            if nothing_above && entry_count(&node) <= ROOT_ENTRIES_MAX {
                return Ok(Recipe { cutter, root: node });
            }
            if entry_count(&node) > 0 {
                self.add_child(&node, nodes)?;
            }
            let children = self.levels.get_mut(above).map(std::mem::take).unwrap_or_default();
            node = Node::Inner { level: node.level() + 1, children };
        }
    }
}

/// Whether a node ends behind this chunk.
fn ends_node(id: &ChunkId) -> bool {
    let [.., last] = id.as_bytes();
    last & 0x7f == 0
}

fn entry_count(node: &Node) -> usize {
    match node {
        Node::Leaf(entries) => entries.len(),
        Node::Inner { children, .. } => children.len(),
    }
}

/// Reads the entries of a recipe in the order of the stream, node by node.
pub(crate) struct RecipeReader<N> {
    pub(super) nodes: N,
    pub(super) needed_by: Arc<str>,
    /// What is still to be read: the innermost node last.
    open: Vec<OpenNode>,
    /// Where in the stream that begins.
    at: u64,
    /// What was open when a node could not be read, and the bytes of the stream below that node.
    unread: Option<(Vec<OpenNode>, u64)>,
}

enum OpenNode {
    Leaf(std::vec::IntoIter<Entry>),
    Inner(u8, std::vec::IntoIter<Child>),
}

impl OpenNode {
    fn new(node: Node) -> Self {
        match node {
            Node::Leaf(entries) => OpenNode::Leaf(entries.into_iter()),
            Node::Inner { level, children } => OpenNode::Inner(level, children.into_iter()),
        }
    }
}

impl<N: NodeSource> RecipeReader<N> {
    /// The entries of `recipe`; errors name `needed_by`.
    pub(crate) fn new(nodes: N, recipe: &Recipe, needed_by: impl Into<Arc<str>>) -> Self {
        let open = vec![OpenNode::new(recipe.root.clone())];
        RecipeReader { nodes, needed_by: needed_by.into(), open, at: 0, unread: None }
    }

    /// The entry that holds byte `offset` of the stream, and where it starts. What lies before is passed over, nodes without
    /// being read; so the next offset asked for must not be lower.
    pub(crate) fn entry_at(&mut self, offset: u64) -> Option<Result<(u64, Entry)>> {
        self.front(u64::MAX, &mut |start, len, _| start + len <= offset)
    }

    /// The next entry, if it begins before `end` of the stream. A node that `is_known` is passed over with all below it.
    pub(crate) fn next_before(
        &mut self,
        end: u64,
        is_known: &mut dyn FnMut(&ChunkId) -> bool,
    ) -> Option<Result<Entry>> {
        let front = self.front(end, &mut |_, _, node| node.is_some_and(&mut *is_known));
        self.take(front)
    }

    /// The first entry that is not passed over, and where it starts, if that is before `end`. `passes` is asked about
    /// entries and, before they are read, nodes: where each starts, its length, and the name of a node.
    fn front(
        &mut self,
        end: u64,
        passes: &mut dyn FnMut(u64, u64, Option<&ChunkId>) -> bool,
    ) -> Option<Result<(u64, Entry)>> {
        while self.at < end {
            let (level, child) = match self.open.last_mut()? {
                OpenNode::Leaf(entries) => match entries.as_slice().first() {
                    Some(entry) if passes(self.at, entry.len(), None) => {
                        self.at += entry.len();
                        entries.next();
                        continue;
                    }
                    Some(entry) => return Some(Ok((self.at, *entry))),
                    None => {
                        self.open.pop();
                        continue;
                    }
                },
                OpenNode::Inner(level, children) => match children.next() {
                    Some(child) if passes(self.at, child.span, Some(&child.id)) => {
                        self.at += child.span;
                        continue;
                    }
                    Some(child) => (*level, child),
                    None => {
                        self.open.pop();
                        continue;
                    }
                },
            };
            if let Err(error) = self.descend(level, &child) {
                return Some(Err(error));
            }
        }
        None
    }

    /// Takes the entry that stands in front.
    fn take(&mut self, front: Option<Result<(u64, Entry)>>) -> Option<Result<Entry>> {
        let front = front?;
        if let (Ok((_, entry)), Some(OpenNode::Leaf(entries))) = (&front, self.open.last_mut()) {
            entries.next();
            self.at += entry.len();
        }
        Some(front.map(|(_, entry)| entry))
    }

    /// Where in the stream the next entry begins; its end, if there is none.
    pub(crate) fn at(&self) -> u64 {
        self.at
    }

    /// Goes on behind the node that could not be read: how many bytes of the stream are passed over with it. None if the
    /// last thing that came was no error.
    pub(crate) fn pass_over(&mut self) -> Option<u64> {
        let (open, span) = self.unread.take()?;
        self.open = open;
        self.at += span;
        Some(span)
    }

    /// Opens a child of the innermost node. After an error nothing more comes, unless it is passed over.
    fn descend(&mut self, level: u8, child: &Child) -> Result<()> {
        match read_child(&self.nodes, level, child, &self.needed_by) {
            Ok(node) => {
                self.open.push(OpenNode::new(node));
                Ok(())
            }
            Err(error) => {
                self.unread = Some((std::mem::take(&mut self.open), child.span));
                Err(error)
            }
        }
    }
}

/// Reads a child of a node of `level`, and checks that it is what the node says: one level lower, of that span.
pub(crate) fn read_child(
    nodes: &impl NodeSource,
    level: u8,
    child: &Child,
    needed_by: &str,
) -> Result<Node> {
    let corrupt = |what: String| Error::Corrupt { object: needed_by.to_owned(), offset: 0, what };
    let bytes = nodes.read_node(&child.id, needed_by)?;
    let node = Node::decode(&bytes).map_err(|error| corrupt(error.to_string()))?;
    let fits = level <= LEVEL_MAX && node.level() + 1 == level && node.span() == Some(child.span);
    match fits {
        true => Ok(node),
        false => Err(corrupt(format!("recipe node {} does not fit its parent", child.id))),
    }
}

impl<N: NodeSource> Iterator for RecipeReader<N> {
    type Item = Result<Entry>;

    fn next(&mut self) -> Option<Result<Entry>> {
        let front = self.entry_at(self.at);
        self.take(front)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::ops::Range;

    use proptest::prelude::*;

    use super::*;
    use crate::keys::Keys;
    use crate::keys::chunk::ChunkHasher;

    /// A recipe of any shape, and the nodes below its root with what they cover.
    #[derive(Default)]
    struct Tree {
        len: u64,
        entries: Vec<(u64, Entry)>,
        nodes: Vec<(Range<u64>, Vec<u8>)>,
    }

    impl Tree {
        /// A node of `level` with as many parts as `shape` says next, and everything below it.
        fn grow(&mut self, level: u8, shape: &mut dyn Iterator<Item = u8>) -> Node {
            let count = 1 + shape.next().unwrap_or(0) % 5;
            if level == 0 {
                let entries = (0..count).map(|_| self.entry(shape.next().unwrap_or(0)));
                return Node::Leaf(entries.collect());
            }
            let mut children = Vec::new();
            for _ in 0..count {
                let start = self.len;
                let bytes = self.grow(level - 1, shape).encode();
                let id = ChunkHasher::new(&Keys::none()).hash(&bytes);
                children.push(Child { id, span: self.len - start });
                self.nodes.push((start..self.len, bytes));
            }
            Node::Inner { level, children }
        }

        fn entry(&mut self, kind: u8) -> Entry {
            let mut id = [kind; 32];
            id[..8].copy_from_slice(&self.len.to_le_bytes());
            let entry = match kind % 3 {
                0 => Entry::Zero { len: u64::from(kind) + 1 },
                _ => Entry::Chunk { id: ChunkId::from_bytes(id), len: u32::from(kind) },
            };
            self.entries.push((self.len, entry));
            self.len += entry.len();
            entry
        }
    }

    /// Holds these nodes and nothing else.
    struct Nodes(HashMap<ChunkId, Vec<u8>>);

    impl Nodes {
        fn new<'n>(nodes: impl Iterator<Item = &'n Vec<u8>>) -> Self {
            let hasher = ChunkHasher::new(&Keys::none());
            Nodes(nodes.map(|node| (hasher.hash(node), node.clone())).collect())
        }
    }

    impl NodeSource for Nodes {
        fn read_node(&self, id: &ChunkId, needed_by: &str) -> Result<Vec<u8>> {
            let missing = || Error::MissingChunk { id: *id, needed_by: needed_by.to_owned() };
            self.0.get(id).cloned().ok_or_else(missing)
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn entries_are_found_by_offset_and_no_other_node_is_read(
            shape in prop::collection::vec(any::<u8>(), 1..300),
            level in 0..6_u8,
            offsets in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
        ) {
            let mut tree = Tree::default();
            let root = tree.grow(level, &mut shape.iter().copied().cycle());
            let recipe = Recipe { cutter: CutterKind::Page, root };
            prop_assert_eq!(recipe.len(), tree.len);
            let whole = Nodes::new(tree.nodes.iter().map(|(_, node)| node));
            let walked: Vec<Entry> =
                RecipeReader::new(&whole, &recipe, "").map(Result::unwrap).collect();
            prop_assert!(walked.iter().eq(tree.entries.iter().map(|(_, entry)| entry)));

            let mut offsets: Vec<u64> =
                offsets.iter().map(|index| index.index(tree.len as usize) as u64).collect();
            offsets.sort_unstable();
            let is_needed = |range: &Range<u64>| offsets.iter().any(|at| range.contains(at));
            let needed = tree.nodes.iter().filter(|(range, _)| is_needed(range));
            let part = Nodes::new(needed.map(|(_, node)| node));
            let mut reader = RecipeReader::new(&part, &recipe, "");
            for at in offsets {
                let next = tree.entries.partition_point(|(start, _)| *start <= at);
                let found = reader.entry_at(at).unwrap().unwrap();
                prop_assert_eq!(found, tree.entries[next - 1]);
            }
            let mut reader = RecipeReader::new(&whole, &recipe, "");
            prop_assert!(reader.entry_at(tree.len).is_none(), "nothing lies behind the end");
        }

        /// What is read on after a place was asked for begins with the entry there.
        #[test]
        fn a_walk_goes_on_where_it_was_asked(
            shape in prop::collection::vec(any::<u8>(), 1..300),
            level in 0..4_u8,
            at in any::<prop::sample::Index>(),
        ) {
            let mut tree = Tree::default();
            let root = tree.grow(level, &mut shape.iter().copied().cycle());
            let recipe = Recipe { cutter: CutterKind::Page, root };
            let whole = Nodes::new(tree.nodes.iter().map(|(_, node)| node));
            let mut reader = RecipeReader::new(&whole, &recipe, "");
            let at = at.index(tree.len as usize) as u64;
            reader.entry_at(at).unwrap().unwrap();
            let rest: Vec<Entry> = reader.map(Result::unwrap).collect();
            let expected = tree.entries.iter().filter(|(start, entry)| start + entry.len() > at);
            prop_assert!(rest.iter().eq(expected.map(|(_, entry)| entry)));
        }
    }
}

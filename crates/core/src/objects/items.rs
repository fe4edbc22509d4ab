//! The items of an archive, one by one.
//!
//! In: an archive, and where chunks are read. Out: items in the order in which they were stored. Promises: at most one item
//! and a chunk are in memory; after an error nothing more comes.

use std::collections::VecDeque;

use garret_format::archive::{ITEM_LEN_MAX, Item};

use crate::error::{Error, Result};
use crate::objects::archive::NamedArchive;
use crate::objects::recipe::NodeSource;
use crate::objects::stream::StreamReader;

/// Reads the items of an archive one by one.
pub(crate) struct ItemReader<N> {
    stream: StreamReader<N>,
    buffer: VecDeque<u8>,
    failed: bool,
}

impl<N: NodeSource> ItemReader<N> {
    /// The items of `archive`, in the order in which they were stored.
    pub(crate) fn new(nodes: N, archive: &NamedArchive) -> Self {
        ItemReader {
            stream: StreamReader::of_items(nodes, &archive.archive.items, archive.object()),
            buffer: VecDeque::new(),
            failed: false,
        }
    }

    /// Reads until `len` bytes are in the buffer, or the stream ends.
    fn fill(&mut self, len: usize) -> Result<bool> {
        while self.buffer.len() < len {
            match self.stream.next().transpose()? {
                Some(part) => self.buffer.extend(part),
                None => return Ok(false),
            }
        }
        Ok(true)
    }

    fn read(&mut self) -> Result<Option<Item>> {
        let object = self.stream.needed_by();
        let broken = || {
            let what = "an item is cut off".to_owned();
            Error::Corrupt { object: object.to_string(), offset: 0, what }
        };
        if !self.fill(4)? {
            return if self.buffer.is_empty() { Ok(None) } else { Err(broken()) };
        }
        let mut len = [0; 4];
        len.iter_mut().zip(self.buffer.drain(..4)).for_each(|(to, from)| *to = from);
        let len = u32::from_le_bytes(len);
        if len > ITEM_LEN_MAX || !self.fill(len as usize)? {
            return Err(broken());
        }
        let record: Vec<u8> = self.buffer.drain(..len as usize).collect();
        match Item::decode(&record) {
            Ok(item) => Ok(Some(item)),
            Err(error) => Err(Error::decode(&object, 0, error)),
        }
    }
}

impl<N: NodeSource> Iterator for ItemReader<N> {
    type Item = Result<Item>;

    fn next(&mut self) -> Option<Result<Item>> {
        if self.failed {
            return None;
        }
        let item = self.read().transpose();
        self.failed = matches!(item, Some(Err(_)));
        item
    }
}

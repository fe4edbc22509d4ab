//! Tags: words that the user gives to archives. docs/format.md, "Archive".

use std::collections::BTreeSet;

use super::is_unseen;
use crate::wire::{DecodeError, DecodeErrorKind, Reader, Writer};

/// Most tags of an archive.
pub const TAGS_MAX: usize = 64;
/// Longest tag in bytes.
pub const TAG_LEN_MAX: u32 = 64;

/// Why a word can be no tag, if it cannot. One that can be stands in lists, between commas and on a command line.
pub fn tag_fault(tag: &str) -> Option<&'static str> {
    let is_odd = |character: char| character.is_whitespace() || character.is_control();
    Some(if tag.is_empty() {
        "it is empty"
    } else if tag.len() > TAG_LEN_MAX as usize {
        "it has more than 64 bytes"
    } else if tag.contains(',') {
        "it has a comma"
    } else if tag.contains(is_odd) {
        "it has a space or a control character"
    } else if tag.contains(is_unseen) {
        "it has a character that is not seen, or turns round what is"
    } else {
        return None;
    })
}

pub(crate) fn write_tags(writer: &mut Writer, tags: &BTreeSet<String>) {
    writer.count(tags.len());
    tags.iter().for_each(|tag| {
        writer.bytes(tag.as_bytes());
    });
}

/// At most [`TAGS_MAX`], ascending, none of which [`tag_fault`] says anything.
pub(crate) fn read_tags(reader: &mut Reader<'_>) -> Result<BTreeSet<String>, DecodeError> {
    let start = reader.clone();
    let count = reader.count(4)?;
    if count > TAGS_MAX {
        return Err(start.error(DecodeErrorKind::OutOfRange));
    }
    let mut tags = BTreeSet::new();
    for _ in 0..count {
        let start = reader.clone();
        let tag = String::from_utf8(reader.bytes(TAG_LEN_MAX)?.to_vec());
        let is_next = |tag: &String| tag_fault(tag).is_none() && tags.last() < Some(tag);
        let tag = tag.ok().filter(is_next);
        tags.insert(tag.ok_or_else(|| start.error(DecodeErrorKind::OutOfRange))?);
    }
    Ok(tags)
}

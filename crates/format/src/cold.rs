//! The mark of a repository whose packs of files lie in a second place. docs/format.md, "cold".

use crate::object::{HEADER_LEN, Kind};

/// Length in bytes of a mark.
pub const MARK_LEN: usize = HEADER_LEN + 32;

/// The bytes of the file `cold`, the same in both places; `place` is random. Nobody reads more of them than whether they are
/// the same.
pub fn encode_mark(place: &[u8; 32]) -> [u8; MARK_LEN] {
    let mut mark = [0; MARK_LEN];
    let (header, rest) = mark.split_at_mut(HEADER_LEN);
    header.copy_from_slice(&Kind::Cold.header());
    rest.copy_from_slice(place);
    mark
}

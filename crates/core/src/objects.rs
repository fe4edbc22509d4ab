//! What is stored, in both directions: each file makes one kind of object, or of content, and reads it again.
//!
//! ```text
//! items -> stream -> recipe -> | group -> codec -> pack |    index    archive
//!          cut        nodes    |  chunks                |
//! ```
//!
//! Damage records, the records of verified packs, of deletions and of tags, and second copies stand beside that. Streams and
//! recipes name chunks; where those are stored and read is said by the traits in `recipe`.

pub(crate) mod archive;
pub(crate) mod codec;
pub(crate) mod condemned;
pub(crate) mod copies;
pub(crate) mod damage;
pub(crate) mod envelope;
pub(crate) mod group;
pub(crate) mod index;
pub(crate) mod items;
pub(crate) mod pack;
pub(crate) mod recipe;
pub(crate) mod stream;
pub(crate) mod tags;
pub(crate) mod tombstones;
pub(crate) mod verified;

//! The on-disk format: bytes to and from structs, nothing else.
//!
//! docs/format.md is the normative description; every table there has its struct here, and the hex examples there are what
//! these encoders give. What comes in is untrusted: decoders are total, bounded before they allocate, and accept exactly
//! one encoding of each object. Sealing, hashing and storing are the core's.
//!
//! ```text
//! config   what never changes           slot     the master key, wrapped
//! pack     groups of chunks, footer     index    chunk -> pack, group, place
//! recipe   stream -> chunks, zeros      archive  one backup: names, metadata, recipes
//! damage   a pack that is damaged       verified   packs that were read, and when
//! paper    the master key, on paper     tombstones   archives that were deleted
//! seen     what a client saw of all that  tags     what an archive is tagged with, whether it is protected
//! ```

#![warn(clippy::indexing_slicing)]
#![forbid(unsafe_code)]

pub mod archive;
pub mod cold;
pub mod condemned;
pub mod config;
pub mod damage;
pub mod id;
pub mod index;
pub mod object;
pub mod pack;
pub mod paper;
pub mod recipe;
pub mod seen;
pub mod slot;
pub mod tags;
pub mod tombstones;
pub mod verified;
pub mod wire;

pub use id::{
    ArchiveHash, ArchiveId, ChunkId, ConfigHash, KeyId, PackId, RepositoryId, SegmentId, SlotId,
};
pub use wire::{DecodeError, DecodeErrorKind};

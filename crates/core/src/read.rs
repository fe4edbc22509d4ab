//! Reading what is stored: opened groups, single chunks, files at any place, and what archives need.
//!
//! ```text
//! restore check gc diff ... -> chunks --locations--> groups --ranges--> Store
//!                  file disk   index                 cache, one request for neighbours
//!                       mark shares
//! ```
//!
//! Everything that is read of packs goes through `groups`, but the footers.

pub(crate) mod chunks;
pub(crate) mod disk;
pub(crate) mod file;
pub(crate) mod groups;
pub(crate) mod mark;
pub(crate) mod shares;

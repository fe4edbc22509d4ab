//! What the test suites share: images with a known content, stores that fail and lose power, the store's contract as a
//! suite, and a [`Lab`] that runs the core's operations in one line each. Dev only: it panics where a test would.
//!
//! ```text
//! Image     deterministic disk content with holes; written dense or sparse, mutated, compared
//! Lab       a repository in any store, cheap to unlock; backup, restore, gc, check
//! through!  the methods that a store before another passes on
//! FaultStore, PowerStore   the n-th operation fails; what was not synced is lost
//! LocklessServer           objects without locks; its clients have leases
//! bucket_server, Proxy    a server of S3's protocol; requests to it that go wrong
//! TestClock time that passes only when somebody sleeps
//! both      an object and its second copy, to be damaged for good
//! World     sequences of steps with faults, power cuts and damage, against a model
//! Forge     keys and boxes by hand: seals what garret never writes, opens what it wrote
//! program   a program in a directory of its own: what it is given, what it says
//! store_suite              the contract of `garret_core::Store`, clause by clause
//! ```
#![allow(
    clippy::unwrap_used,
    clippy::missing_errors_doc,
    reason = "a testkit panics where a test would"
)]

mod bucket;
mod clock;
mod copies;
mod far;
mod fault;
mod forge;
mod images;
mod lab;
mod lockless;
mod power;
pub mod program;
mod suite;
mod through;
mod world;

pub use bucket::{BUCKET, Fate, Proxy, bucket_server};
pub use clock::TestClock;
pub use copies::{add_copies, both, both_files, damage, follow};
pub use far::FarStore;
pub use fault::{Fault, FaultStore, Verb};
pub use forge::{
    Forge, ForgedGroup, PackBox, footer, is_structure, leaf, nonce, plain_entry, plain_id,
    plain_item,
};
pub use garret_random::Random;
pub use images::{Image, data_map};
pub use lab::{
    CHEAP_KDF, Lab, PASSPHRASE, Recorder, Restored, TaskSeen, change_key, cheap_key, check_options,
    chunk_size, cipher,
};
pub use lockless::{LocklessClient, LocklessServer, SharedClock};
pub use power::PowerStore;
pub use suite::store_suite;
pub use world::{Step, Trouble, World};

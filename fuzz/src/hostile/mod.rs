//! Hostile repositories and hostile destinations: what the targets do with the core, and the test `hostile` with every file
//! of their corpora.
//!
//! In: any bytes, read as choices. Out: nothing. Promises checked, in [`open_repository`] and [`open_directory`] for
//! whatever lies in a repository, in [`open_cache`] for a client's copy of its index, in [`restore_into`] for whatever lies
//! where one is restored to: no panic, no end of memory or time (the fuzzer's limits), nothing outside touched, and from an
//! encrypted repository the very bytes or an error.

mod attempt;
mod base;
mod input;
mod making;
mod open_cache;
mod open_directory;
mod open_repository;
mod outside;
mod restore_into;

pub use open_cache::open_cache;
pub use open_directory::open_directory;
pub use open_repository::open_repository;
pub use restore_into::restore_into;

/// A target: its name, and what it does.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
pub const TARGETS: [Target; 4] = [
    ("open_repository", open_repository),
    ("open_directory", open_directory),
    ("open_cache", open_cache),
    ("restore_into", restore_into),
];

//! Keeping a repository: which archives stay, what is still needed, what is wrong.

pub(crate) mod check;
pub(crate) mod compact;
mod copies;
pub(crate) mod gc;
mod problems;
pub(crate) mod prune;
pub(crate) mod repair;
pub(crate) mod scrub;
pub(crate) mod seen;
pub(crate) mod tags;
pub(crate) mod transfer;
pub(crate) mod verified;

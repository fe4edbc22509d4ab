//! Looking at what is stored beside something else: another archive, the disk, older archives.

pub(crate) mod changes;
pub(crate) mod diff;
pub(crate) mod history;
pub(crate) mod info;

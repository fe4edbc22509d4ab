//! Looking at what is stored beside something else: another archive, the disk, older archives.

pub(crate) mod diff;
pub(crate) mod info;

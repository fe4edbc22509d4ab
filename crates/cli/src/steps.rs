//! What commands and nightly jobs do to a repository: each is one call that gives a report. Problems and notices go to the
//! [`Ui`](crate::ui::Ui); results are put into words by whoever called.

pub mod check;
pub mod compact;
pub mod create;
pub mod delete;
pub mod init;
pub mod prune;
pub mod sync;
pub mod verdict;

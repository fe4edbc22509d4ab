//! `zgarret info`: a repository as a whole. zbackup has no such command; the text is that of `garret info`.

use std::ffi::OsString;

use garret_cli::failure::Failure;
use garret_cli::overview;

use super::context::{Context, wrong_use};
use crate::location;

pub(super) fn run(context: &Context<'_>, words: &[OsString]) -> Result<(), Failure> {
    let [path] = words else { return Err(wrong_use("info")) };
    let path = location::repository(path)?;
    let repository = context.reader(&path)?;
    context.ui.print(&overview::repository(&repository, &path.as_path().into(), context.ui)?)
}

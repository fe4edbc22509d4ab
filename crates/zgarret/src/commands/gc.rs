//! `zgarret gc`: gives back the space of what no file in `backups/` needs.

use std::ffi::OsString;

use garret_cli::failure::{self, Failure};
use garret_cli::render;
use garret_core::{GcOptions, Progress};

use super::context::{Context, action, wrong_use};
use crate::location;

/// All of them do the same: what is worth repacking is repacked, and indexes are merged.
const ACTIONS: [&str; 3] = ["fast", "deep", "concat"];

pub(super) fn run(context: &Context<'_>, words: &[OsString]) -> Result<(), Failure> {
    let (_, path) = action(words, &ACTIONS).ok_or_else(|| wrong_use("gc"))?;
    let path = location::repository(path)?;
    let mut repository = context.pruner(&path)?;
    let Context { line, ui, .. } = context;
    let mut options = GcOptions::default();
    options.compression = Some(line.storable.compression());
    options.threads = line.runtime.threads();
    let collected = repository.gc(&options, *ui);
    let settled = repository.settle(collected.is_ok(), ui);
    match collected {
        Ok(done) => {
            if done.waiting_pack_bytes > 0 {
                let len = render::size(done.waiting_pack_bytes);
                ui.notice(&format!(
                    "{len} go with the next gc: a program is at work that may need them"
                ));
            }
            settled
        }
        Err(error) => Err(failure::full(error, "what could go without room is gone", "zgarret gc")),
    }
}

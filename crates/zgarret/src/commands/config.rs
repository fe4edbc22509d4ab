//! `zgarret config`: the sizes of a repository. They are of its format and fixed when it is made: shown, never changed.

use std::ffi::OsString;

use garret_cli::failure::Failure;
use garret_format::config::Config;

use super::context::{Context, action, wrong_use};
use crate::location;

const ACTIONS: [&str; 4] = ["show", "set", "reset", "edit"];

pub(super) fn run(context: &Context<'_>, words: &[OsString]) -> Result<(), Failure> {
    let (action, path) = action(words, &ACTIONS).ok_or_else(|| wrong_use("config"))?;
    let path = location::repository(path)?;
    let repository = context.reader(&path)?;
    match (action, context.line.storable.names.first()) {
        ("edit", _) => Err(Failure::Fatal(
            "Nothing to edit: the sizes are fixed at init, compression is given to each command that writes"
                .to_owned(),
        )),
        ("set", Some(name)) if name.contains("compression") => Err(Failure::Fatal(format!(
            "{name} is not stored in a repository: give it to each command that writes"
        ))),
        ("set", Some(name)) => {
            Err(Failure::Fatal(format!("{name} is fixed at init and cannot be changed")))
        }
        // Nothing was ever changed, so what there is is what a reset gives.
        _ => context.ui.print(&text(repository.config())),
    }
}

/// In the form of zbackup's, with what its words stand for here.
fn text(config: &Config) -> String {
    format!(
        "chunk {{\n  max_size: {}\n}}\n\
         bundle {{\n  max_payload_size: {}\n  compression_method: \"zstd\"\n}}\n\
         zstd {{\n  compression_level: 3\n}}\n",
        config.chunk_max, config.pack_len
    )
}

//! Reads a range of a stored image, without restoring it: what a server of network block devices does.
//!
//! ```text
//! cargo run --example read_range -- REPOSITORY ARCHIVE PATH OFFSET LENGTH > part
//! ```

use std::error::Error;
use std::io::Write;

use garret_core::{LocalStore, Secret, Silent};

/// Bytes read at a time.
const STEP: u64 = 1 << 20;

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [place, archive, path, offset, len] = words.as_slice() else {
        return Err("usage: read_range REPOSITORY ARCHIVE PATH OFFSET LENGTH".into());
    };
    let locked = garret_core::open(LocalStore::open(place.as_ref())?)?;
    let keys = locked.unlock(Secret::None)?;
    let repository = locked.with(keys).reader(&Silent)?;
    let archive = repository.archive(archive)?;
    let mut items = repository.items(&archive);
    let item = items.find(|item| item.as_ref().is_ok_and(|item| item.path == path.as_bytes()));
    let item = item.ok_or("the archive has no such path")??;
    let file = repository.open_file(&item)?.ok_or("it is no file")?;
    // The file lives on its own from here on; any number of threads may read it.
    drop(repository);
    let (mut at, len): (u64, u64) = (offset.parse()?, len.parse()?);
    let end = at.saturating_add(len).min(item.size);
    let mut out = std::io::stdout().lock();
    while at < end {
        let mut part = vec![0; (end - at).min(STEP) as usize];
        file.read(&mut part, at)?;
        out.write_all(&part)?;
        at += part.len() as u64;
    }
    Ok(())
}

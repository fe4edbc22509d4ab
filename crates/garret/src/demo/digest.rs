//! SHA-256 of two files at once, for a comparison that anybody can repeat with `sha256sum`.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use garret_core::{Phase, Progress, Task};
use sha2::{Digest, Sha256};

use garret_cli::failure::Failure;
use garret_cli::ui::Ui;

/// Bytes read at a time.
const READ_LEN: usize = 1 << 20;

/// The digests of both, in hex.
pub(super) fn pair(first: &Path, second: &Path, ui: &Ui) -> Result<(String, String), Failure> {
    let len = |path: &Path| path.metadata().map_or(0, |metadata| metadata.len());
    let task = ui.begin(Phase::Check, Some(len(first) + len(second)));
    let (first_digest, second_digest) = std::thread::scope(|scope| {
        let other = scope.spawn(|| digest(second, &*task));
        let own = digest(first, &*task);
        let gone = || Err(io::Error::other("the thread that read it died"));
        (own, other.join().unwrap_or_else(|_| gone()))
    });
    drop(task);
    Ok((
        first_digest.map_err(|error| Failure::io(first.display(), &error))?,
        second_digest.map_err(|error| Failure::io(second.display(), &error))?,
    ))
}

fn digest(path: &Path, task: &dyn Task) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; READ_LEN];
    loop {
        let read = match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        hasher.update(buffer.get(..read).unwrap_or_default());
        task.advance(read as u64);
    }
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

//! Backs up one image into a repository, which is made if there is none, and says what it cost.
//!
//! ```text
//! cargo run --example back_up -- REPOSITORY IMAGE NAME
//! ```
#![allow(clippy::print_stdout, reason = "an example")]

use std::error::Error;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use garret_core::{
    BackupOptions, InitOptions, Input, KeyMode, LocalStore, Secret, Sharing, Silent,
};

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [place, image, name] = words.as_slice() else {
        return Err("usage: back_up REPOSITORY IMAGE NAME".into());
    };
    let place = Path::new(place);
    if !place.exists() {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs().try_into()?;
        let store = LocalStore::create(place, Sharing::Private)?;
        // A real one has a passphrase: `KeyMode::Passphrase`, and the bytes of it.
        let passphrase = Default::default();
        let options = InitOptions::new(KeyMode::None, passphrase, now);
        garret_core::init(&store, &options, &mut |_, _| Ok(()))?;
    }
    let locked = garret_core::open(LocalStore::open(place)?)?;
    let keys = locked.unlock(Secret::None)?;
    let mut writer = locked.with(keys).writer(&Silent)?;
    let mut options = BackupOptions::default();
    options.threads = std::thread::available_parallelism()?.get();
    options.base = std::env::current_dir()?;
    let report = writer.backup(name, vec![Input::Path(image.into())], &options, &Silent)?;
    let archive = &report.archive.archive;
    println!("{} bytes in {} files", archive.original_len, archive.file_count);
    println!("{} new bytes in {} packs", report.written.pack_bytes, report.written.pack_count);
    Ok(())
}

//! A repository of many archives of one unchanged file: what years of nights leave behind.
//!
//! ```text
//! cargo run --release -p garret-benches --example many_archives -- REPO FILE COUNT
//! ```
//!
//! In: a place for the repository, a file, how many archives. Out: the repository, without encryption; `garret list`,
//! `check`, `prune -n` and `create` on it are then measured as a user would meet them.

#![allow(clippy::print_stdout, reason = "prints a report")]

use std::path::PathBuf;
use std::time::Instant;

use garret_core::{
    BackupOptions, InitOptions, Input, KeyMode, LocalStore, Secret, Sharing, Silent,
};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [place, file, count] = words.as_slice() else {
        return Err("usage: many_archives REPO FILE COUNT".into());
    };
    let store = LocalStore::create(place.as_ref(), Sharing::Private)?;
    let options = InitOptions::new(KeyMode::None, Default::default(), 0);
    garret_core::init(&store, &options, &mut |_, _| Ok(()))?;
    let locked = garret_core::open(LocalStore::open(place.as_ref())?)?;
    let keys = locked.unlock(Secret::None)?;
    let mut writer = locked.with(keys).writer(&Silent)?;
    let mut options = BackupOptions::default();
    options.threads = 2;
    options.base = "/".into();
    let started = Instant::now();
    for number in 0..count.parse()? {
        let inputs = vec![Input::Path(PathBuf::from(file))];
        writer.backup(&format!("night-{number}"), inputs, &options, &Silent)?;
    }
    println!("{} archives in {:.0} s", count, started.elapsed().as_secs_f64());
    Ok(())
}

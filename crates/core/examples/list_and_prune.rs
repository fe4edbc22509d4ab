//! Lists the archives of a repository, and deletes all but the last of each of the last seven days.
//!
//! ```text
//! cargo run --example list_and_prune -- REPOSITORY [--really]
//! ```
#![allow(clippy::print_stdout, reason = "an example")]

use std::error::Error;
use std::time::{SystemTime, UNIX_EPOCH};

use garret_core::{
    Decision, GcOptions, KeepRules, LocalStore, Repository, Secret, Silent, Unlocked, plan_prune,
};
use garret_format::archive::Time;

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let (place, really) = match words.as_slice() {
        [place] => (place, false),
        [place, word] if word == "--really" => (place, true),
        _ => return Err("usage: list_and_prune REPOSITORY [--really]".into()),
    };
    if !really {
        let repository = unlocked(place)?.reader(&Silent)?;
        let doomed = decide(&repository)?;
        println!("a gc {}", repository.plan_gc(&doomed, 1, &Silent)?);
        return Ok(());
    }
    // Others may read and add meanwhile; nobody else deletes.
    let mut repository = unlocked(place)?.pruner(&Silent)?;
    let doomed = decide(&repository)?;
    repository.delete(&doomed)?;
    let report = repository.gc(&GcOptions::default(), &Silent)?;
    println!("{} bytes of packs deleted", report.deleted_pack_bytes);
    Ok(())
}

fn unlocked(place: &str) -> Result<Unlocked, Box<dyn Error>> {
    let locked = garret_core::open(LocalStore::open(place.as_ref())?)?;
    let keys = locked.unlock(Secret::None)?;
    Ok(locked.with(keys))
}

/// Prints a line for each archive; returns the names of those that go.
fn decide(repository: &Repository) -> Result<Vec<String>, Box<dyn Error>> {
    let names = repository.archive_names()?;
    let archives = names.iter().map(|name| repository.archive(name));
    let archives = archives.collect::<Result<Vec<_>, _>>()?;
    let mut rules = KeepRules::default();
    rules.daily = 7;
    // What lacks something takes no whole one's place, and what is protected stays.
    rules.lacking = repository.lacking(&names, 1, &Silent)?;
    let tags = repository.tags(&Silent)?;
    let protected = archives.iter().filter(|found| tags.is_protected(found));
    rules.protected = protected.map(|found| found.name.clone()).collect();
    let secs = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs().try_into()?;
    // Days are those of UTC here.
    let plan = plan_prune(archives, &rules, Time { secs, nanos: 0 }, &|_| 0)?;
    for Decision { archive, kept, .. } in &plan {
        let why = kept.map_or("goes".to_owned(), |kept| format!("stays: {kept}"));
        println!("{}: {why}", archive.name);
    }
    let doomed = plan.into_iter().filter(|decision| decision.kept.is_none());
    Ok(doomed.map(|decision| decision.archive.name).collect())
}

//! What the programs share: everything between an operation of the core and a person.
//!
//! ```text
//! args: kinds of values     session: path -> repository, known by state, unlocked by secrets, its index in cache
//! seen: what was in a repository when it was used before, so that it is noticed when that is gone
//! surroundings: where and as whom we run      pipes: data in order, from a command too      suggest: what was meant
//! key_file: files with secrets      prompt: the terminal is asked for a passphrase      keyring: keys are changed
//! names, placeholders: what archives may be called
//! steps: create, prune, check, init, delete as calls that give reports       nightly: jobs made of them
//! signals: none ends us without a word            sandbox: what we may no longer do      heap: freed memory is given back
//! ui: progress and problems -> stderr: lines, bars on a terminal, or events in JSON      terminal: what one can show
//! drills: which images were restored to see that they can be
//! render, overview: numbers, times, tables -> text      pages: the command line -> manual pages
//! record: what is known of a thing -> JSON, or text by a template of the user
//! failure: why a command ended      exit: what the shell is told      trust: whom a file can be from
//! ```
//!
//! A program adds its commands: arguments, one call of the core, texts.

#![warn(clippy::indexing_slicing)]

pub mod args;
mod bars;
pub mod cache;
pub mod drills;
mod elsewhere;
mod events;
pub mod exit;
pub mod failure;
mod heap;
pub mod key_file;
pub mod keyring;
pub mod listing;
pub mod location;
pub mod names;
pub mod nightly;
pub mod overview;
pub mod packs;
pub mod pages;
pub mod pipes;
pub mod placeholders;
mod prompt;
pub mod rates;
pub mod record;
pub mod render;
pub mod sandbox;
pub mod secrets;
mod seen;
pub mod serve;
pub mod session;
pub mod signals;
mod ssh;
pub mod state;
pub mod steps;
mod stores;
pub mod suggest;
pub mod surroundings;
pub mod terminal;
pub mod trust;
pub mod ui;
pub mod warm;
pub mod whole;

//! Jobs that are done every night: what they are, and how one is done from begin to end.
//!
//! ```text
//! config: a file in TOML --+
//!                          +-> job: what is to be done -> run: hooks, steps -> report -> history -> metrics
//! a command line ----------+                              once: never twice at the same time
//! ```

pub mod config;
mod history;
mod hooks;
pub mod job;
mod matches;
pub mod metrics;
mod once;
pub mod own;
pub mod report;
pub mod run;
mod window;
mod words;

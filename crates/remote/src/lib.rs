//! A repository on another host: what a [`garret_core::Store`] does, over a pair of pipes.
//!
//! ```text
//! host with the images                                     host with the repository
//! Repository -> RemoteStore -> ssh HOST garret serve --pipe--> serve -> Gate -> LocalStore
//!               client          a program of the system        server  gate
//! ```
//!
//! `wire.rs` has the bytes, in both directions: frames with ids, so that many requests are under way at once and are answered
//! in any order. The server needs no key and has none: it stores what it is given, and `gate.rs` decides what it takes. Locks
//! are the kernel's, held by the server's process, so they end with the connection however that ends.
//!
//! In: pipes; who makes them, as by `ssh`, is not known here. Out: a store, or a server for one. Promises: nothing that comes
//! from the other side, be it the server or the client, makes this side panic, take more memory than is said in `wire.rs`, or
//! touch anything but the repository.

mod client;
mod gate;
mod greeting;
mod server;
mod wire;

pub use client::{Ended, RemoteStore};
pub use gate::{Gate, Removable, Rules};
pub use server::serve;
pub use wire::{Opening, VERSION};

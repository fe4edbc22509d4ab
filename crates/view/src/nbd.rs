//! A server for the NBD protocol: disks for virtual machines, and for whoever copies or looks at one. Reads only.
//!
//! ```text
//! Listener -> connection -> handshake: which export, which replies
//!  server                -> transmission: requests -> workers -> Reader -> replies
//! ```
//!
//! In: something to listen at, and exports. Out: what clients ask for. The protocol is "The NBD protocol" of the NBD project
//! (`doc/proto.md`): the fixed newstyle handshake, structured replies, block status by `base:allocation`. No encryption: a
//! socket of this host's file system, or its loopback address.
//!
//! Promises: at most [`CONNECTIONS_MAX`] clients, each with [`WORKERS_MAX`] requests being worked on and as much memory as
//! the pieces of these; nothing that a client sends makes the server take more, stop, or give bytes that are not the
//! export's.

mod handshake;
mod server;
mod stream;
mod transmission;
mod wire;

pub use server::{CONNECTIONS_MAX, Listener, serve};
pub use transmission::WORKERS_MAX;

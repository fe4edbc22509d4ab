//! A repository in an object store, or on a server of SFTP.
//!
//! ```text
//! garret (keys, no network)                      garret-stores (network, no keys)
//! Repository -> RemoteStore --pipe--> serve -> Retry -> ObjectStore -> Service
//!                                                        |  names       bucket -> opendal: login, transport
//!                                                        |  probe       sftp   -> russh-sftp -> the system's ssh
//!                                                        Leases         place: which, and who asks
//! ```
//!
//! garret starts the program `garret-stores` and speaks with it as with `garret serve` on another host. What holds keys opens
//! no socket, and what parses answers of the network sees no key and no byte that is not sealed or public.
//!
//! In: a location. Out: a store that keeps the contract of [`garret_core::Store`] on a server that knows neither locks nor
//! renaming. Promises: of two who publish one name at once exactly one succeeds, on whatever server lists what was put.

#![warn(clippy::indexing_slicing)]

mod bucket;
mod first;
mod login;
mod names;
mod object_store;
mod paces;
mod place;
mod probe;
mod records;
mod service;
mod sftp;
mod transport;
mod way;

pub use object_store::ObjectStore;
pub use paces::Paces;
pub use place::{Malformed, Place};

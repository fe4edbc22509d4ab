//! A repository in an object store.
//!
//! ```text
//! garret (keys, no network)                      garret-stores (network, no keys)
//! Repository -> RemoteStore --pipe--> serve -> Retry -> ObjectStore -> Service -> opendal -> S3, ...
//!                                                        |  names       each request, its errors; place, login
//!                                                        |  probe       may two create the same object?
//!                                                        Leases         who is there, and a watch on what stalls
//! ```
//!
//! garret starts the program `garret-stores` and speaks with it as with `garret serve` on another host. What holds keys opens
//! no socket, and what parses answers of the network sees no key and no byte that is not sealed or public.
//!
//! In: a location. Out: a store that keeps the contract of [`garret_core::Store`] on a server that knows neither locks nor
//! renaming. Promises: of two who publish one name at once exactly one succeeds, on whatever server lists what was put.

#![warn(clippy::indexing_slicing)]

mod login;
mod names;
mod object_store;
mod place;
mod probe;
mod service;
mod watch;

pub use object_store::ObjectStore;
pub use place::{Malformed, Place};

//! Whether a server keeps a second one from creating an object.
//!
//! In: a server that was told to put objects only where there are none. Out: whether it did so. Promises: believed is only
//! what was seen: servers ignore the condition, or look at it too early, and say that all is well.

use std::io;

use garret_core::{StoreError, StoreErrorKind};

use crate::bucket::is_conflict;
use crate::names::PROBES;
use crate::service::Service;

/// Requests at once for one object. Where the condition is looked at too early, of 16 at least two were let through nearly
/// each time.
const RACERS: u8 = 16;

/// Whether of many who create one object at once exactly one succeeds.
///
/// # Errors
/// The store cannot be written to.
pub(crate) fn is_exclusive(service: &dyn Service) -> Result<bool, StoreError> {
    let mut id = [0; 16];
    getrandom::fill(&mut id).map_err(|error| {
        StoreError::new("probe", service.place(), io::Error::other(error.to_string()))
    })?;
    let name = format!("{PROBES}{:032x}", u128::from_le_bytes(id));
    let answers: Vec<Result<(), StoreError>> = std::thread::scope(|scope| {
        let racers: Vec<_> = (0..RACERS)
            .map(|racer| {
                let name = &name;
                scope.spawn(move || service.put(name, &[&[racer]], true))
            })
            .collect();
        let joined = racers.into_iter().map(|racer| racer.join());
        joined
            .map(|answer| answer.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    });
    let last = service.put(&name, &[b"last"], true);
    service.delete(&name)?;
    let (mut winners, mut refused, mut unheard, mut is_known) = (0, 0, None, true);
    for answer in answers {
        match answer {
            Ok(()) => winners += 1,
            Err(error) if error.kind == StoreErrorKind::AlreadyExists || is_conflict(&error) => {
                refused += 1;
            }
            // Too many at once, which a server may say instead of who was first.
            Err(error) if error.kind == StoreErrorKind::Transient => unheard = Some(error),
            Err(error) if says_nothing(&error) => return Err(error),
            // It knows no such condition.
            Err(_) => is_known = false,
        }
    }
    let is_refused = match last {
        Err(error) if error.kind == StoreErrorKind::Transient || says_nothing(&error) => {
            return Err(error);
        }
        last => matches!(last, Err(error) if error.kind == StoreErrorKind::AlreadyExists),
    };
    match unheard {
        Some(error) if winners == 0 => Err(error),
        // Of a race somebody was refused; else there was none.
        _ => Ok(winners == 1 && refused > 0 && is_known && is_refused),
    }
}

/// Whether it is about rights or room, and not about the condition.
fn says_nothing(error: &StoreError) -> bool {
    matches!(error.kind, StoreErrorKind::Denied | StoreErrorKind::NoSpace)
}

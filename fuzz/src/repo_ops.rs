//! A life of a repository, against a model.
//!
//! In: any bytes. The first says what the client keeps; then four for each step: what, of which archive, a place. Out:
//! nothing. Promises checked: those of [`World`].

use garret_core::StoreErrorKind;
use garret_testkit::{Step, Trouble, World};

/// A longer life shows nothing new and takes longer.
const STEPS_MAX: usize = 24;

/// Takes the steps that the bytes describe.
pub fn repo_ops(bytes: &[u8]) {
    let (first, steps) = bytes.split_first().unwrap_or((&0, &[]));
    let mut world = World::new(first & 1 == 1);
    let mut trouble = None;
    for step in steps.chunks_exact(4).take(STEPS_MAX) {
        let [verb, one, other, last] = step else { continue };
        let (name, content, place) =
            (*one, *other, u64::from_le_bytes([*one, *other, *last, 0, 0, 0, 0, 0]));
        let step = match verb % 8 {
            0 | 1 => Step::Create { name, content },
            2 => Step::Delete { names: *one, collect: other & 1 == 1 },
            3 if one & 1 == 1 => Step::Compact,
            3 => Step::Collect,
            4 => Step::Rename { from: *one, to: *other },
            5 if one & 2 == 2 => Step::Protect { names: *other, on: one & 1 == 1 },
            5 if one & 1 == 1 => Step::Watch,
            5 => Step::Reopen,
            6 => Step::Damage { place },
            // Trouble that the next step meets.
            _ => {
                trouble = Some(troubled(*one, *other, *last));
                continue;
            }
        };
        world.step(&step, trouble.take().as_ref());
    }
    world.ends();
}

fn troubled(after: u8, how: u8, seed: u8) -> Trouble {
    let kinds = [
        StoreErrorKind::Other,
        StoreErrorKind::NoSpace,
        StoreErrorKind::Denied,
        StoreErrorKind::Transient,
    ];
    Trouble {
        after: u64::from(after),
        for_good: how & 4 != 0,
        is_done: how & 8 != 0,
        kind: kinds[usize::from(how & 3)],
        power_cut: (how & 16 != 0).then_some(u64::from(seed)),
    }
}

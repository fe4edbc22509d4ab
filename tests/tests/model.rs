//! Sequences of operations against a model: create, protect, delete, gc, rename, sessions that stay open beside them, a store
//! that fails or dies with a power cut in the middle, damage.
//!
//! In: random sequences, shrunk when they fail, and the fuzzer's corpus. What holds is said in `garret_testkit::World`.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]
#![allow(clippy::print_stdout, reason = "names the file that fails")]

#[path = "../../fuzz/src/repo_ops.rs"]
mod repo_ops;

use std::fs;
use std::path::Path;

use garret_core::StoreErrorKind;
use garret_testkit::{Step, Trouble, World};
use proptest::prelude::*;

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..5u8, 0..6u8).prop_map(|(name, content)| Step::Create { name, content }),
        2 => (0..32u8, any::<bool>()).prop_map(|(names, collect)| Step::Delete { names, collect }),
        1 => (0..32u8, any::<bool>()).prop_map(|(names, on)| Step::Protect { names, on }),
        2 => Just(Step::Collect),
        2 => Just(Step::Compact),
        1 => (0..5u8, 0..5u8).prop_map(|(from, to)| Step::Rename { from, to }),
        1 => Just(Step::Reopen),
        1 => Just(Step::Watch),
    ]
}

/// The machine dies at an operation of the store in the middle of a step; or the store fails there, once or until the step is
/// over.
fn trouble() -> impl Strategy<Value = Trouble> {
    let kind = prop::sample::select(vec![
        StoreErrorKind::Other,
        StoreErrorKind::NoSpace,
        StoreErrorKind::Denied,
        StoreErrorKind::Transient,
    ]);
    let (after, cut) = (0..60u64, prop::option::of(any::<u64>()));
    (after, any::<[bool; 2]>(), kind, cut).prop_map(|(after, how, kind, power_cut)| {
        let [for_good, is_done] = how;
        Trouble { after, for_good: for_good || power_cut.is_some(), is_done, kind, power_cut }
    })
}

type Sequence = Vec<(Step, Option<Trouble>)>;

fn sequence() -> impl Strategy<Value = Sequence> {
    let fine = step().prop_map(|step| (step, None));
    let troubled = (step(), trouble()).prop_map(|(step, trouble)| (step, Some(trouble)));
    prop::collection::vec(prop_oneof![4 => fine, 1 => troubled], 1..18)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_leaves_what_the_model_has(steps in sequence(), has_cache in any::<bool>(), place in any::<u64>()) {
        let mut world = World::new(has_cache);
        steps.iter().for_each(|(step, trouble)| world.step(step, trouble.as_ref()));
        let mut damaged = world.copy();
        damaged.step(&Step::Damage { place }, None);
        damaged.ends();
        world.ends();
    }
}

#[test]
fn every_sequence_of_the_corpus_leaves_what_the_model_has() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/repo_ops");
    let paths: Vec<_> = fs::read_dir(&corpus).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(!paths.is_empty(), "the corpus is empty");
    for path in &paths {
        println!("{}", path.display());
        repo_ops::repo_ops(&fs::read(path).unwrap());
    }
}

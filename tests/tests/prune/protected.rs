//! Archives that are protected: they stay, and nothing else changes by that.

use std::collections::BTreeSet;

use garret_core::{KeptBy, plan_prune};
use garret_format::archive::Time;
use proptest::prelude::*;

use super::{archive, rules, times};

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_protected_stays_and_changes_nothing_for_the_others(
        times in times(),
        rules in rules(),
        force in any::<bool>(),
        protected in any::<u64>(),
    ) {
        let all: Vec<_> =
            times.iter().enumerate().map(|(number, secs)| archive(number, *secs)).collect();
        let now = Time { secs: times.last().copied().unwrap_or_default(), nanos: 0 };
        let mut rules = rules;
        rules.force = force;
        let without = plan_prune(all.clone(), &rules, now, &|_| 0).unwrap();
        let is_one = |number: usize| protected >> (number % 64) & 1 == 1;
        let names = all.iter().enumerate().filter(|(number, _)| is_one(*number));
        rules.protected = names.map(|(_, archive)| archive.name.clone()).collect();
        let with = plan_prune(all, &rules, now, &|_| 0).unwrap();
        for (with, without) in with.iter().zip(&without) {
            prop_assert_eq!(&with.archive, &without.archive);
            let is_one = rules.protected.contains(&with.archive.name);
            let by_that = (without.kept.is_none() && is_one).then_some(KeptBy::Protected);
            prop_assert_eq!(with.kept, without.kept.or(by_that));
        }
        let gone: BTreeSet<&String> =
            with.iter().filter(|one| one.kept.is_none()).map(|one| &one.archive.name).collect();
        prop_assert!(rules.protected.iter().all(|name| !gone.contains(name)));
    }
}

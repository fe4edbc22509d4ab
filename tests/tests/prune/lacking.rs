//! Archives that were complete and have lost something since: none takes the place of one that is whole.
//!
//! In: random nights of which some are lacking; a repository of which a pack is gone. Promises: what stays is what stays by
//! the rules whatever is lacking, and what stays by them of the whole ones.

use std::collections::{BTreeSet, HashSet};

use garret_core::{Area, KeepRules, Silent, Store, plan_prune};
use garret_format::archive::Time;
use garret_format::config::KeyMode;
use garret_testkit::{Image, Lab};
use proptest::prelude::*;

use super::{archive, rules, times};

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_stays_is_what_stays_without_them_and_with_them(
        times in times(),
        rules in rules(),
        force in any::<bool>(),
        lacking in any::<u64>(),
    ) {
        let all: Vec<_> =
            times.iter().enumerate().map(|(number, secs)| archive(number, *secs)).collect();
        let is_lacking = |number: usize| lacking >> (number % 64) & 1 == 1;
        let (lacking, whole): (Vec<_>, Vec<_>) =
            all.iter().cloned().enumerate().partition(|(number, _)| is_lacking(*number));
        let now = Time { secs: times.last().copied().unwrap_or_default(), nanos: 0 };
        let kept = |archives: Vec<_>, rules: &KeepRules| -> BTreeSet<String> {
            let plan = plan_prune(archives, rules, now, &|_| 0).unwrap();
            plan.into_iter().filter(|one| one.kept.is_some()).map(|one| one.archive.name).collect()
        };
        let mut rules = rules;
        rules.force = force;
        let whole: Vec<_> = whole.into_iter().map(|(_, archive)| archive).collect();
        let either: BTreeSet<String> = &kept(all.clone(), &rules) | &kept(whole, &rules);
        rules.lacking = lacking.into_iter().map(|(_, archive)| archive.name).collect();
        prop_assert_eq!(kept(all, &rules), either);
    }
}

#[test]
fn an_archive_that_lost_a_pack_is_lacking_and_so_is_every_other_that_needs_it() {
    let (lab, store) = Lab::memory(KeyMode::Passphrase);
    let (old, new) = (Image::noise(1, 900_000).bytes, Image::noise(2, 900_000).bytes);
    lab.backup_bytes("whole", &old).unwrap();
    let before: HashSet<_> = store.list(Area::Packs).unwrap().into_iter().collect();
    lab.backup_bytes("a", &new).unwrap();
    lab.backup_bytes("b", &[old, new].concat()).unwrap();
    let names = ["whole", "a", "b"].map(str::to_owned);
    let lacking = |names: &[String]| lab.reader().unwrap().lacking(names, 2, &Silent).unwrap();
    assert_eq!(lacking(&names), HashSet::new());
    let later = store.list(Area::Packs).unwrap().into_iter().filter(|pack| !before.contains(pack));
    let (lost, _) = later.max_by_key(|(_, len)| *len).unwrap();
    store.delete(&lost).unwrap();
    assert_eq!(lacking(&names), HashSet::from(["a", "b"].map(str::to_owned)));
}

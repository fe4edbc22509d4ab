//! Passes of compact over all that there is, and what each has taken up, so that they end.
//!
//! In: planned groups, and what came of the groups that were gathered from them. Out: what a group has to gain, and whether a
//! planned one is taken up. Promises: what came of nothing is not taken up again before it takes more than it did; what was
//! made is made once more in a pass at most; no pass follows one that made packs no shorter.

use std::collections::HashMap;

use garret_format::ChunkId;

use super::alike::Gathered;
use super::plan::Planned;
use super::rewrite::Tried;

/// What a group has to gain in the pass that is under way: much at first, then less. What was left in old packs may take more
/// afterwards than it did in them, and less beside what was left too. So all is looked at once more, as the next run would,
/// until that makes packs no shorter.
pub(super) struct Passes {
    gains: &'static [u64],
    /// What this pass has not done with; the one that it is at comes first.
    left: &'static [u64],
    /// Groups written when it began,
    group_count: u64,
    /// and bytes of packs.
    packs_len: u64,
}

impl Passes {
    pub(super) fn new(gains: &'static [u64], packs_len: u64) -> Self {
        Passes { gains, left: gains, group_count: 0, packs_len }
    }

    /// What a group has to gain; `None` when all is done.
    pub(super) fn gain(&self) -> Option<u64> {
        self.left.first().copied()
    }

    /// Whether this pass is at its last gain, and made something.
    pub(super) fn ends(&self, group_count: u64) -> bool {
        self.left.len() == 1 && group_count > self.group_count
    }

    /// Nothing more gains as much. Whether a pass begins.
    pub(super) fn turn(&mut self, group_count: u64, packs_len: u64) -> bool {
        let begins = self.ends(group_count) && packs_len < self.packs_len;
        self.left = match begins {
            true => self.gains,
            false => self.left.get(1..).unwrap_or_default(),
        };
        if begins {
            (self.group_count, self.packs_len) = (group_count, packs_len);
        }
        begins
    }
}

/// By its first chunk, what came of each planned group. `came_to` is that of what was left of it.
#[derive(Default)]
pub(super) struct Taken(HashMap<ChunkId, Tried>);

/// A planned group that is being written: its first chunk, and what it took.
#[derive(Clone, Copy)]
pub(super) struct Under {
    first: Option<ChunkId>,
    stored_len: u64,
}

impl Under {
    pub(super) fn of(planned: &Planned) -> Self {
        Under { first: planned.first(), stored_len: planned.stored_len }
    }
}

impl Taken {
    /// Whether it is taken up.
    pub(super) fn lets(&self, planned: &Planned) -> bool {
        let before = planned.first().and_then(|first| self.0.get(&first));
        before.is_none_or(|tried| planned.stored_len > tried.came_to)
    }

    /// Notes what came of a round: of what was gathered from these, in order, so much was tried.
    pub(super) fn note(&mut self, round: &[Under], gathered: &[Gathered], tried: &[Tried]) {
        let mut of_round: HashMap<usize, Tried> = HashMap::new();
        for (group, of_group) in gathered.iter().zip(tried) {
            for (number, len) in &group.from {
                let share = match of_group.came_to {
                    u64::MAX => u64::MAX,
                    came_to => came_to * len / group.plain_len,
                };
                let all = of_round.entry(*number).or_default();
                all.came_to = all.came_to.saturating_add(share);
                all.is_made |= of_group.is_made;
            }
        }
        for (number, now) in of_round {
            let Some(Under { first: Some(first), stored_len }) = round.get(number).copied() else {
                continue;
            };
            let all = self.0.entry(first).or_default();
            all.came_to = match (all.is_made, now.is_made) {
                (true, true) => u64::MAX,
                (false, true) => now.came_to,
                // Beside others its share may be less than it takes, and still it was not made: it is the same again.
                (_, false) => now.came_to.max(stored_len),
            };
            all.is_made |= now.is_made;
        }
    }

    /// A pass begins anew, but for what cannot be read: beside what was made since, and what else is left, others may come to
    /// less.
    pub(super) fn begin_pass(&mut self) {
        self.0.retain(|_, tried| !tried.is_made && tried.came_to == u64::MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::super::plan::Member;
    use super::*;

    fn planned(stored_len: u64) -> Planned {
        let (id, cell) = (ChunkId::from_bytes([1; 32]), (0, 0));
        let member = Member { id, len: 1000, stored_len: 900, version: 0, cell };
        Planned { members: vec![member], plain_len: 1000, stored_len, gain_len: 1 }
    }

    /// Half of it in each of two groups, one of which is of others by nine tenths.
    fn round(taken: &mut Taken, stored_len: u64, tried: [Tried; 2]) {
        let under = [Under::of(&planned(stored_len))];
        let gathered = [500, 5000].map(|plain_len| Gathered {
            plain_len,
            from: [(0, 500), (7, plain_len - 500)].into(),
            ..Gathered::default()
        });
        taken.note(&under, &gathered, &tried);
    }

    const MADE: Tried = Tried { is_made: true, came_to: 0 };

    fn unmade(came_to: u64) -> Tried {
        Tried { is_made: false, came_to }
    }

    #[test]
    fn what_came_of_nothing_is_taken_up_again_only_when_it_takes_more() {
        let mut taken = Taken::default();
        assert!(taken.lets(&planned(900)));
        // By shares it is 890: less than it takes, because shares are rounded and others are longer.
        round(&mut taken, 900, [unmade(440), unmade(4500)]);
        assert!(!taken.lets(&planned(900)) && taken.lets(&planned(901)));
        taken.begin_pass();
        assert!(taken.lets(&planned(900)));
        // What cannot be read is not even then.
        round(&mut taken, 900, [unmade(440), unmade(u64::MAX)]);
        taken.begin_pass();
        assert!(!taken.lets(&planned(u64::MAX)));
    }

    #[test]
    fn a_pass_follows_one_that_made_packs_shorter_and_no_other() {
        let mut passes = Passes::new(&[4, 16], 1000);
        assert_eq!(passes.gain(), Some(4));
        assert!(!passes.turn(3, 900));
        assert_eq!(passes.gain(), Some(16));
        assert!(passes.ends(3) && passes.turn(3, 900));
        // One that makes nothing is the last,
        assert_eq!(passes.gain(), Some(4));
        assert!(!passes.turn(3, 800) && !passes.ends(3) && !passes.turn(3, 800));
        assert_eq!(passes.gain(), None);
        // and one that makes groups and no less of packs.
        let mut passes = Passes::new(&[16], 1000);
        assert!(passes.ends(1) && !passes.turn(1, 1000));
        assert_eq!(passes.gain(), None);
    }

    #[test]
    fn what_was_made_is_made_once_more_at_most() {
        let mut taken = Taken::default();
        round(&mut taken, 900, [MADE, unmade(4500)]);
        // Of what is left 450 would come.
        assert!(!taken.lets(&planned(450)) && taken.lets(&planned(451)));
        round(&mut taken, 800, [unmade(440), unmade(4500)]);
        assert!(!taken.lets(&planned(890)) && taken.lets(&planned(891)));
        round(&mut taken, 891, [MADE, MADE]);
        assert!(!taken.lets(&planned(u64::MAX)));
        taken.begin_pass();
        assert!(taken.lets(&planned(1)));
    }
}

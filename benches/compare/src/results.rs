//! What came out: records of single runs, and the rows that tables and charts show of them.
//!
//! In: [`Record`]s. Out: [`Row`]s of medians with the smallest and the greatest. Promises: what failed is counted and
//! named, never averaged away; `against_ours` compares runs of one round with each other only.

use std::collections::BTreeMap;

use crate::participants::Participant;
use crate::plan::{Plan, Step};
use crate::process::Measured;
use crate::tools::OURS;
use crate::work::Usage;

/// Bytes of a gigabyte, as users compare.
pub(crate) const GB: f64 = 1e9;

/// One step of one participant in one round.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) round: usize,
    pub(crate) step: Step,
    /// Its place in [`Results::participants`].
    pub(crate) participant: usize,
    pub(crate) result: Result<Done, String>,
}

/// A step that was done.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Done {
    pub(crate) measured: Measured,
    /// What the file system then took to write what it had not yet; of backups only.
    pub(crate) sync_seconds: Option<f64>,
    /// The repository afterwards, or what a yardstick wrote.
    pub(crate) repository: Option<Usage>,
    /// Lengths of all that was backed up into it.
    pub(crate) total: u64,
    /// The file that came back, its digest compared.
    pub(crate) restored: Option<Usage>,
}

impl Done {
    pub(crate) fn ratio(&self) -> Option<f64> {
        let allocated = self.repository?.allocated;
        (allocated > 0).then(|| self.total as f64 / allocated as f64)
    }
}

/// All of a comparison.
#[derive(Debug)]
pub(crate) struct Results {
    pub(crate) plan: Plan,
    pub(crate) participants: Vec<Participant>,
    pub(crate) missing: Vec<&'static str>,
    pub(crate) inputs: BTreeMap<Step, Usage>,
    pub(crate) records: Vec<Record>,
    /// Lines about machine and method.
    pub(crate) header: Vec<String>,
}

/// The middle of some figures, and their ends.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

/// One participant in one step, over all rounds.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) participant: usize,
    pub(crate) runs: usize,
    pub(crate) seconds: Spread,
    pub(crate) seconds_per_gb: Spread,
    pub(crate) sync_seconds: Option<Spread>,
    pub(crate) cpu_seconds: Spread,
    pub(crate) peak_bytes: Spread,
    pub(crate) repository_bytes: Option<Spread>,
    pub(crate) repository_files: Option<Spread>,
    pub(crate) ratio: Option<Spread>,
    pub(crate) restored_bytes: Option<Spread>,
    /// Its time over garret's in the same round.
    pub(crate) against_ours: Option<Spread>,
    pub(crate) problems: Vec<String>,
}

/// Median, smallest and greatest; none of nothing.
pub(crate) fn spread(figures: impl IntoIterator<Item = f64>) -> Option<Spread> {
    let mut sorted: Vec<f64> = figures.into_iter().collect();
    sorted.sort_by(f64::total_cmp);
    let (min, max) = (*sorted.first()?, *sorted.last()?);
    let upper = *sorted.get(sorted.len() / 2)?;
    let lower = *sorted.get((sorted.len() - 1) / 2)?;
    Some(Spread { median: (lower + upper) / 2.0, min, max })
}

impl Results {
    pub(crate) fn input(&self, step: Step) -> Usage {
        self.inputs.get(&step).copied().unwrap_or_default()
    }

    /// Which backup of its repository a step is, counted from 1; none for a restore.
    pub(crate) fn number(&self, step: Step, participant: &Participant) -> Option<usize> {
        let before =
            |other: &&Step| other.is_backup() && **other <= step && participant.does(**other);
        step.is_backup().then(|| self.plan.steps.iter().filter(before).count())
    }

    /// The rows of a step, in the order of the participants.
    pub(crate) fn rows(&self, step: Step) -> Vec<Row> {
        (0..self.participants.len()).filter_map(|index| self.row(step, index)).collect()
    }

    fn done(&self, step: Step, participant: usize) -> BTreeMap<usize, Done> {
        let of_step =
            self.records.iter().filter(|r| (r.step, r.participant) == (step, participant));
        of_step.filter_map(|r| Some((r.round, *r.result.as_ref().ok()?))).collect()
    }

    fn row(&self, step: Step, participant: usize) -> Option<Row> {
        let of_step =
            self.records.iter().filter(|r| (r.step, r.participant) == (step, participant));
        let problems: Vec<_> = of_step.filter_map(|r| r.result.as_ref().err().cloned()).collect();
        let done = self.done(step, participant);
        if done.is_empty() && problems.is_empty() {
            return None;
        }
        let ours = self.participants.iter().position(|p| p.name() == OURS);
        let ours = ours.map_or_else(BTreeMap::new, |ours| self.done(step, ours));
        let against = |(round, done): (&usize, &Done)| {
            Some(done.measured.seconds / ours.get(round)?.measured.seconds)
        };
        let all = |figure: fn(&Done) -> f64| spread(done.values().map(figure));
        let some = |figure: fn(&Done) -> Option<f64>| spread(done.values().filter_map(figure));
        let gigabytes = self.input(step).len as f64 / GB;
        Some(Row {
            participant,
            runs: done.len(),
            seconds: all(|d| d.measured.seconds).unwrap_or_default(),
            seconds_per_gb: spread(done.values().map(|d| d.measured.seconds / gigabytes))
                .unwrap_or_default(),
            sync_seconds: some(|d| d.sync_seconds),
            cpu_seconds: all(|d| d.measured.cpu_seconds).unwrap_or_default(),
            peak_bytes: all(|d| d.measured.peak_bytes as f64).unwrap_or_default(),
            repository_bytes: some(|d| Some(d.repository?.allocated as f64)),
            repository_files: some(|d| Some(d.repository?.files as f64)),
            ratio: some(Done::ratio),
            restored_bytes: some(|d| Some(d.restored?.allocated as f64)),
            against_ours: spread(done.iter().filter_map(against)),
            problems,
        })
    }

    /// Whether anything failed, wrong bytes among it.
    pub(crate) fn has_problems(&self) -> bool {
        self.records.iter().any(|record| record.result.is_err())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::participants::Kind;
    use crate::plan::Image;
    use crate::tools::TOOLS;

    /// Two tools, the second fails its second restore.
    pub(crate) fn sample() -> Results {
        let participant = |index: usize| Participant {
            kind: Kind::Tool(&TOOLS[index]),
            program: "/bin/x".into(),
            version: "1.0".into(),
        };
        let usage = |len| Usage { len, allocated: len / 2, files: 3 };
        let mut records = Vec::new();
        for (round, seconds) in [2.0, 4.0].into_iter().enumerate() {
            for participant in 0..2 {
                let seconds = seconds * (1.0 + participant as f64);
                let measured = Measured { seconds, cpu_seconds: 1.5, peak_bytes: 100_000_000 };
                let (total, restored) = (2_000_000_000, None);
                let done = Done {
                    measured,
                    sync_seconds: Some(0.25),
                    repository: Some(usage(1_000_000_000)),
                    total,
                    restored,
                };
                records.push(Record { round, step: Step::First, participant, result: Ok(done) });
                let restored = Some(usage(1_000_000_000));
                let done =
                    Done { sync_seconds: None, repository: None, total: 0, restored, ..done };
                let failed = (round, participant) == (1, 1);
                let result = if failed { Err("it \"broke\", so".to_owned()) } else { Ok(done) };
                records.push(Record { round, step: Step::Restore, participant, result });
            }
        }
        let steps = vec![Step::First, Step::Restore];
        let image = Image { source: "n1/a.qcow2".into(), name: "a.qcow2".to_owned(), len: None };
        Results {
            plan: Plan { steps, nights: vec![vec![image]] },
            participants: vec![participant(0), participant(1)],
            missing: vec!["attic"],
            inputs: [(Step::First, usage(2_000_000_000)), (Step::Restore, usage(1_000_000_000))]
                .into(),
            records,
            header: vec!["Machine: <one> & only".to_owned()],
        }
    }

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(spread([]), None);
        assert_eq!(spread([3.0]), Some(Spread { median: 3.0, min: 3.0, max: 3.0 }));
        assert_eq!(spread([5.0, 1.0, 2.0]), Some(Spread { median: 2.0, min: 1.0, max: 5.0 }));
        let even = spread([4.0, 1.0, 2.0, 3.0]);
        assert_eq!(even, Some(Spread { median: 2.5, min: 1.0, max: 4.0 }));
    }

    #[test]
    fn rows_compare_within_rounds_and_count_what_failed() {
        let results = sample();
        let rows = results.rows(Step::First);
        assert_eq!(rows[1].seconds, Spread { median: 6.0, min: 4.0, max: 8.0 });
        assert_eq!(rows[1].seconds_per_gb.median, 3.0);
        assert_eq!(rows[1].against_ours, Some(Spread { median: 2.0, min: 2.0, max: 2.0 }));
        assert_eq!(rows[0].ratio.unwrap().median, 4.0);
        let restores = results.rows(Step::Restore);
        assert_eq!((restores[1].runs, restores[1].problems.len()), (1, 1));
        assert!(results.has_problems());
        assert_eq!(results.number(Step::First, &results.participants[0]), Some(1));
        assert_eq!(results.number(Step::Restore, &results.participants[0]), None);
    }
}

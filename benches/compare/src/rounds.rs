//! The comparison itself: in every round each participant does a step once, then comes the next step.
//!
//! ```text
//! round:  init all -> step 1: A B C -> step 2: A B C -> ... -> remove all      the next round begins with B
//! one:    warm what it reads -> sync -> measure -> size of the repository, or digest of what came back
//! ```
//!
//! In: work directory, plan, participants. Out: [`Record`]s, also of what failed.
//! Promises: repositories of a round are fresh, and gone after it; what is restored is checked against its source and
//! gone before the next one is measured; whoever fails a backup does no more in that round.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::Result;
use crate::participants::{Kind, Participant};
use crate::plan::{Image, Plan, Step};
use crate::process::{Call, Measured, Surroundings, check_stopped, measure};
use crate::results::{Done, Record};
use crate::tools::{Backup, Restore, Site, Tool};
use crate::work::{self, IMAGES, RAW, SMALL, Usage, Work};
use crate::yardsticks::{Task, Yardstick};

/// What a round needs to know.
#[derive(Debug)]
pub(crate) struct Rounds<'a> {
    pub(crate) work: &'a mut Work,
    pub(crate) plan: &'a Plan,
    pub(crate) participants: &'a [Participant],
    pub(crate) runs: usize,
    pub(crate) threads: usize,
    /// What each step takes; filled on the way.
    pub(crate) inputs: &'a mut BTreeMap<Step, Usage>,
    pub(crate) records: &'a mut Vec<Record>,
}

/// One participant in one round.
#[derive(Debug)]
struct Runner {
    site: Site,
    /// Lengths of all that it has backed up.
    total: u64,
    failed: bool,
}

/// What a step takes, and what it is checked against.
#[derive(Debug)]
struct Taken {
    files: Vec<PathBuf>,
    usage: Usage,
    digest: Option<blake3::Hash>,
}

impl Rounds<'_> {
    pub(crate) fn run(&mut self) -> Result<()> {
        let mut digests = BTreeMap::new();
        for round in 0..self.runs {
            let directory = self.work.path().join(format!("round-{}", round + 1));
            let mut runners = self.start(round, &directory)?;
            for &step in &self.plan.steps {
                let taken = self.take(step, round, &mut digests)?;
                self.inputs.insert(step, taken.usage);
                self.step(round, step, &taken, &mut runners)?;
            }
            fs::remove_dir_all(directory)?;
        }
        Ok(())
    }

    /// A repository for every tool.
    fn start(&mut self, round: usize, directory: &Path) -> Result<Vec<Runner>> {
        let mut runners = Vec::new();
        for (index, participant) in self.participants.iter().enumerate() {
            let (runner, made) = start(participant, directory, self.work.path())?;
            check_stopped()?;
            runners.push(runner);
            if let Err(error) = made {
                let first = self.plan.steps.first().copied().unwrap_or(Step::First);
                self.record(round, first, index, Err(format!("no repository: {error}")));
            }
        }
        Ok(runners)
    }

    /// A step of every participant.
    fn step(
        &mut self,
        round: usize,
        step: Step,
        taken: &Taken,
        runners: &mut [Runner],
    ) -> Result<()> {
        let count = runners.len();
        for index in (0..count).map(|turn| (turn + round) % count) {
            let (Some(participant), Some(runner)) =
                (self.participants.get(index), runners.get_mut(index))
            else {
                continue;
            };
            if runner.failed || !participant.does(step) {
                continue;
            }
            let Some(result) = self.turn(step, taken, participant, runner) else { continue };
            // What a signal ended did not fail.
            check_stopped()?;
            runner.failed |= result.is_err() && step.is_backup();
            self.record(round, step, index, result.map_err(|error| error.to_string()));
        }
        Ok(())
    }

    /// Puts the files of a step in place.
    fn take(
        &mut self,
        step: Step,
        round: usize,
        digests: &mut BTreeMap<Step, blake3::Hash>,
    ) -> Result<Taken> {
        if let Some(night) = step.night() {
            self.work.place(night)?;
            if step.touches() {
                let path = |image: &Image| self.work.images().join(&image.name);
                work::touch(&self.plan.night(night).iter().map(path).collect::<Vec<_>>())?;
            }
            self.work.write_small(&format!("round {} {}\n", round + 1, step.name()))?;
        }
        let files = if step.is_backup() {
            if step == Step::Raw { vec![self.raw()] } else { work::files(&self.work.images())? }
        } else {
            let (backup, name) = self.plan.restored(step);
            vec![backup.night().map_or_else(|| self.raw(), |night| self.work.image(night, &name))]
        };
        let digest = match (step.is_backup(), digests.get(&step), files.first()) {
            (false, None, Some(file)) => Some(work::digest(file)?),
            (false, known, _) => known.copied(),
            (true, ..) => None,
        };
        digests.extend(digest.map(|digest| (step, digest)));
        Ok(Taken { usage: work::usage(&files)?, files, digest })
    }

    fn raw(&self) -> PathBuf {
        self.work.path().join(RAW).join(self.plan.raw_name())
    }

    /// One participant's step; none if it has nothing to do in it.
    fn turn(
        &self,
        step: Step,
        taken: &Taken,
        participant: &Participant,
        runner: &mut Runner,
    ) -> Option<Result<Done>> {
        match participant.kind {
            Kind::Tool(tool) if step.is_backup() => {
                Some(self.backup(step, taken, participant, tool, runner))
            }
            Kind::Tool(tool) => Some(self.restore(step, taken, participant, tool, runner)),
            Kind::Yardstick(yardstick) => {
                self.yardstick(step, taken, participant, yardstick, runner)
            }
        }
    }

    fn backup(
        &self,
        step: Step,
        taken: &Taken,
        participant: &Participant,
        tool: &Tool,
        runner: &mut Runner,
    ) -> Result<Done> {
        let (directory, files) = match step {
            Step::Raw => (RAW, vec![self.plan.raw_name()]),
            _ => {
                let names = self.plan.names(step.night().unwrap_or(0));
                (IMAGES, [names, vec![SMALL.to_owned()]].concat())
            }
        };
        let sources = self.work.path();
        let backup = Backup { archive: step.name(), sources, directory, files: &files };
        let calls = (tool.backup)(&runner.site, &backup);
        let surroundings = surroundings(participant, &runner.site, sources);
        let measured = measure_warm(&surroundings, &calls, &[&taken.files])?;
        runner.total += taken.usage.len;
        let sync_seconds = Some(sync());
        let repository = Some(work::usage(&work::files(&runner.site.repository)?)?);
        Ok(Done { measured, sync_seconds, repository, total: runner.total, restored: None })
    }

    fn restore(
        &self,
        step: Step,
        taken: &Taken,
        participant: &Participant,
        tool: &Tool,
        runner: &Runner,
    ) -> Result<Done> {
        let out = Out::new(self.work.path())?;
        let (backup, file) = self.plan.restored(step);
        let directory = if backup == Step::Raw { RAW } else { IMAGES };
        let restore = Restore { archive: backup.name(), directory, file: &file, out: &out.0 };
        let calls = (tool.restore)(&runner.site, &restore);
        let surroundings = surroundings(participant, &runner.site, self.work.path());
        let repository = work::files(&runner.site.repository)?;
        let measured = measure_warm(&surroundings, &calls, &[&repository])?;
        self.check(taken, &out, &file, measured)
    }

    fn yardstick(
        &self,
        step: Step,
        taken: &Taken,
        participant: &Participant,
        yardstick: &Yardstick,
        runner: &Runner,
    ) -> Option<Result<Done>> {
        let out = match Out::new(self.work.path()) {
            Ok(out) => out,
            Err(error) => return Some(Err(error)),
        };
        let qcow2 = self.work.image(0, self.plan.image());
        let (files, threads) = (&taken.files, self.threads);
        let task = Task { step, files, qcow2: &qcow2, out: &out.0, threads };
        let call = (yardstick.calls)(&task)?;
        let surroundings = surroundings(participant, &runner.site, self.work.path());
        let measured = measure_warm(&surroundings, &[call], &[files, &[qcow2]]);
        Some(measured.and_then(|measured| match (step.is_backup(), taken.files.first()) {
            (false, Some(file)) => {
                let name = file.file_name().unwrap_or_default().to_string_lossy();
                self.check(taken, &out, &name, measured)
            }
            _ => {
                let sync_seconds = Some(sync());
                let output = work::usage(&work::files(&out.0)?)?;
                let repository = (output.files > 0).then_some(output);
                let total = taken.usage.len;
                Ok(Done { measured, sync_seconds, repository, total, restored: None })
            }
        }))
    }

    /// Whether what came back is what was backed up.
    fn check(&self, taken: &Taken, out: &Out, name: &str, measured: Measured) -> Result<Done> {
        let file = work::find(&out.0, name)?;
        if Some(work::digest(&file)?) != taken.digest {
            return Err("WRONG BYTES: what was restored is not what was backed up".into());
        }
        let restored = Some(work::usage(&[file])?);
        Ok(Done { measured, sync_seconds: None, repository: None, total: 0, restored })
    }

    fn record(
        &mut self,
        round: usize,
        step: Step,
        participant: usize,
        result: Result<Done, String>,
    ) {
        let what = match &result {
            Ok(done) => format!("{:.2} s", done.measured.seconds),
            Err(error) => format!("failed: {error}"),
        };
        let name = self.participants.get(participant).map_or("", Participant::name);
        let (number, runs, of) = (round + 1, self.runs, step.name());
        // Nobody may be there to read it.
        let _said = writeln!(std::io::stderr(), "round {number}/{runs} {of:<12} {name:<18} {what}");
        self.records.push(Record { round, step, participant, result });
    }
}

/// Makes a participant's places, and a tool's repository; also gives whether the tool could do that.
fn start(
    participant: &Participant,
    round: &Path,
    sources: &Path,
) -> Result<(Runner, Result<Measured>)> {
    let directory = round.join(participant.name().replace([' ', '='], "-"));
    let site = Site { repository: directory.join("repository"), home: directory.join("home") };
    fs::create_dir_all(site.home.join("tmp"))?;
    let made = match participant.kind {
        Kind::Tool(tool) => {
            measure(&surroundings(participant, &site, sources), &(tool.init)(&site))
        }
        Kind::Yardstick(_) => Ok(Measured::default()),
    };
    fs::create_dir_all(&site.repository)?;
    Ok((Runner { site, total: 0, failed: made.is_err() }, made))
}

fn surroundings(participant: &Participant, site: &Site, directory: &Path) -> Surroundings {
    let mut environment: Vec<(&str, OsString)> = vec![
        ("HOME", site.home.clone().into()),
        ("TMPDIR", site.home.join("tmp").into()),
        ("LC_ALL", "C.UTF-8".into()),
    ];
    if let Kind::Tool(tool) = participant.kind {
        environment.extend((tool.environment)(site));
    }
    let log = site.home.join("compare.log");
    let program = participant.program.clone();
    Surroundings { program, environment, directory: directory.to_owned(), log }
}

/// What is read comes into the page cache, what others left unwritten is written, then the clock starts.
fn measure_warm(
    surroundings: &Surroundings,
    calls: &[Call],
    read: &[&[PathBuf]],
) -> Result<Measured> {
    for files in read {
        work::warm(files)?;
    }
    sync();
    measure(surroundings, calls)
}

/// Writes what is not written yet; without it, what is not placed yet would count for nothing. Gives the seconds.
fn sync() -> f64 {
    let started = Instant::now();
    rustix::fs::sync();
    started.elapsed().as_secs_f64()
}

/// Where a restore goes; gone when this goes.
#[derive(Debug)]
struct Out(PathBuf);

impl Out {
    fn new(parent: &Path) -> Result<Self> {
        let path = parent.join("out");
        fs::create_dir(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Out {
    fn drop(&mut self) {
        // The next restore says it if this did not work.
        let _removed = fs::remove_dir_all(&self.0);
    }
}

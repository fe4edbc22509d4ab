//! A repository to experiment with: any store, cheap keys, each operation of the core in one line.
//!
//! Every operation opens the repository anew, as a program would.

use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use garret_core::{
    BackupOptions, BackupReport, CheckOptions, CheckReport, Checker, ChunkSize, Clock, Compression,
    CutterChoice, Destination, Exclusive, GcOptions, GcReport, InitOptions, Input, Keys,
    LocalStore, Locked, MemoryStore, NamedArchive, NewKey, Phase, Problem, Progress, Pruner,
    Repository, RestoreOptions, RestoreReport, Result, Secret, Selection, Sharing, Store,
    SystemClock, Task, Unlocked, Writer,
};
use garret_format::archive::ItemKind;
use garret_format::config::{Cipher, KeyMode};
use garret_format::slot::Kdf;

/// Costs microseconds.
pub const CHEAP_KDF: Kdf = Kdf::Argon2id { memory_kib: 8, passes: 1, lanes: 1 };

/// Opens every repository of a lab that has a passphrase.
pub const PASSPHRASE: &[u8] = b"correct horse";

/// A key of the same passphrase in the place of the one that it opens.
pub fn change_key(locked: &Locked, passphrase: &[u8]) -> Result<()> {
    let opened = locked.open(Secret::Passphrase(passphrase))?;
    locked.change_key(&opened, &cheap_key(passphrase), &garret_core::Silent).map(drop)
}

/// What is to be a key that costs microseconds.
pub fn cheap_key(passphrase: &[u8]) -> NewKey<'_> {
    let mut new = NewKey::new(passphrase, 1_790_000_000);
    new.kdf = CHEAP_KDF;
    new
}

/// Remembers what an operation reported. Dropped, it makes sure that every task has ended.
#[derive(Debug, Default)]
pub struct Recorder {
    problems: Mutex<Vec<Problem>>,
    notices: Mutex<Vec<String>>,
    tasks: Mutex<Vec<TaskSeen>>,
}

/// A task of which a [`Recorder`] heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaskSeen {
    /// What it did.
    pub phase: Phase,
    /// What was to be counted.
    pub total: Option<u64>,
    /// What was.
    pub count: u64,
    /// How often it ended.
    pub ended: u32,
}

impl Recorder {
    /// The problems reported so far, in words.
    pub fn problems(&self) -> Vec<String> {
        self.heard().into_iter().map(|problem| problem.text).collect()
    }

    /// The problems reported so far.
    pub fn heard(&self) -> Vec<Problem> {
        self.problems.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The notices given so far.
    pub fn notices(&self) -> Vec<String> {
        self.notices.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The tasks so far, in the order in which they began.
    pub fn tasks(&self) -> Vec<TaskSeen> {
        self.seen().clone()
    }

    /// The tasks of work that went well: each has ended, and counted to its total.
    #[track_caller]
    pub fn settled(&self) -> Vec<TaskSeen> {
        let tasks = self.tasks();
        for task in &tasks {
            assert_eq!(task.ended, 1, "{task:?}");
            assert_eq!(task.total.unwrap_or(task.count), task.count, "{task:?}");
        }
        tasks
    }

    /// The problems of work that went on to its end, in words; without any, its tasks are settled.
    fn told(&self) -> Vec<String> {
        let problems = self.problems();
        if problems.is_empty() {
            self.settled();
        }
        problems
    }

    fn seen(&self) -> MutexGuard<'_, Vec<TaskSeen>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.tasks().iter().for_each(|task| assert_eq!(task.ended, 1, "{task:?}"));
        }
    }
}

impl Progress for Recorder {
    fn begin(&self, phase: Phase, total: Option<u64>) -> Box<dyn Task + '_> {
        let mut tasks = self.seen();
        tasks.push(TaskSeen { phase, total, count: 0, ended: 0 });
        Box::new(Recorded { recorder: self, place: tasks.len() - 1 })
    }

    fn notice(&self, text: &str) {
        self.notices.lock().unwrap_or_else(PoisonError::into_inner).push(text.to_owned());
    }

    fn problem(&self, problem: &Problem) {
        self.problems.lock().unwrap_or_else(PoisonError::into_inner).push(problem.clone());
    }
}

struct Recorded<'r> {
    recorder: &'r Recorder,
    place: usize,
}

impl Task for Recorded<'_> {
    fn advance(&self, count: u64) {
        self.recorder.seen()[self.place].count += count;
    }
}

impl Drop for Recorded<'_> {
    fn drop(&mut self) {
        self.recorder.seen()[self.place].ended += 1;
    }
}

/// What a restore to a directory gave.
#[derive(Debug)]
pub struct Restored {
    /// The core's report.
    pub report: RestoreReport,
    /// The problems.
    pub problems: Vec<String>,
}

/// A repository and how to work with it.
#[derive(Clone)]
pub struct Lab {
    store: Arc<dyn Fn() -> Box<dyn Store> + Send + Sync>,
    /// Unlocked once: a trial does not wait for the KDF.
    pub keys: Keys,
    /// Below which the client's copy of the index lies; in memory if there is none.
    pub cache: Option<PathBuf>,
    /// Threads of every operation.
    pub threads: usize,
    /// Of new groups.
    pub compression: Compression,
    /// Which cutter.
    pub cutter: CutterChoice,
    /// What time it is for checks.
    pub clock: Arc<dyn Clock>,
    /// Whether backups go by what the index says, without a sample of what is stored.
    pub skip_sample: bool,
}

/// Everything; every byte if `verify_data`.
pub fn check_options(verify_data: bool, threads: usize) -> CheckOptions {
    let mut options = CheckOptions::default();
    (options.packs, options.archives) = (true, true);
    (options.verify_data, options.threads) = (verify_data, threads);
    options.records = true;
    options
}

/// How long chunks of the suites' repositories are: as `GARRET_CHUNK` says, 16k or 32k, or as usual.
pub fn chunk_size() -> ChunkSize {
    match std::env::var("GARRET_CHUNK").as_deref() {
        Ok("16k") => ChunkSize::Kib16,
        Ok("32k") => ChunkSize::Kib32,
        Ok("64k") | Err(_) => ChunkSize::Kib64,
        Ok(other) => panic!("GARRET_CHUNK={other} is no size of chunks"),
    }
}

/// What encrypts the suites' repositories: as `GARRET_CIPHER` says, xchacha20-poly1305 or aes-256-gcm, or as usual.
pub fn cipher() -> Cipher {
    match std::env::var("GARRET_CIPHER").as_deref() {
        Ok("xchacha20-poly1305") => Cipher::XChaCha20Poly1305,
        Ok("aes-256-gcm") => Cipher::Aes256Gcm,
        Err(_) => garret_core::fastest_cipher(),
        Ok(other) => panic!("GARRET_CIPHER={other} is no cipher"),
    }
}

impl Lab {
    /// A new repository in the store that `store` gives, again and again.
    pub fn over(store: impl Fn() -> Box<dyn Store> + Send + Sync + 'static, mode: KeyMode) -> Self {
        Self::made(store, mode, cipher())
    }

    fn made(
        store: impl Fn() -> Box<dyn Store> + Send + Sync + 'static,
        mode: KeyMode,
        cipher: Cipher,
    ) -> Self {
        let mut key_file = Vec::new();
        let mut options = InitOptions::new(mode, PASSPHRASE.to_vec().into(), 1_790_000_000);
        options.kdf = CHEAP_KDF;
        options.cipher = cipher;
        options.chunk = chunk_size();
        let made = garret_core::init(&*store(), &options, &mut |_, bytes| {
            key_file = bytes.to_vec();
            Ok(())
        });
        let key_id = made.unwrap().0.key_id;
        let secret = match mode {
            KeyMode::None => Secret::None,
            KeyMode::Passphrase => Secret::Passphrase(PASSPHRASE),
            KeyMode::Keyfile => {
                Secret::Keyfile { path: "key", bytes: &key_file, passphrase: PASSPHRASE }
            }
        };
        let keys = Locked::find(store()).unwrap().expecting(key_id).unlock(secret).unwrap();
        Self::existing(store, keys)
    }

    /// The repository that is there already.
    pub fn existing(
        store: impl Fn() -> Box<dyn Store> + Send + Sync + 'static,
        keys: Keys,
    ) -> Self {
        Lab {
            store: Arc::new(store),
            keys,
            cache: None,
            threads: 1,
            compression: Compression::default(),
            cutter: CutterChoice::Auto,
            clock: Arc::new(SystemClock::new()),
            skip_sample: false,
        }
    }

    /// A new repository in memory.
    pub fn memory(mode: KeyMode) -> (Self, MemoryStore) {
        let store = MemoryStore::new();
        let shared = store.clone();
        (Self::over(move || Box::new(shared.clone()), mode), store)
    }

    /// A new repository in a directory that does not exist yet.
    pub fn local(root: &Path, mode: KeyMode) -> Self {
        LocalStore::create(root, Sharing::Private).unwrap();
        let root = root.to_owned();
        Self::over(move || Box::new(LocalStore::open(&root).unwrap()), mode)
    }

    /// The same, with a passphrase if there is a cipher.
    pub fn local_with(root: &Path, cipher: Option<Cipher>) -> Self {
        LocalStore::create(root, Sharing::Private).unwrap();
        let root = root.to_owned();
        let open = move || -> Box<dyn Store> { Box::new(LocalStore::open(&root).unwrap()) };
        match cipher {
            None => Self::over(open, KeyMode::None),
            Some(cipher) => Self::made(open, KeyMode::Passphrase, cipher),
        }
    }

    /// The same keys and settings over another store.
    pub fn with_store(&self, store: impl Fn() -> Box<dyn Store> + Send + Sync + 'static) -> Self {
        Lab { store: Arc::new(store), ..self.clone() }
    }

    /// Another client of the same repository, with a copy of the index below `cache` or in memory.
    pub fn with_cache(&self, cache: Option<PathBuf>) -> Self {
        Lab { cache, ..self.clone() }
    }

    /// The repository, to be opened.
    pub fn unlocked(&self) -> Result<Unlocked> {
        let locked = Locked::find((self.store)())?;
        let unlocked = locked.with(self.keys.clone()).clock(Arc::clone(&self.clock));
        Ok(unlocked.cache(self.cache.as_deref()))
    }

    /// The same, waiting for nobody.
    pub fn unlocked_without_patience(&self) -> Unlocked {
        let locked = Locked::find((self.store)()).unwrap().with_patience(Duration::ZERO);
        locked.with(self.keys.clone())
    }

    /// Opens the repository to be read.
    pub fn reader(&self) -> Result<Repository> {
        self.unlocked()?.reader(&garret_core::Silent)
    }

    /// The same; `progress` hears what is wrong with it.
    pub fn reader_reporting(&self, progress: &dyn Progress) -> Result<Repository> {
        self.unlocked()?.reader(progress)
    }

    /// Opens the repository to add archives.
    pub fn writer(&self) -> Result<Writer> {
        self.unlocked()?.writer(&garret_core::Silent)
    }

    /// Opens the repository to be checked.
    pub fn checker(&self) -> Result<Checker> {
        self.unlocked()?.checker(&garret_core::Silent)
    }

    /// Opens the repository to delete.
    pub fn pruner(&self) -> Result<Pruner> {
        self.unlocked()?.pruner(&garret_core::Silent)
    }

    /// The same, to repair.
    pub fn exclusive(&self) -> Result<Exclusive> {
        self.unlocked()?.exclusive(&garret_core::Silent)
    }

    /// The options of a backup.
    pub fn options(&self) -> BackupOptions {
        let mut options = BackupOptions::default();
        options.cutter = self.cutter;
        options.compression = self.compression;
        options.threads = self.threads;
        options.base = PathBuf::from("/");
        options.host = "lab".to_owned();
        options.skip_sample = self.skip_sample;
        options
    }

    /// Makes an archive of `inputs`, and gives the problems.
    pub fn backup_inputs(
        &self,
        name: &str,
        inputs: Vec<Input>,
    ) -> Result<(BackupReport, Vec<String>)> {
        let recorder = Recorder::default();
        let mut repository = self.writer()?;
        let report = repository.backup(name, inputs, &self.options(), &recorder)?;
        Ok((report, recorder.told()))
    }

    /// Makes an archive of a path; problems are a failure.
    pub fn backup_path(&self, name: &str, path: &Path) -> Result<BackupReport> {
        let (report, problems) = self.backup_inputs(name, vec![Input::Path(path.to_owned())])?;
        assert_eq!(problems, [""; 0], "backup of {}", path.display());
        Ok(report)
    }

    /// Makes an archive of a pipe; problems are a failure.
    pub fn backup_bytes(&self, name: &str, bytes: &[u8]) -> Result<BackupReport> {
        let reader = Box::new(Cursor::new(bytes.to_vec()));
        let input = Input::Stream { name: b"image".to_vec(), reader };
        let (report, problems) = self.backup_inputs(name, vec![input])?;
        assert_eq!(problems, [""; 0], "backup of a pipe");
        Ok(report)
    }

    /// The contents of an archive's files behind each other.
    pub fn restore_bytes(&self, name: &str) -> Result<Vec<u8>> {
        let repository = self.reader()?;
        let archive = repository.archive(name)?;
        self.restore_from(&repository, &archive)
    }

    /// The same by a session that is open, of an archive that it has read.
    pub fn restore_from(&self, repository: &Repository, archive: &NamedArchive) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        for item in repository.items(archive) {
            let item = item?;
            if matches!(item.kind, ItemKind::File(_)) {
                repository.restore(
                    archive,
                    &mut Selection::new([item.path]),
                    Destination::Stream(&mut bytes),
                    &self.restore_options(),
                    &garret_core::Silent,
                )?;
            }
        }
        Ok(bytes)
    }

    /// Restores an archive to a directory, as `options` says.
    pub fn restore_to(
        &self,
        name: &str,
        directory: &Path,
        options: &RestoreOptions,
    ) -> Result<Restored> {
        let recorder = Recorder::default();
        let repository = self.reader()?;
        let archive = repository.archive(name)?;
        let report = repository.restore(
            &archive,
            &mut Selection::default(),
            Destination::Directory(directory.to_owned()),
            options,
            &recorder,
        )?;
        Ok(Restored { report, problems: recorder.problems() })
    }

    /// Sparse, without owners.
    pub fn restore_options(&self) -> RestoreOptions {
        let mut options = RestoreOptions::default();
        options.allocation = garret_core::AllocationMode::Sparse;
        options.form = garret_core::Form::Stored;
        options.threads = self.threads;
        options
    }

    /// Removes an archive.
    pub fn delete(&self, name: &str) -> Result<()> {
        self.pruner()?.delete(&[name.to_owned()])
    }

    /// How space is given back.
    pub fn gc_options(&self) -> GcOptions {
        let mut options = GcOptions::default();
        options.compression = Some(self.compression);
        options.threads = self.threads;
        options
    }

    /// Gives back space, and the problems.
    pub fn gc_reporting(&self) -> Result<(GcReport, Vec<String>)> {
        let recorder = Recorder::default();
        let mut repository = self.pruner()?;
        let report = repository.gc(&self.gc_options(), &recorder)?;
        Ok((report, recorder.told()))
    }

    /// Gives back space; problems are a failure.
    pub fn gc(&self) -> Result<GcReport> {
        let (report, problems) = self.gc_reporting()?;
        assert_eq!(problems, [""; 0], "gc");
        Ok(report)
    }

    /// Checks everything, and gives the problems, those of opening included.
    pub fn check_reporting(&self, verify_data: bool) -> Result<(CheckReport, Vec<String>)> {
        let recorder = Recorder::default();
        let repository = self.unlocked()?.checker(&recorder)?;
        let options = check_options(verify_data, self.threads);
        let report = repository.check(&options, &recorder)?;
        Ok((report, recorder.told()))
    }

    /// Checks everything with every byte; problems are a failure.
    pub fn check(&self) -> CheckReport {
        let (report, problems) = self.check_reporting(true).unwrap();
        assert_eq!(problems, [""; 0], "check");
        assert_eq!(report.problem_count, 0);
        report
    }

    /// The names of all archives.
    pub fn names(&self) -> Vec<String> {
        self.reader().unwrap().archive_names().unwrap()
    }

    /// Bytes of packs, index and archives.
    pub fn stored_len(&self) -> u64 {
        self.reader().unwrap().stored_len().unwrap()
    }
}

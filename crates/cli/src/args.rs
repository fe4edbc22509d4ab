//! Kinds of values that several commands take.
//!
//! In: words of the command line. Out: what the library wants, or what is wrong with them.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use garret_core::{Compression, CutterChoice};
use garret_format::archive::{TAGS_MAX, Time, tag_fault};
use garret_format::recipe::CutterKind;

use crate::failure::Failure;
use crate::ui::{SecretPlaces, Ui};

/// What may stand behind every command.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Verbose {
    /// Show more, where there is more to show
    #[arg(short, long)]
    verbose: bool,
}

impl Verbose {
    /// Has names shown from now on, if that was asked for; whether it was.
    pub fn tell(self, ui: &Ui) -> bool {
        ui.set_verbose(self.verbose);
        self.verbose
    }
}

/// `garret_core::LOCK_WAIT_DEFAULT` as help shows it.
pub const LOCK_WAIT: &str = "1d";

/// How long to wait for other programs.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct LockWait {
    /// How long to wait for other programs that use the repository, in seconds or as 30m or 2h; 0 is not at all
    #[arg(long, value_name = "DURATION", default_value = LOCK_WAIT, value_parser = patience)]
    lock_wait: Duration,
}

impl LockWait {
    /// Has repositories opened with this patience from now on.
    pub fn tell(self, ui: &Ui) {
        ui.set_patience(self.lock_wait);
    }
}

/// Where the passphrase is.
#[derive(Clone, Debug, clap::Args)]
pub struct PassphraseFile {
    /// Take the passphrase from this file, without the newline at its end
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
}

impl PassphraseFile {
    /// Has repositories opened with it from now on.
    pub fn tell(&self, ui: &Ui) {
        let passphrase_file = self.passphrase_file.clone();
        ui.set_secrets(SecretPlaces { passphrase_file, ..SecretPlaces::default() });
    }
}

/// What stands behind every command that opens a repository.
#[derive(Clone, Debug, clap::Args)]
pub struct Usual {
    #[command(flatten)]
    lock_wait: LockWait,
    #[command(flatten)]
    verbose: Verbose,
    #[command(flatten)]
    passphrase: PassphraseFile,
}

impl Usual {
    /// Has names shown and repositories opened so from now on.
    pub fn tell(&self, ui: &Ui) {
        self.lock_wait.tell(ui);
        self.verbose.tell(ui);
        self.passphrase.tell(ui);
    }
}

/// Whether a repository is taken as it is.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct AcceptState {
    /// Go on with a repository in an older state than this client saw: one put back from a copy, another disk of a rotation
    #[arg(long)]
    accept_state: bool,
}

impl AcceptState {
    /// Has repositories opened so from now on.
    pub fn tell(self, ui: &Ui) {
        ui.set_accepts_state(self.accept_state);
    }
}

/// A time such as `90s`, `30m`, `2h` or `1d`.
///
/// # Errors
/// How it is written, also for 0.
pub fn duration(text: &str) -> Result<Duration, String> {
    let units = [("s", 1), ("m", 60), ("h", 60 * 60), ("d", 24 * 60 * 60)];
    let seconds = units.iter().find_map(|(unit, seconds)| {
        let count: u32 = text.strip_suffix(unit)?.parse().ok()?;
        Some(u64::from(count) * seconds)
    });
    match seconds {
        Some(seconds @ 1..) => Ok(Duration::from_secs(seconds)),
        _ => {
            Err("it is a number of seconds, minutes, hours or days above 0, as in 90s, 30m, 2h, 1d"
                .to_owned())
        }
    }
}

/// A number of bytes: `500G`, in thousands.
///
/// # Errors
/// How it is written, also for more than 64 bits can say.
pub fn size(text: &str) -> Result<u64, String> {
    let wrong = || "it is a number of bytes, as 500G".to_owned();
    let (number, unit) = match text.char_indices().last() {
        Some((at, unit)) if unit.is_ascii_alphabetic() => {
            (text.get(..at).unwrap_or_default(), Some(unit))
        }
        _ => (text, None),
    };
    let factor = match unit.map(|unit| unit.to_ascii_lowercase()) {
        None => 1,
        Some('k') => 1_000,
        Some('m') => 1_000_000,
        Some('g') => 1_000_000_000,
        Some('t') => 1_000_000_000_000,
        Some(_) => return Err(wrong()),
    };
    let number: u64 = number.parse().map_err(|_| wrong())?;
    number.checked_mul(factor).ok_or_else(wrong)
}

/// How long something is waited for: seconds, or a duration.
///
/// # Errors
/// As of [`duration`] for what is no number.
pub fn patience(text: &str) -> Result<Duration, String> {
    match text.parse() {
        Ok(seconds) => Ok(Duration::from_secs(seconds)),
        Err(_) => duration(text),
    }
}

/// A moment: `2026-11-20T02:30:00Z`, with another offset, or without one by local time.
///
/// # Errors
/// How it is written; that clocks here never showed it, or that it is too far from now.
pub fn time(text: &str) -> Result<Time, String> {
    let what = "it is a day and a time, as in 2026-11-20T02:30:00Z";
    let found = match text.parse::<jiff::Timestamp>() {
        Ok(found) => found,
        Err(_) => {
            let wall: jiff::civil::DateTime = text.parse().map_err(|_| what)?;
            let here = jiff::tz::TimeZone::system().to_ambiguous_zoned(wall);
            if matches!(here.offset(), jiff::tz::AmbiguousOffset::Gap { .. }) {
                return Err("there was no such time here: clocks were put forward".to_owned());
            }
            here.compatible().map_err(|_| what)?.timestamp()
        }
    };
    // Rounded down, as `Time` is: nanoseconds are never negative.
    let nanos = found.as_nanosecond().rem_euclid(1_000_000_000);
    let secs = found.as_nanosecond().div_euclid(1_000_000_000);
    let out_of_range = |_| "it is too far from now".to_owned();
    Ok(Time {
        secs: i64::try_from(secs).map_err(out_of_range)?,
        nanos: u32::try_from(nanos).map_err(out_of_range)?,
    })
}

/// Since when: a moment, the begin of a day here, or so long before now.
///
/// # Errors
/// How it is written; as of [`time`] for a day.
pub fn since(text: &str) -> Result<Time, String> {
    if let Ok(ago) = duration(text) {
        let now = jiff::Timestamp::now().as_second();
        let ago = i64::try_from(ago.as_secs()).unwrap_or(i64::MAX);
        return Ok(Time { secs: now.saturating_sub(ago), nanos: 0 });
    }
    if let Ok(day) = text.parse::<jiff::civil::Date>() {
        return time(&format!("{day}T00:00:00"));
    }
    time(text).map_err(|_| {
        "it is a day or a time, as in 2026-11-20, or how long ago, as in 30d".to_owned()
    })
}

/// Threads that do the work.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Threads {
    /// Threads that do the work [default: one for each processor]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
}

impl Threads {
    /// At least one.
    pub fn count(self) -> usize {
        self.threads.map_or_else(available_threads, usize::from)
    }
}

/// As many threads as there are processors for us.
pub fn available_threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// A tag of an archive.
///
/// # Errors
/// Why it can be none.
pub fn tag(text: &str) -> Result<String, String> {
    match tag_fault(text) {
        Some(why) => Err(format!("it cannot be a tag: {why}")),
        None => Ok(text.to_owned()),
    }
}

/// The tags that one archive is to have.
///
/// # Errors
/// They are too many.
pub fn tags(words: Vec<String>) -> Result<BTreeSet<String>, Failure> {
    let tags: BTreeSet<String> = words.into_iter().collect();
    match tags.len() {
        0..=TAGS_MAX => Ok(tags),
        count => Err(Failure::Usage(format!(
            "an archive has {TAGS_MAX} tags at most, and these are {count}"
        ))),
    }
}

/// The preset of lzma that is meant where none is said: that of xz.
const LZMA_PRESET: u32 = 6;

/// `none`, `lz4`, `zstd`, `zstd,LEVEL`, `lzma` or `lzma,PRESET`.
///
/// # Errors
/// Which there are; which levels or presets a codec has.
pub fn compression(text: &str) -> Result<Compression, String> {
    let (codec, level) = match text.split_once(',') {
        Some((codec, level)) => (codec, Some(level)),
        None => (text, None),
    };
    match (codec, level) {
        ("none", None) => Ok(Compression::None),
        ("lz4", None) => Ok(Compression::Lz4),
        ("zstd", None) => Ok(Compression::default()),
        ("zstd", Some(level)) => match level.parse() {
            Ok(level) if Compression::ZSTD_LEVELS.contains(&level) => Ok(Compression::Zstd(level)),
            _ => {
                let (low, high) = Compression::ZSTD_LEVELS.into_inner();
                Err(format!("zstd has the levels {low} to {high}"))
            }
        },
        ("lzma", preset) => match preset.map_or(Ok(LZMA_PRESET), str::parse) {
            Ok(preset) if Compression::LZMA_PRESETS.contains(&preset) => {
                Ok(Compression::Lzma(preset))
            }
            _ => {
                let (low, high) = Compression::LZMA_PRESETS.into_inner();
                Err(format!("lzma has the presets {low} to {high}"))
            }
        },
        ("none" | "lz4", Some(_)) => Err(format!("{codec} has no levels")),
        _ => Err("it is one of none, lz4, zstd, zstd,LEVEL, lzma, lzma,PRESET".to_owned()),
    }
}

/// `auto`, `page` or `fastcdc`.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub enum CutterName {
    /// page for disk images, fastcdc for everything else
    Auto,
    /// cuts at 4 KiB pages
    Page,
    /// cuts anywhere
    Fastcdc,
}

impl From<CutterName> for CutterChoice {
    fn from(name: CutterName) -> Self {
        match name {
            CutterName::Auto => CutterChoice::Auto,
            CutterName::Page => CutterChoice::Always(CutterKind::Page),
            CutterName::Fastcdc => CutterChoice::Always(CutterKind::Fastcdc),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_has_a_unit() {
        for (text, seconds) in [("1s", 1), ("90s", 90), ("30m", 1800), ("2h", 7200), ("1d", 86400)]
        {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        assert!(duration("4294967295d").is_ok());
        for bad in ["", "m", "0s", "10", "-1m", "1.5h", "1w", "4294967296s", "1h30m"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_time_is_one_moment_with_an_offset_or_by_local_time() {
        let at = |secs, nanos| Ok(Time { secs, nanos });
        assert_eq!(time("2026-11-20T02:30:00Z"), at(1_795_141_800, 0));
        assert_eq!(time("2026-11-20T02:30:00.5+01:00"), at(1_795_138_200, 500_000_000));
        assert_eq!(time("1969-12-31T23:59:59.25Z"), at(-1, 250_000_000));
        let local = time("2026-11-20T02:30:00").unwrap();
        assert!((1_795_141_800 - local.secs).abs() <= 14 * 60 * 60, "{local:?}");
        for bad in ["", "yesterday", "1795141800", "2026-11-20T02:30:00Q", "2026-13-20T02:30:00Z"] {
            assert!(time(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn one_waits_for_seconds_or_a_duration() {
        assert_eq!(patience(LOCK_WAIT), Ok(garret_core::LOCK_WAIT_DEFAULT));
        assert_eq!(patience("0"), Ok(Duration::ZERO));
        assert_eq!(patience("90"), patience("90s"));
        for bad in ["", "-1", "1.5", "s", "0s", "5 m"] {
            assert!(patience(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn compression_is_a_codec_and_perhaps_a_level() {
        assert_eq!(compression("zstd"), Ok(Compression::Zstd(3)));
        assert_eq!(compression("zstd,-7"), Ok(Compression::Zstd(-7)));
        assert_eq!(compression("lz4"), Ok(Compression::Lz4));
        assert_eq!(compression("lzma"), Ok(Compression::Lzma(6)));
        assert_eq!(compression("lzma,0"), Ok(Compression::Lzma(0)));
        for bad in [
            "", "gzip", "lzma,10", "lzma,-1", "lzma,", "zstd,23", "zstd,", "lz4,1", "none,0",
            "zstd,3,3",
        ] {
            assert!(compression(bad).is_err(), "{bad}");
        }
    }
}

//! What a report says: plain numbers, texts and times, before anybody shows them.

use std::os::unix::ffi::OsStrExt;

use garret_cli::location::Location;
use garret_cli::render;
use garret_core::{Added, NamedArchive, VerifiedReport};
use garret_format::archive::Time;

use super::map::Map;

/// Where a restore goes by the lines that a report gives.
const RESTORE_TO: &[u8] = b"/var/tmp/restored";

/// All of it.
#[derive(Debug)]
pub(crate) struct Report {
    /// Where the repository is, from the root.
    pub(crate) location: Location,
    /// Its id.
    pub(crate) id: String,
    /// When the report was made.
    pub(crate) made: Time,
    /// What is most wrong, or that nothing is.
    pub(crate) lamp: Vec<Check>,
    /// Bytes of all archives, holes included.
    pub(crate) original: u64,
    /// Bytes of the repository.
    pub(crate) stored: u64,
    /// Room where it lies; none if that cannot be told.
    pub(crate) free: Option<u64>,
    /// How fast it grows; none if it is too young to say.
    pub(crate) growth: Option<Growth>,
    /// What was read whole, and when.
    pub(crate) verified: VerifiedReport,
    /// The archives that can be read, the oldest first.
    pub(crate) nights: Vec<Night>,
    /// Disk images, those that take most first.
    pub(crate) images: Vec<Image>,
    /// Whether there are more, for which there was no room: they count among other files.
    pub(crate) has_more_images: bool,
    /// What `prune` would do by the rules that were given.
    pub(crate) calendar: Option<Calendar>,
    /// What is wrong, a line each.
    pub(crate) problems: Vec<String>,
}

impl Report {
    /// How often over what is stored was backed up.
    pub(crate) fn ratio(&self) -> Option<f64> {
        (self.stored > 0).then(|| self.original as f64 / self.stored as f64)
    }

    /// The worst of its lights.
    pub(crate) fn light(&self) -> Light {
        self.lamp.iter().map(|check| check.light).max().unwrap_or(Light::Green)
    }

    /// A line for a shell that restores the newest good copy of an image; none if there is none.
    pub(crate) fn restore_line(&self, image: &Image) -> Option<String> {
        let night = self.nights.get(image.newest?)?;
        let location =
            [self.location.to_os_string().as_bytes(), b"::", night.name.as_bytes()].concat();
        let words: [&[u8]; 6] =
            [b"garret", b"extract", b"--destination", RESTORE_TO, &location, &image.path];
        Some(render::command_line(&words.map(<[u8]>::to_vec)))
    }
}

/// How good things are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Light {
    /// As they should be.
    Green,
    /// Somebody should look.
    Amber,
    /// Something is lost, or will be soon.
    Red,
}

impl Light {
    /// In a word.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Light::Green => "good",
            Light::Amber => "look",
            Light::Red => "bad",
        }
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug)]
pub(crate) struct Check {
    /// How good it is.
    pub(crate) light: Light,
    /// What was looked at.
    pub(crate) what: &'static str,
    /// What was found.
    pub(crate) text: String,
}

/// How fast a repository grows, and what comes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Growth {
    /// Bytes a day, over the last 30 days at most.
    pub(crate) per_day: u64,
    /// Days until there is no room left, if it goes on so and nothing is deleted; none if the room is not known.
    pub(crate) days_left: Option<u64>,
}

/// One archive.
#[derive(Clone, Debug)]
pub(crate) struct Night {
    /// Its name.
    pub(crate) name: String,
    /// The host it is of.
    pub(crate) host: String,
    /// When it began.
    pub(crate) start: Time,
    /// When it was complete.
    pub(crate) end: Time,
    /// Its bytes, holes included.
    pub(crate) original: u64,
    /// What came with it.
    pub(crate) added: Added,
    /// What of that is of no image: other files, lists.
    pub(crate) others: Added,
    /// Whether everything was stored whole.
    pub(crate) is_complete: bool,
    /// What was not.
    pub(crate) problem_count: u64,
    /// Whether it has lost something since.
    pub(crate) lacks: bool,
}

impl Night {
    /// What an archive says of itself.
    pub(super) fn of(found: &NamedArchive) -> Self {
        let body = &found.archive;
        Night {
            name: found.name.clone(),
            host: body.host.clone(),
            start: body.start,
            end: body.end,
            original: body.original_len,
            added: Added::default(),
            others: Added::default(),
            is_complete: body.is_complete(),
            problem_count: body.problem_count,
            lacks: false,
        }
    }

    /// How long it took, in seconds.
    pub(crate) fn seconds(&self) -> f64 {
        let seconds = self.end.secs.saturating_sub(self.start.secs) as f64;
        let nanos = f64::from(self.end.nanos) - f64::from(self.start.nanos);
        (seconds + nanos / 1e9).max(0.0)
    }

    /// Seconds for each 10^9 bytes, holes included.
    pub(crate) fn pace(&self) -> Option<f64> {
        (self.original > 0).then(|| self.seconds() * 1e9 / self.original as f64)
    }

    /// Whether all of it can be had.
    pub(crate) fn is_good(&self) -> bool {
        self.is_complete && !self.lacks
    }
}

/// A disk image: one path of one host.
#[derive(Debug)]
pub(crate) struct Image {
    /// The host.
    pub(crate) host: String,
    /// Its path, as archives store it.
    pub(crate) path: Vec<u8>,
    /// The nights that hold it, the oldest first.
    pub(crate) nights: Vec<ImageNight>,
    /// What changed from night to night.
    pub(crate) map: Map,
    /// The newest good archive that holds it, among the report's nights.
    pub(crate) newest: Option<usize>,
}

impl Image {
    /// Bytes of the disk on the newest night.
    pub(crate) fn len(&self) -> u64 {
        self.map.rows.back().map_or(0, |row| row.len)
    }

    /// What came with all its nights.
    pub(crate) fn added(&self) -> Added {
        let mut sum = Added::default();
        self.nights.iter().for_each(|night| sum.add(night.added));
        sum
    }
}

/// An image in one archive.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ImageNight {
    /// Which of the report's nights.
    pub(crate) night: usize,
    /// What came with it there.
    pub(crate) added: Added,
}

/// What `prune` keeps, and what goes.
#[derive(Debug)]
pub(crate) struct Calendar {
    /// The archives that were considered, the newest first.
    pub(crate) days: Vec<Day>,
    /// Bytes that deleting what no rule keeps gives back, about; none if that cannot be told.
    pub(crate) freed: Option<u64>,
    /// The archives that would go besides, after one more good night a day later.
    pub(crate) next: Vec<String>,
}

/// What becomes of one archive.
#[derive(Clone, Debug)]
pub(crate) struct Day {
    /// Its name.
    pub(crate) name: String,
    /// When it was complete.
    pub(crate) end: Time,
    /// What keeps it, in words; none if it goes.
    pub(crate) kept: Option<String>,
    /// The rule among those words; none if it goes, or is kept by no rule.
    pub(crate) rule: Option<&'static str>,
}

//! Where and as whom we run: what an archive records of it, what a backup passes over, where no restore goes.
//!
//! In: host name, user, command line, current directory, `/etc/passwd`, `/etc/group`. Out: options of a backup, numbers of
//! owners, whether a place is in another.

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use garret_core::BackupOptions;

use crate::cache;
use crate::failure::Failure;
use crate::location::Location;

/// What the library wants to know about where and as whom it runs.
///
/// # Errors
/// There is no current directory any more, or this user may not know it.
pub fn backup_options(repository: &Location) -> Result<BackupOptions, Failure> {
    let base = std::env::current_dir().map_err(|error| Failure::io("current directory", &error))?;
    let users = names(Path::new("/etc/passwd"));
    let skip = repository.directories().map(Path::to_owned).chain(cache::directory());
    let identity = |path: PathBuf| {
        let metadata = path.metadata().ok()?;
        Some((metadata.dev(), metadata.ino()))
    };
    let mut options = BackupOptions::default();
    options.base = base;
    options.host = host();
    options.user = user_in(&users);
    options.command = std::env::args_os().map(OsString::into_vec).collect();
    options.groups = names(Path::new("/etc/group"));
    options.users = users;
    options.skip = skip.filter_map(identity).collect::<HashSet<_>>();
    Ok(options)
}

/// Whether a place, which need not exist, is a directory or in it, through whatever links.
pub fn is_in(place: &Path, directory: &Path) -> bool {
    let real = |path: &Path| match path.as_os_str().is_empty() {
        true => Path::new(".").canonicalize().ok(),
        false => path.canonicalize().ok(),
    };
    let (place, directory) = (place.ancestors().find_map(real), real(directory));
    place.zip(directory).is_some_and(|(place, directory)| place.starts_with(directory))
}

/// The path without links, as far as there is something: the same by whatever way it is reached.
pub(crate) fn real(path: &Path) -> PathBuf {
    let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let found = whole.ancestors().find_map(|above| Some((above.canonicalize().ok()?, above)));
    let joined = found.and_then(|(real, above)| {
        let rest = whole.strip_prefix(above).ok()?;
        // Without a slash at its end.
        Some(real.components().chain(rest.components()).collect())
    });
    joined.unwrap_or(whole)
}

/// The home of a user by name.
pub(crate) fn home_of(user: &[u8]) -> Option<PathBuf> {
    let text = std::fs::read("/etc/passwd").ok()?;
    let mut lines = text.split(|byte| *byte == b'\n').map(|line| line.split(|byte| *byte == b':'));
    let home = lines.find_map(|mut fields| (fields.next()? == user).then(|| fields.nth(4))?)?;
    Some(PathBuf::from(OsStr::from_bytes(home))).filter(|home| home.is_absolute())
}

/// What this machine calls itself.
pub fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// The user we run as, by name if there is one.
pub fn user() -> String {
    user_in(&names(Path::new("/etc/passwd")))
}

fn user_in(users: &HashMap<u32, String>) -> String {
    let uid = rustix::process::geteuid().as_raw();
    users.get(&uid).cloned().unwrap_or_else(|| uid.to_string())
}

/// Numbers of users and of groups by name.
pub fn numbers() -> [HashMap<String, u32>; 2] {
    ["/etc/passwd", "/etc/group"].map(|path| {
        let mut numbers = HashMap::new();
        for (name, id) in entries(Path::new(path)) {
            numbers.entry(name).or_insert(id);
        }
        numbers
    })
}

/// Names by number from a file like /etc/passwd.
fn names(path: &Path) -> HashMap<u32, String> {
    let mut names = HashMap::new();
    for (name, id) in entries(path) {
        // Of several names for one number the first is the usual one.
        names.entry(id).or_insert(name);
    }
    names
}

/// Names and numbers in a file like /etc/passwd. Lines that are not as they should be are passed over.
fn entries(path: &Path) -> Vec<(String, u32)> {
    let text = std::fs::read(path).unwrap_or_default();
    let mut entries = Vec::new();
    for line in String::from_utf8_lossy(&text).lines() {
        let mut fields = line.split(':');
        if let (Some(name), Some(id)) = (fields.next(), fields.nth(1))
            && let Ok(id) = id.parse()
            && !name.is_empty()
        {
            entries.push((name.to_owned(), id));
        }
    }
    entries
}

/// How many seconds the clocks on the wall are ahead of UTC at a time in seconds since 1970.
pub fn ahead_of_utc(secs: i64) -> i32 {
    let time = jiff::Timestamp::from_second(secs).unwrap_or(jiff::Timestamp::MIN);
    jiff::tz::TimeZone::system().to_offset(time).seconds()
}

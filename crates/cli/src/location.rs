//! Where a repository is: a directory here, one on another host, a prefix in an object store, or a directory by SFTP; or two
//! of these.
//!
//! In: words, as attic has them. Out: a [`Location`], which is shown as it was given. Nothing is opened.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use crate::failure::Failure;

/// Where a repository is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// A directory.
    Directory(PathBuf),
    /// A directory on another host.
    Remote(Remote),
    /// A prefix in an object store, or a directory on a server of SFTP, as a URL.
    Store(String),
    /// Packs of files lie in a second place, all else in the first, by whose name it goes.
    Split {
        /// Where all else is.
        hot: Box<Location>,
        /// Where packs of files are.
        cold: Box<Location>,
    },
}

/// How the URLs of stores begin.
pub const STORES: [&str; 5] = ["azblob://", "gcs://", "s3://", "swift://", "sftp://"];

/// A directory on another host, which is reached by `ssh`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remote {
    /// `HOST` or `USER@HOST`.
    pub host: String,
    /// The port, if it is said.
    pub port: Option<u16>,
    /// The path there, which begins at the user's home unless it is absolute.
    pub path: Vec<u8>,
}

impl Location {
    /// What `text` names: `PATH`, `file:///PATH`, `[USER@]HOST:PATH`,
    /// `ssh://[USER@]HOST[:PORT]/PATH`, or `s3://BUCKET/PREFIX` and the other [`STORES`]. A path with a colon
    /// before its first slash is given as `./a:b`. None if it is malformed, or a URL of any other kind.
    pub fn parse(text: &OsStr) -> Option<Self> {
        let bytes = text.as_bytes();
        if let Some(scheme) = STORES.iter().find(|scheme| bytes.starts_with(scheme.as_bytes())) {
            let url = str::from_utf8(bytes).ok()?;
            let is_url =
                url.len() > scheme.len() && !url.contains(|c: char| c.is_control() || c == ' ');
            return is_url.then(|| Location::Store(url.to_owned()));
        }
        if let Some(rest) = bytes.strip_prefix(b"ssh://") {
            return Remote::of_url(rest).map(Location::Remote);
        }
        let path = match bytes.strip_prefix(b"file://") {
            Some(path) if path.starts_with(b"/") => path,
            Some(_) => return None,
            None if is_url(bytes) => return None,
            None => bytes,
        };
        let host = address_len(path);
        let colon = path.iter().skip(host).position(|byte| *byte == b':').map(|at| host + at);
        let slash = path.iter().position(|byte| *byte == b'/').unwrap_or(path.len());
        // Its colons are no path's: what follows it is.
        let is_address = path.get(..host).is_some_and(|host| host.contains(&b':'));
        match colon.filter(|at| *at < slash) {
            _ if is_address && colon != Some(host) => None,
            Some(at) => {
                let (host, path) = (path.get(..at)?, path.get(at + 1..)?);
                Remote::new(host, None, path).map(Location::Remote)
            }
            None if path.is_empty() => None,
            None => Some(Location::Directory(OsString::from_vec(path.to_vec()).into())),
        }
    }

    /// What is wrong with a word that is no location.
    pub fn invalid(text: &OsStr) -> Failure {
        let text = text.to_string_lossy();
        Failure::Usage(format!(
            "Invalid location format: \"{text}\": write PATH, HOST:PATH, or a URL that begins with file, ssh, {}",
            STORES.map(|scheme| scheme.trim_end_matches("://")).join(", ")
        ))
    }

    /// The same with packs of files in a second place, if there is one.
    #[must_use]
    pub fn with_packs_at(self, cold: Option<&Location>) -> Self {
        match cold {
            Some(cold) => Location::Split { hot: Box::new(self), cold: Box::new(cold.clone()) },
            None => self,
        }
    }

    /// Where all but packs of files is.
    pub fn hot(&self) -> &Location {
        match self {
            Location::Split { hot, .. } => hot,
            whole => whole,
        }
    }

    /// The directory, if it is one here.
    pub fn directory(&self) -> Option<&Path> {
        match self {
            Location::Directory(path) => Some(path),
            Location::Split { hot, .. } => hot.directory(),
            Location::Remote(_) | Location::Store(_) => None,
        }
    }

    /// All directories here in which something of it is.
    pub fn directories(&self) -> impl Iterator<Item = &Path> {
        let second = match self {
            Location::Split { cold, .. } => cold.directory(),
            _ => None,
        };
        self.directory().into_iter().chain(second)
    }

    /// What the place is called by whoever remembers it: as it was given, and where that leads. Who holds the directory above
    /// can make the one lead elsewhere; whoever calls it otherwise gets there by the other.
    pub(crate) fn names(&self) -> Vec<String> {
        let Location::Directory(path) = self.hot() else {
            return vec![self.display().to_string()];
        };
        let given = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let given: PathBuf = given.components().collect();
        let mut names = vec![given.to_string_lossy().into_owned()];
        if let Ok(whole) = path.canonicalize() {
            names.push(whole.to_string_lossy().into_owned());
        }
        names.dedup();
        names
    }

    /// The word that it could have been given as.
    pub fn to_os_string(&self) -> OsString {
        match self {
            Location::Directory(path) => path.as_os_str().to_owned(),
            Location::Split { hot, .. } => hot.to_os_string(),
            Location::Store(url) => url.into(),
            Location::Remote(remote) => {
                let mut word = remote.before_path().into_bytes();
                word.extend_from_slice(&remote.path);
                OsString::from_vec(word)
            }
        }
    }

    /// The same place whatever the current directory is.
    pub fn absolute(&self) -> Self {
        match self {
            Location::Directory(path) => {
                Location::Directory(std::path::absolute(path).unwrap_or_else(|_| path.clone()))
            }
            Location::Split { hot, cold } => hot.absolute().with_packs_at(Some(&cold.absolute())),
            elsewhere => elsewhere.clone(),
        }
    }

    /// For messages.
    pub fn display(&self) -> impl fmt::Display + '_ {
        Shown(self)
    }
}

impl<P: AsRef<Path> + ?Sized> From<&P> for Location {
    fn from(path: &P) -> Self {
        Location::Directory(path.as_ref().to_owned())
    }
}

impl Remote {
    /// `[USER@]HOST[:PORT]/PATH`; below `/~` the path begins at a home.
    fn of_url(rest: &[u8]) -> Option<Self> {
        let slash = rest.iter().position(|byte| *byte == b'/')?;
        let (host, path) = rest.split_at_checked(slash)?;
        // An address of version 6 has colons, and brackets around them.
        let name = host.iter().rposition(|byte| *byte == b']').map_or(0, |end| end + 1);
        let colon = host.iter().skip(name).position(|byte| *byte == b':').map(|at| name + at);
        let (host, port) = match colon {
            Some(at) => {
                let port = str::from_utf8(host.get(at + 1..)?).ok()?;
                (host.get(..at)?, Some(port.parse().ok()?))
            }
            None => (host, None),
        };
        let path = if path.starts_with(b"/~") { path.get(1..)? } else { path };
        Remote::new(host, port, path)
    }

    /// What stands before the path where the location is written.
    fn before_path(&self) -> String {
        let Remote { host, port, path } = self;
        let (user, name) = host.rsplit_once('@').map_or(("", host.as_str()), |(_, name)| {
            (host.strip_suffix(name).unwrap_or_default(), name)
        });
        let name = if name.contains(':') { format!("[{name}]") } else { name.to_owned() };
        if port.is_none() {
            return format!("{user}{name}:");
        }
        let port = port.map_or(String::new(), |port| format!(":{port}"));
        let slash = if path.starts_with(b"/") { "" } else { "/" };
        format!("ssh://{user}{name}{port}{slash}")
    }

    fn new(host: &[u8], port: Option<u16>, path: &[u8]) -> Option<Self> {
        let host = str::from_utf8(host).ok()?;
        let is_word = |c: char| c.is_alphanumeric() || "-_.@[]:%+~".contains(c);
        // What begins with a dash would be an option of ssh.
        let is_host = |host: &str| !host.is_empty() && !host.starts_with('-');
        let name = host.rsplit('@').next().unwrap_or(host);
        let fits = is_host(host) && is_host(name) && host.chars().all(is_word);
        // The brackets are of the URL.
        let bare = host.replace(['[', ']'], "");
        let is_whole = fits && !bare.is_empty() && !path.is_empty() && !path.contains(&0);
        is_whole.then(|| Remote { host: bare, port, path: path.to_vec() })
    }
}

/// Whether it begins as a URL does. No path on a host begins with two slashes.
fn is_url(bytes: &[u8]) -> bool {
    let scheme = bytes.windows(3).position(|part| part == b"://").and_then(|at| bytes.get(..at));
    scheme.is_some_and(|scheme| {
        scheme.first().is_some_and(u8::is_ascii_alphabetic)
            && scheme.iter().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(byte))
    })
}

/// Bytes of an address of version 6 in brackets, and what stands before it, at the beginning of `[USER@]HOST:PATH`; 0 if the
/// host is none.
pub fn address_len(bytes: &[u8]) -> usize {
    let before = bytes.split(|byte| *byte == b'/').next().unwrap_or_default();
    let [at, colon] = [b'@', b':'].map(|mark| before.iter().position(|byte| *byte == mark));
    // Behind a colon it is a path's, or the name of an archive.
    let user = at.filter(|at| colon.is_none_or(|colon| *at < colon)).map_or(0, |at| at + 1);
    match before.get(user) {
        Some(b'[') => before.iter().position(|byte| *byte == b']').map_or(0, |end| end + 1),
        _ => 0,
    }
}

/// A location as it could have been given.
struct Shown<'l>(&'l Location);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Location::Directory(path) => path.display().fmt(f),
            Location::Store(url) => url.fmt(f),
            Location::Split { hot, .. } => Shown(hot).fmt(f),
            Location::Remote(remote) => {
                write!(f, "{}{}", remote.before_path(), String::from_utf8_lossy(&remote.path))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remote_is_what_attic_takes_for_that() {
        for (text, host, port, path) in [
            ("host:repo", "host", None, "repo"),
            ("user@host:/srv/repo", "user@host", None, "/srv/repo"),
            ("host:~other/repo", "host", None, "~other/repo"),
            ("ssh://host/srv/repo", "host", None, "/srv/repo"),
            ("ssh://me@host:2222/srv/a:b", "me@host", Some(2222), "/srv/a:b"),
            ("ssh://host/~/repo", "host", None, "~/repo"),
            ("ssh://[::1]:22/r", "::1", Some(22), "/r"),
            ("[::1]:/r", "::1", None, "/r"),
            ("me@[fe80::1]:r", "me@fe80::1", None, "r"),
            ("host:dir@[daily]", "host", None, "dir@[daily]"),
        ] {
            let path = path.as_bytes().to_vec();
            let remote = Remote { host: host.to_owned(), port, path };
            let found = Location::parse(OsStr::new(text));
            assert_eq!(found, Some(Location::Remote(remote)), "{text}");
            // And what is shown is the same again.
            let shown = found.as_ref().unwrap().display().to_string();
            assert_eq!(Location::parse(OsStr::new(&shown)), found, "{text}: {shown}");
        }
        for text in ["./a:b", "dir/a:b", "/x:y", "repo", "[old]", "./http://x", "dir/[::1]"] {
            let expected = Location::Directory(text.into());
            assert_eq!(Location::parse(OsStr::new(text)), Some(expected), "{text}");
        }
        for text in [
            "",
            "file://repo",
            "file://",
            ":repo",
            "host:",
            "-oProxyCommand=x:repo",
            "ssh://-x/repo",
            "ssh://host",
            "ssh://host:port/x",
            "me@-x:repo",
            "a b:repo",
            "$(x):repo",
            "ssh://host:99999/x",
            "http://host/x",
            "S3://bucket/x",
            "rest+x.y-z://host/x",
            "[::1",
            "[::1]",
            "[::1]/srv/repo",
            "me@[::1]x:r",
        ] {
            assert_eq!(Location::parse(OsStr::new(text)), None, "{text}");
        }
    }
}

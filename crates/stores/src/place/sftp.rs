//! A directory on a host that speaks SFTP, reached by the system's `ssh`.
//!
//! In: `sftp://[USER@]HOST[:PORT]/PATH`; below `/~/` the path begins at the user's home; `GARRET_RSH`, the program instead of
//! `ssh` with its options, split at spaces. Out: what is started to speak with it.

use std::fmt;
use std::path::Path;
use std::process::Command;

use super::{Malformed, Variable};

/// What ssh is told: to ask nothing, for nobody sees it; to forward nothing, as `sftp` tells it; and to end when the host has
/// said nothing for three minutes.
const OPTIONS: [&str; 8] = [
    "-oBatchMode=yes",
    "-oConnectTimeout=30",
    "-oForwardAgent=no",
    "-oForwardX11=no",
    "-oPermitLocalCommand=no",
    "-oClearAllForwardings=yes",
    "-oServerAliveInterval=30",
    "-oServerAliveCountMax=6",
];

/// A directory there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sftp {
    /// `HOST` or `USER@HOST`, without brackets.
    pub(crate) host: String,
    pub(crate) port: Option<u16>,
    /// Absolute, or from the home on; without a slash at its end.
    pub(crate) path: String,
    /// The words of `GARRET_RSH`.
    rsh: Vec<String>,
}

impl Sftp {
    /// Of what stands behind `sftp://`.
    pub(super) fn parse(rest: &str, variable: Variable<'_>) -> Result<Self, Malformed> {
        let malformed = |why: &str| Malformed(why.to_owned());
        let none = || {
            malformed(
                "write sftp://[USER@]HOST[:PORT]/PATH, or /~/PATH for one that begins at the home",
            )
        };
        let (host, path) = rest.split_once('/').ok_or_else(none)?;
        // An address of version 6 has colons, and brackets around them.
        let name = host.rfind(']').map_or(0, |end| end + 1);
        let (host, port) = match host.get(name..).and_then(|rest| rest.rsplit_once(':')) {
            None => (host, None),
            Some((_, port)) => {
                let host = host.strip_suffix(port).and_then(|host| host.strip_suffix(':'));
                (host.ok_or_else(none)?, Some(port.parse().map_err(|_| none())?))
            }
        };
        let host = host.replace(['[', ']'], "");
        let is_word = |c: char| c.is_alphanumeric() || "-_.@:%+".contains(c);
        // What begins with a dash would be an option of ssh.
        let is_name = |name: &str| !name.is_empty() && !name.starts_with('-');
        let last = host.rsplit('@').next().unwrap_or(&host);
        if !(is_name(&host) && is_name(last) && host.chars().all(is_word)) {
            return Err(none());
        }
        let path = path.trim_end_matches('/');
        let path = path.strip_prefix("~/").map_or_else(|| format!("/{path}"), str::to_owned);
        let is_part = |part: &str| !part.is_empty() && part != "." && part != "..";
        let parts = path.strip_prefix('/').unwrap_or(&path);
        if path == "/~" || !parts.split('/').all(is_part) || path.chars().any(char::is_control) {
            return Err(malformed("the path names no directory below / or below the home"));
        }
        let rsh = variable("GARRET_RSH").unwrap_or_default();
        let rsh: Vec<String> = rsh.split_ascii_whitespace().map(str::to_owned).collect();
        let rsh = if rsh.is_empty() { vec!["ssh".to_owned()] } else { rsh };
        Ok(Sftp { host, port, path, rsh })
    }

    /// What speaks SFTP on its standard input and output.
    pub(crate) fn command(&self) -> Command {
        let mut words = self.rsh.iter();
        let program = words.next().map_or("ssh", String::as_str);
        let mut command = Command::new(program);
        command.args(words);
        if Path::new(program).file_name().is_some_and(|name| name == "ssh") {
            command.args(OPTIONS);
        }
        if let Some(port) = self.port {
            command.arg("-p").arg(port.to_string());
        }
        command.args(["-s", &self.host, "sftp"]);
        command
    }
}

/// As messages call it.
impl fmt::Display for Sftp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (user, name) =
            self.host.rsplit_once('@').map_or(("", self.host.as_str()), |(_, name)| {
                (self.host.strip_suffix(name).unwrap_or_default(), name)
            });
        let name = if name.contains(':') { format!("[{name}]") } else { name.to_owned() };
        let port = self.port.map_or(String::new(), |port| format!(":{port}"));
        let home = if self.path.starts_with('/') { "" } else { "/~/" };
        write!(f, "sftp://{user}{name}{port}{home}{}", self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(rest: &str) -> Result<Sftp, Malformed> {
        Sftp::parse(rest, &|name| (name == "GARRET_RSH").then(|| "ssh -F file".to_owned()))
    }

    #[test]
    fn a_location_is_read_as_ssh_would_be_told_it() {
        for (text, host, port, path) in [
            ("host/srv/vms", "host", None, "/srv/vms"),
            ("me@host:22/srv/vms/", "me@host", Some(22), "/srv/vms"),
            ("me@[::1]:22/a b", "me@::1", Some(22), "/a b"),
            ("[::1]/a", "::1", None, "/a"),
            ("host/~/vms", "host", None, "vms"),
        ] {
            let found = parse(text).unwrap_or_else(|why| panic!("{text}: {why:?}"));
            assert_eq!((found.host.as_str(), found.port, found.path.as_str()), (host, port, path));
            let shown = found.to_string();
            assert_eq!(parse(shown.strip_prefix("sftp://").unwrap()), Ok(found), "{text}");
        }
        for text in [
            "",
            "host",
            "host/",
            "host/~",
            "host/~/",
            "/srv",
            "-oProxyCommand=x/srv",
            "me@-x/srv",
            "host:x/srv",
            "host:99999/srv",
            "host/a//b",
            "host/../x",
            "host/./x",
            "$(x)/srv",
            "host/a\nb",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn ssh_is_told_to_ask_nothing_and_where_to_go() {
        let command = parse("me@host:22/srv").unwrap().command();
        let words: Vec<&str> = command.get_args().map(|word| word.to_str().unwrap()).collect();
        assert_eq!(words.first_chunk(), Some(&["-F", "file", "-oBatchMode=yes"]));
        assert_eq!(words.last_chunk(), Some(&["-p", "22", "-s", "me@host", "sftp"]));
    }
}

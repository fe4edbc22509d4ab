//! What a thread that was confined may still do. The limits hold for the thread that asked and for what it starts, so each
//! test is a thread of its own.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::fs::{self, File, Permissions};
use std::io::ErrorKind;
use std::net::TcpStream;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::thread;
use std::time::SystemTime;

use garret_cli::sandbox;

/// Needs a kernel with Landlock and seccomp.
#[test]
fn who_is_confined_reads_everything_and_writes_only_where_it_was_to() {
    let temp = tempfile::tempdir().unwrap();
    let (inside, outside) = (temp.path().join("inside"), temp.path().join("outside"));
    fs::create_dir_all(inside.join("packs")).unwrap();
    fs::create_dir_all(inside.join("tmp")).unwrap();
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("file"), b"as it was").unwrap();
    fs::write(outside.join("program"), b"#!/bin/sh\n").unwrap();
    symlink(&outside, inside.join("link")).unwrap();
    let (place, there) = (inside.clone(), outside.clone());
    thread::spawn(move || {
        sandbox::confine_to(&[place.clone(), there.join("missing")], false).unwrap();
        fs::write(place.join("tmp/pack"), b"new").unwrap();
        fs::rename(place.join("tmp/pack"), place.join("packs/pack")).unwrap();
        fs::remove_file(place.join("packs/pack")).unwrap();
        assert_eq!(fs::read(there.join("file")).unwrap(), b"as it was");
        let denied = |what: &str, result: std::io::Result<()>| {
            let kind = result.map_err(|error| error.kind());
            assert_eq!(kind, Err(ErrorKind::PermissionDenied), "{what}");
        };
        denied("make a file", fs::write(there.join("new"), b"").map(drop));
        denied("by a link", fs::write(place.join("link/new"), b"").map(drop));
        denied("write", File::options().append(true).open(there.join("file")).map(drop));
        denied("cut", fs::write(there.join("file"), b""));
        denied("remove", fs::remove_file(there.join("file")));
        denied("move out", fs::rename(place.join("tmp"), there.join("tmp")));
        denied("make a directory", fs::create_dir(there.join("new")));
        denied("a link in the repository", symlink("x", place.join("new")));
        let open = File::open(there.join("file")).unwrap();
        let all = Permissions::from_mode(0o4777);
        denied("change a mode", fs::set_permissions(there.join("file"), all.clone()));
        denied("change it by what is open", open.set_permissions(all.clone()));
        denied("change a time", open.set_modified(SystemTime::now()));
        denied("give it away", chown(there.join("file"), Some(1), None));
        fs::write(place.join("program"), b"#!/bin/sh\n").unwrap();
        denied("make a set-id program", fs::set_permissions(place.join("program"), all));
        let flags = rustix::fs::ioctl_getflags(&open).unwrap();
        denied("set flags", rustix::fs::ioctl_setflags(&open, flags).map_err(Into::into));
        denied("start a program", Command::new("/bin/true").spawn().map(drop));
        denied("connect", TcpStream::connect("127.0.0.1:9").map(drop));
        denied("talk to a daemon", UnixStream::connect("/run/dbus/system_bus_socket").map(drop));
    })
    .join()
    .unwrap();
    // The others are as free as before.
    fs::write(outside.join("new"), b"").unwrap();
}

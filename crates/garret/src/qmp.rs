//! What is said to a running qemu, by QMP.
//!
//! In: the socket that qemu listens at, commands. Out: answers, and events as they come. Promises: a line of a qemu that says
//! something else is an error, never a wait without end; nothing longer than [`LINE_LEN_MAX`] is kept.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// The longest line that is taken. Events and answers to what is said here have some hundred bytes.
const LINE_LEN_MAX: u64 = 1 << 20;

/// How long an event is waited for before the caller looks around.
const PATIENCE: Duration = Duration::from_millis(200);

/// How long qemu may take to answer: it may have to wait for its disks.
const ANSWER_TIME: Duration = Duration::from_secs(60);

/// Whether there is time left.
fn in_time(until: Instant) -> io::Result<()> {
    match Instant::now() < until {
        true => Ok(()),
        false => Err(io::Error::new(io::ErrorKind::TimedOut, "it does not answer")),
    }
}

/// A connection to qemu.
pub(crate) struct Qmp {
    from: BufReader<UnixStream>,
    to: UnixStream,
    /// Of a line, what has come.
    begun: Vec<u8>,
    /// Events that came while an answer was waited for.
    events: Vec<Value>,
    /// The number of the last command.
    last: u64,
}

impl Qmp {
    /// Connects to the socket, if qemu listens there already.
    ///
    /// # Errors
    /// Nobody listens; it is no qemu.
    pub(crate) fn connect(socket: &Path) -> io::Result<Self> {
        let to = UnixStream::connect(socket)?;
        to.set_read_timeout(Some(PATIENCE))?;
        let from = BufReader::new(to.try_clone()?);
        let mut qmp = Qmp { from, to, begun: Vec::new(), events: Vec::new(), last: 0 };
        let until = Instant::now() + ANSWER_TIME;
        while qmp.line()?.is_none() {
            in_time(until)?;
        }
        qmp.command("qmp_capabilities", &json!({}))?;
        Ok(qmp)
    }

    /// Has qemu do something.
    ///
    /// # Errors
    /// It says why not; it is gone.
    pub(crate) fn command(&mut self, name: &str, arguments: &Value) -> io::Result<()> {
        self.last += 1;
        let id = json!(self.last);
        let line = json!({ "execute": name, "arguments": arguments, "id": id }).to_string() + "\n";
        self.to.write_all(line.as_bytes())?;
        let until = Instant::now() + ANSWER_TIME;
        loop {
            let Some(said) = self.line()? else {
                in_time(until)?;
                continue;
            };
            // The answer to one that was given up.
            if said.get("id").is_some_and(|of| *of != id) {
                continue;
            }
            if let Some(why) = said.pointer("/error/desc").and_then(Value::as_str) {
                return Err(io::Error::other(format!("{name}: {why}")));
            }
            if said.get("return").is_some() {
                return Ok(());
            }
            self.events.push(said);
        }
    }

    /// The next event, if there is one within a moment.
    ///
    /// # Errors
    /// qemu is gone.
    pub(crate) fn event(&mut self) -> io::Result<Option<Value>> {
        match self.events.is_empty() {
            true => self.line(),
            false => Ok(Some(self.events.remove(0))),
        }
    }

    /// The next line, if it comes within a moment.
    fn line(&mut self) -> io::Result<Option<Value>> {
        let room = LINE_LEN_MAX.saturating_sub(self.begun.len() as u64);
        match self.from.by_ref().take(room).read_until(b'\n', &mut self.begun) {
            Ok(_) if self.begun.ends_with(b"\n") => {
                let line = std::mem::take(&mut self.begun);
                Ok(Some(serde_json::from_slice(&line)?))
            }
            Ok(_) => Err(io::ErrorKind::UnexpectedEof.into()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn an_answer_that_comes_late_is_none_to_what_is_asked_then() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("qmp.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let qemu = std::thread::spawn(move || {
            let (mut to, _) = listener.accept().unwrap();
            let mut from = BufReader::new(to.try_clone().unwrap());
            to.write_all(b"{\"QMP\": {}}\n").unwrap();
            for late in [None, Some(0)] {
                let mut line = String::new();
                from.read_line(&mut line).unwrap();
                let id = serde_json::from_str::<Value>(&line).unwrap()["id"].clone();
                let answer = match late {
                    None => format!("{}\n", json!({ "return": {}, "id": id })),
                    Some(late) => {
                        let why = json!({ "error": { "desc": "no" }, "id": id });
                        format!("{}\n{why}\n", json!({ "return": {}, "id": late }))
                    }
                };
                to.write_all(answer.as_bytes()).unwrap();
            }
        });
        let mut qmp = Qmp::connect(&path).unwrap();
        let refused = qmp.command("block-job-cancel", &json!({})).unwrap_err();
        assert_eq!(refused.to_string(), "block-job-cancel: no");
        qemu.join().unwrap();
    }
}

//! A real server of S3's protocol, and a proxy before it on which requests go wrong.
//!
//! In: `moto`, a program of Python that stands in for AWS, which `tests/run` brings. Out: addresses on the loopback
//! interface. The server lives as long as the process, the proxy as long as its value.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, OnceLock};

/// The bucket that there is.
pub const BUCKET: &str = "vms";

/// Ends when its standard input does, so that it outlives no test.
const SERVER: &str = "
import os, sys, threading
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
from moto.server import main
main(['-H', '127.0.0.1', '-p', '0'])
";

/// Where the server is, with an empty bucket. It takes any key and secret.
pub fn bucket_server() -> SocketAddr {
    static SERVER_AT: OnceLock<(SocketAddr, Child)> = OnceLock::new();
    // Its standard input stays open as long as it is kept.
    let (address, _child) = SERVER_AT.get_or_init(|| {
        let mut child = Command::new("python3")
            .args(["-c", SERVER])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("python3");
        let mut said = BufReader::new(child.stderr.take().unwrap());
        let mut heard = String::new();
        let address = loop {
            let mut line = String::new();
            assert!(
                said.read_line(&mut line).unwrap() > 0,
                "moto does not run, tests/run brings it: {heard}"
            );
            heard.push_str(&line);
            if let Some((_, address)) = line.split_once("http://") {
                break address.trim().parse().unwrap();
            }
        };
        // Else it would wait for somebody to read.
        std::thread::spawn(move || std::io::copy(&mut said, &mut std::io::sink()));
        let put = format!("PUT /{BUCKET} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n");
        let made = exchange(address, format!("{put}Content-Length: 0\r\n\r\n").as_bytes());
        assert!(made.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&made));
        (address, child)
    });
    *address
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is answered.
    Answered,
    /// It is answered as if it had no conditions.
    Unconditional,
    /// The connection ends before the server has it.
    Lost,
    /// The server does it, and the connection ends before its answer.
    Unanswered,
    /// The connection ends in the middle of the answer.
    Cut,
    /// The server has no time.
    Busy,
}

/// A proxy before a server.
#[derive(Debug)]
pub struct Proxy {
    /// Where it is.
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    /// Listens before `server`; `fate` decides of each request by its number, from 1, and its first line.
    pub fn before(
        server: SocketAddr,
        fate: impl Fn(usize, &str) -> Fate + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::<Mutex<Vec<String>>>::default();
        let (noted, fate) = (Arc::clone(&seen), Arc::new(fate));
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (noted, fate) = (Arc::clone(&noted), Arc::clone(&fate));
                std::thread::spawn(move || {
                    let Some((head, body)) = request(&client) else { return };
                    let line = head.lines().next().unwrap_or_default().to_owned();
                    let number = {
                        let mut noted = noted.lock().unwrap();
                        noted.push(line.clone());
                        noted.len()
                    };
                    let answer = answer(server, fate(number, &line), &head, &body);
                    // Who does not read on has ended.
                    let _gone = (&client).write_all(&answer);
                    let _gone = client.shutdown(Shutdown::Both);
                });
            }
        });
        Proxy { address, seen }
    }

    /// The first lines of all requests so far.
    pub fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

/// What the client gets to see.
fn answer(server: SocketAddr, fate: Fate, head: &str, body: &[u8]) -> Vec<u8> {
    let is_condition = |line: &str| line.to_ascii_lowercase().starts_with("if-none-match:");
    let is_passed_on = |line: &&str| !(fate == Fate::Unconditional && is_condition(line));
    let lines: Vec<&str> = head.lines().filter(is_passed_on).collect();
    let sent =
        [format!("{}\r\nConnection: close\r\n\r\n", lines.join("\r\n")).as_bytes(), body].concat();
    match fate {
        Fate::Lost => Vec::new(),
        Fate::Busy => {
            b"HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_vec()
        }
        Fate::Answered | Fate::Unconditional => exchange(server, &sent),
        Fate::Unanswered => {
            exchange(server, &sent);
            Vec::new()
        }
        Fate::Cut => {
            let whole = exchange(server, &sent);
            whole[..whole.len() / 2].to_vec()
        }
    }
}

/// A request's head, without the empty line, and its body.
fn request(client: &TcpStream) -> Option<(String, Vec<u8>)> {
    let mut input = BufReader::new(client);
    let (mut head, mut len) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if input.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':') {
            if name.eq_ignore_ascii_case("content-length") {
                len = value.trim().parse().unwrap();
            }
            // One request for each connection.
            if name.eq_ignore_ascii_case("connection") {
                continue;
            }
        }
        head.push_str(line);
        head.push('\n');
    }
    let mut body = vec![0; len];
    input.read_exact(&mut body).ok()?;
    Some((head, body))
}

/// Sends this and reads what comes until the server hangs up.
fn exchange(server: SocketAddr, sent: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(server).unwrap();
    stream.write_all(sent).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    answer
}

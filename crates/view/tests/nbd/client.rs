//! A client of NBD that says what a test wants said, right or wrong.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// A connection.
pub struct Client(pub UnixStream);

/// What came as the answer to a request.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    /// Data, and where it lies.
    Data(u64, Vec<u8>),
    /// The number of an error, and the place if it has one.
    Error(u32, Option<u64>),
    /// Lengths and states.
    Extents(Vec<(u32, u32)>),
}

pub const READ: u16 = 0;
pub const WRITE: u16 = 1;
pub const BLOCK_STATUS: u16 = 7;

pub const EXPORT_NAME: u32 = 1;
pub const LIST: u32 = 3;
pub const INFO: u32 = 6;
pub const GO: u32 = 7;
pub const STRUCTURED: u32 = 8;
pub const SET_META_CONTEXT: u32 = 10;

pub const ACK: u32 = 1;
pub const ERROR: u32 = 1 << 31;

/// A string of the protocol.
pub fn text(name: &str) -> Vec<u8> {
    [&(name.len() as u32).to_be_bytes()[..], name.as_bytes()].concat()
}

/// What INFO and GO are given.
pub fn wanting(name: &str) -> Vec<u8> {
    [text(name), vec![0, 0]].concat()
}

/// What asks for block status of an export.
pub fn allocation(name: &str) -> Vec<u8> {
    [text(name), 1u32.to_be_bytes().to_vec(), text("base:allocation")].concat()
}

impl Client {
    pub fn connect(socket: &Path) -> Client {
        let stream = UnixStream::connect(socket).unwrap();
        // A server that hangs fails a test; none of them waits for it to pass.
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        Client(stream)
    }

    /// Connected, and greeted as today's clients do.
    pub fn greeted(socket: &Path) -> Client {
        let mut client = Client::connect(socket);
        assert_eq!(&client.array::<16>().unwrap(), b"NBDMAGICIHAVEOPT");
        assert_eq!(client.array().unwrap(), [0, 3]);
        client.send(&3u32.to_be_bytes());
        client
    }

    /// An open export; its length.
    pub fn open(socket: &Path, name: &str, structured: bool) -> (Client, u64) {
        let mut client = Client::greeted(socket);
        if structured {
            assert_eq!(client.option(STRUCTURED, &[]), [(ACK, Vec::new())]);
            let replies = client.option(SET_META_CONTEXT, &allocation(name));
            assert_eq!(replies.len(), 2, "{replies:?}");
        }
        let replies = client.option(GO, &wanting(name));
        assert_eq!(replies.last().unwrap().0, ACK, "{name}: {replies:?}");
        let about = &replies[0].1;
        assert_eq!(about[..2], [0, 0]);
        (client, u64::from_be_bytes(about[2..10].try_into().unwrap()))
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).unwrap();
    }

    pub fn array<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.0.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    fn u16(&mut self) -> u16 {
        u16::from_be_bytes(self.array().unwrap())
    }

    fn u32(&mut self) -> u32 {
        u32::from_be_bytes(self.array().unwrap())
    }

    fn u64(&mut self) -> u64 {
        u64::from_be_bytes(self.array().unwrap())
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.0.read_exact(&mut bytes).unwrap();
        bytes
    }

    /// Says an option; its replies up to the one that ends them.
    pub fn option(&mut self, what: u32, data: &[u8]) -> Vec<(u32, Vec<u8>)> {
        self.send(b"IHAVEOPT");
        self.send(&what.to_be_bytes());
        self.send(&(data.len() as u32).to_be_bytes());
        self.send(data);
        let mut replies = Vec::new();
        loop {
            assert_eq!(self.u64(), 0x0003_e889_0455_65a9);
            assert_eq!(self.u32(), what);
            let (kind, len) = (self.u32(), self.u32());
            let data = self.bytes(len as usize);
            replies.push((kind, data));
            if kind == ACK || kind & ERROR != 0 {
                return replies;
            }
        }
    }

    pub fn request(&mut self, flags: u16, command: u16, cookie: u64, offset: u64, len: u32) {
        let mut bytes = 0x2560_9513u32.to_be_bytes().to_vec();
        bytes.extend(flags.to_be_bytes());
        bytes.extend(command.to_be_bytes());
        bytes.extend(cookie.to_be_bytes());
        bytes.extend(offset.to_be_bytes());
        bytes.extend(len.to_be_bytes());
        self.send(&bytes);
    }

    /// The next chunk: its cookie, whether it is the last of its reply, what is in it.
    pub fn chunk(&mut self) -> (u64, bool, Option<Answer>) {
        assert_eq!(self.u32(), 0x668e_33ef);
        let (flags, kind, cookie, len) = (self.u16(), self.u16(), self.u64(), self.u32());
        let payload = self.bytes(len as usize);
        let offset = |at: usize| u64::from_be_bytes(payload[at..at + 8].try_into().unwrap());
        let number = |at: usize| u32::from_be_bytes(payload[at..at + 4].try_into().unwrap());
        let answer = match kind {
            0 => None,
            1 => Some(Answer::Data(offset(0), payload[8..].to_vec())),
            5 => {
                let pairs = payload[4..].chunks(8).enumerate();
                let pairs = pairs.map(|(at, _)| (number(4 + 8 * at), number(8 + 8 * at)));
                Some(Answer::Extents(pairs.collect()))
            }
            0x8001 => Some(Answer::Error(number(0), None)),
            0x8002 => Some(Answer::Error(number(0), Some(offset(payload.len() - 8)))),
            other => panic!("chunk of kind {other}"),
        };
        (cookie, flags & 1 != 0, answer)
    }

    /// All of one reply.
    pub fn reply(&mut self, cookie: u64) -> Vec<Answer> {
        let mut answers = Vec::new();
        loop {
            let (found, is_last, answer) = self.chunk();
            assert_eq!(found, cookie);
            answers.extend(answer);
            if is_last {
                return answers;
            }
        }
    }

    /// Reads through chunks; the places that cannot be had.
    pub fn read(&mut self, buffer: &mut [u8], offset: u64) -> Vec<u64> {
        self.request(0, READ, 7, offset, buffer.len() as u32);
        let mut damaged = Vec::new();
        for answer in self.reply(7) {
            match answer {
                Answer::Data(at, bytes) => {
                    let at = (at - offset) as usize;
                    buffer[at..at + bytes.len()].copy_from_slice(&bytes);
                }
                Answer::Error(5, Some(at)) => damaged.push(at),
                other => panic!("{other:?}"),
            }
        }
        damaged
    }

    /// The same by a simple reply, which is all or the number of an error.
    pub fn read_simply(&mut self, buffer: &mut [u8], offset: u64) -> u32 {
        self.request(0, READ, 8, offset, buffer.len() as u32);
        let error = self.simple(8);
        if error == 0 {
            self.0.read_exact(buffer).unwrap();
        }
        error
    }

    /// The number of the error in a simple reply.
    pub fn simple(&mut self, cookie: u64) -> u32 {
        assert_eq!(self.u32(), 0x6744_6698);
        let error = self.u32();
        assert_eq!(self.u64(), cookie);
        error
    }

    /// Whether the server has ended the connection.
    pub fn is_ended(&mut self) -> bool {
        loop {
            match self.0.read(&mut [0; 4096]) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(error) => return error.kind() == io::ErrorKind::ConnectionReset,
            }
        }
    }
}

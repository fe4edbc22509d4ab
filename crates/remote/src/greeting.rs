//! What a server says first, as the client hears it.
//!
//! In: what comes from it. Out: that it is a server of this version, or why not, in words.

use std::io::{BufReader, Read};

use crate::wire::{GREETING, VERSION};

/// What attic says when a server is gone.
pub(crate) const CLOSED: &str = "Connection closed by remote host";
/// Bytes of other output that are shown where the greeting should be.
const SHOWN_MAX: usize = 80;

/// Why there was no greeting.
pub(crate) enum Ungreeted {
    /// Nothing was said at all.
    Silence(String),
    /// Something else.
    Other(String),
}

/// Reads what a server says first.
pub(crate) fn greet<R: Read>(input: &mut BufReader<R>) -> Result<(), Ungreeted> {
    let mut said = Vec::new();
    let len = GREETING.len() + 4;
    // Byte by byte: what says something else may be shorter, and wait for an answer to it.
    let read = loop {
        if said.len() == len || said.iter().zip(GREETING).any(|(said, wanted)| said != wanted) {
            break Ok(0);
        }
        match input.by_ref().take(1).read_to_end(&mut said) {
            Ok(1) => {}
            ended => break ended,
        }
    };
    let version = said.strip_prefix(&GREETING[..]).and_then(|rest| rest.first_chunk());
    match version.map(|version| u32::from_le_bytes(*version)) {
        Some(VERSION) => Ok(()),
        Some(version) => Err(Ungreeted::Other(format!(
            "garret there speaks version {version} of its protocol, and this one {VERSION}: both hosts need the same garret"
        ))),
        None if said.is_empty() => Err(Ungreeted::Silence(match read {
            Err(error) => error.to_string(),
            Ok(_) => CLOSED.to_owned(),
        })),
        None => {
            // What has come with it: more may never come.
            said.extend_from_slice(input.buffer());
            let shown: String = String::from_utf8_lossy(&said)
                .chars()
                .take_while(|c| *c != '\n')
                .map(|c| if c.is_control() { '?' } else { c })
                .take(SHOWN_MAX)
                .collect();
            Err(Ungreeted::Other(format!(
                "it says \"{shown}\" where garret serve speaks: does a start file of the shell there print something?"
            )))
        }
    }
}

//! What goes down the chain: a stretch of one stream, with what begins and ends there.
//!
//! The plan makes steps, the stations change what is in the body from windows to named chunks, the collector takes them.

use std::sync::Arc;

use garret_format::archive::Item;
use garret_format::recipe::CutterKind;
use garret_image::{AllocationMap, SourceError};

use super::base::Known;
use super::elsewhere::Elsewhere;
use super::reading::Reading;
use super::window::Window;
use crate::progress::Problem;

/// A stretch of one stream on its way down the chain. The first one of a stream brings the item it belongs to, and what came
/// before that without a stream.
pub(super) struct Step<W> {
    pub(super) before: Vec<Planned>,
    pub(super) begin: Option<Box<Draft>>,
    /// Whether a section of the stream begins here: it is cut as a stream of its own.
    pub(super) fresh: bool,
    /// Bytes of the file that are done with it.
    pub(super) advance: u64,
    pub(super) body: Body<W>,
    pub(super) end: Option<End>,
}

pub(super) enum Body<W> {
    /// Bytes that are read, scanned, cut and hashed; or that could not be read.
    Window(Result<W, SourceError>),
    /// As in a base. The cut makes a window of it, read then and there, if the stitcher stands in another way than there.
    Same(Box<Same>),
    /// Whole windows of zeros that are not read.
    Hole(u64),
    /// No content.
    Nothing,
}

/// A stretch that is as in a base, and the window that it is otherwise.
pub(super) struct Same {
    pub(super) known: Known,
    pub(super) window: Window,
    pub(super) cutter: CutterKind,
}

/// What the plan found that has no stream of its own.
pub(super) enum Planned {
    /// An item without content, or with that of the previous archive.
    Item(Box<Item>),
    /// Something that is not stored.
    Problem(Problem),
    /// Another file that the disk in the item before needs.
    Elsewhere(Elsewhere),
}

impl<W> Step<W> {
    pub(super) fn map<V>(self, work: impl FnOnce(W) -> Result<V, SourceError>) -> Step<V> {
        let body = match self.body {
            Body::Window(window) => Body::Window(window.and_then(work)),
            Body::Same(same) => Body::Same(same),
            Body::Hole(len) => Body::Hole(len),
            Body::Nothing => Body::Nothing,
        };
        Step {
            before: self.before,
            begin: self.begin,
            fresh: self.fresh,
            advance: self.advance,
            body,
            end: self.end,
        }
    }
}

/// An item that lacks only what its content will give.
pub(super) struct Draft {
    pub(super) item: Item,
    pub(super) cutter: CutterKind,
}

/// What is known when the whole stream was planned.
#[derive(Default)]
pub(super) struct End {
    /// Where the stream lies in the file, encoded; empty if it is the file.
    pub(super) layout: Vec<u8>,
    /// The holes of the file.
    pub(super) allocation: Option<Arc<AllocationMap>>,
    /// The file, unless it is a pipe.
    pub(super) reading: Option<Arc<Reading>>,
}

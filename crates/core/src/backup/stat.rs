//! From what the system says of a file to what an item says.

use garret_format::archive::{Content, Identity, Side, Time};
use garret_format::recipe::{CutterKind, Node, Recipe};
use garret_image::Metadata;

pub(super) fn time(time: garret_image::Time) -> Time {
    Time { secs: time.secs, nanos: time.nanos }
}

pub(super) fn identity(metadata: &Metadata) -> Identity {
    Identity { inode: metadata.ino, ctime: time(metadata.ctime) }
}

/// What a file has before it was read.
pub(super) fn nothing() -> Content {
    let none = || Side::Inline(Vec::new());
    let recipe = Recipe { cutter: CutterKind::Fastcdc, root: Node::Leaf(Vec::new()) };
    Content { recipe, layout: none(), allocation: none(), unreadable: Vec::new() }
}

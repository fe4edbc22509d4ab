//! Why parsing ends early: a doubt, or a file that cannot be read.

use super::doubt::Doubt;
use crate::SourceError;

/// Why parsing ended early.
pub(super) enum Stop {
    Doubt(Doubt),
    Source(SourceError),
}

impl From<Doubt> for Stop {
    fn from(doubt: Doubt) -> Stop {
        Stop::Doubt(doubt)
    }
}

impl From<SourceError> for Stop {
    fn from(error: SourceError) -> Stop {
        Stop::Source(error)
    }
}

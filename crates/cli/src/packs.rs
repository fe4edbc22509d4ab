//! The second place in which packs of files lie, if there is one.
//!
//! In: a location, said once for all repositories that this process names. Out: that location.

use std::ffi::OsString;
use std::sync::OnceLock;

use crate::failure::Failure;
use crate::location::Location;

/// Says it where no option does.
pub(crate) const VARIABLE: &str = "GARRET_PACKS";

/// Where packs of files lie.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Packs {
    /// Packs of files lie in this second place, which init makes too [default: that of GARRET_PACKS, if it is set]
    #[arg(long, global = true, value_name = "LOCATION")]
    packs: Option<OsString>,
}

static PACKS: OnceLock<Location> = OnceLock::new();

impl Packs {
    /// Whether the option is given.
    pub fn is_given(&self) -> bool {
        self.packs.is_some()
    }

    /// Has all repositories that are named from now on have them there. The first one stays.
    ///
    /// # Errors
    /// Wrong use if it is no location.
    pub fn tell(self) -> Result<(), Failure> {
        let said = || std::env::var_os(VARIABLE).filter(|value| !value.is_empty());
        let Some(text) = self.packs.or_else(said) else { return Ok(()) };
        let place = Location::parse(&text).ok_or_else(|| Location::invalid(&text))?;
        _ = PACKS.set(place);
        Ok(())
    }
}

/// Where they are, if that was said.
pub fn place() -> Option<&'static Location> {
    PACKS.get()
}

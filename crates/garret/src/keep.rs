//! What a prune keeps.
//!
//! In: the options of attic about it. Out: rules.

use garret_core::KeepRules;

/// The options, of `prune` and of `nightly`.
#[derive(Debug, clap::Args)]
pub(crate) struct Keep {
    /// Keep everything younger than this: a number and H, d, w, m (31 days) or y
    #[arg(long, value_name = "INTERVAL", value_parser = interval)]
    keep_within: Option<u64>,
    /// Keep the newest archive of each of the last N hours that have one
    #[arg(short = 'H', long, value_name = "N", default_value_t = 0)]
    keep_hourly: i64,
    /// The same for days
    #[arg(short = 'd', long, value_name = "N", default_value_t = 0)]
    keep_daily: i64,
    /// The same for weeks
    #[arg(short = 'w', long, value_name = "N", default_value_t = 0)]
    keep_weekly: i64,
    /// The same for months
    #[arg(short = 'm', long, value_name = "N", default_value_t = 0)]
    keep_monthly: i64,
    /// The same for years
    #[arg(short = 'y', long, value_name = "N", default_value_t = 0)]
    keep_yearly: i64,
}

fn interval(text: &str) -> Result<u64, String> {
    let wrong = || "it is a number and one of H, d, w, m, y, as in 10d".to_owned();
    KeepRules::parse_within(text).ok_or_else(wrong)
}

impl Keep {
    /// The rules that they say.
    pub(crate) fn rules(&self) -> KeepRules {
        let mut rules = KeepRules::default();
        rules.within_secs = self.keep_within;
        rules.hourly = self.keep_hourly;
        rules.daily = self.keep_daily;
        rules.weekly = self.keep_weekly;
        rules.monthly = self.keep_monthly;
        rules.yearly = self.keep_yearly;
        rules
    }
}

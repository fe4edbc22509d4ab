//! What a prune keeps.
//!
//! In: the options of attic about it. Out: rules.

use garret_core::KeepRules;

/// Which options the library's words are.
pub(crate) const RULES: &str = "give --keep-daily N, or --keep-within, --keep-hourly, --keep-weekly, --keep-monthly, \
                                --keep-yearly";

/// The options, of `prune` and of `nightly`.
#[derive(Debug, clap::Args)]
pub(crate) struct Keep {
    /// Keep everything younger than this: a number and H, d, w, m (31 days) or y
    #[arg(long, value_name = "INTERVAL", value_parser = interval)]
    keep_within: Option<u64>,
    /// Keep the newest archive of each of the last N hours that have one
    #[arg(short = 'H', long, value_name = "N")]
    keep_hourly: Option<i64>,
    /// The same for days
    #[arg(short = 'd', long, value_name = "N")]
    keep_daily: Option<i64>,
    /// The same for weeks
    #[arg(short = 'w', long, value_name = "N")]
    keep_weekly: Option<i64>,
    /// The same for months
    #[arg(short = 'm', long, value_name = "N")]
    keep_monthly: Option<i64>,
    /// The same for years
    #[arg(short = 'y', long, value_name = "N")]
    keep_yearly: Option<i64>,
}

fn interval(text: &str) -> Result<u64, String> {
    let wrong = || "it is a number and one of H, d, w, m, y, as in 10d".to_owned();
    KeepRules::parse_within(text).ok_or_else(wrong)
}

impl Keep {
    /// Whether one of them is given, be it 0.
    pub(crate) fn is_given(&self) -> bool {
        let counts = [
            self.keep_hourly,
            self.keep_daily,
            self.keep_weekly,
            self.keep_monthly,
            self.keep_yearly,
        ];
        self.keep_within.is_some() || counts.iter().any(Option::is_some)
    }

    /// The rules that they say.
    pub(crate) fn rules(&self) -> KeepRules {
        let mut rules = KeepRules::default();
        rules.within_secs = self.keep_within;
        rules.hourly = self.keep_hourly.unwrap_or(0);
        rules.daily = self.keep_daily.unwrap_or(0);
        rules.weekly = self.keep_weekly.unwrap_or(0);
        rules.monthly = self.keep_monthly.unwrap_or(0);
        rules.yearly = self.keep_yearly.unwrap_or(0);
        rules
    }
}

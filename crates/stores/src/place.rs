//! Where in which store a repository is.
//!
//! In: `SCHEME://BUCKET[/PREFIX][?OPTION=VALUE&...]` or `sftp://HOST/PATH`, and the variables that the store's own tools read.
//! Out: a [`Place`].
//! Promises: nothing secret is taken from a location, for locations are in logs and lists of processes. What each kind of
//! store needs is in the file of its name.

mod azblob;
mod gcs;
mod s3;
mod sftp;
mod swift;

use std::env;
use std::fmt;

pub(crate) use azblob::Azblob;
pub(crate) use gcs::{Asker, Gcs};
pub(crate) use s3::S3;
pub use sftp::Sftp;
pub(crate) use swift::{Login, Swift};

/// Where a repository is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In a bucket.
    Bucket(Bucket),
    /// In a directory of a server of SFTP.
    Sftp(Sftp),
}

/// A prefix in a bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// The bucket, or container.
    pub(crate) bucket: String,
    /// What all names in it begin with, without slashes at its ends; may be empty.
    pub(crate) prefix: String,
    pub(crate) provider: Provider,
}

/// A kind of store, and who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Provider {
    Azblob(Azblob),
    Gcs(Gcs),
    S3(S3),
    Swift(Swift),
}

/// Why a location is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed(pub String);

/// What the environment has of this name, and is not empty.
type Variable<'v> = &'v dyn Fn(&str) -> Option<String>;
/// The options behind the question mark.
type Pairs<'p> = &'p [(&'p str, &'p str)];

impl Place {
    /// The place that `location` names, with what the environment says beside it.
    ///
    /// # Errors
    /// It is malformed, or something is missing.
    pub fn parse(location: &str) -> Result<Self, Malformed> {
        Place::parse_with(location, &|name| env::var(name).ok())
    }

    /// The same with other variables than those of this process.
    ///
    /// # Errors
    /// As of [`parse`](Self::parse).
    pub fn parse_with(
        location: &str,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, Malformed> {
        let variable: Variable<'_> = &|name| variable(name).filter(|value| !value.is_empty());
        let none = || {
            let why = "it begins with none of azblob://, gcs://, s3://, swift:// and sftp://";
            Malformed(why.to_owned())
        };
        match location.split_once("://").ok_or_else(none)? {
            ("sftp", rest) => Sftp::parse(rest, variable).map(Place::Sftp),
            (scheme @ ("azblob" | "gcs" | "s3" | "swift"), rest) => {
                Bucket::parse(scheme, rest, variable).map(Place::Bucket)
            }
            _ => Err(none()),
        }
    }
}

impl Bucket {
    fn parse(scheme: &str, rest: &str, variable: Variable<'_>) -> Result<Self, Malformed> {
        let (path, options) = rest.split_once('?').unwrap_or((rest, ""));
        let (bucket, prefix) = path.split_once('/').unwrap_or((path, ""));
        let prefix = prefix.trim_matches('/');
        let is_bucket = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
        if bucket.is_empty() || !bucket.chars().all(is_bucket) {
            return Err(Malformed(format!(
                "there is no bucket in it: write {scheme}://BUCKET/PREFIX"
            )));
        }
        let is_part = |part: &str| !part.is_empty() && !part.starts_with('.');
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-._:+=@/".contains(c);
        if !(prefix.is_empty() || prefix.split('/').all(is_part) && prefix.chars().all(is_plain)) {
            let why = "the prefix may have letters, digits, - _ . : + = @ and single slashes, and no part that begins \
                       with a dot";
            return Err(Malformed(why.to_owned()));
        }
        let options = options.split('&').filter(|option| !option.is_empty());
        let pairs: Vec<(&str, &str)> =
            options.map(|option| option.split_once('=').unwrap_or((option, ""))).collect();
        let provider = match scheme {
            "azblob" => Provider::Azblob(Azblob::parse(&pairs, variable)?),
            "gcs" => Provider::Gcs(Gcs::parse(&pairs, variable)?),
            "s3" => Provider::S3(S3::parse(bucket, &pairs, variable)?),
            _ => Provider::Swift(Swift::parse(&pairs, variable)?),
        };
        let (bucket, prefix) = (bucket.to_owned(), prefix.to_owned());
        Ok(Bucket { bucket, prefix, provider })
    }
}

impl Provider {
    /// Behind what a server says that refuses.
    pub(crate) fn denied(&self) -> &'static str {
        match self {
            Provider::Azblob(_) => {
                "are the variables AZURE_STORAGE_ right, and may that key, signature or user do this?"
            }
            Provider::Gcs(_) => "is that account right, and may it do this?",
            Provider::S3(_) => {
                "are AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY right, and may that key do this?"
            }
            Provider::Swift(_) => "are the variables OS_ or ST_ right, and may that user do this?",
        }
    }

    /// What to do where there is nothing to sign with.
    pub(crate) fn unsigned(&self) -> &'static str {
        match self {
            Provider::Azblob(_) => {
                "there is nothing to sign with: set AZURE_STORAGE_KEY or AZURE_STORAGE_SAS_TOKEN; who has another account \
                 may not have got a token"
            }
            Provider::Gcs(_) => {
                "there is nothing to sign with: let GOOGLE_APPLICATION_CREDENTIALS name the file of an account; who has \
                 done so may not have got a token"
            }
            Provider::S3(_) | Provider::Swift(_) => {
                "there is no key to sign with: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or make \
                 ~/.aws/credentials"
            }
        }
    }

    /// Whether what is signed with is asked for on the way, so that it may be there in a moment.
    pub(crate) fn asks_for_tokens(&self) -> bool {
        match self {
            Provider::Azblob(azblob) => azblob.secret.is_none(),
            Provider::Gcs(gcs) => gcs.asker != Asker::Nobody,
            Provider::S3(_) | Provider::Swift(_) => false,
        }
    }

    /// Whether a listing may lack what was put a moment ago, as Swift's does while one of its servers is down.
    pub(crate) fn lists_late(&self) -> bool {
        matches!(self, Provider::Swift(_))
    }

    /// Whether what says who asks ends some time, and can be had again.
    pub(crate) fn renews(&self) -> bool {
        matches!(self, Provider::Swift(swift) if !matches!(swift.login, Login::Token { .. }))
    }
}

/// As messages call it.
impl fmt::Display for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.provider {
            Provider::Azblob(_) => "azblob",
            Provider::Gcs(_) => "gcs",
            Provider::S3(_) => "s3",
            Provider::Swift(_) => "swift",
        };
        let slash = if self.prefix.is_empty() { "" } else { "/" };
        write!(f, "{scheme}://{}{slash}{}", self.bucket, self.prefix)
    }
}

/// The value of an option, if it is there. All options must be among `known`, which are written as users write them.
fn option<'p>(pairs: Pairs<'p>, name: &str, known: &[&str]) -> Result<Option<&'p str>, Malformed> {
    let is_known = |name: &str| {
        known.iter().any(|known| known.strip_prefix(name).is_some_and(|rest| rest.starts_with('=')))
    };
    if let Some((other, value)) = pairs.iter().find(|(other, _)| !is_known(other)) {
        let equals = if value.is_empty() { "" } else { "=" };
        let known = known.join(", ");
        return Err(Malformed(format!("\"{other}{equals}{value}\" is none of {known}")));
    }
    Ok(pairs.iter().find(|(other, _)| *other == name).map(|(_, value)| *value))
}

/// The address of a server.
pub(crate) fn address(text: String) -> Result<String, Malformed> {
    const SECRETS: [char; 3] = ['@', '?', '#'];
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    if rest.is_none_or(|rest| rest.is_empty() || rest.contains(SECRETS)) {
        // A password or a signature, which somebody put there, is not shown.
        let shown = if text.contains(SECRETS) { "..." } else { &text };
        return Err(Malformed(format!(
            "\"{shown}\" is no endpoint: write http://HOST[:PORT] or https://HOST[:PORT]"
        )));
    }
    Ok(text.trim_end_matches('/').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_malformed_is_refused() {
        for text in [
            "s3://",
            "s3:///x",
            "s3://b/a//b",
            "s3://b/./x",
            "s3://b/a b",
            "s3://b/x?key=secret",
            "s3://b?endpoint=there",
            "s3://b?endpoint=https://user:word@there",
            "s3://b?style=other",
            "s3://user@b/x",
            "gs://b/x",
            "azblob://b/x",
            "gcs://b/x?key=secret",
            "swift://b/x?key=secret",
            "b/x",
        ] {
            assert!(Place::parse_with(text, &|_| None).is_err(), "{text}");
        }
    }
}

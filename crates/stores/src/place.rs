//! Where in which store a repository is.
//!
//! In: `s3://BUCKET[/PREFIX][?endpoint=URL&region=NAME&style=path|virtual]`, and the variables that the tools of AWS read. Out:
//! a [`Place`]. Promises: nothing secret is taken from a location, for locations are in logs and lists of processes.

use std::env;
use std::fmt;

/// A prefix in a bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The bucket.
    pub bucket: String,
    /// What all names in it begin with, without slashes at its ends; may be empty.
    pub prefix: String,
    /// The server, or none for AWS itself.
    pub endpoint: Option<String>,
    /// The region.
    pub region: Option<String>,
    /// Whether the bucket is the first part of the path, and not of the host's name.
    pub is_path_style: bool,
    /// Who asks; without it, whoever the files of the tools of AWS, or the machine, say.
    pub(crate) account: Option<Account>,
}

/// A key of a store, and its secret.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Account {
    pub key: String,
    pub secret: String,
    pub token: Option<String>,
}

/// Without the secret.
impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Account").field("key", &self.key).finish_non_exhaustive()
    }
}

/// Why a location is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed(pub String);

impl Place {
    /// The place that `location` names; what it does not say is said by `AWS_ENDPOINT_URL_S3`, `AWS_ENDPOINT_URL`,
    /// `AWS_REGION` and `AWS_DEFAULT_REGION`, who asks by `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and
    /// `AWS_SESSION_TOKEN`.
    ///
    /// # Errors
    /// It is malformed.
    pub fn parse(location: &str) -> Result<Self, Malformed> {
        Place::parse_with(location, &|name| env::var(name).ok())
    }

    /// The same with other variables than those of this process.
    ///
    /// # Errors
    /// It is malformed.
    pub fn parse_with(
        location: &str,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, Malformed> {
        let variable = |name: &str| variable(name).filter(|value| !value.is_empty());
        let malformed = |why: &str| Malformed(why.to_owned());
        let rest = location
            .strip_prefix("s3://")
            .ok_or_else(|| malformed("it does not begin with s3://"))?;
        let (path, options) = rest.split_once('?').unwrap_or((rest, ""));
        let (bucket, prefix) = path.split_once('/').unwrap_or((path, ""));
        let prefix = prefix.trim_matches('/');
        let is_bucket = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
        if bucket.is_empty() || !bucket.chars().all(is_bucket) {
            return Err(malformed("there is no bucket in it: write s3://BUCKET/PREFIX"));
        }
        let is_part = |part: &str| !part.is_empty() && !part.starts_with('.');
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-._:+=@/".contains(c);
        if !(prefix.is_empty() || prefix.split('/').all(is_part) && prefix.chars().all(is_plain)) {
            return Err(malformed(
                "the prefix may have letters, digits, - _ . : + = @ and single slashes, and no part that begins with a dot",
            ));
        }
        let (mut endpoint, mut region, mut style) = (None, None, None);
        for option in options.split('&').filter(|option| !option.is_empty()) {
            match option.split_once('=') {
                Some(("endpoint", value)) => endpoint = Some(value.to_owned()),
                Some(("region", value)) => region = Some(value.to_owned()),
                Some(("style", value @ ("path" | "virtual"))) => style = Some(value == "path"),
                _ => {
                    return Err(malformed(&format!(
                        "\"{option}\" is none of endpoint=URL, region=NAME, style=path, style=virtual"
                    )));
                }
            }
        }
        let endpoint = endpoint
            .or_else(|| variable("AWS_ENDPOINT_URL_S3"))
            .or_else(|| variable("AWS_ENDPOINT_URL"));
        let region =
            region.or_else(|| variable("AWS_REGION")).or_else(|| variable("AWS_DEFAULT_REGION"));
        if let Some(endpoint) = &endpoint {
            let host =
                endpoint.strip_prefix("https://").or_else(|| endpoint.strip_prefix("http://"));
            if host.is_none_or(|host| host.is_empty() || host.contains(['@', '?', '#'])) {
                return Err(malformed(&format!(
                    "\"{endpoint}\" is no endpoint: write http://HOST[:PORT] or https://HOST[:PORT]"
                )));
            }
        }
        // Only AWS has each bucket as a host, and sooner or later as nothing else.
        let account = variable("AWS_ACCESS_KEY_ID").zip(variable("AWS_SECRET_ACCESS_KEY"));
        let account = account.map(|(key, secret)| {
            let token = variable("AWS_SESSION_TOKEN");
            Account { key, secret, token }
        });
        let is_path_style = style.unwrap_or(endpoint.is_some() || bucket.contains('.'));
        Ok(Place {
            bucket: bucket.to_owned(),
            prefix: prefix.to_owned(),
            endpoint,
            region,
            is_path_style,
            account,
        })
    }
}

/// As messages call it.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let slash = if self.prefix.is_empty() { "" } else { "/" };
        write!(f, "s3://{}{slash}{}", self.bucket, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_says_more_than_the_environment() {
        let variable = |name: &str| match name {
            "AWS_ENDPOINT_URL" => Some("http://127.0.0.1:7480".to_owned()),
            "AWS_REGION" => Some("here".to_owned()),
            _ => None,
        };
        let place = Place::parse_with("s3://bucket/a/b/", &variable).unwrap();
        assert_eq!(
            (place.bucket.as_str(), place.prefix.as_str(), place.is_path_style),
            ("bucket", "a/b", true)
        );
        assert_eq!(
            (place.endpoint.as_deref(), place.region.as_deref()),
            (Some("http://127.0.0.1:7480"), Some("here"))
        );
        assert_eq!(place.to_string(), "s3://bucket/a/b");
        let text = "s3://bucket?endpoint=https://there&region=r&style=virtual";
        let place = Place::parse_with(text, &variable).unwrap();
        assert_eq!(
            (place.endpoint.as_deref(), place.region.as_deref()),
            (Some("https://there"), Some("r"))
        );
        assert!(!place.is_path_style && place.prefix.is_empty());
        let place = Place::parse_with("s3://bucket/x", &|_| None).unwrap();
        assert!(place.endpoint.is_none() && !place.is_path_style);
    }

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
        ] {
            assert!(Place::parse_with(text, &|_| None).is_err(), "{text}");
        }
    }
}

//! S3, of AWS or of any other server that speaks it.
//!
//! In: the options `endpoint=URL`, `region=NAME` and `style=path|virtual`, else `AWS_ENDPOINT_URL_S3`, `AWS_ENDPOINT_URL`,
//! `AWS_REGION` and `AWS_DEFAULT_REGION`; who asks, of `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and `AWS_SESSION_TOKEN`.
//! Out: the way there.

use std::fmt;

use opendal::Operator;

use super::{Malformed, Pairs, Variable, address, option};

const OPTIONS: [&str; 4] = ["endpoint=URL", "region=NAME", "style=path", "style=virtual"];

/// A server, and who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct S3 {
    /// The server, or none for AWS itself.
    pub endpoint: Option<String>,
    pub region: Option<String>,
    /// Whether the bucket is the first part of the path, and not of the host's name.
    pub is_path_style: bool,
    /// Who asks; without it, whoever the files of the tools of AWS, or the machine, say.
    pub account: Option<Account>,
}

/// A key, and its secret.
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

impl S3 {
    pub(super) fn parse(
        bucket: &str,
        pairs: Pairs<'_>,
        variable: Variable<'_>,
    ) -> Result<Self, Malformed> {
        let option = |name: &str| option(pairs, name, &OPTIONS);
        let is_path_style = match option("style")? {
            None => None,
            Some(style @ ("path" | "virtual")) => Some(style == "path"),
            Some(other) => {
                let why = format!("\"style={other}\" is neither style=path nor style=virtual");
                return Err(Malformed(why));
            }
        };
        let given = |name: &str, variables: &[&str]| -> Result<_, Malformed> {
            let given = option(name)?.map(str::to_owned);
            Ok(given.or_else(|| variables.iter().find_map(|name| variable(name))))
        };
        let endpoint = given("endpoint", &["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"])?;
        let endpoint = endpoint.map(address).transpose()?;
        let region = given("region", &["AWS_REGION", "AWS_DEFAULT_REGION"])?;
        let account = variable("AWS_ACCESS_KEY_ID").zip(variable("AWS_SECRET_ACCESS_KEY"));
        let account = account.map(|(key, secret)| {
            let token = variable("AWS_SESSION_TOKEN");
            Account { key, secret, token }
        });
        // Only AWS has each bucket as a host, and sooner or later as nothing else.
        let is_path_style = is_path_style.unwrap_or(endpoint.is_some() || bucket.contains('.'));
        Ok(S3 { endpoint, region, is_path_style, account })
    }

    /// The way to a bucket.
    ///
    /// # Errors
    /// The endpoint is none.
    pub(crate) fn operator(&self, bucket: &str, root: &str) -> opendal::Result<Operator> {
        let mut builder = opendal::services::S3::default().bucket(bucket).root(root);
        // A signature needs one; of a server of one's own it is the name of none.
        builder = builder.region(self.region.as_deref().unwrap_or("us-east-1"));
        if let Some(Account { key, secret, token }) = &self.account {
            builder = builder.access_key_id(key).secret_access_key(secret);
            if let Some(token) = token {
                builder = builder.session_token(token);
            }
        }
        if let Some(endpoint) = &self.endpoint {
            builder = builder.endpoint(endpoint);
        }
        if !self.is_path_style {
            builder = builder.enable_virtual_host_style();
        }
        Operator::new(builder)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Bucket, Place, Provider};
    use super::*;

    fn s3(text: &str, variable: &dyn Fn(&str) -> Option<String>) -> (Bucket, S3) {
        let Place::Bucket(bucket) = Place::parse_with(text, variable).unwrap() else {
            panic!("{text}");
        };
        match bucket.provider.clone() {
            Provider::S3(s3) => (bucket, s3),
            _ => panic!("{text}"),
        }
    }

    #[test]
    fn a_location_says_more_than_the_environment() {
        let variable = |name: &str| match name {
            "AWS_ENDPOINT_URL" => Some("http://127.0.0.1:7480".to_owned()),
            "AWS_REGION" => Some("here".to_owned()),
            _ => None,
        };
        let (place, found) = s3("s3://bucket/a/b/", &variable);
        assert_eq!((place.bucket.as_str(), place.prefix.as_str()), ("bucket", "a/b"));
        assert!(found.is_path_style);
        assert_eq!(
            (found.endpoint.as_deref(), found.region.as_deref()),
            (Some("http://127.0.0.1:7480"), Some("here"))
        );
        assert_eq!(place.to_string(), "s3://bucket/a/b");
        let text = "s3://bucket?endpoint=https://there&region=r&style=virtual";
        let (place, found) = s3(text, &variable);
        assert_eq!(
            (found.endpoint.as_deref(), found.region.as_deref()),
            (Some("https://there"), Some("r"))
        );
        assert!(!found.is_path_style && place.prefix.is_empty());
        let (_, found) = s3("s3://bucket/x", &|_| None);
        assert!(found.endpoint.is_none() && !found.is_path_style);
    }
}

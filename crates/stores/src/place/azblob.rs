//! Blob Storage of Azure.
//!
//! In: the option `endpoint=URL`, else `AZURE_STORAGE_SERVICE_ENDPOINT`; the account, and who asks, of the variables that
//! Azure's own tools read: `AZURE_STORAGE_ACCOUNT` with `AZURE_STORAGE_KEY` or `AZURE_STORAGE_SAS_TOKEN`, or all of it in
//! `AZURE_STORAGE_CONNECTION_STRING`. Out: the way to a container.

use std::fmt;

use opendal::Operator;

use super::{Malformed, Pairs, Variable, address, option};

const NOBODY: &str = "nothing says which account: set AZURE_STORAGE_ACCOUNT and AZURE_STORAGE_KEY or \
                      AZURE_STORAGE_SAS_TOKEN, or AZURE_STORAGE_CONNECTION_STRING";

/// An account, and who asks.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Azblob {
    pub name: String,
    pub endpoint: String,
    /// Without it, whoever the variables of Azure's libraries, or the machine, say.
    pub secret: Option<Secret>,
}

/// What it is asked with.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Secret {
    /// That of the account, which may do everything.
    Key(String),
    /// A signature that somebody with the key made, for some things and some time.
    Sas(String),
}

/// Without the secrets.
impl fmt::Debug for Azblob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Azblob").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Azblob {
    pub(super) fn parse(pairs: Pairs<'_>, variable: Variable<'_>) -> Result<Self, Malformed> {
        let endpoint = option(pairs, "endpoint", &["endpoint=URL"])?.map(str::to_owned);
        let connection = variable("AZURE_STORAGE_CONNECTION_STRING");
        let mut found = match &connection {
            Some(words) => connected(words)?,
            None => Azblob {
                name: variable("AZURE_STORAGE_ACCOUNT").ok_or_else(|| Malformed(NOBODY.into()))?,
                endpoint: variable("AZURE_STORAGE_SERVICE_ENDPOINT").unwrap_or_default(),
                secret: variable("AZURE_STORAGE_KEY")
                    .map(Secret::Key)
                    .or_else(|| variable("AZURE_STORAGE_SAS_TOKEN").map(Secret::Sas)),
            },
        };
        let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        if !found.name.chars().all(is_name) {
            let why = "the name of an account of Azure has small letters and digits alone";
            return Err(Malformed(why.to_owned()));
        }
        found.endpoint = address(match endpoint {
            Some(endpoint) => endpoint,
            None if found.endpoint.is_empty() => {
                format!("https://{}.blob.core.windows.net", found.name)
            }
            None => found.endpoint,
        })?;
        Ok(found)
    }

    /// The way to a container.
    ///
    /// # Errors
    /// The key is none.
    pub(crate) fn operator(&self, container: &str, root: &str) -> opendal::Result<Operator> {
        let builder = opendal::services::Azblob::default();
        let builder = builder.account_name(&self.name).endpoint(&self.endpoint);
        let builder = match &self.secret {
            Some(Secret::Key(key)) => builder.account_key(key),
            Some(Secret::Sas(token)) => builder.sas_token(token.trim_start_matches('?')),
            None => builder,
        };
        Operator::new(builder.container(container).root(root))
    }
}

/// `AccountName=..;AccountKey=..;...`, as Azure's pages give it. Names and order are theirs:
/// <https://learn.microsoft.com/azure/storage/common/storage-configure-connection-string>.
fn connected(words: &str) -> Result<Azblob, Malformed> {
    // No part of it is shown: it may be the key.
    let none = || Malformed("AZURE_STORAGE_CONNECTION_STRING is malformed".to_owned());
    let fields = words.trim().split(';').filter(|field| !field.is_empty());
    let fields = fields.map(|field| field.split_once('=').ok_or_else(none));
    let fields: Vec<(&str, &str)> = fields.collect::<Result<_, _>>()?;
    let field = |name: &str| {
        let found = fields.iter().find(|(other, value)| *other == name && !value.is_empty());
        found.map(|(_, value)| (*value).to_owned())
    };
    let endpoint = field("BlobEndpoint");
    // With a signature the account may be said by the server alone.
    let host = endpoint.as_deref().and_then(|url| url.split("://").nth(1)?.split('.').next());
    let name = field("AccountName").or_else(|| host.map(str::to_owned)).ok_or_else(none)?;
    let suffixed = |suffix| {
        let protocol = field("DefaultEndpointsProtocol").unwrap_or_else(|| "https".to_owned());
        format!("{protocol}://{name}.blob.{suffix}")
    };
    let endpoint = endpoint.or_else(|| field("EndpointSuffix").map(suffixed)).unwrap_or_default();
    let sas = || field("SharedAccessSignature").map(Secret::Sas);
    let secret = field("AccountKey").map(Secret::Key).or_else(sas);
    Ok(Azblob { name, endpoint, secret })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(pairs: Pairs<'_>, variables: &[(&str, &str)]) -> Result<Azblob, Malformed> {
        Azblob::parse(pairs, &|name| {
            let found = variables.iter().find(|(other, _)| *other == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    const ACCOUNT: (&str, &str) = ("AZURE_STORAGE_ACCOUNT", "vms");
    const CONNECTION: &str = "AZURE_STORAGE_CONNECTION_STRING";

    #[test]
    fn an_account_says_where_it_is_unless_that_is_said() {
        let endpoint = |pairs, variables: &[(&str, &str)]| {
            let found = parse(pairs, variables).unwrap();
            assert_eq!(found.name, "vms");
            found.endpoint
        };
        let azure = "https://vms.blob.core.windows.net";
        let there = "http://127.0.0.1:10000/vms";
        let service = ("AZURE_STORAGE_SERVICE_ENDPOINT", "http://127.0.0.1:10000/vms/");
        let named = [("endpoint", there)];
        assert_eq!(endpoint(&[], &[ACCOUNT]), azure);
        assert_eq!(endpoint(&[], &[ACCOUNT, service]), there);
        assert_eq!(endpoint(&named, &[ACCOUNT]), there);
        for (words, expected) in [
            ("AccountName=vms;AccountKey=c2VjcmV0", azure),
            (
                "AccountName=vms;EndpointSuffix=core.chinacloudapi.cn",
                "https://vms.blob.core.chinacloudapi.cn",
            ),
            (
                "BlobEndpoint=https://vms.blob.core.windows.net/;SharedAccessSignature=sv=2024",
                azure,
            ),
        ] {
            assert_eq!(endpoint(&[], &[(CONNECTION, words)]), expected);
            assert_eq!(endpoint(&named, &[(CONNECTION, words)]), there);
        }
        assert!(parse(&[("key", "secret")], &[ACCOUNT]).is_err());
        assert!(parse(&[], &[("AZURE_STORAGE_ACCOUNT", "vms.evil.example.org/")]).is_err());
    }

    #[test]
    fn who_asks_is_taken_from_the_variables_of_azure_and_never_shown() {
        let key = [ACCOUNT, ("AZURE_STORAGE_KEY", "c2VjcmV0")];
        let sas = [ACCOUNT, ("AZURE_STORAGE_SAS_TOKEN", "?sv=2024&sig=c2VjcmV0")];
        let all = [(CONNECTION, "AccountName=vms;AccountKey=c2VjcmV0")];
        for variables in [&key[..], &sas[..], &all[..]] {
            let found = parse(&[], variables).unwrap();
            assert!(found.secret.is_some() && !format!("{found:?}").contains("c2VjcmV0"));
            found.operator("vms", "/").unwrap();
        }
        let refused = parse(&[], &key[1..]).unwrap_err();
        assert!(refused.0.contains("AZURE_STORAGE_ACCOUNT"), "{refused:?}");
        let wrong = parse(&[], &[ACCOUNT, ("AZURE_STORAGE_KEY", "not base64!")]).unwrap();
        let error = wrong.operator("vms", "/").unwrap_err();
        assert!(!error.to_string().contains("not base64!"), "{error}");
        let refused = parse(&[], &[(CONNECTION, "secret")]).unwrap_err();
        assert!(!refused.0.contains("secret"), "{refused:?}");
    }
}

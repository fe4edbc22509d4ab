//! Cloud Storage of Google.
//!
//! In: the option `endpoint=URL`; who asks, as Google's own libraries find it: the file of `GOOGLE_APPLICATION_CREDENTIALS`,
//! what `gcloud auth application-default login` left, or the machine; nobody where `STORAGE_EMULATOR_HOST` names a server for
//! tests. Out: the way to a bucket.

use std::io::Read;

use opendal::Operator;
use reqsign_core::ProvideCredentialChain;
use reqsign_google::{FileCredentialProvider, ServiceAccountTokenCredentialProvider};
use serde_json::Value;

use super::{Malformed, Pairs, Variable, address, option};

/// To read and write objects.
const SCOPE: &str = "https://www.googleapis.com/auth/devstorage.read_write";
/// Longest file of an account in bytes: they have some 2,400.
const ACCOUNT_LEN_MAX: u64 = 64 << 10;

/// A server, and who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Gcs {
    /// The server, or none for Google's.
    pub endpoint: Option<String>,
    pub asker: Asker,
}

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Asker {
    /// Nobody says: only of servers for tests.
    Nobody,
    /// Whoever the file of this path says; whether by a key, and not by how to get a token otherwise.
    Named { path: String, has_key: bool },
    /// Whoever gcloud's file says, or else the machine.
    Found,
}

impl Gcs {
    pub(super) fn parse(pairs: Pairs<'_>, variable: Variable<'_>) -> Result<Self, Malformed> {
        let endpoint = option(pairs, "endpoint", &["endpoint=URL"])?.map(str::to_owned);
        let emulator = variable("STORAGE_EMULATOR_HOST");
        let asker = match variable("GOOGLE_APPLICATION_CREDENTIALS") {
            _ if endpoint.is_none() && emulator.is_some() => Asker::Nobody,
            None => Asker::Found,
            Some(path) => Asker::Named { has_key: has_key(&path)?, path },
        };
        Ok(Gcs { endpoint: endpoint.or(emulator).map(address).transpose()?, asker })
    }

    /// The way to a bucket.
    ///
    /// # Errors
    /// The endpoint is none.
    pub(crate) fn operator(&self, bucket: &str, root: &str) -> opendal::Result<Operator> {
        let mut builder = opendal::services::Gcs::default().bucket(bucket).root(root).scope(SCOPE);
        if let Some(endpoint) = &self.endpoint {
            builder = builder.endpoint(endpoint);
        }
        Operator::new(match &self.asker {
            Asker::Nobody => builder.skip_signature(),
            Asker::Named { path, has_key } => {
                let file = FileCredentialProvider::new(path).with_scope(SCOPE);
                let chain = ProvideCredentialChain::new();
                let chain = match has_key {
                    // A token serves an hour. By itself the library would sign, and ask for one, for each request.
                    true => {
                        let token = ServiceAccountTokenCredentialProvider::from_provider(file);
                        chain.push(token.with_scope(SCOPE))
                    }
                    false => chain.push(file),
                };
                let builder = builder.credential_provider_chain(chain);
                // Where who was named cannot be had, nobody else asks.
                builder.disable_config_load().disable_vm_metadata()
            }
            Asker::Found => builder,
        })
    }
}

/// Whether this file has a key, and does not say how to get a token otherwise.
fn has_key(path: &str) -> Result<bool, Malformed> {
    let fails = |why: &dyn std::fmt::Display| {
        Malformed(format!("GOOGLE_APPLICATION_CREDENTIALS: {path}: {why}"))
    };
    let mut text = Vec::new();
    let file = std::fs::File::open(path).map_err(|error| fails(&error))?;
    file.take(ACCOUNT_LEN_MAX).read_to_end(&mut text).map_err(|error| fails(&error))?;
    let account: Value =
        serde_json::from_slice(&text).map_err(|_| fails(&"it is no file of an account"))?;
    Ok(account.get("type").and_then(Value::as_str) == Some("service_account"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_server_for_tests_is_asked_without_saying_who_asks() {
        let emulator = |name: &str| {
            (name == "STORAGE_EMULATOR_HOST").then(|| "http://127.0.0.1:7492/".to_owned())
        };
        let found = Gcs::parse(&[], &|_| None).unwrap();
        assert_eq!(found, Gcs { endpoint: None, asker: Asker::Found });
        let found = Gcs::parse(&[], &emulator).unwrap();
        let endpoint = Some("http://127.0.0.1:7492".to_owned());
        assert_eq!(found, Gcs { endpoint, asker: Asker::Nobody });
        let there = [("endpoint", "https://storage.example.org")];
        assert_ne!(Gcs::parse(&there, &emulator).unwrap().asker, Asker::Nobody);
        assert!(Gcs::parse(&[("endpoint", "there")], &|_| None).is_err());
        assert!(Gcs::parse(&[("key", "x")], &|_| None).is_err());
    }

    #[test]
    fn who_is_named_asks_and_nobody_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("account.json").to_str().unwrap().to_owned();
        let parse = || {
            let named =
                |name: &str| (name == "GOOGLE_APPLICATION_CREDENTIALS").then(|| path.clone());
            Gcs::parse(&[], &named)
        };
        let refused = parse().unwrap_err();
        assert!(refused.0.contains(&path), "{refused:?}");
        std::fs::write(&path, "secret").unwrap();
        let refused = parse().unwrap_err();
        assert!(refused.0.contains(&path) && !refused.0.contains("secret"), "{refused:?}");
        std::fs::write(&path, r#"{"type": "service_account", "private_key": "x"}"#).unwrap();
        let named = |has_key| Asker::Named { path: path.clone(), has_key };
        assert_eq!(parse().unwrap().asker, named(true));
        parse().unwrap().operator("vms", "/").unwrap();
        std::fs::write(&path, r#"{"type": "authorized_user"}"#).unwrap();
        assert_eq!(parse().unwrap().asker, named(false));
        parse().unwrap().operator("vms", "/").unwrap();
    }
}

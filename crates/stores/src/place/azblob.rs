//! Azure Blob Storage.
//!
//! In: the options `account=NAME` and `endpoint=URL`, else `AZURE_STORAGE_ACCOUNT` and `AZURE_STORAGE_BLOB_ENDPOINT`; who
//! asks, of `AZURE_STORAGE_KEY` or `AZURE_STORAGE_SAS_TOKEN`. Out: the way there.

use std::fmt;

use opendal::Operator;

use super::{Malformed, Pairs, Variable, address, option};

const OPTIONS: [&str; 2] = ["account=NAME", "endpoint=URL"];

/// An account, and who asks.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Azblob {
    pub account: String,
    pub endpoint: String,
    /// Without one, whoever the variables of the tools of Azure, or the machine, say.
    pub secret: Option<Secret>,
}

#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Secret {
    Key(String),
    Sas(String),
}

/// Without the secret.
impl fmt::Debug for Azblob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Azblob").field("account", &self.account).finish_non_exhaustive()
    }
}

impl Azblob {
    pub(super) fn parse(pairs: Pairs<'_>, variable: Variable<'_>) -> Result<Self, Malformed> {
        let given = |name, other| -> Result<_, Malformed> {
            Ok(option(pairs, name, &OPTIONS)?.map(str::to_owned).or_else(|| variable(other)))
        };
        let account = given("account", "AZURE_STORAGE_ACCOUNT")?.ok_or_else(|| {
            Malformed(
                "it does not say which account: write ?account=NAME, or set AZURE_STORAGE_ACCOUNT"
                    .to_owned(),
            )
        })?;
        let endpoint = given("endpoint", "AZURE_STORAGE_BLOB_ENDPOINT")?
            .unwrap_or_else(|| format!("https://{account}.blob.core.windows.net"));
        let key = variable("AZURE_STORAGE_KEY").map(Secret::Key);
        let sas = || {
            let token = variable("AZURE_STORAGE_SAS_TOKEN")?;
            // As Azure's own pages show it.
            Some(Secret::Sas(token.trim_start_matches('?').to_owned()))
        };
        Ok(Azblob { account, endpoint: address(endpoint)?, secret: key.or_else(sas) })
    }

    /// The way to a container.
    ///
    /// # Errors
    /// The endpoint is none.
    pub(crate) fn operator(&self, container: &str, root: &str) -> opendal::Result<Operator> {
        let builder = opendal::services::Azblob::default().container(container).root(root);
        let builder = builder.account_name(&self.account).endpoint(&self.endpoint);
        Operator::new(match &self.secret {
            Some(Secret::Key(key)) => builder.account_key(key),
            Some(Secret::Sas(token)) => builder.sas_token(token),
            None => builder,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Place, Provider};

    #[test]
    fn the_account_is_in_the_location_or_in_the_environment() {
        let of = |text: &str, variable: &dyn Fn(&str) -> Option<String>| match Place::parse_with(
            text, variable,
        )
        .map(|place| place.provider)
        {
            Ok(Provider::Azblob(found)) => Some((found.account, found.endpoint)),
            _ => None,
        };
        let variable = |name: &str| (name == "AZURE_STORAGE_ACCOUNT").then(|| "vms".to_owned());
        let usual =
            |name: &str| Some((name.to_owned(), format!("https://{name}.blob.core.windows.net")));
        assert_eq!(of("azblob://c/x", &variable), usual("vms"));
        assert_eq!(of("azblob://c/x?account=other", &variable), usual("other"));
        assert_eq!(of("azblob://c/x", &|_| None), None);
        let own = "http://127.0.0.1:10000/dev";
        let place = of(&format!("azblob://c/x?account=dev&endpoint={own}"), &variable);
        assert_eq!(place, Some(("dev".to_owned(), own.to_owned())));
    }
}

//! OpenStack Swift, and whatever else speaks its protocol.
//!
//! In: the option `region=NAME`, else `OS_REGION_NAME`; who asks, of the variables that the tools of OpenStack read:
//! `OS_AUTH_URL` with `OS_APPLICATION_CREDENTIAL_ID` and `_SECRET`, or with `OS_USERNAME`, `OS_PASSWORD` and
//! `OS_PROJECT_NAME`; `ST_AUTH`, `ST_USER` and `ST_KEY`; or `OS_STORAGE_URL` and `OS_AUTH_TOKEN`. Out: what a server is asked
//! for a token with (`login.rs`), and the way to a container.

use std::fmt;

use opendal::Operator;
use serde_json::{Value, json};

use super::{Malformed, Pairs, Variable, address, option};

const NOBODY: &str = "nothing says who asks: set OS_AUTH_URL and OS_APPLICATION_CREDENTIAL_ID and _SECRET, or OS_USERNAME, \
                      OS_PASSWORD and OS_PROJECT_NAME; or ST_AUTH, ST_USER and ST_KEY";

/// Who asks, and in which region.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Swift {
    pub region: Option<String>,
    pub login: Login,
}

/// What a token is got with.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Login {
    /// Keystone, version 3: its address, and the body of the request.
    Keystone { url: String, body: String },
    /// What Swift and Ceph have built in.
    V1 { url: String, user: String, key: String },
    /// It was got by somebody else, and ends when it ends.
    Token { storage_url: String, token: String },
}

/// Without the secrets.
impl fmt::Debug for Swift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Swift").field("region", &self.region).finish_non_exhaustive()
    }
}

impl Swift {
    pub(super) fn parse(pairs: Pairs<'_>, variable: Variable<'_>) -> Result<Self, Malformed> {
        let region = option(pairs, "region", &["region=NAME"])?.map(str::to_owned);
        let region = region.or_else(|| variable("OS_REGION_NAME"));
        Ok(Swift { region, login: Login::of(variable)? })
    }

    /// The way to a container of the account at `storage_url`.
    ///
    /// # Errors
    /// That is no address.
    pub(crate) fn operator(
        storage_url: &str,
        token: &str,
        container: &str,
        root: &str,
    ) -> opendal::Result<Operator> {
        let builder = opendal::services::Swift::default().endpoint(storage_url).token(token);
        Operator::new(builder.container(container).root(root))
    }
}

impl Login {
    fn of(variable: Variable<'_>) -> Result<Self, Malformed> {
        if let Some((url, token)) = variable("OS_STORAGE_URL").zip(variable("OS_AUTH_TOKEN")) {
            return Ok(Login::Token { storage_url: address(url)?, token });
        }
        if let (Some(url), Some(identity)) = (variable("OS_AUTH_URL"), identity(variable)) {
            let url = url.trim_end_matches('/');
            let url = url.strip_suffix("/v3").unwrap_or(url);
            let body = json!({ "auth": identity }).to_string();
            return Ok(Login::Keystone { url: address(format!("{url}/v3/auth/tokens"))?, body });
        }
        let v1 = variable("ST_AUTH").zip(variable("ST_USER")).zip(variable("ST_KEY"));
        match v1 {
            Some(((url, user), key)) => Ok(Login::V1 { url: address(url)?, user, key }),
            None => Err(Malformed(NOBODY.to_owned())),
        }
    }
}

/// What Keystone wants to know.
fn identity(variable: Variable<'_>) -> Option<Value> {
    let [id, secret] = ["ID", "SECRET"].map(|part| format!("OS_APPLICATION_CREDENTIAL_{part}"));
    if let Some((id, secret)) = variable(&id).zip(variable(&secret)) {
        return Some(json!({ "identity": {
            "methods": ["application_credential"],
            "application_credential": { "id": id, "secret": secret },
        }}));
    }
    // By its id, or by its name in a domain, which has an id or a name itself.
    let named = |id: &str, name: Option<String>, domain: &str| match (variable(id), name) {
        (Some(id), _) => Some(json!({ "id": id })),
        (None, Some(name)) => {
            let domain = match variable(&format!("{domain}_ID")) {
                Some(id) => json!({ "id": id }),
                None => {
                    let name = variable(&format!("{domain}_NAME"));
                    json!({ "name": name.unwrap_or_else(|| "Default".to_owned()) })
                }
            };
            Some(json!({ "name": name, "domain": domain }))
        }
        (None, None) => None,
    };
    let mut user = named("OS_USER_ID", variable("OS_USERNAME"), "OS_USER_DOMAIN")?;
    user.as_object_mut()?.insert("password".to_owned(), variable("OS_PASSWORD")?.into());
    let project = variable("OS_PROJECT_NAME").or_else(|| variable("OS_TENANT_NAME"));
    let project = named("OS_PROJECT_ID", project, "OS_PROJECT_DOMAIN")?;
    Some(json!({
        "identity": { "methods": ["password"], "password": { "user": user } },
        "scope": { "project": project },
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login(variables: &[(&str, &str)]) -> Result<Login, Malformed> {
        Login::of(&|name| {
            let found = variables.iter().find(|(other, _)| *other == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    fn body(variables: &[(&str, &str)]) -> Value {
        match login(variables).unwrap() {
            Login::Keystone { url, body } => {
                assert_eq!(url, "https://keys.example.org/v3/auth/tokens");
                serde_json::from_str(&body).unwrap()
            }
            _ => panic!("{variables:?}"),
        }
    }

    #[test]
    fn keystone_is_told_who_asks_as_its_own_tools_tell_it() {
        let url = ("OS_AUTH_URL", "https://keys.example.org/v3/");
        let id = ("OS_APPLICATION_CREDENTIAL_ID", "a");
        assert_eq!(
            body(&[url, id, ("OS_APPLICATION_CREDENTIAL_SECRET", "s")]),
            json!({ "auth": { "identity": {
                "methods": ["application_credential"],
                "application_credential": { "id": "a", "secret": "s" },
            }}})
        );
        let user = [("OS_USERNAME", "u"), ("OS_PASSWORD", "p\"")];
        let project = [("OS_PROJECT_NAME", "vms"), ("OS_PROJECT_DOMAIN_ID", "d")];
        let default = json!({ "name": "Default" });
        assert_eq!(
            body(&[&[url], &user[..], &project[..]].concat()),
            json!({ "auth": {
                "identity": { "methods": ["password"], "password": {
                    "user": { "name": "u", "domain": default, "password": "p\"" },
                }},
                "scope": { "project": { "name": "vms", "domain": { "id": "d" } } },
            }})
        );
    }

    #[test]
    fn who_says_nothing_is_told_what_to_say() {
        let v1 = [("ST_AUTH", "http://h/auth/v1.0"), ("ST_USER", "t:u"), ("ST_KEY", "k")];
        assert!(matches!(login(&v1), Ok(Login::V1 { .. })));
        for few in [&v1[..2], &[("OS_AUTH_URL", "https://h"), ("OS_USERNAME", "u")]] {
            let refused = login(few).err().unwrap_or_else(|| panic!("{few:?}"));
            assert!(refused.0.contains("set OS_AUTH_URL"), "{few:?}");
        }
        let token = [("OS_STORAGE_URL", "https://h/v1/AUTH_x"), ("OS_AUTH_TOKEN", "t")];
        assert!(matches!(login(&token), Ok(Login::Token { .. })));
        assert!(login(&[("OS_STORAGE_URL", "h"), ("OS_AUTH_TOKEN", "t")]).is_err());
    }
}

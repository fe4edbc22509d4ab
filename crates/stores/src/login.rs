//! Asks a server of OpenStack for a token.
//!
//! In: a [`Login`]. Out: where the account is, and a token for it. Promises: a server that says nothing, or too much, is an
//! error after [`LOGIN_TIME`]; what says who we are goes to the address that the user gave, and nowhere else.

use std::time::Duration;

use garret_core::StoreErrorKind;
use reqwest::{Client, RequestBuilder, Response, StatusCode};
use serde_json::Value;
use tokio::time::timeout;

use crate::place::{Login, Malformed, Swift, address};
use crate::service::deepest;

/// How long it may take: all that is asked of the store waits for it.
const LOGIN_TIME: Duration = Duration::from_secs(20);
/// Longest answer of Keystone in bytes: with it comes a list of all services there are.
const ANSWER_LEN_MAX: usize = 4 << 20;

/// Why there is no token.
pub(crate) struct Refusal {
    pub kind: StoreErrorKind,
    pub why: String,
}

impl Refusal {
    fn other(why: impl Into<String>) -> Self {
        Refusal { kind: StoreErrorKind::Other, why: why.into() }
    }
}

/// Where the account is, and a token for it.
pub(crate) async fn log_in(client: &Client, swift: &Swift) -> Result<(String, String), Refusal> {
    let (storage_url, token) = ask_for_token(client, swift).await?;
    let is_open = |url: &str| url.starts_with("http://");
    let asked = match &swift.login {
        Login::Keystone { url, .. } | Login::V1 { url, .. } => url,
        Login::Token { storage_url, .. } => storage_url,
    };
    match address(storage_url) {
        // Whoever is in between would have the token.
        Ok(url) if is_open(&url) && !is_open(asked) => {
            Err(Refusal::other("the server says that the store is reached without TLS, by http://"))
        }
        Ok(url) => Ok((url, token)),
        Err(Malformed(why)) => Err(Refusal::other(format!("of the store the server says: {why}"))),
    }
}

async fn ask_for_token(client: &Client, swift: &Swift) -> Result<(String, String), Refusal> {
    match &swift.login {
        Login::Token { storage_url, token } => Ok((storage_url.clone(), token.clone())),
        Login::V1 { url, user, key } => {
            let request = client.get(url).header("X-Auth-User", user).header("X-Auth-Key", key);
            let (answer, _) = ask(request).await?;
            Ok((header(&answer, "X-Storage-Url")?, header(&answer, "X-Auth-Token")?))
        }
        Login::Keystone { url, body } => {
            let request = client.post(url).header("Content-Type", "application/json");
            let (answer, body) = ask(request.body(body.clone())).await?;
            let body: Value = serde_json::from_slice(&body)
                .map_err(|error| Refusal::other(format!("OS_AUTH_URL is no Keystone: {error}")))?;
            let url = object_store(&body, swift.region.as_deref()).ok_or_else(|| {
                let region = swift.region.as_deref().unwrap_or("any");
                let why =
                    format!("Keystone knows no object store in region \"{region}\" for this user");
                Refusal::other(why)
            })?;
            Ok((url, header(&answer, "X-Subject-Token")?))
        }
    }
}

/// An answer, and what it holds.
async fn ask(request: RequestBuilder) -> Result<(Response, Vec<u8>), Refusal> {
    let asked = async {
        let mut answer = request.send().await?;
        let mut body = Vec::new();
        while let Some(part) = answer.chunk().await? {
            body.extend_from_slice(&part);
            if body.len() > ANSWER_LEN_MAX {
                break;
            }
        }
        Ok((answer, body))
    };
    let failed = |error: reqwest::Error| {
        let kind =
            if error.is_builder() { StoreErrorKind::Other } else { StoreErrorKind::Transient };
        Refusal { kind, why: deepest(&error) }
    };
    let silent = |_| Refusal {
        kind: StoreErrorKind::Transient,
        why: format!("no answer within {} s", LOGIN_TIME.as_secs()),
    };
    let (answer, body) = timeout(LOGIN_TIME, asked).await.map_err(silent)?.map_err(failed)?;
    let kind = match answer.status() {
        status if status.is_success() && body.len() <= ANSWER_LEN_MAX => return Ok((answer, body)),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => StoreErrorKind::Denied,
        StatusCode::TOO_MANY_REQUESTS => StoreErrorKind::Transient,
        status if status.is_server_error() => StoreErrorKind::Transient,
        _ => StoreErrorKind::Other,
    };
    let hint = match kind {
        StoreErrorKind::Denied => ": are the variables OS_ or ST_ right?",
        _ => "",
    };
    Err(Refusal { kind, why: format!("the server says {}{hint}", answer.status()) })
}

fn header(answer: &Response, name: &str) -> Result<String, Refusal> {
    let value = answer.headers().get(name).and_then(|value| value.to_str().ok());
    value.map(str::to_owned).ok_or_else(|| Refusal::other(format!("the server sent no {name}")))
}

/// The public address of the object store of a region, or of the first there is.
fn object_store(answer: &Value, region: Option<&str>) -> Option<String> {
    let services = answer.get("token")?.get("catalog")?.as_array()?.iter();
    let stores = services
        .filter(|service| service.get("type").and_then(Value::as_str) == Some("object-store"));
    let mut endpoints = stores.filter_map(|service| service.get("endpoints")?.as_array()).flatten();
    let says = |endpoint: &Value, field: &str, what: &str| {
        endpoint.get(field).and_then(Value::as_str) == Some(what)
    };
    let found = endpoints.find(|endpoint| {
        let is_there =
            |region: &str| says(endpoint, "region_id", region) || says(endpoint, "region", region);
        says(endpoint, "interface", "public") && region.is_none_or(is_there)
    })?;
    Some(found.get("url")?.as_str()?.to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_object_store_of_a_region_is_found_in_the_list_of_services() {
        let endpoint = |interface: &str, region: &str| {
            let url = format!("https://{region}/{interface}");
            json!({ "interface": interface, "region_id": region, "url": url })
        };
        let endpoints = [endpoint("admin", "a"), endpoint("public", "a"), endpoint("public", "b")];
        let answer = json!({ "token": { "catalog": [
            { "type": "compute", "endpoints": [endpoint("public", "c")] },
            { "type": "object-store", "endpoints": endpoints },
        ]}});
        let found = |region| object_store(&answer, region);
        assert_eq!(found(None).as_deref(), Some("https://a/public"));
        assert_eq!(found(Some("b")).as_deref(), Some("https://b/public"));
        assert_eq!(found(Some("c")), None);
        for other in [json!({}), json!([]), json!({ "token": { "catalog": {} } })] {
            assert_eq!(object_store(&other, None), None);
        }
    }
}

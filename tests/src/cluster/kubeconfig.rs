//! Kubeconfigs with everything embedded, so that they can be copied into a machine.

use serde_json::Value;
use serde_json::json;

use super::base64;
use super::pki::Pair;

/// Who a kubeconfig speaks for.
pub(super) enum Credential<'a> {
    Certificate(&'a Pair),
    Token(&'a str),
}

/// A kubeconfig as JSON, which is YAML. `authority` is PEM.
pub(super) fn kubeconfig(server: &str, authority: &str, credential: &Credential<'_>) -> Value {
    let user = match credential {
        Credential::Certificate(pair) => json!({
            "client-certificate-data": base64::encode(&pair.certificate),
            "client-key-data": base64::encode(&pair.key),
        }),
        Credential::Token(token) => json!({ "token": token }),
    };
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{
            "name": "test",
            "cluster": { "server": server, "certificate-authority-data": base64::encode(authority) },
        }],
        "users": [{ "name": "user", "user": user }],
        "contexts": [{ "name": "test", "context": { "cluster": "test", "user": "user" } }],
        "current-context": "test",
    })
}

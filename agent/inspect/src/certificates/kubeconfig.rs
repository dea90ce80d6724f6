//! Kubeconfigs: the certificates that they embed and the files that they name.
//!
//! Tokens, passwords and exec settings are not read. A user without a certificate is no error.
//! Source: `Config` of `k8s.io/client-go/tools/clientcmd/api/v1`; embedded data wins over a path.

use serde::Deserialize;

use super::base64;
use super::secret::Secret;

/// Clusters and users that are read; a kubeconfig on a node has one of each.
const MAX_ENTRIES: usize = 256;

/// Bytes of embedded data after decoding; the file has at most 1 MiB.
const MAX_DATA: usize = 1024 * 1024;

/// A kubeconfig, as far as certificates go.
#[derive(Debug, Default)]
pub struct Kubeconfig {
    /// Its clusters, then its users.
    pub entries: Vec<Entry>,
}

/// A cluster or a user.
#[derive(Debug)]
pub struct Entry {
    /// `cluster NAME` or `user NAME`.
    pub name: String,
    /// The authority of a cluster, or the certificate of a user.
    pub certificates: Source,
    /// The private key of a user.
    pub key: Source,
}

/// Where something is.
#[derive(Debug)]
pub enum Source {
    /// In the kubeconfig: decoded, or nothing if it is no base64.
    Embedded(Option<Secret>),
    /// In a file; relative to the kubeconfig unless absolute.
    File(String),
    /// Nowhere.
    Nowhere,
}

/// The bytes are no kubeconfig. At fault: the node's file. Says nothing of its content, which may
/// be a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed kubeconfig: expected YAML with clusters and users")]
pub struct Malformed;

/// Reads a kubeconfig.
///
/// # Errors
/// [`Malformed`] if it is no YAML of that shape, or larger and deeper than host files may be.
pub fn parse(bytes: &[u8]) -> Result<Kubeconfig, Malformed> {
    let file: File =
        serde_saphyr::from_slice_with_options(bytes, yaml_options()).map_err(|_| Malformed)?;
    let (clusters, users) = (file.clusters.unwrap_or_default(), file.users.unwrap_or_default());
    let clusters = clusters.into_iter().take(MAX_ENTRIES).map(|NamedCluster { name, cluster }| {
        let cluster = cluster.unwrap_or_default();
        Entry {
            name: format!("cluster {name}"),
            certificates: source(cluster.data, cluster.file),
            key: Source::Nowhere,
        }
    });
    let users = users.into_iter().take(MAX_ENTRIES).map(|NamedUser { name, user }| {
        let user = user.unwrap_or_default();
        Entry {
            name: format!("user {name}"),
            certificates: source(user.certificate_data, user.certificate),
            key: source(user.key_data, user.key),
        }
    });
    Ok(Kubeconfig { entries: clusters.chain(users).collect() })
}

/// Bounds on YAML from a host: far above any kubeconfig or manifest, far below what costs time.
pub(super) fn yaml_options() -> serde_saphyr::Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_events: 100_000,
            max_nodes: 20_000,
            max_depth: 32,
            max_aliases: 0,
            max_anchors: 100,
            max_documents: 8,
            max_total_scalar_bytes: MAX_DATA,
        },
    }
}

fn source(data: Option<Secret>, file: Option<String>) -> Source {
    match (data.filter(|data| !data.bytes().is_empty()), file.filter(|file| !file.is_empty())) {
        (Some(data), _) => {
            Source::Embedded(base64::decode(data.bytes(), MAX_DATA).map(Secret::new))
        }
        (None, Some(file)) => Source::File(file),
        (None, None) => Source::Nowhere,
    }
}

#[derive(Deserialize)]
struct File {
    clusters: Option<Vec<NamedCluster>>,
    users: Option<Vec<NamedUser>>,
}

#[derive(Deserialize)]
struct NamedCluster {
    #[serde(default)]
    name: String,
    cluster: Option<Cluster>,
}

#[derive(Default, Deserialize)]
struct Cluster {
    #[serde(rename = "certificate-authority")]
    file: Option<String>,
    #[serde(rename = "certificate-authority-data", default, deserialize_with = "secret")]
    data: Option<Secret>,
}

#[derive(Deserialize)]
struct NamedUser {
    #[serde(default)]
    name: String,
    user: Option<User>,
}

#[derive(Default, Deserialize)]
struct User {
    #[serde(rename = "client-certificate")]
    certificate: Option<String>,
    #[serde(rename = "client-certificate-data", default, deserialize_with = "secret")]
    certificate_data: Option<Secret>,
    #[serde(rename = "client-key")]
    key: Option<String>,
    #[serde(rename = "client-key-data", default, deserialize_with = "secret")]
    key_data: Option<Secret>,
}

fn secret<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Secret>, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.map(Secret::from))
}

//! Clients of the API server: one that reads and repeats itself, one that acts and does not.
//!
//! kube repeats 429, 503 and 504 up to 15 times by itself, on POST too. That is right for reading
//! and wrong for whatever changes or decides something: there the caller repeats, if anybody.

use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use kube::Client;
use kube::Config;
use kube::config::KubeConfigOptions;
use kube::config::Kubeconfig;

/// For a connection to the API server, TLS included: it is near, or not there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Both clients; cheap to clone.
#[derive(Clone)]
pub struct Clients {
    /// Reads and watches; repeats itself.
    pub reading: Client,
    /// Writes and reviews; never repeats itself.
    pub acting: Client,
}

impl std::fmt::Debug for Clients {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Clients")
    }
}

/// Why there is no client. At fault: configuration. The causes are kube's own, in its words.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The kubeconfig cannot be used.
    #[error("failed to use the kubeconfig {path}: {reason}")]
    Kubeconfig {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// This is no pod, or one without a ServiceAccount's token.
    #[error(
        "failed to find the API server as a pod does: {reason}; outside of a pod give --kubeconfig"
    )]
    InCluster {
        /// Why.
        reason: String,
    },
    /// A client cannot be made of the configuration.
    #[error("failed to make a client of the API server: {reason}")]
    Client {
        /// Why.
        reason: String,
    },
}

impl Clients {
    /// Clients by a kubeconfig, or as every pod finds the API server. Nothing is asked yet.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub async fn connect(kubeconfig: Option<&Path>) -> Result<Self, ConnectError> {
        let mut config = match kubeconfig {
            Some(path) => from_file(path).await?,
            None => Config::incluster()
                .map_err(|error| ConnectError::InCluster { reason: error.to_string() })?,
        };
        config.connect_timeout = Some(CONNECT_TIMEOUT);
        let client = |config: Config| {
            Client::try_from(config)
                .map_err(|error| ConnectError::Client { reason: error.to_string() })
        };
        config.default_retry = true;
        let reading = client(config.clone())?;
        config.default_retry = false;
        let acting = client(config)?;
        Ok(Self { reading, acting })
    }
}

async fn from_file(path: &Path) -> Result<Config, ConnectError> {
    let failed = |reason: String| ConnectError::Kubeconfig { path: path.to_owned(), reason };
    let kubeconfig = Kubeconfig::read_from(path).map_err(|error| failed(error.to_string()))?;
    Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .map_err(|error| failed(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_kubeconfig_that_is_not_there_is_named() {
        let path = Path::new("/nowhere/kubeconfig");
        let refused = Clients::connect(Some(path)).await.unwrap_err().to_string();
        assert!(refused.contains("/nowhere/kubeconfig"), "{refused}");
    }
}

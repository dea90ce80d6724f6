//! Settings of a collector that serves a cluster.
//!
//! Names default to those of the manifests, so that `--kubernetes` alone is enough in a pod that
//! was made from them.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use super::InvalidSettings;
use super::LifeRaw;
use crate::kube::authority::decide::Policy;

/// The audience of the agents' tokens, as the manifests ask for it.
const DEFAULT_AUDIENCE: &str = "palisade";

/// The ServiceAccount of the agents.
const DEFAULT_AGENT_SERVICE_ACCOUNT: &str = "palisade-agent";

/// The namespace of everything that is ours.
const DEFAULT_NAMESPACE: &str = "palisade-system";

/// Name of the Service, the Lease and the Deployment.
const DEFAULT_NAME: &str = "palisade-collector";

/// The Secret that the collector keeps its own authority in.
const DEFAULT_TLS_SECRET: &str = "palisade-collector-tls";

/// The ConfigMap that agents read the authorities from.
const DEFAULT_TRUST: &str = "palisade-trust";

/// The cluster's domain unless its DNS says otherwise.
const DEFAULT_DOMAIN: &str = "cluster.local";

/// Duration of the Lease in seconds: as that of Kubernetes' own controllers.
const DEFAULT_LEASE_SECS: u64 = 15;

/// Shorter ones are lost to a slow answer; longer ones are not believed by other collectors.
const LEASE_BOUNDS: RangeInclusive<u64> = 3..=300;

/// Seconds: longer than it takes to delete a Node by mistake and let its kubelet make it again.
const DEFAULT_GONE_AFTER_SECS: u64 = 60;

/// Beyond a day, retiring is for people.
const GONE_AFTER_BOUNDS: RangeInclusive<u64> = 1..=86_400;

/// What arguments and environment say about the cluster; everything may be missing.
#[derive(Clone, Debug, Default, PartialEq, Eq, clap::Args)]
#[command(next_help_heading = "Kubernetes")]
pub struct KubernetesRaw {
    /// Serve a cluster: identities by its API server, nodes as it knows them
    #[arg(long, env = "PALISADE_KUBERNETES")]
    pub kubernetes: bool,
    /// How to reach the API server [default: as every pod does]
    #[arg(long, env = "PALISADE_KUBECONFIG", value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// The namespace of collector and agents [default: palisade-system]
    #[arg(long, env = "PALISADE_NAMESPACE", value_name = "NAME")]
    pub namespace: Option<String>,
    /// Audience of the agents' tokens [default: palisade]
    #[arg(long, env = "PALISADE_AUDIENCE", value_name = "NAME")]
    pub audience: Option<String>,
    /// ServiceAccount of the agents [default: palisade-agent]
    #[arg(long, env = "PALISADE_AGENT_SERVICE_ACCOUNT", value_name = "NAME")]
    pub agent_service_account: Option<String>,
    /// Lease that decides which collector leads [default: palisade-collector]
    #[arg(long, env = "PALISADE_LEASE", value_name = "NAME")]
    pub lease: Option<String>,
    /// Seconds for which others wait for a leader that is no longer heard of [default: 15]
    #[arg(long, env = "PALISADE_LEASE_SECONDS", value_name = "SECONDS")]
    pub lease_seconds: Option<u64>,
    /// Seconds after which a node whose object is gone is retired [default: 60]
    #[arg(long, env = "PALISADE_GONE_AFTER", value_name = "SECONDS")]
    pub gone_after: Option<u64>,
    /// Name of this collector in the Lease [default: the host's name]
    #[arg(long, env = "PALISADE_IDENTITY", value_name = "NAME")]
    pub identity: Option<String>,
    /// Secret with the serving certificate [default: palisade-collector-tls]
    #[arg(long, env = "PALISADE_TLS_SECRET", value_name = "NAME")]
    pub tls_secret: Option<String>,
    /// Whether that Secret is somebody else's (cert-manager, a corporate CA): read, never written
    #[arg(long, env = "PALISADE_TLS_SECRET_EXTERNAL")]
    pub tls_secret_external: bool,
    /// ConfigMap that the authorities are published in [default: palisade-trust]
    #[arg(long, env = "PALISADE_TRUST_CONFIG_MAP", value_name = "NAME")]
    pub trust_config_map: Option<String>,
    /// Service that agents reach the collector by [default: palisade-collector]
    #[arg(long, env = "PALISADE_SERVICE", value_name = "NAME")]
    pub service: Option<String>,
    /// Domain of the cluster's DNS [default: cluster.local]
    #[arg(long, env = "PALISADE_CLUSTER_DOMAIN", value_name = "DOMAIN")]
    pub cluster_domain: Option<String>,
    /// Further names and addresses in the serving certificate
    #[arg(long, env = "PALISADE_SERVING_NAMES", value_name = "NAME", value_delimiter = ',')]
    pub serving_name: Vec<String>,
    /// How long the collector's own certificates live.
    #[command(flatten)]
    pub life: LifeRaw,
    /// Policy by which nodes are rebooted; without it nothing acts on a node
    #[arg(long, env = "PALISADE_REBOOT_POLICY", value_name = "FILE", help_heading = "Options")]
    pub reboot_policy: Option<PathBuf>,
    /// Write no Node conditions
    #[arg(long, env = "PALISADE_NO_NODE_CONDITIONS")]
    pub no_node_conditions: bool,
    /// Write no Events
    #[arg(long, env = "PALISADE_NO_EVENTS")]
    pub no_events: bool,
    /// Write OpenReports ClusterReports (their CRD must be installed)
    #[arg(long, env = "PALISADE_OPEN_REPORTS")]
    pub open_reports: bool,
}

/// The cluster that a collector serves, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KubernetesSettings {
    /// How to reach the API server; `None`: as every pod does.
    pub kubeconfig: Option<PathBuf>,
    /// The namespace of collector and agents.
    pub namespace: String,
    /// Audience of the agents' tokens.
    pub audience: String,
    /// ServiceAccount of the agents, in `namespace`.
    pub agent_service_account: String,
    /// The Lease, in `namespace`.
    pub lease: String,
    /// How long others wait for a leader that is no longer heard of.
    pub lease_duration: Duration,
    /// How long the object of a node must have been gone before the node is retired.
    pub gone_after: Duration,
    /// Name of this collector in the Lease; unique among its replicas.
    pub identity: String,
    /// Where the serving certificate comes from.
    pub serving: Serving,
    /// The policy by which nodes are rebooted; without it nothing acts on a node.
    pub reboot_policy: Option<PathBuf>,
    /// What is written for others to see.
    pub outputs: Outputs,
}

/// Where the serving certificate comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Serving {
    /// `--tls-cert` and `--tls-key`.
    Files,
    /// A Secret that somebody else fills: `tls.crt`, `tls.key`.
    External {
        /// Its name.
        secret: String,
    },
    /// Made and renewed by the collector itself.
    Own {
        /// The Secret that holds authority and certificate.
        secret: String,
        /// The ConfigMap that agents read authorities from.
        trust: String,
        /// Names and addresses that the certificate is for.
        names: Vec<String>,
        /// How long authority and certificate live.
        policy: Policy,
    },
}

/// What the collector writes into the API for others to see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outputs {
    /// Node conditions.
    pub conditions: bool,
    /// Events.
    pub events: bool,
    /// OpenReports ClusterReports.
    pub open_reports: bool,
}

impl KubernetesSettings {
    /// Checks what was given; `None` without `--kubernetes`.
    ///
    /// # Errors
    /// [`InvalidSettings`], naming the flag.
    pub(super) fn from_raw(
        raw: KubernetesRaw,
        has_files: bool,
    ) -> Result<Option<Self>, InvalidSettings> {
        if !raw.kubernetes {
            return match raw.first_given() {
                Some(flag) => Err(InvalidSettings::NoCluster { flag }),
                None => Ok(None),
            };
        }
        let KubernetesRaw {
            kubernetes: _,
            kubeconfig,
            namespace,
            audience,
            agent_service_account,
            lease,
            lease_seconds,
            gone_after,
            identity,
            tls_secret,
            tls_secret_external,
            trust_config_map,
            service,
            cluster_domain,
            serving_name,
            life,
            reboot_policy,
            no_node_conditions,
            no_events,
            open_reports,
        } = raw;
        let namespace = name("--namespace", namespace, DEFAULT_NAMESPACE)?;
        let service = name("--service", service, DEFAULT_NAME)?;
        let domain = name("--cluster-domain", cluster_domain, DEFAULT_DOMAIN)?;
        let secret = name("--tls-secret", tls_secret, DEFAULT_TLS_SECRET)?;
        let trust = name("--trust-config-map", trust_config_map, DEFAULT_TRUST)?;
        let serving = if has_files {
            Serving::Files
        } else if tls_secret_external {
            Serving::External { secret }
        } else {
            let mut names = vec![
                service.clone(),
                format!("{service}.{namespace}"),
                format!("{service}.{namespace}.svc"),
                format!("{service}.{namespace}.svc.{domain}"),
            ];
            names.extend(serving_name);
            Serving::Own { secret, trust, names, policy: life.policy()? }
        };
        Ok(Some(Self {
            kubeconfig,
            audience: audience.unwrap_or_else(|| DEFAULT_AUDIENCE.to_owned()),
            agent_service_account: name(
                "--agent-service-account",
                agent_service_account,
                DEFAULT_AGENT_SERVICE_ACCOUNT,
            )?,
            lease: name("--lease", lease, DEFAULT_NAME)?,
            lease_duration: seconds(
                "--lease-seconds",
                lease_seconds,
                DEFAULT_LEASE_SECS,
                LEASE_BOUNDS,
                "from 3 to 300 seconds",
            )?,
            gone_after: seconds(
                "--gone-after",
                gone_after,
                DEFAULT_GONE_AFTER_SECS,
                GONE_AFTER_BOUNDS,
                "from 1 to 86400 seconds",
            )?,
            identity: match identity {
                Some(identity) => identity,
                None => own_name()?,
            },
            namespace,
            serving,
            reboot_policy,
            outputs: Outputs { conditions: !no_node_conditions, events: !no_events, open_reports },
        }))
    }
}

impl KubernetesRaw {
    /// The first flag that was given although there is no cluster.
    fn first_given(&self) -> Option<&'static str> {
        let Self {
            kubernetes: _,
            kubeconfig,
            namespace,
            audience,
            agent_service_account,
            lease,
            lease_seconds,
            gone_after,
            identity,
            tls_secret,
            tls_secret_external,
            trust_config_map,
            service,
            cluster_domain,
            serving_name,
            life,
            // Without a cluster too.
            reboot_policy: _,
            no_node_conditions,
            no_events,
            open_reports,
        } = self;
        [
            (kubeconfig.is_some(), "--kubeconfig"),
            (namespace.is_some(), "--namespace"),
            (audience.is_some(), "--audience"),
            (agent_service_account.is_some(), "--agent-service-account"),
            (lease.is_some(), "--lease"),
            (lease_seconds.is_some(), "--lease-seconds"),
            (gone_after.is_some(), "--gone-after"),
            (identity.is_some(), "--identity"),
            (tls_secret.is_some(), "--tls-secret"),
            (*tls_secret_external, "--tls-secret-external"),
            (trust_config_map.is_some(), "--trust-config-map"),
            (service.is_some(), "--service"),
            (cluster_domain.is_some(), "--cluster-domain"),
            (!serving_name.is_empty(), "--serving-name"),
            (*no_node_conditions, "--no-node-conditions"),
            (*no_events, "--no-events"),
            (*open_reports, "--open-reports"),
        ]
        .into_iter()
        .find_map(|(given, flag)| given.then_some(flag))
        .or_else(|| life.first_given())
    }
}

/// A name of an object as Kubernetes takes it (RFC 1123 subdomain), or `default`.
fn name(
    flag: &'static str,
    given: Option<String>,
    default: &str,
) -> Result<String, InvalidSettings> {
    let Some(given) = given else { return Ok(default.to_owned()) };
    let expected = "lowercase letters, digits, '-' and '.'";
    match given.parse::<palisade_report::NodeName>() {
        Ok(_) => Ok(given),
        Err(_) => Err(InvalidSettings::Kubernetes { flag, expected, got: given }),
    }
}

/// A number of seconds within `bounds`, or `default`.
fn seconds(
    flag: &'static str,
    given: Option<u64>,
    default: u64,
    bounds: RangeInclusive<u64>,
    expected: &'static str,
) -> Result<Duration, InvalidSettings> {
    let secs = given.unwrap_or(default);
    if !bounds.contains(&secs) {
        return Err(InvalidSettings::Kubernetes { flag, expected, got: secs.to_string() });
    }
    Ok(Duration::from_secs(secs))
}

/// The host's name: in a pod that is the pod's, which no other replica has.
fn own_name() -> Result<String, InvalidSettings> {
    let unusable = |got: String| InvalidSettings::Kubernetes {
        flag: "--identity",
        expected: "given where the host's name cannot be used",
        got,
    };
    let name = nix::unistd::gethostname().map_err(|error| unusable(error.to_string()))?;
    name.into_string().map_err(|name| unusable(name.to_string_lossy().into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw() -> KubernetesRaw {
        KubernetesRaw { kubernetes: true, identity: Some("one".to_owned()), ..Default::default() }
    }

    #[test]
    fn nothing_is_said_of_a_cluster_without_a_cluster() {
        assert_eq!(KubernetesSettings::from_raw(KubernetesRaw::default(), false), Ok(None));
        let stray = KubernetesRaw { kubernetes: false, ..raw() };
        let refused = KubernetesSettings::from_raw(stray, false).unwrap_err();
        assert_eq!(refused, InvalidSettings::NoCluster { flag: "--identity" });
    }

    #[test]
    fn the_serving_certificate_has_one_source() {
        let serving =
            |raw, files| KubernetesSettings::from_raw(raw, files).unwrap().unwrap().serving;
        assert_eq!(serving(raw(), true), Serving::Files);
        let external = KubernetesRaw { tls_secret_external: true, ..raw() };
        let secret = "palisade-collector-tls".to_owned();
        assert_eq!(serving(external, false), Serving::External { secret });
        let Serving::Own { names, .. } = serving(raw(), false) else { panic!("not its own") };
        let full = "palisade-collector.palisade-system.svc.cluster.local";
        assert!(names.iter().any(|name| name == full), "{names:?}");
    }

    #[test]
    fn a_name_that_no_object_can_have_is_refused_with_its_flag() {
        let odd = KubernetesRaw { namespace: Some("a/b".to_owned()), ..raw() };
        let refused = KubernetesSettings::from_raw(odd, false).unwrap_err().to_string();
        assert!(refused.contains("--namespace") && refused.contains("a/b"), "{refused}");
    }
}

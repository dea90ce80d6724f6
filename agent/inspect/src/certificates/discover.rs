//! Which files this host's components use.
//!
//! ```text
//! kubelet section ──> kubeconfig, client pair, serving pair, client CA ┐
//! static pods ──────> flags of their containers ───────────────────────┼─> Watches
//! distribution, role > inventory ──────────────────────────────────────┤
//! settings ─────────> patterns ────────────────────────────────────────┘
//! ```
//!
//! Files that only a kubeconfig names are added when the kubeconfig is read. Old generations in the
//! kubelet's directory are never watched: nothing uses them.

use palisade_report::Reading;
use palisade_report::Section;
use palisade_report::Why;
use palisade_report::WhyKind;
use palisade_report::section::certificates::Expectation;
use palisade_report::section::host::Distribution;
use palisade_report::section::host::Host as HostFacts;
use palisade_report::section::kubelet::Expanded;
use palisade_report::section::kubelet::Kubelet;

use super::inventory;
use super::inventory::KeyPlace;
use super::static_pod;
use super::watch::Kind;
use super::watch::MAX_FILES;
use super::watch::Wanted;
use super::watch::Watches;
use crate::Host;
use crate::Interest;
use crate::ReadError;
use crate::glob;

/// Where the kubelet keeps its certificates unless told otherwise. Source: kubelet(1) `--cert-dir`.
const CERT_DIR: &str = "/var/lib/kubelet/pki";

/// Where kubeadm has the kubelet look for static pods.
const MANIFESTS: &str = "/etc/kubernetes/manifests";

/// All files to watch, except those that only a kubeconfig names.
#[must_use]
pub fn watches(
    host: &dyn Host,
    interest: &Interest,
    machine: &Section<HostFacts>,
    kubelet: &Section<Kubelet>,
) -> Watches {
    let mut watches = Watches::default();
    match kubelet {
        Section::Known(kubelet) => {
            from_kubelet(host, kubelet, &mut watches);
            static_pod::watch(host, &manifests(kubelet), &mut watches);
        }
        Section::Unknown { why } => {
            let detail = format!("what the kubelet uses is not known: {why}");
            watches.leave_out(Why::new(WhyKind::MissingSource, detail));
            static_pod::watch(host, MANIFESTS, &mut watches);
        }
    }
    from_inventory(host, machine, &mut watches);
    from_settings(host, interest, kubelet, &mut watches);
    watches
}

/// The path that the kubelet names, if it is known and not masked.
fn path(reading: Option<&Reading<String>>) -> Option<String> {
    reading?.value().filter(|path| path.starts_with('/')).cloned()
}

fn effective(kubelet: &Kubelet, field: &str) -> Option<String> {
    let value = kubelet.effective.get(field)?.value()?.as_str()?;
    value.starts_with('/').then(|| value.to_owned())
}

fn manifests(kubelet: &Kubelet) -> String {
    effective(kubelet, "staticPodPath").unwrap_or_else(|| MANIFESTS.to_owned())
}

fn from_kubelet(host: &dyn Host, kubelet: &Kubelet, watches: &mut Watches) {
    if let Reading::Unknown { why, .. } = &kubelet.process {
        let detail = format!("what the kubelet uses is not known for certain: {why}");
        watches.leave_out(Why::new(WhyKind::MissingSource, detail));
    }
    if kubelet.process.value().is_none() && kubelet.effective.is_empty() {
        return;
    }
    let mut add = |path: String, reason: &str, expected, kind, key| {
        watches.add(Wanted {
            path,
            reason: reason.to_owned(),
            expected,
            kind,
            key,
            authority: None,
        });
    };
    if let Some(path) = path(kubelet.flags.get("kubeconfig")) {
        add(path, "kubelet --kubeconfig", Expectation::Required, Kind::Kubeconfig, None);
    }
    // kubeadm deletes it after the join, and the kubelet does without it from then on.
    if let Some(path) = path(kubelet.flags.get("bootstrap-kubeconfig")) {
        let reason = "kubelet --bootstrap-kubeconfig";
        add(path, reason, Expectation::Optional, Kind::Kubeconfig, None);
    }
    if let Some(path) = effective(kubelet, "authentication.x509.clientCAFile") {
        let reason = "kubelet authentication.x509.clientCAFile";
        add(path, reason, Expectation::Required, Kind::Bundle, None);
    }
    let directory = path(kubelet.flags.get("cert-dir")).unwrap_or_else(|| CERT_DIR.to_owned());
    let directory = directory.trim_end_matches('/');
    let current = |name: &str| format!("{directory}/{name}");
    if truth(kubelet, "rotateCertificates") == Some(true) {
        // Required only where the kubeconfig names it: a kubelet may authenticate otherwise.
        let reason = "kubelet rotateCertificates";
        let path = current("kubelet-client-current.pem");
        add(path, reason, Expectation::Optional, Kind::Certificates, None);
    }
    if let Some(path) = effective(kubelet, "tlsCertFile") {
        let key = effective(kubelet, "tlsPrivateKeyFile");
        add(path, "kubelet tlsCertFile", Expectation::Required, Kind::Certificates, key);
        return;
    }
    let server = current("kubelet-server-current.pem");
    let bootstrap = truth(kubelet, "serverTLSBootstrap");
    let rotated = match bootstrap {
        Some(rotated) => rotated,
        // Not known: what is there is what is used.
        None => host.metadata(&server).is_ok(),
    };
    if rotated {
        let expected = required_if(bootstrap.is_some());
        add(server, "kubelet serverTLSBootstrap", expected, Kind::Certificates, None);
    } else {
        let reason = "kubelet's own serving certificate";
        let key = Some(current("kubelet.key"));
        let expected = required_if(bootstrap.is_some());
        add(current("kubelet.crt"), reason, expected, Kind::Certificates, key);
    }
}

const fn required_if(known: bool) -> Expectation {
    if known { Expectation::Required } else { Expectation::Optional }
}

/// A switch of the kubelet; a switch that no layer sets and that has no default is off.
fn truth(kubelet: &Kubelet, field: &str) -> Option<bool> {
    match kubelet.effective.get(field)? {
        Reading::Known { value, .. } => value.as_bool(),
        Reading::Absent { .. } => Some(false),
        Reading::Unknown { .. } => None,
    }
}

fn from_inventory(host: &dyn Host, machine: &Section<HostFacts>, watches: &mut Watches) {
    let facts = match machine {
        Section::Known(facts) => facts,
        Section::Unknown { why } => {
            let detail = format!("the distribution is not known: {why}");
            watches.leave_out(Why::new(WhyKind::MissingSource, detail));
            return;
        }
    };
    let distribution = match &facts.distribution {
        Reading::Known { value, .. } => *value,
        Reading::Absent { .. } => return,
        Reading::Unknown { why, .. } => {
            let detail = format!("the distribution is not known: {why}");
            watches.leave_out(Why::new(WhyKind::MissingSource, detail));
            Distribution::Other
        }
    };
    let role = facts.role.value().copied();
    let (reason, items) = inventory::of(distribution);
    for item in items {
        let Some(expected) = item.expected(role) else { continue };
        let wanted = |path: String| Wanted {
            key: match item.key {
                KeyPlace::Beside => path.strip_suffix(".crt").map(|stem| format!("{stem}.key")),
                KeyPlace::Inside => None,
            },
            path,
            reason: reason.to_owned(),
            expected,
            kind: item.kind,
            authority: item.authority.map(str::to_owned),
        };
        for path in expand(host, item.path, watches) {
            watches.add(wanted(path));
        }
    }
}

fn from_settings(
    host: &dyn Host,
    interest: &Interest,
    kubelet: &Section<Kubelet>,
    watches: &mut Watches,
) {
    for pattern in &interest.certificates {
        let expanded = match kubelet {
            Section::Known(kubelet) => kubelet.expand(pattern),
            Section::Unknown { why } if pattern.starts_with("${") => Expanded::Unknown(why.clone()),
            Section::Unknown { .. } => Expanded::Path(pattern.clone()),
        };
        let pattern = match expanded {
            Expanded::Path(pattern) => pattern,
            Expanded::Unset => continue,
            Expanded::Unknown(why) => {
                let detail = format!("setting {pattern}: {why}");
                watches.leave_out(Why::new(WhyKind::MissingSource, detail));
                continue;
            }
        };
        // A path that somebody wrote out has to be there; a pattern may match nothing.
        let expected =
            if glob::is_pattern(&pattern) { Expectation::Optional } else { Expectation::Required };
        for path in expand(host, &pattern, watches) {
            watches.add(Wanted {
                path,
                reason: "setting".to_owned(),
                expected,
                kind: Kind::Any,
                key: None,
                authority: None,
            });
        }
    }
}

/// The paths of a pattern; a plain path is itself, whether or not it is there.
fn expand(host: &dyn Host, pattern: &str, watches: &mut Watches) -> Vec<String> {
    if !glob::is_pattern(pattern) {
        return vec![pattern.to_owned()];
    }
    match glob::expand(host, pattern, MAX_FILES) {
        Ok(paths) => paths,
        Err(ReadError::NotFound { .. }) => Vec::new(),
        Err(error) => {
            let why = error.why();
            watches.leave_out(Why::new(why.kind, format!("{pattern}: {why}")));
            Vec::new()
        }
    }
}

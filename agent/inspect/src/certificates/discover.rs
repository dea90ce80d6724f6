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
use serde_json::Value;

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
            let manifests = manifests(kubelet, &mut watches);
            static_pod::watch(host, &manifests, &mut watches);
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

/// The path in a reading of the kubelet's. What could not be told, or is masked, is said.
fn named<'a>(
    what: &str,
    reading: Option<&'a Reading<impl AsText>>,
    watches: &mut Watches,
) -> Option<&'a str> {
    match reading? {
        Reading::Known { value, .. } => match value.as_text() {
            Some(path) if path.starts_with('/') => Some(path),
            Some("") => None,
            Some(_) | None => {
                let detail = format!("kubelet {what} is not an absolute path");
                watches.leave_out(Why::new(WhyKind::Malformed, detail));
                None
            }
        },
        Reading::Absent { .. } => None,
        Reading::Unknown { why, .. } => {
            watches.leave_out(Why::new(why.kind, format!("kubelet {what}: {why}")));
            None
        }
    }
}

/// A value that may be a path: of a flag, or of a field of the configuration.
trait AsText {
    fn as_text(&self) -> Option<&str>;
}

impl AsText for String {
    fn as_text(&self) -> Option<&str> {
        Some(self)
    }
}

impl AsText for Value {
    fn as_text(&self) -> Option<&str> {
        if self.is_null() { Some("") } else { self.as_str() }
    }
}

fn manifests(kubelet: &Kubelet, watches: &mut Watches) -> String {
    let field = "staticPodPath";
    named(field, kubelet.effective.get(field), watches).unwrap_or(MANIFESTS).to_owned()
}

fn from_kubelet(host: &dyn Host, kubelet: &Kubelet, watches: &mut Watches) {
    if let Reading::Unknown { why, .. } = &kubelet.process {
        let detail = format!("what the kubelet uses is not known for certain: {why}");
        watches.leave_out(Why::new(WhyKind::MissingSource, detail));
    }
    if kubelet.process.value().is_none() && kubelet.effective.is_empty() {
        return;
    }
    let wanted = |path: &str, reason: &str, expected, kind| Wanted {
        path: path.to_owned(),
        reason: reason.to_owned(),
        expected,
        kind,
        key: None,
        authority: None,
    };
    let required = Expectation::Required;
    let flag = |flag: &str| kubelet.flags.get(flag);
    if let Some(path) = named("--kubeconfig", flag("kubeconfig"), watches) {
        watches.add(wanted(path, "kubelet --kubeconfig", required, Kind::Kubeconfig));
    }
    // kubeadm deletes it after the join, and the kubelet does without it from then on.
    let bootstrap = "--bootstrap-kubeconfig";
    if let Some(path) = named(bootstrap, flag("bootstrap-kubeconfig"), watches) {
        let reason = "kubelet --bootstrap-kubeconfig";
        watches.add(wanted(path, reason, Expectation::Optional, Kind::Kubeconfig));
    }
    let field = "authentication.x509.clientCAFile";
    let authority = named(field, kubelet.effective.get(field), watches);
    if let Some(path) = authority {
        let reason = "kubelet authentication.x509.clientCAFile";
        watches.add(wanted(path, reason, required, Kind::Bundle));
    }
    let directory = named("--cert-dir", flag("cert-dir"), watches).unwrap_or(CERT_DIR);
    let directory = directory.trim_end_matches('/');
    if switch(kubelet, "rotateCertificates") == Some(true) {
        // Required only where the kubeconfig names it: a kubelet may authenticate otherwise.
        let path = format!("{directory}/kubelet-client-current.pem");
        let reason = "kubelet rotateCertificates";
        watches.add(wanted(&path, reason, Expectation::Optional, Kind::Certificates));
    }
    from_serving(host, kubelet, directory, authority, watches);
}

/// The kubelet's serving certificate: a configured pair, else the one that it has rotated, else the
/// one that it makes for itself. Where the configuration is not known, what is there is watched and
/// nothing is required.
fn from_serving(
    host: &dyn Host,
    kubelet: &Kubelet,
    directory: &str,
    authority: Option<&str>,
    watches: &mut Watches,
) {
    let configured = kubelet.effective.get("tlsCertFile");
    if let Some(path) = named("tlsCertFile", configured, watches) {
        let key = kubelet.effective.get("tlsPrivateKeyFile");
        let key = named("tlsPrivateKeyFile", key, watches).map(str::to_owned);
        watches.add(Wanted {
            path: path.to_owned(),
            reason: "kubelet tlsCertFile".to_owned(),
            expected: Expectation::Required,
            kind: Kind::Certificates,
            key,
            authority: None,
        });
        return;
    }
    let rotated_path = format!("{directory}/kubelet-server-current.pem");
    let bootstrap = switch(kubelet, "serverTLSBootstrap");
    let rotated = bootstrap.unwrap_or_else(|| host.metadata(&rotated_path).is_ok());
    let certain = bootstrap.is_some() && !matches!(configured, Some(Reading::Unknown { .. }));
    let (path, reason, key) = if rotated {
        (rotated_path, "kubelet serverTLSBootstrap", None)
    } else {
        let key = Some(format!("{directory}/kubelet.key"));
        (format!("{directory}/kubelet.crt"), "kubelet's own serving certificate", key)
    };
    watches.add(Wanted {
        path,
        reason: reason.to_owned(),
        expected: if certain { Expectation::Required } else { Expectation::Optional },
        kind: Kind::Certificates,
        key,
        authority: authority.map(str::to_owned),
    });
}

/// A switch of the kubelet; one that no layer sets is off.
fn switch(kubelet: &Kubelet, field: &str) -> Option<bool> {
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

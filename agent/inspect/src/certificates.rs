//! Certificates: what components of this host use, and what is in those files.
//!
//! ```text
//! discover ──> Watches ──> kubeconfigs ──> more Watches ──> files ──> facts
//! ```
//!
//! A certificate is watched because something uses it, and the facts say what. Only absolute
//! moments are facts: whoever judges has the clock. Private keys are compared here and overwritten;
//! only whether they match leaves this module. Signatures are not checked, see [`chain`].

pub mod base64;
pub mod chain;
pub mod contents;
pub mod der;
pub mod discover;
pub mod half;
pub mod inventory;
pub mod key;
pub mod kubeconfig;
pub mod name;
pub mod pem;
pub mod secret;
pub mod static_pod;
pub mod validity;
pub mod watch;
pub mod x509;

mod examine;

use std::collections::BTreeMap;

use palisade_report::Section;
use palisade_report::section::certificates::Certificates;
use palisade_report::section::host::Host as HostFacts;
use palisade_report::section::kubelet::Kubelet;

use crate::Host;
use crate::Interest;
use examine::Examiner;
use watch::Kind;

/// Reads the section.
#[must_use]
pub fn read(
    host: &dyn Host,
    interest: &Interest,
    machine: &Section<HostFacts>,
    kubelet: &Section<Kubelet>,
) -> Section<Certificates> {
    let mut watches = discover::watches(host, interest, machine, kubelet);
    let mut examiner = Examiner::new(host);
    let mut files = BTreeMap::new();
    // Kubeconfigs first: they name further files, but never further kubeconfigs.
    let configs = watches.files.iter().filter(|(_, watch)| watch.kind == Kind::Kubeconfig);
    let configs: Vec<_> = configs.map(|(path, watch)| (path.clone(), watch.clone())).collect();
    for (path, watch) in configs {
        let examined = examiner.kubeconfig(&path, &watch, &mut watches);
        files.insert(path, examined);
    }
    let rest = watches.files.clone();
    for (path, watch) in &rest {
        if !files.contains_key(path) {
            let examined = examiner.file(path, watch, &mut watches);
            files.insert(path.clone(), examined);
        }
    }
    // What a person named may turn out to be a kubeconfig, whose files come last.
    let added: Vec<_> = watches
        .files
        .iter()
        .filter(|(path, _)| !files.contains_key(*path))
        .map(|(path, watch)| (path.clone(), watch.clone()))
        .collect();
    for (path, watch) in added {
        let examined = examiner.file(&path, &watch, &mut watches);
        files.insert(path, examined);
    }
    let mut facts = Certificates { files: BTreeMap::new(), left_out: watches.left_out };
    for (path, watch) in watches.files {
        if let Some(examined) = files.remove(&path) {
            facts.files.insert(path, examined.into_facts(watch));
        }
    }
    Section::Known(facts)
}

#[cfg(test)]
mod tests;

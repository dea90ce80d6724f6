//! The Lease of a node that tools share, so that only one of them takes the node down: taken before
//! the cordon, renewed while the node is in flight, given back after it, and never taken from another
//! holder before its time is over. The convention is that of the medik8s operators: Lease
//! `node-<name>` in a namespace that all of them know.
//!
//! Without a namespace in the policy nothing here runs.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::coordination::v1::LeaseSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::Api;
use kube::api::ListParams;
use kube::api::ObjectMeta;
use kube::api::PostParams;
use palisade_plan::seen::LeaseSeen;
use palisade_report::Moment;
use palisade_report::NodeName;
use palisade_report::bound::clean_text;

use super::client::CALL_TIMEOUT;
use super::client::CallError;
use super::client::Clients;
use super::client::call;
use super::conditions::MANAGER;

/// Who holds it, whichever collector leads: a new leader goes on with the reboots of the old one.
pub const HOLDER: &str = "palisade";

/// Seconds that a Lease is held without a renewal: longer than any reboot, so that a collector that is
/// away for a while loses no node to another tool.
const HELD_SECS: i32 = 3600;

/// What stands before the node's name in that of its Lease.
const PREFIX: &str = "node-";

/// Why a Lease could not be taken or given back.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NodeLeaseError {
    /// The API server did not do it, or nobody can tell.
    #[error("failed to read or write the Lease of the node")]
    Call(#[source] CallError),
    /// Another tool holds it. At fault: nobody.
    #[error("failed to take the Lease of the node: {holder} holds it")]
    Held {
        /// `spec.holderIdentity`.
        holder: String,
    },
}

/// The Leases of nodes in one namespace.
#[derive(Clone)]
pub struct NodeLeases {
    api: Api<Lease>,
}

impl std::fmt::Debug for NodeLeases {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NodeLeases")
    }
}

impl NodeLeases {
    /// Those in `namespace`.
    #[must_use]
    pub fn new(clients: &Clients, namespace: &str) -> Self {
        Self { api: Api::namespaced(clients.acting.clone(), namespace) }
    }

    /// Who holds the Lease of a node.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn look(&self, node: &NodeName, now: Moment) -> Result<LeaseSeen, CallError> {
        let lease = call(CALL_TIMEOUT, self.api.get_opt(&name(node))).await?;
        Ok(lease.as_ref().map_or(LeaseSeen::Free, |lease| seen(lease, now)))
    }

    /// Nodes whose Leases others hold, and who does; what a cache of the API server knows, for plans.
    ///
    /// # Errors
    /// [`CallError`]: a part of them is none.
    pub async fn of_others(&self, now: Moment) -> Result<BTreeMap<String, String>, CallError> {
        let all = call(CALL_TIMEOUT, self.api.list(&ListParams::default().match_any())).await?;
        let of_other = |lease: &Lease| match seen(lease, now) {
            LeaseSeen::Other { holder } => {
                let name = lease.metadata.name.as_deref()?.strip_prefix(PREFIX)?;
                Some((name.to_owned(), holder))
            }
            LeaseSeen::Free | LeaseSeen::Ours | LeaseSeen::Unused => None,
        };
        Ok(all.items.iter().filter_map(of_other).collect())
    }

    /// Takes the Lease of a node, or renews it if a third of its time is over; whether it was free.
    ///
    /// # Errors
    /// [`NodeLeaseError`]; to repeat it changes nothing.
    pub async fn take(&self, node: &NodeName, now: Moment) -> Result<bool, NodeLeaseError> {
        let name = name(node);
        let found = call(CALL_TIMEOUT, self.api.get_opt(&name)).await;
        let parameters =
            PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
        let Some(mut lease) = found.map_err(NodeLeaseError::Call)? else {
            let metadata = ObjectMeta { name: Some(name), ..ObjectMeta::default() };
            let lease = Lease { metadata, spec: Some(held(now, now, 0)) };
            let made = call(CALL_TIMEOUT, self.api.create(&parameters, &lease)).await;
            return made.map(|_| true).map_err(NodeLeaseError::Call);
        };
        let spec = lease.spec.clone().unwrap_or_default();
        let changes = spec.lease_transitions.unwrap_or(0);
        let found = seen(&lease, now);
        let was_free = found != LeaseSeen::Ours;
        lease.spec = Some(match found {
            LeaseSeen::Other { holder } => return Err(NodeLeaseError::Held { holder }),
            LeaseSeen::Ours => {
                let renewed = spec.renew_time.as_ref().map_or(i64::MIN, |it| it.0.as_second());
                if now.since(Moment::from_unix(renewed)) < i64::from(HELD_SECS) / 3 {
                    return Ok(false);
                }
                let since = spec.acquire_time.as_ref().map_or(now, moment);
                held(since, now, changes)
            }
            LeaseSeen::Free | LeaseSeen::Unused => held(now, now, changes.saturating_add(1)),
        });
        let written = self.api.replace(&name, &parameters, &lease);
        call(CALL_TIMEOUT, written).await.map(|_| was_free).map_err(NodeLeaseError::Call)
    }

    /// Gives the Lease of a node back, if we hold it.
    ///
    /// # Errors
    /// [`CallError`]; to repeat it changes nothing.
    pub async fn release(&self, node: &NodeName, now: Moment) -> Result<(), CallError> {
        let name = name(node);
        let Some(mut lease) = call(CALL_TIMEOUT, self.api.get_opt(&name)).await? else {
            return Ok(());
        };
        if seen(&lease, now) != LeaseSeen::Ours {
            return Ok(());
        }
        if let Some(spec) = &mut lease.spec {
            spec.holder_identity = None;
            spec.renew_time = None;
            spec.acquire_time = None;
        }
        let parameters =
            PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
        call(CALL_TIMEOUT, self.api.replace(&name, &parameters, &lease)).await.map(drop)
    }
}

fn name(node: &NodeName) -> String {
    format!("{PREFIX}{node}")
}

fn held(since: Moment, now: Moment, changes: i32) -> LeaseSpec {
    let time = |at: Moment| MicroTime(Timestamp::from_second(at.unix()).unwrap_or_default());
    LeaseSpec {
        holder_identity: Some(HOLDER.to_owned()),
        lease_duration_seconds: Some(HELD_SECS),
        acquire_time: Some(time(since)),
        renew_time: Some(time(now)),
        lease_transitions: Some(changes),
        ..LeaseSpec::default()
    }
}

fn moment(time: &MicroTime) -> Moment {
    Moment::from_unix(time.0.as_second())
}

/// What a Lease says. One whose end cannot be told is held: only its holder knows for how long.
fn seen(lease: &Lease, now: Moment) -> LeaseSeen {
    let Some(spec) = &lease.spec else { return LeaseSeen::Free };
    let holder = match spec.holder_identity.as_deref() {
        None | Some("") => return LeaseSeen::Free,
        Some(HOLDER) => return LeaseSeen::Ours,
        Some(holder) => clean_text(holder),
    };
    match (spec.renew_time.as_ref(), spec.lease_duration_seconds) {
        (Some(renewed), Some(secs)) if now.since(moment(renewed)) > i64::from(secs) => {
            LeaseSeen::Free
        }
        (Some(_) | None, Some(_) | None) => LeaseSeen::Other { holder },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Moment = Moment::from_unix(1_800_000_000);

    fn lease(holder: Option<&str>, renewed: Option<Moment>, secs: Option<i32>) -> Lease {
        let spec = LeaseSpec {
            holder_identity: holder.map(str::to_owned),
            renew_time: renewed.map(|at| MicroTime(Timestamp::from_second(at.unix()).unwrap())),
            lease_duration_seconds: secs,
            ..LeaseSpec::default()
        };
        Lease { metadata: ObjectMeta::default(), spec: Some(spec) }
    }

    #[test]
    fn another_holder_is_honoured_until_its_time_is_over() {
        let other = LeaseSeen::Other { holder: "self-node-remediation".to_owned() };
        let of = |renewed, secs| seen(&lease(Some("self-node-remediation"), renewed, secs), NOW);
        assert_eq!(of(Some(NOW.plus(-60)), Some(60)), other);
        assert_eq!(of(Some(NOW.plus(-61)), Some(60)), LeaseSeen::Free);
        assert_eq!(of(None, Some(60)), other, "no renewal: only its holder knows");
        assert_eq!(of(Some(NOW), None), other);
    }

    #[test]
    fn ours_stays_ours_and_nobodys_is_free() {
        assert_eq!(seen(&lease(Some(HOLDER), None, None), NOW), LeaseSeen::Ours);
        assert_eq!(seen(&lease(None, Some(NOW), Some(60)), NOW), LeaseSeen::Free);
        assert_eq!(seen(&lease(Some(""), Some(NOW), Some(60)), NOW), LeaseSeen::Free);
        let ours = Lease { spec: Some(held(NOW, NOW, 3)), ..Lease::default() };
        assert_eq!(seen(&ours, NOW.plus(99_999)), LeaseSeen::Ours);
    }
}

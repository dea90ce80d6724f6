//! What of a Node object a reboot goes by: whether it takes pods and who decided that, whether it is
//! held, since when it is ready. Kept apart from what the engine knows of a node, for which none of
//! this is news.

use std::collections::BTreeSet;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use kube::api::ObjectMeta;
use palisade_plan::fleet::Cordon;
use palisade_plan::fleet::Hold;
use palisade_plan::fleet::Known;
use palisade_plan::fleet::Ready;
use palisade_plan::request::Schedulability;
use palisade_report::BootId;
use palisade_report::Moment;
use palisade_report::NodeUid;
use palisade_report::bound::clean;

use super::last_reboot::LAST_REBOOT;
use super::last_reboot::LastReboot;
use crate::kube::conditions::MANAGER;

/// Annotation with the UID of the request that cordoned the node.
pub const CORDONED_BY: &str = "palisade.dev/cordoned-by";

/// Annotation beside it: whether the node took pods before, `schedulable` or `unschedulable`.
pub const BEFORE_CORDON: &str = "palisade.dev/before-cordon";

/// Annotation by which a person keeps a node from being touched; its value is the reason.
pub const HOLD: &str = "palisade.dev/hold";

/// Annotation beside it: until when, RFC 3339.
pub const HOLD_UNTIL: &str = "palisade.dev/hold-until";

/// Annotation that we set with the label that keeps load balancers away, the UID of the request, so that a
/// label of somebody else stays.
pub const EXCLUDED: &str = "palisade.dev/excluded-from-load-balancers";

/// Label that keeps external load balancers away, see "Well-Known Labels" of the Kubernetes docs.
pub const EXCLUDE: &str = "node.kubernetes.io/exclude-from-external-load-balancers";

/// Annotation with whose value `true` cluster-autoscaler removes no node, however empty, see its FAQ.
pub const SCALE_DOWN_DISABLED: &str = "cluster-autoscaler.kubernetes.io/scale-down-disabled";

/// The same in `managedFields`, as a JSON pointer (RFC 6901).
const SCALE_DOWN_DISABLED_FIELD: &str =
    "/f:metadata/f:annotations/f:cluster-autoscaler.kubernetes.io~1scale-down-disabled";

/// Annotation that we set with it, the UID of the request, so that a value of somebody else stays.
pub const SCALE_DOWN_DISABLED_BY: &str = "palisade.dev/scale-down-disabled-by";

/// Annotation with which we leave the two behind where a policy of the cluster does not let us take the
/// first away: they go with the uncordon after the next reboot, and nobody comes back for them before.
pub const SCALE_DOWN_LEFT: &str = "palisade.dev/scale-down-left-by";

/// Taints of one node that are kept: more than any tool sets.
const MAX_TAINTS: usize = 32;

/// Bytes of a reason, a name or a key that are kept.
const MAX_WORD: usize = 256;

/// Bytes of the UID of a request that are kept, wherever a node bears it: as many as a record keeps of a
/// marker that it adopts, so that the two are the same.
pub const MAX_MARKER: usize = 64;

/// What of a node a reboot goes by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upkeep {
    /// `metadata.uid`.
    pub uid: NodeUid,
    /// The condition `Ready`, since its last transition.
    pub ready: Ready,
    /// Whether it takes pods.
    pub cordon: Cordon,
    /// [`CORDONED_BY`], whether the node takes pods or not. Where a person took only that away,
    /// [`EXCLUDED`] or [`SCALE_DOWN_DISABLED_BY`]: as long as one of them is there, something of ours is.
    /// Without what is left behind with [`SCALE_DOWN_LEFT`].
    pub marker: Option<String>,
    /// [`BEFORE_CORDON`]; `None` without one, or with another word.
    pub before: Option<Schedulability>,
    /// Who wrote `spec.unschedulable` last, if it was not us and `managedFields` tells.
    pub unschedulable_by: Option<String>,
    /// [`HOLD`].
    pub hold: Option<Hold>,
    /// Keys of all taints, at most 32.
    pub taints: BTreeSet<String>,
    /// `status.nodeInfo.bootID`, if it is one.
    pub boot: Option<BootId>,
    /// Whether the label [`EXCLUDE`] is there, and by whom.
    pub excluded: Spared,
    /// Whether cluster-autoscaler is told anything by [`SCALE_DOWN_DISABLED`], and by whom.
    pub scale_down: Spared,
    /// [`LAST_REBOOT`].
    pub last_reboot: Known<Option<LastReboot>>,
}

/// Whether somebody else is told to leave a node alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spared {
    /// Nobody says anything.
    No,
    /// We do.
    Ours,
    /// It is not ours to say, whatever is said.
    Foreign,
}

/// The parts of an object that this is read from.
pub(super) struct Parts<'a> {
    pub(super) metadata: &'a ObjectMeta,
    pub(super) is_unschedulable: bool,
    pub(super) taints: Vec<&'a str>,
    /// Status and last transition of the condition `Ready`.
    pub(super) ready: Option<(&'a str, Option<&'a str>)>,
    pub(super) boot: &'a str,
}

impl Upkeep {
    /// What is kept of an object; `None` if it has no usable UID.
    pub(super) fn of(parts: &Parts<'_>) -> Option<Self> {
        let Parts { metadata, is_unschedulable, taints, ready, boot } = parts;
        let uid: NodeUid = metadata.uid.as_ref()?.parse().ok()?;
        let raw = |key: &str| metadata.annotations.as_ref().and_then(|all| all.get(key));
        let annotation = |key: &str| raw(key).map(|value| clean(value.as_bytes(), MAX_WORD));
        let marker = |key: &str| raw(key).map(|value| clean(value.as_bytes(), MAX_MARKER));
        let has_label = metadata.labels.as_ref().is_some_and(|all| all.contains_key(EXCLUDE));
        let cordoned_by = marker(CORDONED_BY);
        let by = metadata.managed_fields.as_deref().unwrap_or_default();
        let unschedulable_by = other_writer(by, "/f:spec/f:unschedulable");
        let unschedulable_by = unschedulable_by.filter(|_| *is_unschedulable);
        Some(Self {
            uid,
            ready: match ready {
                Some(("True", Some(since))) => at(since).map_or(Ready::Unknown, Ready::Since),
                Some(("False", Some(since))) => at(since).map_or(Ready::Unknown, Ready::NotSince),
                Some(_) | None => Ready::Unknown,
            },
            cordon: match (is_unschedulable, &cordoned_by) {
                (false, _) => Cordon::Schedulable,
                (true, Some(request)) => Cordon::Ours { request: request.clone() },
                (true, None) => Cordon::Foreign { by: unschedulable_by.clone() },
            },
            marker: cordoned_by.or_else(|| marker(EXCLUDED)).or_else(|| {
                let is_left = raw(SCALE_DOWN_LEFT).is_some();
                marker(SCALE_DOWN_DISABLED_BY).filter(|_| !is_left)
            }),
            before: match annotation(BEFORE_CORDON).as_deref() {
                Some("schedulable") => Some(Schedulability::Schedulable),
                Some("unschedulable") => Some(Schedulability::Unschedulable),
                Some(_) | None => None,
            },
            unschedulable_by,
            hold: hold(annotation(HOLD), annotation(HOLD_UNTIL)),
            taints: taints
                .iter()
                .take(MAX_TAINTS)
                .map(|key| clean(key.as_bytes(), MAX_WORD))
                .collect(),
            boot: boot.parse().ok(),
            excluded: match (has_label, annotation(EXCLUDED)) {
                (false, _) => Spared::No,
                (true, Some(_)) => Spared::Ours,
                (true, None) => Spared::Foreign,
            },
            scale_down: match (raw(SCALE_DOWN_DISABLED), raw(SCALE_DOWN_DISABLED_BY)) {
                (None, _) => Spared::No,
                (Some(value), Some(_)) if value == "true" => {
                    // Whoever wrote it after us, or applies it as well, wants it there.
                    let other = other_writer(by, SCALE_DOWN_DISABLED_FIELD);
                    if other.is_none() { Spared::Ours } else { Spared::Foreign }
                }
                (Some(_), _) => Spared::Foreign,
            },
            last_reboot: LastReboot::read(raw(LAST_REBOOT).map(String::as_str)),
        })
    }
}

fn at(text: &str) -> Option<Moment> {
    let time: Timestamp = text.parse().ok()?;
    Some(Moment::from_unix(time.as_second()))
}

/// A hold whose end cannot be read has none: whoever wrote it meant to hold.
fn hold(reason: Option<String>, until: Option<String>) -> Option<Hold> {
    let mut reason = reason?;
    let until = match until {
        Some(text) => {
            let end = at(&text);
            if end.is_none() {
                reason = format!("{reason} (hold-until {text:?} is no RFC 3339 time)");
            }
            end
        }
        None => None,
    };
    Some(Hold { reason, until })
}

/// Who owns the field that this JSON pointer names in `managedFields`, if it is not us.
fn other_writer(fields: &[ManagedFieldsEntry], field: &str) -> Option<String> {
    let owns = |entry: &&ManagedFieldsEntry| {
        let fields = entry.fields_v1.as_ref().map(|it| &it.0);
        fields.is_some_and(|it| it.pointer(field).is_some())
    };
    let managers = fields.iter().filter(owns).filter_map(|entry| entry.manager.as_deref());
    managers
        .filter(|manager| *manager != MANAGER)
        .map(|manager| clean(manager.as_bytes(), MAX_WORD))
        .next()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kube::nodes::NodeObject;

    fn upkeep(node: &serde_json::Value) -> Upkeep {
        let object: NodeObject = serde_json::from_value(node.clone()).unwrap();
        object.upkeep().unwrap().1
    }

    fn node() -> serde_json::Value {
        serde_json::json!({
            "apiVersion": "v1", "kind": "Node",
            "metadata": { "name": "worker-1", "uid": "u-1", "annotations": {} },
            "spec": { "taints": [{ "key": "ToBeDeletedByClusterAutoscaler", "effect": "NoSchedule" }] },
            "status": {
                "conditions": [{ "type": "Ready", "status": "True",
                    "lastTransitionTime": "2027-01-15T08:00:00Z" }],
                "nodeInfo": { "bootID": "0f9b2a52-91c5-4d9d-9e6c-4e4a1f4f3d11" },
            },
        })
    }

    #[test]
    fn a_cordon_is_ours_with_our_marker_and_foreign_without() {
        let mut it = node();
        assert_eq!(upkeep(&it).cordon, Cordon::Schedulable);
        it["spec"]["unschedulable"] = true.into();
        it["metadata"]["managedFields"] = serde_json::json!([
            { "manager": "kubelet", "fieldsV1": { "f:status": {} } },
            { "manager": "kubectl-cordon", "fieldsV1": { "f:spec": { "f:unschedulable": {} } } },
        ]);
        let by = Some("kubectl-cordon".to_owned());
        assert_eq!(upkeep(&it).cordon, Cordon::Foreign { by: by.clone() });
        it["metadata"]["annotations"] =
            serde_json::json!({ CORDONED_BY: "r-1", BEFORE_CORDON: "unschedulable" });
        let found = upkeep(&it);
        assert_eq!(found.cordon, Cordon::Ours { request: "r-1".to_owned() });
        assert_eq!(found.before, Some(Schedulability::Unschedulable));
        assert_eq!(found.unschedulable_by, by, "a person cordoned it after us");
        it["metadata"]["managedFields"][1]["manager"] = MANAGER.into();
        assert_eq!(upkeep(&it).unschedulable_by, None);
        it["spec"]["unschedulable"] = false.into();
        let found = upkeep(&it);
        assert_eq!((found.cordon, found.marker), (Cordon::Schedulable, Some("r-1".to_owned())));
    }

    #[test]
    fn scale_down_is_disabled_by_us_only_beside_our_mark_and_if_nobody_else_says_so() {
        let mut it = node();
        assert_eq!(upkeep(&it).scale_down, Spared::No);
        it["metadata"]["annotations"] = serde_json::json!({ SCALE_DOWN_DISABLED: "true" });
        assert_eq!(upkeep(&it).scale_down, Spared::Foreign, "a person did");
        assert_eq!(upkeep(&it).marker, None);
        it["metadata"]["annotations"][SCALE_DOWN_DISABLED_BY] = "r-1".into();
        let field = format!("f:{SCALE_DOWN_DISABLED}");
        it["metadata"]["managedFields"] = serde_json::json!([
            { "manager": MANAGER, "fieldsV1": { "f:metadata": { "f:annotations": { field.clone(): {} } } } },
        ]);
        assert_eq!(upkeep(&it).scale_down, Spared::Ours);
        let marker = Some("r-1".to_owned());
        assert_eq!(upkeep(&it).marker, marker, "something of ours is there");
        assert_eq!(upkeep(&it).cordon, Cordon::Schedulable);
        let mut left = it.clone();
        left["metadata"]["annotations"][SCALE_DOWN_LEFT] = "r-1".into();
        let left = upkeep(&left);
        assert_eq!(
            (left.marker, left.scale_down),
            (None, Spared::Ours),
            "nobody comes back for it"
        );
        let mut shared = it.clone();
        shared["metadata"]["managedFields"][0]["manager"] = "kubectl".into();
        assert_eq!(upkeep(&shared).scale_down, Spared::Foreign, "a person applied it as well");
        it["metadata"]["annotations"][SCALE_DOWN_DISABLED] = "false".into();
        assert_eq!(upkeep(&it).scale_down, Spared::Foreign, "not our value");
    }

    #[test]
    fn what_keeps_load_balancers_away_names_its_request_where_a_person_took_the_marker() {
        let mut it = node();
        it["metadata"]["labels"] = serde_json::json!({ EXCLUDE: "" });
        let found = upkeep(&it);
        assert_eq!((found.marker, found.excluded), (None, Spared::Foreign), "a person's label");
        it["metadata"]["annotations"] =
            serde_json::json!({ BEFORE_CORDON: "schedulable", EXCLUDED: "r-1" });
        let found = upkeep(&it);
        assert_eq!((found.marker.as_deref(), found.excluded), (Some("r-1"), Spared::Ours));
        it["metadata"]["annotations"][CORDONED_BY] = "r-2".into();
        assert_eq!(upkeep(&it).marker.as_deref(), Some("r-2"), "who cordoned it comes first");
    }

    #[test]
    fn a_marker_that_no_request_has_is_no_longer_than_what_adopts_it() {
        let long = "é".repeat(100);
        for key in [CORDONED_BY, EXCLUDED, SCALE_DOWN_DISABLED_BY] {
            let mut it = node();
            it["metadata"]["annotations"][key] = long.clone().into();
            it["spec"]["unschedulable"] = true.into();
            let found = upkeep(&it);
            let marker = found.marker.unwrap();
            assert!(marker.len() <= MAX_MARKER, "{key}: {marker}");
            // As a record has it.
            assert_eq!(clean(marker.as_bytes(), MAX_MARKER), marker);
            if key == CORDONED_BY {
                assert_eq!(found.cordon, Cordon::Ours { request: marker });
            }
        }
    }

    #[test]
    fn a_hold_whose_end_cannot_be_read_holds() {
        let mut it = node();
        assert_eq!(upkeep(&it).hold, None);
        it["metadata"]["annotations"] =
            serde_json::json!({ HOLD: "migration", HOLD_UNTIL: "2027-01-15T08:00:00Z" });
        let until = Some(Moment::from_unix(1_800_000_000));
        assert_eq!(upkeep(&it).hold, Some(Hold { reason: "migration".to_owned(), until }));
        it["metadata"]["annotations"][HOLD_UNTIL] = "tomorrow".into();
        let hold = upkeep(&it).hold.unwrap();
        assert_eq!(hold.until, None);
        assert!(hold.reason.contains("tomorrow"), "{}", hold.reason);
    }

    #[test]
    fn ready_has_a_since_and_anything_else_is_unknown() {
        let mut it = node();
        assert_eq!(upkeep(&it).ready, Ready::Since(Moment::from_unix(1_800_000_000)));
        it["status"]["conditions"][0]["status"] = "False".into();
        assert_eq!(upkeep(&it).ready, Ready::NotSince(Moment::from_unix(1_800_000_000)));
        it["status"]["conditions"][0]["status"] = "Unknown".into();
        assert_eq!(upkeep(&it).ready, Ready::Unknown);
        it["status"]["conditions"] = serde_json::json!([]);
        assert_eq!(upkeep(&it).ready, Ready::Unknown);
        assert!(upkeep(&it).taints.contains("ToBeDeletedByClusterAutoscaler"));
        assert!(upkeep(&it).boot.is_some());
    }
}

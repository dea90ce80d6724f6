//! Directory and objects, without an API server.

use super::*;
use crate::snapshot::Ready;
use crate::snapshot::Scheduling;

/// What the cluster says of a node with this UID.
pub(super) fn member(name: &str, uid: &str) -> Arc<ClusterNode> {
    node(name, uid).member(&mut BTreeSet::new()).unwrap().1
}

fn node(name: &str, uid: &str) -> NodeObject {
    let text = format!(r#"{{"metadata":{{"name":"{name}","uid":"{uid}"}}}}"#);
    serde_json::from_str(&text).unwrap()
}

fn name(text: &str) -> NodeName {
    text.parse().unwrap()
}

#[test]
fn of_an_object_only_what_is_used_is_kept() {
    let object: NodeObject = serde_json::from_str(
        r#"{"apiVersion":"v1","kind":"Node","metadata":{"name":"a","uid":"u-1",
            "labels":{"kubernetes.io/hostname":"a","pool":"blue"}},
            "spec":{"unschedulable":true,"taints":[
                {"key":"palisade.dev/reboot","effect":"NoSchedule"},
                {"key":"node.kubernetes.io/unschedulable","effect":"NoSchedule"}]},
            "status":{"images":[{"names":["x"],"sizeBytes":1}],
                "conditions":[{"type":"DiskPressure","status":"False"},
                    {"type":"Ready","status":"True"}],
                "nodeInfo":{"bootID":"b\u0007","kernelVersion":"6.12","kubeletVersion":""}}}"#,
    )
    .unwrap();
    let mut shared = BTreeSet::new();
    let (_, kept) = object.clone().member(&mut shared).unwrap();
    assert_eq!(kept.uid.as_str(), "u-1");
    assert_eq!((kept.ready, kept.scheduling), (Ready::Ready, Scheduling::Cordoned));
    assert_eq!(kept.taints, ["palisade.dev/reboot"]);
    assert_eq!(kept.labels.keys().collect::<Vec<_>>(), ["pool"]);
    assert_eq!(kept.with_hostname().labels["kubernetes.io/hostname"], "a");
    assert_eq!((kept.kernel.as_deref(), kept.kubelet.as_deref()), (Some("6.12"), None));
    assert!(!kept.boot_id.as_ref().unwrap().contains('\u{7}'));
    let (_, other) = object.member(&mut shared).unwrap();
    assert!(Arc::ptr_eq(&kept.labels, &other.labels), "a pool shares its labels");
}

#[test]
fn a_condition_of_another_word_is_not_known_and_not_false() {
    assert_eq!(member("a", "1").ready, Ready::Unknown);
    let text = r#"{"metadata":{"name":"a","uid":"1"},
        "status":{"conditions":[{"type":"Ready","status":"Maybe"}]}}"#;
    let object: NodeObject = serde_json::from_str(text).unwrap();
    assert_eq!(object.member(&mut BTreeSet::new()).unwrap().1.ready, Ready::Unknown);
}

#[test]
fn nothing_is_absent_before_the_list_is_complete_or_while_a_new_one_comes() {
    let directory = Directory::default();
    let mut labels = Labels::default();
    let uid = |uid: &str| Sighting::Known(uid.parse().unwrap());
    let mut take = |event| directory.take_node(event, &mut labels);
    assert_eq!(directory.uid_of(&name("a")), Sighting::NotYetKnown);
    take(Event::Init);
    take(Event::InitApply(node("a", "1")));
    assert_eq!(directory.uid_of(&name("a")), Sighting::NotYetKnown);
    take(Event::InitDone);
    assert_eq!(directory.uid_of(&name("a")), uid("1"));
    assert_eq!(directory.uid_of(&name("b")), Sighting::Absent);
    // 410: a new list. What was known is known until the list is complete.
    take(Event::Init);
    assert_eq!(directory.uid_of(&name("b")), Sighting::NotYetKnown);
    assert_eq!(directory.uid_of(&name("a")), uid("1"));
    take(Event::InitApply(node("b", "2")));
    take(Event::InitDone);
    assert_eq!(directory.uid_of(&name("a")), Sighting::Absent);
    assert_eq!(directory.uid_of(&name("b")), uid("2"));
    // Made anew under its name.
    take(Event::Delete(node("b", "2")));
    assert_eq!(directory.uid_of(&name("b")), Sighting::Absent);
    take(Event::Apply(node("b", "3")));
    assert_eq!(directory.uid_of(&name("b")), uid("3"));
    directory.see_nodes(View::Partial);
    assert_eq!(directory.uid_of(&name("c")), Sighting::NotYetKnown);
    assert_eq!(directory.uid_of(&name("b")), uid("3"));
    directory.see_nodes(View::Whole);
    assert_eq!(directory.uid_of(&name("c")), Sighting::Absent);
    take(Event::Init);
    directory.see_nodes(View::Whole);
    assert_eq!(directory.uid_of(&name("c")), Sighting::NotYetKnown);
}

#[test]
fn what_is_the_same_is_no_change() {
    let directory = Directory::default();
    let mut labels = Labels::default();
    let changed = directory.changed();
    let mut take = |event| directory.take_node(event, &mut labels);
    take(Event::Init);
    take(Event::InitDone);
    assert_eq!(*changed.borrow(), 1);
    take(Event::Apply(node("a", "1")));
    take(Event::Apply(node("a", "1")));
    take(Event::Delete(node("b", "1")));
    assert_eq!(*changed.borrow(), 2);
}

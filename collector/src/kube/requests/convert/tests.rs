use palisade_plan::fleet::Role;
use palisade_plan::request::AfterRollback;
use palisade_plan::request::Alert;
use palisade_plan::request::Approval;
use palisade_plan::request::BootRecord;
use palisade_plan::request::Drain;
use palisade_plan::request::Entered;
use palisade_plan::request::Fault;
use palisade_plan::request::FaultKind;
use palisade_plan::request::GrantRecord;
use palisade_plan::request::Intent;
use palisade_plan::request::Override;
use palisade_plan::request::Placement;
use palisade_plan::request::Progress;
use palisade_plan::request::Proof;
use palisade_plan::request::Reason;
use palisade_plan::request::Release;
use palisade_plan::request::Schedulability;
use palisade_plan::request::State;
use palisade_plan::request::Wish;
use palisade_report::grant::GrantId;

use super::*;

const NOW: Moment = Moment::from_unix(1_800_000_000);
const NODE: &str = "0b7c2a44-9d3e-4c59-8d4f-0a35b3f0d5a1";
const BOOT: &str = "0f9b2a52-91c5-4d9d-9e6c-4e4a1f4f3d11";

/// A request with something in every field.
fn full() -> Request {
    let digest = Digest::of(b"reasons");
    let reason = Reason {
        source: "kernel".to_owned(),
        kind: "kernel".to_owned(),
        subject: "linux-image".to_owned(),
        target: "6.12.5".to_owned(),
    };
    Request {
        node: "worker-1".parse().unwrap(),
        uid: NODE.parse().unwrap(),
        id: "11111111-2222-3333-4444-555555555555".to_owned(),
        version: "42".to_owned(),
        wish: Wish {
            reasons: [reason].into(),
            digest,
            since: NOW.plus(-600),
            requested_by: "anna".to_owned(),
            must_by: Some(NOW.plus(86_400)),
            approval: Some(Approval { by: "bob".to_owned(), at: NOW, digest, until: NOW.plus(60) }),
            overriding: Some(Override {
                by: "carl".to_owned(),
                reason: "urgent".to_owned(),
                gates: [Gate::Window, Gate::Alert].into(),
                digest,
                until: NOW.plus(60),
            }),
            intent: Intent::Cancel,
            release: Some(Release { by: "dora".to_owned(), reason: "seen".to_owned(), at: NOW }),
        },
        progress: Progress {
            state: State::Verifying,
            since: NOW,
            deadline: Some(NOW.plus(900)),
            epoch: 7,
            placement: Placement {
                pool: "web".to_owned(),
                zone: "a".to_owned(),
                role: Role::ControlPlane,
            },
            blockers: vec![gate::Blocker {
                gate: Gate::Drain,
                value: "default/web-1".to_owned(),
                since: NOW,
                next_check: Some(NOW.plus(5)),
            }],
            blockers_at: Some(NOW.plus(1)),
            boot_at_claim: Some(BOOT.parse().unwrap()),
            before: Some(Schedulability::Unschedulable),
            adopts: Some("22222222-2222-3333-4444-555555555555".to_owned()),
            drain: Drain {
                began: Some(NOW),
                ended: Some(NOW.plus(9)),
                volumes: ["pv-1".to_owned()].into(),
                recordons: 2,
            },
            grant: Some(GrantRecord {
                id: GrantId::from_bytes([3; 16]),
                boot: BOOT.parse().unwrap(),
                report: Digest::of(b"report"),
                expected_kernel: Some("6.12.5".to_owned()),
                at: NOW,
                void_after: NOW.plus(200),
                answer: Some(Answer::Refused("held".to_owned())),
                answered_at: Some(NOW.plus(3)),
            }),
            boot: Some(BootRecord {
                boot: "0f9b2a52-91c5-4d9d-9e6c-4e4a1f4f3d12".parse().unwrap(),
                kernel: Some("6.12.5".to_owned()),
                seen_at: NOW.plus(90),
            }),
            proofs: Proof::ALL.into_iter().map(|proof| (proof, "so".to_owned())).collect(),
            sound_since: Some(NOW.plus(95)),
            relapses: 1,
            rollbacks: 2,
            then: AfterRollback::Cancelled,
            failure: Some(Fault {
                kind: FaultKind::ReasonPersists,
                message: "linux-image".to_owned(),
            }),
            alerts: [Alert::NodeQuarantined, Alert::DrainSlow].into(),
            history: State::ALL
                .into_iter()
                .map(|state| Entered { state, at: NOW, after_release: Some(NOW.plus(3)) })
                .collect(),
        },
    }
}

/// What the API server makes of an object.
fn stored(request: &Request) -> RebootRequest {
    let object = with_status(request);
    let text = serde_json::to_string(&object).unwrap();
    serde_json::from_str(&text).unwrap()
}

#[test]
fn a_request_is_the_same_after_the_api_server() {
    let before = full();
    assert_eq!(request(&stored(&before)).unwrap(), before);
    for state in State::ALL {
        let mut each = full();
        each.progress.state = state;
        assert_eq!(request(&stored(&each)).unwrap(), each);
    }
    for answer in [Answer::Executing, Answer::Failed("no bus".to_owned())] {
        let mut each = full();
        each.progress.grant.as_mut().unwrap().answer = Some(answer);
        assert_eq!(request(&stored(&each)).unwrap(), each);
    }
    for then in [AfterRollback::Backoff, AfterRollback::Reconsider] {
        let mut each = full();
        each.progress.then = then;
        assert_eq!(request(&stored(&each)).unwrap(), each);
    }
}

#[test]
fn a_request_of_a_person_without_status_is_needed_since_it_was_made() {
    let object = serde_json::json!({
        "apiVersion": "palisade.dev/v1alpha1",
        "kind": "RebootRequest",
        "metadata": { "name": NODE, "uid": "u", "resourceVersion": "1",
            "creationTimestamp": "2027-01-15T08:00:00Z" },
        "spec": {
            "node": { "name": "worker-1", "uid": NODE },
            "reasons": [{ "source": "request", "kind": "manual", "subject": "firmware" }],
            "digest": format!("sha256:{}", Digest::of(b"x")),
            "requestedBy": "anna",
        },
    });
    let object: RebootRequest = serde_json::from_value(object).unwrap();
    let made = request(&object).unwrap();
    assert_eq!(made.progress.state, State::Needed);
    assert_eq!(made.wish.since, NOW);
    assert_eq!(made.progress.since, NOW);
    assert_eq!(made.wish.intent, Intent::Reboot);
}

#[test]
fn a_request_that_somebody_deletes_is_called_off() {
    let mut object =
        stored(&Request { wish: Wish { intent: Intent::Reboot, ..full().wish }, ..full() });
    assert_eq!(request(&object).unwrap().wish.intent, Intent::Reboot);
    object.metadata.deletion_timestamp = Some(time(NOW));
    assert_eq!(request(&object).unwrap().wish.intent, Intent::Cancel);
}

#[test]
fn long_lists_and_texts_are_cut_to_what_the_schema_takes() {
    let mut long = full();
    let progress = &mut long.progress;
    progress.blockers = vec![progress.blockers[0].clone(); 50];
    progress.blockers[0].value = "x".repeat(5000);
    progress.history = vec![progress.history[0]; 99];
    progress.drain.volumes = (0..999).map(|number| format!("pv-{number}")).collect();
    progress.failure.as_mut().unwrap().message = "ä".repeat(5000);
    let status = status(progress);
    assert_eq!(status.blockers.len(), 20);
    assert!(status.blockers[0].value.len() <= MAX_MESSAGE);
    assert!(status.message.unwrap().len() <= MAX_MESSAGE);
    assert_eq!(status.history.len(), 32);
    assert_eq!(status.drain.unwrap().volumes.len(), MAX_VOLUMES);
}

#[test]
fn a_word_that_decides_something_must_be_known() {
    let mut object = stored(&full());
    object.status.as_mut().unwrap().after_rollback = "sleep".to_owned();
    assert!(request(&object).unwrap_err().to_string().contains("sleep"));
    let mut object = stored(&full());
    object.spec.overriding.as_mut().unwrap().gates = vec!["window".to_owned(), "moon".to_owned()];
    let overriding = request(&object).unwrap().wish.overriding.unwrap();
    assert_eq!(overriding.gates, [Gate::Window].into(), "what is not known passes nothing");
}

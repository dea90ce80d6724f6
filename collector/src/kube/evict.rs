//! Evictions: one request for one pod of one UID, and what the API server said of it, word for word.
//! Which pod goes and what an answer means is decided in `palisade_plan::drain`.
//!
//! The acting client repeats nothing, so that a 429 of a disruption budget comes through; nothing is
//! ever deleted here.

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::DeleteOptions;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Preconditions;
use kube::Api;
use kube::Client;
use kube::api::PostParams;
use palisade_plan::drain::Eviction;
use palisade_plan::drain::Reply;
use palisade_plan::drain::Status;
use palisade_report::bound::clean_text;

use super::client::CALL_TIMEOUT;
use super::client::Clients;
use super::fence::NotLeader;

/// Causes of one answer that are kept; a disruption budget gives one.
const MAX_CAUSES: usize = 8;

/// Whether a pod is really evicted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Run {
    /// Everything is checked, nothing happens: `dryRun: All`.
    Dry,
    /// It is evicted.
    Real,
}

/// Evicts pods.
#[derive(Clone)]
pub struct Evictions {
    client: Client,
}

impl std::fmt::Debug for Evictions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Evictions")
    }
}

impl Evictions {
    /// By these clients.
    #[must_use]
    pub fn new(clients: &Clients) -> Self {
        Self { client: clients.acting.clone() }
    }

    /// Asks for an eviction.
    ///
    /// # Errors
    /// [`NotLeader`]: nothing was sent.
    pub async fn evict(&self, eviction: &Eviction, run: Run) -> Result<Reply, NotLeader> {
        let Some((namespace, name)) = eviction.pod.split_once('/') else {
            // No pod has such a name: it is not there.
            return Ok(Reply::Answered(Status { code: 404, ..Status::default() }));
        };
        let api: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let parameters = PostParams { dry_run: run == Run::Dry, ..PostParams::default() };
        let body = body(name, eviction, run);
        let call = api.create_subresource("eviction", name, &parameters, &body);
        match tokio::time::timeout(CALL_TIMEOUT, call).await {
            Ok(answer) => reply(answer),
            Err(_) => Ok(Reply::Silence),
        }
    }
}

/// An eviction of this pod of this UID and of no namesake. Written here and not by [`Api::evict`], which
/// names the options of the deletion in a way that the API server does not know, and so loses them.
fn body(name: &str, eviction: &Eviction, run: Run) -> v1::Eviction {
    v1::Eviction {
        metadata: ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() },
        delete_options: Some(DeleteOptions {
            grace_period_seconds: eviction.grace_secs,
            preconditions: Some(Preconditions {
                uid: Some(eviction.uid.clone()),
                resource_version: None,
            }),
            dry_run: (run == Run::Dry).then(|| vec!["All".to_owned()]),
            ..DeleteOptions::default()
        }),
    }
}

fn reply(answer: Result<kube::core::Status, kube::Error>) -> Result<Reply, NotLeader> {
    match answer {
        Ok(status) => Ok(Reply::Answered(Status {
            code: if status.code == 0 { 201 } else { status.code },
            ..Status::default()
        })),
        Err(kube::Error::Api(status)) => {
            let details = status.details.as_ref();
            let causes = details.map(|it| it.causes.as_slice()).unwrap_or_default();
            Ok(Reply::Answered(Status {
                code: status.code,
                reason: clean_text(&status.reason),
                message: clean_text(&status.message),
                causes: causes
                    .iter()
                    .take(MAX_CAUSES)
                    .map(|cause| (clean_text(&cause.reason), clean_text(&cause.message)))
                    .collect(),
                // 0 stands for absent.
                retry_after: details.map(|it| it.retry_after_seconds).filter(|secs| *secs > 0),
            }))
        }
        Err(kube::Error::Service(error)) if error.is::<NotLeader>() => Err(NotLeader),
        // Cut off, not understood, never sent: the pod itself tells.
        Err(_) => Ok(Reply::Silence),
    }
}

#[cfg(test)]
mod tests {
    use palisade_plan::drain::Answer;
    use palisade_plan::drain::interpret;

    use super::*;

    fn said(body: &serde_json::Value) -> Answer {
        let status: kube::core::Status = serde_json::from_value(body.clone()).unwrap();
        interpret(&reply(Err(kube::Error::Api(Box::new(status)))).unwrap())
    }

    #[test]
    fn an_eviction_is_of_one_uid_with_the_grace_that_was_asked_for() {
        let eviction =
            Eviction { pod: "default/db-0".to_owned(), uid: "u-1".to_owned(), grace_secs: Some(7) };
        let real = serde_json::json!({
            "apiVersion": "policy/v1", "kind": "Eviction", "metadata": { "name": "db-0" },
            "deleteOptions": { "gracePeriodSeconds": 7, "preconditions": { "uid": "u-1" } },
        });
        let sent = |run| serde_json::to_value(body("db-0", &eviction, run)).unwrap();
        assert_eq!(sent(Run::Real), real);
        assert_eq!(sent(Run::Dry)["deleteOptions"]["dryRun"], serde_json::json!(["All"]));
    }

    #[test]
    fn a_budget_is_told_apart_from_throttling() {
        let budget = serde_json::json!({
            "kind": "Status", "status": "Failure", "code": 429, "reason": "TooManyRequests",
            "message": "Cannot evict pod as it would violate the pod's disruption budget.",
            "details": { "causes": [{ "reason": "DisruptionBudget",
                "message": "The disruption budget web needs 2 healthy pods and has 2 currently" }] },
        });
        assert!(matches!(said(&budget), Answer::Budget { name: Some(name), .. } if name == "web"));
        let busy = serde_json::json!({
            "kind": "Status", "status": "Failure", "code": 429, "reason": "TooManyRequests",
            "message": "too many requests", "details": { "retryAfterSeconds": 7 },
        });
        assert_eq!(said(&busy), Answer::Throttled { retry_secs: 7 });
    }

    #[test]
    fn what_was_not_understood_says_nothing_about_the_pod() {
        let broken = kube::Error::Service(Box::new(std::io::Error::other("cut off")));
        assert_eq!(interpret(&reply(Err(broken)).unwrap()), Answer::UnknownOutcome);
        let shut = kube::Error::Service(Box::new(NotLeader));
        assert_eq!(reply(Err(shut)), Err(NotLeader));
    }
}

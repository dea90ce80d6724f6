//! Pods that speak against reboots: found by their labels, in any namespace, on any node.
//!
//! They are read from the quorum, as a grant may follow: a cache may be of any age. A list in one piece is
//! what the API server may answer from a cache that it knows to be fresh (KEP-2340); only where that is too
//! much are pages read.

use http_body_util::BodyExt as _;
use http_body_util::LengthLimitError;
use http_body_util::Limited;
use hyper::body::Bytes;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::Resource as _;
use kube::api::ListParams;
use kube::client::Body;
use kube::core::Request;
use kube::core::Status;
use palisade_report::Moment;
use palisade_report::bound::clean_text;
use serde::Deserialize;

use super::ListError;
use super::MAX_PAGES;
use super::PAGE;
use super::Workloads;
use super::call;
use crate::kube::client::CALL_TIMEOUT;
use crate::kube::client::CallError;

/// Bytes of a list in one piece: several thousand pods.
const MAX_LIST: usize = 32 * 1024 * 1024;

/// What is asked for.
const WHAT: &str = "pods that block";

/// Pods that have ended speak for nothing.
pub(super) const UNFINISHED: &str = "status.phase!=Succeeded,status.phase!=Failed";

/// A pod that has not ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// `namespace/name`.
    pub name: String,
    /// The node that it is bound to; `None` as long as it waits for one.
    pub node: Option<String>,
    /// When it was made, by the API server's clock.
    pub since: Option<Moment>,
}

/// A list of pods, read no further than it is used.
#[derive(Deserialize)]
struct List {
    items: Vec<Object>,
}

#[derive(Deserialize)]
struct Object {
    metadata: Metadata,
    #[serde(default)]
    spec: Spec,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    #[serde(default)]
    namespace: String,
    #[serde(default)]
    name: String,
    creation_timestamp: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    #[serde(default)]
    node_name: String,
}

impl Workloads {
    /// The pods that a label selector (as in `labelSelector`) finds and that have not ended, as the API
    /// server has them in its cache.
    ///
    /// # Errors
    /// [`ListError`].
    pub async fn unfinished(&self, selector: &str) -> Result<Vec<Standing>, ListError> {
        let parameters = ListParams::default().labels(selector).fields(UNFINISHED);
        let body = match tokio::time::timeout(CALL_TIMEOUT, self.at_once(&parameters)).await {
            Ok(body) => body,
            Err(_) => Err(CallError::TimedOut(CALL_TIMEOUT)),
        };
        match body.map_err(|source| ListError::Call { what: WHAT, source })? {
            Some(body) => whole(&body).map_err(|error| ListError::Answer {
                what: WHAT,
                said: clean_text(&error.to_string()),
            }),
            None => self.unfinished_by_pages(parameters).await,
        }
    }

    /// A list in one piece; nothing if it is too large for that.
    async fn at_once(&self, parameters: &ListParams) -> Result<Option<Bytes>, CallError> {
        let unreached = |said: String| CallError::Unreached { said: clean_text(&said) };
        let request = Request::new(Pod::url_path(&(), None)).list(parameters);
        let request = request.map_err(|error| unreached(error.to_string()))?;
        let answer = self.client.send(request.map(Body::from)).await?;
        let status = answer.status();
        let body = match Limited::new(answer.into_body(), MAX_LIST).collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) if error.is::<LengthLimitError>() => {
                return Ok(None);
            }
            Err(error) => return Err(unreached(error.to_string())),
        };
        if !status.is_success() {
            let said: Status = serde_json::from_slice(&body).unwrap_or_default();
            return Err(CallError::Refused {
                code: status.as_u16(),
                reason: clean_text(&said.reason),
                message: clean_text(&said.message),
            });
        }
        Ok(Some(body))
    }

    async fn unfinished_by_pages(
        &self,
        parameters: ListParams,
    ) -> Result<Vec<Standing>, ListError> {
        let api: Api<Pod> = Api::all(self.client.clone());
        let mut parameters = parameters.limit(PAGE);
        let mut found = Vec::new();
        for _ in 0..MAX_PAGES {
            let page = call(CALL_TIMEOUT, api.list(&parameters)).await;
            let page = page.map_err(|source| ListError::Call { what: WHAT, source })?;
            // Whole pods are large; three words of each are kept.
            found.extend(page.items.into_iter().map(standing));
            match page.metadata.continue_ {
                Some(next) if !next.is_empty() => parameters.continue_token = Some(next),
                Some(_) | None => return Ok(found),
            }
        }
        Err(ListError::TooMany { what: WHAT })
    }
}

fn whole(body: &[u8]) -> Result<Vec<Standing>, serde_json::Error> {
    let List { items } = serde_json::from_slice(body)?;
    let standing = |Object { metadata, spec }: Object| {
        let Metadata { namespace, name, creation_timestamp } = metadata;
        let since = creation_timestamp.and_then(|at| at.parse::<jiff::Timestamp>().ok());
        Standing {
            name: clean_text(&format!("{namespace}/{name}")),
            node: Some(spec.node_name).filter(|it| !it.is_empty()),
            since: since.map(|at| Moment::from_unix(at.as_second())),
        }
    };
    Ok(items.into_iter().map(standing).collect())
}

fn standing(pod: Pod) -> Standing {
    let Pod { metadata, spec, status: _ } = pod;
    let (namespace, name) = (metadata.namespace, metadata.name);
    let name = format!("{}/{}", namespace.unwrap_or_default(), name.unwrap_or_default());
    Standing {
        name: clean_text(&name),
        node: spec.and_then(|it| it.node_name).filter(|it| !it.is_empty()),
        since: metadata.creation_timestamp.map(|at| Moment::from_unix(at.0.as_second())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_in_one_piece_is_read_like_its_pages() {
        let list = serde_json::json!({ "kind": "PodList", "items": [
            { "metadata": { "namespace": "a", "name": "b", "uid": "u",
                "creationTimestamp": "2026-11-22T15:20:00Z" },
              "spec": { "nodeName": "db-0", "containers": [] }, "status": { "phase": "Running" } },
            { "metadata": { "namespace": "a", "name": "c\u{1b}" }, "spec": { "containers": [] } },
        ] });
        let found = whole(list.to_string().as_bytes()).unwrap();
        let pods = list["items"].as_array().unwrap().iter().cloned();
        let pods = pods.map(|pod| standing(serde_json::from_value(pod).unwrap()));
        assert_eq!(found, pods.collect::<Vec<_>>());
        assert_eq!(found[0].node.as_deref(), Some("db-0"));
        assert_eq!(found[0].since.map(Moment::unix), Some(1_795_360_800));
        assert_eq!((found[1].node.as_deref(), found[1].since), (None, None));
        for body in ["", "null", "{}", "<html>", r#"{"items": null}"#, r#"{"items": [{}]}"#] {
            assert!(whole(body.as_bytes()).is_err(), "{body}");
        }
    }
}

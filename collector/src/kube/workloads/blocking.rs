//! Pods that speak against reboots: found by their labels, in any namespace, on any node.

use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::ListParams;
use palisade_report::Moment;
use palisade_report::bound::clean_text;

use super::ListError;
use super::MAX_PAGES;
use super::PAGE;
use super::Workloads;
use super::call;
use crate::kube::client::CALL_TIMEOUT;

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

impl Workloads {
    /// The pods that a label selector (as in `labelSelector`) finds and that have not ended.
    ///
    /// # Errors
    /// [`ListError`].
    pub async fn unfinished(&self, selector: &str) -> Result<Vec<Standing>, ListError> {
        const WHAT: &str = "pods that block";
        let api: Api<Pod> = Api::all(self.client.clone());
        let mut parameters = ListParams::default().labels(selector).fields(UNFINISHED).limit(PAGE);
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

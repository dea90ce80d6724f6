//! Requests in the API server: made, read, written and taken away. What they say is decided in
//! `palisade_plan`, how they look in [`convert`]; here is only the way there and back.
//!
//! ```text
//! watch ──────────────┐
//! quorum list ────────┼──> RequestBook (newest version of each) ──> coordinator
//! answers to writes ──┘                                                │
//!           create, status (with resourceVersion), delete <────────────┘
//! ```
//!
//! Every write names the version that was read, so that two collectors never write past each other;
//! none is repeated here.

use kube::Api;
use kube::api::DeleteParams;
use kube::api::ListParams;
use kube::api::Patch;
use kube::api::PatchParams;
use kube::api::PostParams;
use kube::api::Preconditions;
use kube::runtime::watcher;
use palisade_plan::request::Request;
use serde_json::json;

use super::client::CALL_TIMEOUT;
use super::client::CallError;
use super::client::Clients;
use super::client::WATCH_SECS;
use super::client::call;
use super::conditions::MANAGER;
use super::nodes;
use super::reboot_request::RebootRequest;

mod book;
mod convert;

pub use book::RequestBook;
pub use book::Requested;
pub use convert::MalformedRequest;

/// Objects of one page of a list.
const PAGE: u32 = 500;

/// Pages that are read at most: twice the nodes that a collector knows. More is an error of somebody,
/// and a count that ends early must not pass for a count.
const MAX_PAGES: usize = 480;

/// Why a request could not be made, written or read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// The API server did not do it, or nobody can tell.
    #[error("failed to reach or change the request")]
    Call(#[source] CallError),
    /// What came back cannot be read. At fault: a newer version, or us.
    #[error("failed to read what the API server keeps")]
    Malformed(#[source] MalformedRequest),
    /// There are more objects than there can be nodes. At fault: whoever made them.
    #[error("failed to list all requests: more than {} of them", MAX_PAGES.saturating_mul(PAGE as usize))]
    TooMany,
}

impl RequestError {
    /// Whether the API server answered with this status.
    #[must_use]
    pub const fn is(&self, status: u16) -> bool {
        match self {
            Self::Call(error) => error.is(status),
            Self::Malformed(_) | Self::TooMany => false,
        }
    }
}

/// The way to the requests. Cheap to clone.
#[derive(Clone)]
pub struct Requests {
    reading: Api<RebootRequest>,
    acting: Api<RebootRequest>,
}

impl std::fmt::Debug for Requests {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Requests")
    }
}

impl Requests {
    /// The way there by these clients.
    #[must_use]
    pub fn new(clients: &Clients) -> Self {
        let (reading, acting) = (clients.reading.clone(), clients.acting.clone());
        Self { reading: Api::all(reading), acting: Api::all(acting) }
    }

    /// Keeps `book` as the API server has it, for as long as it is polled.
    pub async fn follow(self, book: &RequestBook) {
        let config = watcher::Config::default().timeout(WATCH_SECS);
        let (take, see) = (|event| book.take(event), |view| book.see(view));
        nodes::follow("reboot requests", self.reading, config, take, see).await;
    }

    /// Every request, as the API server's quorum has them: nothing from a cache, so that whoever
    /// counts after a write of its own counts that write.
    ///
    /// # Errors
    /// [`RequestError`]: a part of the list is none.
    pub async fn list(&self) -> Result<Vec<Requested>, RequestError> {
        let mut all = Vec::new();
        let mut parameters = ListParams::default().limit(PAGE);
        for _ in 0..MAX_PAGES {
            let page = call(CALL_TIMEOUT, self.acting.list(&parameters)).await;
            let page = page.map_err(RequestError::Call)?;
            all.extend(page.items.iter().map(Requested::of));
            match page.metadata.continue_ {
                Some(next) if !next.is_empty() => parameters.continue_token = Some(next),
                Some(_) | None => return Ok(all),
            }
        }
        Err(RequestError::TooMany)
    }

    /// Makes a request; its name is the UID of its node, so there is one for each node. What stands in
    /// its progress is written by [`Self::write`].
    ///
    /// # Errors
    /// [`RequestError`]; 409 if there is one.
    pub async fn create(&self, request: &Request) -> Result<Request, RequestError> {
        let object = convert::object(request);
        read(call(CALL_TIMEOUT, self.acting.create(&parameters(), &object)).await)
    }

    /// Writes how far a request has come, if nobody wrote since it was read.
    ///
    /// # Errors
    /// [`RequestError`]; 409 if somebody did.
    pub async fn write(&self, request: &Request) -> Result<Request, RequestError> {
        let object = convert::with_status(request);
        let parameters = parameters();
        let written = self.acting.replace_status(request.uid.as_str(), &parameters, &object);
        read(call(CALL_TIMEOUT, written).await)
    }

    /// Sees to it that the object outlasts its deletion until its end is in the audit: one that a
    /// person made may have nothing that keeps it. To be done before anything is done for it.
    ///
    /// # Errors
    /// [`RequestError`]; also if it is being deleted already.
    pub async fn keep(&self, request: &Request) -> Result<Request, RequestError> {
        let name = request.uid.as_str();
        let found = call(CALL_TIMEOUT, self.acting.get_metadata(name)).await;
        let metadata = found.map_err(RequestError::Call)?.metadata;
        let mut finalizers = metadata.finalizers.unwrap_or_default();
        if finalizers.iter().any(|it| it == convert::FINALIZER) {
            return Ok(request.clone());
        }
        finalizers.push(convert::FINALIZER.to_owned());
        let patch = Patch::Merge(json!({ "metadata": {
            "uid": request.id,
            "resourceVersion": request.version,
            "finalizers": finalizers,
        } }));
        read(call(CALL_TIMEOUT, self.acting.patch(name, &patch_parameters(), &patch)).await)
    }

    /// Writes other reasons into a request that nobody has approved: a new digest, the moment since
    /// when it is there, and no approval or override of the old one.
    ///
    /// # Errors
    /// [`RequestError`]; 409 if somebody wrote since it was read.
    pub async fn restate(&self, request: &Request) -> Result<Request, RequestError> {
        let spec = convert::object(request).spec;
        let patch = json!({
            "metadata": { "uid": request.id, "resourceVersion": request.version },
            "spec": {
                "reasons": spec.reasons,
                "digest": spec.digest,
                "since": spec.since,
                "mustBy": spec.must_by,
                "approval": spec.approval,
                "override": spec.overriding,
            },
        });
        let (parameters, patch) = (patch_parameters(), Patch::Merge(patch));
        let written = self.acting.patch(request.uid.as_str(), &parameters, &patch);
        read(call(CALL_TIMEOUT, written).await)
    }

    /// Writes what somebody wants into a request: an approval, a release, that it ends.
    ///
    /// # Errors
    /// [`RequestError`]; 409 if somebody wrote since it was read.
    pub async fn amend(
        &self,
        request: &Request,
        spec: serde_json::Value,
    ) -> Result<Request, RequestError> {
        let patch = json!({
            "metadata": { "uid": request.id, "resourceVersion": request.version },
            "spec": spec,
        });
        let (parameters, patch) = (patch_parameters(), Patch::Merge(patch));
        let written = self.acting.patch(request.uid.as_str(), &parameters, &patch);
        read(call(CALL_TIMEOUT, written).await)
    }

    /// Takes a request away that has ended: first the mark that it is to go, then what kept it.
    ///
    /// # Errors
    /// [`CallError`]; one that is gone is none.
    pub async fn delete(&self, request: &Request) -> Result<(), CallError> {
        let name = request.uid.as_str();
        let parameters = DeleteParams {
            preconditions: Some(Preconditions {
                uid: Some(request.id.clone()),
                resource_version: None,
            }),
            ..DeleteParams::default()
        };
        let conflict = match call(CALL_TIMEOUT, self.acting.delete(name, &parameters)).await {
            Ok(_) => None,
            Err(error) if error.is(404) => return Ok(()),
            // Another request of that name, which is not ours to delete, or somebody wrote this one in
            // the same moment: the object tells.
            Err(error) if error.is(409) => Some(error),
            Err(error) => return Err(error),
        };
        let Some(left) = call(CALL_TIMEOUT, self.acting.get_metadata_opt(name)).await? else {
            return Ok(());
        };
        let metadata = left.metadata;
        if metadata.uid.as_deref() != Some(request.id.as_str()) {
            return Ok(());
        }
        if let Some(conflict) = conflict {
            return Err(conflict);
        }
        let finalizers: Vec<_> = metadata
            .finalizers
            .unwrap_or_default()
            .into_iter()
            .filter(|it| it != convert::FINALIZER)
            .collect();
        let patch = Patch::Merge(json!({ "metadata": {
            "uid": request.id,
            "resourceVersion": metadata.resource_version,
            "finalizers": finalizers,
        } }));
        match call(CALL_TIMEOUT, self.acting.patch(name, &patch_parameters(), &patch)).await {
            Ok(_) => Ok(()),
            Err(error) if error.is(404) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

fn read(answer: Result<RebootRequest, CallError>) -> Result<Request, RequestError> {
    let object = answer.map_err(RequestError::Call)?;
    convert::request(&object).map_err(RequestError::Malformed)
}

fn parameters() -> PostParams {
    PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() }
}

fn patch_parameters() -> PatchParams {
    PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() }
}

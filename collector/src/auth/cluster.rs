//! Identity in a cluster: agents and people behind one front, in words that the HTTP side knows.

use std::sync::Arc;
use std::time::Duration;

use palisade_report::Digest;
use palisade_report::NodeName;
use palisade_report::NodeUid;

use super::Caller;
use super::NodeIdentity;
use super::Person;
use super::agents::Agents;
use super::agents::NotAdmitted;
use super::denied::Denied;
use super::denied::Refusal;
use super::people::Answers;
use super::people::NotAllowed;
use super::people::People;
use super::token;
use super::token::MAX_TOKEN;
use super::token::Malformed;
use crate::clock::Clock;
use crate::http::route::RouteName;
use crate::kube::access::permission;
use crate::kube::directory::NodeDirectory;
use crate::kube::directory::PodUid;
use crate::kube::review::Account;
use crate::kube::review::Reviewer;
use crate::kube::review::Token;
use crate::kube::review::Unfit;

/// When somebody comes back who could not be told: an agent's own back-off is longer.
const SILENT_RETRY: Duration = Duration::from_secs(5);

/// Who is who in a cluster.
#[derive(Debug)]
pub struct Cluster {
    agents: Agents,
    people: People,
}

impl Cluster {
    /// Asks `reviewer`, and believes `directory` about who is gone.
    #[must_use]
    pub fn new(
        reviewer: Arc<dyn Reviewer>,
        directory: Arc<dyn NodeDirectory>,
        clock: Arc<dyn Clock>,
        agents: Account,
    ) -> Self {
        let people = People::new(Arc::clone(&reviewer), Arc::clone(&clock), agents.user.clone());
        Self { agents: Agents::new(reviewer, directory, clock, agents), people }
    }

    /// A pod of our agents is gone: what its tokens said is forgotten.
    pub fn forget_pod(&self, pod: &PodUid) {
        self.agents.forget_pod(pod);
    }

    /// A node is gone: what its tokens said is forgotten.
    pub fn forget_node(&self, node: &NodeUid) {
        self.agents.forget_node(node);
    }

    /// Agents' tokens that are known.
    #[must_use]
    pub fn known_agents(&self) -> usize {
        self.agents.count()
    }

    pub(super) fn agent_at_once(
        &self,
        key: &Digest,
        token: &[u8],
    ) -> Option<Result<Arc<NodeIdentity>, Refusal>> {
        let known = self.agents.at_once(key)?;
        Some(known.map_err(|unfit| Refusal {
            claimed: token::claimed(token),
            ..Refusal::of(Denied::Unfit(unfit))
        }))
    }

    pub(super) fn knows_agent(&self, key: &Digest) -> bool {
        self.agents.knows(key).is_some()
    }

    /// The pod that a token claims to be of, if the watch has it.
    pub(super) fn living_pod(&self, text: &[u8]) -> Option<PodUid> {
        token::inspect(text).ok()?.pod.filter(|pod| self.agents.sees(pod))
    }

    pub(super) async fn review_agent(
        &self,
        key: Digest,
        text: &[u8],
    ) -> Result<Arc<NodeIdentity>, Refusal> {
        let malformed = |why| Refusal::of(Denied::Malformed(why));
        let claims = token::inspect(text).map_err(malformed)?;
        let token = Token::new(text).ok_or_else(|| malformed(Malformed::Shape))?;
        self.agents.review(key, &token, &claims).await.map_err(|why| {
            let denied = match why {
                NotAdmitted::Silent => Denied::Silent { retry_after: SILENT_RETRY },
                NotAdmitted::Unfit(unfit) => Denied::Unfit(unfit),
            };
            Refusal { claimed: claims.claimed, ..Refusal::of(denied) }
        })
    }

    pub(super) fn is_stranger(&self, key: &Digest) -> bool {
        self.people.is_stranger(key) && !self.knows_agent(key)
    }

    pub(super) async fn admit_person(
        &self,
        key: Digest,
        text: &[u8],
        route: RouteName,
        node: Option<&NodeName>,
    ) -> Result<Arc<Person>, Refusal> {
        const NOT_FOR_AGENTS: &str = "it is an agent's, and agents may only report";
        if let Some(identity) = self.agents.knows(&key) {
            let caller = Caller::Agent(Some(identity));
            return Err(Refusal { caller, ..Refusal::of(Denied::Role(NOT_FOR_AGENTS)) });
        }
        let refused = |denied| Refusal { claimed: token::claimed(text), ..Refusal::of(denied) };
        if text.len() > MAX_TOKEN {
            return Err(Refusal::of(Denied::Malformed(Malformed::TooLong)));
        }
        let Some(token) = Token::new(text) else {
            return Err(Refusal::of(Denied::Malformed(Malformed::Shape)));
        };
        let Some(permission) = permission(route) else {
            return Err(refused(Denied::Role("this address is not for people")));
        };
        let answers = match route {
            RouteName::Alerts(name) if name.acts() => Answers::Fresh,
            RouteName::Approve
            | RouteName::CancelReboot
            | RouteName::Release
            | RouteName::ReleasePool
            | RouteName::RequestReboot
            | RouteName::Retire => Answers::Fresh,
            RouteName::Alerts(_)
            | RouteName::Audit
            | RouteName::Certificates
            | RouteName::Explain
            | RouteName::Facts
            | RouteName::Findings
            | RouteName::GrantAnswer
            | RouteName::Heartbeat
            | RouteName::History
            | RouteName::Index
            | RouteName::Live
            | RouteName::Metrics
            | RouteName::MetricsOfCertificates
            | RouteName::MetricsOfNodes
            | RouteName::Node
            | RouteName::Nodes
            | RouteName::OpenApi
            | RouteName::Plan
            | RouteName::Ready
            | RouteName::Reboots
            | RouteName::Rules
            | RouteName::Sections
            | RouteName::Summary
            | RouteName::Watch
            | RouteName::WhatIf => Answers::Kept,
        };
        let name = node.map(NodeName::as_str);
        let admitted = self.people.admit(key, &token, permission, name, answers).await;
        admitted.map_err(|why| match why {
            NotAllowed::Access { person, wish } => {
                Refusal { caller: Caller::Person(person), ..Refusal::of(Denied::Access { wish }) }
            }
            NotAllowed::Agent => refused(Denied::Role(NOT_FOR_AGENTS)),
            NotAllowed::Silent => Refusal::of(Denied::Silent { retry_after: SILENT_RETRY }),
            NotAllowed::Unknown => refused(Denied::Unfit(Unfit::Unauthenticated)),
        })
    }
}

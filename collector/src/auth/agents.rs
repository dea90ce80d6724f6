//! Agents in Kubernetes: which node a token speaks for, and for how long that is believed.
//!
//! ```text
//! token ─SHA-256─> known and fresh? ──> is the node still the node? ──> identity
//!                      │ no, or overdue             │ no
//!                      └──> TokenReview <───────────┘
//!                              │ silent: an overdue identity lasts for a bounded time
//!                              └ answers: account, audience, pod, node name and UID ──> kept
//! ```
//!
//! One review at a time for each token, and only so many for all. A pod or node that the watches
//! saw go is refused at once, whatever was kept and whatever the review says: an API server goes on
//! accepting a deleted pod's token for some seconds. A watch may be behind, too, so the object itself
//! is asked for before that. "The API server is silent" is never "no".

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;

use palisade_report::Digest;
use palisade_report::NodeName;
use palisade_report::NodeUid;
use tokio::sync::Semaphore;

use super::NodeIdentity;
use super::cache::Cache;
use super::cache::Found;
use super::gate::Gate;
use super::gate::Turn;
use super::token::Claims;
use crate::chain::Chain;
use crate::clock::Clock;
use crate::http::limits::Buckets;
use crate::http::limits::gain;
use crate::kube::directory::AgentPod;
use crate::kube::directory::NodeDirectory;
use crate::kube::directory::PodUid;
use crate::kube::directory::Sighting;
use crate::kube::review::Account;
use crate::kube::review::AskError;
use crate::kube::review::Bound;
use crate::kube::review::For;
use crate::kube::review::Reviewer;
use crate::kube::review::Token;
use crate::kube::review::Unfit;
use crate::kube::review::agent_of;

/// How long a known agent is believed while the API server is silent, counted from its last answer
/// to anybody: long enough for an upgrade of a control plane, short enough for a stolen token.
pub const OUTAGE: Duration = Duration::from_secs(600);

/// Reviews per second of tokens that were accepted before, whatever the size of the fleet, as long
/// as the watches still see their pods and nodes.
const RENEWALS_PER_SECOND: u32 = 5;

/// Reviews at once. An API server answers some hundred a second on two cores.
const REVIEWS_AT_ONCE: usize = 16;

/// A token's life is at least this long once it was accepted just now: if our clock says otherwise,
/// our clock is wrong.
const LEAST_LIFE_MS: u64 = 10_000;

/// Why an agent is not admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotAdmitted {
    /// The API server is silent, and what is known is not enough.
    Silent,
    /// The token is no living agent's.
    Unfit(Unfit),
}

/// Whether the watches still see an identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// They saw it go.
    Gone,
    /// They see pod and node.
    Seen,
    /// They cannot tell.
    Unwatched,
}

/// The agents of a cluster.
#[derive(Debug)]
pub(super) struct Agents {
    reviewer: Arc<dyn Reviewer>,
    directory: Arc<dyn NodeDirectory>,
    clock: Arc<dyn Clock>,
    account: Account,
    cache: Mutex<Cache>,
    gate: Gate,
    renewals: Buckets<()>,
    flights: Mutex<BTreeMap<Digest, Arc<tokio::sync::Mutex<()>>>>,
    turns: Semaphore,
}

impl Agents {
    pub(super) fn new(
        reviewer: Arc<dyn Reviewer>,
        directory: Arc<dyn NodeDirectory>,
        clock: Arc<dyn Clock>,
        account: Account,
    ) -> Self {
        Self {
            reviewer,
            directory,
            clock,
            account,
            cache: Mutex::default(),
            gate: Gate::default(),
            renewals: Buckets::new(RENEWALS_PER_SECOND, gain(RENEWALS_PER_SECOND), 1),
            flights: Mutex::default(),
            turns: Semaphore::new(REVIEWS_AT_ONCE),
        }
    }

    /// What can be said without asking anybody; `None`: somebody has to be asked.
    pub(super) fn at_once(&self, key: &Digest) -> Option<Result<Arc<NodeIdentity>, Unfit>> {
        let now_ms = self.clock.elapsed_ms();
        let found = self.cache().find(key, now_ms);
        match found {
            Found::Fresh(identity) => match self.standing(&identity) {
                Standing::Seen | Standing::Unwatched => Some(Ok(identity)),
                Standing::Gone => {
                    self.cache().forget(key);
                    None
                }
            },
            Found::Overdue(identity) => match self.standing(&identity) {
                // Its review waits for its turn among all: the watches vouch for it meanwhile, as
                // far as there is an API server behind them.
                Standing::Seen
                    if !self.gate.is_silent()
                        && self.renewals.take(&(), Instant::now()).is_err() =>
                {
                    Some(Ok(identity))
                }
                Standing::Seen | Standing::Unwatched => None,
                Standing::Gone => {
                    self.cache().forget(key);
                    None
                }
            },
            Found::Refused(unfit) => Some(Err(unfit)),
            Found::Nothing => None,
        }
    }

    /// Whose a token is, if it was accepted before and is not at its end.
    pub(super) fn knows(&self, key: &Digest) -> Option<Arc<NodeIdentity>> {
        match self.cache().find(key, self.clock.elapsed_ms()) {
            Found::Fresh(identity) | Found::Overdue(identity) => Some(identity),
            Found::Nothing | Found::Refused(_) => None,
        }
    }

    /// Whether the watch has this pod of ours.
    pub(super) fn sees(&self, pod: &PodUid) -> bool {
        matches!(self.directory.agent_pod(pod), Sighting::Known(_))
    }

    /// Asks the API server, or waits for somebody who asks about the same token.
    pub(super) async fn review(
        &self,
        key: Digest,
        token: &Token,
        claims: &Claims,
    ) -> Result<Arc<NodeIdentity>, NotAdmitted> {
        let asked_ms = self.clock.elapsed_ms();
        let flight = Flight::join(&self.flights, key);
        let turn = flight.turn.lock().await;
        let known = match self.cache().find(&key, asked_ms) {
            Found::Fresh(identity) => return Ok(identity),
            Found::Refused(unfit) => return Err(NotAdmitted::Unfit(unfit)),
            Found::Overdue(identity) => Some(identity),
            Found::Nothing => None,
        };
        let asked = self.ask(token).await;
        let now_ms = self.clock.elapsed_ms();
        let outcome = match asked {
            Some(Ok(identity)) => {
                let identity = Arc::new(identity);
                let ends_ms = claims.ends_at.map(|at| self.ends_ms(at, now_ms));
                self.cache().accept(key, Arc::clone(&identity), ends_ms, now_ms);
                Ok(identity)
            }
            Some(Err(unfit)) => {
                self.cache().refuse(key, unfit, now_ms);
                Err(NotAdmitted::Unfit(unfit))
            }
            None => known.filter(|known| self.bears(known, now_ms)).ok_or(NotAdmitted::Silent),
        };
        drop(turn);
        outcome
    }

    /// A pod is gone: its tokens are nobody's from now on.
    pub(super) fn forget_pod(&self, pod: &PodUid) {
        self.cache().forget_pod(pod);
    }

    /// A node is gone: its tokens are nobody's from now on.
    pub(super) fn forget_node(&self, node: &NodeUid) {
        self.cache().forget_node(node);
    }

    /// Tokens that were accepted.
    pub(super) fn count(&self) -> usize {
        self.cache().len()
    }

    /// Whether a known identity is still believed while the API server is silent.
    fn bears(&self, known: &NodeIdentity, now_ms: u64) -> bool {
        let outage_ms = u64::try_from(OUTAGE.as_millis()).unwrap_or(u64::MAX);
        let answered = self.gate.answered_ms();
        answered.is_some_and(|at| now_ms < at.saturating_add(outage_ms))
            && self.standing(known) != Standing::Gone
    }

    /// `None`: nobody answers.
    async fn ask(&self, token: &Token) -> Option<Result<NodeIdentity, Unfit>> {
        if !self.gate.may_ask(self.clock.elapsed_ms()) {
            return None;
        }
        let turn = self.turns.acquire().await.ok()?;
        let answered = self.ask_now(token).await;
        drop(turn);
        let now_ms = self.clock.elapsed_ms();
        match answered {
            Ok(identity) => {
                if self.gate.answered(now_ms) == Turn::CameBack {
                    tracing::info!("the API server reviews tokens again");
                }
                Some(identity)
            }
            Err(error) => {
                if self.gate.failed(now_ms) == Turn::WentSilent {
                    let (cause, outage) = (Chain(&error), OUTAGE);
                    tracing::warn!(%cause, ?outage, "tokens cannot be reviewed; known agents are believed for a while, nobody new is admitted");
                }
                None
            }
        }
    }

    async fn ask_now(&self, token: &Token) -> Result<Result<NodeIdentity, Unfit>, AskError> {
        let answer = self.reviewer.review(token, For::Us).await?;
        let bound = match agent_of(&answer, &self.account) {
            Ok(bound) => bound,
            Err(unfit) => return Ok(Err(unfit)),
        };
        let runs_on = match self.runs_on(&bound).await? {
            Ok(runs_on) => runs_on,
            Err(unfit) => return Ok(Err(unfit)),
        };
        let (name, claimed) = match (&bound.node, runs_on) {
            (Some((name, uid)), _) => (name.clone(), uid.clone()),
            (None, Some(name)) => (name, None),
            (None, None) => return Ok(Err(Unfit::PodElsewhere)),
        };
        let uid = match self.uid_of(&name, claimed.as_ref()).await? {
            Ok(uid) => uid,
            Err(unfit) => return Ok(Err(unfit)),
        };
        let Bound { pod_name: _, pod, node: _, credential } = bound;
        Ok(Ok(NodeIdentity { name, uid, pod, credential }))
    }

    /// The node of a pod as far as it is known, which API servers before 1.30 do not say with the
    /// token. A pod that the watch does not have is gone unless the API server has it.
    async fn runs_on(&self, bound: &Bound) -> Result<Result<Option<NodeName>, Unfit>, AskError> {
        match self.directory.agent_pod(&bound.pod) {
            Sighting::Known(AgentPod { node: Some(node) }) => return Ok(Ok(Some(node))),
            Sighting::Known(AgentPod { node: None }) | Sighting::NotYetKnown
                if bound.node.is_some() =>
            {
                return Ok(Ok(None));
            }
            // A token of a new pod may be faster than the watch.
            Sighting::Absent | Sighting::Known(_) | Sighting::NotYetKnown => {}
        }
        let pod = self.reviewer.pod(&bound.pod_name).await?;
        let pod = pod.filter(|pod| pod.uid == bound.pod);
        Ok(pod.map(|pod| pod.node).ok_or(Unfit::PodGone))
    }

    /// The UID of the node of this name, which must be `claimed` if the token has one.
    async fn uid_of(
        &self,
        name: &NodeName,
        claimed: Option<&NodeUid>,
    ) -> Result<Result<NodeUid, Unfit>, AskError> {
        let fits = |uid: &NodeUid| claimed.is_none_or(|claimed| claimed == uid);
        match self.directory.uid_of(name) {
            Sighting::Known(uid) if fits(&uid) => return Ok(Ok(uid)),
            // A token of a new node may be faster than the watch.
            Sighting::Known(_) | Sighting::Absent | Sighting::NotYetKnown => {}
        }
        Ok(match self.reviewer.node(name).await? {
            None => Err(Unfit::NodeGone),
            Some(uid) if fits(&uid) => Ok(uid),
            Some(_) => Err(Unfit::NodeReplaced),
        })
    }

    fn standing(&self, identity: &NodeIdentity) -> Standing {
        let node = match self.directory.uid_of(&identity.name) {
            Sighting::Known(uid) if uid == identity.uid => Standing::Seen,
            Sighting::Known(_) | Sighting::Absent => return Standing::Gone,
            Sighting::NotYetKnown => Standing::Unwatched,
        };
        match self.directory.agent_pod(&identity.pod) {
            // A watch of metadata alone does not say the node; the token does.
            Sighting::Known(pod) if pod.node.as_ref().is_none_or(|it| *it == identity.name) => node,
            Sighting::Known(_) | Sighting::Absent => Standing::Gone,
            Sighting::NotYetKnown => Standing::Unwatched,
        }
    }

    /// The end of a token on the monotonic hand.
    fn ends_ms(&self, ends_at: i64, now_ms: u64) -> u64 {
        let left = ends_at.saturating_mul(1000).saturating_sub(self.clock.unix_ms());
        now_ms.saturating_add(u64::try_from(left).unwrap_or(0).max(LEAST_LIFE_MS))
    }

    fn cache(&self) -> MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place among those who want to know about one token.
struct Flight<'a> {
    flights: &'a Mutex<BTreeMap<Digest, Arc<tokio::sync::Mutex<()>>>>,
    key: Digest,
    turn: Arc<tokio::sync::Mutex<()>>,
}

impl<'a> Flight<'a> {
    fn join(
        flights: &'a Mutex<BTreeMap<Digest, Arc<tokio::sync::Mutex<()>>>>,
        key: Digest,
    ) -> Self {
        let mut all = flights.lock().unwrap_or_else(PoisonError::into_inner);
        let turn = Arc::clone(all.entry(key).or_default());
        Self { flights, key, turn }
    }
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        let mut all = self.flights.lock().unwrap_or_else(PoisonError::into_inner);
        // The map's and this one: nobody else waits.
        if Arc::strong_count(&self.turn) <= 2 {
            all.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests;

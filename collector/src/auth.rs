//! Who is asking, and may they: bearer tokens, known from files or by the cluster's API server.
//!
//! ```text
//!                    ┌ standalone: files of tokens, one set for each role; or nobody asks, on loopback
//! Asked ──Auth────── ┤
//!                    └ cluster: agents ──TokenReview──> a node, which must be the path's
//!                               people ──TokenReview, SubjectAccessReview──> a person
//! ```
//!
//! Neither tokens nor digests of them reach a log, an error or the audit. What was found out a
//! moment ago is answered without waiting; nothing is believed because nobody could be asked.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::PoisonError;
use std::sync::RwLock;
use std::time::Duration;
use std::time::Instant;

use palisade_report::Digest;
use palisade_report::NodeName;
use palisade_report::NodeUid;

use crate::http::limits::Buckets;
use crate::http::limits::Limits;
use crate::http::limits::MAX_ADDRESSES;
use crate::http::limits::MAX_NODES;
use crate::http::limits::gain;
use crate::http::limits::source;
use crate::http::query::Plus;
use crate::http::query::decode;
use crate::http::route::Audience;
use crate::http::route::Matched;
use crate::kube::directory::PodUid;

mod agents;
mod cache;
mod cluster;
mod denied;
mod files;
mod gate;
mod people;
pub mod token;

pub use agents::OUTAGE;
pub use cluster::Cluster;
pub use denied::Denied;
pub use denied::Reason;
pub use denied::Refusal;
pub use files::Role;
pub use files::TokenError;
pub use files::Tokens;

/// Wrong tokens that one address may send at once: a person's typing, an agent's old file.
const WRONG_BURST: u32 = 5;

/// Tokens of one living pod that are reviewed at once though its address sent too many wrong ones:
/// a new token, and what is tried again while the API server is silent.
const LIVING_BURST: u32 = 3;

/// Time in which it gains one more. Tokens change about every 48 minutes.
const LIVING_GAIN: Duration = Duration::from_secs(30);

/// A node as its token proves it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeIdentity {
    /// Its name.
    pub name: NodeName,
    /// What it is: `metadata.uid` of its Node object.
    pub uid: NodeUid,
    /// The agent's pod.
    pub pod: PodUid,
    /// The id of the token, `JTI=…`; not secret.
    pub credential: Option<String>,
}

/// A person or a tool, as the API server knows them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Person {
    /// The user's name.
    pub user: String,
    /// The user's UID; empty if there is none.
    pub uid: String,
    /// The user's groups.
    pub groups: Vec<String>,
    /// What else the authenticator says.
    pub extra: BTreeMap<String, Vec<String>>,
}

/// Who makes a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Caller {
    /// An agent; `None` standalone, where a token file does not say of which node.
    Agent(Option<Arc<NodeIdentity>>),
    /// Anybody: the call holds nothing worth hiding.
    Anybody,
    /// A person or a tool; standalone the name of the role, or `local`.
    Person(Arc<Person>),
}

impl Caller {
    /// The node that a call is from, as far as a token proves it.
    #[must_use]
    pub fn node(&self) -> Option<&NodeIdentity> {
        match self {
            Self::Agent(node) => node.as_deref(),
            Self::Anybody | Self::Person(_) => None,
        }
    }
}

/// Fields of a request that say who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Authorization<'a> {
    /// None.
    None,
    /// One, with this value.
    One(&'a [u8]),
    /// Several: whoever reads the first and whoever reads the last would see different people.
    Several,
}

/// From where the collector can be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// From this machine only.
    Loopback,
    /// From elsewhere too.
    Network,
}

/// Decides who may do what.
#[derive(Debug)]
pub struct Auth {
    authority: Authority,
    reach: Reach,
    wrong: Buckets<IpAddr>,
    living: Buckets<(IpAddr, PodUid)>,
}

/// By what it is known who somebody is.
#[derive(Debug)]
enum Authority {
    /// The API server.
    Cluster(Box<Cluster>),
    /// Token files.
    Files(RwLock<Arc<Tokens>>, Roles),
    /// Nothing: loopback only.
    Nobody(Arc<Person>),
}

/// Persons that stand for roles.
#[derive(Debug)]
struct Roles {
    operator: Arc<Person>,
    viewer: Arc<Person>,
}

fn named(user: &str) -> Arc<Person> {
    Arc::new(Person { user: user.to_owned(), ..Person::default() })
}

impl Auth {
    /// Decides by `tokens`, or lets everybody on this machine do everything.
    #[must_use]
    pub fn new(tokens: Option<Tokens>, reach: Reach, limits: &Limits) -> Self {
        let authority = match tokens {
            Some(tokens) => {
                let roles = Roles { operator: named("operator"), viewer: named("viewer") };
                Authority::Files(RwLock::new(Arc::new(tokens)), roles)
            }
            None => Authority::Nobody(named("local")),
        };
        Self::by(authority, reach, limits)
    }

    /// Decides by what a cluster's API server says.
    #[must_use]
    pub fn cluster(cluster: Cluster, reach: Reach, limits: &Limits) -> Self {
        Self::by(Authority::Cluster(Box::new(cluster)), reach, limits)
    }

    fn by(authority: Authority, reach: Reach, limits: &Limits) -> Self {
        let wrong = Buckets::new(WRONG_BURST, gain(limits.wrong_tokens_per_second), MAX_ADDRESSES);
        let living = Buckets::new(LIVING_BURST, LIVING_GAIN, MAX_NODES);
        Self { authority, reach, wrong, living }
    }

    /// Whether nobody has to say who they are.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        match self.authority {
            Authority::Nobody(_) => true,
            Authority::Cluster(_) | Authority::Files(..) => false,
        }
    }

    /// The cluster, if there is one.
    #[must_use]
    pub fn as_cluster(&self) -> Option<&Cluster> {
        match &self.authority {
            Authority::Cluster(cluster) => Some(cluster),
            Authority::Files(..) | Authority::Nobody(_) => None,
        }
    }

    /// Takes newer tokens; says whether they differ.
    pub fn replace(&self, newer: Tokens) -> bool {
        let tokens = match &self.authority {
            Authority::Files(tokens, _) => tokens,
            Authority::Cluster(_) | Authority::Nobody(_) => return false,
        };
        let mut tokens = tokens.write().unwrap_or_else(PoisonError::into_inner);
        let differ = **tokens != newer;
        *tokens = Arc::new(newer);
        differ
    }

    /// Lets in whoever belongs to the audience of a route, and a node to its own path only.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn admit(
        &self,
        matched: &Matched,
        authorization: Authorization<'_>,
        address: IpAddr,
        now: Instant,
    ) -> Result<Caller, Refusal> {
        let audience = matched.route.audience;
        if audience == Audience::Anybody {
            return Ok(Caller::Anybody);
        }
        match &self.authority {
            Authority::Nobody(local) => Ok(match audience {
                Audience::Agents => Caller::Agent(None),
                Audience::Anybody
                | Audience::Operators
                | Audience::Viewers
                | Audience::ViewersUnlessLoopback => Caller::Person(Arc::clone(local)),
            }),
            Authority::Files(tokens, roles) => {
                if audience == Audience::ViewersUnlessLoopback && self.reach == Reach::Loopback {
                    return Ok(Caller::Anybody);
                }
                let token = bearer(authorization)?;
                let tokens = Arc::clone(&tokens.read().unwrap_or_else(PoisonError::into_inner));
                let role = tokens.role_of(token).ok_or_else(|| self.wrong(address, now))?;
                by_role(audience, role, roles)
            }
            Authority::Cluster(cluster) => {
                let token = bearer(authorization)?;
                if audience == Audience::Agents {
                    let identity = self.agent(cluster, token, address, now).await?;
                    return own_path(identity, &matched.parameter);
                }
                self.person(cluster, matched, token, address, now).await
            }
        }
    }

    async fn agent(
        &self,
        cluster: &Cluster,
        token: &[u8],
        address: IpAddr,
        now: Instant,
    ) -> Result<Arc<NodeIdentity>, Refusal> {
        let key = Digest::of(token);
        if let Some(known) = cluster.agent_at_once(&key, token) {
            return known.map_err(|refusal| self.slowed(refusal, address, now));
        }
        if !cluster.knows_agent(&key) {
            self.may_guess(cluster, token, address, now)?;
        }
        // The way through the API server is rare, and large: it has a place of its own.
        Box::pin(cluster.review_agent(key, token))
            .await
            .map_err(|refusal| self.slowed(refusal, address, now))
    }

    /// A guess costs the API server a question; whoever guesses too fast asks none. But strangers
    /// may share an agent's address, and must not silence it when its token is a new one: what
    /// claims to be of a pod that the watch has is worth a few questions. Who knows the pod's UID
    /// and shares its address can use them up.
    fn may_guess(
        &self,
        cluster: &Cluster,
        token: &[u8],
        address: IpAddr,
        now: Instant,
    ) -> Result<(), Refusal> {
        let source = source(address);
        let Err(retry_after) = self.wrong.look(&source, now) else { return Ok(()) };
        let is_living = cluster
            .living_pod(token)
            .is_some_and(|pod| self.living.take(&(source, pod), now).is_ok());
        if is_living { Ok(()) } else { Err(Refusal::of(Denied::TooMany { retry_after })) }
    }

    async fn person(
        &self,
        cluster: &Cluster,
        matched: &Matched,
        token: &[u8],
        address: IpAddr,
        now: Instant,
    ) -> Result<Caller, Refusal> {
        let key = Digest::of(token);
        if cluster.is_stranger(&key) {
            self.wrong
                .look(&source(address), now)
                .map_err(|retry_after| Refusal::of(Denied::TooMany { retry_after }))?;
        }
        let name = decode(&matched.parameter, Plus::IsItself).ok();
        let name = name.and_then(|name| name.parse::<NodeName>().ok());
        Box::pin(cluster.admit_person(key, token, matched.route.name, name.as_ref()))
            .await
            .map(Caller::Person)
            .map_err(|refusal| self.slowed(refusal, address, now))
    }

    /// Counts a token of nobody against its source.
    fn wrong(&self, address: IpAddr, now: Instant) -> Refusal {
        self.slowed(Refusal::of(Denied::Wrong), address, now)
    }

    /// The same refusal, or that they come too fast.
    fn slowed(&self, refusal: Refusal, address: IpAddr, now: Instant) -> Refusal {
        if !refusal.denied.is_a_guess() {
            return refusal;
        }
        match self.wrong.take(&source(address), now) {
            Ok(()) => refusal,
            Err(retry_after) => Refusal { denied: Denied::TooMany { retry_after }, ..refusal },
        }
    }
}

fn by_role(audience: Audience, role: Role, roles: &Roles) -> Result<Caller, Refusal> {
    let (caller, denied) = match (audience, role) {
        (Audience::Agents, Role::Agent) => return Ok(Caller::Agent(None)),
        (Audience::Anybody, Role::Agent | Role::Operator | Role::Viewer) => {
            return Ok(Caller::Anybody);
        }
        (
            Audience::Operators | Audience::Viewers | Audience::ViewersUnlessLoopback,
            Role::Operator,
        ) => return Ok(Caller::Person(Arc::clone(&roles.operator))),
        (Audience::Viewers | Audience::ViewersUnlessLoopback, Role::Viewer) => {
            return Ok(Caller::Person(Arc::clone(&roles.viewer)));
        }
        (Audience::Agents, Role::Operator) => {
            (Caller::Person(Arc::clone(&roles.operator)), "only an agent's token may report")
        }
        (Audience::Agents, Role::Viewer) => {
            (Caller::Person(Arc::clone(&roles.viewer)), "only an agent's token may report")
        }
        (Audience::Operators, Role::Agent) => (Caller::Agent(None), "it takes an operator's token"),
        (Audience::Operators, Role::Viewer) => {
            (Caller::Person(Arc::clone(&roles.viewer)), "it takes an operator's token")
        }
        (Audience::Viewers | Audience::ViewersUnlessLoopback, Role::Agent) => {
            (Caller::Agent(None), "an agent's token may not ask; use a viewer's or an operator's")
        }
    };
    Err(Refusal { denied: Denied::Role(denied), caller, claimed: None })
}

/// A node may speak at its own path only, by whatever spelling of its name.
fn own_path(identity: Arc<NodeIdentity>, parameter: &str) -> Result<Caller, Refusal> {
    let named = decode(parameter, Plus::IsItself).ok();
    if named.as_deref() == Some(identity.name.as_str()) {
        return Ok(Caller::Agent(Some(identity)));
    }
    let denied = Denied::OtherNode { own: identity.name.clone() };
    Err(Refusal { denied, caller: Caller::Agent(Some(identity)), claimed: None })
}

fn bearer(authorization: Authorization<'_>) -> Result<&[u8], Refusal> {
    let field = match authorization {
        Authorization::None => return Err(Refusal::of(Denied::Missing)),
        Authorization::One(field) => field,
        Authorization::Several => return Err(Refusal::of(Denied::Several)),
    };
    let missing = || Refusal::of(Denied::Missing);
    let (scheme, token) = field.split_at_checked(7).ok_or_else(missing)?;
    let token = token.trim_ascii();
    if !scheme.eq_ignore_ascii_case(b"bearer ") || token.is_empty() {
        return Err(missing());
    }
    Ok(token)
}

#[cfg(test)]
mod tests;

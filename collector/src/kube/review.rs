//! Questions to the API server about who somebody is: TokenReview, and the objects behind a token.
//!
//! ```text
//! token ── Reviewer::review ──> Answer ── agent_of ──> Bound, or why it is no agent's
//!                                      └─ person_of ─> Person
//! ```
//!
//! Only questions and pure reading of answers: what is cached, refused or survived during an
//! outage is decided in `auth`. A token is sent to the API server and nowhere else; nothing here
//! prints one.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use k8s_openapi::api::authentication::v1::TokenReview;
use k8s_openapi::api::authentication::v1::TokenReviewSpec;
use k8s_openapi::api::authentication::v1::TokenReviewStatus;
use k8s_openapi::api::authentication::v1::UserInfo;
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::Client;
use kube::api::PostParams;
use palisade_report::NodeName;
use palisade_report::NodeUid;
use palisade_report::bound::clean_text;

use super::access;
use super::access::Access;
use super::access::Wish;
use super::client::CallError;
use super::client::call;
use super::directory::PodUid;
use crate::auth::Person;

/// For one question. A healthy API server answers within milliseconds, an agent waits 10 s.
pub(super) const ANSWER_WITHIN: Duration = Duration::from_secs(4);

/// Groups and keys of extra of one user; more than any authenticator gives.
const MAX_GROUPS: usize = 256;

/// Bytes of a user's name that are taken; longer ones are refused.
const MAX_USER: usize = 512;

/// A bearer token: a secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(Box<str>);

impl Token {
    /// Takes `text` as a token; what is not visible ASCII is none.
    #[must_use]
    pub fn new(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?;
        text.bytes().all(|byte| byte.is_ascii_graphic()).then(|| Self(text.into()))
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(secret)")
    }
}

/// For whom a token must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum For {
    /// For the API server itself, as those of people and tools are.
    ApiServer,
    /// For this collector, as those of agents are.
    Us,
}

/// What the API server says about a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is somebody's.
    Authenticated(Box<Reviewed>),
    /// It is nobody's: expired, for others, of something deleted, or made up.
    Unauthenticated,
}

/// Whose a token is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reviewed {
    /// Those of the asked audiences that it is for. Empty: for the API server.
    pub audiences: Vec<String>,
    /// `system:serviceaccount:NAMESPACE:NAME`, or a person's name.
    pub user: String,
    /// The user's UID; empty if there is none.
    pub uid: String,
    /// The user's groups.
    pub groups: Vec<String>,
    /// What else the authenticator says.
    pub extra: BTreeMap<String, Vec<String>>,
}

/// Why the API server did not answer a question. At fault: the API server, the network, or our
/// own permissions; never the asker.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// It answered something else than asked, or nothing.
    #[error("failed to ask the API server")]
    Call(#[source] CallError),
    /// An answer without its main part.
    #[error("failed to read the answer of the API server: it has no {part}")]
    Incomplete {
        /// The part.
        part: &'static str,
    },
}

/// A pod as the API server has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LivePod {
    /// Its UID.
    pub uid: PodUid,
    /// The node that it is bound to.
    pub node: Option<NodeName>,
}

/// An answer on its way.
pub type Asking<'a, T> = Pin<Box<dyn Future<Output = Result<T, AskError>> + Send + 'a>>;

/// Who knows whose a token is: the API server, or a stand-in that injects its faults.
pub trait Reviewer: std::fmt::Debug + Send + Sync + 'static {
    /// Whose a token is.
    fn review<'a>(&'a self, token: &'a Token, whom: For) -> Asking<'a, Answer>;

    /// The UID of a Node object, `None` if there is none of this name.
    fn node<'a>(&'a self, name: &'a NodeName) -> Asking<'a, Option<NodeUid>>;

    /// A pod of our namespace, `None` if there is none of this name.
    fn pod<'a>(&'a self, name: &'a str) -> Asking<'a, Option<LivePod>>;

    /// Whether a person may do something.
    fn access<'a>(&'a self, person: &'a Person, wish: &'a Wish) -> Asking<'a, Access>;
}

/// The API server.
#[derive(Clone)]
pub struct ApiReviewer {
    client: Client,
    namespace: String,
    audience: String,
}

impl std::fmt::Debug for ApiReviewer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ApiReviewer")
    }
}

impl ApiReviewer {
    /// Asks with `client`, which must not retry by itself; pods are those of `namespace`, and
    /// tokens for us those for `audience`.
    #[must_use]
    pub const fn new(client: Client, namespace: String, audience: String) -> Self {
        Self { client, namespace, audience }
    }
}

impl Reviewer for ApiReviewer {
    fn review<'a>(&'a self, token: &'a Token, whom: For) -> Asking<'a, Answer> {
        let audiences = match whom {
            For::ApiServer => None,
            For::Us => Some(vec![self.audience.clone()]),
        };
        let review = TokenReview {
            spec: TokenReviewSpec { audiences, token: Some(token.0.to_string()) },
            ..TokenReview::default()
        };
        Box::pin(async move {
            let reviews: Api<TokenReview> = Api::all(self.client.clone());
            match call(ANSWER_WITHIN, reviews.create(&PostParams::default(), &review)).await {
                Ok(review) => {
                    Ok(answer_of(review.status.ok_or(AskError::Incomplete { part: "status" })?))
                }
                Err(error) if blames_the_token(&error) => Ok(Answer::Unauthenticated),
                Err(error) => Err(AskError::Call(error)),
            }
        })
    }

    fn node<'a>(&'a self, name: &'a NodeName) -> Asking<'a, Option<NodeUid>> {
        Box::pin(async move {
            let nodes: Api<Node> = Api::all(self.client.clone());
            let found = call(ANSWER_WITHIN, nodes.get_metadata_opt(name.as_str())).await;
            let Some(node) = found.map_err(AskError::Call)? else { return Ok(None) };
            let uid = node.metadata.uid.and_then(|uid| uid.parse().ok());
            uid.map(Some).ok_or(AskError::Incomplete { part: "UID of a node" })
        })
    }

    fn pod<'a>(&'a self, name: &'a str) -> Asking<'a, Option<LivePod>> {
        Box::pin(async move {
            let pods: Api<Pod> = Api::namespaced(self.client.clone(), &self.namespace);
            let found = call(ANSWER_WITHIN, pods.get_opt(name)).await;
            let Some(pod) = found.map_err(AskError::Call)? else { return Ok(None) };
            let uid = pod.metadata.uid.and_then(|uid| uid.parse().ok());
            let uid = uid.ok_or(AskError::Incomplete { part: "UID of a pod" })?;
            let node = pod.spec.and_then(|spec| spec.node_name).and_then(|it| it.parse().ok());
            Ok(Some(LivePod { uid, node }))
        })
    }

    fn access<'a>(&'a self, person: &'a Person, wish: &'a Wish) -> Asking<'a, Access> {
        Box::pin(access::ask(&self.client, person, wish))
    }
}

/// Whether the API server refused the question for what is in it. Such an answer must never count
/// as an outage: anybody could cause one.
fn blames_the_token(error: &CallError) -> bool {
    [400, 413, 422].into_iter().any(|status| error.is(status))
}

fn answer_of(status: TokenReviewStatus) -> Answer {
    let TokenReviewStatus { audiences, authenticated, error: _, user } = status;
    let (Some(true), Some(user)) = (authenticated, user) else { return Answer::Unauthenticated };
    let UserInfo { extra, groups, uid, username } = user;
    let groups = groups.unwrap_or_default();
    let extra = extra.unwrap_or_default();
    let user = username.unwrap_or_default();
    // Beyond these bounds it is no user that could be reviewed, shown or noted.
    if user.is_empty()
        || user.len() > MAX_USER
        || groups.len() > MAX_GROUPS
        || extra.len() > MAX_GROUPS
    {
        return Answer::Unauthenticated;
    }
    let audiences = audiences.unwrap_or_default();
    let uid = uid.unwrap_or_default();
    Answer::Authenticated(Box::new(Reviewed { audiences, user, uid, groups, extra }))
}

/// What an agent's token is bound to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bound {
    /// The pod's name.
    pub pod_name: String,
    /// The pod.
    pub pod: PodUid,
    /// The node, if the API server says it (from 1.30 on by default); its UID if it says that too.
    pub node: Option<(NodeName, Option<NodeUid>)>,
    /// The token's own id, `JTI=…`: not secret, and the same in the API server's audit log.
    pub credential: Option<String>,
}

/// Why a token is not that of a living agent of the node that it speaks for. At fault: the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Unfit {
    /// The authenticator does not know audiences, so the token may be for anybody.
    #[error("the token is not known to be for this collector")]
    Audience,
    /// No pod, or not exactly one, stands behind it.
    #[error("the token is not bound to a pod")]
    NotBound,
    /// There is no Node object of that name.
    #[error("the node of this token is gone")]
    NodeGone,
    /// The Node object of that name is another one.
    #[error("the node of this token was replaced by another of the same name")]
    NodeReplaced,
    /// Another account.
    #[error("the token is not that of an agent")]
    OtherAccount,
    /// There is no such pod.
    #[error("the pod of this token is gone")]
    PodGone,
    /// The pod is bound to no node, or to another one than the token.
    #[error("the pod of this token does not run on the token's node")]
    PodElsewhere,
    /// The API server does not know it.
    #[error("the API server does not accept this token")]
    Unauthenticated,
}

const POD_NAME: &str = "authentication.kubernetes.io/pod-name";
const POD_UID: &str = "authentication.kubernetes.io/pod-uid";
const NODE_NAME: &str = "authentication.kubernetes.io/node-name";
const NODE_UID: &str = "authentication.kubernetes.io/node-uid";
const CREDENTIAL: &str = "authentication.kubernetes.io/credential-id";

/// Who agents are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Their user name: `system:serviceaccount:NAMESPACE:NAME`.
    pub user: String,
    /// The audience of their tokens.
    pub audience: String,
}

impl Account {
    /// The account of this name in this namespace, with tokens for this audience.
    #[must_use]
    pub fn new(namespace: &str, name: &str, audience: &str) -> Self {
        let user = format!("system:serviceaccount:{namespace}:{name}");
        Self { user, audience: audience.to_owned() }
    }
}

/// Reads an agent out of an answer.
///
/// # Errors
/// [`Unfit`]: it is no agent's token.
pub fn agent_of(answer: &Answer, agents: &Account) -> Result<Bound, Unfit> {
    let Answer::Authenticated(reviewed) = answer else { return Err(Unfit::Unauthenticated) };
    let Reviewed { audiences, user, uid: _, groups: _, extra } = &**reviewed;
    if !audiences.contains(&agents.audience) {
        return Err(Unfit::Audience);
    }
    if *user != agents.user {
        return Err(Unfit::OtherAccount);
    }
    let only = |key: &str| match extra.get(key).map(Vec::as_slice) {
        Some([value]) => Ok(Some(value.as_str())),
        None => Ok(None),
        Some(_) => Err(Unfit::NotBound),
    };
    let pod_name = only(POD_NAME)?.ok_or(Unfit::NotBound)?.to_owned();
    let pod = only(POD_UID)?.and_then(|uid| uid.parse().ok()).ok_or(Unfit::NotBound)?;
    let node = match (only(NODE_NAME)?, only(NODE_UID)?) {
        (Some(name), uid) => {
            let name = name.parse().map_err(|_| Unfit::NotBound)?;
            let uid = uid.map(str::parse).transpose().map_err(|_| Unfit::NotBound)?;
            Some((name, uid))
        }
        (None, _) => None,
    };
    let credential = only(CREDENTIAL)?.map(clean_text);
    Ok(Bound { pod_name, pod, node, credential })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agents() -> Account {
        Account::new("palisade-system", "palisade-agent", "palisade")
    }

    fn reviewed() -> Reviewed {
        let extra = [
            (POD_NAME, "palisade-agent-x"),
            (POD_UID, "11111111-0000-0000-0000-000000000000"),
            (NODE_NAME, "worker-1"),
            (NODE_UID, "22222222-0000-0000-0000-000000000000"),
            (CREDENTIAL, "JTI=33333333-0000-0000-0000-000000000000"),
        ];
        Reviewed {
            audiences: vec!["palisade".to_owned()],
            user: agents().user,
            extra: extra.map(|(key, value)| (key.to_owned(), vec![value.to_owned()])).into(),
            ..Reviewed::default()
        }
    }

    fn read(change: impl FnOnce(&mut Reviewed)) -> Result<Bound, Unfit> {
        let mut reviewed = reviewed();
        change(&mut reviewed);
        agent_of(&Answer::Authenticated(Box::new(reviewed)), &agents())
    }

    #[test]
    fn an_agents_token_names_its_pod_and_node() {
        let bound = read(|_| {}).unwrap();
        let (name, uid) = bound.node.unwrap();
        assert_eq!(name.as_str(), "worker-1");
        assert_eq!(uid.unwrap().as_str(), "22222222-0000-0000-0000-000000000000");
        assert!(bound.credential.unwrap().starts_with("JTI="));
        let without = read(|it| {
            it.extra.remove(NODE_NAME);
            it.extra.remove(NODE_UID);
        });
        assert_eq!(without.unwrap().node, None, "an API server before 1.30");
    }

    #[test]
    fn whoever_is_not_exactly_an_agent_is_none() {
        assert_eq!(agent_of(&Answer::Unauthenticated, &agents()), Err(Unfit::Unauthenticated));
        assert_eq!(read(|it| it.audiences.clear()), Err(Unfit::Audience));
        assert_eq!(read(|it| it.audiences = vec!["other".to_owned()]), Err(Unfit::Audience));
        for user in [
            "system:serviceaccount:default:palisade-agent",
            "system:serviceaccount:palisade-system:default",
            "palisade-agent",
            "",
            "system:serviceaccount:palisade-system:palisade-agent ",
        ] {
            assert_eq!(read(|it| it.user = user.to_owned()), Err(Unfit::OtherAccount), "{user}");
        }
        for key in [POD_NAME, POD_UID] {
            assert_eq!(read(|it| drop(it.extra.remove(key))), Err(Unfit::NotBound), "{key}");
        }
        for key in [POD_NAME, POD_UID, NODE_NAME, NODE_UID] {
            let twice = read(|it| it.extra.get_mut(key).unwrap().push("b".to_owned()));
            assert_eq!(twice, Err(Unfit::NotBound), "{key} twice");
        }
        for (key, value) in [(POD_UID, "../x"), (NODE_NAME, "A"), (NODE_UID, "a b")] {
            let odd = read(|it| drop(it.extra.insert(key.to_owned(), vec![value.to_owned()])));
            assert_eq!(odd, Err(Unfit::NotBound), "{key} {value}");
        }
    }

    #[test]
    fn an_answer_that_does_not_say_yes_says_no() {
        let user = UserInfo { username: Some(agents().user), ..UserInfo::default() };
        for (authenticated, user) in [
            (None, Some(user.clone())),
            (Some(false), Some(user)),
            (Some(true), None),
            (Some(true), Some(UserInfo::default())),
        ] {
            let status = TokenReviewStatus { authenticated, user, ..TokenReviewStatus::default() };
            assert_eq!(answer_of(status), Answer::Unauthenticated);
        }
    }

    #[test]
    fn a_token_is_visible_ascii_and_does_not_show_itself() {
        let token = Token::new(b"very.secret.token").unwrap();
        assert!(!format!("{token:?}").contains("very"));
        for bad in [&b"a b"[..], b"a\n", "\u{e9}".as_bytes(), b"\xff", b"a\0"] {
            assert_eq!(Token::new(bad), None, "{bad:?}");
        }
    }
}

//! Reviews, by a clock that the test moves and an API server that it can silence.

use std::collections::BTreeSet;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use palisade_report::Moment;

use super::*;
use crate::auth::Auth;
use crate::auth::Authorization;
use crate::auth::Cluster;
use crate::auth::Denied;
use crate::auth::LIVING_BURST;
use crate::auth::LIVING_GAIN;
use crate::auth::Person;
use crate::auth::Reach;
use crate::auth::WRONG_BURST;
use crate::auth::token::forged;
use crate::auth::token::inspect;
use crate::clock::ManualClock;
use crate::http::limits::Limits;
use crate::http::route::Audience;
use crate::http::route::Matched;
use crate::http::route::ROUTES;
use crate::kube::access::Access;
use crate::kube::access::Wish;
use crate::kube::client::CallError;
use crate::kube::review::Answer;
use crate::kube::review::Asking;
use crate::kube::review::LivePod;
use crate::kube::review::Reviewed;

const USER: &str = "system:serviceaccount:palisade-system:palisade-agent";

/// When the tests begin.
const START: i64 = 1_900_000_000;

/// The API server: one node with one pod, whose extras can be those of an old server. Does not
/// model: signatures; every token is the agent's unless it is revoked.
#[derive(Debug, Default)]
struct ApiServer {
    asked: AtomicUsize,
    state: Mutex<State>,
}

#[derive(Clone, Debug)]
struct State {
    silent: bool,
    authenticates: bool,
    extras: Extras,
    node_uid: Option<&'static str>,
    pod_uid: Option<&'static str>,
    claimed_uid: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Extras {
    NameOnly,
    Old,
    Whole,
}

impl Default for State {
    fn default() -> Self {
        Self {
            silent: false,
            authenticates: true,
            extras: Extras::Whole,
            node_uid: Some("node-1"),
            pod_uid: Some("pod-1"),
            claimed_uid: "node-1",
        }
    }
}

impl ApiServer {
    fn set(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().unwrap());
    }

    fn state(&self) -> Result<State, AskError> {
        let state = self.state.lock().unwrap().clone();
        let silent = || AskError::Call(CallError::TimedOut(Duration::from_secs(4)));
        if state.silent { Err(silent()) } else { Ok(state) }
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

impl Reviewer for ApiServer {
    fn review<'a>(&'a self, _token: &'a Token, whom: For) -> Asking<'a, Answer> {
        assert_eq!(whom, For::Us);
        self.asked.fetch_add(1, Ordering::SeqCst);
        Box::pin(async move {
            tokio::task::yield_now().await;
            let State { authenticates, extras, claimed_uid, .. } = self.state()?;
            if !authenticates {
                return Ok(Answer::Unauthenticated);
            }
            let mut extra = vec![("pod-name", "agent-1"), ("pod-uid", "pod-1")];
            if extras != Extras::Old {
                extra.push(("node-name", "worker-1"));
            }
            if extras == Extras::Whole {
                extra.push(("node-uid", claimed_uid));
            }
            let key = |name: &str| format!("authentication.kubernetes.io/{name}");
            Ok(Answer::Authenticated(Box::new(Reviewed {
                audiences: vec!["palisade".to_owned()],
                user: USER.to_owned(),
                extra: extra.into_iter().map(|(k, v)| (key(k), vec![v.to_owned()])).collect(),
                ..Reviewed::default()
            })))
        })
    }

    fn node<'a>(&'a self, name: &'a NodeName) -> Asking<'a, Option<NodeUid>> {
        Box::pin(async move {
            assert_eq!(name.as_str(), "worker-1");
            Ok(self.state()?.node_uid.map(|uid| uid.parse().unwrap()))
        })
    }

    fn pod<'a>(&'a self, name: &'a str) -> Asking<'a, Option<LivePod>> {
        Box::pin(async move {
            assert_eq!(name, "agent-1");
            let node = Some("worker-1".parse().unwrap());
            let pod = |uid: &str| LivePod { uid: uid.parse().unwrap(), node };
            Ok(self.state()?.pod_uid.map(pod))
        })
    }

    fn access<'a>(&'a self, _person: &'a Person, _wish: &'a Wish) -> Asking<'a, Access> {
        panic!("an agent is no person")
    }
}

/// What the watches see; everything while `None`.
#[derive(Debug, Default)]
struct Watches(Mutex<Option<BTreeSet<&'static str>>>);

impl Watches {
    fn see(&self, what: &[&'static str]) {
        *self.0.lock().unwrap() = Some(what.iter().copied().collect());
    }

    fn sight<T>(&self, there: impl Fn(&str) -> Option<T>) -> Sighting<T> {
        match &*self.0.lock().unwrap() {
            None => Sighting::NotYetKnown,
            Some(all) => {
                all.iter().find_map(|it| there(it)).map_or(Sighting::Absent, Sighting::Known)
            }
        }
    }
}

impl NodeDirectory for Watches {
    fn uid_of(&self, _node: &NodeName) -> Sighting<NodeUid> {
        self.sight(|it| it.starts_with("node").then(|| it.parse().unwrap()))
    }

    fn agent_pod(&self, pod: &PodUid) -> Sighting<AgentPod> {
        // `pod-1` is seen with its node; `bare pod-1` by its metadata alone.
        self.sight(|it| {
            let (bare, name) = it.strip_prefix("bare ").map_or((false, it), |it| (true, it));
            let node = (!bare).then(|| "worker-1".parse().unwrap());
            (name == pod.as_str()).then_some(AgentPod { node })
        })
    }
}

struct Bench {
    agents: Agents,
    server: Arc<ApiServer>,
    watches: Arc<Watches>,
    clock: Arc<ManualClock>,
}

impl Bench {
    fn new() -> Self {
        let server = Arc::new(ApiServer::default());
        let watches = Arc::new(Watches::default());
        let clock = Arc::new(ManualClock::at(Moment::from_unix(START)));
        let account = Account::new("palisade-system", "palisade-agent", "palisade");
        let agents = Agents::new(
            Arc::clone(&server) as Arc<dyn Reviewer>,
            Arc::clone(&watches) as Arc<dyn NodeDirectory>,
            Arc::clone(&clock) as Arc<dyn Clock>,
            account,
        );
        Self { agents, server, watches, clock }
    }

    /// Admits as the front does.
    async fn admit(&self, token: &str) -> Result<Arc<NodeIdentity>, NotAdmitted> {
        let key = Digest::of(token.as_bytes());
        if let Some(known) = self.agents.at_once(&key) {
            return known.map_err(NotAdmitted::Unfit);
        }
        let claims = inspect(token.as_bytes()).unwrap();
        self.agents.review(key, &Token::new(token.as_bytes()).unwrap(), &claims).await
    }

    async fn refused(&self, token: &str) -> NotAdmitted {
        self.admit(token).await.unwrap_err()
    }
}

/// A token that ends so many seconds after the start.
fn token(ends_in: i64) -> String {
    forged(&format!(r#"{{"exp":{}}}"#, START + ends_in))
}

#[tokio::test]
async fn a_token_is_reviewed_once_a_minute_and_never_after_its_end() {
    let bench = Bench::new();
    let token = token(100);
    for _ in 0..3 {
        assert_eq!(bench.admit(&token).await.unwrap().name.as_str(), "worker-1");
    }
    assert_eq!(bench.server.asked(), 1);
    bench.clock.advance(60);
    bench.admit(&token).await.unwrap();
    assert_eq!(bench.server.asked(), 2);
    bench.clock.advance(40);
    bench.server.set(|state| state.authenticates = false);
    assert_eq!(bench.refused(&token).await, NotAdmitted::Unfit(Unfit::Unauthenticated));
    bench.refused(&token).await;
    assert_eq!(bench.server.asked(), 3, "a refusal is remembered");
    bench.clock.advance(10);
    bench.refused(&token).await;
    assert_eq!(bench.server.asked(), 4, "for ten seconds");
}

#[tokio::test]
async fn many_who_come_at_once_with_one_token_cost_one_review() {
    let bench = Bench::new();
    let token = token(3600);
    let all = (0..50).map(|_| bench.admit(&token));
    for admitted in futures_util::future::join_all(all).await {
        admitted.unwrap();
    }
    assert_eq!(bench.server.asked(), 1);
    assert!(bench.agents.flights.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_deleted_pod_or_node_is_refused_at_once_though_its_token_was_fresh() {
    for (seen, unfit, change) in [
        (&["node-1"][..], Unfit::Unauthenticated, None),
        (&["pod-1"], Unfit::NodeGone, Some(None)),
        (&["node-2", "pod-1"], Unfit::NodeReplaced, Some(Some("node-2"))),
    ] {
        let bench = Bench::new();
        let token = token(3600);
        bench.watches.see(&["node-1", "pod-1"]);
        bench.admit(&token).await.unwrap();
        bench.watches.see(seen);
        match change {
            // The API server itself refuses the token of a deleted pod.
            None => bench.server.set(|state| state.authenticates = false),
            // It does not look at the node again.
            Some(node_uid) => bench.server.set(|state| state.node_uid = node_uid),
        }
        assert_eq!(bench.refused(&token).await, NotAdmitted::Unfit(unfit), "{seen:?}");
    }
    let bench = Bench::new();
    let token = token(3600);
    let identity = bench.admit(&token).await.unwrap();
    bench.server.set(|state| state.authenticates = false);
    bench.admit(&token).await.unwrap();
    bench.agents.forget_pod(&identity.pod);
    bench.refused(&token).await;
    let bench = Bench::new();
    bench.admit(&token).await.unwrap();
    bench.server.set(|state| state.node_uid = None);
    bench.agents.forget_node(&identity.uid);
    assert_eq!(bench.refused(&token).await, NotAdmitted::Unfit(Unfit::NodeGone));
}

#[tokio::test]
async fn a_deleted_pod_is_refused_though_the_api_server_still_accepts_its_token() {
    for pod_uid in [None, Some("pod-2")] {
        for extras in [Extras::Whole, Extras::Old] {
            let bench = Bench::new();
            bench.server.set(|state| state.extras = extras);
            let token = token(3600);
            bench.watches.see(&["node-1", "pod-1"]);
            bench.admit(&token).await.unwrap();
            bench.watches.see(&["node-1"]);
            bench.server.set(|state| state.pod_uid = pod_uid);
            assert_eq!(bench.refused(&token).await, NotAdmitted::Unfit(Unfit::PodGone));
            let late = forged(&format!(r#"{{"exp":{},"late":1}}"#, START + 3600));
            assert_eq!(bench.refused(&late).await, NotAdmitted::Unfit(Unfit::PodGone));
        }
    }
}

#[tokio::test]
async fn a_watch_that_is_behind_refuses_nobody() {
    let bench = Bench::new();
    bench.watches.see(&[]);
    let token = token(3600);
    bench.admit(&token).await.unwrap();
    bench.admit(&token).await.unwrap();
    assert_eq!(bench.server.asked(), 2, "but everybody is asked about again");
    bench.watches.see(&["node-1", "pod-1"]);
    bench.admit(&token).await.unwrap();
    assert_eq!(bench.server.asked(), 2, "until it has caught up");
}

#[tokio::test]
async fn a_watch_of_metadata_alone_costs_no_review_and_vouches_in_an_outage() {
    let bench = Bench::new();
    bench.watches.see(&["node-1", "bare pod-1"]);
    let token = token(36_000);
    for _ in 0..3 {
        bench.admit(&token).await.unwrap();
    }
    assert_eq!(bench.server.asked(), 1);
    bench.server.set(|state| state.silent = true);
    bench.clock.advance(120);
    bench.admit(&token).await.unwrap();
}

#[tokio::test]
async fn an_old_api_server_is_helped_by_the_pod() {
    for (extras, seen) in
        [(Extras::NameOnly, None), (Extras::Old, None), (Extras::Old, Some(&["node-1", "pod-1"]))]
    {
        let bench = Bench::new();
        bench.server.set(|state| state.extras = extras);
        if let Some(seen) = seen {
            bench.watches.see(seen);
            bench.server.set(|state| (state.pod_uid, state.node_uid) = (None, None));
        }
        let identity = bench.admit(&token(3600)).await.unwrap();
        assert_eq!((identity.name.as_str(), identity.uid.as_str()), ("worker-1", "node-1"));
    }
    for pod_uid in [None, Some("pod-2")] {
        let bench = Bench::new();
        bench.server.set(|state| (state.extras, state.pod_uid) = (Extras::Old, pod_uid));
        let refused = bench.refused(&token(3600)).await;
        assert_eq!(refused, NotAdmitted::Unfit(Unfit::PodGone), "{pod_uid:?}");
    }
}

#[tokio::test]
async fn known_agents_outlast_a_silent_api_server_for_a_bounded_time_and_nobody_new_comes_in() {
    let bench = Bench::new();
    let [long, short] = [token(36_000), token(300)];
    bench.admit(&long).await.unwrap();
    bench.admit(&short).await.unwrap();
    bench.server.set(|state| state.silent = true);
    bench.clock.advance(120);
    bench.admit(&long).await.unwrap();
    bench.admit(&short).await.unwrap();
    assert_eq!(bench.refused(&token(7200)).await, NotAdmitted::Silent, "nobody new");
    let asked = bench.server.asked();
    for _ in 0..100 {
        bench.admit(&long).await.unwrap();
    }
    assert_eq!(bench.server.asked(), asked, "a silent server is not asked a hundred times");
    bench.clock.advance(180);
    assert_eq!(bench.refused(&short).await, NotAdmitted::Silent, "its end comes first");
    let outage = u32::try_from(OUTAGE.as_secs()).unwrap();
    bench.clock.advance(outage - 300 - 1);
    bench.admit(&long).await.unwrap();
    bench.clock.advance(1);
    assert_eq!(bench.refused(&long).await, NotAdmitted::Silent, "bounded");
    bench.server.set(|state| state.silent = false);
    bench.clock.advance(1);
    bench.admit(&long).await.unwrap();
    bench.admit(&token(7200)).await.unwrap();
}

#[tokio::test]
async fn what_the_watches_saw_go_does_not_outlast_anything() {
    let bench = Bench::new();
    let token = token(36_000);
    bench.watches.see(&["node-1", "pod-1"]);
    bench.admit(&token).await.unwrap();
    bench.server.set(|state| state.silent = true);
    bench.watches.see(&["node-1"]);
    assert_eq!(bench.refused(&token).await, NotAdmitted::Silent);
}

#[tokio::test]
async fn a_large_fleet_does_not_ask_more_often_than_it_may() {
    let bench = Bench::new();
    bench.watches.see(&["node-1", "pod-1"]);
    let tokens: Vec<_> = (0..200).map(|at| token(36_000 + at)).collect();
    for token in &tokens {
        bench.admit(token).await.unwrap();
    }
    assert_eq!(bench.server.asked(), 200, "new tokens are always reviewed");
    bench.clock.advance(60);
    for token in &tokens {
        bench.admit(token).await.unwrap();
    }
    let renewed = bench.server.asked() - 200;
    // As many as may come at once, and what a slow machine let grow meanwhile.
    assert!((5..100).contains(&renewed), "{renewed}");
}

#[tokio::test]
async fn a_clock_of_ours_that_is_fast_does_not_cost_a_review_each_time() {
    let bench = Bench::new();
    let token = token(-3600);
    bench.admit(&token).await.unwrap();
    bench.admit(&token).await.unwrap();
    assert_eq!(bench.server.asked(), 1);
}

/// The front of a cluster, asked from one address.
struct Front {
    auth: Auth,
    server: Arc<ApiServer>,
    watches: Arc<Watches>,
}

impl Front {
    fn new() -> Self {
        let server = Arc::new(ApiServer::default());
        let watches = Arc::new(Watches::default());
        let cluster = Cluster::new(
            Arc::clone(&server) as Arc<dyn Reviewer>,
            Arc::clone(&watches) as Arc<dyn NodeDirectory>,
            Arc::new(ManualClock::at(Moment::from_unix(START))),
            Account::new("palisade-system", "palisade-agent", "palisade"),
        );
        let auth = Auth::cluster(cluster, Reach::Network, &Limits::default());
        Self { auth, server, watches }
    }

    async fn ask(&self, pod: &str, number: u32, now: Instant) -> Result<(), Denied> {
        let route = ROUTES.into_iter().find(|route| route.audience == Audience::Agents).unwrap();
        let matched = Matched { route, parameter: "worker-1".to_owned(), detail: String::new() };
        let exp = START + 3600 + i64::from(number);
        let claims = format!(r#"{{"exp":{exp},"kubernetes.io":{{"pod":{{"uid":"{pod}"}}}}}}"#);
        let field = format!("Bearer {}", forged(&claims));
        let field = Authorization::One(field.as_bytes());
        let admitted = self.auth.admit(&matched, field, [10, 0, 0, 1].into(), now).await;
        admitted.map(drop).map_err(|refusal| refusal.denied)
    }
}

#[tokio::test]
async fn whoever_shares_an_agents_address_cannot_silence_it() {
    let front = Front::new();
    let now = Instant::now();
    front.watches.see(&["node-1", "bare pod-1"]);
    front.server.set(|state| state.authenticates = false);
    for number in 0..WRONG_BURST {
        let refused = front.ask("stranger", number, now).await.unwrap_err();
        assert_eq!(refused, Denied::Unfit(Unfit::Unauthenticated));
    }
    let asked = front.server.asked();
    let too_many = |refused| matches!(refused, Err(Denied::TooMany { .. }));
    assert!(too_many(front.ask("stranger", 50, now).await));
    assert_eq!(front.server.asked(), asked, "strangers ask the API server nothing more");
    front.server.set(|state| state.authenticates = true);
    front.ask("pod-1", 100, now).await.unwrap();
    front.ask("pod-1", 100, now).await.unwrap();
    assert_eq!(front.server.asked(), asked + 1, "the agent's new token is reviewed, once");
    assert!(too_many(front.ask("pod-2", 101, now).await), "a pod that nobody sees");
    // Whoever only claims to be of that pod gets a few questions, not as many as they like.
    front.server.set(|state| state.authenticates = false);
    for number in 200..220 {
        assert!(front.ask("pod-1", number, now).await.is_err());
    }
    let burst = usize::try_from(LIVING_BURST).unwrap();
    assert_eq!(front.server.asked(), asked + burst);
    assert!(front.ask("pod-1", 100, now).await.is_ok(), "what is known is answered at once");
    front.server.set(|state| state.authenticates = true);
    // Strangers go on as fast as they can.
    let later = now + LIVING_GAIN;
    front.server.set(|state| state.authenticates = false);
    for number in 300..310 {
        assert!(front.ask("stranger", number, later).await.is_err());
    }
    front.server.set(|state| state.authenticates = true);
    front.ask("pod-1", 400, later).await.unwrap();
}

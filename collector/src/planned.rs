//! Where the coordinator shows what it plans, and hears what people want of it.
//!
//! ```text
//! coordinator ──publish──> Planned ──view()──> API: plan, reboots, explain
//!             <──errands──         <──ask()─── API: reboot this node, approve, cancel, release
//! ```
//!
//! Nothing is decided or kept here. While no coordinator runs there is no view, and nothing can be
//! asked of it: the API says so instead of showing an old plan.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use palisade_plan::drain::Outlook;
use palisade_plan::fleet::Fleet;
use palisade_plan::plan::Plan;
use palisade_plan::policy::Policy;
use palisade_plan::request::Alert;
use palisade_plan::request::State;
use palisade_report::Digest;
use palisade_report::Moment;
use palisade_report::NodeName;
use palisade_report::NodeUid;
use prometheus_client::metrics::histogram::Histogram;
use tokio::sync::Mutex;
use tokio::sync::MutexGuard;
use tokio::sync::mpsc;
use tokio::sync::oneshot;
use tokio::sync::watch;

use crate::audit::Decision;
use crate::audit::Happening;
use crate::reboots::Answered;

/// Errands that wait for the coordinator. A person makes one at a time; a script that makes more is
/// told to come back.
const MAX_ERRANDS: usize = 64;

/// Nodes whose failures the audit names when their pool is released.
const MAX_TOLD: usize = 10;

/// How long an errand may take: a few calls to the API server, each bounded itself.
const ERRAND_WITHIN: Duration = Duration::from_secs(20);

/// Upper bounds of the buckets for the time of a look, in seconds: one that finds nothing to do takes
/// some milliseconds; each call to the API server adds to it, and after ten seconds a look is cut short.
const LOOK_BOUNDS_SECS: [f64; 8] = [0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0];

/// What the coordinator saw and decided in one pass.
#[derive(Debug)]
pub struct View {
    /// What it saw.
    pub fleet: Fleet,
    /// The policy that it follows.
    pub policy: Arc<Policy>,
    /// Why a newer policy is not followed, with line and reason; `None`: the newest is.
    pub refused_policy: Option<String>,
    /// What it decided.
    pub plan: Plan,
    /// The alerts about nodes, those of their requests among them.
    pub alerts: BTreeMap<NodeUid, BTreeSet<Alert>>,
    /// What draining each node would meet, as far as its pods were read.
    pub outlooks: BTreeMap<NodeUid, Outlook>,
    /// What was asked so far: by it the fleet is judged under another policy.
    pub answered: Arc<Answered>,
}

impl View {
    /// The fleet as it would be judged under this policy, by what was asked under the one in force.
    #[must_use]
    pub fn under(&self, policy: &Policy) -> Fleet {
        let mut fleet = self.fleet.clone();
        self.answered.judge(&mut fleet, policy, self.plan.at);
        fleet
    }
}

/// What somebody wants of the coordinator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// That these reasons may be acted upon.
    Approve {
        /// The digest of the reasons that the person has seen; `None`: those of now.
        digest: Option<Digest>,
        /// Until when.
        until: Moment,
    },
    /// That a request ends, and what was done is undone.
    Cancel,
    /// That a quarantined node, or one that did not return, is let go: its place becomes free.
    Release,
    /// That a node reboots, under the policy like any other.
    Reboot {
        /// Why, for others.
        note: Option<String>,
        /// When it should have happened.
        must_by: Option<Moment>,
    },
}

/// One wish.
#[derive(Debug)]
pub enum Errand {
    /// About one node.
    Node(NodeErrand),
    /// That the failures of one pool are forgiven.
    Pool(PoolErrand),
}

/// One wish about one pool: that it goes on after what failed in it.
#[derive(Debug)]
pub struct PoolErrand {
    /// Its name.
    pub pool: String,
    /// The wish as it is in the audit; its outcome follows it there.
    pub wish: Box<Happening>,
    /// Where the names of the nodes go whose failures counted until then, or their UIDs if they are
    /// gone; none, if none did.
    pub reply: oneshot::Sender<Result<BTreeSet<String>, Declined>>,
}

/// One wish about one node.
#[derive(Debug)]
pub struct NodeErrand {
    /// Which node.
    pub node: NodeName,
    /// What.
    pub wanted: Wanted,
    /// Who wants it, as the API server knows them.
    pub by: String,
    /// The wish as it is in the audit; its outcome follows it there.
    pub wish: Box<Happening>,
    /// Where the outcome goes.
    pub reply: oneshot::Sender<Result<State, Declined>>,
}

/// Why a wish is not carried out. At fault: whoever wants it, unless said otherwise.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Declined {
    /// Nobody: too many wait.
    #[error("too many wishes wait for the coordinator")]
    Busy,
    /// The API server, or the store: it could not be written. In words, with the cause.
    #[error("{0}")]
    Failed(String),
    /// Nobody: the coordinator was not heard in time, and may come to it yet.
    #[error("the coordinator has not come to it yet")]
    Late,
    /// No node of that name exists.
    #[error("no node of that name exists in the cluster")]
    NoNode,
    /// No pool of that name is in the policy.
    #[error("there is no pool of that name; the policy has {0}")]
    NoPool(String),
    /// Nothing is asked of this node.
    #[error("there is no reboot request for this node")]
    NoRequest,
    /// Nobody: no coordinator runs here.
    #[error("no reboots are coordinated: the collector runs without a reboot policy")]
    NotCoordinating,
    /// Nobody: whoever coordinated ended, or lost sight of the past, before it came to that.
    #[error("the coordinator could not take it up: look at what is there now, and ask again")]
    NotNow,
    /// What was approved is not what is asked now.
    #[error("the reasons have changed: look at them again before approving them")]
    OtherReasons,
    /// It cannot be done in this state.
    #[error("not while the request is {0:?}")]
    WrongState(State),
}

/// What the coordinator shows and hears; one for each process.
pub struct Planned {
    view: watch::Sender<Option<Arc<View>>>,
    errands: mpsc::Sender<Errand>,
    inbox: Mutex<mpsc::Receiver<Errand>>,
    looks: Histogram,
}

impl fmt::Debug for Planned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Planned")
    }
}

impl Default for Planned {
    fn default() -> Self {
        let (errands, inbox) = mpsc::channel(MAX_ERRANDS);
        let (view, looks) = (watch::Sender::new(None), Histogram::new(LOOK_BOUNDS_SECS));
        Self { view, errands, inbox: Mutex::new(inbox), looks }
    }
}

impl Planned {
    /// Shows what was seen and decided.
    pub fn publish(&self, view: Arc<View>) {
        self.view.send_replace(Some(view));
    }

    /// Shows nothing any more: this process does not coordinate.
    pub fn withdraw(&self) {
        self.view.send_replace(None);
    }

    /// What the coordinator saw and decided last; `None` while none runs.
    #[must_use]
    pub fn view(&self) -> Option<Arc<View>> {
        self.view.borrow().clone()
    }

    /// Counts a look of the coordinator that took so long, with all that it asked of the API server.
    pub fn looked(&self, time: Duration) {
        self.looks.observe(time.as_secs_f64());
    }

    /// How long looks took.
    #[must_use]
    pub const fn looks(&self) -> &Histogram {
        &self.looks
    }

    /// The errands, for the one coordinator that runs; given back when it ends.
    pub async fn inbox(&self) -> MutexGuard<'_, mpsc::Receiver<Errand>> {
        self.inbox.lock().await
    }

    /// Has the coordinator do something. Returns the state that the request is in afterwards.
    ///
    /// # Errors
    /// [`Declined`].
    pub async fn ask(
        &self,
        node: NodeName,
        wanted: Wanted,
        by: String,
        wish: Happening,
    ) -> Result<State, Declined> {
        let (reply, outcome) = oneshot::channel();
        let wish = Box::new(wish);
        self.send(Errand::Node(NodeErrand { node, wanted, by, wish, reply }), outcome).await
    }

    /// Has the coordinator forgive the failures of a pool. Returns the nodes that they were of.
    ///
    /// # Errors
    /// [`Declined`].
    pub async fn release_pool(
        &self,
        pool: String,
        wish: Happening,
    ) -> Result<BTreeSet<String>, Declined> {
        let (reply, outcome) = oneshot::channel();
        let wish = Box::new(wish);
        self.send(Errand::Pool(PoolErrand { pool, wish, reply }), outcome).await
    }

    async fn send<T>(
        &self,
        errand: Errand,
        outcome: oneshot::Receiver<Result<T, Declined>>,
    ) -> Result<T, Declined> {
        if self.view().is_none() {
            return Err(Declined::NotCoordinating);
        }
        self.errands.try_send(errand).map_err(|_| Declined::Busy)?;
        match tokio::time::timeout(ERRAND_WITHIN, outcome).await {
            Ok(Ok(outcome)) => outcome,
            // Whether it was done before the coordinator ended nobody knows.
            Ok(Err(_)) | Err(_) => Err(Declined::Late),
        }
    }
}

impl NodeErrand {
    /// What came of a wish, for the audit. The state is in the words: the audit has each step of a
    /// request by itself.
    #[must_use]
    pub fn told(wish: &Happening, outcome: &Result<State, Declined>) -> Happening {
        told(wish, outcome.as_ref().map(|state| format!("the request is {state:?}")))
    }
}

impl PoolErrand {
    /// What came of a wish, for the audit.
    #[must_use]
    pub fn told(wish: &Happening, outcome: &Result<BTreeSet<String>, Declined>) -> Happening {
        let about = outcome.as_ref().map(|released| {
            let some: Vec<_> = released.iter().take(MAX_TOLD).map(String::as_str).collect();
            match released.len() {
                0 => "nothing counted in it".to_owned(),
                count => format!("failures of {count} nodes count no more: {}", some.join(", ")),
            }
        });
        told(wish, about)
    }
}

fn told(wish: &Happening, outcome: Result<String, &Declined>) -> Happening {
    let mut told = wish.clone();
    let words = outcome.unwrap_or_else(|declined| {
        told.decision = Decision::Refused;
        declined.to_string()
    });
    told.reason = format!("{}: {words}", wish.reason);
    told
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::Kind;

    fn wish() -> Happening {
        Happening::own(Kind::Reboot, "node worker-1", "a person called its reboot off")
    }

    /// A coordinator that shows a plan and comes to nothing.
    fn showing() -> Planned {
        let planned = Planned::default();
        let fleet = Fleet {
            nodes: BTreeMap::new(),
            requests: BTreeMap::new(),
            pods: palisade_plan::fleet::Known::Known(BTreeMap::new()),
            budgets: palisade_plan::fleet::Known::Known(BTreeMap::new()),
            blockers: Vec::new(),
            etcd: None,
            past: palisade_plan::fleet::Past::default(),
            own_node: None,
            frozen_at: None,
        };
        let policy = Arc::new(Policy::default());
        let plan = palisade_plan::plan::plan(&fleet, &policy, Moment::from_unix(1));
        let (alerts, outlooks) = (BTreeMap::new(), BTreeMap::new());
        let answered = Arc::default();
        let view = View { fleet, policy, refused_policy: None, plan, alerts, outlooks, answered };
        planned.publish(Arc::new(view));
        planned
    }

    /// Virtual time moves on its own once everybody waits.
    #[tokio::test(start_paused = true)]
    async fn a_coordinator_that_is_busy_or_ends_may_still_have_done_it() {
        let planned = showing();
        let node: NodeName = "worker-1".parse().unwrap();
        let ask = || planned.ask(node.clone(), Wanted::Release, "anna".to_owned(), wish());
        assert_eq!(ask().await, Err(Declined::Late));
        let errand = planned.inbox().await.try_recv().unwrap();
        let Errand::Node(errand) = errand else { panic!("of a node") };
        assert!(errand.reply.is_closed(), "nobody waits, and it is there to be done");
        let ends = async { drop(planned.inbox().await.recv().await) };
        let (outcome, ()) = tokio::join!(ask(), ends);
        assert_eq!(outcome, Err(Declined::Late));
    }

    #[test]
    fn the_outcome_of_a_wish_names_it_and_counts_for_no_step_of_a_request() {
        let done = NodeErrand::told(&wish(), &Ok(State::Cancelled));
        assert_eq!(done.reason, "a person called its reboot off: the request is Cancelled");
        assert_eq!((done.decision, done.after), (Decision::Done, None));
        let refused = NodeErrand::told(&wish(), &Err(Declined::NoRequest));
        assert_eq!(refused.decision, Decision::Refused);
        assert!(refused.reason.ends_with(": there is no reboot request for this node"));
        let pool = Happening::own(Kind::Reboot, "pool web", "a person released the pool");
        let told = |released: &[&str]| {
            let released = released.iter().map(|&it| it.to_owned()).collect();
            PoolErrand::told(&pool, &Ok(released)).reason
        };
        assert_eq!(told(&[]), "a person released the pool: nothing counted in it");
        assert!(told(&["b", "a"]).ends_with(": failures of 2 nodes count no more: a, b"));
    }

    #[tokio::test]
    async fn without_a_coordinator_nothing_is_promised() {
        let planned = Planned::default();
        let node: NodeName = "worker-1".parse().unwrap();
        let outcome = planned.ask(node, Wanted::Cancel, "anna".to_owned(), wish()).await;
        assert_eq!(outcome, Err(Declined::NotCoordinating));
        assert!(planned.view().is_none());
        assert!(planned.inbox().await.try_recv().is_err(), "nothing waits for a later coordinator");
    }
}

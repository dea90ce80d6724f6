//! The shell of the election: reads and writes the Lease, follows the standing with the fence, and
//! lets the Lease go when the process ends.
//!
//! ```text
//! Election::step ──Action──> API server (bounded) ──Observation──> Election::step ...
//!      └── standing ──> Fence, watch channel, log
//! ```

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::coordination::v1::LeaseSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::Api;
use kube::api::ObjectMeta;
use kube::api::PostParams;
use tokio::sync::Notify;
use tokio::sync::mpsc;
use tokio::sync::oneshot;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::client::CallError;
use super::client::Clients;
use super::client::call;
use super::fence::BootClock;
use super::fence::Fence;
use super::lease::Action;
use super::lease::Begins;
use super::lease::Draft;
use super::lease::Election;
use super::lease::Epoch;
use super::lease::Observation;
use super::lease::Record;
use super::lease::Standing;
use super::lease::Timing;
use crate::chain::Chain;
use crate::settings::KubernetesSettings;

/// Separates the name of a collector from the random part that no other process has.
const SEPARATOR: char = '_';

/// Random bytes in the name of a process.
const RANDOM_BYTES: usize = 6;

/// This process's part in the election.
pub struct Leadership {
    standing: watch::Receiver<Standing>,
    floor: Arc<Floor>,
    resign: oneshot::Sender<()>,
    back: mpsc::Sender<oneshot::Sender<()>>,
    running: JoinHandle<()>,
}

/// The highest epoch that anybody in this process has heard of outside of the Lease.
#[derive(Debug, Default)]
struct Floor {
    epoch: AtomicU64,
    raised: Notify,
}

impl fmt::Debug for Leadership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Leadership").field(&*self.standing.borrow()).finish()
    }
}

impl Leadership {
    /// Takes part in the election from now on.
    #[must_use]
    pub fn seek(
        clients: &Clients,
        settings: &KubernetesSettings,
        fence: Fence,
        clock: Arc<dyn BootClock>,
    ) -> Self {
        let KubernetesSettings { namespace, lease, identity, lease_duration, .. } = settings;
        let timing = Timing::of(*lease_duration);
        let me = own_name(identity, &*clock);
        let election = Election::new(me, timing, clock.boot_ms());
        let (said, standing) = watch::channel(Standing::Standby { leader: None });
        let (resign, resigned) = oneshot::channel();
        let (back, backs) = mpsc::channel(1);
        let floor = Arc::new(Floor::default());
        let seeking = Seeking {
            api: Api::namespaced(clients.electing.clone(), namespace),
            name: lease.clone(),
            call_timeout: timing.call_timeout(),
            election,
            clock,
            fence,
            said,
            floor: Arc::clone(&floor),
            last: None,
            complaint: None,
        };
        let running = tokio::spawn(seeking.run(resigned, backs));
        Self { standing, floor, resign, back, running }
    }

    /// What this process is, as it changes. It lags behind the fence by the time that a task takes
    /// to wake up: whoever acts asks the fence.
    #[must_use]
    pub fn standing(&self) -> watch::Receiver<Standing> {
        self.standing.clone()
    }

    /// Says that `epoch` was used: the next term, which begins at once if need be, is above it.
    pub fn raise(&self, epoch: Epoch) {
        self.floor.epoch.fetch_max(epoch.0, Ordering::SeqCst);
        self.floor.raised.notify_one();
    }

    /// Ends the term and leaves the Lease to others for a while; the fence is shut when this returns.
    /// Where nobody takes it, this process leads again afterwards.
    pub async fn stand_back(&self) {
        let (done, stands_back) = oneshot::channel();
        if self.back.send(done).await.is_err() || stands_back.await.is_err() {
            tracing::error!("the election panicked; others wait until the lease is over");
        }
    }

    /// Ends the term and lets the Lease go, so that others need not wait. The fence is shut first.
    pub async fn resign(self) {
        // Nobody listens if the task has panicked.
        if self.resign.send(()).is_err() || self.running.await.is_err() {
            tracing::error!("the election panicked; others wait until the lease is over");
        }
    }
}

/// The name of a collector as people know it, from the name of its process.
#[must_use]
pub fn collector_name(holder: &str) -> &str {
    holder.rsplit_once(SEPARATOR).map_or(holder, |(name, _)| name)
}

/// A name that no other process has, a later one of the same pod included.
fn own_name(identity: &str, clock: &dyn BootClock) -> String {
    use ring::rand::SecureRandom as _;
    let mut random = [0; RANDOM_BYTES];
    let suffix = match ring::rand::SystemRandom::new().fill(&mut random) {
        Ok(()) => random.iter().map(|byte| format!("{byte:02x}")).collect(),
        // Two processes of one name do not start within the same millisecond.
        Err(_) => format!("{}-{}", std::process::id(), clock.boot_ms()),
    };
    format!("{identity}{SEPARATOR}{suffix}")
}

struct Seeking {
    api: Api<Lease>,
    name: String,
    call_timeout: Duration,
    election: Election,
    clock: Arc<dyn BootClock>,
    fence: Fence,
    said: watch::Sender<Standing>,
    floor: Arc<Floor>,
    /// The Lease as it was last read or written, for the fields that are not ours.
    last: Option<Lease>,
    /// What was complained of last, so that a lasting trouble is told once.
    complaint: Option<String>,
}

impl Seeking {
    async fn run(
        mut self,
        mut resigned: oneshot::Receiver<()>,
        mut backs: mpsc::Receiver<oneshot::Sender<()>>,
    ) {
        let mut observation = Observation::Nothing;
        loop {
            self.election.raise(self.floor.epoch.load(Ordering::SeqCst));
            let now_ms = self.clock.boot_ms();
            let action = self.election.step(observation, now_ms);
            self.publish();
            observation = match action {
                Action::WaitUntil(until_ms) => {
                    let wait_ms = u64::try_from(until_ms.saturating_sub(now_ms)).unwrap_or(0);
                    tokio::select! {
                        _ = &mut resigned => break,
                        () = self.floor.raised.notified() => {}
                        Some(done) = backs.recv() => {
                            self.election.stand_back(self.clock.boot_ms());
                            self.publish();
                            if done.send(()).is_err() {
                                tracing::debug!("whoever made room for another one has ended");
                            }
                        }
                        () = tokio::time::sleep(Duration::from_millis(wait_ms)) => {}
                    }
                    Observation::Nothing
                }
                action @ (Action::Create(_) | Action::Read | Action::Replace(..)) => {
                    self.carry_out(action).await
                }
            };
        }
        let release = self.election.release();
        self.publish();
        if let Some(action) = release {
            match self.carry_out(action).await {
                Observation::Written(_) => tracing::info!("the lease was let go"),
                Observation::Conflict
                | Observation::Failed
                | Observation::Found(_)
                | Observation::Missing
                | Observation::Nothing => {
                    tracing::warn!("the lease could not be let go; others wait until it is over");
                }
            }
        }
    }

    async fn carry_out(&mut self, action: Action) -> Observation {
        let parameters = PostParams::default();
        let result = match action {
            Action::WaitUntil(_) => return Observation::Nothing,
            Action::Read => match call(self.call_timeout, self.api.get_opt(&self.name)).await {
                Ok(Some(lease)) => {
                    self.complaint = None;
                    let found = Observation::Found(record(&lease));
                    self.last = Some(lease);
                    return found;
                }
                Ok(None) => {
                    self.last = None;
                    return Observation::Missing;
                }
                Err(error) => Err(error),
            },
            Action::Create(draft) => {
                let lease = self.draw_up(None, &draft);
                call(self.call_timeout, self.api.create(&parameters, &lease)).await
            }
            Action::Replace(version, draft) => {
                let lease = self.draw_up(Some(version), &draft);
                call(self.call_timeout, self.api.replace(&self.name, &parameters, &lease)).await
            }
        };
        match result {
            Ok(lease) => {
                self.complaint = None;
                let written = Observation::Written(record(&lease));
                self.last = Some(lease);
                written
            }
            // 404: it was deleted between reading and writing.
            Err(error) if error.is(409) || error.is(404) => Observation::Conflict,
            Err(error) => {
                self.complain(&error);
                Observation::Failed
            }
        }
    }

    fn draw_up(&self, version: Option<String>, draft: &Draft) -> Lease {
        let Draft { holder, transitions, lasts_ms, begins } = draft;
        let mut lease = self.last.clone().unwrap_or_else(|| Lease {
            metadata: ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() },
            spec: None,
        });
        lease.metadata.resource_version = version;
        lease.metadata.managed_fields = None;
        // For people: no collector reads them.
        let now = Some(MicroTime(Timestamp::now()));
        let old = lease.spec.take().unwrap_or_default();
        lease.spec = Some(LeaseSpec {
            holder_identity: Some(holder.clone().unwrap_or_default()),
            lease_transitions: Some(i32::try_from(*transitions).unwrap_or(i32::MAX)),
            lease_duration_seconds: Some(
                i32::try_from((lasts_ms + 999) / 1000).unwrap_or(i32::MAX),
            ),
            renew_time: now.clone(),
            acquire_time: match begins {
                Begins::Term => now,
                Begins::Nothing => old.acquire_time.clone(),
            },
            ..old
        });
        lease
    }

    /// Lets fence, watchers and log follow the standing.
    fn publish(&self) {
        let mut standing = self.election.standing(self.clock.boot_ms());
        self.fence.follow(&standing);
        if let Standing::Standby { leader: Some(leader) } = &mut standing {
            *leader = collector_name(leader).to_owned();
        }
        self.said.send_if_modified(|old| {
            tell(old, &standing);
            let differs = *old != standing;
            *old = standing;
            differs
        });
    }

    fn complain(&mut self, error: &CallError) {
        let complaint = Chain(error).to_string();
        if self.complaint.as_ref() != Some(&complaint) {
            tracing::warn!(cause = %complaint, lease = %self.name, "the lease is out of reach");
            self.complaint = Some(complaint);
        }
    }
}

/// Logs a change that a person would want to know.
fn tell(old: &Standing, new: &Standing) {
    match (old, new) {
        (Standing::Leading { epoch: old, .. }, Standing::Leading { epoch, .. }) if old == epoch => {
        }
        (Standing::Suspended { epoch: old }, Standing::Leading { epoch, .. }) if old == epoch => {
            tracing::info!(%epoch, "the lease was renewed late; this collector acts again");
        }
        (_, Standing::Leading { epoch, .. }) => tracing::info!(%epoch, "this collector leads"),
        (Standing::Suspended { .. }, Standing::Suspended { .. }) => {}
        (_, Standing::Suspended { epoch }) => {
            tracing::warn!(%epoch, "the lease was not renewed in time; this collector acts on nothing");
        }
        (Standing::Standby { leader: old }, Standing::Standby { leader }) if old == leader => {}
        (_, Standing::Standby { leader: Some(leader) }) => {
            tracing::info!(%leader, "another collector leads");
        }
        (_, Standing::Standby { leader: None }) => tracing::info!("nobody is known to lead"),
    }
}

/// What of a Lease counts.
fn record(lease: &Lease) -> Record {
    let spec = lease.spec.clone().unwrap_or_default();
    let count = |value: Option<i32>| value.and_then(|value| u64::try_from(value).ok());
    Record {
        version: lease.metadata.resource_version.clone().unwrap_or_default(),
        holder: spec.holder_identity.filter(|holder| !holder.is_empty()),
        transitions: count(spec.lease_transitions).unwrap_or(0),
        lasts_ms: spec.lease_duration_seconds.map(|secs| i64::from(secs).saturating_mul(1000)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kube::fence::MachineClock;

    #[test]
    fn no_two_processes_have_one_name_and_people_see_the_short_one() {
        let (one, other) = (own_name("pod-a", &MachineClock), own_name("pod-a", &MachineClock));
        assert_ne!(one, other);
        assert_eq!(collector_name(&one), "pod-a");
        assert_eq!(collector_name("of-somebody-else"), "of-somebody-else");
    }

    #[test]
    fn a_lease_as_the_manifests_make_it_is_free() {
        let seen = record(&Lease::default());
        assert_eq!((seen.holder, seen.transitions, seen.lasts_ms), (None, 0, None));
        let odd = LeaseSpec {
            holder_identity: Some(String::new()),
            lease_transitions: Some(-4),
            ..LeaseSpec::default()
        };
        let seen = record(&Lease { spec: Some(odd), ..Lease::default() });
        assert_eq!((seen.holder, seen.transitions), (None, 0));
    }
}

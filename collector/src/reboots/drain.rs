//! One drain, as this process has carried it on: which evictions were accepted, which pods wait, what
//! refused for good. Lost with the process, which costs a look and nothing else: the pods themselves
//! say what is left. What goes next is decided in `palisade_plan::drain`.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::TryStreamExt as _;
use futures_util::stream;
use palisade_plan::drain;
use palisade_plan::drain::Answer;
use palisade_plan::drain::Class;
use palisade_plan::drain::Draining;
use palisade_plan::drain::Eviction;
use palisade_plan::drain::Reply;
use palisade_plan::drain::Returns;
use palisade_plan::drain::Round;
use palisade_plan::fleet::DisruptionBudget;
use palisade_plan::fleet::Known;
use palisade_plan::fleet::Pod;
use palisade_plan::policy::DrainPolicy;
use palisade_plan::seen::DrainSeen;
use palisade_report::Moment;

use crate::kube::evict::Evictions;
use crate::kube::evict::Run;
use crate::kube::fence::NotLeader;

/// Seconds for which a dry run is believed: between two of them the pods of a node seldom change.
const DRY_RUN_SECS: i64 = 10;

/// Seconds for which an accepted eviction is counted as under way if the pod does not show it.
const ACCEPTED_SECS: i64 = 30;

/// Pods of one node that are tried in one dry run: three times what a kubelet runs by default.
const MAX_TRIED: usize = 330;

/// Dry runs that are under way at once.
const TRIED_AT_ONCE: usize = 4;

/// How long the dry run of one node may take. What else is under way waits for it.
const TRY_WITHIN: Duration = Duration::from_secs(20);

/// A drain of one node for one request.
#[derive(Debug, Default)]
pub(super) struct Work {
    pods: Arc<[Pod]>,
    accepted: BTreeMap<String, Moment>,
    not_before: BTreeMap<String, Moment>,
    refused: BTreeMap<String, String>,
    returns: Returns,
    tried: Option<(Moment, Vec<String>)>,
    has_begun: bool,
}

impl Work {
    /// A drain of these pods that has not begun.
    pub(super) fn of(pods: Arc<[Pod]>) -> Self {
        Self { pods, ..Self::default() }
    }

    /// What is left on the node, of these pods.
    pub(super) fn look(
        &mut self,
        pods: Vec<Pod>,
        budgets: &Known<BTreeMap<String, DisruptionBudget>>,
        policy: &DrainPolicy,
        now: Moment,
    ) -> DrainSeen {
        self.pods = pods.into();
        self.returns.note(&self.pods);
        let exists: BTreeSet<&str> = self.pods.iter().map(|pod| pod.uid.as_str()).collect();
        self.accepted.retain(|uid, until| exists.contains(uid.as_str()) && now < *until);
        self.not_before.retain(|uid, until| exists.contains(uid.as_str()) && now < *until);
        self.refused.retain(|uid, _| exists.contains(uid.as_str()));
        let mut seen = drain::left(&self.pods, budgets, &self.returns, policy, now);
        seen.stuck.extend(self.refused.values().cloned());
        seen
    }

    /// The pods of the last look.
    pub(super) fn pods(&self) -> Arc<[Pod]> {
        Arc::clone(&self.pods)
    }

    /// Volumes of pods that stay, which nobody will detach.
    pub(super) fn staying_volumes(&self, policy: &DrainPolicy) -> BTreeSet<&str> {
        let stays = |pod: &&Pod| matches!(drain::classify(pod, policy), Class::Left(_));
        let staying = self.pods.iter().filter(stays);
        staying.flat_map(|pod| pod.volumes.iter().map(String::as_str)).collect()
    }

    /// What keeps the first eviction from being asked for: each pod is tried, and nothing happens.
    ///
    /// # Errors
    /// [`NotLeader`].
    pub(super) async fn try_all(
        &mut self,
        evictions: &Evictions,
        policy: &DrainPolicy,
        now: Moment,
    ) -> Result<Vec<String>, NotLeader> {
        if let Some((at, stuck)) = &self.tried
            && now.since(*at) < DRY_RUN_SECS
        {
            return Ok(stuck.clone());
        }
        let going = self.pods.iter().filter(|pod| drain::classify(pod, policy) == Class::Evicted);
        let going: Vec<Eviction> = going
            .take(MAX_TRIED)
            .map(|pod| Eviction {
                pod: pod.name.clone(),
                uid: pod.uid.clone(),
                grace_secs: policy.grace_secs,
            })
            .collect();
        let count = going.len();
        let tries = stream::iter(going).map(|eviction| async move {
            let reply = evictions.evict(&eviction, Run::Dry).await?;
            Ok(refusal(&reply).map(|why| format!("{}: dry run: {why}", eviction.pod)))
        });
        let told = tries.buffered(TRIED_AT_ONCE).try_filter_map(|why| ready(Ok(why))).try_collect();
        let stuck: Vec<String> = match tokio::time::timeout(TRY_WITHIN, told).await {
            Ok(stuck) => stuck?,
            Err(_) => vec![format!("dry run: not all of {count} pods within {TRY_WITHIN:?}")],
        };
        self.tried = Some((now, stuck.clone()));
        Ok(stuck)
    }

    /// Evicts those that are next.
    ///
    /// # Errors
    /// [`NotLeader`].
    pub(super) async fn go_on(
        &mut self,
        evictions: &Evictions,
        budgets: &Known<BTreeMap<String, DisruptionBudget>>,
        policy: &DrainPolicy,
        now: Moment,
    ) -> Result<(), NotLeader> {
        let in_flight: BTreeSet<String> = self.accepted.keys().cloned().collect();
        let round = if self.has_begun { Round::Later } else { Round::First };
        let next = drain::next_evictions(
            &Draining {
                pods: &self.pods,
                budgets,
                in_flight: &in_flight,
                returns: &self.returns,
                round,
            },
            policy,
            now,
        );
        for eviction in next {
            if self.not_before.contains_key(&eviction.uid) {
                continue;
            }
            let Eviction { pod, uid, grace_secs: _ } = &eviction;
            let reply = evictions.evict(&eviction, Run::Real).await?;
            match drain::interpret(&reply) {
                Answer::Accepted => {
                    self.has_begun = true;
                    tracing::info!(%pod, %uid, "a pod is evicted");
                    self.accepted.insert(uid.clone(), now.plus(ACCEPTED_SECS));
                }
                // What became of it the next look tells.
                Answer::Gone | Answer::UnknownOutcome | Answer::Wait => {}
                Answer::Budget { retry_secs, .. }
                | Answer::Throttled { retry_secs }
                | Answer::Failed { retry_secs, .. } => {
                    self.not_before.insert(uid.clone(), now.plus(i64::from(retry_secs)));
                }
                Answer::TwoBudgets => {
                    let line = format!("{pod}: more than one budget selects it");
                    self.refused.insert(uid.clone(), line);
                }
                Answer::Refused { message } => {
                    self.refused.insert(uid.clone(), format!("{pod}: {message}"));
                }
            }
        }
        Ok(())
    }
}

/// What a dry run was refused for, if it was.
fn refusal(reply: &Reply) -> Option<String> {
    Some(match drain::interpret(reply) {
        Answer::Accepted | Answer::Gone => return None,
        Answer::Budget { name, .. } => format!("budget {} allows 0", name.unwrap_or_default()),
        Answer::Throttled { .. } => "the API server is busy".to_owned(),
        Answer::Wait => "its namespace is being deleted".to_owned(),
        Answer::TwoBudgets => "more than one budget selects it".to_owned(),
        Answer::Failed { message, .. } | Answer::Refused { message } => message,
        Answer::UnknownOutcome => "no answer".to_owned(),
    })
}

//! Calling the roll: the engine hears of nodes that come, change and go, and nodes whose object has
//! been gone for long enough are retired.
//!
//! Nothing is retired because the API server is away, because a list is not complete, or because
//! the list is empty: a cluster without a single node has none for us to run on, and an empty list
//! of it is an error of somebody. And nothing is retired on the word of a watch alone: it may have
//! frozen unnoticed, so the API server is asked for the object itself.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use palisade_report::NodeName;
use palisade_report::NodeUid;
use tokio::sync::watch;

use super::Directory;
use super::Members;
use super::View;
use crate::chain::Chain;
use crate::engine::ClusterNews;
use crate::engine::Engine;
use crate::engine::Refusal;
use crate::kube::fence::BootClock;
use crate::kube::fence::Fence;
use crate::kube::review::Reviewer;

/// Between two looks at what changed: many changes become one.
const GATHER_FOR: Duration = Duration::from_millis(200);

/// The longest time between two looks at who is missing.
const LOOK_EVERY: Duration = Duration::from_secs(15);

/// Nodes that are asked for at one look, so that the engine hears of others meanwhile; the rest is
/// asked for at the next.
const MAX_ASKED: usize = 50;

/// Lets the engine follow the directory until the engine ends. Only a leader retires.
pub async fn call_the_roll(
    engine: Engine,
    directory: Arc<Directory>,
    registry: Arc<dyn Reviewer>,
    fence: Fence,
    clock: Arc<dyn BootClock>,
    gone_after: Duration,
) {
    let mut changed = directory.changed();
    changed.mark_changed();
    let mut told = Members::default();
    let mut absence = Absence::default();
    let look_every = LOOK_EVERY.min(gone_after / 2).max(GATHER_FOR);
    let gone_after_ms = i64::try_from(gone_after.as_millis()).unwrap_or(i64::MAX);
    while wait(&mut changed, look_every).await == Goes::On {
        let (members, view) = directory.members();
        let news = news(&told, &members);
        if news != ClusterNews::default() && engine.cluster(news).await.is_err() {
            return;
        }
        told = members;
        if fence.check().is_err() {
            continue;
        }
        let snapshot = engine.snapshot();
        let live = snapshot.nodes.iter().filter(|node| node.state.is_live());
        let names = live.map(|node| &node.name);
        let gone = absence.long_gone(names, &told, view, clock.boot_ms(), gone_after_ms);
        let known = |name: NodeName| {
            let node = snapshot.nodes.iter().find(|node| node.name == name);
            (name, node.and_then(|node| node.uid.clone()))
        };
        let gone: Vec<_> = gone.into_iter().take(MAX_ASKED).map(known).collect();
        for name in confirmed(&*registry, gone, &mut absence).await {
            // Asking takes a while.
            if fence.check().is_err() {
                break;
            }
            match engine.retire(name.clone()).await {
                Ok(()) => tracing::info!(node = %name, "a node was retired: its object is gone"),
                Err(Refusal::Stopped) => return,
                Err(refusal) => {
                    // Tried again at the next look.
                    tracing::warn!(node = %name, cause = %refusal, "a node could not be retired");
                    break;
                }
            }
        }
    }
}

/// Those of `missing` that the API server does not have either, or only as another object of that
/// name. One that it has is not missing: its absence ends.
async fn confirmed(
    registry: &dyn Reviewer,
    missing: Vec<(NodeName, Option<NodeUid>)>,
    absence: &mut Absence,
) -> Vec<NodeName> {
    let mut gone = Vec::new();
    for (name, known) in missing {
        match registry.node(&name).await {
            Ok(None) => gone.push(name),
            Ok(Some(uid)) if known.is_some_and(|known| known != uid) => gone.push(name),
            Ok(Some(_)) => {
                tracing::warn!(node = %name, "a node is there though the watch does not have it");
                absence.end(&name);
            }
            Err(error) => {
                // Tried again at the next look.
                tracing::warn!(node = %name, cause = %Chain(&error), "nobody can tell whether a node is gone");
                break;
            }
        }
    }
    gone
}

/// Whether the directory is still there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Goes {
    On,
    Out,
}

/// Until something changed and a little time passed, or it is time to look anyway.
async fn wait(changed: &mut watch::Receiver<u64>, look_every: Duration) -> Goes {
    match tokio::time::timeout(look_every, changed.changed()).await {
        Ok(Ok(())) => tokio::time::sleep(GATHER_FOR).await,
        Ok(Err(_)) => return Goes::Out,
        Err(_) => {}
    }
    changed.mark_unchanged();
    Goes::On
}

/// What of `now` the engine does not know.
fn news(told: &Members, now: &Members) -> ClusterNews {
    let differs = |(name, member): &(&NodeName, &Arc<_>)| told.get(*name) != Some(*member);
    let known = now.iter().filter(differs);
    let gone = told.keys().filter(|name| !now.contains_key(*name));
    ClusterNews {
        known: known.map(|(name, member)| (name.clone(), Arc::clone(member))).collect(),
        gone: gone.cloned().collect(),
    }
}

/// Nodes without an object, and since when.
#[derive(Debug, Default)]
struct Absence(BTreeMap<NodeName, i64>);

impl Absence {
    /// The node is there after all.
    fn end(&mut self, name: &NodeName) {
        self.0.remove(name);
    }

    /// Those of `names` that have been missing from `members` for `gone_after_ms`.
    fn long_gone<'a>(
        &mut self,
        names: impl Iterator<Item = &'a NodeName>,
        members: &Members,
        view: View,
        now_ms: i64,
        gone_after_ms: i64,
    ) -> Vec<NodeName> {
        if view == View::Partial || members.is_empty() {
            // What was missing before has to be missing for the whole time again.
            self.0.clear();
            return Vec::new();
        }
        let missing: BTreeMap<NodeName, i64> = names
            .filter(|name| !members.contains_key(*name))
            .map(|name| (name.clone(), self.0.get(name).copied().unwrap_or(now_ms)))
            .collect();
        self.0 = missing;
        let gone = self.0.iter().filter(|(_, since)| now_ms - **since >= gone_after_ms);
        gone.map(|(name, _)| name.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::member;
    use super::*;
    use crate::auth::Person;
    use crate::kube::access::Access;
    use crate::kube::access::Wish;
    use crate::kube::client::CallError;
    use crate::kube::review::Answer;
    use crate::kube::review::AskError;
    use crate::kube::review::Asking;
    use crate::kube::review::For;
    use crate::kube::review::LivePod;
    use crate::kube::review::Token;

    /// An API server that has `there` with UID `new`, and is silent about `silent`.
    #[derive(Debug)]
    struct Registry;

    impl Reviewer for Registry {
        fn node<'a>(&'a self, name: &'a NodeName) -> Asking<'a, Option<NodeUid>> {
            Box::pin(async move {
                match name.as_str() {
                    "there" => Ok(Some("new".parse().unwrap())),
                    "silent" => Err(AskError::Call(CallError::TimedOut(LOOK_EVERY))),
                    _ => Ok(None),
                }
            })
        }

        fn review<'a>(&'a self, _token: &'a Token, _whom: For) -> Asking<'a, Answer> {
            panic!("no token is here")
        }

        fn pod<'a>(&'a self, _name: &'a str) -> Asking<'a, Option<LivePod>> {
            panic!("no pod is here")
        }

        fn access<'a>(&'a self, _person: &'a Person, _wish: &'a Wish) -> Asking<'a, Access> {
            panic!("no person is here")
        }
    }

    async fn confirm(missing: &[(&str, Option<&str>)], absence: &mut Absence) -> Vec<String> {
        let missing = missing
            .iter()
            .map(|(name, uid)| (name.parse().unwrap(), uid.map(|uid| uid.parse().unwrap())));
        let gone = confirmed(&Registry, missing.collect(), absence).await;
        gone.iter().map(ToString::to_string).collect()
    }

    #[tokio::test]
    async fn a_node_that_joined_while_the_watch_was_frozen_is_not_retired() {
        let names: Vec<NodeName> = ["gone", "there"].iter().map(|it| it.parse().unwrap()).collect();
        let mut absence = Absence::default();
        let missing = |absence: &mut Absence, now_ms| {
            let others = members(&["other"]);
            absence.long_gone(names.iter(), &others, View::Whole, now_ms, 60_000).len()
        };
        missing(&mut absence, 0);
        assert_eq!(missing(&mut absence, 60_000), 2, "the watch has neither");
        let gone = confirm(&[("there", Some("new")), ("gone", Some("a"))], &mut absence).await;
        assert_eq!(gone, ["gone"]);
        assert_eq!(missing(&mut absence, 60_001), 1, "the time of the other begins anew");
        assert_eq!(confirm(&[("there", None)], &mut absence).await, [""; 0], "not known which");
        let another = confirm(&[("there", Some("old"))], &mut absence).await;
        assert_eq!(another, ["there"], "the one that is known is gone");
    }

    #[tokio::test]
    async fn a_silent_api_server_retires_nobody() {
        let mut absence = Absence::default();
        let gone = confirm(&[("silent", None), ("gone", None)], &mut absence).await;
        assert_eq!(gone, [""; 0]);
    }

    fn members(names: &[&str]) -> Members {
        Arc::new(names.iter().map(|name| (name.parse().unwrap(), member(name, "1"))).collect())
    }

    #[test]
    fn only_what_changed_is_news() {
        let before = members(&["a", "b"]);
        assert_eq!(news(&before, &before), ClusterNews::default());
        let mut after = BTreeMap::clone(&members(&["a", "c"]));
        after.insert("a".parse().unwrap(), member("a", "2"));
        let news = news(&before, &Arc::new(after));
        let known: Vec<_> = news.known.keys().map(NodeName::as_str).collect();
        assert_eq!(known, ["a", "c"]);
        assert_eq!(news.gone, ["b".parse().unwrap()]);
    }

    #[test]
    fn a_node_is_gone_only_after_a_whole_view_without_it_for_the_whole_time() {
        let mut absence = Absence::default();
        let names: Vec<NodeName> = ["a", "b"].iter().map(|it| it.parse().unwrap()).collect();
        let mut ask = |members: &Members, view, now_ms| {
            let gone = absence.long_gone(names.iter(), members, view, now_ms, 60_000);
            gone.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let without_b = members(&["a"]);
        assert!(ask(&without_b, View::Whole, 0).is_empty());
        assert!(ask(&without_b, View::Whole, 59_999).is_empty());
        // The API server goes away and comes back: the time begins anew.
        assert!(ask(&without_b, View::Partial, 60_000).is_empty());
        assert!(ask(&without_b, View::Whole, 600_000).is_empty());
        // It came back for a moment.
        assert!(ask(&members(&["a", "b"]), View::Whole, 630_000).is_empty());
        assert!(ask(&without_b, View::Whole, 660_000).is_empty());
        assert_eq!(ask(&without_b, View::Whole, 720_000), ["b"]);
        // An empty list retires nobody.
        assert!(ask(&members(&[]), View::Whole, 800_000).is_empty());
        assert!(ask(&members(&[]), View::Whole, 900_000).is_empty());
    }
}

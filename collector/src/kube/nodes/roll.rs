//! Calling the roll: the engine hears of nodes that come, change and go, and nodes whose object has
//! been gone for long enough are retired.
//!
//! Nothing is retired because the API server is away, because a list is not complete, or because
//! the list is empty: a cluster without a single node has none for us to run on, and an empty list
//! of it is an error of somebody.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use palisade_report::NodeName;
use tokio::sync::watch;

use super::Directory;
use super::Members;
use super::View;
use crate::engine::ClusterNews;
use crate::engine::Engine;
use crate::engine::Refusal;
use crate::kube::fence::BootClock;
use crate::kube::fence::Fence;

/// Between two looks at what changed: many changes become one.
const GATHER_FOR: Duration = Duration::from_millis(200);

/// The longest time between two looks at who is missing.
const LOOK_EVERY: Duration = Duration::from_secs(15);

/// Lets the engine follow the directory until the engine ends. Only a leader retires.
pub async fn call_the_roll(
    engine: Engine,
    directory: Arc<Directory>,
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
        for name in absence.long_gone(names, &told, view, clock.boot_ms(), gone_after_ms) {
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

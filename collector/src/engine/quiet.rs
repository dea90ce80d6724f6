//! Fresh, late, silent: what the passing of time means for a node, and what is done each turn.

use std::sync::Arc;
use std::time::Duration;

use palisade_report::NodeName;

use super::core::Core;
use super::core::Now;
use super::message::Change;
use super::message::What;
use crate::snapshot::Counted;
use crate::snapshot::Node;
use crate::snapshot::NodeState;
use crate::snapshot::Readiness;
use crate::store::Write;

/// Time between two writes of when nodes were heard. Lost without harm.
const FLUSH_SEEN_EVERY_MS: i64 = 30_000;

impl Core {
    /// What has to be done because time passed.
    pub(crate) fn tick(&mut self, now: Now) {
        if !self.is_durable(now) {
            return;
        }
        self.judge_due(now);
        while let Some((at, name)) = self.quiet.first().cloned() {
            if at > now.ms {
                break;
            }
            self.quiet.remove(&(at, name.clone()));
            self.watch(&name, now);
        }
        if now.ms >= self.seen_flush_at_ms {
            self.flush_seen(now);
            self.asks.prune(now.ms);
            self.trim_history();
        }
    }

    /// Writes when nodes were heard, for those that were heard since the last time.
    pub(crate) fn flush_seen(&mut self, now: Now) {
        self.seen_flush_at_ms = now.ms.saturating_add(FLUSH_SEEN_EVERY_MS);
        for (name, known) in &mut self.known {
            if known.flushed == known.sequence {
                continue;
            }
            let Some(node) = self.nodes.get(name.as_str()) else { continue };
            known.flushed = known.sequence;
            self.batch.lazy.push(Write::Seen {
                node: name.clone(),
                at: node.seen.at(),
                skew_secs: node.seen.skew_secs(),
                sequence: known.sequence,
            });
        }
    }

    /// Lets the oldest entries of the history go.
    fn trim_history(&mut self) {
        let through = self.last_history.saturating_sub(self.settings.max_history);
        if through > self.trimmed_history {
            self.trimmed_history = through;
            self.batch.lazy.push(Write::TrimHistory { through });
        }
    }

    /// Gives a node the state that its silence means, and notes when to look again.
    pub(super) fn watch(&mut self, name: &NodeName, now: Now) {
        let Some(node) = self.nodes.get(name.as_str()) else { return };
        let state = node.state;
        let Some(known) = self.known.get_mut(name) else { return };
        if !state.is_live() {
            return;
        }
        let in_ms = |time: Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
        let interval_ms = in_ms(self.settings.interval);
        let late_ms = interval_ms.saturating_mul(2);
        let silent_ms = interval_ms.saturating_mul(3).max(in_ms(self.settings.silent_after));
        // After a restart nobody can be blamed for what this process has not listened to.
        let judged_from_ms = self.started_ms.saturating_add(late_ms);
        let quiet_ms = now.ms.saturating_sub(known.seen_ms);
        let (next, look_at_ms) = if quiet_ms < late_ms {
            (NodeState::Fresh, Some(known.seen_ms.saturating_add(late_ms)))
        } else if now.ms < judged_from_ms {
            (state, Some(judged_from_ms))
        } else if quiet_ms < silent_ms {
            (NodeState::Late, Some(known.seen_ms.saturating_add(silent_ms)))
        } else {
            (NodeState::Silent, None)
        };
        self.quiet.remove(&(known.quiet_at_ms, name.clone()));
        if let Some(at) = look_at_ms {
            known.quiet_at_ms = at;
            self.quiet.insert((at, name.clone()));
        }
        if next != state {
            self.enter(name, next, now);
        }
    }

    /// Puts a node into a state.
    pub(super) fn enter(&mut self, name: &NodeName, state: NodeState, now: Now) {
        let Some(node) = self.nodes.get(name.as_str()).cloned() else { return };
        let counters = self.counters();
        counters.count_node(node.state, Counted::Went);
        counters.count_node(state, Counted::Came);
        self.nodes.insert(Arc::new(Node { state, state_since: now.at, ..Node::clone(&node) }));
        if self.readiness != Readiness::Ready {
            // Not kept: the reload after the store has recovered comes to the same state.
            return;
        }
        let (node, at) = (name.clone(), now.at);
        let what = What::State(state);
        self.batch.changes.push(Change { id: None, at, node: node.clone(), what });
        self.batch.lazy.push(Write::State { node, state, since: at });
    }
}

//! The requests, each with what was done to its node: rows of the store, and a copy of them in memory.
//!
//! There is one writer, so that the copy is true for as long as every write was answered. After one that
//! was not, all of them are read again.

use std::collections::BTreeMap;

use palisade_plan::fleet::Cordon;
use palisade_plan::request::Request;
use palisade_plan::request::Schedulability;
use palisade_report::Moment;
use palisade_report::NodeUid;
use serde::Deserialize;
use serde::Serialize;

use crate::audit::Happening;
use crate::engine::Engine;
use crate::engine::Kept;
use crate::engine::Refusal;
use crate::store::ReadError;
use crate::store::Reader;
use crate::store::RebootRow;

/// Seconds after which whoever asked for something may ask again: by then all of it is read anew.
const AGAIN_SECS: u64 = 5;

/// A request, and what was done to its node. Its form is that of the store: fields are only added.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Entry {
    pub(super) request: Request,
    /// What has to be undone; `None`: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) trace: Option<Trace>,
}

/// What the cordon of a cluster is elsewhere: that this node is in the hands of its request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Trace {
    /// What the node was before, as recorded.
    pub(super) before: Schedulability,
    /// How far the hook is that empties it.
    pub(super) emptied: Emptied,
    /// When it was said that the node is empty. `None`: it was not, or by a collector that did not keep
    /// it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) emptied_at: Option<Moment>,
}

/// How far the emptying of a node is. Written before it is true, so that nothing is done that nobody
/// undoes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Emptied {
    /// Nobody was asked.
    Untouched,
    /// Somebody may have been asked.
    Begun,
    /// Whoever was asked said that it is empty.
    Done,
}

/// Seconds for which it is believed that a node is empty, whatever keeps it from going down. In a cluster
/// pods are read for each grant; asking a hook is work for whoever is asked.
const BELIEVED_SECS: i64 = 300;

impl Trace {
    /// Whether the node was said to be empty, not too long before `at`.
    pub(super) fn is_empty(&self, at: Moment) -> bool {
        let is_fresh = |said: Moment| (0..BELIEVED_SECS).contains(&at.since(said));
        self.emptied == Emptied::Done && self.emptied_at.is_some_and(is_fresh)
    }
}

impl Entry {
    /// What stands for the cordon of its node.
    pub(super) fn cordon(&self) -> Cordon {
        match &self.trace {
            Some(_) => Cordon::Ours { request: self.request.id.clone() },
            None => Cordon::Schedulable,
        }
    }
}

/// Why the requests are not known. At fault: the disk, or a newer collector.
#[derive(Debug, thiserror::Error)]
pub(super) enum LoadError {
    /// The rows cannot be read.
    #[error("failed to read the requests for reboots")]
    Read(#[source] ReadError),
    /// A row is none of ours.
    #[error("failed to understand the request for a reboot of node {uid}")]
    Malformed {
        /// The node.
        uid: NodeUid,
        /// Where and why.
        source: serde_json::Error,
    },
}

/// All requests.
pub(super) struct Register {
    engine: Engine,
    known: Option<BTreeMap<NodeUid, Entry>>,
}

impl Register {
    /// One that has not been read yet.
    pub(super) const fn new(engine: Engine) -> Self {
        Self { engine, known: None }
    }

    /// Reads them, unless they are known.
    ///
    /// # Errors
    /// [`LoadError`]: without one of them nothing may be started.
    pub(super) async fn load(&mut self, reader: &Reader) -> Result<(), LoadError> {
        if self.known.is_some() {
            return Ok(());
        }
        let mut known = BTreeMap::new();
        for RebootRow { uid, body } in reader.reboots().await.map_err(LoadError::Read)? {
            let entry: Entry = serde_json::from_slice(&body)
                .map_err(|source| LoadError::Malformed { uid: uid.clone(), source })?;
            known.insert(uid, entry);
        }
        self.known = Some(known);
        Ok(())
    }

    /// Whether they are known.
    pub(super) const fn is_known(&self) -> bool {
        self.known.is_some()
    }

    /// The request of a node.
    pub(super) fn find(&self, uid: &NodeUid) -> Option<&Entry> {
        self.known.as_ref()?.get(uid)
    }

    /// All requests by node, without what was done.
    pub(super) fn requests(&self) -> BTreeMap<NodeUid, Request> {
        let all = self.known.iter().flatten();
        all.map(|(uid, entry)| (uid.clone(), entry.request.clone())).collect()
    }

    /// Puts an entry in place of the one of its node, with what the audit says of it. Returns the request
    /// as it is written.
    ///
    /// # Errors
    /// [`Refusal`]: nothing of it is written, or nobody knows.
    pub(super) async fn put(
        &mut self,
        mut entry: Entry,
        told: Vec<Happening>,
    ) -> Result<Request, Refusal> {
        let uid = entry.request.uid.clone();
        let before = self.find(&uid).and_then(|it| it.request.version.parse::<u64>().ok());
        entry.request.version = before.unwrap_or(0).saturating_add(1).to_string();
        // None of its maps has keys that are no texts.
        let body = serde_json::to_vec(&entry).unwrap_or_default();
        let row = RebootRow { uid: uid.clone(), body };
        self.keep(Kept::Request(row), told).await?;
        let request = entry.request.clone();
        if let Some(known) = &mut self.known {
            known.insert(uid, entry);
        }
        Ok(request)
    }

    /// Takes the entry of a node away.
    ///
    /// # Errors
    /// [`Refusal`]: nothing of it is written, or nobody knows.
    pub(super) async fn remove(
        &mut self,
        uid: &NodeUid,
        told: Vec<Happening>,
    ) -> Result<(), Refusal> {
        self.keep(Kept::Gone(uid.clone()), told).await?;
        if let Some(known) = &mut self.known {
            known.remove(uid);
        }
        Ok(())
    }

    /// Keeps nothing while it is not known what it would replace.
    async fn keep(&mut self, kept: Kept, told: Vec<Happening>) -> Result<(), Refusal> {
        if self.known.is_none() {
            return Err(Refusal::NotDurable { retry_after_secs: AGAIN_SECS });
        }
        let outcome = self.engine.keep(kept, told).await;
        if outcome.is_err() {
            self.known = None;
        }
        outcome
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use palisade_plan::step;

    use super::*;
    use crate::audit::Kind;
    use crate::clock::SystemClock;
    use crate::engine::EngineSettings;
    use crate::engine::EngineThread;
    use crate::judge::ProfileJudge;
    use crate::reboots::errand;
    use crate::store::AuditFilter;
    use crate::store::Store;
    use crate::testing::Scratch;

    const NOW: Moment = Moment::from_unix(1_800_000_000);

    fn open(directory: &Path) -> (Register, Engine, EngineThread, Reader) {
        let store = Store::open(&directory.join("palisade.db")).unwrap();
        let reader = store.reader().unwrap();
        let judge = std::sync::Arc::new(ProfileJudge::load(None, None).unwrap());
        let clock = std::sync::Arc::new(SystemClock::start());
        let settings = EngineSettings::default();
        let (engine, thread) = Engine::start(store, settings, judge, clock).unwrap();
        (Register::new(engine.clone()), engine, thread, reader)
    }

    fn entry() -> Entry {
        let wish = errand::asked(None, None, "anna", NOW);
        let name = || "db-1".to_owned();
        let request =
            step::requested(name().parse().unwrap(), name().parse().unwrap(), wish, 1, NOW);
        let before = Schedulability::Schedulable;
        let trace = Some(Trace { before, emptied: Emptied::Begun, emptied_at: None });
        Entry { request: Request { id: "an-id".to_owned(), ..request }, trace }
    }

    #[tokio::test]
    async fn what_was_kept_is_there_after_a_restart_with_its_word_in_the_audit() {
        let scratch = Scratch::new();
        let (mut register, engine, thread, reader) = open(&scratch.0);
        let told = || vec![Happening::own(Kind::Reboot, "db-1", "a test")];
        assert!(register.put(entry(), told()).await.is_err(), "not known what it would replace");
        register.load(&reader).await.unwrap();
        let written = register.put(entry(), told()).await.unwrap();
        assert_eq!(written.version, "1");
        let again = Entry { request: written, ..entry() };
        assert_eq!(register.put(again, Vec::new()).await.unwrap().version, "2");
        engine.stop();
        thread.join();
        assert!(register.put(entry(), told()).await.is_err(), "nobody keeps it");
        assert!(!register.is_known(), "so nobody knows");

        drop(reader);
        let (mut register, engine, thread, reader) = open(&scratch.0);
        register.load(&reader).await.unwrap();
        let found = register.find(&entry().request.uid).unwrap().clone();
        assert_eq!((found.trace.clone(), found.request.version.as_str()), (entry().trace, "2"));
        assert_eq!(found.cordon(), Cordon::Ours { request: "an-id".to_owned() });
        let filter = AuditFilter { kind: Some(Kind::Reboot), ..AuditFilter::default() };
        let audit = reader.audit(filter.clone(), None, 10).await.unwrap();
        assert_eq!(audit.rows.len(), 1, "only what was kept is told");
        register.remove(&entry().request.uid, told()).await.unwrap();
        assert_eq!(register.requests(), BTreeMap::new());
        assert_eq!(reader.reboots().await.unwrap(), []);
        assert_eq!(reader.audit(filter, None, 10).await.unwrap().rows.len(), 2);
        engine.stop();
        thread.join();
    }

    #[test]
    fn that_a_node_is_empty_is_believed_for_minutes_and_never_without_its_moment() {
        let trace = |emptied, emptied_at| {
            let before = Schedulability::Schedulable;
            Trace { before, emptied, emptied_at }
        };
        let done = trace(Emptied::Done, Some(NOW));
        for (secs, is_empty) in [(-1, false), (0, true), (299, true), (300, false)] {
            assert_eq!(done.is_empty(NOW.plus(secs)), is_empty, "{secs}");
        }
        assert!(!trace(Emptied::Begun, Some(NOW)).is_empty(NOW));
        let old = r#"{"before":"schedulable","emptied":"done"}"#;
        let old: Trace = serde_json::from_str(old).unwrap();
        assert_eq!(old, trace(Emptied::Done, None));
        assert!(!old.is_empty(NOW), "it is asked once more");
    }

    #[tokio::test]
    async fn a_row_that_nobody_understands_stops_everything() {
        let scratch = Scratch::new();
        let (mut register, engine, thread, reader) = open(&scratch.0);
        let row = RebootRow { uid: "db-1".parse().unwrap(), body: b"{}".to_vec() };
        engine.keep(Kept::Request(row), Vec::new()).await.unwrap();
        let refused = register.load(&reader).await.unwrap_err();
        assert!(refused.to_string().contains("node db-1"), "{refused}");
        assert!(!register.is_known());
        engine.stop();
        thread.join();
    }
}

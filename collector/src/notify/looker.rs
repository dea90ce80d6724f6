//! Looks at what the collector knows of its fleet, for alerts: the engine's picture, the coordinator's
//! view, the audit. What is worth an alert is decided in [`sources`].

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use palisade_alert::book::Record;
use palisade_alert::book::State;
use palisade_alert::key::Key;
use palisade_alert::sighting::Sighting;
use palisade_alert::sighting::Values;
use palisade_report::Moment;
use palisade_report::NodeName;
use palisade_rules::Profile;
use tokio::runtime::Handle;
use tokio::time::timeout;

use super::core::Seen;
use super::owner::Looker;
use super::sources;
use super::sources::Boot;
use super::sources::Coordinator;
use super::sources::Incident;
use super::sources::Sources;
use super::sources::World;
use crate::audit;
use crate::chain::Chain;
use crate::clock::Clock;
use crate::engine::Engine;
use crate::figures::Figures;
use crate::figures::OwnCertificates;
use crate::planned::Planned;
use crate::planned::View;
use crate::snapshot::Snapshot;
use crate::store::AuditFilter;
use crate::store::ReadError;
use crate::store::Reader;

/// Time between two looks into audit and history: what they tell holds for an hour at least.
const READ_EVERY: Duration = Duration::from_secs(15);

/// How long alerts wait for that: a disk that hangs must not keep people from being told of the rest.
const READ_WITHIN: Duration = Duration::from_secs(10);

/// What is looked at.
pub(crate) struct Sight {
    pub(crate) engine: Engine,
    pub(crate) reader: Reader,
    pub(crate) planned: Arc<Planned>,
    pub(crate) coordinator: Coordinator,
    pub(crate) figures: Arc<Figures>,
    pub(crate) rules: Arc<Profile>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) runtime: Handle,
}

/// Looks at the fleet.
pub(crate) struct FleetLooker {
    sight: Sight,
    sources: Sources,
    started_at: Moment,
    read_at: Option<Instant>,
    incidents: Vec<Incident>,
    boots: Vec<Boot>,
    /// Nodes whose planned reboot goes as it should; `None`: no view has told yet.
    rebooting: Option<BTreeSet<NodeName>>,
    /// What was looked at last; what ended something is told by it.
    last: Option<Last>,
}

struct Last {
    snapshot: Arc<Snapshot>,
    view: Option<Arc<View>>,
    own: OwnCertificates,
    now: Moment,
}

impl FleetLooker {
    pub(crate) fn new(sight: Sight) -> Self {
        Self {
            started_at: sight.clock.now(),
            sight,
            sources: Sources::default(),
            read_at: None,
            incidents: Vec::new(),
            boots: Vec::new(),
            rebooting: None,
            last: None,
        }
    }

    /// Reads what the audit and the history have of the last hours.
    fn read(&mut self) {
        if self.read_at.is_some_and(|at| at.elapsed() < READ_EVERY) {
            return;
        }
        self.read_at = Some(Instant::now());
        let reader = &self.sight.reader;
        let since = self.sight.clock.now().plus(-sources::INCIDENTS_WITHIN_SECS);
        let read = async {
            let mut entries = Vec::new();
            for kind in sources::INCIDENT_KINDS.into_iter().chain([audit::Kind::Reboot]) {
                let filter = AuditFilter { kind: Some(kind), ..AuditFilter::default() };
                let page = reader.audit(filter, None, sources::MAX_INCIDENTS).await?;
                entries.extend(page.rows.into_iter().map(|row| row.entry));
            }
            let history = reader.events_since(since, sources::MAX_INCIDENTS).await?;
            Ok::<_, ReadError>((entries, history))
        };
        let read = self.sight.runtime.block_on(async { timeout(READ_WITHIN, read).await });
        match read {
            Ok(Ok((entries, history))) => {
                self.boots = sources::boots(&entries);
                self.incidents = sources::incidents(&entries);
                self.incidents.extend(sources::oddities(&history));
            }
            // What was read before goes on: not knowing ends nothing.
            Ok(Err(error)) => {
                tracing::warn!(cause = %Chain(&error), "alerts are without the newest audit");
            }
            Err(late) => tracing::warn!(cause = %late, "alerts are without the newest audit"),
        }
    }

    fn world<'w>(&'w self, last: &'w Last) -> World<'w> {
        World {
            snapshot: &last.snapshot,
            view: last.view.as_deref(),
            coordinator: self.sight.coordinator,
            own: last.own,
            rules: &self.sight.rules,
            incidents: &self.incidents,
            boots: &self.boots,
            version: env!("CARGO_PKG_VERSION"),
            started_at: self.started_at,
            now: last.now,
        }
    }
}

impl Looker for FleetLooker {
    fn remember(&mut self, records: &mut dyn Iterator<Item = &Record>) {
        let alive = records.filter(|it| !matches!(it.state, State::Resolved(_)));
        let sighting = |record: &Record| Sighting {
            key: record.key.clone(),
            severity: record.severity,
            since: Some(record.holds_from),
            values: Arc::clone(&record.values),
        };
        self.sources.remember(alive.map(|it| (it.scope.clone(), sighting(it))));
    }

    fn forget(&mut self) {
        self.sources.forget();
    }

    fn look(&mut self) -> Option<Seen> {
        if !self.sight.engine.is_running() {
            return None;
        }
        self.read();
        let last = Last {
            snapshot: self.sight.engine.snapshot(),
            view: self.sight.planned.view(),
            own: self.sight.figures.own_certificates(),
            now: self.sight.clock.now(),
        };
        let mut sources = std::mem::take(&mut self.sources);
        let looks = sources.look(&self.world(&last));
        let gone = sources.gone();
        self.sources = sources;
        let rebooting = self.rebooting.take();
        self.rebooting = sources::rebooting_now(&self.world(&last), rebooting);
        let rebooting = match &self.rebooting {
            Some(known) => known.clone(),
            // Any of them may be one of those; that is known in a minute at most.
            None => last.snapshot.nodes.iter().map(|it| it.name.clone()).collect(),
        };
        self.last = Some(last);
        Some(Seen { looks, gone, rebooting })
    }

    fn ending(&self, key: &Key, values: &Values) -> String {
        match &self.last {
            Some(last) => sources::ending(&self.world(last), key, values),
            None => "it holds no more".to_owned(),
        }
    }
}

//! What answers a call: from the published snapshot, the store's readers, or the engine.
//!
//! Nothing here knows HTTP. A call that arrives before the stored state is loaded is told to come
//! back; `/livez` is answered at once.

use std::sync::Arc;
use std::sync::OnceLock;

use palisade_report::Digest;
use tokio::sync::watch;

pub mod answer;

use crate::clock::Clock;
use crate::engine::Engine;
use crate::figures::Figures;
use crate::http::Call;
use crate::http::limits::Limits;
use crate::store::Reader;
use answer::Answer;
use answer::Kind;
use answer::Media;
use answer::Refused;

/// What calls are answered from.
#[derive(Debug)]
pub struct App {
    /// Counts of the HTTP side.
    pub figures: Figures,
    /// Bounds.
    pub limits: Limits,
    loaded: OnceLock<Loaded>,
    feeds: watch::Sender<bool>,
}

/// What there is once the stored state is loaded.
pub struct Loaded {
    /// The engine.
    pub engine: Engine,
    /// Reads beside it.
    pub reader: Reader,
    /// The clock.
    pub clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for Loaded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Loaded")
    }
}

impl App {
    /// An app that answers `/livez` and nothing else until [`Self::load`].
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        let feeds = watch::Sender::new(true);
        Self { figures: Figures::default(), limits, loaded: OnceLock::new(), feeds }
    }

    /// Ends all change feeds, which would never end by themselves.
    pub fn stop_feeds(&self) {
        self.feeds.send_replace(false);
    }

    /// From now on calls are answered. A second call changes nothing.
    pub fn load(&self, loaded: Loaded) {
        if self.loaded.set(loaded).is_err() {
            tracing::error!("the stored state was loaded twice");
        }
    }

    /// A tag for what follows from the published snapshot and this question alone.
    #[must_use]
    pub fn tag(&self, question: &str) -> Option<String> {
        let snapshot = self.loaded.get()?.engine.snapshot();
        let question = Digest::of(question.as_bytes()).short();
        Some(format!("\"{}-{}-{question}\"", snapshot.started_at.unix(), snapshot.version))
    }

    fn loaded(&self) -> Result<&Loaded, Refused> {
        self.loaded.get().ok_or_else(|| {
            Refused::new(Kind::NotReady, "the stored state is being loaded").retry_after(1)
        })
    }

    /// Answers a call.
    pub async fn answer(&self, call: Call) -> Answer {
        self.try_answer(call).await.unwrap_or_else(Answer::Refused)
    }

    async fn try_answer(&self, call: Call) -> Result<Answer, Refused> {
        match call {
            Call::Live => Ok(Answer::text(Media::Text, "ok\n")),
            Call::Heartbeat { node, heartbeat } => {
                let loaded = self.loaded()?;
                self.figures.count_heartbeat();
                let now = loaded.clock.now();
                Ok(Answer::json(&loaded.engine.heartbeat(node, *heartbeat, now).await?))
            }
            Call::Certificates(_)
            | Call::Facts(_)
            | Call::Findings(_)
            | Call::History(_)
            | Call::Index
            | Call::Metrics
            | Call::Node { .. }
            | Call::Nodes(_)
            | Call::OpenApi
            | Call::Ready
            | Call::Retire(_)
            | Call::Rules
            | Call::Sections { .. }
            | Call::Summary
            | Call::Watch { .. } => {
                self.loaded()?;
                Err(Refused::new(Kind::NotReady, "not answered yet"))
            }
        }
    }
}

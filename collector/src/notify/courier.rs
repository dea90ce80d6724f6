//! Carries one message at a time to one receiver, and says what came of it.
//!
//! One task for each receiver: a receiver that hangs holds up nobody else. Nothing is decided here but
//! what a connection's fate means; the words are made by `palisade-alert`, and so are conclusions.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::future::join_all;
use palisade_alert::answer;
use palisade_alert::key::AlertId;
use palisade_alert::notice::Notice;
use palisade_alert::notice::Noticed;
use palisade_alert::outgoing::Event;
use palisade_alert::outgoing::HttpRequest;
use palisade_alert::outgoing::Outcome;
use palisade_alert::outgoing::Outgoing;
use palisade_alert::receiver::Target;
use palisade_alert::receiver::TargetKind;
use palisade_alert::render::Size;
use palisade_alert::render::alertmanager;
use palisade_alert::render::alertmanager::Batch;
use palisade_alert::render::render;
use palisade_alert::secret::Secret;
use palisade_alert::severity::Severity;
use palisade_alert::template::Templates;

use super::core::Content;
use super::dial::Dialer;
use super::mail;
use super::post::Poster;
use crate::chain::Chain;
use crate::clock::Clock;

/// Requests that finding the refused alerts of one batch may take: a thousand alerts of which ten are
/// refused need a hundred.
const MAX_HALVINGS: usize = 256;

/// Who tells Events of a cluster.
pub trait TellEvents: fmt::Debug + Send + Sync + 'static {
    /// Tells one.
    fn tell(&self, event: Event) -> BoxFuture<'_, Outcome>;
}

/// What a message needs beside its content.
#[derive(Debug)]
pub(super) struct Load {
    pub(super) content: Content,
    pub(super) target: Target,
    pub(super) templates: Templates,
    pub(super) external_url: String,
}

/// The way to one receiver.
#[derive(Debug)]
pub(super) struct Courier {
    dialer: Dialer,
    posters: Vec<Poster>,
    clock: Arc<dyn Clock>,
    events: Option<Arc<dyn TellEvents>>,
    receiver: String,
}

impl Courier {
    pub(super) fn new(
        receiver: String,
        dialer: Dialer,
        clock: Arc<dyn Clock>,
        events: Option<Arc<dyn TellEvents>>,
    ) -> Self {
        Self { dialer, posters: Vec::new(), clock, events, receiver }
    }

    /// Carries a message, and says what came of it.
    pub(super) async fn carry(&mut self, load: &Load) -> Outcome {
        let Load { content, target, templates, external_url } = load;
        match content {
            Content::Alerts(alerts) => {
                let Target::Alertmanager { urls, token } = target else {
                    return Outcome::Dead { why: "it takes no single alerts".to_owned() };
                };
                self.tell_each(alerts, urls, token.as_ref(), external_url).await
            }
            Content::Notice(notice) => {
                let whole = self.say(target, notice, templates, Size::Full).await;
                if whole != Outcome::TooLarge {
                    return whole;
                }
                let shrunk = self.say(target, notice, templates, Size::Shrunk).await;
                if shrunk != Outcome::TooLarge {
                    return shrunk;
                }
                let why = "the receiver takes nothing so large, though it was shortened";
                Outcome::Dead { why: why.to_owned() }
            }
        }
    }

    async fn say(
        &mut self,
        target: &Target,
        notice: &Notice,
        templates: &Templates,
        size: Size,
    ) -> Outcome {
        let outgoing = match render(target, notice, templates, size) {
            Ok(outgoing) => outgoing,
            Err(error) => return Outcome::Dead { why: Chain(&error).to_string() },
        };
        for message in outgoing {
            let outcome = match message {
                Outgoing::Http(request) => self.post(0, &request, target.kind()).await,
                Outgoing::Email(email) => {
                    let Target::Email { server, .. } = target else {
                        return Outcome::Dead { why: "it takes no mails".to_owned() };
                    };
                    match mail::send(&email, server, &self.dialer, self.clock.now()).await {
                        Ok(handed) => handed.outcome(email.to.len()),
                        Err(error) => error.outcome(),
                    }
                }
                Outgoing::Event(event) => match &self.events {
                    Some(events) => events.tell(event).await,
                    None => Outcome::Dead {
                        why: "there is no cluster whose Events could be told".to_owned(),
                    },
                },
            };
            if outcome != Outcome::Delivered {
                return outcome;
            }
        }
        Outcome::Delivered
    }

    async fn post(&mut self, member: usize, request: &HttpRequest, kind: TargetKind) -> Outcome {
        while self.posters.len() <= member {
            self.posters.push(Poster::new(self.dialer.clone()));
        }
        let Some(poster) = self.posters.get_mut(member) else { return Outcome::TooLarge };
        post(poster, request, kind, &*self.clock).await
    }

    /// Tells every member of a cluster of Alertmanagers, side by side. One that takes it is enough:
    /// the others hear it again within a minute.
    async fn tell_each(
        &mut self,
        alerts: &[(Noticed, Vec<Severity>)],
        urls: &[Secret],
        token: Option<&Secret>,
        external_url: &str,
    ) -> Outcome {
        let now = self.clock.now();
        let each = alerts.iter().map(|(noticed, severities)| (noticed, severities));
        let batches = alertmanager::batches(each, external_url, now);
        while self.posters.len() < urls.len() {
            self.posters.push(Poster::new(self.dialer.clone()));
        }
        let clock = &*self.clock;
        let members = self.posters.iter_mut().zip(urls).map(|(poster, url)| {
            let batches = batches.clone();
            async move { tell_member(poster, batches, url, token, clock).await }
        });
        let outcomes = join_all(members).await;
        for (member, outcome) in outcomes.iter().enumerate() {
            if *outcome != Outcome::Delivered {
                tracing::warn!(receiver = self.receiver, member, ?outcome, "a member took not all");
            }
        }
        of_members(outcomes)
    }
}

/// What outcomes of members come to: the best of them. One that would take it later counts for more than
/// one that never will: the message is worth another attempt.
fn of_members(outcomes: Vec<Outcome>) -> Outcome {
    let rank = |outcome: &Outcome| match outcome {
        Outcome::Delivered => 0,
        Outcome::Partial { .. } => 1,
        Outcome::Retry { .. } => 2,
        Outcome::TooLarge => 3,
        Outcome::Dead { .. } => 4,
    };
    outcomes.into_iter().min_by_key(rank).unwrap_or(Outcome::Delivered)
}

/// Tells one member. Of a batch of which parts are refused, those parts are found and left out. One that
/// refuses all of it is none that takes alerts, whatever its words.
async fn tell_member(
    poster: &mut Poster,
    batches: Vec<Batch>,
    url: &Secret,
    token: Option<&Secret>,
    clock: &dyn Clock,
) -> Outcome {
    let told: usize = batches.iter().map(|it| it.alerts().count()).sum();
    let mut left = batches;
    let mut halvings = 0;
    let mut refused: Vec<(AlertId, Severity)> = Vec::new();
    let mut first_why = None;
    while let Some(batch) = left.pop() {
        let request = batch.request(url, token);
        let outcome = post(poster, &request, TargetKind::Alertmanager, clock).await;
        let why = match outcome {
            Outcome::Delivered => continue,
            Outcome::Partial { why } => why,
            Outcome::TooLarge => "too large".to_owned(),
            Outcome::Dead { .. } | Outcome::Retry { .. } => return outcome,
        };
        halvings += 1;
        match batch.halves() {
            Some((one, other)) if halvings <= MAX_HALVINGS => left.extend([one, other]),
            Some(_) | None => {
                refused.extend(batch.alerts());
                first_why.get_or_insert(why);
            }
        }
    }
    let Some(why) = first_why else { return Outcome::Delivered };
    if refused.len() == told {
        return Outcome::Dead { why };
    }
    for (id, severity) in &refused {
        // Labels are checked before they are sent: a refusal is our bug.
        tracing::error!(alert = %id, %severity, why, "Alertmanager refuses an alert");
    }
    Outcome::Partial { why: format!("{} of {told} alerts: {why}", refused.len()) }
}

async fn post(
    poster: &mut Poster,
    request: &HttpRequest,
    kind: TargetKind,
    clock: &dyn Clock,
) -> Outcome {
    let now = clock.now();
    match poster.post(request, now).await {
        Ok(answer) => {
            let after = answer.retry_after.as_deref();
            answer::understand_answer_to(request, kind, answer.status, after, &answer.body, now)
        }
        Err(error) => error.outcome(),
    }
}

/// How long a courier may take with one message before it is asked no more: well beyond what its
/// parts may take by themselves.
pub(super) const PATIENCE: Duration = Duration::from_secs(300);

#[cfg(test)]
mod tests;

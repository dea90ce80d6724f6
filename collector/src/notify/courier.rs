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
use palisade_alert::render::Size;
use palisade_alert::render::alertmanager;
use palisade_alert::render::alertmanager::Batch;
use palisade_alert::render::render;
use palisade_alert::severity::Severity;
use palisade_alert::template::Templates;
use tokio::time::Instant;

use super::core::Content;
use super::dial::Dialer;
use super::mail;
use super::post::Poster;
use crate::chain::Chain;
use crate::clock::Clock;

mod progress;

pub(super) use progress::Turn;

use progress::Left;
use progress::Messages;
use progress::Progress;

/// Requests that finding the refused alerts of one batch may take: a thousand alerts of which ten are
/// refused need a hundred.
const MAX_HALVINGS: usize = 256;

/// Parts of a message that may fail in one attempt, before the others wait for the next one: with the time
/// of a mail for each they end before [`PATIENCE`] does.
const MAX_LATE: usize = 4;

/// Time between two trials of a receiver.
const TRIAL_EVERY: Duration = Duration::from_secs(5);

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
    /// Which message it is, so that another attempt asks nobody twice; `None`: there is no other one.
    pub(super) turn: Option<Turn>,
}

/// The way to one receiver.
#[derive(Debug)]
pub(super) struct Courier {
    way: Way,
    /// When somebody tried it out last.
    tried_at: Option<Instant>,
    /// What became of parts of messages.
    messages: Messages,
}

#[derive(Debug)]
struct Way {
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
        let way = Way { dialer, posters: Vec::new(), clock, events, receiver };
        Self { way, tried_at: None, messages: Messages::default() }
    }

    /// Carries a message, and says what came of it.
    pub(super) async fn carry(&mut self, load: &Load) -> Outcome {
        let outcome = self.hand_over(load).await;
        if let Outcome::Partial { why } = &outcome {
            tracing::error!(receiver = self.way.receiver, why, "a message was taken in part");
        }
        outcome
    }

    /// Carries a message that somebody asked for, to see what comes of it. Not more often than people look
    /// at the answer: a receiver should not be worn out by whoever may ask.
    pub(super) async fn try_out(&mut self, load: &Load) -> Outcome {
        if let Some(rest) = self.tried_at.and_then(|at| TRIAL_EVERY.checked_sub(at.elapsed())) {
            let why = format!("it was tried out less than {TRIAL_EVERY:?} ago");
            return Outcome::Retry { after: Some(rest), why };
        }
        let outcome = self.carry(load).await;
        self.tried_at = Some(Instant::now());
        outcome
    }

    async fn hand_over(&mut self, load: &Load) -> Outcome {
        match &load.content {
            Content::Alerts(alerts) => {
                self.way.tell_each(alerts, &load.target, &load.external_url).await
            }
            Content::Notice(notice) => {
                let mut outcome = self.say(load, notice, Size::Full).await;
                if outcome == Outcome::TooLarge {
                    outcome = self.say(load, notice, Size::Shrunk).await;
                }
                if !matches!(outcome, Outcome::Lost { .. } | Outcome::Retry { .. })
                    && let Some(turn) = &load.turn
                {
                    self.messages.forget(turn);
                }
                outcome
            }
        }
    }

    /// Says it to everybody who has not taken it yet. What one part comes to keeps it from no other.
    async fn say(&mut self, load: &Load, notice: &Notice, size: Size) -> Outcome {
        let Load { content: _, target, templates, external_url: _, turn } = load;
        let outgoing = match render(target, notice, templates, size) {
            Ok(outgoing) => outgoing,
            Err(error) => return Outcome::Dead { why: Chain(&error).to_string() },
        };
        let mut alone = Progress::default();
        let progress = match turn {
            Some(turn) => self.messages.of(turn),
            None => &mut alone,
        };
        let named = outgoing.into_iter().enumerate();
        let mut parts: Vec<(String, Outgoing)> =
            named.map(|(at, message)| (part(target, at, &message), message)).collect();
        parts.retain(|(name, _)| !progress.is_settled(name));
        // Those that were tried least go first: some that hang keep the message from nobody for long.
        parts.sort_by_key(|(name, _)| progress.tries(name));
        let mut left = Left::default();
        for (name, message) in parts {
            if left.late() >= MAX_LATE {
                break;
            }
            progress.begin(&name);
            let mut outcome = self.way.send(&message, target).await;
            if outcome == Outcome::TooLarge && size == Size::Shrunk {
                let why = "the receiver takes nothing so large, though it was shortened";
                outcome = Outcome::Dead { why: why.to_owned() };
            }
            progress.end(&name, outcome, &mut left);
        }
        progress.outcome(left)
    }
}

/// What people call a part of a message, the same at each attempt.
fn part(target: &Target, at: usize, message: &Outgoing) -> String {
    match (target, message) {
        (_, Outgoing::Event(event)) => format!("Event {} of {}", event.turn, event.node),
        (Target::Telegram { chats, .. }, _) => {
            format!("chat {}", chats.get(at).map_or("", |it| it))
        }
        (_, Outgoing::Email(_) | Outgoing::Http(_)) => format!("request {}", at.saturating_add(1)),
    }
}

impl Way {
    async fn send(&mut self, message: &Outgoing, target: &Target) -> Outcome {
        match message {
            Outgoing::Http(request) => self.post(0, request, target).await,
            Outgoing::Email(email) => {
                let Target::Email { server, .. } = target else {
                    return Outcome::Dead { why: "it takes no mails".to_owned() };
                };
                match mail::send(email, server, &self.dialer, self.clock.now()).await {
                    Ok(handed) => handed.outcome(email.to.len()),
                    Err(error) => error.outcome(),
                }
            }
            Outgoing::Event(event) => match &self.events {
                Some(events) => events.tell(event.clone()).await,
                None => {
                    let why = "there is no cluster whose Events could be told".to_owned();
                    Outcome::Dead { why }
                }
            },
        }
    }

    async fn post(&mut self, member: usize, request: &HttpRequest, target: &Target) -> Outcome {
        while self.posters.len() <= member {
            self.posters.push(Poster::new(self.dialer.clone()));
        }
        let Some(poster) = self.posters.get_mut(member) else { return Outcome::TooLarge };
        post(poster, request, target, &*self.clock).await
    }

    /// Tells every member of a cluster of Alertmanagers, side by side. One that takes it is enough:
    /// the others hear it again within a minute.
    async fn tell_each(
        &mut self,
        alerts: &[(Noticed, Vec<Severity>)],
        target: &Target,
        external_url: &str,
    ) -> Outcome {
        let Target::Alertmanager { urls, token } = target else {
            return Outcome::Dead { why: "it takes no single alerts".to_owned() };
        };
        let now = self.clock.now();
        let each = alerts.iter().map(|(noticed, severities)| (noticed, severities));
        let batches = alertmanager::batches(each, external_url, now);
        while self.posters.len() < urls.len() {
            self.posters.push(Poster::new(self.dialer.clone()));
        }
        let clock = &*self.clock;
        let members = self.posters.iter_mut().zip(urls).map(|(poster, url)| {
            let batches = batches.clone();
            async move {
                let request = |batch: &Batch| batch.request(url, token.as_ref());
                tell_member(poster, batches, request, target, clock).await
            }
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
        Outcome::Lost { .. } | Outcome::Retry { .. } => 2,
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
    request: impl Fn(&Batch) -> HttpRequest,
    target: &Target,
    clock: &dyn Clock,
) -> Outcome {
    let told: usize = batches.iter().map(|it| it.alerts().count()).sum();
    let mut left = batches;
    let mut halvings = 0;
    let mut refused: Vec<(AlertId, Severity)> = Vec::new();
    let mut first_why = None;
    while let Some(batch) = left.pop() {
        let outcome = post(poster, &request(&batch), target, clock).await;
        let why = match outcome {
            Outcome::Delivered => continue,
            Outcome::Partial { why } => why,
            Outcome::TooLarge => "too large".to_owned(),
            Outcome::Dead { .. } | Outcome::Lost { .. } | Outcome::Retry { .. } => return outcome,
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
    target: &Target,
    clock: &dyn Clock,
) -> Outcome {
    let now = clock.now();
    match poster.post(request, now).await {
        Ok(answer) => {
            let after = answer.retry_after.as_deref();
            answer::understand_answer_to(request, target, answer.status, after, &answer.body, now)
        }
        Err(error) => error.outcome(),
    }
}

/// How long a courier may take with one message before it is asked no more: well beyond what its
/// parts may take by themselves.
pub(super) const PATIENCE: Duration = Duration::from_secs(300);

#[cfg(test)]
mod tests;
#[cfg(test)]
mod timeout;

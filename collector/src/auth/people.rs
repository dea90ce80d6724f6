//! People and tools in Kubernetes: who they are, and whether they may.
//!
//! ```text
//! token ──TokenReview──> Person ──SubjectAccessReview on a virtual resource──> yes or no
//! ```
//!
//! Answers are kept for ten seconds, as Kubernetes' own servers keep them; for what changes
//! something both questions are asked anew. Without an answer nobody may do anything.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use palisade_report::Digest;
use tokio::sync::Semaphore;

use super::Person;
use super::gate::Gate;
use super::gate::Turn;
use crate::chain::Chain;
use crate::clock::Clock;
use crate::kube::access::Access;
use crate::kube::access::Permission;
use crate::kube::access::Wish;
use crate::kube::review::Answer;
use crate::kube::review::AskError;
use crate::kube::review::For;
use crate::kube::review::Reviewed;
use crate::kube::review::Reviewer;
use crate::kube::review::Token;

/// How long an answer is kept: the default of Kubernetes' delegated authorisation.
const KEPT_MS: u64 = 10_000;

/// Answers of each kind that are kept.
const MAX_KEPT: usize = 4096;

/// Questions at once, apart from those about agents.
const QUESTIONS_AT_ONCE: usize = 8;

/// Why a person is turned away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NotAllowed {
    /// Known, and not allowed.
    Access {
        /// Who.
        person: Arc<Person>,
        /// What was wished.
        wish: String,
    },
    /// The account of agents, with a token for the API server.
    Agent,
    /// The API server is silent.
    Silent,
    /// Nobody's token.
    Unknown,
}

/// Whether kept answers count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answers {
    /// Every question is asked anew.
    Fresh,
    /// They count.
    Kept,
}

/// The people of a cluster.
#[derive(Debug)]
pub(super) struct People {
    reviewer: Arc<dyn Reviewer>,
    clock: Arc<dyn Clock>,
    /// The user name of agents.
    agent: String,
    kept: Mutex<Kept>,
    gate: Gate,
    turns: Semaphore,
}

#[derive(Debug, Default)]
struct Kept {
    people: BTreeMap<Digest, (Option<Arc<Person>>, u64)>,
    access: BTreeMap<(Digest, Wish), (Access, u64)>,
}

impl People {
    pub(super) fn new(reviewer: Arc<dyn Reviewer>, clock: Arc<dyn Clock>, agent: String) -> Self {
        let turns = Semaphore::new(QUESTIONS_AT_ONCE);
        Self { reviewer, clock, agent, kept: Mutex::default(), gate: Gate::default(), turns }
    }

    /// Who has this token, and whether they may do what takes this permission.
    pub(super) async fn admit(
        &self,
        key: Digest,
        token: &Token,
        permission: Permission,
        name: Option<&str>,
        answers: Answers,
    ) -> Result<Arc<Person>, NotAllowed> {
        let person = self.person(key, token, answers).await?;
        let wish = Wish::new(permission, name);
        let place = (key, wish);
        let now_ms = self.clock.elapsed_ms();
        let kept = match answers {
            Answers::Fresh => None,
            Answers::Kept => fresh(self.kept().access.get(&place), now_ms),
        };
        let access = match kept {
            Some(access) => access,
            None => {
                let access = self.ask(self.reviewer.access(&person, &place.1)).await?;
                let until = self.clock.elapsed_ms().saturating_add(KEPT_MS);
                keep(&mut self.kept().access, place.clone(), access, until);
                access
            }
        };
        match access {
            Access::Allowed => Ok(person),
            Access::Denied => Err(NotAllowed::Access { person, wish: place.1.to_string() }),
        }
    }

    /// Whether nothing is known of this token, so that a question would have to be asked.
    pub(super) fn is_stranger(&self, key: &Digest) -> bool {
        fresh(self.kept().people.get(key), self.clock.elapsed_ms()).is_none()
    }

    async fn person(
        &self,
        key: Digest,
        token: &Token,
        answers: Answers,
    ) -> Result<Arc<Person>, NotAllowed> {
        let kept = match answers {
            Answers::Fresh => None,
            Answers::Kept => fresh(self.kept().people.get(&key), self.clock.elapsed_ms()),
        };
        let person = match kept {
            Some(person) => person,
            None => {
                let answer = self.ask(self.reviewer.review(token, For::ApiServer)).await?;
                let person = person_of(answer).map(Arc::new);
                let until = self.clock.elapsed_ms().saturating_add(KEPT_MS);
                keep(&mut self.kept().people, key, person.clone(), until);
                person
            }
        };
        let person = person.ok_or(NotAllowed::Unknown)?;
        if person.user == self.agent {
            return Err(NotAllowed::Agent);
        }
        Ok(person)
    }

    async fn ask<T>(
        &self,
        question: impl Future<Output = Result<T, AskError>>,
    ) -> Result<T, NotAllowed> {
        if !self.gate.may_ask(self.clock.elapsed_ms()) {
            return Err(NotAllowed::Silent);
        }
        let turn = self.turns.acquire().await.map_err(|_| NotAllowed::Silent)?;
        let answered = question.await;
        drop(turn);
        let now_ms = self.clock.elapsed_ms();
        match answered {
            Ok(answer) => {
                if self.gate.answered(now_ms) == Turn::CameBack {
                    tracing::info!("the API server says again what people may do");
                }
                Ok(answer)
            }
            Err(error) => {
                if self.gate.failed(now_ms) == Turn::WentSilent {
                    let cause = Chain(&error);
                    tracing::warn!(%cause, "nobody can say what people may do: they may do nothing");
                }
                Err(NotAllowed::Silent)
            }
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn fresh<T: Clone>(kept: Option<&(T, u64)>, now_ms: u64) -> Option<T> {
    kept.filter(|(_, until)| now_ms < *until).map(|(answer, _)| answer.clone())
}

fn keep<K: Ord, T>(all: &mut BTreeMap<K, (T, u64)>, key: K, answer: T, until: u64) {
    if all.len() >= MAX_KEPT {
        let now_ms = until.saturating_sub(KEPT_MS);
        all.retain(|_, (_, until)| *until > now_ms);
    }
    if all.len() >= MAX_KEPT {
        // Any of them may go: it costs its owner one question.
        all.pop_first();
    }
    all.insert(key, (answer, until));
}

fn person_of(answer: Answer) -> Option<Person> {
    match answer {
        Answer::Authenticated(reviewed) => {
            let Reviewed { audiences: _, user, uid, groups, extra } = *reviewed;
            Some(Person { user, uid, groups, extra })
        }
        Answer::Unauthenticated => None,
    }
}

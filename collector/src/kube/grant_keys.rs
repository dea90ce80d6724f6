//! The key that signs grants, in the Secret beside the authority, and the public halves that nodes
//! verify with, in the trust ConfigMap. What is done is decided in [`crate::grants::rotation`].
//!
//! | where | key or annotation | holds |
//! |---|---|---|
//! | Secret | `grant.key` | the key that signs (PEM, PKCS #8) |
//! | | `grant-since` | since when it may (Unix seconds) |
//! | | `next-grant.key` | the key that signs next, during a rotation |
//! | | `palisade.dev/rotate-grant-key` | with any value: asks for a new one |
//! | ConfigMap | `grant-keys` | public halves, a line of 64 digits each |
//! | | `palisade.dev/grant-keys-at` | when they were published (Unix seconds) |
//!
//! The leader alone runs this. ConfigMap before Secret, each write with the `resourceVersion` that it
//! rests on, as the authority's keeper does; the two write different keys of the same objects, so one
//! of them looks again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::Client;
use kube::ResourceExt as _;
use kube::api::PostParams;
use palisade_report::Digest;
use palisade_report::Moment;

use super::client::CallError;
use super::client::call;
use crate::audit::Happening;
use crate::audit::Kind;
use crate::chain::Chain;
use crate::clock::Clock;
use crate::engine::Engine;
use crate::grants::OfferBook;
use crate::grants::key::KeyError;
use crate::grants::key::SigningKey;
use crate::grants::key::public_text;
use crate::grants::rotation;
use crate::grants::rotation::Action;
use crate::grants::rotation::Public;
use crate::grants::rotation::State;

/// Keys of the Secret.
const SIGNING: &str = "grant.key";
const SINCE: &str = "grant-since";
const NEXT: &str = "next-grant.key";

/// Key of the ConfigMap.
pub const PUBLISHED: &str = "grant-keys";

/// The annotation of the ConfigMap that says when the list was published.
const PUBLISHED_AT: &str = "palisade.dev/grant-keys-at";

/// The annotation of the Secret by which a person asks for a new key.
pub const ROTATE: &str = "palisade.dev/rotate-grant-key";

/// Between two looks: two small requests each.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// After a step, or when somebody else wrote: soon, and no storm.
const STEP_PAUSE: Duration = Duration::from_millis(500);

/// For one request.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// Why a look came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum KeepKeyError {
    /// The API server refuses, or does not answer. At fault: its permissions, or the network.
    #[error("failed to {what} {object}")]
    Api {
        /// The verb.
        what: &'static str,
        /// Kind and name.
        object: String,
        /// What it says.
        source: CallError,
    },
    /// Somebody wrote meanwhile, or this collector does not lead. Looking again helps.
    #[error("failed to write {object}: it changed meanwhile, or another collector leads")]
    Elsewhere {
        /// Kind and name.
        object: String,
    },
    /// What the Secret holds is no key. At fault: whoever changed it.
    #[error(
        "failed to use {key} of Secret {secret}: restore it, or remove it to have a new one made"
    )]
    Key {
        /// The key within the Secret.
        key: &'static str,
        /// The Secret.
        secret: String,
        /// What is wrong.
        source: KeyError,
    },
    /// None could be made.
    #[error("failed to make what is due")]
    Make(#[source] KeyError),
    /// There is no such object. At fault: whoever installed or deleted it.
    #[error("failed to find {object}: create it empty, the manifests have it")]
    Missing {
        /// Kind and name.
        object: String,
    },
}

/// Keeps the keys of one leader.
pub struct KeyKeeper {
    secrets: Api<Secret>,
    config_maps: Api<ConfigMap>,
    secret: String,
    trust: String,
    offers: Arc<OfferBook>,
    engine: Engine,
    clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for KeyKeeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyKeeper").field("secret", &self.secret).finish_non_exhaustive()
    }
}

/// What the Secret holds of ours.
struct Held {
    signing: Option<Arc<SigningKey>>,
    next: Option<SigningKey>,
    since: Option<Moment>,
}

impl KeyKeeper {
    /// A keeper of the keys in `secret`, published in `trust`, both in `namespace`. It acts through
    /// `client`, which refuses writes while this collector does not lead.
    #[must_use]
    pub fn new(
        client: Client,
        namespace: &str,
        secret: String,
        trust: String,
        offers: Arc<OfferBook>,
        engine: Engine,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let secrets = Api::namespaced(client.clone(), namespace);
        let config_maps = Api::namespaced(client, namespace);
        Self { secrets, config_maps, secret, trust, offers, engine, clock }
    }

    /// Looks and acts for ever. What cannot be done is said once and tried again; a key that was found
    /// goes on signing meanwhile.
    pub async fn run(self) {
        let mut said: Option<String> = None;
        loop {
            let pause = match self.look().await {
                Ok(Action::Wait) => {
                    said = None;
                    LOOK_EVERY
                }
                Ok(_) | Err(KeepKeyError::Elsewhere { .. }) => STEP_PAUSE,
                Err(error) => {
                    let complaint = Chain(&error).to_string();
                    if said.as_ref() != Some(&complaint) {
                        tracing::error!(cause = %complaint, "the key that signs grants is not in order");
                        said = Some(complaint);
                    }
                    LOOK_EVERY
                }
            };
            tokio::time::sleep(pause).await;
        }
    }

    /// Looks once, and takes one step if one is due.
    async fn look(&self) -> Result<Action, KeepKeyError> {
        let Self { secrets, config_maps, secret, trust, .. } = self;
        let object = format!("ConfigMap {trust}");
        let config_map = within("read", &object, config_maps.get_opt(trust)).await?;
        let config_map = config_map.ok_or(KeepKeyError::Missing { object })?;
        let object = format!("Secret {secret}");
        let found = within("read", &object, secrets.get_opt(secret)).await?;
        let found = found.ok_or(KeepKeyError::Missing { object })?;
        let now = self.clock.now();
        let held = self.held(&found)?;
        let state = state(&held, &found, &config_map);
        let may_sign = rotation::may_sign(&state, now);
        self.offers.sign_with(held.signing.clone().filter(|_| may_sign));
        let action = rotation::next(&state, now);
        match &action {
            Action::Wait => {}
            Action::Publish(keys) => {
                self.publish(config_map, keys, now).await?;
                self.tell("the public halves of the keys that sign grants were published");
            }
            Action::MakeFirst { since } => {
                let key = SigningKey::generate().map_err(KeepKeyError::Make)?;
                let held = Held { signing: Some(Arc::new(key)), next: None, since: Some(*since) };
                self.write(found, &held).await?;
                self.tell("a key that signs grants was made");
            }
            Action::MakeNext => {
                let next = Some(SigningKey::generate().map_err(KeepKeyError::Make)?);
                self.write(found, &Held { next, ..held }).await?;
                self.tell("a key was made that will sign grants next");
            }
            Action::Switch => {
                let held = Held { signing: held.next.map(Arc::new), next: None, since: Some(now) };
                self.write(found, &held).await?;
                self.tell("another key signs grants");
            }
        }
        Ok(action)
    }

    fn held(&self, secret: &Secret) -> Result<Held, KeepKeyError> {
        let text = |key: &str| {
            let value = secret.data.as_ref()?.get(key)?;
            Some(String::from_utf8_lossy(&value.0).into_owned()).filter(|it| !it.is_empty())
        };
        let read = |key: &'static str| {
            let parsed = text(key).map(|pem| SigningKey::from_pem(&pem)).transpose();
            parsed.map_err(|source| KeepKeyError::Key { key, secret: self.secret.clone(), source })
        };
        Ok(Held {
            signing: read(SIGNING)?.map(Arc::new),
            next: read(NEXT)?,
            since: text(SINCE).as_deref().and_then(moment),
        })
    }

    /// Writes the Secret, if it is as it was read and this collector still leads.
    async fn write(&self, read: Secret, held: &Held) -> Result<(), KeepKeyError> {
        let object = format!("Secret {}", self.secret);
        let Held { signing, next, since } = held;
        let mut new = read;
        let mut data = new.data.take().unwrap_or_default();
        for (key, value) in [
            (SIGNING, signing.as_ref().map(|key| key.pem().to_owned())),
            (NEXT, next.as_ref().map(|key| key.pem().to_owned())),
            (SINCE, since.map(|since| since.unix().to_string())),
        ] {
            match value {
                Some(value) => data.insert(key.to_owned(), ByteString(value.into_bytes())),
                None => data.remove(key),
            };
        }
        new.data = Some(data);
        // Whoever asked has got it.
        new.annotations_mut().remove(ROTATE);
        let parameters = PostParams::default();
        let replaced = self.secrets.replace(&self.secret, &parameters, &new);
        within("update", &object, replaced).await.map(drop)
    }

    async fn publish(
        &self,
        read: ConfigMap,
        keys: &[Public],
        now: Moment,
    ) -> Result<(), KeepKeyError> {
        let object = format!("ConfigMap {}", self.trust);
        let mut new = read;
        let text = public_text(keys);
        new.data.get_or_insert_with(BTreeMap::new).insert(PUBLISHED.to_owned(), text);
        new.annotations_mut().insert(PUBLISHED_AT.to_owned(), now.unix().to_string());
        let parameters = PostParams::default();
        let replaced = self.config_maps.replace(&self.trust, &parameters, &new);
        within("update", &object, replaced).await.map(drop)
    }

    fn tell(&self, said: &'static str) {
        tracing::info!("{said}");
        let happening = Happening::own(Kind::CertificateRotated, "the key that signs grants", said);
        if let Err(refusal) = self.engine.audit(happening) {
            tracing::warn!(cause = %refusal, "the audit lacks this");
        }
    }
}

fn state(held: &Held, secret: &Secret, config_map: &ConfigMap) -> State {
    let Held { signing, next, since } = held;
    let published = config_map.data.as_ref().and_then(|data| data.get(PUBLISHED));
    State {
        signing: signing.as_ref().map(|key| *key.public()),
        next: next.as_ref().map(|key| *key.public()),
        since: *since,
        asked: secret.annotations().contains_key(ROTATE),
        published: published.and_then(|text| publics(text)),
        published_at: config_map.annotations().get(PUBLISHED_AT).and_then(|text| moment(text)),
    }
}

/// The published list; `None` if a line of it is no key.
fn publics(text: &str) -> Option<Vec<Public>> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.map(|line| line.parse::<Digest>().ok().map(|key| *key.as_bytes())).collect()
}

fn moment(text: &str) -> Option<Moment> {
    text.trim().parse().ok().map(Moment::from_unix)
}

/// One request, within its time.
async fn within<T>(
    what: &'static str,
    object: &str,
    request: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, KeepKeyError> {
    let object = object.to_owned();
    match call(ANSWER_WITHIN, request).await {
        Ok(answer) => Ok(answer),
        Err(CallError::NotLeader) => Err(KeepKeyError::Elsewhere { object }),
        Err(error) if error.is(409) => Err(KeepKeyError::Elsewhere { object }),
        Err(source) => Err(KeepKeyError::Api { what, object, source }),
    }
}

//! Keeps Secret, ConfigMap and served certificate in step. What is done is decided in
//! [`super::decide`]; here it is read, carried out and read again.
//!
//! ```text
//!            every collector                      the leader alone
//! ┌─> Secret ──tls.crt, tls.key──> Tls ──> ConfigMap, agents ──next()──> one write ─┐
//! └──────────────── a moment later, or LOOK_EVERY later if nothing was done <───────┘
//! ```
//!
//! The ConfigMap is read before the Secret, and each write carries the `resourceVersion` that it
//! rests on: what a writer knows of the Secret is then never older than what it knows of the
//! ConfigMap, and of two writers one loses and looks again. Objects are read by name instead of
//! watched: `get` and `update` on two names is all that this needs to be allowed, and the number
//! of requests depends on nothing but time.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::Client;
use kube::ResourceExt as _;
use kube::api::PostParams;
use palisade_report::Moment;
use palisade_report::NodeName;
use palisade_report::TrustId;

use super::super::client::CallError;
use super::super::client::call;
use super::decide;
use super::decide::Action;
use super::decide::Policy;
use super::decide::Rotation;
use super::decide::State;
use super::decide::Unusable;
use super::decide::WaitingOn;
use super::make;
use super::make::MakeError;
use super::make::Pair;
use super::store;
use super::store::Material;
use super::store::Signer;
use super::store::Values;
use crate::audit::Happening;
use crate::audit::Kind;
use crate::chain::Chain;
use crate::clock::Clock;
use crate::engine::Engine;
use crate::figures::Figures;
use crate::settings::KubernetesSettings;
use crate::settings::Serving;
use crate::snapshot::NodeState;
use crate::tls::Reloaded;
use crate::tls::Tls;
use crate::tls::TlsError;
use crate::tls::certificate;
use crate::tls::certificate::Certificate;

/// Between two looks at Secret and ConfigMap: 12 small requests a minute by the leader, 6 by
/// others.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// After a step: the next one is due at once, but a mistake must not become a storm.
const STEP_PAUSE: Duration = Duration::from_millis(250);

/// Steps in a row after which something is wrong: a rotation has five.
const MAX_STEPS: u32 = 16;

/// For one request.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// Names in one line of the log; an entry of the audit has 256 bytes.
const MAX_NAMED: usize = 8;

/// Where certificates are kept.
#[derive(Clone, Debug)]
pub struct Places {
    /// The namespace of both objects.
    pub namespace: String,
    /// The Secret.
    pub secret: String,
    /// What the collector does with it.
    pub mode: Mode,
}

/// Whose Secret it is.
#[derive(Clone, Debug)]
pub enum Mode {
    /// Somebody else's (cert-manager, a corporate authority): read, never written.
    External,
    /// The collector's own.
    Own {
        /// The ConfigMap that agents read authorities from.
        trust: String,
        /// Names and addresses that the certificate is for.
        names: Vec<String>,
        /// How long things live.
        policy: Policy,
    },
}

/// What a keeper may do.
#[derive(Clone, Debug)]
pub enum Role {
    /// Serve what the Secret has.
    Follow,
    /// The same, and whatever is due: this collector leads, and this is what it knows of agents.
    Lead(Engine),
}

/// Why a look came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
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
    /// Somebody wrote meanwhile. At fault: nobody; looking again helps.
    #[error("failed to write {object}: it changed meanwhile")]
    Conflict {
        /// Kind and name.
        object: String,
    },
    /// Nothing could be made.
    #[error("failed to make what is due")]
    Make(#[source] MakeError),
    /// There is no such object. At fault: whoever installed or deleted it.
    #[error("failed to find {object}: create it empty, the manifests have it")]
    Missing {
        /// Kind and name.
        object: String,
    },
    /// This collector does not lead, or cannot be sure that it does. At fault: nobody.
    #[error("failed to act: this collector does not lead")]
    NotLeader,
    /// Made by us, and not readable by us. At fault: us.
    #[error("failed to read a certificate that was just made")]
    Own(#[source] certificate::Malformed),
    /// It never comes to rest. At fault: us, or two collectors that want different things.
    #[error("failed to come to rest after {MAX_STEPS} steps; waiting")]
    Restless,
    /// The certificate cannot be served; the one in use stays in use.
    #[error("failed to serve the certificate of {object}")]
    Serve {
        /// Kind and name.
        object: String,
        /// Why.
        source: TlsError,
    },
    /// The Secret is no base to go on from.
    #[error("failed to go on from {object}")]
    Unusable {
        /// Kind and name.
        object: String,
        /// What is wrong.
        source: Unusable,
    },
}

/// One step that was done.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Done {
    /// Retired authorities are no longer trusted.
    Forgotten,
    /// A serving certificate was issued, which ends then.
    Issued(Moment),
    /// An authority was made that will sign next.
    Made,
    /// The bundle was published.
    Published,
    /// A new authority signs; these agents have not followed.
    Switched(Vec<NodeName>),
}

impl std::fmt::Display for Done {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Forgotten => f.write_str("retired authorities are no longer held"),
            Self::Issued(until) => write!(f, "a serving certificate was issued, until {until}"),
            Self::Made => f.write_str("an authority was made that will sign next"),
            Self::Published => f.write_str("the authorities were published"),
            Self::Switched(stragglers) if stragglers.is_empty() => {
                f.write_str("a new authority signs; every agent that is heard trusts it")
            }
            Self::Switched(stragglers) => {
                let names: Vec<_> =
                    stragglers.iter().take(MAX_NAMED).map(NodeName::as_str).collect();
                let (count, names) = (stragglers.len(), names.join(", "));
                write!(f, "a new authority signs; {count} agents do not trust it yet: {names}")
            }
        }
    }
}

/// What came of one look.
#[derive(Debug, PartialEq, Eq)]
enum Looked {
    /// One step was done.
    Acted,
    /// Nothing is due before then.
    Rest(Option<Moment>),
}

/// Keeps one collector's certificate.
pub struct Keeper {
    secrets: Api<Secret>,
    config_maps: Api<ConfigMap>,
    places: Places,
    tls: Arc<Tls>,
    figures: Arc<Figures>,
    clock: Arc<dyn Clock>,
    role: Role,
}

impl std::fmt::Debug for Keeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keeper").field("places", &self.places).finish_non_exhaustive()
    }
}

impl Places {
    /// Where the certificate of these settings is kept; `None`: in files.
    #[must_use]
    pub fn of(settings: &KubernetesSettings) -> Option<Self> {
        let KubernetesSettings { namespace, serving, .. } = settings;
        let (secret, mode) = match serving.clone() {
            Serving::Files => return None,
            Serving::External { secret } => (secret, Mode::External),
            Serving::Own { secret, trust, names, policy } => {
                (secret, Mode::Own { trust, names, policy })
            }
        };
        Some(Self { namespace: namespace.clone(), secret, mode })
    }
}

impl Keeper {
    /// A keeper that acts through `client`, which must not repeat writes by itself, and refuses
    /// them while this collector does not lead.
    pub fn new(
        client: Client,
        places: Places,
        tls: Arc<Tls>,
        figures: Arc<Figures>,
        clock: Arc<dyn Clock>,
        role: Role,
    ) -> Self {
        let secrets = Api::namespaced(client.clone(), &places.namespace);
        let config_maps = Api::namespaced(client, &places.namespace);
        Self { secrets, config_maps, places, tls, figures, clock, role }
    }

    /// Looks and acts for ever. What cannot be done is said once and tried again.
    pub async fn run(self) {
        let mut said: Option<String> = None;
        let mut steps = 0_u32;
        loop {
            let pause = match self.look().await {
                Ok(Looked::Acted) if steps < MAX_STEPS => {
                    steps = steps.saturating_add(1);
                    STEP_PAUSE
                }
                Ok(Looked::Acted) => {
                    steps = 0;
                    complain_once(&mut said, &KeepError::Restless);
                    LOOK_EVERY
                }
                Ok(Looked::Rest(until)) => {
                    (said, steps) = (None, 0);
                    let now = self.clock.now();
                    let secs = until.map_or(u64::MAX, |until| {
                        u64::try_from(until.since(now)).unwrap_or_default()
                    });
                    Duration::from_secs(secs).clamp(STEP_PAUSE, LOOK_EVERY)
                }
                Err(KeepError::Conflict { .. }) => STEP_PAUSE,
                Err(KeepError::NotLeader) => LOOK_EVERY,
                Err(error) => {
                    complain_once(&mut said, &error);
                    LOOK_EVERY
                }
            };
            tokio::time::sleep(pause).await;
        }
    }

    /// Looks once, and takes one step if one is due.
    async fn look(&self) -> Result<Looked, KeepError> {
        let Places { namespace: _, secret: name, mode } = &self.places;
        let own = match (mode, &self.role) {
            (Mode::Own { trust, names, policy }, Role::Lead(engine)) => {
                Some((self.config_map(trust).await?, trust, names, policy, engine))
            }
            (Mode::Own { .. } | Mode::External, Role::Follow | Role::Lead(_)) => None,
        };
        let object = format!("Secret {name}");
        let secret = within("read", &object, self.secrets.get_opt(name)).await?;
        let Some(secret) = secret else { return Err(KeepError::Missing { object }) };
        let served = self.serve(&secret, object.clone());
        let Some((config_map, trust, names, policy, engine)) = own else {
            return served.map(|()| Looked::Rest(None));
        };
        // What cannot be served may be what is about to be replaced.
        let looked = self.act(&secret, config_map, trust, names, policy, engine).await?;
        if looked != Looked::Acted {
            served?;
        }
        Ok(looked)
    }

    async fn config_map(&self, name: &str) -> Result<ConfigMap, KeepError> {
        let object = format!("ConfigMap {name}");
        let found = within("read", &object, self.config_maps.get_opt(name)).await?;
        found.ok_or(KeepError::Missing { object })
    }

    /// Serves with what the Secret has; one that has nothing yet changes nothing.
    fn serve(&self, secret: &Secret, object: String) -> Result<(), KeepError> {
        let value = |key| secret.data.as_ref().and_then(|data| data.get(key)).map(|it| &*it.0);
        let (cert, key) = (value(store::TLS_CERT), value(store::TLS_KEY));
        let (Some(cert), Some(key)) = (cert, key) else { return Ok(()) };
        if cert.is_empty() && key.is_empty() {
            return Ok(());
        }
        match self.tls.replace(cert, key) {
            Ok(Reloaded::Replaced) => {
                tracing::info!(until = %Until(self.tls.end()), "a new certificate is served");
                Ok(())
            }
            Ok(Reloaded::Unchanged) => Ok(()),
            Err(source) => Err(KeepError::Serve { object, source }),
        }
    }

    async fn act(
        &self,
        secret: &Secret,
        config_map: ConfigMap,
        trust: &str,
        names: &[String],
        policy: &Policy,
        engine: &Engine,
    ) -> Result<Looked, KeepError> {
        let now = self.clock.now();
        let (values, rotation) = contents(secret);
        let bundle = config_map.data.as_ref().and_then(|data| data.get(store::BUNDLE));
        let at = config_map.annotations().get(store::PUBLISHED_AT);
        let (published, certificates) =
            store::published(bundle.map(String::as_str), at.map(String::as_str));
        let wanted: BTreeSet<String> = names.iter().map(|name| canonical(name)).collect();
        let material = Material::read(&values);
        let held = material.as_ref().map(|it| it.held(&wanted, rotation)).map_err(Clone::clone);
        let behind = bundle.map(|text| TrustId::of(text.as_bytes()));
        let behind = behind.map_or_else(Vec::new, |id| self::behind(engine, id));
        self.figures.set_behind(behind.len());
        let state = State { held, published, behind };
        if let Ok(held) = &state.held {
            self.figures.set_authority_end(held.signing.as_ref().map(|it| it.not_after));
        }
        let action = decide::next(&state, policy, now);
        let (Ok(material), Ok(held)) = (material, state.held) else {
            return self.refuse(action);
        };
        match action {
            Action::Wait { until, on } => {
                tracing::debug!(%until, on = waiting(&on), "nothing is due for the authority");
                return Ok(Looked::Rest(Some(until)));
            }
            Action::Refuse(_) => return self.refuse(action),
            Action::Publish => {
                let bundle = material.bundle(&held.bundle(now));
                self.publish(config_map, trust, bundle, now).await?;
                tell(engine, &Done::Published);
            }
            Action::Forget(gone) => {
                self.write(secret, &material.forgetting(&gone), rotation).await?;
                tell(engine, &Done::Forgotten);
            }
            Action::IssueLeaf => {
                let Some(signing) = &material.signing else { return Ok(Looked::Rest(None)) };
                let leaf = issue(signing, names, policy, now)?;
                let end = leaf.0.not_after;
                let material = Material { leaf: Some(leaf), ..material };
                self.write(secret, &material, rotation).await?;
                tell(engine, &Done::Issued(end));
            }
            Action::MakeNext { adopt } => {
                let pair = make::authority(policy.authority_life_secs, now);
                let next = signer(pair.map_err(KeepError::Make)?)?;
                let adopted = certificates.into_iter().filter(|it| adopt.contains(&it.id));
                let material = material.with_next(next, adopted.collect(), now);
                self.write(secret, &material, Rotation::NotAsked).await?;
                tell(engine, &Done::Made);
            }
            Action::Switch { stragglers } => {
                let Some(next) = &material.next else { return Ok(Looked::Rest(None)) };
                let leaf = issue(next, names, policy, now)?;
                let material = material.switched(leaf, now);
                self.write(secret, &material, rotation).await?;
                tell(engine, &Done::Switched(stragglers));
            }
        }
        Ok(Looked::Acted)
    }

    fn refuse(&self, action: Action) -> Result<Looked, KeepError> {
        let object = format!("Secret {}", self.places.secret);
        match action {
            Action::Refuse(source) => Err(KeepError::Unusable { object, source }),
            Action::Forget(_)
            | Action::IssueLeaf
            | Action::MakeNext { .. }
            | Action::Publish
            | Action::Switch { .. }
            | Action::Wait { .. } => Ok(Looked::Rest(None)),
        }
    }

    /// Writes the Secret, if it is as it was read and this collector still leads.
    async fn write(
        &self,
        read: &Secret,
        material: &Material,
        rotation: Rotation,
    ) -> Result<(), KeepError> {
        let object = format!("Secret {}", self.places.secret);
        let mut next = read.clone();
        let mut data = next.data.take().unwrap_or_default();
        data.retain(|key, _| !store::KEYS.contains(&key.as_str()));
        data.extend(material.write().into_iter().map(|(key, value)| (key, ByteString(value))));
        next.data = Some(data);
        if rotation == Rotation::NotAsked {
            next.annotations_mut().remove(store::ROTATE);
        }
        let parameters = PostParams::default();
        let replaced = self.secrets.replace(&self.places.secret, &parameters, &next);
        within("update", &object, replaced).await.map(drop)
    }

    async fn publish(
        &self,
        read: ConfigMap,
        name: &str,
        bundle: String,
        now: Moment,
    ) -> Result<(), KeepError> {
        let object = format!("ConfigMap {name}");
        let mut next = read;
        next.data.get_or_insert_with(BTreeMap::new).insert(store::BUNDLE.to_owned(), bundle);
        next.annotations_mut().insert(store::PUBLISHED_AT.to_owned(), now.unix().to_string());
        let parameters = PostParams::default();
        let replaced = self.config_maps.replace(name, &parameters, &next);
        within("update", &object, replaced).await.map(drop)
    }
}

/// Agents that were heard lately and do not trust exactly this bundle, in order of their names.
fn behind(engine: &Engine, bundle: TrustId) -> Vec<NodeName> {
    let snapshot = engine.snapshot();
    let live = snapshot.nodes.iter().filter(|node| match node.state {
        NodeState::Fresh | NodeState::Late => true,
        NodeState::Gone | NodeState::NeverSeen | NodeState::Silent => false,
    });
    live.filter(|node| node.seen.trust() != Some(bundle)).map(|node| node.name.clone()).collect()
}

/// Logs what was done and keeps it in the audit.
fn tell(engine: &Engine, done: &Done) {
    let said = done.to_string();
    match done {
        Done::Switched(stragglers) if !stragglers.is_empty() => tracing::warn!("{said}"),
        Done::Forgotten | Done::Issued(_) | Done::Made | Done::Published | Done::Switched(_) => {
            tracing::info!("{said}")
        }
    }
    let happening = Happening::own(Kind::CertificateRotated, "the collector's authority", said);
    if let Err(refusal) = engine.audit(happening) {
        tracing::warn!(cause = %refusal, "the audit lacks this");
    }
}

/// The values of a Secret, and whether it asks for a rotation.
fn contents(secret: &Secret) -> (Values, Rotation) {
    let data = secret.data.iter().flatten();
    let values = data.map(|(key, value)| (key.clone(), value.0.clone())).collect();
    let asked = secret.annotations().contains_key(store::ROTATE);
    (values, if asked { Rotation::Asked } else { Rotation::NotAsked })
}

/// A name as a certificate gives it back; an address can be written in many ways.
fn canonical(name: &str) -> String {
    name.parse::<IpAddr>().map_or_else(|_| name.to_owned(), |address| address.to_string())
}

fn issue(
    signer: &Signer,
    names: &[String],
    policy: &Policy,
    now: Moment,
) -> Result<(Certificate, Pair), KeepError> {
    let until = now.plus(policy.leaf_life_secs).min(signer.certificate.not_after);
    let pair = make::leaf(names, &signer.pair.key, until, now).map_err(KeepError::Make)?;
    Ok((read_own(&pair)?, pair))
}

fn signer(pair: Pair) -> Result<Signer, KeepError> {
    Ok(Signer { certificate: read_own(&pair)?, pair })
}

fn read_own(pair: &Pair) -> Result<Certificate, KeepError> {
    let mut all = certificate::parse_all(pair.certificate.as_bytes()).map_err(KeepError::Own)?;
    if all.is_empty() {
        Err(KeepError::Own(certificate::Malformed::Pem))
    } else {
        Ok(all.remove(0))
    }
}

/// One request, within its time.
async fn within<T>(
    what: &'static str,
    object: &str,
    request: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, KeepError> {
    let object = object.to_owned();
    match call(ANSWER_WITHIN, request).await {
        Ok(answer) => Ok(answer),
        Err(CallError::NotLeader) => Err(KeepError::NotLeader),
        Err(error) if error.is(409) => Err(KeepError::Conflict { object }),
        Err(source) => Err(KeepError::Api { what, object, source }),
    }
}

const fn waiting(on: &WaitingOn) -> &'static str {
    match on {
        WaitingOn::Agents(_) => "agents that do not trust the next authority yet",
        WaitingOn::OldKept => "the time that a retired authority stays published",
        WaitingOn::Renewal => "the next renewal",
        WaitingOn::Settling => "the way of the bundle to the agents",
    }
}

struct Until(Option<Moment>);

impl std::fmt::Display for Until {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(until) => until.fmt(f),
            None => f.write_str("an unknown end"),
        }
    }
}

fn complain_once(said: &mut Option<String>, error: &KeepError) {
    let complaint = Chain(error).to_string();
    if said.as_ref() != Some(&complaint) {
        tracing::error!(cause = %complaint, "the collector's own certificates are not in order");
        *said = Some(complaint);
    }
}

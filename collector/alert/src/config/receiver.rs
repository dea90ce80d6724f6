//! Receivers as the file names them, and what becomes of them once their secrets are read.

use std::path::Path;
use std::path::PathBuf;

use crate::receiver::MailServer;
use crate::receiver::Target;
use crate::secret::Secret;
use crate::shoutrrr;
use crate::span::Span;
use crate::template::Templates;

/// Somebody who is told.
#[derive(Clone, Debug)]
pub struct Receiver {
    /// By this name.
    pub name: String,
    /// What it is, and where its secrets lie.
    pub spec: Spec,
    /// Whether it hears of what is over.
    pub hears_of_ends: bool,
    /// Words of the user's own.
    pub templates: Templates,
    /// PEM of authorities that are trusted beside the public ones.
    pub ca_file: Option<PathBuf>,
    /// How long it may take for one request; `None`: as long as its kind usually does.
    pub timeout: Option<Span>,
}

/// Where a secret is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// In this file, re-read when it changes.
    File(PathBuf),
    /// In the configuration itself.
    Here(Secret),
}

impl Source {
    fn read(&self, read: &dyn Fn(&Path) -> Option<Secret>) -> Result<Secret, Unresolved> {
        match self {
            Self::File(path) => read(path).ok_or_else(|| Unresolved::Missing(path.clone())),
            Self::Here(secret) => Ok(secret.clone()),
        }
    }

    fn file(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            Self::Here(_) => None,
        }
    }
}

/// What a receiver is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Spec {
    /// See [`Target::Alertmanager`].
    Alertmanager {
        /// The members.
        urls: Vec<Secret>,
        /// The bearer token.
        token: Option<Source>,
    },
    /// See [`Target::Discord`].
    Discord(Source),
    /// See [`Target::Email`].
    Email {
        /// The server, without its password.
        server: MailServer,
        /// The password.
        password: Option<Source>,
        /// Whom it is from.
        from: String,
        /// Whom it is for.
        to: Vec<String>,
    },
    /// See [`Target::KubernetesEvents`].
    KubernetesEvents,
    /// See [`Target::Mattermost`].
    Mattermost {
        /// The address.
        url: Source,
        /// The channel.
        channel: Option<String>,
    },
    /// See [`Target::Opsgenie`].
    Opsgenie {
        /// The base address.
        url: Secret,
        /// The key.
        key: Source,
    },
    /// See [`Target::PagerDuty`].
    PagerDuty {
        /// The address.
        url: Secret,
        /// The routing key.
        key: Source,
    },
    /// An address of shoutrrr, whatever it stands for.
    Shoutrrr(Source),
    /// See [`Target::Slack`].
    Slack {
        /// The address.
        url: Source,
        /// The channel.
        channel: Option<String>,
        /// The name.
        username: Option<String>,
    },
    /// See [`Target::Teams`].
    Teams(Source),
    /// See [`Target::Telegram`].
    Telegram {
        /// The bot's token.
        token: Source,
        /// The chats.
        chats: Vec<String>,
    },
    /// See [`Target::Webhook`].
    Webhook {
        /// The address.
        url: Source,
        /// The key of the signature.
        hmac_key: Option<Source>,
        /// Headers.
        headers: Vec<(String, Source)>,
    },
}

impl Spec {
    /// The word for it in the file.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Alertmanager { .. } => "alertmanager",
            Self::Discord(_) => "discord",
            Self::Email { .. } => "email",
            Self::KubernetesEvents => "kubernetesEvents",
            Self::Mattermost { .. } => "mattermost",
            Self::Opsgenie { .. } => "opsgenie",
            Self::PagerDuty { .. } => "pagerduty",
            Self::Shoutrrr(_) => "shoutrrr",
            Self::Slack { .. } => "slack",
            Self::Teams(_) => "teams",
            Self::Telegram { .. } => "telegram",
            Self::Webhook { .. } => "webhook",
        }
    }
}

/// A receiver cannot be used now. At fault: a file, or an address in it.
#[derive(Debug, thiserror::Error)]
pub enum Unresolved {
    /// A secret cannot be read.
    #[error("the secret in {} is not there", .0.display())]
    Missing(PathBuf),
    /// Its address is none of shoutrrr's, or none that can be served.
    #[error("failed to read the address")]
    Shoutrrr(#[source] shoutrrr::ShoutrrrError),
}

impl Receiver {
    /// The files in which its secrets are.
    #[must_use]
    pub fn files(&self) -> Vec<&Path> {
        let sources: Vec<Option<&Source>> = match &self.spec {
            Spec::Alertmanager { token, .. } => vec![token.as_ref()],
            Spec::Discord(source) | Spec::Shoutrrr(source) | Spec::Teams(source) => {
                vec![Some(source)]
            }
            Spec::Email { password, .. } => vec![password.as_ref()],
            Spec::KubernetesEvents => Vec::new(),
            Spec::Mattermost { url, .. } | Spec::Slack { url, .. } => vec![Some(url)],
            Spec::Opsgenie { key, .. } | Spec::PagerDuty { key, .. } => vec![Some(key)],
            Spec::Telegram { token, .. } => vec![Some(token)],
            Spec::Webhook { url, hmac_key, headers } => {
                let headers = headers.iter().map(|(_, source)| Some(source));
                [Some(url), hmac_key.as_ref()].into_iter().chain(headers).collect()
            }
        };
        sources.into_iter().flatten().filter_map(Source::file).collect()
    }

    /// What it is with its secrets, which `read` has from files.
    ///
    /// # Errors
    /// [`Unresolved`].
    pub fn target(&self, read: &dyn Fn(&Path) -> Option<Secret>) -> Result<Target, Unresolved> {
        let maybe = |source: &Option<Source>| source.as_ref().map(|it| it.read(read)).transpose();
        Ok(match &self.spec {
            Spec::Alertmanager { urls, token } => {
                Target::Alertmanager { urls: urls.clone(), token: maybe(token)? }
            }
            Spec::Discord(url) => Target::Discord { url: url.read(read)? },
            Spec::Email { server, password, from, to } => Target::Email {
                server: MailServer { password: maybe(password)?, ..server.clone() },
                from: from.clone(),
                to: to.clone(),
            },
            Spec::KubernetesEvents => Target::KubernetesEvents,
            Spec::Mattermost { url, channel } => {
                Target::Mattermost { url: url.read(read)?, channel: channel.clone() }
            }
            Spec::Opsgenie { url, key } => {
                Target::Opsgenie { url: url.clone(), key: key.read(read)? }
            }
            Spec::PagerDuty { url, key } => {
                Target::PagerDuty { url: url.clone(), routing_key: key.read(read)? }
            }
            Spec::Shoutrrr(address) => {
                let address = address.read(read)?;
                shoutrrr::parse(address.reveal()).map_err(Unresolved::Shoutrrr)?
            }
            Spec::Slack { url, channel, username } => Target::Slack {
                url: url.read(read)?,
                channel: channel.clone(),
                username: username.clone(),
                token: None,
            },
            Spec::Teams(url) => Target::Teams { url: url.read(read)? },
            Spec::Telegram { token, chats } => Target::Telegram {
                url: Secret::new("https://api.telegram.org"),
                token: token.read(read)?,
                chats: chats.clone(),
            },
            Spec::Webhook { url, hmac_key, headers } => {
                let header = |(name, value): &(String, Source)| {
                    Ok::<_, Unresolved>((name.clone(), value.read(read)?))
                };
                Target::Webhook {
                    url: url.read(read)?,
                    hmac_key: maybe(hmac_key)?,
                    headers: headers.iter().map(header).collect::<Result<_, _>>()?,
                    body: None,
                }
            }
        })
    }
}

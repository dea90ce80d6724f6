//! Whom alerts go to, with the secrets that it takes.
//!
//! Settings name files of secrets; whoever reads them fills these in. Nothing here is shown: a
//! receiver is called by its name.

use crate::secret::Secret;

mod shown;

pub use shown::HIDDEN;

/// Where messages go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Every member of an Alertmanager cluster, by the addresses of their APIs (`http://am-0:9093`).
    Alertmanager {
        /// The members.
        urls: Vec<Secret>,
        /// Sent as `Authorization: Bearer`.
        token: Option<Secret>,
    },
    /// Discord, by its webhook address.
    Discord {
        /// The address.
        url: Secret,
    },
    /// Mail.
    Email {
        /// The server that takes it.
        server: MailServer,
        /// Whom it is from.
        from: String,
        /// Whom it is for.
        to: Vec<String>,
    },
    /// Events about nodes, in the cluster that is looked after.
    KubernetesEvents,
    /// Mattermost, or what takes the same shape.
    Mattermost {
        /// The address.
        url: Secret,
        /// Instead of the webhook's own channel.
        channel: Option<String>,
    },
    /// Opsgenie's alert API, or one of the same shape.
    Opsgenie {
        /// The base address: `https://api.opsgenie.com`.
        url: Secret,
        /// The key of the integration.
        key: Secret,
    },
    /// PagerDuty Events API v2.
    PagerDuty {
        /// The address: `https://events.pagerduty.com/v2/enqueue`.
        url: Secret,
        /// 32 characters.
        routing_key: Secret,
    },
    /// Slack: an incoming webhook, or `chat.postMessage` with the token of a bot.
    Slack {
        /// The address: the webhook's, or `https://slack.com/api/chat.postMessage`.
        url: Secret,
        /// A bot's token, sent as `Authorization: Bearer`; `None`: a webhook.
        token: Option<Secret>,
        /// Instead of the webhook's own channel; a bot needs one.
        channel: Option<String>,
        /// Instead of the webhook's own name.
        username: Option<String>,
    },
    /// A Teams workflow, by its address.
    Teams {
        /// The address.
        url: Secret,
    },
    /// A Telegram bot.
    Telegram {
        /// The base address: `https://api.telegram.org`.
        url: Secret,
        /// The bot's token.
        token: Secret,
        /// Chats by number or `@name`.
        chats: Vec<String>,
    },
    /// The shape of Alertmanager's webhooks, version 4.
    Webhook {
        /// The address.
        url: Secret,
        /// Key of the HMAC-SHA-256 over the body; `None`: not signed.
        hmac_key: Option<Secret>,
        /// Headers beside our own.
        headers: Vec<(String, Secret)>,
        /// Another body than version 4.
        body: Option<Body>,
    },
}

/// The body of a webhook that is not Alertmanager's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// Fields as a form of a web page sends them (`application/x-www-form-urlencoded`).
    Form {
        /// Name of the field of the title; empty: the title is the message's first line.
        title: String,
        /// Name of the field of the message.
        message: String,
        /// Further fields; values may be secrets.
        fields: Vec<(String, Secret)>,
    },
    /// A JSON object with title and message under these names, and further fixed fields.
    Json {
        /// Name of the field of the title; empty: the title is the message's first line.
        title: String,
        /// Name of the field of the message.
        message: String,
        /// Further fields; values may be secrets.
        fields: Vec<(String, Field)>,
        /// Media type, if it is not `application/json`.
        content_type: Option<String>,
        /// `POST` unless asked for otherwise.
        method: &'static str,
    },
    /// The message alone, of this media type.
    Text {
        /// The media type.
        content_type: String,
        /// `POST` unless asked for otherwise.
        method: &'static str,
    },
}

/// The value of a fixed field of a JSON body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Field {
    /// A whole number.
    Number(i64),
    /// A text.
    Text(Secret),
}

/// What sort of target it is: how its answers are to be understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TargetKind {
    /// [`Target::Alertmanager`].
    Alertmanager,
    /// [`Target::Discord`].
    Discord,
    /// [`Target::Email`].
    Email,
    /// [`Target::KubernetesEvents`].
    KubernetesEvents,
    /// [`Target::Mattermost`].
    Mattermost,
    /// [`Target::Opsgenie`].
    Opsgenie,
    /// [`Target::PagerDuty`].
    PagerDuty,
    /// [`Target::Slack`].
    Slack,
    /// [`Target::Teams`].
    Teams,
    /// [`Target::Telegram`].
    Telegram,
    /// [`Target::Webhook`].
    Webhook,
}

impl TargetKind {
    /// All, in the order of their names.
    pub const ALL: [Self; 11] = [
        Self::Alertmanager,
        Self::Discord,
        Self::Email,
        Self::KubernetesEvents,
        Self::Mattermost,
        Self::Opsgenie,
        Self::PagerDuty,
        Self::Slack,
        Self::Teams,
        Self::Telegram,
        Self::Webhook,
    ];
}

impl Target {
    /// What sort of target it is.
    #[must_use]
    pub const fn kind(&self) -> TargetKind {
        match self {
            Self::Alertmanager { .. } => TargetKind::Alertmanager,
            Self::Discord { .. } => TargetKind::Discord,
            Self::Email { .. } => TargetKind::Email,
            Self::KubernetesEvents => TargetKind::KubernetesEvents,
            Self::Mattermost { .. } => TargetKind::Mattermost,
            Self::Opsgenie { .. } => TargetKind::Opsgenie,
            Self::PagerDuty { .. } => TargetKind::PagerDuty,
            Self::Slack { .. } => TargetKind::Slack,
            Self::Teams { .. } => TargetKind::Teams,
            Self::Telegram { .. } => TargetKind::Telegram,
            Self::Webhook { .. } => TargetKind::Webhook,
        }
    }
}

/// A server that takes mails by SMTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MailServer {
    /// Its name or address.
    pub host: String,
    /// 465, 587 or another one.
    pub port: u16,
    /// How the connection is kept from others.
    pub tls: MailTls,
    /// Who logs in; `None`: nobody has to.
    pub user: Option<String>,
    /// The password.
    pub password: Option<Secret>,
}

/// How a connection to a mail server is kept from others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MailTls {
    /// From the first byte on (RFC 8314).
    Implicit,
    /// Not at all.
    None,
    /// After `STARTTLS`, which the server must offer (RFC 3207).
    StartTls,
}

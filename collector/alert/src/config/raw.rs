//! Receivers as they are written, and their checks.

use std::path::PathBuf;

use serde::Deserialize;

use super::Receiver;
use super::Source;
use super::Spec;
use crate::receiver::MailServer;
use crate::receiver::MailTls;
use crate::secret::Secret;
use crate::span::Span;
use crate::template::Template;
use crate::template::TemplateError;
use crate::template::Templates;

/// Members of an Alertmanager cluster, addresses of a mail, chats, headers.
const MAX_LIST: usize = 32;

/// Seconds that a receiver may have for a request. Less than a second is lost to a slow network; and
/// what waits behind a request waits for all of its time, so that none has more than a mail has.
const TIMEOUT_SECS: std::ops::RangeInclusive<i64> = 1..=60;

/// PagerDuty's address outside Europe: <https://developer.pagerduty.com/docs/send-alert-event>.
const PAGERDUTY: &str = "https://events.pagerduty.com/v2/enqueue";
/// Opsgenie's address outside Europe: <https://docs.opsgenie.com/docs/alert-api>.
const OPSGENIE: &str = "https://api.opsgenie.com";

/// A receiver that makes no sense. At fault: the author.
#[derive(Debug, thiserror::Error)]
pub enum InvalidReceiver {
    /// None or several of the kinds.
    #[error(
        "expected one of alertmanager, discord, email, kubernetesEvents, mattermost, opsgenie, pagerduty, shoutrrr, slack, teams, telegram, webhook"
    )]
    Kind,
    /// None or both of a value and its file.
    #[error("expected one of `{name}` and `{name}File`")]
    Source {
        /// The field.
        name: &'static str,
    },
    /// A list that is empty or too long.
    #[error("`{name}` has 1 to {MAX_LIST} entries")]
    List {
        /// The field.
        name: &'static str,
    },
    /// No address of somebody.
    #[error("`{name}`: expected an address such as oncall@example.com")]
    Mailbox {
        /// The field.
        name: &'static str,
    },
    /// A header that is none, or that is ours.
    #[error(
        "a header's name has letters, digits and '-', and is none of those that are set anyway"
    )]
    Header,
    /// Its words make no sense.
    #[error("templates: {0}")]
    Template(TemplateError),
    /// Too short or too long, or for Events, which go the collector's own way to the API server.
    #[error("`timeout` is {}s to {}s, and kubernetesEvents have none", .least, .most)]
    Timeout {
        /// The shortest, in seconds.
        least: i64,
        /// The longest, in seconds.
        most: i64,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct RawReceiver {
    name: String,
    #[serde(default = "yes")]
    send_resolved: bool,
    #[serde(default)]
    templates: RawTemplates,
    #[serde(default)]
    ca_file: Option<PathBuf>,
    #[serde(default)]
    timeout: Option<Span>,
    #[serde(default)]
    alertmanager: Option<RawAlertmanager>,
    #[serde(default)]
    discord: Option<RawUrl>,
    #[serde(default)]
    email: Option<RawEmail>,
    #[serde(default)]
    kubernetes_events: Option<Empty>,
    #[serde(default)]
    mattermost: Option<RawMattermost>,
    #[serde(default)]
    opsgenie: Option<RawOpsgenie>,
    #[serde(default)]
    pagerduty: Option<RawPagerDuty>,
    #[serde(default)]
    shoutrrr: Option<RawUrl>,
    #[serde(default)]
    slack: Option<RawSlack>,
    #[serde(default)]
    teams: Option<RawUrl>,
    #[serde(default)]
    telegram: Option<RawTelegram>,
    #[serde(default)]
    webhook: Option<RawWebhook>,
}

const fn yes() -> bool {
    true
}

/// The templates of a receiver as they are written.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTemplates {
    #[serde(default)]
    title: Option<String>,
    #[serde(default)]
    message: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Empty {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct RawAlertmanager {
    urls: Vec<String>,
    #[serde(default)]
    token_file: Option<PathBuf>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct RawUrl {
    #[serde(default)]
    url: Option<String>,
    #[serde(default)]
    url_file: Option<PathBuf>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct RawEmail {
    host: String,
    port: u16,
    #[serde(default)]
    tls: RawTls,
    #[serde(default)]
    user: Option<String>,
    #[serde(default)]
    password_file: Option<PathBuf>,
    from: String,
    to: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum RawTls {
    Implicit,
    None,
    #[default]
    StartTls,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct RawMattermost {
    #[serde(default)]
    url: Option<String>,
    #[serde(default)]
    url_file: Option<PathBuf>,
    #[serde(default)]
    channel: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct RawOpsgenie {
    #[serde(default)]
    url: Option<String>,
    key_file: PathBuf,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct RawPagerDuty {
    #[serde(default)]
    url: Option<String>,
    routing_key_file: PathBuf,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct RawSlack {
    #[serde(default)]
    url: Option<String>,
    #[serde(default)]
    url_file: Option<PathBuf>,
    #[serde(default)]
    channel: Option<String>,
    #[serde(default)]
    username: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct RawTelegram {
    token_file: PathBuf,
    chats: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct RawWebhook {
    #[serde(default)]
    url: Option<String>,
    #[serde(default)]
    url_file: Option<PathBuf>,
    #[serde(default)]
    hmac_key_file: Option<PathBuf>,
    #[serde(default)]
    headers: Vec<RawHeader>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct RawHeader {
    name: String,
    #[serde(default)]
    value: Option<String>,
    #[serde(default)]
    value_file: Option<PathBuf>,
}

impl RawReceiver {
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Checks it. Of the kinds there is exactly one.
    pub(super) fn check(self) -> Result<Receiver, InvalidReceiver> {
        let Self {
            name,
            send_resolved,
            templates: RawTemplates { title, message },
            ca_file,
            timeout,
            alertmanager,
            discord,
            email,
            kubernetes_events,
            mattermost,
            opsgenie,
            pagerduty,
            shoutrrr,
            slack,
            teams,
            telegram,
            webhook,
        } = self;
        let kinds = [
            alertmanager.map(RawAlertmanager::check),
            discord.map(|it| it.check().map(Spec::Discord)),
            email.map(RawEmail::check),
            kubernetes_events.map(|Empty {}| Ok(Spec::KubernetesEvents)),
            mattermost.map(|RawMattermost { url, url_file, channel }| {
                Ok(Spec::Mattermost { url: source("url", url, url_file)?, channel })
            }),
            opsgenie.map(|RawOpsgenie { url, key_file }| {
                let url = url.unwrap_or_else(|| OPSGENIE.to_owned());
                Ok(Spec::Opsgenie { url: Secret::new(url), key: Source::File(key_file) })
            }),
            pagerduty.map(|RawPagerDuty { url, routing_key_file }| {
                let url = url.unwrap_or_else(|| PAGERDUTY.to_owned());
                Ok(Spec::PagerDuty { url: Secret::new(url), key: Source::File(routing_key_file) })
            }),
            shoutrrr.map(|it| it.check().map(Spec::Shoutrrr)),
            slack.map(|RawSlack { url, url_file, channel, username }| {
                Ok(Spec::Slack { url: source("url", url, url_file)?, channel, username })
            }),
            teams.map(|it| it.check().map(Spec::Teams)),
            telegram.map(|RawTelegram { token_file, chats }| {
                let chats = bounded("chats", chats)?;
                Ok(Spec::Telegram { token: Source::File(token_file), chats })
            }),
            webhook.map(RawWebhook::check),
        ];
        let mut given = kinds.into_iter().flatten();
        let (Some(spec), None) = (given.next(), given.next()) else {
            return Err(InvalidReceiver::Kind);
        };
        let spec = spec?;
        let timeout = timeout.map(|it| within(it, &spec)).transpose()?;
        let template = |text: Option<String>| text.map(|text| Template::parse(&text)).transpose();
        let templates = Templates {
            title: template(title).map_err(InvalidReceiver::Template)?,
            message: template(message).map_err(InvalidReceiver::Template)?,
        };
        Ok(Receiver { name, spec, hears_of_ends: send_resolved, templates, ca_file, timeout })
    }
}

/// How long a receiver of this kind may take.
fn within(timeout: Span, spec: &Spec) -> Result<Span, InvalidReceiver> {
    let has_one = !matches!(spec, Spec::KubernetesEvents);
    if has_one && TIMEOUT_SECS.contains(&timeout.as_secs()) {
        return Ok(timeout);
    }
    Err(InvalidReceiver::Timeout { least: *TIMEOUT_SECS.start(), most: *TIMEOUT_SECS.end() })
}

impl RawUrl {
    fn check(self) -> Result<Source, InvalidReceiver> {
        source("url", self.url, self.url_file)
    }
}

impl RawAlertmanager {
    fn check(self) -> Result<Spec, InvalidReceiver> {
        let Self { urls, token_file } = self;
        let urls = bounded("urls", urls)?.into_iter();
        let urls = urls.map(|url| Secret::new(url.trim_end_matches('/'))).collect();
        Ok(Spec::Alertmanager { urls, token: token_file.map(Source::File) })
    }
}

impl RawEmail {
    fn check(self) -> Result<Spec, InvalidReceiver> {
        let Self { host, port, tls, user, password_file, from, to } = self;
        let tls = match tls {
            RawTls::Implicit => MailTls::Implicit,
            RawTls::None => MailTls::None,
            RawTls::StartTls => MailTls::StartTls,
        };
        let to = bounded("to", to)?;
        if !is_mailbox(&from) {
            return Err(InvalidReceiver::Mailbox { name: "from" });
        }
        if !to.iter().all(|it| is_mailbox(it)) {
            return Err(InvalidReceiver::Mailbox { name: "to" });
        }
        let server = MailServer { host, port, tls, user, password: None };
        Ok(Spec::Email { server, password: password_file.map(Source::File), from, to })
    }
}

impl RawWebhook {
    fn check(self) -> Result<Spec, InvalidReceiver> {
        let Self { url, url_file, hmac_key_file, headers } = self;
        if headers.len() > MAX_LIST {
            return Err(InvalidReceiver::List { name: "headers" });
        }
        let header = |RawHeader { name, value, value_file }: RawHeader| {
            let fits = |c: char| c.is_ascii_alphanumeric() || c == '-';
            let is_ours = ["content-length", "content-type", "host", "user-agent", "connection"]
                .iter()
                .any(|it| name.eq_ignore_ascii_case(it));
            if name.is_empty() || !name.chars().all(fits) || is_ours {
                return Err(InvalidReceiver::Header);
            }
            Ok((name, source("value", value, value_file)?))
        };
        Ok(Spec::Webhook {
            url: source("url", url, url_file)?,
            hmac_key: hmac_key_file.map(Source::File),
            headers: headers.into_iter().map(header).collect::<Result<_, _>>()?,
        })
    }
}

fn source(
    name: &'static str,
    here: Option<String>,
    file: Option<PathBuf>,
) -> Result<Source, InvalidReceiver> {
    match (here, file) {
        (Some(text), None) => Ok(Source::Here(Secret::new(text))),
        (None, Some(path)) => Ok(Source::File(path)),
        (None, None) | (Some(_), Some(_)) => Err(InvalidReceiver::Source { name }),
    }
}

fn bounded(name: &'static str, list: Vec<String>) -> Result<Vec<String>, InvalidReceiver> {
    let fits = !list.is_empty() && list.len() <= MAX_LIST;
    if fits { Ok(list) } else { Err(InvalidReceiver::List { name }) }
}

/// Something before an `@` and something behind it, without what would end a line or a list.
fn is_mailbox(text: &str) -> bool {
    let parts = text.split_once('@');
    let is_whole = parts.is_some_and(|(user, host)| !user.is_empty() && !host.is_empty());
    is_whole
        && text.len() <= 254
        && text.chars().all(|c| c.is_ascii_graphic() && !",;<>".contains(c))
}

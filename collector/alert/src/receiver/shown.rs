//! What of a target may be shown: the host that it is on, and itself without its secrets.

use palisade_report::bound::clean_text;

use super::Body;
use super::Field;
use super::MailServer;
use super::Target;
use crate::secret::Secret;

/// In place of what must not be shown.
pub const HIDDEN: &str = "HIDDEN";

impl Target {
    /// The hosts that it is on, with their ports where they are said. Never a path, a query or a user.
    #[must_use]
    pub fn hosts(&self) -> Vec<String> {
        match self {
            Self::Alertmanager { urls, .. } => urls.iter().filter_map(host).collect(),
            Self::Discord { url }
            | Self::Mattermost { url, .. }
            | Self::Opsgenie { url, .. }
            | Self::PagerDuty { url, .. }
            | Self::Slack { url, .. }
            | Self::Teams { url }
            | Self::Telegram { url, .. }
            | Self::Webhook { url, .. } => host(url).into_iter().collect(),
            Self::Email { server, .. } => {
                vec![clean_text(&format!("{}:{}", server.host, server.port))]
            }
            Self::KubernetesEvents => Vec::new(),
        }
    }

    /// The same with [`HIDDEN`] in place of each secret: what is rendered for it may be shown.
    #[must_use]
    pub fn hidden(self) -> Self {
        match self {
            Self::Alertmanager { urls, token } => Self::Alertmanager {
                urls: urls.iter().map(|_| hidden()).collect(),
                token: token.map(|_| hidden()),
            },
            Self::Discord { url: _ } => Self::Discord { url: hidden() },
            Self::Email { server, from, to } => {
                let MailServer { host, port, tls, user, password } = server;
                let (user, password) =
                    (user.map(|_| HIDDEN.to_owned()), password.map(|_| hidden()));
                Self::Email { server: MailServer { host, port, tls, user, password }, from, to }
            }
            Self::KubernetesEvents => Self::KubernetesEvents,
            Self::Mattermost { url: _, channel } => Self::Mattermost { url: hidden(), channel },
            Self::Opsgenie { url: _, key: _ } => Self::Opsgenie { url: hidden(), key: hidden() },
            Self::PagerDuty { url: _, routing_key: _ } => {
                Self::PagerDuty { url: hidden(), routing_key: hidden() }
            }
            Self::Slack { url: _, token, channel, username } => {
                Self::Slack { url: hidden(), token: token.map(|_| hidden()), channel, username }
            }
            Self::Teams { url: _ } => Self::Teams { url: hidden() },
            Self::Telegram { url: _, token: _, chats } => {
                Self::Telegram { url: hidden(), token: hidden(), chats }
            }
            Self::Webhook { url: _, hmac_key, headers, body } => Self::Webhook {
                url: hidden(),
                hmac_key: hmac_key.map(|_| hidden()),
                headers: headers.into_iter().map(|(name, _)| (name, hidden())).collect(),
                body: body.map(Body::hidden),
            },
        }
    }
}

impl Body {
    fn hidden(self) -> Self {
        match self {
            Self::Form { title, message, fields } => {
                let fields = fields.into_iter().map(|(name, _)| (name, hidden())).collect();
                Self::Form { title, message, fields }
            }
            Self::Json { title, message, fields, content_type, method } => {
                let hide = |field| match field {
                    Field::Number(number) => Field::Number(number),
                    Field::Text(_) => Field::Text(hidden()),
                };
                let fields = fields.into_iter().map(|(name, it)| (name, hide(it))).collect();
                Self::Json { title, message, fields, content_type, method }
            }
            Self::Text { content_type, method } => Self::Text { content_type, method },
        }
    }
}

fn hidden() -> Secret {
    Secret::new(HIDDEN)
}

/// The host of an address. `None` if it is not certain which part of it that is.
fn host(url: &Secret) -> Option<String> {
    let (_, rest) = url.reveal().split_once("://")?;
    let end = rest.find(['/', '?', '#', '\\']).unwrap_or(rest.len());
    let (authority, after) = rest.split_at_checked(end)?;
    // A slash in a password would make part of it seem to be the host.
    if after.contains('@') {
        return None;
    }
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let fits = |c: char| c.is_ascii_alphanumeric() || "-._:[]".contains(c);
    (!host.is_empty() && host.len() <= 300 && host.chars().all(fits)).then(|| host.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_host_of_an_address_is_shown() {
        for (url, shown) in [
            ("https://hooks.example.com/services/T0/B0/s3cret", Some("hooks.example.com")),
            ("http://user:s3cret@am-0:9093?token=s3cret", Some("am-0:9093")),
            ("https://[2001:db8::1]:8443/s3cret#s3cret", Some("[2001:db8::1]:8443")),
            ("https://user:s3/cret@example.com/", None),
            ("https://host\\@s3cret", None),
            ("s3cret", None),
            ("https:///s3cret", None),
            ("https://s3cret\u{202e}/", None),
        ] {
            let target = Target::Teams { url: Secret::new(url) };
            assert_eq!(target.hosts(), shown.into_iter().collect::<Vec<_>>(), "{url}");
        }
    }

    #[test]
    fn nothing_that_is_secret_is_left_in_what_is_shown() {
        let secret = || Secret::new("https://s3cret.example.com/s3cret");
        let maybe = || Some(secret());
        let server = MailServer {
            host: "mail".to_owned(),
            port: 587,
            tls: super::super::MailTls::StartTls,
            user: Some("s3cret".to_owned()),
            password: maybe(),
        };
        let fields = vec![("a".to_owned(), Field::Text(secret()))];
        let (title, message) = (String::new(), "text".to_owned());
        let form_fields = vec![("a".to_owned(), secret())];
        let json = Body::Json {
            title: title.clone(),
            message: message.clone(),
            fields,
            content_type: None,
            method: "POST",
        };
        let form = Body::Form { title, message, fields: form_fields };
        let hook = |body| Target::Webhook {
            url: secret(),
            hmac_key: maybe(),
            headers: vec![("X-A".to_owned(), secret())],
            body,
        };
        let (from, to, chats) = (String::new(), Vec::new(), Vec::new());
        let (channel, username) = (None, None);
        for target in [
            Target::Alertmanager { urls: vec![secret()], token: maybe() },
            Target::Discord { url: secret() },
            Target::Email { server, from, to },
            Target::Mattermost { url: secret(), channel: None },
            Target::Opsgenie { url: secret(), key: secret() },
            Target::PagerDuty { url: secret(), routing_key: secret() },
            Target::Slack { url: secret(), token: maybe(), channel, username },
            Target::Teams { url: secret() },
            Target::Telegram { url: secret(), token: secret(), chats },
            hook(Some(json)),
            hook(Some(form)),
        ] {
            let kind = target.kind();
            // Two that differ in their secrets only are the same once they are hidden.
            assert_eq!(target.clone().hidden().hidden(), target.clone().hidden());
            assert!(!revealed(&target.hidden()).contains("s3cret"), "{kind:?}");
        }
    }

    /// Every secret of a target, and what else is text.
    fn revealed(target: &Target) -> String {
        let all: Vec<&str> = match target {
            Target::Alertmanager { urls, token } => {
                urls.iter().chain(token).map(Secret::reveal).collect()
            }
            Target::Discord { url } | Target::Teams { url } => vec![url.reveal()],
            Target::Mattermost { url, .. } => vec![url.reveal()],
            Target::Email { server, .. } => {
                let user = server.user.as_deref();
                server.password.iter().map(Secret::reveal).chain(user).collect()
            }
            Target::KubernetesEvents => Vec::new(),
            Target::Opsgenie { url, key } | Target::PagerDuty { url, routing_key: key } => {
                vec![url.reveal(), key.reveal()]
            }
            Target::Slack { url, token, .. } => {
                token.iter().chain([url]).map(Secret::reveal).collect()
            }
            Target::Telegram { url, token, .. } => vec![url.reveal(), token.reveal()],
            Target::Webhook { url, hmac_key, headers, body } => {
                let mut all: Vec<&Secret> = headers.iter().map(|(_, value)| value).collect();
                all.push(url);
                all.extend(hmac_key);
                match body {
                    Some(Body::Form { fields, .. }) => {
                        all.extend(fields.iter().map(|(_, value)| value));
                    }
                    Some(Body::Json { fields, .. }) => {
                        all.extend(fields.iter().filter_map(|(_, value)| match value {
                            Field::Number(_) => None,
                            Field::Text(text) => Some(text),
                        }));
                    }
                    Some(Body::Text { .. }) | None => {}
                }
                all.into_iter().map(Secret::reveal).collect()
            }
        };
        all.join(" ")
    }
}

use palisade_report::Moment;
use serde_json::Value;
use serde_json::json;

use super::*;
use crate::key::AlertId;
use crate::kind::Kind;
use crate::notice::Ended;
use crate::notice::Noticed;
use crate::notice::Reason;
use crate::notice::Words;
use crate::outgoing::HttpRequest;
use crate::receiver::Body;
use crate::receiver::Field;
use crate::receiver::MailServer;
use crate::receiver::MailTls;
use crate::secret::Secret;
use crate::severity::Severity;

mod alertmanager;
mod golden;
mod hostile;

/// 2026-11-23 02:10:00 UTC.
const NOW: Moment = Moment::from_unix(1_795_399_800);

/// An alert of `worker-NUMBER`, three days old.
fn alert(number: u64) -> Noticed {
    let node = format!("worker-{number}");
    Noticed {
        id: AlertId(number),
        kind: Kind::RebootOverdue,
        severity: Severity::Warning,
        ended: None,
        labels: [
            ("alertname", "PalisadeRebootOverdue"),
            ("cluster", "prod"),
            ("component", "reboots"),
            ("node", &node),
            ("pool", "web"),
            ("severity", "warning"),
        ]
        .map(|(name, value)| (name, value.to_owned()))
        .into(),
        starts_at: NOW.plus(-3 * 86_400),
        words: Words {
            summary: format!("{node} should have rebooted by 2026-11-20: kernel 6.1.0-56"),
            description: "It runs a kernel with known holes.".into(),
            action: "Open a window for the pool web, or approve the reboot.".into(),
            link: format!("/v1/nodes/{node}/explain"),
        },
        stale_since: None,
    }
}

fn ended(number: u64) -> Noticed {
    let why = "rebooted into kernel 6.1.0-56".into();
    Noticed { ended: Some(Ended { at: NOW, why }), ..alert(number) }
}

/// A notice of these, and of `more` that fire and are left out.
fn notice(alerts: Vec<Noticed>, more: usize) -> Notice {
    let firing = alerts.iter().filter(|it| it.is_firing()).count();
    Notice {
        receiver: "team-web".into(),
        group_key: "{alertname=\"PalisadeRebootOverdue\", cluster=\"prod\", pool=\"web\"}".into(),
        group_labels: [
            ("alertname", "PalisadeRebootOverdue"),
            ("cluster", "prod"),
            ("pool", "web"),
        ]
        .map(|(name, value)| (name, value.to_owned()))
        .into(),
        cluster: "prod".into(),
        external_url: "https://palisade.example".into(),
        reason: if firing == 0 { Reason::AllResolved } else { Reason::First },
        resolved: alerts.len() - firing,
        firing: firing + more,
        nodes: firing + more,
        alerts,
        at: NOW,
    }
}

/// 5,000 of which 200 come in full.
fn many() -> Notice {
    notice((1..=200).map(alert).collect(), 4_800)
}

fn secret(text: &str) -> Secret {
    Secret::new(text)
}

fn sent(target: &Target, notice: &Notice) -> Vec<Outgoing> {
    render(target, notice, &Templates::default(), Size::Full).unwrap()
}

fn request(target: &Target, notice: &Notice) -> HttpRequest {
    let [Outgoing::Http(request)] = &sent(target, notice)[..] else { panic!("not one request") };
    request.clone()
}

fn body(target: &Target, notice: &Notice) -> Value {
    serde_json::from_slice(&request(target, notice).body).unwrap()
}

fn email() -> Target {
    let server = MailServer {
        host: "mail.example.org".into(),
        port: 587,
        tls: MailTls::StartTls,
        user: None,
        password: None,
    };
    Target::Email {
        server,
        from: "palisade@example.org".into(),
        to: vec!["ops@example.org".into()],
    }
}

/// One target of each sort that takes groups.
fn targets() -> Vec<Target> {
    let url = || secret("https://chat.example/hooks/T0KEN");
    let webhook = |body| Target::Webhook { url: url(), hmac_key: None, headers: Vec::new(), body };
    vec![
        Target::Discord { url: url() },
        email(),
        Target::KubernetesEvents,
        Target::Mattermost { url: url(), channel: None },
        Target::Opsgenie { url: secret("https://api.opsgenie.com"), key: secret("k3y") },
        Target::PagerDuty {
            url: secret("https://events.pagerduty.com/v2/enqueue"),
            routing_key: secret("0123456789abcdef0123456789abcdef"),
        },
        Target::Slack { url: url(), token: None, channel: None, username: None },
        Target::Teams { url: url() },
        Target::Telegram {
            url: secret("https://api.telegram.org"),
            token: secret("12:T0KEN"),
            chats: vec!["-100123".into(), "@ops:7".into()],
        },
        webhook(None),
        webhook(Some(Body::Json {
            title: String::new(),
            message: "text".into(),
            fields: vec![
                ("channel".into(), Field::Text(secret("#ops"))),
                ("priority".into(), Field::Number(5)),
            ],
            content_type: None,
            method: "POST",
        })),
        webhook(Some(Body::Form {
            title: "title".into(),
            message: "content".into(),
            fields: vec![("to".into(), secret("a&b"))],
        })),
        webhook(Some(Body::Text { content_type: "text/plain".into(), method: "PUT" })),
    ]
}

//! What the collector renders and sends, at real receivers: an Alertmanager keeps what was meant, and
//! every way to fail is understood.

use std::collections::BTreeMap;
use std::time::Duration;
use std::time::SystemTime;

use palisade_alert::answer::understand;
use palisade_alert::key::AlertId;
use palisade_alert::kind::Kind;
use palisade_alert::notice::Ended;
use palisade_alert::notice::Notice;
use palisade_alert::notice::Noticed;
use palisade_alert::notice::Reason;
use palisade_alert::notice::Words;
use palisade_alert::outgoing::HttpRequest;
use palisade_alert::outgoing::Outcome;
use palisade_alert::outgoing::Outgoing;
use palisade_alert::receiver::MailServer as Server;
use palisade_alert::receiver::MailTls;
use palisade_alert::receiver::Target;
use palisade_alert::receiver::TargetKind;
use palisade_alert::render::Size;
use palisade_alert::render::alertmanager::batches;
use palisade_alert::render::render;
use palisade_alert::secret::Secret;
use palisade_alert::severity::Severity;
use palisade_alert::template::Templates;
use palisade_collector::notify::dial::Dialer;
use palisade_collector::notify::dial::Times;
use palisade_collector::notify::egress::Egress;
use palisade_collector::notify::mail;
use palisade_collector::notify::post::Poster;
use palisade_collector::notify::trust::Trust;
use palisade_report::Moment;
use palisade_tests::cluster::alertmanager::Alertmanager;
use palisade_tests::directory::Directory;
use palisade_tests::receiver::Certificate;
use palisade_tests::receiver::Conduct;
use palisade_tests::receiver::Plan;
use palisade_tests::receiver::Receiver;
use palisade_tests::receiver::Request;
use palisade_tests::receiver::mail::MailServer;
use palisade_tests::receiver::mail::Manners;
use palisade_tests::receiver::mail::Step;
use palisade_tests::receiver::mail::Way;
use palisade_tests::receiver::signature;

/// Far more than anything here takes.
const WITHIN: Duration = Duration::from_secs(120);

/// What one who hangs costs a sender here.
const HASTY: Times = Times { connect: Duration::from_secs(5), total: Duration::from_secs(2) };

/// What tenants write into names.
const EVIL: [&str; 6] = [
    "\"',;\\{}$(reboot)%0a%n%s{{ .Labels }}",
    "<!channel> <script>alert(1)</script>",
    "\r\n\u{1b}[2J",
    "\u{202e}gpj.exe",
    "\u{0}",
    "😀e\u{301}",
];

fn now() -> Moment {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
    Moment::from_unix(i64::try_from(since.as_secs()).expect("a moment"))
}

fn dialer(times: Times, authority: Option<&Directory>) -> Dialer {
    let allowed = vec!["127.0.0.1/32".parse().expect("a network")];
    let file = authority.map(|it| it.path().join("ca.pem"));
    Dialer { egress: Egress::new(allowed, Vec::new()), trust: Trust::new(file), times }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

fn alert(number: usize, severity: Severity) -> Noticed {
    let evil = EVIL[number % EVIL.len()];
    let labels = [
        ("alertname", Kind::CertificateExpired.alertname()),
        ("cluster", "prod".to_owned()),
        ("node", format!("worker-{number}")),
        ("pool", "web".to_owned()),
        ("severity", severity.to_string()),
        ("subject", format!("/etc/{evil}")),
    ];
    Noticed {
        id: AlertId(number as u64),
        kind: Kind::CertificateExpired,
        severity,
        ended: None,
        labels: BTreeMap::from(labels),
        starts_at: Moment::from_unix(1_790_000_000),
        words: Words {
            summary: format!("worker-{number}: {evil}"),
            description: evil.repeat(50),
            action: "renew it".to_owned(),
            link: format!("/v1/nodes/worker-{number}"),
        },
        stale_since: None,
    }
}

fn notice(alerts: Vec<Noticed>) -> Notice {
    Notice {
        receiver: "hook".to_owned(),
        group_key: "prod/web".to_owned(),
        group_labels: BTreeMap::from([("cluster", "prod".to_owned()), ("pool", "web".to_owned())]),
        cluster: "prod".to_owned(),
        external_url: "https://palisade.example".to_owned(),
        reason: Reason::First,
        firing: alerts.len(),
        resolved: 0,
        nodes: alerts.len(),
        alerts,
        at: now(),
    }
}

#[test]
fn an_alertmanager_keeps_all_of_a_large_batch_whatever_is_in_it() {
    let receiver = Receiver::start(Plan::kind());
    let alertmanager = Alertmanager::telling(&receiver.url("/hook"));
    let member = Secret::new(alertmanager.url());
    let send = |alerts: &[(Noticed, Vec<Severity>)]| {
        let alerts = alerts.iter().map(|(alert, severities)| (alert, severities));
        let batches = batches(alerts, "https://palisade.example", now());
        let mut poster = Poster::new(dialer(Times::HTTP, None));
        for batch in &batches {
            let request = batch.request(&member, None);
            let answer = runtime().block_on(poster.post(&request, now())).expect("an answer");
            let text = String::from_utf8_lossy(&answer.body).into_owned();
            assert_eq!(answer.status, 200, "{text}");
        }
        batches.len()
    };
    // One that became louder is sent in both severities.
    let mut alerts: Vec<_> =
        (0..1_500).map(|it| (alert(it, Severity::Warning), vec![Severity::Warning])).collect();
    alerts[0] = (alert(0, Severity::Critical), vec![Severity::Warning, Severity::Critical]);
    assert!(send(&alerts) > 1);
    let known = alertmanager.alerts();
    assert_eq!(known.len(), 1_501);
    let subject = known.iter().find(|it| it["labels"]["node"] == "worker-2").expect("it");
    assert_eq!(subject["labels"]["subject"], "/etc/\\u{d}\\u{a}\\u{1b}[2J");
    let quieted: Vec<_> = alertmanager
        .alerts_called("PalisadeCertificateExpired")
        .into_iter()
        .filter(|it| it["labels"]["node"] == "worker-0" && it["labels"]["severity"] == "warning")
        .collect();
    assert_eq!(quieted[0]["status"]["state"], "suppressed", "{quieted:#?}");
    receiver.until("all of them", WITHIN, |seen| {
        let told = seen.iter().flat_map(|it| it.webhook().alerts).filter(|it| it.is_firing());
        (told.count() >= 1_500).then_some(())
    });

    alerts.truncate(1);
    let why = "renewed: valid until 2027-12-04".to_owned();
    alerts[0].0.ended = Some(Ended { at: now(), why });
    send(&alerts);
    let fixed = receiver.until("the end of one", WITHIN, |seen| {
        let mut told = seen.iter().flat_map(|it| it.webhook().alerts);
        told.find(|it| it.label("node") == "worker-0" && !it.is_firing())
    });
    assert_eq!(fixed.annotation("resolved_by"), "renewed: valid until 2027-12-04");
}

/// What a receiver's conduct means, in a word.
fn word(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Dead { .. } => "dead",
        Outcome::Delivered => "delivered",
        Outcome::Partial { .. } => "partial",
        Outcome::Lost { .. } => "lost",
        Outcome::Retry { after: None, .. } => "retry",
        Outcome::Retry { after: Some(_), .. } => "retry later",
        Outcome::TooLarge => "too large",
    }
}

/// A webhook to `url`, attempted once.
fn attempt(url: String, authority: Option<&Directory>) -> Outcome {
    let target = Target::Webhook {
        url: Secret::new(url),
        hmac_key: Some(Secret::new("the key")),
        headers: vec![("X-Team".to_owned(), Secret::new("sre"))],
        body: None,
    };
    let alerts = (0..EVIL.len()).map(|it| alert(it, Severity::Critical)).collect();
    let rendered = render(&target, &notice(alerts), &Templates::default(), Size::Full);
    let rendered = rendered.expect("a message");
    let [Outgoing::Http(request)] = rendered.as_slice() else { panic!("{rendered:?}") };
    posted(request, authority)
}

fn posted(request: &HttpRequest, authority: Option<&Directory>) -> Outcome {
    let mut poster = Poster::new(dialer(HASTY, authority));
    match runtime().block_on(poster.post(request, now())) {
        Ok(it) => {
            let after = it.retry_after.as_deref();
            understand(TargetKind::Webhook, it.status, after, &it.body, now())
        }
        Err(error) => error.outcome(),
    }
}

#[test]
fn every_conduct_of_a_receiver_is_understood() {
    let elsewhere = Receiver::start(Plan::kind());
    for (conduct, means) in [
        // The status says it; a body that ends early takes nothing back.
        (Conduct::CutBody, "delivered"),
        (Conduct::CutHead, "lost"),
        (Conduct::DropRead, "lost"),
        (Conduct::DropUnread, "lost"),
        (Conduct::EarlyStatus(413), "too large"),
        (Conduct::EndlessBody, "delivered"),
        (Conduct::EndlessHead, "lost"),
        (Conduct::Garbage, "lost"),
        (Conduct::Hang, "lost"),
        (Conduct::Redirect(elsewhere.url("/elsewhere")), "dead"),
        (Conduct::SlowRead(Duration::from_millis(200)), "delivered"),
        (Conduct::Status(202), "delivered"),
        (Conduct::Status(404), "dead"),
        (Conduct::Status(500), "retry"),
        (Conduct::Status(503), "retry"),
        (Conduct::Take, "delivered"),
        (Conduct::TooMany("7".to_owned()), "retry later"),
        (Conduct::TooMany("soon".to_owned()), "retry"),
    ] {
        let receiver = Receiver::start(Plan::always(conduct.clone()));
        let outcome = attempt(receiver.url("/hook"), None);
        assert_eq!(word(&outcome), means, "{conduct:?}: {outcome:?}");
        // Nothing is tried a second time behind the outbox's back.
        assert_eq!(receiver.seen().len(), 1, "{conduct:?}");
    }
    assert!(elsewhere.seen().is_empty(), "no redirect is followed");
    let mut gone = Receiver::start(Plan::kind());
    gone.close();
    assert_eq!(word(&attempt(gone.url("/hook"), None)), "retry");
}

#[test]
fn a_webhook_is_signed_trusted_and_reads_as_alertmanagers() {
    let receiver = Receiver::start(Plan::kind().over_tls(Certificate::Good));
    let authority = Directory::new("authority");
    authority.write("ca.pem", receiver.authority());
    let outcome = attempt(receiver.tls_url("/hook"), Some(&authority));
    assert_eq!(outcome, Outcome::Delivered);
    let taken = receiver.taken();
    assert_eq!(signature::verify(&taken[0], b"the key"), Ok(()));
    assert_eq!(taken[0].header("x-team"), Some("sre"));
    let webhook = taken[0].webhook();
    assert_eq!((&*webhook.version, &*webhook.status), ("4", "firing"));
    assert_eq!(webhook.alerts.len(), EVIL.len());
    for alert in &webhook.alerts {
        let texts = alert.labels.values().chain(alert.annotations.values());
        for text in texts {
            assert!(!text.chars().any(|it| it.is_control() || it == '\u{202e}'), "{text:?}");
        }
    }
    for bad in [Certificate::Expired, Certificate::Unknown, Certificate::WrongName] {
        receiver.be(Plan::kind().over_tls(bad));
        let outcome = attempt(receiver.tls_url("/hook"), Some(&authority));
        assert_eq!(word(&outcome), "retry later", "{bad:?}: {outcome:?}");
    }
    assert_eq!(receiver.seen().iter().filter(|it| Request::is_taken(it)).count(), 1);
}

#[test]
fn a_mail_arrives_over_tls_or_is_kept_for_later() {
    let certificate = Some(Certificate::Good);
    let server = MailServer::start(Manners { certificate, ..Manners::default() });
    let authority = Directory::new("authority");
    authority.write("ca.pem", server.authority());
    let target = Server {
        host: "127.0.0.1".to_owned(),
        port: server.address().port(),
        tls: MailTls::StartTls,
        user: Some("palisade".to_owned()),
        password: Some(Secret::new("a password")),
    };
    let alerts = (0..EVIL.len()).map(|it| alert(it, Severity::Critical)).collect();
    let email = Target::Email {
        server: target.clone(),
        from: "palisade@example.com".to_owned(),
        to: vec!["ops@example.com".to_owned()],
    };
    let rendered = render(&email, &notice(alerts), &Templates::default(), Size::Full);
    let rendered = rendered.expect("a mail");
    let [Outgoing::Email(letter)] = rendered.as_slice() else { panic!("{rendered:?}") };
    let dialer = dialer(Times::MAIL, Some(&authority));
    let send = || runtime().block_on(mail::send(letter, &target, &dialer, now()));
    send().expect("a mail that is taken");
    let mails = server.until(1, WITHIN);
    assert_eq!((mails[0].way, mails[0].to.join(" ")), (Way::Tls, "ops@example.com".to_owned()));
    assert!(mails[0].proof.is_some(), "{:?}", mails[0]);
    let subject = "[FIRING:6] critical: CertificateExpired on 6 nodes of prod, pool web";
    assert_eq!(mails[0].header("subject"), subject);
    for (line, means) in [("451 later", "retry"), ("550 never", "dead")] {
        let refuses = Some((Step::End, line.to_owned()));
        server.be(Manners { refuses, certificate, ..Manners::default() });
        let error = send().expect_err("a mail that is refused");
        assert_eq!(word(&error.outcome()), means, "{line}: {error:?}");
    }
    assert_eq!(server.mails().len(), 1);
}

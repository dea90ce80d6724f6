use super::*;
use crate::outgoing::Event;
use crate::template::Template;

fn mail(notice: &Notice, templates: &Templates) -> crate::outgoing::Email {
    let sent = render(&email(), notice, templates, Size::Full).unwrap();
    let [Outgoing::Email(mail)] = &sent[..] else { panic!("{sent:?}") };
    mail.clone()
}

#[test]
fn a_mail_is_plain_text_and_a_thread_for_each_group() {
    for ((notice, text), subject) in plain().into_iter().zip([FIRING, RESOLVED, MANY]) {
        let mail = mail(&notice, &Templates::default());
        assert_eq!((&*mail.subject, &*mail.thread), (subject, "943d386e7f67@palisade"));
        assert_eq!(mail.text, format!("{text}\n"));
        assert_eq!(
            (&*mail.from, &mail.to[..]),
            ("palisade@example.org", &["ops@example.org".into()][..])
        );
    }
}

#[test]
fn several_sorts_of_alerts_are_told_apart() {
    let mut alerts: Vec<Noticed> = (1..=9).map(alert).chain([ended(10), ended(11)]).collect();
    alerts[8].kind = Kind::NodeQuarantined;
    alerts[8].severity = Severity::Critical;
    let mut mixed = notice(alerts, 0);
    mixed.group_labels = [("cluster", "prod".to_owned())].into();
    let mail = mail(&mixed, &Templates::default());
    assert_eq!(mail.subject, "[FIRING:9, RESOLVED:2] critical: 9 alerts in prod, pool web");
    let expected = "\
9 alerts fire on 9 nodes, 2 ended
loudest critical, oldest since 2026-11-20 02:10 UTC (for 3 d); cluster prod, pool web
Of these: RebootOverdue 10, NodeQuarantined 1
Firing: worker-1, worker-2, worker-3, worker-4, worker-5, worker-6, worker-7, worker-8, worker-9
Ended: worker-10 (rebooted into kernel 6.1.0-56)
For example: worker-1 should have rebooted by 2026-11-20: kernel 6.1.0-56
Why: It runs a kernel with known holes.
Do: Open a window for the pool web, or approve the reboot.

and 1 more: https://palisade.example/v1/alerts
";
    assert!(mail.text.ends_with(expected), "{}", mail.text);
}

#[test]
fn many_that_ended_say_by_what() {
    let mail = mail(&notice((1..=12).map(ended).collect(), 0), &Templates::default());
    let text = "\
[RESOLVED:12] RebootOverdue, 12 alerts in prod, pool web

12 alerts ended
cluster prod, pool web
Ended: worker-1 (rebooted into kernel 6.1.0-56), worker-2 (rebooted into kernel 6.1.0-56), ";
    assert!(mail.text.starts_with(text), "{}", mail.text);
    let rest = "and 2 more: https://palisade.example/v1/alerts?alert=RebootOverdue\n";
    assert!(mail.text.ends_with(rest), "{}", mail.text);
}

#[test]
fn a_stale_alert_says_so_and_an_end_without_a_reason_too() {
    let stale_since = Some(NOW.plus(-3600));
    let why = String::new();
    let over = Noticed { ended: Some(Ended { at: NOW, why }), ..alert(8) };
    let both = notice(vec![Noticed { stale_since, ..alert(7) }, over], 0);
    let text = mail(&both, &Templates::default()).text;
    assert!(
        text.contains("\nNothing is known since 2026-11-23 01:10 UTC; taken to hold.\n"),
        "{text}"
    );
    assert!(text.contains("\nEnded: what ended it was not recorded\n"), "{text}");
}

#[test]
fn templates_are_filled_for_the_group_and_for_each_alert() {
    let template = |text| Some(Template::parse(text).unwrap());
    let templates = Templates {
        title: template("{{{status}}} {alert}:\n{count} on {nodes} of {pool}/{node}"),
        message: template("{node}: {description}\n  {severity} since {since}\n  {link}"),
    };
    let mail = mail(&notice(vec![alert(7), ended(8)], 3), &templates);
    assert_eq!(mail.subject, "{firing} RebootOverdue: 4 on 4 of web/several");
    let text = "\
{firing} RebootOverdue: 4 on 4 of web/several

worker-7: It runs a kernel with known holes.
  warning since 2026-11-20 02:10 UTC
  https://palisade.example/v1/nodes/worker-7/explain

worker-8: rebooted into kernel 6.1.0-56
  warning since 2026-11-20 02:10 UTC
  https://palisade.example/v1/nodes/worker-8/explain

and 3 more: https://palisade.example/v1/alerts?alert=RebootOverdue
";
    assert_eq!(mail.text, text);
}

#[test]
fn a_template_may_call_the_channel_and_what_fills_it_may_not() {
    let title = Some(Template::parse("<!here> {summary}").unwrap());
    let mut hostile = firing();
    hostile.alerts[0].words.summary = "<!channel>".into();
    let target = Target::Slack {
        url: secret("https://x.example"),
        token: None,
        channel: None,
        username: None,
    };
    let templates = Templates { title, message: None };
    let sent = render(&target, &hostile, &templates, Size::Full).unwrap();
    let [Outgoing::Http(request)] = &sent[..] else { panic!("{sent:?}") };
    let body: Value = serde_json::from_slice(&request.body).unwrap();
    assert_eq!(body["text"], "<!here> &lt;!channel&gt;");
}

#[test]
fn there_is_an_event_for_each_alert_about_a_node() {
    let mut without = alert(9);
    without.labels.remove("node");
    let sent = sent(&Target::KubernetesEvents, &notice(vec![alert(7), without, ended(8)], 0));
    let event = |node: &str, note: &str, type_, turn: &str| {
        Outgoing::Event(Event {
            node: node.into(),
            reason: "RebootOverdue".into(),
            note: note.into(),
            type_,
            turn: turn.into(),
        })
    };
    assert_eq!(
        sent,
        [
            event(
                "worker-7",
                "warning: worker-7 should have rebooted by 2026-11-20: kernel 6.1.0-56. It runs a \
                 kernel with known holes. Do: Open a window for the pool web, or approve the reboot. \
                 https://palisade.example/v1/nodes/worker-7/explain",
                "Warning",
                "0000000000000007-1795140600-firing",
            ),
            event(
                "worker-8",
                "Resolved: worker-8 should have rebooted by 2026-11-20: kernel 6.1.0-56. Ended: \
                 rebooted into kernel 6.1.0-56 https://palisade.example/v1/nodes/worker-8/explain",
                "Normal",
                "0000000000000008-1795140600-resolved",
            ),
        ]
    );
}

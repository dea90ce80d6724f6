use super::super::alertmanager::Batch;
use super::super::alertmanager::MAX_ALERTS;
use super::super::alertmanager::MAX_BYTES;
use super::super::alertmanager::batches;
use super::*;

const URL: &str = "https://palisade.example";

fn told(alerts: &[(Noticed, Vec<Severity>)]) -> Vec<Batch> {
    batches(alerts.iter().map(|(alert, severities)| (alert, severities)), URL, NOW)
}

fn json(batch: &Batch) -> Value {
    serde_json::from_slice(&batch.body()).unwrap()
}

#[test]
fn an_alert_holds_for_fifteen_minutes_and_an_ended_one_says_by_what() {
    let mut stale = alert(7);
    stale.stale_since = Some(NOW.plus(-3600));
    let batches = told(&[(stale, vec![Severity::Warning]), (ended(8), vec![Severity::Warning])]);
    let [batch] = &batches[..] else { panic!("{batches:?}") };
    let labels = |node| {
        json!({
            "alertname": "PalisadeRebootOverdue", "cluster": "prod", "component": "reboots",
            "node": node, "pool": "web", "severity": "warning"
        })
    };
    assert_eq!(
        json(batch),
        json!([
            {
                "labels": labels("worker-7"),
                "annotations": {
                    "action": "Open a window for the pool web, or approve the reboot.",
                    "description": "It runs a kernel with known holes.",
                    "link": "https://palisade.example/v1/nodes/worker-7/explain",
                    "stale_since": "2026-11-23 01:10 UTC",
                    "summary": "worker-7 should have rebooted by 2026-11-20: kernel 6.1.0-56"
                },
                "startsAt": "2026-11-20T02:10:00Z",
                "endsAt": "2026-11-23T02:25:00Z",
                "generatorURL": "https://palisade.example/v1/nodes/worker-7/explain"
            },
            {
                "labels": labels("worker-8"),
                "annotations": {
                    "action": "Open a window for the pool web, or approve the reboot.",
                    "description": "It runs a kernel with known holes.",
                    "link": "https://palisade.example/v1/nodes/worker-8/explain",
                    "resolved_by": "rebooted into kernel 6.1.0-56",
                    "summary": "worker-8 should have rebooted by 2026-11-20: kernel 6.1.0-56"
                },
                "startsAt": "2026-11-20T02:10:00Z",
                "endsAt": "2026-11-23T02:10:00Z",
                "generatorURL": "https://palisade.example/v1/nodes/worker-8/explain"
            }
        ])
    );
    let request = batch.request(&secret("http://am-0:9093/"), Some(&secret("t0k3n")));
    assert_eq!(request.url.reveal(), "http://am-0:9093/api/v2/alerts");
    assert_eq!(request.headers, [("Authorization".into(), secret("Bearer t0k3n"))]);
}

#[test]
fn one_that_got_louder_is_told_in_both_severities() {
    let batches = told(&[(alert(7), vec![Severity::Warning, Severity::Critical])]);
    let told = json(&batches[0]);
    let severities: Vec<_> =
        told.as_array().unwrap().iter().map(|it| &it["labels"]["severity"]).collect();
    assert_eq!(severities, ["warning", "critical"]);
}

#[test]
fn no_end_is_before_its_start_or_ahead() {
    let skewed = |starts, ends: Option<i64>| {
        let why = String::new();
        let ended = ends.map(|secs| Ended { at: NOW.plus(secs), why });
        Noticed { starts_at: NOW.plus(starts), ended, ..alert(1) }
    };
    for (starts, ends, expected) in [
        (600, None, ("2026-11-23T02:10:00Z", "2026-11-23T02:25:00Z")),
        (-60, Some(-120), ("2026-11-23T02:09:00Z", "2026-11-23T02:09:00Z")),
        (-60, Some(600), ("2026-11-23T02:09:00Z", "2026-11-23T02:10:00Z")),
        (600, Some(900), ("2026-11-23T02:10:00Z", "2026-11-23T02:10:00Z")),
    ] {
        let told = json(&told(&[(skewed(starts, ends), vec![Severity::Info])])[0]);
        assert_eq!(
            (told[0]["startsAt"].as_str(), told[0]["endsAt"].as_str()),
            (Some(expected.0), Some(expected.1))
        );
    }
}

#[test]
fn batches_are_bounded_in_number_and_in_bytes_and_lose_nothing() {
    let many: Vec<_> = (0..5_000).map(|it| (alert(it), vec![Severity::Warning])).collect();
    let batches = told(&many);
    assert_eq!(batches.len(), 5);
    for batch in &batches {
        assert!(batch.body().len() <= MAX_BYTES && batch.alerts().count() <= MAX_ALERTS);
    }
    // Long and hostile words: fewer of them in each.
    let long: Vec<_> = (0..1_000)
        .map(|it| {
            let mut alert = alert(it);
            alert.words.description = "\"\\\u{0}<".repeat(2_000);
            alert.words.action = "é".repeat(10_000);
            (alert, vec![Severity::Warning, Severity::Critical])
        })
        .collect();
    let batches = told(&long);
    let total: usize = batches.iter().map(|it| it.alerts().count()).sum();
    assert_eq!(total, 2_000);
    assert!(batches.len() > 4, "{}", batches.len());
    for (index, batch) in batches.iter().enumerate() {
        let bytes = batch.body().len();
        assert!(bytes <= MAX_BYTES);
        assert!(bytes > MAX_BYTES - 20_000 || index + 1 == batches.len(), "{index}: {bytes}");
        assert_eq!(json(batch).as_array().unwrap().len(), batch.alerts().count());
    }
    assert!(told(&[]).is_empty());
}

#[test]
fn halving_finds_the_alert_that_is_refused() {
    let all: Vec<_> = (0..1_000).map(|it| (alert(it), vec![Severity::Warning])).collect();
    let refused = AlertId(617);
    let mut work = told(&all);
    let mut singles = Vec::new();
    let mut requests = 0;
    while let Some(batch) = work.pop() {
        requests += 1;
        if !batch.alerts().any(|(id, _)| id == refused) {
            continue;
        }
        match batch.halves() {
            Some((left, right)) => work.extend([left, right]),
            None => singles.extend(batch.alerts()),
        }
    }
    assert_eq!(singles, [(refused, Severity::Warning)]);
    assert!(requests <= 21, "{requests}");
}

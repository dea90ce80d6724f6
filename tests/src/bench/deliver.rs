//! B9: messages about alerts delivered to one receiver, one after the other as they must be, each
//! outcome written before the next one leaves, against a bare hyper client that sends the same bodies
//! over a kept connection to the same receiver.

use std::time::Duration;

use hyper::Method;
use hyper::body::Bytes;

use super::measure::Pairs;
use super::measure::Side;
use super::measure::Spread;
use super::table::Goal;
use super::table::Row;
use super::table::grouped;
use crate::directory::Directory;
use crate::fleet;
use crate::fleet::Node;
use crate::http::Client;
use crate::process::Collector;
use crate::receiver::Plan;
use crate::receiver::Receiver;
use crate::receiver::Request;
use crate::worker;

/// Nodes that turn bad and good again: one message for each.
const NODES: usize = 1500;

/// How long all of them may take.
const PATIENCE: Duration = Duration::from_secs(300);

/// Measures it.
pub(super) fn run() -> Vec<Row> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    let receiver = Receiver::start(Plan::kind());
    let state = Directory::new("bench-deliver");
    state.write(
        "alerts.yaml",
        format!(
            "apiVersion: palisade.dev/v1alpha1\nkind: AlertConfig\negress: {{ allow: [127.0.0.0/8] }}\n\
             alerts: [{{ alert: HardeningRegressed, for: 0s, keep: 0s }}]\n\
             receivers: [{{ name: hook, webhook: {{ url: \"{}\" }} }}]\n\
             routes: [{{ match: {{ alerts: [HardeningRegressed] }}, receivers: [hook], \
             groupBy: [alertname, node], groupWait: 0s, groupInterval: 1s, repeatInterval: 1d }}]\n",
            receiver.url("/hook"),
        ),
    );
    let settings = state.path().join("alerts.yaml").display().to_string();
    let more = ["--alerts", &settings, "--interval", "3600", "--silent-after", "86400"];
    let collector = Collector::start(state.path(), &more);
    let reports = [false, true].map(|is_bad| {
        let root = Directory::new("bench-node");
        worker::write(&root, 0);
        if is_bad {
            worker::set_mode(root.path(), "/etc/shadow", 0o666);
        }
        worker::inspect(root.path())
    });
    let mut nodes: Vec<Node> = fleet::nodes(&reports[..1], NODES);
    let settle = |nodes| runtime.block_on(fleet::settle(collector.address, nodes, 20)).0;
    nodes = settle(nodes);
    let mut is_bad = false;
    let mut bodies: Vec<Vec<u8>> = Vec::new();
    let [rates] = Pairs::measure(|side| match side {
        Side::A => {
            is_bad = !is_bad;
            let report = &reports[usize::from(is_bad)];
            nodes.iter_mut().for_each(|node| node.change(report));
            nodes = settle(std::mem::take(&mut nodes));
            let taken = all(&receiver);
            bodies = taken.iter().map(|it| it.body.clone()).collect();
            [rate(&taken)]
        }
        Side::B => {
            runtime.block_on(async {
                let mut client = Client::new(receiver.address());
                let json = [("content-type", "application/json")];
                for body in &bodies {
                    let body = Bytes::from(body.clone());
                    client.send(Method::POST, "/hook", &json, body).await.expect("an answer");
                }
            });
            [rate(&all(&receiver))]
        }
    });
    let shown = |figure| format!("{}/s", grouped(figure));
    vec![Row {
        id: "B9",
        what: "messages delivered to one receiver / bare hyper client with the same bodies"
            .to_owned(),
        sides: Some((shown(rates.a().median), shown(rates.b().median))),
        ratio: Ok(rates.ratio()),
        goal: Goal::AtLeast(0.4),
    }]
}

/// Waits for one message of each node, and takes them.
fn all(receiver: &Receiver) -> Vec<Request> {
    receiver.until("one for each node", PATIENCE, |seen| (seen.len() >= NODES).then_some(()));
    receiver.next()
}

/// Messages a second, by the median of the time between two: that nodes do not turn all at the same
/// moment is none of the sender's business.
fn rate(taken: &[Request]) -> f64 {
    let gap = |pair: &[Request]| pair[1].at.duration_since(pair[0].at).unwrap_or_default();
    let gaps = taken.windows(2).map(|pair| gap(pair).as_secs_f64());
    1.0 / Spread::of(gaps).median
}

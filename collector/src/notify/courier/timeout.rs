//! How long a receiver may take.

use std::collections::BTreeMap;

use palisade_alert::config::Config;
use palisade_alert::notice::Reason;
use palisade_report::Moment;
use tokio::io::AsyncReadExt as _;

use super::*;
use crate::clock::SystemClock;
use crate::notify::dial::Times;
use crate::notify::peer::Peer;
use crate::notify::peer::dialer;

#[tokio::test]
async fn whoever_hangs_has_the_time_that_its_settings_give_it() {
    let peer =
        Peer::start(|_, mut stream| async move { while stream.read_u8().await.is_ok() {} }).await;
    let text = format!(
        "apiVersion: palisade.dev/v1alpha1\nkind: AlertConfig\n\
         receivers: [{{ name: a, webhook: {{ url: '{}' }}, timeout: 1s }}]\n",
        peer.url("/")
    );
    let config = Config::parse(&text).unwrap();
    let receiver = config.receiver("a").unwrap();
    let way = dialer(None, Times::to(receiver));
    let mut courier = Courier::new("a".to_owned(), way, Arc::new(SystemClock::start()), None);
    let notice = Notice {
        receiver: "a".to_owned(),
        group_key: "{}".to_owned(),
        group_labels: BTreeMap::new(),
        cluster: config.cluster.clone(),
        external_url: String::new(),
        reason: Reason::Test,
        alerts: Vec::new(),
        firing: 0,
        resolved: 0,
        nodes: 0,
        at: Moment::from_unix(1_800_000_000),
    };
    let load = Load {
        content: Content::Notice(Box::new(notice)),
        target: receiver.target(&|_| None).unwrap(),
        templates: Templates::default(),
        external_url: String::new(),
        turn: None,
    };
    let outcome = courier.carry(&load).await;
    let Outcome::Lost { after: None, why } = outcome else { panic!("{outcome:?}") };
    assert!(why.ends_with("within 1s"), "{why}");
}

//! Hostile addresses, each with the reason for which it is refused, good ones, and a resolver that
//! changes its mind.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use hyper::Uri;
use proptest::prelude::*;

use super::*;

/// Names and their addresses.
#[derive(Debug)]
struct Table(BTreeMap<&'static str, Vec<IpAddr>>);

impl Resolve for Table {
    fn addresses<'a>(&'a self, name: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        let found = self.0.get(name).cloned();
        Box::pin(async move { found.ok_or_else(|| io::Error::other("no such name")) })
    }
}

fn guard(allowed: &[&str]) -> Egress {
    let names = [
        ("localhost", "127.0.0.1 ::1"),
        ("localtest.example", "127.0.0.1"),
        ("metadata.google.internal", "169.254.169.254"),
        ("mixed.example", "8.8.8.8 127.0.0.1"),
        ("mixed6.example", "8.8.8.8 2606:4700::1111 fe80::1"),
        ("empty.example", ""),
        ("kubernetes.default.svc", "10.96.0.1"),
        ("mapped.example", "::ffff:169.254.169.254"),
        ("hooks.slack.com", "3.68.1.2 3.68.1.3"),
        ("events.pagerduty.com", "44.1.2.3 2600:1f14::1"),
        ("am-0.am.monitoring.svc.cluster.local", "10.244.1.7"),
        ("my_receiver", "172.18.0.3"),
        ("six.example", "fd12:3456::9"),
    ];
    let table = names.into_iter().map(|(name, addresses)| {
        (name, addresses.split_whitespace().map(|it| it.parse().unwrap()).collect())
    });
    let allowed = allowed.iter().map(|it| it.parse().unwrap()).collect();
    let api_server = ["10.96.0.1", "51.15.9.9"].map(|it| it.parse().unwrap()).to_vec();
    Egress::resolving(allowed, api_server, Arc::new(Table(table.collect())))
}

/// The addresses that `url` leads to, or the reason in a word.
async fn go(egress: &Egress, url: &str) -> Result<Vec<SocketAddr>, String> {
    let endpoint = Endpoint::parse(url).map_err(|refused| format!("{refused:?}"))?;
    let Endpoint { transport, host, port, target: _ } = endpoint;
    egress.resolve(&host, port, transport).await.map_err(|refused| match refused {
        RefusedAddress::ClearText { .. } => "ClearText".to_owned(),
        RefusedAddress::Kind { kind, .. } => format!("{kind:?}"),
        RefusedAddress::Nowhere { .. } => "Nowhere".to_owned(),
        RefusedAddress::Resolve { .. } => "Resolve".to_owned(),
    })
}

const HOSTILE: &[(&str, &str)] = &[
    // This host, in all its spellings.
    ("http://127.0.0.1/", "Loopback"),
    ("https://127.255.255.254:8443/x", "Loopback"),
    ("http://localhost:9093/", "Loopback"),
    ("http://LOCALHOST/", "Loopback"),
    ("http://localtest.example/", "Loopback"),
    ("http://[::1]/", "Loopback"),
    ("http://[0:0:0:0:0:0:0:1]:80/", "Loopback"),
    ("http://[::ffff:127.0.0.1]/", "Loopback"),
    ("http://[::ffff:7f00:1]/", "Loopback"),
    ("http://[::127.0.0.1]/", "Loopback"),
    ("http://[64:ff9b::127.0.0.1]/", "Loopback"),
    ("http://[64:ff9b:1::7f00:1]/", "Loopback"),
    ("http://[2002:7f00:1::]/", "Loopback"),
    ("http://[::ffff:0:127.0.0.1]/", "Loopback"),
    ("http://[2606:4700::5efe:7f00:1]/", "Loopback"),
    ("http://[fd00::200:5efe:7f00:1]/", "Loopback"),
    ("http://[2001:0:1:2:3:4:80ff:fffe]/", "Loopback"),
    ("http://0177.0.0.1/", "NumericHost"),
    ("http://0x7f.0.0.1/", "NumericHost"),
    ("http://0x7f000001/", "NumericHost"),
    ("http://0X7F.1/", "NumericHost"),
    ("http://2130706433/", "NumericHost"),
    ("http://017700000001/", "NumericHost"),
    ("http://127.1/", "NumericHost"),
    ("http://127.0.1/", "NumericHost"),
    ("http://127.0.0.1./", "NumericHost"),
    ("http://127.0.0.256/", "NumericHost"),
    ("http://127.0.0.1.1/", "NumericHost"),
    ("http://example.0x/", "NumericHost"),
    ("http://0/", "NumericHost"),
    ("http://0.0.0.0/", "Unspecified"),
    ("http://0.1.2.3/", "Unspecified"),
    ("http://[::]/", "Unspecified"),
    // Those who hand out credentials.
    ("http://169.254.169.254/latest/meta-data/", "Metadata"),
    ("http://169.254.170.2/v2/credentials", "Metadata"),
    ("http://[::ffff:169.254.169.254]/", "Metadata"),
    ("http://[::a9fe:a9fe]/", "Metadata"),
    ("http://[64:ff9b::a9fe:a9fe]/", "Metadata"),
    ("http://[2002:a9fe:a9fe::1]/", "Metadata"),
    ("http://[fd00:ec2::254]/", "Metadata"),
    ("http://[fd20:ce::254]/", "Metadata"),
    ("http://100.100.100.200/", "Metadata"),
    ("http://192.0.0.192/", "Metadata"),
    ("http://168.63.129.16/", "Metadata"),
    ("http://metadata.google.internal/computeMetadata/v1/", "Metadata"),
    ("https://mapped.example/", "Metadata"),
    ("http://0xa9.0xfe.0xa9.0xfe/", "NumericHost"),
    ("http://2852039166/", "NumericHost"),
    // Neighbours, many, and nobody.
    ("http://169.254.1.1/", "LinkLocal"),
    ("http://[fe80::1]/", "LinkLocal"),
    ("http://[febf::1]/", "LinkLocal"),
    ("http://[fe80::1%25eth0]/", "EncodedHost"),
    ("https://224.0.0.1/", "Multicast"),
    ("https://239.255.255.250/", "Multicast"),
    ("https://[ff02::1]/", "Multicast"),
    ("https://255.255.255.255/", "Broadcast"),
    ("https://192.0.2.1/", "Documentation"),
    ("https://198.51.100.7/", "Documentation"),
    ("https://203.0.113.9/", "Documentation"),
    ("https://198.19.0.1/", "Documentation"),
    ("https://[2001:db8::1]/", "Documentation"),
    ("https://[3fff::1]/", "Documentation"),
    ("https://240.0.0.1/", "Reserved"),
    ("https://192.0.0.8/", "Reserved"),
    ("https://192.88.99.1/", "Reserved"),
    ("https://[2002:808:808::1]/", "Reserved"),
    ("https://[2001:0:808:808::1]/", "Reserved"),
    ("https://[fec0::1]/", "Reserved"),
    ("https://[100::1]/", "Reserved"),
    ("https://[4000::1]/", "Reserved"),
    ("https://[64:ff9b:1::808:808]/", "Reserved"),
    // The API server.
    ("https://10.96.0.1/api/v1/secrets", "ApiServer"),
    ("https://[::ffff:10.96.0.1]:443/", "ApiServer"),
    ("https://[64:ff9b::10.96.0.1]/", "ApiServer"),
    ("https://kubernetes.default.svc/", "ApiServer"),
    ("https://51.15.9.9:6443/", "ApiServer"),
    // One refused address among good ones.
    ("https://mixed.example/", "Loopback"),
    ("https://mixed6.example/", "LinkLocal"),
    ("https://empty.example/", "Nowhere"),
    ("https://nowhere.example/", "Resolve"),
    // Readable on the way.
    ("http://hooks.slack.com/services/A/B/C", "ClearText"),
    ("http://8.8.8.8/", "ClearText"),
    ("http://[2606:4700::1111]/", "ClearText"),
    // Forms that two parsers read differently.
    ("http://hooks.slack.com@127.0.0.1/", "UserInfo"),
    ("https://user:password@hooks.slack.com/", "UserInfo"),
    ("https://127.0.0.1#@hooks.slack.com/", "Fragment"),
    ("https://hooks.slack.com/#x", "Fragment"),
    ("https://hooks.slack.com\\@127.0.0.1/", "Characters"),
    ("https://hooks.slack.com /x", "Characters"),
    ("https://hooks.slack.com/a\r\nHost: x", "Characters"),
    ("https://hooks.slack.com\t/", "Characters"),
    ("https://ho\u{ff4f}ks.slack.com/", "Characters"),
    ("https://①②⑦.⓪.⓪.①/", "Characters"),
    ("https://127。0。0。1/", "Characters"),
    ("https://%31%32%37.0.0.1/", "EncodedHost"),
    ("https://hooks.slack.com%2f@x/", "UserInfo"),
    ("https://hooks.slack.com./", "TrailingDot"),
    ("https://localhost./", "TrailingDot"),
    ("https://hooks.slack.com../", "Host"),
    ("https://hooks..slack.com/", "Host"),
    ("https://-hooks.slack.com/", "Host"),
    ("https:///hooks.slack.com/", "Host"),
    ("https://", "Host"),
    ("https://[::1/", "Host"),
    ("https://[::1]x/", "Host"),
    ("https://[127.0.0.1]/", "Host"),
    ("https://::1/", "Port"),
    ("https://hooks.slack.com:0/", "Port"),
    ("https://hooks.slack.com:/", "Port"),
    ("https://hooks.slack.com:65536/", "Port"),
    ("https://hooks.slack.com:+443/", "Port"),
    ("https://hooks.slack.com:0443/", "Port"),
    ("https://hooks.slack.com:443:22/", "Port"),
    ("https:hooks.slack.com/", "Scheme"),
    ("//hooks.slack.com/", "Scheme"),
    ("hooks.slack.com", "Scheme"),
    ("file:///etc/passwd", "Scheme"),
    ("gopher://127.0.0.1:25/_EHLO", "Scheme"),
    ("ftp://hooks.slack.com/", "Scheme"),
    ("unix:///run/containerd.sock", "Scheme"),
    ("javascript://hooks.slack.com/", "Scheme"),
];

#[tokio::test]
async fn hostile_addresses_are_refused_each_for_its_reason() {
    let egress = guard(&[]);
    assert!(HOSTILE.len() >= 40);
    for (url, reason) in HOSTILE {
        assert_eq!(go(&egress, url).await, Err((*reason).to_owned()), "{url}");
    }
    let long = format!("https://hooks.slack.com/{}", "a".repeat(5000));
    assert_eq!(go(&egress, &long).await, Err("TooLong".to_owned()));
    let name = format!("https://{}.example/", "a".repeat(64));
    assert_eq!(go(&egress, &name).await, Err("Host".to_owned()));
}

#[tokio::test]
async fn addresses_of_receivers_are_good() {
    let egress = guard(&[]);
    for (url, expected) in [
        ("https://hooks.slack.com/services/A/B/C", "3.68.1.2:443 3.68.1.3:443"),
        ("HTTPS://Hooks.Slack.COM/services/A", "3.68.1.2:443 3.68.1.3:443"),
        ("https://hooks.slack.com:8443", "3.68.1.2:8443 3.68.1.3:8443"),
        ("https://hooks.slack.com?a=b@c:d", "3.68.1.2:443 3.68.1.3:443"),
        ("https://hooks.slack.com/a@b/%20?sig=%23&x=[1]", "3.68.1.2:443 3.68.1.3:443"),
        ("https://events.pagerduty.com/v2/enqueue", "44.1.2.3:443 [2600:1f14::1]:443"),
        ("http://am-0.am.monitoring.svc.cluster.local:9093", "10.244.1.7:9093"),
        ("http://my_receiver/hook", "172.18.0.3:80"),
        ("http://six.example", "[fd12:3456::9]:80"),
        ("http://10.0.0.7:9093/", "10.0.0.7:9093"),
        ("http://172.31.255.1/", "172.31.255.1:80"),
        ("http://192.168.1.1:65535/", "192.168.1.1:65535"),
        ("http://100.64.0.1/", "100.64.0.1:80"),
        ("http://[fd00:ec2::255]/", "[fd00:ec2::255]:80"),
        ("http://[::ffff:10.0.0.7]/", "[::ffff:10.0.0.7]:80"),
        ("https://8.8.8.8/", "8.8.8.8:443"),
        ("https://172.32.0.1/", "172.32.0.1:443"),
        ("https://[2606:4700::1111]/", "[2606:4700::1111]:443"),
        ("https://[64:ff9b::808:808]/", "[64:ff9b::808:808]:443"),
    ] {
        let expected = expected.split(' ').map(|it| it.parse().unwrap()).collect();
        assert_eq!(go(&egress, url).await, Ok(expected), "{url}");
    }
}

#[tokio::test]
async fn what_is_listed_is_open_and_nothing_beside_it() {
    for (allowed, url, expected) in [
        ("127.0.0.0/8", "http://127.0.0.1:9/", Ok("127.0.0.1:9")),
        ("127.0.0.1", "http://127.0.0.1:9/", Ok("127.0.0.1:9")),
        ("127.0.0.1", "http://127.0.0.2:9/", Err("Loopback")),
        ("127.0.0.1", "http://[::ffff:127.0.0.1]:9/", Ok("[::ffff:127.0.0.1]:9")),
        ("127.0.0.1", "http://[64:ff9b::127.0.0.1]:9/", Err("Loopback")),
        ("127.0.0.0/8", "http://localhost/", Err("Loopback")), // ::1 is not listed
        ("::1", "http://[::1]/", Ok("[::1]:80")),
        ("localtest.example", "http://localtest.example/", Ok("127.0.0.1:80")),
        ("LocalTest.example", "http://localtest.example/", Ok("127.0.0.1:80")),
        ("localtest.example", "http://127.0.0.1/", Err("Loopback")),
        ("localtest.example", "http://x.localtest.example/", Err("Resolve")),
        ("8.8.8.8", "http://8.8.8.8/", Ok("8.8.8.8:80")),
        ("0.0.0.0/0", "http://203.0.113.9/", Ok("203.0.113.9:80")),
        // By their own address only.
        ("0.0.0.0/0", "http://169.254.169.254/", Err("Metadata")),
        ("metadata.google.internal", "http://metadata.google.internal/", Err("Metadata")),
        ("169.254.169.254", "http://169.254.169.254/", Ok("169.254.169.254:80")),
        ("10.0.0.0/8", "https://10.96.0.1/", Err("ApiServer")),
        ("10.96.0.1/32", "https://10.96.0.1/", Ok("10.96.0.1:443")),
        ("::/0", "https://[fd00:ec2::254]/", Err("Metadata")),
    ] {
        let egress = guard(&[allowed]);
        let found = go(&egress, url).await;
        let expected = expected.map(|it| vec![it.parse().unwrap()]).map_err(str::to_owned);
        assert_eq!(found, expected, "{allowed} {url}");
    }
    for malformed in
        ["", "10.0.0.0/33", "10.0.0.1/8", "10.0.0.0/", "10.0.0.0/+8", "a b", "*.x", "127.1"]
    {
        assert_eq!(malformed.parse::<Allowed>(), Err(MalformedAllowed), "{malformed}");
    }
}

/// Good the first time, and this host from then on.
#[derive(Debug, Default)]
struct Rebinding(AtomicUsize);

impl Resolve for Rebinding {
    fn addresses<'a>(&'a self, _: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        let ip = match self.0.fetch_add(1, Ordering::Relaxed) {
            0 => "10.0.0.7",
            _ => "127.0.0.1",
        };
        Box::pin(async move { Ok(vec![ip.parse().unwrap()]) })
    }
}

#[tokio::test]
async fn a_name_that_changes_its_mind_is_asked_once_and_judged_each_time() {
    let resolver = Arc::new(Rebinding::default());
    let egress = Egress::resolving(vec![], vec![], Arc::<Rebinding>::clone(&resolver));
    let good = go(&egress, "http://rebinding.example/").await;
    assert_eq!(good, Ok(vec!["10.0.0.7:80".parse().unwrap()]));
    assert_eq!(resolver.0.load(Ordering::Relaxed), 1);
    assert_eq!(go(&egress, "http://rebinding.example/").await, Err("Loopback".to_owned()));
}

#[test]
fn nothing_of_an_address_but_its_host_is_shown() {
    let url = "https://hooks.slack.com:8443/services/SECRET?sig=SECRET";
    let endpoint = Endpoint::parse(url).unwrap();
    assert!(!format!("{endpoint:?}").contains("SECRET"), "{endpoint:?}");
    assert_eq!(endpoint.authority(), "hooks.slack.com:8443");
    assert_eq!(endpoint.target.reveal(), "/services/SECRET?sig=SECRET");
    let bare = Endpoint::parse("https://[2606:4700::1111]?sig=1").unwrap();
    assert_eq!((&*bare.authority(), bare.target.reveal()), ("[2606:4700::1111]", "/?sig=1"));
}

proptest! {
    /// What is judged and what is sent must be the same host: another parser agrees, or it is refused.
    #[test]
    fn another_parser_reads_the_same_host_and_port(
        url in "(https?|HTTP)(://|:/|:)([a-zA-Z0-9._:@%#?/\\[\\]\\\\ -]|[0-9]{1,3}\\.|::|x\\.example){0,16}"
    ) {
        let Ok(endpoint) = Endpoint::parse(&url) else { return Ok(()) };
        let uri: Uri = url.parse().unwrap();
        let Endpoint { transport, host, port, target } = endpoint;
        let scheme = if transport == Transport::Tls { "https" } else { "http" };
        prop_assert_eq!(uri.scheme_str(), Some(scheme));
        let implied = if transport == Transport::Tls { 443 } else { 80 };
        prop_assert_eq!(uri.port_u16().unwrap_or(implied), port);
        let (theirs, ours) = (uri.host().unwrap().to_ascii_lowercase(), host.to_string());
        let same = |it: &str| it.trim_matches(['[', ']']).parse::<IpAddr>().ok();
        prop_assert!(theirs == ours || same(&theirs) == same(&ours) && same(&ours).is_some());
        // The slash before a query goes without saying.
        let theirs = uri.path_and_query().unwrap().as_str();
        prop_assert_eq!(theirs.trim_start_matches('/'), target.reveal().trim_start_matches('/'));
        // Resolvers take what ends in a number for an address.
        if let Host::Name(name) = host {
            let last = name.rsplit('.').next().unwrap();
            prop_assert!(last.parse::<u64>().is_err() && !last.is_empty(), "{}", name);
        }
    }
}

//! The collector's own authority on a real API server, and a real agent that follows its rotation
//! through a directory that is swapped as the kubelet swaps a ConfigMap.

use std::io::Read;
use std::io::Write;
use std::net::Shutdown;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use hyper::Method;
use hyper::body::Bytes;
use palisade_tests::cluster::ControlPlane;
use palisade_tests::cluster::api::Call;
use palisade_tests::cluster::installation::AGENT;
use palisade_tests::cluster::installation::NAMESPACE;
use palisade_tests::cluster::mounted::Mounted;
use palisade_tests::directory::Directory;
use palisade_tests::http::Client;
use palisade_tests::http::Trust;
use palisade_tests::process::Agent;
use palisade_tests::process::Process;
use palisade_tests::wait;
use palisade_tests::worker;
use serde_json::Value;
use serde_json::json;

/// Far more than anything here takes on an idle machine.
const WITHIN: Duration = Duration::from_secs(180);

/// Silence after which the road cuts a connection: longer than any pause within a conversation,
/// shorter than the interval between two heartbeats.
const CUT_AFTER: Duration = Duration::from_secs(2);

/// Between two looks of the road at its connections.
const TICK: Duration = Duration::from_millis(50);

/// A way to the collector on which quiet connections are cut, so that each heartbeat needs a new one.
struct Road {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    connections: Arc<AtomicU32>,
}

impl Road {
    fn to(collector: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port of the road");
        let address = listener.local_addr().expect("the port of the road");
        let (stop, connections) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
        let (stopped, count) = (Arc::clone(&stop), Arc::clone(&connections));
        std::thread::spawn(move || {
            for from in listener.incoming().map_while(Result::ok) {
                if stopped.load(Ordering::SeqCst) {
                    break;
                }
                count.fetch_add(1, Ordering::SeqCst);
                let to = TcpStream::connect(collector).expect("connect to the collector");
                let heard = Arc::new(Mutex::new(Instant::now()));
                let back = [from.try_clone(), to.try_clone()].map(|it| it.expect("a clone"));
                let [back_to, back_from] = back;
                let also = Arc::clone(&heard);
                std::thread::spawn(move || pass(from, to, &heard));
                std::thread::spawn(move || pass(back_from, back_to, &also));
            }
        });
        Self { address, stop, connections }
    }

    fn connections(&self) -> u32 {
        self.connections.load(Ordering::SeqCst)
    }
}

impl Drop for Road {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // Wakes the listener up.
        drop(TcpStream::connect(self.address));
    }
}

/// Passes bytes on until both directions have been silent for too long.
fn pass(mut from: TcpStream, mut to: TcpStream, heard: &Mutex<Instant>) {
    from.set_read_timeout(Some(TICK)).expect("a read timeout");
    let mut bytes = [0; 16 * 1024];
    loop {
        match from.read(&mut bytes) {
            Ok(0) => break,
            Ok(count) => {
                *heard.lock().expect("a clock") = Instant::now();
                if to.write_all(&bytes[..count]).is_err() {
                    break;
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                if heard.lock().expect("a clock").elapsed() > CUT_AFTER {
                    break;
                }
            }
            Err(_) => break,
        }
    }
    // Either may be closed already.
    drop(from.shutdown(Shutdown::Both));
    drop(to.shutdown(Shutdown::Both));
}

fn counter(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.and_then(|it| it.parse().ok()).unwrap_or_else(|| panic!("no {name} in {text}"))
}

/// What a collector answers to somebody who trusts `bundle` alone and connects anew.
fn ask(
    address: SocketAddr,
    bundle: &str,
    path: &str,
    token: Option<&str>,
) -> Result<String, String> {
    if bundle.is_empty() {
        return Err("nothing is published".to_owned());
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let mut client = Client::new(address).with_trust(&Trust::new(bundle, "127.0.0.1"));
    if let Some(token) = token {
        client = client.with_token(token);
    }
    let asked = client.try_send(Method::GET, path, &[], Bytes::new());
    let answer = runtime.expect("a runtime").block_on(asked).map_err(|error| error.to_string())?;
    if answer.status.is_success() {
        Ok(answer.text())
    } else {
        Err(format!("{} {}", answer.status, answer.text()))
    }
}

/// The values of the collector's Secret, in base64 as the API shows them.
fn secret(cluster: &ControlPlane) -> Value {
    let path = format!("/api/v1/namespaces/{NAMESPACE}/secrets/palisade-collector-tls");
    cluster.get(&path)["data"].take()
}

/// A token as the agent's pod on a new node of this name has one.
fn agent_token(cluster: &ControlPlane, node: &str) -> String {
    cluster.node(node);
    // What pods may look like is not what is tested here.
    let policy = "validatingadmissionpolicybinding/palisade-pod-shapes";
    cluster.kubectl(&["delete", policy]);
    let pod = wait::until("the policy about pods is gone", WITHIN, || {
        let made = cluster.try_kubectl(&[
            "-n",
            NAMESPACE,
            "run",
            "probe",
            "--image=none",
            "--overrides",
            r#"{"spec":{"serviceAccountName":"palisade-agent"}}"#,
            "--dry-run=server",
        ]);
        made.map(|_| cluster.pod(NAMESPACE, "agent", AGENT, node))
    });
    cluster.token(NAMESPACE, AGENT, "palisade", 7200, Some(&pod))
}

/// What an agent says when a heartbeat, its one retry included, came to nothing.
fn setbacks(agent: &Process) -> Vec<String> {
    let said = "the report does not get through";
    agent.log().into_iter().filter(|line| line.contains(said)).collect()
}

fn certificates(bundle: &str) -> usize {
    bundle.matches("BEGIN CERTIFICATE").count()
}

#[test]
fn an_agent_follows_new_certificates_and_a_new_authority_while_it_runs() {
    let cluster = ControlPlane::start();
    cluster.install("base");
    let (root, state, secrets) =
        (Directory::new("root"), Directory::new("state"), Directory::new("secrets"));
    worker::write(&root, 0);
    let lives = ["--certificate-life", "45", "--trust-settle", "3", "--trust-keep", "20"];
    let collector =
        cluster.collector("one", state.path(), &[&["--interval", "5"], &lives[..]].concat());
    let mounted = Mounted::trust_of(&cluster);
    wait::until("the authority is published and used", WITHIN, || {
        ask(collector.address, &mounted.read(), "/readyz", None)
    });

    // From here on nobody who connects anew may ever be turned away.
    let refused = Arc::new(Mutex::new(Vec::new()));
    let probing = Arc::new(AtomicBool::new(true));
    let asked = Arc::new(AtomicU32::new(0));
    let prober = {
        let (refused, probing, asked) =
            (Arc::clone(&refused), Arc::clone(&probing), Arc::clone(&asked));
        let (address, file) = (collector.address, mounted.file());
        std::thread::spawn(move || {
            while probing.load(Ordering::SeqCst) {
                let bundle = std::fs::read_to_string(&file).expect("the mounted bundle");
                if let Err(error) = ask(address, &bundle, "/livez", None) {
                    refused.lock().expect("a list").push(error);
                }
                asked.fetch_add(1, Ordering::SeqCst);
                std::thread::sleep(Duration::from_millis(200));
            }
        })
    };

    secrets.write("token", agent_token(&cluster, "worker"));
    let (token_file, ca_file) = (secrets.path().join("token"), mounted.file());
    let road = Road::to(collector.address);
    let scraper = cluster.person("scraper", "palisade-metrics");
    let metrics = || {
        ask(collector.address, &mounted.read(), "/metrics", Some(&scraper))
            .unwrap_or_else(|error| panic!("ask for figures: {error}"))
    };
    let heartbeats = || counter(&metrics(), "palisade_heartbeats_total");
    let agent = Agent::run_to(
        &format!("https://127.0.0.1:{}", road.address.port()),
        "worker",
        root.path(),
        &[
            "--token-file",
            token_file.to_str().expect("a UTF-8 path"),
            "--ca-file",
            ca_file.to_str().expect("a UTF-8 path"),
        ],
    );
    let some_heartbeats = |what: &str, more: u64| {
        let goal = heartbeats() + more;
        wait::until(what, WITHIN, || {
            let now = heartbeats();
            if now >= goal { Ok(()) } else { Err((now, goal, agent.log())) }
        });
    };
    some_heartbeats("the agent reports", 2);
    wait::until("the agent says what it trusts", WITHIN, || {
        match counter(&metrics(), "palisade_agents_behind_trust") {
            0 => Ok(()),
            behind => Err(behind),
        }
    });

    let first = secret(&cluster);
    wait::until("the serving certificate is renewed", WITHIN, || {
        let now = secret(&cluster);
        if now["tls.crt"] == first["tls.crt"] { Err("it is the same") } else { Ok(()) }
    });
    assert_eq!(secret(&cluster)["ca.crt"], first["ca.crt"], "the authority is the same");
    some_heartbeats("the agent goes on with the renewed certificate", 2);

    let (kept, asked_for) = ("secret/palisade-collector-tls", "palisade.dev/rotate=now");
    cluster.kubectl(&["-n", NAMESPACE, "annotate", kept, asked_for]);
    let began = Instant::now();
    wait::until("two authorities are published", WITHIN, || {
        let bundle = mounted.read();
        if certificates(&bundle) == 2 { Ok(()) } else { Err(bundle) }
    });
    wait::until("the new authority signs", WITHIN, || {
        let now = secret(&cluster);
        if now["ca.crt"] == first["ca.crt"] { Err("the first one signs") } else { Ok(()) }
    });
    println!("the new authority signs {:?} after it was asked for", began.elapsed());
    some_heartbeats("the agent goes on with the new authority", 2);
    wait::until("the first authority is no longer trusted", WITHIN, || {
        let mounted = mounted.read();
        if certificates(&mounted) == 1 { Ok(()) } else { Err(mounted) }
    });
    let connections = road.connections();
    some_heartbeats("the agent goes on without the first authority", 3);
    assert!(road.connections() >= connections + 2, "each heartbeat took a connection of its own");

    probing.store(false, Ordering::SeqCst);
    prober.join().expect("the prober");
    let refused = refused.lock().expect("a list").clone();
    println!("{} new connections, {} refused", asked.load(Ordering::SeqCst), refused.len());
    assert_eq!(refused, Vec::<String>::new(), "somebody who follows was turned away");
    assert_eq!(setbacks(&agent), Vec::<String>::new(), "a heartbeat failed beyond one retry");

    let text = metrics();
    for figure in ["palisade_serving_certificate_end_seconds", "palisade_authority_end_seconds"] {
        assert!(counter(&text, figure) > 1_700_000_000, "{text}");
    }
    corrupt(&cluster, collector.process, || {
        ask(collector.address, &mounted.read(), "/livez", None)
    });
}

/// What is corrupt is named, left alone, and what is served stays served.
fn corrupt(
    cluster: &ControlPlane,
    mut collector: Process,
    serves: impl Fn() -> Result<String, String>,
) {
    let path = format!("/api/v1/namespaces/{NAMESPACE}/secrets/palisade-collector-tls");
    let junk = json!({ "data": { "ca.key": "anVuaw==" } });
    cluster.api().must(Call::merge(&path, &junk));
    let broken = secret(cluster);
    collector.wait_for_log("the corrupt key is named", |line: &Value| {
        let cause = line["cause"].as_str().or(line["fields"]["cause"].as_str())?;
        cause.contains("ca.key").then(|| println!("{cause}"))
    });
    serves().unwrap_or_else(|error| panic!("what is served stays served: {error}"));
    assert_eq!(secret(cluster), broken, "what is corrupt is left alone");
    collector.terminate();
}

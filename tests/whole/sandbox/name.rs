//! A confined parser finds the collector by its name: through `/etc/hosts`, and through the name
//! server of `/etc/resolv.conf`, in datagrams and, where an answer is long, over TCP.
//!
//! In a network namespace of its own, whose name server and files are the test's.

use super::*;

/// The collector's port in that namespace.
const PORT: &str = "7443";

/// Makes the loopback work and puts the files in place, then runs the rest of its arguments.
const PREPARE: &str = "ip link set lo up
for name in hosts resolv.conf nsswitch.conf; do
  if [ -e /etc/$name ]; then mount --bind \"$0/$name\" /etc/$name; fi
done
exec \"$@\"";

/// Runs `command` where `resolving` serves names; what that and the command printed.
fn with_names(name: &str, command: &[&str]) -> String {
    let directory = Directory::new(name);
    open_to_all(directory.path());
    for (file, text) in [
        ("hosts", "127.0.0.1 localhost\n127.0.0.7 listed.palisade.test\n"),
        ("resolv.conf", "nameserver 127.0.0.1\noptions timeout:5 attempts:3\n"),
        ("nsswitch.conf", "hosts: files dns\n"),
    ] {
        directory.write(file, text);
        open_to_all(&directory.path().join(file));
    }
    let output = Command::new("unshare")
        .args(["--net", "--mount", "--propagation=private", "sh", "-euc", PREPARE])
        .arg(directory.path())
        .args([env!("CARGO_BIN_EXE_resolving"), "serve", PORT])
        .args(command)
        .stdin(Stdio::null())
        .output()
        .expect("run unshare");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {} {error}", output.status);
    format!("{}{error}", String::from_utf8_lossy(&output.stdout))
}

#[test]
fn a_confined_parser_resolves_names() {
    if !is_root("a_confined_parser_resolves_names") {
        return;
    }
    let names =
        ["collector.palisade.test", "listed.palisade.test", "long.palisade.test", "nowhere.test"];
    for role in ["none", "parser"] {
        let mut command = vec![env!("CARGO_BIN_EXE_resolving"), "ask", role];
        command.extend(names);
        let said = with_names(&format!("names-{role}"), &command);
        let found = said.lines().find_map(|line| serde_json::from_str::<Value>(line).ok());
        let found = found.unwrap_or_else(|| panic!("{role}: {said}"));
        assert_eq!(found["collector.palisade.test"], "127.0.0.1", "{role}: {said}");
        assert_eq!(found["listed.palisade.test"], "127.0.0.7", "{role}: {said}");
        assert_eq!(found["long.palisade.test"], "127.0.0.1", "{role}: {said}");
        let nowhere = found["nowhere.test"].as_str().expect("a text");
        assert!(nowhere.contains("not known"), "{role}: {said}");
        assert!(said.contains("asked udp collector.palisade.test"), "{role}: {said}");
        assert!(said.contains("asked tcp long.palisade.test"), "{role}: {said}");
        assert!(!said.contains("asked udp listed.palisade.test"), "{role}: {said}");
        println!("{role}: {found}");
    }
}

/// The agent itself, static where it is the shipped one.
#[test]
fn a_confined_agent_finds_its_collector_by_a_name() {
    if !is_root("a_confined_agent_finds_its_collector_by_a_name") {
        return;
    }
    let agent = Agent::binary();
    let agent = agent.to_str().expect("a UTF-8 path");
    for host in ["collector.palisade.test", "listed.palisade.test", "long.palisade.test"] {
        let url = format!("http://{host}:{PORT}");
        let command = [agent, "run", "--confine", "split", "--collector", &url, "--node", "worker"];
        let said = with_names("named-collector", &command);
        assert!(said.lines().any(|line| line == "connected"), "{host}: {said}");
        println!("{host}: connected");
    }
}

//! What a report says of a real machine, compared with what commands print on it: nothing of the
//! agent is asked.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use palisade_tests::cluster::machine::Machine;
use serde_json::Value;

/// Facts as JSON pointers into the sections, and the commands that print the same.
const ONE_BY_ONE: [(&str, &str); 24] = [
    ("/boot/boot_id", "cat /proc/sys/kernel/random/boot_id"),
    ("/boot/command_line", "cat /proc/cmdline"),
    ("/boot/hostname", "hostname"),
    ("/boot/reboot_flag_written_at", "stat -c %Y /run/reboot-required"),
    ("/host/architecture", "uname -m"),
    ("/host/cpus", "nproc --all"),
    ("/host/init", "ps -p 1 -o comm="),
    ("/host/memory_mib", "awk '/^MemTotal/ { print int($2 / 1024) }' /proc/meminfo"),
    ("/kernel/apparmor", "sed 's/Y/on/; s/N/off/' /sys/module/apparmor/parameters/enabled"),
    ("/kernel/boot_default", "ls /lib/modules | sort -V | tail -n 1"),
    ("/kernel/build", "uname -v"),
    ("/kernel/lockdown", "sed 's/.*\\[\\(.*\\)\\].*/\\1/' /sys/kernel/security/lockdown"),
    ("/kernel/newest", "ls /lib/modules | sort -V | tail -n 1"),
    ("/kernel/release", "uname -r"),
    (
        "/kubelet/effective/authorization.mode",
        "sed -n 's/^authorization: {mode: \\(.*\\)}$/\\1/p' /var/lib/kubelet/config.yaml",
    ),
    (
        "/kubelet/effective/authentication.x509.clientCAFile",
        "sed -n 's/.*clientCAFile: \\(.*\\)}$/\\1/p' /var/lib/kubelet/config.yaml",
    ),
    (
        "/kubelet/effective/cgroupDriver",
        "sed -n 's/^cgroupDriver: //p' /var/lib/kubelet/config.yaml",
    ),
    (
        "/kubelet/effective/containerRuntimeEndpoint",
        "sed -n 's/^containerRuntimeEndpoint: //p' /var/lib/kubelet/config.yaml",
    ),
    (
        "/kubelet/effective/makeIPTablesUtilChains",
        "sed -n 's/^makeIPTablesUtilChains: //p' /var/lib/kubelet/config.yaml",
    ),
    (
        "/kubelet/effective/rotateCertificates",
        "sed -n 's/^rotateCertificates: //p' /var/lib/kubelet/config.yaml",
    ),
    (
        "/kubelet/effective/staticPodPath",
        "sed -n 's/^staticPodPath: //p' /var/lib/kubelet/config.yaml",
    ),
    (
        "/kubelet/flags/config",
        "tr '\\0' '\\n' < /proc/$(pgrep -xo kubelet)/cmdline | sed -n 's/^--config=//p'",
    ),
    (
        "/kubelet/flags/kubeconfig",
        "tr '\\0' '\\n' < /proc/$(pgrep -xo kubelet)/cmdline | sed -n 's/^--kubeconfig=//p'",
    ),
    ("/updates/manager", "command -v dpkg > /dev/null && echo dpkg"),
];

/// What `modinfo` and its kin make of a module, in the report's words.
const STATE_OF_MODULE: &str = r#"
    if grep -q "^$(echo "$name" | tr - _) " /proc/modules; then echo loaded
    elif ! file=$(modinfo -n "$name" 2> /dev/null); then echo missing
    elif [ "$file" = "(builtin)" ]; then echo built-in
    elif modprobe -nv "$name" | grep -q 'install /'; then echo blocked
    else echo loadable; fi"#;

/// A comparison in progress.
pub(super) struct Comparison<'a> {
    machine: &'a Machine,
    sections: &'a Value,
    agreed: BTreeMap<String, usize>,
    differ: Vec<String>,
}

/// Compares all that commands can tell, prints how much agreed, and returns how many facts those were.
///
/// # Panics
/// If one differs, with all that do.
pub(super) fn compare(machine: &Machine, sections: &Value) -> usize {
    let mut comparison =
        Comparison { machine, sections, agreed: BTreeMap::new(), differ: Vec::new() };
    comparison.one_by_one();
    comparison.sysctls();
    comparison.weaknesses();
    comparison.modules();
    comparison.files();
    comparison.listeners();
    comparison.packages();
    comparison.certificates();
    comparison.kubelet_arguments();
    let Comparison { agreed, differ, .. } = comparison;
    eprintln!("the same by hand: {agreed:?}");
    assert!(differ.is_empty(), "the report and the machine differ:\n{}", differ.join("\n"));
    agreed.values().sum()
}

impl Comparison<'_> {
    /// `reported` of what was read, against what a command printed.
    fn fact(&mut self, section: &str, name: &str, reported: Option<String>, by_hand: &str) {
        let reported = reported.unwrap_or_else(|| "(not known)".to_owned());
        // Columns and the ends of lines are nobody's facts.
        let plain = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        if plain(&reported) == plain(by_hand) {
            *self.agreed.entry(section.to_owned()).or_default() += 1;
        } else {
            self.differ.push(format!("{section}: {name}: {reported:?}, by hand {by_hand:?}"));
        }
    }

    /// Runs `command` for each name, with it in `$name`; the lines that it printed by name.
    fn each(&self, names: &BTreeSet<String>, command: &str) -> BTreeMap<String, String> {
        let names: String = names.iter().map(|name| format!("{name}\n")).collect();
        let script = format!(
            "while IFS= read -r name; do echo \"$name=$({command})\"; done << 'END'\n{names}END"
        );
        let printed = self.machine.run(&script);
        let lines = printed.lines().filter_map(|line| line.split_once('='));
        lines.map(|(name, said)| (name.to_owned(), said.to_owned())).collect()
    }

    /// The same for the names of a map of readings, of which those that are known are compared.
    fn every(&mut self, section: &str, readings: &Value, command: &str) {
        let known = known_of(readings);
        let printed = self.each(&known.keys().cloned().collect(), command);
        for (name, value) in known {
            let by_hand = printed.get(&name).cloned().unwrap_or_default();
            self.fact(section, &name, Some(value), &by_hand);
        }
    }

    fn one_by_one(&mut self) {
        for (pointer, command) in ONE_BY_ONE {
            let reading = self.sections.pointer(pointer).unwrap_or(&Value::Null);
            let reported = (reading["state"] == "known").then(|| text(&reading["value"]));
            let by_hand = self.machine.run(command);
            eprintln!("{pointer} = {}", by_hand.trim_end());
            self.fact("one by one", pointer, reported, &by_hand);
        }
    }

    fn sysctls(&mut self) {
        let keys = self.sections["sysctls"]["keys"].as_object().expect("sysctls");
        let running = keys.iter().map(|(name, it)| (name.clone(), it["running"].clone()));
        let running = Value::Object(running.collect());
        let command = "cat \"/proc/sys/$(echo \"$name\" | tr . /)\"";
        self.every("sysctls", &running, command);
    }

    fn weaknesses(&mut self) {
        let reported = &self.sections["kernel"]["vulnerabilities"]["value"];
        let printed = self.machine.run("cd /sys/devices/system/cpu/vulnerabilities; grep . *");
        let printed: BTreeMap<_, _> =
            printed.lines().filter_map(|line| line.split_once(':')).collect();
        let named = reported.as_object().map(serde_json::Map::len);
        self.fact(
            "weaknesses",
            "names",
            named.map(|it| it.to_string()),
            &printed.len().to_string(),
        );
        for (name, said) in printed {
            self.fact("weaknesses", name, reported[name].as_str().map(str::to_owned), said);
        }
    }

    fn modules(&mut self) {
        let modules = self.sections["kernel"]["modules"]["value"].clone();
        self.every("modules", &modules, STATE_OF_MODULE);
    }

    fn files(&mut self) {
        let paths = self.sections["files"]["paths"].as_object().expect("files").clone();
        let known = paths.iter().filter(|(_, it)| it["state"] == "known");
        let known: BTreeMap<String, String> = known
            .map(|(path, it)| {
                let file = &it["value"];
                let mode = file["mode"].as_str().unwrap_or_default().trim_start_matches('0');
                (path.clone(), format!("{mode} {} {}", file["uid"], file["gid"]))
            })
            .collect();
        for path in ["/etc/kubernetes/kubelet.conf", "/var/lib/kubelet/config.yaml"] {
            assert!(known.contains_key(path), "{path}: {:#}", paths[path]);
        }
        let printed =
            self.each(&known.keys().cloned().collect(), "stat -L -c '%a %u %g' \"$name\"");
        for (path, reported) in known {
            let by_hand = printed.get(&path).cloned().unwrap_or_default();
            self.fact("files", &path, Some(reported), &by_hand);
        }
        let absent = paths.iter().filter(|(_, it)| it["state"] == "absent").map(|(path, _)| path);
        let absent: BTreeSet<String> = absent.cloned().collect();
        // Unquoted, so that the shell looks for what a pattern stands for.
        let printed = self.each(&absent, "ls -d $name 2> /dev/null | wc -l");
        for path in absent {
            let by_hand = printed.get(&path).cloned().unwrap_or_default();
            self.fact("absent files", &path, Some("0".to_owned()), &by_hand);
        }
    }

    fn listeners(&mut self) {
        let listeners = self.sections["sockets"]["listeners"]["value"].as_array();
        let tcp = listeners.expect("listeners").iter().filter(|it| it["protocol"] == "tcp");
        let reported: BTreeSet<String> =
            tcp.map(|it| format!("{}:{}", text(&it["address"]), it["port"])).collect();
        let printed = self.machine.run("ss -Hlnt | awk '{ print $4 }'");
        let by_hand: BTreeSet<String> = printed
            .lines()
            .filter_map(|line| line.rsplit_once(':'))
            .map(|(address, port)| {
                let address = address.split('%').next().unwrap_or_default();
                let address = address.trim_matches(['[', ']']);
                format!("{}:{port}", if address == "*" { "::" } else { address })
            })
            .collect();
        eprintln!("listeners: {by_hand:?}");
        for each in reported.union(&by_hand) {
            let reported = reported.contains(each).then(|| each.clone());
            let by_hand = by_hand.get(each).map_or("(not there)", String::as_str);
            self.fact("listeners", each, reported, by_hand);
        }
    }

    fn packages(&mut self) {
        let packages = self.sections["updates"]["packages"]["value"].as_object();
        let packages = packages.expect("packages").clone();
        let command = "dpkg-query -W -f '${Version}' \"$name\"";
        let printed = self.each(&packages.keys().cloned().collect(), command);
        for (name, version) in packages {
            let by_hand = printed.get(&name).cloned().unwrap_or_default();
            self.fact("packages", &name, Some(text(&version)), &by_hand);
        }
    }

    /// The digests of the authority and of the certificate in the kubelet's kubeconfig.
    fn certificates(&mut self) {
        let digest = "grep -v ^- | base64 -d | sha256sum | cut -d ' ' -f 1";
        let inline = r#"grep -o '"client-certificate-data": *"[^"]*' | sed 's/.*"//' | base64 -d"#;
        let of = |path: &str, commands: &str| {
            let by_hand = self.machine.run(&format!("cat {path} | {commands}"));
            let file = &self.sections["certificates"]["files"][path]["certificates"];
            let held = file["value"].as_array().cloned().unwrap_or_default();
            let found = held.iter().map(|it| text(&it["fingerprint"]));
            let found = found.into_iter().find(|it| it == by_hand.trim_end());
            (found, by_hand)
        };
        let (authority, kubelet) = ("/etc/kubernetes/pki/ca.crt", "/etc/kubernetes/kubelet.conf");
        let of_authority = of(authority, digest);
        let of_kubelet = of(kubelet, &format!("{inline} | {digest}"));
        self.fact("certificates", authority, of_authority.0, &of_authority.1);
        self.fact("certificates", kubelet, of_kubelet.0, &of_kubelet.1);
    }

    fn kubelet_arguments(&mut self) {
        let process = &self.sections["kubelet"]["process"]["value"];
        let arguments = process["arguments"].as_array().expect("arguments");
        let command = "tr '\\0' '\\n' < /proc/$(pgrep -xo kubelet)/cmdline";
        let printed = self.machine.run(command);
        let by_hand: Vec<&str> = printed.lines().skip(1).collect();
        // The address of this one node is left out of what all nodes of a pool share.
        let shared = |it: &&str| !it.starts_with("--node-ip=");
        let by_hand: Vec<&str> = by_hand.into_iter().filter(shared).collect();
        let reported = arguments.iter().filter_map(Value::as_str).filter(shared);
        let reported = reported.collect::<Vec<_>>().join(" ");
        self.fact("arguments", "kubelet", Some(reported), &by_hand.join(" "));
    }
}

/// The readings of a map that are known, as texts.
fn known_of(readings: &Value) -> BTreeMap<String, String> {
    let readings = readings.as_object().expect("a map of readings");
    let known = readings.iter().filter(|(_, it)| it["state"] == "known");
    known.map(|(name, it)| (name.clone(), text(&it["value"]))).collect()
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

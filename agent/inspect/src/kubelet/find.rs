//! Finding the kubelet among the processes of the host.
//!
//! By what it executes, not by a list of paths, and not by its name alone: a process of a pod may
//! call itself `kubelet`. Distributions that run the kubelet inside a larger process (k3s,
//! MicroK8s) are found as such, because "no kubelet here" would be wrong.

use palisade_report::Why;
use palisade_report::WhyKind;

use crate::Host;
use crate::host::MAX_PROC;
use crate::process::Process;
use crate::process::ProcessTable;

/// A kubelet that was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found<'a> {
    /// Its process.
    pub(super) process: &'a Process,
    /// How the kubelet gets its arguments.
    pub(super) form: Form<'a>,
}

/// How the kubelet's code runs in a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form<'a> {
    /// Inside a larger process, which makes up its arguments itself.
    Embedded(Embedding),
    /// As a process of its own, with these arguments.
    Own(&'a [String]),
}

/// A program that contains a kubelet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Embedding {
    /// k3s, as server or agent.
    K3s,
    /// MicroK8s since 1.21.
    Kubelite,
}

impl Embedding {
    /// The program's name.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::K3s => "k3s",
            Self::Kubelite => "kubelite",
        }
    }

    /// The drop-in directory that its kubelet reads.
    pub(super) const fn drop_ins(self) -> Option<&'static str> {
        match self {
            Self::K3s => Some("/var/lib/rancher/k3s/agent/etc/kubelet.conf.d"),
            Self::Kubelite => None,
        }
    }
}

/// The kubelet of this host; `None` when processes were visible and none is a kubelet.
///
/// # Errors
/// Why it cannot be told: processes are not visible, or two of them are equally likely.
pub(super) fn find<'a>(
    host: &dyn Host,
    processes: &'a ProcessTable,
) -> Result<Option<Found<'a>>, Why> {
    let processes = processes.processes.as_ref().map_err(Clone::clone)?;
    let init = cgroup(host, 1);
    let mut best: Option<((Trust, Place), Found<'a>)> = None;
    let mut rivals = 0_usize;
    for process in processes {
        let Some(form) = form(process) else { continue };
        let place = place(&cgroup(host, process.pid), &init);
        if place == Place::Pod {
            continue;
        }
        let trust = if process.uid == 0 { Trust::Root } else { Trust::Anybody };
        let rank = (trust, place);
        let found = Found { process, form };
        match &best {
            Some((best, _)) if *best < rank => {}
            Some((best, _)) if *best == rank => rivals = rivals.saturating_add(1),
            Some(_) | None => (best, rivals) = (Some((rank, found)), 0),
        }
    }
    if rivals > 0 {
        let detail = format!("{} processes look like the kubelet of this host", rivals + 1);
        return Err(Why::new(WhyKind::Unsupported, detail));
    }
    Ok(best.map(|(_, found)| found))
}

/// Whether the kubelet's files are those of the host, or why not: it runs in a mount namespace of
/// its own, as where the kubelet itself is a container.
pub(super) fn foreign_mounts(host: &dyn Host, process: &Process) -> Option<Why> {
    let own = host.read_link(&format!("/proc/{}/ns/mnt", process.pid)).ok()?;
    let init = host.read_link("/proc/1/ns/mnt").ok()?;
    (own != init).then(|| {
        let detail = "the kubelet runs in another mount namespace than PID 1: its paths name other files than the host's";
        Why::new(WhyKind::WrongNamespace, detail)
    })
}

/// Whose process it is; earlier is more likely to be the kubelet of this host. Any user may call a
/// process `kubelet`, and must not hide the real one by that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Trust {
    Root,
    Anybody,
}

/// Where a process runs; earlier is more likely to be the kubelet of this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Host,
    Container,
    Pod,
}

/// The control groups of a process as proc_pid_cgroup(5) lists them; empty if not readable.
fn cgroup(host: &dyn Host, pid: u32) -> String {
    match host.read(&format!("/proc/{pid}/cgroup"), MAX_PROC) {
        Ok(contents) => String::from_utf8_lossy(&contents.bytes).into_owned(),
        // Then it cannot be told apart from a process of the host, and is taken for one.
        Err(_) => String::new(),
    }
}

/// `init` is what PID 1 has: in a node that is itself a container, its prefix says nothing.
fn place(cgroup: &str, init: &str) -> Place {
    let has = |text: &str, wanted: fn(&str) -> bool| {
        text.lines().any(|line| line.split(['/', ':']).any(wanted))
    };
    let pod = |part: &str| part.starts_with("kubepods");
    let container = |part: &str| {
        ["docker", "crio-", "cri-containerd-", "libpod-", "lxc", "nerdctl-", "machine-"]
            .iter()
            .any(|runtime| part.starts_with(runtime))
            && !part.ends_with(".service")
    };
    if has(cgroup, pod) && !has(init, pod) {
        Place::Pod
    } else if has(cgroup, container) && !has(init, container) {
        Place::Container
    } else {
        Place::Host
    }
}

fn form(process: &Process) -> Option<Form<'_>> {
    // Programs that set their title put all words into the first argument.
    let title = process.arguments.first()?;
    let (program, rest) = match title.split_once(' ') {
        Some((program, rest)) if program.starts_with('/') => (program, Some(rest)),
        Some(_) | None => (title.as_str(), None),
    };
    let executable = process.executable.as_deref().unwrap_or_default();
    let executable = executable.strip_suffix(" (deleted)").unwrap_or(executable);
    let is = |name| base_name(executable) == name || base_name(program) == name;
    let arguments = process.arguments.get(1..).unwrap_or_default();
    if is("hyperkube") {
        let (command, arguments) = arguments.split_first()?;
        return (command == "kubelet").then_some(Form::Own(arguments));
    }
    if is("k3s") {
        let command = rest.and_then(|rest| rest.split(' ').next());
        let command = command.or_else(|| arguments.first().map(String::as_str));
        let agentless = arguments.iter().any(|word| word == "--disable-agent");
        return (matches!(command, Some("server" | "agent")) && !agentless)
            .then_some(Form::Embedded(Embedding::K3s));
    }
    if is("kubelite") {
        return Some(Form::Embedded(Embedding::Kubelite));
    }
    is("kubelet").then_some(Form::Own(arguments))
}

fn base_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MemoryHost;

    fn process(pid: u32, executable: &str, arguments: &[&str]) -> Process {
        Process {
            pid,
            name: "x".to_owned(),
            arguments: arguments.iter().map(|word| (*word).to_owned()).collect(),
            executable: Ok(executable.to_owned()),
            uid: 0,
        }
    }

    #[test]
    fn a_kubelet_is_known_by_what_it_executes() {
        for (executable, arguments, expected) in [
            ("/usr/bin/kubelet", &["/usr/bin/kubelet", "--v=2"][..], "own --v=2"),
            ("/opt/x (deleted)", &["kubelet"], "own "),
            ("/usr/bin/kubelet (deleted)", &["/proc/self/exe"], "own "),
            ("/hyperkube", &["/hyperkube", "kubelet", "--v=2"], "own --v=2"),
            ("/hyperkube", &["/hyperkube", "proxy"], "none"),
            ("/usr/local/bin/k3s", &["/usr/local/bin/k3s", "agent"], "k3s"),
            ("/x/k3s", &["/usr/local/bin/k3s server"], "k3s"),
            ("/x/k3s", &["k3s", "server", "--disable-agent"], "none"),
            ("/x/k3s", &["k3s", "kubectl", "get"], "none"),
            ("/snap/kubelite", &["/snap/kubelite", "--x"], "kubelite"),
            ("/usr/bin/tail", &["tail", "-f", "kubelet"], "none"),
            ("/usr/bin/vim", &["vim", "/usr/bin/kubelet"], "none"),
            ("", &[], "none"),
        ] {
            let process = process(7, executable, arguments);
            let found = match form(&process) {
                None => "none".to_owned(),
                Some(Form::Own(rest)) => format!("own {}", rest.join(" ")),
                Some(Form::Embedded(what)) => what.as_str().to_owned(),
            };
            assert_eq!(found, expected, "{executable} {arguments:?}");
        }
    }

    #[test]
    fn a_process_of_a_pod_or_container_is_not_the_kubelet_of_the_host() {
        let table = ProcessTable {
            processes: Ok(vec![
                process(5, "/usr/bin/kubelet", &["kubelet", "--pod"]),
                process(6, "/usr/bin/kubelet", &["kubelet", "--kind"]),
                process(7, "/usr/bin/kubelet", &["kubelet", "--host"]),
            ]),
        };
        let host = MemoryHost::default()
            .file("/proc/1/cgroup", "0::/init.scope\n")
            .file("/proc/5/cgroup", "0::/kubepods.slice/kubepods-pod1.slice/cri-1.scope\n")
            .file("/proc/6/cgroup", "0::/system.slice/docker-1.scope/kubelet.slice\n")
            .file("/proc/7/cgroup", "0::/system.slice/kubelet.service\n");
        assert_eq!(find(&host, &table).unwrap().unwrap().process.pid, 7);
        // A node that is a container itself, seen from within.
        let inside = host.file("/proc/1/cgroup", "0::/system.slice/docker-1.scope/init.scope\n");
        assert!(find(&inside, &table).is_err(), "two candidates cannot be told apart");
        let blind = MemoryHost::default();
        assert_eq!(find(&blind, &table).unwrap_err().kind, WhyKind::Unsupported);
    }

    #[test]
    fn an_ordinary_user_cannot_hide_the_kubelet() {
        let mut impostor = process(4, "/usr/bin/sleep", &["kubelet", "--anonymous-auth=false"]);
        impostor.uid = 1000;
        let kubelet = process(7, "/usr/bin/kubelet", &["kubelet"]);
        let table = ProcessTable { processes: Ok(vec![impostor.clone(), kubelet]) };
        let host = MemoryHost::default();
        assert_eq!(find(&host, &table).unwrap().unwrap().process.pid, 7);
        // Also where the kubelet is a container and the impostor is not.
        let host = host.file("/proc/7/cgroup", "0::/system.slice/docker-1.scope\n");
        assert_eq!(find(&host, &table).unwrap().unwrap().process.pid, 7);
        // A kubelet without root is one all the same.
        let rootless = ProcessTable { processes: Ok(vec![impostor]) };
        assert_eq!(find(&host, &rootless).unwrap().unwrap().process.pid, 4);
    }

    #[test]
    fn hidden_processes_are_not_absent_ones() {
        let why = Why::new(WhyKind::WrongNamespace, "own pid namespace");
        let table = ProcessTable { processes: Err(why.clone()) };
        assert_eq!(find(&MemoryHost::default(), &table), Err(why));
        let empty = ProcessTable { processes: Ok(Vec::new()) };
        assert_eq!(find(&MemoryHost::default(), &empty), Ok(None));
    }
}

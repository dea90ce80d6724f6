//! What is served, what is not, and what a host's own files add.

use super::*;

fn reach() -> Reach {
    let set = |items: &[&str]| items.iter().map(|it| (*it).to_owned()).collect();
    Reach::new(&Interest {
        sysctls: set(&["vm.mmap_rnd_bits", "net.ipv4.conf.eth0/1.rp_filter"]),
        files: set(&["/etc/shadow", "/etc/cron.d/*", "${kubelet.flags.config}"]),
        modules: set(&["usb-storage"]),
        mounts: set(&["/dev/shm"]),
        certificates: set(&["/srv/tls/*.pem"]),
    })
}

#[test]
fn what_areas_and_rules_look_at_is_served() {
    let reach = reach();
    for (path, serve) in [
        ("/proc/7/status", Some(Serve::Plain)),
        ("/proc/7/cmdline", Some(Serve::Arguments)),
        ("/proc/sys/vm/mmap_rnd_bits", Some(Serve::Plain)),
        ("/proc/sys/net/ipv4/conf/eth0.1/rp_filter", Some(Serve::Plain)),
        ("/etc/apt/apt.conf.d/50unattended-upgrades", Some(Serve::Screened)),
        ("/etc/kubernetes/pki/apiserver.key", Some(Serve::Screened)),
        ("/etc/kubernetes/admin.conf", Some(Serve::Names)),
        ("/srv/tls/a.pem", Some(Serve::Names)),
        ("/proc/7/environ", None),
        ("/proc/7/mem", None),
        ("/proc/7/root/etc/passwd", None),
        ("/proc/7/status/..", None),
        ("/proc/sys/kernel/core_pattern", None),
        ("/etc/shadow", None),
        ("/etc/passwd", None),
        ("/etc/cron.d/job", None),
        ("/root/.ssh/id_ed25519", None),
        ("/var/lib/kubelet/pods/u/volumes/s/token", None),
        ("relative", None),
        ("", None),
        ("//etc/apt/apt.conf", None),
    ] {
        assert_eq!(reach.content(path), serve, "{path}");
    }
}

#[test]
fn looking_and_listing_go_as_far_as_the_way_there() {
    let reach = reach();
    for path in
        ["/", "/etc", "/etc/shadow", "/etc/cron.d/job", "/dev/shm", "/proc/7/fd/3", "/proc/self"]
    {
        assert!(reach.may_look(path), "{path}");
    }
    for path in ["/root", "/home/me", "/etc/passwd", "/proc/7/fdinfo/3", "/proc/7/cwd"] {
        assert!(!reach.may_look(path), "{path}");
    }
    for path in ["/proc", "/proc/7/fd", "/boot", "/etc/cron.d", "/etc/kubernetes/manifests"] {
        assert!(reach.may_list(path), "{path}");
    }
    for path in ["/", "/etc", "/proc/7", "/proc/7/task", "/home", "/etc/shadow", "/dev/shm"] {
        assert!(!reach.may_list(path), "{path}");
    }
}

#[test]
fn what_a_kubelet_names_is_served_next() {
    let mut reach = reach();
    let arguments =
        b"/usr/bin/kubelet\0--config=/srv/k/kubelet.yaml\0--kubeconfig\0/srv/k/k.conf\0\
        --config-dir=/srv/k/drop\0--root-dir=/srv/state\0--v=2\0";
    reach.note("/", arguments);
    assert_eq!(reach.content("/srv/k/kubelet.yaml"), Some(Serve::Names));
    assert_eq!(reach.content("/srv/k/k.conf"), Some(Serve::Names));
    assert_eq!(reach.content("/srv/k/drop/10/a.conf"), Some(Serve::Names));
    assert!(reach.may_list("/srv/k/drop") && !reach.may_list("/srv/k"));
    assert!(reach.may_look("/srv/state") && reach.may_look("/srv/k"));
    assert_eq!(reach.content("/srv/state/pods/x"), None);
    reach.note(
        "/srv/k/kubelet.yaml",
        b"authentication:\n  x509:\n    clientCAFile: ca.crt\nstaticPodPath: \"/srv/m\"\n\
          resolvConf: /etc/resolv.conf\n",
    );
    assert_eq!(reach.content("/srv/k/ca.crt"), Some(Serve::Names));
    assert!(reach.may_list("/srv/m"));
    assert_eq!(reach.content("/srv/m/etcd.yaml"), Some(Serve::Names));
    assert_eq!(reach.content("/etc/resolv.conf"), None);
    assert!(reach.may_look("/etc/resolv.conf"));
    reach.note(
        "/srv/m/etcd.yaml",
        b"    - --trusted-ca-file=/e/ca.crt\n    - --key-file\n    - /e/server.key\n    \
          - --token-auth-file=/e/tokens.csv\n    - --encryption-provider-config=/e/enc.yaml\n",
    );
    assert!(reach.content("/e/ca.crt").is_some() && reach.content("/e/server.key").is_some());
    assert!(reach.content("/e/tokens.csv").is_none() && reach.content("/e/enc.yaml").is_none());
    reach.note("/srv/k/k.conf", br#"{"user":{"client-key":"k/user.key","token":"x"}}"#);
    assert!(reach.content("/srv/k/k/user.key").is_some());
}

#[test]
fn no_name_leads_to_what_is_never_read() {
    let mut reach = reach();
    reach.note("/", b"kubelet\0--kubeconfig=/etc/shadow\0--config-dir=/var/lib/kubelet/pods\0");
    assert_eq!(reach.content("/etc/shadow"), None);
    assert_eq!(reach.content("/var/lib/kubelet/pods/a"), None);
    assert!(reach.is_never_read("/home/me/.ssh/id_rsa"));
    assert!(reach.is_never_read("/etc/ssh/ssh_host_rsa_key"));
    assert!(!reach.is_never_read("/etc/ssh/ssh_host_rsa_key.pub"));
    assert!(!reach.is_never_read("/home/kubernetes/bin"));
}

#[test]
fn a_link_is_followed_by_looking_and_not_by_reading() {
    let mut reach = reach();
    reach.note_link("/etc/cron.d/job", "../../srv/jobs/job");
    assert!(reach.may_look("/srv/jobs/job") && reach.may_look("/srv/jobs"));
    assert_eq!(reach.content("/srv/jobs/job"), None);
    assert!(!reach.may_list("/srv/jobs"));
}

#[test]
fn names_are_bounded() {
    let mut reach = reach();
    for number in 0..MAX_NAMED + 10 {
        reach.note("/", format!("--kubeconfig=/n/{number}").as_bytes());
        reach.note_link("/l", &format!("/m/{number}"));
    }
    assert_eq!(reach.named.len(), MAX_NAMED);
    assert!(reach.looked.len() <= MAX_NAMED);
}

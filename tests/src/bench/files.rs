//! The files of the measured host: a Debian worker whose certificates lie where kOps puts them,
//! because that inventory takes as many as there are.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rcgen::CertificateParams;
use rcgen::Issuer;
use rcgen::KeyPair;

/// Certificates, authorities included.
const CERTIFICATES: usize = 60;

/// Installed packages.
const PACKAGES: usize = 1500;

/// Modules that the running kernel could load, as in Debian's.
const MODULES: usize = 4000;

/// How the kubelet was started.
pub(super) const KUBELET_ARGUMENTS: &[&str] = &[
    "--config=/var/lib/kubelet/config.yaml",
    "--kubeconfig=/var/lib/kubelet/kubeconfig",
    "--config-dir=/etc/kubernetes/kubelet.conf.d",
    "--container-runtime-endpoint=unix:///run/containerd/containerd.sock",
    "--node-ip=192.0.2.7",
    "--v=2",
];

const CONFIG: &str = "apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication:
  anonymous: { enabled: false }
  webhook: { enabled: true, cacheTTL: 2m0s }
  x509: { clientCAFile: /srv/kubernetes/ca/ca.crt }
authorization: { mode: Webhook }
cgroupDriver: systemd
clusterDNS: [10.96.0.10]
clusterDomain: cluster.local
eventRecordQPS: 5
protectKernelDefaults: true
readOnlyPort: 0
rotateCertificates: true
staticPodPath: /etc/kubernetes/manifests
streamingConnectionIdleTimeout: 4h0m0s
tlsMinVersion: VersionTLS12
";

const KUBECONFIG: &str = "apiVersion: v1
kind: Config
current-context: default
clusters:
- name: default
  cluster: { server: 'https://192.0.2.1:6443', certificate-authority: /srv/kubernetes/ca/ca.crt }
contexts:
- name: default
  context: { cluster: default, user: default }
users:
- name: default
  user:
    client-certificate: /var/lib/kubelet/pki/kubelet-client-current.pem
    client-key: /var/lib/kubelet/pki/kubelet-client-current.pem
";

const OS_RELEASE: &str = "PRETTY_NAME=\"Debian GNU/Linux 13 (trixie)\"
NAME=\"Debian GNU/Linux\"
VERSION_ID=\"13\"
VERSION=\"13 (trixie)\"
VERSION_CODENAME=trixie
ID=debian
";

/// Small files: path, mode, content.
const SMALL: &[(&str, u32, &str)] = &[
    ("etc/os-release", 0o644, OS_RELEASE),
    ("etc/passwd", 0o644, "root:x:0:0:root:/root:/bin/bash\n"),
    ("etc/group", 0o644, "root:x:0:\n"),
    ("etc/shadow", 0o640, "root:*:20000:0:99999:7:::\n"),
    ("etc/gshadow", 0o640, "root:*::\n"),
    ("etc/crontab", 0o644, "17 * * * * root true\n"),
    ("etc/sudoers", 0o440, "root ALL=(ALL:ALL) ALL\n"),
    ("etc/ssh/sshd_config", 0o644, "PermitRootLogin no\n"),
    ("etc/sysctl.d/99-kubernetes.conf", 0o644, "net.ipv4.ip_forward = 1\nkernel.panic = 10\n"),
    ("usr/lib/sysctl.d/50-default.conf", 0o644, "kernel.sysrq = 0x01b6\n-kernel.x = 1\n"),
    ("etc/modprobe.d/palisade.conf", 0o644, "install cramfs /bin/false\nblacklist cramfs\n"),
    ("etc/apt/apt.conf.d/20auto-upgrades", 0o644, "APT::Periodic::Unattended-Upgrade \"1\";\n"),
    ("etc/apt/sources.list", 0o644, "deb http://deb.debian.org/debian trixie main\n"),
    ("boot/grub/grub.cfg", 0o600, "set default=0\nmenuentry 'Debian' {\n linux /vmlinuz\n}\n"),
    ("etc/systemd/system/kubelet.service", 0o644, "[Service]\nExecStart=/usr/bin/kubelet\n"),
    ("var/lib/kubelet/config.yaml", 0o600, CONFIG),
    ("etc/kubernetes/kubelet.conf.d/10-limits.conf", 0o600, LIMITS),
    ("var/lib/kubelet/kubeconfig", 0o600, KUBECONFIG),
    ("var/lib/dpkg/lock", 0o640, ""),
];

const LIMITS: &str = "apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
podPidsLimit: 4096
";

/// Writes all of them below `root`.
pub(super) fn write(root: &Path) {
    for (path, mode, content) in SMALL {
        put(root, path, *mode, content);
    }
    for directory in ["usr/bin", "etc/kubernetes/manifests", "var/lib/dpkg/updates", "run", "tmp"] {
        fs::create_dir_all(root.join(directory)).expect("a directory");
    }
    certificates(root);
    put(root, "var/lib/dpkg/status", 0o644, &packages());
    modules(root);
}

fn put(root: &Path, path: &str, mode: u32, content: &str) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().expect("a file has a directory")).expect("directories");
    fs::write(&path, content).expect("a file");
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("permissions");
}

/// One authority and what it signed: the kubelet's pair, and the rest in groups of ten.
fn certificates(root: &Path) {
    let authority_key = KeyPair::generate().expect("a key");
    let mut parameters = CertificateParams::new(Vec::new()).expect("parameters");
    parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority = parameters.self_signed(&authority_key).expect("an authority");
    put(root, "srv/kubernetes/ca/ca.crt", 0o644, &authority.pem());
    let issuer = Issuer::new(parameters, authority_key);
    let leaf = |name: &str| {
        let key = KeyPair::generate().expect("a key");
        let parameters = CertificateParams::new(vec![name.to_owned()]).expect("parameters");
        let leaf = parameters.signed_by(&key, &issuer).expect("a certificate");
        (leaf.pem(), key.serialize_pem())
    };
    let (certificate, key) = leaf("system-node");
    let pair = format!("{certificate}{key}");
    put(root, "var/lib/kubelet/pki/kubelet-client-current.pem", 0o600, &pair);
    for index in 2..CERTIFICATES {
        let (certificate, key) = leaf(&format!("leaf-{index}.example"));
        let stem = format!("srv/kubernetes/group-{}/leaf-{index}", index / 10);
        put(root, &format!("{stem}.crt"), 0o644, &certificate);
        put(root, &format!("{stem}.key"), 0o600, &key);
    }
}

/// The package manager's list, with fields and sizes like Debian's: about 1 KB for each package.
fn packages() -> String {
    let mut text = String::new();
    for index in 0..PACKAGES {
        let hash = palisade_report::Digest::of(index.to_string().as_bytes());
        text.push_str(&format!(
            "Package: library-{index}\nStatus: install ok installed\nPriority: optional\n\
             Section: libs\nInstalled-Size: {index}\nMaintainer: Somebody <somebody@example.org>\n\
             Architecture: amd64\nMulti-Arch: same\nVersion: 1.{index}.0-2+deb13u1\n\
             Depends: libc6 (>= 2.38), library-{next} (>= 1.0), zlib1g (>= 1:1.2.0)\n\
             Conffiles:\n /etc/library-{index}/main.conf {hash}\n\
             Description: library number {index} of the measured host\n{lines}\
             Homepage: https://example.org/library-{index}\n\n",
            next = (index + 1) % PACKAGES,
            lines =
                " A line of a description as long as such lines usually are in Debian.\n".repeat(6),
        ));
    }
    text
}

/// Two installed kernels, one of them the running one, and what each could load.
fn modules(root: &Path) {
    let running = fs::read_to_string("/proc/sys/kernel/osrelease").expect("a release");
    for release in [running.trim(), "6.1.0-1-amd64"] {
        put(root, &format!("boot/vmlinuz-{release}"), 0o644, "kernel");
        put(root, &format!("boot/config-{release}"), 0o644, "CONFIG_MODULE_SIG=y\n");
        put(root, &format!("boot/initrd.img-{release}"), 0o644, "initrd");
        let mut text = String::new();
        for index in 0..MODULES {
            text.push_str(&format!("kernel/drivers/group{}/module{index}.ko.xz: ", index / 40));
            text.push_str(&format!("kernel/lib/base{}.ko.xz\n", index % 50));
        }
        let directory = format!("lib/modules/{release}");
        put(root, &format!("{directory}/modules.dep"), 0o644, &text);
        put(root, &format!("{directory}/modules.builtin"), 0o644, "kernel/fs/ext4/ext4.ko\n");
        put(root, &format!("{directory}/modules.alias"), 0o644, "alias fs-cramfs cramfs\n");
    }
}

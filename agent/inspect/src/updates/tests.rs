//! Package managers of several distributions, in memory.

use palisade_report::section::Switch;
use proptest::prelude::*;

use super::*;
use crate::MemoryHost;

const STATUS: &str = "\
Package: libc6
Status: install ok installed
Priority: optional
Version: 2.36-9+deb12u10
Description: GNU C Library
 Package: not-a-package

Package: linux-image-6.1.0-50-amd64
Status: install ok half-configured
Version: 6.1.176-1

Package: openssh-server
Status: deinstall ok config-files
Version: 1:9.2p1-2

Package: cowsay
Status: install ok installed
Version: 3

Package: systemd
Version: 252.39-1
Status: hold ok installed";

fn updates(host: &MemoryHost) -> Updates {
    match read(host) {
        Section::Known(updates) => updates,
        Section::Unknown { why } => panic!("{why}"),
    }
}

fn debian() -> MemoryHost {
    MemoryHost::default().file("/var/lib/dpkg/status", STATUS)
}

fn unattended(config: &str) -> Updates {
    updates(
        &debian()
            .file("/usr/bin/unattended-upgrade", "")
            .file(
                "/etc/apt/apt.conf.d/20auto-upgrades",
                "APT::Periodic::Unattended-Upgrade \"1\";\n",
            )
            .file("/etc/apt/apt.conf.d/50unattended-upgrades", config),
    )
}

#[test]
fn versions_are_those_of_installed_packages_that_matter() {
    let updates = updates(&debian());
    assert_eq!(updates.manager.value(), Some(&Manager::Dpkg));
    let expected = [("libc6", "2.36-9+deb12u10"), ("systemd", "252.39-1")];
    let expected = expected.map(|(name, version)| (name.to_owned(), version.to_owned()));
    assert_eq!(updates.packages.value(), Some(&BTreeMap::from(expected)));
    let half_done = dpkg::read_status(&debian()).unwrap().half_done;
    assert_eq!(half_done.into_iter().collect::<Vec<_>>(), ["linux-image-6.1.0-50-amd64"]);
}

#[test]
fn alpine_and_rpm_hosts_are_told_apart() {
    let alpine = MemoryHost::default()
        .file("/lib/apk/db/installed", "C:Q1\nP:musl\nV:1.2.5-r0\n\nP:cowsay\nV:3\n");
    let updates_of = updates(&alpine);
    assert_eq!(updates_of.packages.value().unwrap()["musl"], "1.2.5-r0");
    assert_eq!(updates_of.packages.value().unwrap().len(), 1);
    let rhel = updates(&MemoryHost::default().file("/var/lib/rpm/rpmdb.sqlite", ""));
    assert_eq!(rhel.manager.value(), Some(&Manager::Rpm));
    assert!(matches!(rhel.packages, Reading::Unknown { .. }));
    assert_eq!(rhel.automatic.value(), Some(&Switch::Off));
    let image = updates(&MemoryHost::default());
    assert!(matches!(image.manager, Reading::Absent { .. }));
    assert!(matches!(image.automatic_reboot, Reading::Absent { .. }));
    assert!(matches!(image.unsigned_repositories, Reading::Absent { .. }));
}

#[test]
fn apt_settings_are_found_in_every_spelling() {
    for (config, expected) in [
        ("Unattended-Upgrade::Automatic-Reboot \"true\";", Switch::On),
        ("unattended-upgrade::AUTOMATIC-REBOOT true;", Switch::On),
        ("Unattended-Upgrade { Automatic-Reboot \"true\"; };", Switch::On),
        (
            "Unattended-Upgrade {\n  Allowed { \"a\"; \"b\"; };\n  Automatic-Reboot \"1\";\n};",
            Switch::On,
        ),
        ("// Unattended-Upgrade::Automatic-Reboot \"true\";", Switch::Off),
        ("# Unattended-Upgrade::Automatic-Reboot \"true\";", Switch::Off),
        ("/* Unattended-Upgrade::Automatic-Reboot\n\"true\"; */", Switch::Off),
        (
            "Unattended-Upgrade::Automatic-Reboot \"true\"; Unattended-Upgrade::Automatic-Reboot \"false\";",
            Switch::Off,
        ),
        ("Unattended-Upgrade::Automatic-Reboot \"true\";\n#clear Unattended-Upgrade;", Switch::Off),
        ("Unattended-Upgrade::Automatic-Reboot-Time \"02:00\";", Switch::Off),
        (
            "Unattended-Upgrade::Mail \"a // b\"; Unattended-Upgrade::Automatic-Reboot \"yes\";",
            Switch::On,
        ),
        ("Dir { Etc { x \"/y\"; }; }; Unattended-Upgrade::Automatic-Reboot \"on\";", Switch::On),
        ("", Switch::Off),
    ] {
        let updates = unattended(config);
        assert_eq!(updates.automatic_reboot.value(), Some(&expected), "{config}");
        assert_eq!(updates.automatic.value(), Some(&Switch::On), "{config}");
    }
    let strange = unattended("Unattended-Upgrade::Automatic-Reboot \"perhaps\";");
    assert!(matches!(strange.automatic_reboot, Reading::Unknown { .. }));
    let named = unattended("\n\nUnattended-Upgrade::Automatic-Reboot \"true\";");
    let origin = named.automatic_reboot.origin().as_str();
    assert_eq!(origin, "/etc/apt/apt.conf.d/50unattended-upgrades:3");
}

#[test]
fn a_later_file_wins_and_backups_are_not_read() {
    let host = debian()
        .file("/usr/bin/unattended-upgrade", "")
        .file("/etc/apt/apt.conf.d/20auto", "APT::Periodic::Unattended-Upgrade \"1\";")
        .file("/etc/apt/apt.conf.d/90off.conf", "APT::Periodic { Unattended-Upgrade \"0\"; };")
        .file("/etc/apt/apt.conf.d/99on.bak", "APT::Periodic::Unattended-Upgrade \"1\";");
    assert_eq!(updates(&host).automatic.value(), Some(&Switch::Off));
    let main = host.file("/etc/apt/apt.conf", "APT::Periodic::Unattended-Upgrade \"7\";");
    assert_eq!(updates(&main).automatic.value(), Some(&Switch::On));
    let masked = main.clone().link("/etc/systemd/system/apt-daily-upgrade.timer", "/dev/null");
    assert_eq!(updates(&masked).automatic.value(), Some(&Switch::Off));
    let disabled = main.clone().file("/etc/apt/apt.conf.d/z", "APT::Periodic::Enable \"0\";");
    assert_eq!(updates(&disabled).automatic.value(), Some(&Switch::Off));
    let without = main.clone().without("/usr/bin/unattended-upgrade");
    assert_eq!(updates(&without).automatic.value(), Some(&Switch::Off));
    let blind = main.unreadable("/etc/apt/apt.conf.d/30x", WhyKind::PermissionDenied);
    assert!(matches!(updates(&blind).automatic, Reading::Unknown { .. }));
}

#[test]
fn dnf_automatic_acts_only_with_its_timer() {
    let config = "[commands]\n# apply_updates = no\napply_updates = yes\nreboot = when-needed\n";
    let host = MemoryHost::default()
        .file("/var/lib/rpm/rpmdb.sqlite", "")
        .file("/etc/dnf/automatic.conf", config);
    assert_eq!(updates(&host).automatic_reboot.value(), Some(&Switch::Off));
    let wants = "/etc/systemd/system/timers.target.wants";
    let timer = |name: &str| {
        host.clone().link(&format!("{wants}/{name}"), &format!("/usr/lib/systemd/system/{name}"))
    };
    let on = updates(&timer("dnf-automatic.timer"));
    assert_eq!(
        (on.automatic.value(), on.automatic_reboot.value()),
        (Some(&Switch::On), Some(&Switch::On))
    );
    let defaults = timer("dnf-automatic-install.timer").file("/etc/dnf/automatic.conf", "");
    let defaults = updates(&defaults);
    assert_eq!(defaults.automatic.value(), Some(&Switch::On));
    assert_eq!(defaults.automatic_reboot.value(), Some(&Switch::Off));
}

#[test]
fn unsigned_repositories_are_named_by_file() {
    let host = debian()
        .file(
            "/etc/apt/sources.list",
            "deb http://a x main\ndeb [arch=amd64 trusted=yes] http://b x main\n\
             # deb [trusted=yes] http://c x main\ndeb [signed-by=/k] http://d x main\n",
        )
        .file("/etc/apt/sources.list.d/e.list", "deb\t[allow-insecure=yes] http://e x main\n")
        .file("/etc/apt/sources.list.d/f.list.save", "deb [trusted=yes] http://f x main\n")
        .file(
            "/etc/apt/sources.list.d/g.sources",
            "Types: deb\nURIs: http://g\nTrusted: yes\n\nEnabled: no\nTrusted: yes\n\n\
             Types: deb\nTrusted: no\n",
        )
        .file("/etc/apt/apt.conf.d/99x", "APT::Get::AllowUnauthenticated \"true\";");
    assert_eq!(
        updates(&host).unsigned_repositories.value().unwrap(),
        &[
            "/etc/apt/apt.conf.d/99x:1",
            "/etc/apt/sources.list.d/e.list:1",
            "/etc/apt/sources.list.d/g.sources:3",
            "/etc/apt/sources.list:2",
        ]
    );
}

#[test]
fn yum_repositories_follow_their_main_section_and_zypps_are_checked() {
    let repositories = "[base]\ngpgcheck=1\n[extras]\nenabled=1\n[old]\nenabled=0\ngpgcheck=0\n[x]\ngpgcheck = no\n";
    let host = MemoryHost::default().file("/etc/yum.repos.d/a.repo", repositories);
    let unsigned =
        |host: &MemoryHost| updates(host).unsigned_repositories.value().cloned().unwrap();
    assert_eq!(
        unsigned(&host),
        ["/etc/yum.repos.d/a.repo [extras]", "/etc/yum.repos.d/a.repo [x]"]
    );
    let main = host.file("/etc/dnf/dnf.conf", "[main]\ngpgcheck=True\n");
    assert_eq!(unsigned(&main), ["/etc/yum.repos.d/a.repo [x]"]);
    let zypp =
        MemoryHost::default().file("/etc/zypp/repos.d/a.repo", "[a]\nenabled=1\n[b]\ngpgcheck=0\n");
    assert_eq!(unsigned(&zypp), ["/etc/zypp/repos.d/a.repo [b]"]);
    let blind = zypp.unreadable("/etc/zypp/repos.d/z.repo", WhyKind::PermissionDenied);
    assert!(matches!(updates(&blind).unsigned_repositories, Reading::Unknown { .. }));
}

proptest! {
    #[test]
    fn hostile_bytes_never_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..300),
        text in "(Unattended-Upgrade|::|true|#clear|//|/\\*|\\*/|[{};\"# \n]|deb|\\[|trusted=yes|\\]|Trusted: yes|Enabled: no){0,40}",
    ) {
        for bytes in [bytes.as_slice(), text.as_bytes()] {
            let settings = apt::parse(bytes);
            let count = settings.len();
            let mut configuration = apt::Configuration::new();
            apt::apply(&mut configuration, "/etc/apt/apt.conf", settings);
            prop_assert!(configuration.len() <= count);
            let lines = bytes.split(|byte| *byte == b'\n').count() + 1;
            for found in [repositories::parse_list(bytes), repositories::parse_stanzas(bytes)] {
                prop_assert!(found.iter().all(|line| (1..=lines).contains(line)));
            }
            prop_assert!(ini::parse(bytes).len() <= bytes.len());
            prop_assert!(parse_apk(bytes).len() <= bytes.len());
            prop_assert!(dpkg::parse_status(bytes).versions.is_empty());
        }
    }
}

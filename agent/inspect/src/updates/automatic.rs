//! Updates that install themselves, and services that reboot on their own.

use palisade_report::Origin;
use palisade_report::Reading;
use palisade_report::Why;
use palisade_report::WhyKind;
use palisade_report::section::Switch;
use palisade_report::section::updates::Manager;

use super::apt;
use super::ini;
use crate::Host;
use crate::ReadError;
use crate::host::MAX_CONFIG;

/// The program that apt's timer starts; without it the settings do nothing.
const UNATTENDED: &str = "/usr/bin/unattended-upgrade";

/// Masks of the timer that starts it.
const APT_TIMERS: [&str; 2] = [
    "/etc/systemd/system/apt-daily-upgrade.timer",
    "/etc/systemd/system/apt-daily-upgrade.service",
];

/// Where enabled timers are linked.
const TIMERS: &str = "/etc/systemd/system/timers.target.wants";

/// Timers of dnf 4 and 5. `-install` installs whatever the configuration says.
const DNF_TIMERS: [(&str, Installs); 3] = [
    ("dnf-automatic-install.timer", Installs::Always),
    ("dnf-automatic.timer", Installs::AsConfigured),
    ("dnf5-automatic.timer", Installs::AsConfigured),
];

/// Configuration of dnf-automatic, the one that wins first.
const DNF: [&str; 3] = [
    "/etc/dnf/dnf5-plugins/automatic.conf",
    "/etc/dnf/automatic.conf",
    "/usr/share/dnf5/dnf5-plugins/automatic.conf",
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Installs {
    Always,
    AsConfigured,
}

/// What installs updates by itself, and what reboots by itself.
pub(super) struct Automatic {
    pub(super) installs: Reading<Switch>,
    pub(super) reboots: Reading<Switch>,
}

impl Automatic {
    fn both(reading: Reading<Switch>) -> Self {
        Self { installs: reading.clone(), reboots: reading }
    }

    fn off(origin: Origin) -> Self {
        Self::both(Reading::known(Switch::Off, origin))
    }

    fn unknown(error: ReadError, path: &'static str) -> Self {
        Self::both(Reading::unknown(error.why(), Origin::words(path)))
    }
}

/// Reads both for a host with this package manager.
pub(super) fn read(host: &dyn Host, manager: &Reading<Manager>) -> Automatic {
    match manager {
        Reading::Known { value: Manager::Dpkg, .. } => read_apt(host),
        Reading::Known { value: Manager::Rpm, .. } => read_dnf(host),
        // apk has no such service.
        Reading::Known { value: Manager::Apk, origin } => Automatic::off(origin.clone()),
        Reading::Known { value: Manager::Other, origin } => {
            let why = Why::new(WhyKind::Unsupported, "an unknown package manager");
            Automatic::both(Reading::unknown(why, origin.clone()))
        }
        Reading::Absent { origin } => Automatic::both(Reading::absent(origin.clone())),
        Reading::Unknown { why, origin } => {
            Automatic::both(Reading::unknown(why.clone(), origin.clone()))
        }
    }
}

fn read_apt(host: &dyn Host) -> Automatic {
    match host.metadata(UNATTENDED) {
        Ok(_) => {}
        // Nothing is installed that would do either.
        Err(ReadError::NotFound { .. }) => return Automatic::off(Origin::words(UNATTENDED)),
        Err(error) => return Automatic::unknown(error, UNATTENDED),
    }
    let configuration = match apt::read(host) {
        Ok(configuration) => configuration,
        Err(error) => return Automatic::unknown(error, "/etc/apt/apt.conf.d"),
    };
    let switch = |name: &str, default: Switch| match configuration.get(name) {
        Some((value, origin)) => match apt::truth(value) {
            Some(true) => Reading::known(Switch::On, origin.clone()),
            Some(false) => Reading::known(Switch::Off, origin.clone()),
            // `7d` and the like are intervals, which are not zero.
            None if value.starts_with(|first: char| matches!(first, '1'..='9')) => {
                Reading::known(Switch::On, origin.clone())
            }
            None => {
                let why = Why::new(WhyKind::Malformed, format!("neither on nor off: {value:?}"));
                Reading::unknown(why, origin.clone())
            }
        },
        None => Reading::known(default, Origin::default_of("apt.conf")),
    };
    let reboots = switch("unattended-upgrade::automatic-reboot", Switch::Off);
    let masked = APT_TIMERS
        .into_iter()
        .find(|unit| host.read_link(unit).is_ok_and(|target| target == "/dev/null"));
    if let Some(unit) = masked {
        return Automatic { installs: Reading::known(Switch::Off, Origin::words(unit)), reboots };
    }
    let periodic = switch("apt::periodic::enable", Switch::On);
    let installs = match periodic.value() {
        Some(Switch::On) => switch("apt::periodic::unattended-upgrade", Switch::Off),
        Some(Switch::Off) | None => periodic,
    };
    Automatic { installs, reboots }
}

fn read_dnf(host: &dyn Host) -> Automatic {
    if host.metadata("/etc/zypp").is_ok() || host.metadata("/usr/etc/zypp").is_ok() {
        let detail = "transactional-update and rebootmgr are not read";
        let why = Why::new(WhyKind::Unsupported, detail);
        return Automatic::both(Reading::unknown(why, Origin::words("/etc/zypp")));
    }
    let mut enabled = None;
    for (timer, installs) in DNF_TIMERS {
        match host.link_metadata(&format!("{TIMERS}/{timer}")) {
            Ok(_) => enabled = enabled.or(Some((timer, installs))),
            Err(ReadError::NotFound { .. }) => {}
            Err(error) => return Automatic::unknown(error, TIMERS),
        }
    }
    let Some((timer, timer_installs)) = enabled else {
        return Automatic::off(Origin::words(TIMERS));
    };
    let by_timer = Origin::path(&format!("{TIMERS}/{timer}"));
    for path in DNF {
        let contents = match host.read(path, MAX_CONFIG) {
            Ok(contents) => contents,
            Err(ReadError::NotFound { .. }) => continue,
            Err(error) => return Automatic::unknown(error, path),
        };
        let commands = ini::parse(&contents.bytes)
            .into_iter()
            .find(|part| part.name == "commands")
            .unwrap_or_default();
        let switch = |on: bool| if on { Switch::On } else { Switch::Off };
        let installs = match timer_installs {
            Installs::Always => Reading::known(Switch::On, by_timer),
            Installs::AsConfigured => {
                let applies = commands.truth("apply_updates").unwrap_or(false);
                Reading::known(switch(applies), Origin::words(path))
            }
        };
        let reboot = commands.keys.get("reboot").map_or("never", String::as_str);
        let reboots = Reading::known(switch(reboot != "never"), Origin::words(path));
        return Automatic { installs, reboots };
    }
    let installs = match timer_installs {
        Installs::Always => Switch::On,
        Installs::AsConfigured => Switch::Off,
    };
    Automatic {
        installs: Reading::known(installs, by_timer),
        reboots: Reading::known(Switch::Off, Origin::default_of("dnf-automatic")),
    }
}

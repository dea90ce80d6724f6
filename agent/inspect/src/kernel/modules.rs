//! Modules that rules name: loaded, built in, blocked, loadable or missing.
//!
//! ```text
//! /proc/modules ──> modules.builtin ──> modprobe.d, module_blacklist= ──> modules.dep
//!    loaded             built-in                  blocked                  loadable or missing
//! ```
//!
//! `blacklist NAME` only stops loading by alias and is not blocked. An `install` line with a
//! pattern instead of a name is not followed.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use palisade_report::Origin;
use palisade_report::Reading;
use palisade_report::Why;
use palisade_report::WhyKind;
use palisade_report::section::kernel::ModuleState;

use super::installed::MODULE_ROOTS;
use crate::Host;
use crate::ReadError;
use crate::host::EntryKind;
use crate::host::MAX_CONFIG;
use crate::lines;

/// Where modprobe looks for its configuration; an earlier directory hides equal names in later
/// ones.
const MODPROBE: [&str; 5] = [
    "/etc/modprobe.d",
    "/run/modprobe.d",
    "/usr/local/lib/modprobe.d",
    "/usr/lib/modprobe.d",
    "/lib/modprobe.d",
];

/// Files of one directory of modprobe's configuration.
const MAX_FILES: usize = 1000;

/// File systems that a kernel without modules can only have built in, by the module that holds
/// each: `/proc/filesystems` lists them.
const FILE_SYSTEMS: [&str; 12] = [
    "cramfs", "erofs", "freevxfs", "hfs", "hfsplus", "jffs2", "minix", "overlay", "romfs",
    "squashfs", "udf", "ufs",
];

/// Reads the state of each module in `wanted`.
pub fn read(
    host: &dyn Host,
    release: &Reading<String>,
    parameters: &Reading<Vec<String>>,
    wanted: &BTreeSet<String>,
) -> Reading<BTreeMap<String, Reading<ModuleState>>> {
    let origin = Origin::words("/proc/modules, modules.builtin, modprobe.d, modules.dep");
    let loaded = match read_index(host, "/proc/modules", loaded_name) {
        Ok(loaded) => loaded,
        Err(ReadError::NotFound { .. }) => return without_modules(host, wanted),
        Err(error) => return Reading::unknown(error.why(), origin),
    };
    let known = match release {
        Reading::Known { value, .. } => Known::read(host, value),
        Reading::Absent { origin } => {
            Known::unknown(&Why::new(WhyKind::MissingSource, format!("{origin} does not exist")))
        }
        Reading::Unknown { why, .. } => Known::unknown(why),
    };
    let blocked = read_blocked(host, parameters);
    let state = |name: &String| (name.clone(), state(&loaded, &known, &blocked, name));
    Reading::known(wanted.iter().map(state).collect(), origin)
}

fn state(
    loaded: &BTreeSet<String>,
    known: &Known,
    blocked: &Result<BTreeMap<String, Origin>, Why>,
    name: &str,
) -> Reading<ModuleState> {
    let name = normal(name);
    if loaded.contains(&name) {
        return Reading::known(ModuleState::Loaded, Origin::words("/proc/modules"));
    }
    let origin = Origin::path(&known.directory);
    let built_in = match &known.built_in {
        Ok(names) => names.contains(&name),
        Err(why) => return Reading::unknown(why.clone(), origin),
    };
    if built_in {
        let path = format!("{}/modules.builtin", known.directory);
        return Reading::known(ModuleState::BuiltIn, Origin::path(&path));
    }
    match blocked {
        Ok(blocked) => {
            if let Some(origin) = blocked.get(&name) {
                return Reading::known(ModuleState::Blocked, origin.clone());
            }
        }
        Err(why) => return Reading::unknown(why.clone(), Origin::words("modprobe.d")),
    }
    let path = format!("{}/modules.dep", known.directory);
    match &known.loadable {
        Ok(names) if names.contains(&name) => {
            Reading::known(ModuleState::Loadable, Origin::path(&path))
        }
        Ok(_) => Reading::known(ModuleState::Missing, Origin::path(&path)),
        Err(why) => Reading::unknown(why.clone(), Origin::path(&path)),
    }
}

/// A kernel without `/proc/modules` cannot load any; what it has is built in, and only `/sys/module`
/// and `/proc/filesystems` tell.
fn without_modules(
    host: &dyn Host,
    wanted: &BTreeSet<String>,
) -> Reading<BTreeMap<String, Reading<ModuleState>>> {
    let origin = Origin::words("/proc/modules");
    // Every kernel that can load modules has this switch beside its release.
    let switch = host.metadata("/proc/sys/kernel/modules_disabled");
    let proc = host.metadata("/proc/sys/kernel/osrelease");
    if switch.is_ok() || proc.is_err() {
        let why = Why::new(WhyKind::MissingSource, "/proc/modules does not exist");
        return Reading::unknown(why, origin);
    }
    let systems = read_index(host, "/proc/filesystems", file_system);
    let state = |name: &String| {
        let normal = normal(name);
        let parameters = format!("/sys/module/{normal}");
        if host.metadata(&parameters).is_ok() {
            let state = Reading::known(ModuleState::BuiltIn, Origin::path(&parameters));
            return (name.clone(), state);
        }
        let origin = Origin::words("/proc/filesystems");
        let state = match &systems {
            Ok(systems) if systems.contains(&normal) => {
                Reading::known(ModuleState::BuiltIn, origin)
            }
            Ok(_) if FILE_SYSTEMS.contains(&normal.as_str()) => {
                Reading::known(ModuleState::Missing, origin)
            }
            Ok(_) | Err(_) => {
                let detail = "this kernel loads no modules and does not list what is built in";
                Reading::unknown(Why::new(WhyKind::Unsupported, detail), Origin::path(&parameters))
            }
        };
        (name.clone(), state)
    };
    Reading::known(wanted.iter().map(state).collect(), origin)
}

/// What the running release has, built in and loadable.
struct Known {
    directory: String,
    built_in: Result<BTreeSet<String>, Why>,
    loadable: Result<BTreeSet<String>, Why>,
}

impl Known {
    fn unknown(why: &Why) -> Self {
        let directory = "/lib/modules".to_owned();
        Self { directory, built_in: Err(why.clone()), loadable: Err(why.clone()) }
    }

    fn read(host: &dyn Host, release: &str) -> Self {
        let mut why = Why::new(
            WhyKind::MissingSource,
            format!("the running release {release} has no modules directory"),
        );
        for root in MODULE_ROOTS {
            let directory = format!("{root}/{release}");
            match host.metadata(&directory) {
                Ok(_) => {
                    let index = |file: &str| {
                        read_index(host, &format!("{directory}/{file}"), module_of_path)
                            .map_err(ReadError::why)
                    };
                    return Self {
                        built_in: index("modules.builtin"),
                        loadable: index("modules.dep"),
                        directory,
                    };
                }
                Err(ReadError::NotFound { .. }) => {}
                Err(error) => why = error.why(),
            }
        }
        Self::unknown(&why)
    }
}

/// The names that `name_of` finds in the lines of a file.
fn read_index(
    host: &dyn Host,
    path: &str,
    name_of: impl Fn(&str) -> Option<String>,
) -> Result<BTreeSet<String>, ReadError> {
    let mut names = BTreeSet::new();
    let mut each = |line: &[u8]| names.extend(str::from_utf8(line).ok().and_then(&name_of));
    let left_out = lines::read(host, path, &mut each)?;
    if left_out > 0 {
        // Whichever module that line is about would pass for missing.
        return Err(ReadError::failed(path, WhyKind::TooLarge, format!("{path} has a long line")));
    }
    Ok(names)
}

/// The name on a line of `/proc/modules`.
fn loaded_name(line: &str) -> Option<String> {
    line.split_ascii_whitespace().next().map(normal)
}

/// The name on a line of `/proc/filesystems`: `nodev\tproc` or `\text4`.
fn file_system(line: &str) -> Option<String> {
    line.split_ascii_whitespace().last().map(normal)
}

/// The module that a line of `modules.dep` or `modules.builtin` is about:
/// `kernel/fs/udf/udf.ko.xz: …`.
#[must_use]
pub fn module_of_path(line: &str) -> Option<String> {
    let path = line.split_once(':').map_or(line, |(path, _)| path);
    let file = path.rsplit('/').next()?.trim();
    let (name, _) = file.split_once(".ko")?;
    (!name.is_empty()).then(|| normal(name))
}

/// Module names know no difference between `-` and `_`.
fn normal(name: &str) -> String {
    name.replace('-', "_")
}

/// Every module that may not be loaded, and where that is said.
fn read_blocked(
    host: &dyn Host,
    parameters: &Reading<Vec<String>>,
) -> Result<BTreeMap<String, Origin>, Why> {
    let mut files = BTreeMap::new();
    for directory in MODPROBE {
        match host.list(directory, MAX_FILES) {
            Ok(entries) => {
                for entry in entries {
                    if entry.name.ends_with(".conf") && entry.kind != EntryKind::Directory {
                        let path = format!("{directory}/{}", entry.name);
                        files.entry(entry.name).or_insert(path);
                    }
                }
            }
            Err(ReadError::NotFound { .. }) => {}
            Err(error) => return Err(error.why()),
        }
    }
    let mut blocked = BTreeMap::new();
    let mut installs = BTreeSet::new();
    for path in files.values() {
        let contents = match host.read(path, MAX_CONFIG) {
            Ok(contents) => contents,
            Err(ReadError::NotFound { .. }) => continue,
            Err(error) => {
                if host.read_link(path).is_ok_and(|target| target == "/dev/null") {
                    continue;
                }
                return Err(error.why());
            }
        };
        for install in parse_installs(&contents.bytes) {
            // modprobe takes the first command for a module.
            if installs.insert(install.module.clone()) && install.effect == Effect::Blocks {
                blocked.insert(install.module, Origin::line(path, install.line));
            }
        }
    }
    if let Some(words) = parameters.value() {
        let lists = words.iter().filter_map(|word| word.strip_prefix("module_blacklist="));
        for name in lists.flat_map(|list| list.split(',')) {
            blocked.insert(normal(name), Origin::words("/proc/cmdline"));
        }
    }
    Ok(blocked)
}

/// An `install` line of modprobe.d(5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Install {
    /// The module, with `_` for `-`.
    pub module: String,
    /// What the line does.
    pub effect: Effect,
    /// Its line, from 1.
    pub line: usize,
}

/// What an `install` line does instead of loading the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Runs `true` or `false` and nothing else.
    Blocks,
    /// Runs something else, which may load it.
    Runs,
}

/// The `install` lines of a modprobe.d(5) file, in order; a backslash continues a line.
#[must_use]
pub fn parse_installs(config: &[u8]) -> Vec<Install> {
    let text = String::from_utf8_lossy(config);
    let mut installs = Vec::new();
    let mut held = String::new();
    let mut start = 1;
    for (at, line) in text.lines().enumerate() {
        if held.is_empty() {
            start = at + 1;
        }
        if let Some(more) = line.strip_suffix('\\') {
            held.push_str(more);
            held.push(' ');
            continue;
        }
        held.push_str(line);
        let mut words = held.split_ascii_whitespace();
        if words.next() == Some("install")
            && let (Some(module), Some(command)) = (words.next(), words.next())
        {
            let name = command.strip_prefix("/usr").unwrap_or(command);
            let alone = words.next().is_none_or(|word| word.starts_with('#'));
            let blocks = alone && matches!(name, "/bin/false" | "/bin/true");
            let effect = if blocks { Effect::Blocks } else { Effect::Runs };
            installs.push(Install { module: normal(module), effect, line: start });
        }
        held.clear();
    }
    installs
}

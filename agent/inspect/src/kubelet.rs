//! Kubelet: its process, and its configuration as it computes it.
//!
//! Later layers win, and every value keeps the place that set it:
//!
//! ```text
//! process ─> arguments ─> --config file ─> --config-dir drop-ins ─> flags ─> effective values
//!                         (else legacy defaults)
//! ```
//!
//! Reads what is on disk now; the running kubelet read it at its start. A file that cannot be read
//! or merged makes unknown whatever no flag sets, because it may set anything.

use std::collections::BTreeMap;

use palisade_report::Origin;
use palisade_report::Reading;
use palisade_report::Section;
use palisade_report::Why;
use palisade_report::WhyKind;
use palisade_report::bound::clean_text;
use palisade_report::section::kubelet::Kubelet;
use palisade_report::section::kubelet::Process;

use crate::Host;
use crate::process::ProcessTable;

pub mod arguments;
pub mod config;

mod effective;
mod fields;
mod find;
mod flags;
mod layers;
#[cfg(test)]
mod tests;
mod value;

pub use value::parse_duration;

use arguments::CommandLine;
use find::Form;
use layers::Defaults;
use layers::Layers;

/// Reads the section.
#[must_use]
pub fn read(host: &dyn Host, processes: &ProcessTable) -> Section<Kubelet> {
    let nothing = |process| Kubelet {
        process,
        sources: Vec::new(),
        effective: BTreeMap::new(),
        flags: BTreeMap::new(),
        refused: Vec::new(),
    };
    let found = match find::find(host, processes) {
        Ok(Some(found)) => found,
        Ok(None) => {
            let origin = Origin::words("no kubelet among the processes");
            return Section::Known(nothing(Reading::absent(origin)));
        }
        Err(why) => return Section::Known(nothing(Reading::unknown(why, Origin::path("/proc")))),
    };
    // No process id in any origin: it moves, and with it the digest of an unchanged node.
    let origin = Origin::words("/proc/PID/cmdline");
    let process = |arguments: Vec<String>| {
        let executable = found.process.executable.as_deref().unwrap_or_default();
        let process = Process {
            executable: clean_text(executable),
            arguments: arguments.iter().map(|word| clean_text(word)).collect(),
            uid: found.process.uid,
        };
        Reading::known(process, origin.clone())
    };
    match found.form {
        Form::Own(arguments) => {
            let line = arguments::parse(arguments);
            let flags = own_flags(&line);
            let path = |name: &str| flags.get(name).and_then(Reading::value).map(String::as_str);
            let (file, directory) = (path("config"), path("config-dir"));
            let layers = match find::foreign_mounts(host, found.process) {
                Some(why) if file.is_some() || directory.is_some() => {
                    Layers { sources: Vec::new(), refused: Vec::new(), values: Err(why) }
                }
                Some(_) | None => {
                    let defaults =
                        if file.is_some() { Defaults::V1beta1 } else { Defaults::Legacy };
                    layers::read(host, file, directory, defaults)
                }
            };
            let mut refused = line.refused.clone();
            let effective = effective::compute(&layers, &line, &unset(), &mut refused);
            refused.extend(layers.refused);
            let process = process(line.shown);
            Section::Known(Kubelet { process, sources: layers.sources, effective, flags, refused })
        }
        Form::Embedded(program) => {
            let words = found.process.arguments.get(1..).unwrap_or_default();
            let layers = layers::read(host, None, program.drop_ins(), Defaults::Unknown);
            let detail = format!("{} makes up its kubelet's settings itself", program.as_str());
            let why = Why::new(WhyKind::Unsupported, detail);
            let unknown = Reading::unknown(why, origin.clone());
            let mut refused = Vec::new();
            let effective = effective::compute(
                &layers,
                &CommandLine::default(),
                &unknown.clone().map(|()| serde_json::Value::Null),
                &mut refused,
            );
            refused.extend(layers.refused);
            let flags = flags::OWN
                .iter()
                .map(|(name, _)| ((*name).to_owned(), unknown.clone().map(|()| String::new())));
            Section::Known(Kubelet {
                process: process(arguments::names_only(words)),
                sources: layers.sources,
                effective,
                flags: flags.collect(),
                refused,
            })
        }
    }
}

/// What a field is that no layer sets and that has no default.
fn unset<T>() -> Reading<T> {
    Reading::absent(Origin::words("neither flag nor file sets it"))
}

/// The flags that are not fields of `KubeletConfiguration`.
fn own_flags(line: &CommandLine) -> BTreeMap<String, Reading<String>> {
    let mut own = BTreeMap::new();
    for (name, default) in flags::OWN {
        let reading = match default {
            Some(text) => Reading::known(text.to_owned(), Origin::default_of("kubelet")),
            None => Reading::absent(Origin::words("the kubelet's arguments do not hold it")),
        };
        own.insert(name.to_owned(), reading);
    }
    for flag in &line.flags {
        if fields::FIELDS.iter().any(|field| field.flag == flag.name) {
            continue;
        }
        let origin = Origin::flag(&format!("--{}", flag.name));
        let shown = arguments::show(&flag.name, &flag.value);
        let reading = if flag.value.is_empty() {
            // The same as not given, for every flag that names something.
            Reading::absent(origin)
        } else if flags::PATHS.contains(&flag.name.as_str()) {
            // The working directory of a kubelet is `/`.
            let path = if shown.starts_with('/') { shown } else { format!("/{shown}") };
            Reading::known(path, origin)
        } else {
            Reading::known(clean_text(&shown), origin)
        };
        own.insert(clean_text(&flag.name), reading);
    }
    own
}

/// What identifies this node on the kubelet's command line, by flag name without dashes
/// (`hostname-override`, `node-ip`, `pod-cidr`, `provider-id`): for facts of one node only.
///
/// Absent when no kubelet runs here. Source: kubelet(1) flags.
#[must_use]
pub fn identity(host: &dyn Host, processes: &ProcessTable) -> Reading<BTreeMap<String, String>> {
    let origin = Origin::words("the kubelet's arguments");
    let found = match find::find(host, processes) {
        Ok(Some(found)) => found,
        Ok(None) => return Reading::absent(Origin::words("no kubelet among the processes")),
        Err(why) => return Reading::unknown(why, origin),
    };
    let arguments = match found.form {
        Form::Own(arguments) => arguments,
        Form::Embedded(program) => {
            let detail = format!("{} makes up its kubelet's arguments itself", program.as_str());
            return Reading::unknown(Why::new(WhyKind::Unsupported, detail), origin);
        }
    };
    let line = arguments::parse(arguments);
    let mut identity = BTreeMap::new();
    for name in arguments::IDENTITY {
        if let Some(value) = line.last(name) {
            identity.insert(name.to_owned(), clean_text(value));
        }
    }
    Reading::known(identity, origin)
}

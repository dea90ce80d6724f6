//! Boot loaders, modules and the kernel's own words.

use palisade_inspect::Interest;
use palisade_inspect::MemoryHost;
use palisade_inspect::kernel as area;
use palisade_inspect::kernel::grub;
use palisade_inspect::kernel::grub::Item;
use palisade_inspect::kernel::loader;
use palisade_inspect::kernel::loader::LoaderEntry;
use palisade_inspect::kernel::modules;
use palisade_inspect::kernel::parameters;
use palisade_report::Report;
use palisade_report::bound::MAX_TEXT;

use super::lines_of;
use super::node;
use super::package::total_order;
use super::shown;
use super::split;

pub(super) fn grub_config(bytes: &[u8]) {
    let menu = grub::parse_config(bytes);
    let (count, depth) = menu
        .items
        .iter()
        .map(size)
        .fold((0, 0), |(count, depth), item| (count + item.0, depth.max(item.1)));
    assert!(count <= grub::MAX_ITEMS && depth <= 16, "{count} items, {depth} deep");
    assert!(menu.defaults.len() <= grub::MAX_ITEMS);
}

/// How many items there are in and with this one, and how deep they nest.
fn size(item: &Item) -> (usize, usize) {
    item.items
        .iter()
        .map(size)
        .fold((1, 1), |(count, depth), below| (count + below.0, depth.max(below.1 + 1)))
}

pub(super) fn grub_environment(bytes: &[u8]) {
    let values = grub::parse_environment(bytes);
    let mut block = "# GRUB Environment Block\n".to_owned();
    for (name, value) in &values {
        assert!(!name.contains('=') && !name.contains('\n'));
        block.push_str(&format!("{name}={value}\n"));
    }
    if !block.contains(['\\', '\r']) && !values.keys().any(|name| name.starts_with('#')) {
        block.push_str("####");
        assert_eq!(grub::parse_environment(block.as_bytes()), values);
    }
}

fn entry(text: &[u8]) -> LoaderEntry {
    // The first line names the file.
    let end = text.iter().position(|byte| *byte == b'\n').unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    loader::parse_entry(&String::from_utf8_lossy(name), rest)
}

pub(super) fn loader_entry(bytes: &[u8]) {
    let entries: Vec<LoaderEntry> = split(bytes).into_iter().take(3).map(entry).collect();
    for entry in &entries {
        for text in [&entry.title, &entry.version, &entry.sort_key, &entry.image] {
            assert!(!text.contains('\n') && text.trim() == *text);
        }
    }
    if let [a, b, c] = entries.as_slice() {
        total_order(a, b, c, loader::grub_order);
        total_order(a, b, c, loader::systemd_order);
    }
}

pub(super) fn loader_config(bytes: &[u8]) {
    let Some(pattern) = loader::parse_default(bytes) else { return };
    assert_eq!(
        loader::parse_default(format!("default {pattern}").as_bytes()),
        Some(pattern.clone())
    );
    if !pattern.contains(['*', '?']) {
        assert!(loader::matches(&pattern, &pattern));
    }
    assert!(loader::matches("*", &pattern));
    assert!(loader::matches(&format!("*{pattern}*"), &format!("a{}b", pattern.replace('?', "x"))));
}

pub(super) fn loader_variable(bytes: &[u8]) {
    let Some(text) = loader::parse_variable(bytes) else { return };
    let mut again = vec![7, 0, 0, 0];
    again.extend(text.encode_utf16().chain([0, 65]).flat_map(u16::to_le_bytes));
    assert_eq!(loader::parse_variable(&again), Some(text));
}

pub(super) fn modprobe(bytes: &[u8]) {
    let installs = modules::parse_installs(bytes);
    lines_of(bytes, installs.iter().map(|install| install.line));
    for install in installs {
        assert!(!install.module.contains(['-', ' ']) && !install.module.is_empty());
    }
}

pub(super) fn module_path(bytes: &[u8]) {
    for line in String::from_utf8_lossy(bytes).lines() {
        if let Some(name) = modules::module_of_path(line) {
            assert!(!name.is_empty() && !name.contains(['/', '-', ':']), "{name:?}");
            let again = format!("kernel/fs/{name}.ko.xz: kernel/lib/x.ko");
            assert_eq!(modules::module_of_path(&again), Some(name));
        }
    }
}

/// Set bits make up the number again.
pub(super) fn taint(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    match area::cpu::parse_taint(&text) {
        Ok(bits) => {
            let mask: u64 = bits.iter().map(|bit| 1_u64 << bit).sum();
            assert_eq!(area::cpu::parse_taint(&mask.to_string()), Ok(bits));
        }
        Err(why) => shown(&why.detail, MAX_TEXT),
    }
}

/// Masking is stable: what was masked once holds nothing more to mask.
pub(super) fn command_line(bytes: &[u8]) {
    let Ok(words) = parameters::parse(bytes) else { return };
    for word in &words {
        shown(word, MAX_TEXT);
        let lower = word.to_lowercase();
        if let Some((name, value)) = lower.split_once('=')
            && ["passw", "secret", "token"].iter().any(|part| name.contains(part))
        {
            assert_eq!(value, "*", "{word}");
        }
        if !word.contains(|it: char| it.is_ascii_whitespace()) && word != "--" {
            let again = parameters::parse(word.as_bytes()).expect("one word is not too many");
            assert_eq!(again, std::slice::from_ref(word));
        }
    }
}

pub(super) fn image_name(bytes: &[u8]) {
    let name = String::from_utf8_lossy(bytes);
    if let Some((release, _)) = area::installed::parse_name(&name) {
        assert!(name.contains(release) && name.len() > release.len());
        assert!(release.starts_with(|first: char| first.is_ascii_digit()));
    }
}

/// The whole reader over a boot directory: grub.cfg, grubenv, loader.conf, then entries.
pub(super) fn boot_entries(bytes: &[u8]) {
    let mut host = MemoryHost::default()
        .file("/proc/sys/kernel/osrelease", "6.1.0-50-amd64\n")
        .file("/proc/cmdline", "BOOT_IMAGE=/boot/vmlinuz-6.1.0-50-amd64 ro\n")
        .file("/boot/vmlinuz-6.1.0-50-amd64", "")
        .file("/boot/vmlinuz-6.1.0-56-amd64", "")
        .file("/lib/modules/6.1.0-50-amd64/modules.dep", "")
        .file("/lib/modules/6.1.0-56-amd64/modules.dep", "");
    for (at, part) in split(bytes).into_iter().take(16).enumerate() {
        let path = match at {
            0 => "/boot/grub/grub.cfg".to_owned(),
            1 => "/boot/grub/grubenv".to_owned(),
            2 => "/boot/loader/loader.conf".to_owned(),
            at => format!("/boot/loader/entries/{at}.conf"),
        };
        host = host.file(&path, part);
    }
    let read =
        || Report { kernel: Some(area::read(&host, &Interest::default())), ..Report::default() };
    node::sound(&read(), &read());
}

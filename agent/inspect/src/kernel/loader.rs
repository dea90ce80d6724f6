//! Boot loader entries and loader.conf, as the Boot Loader Specification and systemd-boot have
//! them.

use std::cmp::Ordering;

use crate::version;

/// A boot loader entry: one file of `loader/entries`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoaderEntry {
    /// The file's name without `.conf` and without a boot counter (`+3-1`).
    pub id: String,
    /// What the menu shows.
    pub title: String,
    /// The kernel's release, if the entry says so.
    pub version: String,
    /// What sorts before the version.
    pub sort_key: String,
    /// The path of the kernel's image.
    pub image: String,
}

/// Reads an entry; keys that mean nothing here are passed over.
#[must_use]
pub fn parse_entry(file_name: &str, entry: &[u8]) -> LoaderEntry {
    let id = file_name.strip_suffix(".conf").unwrap_or(file_name);
    let counted = id.rsplit_once('+').filter(|(_, counter)| {
        counter.starts_with(|first: char| first.is_ascii_digit())
            && counter.chars().all(|part| part.is_ascii_digit() || part == '-')
    });
    let mut found =
        LoaderEntry { id: counted.map_or(id, |(id, _)| id).to_owned(), ..LoaderEntry::default() };
    for line in String::from_utf8_lossy(entry).lines() {
        let Some((key, value)) = line.trim().split_once([' ', '\t']) else { continue };
        let value = value.trim().to_owned();
        match key {
            "title" => found.title = value,
            "version" => found.version = value,
            "sort-key" => found.sort_key = value,
            "linux" | "efi" | "uki" => found.image = value,
            _ => {}
        }
    }
    found
}

/// The pattern that loader.conf(5) gives as `default`.
#[must_use]
pub fn parse_default(config: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(config);
    let values = text.lines().filter_map(|line| line.trim().split_once([' ', '\t']));
    values.rev().find(|(key, _)| *key == "default").map(|(_, value)| value.trim().to_owned())
}

/// The order in which GRUB shows entries: the newest first, by the names of their files.
#[must_use]
pub fn grub_order(a: &LoaderEntry, b: &LoaderEntry) -> Ordering {
    version::rpm(&b.id, &a.id).then_with(|| b.id.cmp(&a.id))
}

/// The order in which systemd-boot shows entries: with a sort key before without, by it, then the
/// newest first.
#[must_use]
pub fn systemd_order(a: &LoaderEntry, b: &LoaderEntry) -> Ordering {
    a.sort_key
        .is_empty()
        .cmp(&b.sort_key.is_empty())
        .then_with(|| a.sort_key.cmp(&b.sort_key))
        .then_with(|| version::rpm(&b.version, &a.version))
        .then_with(|| version::rpm(&b.id, &a.id))
        .then_with(|| b.id.cmp(&a.id))
}

/// Whether `text` fits a pattern of `*` and `?`, upper and lower case alike.
#[must_use]
pub fn matches(pattern: &str, text: &str) -> bool {
    let pattern: Vec<char> = pattern.to_lowercase().chars().collect();
    let text: Vec<char> = text.to_lowercase().chars().collect();
    let (mut at, mut in_text) = (0, 0);
    // Where the last `*` stands, and how much of the text it has taken.
    let mut star: Option<(usize, usize)> = None;
    while let Some(character) = text.get(in_text) {
        match pattern.get(at) {
            Some('*') => {
                star = Some((at, in_text));
                at += 1;
            }
            Some(wanted) if wanted == character || *wanted == '?' => {
                at += 1;
                in_text += 1;
            }
            Some(_) | None => {
                let Some((star_at, taken)) = star else { return false };
                star = Some((star_at, taken + 1));
                (at, in_text) = (star_at + 1, taken + 1);
            }
        }
    }
    pattern.get(at..).is_some_and(|rest| rest.iter().all(|left| *left == '*'))
}

/// The text of an EFI variable: four bytes of attributes, then UTF-16 up to a zero.
#[must_use]
pub fn parse_variable(variable: &[u8]) -> Option<String> {
    let (pairs, _) = variable.get(4..)?.as_chunks::<2>();
    let units: Vec<u16> =
        pairs.iter().map(|pair| u16::from_le_bytes(*pair)).take_while(|unit| *unit != 0).collect();
    String::from_utf16(&units).ok().filter(|text| !text.is_empty())
}

//! GRUB's configuration, as far as it decides which kernel starts: menu entries with their ids and
//! images, `set default`, and the environment block.
//!
//! This is no shell: conditions are not evaluated. What `grub-mkconfig` writes is understood; a
//! default that depends on anything else is said to be unknown.

use std::collections::BTreeMap;

/// Menu entries that are kept; `grub-mkconfig` writes three per kernel.
pub const MAX_ITEMS: usize = 1000;

/// Braces inside each other; `grub-mkconfig` nests two.
const MAX_NESTING: usize = 16;

/// What a grub.cfg says about the default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Menu {
    /// The menu, in order.
    pub items: Vec<Item>,
    /// Values of `set default=`, in order.
    pub defaults: Vec<Preset>,
    /// Whether entries come from `/boot/loader/entries` (`blscfg`).
    pub entries: Entries,
}

/// Where a menu takes its entries from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Entries {
    /// From grub.cfg alone.
    #[default]
    Own,
    /// From files of the Boot Loader Specification too.
    Loader,
}

/// One `set default=`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preset {
    /// The value without quotes: a number, a title, an id, a path of them, or a variable.
    pub value: String,
    /// How many `if` are around it.
    pub depth: usize,
}

/// A `menuentry` or `submenu`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Item {
    /// What the menu shows.
    pub title: String,
    /// Its id, if it has one.
    pub id: Option<String>,
    /// The path of the kernel's image, for an entry that starts one.
    pub image: Option<String>,
    /// What is inside a submenu.
    pub items: Vec<Self>,
}

enum Frame {
    Item(Item),
    Other,
}

/// Reads a grub.cfg; lines that mean nothing here are passed over.
#[must_use]
pub fn parse_config(config: &[u8]) -> Menu {
    let text = String::from_utf8_lossy(config);
    let mut menu = Menu::default();
    let mut frames: Vec<Frame> = Vec::new();
    let mut depth: usize = 0;
    let mut count = 0;
    for line in text.lines() {
        let words = split(line);
        let (Some(first), Some(last)) = (words.first(), words.last()) else { continue };
        match first.as_str() {
            "if" => depth = depth.saturating_add(1),
            "fi" => depth = depth.saturating_sub(1),
            "blscfg" => menu.entries = Entries::Loader,
            "set" => {
                let value = words.get(1).and_then(|word| word.strip_prefix("default="));
                if let Some(value) = value
                    && menu.defaults.len() < MAX_ITEMS
                {
                    menu.defaults.push(Preset { value: value.to_owned(), depth });
                }
            }
            "linux" | "linux16" | "linuxefi" => {
                if let Some(Frame::Item(item)) = frames.last_mut()
                    && item.image.is_none()
                {
                    item.image = words.get(1).cloned();
                }
            }
            "}" => close(&mut menu, &mut frames),
            _ => {}
        }
        if last == "{" && frames.len() < MAX_NESTING {
            count += 1;
            let is_item = matches!(first.as_str(), "menuentry" | "submenu") && count <= MAX_ITEMS;
            frames.push(if is_item { Frame::Item(item(&words)) } else { Frame::Other });
        }
    }
    while !frames.is_empty() {
        close(&mut menu, &mut frames);
    }
    menu
}

fn item(words: &[String]) -> Item {
    let id = words
        .iter()
        .position(|word| word == "$menuentry_id_option" || word == "--id")
        .and_then(|at| words.get(at + 1))
        .cloned();
    Item { title: words.get(1).cloned().unwrap_or_default(), id, ..Item::default() }
}

/// Ends the innermost brace: an item goes into the submenu around it, or into the menu.
fn close(menu: &mut Menu, frames: &mut Vec<Frame>) {
    let Some(Frame::Item(item)) = frames.pop() else { return };
    match frames.last_mut() {
        Some(Frame::Item(submenu)) => submenu.items.push(item),
        Some(Frame::Other) | None => menu.items.push(item),
    }
}

/// Splits a line into words at white space outside of quotes, which are dropped. A comment ends it.
fn split(line: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut word: Option<String> = None;
    let mut quote: Option<char> = None;
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        match (quote, character) {
            (Some(open), close) if open == close => quote = None,
            (Some('"') | None, '\\') => {
                word.get_or_insert_default().extend(characters.next());
            }
            (Some(_), other) => word.get_or_insert_default().push(other),
            (None, open @ ('"' | '\'')) => {
                quote = Some(open);
                word.get_or_insert_default();
            }
            (None, '#') if word.is_none() => break,
            (None, space) if space.is_ascii_whitespace() || space == ';' => {
                words.extend(word.take());
            }
            (None, other) => word.get_or_insert_default().push(other),
        }
    }
    words.extend(word);
    words
}

/// Reads an environment block: `name=value` lines after its header, padded with `#`.
#[must_use]
pub fn parse_environment(block: &[u8]) -> BTreeMap<String, String> {
    let text = String::from_utf8_lossy(block);
    let lines = text.lines().filter(|line| !line.starts_with('#')).take(MAX_ITEMS);
    lines
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// What a menu starts by default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// This entry: a number, title or id, with `>` between the levels of submenus.
    Entry(String),
    /// A value that is computed when the machine starts.
    Computed(String),
}

/// The default of a menu under an environment.
///
/// `next_entry` (grub-reboot(8)) wins where the menu asks for it. Otherwise the last value outside
/// of any condition, or the first inside one: the header writes it, and what follows inside
/// conditions are fallbacks after failed boots.
#[must_use]
pub fn choose(menu: &Menu, environment: &BTreeMap<String, String>) -> Choice {
    let next = environment.get("next_entry").filter(|entry| !entry.is_empty());
    let is_next = |default: &&Preset| variable(&default.value) == Some("next_entry");
    if let Some(next) = next
        && menu.defaults.iter().any(|default| is_next(&default))
    {
        return Choice::Entry(next.clone());
    }
    let usual: Vec<&Preset> = menu.defaults.iter().filter(|default| !is_next(default)).collect();
    let plain = usual.iter().rev().find(|default| default.depth == 0);
    let value = plain.or_else(|| usual.first()).map_or("0", |default| default.value.as_str());
    match variable(value) {
        Some(name) => {
            let saved = environment.get(name).filter(|entry| !entry.is_empty());
            Choice::Entry(saved.cloned().unwrap_or_else(|| "0".to_owned()))
        }
        None if value.contains('$') => Choice::Computed(value.to_owned()),
        None if value.is_empty() => Choice::Entry("0".to_owned()),
        None => Choice::Entry(value.to_owned()),
    }
}

/// The name of the variable, if the text is one variable and nothing else.
fn variable(text: &str) -> Option<&str> {
    let name = text.strip_prefix('$')?;
    let name = name.strip_prefix('{').map_or(Some(name), |name| name.strip_suffix('}'))?;
    name.chars().all(|part| part.is_ascii_alphanumeric() || part == '_').then_some(name)
}

/// The item that `choice` leads to; a submenu leads to its first entry.
#[must_use]
pub fn find<'m>(items: &'m [Item], choice: &str) -> Option<&'m Item> {
    let mut items = items;
    let mut found = None;
    // A title may hold `>` itself, so the whole is tried first.
    let mut rest = Some(choice);
    while let Some(text) = rest {
        let whole = pick(items, text);
        let (part, after) = match (whole, text.split_once('>')) {
            (None, Some((part, after))) => (part, Some(after)),
            (Some(_), _) | (None, None) => (text, None),
        };
        let item = pick(items, part)?;
        items = &item.items;
        found = Some(item);
        rest = after;
    }
    let mut item = found?;
    while item.image.is_none() {
        item = item.items.first()?;
    }
    Some(item)
}

fn pick<'m>(items: &'m [Item], part: &str) -> Option<&'m Item> {
    if let Ok(index) = part.parse::<usize>() {
        return items.get(index);
    }
    items.iter().find(|item| item.id.as_deref() == Some(part) || item.title == part)
}

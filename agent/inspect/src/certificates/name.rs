//! Distinguished names as text (RFC 4514), and alternative names.

use std::net::Ipv4Addr;
use std::net::Ipv6Addr;

use palisade_report::bound::MAX_TEXT;
use palisade_report::bound::clean;

use super::der;
use super::der::Element;
use super::der::Reader;

/// Alternative names that are kept of one certificate.
pub const MAX_NAMES: usize = 64;

/// Attribute types that have a registered short name (RFC 4514 section 3, RFC 4519); the last two
/// are not registered, but every tool writes them so.
const ATTRIBUTES: &[(&str, &str)] = &[
    ("2.5.4.3", "CN"),
    ("2.5.4.4", "SN"),
    ("2.5.4.5", "serialNumber"),
    ("2.5.4.6", "C"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.9", "STREET"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("2.5.4.12", "title"),
    ("2.5.4.42", "givenName"),
    ("0.9.2342.19200300.100.1.1", "UID"),
    ("0.9.2342.19200300.100.1.25", "DC"),
    ("1.2.840.113549.1.9.1", "emailAddress"),
    ("2.5.4.97", "organizationIdentifier"),
];

/// A Name as RFC 4514 text, the last relative name first, unbounded: for comparing.
///
/// String types are converted, so that names that differ only in them are equal. Nothing in it is
/// refused: what is no string is shown as `#` and hexadecimal digits. Unlike RFC 4514, strings of
/// types without a short name are shown as text too, since people read this.
#[must_use]
pub fn text(name: &Element<'_>) -> String {
    let mut parts = Vec::new();
    let mut relatives = name.inside();
    while let Some(relative) = relatives.take() {
        let mut attributes = Vec::new();
        let mut members = relative.inside();
        while let Some(member) = members.take() {
            attributes.push(attribute(&member));
        }
        parts.push(attributes.join("+"));
    }
    parts.reverse();
    parts.join(",")
}

/// The same as a fact: at most [`MAX_TEXT`] bytes, safe to show.
#[must_use]
pub fn shown(text: &str) -> String {
    clean(text.as_bytes(), MAX_TEXT)
}

fn attribute(member: &Element<'_>) -> String {
    let mut inside = member.inside();
    let Some(kind) = inside.take_tag(der::OID) else { return String::new() };
    let dotted = der::dotted(kind.content);
    let short = ATTRIBUTES.iter().find(|(oid, _)| *oid == dotted).map(|(_, short)| *short);
    let kind = short.unwrap_or(&dotted);
    match inside.take() {
        Some(value) => match string(&value) {
            Some(text) => format!("{kind}={}", escape(&text)),
            None => format!("{kind}=#{}", hex(value.whole)),
        },
        None => format!("{kind}="),
    }
}

/// The text of a string type; invalid parts as U+FFFD.
fn string(value: &Element<'_>) -> Option<String> {
    Some(match value.tag {
        // UTF8String, NumericString, PrintableString, IA5String, VisibleString
        0x0c | 0x12 | 0x13 | 0x16 | 0x1a => String::from_utf8_lossy(value.content).into_owned(),
        // TeletexString: Latin-1 in practice
        0x14 => value.content.iter().map(|byte| char::from(*byte)).collect(),
        // BMPString
        0x1e => {
            let (pairs, _) = value.content.as_chunks::<2>();
            let units: Vec<u16> = pairs.iter().map(|pair| u16::from_be_bytes(*pair)).collect();
            String::from_utf16_lossy(&units)
        }
        // UniversalString
        0x1c => {
            let (quads, _) = value.content.as_chunks::<4>();
            let character = |quad: &[u8; 4]| char::from_u32(u32::from_be_bytes(*quad));
            quads
                .iter()
                .map(|quad| character(quad).unwrap_or(char::REPLACEMENT_CHARACTER))
                .collect()
        }
        _ => return None,
    })
}

/// RFC 4514 section 2.4.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let last = text.chars().count().saturating_sub(1);
    for (at, character) in text.chars().enumerate() {
        let special = matches!(character, '"' | '+' | ',' | ';' | '<' | '>' | '\\');
        let edge = (at == 0 && matches!(character, ' ' | '#')) || (at == last && character == ' ');
        match character {
            '\0' => out.push_str("\\00"),
            _ if special || edge => out.extend(['\\', character]),
            _ => out.push(character),
        }
    }
    out
}

fn hex(bytes: &[u8]) -> String {
    // More is cut by the bound on the whole name anyway.
    bytes.iter().take(MAX_TEXT).map(|byte| format!("{byte:02x}")).collect()
}

/// The names of a subjectAltName extension: DNS, IP, URI and email, at most [`MAX_NAMES`]. Other
/// kinds are left out.
#[must_use]
pub fn alternatives(extension: &[u8]) -> Vec<String> {
    let mut names = Vec::new();
    let Some(list) = Reader::new(extension).take_tag(der::SEQUENCE) else { return names };
    let mut entries = list.inside();
    while let Some(entry) = entries.take() {
        if names.len() == MAX_NAMES {
            break;
        }
        let text = String::from_utf8_lossy(entry.content);
        names.push(match entry.tag {
            0x81 => shown(&format!("email:{text}")),
            0x82 => shown(&format!("DNS:{text}")),
            0x86 => shown(&format!("URI:{text}")),
            0x87 => format!("IP:{}", address(entry.content)),
            _ => continue,
        });
    }
    names
}

fn address(bytes: &[u8]) -> String {
    if let Ok(four) = <[u8; 4]>::try_from(bytes) {
        return Ipv4Addr::from(four).to_string();
    }
    match <[u8; 16]>::try_from(bytes) {
        Ok(sixteen) => Ipv6Addr::from(sixteen).to_string(),
        Err(_) => format!("#{}", shown(&hex(bytes))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn special_characters_are_escaped() {
        for (plain, escaped) in [
            ("a,b+c", "a\\,b\\+c"),
            (" a ", "\\ a\\ "),
            ("#a", "\\#a"),
            ("a\0", "a\\00"),
            ("system:node:n", "system:node:n"),
        ] {
            assert_eq!(escape(plain), escaped);
        }
    }

    #[test]
    fn alternative_names_of_strange_length_are_shown_as_bytes() {
        let san = [0x30, 12, 0x87, 4, 10, 0, 0, 5, 0x87, 1, 9, 0x82, 1, b'a', 0xa0];
        assert_eq!(alternatives(&san[..13]), Vec::<String>::new());
        assert_eq!(alternatives(&san), ["IP:10.0.0.5", "IP:#09", "DNS:a"]);
        assert_eq!(alternatives(b"\x30"), Vec::<String>::new());
    }
}

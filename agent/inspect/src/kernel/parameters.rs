//! The kernel's command line, word by word, without what identifies one machine or is secret.

use palisade_report::Origin;
use palisade_report::Reading;
use palisade_report::Why;
use palisade_report::WhyKind;
use palisade_report::bound::MAX_TEXT;
use palisade_report::bound::clean;

use crate::Host;
use crate::host::MAX_PROC;

const CMDLINE: &str = "/proc/cmdline";

/// Words that are kept; `COMMAND_LINE_SIZE` is 4,096 at most, and a word has two bytes with its
/// space.
const MAX_WORDS: usize = 2048;

/// Parameters whose whole value differs from machine to machine.
const OF_ONE_MACHINE: [&str; 17] = [
    "BOOTIF",
    "hostname",
    "ifname",
    "ip",
    "nameserver",
    "netroot",
    "nfsroot",
    "rd.iscsi.initiator",
    "rd.luks.name",
    "rd.luks.uuid",
    "rd.md.uuid",
    "rd.zfcp",
    "resume_offset",
    "systemd.hostname",
    "systemd.machine_id",
    "systemd.tpm2_pcr_nvindex",
    "vlan",
];

/// Parts of a parameter's name that announce a secret.
const SECRETS: [&str; 6] = ["credential", "keyfile", "luks.key", "passw", "secret", "token"];

/// Hexadecimal digits in a row that no longer are an address or a size but an identifier.
const MIN_IDENTIFIER: usize = 16;

/// Reads the words of the running command line.
pub fn read(host: &dyn Host) -> Reading<Vec<String>> {
    match host.read(CMDLINE, MAX_PROC) {
        Ok(contents) => match parse(&contents.bytes) {
            Ok(words) => Reading::known(words, Origin::words(CMDLINE)),
            Err(why) => Reading::unknown(why, Origin::words(CMDLINE)),
        },
        Err(error) => super::required(error.reading()),
    }
}

/// The words up to `--`, in order, values masked as `*` where they identify a machine.
///
/// # Errors
/// `too-large` above [`MAX_WORDS`] words.
pub fn parse(cmdline: &[u8]) -> Result<Vec<String>, Why> {
    let mut words = Vec::new();
    for word in split(cmdline) {
        if word == b"--" {
            break;
        }
        if words.len() == MAX_WORDS {
            let detail = format!("more than {MAX_WORDS} words on the command line");
            return Err(Why::new(WhyKind::TooLarge, detail));
        }
        // The mask of an empty secret is longer than the secret.
        words.push(clean(mask(&clean(&word, MAX_TEXT)).as_bytes(), MAX_TEXT));
    }
    Ok(words)
}

/// Splits at white space outside of double quotes, and drops the quotes, as the kernel does.
fn split(line: &[u8]) -> Vec<Vec<u8>> {
    let mut words = vec![Vec::new()];
    let mut quoted = false;
    for byte in line {
        match byte {
            b'"' => quoted = !quoted,
            space if !quoted && (space.is_ascii_whitespace() || *space == 0) => {
                words.push(Vec::new());
            }
            other => {
                if let Some(word) = words.last_mut() {
                    word.push(*other);
                }
            }
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// The word with its value masked as far as it identifies a machine: `root=UUID=*`.
fn mask(word: &str) -> String {
    let Some((name, value)) = word.split_once('=') else { return word.to_owned() };
    let lower = name.to_ascii_lowercase();
    if OF_ONE_MACHINE.contains(&name) || SECRETS.iter().any(|part| lower.contains(part)) {
        return format!("{name}=*");
    }
    let mut out = format!("{name}=");
    let mut part = String::new();
    for character in value.chars() {
        if matches!(character, '=' | ',' | '/' | ';' | '@' | '(' | ')' | '[' | ']') {
            out.push_str(if identifies(&part) { "*" } else { &part });
            out.push(character);
            part.clear();
        } else {
            part.push(character);
        }
    }
    out.push_str(if identifies(&part) { "*" } else { &part });
    out
}

/// Whether a part of a value is a UUID, a hardware or network address, or another long identifier.
fn identifies(part: &str) -> bool {
    let octets = part.split('.').collect::<Vec<_>>();
    let ipv4 = octets.len() == 4
        && octets.iter().all(|octet| {
            octet.split(':').next().is_some_and(|number| number.parse::<u8>().is_ok())
        });
    let colons = part.matches(':').count();
    let address =
        colons >= 2 && part.chars().all(|digit| digit.is_ascii_hexdigit() || digit == ':');
    let hex = part.trim_start_matches("luks-").trim_start_matches("uuid-");
    // A PARTUUID of a DOS disk label is short: eight digits, a dash, two digits.
    let dos = part.len() == 11 && part.as_bytes().get(8) == Some(&b'-');
    let digits = hex.chars().filter(|digit| digit.is_ascii_hexdigit()).count();
    let only = hex.chars().all(|digit| digit.is_ascii_hexdigit() || digit == '-');
    ipv4 || address || (only && (digits >= MIN_IDENTIFIER || dos))
}

//! Where alerts are asked for.

use std::net::Ipv6Addr;

use crate::policy::AlertSource;
use crate::policy::language::value::text;
use crate::policy::section::Problems;
use crate::policy::section::Section;
use crate::policy::tree::Tree;

/// Letters of an address or of a path.
const MAX_ADDRESS: usize = 1_024;

/// Where alerts are asked for.
pub(super) fn alert_source(tree: &Tree, problems: &mut Problems) -> Option<AlertSource> {
    let mut section = Section::open(tree, "the alert source", problems)?;
    let mut source = AlertSource::default();
    let AlertSource { alertmanager, prometheus, ca } = &mut source;
    let is_written = section.has("alertmanager") || section.has("prometheus");
    section.set_some("alertmanager", alertmanager, address);
    section.set_some("prometheus", prometheus, address);
    section.set_some("ca", ca, file);
    if !is_written {
        let message = "nobody is named: add `alertmanager`, `prometheus` or both";
        section.problems.add(section.place, message);
    } else if source.ca.is_none() && source.addresses().any(|it| it.starts_with("https:")) {
        let message = "`https` needs the authorities that are trusted: add `ca: /path/to/ca.crt`";
        section.problems.add(section.place, message);
    }
    section.close(&[]);
    Some(source)
}

/// An address without the slash at its end.
fn address(tree: &Tree, problems: &mut Problems) -> Option<String> {
    let written = text(tree, problems)?;
    if !is_address(written) {
        let what = "an address such as `http://alertmanager.monitoring.svc:9093`, without a user";
        return problems.expected(tree, what);
    }
    Some(written.trim_end_matches('/').to_owned())
}

/// Source: RFC 3986, of which nothing but scheme, host, port and path is taken.
pub(crate) fn is_address(text: &str) -> bool {
    let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    let Some(rest) = rest else { return false };
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    let (is_host, port) = match authority.strip_prefix('[') {
        Some(bare) => {
            let Some((host, rest)) = bare.split_once(']') else { return false };
            let port = if rest.is_empty() { Some(None) } else { rest.strip_prefix(':').map(Some) };
            let Some(port) = port else { return false };
            (host.parse::<Ipv6Addr>().is_ok(), port)
        }
        None => {
            let parts = authority.split_once(':');
            let (host, port) = parts.map_or((authority, None), |(host, port)| (host, Some(port)));
            (!host.is_empty() && host.bytes().all(is_name), port)
        }
    };
    let is_port = |port: &str| {
        port.bytes().all(|byte| byte.is_ascii_digit())
            && port.parse::<u16>().is_ok_and(|port| port > 0)
    };
    let is_path = |byte: u8| byte.is_ascii_graphic() && !b"?#\"<>\\^`{|}".contains(&byte);
    text.len() <= MAX_ADDRESS && is_host && port.is_none_or(is_port) && path.bytes().all(is_path)
}

fn file(tree: &Tree, problems: &mut Problems) -> Option<String> {
    let written = text(tree, problems)?;
    let is_path = written.starts_with('/') && written.len() <= MAX_ADDRESS;
    if !is_path || written.chars().any(char::is_control) {
        return problems.expected(tree, "the path of a file, from `/` on");
    }
    Some(written.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_scheme_a_host_and_perhaps_a_port_and_a_path() {
        for (text, expected) in [
            ("http://a", true),
            ("https://alertmanager.monitoring.svc:9093/", true),
            ("http://10.0.0.1:9093/prefix/x", true),
            ("http://[::1]", true),
            ("http://[fd00::1]:9093/a", true),
            ("http://", false),
            ("http:///path", false),
            ("http://:9093", false),
            ("a:9093", false),
            ("ftp://a", false),
            ("HTTP://a", false),
            ("http://user@a", false),
            ("http://user:word@a:1", false),
            ("http://a:0", false),
            ("http://a:65536", false),
            ("http://a:", false),
            ("http://a:+1", false),
            ("http://a?x=1", false),
            ("http://a/x?y", false),
            ("http://a/#x", false),
            ("http://a b", false),
            ("http://a/\u{7f}", false),
            ("http://a\r\nx", false),
            ("http://ä", false),
            ("http://[::1", false),
            ("http://[x]", false),
            ("http://[::1]x", false),
            ("http://[::1]:", false),
        ] {
            assert_eq!(is_address(text), expected, "{text}");
        }
        assert!(!is_address(&format!("http://{}", "a".repeat(MAX_ADDRESS))));
    }
}

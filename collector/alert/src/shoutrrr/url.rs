//! The parts of an address, as far as they are needed here.

use super::ShoutrrrError;
use crate::secret::Secret;

/// The parts of `scheme://user:password@host:port/path?query#fragment`. Nothing is decoded yet, but
/// for the query.
pub(super) struct Address<'a> {
    pub(super) scheme: &'static str,
    user: Option<&'a str>,
    password: Option<&'a str>,
    host: &'a str,
    port: Option<u16>,
    path: &'a str,
    /// Name and value, decoded.
    pub(super) query: Vec<(String, String)>,
    fragment: Option<&'a str>,
}

/// Scheme and the rest after `://` (RFC 3986, 3.1).
pub(super) fn scheme(text: &str) -> Option<(&str, &str)> {
    /// The longest that shoutrrr knows has 13.
    const MAX_SCHEME: usize = 20;
    let (scheme, rest) = text.split_once("://")?;
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
    let is_scheme = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme.len() <= MAX_SCHEME
        && scheme.bytes().all(is_plain);
    is_scheme.then_some((scheme, rest))
}

impl<'a> Address<'a> {
    /// `rest` is what comes after `://`.
    pub(super) fn parse(scheme: &'static str, rest: &'a str) -> Result<Self, ShoutrrrError> {
        let malformed = |what| ShoutrrrError::Malformed { scheme, what };
        let (rest, fragment) = split(rest, '#');
        let (rest, query) = split(rest, '?');
        let (authority, path) = match rest.find('/') {
            Some(at) => rest.split_at_checked(at).unwrap_or((rest, "")),
            None => (rest, ""),
        };
        let (user_info, host_port) = match authority.rsplit_once('@') {
            Some((user_info, host_port)) => (Some(user_info), host_port),
            None => (None, authority),
        };
        let (user, password) = match user_info.map(|it| split(it, ':')) {
            Some((user, password)) => (Some(user), password),
            None => (None, None),
        };
        // The colons within brackets are those of an address of version 6.
        let (host, port) = match host_port.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, Some(port)),
            Some(_) | None => (host_port, None),
        };
        let port = match port.filter(|it| !it.is_empty()) {
            None => None,
            Some(port) => {
                let number = port.parse().ok().filter(|it| *it > 0);
                Some(number.ok_or_else(|| malformed("the port is no number from 1 to 65535"))?)
            }
        };
        if !is_host(host) {
            return Err(malformed("the host is not a name or an address"));
        }
        let query = pairs(query.unwrap_or_default()).ok_or_else(|| malformed(NOT_UTF8))?;
        Ok(Self { scheme, user, password, host, port, path, query, fragment })
    }

    pub(super) fn malformed(&self, what: &'static str) -> ShoutrrrError {
        ShoutrrrError::Malformed { scheme: self.scheme, what }
    }

    pub(super) fn missing(&self, what: &'static str) -> ShoutrrrError {
        ShoutrrrError::Missing { scheme: self.scheme, what }
    }

    pub(super) fn unsupported(&self, instead: &'static str) -> ShoutrrrError {
        ShoutrrrError::Unsupported { scheme: self.scheme, instead }
    }

    /// The user, decoded; `None` for none or an empty one.
    pub(super) fn user(&self) -> Result<Option<String>, ShoutrrrError> {
        self.decoded(self.user)
    }

    /// The password, decoded; `None` for none or an empty one.
    pub(super) fn password(&self) -> Result<Option<String>, ShoutrrrError> {
        self.decoded(self.password)
    }

    /// What comes after `#`, decoded.
    pub(super) fn fragment(&self) -> Result<Option<String>, ShoutrrrError> {
        self.decoded(self.fragment)
    }

    fn decoded(&self, text: Option<&str>) -> Result<Option<String>, ShoutrrrError> {
        let Some(text) = text.filter(|it| !it.is_empty()) else { return Ok(None) };
        let text = decode(text).ok_or_else(|| self.malformed(NOT_UTF8))?;
        if text.chars().any(char::is_control) {
            return Err(self.malformed(CONTROL));
        }
        Ok(Some(text))
    }

    /// The host, in its own case; `None` for none.
    pub(super) fn host(&self) -> Option<&'a str> {
        Some(self.host).filter(|it| !it.is_empty())
    }

    pub(super) const fn port(&self) -> Option<u16> {
        self.port
    }

    /// `host` or `host:port`.
    pub(super) fn host_port(&self) -> Result<String, ShoutrrrError> {
        let host = self.host().ok_or_else(|| self.missing("the host"))?;
        Ok(match self.port {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        })
    }

    /// The path, not decoded.
    pub(super) const fn path(&self) -> &'a str {
        self.path
    }

    /// The parts of the path, decoded, without empty ones.
    pub(super) fn segments(&self) -> Result<Vec<String>, ShoutrrrError> {
        let parts = self.path.split('/').filter(|it| !it.is_empty());
        let decoded = parts.map(|it| self.decoded(Some(it)).map(Option::unwrap_or_default));
        decoded.collect()
    }

    /// The parameter of this name, in any case; `None` for none or an empty one.
    pub(super) fn parameter(&self, name: &str) -> Result<Option<&str>, ShoutrrrError> {
        let found = self.query.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        match found.map(|(_, value)| value.as_str()).filter(|it| !it.is_empty()) {
            Some(value) if value.chars().any(char::is_control) => Err(self.malformed(CONTROL)),
            found => Ok(found),
        }
    }

    /// The first of these parameters that is there.
    pub(super) fn first(&self, names: &[&str]) -> Result<Option<&str>, ShoutrrrError> {
        let there = names.iter().find(|it| self.has(it));
        there.map_or(Ok(None), |it| self.parameter(it))
    }

    /// Whether there is such a parameter.
    pub(super) fn has(&self, name: &str) -> bool {
        self.query.iter().any(|(key, _)| key.eq_ignore_ascii_case(name))
    }

    /// Whether it says yes; no if it says nothing.
    pub(super) fn says_yes(&self, name: &str) -> Result<bool, ShoutrrrError> {
        const WORDS: &str = "a parameter that is yes or no says something else";
        let value = self.parameter(name)?.map(str::to_ascii_lowercase);
        match value.as_deref() {
            None | Some("no" | "n" | "false" | "0") => Ok(false),
            Some("yes" | "y" | "true" | "1") => Ok(true),
            Some(_) => Err(self.malformed(WORDS)),
        }
    }

    /// `https`, unless `disabletls` says otherwise.
    pub(super) fn web_scheme(&self) -> Result<&'static str, ShoutrrrError> {
        Ok(if self.says_yes("disabletls")? { "http" } else { "https" })
    }

    /// `Authorization: Basic` of user and password, if there is a user (RFC 7617).
    pub(super) fn basic(&self) -> Result<Option<(String, Secret)>, ShoutrrrError> {
        let Some(user) = self.user()? else { return Ok(None) };
        let password = self.password()?.unwrap_or_default();
        let encoded = base64(format!("{user}:{password}").as_bytes());
        Ok(Some(("Authorization".into(), Secret::new(format!("Basic {encoded}")))))
    }
}

const NOT_UTF8: &str = "a part is percent-encoded and no UTF-8";
const CONTROL: &str = "a part has a control character in it";

fn split(text: &str, at: char) -> (&str, Option<&str>) {
    match text.split_once(at) {
        Some((before, after)) => (before, Some(after)),
        None => (text, None),
    }
}

/// A name, an address of version 4, one of version 6 in brackets, or none.
fn is_host(host: &str) -> bool {
    let inner = host.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
    match inner {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            host.len() <= 253
                && host.bytes().all(|it| it.is_ascii_alphanumeric() || b"-._".contains(&it))
        }
    }
}

/// The pairs of a query, as a form of a web page encodes them; `None` if one is no UTF-8.
fn pairs(query: &str) -> Option<Vec<(String, String)>> {
    let pairs = query.split('&').filter(|it| !it.is_empty());
    let decoded = pairs.map(|pair| {
        let (name, value) = split(pair, '=');
        let plain = |text: &str| decode(&text.replace('+', " "));
        Some((plain(name)?, plain(value.unwrap_or_default())?))
    });
    decoded.collect()
}

/// Undoes percent-encoding; a `%` without two digits after it is one. `None` if it is no UTF-8.
pub(super) fn decode(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|it| u8::try_from(it).ok());
        if let (b'%', [high, low, after @ ..]) = (first, after)
            && let (Some(high), Some(low)) = (digit(*high), digit(*low))
        {
            out.push(high << 4 | low);
            rest = after;
        } else {
            out.push(*first);
        }
    }
    String::from_utf8(out).ok()
}

/// Base64 with padding (RFC 4648, 4).
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let number =
            (0..3).fold(0_usize, |it, at| it << 8 | usize::from(*chunk.get(at).unwrap_or(&0)));
        for place in 0..4 {
            let letter =
                ALPHABET.get(number >> (18 - 6 * place) & 63).filter(|_| place <= chunk.len());
            out.push(letter.copied().map_or('=', char::from));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_the_rfc() {
        for (text, encoded) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")]
        {
            assert_eq!(base64(text.as_bytes()), encoded);
        }
        assert_eq!(base64(&[0xfb, 0xff, 0xfe]), "+//+");
    }

    #[test]
    fn parts_are_found_and_decoded() {
        let address =
            Address::parse("x", "a%40b:p%3a:w@[::1]:8080/p%2Fq//r?K=v+w%26&k2#f").unwrap();
        assert_eq!(address.user(), Ok(Some("a@b".into())));
        assert_eq!(address.password(), Ok(Some("p::w".into())));
        assert_eq!(address.host_port(), Ok("[::1]:8080".into()));
        assert_eq!(address.segments(), Ok(vec!["p/q".into(), "r".into()]));
        assert_eq!(address.parameter("k"), Ok(Some("v w&")));
        assert_eq!(address.parameter("k2"), Ok(None));
        assert_eq!(address.fragment(), Ok(Some("f".into())));
        assert_eq!(decode("100%,%zz%4"), Some("100%,%zz%4".into()));
        assert_eq!(decode("%ff"), None);
    }
}

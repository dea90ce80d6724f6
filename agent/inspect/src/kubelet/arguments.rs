//! The kubelet's command line, by the grammar of its flag library (pflag).
//!
//! `--f=v`; `--f v` for all but booleans, whatever `v` looks like; bare `--f` of a boolean is
//! true; `_` in a name equals `-`; `--` ends the flags. What remains is a stray argument, which
//! the kubelet refuses. Does not judge values: see [`super::value`].

use palisade_report::Why;
use palisade_report::WhyKind;

use super::flags::Takes;
use super::flags::takes;

/// Most arguments that are looked at; real command lines have fewer than 100.
pub const MAX_ARGUMENTS: usize = 1024;

/// A command line, taken apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommandLine {
    /// The flags in the order given.
    pub flags: Vec<Flag>,
    /// What the kubelet would refuse about it.
    pub refused: Vec<Why>,
    /// The arguments as they may be shown: what identifies a node or looks like a secret is `*`.
    pub shown: Vec<String>,
}

/// One occurrence of a flag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flag {
    /// Its long name without dashes, with `-` for `_`.
    pub name: String,
    /// Its value; `true` for a boolean without one.
    pub value: String,
}

impl CommandLine {
    /// The value that counts for a flag of which the last occurrence wins.
    #[must_use]
    pub fn last(&self, name: &str) -> Option<&str> {
        self.flags.iter().rev().find(|flag| flag.name == name).map(|flag| flag.value.as_str())
    }

    /// All values of a flag, in order.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.flags.iter().filter(move |flag| flag.name == name).map(|flag| flag.value.as_str())
    }
}

/// Takes the bytes of `/proc/PID/cmdline` of a kubelet apart, program name included.
#[must_use]
pub fn parse_cmdline(bytes: &[u8]) -> CommandLine {
    let bytes = bytes.strip_suffix(b"\0").unwrap_or(bytes);
    let words = bytes.split(|byte| *byte == 0).skip(1).take(MAX_ARGUMENTS.saturating_add(1));
    let words: Vec<_> = words.map(|word| String::from_utf8_lossy(word).into_owned()).collect();
    parse(&words)
}

/// Takes the arguments of a kubelet apart, the program's name not among them.
#[must_use]
pub fn parse(arguments: &[String]) -> CommandLine {
    let mut line = CommandLine::default();
    let mut words = arguments.get(..MAX_ARGUMENTS).unwrap_or(arguments).iter();
    if arguments.len() > MAX_ARGUMENTS {
        let detail = format!("more than {MAX_ARGUMENTS} arguments; the rest is not looked at");
        line.refused.push(Why::new(WhyKind::TooLarge, detail));
    }
    while let Some(word) = words.next() {
        let Some((dashes, body)) = dashes(word) else {
            line.stray(word);
            continue;
        };
        if body.is_empty() {
            // `--` ends the flags; a lone `-` is an argument like any other.
            if dashes == "--" {
                line.shown.push(word.clone());
                words.by_ref().for_each(|word| line.stray(word));
            } else {
                line.stray(word);
            }
            continue;
        }
        let (name, value) = match body.split_once('=') {
            Some((name, value)) => (normal(name), Some(value)),
            // The only short flag is `-v`, whose value may follow at once: `-v2`.
            None if dashes == "-" && body.len() > 1 && body.starts_with('v') => {
                ("v".to_owned(), body.strip_prefix('v'))
            }
            None => (normal(body), None),
        };
        if let Some(value) = value {
            line.shown.push(format!("{dashes}{name}={}", show(&name, value)));
            line.flags.push(Flag { name, value: value.to_owned() });
            continue;
        }
        line.shown.push(format!("{dashes}{name}"));
        let wants_value = match takes(&name) {
            Some(Takes::Switch) => false,
            Some(Takes::Value) => true,
            // A flag of another version: a value is what does not look like a flag.
            None => words.as_slice().first().is_some_and(|next| !next.starts_with('-')),
        };
        if !wants_value {
            line.flags.push(Flag { name, value: "true".to_owned() });
            continue;
        }
        match words.next() {
            Some(value) => {
                line.shown.push(show(&name, value));
                line.flags.push(Flag { name, value: value.clone() });
            }
            None => {
                let detail = format!("flag --{name} needs a value and is the last argument");
                line.refused.push(Why::new(WhyKind::Malformed, detail));
            }
        }
    }
    line
}

impl CommandLine {
    fn stray(&mut self, word: &str) {
        let detail = format!("stray argument {word:?}: the kubelet takes flags only");
        self.refused.push(Why::new(WhyKind::Malformed, detail));
        self.shown.push(word.to_owned());
    }
}

fn dashes(word: &str) -> Option<(&'static str, &str)> {
    if let Some(body) = word.strip_prefix("--") {
        return Some(("--", body));
    }
    word.strip_prefix('-').map(|body| ("-", body))
}

fn normal(name: &str) -> String {
    name.replace('_', "-")
}

/// Flags whose value identifies one node.
pub(super) const IDENTITY: [&str; 4] = ["hostname-override", "node-ip", "pod-cidr", "provider-id"];

/// The value of a flag as it may be shown in facts that nodes have in common.
pub(super) fn show(name: &str, value: &str) -> String {
    if IDENTITY.contains(&name) || is_secret(name) {
        return "*".to_owned();
    }
    mask_userinfo(value)
}

/// Whether a flag's value may be a secret. Flags that merely name a file of secrets are not.
fn is_secret(name: &str) -> bool {
    let webhook = name.starts_with("authentication-token-webhook");
    let names_a_file = ["file", "dir", "path", "config"].iter().any(|end| name.ends_with(end));
    let suspicious = ["token", "password", "secret", "header", "credential", "key"];
    !webhook && !names_a_file && suspicious.iter().any(|word| name.contains(word))
        || name == "manifest-url-header"
}

/// `https://user:secret@host/` without what stands before the `@`.
pub(super) fn mask_userinfo(value: &str) -> String {
    if let Some((scheme, rest)) = value.split_once("://") {
        let authority = rest.split('/').next().unwrap_or(rest);
        if let Some((userinfo, _)) = authority.rsplit_once('@') {
            let rest = rest.strip_prefix(userinfo).unwrap_or(rest);
            return format!("{scheme}://*{rest}");
        }
    }
    value.to_owned()
}

/// The arguments of a program that contains a kubelet, with names only: its flags are not the
/// kubelet's, and join tokens are among them.
pub(super) fn names_only(arguments: &[String]) -> Vec<String> {
    let mut shown = Vec::new();
    for (index, word) in arguments.iter().take(MAX_ARGUMENTS).enumerate() {
        shown.push(match (dashes(word), word.split_once('=')) {
            (Some(_), Some((name, _))) => format!("{name}=*"),
            (Some(("--", _)), None) => word.clone(),
            (None, _) if index == 0 => word.clone(),
            (Some(_) | None, _) => "*".to_owned(),
        });
    }
    shown
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split(' ').filter(|word| !word.is_empty()).map(str::to_owned).collect()
    }

    #[test]
    fn flags_are_taken_apart_as_pflag_does() {
        for (text, flags, refusals) in [
            ("--config=/k --v=2", "config=/k v=2", 0),
            ("--config /k -v 2", "config=/k v=2", 0),
            ("-v=4 -v2", "v=4 v=2", 0),
            ("--anonymous_auth=false", "anonymous-auth=false", 0),
            ("--anonymous-auth --v 2", "anonymous-auth=true v=2", 0),
            ("--anonymous-auth false", "anonymous-auth=true", 1),
            ("--authorization-mode AlwaysAllow", "authorization-mode=AlwaysAllow", 0),
            ("--config --kubeconfig=/x", "config=--kubeconfig=/x", 0),
            ("--config", "", 1),
            ("--config=", "config=", 0),
            ("--config=/k -- --v=2 x", "config=/k", 2),
            ("run --config=/k", "config=/k", 1),
            ("--pod-max-pids -1", "pod-max-pids=-1", 0),
            ("--from-the-future --v=2", "from-the-future=true v=2", 0),
            ("--from-the-future x", "from-the-future=x", 0),
            ("-", "", 1),
        ] {
            let line = parse(&words(text));
            let seen: Vec<_> =
                line.flags.iter().map(|f| format!("{}={}", f.name, f.value)).collect();
            assert_eq!(seen.join(" "), flags, "{text}");
            assert_eq!(line.refused.len(), refusals, "{text}: {:?}", line.refused);
        }
        assert_eq!(parse(&words("--v=1 --v=3")).last("v"), Some("3"));
        assert_eq!(parse_cmdline(b"/usr/bin/kubelet\0--v\x003\0").last("v"), Some("3"));
    }

    #[test]
    fn secrets_and_identities_are_not_shown() {
        let line = "--node-ip=10.0.0.1 --hostname-override n1 --bootstrap-token=abc --config=/k \
                    --manifest-url=https://u:p@h/x --manifest-url-header A:b \
                    --tls-private-key-file=/key --authentication-token-webhook";
        let shown = parse(&words(line)).shown.join(" ");
        assert_eq!(
            shown,
            "--node-ip=* --hostname-override * --bootstrap-token=* --config=/k \
             --manifest-url=https://*@h/x --manifest-url-header * \
             --tls-private-key-file=/key --authentication-token-webhook"
        );
        let k3s = names_only(&words("server --token abc -t=abc -tabc --node-name=n --x y"));
        assert_eq!(k3s.join(" "), "server --token * -t=* * --node-name=* --x *");
    }

    proptest! {
        #[test]
        fn any_arguments_are_taken_apart(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let line = parse_cmdline(&bytes);
            prop_assert!(line.flags.len() <= MAX_ARGUMENTS);
        }

        #[test]
        fn arguments_like_flags_are_taken_apart(
            words in proptest::collection::vec("-{0,3}[a-z_=\u{e9} ]{0,6}", 0..12)
        ) {
            let line = parse(&words);
            prop_assert!(line.flags.len() + line.refused.len() <= words.len());
        }
    }
}

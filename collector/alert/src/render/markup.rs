//! What is markup where, and how a character is kept from being it.

/// The markup of a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Markup {
    /// The Markdown of Adaptive Cards; renderers decode entities, and some know HTML.
    Card,
    /// Discord's Markdown.
    Discord,
    /// Mattermost's Markdown, in which `@channel` calls everybody.
    Mattermost,
    /// None: encoded as JSON, or a mail. Names are no mentions there.
    Plain,
    /// None, but `@name` calls somebody (Telegram).
    PlainChat,
    /// What simple services make of plain text, each something else, and most know no escape: `@name` calls
    /// somebody (Zulip, Rocket.Chat), `<users/all>` calls all and `<address|text>` is a link (Google
    /// Chat), so is `[text](address)`, and `![]()` loads a picture (Zulip, Rocket.Chat); `*` and `~` put
    /// words in bold or strike them out. `_` and the backtick are left, for names and commands are full
    /// of them: all they do is slant words, or show them as code.
    SimpleChat,
    /// Slack's mrkdwn: `&`, `<` and `>` are all that can start something.
    Slack,
}

/// Reads like `@`, and calls nobody.
const HARMLESS_AT: char = '＠';

/// What starts markup in some simple chat, and what reads like it and starts none: the same sign in full
/// width (Unicode, Halfwidth and Fullwidth Forms).
const HARMLESS: [(char, char); 7] = [
    ('@', HARMLESS_AT),
    ('<', '＜'),
    ('>', '＞'),
    ('[', '［'),
    (']', '］'),
    ('*', '＊'),
    ('~', '～'),
];

impl Markup {
    /// Appends `character` so that it means itself.
    pub(super) fn escape(self, character: char, out: &mut String) {
        let slashed = |special: &str, out: &mut String| {
            if special.contains(character) {
                out.push('\\');
            }
            out.push(character);
        };
        match (self, character) {
            (Self::Mattermost | Self::PlainChat, '@') => out.push(HARMLESS_AT),
            (Self::SimpleChat, _) => {
                let harmless = HARMLESS.iter().find(|(it, _)| *it == character);
                out.push(harmless.map_or(character, |(_, harmless)| *harmless));
            }
            (Self::Slack | Self::Card, '&') => out.push_str("&amp;"),
            (Self::Slack | Self::Card, '<') => out.push_str("&lt;"),
            (Self::Slack | Self::Card, '>') => out.push_str("&gt;"),
            (Self::Card, _) => slashed(r"\`*_[]~#|", out),
            (Self::Discord, _) => slashed(r"\`*_[]~#|<>@", out),
            (Self::Mattermost, _) => slashed(r"\`*_[]~#|<>", out),
            (Self::Plain | Self::PlainChat | Self::Slack, _) => out.push(character),
        }
    }

    /// Appends `character` of an address, in which a backslash would be part of the address. Those
    /// that start markup are percent-encoded there already.
    pub(super) fn escape_in_address(self, character: char, out: &mut String) {
        match (self, character) {
            (Self::Card | Self::Slack, '&') => out.push_str("&amp;"),
            (_, _) => out.push(character),
        }
    }

    /// What stands around words in bold.
    pub(super) const fn bold(self) -> &'static str {
        match self {
            Self::Card | Self::Discord | Self::Mattermost => "**",
            Self::Plain | Self::PlainChat | Self::SimpleChat => "",
            Self::Slack => "*",
        }
    }
}

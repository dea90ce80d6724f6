//! Text that is put together from our words and foreign ones, within a bound.

use palisade_report::bound::clean;

use super::markup::Markup;

/// A text that grows up to `max` bytes and then ends in `…`. An escaped character is never cut.
#[derive(Debug)]
pub(super) struct Line {
    text: String,
    max: usize,
    markup: Markup,
    full: bool,
    one_line: bool,
}

impl Line {
    pub(super) fn new(markup: Markup, max: usize) -> Self {
        Self { text: String::new(), max, markup, full: false, one_line: false }
    }

    /// Line feeds, which only a user's template can have, become spaces.
    pub(super) fn one_line(self) -> Self {
        Self { one_line: true, ..self }
    }

    /// Our words, or those of a user's template: as they are.
    pub(super) fn raw(mut self, text: &str) -> Self {
        let mut buffer = [0; 4];
        for character in text.chars() {
            let is_feed = self.one_line && matches!(character, '\n' | '\t');
            let character = if is_feed { ' ' } else { character };
            self.push(character.encode_utf8(&mut buffer));
        }
        self
    }

    /// An address: as a whole or not at all, for half of one leads nowhere.
    pub(super) fn address(mut self, address: &str) -> Self {
        let mut escaped = String::with_capacity(address.len());
        for character in address.chars() {
            self.markup.escape_in_address(character, &mut escaped);
        }
        self.push(&escaped);
        self
    }

    /// Foreign words: made safe to show, escaped, and at most `max` bytes.
    pub(super) fn value(mut self, text: &str, max: usize) -> Self {
        let mut own = 0;
        let mut escaped = String::new();
        for character in clean(text.as_bytes(), max).chars() {
            escaped.clear();
            self.markup.escape(character, &mut escaped);
            own += escaped.len();
            if own > max {
                self.push("…");
                break;
            }
            self.push(&escaped);
        }
        self
    }

    /// Our words in bold around foreign ones.
    pub(super) fn bold(self, inner: impl FnOnce(Self) -> Self) -> Self {
        let mark = self.markup.bold();
        if mark.is_empty() {
            return inner(self);
        }
        // The closing mark has its room before anything else takes it.
        let (text, max) = (self.text, self.max);
        let within = max.saturating_sub(2 * mark.len() + text.len());
        let filled = inner(Self { text: String::new(), max: within, ..self });
        if filled.text.is_empty() {
            return Self { text, max, ..filled };
        }
        Self { text: format!("{text}{mark}{}{mark}", filled.text), max, ..filled }
    }

    pub(super) fn end(self) -> String {
        self.text
    }

    fn push(&mut self, atom: &str) {
        if self.full {
            return;
        }
        if self.text.len() + atom.len() + '…'.len_utf8() <= self.max {
            self.text.push_str(atom);
        } else {
            self.full = true;
            if self.text.len() + '…'.len_utf8() <= self.max {
                self.text.push('…');
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_ends_in_dots_and_no_escape_is_cut() {
        for max in 0..40 {
            let text = Line::new(Markup::Slack, max).raw("ab ").value("<<<<<<<<", 100).end();
            assert!(text.len() <= max, "{max}: {text}");
            assert!(text.matches('&').count() == text.matches("&lt;").count(), "{max}: {text}");
            assert_eq!(text.ends_with('…'), (3..38).contains(&max), "{max}: {text}");
        }
    }

    #[test]
    fn a_value_is_escaped_and_our_words_are_not() {
        let text = Line::new(Markup::Card, 200).bold(|it| it.raw("<b>").value("a*<b>\u{202e}", 50));
        assert_eq!(text.end(), "**<b>a\\*&lt;b&gt;\\\\u{202e}**");
        assert_eq!(Line::new(Markup::Card, 20).value("********", 6).end(), "\\*\\*\\*…");
        assert_eq!(Line::new(Markup::PlainChat, 20).value("@all", 20).end(), "＠all");
        // Google Chat calls everybody by the one and makes a link of the next, Zulip of the last.
        for (hostile, harmless) in [
            ("<users/all>", "＜users/all＞"),
            ("<https://e.example|log in>", "＜https://e.example|log in＞"),
            ("![log in](https://e.example)", "!［log in］(https://e.example)"),
            ("~gone~ *loud* `a_b`", "～gone～ ＊loud＊ `a_b`"),
        ] {
            assert_eq!(Line::new(Markup::SimpleChat, 80).value(hostile, 80).end(), harmless);
        }
    }
}

//! Text for people: lines of at most 80 columns, colour where it may be.

use palisade_rules::Severity;

/// Columns of a line. Words that are longer (paths) stand alone and whole: nothing is cut.
const WIDTH: usize = 80;

/// Text that grows line by line.
#[derive(Debug)]
pub(super) struct Page {
    text: String,
    colour: bool,
}

/// A colour, by what it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Paint {
    Alarm,
    Good,
    Plain,
    Quiet,
    Strong,
    Warning,
}

impl Page {
    pub(super) const fn new(colour: bool) -> Self {
        Self { text: String::new(), colour }
    }

    pub(super) fn into_text(self) -> String {
        self.text
    }

    /// An empty line.
    pub(super) fn gap(&mut self) {
        self.text.push('\n');
    }

    /// A label and words beside it, wrapped under the words' beginning.
    pub(super) fn line(
        &mut self,
        indent: usize,
        label: &str,
        paint: Paint,
        column: usize,
        words: &str,
    ) {
        let start = indent.saturating_add(label.chars().count());
        self.text.push_str(&" ".repeat(indent));
        self.paint(label, paint);
        let mut at = start;
        let column = column.max(indent);
        for paragraph in words.lines() {
            for word in paragraph.split_whitespace() {
                let length = word.chars().count();
                if at > start.max(column) && at.saturating_add(1 + length) > WIDTH {
                    self.text.push('\n');
                    at = 0;
                }
                let space = if at < column { column - at } else { usize::from(at > column) };
                self.text.push_str(&" ".repeat(space));
                self.text.push_str(word);
                at = at.saturating_add(space).saturating_add(length);
            }
        }
        self.text.push('\n');
    }

    fn paint(&mut self, words: &str, paint: Paint) {
        let code = match paint {
            Paint::Alarm => "1;31",
            Paint::Good => "32",
            Paint::Plain => "",
            Paint::Quiet => "2",
            Paint::Strong => "1",
            Paint::Warning => "33",
        };
        if !self.colour || code.is_empty() || words.is_empty() {
            self.text.push_str(words);
            return;
        }
        self.text.push_str("\u{1b}[");
        self.text.push_str(code);
        self.text.push('m');
        self.text.push_str(words);
        self.text.push_str("\u{1b}[0m");
    }
}

/// A severity in at most four letters.
pub(super) const fn short(severity: Severity) -> (&'static str, Paint) {
    match severity {
        Severity::Critical => ("CRIT", Paint::Alarm),
        Severity::High => ("HIGH", Paint::Alarm),
        Severity::Medium => ("MED", Paint::Warning),
        Severity::Low => ("LOW", Paint::Plain),
        Severity::Info => ("INFO", Paint::Quiet),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_wrap_under_their_beginning_and_lose_nothing() {
        let mut page = Page::new(false);
        let words = "word ".repeat(40);
        page.line(2, "fix:", Paint::Quiet, 8, &words);
        let text = page.into_text();
        assert!(text.starts_with("  fix:  word word"), "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH), "{text}");
        assert!(text.lines().skip(1).all(|line| line.starts_with("        word")), "{text}");
        assert_eq!(text.matches("word").count(), 40);
    }

    #[test]
    fn a_long_path_stays_whole() {
        let mut page = Page::new(false);
        let path = format!("/{}", "x".repeat(200));
        page.line(0, "", Paint::Plain, 4, &format!("a {path} b"));
        assert!(page.into_text().contains(&path));
    }

    #[test]
    fn colour_is_used_only_where_it_is_asked_for() {
        for (colour, escapes) in [(false, 0), (true, 2)] {
            let mut page = Page::new(colour);
            page.line(0, "HIGH", Paint::Alarm, 6, "x");
            assert_eq!(page.into_text().matches('\u{1b}').count(), escapes);
        }
    }
}

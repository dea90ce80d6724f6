//! Text for people: lines of at most 80 columns, colour where it may be.

use crate::finding::Severity;

/// Columns of a line. Words that are longer (paths) stand alone and whole: nothing is cut.
const WIDTH: usize = 80;

/// Text that grows line by line.
#[derive(Debug)]
pub struct Page {
    text: String,
    colours: Colours,
}

/// Whether a page may be coloured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colours {
    /// Escape sequences of ECMA-48, for terminals.
    Ansi,
    /// Plain text, for files, pipes and the API.
    None,
}

/// A colour, by what it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paint {
    /// Something is open now.
    Alarm,
    /// All is well.
    Good,
    /// No colour.
    Plain,
    /// Of less interest.
    Quiet,
    /// What leads the eye.
    Strong,
    /// A barrier is weak, or nobody can tell.
    Warning,
}

impl Page {
    /// An empty page.
    #[must_use]
    pub const fn new(colours: Colours) -> Self {
        Self { text: String::new(), colours }
    }

    /// The text, every line ended.
    #[must_use]
    pub fn into_text(self) -> String {
        self.text
    }

    /// An empty line.
    pub fn gap(&mut self) {
        self.text.push('\n');
    }

    /// A label, painted, and words beside it, wrapped under the words' beginning. `indent` and
    /// `column` are where label and words begin; a label that is too long pushes its first line.
    pub fn line(&mut self, indent: usize, label: &str, paint: Paint, column: usize, words: &str) {
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
        if self.colours == Colours::None || code.is_empty() || words.is_empty() {
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

/// A severity in at most four letters, and its colour.
#[must_use]
pub const fn short(severity: Severity) -> (&'static str, Paint) {
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
        let mut page = Page::new(Colours::None);
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
        let mut page = Page::new(Colours::None);
        let path = format!("/{}", "x".repeat(200));
        page.line(0, "", Paint::Plain, 4, &format!("a {path} b"));
        assert!(page.into_text().contains(&path));
    }

    #[test]
    fn colour_is_used_only_where_it_is_asked_for() {
        for (colours, escapes) in [(Colours::None, 0), (Colours::Ansi, 2)] {
            let mut page = Page::new(colours);
            page.line(0, "HIGH", Paint::Alarm, 6, "x");
            assert_eq!(page.into_text().matches('\u{1b}').count(), escapes);
        }
    }
}

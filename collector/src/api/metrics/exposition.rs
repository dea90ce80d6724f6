//! OpenMetrics text of families that may have many series, or none.
//!
//! A family is described even while nothing is in it: whoever writes a rule or a panel sees that it
//! exists, and "no series" is told from "no such figure".

use std::fmt::Write as _;

/// The last line of an OpenMetrics text.
const END: &str = "# EOF\n";

/// What the values of a family are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// They grow. Its samples bear `_total` after their name.
    Counter,
    /// They come and go.
    Gauge,
}

/// The text, while it is written.
#[derive(Debug, Default)]
pub struct Exposition {
    text: String,
}

impl Exposition {
    /// Goes on after a text that another writer ended.
    #[must_use]
    pub fn after(mut text: String) -> Self {
        if text.ends_with(END) {
            text.truncate(text.len().saturating_sub(END.len()));
        }
        Self { text }
    }

    /// Describes a family, whose samples follow. Shape: a counter is named without `_total`; `help`
    /// is one line.
    pub fn family(&mut self, name: &'static str, shape: Shape, help: &str) -> Samples<'_> {
        let (kind, suffix) = match shape {
            Shape::Counter => ("counter", "_total"),
            Shape::Gauge => ("gauge", ""),
        };
        self.push(format_args!("# HELP {name} {help}.\n# TYPE {name} {kind}\n"));
        Samples { exposition: self, name, suffix }
    }

    /// The whole text.
    #[must_use]
    pub fn into_text(mut self) -> String {
        self.text.push_str(END);
        self.text
    }

    fn push(&mut self, line: std::fmt::Arguments<'_>) {
        let written = self.text.write_fmt(line);
        debug_assert!(written.is_ok(), "a String takes whatever is written");
    }
}

/// Where the samples of one family go.
#[derive(Debug)]
pub struct Samples<'a> {
    exposition: &'a mut Exposition,
    name: &'static str,
    suffix: &'static str,
}

impl Samples<'_> {
    /// One sample. Each set of labels may be there once.
    pub fn set(&mut self, labels: &Labels, value: i64) {
        let Self { exposition, name, suffix } = self;
        let (open, close) = if labels.0.is_empty() { ("", "") } else { ("{", "}") };
        exposition.push(format_args!("{name}{suffix}{open}{}{close} {value}\n", labels.0));
    }

    /// The same for a count.
    pub fn count(&mut self, labels: &Labels, value: u64) {
        self.set(labels, i64::try_from(value).unwrap_or(i64::MAX));
    }
}

/// Labels of a sample, written. Those without a value are left out, which means the same.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Labels(String);

impl Labels {
    /// One label more. `name` is a label's name; `value` may be anything.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        if value.is_empty() {
            return self;
        }
        if !self.0.is_empty() {
            self.0.push(',');
        }
        self.0.push_str(name);
        self.0.push_str("=\"");
        for character in value.chars() {
            match character {
                '\\' => self.0.push_str("\\\\"),
                '"' => self.0.push_str("\\\""),
                '\n' => self.0.push_str("\\n"),
                _ => self.0.push(character),
            }
        }
        self.0.push('"');
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_without_series_is_described() {
        let mut text = Exposition::after("# HELP a A.\n# TYPE a gauge\na 1\n# EOF\n".to_owned());
        text.family("b", Shape::Gauge, "Nothing yet");
        text.family("c", Shape::Counter, "Some").count(&Labels::default(), u64::MAX);
        let expected = "# HELP a A.\n# TYPE a gauge\na 1\n# HELP b Nothing yet.\n# TYPE b gauge\n\
                        # HELP c Some.\n# TYPE c counter\nc_total 9223372036854775807\n# EOF\n";
        assert_eq!(text.into_text(), expected);
    }

    #[test]
    fn no_value_of_a_label_ends_it_early() {
        let labels = Labels::default().with("a", "x\"} 1\nb \\").with("none", "").with("c", "ä{,=");
        let mut text = Exposition::default();
        text.family("f", Shape::Gauge, "F").set(&labels, -1);
        let text = text.into_text();
        let sample = text.lines().nth(2).unwrap();
        assert_eq!(sample, r#"f{a="x\"} 1\nb \\",c="ä{,="} -1"#);
    }
}

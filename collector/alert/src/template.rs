//! Words that users want in messages instead of ours: text with `{placeholder}`s.
//!
//! What users write is theirs and goes out as it is, markup of the target included: `<!here>` before a
//! title calls the channel because somebody wrote it there. What fills a placeholder comes from nodes
//! and tenants; it is bounded and escaped for the target, and calls nobody.

use std::fmt;

/// Bytes of a template. More is a document, and no target would take it.
pub const MAX_TEMPLATE: usize = 4096;

/// The templates of a receiver. `None`: our own words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Templates {
    /// Of the title, the subject, the summary. Ends up in one line.
    pub title: Option<Template>,
    /// Of the message, once for each alert that it has room for.
    pub message: Option<Template>,
}

/// A text with placeholders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(Vec<Piece>);

/// Part of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// As the user wrote it.
    Text(String),
    /// Filled from the alert.
    Value(Placeholder),
}

/// What a template can be filled with.
///
/// In a title, whatever is of one alert only is that which all alerts of the message share, else
/// `several`, or nothing if none has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placeholder {
    /// What a person should do.
    Action,
    /// The name: `RebootOverdue`.
    Alert,
    /// The cluster.
    Cluster,
    /// Alerts that fire, or, if none does, that ended: `3`.
    Count,
    /// Why it matters.
    Description,
    /// Where it is explained.
    Link,
    /// The namespace whose owner can mend it.
    Namespace,
    /// The node.
    Node,
    /// Nodes that the alerts which fire are about: `3`.
    Nodes,
    /// The pool.
    Pool,
    /// `critical`, `warning`, `info`, `none`.
    Severity,
    /// `2026-11-23 02:10 UTC`.
    Since,
    /// `firing` or `resolved`.
    Status,
    /// What within the node.
    Subject,
    /// Subject and fact in a line.
    Summary,
}

impl Placeholder {
    /// All, in the order of their names.
    pub const ALL: [Self; 15] = [
        Self::Action,
        Self::Alert,
        Self::Cluster,
        Self::Count,
        Self::Description,
        Self::Link,
        Self::Namespace,
        Self::Node,
        Self::Nodes,
        Self::Pool,
        Self::Severity,
        Self::Since,
        Self::Status,
        Self::Subject,
        Self::Summary,
    ];

    /// The word between the braces.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Action => "action",
            Self::Alert => "alert",
            Self::Cluster => "cluster",
            Self::Count => "count",
            Self::Description => "description",
            Self::Link => "link",
            Self::Namespace => "namespace",
            Self::Node => "node",
            Self::Nodes => "nodes",
            Self::Pool => "pool",
            Self::Severity => "severity",
            Self::Since => "since",
            Self::Status => "status",
            Self::Subject => "subject",
            Self::Summary => "summary",
        }
    }
}

impl fmt::Display for Placeholder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The text is no template. Columns count characters, from 1. At fault: the user.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// A control character other than a line feed or tab.
    #[error("column {column}: a control character")]
    Control {
        /// Where.
        column: usize,
    },
    /// There is nothing in it.
    #[error("the template is empty")]
    Empty,
    /// Longer than [`MAX_TEMPLATE`].
    #[error("the template has more than {MAX_TEMPLATE} bytes")]
    TooLong,
    /// A brace that opens nothing or closes nothing.
    #[error("column {column}: a single brace; a brace itself is written twice")]
    Unbalanced {
        /// Where.
        column: usize,
    },
    /// There is no such placeholder.
    #[error("column {column}: there is no {{{name}}}; there are {}", names())]
    Unknown {
        /// Where.
        column: usize,
        /// What it says, bounded and safe to show.
        name: String,
    },
}

fn names() -> String {
    Placeholder::ALL.map(Placeholder::as_str).join(", ")
}

impl Template {
    /// Reads a template; `{{` and `}}` are braces themselves.
    ///
    /// # Errors
    /// [`TemplateError`] with the column at which it is wrong.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        if text.is_empty() {
            return Err(TemplateError::Empty);
        }
        if text.len() > MAX_TEMPLATE {
            return Err(TemplateError::TooLong);
        }
        let mut pieces = Vec::new();
        let mut literal = String::new();
        let mut rest = text.chars().zip(1..).peekable();
        while let Some((character, column)) = rest.next() {
            match character {
                '{' | '}' if rest.next_if(|(next, _)| *next == character).is_some() => {
                    literal.push(character);
                }
                '}' => return Err(TemplateError::Unbalanced { column }),
                '{' => {
                    let mut name = String::new();
                    loop {
                        match rest.next() {
                            Some(('}', _)) => break,
                            Some(('{', _)) | None => {
                                return Err(TemplateError::Unbalanced { column });
                            }
                            Some((other, _)) => name.push(other),
                        }
                    }
                    let known = Placeholder::ALL.into_iter().find(|it| it.as_str() == name);
                    let Some(placeholder) = known else {
                        let name = palisade_report::bound::clean(name.as_bytes(), 40);
                        return Err(TemplateError::Unknown { column, name });
                    };
                    if !literal.is_empty() {
                        pieces.push(Piece::Text(std::mem::take(&mut literal)));
                    }
                    pieces.push(Piece::Value(placeholder));
                }
                '\n' | '\t' => literal.push(character),
                other if other.is_control() => return Err(TemplateError::Control { column }),
                other => literal.push(other),
            }
        }
        if !literal.is_empty() {
            pieces.push(Piece::Text(literal));
        }
        Ok(Self(pieces))
    }

    /// Its parts, in order.
    pub(crate) fn pieces(&self) -> &[Piece] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_placeholder_is_read_and_doubled_braces_are_braces() {
        for placeholder in Placeholder::ALL {
            let template = Template::parse(&format!("a{{{placeholder}}}{{{{b}}}}")).unwrap();
            let [Piece::Text(before), Piece::Value(value), Piece::Text(after)] = template.pieces()
            else {
                panic!("{template:?}");
            };
            assert_eq!((&**before, *value, &**after), ("a", placeholder, "{b}"));
        }
    }

    #[test]
    fn what_is_wrong_is_told_with_its_column() {
        let name = "nod".to_owned();
        for (text, error) in [
            ("", TemplateError::Empty),
            ("é {nod}", TemplateError::Unknown { column: 3, name }),
            ("{node", TemplateError::Unbalanced { column: 1 }),
            ("ab}", TemplateError::Unbalanced { column: 3 }),
            ("a{no{de}", TemplateError::Unbalanced { column: 2 }),
            ("ab\u{1b}[2J", TemplateError::Control { column: 3 }),
            ("a\rb", TemplateError::Control { column: 2 }),
        ] {
            assert_eq!(Template::parse(text), Err(error), "{text:?}");
        }
        assert_eq!(Template::parse(&"x".repeat(MAX_TEMPLATE + 1)), Err(TemplateError::TooLong));
        let told = Template::parse("{nod}").unwrap_err().to_string();
        assert!(
            told.starts_with("column 1: there is no {nod}; there are action, alert,"),
            "{told}"
        );
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,60}|[{}a-z\n\r]{0,40}|(?s).{0,40}") {
            if let Err(error) = Template::parse(&text) {
                prop_assert!(error.to_string().len() < 400);
            }
        }
    }
}

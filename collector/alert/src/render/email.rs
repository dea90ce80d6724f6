//! A mail: a subject in one line, plain text, one thread for each group.

use palisade_report::Digest;

use super::Size;
use super::address::key;
use super::fit::fit;
use super::fit::limit;
use super::line::Line;
use super::markup::Markup;
use super::words::Words;
use crate::notice::Notice;
use crate::outgoing::Email;
use crate::template::Templates;

/// Bytes of the text. Mails are not short of room; people are short of time.
const MAX_TEXT: usize = 64 * 1024;

/// Bytes of the subject: lists of mails show less.
const MAX_SUBJECT: usize = 200;

pub(super) fn email(
    from: &str,
    to: &[String],
    notice: &Notice,
    templates: &Templates,
    size: Size,
) -> Option<Email> {
    let max = limit(size, MAX_TEXT);
    fit(size, |level| {
        let words = Words::of(notice, templates, Markup::Plain, level);
        let text = format!("{}\n", words.titled_text(""));
        let email = Email {
            to: to.to_vec(),
            from: from.into(),
            // The title has no control character; there is nothing that a header could end with.
            subject: Line::new(Markup::Plain, MAX_SUBJECT).one_line().raw(&words.title).end(),
            thread: format!("{}@palisade", Digest::of(key(notice).as_bytes()).short()),
            text,
        };
        Some(email).filter(|it| it.text.len() <= max)
    })
}

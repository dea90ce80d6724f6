//! A mail as it goes over the line. Nothing that comes from elsewhere can end a header or the mail.

use std::time::Duration;
use std::time::UNIX_EPOCH;

use lettre::Address;
use lettre::Message;
use lettre::message::Mailbox;
use lettre::message::header::ContentType;
use lettre::message::header::HeaderName;
use lettre::message::header::HeaderValue;
use palisade_alert::outgoing::Email;
use palisade_report::Moment;
use palisade_report::bound::clean;
use ring::rand::SecureRandom as _;
use ring::rand::SystemRandom;

use super::MailError;

/// Bytes of a subject.
const MAX_SUBJECT: usize = 250;

/// Bytes of a text.
const MAX_MAIL: usize = 256 * 1024;

/// Recipients of one mail; servers take at least 100 (RFC 5321, 4.5.3.1.8).
const MAX_RECIPIENTS: usize = 100;

/// Bytes of the name of a thread.
const MAX_THREAD: usize = 128;

/// A mail with its envelope.
pub(super) struct Letter {
    pub(super) from: Address,
    pub(super) to: Vec<Address>,
    pub(super) bytes: Vec<u8>,
}

impl Letter {
    /// Writes `mail`, dated `now`, under a name of its own.
    pub(super) fn of(mail: &Email, now: Moment) -> Result<Self, MailError> {
        let Email { to, from, subject, thread, text } = mail;
        let failed = |why: String| MailError::Build { why: clean(why.as_bytes(), 200) };
        if to.is_empty() || to.len() > MAX_RECIPIENTS {
            return Err(failed(format!("expected 1 to {MAX_RECIPIENTS} recipients")));
        }
        let from = mailbox(from)?;
        let to = to.iter().map(|it| mailbox(it)).collect::<Result<Vec<_>, _>>()?;
        let mut chance = [0; 12];
        SystemRandom::new().fill(&mut chance).map_err(|_| failed("no chance".to_owned()))?;
        let own: String = chance.iter().map(|byte| format!("{byte:02x}")).collect();
        let domain = from.email.domain();
        let thread = thread_id(thread, domain);
        let date = u64::try_from(now.unix()).unwrap_or_default();
        let automatic = HeaderName::new_from_ascii_str("Auto-Submitted");
        let mut message = Message::builder()
            .from(from.clone())
            .date(UNIX_EPOCH + Duration::from_secs(date))
            .subject(clean(subject.as_bytes(), MAX_SUBJECT))
            .message_id(Some(format!("<{own}@{domain}>")))
            .in_reply_to(thread.clone())
            .references(thread)
            // Nobody's holiday note is wanted in answer (RFC 3834).
            .raw_header(HeaderValue::new(automatic, "auto-generated".to_owned()))
            .header(ContentType::TEXT_PLAIN);
        for recipient in &to {
            message = message.to(recipient.clone());
        }
        let message = message.body(lines(text)).map_err(|error| failed(error.to_string()))?;
        let to = to.into_iter().map(|it| it.email).collect();
        Ok(Self { from: from.email, to, bytes: message.formatted() })
    }
}

/// `name@host`, or a name for people and that in angle brackets.
fn mailbox(text: &str) -> Result<Mailbox, MailError> {
    let malformed = || MailError::Address { text: clean(text.as_bytes(), 200) };
    if text.chars().any(char::is_control) {
        return Err(malformed());
    }
    let mailbox: Mailbox = text.parse().map_err(|_| malformed())?;
    // Others need a server that takes them (RFC 6531).
    let address: &str = mailbox.email.as_ref();
    if address.is_ascii() { Ok(mailbox) } else { Err(malformed()) }
}

/// The same for all mails of a thread, in angle brackets, whatever `thread` is made of.
fn thread_id(thread: &str, domain: &str) -> String {
    let plain = |it: char| it.is_ascii_alphanumeric() || "._-".contains(it);
    let safe = |text: &str| -> String {
        text.chars().map(|it| if plain(it) { it } else { '_' }).take(MAX_THREAD).collect()
    };
    match thread.split_once('@') {
        Some((left, right)) => format!("<{}@{}>", safe(left), safe(right)),
        None => format!("<{}@{domain}>", safe(thread)),
    }
}

/// Text whose only control characters are ends of lines and tabulators.
fn lines(text: &str) -> String {
    let mut end = text.len().min(MAX_MAIL);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let text = text.get(..end).unwrap_or_default().replace("\r\n", "\n");
    let is_odd = |it: char| it.is_control() && it != '\n' && it != '\t';
    text.chars().map(|it| if is_odd(it) { ' ' } else { it }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn email() -> Email {
        Email {
            to: vec!["ops@example.org".to_owned()],
            from: "Palisade <palisade@example.com>".to_owned(),
            subject: "worker-7 needs a reboot".to_owned(),
            thread: "k1@palisade".to_owned(),
            text: "one\n.\ntwo\n".to_owned(),
        }
    }

    fn written(mail: &Email) -> String {
        let letter = Letter::of(mail, Moment::from_unix(1_800_000_000)).unwrap();
        String::from_utf8(letter.bytes).unwrap()
    }

    fn header<'a>(mail: &'a str, name: &str) -> Vec<&'a str> {
        let head = mail.split_once("\r\n\r\n").unwrap().0;
        head.lines().filter_map(|it| it.strip_prefix(name)?.strip_prefix(": ")).collect()
    }

    #[test]
    fn mails_of_a_group_refer_to_the_same_and_each_has_its_own_name() {
        let (first, second) = (written(&email()), written(&email()));
        for name in ["References", "In-Reply-To"] {
            assert_eq!(header(&first, name), ["<k1@palisade>"], "{first}");
            assert_eq!(header(&second, name), ["<k1@palisade>"]);
        }
        assert_ne!(header(&first, "Message-ID"), header(&second, "Message-ID"));
        assert!(header(&first, "Message-ID")[0].ends_with("@example.com>"), "{first}");
        assert_eq!(header(&first, "Date"), ["Fri, 15 Jan 2027 08:00:00 +0000"]);
        assert_eq!(header(&first, "Auto-Submitted"), ["auto-generated"]);
        assert_eq!(thread_id("a b\r\nBcc: x", "example.com"), "<a_b__Bcc__x@example.com>");
        assert_eq!(thread_id("a@b@c>\r\n", "example.com"), "<a@b_c___>");
    }

    #[test]
    fn nothing_ends_a_header() {
        let evil = "x\r\nBcc: evil@example.net\r\n\r\nbody";
        for mail in [
            Email { subject: evil.to_owned(), ..email() },
            Email { thread: evil.to_owned(), ..email() },
            Email { subject: "x\nBcc: evil@example.net".to_owned(), ..email() },
            Email { subject: "x\rBcc: evil@example.net".to_owned(), ..email() },
            Email { subject: format!("é{}\r\nBcc: x", "y".repeat(500)), ..email() },
            Email { text: "x\r.\rQUIT\r\n\0".to_owned(), ..email() },
        ] {
            let text = written(&mail);
            assert_eq!(header(&text, "Bcc"), [] as [&str; 0], "{text}");
            assert_eq!(header(&text, "To"), ["ops@example.org"], "{text}");
            assert!(text.is_ascii() && !text.contains('\0'), "{text}");
            assert_eq!(text.matches('\r').count(), text.matches("\r\n").count(), "{text}");
            assert_eq!(text.matches('\n').count(), text.matches("\r\n").count(), "{text}");
        }
    }

    #[test]
    fn odd_addresses_are_refused() {
        for text in [
            "a@example.org\r\nBcc: evil@example.net",
            "a@example.org>\r\nRCPT TO:<evil@example.net",
            "A\nB <a@example.org>",
            "a@example.org, b@example.org",
            "ä@example.org",
            "a@",
            "",
        ] {
            for mail in [
                Email { to: vec![text.to_owned()], ..email() },
                Email { from: text.to_owned(), ..email() },
            ] {
                let refused = Letter::of(&mail, Moment::from_unix(0)).err();
                assert!(matches!(refused, Some(MailError::Address { .. })), "{text:?}");
            }
        }
        let nobody = Letter::of(&Email { to: vec![], ..email() }, Moment::from_unix(0)).err();
        assert!(matches!(nobody, Some(MailError::Build { .. })));
    }
}

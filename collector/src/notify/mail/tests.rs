//! Mail servers of a test: one that takes mails, and ones that misbehave.

use std::sync::Arc;
use std::sync::Mutex;

use palisade_alert::secret::Secret;
use tokio::io::AsyncBufReadExt as _;
use tokio::io::AsyncRead;
use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWrite;
use tokio::io::AsyncWriteExt as _;
use tokio::io::BufReader;
use tokio::net::TcpStream;

use super::*;
use crate::notify::egress::Egress;
use crate::notify::egress::RefusedAddress;
use crate::notify::peer::HASTY;
use crate::notify::peer::PATIENT;
use crate::notify::peer::Peer;
use crate::notify::peer::acceptor;
use crate::notify::peer::dialer;
use crate::testing::Scratch;

const NOW: Moment = Moment::from_unix(1_800_000_000);

/// What a server has heard, line by line; a mail without its end.
type Heard = Arc<Mutex<Vec<String>>>;

/// Answers to lines that begin so, before the usual ones.
type Answers = &'static [(&'static str, &'static str)];

const USUAL: Answers = &[
    ("EHLO", "250-mail.test\r\n250-AUTH PLAIN LOGIN\r\n250 STARTTLS\r\n"),
    ("STARTTLS", "220 go on\r\n"),
    ("AUTH", "235 welcome\r\n"),
    ("MAIL", "250 fine\r\n"),
    ("RCPT", "250 fine\r\n"),
    ("DATA", "354 speak\r\n"),
    ("QUIT", "221 bye\r\n"),
];

/// Speaks with one client until it leaves, or asks for TLS.
async fn talk<S: AsyncRead + AsyncWrite + Unpin>(stream: S, answers: Answers, heard: &Heard) -> S {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    let (mut is_mail, mut mail) = (false, String::new());
    while stream.read_line(&mut line).await.is_ok_and(|read| read > 0) {
        let said = std::mem::take(&mut line);
        if is_mail && said != ".\r\n" {
            mail.push_str(&said);
            continue;
        }
        let usual = if is_mail { "250 taken\r\n" } else { "502 what\r\n" };
        let mut all = answers.iter().chain(USUAL);
        let reply = all.find(|it| said.starts_with(it.0) && !it.0.is_empty());
        let reply = reply.map_or(usual, |it| it.1);
        let said = if is_mail { std::mem::take(&mut mail) } else { said };
        is_mail = said.starts_with("DATA") && reply.starts_with('3');
        let is_over = said == "STARTTLS\r\n" && reply.starts_with("220");
        heard.lock().unwrap().push(said);
        if stream.write_all(reply.as_bytes()).await.is_err() || is_over {
            break;
        }
    }
    stream.into_inner()
}

struct Server {
    peer: Peer,
    heard: Heard,
    tls: MailTls,
    scratch: Scratch,
}

impl Server {
    async fn start(tls: MailTls, answers: Answers) -> Self {
        let heard = Heard::default();
        let (acceptor, pem) = acceptor(&["127.0.0.1"]);
        let scratch = Scratch::new();
        scratch.write("ca.pem", &pem);
        let hears = Arc::clone(&heard);
        let peer = Peer::start(move |_, mut stream: TcpStream| {
            let (hears, acceptor) = (Arc::clone(&hears), acceptor.clone());
            async move {
                let hello = answers.iter().find(|it| it.0.is_empty());
                let hello = hello.map_or("220-mail.test\r\n220 hello\r\n", |it| it.1);
                if tls != MailTls::Implicit {
                    drop(stream.write_all(hello.as_bytes()).await);
                    stream = talk(stream, answers, &hears).await;
                }
                if tls != MailTls::None
                    && let Ok(mut stream) = acceptor.accept(stream).await
                {
                    if tls == MailTls::Implicit {
                        stream.write_all(hello.as_bytes()).await.unwrap();
                    }
                    hears.lock().unwrap().push("TLS".to_owned());
                    talk(stream, answers, &hears).await;
                }
            }
        })
        .await;
        Self { peer, heard, tls, scratch }
    }

    fn settings(&self) -> MailServer {
        MailServer {
            host: "127.0.0.1".to_owned(),
            port: self.peer.address.port(),
            tls: self.tls,
            user: None,
            password: None,
        }
    }

    fn dialer(&self) -> Dialer {
        dialer(Some(self.scratch.0.join("ca.pem")), PATIENT)
    }

    async fn send(&self) -> Result<Handed, MailError> {
        send(&email(), &self.settings(), &self.dialer(), NOW).await
    }

    /// The beginnings of what it heard.
    fn words(&self) -> String {
        let heard = self.heard.lock().unwrap();
        let words = heard.iter().map(|it| it.split([' ', ':', '\r']).next().unwrap_or_default());
        words.collect::<Vec<_>>().join(" ")
    }
}

fn email() -> Email {
    Email {
        to: vec!["ops@example.org".to_owned(), "Night <night@example.org>".to_owned()],
        from: "Palisade <palisade@example.com>".to_owned(),
        subject: "worker-7 needs a reboot".to_owned(),
        thread: "k1@palisade".to_owned(),
        text: "kernel 6.1.0-56\n.\n.. and \u{e9}\n".to_owned(),
    }
}

#[tokio::test]
async fn a_mail_is_handed_over_however_the_connection_is_kept_from_others() {
    for (tls, words) in [
        (MailTls::None, "EHLO MAIL RCPT RCPT DATA From QUIT"),
        (MailTls::Implicit, "TLS EHLO MAIL RCPT RCPT DATA From QUIT"),
        (MailTls::StartTls, "EHLO STARTTLS TLS EHLO MAIL RCPT RCPT DATA From QUIT"),
    ] {
        let server = Server::start(tls, &[]).await;
        assert_eq!(server.send().await.unwrap(), Handed::default(), "{tls:?}");
        assert_eq!(server.words(), words);
        let heard = server.heard.lock().unwrap().clone();
        assert!(heard.contains(&"EHLO [127.0.0.1]\r\n".to_owned()), "{heard:?}");
        assert!(heard.contains(&"MAIL FROM:<palisade@example.com>\r\n".to_owned()), "{heard:?}");
        assert!(heard.contains(&"RCPT TO:<night@example.org>\r\n".to_owned()), "{heard:?}");
        let mail = heard.iter().find(|it| it.starts_with("From")).unwrap();
        assert!(mail.contains("\r\nSubject: worker-7 needs a reboot\r\n"), "{mail}");
        // A dot of its own does not end it.
        assert!(mail.contains("\r\n..\r\n") && mail.contains("=C3=A9"), "{mail}");
    }
}

#[tokio::test]
async fn who_logs_in_does_so_by_what_the_server_offers() {
    // \0palisade\0TOP-SECRET in base64, or the two one after the other.
    let plain = "AUTH PLAIN AHBhbGlzYWRlAFRPUC1TRUNSRVQ=\r\n";
    let login_only: Answers = &[
        ("EHLO", "250-mail.test\r\n250 AUTH LOGIN\r\n"),
        ("AUTH LOGIN", "334 VXNlcm5hbWU6\r\n"),
        ("cGFsaXNhZGU=", "334 UGFzc3dvcmQ6\r\n"),
        ("VE9QLVNFQ1JFVA==", "235 welcome\r\n"),
    ];
    for (answers, expected) in
        [(&[][..], plain), (login_only, "AUTH LOGIN\r\ncGFsaXNhZGU=\r\nVE9QLVNFQ1JFVA==\r\n")]
    {
        let server = Server::start(MailTls::Implicit, answers).await;
        let login = MailServer {
            user: Some("palisade".to_owned()),
            password: Some(Secret::new("TOP-SECRET")),
            ..server.settings()
        };
        send(&email(), &login, &server.dialer(), NOW).await.unwrap();
        let heard = server.heard.lock().unwrap().concat();
        assert!(heard.contains(expected), "{heard}");
    }
    for answers in [
        &[("AUTH", "535 5.7.8 no such user\r\n")][..],
        &[("EHLO", "250 mail.test\r\n")],
        &[("AUTH", "235 welcome\r\n"), ("MAIL", "530 5.7.0 log in first\r\n")],
    ] {
        let server = Server::start(MailTls::None, answers).await;
        let password = Some(Secret::new("TOP-SECRET"));
        let login = MailServer { user: Some("palisade".to_owned()), password, ..server.settings() };
        let error = send(&email(), &login, &server.dialer(), NOW).await.unwrap_err();
        assert!(matches!(error, MailError::Login { .. }), "{error:?}");
        // The password may be mended, so the mail stays.
        assert!(matches!(error.outcome(), Outcome::Retry { after: Some(_), .. }));
        let shown = format!("{error:?} {}", Chain(&error));
        assert!(!shown.contains("SECRET") && !shown.contains("VE9QLV"), "{shown}");
    }
}

#[tokio::test]
async fn a_final_no_puts_the_mail_aside_and_a_passing_one_does_not() {
    for (answers, is_dead) in [
        (&[("MAIL", "550 5.7.1 not you\r\n")][..], true),
        (&[("MAIL", "451 4.3.0 later\r\n")], false),
        (&[("RCPT", "550 5.1.1 nobody\r\n")], true),
        (&[("RCPT TO:<ops", "450 4.2.1 busy\r\n"), ("RCPT", "550 5.1.1 nobody\r\n")], false),
        (&[("RCPT TO:<ops", "550 5.1.1 nobody\r\n"), ("RCPT", "450 4.2.1 busy\r\n")], false),
        (&[("DATA", "554 5.5.1 no\r\n")], true),
        (&[(".", "554 5.6.0 looks like spam\r\n")], true),
        (&[(".", "452 4.3.1 disk full\r\n")], false),
        (&[("", "421 4.3.2 going down\r\n")], false),
        (&[("", "554 5.3.2 no mail here\r\n")], true),
    ] {
        let server = Server::start(MailTls::None, answers).await;
        let error = server.send().await.unwrap_err();
        match (error.outcome(), is_dead) {
            (Outcome::Dead { why }, true) | (Outcome::Retry { after: None, why }, false) => {
                let said = answers.iter().any(|it| why.contains(it.1.get(4..9).unwrap()));
                assert!(said && why.contains("127.0.0.1"), "{why}");
            }
            (other, _) => panic!("{answers:?}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn one_refused_recipient_keeps_the_mail_from_no_other() {
    let answers: Answers = &[("RCPT TO:<ops", "550 5.1.1 nobody \u{202e}here\r\n")];
    let server = Server::start(MailTls::None, answers).await;
    let handed = server.send().await.unwrap();
    let said = r"permanent error (550): 5.1.1 nobody \u{202e}here".to_owned();
    // People hear of the one who never gets any.
    let why = format!("1 of 2 recipients: ops@example.org: {said}");
    assert_eq!(handed.outcome(2), Outcome::Partial { why });
    assert_eq!(handed.refused, [("ops@example.org".to_owned(), said)]);
    assert_eq!(server.words(), "EHLO MAIL RCPT RCPT DATA From QUIT");
}

#[tokio::test]
async fn without_tls_nothing_is_sent_where_tls_was_asked_for() {
    let silent: Answers = &[("EHLO", "250 mail.test\r\n")];
    let server = Server::start(MailTls::StartTls, silent).await;
    let error = server.send().await.unwrap_err();
    assert!(matches!(error, MailError::NoStartTls { .. }), "{error:?}");
    assert_eq!(server.words(), "EHLO");
    // Words behind the answer, put there by somebody in between, end the handshake.
    let injected: Answers = &[("STARTTLS", "220 go on\r\n250 taken already\r\n")];
    let server = Server::start(MailTls::StartTls, injected).await;
    let error = server.send().await.unwrap_err();
    assert!(matches!(error, MailError::Dial(DialError::Handshake { .. })), "{error:?}");
    for tls in [MailTls::StartTls, MailTls::Implicit] {
        let server = Server::start(tls, &[]).await;
        let stranger = dialer(None, PATIENT);
        let error = send(&email(), &server.settings(), &stranger, NOW).await.unwrap_err();
        assert!(matches!(error, MailError::Dial(DialError::Untrusted { .. })), "{error:?}");
        assert!(!server.words().contains("MAIL"));
    }
    let nowhere = Dialer { egress: Egress::new(vec![], vec![]), ..dialer(None, PATIENT) };
    for (host, tls) in [("127.0.0.1", MailTls::StartTls), ("8.8.8.8", MailTls::None)] {
        let server =
            MailServer { host: host.to_owned(), port: 25, tls, user: None, password: None };
        let error = send(&email(), &server, &nowhere, NOW).await.unwrap_err();
        let MailError::Dial(DialError::Guard(refused)) = &error else { panic!("{error:?}") };
        let is_clear = matches!(refused, RefusedAddress::ClearText { .. });
        assert_eq!(is_clear, tls == MailTls::None, "{error:?}");
    }
}

#[tokio::test]
async fn servers_that_hang_or_babble_are_left() {
    let silent =
        Peer::start(
            |_, mut stream: TcpStream| async move { while stream.read_u8().await.is_ok() {} },
        )
        .await;
    let babbling = Peer::start(|_, mut stream: TcpStream| async move {
        while stream.write_all(&[b'x'; 4096]).await.is_ok() {}
    })
    .await;
    let other = Peer::start(|_, mut stream: TcpStream| async move {
        drop(stream.write_all(b"HTTP/1.1 400 no\r\n").await);
    })
    .await;
    for (peer, times, class) in [
        (&silent, HASTY, "timeout"),
        (&babbling, PATIENT, "exchange"),
        (&other, PATIENT, "exchange"),
    ] {
        for tls in [MailTls::None, MailTls::StartTls] {
            let (host, port) = ("127.0.0.1".to_owned(), peer.address.port());
            let server = MailServer { host, port, tls, user: None, password: None };
            let error = send(&email(), &server, &dialer(None, times), NOW).await.unwrap_err();
            assert_eq!(error.class(), class, "{error:?}");
            assert!(matches!(error.outcome(), Outcome::Lost { after: None, .. }));
        }
    }
}

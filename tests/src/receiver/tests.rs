use std::io;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Read;
use std::io::Write;
use std::net::SocketAddr;
use std::net::TcpStream;
use std::time::Duration;

use hyper::Method;
use hyper::body::Bytes;
use ring::hmac;

use super::Answered;
use super::Certificate;
use super::Conduct;
use super::Plan;
use super::Receiver;
use super::Request;
use super::chance::Chance;
use super::mail::MailServer;
use super::mail::Manners;
use super::mail::Step;
use super::mail::Way;
use super::signature;
use super::signature::Unbelieved;
use super::webhook::Alert;
use crate::http::Answer;
use crate::http::Client;
use crate::http::Trust;

/// Far more than anything here takes.
const WITHIN: Duration = Duration::from_secs(60);

fn post(receiver: &Receiver, trust: Option<&Trust>, body: &str) -> io::Result<Answer> {
    let mut client = Client::new(receiver.address());
    if let Some(trust) = trust {
        client = client.with_trust(trust);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let body = Bytes::from(body.to_owned());
    let sent = client.try_send(Method::POST, "/hook?a=b", &[("x-one", "1")], body);
    runtime.expect("a runtime").block_on(sent)
}

#[test]
fn what_was_acknowledged_is_taken_and_the_rest_is_only_seen() {
    let plan = Plan::first([
        Conduct::Take,
        Conduct::Status(500),
        Conduct::DropRead,
        Conduct::DropUnread,
        Conduct::CutHead,
        Conduct::CutBody,
        Conduct::Garbage,
        Conduct::EarlyStatus(413),
        Conduct::TooMany("7".to_owned()),
        Conduct::Redirect("http://127.0.0.1:1/".to_owned()),
        Conduct::SlowRead(Duration::from_millis(40)),
    ]);
    let receiver = Receiver::start(plan);
    let statuses: Vec<_> = (0..12)
        .map(|number| post(&receiver, None, &format!("{number}")))
        .map(|answer| answer.map_or(0, |it| it.status.as_u16()))
        .collect();
    assert_eq!(statuses, [200, 500, 0, 0, 0, 0, 0, 413, 429, 307, 200, 200]);
    let taken: Vec<_> = receiver.taken().iter().map(Request::text).collect();
    assert_eq!(taken, ["0", "10", "11"]);
    let seen = receiver.seen();
    assert_eq!(seen.len(), 12);
    assert_eq!((&*seen[0].path, seen[0].header("x-one")), ("/hook?a=b", Some("1")));
    assert_eq!((&*seen[2].text(), seen[2].answered), ("2", Answered::Nothing));
    assert_eq!((&*seen[3].method, seen[3].body.len()), ("", 0));
    assert_eq!((&*seen[5].text(), seen[5].answered), ("5", Answered::Part(200)));
}

#[test]
fn one_that_hangs_answers_nobody_until_it_is_let_go() {
    let receiver = Receiver::start(Plan::always(Conduct::Hang));
    let mut stream = TcpStream::connect(receiver.address()).expect("a connection");
    write!(stream, "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nhi").expect("sent");
    receiver.until("the request", WITHIN, |seen| seen.first().map(Request::text));
    stream.set_read_timeout(Some(Duration::from_millis(50))).expect("a deadline");
    let error = stream.read(&mut [0]).expect_err("no answer");
    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    receiver.be(Plan::kind());
    assert_eq!(post(&receiver, None, "x").expect("an answer").status, 200);
    assert_eq!(receiver.taken().len(), 1);
}

#[test]
fn an_endless_answer_ends_with_the_patience_of_its_reader() {
    for conduct in [Conduct::EndlessBody, Conduct::EndlessHead] {
        let receiver = Receiver::start(Plan::always(conduct));
        let mut stream = TcpStream::connect(receiver.address()).expect("a connection");
        write!(stream, "GET / HTTP/1.1\r\nhost: a\r\n\r\n").expect("sent");
        let mut much = vec![0; 1024 * 1024];
        stream.read_exact(&mut much).expect("as much as anybody wants");
        assert_eq!(receiver.seen()[0].answered, Answered::Part(200));
        assert!(receiver.taken().is_empty());
    }
}

#[test]
fn a_closed_one_refuses_and_is_found_again_at_the_same_port() {
    let mut receiver = Receiver::start(Plan::kind());
    post(&receiver, None, "before").expect("an answer");
    receiver.close();
    let error = post(&receiver, None, "during").expect_err("nobody is there");
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    receiver.open();
    post(&receiver, None, "after").expect("an answer");
    let taken: Vec<_> = receiver.taken().iter().map(Request::text).collect();
    assert_eq!(taken, ["before", "after"]);
}

#[test]
fn only_the_good_certificate_is_trusted() {
    let receiver = Receiver::start(Plan::kind().over_tls(Certificate::Good));
    let trust = Trust::new(receiver.authority(), "127.0.0.1");
    assert_eq!(post(&receiver, Some(&trust), "x").expect("an answer").status, 200);
    // What is unread when a connection is cut makes its end a reset.
    for (bad, words) in [
        (Certificate::Cut, &["eof", "Connection reset"][..]),
        (Certificate::Expired, &["expired"]),
        (Certificate::Unknown, &["UnknownIssuer"]),
        (Certificate::WrongName, &["not valid for name"]),
    ] {
        receiver.be(Plan::kind().over_tls(bad));
        let error = post(&receiver, Some(&trust), "x").expect_err("no trust").to_string();
        assert!(words.iter().any(|it| error.contains(it)), "{bad:?}: {error}");
        assert_eq!(receiver.shown().last(), Some(&bad));
    }
    assert_eq!((receiver.seen().len(), receiver.seen_from(1).len()), (1, 0));
}

#[test]
fn the_same_seed_makes_the_same_plan() {
    let conducts = |seed| -> Vec<Conduct> {
        let mut plan = Plan::flaky(seed, 30);
        (0..1_000).map(|_| plan.conduct()).collect()
    };
    assert_eq!(conducts(7), conducts(7));
    assert_ne!(conducts(7), conducts(8));
    let faults = conducts(7).iter().filter(|it| **it != Conduct::Take).count();
    assert!((200..400).contains(&faults), "{faults} of 1,000");
    let mut chance = Chance::new(0);
    assert_eq!(chance.pick(&[(0, "never"), (1, "always")]), Some(&"always"));
    assert_eq!(chance.pick::<u8>(&[]), None);
}

#[test]
fn a_signature_is_of_the_key_the_moment_and_the_body() {
    let receiver = Receiver::start(Plan::kind());
    post(&receiver, None, "body").expect("an answer");
    let mut request = receiver.taken().remove(0);
    assert_eq!(signature::verify(&request, b"key"), Err(Unbelieved::Malformed));
    let now = request.at.duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs();
    let mut sign = |at: u64, body: &str| {
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"key");
        let tag = hmac::sign(&key, format!("{at}.{body}").as_bytes());
        let digits: String = tag.as_ref().iter().map(|it| format!("{it:02x}")).collect();
        request.headers = vec![
            (signature::TIMESTAMP.to_owned(), at.to_string()),
            (signature::SIGNATURE.to_owned(), format!("sha256={digits}")),
        ];
        request.clone()
    };
    assert_eq!(signature::verify(&sign(now, "body"), b"key"), Ok(()));
    assert_eq!(signature::verify(&sign(now, "body"), b"kez"), Err(Unbelieved::Forged));
    assert_eq!(signature::verify(&sign(now, "bodz"), b"key"), Err(Unbelieved::Forged));
    assert_eq!(signature::verify(&sign(now - 301, "body"), b"key"), Err(Unbelieved::Old));
}

#[test]
fn an_alert_is_one_safe_line() {
    let alert: Alert = serde_json::from_value(serde_json::json!({
        "status": "firing",
        "labels": { "alertname": "PalisadeX", "severity": "critical", "node": "worker-7" },
        "annotations": { "summary": "a\u{1b}[31m\nb" },
        "startsAt": "", "endsAt": "", "generatorURL": "", "fingerprint": "",
    }))
    .expect("an alert");
    let line = "FIRING   critical PalisadeX worker-7: a\\u{1b}[31m\\u{a}b";
    assert_eq!(alert.to_string(), line);
}

/// Says these lines, each after the answer to the one before; the answers' first words.
fn converse(address: SocketAddr, lines: &[&str]) -> Vec<String> {
    let stream = TcpStream::connect(address).expect("a connection");
    let mut writer = stream.try_clone().expect("a second handle");
    let mut reader = BufReader::new(stream);
    let mut answers = Vec::new();
    let mut answer = || {
        loop {
            let mut line = String::new();
            // A connection that ends has no more to say.
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                return String::new();
            }
            if line.as_bytes()[3] == b' ' {
                return line[..3].to_owned();
            }
        }
    };
    answers.push(answer());
    for line in lines {
        write!(writer, "{line}\r\n").expect("sent");
        answers.push(answer());
    }
    answers
}

#[test]
fn a_mail_is_kept_as_it_came_or_refused_where_it_should_be() {
    let server = MailServer::start(Manners::default());
    let mail = "Subject: a\r\n long one\r\n\r\n..dot\r\ntext\r\n.";
    let lines = ["EHLO me", "MAIL FROM:<a@b>", "RCPT TO:<c@d>", "RCPT TO:<e@f>", "DATA", mail];
    assert_eq!(
        converse(server.address(), &lines),
        ["220", "250", "250", "250", "250", "354", "250"]
    );
    let mails = server.until(1, WITHIN);
    assert_eq!((&*mails[0].from, mails[0].to.join(" ")), ("a@b", "c@d e@f".to_owned()));
    assert_eq!(mails[0].header("subject"), "a long one");
    assert!(mails[0].data.ends_with("\r\n.dot\r\ntext\r\n"), "{:?}", mails[0].data);
    assert_eq!(mails[0].way, Way::Clear);

    let refuses = Some((Step::End, "451 later".to_owned()));
    server.be(Manners { refuses, ..Manners::default() });
    assert_eq!(converse(server.address(), &lines)[6], "451");
    server.be(Manners { drops: Some(Step::To), ..Manners::default() });
    assert_eq!(converse(server.address(), &lines[..3])[3], "");
    assert_eq!(server.mails().len(), 1);
}

/// With STARTTLS, as senders of mail do it.
#[test]
fn a_mail_comes_over_tls_where_that_is_offered() {
    let certificate = Some(Certificate::Good);
    let server = MailServer::start(Manners { certificate, ..Manners::default() });
    let mut tcp = TcpStream::connect(server.address()).expect("a connection");
    for (said, mark) in [("", "220 "), ("EHLO me\r\n", "250 SIZE"), ("STARTTLS\r\n", "220 ")] {
        write!(tcp, "{said}").expect("sent");
        let mut heard = String::new();
        let mut reader = BufReader::with_capacity(1, &tcp);
        while !(heard.contains(mark) && heard.ends_with('\n')) {
            assert!(reader.read_line(&mut heard).expect("an answer") > 0, "{heard}");
        }
    }
    let trust = Trust::new(server.authority(), "localhost");
    let mut session = trust.session();
    let mut stream = rustls::Stream::new(&mut session, &mut tcp);
    write!(stream, "MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\nx\r\n.\r\n").expect("sent");
    assert_eq!(server.until(1, WITHIN)[0].way, Way::Tls);
}

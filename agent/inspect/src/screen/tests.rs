//! What must not be in what comes out, and what must still be told of it.

use proptest::prelude::*;

use super::*;
use crate::certificates::kubeconfig;
use crate::certificates::kubeconfig::Source;

/// A key made for these tests: `openssl genpkey -algorithm ed25519`, with its public half
/// (RFC 8410 section 10.3).
const ED25519: &str = "-----BEGIN PRIVATE KEY-----
MHICAQEwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC
oB8wHQYKKoZIhvcNAQkJFDEPDA1DdXJkbGUgQ2hhaXJzgSEAGb9ECWmEzf6FQbrB
Z9w7lshQhqowtrbLDFw4rXAxZuE=
-----END PRIVATE KEY-----
";

/// The start of the private number in it.
const NUMBER: &str = "INTuctv5E1hK1bbY8fdp";

fn screened(text: &str) -> String {
    String::from_utf8(screen(text.as_bytes().to_vec())).unwrap()
}

/// Forty characters of it.
fn part(text: &str, from: usize) -> &str {
    text.get(from..from + 40).unwrap()
}

fn halves(text: &str) -> Vec<Result<half::Half, palisade_report::Why>> {
    contents::parse_keys(text.as_bytes())
}

#[test]
fn of_a_private_key_only_the_half_remains() {
    for text in [
        ED25519.to_owned(),
        format!("a certificate\n{ED25519}and more"),
        ED25519.replace('\n', "\r\n"),
        ED25519.replace('\n', "\n    ").replace("-----BEGIN", "    -----BEGIN"),
    ] {
        let out = screened(&text);
        assert!(!out.contains(NUMBER), "{out}");
        assert!(!out.contains("PRIVATE"), "{out}");
        assert_eq!(halves(&out), halves(&text), "{out}");
        assert!(halves(&out)[0].is_ok());
    }
    let cut = ED25519.split("-----END").next().unwrap();
    for text in [cut, &format!("{cut}-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----")]
    {
        assert!(!screened(text).contains(NUMBER));
    }
    let in_json = format!("{{\"key\": \"{}\"}}", ED25519.replace('\n', "\\n"));
    assert_eq!(screened(&in_json), "{\"key\": \"REMOVED\\n\"}");
}

#[test]
fn encrypted_and_malformed_keys_say_so_and_nothing_else() {
    let encrypted = ED25519.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    let broken = ED25519.replace("MHIC", "AAAA");
    for text in [encrypted, broken] {
        let out = screened(&text);
        assert!(!out.contains(NUMBER));
        assert_eq!(halves(&out), halves(&text));
        assert!(halves(&out)[0].is_err());
    }
}

#[test]
fn keys_and_stores_in_der_are_replaced_as_a_whole() {
    let block = pem::parse(ED25519.as_bytes()).next().unwrap();
    let der = block.decode().unwrap();
    let out = screen(der.clone());
    assert_eq!(contents::parse_keys(&out), contents::parse_keys(&der));
    assert!(contents::parse_keys(&out)[0].is_ok());
    // A PKCS#12 store and a Java one: still told as what they are.
    for store in [&[0x30, 7, 2, 1, 3, 0x30, 2, 9, 9][..], &[0xfe, 0xed, 0xfe, 0xed, 9, 9]] {
        let out = screen(store.to_vec());
        assert!(!out.ends_with(&[9, 9]));
        assert_eq!(contents::parse(&out).unwrap_err(), contents::parse(store).unwrap_err());
    }
    let encrypted = [0x30, 5, 0x30, 0, 4, 1, 9];
    assert!(halves(&String::from_utf8(screen(encrypted.to_vec())).unwrap())[0].is_err());
}

#[test]
fn a_kubeconfig_keeps_its_certificates_and_the_half_of_its_key() {
    let key = base64::encode(ED25519.as_bytes());
    let folded = key.as_bytes().chunks(70).map(|line| String::from_utf8_lossy(line).into_owned());
    let folded = folded.collect::<Vec<_>>().join("\n        ");
    let certificate =
        base64::encode(b"-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----");
    let plain = format!(
        "users:\n- name: u\n  user:\n    client-certificate-data: {certificate}\n    \
         client-key-data: {key}\n    token: abcdef.0123456789abcdef\n    password: \"p w\"\n"
    );
    let block = plain.replace(&key, &format!("|\n        {folded}"));
    let quoted = plain.replace(&key, &format!("\"{key}\""));
    let json = format!(
        "{{\"users\":[{{\"name\":\"u\",\"user\":{{\"client-certificate-data\":\"{certificate}\",\
         \"client-key-data\":\"{key}\",\"token\":\"abcdef.0123456789abcdef\"}}}}]}}"
    );
    for text in [plain, block, quoted, json] {
        let out = screened(&text);
        for secret in [part(&key, 0), part(&key, 100), "abcdef.0123456789abcdef", "p w"] {
            assert!(!out.contains(secret), "{secret} in {out}");
        }
        let embedded = |text: &str| {
            let config = kubeconfig::parse(text.as_bytes()).unwrap();
            let entry = config.entries.into_iter().next().unwrap();
            match (entry.certificates, entry.key) {
                (Source::Embedded(Some(certificate)), Source::Embedded(Some(key))) => {
                    (certificate.bytes().to_vec(), contents::parse_keys(key.bytes()))
                }
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(embedded(&out), embedded(&text), "{out}");
    }
}

#[test]
fn tokens_are_known_by_name_and_by_shape() {
    let jwt = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJrdWJlIn0.c2lnbmF0dXJl";
    for (text, out) in [
        (format!("x {jwt}\n"), "x REMOVED\n"),
        ("--token=abc\0--v=2\0".to_owned(), "--token=REMOVED\0--v=2\0"),
        ("--token\0abc\0--v=2\0".to_owned(), "--token\0REMOVED\0--v=2\0"),
        ("proxy_password = a b\nx=1".to_owned(), "proxy_password = REMOVED\nx=1"),
        ("'secret': 'it\\'s'\n".to_owned(), "'secret': 'REMOVED'\n"),
        (
            "a:\n  secret: |\n    one\n    two\n  b: 1\n".to_owned(),
            "a:\n  secret: REMOVED\n  b: 1\n",
        ),
    ] {
        assert_eq!(screened(&text), out);
    }
}

#[test]
fn who_logs_in_by_an_url_is_taken_out() {
    for (text, out) in [
        (
            "deb [signed-by=/k.gpg] https://u:p@h.example/debian stable main\n",
            "deb [signed-by=/k.gpg] https://REMOVED@h.example/debian stable main\n",
        ),
        ("baseurl=https://tok@h:8443/x?a=b@c", "baseurl=https://REMOVED@h:8443/x?a=b@c"),
        ("proxy\0http://u:p@ss@h\0-v\0", "proxy\0http://REMOVED@h\0-v\0"),
        ("a://u:p@h b://v:q@i", "a://REMOVED@h b://REMOVED@i"),
        ("'ftp://u:p@h'", "'ftp://REMOVED@h'"),
    ] {
        assert_eq!(screened(text), out);
    }
}

#[test]
fn passwords_of_grub_are_taken_out() {
    for (text, out) in [
        (
            "set superusers=\"root\"\npassword_pbkdf2 root grub.pbkdf2.sha512.10000.AB.CD\nx\n",
            "set superusers=\"root\"\npassword_pbkdf2 root REMOVED\nx\n",
        ),
        ("\tpassword root s3cret", "\tpassword root REMOVED"),
        ("password  a  b c \n", "password  a  REMOVED \n"),
    ] {
        assert_eq!(screened(text), out);
    }
}

#[test]
fn names_of_secrets_are_known_in_every_spelling() {
    for name in [
        "secret_key",
        "secret-key",
        "aws_secret_access_key",
        "AWS_SECRET_ACCESS_KEY",
        "secretAccessKey",
        "api-key",
        "api_key",
        "X-API-Key",
        "apikey",
        "apiKey",
        "pwd",
        "db_pwd",
    ] {
        assert_eq!(screened(&format!("{name}=s3cret\nx=1")), format!("{name}=REMOVED\nx=1"));
        assert_eq!(screened(&format!("{name}: s3cret\nx: 1")), format!("{name}: REMOVED\nx: 1"));
        assert_eq!(
            screened(&format!("--{name}\0s3cret\0-v\0")),
            format!("--{name}\0REMOVED\0-v\0")
        );
    }
}

#[test]
fn a_value_may_stand_below_its_name() {
    for (text, out) in [
        ("a:\n  password:\n    s3cret\n  b: 1\n", "a:\n  password:\n    REMOVED\n  b: 1\n"),
        ("password:\r\n  s3cret\r\nb: 1\r\n", "password:\r\n  REMOVED\nb: 1\r\n"),
        ("password:\n\n  one\n  two\nb: 1\n", "password:\n\n  REMOVED\nb: 1\n"),
        ("password: # it\n  s3cret\nb: 1\n", "password: # it\n  REMOVED\nb: 1\n"),
        ("password:\n  # it\n  s3cret\n", "password:\n  REMOVED\n"),
        ("password: one\n  two\nb: 1\n", "password: REMOVED\nb: 1\n"),
        ("password: !!str\n  two\nb: 1\n", "password: REMOVED\nb: 1\n"),
        ("password:\n  'a: b'\nb: 1\n", "password:\n  'REMOVED'\nb: 1\n"),
        ("{\"token\":\n\"s3cret\", \"b\": 1}", "{\"token\":\n\"REMOVED\", \"b\": 1}"),
        ("- token: one\n  name: two\n", "- token: REMOVED\n  name: two\n"),
        ("- secret: |\n    one\n  name: two\n", "- secret: REMOVED\n  name: two\n"),
    ] {
        assert_eq!(screened(text), out);
    }
}

#[test]
fn what_is_no_secret_stays_as_it_is() {
    for text in [
        "volumes:\n- name: a\n  secret:\n    # it\n    secretName: b\n",
        "volumes:\n- name: a\n  secret:\n    - b\n    - c\n",
        "secret:\n  \"secretName\": b\n",
        "password:\nb: 1\n",
        "password:\n",
        "password requisite pam_pwquality.so retry=3\n",
        "password\t[success=1 default=ignore]\tpam_unix.so obscure\n",
        "password include system-auth\n",
        "deb https://h.example/debian/@x stable main\n",
        "mail root@h.example about unix:///run/x.sock\n",
        "https://@h/\n",
        "volumes:\n- name: a\n  secret:\n    secretName: b\n",
        "--token-auth-file=/etc/tokens\0--authentication-token-webhook=true\0",
        "tokenFile: /var/run/token\nrotateCertificates: true\n",
        "token: \"\"\npassword:\n",
        "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n",
        "-----BEGIN PUBLIC KEY-----\nAA==\n-----END PUBLIC KEY-----\n",
        "eyJ.eyJ.x",
    ] {
        assert_eq!(screened(text), text);
    }
}

#[test]
fn a_half_that_a_file_makes_up_is_not_believed() {
    let forged = stand_in(&Err(half::encrypted()));
    assert_eq!(screened(&forged), "REMOVED");
}

proptest! {
    #[test]
    fn a_key_in_any_surroundings_is_found(
        before in "[ -~\n]{0,60}",
        after in "[ -~\n]{0,60}",
        encode in any::<bool>(),
    ) {
        let key = if encode { base64::encode(ED25519.as_bytes()) } else { ED25519.to_owned() };
        let out = screened(&format!("{before}\n{key}\n{after}"));
        prop_assert!(!out.contains(NUMBER));
        prop_assert!(!out.contains(part(&base64::encode(ED25519.as_bytes()), 60)));
    }

    #[test]
    fn any_bytes_are_screened_without_a_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        let length = bytes.len();
        prop_assert!(screen(bytes).len() <= 100 + 8 * length);
    }
}

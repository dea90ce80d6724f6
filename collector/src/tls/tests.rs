//! TLS over real sockets: served, replaced, refused.

use std::time::Duration;

use rcgen::CertifiedKey;
use rustls::ClientConfig;
use rustls::RootCertStore;
use rustls_pki_types::ServerName;
use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio_rustls::TlsConnector;

use super::*;
use crate::testing::PATIENCE;
use crate::testing::Scratch;
use crate::testing::Served;
use crate::testing::head;

/// Writes a new certificate for `localhost` and its key; gives the certificate.
fn renew(scratch: &Scratch) -> CertificateDer<'static> {
    let CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    scratch.write("tls.key", &signing_key.serialize_pem());
    scratch.write("tls.crt", &cert.pem());
    cert.der().clone()
}

fn files(scratch: &Scratch) -> TlsFiles {
    TlsFiles { cert: scratch.0.join("tls.crt"), key: scratch.0.join("tls.key") }
}

/// Asks `/livez`, trusting this certificate only.
async fn ask(served: &Served, trusted: &CertificateDer<'static>) -> std::io::Result<String> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    let connector = TlsConnector::from(Arc::new(config));
    let mut stream = connector.connect(name, served.connect().await).await?;
    stream.write_all(&head("GET", "/livez", "", 0)).await?;
    let mut heard = String::new();
    stream.read_to_string(&mut heard).await?;
    Ok(heard)
}

#[tokio::test]
async fn a_renewed_certificate_is_served_without_a_restart() {
    let mut first = None;
    let served = Served::start(|settings, scratch| {
        first = Some(renew(scratch));
        settings.tls = Some(files(scratch));
        settings.reload_every = Duration::from_millis(10);
    })
    .await;
    let first = first.unwrap();
    assert!(ask(&served, &first).await.unwrap().ends_with("ok\n"));
    let second = renew(&served.scratch);
    let renewed = async {
        while ask(&served, &second).await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, renewed).await.unwrap();
    assert!(ask(&served, &first).await.is_err(), "the old one is no longer served");
    // A key that does not fit keeps what was in use.
    served.scratch.write("tls.crt", "-----BEGIN CERTIFICATE-----\n");
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(ask(&served, &second).await.is_ok());
    served.stop().await;
}

#[tokio::test]
async fn silence_and_clear_text_on_a_tls_port_are_cut() {
    let served = Served::start(|settings, scratch| {
        renew(scratch);
        settings.tls = Some(files(scratch));
        settings.limits.head_timeout = Duration::from_millis(100);
    })
    .await;
    let mut silent = served.connect().await;
    assert_eq!(silent.read_u8().await.unwrap_err().kind(), std::io::ErrorKind::UnexpectedEof);
    let mut clear = served.connect().await;
    clear.write_all(&head("GET", "/livez", "", 0)).await.unwrap();
    let mut answer = Vec::new();
    // An alert at most; a reset is as good.
    drop(clear.read_to_end(&mut answer).await);
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    served.stop().await;
}

#[test]
fn a_certificate_and_the_key_of_another_are_refused() {
    let scratch = Scratch::new();
    renew(&scratch);
    let key = std::fs::read_to_string(scratch.0.join("tls.key")).unwrap();
    renew(&scratch);
    scratch.write("tls.key", &key);
    assert!(matches!(Tls::load(files(&scratch)), Err(TlsError::Pair(_))));
    scratch.write("tls.key", "");
    assert!(matches!(Tls::load(files(&scratch)), Err(TlsError::Key { .. })));
    let nowhere = TlsFiles { cert: "/nowhere".into(), key: "/nowhere".into() };
    assert!(matches!(Tls::load(nowhere), Err(TlsError::Read { .. })));
}

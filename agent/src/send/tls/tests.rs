//! Real handshakes on loopback, with a directory that is swapped as the kubelet swaps a ConfigMap.

use std::fs;
use std::os::unix::fs::symlink;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;

use hyper::Method;
use hyper::body::Bytes;
use rcgen::BasicConstraints;
use rcgen::CertificateParams;
use rcgen::DnType;
use rcgen::IsCa;
use rcgen::Issuer;
use rcgen::KeyPair;
use rustls::ServerConfig;
use rustls_pki_types::PrivateKeyDer;
use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::send::Client;
use crate::send::Encoding;
use crate::send::SendError;
use crate::settings::Endpoint;

/// A directory as the kubelet mounts it: `ca.crt -> ..data/ca.crt`, `..data -> ..N`.
struct Mounted(PathBuf);

impl Mounted {
    fn new(bundle: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let unique = COUNT.fetch_add(1, Ordering::Relaxed);
        let root =
            std::env::temp_dir().join(format!("palisade-trust-{}-{unique}", std::process::id()));
        fs::create_dir_all(&root).unwrap();
        let mounted = Self(root);
        mounted.swap(bundle);
        symlink("..data/ca.crt", mounted.file()).unwrap();
        mounted
    }

    fn file(&self) -> PathBuf {
        self.0.join("ca.crt")
    }

    fn swap(&self, bundle: &str) {
        let next = format!("..{}", fs::read_dir(&self.0).unwrap().count());
        fs::create_dir(self.0.join(&next)).unwrap();
        fs::write(self.0.join(&next).join("ca.crt"), bundle).unwrap();
        symlink(&next, self.0.join("..data_tmp")).unwrap();
        fs::rename(self.0.join("..data_tmp"), self.0.join("..data")).unwrap();
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

fn authority(name: &str) -> Authority {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    let key = KeyPair::generate().unwrap();
    let pem = params.self_signed(&key).unwrap().pem();
    Authority { pem, issuer: Issuer::new(params, key) }
}

fn acceptor(authority: &Authority) -> TlsAcceptor {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(["localhost".to_owned()]).unwrap();
    let leaf = params.signed_by(&key, &authority.issuer).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![leaf.into()], PrivateKeyDer::from(key))
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

/// Serves on a port of its own; `before` is called with the number of each connection before its
/// handshake.
async fn serve(
    acceptor: TlsAcceptor,
    mut before: impl FnMut(u32) + Send + 'static,
) -> (Endpoint, Arc<AtomicU32>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let connections = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&connections);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            before(count.fetch_add(1, Ordering::SeqCst));
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let mut request = [0; 1024];
            if stream.read(&mut request).await.is_ok_and(|read| read > 0) {
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
                stream.write_all(answer).await.unwrap();
            }
        }
    });
    (Endpoint { secure: true, host: "localhost".to_owned(), port }, connections)
}

async fn ask(client: &mut Client) -> Result<(), SendError> {
    let answer = client.send(Method::GET, "/livez", Bytes::new(), Encoding::Identity).await?;
    assert!(answer.status.is_success());
    Ok(())
}

#[tokio::test]
async fn a_bundle_that_follows_during_the_handshake_is_used_at_once() {
    let (old, new) = (authority("old"), authority("new"));
    let mounted = Arc::new(Mounted::new(&old.pem));
    let both = format!("{}{}", old.pem, new.pem);
    let (swapped, bundle) = (Arc::clone(&mounted), both.clone());
    let (endpoint, connections) = serve(acceptor(&new), move |number| {
        if number == 0 {
            swapped.swap(&bundle);
        }
    })
    .await;
    let mut client = Client::new(endpoint, None, Some(mounted.file()));
    assert_eq!(client.trust(), Some(TrustId::of(old.pem.as_bytes())));
    ask(&mut client).await.unwrap();
    assert_eq!(connections.load(Ordering::SeqCst), 2, "one that failed and one that did not");
    assert_eq!(client.trust(), Some(TrustId::of(both.as_bytes())));
}

#[tokio::test]
async fn an_unchanged_bundle_is_not_tried_twice_and_a_swap_is_followed_later() {
    let (old, new) = (authority("old"), authority("new"));
    let mounted = Mounted::new(&old.pem);
    let (endpoint, connections) = serve(acceptor(&new), |_| {}).await;
    let mut client = Client::new(endpoint, None, Some(mounted.file()));
    let failed = ask(&mut client).await.unwrap_err();
    assert!(matches!(failed, SendError::Tls { source: TlsError::Handshake(_), .. }), "{failed:?}");
    assert_eq!(connections.load(Ordering::SeqCst), 1);
    mounted.swap(&new.pem);
    ask(&mut client).await.unwrap();
}

#[tokio::test]
async fn every_authority_of_a_bundle_may_vouch() {
    let all = [authority("first"), authority("second"), authority("third")];
    let bundle: String = all.iter().map(|it| it.pem.as_str()).collect();
    let mounted = Mounted::new(&bundle);
    for it in &all {
        let (endpoint, _) = serve(acceptor(it), |_| {}).await;
        ask(&mut Client::new(endpoint, None, Some(mounted.file()))).await.unwrap();
    }
    let (endpoint, _) = serve(acceptor(&authority("first")), |_| {}).await;
    let refused = ask(&mut Client::new(endpoint, None, Some(mounted.file()))).await;
    assert!(refused.is_err(), "the same name with another key vouches for nothing");
}

#[test]
fn what_follows_from_a_bundle_lives_as_long_as_its_bytes() {
    let (old, new) = (authority("old"), authority("new"));
    let mounted = Mounted::new(&old.pem);
    let mut trust = Trust::new(mounted.file());
    let first = trust.connect("localhost").unwrap();
    mounted.swap(&old.pem);
    let same = trust.connect("localhost").unwrap();
    assert!(Arc::ptr_eq(&first.current.config, &same.current.config), "sessions are kept");
    mounted.swap(&new.pem);
    let other = trust.connect("localhost").unwrap();
    assert!(!Arc::ptr_eq(&first.current.config, &other.current.config), "no session outlives it");
}

#[test]
fn a_bundle_that_cannot_be_used_is_never_named() {
    let mounted = Mounted::new(&authority("old").pem);
    let mut trust = Trust::new(mounted.file());
    assert!(trust.id().is_some());
    for bad in ["", "no PEM", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        mounted.swap(bad);
        assert_eq!(trust.id(), None, "{bad:?}");
    }
    let mut nowhere = Trust::new("/nowhere/ca.crt".into());
    assert_eq!(nowhere.id(), None);
    assert!(matches!(nowhere.connect("localhost"), Err(TlsError::ReadAuthorities { .. })));
}

//! Certificates, good and bad ones, for 127.0.0.1 and `localhost`.

use std::io;
use std::sync::Arc;
use std::sync::OnceLock;
use std::time::Duration;
use std::time::SystemTime;

use rustls::ServerConfig;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::cluster::pki::Authority;
use crate::cluster::pki::Pair;

/// Long enough ago for every clock.
const AGO: Duration = Duration::from_secs(48 * 60 * 60);

/// What a server shows to whoever connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Certificate {
    /// None: the connection ends within the handshake, after the client's first words.
    Cut,
    /// Past its end.
    Expired,
    /// As it should be.
    Good,
    /// Of an authority that nobody trusts.
    Unknown,
    /// For another name.
    WrongName,
}

/// The authority of a receiver, and its certificates. Made when they are first needed.
#[derive(Default)]
pub(crate) struct Identity {
    authority: OnceLock<Authority>,
    acceptors: [OnceLock<TlsAcceptor>; 4],
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Identity").finish_non_exhaustive()
    }
}

impl Identity {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn authority(&self) -> &str {
        self.trusted().certificate()
    }

    /// Greets a client by this certificate.
    pub(crate) async fn greet(
        &self,
        mut stream: TcpStream,
        certificate: Certificate,
    ) -> io::Result<TlsStream<TcpStream>> {
        let Some(acceptor) = self.acceptor(certificate) else {
            stream.read_u8().await?;
            return Err(io::ErrorKind::ConnectionAborted.into());
        };
        acceptor.accept(stream).await
    }

    fn acceptor(&self, certificate: Certificate) -> Option<TlsAcceptor> {
        let [expired, good, unknown, wrong] = &self.acceptors;
        let here = ["127.0.0.1".to_owned(), "localhost".to_owned()];
        let made = match certificate {
            Certificate::Cut => return None,
            Certificate::Expired => {
                let now = SystemTime::now();
                let past = now - 2 * AGO..now - AGO;
                let old = || self.trusted().server_within(past, "receiver", &here);
                expired.get_or_init(|| acceptor(&old()))
            }
            Certificate::Good => {
                good.get_or_init(|| acceptor(&self.trusted().server("receiver", &here)))
            }
            Certificate::Unknown => {
                let stranger = || Authority::new("a stranger").server("receiver", &here);
                unknown.get_or_init(|| acceptor(&stranger()))
            }
            Certificate::WrongName => {
                let other = ["elsewhere.example".to_owned()];
                wrong.get_or_init(|| acceptor(&self.trusted().server("receiver", &other)))
            }
        };
        Some(made.clone())
    }

    fn trusted(&self) -> &Authority {
        self.authority.get_or_init(|| Authority::new("receivers"))
    }
}

fn acceptor(pair: &Pair) -> TlsAcceptor {
    let chain: Result<Vec<_>, _> =
        CertificateDer::pem_slice_iter(pair.certificate.as_bytes()).collect();
    let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).expect("a key");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions that the provider has")
        .with_no_client_auth()
        .with_single_cert(chain.expect("a certificate"), key)
        .expect("a key for its certificate");
    TlsAcceptor::from(Arc::new(config))
}

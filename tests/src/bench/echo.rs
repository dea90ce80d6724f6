//! The bare limit of a server: hyper with as many workers as the collector has, which reads each
//! body and answers with the same bytes. A process of its own, so that its CPU time is its own.

use std::convert::Infallible;
use std::io::BufRead;
use std::io::BufReader;
use std::net::SocketAddr;
use std::process::Child;
use std::process::ChildStdin;
use std::process::Command;
use std::process::Stdio;

use http_body_util::BodyExt;
use http_body_util::Full;
use hyper::Request;
use hyper::Response;
use hyper::body::Bytes;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

/// The first argument that makes this program an echo server.
pub(super) const ROLE: &str = "--serve-echo";

/// As many as the collector has.
const WORKERS: usize = 2;

/// A running echo server; it ends when its input does.
#[derive(Debug)]
pub(super) struct Echo {
    child: Child,
    input: Option<ChildStdin>,
    /// Where it listens.
    pub(super) address: SocketAddr,
}

impl Echo {
    /// Starts one.
    pub(super) fn start() -> Self {
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .arg(ROLE)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("start the echo server");
        let mut line = String::new();
        let output = child.stdout.take().expect("a piped output");
        BufReader::new(output).read_line(&mut line).expect("an address");
        let address = line.trim().parse().expect("an address");
        Self { input: child.stdin.take(), child, address }
    }

    /// Its process id.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        drop(self.input.take());
        if let Err(error) = self.child.wait() {
            eprintln!("the echo server cannot be waited for: {error}");
        }
    }
}

/// Serves until the input ends.
pub(super) fn serve() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.spawn(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        println!("{}", listener.local_addr().expect("an address"));
        loop {
            let (stream, _) = listener.accept().await.expect("a connection");
            stream.set_nodelay(true).expect("no delay");
            tokio::spawn(async move {
                let connection = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service_fn(answer));
                // A client that goes away is how every run ends.
                connection.await.ok();
            });
        }
    });
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink()).expect("wait for the end");
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let body = request.into_body().collect().await.expect("a whole body").to_bytes();
    Ok(Response::new(Full::new(body)))
}

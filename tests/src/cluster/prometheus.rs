//! A real Prometheus on loopback: it evaluates the rules that a test writes, over figures of the test or
//! of whatever the test has it scrape.
//!
//! ```text
//! Figures (text of the test) <─ scrapes ─ Prometheus ─ evaluates ─> rules of the test
//! ```

use std::io::Read as _;
use std::io::Write as _;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::net::TcpStream;
use std::process::Command;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hyper::Method;
use hyper::body::Bytes;
use serde_json::Value;

use super::alertmanager::listens;
use super::components::Component;
use super::components::binary;
use super::launch::Daemon;
use crate::directory::Directory;
use crate::http::Answer;
use crate::http::Client;
use crate::wait;

/// It starts in a second.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// Bytes of a question of Prometheus: a request line and some headers.
const MAX_QUESTION: usize = 64 * 1024;

/// A Prometheus that runs until it is dropped.
#[derive(Debug)]
pub struct Prometheus {
    address: SocketAddr,
    daemon: Option<Daemon>,
    files: Directory,
}

impl Prometheus {
    /// Starts one on a port that the kernel chooses, and waits until it is ready. It looks at figures and
    /// rules once a second.
    ///
    /// `config`: more of its configuration, as YAML, such as [`Figures::scraped`]. `rules`: as
    /// [`Prometheus::say_rules`] takes them.
    ///
    /// # Panics
    /// If it is not in time.
    #[must_use]
    pub fn start(config: &str, rules: &str) -> Self {
        let files = Directory::new("prometheus");
        let often = "global: {scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}";
        files.write("config.yml", format!("{often}\nrule_files: [rules.yml]\n{config}"));
        files.write("rules.yml", rules);
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut this = Self { address: any, daemon: None, files };
        this.restart();
        this
    }

    /// Starts it once more, at the same address with the same data, if it has been stopped.
    ///
    /// # Panics
    /// If it is not ready in time.
    pub fn restart(&mut self) {
        let path = |name: &str| self.files.path().join(name).display().to_string();
        let mut command = Command::new(binary(Component::Prometheus, "prometheus"));
        command
            .arg(format!("--config.file={}", path("config.yml")))
            .arg(format!("--storage.tsdb.path={}", path("data")))
            .arg(format!("--web.listen-address={}", self.address))
            .arg("--web.enable-lifecycle");
        let mut daemon = Daemon::start("prometheus", &command, self.files.path());
        let log = self.files.path().join("prometheus.log");
        let mut address = None;
        daemon.wait_until("Prometheus listens", READY_WITHIN, || {
            address = std::fs::read_to_string(&log).ok().as_deref().and_then(listens);
            address.is_some()
        });
        self.address = address.expect("an address");
        self.daemon = Some(daemon);
        wait::until("Prometheus is ready", READY_WITHIN, || {
            let answer = self.says(Method::GET, "/-/ready").map_err(|error| error.to_string())?;
            if answer.status == 200 { Ok(()) } else { Err(answer.text()) }
        });
    }

    /// Kills it; what it has stored stays.
    pub fn stop(&mut self) {
        self.daemon = None;
    }

    /// Removes what it has stored, as if it had no disk of its own, once it has been stopped.
    ///
    /// # Panics
    /// If it has not, or if that fails.
    pub fn forget(&self) {
        assert!(self.daemon.is_none(), "it would write again what it knows");
        std::fs::remove_dir_all(self.files.path().join("data")).expect("what it has stored");
    }

    /// Its address as a policy has it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Has it evaluate these rules from now on, or from its next start if it has been stopped; as in a
    /// file of rules (`groups: [...]`).
    ///
    /// # Panics
    /// If it does not take them.
    pub fn say_rules(&self, rules: &str) {
        self.files.write("rules.yml", rules);
        if self.daemon.is_none() {
            return;
        }
        let answer = self.says(Method::POST, "/-/reload").expect("an answer");
        assert_eq!(answer.status, 200, "{}", answer.text());
    }

    /// What is at this path of its interface; an error is one of the connection.
    ///
    /// # Errors
    /// When nobody is there.
    pub fn asked(&self, path: &str) -> std::io::Result<Answer> {
        self.says(Method::GET, path)
    }

    /// Waits until this path answers with something that holds these words.
    ///
    /// # Panics
    /// If it does not.
    pub fn until_says(&self, path: &str, words: &str) -> Value {
        wait::until(&format!("{path} says {words}"), READY_WITHIN, || {
            let answer = self.asked(path).map_err(|error| error.to_string())?;
            let text = answer.text();
            if text.contains(words) { Ok(answer.json()) } else { Err(text) }
        })
    }

    fn says(&self, method: Method, path: &str) -> std::io::Result<Answer> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(async {
            Client::new(self.address).try_send(method, path, &[], Bytes::new()).await
        })
    }
}

/// Figures of a test, on loopback, for as long as they are not dropped.
#[derive(Debug)]
pub struct Figures {
    address: SocketAddr,
    text: Arc<Mutex<String>>,
    is_over: Arc<AtomicBool>,
}

impl Figures {
    /// Shows these.
    ///
    /// # Panics
    /// If the machine has no port or no thread.
    #[must_use]
    pub fn show(text: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let text = Arc::new(Mutex::new(text.to_owned()));
        let is_over = Arc::new(AtomicBool::new(false));
        let (shown, over) = (Arc::clone(&text), Arc::clone(&is_over));
        let serve = move || {
            for stream in listener.incoming() {
                if over.load(Ordering::Relaxed) {
                    return;
                }
                let text = shown.lock().unwrap_or_else(PoisonError::into_inner).clone();
                // Who hangs up comes again in a second.
                if let Some(error) = stream.and_then(|it| answer(it, &text)).err() {
                    eprintln!("figures: {error}");
                }
            }
        };
        std::thread::Builder::new().name("figures".to_owned()).spawn(serve).expect("a thread");
        Self { address, text, is_over }
    }

    /// Shows others from now on, in the text format.
    pub fn say(&self, text: &str) {
        text.clone_into(&mut self.text.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// What has a Prometheus scrape them.
    #[must_use]
    pub fn scraped(&self) -> String {
        let address = self.address;
        format!(
            "scrape_configs: [{{job_name: figures, static_configs: [{{targets: ['{address}']}}]}}]\n"
        )
    }
}

impl Drop for Figures {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        // Wakes the thread; if that fails, it has ended.
        drop(TcpStream::connect(self.address));
    }
}

fn answer(mut stream: TcpStream, text: &str) -> std::io::Result<()> {
    let mut asked = Vec::new();
    let mut some = [0; 1024];
    while !asked.ends_with(b"\r\n\r\n") && asked.len() < MAX_QUESTION {
        let count = stream.read(&mut some)?;
        if count == 0 {
            return Ok(());
        }
        asked.extend_from_slice(&some[..count]);
    }
    let head =
        "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: text/plain; version=1.0.0\r\n";
    write!(stream, "{head}content-length: {}\r\n\r\n{text}", text.len())
}

//! The real kubectl, with the administrator's kubeconfig or any other.

use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::process::Stdio;

use super::ControlPlane;
use super::components::Component;
use super::components::binary;

impl ControlPlane {
    /// kubectl as the administrator: what it prints on stdout.
    ///
    /// # Panics
    /// If it fails.
    pub fn kubectl(&self, arguments: &[&str]) -> String {
        let answer = self.try_kubectl(arguments);
        answer.unwrap_or_else(|error| panic!("kubectl {}: {error}", arguments.join(" ")))
    }

    /// The same: stdout if it succeeds, else stderr.
    ///
    /// # Errors
    /// What kubectl printed on stderr when it failed.
    pub fn try_kubectl(&self, arguments: &[&str]) -> Result<String, String> {
        self.kubectl_with(self.kubeconfig(), arguments, "")
    }

    /// `kubectl apply -f -` with these documents.
    ///
    /// # Panics
    /// If the API server takes one of them not.
    pub fn apply(&self, yaml: &str) -> String {
        let answer = self.kubectl_with(self.kubeconfig(), &["apply", "-f", "-"], yaml);
        answer.unwrap_or_else(|error| panic!("kubectl apply: {error}\n{yaml}"))
    }

    /// kubectl with any kubeconfig and stdin.
    ///
    /// # Errors
    /// What kubectl printed on stderr when it failed.
    ///
    /// # Panics
    /// If kubectl cannot be run.
    pub fn kubectl_with(
        &self,
        kubeconfig: &Path,
        arguments: &[&str],
        stdin: &str,
    ) -> Result<String, String> {
        let mut child = Command::new(binary(Component::Kubernetes, "kubectl"))
            .arg("--kubeconfig")
            .arg(kubeconfig)
            .args(arguments)
            .env_remove("KUBECONFIG")
            .env("KUBECACHEDIR", self.directory().join("kubectl-cache"))
            .env("HOME", self.directory())
            .env("NO_PROXY", "*")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("run kubectl");
        let mut input = child.stdin.take().expect("a piped stdin");
        let output = std::thread::scope(|scope| {
            // Closed before everything was read: its exit code tells why.
            scope.spawn(move || input.write_all(stdin.as_bytes()).is_ok());
            child.wait_with_output().expect("wait for kubectl")
        });
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
    }
}

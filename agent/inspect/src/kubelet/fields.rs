//! The fields of `KubeletConfiguration` that are facts, with their flags and both defaults.
//!
//! Source: `k8s.io/kubelet/config/v1beta1`, its defaults, and the flags of kubelet(1). Without
//! `--config` the kubelet starts from an older set of defaults, which is less strict in four
//! fields. Not in the table: fields that may hold secrets or identify one node.

/// A field.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field {
    /// Its path in `KubeletConfiguration`, with dots.
    pub(super) path: &'static str,
    /// What it holds.
    pub(super) kind: Kind,
    /// Its flag without dashes; empty if it has none.
    pub(super) flag: &'static str,
    /// Its value if nothing sets it and there is a configuration file.
    pub(super) default: Default,
    /// Its value if nothing sets it and the kubelet runs without `--config`.
    pub(super) legacy: Default,
    /// What zero or an empty text in a file means. On a flag it always means itself.
    pub(super) zero: Zero,
}

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// `true` or `false`.
    Boolean,
    /// A duration as Go writes it: `4h0m0s`.
    Duration,
    /// Switches by name; those of all layers together count.
    Gates,
    /// A whole number.
    Integer,
    /// Texts in order.
    List,
    /// Texts by name; on a flag `name`, `separator`, `text`, and commas between.
    Map { separator: char },
    /// A path; in the `--config` file relative to that file.
    Path,
    /// A text.
    Text,
}

/// A built-in default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Default {
    /// A boolean.
    Boolean(bool),
    /// A number.
    Integer(i64),
    /// Texts.
    List(&'static [&'static str]),
    /// Texts by name.
    Map(&'static [(&'static str, &'static str)]),
    /// A text, path or duration.
    Text(&'static str),
    /// Not set.
    Unset,
}

/// What zero or an empty text in a file means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Zero {
    /// The default, as if it were not there: plain fields of the API type.
    Default,
    /// Itself: fields that the API type knows as set or not set.
    Itself,
}

const fn field(path: &'static str, kind: Kind, flag: &'static str, default: Default) -> Field {
    Field { path, kind, flag, default, legacy: default, zero: Zero::Default }
}

impl Field {
    const fn legacy(mut self, legacy: Default) -> Self {
        self.legacy = legacy;
        self
    }

    /// Knows zero from not set.
    const fn optional(mut self) -> Self {
        self.zero = Zero::Itself;
        self
    }
}

const fn switch(path: &'static str, flag: &'static str, default: bool) -> Field {
    field(path, Kind::Boolean, flag, Default::Boolean(default)).optional()
}

const fn number(path: &'static str, flag: &'static str, default: i64) -> Field {
    field(path, Kind::Integer, flag, Default::Integer(default))
}

const fn duration(path: &'static str, flag: &'static str, default: &'static str) -> Field {
    field(path, Kind::Duration, flag, Default::Text(default))
}

const fn text(path: &'static str, flag: &'static str, default: &'static str) -> Field {
    field(path, Kind::Text, flag, Default::Text(default))
}

const fn unset(path: &'static str, kind: Kind, flag: &'static str) -> Field {
    field(path, kind, flag, Default::Unset)
}

const EQUALS: Kind = Kind::Map { separator: '=' };

/// What the kubelet evicts at on Linux if its configuration file does not tell.
const EVICTION: Default = Default::Map(&[
    ("imagefs.available", "15%"),
    ("imagefs.inodesFree", "5%"),
    ("memory.available", "100Mi"),
    ("nodefs.available", "10%"),
    ("nodefs.inodesFree", "5%"),
]);

/// The fields, in ascending order of their paths, capitals as small letters.
pub(super) const FIELDS: [Field; 71] = [
    text("address", "address", "0.0.0.0"),
    unset("allowedUnsafeSysctls", Kind::List, "allowed-unsafe-sysctls"),
    switch("authentication.anonymous.enabled", "anonymous-auth", false)
        .legacy(Default::Boolean(true)),
    duration("authentication.webhook.cacheTTL", "authentication-token-webhook-cache-ttl", "2m0s"),
    switch("authentication.webhook.enabled", "authentication-token-webhook", true)
        .legacy(Default::Boolean(false)),
    unset("authentication.x509.clientCAFile", Kind::Path, "client-ca-file"),
    text("authorization.mode", "authorization-mode", "Webhook")
        .legacy(Default::Text("AlwaysAllow")),
    duration(
        "authorization.webhook.cacheAuthorizedTTL",
        "authorization-webhook-cache-authorized-ttl",
        "5m0s",
    ),
    duration(
        "authorization.webhook.cacheUnauthorizedTTL",
        "authorization-webhook-cache-unauthorized-ttl",
        "30s",
    ),
    text("cgroupDriver", "cgroup-driver", "cgroupfs"),
    unset("cgroupRoot", Kind::Text, "cgroup-root"),
    unset("clusterDNS", Kind::List, "cluster-dns"),
    unset("clusterDomain", Kind::Text, "cluster-domain"),
    number("containerLogMaxFiles", "container-log-max-files", 5).optional(),
    text("containerLogMaxSize", "container-log-max-size", "10Mi"),
    text(
        "containerRuntimeEndpoint",
        "container-runtime-endpoint",
        "unix:///run/containerd/containerd.sock",
    ),
    text("cpuManagerPolicy", "cpu-manager-policy", "none"),
    switch("enableContentionProfiling", "contention-profiling", false),
    switch("enableDebugFlagsHandler", "", true),
    switch("enableDebuggingHandlers", "enable-debugging-handlers", true),
    switch("enableProfilingHandler", "", true),
    switch("enableServer", "enable-server", true),
    switch("enableSystemLogHandler", "", true),
    switch("enableSystemLogQuery", "", false),
    field(
        "enforceNodeAllocatable",
        Kind::List,
        "enforce-node-allocatable",
        Default::List(&["pods"]),
    ),
    number("eventBurst", "event-burst", 100),
    number("eventRecordQPS", "event-qps", 50).optional(),
    field("evictionHard", Kind::Map { separator: '<' }, "eviction-hard", EVICTION)
        .legacy(Default::Unset),
    switch("failSwapOn", "fail-swap-on", true),
    unset("featureGates", Kind::Gates, "feature-gates"),
    duration("fileCheckFrequency", "file-check-frequency", "20s"),
    text("healthzBindAddress", "healthz-bind-address", "127.0.0.1"),
    number("healthzPort", "healthz-port", 10_248).optional(),
    number("imageGCHighThresholdPercent", "image-gc-high-threshold", 85).optional(),
    number("imageGCLowThresholdPercent", "image-gc-low-threshold", 80).optional(),
    duration("imageMinimumGCAge", "minimum-image-ttl-duration", "2m0s"),
    unset("kubeletCgroups", Kind::Text, "kubelet-cgroups"),
    unset("kubeReserved", EQUALS, "kube-reserved"),
    unset("kubeReservedCgroup", Kind::Text, "kube-reserved-cgroup"),
    switch("makeIPTablesUtilChains", "make-iptables-util-chains", true),
    unset("maxParallelImagePulls", Kind::Integer, "").optional(),
    number("maxPods", "max-pods", 110),
    text("memoryManagerPolicy", "memory-manager-policy", "None"),
    unset("memorySwap.swapBehavior", Kind::Text, ""),
    switch("mergeDefaultEvictionSettings", "", false),
    number("nodeLeaseDurationSeconds", "", 40),
    duration("nodeStatusUpdateFrequency", "node-status-update-frequency", "10s"),
    number("podPidsLimit", "pod-max-pids", -1).optional(),
    number("podsPerCore", "pods-per-core", 0),
    number("port", "port", 10_250),
    switch("protectKernelDefaults", "protect-kernel-defaults", false),
    number("readOnlyPort", "read-only-port", 0).legacy(Default::Integer(10_255)),
    number("registryBurst", "registry-burst", 10),
    number("registryPullQPS", "registry-qps", 5).optional(),
    field("resolvConf", Kind::Path, "resolv-conf", Default::Text("/etc/resolv.conf")).optional(),
    switch("rotateCertificates", "rotate-certificates", false),
    duration("runtimeRequestTimeout", "runtime-request-timeout", "2m0s"),
    switch("seccompDefault", "seccomp-default", false),
    switch("serializeImagePulls", "serialize-image-pulls", true),
    switch("serverTLSBootstrap", "rotate-server-certificates", false),
    duration("shutdownGracePeriod", "", "0s"),
    duration("shutdownGracePeriodCriticalPods", "", "0s"),
    unset("staticPodPath", Kind::Path, "pod-manifest-path"),
    unset("staticPodURL", Kind::Text, "manifest-url"),
    duration("streamingConnectionIdleTimeout", "streaming-connection-idle-timeout", "4h0m0s"),
    unset("systemReserved", EQUALS, "system-reserved"),
    unset("tlsCertFile", Kind::Path, "tls-cert-file"),
    unset("tlsCipherSuites", Kind::List, "tls-cipher-suites"),
    unset("tlsMinVersion", Kind::Text, "tls-min-version"),
    unset("tlsPrivateKeyFile", Kind::Path, "tls-private-key-file"),
    text("topologyManagerPolicy", "topology-manager-policy", "none"),
];

/// Feature gates that rules ask for although nothing sets them, with the default that all covered
/// versions share.
pub(super) const GATES: [(&str, bool); 1] = [("RotateKubeletServerCertificate", true)];

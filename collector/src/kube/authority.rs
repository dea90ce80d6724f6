//! The collector's own authority and serving certificate, in a Secret; what agents trust, in a
//! ConfigMap.
//!
//! | module | does |
//! |---|---|
//! | [`decide`] | the next step, purely |
//! | [`store`] | what lies in Secret and ConfigMap, as types |
//! | [`make`] | keys and certificates |
//! | [`keeper`] | reads, acts, reads again |
//!
//! With a Secret of somebody else's (cert-manager, a corporate authority) only the serving
//! certificate is followed.
//!
//! When the Secret is lost: restored from a backup, everything goes on. Emptied, a new authority is
//! made, and the lost one stays published for a while; agents reach the collector again as soon as
//! the kubelet has brought them the ConfigMap. Corrupt, nothing is overwritten: the log names the
//! key, and what is served stays served.

pub mod decide;
pub mod keeper;
pub mod make;
pub mod store;

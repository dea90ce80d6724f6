//! The cluster that a collector serves: the way there and what is known of it, from the start on,
//! whether this collector leads or not.

use std::fmt;
use std::sync::Arc;

use tokio::task::JoinSet;

use super::alert_events::AlertEvents;
use super::alert_events::AlertSide;
use super::authority::keeper::Keeper;
use super::authority::keeper::Places;
use super::authority::keeper::Role;
use super::client::Clients;
use super::client::ConnectError;
use super::fence::BootClock;
use super::fence::Fence;
use super::fence::MachineClock;
use super::grant_keys::KeyKeeper;
use super::hand_over::HandOver;
use super::nodes;
use super::nodes::Directory;
use super::review::ApiReviewer;
use crate::clock::SystemClock;
use crate::engine::Engine;
use crate::figures::Figures;
use crate::grants::OfferBook;
use crate::planned::Planned;
use crate::settings::KubernetesSettings;
use crate::settings::Serving;
use crate::tls::Tls;

/// Everything about the cluster that outlives a term.
#[derive(Clone)]
pub struct Cluster {
    /// How to serve it.
    pub settings: KubernetesSettings,
    /// The ways to its API server.
    pub clients: Clients,
    /// Shut unless this process leads.
    pub fence: Fence,
    /// The clock that the fence goes by.
    pub clock: Arc<dyn BootClock>,
    /// Which nodes and agents' pods exist; filled once [`Self::watch`] runs.
    pub directory: Arc<Directory>,
    /// Whether another collector is to lead.
    pub hand_over: Arc<HandOver>,
    /// What this process has beside it.
    pub own: Own,
}

/// What a collector has of its own, whether it leads or not.
#[derive(Clone, Debug)]
pub struct Own {
    /// What it serves with.
    pub tls: Option<Arc<Tls>>,
    /// What it counts.
    pub figures: Arc<Figures>,
    /// Grants that may be handed out.
    pub offers: Arc<OfferBook>,
    /// Where the coordinator of reboots shows what it plans.
    pub planned: Arc<Planned>,
    /// Wall time.
    pub clock: SystemClock,
    /// Name of the profile by which it judges.
    pub profile: String,
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Cluster").field(&self.directory).finish()
    }
}

impl Cluster {
    /// Sets up the way to the API server; asks it nothing.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub async fn set_up(settings: KubernetesSettings, own: Own) -> Result<Self, ConnectError> {
        let clock: Arc<dyn BootClock> = Arc::new(MachineClock);
        let fence = Fence::shut(Arc::clone(&clock));
        let clients = Clients::connect(settings.kubeconfig.as_deref(), &fence).await?;
        let (directory, hand_over) = (Arc::default(), Arc::default());
        Ok(Self { settings, clients, fence, clock, directory, hand_over, own })
    }

    /// Watches what exists, as long as the set is held. A collector that stands by watches too:
    /// when it comes to lead it knows its nodes.
    pub fn watch(&self, tasks: &mut JoinSet<()>) {
        let Self { settings, clients, directory, .. } = self;
        tasks.spawn(nodes::watch_nodes(clients.clone(), Arc::clone(directory)));
        tasks.spawn(nodes::watch_pods(
            clients.clone(),
            settings.namespace.clone(),
            settings.agent_service_account.clone(),
            Arc::clone(directory),
        ));
        if let Some(keeper) = self.keeper(Role::Follow) {
            tasks.spawn(keeper.run());
        }
    }

    /// Who answers questions about tokens and objects.
    #[must_use]
    pub fn reviewer(&self) -> ApiReviewer {
        let KubernetesSettings { namespace, audience, .. } = &self.settings;
        ApiReviewer::new(self.clients.acting.clone(), namespace.clone(), audience.clone())
    }

    /// What alerts need of the cluster, in the term that begins.
    pub(crate) async fn alert_side(&self) -> AlertSide {
        let Own { tls: _, figures, offers: _, planned: _, clock, profile: _ } = self.own.clone();
        let events = AlertEvents::new(
            &self.clients,
            &self.settings.identity,
            Arc::clone(&self.directory) as _,
            Arc::new(clock),
            figures,
        );
        AlertSide {
            events: Some(Arc::new(events)),
            api_server: self.clients.server_addresses().await,
            fence: Some(self.fence.clone()),
        }
    }

    /// Who keeps the key that signs grants; `None` where the Secret is not ours to write, so that no
    /// node can be granted a reboot.
    #[must_use]
    pub fn key_keeper(&self, engine: Engine) -> Option<KeyKeeper> {
        let KubernetesSettings { namespace, serving, .. } = &self.settings;
        let Serving::Own { secret, trust, .. } = serving.clone() else { return None };
        let Own { tls: _, figures: _, offers, planned: _, clock, profile: _ } = self.own.clone();
        let client = self.clients.acting.clone();
        Some(KeyKeeper::new(client, namespace, secret, trust, offers, engine, Arc::new(clock)))
    }

    /// Who keeps the certificate, unless it comes from files.
    #[must_use]
    pub fn keeper(&self, role: Role) -> Option<Keeper> {
        let Own { tls, figures, offers: _, planned: _, clock, profile: _ } = self.own.clone();
        let (places, tls) = (Places::of(&self.settings)?, tls?);
        let client = self.clients.acting.clone();
        Some(Keeper::new(client, places, tls, figures, Arc::new(clock), role))
    }
}

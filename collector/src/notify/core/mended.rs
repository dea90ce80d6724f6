//! Receivers that are mended, or others than before: what they refused, and what they do not know, is
//! told again.

use std::path::PathBuf;

use palisade_alert::config::Config;

use super::Core;

impl Core {
    /// Compares the receivers of the settings with those of the settings before, by their names.
    pub(super) fn heed_other_receivers(&mut self, before: &Config) {
        let Self { config, desk, .. } = self;
        for receiver in &config.receivers {
            let Some(was) = before.receiver(&receiver.name) else { continue };
            if was.spec != receiver.spec {
                desk.tell_anew(&receiver.name);
            } else if was.ca_file != receiver.ca_file {
                desk.replay(&receiver.name);
            }
        }
    }

    /// What these files hold is another secret now: what their receivers refused is sent again.
    pub(crate) fn try_again(&mut self, files: &[PathBuf]) {
        let Self { config, desk, .. } = self;
        for receiver in &config.receivers {
            if receiver.files().iter().any(|own| files.iter().any(|file| file == own)) {
                desk.replay(&receiver.name);
            }
        }
    }
}

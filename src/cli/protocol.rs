//! `osteoload protocol`.

use clap::{Args, Subcommand};

use super::output::print;
use crate::plan::KEYS;
use crate::protocol::{BUILT_IN, Protocol};

/// Look at the built-in protocols and at the keys of a plan
#[derive(Clone, Debug, Args)]
pub struct ProtocolArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Clone, Debug, Subcommand)]
enum What {
    /// List the built-in protocols
    List,
    /// Print a protocol, to copy and edit
    Show {
        /// Name of the protocol
        name: String,
    },
    /// List every key with its meaning and the values it takes
    Keys,
}

impl ProtocolArgs {
    pub(super) fn execute(&self) -> anyhow::Result<()> {
        print(self.text()?)
    }

    pub(super) fn text(&self) -> anyhow::Result<String> {
        match &self.what {
            What::List => {
                let mut text = String::new();
                for (name, _) in BUILT_IN {
                    let protocol = Protocol::built_in(name)?;
                    text += &format!("{name:<24} {}\n", protocol.summary);
                }
                Ok(text)
            }
            What::Show { name } => Protocol::text(name).map(str::to_owned),
            What::Keys => {
                let lines = KEYS.iter().map(|key| {
                    format!(
                        "{}\n    {}\n    takes {}\n",
                        key.name,
                        key.meaning.trim(),
                        key.valid()
                    )
                });
                Ok(lines.collect())
            }
        }
    }
}

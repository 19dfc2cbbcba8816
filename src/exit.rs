//! How the program ends: exit status, one line saying why, one line saying what to do.

use std::fmt;

/// Why a command did not do what was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Wrong usage or configuration.
    Usage,
    /// An input was refused.
    Input,
    /// A quality gate refused the case.
    Gate,
    /// The analysis ended without an answer.
    NoAnswer,
    /// Interrupted by the user.
    Interrupted,
}

impl Kind {
    /// The exit status of the process.
    pub fn status(self) -> u8 {
        match self {
            Self::Usage => 2,
            Self::Input => 3,
            Self::Gate => 4,
            Self::NoAnswer => 5,
            Self::Interrupted => 130,
        }
    }
}

/// An error, or a layer around one, that knows how the program must end and what to do about it.
///
/// Any part may be missing: a layer that carries only a remedy adds nothing to the printed chain.
#[derive(Debug, Default)]
pub struct Failure {
    kind: Option<Kind>,
    message: String,
    help: Option<String>,
    // Not an `anyhow` context: those cannot be found again below the top of the chain.
    source: Option<anyhow::Error>,
}

impl Failure {
    fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self {
            kind: Some(kind),
            message: message.into(),
            ..Self::default()
        }
    }

    /// Wrong usage or configuration: exit status 2.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Kind::Usage, message)
    }

    /// An input that is refused: exit status 3.
    pub fn input(message: impl Into<String>) -> Self {
        Self::new(Kind::Input, message)
    }

    /// A case that a quality gate refuses: exit status 4.
    pub fn gate(message: impl Into<String>) -> Self {
        Self::new(Kind::Gate, message)
    }

    /// An analysis without an answer: exit status 5.
    pub fn no_answer(message: impl Into<String>) -> Self {
        Self::new(Kind::NoAnswer, message)
    }

    /// Interrupted by the user: exit status 130.
    pub fn interrupted(message: impl Into<String>) -> Self {
        Self::new(Kind::Interrupted, message)
    }

    /// The same with the error that caused it.
    pub fn because(mut self, source: impl Into<anyhow::Error>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// The same with a remedy.
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source
            .as_ref()
            .map(|source| -> &(dyn std::error::Error + 'static) { source.as_ref() })
    }
}

/// Adds the way to end, or a remedy, to a result.
pub trait EndWith<T> {
    /// Sets the exit status, whatever the error below says.
    ///
    /// # Errors
    /// The error given, with its kind.
    fn kind(self, kind: Kind) -> anyhow::Result<T>;

    /// Adds a remedy.
    ///
    /// # Errors
    /// The error given, with its remedy.
    fn help(self, help: impl Into<String>) -> anyhow::Result<T>;
}

impl<T, E: Into<anyhow::Error>> EndWith<T> for Result<T, E> {
    fn kind(self, kind: Kind) -> anyhow::Result<T> {
        self.map_err(|error| Failure::new(kind, "").because(error).into())
    }

    fn help(self, help: impl Into<String>) -> anyhow::Result<T> {
        self.map_err(|error| Failure::default().because(error).with_help(help).into())
    }
}

/// What is left to say when the program ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending {
    /// Exit status of the process.
    pub status: u8,
    /// The chain of causes on one line.
    pub error: String,
    /// The remedy, where there is one.
    pub help: Option<String>,
}

impl Ending {
    /// Reads an error: the outermost layer that names a kind decides the status, the innermost that
    /// names a remedy the help. An error of a library without a kind is a refused input.
    pub fn of(error: &anyhow::Error) -> Self {
        let failures = || {
            error
                .chain()
                .filter_map(|layer| layer.downcast_ref::<Failure>())
        };
        let status = failures()
            .find_map(|failure| failure.kind)
            .unwrap_or(Kind::Input)
            .status();
        Self {
            status,
            error: chain(error),
            help: failures().filter_map(|failure| failure.help.clone()).last(),
        }
    }
}

impl From<Ending> for Failure {
    fn from(ending: Ending) -> Self {
        let failure = match ending.status {
            2 => Self::usage(ending.error),
            4 => Self::gate(ending.error),
            5 => Self::no_answer(ending.error),
            130 => Self::interrupted(ending.error),
            _ => Self::input(ending.error),
        };
        match ending.help {
            Some(help) => failure.with_help(help),
            None => failure,
        }
    }
}

/// The causes joined with colons, without empty layers and without a cause that its parent already quotes.
fn chain(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in error.chain() {
        let text = cause.to_string();
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        if text.is_empty() || line.ends_with(&text) {
            continue;
        }
        if !line.is_empty() {
            line += ": ";
        }
        line += &text;
    }
    line
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    #[test]
    fn statuses_are_those_of_the_contract() {
        let statuses = [
            Kind::Usage,
            Kind::Input,
            Kind::Gate,
            Kind::NoAnswer,
            Kind::Interrupted,
        ]
        .map(Kind::status);
        assert_eq!(statuses, [2, 3, 4, 5, 130]);
    }

    #[test]
    fn kind_and_help_survive_any_context() {
        let inner: anyhow::Result<()> = Err(Failure::gate("the head is cut off")
            .with_help("scan the whole head")
            .into());
        let error = inner
            .context("case 7")
            .help("a weaker remedy")
            .context("cohort")
            .unwrap_err();
        assert_eq!(
            Ending::of(&error),
            Ending {
                status: 4,
                error: "cohort: case 7: the head is cut off".into(),
                help: Some("scan the whole head".into()),
            }
        );
    }

    #[test]
    fn the_outermost_kind_decides() {
        let inner: anyhow::Result<()> = Err(Failure::gate("x").into());
        let error = inner.kind(Kind::Usage).unwrap_err();
        assert_eq!(Ending::of(&error).status, 2);
    }

    #[test]
    fn a_library_error_is_a_refused_input_and_is_not_said_twice() {
        let source = std::io::Error::new(std::io::ErrorKind::NotFound, "no such\nfile");
        let error: anyhow::Result<()> = Err(imaging::Error::Io {
            path: "ct.nii".into(),
            source,
        }
        .into());
        let ending = Ending::of(&error.context("reading the CT").unwrap_err());
        assert_eq!(ending.status, 3);
        assert_eq!(ending.error, "reading the CT: ct.nii: no such file");
        assert_eq!(ending.help, None);
    }
}

//! How one case of several ended: a vertebra of a label map, a mask variant of a sweep or a cohort.

use super::answered;
use crate::exit::{Ending, Kind};
use crate::plan::Plan;
use crate::report::RunResult;

/// How one case of several ended.
#[derive(Clone, Debug)]
pub enum CaseEnding {
    /// The analysis ran.
    Ran(Box<RunResult>),
    /// It was refused or failed.
    Failed(Ending),
    /// The user ended the program before it.
    NotRun,
}

impl CaseEnding {
    /// The word for `results.csv`: `done`; `no_answer` where there is no failure load; `refuse` where a quality gate refuses;
    /// `failed` for any other error; `interrupted`; `not_run` after an interruption.
    pub fn status(&self, plan: &Plan) -> &'static str {
        match self {
            Self::NotRun => "not_run",
            _ => Self::status_word(self.exit_status(plan)),
        }
    }

    /// The word for an exit status.
    pub(crate) fn status_word(exit_status: u8) -> &'static str {
        match exit_status {
            0 => "done",
            4 => "refuse",
            5 => "no_answer",
            130 => "interrupted",
            _ => "failed",
        }
    }

    /// Why there is no failure load; empty where there is one.
    pub fn reason(&self, plan: &Plan) -> String {
        self.ending(plan)
            .map_or_else(String::new, |ending| ending.error)
    }

    /// How the program would end if this were the only case.
    pub(crate) fn ending(&self, plan: &Plan) -> Option<Ending> {
        match self {
            Self::Ran(result) => answered(plan, std::slice::from_ref(result.as_ref()))
                .err()
                .map(|error| Ending::of(&error)),
            Self::Failed(ending) => Some(ending.clone()),
            Self::NotRun => Some(Ending {
                status: Kind::Interrupted.status(),
                error: "interrupted before it".into(),
                help: None,
            }),
        }
    }

    fn exit_status(&self, plan: &Plan) -> u8 {
        self.ending(plan).map_or(0, |ending| ending.status)
    }
}

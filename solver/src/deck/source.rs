//! The lines of a deck and of the files it includes: comments dropped, keyword cards taken apart.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use crate::error::{Error, Result};

/// Files a deck may be made of, itself included; more is a mistake or an attack.
const MOST_FILES: usize = 1000;

/// A place in a deck.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct At {
    /// Number of the file in [`super::Deck::files`].
    pub file: u32,
    /// Line number, counted from 1.
    pub line: u32,
}

/// The texts of a deck, in the order in which they are opened.
#[derive(Debug, Default)]
pub(super) struct Sources {
    names: Vec<String>,
    texts: Vec<Rc<str>>,
    /// The file that each `*INCLUDE` line opens, by place.
    includes: HashMap<At, u32>,
    /// What was read already: a file that is included again and again stands in memory once.
    read: HashMap<PathBuf, Rc<str>>,
}

impl Sources {
    /// Reads a deck and everything it includes.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let text = read_text(path)?;
        Self::with_text(path, text)
    }

    /// Takes the text of the deck as given; files it includes are looked for beside `path`.
    pub(super) fn with_text(path: &Path, text: String) -> Result<Self> {
        let mut sources = Self::default();
        let mut open = vec![identity(path)];
        sources.load(path, text.into(), &mut open)?;
        Ok(sources)
    }

    fn load(&mut self, path: &Path, text: Rc<str>, open: &mut Vec<PathBuf>) -> Result<()> {
        let file = self.texts.len() as u32;
        self.names.push(path.display().to_string());
        let mut found = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let line = line.trim_start();
            if line.starts_with('*') && !line.starts_with("**") && key_of(line) == "INCLUDE" {
                found.push((number as u32 + 1, line.to_string()));
            }
        }
        self.texts.push(text);
        for (line, text) in found {
            let at = At { file, line };
            let target = include_target(&text).ok_or_else(|| {
                self.error(
                    at,
                    "*INCLUDE needs INPUT=FILE on the same line, such as *INCLUDE,INPUT=mesh.inp",
                )
            })?;
            let target = path.parent().unwrap_or(Path::new("")).join(target);
            let target_identity = identity(&target);
            if open.contains(&target_identity) {
                return Err(self.error(
                    at,
                    format!("{} includes itself; remove the loop", target.display()),
                ));
            }
            if self.texts.len() >= MOST_FILES {
                return Err(self.error(at, format!("more than {MOST_FILES} files are included")));
            }
            let text = match self.read.get(&target_identity) {
                Some(text) => Rc::clone(text),
                None => read_text(&target)
                    .map_err(|e| self.error(at, format!("the included file cannot be read: {e}")))?
                    .into(),
            };
            self.read.insert(target_identity.clone(), Rc::clone(&text));
            self.includes.insert(at, self.texts.len() as u32);
            open.push(target_identity);
            self.load(&target, text, open)?;
            open.pop();
        }
        Ok(())
    }

    /// Names of the files.
    pub(super) fn into_names(self) -> Vec<String> {
        self.names
    }

    /// An error at a place.
    pub(super) fn error(&self, at: At, reason: impl Into<String>) -> Error {
        deck_error(&self.names, at, reason)
    }
}

/// An error at a place of a deck.
pub(super) fn deck_error(files: &[String], at: At, reason: impl Into<String>) -> Error {
    Error::Deck {
        file: files.get(at.file as usize).cloned().unwrap_or_default(),
        line: at.line as usize,
        reason: reason.into(),
    }
}

fn read_text(path: &Path) -> Result<String> {
    let io = |source| Error::Io {
        path: path.into(),
        source,
    };
    // A device gives bytes without end, and a pipe keeps the program waiting for somebody to write.
    if !std::fs::metadata(path).map_err(io)?.is_file() {
        return Err(io(std::io::Error::other("is not a file")));
    }
    let bytes = std::fs::read(path).map_err(io)?;
    // Comments in old encodings must not stop a deck; a broken name or number is refused where it is used.
    Ok(match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
    })
}

fn identity(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.into())
}

/// The keyword of a card, upper case and without blanks: `*Solid Section, ...` is `SOLIDSECTION`.
fn key_of(line: &str) -> String {
    line.split(',')
        .next()
        .unwrap_or_default()
        .chars()
        .filter(|c| !c.is_whitespace() && *c != '*')
        .collect::<String>()
        .to_uppercase()
}

fn include_target(line: &str) -> Option<String> {
    line.split(',').skip(1).find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        let value = value.trim().trim_matches('"');
        (name.trim().eq_ignore_ascii_case("INPUT") && !value.is_empty()).then(|| value.to_string())
    })
}

/// A data line.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line<'a> {
    pub(super) at: At,
    pub(super) text: &'a str,
}

impl<'a> Line<'a> {
    /// The values between the commas, trimmed; one empty value after a last comma is dropped.
    pub(super) fn values(self) -> impl Iterator<Item = &'a str> {
        let text = self.text.trim();
        text.strip_suffix(',')
            .unwrap_or(text)
            .split(',')
            .map(str::trim)
    }
}

/// A keyword line with its parameters.
#[derive(Clone, Debug)]
pub(super) struct Card {
    pub(super) at: At,
    /// Upper case, without star and blanks.
    pub(super) key: String,
    /// As it stands in the deck, for messages.
    pub(super) title: String,
    /// Names upper case without blanks; values as they stand, trimmed.
    parameters: Vec<(String, Option<String>)>,
}

impl Card {
    fn new(at: At, text: &str) -> Self {
        let mut parts = text.split(',');
        let title = parts.next().unwrap_or_default().trim().to_string();
        let parameters = parts
            .filter(|part| !part.trim().is_empty())
            .map(|part| {
                let (name, value) = match part.split_once('=') {
                    Some((name, value)) => (name, Some(value.trim().trim_matches('"').to_string())),
                    None => (part, None),
                };
                let name = name
                    .chars()
                    .filter(|c| !c.is_whitespace())
                    .collect::<String>();
                (name.to_uppercase(), value)
            })
            .collect();
        Self {
            at,
            key: key_of(text),
            title,
            parameters,
        }
    }

    /// Value of a parameter in upper case; empty when it stands without one.
    pub(super) fn get(&self, name: &str) -> Option<String> {
        self.parameters
            .iter()
            .find(|(found, _)| found == name)
            .map(|(_, value)| value.clone().unwrap_or_default().to_uppercase())
    }

    /// Whether a parameter stands on the card, with any value.
    pub(super) fn has(&self, name: &str) -> bool {
        self.parameters.iter().any(|(found, _)| found == name)
    }

    /// The first parameter that is not in `known`.
    pub(super) fn unknown_parameter(&self, known: &[&str]) -> Option<&str> {
        self.parameters
            .iter()
            .map(|(name, _)| name.as_str())
            .find(|name| !known.contains(name))
    }
}

/// Walks the cards and data lines of a deck, through its included files.
pub(super) struct Reader<'a> {
    sources: &'a Sources,
    /// Open files, innermost last, with the lines still to come.
    open: Vec<(u32, u32, std::str::Lines<'a>)>,
    ahead: Option<Line<'a>>,
    last: At,
}

impl<'a> Reader<'a> {
    pub(super) fn new(sources: &'a Sources) -> Self {
        let mut reader = Self {
            sources,
            open: Vec::new(),
            ahead: None,
            last: At { file: 0, line: 1 },
        };
        reader.enter(0);
        reader
    }

    fn enter(&mut self, file: u32) {
        if let Some(text) = self.sources.texts.get(file as usize) {
            self.open.push((file, 0, text.lines()));
        }
    }

    /// Place of the line read last.
    pub(super) fn last(&self) -> At {
        self.last
    }

    /// An error at a place.
    pub(super) fn error(&self, at: At, reason: impl Into<String>) -> Error {
        self.sources.error(at, reason)
    }

    /// Fills `ahead` with the next line that is neither comment, blank nor `*INCLUDE`.
    fn look(&mut self) -> Option<Line<'a>> {
        while self.ahead.is_none() {
            let (file, number, lines) = self.open.last_mut()?;
            let Some(text) = lines.next() else {
                self.open.pop();
                continue;
            };
            *number += 1;
            let at = At {
                file: *file,
                line: *number,
            };
            self.last = at;
            let trimmed = text.trim_start();
            if trimmed.trim_end().is_empty() || trimmed.starts_with("**") {
                continue;
            }
            if let Some(&included) = self.sources.includes.get(&at) {
                self.enter(included);
                continue;
            }
            self.ahead = Some(Line { at, text });
        }
        self.ahead
    }

    /// The next data line of the current card; `None` at the next keyword or the end of the deck.
    pub(super) fn data(&mut self) -> Option<Line<'a>> {
        let line = self.look()?;
        if line.text.trim_start().starts_with('*') {
            return None;
        }
        self.ahead = None;
        Some(line)
    }

    /// The next keyword card, with the lines it goes on over after a comma at its end; a data line in its place is an error.
    pub(super) fn card(&mut self) -> Result<Option<Card>> {
        let Some(first) = self.look() else {
            return Ok(None);
        };
        if !first.text.trim_start().starts_with('*') {
            return Err(self.error(
                first.at,
                "a data line where a keyword is expected; the keyword above takes no more data",
            ));
        }
        self.ahead = None;
        let mut text = first.text.trim().to_string();
        while text.ends_with(',') {
            let Some(next) = self.data() else { break };
            text.push_str(next.text.trim());
        }
        Ok(Some(Card::new(first.at, &text)))
    }
}

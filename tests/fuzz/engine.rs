//! Damages known inputs of a reader and watches what the reader does with them.
//!
//! In process, on stable Rust, without instrumentation. What guides it is the reader's own answer: an
//! input whose answer (what was read, or why it was refused, without numbers, names and quotations)
//! was not seen before joins the pool that later inputs are made of. The same seed gives the same
//! inputs on every machine.
//!
//! A *finding* is an input that makes the reader panic, or take more memory than its target allows;
//! in a long run also one that takes longer than [`SLOW`]. Findings are written below the folder of
//! Cargo for temporary files of tests; a mended one is kept by moving it into the target's corpus,
//! all of whose files every run reads first.

#[path = "counting.rs"]
mod counting;

use std::cell::Cell;
use std::collections::BTreeSet;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

#[allow(unused_imports)] // not every crate has a test of its own for a bomb
pub use counting::{alone, peak};

/// No input is longer, bytes: a damaged file need not be large to be wrong.
const LONGEST: usize = 1 << 16;
/// Most inputs that are kept because their answer was new.
const POOL: usize = 4000;
/// A read that takes longer is a finding of a long run. Sound inputs of this size take milliseconds.
const SLOW: Duration = Duration::from_secs(10);

/// What a reader made of an input: a summary of what it read, or its refusal.
pub type Answer = Result<String, String>;

/// Reads an input.
pub type Read = Box<dyn FnMut(&[u8]) -> Answer>;

/// A reader under attack.
pub struct Target {
    /// Its name, which is that of its corpus.
    pub name: &'static str,
    /// The folder of all corpora of the crate.
    pub corpora: PathBuf,
    /// Sound inputs beside those of the corpus, where a writer makes them at once.
    pub seeds: Vec<Vec<u8>>,
    /// Words of the format.
    pub words: &'static [&'static str],
    /// Inputs of a short run.
    pub tries: u64,
    /// Memory allowed for every input, bytes, and more for each of its bytes.
    pub memory: (usize, usize),
    /// Reads an input.
    pub read: Read,
}

/// Reads inputs as the file `name` of a folder of its own. Refusals come without the folder's name, which is another one in every run.
#[allow(dead_code)] // not every crate reads single files only
pub fn of_file<E: std::fmt::Display>(
    name: &str,
    read: impl Fn(&Path) -> Result<String, E> + 'static,
) -> Read {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    Box::new(move |bytes| {
        // A new file: truncating the old one makes some file systems wait for the disk.
        let _ = std::fs::remove_file(&path);
        std::fs::write(&path, bytes).unwrap();
        read(&path).map_err(|e| format!("{e:#}").replace(&folder.path().display().to_string(), ""))
    })
}

/// What a run came to.
#[derive(Debug, Default)]
pub struct Figures {
    tried: u64,
    read: u64,
    refused: u64,
    answers: BTreeSet<String>,
    kinds: BTreeSet<String>,
    most_bytes: usize,
    slowest: Duration,
    findings: Vec<String>,
}

/// xorshift64* (Vigna 2016).
pub struct Random(u64);

impl Random {
    /// A sequence of its own for every name.
    pub fn new(name: &str) -> Self {
        // FNV-1a; never zero, which xorshift cannot leave.
        let seed = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        Self(seed | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `limit`; 0 where there is none.
    pub fn below(&mut self, limit: usize) -> usize {
        (self.next() >> 33) as usize % limit.max(1)
    }

    fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }
}

/// Reads the corpus, then a fixed number of damaged inputs.
pub fn short(target: fn() -> Target) {
    let _alone = alone();
    let target = target();
    let tries = target.tries;
    let name = target.name;
    let figures = attack(target, false, &|figures, _| figures.tried < tries);
    conclude(name, &figures, None);
    // The attack means little unless much of the damage is met and something survives it.
    assert!(figures.refused > figures.tried / 20, "{name}: {figures:?}");
    assert!(figures.read > 0, "{name}: nothing is read");
    assert!(
        figures.answers.len() > 4,
        "{name}: {} answers",
        figures.answers.len()
    );
}

/// Reads damaged inputs for some minutes of processor time, saying every quarter of a minute how far it is.
pub fn long(target: fn() -> Target, until: f64) {
    let _alone = alone();
    let target = target();
    let name = target.name;
    let said = Cell::new(0.0);
    let figures = attack(target, true, &|figures, minutes| {
        if minutes >= said.get() + 0.25 {
            said.set(minutes);
            println!("{}", row(name, figures, Some(minutes)));
        }
        minutes < until
    });
    conclude(name, &figures, Some(until));
}

fn row(name: &str, figures: &Figures, minutes: Option<f64>) -> String {
    let minutes = minutes.map_or(String::new(), |m| format!(" {m:.2} |"));
    format!(
        "| {name} | {} | {} | {} | {} | {:.1} | {:.2} |{minutes}",
        figures.tried,
        figures.read,
        figures.refused,
        figures.answers.len(),
        figures.most_bytes as f64 / f64::from(1 << 20),
        figures.slowest.as_secs_f64(),
    )
}

fn conclude(name: &str, figures: &Figures, minutes: Option<f64>) {
    println!("{}", row(name, figures, minutes));
    assert!(
        figures.findings.is_empty(),
        "{name}: {} findings\n{}",
        figures.findings.len(),
        figures.findings.join("\n")
    );
}

fn attack(mut target: Target, is_long: bool, go_on: &dyn Fn(&Figures, f64) -> bool) -> Figures {
    let mut corpus = corpus(&target.corpora.join(target.name));
    corpus.append(&mut target.seeds);
    assert!(!corpus.is_empty(), "{}: no corpus", target.name);
    let mut figures = Figures::default();
    let mut pool = corpus.clone();
    for input in &corpus {
        try_one(&mut target, input, &mut figures, is_long);
    }
    let mut random = Random::new(target.name);
    let before = processor_seconds();
    while go_on(&figures, (processor_seconds() - before) / 60.0) {
        // The clock of the processor is a file: not for every input.
        for _ in 0..64 {
            let from = if random.below(2) == 0 { &corpus } else { &pool };
            let mut input = random.pick(from).clone();
            let wounds = if random.below(2) == 0 {
                1
            } else {
                1 + random.below(5)
            };
            for _ in 0..wounds {
                damage(&mut input, &pool, target.words, &mut random);
            }
            input.truncate(LONGEST);
            let is_new = try_one(&mut target, &input, &mut figures, is_long);
            if is_new && pool.len() < POOL {
                pool.push(input);
            }
        }
    }
    figures
}

/// The files of a corpus in the order of their names; none where there is no folder.
fn corpus(folder: &Path) -> Vec<Vec<u8>> {
    if !folder.exists() {
        return Vec::new();
    }
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap_or_else(|e| panic!("{}: {e}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    paths.iter().map(|p| std::fs::read(p).unwrap()).collect()
}

/// Reads one input; returns whether its answer is new.
fn try_one(target: &mut Target, input: &[u8], figures: &mut Figures, is_long: bool) -> bool {
    let started = Instant::now();
    let (bytes, answer) =
        peak(|| std::panic::catch_unwind(AssertUnwindSafe(|| (target.read)(input))));
    let took = started.elapsed();
    figures.tried += 1;
    figures.most_bytes = figures.most_bytes.max(bytes);
    figures.slowest = figures.slowest.max(took);
    let allowed = target.memory.0 + target.memory.1 * input.len();
    let mut finding = |what: String| {
        // One of each kind is enough.
        if figures.kinds.insert(stripped(&what)) {
            let kept = keep(target.name, input);
            figures.findings.push(format!("{what}: {}", kept.display()));
        }
    };
    if bytes > allowed {
        finding(format!(
            "memory: {bytes} bytes for an input of {}",
            input.len()
        ));
    }
    // Once more: the machine may have been busy, or asleep.
    if is_long && took > SLOW {
        let again = Instant::now();
        let _ = std::panic::catch_unwind(AssertUnwindSafe(|| (target.read)(input)));
        if again.elapsed() > SLOW {
            finding(format!("slow: {took:?}"));
        }
    }
    let (was_read, text) = match answer {
        Err(panic) => {
            let text = panic
                .downcast_ref::<String>()
                .map(String::as_str)
                .or_else(|| panic.downcast_ref::<&str>().copied())
                .unwrap_or("?");
            finding(format!("panic: {text}"));
            return true;
        }
        Ok(Ok(text)) => (true, text),
        Ok(Err(text)) => (false, stripped(&text)),
    };
    if was_read {
        figures.read += 1;
    } else {
        figures.refused += 1;
    }
    figures.answers.insert(text)
}

/// Keeps the input of a finding and returns its place.
fn keep(name: &str, input: &[u8]) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join("fuzz-findings")
        .join(name);
    std::fs::create_dir_all(&folder).unwrap();
    let number = std::fs::read_dir(&folder).unwrap().count();
    let path = folder.join(format!("{number:03}"));
    std::fs::write(&path, input).unwrap();
    path
}

/// A refusal without its numbers, its quotations and what comes from the file's own text: lines of it are
/// shown behind a bar, keywords of decks in capitals.
fn stripped(text: &str) -> String {
    let lines: Vec<&str> = text.lines().filter(|line| !line.contains(" |")).collect();
    let text = lines.join(" ");
    let mut kept = String::new();
    let mut quote = None;
    let mut escaped = false;
    for c in text.chars() {
        match quote {
            Some(_) if escaped => escaped = false,
            Some('"') if c == '\\' => escaped = true,
            Some(end) if c == end || c == '\n' => quote = None,
            Some(_) => {}
            None if matches!(c, '"' | '`') => quote = Some(c),
            None if c.is_ascii_digit()
                || c.is_ascii_uppercase()
                || matches!(c, '.' | '-' | '+') =>
            {
                if !kept.ends_with('#') {
                    kept.push('#');
                }
            }
            None if c.is_control() || !c.is_ascii() => {}
            None => kept.push(c),
        }
        if kept.len() > 160 {
            break;
        }
    }
    kept
}

/// Seconds of processor time of this process; elapsed time where the system does not say.
fn processor_seconds() -> f64 {
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    let start = START.get_or_init(Instant::now);
    let ticks = || -> Option<f64> {
        let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
        // The name of the program, in parentheses, may hold blanks.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let field = |n: usize| fields.get(n)?.parse::<f64>().ok();
        // Fields 14 and 15 of proc(5), in hundredths of a second on every Linux.
        Some((field(11)? + field(12)?) / 100.0)
    };
    ticks().unwrap_or_else(|| start.elapsed().as_secs_f64())
}

/// Bytes at which formats change their mind.
const BYTES: [u8; 14] = [
    0, 1, 0x7f, 0x80, 0xff, 0xfe, b'9', b'-', b'\n', b'(', b'"', b',', b'\\', b' ',
];
/// Integers at the edges of their types.
const INTEGERS: [u64; 14] = [
    0,
    1,
    0x7f,
    0x80,
    0xff,
    0x7fff,
    0x8000,
    0xffff,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x7fff_ffff_ffff_ffff,
    0x8000_0000_0000_0000,
    u64::MAX,
];
/// Numbers in place of a number in a text.
const NUMBERS: [&str; 18] = [
    "0",
    "-1",
    "1",
    "-0",
    "3",
    "255",
    "65536",
    "2147483648",
    "4294967295",
    "4294967296",
    "9223372036854775807",
    "18446744073709551615",
    "99999999999999999999999",
    "1e308",
    "-1e308",
    "1e-320",
    "nan",
    "inf",
];

/// Damages an input in one of many ways.
fn damage(bytes: &mut Vec<u8>, pool: &[Vec<u8>], words: &[&str], random: &mut Random) {
    if bytes.is_empty() {
        bytes.clone_from(random.pick(pool));
        return;
    }
    let length = bytes.len();
    // Headers come first, and most of what can go wrong is in them.
    let reach = if random.below(3) > 0 {
        length.min(600)
    } else {
        length
    };
    let at = random.below(reach);
    match random.below(14) {
        0 | 1 => bytes[at] ^= 1 << random.below(8),
        2 => bytes[at] = *random.pick(&BYTES),
        3 => bytes[at] = random.below(256) as u8,
        4 => {
            let size = *random.pick(&[1, 2, 4, 8]);
            let value = random.pick(&INTEGERS).wrapping_add(random.below(3) as u64);
            let big = random.below(2) == 0;
            for n in 0..size {
                let shift = 8 * if big { size - 1 - n } else { n };
                if let Some(byte) = bytes.get_mut(at + n) {
                    *byte = (value >> shift) as u8;
                }
            }
        }
        5 => bytes.truncate(if random.below(2) == 0 {
            at
        } else {
            length - random.below(length.min(40))
        }),
        6 => {
            let end = (at + 1 + block(random)).min(length);
            bytes.drain(at..end);
        }
        7 => {
            let end = (at + 1 + block(random)).min(length);
            let copy = bytes[at..end].to_vec();
            let to = random.below(length);
            bytes.splice(to..to, copy);
        }
        8 => {
            let size = (1 + block(random)).min(length / 2);
            let (a, b) = (
                random.below(length - size + 1),
                random.below(length - size + 1),
            );
            for n in 0..size {
                bytes.swap(a + n, b + n);
            }
        }
        9 => {
            let other = random.pick(pool);
            let from = random.below(other.len());
            bytes.truncate(at);
            bytes.extend_from_slice(&other[from.min(other.len())..]);
        }
        10 if !words.is_empty() => {
            let word = random.pick(words).bytes();
            bytes.splice(at..at, word);
        }
        11 => lines(bytes, random),
        _ => number(bytes, at, random),
    }
}

fn block(random: &mut Random) -> usize {
    let most = *random.pick(&[4, 16, 64, 1024]);
    random.below(most)
}

/// Removes, repeats or exchanges lines.
fn lines(bytes: &mut Vec<u8>, random: &mut Random) {
    let mut list: Vec<Vec<u8>> = bytes
        .split_inclusive(|&b| b == b'\n')
        .map(<[u8]>::to_vec)
        .collect();
    if list.len() < 2 {
        return;
    }
    let (a, b) = (random.below(list.len()), random.below(list.len()));
    match random.below(3) {
        0 => {
            list.remove(a);
        }
        1 => list.insert(b, list[a].clone()),
        _ => list.swap(a, b),
    }
    *bytes = list.concat();
}

/// Puts another number in place of the first one after a place.
fn number(bytes: &mut Vec<u8>, at: usize, random: &mut Random) {
    let is_part = |b: &u8| b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'+' | b'e' | b'E');
    let Some(begin) = (at..bytes.len()).find(|&n| bytes[n].is_ascii_digit()) else {
        return;
    };
    let end = (begin..bytes.len())
        .find(|&n| !is_part(&bytes[n]))
        .unwrap_or(bytes.len());
    let text = random.pick(&NUMBERS).bytes();
    bytes.splice(begin..end, text);
}

/// A test of every target that runs with the others, and one that runs when asked for, as many minutes of processor time as the
/// target has. The targets of one reader have 20 together.
macro_rules! targets {
    ($($name:ident: $minutes:literal),* $(,)?) => {$(
        mod $name {
            #[test]
            fn short() {
                crate::engine::short(super::$name);
            }

            #[test]
            #[ignore = "minutes of processor time"]
            fn long() {
                crate::engine::long(super::$name, f64::from($minutes));
            }
        }
    )*};
}
pub(crate) use targets;

//! Documents on the disk: the time to read and update one, compared with opening and sealing its
//! space's generation once, and the memory of a large one.

pub(crate) mod memory;
mod report;

use std::fs;
use std::path::Path;
use std::rc::Rc;

use anyhow::{Result, ensure};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use strongroom::documents::{Partition, SecretPartitionKey, Space, SpaceOptions};
use strongroom::keys::PasswordCosts;
use strongroom::{SecretPassword, Vault};
use strongroom_testkit::TestKey;

use crate::measure::{self, Contender, Samples, Series};
use crate::options::Options;
use crate::write_results;
use memory::Peaks;

/// Rounds that count, unless another number is requested.
const ROUNDS: usize = 9;

const PASSWORD: &str = "correct horse battery staple";

// Names in the table; each in wall time and, with `CPU`, in processor time.
const RESEAL: &str = "open and seal the generation once, in memory";
const RESEAL_CPU: &str = "open and seal the generation once, in memory, CPU";
const READ: &str = "read";
const READ_CPU: &str = "read, CPU";
const UPDATE: &str = "update";
const UPDATE_CPU: &str = "update, CPU";
const OPEN: &str = "open a handle: Argon2id and a read";
const OPEN_CPU: &str = "open a handle: Argon2id and a read, CPU";

/// A document, and a space that fits it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Case {
    name: &'static str,
    document_bytes: usize,
    /// Capacity: the default for small documents, otherwise their own length.
    capacity: u32,
    turns: usize,
}

impl Case {
    const ALL: [Self; 4] = [
        Self { name: "1 KiB", document_bytes: 1 << 10, capacity: 64 << 10, turns: 5 },
        Self::HELD,
        Self { name: "100 KiB", document_bytes: 100 << 10, capacity: 100 << 10, turns: 5 },
        Self { name: "1 MiB", document_bytes: 1 << 20, capacity: 1 << 20, turns: 1 },
    ];

    /// The case of the goals.
    const HELD: Self =
        Self { name: "10 KiB", document_bytes: 10 << 10, capacity: 64 << 10, turns: 5 };
}

/// All samples of one case.
struct Outcome {
    case: Case,
    /// Sealed length of a generation of the space.
    generation_bytes: u64,
    series: Vec<Series>,
}

/// Measures every case, and writes the results.
pub(crate) fn run(options: &Options) -> Result<()> {
    options.refuse_workloads()?;
    let (folder, environment) = crate::site(options)?;
    let rounds = options.rounds_of(ROUNDS);
    let mut outcomes = Vec::new();
    for case in Case::ALL {
        eprintln!("{}: {} rounds", case.name, rounds + 1);
        let dir = folder.path().join(case.capacity.to_string() + case.name);
        outcomes.push(measure(case, rounds, &dir)?);
        fs::remove_dir_all(&dir)?;
    }
    let peaks = Peaks::of_child(&folder.path().join("large"))?;
    let table = report::table(&environment, rounds, &outcomes, &peaks);
    println!("{table}");
    let out = options.out_dir(&environment.date, "documents");
    write_results(&out, &table, &report::raw(&environment, &outcomes, &peaks))
}

/// A vault with a space and a partition.
struct Scene {
    vault: Vault,
    space: Space,
    key: SecretPartitionKey,
    /// Its password is hashed already.
    partition: Partition,
    texts: [String; 2],
}

impl Scene {
    fn new(case: Case, dir: &Path) -> Result<Self> {
        fs::create_dir(dir)?;
        let vault = Vault::options(TestKey).create(dir.join("vault"))?;
        let space_options = SpaceOptions::default()
            .capacity_bytes(case.capacity)
            .password_costs(PasswordCosts::default());
        let space = vault.documents().create_space(&space_options)?;
        let password = SecretPassword::new(PASSWORD);
        let key = space.add_partition(&password, &[])?;
        let partition = space.partition(&key, &password)?;
        let texts = [1, 2].map(|seed| text(case.document_bytes, seed));
        partition.write(&texts[0])?;
        Ok(Self { vault, space, key, partition, texts })
    }

    fn reseal(&self) -> Result<()> {
        let sealed = self.space.reseal(&self.vault.read()?)?;
        ensure!(sealed > 0, "nothing was sealed");
        Ok(())
    }

    fn read(&self) -> Result<()> {
        let document = self.partition.read()?;
        ensure!(self.texts.iter().any(|text| text == document.text()), "another text was read");
        Ok(())
    }

    /// Writes the other one of two texts.
    fn update(&self, number: usize) -> Result<()> {
        self.partition.write(&self.texts[number % 2])?;
        Ok(())
    }

    fn open(&self) -> Result<()> {
        self.space.partition(&self.key, &SecretPassword::new(PASSWORD))?;
        Ok(())
    }
}

/// Makes JSON of `len` bytes: a string of hexadecimal digits, half of which remains when
/// compressed.
fn text(len: usize, seed: u64) -> String {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let digit = |number: u64| char::from_digit(u32::try_from(number % 16).unwrap_or(0), 16);
    let digits = (0..len - 2).filter_map(|_| digit(rng.next_u64()));
    format!("\"{}\"", digits.collect::<String>())
}

type Work = fn(&Scene, usize) -> Result<()>;

fn measure(case: Case, rounds: usize, dir: &Path) -> Result<Outcome> {
    let scene = Rc::new(Scene::new(case, dir)?);
    let generation_bytes = scene.space.info()?.bytes;
    let mut contenders = Vec::new();
    let mut add = |wall, cpu, work: Work| {
        let (own, mut numbers) = (Rc::clone(&scene), 0..);
        let turn = move |samples: &mut Samples| {
            let number = numbers.next().expect("turns do not end");
            samples.time(1, || work(&own, number))
        };
        contenders.push(Contender { label: wall, turn: Box::new(turn) });
        let (own, mut numbers) = (Rc::clone(&scene), 0..);
        let turn = move |samples: &mut Samples| {
            let number = numbers.next().expect("turns do not end");
            samples.time_on_processor(|| work(&own, number))
        };
        contenders.push(Contender { label: cpu, turn: Box::new(turn) });
    };
    add(RESEAL, RESEAL_CPU, |scene, _| scene.reseal());
    add(READ, READ_CPU, |scene, _| scene.read());
    add(UPDATE, UPDATE_CPU, Scene::update);
    if case == Case::HELD {
        add(OPEN, OPEN_CPU, |scene, _| scene.open());
    }
    let series = measure::series(rounds, case.turns, &mut contenders)?;
    Ok(Outcome { case, generation_bytes, series })
}

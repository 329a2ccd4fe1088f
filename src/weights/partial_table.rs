//! A table of words of which a model holds some rows, those that its texts have. The others are as they came, but for what decay leaves
//! of them, and are read again when the whole table is written.

use std::sync::Arc;

use burn::module::{ModuleVisitor, Param};
use burn::tensor::Tensor;

use super::draws::{Draws, Initialisation};
use super::{ModulePath, TensorNames, Weights, Writer};
use crate::error::Result;
use crate::hash;
use crate::nn::{HasRoles, Rate, Role, Roles};

/// The whole table, and which of its rows a model holds.
#[derive(Debug)]
pub struct PartialTable {
    source: Source,
    rows: usize,
    width: usize,
    /// Those that the model holds, ascending.
    ids: Arc<[u32]>,
}

/// Where the rows are from.
#[derive(Debug)]
enum Source {
    File { weights: Arc<Weights>, name: String },
    Made { initialisation: Initialisation, role: Role, name: String },
}

/// Rows that are read at once.
const PART: usize = 4096;

/// Of so many rows one is part of the fingerprint.
const SAMPLED: usize = 64;

impl PartialTable {
    /// The table of words of `model`, which holds the rows `ids` of so many: of `weights` if they have it, else made. Nothing if the
    /// model has no such table.
    pub fn of<M: HasRoles>(
        model: &M,
        weights: Option<Arc<Weights>>,
        names: &TensorNames,
        initialisation: Initialisation,
        rows: usize,
        ids: Arc<[u32]>,
    ) -> Option<Self> {
        let mut finder = Finder { path: ModulePath::default(), roles: Roles::of(model), names, found: None };
        model.visit(&mut finder);
        let (role, names, width) = finder.found?;
        let held = weights.and_then(|weights| {
            let name = names.iter().find(|name| weights.get(name).is_some())?.clone();
            Some(Source::File { weights, name })
        });
        let source = held.unwrap_or_else(|| Source::Made { initialisation, role, name: names[0].clone() });
        Some(Self { source, rows, width, ids })
    }

    /// Whether a parameter is the table, by its role.
    pub(super) fn is(role: Role) -> bool {
        role.rate == Rate::WordEmbeddings
    }

    /// Rows and columns of the whole table.
    pub(super) fn shape(&self) -> [usize; 2] {
        [self.rows, self.width]
    }

    /// The rows that the model holds.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(super) fn selected(&self) -> Result<Vec<f32>> {
        let mut selected = Vec::with_capacity(self.ids.len() * self.width);
        self.each_part(|first, values| {
            self.held(first, values.len() / self.width).for_each(|(_, row)| {
                selected.extend_from_slice(&values[row * self.width..][..self.width]);
            });
            Ok(())
        })?;
        Ok(selected)
    }

    /// Writes the whole table: of the rows that the model holds its own `values`, of the others what decay has `left`, as a share.
    ///
    /// # Errors
    /// The table cannot be read, or its copy not be written.
    pub(super) fn write(&self, writer: &mut Writer, name: &str, values: &[f32], left: f64) -> Result<()> {
        let width = self.width;
        self.each_part(|first, mut part| {
            if left != 1.0 {
                part.iter_mut().for_each(|value| *value = (f64::from(*value) * left) as f32);
            }
            self.held(first, part.len() / width).for_each(|(number, row)| {
                part[row * width..][..width].copy_from_slice(&values[number * width..][..width]);
            });
            writer.put(name, &part)
        })
    }

    /// The same for the same whole table: other weights in the place of those that a run was begun with are told by it.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn fingerprint(&self) -> Result<String> {
        let mut parts: Vec<Vec<u8>> = Vec::new();
        match &self.source {
            Source::Made { initialisation, role, name } => {
                parts.push(format!("{name} {initialisation:?} {role:?} {} {}", self.rows, self.width).into_bytes());
            }
            Source::File { weights, name } => {
                for row in (0..self.rows).step_by(SAMPLED) {
                    let values = weights.read_rows(name, row..row + 1)?;
                    parts.push(values.iter().flat_map(|value| value.to_le_bytes()).collect());
                }
            }
        }
        Ok(hash::of_parts(parts.iter().map(Vec::as_slice)))
    }

    /// Calls `each` with part after part of the table, and the number of its first row.
    fn each_part(&self, mut each: impl FnMut(usize, Vec<f32>) -> Result<()>) -> Result<()> {
        let mut draws = match &self.source {
            Source::Made { initialisation, role, name } => {
                Draws::new(*initialisation, *role, name, &[self.rows, self.width])
            }
            Source::File { .. } => None,
        };
        for first in (0..self.rows).step_by(PART) {
            let rows = first..(first + PART).min(self.rows);
            let count = rows.len() * self.width;
            let values = match &self.source {
                Source::File { weights, name } => weights.read_rows(name, rows)?,
                Source::Made { .. } => draws.as_mut().map_or_else(|| vec![0.0; count], |draws| draws.take(count)),
            };
            each(first, values)?;
        }
        Ok(())
    }

    /// The rows of a part that the model holds: each its number in the model, and its place in the part.
    fn held(&self, first: usize, rows: usize) -> impl Iterator<Item = (usize, usize)> + '_ {
        let from = self.ids.partition_point(|id| (*id as usize) < first);
        let held = self.ids[from..].iter().map(move |id| *id as usize - first);
        (from..).zip(held.take_while(move |row| *row < rows))
    }
}

/// Looks for the table of words.
struct Finder<'a> {
    path: ModulePath,
    roles: Roles,
    names: &'a TensorNames,
    /// Its role, its names in checkpoints, and its width.
    found: Option<(Role, Vec<String>, usize)>,
}

impl ModuleVisitor for Finder<'_> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let role = self.roles.get(param.id);
        if PartialTable::is(role) {
            let width = param.lazy_shape()[D - 1];
            self.found = Some((role, self.path.checkpoint_names(self.names), width));
        }
    }
}

#[cfg(test)]
mod tests {
    use burn::module::Module;
    use burn::nn::Embedding;
    use burn::tensor::Device;

    use super::*;
    use crate::nn::{Spread, embedding};
    use crate::weights::draws::draw;
    use crate::weights::{Layout, Missing, NamedTensor, Saved, fill_with_rows, save, save_module};

    const WIDTH: usize = 3;
    /// More than two parts, the last of which is not full.
    const ROWS: usize = 2 * PART + 100;
    const IDS: [u32; 5] = [0, 7, PART as u32, PART as u32 + 1, ROWS as u32 - 1];
    const INITIALISATION: Initialisation = Initialisation { seed: 3, spread: Spread::Normal(0.02) };

    #[derive(Module, Debug)]
    struct Words {
        table: Embedding,
    }

    impl HasRoles for Words {
        fn add_roles(&self, roles: &mut Roles) {
            roles.set(&self.table, |role| role.rate = Rate::WordEmbeddings);
        }
    }

    /// The model of some rows, and what of a whole table becomes of it, trained: its own rows are set to `ids`, decay leaves a half.
    fn check(weights: Option<Arc<Weights>>, whole: &[f32]) {
        let (names, device) = (&TensorNames::OWN, Device::flex());
        let empty = Words { table: embedding(IDS.len(), WIDTH, &device) };
        let table = PartialTable::of(&empty, weights.clone(), names, INITIALISATION, ROWS, IDS.into()).unwrap();
        let filled =
            fill_with_rows(empty, weights.as_deref(), names, INITIALISATION, Missing::HeadsAreNew, Some(&table));
        let model = filled.unwrap().0;
        let rows = |id: &u32| whole[*id as usize * WIDTH..][..WIDTH].to_vec();
        let found: Vec<f32> = model.table.weight.val().into_data().iter::<f32>().collect();
        assert_eq!(found, IDS.iter().flat_map(rows).collect::<Vec<f32>>());

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        save_module(&path, &model, names, Saved::Exported(Some((&table, 0.5)))).unwrap();
        let mut expected: Vec<f32> = whole.iter().map(|value| value * 0.5).collect();
        for id in IDS.map(|id| id as usize) {
            expected[id * WIDTH..][..WIDTH].copy_from_slice(&whole[id * WIDTH..][..WIDTH]);
        }
        let written = Weights::open(&path).unwrap();
        assert_eq!(written.get("table.weight").unwrap().shape, [ROWS, WIDTH]);
        assert_eq!(written.read_f32("table.weight").unwrap(), expected);
    }

    #[test]
    fn rows_of_a_file_are_read_and_written_with_all_others() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.safetensors");
        let values: Vec<f32> = (0..ROWS * WIDTH).map(|number| number as f32).collect();
        save(
            &path,
            &[("table.weight".into(), NamedTensor { shape: vec![ROWS, WIDTH], values: values.clone() })].into(),
        )
        .unwrap();
        check(Some(Arc::new(Weights::open(&path).unwrap())), &values);
    }

    /// New ones are those of the whole table, so that a seed means the same with it and without.
    #[test]
    fn rows_that_are_made_are_those_of_the_whole_table() {
        let role = Role { rate: Rate::WordEmbeddings, ..Role::default() };
        check(None, &draw(INITIALISATION, role, "table.weight", &[ROWS, WIDTH]).unwrap());
    }

    #[test]
    fn another_table_has_another_fingerprint() {
        let fingerprint = |changed: usize, rows: usize| {
            let mut values = vec![1.0; rows * WIDTH];
            values[changed] = 2.0;
            let tensors = [("table.weight".into(), NamedTensor { shape: vec![rows, WIDTH], values })].into();
            let weights = Weights::in_memory(std::path::Path::new("x"), Layout::Torch, &tensors).unwrap();
            let model = Words { table: embedding(IDS.len(), WIDTH, &Device::flex()) };
            let table =
                PartialTable::of(&model, Some(Arc::new(weights)), &TensorNames::OWN, INITIALISATION, rows, IDS.into());
            table.unwrap().fingerprint().unwrap()
        };
        assert_eq!(fingerprint(0, ROWS), fingerprint(0, ROWS));
        assert_ne!(fingerprint(0, ROWS), fingerprint(1, ROWS));
        assert_ne!(fingerprint(0, ROWS), fingerprint(0, ROWS + SAMPLED));
    }
}

//! Folders that hold an ELMo: Kiln's own, AllenAI's (`options.json` and `weights.hdf5`), and Baidu's directories of variables.

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use serde_json::{Map, Value};

use super::{CONFIG, read_config as read_words, write_config};
use crate::error::{Error, Problem, Result};
use crate::models::elmo::{Elmo, ElmoConfig, TokenSource, bilm_tf};
use crate::models::elmo_family::FAMILY;
use crate::tokenize::elmo::WordVocabulary;
use crate::weights::{self, Format, Initialisation, LoadReport, Missing, Saved, Spread, TensorNames, Weights};

/// The tensors of a language model's output layer.
const SOFTMAX: [&str; 2] = ["softmax.weight", "softmax.bias"];

/// An ELMo that was opened, with its words if its folder has them.
pub struct ElmoModel {
    pub elmo: Elmo,
    /// Of a model that reads words.
    pub vocabulary: Option<WordVocabulary>,
    pub report: LoadReport,
    pub(super) folder: PathBuf,
    pub(super) device: Device,
}

/// Whether the folder of an ELMo has the output layer of a language model.
pub fn has_softmax(folder: &Path) -> bool {
    let holds = |weights: Weights| SOFTMAX.iter().all(|name| weights.get(name).is_some());
    match kind(folder) {
        Some(Kind::Own | Kind::Variables) => Weights::open(folder).is_ok_and(holds),
        _ => false,
    }
}

/// What becomes of the language model's output layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SoftmaxUse {
    /// It is left out: features need none.
    LeaveOut,
    /// It must be there: the language model goes on learning.
    Require,
    /// It is made anew, from a seed.
    New(u64),
}

/// Where a folder's model comes from.
enum Kind {
    Own,
    AllenAi { options: PathBuf, weights: PathBuf },
    Variables,
}

/// The folder of an ELMo that a user's path means: itself, or the best (else the last) model of a run folder.
pub fn resolve(dir: &Path) -> Option<PathBuf> {
    [dir.to_path_buf(), dir.join("best"), dir.join("last")].into_iter().find(|folder| kind(folder).is_some())
}

fn kind(folder: &Path) -> Option<Kind> {
    if folder.join(CONFIG).exists() {
        let words = read_words(folder).ok()?;
        // A tagger or reader on an ELMo names its class.
        let has_head = words.contains_key("architectures");
        return (words.get("model_type")?.as_str()? == FAMILY.model_type && !has_head).then_some(Kind::Own);
    }
    if let (Some(options), Some(weights)) = (only(folder, "options.json"), only(folder, ".hdf5")) {
        return Some(Kind::AllenAi { options, weights });
    }
    folder.join("embedding_para").exists().then_some(Kind::Variables)
}

/// The only file of a folder whose name ends so.
fn only(folder: &Path, ending: &str) -> Option<PathBuf> {
    let files = std::fs::read_dir(folder).ok()?.filter_map(|file| Some(file.ok()?.path()));
    let mut files = files.filter(|file| file.to_str().is_some_and(|name| name.ends_with(ending)));
    files.next().filter(|_| files.next().is_none())
}

/// Opens the ELMo in a folder, for features or, by `softmax`, for going on with its training.
///
/// # Errors
/// The folder holds no ELMo, its files do not fit each other, or the softmax that is required is not there.
pub fn open(folder: &Path, softmax: SoftmaxUse, device: &Device) -> Result<ElmoModel> {
    let config = read_config(folder)?;
    let weights = match kind(folder) {
        Some(Kind::AllenAi { weights, .. }) => bilm_tf::read_weights(&weights, &config)?,
        _ => Weights::open(folder)?,
    };
    let (elmo, report) = load(&config, &weights, softmax, device)?;
    let vocabulary = match (&config.embedding, WordVocabulary::find(folder)) {
        (TokenSource::Word, Some(file)) => Some(vocabulary(&file, &config)?),
        _ => None,
    };
    Ok(ElmoModel { elmo, vocabulary, report, folder: folder.to_path_buf(), device: device.clone() })
}

impl ElmoModel {
    /// The same model with the words of a file, for a folder that has none.
    ///
    /// # Errors
    /// The file is not a list of as many words as the model knows.
    pub fn with_vocabulary(mut self, file: &Path) -> Result<Self> {
        self.vocabulary = Some(vocabulary(file, self.elmo.config())?);
        Ok(self)
    }
}

fn vocabulary(file: &Path, config: &ElmoConfig) -> Result<WordVocabulary> {
    let words = WordVocabulary::open(file)?;
    if words.len() != config.vocab_size {
        let what = format!("has {} words, the model's embedding {}", words.len(), config.vocab_size);
        return Err(Problem::new(what).in_file(file).help("take the file that the model was trained with").into());
    }
    Ok(words)
}

/// Fills a model of `config` from `weights`, whose names are Kiln's. A mixture that is not there begins as the mean.
///
/// # Errors
/// A tensor is missing or has another shape than the configuration says.
pub fn load(
    config: &ElmoConfig,
    weights: &Weights,
    softmax: SoftmaxUse,
    device: &Device,
) -> Result<(Elmo, LoadReport)> {
    let held = SOFTMAX.iter().all(|name| weights.get(name).is_some());
    if softmax == SoftmaxUse::Require && !held {
        let help = "features need none; to go on with the language model's training, begin with a new softmax, which has to be \
                    learnt first (Baidu's published baike_elmo_checkpoint comes without one), or with weights that were saved in \
                    training";
        let problem = Problem::new("holds no softmax (softmax_weight and softmax_bias)").in_file(weights.path());
        return Err(problem.help(help).into());
    }
    let empty = Elmo::new(config, softmax == SoftmaxUse::Require, device);
    // Range 0: the only parts that may be missing are the mixture's, whose constants are its own.
    let initialisation = Initialisation { seed: 0, spread: Spread::Normal(0.0) };
    let (mut elmo, mut report) =
        weights::fill(empty, Some(weights), &TensorNames::OWN, initialisation, Missing::HeadsAreNew)?;
    report.unexpected.retain(|name| !name.starts_with("softmax."));
    if let SoftmaxUse::New(seed) = softmax {
        elmo = elmo.with_new_softmax(seed, device);
        report.initialised.extend(SOFTMAX.map(String::from));
    }
    Ok((elmo, report))
}

/// Baidu's directories say nothing but the shapes of their variables; the rest is the script's defaults.
fn config_of(weights: &Weights) -> Result<ElmoConfig> {
    let shape = |name: &str| match weights.get(name).map(|entry| entry.shape.as_slice()) {
        Some(&[rows, columns]) => Ok((rows, columns)),
        found => {
            let what = format!("{name} should be a matrix, and is {found:?}");
            Err(Error::from(Problem::new(what).in_file(weights.path())))
        }
    };
    let (vocab_size, projection_dim) = shape("embedding.weight")?;
    let (hidden_size, _) = shape("forward.0.projection")?;
    let layers = (0..).take_while(|layer| weights.get(&format!("forward.{layer}.input")).is_some()).count();
    let config =
        ElmoConfig { vocab_size, projection_dim, hidden_size, num_hidden_layers: layers, ..ElmoConfig::default() };
    config.check().map_err(|error| error.in_file(weights.path()))?;
    Ok(config)
}

/// The configuration of the ELMo in a folder.
///
/// # Errors
/// As [`open`].
pub fn read_config(folder: &Path) -> Result<ElmoConfig> {
    match kind(folder) {
        Some(Kind::Own) => {
            let file = folder.join(CONFIG);
            let config: ElmoConfig = serde_json::from_value(Value::Object(read_words(folder)?)).map_err(|cause| {
                Problem::new(format!("the model's configuration does not fit elmo: {cause}")).in_file(&file)
            })?;
            config.check().map_err(|error| error.in_file(&file))?;
            Ok(config)
        }
        Some(Kind::AllenAi { options, .. }) => bilm_tf::read_options(&options),
        Some(Kind::Variables) => config_of(&Weights::open(folder)?),
        None => {
            let help = "an ELMo is a folder of Kiln's (config.json with model_type elmo), AllenAI's options.json with its weights.hdf5, or \
                        Baidu's variables (embedding_para and the others), a file each";
            Err(Problem::new("holds no ELMo").in_file(folder).help(help).into())
        }
    }
}

/// Writes config.json, the weights, and vocab.txt for a model that has words, into a folder.
///
/// # Errors
/// The folder cannot be written.
pub fn write(folder: &Path, elmo: &Elmo, vocabulary: Option<&WordVocabulary>, format: Format) -> Result<()> {
    weights::export_module(folder, elmo, &TensorNames::OWN, Saved::All, format)?;
    let mut words = Map::new();
    words.insert("model_type".into(), FAMILY.model_type.into());
    if let Ok(Value::Object(own)) = serde_json::to_value(elmo.config()) {
        words.extend(own);
    }
    write_config(folder, words)?;
    vocabulary.map_or(Ok(()), |vocabulary| write_vocabulary(folder, vocabulary))
}

/// Writes the words of a model, one a line.
///
/// # Errors
/// The folder cannot be written.
pub fn write_vocabulary(folder: &Path, vocabulary: &WordVocabulary) -> Result<()> {
    super::write(&folder.join(WordVocabulary::NAMES[0]), &vocabulary.to_text())
}

//! Optimizers other than AdamW, whose updates the models' own references hold, on two small parameters.

use std::collections::BTreeMap;

use kiln::nn::HasRoles;
use kiln::recipe::{self, OptimizerName};
use kiln::weights::TensorNames;

use super::*;

/// A weight with decay and a bias without.
#[derive(Module, Debug)]
struct Small {
    weight: Param<Tensor<2>>,
    bias: Param<Tensor<1>>,
}

impl HasRoles for Small {}

impl Small {
    fn read(file: &Weights, prefix: &str, device: &Device) -> Self {
        let read = |name: &str| TensorData::from(file.read_f32(&format!("{prefix}{name}")).unwrap().as_slice());
        Self {
            weight: Param::from_tensor(Tensor::<1>::from_data(read("weight"), device).reshape([5, 4])),
            bias: Param::from_tensor(Tensor::from_data(read("bias"), device)),
        }
    }

    /// Gradients that are those of the file times `scale`.
    fn gradients(&self, file: &Weights, step: usize, scale: f64) -> GradientsParams {
        let given = Self::read(file, &format!("gradient.{step}."), &self.bias.device());
        let weight = (self.weight.val() * given.weight.val().detach()).sum();
        let sum = weight + (self.bias.val() * given.bias.val().detach()).sum();
        GradientsParams::from_grads(sum.mul_scalar(scale).backward(), self)
    }
}

const STEPS: usize = 5;

/// A case of the fixtures: its name, the optimizer, and what gradients are multiplied with.
fn cases() -> Vec<(&'static str, recipe::Optimizer, f64)> {
    let given = recipe::Optimizer::default;
    let adam = recipe::Optimizer { learning_rate: 1e-3, betas: [0.9, 0.98], epsilon: 1e-6, ..given() };
    let adagrad = recipe::Optimizer { name: OptimizerName::Adagrad, ..given() };
    let elmo = recipe::Optimizer {
        learning_rate: 0.2,
        initial_accumulator_value: 1.0,
        epsilon: 0.0,
        max_grad_norm: 10.0,
        ..adagrad.clone()
    };
    let rmsprop = OptimizerName::RmsProp;
    vec![
        ("adam", recipe::Optimizer { name: OptimizerName::Adam, l2: 0.1, ..adam.clone() }, 1.0),
        ("adamw", recipe::Optimizer { weight_decay: 0.1, ..adam }, 1.0),
        ("adagrad_elmo", elmo, 9.0),
        ("adagrad", recipe::Optimizer { learning_rate: 0.01, epsilon: 1e-10, l2: 0.1, ..adagrad }, 1.0),
        ("rmsprop", recipe::Optimizer { name: rmsprop, learning_rate: 1e-3, epsilon: 1e-6, l2: 0.1, ..given() }, 1.0),
        (
            "sgd",
            recipe::Optimizer { name: OptimizerName::Sgd, learning_rate: 0.1, l2: 0.1, max_grad_norm: 1.0, ..given() },
            1.0,
        ),
    ]
}

fn update(optimizer: &mut Optimizer, model: Small, file: &Weights, step: usize, rate: f64, scale: f64) -> Small {
    let gradients = model.gradients(file, step, scale);
    let norm = global_norm(&model, &gradients);
    optimizer.step(model, gradients, rate, norm)
}

fn trained(optimizer: &recipe::Optimizer, scale: f64) -> Small {
    let file = Weights::open(&fixture("parity/optimizers.safetensors")).unwrap();
    let start = Small::read(&file, "", &device().autodiff());
    let rate = optimizer.learning_rate;
    let mut optimizer = Optimizer::new(optimizer, &TensorNames::OWN);
    (0..STEPS).fold(start, |model, step| update(&mut optimizer, model, &file, step, rate, scale))
}

fn assert_trained(model: &Small, file: &Weights, case: &str) {
    assert_near(&model.weight.val(), file, &format!("{case}.weight"), PARAMETERS);
    assert_near(&model.bias.val(), file, &format!("{case}.bias"), PARAMETERS);
}

#[test]
fn updates_are_those_of_torch() {
    let theirs = Weights::open(&fixture("parity/optimizers.safetensors")).unwrap();
    cases().into_iter().for_each(|(case, optimizer, scale)| assert_trained(&trained(&optimizer, scale), &theirs, case));
}

/// Its RMSProp adds epsilon under the root, which is another number where gradients are small.
#[test]
fn updates_are_those_of_paddle() {
    let theirs = Weights::open(&fixture("parity/optimizers_paddle.safetensors")).unwrap();
    for (case, optimizer, scale) in cases() {
        if theirs.get(&format!("{case}.bias")).is_some() {
            let optimizer = recipe::Optimizer { epsilon_in_root: true, ..optimizer };
            assert_trained(&trained(&optimizer, scale), &theirs, case);
        }
    }
}

/// State that went through a file is the state that went in, and the words in the file are PyTorch's.
#[test]
fn an_optimizer_goes_on_from_its_file_bit_for_bit() {
    let file = Weights::open(&fixture("parity/optimizers.safetensors")).unwrap();
    let words = BTreeMap::from([
        ("adam", vec!["exp_avg", "exp_avg_sq", "step"]),
        ("adamw", vec!["exp_avg", "exp_avg_sq", "step"]),
        ("adagrad_elmo", vec!["step", "sum"]),
        ("adagrad", vec!["step", "sum"]),
        ("rmsprop", vec!["square_avg", "step"]),
        ("sgd", vec!["step"]),
    ]);
    let folder = tempfile::tempdir().unwrap();
    for (case, recipe, scale) in cases() {
        let device = device().autodiff();
        let mut model = Small::read(&file, "", &device);
        let mut optimizer = Optimizer::new(&recipe, &TensorNames::OWN);
        for step in 0..STEPS {
            if step > 0 {
                let path = folder.path().join(format!("{case}-{step}"));
                optimizer.save(&path).unwrap();
                let saved = Weights::open(&path).unwrap();
                let found: Vec<&str> = saved.names().filter_map(|name| name.strip_prefix(".bias.")).collect();
                assert_eq!(found, words[case], "{case}");
                assert_eq!(saved.read_f32(".bias.step").unwrap(), [step as f32], "{case}");
                optimizer = Optimizer::new(&recipe, &TensorNames::OWN);
                optimizer.load(&saved, None, &crate::device()).unwrap();
            }
            model = update(&mut optimizer, model, &file, step, recipe.learning_rate, scale);
        }
        let whole = trained(&recipe, scale);
        assert_eq!(values(&model.weight.val()), values(&whole.weight.val()), "{case}");
        assert_eq!(values(&model.bias.val()), values(&whole.bias.val()), "{case}");
    }
}

//! The parameters of a module by their paths: what they hold, their gradients, and other values for them.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::{Tensor, TensorData};
use kiln::weights::ModulePath;

/// One parameter, or its gradient, in Burn's layout: a linear layer's weight is [in, out].
pub struct Values {
    pub name: String,
    /// Of a linear layer.
    pub is_linear_weight: bool,
    pub shape: Vec<usize>,
    pub values: Vec<f64>,
}

/// Reads the gradients, or, without them, the parameters themselves.
struct Reader<'a, F> {
    path: ModulePath,
    name: F,
    gradients: Option<&'a GradientsParams>,
    found: Vec<Values>,
}

impl<F: Fn(&ModulePath) -> String> ModuleVisitor for Reader<'_, F> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let tensor = match self.gradients {
            Some(gradients) => gradients.get::<D>(param.id),
            None => Some(param.val()),
        };
        self.found.extend(tensor.map(|tensor| Values {
            name: (self.name)(&self.path),
            is_linear_weight: self.path.is_linear_weight(),
            shape: tensor.dims().to_vec(),
            values: tensor.to_data().iter::<f64>().collect(),
        }));
    }
}

/// All parameters under the names that `name` gives to their paths; or the gradients of those that have one.
pub fn read<M: Module>(
    model: &M,
    gradients: Option<&GradientsParams>,
    name: impl Fn(&ModulePath) -> String,
) -> Vec<Values> {
    let mut reader = Reader { path: ModulePath::default(), name, gradients, found: Vec::new() };
    model.visit(&mut reader);
    reader.found
}

/// Gradients by Kiln's own names.
pub fn gradients<M: Module>(model: &M, gradients: &GradientsParams) -> BTreeMap<String, Vec<f64>> {
    let found = read(model, Some(gradients), ModulePath::joined);
    found.into_iter().map(|one| (one.name, one.values)).collect()
}

/// Parameters by Kiln's own names.
pub fn parameters<M: Module>(model: &M) -> BTreeMap<String, Vec<f64>> {
    read(model, None, ModulePath::joined).into_iter().map(|one| (one.name, one.values)).collect()
}

/// Other values for the parameters of these paths.
struct Given<F> {
    path: ModulePath,
    values: F,
}

impl<F: Fn(&str) -> Option<Vec<f32>>> ModuleMapper for Given<F> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.exit();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some(values) = (self.values)(&self.path.joined()) else { return param };
        let data = TensorData::new(values, param.lazy_shape());
        Param::from_tensor(Tensor::from_data(data, &param.lazy_device()))
    }
}

/// The model with `values` for its parameters; where there is none, a parameter stays what it is.
pub fn given<M: Module>(model: M, values: impl Fn(&str) -> Option<Vec<f32>>) -> M {
    model.map(&mut Given { path: ModulePath::default(), values })
}

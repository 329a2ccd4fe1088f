//! The values that a new reader begins with.

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{Tensor, TensorData};
use rand_distr::{Distribution, StandardNormal, Uniform};

use super::Reader;
use crate::weights::{ModulePath, generator};

impl Reader {
    /// New values, from the seed and each parameter's name alone, as the original's: Xavier's uniform distribution (Glorot and Bengio
    /// 2010, equation 16) for matrices, N(0, 1) for the pointer's key, and 0 for biases.
    pub fn initialised(self, seed: u64) -> Self {
        self.map(&mut Initialiser { path: ModulePath::default(), seed })
    }
}

struct Initialiser {
    path: ModulePath,
    seed: u64,
}

impl ModuleMapper for Initialiser {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.exit();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let (name, shape) = (self.path.joined(), param.lazy_shape());
        let [rows, columns] = *shape.as_slice() else { return Param::from_tensor(param.val()) };
        let mut rng = generator(self.seed, &name);
        let count = shape.num_elements();
        let values: Vec<f32> = if name.ends_with("pointer.key") {
            (0..count).map(|_| StandardNormal.sample(&mut rng)).collect()
        } else {
            // The pointer's gates are four layers side by side.
            let columns = if name.ends_with("gates.weight") { columns / 4 } else { columns };
            let limit = (6.0 / (rows + columns) as f64).sqrt();
            let Ok(uniform) = Uniform::new_inclusive(-limit, limit) else { return Param::from_tensor(param.val()) };
            (0..count).map(|_| uniform.sample(&mut rng) as f32).collect()
        };
        Param::from_tensor(Tensor::from_data(TensorData::new(values, shape), &param.lazy_device()))
    }
}
